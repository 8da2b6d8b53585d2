//! Threads whose CPUs, nice value or policy change under them: while they run, while they wait for a CPU, while they
//! sleep, and by their own hand.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use scx_ops::nice;

use crate::stress::rng::{Rng, some_of};
use crate::stress::sys::{self, Policy, Tid};
use crate::stress::worker_pool::{Worker, WorkerPool};

/// How long victims sleep at a time, in us: shorter and longer than a slice, and much longer than any queue lasts.
const SLEEPS_US: [(u64, u64); 3] = [(100, 3_000), (3_000, 30_000), (100_000, 400_000)];
/// Victims that compute on one CPU, unless it is CPUs that change: all but one of them wait at any time.
const SHARERS: usize = 3;
/// Units of computing (`sys::compute`) between two changes of a thread by itself: about 300 us.
const SELF_UNITS: u64 = 30;

/// Random CPU masks; one in two is a single CPU.
pub fn affinity(pool: &mut WorkerPool) -> Result<()> {
    let cpus = pool.cpus().to_vec();
    torment(pool, "affin", Vec::new(), move |victim, rng| {
        let mask = if rng.random_ratio(1, 2) {
            some_of(rng, &cpus)
        } else {
            cpus.choose(rng).into_iter().copied().collect()
        };
        sys::bind(victim, &mask)
    })
}

/// Random nice values, -20 to 19.
pub fn nice_values(pool: &mut WorkerPool) -> Result<()> {
    let shared = pool.cpus().iter().copied().take(1).collect();
    torment(pool, "nice", shared, |victim, rng| {
        nice::set(victim, rng.random_range(-20..=19))
    })
}

/// Random policies of the ordinary classes.
pub fn policy(pool: &mut WorkerPool) -> Result<()> {
    let shared = pool.cpus().iter().copied().rev().take(1).collect();
    torment(pool, "policy", shared, |victim, rng| {
        let policies = [Policy::Other, Policy::Batch, Policy::Idle];
        sys::set_policy(victim, *policies.choose(rng).unwrap_or(&Policy::Other))
    })
}

/// The victims of `change`, and one thread that applies it to a random one of them at a time (ticking per change).
/// What a change takes away, one of the next gives back within milliseconds, so that every victim still has to get on.
///
/// Victims: some that compute (ticking per about 100 us), the first [`SHARERS`] of them on `shared` if that is not empty;
/// one for each length of sleep (ticking per sleep); and one that computes and changes itself (ticking per change).
fn torment(
    pool: &mut WorkerPool,
    role: &str,
    shared: Vec<usize>,
    change: impl Fn(Tid, &mut Rng) -> io::Result<()> + Clone + Send + 'static,
) -> Result<()> {
    // Victims outlive the thread that changes them: it must never change a stranger that got a dead victim's id.
    let released = Arc::new(AtomicBool::new(false));
    let mut victims = Vec::new();
    let release = Release(Arc::clone(&released));
    for number in 0..SHARERS + pool.cpus().len() / 4 {
        let released = Arc::clone(&released);
        let shared = shared.clone();
        victims.push(pool.spawn(role, move |victim| {
            if number < SHARERS && !shared.is_empty() {
                sys::bind(0, &shared)?;
            }
            compute(victim, &released)
        })?);
    }
    for sleep_us in SLEEPS_US {
        let released = Arc::clone(&released);
        let sleeper = format!("{role}-zz");
        victims.push(pool.spawn(&sleeper, move |victim| sleep(victim, &released, sleep_us))?);
    }
    let change_self = change.clone();
    pool.spawn(&format!("{role}-own"), move |worker| {
        while worker.running() {
            sys::compute(SELF_UNITS);
            change_self(sys::tid(), &mut worker.rng)?;
            worker.tick();
        }
        Ok(())
    })?;
    pool.spawn(&format!("{role}-er"), move |worker| {
        let _release = release;
        while worker.running() {
            if let Some(&victim) = victims.choose(&mut worker.rng) {
                change(victim, &mut worker.rng)?;
            }
            worker.tick();
            worker.pause_us(100, 5_000);
        }
        Ok(())
    })?;
    Ok(())
}

fn compute(victim: &mut Worker, released: &AtomicBool) -> Result<()> {
    while !released.load(Ordering::Relaxed) {
        sys::compute(10);
        victim.tick();
    }
    Ok(())
}

fn sleep(victim: &mut Worker, released: &AtomicBool, (low, high): (u64, u64)) -> Result<()> {
    while !released.load(Ordering::Relaxed) {
        victim.pause_us(low, high);
        sys::compute(1);
        victim.tick();
    }
    Ok(())
}

/// Lets the victims go, however the thread that changes them ends.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

//! Threads whose CPUs, nice value or policy change under them while they compute.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use crate::stress::crew::{Crew, Worker};
use crate::stress::rng::Rng;
use crate::stress::sys::{self, Policy, Tid};

/// Random CPU masks; one in two is a single CPU.
pub fn affinity(crew: &mut Crew) -> Result<()> {
    let cpus = crew.cpus().to_vec();
    torment(crew, "affin", move |victim, rng| {
        let mask = if rng.one_in(2) {
            rng.some_of(&cpus)
        } else {
            rng.pick(&cpus).into_iter().copied().collect()
        };
        match sys::set_affinity(victim, &mask) {
            // All CPUs of the mask are offline just now.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    })
}

/// Random nice values, -20 to 19.
pub fn nice(crew: &mut Crew) -> Result<()> {
    torment(crew, "nice", |victim, rng| {
        sys::set_nice(victim, rng.between(0, 39) as i32 - 20)
    })
}

/// Random policies of the ordinary classes.
pub fn policy(crew: &mut Crew) -> Result<()> {
    torment(crew, "policy", |victim, rng| {
        let policies = [Policy::Other, Policy::Batch, Policy::Idle];
        sys::set_policy(victim, *rng.pick(&policies).unwrap_or(&Policy::Other))
    })
}

/// Two or more hogs (ticking per about 100 us of computing), and one tormentor who applies `change` to
/// one of them at a time (ticking per change). What a change takes away, one of the next gives back
/// within milliseconds, so that every hog still has to get on.
fn torment(
    crew: &mut Crew,
    role: &str,
    change: impl Fn(Tid, &mut Rng) -> io::Result<()> + Send + 'static,
) -> Result<()> {
    // Victims outlive their tormentor: it must never change a stranger who got a dead victim's id.
    let released = Arc::new(AtomicBool::new(false));
    let mut victims = Vec::new();
    let release = Release(Arc::clone(&released));
    for _ in 0..2 + crew.cpus().len() / 4 {
        let released = Arc::clone(&released);
        victims.push(crew.spawn(role, move |victim| suffer(victim, &released))?);
    }
    let tormentor = format!("{role}-er");
    crew.spawn(&tormentor, move |worker| {
        let _release = release;
        while worker.running() {
            if let Some(&victim) = worker.rng.pick(&victims) {
                change(victim, &mut worker.rng)?;
            }
            worker.tick();
            worker.pause_us(100, 20_000);
        }
        Ok(())
    })?;
    Ok(())
}

fn suffer(victim: &mut Worker, released: &AtomicBool) -> Result<()> {
    while !released.load(Ordering::Relaxed) {
        sys::compute(10);
        victim.tick();
    }
    Ok(())
}

/// Lets the victims go, however their tormentor ends.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

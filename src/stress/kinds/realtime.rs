//! Real-time threads, which every ordinary scheduler has to live beneath.
//!
//! None of them may take a CPU for good: since 6.12 the kernel no longer throttles real-time tasks, and
//! what keeps a part of each CPU for EEVDF's tasks keeps none for a sched_ext scheduler's (before 7.x).
//! So each stays below a twentieth or a tenth of one CPU, measured in time, and all but `rt-hogs` together
//! below a half.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::RngExt as _;

use crate::cli::StressKind;
use crate::stress::sys::{self, Policy};
use crate::stress::worker_pool::{Worker, WorkerPool};

/// All kinds but `rt-hogs` together take less than this, of one CPU.
const OTHERS_PERCENT: u64 = 50;
/// Shorter than the turns of 100 ms in which an emulator runs the CPUs of a guest: a thread that sleeps once
/// per turn sleeps while its CPU stands still, and leaves nothing to others.
const HOG_PERIOD_US: u64 = 20_000;

/// Two SCHED_FIFO threads with bursts of up to 2 ms, at most a twentieth of a CPU each. Ticks per
/// burst.
pub fn bursts(pool: &mut WorkerPool) -> Result<()> {
    for priority in [10, 20] {
        pool.spawn("rt", move |worker| {
            become_fifo(priority)?;
            while worker.running() {
                let start = Instant::now();
                sys::compute_for(Duration::from_micros(worker.rng.random_range(100..=2_000)));
                worker.tick();
                worker.rest_for_share(start, 20);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// One SCHED_FIFO thread bound to each CPU that computes for `duty` percent of it. Ticks per period.
pub fn hogs(pool: &mut WorkerPool, duty: u64) -> Result<()> {
    let busy = Duration::from_micros(HOG_PERIOD_US * duty / 100);
    let rest_us = HOG_PERIOD_US * (100 - duty) / 100;
    for &cpu in pool.cpus() {
        pool.spawn("rt-compute", move |worker| {
            become_fifo(1)?;
            while worker.running() {
                let start = Instant::now();
                // While its CPU is offline it would add to the load of another: more than 100 percent.
                if sys::set_affinity(0, &[cpu]).is_ok() && sys::current_cpu() == Some(cpu) {
                    while start.elapsed() < busy && worker.running() {
                        sys::compute(10);
                    }
                }
                worker.tick();
                worker.pause_us(rest_us, rest_us);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What the hogs may take of each of `cpus` CPUs for real-time threads to take `duty` percent together. With
/// CPUs that go offline, all other real-time threads may meet on one, and the one that would bring
/// another CPU back has to get on as well.
pub fn shared_duty(duty: u64, kinds: &[StressKind], cpus: usize) -> u64 {
    let others = [StressKind::Rt, StressKind::Flips, StressKind::Pi];
    if !kinds.iter().any(|kind| others.contains(kind)) {
        return duty;
    }
    let shared_by = match kinds.contains(&StressKind::Hotplug) {
        true => 1,
        false => cpus.max(1) as u64,
    };
    duty.saturating_sub(OTHERS_PERCENT / shared_by).max(1)
}

/// A thread that changes its own policy to SCHED_FIFO and back, and one that is changed from outside,
/// whatever it is doing. Ticks per change; the changed one per about 100 us of computing.
pub fn flips(pool: &mut WorkerPool) -> Result<()> {
    pool.spawn("flip-self", |worker| {
        while worker.running() {
            flip_self(worker)?;
            worker.tick();
        }
        Ok(())
    })?;
    let released = Arc::new(AtomicBool::new(false));
    let release = Arc::clone(&released);
    let victim = pool.spawn("flip", move |victim| {
        while !released.load(Ordering::Relaxed) {
            sys::compute(10);
            victim.tick();
            if victim.rng.random_ratio(1, 4) {
                victim.pause_us(50, 3_000);
            }
        }
        Ok(())
    })?;
    pool.spawn("flip-er", move |worker| {
        // Above its victim, or it could never take the CPU back from it.
        become_fifo(30)?;
        let result = flip_from_outside(worker, victim);
        release.store(true, Ordering::Relaxed);
        result
    })?;
    Ok(())
}

/// SCHED_FIFO for at most a tenth of the time.
fn flip_self(worker: &mut Worker) -> Result<()> {
    let start = Instant::now();
    become_fifo(5)?;
    sys::compute(5);
    sys::set_policy(0, Policy::Other).context("cannot go back to SCHED_OTHER")?;
    let end = start.elapsed();
    sys::compute(5);
    worker.rest_for_share(Instant::now() - end, 10);
    Ok(())
}

/// The victim is SCHED_FIFO for at most a tenth of the time.
fn flip_from_outside(worker: &mut Worker, victim: sys::Tid) -> Result<()> {
    let set = |policy| sys::set_policy(victim, policy).context("cannot change the victim's policy");
    while worker.running() {
        let start = Instant::now();
        set(Policy::Fifo(5))?;
        worker.pause_us(100, 2_000);
        set(Policy::Other)?;
        worker.tick();
        worker.rest_for_share(start, 10);
    }
    Ok(())
}

fn become_fifo(priority: i32) -> Result<()> {
    sys::set_policy(0, Policy::Fifo(priority)).context("cannot become SCHED_FIFO")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hogs_leave_room_for_other_real_time_threads() {
        use StressKind::{Hogs, Hotplug, Pi, RtHogs};
        assert_eq!(shared_duty(95, &[Hogs, RtHogs], 2), 95);
        assert_eq!(shared_duty(95, &[Pi, RtHogs], 4), 83);
        assert_eq!(shared_duty(95, &[Pi, RtHogs, Hotplug], 4), 45);
        assert_eq!(shared_duty(30, &[Pi, RtHogs], 1), 1);
    }
}

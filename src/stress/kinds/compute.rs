//! Work that wants nothing but a CPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::stress::sys;
use crate::stress::worker_pool::{Worker, WorkerPool};

/// One CPU-bound task more than there are CPUs. Ticks about once per 100 us of computing.
pub fn hogs(pool: &mut WorkerPool) -> Result<()> {
    for _ in 0..=pool.cpus().len() {
        pool.spawn("compute", compute_without_end)?;
    }
    Ok(())
}

fn compute_without_end(worker: &mut Worker) -> Result<()> {
    while worker.running() {
        sys::compute(10);
        worker.tick();
    }
    Ok(())
}

/// Eight hogs per CPU. Ticks as [`hogs`].
pub fn crowd(pool: &mut WorkerPool) -> Result<()> {
    for _ in 0..8 * pool.cpus().len() {
        pool.spawn("crowd", compute_without_end)?;
    }
    Ok(())
}

/// One thread per CPU that computes for two milliseconds, then sleeps for 20 to 40. Ticks per burst.
pub fn redraws(pool: &mut WorkerPool) -> Result<()> {
    for _ in 0..pool.cpus().len() {
        pool.spawn("redraw", |worker| {
            while worker.running() {
                sys::compute(40);
                worker.tick();
                worker.pause_us(20_000, 40_000);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Eight threads per CPU that compute for some milliseconds, then sleep for 50 us. Ticks per burst.
pub fn bursts(pool: &mut WorkerPool) -> Result<()> {
    for _ in 0..8 * pool.cpus().len() {
        pool.spawn("burst", |worker| {
            while worker.running() {
                sys::compute(80);
                worker.tick();
                worker.pause_us(50, 50);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Two threads that yield in storms of 20, a millisecond apart. Ticks once per storm.
pub fn yields(pool: &mut WorkerPool) -> Result<()> {
    for _ in 0..2 {
        pool.spawn("yield", |worker| {
            while worker.running() {
                (0..20).for_each(|_| sys::yield_now());
                worker.tick();
                worker.pause_us(500, 1_500);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Round trips that partners make before they rest, so that they do not take a whole CPU.
const PARTNER_TRIPS: u32 = 20;

/// Two pairs whose threads share one CPU and pass a turn by `sched_yield`; those of the second compute for 200 us
/// before they pass it on. Ticks per turn.
pub fn partners(pool: &mut WorkerPool) -> Result<()> {
    let cpus = pool.cpus();
    let pairs = [(cpus.first(), 0), (cpus.last(), 20)];
    for (cpu, units) in pairs {
        let turn = Arc::new(AtomicU32::new(0));
        for side in 0..2 {
            let (turn, cpu) = (Arc::clone(&turn), cpu.copied());
            pool.spawn("partner", move |worker| {
                sys::bind(0, cpu.as_slice())?;
                while worker.running() {
                    pass_the_turn(worker, &turn, side, units);
                    worker.pause_us(500, 1_500);
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Takes the turn when it is that of `side`, computes, and gives it to the other side, [`PARTNER_TRIPS`] times.
fn pass_the_turn(worker: &Worker, turn: &AtomicU32, side: u32, units: u64) {
    for _ in 0..PARTNER_TRIPS {
        while turn.load(Ordering::Acquire) != side {
            if !worker.running() {
                return;
            }
            sys::yield_now();
        }
        sys::compute(units);
        turn.store(1 - side, Ordering::Release);
        worker.tick();
    }
}

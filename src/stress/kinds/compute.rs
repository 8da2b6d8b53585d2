//! Work that wants nothing but a CPU.

use anyhow::Result;

use crate::stress::crew::{Crew, Worker};
use crate::stress::sys;

/// One hog more than there are CPUs. Ticks about once per 100 us of computing.
pub fn hogs(crew: &mut Crew) -> Result<()> {
    for _ in 0..=crew.cpus().len() {
        crew.spawn("hog", compute_without_end)?;
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
pub fn crowd(crew: &mut Crew) -> Result<()> {
    for _ in 0..8 * crew.cpus().len() {
        crew.spawn("crowd", compute_without_end)?;
    }
    Ok(())
}

/// One thread per CPU that computes for two milliseconds, then sleeps for 20 to 40. Ticks per burst.
pub fn redraws(crew: &mut Crew) -> Result<()> {
    for _ in 0..crew.cpus().len() {
        crew.spawn("redraw", |worker| {
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
pub fn bursts(crew: &mut Crew) -> Result<()> {
    for _ in 0..8 * crew.cpus().len() {
        crew.spawn("burst", |worker| {
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
pub fn yields(crew: &mut Crew) -> Result<()> {
    for _ in 0..2 {
        crew.spawn("yield", |worker| {
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

//! Work that wants nothing but a CPU.

use anyhow::Result;

use crate::stress::crew::Crew;
use crate::stress::sys;

/// One hog more than there are CPUs. Ticks about once per 100 us of computing.
pub fn hogs(crew: &mut Crew) -> Result<()> {
    for _ in 0..=crew.cpus().len() {
        crew.spawn("hog", |worker| {
            while worker.running() {
                sys::compute(10);
                worker.tick();
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

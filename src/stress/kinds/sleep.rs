//! Short sleeps, timers and memory barriers.

use anyhow::{Context, Result};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rand::seq::IndexedRandom as _;

use crate::stress::sys;
use crate::stress::worker_pool::{Worker, WorkerPool};

/// Four threads that sleep 50 us to 5 ms at a time, and one that reads a timer of 1 ms. Ticks per
/// wakeup.
pub fn sleepers(pool: &mut WorkerPool) -> Result<()> {
    for _ in 0..4 {
        pool.spawn("sleeper", |worker| {
            while worker.running() {
                worker.pause_us(50, 5_000);
                worker.tick();
            }
            Ok(())
        })?;
    }
    pool.spawn("timer", |worker| {
        let timer = timer_of_1_ms().context("cannot make a timer")?;
        while worker.running() {
            timer.wait().context("cannot read a timer")?;
            worker.tick();
        }
        Ok(())
    })?;
    Ok(())
}

fn timer_of_1_ms() -> nix::Result<TimerFd> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    let period = Expiration::Interval(TimeSpec::new(0, 1_000_000));
    timer.set(period, TimerSetTimeFlags::empty())?;
    Ok(timer)
}

/// The commands of `membarrier` that the load uses: each interrupts or waits for all CPUs in its way.
const BARRIERS: [libc::c_int; 3] = [
    libc::MEMBARRIER_CMD_GLOBAL,
    libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED,
    libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED,
];

/// Why there can be no memory barriers, if there cannot.
pub fn membarrier_obstacle() -> Option<String> {
    let register = libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
    let error = sys::membarrier(register).err()?;
    Some(format!("the kernel refuses membarrier ({error})"))
}

/// One thread that runs barriers of every sort. Ticks per barrier.
pub fn membarriers(pool: &mut WorkerPool) -> Result<()> {
    let known = sys::membarrier(0).context("cannot ask for the kernel's memory barriers")?;
    let barriers: Vec<_> = BARRIERS
        .into_iter()
        .filter(|&b| known & i64::from(b) != 0)
        .collect();
    pool.spawn("membarrier", move |worker: &mut Worker| {
        while worker.running() {
            if let Some(&barrier) = barriers.choose(&mut worker.rng) {
                sys::membarrier(barrier).context("a memory barrier failed")?;
            }
            worker.tick();
            worker.pause_us(100, 3_000);
        }
        Ok(())
    })?;
    Ok(())
}

//! The latency probe: one thread per CPU that sleeps, wakes and does a little work.
//!
//! Each thread sleeps 1.5 to 4.5 ms at a time (seeded) until an absolute point in time. The latency
//! is the time at which the thread runs again less the time at which its timer was set to expire;
//! nothing is subtracted. Awake, it computes for about 110 us, as a thread that has something to
//! do would: one that does nothing at all is too easy a guest, since its unused share of the CPU
//! always pays for the next wakeup.
//!
//! The points in time do not depend on how late the thread was, so that it does the same work under
//! every scheduler, and what others get done beside it can be compared. A thread that is so late that the
//! next point has passed already goes on at once, and that point counts as late by as much: to leave it
//! out would hide the longest waits, as each of them hides the points that follow (coordinated omission).

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Setting;
use super::hogs::compute;
use super::sync::{Latencies, exact_timers, join, now_ns, sleep_until_ns};

/// Loops of computation at each wakeup; about 110 us at a billion instructions per second.
const LOOPS_AWAKE: u32 = 55;
/// Range of a single sleep.
const SLEEP_NS: std::ops::Range<u64> = 1_500_000..4_500_000;

/// Probes until every thread was due `wakeups` times.
pub fn count(setting: &Setting, wakeups: u32) -> Result<Latencies> {
    let never = AtomicBool::new(false);
    let (latencies, ()) = probe(setting, wakeups, &never, || Ok(()))?;
    Ok(latencies)
}

/// Probes for as long as `work` takes; returns its result beside the latencies.
pub fn during<T>(setting: &Setting, work: impl FnOnce() -> Result<T>) -> Result<(Latencies, T)> {
    let stop = AtomicBool::new(false);
    probe(setting, u32::MAX, &stop, || {
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn probe<T>(
    setting: &Setting,
    wakeups: u32,
    stop: &AtomicBool,
    work: impl FnOnce() -> Result<T>,
) -> Result<(Latencies, T)> {
    std::thread::scope(|scope| {
        let seeds = (0..setting.cpus as u64).map(|index| setting.seed ^ (index << 32));
        let threads: Vec<_> = seeds
            .map(|seed| scope.spawn(move || sleep_and_wake(seed, wakeups, stop)))
            .collect();
        let result = work();
        let mut latencies = Latencies::new()?;
        for thread in threads {
            latencies.merge(&join(thread)?)?;
        }
        Ok((latencies, result?))
    })
}

fn sleep_and_wake(seed: u64, wakeups: u32, stop: &AtomicBool) -> Result<Latencies> {
    exact_timers()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut latencies = Latencies::new()?;
    let mut due_ns = now_ns();
    for _ in 0..wakeups {
        due_ns += rng.random_range(SLEEP_NS);
        latencies.record(wait_for(due_ns));
        compute(LOOPS_AWAKE);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(latencies)
}

/// Sleeps until `due_ns`, or not at all if that has passed; returns how late the caller then is, in ns.
fn wait_for(due_ns: u64) -> u64 {
    let now_ns = now_ns();
    if now_ns < due_ns {
        sleep_until_ns(due_ns)
    } else {
        now_ns - due_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_has_passed_counts_as_late() {
        let hour_ago_ns = now_ns().saturating_sub(3_600_000_000_000).max(1);
        let late_ns = wait_for(hour_ago_ns);
        assert!(
            late_ns >= now_ns() - hour_ago_ns - 1_000_000_000,
            "{late_ns} ns"
        );
    }

    #[test]
    fn every_point_counts() {
        let stop = AtomicBool::new(false);
        let latencies = sleep_and_wake(1, 5, &stop).unwrap();
        let counts = latencies
            .outcome()
            .distribution
            .into_iter()
            .map(|step| step[1]);
        assert_eq!(counts.sum::<u64>(), 5);
    }
}

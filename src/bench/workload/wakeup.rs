//! `wakeup`: how late a thread that sleeps a little runs when the machine is full of CPU hogs.
//!
//! As many threads as CPUs sleep 1.5 to 4.5 ms at a time (seeded) until an absolute point in time.
//! The latency is the time at which the thread runs again less the time at which its timer was
//! set to expire; nothing is subtracted. Awake, it computes for about 100 us, as a thread that
//! has something to do would: one that does nothing at all is too easy a guest, since its unused
//! share of the CPU always pays for the next wakeup. The hogs' work in the same stretch shows
//! what it cost.

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::hogs::{Hogs, compute, usual_count};
use super::sync::{Latencies, exact_timers, join, now_ns, sleep_until_ns};
use super::{LATENCY, Metric, Outcome, Setting, Workload};

/// Wakeups of each sleeping thread; a good second of sleep.
const WAKEUPS: u32 = 450;
/// The same where guest time is slow to come by.
const WAKEUPS_DETERMINISTIC: u32 = 200;
/// Wakeups that come before the counted ones, while the hogs settle.
const WARM_UP: u32 = 20;
/// Loops of computation at each wakeup; about 100 us at a billion instructions per second.
const LOOPS_AWAKE: u32 = 50;
/// Range of a single sleep.
const SLEEP_NS: std::ops::Range<u64> = 1_500_000..4_500_000;

/// See the module.
pub struct Wakeup;

impl Workload for Wakeup {
    fn name(&self) -> &'static str {
        "wakeup"
    }

    fn about(&self) -> &'static str {
        "timer wakeup latency under 2 CPU hogs per CPU (at least 4), and the work of these hogs"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 5] = [
            LATENCY[1],
            LATENCY[0],
            LATENCY[2],
            LATENCY[3],
            Metric::higher("hog_work", "loops/s"),
        ];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let mut hogs = Hogs::start(usual_count(setting.cpus))?;
        sleepers(setting, WARM_UP)?;
        hogs.begin();
        let wakeups = setting.shortened(WAKEUPS, WAKEUPS_DETERMINISTIC);
        let latencies = sleepers(setting, wakeups)?;
        let hog_work = hogs.loops_per_s();
        Ok(latencies.outcome().with("hog_work", hog_work))
    }
}

/// Lets one thread per CPU sleep and wake `wakeups` times; returns all their latencies.
pub fn sleepers(setting: &Setting, wakeups: u32) -> Result<Latencies> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..setting.cpus as u64)
            .map(|index| scope.spawn(move || sleep_and_wake(setting.seed ^ index << 32, wakeups)))
            .collect();
        let mut latencies = Latencies::new()?;
        for thread in threads {
            latencies.merge(&join(thread)?)?;
        }
        Ok(latencies)
    })
}

fn sleep_and_wake(seed: u64, wakeups: u32) -> Result<Latencies> {
    exact_timers()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut latencies = Latencies::new()?;
    for _ in 0..wakeups {
        let deadline_ns = now_ns() + rng.random_range(SLEEP_NS);
        latencies.record(sleep_until_ns(deadline_ns));
        compute(LOOPS_AWAKE);
    }
    Ok(latencies)
}

//! `burst`: storms of fork and exec against the latency probe.
//!
//! A process of its own starts bursts of short-lived processes as fast as it can, half of them
//! forks that compute a little, half fresh programs, and waits for each burst to end.

use anyhow::Result;

use super::hogs::compute;
use super::sync::{NS_PER_S, noop_program, now_ns, spawn_process, wait_process};
use super::{LATENCY, Metric, Outcome, Setting, Workload, probe};

/// Bursts in one run, and the same where guest time is slow to come by.
const BURSTS: u32 = 15;
const BURSTS_DETERMINISTIC: u32 = 4;
/// Pairs of processes for each CPU in a burst.
const PAIRS_PER_CPU: usize = 8;
/// Loops that a forked process computes; about 2 ms at a billion instructions per second.
const LOOPS: u32 = 1_000;

/// See the module.
pub struct Burst;

impl Workload for Burst {
    fn name(&self) -> &'static str {
        "burst"
    }

    fn about(&self) -> &'static str {
        "timer wakeup latency (a probe per CPU) during storms of 16 forks and execs per CPU, and their time"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 5] = [
            LATENCY[1],
            LATENCY[0],
            LATENCY[2],
            LATENCY[3],
            Metric::lower("time", "s"),
        ];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let bursts = setting.shortened(BURSTS, BURSTS_DETERMINISTIC);
        let pairs = PAIRS_PER_CPU * setting.cpus;
        let start_ns = now_ns();
        let storm = spawn_process(|| (0..bursts).try_for_each(|_| burst(pairs)))?;
        let (latencies, end_ns) = probe::during(setting, || {
            wait_process(storm)?;
            Ok(now_ns())
        })?;
        Ok(latencies
            .outcome()
            .with("time", (end_ns - start_ns) as f64 / NS_PER_S))
    }
}

fn burst(pairs: usize) -> Result<()> {
    let mut forks = Vec::with_capacity(pairs);
    let mut programs = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        forks.push(spawn_process(|| {
            compute(LOOPS);
            Ok(())
        })?);
        programs.push(noop_program()?.spawn()?);
    }
    forks.into_iter().try_for_each(wait_process)?;
    for mut program in programs {
        program.wait()?;
    }
    Ok(())
}

//! `quota`: is `cpu.max` kept, and what does a task beside the limited ones have of it?
//!
//! A cgroup may have 20 % of a CPU, by 2 ms in periods of 10 ms, then by 20 in 100, each with one and with six CPU-bound
//! processes. Beside it are a cgroup without a limit with a CPU-bound process per CPU, and one with a task that computes for
//! 100 us every 10 to 30 ms, whose wakeup latency counts. The error is by how much of its quota the limited cgroup has more
//! or less over a second at least, a whole number of periods. CPU time at both ends is a mean over a period: else it would
//! count most when in the period the tasks run.

use std::path::Path;

use anyhow::Result;

use super::cgroups::{self, Yard, used_s, write};
use super::crowd::Crowd;
use super::sync::{Latencies, NS_PER_S, now_ns, sleep_until_ns};
use super::{LATENCY, Metric, Outcome, Setting, Workload};

/// What a metric is called; the period in ms, and the CPU-bound processes in the limited cgroup.
const CASES: [(&str, u64, usize); 4] = [
    ("one_10ms", 10, 1),
    ("one_100ms", 100, 1),
    ("six_10ms", 10, 6),
    ("six_100ms", 100, 6),
];
/// The quota as a part of the period.
const QUOTA: f64 = 0.2;
/// How long the processes run before CPU time is counted.
const SETTLE_NS: u64 = 200_000_000;
/// How long it is counted, and the same where guest time is slow to come by.
const COUNT_NS: u64 = 2_000_000_000;
const COUNT_DETERMINISTIC_NS: u64 = 1_000_000_000;
/// Readings of the CPU time in a period.
const READINGS: u64 = 8;

/// See the module.
pub struct Quota;

impl Workload for Quota {
    fn name(&self) -> &'static str {
        "quota"
    }

    fn about(&self) -> &'static str {
        "cpu.max of 20 % in periods of 10 and 100 ms, for 1 and 6 tasks: its error, and wakeup latency beside it"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 6] = [
            Metric::lower("error", "permille"),
            Metric::lower(CASES[0].0, "permille"),
            Metric::lower(CASES[1].0, "permille"),
            Metric::lower(CASES[2].0, "permille"),
            Metric::lower(CASES[3].0, "permille"),
            LATENCY[1],
        ];
        &METRICS
    }

    fn obstacle(&self) -> Option<String> {
        cgroups::obstacle()
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let mut latencies = Latencies::new()?;
        let (mut outcome, mut worst) = (Outcome::default(), 0.0_f64);
        for (metric, period_ms, tasks) in CASES {
            let (error, late) = one_case(setting, period_ms, tasks)?;
            latencies.merge(&late)?;
            worst = worst.max(error);
            outcome = outcome.with(metric, error);
        }
        outcome.distribution = latencies.outcome().distribution;
        Ok(outcome
            .with("error", worst)
            .with("p99", latencies.quantile_us(0.99)))
    }
}

/// The error in thousandths of the quota, and how late the task beside it was.
fn one_case(setting: &Setting, period_ms: u64, tasks: usize) -> Result<(f64, Latencies)> {
    let yard = Yard::make()?;
    let [limited, free, beside] = ["limited", "free", "beside"].map(|name| yard.add(name));
    let (limited, free, beside) = (limited?, free?, beside?);
    let period_us = 1_000 * period_ms;
    let quota_us = (period_us as f64 * QUOTA) as u64;
    write(&limited.join("cpu.max"), &format!("{quota_us} {period_us}"))?;
    let count_ns = setting.shortened(COUNT_NS, COUNT_DETERMINISTIC_NS);
    let mut crowd = Crowd::new()?;
    (0..tasks).try_for_each(|_| crowd.add_cpu_bound(&limited))?;
    (0..setting.cpus).try_for_each(|_| crowd.add_cpu_bound(&free))?;
    crowd.add_quiet(&beside, setting.seed, (SETTLE_NS, count_ns))?;
    let begin_ns = crowd.begin()? + SETTLE_NS;
    let period_ns = 1_000 * period_us;
    let before = mean_used_s(&limited, begin_ns, period_ns)?;
    let after = mean_used_s(&limited, begin_ns + count_ns, period_ns)?;
    let allowed_s = QUOTA * (after.0 - before.0);
    let error = 1_000.0 * ((after.1 - before.1) / allowed_s - 1.0).abs();
    Ok((error, crowd.finish()?.steady))
}

/// The means of the time and of the CPU time of a cgroup over a period that begins at `begin_ns`, in seconds.
fn mean_used_s(cgroup: &Path, begin_ns: u64, period_ns: u64) -> Result<(f64, f64)> {
    let (mut at_s, mut used) = (0.0, 0.0);
    for reading in 0..READINGS {
        sleep_until_ns(begin_ns + reading * period_ns / READINGS);
        at_s += now_ns() as f64 / NS_PER_S;
        used += used_s(cgroup)?;
    }
    Ok((at_s / READINGS as f64, used / READINGS as f64))
}

//! `containers`: 60 pods on one machine, one of them a noisy neighbour.
//!
//! Each pod is a cgroup with a container, a cgroup, inside; all have the same weight. 58 are quiet: one process each that
//! computes for 100 us every 10 to 30 ms, which is less than their part of a CPU. One has as many CPU-bound processes as
//! there are CPUs, and the noisy one twice as many, at least 4. As both want more than they can have, they should have the
//! same: the error is what the noisy one has beyond or below half of their CPU time. The first 0.3 s, as pods are still new,
//! are apart: `start_max` is the longest latency in them.

use std::path::PathBuf;

use anyhow::Result;

use super::cgroups::{self, Yard, used_s};
use super::crowd::Crowd;
use super::hogs::usual_count;
use super::sync::{NS_PER_S, now_ns, sleep_until_ns};
use super::{LATENCY, Metric, Outcome, Setting, Workload};

const PODS: usize = 60;
/// The first pods.
const NOISY: usize = 0;
const BATCH: usize = 1;
/// How long the CPU-bound processes run before CPU time is counted.
const SETTLE_NS: u64 = 300_000_000;
/// How long it is counted, and the same where guest time is slow to come by.
const COUNT_NS: u64 = 3_000_000_000;
const COUNT_DETERMINISTIC_NS: u64 = 1_500_000_000;

/// See the module.
pub struct Containers;

impl Workload for Containers {
    fn name(&self) -> &'static str {
        "containers"
    }

    fn about(&self) -> &'static str {
        "60 pods (cgroups of two levels): wakeup latency of 58 quiet ones beside a noisy one, and its CPU share"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 7] = [
            LATENCY[1],
            LATENCY[0],
            LATENCY[2],
            LATENCY[3],
            Metric::lower("start_max", "us"),
            Metric::lower("noisy_error", "%"),
            Metric::higher("cpu_time", "s/s"),
        ];
        &METRICS
    }

    fn obstacle(&self) -> Option<String> {
        cgroups::obstacle()
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let yard = Yard::make()?;
        let pods: Vec<(PathBuf, PathBuf)> = (0..PODS)
            .map(|pod| {
                let outer = yard.add(&format!("pod{pod}"))?;
                Ok((outer, yard.add(&format!("pod{pod}/app"))?))
            })
            .collect::<Result<_>>()?;
        let count_ns = setting.shortened(COUNT_NS, COUNT_DETERMINISTIC_NS);
        let mut crowd = Crowd::new()?;
        for (pod, (_, app)) in pods.iter().enumerate() {
            match pod {
                NOISY => {
                    (0..usual_count(setting.cpus)).try_for_each(|_| crowd.add_cpu_bound(app))?
                }
                BATCH => (0..setting.cpus).try_for_each(|_| crowd.add_cpu_bound(app))?,
                _ => crowd.add_quiet(
                    app,
                    setting.seed ^ ((pod as u64) << 32),
                    (SETTLE_NS, count_ns),
                )?,
            }
        }
        sleep_until_ns(crowd.begin()? + SETTLE_NS);
        let used =
            || -> Result<[f64; 2]> { Ok([used_s(&pods[NOISY].0)?, used_s(&pods[BATCH].0)?]) };
        let (begin_ns, before) = (now_ns(), used()?);
        sleep_until_ns(begin_ns + count_ns);
        let (end_ns, after) = (now_ns(), used()?);
        let seen = crowd.finish()?;
        let (noisy_s, batch_s) = (after[0] - before[0], after[1] - before[1]);
        let all_s = (noisy_s + batch_s).max(1e-9);
        Ok(seen
            .steady
            .outcome()
            .with("start_max", seen.first.quantile_us(1.0))
            .with("noisy_error", 100.0 * (noisy_s / all_s - 0.5).abs())
            .with("cpu_time", all_s * NS_PER_S / (end_ns - begin_ns) as f64))
    }
}

//! `wakeup`: how late a thread that sleeps a little runs when the machine is full of CPU hogs.
//!
//! The latency is that of the probe (see `probe`); the hogs' work in the same period shows what
//! it cost.

use anyhow::Result;

use super::hogs::{Hogs, usual_count};
use super::{LATENCY, Metric, Outcome, Setting, Workload, probe};

/// Wakeups of each sleeping thread; a good second of sleep.
const WAKEUPS: u32 = 450;
/// The same where guest time is slow to come by.
const WAKEUPS_DETERMINISTIC: u32 = 400;
/// Wakeups that come before the counted ones, while the hogs start.
const WARM_UP: u32 = 20;

/// See the module.
pub struct Wakeup;

impl Workload for Wakeup {
    fn name(&self) -> &'static str {
        "wakeup"
    }

    fn about(&self) -> &'static str {
        "timer wakeup latency (a probe per CPU) under 2 hogs per CPU (at least 4), and the work of these hogs"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 5] = [
            LATENCY[1],
            LATENCY[0],
            LATENCY[2],
            LATENCY[3],
            Metric::higher("cpu_work", "loops/s"),
        ];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let mut hogs = Hogs::start(usual_count(setting.cpus))?;
        probe::count(setting, WARM_UP)?;
        hogs.begin();
        let wakeups = setting.shortened(WAKEUPS, WAKEUPS_DETERMINISTIC);
        let latencies = probe::count(setting, wakeups)?;
        let cpu_work = hogs.loops_per_s();
        Ok(latencies.outcome().with("cpu_work", cpu_work))
    }
}

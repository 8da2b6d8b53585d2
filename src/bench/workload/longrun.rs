//! `longrun`: wakeup latency among hogs that have been running for a long time.
//!
//! Some schedulers let a CPU-bound task sink so deep that its neighbours profit only at first, others let
//! debts pile up. The hogs here have seconds of undisturbed running behind them before the probe
//! starts, and it goes on for twice as long as in `wakeup`.

use anyhow::Result;

use super::hogs::{Hogs, usual_count};
use super::sync::{NS_PER_S, now_ns, sleep_until_ns};
use super::{LATENCY, Metric, Outcome, Setting, Workload, probe};

/// How long the hogs run before the probe starts, and the same where guest time is slow to
/// come by.
const BEFORE_S: f64 = 10.0;
const BEFORE_DETERMINISTIC_S: f64 = 1.5;
/// Wakeups of each probing thread, and the same where guest time is slow to come by.
const WAKEUPS: u32 = 900;
const WAKEUPS_DETERMINISTIC: u32 = 100;

/// See the module.
pub struct Longrun;

impl Workload for Longrun {
    fn name(&self) -> &'static str {
        "longrun"
    }

    fn about(&self) -> &'static str {
        "timer wakeup latency (a probe per CPU) among 2 hogs per CPU that have been running for seconds"
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
        let before_s = setting.shortened(BEFORE_S, BEFORE_DETERMINISTIC_S);
        sleep_until_ns(now_ns() + (before_s * NS_PER_S) as u64);
        hogs.begin();
        let latencies = probe::count(setting, setting.shortened(WAKEUPS, WAKEUPS_DETERMINISTIC))?;
        let cpu_work = hogs.loops_per_s();
        Ok(latencies.outcome().with("cpu_work", cpu_work))
    }
}

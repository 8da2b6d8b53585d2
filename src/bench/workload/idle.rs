//! `idle`: what is going on while nothing is: switches, interrupts and CPU time on an idle system.
//!
//! Only on a machine that is otherwise idle does this show what the scheduler itself burns.

use std::fs;

use anyhow::{Context, Result};

use super::sync::{NS_PER_S, now_ns, sleep_until_ns};
use super::{Metric, Outcome, Setting, Workload};

/// How long to look.
const LOOK_S: f64 = 2.0;
/// The field of a CPU's line in /proc/schedstat that holds the time it ran tasks, in ns.
const RUN_TIME_FIELD: usize = 7;

/// See the module.
pub struct Idle;

/// Totals since boot.
struct Totals {
    at_ns: u64,
    switches: f64,
    interrupts: f64,
    busy_ns: Option<f64>,
}

impl Workload for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn about(&self) -> &'static str {
        "context switches, interrupts and CPU time of an idle system"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 3] = [
            Metric::lower("cpu", "us/s"),
            Metric::lower("switches", "1/s"),
            Metric::lower("interrupts", "1/s"),
        ];
        &METRICS
    }

    fn run(&self, _setting: &Setting) -> Result<Outcome> {
        let before = Totals::read()?;
        sleep_until_ns(now_ns() + (LOOK_S * NS_PER_S) as u64);
        let after = Totals::read()?;
        let elapsed_s = (after.at_ns - before.at_ns) as f64 / NS_PER_S;
        let mut outcome = Outcome::default()
            .with("switches", (after.switches - before.switches) / elapsed_s)
            .with(
                "interrupts",
                (after.interrupts - before.interrupts) / elapsed_s,
            );
        if let Some((after, before)) = after.busy_ns.zip(before.busy_ns) {
            outcome = outcome.with("cpu", (after - before) / 1e3 / elapsed_s);
        }
        Ok(outcome)
    }
}

impl Totals {
    fn read() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let total = |key: &str| first_number(&stat, key).context("/proc/stat lacks a total");
        Ok(Self {
            at_ns: now_ns(),
            switches: total("ctxt ")?,
            interrupts: total("intr ")?,
            // Not every kernel keeps it.
            busy_ns: fs::read_to_string("/proc/schedstat")
                .ok()
                .map(|text| run_time_ns(&text)),
        })
    }
}

fn first_number(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Time that all CPUs together ran tasks.
pub fn run_time_ns(schedstat: &str) -> f64 {
    let cpus = schedstat.lines().filter(|line| line.starts_with("cpu"));
    cpus.filter_map(|line| {
        line.split_whitespace()
            .nth(RUN_TIME_FIELD)?
            .parse::<f64>()
            .ok()
    })
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found() {
        assert_eq!(
            first_number("cpu 1\nintr 42 1 2\nctxt 7\n", "intr "),
            Some(42.0)
        );
        let schedstat =
            "version 17\ncpu0 0 0 1 2 3 4 500 6 7\ndomain0 MC 3\ncpu1 0 0 1 2 3 4 20 6 7\n";
        assert!((run_time_ns(schedstat) - 520.0).abs() < 1e-9);
    }
}

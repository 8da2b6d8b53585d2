//! `launch`: how long a program takes from fork and exec to its first line under load.

use std::process::Stdio;

use anyhow::{Context, Result};

use super::hogs::{Hogs, usual_count};
use super::sync::{Latencies, clock_program, now_ns};
use super::{Metric, Outcome, Setting, Workload};

/// Programs started in one run, and the same where guest time is slow to come by.
const LAUNCHES: u32 = 60;
const LAUNCHES_DETERMINISTIC: u32 = 15;

/// See the module.
pub struct Launch;

impl Workload for Launch {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn about(&self) -> &'static str {
        "fork and exec to the first line of the program, among 2 CPU hogs per CPU"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 3] = [
            Metric::lower("p50", "us"),
            Metric::lower("p99", "us"),
            Metric::lower("max", "us"),
        ];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let _hogs = Hogs::start(usual_count(setting.cpus))?;
        let mut latencies = Latencies::new()?;
        for _ in 0..setting.shortened(LAUNCHES, LAUNCHES_DETERMINISTIC) {
            latencies.record(launch()?);
        }
        Ok(latencies.outcome())
    }
}

/// Starts this program anew; it says what CLOCK_MONOTONIC shows at its first line. Result in ns.
fn launch() -> Result<u64> {
    let start_ns = now_ns();
    let output = clock_program()?.stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first_ns: u64 = text
        .trim()
        .parse()
        .context("a launched program did not answer")?;
    Ok(first_ns.saturating_sub(start_ns))
}

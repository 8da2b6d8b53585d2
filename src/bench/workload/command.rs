//! `command`: the user's own command: its wall time, with the latency probe beside it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::sync::{NS_PER_S, now_ns};
use super::{LATENCY, Metric, Outcome, Setting, Workload, probe};

/// See the module.
pub struct UserCommand;

impl Workload for UserCommand {
    fn name(&self) -> &'static str {
        "command"
    }

    fn about(&self) -> &'static str {
        "the command after --: its wall time, and timer wakeup latency beside it"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 5] = [
            Metric::lower("time", "s"),
            LATENCY[1],
            LATENCY[0],
            LATENCY[2],
            LATENCY[3],
        ];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let Some((program, arguments)) = setting.command.split_first() else {
            bail!("there is no command after --");
        };
        let (latencies, elapsed_ns) = probe::during(setting, || {
            let start_ns = now_ns();
            let status = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()
                .with_context(|| format!("cannot run {program}"))?;
            if !status.success() {
                bail!("{program}: {status}");
            }
            Ok(now_ns() - start_ns)
        })?;
        Ok(latencies
            .outcome()
            .with("time", elapsed_ns as f64 / NS_PER_S))
    }
}

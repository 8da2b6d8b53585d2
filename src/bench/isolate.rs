//! Each run of a workload happens in a fresh process: a crash or a hang there is a result, and no
//! state leaks into the next run. The process is this program again with `--run-one`.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::process::{Process, reason_in};
use super::scheduler::this_program;
use super::workload::{self, Outcome, Setting};
use crate::base::wait;
use crate::signals::Interrupt;

/// How a run went.
pub enum Run {
    /// It yielded figures.
    Done(Outcome),
    /// It crashed or hung.
    Failed(String),
    /// The scheduler's process ended under it.
    SchedulerGone,
    /// The user wants to end.
    Interrupted,
}

/// Runs `workload` once in a process of its own.
pub fn run(
    workload: &str,
    setting: &Setting,
    scheduler: Option<BorrowedFd<'_>>,
    interrupt: &Interrupt,
    limit: Duration,
) -> Result<Run> {
    let mut process = Process::start(command(workload, setting)?)?;
    let started = Instant::now();
    let mut fds = vec![process.fd(), interrupt.fd()];
    fds.extend(scheduler);
    let event = loop {
        let left = limit.saturating_sub(started.elapsed());
        match wait::ready(&fds, left) {
            None if !left.is_zero() => {}
            event => break event,
        }
    };
    let run = match event {
        Some(0) => finished(&mut process),
        Some(1) => Ok(Run::Interrupted),
        Some(_) => Ok(Run::SchedulerGone),
        None => Ok(Run::Failed(format!(
            "did not end within {} s",
            limit.as_secs()
        ))),
    };
    // Killed if it runs on; what it would have removed at its end is removed here.
    drop(process);
    workload::cgroups::remove_leftovers();
    run
}

fn command(workload: &str, setting: &Setting) -> Result<Command> {
    let mut command = Command::new(this_program()?);
    command.args([
        "bench",
        "--run-one",
        workload,
        "--seed",
        &setting.seed.to_string(),
    ]);
    if setting.deterministic {
        command.arg("--deterministic");
    }
    if !setting.command.is_empty() {
        command.arg("--").args(&setting.command);
    }
    Ok(command)
}

fn finished(process: &mut Process) -> Result<Run> {
    let status = process
        .status()?
        .context("a process that has ended has no status")?;
    if status.success() {
        let outcome = serde_json::from_str(&process.output()?);
        return Ok(Run::Done(
            outcome.context("cannot read the figures of a workload")?,
        ));
    }
    let reason = reason_in(&process.log()).unwrap_or_else(|| status.to_string());
    Ok(Run::Failed(reason))
}

/// The other side: runs one workload here and prints its figures.
pub fn run_here(name: &str, setting: &Setting) -> Result<()> {
    let text = match name {
        workload::NOOP => return Ok(()),
        workload::CLOCK => workload::clock_ns().to_string(),
        _ => {
            let known = workload::find(name);
            let known = known.ok_or_else(|| anyhow!("there is no workload '{name}'"))?;
            serde_json::to_string(&known.run(setting)?)?
        }
    };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

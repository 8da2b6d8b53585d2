//! `scx_takt load`: one load with the numbers that the caller gives, measured under whatever scheduler runs.
//!
//! A workload of the benchmark is the same everywhere; a load is a question about one case: which CPUs, how many
//! tasks, which system call. The tests in VMs put the same question to EEVDF and to scx_takt (`tests/vm/cases`). Each
//! prints one line of JSON; times in it are CLOCK_MONOTONIC or CPU time.

mod culprit;
mod flipper;
mod shares;
mod sleeper;
mod tasks;
mod wake_loop;
mod yielding;

use std::ffi::OsString;
use std::io::Write as _;
use std::iter;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Flags of `scx_takt load`.
#[derive(Debug, Parser)]
#[command(name = "scx_takt load")]
struct LoadArgs {
    #[command(subcommand)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// A task that is made to wait, and what makes it wait.
    Culprit(culprit::CulpritArgs),
    /// CPU time of tasks that compute without end, in groups.
    Shares(shares::SharesArgs),
    /// A task that computes and changes an attribute of its own again and again, beside others and a timer.
    Flipper(flipper::FlipperArgs),
    /// A task that sleeps and is given other, busy CPUs meanwhile.
    Sleeper(sleeper::SleeperArgs),
    /// A task that wakes many fresh processes by one write.
    WakeLoop(wake_loop::WakeLoopArgs),
    /// Two threads on one CPU that pass a turn by `sched_yield`.
    Yield(yielding::YieldArgs),
}

/// Runs the load that the words after `scx_takt load` ask for, and prints what it found.
///
/// # Errors
/// If a task cannot be started or bound, or standard output cannot be written.
pub fn run(words: Vec<OsString>) -> Result<ExitCode> {
    let args = LoadArgs::parse_from(iter::once("scx_takt load".into()).chain(words));
    let found = match &args.load {
        Load::Culprit(args) => serde_json::to_value(args.run()?),
        Load::Shares(args) => serde_json::to_value(args.run()?),
        Load::Flipper(args) => serde_json::to_value(args.run()?),
        Load::Sleeper(args) => serde_json::to_value(args.run()?),
        Load::WakeLoop(args) => serde_json::to_value(args.run()?),
        Load::Yield(args) => serde_json::to_value(args.run()?),
    };
    writeln!(std::io::stdout().lock(), "{}", found?).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

//! Every flag of `scx_takt`, once: help, the manual page and completions are made from here.

use clap::{Args, Parser, Subcommand};

/// A sched_ext CPU scheduler: latency first, closed loop, with the proof built in.
#[derive(Debug, Parser)]
#[command(
    name = "scx_takt",
    disable_version_flag = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do; with no command: load the scheduler and run until SIGINT or SIGTERM.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `scx_takt` can do beside scheduling.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A/B benchmark of schedulers on this machine.
    Bench(BenchArgs),
    /// A mixed load that tries to break a scheduler (for tests).
    #[command(hide = true)]
    Stress(StressArgs),
}

/// Flags of `scx_takt bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {}

/// Flags of `scx_takt stress`.
#[derive(Debug, Args)]
pub struct StressArgs {
    /// How long to run, in seconds.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

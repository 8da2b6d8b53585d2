//! Every flag of `scx_takt`, once: help, the manual page and completions are made from here.

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,

    /// Kinds of load, separated by commas; without it: all but rt-hogs and hotplug. A kind that is
    /// asked for by name must be able to run.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_enum)]
    pub kinds: Vec<StressKind>,

    /// Seed of all random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Fail when a worker makes no progress for longer than this, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub stall_seconds: u64,

    /// Share of each CPU that rt-hogs take, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 95, value_parser = clap::value_parser!(u64).range(1..=95))]
    pub rt_duty: u64,

    /// Do not mind when the sched_ext scheduler comes, goes or changes during the run.
    #[arg(long)]
    pub any_scheduler: bool,

    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,

    /// End at once: what the exec storm executes.
    #[arg(long, hide = true)]
    pub exit_at_once: bool,
}

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StressKind {
    /// Threads that compute without end, one more than there are CPUs.
    Hogs,
    /// Pairs that send one byte back and forth through pipes.
    Pipes,
    /// A few forked children at a time.
    Forks,
    /// Children by vfork.
    Vfork,
    /// Programs that are executed and end at once.
    Exec,
    /// Threads that live for microseconds.
    Threads,
    /// Hogs whose CPUs change at random, often to a single one.
    Affinity,
    /// Hogs whose nice value changes at random.
    Nice,
    /// Hogs that change between SCHED_OTHER, SCHED_BATCH and SCHED_IDLE.
    Policy,
    /// Short bursts of SCHED_FIFO threads.
    Rt,
    /// Threads that change between SCHED_OTHER and SCHED_FIFO, by themselves and from outside.
    Flips,
    /// Many threads that wait for one futex and are woken all at once.
    Futex,
    /// Threads that queue for one mutex.
    Mutex,
    /// Threads of different priority that queue for one priority-inheriting mutex.
    Pi,
    /// Threads that sleep for microseconds, and a timer.
    Sleepers,
    /// Threads that give the CPU away again and again.
    Yield,
    /// Memory barriers across all CPUs.
    Membarrier,
    /// cgroups that are created, weighted, limited, moved into and removed.
    Cgroup,
    /// A SCHED_FIFO thread on each CPU that takes --rt-duty percent of it.
    RtHogs,
    /// CPUs other than 0 that go offline and come back.
    Hotplug,
}

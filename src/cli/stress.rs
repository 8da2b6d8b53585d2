//! The flags of `scx_takt stress`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// Flags of `scx_takt stress`.
#[derive(Debug, Args)]
pub struct StressArgs {
    /// How long to run, in seconds.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,

    /// Kinds of load, separated by commas; without it: all but rt-hogs, bursts, crowd, redraw and hotplug, which
    /// leave no room for others. A kind that is asked for by name must be able to run.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_enum)]
    pub kinds: Vec<StressKind>,

    /// Seed of all random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Fail when a worker makes no progress for longer than this, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub stall_seconds: u64,

    /// Share of each CPU that real-time threads take together if there are rt-hogs, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 95, value_parser = clap::value_parser!(u64).range(1..=95))]
    pub rt_duty: u64,

    /// Do not mind when the sched_ext scheduler comes, goes or changes during the run.
    #[arg(long)]
    pub any_scheduler: bool,

    /// Fail when a task waits for a CPU for longer than this, in ms, of the time that real-time and deadline tasks leave;
    /// after a plus, what is granted for each other task that is ready (needs root and BTF).
    #[arg(long, value_name = "MS[+MS]")]
    pub longest_wait: Option<WaitLimit>,

    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,

    /// Write what was done so far to this file four times a second, one JSON object a line (for plots).
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// End at once: what storms of exec and exit execute.
    #[arg(long, hide = true)]
    pub exit_at_once: bool,

    /// Threads to start before that.
    #[arg(long, hide = true, default_value_t = 0, requires = "exit_at_once")]
    pub exit_threads: u64,
}

/// How long a task may wait for a CPU: a bound of its own, and the slices of the tasks before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WaitLimit {
    /// Whatever other tasks are there, in ms.
    pub base_ms: u32,
    /// For each other task that ran or waited as it became ready, in ms.
    pub each_ms: u32,
}

impl FromStr for WaitLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (base, each) = text.split_once('+').unwrap_or((text, "0"));
        let number = |part: &str| part.parse().ok().filter(|ms| *ms <= 30_000);
        let parsed = number(base).zip(number(each));
        let parsed = parsed.filter(|(base_ms, _)| *base_ms > 0);
        let (base_ms, each_ms) =
            parsed.ok_or("not a time in ms from 1 to 30000, as 300 or 300+3")?;
        Ok(Self { base_ms, each_ms })
    }
}

impl fmt::Display for WaitLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.each_ms {
            0 => write!(out, "{} ms", self.base_ms),
            each_ms => write!(out, "{} ms and {each_ms} for each other", self.base_ms),
        }
    }
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
    /// Processes that end in crowds: asleep, computing, with memory, with threads, by exec.
    Exits,
    /// Tasks that compute, wait or sleep while their CPUs change at random, often to a single one.
    Affinity,
    /// The same, with their nice value.
    Nice,
    /// The same, with their policy: SCHED_OTHER, SCHED_BATCH and SCHED_IDLE.
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
    /// Pairs that share a CPU and pass a turn by sched_yield.
    Partners,
    /// Crowds that are bound to a part of each last-level cache, beside tasks that are free.
    Bound,
    /// Memory barriers across all CPUs.
    Membarrier,
    /// cgroups that are created, weighted, limited, moved into and removed.
    Cgroup,
    /// A SCHED_FIFO thread on each CPU that takes what the other kinds leave of --rt-duty percent.
    RtHogs,
    /// Threads that compute for milliseconds between very short sleeps, eight per CPU.
    Bursts,
    /// Threads that compute without end, eight per CPU.
    Crowd,
    /// Threads that compute for two milliseconds some thirty times a second, as a desktop that redraws
    /// itself; one per CPU.
    Redraw,
    /// Two threads that play ping-pong over futexes, then compute side by side.
    Duet,
    /// CPUs other than 0 that go offline and come back.
    Hotplug,
}

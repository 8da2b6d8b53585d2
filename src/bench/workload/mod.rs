//! The workloads: what each measures, in which unit, and which way is better.
//!
//! Every workload is a fixed amount of work, not a fixed time, wherever that makes sense: in the
//! VM harness's deterministic mode the same work then gives the same figures run after run. Each run
//! happens in a process of its own (see `isolate`), so that no state leaks from one to the next.

mod build;
mod burst;
pub mod cgroups;
mod command;
mod compute;
mod containers;
mod crowd;
mod eventfd;
mod fairness;
mod fanout;
mod frames;
mod futex;
pub mod hogs;
pub mod idle;
mod launch;
mod longrun;
mod messaging;
mod pipe;
mod probe;
mod quota;
mod requests;
mod roundtrip;
mod socket;
pub mod sync;
mod wakeup;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Which way a metric improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Less is better: times and latencies.
    Lower,
    /// More is better: throughput.
    Higher,
}

/// One figure that a workload yields.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name within the workload, e.g. `p99`.
    pub name: &'static str,
    /// Unit of the samples, e.g. `us`.
    pub unit: &'static str,
    /// Which way it improves.
    pub better: Better,
}

impl Metric {
    /// A metric that improves as it falls.
    pub const fn lower(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            better: Better::Lower,
        }
    }

    /// A metric that improves as it grows.
    pub const fn higher(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            better: Better::Higher,
        }
    }
}

/// The percentiles of a latency distribution that every latency workload reports.
pub const LATENCY: [Metric; 4] = [
    Metric::lower("p50", "us"),
    Metric::lower("p99", "us"),
    Metric::lower("p99.9", "us"),
    Metric::lower("max", "us"),
];

/// The metric that every workload has beside its own, from a pass after the rounds: of the time of all CPUs, what went by
/// idle while a task waited for more than a moment that could have used it.
pub const IDLE_WHILE_RUNNABLE: Metric = Metric::lower("idle_runnable", "%");

/// Where a workload runs and with which seed.
#[derive(Clone, Debug)]
pub struct Setting {
    /// CPUs this process may use.
    pub cpus: usize,
    /// Seed of every random choice.
    pub seed: u64,
    /// Guest time counts instructions: long phases are shortened.
    pub deterministic: bool,
    /// The user's own command, for the workload `command`.
    pub command: Vec<String>,
}

impl Setting {
    /// `one` on a single CPU, `many` beyond: for work that costs more across CPUs.
    pub fn sized(&self, one: u32, many: u32) -> u32 {
        if self.cpus == 1 { one } else { many }
    }

    /// `usual`, or `less` in deterministic mode, where a second of guest time takes ten seconds
    /// and nothing but the work itself makes figures scatter.
    pub fn shortened<T>(&self, usual: T, less: T) -> T {
        if self.deterministic { less } else { usual }
    }
}

/// What one run of a workload found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Metric name to value, in the metric's unit.
    pub values: BTreeMap<String, f64>,
    /// Latency distribution, if there is one: `[upper bound in ns, count]`, ascending.
    #[serde(default)]
    pub distribution: Vec<[u64; 2]>,
}

impl Outcome {
    /// Adds one value.
    pub fn with(mut self, metric: &str, value: f64) -> Self {
        self.values.insert(metric.to_owned(), value);
        self
    }
}

/// One workload of the benchmark.
pub trait Workload: Sync {
    /// Name on the command line.
    fn name(&self) -> &'static str;
    /// What it measures, in one line.
    fn about(&self) -> &'static str;
    /// The metrics it yields, the most important first.
    fn metrics(&self) -> &'static [Metric];
    /// Why it cannot be run on this machine, if so; by default it can.
    fn obstacle(&self) -> Option<String> {
        None
    }
    /// Runs it once, in this process.
    fn run(&self, setting: &Setting) -> Result<Outcome>;
}

/// All workloads, in the order in which they are run and shown.
pub static ALL: &[&dyn Workload] = &[
    &wakeup::Wakeup,
    &burst::Burst,
    &longrun::Longrun,
    &frames::Frames,
    &launch::Launch,
    &pipe::Pipe,
    &futex::Futex,
    &eventfd::Eventfd,
    &socket::Socket,
    &fanout::Fanout,
    &messaging::Messaging::THREADS,
    &messaging::Messaging::PROCESSES,
    &requests::Requests,
    &compute::Compute,
    &build::Build,
    &fairness::Fairness,
    &containers::Containers,
    &quota::Quota,
    &idle::Idle,
    &command::UserCommand,
];

/// The workloads of `--workloads wide`: those that say something about many CPUs, and whose run grows
/// no faster than the number of CPUs.
pub const WIDE: [&str; 9] = [
    "wakeup",
    "frames",
    "pipe",
    "fanout",
    "messaging",
    "messaging-fork",
    "requests",
    "compute",
    "build",
];

pub use sync::now_ns as clock_ns;

/// The workload that stands for the user's own command.
pub const COMMAND: &str = "command";
/// What `--run-one` takes beside workloads: end at once.
pub const NOOP: &str = "noop";
/// What `--run-one` takes beside workloads: print CLOCK_MONOTONIC in ns and end.
pub const CLOCK: &str = "clock";

/// Finds a workload by its name.
pub fn find(name: &str) -> Option<&'static dyn Workload> {
    ALL.iter().copied().find(|workload| workload.name() == name)
}

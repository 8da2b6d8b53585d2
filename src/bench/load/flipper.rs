//! `load flipper`: does a task gain by changing its own attributes, and do others lose?

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scx_ops::nice;
use serde::Serialize;

use super::tasks::{self, Cpus, Summary, Task};
use crate::bench::workload::hogs::compute;
use crate::bench::workload::sync::{Latencies, NS_PER_S, exact_timers, now_ns, sleep_until_ns};
use crate::stress::sys::{Policy, set_policy};

const SETTLE_NS: u64 = 200_000_000;
const NS_PER_US: u64 = 1_000;
/// How long it is stopped.
const STOPPED_NS: u64 = 50_000;

/// What the task changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Attribute {
    /// Nothing: it only computes.
    None,
    /// Its CPUs: all but the last, and all.
    Affinity,
    /// SCHED_BATCH and SCHED_OTHER.
    Policy,
    /// Nice 1 and 0: needs a privilege on its way back.
    Nice,
    /// Its name, which means nothing to a scheduler.
    Name,
    /// Nothing itself: a real-time task stops it and continues it 50 us later, once in each period.
    State,
}

/// Flags of `load flipper`.
#[derive(Debug, Args)]
pub struct FlipperArgs {
    /// What it changes
    #[arg(long)]
    attribute: Attribute,

    /// How much it computes between two changes, in us
    #[arg(long, value_name = "US", default_value_t = 300)]
    period_us: u64,

    /// Tasks beside it that only compute
    #[arg(long, value_name = "N", default_value_t = 3)]
    others: usize,

    /// Period of the timer thread beside them, in us
    #[arg(long, value_name = "US", default_value_t = 2_000)]
    timer_us: u64,

    /// How long to count, in seconds
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,

    /// All of them may use these CPUs only
    #[arg(long, value_name = "LIST")]
    cpus: Option<Cpus>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Flips {
    seconds: f64,
    /// CPU time of the task that changes itself.
    flipper_s: f64,
    /// CPU time of the others.
    others_s: Vec<f64>,
    /// How late the timer thread woke.
    timer: Summary,
    /// Its wakeups that were more than a period late, and so are lost.
    missed: u64,
}

impl FlipperArgs {
    /// Runs all tasks; this one is the timer thread.
    ///
    /// # Errors
    /// If a task cannot be started or changed.
    pub fn run(&self) -> Result<Flips> {
        if let Some(cpus) = &self.cpus {
            tasks::bind(Pid::from_raw(0), cpus)?;
        }
        exact_timers()?;
        let begin_ns = now_ns() + SETTLE_NS;
        let mut all = vec![Task::start(|| self.flip(begin_ns))?];
        let flipper = all[0].pid();
        let _stopper = (self.attribute == Attribute::State)
            .then(|| Task::start(|| self.stop(flipper, begin_ns)))
            .transpose()?;
        for _ in 0..self.others {
            all.push(Task::start_busy(|| Ok(()))?);
        }
        sleep_until_ns(begin_ns);
        let (before_ns, before) = (now_ns(), tasks::cpu_s(&all)?);
        let end_ns = before_ns + (self.seconds * NS_PER_S) as u64;
        let (latencies, missed) = self.run_timer(before_ns, end_ns)?;
        let (after_ns, after) = (now_ns(), tasks::cpu_s(&all)?);
        let used_s = tasks::used_s(&before, &after);
        let (flipper_s, others_s) = used_s.split_first().context("no task was started")?;
        Ok(Flips {
            seconds: (after_ns - before_ns) as f64 / NS_PER_S,
            flipper_s: *flipper_s,
            others_s: others_s.to_vec(),
            timer: Summary::from(&latencies),
            missed,
        })
    }

    fn run_timer(&self, begin_ns: u64, end_ns: u64) -> Result<(Latencies, u64)> {
        let (mut latencies, mut missed) = (Latencies::new()?, 0);
        let period_ns = self.timer_us * NS_PER_US;
        let mut due_ns = begin_ns + period_ns;
        while due_ns < end_ns {
            let late_ns = sleep_until_ns(due_ns);
            latencies.record(late_ns);
            let lost = late_ns / period_ns;
            missed += lost;
            due_ns += (lost + 1) * period_ns;
        }
        Ok((latencies, missed))
    }

    /// The life of the task that stops `flipper` again and again, from `begin_ns` on.
    fn stop(&self, flipper: Pid, begin_ns: u64) -> Result<()> {
        set_policy(0, Policy::Fifo(1)).context("sched_setscheduler failed")?;
        let mut due_ns = begin_ns;
        loop {
            due_ns += self.period_us * NS_PER_US;
            sleep_until_ns(due_ns);
            kill(flipper, Signal::SIGSTOP).context("cannot stop the task")?;
            sleep_until_ns(now_ns() + STOPPED_NS);
            kill(flipper, Signal::SIGCONT).context("cannot continue the task")?;
        }
    }

    /// The life of the task that changes itself, from `begin_ns` on.
    fn flip(&self, begin_ns: u64) -> Result<()> {
        tasks::compute_until(begin_ns);
        let attribute = self.attribute;
        let change = Change::new(attribute)?;
        let mut flipped = false;
        loop {
            let until_ns = now_ns() + self.period_us * NS_PER_US;
            while now_ns() < until_ns {
                compute(10);
            }
            flipped = !flipped;
            change.apply(flipped)?;
        }
    }
}

/// The two states of an attribute.
struct Change {
    attribute: Attribute,
    all: CpuSet,
    fewer: CpuSet,
}

impl Change {
    fn new(attribute: Attribute) -> Result<Self> {
        let all = sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity failed")?;
        let used: Vec<usize> = (0..CpuSet::count())
            .filter(|&cpu| all.is_set(cpu).unwrap_or(false))
            .collect();
        let mut fewer = CpuSet::new();
        // On one CPU the mask stays as it is, and the system call is made all the same.
        for &cpu in used.iter().take((used.len() - 1).max(1)) {
            fewer.set(cpu)?;
        }
        Ok(Self {
            attribute,
            all,
            fewer,
        })
    }

    fn apply(&self, flipped: bool) -> Result<()> {
        match self.attribute {
            Attribute::None | Attribute::State => Ok(()),
            Attribute::Affinity => {
                let cpus = if flipped { &self.fewer } else { &self.all };
                sched_setaffinity(Pid::from_raw(0), cpus).context("sched_setaffinity failed")
            }
            Attribute::Policy => {
                let policy = if flipped {
                    Policy::Batch
                } else {
                    Policy::Other
                };
                set_policy(0, policy).context("sched_setscheduler failed")
            }
            Attribute::Nice => Ok(nice::set(0, i32::from(flipped))?),
            Attribute::Name => {
                let name = if flipped { c"flip" } else { c"flop" };
                nix::sys::prctl::set_name(name).context("prctl(PR_SET_NAME) failed")
            }
        }
    }
}

//! `load baton`: threads that pass a baton, so that one of them is runnable at a time, beside tasks that compute and a
//! timer. Together they are worth one task: do they get more?

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use nix::unistd::Pid;
use serde::Serialize;

use super::tasks::{self, Cpus, Summary, Task};
use crate::bench::workload::sync::{Latencies, NS_PER_S, now_ns, sleep_until_ns};

/// Flags of `load baton`.
#[derive(Debug, Args)]
pub struct BatonArgs {
    /// Threads that pass the baton
    #[arg(long, value_name = "N", default_value_t = 4)]
    threads: usize,

    /// CPU time that each of them needs before it passes the baton on, in microseconds
    #[arg(long, value_name = "US", default_value_t = 5000)]
    burst_us: u64,

    /// Tasks on the same CPU that only compute
    #[arg(long, value_name = "N", default_value_t = 3)]
    others: usize,

    /// How long to count, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,

    /// The CPU that all of them share
    #[arg(long, value_name = "CPU", default_value = "0")]
    cpu: Cpus,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Baton {
    seconds: f64,
    /// CPU time of the tasks that only compute.
    others_s: Vec<f64>,
    /// How late a timer of 2 ms was.
    timer: Summary,
}

const TIMER_NS: u64 = 2_000_000;
/// Before anything is counted: the estimates of run lengths become right.
const WARM_UP_NS: u64 = 300_000_000;

impl BatonArgs {
    /// Runs all tasks; this thread is the timer.
    ///
    /// # Errors
    /// If a task cannot be started or bound.
    pub fn run(&self) -> Result<Baton> {
        tasks::bind(Pid::from_raw(0), &self.cpu)?;
        let others = (0..self.others).map(|_| Task::start_busy(|| Ok(())));
        let others = others.collect::<Result<Vec<_>>>()?;
        let end = AtomicBool::new(false);
        let (batons, takers): (Vec<_>, Vec<_>) = (0..self.threads).map(|_| mpsc::channel()).unzip();
        std::thread::scope(|scope| {
            for (number, baton) in takers.into_iter().enumerate() {
                let next = batons[(number + 1) % self.threads].clone();
                let end = &end;
                scope.spawn(move || self.carry(&baton, &next, end));
            }
            let first = batons.first().context("no thread can pass a baton")?;
            first.send(()).context("no thread takes the baton")?;
            let found = self.count(&others);
            end.store(true, Ordering::Relaxed);
            found
        })
    }

    /// Computes whenever the baton comes, and passes it on. After the end it goes round once more, so that each thread
    /// sees it.
    fn carry(&self, baton: &Receiver<()>, next: &Sender<()>, end: &AtomicBool) {
        while baton.recv().is_ok() {
            let is_over = end.load(Ordering::Relaxed);
            if !is_over {
                tasks::compute_for(Duration::from_micros(self.burst_us));
            }
            if next.send(()).is_err() || is_over {
                break;
            }
        }
    }

    fn count(&self, others: &[Task]) -> Result<Baton> {
        let mut due_ns = now_ns() + WARM_UP_NS;
        sleep_until_ns(due_ns);
        let before = tasks::cpu_s(others)?;
        let (start_ns, mut timer) = (now_ns(), Latencies::new()?);
        let end_ns = start_ns + (self.seconds * NS_PER_S) as u64;
        while due_ns < end_ns {
            due_ns += TIMER_NS;
            timer.record(sleep_until_ns(due_ns));
        }
        let seconds = (now_ns() - start_ns) as f64 / NS_PER_S;
        Ok(Baton {
            seconds,
            others_s: tasks::used_s(&before, &tasks::cpu_s(others)?),
            timer: Summary::from(&timer),
        })
    }
}

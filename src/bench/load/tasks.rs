//! Tasks of a load: processes that are bound, given a nice value, and whose CPU time is read from outside.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

use crate::bench::workload::hogs::compute;
use crate::bench::workload::sync::{Latencies, now_ns, spawn_process};

/// Loops between two looks at the clock: about 20 us.
const LOOPS: u32 = 10;

/// CPUs as `0-1,4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no list of CPUs: give numbers and ranges, as in 0-1,4");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
            cpus.extend(number(first)?..=number(last)?);
        }
        (!cpus.is_empty()).then_some(Self(cpus)).ok_or_else(wrong)
    }
}

impl Cpus {
    /// The set for the kernel.
    ///
    /// # Errors
    /// If a CPU's number is too high for a set.
    pub fn set(&self) -> Result<CpuSet> {
        let mut set = CpuSet::new();
        for &cpu in &self.0 {
            set.set(cpu)
                .with_context(|| format!("there is no CPU {cpu}"))?;
        }
        Ok(set)
    }
}

/// Lets `task` (0: the calling thread) run on `cpus` only.
///
/// # Errors
/// If the kernel refuses, as for CPUs that are all offline.
pub fn bind(task: Pid, cpus: &Cpus) -> Result<()> {
    sched_setaffinity(task, &cpus.set()?)
        .with_context(|| format!("sched_setaffinity({task}, {cpus:?}) failed"))
}

/// Computes until CLOCK_MONOTONIC reaches `at_ns`.
pub fn compute_until(at_ns: u64) {
    while now_ns() < at_ns {
        compute(LOOPS);
    }
}

/// A process of a load; it is killed and reaped when dropped.
pub struct Task(Pid);

impl Task {
    /// Starts a process that runs `work` and ends. Call it only while this process has one thread.
    ///
    /// # Errors
    /// If there can be no more processes.
    pub fn start(work: impl FnOnce() -> Result<()>) -> Result<Self> {
        spawn_process(work).map(Self)
    }

    /// Starts a process that is prepared and then computes without end.
    ///
    /// # Errors
    /// If there can be no more processes.
    pub fn start_busy(prepare: impl FnOnce() -> Result<()>) -> Result<Self> {
        Self::start(|| {
            prepare()?;
            loop {
                compute(LOOPS);
            }
        })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.0
    }

    /// CPU time that it has used so far.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.0).context("a task of the load ended early")?;
        let time = clock_gettime(clock).context("a task of the load ended early")?;
        Ok(time.into())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// CPU time of each of `tasks` so far, in seconds.
///
/// # Errors
/// If one of them has ended.
pub fn cpu_s(tasks: &[Task]) -> Result<Vec<f64>> {
    tasks
        .iter()
        .map(|task| Ok(task.cpu_time()?.as_secs_f64()))
        .collect()
}

/// What each has used between two readings of [`cpu_s`].
pub fn used_s(before: &[f64], after: &[f64]) -> Vec<f64> {
    before
        .iter()
        .zip(after)
        .map(|(before, after)| after - before)
        .collect()
}

/// A latency distribution in a few figures.
#[derive(Debug, Serialize)]
pub struct Summary {
    count: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

impl From<&Latencies> for Summary {
    fn from(latencies: &Latencies) -> Self {
        Self {
            count: latencies.count(),
            p50_us: latencies.quantile_us(0.5),
            p99_us: latencies.quantile_us(0.99),
            max_us: latencies.quantile_us(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_have_numbers_and_ranges() {
        assert_eq!("0-2,5".parse(), Ok(Cpus(vec![0, 1, 2, 5])));
        assert_eq!("3".parse(), Ok(Cpus(vec![3])));
        for wrong in ["", "a", "1-", "2-1", "1,,2"] {
            assert!(wrong.parse::<Cpus>().is_err(), "{wrong}");
        }
    }
}

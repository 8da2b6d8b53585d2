//! Processes in cgroups that begin together, for `containers` and `quota`.
//!
//! Each goes to its cgroup, says so, and waits for the word to begin: what joining costs, under a lock of the kernel that
//! all of them want, is over by then.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::cgroups::enter;
use super::hogs::compute;
use super::sync::{Latencies, exact_timers, now_ns, sleep_until_ns, spawn_process, wait_process};

/// From the word to begin to the beginning: all of them have read it.
const BEGIN_NS: u64 = 50_000_000;
/// A request: loops of computation, about 100 us at a billion instructions per second.
const LOOPS_AWAKE: u32 = 50;
/// From one request to the next of the same process.
const PERIOD_NS: std::ops::Range<u64> = 10_000_000..30_000_000;
/// As many latencies as a pipe takes at once, without mixing them with those of others (PIPE_BUF).
const REPORTED: usize = 512;

/// Marks a latency of the first span in a report.
const FIRST: u64 = 1 << 63;

/// How late the quiet ones were, in the first span and after it.
pub struct Seen {
    /// In the first span.
    pub first: Latencies,
    /// After it.
    pub steady: Latencies,
}

/// The processes; killed when dropped.
pub struct Crowd {
    bound: Vec<Pid>,
    quiet: Vec<Pid>,
    ready: (PipeReader, Option<PipeWriter>),
    go: (PipeReader, PipeWriter),
    reports: (PipeReader, Option<PipeWriter>),
}

impl Crowd {
    /// An empty one.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn new() -> Result<Self> {
        let pipe = || std::io::pipe().context("cannot make a pipe");
        let (ready, go, reports) = (pipe()?, pipe()?, pipe()?);
        Ok(Self {
            bound: Vec::new(),
            quiet: Vec::new(),
            ready: (ready.0, Some(ready.1)),
            go,
            reports: (reports.0, Some(reports.1)),
        })
    }

    /// Adds a CPU-bound process in `cgroup`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn add_cpu_bound(&mut self, cgroup: &Path) -> Result<()> {
        let pid = spawn_process(|| {
            self.join(cgroup)?;
            loop {
                compute(10);
            }
        })?;
        self.bound.push(pid);
        Ok(())
    }

    /// Adds a process in `cgroup` that sleeps, and computes for a moment every 10 to 30 ms, for the sum of both `spans`, in
    /// ns. What is in the first of them is told apart.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn add_quiet(&mut self, cgroup: &Path, seed: u64, spans: (u64, u64)) -> Result<()> {
        let pid = spawn_process(|| {
            exact_timers()?;
            let begin_ns = self.join(cgroup)?;
            let latencies = requests(seed, begin_ns, spans);
            let bytes: Vec<u8> = latencies.into_iter().flat_map(u64::to_ne_bytes).collect();
            let report = self.reports.1.as_ref();
            let mut report = report.context("there is no pipe for the report")?;
            report.write_all(&bytes).context("cannot report latencies")
        })?;
        self.quiet.push(pid);
        Ok(())
    }

    /// In the new process: goes to its cgroup, and waits until all begin; when that is, by CLOCK_MONOTONIC.
    fn join(&self, cgroup: &Path) -> Result<u64> {
        enter(cgroup)?;
        let ready = self.ready.1.as_ref();
        let mut ready = ready.context("there is no pipe to be ready with")?;
        ready
            .write_all(&[0])
            .context("cannot say that it is ready")?;
        let mut begin_ns = [0; 8];
        (&self.go.0)
            .read_exact(&mut begin_ns)
            .context("is not told to begin")?;
        let begin_ns = u64::from_ne_bytes(begin_ns);
        sleep_until_ns(begin_ns);
        Ok(begin_ns)
    }

    /// Waits until all are in their cgroups and lets them begin; when that is, by CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// If one of them has failed.
    pub fn begin(&mut self) -> Result<u64> {
        let count = self.bound.len() + self.quiet.len();
        // Else the end of one that fails would not be seen.
        self.ready.1 = None;
        self.ready
            .0
            .read_exact(&mut vec![0; count])
            .context("a process does not come to its cgroup")?;
        let begin_ns = now_ns() + BEGIN_NS;
        let word = begin_ns.to_ne_bytes().repeat(count);
        self.go.1.write_all(&word).context("cannot begin")?;
        sleep_until_ns(begin_ns);
        Ok(begin_ns)
    }

    /// Waits for the quiet ones to end; how late they were.
    ///
    /// # Errors
    /// If one of them has failed.
    pub fn finish(mut self) -> Result<Seen> {
        self.reports.1 = None;
        self.kill_bound();
        let mut bytes = Vec::new();
        self.reports
            .0
            .read_to_end(&mut bytes)
            .context("cannot read the reports")?;
        for pid in self.quiet.drain(..) {
            wait_process(pid)?;
        }
        let (mut first, mut steady) = (Latencies::new()?, Latencies::new()?);
        for word in bytes.as_chunks().0 {
            let word = u64::from_ne_bytes(*word);
            let of = if word & FIRST == 0 {
                &mut steady
            } else {
                &mut first
            };
            of.record(word & !FIRST);
        }
        Ok(Seen { first, steady })
    }

    fn kill_bound(&mut self) {
        kill_all(&mut self.bound);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.kill_bound();
        kill_all(&mut self.quiet);
    }
}

fn kill_all(pids: &mut Vec<Pid>) {
    for pid in pids.iter() {
        // Fails only if it has ended already.
        let _ = kill(*pid, Signal::SIGKILL);
    }
    for pid in pids.drain(..) {
        let _ = waitpid(pid, None);
    }
}

/// How late each request was. The times at which they are due do not depend on that.
fn requests(seed: u64, begin_ns: u64, (first_ns, rest_ns): (u64, u64)) -> Vec<u64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut due_ns = begin_ns + rng.random_range(0..PERIOD_NS.end);
    let mut latencies = Vec::with_capacity(REPORTED);
    while due_ns < begin_ns + first_ns + rest_ns && latencies.len() < REPORTED {
        let mark = if due_ns < begin_ns + first_ns {
            FIRST
        } else {
            0
        };
        latencies.push(sleep_until_ns(due_ns) | mark);
        compute(LOOPS_AWAKE);
        due_ns += rng.random_range(PERIOD_NS);
    }
    latencies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_as_are_due_and_no_more_than_can_be_reported() {
        // All of them are long past, so that none is waited for.
        let long_past = |first_ns, rest_ns| requests(1, 1, (first_ns, rest_ns));
        assert!((40..=110).contains(&long_past(0, 1_000_000_000).len()));
        assert_eq!(long_past(0, 60_000_000_000).len(), REPORTED);
        let marked = long_past(500_000_000, 500_000_000);
        let first = marked.iter().filter(|word| **word & FIRST != 0).count();
        assert!(
            (20..=55).contains(&first) && first < marked.len(),
            "{first}"
        );
    }
}

//! `load wake-loop`: one task wakes many fresh processes by one write; do they run side by side?

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use serde::Serialize;

use super::tasks::Summary;
use crate::bench::workload::hogs::compute;
use crate::bench::workload::idle::run_time_ns;
use crate::bench::workload::sync::{Latencies, all, now_ns, spawn_process, wait_process};

/// Flags of `load wake-loop`.
#[derive(Debug, Args)]
pub struct WakeLoopArgs {
    /// Processes that wait
    #[arg(long, value_name = "N", default_value_t = 160)]
    tasks: usize,

    /// Loops that each computes once it is woken, of about 2 us
    #[arg(long, value_name = "N", default_value_t = 500)]
    loops: u32,

    /// How often all of that is done, with fresh processes each time
    #[arg(long, value_name = "N", default_value_t = 4)]
    rounds: u32,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Wakes {
    /// From the write until a process runs.
    wakeups: Summary,
    /// From the write until a process has done its work.
    ends: Summary,
    /// From the write until the last process has ended, in all rounds.
    time_ms: f64,
    /// CPU time of all CPUs meanwhile.
    busy_ms: f64,
    /// The part of that time in which CPUs ran no task, 0 to 1. (The kernel counts a run as it ends: that of the waking
    /// task before its write is counted too if it did not sleep in between.)
    idle: f64,
}

impl WakeLoopArgs {
    /// Runs all rounds.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn run(&self) -> Result<Wakes> {
        let cpus = std::thread::available_parallelism()?.get() as f64;
        let (mut wakeups, mut ends) = (Latencies::new()?, Latencies::new()?);
        let (mut time_ns, mut busy_ns) = (0.0, 0.0);
        for _ in 0..self.rounds {
            let round = self.round(&mut wakeups, &mut ends)?;
            time_ns += round.time_ns;
            busy_ns += round.busy_ns;
        }
        Ok(Wakes {
            wakeups: Summary::from(&wakeups),
            ends: Summary::from(&ends),
            time_ms: time_ns / 1e6,
            busy_ms: busy_ns / 1e6,
            idle: (1.0 - busy_ns / (time_ns * cpus)).max(0.0),
        })
    }

    fn round(&self, wakeups: &mut Latencies, ends: &mut Latencies) -> Result<Round> {
        let (wait, mut wake) = std::io::pipe().context("cannot make a pipe")?;
        let (mut seen, tell) = std::io::pipe().context("cannot make a pipe")?;
        let (mut here, ready) = std::io::pipe().context("cannot make a pipe")?;
        let children: Vec<Pid> = (0..self.tasks)
            .map(|_| spawn_process(|| self.wait_and_compute(&ready, &wait, &tell)))
            .collect::<Result<_>>()?;
        for _ in 0..self.tasks {
            here.read_exact(&mut [0])
                .context("a process does not come to wait")?;
        }
        let before_ns = busy_ns()?;
        let start_ns = now_ns();
        wake.write_all(&[0]).context("cannot write to a pipe")?;
        children.into_iter().try_for_each(wait_process)?;
        let (end_ns, after_ns) = (now_ns(), busy_ns()?);
        for _ in 0..self.tasks {
            // Each writes both times at once, which a pipe keeps together.
            for latencies in [&mut *wakeups, &mut *ends] {
                let mut at_ns = [0; 8];
                all(|done| Ok(seen.read(&mut at_ns[done..]).unwrap_or(0)), 8)?;
                latencies.record(u64::from_ne_bytes(at_ns).saturating_sub(start_ns));
            }
        }
        Ok(Round {
            time_ns: (end_ns - start_ns) as f64,
            busy_ns: after_ns - before_ns,
        })
    }

    /// The life of a process: all of them wait for the same byte, which stays where it is.
    fn wait_and_compute(
        &self,
        mut ready: &PipeWriter,
        wait: &PipeReader,
        mut tell: &PipeWriter,
    ) -> Result<()> {
        ready.write_all(&[0]).context("cannot write to a pipe")?;
        let mut polled = [PollFd::new(wait.as_fd(), PollFlags::POLLIN)];
        while poll(&mut polled, PollTimeout::NONE).is_err() {}
        let woke_ns = now_ns();
        compute(self.loops);
        let report = [woke_ns, now_ns()].map(u64::to_ne_bytes).concat();
        tell.write_all(&report).context("cannot report a wakeup")
    }
}

struct Round {
    time_ns: f64,
    busy_ns: f64,
}

/// Time that all CPUs together have run tasks since boot.
fn busy_ns() -> Result<f64> {
    let text = fs::read_to_string("/proc/schedstat").context("cannot read /proc/schedstat")?;
    Ok(run_time_ns(&text))
}

//! `messaging`: groups of senders and receivers over pipes, as in the classic chat benchmark.
//!
//! In each of 4 groups 20 senders write small messages to each of 20 receivers. `messaging` times
//! 160 threads from the moment at which all are ready; `messaging-fork` makes 160 fresh processes
//! for every pass and times their start and end as well.

use std::os::fd::OwnedFd;
use std::sync::Barrier;

use anyhow::{Context, Result};
use nix::unistd;

use super::sync::{NS_PER_S, all, join, now_ns, spawn_process, wait_process};
use super::{Metric, Outcome, Setting, Workload};

const GROUPS: usize = 4;
/// Senders of a group, and receivers of a group.
const FDS: usize = 20;
const MESSAGE_BYTES: usize = 100;
/// Messages from each sender to each receiver in one pass with threads. So few that no pipe runs
/// full and that waking, not copying, is most of the work.
const THREAD_LOOPS: usize = 4;
/// Passes with threads.
const THREAD_PASSES: u32 = 8;
/// Messages from each sender to each receiver in one pass with fresh processes.
const PROCESS_LOOPS: usize = 1;
/// Passes with fresh processes.
const PROCESS_PASSES: usize = 3;

/// See the module.
pub struct Messaging {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<f64>,
}

impl Messaging {
    /// Threads that are kept.
    pub const THREADS: Self = Self {
        name: "messaging",
        about: "4 groups of 20 senders and 20 receivers over pipes, in 160 threads",
        run: with_threads,
    };
    /// Fresh processes in each pass.
    pub const PROCESSES: Self = Self {
        name: "messaging-fork",
        about: "the same by 160 fresh processes in each of 3 passes, their start and end included",
        run: with_processes,
    };
}

impl Workload for Messaging {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 1] = [Metric::lower("time", "s")];
        &METRICS
    }

    fn run(&self, _setting: &Setting) -> Result<Outcome> {
        Ok(Outcome::default().with("time", (self.run)()?))
    }
}

/// The pipes of one group: one for each receiver.
struct Group {
    readers: Vec<OwnedFd>,
    writers: Vec<OwnedFd>,
}

impl Group {
    fn open() -> Result<Self> {
        let pipes = (0..FDS).map(|_| unistd::pipe().context("cannot open a pipe"));
        let (readers, writers) = pipes.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        Ok(Self { readers, writers })
    }

    fn send(&self, loops: usize) -> Result<()> {
        let message = [0; MESSAGE_BYTES];
        for _ in 0..loops {
            for writer in &self.writers {
                all(
                    |done| unistd::write(writer, message.get(done..).unwrap_or_default()),
                    MESSAGE_BYTES,
                )?;
            }
        }
        Ok(())
    }
}

/// Takes in every message that the group's senders write to one receiver.
fn receive(reader: &OwnedFd, loops: usize) -> Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    for _ in 0..loops * FDS {
        all(
            |done| unistd::read(reader, message.get_mut(done..).unwrap_or_default()),
            MESSAGE_BYTES,
        )?;
    }
    Ok(())
}

fn open_groups() -> Result<Vec<Group>> {
    (0..GROUPS).map(|_| Group::open()).collect()
}

/// Seconds for all passes.
fn with_threads() -> Result<f64> {
    let passes = (0..THREAD_PASSES).map(|_| pass_with_threads());
    Ok(passes.sum::<Result<u64>>()? as f64 / NS_PER_S)
}

/// Nanoseconds from the moment at which all threads are ready until the last has ended.
fn pass_with_threads() -> Result<u64> {
    let groups = open_groups()?;
    let all_threads = GROUPS * FDS * 2 + 1;
    let (ready, go) = (Barrier::new(all_threads), Barrier::new(all_threads));
    std::thread::scope(|scope| {
        let mut threads = Vec::with_capacity(all_threads);
        for group in &groups {
            for reader in &group.readers {
                threads.push(scope.spawn(|| {
                    ready.wait();
                    go.wait();
                    receive(reader, THREAD_LOOPS)
                }));
                threads.push(scope.spawn(|| {
                    ready.wait();
                    go.wait();
                    group.send(THREAD_LOOPS)
                }));
            }
        }
        ready.wait();
        // Taken before any thread can go: afterwards this thread may have to wait for its turn.
        let start_ns = now_ns();
        go.wait();
        threads.into_iter().try_for_each(join)?;
        Ok(now_ns() - start_ns)
    })
}

/// Seconds for all passes, from the first fork until the last process is reaped.
fn with_processes() -> Result<f64> {
    let groups = open_groups()?;
    let start_ns = now_ns();
    for _ in 0..PROCESS_PASSES {
        let mut children = Vec::with_capacity(GROUPS * FDS * 2);
        for group in &groups {
            for reader in &group.readers {
                children.push(spawn_process(|| receive(reader, PROCESS_LOOPS))?);
            }
            for _ in 0..FDS {
                children.push(spawn_process(|| group.send(PROCESS_LOOPS))?);
            }
        }
        children.into_iter().try_for_each(wait_process)?;
    }
    Ok((now_ns() - start_ns) as f64 / NS_PER_S)
}

//! Processes that end in crowds.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt as _;

use super::process::is_limit;
use crate::stress::rng::Rng;
use crate::stress::sys::{self, Child};
use crate::stress::worker_pool::{Worker, WorkerPool};

/// Processes of a crowd, at least and at most.
const CROWD: (u64, u64) = (4, 12);
/// The most memory that a process fills before it ends, in MiB.
const MEMORY_MIB: u64 = 8;
/// Threads that a program leaves behind when it ends: its end kills them where they are.
const THREADS: u64 = 8;

/// How a process of a crowd ends.
#[derive(Clone, Copy)]
enum End {
    /// As it wakes, with this much memory to give back, in bytes.
    Asleep(usize),
    /// While it computes.
    Computing,
    /// By executing a program that ends at once, or one that ends with threads of its own.
    Executing { threads: bool },
}

/// Crowds whose processes all end at the same moment. Ticks per process.
pub fn crowds(pool: &mut WorkerPool) -> Result<()> {
    let programs = Programs::new()?;
    pool.spawn("exit", move |worker| {
        while worker.running() {
            crowd(worker, &programs)?;
            worker.pause_us(1_000, 20_000);
        }
        Ok(())
    })?;
    Ok(())
}

fn crowd(worker: &mut Worker, programs: &Programs) -> Result<()> {
    let at = sys::monotonic() + Duration::from_micros(worker.rng.random_range(2_000..=20_000));
    let mut children = Vec::new();
    for _ in 0..worker.rng.random_range(CROWD.0..=CROWD.1) {
        let end = random_end(&mut worker.rng);
        match Child::fork(|| live(at, end, programs)) {
            Ok(child) => children.push(child),
            Err(error) if is_limit(&error) => break,
            Err(error) => return Err(error).context("cannot fork"),
        }
    }
    for child in children {
        anyhow::ensure!(child.wait(), "a process of a crowd did not end by itself");
        worker.tick();
    }
    Ok(())
}

fn random_end(rng: &mut Rng) -> End {
    match rng.random_range(0..=7) {
        0 => End::Executing { threads: false },
        1 => End::Executing { threads: true },
        2 | 3 => End::Computing,
        _ => End::Asleep((rng.random_range(0..=MEMORY_MIB) << 20) as usize),
    }
}

/// The life of a process until CLOCK_MONOTONIC is `at`. Allocates nothing: see [`Child::fork`].
fn live(at: Duration, end: End, programs: &Programs) {
    match end {
        End::Asleep(bytes) => {
            // Without memory it has nothing to give back, and ends all the same.
            sys::fill_memory(bytes);
            sys::sleep_until(at);
        }
        End::Computing => {
            while sys::monotonic() < at {
                sys::compute(1);
            }
        }
        End::Executing { threads } => {
            sys::sleep_until(at);
            let program = if threads {
                &programs.with_threads
            } else {
                &programs.plain
            };
            sys::execute(program);
        }
    }
}

/// This very program as it ends at once, with and without threads of its own: words for `execv`.
struct Programs {
    plain: Vec<CString>,
    with_threads: Vec<CString>,
}

impl Programs {
    fn new() -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let words = |flags: &[&str]| {
            let own = CString::new(own.as_os_str().as_bytes());
            let flags = flags.iter().map(|flag| CString::new(*flag));
            std::iter::once(own)
                .chain(flags)
                .collect::<Result<Vec<_>, _>>()
        };
        let threads = THREADS.to_string();
        Ok(Self {
            plain: words(&["stress", "--exit-at-once"])?,
            with_threads: words(&["stress", "--exit-at-once", "--exit-threads", &threads])?,
        })
    }
}

/// Starts `count` threads, every other one computing and the rest asleep, that the end of this process finds at that.
///
/// # Errors
/// If a thread cannot be started.
pub fn leave_threads_behind(count: u64) -> std::io::Result<()> {
    for number in 0..count {
        std::thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(move || {
                loop {
                    match number % 2 {
                        0 => sys::compute(10),
                        _ => std::thread::park(),
                    }
                }
            })?;
    }
    Ok(())
}

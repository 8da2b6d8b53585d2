//! Time, latency recording and processes: what the workloads share.

use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::Histogram;
use nix::sys::prctl;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use nix::unistd::{ForkResult, Pid, fork};

use super::{CLOCK, NOOP, Outcome};
pub use crate::base::clock::monotonic_ns as now_ns;

/// Nanoseconds in a microsecond, as a float for conversions.
pub const NS_PER_US: f64 = 1_000.0;
/// Nanoseconds in a second, as a float for conversions.
pub const NS_PER_S: f64 = 1e9;

/// Largest latency that can be told apart: one hour.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// Sleeps until CLOCK_MONOTONIC reaches `deadline_ns`; returns how late the caller woke, in ns.
pub fn sleep_until_ns(deadline_ns: u64) -> u64 {
    let deadline = Duration::from_nanos(deadline_ns).into();
    let absolute = ClockNanosleepFlags::TIMER_ABSTIME;
    // Only EINTR can come back: the arguments are constant or valid. The wait is absolute, so that
    // starting it again is exact.
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, absolute, &deadline).is_err() {}
    now_ns().saturating_sub(deadline_ns)
}

/// Asks for timers that are exact to 1 ns in the calling thread (the default slack is 50 us).
pub fn exact_timers() -> Result<()> {
    prctl::set_timerslack(1).context("cannot set the timer slack")
}

/// Latencies of one run, exact to three digits.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// An empty record.
    pub fn new() -> Result<Self> {
        Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)
            .map(Self)
            .map_err(|error| anyhow!("cannot make a histogram: {error}"))
    }

    /// Adds one latency in nanoseconds.
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.0
            .add(&other.0)
            .map_err(|error| anyhow!("cannot add histograms: {error}"))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency at `quantile` (0 to 1), in microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / NS_PER_US
    }

    /// Percentiles under the names of [`super::LATENCY`], with the distribution.
    pub fn outcome(&self) -> Outcome {
        let distribution = self.0.iter_recorded();
        Outcome {
            distribution: distribution
                .map(|step| [step.value_iterated_to(), step.count_at_value()])
                .collect(),
            ..Outcome::default()
        }
        .with("p50", self.quantile_us(0.5))
        .with("p99", self.quantile_us(0.99))
        .with("p99.9", self.quantile_us(0.999))
        .with("max", self.0.max() as f64 / NS_PER_US)
    }
}

/// Sleeps while `word` holds `value`; may return early, so call it in a loop.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    // SAFETY: the word outlives the call, and a null time-out means none.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

/// Wakes up to `count` threads or processes that sleep on `word`.
pub fn futex_wake(word: &AtomicU32, count: i32) {
    // SAFETY: the word outlives the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count);
    }
}

/// Joins a thread; a panic in it becomes an error.
pub fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread
        .join()
        .map_err(|_| anyhow!("a thread of the workload died"))?
}

/// Runs `work` in a forked process that dies with this one; its error becomes its exit status.
///
/// Call it only while this process has one thread.
pub fn spawn_process(work: impl FnOnce() -> Result<()>) -> Result<Pid> {
    // SAFETY: the caller has a single thread, so the child may go on using the whole of Rust.
    match unsafe { fork() }.context("cannot start a process")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let bound = prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
            let status = match bound.map_err(Into::into).and_then(|()| work()) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("{error:#}");
                    1
                }
            };
            // SAFETY: leaves without running the parent's exit handlers twice.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Waits for a process of [`spawn_process`] and hands its failure on.
pub fn wait_process(child: Pid) -> Result<()> {
    match waitpid(child, None).context("cannot wait for a process")? {
        WaitStatus::Exited(_, 0) => Ok(()),
        status => bail!("a process of the workload failed: {status:?}"),
    }
}

/// A fresh program that ends at once: this one.
pub fn noop_program() -> Result<Command> {
    this_program_with(NOOP)
}

/// A fresh program that prints CLOCK_MONOTONIC in nanoseconds: this one.
pub fn clock_program() -> Result<Command> {
    this_program_with(CLOCK)
}

fn this_program_with(role: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["bench", "--run-one", role])
        .stdin(Stdio::null());
    Ok(command)
}

/// Reads or writes the whole of a small message, whatever the pipe's mood.
pub fn all(mut step: impl FnMut(usize) -> nix::Result<usize>, size: usize) -> Result<()> {
    let mut done = 0;
    while done < size {
        match step(done) {
            Ok(0) => bail!(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(count) => done += count,
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

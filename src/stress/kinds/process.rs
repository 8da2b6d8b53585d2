//! Processes and threads that come and go.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};
use rand::RngExt as _;

use crate::stress::sys::{self, Child};
use crate::stress::worker_pool::{Worker, WorkerPool};

/// How many children, or short threads, are there at a time at most.
const AT_ONCE: u64 = 4;

/// Up to four children at a time that compute a little. Ticks per child.
pub fn forks(pool: &mut WorkerPool) -> Result<()> {
    pool.spawn("fork", |worker| {
        while worker.running() {
            fork_some(worker)?;
            worker.pause_us(100, 4_000);
        }
        Ok(())
    })?;
    Ok(())
}

fn fork_some(worker: &mut Worker) -> Result<()> {
    let mut children = Vec::new();
    for _ in 0..worker.rng.random_range(1..=AT_ONCE) {
        let units = worker.rng.random_range(0..=100);
        match Child::fork(|| sys::compute(units)) {
            Ok(child) => children.push(child),
            Err(error) if is_limit(&error) => break,
            Err(error) => return Err(error).context("cannot fork"),
        }
    }
    for child in children {
        anyhow::ensure!(child.wait(), "a forked child did not end by itself");
        worker.tick();
    }
    Ok(())
}

/// Children that share this process's memory while their parent waits. Ticks per child.
pub fn vforks(pool: &mut WorkerPool) -> Result<()> {
    pool.spawn("vfork", |worker| {
        let mut stack = vec![0; 64 * 1024];
        while worker.running() {
            match sys::vfork_and_wait(&mut stack) {
                Ok(ended_well) => {
                    anyhow::ensure!(ended_well, "a child by vfork did not end by itself");
                    worker.tick();
                }
                Err(error) if is_limit(&error) => {}
                Err(error) => return Err(error).context("cannot vfork"),
            }
            worker.pause_us(100, 4_000);
        }
        Ok(())
    })?;
    Ok(())
}

/// Executes this very program, which ends at once. Ticks per execution.
pub fn execs(pool: &mut WorkerPool) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    pool.spawn("exec", move |worker| {
        while worker.running() {
            execute(worker, &program)?;
            worker.pause_us(5_000, 50_000);
        }
        Ok(())
    })?;
    Ok(())
}

fn execute(worker: &Worker, program: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["stress", "--exit-at-once"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => worker.tick(),
        // ^C in a terminal goes to the executed program too.
        Ok(_) if !worker.running() => {}
        Ok(status) => anyhow::bail!("an executed program ended with {status}"),
        Err(error) if is_limit(&error) => {}
        Err(error) => return Err(error).context("cannot execute this program again"),
    }
    Ok(())
}

/// Up to four threads at a time that compute a little. Ticks per thread.
pub fn threads(pool: &mut WorkerPool) -> Result<()> {
    pool.spawn("thread", |worker| {
        while worker.running() {
            spawn_some(worker)?;
            worker.pause_us(100, 4_000);
        }
        Ok(())
    })?;
    Ok(())
}

fn spawn_some(worker: &mut Worker) -> Result<()> {
    let mut threads = Vec::new();
    for _ in 0..worker.rng.random_range(1..=AT_ONCE) {
        let units = worker.rng.random_range(0..=20);
        let builder = thread::Builder::new().stack_size(64 * 1024);
        match builder.spawn(move || sys::compute(units)) {
            Ok(thread) => threads.push(thread),
            Err(error) if is_limit(&error) => break,
            Err(error) => return Err(error).context("cannot start a thread"),
        }
    }
    for thread in threads {
        if thread.join().is_ok() {
            worker.tick();
        }
    }
    Ok(())
}

/// A limit of this user or cgroup is reached: no fault, but no progress either.
pub fn is_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM))
}

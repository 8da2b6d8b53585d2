//! The kinds of load: what each needs, and how it starts.

mod attributes;
mod bound;
mod cgroup;
mod compute;
mod exits;
mod hotplug;
mod process;
mod realtime;
mod sleep;
mod talk;

use std::io;
use std::thread;

use anyhow::Result;
use scx_ops::nice;

use super::sys::{self, Policy};
use super::worker_pool::WorkerPool;
use crate::cli::StressKind;

pub use exits::leave_threads_behind;

/// Not part of a run unless asked for: they take whole CPUs away, or show one thing only.
pub fn is_opt_in(kind: StressKind) -> bool {
    matches!(
        kind,
        StressKind::RtHogs
            | StressKind::Hotplug
            | StressKind::Bursts
            | StressKind::Crowd
            | StressKind::Redraw
            | StressKind::Duet
    )
}

/// Do tasks of `kind` have a real-time policy, always or for a while?
pub fn is_real_time(kind: StressKind) -> bool {
    matches!(
        kind,
        StressKind::Rt | StressKind::RtHogs | StressKind::Flips | StressKind::Pi
    )
}

/// Why `kind` cannot run here, if it cannot.
pub fn obstacle(kind: StressKind) -> Option<String> {
    match kind {
        kind if is_real_time(kind) => privilege_obstacle("SCHED_FIFO", "-r", || {
            sys::set_policy(0, Policy::Fifo(1))?;
            sys::set_policy(0, Policy::Other)
        }),
        StressKind::Policy => privilege_obstacle("SCHED_IDLE and back", "-e", || {
            sys::set_policy(0, Policy::Idle)?;
            sys::set_policy(0, Policy::Other)
        }),
        StressKind::Nice => privilege_obstacle("negative nice values", "-e", || nice::set(0, -1)),
        StressKind::Membarrier => sleep::membarrier_obstacle(),
        StressKind::Cgroup => cgroup::obstacle(),
        StressKind::Hotplug => hotplug::obstacle(),
        _ => None,
    }
}

/// Tries `change` on a thread made for it: what cannot be undone goes with that thread.
fn privilege_obstacle(
    what: &str,
    limit: &str,
    change: impl FnOnce() -> io::Result<()> + Send,
) -> Option<String> {
    let tried = thread::scope(|scope| scope.spawn(change).join());
    let error = tried
        .unwrap_or_else(|_| Err(io::Error::other("the attempt panicked")))
        .err()?;
    Some(format!(
        "may not use {what} ({error}); run as root or raise `ulimit {limit}`"
    ))
}

/// Hires the workers of `kind`, one of `all`; real-time threads take `rt_duty` percent if there are `rt-hogs`.
pub fn start(
    kind: StressKind,
    all: &[StressKind],
    pool: &mut WorkerPool,
    rt_duty: u64,
) -> Result<()> {
    match kind {
        StressKind::Hogs => compute::hogs(pool),
        StressKind::Yield => compute::yields(pool),
        StressKind::Partners => compute::partners(pool),
        StressKind::Bound => bound::crowds(pool),
        StressKind::Pipes => talk::pipes(pool),
        StressKind::Futex => talk::futex_herd(pool),
        StressKind::Mutex => talk::mutex_convoy(pool),
        StressKind::Pi => talk::pi_mutex(pool),
        StressKind::Duet => talk::duet(pool),
        StressKind::Forks => process::forks(pool),
        StressKind::Vfork => process::vforks(pool),
        StressKind::Exec => process::execs(pool),
        StressKind::Threads => process::threads(pool),
        StressKind::Exits => exits::crowds(pool),
        StressKind::Affinity => attributes::affinity(pool),
        StressKind::Nice => attributes::nice_values(pool),
        StressKind::Policy => attributes::policy(pool),
        StressKind::Rt => realtime::bursts(pool),
        StressKind::Flips => realtime::flips(pool),
        StressKind::Bursts => compute::bursts(pool),
        StressKind::Crowd => compute::crowd(pool),
        StressKind::Redraw => compute::redraws(pool),
        StressKind::RtHogs => {
            let duty = realtime::shared_duty(rt_duty, all, pool.cpus().len());
            realtime::hogs(pool, duty)
        }
        StressKind::Sleepers => sleep::sleepers(pool),
        StressKind::Membarrier => sleep::membarriers(pool),
        StressKind::Cgroup => cgroup::churn(pool),
        StressKind::Hotplug => hotplug::storm(pool),
    }
}

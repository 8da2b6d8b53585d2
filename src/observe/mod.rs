//! Run-queue latency and slice lengths of every task, under any scheduler.
//!
//! [`Observer::start`] loads tracing programs of their own (`src/bpf/observe.bpf.c`), which need BTF
//! but no sched_ext; dropping it takes them out again. [`Observer::read`] gives everything counted so
//! far, [`Reading::since`] what happened between two readings, [`Histogram`] the quantiles.
//! [`IdleObserver`] is a second observer, for `bench` only: CPU time that goes by idle while tasks wait.

mod histogram;
mod idle;
mod observer;
pub mod report;
#[cfg(test)]
mod tests;

pub use histogram::Histogram;
pub use idle::IdleObserver;
#[allow(
    unused_imports,
    reason = "what the closures of Reading::waits() look at"
)]
pub use observer::{Class, Group};
pub use observer::{Observer, Reading};

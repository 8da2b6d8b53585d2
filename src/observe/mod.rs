//! Run-queue latency and slice lengths of every task, under any scheduler.
//!
//! [`Observer::start`] loads tracing programs of their own (`src/bpf/observe.bpf.c`), which need BTF
//! but no sched_ext; dropping it takes them out again. [`Observer::read`] gives everything counted so
//! far, [`Reading::since`] what happened between two readings, [`Histogram`] the quantiles.

mod histogram;
mod observer;
pub mod report;
#[cfg(test)]
mod tests;

pub use histogram::Histogram;
#[allow(
    unused_imports,
    reason = "what the closures of Reading::waits() look at"
)]
pub use observer::{Class, Group};
pub use observer::{Observer, Reading};

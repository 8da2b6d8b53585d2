//! Why tasks waited for a CPU, under any scheduler.
//!
//! [`Watcher::start`] loads tracing programs of their own (`src/bpf/why.bpf.c`), which need BTF but no sched_ext;
//! [`Watcher::finish`], or dropping it, takes them out again. [`Watcher::read`] hands over [`record::Record`]s; [`attribution`] makes a [`attribution::Wait`] with
//! its cause of those that belong together; [`report`] keeps the longest, sums up the rest and prints both.

pub mod attribution;
pub mod record;
pub mod report;
mod scheduler;
mod target;
#[cfg(test)]
mod tests;
mod watcher;
pub mod words;

pub use target::Target;
pub use watcher::Watcher;

//! The kernel side of a `sched_ext` agent, free of any policy.

pub mod ring;

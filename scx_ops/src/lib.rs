//! The kernel side of a `sched_ext` agent, free of any policy.
//!
//! * [`kernel`]: what the running kernel offers.
//! * [`btf`]: what it says of the types that an object needs.
//! * [`compat`]: what differs between kernels, in one table, and what we do about it.
//! * [`lifecycle`]: from attached to detached, and what an exit means.
//! * [`nice`]: nice values, and that of loading.
//! * [`ring`]: the BPF ring consumer.
//! * [`sched_ext`]: which scheduler is active, from sysfs.
//! * [`statistics`]: what each callback costs.
//!
//! Each fails with an [`Error`], but the ring with a [`ring::Error`].

pub mod btf;
pub mod compat;
mod error;
pub mod kernel;
pub mod lifecycle;
pub mod nice;
pub mod ring;
pub mod sched_ext;
pub mod statistics;

pub use error::{Error, Result};

//! What must hold in every world, and what is said when it does not.

use std::fmt;

/// An invariant. `docs/design/simulator.md` says of each what it allows, and why.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Invariant {
    /// No task waits for longer than a tick while a CPU that it may use is idle.
    IdleWhileWaiting,
    /// No wait is longer than the bound of `docs/design/policy.md`.
    BoundedWait,
    /// A task runs only where it may.
    AllowedCpu,
    /// A wakeup is placed on a CPU that the task may use: no fallback by the kernel.
    PlacedWhereAllowed,
    /// A runnable task is in exactly one place.
    OnePlace,
    /// The counts of a queue are what waits there.
    QueueCount,
    /// The count of CPU-bound tasks is what waits.
    CpuBoundCount,
    /// The count of tasks of an affinity domain is right.
    DomainCount,
    /// A slice is more than 0, and no more than the maximum.
    Slice,
    /// Equal tasks get equal shares.
    EqualShares,
    /// Unequal tasks get shares by their weights.
    WeightedShares,
    /// A task that computes has at least what its weight is worth, beside tasks of any kind.
    LeastShare,
    /// A task that yields gets no more than its share.
    YieldShare,
    /// The policy reports no error, and does not leave the kernel.
    NoError,
    /// Work goes on: not more than a million switches per second of a CPU.
    Progress,
}

/// A broken invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// When, ns after the begin.
    pub at_ns: u64,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} at {:.6} s: {}",
            self.invariant,
            self.at_ns as f64 / 1e9,
            self.text
        )
    }
}

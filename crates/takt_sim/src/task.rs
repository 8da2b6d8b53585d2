//! A task, as the simulated kernel knows it.

use crate::mask::CpuMask;
use crate::policy::SysTask;
use crate::world::Op;

/// `sched_prio_to_weight[]` of kernel/sched/core.c, from nice -20 on.
const PRIO_TO_WEIGHT: [u64; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906, 3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87,
    70, 56, 45, 36, 29, 23, 18, 15,
];

/// `SCHED_IDLE`.
pub const POLICY_IDLE: u32 = 5;

/// `scx.weight` for a nice value and a policy: `scx_set_weight()`.
pub fn scx_weight(nice: i32, policy: u32) -> u32 {
    let index = (nice.clamp(-20, 19) + 20) as usize;
    let weight = if policy == POLICY_IDLE {
        3
    } else {
        PRIO_TO_WEIGHT[index]
    };
    ((weight * 100 + 512) / 1024).clamp(1, 10_000) as u32
}

/// Where a task is. A runnable task is in exactly one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Asleep, or gone.
    Off,
    /// It has this CPU.
    Cpu(usize),
    /// In the local queue of this CPU.
    Local(usize),
    /// In a dispatch queue of the policy.
    Queue(u64),
    /// On its way to the local queue of another CPU.
    Deferred,
    /// Enqueued, but the policy has put it nowhere: lost.
    Lost,
}

/// What its CPU does for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It computes, or is in a system call.
    Works,
    /// It has said that it sleeps, and is on its way into `schedule()`.
    FallsAsleep,
    /// It exits.
    Exits,
}

/// A task.
pub struct Task {
    /// What the policy sees of it.
    pub sys: SysTask,
    /// T and its number, or C and a number for a child.
    pub name: String,
    /// Its program, repeated from the begin.
    pub program: Vec<Op>,
    /// The next operation.
    pub next_op: usize,
    /// What it does now.
    pub phase: Phase,
    /// How much of that is left, ns.
    pub left_ns: u64,
    /// Where it is.
    pub place: Place,
    /// Where the policy has inserted it while it is being enqueued: queue, flags.
    pub direct: Option<(u64, u64)>,
    /// It exists.
    pub is_alive: bool,
    /// Wakeups that it has not yet waited for.
    pub nr_wakes: u32,
    /// Number of its sleep.
    pub sleep_id: u64,
    /// Its nice value.
    pub nice: i32,
    /// The CPUs that it may use.
    pub mask: CpuMask,
    /// Since when it waits for a CPU, ns.
    pub waits_since: Option<u64>,
    /// The same, or since the CPUs that it may use last changed.
    pub may_run_since: u64,
    /// CPU time it has had, ns.
    pub ran_ns: u64,
    /// Longest wait, ns.
    pub longest_wait_ns: u64,
    /// An attribute of it was changed from outside.
    pub was_changed: bool,
}

impl Task {
    /// Is it runnable: `SCX_TASK_QUEUED`?
    pub fn is_queued(&self, queued_flag: u32) -> bool {
        self.sys.scx_flags() & queued_flag != 0
    }

    /// The CPU that it belongs to.
    pub fn cpu(&self) -> usize {
        self.sys.cpu() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_kernel() {
        assert_eq!(scx_weight(0, 0), 100);
        assert_eq!(scx_weight(-20, 0), 8668);
        assert_eq!(scx_weight(19, 0), 1);
        assert_eq!(scx_weight(5, 0), 33);
        assert_eq!(scx_weight(0, POLICY_IDLE), 1);
    }
}

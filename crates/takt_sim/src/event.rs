//! What happens next: a queue of events, by time and then in the order in which they were added.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a time. The numbers called `id` tell a later one from one that no longer
/// counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    /// The task that runs on a CPU has done what it was at.
    Done {
        /// The CPU.
        cpu: usize,
        /// Of its work.
        id: u64,
    },
    /// The timer tick of a CPU.
    Tick {
        /// The CPU.
        cpu: usize,
        /// Of its ticks since it left idle.
        id: u64,
    },
    /// A CPU has been asked to schedule, and does.
    Schedule {
        /// The CPU.
        cpu: usize,
        /// Of the request.
        id: u64,
    },
    /// `scx_bpf_kick_cpu()`: its interrupt work runs on CPU `from`.
    Kick {
        /// Where it was called.
        from: usize,
        /// The CPU that is kicked.
        cpu: usize,
        /// `SCX_KICK_*`.
        flags: u64,
    },
    /// A timer wakes a task that sleeps.
    Wake {
        /// The task.
        task: usize,
        /// Of its sleep.
        id: u64,
    },
    /// A change of the world's list.
    Change {
        /// Its index.
        index: usize,
    },
    /// The stopper of a CPU moves a task that may not run there any longer.
    Stopper {
        /// The CPU.
        cpu: usize,
        /// The task.
        task: usize,
    },
    /// A real-time task leaves a CPU.
    RealtimeEnd {
        /// The CPU.
        cpu: usize,
        /// Of the burst.
        id: u64,
    },
    /// A BPF timer expires.
    Timer {
        /// Its index: two timers of each CPU.
        index: usize,
        /// Of its start.
        id: u64,
    },
    /// The invariants are checked.
    Check,
}

/// The queue of events.
#[derive(Default)]
pub struct Events {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    nr_added: u64,
}

impl Events {
    /// `event` happens at `at_ns`.
    pub fn add(&mut self, at_ns: u64, event: Event) {
        self.nr_added += 1;
        self.heap.push(Reverse((at_ns, self.nr_added, event)));
    }

    /// Takes the next one, and its time in ns.
    pub fn take_next(&mut self) -> Option<(u64, Event)> {
        let Reverse((at_ns, _, event)) = self.heap.pop()?;
        Some((at_ns, event))
    }

    /// How many were added in all.
    pub fn nr_added(&self) -> u64 {
        self.nr_added
    }
}

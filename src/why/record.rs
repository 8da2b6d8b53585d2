//! Records of `src/bpf/why.bpf.c` as Rust types.

use scx_ops::ring;

use crate::base::output::escaped;
use crate::bpf_abi::intf::{self, why_segment, why_task, why_wait};
use crate::bpf_abi::name_in;
use crate::observe::Class;

/// A task at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id as a thread; 0: the CPU was idle.
    pub pid: i32,
    /// Its name; control characters are escaped.
    pub comm: String,
    /// Its class then, by its priority, inherited or not; `None`: no task, the CPU was idle.
    pub class: Option<Class>,
    /// The kernel's priority: below 0 deadline, below 100 real-time, 120 nice 0.
    pub prio: i32,
    /// Weight of its cgroup or session; 1024 is `cpu.weight` 100.
    pub shares: u32,
}

impl From<&why_task> for Task {
    fn from(raw: &why_task) -> Self {
        Self {
            pid: raw.pid,
            comm: escaped(&name_in(&raw.comm)),
            class: Class::ALL.get(usize::from(raw.class)).copied(),
            prio: raw.prio.into(),
            shares: raw.shares,
        }
    }
}

/// A task had a CPU. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// 0: since before any watched task waited.
    pub from_ns: u64,
    /// When it lost the CPU.
    pub to_ns: u64,
    /// Of it, hard interrupts of devices, in nanoseconds.
    pub irq_ns: u64,
    /// Of it, softirqs, in nanoseconds.
    pub softirq_ns: u64,
    /// The task.
    pub task: Task,
}

impl From<&why_segment> for Segment {
    fn from(raw: &why_segment) -> Self {
        Self {
            from_ns: raw.from_ns,
            to_ns: raw.to_ns,
            irq_ns: u64::from(raw.irq_us) * 1_000,
            softirq_ns: u64::from(raw.softirq_us) * 1_000,
            task: (&raw.task).into(),
        }
    }
}

/// How a wait began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Another task woke it.
    WokenByTask,
    /// A high-resolution timer.
    WokenByTimer,
    /// A device's hard interrupt: its number.
    WokenByIrq(u32),
    /// A softirq: which.
    WokenBySoftirq(u32),
    /// It is new.
    New,
    /// Another task took its CPU.
    Preempted,
}

/// What scx_takt knows of the task that ran where the wakee was to run: `enum why_rule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "src/bpf/intf.h describes each")]
pub enum Rule {
    Unknown,
    RunsNext,
    Throttled,
    NeverPreempts,
    NotOurs,
    PlacedBefore,
    ProtectedShort,
    ProtectedBegin,
    ProtectedSlice,
    Lag,
    Slice,
}

impl Rule {
    /// All of them, in the order of `enum why_rule`.
    const ALL: [Self; 11] = [
        Self::Unknown,
        Self::RunsNext,
        Self::Throttled,
        Self::NeverPreempts,
        Self::NotOurs,
        Self::PlacedBefore,
        Self::ProtectedShort,
        Self::ProtectedBegin,
        Self::ProtectedSlice,
        Self::Lag,
        Self::Slice,
    ];
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of a wait: then the task was moved to another CPU.
    Part,
    /// A wait, or its last part.
    Wait,
    /// A sleep in `futex()`, ended by a task that had waited for a CPU meanwhile.
    Lock,
    /// A wait that goes on.
    Open,
}

/// A wait, a part of one, or a sleep. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What this is.
    pub kind: Kind,
    /// When the wait, or the sleep, began.
    pub at_ns: u64,
    /// The same, of this part.
    pub part_ns: u64,
    /// When this part ended.
    pub end_ns: u64,
    /// For how long `cpu.max` kept the task's cgroups from running, in nanoseconds, summed over CPUs.
    pub throttled_ns: u64,
    /// Its cgroups might not run as it began to wait (`cpu.max`).
    pub throttled: bool,
    /// The dispatch queue of sched_ext that it waited in.
    pub dsq: Option<u64>,
    /// [`Rule::ProtectedShort`]: for how long since its wakeup, in nanoseconds.
    pub protect_ns: u64,
    /// CPUs that the task may use, of the first 64.
    pub allowed_cpus: u64,
    /// Of the first 64, other CPUs that were idle for half of this part.
    pub idle_cpus: u64,
    /// [`Kind::Lock`]: how long the waker had waited for a CPU, in nanoseconds.
    pub held_ns: u64,
    /// How it began.
    pub begin: Begin,
    /// Where it waited in this part.
    pub cpu: u32,
    /// Where it was placed first.
    pub first_cpu: u32,
    /// How many CPUs it may use.
    pub nr_allowed: u32,
    /// Times that it was moved to another CPU so far.
    pub nr_moves: u32,
    /// What scx_takt says.
    pub rule: Rule,
    /// The task that waited.
    pub task: Task,
    /// The waker, or the task that took its CPU.
    pub other: Task,
    /// The task that the rule is about; [`Kind::Lock`]: the last to run before the waker.
    pub ruled: Task,
    /// What had the CPU, in order of time.
    pub segments: Vec<Segment>,
}

impl Record {
    /// Reads a record of the ring; `None` if it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head = ring::record::<why_wait>(bytes).ok()?;
        let segments = bytes.get(size_of::<why_wait>()..)?;
        let segments = segments
            .chunks_exact(size_of::<why_segment>())
            .take(head.nr_segments as usize)
            .filter_map(|chunk| plain::from_bytes::<why_segment>(chunk).ok())
            .map(Segment::from);
        Some(Self::new(head, segments.collect()))
    }

    /// A record of its head and the segments after it.
    pub fn new(head: &why_wait, segments: Vec<Segment>) -> Self {
        Self {
            kind: match head.type_ {
                intf::why_record_type_WHY_PART => Kind::Part,
                intf::why_record_type_WHY_LOCK => Kind::Lock,
                _ => Kind::Wait,
            },
            at_ns: head.at_ns,
            part_ns: head.part_ns,
            end_ns: head.end_ns,
            throttled_ns: head.throttled_ns,
            throttled: head.throttled != 0,
            dsq: (head.dsq != u64::MAX).then_some(head.dsq),
            protect_ns: head.protect_ns,
            allowed_cpus: head.allowed_cpus,
            idle_cpus: head.idle_cpus,
            held_ns: head.held_ns,
            begin: match head.begin {
                intf::why_begin_WHY_WOKEN_BY_TASK => Begin::WokenByTask,
                intf::why_begin_WHY_WOKEN_BY_TIMER => Begin::WokenByTimer,
                intf::why_begin_WHY_WOKEN_BY_IRQ => Begin::WokenByIrq(head.vector),
                intf::why_begin_WHY_WOKEN_BY_SOFTIRQ => Begin::WokenBySoftirq(head.vector),
                intf::why_begin_WHY_NEW => Begin::New,
                _ => Begin::Preempted,
            },
            cpu: head.cpu,
            first_cpu: head.first_cpu,
            nr_allowed: head.nr_allowed,
            nr_moves: head.nr_moves,
            rule: Rule::ALL
                .get(head.rule as usize)
                .copied()
                .unwrap_or(Rule::Unknown),
            task: (&head.task).into(),
            other: (&head.other).into(),
            ruled: (&head.ruled).into(),
            segments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_in_the_order_of_the_abi() {
        assert_eq!(
            Rule::ALL.map(|rule| rule as u32),
            std::array::from_fn(|i| i as u32)
        );
        assert_eq!(Rule::Slice as u32, intf::why_rule_WHY_RULE_SLICE);
        assert_eq!(
            Rule::PlacedBefore as u32,
            intf::why_rule_WHY_RULE_PLACED_BEFORE
        );
    }

    #[test]
    fn a_record_that_is_cut_off_is_none() {
        assert_eq!(Record::parse(&[0; 8]), None);
        let zeros = [0_u64; 512];
        // SAFETY: plain words, read as bytes.
        let bytes = unsafe { plain::as_bytes(&zeros) };
        let record = Record::parse(bytes).unwrap();
        assert!(record.segments.is_empty());
    }
}

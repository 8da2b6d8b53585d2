//! The description of a world: a machine, tasks with programs, and changes that come from outside.

use crate::mask::CpuMask;
use crate::topology::Topology;
use std::fmt;

/// One microsecond, in ns.
pub const US: u64 = 1_000;
/// One millisecond, in ns.
pub const MS: u64 = 1_000_000;
/// One second, in ns.
pub const S: u64 = 1_000_000_000;

/// What a task does next. Times are ns; those of computing and sleeping vary by an eighth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Computes for so long.
    Compute(u64),
    /// Sleeps, and is woken by a timer after so long.
    Sleep(u64),
    /// Sleeps until another task wakes it; goes on at once if one has since it last waited.
    Wait,
    /// Wakes the task of this number, from 0 on.
    Wake {
        /// Which one, of the world's tasks.
        task: usize,
        /// As pipes and sockets do: it says that it is about to sleep.
        sync: bool,
    },
    /// `sched_yield()`.
    Yield,
    /// Forks a child that computes for so long and exits.
    Fork(u64),
    /// Exits.
    Exit,
}

/// A task that the world begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskSpec {
    /// When it first wakes, ns after the begin.
    pub start_ns: u64,
    /// Its nice value, -20 to 19.
    pub nice: i32,
    /// `SCHED_*`: 0 normal, 3 batch, 5 idle.
    pub policy: u32,
    /// The CPUs that it may use; none: all.
    pub mask: CpuMask,
    /// What it does, over and over.
    pub program: Vec<Op>,
}

impl TaskSpec {
    /// Does it compute for ever, with no change of its own making?
    pub fn is_cpu_bound(&self) -> bool {
        self.program.iter().all(|op| matches!(op, Op::Compute(_)))
    }
}

/// What changes from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// The CPUs that a task may use.
    Affinity {
        /// The task.
        task: usize,
        /// What it may use from then on.
        mask: CpuMask,
    },
    /// The nice value of a task.
    Nice {
        /// The task.
        task: usize,
        /// From -20 to 19.
        nice: i32,
    },
    /// The policy of a task.
    Policy {
        /// The task.
        task: usize,
        /// 0 normal, 3 batch, 5 idle.
        policy: u32,
    },
    /// A real-time task takes a CPU.
    Realtime {
        /// The CPU.
        cpu: usize,
        /// For so long.
        ns: u64,
    },
}

/// A change, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// When, ns after the begin.
    pub at_ns: u64,
    /// What.
    pub kind: ChangeKind,
}

/// What things cost, ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Costs {
    /// A switch from one task to another.
    pub switch_ns: u64,
    /// A wakeup, to the waker.
    pub wake_ns: u64,
    /// A tick, to the task that runs.
    pub tick_ns: u64,
    /// From sending an interrupt to another CPU until that one schedules.
    pub ipi_ns: u64,
    /// The same, if that CPU is idle, and has to leave a sleep state.
    pub idle_exit_ns: u64,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            switch_ns: 1500,
            wake_ns: 1200,
            tick_ns: 1000,
            ipi_ns: 1500,
            idle_exit_ns: 3000,
        }
    }
}

/// A world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct World {
    /// Of all that is random within.
    pub seed: u64,
    /// The machine.
    pub topology: Topology,
    /// Do the ticks of all CPUs come at the same time?
    pub ticks_at_once: bool,
    /// What things cost.
    pub costs: Costs,
    /// How long it lasts, ns.
    pub duration_ns: u64,
    /// Tasks.
    pub tasks: Vec<TaskSpec>,
    /// Changes, in any order.
    pub changes: Vec<Change>,
    /// Known faults of the policy count, too: docs/design/simulator.md.
    pub is_strict: bool,
}

impl World {
    /// The CPUs that a task may use at first.
    pub fn mask_of(&self, task: usize) -> CpuMask {
        let all = CpuMask::first(self.topology.nr_cpus());
        let mask = self.tasks[task].mask.and(&all);
        if mask.is_empty() { all } else { mask }
    }
}

/// A time with its unit.
pub struct Ns(pub u64);

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        match ns {
            0..US => write!(f, "{ns}ns"),
            US..MS => write!(f, "{}us", ns as f64 / US as f64),
            MS..S => write!(f, "{}ms", ns as f64 / MS as f64),
            _ => write!(f, "{}s", ns as f64 / S as f64),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Compute(ns) => write!(f, "compute {}", Ns(ns)),
            Self::Sleep(ns) => write!(f, "sleep {}", Ns(ns)),
            Self::Wait => write!(f, "wait"),
            Self::Wake { task, sync: false } => write!(f, "wake T{task}"),
            Self::Wake { task, sync: true } => write!(f, "wake T{task} sync"),
            Self::Yield => write!(f, "yield"),
            Self::Fork(ns) => write!(f, "fork {}", Ns(ns)),
            Self::Exit => write!(f, "exit"),
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Affinity { task, mask } => write!(f, "T{task} may use CPUs {mask}"),
            Self::Nice { task, nice } => write!(f, "T{task} gets nice {nice}"),
            Self::Policy { task, policy } => write!(f, "T{task} gets policy {policy}"),
            Self::Realtime { cpu, ns } => {
                write!(f, "a real-time task takes CPU {cpu} for {}", Ns(*ns))
            }
        }
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "costs: switch {}, wake {}, tick {}, interrupt {}, idle exit {}",
            Ns(self.switch_ns),
            Ns(self.wake_ns),
            Ns(self.tick_ns),
            Ns(self.ipi_ns),
            Ns(self.idle_exit_ns)
        )
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticks = if self.ticks_at_once {
            "at once"
        } else {
            "spread"
        };
        writeln!(
            f,
            "machine {} ({} CPUs), ticks {ticks}, {}, seed {}",
            self.topology,
            self.topology.nr_cpus(),
            Ns(self.duration_ns),
            self.seed
        )?;
        if self.costs != Costs::default() {
            writeln!(f, "{}", self.costs)?;
        }
        for (number, task) in self.tasks.iter().enumerate() {
            write!(
                f,
                "T{number}: from {}, nice {}, policy {}, CPUs {}:",
                Ns(task.start_ns),
                task.nice,
                task.policy,
                self.mask_of(number)
            )?;
            for (index, op) in task.program.iter().enumerate() {
                write!(f, "{} {op}", if index > 0 { "," } else { "" })?;
            }
            writeln!(f)?;
        }
        for change in &self.changes {
            writeln!(f, "at {}: {}", Ns(change.at_ns), change.kind)?;
        }
        Ok(())
    }
}

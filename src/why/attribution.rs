//! What had the CPU while a task waited, and which of them is the first cause. No BPF in it.

use super::record::{Begin, Kind, Record, Rule, Task};
use crate::observe::Class;

/// Tasks that take turns and are called a crowd.
const CROWD: usize = 3;
/// `cpu.weight` counts as higher from this ratio on, in percent.
const HEAVIER_PERCENT: u64 = 125;

/// What had a CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A task.
    Task(Task),
    /// Hard interrupts of devices.
    Irq,
    /// Softirqs.
    Softirq,
    /// Nothing: the CPU was idle.
    Idle,
    /// Several that are not named.
    Others,
    /// It was not seen.
    Unknown,
}

impl Holder {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Task(one), Self::Task(two)) => one.pid == two.pid && one.comm == two.comm,
            _ => self == other,
        }
    }
}

/// A part of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What had the CPU.
    pub holder: Holder,
    /// For how long, in nanoseconds.
    pub ns: u64,
}

/// Adds `ns` to the share of `holder`.
pub fn add(shares: &mut Vec<Share>, holder: Holder, ns: u64) {
    if ns == 0 {
        return;
    }
    match shares
        .iter_mut()
        .find(|share| share.holder.is_same(&holder))
    {
        Some(share) => share.ns += ns,
        None => shares.push(Share { holder, ns }),
    }
}

/// The first cause of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The budget of its cgroup was used up (`cpu.max`).
    Throttled,
    /// Interrupts and softirqs.
    Interrupts,
    /// Real-time or deadline tasks; the one that ran longest.
    Realtime(Task),
    /// The CPU was idle: it was not woken up, or was slow to.
    IdleCpu,
    /// Other CPUs were idle, and its affinity excludes them; the task that ran longest meanwhile.
    Affinity(Option<Task>),
    /// Other CPUs that it may use were idle; the task that ran longest meanwhile.
    IdleElsewhere(Option<Task>),
    /// A task with a higher weight: its nice value is lower.
    HigherWeight(Task),
    /// A task of a cgroup or session with a higher weight.
    HeavierCgroup(Task),
    /// So many tasks that took turns, none of which had half of the time.
    Crowd(usize),
    /// One task that had the CPU.
    Task(Task),
    /// A lock: its holder waited for a CPU behind that task.
    Lock(Task),
    /// It cannot be known.
    Unknown,
}

impl Cause {
    /// A word for sums and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Interrupts => "interrupts",
            Self::Realtime(_) => "real-time",
            Self::IdleCpu => "idle CPU",
            Self::Affinity(_) => "affinity",
            Self::IdleElsewhere(_) => "idle elsewhere",
            Self::HigherWeight(_) => "higher weight",
            Self::HeavierCgroup(_) => "heavier cgroup",
            Self::Crowd(_) => "crowd",
            Self::Task(_) => "task",
            Self::Lock(_) => "lock",
            Self::Unknown => "unknown",
        }
    }
}

/// A wait and what it was for. Times are nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The last record of it: when, where, how it began, what scx_takt says.
    pub last: Record,
    /// How long it was.
    pub wait_ns: u64,
    /// CPUs that it waited on, in order.
    pub cpus: Vec<u32>,
    /// Of the first 64, other CPUs that were idle for half of a part.
    pub idle_cpus: u64,
    /// What had them meanwhile, longest first.
    pub shares: Vec<Share>,
    /// The first cause.
    pub cause: Cause,
}

/// The wait that `parts` are of, in order of time; `None` if there are none.
pub fn judge(parts: &[Record]) -> Option<Wait> {
    let last = parts.last()?.clone();
    let wait_ns = last.end_ns.saturating_sub(last.at_ns);
    let mut shares = Vec::new();
    let mut cpus: Vec<u32> = Vec::new();
    if last.kind != Kind::Lock {
        for part in parts {
            if cpus.last() != Some(&part.cpu) {
                cpus.push(part.cpu);
            }
            add_segments(&mut shares, part);
        }
        let known: u64 = shares.iter().map(|share| share.ns).sum();
        add(&mut shares, Holder::Unknown, wait_ns.saturating_sub(known));
    }
    shares.sort_by_key(|share| std::cmp::Reverse(share.ns));
    // A CPU was idle, if it was in every part that lasted.
    let lasting = parts.iter().filter(|part| 4 * length_ns(part) >= wait_ns);
    let idle_cpus = lasting
        .map(|part| part.idle_cpus)
        .reduce(|all, one| all & one);
    let idle_cpus = idle_cpus.unwrap_or(0);
    let cause = cause_of(&last, wait_ns, idle_cpus, &shares);
    Some(Wait {
        last,
        wait_ns,
        cpus,
        idle_cpus,
        shares,
        cause,
    })
}

fn length_ns(part: &Record) -> u64 {
    part.end_ns.saturating_sub(part.part_ns)
}

/// What had the CPU in this part.
fn add_segments(shares: &mut Vec<Share>, part: &Record) {
    for segment in &part.segments {
        let from_ns = segment.from_ns.max(part.part_ns);
        // A record of another CPU may be torn: no share is longer than the part.
        let mut left_ns = segment.to_ns.min(part.end_ns).saturating_sub(from_ns);
        let mut take = |ns: u64| {
            let taken = ns.min(left_ns);
            left_ns -= taken;
            taken
        };
        let (irq_ns, softirq_ns) = (take(segment.irq_ns), take(segment.softirq_ns));
        add(shares, Holder::Irq, irq_ns);
        add(shares, Holder::Softirq, softirq_ns);
        let holder = match segment.task.class {
            None => Holder::Idle,
            Some(_) => Holder::Task(segment.task.clone()),
        };
        add(shares, holder, left_ns);
    }
}

fn cause_of(last: &Record, wait_ns: u64, idle_cpus: u64, shares: &[Share]) -> Cause {
    if last.kind == Kind::Lock {
        return Cause::Lock(last.ruled.clone());
    }
    let sum = |wanted: &dyn Fn(&Holder) -> bool| {
        let wanted = shares.iter().filter(|share| wanted(&share.holder));
        wanted.map(|share| share.ns).sum::<u64>()
    };
    let is_half = |ns: u64| 2 * ns >= wait_ns;
    let tasks: Vec<&Task> = shares.iter().filter_map(task_of).collect();
    let realtime = |task: &Task| matches!(task.class, Some(Class::Realtime | Class::Deadline));
    // The time that an open wait was throttled for is known at its end only.
    let begins_throttled = last.kind == Kind::Open && last.throttled;
    if last.rule == Rule::Throttled || begins_throttled || is_half(last.throttled_ns) {
        return Cause::Throttled;
    }
    if is_half(sum(&|holder| {
        matches!(holder, Holder::Irq | Holder::Softirq)
    })) {
        return Cause::Interrupts;
    }
    if is_half(sum(
        &|holder| matches!(holder, Holder::Task(task) if realtime(task)),
    )) && let Some(task) = tasks.iter().find(|task| realtime(task))
    {
        return Cause::Realtime((*task).clone());
    }
    if is_half(sum(&|holder| *holder == Holder::Idle)) {
        return Cause::IdleCpu;
    }
    let longest = tasks.first().copied();
    if idle_cpus & !last.allowed_cpus != 0 && idle_cpus & last.allowed_cpus == 0 {
        return Cause::Affinity(longest.cloned());
    }
    if idle_cpus & last.allowed_cpus != 0 {
        return Cause::IdleElsewhere(longest.cloned());
    }
    if is_half(sum(&|holder| *holder == Holder::Unknown)) {
        return Cause::Unknown;
    }
    longest.map_or(Cause::Unknown, |longest| {
        among_equals(&last.task, longest, shares, wait_ns)
    })
}

/// The cause if tasks below real-time had the CPU, of which `longest` had most.
fn among_equals(task: &Task, longest: &Task, shares: &[Share], wait_ns: u64) -> Cause {
    let heavier: u64 = shares
        .iter()
        .filter(|share| task_of(share).is_some_and(|other| other.prio < task.prio))
        .map(|share| share.ns)
        .sum();
    if 2 * heavier >= wait_ns && longest.prio < task.prio {
        return Cause::HigherWeight(longest.clone());
    }
    if u64::from(longest.shares) * 100 >= u64::from(task.shares) * HEAVIER_PERCENT {
        return Cause::HeavierCgroup(longest.clone());
    }
    let mut tasks = shares.iter().filter(|share| task_of(share).is_some());
    let longest_ns = tasks.next().map_or(0, |share| share.ns);
    let nr_tasks = 1 + tasks.count();
    if 2 * longest_ns < wait_ns && nr_tasks >= CROWD {
        return Cause::Crowd(nr_tasks);
    }
    Cause::Task(longest.clone())
}

fn task_of(share: &Share) -> Option<&Task> {
    match &share.holder {
        Holder::Task(task) => Some(task),
        _ => None,
    }
}

/// Was the task moved from the CPU that it began to wait on?
pub fn was_moved(wait: &Wait) -> bool {
    wait.last.nr_moves > 0 && wait.last.cpu != wait.last.first_cpu
}

/// Did another task have a hand in how this wait began?
pub fn has_other(begin: Begin) -> bool {
    matches!(begin, Begin::WokenByTask | Begin::New | Begin::Preempted)
}

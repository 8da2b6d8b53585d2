//! What `scx_takt why` says of a task, a wait and its cause, in plain words.

use super::attribution::{Cause, Holder, Wait, was_moved};
use super::record::{Begin, Kind, Record, Rule, Task};
use crate::base::units;
use crate::observe::Class;

/// The softirqs, in the kernel's order (`include/linux/interrupt.h`).
const SOFTIRQS: [&str; 10] = [
    "high-priority tasklet",
    "timer",
    "network send",
    "network receive",
    "block device",
    "poll of block devices",
    "tasklet",
    "load balance",
    "high-resolution timer",
    "RCU",
];
/// The kernel's priority of nice 0, and the end of real-time ones.
const NICE_0: i32 = 120;
const MAX_RT_PRIO: i32 = 100;

/// A task with its PID.
pub fn task(task: &Task) -> String {
    format!("{} ({})", task.comm, task.pid)
}

/// A task, its PID and how it is scheduled, where that is special.
pub fn described(task: &Task) -> String {
    several(task, &task.pid.to_string())
}

/// Several tasks like this one: so many.
pub fn several(task: &Task, count: &str) -> String {
    let kind = match task.class {
        Some(Class::Deadline) => ", deadline".to_owned(),
        Some(Class::Realtime) if task.prio < 0 => ", stopper".to_owned(),
        Some(Class::Realtime) => format!(", real-time {}", MAX_RT_PRIO - 1 - task.prio),
        Some(Class::Idle) => ", SCHED_IDLE".to_owned(),
        _ if task.prio != NICE_0 => format!(", nice {}", task.prio - NICE_0),
        _ => String::new(),
    };
    format!("{} ({count}{kind})", task.comm)
}

/// What had the CPU.
pub fn holder(holder: &Holder, nr_others: usize) -> String {
    match holder {
        Holder::Task(task) => described(task),
        Holder::Irq => "interrupts".to_owned(),
        Holder::Softirq => "softirqs".to_owned(),
        Holder::Idle => "idle".to_owned(),
        Holder::Others if nr_others == 0 => "others".to_owned(),
        Holder::Others => format!("{nr_others} others"),
        Holder::Unknown => "not seen".to_owned(),
    }
}

/// CPUs of a mask as `0-1,4`.
pub fn cpus(mask: u64) -> String {
    let mut parts = Vec::new();
    let mut cpu = 0;
    while cpu < u64::BITS {
        let run = (mask >> cpu).trailing_ones();
        match run {
            0 => {}
            1 => parts.push(cpu.to_string()),
            _ => parts.push(format!("{cpu}-{}", cpu + run - 1)),
        }
        cpu += run.max(1);
    }
    parts.join(",")
}

/// `CPU 1 was`, `CPUs 1-2 were`.
fn cpus_were(mask: u64) -> String {
    match mask.count_ones() {
        1 => format!("CPU {} was", cpus(mask)),
        _ => format!("CPUs {} were", cpus(mask)),
    }
}

/// How the wait began.
pub fn begin(record: &Record) -> String {
    let other = task(&record.other);
    let softirq = |vector: u32| SOFTIRQS.get(vector as usize).copied().unwrap_or("?");
    match record.begin {
        Begin::WokenByTask => format!("woken by {other}"),
        Begin::WokenByTimer => "woken by a timer".to_owned(),
        Begin::WokenByIrq(number) => format!("woken by interrupt {number}"),
        Begin::WokenBySoftirq(vector) => format!("woken by a softirq ({})", softirq(vector)),
        Begin::New => format!("new, made by {other}"),
        Begin::Preempted if record.other.pid == 0 => "lost the CPU, which went idle".to_owned(),
        Begin::Preempted => format!("preempted by {other}"),
    }
}

/// Where the wait began and ended.
pub fn place(wait: &Wait) -> String {
    let last = &wait.last;
    let begin = format!("placed on CPU {}", last.first_cpu);
    match last.kind {
        Kind::Open => format!("{begin}; still waits, on CPU {}", last.cpu),
        _ if was_moved(wait) => format!("{begin}; got CPU {}", last.cpu),
        _ => format!("{begin}; got it there"),
    }
}

/// How long those shares were that a cause is about.
fn part_of(wait: &Wait, is_wanted: impl Fn(&Holder) -> bool) -> String {
    let wanted = wait.shares.iter().filter(|share| is_wanted(&share.holder));
    units::time(wanted.map(|share| share.ns).sum())
}

fn ran_for(wait: &Wait, one: &Task) -> String {
    part_of(
        wait,
        |holder| matches!(holder, Holder::Task(task) if task.pid == one.pid),
    )
}

/// The first cause, in a line.
pub fn cause(wait: &Wait) -> String {
    let last = &wait.last;
    let behind = |task: &Option<Task>| {
        let task = task.as_ref();
        task.map_or(String::new(), |task| {
            format!("; behind {} for {}", described(task), ran_for(wait, task))
        })
    };
    match &wait.cause {
        Cause::Throttled => "its cgroup's budget (cpu.max) was used up".to_owned(),
        Cause::Interrupts => format!(
            "interrupts and softirqs had the CPU for {}",
            part_of(wait, |holder| matches!(
                holder,
                Holder::Irq | Holder::Softirq
            ))
        ),
        Cause::Realtime(task) => format!(
            "{} had the CPU for {}",
            described(task),
            ran_for(wait, task)
        ),
        Cause::IdleCpu => format!(
            "its CPU was idle for {} and did not take it",
            part_of(wait, |holder| *holder == Holder::Idle)
        ),
        Cause::Affinity(task) => format!(
            "{} idle, but its affinity is {}{}",
            cpus_were(wait.idle_cpus & !last.allowed_cpus),
            cpus(last.allowed_cpus),
            behind(task)
        ),
        Cause::IdleElsewhere(task) => format!(
            "{} idle and not used, though it may run there{}",
            cpus_were(wait.idle_cpus & last.allowed_cpus),
            behind(task)
        ),
        Cause::HigherWeight(task) => format!(
            "{}, of higher weight, had the CPU for {}",
            described(task),
            ran_for(wait, task)
        ),
        Cause::HeavierCgroup(task) => format!(
            "{} had the CPU for {}; its cgroup or session has {:.1} times the weight",
            described(task),
            ran_for(wait, task),
            f64::from(task.shares) / f64::from(last.task.shares.max(1))
        ),
        Cause::Crowd(count) => format!("{count} tasks took turns on the CPU"),
        Cause::Task(task) => format!(
            "{} had the CPU for {}",
            described(task),
            ran_for(wait, task)
        ),
        Cause::Lock(before) => lock(last, before),
        Cause::Unknown => "it cannot be known: what ran there was not seen".to_owned(),
    }
}

/// A sleep in futex(), ended by a task that had waited for a CPU behind `before`.
fn lock(record: &Record, before: &Task) -> String {
    let waker = task(&record.other);
    let held = units::time(record.held_ns);
    let behind = match before.class {
        None => "an idle CPU".to_owned(),
        Some(_) => described(before),
    };
    format!(
        "{waker}, which ended the sleep (it held the lock, most likely), had waited for CPU {} for \
         {held}, at last behind {behind}",
        record.cpu
    )
}

/// What scx_takt says of the wait.
pub fn rule(record: &Record) -> Option<String> {
    let current = task(&record.ruled);
    Some(match record.rule {
        Rule::Unknown => return None,
        Rule::RunsNext => "it was placed on its CPU, to run next".to_owned(),
        Rule::Throttled => "it waited for the budget of its cgroup (cpu.max)".to_owned(),
        Rule::NeverPreempts => {
            format!("it waits rather than preempt {current}: class background, or SCHED_BATCH")
        }
        Rule::NotOurs if record.ruled.class.is_none() => {
            "no task of scx_takt had the CPU".to_owned()
        }
        Rule::NotOurs => format!("{current}, which is not scx_takt's, had the CPU"),
        Rule::PlacedBefore => {
            format!("another task had been placed already to run next after {current}")
        }
        Rule::ProtectedShort if record.protect_ns > 0 => format!(
            "{current} was protected: short-running, for {} from its wakeup on",
            units::time(record.protect_ns)
        ),
        Rule::ProtectedShort => format!("{current} was protected: short-running"),
        Rule::ProtectedBegin => {
            format!("{current} was protected: it had run for too short a time to be preempted")
        }
        Rule::ProtectedSlice => {
            format!("{current} was protected: wakeups had kept it from using up its slice for long")
        }
        Rule::Lag => {
            format!("it queued by its deadline: {current} was not further behind its share")
        }
        Rule::Slice => "it queued for its next slice, by its deadline".to_owned(),
    })
}

/// On which CPUs it may run, if not on all.
pub fn affinity(wait: &Wait, nr_cpus: u32) -> Option<String> {
    let last = &wait.last;
    let is_named = matches!(wait.cause, Cause::Affinity(_));
    (last.nr_allowed < nr_cpus && !is_named && last.allowed_cpus != 0).then(|| {
        let plural = if last.nr_allowed == 1 { "" } else { "s" };
        format!("it may use CPU{plural} {} only", cpus(last.allowed_cpus))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_lists() {
        assert_eq!(cpus(0), "");
        assert_eq!(cpus(0b1), "0");
        assert_eq!(cpus(0b1011), "0-1,3");
        assert_eq!(cpus(u64::MAX), "0-63");
        assert_eq!(cpus_were(0b10), "CPU 1 was");
        assert_eq!(cpus_were(0b110), "CPUs 1-2 were");
    }
}

//! Every task: whether it runs or waits, where, and why it is treated so.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::mem::MaybeUninit;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Iter, IterOpts, Link, OpenObject, ProgramMut};

use crate::base::units;
use crate::bpf_abi::tasks::{TasksSkel, TasksSkelBuilder};
use crate::bpf_abi::{intf, name_in};
use crate::snapshot::{Cpu, Queue, Task, Tasks};

/// Tasks in each of the lists of a snapshot.
const LISTED: usize = 24;
/// Numbers of the kernel's own dispatch queues have this bit set.
const DSQ_BUILTIN: u64 = 1 << 63;
/// The first of our queues of each kind, and how many there are: see queue.bpf.h.
const QUEUE_DOMAINS: u64 = intf::takt_queue_TAKT_QUEUE_DOMAINS as u64;
const QUEUE_CPUS: u64 = intf::takt_queue_TAKT_QUEUE_CPUS as u64;
const NR_QUEUES: u64 = intf::takt_queue_TAKT_NR_QUEUES as u64;

/// Long enough to leave the CPU and come back.
const MOMENT: Duration = Duration::from_micros(1);

/// A task iterator that is ready to be read again and again.
pub struct TaskIterator(Link);

impl TaskIterator {
    /// Makes one of a loaded iterator program.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn attach(program: &ProgramMut<'_>) -> Result<Self> {
        let link = program.attach_iter_with_opts(IterOpts::None);
        Ok(Self(link.context("cannot open the task iterator")?))
    }

    /// Samples every task.
    ///
    /// # Errors
    /// If the iterator cannot be read.
    pub fn read(&self) -> Result<Vec<intf::takt_task>> {
        // The kernel notes when this thread got its CPU, which tells the program what time it is.
        thread::sleep(MOMENT);
        let mut bytes = Vec::new();
        Iter::new(&self.0)
            .context("cannot start the task iterator")?
            .read_to_end(&mut bytes)
            .context("cannot read the tasks")?;
        let size = size_of::<intf::takt_task>();
        let tasks = bytes.chunks_exact(size).filter_map(|chunk| {
            let mut task = intf::takt_task::default();
            plain::copy_from_bytes(&mut task, chunk).ok()?;
            Some(task)
        });
        Ok(tasks.collect())
    }
}

/// The iterator for whatever scheduler is active.
pub struct Local {
    iterator: TaskIterator,
    /// Holds the program; the storage below must outlive it.
    _skel: TasksSkel<'static>,
}

impl Local {
    /// Loads it.
    ///
    /// # Errors
    /// If this process may not, or the kernel has no BTF.
    pub fn load() -> Result<Self> {
        // The skeleton borrows its object for life. It is made once per process and kept to its end.
        let storage: &'static mut MaybeUninit<OpenObject> =
            Box::leak(Box::new(MaybeUninit::uninit()));
        let mut skel = TasksSkelBuilder::default().open(storage)?;
        skel.progs.scx_lib_init_probe.set_autoload(false);
        let skel = skel
            .load()
            .context("the kernel refuses the task iterator")?;
        Ok(Self {
            iterator: TaskIterator::attach(&skel.progs.any_tasks)?,
            _skel: skel,
        })
    }

    /// Samples every task.
    ///
    /// # Errors
    /// If the iterator cannot be read.
    pub fn read(&self) -> Result<Vec<intf::takt_task>> {
        self.iterator.read()
    }
}

/// What decides how tasks are treated.
#[derive(Default)]
pub struct Policy {
    /// A sched_ext scheduler has every task that is not real-time.
    pub all_ext: bool,
    /// scx_takt schedules: the task's lag and run lengths are known.
    pub ours: bool,
    /// Tunable `preempt_margin_ns`.
    pub preempt_margin_ns: u64,
    /// Tunable `burst_max_ns`.
    pub burst_max_ns: u64,
}

/// What tasks had used at the last sample, to compute what they use per second.
#[derive(Default)]
pub struct Table {
    seen: HashMap<i32, Seen>,
    at_ns: u64,
}

struct Seen {
    started_ns: u64,
    run_ns: u64,
    waited_ns: u64,
}

impl Table {
    /// The tasks that ran and that waited since the last sample; of the first only tasks that wait now.
    pub fn sample(&mut self, tasks: &[intf::takt_task], at_ns: u64, policy: &Policy) -> Tasks {
        if tasks.is_empty() {
            // They cannot be seen. What is seen next has no period, or all that tasks have ever used would be
            // of the last one.
            *self = Self::default();
            return Tasks::default();
        }
        let period_ns = if self.at_ns == 0 {
            0
        } else {
            at_ns.saturating_sub(self.at_ns)
        };
        let described: Vec<_> = tasks
            .iter()
            .map(|task| describe(task, self.seen.get(&task.pid), period_ns, policy))
            .collect();
        let seen = |task: &intf::takt_task| {
            let seen = Seen {
                started_ns: task.started_ns,
                run_ns: task.run_ns,
                waited_ns: task.delay_ns + task.waits_ns,
            };
            (task.pid, seen)
        };
        self.seen = tasks.iter().map(seen).collect();
        self.at_ns = at_ns;
        let waiting = || described.iter().filter(|task| task.waits_ns > 0);
        Tasks {
            total: described.len() as u64,
            waiting: waiting().count() as u64,
            longest: waiting().max_by_key(|task| task.waits_ns).cloned(),
            waiters: most(&described, |task| (task.wait_permille, task.waits_ns)),
            runners: most(&described, |task| (task.run_permille, 0)),
        }
    }
}

/// The tasks with the greatest key, greatest first; those with a key of 0 are left out.
fn most(tasks: &[Task], key: impl Fn(&Task) -> (u64, u64)) -> Vec<Task> {
    let mut found: Vec<_> = tasks.iter().filter(|task| key(task) != (0, 0)).collect();
    found.sort_by_key(|task| (Reverse(key(task)), task.pid));
    found.into_iter().take(LISTED).cloned().collect()
}

fn describe(task: &intf::takt_task, seen: Option<&Seen>, period_ns: u64, policy: &Policy) -> Task {
    // Unknown at the last sample: born since then, so that all it has used is new.
    let seen = seen.filter(|seen| seen.started_ns == task.started_ns);
    let base = seen.map_or((0, 0), |seen| (seen.run_ns, seen.waited_ns));
    let permille = |now: u64, then: u64| {
        let part = 1000 * now.saturating_sub(then);
        part.checked_div(period_ns).unwrap_or(0).min(1000)
    };
    let mut described = Task {
        pid: task.pid.into(),
        tgid: task.tgid.into(),
        comm: comm(&task.comm),
        class: class_name(task.class, policy.all_ext).to_owned(),
        cpu: task.cpu.into(),
        allowed_cpus: task.allowed_cpus.into(),
        nice: task.nice.into(),
        run_permille: permille(task.run_ns, base.0),
        wait_permille: permille(task.delay_ns + task.waits_ns, base.1),
        waits_ns: task.waits_ns,
        est_run_ns: task.est_run_ns,
        lag_ns: task.lag_ns,
        ruled: ruled_name(task.ruled).to_owned(),
        why: String::new(),
    };
    described.why = why(&described, policy);
    described
}

/// Why a task is treated as it is, in a few words.
fn why(task: &Task, policy: &Policy) -> String {
    let mut reasons: Vec<String> = Vec::new();
    if !task.ruled.is_empty() {
        reasons.push(format!("rule: {}", task.ruled));
    }
    match task.class.as_str() {
        "rt" => reasons.push("real-time class".into()),
        "dl" => reasons.push("deadline class".into()),
        _ if policy.ours => reasons.push(why_of_ours(task, policy)),
        _ if task.run_permille >= 900 => reasons.push("CPU-bound".into()),
        _ => {}
    }
    if task.allowed_cpus == 1 {
        reasons.push(format!("pinned to CPU {}", task.cpu));
    }
    if task.nice != 0 {
        reasons.push(format!("nice {}", task.nice));
    }
    reasons.join(", ")
}

fn why_of_ours(task: &Task, policy: &Policy) -> String {
    if -task.lag_ns > policy.preempt_margin_ns as i64 {
        let lag = units::time(task.lag_ns.unsigned_abs());
        return format!("lag -{lag}: preemptible");
    }
    let run = units::time(task.est_run_ns);
    match task.est_run_ns {
        0 => "has never slept: preemptible".into(),
        ns if ns > policy.burst_max_ns => format!("CPU-bound ({run}): preemptible"),
        _ => format!("short-running ({run}): protected"),
    }
}

/// A task that sleeps does not show its class: `all_ext` does.
fn class_name(class: u8, all_ext: bool) -> &'static str {
    match u32::from(class) {
        intf::takt_sched_class_TAKT_SCHED_FAIR if all_ext => "ext",
        intf::takt_sched_class_TAKT_SCHED_EXT => "ext",
        intf::takt_sched_class_TAKT_SCHED_RT => "rt",
        intf::takt_sched_class_TAKT_SCHED_DEADLINE => "dl",
        _ => "fair",
    }
}

/// The class that a rule gives.
fn ruled_name(class: u64) -> &'static str {
    match u32::try_from(class) {
        Ok(intf::takt_latency_class_TAKT_LAT_LATENCY) => "latency",
        Ok(intf::takt_latency_class_TAKT_LAT_BACKGROUND) => "background",
        _ => "",
    }
}

/// A task's name; it may be anything that a program chose, so control characters are shown as `?`.
fn comm(bytes: &[std::ffi::c_char]) -> String {
    name_in(bytes)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Tasks per dispatch queue.
pub fn queues(tasks: &[intf::takt_task]) -> Vec<Queue> {
    let mut queued: BTreeMap<(u64, u32), u64> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.dsq != u64::MAX) {
        let local = task.dsq & DSQ_BUILTIN != 0;
        let cpu = if local { task.cpu } else { 0 };
        *queued.entry((task.dsq, cpu)).or_default() += 1;
    }
    let named = queued.into_iter().map(|((dsq, cpu), queued)| Queue {
        name: queue_name(dsq, cpu),
        queued,
    });
    named.collect()
}

fn queue_name(dsq: u64, cpu: u32) -> String {
    match dsq {
        _ if dsq & DSQ_BUILTIN != 0 && dsq & 0xff == 1 => "global".to_owned(),
        _ if dsq & DSQ_BUILTIN != 0 => format!("local {cpu}"),
        _ if dsq < QUEUE_DOMAINS => format!("LLC {dsq}"),
        _ if dsq < QUEUE_CPUS => format!("domain {}", dsq - QUEUE_DOMAINS),
        _ if dsq < NR_QUEUES => format!("CPU {}", dsq - QUEUE_CPUS),
        _ => format!("DSQ {dsq:#x}"),
    }
}

/// Notes on each CPU the class of what runs there.
pub fn mark_classes(cpus: &mut [Cpu], tasks: &[intf::takt_task]) {
    for cpu in &mut *cpus {
        cpu.class.clear();
    }
    for task in tasks.iter().filter(|task| task.runs != 0) {
        if let Ok(at) = cpus.binary_search_by_key(&u64::from(task.cpu), |cpu| cpu.id) {
            cpus[at].class = class_name(task.class, false).to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(pid: i32, run_ns: u64, waits_ns: u64) -> intf::takt_task {
        intf::takt_task {
            pid,
            run_ns,
            waits_ns,
            allowed_cpus: 4,
            ..Default::default()
        }
    }

    #[test]
    fn shares_are_of_the_period() {
        let mut table = Table::default();
        table.sample(&[task(1, 500, 0), task(2, 0, 0)], 1_000, &Policy::default());
        let seen = table.sample(
            &[task(1, 750, 0), task(2, 0, 400)],
            2_000,
            &Policy::default(),
        );
        assert_eq!(
            (seen.runners[0].pid, seen.runners[0].run_permille),
            (1, 250)
        );
        assert_eq!(
            (seen.waiters[0].pid, seen.waiters[0].wait_permille),
            (2, 400)
        );
        assert_eq!(seen.longest.unwrap().waits_ns, 400);
        assert_eq!(
            seen.runners.len(),
            1,
            "a task that did nothing is not listed"
        );
    }

    #[test]
    fn task_missing_from_a_sample_is_not_taken_for_new() {
        let mut table = Table::default();
        table.sample(&[task(1, 500, 0)], 1_000, &Policy::default());
        table.sample(&[], 2_000, &Policy::default());
        let seen = table.sample(&[task(1, 900, 0)], 3_000, &Policy::default());
        assert!(seen.runners.is_empty(), "{:?}", seen.runners);
    }

    #[test]
    fn a_reused_pid_is_another_task() {
        let mut table = Table::default();
        table.sample(&[task(1, 900, 0)], 1_000, &Policy::default());
        let mut reborn = task(1, 100, 0);
        reborn.started_ns = 1_500;
        let seen = table.sample(&[reborn], 2_000, &Policy::default());
        assert_eq!(seen.runners[0].run_permille, 100);
    }

    #[test]
    fn queues_have_names() {
        assert_eq!(queue_name(3, 0), "LLC 3");
        assert_eq!(queue_name(QUEUE_CPUS + 5, 0), "CPU 5");
        assert_eq!(queue_name(DSQ_BUILTIN | 1, 0), "global");
        assert_eq!(queue_name(DSQ_BUILTIN | 2, 7), "local 7");
    }

    #[test]
    fn why_names_lag_run_length_and_rule() {
        let policy = Policy {
            ours: true,
            all_ext: true,
            preempt_margin_ns: 200_000,
            burst_max_ns: 10_000_000,
        };
        let of = |est_run_ns, lag_ns| Task {
            est_run_ns,
            lag_ns,
            allowed_cpus: 4,
            ..Default::default()
        };
        assert!(why(&of(0, 0), &policy).starts_with("has never slept"));
        assert!(why(&of(12_000_000, 0), &policy).starts_with("CPU-bound (12 ms)"));
        assert!(why(&of(0, -5_000_000), &policy).contains("lag -5 ms: preemptible"));
        assert!(why(&of(1_500_000, 1), &policy).contains("short-running (1.5 ms): protected"));
        let ruled = Task {
            ruled: ruled_name(intf::takt_latency_class_TAKT_LAT_LATENCY.into()).to_owned(),
            ..of(0, 0)
        };
        assert!(why(&ruled, &policy).starts_with("rule: latency, has never slept"));
    }

    /// Loads the iterator on this machine's kernel, whatever schedules there.
    #[test]
    fn sees_the_tasks_of_this_machine() {
        if !scx_ops::kernel::privileged() || !scx_ops::kernel::has_btf() {
            eprintln!("SKIPPED: needs root and BTF");
            return;
        }
        let tasks = Local::load().unwrap().read().unwrap();
        let this = nix::unistd::gettid().as_raw();
        let own = tasks.iter().find(|task| task.pid == this).unwrap();
        assert!(own.run_ns > 0 && own.runs == 1);
    }
}

//! Takes the snapshot of the running system: the agent for all readers, `top` for itself where scx_takt
//! is not the scheduler.
//!
//! Nothing here runs unless a reader watches.

mod activity;
mod cgroups;
mod costs;
mod cpus;
mod limits;
mod tasks;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use anyhow::Result;
use scx_ops::kernel;
use scx_ops::sched_ext::{self, Active};

pub use activity::Layout;
pub use cgroups::{Cgroups, Counted};
pub use costs::{Costs, of_this_process as cost_of_this_process};
pub use limits::of as limits_of;
pub use tasks::{Local as LocalTasks, Policy, TaskIterator};

pub use crate::base::clock::monotonic_ns;
use crate::base::clock::unix_s;
use crate::bpf_abi::{BpfSkel, intf};
use crate::config::tunables;
use crate::snapshot::{
    Adjustment, Change, Counters, Event, LongestWait, Queue, Scheduler, Snapshot,
};
use crate::state;
use crate::tuner;

/// No task may wait for longer under any sched_ext scheduler: it may ask the kernel for a shorter time only.
const WATCHDOG_MAX_NS: u64 = 30_000_000_000;
/// Events that are kept for later readers.
const EVENTS_KEPT: usize = 64;

/// What the system says under any scheduler.
#[derive(Default)]
pub struct System {
    cpus: cpus::Cpus,
    tasks: tasks::Table,
}

impl System {
    /// A snapshot without what only the scheduler itself can know. `tasks`: what the task iterator wrote.
    pub fn snapshot(&mut self, tasks: &[intf::takt_task], policy: Policy) -> Snapshot {
        let policy = Policy {
            all_ext: sched_ext::switched_all(),
            ..policy
        };
        let at_ns = monotonic_ns();
        let mut snapshot = Snapshot {
            at_ns,
            unix_s: unix_s(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel::release(),
            scheduler: scheduler(),
            core_events: sched_ext::event_counters(),
            cpus: self.cpus.sample(),
            queues: tasks::queues(tasks),
            ..Default::default()
        };
        tasks::mark_classes(&mut snapshot.cpus, tasks);
        snapshot.tasks = self.tasks.sample(tasks, at_ns, &policy);
        snapshot
    }
}

/// The active scheduler, as far as sysfs tells.
fn scheduler() -> Scheduler {
    let status = sched_ext::Status::read().unwrap_or_default();
    let (name, watchdog_ns) = match status.active() {
        Active::Kernel | Active::Unsupported => (Snapshot::KERNELS_OWN.to_owned(), 0),
        Active::SchedExt(name) => (name, WATCHDOG_MAX_NS),
        Active::Changing(state) => {
            let name = format!("{}{state})", Snapshot::CHANGING);
            (name, WATCHDOG_MAX_NS)
        }
    };
    Scheduler {
        name,
        watchdog_ns,
        rejected: status.nr_rejected.unwrap_or(0),
        last_ejection: state::last_ejection(),
        ..Default::default()
    }
}

/// The agent's own part: what lives as long as the agent, through restarts of the scheduler.
#[derive(Default)]
pub struct Agent {
    system: System,
    tunables: BTreeMap<String, u64>,
    events: VecDeque<Event>,
    longest: LongestWait,
    /// Name of the profile in force.
    pub profile: String,
    /// The last change of the tunables and its reason.
    pub last_change: Option<Change>,
    /// Times that the scheduler was loaded again.
    pub restarts: u64,
}

/// What lives as long as the scheduler is attached.
pub struct Attachment {
    since: Instant,
    /// What it asked the kernel for, in nanoseconds.
    watchdog_ns: u64,
    layout: Layout,
    costs: Costs,
    tasks: TaskIterator,
}

impl Attachment {
    /// Prepares to sample a scheduler that has just been attached.
    ///
    /// # Errors
    /// If the object does not describe its counters, or the task iterator cannot be opened.
    pub fn new(skel: &BpfSkel<'_>) -> Result<Self> {
        Ok(Self {
            since: Instant::now(),
            watchdog_ns: watchdog_ns(skel.struct_ops().takt_ops().timeout_ms),
            layout: Layout::of(skel)?,
            costs: Costs::of(skel),
            tasks: TaskIterator::attach(&skel.progs.takt_tasks)?,
        })
    }
}

impl Agent {
    /// The tunables in force from now on.
    pub fn set_tunables(&mut self, tunables: &intf::takt_tunables) {
        self.tunables = tunables::named(tunables);
    }

    /// Tunables that were set just now.
    pub fn note_change(&mut self, change: &tuner::Change) {
        self.set_tunables(&change.tunables);
        let adjusted = tunables::changed(&change.from, &change.tunables).into_iter();
        self.last_change = Some(Change {
            unix_s: unix_s(),
            adjusted: adjusted
                .map(|(tunable, from_ns, to_ns)| Adjustment {
                    tunable: tunable.to_owned(),
                    from_ns,
                    to_ns,
                })
                .collect(),
            reason: change.why.clone(),
        });
    }

    /// Keeps an event for later readers.
    pub fn note(&mut self, at_ns: u64, text: String) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Event { at_ns, text });
    }

    /// Takes the snapshot.
    ///
    /// # Errors
    /// If the scheduler's maps cannot be read.
    pub fn snapshot(
        &mut self,
        skel: &mut BpfSkel<'_>,
        attachment: &mut Attachment,
    ) -> Result<Snapshot> {
        let counters = self.counters(skel)?;
        let tunable = |name| self.tunables.get(name).copied().unwrap_or(0);
        let policy = Policy {
            all_ext: true,
            ours: true,
            preempt_margin_ns: tunable("preempt_margin_ns"),
            burst_max_ns: tunable("burst_max_ns"),
        };
        let tasks = attachment.tasks.read()?;
        let mut snapshot = self.system.snapshot(&tasks, policy);
        snapshot.scheduler.profile.clone_from(&self.profile);
        snapshot.scheduler.restarts = self.restarts;
        snapshot.scheduler.watchdog_ns = attachment.watchdog_ns;
        snapshot.scheduler.uptime_ns = attachment.since.elapsed().as_nanos() as u64;
        add_llc_queues(&mut snapshot.queues, skel);
        snapshot.tunables.clone_from(&self.tunables);
        snapshot.last_change.clone_from(&self.last_change);
        snapshot.cost = attachment.costs.sample();
        let longest_ns = self.longest.of_last_second(snapshot.at_ns);
        attachment.layout.fill(&mut snapshot, &counters, longest_ns);
        snapshot.events = self.events.iter().cloned().collect();
        Ok(snapshot)
    }

    /// What a line of `--stats` shows, without the tasks and CPUs of a whole snapshot.
    ///
    /// # Errors
    /// If the scheduler's map cannot be read.
    pub fn for_stats(&mut self, skel: &mut BpfSkel<'_>, layout: &Layout) -> Result<Snapshot> {
        let counters = self.counters(skel)?;
        let mut snapshot = Snapshot {
            at_ns: monotonic_ns(),
            ..Default::default()
        };
        layout.fill(&mut snapshot, &counters, self.longest.take_for_stats());
        Ok(snapshot)
    }

    /// Reads the counters, and has the BPF side search for the longest wait anew from now on.
    fn counters(&mut self, skel: &mut BpfSkel<'_>) -> Result<Counters> {
        let counters = Counters::take(&skel.maps.cpu_stats)?;
        if let Some(bss) = skel.maps.bss_data.as_mut() {
            self.longest.add(&counters, bss.watch_epoch);
            bss.watch_epoch += 1;
        }
        Ok(counters)
    }
}

/// A scheduler that asks for no time is given the longest.
fn watchdog_ns(timeout_ms: u32) -> u64 {
    match timeout_ms {
        0 => WATCHDOG_MAX_NS,
        ms => u64::from(ms) * 1_000_000,
    }
}

/// The LLCs' own queues are shown even when no task waits in them.
fn add_llc_queues(queues: &mut Vec<Queue>, skel: &BpfSkel<'_>) {
    let nr_llcs = skel
        .maps
        .rodata_data
        .as_ref()
        .map_or(0, |data| data.nr_llcs);
    for name in (0..nr_llcs).map(|llc| format!("LLC {llc}")) {
        if !queues.iter().any(|queue| queue.name == name) {
            queues.push(Queue { name, queued: 0 });
        }
    }
    queues.sort_by(|a, b| a.name.cmp(&b.name));
}

//! The one snapshot of the running system that every reader takes.
//!
//! [`crate::collect`] fills it in; the tuner, `top`, `stats`, the sockets and the
//! benchmark only read it. Times are nanoseconds. Fields marked `count` below have grown since the
//! scheduler was loaded (or the machine booted); [`Delta::since`] turns two snapshots into what happened
//! between them.

pub mod core_events;
pub mod counters;
mod delta;
pub mod health;
mod longest;
mod waits;

use std::collections::BTreeMap;

pub use core_events::CoreEvents;
pub use counters::Counters;
pub use delta::Delta;
pub use longest::LongestWait;
pub use waits::Waits;

use delta::figures;

figures! {
    /// Everything at one moment.
    pub struct Snapshot {
        /// When, by CLOCK_MONOTONIC. As a delta: how long the period was.
        count at_ns: u64,
        /// When, in seconds since 1970.
        level unix_s: u64,
        /// Version of the scx_takt that took the snapshot.
        level version: String,
        /// The kernel's release.
        level kernel: String,
        /// The active scheduler.
        level scheduler: Scheduler,
        /// What scx_takt has done; nothing under another scheduler.
        count activity: Option<Activity>,
        /// What the core of sched_ext has counted of the active scheduler, by the kernel's name (`SCX_EV_...`,
        /// nanoseconds if it ends in `_DURATION`). None under EEVDF and before 6.15.
        count core_events: CoreEvents,
        /// How long tasks waited for a CPU.
        count waits: Waits,
        /// Of these, the waits that began with a wakeup: its latency.
        count wakeups: Waits,
        /// Every CPU that is online, by number.
        count cpus: Vec<Cpu>,
        /// Dispatch queues in which a task waits, and all of scx_takt's own that are shared.
        level queues: Vec<Queue>,
        /// Tasks that run and that wait.
        level tasks: Tasks,
        /// The tunables in force, nanoseconds by name.
        level tunables: BTreeMap<String, u64>,
        /// The last change of the tunables.
        level last_change: Option<Change>,
        /// The cgroups that used most CPU time, most first; none unless a reader asks for them.
        level cgroups: Vec<Cgroup>,
        /// What scx_takt has counted of all cgroups that set `cpu.max`, on its way to `cgroups`.
        #[serde(skip_serializing_if = "Option::is_none")]
        level limits: Option<Vec<Limit>>,
        /// What scheduling and watching cost.
        count cost: Cost,
        /// The latest events, oldest first.
        level events: Vec<Event>,
    }

    /// The active scheduler.
    pub struct Scheduler {
        /// Name of its ops; `EEVDF` for the kernel's own.
        level name: String,
        /// Name of the profile in force; empty: it has none.
        level profile: String,
        /// How long it has been in charge; 0: not known.
        level uptime_ns: u64,
        /// The kernel ejects it when a task waits for longer. Of other schedulers than scx_takt: the longest time
        /// that they may have asked for. 0: there is no watchdog.
        level watchdog_ns: u64,
        /// Times that it was loaded again since its agent started (hotplug).
        level restarts: u64,
        /// Tasks that it refused since boot.
        level rejected: u64,
        /// When scx_takt was last ejected, and why.
        level last_ejection: Option<Ejection>,
    }

    /// The kernel ejected scx_takt.
    pub struct Ejection {
        /// When, in seconds since 1970.
        level unix_s: u64,
        /// The kernel's reason.
        level reason: String,
    }

    /// What scx_takt has done since it was loaded, over all CPUs.
    pub struct Activity {
        /// Tasks made ready, by where they were put.
        count placed: BTreeMap<String, u64>,
        /// Every other counter of the BPF side, by its name in `struct takt_cpu_stats`.
        count counters: BTreeMap<String, u64>,
    }

    /// One CPU.
    pub struct Cpu {
        /// Its number.
        level id: u64,
        /// Its NUMA node, last-level cache and core.
        level node: u64,
        /// See `node`.
        level llc: u64,
        /// See `node`.
        level core: u64,
        /// Time in which it ran something since boot.
        count busy_ns: u64,
        /// Time in which it ran nothing.
        count idle_ns: u64,
        /// Its frequency in kHz; 0: not known.
        level khz: u64,
        /// Scheduling class of what it runs now: `ext`, `fair`, `rt`, `dl`; empty: idle or not known.
        level class: String,
    }

    /// A dispatch queue.
    pub struct Queue {
        /// What it is for, as `LLC 0`, `CPU 3` or `local 3`.
        level name: String,
        /// Tasks that wait in it.
        level queued: u64,
    }

    /// Tasks that run and that wait.
    pub struct Tasks {
        /// Tasks in all; 0: they could not be looked at.
        level total: u64,
        /// Those that wait for a CPU now.
        level waiting: u64,
        /// The task that has waited longest so far.
        level longest: Option<Task>,
        /// Tasks that waited most in the last period, most first.
        level waiters: Vec<Task>,
        /// Tasks that ran most in the last period, most first.
        level runners: Vec<Task>,
    }

    /// One task.
    pub struct Task {
        /// Its number; `tgid` is that of its process.
        level pid: i64,
        /// See `pid`.
        level tgid: i64,
        /// Its name.
        level comm: String,
        /// `ext`, `fair`, `rt` or `dl`.
        level class: String,
        /// Where it runs, waits or last ran.
        level cpu: u64,
        /// How many CPUs it may use.
        level allowed_cpus: u64,
        /// Its nice value.
        level nice: i64,
        /// Share of the last period in which it ran, in thousandths of a CPU.
        level run_permille: u64,
        /// Share of the last period in which it waited for a CPU.
        level wait_permille: u64,
        /// How long it has been waiting now; 0: it does not wait.
        level waits_ns: u64,
        /// scx_takt only: how long it tends to run from waking to sleeping; 0: it never slept.
        level est_run_ns: u64,
        /// scx_takt only: weighted time by which it has had less than its share; < 0: more.
        level lag_ns: i64,
        /// scx_takt only: the class that a rule gave it, `latency` or `background`; empty: none.
        level ruled: String,
        /// Why it is treated as it is.
        level why: String,
    }

    /// Tunables were set.
    pub struct Change {
        /// When, in seconds since 1970.
        level unix_s: u64,
        /// Which ones; none: that was all that could be done.
        level adjusted: Vec<Adjustment>,
        /// Why.
        level reason: String,
    }

    /// One tunable was set.
    pub struct Adjustment {
        /// Which one.
        level tunable: String,
        /// Its value before, in nanoseconds.
        level from_ns: u64,
        /// Its value after.
        level to_ns: u64,
    }

    /// One cgroup of version 2.
    pub struct Cgroup {
        /// Where it is below the mount, as `/system.slice`; control characters and backslashes are escaped.
        level path: String,
        /// As the kernel numbers it: the inode of its folder.
        level id: u64,
        /// Its `cpu.weight`; 0: `cpu.idle` is set. `None`: it has no cpu controller.
        level weight: Option<u64>,
        /// The quota of its `cpu.max`; `None`: no limit, or no cpu controller.
        level quota_ns: Option<u64>,
        /// The period of its `cpu.max`; 0: no cpu controller.
        level period_ns: u64,
        /// CPU time that it has used since it was made, with the cgroups inside.
        level used_ns: u64,
        /// The same of the last period, in thousandths of a CPU.
        level used_permille: u64,
        /// What its limit did; `None`: not known, as the scheduler counts nothing.
        level throttling: Option<Throttling>,
    }

    /// What a `cpu.max` did since the cgroup was made, or its scheduler was loaded.
    pub struct Throttling {
        /// Periods that have ended, in which a task ran or was throttled.
        level nr_periods: u64,
        /// Of these, periods at whose end tasks were throttled.
        level nr_throttled: u64,
        /// How long tasks were throttled.
        level throttled_ns: u64,
    }

    /// A cgroup that sets `cpu.max`, as scx_takt knows it.
    pub struct Limit {
        /// As [`Cgroup::id`].
        level id: u64,
        /// What it did.
        level throttling: Throttling,
    }

    /// What scheduling and watching cost.
    pub struct Cost {
        /// By callback; counted in some seconds only, since counting costs as well.
        count callbacks: BTreeMap<String, Callback>,
        /// CPU time of the agent.
        count agent_cpu_ns: u64,
        /// Memory of the agent, in bytes.
        level agent_rss_bytes: u64,
        /// Events that found the ring full.
        count events_lost: u64,
    }

    /// Calls of a callback that were timed.
    pub struct Callback {
        /// How many.
        count calls: u64,
        /// How long they took, in sum.
        count run_ns: u64,
    }

    /// One thing worth telling.
    pub struct Event {
        /// When, by CLOCK_MONOTONIC.
        level at_ns: u64,
        /// What happened, for a person.
        level text: String,
    }
}

impl Snapshot {
    /// The name of the kernel's own scheduler, where no sched_ext scheduler is active.
    pub const KERNELS_OWN: &str = "EEVDF";

    /// What the name begins with while a sched_ext scheduler comes or goes.
    pub const CHANGING: &str = "sched_ext (";

    /// Is scx_takt in charge?
    pub fn is_takt(&self) -> bool {
        is_takt(&self.scheduler.name)
    }

    /// As a delta: the share of all CPU time that was used, in percent.
    pub fn busy_percent(&self) -> f64 {
        let busy_ns: u64 = self.cpus.iter().map(|cpu| cpu.busy_ns).sum();
        let idle_ns: u64 = self.cpus.iter().map(|cpu| cpu.idle_ns).sum();
        100.0 * busy_ns as f64 / (busy_ns + idle_ns).max(1) as f64
    }
}

/// Is this the name of our ops?
pub fn is_takt(ops: &str) -> bool {
    ops == "takt" || ops.starts_with("takt_")
}

impl Callback {
    /// Mean run time of a call, in nanoseconds; `None`: none was timed.
    pub fn ns_per_call(&self) -> Option<u64> {
        self.run_ns.checked_div(self.calls)
    }
}

impl Cpu {
    /// As a delta: the share of the period in which it ran something, in percent.
    pub fn load_percent(&self) -> u64 {
        let all = self.busy_ns + self.idle_ns;
        (100 * self.busy_ns + all / 2).checked_div(all).unwrap_or(0)
    }
}

impl Activity {
    /// A counter by its name in `struct takt_cpu_stats`; 0 if there is none of that name.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// Wakeups and re-queueings, over all places.
    pub fn placements(&self) -> u64 {
        self.placed.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_survives_json() {
        let mut before = Snapshot {
            at_ns: 7,
            ..Default::default()
        };
        before.activity = Some(Activity {
            placed: BTreeMap::from([("next".into(), 3)]),
            counters: BTreeMap::from([("nr_runs".into(), 4)]),
        });
        before.tasks.longest = Some(Task {
            comm: "gcc".into(),
            ..Default::default()
        });
        let json = serde_json::to_string(&before).unwrap();
        let after: Snapshot = serde_json::from_str(&json).unwrap();
        assert_eq!(after, before);
    }

    #[test]
    fn load_is_rounded_and_never_divides_by_zero() {
        let mut cpu = Cpu::default();
        assert_eq!(cpu.load_percent(), 0);
        (cpu.busy_ns, cpu.idle_ns) = (999, 1);
        assert_eq!(cpu.load_percent(), 100);
    }
}

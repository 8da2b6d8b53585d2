//! The observer itself: loads the tracing programs, reads what they count.

use std::fs;
use std::io::Read;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Iter, Link, MapCore, MapFlags, MapHandle};
use scx_ops::kernel;

use super::histogram::Histogram;
use crate::base::clock::monotonic_ns;
use crate::bpf_abi::intf::{self, obs_cpu, obs_group};
use crate::bpf_abi::observe::ObserveSkelBuilder;

/// The scheduler of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `SCHED_OTHER` and `SCHED_BATCH` under the kernel's own scheduler.
    Fair,
    /// `SCHED_IDLE` under the kernel's own scheduler.
    Idle,
    /// A sched_ext scheduler, whatever the policy.
    Ext,
    /// `SCHED_FIFO`, `SCHED_RR`, tasks boosted so, and the CPU stoppers.
    Realtime,
    /// `SCHED_DEADLINE`.
    Deadline,
}

impl Class {
    /// All classes, in the order of `enum obs_class`.
    pub const ALL: [Self; intf::obs_class_OBS_NR_CLASSES as usize] = [
        Self::Fair,
        Self::Idle,
        Self::Ext,
        Self::Realtime,
        Self::Deadline,
    ];

    /// A word for tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fair => "fair",
            Self::Idle => "idle",
            Self::Ext => "ext",
            Self::Realtime => "rt",
            Self::Deadline => "dl",
        }
    }
}

/// What was seen of one kind of task.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its scheduler.
    pub class: Class,
    /// Kernel threads, or tasks of user space?
    pub kernel_thread: bool,
    /// From ready to running.
    pub waits: Histogram,
    /// Of these, the waits of tasks that had slept.
    pub wakeups: Histogram,
    /// From switched in to switched out.
    pub slices: Histogram,
}

/// What was seen until a moment, or between two.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The moment.
    pub at: Instant,
    /// The same in nanoseconds of `CLOCK_MONOTONIC`, to be held against other tools.
    pub at_ns: u64,
    /// The time that it covers.
    pub span: Duration,
    /// One per class, tasks of user space first, then kernel threads.
    pub groups: Vec<Group>,
    /// Waits that are missing because their beginning is not known.
    pub unseen: u64,
    /// Waits that are missing because two tasks have PIDs with the same low bits.
    pub collisions: u64,
}

impl Reading {
    fn nothing() -> Self {
        Self {
            at: Instant::now(),
            at_ns: monotonic_ns(),
            span: Duration::ZERO,
            groups: Vec::with_capacity(2 * Class::ALL.len()),
            unseen: 0,
            collisions: 0,
        }
    }

    /// What has happened since `earlier`, a reading of the same observer.
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.groups.iter().zip(&earlier.groups);
        Self {
            at: self.at,
            at_ns: self.at_ns,
            span: self.at.saturating_duration_since(earlier.at),
            groups: pairs
                .map(|(now, then)| Group {
                    waits: now.waits.since(&then.waits),
                    wakeups: now.wakeups.since(&then.wakeups),
                    slices: now.slices.since(&then.slices),
                    ..*now
                })
                .collect(),
            unseen: self.unseen.saturating_sub(earlier.unseen),
            collisions: self.collisions.saturating_sub(earlier.collisions),
        }
    }

    /// The waits of all tasks that `wanted` is true for.
    pub fn waits(&self, wanted: impl Fn(&Group) -> bool) -> Histogram {
        self.merged(wanted, |group| &group.waits)
    }

    /// Of these, the waits of those that had slept.
    pub fn wakeups(&self, wanted: impl Fn(&Group) -> bool) -> Histogram {
        self.merged(wanted, |group| &group.wakeups)
    }

    /// The slices of all tasks that `wanted` is true for.
    pub fn slices(&self, wanted: impl Fn(&Group) -> bool) -> Histogram {
        self.merged(wanted, |group| &group.slices)
    }

    fn merged(
        &self,
        wanted: impl Fn(&Group) -> bool,
        part: impl Fn(&Group) -> &Histogram,
    ) -> Histogram {
        let mut sum = Histogram::default();
        for group in self.groups.iter().filter(|group| wanted(group)) {
            sum.merge(part(group));
        }
        sum
    }
}

/// Measures every wait and slice on this machine while it lives, under whatever scheduler.
pub struct Observer {
    groups: MapHandle,
    cpus: MapHandle,
    /// What was counted while only some of the programs were in.
    base: Reading,
    // The program lives as long as its link does.
    _switch: Link,
}

impl Observer {
    /// Loads the tracing programs and begins to count.
    ///
    /// # Errors
    /// If this process may not (not root), or the kernel cannot (no BTF).
    pub fn start() -> Result<Self> {
        kernel::require_bpf("observing the scheduler")?;
        ensure!(
            Path::new("/proc/self/schedstat").exists(),
            "kernel {} keeps no account of waiting times: boot one built with CONFIG_SCHEDSTATS=y or \
             CONFIG_TASK_DELAY_ACCT=y",
            kernel::release()
        );
        let mut storage = MaybeUninit::uninit();
        let mut open = ObserveSkelBuilder::default()
            .open(&mut storage)
            .context("cannot open the observer")?;
        open.progs.observe_buckets.set_autoload(false);
        let slots = slots();
        open.maps.delays.set_max_entries(slots)?;
        if let Some(constants) = open.maps.rodata_data.as_deref_mut() {
            constants.slot_mask = slots - 1;
        }
        let skel = open.load().with_context(|| {
            format!(
                "kernel {} refuses the observer's tracing programs",
                kernel::release()
            )
        })?;
        let switch = skel.progs.observe_switch.attach_trace();
        let switch = switch.context("cannot trace sched_switch")?;
        know_tasks(&skel.progs.observe_known.attach()?)
            .context("cannot take note of the tasks that are there")?;
        let mut observer = Self {
            groups: MapHandle::try_from(&skel.maps.groups)?,
            cpus: MapHandle::try_from(&skel.maps.cpus)?,
            base: Reading::nothing(),
            _switch: switch,
        };
        // Until the tasks were known, most of them seemed to come from nowhere.
        observer.base = observer.count()?;
        Ok(observer)
    }

    /// Everything that was seen since [`Self::start`].
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn read(&self) -> Result<Reading> {
        Ok(self.count()?.since(&self.base))
    }

    /// Everything that was ever counted.
    fn count(&self) -> Result<Reading> {
        let mut reading = Reading::nothing();
        for kernel_thread in [false, true] {
            for class in Class::ALL {
                reading.groups.push(self.group(class, kernel_thread)?);
            }
        }
        for cpu in per_cpu::<obs_cpu>(&self.cpus, 0)? {
            reading.unseen += cpu.nr_unseen;
            reading.collisions += cpu.nr_collided;
        }
        Ok(reading)
    }

    fn group(&self, class: Class, kernel_thread: bool) -> Result<Group> {
        let mut group = Group {
            class,
            kernel_thread,
            waits: Histogram::default(),
            wakeups: Histogram::default(),
            slices: Histogram::default(),
        };
        let index = 2 * class as u32 + u32::from(kernel_thread);
        for raw in per_cpu::<obs_group>(&self.groups, index)? {
            group.waits.merge_raw(&raw.requeue);
            group.wakeups.merge_raw(&raw.wakeup);
            group.slices.merge_raw(&raw.slice);
        }
        group.waits.merge(&group.wakeups);
        Ok(group)
    }
}

/// How many words to keep for tasks: one for each PID that there may be, within bounds.
fn slots() -> u32 {
    let most = fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    let most = most.and_then(|text| text.trim().parse::<u32>().ok());
    let bounds = intf::obs_consts_OBS_MIN_SLOTS..=intf::obs_consts_OBS_MAX_SLOTS;
    most.and_then(u32::checked_next_power_of_two)
        .unwrap_or(u32::MAX)
        .clamp(*bounds.start(), *bounds.end())
}

/// Lets the kernel walk over all tasks that are there.
fn know_tasks(walk: &Link) -> Result<()> {
    let mut nothing = Vec::new();
    Iter::new(walk)?.read_to_end(&mut nothing)?;
    Ok(())
}

/// One entry of a per-CPU array, for each CPU.
fn per_cpu<T: plain::Plain + Copy>(map: &MapHandle, index: u32) -> Result<Vec<T>> {
    let values = map
        .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
        .context("cannot read the observer's counters")?
        .context("the observer's counters are gone")?;
    let parse = |bytes: &Vec<u8>| {
        let value = plain::from_bytes::<T>(bytes).copied();
        value.map_err(|error| anyhow!("the observer's counters are of a wrong size: {error:?}"))
    };
    values.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_in_the_order_of_the_abi() {
        let abi = [
            intf::obs_class_OBS_FAIR,
            intf::obs_class_OBS_IDLE,
            intf::obs_class_OBS_EXT,
            intf::obs_class_OBS_RT,
            intf::obs_class_OBS_DL,
        ];
        assert_eq!(Class::ALL.map(|class| class as u32), abi);
    }
}

//! Loads the tracing programs, and reads what they send.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle};
use scx_ops::kernel;
use scx_ops::ring::Consumer;

use super::record::{Kind, Record, Segment};
use super::scheduler::Takt;
use super::target::{Target, comm_of};
use crate::base::clock::monotonic_ns;
use crate::bpf_abi::intf::{self, why_cpu, why_wait};
use crate::bpf_abi::why::{OpenWhySkel, WhySkelBuilder};

/// What was counted, waits that are not sent included. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waits of the watched tasks that have ended.
    pub waits: u64,
    /// Their length, in sum.
    pub wait_ns: u64,
    /// The longest.
    pub longest_ns: u64,
    /// Of them, beyond the limit.
    pub long: u64,
    /// The length of these, in sum.
    pub long_ns: u64,
    /// Records that found no room.
    pub lost: u64,
    /// Waits whose beginning is not known, and those beyond what can be noted at the same time.
    pub unseen: u64,
    /// Sleeps in `futex()` beyond the limit, ended by a task that had not waited for a CPU: for work, most likely.
    pub sleeps: u64,
}

/// Watches the waits of some tasks while it lives, under whatever scheduler.
pub struct Watcher {
    ring: Consumer,
    cpus: MapHandle,
    waits: MapHandle,
    dropped: MapHandle,
    /// When it began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub began_ns: u64,
    /// How many CPUs there may be.
    pub nr_cpus: u32,
    /// The programs live as long as their links do.
    links: Vec<Link>,
}

impl Watcher {
    /// Loads the tracing programs and begins to watch; waits of at least `over_ns` nanoseconds are sent.
    ///
    /// # Errors
    /// If this process may not (not root), or the kernel cannot (no BTF).
    pub fn start(target: &Target, over_ns: u64) -> Result<Self> {
        kernel::require_bpf("asking why tasks wait")?;
        let nr_cpus = u32::try_from(libbpf_rs::num_possible_cpus()?)?;
        let mut storage = MaybeUninit::uninit();
        let mut open = WhySkelBuilder::default()
            .open(&mut storage)
            .context("cannot open the programs of why")?;
        open.maps.cpus.set_max_entries(nr_cpus)?;
        set_target(&mut open, target);
        // Kept until they are loaded: the programs hold the maps from then on.
        let takt = Takt::find();
        if let Some(takt) = &takt {
            open.maps.data_cpus.reuse_fd(takt.cpus.as_fd())?;
            open.maps.data_tunables.reuse_fd(takt.tunables.as_fd())?;
            open.maps.task_ctxs.reuse_fd(takt.tasks.as_fd())?;
        }
        if let Some(constants) = open.maps.rodata_data.as_deref_mut() {
            constants.nr_cpus = nr_cpus;
            constants.over_ns = over_ns;
            constants.takt_schedules = takt.is_some();
        }
        let skel = open.load().with_context(|| {
            format!(
                "kernel {} refuses the programs that see why tasks wait",
                kernel::release()
            )
        })?;
        let programs = [
            &skel.progs.why_irq_entry,
            &skel.progs.why_irq_exit,
            &skel.progs.why_softirq_entry,
            &skel.progs.why_softirq_exit,
            &skel.progs.why_switch,
            &skel.progs.why_migrate,
            &skel.progs.why_wakeup,
            &skel.progs.why_wakeup_new,
            &skel.progs.why_timer_entry,
            &skel.progs.why_timer_exit,
            &skel.progs.why_waking,
        ];
        let links = programs.map(|program| program.attach_trace());
        let links: Result<Vec<Link>, _> = links.into_iter().collect();
        Ok(Self {
            ring: Consumer::new(skel.maps.records.as_fd()).context("cannot read records")?,
            cpus: MapHandle::try_from(&skel.maps.cpus)?,
            waits: MapHandle::try_from(&skel.maps.waits)?,
            dropped: MapHandle::try_from(&skel.maps.bss)?,
            began_ns: monotonic_ns(),
            nr_cpus,
            links: links.context("cannot trace switches, wakeups and interrupts")?,
        })
    }

    /// Hands over every record that is there.
    ///
    /// # Errors
    /// If the ring is damaged or another process reads it.
    pub fn read(&mut self, mut each: impl FnMut(Record)) -> Result<()> {
        self.ring.drain(|bytes| {
            if let Some(record) = Record::parse(bytes) {
                each(record);
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Takes the programs out, hands over the records that are left and, as if they ended now, the waits of at least
    /// `over_ns` nanoseconds that have not, and returns what was counted. In this order: a wait that ended after the last
    /// look would be counted and not explained.
    ///
    /// # Errors
    /// If the ring is damaged, or a map cannot be read.
    pub fn finish(mut self, over_ns: u64, mut each: impl FnMut(Record)) -> Result<Counts> {
        self.links.clear();
        self.read(&mut each)?;
        self.open_waits(over_ns)?.into_iter().for_each(each);
        self.counts()
    }

    /// What was counted since [`Self::start`].
    fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for cpu in 0..self.nr_cpus {
            let bytes = self.cpu(cpu)?;
            let raw = cpu_in(&bytes)?;
            counts.waits += raw.nr_waits;
            counts.wait_ns += raw.wait_ns;
            counts.longest_ns = counts.longest_ns.max(raw.longest_ns);
            counts.long += raw.nr_long;
            counts.long_ns += raw.long_ns;
            counts.lost += raw.nr_lost;
            counts.unseen += raw.nr_unseen;
            counts.sleeps += raw.nr_sleeps;
        }
        let globals = self.dropped.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)?;
        let dropped = globals.as_deref().and_then(|bytes| bytes.get(16..24));
        let dropped = dropped.and_then(|bytes| bytes.try_into().ok());
        counts.unseen += dropped.map_or(0, u64::from_ne_bytes);
        Ok(counts)
    }

    /// Waits of at least `over_ns` nanoseconds that have not ended by now, as if they did.
    fn open_waits(&self, over_ns: u64) -> Result<Vec<Record>> {
        let now_ns = monotonic_ns();
        let mut open = Vec::new();
        for key in self.waits.keys() {
            let Some(value) = self.waits.lookup(&key, MapFlags::ANY)? else {
                continue; // it has just ended
            };
            let wait = plain::from_bytes::<why_wait>(&value)
                .map_err(|error| anyhow!("a wait of a wrong size: {error:?}"))?;
            let is_wait =
                wait.used != 0 && wait.type_ != intf::why_record_type_WHY_LOCK && wait.placed != 0;
            if is_wait && now_ns.saturating_sub(wait.at_ns) >= over_ns {
                open.push(self.open_wait(wait, now_ns)?);
            }
        }
        Ok(open)
    }

    fn open_wait(&self, wait: &why_wait, now_ns: u64) -> Result<Record> {
        let bytes = self.cpu(wait.cpu)?;
        let cpu = cpu_in(&bytes)?;
        let count = (cpu.next as usize).min(intf::why_consts_WHY_SEGMENTS as usize);
        let index = |i: usize| (cpu.next as usize).wrapping_sub(count - i);
        let segments = (0..count)
            .map(|i| &cpu.segments[index(i) % intf::why_consts_WHY_SEGMENTS as usize])
            .filter(|segment| segment.to_ns > wait.part_ns)
            .map(Segment::from);
        let mut record = Record::new(wait, segments.collect());
        record.kind = Kind::Open;
        record.end_ns = now_ns;
        // What it was when the wait began stands there, and not what has been added since.
        record.throttled_ns = 0;
        Ok(record)
    }

    fn cpu(&self, cpu: u32) -> Result<Vec<u8>> {
        let value = self.cpus.lookup(&cpu.to_ne_bytes(), MapFlags::ANY)?;
        value.context("the records of a CPU are gone")
    }
}

fn cpu_in(bytes: &[u8]) -> Result<&why_cpu> {
    plain::from_bytes(bytes).map_err(|error| anyhow!("a CPU's records of a wrong size: {error:?}"))
}

fn set_target(open: &mut OpenWhySkel<'_>, target: &Target) {
    let Some(constants) = open.maps.rodata_data.as_deref_mut() else {
        return;
    };
    match target {
        Target::Task {
            pid,
            is_thread,
            start,
            ..
        } => {
            constants.target = if *is_thread {
                intf::why_target_WHY_TARGET_THREAD
            } else {
                intf::why_target_WHY_TARGET_PROCESS
            };
            constants.target_pid = *pid;
            constants.target_start = *start;
        }
        Target::Name(name) => {
            constants.target = intf::why_target_WHY_TARGET_COMM;
            constants.target_comm = comm_of(name);
        }
        Target::Cgroup { id, level, .. } => {
            constants.target = intf::why_target_WHY_TARGET_CGROUP;
            constants.target_cgroup = *id;
            constants.target_level = *level;
        }
    }
}

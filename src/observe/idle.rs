//! CPU time that goes by idle while tasks wait that could use it (`src/bpf/observe_idle.bpf.c`).

use std::mem::MaybeUninit;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};
use scx_ops::kernel;

use crate::bpf_abi::intf::obs_idle;
use crate::bpf_abi::observe_idle::ObserveIdleSkelBuilder;

/// Watches idle CPUs and waiting tasks while it lives, under whatever scheduler.
pub struct IdleObserver {
    idle: MapHandle,
    // The programs live as long as their links do.
    _links: Vec<Link>,
}

impl IdleObserver {
    /// Loads the tracing programs and begins. Visits each CPU that the calling thread may use, so that it is known
    /// whether it idles.
    ///
    /// # Errors
    /// If this process may not (not root), or the kernel cannot (no BTF).
    pub fn start() -> Result<Self> {
        kernel::require_bpf("observing idle CPUs")?;
        let mut storage = MaybeUninit::uninit();
        let mut open = ObserveIdleSkelBuilder::default()
            .open(&mut storage)
            .context("cannot open the observer of idle CPUs")?;
        if let Some(constants) = open.maps.rodata_data.as_deref_mut() {
            constants.nr_all_cpus = online_cpus()?;
        }
        let skel = open.load().with_context(|| {
            format!(
                "kernel {} refuses the programs that observe idle CPUs",
                kernel::release()
            )
        })?;
        let programs = [
            &skel.progs.idle_switch,
            &skel.progs.idle_wakeup,
            &skel.progs.idle_wakeup_new,
        ];
        let links = programs.map(|program| program.attach_trace());
        let links: Result<Vec<Link>, _> = links.into_iter().collect();
        let observer = Self {
            idle: MapHandle::try_from(&skel.maps.idle)?,
            _links: links.context("cannot trace switches and wakeups")?,
        };
        visit_cpus()?;
        Ok(observer)
    }

    /// CPU time, summed over all CPUs, that has gone by idle since [`Self::start`] while a task waited that could use it.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn wasted(&self) -> Result<Duration> {
        let value = self
            .idle
            .lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)?
            .context("the time of idle CPUs is gone")?;
        let idle: &obs_idle = plain::from_bytes(&value)
            .map_err(|error| anyhow!("the time of idle CPUs has a wrong size: {error:?}"))?;
        Ok(Duration::from_nanos(idle.wasted_ns))
    }
}

/// How many CPUs are online.
fn online_cpus() -> Result<u32> {
    let count = sysconf(SysconfVar::_NPROCESSORS_ONLN)?;
    let count = count.and_then(|count| u32::try_from(count).ok());
    count.context("cannot count the CPUs that are online")
}

/// Runs this thread on each of its CPUs for a moment.
fn visit_cpus() -> Result<()> {
    let own = Pid::from_raw(0);
    let all = sched_getaffinity(own).context("sched_getaffinity failed")?;
    for cpu in (0..CpuSet::count()).filter(|&cpu| all.is_set(cpu).unwrap_or(false)) {
        let mut one = CpuSet::new();
        one.set(cpu)?;
        // It may have gone offline meanwhile: then it does not idle.
        let _ = sched_setaffinity(own, &one);
    }
    sched_setaffinity(own, &all).context("sched_setaffinity failed")
}

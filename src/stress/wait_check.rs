//! Judges every wait for a CPU by the time that real-time and deadline tasks left (`src/bpf/wait_check.bpf.c`).

use std::fmt;
use std::io::Read as _;
use std::mem::MaybeUninit;

use anyhow::{Context, Result, anyhow};
use libbpf_rs::btf::{Btf, types};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Iter, Link, MapCore, MapFlags, MapHandle};
use scx_ops::kernel;
use serde::Serialize;

use crate::bpf_abi::intf;
use crate::bpf_abi::name_in;
use crate::bpf_abi::wait_check::WaitCheckSkelBuilder;
use crate::cli::WaitLimit;

/// Watches every wait of a task below real-time while it lives, under whatever scheduler.
pub struct WaitCheck {
    cpus: MapHandle,
    limit: WaitLimit,
    /// A walk over all tasks, for the waits that have not ended.
    open_waits: Link,
    // The programs live as long as their links do.
    _links: Vec<Link>,
}

/// All waits so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Waits {
    /// What they were held to.
    pub limit: WaitLimit,
    /// How many there were.
    pub count: u64,
    /// Of them, longer than the limit.
    pub long: u64,
    /// Of them, longer than the limit in the time that was left, too.
    pub beyond: u64,
    /// Waits that are not judged: the task was given other CPUs meanwhile, and this kernel does not tell when.
    pub moved: u64,
    /// Waits that are not judged: a cgroup of the task set `cpu.max`.
    pub limited: u64,
    /// Waits that are missing because their beginning is not known.
    pub unseen: u64,
    /// The one that took longest.
    pub longest: Wait,
    /// The one that was the largest part of what its task may wait, in the time that was left.
    pub worst: Wait,
}

/// One wait.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Wait {
    /// Name of the task that waited.
    pub task: String,
    /// Its PID.
    pub pid: i32,
    /// From ready to running, in ms.
    pub wait_ms: f64,
    /// Of that, what real-time and deadline tasks left on that of its CPUs that had most left, in ms.
    pub left_ms: f64,
    /// How much of that it may be, in ms.
    pub limit_ms: f64,
    /// On how many CPUs it may run.
    pub cpus: u32,
    /// How many tasks ran or waited on the machine as it began.
    pub runnable: u32,
}

impl WaitCheck {
    /// Loads the tracing programs and begins to judge.
    ///
    /// # Errors
    /// If this process may not (not root), or the kernel cannot (no BTF).
    pub fn start(limit: WaitLimit) -> Result<Self> {
        kernel::require_bpf("--longest-wait")?;
        let nr_cpus = u32::try_from(libbpf_rs::num_possible_cpus()?)?;
        let mut storage = MaybeUninit::uninit();
        let mut open = WaitCheckSkelBuilder::default()
            .open(&mut storage)
            .context("cannot open the wait check")?;
        open.maps.cpus.set_max_entries(nr_cpus + 1)?;
        let words = nr_cpus * intf::wait_check_consts_WAIT_CHECK_TICKS;
        open.maps.history.set_max_entries(words)?;
        let sees_masks = has_function("set_cpus_allowed_common");
        open.progs.wait_check_mask.set_autoload(sees_masks);
        if let Some(constants) = open.maps.rodata_data.as_deref_mut() {
            constants.nr_cpus = nr_cpus;
            constants.limit_ns = ns(limit.base_ms);
            constants.each_ns = ns(limit.each_ms);
            constants.sees_masks = sees_masks;
        }
        let skel = open.load().with_context(|| {
            format!(
                "kernel {} refuses the programs that check waits",
                kernel::release()
            )
        })?;
        let mut programs = vec![
            &skel.progs.wait_check_hotplug,
            &skel.progs.wait_check_switch,
            &skel.progs.wait_check_wakeup,
            &skel.progs.wait_check_wakeup_new,
        ];
        if sees_masks {
            programs.push(&skel.progs.wait_check_mask);
        }
        let links = programs.iter().map(|program| program.attach_trace());
        let links: Result<Vec<Link>, _> = links.collect();
        let open_waits = skel.progs.wait_check_open.attach();
        Ok(Self {
            cpus: MapHandle::try_from(&skel.maps.cpus)?,
            limit,
            open_waits: open_waits.context("cannot walk over all tasks")?,
            _links: links.context("cannot trace switches, wakeups and hotplug")?,
        })
    }

    /// Everything that was judged since [`Self::start`], and the waits that go on. Call it once: a wait that goes on
    /// counts each time.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn read(&self) -> Result<Waits> {
        let mut nothing = Vec::new();
        Iter::new(&self.open_waits)?
            .read_to_end(&mut nothing)
            .context("cannot walk over all tasks")?;
        let mut waits = Waits {
            limit: self.limit,
            ..Waits::default()
        };
        for key in self.cpus.keys() {
            let value = self.cpus.lookup(&key, MapFlags::ANY)?.unwrap_or_default();
            let cpu = plain::from_bytes(&value);
            let cpu = cpu.map_err(|error| anyhow!("waits of a wrong size: {error:?}"))?;
            waits.add(cpu);
        }
        Ok(waits)
    }
}

/// Does the kernel have a function of this name that a program can be attached to?
fn has_function(name: &str) -> bool {
    Btf::from_vmlinux().is_ok_and(|btf| btf.type_by_name::<types::Func<'_>>(name).is_some())
}

fn ns(ms: u32) -> u64 {
    u64::from(ms) * 1_000_000
}

impl Waits {
    fn add(&mut self, cpu: &intf::wait_check_cpu) {
        self.count += cpu.nr_waits;
        self.long += cpu.nr_long;
        self.beyond += cpu.nr_beyond;
        self.moved += cpu.nr_moved;
        self.limited += cpu.nr_limited;
        self.unseen += cpu.nr_unseen;
        let longest = Wait::from(&cpu.longest);
        if longest.wait_ms > self.longest.wait_ms {
            self.longest = longest;
        }
        let worst = Wait::from(&cpu.worst);
        if worst.part_of_limit() > self.worst.part_of_limit() {
            self.worst = worst;
        }
    }

    /// What there is to complain about.
    pub fn problem(&self) -> Option<String> {
        let Self { beyond, limit, .. } = self;
        (*beyond > 0).then(|| {
            format!(
                "{beyond} waits beyond {limit}, of the time that real-time tasks left; the worst: {}",
                self.worst
            )
        })
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            long,
            beyond,
            moved,
            limited,
            limit,
            ..
        } = self;
        writeln!(
            out,
            "waits: {count}, {long} beyond {limit}, {beyond} of them in the time that real-time tasks left; not judged: \
             {moved} more that changed CPUs meanwhile, {limited} under cpu.max"
        )?;
        writeln!(out, "longest wait: {}", self.longest)?;
        write!(out, "closest to its limit: {}", self.worst)
    }
}

impl Wait {
    /// How much of what its task may wait it took: beyond 1 it is too long.
    fn part_of_limit(&self) -> f64 {
        if self.limit_ms > 0.0 {
            self.left_ms / self.limit_ms
        } else {
            0.0
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = if self.cpus == 1 { "one CPU" } else { "any CPU" };
        write!(
            out,
            "{:.1} ms, of which {:.1} ms were left, of {:.0}: {} ({}), on {on}, {} runnable",
            self.wait_ms, self.left_ms, self.limit_ms, self.task, self.pid, self.runnable
        )
    }
}

impl From<&intf::wait_check_wait> for Wait {
    fn from(raw: &intf::wait_check_wait) -> Self {
        Self {
            task: name_in(&raw.comm),
            pid: raw.pid,
            wait_ms: raw.wait_ns as f64 / 1e6,
            left_ms: raw.left_ns as f64 / 1e6,
            limit_ms: raw.limit_ns as f64 / 1e6,
            cpus: raw.nr_cpus,
            runnable: raw.nr_runnable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(name: &[u8], wait_ms: u64, left_ms: u64) -> intf::wait_check_wait {
        let mut comm = [0; intf::wait_check_consts_WAIT_CHECK_COMM as usize];
        for (to, from) in comm.iter_mut().zip(name) {
            *to = *from as _;
        }
        intf::wait_check_wait {
            wait_ns: wait_ms * 1_000_000,
            left_ns: left_ms * 1_000_000,
            limit_ns: 318_000_000,
            pid: 7,
            nr_cpus: 1,
            nr_runnable: 3,
            pad: 0,
            comm,
        }
    }

    fn cpu(
        nr_beyond: u64,
        longest: intf::wait_check_wait,
        worst: intf::wait_check_wait,
    ) -> intf::wait_check_cpu {
        intf::wait_check_cpu {
            nr_waits: 10,
            nr_long: 2,
            nr_beyond,
            nr_moved: 0,
            nr_limited: 0,
            nr_unseen: 0,
            held_since: 0,
            high: 0,
            away: 0,
            nr_runnable: 1,
            pad: 0,
            longest,
            worst,
        }
    }

    #[test]
    fn the_worst_of_all_cpus_is_told_and_what_was_left_decides() {
        let limit: WaitLimit = "312+3".parse().unwrap();
        let mut waits = Waits {
            limit,
            ..Waits::default()
        };
        waits.add(&cpu(0, wait(b"gcc", 900, 20), wait(b"cat", 200, 190)));
        assert_eq!(waits.problem(), None);
        waits.add(&cpu(1, wait(b"dog", 400, 400), wait(b"dog", 400, 400)));
        let problem = waits.problem().unwrap();
        assert!(
            problem.contains("1 waits beyond 312 ms and 3 for each other"),
            "{problem}"
        );
        assert!(
            problem.contains("400.0 ms were left, of 318: dog (7), on one CPU"),
            "{problem}"
        );
        let text = waits.to_string();
        assert!(text.starts_with("waits: 20, 4 beyond 312 ms"), "{text}");
        assert!(
            text.contains("longest wait: 900.0 ms, of which 20.0 ms were left, of 318: gcc"),
            "{text}"
        );
    }
}

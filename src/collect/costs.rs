//! What scheduling and watching cost: time per callback, and what the agent itself uses.
//!
//! The kernel times BPF programs when asked to, at two clock reads per call. So that watching does not
//! change what is watched, it is asked to for one sample in eight only.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::ProgramType;
use libbpf_rs::skel::Skel;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use scx_ops::kernel;
use scx_ops::statistics::{Statistics, of_program, op_of};

use crate::bpf_abi::BpfSkel;
use crate::snapshot::{Callback, Cost};

/// The kernel times callbacks from one sample to the next, every so many samples.
const SAMPLES_PER_TIMING: u32 = 8;

/// Samples the programs of one attached scheduler.
pub struct Costs {
    programs: Vec<(String, OwnedFd)>,
    timing: Option<Statistics>,
    samples: u32,
}

impl Costs {
    /// Of this scheduler's callbacks.
    pub fn of(skel: &BpfSkel<'_>) -> Self {
        let callbacks = skel
            .object()
            .progs()
            .filter(|program| program.prog_type() == ProgramType::StructOps);
        let programs = callbacks.filter_map(|program| {
            let name = program.name().to_string_lossy().into_owned();
            let fd = program.as_fd().try_clone_to_owned().ok()?;
            Some((op_of(&name).to_owned(), fd))
        });
        Self {
            programs: programs.collect(),
            timing: None,
            samples: 0,
        }
    }

    /// Costs so far. Callbacks that were never timed are left out.
    pub fn sample(&mut self) -> Cost {
        let timed = self.programs.iter().filter_map(|(name, fd)| {
            let timed = of_program(fd.as_fd()).filter(|timed| timed.calls > 0)?;
            let callback = Callback {
                calls: timed.calls,
                run_ns: timed.run_ns,
            };
            Some((name.clone(), callback))
        });
        let callbacks: BTreeMap<_, _> = timed.collect();
        let now = self.samples.is_multiple_of(SAMPLES_PER_TIMING);
        // A kernel that refuses leaves the table empty; nothing else suffers.
        self.timing = now.then(Statistics::enable).and_then(Result::ok);
        self.samples = self.samples.wrapping_add(1);
        Cost {
            callbacks,
            ..of_this_process()
        }
    }
}

/// What this process has used.
pub fn of_this_process() -> Cost {
    let agent_cpu_ns = getrusage(UsageWho::RUSAGE_SELF)
        .map(|used| (used.user_time() + used.system_time()).num_nanoseconds() as u64)
        .unwrap_or(0);
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    Cost {
        agent_cpu_ns,
        agent_rss_bytes: pages.unwrap_or(0) * kernel::page_size_bytes() as u64,
        ..Default::default()
    }
}

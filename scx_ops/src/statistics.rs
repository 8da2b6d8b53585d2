//! Cost per callback, from the kernel's own BPF statistics.
//!
//! They are switched on by a descriptor (BPF_ENABLE_STATS); when it is closed the kernel puts them back as
//! they were, whatever becomes of this process. They cost two clock reads per call.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_rs::btf::{Btf, types};
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};
use libbpf_rs::{ProgramType, btf::TypeId};
use nix::errno::Errno;

use crate::{Error, Result};

/// Callbacks that a name may end in, longer ones before the ones they end in.
const OPS: [&str; 35] = [
    "sub_cgroup_set_weight",
    "core_sched_before",
    "cgroup_set_bandwidth",
    "cgroup_cancel_move",
    "cgroup_set_weight",
    "cgroup_prep_move",
    "cgroup_set_idle",
    "cgroup_move",
    "cgroup_init",
    "cgroup_exit",
    "set_cpumask",
    "update_idle",
    "cpu_acquire",
    "cpu_release",
    "cpu_offline",
    "cpu_online",
    "select_cpu",
    "set_weight",
    "init_task",
    "exit_task",
    "dump_task",
    "dump_cpu",
    "quiescent",
    "stopping",
    "runnable",
    "dispatch",
    "enqueue",
    "dequeue",
    "running",
    "disable",
    "enable",
    "yield",
    "dump",
    "tick",
    "init",
];

/// Keeps the kernel's BPF statistics on.
pub struct Statistics(#[expect(dead_code, reason = "held for its effect")] OwnedFd);

impl Statistics {
    /// Switches them on.
    ///
    /// # Errors
    /// If the kernel refuses, to a process that is not root for one.
    pub fn enable() -> Result<Self> {
        // SAFETY: a plain system call on an enum value; the result is checked below.
        let fd = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
        if fd < 0 {
            let what = "switch the kernel's BPF statistics on";
            return Err(Error::system(what, Errno::from_raw(-fd)));
        }
        // SAFETY: the kernel has just made this descriptor for us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

/// Calls and run time of the programs of one scheduler, by callback.
pub type Costs = BTreeMap<String, Cost>;

/// Totals of one callback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Times it was called.
    pub calls: u64,
    /// Time it ran, in nanoseconds.
    pub run_ns: u64,
}

impl Cost {
    /// Mean run time of a call, in nanoseconds.
    pub fn ns_per_call(self) -> f64 {
        self.run_ns as f64 / self.calls.max(1) as f64
    }
}

/// Totals so far of one program that is loaded; `None`: the kernel does not say.
pub fn of_program(program: BorrowedFd<'_>) -> Option<Cost> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut len_bytes = size_of_val(&info) as u32;
    // SAFETY: the descriptor is open and the kernel writes at most `len_bytes` bytes to `info`, which is plain
    // data and asks for no arrays.
    let result = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut len_bytes)
    };
    (result == 0).then_some(Cost {
        calls: info.run_cnt,
        run_ns: info.run_time_ns,
    })
}

/// Programs that are there before the scheduler comes, and so are not its own.
pub fn present() -> BTreeSet<u32> {
    struct_ops_programs().map(|program| program.id).collect()
}

/// Totals so far of every callback that is not among `others`.
pub fn snapshot(others: &BTreeSet<u32>) -> Costs {
    let mut costs = Costs::new();
    for program in struct_ops_programs().filter(|program| !others.contains(&program.id)) {
        let short = program.name.to_string_lossy().into_owned();
        let name = program
            .func_info
            .first()
            .and_then(|function| function_name(program.id, function.type_id))
            .unwrap_or(short);
        let cost = costs.entry(op_of(&name).to_owned()).or_default();
        cost.calls += program.run_cnt;
        cost.run_ns += program.run_time_ns;
    }
    costs
}

/// What happened between two snapshots; callbacks that were not called are left out.
pub fn difference(before: &Costs, after: &Costs) -> Costs {
    let since = |(op, after): (&String, &Cost)| {
        let before = before.get(op).copied().unwrap_or_default();
        let cost = Cost {
            calls: after.calls.saturating_sub(before.calls),
            run_ns: after.run_ns.saturating_sub(before.run_ns),
        };
        (cost.calls > 0).then(|| (op.clone(), cost))
    };
    after.iter().filter_map(since).collect()
}

fn struct_ops_programs() -> impl Iterator<Item = libbpf_rs::query::ProgramInfo> {
    let options = ProgInfoQueryOptions::default().include_func_info(true);
    ProgInfoIter::with_query_opts(options).filter(|program| program.ty == ProgramType::StructOps)
}

/// The kernel cuts program names to 15 characters; the whole name is in the program's BTF.
fn function_name(program: u32, type_id: u32) -> Option<String> {
    let btf = Btf::from_prog_id(program).ok()?;
    let function = btf.type_by_id::<types::Func<'_>>(TypeId::from(type_id))?;
    Some(function.name()?.to_string_lossy().into_owned())
}

/// `cosmos_enqueue` is `enqueue`.
pub fn op_of(program: &str) -> &str {
    OPS.into_iter()
        .find(|op| program.ends_with(op))
        .unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_op_that_fits_names_the_callback() {
        assert_eq!(op_of("cosmos_enqueue"), "enqueue");
        assert_eq!(op_of("x_cgroup_set_weight"), "cgroup_set_weight");
        assert_eq!(op_of("x_set_weight"), "set_weight");
        assert_eq!(op_of("x_dump_task"), "dump_task");
        assert_eq!(op_of("x_cgroup_init"), "cgroup_init");
        assert_eq!(op_of("foreign"), "foreign");
    }

    #[test]
    fn only_what_was_called_in_between_counts() {
        let cost = |calls, run_ns| Cost { calls, run_ns };
        let before = Costs::from([("tick".into(), cost(5, 500)), ("init".into(), cost(1, 9))]);
        let after = Costs::from([
            ("tick".into(), cost(7, 700)),
            ("init".into(), cost(1, 9)),
            ("enqueue".into(), cost(2, 20)),
        ]);
        let found = difference(&before, &after);
        assert_eq!(found.len(), 2);
        assert_eq!(found["tick"], cost(2, 200));
        assert!((found["enqueue"].ns_per_call() - 10.0).abs() < 1e-9);
    }
}

//! The tables.

use scx_utils::compat;

/// What kind of thing a kernel may have or lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A member of `struct sched_ext_ops`.
    Callback,
    /// A function that BPF programs may call.
    Kfunc,
    /// A value of an enum, by the enum's name.
    Flag(&'static str),
}

/// What is done without a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The same in another way.
    Same(&'static str),
    /// Something less, or at a higher cost: `scx_takt check` names it.
    Less(&'static str),
}

impl Fallback {
    /// Its words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Same(text) | Self::Less(text) => text,
        }
    }
}

/// One thing that kernels from 6.12 on may have or lack, and whose BTF says whether they do.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Its name in the kernel's BTF.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The first release that has it, as (major, minor).
    pub since: (u32, u32),
    /// What is done without it.
    pub fallback: Fallback,
}

impl Feature {
    /// Does the running kernel have it? Needs BTF.
    pub fn present(&self) -> bool {
        match self.kind {
            Kind::Callback => has_callback(self.name),
            Kind::Kfunc => compat::ksym_exists(self.name).unwrap_or(false),
            Kind::Flag(of) => compat::read_enum(of, self.name).is_ok(),
        }
    }
}

/// Has the running kernel this member of `struct sched_ext_ops`? Needs BTF.
pub fn has_callback(name: &str) -> bool {
    compat::struct_has_field("sched_ext_ops", name).unwrap_or(false)
}

/// One thing that differs between kernels and that no type of theirs shows.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// The releases or build options that it is true of.
    pub kernels: &'static str,
    /// What is so there.
    pub what: &'static str,
    /// What scx_takt does, or what its user notices.
    pub effect: &'static str,
}

const fn feature(name: &'static str, kind: Kind, since: (u32, u32), fallback: Fallback) -> Feature {
    Feature {
        name,
        kind,
        since,
        fallback,
    }
}

const fn difference(kernels: &'static str, what: &'static str, effect: &'static str) -> Difference {
    Difference {
        kernels,
        what,
        effect,
    }
}

/// Gives the tasks of a CPU's local queue back to the scheduler. Before it, only cpu_release could.
pub const REENQUEUE_FROM_ANYWHERE: &str = "scx_bpf_reenqueue_local___v2";
/// Reads the first task of a queue without its lock.
pub const PEEK: &str = "scx_bpf_dsq_peek";

/// What is looked up in the kernel's BTF while loading. `tests/compat_kernel.rs` holds `since` against the
/// kernel that it runs on, and a test of the VM harness runs that on each kernel.
pub const FEATURES: &[Feature] = {
    use Fallback::{Less, Same};
    use Kind::{Callback, Flag, Kfunc};
    &[
        feature(
            "scx_bpf_dsq_insert",
            Kfunc,
            (6, 13),
            Same("its former name, `scx_bpf_dispatch`"),
        ),
        feature(
            "scx_bpf_dsq_insert_vtime",
            Kfunc,
            (6, 13),
            Same("its former name, `scx_bpf_dispatch_vtime`"),
        ),
        feature(
            "scx_bpf_dsq_move",
            Kfunc,
            (6, 13),
            Same("its former name, `scx_bpf_dispatch_from_dsq`"),
        ),
        feature(
            "scx_bpf_dsq_move_to_local",
            Kfunc,
            (6, 13),
            Same("its former name, `scx_bpf_consume`"),
        ),
        feature(
            "SCX_OPS_ENQ_MIGRATION_DISABLED",
            Flag("scx_ops_flags"),
            (6, 14),
            Same("tasks that may not migrate now pass our queues anyway"),
        ),
        feature(
            "scx_bpf_now",
            Kfunc,
            (6, 14),
            Less("the clock is read with bpf_ktime_get_ns()"),
        ),
        feature(
            "cgroup_set_bandwidth",
            Callback,
            (6, 17),
            Same(
                "`cpu.max` is read from the kernel's own record, as with it; a change counts 8 ms later",
            ),
        ),
        feature(
            "cgroup_set_idle",
            Callback,
            (6, 19),
            Same("`cpu.idle` is read from the kernel's own record, as with it"),
        ),
        feature(
            PEEK,
            Kfunc,
            (6, 19),
            Less("the head of a queue is read with an iterator, which takes its lock"),
        ),
        feature(
            REENQUEUE_FROM_ANYWHERE,
            Kfunc,
            (6, 19),
            Less("cpu_release reports when a higher class takes a CPU"),
        ),
        feature(
            "scx_bpf_task_set_slice",
            Kfunc,
            (6, 19),
            Same("the task's field is written"),
        ),
        feature(
            "SCX_TASK_ENABLED",
            Flag("scx_ent_flags"),
            (7, 1),
            Same("the observer reads the state from `enum scx_task_state`"),
        ),
        feature(
            "scx_bpf_dsq_move_to_local___v2",
            Kfunc,
            (7, 1),
            Same("the one without flags; scx_takt passes none"),
        ),
    ]
};

/// What is known by the version or the options of a build.
pub const DIFFERENCES: &[Difference] = &[
    difference(
        "6.12 to 6.15",
        "Debian's own kernels have no sched_ext",
        "build one with `SCHED_CLASS_EXT`; the VM harness does",
    ),
    difference(
        "all",
        "`SCX_OPS_ENQ_EXITING`",
        "tasks that exit pass our queues too",
    ),
    difference(
        "before 6.15",
        "no event counters (`/sys/kernel/sched_ext/root/events`)",
        "`scx_takt stress` compares none",
    ),
    difference(
        "from 6.15",
        "the names of event counters differ, and 7.1 adds four",
        "`scx_takt stress` takes the names from the kernel",
    ),
    difference(
        "before 6.16",
        "`/sys/kernel/btf/vmlinux` cannot be mapped",
        "it is read",
    ),
    difference(
        "from 6.18",
        "only the active scheduler may make a DSQ",
        "`scx_takt check` cannot try it, and says so",
    ),
    difference(
        "from 6.18, without preemptible RCU",
        "the entry code of a BPF program adds nothing to `migration_disabled`",
        "measured at load (`entry_disables_migration`)",
    ),
    difference(
        "6.18",
        "detaching under changing policies and cgroups can hang",
        "[limitations](../user/limitations.md)",
    ),
    difference(
        "before 7.0",
        "a placement by select_cpu outlives a task that leaves the scheduler before it is enqueued",
        "no queued wakeups (`SCX_OPS_ALLOW_QUEUED_WAKEUP`), which make that likely",
    ),
    difference(
        "from 6.19",
        "`cpu_release` is deprecated, and 7.2 says so in its log at each load",
        "a BPF program at `sched_switch` in its place, on machines with more than one CPU",
    ),
    difference(
        "7.1.13, 7.2.12+deb13",
        "malformed BTF: 21 kfuncs without their twin",
        "no sched_ext scheduler can use most of it; `scx_takt check` says so",
    ),
    difference(
        "before 7.3",
        "after `SCX_ENQ_LAST` a CPU goes idle with the task in its local queue if nothing follows",
        "on machines with big and small CPUs, which ask for it, the CPU is kicked",
    ),
    difference(
        "before 7.3",
        "idle masks count all CPUs as idle at load",
        "the first wakeups after load may be placed on a busy CPU (reasoned)",
    ),
    difference(
        "from 7.3",
        "a scheduler is ejected when a task of it comes back 256 times without running",
        "local tasks are enqueued anew at most `MAX_REENQUEUES` times in a row",
    ),
    difference(
        "without `CONFIG_FUNCTION_TRACER`",
        "no BPF scheduler can be loaded",
        "the agent says so in one line",
    ),
    difference(
        "without `CONFIG_EXT_GROUP_SCHED`",
        "no callbacks for cgroups",
        "all cgroups weigh the same; `scx_takt check` notes it",
    ),
    difference(
        "without `CONFIG_FAIR_GROUP_SCHED`",
        "no `shares` in `struct task_group`",
        "the nice value of a session does not count",
    ),
    difference(
        "without `CONFIG_CGROUP_SCHED`",
        "no `sched_task_group` in `struct task_struct`",
        "sessions are not told apart",
    ),
    difference(
        "without `CONFIG_PREEMPT_RCU`",
        "no `rcu_read_lock_nesting` in `struct task_struct`",
        "RCU read-side sections are not seen; the kernel preempts no task inside one",
    ),
];

/// Looks a name of [`FEATURES`] up.
pub fn find(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_explained_and_in_order_of_release() {
        for (i, feature) in FEATURES.iter().enumerate() {
            let mut others = FEATURES[i + 1..].iter();
            assert!(others.all(|other| other.name != feature.name && other.since >= feature.since));
            assert!(!feature.fallback.text().is_empty(), "{}", feature.name);
        }
    }

    #[test]
    fn finds_by_name() {
        assert_eq!(find(PEEK).map(|f| f.since), Some((6, 19)));
        assert_eq!(
            find("cgroup_set_bandwidth").map(|f| f.kind),
            Some(Kind::Callback)
        );
        assert!(find("no_such_kfunc").is_none());
    }
}

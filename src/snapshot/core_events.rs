//! What the core of sched_ext counts of the active scheduler: the `SCX_EV_*` counters.
//!
//! Most of them say that the core did something in the place of the scheduler. Names differ between kernels (6.12 has
//! no counters, 6.15 has `ENQ_SLICE_DFL` for the `REFILL_SLICE_DFL` of later ones, 7.1 adds four), so that all names
//! come from the kernel: a counter that is not known here must stand still as well.

use std::collections::BTreeMap;

use super::Delta;

/// Counters by name.
pub type CoreEvents = BTreeMap<String, u64>;

/// What all names begin with.
pub const PREFIX: &str = "SCX_EV_";
/// A counter that ends so is a time in nanoseconds.
pub const DURATION: &str = "_DURATION";
/// Part of the names that count the bypass mode, which the kernel itself enters for a load or a suspend.
const BYPASS: &str = "BYPASS";
/// When a counter may move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    /// Not at all: the core acts in the place of the scheduler. (In bypass mode it does for every scheduler.)
    Never,
    /// In usual work: the last task of a CPU goes on without `SCX_OPS_ENQ_LAST`; an insertion with `SCX_ENQ_IMMED`
    /// comes back because the CPU is taken, as it should.
    Usually,
    /// When a CPU goes offline between a decision and its effect: the core picks another CPU, bounces the task to
    /// the global queue, and gives a task that it enqueues there a slice of its own.
    AtHotplug,
    /// When a real-time task takes the CPU to which a task had gone that another one had driven away, before that
    /// ran there (7.3 counts this): a few times in a hundred thousand waits. At 256 times for one task, the kernel
    /// ejects the scheduler.
    BesideRealTime,
}

/// The counters: when each may move, and what it counts. `kernel/sched/ext/internal.h` of 7.3, `ext.c` of 6.15.
const KNOWN: [(&str, Moves, &str); 15] = [
    (
        "SCX_EV_SELECT_CPU_FALLBACK",
        Moves::AtHotplug,
        "the core chose another CPU: the task may not use the chosen one",
    ),
    (
        "SCX_EV_DISPATCH_LOCAL_DSQ_OFFLINE",
        Moves::AtHotplug,
        "sent to the global queue, as the CPU went offline",
    ),
    (
        "SCX_EV_DISPATCH_KEEP_LAST",
        Moves::Usually,
        "a task went on, as no other was there",
    ),
    (
        "SCX_EV_ENQ_SKIP_EXITING",
        Moves::Never,
        "exiting tasks that the core placed",
    ),
    (
        "SCX_EV_ENQ_SKIP_MIGRATION_DISABLED",
        Moves::Never,
        "tasks that may not migrate, placed by the core",
    ),
    (
        "SCX_EV_REENQ_IMMED",
        Moves::Usually,
        "came back, as the CPU was taken after all",
    ),
    (
        "SCX_EV_REENQ_LOCAL_REPEAT",
        Moves::Never,
        "came back again and again (a fault of the scheduler)",
    ),
    (
        "SCX_EV_REENQ_REPEAT",
        Moves::BesideRealTime,
        "came back more than once, as real-time tasks took the CPU",
    ),
    (
        "SCX_EV_REFILL_SLICE_DFL",
        Moves::AtHotplug,
        "slices that the core gave, of 20 ms",
    ),
    (
        "SCX_EV_ENQ_SLICE_DFL",
        Moves::AtHotplug,
        "slices that the core gave, of 20 ms",
    ),
    (
        "SCX_EV_BYPASS_DURATION",
        Moves::Never,
        "time in bypass mode: the core alone schedules (load, suspend)",
    ),
    (
        "SCX_EV_BYPASS_DISPATCH",
        Moves::Never,
        "tasks run in bypass mode",
    ),
    (
        "SCX_EV_BYPASS_ACTIVATE",
        Moves::Never,
        "times that it was entered",
    ),
    (
        "SCX_EV_INSERT_NOT_OWNED",
        Moves::Never,
        "insertions of a task that another scheduler owns",
    ),
    (
        "SCX_EV_SUB_BYPASS_DISPATCH",
        Moves::Never,
        "tasks run for a sub-scheduler in bypass mode",
    ),
];

/// What is known of a counter.
fn known(name: &str) -> Option<(Moves, &'static str)> {
    let mut known = KNOWN.into_iter();
    known
        .find(|(known, ..)| *known == name)
        .map(|(_, moves, meaning)| (moves, meaning))
}

/// What a counter counts; empty: it is not known here.
pub fn meaning(name: &str) -> &'static str {
    known(name).map_or("", |(_, meaning)| meaning)
}

/// Was the scheduler in bypass mode for a part of this period?
pub fn was_bypassed(moved: &CoreEvents) -> bool {
    moved
        .iter()
        .any(|(name, by)| *by > 0 && name.contains(BYPASS))
}

/// What else a load does that moves counters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside {
    /// CPUs come and go.
    pub hotplug: bool,
    /// Real-time tasks come and go.
    pub real_time: bool,
}

/// By how much each counter has grown from `before` to `after`; those that stood still are left out. Counters of a
/// scheduler that was loaded in between began at 0.
pub fn moved(before: &CoreEvents, after: &CoreEvents) -> CoreEvents {
    let mut moved = after.since(before);
    moved.retain(|_, by| *by > 0);
    moved
}

/// What moved and must not have, with its numbers.
pub fn problem(moved: &CoreEvents, beside: Beside) -> Option<String> {
    let may_move = |name: &str| {
        name.contains(BYPASS)
            || match known(name).map_or(Moves::Never, |(moves, _)| moves) {
                Moves::Never => false,
                Moves::Usually => true,
                Moves::AtHotplug => beside.hotplug,
                Moves::BesideRealTime => beside.real_time,
            }
    };
    let wrong: Vec<_> = moved
        .iter()
        .filter(|(name, by)| **by > 0 && !may_move(name))
        .map(|(name, by)| format!("{name} by {by}"))
        .collect();
    (!wrong.is_empty()).then(|| {
        format!(
            "the core acted in the place of the scheduler: {} (kernel/sched/ext/internal.h says what each means)",
            wrong.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOTPLUG_ONLY: Beside = Beside {
        hotplug: true,
        real_time: false,
    };
    const REAL_TIME_ONLY: Beside = Beside {
        hotplug: false,
        real_time: true,
    };

    fn counters(pairs: &[(&str, u64)]) -> CoreEvents {
        let owned = |(name, count): &(&str, u64)| ((*name).to_owned(), *count);
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn what_moved_is_told_with_its_amount() {
        let before = counters(&[("SCX_EV_SELECT_CPU_FALLBACK", 3), ("SCX_EV_NEW", 1)]);
        let after = counters(&[("SCX_EV_SELECT_CPU_FALLBACK", 10), ("SCX_EV_NEW", 1)]);
        let moved = moved(&before, &after);
        assert_eq!(moved, counters(&[("SCX_EV_SELECT_CPU_FALLBACK", 7)]));
        let problem = super::problem(&moved, Beside::default()).unwrap();
        assert!(
            problem.contains("SCX_EV_SELECT_CPU_FALLBACK by 7"),
            "{problem}"
        );
    }

    #[test]
    fn counters_of_a_scheduler_loaded_anew_begin_at_nothing() {
        let (before, after) = (
            counters(&[("SCX_EV_NEW", 9)]),
            counters(&[("SCX_EV_NEW", 2)]),
        );
        assert_eq!(moved(&before, &after), counters(&[("SCX_EV_NEW", 2)]));
    }

    #[test]
    fn known_counters_have_a_meaning() {
        assert!(meaning("SCX_EV_REFILL_SLICE_DFL").contains("20 ms"));
        assert_eq!(meaning("SCX_EV_NEW"), "");
        for (name, _, meaning) in KNOWN {
            assert_ne!(meaning, "", "{name}");
        }
    }

    #[test]
    fn usual_work_bypass_hotplug_and_real_time_are_told_apart() {
        let usual = counters(&[
            ("SCX_EV_DISPATCH_KEEP_LAST", 5),
            ("SCX_EV_SUB_BYPASS_DISPATCH", 5),
        ]);
        assert_eq!(problem(&usual, Beside::default()), None);
        let offline = counters(&[("SCX_EV_DISPATCH_LOCAL_DSQ_OFFLINE", 5)]);
        assert_eq!(problem(&offline, HOTPLUG_ONLY), None);
        assert!(problem(&offline, REAL_TIME_ONLY).is_some());
        let again = counters(&[("SCX_EV_REENQ_REPEAT", 5)]);
        assert_eq!(problem(&again, REAL_TIME_ONLY), None);
        assert!(problem(&again, HOTPLUG_ONLY).is_some());
        let unknown = counters(&[("SCX_EV_NEW", 1)]);
        assert!(problem(&unknown, HOTPLUG_ONLY).is_some());
    }
}

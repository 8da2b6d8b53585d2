//! Is the machine well, and if not, why?

use super::Snapshot;
use super::core_events::{self, Beside};
use crate::base::units::time;

/// A task that waits for longer than this share of the watchdog's time is a danger, in percent.
const WATCHDOG_SHARE: u64 = 25;
/// A wait beyond this is too long under any scheduler. It is not scx_takt's bound, which depends on its tunables
/// and on the queue.
const TOO_LONG_NS: u64 = 1_000_000_000;
/// The agent may use this much of a CPU, in thousandths.
const AGENT_PERMILLE: u64 = 200;

/// The verdict on a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing to complain about.
    Healthy,
    /// Nothing seen to complain about; but whether tasks wait cannot be seen.
    Unknown,
    /// It works, but not as it should; each reason in a few words.
    Degraded(Vec<String>),
}

/// Judges a period: `now` is the snapshot at its end, `delta` what happened in it.
pub fn assess(now: &Snapshot, delta: &Snapshot) -> Health {
    let reasons: Vec<_> = [
        long_waiter(now),
        lost_events(delta),
        rejected(now),
        core(now, delta),
        agent(now, delta),
    ]
    .into_iter()
    .flatten()
    .collect();
    match (reasons.is_empty(), now.tasks.total) {
        (false, _) => Health::Degraded(reasons),
        (true, 0) => Health::Unknown,
        (true, _) => Health::Healthy,
    }
}

fn long_waiter(now: &Snapshot) -> Option<String> {
    let task = now.tasks.longest.as_ref()?;
    let watchdog = now.scheduler.watchdog_ns;
    let limit = match watchdog {
        0 => TOO_LONG_NS,
        _ => TOO_LONG_NS.min(watchdog * WATCHDOG_SHARE / 100),
    };
    (task.waits_ns > limit).then(|| {
        format!(
            "{} ({}) has waited {} for a CPU",
            task.comm,
            task.pid,
            time(task.waits_ns)
        )
    })
}

fn lost_events(delta: &Snapshot) -> Option<String> {
    let lost = delta.cost.events_lost;
    (lost > 0).then(|| format!("{lost} events lost: the ring is full"))
}

fn rejected(now: &Snapshot) -> Option<String> {
    let rejected = now.scheduler.rejected;
    (now.is_takt() && rejected > 0).then(|| format!("{rejected} tasks rejected"))
}

/// The core must not have to act in the place of scx_takt. A scheduler that was attached within the period began to
/// count anew, which is no growth; one that is ejected as a CPU goes offline is attached again. In bypass mode
/// the core acts for every scheduler.
fn core(now: &Snapshot, delta: &Snapshot) -> Option<String> {
    let beside = Beside {
        hotplug: false,
        real_time: true,
    };
    let moved = &delta.core_events;
    let judged = now.is_takt()
        && now.scheduler.uptime_ns >= delta.at_ns
        && !core_events::was_bypassed(moved);
    judged
        .then(|| core_events::problem(moved, beside))
        .flatten()
}

fn agent(now: &Snapshot, delta: &Snapshot) -> Option<String> {
    let permille = (1000 * delta.cost.agent_cpu_ns).checked_div(delta.at_ns)?;
    (now.is_takt() && permille > AGENT_PERMILLE)
        .then(|| format!("the agent uses {} % of a CPU", permille / 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Task;

    #[test]
    fn calm_is_healthy_where_it_can_be_seen() {
        let mut now = Snapshot::default();
        assert_eq!(assess(&now, &Snapshot::default()), Health::Unknown);
        now.tasks.total = 70;
        assert_eq!(assess(&now, &Snapshot::default()), Health::Healthy);
    }

    #[test]
    fn each_trouble_is_named() {
        let mut now = Snapshot::default();
        now.scheduler.name = "takt_x".into();
        now.scheduler.watchdog_ns = 2_000_000_000;
        now.scheduler.rejected = 1;
        now.tasks.longest = Some(Task {
            comm: "poor".into(),
            pid: 4,
            waits_ns: 600_000_000,
            ..Default::default()
        });
        let mut delta = Snapshot {
            at_ns: 1_000,
            ..Default::default()
        };
        delta.cost.events_lost = 3;
        now.scheduler.uptime_ns = 2_000;
        delta.core_events = [("SCX_EV_SELECT_CPU_FALLBACK".to_owned(), 7)].into();
        delta.cost.agent_cpu_ns = 300;
        let Health::Degraded(reasons) = assess(&now, &delta) else {
            panic!("healthy");
        };
        let expected = [
            "poor (4) has waited 600 ms",
            "3 events lost",
            "1 tasks rejected",
            "SCX_EV_SELECT_CPU_FALLBACK by 7",
            "30 %",
        ];
        for (reason, expected) in reasons.iter().zip(expected) {
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(reasons.len(), expected.len());
    }

    #[test]
    fn the_core_may_act_while_the_scheduler_comes_or_is_bypassed() {
        let mut now = Snapshot::default();
        now.scheduler.name = "takt_x".into();
        now.tasks.total = 70;
        now.scheduler.uptime_ns = 5_000;
        let mut delta = Snapshot {
            at_ns: 1_000,
            core_events: [("SCX_EV_REFILL_SLICE_DFL".to_owned(), 1)].into(),
            ..Default::default()
        };
        assert!(matches!(assess(&now, &delta), Health::Degraded(_)));
        now.scheduler.uptime_ns = 999;
        assert_eq!(assess(&now, &delta), Health::Healthy, "attached just now");
        now.scheduler.uptime_ns = 5_000;
        delta
            .core_events
            .insert("SCX_EV_BYPASS_DISPATCH".to_owned(), 4);
        assert_eq!(assess(&now, &delta), Health::Healthy, "a suspend");
        now.scheduler.name = "scx_other".into();
        delta.core_events.remove("SCX_EV_BYPASS_DISPATCH");
        assert_eq!(assess(&now, &delta), Health::Healthy, "its own affair");
    }
}

//! A period in one line.

use crate::base::units::{per_second, time, uptime};
use crate::snapshot::{Activity, Delta, Snapshot, health};

/// Where a task was put, in four groups: a name for people, and the places.
pub const GROUPS: [(&str, &[&str]); 4] = [
    ("idle", &["idle_prev", "idle_other"]),
    ("next", &["handoff", "sync", "next"]),
    ("preempt", &["preempt", "kthread"]),
    ("queue", &["queue_llc", "queue_cpu"]),
];

/// What happened between two snapshots.
pub fn line(earlier: &Snapshot, now: &Snapshot) -> String {
    let delta = now.since(earlier);
    let mut parts = vec![verdict(now, &delta), now.scheduler.name.clone()];
    if now.scheduler.uptime_ns > 0 {
        parts.push(format!("up {}", uptime(now.scheduler.uptime_ns)));
    }
    parts.push(format!("busy {} %", busy_percent(&delta)));
    let latency = |permille| delta.wakeups.quantile_ns(permille).map(time);
    if let (Some(p50), Some(p99)) = (latency(500), latency(990)) {
        parts.push(format!("wakeup p50 {p50} p99 {p99}"));
    }
    if delta.waits.total() > 0 {
        parts.push(format!("longest wait {}", time(delta.waits.max_ns)));
    }
    if now.tasks.total > 0 {
        parts.push(format!(
            "{} of {} tasks wait",
            now.tasks.waiting, now.tasks.total
        ));
    }
    if let Some(task) = &now.tasks.longest {
        parts.push(format!(
            "{} ({}) for {}",
            task.comm,
            task.pid,
            time(task.waits_ns)
        ));
    }
    if let Some(activity) = &delta.activity {
        parts.push(placed(activity, delta.at_ns));
    }
    parts.join("  ")
}

fn verdict(now: &Snapshot, delta: &Snapshot) -> String {
    match health::judge(now, delta) {
        health::Health::Healthy => "healthy".to_owned(),
        health::Health::Unknown => "health unknown".to_owned(),
        health::Health::Degraded(reasons) => format!("DEGRADED: {}", reasons.join("; ")),
    }
}

fn placed(activity: &Activity, period_ns: u64) -> String {
    let all = activity.placements();
    let groups = shares(activity).map(|(name, percent)| format!("{name} {percent} %"));
    format!(
        "placed {}/s ({})",
        per_second(all, period_ns),
        groups.join(", ")
    )
}

/// The share of each of [`GROUPS`] in percent.
pub fn shares(activity: &Activity) -> [(&'static str, u64); 4] {
    let all = activity.placements();
    GROUPS.map(|(name, places)| {
        let sum: u64 = places
            .iter()
            .filter_map(|place| activity.placed.get(*place))
            .sum();
        (name, (100 * sum).checked_div(all).unwrap_or(0))
    })
}

/// As a delta: the share of all CPU time that was used, in percent.
pub fn busy_percent(delta: &Snapshot) -> u64 {
    let all: u64 = delta.cpus.iter().map(|cpu| cpu.busy_ns + cpu.idle_ns).sum();
    let busy: u64 = delta.cpus.iter().map(|cpu| cpu.busy_ns).sum();
    (100 * busy).checked_div(all).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing;

    #[test]
    fn one_line_with_units() {
        assert_eq!(
            line(&testing::snapshot(1), &testing::snapshot(3)),
            "healthy  takt_0.1.0_x86_64  up 1:01:04  busy 50 %  wakeup p50 3 us p99 48 us  longest wait 900 us  \
             2 of 120 tasks wait  gcc (41) for 12.3 ms  \
             placed 400/s (idle 40 %, next 5 %, preempt 20 %, queue 35 %)"
        );
    }

    #[test]
    fn nothing_known_no_division() {
        let nothing = Snapshot::default();
        assert_eq!(line(&nothing, &nothing), "health unknown    busy 0 %");
    }

    #[test]
    fn every_place_is_in_a_group() {
        let activity = testing::snapshot(1).activity.unwrap();
        assert_eq!(
            shares(&activity)
                .iter()
                .map(|(_, percent)| percent)
                .sum::<u64>(),
            100
        );
    }
}

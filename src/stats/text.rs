//! A period in one line: of `stats`, of `--monitor` and of `--stats`.

use crate::base::units::{per_second, time, uptime};
use crate::snapshot::{Activity, Delta, Snapshot, Waits, health};

/// Where a task was put, in four groups: a name for people, and the places.
pub const GROUPS: [(&str, &[&str]); 4] = [
    ("idle", &["idle_prev", "idle_other"]),
    ("next", &["handoff", "sync", "next"]),
    ("preempt", &["preempt", "kthread"]),
    ("queue", &["queue_llc", "queue_cpu"]),
];

/// What [`activity`] says, printed once above the lines of `--stats`.
pub const LEGEND: &str = "\
wakeup: from waking to running; wait: from runnable to running, after a slice too. p50, p99: upper bounds \
of buckets
placed: tasks that became runnable per second, and where they were put (idle CPU, next on a busy one, \
in place of a preempted task, queue)
stolen: taken from another LLC; kicked: idle CPUs that the tick kicked for a waiting task; lost: events \
that found the ring full";

/// What happened between two snapshots.
pub fn line(earlier: &Snapshot, now: &Snapshot) -> String {
    let delta = now.since(earlier);
    let mut parts = vec![verdict(now, &delta), now.scheduler.name.clone()];
    if now.scheduler.uptime_ns > 0 {
        parts.push(format!("up {}", uptime(now.scheduler.uptime_ns)));
    }
    parts.push(format!("busy {:.0} %", delta.busy_percent()));
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
    parts.extend(activity_parts(&delta));
    parts.join("  ")
}

/// The part of [`line`] that shows how long tasks waited and what scx_takt did.
pub fn activity(delta: &Snapshot) -> String {
    activity_parts(delta).join("  ")
}

fn activity_parts(delta: &Snapshot) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(quantiles) = quantiles(&delta.wakeups) {
        parts.push(format!("wakeup {quantiles}"));
    }
    if let Some(quantiles) = quantiles(&delta.waits) {
        parts.push(format!("wait {quantiles} max {}", time(delta.waits.max_ns)));
    }
    if let Some(activity) = &delta.activity {
        parts.push(placed(activity, delta.at_ns));
        let counters = [
            ("switches", "nr_runs"),
            ("stolen", "nr_stolen"),
            ("kicked", "nr_kicked"),
        ];
        parts.extend(counters.map(|(name, counter)| {
            let rate = per_second(activity.counter(counter), delta.at_ns);
            format!("{name} {rate}/s")
        }));
        parts.push(format!("lost {}", delta.cost.events_lost));
    }
    parts
}

fn quantiles(waits: &Waits) -> Option<String> {
    let quantile = |permille| waits.quantile_ns(permille).map(time);
    Some(format!("p50 {} p99 {}", quantile(500)?, quantile(990)?))
}

fn verdict(now: &Snapshot, delta: &Snapshot) -> String {
    match health::assess(now, delta) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing;

    #[test]
    fn one_line_with_units() {
        assert_eq!(
            line(&testing::snapshot(1), &testing::snapshot(3)),
            "healthy  takt_0.1.0_x86_64  up 1:01:04  busy 50 %  2 of 120 tasks wait  \
             gcc (41) for 12.3 ms  wakeup p50 3 us p99 48 us  wait p50 4 us p99 64 us max 900 us  \
             placed 400/s (idle 40 %, next 5 %, preempt 20 %, queue 35 %)  switches 10/s  stolen 2/s  kicked 0/s  lost 0"
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

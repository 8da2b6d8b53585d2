//! The figures of a period in the ecosystem's form: flat, with a description of each field.

use std::collections::BTreeMap;

use scx_stats_derive::Stats;
use serde::{Deserialize, Serialize};

use crate::snapshot::{Delta, Snapshot};

/// What happened since the same client last asked (since the scheduler was loaded, at first).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Stats)]
#[stat(desc = "scx_takt statistics", top, _om_prefix = "takt_")]
#[serde(default)]
pub struct Metrics {
    /// Seconds since 1970.
    #[stat(desc = "seconds since 1970")]
    pub at: u64,
    /// Active scheduler.
    #[stat(desc = "name of the active scheduler", _om_skip)]
    pub scheduler: String,
    /// Uptime.
    #[stat(desc = "seconds since it was attached")]
    pub uptime_s: u64,
    /// Length of the period.
    #[stat(desc = "length of the period in ms, which the counts below are of")]
    pub period_ms: u64,
    /// By place.
    #[stat(desc = "tasks made ready, by where they were put", _om_label = "place")]
    pub placed: BTreeMap<String, u64>,
    /// All other counters.
    #[stat(
        desc = "counters of the scheduler, see src/bpf/intf.h",
        _om_label = "counter"
    )]
    pub counters: BTreeMap<String, u64>,
    /// Quantile of wakeup latency.
    #[stat(desc = "median time from waking to running in us (upper bound of a bucket)")]
    pub wakeup_p50_us: f64,
    /// Quantile of wakeup latency.
    #[stat(desc = "99 % of wakeups take at most this, in us")]
    pub wakeup_p99_us: f64,
    /// Quantile of wakeup latency.
    #[stat(desc = "99.9 % of wakeups take at most this, in us")]
    pub wakeup_p999_us: f64,
    /// Quantile of waits.
    #[stat(desc = "median wait for a CPU in us (upper bound of a bucket)")]
    pub wait_p50_us: f64,
    /// Quantile of waits.
    #[stat(desc = "99 % of waits are at most this long, in us")]
    pub wait_p99_us: f64,
    /// Quantile of waits.
    #[stat(desc = "99.9 % of waits are at most this long, in us")]
    pub wait_p999_us: f64,
    /// Longest wait.
    #[stat(desc = "longest wait of the last second or two, in us")]
    pub wait_max_us: f64,
    /// Waiting tasks.
    #[stat(desc = "tasks that wait for a CPU now")]
    pub waiting: u64,
    /// Longest current wait.
    #[stat(desc = "how long the task has waited that waits for longest now, in us")]
    pub waiting_longest_us: f64,
    /// Load.
    #[stat(desc = "share of CPU time that was used, in %")]
    pub cpu_busy_percent: f64,
    /// Depths.
    #[stat(desc = "tasks that wait now, by dispatch queue", _om_label = "queue")]
    pub queued: BTreeMap<String, u64>,
    /// Cost.
    #[stat(
        desc = "mean ns per call, by callback, timed now and then",
        _om_label = "callback"
    )]
    pub callback_ns: BTreeMap<String, u64>,
    /// Cost.
    #[stat(desc = "CPU time of the agent, in us")]
    pub agent_cpu_us: u64,
    /// Cost.
    #[stat(desc = "memory of the agent, in KiB")]
    pub agent_rss_kib: u64,
    /// Losses.
    #[stat(desc = "events that found the ring full")]
    pub events_lost: u64,
}

impl Metrics {
    /// What happened between two snapshots.
    pub fn between(earlier: &Snapshot, now: &Snapshot) -> Self {
        let delta = now.since(earlier);
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |permille| us(delta.waits.quantile_ns(permille).unwrap_or(0));
        let latency = |permille| us(delta.wakeups.quantile_ns(permille).unwrap_or(0));
        let activity = delta.activity.clone().unwrap_or_default();
        let longest = now.tasks.longest.as_ref();
        let callbacks = now.cost.callbacks.iter();
        Self {
            at: now.unix_s,
            scheduler: now.scheduler.name.clone(),
            uptime_s: now.scheduler.uptime_ns / 1_000_000_000,
            period_ms: delta.at_ns / 1_000_000,
            placed: activity.placed,
            counters: activity.counters,
            wakeup_p50_us: latency(500),
            wakeup_p99_us: latency(990),
            wakeup_p999_us: latency(999),
            wait_p50_us: quantile(500),
            wait_p99_us: quantile(990),
            wait_p999_us: quantile(999),
            wait_max_us: us(delta.waits.max_ns),
            waiting: now.tasks.waiting,
            waiting_longest_us: us(longest.map_or(0, |task| task.waits_ns)),
            cpu_busy_percent: delta.busy_percent(),
            queued: now
                .queues
                .iter()
                .map(|queue| (queue.name.clone(), queue.queued))
                .collect(),
            callback_ns: callbacks
                .filter_map(|(name, callback)| Some((name.clone(), callback.ns_per_call()?)))
                .collect(),
            agent_cpu_us: delta.cost.agent_cpu_ns / 1_000,
            agent_rss_kib: now.cost.agent_rss_bytes / 1024,
            events_lost: delta.cost.events_lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing;

    #[test]
    fn counts_are_of_the_period_and_levels_of_its_end() {
        let (earlier, now) = (testing::snapshot(1), testing::snapshot(3));
        let metrics = Metrics::between(&earlier, &now);
        assert_eq!(metrics.period_ms, 2_000);
        assert_eq!(metrics.placed["idle_prev"], 200);
        assert_eq!(metrics.counters["nr_runs"], 20);
        assert_eq!(metrics.wait_p50_us, 4.0);
        assert_eq!(metrics.cpu_busy_percent, 50.0);
        assert_eq!(metrics.queued["LLC 0"], 2);
        assert_eq!(metrics.callback_ns["enqueue"], 250);
    }
}

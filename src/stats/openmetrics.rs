//! A snapshot as OpenMetrics text. Counters are since the scheduler was loaded (or the machine booted), as
//! Prometheus wants them; each family has one unit.

use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::snapshot::{Snapshot, Waits, core_events, health};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter<u64, AtomicU64>>;
type Seconds = Family<Labels, Counter<f64, AtomicU64>>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// The text of a snapshot. `delta`: what has happened lately, as [`health::assess`] wants it.
///
/// # Errors
/// None that is known; the encoder may fail by its type.
pub fn text(snapshot: &Snapshot, delta: Option<&Snapshot>) -> Result<String> {
    let mut registry = Registry::with_prefix("takt");
    add_scheduler(&mut registry, snapshot);
    add_health(&mut registry, snapshot, delta);
    add_activity(&mut registry, snapshot);
    add_core_events(&mut registry, snapshot);
    let wait = ("wait_seconds", "Time from ready to running, while watched");
    add_waits(&mut registry, wait, &snapshot.waits);
    let wakeup = (
        "wakeup_seconds",
        "Time from waking to running, while watched",
    );
    add_waits(&mut registry, wakeup, &snapshot.wakeups);
    add_cpus(&mut registry, snapshot);
    add_tasks(&mut registry, snapshot);
    add_cgroups(&mut registry, snapshot);
    add_cost(&mut registry, snapshot);
    let mut text = String::new();
    encode(&mut text, &registry).context("cannot write OpenMetrics text")?;
    Ok(text)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn gauge_s(registry: &mut Registry, name: &str, help: &str, ns: u64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(seconds(ns));
    registry.register_with_unit(name, help, Unit::Seconds, gauge);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn add_scheduler(registry: &mut Registry, snapshot: &Snapshot) {
    let scheduler = &snapshot.scheduler;
    let info = vec![
        ("name", scheduler.name.clone()),
        ("profile", scheduler.profile.clone()),
        ("version", snapshot.version.clone()),
        ("kernel", snapshot.kernel.clone()),
    ];
    registry.register("scheduler", "The active scheduler", Info::new(info));
    let uptime = scheduler.uptime_ns;
    gauge_s(registry, "uptime", "Time since it was attached", uptime);
    let help = "Tasks refused since boot";
    counter(registry, "rejected_tasks", help, scheduler.rejected);
    let help = "Times that it was loaded again";
    counter(registry, "restarts", help, scheduler.restarts);
}

/// The verdict of `top` on the last period. Without one, only what stands now is judged.
fn add_health(registry: &mut Registry, snapshot: &Snapshot, delta: Option<&Snapshot>) {
    let nothing = Snapshot::default();
    let health = health::assess(snapshot, delta.unwrap_or(&nothing));
    if health != health::Health::Unknown {
        let healthy = f64::from(health == health::Health::Healthy);
        let help = "0: degraded, as scx_takt top says and explains";
        gauge(registry, "healthy", help, healthy);
    }
}

fn add_activity(registry: &mut Registry, snapshot: &Snapshot) {
    let Some(activity) = &snapshot.activity else {
        return;
    };
    let placed = Counters::default();
    for (place, n) in &activity.placed {
        let labels = vec![("place", place.clone())];
        placed.get_or_create(&labels).inc_by(*n);
    }
    registry.register("placed", "Tasks made ready, by where they were put", placed);
    let (counts, times) = (Counters::default(), Seconds::default());
    let events = Counters::default();
    for (name, n) in &activity.counters {
        if let Some((what, event)) = name.split_once('.') {
            let what = what.trim_start_matches("ev_").to_owned();
            let labels = vec![("event", event.to_owned()), ("what", what)];
            events.get_or_create(&labels).inc_by(*n);
        } else if let Some(time) = name.strip_suffix("_ns") {
            let labels = vec![("counter", time.to_owned())];
            times.get_or_create(&labels).inc_by(seconds(*n));
        } else {
            let name = name.trim_start_matches("nr_").to_owned();
            let labels = vec![("counter", name)];
            counts.get_or_create(&labels).inc_by(*n);
        }
    }
    let help = "What the BPF side counts, by the field's name in src/bpf/intf.h";
    registry.register("activity", help, counts);
    let help = "Times that the BPF side adds up, by the field's name in src/bpf/intf.h";
    registry.register_with_unit("activity", help, Unit::Seconds, times);
    let help = "Events, by type and by what became of them";
    registry.register("events", help, events);
}

fn add_core_events(registry: &mut Registry, snapshot: &Snapshot) {
    let (counts, times) = (Counters::default(), Seconds::default());
    for (name, n) in &snapshot.core_events {
        let name = name.trim_start_matches(core_events::PREFIX);
        let label = |name: &str| vec![("event", name.to_lowercase())];
        match name.strip_suffix(core_events::DURATION) {
            None => drop(counts.get_or_create(&label(name)).inc_by(*n)),
            Some(time) => drop(times.get_or_create(&label(time)).inc_by(seconds(*n))),
        }
    }
    let help = "What sched_ext's core counts of the active scheduler, by its name without SCX_EV_";
    registry.register("core_events", help, counts);
    let help = "Times that sched_ext's core adds up";
    registry.register_with_unit("core_events", help, Unit::Seconds, times);
}

/// Cumulative buckets, as the format wants them. `name`: with its help.
fn add_waits(registry: &mut Registry, name: (&'static str, &'static str), waits: &Waits) {
    if waits.bounds_ns.is_empty() {
        return;
    }
    registry.register_collector(Box::new(Histogram(name, waits.clone())));
}

#[derive(Debug)]
struct Histogram((&'static str, &'static str), Waits);

impl prometheus_client::collector::Collector for Histogram {
    fn encode(
        &self,
        mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let Self((name, help), waits) = self;
        let mut encoder = encoder.encode_descriptor(
            name,
            help,
            None, // some parsers allow no unit for histograms
            prometheus_client::metrics::MetricType::Histogram,
        )?;
        let (bounds, counts) = (&waits.bounds_ns, &waits.counts);
        let mut buckets: Vec<_> = bounds
            .iter()
            .zip(counts)
            .map(|(b, n)| (seconds(*b), *n))
            .collect();
        if let Some(last) = buckets.last_mut() {
            last.0 = f64::INFINITY; // the last bucket holds the rest
        }
        let no_labels = None::<&std::collections::HashMap<usize, _>>;
        encoder.encode_histogram::<[(String, String); 0]>(
            seconds(waits.sum_ns),
            waits.total(),
            &buckets,
            no_labels,
        )
    }
}

fn add_cpus(registry: &mut Registry, snapshot: &Snapshot) {
    let busy = Seconds::default();
    let frequency = Gauges::default();
    for cpu in &snapshot.cpus {
        let labels = |mode: &str| {
            vec![
                ("cpu", cpu.id.to_string()),
                ("node", cpu.node.to_string()),
                ("llc", cpu.llc.to_string()),
                ("mode", mode.to_owned()),
            ]
        };
        busy.get_or_create(&labels("busy"))
            .inc_by(seconds(cpu.busy_ns));
        busy.get_or_create(&labels("idle"))
            .inc_by(seconds(cpu.idle_ns));
        if cpu.khz > 0 {
            let labels = vec![("cpu", cpu.id.to_string())];
            frequency.get_or_create(&labels).set(cpu.khz as f64 * 1e3);
        }
    }
    registry.register_with_unit("cpu", "Time of each CPU since boot", Unit::Seconds, busy);
    let unit = Unit::Other("hertz".to_owned());
    registry.register_with_unit("cpu_frequency", "Frequency of each CPU", unit, frequency);
}

fn add_tasks(registry: &mut Registry, snapshot: &Snapshot) {
    let tasks = &snapshot.tasks;
    gauge(registry, "tasks", "Tasks in all", tasks.total as f64);
    let waiting = tasks.waiting as f64;
    gauge(
        registry,
        "waiting_tasks",
        "Tasks that wait for a CPU now",
        waiting,
    );
    let longest = tasks.longest.as_ref().map_or(0, |task| task.waits_ns);
    gauge_s(
        registry,
        "waiting_longest",
        "The longest wait that goes on now",
        longest,
    );
    let queued = Gauges::default();
    for queue in &snapshot.queues {
        let labels = vec![("queue", queue.name.clone())];
        queued.get_or_create(&labels).set(queue.queued as f64);
    }
    registry.register(
        "queued_tasks",
        "Tasks that wait now, by dispatch queue",
        queued,
    );
    let tunables = Gauges::default();
    for (tunable, ns) in &snapshot.tunables {
        let labels = vec![("tunable", tunable.trim_end_matches("_ns").to_owned())];
        tunables.get_or_create(&labels).set(seconds(*ns));
    }
    let help = "The tunables in force";
    registry.register_with_unit("tunable", help, Unit::Seconds, tunables);
}

/// Those that a reader has asked for.
fn add_cgroups(registry: &mut Registry, snapshot: &Snapshot) {
    if snapshot.cgroups.is_empty() {
        return;
    }
    let (cpu, throttled) = (Seconds::default(), Seconds::default());
    let (periods, throttled_periods) = (Counters::default(), Counters::default());
    let (weight, quota, period) = (Gauges::default(), Gauges::default(), Gauges::default());
    for cgroup in &snapshot.cgroups {
        let labels = vec![("cgroup", cgroup.path.clone())];
        cpu.get_or_create(&labels).inc_by(seconds(cgroup.used_ns));
        if let Some(value) = cgroup.weight {
            weight.get_or_create(&labels).set(value as f64);
        }
        let Some(quota_ns) = cgroup.quota_ns else {
            continue;
        };
        quota.get_or_create(&labels).set(seconds(quota_ns));
        period.get_or_create(&labels).set(seconds(cgroup.period_ns));
        if let Some(known) = &cgroup.throttling {
            periods.get_or_create(&labels).inc_by(known.nr_periods);
            throttled_periods
                .get_or_create(&labels)
                .inc_by(known.nr_throttled);
            throttled
                .get_or_create(&labels)
                .inc_by(seconds(known.throttled_ns));
        }
    }
    let s = || Unit::Seconds;
    registry.register_with_unit("cgroup_cpu", "CPU time of each cgroup", s(), cpu);
    registry.register("cgroup_weight", "cpu.weight; 0: cpu.idle", weight);
    registry.register_with_unit("cgroup_quota", "Quota of cpu.max", s(), quota);
    registry.register_with_unit("cgroup_period", "Period of cpu.max", s(), period);
    let help = "Periods that have ended, in which a task ran or was throttled";
    registry.register("cgroup_periods", help, periods);
    let help = "Of these, periods at whose end tasks were throttled";
    registry.register("cgroup_throttled_periods", help, throttled_periods);
    let help = "How long tasks were throttled";
    registry.register_with_unit("cgroup_throttled", help, s(), throttled);
}

fn add_cost(registry: &mut Registry, snapshot: &Snapshot) {
    let (calls, time) = (Counters::default(), Seconds::default());
    for (callback, timed) in &snapshot.cost.callbacks {
        let labels = vec![("callback", callback.clone())];
        calls.get_or_create(&labels).inc_by(timed.calls);
        time.get_or_create(&labels).inc_by(seconds(timed.run_ns));
    }
    registry.register(
        "callback_timed_calls",
        "Calls of a callback that were timed",
        calls,
    );
    let help = "How long the timed calls took";
    registry.register_with_unit("callback_timed", help, Unit::Seconds, time);
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(seconds(snapshot.cost.agent_cpu_ns));
    registry.register_with_unit("agent_cpu", "CPU time of the agent", Unit::Seconds, cpu);
    let rss = Gauge::<f64, AtomicU64>::default();
    rss.set(snapshot.cost.agent_rss_bytes as f64);
    registry.register_with_unit("agent_memory", "Memory of the agent", Unit::Bytes, rss);
    let help = "Events that found the ring full";
    counter(registry, "events_lost", help, snapshot.cost.events_lost);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Delta as _;
    use crate::stats::testing;

    /// Read by a parser that we have no hand in.
    #[test]
    fn an_independent_parser_reads_it() {
        let snapshot = testing::snapshot(3);
        let text = text(&snapshot, None).unwrap();
        let parsed = openmetrics_parser::openmetrics::parse_openmetrics(&text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        for family in [
            "takt_scheduler",
            "takt_placed",
            "takt_wait_seconds",
            "takt_wakeup_seconds",
            "takt_cpu_seconds",
            "takt_queued_tasks",
            "takt_callback_timed_seconds",
            "takt_events_lost",
        ] {
            assert!(parsed.families.contains_key(family), "{family} in\n{text}");
        }
        assert!(text.contains("takt_placed_total{place=\"idle_prev\"} 300"));
        assert!(text.ends_with("# EOF\n"));
    }

    /// The value of the sample whose name and labels are these.
    fn value(text: &str, sample: &str) -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(sample))?;
        line.trim().parse().ok()
    }

    #[test]
    fn a_family_has_one_unit_and_what_only_grows_is_a_counter() {
        let mut snapshot = testing::snapshot(3);
        let activity = snapshot.activity.as_mut().unwrap();
        activity.counters.insert("run_ns".into(), 2_500_000_000);
        snapshot.scheduler.rejected = 7;
        let text = text(&snapshot, None).unwrap();
        for (sample, expected) in [
            ("takt_activity_total{counter=\"stolen\"}", 6.0),
            ("takt_activity_seconds_total{counter=\"run\"}", 2.5),
            (
                "takt_events_total{event=\"long_wait\",what=\"failed\"}",
                0.0,
            ),
            ("takt_rejected_tasks_total", 7.0),
            ("takt_core_events_total{event=\"reenq_immed\"}", 9.0),
            ("takt_core_events_seconds_total{event=\"bypass\"}", 0.033),
        ] {
            assert_eq!(value(&text, sample), Some(expected), "{sample} in\n{text}");
        }
        assert!(!text.contains("_ns"), "{text}");
        let mut kinds = std::collections::BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (family, kind) = line.split_once(' ').unwrap();
            assert_eq!(kinds.insert(family, kind), None, "{family} twice");
        }
        assert_eq!(kinds["takt_rejected_tasks"], "counter");
    }

    /// The page for administrators and its alert rules name families as they are served.
    #[test]
    fn documented_families_are_served() {
        let page = include_str!("../../docs/user/monitoring.md");
        let mut snapshot = testing::snapshot(3);
        let activity = snapshot.activity.as_mut().unwrap();
        activity.counters.insert("run_ns".into(), 1);
        snapshot.cgroups = testing::cgroups(3);
        let text = text(&snapshot, None).unwrap();
        let words = page.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        let families: Vec<_> = words.filter(|word| word.starts_with("takt_")).collect();
        assert!(families.len() > 20, "{families:?}");
        for family in families {
            assert!(text.contains(family), "{family} is not in\n{text}");
        }
    }

    #[test]
    fn healthy_is_what_top_says_of_the_same_period() {
        let (mut earlier, mut now) = (testing::snapshot(1), testing::snapshot(2));
        let healthy = |earlier: &Snapshot, now: &Snapshot| {
            let delta = now.since(earlier);
            value(&text(now, Some(&delta)).unwrap(), "takt_healthy")
        };
        assert_eq!(healthy(&earlier, &now), Some(1.0));
        now.cost.events_lost = 5;
        assert_eq!(healthy(&earlier, &now), Some(0.0), "lost in this period");
        earlier.cost.events_lost = 5;
        assert_eq!(healthy(&earlier, &now), Some(1.0), "lost before it");
    }

    #[test]
    fn cgroups_are_there_if_they_were_asked_for() {
        let mut snapshot = testing::snapshot(2);
        snapshot.cgroups = testing::cgroups(2);
        let shown = text(&snapshot, None).unwrap();
        assert!(openmetrics_parser::openmetrics::parse_openmetrics(&shown).is_ok());
        for (sample, expected) in [
            (
                "takt_cgroup_cpu_seconds_total{cgroup=\"/a.slice/web\"}",
                0.4,
            ),
            (
                "takt_cgroup_throttled_seconds_total{cgroup=\"/a.slice/web\"}",
                0.16,
            ),
            ("takt_cgroup_quota_seconds{cgroup=\"/a.slice/web\"}", 0.02),
            ("takt_cgroup_weight{cgroup=\"/a.slice\"}", 100.0),
        ] {
            assert_eq!(
                value(&shown, sample),
                Some(expected),
                "{sample} in\n{shown}"
            );
        }
        snapshot.cgroups.clear();
        assert!(!text(&snapshot, None).unwrap().contains("cgroup"));
    }

    /// Names may hold anything that a program or an administrator chose.
    #[test]
    fn strange_names_are_escaped() {
        let mut snapshot = testing::snapshot(1);
        snapshot.scheduler.name = "a\"b\\c\nd".into();
        let text = text(&snapshot, None).unwrap();
        assert!(
            openmetrics_parser::openmetrics::parse_openmetrics(&text).is_ok(),
            "{text}"
        );
    }

    #[test]
    fn nothing_known_is_valid_too() {
        let text = text(&Snapshot::default(), None).unwrap();
        assert!(
            openmetrics_parser::openmetrics::parse_openmetrics(&text).is_ok(),
            "{text}"
        );
    }
}

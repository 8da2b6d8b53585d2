//! Snapshots made for tests.

use std::collections::BTreeMap;

use crate::snapshot::{Activity, Callback, Cgroup, Cpu, Queue, Snapshot, Task, Throttling, Waits};

/// A busy machine after so many seconds, each like the one before.
pub fn snapshot(second: u64) -> Snapshot {
    let mut snapshot = Snapshot {
        at_ns: second * 1_000_000_000,
        unix_s: 1_800_000_000 + second,
        version: "0.1.0".into(),
        kernel: "7.2.13".into(),
        ..Default::default()
    };
    snapshot.scheduler.name = "takt_0.1.0_x86_64".into();
    snapshot.scheduler.profile = "default".into();
    snapshot.scheduler.uptime_ns = 3_661_000_000_000 + snapshot.at_ns;
    snapshot.scheduler.watchdog_ns = 30_000_000_000;
    let places = [
        ("idle_prev", 100),
        ("idle_other", 60),
        ("handoff", 3),
        ("sync", 2),
        ("next", 15),
        ("preempt", 70),
        ("kthread", 10),
        ("queue_llc", 130),
        ("queue_cpu", 10),
    ];
    snapshot.activity = Some(Activity {
        placed: places.map(|(name, n)| (name.to_owned(), n * second)).into(),
        counters: BTreeMap::from([
            ("nr_runs".to_owned(), 10 * second),
            ("nr_stolen".to_owned(), 2 * second),
            ("ev_failed.long_wait".to_owned(), 0),
        ]),
    });
    snapshot.core_events = BTreeMap::from([
        ("SCX_EV_REENQ_IMMED".to_owned(), 3 * second),
        ("SCX_EV_SELECT_CPU_FALLBACK".to_owned(), 0),
        ("SCX_EV_BYPASS_DURATION".to_owned(), 33_000_000),
    ]);
    snapshot.waits = Waits {
        kind: "test".into(),
        bounds_ns: vec![2_000, 4_000, 8_000, 64_000, 1_000_000],
        counts: vec![0, 90 * second, 5 * second, 4 * second, second],
        sum_ns: 500_000 * second,
        max_ns: 900_000,
    };
    snapshot.wakeups = Waits {
        kind: "test wakeups".into(),
        bounds_ns: vec![3_000, 6_000, 48_000, 800_000],
        counts: vec![80 * second, 5 * second, 4 * second, 0],
        sum_ns: 400_000 * second,
        max_ns: 0,
    };
    snapshot.queues = vec![Queue {
        name: "LLC 0".into(),
        queued: 2,
    }];
    snapshot.cpus = (0..4).map(|id| cpu(id, second)).collect();
    snapshot.tasks.total = 120;
    snapshot.tasks.waiting = 2;
    snapshot.tasks.waiters = vec![task(41, "gcc", 900, "CPU-bound (12 ms): preemptible")];
    snapshot.tasks.runners = vec![
        task(42, "gcc", 500, "CPU-bound (12 ms): preemptible"),
        task(77, "game-render", 120, "short-running (1.5 ms): protected"),
    ];
    snapshot.tasks.longest = Some(Task {
        waits_ns: 12_300_000,
        ..task(41, "gcc", 900, "CPU-bound (12 ms): preemptible")
    });
    snapshot.tunables = BTreeMap::from([
        ("slice_max_ns".to_owned(), 20_000_000),
        ("preempt_margin_ns".to_owned(), 200_000),
    ]);
    snapshot.cost.agent_cpu_ns = 3_000_000 * second;
    snapshot.cost.agent_rss_bytes = 12 << 20;
    let calls = 1_000 * second;
    snapshot.cost.callbacks = BTreeMap::from([(
        "enqueue".to_owned(),
        Callback {
            calls,
            run_ns: 250 * calls,
        },
    )]);
    snapshot
}

/// A slice without a limit, a cgroup in it that is throttled in each period, and one of which less is known.
pub fn cgroups(second: u64) -> Vec<Cgroup> {
    let slice = Cgroup {
        path: "/a.slice".into(),
        weight: Some(100),
        period_ns: 100_000_000,
        used_ns: 900_000_000 * second,
        used_permille: 900,
        throttling: Some(Throttling::default()),
        ..Default::default()
    };
    let web = Cgroup {
        path: "/a.slice/web".into(),
        weight: Some(0),
        quota_ns: Some(20_000_000),
        used_ns: 200_000_000 * second,
        used_permille: 200,
        throttling: Some(Throttling {
            nr_periods: 10 * second,
            nr_throttled: 10 * second,
            throttled_ns: 80_000_000 * second,
        }),
        ..slice.clone()
    };
    let other = Cgroup {
        path: "/other".into(),
        used_ns: 5_000_000 * second,
        used_permille: 5,
        ..Default::default()
    };
    vec![slice, web, other]
}

/// A CPU that is busy for half of the time, in pairs of a core, four to an LLC.
pub fn cpu(id: u64, second: u64) -> Cpu {
    Cpu {
        id,
        node: id / 64,
        llc: id / 4,
        core: id / 2,
        busy_ns: 500_000_000 * second,
        idle_ns: 500_000_000 * second,
        khz: 2_400_000,
        class: if id.is_multiple_of(2) { "ext" } else { "" }.into(),
    }
}

fn task(pid: i64, comm: &str, permille: u64, why: &str) -> Task {
    Task {
        pid,
        tgid: pid,
        comm: comm.into(),
        class: "ext".into(),
        cpu: 1,
        allowed_cpus: 4,
        run_permille: permille,
        wait_permille: 1000 - permille,
        est_run_ns: 1_500_000,
        lag_ns: 300_000,
        why: why.into(),
        ..Default::default()
    }
}

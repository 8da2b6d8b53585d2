//! A second opinion on every figure that viewers show: this reads the live kernel maps by their ids, with the
//! kernel's own type information and names from `intf.h`, and shares no code with the agent. It reads before and
//! after the agent takes a snapshot: each counter must lie in between.
//!
//! Needs an active scx_takt under load and no other viewer; `tests/vm/figures.rs` runs it.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "second_reader/kernel.rs"]
mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use kernel::{Figures, Map};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const SOCKET: &str = "/var/run/scx/root/stats";
const ROUNDS: u32 = 4;
/// Between snapshots: longer than one is given again for.
const PERIOD: Duration = Duration::from_millis(700);
/// Fields of `struct takt_cpu_stats` that are no counters.
const NO_COUNTERS: [&str; 2] = ["wait_max_ns", "wait_epoch"];
/// Buckets of wakeup latency per class: class after class stands in `wake_hist`.
const WAKE_BUCKETS: u64 = 96;
/// The kernel keeps so much of a program's name.
const PROGRAM_NAME: usize = 15;
/// The tick in which /proc/stat counts.
const TICK_NS: u64 = 10_000_000;

/// By JSON pointer, what a figure may be.
type Bounds = BTreeMap<String, RangeInclusive<u64>>;

/// The agent, asked in its own words.
struct Agent(BufReader<UnixStream>);

impl Agent {
    fn connect() -> Self {
        let stream = UnixStream::connect(SOCKET).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, target: &str) -> Value {
        let request = json!({"req": "stats", "args": {"target": target}});
        writeln!(self.0.get_mut(), "{request}").unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["errno"], 0, "{line}");
        answer["args"]["resp"].take()
    }
}

/// What the kernel says at one moment, without asking the agent.
struct Dump {
    at_ns: u64,
    counters: Figures,
    tunables: Figures,
    callbacks: BTreeMap<String, (u64, u64)>,
    /// Busy and idle time of each CPU.
    cpus: Vec<(u64, u64)>,
    /// CPU time of each thread.
    ran: BTreeMap<u64, u64>,
}

/// The live maps.
struct Maps {
    counters: Map,
    tunables: Map,
}

impl Maps {
    fn dump(&self) -> Dump {
        Dump {
            at_ns: now_ns(),
            counters: self.counters.sums(),
            tunables: self.tunables.sums(),
            callbacks: kernel::callbacks(),
            cpus: cpus(),
            ran: threads(),
        }
    }
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// From /proc/stat: user nice system idle iowait irq softirq steal.
fn cpus() -> Vec<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let lines = text
        .lines()
        .filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "));
    let times = lines.map(|line| {
        let words = line.split(' ').skip(1).map(|word| word.parse().unwrap());
        let ticks: Vec<u64> = words.collect();
        let idle = ticks[3] + ticks[4];
        let busy = ticks[..8].iter().sum::<u64>() - idle;
        (busy * TICK_NS, idle * TICK_NS)
    });
    times.collect()
}

/// From /proc/PID/task/TID/schedstat, whose first figure is CPU time in ns.
fn threads() -> BTreeMap<u64, u64> {
    let numbers = |dir: &str| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u64>().ok();
        entries.filter_map(number).collect::<Vec<_>>()
    };
    let mut threads = BTreeMap::new();
    for pid in numbers("/proc") {
        for tid in numbers(&format!("/proc/{pid}/task")) {
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")) else {
                continue;
            };
            let ran = text.split(' ').next().and_then(|ns| ns.parse().ok());
            threads.insert(tid, ran.unwrap_or_default());
        }
    }
    threads
}

/// The enumerators of `intf.h` that begin with `prefix`, in order, as readers name them.
fn enumerators(prefix: &str) -> Vec<String> {
    let lines = include_str!("../src/bpf/intf.h").lines();
    let names = lines.filter_map(|line| line.trim().strip_prefix(prefix)?.split_once(','));
    names.map(|(name, _)| name.to_lowercase()).collect()
}

/// Splits `placed[3]`.
fn index(name: &str) -> Option<(&str, usize)> {
    let (name, rest) = name.strip_suffix(']')?.split_once('[')?;
    Some((name, rest.parse().unwrap()))
}

/// Where a counter of the map is found in a snapshot.
fn pointer(field: &str) -> Option<String> {
    let (places, events) = (enumerators("TAKT_PLACE_"), enumerators("TAKT_EV_"));
    Some(match index(field) {
        Some(("placed", i)) => format!("/activity/placed/{}", places[i]),
        Some(("wait_hist", i)) => format!("/waits/counts/{i}"),
        Some(("wake_hist", i)) => format!("/wakeups/counts/{}", i as u64 % WAKE_BUCKETS),
        Some((name, i)) => format!("/activity/counters/{name}.{}", events[i]),
        None if NO_COUNTERS.contains(&field) => return None,
        None => format!("/activity/counters/{field}"),
    })
}

/// The counters of a dump, by where they are found in a snapshot.
fn by_pointer(counters: &Figures) -> Figures {
    let mut sums = Figures::new();
    for (field, value) in counters {
        if let Some(pointer) = pointer(field) {
            *sums.entry(pointer).or_default() += value;
        }
    }
    let failed = counters
        .iter()
        .filter(|(field, _)| field.starts_with("ev_failed["));
    let lost = failed.map(|(_, value)| value).sum();
    sums.insert("/cost/events_lost".into(), lost);
    sums.insert("/waits/sum_ns".into(), counters["wait_ns"]);
    sums.insert("/wakeups/sum_ns".into(), counters["wake_ns"]);
    sums
}

/// The tunables of the slot that is active.
fn in_force(slots: &Figures) -> Figures {
    let active = format!("tunables.slot[{}].", slots["tunables.active"]);
    let of_it = slots.iter().filter_map(|(field, value)| {
        let name = field.strip_prefix(&active)?;
        Some((name.to_owned(), *value))
    });
    of_it.collect()
}

/// What a snapshot must say that was taken between two dumps.
fn bounds(before: &Dump, after: &Dump) -> Bounds {
    let mut bounds = Bounds::new();
    bounds.insert("/at_ns".into(), before.at_ns..=after.at_ns);
    let then = by_pointer(&before.counters);
    for (pointer, now) in by_pointer(&after.counters) {
        let least = then[&pointer];
        bounds.insert(pointer, least..=now);
    }
    let then = in_force(&before.tunables);
    for (name, now) in in_force(&after.tunables) {
        // The tuner may have turned it in between.
        let bounds_of_it = then[&name].min(now)..=then[&name].max(now);
        bounds.insert(format!("/tunables/{name}"), bounds_of_it);
    }
    for (i, (then, now)) in before.cpus.iter().zip(&after.cpus).enumerate() {
        bounds.insert(format!("/cpus/{i}/busy_ns"), then.0..=now.0);
        bounds.insert(format!("/cpus/{i}/idle_ns"), then.1..=now.1);
    }
    for (program, (calls, run_ns)) in &after.callbacks {
        let then = before.callbacks.get(program).copied().unwrap_or_default();
        let op = program.strip_prefix("takt_").unwrap();
        let is_whole = program.len() < PROGRAM_NAME || op == "select_cpu";
        if *calls > 0 && is_whole {
            let of = |what| format!("/cost/callbacks/{op}/{what}");
            bounds.insert(of("calls"), then.0..=*calls);
            bounds.insert(of("run_ns"), then.1..=*run_ns);
        }
    }
    let nr_threads = [before.ran.len() as u64, after.ran.len() as u64];
    // A thread may come and go in between: kernel workers do.
    let (least, most) = (
        nr_threads[0].min(nr_threads[1]),
        nr_threads[0].max(nr_threads[1]),
    );
    bounds.insert("/tasks/total".into(), least.saturating_sub(3)..=most + 3);
    bounds
}

/// Figures that are not what they must be.
fn wrong(snapshot: &Value, bounds: &Bounds) -> Vec<String> {
    let check = |(pointer, bounds): (&String, &RangeInclusive<u64>)| {
        let figure = snapshot.pointer(pointer).and_then(Value::as_u64);
        // Callbacks that had not been called at the time are left out of a snapshot.
        let figure = figure.or_else(|| pointer.starts_with("/cost/callbacks").then_some(0));
        let right = figure.is_some_and(|figure| bounds.contains(&figure));
        (!right).then(|| format!("{pointer}: {figure:?} is not in {bounds:?}"))
    };
    bounds.iter().filter_map(check).collect()
}

/// Counters that a snapshot has and the maps have not.
fn invented(snapshot: &Value, bounds: &Bounds) -> Vec<String> {
    let of = |parent: &str| {
        let names = snapshot.pointer(parent).and_then(Value::as_object);
        let names = names
            .unwrap_or_else(|| panic!("no {parent}: {snapshot}"))
            .keys();
        names
            .map(|name| format!("{parent}/{name}"))
            .collect::<Vec<_>>()
    };
    let parents = ["/activity/placed", "/activity/counters", "/tunables"];
    let names = parents.iter().flat_map(|parent| of(parent));
    names.filter(|name| !bounds.contains_key(name)).collect()
}

/// CPU shares of the tasks listed, of the period between two snapshots; how many were compared.
fn compare_shares(rounds: &[(Dump, Value, Dump)], faults: &mut Vec<String>) -> usize {
    let mut compared = 0;
    for pair in rounds.windows(2) {
        let [(a1, first, b1), (a2, second, b2)] = pair else {
            unreachable!()
        };
        let period = second["at_ns"].as_u64().unwrap() - first["at_ns"].as_u64().unwrap();
        for task in second["tasks"]["runners"].as_array().unwrap() {
            let pid = task["pid"].as_u64().unwrap();
            let all = [a1, b1, a2, b2].map(|dump| dump.ran.get(&pid).copied());
            let [Some(a1), Some(b1), Some(a2), Some(b2)] = all else {
                continue; // it was not there all the time
            };
            let permille = |ns: u64| 1000 * ns / period;
            // The agent walks the tasks a moment after it has looked at the clock, and not by the same each time.
            let least = permille(a2.saturating_sub(b1)) * 9 / 10;
            let bounds = least..=(permille(b2 - a1) * 11 / 10 + 1).min(1000);
            let figure = task["run_permille"].as_u64().unwrap();
            if !bounds.contains(&figure) {
                faults.push(format!("{task}: run_permille is not in {bounds:?}"));
            }
            compared += 1;
        }
    }
    compared
}

/// The upper bound of a bucket of wakeup latency, found by asking each length for its bucket as wakeup.bpf.h
/// does: `none` below 1,024 ns, then four to each power of two.
fn wake_bound_ns(bucket: u64) -> u64 {
    let quarter_of = |ns: u64| {
        let power = 63 - u64::from(ns.leading_zeros());
        1 + (power - 10) * 4 + (ns >> (power - 2)) % 4
    };
    let quarters = (10..40).flat_map(|power| (4..8).map(move |quarter| quarter << (power - 2)));
    let last = quarters.filter(|&ns| quarter_of(ns) == bucket + 1);
    if bucket == 0 {
        1024
    } else {
        last.min().unwrap()
    }
}

/// The bucket in which a share of all wakeups ends.
fn wake_quantile_bucket(counters: &Figures, permille: u64) -> u64 {
    let sums = by_pointer(counters);
    let count = |i: u64| {
        sums.get(&format!("/wakeups/counts/{i}"))
            .copied()
            .unwrap_or(0)
    };
    let total: u64 = (0..WAKE_BUCKETS).map(count).sum();
    let mut seen = 0;
    let ends = (0..WAKE_BUCKETS).find(|&bucket| {
        seen += count(bucket);
        seen * 1000 >= total * permille
    });
    ends.unwrap()
}

/// The quantiles of a client that asks for the first time are of all wakeups that were watched.
fn compare_quantiles(before: &Dump, metrics: &Value, after: &Dump, faults: &mut Vec<String>) {
    for (name, permille) in [
        ("wakeup_p50_us", 500),
        ("wakeup_p99_us", 990),
        ("wakeup_p999_us", 999),
    ] {
        let ends = [before, after].map(|dump| wake_quantile_bucket(&dump.counters, permille));
        let bound_us = |bucket| wake_bound_ns(bucket) as f64 / 1e3;
        // It may have gone down and up again in between, by a bucket or two.
        let lowest = ends[0].min(ends[1]).saturating_sub(2);
        let bounds = bound_us(lowest)..=bound_us(ends[0].max(ends[1]) + 2);
        let figure = metrics[name].as_f64().unwrap();
        println!("{name} {figure} in {bounds:?}");
        if !bounds.contains(&figure) {
            faults.push(format!("{name}: {figure} is not in {bounds:?}"));
        }
    }
}

/// Would this test have noticed? Each figure is made wrong in turn, and figures change places.
fn assert_errors_are_seen(snapshot: &Value, bounds: &Bounds) {
    let figures: Vec<&String> = bounds
        .keys()
        .filter(|p| snapshot.pointer(p).is_some())
        .collect();
    for pointer in &figures {
        let mut false_snapshot = snapshot.clone();
        *false_snapshot.pointer_mut(pointer).unwrap() = json!(bounds[*pointer].end() + 1);
        assert_eq!(
            wrong(&false_snapshot, bounds).len(),
            1,
            "{pointer} may be anything"
        );
    }
    let mut unseen = Vec::new();
    for pair in figures.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|p| snapshot.pointer(p).and_then(Value::as_u64));
        let mut false_snapshot = snapshot.clone();
        *false_snapshot.pointer_mut(pair[0]).unwrap() = json!(b);
        *false_snapshot.pointer_mut(pair[1]).unwrap() = json!(a);
        if a != b && wrong(&false_snapshot, bounds).is_empty() {
            unseen.push(format!("{} and {}", pair[0], pair[1]));
        }
    }
    println!("neighbours that could change places unseen: {unseen:?}");
    assert!(
        unseen.len() * 10 < figures.len(),
        "the bounds are too wide to tell figures apart"
    );
}

#[test]
#[ignore = "needs an active scx_takt under load: tests/vm/figures.rs"]
fn each_figure_agrees_with_the_map_that_it_comes_from() {
    let maps = Maps {
        counters: Map::find("cpu_stats"),
        tunables: Map::find(".data.tunables"),
    };
    let mut agent = Agent::connect();
    agent.ask("snapshot"); // from now on all is counted
    let mut faults = Vec::new();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        sleep(PERIOD);
        let before = maps.dump();
        let snapshot = agent.ask("snapshot");
        let metrics = Agent::connect().ask("top");
        let after = maps.dump();
        let bounds = bounds(&before, &after);
        faults.extend(wrong(&snapshot, &bounds));
        faults.extend(invented(&snapshot, &bounds));
        compare_quantiles(&before, &metrics, &after, &mut faults);
        rounds.push((before, snapshot, after));
    }
    let compared = compare_shares(&rounds, &mut faults);
    let (before, snapshot, after) = rounds.last().unwrap();
    let bounds = bounds(before, after);
    let moved: BTreeSet<_> = bounds
        .iter()
        .filter(|(_, b)| *b.end() > 0)
        .map(|(p, _)| p)
        .collect();
    println!(
        "{} figures, {} of them not 0; {compared} shares of tasks",
        bounds.len(),
        moved.len()
    );
    assert!(
        faults.is_empty(),
        "{} figures are wrong:\n{}",
        faults.len(),
        faults.join("\n")
    );
    for least in [
        "/activity/placed/preempt",
        "/activity/counters/nr_runs",
        "/wakeups/sum_ns",
    ] {
        assert!(
            bounds[least].start() > &100,
            "no load worth the name: {least}"
        );
    }
    assert!(
        moved.iter().any(|p| p.starts_with("/cost/callbacks")),
        "no callback was timed"
    );
    assert!(compared > 10, "too few tasks were seen twice");
    assert_errors_are_seen(snapshot, &bounds);
}

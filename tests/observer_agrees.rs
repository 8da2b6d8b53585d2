//! The observer against `perf`: the same tracepoints, told by another tool, evaluated here.
//!
//! ```text
//! sudo cargo test --release --test observer_agrees -- --ignored --nocapture
//! ```
//!
//! Five tries, all of which count. `perf record` runs before the observer begins and after it has ended;
//! the observer says when it did, in the clock that perf is told to use, so that both look at the same
//! window. Needs root, perf, and a machine that is not idle: the load is part of the test.
//!
//! perf's waits run from the tracepoint of the wakeup (or of the switch that left the task ready) to that
//! of the switch to it; the observer's are those of the kernel's own account. They differ by the time that
//! the scheduler takes to decide, a microsecond or less on bare metal.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are not seen as tests"
)]

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, mkfifo};
use serde_json::Value;

const TRIES: usize = 5;
const SECONDS: &str = "3";
const EVENTS: &str = "sched:sched_switch,sched:sched_wakeup,sched:sched_wakeup_new";

fn takt() -> Command {
    Command::new(env!("CARGO_BIN_EXE_scx_takt"))
}

/// A child, and its children, that are told to end when dropped; it is waited for.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        command.process_group(0);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(-self.0.id().cast_signed()), Signal::SIGINT);
        let _ = self.0.wait();
    }
}

/// Starts perf; returns when it records.
fn record(folder: &Path) -> Running {
    let [commands, answers] = ["commands", "answers"].map(|name| folder.join(name));
    for fifo in [&commands, &answers] {
        let _ = std::fs::remove_file(fifo);
        mkfifo(fifo, Mode::S_IRWXU).unwrap();
    }
    let control = format!("fifo:{},{}", commands.display(), answers.display());
    let perf = Running::start(
        Command::new("perf")
            .args([
                "record",
                "-q",
                "-a",
                "-c",
                "1",
                "-m",
                "32M",
                "-k",
                "CLOCK_MONOTONIC",
            ])
            .args(["-e", EVENTS, "-D", "-1", "--control", &control, "-o"])
            .arg(folder.join("perf.data")),
    );
    let mut to = OpenOptions::new().write(true).open(&commands).unwrap();
    to.write_all(b"enable\n").unwrap();
    let mut answer = String::new();
    BufReader::new(File::open(&answers).unwrap())
        .read_line(&mut answer)
        .unwrap();
    assert!(answer.starts_with("ack"), "perf says {answer:?}");
    perf
}

/// Observes; the report.
fn observe() -> Value {
    let output = takt()
        .args(["observe", "--json", "--seconds", SECONDS])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The PID after `name=`, or, as older versions of perf print it, in `comm:PID [prio]`.
fn pid(text: &str, name: &str) -> Option<u32> {
    let digits = match text.split_once(name) {
        Some((_, rest)) => rest.split(' ').next()?,
        None => text.rsplit_once(" [")?.0.rsplit_once(':')?.1,
    };
    digits.parse().ok()
}

/// How long the tasks of a trace waited.
#[derive(Default)]
struct Trace {
    ready: HashMap<u32, u64>,
    running: HashSet<u32>,
    /// When each wait ended, and how long it was, in nanoseconds.
    waits: Vec<(u64, u64)>,
    first: Option<u64>,
    last: u64,
}

impl Trace {
    /// A line of `perf script -F time,event,trace --ns`.
    fn line(&mut self, line: &str) {
        assert!(!line.contains("LOST"), "perf lost events: {line}");
        let mut words = line.trim_start().splitn(3, ": ");
        let (Some(time), Some(event), Some(text)) = (words.next(), words.next(), words.next())
        else {
            panic!("not understood: {line}");
        };
        let (seconds, fraction) = time.split_once('.').unwrap();
        let now =
            seconds.parse::<u64>().unwrap() * 1_000_000_000 + fraction.parse::<u64>().unwrap();
        self.first.get_or_insert(now);
        self.last = now;
        match event.trim() {
            "sched:sched_switch" => self.switch(text, now),
            _ => self.wakeup(
                pid(text, " pid=").or_else(|| pid(text, "pid=")).unwrap(),
                now,
            ),
        }
    }

    fn switch(&mut self, text: &str, now: u64) {
        let (from, to) = text.split_once(" ==> ").unwrap();
        let (prev, next) = (
            pid(from, "prev_pid=").unwrap(),
            pid(to, "next_pid=").unwrap(),
        );
        let state = match from.split_once("prev_state=") {
            Some((_, state)) => state,
            None => from.rsplit_once("] ").unwrap().1,
        };
        self.running.remove(&prev);
        if state.starts_with('R') && prev != 0 {
            self.ready.insert(prev, now);
        }
        if next != 0 {
            self.running.insert(next);
            if let Some(since) = self.ready.remove(&next) {
                self.waits.push((now, now - since));
            }
        }
    }

    fn wakeup(&mut self, pid: u32, now: u64) {
        if !self.running.contains(&pid) {
            self.ready.entry(pid).or_insert(now);
        }
    }
}

/// The waits that ended in a window, shortest first, from what perf has recorded.
fn waits(folder: &Path, began_ns: u64, ended_ns: u64) -> Vec<u64> {
    let mut script = Command::new("perf")
        .args([
            "script",
            "--ns",
            "-F",
            "time,event,trace",
            "--show-lost-events",
            "-i",
        ])
        .arg(folder.join("perf.data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut trace = Trace::default();
    for line in BufReader::new(script.stdout.take().unwrap()).split(b'\n') {
        trace.line(&String::from_utf8_lossy(&line.unwrap()));
    }
    assert!(script.wait().unwrap().success(), "perf script failed");
    assert!(
        trace.first.unwrap() < began_ns && trace.last > ended_ns,
        "perf recorded {:?} to {}, the observer looked from {began_ns} to {ended_ns}",
        trace.first,
        trace.last
    );
    let inside = trace
        .waits
        .iter()
        .filter(|(at, _)| (began_ns..=ended_ns).contains(at));
    let mut waits: Vec<u64> = inside.map(|(_, wait)| *wait).collect();
    waits.sort_unstable();
    waits
}

fn skipped() -> bool {
    let perf = Command::new("perf")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let reason = match (geteuid().is_root(), perf) {
        (false, _) => "needs root",
        (_, Err(_)) => "needs perf",
        _ => return false,
    };
    eprintln!("SKIPPED: {reason}");
    true
}

#[test]
#[ignore = "a measurement of half a minute: needs root and perf"]
fn quantiles_are_those_of_perf() {
    if skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Groups of twenty senders and twenty receivers, as in hackbench, beside some of everything else.
    let _messages = Running::start(Command::new("sh").args([
        "-c",
        concat!(
            "while ",
            env!("CARGO_BIN_EXE_scx_takt"),
            " bench --run-one messaging; do :; done"
        ),
    ]));
    let _others = Running::start(takt().args([
        "stress",
        "--any-scheduler",
        "--seconds",
        "600",
        "--kinds",
        "hogs,sleepers,forks",
    ]));
    let mut worst = 0.0_f64;
    for attempt in 1..=TRIES {
        let perf = record(folder.path());
        let report = observe();
        drop(perf);
        let time = |name: &str| report[name].as_u64().unwrap();
        let theirs = waits(folder.path(), time("began_ns"), time("ended_ns"));
        let all = report["groups"].as_array().unwrap().last().unwrap();
        let ours = |name: &str| all["waits"][name].as_u64().unwrap();
        println!(
            "try {attempt}: {} waits, perf {}; unseen {}",
            ours("count"),
            theirs.len(),
            report["unseen"]
        );
        for (name, q) in [
            ("p50_ns", 0.5),
            ("p90_ns", 0.9),
            ("p99_ns", 0.99),
            ("p999_ns", 0.999),
        ] {
            let rank = ((q * theirs.len() as f64).ceil() as usize).max(1);
            let (mine, other) = (ours(name), theirs[rank - 1]);
            let off = mine as f64 / other as f64 - 1.0;
            println!("  {name}: {mine}, perf {other}: {:+.1} %", off * 100.0);
            if name == "p99_ns" {
                worst = worst.max(off.abs());
            }
        }
        let count = ours("count") as f64 / theirs.len() as f64 - 1.0;
        assert!(count.abs() < 0.02, "the two do not see the same waits");
    }
    assert!(worst < 0.1, "p99 is off by {:.1} %", worst * 100.0);
}

//! What a memory access costs, measured as on a real machine: latency of loads by working-set size, of lines that
//! another CPU has modified, and what an SMT sibling costs. For guests whose caches are modelled:
//!
//! `cargo xtask vm --caches zen4 --topology 2:2:2:1 --with-test scx_takt:cache_model -- cache_model --ignored
//! --nocapture --test-threads 1`; `tests/vm/side_by_side.rs` compares the figures with the model.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Loads per measurement.
const LOADS: u32 = 100_000;
/// Lines that are passed between CPUs: they fit into each L1.
const LINES: usize = 256;
/// How often the lines are passed.
const PASSES: usize = 20;
/// How often loads are measured: the fastest counts, since an interrupt takes microseconds.
const REPEATS: u32 = 3;
/// How long CPUs compute side by side.
const COMPUTE_FOR: Duration = Duration::from_millis(50);

/// Pins the calling thread.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// A cache line: the index of the next one of a cycle.
#[repr(align(64))]
#[derive(Clone)]
struct Line {
    next: usize,
}

/// All lines of a working set in one random cycle.
fn cycle(kib: usize) -> Vec<Line> {
    let mut order: Vec<usize> = (0..kib * 1024 / 64).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(1));
    let mut lines = vec![Line { next: 0 }; order.len()];
    for pair in order.windows(2) {
        lines[pair[0]].next = pair[1];
    }
    lines[order[order.len() - 1]].next = order[0];
    lines
}

/// Time of one load in ns; each needs the result of the last one.
fn load_ns(lines: &[Line]) -> f64 {
    let mut at = 0;
    // Goes on where it stopped: the start of a large set is in no cache when it comes round.
    let mut chase = |loads: u32| {
        let begin = Instant::now();
        for _ in 0..loads {
            at = lines[at].next;
        }
        begin.elapsed()
    };
    // Makes the caches those of this working set.
    chase(lines.len().try_into().unwrap());
    let fastest = (0..REPEATS).map(|_| chase(LOADS)).min();
    black_box(at);
    fastest.unwrap().as_secs_f64() * 1e9 / f64::from(LOADS)
}

#[test]
#[ignore = "for a guest whose caches are modelled"]
fn loads_wait_for_the_level_that_has_the_line() {
    pin(0);
    let base_ns = load_ns(&cycle(16));
    let mut last_ns = 0.0;
    for kib in [
        16, 24, 32, 40, 48, 64, 96, 128, 256, 512, 768, 1024, 1280, 1536, 2048, 3072, 4096, 6144,
        8192, 12288, 16384, 32768,
    ] {
        let set = cycle(kib);
        // The instruction itself takes one ns; what the loop adds is in the first figure as well.
        let ns = load_ns(&set) - base_ns + 1.0;
        println!("load {kib} KiB: {ns:.1} ns");
        assert!(
            ns > last_ns - 1.0,
            "a larger working set is faster: {last_ns} ns before"
        );
        last_ns = ns;
        // The memory is that of the first node; the last CPU may be in another.
        if kib == 32768 && all_cpus() > 1 {
            pin(all_cpus() - 1);
            println!(
                "load {kib} KiB from the last CPU: {:.1} ns",
                load_ns(&set) - base_ns + 1.0
            );
        }
    }
}

fn all_cpus() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let last: usize = text.trim().rsplit('-').next().unwrap().parse().unwrap();
    last + 1
}

#[repr(align(64))]
#[derive(Default)]
struct Shared(AtomicU64);

/// Time in ns to take a line that the other CPU has modified: one's own takes one. Of all passes the fastest count, by
/// either CPU: a tick in one of them is worth 2 ns of the mean.
fn take_ns(first: usize, second: usize) -> f64 {
    let lines: Vec<Shared> = (0..LINES).map(|_| Shared::default()).collect();
    let ball = AtomicUsize::new(0);
    let write = || {
        let begin = Instant::now();
        for line in &lines {
            line.0.fetch_add(1, Ordering::Relaxed);
        }
        begin.elapsed().as_secs_f64() * 1e9 / LINES as f64
    };
    let play = |me: usize, cpu: usize| {
        pin(cpu);
        let (mut fastest_ns, mut own_fastest_ns) = (f64::MAX, f64::MAX);
        for pass in 0..PASSES {
            while ball.load(Ordering::Acquire) != 2 * pass + me {
                std::hint::spin_loop();
            }
            let taken_ns = write();
            let own_ns = write();
            // The first pass finds lines that no CPU has.
            if pass > 0 {
                fastest_ns = taken_ns.min(fastest_ns);
                own_fastest_ns = own_ns.min(own_fastest_ns);
            }
            ball.store(2 * pass + me + 1, Ordering::Release);
        }
        fastest_ns - own_fastest_ns + 1.0
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| play(1, second));
        let ns = play(0, first);
        f64::midpoint(ns, other.join().unwrap())
    })
}

#[test]
#[ignore = "for a guest whose caches are modelled"]
fn a_modified_line_comes_from_the_other_core() {
    let mut last_ns = 0.0;
    let mut other = 1;
    while other < all_cpus() {
        let ns = take_ns(0, other);
        println!("line from CPU {other} to CPU 0: {ns:.1} ns");
        assert!(
            ns > last_ns - 1.0,
            "a CPU that is farther away is faster: {last_ns} ns before"
        );
        last_ns = ns;
        other *= 2;
    }
}

#[test]
#[ignore = "for a guest whose caches are modelled"]
fn a_busy_sibling_takes_its_part_of_the_core() {
    let start = Barrier::new(2);
    // Loops per CPU in a stretch of time that begins at once on both.
    let compute = |cpu: usize, with_other: bool| {
        pin(cpu);
        let mut random = SmallRng::seed_from_u64(1);
        if with_other {
            start.wait();
        }
        let begin = Instant::now();
        let mut loops = 0;
        while begin.elapsed() < COMPUTE_FOR {
            for _ in 0..1000 {
                black_box(random.random::<u64>());
            }
            loops += 1;
        }
        f64::from(loops)
    };
    let alone = compute(0, false);
    let both = thread::scope(|scope| {
        let other = scope.spawn(|| compute(1, true));
        f64::midpoint(compute(0, true), other.join().unwrap())
    });
    println!(
        "two busy CPUs: {:.3} of the speed of one alone",
        both / alone
    );
    assert!(both < 1.1 * alone);
}

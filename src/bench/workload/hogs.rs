//! CPU hogs: threads that compute without ever sleeping, and count what they got done.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::sync::{NS_PER_S, now_ns};

/// Steps of the generator in one loop, the unit of a CPU-bound task's work: about 2,000 instructions.
const STEPS_PER_LOOP: u32 = 200;

/// A counter with a cache line of its own: hogs must not slow each other down by counting.
#[repr(align(128))]
#[derive(Default)]
struct Counter(AtomicU64);

/// Running hogs; they end when this is dropped.
pub struct Hogs {
    stop: Arc<AtomicBool>,
    counters: Arc<Vec<Counter>>,
    threads: Vec<JoinHandle<()>>,
    since_ns: u64,
    loops_before: u64,
}

/// How many hogs a machine gets: twice its CPUs, and at least 4.
pub fn usual_count(cpus: usize) -> usize {
    (2 * cpus).max(4)
}

impl Hogs {
    /// Starts `count` hogs in this process.
    pub fn start(count: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let counters: Arc<Vec<Counter>> = Arc::new(
            std::iter::repeat_with(Counter::default)
                .take(count)
                .collect(),
        );
        let mut hogs = Self {
            stop,
            counters,
            threads: Vec::with_capacity(count),
            since_ns: now_ns(),
            loops_before: 0,
        };
        for index in 0..count {
            let (stop, counters) = (Arc::clone(&hogs.stop), Arc::clone(&hogs.counters));
            let thread = std::thread::Builder::new()
                .name(format!("compute-{index}"))
                .spawn(move || {
                    if let Some(counter) = counters.get(index) {
                        compute_until(&stop, &counter.0);
                    }
                });
            hogs.threads
                .push(thread.context("cannot start a CPU-bound thread")?);
        }
        Ok(hogs)
    }

    /// Begins the period over which [`Hogs::loops_per_s`] counts.
    pub fn begin(&mut self) {
        self.since_ns = now_ns();
        self.loops_before = self.loops();
    }

    /// Work done by all hogs since [`Hogs::begin`], in loops per second of wall time.
    pub fn loops_per_s(&self) -> f64 {
        let elapsed_ns = now_ns().saturating_sub(self.since_ns).max(1);
        (self.loops() - self.loops_before) as f64 * NS_PER_S / elapsed_ns as f64
    }

    fn loops(&self) -> u64 {
        self.counters
            .iter()
            .map(|counter| counter.0.load(Ordering::Relaxed))
            .sum()
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot fail: it only computes.
            let _ = thread.join();
        }
    }
}

fn compute_until(stop: &AtomicBool, counter: &AtomicU64) {
    let mut state = 1;
    let mut loops = 0;
    while !stop.load(Ordering::Relaxed) {
        state = one_loop(state);
        loops += 1;
        // Only this thread writes the counter: a plain store is enough.
        counter.store(loops, Ordering::Relaxed);
    }
}

/// A fixed amount of work: `loops` loops.
pub fn compute(loops: u32) {
    (0..loops).fold(1, |state, _| one_loop(state));
}

/// One unit of work that no compiler can leave out.
fn one_loop(mut state: u64) -> u64 {
    for _ in 0..STEPS_PER_LOOP {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

//! `fanout`: one thread wakes many at once and waits for all of them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::Result;

use super::hogs::compute;
use super::sync::{NS_PER_US, futex_wait, futex_wake, join, now_ns};
use super::{Metric, Outcome, Setting, Workload};

/// Threads that are woken, for each CPU.
const THREADS_PER_CPU: u32 = 16;
/// Times that all are woken, and the same where guest time is slow to come by.
const ROUNDS: u32 = 1_000;
const ROUNDS_DETERMINISTIC: u32 = 300;
/// Rounds before the counted ones.
const WARM_UP: u32 = 10;
/// Loops that each thread computes when woken.
const LOOPS: u32 = 2;

/// See the module.
pub struct Fanout;

/// What the threads share.
#[derive(Default)]
struct Shared {
    /// Number of the round; the threads sleep on it.
    round: AtomicU32,
    /// Threads that have yet to finish the round; the waker sleeps on it.
    left: AtomicU32,
    end: AtomicBool,
}

impl Workload for Fanout {
    fn name(&self) -> &'static str {
        "fanout"
    }

    fn about(&self) -> &'static str {
        "one thread wakes 16 per CPU at once and waits until each has done a little work"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 1] = [Metric::lower("time", "us")];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let threads = THREADS_PER_CPU * setting.cpus as u32;
        let rounds = setting.shortened(ROUNDS, ROUNDS_DETERMINISTIC);
        let shared = Shared::default();
        std::thread::scope(|scope| {
            let woken: Vec<_> = (0..threads)
                .map(|_| scope.spawn(|| shared.serve()))
                .collect();
            (0..WARM_UP).for_each(|_| shared.wake_all(threads));
            let start_ns = now_ns();
            (0..rounds).for_each(|_| shared.wake_all(threads));
            let elapsed_ns = now_ns() - start_ns;
            shared.end.store(true, Ordering::Release);
            shared.wake_all(threads);
            woken.into_iter().try_for_each(join)?;
            let time_us = elapsed_ns as f64 / NS_PER_US / f64::from(rounds);
            Ok(Outcome::default().with("time", time_us))
        })
    }
}

impl Shared {
    /// One round: wakes all and waits for the last.
    fn wake_all(&self, threads: u32) {
        self.left.store(threads, Ordering::Relaxed);
        self.round.fetch_add(1, Ordering::Release);
        futex_wake(&self.round, i32::MAX);
        loop {
            match self.left.load(Ordering::Acquire) {
                0 => return,
                left => futex_wait(&self.left, left),
            }
        }
    }

    /// One of the many.
    fn serve(&self) -> Result<()> {
        let mut done = 0;
        while !self.end.load(Ordering::Acquire) {
            let round = self.round.load(Ordering::Acquire);
            if round == done {
                futex_wait(&self.round, done);
                continue;
            }
            done = round;
            compute(LOOPS);
            if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                futex_wake(&self.left, 1);
            }
        }
        // The last round only tells all to end; a thread that sees that early still counts.
        if done != self.round.load(Ordering::Acquire)
            && self.left.fetch_sub(1, Ordering::AcqRel) == 1
        {
            futex_wake(&self.left, 1);
        }
        Ok(())
    }
}

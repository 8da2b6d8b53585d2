//! `load yield`: two threads on one CPU pass a turn by `sched_yield`: how long does a round trip take?

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Result, anyhow};
use clap::Args;
use nix::unistd::Pid;
use serde::Serialize;

use super::tasks::{self, Cpus, Summary, Task};
use crate::bench::workload::hogs::compute;
use crate::bench::workload::sync::{Latencies, NS_PER_S, now_ns};

/// Flags of `load yield`.
#[derive(Debug, Args)]
pub struct YieldArgs {
    /// Loops that the second thread computes while it has the turn, of about 2 us
    #[arg(long, value_name = "N", default_value_t = 0)]
    loops: u32,

    /// Tasks on the same CPU that only compute
    #[arg(long, value_name = "N", default_value_t = 0)]
    others: usize,

    /// How long to count, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,

    /// The CPU that all of them share
    #[arg(long, value_name = "CPU", default_value = "0")]
    cpu: Cpus,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Yields {
    seconds: f64,
    round_trips_per_s: f64,
    round_trip: Summary,
    /// CPU time of the tasks that only compute.
    others_s: Vec<f64>,
}

const FIRST: u32 = 0;
const SECOND: u32 = 1;

impl YieldArgs {
    /// Runs both threads; this one is the first.
    ///
    /// # Errors
    /// If a task cannot be started or bound.
    pub fn run(&self) -> Result<Yields> {
        tasks::bind(Pid::from_raw(0), &self.cpu)?;
        let others = (0..self.others).map(|_| Task::start_busy(|| Ok(())));
        let others = others.collect::<Result<Vec<_>>>()?;
        let (turn, end) = (AtomicU32::new(FIRST), AtomicBool::new(false));
        let before = tasks::cpu_s(&others)?;
        let start_ns = now_ns();
        let latencies = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    if turn.load(Ordering::Acquire) == SECOND {
                        compute(self.loops);
                        turn.store(FIRST, Ordering::Release);
                    }
                    std::thread::yield_now();
                }
            });
            let latencies = self.play(&turn, start_ns);
            end.store(true, Ordering::Relaxed);
            latencies
        });
        let latencies = latencies?;
        let seconds = (now_ns() - start_ns) as f64 / NS_PER_S;
        let after = tasks::cpu_s(&others)?;
        Ok(Yields {
            seconds,
            round_trips_per_s: latencies.count() as f64 / seconds,
            round_trip: Summary::from(&latencies),
            others_s: tasks::used_s(&before, &after),
        })
    }

    fn play(&self, turn: &AtomicU32, start_ns: u64) -> Result<Latencies> {
        let mut latencies = Latencies::new()?;
        let end_ns = start_ns + (self.seconds * NS_PER_S) as u64;
        loop {
            let begun_ns = now_ns();
            if begun_ns >= end_ns {
                break;
            }
            turn.store(SECOND, Ordering::Release);
            while turn.load(Ordering::Acquire) != FIRST {
                std::thread::yield_now();
            }
            latencies.record(now_ns() - begun_ns);
        }
        if latencies.count() == 0 {
            return Err(anyhow!("no round trip in {} s", self.seconds));
        }
        Ok(latencies)
    }
}

//! `build`: a tree of short jobs, as a compiler driver makes them.
//!
//! At most two jobs per CPU run at a time. A job is a process that starts a "compiler", which
//! computes for a few milliseconds and feeds its output through a pipe to an "assembler", and at
//! the end one fresh program.

use std::collections::VecDeque;

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::hogs::compute;
use super::pipe::PipeChannel;
use super::roundtrip::Channel;
use super::sync::{NS_PER_S, noop_program, now_ns, spawn_process, wait_process};
use super::{Metric, Outcome, Setting, Workload};

/// Jobs for each CPU, and the same where guest time is slow to come by.
const JOBS_PER_CPU: usize = 60;
const JOBS_PER_CPU_DETERMINISTIC: usize = 20;
/// Jobs at a time for each CPU.
const PARALLEL_PER_CPU: usize = 2;
/// Pieces of output that a compiler hands to its assembler.
const PIECES: u32 = 10;
/// Loops for each piece: 0.1 to 0.8 ms at a billion instructions per second.
const LOOPS: std::ops::Range<u32> = 50..400;

/// See the module.
pub struct Build;

impl Workload for Build {
    fn name(&self) -> &'static str {
        "build"
    }

    fn about(&self) -> &'static str {
        "a tree of short jobs as a build makes them, 2 per CPU at a time"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 1] = [Metric::lower("time", "s")];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let jobs = setting.shortened(JOBS_PER_CPU, JOBS_PER_CPU_DETERMINISTIC) * setting.cpus;
        let mut rng = ChaCha8Rng::seed_from_u64(setting.seed);
        let mut running = VecDeque::new();
        let start_ns = now_ns();
        for _ in 0..jobs {
            let loops = rng.random_range(LOOPS);
            running.push_back(spawn_process(|| job(loops))?);
            if running.len() >= PARALLEL_PER_CPU * setting.cpus
                && let Some(oldest) = running.pop_front()
            {
                wait_process(oldest)?;
            }
        }
        running.into_iter().try_for_each(wait_process)?;
        Ok(Outcome::default().with("time", (now_ns() - start_ns) as f64 / NS_PER_S))
    }
}

fn job(loops: u32) -> Result<()> {
    let pipe = PipeChannel::new()?;
    let compiler = spawn_process(|| {
        (0..PIECES).try_for_each(|_| {
            compute(loops);
            pipe.post()
        })
    })?;
    let assembler = spawn_process(|| {
        (0..PIECES).try_for_each(|_| {
            pipe.wait()?;
            compute(loops / 4);
            Ok(())
        })
    })?;
    wait_process(compiler)?;
    wait_process(assembler)?;
    noop_program()?.status()?;
    Ok(())
}

//! Crowds that are bound to a part of the CPUs, beside tasks that may run everywhere.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::stress::sys;
use crate::stress::worker_pool::{Worker, WorkerPool};
use crate::topology::Machine;

/// Bound threads that compute, for each CPU of a part.
const PER_CPU: usize = 3;

/// In each last-level cache a crowd bound to its first half (to its only CPU if it has one): threads that compute, and
/// one that sleeps. Beside them as many threads that compute and are free as there are parts, and one free sleeper.
/// Ticks per about 100 us of computing, or per sleep.
pub fn crowds(pool: &mut WorkerPool) -> Result<()> {
    for part in parts(pool.cpus())? {
        pool.spawn("free", compute)?;
        for _ in 0..PER_CPU * part.len() {
            let part = part.clone();
            pool.spawn("bound", move |worker| {
                sys::bind(0, &part)?;
                compute(worker)
            })?;
        }
        pool.spawn("bound-zz", move |worker| {
            sys::bind(0, &part)?;
            sleep(worker)
        })?;
    }
    pool.spawn("free-zz", sleep)?;
    Ok(())
}

/// The first half of each last-level cache, of its CPUs in `cpus`.
fn parts(cpus: &[usize]) -> Result<Vec<Vec<usize>>> {
    let machine = Machine::read()?;
    let mut caches: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for &cpu in cpus {
        if let Some(Some(llc)) = machine.llc_of_cpu.get(cpu) {
            caches.entry(*llc).or_default().push(cpu);
        }
    }
    let half = |mut of: Vec<usize>| {
        of.truncate(of.len().div_ceil(2));
        of
    };
    Ok(caches.into_values().map(half).collect())
}

fn compute(worker: &mut Worker) -> Result<()> {
    while worker.running() {
        sys::compute(10);
        worker.tick();
    }
    Ok(())
}

fn sleep(worker: &mut Worker) -> Result<()> {
    while worker.running() {
        worker.pause_us(500, 5_000);
        sys::compute(1);
        worker.tick();
    }
    Ok(())
}

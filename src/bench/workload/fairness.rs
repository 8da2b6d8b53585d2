//! `fairness`: do hogs get the shares of a CPU that their nice values and cgroup weights promise?
//!
//! All hogs are bound to one CPU, so that the ideal shares are the weights over their sum. The
//! error is the part of the CPU time, in per cent, that went to the wrong task over one second: half
//! the sum of all deviations from the ideal shares. The cgroups are nested, and need root and the
//! cpu controller of cgroup v2.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use scx_ops::nice;

use super::cgroups::Tree;
use super::hogs::compute;
use super::sync::{now_ns, sleep_until_ns, spawn_process};
use super::{Metric, Outcome, Setting, Workload};

/// How long the shares are counted, and how long the hogs run before.
const COUNT_NS: u64 = 1_000_000_000;
const SETTLE_NS: u64 = 200_000_000;
/// Nice values, with the weights that the kernel gives them.
const NICE: [(i32, f64); 5] = [
    (-10, 9548.0),
    (-5, 3121.0),
    (0, 1024.0),
    (5, 335.0),
    (10, 110.0),
];

/// See the module.
pub struct Fairness;

impl Workload for Fairness {
    fn name(&self) -> &'static str {
        "fairness"
    }

    fn about(&self) -> &'static str {
        "CPU time that goes to the wrong task, by nice value and by nested cgroup weights, over 1 s"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 2] = [
            Metric::lower("nice_error", "%"),
            Metric::lower("cgroup_error", "%"),
        ];
        &METRICS
    }

    fn run(&self, _setting: &Setting) -> Result<Outcome> {
        bind_to_one_cpu()?;
        let mut outcome = Outcome::default().with("nice_error", nice_error()?);
        if let Some(tree) = Tree::make()? {
            outcome = outcome.with("cgroup_error", cgroup_error(&tree)?);
        }
        Ok(outcome)
    }
}

/// A CPU-bound task in a process of its own, ended when dropped.
struct CpuBound {
    pid: Pid,
    weight: f64,
}

impl CpuBound {
    /// Starts it; `prepare` runs in the new process first.
    fn start(weight: f64, prepare: impl FnOnce() -> Result<()>) -> Result<Self> {
        let pid = spawn_process(|| {
            prepare()?;
            loop {
                compute(1_000);
            }
        })?;
        Ok(Self { pid, weight })
    }

    /// CPU time so far, in ns.
    fn cpu_ns(&self) -> Result<f64> {
        let clock = clock_getcpuclockid(self.pid).context("a task of fairness ended early")?;
        let time = clock_gettime(clock).context("cannot read a CPU clock")?;
        Ok(std::time::Duration::from(time).as_nanos() as f64)
    }
}

impl Drop for CpuBound {
    fn drop(&mut self) {
        // Only fails if it has ended already.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

fn nice_error() -> Result<f64> {
    let lowest = if nix::unistd::geteuid().is_root() {
        i32::MIN
    } else {
        0
    };
    let mut hogs = Vec::new();
    for (nice, weight) in NICE.into_iter().filter(|(nice, _)| *nice >= lowest) {
        hogs.push(CpuBound::start(weight, || Ok(nice::set(0, nice)?))?);
    }
    error_percent(&hogs)
}

fn cgroup_error(tree: &Tree) -> Result<f64> {
    let mut hogs = Vec::new();
    for leaf in tree.leaves() {
        hogs.push(CpuBound::start(leaf.share, || leaf.enter())?);
    }
    error_percent(&hogs)
}

/// Lets the hogs run and compares the shares they get with their weights.
fn error_percent(hogs: &[CpuBound]) -> Result<f64> {
    sleep_until_ns(now_ns() + SETTLE_NS);
    let before = hogs
        .iter()
        .map(CpuBound::cpu_ns)
        .collect::<Result<Vec<_>>>()?;
    sleep_until_ns(now_ns() + COUNT_NS);
    let after = hogs
        .iter()
        .map(CpuBound::cpu_ns)
        .collect::<Result<Vec<_>>>()?;
    let got: Vec<f64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    let weights: Vec<f64> = hogs.iter().map(|task| task.weight).collect();
    Ok(misplaced_percent(&got, &weights))
}

/// Half the sum of the deviations of `got` from shares in proportion to `weights`.
fn misplaced_percent(got: &[f64], weights: &[f64]) -> f64 {
    let (all, weight) = (
        got.iter().sum::<f64>().max(1.0),
        weights.iter().sum::<f64>(),
    );
    let deviations = got
        .iter()
        .zip(weights)
        .map(|(got, w)| (got / all - w / weight).abs());
    deviations.sum::<f64>() / 2.0 * 100.0
}

fn bind_to_one_cpu() -> Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).context("cannot read the CPU affinity")?;
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or_default());
    let mut one = CpuSet::new();
    one.set(first.unwrap_or_default())?;
    sched_setaffinity(own, &one).context("cannot bind to one CPU")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_share_in_the_wrong_hands() {
        assert!(misplaced_percent(&[30.0, 10.0], &[3.0, 1.0]).abs() < 1e-9);
        // 75 % were due, 50 % came: a quarter is in the wrong hands.
        assert!((misplaced_percent(&[20.0, 20.0], &[3.0, 1.0]) - 25.0).abs() < 1e-9);
    }
}

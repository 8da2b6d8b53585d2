//! Passes after the comparison, for what would disturb the timed rounds: the cost per callback, the run-queue latency of all
//! tasks, and the CPU time that goes by idle while tasks wait. All share one more start of each scheduler.

use std::time::Duration;

use anyhow::Result;

use super::{Comparison, Field, LOADING};
use crate::bench::plan::Plan;
use crate::bench::progress::Step;
use crate::bench::results::CallbackCost;
use crate::bench::waits;
use crate::bench::workload::Workload;
use crate::observe::{IdleObserver, Observer, Reading};
use scx_ops::statistics::{self, Costs, Statistics};

/// Workloads whose callbacks and waits are told, if they are among the chosen; else it is the first chosen.
const USUAL: [&str; 3] = ["wakeup", "pipe", "messaging"];

impl Comparison<'_> {
    /// One more start of a scheduler, with the passes that it needs.
    pub(super) fn passes(&mut self, scheduler: usize) -> Result<()> {
        if self.interrupt.raised() || steps(self.plan, scheduler).is_empty() {
            return Ok(());
        }
        let others = statistics::present();
        let Some(mut field) = self.load(scheduler)? else {
            return Ok(());
        };
        if self.plan.callbacks && field.scheduler().is_some() {
            let statistics = Statistics::enable()?;
            let take = || Ok(statistics::snapshot(&others));
            self.pass(
                scheduler,
                &mut field,
                &workloads(&self.plan.workloads),
                take,
                |comparison, workload, before, after| {
                    comparison.add_callbacks(
                        scheduler,
                        workload,
                        &statistics::difference(&before, &after),
                    );
                },
            )?;
            drop(statistics);
        }
        if let Some(observers) = self.observers(scheduler) {
            let every: Vec<usize> = (0..self.plan.workloads.len()).collect();
            let take = || observers.read();
            self.pass(
                scheduler,
                &mut field,
                &every,
                take,
                |comparison, workload, before, after| {
                    comparison.add_observed(scheduler, workload, &before, &after);
                },
            )?;
        }
        field.stop()
    }

    /// Runs `workloads` under the scheduler that is loaded. What `take` gives before and after each goes to `keep`.
    fn pass<T>(
        &mut self,
        scheduler: usize,
        field: &mut Field,
        workloads: &[usize],
        take: impl Fn() -> Result<T>,
        keep: impl Fn(&mut Self, usize, T, T),
    ) -> Result<()> {
        for &workload in workloads {
            if self.interrupt.raised() || self.records[scheduler].ejected.is_some() {
                break;
            }
            let trouble = self.records[scheduler].trouble[workload].clone();
            let before = take()?;
            let outcome = self.measure(0, scheduler, workload, field.scheduler())?;
            let after = take()?;
            // A workload that is too slow while it is watched says nothing about the rounds.
            self.records[scheduler].trouble[workload] = trouble;
            if let Some(reason) = field.ejected()? {
                self.eject(scheduler, &reason);
            } else if outcome.is_some() {
                keep(self, workload, before, after);
            }
        }
        Ok(())
    }

    /// The observers at work, unless they are not wanted or this kernel has none: that is said once.
    fn observers(&mut self, scheduler: usize) -> Option<Observers> {
        let ejected = self.records[scheduler].ejected.is_some();
        if !self.plan.waits || self.waits_missing.is_some() || ejected {
            return None;
        }
        libbpf_rs::set_print(None);
        match Observers::start() {
            Ok(observers) => Some(observers),
            Err(why) => {
                let why = format!("{why:#}");
                self.progress
                    .line(&format!("run-queue latency is not observed: {why}"));
                self.waits_missing = Some(why);
                None
            }
        }
    }

    /// What was observed during one workload.
    fn add_observed(&mut self, scheduler: usize, workload: usize, before: &Seen, after: &Seen) {
        let seen = after.waits.since(&before.waits);
        let wasted = after.wasted.saturating_sub(before.wasted);
        let all_cpus_s = seen.span.as_secs_f64() * self.plan.setting.cpus as f64;
        self.records[scheduler].idle[workload] = Some(100.0 * wasted.as_secs_f64() / all_cpus_s);
        if workloads(&self.plan.workloads).contains(&workload) {
            let scheduler = &self.plan.schedulers[scheduler].name;
            let name = self.plan.workloads[workload].name();
            self.waits.push(waits::of(scheduler, name, &seen));
        }
    }

    fn add_callbacks(&mut self, scheduler: usize, workload: usize, costs: &Costs) {
        self.callbacks
            .extend(costs.iter().map(|(op, cost)| CallbackCost {
                scheduler: self.plan.schedulers[scheduler].name.clone(),
                workload: self.plan.workloads[workload].name().to_owned(),
                op: op.clone(),
                calls: cost.calls,
                ns_per_call: cost.ns_per_call(),
            }));
    }
}

/// Both observers.
struct Observers {
    waits: Observer,
    idle: IdleObserver,
}

/// What both have seen until a moment.
struct Seen {
    waits: Reading,
    wasted: Duration,
}

impl Observers {
    fn start() -> Result<Self> {
        Ok(Self {
            waits: Observer::start()?,
            idle: IdleObserver::start()?,
        })
    }

    fn read(&self) -> Result<Seen> {
        Ok(Seen {
            waits: self.waits.read()?,
            wasted: self.idle.wasted()?,
        })
    }
}

/// What the passes of a scheduler do; nothing if there are none.
pub(super) fn steps(plan: &Plan, scheduler: usize) -> Vec<Step> {
    let loaded = plan.schedulers[scheduler].command.is_some();
    let mut runs = Vec::new();
    if plan.callbacks && loaded {
        runs.extend(workloads(&plan.workloads));
    }
    if plan.waits {
        runs.extend(0..plan.workloads.len());
    }
    let loading = (loaded && !runs.is_empty()).then_some(LOADING);
    let steps = loading.into_iter().chain(runs);
    steps.map(|what| (scheduler, what)).collect()
}

/// The workloads whose callbacks and waits are told: the usual ones, or else the first chosen.
fn workloads(chosen: &[&dyn Workload]) -> Vec<usize> {
    let usual = |index: &usize| USUAL.contains(&chosen[*index].name());
    let found: Vec<usize> = (0..chosen.len()).filter(usual).collect();
    if found.is_empty() {
        (0..chosen.len().min(1)).collect()
    } else {
        found
    }
}

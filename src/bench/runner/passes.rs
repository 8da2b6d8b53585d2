//! Passes after the race, for what would disturb the timed rounds: the cost per callback and the
//! run-queue latency of all tasks. Both share one more start of each scheduler.

use anyhow::Result;

use super::{Field, LOADING, Race};
use crate::bench::callbacks::{self, Costs, Statistics};
use crate::bench::plan::Plan;
use crate::bench::progress::Step;
use crate::bench::results::CallbackCost;
use crate::bench::waits;
use crate::bench::workload::Workload;
use crate::observe::Observer;

/// Workloads during which passes measure, if they are among the chosen; else it is the first chosen.
const USUAL: [&str; 3] = ["wakeup", "pipe", "messaging"];

impl Race<'_> {
    /// One more start of a scheduler, with the passes that it needs.
    pub(super) fn passes(&mut self, contestant: usize) -> Result<()> {
        if self.interrupt.raised() || steps(self.plan, contestant).is_empty() {
            return Ok(());
        }
        let others = callbacks::present();
        let Some(mut field) = self.load(contestant)? else {
            return Ok(());
        };
        if self.plan.callbacks && field.scheduler().is_some() {
            let statistics = Statistics::enable()?;
            let take = || Ok(callbacks::snapshot(&others));
            self.pass(
                contestant,
                &mut field,
                take,
                |race, workload, before, after| {
                    race.add_callbacks(
                        contestant,
                        workload,
                        &callbacks::difference(&before, &after),
                    );
                },
            )?;
            drop(statistics);
        }
        if let Some(observer) = self.observer(contestant) {
            let take = || observer.read();
            self.pass(
                contestant,
                &mut field,
                take,
                |race, workload, before, after| {
                    let scheduler = &race.plan.contestants[contestant].name;
                    let name = race.plan.workloads[workload].name();
                    race.waits
                        .push(waits::of(scheduler, name, &after.since(&before)));
                },
            )?;
        }
        field.stop()
    }

    /// Runs the workloads of a pass under the scheduler that is loaded. What `take` gives before and
    /// after each goes to `keep`.
    fn pass<T>(
        &mut self,
        contestant: usize,
        field: &mut Field,
        take: impl Fn() -> Result<T>,
        keep: impl Fn(&mut Self, usize, T, T),
    ) -> Result<()> {
        for workload in workloads(&self.plan.workloads) {
            if self.interrupt.raised() || self.records[contestant].ejected.is_some() {
                break;
            }
            let trouble = self.records[contestant].trouble[workload].clone();
            let before = take()?;
            let outcome = self.measure(0, contestant, workload, field.scheduler())?;
            let after = take()?;
            // A workload that is too slow while it is watched says nothing about the rounds.
            self.records[contestant].trouble[workload] = trouble;
            if let Some(reason) = field.ejected()? {
                self.eject(contestant, &reason);
            } else if outcome.is_some() {
                keep(self, workload, before, after);
            }
        }
        Ok(())
    }

    /// The observer at work, unless nobody wants it or this kernel has none: that is said once.
    fn observer(&mut self, contestant: usize) -> Option<Observer> {
        let ejected = self.records[contestant].ejected.is_some();
        if !self.plan.waits || self.waits_missing.is_some() || ejected {
            return None;
        }
        libbpf_rs::set_print(None);
        match Observer::start() {
            Ok(observer) => Some(observer),
            Err(why) => {
                let why = format!("{why:#}");
                self.progress
                    .line(&format!("run-queue latency is not observed: {why}"));
                self.waits_missing = Some(why);
                None
            }
        }
    }

    fn add_callbacks(&mut self, contestant: usize, workload: usize, costs: &Costs) {
        self.callbacks
            .extend(costs.iter().map(|(op, cost)| CallbackCost {
                scheduler: self.plan.contestants[contestant].name.clone(),
                workload: self.plan.workloads[workload].name().to_owned(),
                op: op.clone(),
                calls: cost.calls,
                ns_per_call: cost.ns_per_call(),
            }));
    }
}

/// What the passes of a contestant do; nothing if there are none.
pub(super) fn steps(plan: &Plan, contestant: usize) -> Vec<Step> {
    let loaded = plan.contestants[contestant].command.is_some();
    let passes = usize::from(plan.callbacks && loaded) + usize::from(plan.waits);
    let runs = (0..passes).flat_map(|_| workloads(&plan.workloads));
    let loading = (loaded && passes > 0).then_some(LOADING);
    let steps = loading.into_iter().chain(runs);
    steps.map(|what| (contestant, what)).collect()
}

/// The workloads of a pass: the usual ones, or else the first chosen.
fn workloads(chosen: &[&dyn Workload]) -> Vec<usize> {
    let usual = |index: &usize| USUAL.contains(&chosen[*index].name());
    let found: Vec<usize> = (0..chosen.len()).filter(usual).collect();
    if found.is_empty() {
        (0..chosen.len().min(1)).collect()
    } else {
        found
    }
}

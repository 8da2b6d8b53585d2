//! The comparison: round by round, every scheduler in random order, every workload under each. What would
//! disturb the clock is measured afterwards (`passes`).

mod passes;

use std::path::PathBuf;

use anyhow::Result;

use super::isolate::{self, Run};
use super::machine;
use super::plan::Plan;
use super::progress::{Progress, Step};
use super::results::{
    CallbackCost, Entrant, Results, Samples, Subject, figure, take_back_chance_finds,
};
use super::scheduler::{self, Loaded, Start};
use super::stats;
use super::waits::Waits;
use super::workload::{IDLE_WHILE_RUNNABLE, Metric, Outcome, Setting};
use crate::signals::Interrupt;

/// The step of starting a scheduler, in the book-keeping of progress.
const LOADING: usize = usize::MAX;

/// What one scheduler has shown so far.
#[derive(Default)]
pub struct Record {
    ops: Option<String>,
    load_s: Vec<f64>,
    ejected: Option<String>,
    /// For each workload, what went wrong.
    trouble: Vec<Option<String>>,
    /// For each workload, a place for each counted round.
    outcomes: Vec<Vec<Option<Outcome>>>,
    /// For each workload, what [`IDLE_WHILE_RUNNABLE`] was in the pass that observes it.
    idle: Vec<Option<f64>>,
}

/// The comparison in progress.
pub struct Comparison<'a> {
    plan: &'a Plan,
    interrupt: &'a Interrupt,
    progress: Progress,
    records: Vec<Record>,
    callbacks: Vec<CallbackCost>,
    waits: Vec<Waits>,
    waits_missing: Option<String>,
    rounds_done: u32,
    complete: bool,
}

impl<'a> Comparison<'a> {
    /// Lines the schedulers up.
    pub fn new(plan: &'a Plan, interrupt: &'a Interrupt) -> Self {
        let workloads = plan.workloads.len();
        let record = || Record {
            trouble: vec![None; workloads],
            outcomes: vec![vec![None; plan.rounds as usize]; workloads],
            idle: vec![None; workloads],
            ..Record::default()
        };
        Self {
            plan,
            interrupt,
            progress: Progress::new(steps(plan)),
            records: plan.schedulers.iter().map(|_| record()).collect(),
            callbacks: Vec::new(),
            waits: Vec::new(),
            waits_missing: None,
            rounds_done: 0,
            complete: false,
        }
    }

    /// Runs all rounds, then the passes that disturb. Ends early when interrupted.
    pub fn run(&mut self) -> Result<()> {
        for round in 0..=self.plan.rounds {
            for scheduler in self.plan.order(round) {
                self.round_of(round, scheduler)?;
                if self.interrupt.raised() {
                    return Ok(());
                }
            }
            self.rounds_done = round;
            self.progress.round_ended(&match round {
                0 => "warm-up round done".to_owned(),
                _ => format!("round {round} of {} done", self.plan.rounds),
            });
        }
        for scheduler in 0..self.plan.schedulers.len() {
            self.passes(scheduler)?;
        }
        self.complete = !self.interrupt.raised();
        Ok(())
    }

    /// One scheduler's part of a round.
    fn round_of(&mut self, round: u32, scheduler: usize) -> Result<()> {
        let Some(mut loaded) = self.load(scheduler)? else {
            return Ok(());
        };
        for workload in 0..self.plan.workloads.len() {
            let outcome = self.measure(round, scheduler, workload, loaded.scheduler())?;
            let ejected = loaded.ejected()?;
            if let Some(reason) = ejected {
                self.eject(scheduler, &reason);
                break;
            }
            if self.interrupt.raised() {
                break;
            }
            self.keep(round, scheduler, workload, outcome);
        }
        loaded.stop()
    }

    fn keep(&mut self, round: u32, scheduler: usize, workload: usize, outcome: Option<Outcome>) {
        let record = &mut self.records[scheduler];
        if let Some(place) = round.checked_sub(1) {
            record.outcomes[workload][place as usize] = outcome;
        }
    }

    /// Runs one workload once; what goes wrong is noted.
    fn measure(
        &mut self,
        round: u32,
        scheduler: usize,
        workload: usize,
        loaded: Option<&Loaded>,
    ) -> Result<Option<Outcome>> {
        let setting = self.setting(round);
        let name = self.plan.workloads[workload].name();
        let what = format!("{}: {name}", self.plan.schedulers[scheduler].name);
        let (interrupt, limit) = (self.interrupt, self.plan.limits.workload);
        let watched = loaded.map(Loaded::fd);
        let run = self.progress.step((scheduler, workload), &what, || {
            isolate::run(name, &setting, watched, interrupt, limit)
        })?;
        match run {
            Run::Done(outcome) => Ok(Some(outcome)),
            Run::Failed(why) => {
                self.progress.line(&format!("{what} failed: {why}"));
                self.records[scheduler].trouble[workload] = Some(format!("failed: {why}"));
                Ok(None)
            }
            Run::SchedulerGone | Run::Interrupted => Ok(None),
        }
    }

    /// Every round has its own seed, the same for all schedulers.
    fn setting(&self, round: u32) -> Setting {
        let seed = self.plan.setting.seed.wrapping_add(u64::from(round));
        Setting {
            seed,
            ..self.plan.setting.clone()
        }
    }

    /// Starts a scheduler, unless it has been ejected before. None: nothing to measure now.
    fn load(&mut self, scheduler: usize) -> Result<Option<Field>> {
        if self.records[scheduler].ejected.is_some() {
            return Ok(None);
        }
        let Some((program, arguments)) = &self.plan.schedulers[scheduler].command else {
            return Ok(Some(Field::Baseline));
        };
        let started = self.start(scheduler, program, arguments)?;
        match started {
            Start::Loaded(loaded) => {
                let record = &mut self.records[scheduler];
                record.ops = Some(loaded.ops.clone());
                record.load_s.push(loaded.load_s);
                Ok(Some(Field::Loaded(loaded)))
            }
            Start::Failed(why) => {
                self.eject(scheduler, &why);
                Ok(None)
            }
            Start::Interrupted => Ok(None),
        }
    }

    fn start(&mut self, scheduler: usize, program: &PathBuf, args: &[String]) -> Result<Start> {
        let what = format!("{}: loading", self.plan.schedulers[scheduler].name);
        let (interrupt, limits) = (self.interrupt, self.plan.limits);
        self.progress.step((scheduler, LOADING), &what, || {
            scheduler::start(program, args, limits, interrupt)
        })
    }

    fn eject(&mut self, scheduler: usize, reason: &str) {
        let name = &self.plan.schedulers[scheduler].name;
        self.progress.line(&format!("{name}: ejected: {reason}"));
        self.records[scheduler].ejected = Some(reason.to_owned());
    }

    /// Draws up the results of what has been run.
    pub fn finish(self) -> (Results, Distributions) {
        self.progress.finish();
        let plan = self.plan;
        let results = Results {
            kernel: machine::kernel_release(),
            cpus: plan.setting.cpus,
            deterministic: plan.setting.deterministic,
            side_by_side: plan.side_by_side,
            caches: plan.caches.clone(),
            machine: plan.machine.clone(),
            rounds: self.rounds_done,
            baseline: plan.schedulers[plan.baseline].name.clone(),
            complete: self.complete,
            schedulers: self.entrants(),
            results: self.figures(),
            callbacks: self.callbacks.clone(),
            waits: self.waits_by_workload(),
            waits_missing: self.waits_missing.clone(),
        };
        let distributions = self.distributions();
        (results, distributions)
    }

    /// What was observed, so that schedulers stand side by side.
    fn waits_by_workload(&self) -> Vec<Waits> {
        let mut waits = self.waits.clone();
        let place = |waits: &Waits| {
            let mut workloads = self.plan.workloads.iter();
            workloads.position(|known| known.name() == waits.workload)
        };
        waits.sort_by_key(place);
        waits
    }

    fn entrants(&self) -> Vec<Entrant> {
        let schedulers = self.plan.schedulers.iter().zip(&self.records);
        schedulers
            .map(|(scheduler, record)| Entrant {
                name: scheduler.name.clone(),
                ops: record.ops.clone(),
                command: scheduler.command_line(),
                load_s: stats::median(&record.load_s),
                ejected: record.ejected.clone(),
            })
            .collect()
    }

    fn figures(&self) -> Vec<super::results::Figure> {
        let mut figures = Vec::new();
        for (workload, known) in self.plan.workloads.iter().enumerate() {
            for metric in known.metrics() {
                let samples = |scheduler| self.samples(scheduler, workload, metric.name);
                self.add_figures(&mut figures, workload, metric, samples);
            }
            if self
                .records
                .iter()
                .any(|record| record.idle[workload].is_some())
            {
                let sample = |scheduler: usize| vec![self.records[scheduler].idle[workload]];
                self.add_figures(&mut figures, workload, &IDLE_WHILE_RUNNABLE, sample);
            }
        }
        for scheduler in &self.plan.schedulers {
            take_back_chance_finds(&mut figures, &scheduler.name);
        }
        figures
    }

    /// One metric of one workload under every scheduler.
    fn add_figures(
        &self,
        figures: &mut Vec<super::results::Figure>,
        workload: usize,
        metric: &Metric,
        samples: impl Fn(usize) -> Samples,
    ) {
        let base = samples(self.plan.baseline);
        for (scheduler, record) in self.records.iter().enumerate() {
            let ejected = record.ejected.as_ref().map(|why| format!("ejected: {why}"));
            let subject = Subject {
                workload: self.plan.workloads[workload].name(),
                scheduler: &self.plan.schedulers[scheduler].name,
                trouble: record.trouble[workload].clone().or(ejected),
            };
            let base = (scheduler != self.plan.baseline).then_some(&base);
            let seed = self.plan.setting.seed;
            figures.push(figure(subject, metric, &samples(scheduler), base, seed));
        }
    }

    fn samples(&self, scheduler: usize, workload: usize, metric: &str) -> Samples {
        let outcomes = self.records[scheduler].outcomes[workload].iter();
        let value = |outcome: &Outcome| outcome.values.get(metric).copied();
        outcomes
            .map(|outcome| outcome.as_ref().and_then(value))
            .collect()
    }

    fn distributions(&self) -> Distributions {
        let mut all = Distributions::new();
        for (scheduler, record) in self.plan.schedulers.iter().zip(&self.records) {
            for (workload, outcomes) in self.plan.workloads.iter().zip(&record.outcomes) {
                let steps: Vec<[u64; 2]> = outcomes
                    .iter()
                    .flatten()
                    .flat_map(|run| run.distribution.clone())
                    .collect();
                if !steps.is_empty() {
                    all.push((workload.name().to_owned(), scheduler.name.clone(), steps));
                }
            }
        }
        all
    }
}

/// Workload, scheduler, and the latencies of all counted rounds as `[ns, count]` in no order.
pub type Distributions = Vec<(String, String, Vec<[u64; 2]>)>;

/// What the kernel schedules with during a scheduler's round.
enum Field {
    Baseline,
    Loaded(Loaded),
}

impl Field {
    fn scheduler(&self) -> Option<&Loaded> {
        match self {
            Self::Baseline => None,
            Self::Loaded(loaded) => Some(loaded),
        }
    }

    fn ejected(&mut self) -> Result<Option<String>> {
        match self {
            Self::Baseline => Ok(None),
            Self::Loaded(loaded) => loaded.ejected(),
        }
    }

    fn stop(self) -> Result<()> {
        match self {
            Self::Baseline => Ok(()),
            Self::Loaded(loaded) => loaded.stop(),
        }
    }
}

/// Everything that will take time.
fn steps(plan: &Plan) -> Vec<Step> {
    let rounds = (0..=plan.rounds).flat_map(|_| 0..plan.schedulers.len());
    let mut steps: Vec<Step> = rounds
        .flat_map(|scheduler| {
            let loading = (scheduler > 0).then_some(LOADING);
            let workloads = 0..plan.workloads.len();
            loading
                .into_iter()
                .chain(workloads)
                .map(move |what| (scheduler, what))
        })
        .collect();
    for scheduler in 0..plan.schedulers.len() {
        steps.extend(passes::steps(plan, scheduler));
    }
    steps
}

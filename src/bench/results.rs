//! The results as `--json` writes them: the layout that other tools rely on.

use serde::Serialize;

use super::stats::{self, Verdict};
use super::waits::Waits;
use super::workload::{Better, Metric};

const BETTER: &str = "better";
const WORSE: &str = "worse";
const NOT_SHOWN: &str = "no difference shown";

/// Everything that a benchmark found.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Release of the running kernel.
    pub kernel: String,
    /// CPUs that the workloads could use.
    pub cpus: usize,
    /// Guest time counted instructions.
    pub deterministic: bool,
    /// While instructions were counted, all CPUs ran at the same time, instead of one at a time.
    pub side_by_side: bool,
    /// The processor whose caches were modelled; none if accesses to memory cost nothing.
    pub caches: Option<String>,
    /// Name of the VM harness's machine that this was; none on any other.
    pub machine: Option<String>,
    /// Rounds that count and were finished.
    pub rounds: u32,
    /// Name of the scheduler that ratios refer to.
    pub baseline: String,
    /// False if the benchmark was interrupted.
    pub complete: bool,
    /// The schedulers that took part.
    pub schedulers: Vec<Entrant>,
    /// One entry for each workload, metric and scheduler.
    pub results: Vec<Figure>,
    /// Cost of each callback.
    pub callbacks: Vec<CallbackCost>,
    /// How long all tasks waited for a CPU.
    pub waits: Vec<Waits>,
    /// Why they could not be observed, if so.
    pub waits_missing: Option<String>,
}

impl Results {
    /// What distorts the figures, if anything does.
    pub fn warning(&self) -> Option<&'static str> {
        (self.deterministic && self.cpus > 1 && !self.side_by_side).then_some(
            "warning: the emulator ran one CPU at a time, which distorts figures of several CPUs",
        )
    }

    /// All schedulers but the baseline, with their index among all.
    pub fn rivals(&self) -> impl Iterator<Item = (usize, &Entrant)> {
        self.schedulers
            .iter()
            .enumerate()
            .filter(|(_, entrant)| entrant.name != self.baseline)
    }
}

/// One scheduler of the comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Entrant {
    /// Name in the results.
    pub name: String,
    /// Name of its ops in the kernel; none for EEVDF or if it never loaded.
    pub ops: Option<String>,
    /// Its command line; empty for EEVDF.
    pub command: String,
    /// Median time from start until the kernel had enabled it, in seconds.
    pub load_s: Option<f64>,
    /// Why it was ejected or did not load, if so.
    pub ejected: Option<String>,
}

/// One metric of one workload under one scheduler.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Workload.
    pub workload: String,
    /// Metric within the workload.
    pub metric: String,
    /// Unit of samples, median and interval.
    pub unit: String,
    /// Which way it improves.
    pub better: Better,
    /// Scheduler.
    pub scheduler: String,
    /// One sample for each counted round that gave one.
    pub samples: Vec<f64>,
    /// Their median.
    pub median: Option<f64>,
    /// 95 % interval of the median.
    pub ci95: Option<[f64; 2]>,
    /// Median ratio to the baseline's sample of the same round.
    pub ratio: Option<f64>,
    /// 95 % interval of that ratio.
    pub ratio_ci95: Option<[f64; 2]>,
    /// What may be said of the ratio, `baseline`, or what went wrong.
    pub verdict: String,
    /// How likely equals differ so much by chance; none of the baseline.
    #[serde(skip)]
    pub p_value: Option<f64>,
}

impl Figure {
    /// Was the scheduler ejected, or did the workload crash or hang?
    pub fn in_trouble(&self) -> bool {
        ["ejected:", "failed:"]
            .iter()
            .any(|trouble| self.verdict.starts_with(trouble))
    }
}

/// Cost of one callback of one scheduler during one workload.
#[derive(Clone, Debug, Serialize)]
pub struct CallbackCost {
    /// Scheduler.
    pub scheduler: String,
    /// Workload that ran.
    pub workload: String,
    /// Member of `struct sched_ext_ops`.
    pub op: String,
    /// Calls in that run.
    pub calls: u64,
    /// Mean run time of a call in nanoseconds.
    pub ns_per_call: f64,
}

/// What the runner has of one metric under one scheduler: a place for each counted round.
pub type Samples = Vec<Option<f64>>;

/// What a figure is about, and what went wrong there, if anything did.
pub struct Subject<'a> {
    /// Workload.
    pub workload: &'a str,
    /// Scheduler.
    pub scheduler: &'a str,
    /// Why samples are missing.
    pub trouble: Option<String>,
}

/// Draws up one entry; `base` holds the baseline's samples, none if this is the baseline.
pub fn figure(
    subject: Subject<'_>,
    metric: &Metric,
    samples: &Samples,
    base: Option<&Samples>,
    seed: u64,
) -> Figure {
    let values: Vec<f64> = samples.iter().copied().flatten().collect();
    let pairs = |base: &Samples| -> Vec<(f64, f64)> {
        samples
            .iter()
            .zip(base)
            .filter_map(|(value, base)| value.zip(*base))
            .collect()
    };
    let compared = base.map(|base| stats::compare(&pairs(base), metric.better, seed));
    Figure {
        workload: subject.workload.to_owned(),
        metric: metric.name.to_owned(),
        unit: metric.unit.to_owned(),
        better: metric.better,
        scheduler: subject.scheduler.to_owned(),
        median: stats::median(&values),
        ci95: stats::median_ci95(&values, seed),
        ratio: compared.and_then(|compared| compared.ratio),
        ratio_ci95: compared.and_then(|compared| compared.ratio_ci95),
        p_value: compared.map(|compared| compared.p_value),
        verdict: subject.trouble.unwrap_or_else(|| verdict_text(compared)),
        samples: values,
    }
}

fn verdict_text(compared: Option<stats::Comparison>) -> String {
    match compared.map(|compared| compared.verdict) {
        None => "baseline",
        Some(Verdict::Better) => BETTER,
        Some(Verdict::Worse) => WORSE,
        Some(Verdict::NotShown) => NOT_SHOWN,
    }
    .to_owned()
}

/// Takes back the verdicts of `scheduler` that chance may have made, seen how many metrics there are.
pub fn take_back_chance_finds(figures: &mut [Figure], scheduler: &str) {
    let of_it = |figure: &Figure| figure.scheduler == scheduler && !figure.in_trouble();
    let p_values: Vec<f64> = figures
        .iter()
        .filter(|figure| of_it(figure))
        .filter_map(|figure| figure.p_value)
        .collect();
    let limit = stats::discoveries(&p_values);
    for figure in figures.iter_mut().filter(|figure| of_it(figure)) {
        let chance = |p_value| limit.is_none_or(|limit| p_value > limit);
        if figure.p_value.is_some_and(chance) {
            figure.verdict = NOT_SHOWN.to_owned();
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::{Duration, Instant};

    use super::super::waits;
    use super::*;
    use crate::observe::Reading;

    pub fn figure(workload: &str, metric: &str, scheduler: &str, ratio: Option<f64>) -> Figure {
        Figure {
            workload: workload.into(),
            metric: metric.into(),
            unit: "s".into(),
            better: Better::Lower,
            scheduler: scheduler.into(),
            samples: vec![1.0],
            median: Some(1.0),
            ci95: Some([1.0, 1.0]),
            ratio,
            ratio_ci95: ratio.map(|ratio| [ratio, ratio]),
            verdict: "no difference shown".into(),
            p_value: ratio.map(|_| 1.0),
        }
    }

    fn nothing_seen() -> Reading {
        Reading {
            at: Instant::now(),
            at_ns: 0,
            span: Duration::ZERO,
            groups: Vec::new(),
            unseen: 0,
            collisions: 0,
        }
    }

    fn keys(value: &serde_json::Value) -> Vec<&str> {
        value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect()
    }

    #[test]
    fn the_layout_is_the_contract() {
        let results = Results {
            kernel: "6.18".into(),
            cpus: 1,
            deterministic: true,
            side_by_side: false,
            caches: None,
            machine: None,
            rounds: 3,
            baseline: "eevdf".into(),
            complete: true,
            schedulers: vec![Entrant {
                name: "eevdf".into(),
                ops: None,
                command: String::new(),
                load_s: None,
                ejected: None,
            }],
            results: vec![figure("pipe", "time", "eevdf", None)],
            callbacks: vec![CallbackCost {
                scheduler: "scx_takt".into(),
                workload: "pipe".into(),
                op: "enqueue".into(),
                calls: 1,
                ns_per_call: 200.0,
            }],
            waits: vec![waits::of("eevdf", "pipe", &nothing_seen())],
            waits_missing: None,
        };
        assert_eq!(results.warning(), None, "one CPU has no other to wait for");
        let several = Results { cpus: 2, ..results };
        assert!(several.warning().is_some());
        let results = Results {
            side_by_side: true,
            ..several
        };
        assert_eq!(results.warning(), None);
        let mut json = serde_json::to_value(&results).unwrap();
        json.sort_all_objects();
        assert_eq!(
            keys(&json),
            [
                "baseline",
                "caches",
                "callbacks",
                "complete",
                "cpus",
                "deterministic",
                "kernel",
                "machine",
                "results",
                "rounds",
                "schedulers",
                "side_by_side",
                "waits",
                "waits_missing"
            ]
        );
        assert_eq!(
            keys(&json["schedulers"][0]),
            ["command", "ejected", "load_s", "name", "ops"]
        );
        assert_eq!(
            keys(&json["results"][0]),
            [
                "better",
                "ci95",
                "median",
                "metric",
                "ratio",
                "ratio_ci95",
                "samples",
                "scheduler",
                "unit",
                "verdict",
                "workload"
            ]
        );
        assert_eq!(json["results"][0]["better"], "lower");
        assert_eq!(
            keys(&json["callbacks"][0]),
            ["calls", "ns_per_call", "op", "scheduler", "workload"]
        );
        assert_eq!(
            keys(&json["waits"][0]),
            ["all", "scheduler", "wakeups", "workload"]
        );
        assert_eq!(
            keys(&json["waits"][0]["all"]),
            ["count", "max_ns", "p50_ns", "p999_ns", "p99_ns"]
        );
    }

    #[test]
    fn ratios_pair_samples_of_the_same_round() {
        let metric = Metric::lower("time", "s");
        let base = vec![Some(1.0), Some(10.0), Some(100.0)];
        let samples = vec![Some(2.0), None, Some(200.0)];
        let subject = Subject {
            workload: "pipe",
            scheduler: "x",
            trouble: None,
        };
        let figure = super::figure(subject, &metric, &samples, Some(&base), 1);
        assert!((figure.ratio.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(figure.samples, [2.0, 200.0]);
    }

    #[test]
    fn one_find_among_many_metrics_is_taken_back_but_not_an_outstanding_one() {
        let found = |metric: &str, p_value| Figure {
            verdict: "worse".into(),
            p_value: Some(p_value),
            ..figure("pipe", metric, "x", Some(1.1))
        };
        let dull = |index: u32| Figure {
            p_value: Some(0.5),
            ..figure("pipe", &format!("dull-{index}"), "x", Some(1.0))
        };
        let mut figures = vec![found("chance", 0.03), found("real", 0.0001)];
        figures.extend((0..20).map(dull));
        figures.push(Figure {
            scheduler: "y".into(),
            ..found("other", 0.03)
        });
        take_back_chance_finds(&mut figures, "x");
        assert_eq!(figures[0].verdict, "no difference shown");
        assert_eq!(figures[1].verdict, "worse");
        assert_eq!(figures.last().unwrap().verdict, "worse");
    }
}

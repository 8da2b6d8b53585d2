//! `--gate`: rules that turn the benchmark into a regression check.
//!
//! A rule bounds a ratio to the baseline: `messaging<=1.00` (the workload's first metric) or
//! `wakeup.p99<=0.5`. It holds only if the median of the ratio was measured and obeys it.

use anyhow::{Context, Result, bail};

use super::results::Figure;
use super::workload::{self, Workload};

/// Does a ratio obey a bound?
type Comparison = fn(f64, f64) -> bool;

/// The comparisons that a rule can make, longest first so that `<=` is not read as `<`.
const COMPARISONS: [(&str, Comparison); 4] = [
    ("<=", |ratio, bound| ratio <= bound),
    (">=", |ratio, bound| ratio >= bound),
    ("<", |ratio, bound| ratio < bound),
    (">", |ratio, bound| ratio > bound),
];

/// One rule of `--gate`.
#[derive(Debug)]
pub struct Rule {
    text: String,
    workload: String,
    metric: &'static str,
    holds: Comparison,
    bound: f64,
}

impl Rule {
    /// The workload that has to be run for this rule.
    pub fn workload(&self) -> &str {
        &self.workload
    }

    /// Says what is wrong, if `scheduler` breaks this rule.
    pub fn violation(&self, scheduler: &str, figures: &[Figure]) -> Option<String> {
        let figure = figures.iter().find(|figure| {
            figure.scheduler == scheduler
                && figure.workload == self.workload
                && figure.metric == self.metric
        });
        let trouble = figure.filter(|figure| figure.in_trouble());
        if let Some(figure) = trouble {
            return Some(format!(
                "gate {}: {scheduler} {}",
                self.text, figure.verdict
            ));
        }
        match figure.and_then(|figure| figure.ratio) {
            Some(ratio) if (self.holds)(ratio, self.bound) => None,
            Some(ratio) => Some(format!(
                "gate {}: {scheduler} is at {ratio:.3} of the baseline in {}.{}",
                self.text, self.workload, self.metric
            )),
            None => Some(format!(
                "gate {}: {scheduler} gave no ratio in {}.{}",
                self.text, self.workload, self.metric
            )),
        }
    }
}

/// Reads every rule of every `--gate`.
pub fn parse(arguments: &[String]) -> Result<Vec<Rule>> {
    let rules = arguments.iter().flat_map(|argument| argument.split(','));
    rules
        .map(str::trim)
        .filter(|rule| !rule.is_empty())
        .map(parse_rule)
        .collect()
}

fn parse_rule(text: &str) -> Result<Rule> {
    let found = COMPARISONS.iter().find_map(|(sign, holds)| {
        text.split_once(sign)
            .map(|(name, bound)| (name, *holds, bound))
    });
    let Some((name, holds, bound)) = found else {
        bail!("gate '{text}': needs one of <= >= < > between a metric and a ratio");
    };
    let bound = bound
        .trim()
        .parse()
        .ok()
        .filter(|bound: &f64| bound.is_finite())
        .with_context(|| format!("gate '{text}': '{}' is no ratio", bound.trim()))?;
    let (workload, metric) = match name.trim().split_once('.') {
        Some((workload, metric)) => (workload, Some(metric)),
        None => (name.trim(), None),
    };
    let known = workload::find(workload)
        .with_context(|| format!("gate '{text}': there is no workload '{workload}'"))?;
    let metric = find_metric(known, metric)
        .with_context(|| format!("gate '{text}': {workload} has no such metric"))?;
    Ok(Rule {
        text: text.to_owned(),
        workload: workload.to_owned(),
        metric,
        holds,
        bound,
    })
}

fn find_metric(workload: &dyn Workload, name: Option<&str>) -> Option<&'static str> {
    let wanted = |metric: &&workload::Metric| name.is_none_or(|name| name == metric.name);
    workload
        .metrics()
        .iter()
        .chain([&workload::IDLE_WHILE_RUNNABLE])
        .find(wanted)
        .map(|metric| metric.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::figure;

    fn rules(text: &str) -> Result<Vec<Rule>> {
        parse(&[text.to_owned()])
    }

    #[test]
    fn a_workload_alone_means_its_first_metric() {
        let rules = rules("messaging<=1.00, wakeup.p99.9<0.5").unwrap();
        assert_eq!(
            (rules[0].workload(), rules[0].metric, rules[0].bound),
            ("messaging", "time", 1.0)
        );
        assert_eq!(
            (rules[1].workload(), rules[1].metric, rules[1].bound),
            ("wakeup", "p99.9", 0.5)
        );
    }

    #[test]
    fn bad_rules_say_what_is_wrong() {
        for (text, expected) in [
            ("messaging", "needs one of"),
            ("messaging<=fast", "'fast' is no ratio"),
            ("messaging<=inf", "'inf' is no ratio"),
            ("chess<=1", "no workload 'chess'"),
            ("wakeup.p42<=1", "no such metric"),
        ] {
            let error = format!("{:#}", rules(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_rule_is_broken_by_a_ratio_beyond_it_or_by_none() {
        let rules = rules("messaging<=1.00").unwrap();
        let at = |ratio| vec![figure("messaging", "time", "scx_takt", ratio)];
        assert_eq!(rules[0].violation("scx_takt", &at(Some(1.0))), None);
        let broken = rules[0].violation("scx_takt", &at(Some(1.25))).unwrap();
        assert!(broken.contains("1.250"), "{broken}");
        assert!(
            rules[0]
                .violation("scx_takt", &at(None))
                .unwrap()
                .contains("no ratio")
        );
        assert!(rules[0].violation("scx_other", &at(Some(1.0))).is_some());
        let mut ejected = at(Some(0.5));
        ejected[0].verdict = "ejected: runnable task stall".into();
        assert!(
            rules[0]
                .violation("scx_takt", &ejected)
                .unwrap()
                .contains("stall")
        );
    }
}

//! The statistics: medians over rounds, bootstrap intervals, ratios to the baseline, verdicts.
//!
//! Rounds are few, and latency tails are far from normal, so nothing here assumes a distribution.
//! The interval of a median is the plain percentile bootstrap. The ratio to the baseline is taken
//! round by round (what disturbed a round disturbed both), and its interval, on which a verdict
//! hangs, is bootstrapped on the logarithm and then widened about the median as Student's t is
//! wider than the normal distribution: a percentile bootstrap of 3 rounds would otherwise call a
//! difference between equals once in four times.
//!
//! An interval errs once in twenty times, and a benchmark has fifty metrics: so a verdict needs more
//! than its interval. Of each metric a paired t-test of the logarithms gives a p-value, and over all
//! metrics of a scheduler [`discoveries`] keeps as many as can be called different with at most one
//! in twenty of them false. Between equals that is nothing at all in 19 of 20 benchmarks, and where
//! much differs, little is lost.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::workload::Better;
use crate::base::quantile;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2_000;
/// The quantiles that bound a 95 % interval.
const TAILS: [f64; 2] = [0.025, 0.975];
/// Share of the verdicts *better* and *worse* of a scheduler that may be wrong on average.
const FALSE_DISCOVERIES: f64 = 0.05;
/// Differences smaller than this are never called one. In deterministic mode the noise is near
/// zero and even a shifted instruction would be "significant".
pub const LEAST_EFFECT: f64 = 0.01;

/// 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
const T_975: [f64; 14] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145,
];
/// 97.5 % quantile of the normal distribution.
const Z_975: f64 = 1.960;

/// How a scheduler compares with the baseline in one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// The interval of the ratio lies on the good side of 1.
    #[serde(rename = "better")]
    Better,
    /// The interval of the ratio lies on the bad side of 1.
    #[serde(rename = "worse")]
    Worse,
    /// Neither.
    #[serde(rename = "no difference shown")]
    NotShown,
}

/// Samples set against the baseline's samples of the same rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Median of the ratios; none if the baseline was zero in every round.
    pub ratio: Option<f64>,
    /// 95 % interval of that median.
    pub ratio_ci95: Option<[f64; 2]>,
    /// What may be said of this metric alone.
    pub verdict: Verdict,
    /// How likely equals differ at least so much by chance, from a paired t-test.
    pub p_value: f64,
}

/// The median; none of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile::of_sorted(&sorted(values), 0.5)
}

/// Percentile bootstrap of the median: its 95 % interval.
pub fn median_ci95(values: &[f64], seed: u64) -> Option<[f64; 2]> {
    let medians = sorted(&resampled_medians(values, seed));
    Some([
        quantile::of_sorted(&medians, TAILS[0])?,
        quantile::of_sorted(&medians, TAILS[1])?,
    ])
}

/// Compares pairs of (sample, baseline's sample of the same round).
pub fn compare(pairs: &[(f64, f64)], better: Better, seed: u64) -> Comparison {
    let logs: Vec<f64> = pairs
        .iter()
        .filter(|(value, base)| *value > 0.0 && *base > 0.0)
        .map(|(value, base)| (value / base).ln())
        .collect();
    if logs.len() < pairs.len() || logs.is_empty() {
        return compare_with_zeros(pairs, better, seed);
    }
    let center = median(&logs).unwrap_or_default();
    let interval = median_ci95(&logs, seed).unwrap_or([center; 2]);
    let widening = widening(logs.len());
    let bounds = interval.map(|bound| center + (bound - center) * widening);
    let enough = logs.len() > 1;
    Comparison {
        ratio: Some(center.exp()),
        ratio_ci95: Some(bounds.map(f64::exp)),
        verdict: if enough {
            verdict(center, bounds, better)
        } else {
            Verdict::NotShown
        },
        p_value: p_value(&logs),
    }
}

/// Where a sample may be zero (missed deadlines, say) only differences can be judged.
fn compare_with_zeros(pairs: &[(f64, f64)], better: Better, seed: u64) -> Comparison {
    let differences: Vec<f64> = pairs.iter().map(|(value, base)| value - base).collect();
    let scale = pairs
        .iter()
        .map(|(value, base)| value.abs().max(base.abs()))
        .fold(0.0, f64::max);
    let judged = median(&differences).zip(median_ci95(&differences, seed));
    let verdict = match judged {
        Some((center, interval)) if pairs.len() > 1 && scale > 0.0 => {
            let widening = widening(pairs.len());
            let bounds = interval.map(|bound| (center + (bound - center) * widening) / scale);
            verdict(center / scale, bounds, better)
        }
        _ => Verdict::NotShown,
    };
    let values = median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let bases = median(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    let ratio = values
        .zip(bases)
        .filter(|(_, base)| *base > 0.0)
        .map(|(value, base)| value / base);
    Comparison {
        ratio,
        ratio_ci95: None,
        verdict,
        p_value: p_value(&differences),
    }
}

/// The largest p-value that counts when all of `p_values` are looked at together, by Benjamini and
/// Hochberg (Controlling the False Discovery Rate, 1995): with the k-th smallest at most k/n of 5 %,
/// it and all smaller ones count. None counts if there is no such k.
pub fn discoveries(p_values: &[f64]) -> Option<f64> {
    let count = p_values.len() as f64;
    let ranked = sorted(p_values).into_iter().zip(1_u32..);
    ranked
        .filter(|(p_value, rank)| *p_value <= FALSE_DISCOVERIES * f64::from(*rank) / count)
        .map(|(p_value, _)| p_value)
        .last()
}

/// Two-sided p-value of Student's t-test that the mean of `values` is zero; 1 for fewer than two.
fn p_value(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    if values.len() < 2 {
        return 1.0;
    }
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    if mean == 0.0 {
        return 1.0;
    }
    (1.0 - student_within(mean.abs() / error, values.len() - 1)).max(0.0)
}

/// Probability that Student's t with `degrees` of freedom lies within `-t..t` (Abramowitz and Stegun,
/// Handbook of Mathematical Functions, 26.7.3 and 26.7.4).
fn student_within(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = degrees % 2 == 1;
    let (mut term, mut sum) = (if odd { cosine } else { 1.0 }, 0.0);
    for index in (usize::from(odd)..degrees - usize::from(odd)).step_by(2) {
        sum += term;
        term *= cosine * cosine * (index + 1) as f64 / (index + 2) as f64;
    }
    if odd {
        (angle + sine * sum) * std::f64::consts::FRAC_2_PI
    } else {
        sine * sum
    }
}

/// What may be said of an effect whose zero is "no difference".
fn verdict(center: f64, [low, high]: [f64; 2], better: Better) -> Verdict {
    let shown = center.abs() >= LEAST_EFFECT && (low > 0.0 || high < 0.0);
    match (shown, center < 0.0, better) {
        (false, _, _) => Verdict::NotShown,
        (true, true, Better::Lower) | (true, false, Better::Higher) => Verdict::Better,
        (true, ..) => Verdict::Worse,
    }
}

/// How much wider than the bootstrap the interval of `count` rounds is made.
fn widening(count: usize) -> f64 {
    let Some(degrees) = count.checked_sub(1).filter(|degrees| *degrees > 0) else {
        return 1.0;
    };
    let student = T_975
        .get(degrees - 1)
        .copied()
        .unwrap_or(Z_975 + 2.4 / degrees as f64);
    student / Z_975 * (count as f64 / degrees as f64).sqrt()
}

fn resampled_medians(values: &[f64], seed: u64) -> Vec<f64> {
    if values.is_empty() {
        return Vec::new();
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resample = || -> Vec<f64> {
        values
            .iter()
            .filter_map(|_| values.get(rng.random_range(0..values.len())).copied())
            .collect()
    };
    (0..RESAMPLES).filter_map(|_| median(&resample())).collect()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(values: &[f64], bases: &[f64]) -> Vec<(f64, f64)> {
        values.iter().copied().zip(bases.iter().copied()).collect()
    }

    #[test]
    fn median_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn interval_of_a_constant_is_a_point() {
        assert_eq!(median_ci95(&[7.0; 5], 1), Some([7.0, 7.0]));
    }

    #[test]
    fn interval_lies_within_the_samples_and_repeats_with_the_seed() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        let [low, high] = median_ci95(&values, 1).unwrap();
        // The exact interval of order statistics for 20 samples is the 6th to the 15th.
        assert!((5.0..=8.0).contains(&low), "{low}");
        assert!((13.0..=16.0).contains(&high), "{high}");
        assert_eq!(median_ci95(&values, 1), Some([low, high]));
    }

    #[test]
    fn half_the_latency_is_better_and_half_the_throughput_is_worse() {
        let found = pairs(&[5.0, 5.1, 4.9, 5.0, 5.0], &[10.0, 10.1, 9.9, 10.0, 10.0]);
        let lower = compare(&found, Better::Lower, 1);
        assert_eq!(lower.verdict, Verdict::Better);
        assert!((lower.ratio.unwrap() - 0.5).abs() < 0.01);
        assert_eq!(compare(&found, Better::Higher, 1).verdict, Verdict::Worse);
    }

    #[test]
    fn noise_around_one_shows_nothing() {
        let found = pairs(&[9.0, 11.0, 10.5, 9.7, 10.1], &[10.0; 5]);
        assert_eq!(compare(&found, Better::Lower, 1).verdict, Verdict::NotShown);
    }

    #[test]
    fn three_rounds_on_one_side_are_not_yet_a_difference_if_they_scatter() {
        let found = pairs(&[1.02, 1.30, 1.10], &[1.0; 3]);
        assert_eq!(compare(&found, Better::Lower, 1).verdict, Verdict::NotShown);
    }

    #[test]
    fn an_exact_but_tiny_effect_is_none() {
        let found = pairs(&[1.005; 5], &[1.0; 5]);
        assert_eq!(compare(&found, Better::Lower, 1).verdict, Verdict::NotShown);
    }

    #[test]
    fn one_round_shows_nothing() {
        assert_eq!(
            compare(&[(1.0, 2.0)], Better::Lower, 1).verdict,
            Verdict::NotShown
        );
    }

    #[test]
    fn zeros_are_judged_by_difference() {
        let missed = pairs(&[0.2, 0.25, 0.2], &[0.0; 3]);
        let found = compare(&missed, Better::Lower, 1);
        assert_eq!((found.verdict, found.ratio), (Verdict::Worse, None));
        assert_eq!(
            compare(&[(0.0, 0.0); 3], Better::Lower, 1).verdict,
            Verdict::NotShown
        );
    }

    #[test]
    fn p_values_are_those_of_the_tables() {
        // The 97.5 % quantiles leave 5 % outside.
        for (degrees, t) in (1..).zip(T_975) {
            let outside = 1.0 - student_within(t, degrees);
            assert!((outside - 0.05).abs() < 5e-5, "{degrees}: {outside}");
        }
        assert_eq!((p_value(&[0.3]), p_value(&[0.0; 3])), (1.0, 1.0));
        assert_eq!(p_value(&[0.5; 3]), 0.0);
        // t is 2 with 2 degrees of freedom: 1 - 2 / sqrt(2 + 2 * 2).
        let found = p_value(&[1.0, 2.0, 3.0].map(|x| x - 2.0 + 2.0 / 3.0_f64.sqrt()));
        assert!(
            (found - (1.0 - 2.0 / 6.0_f64.sqrt())).abs() < 1e-9,
            "{found}"
        );
    }

    #[test]
    fn of_many_metrics_only_the_outstanding_count() {
        assert_eq!(discoveries(&[]), None);
        assert_eq!(discoveries(&[0.04, 0.5, 0.9]), None);
        // 0.03 is no more than 2/3 of 5 %, and takes 0.02 with it, which alone would be too much.
        assert_eq!(discoveries(&[0.02, 0.9, 0.03]), Some(0.03));
        assert_eq!(discoveries(&[0.01, 0.9, 0.5]), Some(0.01));
    }

    #[test]
    fn false_alarms_between_equals_are_rare() {
        let mut rng = ChaCha8Rng::seed_from_u64(42);
        let alarms = (0..400)
            .filter(|trial| {
                let found: Vec<(f64, f64)> = (0..5)
                    .map(|_| (rng.random_range(0.9..1.1), rng.random_range(0.9..1.1)))
                    .collect();
                compare(&found, Better::Lower, *trial).verdict != Verdict::NotShown
            })
            .count();
        assert!(alarms <= 24, "{alarms} of 400");
    }
}

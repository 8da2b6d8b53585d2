//! Shares and waits of CPU-bound tasks in one queue, by the formulas alone.

use proptest::prelude::*;
use takt_formulas::NICE_0;
use takt_formulas::simulation::{Simulation, fair_shares, weight_of_nice};

const MS: u64 = 1_000_000;

fn weights(nice: &[i32]) -> Vec<u64> {
    nice.iter().map(|&nice| weight_of_nice(nice)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of tasks of nice -5 to 5, up to a hundred per CPU: each has its share within 10 % and two slices after 10 s.
    #[test]
    fn shares_follow_weights(
        nr_cpus in 1..=4usize, nice in prop::collection::vec(-5..=5i32, 4..=100),
    ) {
        let weights = weights(&nice);
        let mut simulation = Simulation::new(nr_cpus, &weights);
        simulation.run_ms(10_000);
        for (task, share) in simulation.tasks().iter().zip(fair_shares(nr_cpus, &weights)) {
            let (ran, fair) = (task.ran_ns as f64 / 1e9, share * 10.0);
            prop_assert!(
                (ran - fair).abs() <= 0.10 * fair + 0.008,
                "weight {}: {ran:.3} s instead of {fair:.3}", task.weight / 1_024
            );
        }
    }

    /// Whatever the weights, no task waits for longer than docs/design/policy.md states: 312 ms, and for each other
    /// task per CPU a slice of 3 ms and what its limits allow (19 ms in sum); a light task three times that.
    #[test]
    fn no_task_waits_beyond_the_bound(
        nr_cpus in 1..=4usize, nice in prop::collection::vec(-20..20i32, 4..=80),
    ) {
        let weights = weights(&nice);
        let mut simulation = Simulation::new(nr_cpus, &weights);
        simulation.run_ms(10_000);
        let bound = 312 * MS + 19 * MS * (weights.len() as u64).div_ceil(nr_cpus as u64);
        for (number, &weight) in weights.iter().enumerate() {
            let bound = if weight < NICE_0 { 3 * bound } else { bound };
            let longest = simulation.longest_wait_ns(number);
            prop_assert!(longest <= bound, "weight {}: {longest} ns", weight / 1_024);
        }
    }
}

/// The share of `nice` in the last 10 of 15 s, as a part of what its weight is worth.
fn part_of_share(nr_cpus: usize, mix: &[(usize, i32)], of: i32) -> f64 {
    let nice: Vec<_> = mix
        .iter()
        .flat_map(|&(count, nice)| vec![nice; count])
        .collect();
    let weights = weights(&nice);
    let mut simulation = Simulation::new(nr_cpus, &weights);
    let ran_ns = |simulation: &Simulation| -> u64 {
        let tasks = simulation.tasks().iter().zip(&nice);
        tasks
            .filter(|(_, nice)| **nice == of)
            .map(|(task, _)| task.ran_ns)
            .sum()
    };
    simulation.run_ms(5_000);
    let before = ran_ns(&simulation);
    simulation.run_ms(10_000);
    let shares = fair_shares(nr_cpus, &weights);
    let fair: f64 = shares
        .iter()
        .zip(&nice)
        .filter(|(_, nice)| **nice == of)
        .map(|(share, _)| share)
        .sum();
    (ran_ns(&simulation) - before) as f64 / 1e10 / fair
}

/// Light tasks wait no longer than the bound, so they have more than their share. What is left is divided by weight.
#[test]
fn heavy_tasks_keep_their_weight_beside_light_ones() {
    for (nr_cpus, mix, least) in [
        (1, vec![(1, -20), (10, 0)], 0.93),
        (1, vec![(1, -20), (10, 0), (10, 19)], 0.88),
        (1, vec![(2, -15), (10, 0), (10, 15)], 0.90),
        (4, vec![(4, -20), (4, 0), (4, 19)], 0.97),
    ] {
        let heaviest = mix[0].1;
        let part = part_of_share(nr_cpus, &mix, heaviest);
        assert!(
            part >= least,
            "{mix:?} on {nr_cpus} CPUs: nice {heaviest} has {part:.3} of its share"
        );
    }
}

/// A share of more than one CPU cannot be had. The others divide what is left as if that task were not there.
#[test]
fn a_share_of_more_than_a_cpu_does_not_shift_the_others() {
    for (mix, nice) in [
        (vec![(2, -20), (20, 0), (20, 5)], [0, 5]),
        (vec![(1, -20), (4, 0), (4, 5)], [0, 5]),
    ] {
        for nice in nice {
            let part = part_of_share(4, &mix, nice);
            assert!(
                (part - 1.0).abs() < 0.05,
                "{mix:?}: nice {nice} has {part:.3} of its share"
            );
        }
    }
}

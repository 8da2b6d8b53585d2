//! Shares of CPU-bound tasks by the formulas alone, for experiments with them:
//!
//! ```text
//! cargo run -p takt_formulas --example shares -- CPUS COUNTxNICE...
//! cargo run -p takt_formulas --example shares -- 1 1x-20 10x0 10x19
//! ```

use std::process::ExitCode;
use takt_formulas::simulation::{Simulation, fair_shares, weight_of_nice};

/// Ends of the periods that have a line each.
const UNTIL_MS: [u64; 4] = [1_000, 3_000, 10_000, 20_000];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((nr_cpus, kinds)) = parse(&args) else {
        eprintln!("usage: shares CPUS COUNTxNICE..., at least as many tasks as CPUs");
        return ExitCode::from(2);
    };
    let tasks = kinds
        .iter()
        .flat_map(|&(count, nice)| std::iter::repeat_n(nice, count));
    let nice: Vec<i32> = tasks.collect();
    if nice.len() < nr_cpus {
        eprintln!("{} tasks for {nr_cpus} CPUs: none would wait", nice.len());
        return ExitCode::from(2);
    }
    let weights: Vec<u64> = nice.iter().map(|&nice| weight_of_nice(nice)).collect();
    let shares = fair_shares(nr_cpus, &weights);
    let mut simulation = Simulation::new(nr_cpus, &weights);
    println!("CPU time as a part of the share that the weight is worth: mean (least to most)");
    let mut from_ms = 0;
    for until_ms in UNTIL_MS {
        let before: Vec<u64> = simulation.tasks().iter().map(|task| task.ran_ns).collect();
        simulation.run_ms(until_ms - from_ms);
        print!(
            "{:>4.0} to {:>2.0} s",
            from_ms as f64 / 1e3,
            until_ms as f64 / 1e3
        );
        for &(_, kind) in &kinds {
            let parts = (0..nice.len()).filter(|&i| nice[i] == kind).map(|i| {
                let ran_ns = simulation.tasks()[i].ran_ns - before[i];
                ran_ns as f64 / ((until_ms - from_ms) as f64 * 1e6) / shares[i]
            });
            let parts: Vec<f64> = parts.collect();
            let mean = parts.iter().sum::<f64>() / parts.len() as f64;
            let least = parts.iter().copied().fold(f64::MAX, f64::min);
            let most = parts.iter().copied().fold(0.0, f64::max);
            print!("   nice {kind}: {mean:.2} ({least:.2} to {most:.2})");
        }
        println!();
        from_ms = until_ms;
    }
    let longest = (0..nice.len()).map(|number| simulation.longest_wait_ns(number));
    println!("longest wait {} ms", longest.max().unwrap_or(0) / 1_000_000);
    ExitCode::SUCCESS
}

/// Number of CPUs; count and nice value of each kind.
fn parse(args: &[String]) -> Option<(usize, Vec<(usize, i32)>)> {
    let (nr_cpus, kinds) = args.split_first()?;
    let kinds = kinds.iter().map(|kind| {
        let (count, nice) = kind.split_once('x')?;
        let nice = nice.parse().ok().filter(|nice| (-20..=19).contains(nice))?;
        Some((count.parse().ok()?, nice))
    });
    let nr_cpus = nr_cpus.parse().ok().filter(|&nr| nr > 0)?;
    Some((nr_cpus, kinds.collect::<Option<_>>()?))
}

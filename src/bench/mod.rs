//! `scx_takt bench`: the fair comparison of schedulers on the user's own machine.
//!
//! EEVDF is the baseline. Round by round, in random but seeded order, every scheduler is loaded,
//! measured under every workload and stopped; the first round is a warm-up and does not count.
//! In reading order: `plan` (what shall be measured), `runner` (the comparison) over `scheduler` and
//! `isolate` (the processes), `stats` and `results` (what it means), `table` and `report`
//! (what people see), `gate` (pass or fail).

mod gate;
mod isolate;
pub mod load;
mod machine;
mod output;
mod plan;
mod process;
mod progress;
mod report;
mod results;
mod runner;
mod scheduler;
mod stats;
mod table;
mod uevents;
mod waits;
mod workload;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};

use self::plan::{Plan, Usage};
use self::results::Results;
use self::runner::Comparison;
use crate::cli::BenchArgs;
use crate::signals::Interrupt;

/// Runs the benchmark.
pub fn run(args: BenchArgs) -> Result<ExitCode> {
    if args.list {
        return list();
    }
    if let Some(workload) = &args.run_one {
        isolate::run_here(workload, &plan::setting(&args)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match Plan::new(&args) {
        Ok(plan) => comparison(plan),
        Err(error) if error.is::<Usage>() => {
            eprintln!("scx_takt bench: {error}");
            Ok(ExitCode::from(2))
        }
        Err(error) => Err(error),
    }
}

fn comparison(mut plan: Plan) -> Result<ExitCode> {
    let (json, report) = (plan.json.take(), plan.report.take());
    let interrupt = Interrupt::catch()?;
    let mut comparison = Comparison::new(&plan, &interrupt);
    let outcome = comparison.run();
    let (results, distributions) = comparison.finish();
    if let Some(json) = json {
        json.write(&(serde_json::to_string_pretty(&results)? + "\n"))?;
    }
    if let Some(file) = report {
        let context = report::Context {
            command: shlex::try_join(
                std::env::args()
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str),
            )
            .unwrap_or_default(),
            seed: plan.setting.seed,
            workloads: plan
                .workloads
                .iter()
                .map(|known| (known.name(), known.about()))
                .collect(),
            distributions: &distributions,
        };
        file.write(&report::draw(&results, &context)?)?;
    }
    print(&table::draw(&results))?;
    outcome?;
    verdict(&plan, &results)
}

/// Exit status: 1 if it was interrupted or a rule of `--gate` is broken.
fn verdict(plan: &Plan, results: &Results) -> Result<ExitCode> {
    if !results.complete {
        eprintln!(
            "scx_takt bench: interrupted after {} counted rounds",
            results.rounds
        );
        return Ok(ExitCode::FAILURE);
    }
    let mut status = ExitCode::SUCCESS;
    for scheduler in plan.gated() {
        for rule in &plan.rules {
            if let Some(violation) = rule.violation(scheduler, &results.results) {
                eprintln!("scx_takt bench: {violation}");
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

fn list() -> Result<ExitCode> {
    let mut text = String::new();
    for workload in workload::ALL {
        let metrics: Vec<String> = workload
            .metrics()
            .iter()
            .chain([&workload::IDLE_WHILE_RUNNABLE])
            .map(|metric| format!("{} ({})", metric.name, metric.unit))
            .collect();
        let (name, about) = (workload.name(), workload.about());
        text += &format!("{name:15} {about}\n{:15} {}\n", "", metrics.join(", "));
    }
    print(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints; a reader that has gone is a normal end.
fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

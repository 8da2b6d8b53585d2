//! Runs random worlds, and prints a summary, or the smallest world that fails.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use takt_sim::search::{Limit, search, survey, world_of};
use takt_sim::strategy::Wishes;
use takt_sim::topology::Topology;
use takt_sim::{machine, world_text};

/// Run the policy on simulated machines, and check its invariants
#[derive(Parser)]
#[command(name = "takt_sim", version)]
struct Cli {
    /// Seed of the first world; the next one has the next number
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How many worlds to run
    #[arg(long, default_value_t = 1000, value_name = "N")]
    worlds: u64,
    /// Run worlds for so many seconds, however many that are
    #[arg(long, conflicts_with = "worlds", value_name = "S")]
    seconds: Option<u64>,
    /// CPUs of all machines, in one LLC
    #[arg(long, conflicts_with = "topology", value_name = "N")]
    cpus: Option<usize>,
    /// Machine of all worlds: nodes, LLCs of each, cores of each, threads of each
    #[arg(long, value_name = "N:L:C[:T]")]
    topology: Option<Topology>,
    /// Known faults of the policy count, too
    #[arg(long)]
    strict: bool,
    /// Run the world of this file, as --show and failures print it, and print how it goes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "worlds", "seconds", "cpus", "topology"])]
    world: Option<PathBuf>,
    /// Print the world of the seed, and do not run it
    #[arg(long)]
    show: bool,
    /// Do not stop at a world that fails, nor make it smaller: one line for each
    #[arg(long, conflicts_with = "seconds")]
    survey: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let topology = match cli.cpus {
        Some(cpus) => {
            ensure!((1..=1024).contains(&cpus), "--cpus is from 1 to 1024");
            Some(Topology::flat(cpus))
        }
        None => cli.topology,
    };
    let mut out = std::io::stdout().lock();
    let wishes = Wishes {
        topology,
        is_strict: cli.strict,
    };
    if let Some(file) = &cli.world {
        return run_file(file, cli.strict, &mut out);
    }
    if cli.show {
        if let Some(world) = world_of(cli.seed, wishes) {
            write!(out, "{world}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if cli.survey {
        let found = survey(cli.seed, wishes, cli.worlds);
        for (seed, violation) in &found {
            writeln!(out, "seed {seed}: {violation}")?;
        }
        writeln!(out, "{} of {} worlds fail", found.len(), cli.worlds)?;
        return Ok(ExitCode::from(u8::from(!found.is_empty())));
    }
    let limit = cli.seconds.map_or(Limit::Worlds(cli.worlds), |s| {
        Limit::Time(Duration::from_secs(s))
    });
    let summary = search(cli.seed, wishes, limit);
    writeln!(out, "{summary}")?;
    Ok(match summary.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            writeln!(out, "\n{failure}")?;
            ExitCode::FAILURE
        }
    })
}

/// Runs one world, and prints the last of what happens, CPU time and longest waits.
fn run_file(file: &Path, is_strict: bool, out: &mut impl Write) -> Result<ExitCode> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut world =
        world_text::parse(&text).with_context(|| format!("{} is no world", file.display()))?;
    world.is_strict = is_strict;
    let outcome = machine::run_recorded(&world);
    for line in &outcome.timeline {
        writeln!(out, "{line}")?;
    }
    for (task, (ran_ns, wait_ns)) in outcome
        .ran_ns
        .iter()
        .zip(&outcome.longest_wait_ns)
        .enumerate()
    {
        let (ran_ms, wait_ms) = (*ran_ns as f64 / 1e6, *wait_ns as f64 / 1e6);
        writeln!(
            out,
            "T{task}: ran for {ran_ms:.3} ms, waited for {wait_ms:.3} ms at most"
        )?;
    }
    Ok(match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            writeln!(out, "{violation}")?;
            ExitCode::FAILURE
        }
    })
}

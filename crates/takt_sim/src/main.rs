//! Runs random worlds, and prints a summary, or the smallest world that fails.

use anyhow::{Result, ensure};
use clap::Parser;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;
use takt_sim::search::{Limit, search, survey, world_of};
use takt_sim::strategy::Wishes;
use takt_sim::topology::Topology;

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

//! scx_takt: a `sched_ext` CPU scheduler.

mod bench;
mod cli;
mod stress;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let result = match cli.command {
        Some(cli::Command::Bench(args)) => bench::run(args),
        Some(cli::Command::Stress(args)) => stress::run(args),
        None => Ok(ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("scx_takt: {error:#}");
        ExitCode::FAILURE
    })
}

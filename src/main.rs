//! scx_takt: a `sched_ext` CPU scheduler.

mod bench;
mod bpf_abi;
mod check;
mod cli;
mod config;
mod control;
mod events;
mod generate;
mod knob_writer;
mod observe;
mod power;
mod rules;
mod scheduler;
mod signals;
mod snapshot;
mod stats;
mod stress;
mod topology;
mod tuner;
mod wakeups;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let result = match cli.command {
        None => scheduler::run(&cli.run),
        Some(cli::Command::Check(args)) => check::run(&args),
        Some(cli::Command::Config(args)) => config::command::run(&args),
        Some(cli::Command::Bench(args)) => bench::run(args),
        Some(cli::Command::Observe(args)) => observe::run(&args),
        Some(cli::Command::Stress(args)) => stress::run(args),
        Some(cli::Command::Generate(args)) => generate::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("scx_takt: {error:#}");
        if error.is::<config::Wrong>() {
            ExitCode::from(2)
        } else {
            ExitCode::FAILURE
        }
    })
}

//! scx_takt: a `sched_ext` CPU scheduler.
//!
//! A library only so that what is made of the command line at build time (`examples/generate.rs`) can be
//! made of the same [`cli::Cli`] that the program reads. Nothing here is a stable interface.

mod agent;
mod base;
mod bench;
mod bpf_abi;
pub mod cli;
mod collect;
mod commands;
mod config;
mod events;
mod observe;
mod signals;
mod snapshot;
mod state;
mod stats;
mod stress;
mod top;
mod topology;
mod tuner;
mod wakeups;
mod why;

use std::process::ExitCode;

use clap::Parser;

/// The program: reads its arguments, does what they say, and returns the exit status.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let result = match cli.command {
        None if cli.run.help_stats => commands::stats::help(),
        None if cli.run.monitor.is_some() => commands::stats::monitor(&cli.run),
        None => agent::lifecycle::run(&cli.run),
        Some(cli::Command::Check(args)) => commands::check::run(&args),
        Some(cli::Command::Config(args)) => commands::config::run(&args),
        Some(cli::Command::Rules(args)) => commands::rules::run(&args),
        Some(cli::Command::Top(args)) => top::run(&args),
        Some(cli::Command::Stats(args)) => commands::stats::run(&args),
        Some(cli::Command::Keep) => commands::keep::run(),
        Some(cli::Command::Bench(args)) => bench::run(args),
        Some(cli::Command::Observe(args)) => commands::observe::run(&args),
        Some(cli::Command::Why(args)) => commands::why::run(&args),
        Some(cli::Command::Stress(args)) => stress::run(args),
        Some(cli::Command::Load { args }) => bench::load::run(args),
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

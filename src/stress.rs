//! A mixed load that tries to break a scheduler.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::StressArgs;

/// Runs the load for `args.seconds`.
pub fn run(_args: StressArgs) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}

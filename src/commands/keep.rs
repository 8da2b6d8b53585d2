//! `scx_takt keep`: what was started with `--try` stays.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::base::output;
use crate::stats::server::SOCKET;
use crate::stats::source;

/// Keeps it.
///
/// # Errors
/// If no scx_takt is on trial, or it may not be asked.
pub fn run() -> Result<ExitCode> {
    let client = source::connect(Path::new(SOCKET));
    let mut client = client.context("no scx_takt to keep (use sudo)")?;
    let answer: String = client.request("keep", vec![])?;
    let _ = output::print(&answer)?;
    Ok(ExitCode::SUCCESS)
}

//! `scx_takt keep`: what was started with `--try` stays.

use std::process::ExitCode;

use anyhow::{Context, Result};
use scx_stats::StatsClient;

use crate::base::output;
use crate::stats::server::SOCKET;

/// How long the agent may take to answer.
const TIMEOUT_MS: u64 = 5_000;

/// Keeps it.
///
/// # Errors
/// If no scx_takt is on trial, or it may not be asked.
pub fn run() -> Result<ExitCode> {
    let client = StatsClient::new().set_path(SOCKET);
    let mut client = client
        .connect(Some(TIMEOUT_MS))
        .with_context(|| format!("no scx_takt to keep: cannot connect to {SOCKET} (use sudo)"))?;
    let answer: String = client.request("keep", vec![])?;
    let _ = output::print(&answer)?;
    Ok(ExitCode::SUCCESS)
}

//! `scx_takt config`: check a file, show every key.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::base::output;
use crate::cli::ConfigArgs;
use crate::config::file::Source;
use crate::config::{Config, DEFAULT_PATH, keys};

/// Checks or prints, as asked.
///
/// # Errors
/// If the file is wrong (then it is a [`crate::config::Wrong`]) or the answer cannot be written.
pub fn run(args: &ConfigArgs) -> Result<ExitCode> {
    if args.print_default {
        let _ = output::print(keys::print_default().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = args.check.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    let config = Config::check(&Source::read(path)?, path)?;
    for warning in &config.warnings {
        eprintln!("scx_takt: warning: {warning}");
    }
    let _ = output::print(&format!(
        "{}: ok; profile {}, {} rules",
        path.display(),
        config.profile.name(),
        config.rules.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

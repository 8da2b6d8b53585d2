//! Lines for standard output.

use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::{Context, Result};

/// Prints a line; a reader that has gone away is a normal end (`Break`).
///
/// # Errors
/// If standard output cannot be written to for another reason.
pub fn print(line: &str) -> Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

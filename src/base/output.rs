//! Lines for people: on standard output, with nothing in them that a terminal would obey.

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

/// A name that can be printed: control characters become escapes.
pub fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escaped("a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(escaped("ü\u{9b}"), "ü\\u{9b}");
    }
}

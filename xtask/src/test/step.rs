//! One step of `cargo xtask test`: a command, its output, its duration and its tally.

use super::tally::Tally;
use crate::ui::{self, Tone};
use anyhow::{Context, Result};
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs steps one after another and adds up their tallies.
pub struct Runner {
    /// The tally of all steps so far.
    pub total: Tally,
    to_terminal: bool,
}

impl Runner {
    /// A runner without steps.
    pub fn new() -> Self {
        Self {
            total: Tally::default(),
            to_terminal: io::stdout().is_terminal(),
        }
    }

    /// Runs a command that counts as one check.
    pub fn check(&mut self, name: &str, command: Command) -> Result<()> {
        self.run(name, command, |_, succeeded| Tally::one(succeeded))
    }

    /// Runs a command that runs tests.
    pub fn tests(&mut self, name: &str, command: Command) -> Result<()> {
        self.run(name, command, Tally::of_tests)
    }

    /// Notes a step that is left out.
    pub fn skip(&mut self, name: &str, reason: &str) {
        println!(
            "{} {name}: {reason}",
            ui::paint("skip", Tone::Faint, self.to_terminal)
        );
        self.total += Tally::skip(&format!("{name}: {reason}"));
    }

    fn run(
        &mut self,
        name: &str,
        command: Command,
        count: impl Fn(&str, bool) -> Tally,
    ) -> Result<()> {
        let started = Instant::now();
        if !self.to_terminal {
            // A log should show which step is running.
            println!("...  {name}");
        }
        let (output, succeeded) = capture(name, command)?;
        let tally = count(&output, succeeded);
        let passed = succeeded && tally.failed == 0;
        if !passed {
            println!("{}", output.trim_end());
        }
        let (word, tone) = if passed {
            ("ok  ", Tone::Good)
        } else {
            ("FAIL", Tone::Bad)
        };
        let mark = ui::paint(word, tone, self.to_terminal);
        let counted = if tally == Tally::one(passed) {
            String::new()
        } else {
            format!(": {tally}")
        };
        println!(
            "{mark} {name}{counted} ({:.1} s)",
            started.elapsed().as_secs_f64()
        );
        self.total += tally;
        Ok(())
    }
}

/// Runs a command. Returns its output, both streams as one, and whether it succeeded. The spinner shows the last
/// line.
fn capture(name: &str, mut command: Command) -> Result<(String, bool)> {
    let (reader, writer) = io::pipe().context("cannot create a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    // It has the writing ends of the pipe: without this the reader would not see the end.
    drop(command);
    let spinner = ui::spinner(name);
    let mut output = String::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .context("cannot read a step's output")?
        > 0
    {
        let text = String::from_utf8_lossy(&line);
        spinner.set_message(format!("{name}: {:.60}", text.trim()));
        output.push_str(&text);
        line.clear();
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for {name}"))?;
    spinner.finish_and_clear();
    Ok((output, status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_returns_both_streams_and_the_status() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let (output, succeeded) = capture("test", command).unwrap();
        assert_eq!(output, "one\ntwo\n");
        assert!(!succeeded);
    }

    #[test]
    fn failed_step_counts_and_the_next_one_runs() {
        let mut runner = Runner::new();
        runner.check("no", Command::new("false")).unwrap();
        runner.check("yes", Command::new("true")).unwrap();
        assert_eq!(runner.total.to_string(), "1 passed, 1 failed");
    }
}

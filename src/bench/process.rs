//! Child processes: own process group, output kept, never outliving the bench.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::base::wait;

/// As much of a log as is kept in memory.
const LOG_BYTES: u64 = 1 << 20;

/// A running child.
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    stdout: File,
    stderr: File,
}

impl Process {
    /// Starts `program` with its output going to unnamed files.
    pub fn start(mut command: Command) -> Result<Self> {
        let stdout = tempfile::tempfile().context("cannot make a temporary file")?;
        let stderr = tempfile::tempfile().context("cannot make a temporary file")?;
        command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .process_group(0);
        // SAFETY: prctl is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let pidfd = wait::pidfd(&child)?;
        Ok(Self {
            child,
            pidfd,
            stdout,
            stderr,
        })
    }

    /// What to poll for its end.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Has it ended? Does not wait.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for a process")
    }

    /// Signals its whole group until it has ended: each of `signals` gets `patience`, then SIGKILL.
    pub fn end(&mut self, signals: &[Signal], patience: Duration) -> Result<ExitStatus> {
        let group = Pid::from_raw(self.child.id() as i32);
        for signal in signals {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            // It may have ended in between: then there is nothing to signal.
            let _ = killpg(group, *signal);
            self.wait_for(patience);
        }
        if self.status()?.is_none() {
            let _ = killpg(group, Signal::SIGKILL);
        }
        self.child.wait().context("cannot wait for a process")
    }

    fn wait_for(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while wait::ready(
            &[self.fd()],
            until.saturating_duration_since(Instant::now()),
        )
        .is_none()
            && Instant::now() < until
        {}
    }

    /// What it wrote to standard output so far.
    pub fn output(&mut self) -> Result<String> {
        read_all(&mut self.stdout)
    }

    /// What it wrote so far to standard error, or, if that is nothing, to standard output.
    pub fn log(&mut self) -> String {
        let errors = read_all(&mut self.stderr).unwrap_or_default();
        if errors.trim().is_empty() {
            self.output().unwrap_or_default()
        } else {
            errors
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the child dies with the bench at the latest.
        let _ = self.end(&[], Duration::ZERO);
    }
}

fn read_all(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a log says best of why a process ended: the kernel's exit reason as scx schedulers print
/// it, else an error with its causes, else the last line.
pub fn reason_in(log: &str) -> Option<String> {
    let clean = strip_escapes(log);
    let lines: Vec<&str> = clean
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let exit = || lines.iter().find_map(|line| line.split_once("EXIT: "));
    let error = || lines.iter().rposition(|line| line.starts_with("Error: "));
    if let Some((_, reason)) = exit() {
        return Some(reason.to_owned());
    }
    if let Some(first) = error() {
        let told = lines
            .iter()
            .skip(first)
            .filter(|line| **line != "Caused by:");
        return Some(told.copied().collect::<Vec<_>>().join(": "));
    }
    lines.last().map(|line| (*line).to_owned())
}

/// Leaves out terminal escapes such as colours.
fn strip_escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            clean.push(character);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_reason_wins_over_noise() {
        let log = "starting\n12:00 [INFO] EXIT: runnable task stall (cat[12] failed to run)\nbye\n";
        assert_eq!(
            reason_in(log).unwrap(),
            "runnable task stall (cat[12] failed to run)"
        );
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let log = "libbpf: noise\nError: cannot load\n\nCaused by:\n    no BTF\n";
        assert_eq!(reason_in(log).unwrap(), "Error: cannot load: no BTF");
        assert_eq!(reason_in("one\ntwo\n\n").unwrap(), "two");
        assert_eq!(reason_in(" \n"), None);
    }

    #[test]
    fn colours_are_left_out() {
        assert_eq!(reason_in("\u{1b}[31mEXIT: gone\u{1b}[0m").unwrap(), "gone");
    }

    #[test]
    fn a_process_that_ignores_signals_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' INT TERM; while :; do sleep 0.05; done"]);
        let mut process = Process::start(command).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let patience = Duration::from_millis(100);
        let status = process
            .end(&[Signal::SIGINT, Signal::SIGTERM], patience)
            .unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    }

    #[test]
    fn output_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2"]);
        let mut process = Process::start(command).unwrap();
        process.wait_for(Duration::from_secs(10));
        assert_eq!(
            (process.output().unwrap().as_str(), process.log().as_str()),
            ("out\n", "err\n")
        );
    }
}

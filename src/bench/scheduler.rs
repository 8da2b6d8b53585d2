//! The life of one scheduler in the comparison: start, wait until the kernel has enabled it, notice if
//! it is ejected, stop it, and see the kernel back on EEVDF.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use scx_ops::lifecycle;
use scx_ops::sched_ext::{self, Active, Status};

use super::process::{Process, reason_in};
use super::uevents::Uevents;
use crate::base::wait;
use crate::signals::Interrupt;

/// How often the state is looked at when no event of the kernel says that it changed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the kernel may take to go back to EEVDF once the scheduler's process is gone.
const RETURN_LIMIT: Duration = Duration::from_secs(60);
/// How long a scheduler that was ejected may take to say why and end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From start until enabled.
    pub load: Duration,
    /// From a signal until the next, harder one.
    pub stop: Duration,
    /// One run of one workload.
    pub workload: Duration,
}

/// A scheduler under test.
#[derive(Clone, Debug)]
pub struct Scheduler {
    /// Name in the results.
    pub name: String,
    /// Program and arguments; none is EEVDF.
    pub command: Option<(PathBuf, Vec<String>)>,
}

impl Scheduler {
    /// The command line as one would type it; empty for EEVDF.
    pub fn command_line(&self) -> String {
        let Some((program, arguments)) = &self.command else {
            return String::new();
        };
        let program = program.to_string_lossy().into_owned();
        let words = std::iter::once(program.as_str()).chain(arguments.iter().map(String::as_str));
        // Only a NUL cannot be quoted, and none can come from a command line.
        shlex::try_join(words).unwrap_or_default()
    }
}

/// A scheduler that the kernel has enabled.
pub struct Loaded {
    process: Process,
    /// What the kernel's count will be while this is the only time that it was enabled.
    enable_seq: u64,
    limits: Limits,
    /// Name of its ops.
    pub ops: String,
    /// From start until enabled, in seconds.
    pub load_s: f64,
}

/// How a start went.
pub enum Start {
    /// Enabled.
    Loaded(Loaded),
    /// It did not come up, and why.
    Failed(String),
    /// The user wants to end.
    Interrupted,
}

/// Starts a scheduler and waits until the kernel has enabled it.
pub fn start(
    program: &PathBuf,
    arguments: &[String],
    limits: Limits,
    interrupt: &Interrupt,
) -> Result<Start> {
    let uevents = Uevents::listen();
    let mut command = Command::new(program);
    command.args(arguments);
    let enable_seq = enable_seq(&Status::read()?) + 1;
    let started = Instant::now();
    let mut process = match Process::start(command) {
        Ok(process) => process,
        Err(error) => return Ok(Start::Failed(format!("did not start: {error:#}"))),
    };
    while started.elapsed() < limits.load {
        if let Some(ops) = sched_ext::active()?.ops() {
            let load_s = started.elapsed().as_secs_f64();
            return Ok(Start::Loaded(Loaded {
                process,
                enable_seq,
                limits,
                ops,
                load_s,
            }));
        }
        if let Some(status) = process.status()? {
            let reason = reason_in(&process.log()).unwrap_or_else(|| status.to_string());
            wait_until_back()?;
            return Ok(Start::Failed(format!("did not load: {reason}")));
        }
        if interrupt.raised() {
            stop(&mut process, limits)?;
            return Ok(Start::Interrupted);
        }
        let fds = [Some(interrupt.fd()), Some(process.fd()), uevents.fd()];
        wait::ready(&fds.into_iter().flatten().collect::<Vec<_>>(), LOOK_AGAIN);
        uevents.drain();
    }
    stop(&mut process, limits)?;
    Ok(Start::Failed(format!(
        "did not load within {} s",
        limits.load.as_secs()
    )))
}

impl Loaded {
    /// What to poll: readable once its process has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.process.fd()
    }

    /// Why the kernel (or the scheduler itself) has ended it in mid-run, if so.
    pub fn ejected(&mut self) -> Result<Option<String>> {
        let ended = self.process.status()?;
        let status = Status::read()?;
        let is_same = enable_seq(&status) <= self.enable_seq;
        if ended.is_none() && is_same && status.active().ops().is_some() {
            return Ok(None);
        }
        wait::ready(&[self.process.fd()], LAST_WORDS);
        let status = self.process.status()?;
        let reason = reason_in(&self.process.log());
        Ok(Some(reason.unwrap_or_else(|| match status {
            Some(status) => format!("its process ended ({status})"),
            None => "the kernel disabled it".to_owned(),
        })))
    }

    /// Stops it and waits for EEVDF.
    pub fn stop(mut self) -> Result<()> {
        stop(&mut self.process, self.limits)
    }
}

fn stop(process: &mut Process, limits: Limits) -> Result<()> {
    process.end(&[Signal::SIGINT, Signal::SIGTERM], limits.stop)?;
    wait_until_back()
}

/// How often the kernel says that a scheduler was enabled.
fn enable_seq(status: &Status) -> u64 {
    status.enable_seq.unwrap_or(0)
}

/// Waits until the kernel schedules with EEVDF again.
fn wait_until_back() -> Result<()> {
    Ok(lifecycle::wait_until(RETURN_LIMIT, Active::is_kernel)?)
}

/// Refuses to start while another scheduler is at work.
pub fn refuse_if_active() -> Result<()> {
    let active = sched_ext::active()?;
    if !active.is_kernel() {
        return Err(scx_ops::Error::OtherScheduler(active).into());
    }
    Ok(())
}

/// Reads `--against`: comma separated commands; commas and spaces in quotes do not count.
pub fn parse_against(lists: &[String]) -> Result<Vec<Scheduler>> {
    let mut schedulers = Vec::new();
    for entry in lists.iter().flat_map(|list| split_outside_quotes(list)) {
        let words = shlex::split(&entry)
            .with_context(|| format!("--against: unbalanced quotes in '{entry}'"))?;
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        if program == "eevdf" && arguments.is_empty() {
            continue;
        }
        schedulers.push(Scheduler {
            name: name_of(program, arguments),
            command: Some((find_program(program)?, arguments.to_vec())),
        });
    }
    Ok(schedulers)
}

fn name_of(program: &str, arguments: &[String]) -> String {
    let base = program.rsplit('/').next().unwrap_or(program);
    std::iter::once(base)
        .chain(arguments.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Gives the second of two equal names a number.
pub fn make_names_unique(schedulers: &mut [Scheduler]) {
    for index in 1..schedulers.len() {
        let (before, after) = schedulers.split_at_mut(index);
        let Some(current) = after.first_mut() else {
            continue;
        };
        let base = current.name.clone();
        let mut number = 2;
        while before.iter().any(|other| other.name == current.name) {
            current.name = format!("{base}#{number}");
            number += 1;
        }
    }
}

/// `scx_takt` is this very binary; anything else is looked up as a shell would.
fn find_program(program: &str) -> Result<PathBuf> {
    if program == env!("CARGO_PKG_NAME") {
        return this_program();
    }
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program));
    found
        .into_iter()
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("--against: there is no '{program}' in PATH"))
}

/// The file of this program.
pub fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}

fn split_outside_quotes(list: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut quote = None;
    for character in list.chars() {
        match (quote, character) {
            (None, ',') => entries.push(String::new()),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
        if (quote, character) != (None, ',')
            && let Some(entry) = entries.last_mut()
        {
            entry.push(character);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        let found = parse_against(&[list.to_owned()]).unwrap();
        found.into_iter().map(|scheduler| scheduler.name).collect()
    }

    #[test]
    fn against_is_split_at_commas_but_not_in_quotes() {
        assert_eq!(names("eevdf"), [""; 0]);
        assert_eq!(names("eevdf,/x/a --b 1,/x/c"), ["a --b 1", "c"]);
        assert_eq!(names("/x/a --cpus '0,1'"), ["a --cpus 0,1"]);
        assert!(parse_against(&["/x/a 'b".to_owned()]).is_err());
    }

    #[test]
    fn an_unknown_program_is_named() {
        let error = parse_against(&["scx_nowhere".to_owned()]).unwrap_err();
        assert!(format!("{error}").contains("'scx_nowhere'"));
    }

    #[test]
    fn equal_names_get_numbers() {
        let mut found = parse_against(&["/a/x,/b/x,/c/x".to_owned()]).unwrap();
        make_names_unique(&mut found);
        let names: Vec<_> = found
            .iter()
            .map(|scheduler| scheduler.name.as_str())
            .collect();
        assert_eq!(names, ["x", "x#2", "x#3"]);
    }

    #[test]
    fn a_command_line_can_be_typed_again() {
        let found = parse_against(&["/x/a --cpus '0,1 2'".to_owned()]).unwrap();
        assert_eq!(found[0].command_line(), "/x/a --cpus '0,1 2'");
    }
}

//! Writes events to standard output as they come.

use std::fs;
use std::ops::ControlFlow;

use anyhow::Result;
use scx_ops::ring::Imbalance;

use super::event_reader::Account;
use super::readable_event::{Places, ReadableEvent};
use crate::base::output;
use crate::bpf_abi::intf::{takt_event, takt_tunables};
use crate::cli::{EventFormat, RunArgs};
use crate::config::tunables;
use crate::topology::Machine;

/// Prints events as the flags want them.
pub struct Printer {
    format: Option<EventFormat>,
    with_stats: bool,
    places: Places,
    /// What went wrong with standard output, or that its reader went away (`Ok`).
    ended: Option<Result<()>>,
}

impl Printer {
    /// A printer for a run on `machine`.
    pub fn new(args: &RunArgs, machine: &Machine) -> Self {
        let llcs = machine.llc_of_cpu.iter();
        Self {
            format: args.events,
            with_stats: args.stats.is_some(),
            places: Places {
                llc_of_cpu: llcs.map(|llc| llc.unwrap_or(0).into()).collect(),
                node_of_llc: machine.node_of_llc.clone(),
            },
            ended: None,
        }
    }

    /// Emits an event from the ring.
    pub fn note(&mut self, event: &takt_event) {
        if self.format.is_some() || self.with_stats {
            let readable = ReadableEvent::new(event, &self.places, comm_of);
            if self.format.is_some() || !matches!(readable, ReadableEvent::Exit { .. }) {
                self.emit(&readable);
            }
        }
    }

    /// An event in words; `None` for the end, which needs none.
    pub fn words(&self, event: &takt_event) -> Option<String> {
        let readable = ReadableEvent::new(event, &self.places, comm_of);
        (!matches!(readable, ReadableEvent::Exit { .. })).then(|| readable.to_string())
    }

    /// Emits which tunables differ.
    pub fn tunables(&mut self, from: &takt_tunables, to: &takt_tunables, reason: &str) {
        if self.format.is_none() {
            return;
        }
        for (tunable, from, to) in tunables::changed(from, to) {
            self.emit(&ReadableEvent::Tunable {
                tunable,
                from,
                to,
                reason: reason.to_owned(),
            });
        }
    }

    /// Emits what became of a configuration that was read again.
    pub fn config(&mut self, taken: bool, what: &str) {
        if self.format.is_some() {
            let what = what.to_owned();
            self.emit(&ReadableEvent::Config { taken, what });
        }
    }

    /// Emits, on standard error as well, that events were lost without being counted.
    pub fn imbalance(&mut self, imbalance: Imbalance) {
        eprintln!("scx_takt: FAULT: {imbalance}: please report it");
        if self.format.is_some() {
            self.emit(&ReadableEvent::imbalance(imbalance));
        }
    }

    /// Emits what became of all events.
    pub fn account(&mut self, account: Account) {
        if self.format.is_some() {
            self.emit(&ReadableEvent::Account(account));
        }
    }

    /// `Break` once the reader has gone away, which is a normal end.
    ///
    /// # Errors
    /// If standard output could not be written to for another reason.
    pub fn ended(&mut self) -> Result<ControlFlow<()>> {
        match self.ended.take() {
            None => Ok(ControlFlow::Continue(())),
            Some(result) => result.map(|()| ControlFlow::Break(())),
        }
    }

    fn emit(&mut self, readable: &ReadableEvent) {
        if self.ended.is_some() {
            return;
        }
        let text = match (self.format, readable.at_ns()) {
            (Some(EventFormat::Json), _) => match serde_json::to_string(readable) {
                Ok(json) => json,
                Err(error) => {
                    self.ended = Some(Err(error.into()));
                    return;
                }
            },
            (Some(EventFormat::Lines), Some(at_ns)) => {
                format!("{:.6} {readable}", at_ns as f64 / 1e9)
            }
            _ => readable.to_string(),
        };
        self.ended = match output::print(&text) {
            Ok(ControlFlow::Continue(())) => None,
            Ok(ControlFlow::Break(())) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
    }
}

/// The name of a task, if it is still there.
fn comm_of(pid: i32) -> String {
    match pid {
        0 => String::new(),
        _ => fs::read_to_string(format!("/proc/{pid}/comm"))
            .map(|comm| comm.trim_end().to_owned())
            .unwrap_or_default(),
    }
}

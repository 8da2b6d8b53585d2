//! `pipe`: round trips of one byte between two processes over pipes.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::unistd;

use super::roundtrip::{self, Channel};
use super::sync::all;
use super::{Metric, Outcome, Setting, Workload};

/// See the module.
pub struct Pipe;

/// One pipe, both ends.
pub struct PipeChannel {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl PipeChannel {
    /// Opens a pipe.
    pub fn new() -> Result<Self> {
        let (reader, writer) = unistd::pipe().context("cannot open a pipe")?;
        Ok(Self { reader, writer })
    }
}

impl Channel for PipeChannel {
    fn post(&self) -> Result<()> {
        all(|_| unistd::write(&self.writer, &[1]), 1)
    }

    fn wait(&self) -> Result<()> {
        all(|_| unistd::read(&self.reader, &mut [0]), 1)
    }
}

impl Workload for Pipe {
    fn name(&self) -> &'static str {
        "pipe"
    }

    fn about(&self) -> &'static str {
        "round trips of one byte between two processes over pipes"
    }

    fn metrics(&self) -> &'static [Metric] {
        &roundtrip::METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let trips = roundtrip::usual_trips(setting);
        roundtrip::measure(trips, &PipeChannel::new()?, &PipeChannel::new()?)
    }
}

//! `socket`: round trips of one byte between two processes over Unix sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};

use super::roundtrip::{self, Channel};
use super::{Metric, Outcome, Setting, Workload};

/// See the module.
pub struct Socket;

/// A connected pair of stream sockets, used one way.
struct SocketChannel {
    reader: UnixStream,
    writer: UnixStream,
}

impl SocketChannel {
    fn new() -> Result<Self> {
        let (reader, writer) = UnixStream::pair().context("cannot make a pair of sockets")?;
        Ok(Self { reader, writer })
    }
}

impl Channel for SocketChannel {
    fn post(&self) -> Result<()> {
        (&self.writer)
            .write_all(&[1])
            .context("cannot write to a socket")
    }

    fn wait(&self) -> Result<()> {
        (&self.reader)
            .read_exact(&mut [0])
            .context("cannot read from a socket")
    }
}

impl Workload for Socket {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn about(&self) -> &'static str {
        "round trips of one byte between two processes over Unix sockets"
    }

    fn metrics(&self) -> &'static [Metric] {
        &roundtrip::METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let trips = roundtrip::usual_trips(setting);
        roundtrip::measure(trips, &SocketChannel::new()?, &SocketChannel::new()?)
    }
}

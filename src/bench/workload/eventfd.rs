//! `eventfd`: round trips between two processes over eventfds.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::roundtrip::{self, Channel};
use super::{Metric, Outcome, Setting, Workload};

/// See the module.
pub struct Eventfd;

/// One eventfd, which counts posts: none is lost when several come before a wait.
pub struct EventChannel(EventFd);

impl EventChannel {
    /// Opens one that counts nothing yet.
    pub fn new() -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_SEMAPHORE;
        EventFd::from_flags(flags)
            .map(Self)
            .context("cannot make an eventfd")
    }
}

impl Channel for EventChannel {
    fn post(&self) -> Result<()> {
        self.0.write(1).map(drop).context("cannot write an eventfd")
    }

    fn wait(&self) -> Result<()> {
        loop {
            match self.0.read() {
                Err(Errno::EINTR) => {}
                result => return result.map(drop).context("cannot read an eventfd"),
            }
        }
    }
}

impl Workload for Eventfd {
    fn name(&self) -> &'static str {
        "eventfd"
    }

    fn about(&self) -> &'static str {
        "round trips between two processes over eventfds"
    }

    fn metrics(&self) -> &'static [Metric] {
        &roundtrip::METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let trips = roundtrip::usual_trips(setting);
        roundtrip::measure(trips, &EventChannel::new()?, &EventChannel::new()?)
    }
}

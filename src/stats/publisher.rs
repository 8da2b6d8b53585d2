//! The agent's side of the channel: answers readers between its other duties.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::server::{SOCKET, Server, listen};
use super::snapshot_channel::SnapshotChannel;
use crate::base::clock;
use crate::bpf_abi::{BpfSkel, intf};
use crate::cli::RunArgs;
use crate::collect::{self, Agent, Attachment};
use crate::config::profile::Profile;
use crate::events::{self, Printer};
use crate::tuner::Change;

/// Lives as long as the agent; the scheduler may be loaded again meanwhile.
pub struct Publisher {
    /// What goes into a snapshot beside what can be measured.
    pub agent: Agent,
    channel: Arc<SnapshotChannel>,
    metrics: Option<TcpListener>,
    server: Option<Server>,
    attachment: Option<Attachment>,
}

impl Publisher {
    /// Closed, until the scheduler is attached.
    ///
    /// # Errors
    /// If metrics are to be served at an address that cannot be had.
    pub fn new(metrics: Option<SocketAddr>) -> Result<Self> {
        Ok(Self {
            agent: Agent::default(),
            channel: SnapshotChannel::new()?,
            metrics: metrics.map(listen).transpose()?,
            server: None,
            attachment: None,
        })
    }

    /// The scheduler is attached, with these tunables: from now on readers are answered. That there can be
    /// no statistics is said, but is no reason not to schedule.
    pub fn open(&mut self, skel: &BpfSkel<'_>, tunables: &intf::takt_tunables) {
        self.agent.set_tunables(tunables);
        self.attachment = Attachment::new(skel).map_err(complain).ok();
        if self.server.is_some() {
            self.agent.restarts += 1;
            return;
        }
        let server = Server::start(
            Arc::clone(&self.channel),
            Path::new(SOCKET),
            self.metrics.take(),
        );
        self.server = server.map_err(complain).ok();
    }

    /// Readable when a reader asks.
    pub fn asked(&self) -> BorrowedFd<'_> {
        self.channel.wanted()
    }

    /// Readers may keep what is on trial.
    pub fn offer_to_keep(&self) {
        self.channel.offer_to_keep();
    }

    /// Has a reader kept it?
    pub fn is_kept(&self) -> bool {
        self.channel.is_kept()
    }

    /// Has counted what is wanted: by the agent's own flags, the tuner (`tunes`: it goes by
    /// wakeups), or a viewer.
    pub fn count(&self, skel: &mut BpfSkel<'_>, args: &RunArgs, tunes: bool) {
        let watched = self.channel.watched();
        let viewed = if watched { events::VIEWED } else { 0 };
        if let Some(bss) = skel.maps.bss_data.as_mut() {
            bss.stats_watched = watched || args.stats.is_some() || args.events.is_some();
            bss.wakeups_watched = watched || tunes;
            bss.events_wanted = events::wanted(args) | viewed;
        }
    }

    /// The profile in force, and the tunables that were set.
    pub fn follow(&mut self, profile: Profile, changes: &[Change]) {
        profile.name().clone_into(&mut self.agent.profile);
        for change in changes {
            self.agent.note_change(change);
        }
    }

    /// Keeps what became of a configuration that was read again for later readers.
    pub fn note_reload(&mut self, what: &str) {
        if self.channel.watched() {
            let words = format!("configuration: {what}");
            self.agent.note(clock::monotonic_ns(), words);
        }
    }

    /// Answers the readers that have asked.
    pub fn answer(&mut self, skel: &mut BpfSkel<'_>) {
        if !self.channel.take_request() {
            return;
        }
        if let Some(attachment) = &mut self.attachment {
            match self.agent.snapshot(skel, attachment) {
                Ok(mut snapshot) => {
                    let wanted = self.channel.wants_limits();
                    snapshot.limits = wanted.then(|| collect::limits_of(skel));
                    self.channel.publish(snapshot);
                }
                Err(error) => {
                    complain(error);
                    self.attachment = None;
                }
            }
        }
    }

    /// Keeps an event for later readers.
    pub fn note(&mut self, event: &intf::takt_event, printer: &Printer) {
        if self.channel.watched()
            && let Some(words) = printer.words(event)
        {
            self.agent.note(event.at_ns, words);
        }
    }
}

fn complain(error: anyhow::Error) {
    eprintln!("scx_takt: no statistics: {error:#}");
}

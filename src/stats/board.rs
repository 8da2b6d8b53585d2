//! Where the agent puts the latest picture, and where readers ask for a new one.
//!
//! The agent never waits for a reader, and collects nothing while nobody asks: a request raises an event
//! that wakes the agent, and keeps collection on for a while (a lease).

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::watch;

use crate::collect::monotonic_ns;
use crate::snapshot::Snapshot;

/// A picture this young is given again: many readers cost no more than a few.
const FRESH: Duration = Duration::from_millis(50);
/// How long a reader waits for a new picture before it takes the last one.
const PATIENCE: Duration = Duration::from_secs(2);
/// The least time for which a request keeps collection on.
pub const LEASE: Duration = Duration::from_secs(5);
/// The most.
const LONGEST_LEASE: Duration = Duration::from_secs(3 * 3600);

/// Shared by the agent and the servers.
pub struct Board {
    latest: watch::Sender<Option<Arc<Snapshot>>>,
    wanted: EventFd,
    watched_until_ns: AtomicU64,
}

impl Board {
    /// An empty one.
    ///
    /// # Errors
    /// If the system is out of descriptors.
    pub fn new() -> Result<Arc<Self>> {
        let wanted = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        Ok(Arc::new(Self {
            latest: watch::Sender::new(None),
            wanted: wanted.context("cannot make an event")?,
            watched_until_ns: AtomicU64::new(0),
        }))
    }

    /// For the agent: readable while a picture is asked for.
    pub fn wanted(&self) -> BorrowedFd<'_> {
        self.wanted.as_fd()
    }

    /// For the agent: does somebody watch?
    pub fn watched(&self) -> bool {
        monotonic_ns() < self.watched_until_ns.load(Ordering::Relaxed)
    }

    /// For the agent: has somebody asked since the last time?
    pub fn take_request(&self) -> bool {
        self.wanted.read().is_ok()
    }

    /// For the agent: here is a picture, for all who have asked so far.
    pub fn publish(&self, snapshot: Snapshot) {
        self.latest.send_replace(Some(Arc::new(snapshot)));
    }

    /// For a reader that will be back after about `interval`: a picture that is fresh, or the last one
    /// when the agent does not answer in time; `None`: there never was one.
    pub async fn ask(&self, interval: Duration) -> Option<Arc<Snapshot>> {
        let lease = (3 * interval.min(LONGEST_LEASE)).clamp(LEASE, LONGEST_LEASE);
        let now = monotonic_ns();
        self.watched_until_ns
            .fetch_max(now + lease.as_nanos() as u64, Ordering::Relaxed);
        let mut latest = self.latest.subscribe();
        if let Some(snapshot) = &*latest.borrow_and_update()
            && now.saturating_sub(snapshot.at_ns) < FRESH.as_nanos() as u64
        {
            return Some(Arc::clone(snapshot));
        }
        // Fails only when it is raised already.
        let _ = self.wanted.write(1);
        let _ = tokio::time::timeout(PATIENCE, latest.changed()).await;
        latest.borrow().clone()
    }
}

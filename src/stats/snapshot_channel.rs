//! Where the agent puts the latest snapshot, and where readers ask for a new one.
//!
//! The agent never waits for a reader, and collects nothing while no reader asks: a request raises an event
//! that wakes the agent, and keeps collection on for a while (a lease).

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::base::clock::monotonic_ns;
use crate::snapshot::{Delta, Snapshot};

/// A snapshot this young is given again: many readers cost no more than a few.
const FRESH: Duration = Duration::from_millis(50);
/// The least time over which a snapshot can be judged for a reader that has no earlier one of its own.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a reader waits for a new snapshot before it takes the last one.
const PATIENCE: Duration = Duration::from_secs(2);
/// The least time for which a request keeps collection on.
pub const LEASE: Duration = Duration::from_secs(5);
/// The most.
const LONGEST_LEASE: Duration = Duration::from_secs(3 * 3600);

/// What the lock protects.
#[derive(Default)]
struct State {
    latest: Option<Arc<Snapshot>>,
    /// Snapshots at least [`PERIOD`] apart, to tell what has happened lately: the last one, and the one before.
    marks: [Option<Arc<Snapshot>>; 2],
    /// Snapshots published so far; a reader waits for it to move.
    published: u64,
    /// The agent ends: it answers no more.
    closed: bool,
}

/// Shared by the agent and the servers.
pub struct SnapshotChannel {
    state: Mutex<State>,
    changed: Condvar,
    wanted: EventFd,
    watched_until_ns: AtomicU64,
    limits_until_ns: AtomicU64,
    /// The scheduler is on trial, and a reader may keep it; then: one has.
    on_trial: AtomicBool,
    kept: AtomicBool,
}

impl SnapshotChannel {
    /// An empty one.
    ///
    /// # Errors
    /// If the system is out of descriptors.
    pub fn new() -> Result<Arc<Self>> {
        let wanted = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        Ok(Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            wanted: wanted.context("cannot make an event")?,
            watched_until_ns: AtomicU64::new(0),
            limits_until_ns: AtomicU64::new(0),
            on_trial: AtomicBool::new(false),
            kept: AtomicBool::new(false),
        }))
    }

    /// For the agent: readable while a snapshot is asked for.
    pub fn wanted(&self) -> BorrowedFd<'_> {
        self.wanted.as_fd()
    }

    /// For the agent: whether a reader's lease still runs.
    pub fn watched(&self) -> bool {
        monotonic_ns() < self.watched_until_ns.load(Ordering::Relaxed)
    }

    /// For the agent: whether a reader wants to know what limits did ([`Snapshot::limits`]).
    pub fn wants_limits(&self) -> bool {
        monotonic_ns() < self.limits_until_ns.load(Ordering::Relaxed)
    }

    /// For the agent: it is on trial.
    pub fn offer_to_keep(&self) {
        self.on_trial.store(true, Ordering::Relaxed);
    }

    /// For a reader: keeps what is on trial; whether it was.
    pub fn keep(&self) -> bool {
        let on_trial = self.on_trial.swap(false, Ordering::Relaxed);
        if on_trial {
            self.kept.store(true, Ordering::Release);
            // Fails only when it is raised already.
            let _ = self.wanted.write(1);
        }
        on_trial
    }

    /// For the agent: whether a reader has kept it.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }

    /// For the agent: takes the request back; whether there was one since the last time.
    pub fn take_request(&self) -> bool {
        self.wanted.read().is_ok()
    }

    /// For the agent: a snapshot for all readers that have asked so far.
    pub fn publish(&self, snapshot: Snapshot) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Arc::new(snapshot);
        let old =
            |mark: &Snapshot| snapshot.at_ns.saturating_sub(mark.at_ns) >= PERIOD.as_nanos() as u64;
        if state.marks[0].as_deref().is_none_or(old) {
            state.marks[1] = state.marks[0].replace(Arc::clone(&snapshot));
        }
        state.latest = Some(snapshot);
        state.published += 1;
        self.changed.notify_all();
    }

    /// Lets no reader wait any more: the last snapshot is all that there will be.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        self.changed.notify_all();
    }

    /// As [`Self::ask`], and what happened before the snapshot: in a second or two where snapshots come every
    /// second, else since the one before. `None` in place of that: there is only one.
    pub fn ask_with_delta(&self, interval: Duration) -> Option<(Arc<Snapshot>, Option<Snapshot>)> {
        self.ask(interval)?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.latest.clone()?;
        let mut marks = state.marks.iter().rev().flatten();
        let earlier = marks.find(|mark| mark.at_ns < now.at_ns);
        let delta = earlier.map(|earlier| now.since(earlier));
        Some((now, delta))
    }

    /// For a reader, before it asks: the snapshots of the next seconds say what limits did.
    pub fn want_limits(&self) {
        let until_ns = monotonic_ns() + LEASE.as_nanos() as u64;
        self.limits_until_ns.fetch_max(until_ns, Ordering::Relaxed);
    }

    /// For a reader that will be back after about `interval`: a snapshot that is fresh, or the last one
    /// when the agent does not answer within two seconds; `None`: there never was one.
    pub fn ask(&self, interval: Duration) -> Option<Arc<Snapshot>> {
        let lease = (3 * interval.min(LONGEST_LEASE)).clamp(LEASE, LONGEST_LEASE);
        let now = monotonic_ns();
        self.watched_until_ns
            .fetch_max(now + lease.as_nanos() as u64, Ordering::Relaxed);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &state.latest
            && now.saturating_sub(snapshot.at_ns) < FRESH.as_nanos() as u64
            && (snapshot.limits.is_some() || !self.wants_limits())
        {
            return Some(Arc::clone(snapshot));
        }
        // Fails only when it is raised already.
        let _ = self.wanted.write(1);
        let before = state.published;
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| {
                !state.closed && state.published == before
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.latest.clone()
    }
}

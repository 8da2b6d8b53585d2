//! The agent's end of the event ring, and the account of every record in it.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use libbpf_rs::MapImpl;
use scx_ops::ring::{self, Consumer, End, Imbalance, Ledger, Produced, Waiter, Wake};
use serde::Serialize;

use crate::bpf_abi::intf::{self, takt_cpu_stats, takt_event};
use crate::snapshot::Counters;

/// So full that the fill mark must have been crossed: well above the band in which it is noticed.
const FULL_BYTES: usize = 3 * intf::takt_consts_TAKT_RING_BYTES as usize / 4;

/// Drains the ring and knows what should have been in it.
pub struct EventReader {
    ring: Consumer,
    waiter: Waiter,
    ledger: Ledger,
    /// An account that did not balance at the last quiet moment, and what had been produced by then.
    suspect: Option<(Produced, Imbalance)>,
    reported: bool,
    /// A notification came since the last drain.
    notified: bool,
    missed_notifications: u64,
}

/// The account of a life of the scheduler. Counts are records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Tried to be sent.
    pub attempts: u64,
    pub received: u64,
    pub discarded: u64,
    /// The ring was full.
    pub lost: u64,
    /// Numbers that never came, which are those of what was discarded or lost.
    pub gaps: u64,
    /// Times that the agent found an urgent event, or a ring far beyond its fill mark, without having been
    /// woken: a notification was missed, or was on its way for longer than its record by a hair.
    pub missed_notifications: u64,
    /// Not tried: held back by the rate limit.
    pub suppressed: u64,
    /// Counted and not emitted: CPUs that a task passed on to the one that it had just woken.
    pub hand_overs: u64,
    /// Most bytes that ever waited in the ring when the agent looked.
    pub highest_fill_bytes: usize,
    /// attempts = received + discarded + lost, and no gap in the numbers but for the last two.
    pub balanced: bool,
}

impl EventReader {
    /// Takes up the ring.
    ///
    /// # Errors
    /// If the ring cannot be mapped.
    pub fn new(events: &MapImpl<'_>) -> Result<Self> {
        let cpus = intf::takt_consts_TAKT_MAX_CPUS as usize;
        let kinds = intf::takt_event_type_TAKT_NR_EVENTS as usize;
        let ring = Consumer::new(events.as_fd()).context("cannot read the scheduler's events")?;
        Ok(Self {
            waiter: Waiter::new(&ring)?,
            ring,
            ledger: Ledger::new(cpus, kinds),
            suspect: None,
            reported: false,
            notified: false,
            missed_notifications: 0,
        })
    }

    /// Takes note that the descriptor was readable, so that it is so again at the next notification.
    ///
    /// # Errors
    /// If the ring is damaged or another process reads it.
    pub fn acknowledge(&mut self) -> Result<()> {
        self.notified_within(Duration::ZERO)?;
        Ok(())
    }

    /// Waits for a notification: did one come?
    ///
    /// # Errors
    /// As [`Self::acknowledge`].
    pub fn notified_within(&mut self, timeout: Duration) -> Result<bool> {
        self.notified |= self.waiter.wait(&mut self.ring, timeout)? == Wake::Notified;
        Ok(self.notified)
    }

    /// Hands over every event that is there; one that is not of the right size is only counted.
    ///
    /// # Errors
    /// If the ring is damaged or another process reads it.
    pub fn drain(&mut self, mut each: impl FnMut(&takt_event)) -> Result<End> {
        let notified = std::mem::take(&mut self.notified) || self.waiter.notified()?;
        let mut urgent = self.ring.occupancy()? >= FULL_BYTES;
        let ledger = &mut self.ledger;
        let drained = self.ring.drain(|bytes| {
            match ring::record::<takt_event>(bytes) {
                Ok(event) => {
                    ledger.note(event.cpu, event.type_.into(), event.seq);
                    urgent |= is_urgent(event.type_.into());
                    each(event);
                }
                Err(_) => ledger.note(u32::MAX, u32::MAX, 0), // a stranger
            }
            ControlFlow::Continue(())
        })?;
        self.missed_notifications += u64::from(urgent && !notified);
        Ok(drained.end)
    }

    /// Drains, and checks the account if nothing was sent meanwhile. Returns an imbalance once, when it
    /// has stood for two quiet moments: at the first one a CPU may be between counting and sending.
    ///
    /// # Errors
    /// As [`Self::drain`], or if the counters cannot be read.
    pub fn check(
        &mut self,
        counters: &MapImpl<'_>,
        each: impl FnMut(&takt_event),
    ) -> Result<Option<Imbalance>> {
        let before = produced(&Counters::take(counters)?.sum);
        let end = self.drain(each)?;
        let after = produced(&Counters::take(counters)?.sum);
        if before != after || end != End::Empty || self.reported {
            return Ok(None);
        }
        Ok(self.confirm(after))
    }

    fn confirm(&mut self, produced: Produced) -> Option<Imbalance> {
        let imbalance = self.balance(produced).err();
        let now = imbalance.map(|imbalance| (produced, imbalance));
        self.reported = now.is_some() && now == self.suspect;
        self.suspect = now;
        imbalance.filter(|_| self.reported)
    }

    /// Drains what is left when no program sends any longer, and settles the account.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn close(
        &mut self,
        counters: &MapImpl<'_>,
        each: impl FnMut(&takt_event),
    ) -> Result<(Account, Option<Imbalance>)> {
        let end = self.drain(each)?;
        let sum = Counters::take(counters)?.sum;
        let imbalance = self.balance(produced(&sum)).err();
        let stats = self.ring.stats();
        let account = Account {
            attempts: produced(&sum).attempts(),
            received: stats.received,
            discarded: stats.discarded,
            lost: sum.ev_failed.iter().sum(),
            gaps: self.ledger.gaps(),
            missed_notifications: self.missed_notifications,
            hand_overs: sum.placed[intf::takt_place_TAKT_PLACE_HANDOFF as usize],
            suppressed: sum.ev_suppressed.iter().sum(),
            highest_fill_bytes: stats.highest_occupancy,
            balanced: imbalance.is_none()
                && end == End::Empty
                && self.ledger.unknown_sources() == 0,
        };
        Ok((account, imbalance))
    }

    fn balance(&self, produced: Produced) -> Result<(), Imbalance> {
        ring::balance(produced, &self.ring.stats(), &self.ledger)
    }
}

impl AsFd for EventReader {
    /// Readable when an urgent event came or the ring is filling up, and not before: the map itself is
    /// readable whenever a record is in it, so that an agent whose own work makes events, and which
    /// asked the map, would never come to rest.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiter.as_fd()
    }
}

/// Does this type of event wake the agent?
fn is_urgent(event_type: u32) -> bool {
    matches!(
        event_type,
        intf::takt_event_type_TAKT_EV_FAULT | intf::takt_event_type_TAKT_EV_EXIT
    )
}

/// What the BPF side has counted, over all CPUs and types.
fn produced(sum: &takt_cpu_stats) -> Produced {
    let attempts: u64 = sum.ev_attempts.iter().sum();
    let reserve_failed: u64 = sum.ev_failed.iter().sum();
    Produced {
        emitted: attempts.saturating_sub(reserve_failed),
        reserve_failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_what_was_sent_and_what_failed() {
        let mut sum = takt_cpu_stats::default();
        sum.ev_attempts[0] = 7;
        sum.ev_attempts[2] = 3;
        sum.ev_failed[2] = 1;
        sum.ev_suppressed[0] = 99;
        let produced = produced(&sum);
        assert_eq!((produced.attempts(), produced.reserve_failed), (10, 1));
    }
}

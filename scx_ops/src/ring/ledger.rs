//! Accounting: every record that a producer tried to send is received, discarded or counted as lost.
//!
//! Producers number their attempts 0, 1, 2, ... per CPU and kind of record, whether the reservation
//! succeeds or not, and write the number into the record. What fails or is discarded leaves a gap.

use std::{fmt, iter::Sum};

use super::protocol::Stats;

/// Record numbers seen so far, per CPU and kind.
#[derive(Debug, Clone)]
pub struct Ledger {
    kinds: usize,
    streams: Vec<Stream>,
    unknown_sources: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    /// One more than the highest number seen.
    next: u64,
    received: u64,
}

impl Stream {
    /// Numbers below `next` that never came. Records of one stream may overtake each other (an
    /// interrupt between numbering and reservation), which makes a gap that closes again.
    fn gaps(self) -> u64 {
        self.next.saturating_sub(self.received)
    }
}

impl Ledger {
    /// A ledger for CPUs `0..cpus` and kinds `0..kinds`.
    pub fn new(cpus: usize, kinds: usize) -> Self {
        Self {
            kinds,
            streams: vec![Stream::default(); cpus * kinds],
            unknown_sources: 0,
        }
    }

    /// Notes that record number `seq` of `kind`, produced on `cpu`, was received.
    #[inline]
    pub fn note(&mut self, cpu: u32, kind: u32, seq: u64) {
        match self
            .index(cpu, kind)
            .and_then(|index| self.streams.get_mut(index))
        {
            None => self.unknown_sources += 1,
            Some(stream) => {
                stream.next = stream.next.max(seq.saturating_add(1));
                stream.received += 1;
            }
        }
    }

    /// Numbers that are missing before the highest seen, over all CPUs and kinds.
    pub fn gaps(&self) -> u64 {
        self.streams.iter().map(|stream| stream.gaps()).sum()
    }

    /// Numbers that are missing from one CPU and kind; 0 outside the ledger's bounds.
    pub fn gaps_of(&self, cpu: u32, kind: u32) -> u64 {
        let stream = self
            .index(cpu, kind)
            .and_then(|index| self.streams.get(index));
        stream.map_or(0, |stream| stream.gaps())
    }

    /// Records whose CPU or kind is outside the ledger's bounds.
    pub fn unknown_sources(&self) -> u64 {
        self.unknown_sources
    }

    fn index(&self, cpu: u32, kind: u32) -> Option<usize> {
        let kind = usize::try_from(kind)
            .ok()
            .filter(|kind| *kind < self.kinds)?;
        (cpu as usize).checked_mul(self.kinds)?.checked_add(kind)
    }
}

/// What the producers counted, in BPF. Sum it over CPUs and kinds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// Reservations that succeeded, be it that the record was submitted or discarded.
    pub emitted: u64,
    /// Reservations that failed because the ring was full.
    pub reserve_failed: u64,
}

impl Produced {
    /// Records that producers tried to send.
    pub fn attempts(self) -> u64 {
        self.emitted.saturating_add(self.reserve_failed)
    }
}

impl Sum for Produced {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            emitted: sum.emitted.saturating_add(part.emitted),
            reserve_failed: sum.reserve_failed.saturating_add(part.reserve_failed),
        })
    }
}

/// An account that does not balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imbalance {
    /// `attempts` differs from received + discarded + failed.
    Identity {
        /// Records that producers tried to send.
        attempts: u64,
        /// Received + discarded + failed.
        accounted: u64,
    },
    /// More numbers are missing than records were discarded or failed.
    Gaps {
        /// Numbers that never came.
        gaps: u64,
        /// Discarded + failed.
        explained: u64,
    },
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity {
                attempts,
                accounted,
            } => {
                write!(
                    f,
                    "ring: {attempts} records attempted, {accounted} accounted for"
                )
            }
            Self::Gaps { gaps, explained } => {
                write!(
                    f,
                    "ring: {gaps} record numbers missing, {explained} explained"
                )
            }
        }
    }
}

impl std::error::Error for Imbalance {}

/// Checks `attempts = received + discarded + failed`, and that the gaps are explained.
///
/// It holds at quiet moments: no producer is between its count and its commit, and the ring was
/// drained to [`super::End::Empty`]. `produced` counts from the moment the ring was made or from
/// when the consumer took it up empty.
///
/// # Errors
/// The [`Imbalance`].
pub fn balance(produced: Produced, stats: &Stats, ledger: &Ledger) -> Result<(), Imbalance> {
    let explained = stats.discarded.saturating_add(produced.reserve_failed);
    let accounted = stats.received.saturating_add(explained);
    if produced.attempts() != accounted {
        return Err(Imbalance::Identity {
            attempts: produced.attempts(),
            accounted,
        });
    }
    match ledger.gaps() {
        gaps if gaps > explained => Err(Imbalance::Gaps { gaps, explained }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_per_cpu_and_kind() {
        let mut ledger = Ledger::new(2, 2);
        for (cpu, kind, seq) in [(0, 0, 0), (0, 0, 3), (1, 1, 1), (0, 1, 0)] {
            ledger.note(cpu, kind, seq);
        }
        assert_eq!(
            (
                ledger.gaps_of(0, 0),
                ledger.gaps_of(1, 1),
                ledger.gaps_of(0, 1)
            ),
            (2, 1, 0)
        );
        assert_eq!(ledger.gaps(), 3);
    }

    #[test]
    fn overtaking_leaves_no_gap() {
        let mut ledger = Ledger::new(1, 1);
        for seq in [1, 0, 2] {
            ledger.note(0, 0, seq);
        }
        assert_eq!(ledger.gaps(), 0);
    }

    #[test]
    fn events_of_unknown_sources_are_counted_apart() {
        let mut ledger = Ledger::new(1, 2);
        ledger.note(0, 2, 0);
        ledger.note(1, 0, 0);
        ledger.note(u32::MAX, u32::MAX, u64::MAX);
        assert_eq!((ledger.unknown_sources(), ledger.gaps()), (3, 0));
    }

    #[test]
    fn the_identity() {
        let produced = [(5, 1), (2, 2)].map(|(emitted, reserve_failed)| Produced {
            emitted,
            reserve_failed,
        });
        let produced: Produced = produced.into_iter().sum();
        let mut stats = Stats {
            received: 6,
            discarded: 1,
            ..Stats::default()
        };
        let mut ledger = Ledger::new(1, 1);
        assert_eq!(balance(produced, &stats, &ledger), Ok(()));
        ledger.note(0, 0, 5);
        assert_eq!(
            balance(produced, &stats, &ledger),
            Err(Imbalance::Gaps {
                gaps: 5,
                explained: 4
            })
        );
        stats.received = 5;
        assert_eq!(
            balance(produced, &stats, &ledger),
            Err(Imbalance::Identity {
                attempts: 10,
                accounted: 9
            })
        );
    }
}

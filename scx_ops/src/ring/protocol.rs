//! The consumer's half of the BPF ring protocol, over any memory that can perform it.
//!
//! # Why no wake-up is missed
//!
//! A producer commits and then decides whether to notify (`bpf_ringbuf_commit` in
//! `kernel/bpf/ringbuf.c`; the reservation before it is `__bpf_ringbuf_reserve`):
//!
//! ```text
//! P1  store-release producer_pos            reservation; the header says BUSY
//! P2  xchg header, BUSY off                 fully ordered: a full barrier on both sides
//! P3  load consumer_pos                     notify if it is the position of this record
//! ```
//!
//! This consumer, when it is about to report "nothing more":
//!
//! ```text
//! C1  store-release consumer_pos            the record before has been read
//! C2  fence(SeqCst)
//! C3  load-acquire producer_pos             caught up?
//! C4  load-acquire header                   still BUSY?
//! ```
//!
//! With P2's barrier on one side and C2 on the other this is store buffering with two full
//! barriers, which forbids that both sides read the old value: either the consumer sees the
//! record, or the producer sees the position and notifies. *Both* loads that end in a report must
//! come after a fence that comes after C1:
//!
//! * **Empty.** C3 may miss P1 only if P3 sees C1. (P1 precedes P2's barrier.)
//! * **BUSY.** When the producer position was known to be ahead, C3 has not happened since C1.
//!   C4 alone ends the drain then, so it needs a fence of its own: it may miss P2 only if P3 sees
//!   C1. Fencing only the empty case was measured to miss 651 wake-ups per million waits.
//!
//! A release store with an acquire load after it is no substitute: they may be reordered, on x86
//! through the store buffer. Nor is a `SeqCst` *store*: on AArch64 it may compile to `stlr`, and
//! the acquire load after it to `ldapr`, which may overtake it.
//!
//! A drain that was stopped by its closure has promised nothing: drain again before waiting.
//!
//! Sources: `kernel/bpf/ringbuf.c`; `ringbuf_process_ring` in libbpf's `src/ringbuf.c`, which has
//! no barrier (1.7.0), and the patch "libbpf: ringbuf: Prevent missed wakeups" proposed to
//! bpf@vger.kernel.org on 2026-06-18; aya's `aya/src/maps/ring_buf.rs`, which went from a SeqCst
//! store to a fence. `tests/loom_ring.rs` explores this very code and kills each way to weaken it.

use std::ops::ControlFlow;

use serde::Serialize;

use super::error::{Error, Result};

/// Set in a header while its producer still writes the record (`BPF_RINGBUF_BUSY_BIT`).
pub const BUSY: u32 = 1 << 31;
/// Set in a header whose record is to be skipped (`BPF_RINGBUF_DISCARD_BIT`).
pub const DISCARD: u32 = 1 << 30;
/// Bytes before each record: length and flags, page offset (`BPF_RINGBUF_HDR_SZ`).
pub const HEADER: usize = 8;

/// Which load a [`Memory::fence`] comes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reread {
    /// The producer position, when the consumer has caught up with it.
    Producer,
    /// A header that was BUSY.
    Header,
}

/// The memory operations of a consumer. Positions are bytes since the ring was made; they grow
/// without bound and wrap with `unsigned long`.
pub trait Memory {
    /// Size of the data area in bytes, a power of two.
    fn size(&self) -> usize;
    /// Loads the producer position, Acquire: headers up to it are initialised.
    fn producer(&self) -> usize;
    /// Loads the consumer position, Acquire.
    fn consumer(&self) -> usize;
    /// Stores the consumer position, Release: reads before it are done with the memory.
    fn publish(&self, position: usize);
    /// Loads the first word of the header at `position`, Acquire: if not BUSY, the record's bytes
    /// are visible. `position` must be a multiple of 8.
    fn header(&self, position: usize) -> u32;
    /// A `SeqCst` fence before the load that `before` names.
    fn fence(&self, before: Reread);
    /// Calls `f` with the `len` bytes after the header at `position`.
    ///
    /// # Safety
    /// A header without BUSY was loaded at `position`, the record lies between the consumer and the
    /// producer position, and the consumer position is not moved past it before `f` returns.
    unsafe fn record<R>(&self, position: usize, len: usize, f: impl FnOnce(&[u8]) -> R) -> R;
}

/// What a consumer has seen since it was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Records handed to a closure.
    pub received: u64,
    /// Records that their producer discarded.
    pub discarded: u64,
    /// Waits that timed out although a committed record was there: missed wake-ups.
    pub missed_notifications: u64,
    /// The most bytes, headers included, that were reserved and not yet consumed when looked at.
    pub highest_occupancy: usize,
}

/// Why a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every record was consumed: wait for a notification.
    Empty,
    /// The next record is still being written: wait for a notification.
    Busy,
    /// The closure stopped it: drain again before waiting.
    Stopped,
}

/// What one drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Records handed to the closure.
    pub received: u64,
    /// Records skipped because their producer discarded them.
    pub discarded: u64,
    /// Why it ended.
    pub end: End,
}

/// A record that is committed, or why there is none.
enum Next {
    Committed { header: u32, step: usize },
    None(End),
}

/// The consumer's state. One per ring at any time; see [`super::Consumer`] for the one that
/// enforces it.
#[derive(Debug)]
pub struct Reader<M> {
    memory: M,
    position: usize,
    producer: usize,
    stats: Stats,
}

impl<M: Memory> Reader<M> {
    /// Takes up consumption where the ring's consumer position stands.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the positions cannot be those of a ring.
    pub fn new(memory: M) -> Result<Self> {
        let position = memory.consumer();
        let mut reader = Self {
            memory,
            position,
            producer: position,
            stats: Stats::default(),
        };
        if !position.is_multiple_of(HEADER) {
            return Err(reader.corrupt(0));
        }
        reader.refresh()?;
        Ok(reader)
    }

    /// What this consumer has seen.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Hands every committed record to `each`, oldest first, until the ring is empty, the next
    /// record is BUSY, or `each` breaks. The record that it breaks on is consumed. If `each`
    /// panics, its record is not consumed.
    ///
    /// # Errors
    /// [`Error::Stolen`] or [`Error::Corrupt`]; the ring cannot be read any further then.
    #[inline]
    pub fn drain(&mut self, mut each: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<Drained> {
        self.check_alone()?;
        self.refresh()?;
        let before = self.stats;
        let end = loop {
            match self.next()? {
                Next::None(end) => break end,
                Next::Committed { header, step } => {
                    if self.consume(header, step, &mut each).is_break() {
                        break End::Stopped;
                    }
                }
            }
        };
        Ok(Drained {
            received: self.stats.received - before.received,
            discarded: self.stats.discarded - before.discarded,
            end,
        })
    }

    /// Is a committed (or discarded) record waiting? Consumes nothing.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub fn ready(&mut self) -> Result<bool> {
        self.check_alone()?;
        self.refresh()?;
        Ok(matches!(self.next()?, Next::Committed { .. }))
    }

    /// Bytes, headers included, that are reserved and not yet consumed.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn occupancy(&mut self) -> Result<usize> {
        self.refresh()?;
        Ok(self.producer.wrapping_sub(self.position))
    }

    /// Counts one missed notification: a wait timed out, and [`Self::ready`] then said true.
    pub fn count_missed_notification(&mut self) {
        self.stats.missed_notifications += 1;
    }

    /// The next committed record, with the fences that the module's argument asks for.
    #[inline]
    fn next(&mut self) -> Result<Next> {
        if self.producer == self.position {
            self.memory.fence(Reread::Producer);
            self.refresh()?;
            if self.producer == self.position {
                return Ok(Next::None(End::Empty));
            }
        }
        let mut header = self.memory.header(self.position);
        if header & BUSY != 0 {
            self.memory.fence(Reread::Header);
            header = self.memory.header(self.position);
            if header & BUSY != 0 {
                return Ok(Next::None(End::Busy));
            }
        }
        let step = step(header);
        if step > self.producer.wrapping_sub(self.position) {
            return Err(self.corrupt(header));
        }
        Ok(Next::Committed { header, step })
    }

    /// Delivers or skips the record at our position, then gives its memory back.
    #[inline]
    fn consume(
        &mut self,
        header: u32,
        step: usize,
        each: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        if header & DISCARD != 0 {
            self.stats.discarded += 1;
        } else {
            // SAFETY: `next` has loaded `header` without BUSY at `position` and found the record
            // to end at or before the producer position; we publish below, after `each`.
            flow = unsafe { self.memory.record(self.position, length(header), each) };
            self.stats.received += 1;
        }
        self.position = self.position.wrapping_add(step);
        self.memory.publish(self.position);
        flow
    }

    /// Reads the producer position and checks that it is one.
    #[inline]
    fn refresh(&mut self) -> Result<()> {
        self.producer = self.memory.producer();
        let occupancy = self.producer.wrapping_sub(self.position);
        if occupancy > self.memory.size() {
            return Err(self.corrupt(0));
        }
        self.stats.highest_occupancy = self.stats.highest_occupancy.max(occupancy);
        Ok(())
    }

    /// No other consumer may move the consumer position: records would be overwritten as we read them.
    #[inline]
    fn check_alone(&self) -> Result<()> {
        match self.memory.consumer() {
            found if found != self.position => Err(Error::Stolen {
                ours: self.position,
                found,
            }),
            _ => Ok(()),
        }
    }

    #[cold]
    fn corrupt(&self, header: u32) -> Error {
        Error::Corrupt {
            position: self.position,
            producer: self.producer,
            header,
        }
    }
}

/// Bytes of the record behind `header`.
fn length(header: u32) -> usize {
    (header & !(BUSY | DISCARD)) as usize
}

/// Bytes from the header to the next one: header and record, rounded up to 8. Every header waits for
/// the one before it through this; written as a mask it is a cycle shorter.
fn step(header: u32) -> usize {
    (length(header) + HEADER + 7) & !7
}

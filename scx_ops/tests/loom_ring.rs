//! The consumer that ships, explored by loom against a model of the kernel's producer; and each way
//! to weaken it, which loom must find.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p scx_ops --release --test loom_ring
//! ```
//!
//! The interleaving that is hunted: the producer commits, reads the old consumer position and does
//! not notify, while the consumer has published the new position, reads the old producer position
//! (or a BUSY header) and waits. Loom reports it as a deadlock: no producer is left to notify.
//!
//! A mutant changes what a memory operation does, never the consumer: a fence that is skipped, a
//! load after it that answers from before it, a fence moved in front of the store. Each is the same
//! program as a consumer with that line changed.
//!
//! What loom cannot show:
//!
//! * It explores C11, not the kernel's memory model. The kernel's `xchg` is a full barrier on both
//!   sides and is modelled as a `SeqCst` fence, a swap and another fence. `SeqCst` *accesses* loom
//!   treats as `AcqRel` (neither side uses one); `SeqCst` *fences* it models, slightly too strong:
//!   each is ordered after all earlier ones, as an unbroken chain.
//! * No load buffering: a load never returns what is stored later in the execution. The protocol
//!   has no relaxed load that could feed a store, so nothing is hidden here.
//! * A notification (irq_work, wait queue, epoll) is one atomic flag that is neither lost nor
//!   delayed. That the kernel keeps this promise is for `ring_host.rs` to show, as is what
//!   compilers and real processors make of it all.
//! * Two or three threads and one or two records in flight; every record is 8 bytes.

#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::Cell;
use std::ops::ControlFlow::{self, Break, Continue};
// Not loom's: it cannot be dropped while a deadlock unwinds.
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::Notify;
use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*, fence};
use loom::thread;

use scx_ops::ring::End;
use scx_ops::ring::protocol::{BUSY, DISCARD, HEADER, Memory, Reader, Reread};

/// Bytes per record: header and 8 bytes.
const SLOT: usize = 16;

/// What producer and consumer share.
struct Ring {
    producer: AtomicUsize,
    consumer: AtomicUsize,
    headers: Vec<AtomicU32>,
    payloads: Vec<UnsafeCell<u64>>,
    wake: Notify,
}

// SAFETY: loom runs all threads of a model on one, and checks every access to the cells.
unsafe impl Sync for Ring {}

/// The kernel's half, after `kernel/bpf/ringbuf.c`. Reservations are made by one thread at a time,
/// where the kernel has a spin lock.
impl Ring {
    fn new(slots: usize) -> Self {
        Self {
            producer: AtomicUsize::new(0),
            consumer: AtomicUsize::new(0),
            headers: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            payloads: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
            wake: Notify::new(),
        }
    }

    fn size(&self) -> usize {
        self.headers.len() * SLOT
    }

    fn slot(&self, position: usize) -> usize {
        (position % self.size()) / SLOT
    }

    /// `__bpf_ringbuf_reserve`, and what the program then writes. `None` if the ring is full.
    fn reserve(&self, payload: u64) -> Option<usize> {
        let consumer = self.consumer.load(Acquire);
        let position = self.producer.load(Relaxed);
        if position + SLOT - consumer > self.size() - 1 {
            return None;
        }
        let slot = self.slot(position);
        self.headers[slot].store((SLOT - HEADER) as u32 | BUSY, Relaxed);
        self.producer.store(position + SLOT, Release);
        // SAFETY: loom checks that no other thread accesses the cell meanwhile.
        self.payloads[slot].with_mut(|bytes| unsafe { *bytes = payload });
        Some(position)
    }

    /// `bpf_ringbuf_commit`.
    fn commit(&self, position: usize, flags: u32) {
        fence(SeqCst);
        self.headers[self.slot(position)].swap((SLOT - HEADER) as u32 | flags, AcqRel);
        fence(SeqCst);
        if self.consumer.load(Acquire) % self.size() == position % self.size() {
            self.wake.notify();
        }
    }

    fn push(&self, payload: u64, flags: u32) -> bool {
        self.reserve(payload)
            .map(|position| self.commit(position, flags))
            .is_some()
    }
}

/// What is wrong with the consumer.
#[derive(Clone, Copy, PartialEq)]
enum Mutant {
    /// Nothing: the code that ships.
    Production,
    NoFenceWhenEmpty,
    NoFenceWhenBusy,
    FenceWithoutReread,
    RereadBeforeFence,
    FenceBeforeStore,
    DiscardNotHandled,
    ReleaseAcquireOnly,
    RelaxedPublish,
    RelaxedHeader,
}
use Mutant::*;

/// The consumer's memory operations, one of them possibly broken.
struct Model {
    ring: Arc<Ring>,
    mutant: Mutant,
    /// What the last loads returned, and whether the next one has to repeat it.
    producer: Cell<usize>,
    header: Cell<u32>,
    stale: Cell<Option<Reread>>,
}

impl Model {
    fn new(ring: &Arc<Ring>, mutant: Mutant) -> Self {
        Self {
            ring: ring.clone(),
            mutant,
            producer: Cell::new(0),
            header: Cell::new(0),
            stale: Cell::new(None),
        }
    }

    fn load_header(&self, position: usize) -> u32 {
        let order = if self.mutant == RelaxedHeader {
            Relaxed
        } else {
            Acquire
        };
        self.ring.headers[self.ring.slot(position)].load(order)
    }

    /// Makes the load that `before` names, early.
    fn load_early(&self, before: Reread) {
        match before {
            Reread::Producer => self.producer.set(self.ring.producer.load(Acquire)),
            Reread::Header => self
                .header
                .set(self.load_header(self.ring.consumer.load(Relaxed))),
        }
    }
}

impl Memory for Model {
    fn size(&self) -> usize {
        self.ring.size()
    }

    fn producer(&self) -> usize {
        if self.stale.take() != Some(Reread::Producer) {
            self.producer.set(self.ring.producer.load(Acquire));
        }
        self.producer.get()
    }

    fn consumer(&self) -> usize {
        self.ring.consumer.load(Acquire)
    }

    fn publish(&self, position: usize) {
        if self.mutant == FenceBeforeStore {
            fence(SeqCst);
        }
        let order = if self.mutant == RelaxedPublish {
            Relaxed
        } else {
            Release
        };
        self.ring.consumer.store(position, order);
    }

    fn header(&self, position: usize) -> u32 {
        if self.stale.take() != Some(Reread::Header) {
            self.header.set(self.load_header(position));
        }
        match self.mutant {
            DiscardNotHandled => self.header.get() & !DISCARD,
            _ => self.header.get(),
        }
    }

    fn fence(&self, before: Reread) {
        match (self.mutant, before) {
            (NoFenceWhenEmpty, Reread::Producer) | (NoFenceWhenBusy, Reread::Header) => {}
            (FenceBeforeStore, _) => {}
            (ReleaseAcquireOnly, _) => fence(AcqRel),
            (FenceWithoutReread, _) => {
                fence(SeqCst);
                self.stale.set(Some(before));
            }
            (RereadBeforeFence, _) => {
                self.load_early(before);
                fence(SeqCst);
                self.stale.set(Some(before));
            }
            _ => fence(SeqCst),
        }
    }

    unsafe fn record<R>(&self, position: usize, len: usize, f: impl FnOnce(&[u8]) -> R) -> R {
        assert_eq!(len, SLOT - HEADER);
        self.ring.payloads[self.ring.slot(position)].with(|bytes| {
            // SAFETY: loom checks that no thread writes to the cell meanwhile.
            let bytes = unsafe { *bytes }.to_ne_bytes();
            f(&bytes)
        })
    }
}

/// How the consumer drains.
#[derive(Clone, Copy)]
enum Mode {
    Batch,
    /// One record a call.
    Single,
}
use Mode::*;

/// Drains and waits, as an agent does, until `total` records have come or been discarded. Returns
/// the payloads of those that came.
fn consume(ring: &Arc<Ring>, mutant: Mutant, mode: Mode, total: u64) -> Vec<u64> {
    let mut reader = Reader::new(Model::new(ring, mutant)).unwrap();
    let mut payloads = Vec::new();
    loop {
        let end = reader
            .drain(|record| take(record, &mut payloads, mode))
            .unwrap()
            .end;
        let stats = reader.stats();
        if stats.received + stats.discarded == total {
            return payloads;
        }
        if end != End::Stopped {
            ring.wake.wait();
        }
    }
}

fn take(record: &[u8], payloads: &mut Vec<u64>, mode: Mode) -> ControlFlow<()> {
    payloads.push(u64::from_ne_bytes(record.try_into().unwrap()));
    match mode {
        Batch => Continue(()),
        Single => Break(()),
    }
}

/// One record is there and was notified of; the next is made while the consumer drains.
fn catching_up(mutant: Mutant, mode: Mode) {
    loom::model(move || {
        let ring = Arc::new(Ring::new(4));
        ring.push(1, 0);
        ring.wake.wait();
        let kernel = ring.clone();
        let producer = thread::spawn(move || kernel.push(2, 0));
        assert_eq!(consume(&ring, mutant, mode, 2), [1, 2]);
        producer.join().unwrap();
    });
}

/// One record is there, and behind it one that is being written; it is committed, with `flags`,
/// while the consumer drains.
fn meeting_busy(mutant: Mutant, mode: Mode, flags: u32) {
    loom::model(move || {
        let ring = Arc::new(Ring::new(4));
        ring.push(1, 0);
        ring.wake.wait();
        let busy = ring.reserve(2).unwrap();
        let kernel = ring.clone();
        let producer = thread::spawn(move || kernel.commit(busy, flags));
        let payloads = consume(&ring, mutant, mode, 2);
        match flags & DISCARD {
            0 => assert_eq!(payloads, [1, 2]),
            _ => assert_eq!(payloads, [1], "a discarded record was delivered"),
        }
        producer.join().unwrap();
    });
}

/// Two CPUs have reserved; they commit in either order while the consumer drains.
fn two_producers(mode: Mode) {
    loom::model(move || {
        let ring = Arc::new(Ring::new(4));
        let reserved = [1, 2].map(|payload| ring.reserve(payload).unwrap());
        let producers = reserved.map(|position| {
            let kernel = ring.clone();
            thread::spawn(move || kernel.commit(position, 0))
        });
        assert_eq!(consume(&ring, Production, mode, 2), [1, 2]);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

/// A full ring: memory is written again as soon as it is given back, and what does not fit is lost.
/// Every attempt is accounted for.
fn overflow(mutant: Mutant, slots: usize) {
    loom::model(move || {
        let ring = Arc::new(Ring::new(slots));
        let filled = (0..).take_while(|payload| ring.push(*payload, 0)).count();
        let kernel = ring.clone();
        let producer = thread::spawn(move || {
            [100, 101]
                .map(|payload| kernel.push(payload, 0))
                .iter()
                .filter(|sent| !**sent)
                .count()
        });
        let mut reader = Reader::new(Model::new(&ring, mutant)).unwrap();
        let mut payloads = Vec::new();
        reader
            .drain(|record| take(record, &mut payloads, Batch))
            .unwrap();
        let failed = producer.join().unwrap();
        reader
            .drain(|record| take(record, &mut payloads, Batch))
            .unwrap();
        assert_eq!(payloads.len() + failed, filled + 2);
        assert!(payloads.is_sorted());
    });
}

#[test]
fn production_catching_up() {
    catching_up(Production, Batch);
    catching_up(Production, Single);
}

#[test]
fn production_meeting_busy() {
    meeting_busy(Production, Batch, 0);
    meeting_busy(Production, Single, 0);
}

#[test]
fn production_meeting_a_discard() {
    meeting_busy(Production, Batch, DISCARD);
    meeting_busy(Production, Single, DISCARD);
}

#[test]
fn production_with_two_producers() {
    two_producers(Batch);
    two_producers(Single);
}

#[test]
fn production_overflowing() {
    overflow(Production, 2);
    overflow(Production, 4);
}

/// Declares tests in which loom must find a failure whose message contains `$expected`.
macro_rules! killed {
    ($($name:ident: $expected:literal, $scenario:expr;)*) => {$(
        #[test]
        #[should_panic(expected = $expected)]
        fn $name() {
            $scenario;
        }
    )*};
}

killed! {
    no_fence_when_empty: "deadlock", catching_up(NoFenceWhenEmpty, Batch);
    no_fence_when_empty_one_a_call: "deadlock", catching_up(NoFenceWhenEmpty, Single);
    no_fence_when_busy: "deadlock", meeting_busy(NoFenceWhenBusy, Batch, 0);
    no_fence_when_busy_one_a_call: "deadlock", meeting_busy(NoFenceWhenBusy, Single, 0);
    fence_without_rereading_position: "deadlock", catching_up(FenceWithoutReread, Batch);
    fence_without_rereading_header: "deadlock", meeting_busy(FenceWithoutReread, Batch, 0);
    position_reread_before_fence: "deadlock", catching_up(RereadBeforeFence, Batch);
    header_reread_before_fence: "deadlock", meeting_busy(RereadBeforeFence, Batch, 0);
    fence_before_store_when_empty: "deadlock", catching_up(FenceBeforeStore, Batch);
    fence_before_store_when_busy: "deadlock", meeting_busy(FenceBeforeStore, Batch, 0);
    release_acquire_only_when_empty: "deadlock", catching_up(ReleaseAcquireOnly, Batch);
    release_acquire_only_when_busy: "deadlock", meeting_busy(ReleaseAcquireOnly, Batch, 0);
    discard_not_handled: "a discarded record was delivered",
        meeting_busy(DiscardNotHandled, Batch, DISCARD);
    relaxed_publish: "Causality violation", overflow(RelaxedPublish, 4);
    relaxed_header: "Causality violation", catching_up(RelaxedHeader, Batch);
}

//! The consumer on a ring in plain memory: order, wrapping, discards, and contents that no sane
//! kernel writes. Races are the business of `loom_ring.rs` and `ring_host.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow::{Break, Continue};

use scx_ops::ring::protocol::{BUSY, DISCARD, HEADER, Memory, Reader, Reread};
use scx_ops::ring::{Drained, End, Error};

const SIZE: usize = 64;

/// A ring of 64 bytes whose producer is the test.
struct Ring {
    producer: Cell<usize>,
    consumer: Cell<usize>,
    data: RefCell<[u8; SIZE]>,
}

impl Ring {
    fn new() -> Self {
        Self {
            producer: Cell::new(0),
            consumer: Cell::new(0),
            data: RefCell::new([0; SIZE]),
        }
    }

    fn at(position: usize) -> usize {
        position % SIZE
    }

    /// Writes a header at `position`.
    fn set_header(&self, position: usize, header: u32) {
        self.data.borrow_mut()[Self::at(position)..][..4].copy_from_slice(&header.to_ne_bytes());
    }

    /// Appends a record of `len` bytes, each of them `fill`; returns its position.
    fn push(&self, len: usize, fill: u8, flags: u32) -> usize {
        let position = self.producer.get();
        self.set_header(position, len as u32 | flags);
        for offset in 0..len {
            self.data.borrow_mut()[Self::at(position + HEADER + offset)] = fill;
        }
        self.producer
            .set(position + (HEADER + len).next_multiple_of(8));
        position
    }
}

impl Memory for &Ring {
    fn size(&self) -> usize {
        SIZE
    }
    fn producer(&self) -> usize {
        self.producer.get()
    }
    fn consumer(&self) -> usize {
        self.consumer.get()
    }
    fn publish(&self, position: usize) {
        self.consumer.set(position);
    }
    fn header(&self, position: usize) -> u32 {
        let data = self.data.borrow();
        let at = Ring::at(position);
        u32::from_ne_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
    }
    fn fence(&self, _before: Reread) {}
    unsafe fn record<R>(&self, position: usize, len: usize, f: impl FnOnce(&[u8]) -> R) -> R {
        let twice = self.data.borrow().repeat(2);
        f(&twice[Ring::at(position) + HEADER..][..len])
    }
}

/// Drains everything: the records, and what the drain said.
fn drain(reader: &mut Reader<&Ring>) -> (Vec<Vec<u8>>, Drained) {
    let mut records = Vec::new();
    let drained = reader.drain(|record| {
        records.push(record.to_vec());
        Continue(())
    });
    (records, drained.unwrap())
}

#[test]
fn records_come_in_order_and_wrap() {
    let ring = Ring::new();
    let mut reader = Reader::new(&ring).unwrap();
    for round in 0..100_u8 {
        let len = usize::from(round) % 21;
        ring.push(len, round, 0);
        ring.push(3, !round, 0);
        let (records, drained) = drain(&mut reader);
        assert_eq!(records, [vec![round; len], vec![!round; 3]]);
        assert_eq!(
            drained,
            Drained {
                received: 2,
                discarded: 0,
                end: End::Empty
            }
        );
        assert_eq!(ring.consumer.get(), ring.producer.get());
    }
}

#[test]
fn positions_wrap_with_the_machine_word() {
    let ring = Ring::new();
    let start = usize::MAX - 15;
    ring.producer.set(start);
    ring.consumer.set(start);
    let mut reader = Reader::new(&ring).unwrap();
    for fill in 0..3_usize {
        let position = start.wrapping_add(16 * fill);
        ring.set_header(position, 8);
        ring.producer.set(position.wrapping_add(16));
        assert_eq!(drain(&mut reader).0.len(), 1);
    }
    assert_eq!(ring.consumer.get(), 32);
}

#[test]
fn discards_are_skipped_and_counted() {
    let ring = Ring::new();
    let mut reader = Reader::new(&ring).unwrap();
    ring.push(8, 1, DISCARD);
    ring.push(8, 2, 0);
    ring.push(8, 3, DISCARD);
    let (records, drained) = drain(&mut reader);
    assert_eq!(records, [[2; 8]]);
    assert_eq!(
        drained,
        Drained {
            received: 1,
            discarded: 2,
            end: End::Empty
        }
    );
}

#[test]
fn a_busy_record_holds_up_the_next() {
    let ring = Ring::new();
    let mut reader = Reader::new(&ring).unwrap();
    let busy = ring.push(8, 1, BUSY);
    ring.push(8, 2, 0);
    assert_eq!(
        drain(&mut reader).1,
        Drained {
            received: 0,
            discarded: 0,
            end: End::Busy
        }
    );
    assert!(!reader.ready().unwrap());
    ring.set_header(busy, 8);
    assert!(reader.ready().unwrap());
    assert_eq!(drain(&mut reader).0, [[1; 8], [2; 8]]);
}

#[test]
fn breaking_consumes_the_record_it_breaks_on() {
    let ring = Ring::new();
    let mut reader = Reader::new(&ring).unwrap();
    ring.push(8, 1, 0);
    ring.push(8, 2, 0);
    let drained = reader.drain(|_| Break(())).unwrap();
    assert_eq!(
        drained,
        Drained {
            received: 1,
            discarded: 0,
            end: End::Stopped
        }
    );
    assert_eq!(drain(&mut reader).0, [[2; 8]]);
}

#[test]
fn a_panic_leaves_its_record() {
    let ring = Ring::new();
    let mut reader = Reader::new(&ring).unwrap();
    ring.push(8, 1, 0);
    ring.push(8, 2, 0);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reader.drain(|record| match record[0] {
            2 => panic!("on purpose"),
            _ => Continue(()),
        })
    }));
    assert!(outcome.is_err());
    assert_eq!(drain(&mut reader).0, [[2; 8]]);
    assert_eq!(reader.stats().received, 2);
}

#[test]
fn the_highest_occupancy_is_kept() {
    let ring = Ring::new();
    let mut reader = Reader::new(&ring).unwrap();
    ring.push(8, 1, 0);
    ring.push(8, 2, 0);
    assert_eq!(reader.occupancy().unwrap(), 32);
    drain(&mut reader);
    assert_eq!(reader.occupancy().unwrap(), 0);
    ring.push(8, 3, 0);
    drain(&mut reader);
    assert_eq!(reader.stats().highest_occupancy, 32);
}

#[test]
fn a_length_beyond_the_producer_is_corrupt() {
    for len in [9, SIZE as u32, (1 << 30) - 1] {
        for flags in [0, DISCARD] {
            let ring = Ring::new();
            let mut reader = Reader::new(&ring).unwrap();
            let position = ring.push(8, 1, 0);
            ring.set_header(position, len | flags);
            for _ in 0..2 {
                let error = reader
                    .drain(|_| unreachable!("nothing to read"))
                    .unwrap_err();
                assert!(matches!(
                    error,
                    Error::Corrupt {
                        position: 0,
                        producer: 16,
                        ..
                    }
                ));
            }
            assert_eq!(ring.consumer.get(), 0);
        }
    }
}

#[test]
fn a_producer_more_than_a_ring_ahead_or_behind_is_corrupt() {
    for producer in [SIZE + 8, usize::MAX - 7] {
        let ring = Ring::new();
        let mut reader = Reader::new(&ring).unwrap();
        ring.producer.set(producer);
        let error = reader.drain(|_| Continue(())).unwrap_err();
        assert!(matches!(error, Error::Corrupt { header: 0, .. }));
    }
}

#[test]
fn a_misaligned_start_is_corrupt() {
    let ring = Ring::new();
    ring.consumer.set(4);
    ring.producer.set(8);
    assert!(matches!(
        Reader::new(&ring),
        Err(Error::Corrupt { position: 4, .. })
    ));
}

#[test]
fn another_consumer_is_noticed() {
    let ring = Ring::new();
    let mut reader = Reader::new(&ring).unwrap();
    ring.push(8, 1, 0);
    ring.consumer.set(16);
    let error = reader.drain(|_| Continue(())).unwrap_err();
    assert!(matches!(error, Error::Stolen { ours: 0, found: 16 }));
}

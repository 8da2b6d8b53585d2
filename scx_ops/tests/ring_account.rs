//! A real ring on the running kernel: forced overflow, discards, refusals. Needs root and BPF.

use std::ops::ControlFlow::{Break, Continue};
use std::os::fd::AsFd;

use scx_ops::ring::{Consumer, End, Error, Ledger, balance, record};

mod support;
use support::{Head, KIND, Producer, RECORD, Shape, ring_map, stay_here, unavailable};

const SHAPE: Shape = Shape {
    burst: 100,
    busy_turns: 0,
    pause_turns: 0,
    discards: true,
    flags: 0,
};

/// Ends the test that says so on machines where it cannot run.
macro_rules! or_skip {
    () => {
        if let Some(reason) = unavailable() {
            support::say(&format!("skipped: {reason}"));
            return;
        }
    };
}

#[test]
fn overflow_is_accounted_to_the_last_record() {
    or_skip!();
    // The producer has one number for all CPUs: on another one all the numbers until then would be missing.
    stay_here().unwrap();
    let map = ring_map(64 << 10, 0).unwrap();
    let mut producer = Producer::new(map.as_fd(), SHAPE).unwrap();
    let mut ring = Consumer::new(map.as_fd()).unwrap();
    let mut ledger = Ledger::new(4096, KIND as usize + 1);
    for round in 1..=50 {
        // 64 KiB hold 910 records; the rest of each round is lost.
        for _ in 0..(round % 20) {
            producer.run().unwrap();
        }
        let drained = ring.drain(|bytes| {
            assert_eq!(bytes.len(), RECORD);
            let head = *record::<Head>(bytes).unwrap();
            assert_ne!(head.seq % 8, 7, "a discarded record was delivered");
            ledger.note(head.cpu, head.kind, head.seq);
            Continue(())
        });
        assert_eq!(drained.unwrap().end, End::Empty);
        balance(producer.produced(), &ring.stats(), &ledger).unwrap();
    }
    let (produced, stats) = (producer.produced(), ring.stats());
    assert!(produced.reserve_failed > 0 && stats.discarded > 0 && ledger.gaps() > 0);
    assert_eq!(ledger.unknown_sources(), 0);
    let full = 64 << 10;
    assert!((full - 72 - 8..full).contains(&stats.highest_occupancy));
    println!("{produced:?} {stats:?} gaps {}", ledger.gaps());
}

#[test]
fn one_consumer_a_map() {
    or_skip!();
    let map = ring_map(4096, 0)
        .or_else(|_| ring_map(64 << 10, 0))
        .unwrap();
    let first = Consumer::new(map.as_fd()).unwrap();
    let copy = map.try_clone().unwrap();
    assert!(matches!(
        Consumer::new(copy.as_fd()),
        Err(Error::Busy { .. })
    ));
    drop(first);
    Consumer::new(copy.as_fd()).unwrap();
}

#[test]
fn a_new_consumer_goes_on_where_the_last_one_stopped() {
    or_skip!();
    let map = ring_map(64 << 10, 0).unwrap();
    let mut producer = Producer::new(map.as_fd(), SHAPE).unwrap();
    producer.run().unwrap();
    let mut first = Consumer::new(map.as_fd()).unwrap();
    first.drain(|_| Break(())).unwrap();
    drop(first);
    let mut second = Consumer::new(map.as_fd()).unwrap();
    let mut numbers = Vec::new();
    let drained = second.drain(|bytes| {
        numbers.push(record::<Head>(bytes).unwrap().seq);
        Continue(())
    });
    assert_eq!(
        (drained.unwrap().discarded, numbers.first()),
        (12, Some(&1))
    );
}

#[test]
fn other_maps_are_refused() {
    or_skip!();
    let array = support::map(libbpf_sys::BPF_MAP_TYPE_ARRAY, (4, 8, 1), 0).unwrap();
    assert!(matches!(
        Consumer::new(array.as_fd()),
        Err(Error::NotARing { map_type: 2 })
    ));
    // Kernels before BPF_F_RB_OVERWRITE (6.19) do not make such a map in the first place.
    match ring_map(64 << 10, libbpf_sys::BPF_F_RB_OVERWRITE) {
        Ok(overwriting) => assert!(matches!(
            Consumer::new(overwriting.as_fd()),
            Err(Error::Overwrites)
        )),
        Err(error) => support::say(&format!(
            "this kernel makes no ring that overwrites: {error}"
        )),
    }
}

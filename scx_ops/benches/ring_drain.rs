//! What draining costs per record of 64 bytes: this crate's consumer against libbpf's.
//!
//! ```text
//! cargo bench -p scx_ops --bench ring_drain
//! ```
//!
//! Each drain finds 1,000 records that a BPF program has just written on the same CPU; only the
//! drain is timed. The table that comes first takes the consumers in turn, round by round, so that
//! a busy machine slows down all of them; criterion's figures follow. Needs root and BPF.

use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow::{Break, Continue};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use criterion::Criterion;
use libbpf_rs::{MapHandle, RingBufferBuilder};
use scx_ops::ring::{Consumer, End};

#[path = "../tests/support/mod.rs"]
mod support;
use support::{Producer, Shape, pin, ring_map, two_cpus, unavailable};

type Failure = Box<dyn Error>;

/// Records per drain.
const BATCH: u32 = 1000;
/// Rounds of the table.
const ROUNDS: usize = 2001;
/// `BPF_RB_NO_WAKEUP`: no consumer waits.
const NO_WAKEUP: i32 = 1;

/// A way to drain [`BATCH`] records; returns how many came.
type Drain = Box<dyn FnMut() -> Result<u32, Failure>>;

/// A consumer with a ring and a producer of its own.
struct Contender {
    name: &'static str,
    producer: Producer,
    drain: Drain,
}

impl Contender {
    fn new(
        name: &'static str,
        drain: fn(OwnedFd) -> Result<Drain, Failure>,
    ) -> Result<Self, Failure> {
        let map = ring_map(256 << 10, 0)?;
        let shape = Shape {
            burst: BATCH as i32,
            busy_turns: 0,
            pause_turns: 0,
            discards: false,
            flags: NO_WAKEUP,
        };
        let producer = Producer::new(map.as_fd(), shape)?;
        Ok(Self {
            name,
            producer,
            drain: drain(map)?,
        })
    }

    /// Fills the ring, then drains it: the time of the latter.
    fn round(&mut self) -> Result<Duration, Failure> {
        self.producer.run()?;
        let begin = Instant::now();
        let count = (self.drain)()?;
        let time = begin.elapsed();
        match count {
            BATCH => Ok(time),
            _ => Err(format!("{}: {count} records of {BATCH}", self.name).into()),
        }
    }
}

/// Looks at a record, as little as possible.
fn touch(record: &[u8]) {
    black_box(record.first());
}

fn ours_batch(map: OwnedFd) -> Result<Drain, Failure> {
    let mut ring = Consumer::new(map.as_fd())?;
    Ok(Box::new(move || {
        let drained = ring.drain(|record| {
            touch(record);
            Continue(())
        })?;
        Ok(drained.received as u32)
    }))
}

fn ours_single(map: OwnedFd) -> Result<Drain, Failure> {
    let mut ring = Consumer::new(map.as_fd())?;
    Ok(Box::new(move || {
        let mut count = 0;
        let mut one = |record: &[u8]| {
            touch(record);
            count += 1;
            Break(())
        };
        while ring.drain(&mut one)?.end == End::Stopped {}
        Ok(count)
    }))
}

fn libbpf(
    map: OwnedFd,
    consume: impl Fn(&libbpf_rs::RingBuffer<'_>) -> i32 + 'static,
) -> Result<Drain, Failure> {
    let handle = MapHandle::from_map_id(map_id(&map)?)?;
    let mut builder = RingBufferBuilder::new();
    builder.add(&handle, |record| {
        touch(record);
        0
    })?;
    let ring = builder.build()?;
    Ok(Box::new(move || Ok(u32::try_from(consume(&ring))?)))
}

fn libbpf_batch(map: OwnedFd) -> Result<Drain, Failure> {
    libbpf(map, |ring| ring.consume_raw())
}

fn libbpf_single(map: OwnedFd) -> Result<Drain, Failure> {
    libbpf(map, |ring| {
        (0..)
            .map_while(|_| (ring.consume_raw_n(1) == 1).then_some(1))
            .sum()
    })
}

fn map_id(map: &OwnedFd) -> Result<u32, Failure> {
    let mut info = libbpf_sys::bpf_map_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: `info` and `len` live through the call; `len` is the size of `info`.
    match unsafe { libbpf_sys::bpf_map_get_info_by_fd(map.as_raw_fd(), &mut info, &mut len) } {
        0 => Ok(info.id),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

/// Median time per record in nanoseconds of each contender, taken in turn.
fn table(contenders: &mut [Contender]) -> Result<(), Failure> {
    let mut times = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            times.push(contender.round()?.as_nanos() as f64 / f64::from(BATCH));
        }
    }
    println!(
        "{:22} ns per record: median of {ROUNDS} rounds, quartiles",
        ""
    );
    for (contender, times) in contenders.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let at = |quarter: usize| times[(ROUNDS - 1) * quarter / 4];
        println!(
            "{:22} {:6.2}   {:.2} to {:.2}",
            contender.name,
            at(2),
            at(1),
            at(3)
        );
    }
    Ok(())
}

/// The same for criterion, whose iterations are records.
fn criterion(contenders: &mut [Contender]) -> Result<(), Failure> {
    let mut failure = Ok(());
    let mut criterion = Criterion::default().configure_from_args();
    for contender in contenders {
        criterion.bench_function(&format!("ring_drain/{}", contender.name), |bencher| {
            bencher.iter_custom(|records| {
                let rounds = records.div_ceil(u64::from(BATCH));
                let time: Result<Duration, Failure> = (0..rounds).map(|_| contender.round()).sum();
                let time = time.unwrap_or_else(|error| {
                    failure = Err(error);
                    Duration::from_nanos(1)
                });
                time.mul_f64(records as f64 / (rounds * u64::from(BATCH)) as f64)
            });
        });
    }
    criterion.final_summary();
    failure
}

fn main() -> Result<(), Failure> {
    if let Some(reason) = unavailable() {
        println!("skipped: {reason}");
        return Ok(());
    }
    if let Some((cpu, _)) = two_cpus() {
        pin(cpu)?;
    }
    let mut contenders = [
        Contender::new("takt, batch", ours_batch)?,
        Contender::new("libbpf consume", libbpf_batch)?,
        Contender::new("takt, one a call", ours_single)?,
        Contender::new("libbpf consume_n(1)", libbpf_single)?,
    ];
    table(&mut contenders)?;
    criterion(&mut contenders)
}

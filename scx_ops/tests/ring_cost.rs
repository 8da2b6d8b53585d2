//! What a consumer costs that drains on a timer: 150,000 events a second, written by another CPU
//! without notification, drained every 10 ms, take less than 0.5 % of a CPU.
//!
//! ```text
//! cargo test -p scx_ops --release --test ring_cost -- --ignored --nocapture
//! ```

use std::ops::ControlFlow::Continue;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use scx_ops::ring::{Consumer, Ledger, balance, record};

mod support;
use support::{Head, KIND, Producer, Shape, pin, ring_map, say, two_cpus, unavailable};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const EVENTS_PER_SECOND: u32 = 150_000;
const BURST: u32 = 15;
const PERIOD: Duration = Duration::from_millis(10);
const SECONDS: u64 = 5;
/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: i32 = 1;

/// CPU time of the calling thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Runs the producer at [`EVENTS_PER_SECOND`] until `stop`.
fn produce(mut producer: Producer, cpu: usize, stop: &AtomicBool) -> Result<Producer, Failure> {
    pin(cpu)?;
    let begin = Instant::now();
    let mut runs = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = begin.elapsed().as_secs_f64() * f64::from(EVENTS_PER_SECOND / BURST);
        while f64::from(runs) < due {
            producer.run()?;
            runs += 1;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(producer)
}

#[test]
#[ignore = "a measurement: needs a CPU to itself for 5 s"]
fn a_timer_costs_less_than_half_a_percent() -> Result<(), Failure> {
    let Some((here, there)) = two_cpus().filter(|_| unavailable().is_none()) else {
        say("skipped: two CPUs and BPF are needed");
        return Ok(());
    };
    let map = ring_map(1 << 20, 0)?;
    let burst = BURST as i32;
    let shape = Shape {
        burst,
        busy_turns: 0,
        pause_turns: 0,
        discards: false,
        flags: NO_WAKEUP,
    };
    let producer = Producer::new(map.as_fd(), shape)?;
    let mut ring = Consumer::new(map.as_fd())?;
    let mut ledger = Ledger::new(4096, KIND as usize + 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(producer, there, &stop));
        pin(here)?;
        let (begin, used) = (Instant::now(), cpu_time());
        let mut drain = || {
            ring.drain(|bytes| {
                if let Ok(head) = record::<Head>(bytes) {
                    ledger.note(head.cpu, head.kind, head.seq);
                }
                Continue(())
            })
        };
        while begin.elapsed() < Duration::from_secs(SECONDS) {
            std::thread::sleep(PERIOD);
            drain()?;
        }
        let share = (cpu_time() - used).as_secs_f64() / begin.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let producer = producer.join().map_err(|_| "the producer panicked")??;
        drain()?;
        balance(producer.produced(), &ring.stats(), &ledger)?;
        let rate = ring.stats().received / SECONDS;
        say(&format!(
            "{:.3} % of a CPU at {rate} records/s",
            share * 100.0
        ));
        assert!(share < 0.005, "too much");
        Ok(())
    })
}

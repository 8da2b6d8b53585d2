//! `frames`: a 60 Hz frame loop of dependent threads among CPU hogs, as in a game.
//!
//! Every 16.7 ms a timer wakes the first of three threads; each computes its part of the frame and
//! wakes the next (logic, drawing, composing). A frame that is not done when the next one is due
//! has missed its deadline.

use anyhow::Result;

use super::eventfd::EventChannel;
use super::hogs::{Hogs, compute, usual_count};
use super::roundtrip::Channel;
use super::sync::{Latencies, exact_timers, join, now_ns, sleep_until_ns};
use super::{Metric, Outcome, Setting, Workload};

/// Time between two frames.
const FRAME_NS: u64 = 16_666_667;
/// Frames in one run, and the same where guest time is slow to come by.
const FRAMES: u32 = 120;
const FRAMES_DETERMINISTIC: u32 = 40;
/// Loops of computation in each of the three threads: about 1, 1 and 0.5 ms at a billion
/// instructions per second, less than their fair share even on one CPU.
const LOOPS: [u32; 3] = [500, 500, 250];

/// See the module.
pub struct Frames;

impl Workload for Frames {
    fn name(&self) -> &'static str {
        "frames"
    }

    fn about(&self) -> &'static str {
        "a 60 Hz loop of 3 dependent threads among 2 CPU hogs per CPU: frames that miss their deadline"
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: [Metric; 4] = [
            Metric::lower("missed", "ratio"),
            Metric::lower("p50", "us"),
            Metric::lower("p99", "us"),
            Metric::lower("max", "us"),
        ];
        &METRICS
    }

    fn run(&self, setting: &Setting) -> Result<Outcome> {
        let _hogs = Hogs::start(usual_count(setting.cpus))?;
        let frames = setting.shortened(FRAMES, FRAMES_DETERMINISTIC);
        let (to_drawing, to_composing) = (EventChannel::new()?, EventChannel::new()?);
        std::thread::scope(|scope| {
            let logic = scope.spawn(|| logic(frames, &to_drawing));
            let drawing = scope.spawn(|| drawing(frames, &to_drawing, &to_composing));
            let composing = scope.spawn(|| composing(frames, &to_composing));
            let (ends_ns, dues_ns) = (join(composing)?, join(logic)?);
            join(drawing)?;
            outcome(&dues_ns, &ends_ns)
        })
    }
}

/// First thread: starts a frame at each tick of the clock. Returns when each was due, in ns.
fn logic(frames: u32, next: &impl Channel) -> Result<Vec<u64>> {
    exact_timers()?;
    let start_ns = now_ns();
    let mut dues_ns = Vec::with_capacity(frames as usize);
    for frame in 1..=u64::from(frames) {
        let due_ns = start_ns + frame * FRAME_NS;
        sleep_until_ns(due_ns);
        dues_ns.push(due_ns);
        compute(LOOPS[0]);
        next.post()?;
    }
    Ok(dues_ns)
}

/// Second thread.
fn drawing(frames: u32, previous: &impl Channel, next: &impl Channel) -> Result<()> {
    for _ in 0..frames {
        previous.wait()?;
        compute(LOOPS[1]);
        next.post()?;
    }
    Ok(())
}

/// Third thread: returns when each frame was done, in ns.
fn composing(frames: u32, previous: &impl Channel) -> Result<Vec<u64>> {
    let mut ends_ns = Vec::with_capacity(frames as usize);
    for _ in 0..frames {
        previous.wait()?;
        compute(LOOPS[2]);
        ends_ns.push(now_ns());
    }
    Ok(ends_ns)
}

fn outcome(dues_ns: &[u64], ends_ns: &[u64]) -> Result<Outcome> {
    let mut latencies = Latencies::new()?;
    let mut missed = 0;
    for (due_ns, end_ns) in dues_ns.iter().zip(ends_ns) {
        let took_ns = end_ns.saturating_sub(*due_ns);
        latencies.record(took_ns);
        missed += u32::from(took_ns > FRAME_NS);
    }
    Ok(latencies
        .outcome()
        .with("missed", f64::from(missed) / dues_ns.len().max(1) as f64))
}

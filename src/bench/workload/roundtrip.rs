//! Two processes that hand a token back and forth: the harness of every round-trip workload.

use anyhow::Result;

use super::sync::{NS_PER_US, now_ns, spawn_process, wait_process};
use super::{Metric, Outcome, Setting};

/// The one metric of a round-trip workload.
pub const METRICS: [Metric; 1] = [Metric::lower("time", "us")];

/// Round trips before the counted ones.
const WARM_UP: u32 = 100;

/// A way to wake one other process.
pub trait Channel {
    /// Wakes the other side.
    fn post(&self) -> Result<()>;
    /// Sleeps until the other side posts.
    fn wait(&self) -> Result<()>;
}

/// Round trips of one run: fewer where they cross CPUs, which costs more.
pub fn usual_trips(setting: &Setting) -> u32 {
    setting.sized(20_000, 5_000)
}

/// Sends a token from here to a second process over `there` and back over `back`.
///
/// The metric `time` is the wall time of one round trip in microseconds.
pub fn measure(trips: u32, there: &impl Channel, back: &impl Channel) -> Result<Outcome> {
    let child = spawn_process(|| {
        for _ in 0..WARM_UP + trips {
            there.wait()?;
            back.post()?;
        }
        Ok(())
    })?;
    let mut start_ns = 0;
    for trip in 0..WARM_UP + trips {
        if trip == WARM_UP {
            start_ns = now_ns();
        }
        there.post()?;
        back.wait()?;
    }
    let elapsed_ns = now_ns() - start_ns;
    wait_process(child)?;
    Ok(Outcome::default().with("time", elapsed_ns as f64 / NS_PER_US / f64::from(trips)))
}

//! Can the goal be met at all? What each level has achieved under this load.

use super::levels;

/// Judgements over the goal at the tightest level before it is given up.
const PATIENCE: u32 = 8;
/// A level is nearly as good as the best one if its p99 is within this factor of it: two buckets of the
/// histogram.
const NEARLY: f64 = 1.5;

/// What each level has achieved, and whether we have given up.
#[derive(Default)]
pub struct Reach {
    /// Moving average of p99 in nanoseconds, by level.
    p99_ns: [Option<f64>; levels::MAX as usize + 1],
    given_up: bool,
}

impl Reach {
    /// Takes one more figure for `level`.
    pub fn note(&mut self, level: u8, p99_ns: u64) {
        if let Some(average) = self.p99_ns.get_mut(usize::from(level)) {
            let new = p99_ns as f64;
            *average = Some(average.map_or(new, |old| old + (new - old) / 4.0));
        }
    }

    /// The goal is met for good: it can be.
    pub fn met(&mut self) {
        self.given_up = false;
    }

    /// Another load: what was learnt says nothing about it.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Has the goal been given up under this load?
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// After `over` judgements over the goal at the tightest level: the level to stay at, if it is
    /// time to give up. The loosest one that is nearly as good as the best.
    pub fn give_up_at(&mut self, over: u32) -> Option<u8> {
        if over < PATIENCE {
            return None;
        }
        self.given_up = true;
        let best = self
            .p99_ns
            .iter()
            .flatten()
            .copied()
            .fold(f64::INFINITY, f64::min);
        let good = |p99: &Option<f64>| p99.is_some_and(|p99| p99 <= best * NEARLY);
        let level = self.p99_ns.iter().position(good)?;
        Some(level as u8)
    }
}

//! Can the goals be met at all? What each level has achieved under this load.

use super::{levels, target};

/// Judgements over the goal at the tightest level before it is given up.
const PATIENCE: u32 = 8;
/// A level is nearly as good as the best one if its p99 is within this factor of it: two buckets of the
/// histogram.
const NEARLY: f64 = 1.5;

/// What each level has achieved, and whether we have given up.
#[derive(Default)]
pub struct Feasibility {
    /// Moving average of p99 as a multiple of the goal, by level, for each goal.
    ratios: [[Option<f64>; target::MOST]; levels::MAX as usize + 1],
    given_up: bool,
}

impl Feasibility {
    /// Takes one more figure of goal number `goal` for `level`.
    pub fn note(&mut self, level: u8, goal: usize, ratio: f64) {
        let slot = self.ratios.get_mut(usize::from(level));
        if let Some(average) = slot.and_then(|level| level.get_mut(goal)) {
            *average = Some(average.map_or(ratio, |old| old + (ratio - old) / 4.0));
        }
    }

    /// The goals are met for good: they can be.
    pub fn met(&mut self) {
        self.given_up = false;
    }

    /// Another load: what was learnt says nothing about it.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Have the goals been given up under this load?
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Has `level` been seen to miss a goal under this load?
    pub fn was_over(&self, level: u8) -> bool {
        self.worst_at(level).is_some_and(|ratio| ratio > 1.0)
    }

    /// What `level` has achieved for the goal that it served worst; `None`: it has not been tried.
    fn worst_at(&self, level: u8) -> Option<f64> {
        let seen = self.ratios.get(usize::from(level))?.iter().flatten();
        seen.copied().max_by(f64::total_cmp)
    }

    /// After `over` judgements over the goal at the tightest level: the level to stay at, if it is
    /// time to give up. The loosest one that is nearly as good as the best.
    pub fn give_up_at(&mut self, over: u32) -> Option<u8> {
        if over < PATIENCE {
            return None;
        }
        self.given_up = true;
        let tried = || (0..=levels::MAX).filter_map(|level| Some((level, self.worst_at(level)?)));
        let best = tried()
            .map(|(_, ratio)| ratio)
            .fold(f64::INFINITY, f64::min);
        tried()
            .find(|(_, ratio)| *ratio <= best * NEARLY)
            .map(|(level, _)| level)
    }
}

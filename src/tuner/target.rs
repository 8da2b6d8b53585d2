//! One goal: the wakeups that it is about, and how often it was missed or met lately.
//!
//! Each goal has a window of its own. With one for all, a few tasks of class latency would never be judged
//! beside thousands of other wakeups, which fill it first.

use std::time::Duration;

use super::Figures;
use crate::config::Goal;
use crate::wakeups::{LATENCY, NORMAL, Wakeups};

/// Wakeups that make a judgement at once.
const ENOUGH: u64 = 100;
/// Fewer than this within [`WINDOW`] say nothing about a p99; no wakeup is late then.
const FEW: u64 = 20;
/// After this a judgement is made with what there is.
const WINDOW: Duration = Duration::from_secs(1);

/// How many goals there may be.
pub const MOST: usize = 2;

/// One goal.
pub struct Target {
    /// Numbers of the classes that it is about.
    classes: &'static [usize],
    goal_ns: u64,
    window: Wakeups,
    length: Duration,
    /// By the last judgement; `None`: there were too few wakeups to tell.
    p99_ns: Option<u64>,
    /// Judgements in a row that were over the goal.
    pub over: u32,
    /// The same, within it.
    pub within: u32,
    /// The same, within half of it.
    pub comfortable: u32,
}

/// What the last judgement of a goal has found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// p99, in nanoseconds.
    pub p99_ns: u64,
    /// What it should be at most, in nanoseconds.
    pub goal_ns: u64,
    /// How often in a row it was more.
    pub over: u32,
}

impl Found {
    /// p99, the goal being 1.
    pub fn ratio(&self) -> f64 {
        self.p99_ns as f64 / self.goal_ns as f64
    }
}

/// The goal that was missed by most, or met by least, of those that could be judged.
pub fn worst<'a>(targets: impl Iterator<Item = &'a Target>) -> Option<Found> {
    targets
        .filter_map(Target::found)
        .max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
}

impl Target {
    /// The goals that are set.
    pub fn all(goal: &Goal) -> Vec<Self> {
        let wanted: [(&[usize], _); MOST] = [
            (&[NORMAL, LATENCY], goal.wakeup_p99_us),
            (&[LATENCY], goal.latency_wakeup_p99_us),
        ];
        let set = wanted.into_iter().filter_map(|(classes, goal_us)| {
            Some(Self {
                classes,
                goal_ns: goal_us? * 1000,
                window: Wakeups::default(),
                length: Duration::ZERO,
                p99_ns: None,
                over: 0,
                within: 0,
                comfortable: 0,
            })
        });
        set.collect()
    }

    /// Takes what was seen. True: that made a judgement.
    pub fn note(&mut self, figures: &Figures) -> bool {
        for &class in self.classes {
            self.window = self.window.plus(&figures.wakeups[class]);
        }
        self.length += figures.period;
        let count = self.window.count();
        if count < ENOUGH && self.length < WINDOW {
            return false;
        }
        let seen = std::mem::take(&mut self.window);
        self.length = Duration::ZERO;
        self.p99_ns = seen.quantile_ns(990).filter(|_| count >= FEW);
        // No wakeup is late when there are hardly any.
        let ratio = self.found().map_or(0.0, |found| found.ratio());
        let grown = |count: u32, when: bool| if when { count + 1 } else { 0 };
        self.over = grown(self.over, ratio > 1.0);
        self.within = grown(self.within, ratio <= 1.0);
        self.comfortable = grown(self.comfortable, ratio < 0.5);
        true
    }

    /// What the last judgement has found; `None`: there were too few wakeups to tell.
    pub fn found(&self) -> Option<Found> {
        Some(Found {
            p99_ns: self.p99_ns?,
            goal_ns: self.goal_ns,
            over: self.over,
        })
    }

    /// Other tunables: what was seen under the old ones counts no longer.
    pub fn clear(&mut self) {
        self.window = Wakeups::default();
        self.length = Duration::ZERO;
        (self.over, self.within, self.comfortable) = (0, 0, 0);
    }
}

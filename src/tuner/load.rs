//! How many tasks want to run, and what that does to the knobs when there is no goal.

use std::time::Duration;

use super::{Figures, Task};
use crate::bpf_abi::intf::takt_knobs;
use crate::config::knobs;
use crate::config::profile::Profile;

/// Runnable tasks per CPU above which turns become longer, and below which they are as before.
const CROWDED: (f64, f64) = (8.0, 4.0);
/// For how long, either way.
const FOR: Duration = Duration::from_secs(3);
/// Time constant of the average.
const SMOOTH_S: f64 = 2.0;

/// The load as it was seen so far.
#[derive(Default)]
pub struct Load {
    average: Option<f64>,
    /// The average when what was learnt began to be valid.
    mark: f64,
    crowded: bool,
    beyond: Duration,
}

impl Load {
    /// Takes one more figure. True: the load is another than it was, by a factor of two.
    pub fn note(&mut self, figures: &Figures) -> bool {
        let period_s = figures.period.as_secs_f64();
        let share = 1.0 - (-period_s / SMOOTH_S).exp();
        let average = match self.average {
            Some(average) => average + (figures.load - average) * share,
            None => figures.load,
        };
        self.average = Some(average);
        let beyond = if self.crowded {
            average < CROWDED.1
        } else {
            average > CROWDED.0
        };
        self.beyond = if beyond {
            self.beyond + figures.period
        } else {
            Duration::ZERO
        };
        if self.beyond >= FOR {
            self.crowded = !self.crowded;
            self.beyond = Duration::ZERO;
        }
        // Below half a task per CPU nobody waits, and factors mean nothing.
        let (now, then) = (average.max(0.5), self.mark.max(0.5));
        let changed = now > then * 2.0 || now < then / 2.0;
        if changed {
            self.mark = average;
        }
        changed
    }

    /// Runnable tasks per CPU, over some seconds.
    pub fn average(&self) -> f64 {
        self.average.unwrap_or(0.0)
    }

    /// Are there many tasks to each CPU?
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// What to set under this load when there is no goal.
    pub fn knobs(&self, task: &Task) -> takt_knobs {
        let mut wanted = task.base;
        if self.crowded && task.profile == Profile::Server {
            for name in ["slice_min_ns", "latency_ns"] {
                if let Some(knob) = knobs::find(name) {
                    knob.set(&mut wanted, 2 * knob.of(&task.base));
                }
            }
        }
        wanted
    }
}

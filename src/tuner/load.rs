//! How many tasks want to run, and what that does to the tunables when there is no goal.

use std::time::Duration;

use super::{Figures, Task};
use crate::bpf_abi::intf::takt_tunables;
use crate::config::profile::Profile;
use crate::config::tunables;

/// Runnable tasks per CPU above which slices become longer, and below which they are as before.
const CROWDED: (f64, f64) = (8.0, 4.0);
/// For how long, either way.
const FOR: Duration = Duration::from_secs(3);
/// Time constant of the average.
const SMOOTH_S: f64 = 2.0;
/// For so long the average may still be on its way to what the load has become at once.
const ON_ITS_WAY: Duration = Duration::from_secs(6);

/// The load as it was seen so far.
#[derive(Default)]
pub struct Load {
    average: Option<f64>,
    /// The average when what was learnt began to be valid.
    mark: f64,
    /// The mark was moved last: was it to more, and how long ago?
    latest: Option<(bool, Duration)>,
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
        self.has_changed(average, figures.period)
    }

    /// Is `average` another load than the one at the mark? A step is reported once, and not again for each factor
    /// of two that the average passes on its way.
    fn has_changed(&mut self, average: f64, period: Duration) -> bool {
        if let Some((_, ago)) = &mut self.latest {
            *ago += period;
        }
        // Below half a task per CPU no task waits, and factors mean nothing.
        let (now, then) = (average.max(0.5), self.mark.max(0.5));
        let is_more = now > then * 2.0;
        if !is_more && now >= then / 2.0 {
            return false;
        }
        self.mark = average;
        let before = self.latest.replace((is_more, Duration::ZERO));
        before.is_none_or(|(was_more, ago)| was_more != is_more || ago >= ON_ITS_WAY)
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
    pub fn tunables(&self, task: &Task) -> takt_tunables {
        let mut wanted = task.base;
        if self.crowded && task.profile == Profile::Server {
            for name in ["slice_min_ns", "latency_ns"] {
                if let Some(tunable) = tunables::find(name) {
                    tunable.set(&mut wanted, 2 * tunable.of(&task.base));
                }
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When, in quarters of a second, a load that was `first` for 20 s and `then` another was said to
    /// have changed.
    fn changes(first: f64, then: f64) -> Vec<usize> {
        let mut load = Load::default();
        let figures = |load| Figures {
            period: Duration::from_millis(250),
            wakeups: Default::default(),
            load,
        };
        let all = [first, then].into_iter().flat_map(|of| [of; 80]);
        all.enumerate()
            .filter_map(|(at, of)| load.note(&figures(of)).then_some(at))
            .collect()
    }

    #[test]
    fn a_step_is_reported_once_and_soon() {
        for (first, then) in [(0.0, 8.0), (1.0, 40.0), (40.0, 1.0), (8.0, 0.0)] {
            let reported: Vec<_> = changes(first, then)
                .into_iter()
                .filter(|at| *at >= 80)
                .collect();
            assert!(
                reported.len() == 1 && reported[0] < 90,
                "{first} to {then}: {reported:?}"
            );
        }
        assert!(
            changes(5.0, 7.0).iter().all(|at| *at < 80),
            "no factor of two"
        );
    }
}

//! The control loop's law, without any BPF in it: figures in, knobs out, a reason for each change.
//!
//! All knobs move together along one scale (see [`levels`]): level 0 is what the user set, each level
//! above it gives some throughput up for latency. With a goal, once per judgement:
//!
//! ```text
//! r = p99 of wakeup latency / goal            the worst of the goals that are set
//!
//! r > 1      twice running:  level += 1 (r < 2), 2 (r < 8) or 4
//! r < 1/2    patience times: level -= 1
//! between:   hold
//! ```
//!
//! A judgement takes 100 wakeups, or what there was within a second. The one after a change is thrown
//! out, for its waits began under the old knobs.
//!
//! - *Bounded*: the level stays in 0..=12, a change is by 4 at most, so no knob moves by more than
//!   a factor of 4.2 at once, and none leaves the range of its table.
//! - *Hysteresis*: between r = 1/2 and 1 nothing moves.
//! - *No oscillation*: a level that was left downwards and had to be taken again costs patience: the
//!   next try comes after twice as many judgements, up to 512. A change of load by a factor of two
//!   resets that, for what was learnt about the old load says little about the new one.
//! - *Anti-windup*: a goal missed at the tightest level for 8 judgements cannot be met. That is said
//!   once for each goal, and the level goes to the loosest that was nearly as good as the best one, until the load
//!   changes or the goal is met.
//! - *Figures that are missing or absurd*: back to level 0, said once.
//!
//! Without a goal nothing is measured in the kernel and the agent looks every two seconds. The knobs follow
//! the power source (profile `auto`) and, where throughput was asked for (`server`), the load: with more
//! than 8 runnable tasks per CPU for 3 seconds turns are twice as long, with less than 4 for 3 seconds as
//! before.

pub mod levels;
mod load;
#[cfg(test)]
mod model;
mod reach;

use std::collections::VecDeque;
use std::time::Duration;

use crate::bpf_abi::intf::takt_knobs;
use crate::config::Goal;
use crate::config::profile::Profile;
use crate::wakeups::{self, Wakeups};
use levels::time;
use load::Load;
use reach::Reach;

/// Wakeups that make a judgement at once.
const ENOUGH: u64 = 100;
/// Fewer than this within [`WINDOW`] say nothing about a p99; nobody is late then.
const FEW: u64 = 20;
/// After this a judgement is made with what there is.
const WINDOW: Duration = Duration::from_secs(1);
/// Judgements over the goal before the level rises.
const TIGHTEN_AFTER: u32 = 2;
/// Comfortable judgements before the level falls, at first and at most.
const PATIENCE: (u32, u32) = (8, 512);
/// Latencies beyond this are no latencies, in nanoseconds (100 s).
const ABSURD_NS: u64 = 100_000_000_000;
/// Changes that are remembered.
const HISTORY: usize = 64;

/// What was seen since the last time.
#[derive(Clone, Debug)]
pub struct Figures {
    /// How long that is.
    pub period: Duration,
    /// Wakeup latencies by class number.
    pub wakeups: [Wakeups; 3],
    /// Runnable tasks per CPU.
    pub load: f64,
}

/// Knobs that were turned, and why.
#[derive(Clone, Debug)]
pub struct Change {
    /// The old ones.
    pub from: takt_knobs,
    /// The new ones.
    pub knobs: takt_knobs,
    /// "p99 1,240 us over goal 500 us 2 times".
    pub why: String,
    /// "p99 1,240 us over goal 500 us 2 times: level 2; slice_max 20 ms -> 11 ms, ...".
    pub reason: String,
    /// What the user asked for cannot be had: to be said in any case.
    pub is_important: bool,
}

/// Where the tuner starts from and what it is to reach.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The knobs of level 0.
    pub base: takt_knobs,
    /// What to reach.
    pub goal: Goal,
    /// What the machine is for.
    pub profile: Profile,
}

/// The controller.
pub struct Tuner {
    task: Task,
    level: u8,
    knobs: takt_knobs,
    window: [Wakeups; 3],
    window_length: Duration,
    over: u32,
    comfortable: u32,
    patience: u32,
    /// Judgements since the level fell, while that may still turn out to have been a mistake.
    relaxed: Option<u32>,
    settling: bool,
    missing: bool,
    /// That the goal cannot be met has been said.
    said_unmet: bool,
    load: Load,
    reach: Reach,
    history: VecDeque<String>,
}

/// The worst of the goals: its percentile and its limit in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Worst {
    p99_ns: u64,
    goal_ns: u64,
}

impl Worst {
    fn ratio(self) -> f64 {
        self.p99_ns as f64 / self.goal_ns as f64
    }
}

impl Tuner {
    /// A controller at level 0.
    pub fn new(task: Task) -> Self {
        Self {
            task,
            level: 0,
            knobs: task.base,
            window: Default::default(),
            window_length: Duration::ZERO,
            over: 0,
            comfortable: 0,
            patience: PATIENCE.0,
            relaxed: None,
            settling: false,
            missing: false,
            said_unmet: false,
            load: Load::default(),
            reach: Reach::default(),
            history: VecDeque::new(),
        }
    }

    /// The knobs in force.
    pub fn knobs(&self) -> &takt_knobs {
        &self.knobs
    }

    /// The level in force.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The latest change, with its reason.
    pub fn last_change(&self) -> Option<&str> {
        self.history.back().map(String::as_str)
    }

    /// Another base, goal or profile. What was learnt for the old one is forgotten, unless only the
    /// base moved.
    pub fn retarget(&mut self, task: Task, why: &str) -> Option<Change> {
        if task.goal != self.task.goal || task.profile != self.task.profile {
            let (knobs, history) = (self.knobs, std::mem::take(&mut self.history));
            *self = Self {
                knobs,
                history,
                ..Self::new(task)
            };
        }
        self.task = task;
        self.turn(why.to_owned())
    }

    /// No more turns: the knobs of `task` as they were set. What was learnt is forgotten.
    pub fn park(&mut self, task: Task, why: &str) -> Option<Change> {
        let (from, history) = (self.knobs, std::mem::take(&mut self.history));
        *self = Self {
            history,
            ..Self::new(task)
        };
        let turned = !levels::differences(&from, &self.knobs).is_empty();
        turned.then(|| self.tell(from, why.to_owned()))
    }

    /// Figures that cannot be had: back to where we started.
    pub fn missing(&mut self, why: &str) -> Option<Change> {
        if std::mem::replace(&mut self.missing, true) {
            return None;
        }
        self.clear();
        self.level = 0;
        self.load = Load::default();
        self.reach.forget();
        let from = self.knobs;
        self.knobs = self.task.base;
        let why = format!("no figures to go by ({why}), knobs as they were set");
        Some(Change {
            is_important: true,
            ..self.tell(from, why)
        })
    }

    /// Looks at what was seen and turns the knobs if need be.
    pub fn step(&mut self, figures: &Figures) -> Option<Change> {
        if let Some(what) = absurd(figures) {
            return self.missing(what);
        }
        self.missing = false;
        if self.load.note(figures) {
            self.patience = PATIENCE.0;
            self.reach.forget();
        }
        if !self.task.goal.is_set() {
            return self.follow_load();
        }
        for (sum, new) in self.window.iter_mut().zip(&figures.wakeups) {
            *sum = sum.plus(new);
        }
        self.window_length += figures.period;
        let counted: u64 = self.window.iter().map(Wakeups::count).sum();
        if counted < ENOUGH && self.window_length < WINDOW {
            return None;
        }
        let worst = self.worst();
        self.clear_window();
        if std::mem::take(&mut self.settling) {
            return None;
        }
        self.judge(worst)
    }

    /// Without a goal: only load and power source matter.
    fn follow_load(&mut self) -> Option<Change> {
        let crowded = self.load.is_crowded();
        let wanted = self.load.knobs(&self.task);
        if levels::differences(&self.knobs, &wanted).is_empty() {
            return None;
        }
        let what = if crowded { "many tasks" } else { "fewer tasks" };
        self.turn(format!("{what} per CPU ({:.1})", self.load.average()))
    }

    /// The goal that is missed by most, if there were enough wakeups to tell.
    fn worst(&self) -> Option<Worst> {
        let latency = &self.window[wakeups::LATENCY];
        let all = latency.plus(&self.window[wakeups::NORMAL]);
        let goal = &self.task.goal;
        let pairs = [
            (&all, goal.wakeup_p99_us),
            (latency, goal.latency_wakeup_p99_us),
        ];
        pairs
            .into_iter()
            .filter(|(seen, _)| seen.count() >= FEW)
            .filter_map(|(seen, goal_us)| {
                Some(Worst {
                    p99_ns: seen.quantile_ns(990)?,
                    goal_ns: goal_us? * 1000,
                })
            })
            .max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
    }

    fn judge(&mut self, worst: Option<Worst>) -> Option<Change> {
        let ratio = worst.map_or(0.0, Worst::ratio);
        if let Some(worst) = worst {
            self.reach.note(self.level, worst.p99_ns);
        }
        self.relaxed = self
            .relaxed
            .map(|since| since + 1)
            .filter(|since| *since <= self.patience);
        match worst {
            Some(worst) if ratio > 1.0 => {
                self.comfortable = 0;
                self.over += 1;
                self.tighten(worst)
            }
            _ => {
                self.over = 0;
                self.comfortable = if ratio < 0.5 { self.comfortable + 1 } else { 0 };
                self.relax(worst)
            }
        }
    }

    fn tighten(&mut self, worst: Worst) -> Option<Change> {
        if self.over < TIGHTEN_AFTER || self.reach.is_given_up() {
            return None;
        }
        let said = format!("p99 {} over goal {}", us(worst.p99_ns), us(worst.goal_ns));
        if self.level == levels::MAX {
            let level = self.reach.give_up_at(self.over)?;
            self.level = level;
            let why = format!("{said} at every level: it cannot be met under this load");
            let change = self.turn(why.clone());
            let change = change.unwrap_or_else(|| self.tell(self.knobs, why));
            // Once for each goal: under a load that comes and goes it would be said again and again.
            return Some(Change {
                is_important: !std::mem::replace(&mut self.said_unmet, true),
                ..change
            });
        }
        if self.relaxed.take().is_some() {
            self.patience = (self.patience * 2).min(PATIENCE.1);
        }
        let step = match worst.ratio() {
            r if r < 2.0 => 1,
            r if r < 8.0 => 2,
            _ => 4,
        };
        let times = self.over;
        self.level = (self.level + step).min(levels::MAX);
        self.turn(format!("{said} {times} times"))
    }

    fn relax(&mut self, worst: Option<Worst>) -> Option<Change> {
        if self.comfortable < self.patience {
            return None;
        }
        self.reach.met();
        if self.level == 0 {
            return None;
        }
        let times = self.comfortable;
        self.level -= 1;
        self.relaxed = Some(0);
        let change = self.turn(match worst {
            Some(worst) => {
                format!(
                    "p99 {} well within goal {} {times} times",
                    us(worst.p99_ns),
                    us(worst.goal_ns)
                )
            }
            None => format!("hardly a wakeup {times} times"),
        });
        // The clock that tells a mistake starts now.
        self.relaxed = Some(0);
        change
    }

    /// Takes the knobs of the level and the load; `None` if they are what they were.
    fn turn(&mut self, why: String) -> Option<Change> {
        let wanted = if self.task.goal.is_set() {
            levels::at(&self.task.base, self.level)
        } else {
            self.load.knobs(&self.task)
        };
        let differences = levels::differences(&self.knobs, &wanted);
        self.clear();
        self.settling = true;
        let from = std::mem::replace(&mut self.knobs, wanted);
        if differences.is_empty() {
            return None;
        }
        Some(self.tell(from, why))
    }

    fn tell(&mut self, from: takt_knobs, why: String) -> Change {
        let differences = levels::differences(&from, &self.knobs);
        let reason = match &differences[..] {
            "" => why.clone(),
            _ => format!("{why}: level {}; {differences}", self.level),
        };
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(reason.clone());
        Change {
            from,
            knobs: self.knobs,
            why,
            reason,
            is_important: false,
        }
    }

    fn clear_window(&mut self) {
        self.window = Default::default();
        self.window_length = Duration::ZERO;
    }

    fn clear(&mut self) {
        self.clear_window();
        (self.over, self.comfortable) = (0, 0);
    }
}

/// What is wrong with figures that no machine can produce.
fn absurd(figures: &Figures) -> Option<&'static str> {
    let most = 1_000_000_000;
    let slowest = figures
        .wakeups
        .iter()
        .filter_map(|seen| seen.quantile_ns(990))
        .max();
    if figures.wakeups.iter().any(|seen| seen.count() > most) {
        Some("counters ran backwards")
    } else if slowest.is_some_and(|ns| ns > ABSURD_NS) {
        Some("a wakeup latency beyond 100 s")
    } else if !figures.load.is_finite() || figures.load < 0.0 {
        Some("a load that is no number")
    } else if figures.period.is_zero() {
        Some("a period of no length")
    } else {
        None
    }
}

/// Microseconds with thousands set apart.
fn us(ns: u64) -> String {
    if ns < 10_000_000 {
        let us = ns / 1000;
        return match us {
            0..1000 => format!("{us} us"),
            _ => format!("{},{:03} us", us / 1000, us % 1000),
        };
    }
    time(ns)
}

#[cfg(test)]
mod tests;

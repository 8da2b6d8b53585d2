//! The control loop's law, without any BPF in it: figures in, tunables out, a reason for each change.
//!
//! All tunables move together along one scale (see [`levels`]): level 0 is what the user set, each level
//! above it gives some throughput up for latency. With a goal, once per judgement:
//!
//! ```text
//! r = p99 of wakeup latency / goal            for each goal that is set
//!
//! r > 1      twice running, for any goal:     level += 1 (r < 2), 2 (r < 8) or 4
//! r < 1/2    patience times, for all goals:   level -= 1
//! between:   hold
//! ```
//!
//! A judgement takes 100 wakeups that the goal is about, or what there was within a second. The period after
//! a change is dropped, for its waits began under the old tunables.
//!
//! - *Bounded*: the level stays in 0..=12, a change is by 4 at most, so no tunable moves by more than
//!   a factor of 7.8 at once, and none leaves the range of its table.
//! - *Hysteresis*: between r = 1/2 and 1 nothing moves.
//! - *No oscillation*: a level that was left downwards and had to be taken again costs patience: the
//!   next try comes after twice as many judgements, up to 512. A level that has missed the goal under this
//!   load, on the way up say, is tried again after four times the patience only. A change of load by a factor
//!   of two resets both, for what was learnt about the old load says little about the new one.
//! - *Anti-windup*: a goal missed at the tightest level for 8 judgements cannot be met. That is said
//!   once for each goal, and the level goes to the loosest that was nearly as good as the best one, until the load
//!   changes or the goal is met for as long as the patience.
//! - *Figures that are missing or absurd*: back to level 0, said once.
//!
//! Without a goal nothing is measured in the kernel and the agent looks every two seconds. The tunables follow
//! the power source (profile `auto`) and, where throughput was asked for (`server`), the load: with more
//! than 8 runnable tasks per CPU for 3 seconds slices are twice as long, with less than 4 for 3 seconds as
//! before.

mod feasibility;
pub mod levels;
mod load;
#[cfg(test)]
mod model;
mod target;

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::units::time;
use crate::bpf_abi::intf::takt_tunables;
use crate::config::Goal;
use crate::config::profile::Profile;
use crate::wakeups::Wakeups;
use feasibility::Feasibility;
use load::Load;
use target::{Found, Target};

/// Judgements over the goal before the level rises.
const TIGHTEN_AFTER: u32 = 2;
/// Comfortable judgements before the level falls, at first and at most.
const PATIENCE: (u32, u32) = (8, 512);
/// By so much longer before it falls to a level that has missed a goal under this load.
const ONCE_BITTEN: u32 = 4;
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

/// Tunables that were set, and why.
#[derive(Clone, Debug)]
pub struct Change {
    /// The old ones.
    pub from: takt_tunables,
    /// The new ones.
    pub tunables: takt_tunables,
    /// "p99 1.2 ms over goal 500 us 2 times".
    pub why: String,
    /// "p99 1.2 ms over goal 500 us 2 times: level 2; slice_max 20 ms -> 11.2 ms, ...".
    pub reason: String,
    /// What the user asked for cannot be had: to be said in any case.
    pub is_important: bool,
}

/// Where the tuner starts from and what it is to reach.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The tunables of level 0.
    pub base: takt_tunables,
    /// What to reach.
    pub goal: Goal,
    /// What the machine is for.
    pub profile: Profile,
}

/// The controller.
pub struct Tuner {
    task: Task,
    level: u8,
    tunables: takt_tunables,
    targets: Vec<Target>,
    patience: u32,
    /// Judgements since the level fell, while that may still turn out to have been a mistake.
    relaxed: Option<u32>,
    settling: bool,
    missing: bool,
    /// That the goal cannot be met has been said.
    said_unmet: bool,
    load: Load,
    feasibility: Feasibility,
    history: VecDeque<String>,
}

impl Tuner {
    /// A controller at level 0.
    pub fn new(task: Task) -> Self {
        Self {
            task,
            level: 0,
            tunables: task.base,
            targets: Target::all(&task.goal),
            patience: PATIENCE.0,
            relaxed: None,
            settling: false,
            missing: false,
            said_unmet: false,
            load: Load::default(),
            feasibility: Feasibility::default(),
            history: VecDeque::new(),
        }
    }

    /// The tunables in force.
    pub fn tunables(&self) -> &takt_tunables {
        &self.tunables
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
            let (tunables, history) = (self.tunables, std::mem::take(&mut self.history));
            *self = Self {
                tunables,
                history,
                ..Self::new(task)
            };
        }
        self.task = task;
        self.adjust(why.to_owned())
    }

    /// No more adjustments: the tunables of `task` as they were set. What was learnt is forgotten.
    pub fn reset(&mut self, task: Task, why: &str) -> Option<Change> {
        let (from, history) = (self.tunables, std::mem::take(&mut self.history));
        *self = Self {
            history,
            ..Self::new(task)
        };
        let is_changed = !levels::differences(&from, &self.tunables).is_empty();
        is_changed.then(|| self.record_change(from, why.to_owned()))
    }

    /// Figures that cannot be had: back to where we started.
    pub fn missing(&mut self, why: &str) -> Option<Change> {
        if std::mem::replace(&mut self.missing, true) {
            return None;
        }
        self.clear();
        self.level = 0;
        self.load = Load::default();
        self.feasibility.forget();
        let from = self.tunables;
        self.tunables = self.task.base;
        let why = format!("no figures to go by ({why}), tunables as they were set");
        Some(Change {
            is_important: true,
            ..self.record_change(from, why)
        })
    }

    /// Looks at what was seen and sets the tunables if need be.
    pub fn step(&mut self, figures: &Figures) -> Option<Change> {
        if let Some(what) = absurd(figures) {
            return self.missing(what);
        }
        self.missing = false;
        if self.load.note(figures) {
            self.patience = PATIENCE.0;
            self.feasibility.forget();
        }
        if !self.task.goal.is_set() {
            return self.follow_load();
        }
        if std::mem::take(&mut self.settling) {
            return None;
        }
        let mut is_judged = false;
        for (goal, target) in self.targets.iter_mut().enumerate() {
            if target.note(figures) {
                is_judged = true;
                if let Some(found) = target.found() {
                    self.feasibility.note(self.level, goal, found.ratio());
                }
            }
        }
        is_judged.then(|| self.judge()).flatten()
    }

    /// Without a goal: only load and power source matter.
    fn follow_load(&mut self) -> Option<Change> {
        let crowded = self.load.is_crowded();
        let wanted = self.load.tunables(&self.task);
        if levels::differences(&self.tunables, &wanted).is_empty() {
            return None;
        }
        let what = if crowded { "many tasks" } else { "fewer tasks" };
        self.adjust(format!("{what} per CPU ({:.1})", self.load.average()))
    }

    /// Adjusts, if the last judgements of the goals ask for it.
    fn judge(&mut self) -> Option<Change> {
        self.relaxed = self
            .relaxed
            .map(|since| since + 1)
            .filter(|since| *since <= self.patience);
        if self.of_all(|goal| goal.within) >= self.patience {
            self.feasibility.met();
        }
        let is_missed = |goal: &&Target| goal.over >= TIGHTEN_AFTER;
        match target::worst(self.targets.iter().filter(is_missed)) {
            Some(missed) => self.tighten(missed),
            None => self.relax(),
        }
    }

    /// How often in a row every goal was found so.
    fn of_all(&self, count: fn(&Target) -> u32) -> u32 {
        self.targets.iter().map(count).min().unwrap_or(0)
    }

    fn tighten(&mut self, missed: Found) -> Option<Change> {
        if self.feasibility.is_given_up() {
            return None;
        }
        let said = format!(
            "p99 {} over goal {}",
            time(missed.p99_ns),
            time(missed.goal_ns)
        );
        if self.level == levels::MAX {
            let level = self.feasibility.give_up_at(missed.over)?;
            self.level = level;
            self.patience = (self.patience * 2).min(PATIENCE.1);
            let why = format!("{said} at every level: it cannot be met under this load");
            let change = self.adjust(why.clone());
            let change = change.unwrap_or_else(|| self.record_change(self.tunables, why));
            // Once for each goal: under a load that comes and goes it would be said again and again.
            return Some(Change {
                is_important: !std::mem::replace(&mut self.said_unmet, true),
                ..change
            });
        }
        if self.relaxed.take().is_some() {
            self.patience = (self.patience * 2).min(PATIENCE.1);
        }
        let step = match missed.ratio() {
            r if r < 2.0 => 1,
            r if r < 8.0 => 2,
            _ => 4,
        };
        self.level = (self.level + step).min(levels::MAX);
        self.adjust(format!("{said} {} times", missed.over))
    }

    fn relax(&mut self) -> Option<Change> {
        let times = self.of_all(|goal| goal.comfortable);
        let next = self.level.checked_sub(1)?;
        let factor = if self.feasibility.was_over(next) {
            ONCE_BITTEN
        } else {
            1
        };
        if times < (self.patience * factor).min(PATIENCE.1) {
            return None;
        }
        self.level = next;
        let found = target::worst(self.targets.iter());
        let change = self.adjust(match found {
            Some(found) => {
                let (p99, goal) = (time(found.p99_ns), time(found.goal_ns));
                format!("p99 {p99} well within goal {goal} {times} times")
            }
            None => format!("hardly a wakeup {times} times"),
        });
        // The clock that tells a mistake starts now.
        self.relaxed = Some(0);
        change
    }

    /// Takes the tunables of the level and the load; `None` if they are what they were.
    fn adjust(&mut self, why: String) -> Option<Change> {
        let wanted = if self.task.goal.is_set() {
            levels::at(&self.task.base, self.level)
        } else {
            self.load.tunables(&self.task)
        };
        let differences = levels::differences(&self.tunables, &wanted);
        self.clear();
        self.settling = true;
        let from = std::mem::replace(&mut self.tunables, wanted);
        if differences.is_empty() {
            return None;
        }
        Some(self.record_change(from, why))
    }

    fn record_change(&mut self, from: takt_tunables, why: String) -> Change {
        let differences = levels::differences(&from, &self.tunables);
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
            tunables: self.tunables,
            why,
            reason,
            is_important: false,
        }
    }

    fn clear(&mut self) {
        self.targets.iter_mut().for_each(Target::clear);
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

#[cfg(test)]
mod tests;

//! What is on the screen: the latest snapshot, what led to it, and which screen is chosen.

use std::collections::VecDeque;

use crate::snapshot::{Delta, Snapshot, Task, Waits, is_takt};

/// Points of history that are kept: more than the widest screen shows.
const HISTORY: usize = 512;
/// The quantiles that are shown, in thousandths, with their names.
pub const QUANTILES: [(&str, u64); 3] = [("p50", 500), ("p99", 990), ("p99.9", 999)];

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Colours.
    pub color: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
}

/// Which screen is chosen, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Everything at a glance.
    #[default]
    Overview,
    /// The task that is selected.
    Task,
    /// The latest events.
    Events,
    /// The cgroups that use most CPU time.
    Cgroups,
    /// Keys and words.
    Help,
}

/// All that [`super::draw::draw`] needs.
pub struct View {
    /// The latest snapshot.
    pub now: Snapshot,
    /// What happened since the one before.
    pub delta: Snapshot,
    /// Quantiles of wakeup latency per period, oldest first, as in [`QUANTILES`]; 0: no waits.
    pub history: VecDeque<[u64; 3]>,
    /// This machine's wakeups under EEVDF, of the same kind as ours.
    pub baseline: Option<Waits>,
    /// The sched_ext scheduler that was active when we last saw one, and when that was.
    pub was: Option<(String, u64)>,
    /// What cannot be seen, and why.
    pub unavailable: String,
    /// Which page.
    pub page: Page,
    /// How far the page is scrolled, in lines.
    pub scroll: usize,
    /// The task that the viewer has selected, as it was last listed.
    chosen: Option<Task>,
    /// An answer to the last key.
    pub note: String,
    /// What the terminal can show.
    pub theme: Theme,
}

impl View {
    /// An empty one.
    pub fn new(theme: Theme) -> Self {
        Self {
            now: Snapshot::default(),
            delta: Snapshot::default(),
            history: VecDeque::new(),
            baseline: None,
            was: None,
            unavailable: String::new(),
            page: Page::Overview,
            scroll: 0,
            chosen: None,
            note: String::new(),
            theme,
        }
    }

    /// The next snapshot.
    pub fn take(&mut self, now: Snapshot) {
        if now.at_ns == self.now.at_ns {
            return; // the same one again
        }
        let same = now.scheduler.name == self.now.scheduler.name
            && now.wakeups.kind == self.now.wakeups.kind
            && now.scheduler.uptime_ns >= self.now.scheduler.uptime_ns;
        if same {
            self.delta = now.since(&self.now);
        } else {
            // Figures of another scheduler: only what the system counts goes on.
            self.delta = now.since(&Snapshot {
                activity: now.activity.clone(),
                waits: now.waits.clone(),
                wakeups: now.wakeups.clone(),
                cost: now.cost.clone(),
                core_events: now.core_events.clone(),
                ..self.now.clone()
            });
            self.history.clear();
        }
        let quantiles = QUANTILES.map(|(_, q)| self.delta.wakeups.quantile_ns(q).unwrap_or(0));
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(quantiles);
        let name = &now.scheduler.name;
        if name != Snapshot::KERNELS_OWN && !name.starts_with(Snapshot::CHANGING) {
            self.was = Some((now.scheduler.name.clone(), now.unix_s));
        }
        self.now = now;
        // Tasks change places from sample to sample; the selection stays with its task.
        let chosen = self.chosen.as_ref().map(|task| task.pid);
        if let Some(&found) = self.listed().iter().find(|task| Some(task.pid) == chosen) {
            self.chosen = Some(found.clone());
        }
    }

    /// The task that is selected: the first one, until the viewer selects another.
    pub fn selected(&self) -> Option<&Task> {
        self.chosen
            .as_ref()
            .or_else(|| self.listed().first().copied())
    }

    /// Keeps the task that is selected, wherever it goes.
    pub fn choose(&mut self) {
        self.chosen = self.selected().cloned();
    }

    /// Selects the task `by` places further down, as far as there are any.
    pub fn select(&mut self, by: isize) {
        let listed = self.listed();
        let selected = self.selected().map(|task| task.pid);
        let at = listed.iter().position(|task| Some(task.pid) == selected);
        let to = at.map_or(0, |at| at.saturating_add_signed(by));
        let last = listed.len().saturating_sub(1);
        self.chosen = listed.get(to.min(last)).map(|&task| task.clone());
    }

    /// The tasks on the screen, those that ran most first.
    pub fn listed(&self) -> Vec<&Task> {
        let tasks = &self.now.tasks;
        let mut listed: Vec<&Task> = Vec::new();
        for task in tasks
            .runners
            .iter()
            .chain(&tasks.waiters)
            .chain(&tasks.longest)
        {
            if !listed.iter().any(|known| known.pid == task.pid) {
                listed.push(task);
            }
        }
        listed
    }

    /// The scheduler that we watched and that is gone, and the kernel's reason if it was ejected.
    pub fn gone(&self) -> Option<(&str, Option<&str>)> {
        let (name, last_seen_s) = self.was.as_ref()?;
        if &self.now.scheduler.name == name {
            return None;
        }
        let ejection = self.now.scheduler.last_ejection.as_ref();
        let ejected = ejection.filter(|e| is_takt(name) && e.unix_s + 5 >= *last_seen_s);
        Some((name, ejected.map(|e| e.reason.as_str())))
    }
}

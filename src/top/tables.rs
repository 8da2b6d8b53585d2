//! The lower part of the overview: the tasks that ran and waited most, the tunables, our own cost.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::draw::span;
use super::flow::{Flow, words_within};
use super::glyphs::Tone;
use super::view::View;
use crate::base::units::{time, uptime};
use crate::snapshot::Task;

/// Tasks of the first table that are shown before all else but verdict and latency.
const TOP: usize = 5;

/// Lines of the tables that are shown on any screen but a tiny one: a heading and [`TOP`] tasks.
pub fn least(view: &View) -> usize {
    view.now.tasks.runners.len().clamp(1, TOP) + 1
}

/// Lines that the tables would use if they had them.
pub fn wanted(view: &View, wide: bool) -> usize {
    let tasks = &view.now.tasks;
    let (runners, waiters) = (tasks.runners.len() + 1, tasks.waiters.len() + 1);
    if wide {
        runners.max(waiters)
    } else {
        runners + waiters
    }
}

/// Draws both tables.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View, wide: bool) {
    let tasks = &view.now.tasks;
    let [left, right] = if wide {
        Layout::horizontal([Constraint::Ratio(1, 2); 2]).areas(area)
    } else {
        let first = usize::from(area.height / 2).max(least(view));
        Layout::vertical([Constraint::Length(first as u16), Constraint::Min(0)]).areas(area)
    };
    let ran = Table {
        title: "ran most",
        tasks: &tasks.runners,
        permille: |task| task.run_permille,
    };
    let waited = Table {
        title: "waited most",
        tasks: &tasks.waiters,
        permille: |task| task.wait_permille,
    };
    frame.render_widget(Paragraph::new(ran.lines(view, left)), left);
    frame.render_widget(Paragraph::new(waited.lines(view, right)), right);
}

/// One of them.
struct Table<'a> {
    title: &'a str,
    tasks: &'a [Task],
    permille: fn(&Task) -> u64,
}

impl Table<'_> {
    /// As many as there is room for in `area`; the task that is selected is among them.
    fn lines(&self, view: &View, area: Rect) -> Vec<Line<'static>> {
        let heading = format!(
            "{:>7} {:<15} {:<4} {:>3} {:>6} why",
            "pid", self.title, "", "CPU", "%"
        );
        let mut lines = vec![span(view, Tone::Strong, heading).into()];
        if self.tasks.is_empty() {
            let text = if view.now.tasks.total == 0 {
                "unavailable"
            } else {
                "none"
            };
            lines.push(span(view, Tone::Dim, format!("{text:>15}")).into());
        }
        let selected = view.selected().map(|task| task.pid);
        let at = |task: &Task| Some(task.pid) == selected;
        let rows = usize::from(area.height).saturating_sub(1).max(1);
        let last = self.tasks.iter().position(at).unwrap_or(0);
        let shown = self.tasks.iter().skip((last + 1).saturating_sub(rows));
        lines.extend(shown.map(|task| self.row(view, task, at(task), area.width)));
        lines
    }

    fn row(&self, view: &View, task: &Task, is_selected: bool, width: u16) -> Line<'static> {
        let tone = if is_selected { Tone::Warn } else { Tone::Plain };
        let text = format!(
            "{:>7} {:<15} {:<4} {:>3} {:>6.1} ",
            task.pid,
            task.comm,
            task.class,
            task.cpu,
            (self.permille)(task) as f64 / 10.0
        );
        let text = span(view, tone, text);
        let room = usize::from(width).saturating_sub(text.width());
        let why = span(view, Tone::Dim, words_within(&task.why, room));
        vec![text, why].into()
    }
}

/// Tunables and cost. `tall`: there is room for all tunables.
pub fn bottom(view: &View, width: u16, tall: bool) -> Vec<Line<'static>> {
    let mut lines = tunables(view, width, if tall { 3 } else { 1 });
    lines.extend(last_change(view, width));
    lines.extend(cost(view, width));
    lines
}

fn tunables(view: &View, width: u16, most: usize) -> Vec<Line<'static>> {
    if view.now.tunables.is_empty() {
        return Vec::new();
    }
    let mut flow = Flow::new(view, "tunables", width);
    for (name, ns) in &view.now.tunables {
        let text = format!("{} {}", name.trim_end_matches("_ns"), time(*ns));
        flow.part([span(view, Tone::Plain, text)]);
    }
    flow.lines(most)
}

fn last_change(view: &View, width: u16) -> Vec<Line<'static>> {
    let Some(change) = &view.now.last_change else {
        return Vec::new();
    };
    let ago = uptime(view.now.unix_s.saturating_sub(change.unix_s) * 1_000_000_000);
    let mut text = format!("{ago} ago: {}", change.reason);
    for (i, adjustment) in change.adjusted.iter().enumerate() {
        let tunable = adjustment.tunable.trim_end_matches("_ns");
        let (from, to) = (time(adjustment.from_ns), time(adjustment.to_ns));
        let before = if i == 0 { ": " } else { ", " };
        text += &format!("{before}{tunable} {from} -> {to}");
    }
    let mut flow = Flow::new(view, "changed", width);
    flow.words(Tone::Dim, &text).lines(2)
}

fn cost(view: &View, width: u16) -> Vec<Line<'static>> {
    let now = &view.now.cost;
    let share = (100.0 * view.delta.cost.agent_cpu_ns as f64) / view.delta.at_ns.max(1) as f64;
    let is_takt = view.now.is_takt();
    let process = if is_takt { "agent" } else { "top" };
    let mut flow = Flow::new(view, "cost", width);
    flow.part([span(
        view,
        Tone::Plain,
        format!("{process} {share:.2} % of a CPU"),
    )]);
    let memory = format!("{} MiB", now.agent_rss_bytes >> 20);
    flow.part([span(view, Tone::Plain, memory)]);
    if is_takt {
        let tone = if view.delta.cost.events_lost > 0 {
            Tone::Bad
        } else {
            Tone::Plain
        };
        let lost = format!("events lost {}", now.events_lost);
        flow.part([span(view, tone, lost)]);
    }
    let mut before = "call: ";
    for name in ["select_cpu", "enqueue", "dispatch", "running", "stopping"] {
        let ns = now
            .callbacks
            .get(name)
            .and_then(|callback| callback.ns_per_call());
        if let Some(ns) = ns {
            let text = format!("{before}{name} {}", time(ns));
            flow.part([span(view, Tone::Dim, text)]);
            before = "";
        }
    }
    flow.lines(2)
}

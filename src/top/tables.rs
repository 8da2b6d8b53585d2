//! The lower part of the overview: who ran, who waited, the knobs, our own cost.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::draw::{label, span};
use super::glyphs::Tone;
use super::view::View;
use crate::snapshot::Task;
use crate::stats::text::{time, uptime};

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
    let halves = [Constraint::Ratio(1, 2); 2];
    let [left, right] = if wide {
        Layout::horizontal(halves).areas(area)
    } else {
        Layout::vertical(halves).areas(area)
    };
    let ran = table(view, "ran most", &tasks.runners, |task| task.run_permille);
    let waited = table(view, "waited most", &tasks.waiters, |task| {
        task.wait_permille
    });
    frame.render_widget(Paragraph::new(ran), left);
    frame.render_widget(Paragraph::new(waited), right);
}

fn table(
    view: &View,
    title: &str,
    tasks: &[Task],
    permille: impl Fn(&Task) -> u64,
) -> Vec<Line<'static>> {
    let heading = format!(
        "{:>7} {:<15} {:<4} {:>3} {:>6} why",
        "pid", title, "", "CPU", "%"
    );
    let mut lines = vec![span(view, Tone::Strong, heading).into()];
    let selected = view.listed().get(view.selected).map(|task| task.pid);
    for task in tasks {
        let tone = match selected {
            Some(pid) if pid == task.pid => Tone::Warn,
            _ => Tone::Plain,
        };
        let text = format!(
            "{:>7} {:<15} {:<4} {:>3} {:>6.1} ",
            task.pid,
            task.comm,
            task.class,
            task.cpu,
            permille(task) as f64 / 10.0
        );
        lines.push(vec![span(view, tone, text), span(view, Tone::Dim, &task.why)].into());
    }
    if tasks.is_empty() {
        let text = if view.now.tasks.total == 0 {
            "not seen"
        } else {
            "nobody"
        };
        lines.push(span(view, Tone::Dim, format!("{text:>15}")).into());
    }
    lines
}

/// Knobs and cost.
pub fn bottom(view: &View, width: u16) -> Vec<Line<'static>> {
    let mut lines = knobs(view, width);
    lines.extend(cost(view, width));
    lines
}

fn knobs(view: &View, width: u16) -> Vec<Line<'static>> {
    if view.now.knobs.is_empty() {
        return Vec::new();
    }
    let mut parts = vec![label(view, "knobs")];
    let mut used = 9;
    for (name, ns) in &view.now.knobs {
        let text = format!("{} {}  ", name.trim_end_matches("_ns"), time(*ns));
        used += text.len();
        if used + 2 > usize::from(width) {
            parts.push(span(view, Tone::Dim, ".."));
            break;
        }
        parts.push(span(view, Tone::Plain, text));
    }
    let mut lines = vec![parts.into()];
    if let Some(change) = &view.now.last_change {
        let ago = uptime(view.now.unix_s.saturating_sub(change.unix_s) * 1_000_000_000);
        let mut text = format!("{ago} ago: {}", change.reason);
        for (i, turn) in change.turned.iter().enumerate() {
            let knob = turn.knob.trim_end_matches("_ns");
            let (from, to) = (time(turn.from_ns), time(turn.to_ns));
            let before = if i == 0 { ": " } else { ", " };
            text += &format!("{before}{knob} {from} -> {to}");
        }
        lines.push(vec![label(view, ""), span(view, Tone::Dim, text)].into());
    }
    lines
}

fn cost(view: &View, width: u16) -> Vec<Line<'static>> {
    let now = &view.now.cost;
    let mut parts = vec![label(view, "cost")];
    let share = (100.0 * view.delta.cost.agent_cpu_ns as f64) / view.delta.at_ns.max(1) as f64;
    let who = if view.now.is_takt() { "agent" } else { "top" };
    let text = format!(
        "{who} {share:.2} % of a CPU, {} MiB",
        now.agent_rss_bytes >> 20
    );
    parts.push(span(view, Tone::Plain, text));
    if view.now.is_takt() {
        let tone = if view.delta.cost.events_lost > 0 {
            Tone::Bad
        } else {
            Tone::Plain
        };
        parts.push(span(
            view,
            tone,
            format!("  events lost {}", now.events_lost),
        ));
    }
    let callbacks = ["select_cpu", "enqueue", "dispatch", "running", "stopping"].map(|name| {
        let ns = now.callbacks.get(name)?.ns_per_call()?;
        Some(format!(" {name} {ns}"))
    });
    let all: String = callbacks.into_iter().flatten().collect();
    if all.is_empty() {
        return vec![parts.into()];
    }
    let callbacks = span(view, Tone::Dim, format!("ns/call{all}"));
    let used: usize = parts.iter().map(Span::width).sum();
    if used + 2 + callbacks.width() > usize::from(width) {
        let callbacks = span(view, Tone::Dim, all.trim_start());
        return vec![parts.into(), vec![label(view, "ns/call"), callbacks].into()];
    }
    parts.extend([Span::raw("  "), callbacks]);
    vec![parts.into()]
}

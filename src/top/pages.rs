//! The pages behind keys.

use ratatui::text::Line;

use super::draw::{label, span};
use super::glyphs::Tone;
use super::view::View;
use crate::base::units::time;
use crate::snapshot::core_events::{DURATION, PREFIX, meaning};
use crate::stats::cgroups::table;

/// The task that is selected.
pub fn task(view: &View) -> Vec<Line<'static>> {
    let Some(task) = view.selected() else {
        return vec![span(view, Tone::Dim, "no task is listed now").into()];
    };
    let heading = format!("{} (pid {}, process {})", task.comm, task.pid, task.tgid);
    let mut lines = vec![span(view, Tone::Strong, heading).into()];
    let is_listed = view.listed().iter().any(|listed| listed.pid == task.pid);
    lines.push(if is_listed {
        Line::default()
    } else {
        let text = "It has ended or hardly runs: this is how it was last listed.";
        span(view, Tone::Warn, text).into()
    });
    let percent = |permille: u64| format!("{:.1} % of the last period", permille as f64 / 10.0);
    let wait = match task.waits_ns {
        0 => "no".to_owned(),
        ns => format!("for {}", time(ns)),
    };
    let mut rows = vec![
        ("class", task.class.clone()),
        ("nice", task.nice.to_string()),
        (
            "CPU",
            format!("{}; it may use {}", task.cpu, task.allowed_cpus),
        ),
        ("ran", percent(task.run_permille)),
        ("waited", percent(task.wait_permille)),
        ("waits", wait),
    ];
    if view.now.is_takt() {
        let run = match task.est_run_ns {
            0 => "it has never slept".to_owned(),
            ns => format!("{} between sleeps, the longest recently", time(ns)),
        };
        let lag = time(task.lag_ns.unsigned_abs());
        let (sign, than) = if task.lag_ns > 0 {
            ("+", "less")
        } else {
            ("-", "more")
        };
        rows.push(("run", run));
        rows.push((
            "lag",
            format!("{sign}{lag}: it has had {than} than its share (weighted time)"),
        ));
    }
    rows.push(("why", task.why.clone()));
    let rows = rows
        .into_iter()
        .map(|(name, value)| Line::from(vec![label(view, name), span(view, Tone::Plain, value)]));
    lines.extend(rows);
    lines
}

/// What the core has counted and the latest events, latest first.
pub fn events(view: &View) -> Vec<Line<'static>> {
    let mut lines = core_events(view);
    lines.push(span(view, Tone::Strong, "events, latest first").into());
    lines.push(Line::default());
    if view.now.events.is_empty() {
        let text = "none yet; they are collected while a viewer watches scx_takt";
        lines.push(span(view, Tone::Dim, text).into());
    }
    lines.extend(latest_events(view).map(|event| span(view, Tone::Plain, event).into()));
    lines
}

/// What sched_ext's core has counted of the scheduler; nothing where it counts nothing.
fn core_events(view: &View) -> Vec<Line<'static>> {
    if view.now.core_events.is_empty() {
        return Vec::new();
    }
    let heading =
        "counted by the kernel's core since the scheduler was loaded (in the last period)";
    let mut lines = vec![span(view, Tone::Strong, heading).into(), Line::default()];
    let (moved, still): (Vec<_>, Vec<_>) = view.now.core_events.iter().partition(|(_, n)| **n > 0);
    for (name, &n) in moved {
        let lately = view.delta.core_events.get(name).copied().unwrap_or(0);
        let value = |n| match name.ends_with(DURATION) {
            true => time(n),
            false => n.to_string(),
        };
        let count = format!("{} ({})", value(n), value(lately));
        let text = format!(
            "{count:>18}  {}  {}",
            name.trim_start_matches(PREFIX),
            meaning(name)
        );
        lines.push(span(view, Tone::Plain, text).into());
    }
    if !still.is_empty() {
        let text = format!("{:>18}  all others", 0);
        lines.push(span(view, Tone::Dim, text).into());
    }
    lines.push(Line::default());
    lines
}

/// A line per event.
pub fn latest_events(view: &View) -> impl Iterator<Item = String> + '_ {
    view.now.events.iter().rev().map(|event| {
        let ago = view.now.at_ns.saturating_sub(event.at_ns) as f64 / 1e9;
        format!("{ago:>8.1} s ago  {}", event.text)
    })
}

/// The cgroups that use most CPU time, most first.
pub fn cgroups(view: &View) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    if !view.unavailable.is_empty() {
        lines.push(span(view, Tone::Warn, &view.unavailable).into());
    }
    let mut tone = Tone::Strong;
    for line in table(&view.now.cgroups) {
        lines.push(span(view, tone, line).into());
        tone = Tone::Plain;
    }
    if view.now.cgroups.is_empty() {
        lines.push(span(view, Tone::Dim, "none yet").into());
    }
    lines
}

/// Keys and words.
pub fn help() -> Vec<Line<'static>> {
    const TEXT: &str = "\
keys
  q, ctrl-C      quit                 up, down     select a task; scroll a page
  enter          the task's page      e            events, and what the kernel's core counted
  c              cgroups: the 20 that use most CPU time, with their limits (cpu.max)
  s              save this snapshot as JSON in the current folder
  PgUp, PgDn     scroll the CPUs      esc          back to the overview
  ?, h           this page

words
  latency        from wakeup to running; p99: 99 % of wakeups take at most this (upper bounds of
                 buckets). EEVDF: the same on this machine under the kernel's own scheduler.
  longest        the task that has waited longest so far. The kernel ejects a sched_ext scheduler
                 when a task waits for as long as the watchdog allows.
  placed         where runnable tasks were put: on an idle CPU; next on a busy one; in place of a
                 task that was preempted; into a queue.
  stolen         taken from the queue of another last-level cache (LLC)
  kicked         idle CPUs that the tick kicked because a task was waiting (a backstop)
  queues         tasks in each dispatch queue now
  N0 L0          NUMA node 0, LLC 0, then its CPUs: number, load, class of the running task, GHz
  why            protected: its run is short, so wakeups do not preempt it before its estimated end;
                 preemptible: a wakeup may preempt it. In parentheses its run length between sleeps.
  lag            V - vruntime: positive, the task has had less than its share; negative, more
  cost           of the agent, and per callback of the scheduler (timed in one sample of eight)";
    TEXT.lines().map(Line::from).collect()
}

//! The upper part of the overview: the verdict, wakeup latency, where wakeups went, queues.

use ratatui::text::{Line, Span};

use super::draw::{label, span};
use super::flow::Flow;
use super::glyphs::Tone;
use super::view::{QUANTILES, View};
use crate::base::units::{per_second, time, uptime};
use crate::snapshot::Snapshot;
use crate::snapshot::health::{Health, assess};
use crate::stats::text::shares;

/// The factor by which latency must differ from the baseline to be coloured. Load comes and goes: less may
/// be chance.
const CLEAR: u64 = 2;

/// Lines of the verdict at most.
const VERDICT_LINES: usize = 4;

/// All lines of it.
pub fn lines(view: &View, width: u16) -> Vec<Line<'static>> {
    let mut lines = verdict(view, width);
    lines.extend(system(view, width));
    if !view.unavailable.is_empty() {
        let mut flow = Flow::new(view, "", width);
        lines.extend(flow.words(Tone::Warn, &view.unavailable).lines(2));
    }
    lines.extend(latency(view, width));
    lines.extend(longest(view, width));
    lines.extend(placed(view, width));
    lines.extend(queues(view, width));
    lines
}

fn verdict(view: &View, width: u16) -> Vec<Line<'static>> {
    let scheduler = &view.now.scheduler;
    let mut flow = Flow::new(view, "", width);
    flow.part([span(view, Tone::Strong, &scheduler.name)]);
    if !scheduler.profile.is_empty() {
        let profile = format!("profile {}", scheduler.profile);
        flow.part([span(view, Tone::Plain, profile)]);
    }
    if scheduler.uptime_ns > 0 {
        let up = format!("up {}", uptime(scheduler.uptime_ns));
        flow.part([span(view, Tone::Plain, up)]);
    }
    state(view, &mut flow);
    flow.lines(VERDICT_LINES)
}

fn state(view: &View, flow: &mut Flow<'_>) {
    match assess(&view.now, &view.delta) {
        Health::Degraded(reasons) => {
            flow.words(Tone::Bad, &format!("DEGRADED: {}", reasons.join("; ")));
        }
        Health::Unknown => {
            flow.part([span(view, Tone::Warn, "health unknown")]);
        }
        // The ejection stands beside it: it would read as if all were well.
        Health::Healthy if matches!(view.gone(), Some((_, Some(_)))) => {}
        Health::Healthy => {
            flow.part([span(view, Tone::Good, "healthy")]);
        }
    }
    match view.gone() {
        Some((name, Some(reason))) => {
            flow.words(Tone::Bad, &format!("EJECTED: {name}: {reason}"));
        }
        Some((name, None)) => {
            flow.part([span(view, Tone::Warn, format!("{name} HAS ENDED"))]);
        }
        None => {}
    }
}

fn system(view: &View, width: u16) -> Vec<Line<'static>> {
    let (now, tasks) = (&view.now, &view.now.tasks);
    let mut flow = Flow::new(view, "", width);
    let mut part = |text: String| {
        flow.part([span(view, Tone::Plain, text)]);
    };
    let busy = view.delta.busy_percent();
    part(now.kernel.clone());
    part(format!("{} CPUs {busy:.0} % busy", now.cpus.len()));
    if tasks.total > 0 {
        part(format!("{} of {} tasks wait", tasks.waiting, tasks.total));
    }
    if now.scheduler.restarts > 0 {
        part(format!("{} restarts", now.scheduler.restarts));
    }
    match &now.scheduler.last_ejection {
        None => part("never ejected".to_owned()),
        // The verdict says it.
        Some(_) if matches!(view.gone(), Some((_, Some(_)))) => {}
        Some(ejection) => {
            let ago = uptime(now.unix_s.saturating_sub(ejection.unix_s) * 1_000_000_000);
            let text = format!("last ejection {ago} ago: {}", ejection.reason);
            flow.words(Tone::Plain, &text);
        }
    }
    flow.lines(2)
}

fn latency(view: &View, width: u16) -> Vec<Line<'static>> {
    if view.now.wakeups.bounds_ns.is_empty() {
        let text = "not measured here";
        return vec![vec![label(view, "latency"), span(view, Tone::Dim, text)].into()];
    }
    let (columns, missing) = match &view.baseline {
        Some(_) => ("(now | EEVDF here | history)", ""),
        None => ("(now | history)", "EEVDF: not measured yet"),
    };
    let heading = format!("{} {columns}", view.now.wakeups.kind);
    let mut flow = Flow::new(view, "latency", width);
    flow.part([span(view, Tone::Dim, heading)]);
    flow.part([span(view, Tone::Dim, missing)]);
    let mut lines = flow.lines(1);
    for (i, (name, permille)) in QUANTILES.into_iter().enumerate() {
        lines.push(quantile(view, width, i, name, permille));
    }
    lines
}

fn quantile(view: &View, width: u16, i: usize, name: &str, permille: u64) -> Line<'static> {
    let now = view.delta.wakeups.quantile_ns(permille);
    let baseline = view
        .baseline
        .as_ref()
        .and_then(|waits| waits.quantile_ns(permille));
    let tone = match (now, baseline) {
        (Some(now), Some(then)) if now * CLEAR <= then => Tone::Good,
        (Some(now), Some(then)) if now >= then * CLEAR => Tone::Bad,
        _ => Tone::Plain,
    };
    let text = now.map_or("-".to_owned(), time);
    let mut parts = vec![
        span(view, Tone::Plain, format!("  {name:<7}")),
        span(view, tone, format!("{text:>9}")),
    ];
    if let Some(then) = baseline {
        parts.push(span(view, Tone::Dim, format!(" | {:>9}", time(then))));
    }
    let used: usize = parts.iter().map(Span::width).sum();
    let room = usize::from(width).saturating_sub(used + 3);
    let history = view.history.iter().map(|quantiles| quantiles[i]);
    let line = view.theme.sparkline(history, room);
    parts.push(Span::raw(format!(" | {line}")));
    parts.into()
}

fn longest(view: &View, width: u16) -> Vec<Line<'static>> {
    let mut flow = Flow::new(view, "longest", width);
    let Some(task) = &view.now.tasks.longest else {
        let seen = view.now.tasks.total > 0;
        let text = if seen { "no task waits" } else { "unavailable" };
        return flow.part([span(view, Tone::Dim, text)]).lines(1);
    };
    let waits = time(task.waits_ns);
    let waiting = format!("{} ({}) has waited {waits}", task.comm, task.pid);
    flow.words(Tone::Plain, &waiting);
    let watchdog = view.now.scheduler.watchdog_ns;
    if watchdog > 0 {
        let left = 100.0 * (1.0 - task.waits_ns as f64 / watchdog as f64);
        let tone = if left < 75.0 { Tone::Bad } else { Tone::Dim };
        let text = format!("watchdog {}: {left:.1} % left", time(watchdog));
        flow.part([span(view, tone, text)]);
    }
    flow.part([span(view, Tone::Dim, &task.why)]).lines(1)
}

fn placed(view: &View, width: u16) -> Vec<Line<'static>> {
    let Some(activity) = view.delta.activity.as_ref() else {
        return Vec::new();
    };
    let period = view.delta.at_ns;
    let rate = per_second(activity.placements(), period);
    let mut flow = Flow::new(view, "placed", width);
    flow.part([span(view, Tone::Plain, format!("{rate}/s"))]);
    for (name, percent) in shares(activity) {
        let level = view.theme.level(percent);
        let text = format!("{name} {level} {percent}%");
        flow.part([span(view, Tone::Plain, text)]);
    }
    for (name, counter) in [("stolen", "nr_stolen"), ("kicked", "nr_kicked")] {
        let rate = per_second(activity.counter(counter), period);
        flow.part([span(view, Tone::Dim, format!("{name} {rate}/s"))]);
    }
    flow.lines(1)
}

/// Dispatch queues; under EEVDF there are none.
fn queues(view: &View, width: u16) -> Option<Line<'static>> {
    if view.now.scheduler.name == Snapshot::KERNELS_OWN || view.now.queues.is_empty() {
        return None;
    }
    let mut parts = vec![label(view, "queues")];
    let mut used = 9;
    let mut queues = view.now.queues.iter().collect::<Vec<_>>();
    queues.sort_by(|a, b| b.queued.cmp(&a.queued).then_with(|| a.name.cmp(&b.name)));
    for (i, queue) in queues.iter().enumerate() {
        let text = format!("{}: {}  ", queue.name, queue.queued);
        used += text.len();
        if used + 10 > usize::from(width) && i + 1 < queues.len() {
            parts.push(span(view, Tone::Dim, format!("{} more", queues.len() - i)));
            break;
        }
        parts.push(span(view, Tone::Plain, text));
    }
    Some(parts.into())
}

//! The upper part of the overview: the verdict, wakeup latency, where wakeups went, queues.

use ratatui::text::{Line, Span};

use super::draw::{label, span};
use super::glyphs::Tone;
use super::view::{QUANTILES, View};
use crate::snapshot::Snapshot;
use crate::snapshot::health::{Health, judge};
use crate::stats::text::{busy_percent, per_second, shares, time, uptime};

/// The factor by which latency must differ from the baseline to be coloured. Load comes and goes: less may
/// be chance.
const CLEAR: u64 = 2;

/// All lines of it.
pub fn lines(view: &View, width: u16) -> Vec<Line<'static>> {
    let mut lines = vec![verdict(view), system(view)];
    if !view.blind.is_empty() {
        lines.push(span(view, Tone::Warn, &view.blind).into());
    }
    lines.extend(latency(view, width));
    lines.extend([longest(view)]);
    lines.extend(placed(view));
    lines.extend(queues(view, width));
    lines
}

fn verdict(view: &View) -> Line<'static> {
    let scheduler = &view.now.scheduler;
    let mut parts = vec![span(view, Tone::Strong, &scheduler.name)];
    if !scheduler.profile.is_empty() {
        parts.push(span(
            view,
            Tone::Plain,
            format!("  profile {}", scheduler.profile),
        ));
    }
    if scheduler.uptime_ns > 0 {
        let up = uptime(scheduler.uptime_ns);
        parts.push(span(view, Tone::Plain, format!("  up {up}")));
    }
    parts.push(Span::raw("  "));
    parts.extend(state(view));
    parts.into()
}

fn state(view: &View) -> Vec<Span<'static>> {
    let mut parts = Vec::new();
    match view.gone() {
        Some((name, Some(reason))) => {
            parts.push(span(view, Tone::Bad, format!("EJECTED: {name}: {reason}")));
            parts.push(Span::raw("  "));
        }
        Some((name, None)) => {
            parts.push(span(view, Tone::Warn, format!("{name} HAS ENDED")));
            parts.push(Span::raw("  "));
        }
        None => {}
    }
    match judge(&view.now, &view.delta) {
        Health::Healthy => parts.push(span(view, Tone::Good, "healthy")),
        Health::Degraded(reasons) => {
            let text = format!("DEGRADED: {}", reasons.join("; "));
            parts.push(span(view, Tone::Bad, text));
        }
    }
    parts
}

fn system(view: &View) -> Line<'static> {
    let now = &view.now;
    let mut text = format!(
        "{}  {} CPUs {} % busy",
        now.kernel,
        now.cpus.len(),
        busy_percent(&view.delta)
    );
    if now.tasks.total > 0 {
        text += &format!("  {} of {} tasks wait", now.tasks.waiting, now.tasks.total);
    }
    match &now.scheduler.last_ejection {
        Some(ejection) => {
            let ago = uptime(now.unix_s.saturating_sub(ejection.unix_s) * 1_000_000_000);
            text += &format!("  last ejection {ago} ago: {}", ejection.reason);
        }
        None => text += "  never ejected",
    }
    if now.scheduler.restarts > 0 {
        text += &format!("  {} restarts", now.scheduler.restarts);
    }
    span(view, Tone::Plain, text).into()
}

fn latency(view: &View, width: u16) -> Vec<Line<'static>> {
    if view.now.wakeups.bounds_ns.is_empty() {
        let text = "not measured here";
        return vec![vec![label(view, "latency"), span(view, Tone::Dim, text)].into()];
    }
    let heading = match &view.baseline {
        Some(_) => format!("{} (now | EEVDF here | history)", view.now.wakeups.kind),
        None => format!(
            "{} (now | history; no EEVDF baseline yet)",
            view.now.wakeups.kind
        ),
    };
    let mut lines = vec![vec![label(view, "latency"), span(view, Tone::Dim, heading)].into()];
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
    let line = view.look.sparkline(history, room);
    parts.push(Span::raw(format!(" | {line}")));
    parts.into()
}

fn longest(view: &View) -> Line<'static> {
    let mut parts = vec![label(view, "longest")];
    let Some(task) = &view.now.tasks.longest else {
        let seen = view.now.tasks.total > 0;
        let text = if seen { "nobody waits now" } else { "not seen" };
        parts.push(span(view, Tone::Dim, text));
        return parts.into();
    };
    let who = format!(
        "{} ({}) waits for {}",
        task.comm,
        task.pid,
        time(task.waits_ns)
    );
    parts.push(span(view, Tone::Plain, who));
    let watchdog = view.now.scheduler.watchdog_ns;
    if watchdog > 0 {
        let left = 100.0 * (1.0 - task.waits_ns as f64 / watchdog as f64);
        let tone = if left < 75.0 { Tone::Bad } else { Tone::Dim };
        let text = format!("  watchdog {}: {left:.1} % left", time(watchdog));
        parts.push(span(view, tone, text));
    }
    if !task.why.is_empty() {
        parts.push(span(view, Tone::Dim, format!("  {}", task.why)));
    }
    parts.into()
}

fn placed(view: &View) -> Option<Line<'static>> {
    let activity = view.delta.activity.as_ref()?;
    let period = view.delta.at_ns;
    let rate = per_second(activity.placements(), period);
    let mut parts = vec![
        label(view, "placed"),
        span(view, Tone::Plain, format!("{rate}/s")),
    ];
    for (name, percent) in shares(activity) {
        let level = view.look.level(percent);
        parts.push(span(
            view,
            Tone::Plain,
            format!("  {name} {level} {percent} %"),
        ));
    }
    let of = |name| per_second(activity.counter(name), period);
    let rest = format!(
        "  stolen {}/s rescued {}/s",
        of("nr_stolen"),
        of("nr_rescued")
    );
    parts.push(span(view, Tone::Dim, rest));
    Some(parts.into())
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

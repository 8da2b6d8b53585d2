//! The screen, as a pure function of the view.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::flow::words_within;
use super::glyphs::Tone;
use super::view::{Page, View};
use super::{cpus, head, pages, tables};

/// From this width on, the two tables stand side by side.
const WIDE: u16 = 150;
/// From this height on, all tunables are shown.
const TALL: u16 = 30;
/// From this height on there is room for tasks beside verdict and latency.
const USUAL: u16 = 16;

/// Draws the view on whatever space there is.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let [body, foot] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    match view.page {
        Page::Overview => overview(frame, body, view),
        Page::Task => page(frame, body, view, pages::task(view)),
        Page::Events => page(frame, body, view, pages::events(view)),
        Page::Cgroups => page(frame, body, view, pages::cgroups(view)),
        Page::Help => page(frame, body, view, pages::help()),
    }
    frame.render_widget(footer(view, foot.width), foot);
}

/// A part of a line.
pub fn span(view: &View, tone: Tone, text: impl AsRef<str>) -> Span<'static> {
    Span::styled(view.theme.text(text.as_ref()), view.theme.style(tone))
}

/// A label, as each line of the overview begins with.
pub fn label(view: &View, text: &str) -> Span<'static> {
    span(view, Tone::Strong, format!("{text:<9}"))
}

fn page(frame: &mut Frame<'_>, area: Rect, view: &View, lines: Vec<Line<'static>>) {
    let last = lines.len().saturating_sub(1);
    let scroll = u16::try_from(view.scroll.min(last)).unwrap_or(u16::MAX);
    let lines = Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(lines.scroll((scroll, 0)), area);
}

fn overview(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let height = usize::from(area.height);
    // Verdict and latency come first, then the first tasks, then a line of CPUs.
    let (least, cpu_line) = match area.height {
        USUAL.. => (tables::least(view), usize::from(!view.now.cpus.is_empty())),
        _ => (0, 0),
    };
    let mut top = head::lines(view, area.width);
    top.truncate(height - least - cpu_line);
    let mut bottom = tables::bottom(view, area.width, area.height >= TALL);
    if top.len() + least + cpu_line + bottom.len() > height {
        bottom.clear(); // what is above matters more
    }
    let room = height - top.len() - bottom.len();
    let wide = area.width >= WIDE;
    let wanted = tables::wanted(view, wide);
    // The tables want half of what is left; what they do not use is the CPUs'.
    let for_cpus = room - wanted.min((room / 2).max(least));
    let grid = cpus::lines(view, area.width, for_cpus);
    let left = room - grid.len().min(room);
    let events = events(view, area.width, left.saturating_sub(wanted));
    let for_tables = left - events.len();
    let heights = [
        top.len(),
        grid.len(),
        for_tables,
        events.len(),
        bottom.len(),
    ];
    let [at_top, at_grid, at_tables, at_events, at_bottom] =
        Layout::vertical(heights.map(|lines| Constraint::Length(lines as u16))).areas(area);
    frame.render_widget(Paragraph::new(top), at_top);
    frame.render_widget(Paragraph::new(grid), at_grid);
    tables::draw(frame, at_tables, view, wide);
    frame.render_widget(Paragraph::new(events), at_events);
    frame.render_widget(Paragraph::new(bottom), at_bottom);
}

/// The latest events, in lines that nothing else uses.
fn events(view: &View, width: u16, room: usize) -> Vec<Line<'static>> {
    // A heading, the latest two, and an empty line before and after.
    if room < 5 || view.now.events.is_empty() {
        return Vec::new();
    }
    let latest = pages::latest_events(view).take(room - 3);
    let latest = latest.map(|event| {
        let text = words_within(&event, width.into());
        span(view, Tone::Plain, text).into()
    });
    let heading = span(view, Tone::Strong, "latest events").into();
    let mut lines = vec![Line::default(), heading];
    lines.extend(latest);
    lines.push(Line::default());
    lines
}

fn footer(view: &View, width: u16) -> Line<'static> {
    if !view.note.is_empty() {
        return span(view, Tone::Warn, &view.note).into();
    }
    let keys = match view.page {
        Page::Overview if width < 60 => "q quit  ? help",
        Page::Overview => "q quit  ? help  up/down select  enter task  e events  c cgroups  s save",
        _ => "esc back  q quit  up/down scroll",
    };
    span(view, Tone::Dim, keys).into()
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;

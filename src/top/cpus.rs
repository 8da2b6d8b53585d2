//! The CPUs, by node, last-level cache and core: as much of each as there is room for.

use ratatui::text::{Line, Span};

use super::draw::span;
use super::glyphs::Tone;
use super::view::View;
use crate::snapshot::Cpu;

/// Width of the name of an LLC before its CPUs.
const NAME: usize = 9;

/// How much is shown of each CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Number, level, load, class, frequency.
    All,
    /// Number, level, load.
    Load,
    /// Level.
    Level,
}

impl Detail {
    fn width(self) -> usize {
        match self {
            Detail::All => 20,
            Detail::Load => 9,
            Detail::Level => 1,
        }
    }
}

/// At most `room` lines, in the greatest detail that shows all CPUs; where even the least does not, the
/// list scrolls.
pub fn lines(view: &View, width: u16, room: usize) -> Vec<Line<'static>> {
    if room == 0 || view.now.cpus.is_empty() {
        return Vec::new();
    }
    let width = usize::from(width);
    let details = [Detail::All, Detail::Load, Detail::Level];
    let fits = |detail: &Detail| count(view, width, *detail) <= room;
    let detail = details.into_iter().find(fits).unwrap_or(Detail::Level);
    let mut lines = if detail == Detail::Level {
        packed(view, width)
    } else {
        grid(view, width, detail)
    };
    if lines.len() > room {
        let shown = room.saturating_sub(1);
        let first = view.scroll.min(lines.len() - shown);
        let hidden = lines.len() - shown;
        lines = lines.into_iter().skip(first).take(shown).collect();
        let text = format!("{:NAME$}{hidden} more lines of CPUs: PgUp/PgDn", "");
        lines.push(span(view, Tone::Dim, text).into());
    }
    lines
}

/// CPUs in the order of their places, one slice per LLC.
fn llcs(view: &View) -> Vec<Vec<(&Cpu, u64)>> {
    let loads = view.delta.cpus.iter().map(Cpu::load_percent);
    let mut cpus: Vec<_> = view.now.cpus.iter().zip(loads).collect();
    cpus.sort_by_key(|(cpu, _)| (cpu.node, cpu.llc, cpu.core, cpu.id));
    cpus.chunk_by(|a, b| (a.0.node, a.0.llc) == (b.0.node, b.0.llc))
        .map(<[_]>::to_vec)
        .collect()
}

fn per_line(width: usize, detail: Detail) -> usize {
    (width.saturating_sub(NAME) / detail.width()).max(1)
}

fn count(view: &View, width: usize, detail: Detail) -> usize {
    let per_line = per_line(width, detail);
    llcs(view)
        .iter()
        .map(|llc| llc.len().div_ceil(per_line))
        .sum()
}

fn grid(view: &View, width: usize, detail: Detail) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for llc in llcs(view) {
        for (i, row) in llc.chunks(per_line(width, detail)).enumerate() {
            let name = match (i, row.first()) {
                (0, Some((cpu, _))) => format!("N{} L{}", cpu.node, cpu.llc),
                _ => String::new(),
            };
            let mut parts = vec![span(view, Tone::Strong, format!("{name:<NAME$}"))];
            let mut core = None;
            for (cpu, load) in row {
                // Siblings of a core stand together: the second one has no number's colour.
                let sibling = core.replace(cpu.core) == Some(cpu.core);
                parts.extend(cell(view, cpu, *load, detail, sibling));
            }
            lines.push(parts.into());
        }
    }
    lines
}

/// One character per CPU, and as many LLCs of a node to a line as it holds.
fn packed(view: &View, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<(u64, usize, Vec<Span<'static>>)> = Vec::new();
    for llc in llcs(view) {
        let Some(first) = llc.first().map(|(cpu, _)| *cpu) else {
            continue;
        };
        let name = format!("L{} ", first.llc);
        let room = width.saturating_sub(NAME + name.len() + 1).max(1);
        for (i, row) in llc.chunks(room).enumerate() {
            let name = if i == 0 { name.as_str() } else { "   " };
            let levels: String = row.iter().map(|(_, load)| view.theme.cell(*load)).collect();
            let used = name.len() + row.len() + 1;
            let node = format!("{:<NAME$}", format!("N{}", first.node));
            match lines.last_mut() {
                Some((node, full, parts)) if *node == first.node && *full + used <= width => {
                    *full += used;
                    parts.push(span(view, Tone::Dim, name));
                    parts.push(span(view, Tone::Plain, levels + " "));
                }
                _ => {
                    let parts = vec![
                        span(view, Tone::Strong, node),
                        span(view, Tone::Dim, name),
                        span(view, Tone::Plain, levels + " "),
                    ];
                    lines.push((first.node, NAME + used, parts));
                }
            }
        }
    }
    lines
        .into_iter()
        .map(|(_, _, parts)| parts.into())
        .collect()
}

fn cell(view: &View, cpu: &Cpu, load: u64, detail: Detail, sibling: bool) -> Vec<Span<'static>> {
    let tone = match load {
        95.. => Tone::Warn,
        _ => Tone::Plain,
    };
    let level = span(view, tone, view.theme.level(load).to_string());
    let number = if sibling { Tone::Dim } else { Tone::Strong };
    let mut parts = vec![
        span(view, number, format!("{:>3} ", cpu.id)),
        level,
        span(view, tone, format!("{load:>3}")),
    ];
    if detail == Detail::Load {
        parts.push(Span::raw(" "));
        return parts;
    }
    let class = if cpu.class.is_empty() {
        "-"
    } else {
        &cpu.class
    };
    let ghz = match cpu.khz {
        0 => "   ".to_owned(),
        khz => format!("{:.1}", khz as f64 / 1e6),
    };
    parts.push(span(view, Tone::Dim, format!("% {class:<4} {ghz}  ")));
    parts
}

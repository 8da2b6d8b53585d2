//! Lines of parts that are shown whole or not at all: a figure that is cut off would be another figure.

use ratatui::text::{Line, Span};

use super::draw::{label, span};
use super::glyphs::Tone;
use super::view::View;

/// Between two parts.
const GAP: usize = 2;
/// What stands for parts that are left out.
const MORE: &str = "..";

/// Lines that are being filled.
pub struct Flow<'v> {
    view: &'v View,
    width: usize,
    /// What the first line begins with; the others are indented by as much.
    label: &'v str,
    indent: usize,
    lines: Vec<Vec<Span<'static>>>,
    used: usize,
}

impl<'v> Flow<'v> {
    /// Begins with a label; an empty one: at the edge.
    pub fn new(view: &'v View, label: &'v str, width: u16) -> Self {
        let mut flow = Self {
            view,
            width: width.into(),
            label,
            indent: 0,
            lines: Vec::new(),
            used: 0,
        };
        flow.next_line();
        flow
    }

    fn next_line(&mut self) {
        let mut line = Vec::new();
        if !self.label.is_empty() {
            let text = if self.lines.is_empty() {
                self.label
            } else {
                ""
            };
            line.push(label(self.view, text));
        }
        self.indent = line.iter().map(Span::width).sum();
        self.used = self.indent;
        self.lines.push(line);
    }

    /// Adds a part, made of pieces that belong together.
    pub fn part(&mut self, pieces: impl IntoIterator<Item = Span<'static>>) -> &mut Self {
        let pieces: Vec<_> = pieces.into_iter().collect();
        let width: usize = pieces.iter().map(Span::width).sum();
        if width == 0 {
            return self;
        }
        let is_first = self.used == self.indent;
        if !is_first && self.used + GAP + width > self.width {
            self.next_line();
        } else if !is_first {
            self.push(Span::raw(" ".repeat(GAP)));
        }
        for piece in pieces {
            self.push(piece);
        }
        self
    }

    /// Adds a sentence: where it does not fit as a whole it goes on in the next lines.
    pub fn words(&mut self, tone: Tone, text: &str) -> &mut Self {
        let whole = span(self.view, tone, text);
        if self.indent + whole.width() <= self.width {
            return self.part([whole]);
        }
        if self.used > self.indent {
            self.next_line();
        }
        for word in text.split_whitespace() {
            let word = span(self.view, tone, word);
            let is_first = self.used == self.indent;
            if !is_first && self.used + 1 + word.width() > self.width {
                self.next_line();
            } else if !is_first {
                self.push(span(self.view, tone, " "));
            }
            self.push(word);
        }
        self
    }

    fn push(&mut self, piece: Span<'static>) {
        self.used += piece.width();
        if let Some(line) = self.lines.last_mut() {
            line.push(piece);
        }
    }

    /// The lines, at most `most`; where parts are left out, that is seen.
    pub fn lines(&mut self, most: usize) -> Vec<Line<'static>> {
        let mut lines = std::mem::take(&mut self.lines);
        if lines.len() > most {
            lines.truncate(most);
            if let Some(last) = lines.last_mut() {
                let used: usize = last.iter().map(Span::width).sum();
                if used + 1 + MORE.len() <= self.width {
                    let more = format!(" {MORE}");
                    last.push(span(self.view, Tone::Dim, more));
                }
            }
        }
        lines.into_iter().map(Line::from).collect()
    }
}

/// As many words of a sentence as `room` columns hold.
pub fn words_within(text: &str, room: usize) -> String {
    if Span::raw(text).width() <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    for word in text.split_inclusive(' ') {
        let longer = format!("{shown}{word}");
        if Span::raw(longer.trim_end()).width() + 1 + MORE.len() > room {
            break;
        }
        shown = longer;
    }
    if room < MORE.len() {
        return String::new();
    }
    shown + MORE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::view::Theme;

    fn view() -> View {
        View::new(Theme {
            color: false,
            unicode: false,
        })
    }

    fn shown(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    fn parts(width: u16, most: usize) -> Vec<String> {
        let view = view();
        let mut flow = Flow::new(&view, "cost", width);
        for part in ["agent 1 %", "10 MiB", "events lost 1234"] {
            flow.part([Span::raw(part)]);
        }
        shown(&flow.lines(most))
    }

    #[test]
    fn parts_are_shown_whole_or_not_at_all() {
        assert_eq!(
            parts(80, 1),
            ["cost     agent 1 %  10 MiB  events lost 1234"]
        );
        assert_eq!(parts(43, 1), ["cost     agent 1 %  10 MiB .."]);
        assert_eq!(
            parts(43, 2),
            ["cost     agent 1 %  10 MiB", "         events lost 1234"]
        );
    }

    #[test]
    fn sentences_go_on_in_the_next_line() {
        let view = view();
        let mut flow = Flow::new(&view, "", 20);
        flow.part([Span::raw("EEVDF")])
            .words(Tone::Plain, "EJECTED: a runnable task stalled");
        let expected = ["EEVDF", "EJECTED: a runnable", "task stalled"];
        assert_eq!(shown(&flow.lines(9)), expected);
    }

    #[test]
    fn words_are_left_out_whole() {
        let within = |room| words_within("short-running (1.5 ms): protected", room);
        assert_eq!(within(33), "short-running (1.5 ms): protected");
        assert_eq!(within(32), "short-running (1.5 ms): ..");
        assert_eq!(within(20), "short-running ..");
        assert_eq!((within(5), within(1)), ("..".into(), String::new()));
    }

    #[test]
    fn no_width_is_too_small() {
        for width in 0..12 {
            assert!(!parts(width, 3).is_empty());
        }
    }
}

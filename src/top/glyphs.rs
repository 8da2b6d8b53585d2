//! Small snapshots made of characters, with and without Unicode.

use ratatui::style::{Color, Modifier, Style};

use super::view::Theme;

const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 9] = [' ', '.', ':', '-', '=', '+', '*', '%', '#'];

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// A heading, or what one looks for.
    Strong,
    /// As it should be.
    Good,
    /// Worth attention.
    Warn,
    /// Wrong.
    Bad,
    /// Beside the point.
    Dim,
}

impl Theme {
    /// How a tone looks. Without colour, what is wrong is inverted and what is strong is bold.
    pub fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        match (tone, self.color) {
            (Tone::Plain, _) | (Tone::Dim | Tone::Good, false) => plain,
            (Tone::Strong, _) | (Tone::Warn, false) => plain.add_modifier(Modifier::BOLD),
            (Tone::Bad, false) => plain.add_modifier(Modifier::REVERSED),
            (Tone::Good, true) => plain.fg(Color::Green),
            (Tone::Warn, true) => plain.fg(Color::Yellow),
            (Tone::Bad, true) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Dim, true) => plain.fg(Color::DarkGray),
        }
    }

    /// A level from 0 to 100 as one character.
    pub fn level(self, percent: u64) -> char {
        let glyphs = if self.unicode { BLOCKS } else { ASCII };
        let at = (percent.min(100) as usize * 8).div_ceil(100);
        glyphs[at]
    }

    /// As [`Self::level`], where it stands among others without a space: 0 is seen as well.
    pub fn cell(self, percent: u64) -> char {
        match (percent, self.unicode) {
            (0, true) => '·',
            (0, false) => '_',
            _ => self.level(percent),
        }
    }

    /// The last `width` values, on a logarithmic scale from the least to the greatest of them, since
    /// waits differ by orders of magnitude.
    pub fn sparkline(self, values: impl DoubleEndedIterator<Item = u64>, width: usize) -> String {
        let mut shown: Vec<u64> = values.rev().take(width).collect();
        shown.reverse();
        let log = |value: u64| (value as f64).log2();
        let known = || shown.iter().filter(|&&value| value > 0);
        let (Some(&least), Some(&greatest)) = (known().min(), known().max()) else {
            return String::new();
        };
        // A range of less than a factor of four is noise, not a mountain.
        let range = (log(greatest) - log(least)).max(2.0);
        let level = |value: u64| match value {
            0 => ' ',
            _ => self.level((12.5 + 87.5 * (log(value) - log(least)) / range) as u64),
        };
        shown.iter().map(|&value| level(value)).collect()
    }

    /// Text without characters that this terminal may not have. Names of tasks are anything.
    pub fn text(self, text: &str) -> String {
        let shown = |c: char| if self.unicode || c.is_ascii() { c } else { '?' };
        text.chars().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Theme = Theme {
        color: true,
        unicode: true,
    };
    const PLAIN: Theme = Theme {
        color: false,
        unicode: false,
    };

    #[test]
    fn levels_cover_the_range() {
        let line: String = [0, 1, 50, 99, 100, 1000]
            .map(|p| UNICODE.level(p))
            .iter()
            .collect();
        assert_eq!(line, " ▁▄███");
        assert!((0..=100).all(|percent| PLAIN.level(percent).is_ascii()));
    }

    #[test]
    fn a_sparkline_shows_orders_of_magnitude() {
        let line = UNICODE.sparkline([1_000, 10_000, 0, 1_000_000].into_iter(), 10);
        assert_eq!(line, "▁▄ █");
        assert_eq!(UNICODE.sparkline([5, 5, 5].into_iter(), 2), "▁▁");
        assert_eq!(UNICODE.sparkline([0].into_iter(), 5), "");
    }

    #[test]
    fn without_colour_nothing_is_coloured() {
        for tone in [
            Tone::Plain,
            Tone::Strong,
            Tone::Good,
            Tone::Warn,
            Tone::Bad,
            Tone::Dim,
        ] {
            assert_eq!(PLAIN.style(tone).fg, None);
        }
    }
}

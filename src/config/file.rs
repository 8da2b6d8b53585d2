//! The configuration file: TOML, read strictly. What is wrong is said with file, line and column.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::profile::Profile;
use super::rules::RawRule;
use super::{Wrong, keys};

/// Greatest size of a configuration file, in bytes: 10,000 rules take less than 1 MiB.
pub const MAX_BYTES: u64 = 4 << 20;

/// Characters of a name that are shown, and compared with those that are known.
const MAX_NAME: usize = 64;
/// Bytes of a line whose characters are counted.
const MAX_COLUMN: usize = 10_000;
/// Characters of a message.
const MAX_MESSAGE: usize = 1_000;

/// The file as it is written, not yet checked against ranges.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    pub profile: Option<Profile>,
    pub goal: RawGoal,
    pub tuner: RawTuner,
    pub include: Vec<Spanned<String>>,
    pub tunables: BTreeMap<Spanned<String>, Spanned<i64>>,
    pub rule: Vec<Spanned<RawRule>>,
}

/// `[goal]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawGoal {
    pub wakeup_p99_us: Option<Spanned<i64>>,
    pub latency_wakeup_p99_us: Option<Spanned<i64>>,
}

/// `[tuner]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTuner {
    pub enabled: Option<bool>,
    pub period_ms: Option<Spanned<i64>>,
}

/// A text and where it came from, to turn byte offsets into what an editor understands.
pub struct Source {
    name: String,
    text: String,
    /// Offset at which each line begins.
    lines: Vec<usize>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is larger than [`MAX_BYTES`] or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Wrong> {
        let name = path.display().to_string();
        let wrong = |what: String| Wrong::one(format!("{name}: {what}"));
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let mut text = String::new();
        file.take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|error| wrong(error.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(wrong(format!("larger than {MAX_BYTES} bytes")));
        }
        Ok(Self::new(&name, text))
    }

    /// Takes a text that is there already.
    pub fn new(name: &str, text: String) -> Self {
        let starts = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(i, _)| i + 1);
        Self {
            name: name.to_owned(),
            lines: std::iter::once(0).chain(starts).collect(),
            text,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `FILE:LINE:COLUMN` of a byte offset, both counted from 1, the column in characters; in bytes in a line
    /// that no editor shows, for thousands of rules may stand in one.
    pub fn at(&self, offset: usize) -> String {
        let line = self.line_of(offset);
        let before = self
            .text
            .get(self.lines[line - 1]..offset)
            .unwrap_or_default();
        let column = match before.len() {
            0..=MAX_COLUMN => before.chars().count(),
            bytes => bytes,
        };
        format!("{}:{line}:{}", self.name, column + 1)
    }

    /// The line of a byte offset, counted from 1.
    pub fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|&start| start <= offset).max(1)
    }

    /// Parses it.
    ///
    /// # Errors
    /// Wrong syntax, a key that does not exist, a value of a wrong type.
    pub fn parse<Raw: DeserializeOwned>(&self) -> Result<Raw, Wrong> {
        toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let what = self.explain(error.message(), &span);
            Wrong::one(format!("{}: {what}", self.at(span.start)))
        })
    }

    /// What the parser says, in the words of the manual where it concerns a key.
    fn explain(&self, message: &str, span: &Range<usize>) -> String {
        let message = &brief(message.lines().next().unwrap_or_default());
        for (said, what) in [("unknown field", "key"), ("unknown variant", "value")] {
            if message.starts_with(said) {
                let mut names = message.split('`').skip(1).step_by(2);
                let name = names.next().unwrap_or_default();
                return unknown(what, name, names);
            }
        }
        let line = self.line_of(span.start);
        let line = self.text[self.lines[line - 1]..]
            .lines()
            .next()
            .unwrap_or_default();
        let name = line.split('=').next().unwrap_or_default().trim();
        match keys::all().iter().find(|key| key.name == name) {
            Some(key) => format!("{message}; {name} takes {}", key.allowed),
            None => message.to_owned(),
        }
    }
}

/// A message that may quote the file, which may be anything.
pub fn brief(message: &str) -> String {
    shortened(message, MAX_MESSAGE)
}

/// No more than so many characters of a text.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// That `name` is not known, with the nearest of the `known` ones or else all of them.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    // To compare names takes memory for the product of their lengths.
    let name = &shortened(name, MAX_NAME);
    // A wild guess does not help: at most a third of the letters may differ.
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(3));
    let hint = match nearest {
        Some((_, candidate)) => format!("did you mean {candidate:?}?"),
        None => format!("known are {}", known.join(", ")),
    };
    format!("unknown {what} {name:?}; {hint}")
}

//! Messages of xtask, on standard error: standard output belongs to the commands that it runs.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::env;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

/// The meaning of a text, which decides its colour.
#[derive(Clone, Copy)]
pub enum Tone {
    /// Something succeeded.
    Good,
    /// Something failed.
    Bad,
    /// Left out, or less important.
    Faint,
    /// A heading.
    Strong,
}

/// `text` in the colour of `tone` if it goes to a terminal and NO_COLOR is not set.
pub fn paint(text: &str, tone: Tone, to_terminal: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31;1",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    let is_coloured = to_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if is_coloured {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Prints one line about what xtask does.
pub fn note(text: &str) {
    eprintln!(
        "{}",
        paint(
            &format!("xtask: {text}"),
            Tone::Faint,
            io::stderr().is_terminal()
        )
    );
}

/// A spinner with a message. It is invisible if standard error is no terminal.
pub fn spinner(message: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(message.to_owned());
    if io::stderr().is_terminal() {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}

/// A bar for a download of `total_bytes`.
pub fn download_bar(message: &str, total_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
    let template = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(message.to_owned());
    bar
}

/// A bar for steps whose number becomes known while they run.
pub fn steps_bar(message: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos} of {len}, {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(message.to_owned());
    bar
}

/// Prints one line about a failure.
pub fn failure(text: &str) {
    let to_terminal = io::stderr().is_terminal();
    eprintln!("{} {text}", paint("error:", Tone::Bad, to_terminal));
}

/// The last `lines` lines of a log.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Flags that contradict each other: the exit status is 2.
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

//! The words check: words that the glossary replaces, and tasks that are called persons.

use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where text of ours stands.
const PLACES: [&str; 9] = [
    "*.md", "src", "scx_ops", "xtask", "tests", "dist", "docs", "crates", "build.rs",
];
/// Where the words may stand: the glossary explains them, and results are not edited.
const EXCUSED: [&str; 3] = [
    "docs/design/glossary.md",
    "docs/results/",
    "xtask/src/check/words.rs",
];
/// Words that a task, a reader or a program is not called.
const PERSONS: [&str; 6] = [
    "who",
    "whoever",
    "nobody",
    "somebody",
    "everybody",
    "anybody",
];
/// Words of the left column of the glossary's last table that mean nothing else in the field. (`hogs` is the name
/// of a stressor, and stays.)
const REPLACED: [&str; 32] = [
    "adopt",
    "contestant",
    "dowry",
    "echoes",
    "forgive",
    "give_lag",
    "give_way",
    "gives_way",
    "habit",
    "hand_over",
    "hog",
    "is_ahead",
    "is_as_ever",
    "is_brief",
    "is_owed",
    "keeps_cpu",
    "knob",
    "knobs",
    "learn_burst",
    "makes_room",
    "move_clock",
    "owed",
    "recall",
    "rescue",
    "send_up",
    "settle",
    "shorten_turn",
    "spared",
    "spared_ns",
    "take_seat",
    "vacate",
    "vtime_now",
];

/// Lists every place with such a word.
///
/// # Errors
/// If there is one, or git cannot be asked for the files.
pub fn run(tree: &Tree) -> Result<()> {
    let output = Command::new("git")
        .args(["ls-files", "--"])
        .args(PLACES)
        .current_dir(&tree.top)
        .output()
        .context("cannot run git: is it in the PATH?")?;
    if !output.status.success() {
        bail!("`git ls-files` failed in {}", tree.top.display());
    }
    let files = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut count = 0;
    for file in files.lines().filter(|file| !is_excused(file)) {
        // A picture or a binary is no text of ours.
        let Ok(text) = fs::read_to_string(tree.top.join(file)) else {
            continue;
        };
        for (number, word) in found(&text) {
            println!("{file}:{number}: {word}");
            count += 1;
        }
    }
    if count > 0 {
        bail!("{count} words that docs/design/glossary.md replaces: use the field's word");
    }
    println!("no word that the glossary replaces");
    Ok(())
}

fn is_excused(file: &str) -> bool {
    let is_text = ["md", "rs", "h", "c", "sh", "toml", "service", "snap"]
        .iter()
        .any(|end| {
            Path::new(file)
                .extension()
                .is_some_and(|extension| extension == *end)
        });
    !is_text || EXCUSED.iter().any(|excused| file.starts_with(excused))
}

/// Line number, from 1, and word.
fn found(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(at, line)| {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words
            .filter(|word| is_replaced(word))
            .map(move |word| (at + 1, word))
    })
}

fn is_replaced(word: &str) -> bool {
    let is = |known: &&str| known.eq_ignore_ascii_case(word);
    PERSONS.iter().any(is) || REPLACED.iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_and_in_any_case() {
        let text = "the whole task\nWhoever is `owed` waits\nborrowed\n";
        let found: Vec<_> = found(text).collect();
        assert_eq!(found, [(2, "Whoever"), (2, "owed")]);
    }

    #[test]
    fn the_glossary_and_the_results_are_excused() {
        assert!(is_excused("docs/design/glossary.md"));
        assert!(is_excused("docs/results/2026-11-22-x.md"));
        assert!(!is_excused("docs/design/policy.md"));
        assert!(is_excused("docs/results/a.svg"));
    }
}

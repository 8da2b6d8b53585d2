//! The words check: words that the glossary replaces, and tasks that are called persons.
//!
//! It compares whole words, so it does not find expressions of several words ("left alone") and longer names
//! (`side_end_slice`); of the names of tests it compares each part with the words for persons. In `xtask` it finds
//! further words, which are still in use elsewhere. Exempt there too, because tools use them in another sense:
//!
//! - `call` (system calls), `floor` (`scx_floor`), `hogs` and `sleepers` (stressors), `wants` (systemd);
//! - `late`, `later`, `level`, `place`: common English;
//! - files without one of the extensions of [`is_exempt`], such as `bpf-clang`.

use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Files and folders with text of the project.
const PLACES: [&str; 9] = [
    "*.md", "src", "scx_ops", "xtask", "tests", "dist", "docs", "crates", "build.rs",
];
/// Files that may have the words: the glossary and this file list them, and results are not edited.
const EXEMPT: [&str; 3] = [
    "docs/design/glossary.md",
    "docs/results/",
    "xtask/src/check/words.rs",
];
/// Words that a task, a reader or a program is not called.
const PERSONS: [&str; 8] = [
    "who",
    "whoever",
    "whom",
    "nobody",
    "somebody",
    "everybody",
    "anybody",
    "strangers",
];
/// Words of the left column of the glossary's last table that have no other meaning in the field. (`hogs` is the
/// name of a stressor.)
const REPLACED: [&str; 54] = [
    "adopt",
    "bias",
    "contestant",
    "contestants",
    "count_in",
    "count_out",
    "crew",
    "desk",
    "doubt",
    "dowry",
    "echoes",
    "event_gates",
    "forgive",
    "gates",
    "give_lag",
    "give_way",
    "gives_way",
    "habit",
    "hand_over",
    "hog",
    "intake",
    "is_ahead",
    "is_as_ever",
    "is_brief",
    "is_owed",
    "keeps_cpu",
    "knob",
    "knobs",
    "labs",
    "learn_burst",
    "makes_room",
    "move_clock",
    "move_up",
    "owed",
    "pace",
    "picture",
    "pictures",
    "recall",
    "rescue",
    "send_up",
    "settle",
    "shorten_turn",
    "sit",
    "spared",
    "spared_ns",
    "stay_down",
    "take_seat",
    "trend",
    "turn_ns",
    "vacate",
    "vtime_now",
    "waits_pid",
    "waits_sleeper",
    "wake_lag",
];

/// Further words of that column, which may not stand in [`XTASK`]: there they have no other meaning.
const REPLACED_IN_XTASK: [&str; 42] = [
    "admit",
    "ahead",
    "behind",
    "beneath",
    "blind",
    "board",
    "brief",
    "burst",
    "burst_ns",
    "charge",
    "due",
    "eyes",
    "factor",
    "gap_ns",
    "judge",
    "lab",
    "lead",
    "leg",
    "legs",
    "look",
    "looks",
    "opening",
    "park",
    "race",
    "races",
    "reach",
    "seat",
    "sleeper",
    "sooner",
    "spare",
    "spares",
    "stretch",
    "stretches",
    "sum_up",
    "tell",
    "tells",
    "thrown",
    "told",
    "torn",
    "turn",
    "turns",
    "witness",
];
/// The folder of [`REPLACED_IN_XTASK`].
const XTASK: &str = "xtask/";

/// Prints every such word with its file and line.
///
/// # Errors
/// If there is one, or git fails.
pub fn run(tree: &Tree) -> Result<()> {
    let words = replaced_words(tree, &PLACES)?;
    if !words.is_empty() {
        println!("{}", words.join("\n"));
        bail!(
            "{} words that docs/design/glossary.md replaces: use the field's word",
            words.len()
        );
    }
    println!("no word that docs/design/glossary.md replaces");
    Ok(())
}

/// `FILE:LINE: WORD` for each replaced word in these files and folders.
fn replaced_words(tree: &Tree, places: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--"])
        .args(places)
        .current_dir(&tree.top)
        .output()
        .context("cannot run git: is it in the PATH?")?;
    if !output.status.success() {
        bail!("`git ls-files` failed in {}", tree.top.display());
    }
    let files = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = Vec::new();
    for file in files.lines().filter(|file| !is_exempt(file)) {
        // An image or a binary is not text.
        let Ok(text) = fs::read_to_string(tree.top.join(file)) else {
            continue;
        };
        let found = found(&text, file.starts_with(XTASK)).chain(persons_in_names(&text));
        words.extend(found.map(|(line, word)| format!("{file}:{line}: {word}")));
    }
    Ok(words)
}

fn is_exempt(file: &str) -> bool {
    let is_text = ["md", "rs", "h", "c", "inc", "sh", "toml", "service", "snap"]
        .iter()
        .any(|end| {
            Path::new(file)
                .extension()
                .is_some_and(|extension| extension == *end)
        });
    !is_text || EXEMPT.iter().any(|exempt| file.starts_with(exempt))
}

/// Line number, from 1, and word. `in_xtask` adds the words of [`REPLACED_IN_XTASK`].
fn found(text: &str, in_xtask: bool) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(move |(at, line)| {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words
            .filter(move |word| is_replaced(word, in_xtask))
            .map(move |word| (at + 1, word))
    })
}

/// The same, for parts of the names of tests: private functions without arguments.
fn persons_in_names(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(at, line)| {
        let name = line.trim_start().strip_prefix("fn ");
        let name = name.and_then(|name| name.split_once("()"));
        let parts = name.map_or("", |(name, _)| name).split('_');
        parts
            .filter(|part| PERSONS.contains(part))
            .map(move |part| (at + 1, part))
    })
}

fn is_replaced(word: &str, in_xtask: bool) -> bool {
    let is = |known: &&str| known.eq_ignore_ascii_case(word);
    PERSONS.iter().any(is)
        || REPLACED.iter().any(is)
        || in_xtask && REPLACED_IN_XTASK.iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_and_in_any_case() {
        let text = "the whole task\nWhoever is `owed` waits\nborrowed\n";
        let found: Vec<_> = found(text, false).collect();
        assert_eq!(found, [(2, "Whoever"), (2, "owed")]);
    }

    #[test]
    fn names_of_tests_are_split() {
        let text = "whole\n    fn a_test_harms_nobody() {\nfn is_whole() {}\n";
        let found: Vec<_> = persons_in_names(text).collect();
        assert_eq!(found, [(2, "nobody")]);
    }

    #[test]
    fn further_words_are_found_in_xtask_only() {
        let text = "the lab takes turns\n";
        assert_eq!(found(text, false).count(), 0);
        let found: Vec<_> = found(text, true).collect();
        assert_eq!(found, [(1, "lab"), (1, "turns")]);
    }

    /// The rest of the tree is checked by `cargo xtask check words`, a step of `cargo xtask test`.
    #[test]
    fn xtask_has_no_replaced_word() {
        let tree = Tree::find().unwrap();
        assert_eq!(replaced_words(&tree, &[XTASK]).unwrap(), [""; 0]);
    }

    #[test]
    fn glossary_and_results_are_exempt() {
        assert!(is_exempt("docs/design/glossary.md"));
        assert!(is_exempt("docs/results/2026-11-22-x.md"));
        assert!(!is_exempt("docs/design/policy.md"));
        assert!(is_exempt("docs/results/a.svg"));
    }
}

//! The documentation check: links and paths exist, text is wrapped, each dependency is explained.

use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest line of text, in characters. Tables, code and links may be longer.
const MAX_WIDTH: usize = 100;
/// Results are never edited.
const RESULTS: &str = "docs/results";
/// Folders whose files a document may name as `folder/file`.
const ROOTS: [&str; 7] = [
    "src/",
    "docs/",
    "tests/",
    "xtask/",
    "scx_ops/",
    "dist/",
    "examples/",
];

/// Checks every Markdown file of the tree.
///
/// # Errors
/// If there are errors. All of them are printed.
pub fn run(tree: &Tree) -> Result<()> {
    let mut wrong = Vec::new();
    let files = documents(&tree.top)?;
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let shown = file.strip_prefix(&tree.top).unwrap_or(file);
        let is_result = shown.starts_with(RESULTS);
        for (number, line, is_code) in lines(&text) {
            let mut report = |what: String| {
                wrong.push(format!("{}:{number}: {what}", shown.display()));
            };
            let is_free = is_code || line.starts_with(['|', '#', '!']) || !line.contains(' ');
            if !is_free && !is_result && line.chars().count() > MAX_WIDTH {
                report(format!("longer than {MAX_WIDTH} characters"));
            }
            for link in links(line).filter(|_| !is_code) {
                let folder = file.parent().unwrap_or(&tree.top);
                if !folder.join(link).exists() {
                    report(format!("no such file: {link}"));
                }
            }
            if !is_result && let Some(reason) = parse_error(line) {
                report(reason);
            }
            for path in paths(line).filter(|_| !is_code && !is_result) {
                if !tree.top.join(path).exists() {
                    report(format!("no such path: {path}"));
                }
            }
        }
    }
    wrong.extend(unexplained(&tree.top)?);
    if !wrong.is_empty() {
        println!("{}", wrong.join("\n"));
        bail!("{} errors in the documentation", wrong.len());
    }
    println!("no error in {} documents", files.len());
    Ok(())
}

/// The Markdown files at the top and under `docs`.
fn documents(top: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![top.join("docs")];
    let mut found = Vec::new();
    let mut read = |folder: &Path, folders: &mut Vec<PathBuf>| -> Result<()> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
        Ok(())
    };
    read(top, &mut Vec::new())?;
    while let Some(folder) = folders.pop() {
        read(&folder, &mut folders)?;
    }
    found.sort();
    Ok(found)
}

/// Number from 1, text, and whether it is in a block of code.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut is_code = false;
    text.lines().enumerate().map(move |(at, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (at + 1, line, is_code || is_fence)
    })
}

/// The targets of links to files of the tree.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

/// Paths in backquotes that name a file of the tree without wildcards.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|quoted| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        ROOTS.iter().any(|root| quoted.starts_with(root)) && quoted.chars().all(is_plain)
    })
}

/// The error of xtask for a line of code with one of its commands; `None` if there is no error or no command.
fn parse_error(line: &str) -> Option<String> {
    let code = line.split(" #").next()?.trim().trim_end_matches('\\');
    let arguments = code.strip_prefix("cargo xtask ")?;
    if arguments.contains(['[', '|']) || arguments.contains("...") {
        return None; // a description of commands
    }
    let words = std::iter::once("xtask".to_owned()).chain(split(arguments));
    let error = crate::Cli::try_parse_from(words).err()?;
    let first = error.to_string();
    let first = first.lines().next().unwrap_or_default();
    Some(format!("`cargo xtask {arguments}`: {first}"))
}

/// Words of a command line; quotes hold words together.
fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (_, c) => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Dependencies of the workspace that the table of CONTRIBUTING.md does not explain.
fn unexplained(top: &Path) -> Result<Vec<String>> {
    let read = |name: &str| {
        fs::read_to_string(top.join(name)).with_context(|| format!("cannot read {name}"))
    };
    let (manifest, guide) = (read("Cargo.toml")?, read("CONTRIBUTING.md")?);
    let table: Vec<&str> = guide
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .context("Cargo.toml has no workspace.dependencies")?;
    let entries = section.lines().take_while(|line| !line.starts_with('['));
    let names = entries.filter_map(|line| Some(line.split_once(" = ")?.0));
    let missing = names.filter(|name| {
        let quoted = format!("`{name}`");
        !table.iter().any(|row| row.contains(&quoted))
    });
    Ok(missing
        .map(|name| format!("CONTRIBUTING.md: no row explains the dependency {name}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_paths_are_found_in_a_line() {
        let line =
            "see [a](x/a.md#b), [c](https://d) and `src/cli.rs`, `src/bpf/*.h`, `scx_takt top`";
        assert_eq!(links(line).collect::<Vec<_>>(), ["x/a.md"]);
        assert_eq!(paths(line).collect::<Vec<_>>(), ["src/cli.rs"]);
    }

    #[test]
    fn commands_of_xtask_are_parsed() {
        for known in [
            "cargo xtask vm --cpus 2 -- sh -c 'a b'   # comment",
            "cargo xtask check docs",
            "cargo xtask kernel list",
            "cargo build",
        ] {
            assert_eq!(parse_error(known), None);
        }
        let reason = parse_error("cargo xtask vm --no-such-flag").unwrap();
        assert!(reason.contains("--no-such-flag"), "{reason}");
        assert_eq!(split("a 'b c' d"), ["a", "b c", "d"]);
    }

    #[test]
    fn code_blocks_are_distinguished_from_text() {
        let kinds: Vec<_> = lines("a\n```\nb\n```\nc")
            .map(|(_, _, is_code)| is_code)
            .collect();
        assert_eq!(kinds, [false, true, true, true, false]);
    }
}

//! Every command of scx_takt in the documentation is one that it understands (`cargo xtask check docs` looks at the
//! commands of xtask), and every command there is run somewhere, or it is said why not: `doc_commands.toml`.

// Helpers are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

#[path = "common/doc_commands.rs"]
mod doc_commands;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use clap::error::ErrorKind;
use doc_commands::DocCommands;
use scx_takt::cli::Cli;

/// What a line of commands begins with. All lines of a block of code that has such a line are commands.
const PROGRAMS: [&str; 9] = [
    "apt",
    "cargo",
    "git",
    "grep",
    "journalctl",
    "make",
    "scx_takt",
    "systemctl",
    "vcgencmd",
];

/// The Markdown files that describe the tree as it is. (Results describe what it was.)
fn documents() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        top.to_owned(),
        top.join("docs/user"),
        top.join("docs/design"),
    ];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut found: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.sort();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// The lines of blocks of code and what stands in backquotes, with lines that go on in the next one joined.
fn pieces(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut paragraph = String::new();
    let mut is_code = false;
    for line in text.replace("\\\n", " ").lines().chain([""]) {
        let is_fence = line.trim_start().starts_with("```");
        if is_code && !is_fence {
            found.push(line.to_owned());
            continue;
        }
        if is_fence || line.trim().is_empty() {
            let inline = paragraph.split('`').skip(1).step_by(2);
            found.extend(inline.map(ToOwned::to_owned));
            paragraph.clear();
            is_code ^= is_fence;
        } else {
            paragraph.push_str(line.trim());
            paragraph.push(' ');
        }
    }
    found
}

/// The command lines of scx_takt in a piece: itself, after `sudo`, in a VM, in a shell, or as a scheduler under
/// test. What has brackets describes a command and is none.
fn commands(piece: &str) -> Vec<Vec<String>> {
    let code = piece.split(" #").next().unwrap();
    if code.contains('[') || code.contains("...") {
        return Vec::new();
    }
    let Some(words) = shlex::split(code.trim()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let inner: Vec<_> = words
        .iter()
        .filter(|word| word.contains("scx_takt "))
        .collect();
    for word in inner {
        let parts = word.split([';', '&', '|', ',']);
        found.extend(parts.filter_map(|part| own(&shlex::split(part.trim())?)));
    }
    let after_dashes = words
        .iter()
        .position(|word| word == "--")
        .map(|at| &words[at + 1..]);
    match (words.first().map(String::as_str), after_dashes) {
        (Some("cargo"), Some(rest)) if words.get(2).is_some_and(|word| word == "bench") => {
            let bench = ["scx_takt".to_owned(), "bench".to_owned()];
            found.push(bench.into_iter().chain(rest.iter().cloned()).collect());
        }
        (Some("cargo"), Some(rest)) => found.extend(own(rest)),
        _ => found.extend(own(&words)),
    }
    found
}

/// The words as a command line of scx_takt, if they are one.
fn own(words: &[String]) -> Option<Vec<String>> {
    let words = match words.first()?.as_str() {
        "sudo" => &words[1..],
        _ => words,
    };
    (words.first()? == "scx_takt").then(|| words.to_vec())
}

/// Every command in the documentation, and the document that has it.
fn all_commands() -> Vec<(PathBuf, Vec<String>)> {
    let mut found = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let all = pieces(&text).into_iter().flat_map(|piece| commands(&piece));
        found.extend(all.map(|words| (document.clone(), words)));
    }
    found
}

#[test]
fn every_command_in_the_documentation_is_understood() {
    let all = all_commands();
    for (document, words) in &all {
        if let Err(error) = Cli::try_parse_from(words) {
            let shows = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
            assert!(
                shows.contains(&error.kind()),
                "{}: {words:?}: {error}",
                document.display()
            );
        }
    }
    assert!(all.len() > 60, "only {} commands were found", all.len());
}

/// A command line without sudo, variables before it, comment and repeated blanks.
fn normal(line: &str) -> String {
    let code = line.split(" #").next().unwrap();
    let words = code.split_whitespace();
    let is_prefix = |word: &&str| {
        let name = word.split('=').next().unwrap();
        let is_variable =
            name.len() < word.len() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        is_variable || *word == "sudo"
    };
    words.skip_while(is_prefix).collect::<Vec<_>>().join(" ")
}

fn is_command(line: &str) -> bool {
    let describes = line.contains('[') || line.contains("...");
    let normal = normal(line);
    !describes && PROGRAMS.contains(&normal.split(' ').next().unwrap())
}

/// Every command line of a document.
fn command_lines(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for (at, part) in text.split("\n```").enumerate() {
        let is_block = at % 2 == 1;
        // The rest of the line of a fence is no code.
        let part = part.split_once('\n').map_or("", |(_, part)| part);
        if is_block {
            let lines: Vec<_> = part
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            if lines.iter().any(|line| is_command(line)) {
                found.extend(lines.into_iter().map(normal));
            }
        } else {
            let inline = pieces(part).into_iter().filter(|piece| is_command(piece));
            found.extend(inline.map(|piece| normal(&piece)));
        }
    }
    found
}

#[test]
fn command_lines_are_found_in_blocks_and_text() {
    let text = "# a\n`sudo scx_takt top`, `src/cli.rs` and `scx_takt stats [--json]`\n\n\
        ```sh\nsudo make   -j4 \\\n  all # b\nA_B=c cargo build\nreboot\n```\n`x`\n```\na = 1\n```\n";
    assert_eq!(
        command_lines(text),
        ["scx_takt top", "make -j4 all", "cargo build", "reboot"]
    );
}

#[test]
fn every_command_of_the_documentation_is_run_or_said_why_not() {
    let map = DocCommands::read();
    let mut lists: BTreeMap<&str, u32> = BTreeMap::new();
    for command in map.all() {
        *lists.entry(command).or_default() += 1;
    }
    let mut wrong: Vec<String> = Vec::new();
    let twice = lists.iter().filter(|(_, count)| **count > 1);
    wrong.extend(twice.map(|(command, _)| format!("{command}: in two lists")));
    let mut stale: Vec<&str> = lists.keys().copied().collect();
    for document in documents() {
        for command in command_lines(&fs::read_to_string(&document).unwrap()) {
            if !lists.contains_key(command.as_str()) {
                wrong.push(format!("{}: {command}: in no list", document.display()));
            }
            stale.retain(|known| *known != command);
        }
    }
    wrong.extend(
        stale
            .iter()
            .map(|command| format!("{command}: in no document")),
    );
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (command, (file, text)) in &map.elsewhere {
        let shows = fs::read_to_string(top.join(file)).is_ok_and(|script| script.contains(text));
        if !shows {
            wrong.push(format!("{command}: {file} has no '{text}'"));
        }
    }
    assert!(
        wrong.is_empty(),
        "tests/doc_commands.toml:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn commands_for_this_machine_run_as_the_documentation_says() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/config.toml");
    for command in DocCommands::read().this_machine {
        let command = command.replace("FILE", config.to_str().unwrap());
        let words = shlex::split(&command).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_scx_takt"))
            .args(&words[1..])
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert!(!output.stdout.is_empty(), "{words:?} prints nothing");
    }
}

#[test]
fn commands_are_found_where_they_stand() {
    let found = |piece: &str| {
        commands(piece)
            .into_iter()
            .map(|words| words.join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(found("sudo scx_takt top   # live"), ["scx_takt top"]);
    assert_eq!(
        found("cargo xtask vm --cpus 2 -- scx_takt check"),
        ["scx_takt check"]
    );
    assert_eq!(
        found("cargo xtask bench --rounds 3 -- --against 'scx_takt --without sync'"),
        [
            "scx_takt --without sync",
            "scx_takt bench --against scx_takt --without sync"
        ]
    );
    assert_eq!(
        found(
            "cargo xtask vm -- sh -c 'scx_takt --stats 1 & sleep 2; scx_takt stress --seconds 9; kill %1'"
        ),
        ["scx_takt --stats 1", "scx_takt stress --seconds 9"]
    );
    assert!(found("scx_takt stats [--json]").is_empty());
    assert!(found("cat /sys/kernel/sched_ext/state").is_empty());
}

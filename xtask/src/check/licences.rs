//! The licence check: what is linked into the programs must be compatible with GPL-2.0-only, and what only
//! builds or tests them must be free software. It runs `cargo tree`, which needs no network after the download.

use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::process::Stdio;

/// Licences of code that may be linked with GPL-2.0-only code. (Not Apache-2.0: its patent clause
/// is a further restriction in the terms of version 2.)
const LINKED: [&str; 12] = [
    "0BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "GPL-2.0-only",
    "ISC",
    "LGPL-2.1-only",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Further licences that are accepted for code that runs at build time or in tests.
const TOOLS: [&str; 4] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "LGPL-3.0",
    "MPL-2.0",
];
/// Packages that cargo counts as linked although none of their code is.
const NOT_LINKED: [(&str, &str); 1] = [(
    "clang-sys",
    "a dependency of bindgen, which scx_utils calls in its build script only",
)];

/// Checks every package, and prints a summary.
///
/// # Errors
/// If cargo fails, or licences are not accepted: the error names all of them.
pub fn run(tree: &Tree) -> Result<()> {
    let linked = packages(tree, "normal")?;
    let all = packages(tree, "normal,build,dev")?;
    let mut wrong: Vec<String> = Vec::new();
    for package in &linked {
        let is_exempt = NOT_LINKED.iter().any(|(name, _)| *name == package.name);
        if !is_exempt && !satisfied(&package.licence, &|id| LINKED.contains(&id)) {
            wrong.push(format!("{package} is linked into a GPL-2.0-only program"));
        }
    }
    for package in &all {
        let free = |id: &str| LINKED.contains(&id) || TOOLS.contains(&id);
        if !satisfied(&package.licence, &free) {
            wrong.push(format!("{package} has a licence that is not accepted"));
        }
    }
    if !wrong.is_empty() {
        bail!(
            "{}; take another crate, or see the lists in xtask/src/check/licences.rs",
            wrong.join("; ")
        );
    }
    println!(
        "licences of {} linked and {} other packages are accepted",
        linked.len(),
        all.len() - linked.len()
    );
    Ok(())
}

/// A package and the SPDX expression of its licence.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            version,
            licence,
        } = self;
        write!(f, "{name} {version} ({licence})")
    }
}

/// The packages that `scx_takt` reaches over dependencies of these kinds, with the features in use here.
fn packages(tree: &Tree, kinds: &str) -> Result<Vec<Package>> {
    let output = tree
        .cargo()
        .args([
            "tree",
            "--locked",
            "--package",
            "scx_takt",
            "--edges",
            kinds,
        ])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`cargo tree` failed: see above");
    }
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Lines such as `anyhow v1.0.1|MIT OR Apache-2.0`, each package once.
fn parse(text: &str) -> Result<Vec<Package>> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line
            .split_once('|')
            .context("unexpected format of `cargo tree`")?;
        let mut words = package.split(' ');
        found.push(Package {
            name: words.next().unwrap_or_default().to_owned(),
            version: words.next().unwrap_or_default().to_owned(),
            licence: licence.trim_end_matches(" (*)").trim().to_owned(),
        });
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Whether licences that `allowed` accepts satisfy an SPDX expression. `/` is an old way to write OR.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    either(&mut rest, allowed) && rest.is_empty()
}

/// `a OR b OR ...`
fn either(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = both(words, allowed);
    while let Some((&"OR", rest)) = words.split_first() {
        *words = rest;
        met |= both(words, allowed);
    }
    met
}

/// `a AND b AND ...`
fn both(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = one(words, allowed);
    while let Some((&"AND", rest)) = words.split_first() {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

/// A licence, perhaps with an exception, or an expression in parentheses.
fn one(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let Some((&first, rest)) = words.split_first() else {
        return false;
    };
    *words = rest;
    if first == "(" {
        let met = either(words, allowed);
        return match words.split_first() {
            Some((&")", rest)) => {
                *words = rest;
                met
            }
            _ => false,
        };
    }
    match words {
        ["WITH", exception, rest @ ..] => {
            *words = rest;
            allowed(&format!("{first} WITH {exception}"))
        }
        _ => allowed(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spdx_expressions_are_evaluated() {
        let linked = |id: &str| LINKED.contains(&id);
        for (expression, met) in [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("Apache-2.0/MIT", true),
            ("Apache-2.0", false),
            ("MIT AND Apache-2.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("Apache-2.0 WITH LLVM-exception", false),
            ("", false),
            ("MIT MIT", false),
            ("(MIT", false),
        ] {
            assert_eq!(satisfied(expression, &linked), met, "{expression:?}");
        }
    }

    #[test]
    fn packages_are_parsed_once_each() {
        let text = "a v1.0.0 (proc-macro)|MIT\n\nb v2.0.0 (/some/where)|MIT/Apache-2.0\na v1.0.0 (proc-macro)|MIT\n";
        let found = parse(text).unwrap();
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a v1.0.0 (MIT)", "b v2.0.0 (MIT/Apache-2.0)"]);
    }
}

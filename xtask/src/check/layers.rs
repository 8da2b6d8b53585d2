//! The layer check: which module imports which, from the sources alone.
//!
//! Modules are those at the top of a crate. A module may import those of its own layer and of lower ones, and
//! no modules may import each other in a circle. Tests may import anything.

use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The layers of `src`, lowest first.
const LAYERS: [&[&str]; 5] = [
    // Depends on nothing of ours.
    &["base", "bpf_abi", "signals", "topology", "wakeups"],
    // What is wanted and what is: no command line in them, and no BPF object.
    &["config", "snapshot", "tuner"],
    &["cli", "state"],
    // What reads the kernel for one purpose.
    &["collect", "events", "observe"],
    // The agent, its readers and the commands.
    &["agent", "bench", "commands", "stats", "stress", "top"],
];
/// Imports against the layers that are there and known, as (importing, imported): the kernel's BPF statistics
/// stand in `src/bench/callbacks.rs` and belong to `scx_ops`.
const KNOWN: [(&str, &str); 1] = [("collect", "bench")];
/// Modules of xtask that import each other in a circle. No other may join them.
const KNOT_OF_XTASK: [&str; 7] = [
    "apt",
    "cross",
    "kernel",
    "setup",
    "side_by_side",
    "tree",
    "vm",
];

/// Importing module, imported module, and a file that does it.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// Checks `src` and `xtask/src`.
///
/// # Errors
/// If an import is against the layers, or modules import each other in a circle.
pub fn run(tree: &Tree) -> Result<()> {
    let imports = read(&tree.top.join("src"))?;
    let mut wrong = against_layers(&imports, &KNOWN);
    wrong.extend(
        circles(&imports)
            .iter()
            .map(|circle| tell(circle, "src", &imports)),
    );
    let of_xtask = read(&tree.top.join("xtask/src"))?;
    for circle in circles(&of_xtask) {
        let is_known = |module: &String| KNOT_OF_XTASK.contains(&module.as_str());
        if !circle.iter().all(is_known) {
            wrong.push(tell(&circle, "xtask/src", &of_xtask));
        }
    }
    if !wrong.is_empty() {
        println!("{}", wrong.join("\n"));
        bail!(
            "{} imports are against the layers; see ARCHITECTURE.md",
            wrong.len()
        );
    }
    println!("{} modules keep to their layers", imports.len());
    Ok(())
}

/// The imports of each module under a crate's `src`.
fn read(folder: &Path) -> Result<Imports> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    let names: BTreeSet<String> = files.iter().map(|(module, ..)| module.clone()).collect();
    let mut imports = Imports::new();
    for (module, path) in files {
        let text = fs::read_to_string(folder.join(&path))
            .with_context(|| format!("cannot read {path}"))?;
        let found = imports.entry(module.clone()).or_default();
        for imported in imported(&text, is_flat(&path)) {
            if imported != module && names.contains(&imported) {
                found.entry(imported).or_insert_with(|| path.clone());
            }
        }
    }
    Ok(imports)
}

/// Module and path of each file under `folder`, but for the root and tests.
fn list(folder: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        let entries = fs::read_dir(&at).with_context(|| format!("cannot read {}", at.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(folder).unwrap_or(&path);
            let shown = relative.display().to_string();
            let is_root = ["lib.rs", "main.rs"].contains(&shown.as_str());
            let is_test = ["tests.rs", "testing.rs"]
                .iter()
                .any(|end| shown.ends_with(end));
            let first = relative.iter().next().unwrap_or_default();
            let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
            if shown.ends_with(".rs") && !is_root && !is_test {
                found.push((module, shown));
            }
        }
    }
    found.sort();
    Ok(())
}

/// Whether `super` is the root of the crate for this file: `x.rs` or `x/mod.rs`.
fn is_flat(path: &str) -> bool {
    !path.contains('/') || path.ends_with("/mod.rs") && path.matches('/').count() == 1
}

/// The first names after `crate::` (and `super::` in a flat file) in code that is not for tests.
fn imported(text: &str, is_flat: bool) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .collect::<Vec<_>>()
        .join("\n");
    let code = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code = code
        .split("#[cfg(test)]\n#[path")
        .next()
        .unwrap_or_default();
    let roots: &[&str] = if is_flat {
        &["crate::", "super::"]
    } else {
        &["crate::"]
    };
    let mut found = BTreeSet::new();
    for root in roots {
        for rest in code.split(root).skip(1) {
            match rest.strip_prefix('{') {
                Some(group) => found.extend(of_group(group)),
                None => found.extend(first_name(rest)),
            }
        }
    }
    found
}

/// The first name of each path in `{a, b::{c, d}}`, without the brace that opens it.
fn of_group(group: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut depth, mut is_start) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            c if depth == 0 && is_start && !c.is_whitespace() => {
                is_start = false;
                found.extend(first_name(&group[at..]));
            }
            _ => {}
        }
    }
    found
}

fn first_name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let name = &text[..end.unwrap_or(text.len())];
    (!name.is_empty()).then(|| name.to_owned())
}

/// Imports of a higher layer, modules without a layer, and known ones that are not there any more.
fn against_layers(imports: &Imports, known: &[(&str, &str)]) -> Vec<String> {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut wrong = Vec::new();
    let mut unused: BTreeSet<_> = known.iter().collect();
    for (module, all) in imports {
        let Some(own) = layer(module) else {
            wrong.push(format!(
                "src/{module}: in no layer: put it into one in xtask/src/check/layers.rs"
            ));
            continue;
        };
        for (imported, file) in all {
            if layer(imported).is_some_and(|layer| layer > own) {
                let excused = known.iter().find(|known| **known == (module, imported));
                match excused {
                    Some(excused) => _ = unused.remove(excused),
                    None => wrong.push(format!(
                        "src/{file}: imports the higher layer of {imported}"
                    )),
                }
            }
        }
    }
    wrong.extend(unused.iter().map(|(module, imported)| {
        format!("src/{module} imports {imported} no more: take it out of xtask/src/check/layers.rs")
    }));
    wrong
}

/// Sets of modules each of which reaches all others of the set.
fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = imports
        .keys()
        .map(|module| (module, reachable(module, imports)))
        .collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (module, reached) in &reach {
        if !reached.contains(*module) {
            continue;
        }
        let both = reached.iter().filter(|other| {
            reach
                .get(**other)
                .is_some_and(|back| back.contains(*module))
        });
        found.insert(both.map(|module| (*module).clone()).collect());
    }
    found.into_iter().collect()
}

fn reachable<'a>(module: &str, imports: &'a Imports) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut left = vec![module];
    while let Some(at) = left.pop() {
        for imported in imports.get(at).into_iter().flat_map(|all| all.keys()) {
            if found.insert(imported) {
                left.push(imported);
            }
        }
    }
    found
}

/// A circle with the files whose imports make it.
fn tell(circle: &[String], folder: &str, imports: &Imports) -> String {
    let mut text = format!(
        "{folder}: {} import each other in a circle",
        circle.join(", ")
    );
    for module in circle {
        for (imported, file) in imports.get(module).into_iter().flatten() {
            if circle.contains(imported) {
                text += &format!("\n    {folder}/{file} imports {imported}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(pairs: &[(&str, &[&str])]) -> Imports {
        let all = |names: &[&str]| {
            let files = names
                .iter()
                .map(|name| ((*name).to_owned(), "f.rs".to_owned()));
            files.collect()
        };
        let pairs = pairs
            .iter()
            .map(|(module, names)| ((*module).to_owned(), all(names)));
        pairs.collect()
    }

    #[test]
    fn names_are_found_in_every_form_but_not_in_comments_and_tests() {
        let text = "use crate::a::b;\nuse crate::{c, d::{e, f}, g as h};\nlet x = crate::i::J;\n\
                    use super::k;\n// crate::no\n#[cfg(test)]\nmod tests {\n    use crate::no;\n}\n";
        let all = |is_flat| imported(text, is_flat).into_iter().collect::<String>();
        assert_eq!(all(true), "acdgik");
        assert_eq!(all(false), "acdgi");
    }

    #[test]
    fn a_higher_layer_may_not_be_imported() {
        let wrong = against_layers(
            &imports(&[("config", &["stats"]), ("stats", &["config"])]),
            &[],
        );
        assert_eq!(wrong, ["src/f.rs: imports the higher layer of stats"]);
        let wrong = against_layers(&imports(&[("new_module", &[])]), &[]);
        assert!(wrong[0].contains("in no layer"), "{wrong:?}");
    }

    #[test]
    fn an_excuse_holds_for_as_long_as_it_is_needed() {
        let known = [("collect", "bench")];
        let needed = imports(&[("collect", &["bench"]), ("bench", &[])]);
        assert_eq!(against_layers(&needed, &known), [""; 0]);
        let wrong = against_layers(&imports(&[("collect", &[])]), &known);
        assert!(wrong[0].contains("imports bench no more"), "{wrong:?}");
    }

    #[test]
    fn circles_are_found_whole() {
        let all = imports(&[
            ("a", &["b"]),
            ("b", &["c"]),
            ("c", &["a", "d"]),
            ("d", &[]),
            ("e", &["a"]),
        ]);
        assert_eq!(circles(&all), [["a", "b", "c"].map(str::to_owned)]);
    }
}

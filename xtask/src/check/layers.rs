//! The layer check: which module imports which, read from the sources alone.
//!
//! Modules are those at the top of a crate. A module may import modules of its own layer and of lower layers.
//! There is no import cycle. Tests may import anything.

use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A crate whose imports are checked.
struct Rules {
    /// The folder of its sources, from the top of the tree.
    folder: &'static str,
    /// Its layers, lowest first.
    layers: &'static [&'static [&'static str]],
}

const CRATES: [Rules; 3] = [
    Rules {
        folder: "src",
        layers: &[
            // Imports no other module of this crate but those of this layer.
            &["base", "bpf_abi", "signals", "topology", "wakeups"],
            // Wanted and measured state: no command line and no BPF object.
            &["config", "snapshot", "tuner"],
            &["cli", "state"],
            // Each reads the kernel for one purpose.
            &["collect", "events", "observe", "why"],
            // The agent, its readers and the commands.
            &["agent", "commands", "stats", "top"],
            // Load and measurements of any scheduler: the agent does not need them.
            &["bench", "stress"],
        ],
    },
    Rules {
        folder: "xtask/src",
        layers: &[
            // Imports no other module of xtask.
            &["arch", "cpio", "elf", "files", "host", "topology", "ui"],
            // The source tree, the cache, and the steps of a long build.
            &["steps", "tree"],
            // Tools of this machine and packages of the Debian mirror.
            &["apt", "setup"],
            // What is built or downloaded for guests.
            &["cross", "kernel", "peers", "side_by_side"],
            &["vm"],
            // The other commands.
            &["bench", "check", "demo", "package", "sim", "test"],
        ],
    },
    Rules {
        folder: "crates/takt_sim/src",
        layers: &[
            &["dsq", "event", "mask", "random", "violation"],
            &["idle", "policy", "topology"],
            &["world"],
            &["task", "world_text"],
            &["machine"],
            &["strategy"],
            &["search"],
        ],
    },
];

/// Importing module, imported module, and a file that does it.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// Checks every crate of [`CRATES`].
///
/// # Errors
/// If an import violates the layers, or modules import each other in a cycle.
pub fn run(tree: &Tree) -> Result<()> {
    let mut violations = Vec::new();
    let mut modules = 0;
    for rules in &CRATES {
        let imports = read(&tree.top.join(rules.folder))?;
        violations.extend(layer_violations(&imports, rules));
        violations.extend(
            cycles(&imports)
                .iter()
                .map(|cycle| describe(cycle, rules.folder, &imports)),
        );
        modules += imports.len();
    }
    if !violations.is_empty() {
        println!("{}", violations.join("\n"));
        bail!(
            "{} imports violate the layers; see ARCHITECTURE.md",
            violations.len()
        );
    }
    println!("no import of {modules} modules violates the layers");
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

/// Imports of a higher layer, and modules without a layer.
fn layer_violations(imports: &Imports, rules: &Rules) -> Vec<String> {
    let Rules { folder, layers } = rules;
    let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let mut violations = Vec::new();
    for (module, all) in imports {
        let Some(own) = layer(module) else {
            violations.push(format!(
                "{folder}/{module}: in no layer: add it to one in xtask/src/check/layers.rs"
            ));
            continue;
        };
        for (imported, file) in all {
            if layer(imported).is_some_and(|layer| layer > own) {
                violations.push(format!(
                    "{folder}/{file}: imports {imported} of a higher layer"
                ));
            }
        }
    }
    violations
}

/// Sets of modules in which each module reaches all others over imports.
fn cycles(imports: &Imports) -> Vec<Vec<String>> {
    let reachable_from: BTreeMap<&String, BTreeSet<&String>> = imports
        .keys()
        .map(|module| (module, reachable(module, imports)))
        .collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (module, reached) in &reachable_from {
        if !reached.contains(*module) {
            continue;
        }
        let both = reached.iter().filter(|other| {
            reachable_from
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

/// The modules of a cycle, and the files whose imports make it.
fn describe(cycle: &[String], folder: &str, imports: &Imports) -> String {
    let mut text = format!("{folder}: import cycle of {}", cycle.join(", "));
    for module in cycle {
        for (imported, file) in imports.get(module).into_iter().flatten() {
            if cycle.contains(imported) {
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
    fn imports_of_every_form_are_found_but_not_those_in_comments_and_tests() {
        let text = "use crate::a::b;\nuse crate::{c, d::{e, f}, g as h};\nlet x = crate::i::J;\n\
                    use super::k;\n// crate::no\n#[cfg(test)]\nmod tests {\n    use crate::no;\n}\n";
        let all = |is_flat| imported(text, is_flat).into_iter().collect::<String>();
        assert_eq!(all(true), "acdgik");
        assert_eq!(all(false), "acdgi");
    }

    const RULES: Rules = Rules {
        folder: "src",
        layers: &[&["low"], &["high"]],
    };

    #[test]
    fn import_of_a_higher_layer_is_a_violation() {
        let both = imports(&[("low", &["high"]), ("high", &["low"])]);
        let violations = layer_violations(&both, &RULES);
        assert_eq!(violations, ["src/f.rs: imports high of a higher layer"]);
        let violations = layer_violations(&imports(&[("new_module", &[])]), &RULES);
        assert!(violations[0].contains("in no layer"), "{violations:?}");
    }

    #[test]
    fn cycles_are_found_with_all_their_modules() {
        let all = imports(&[
            ("a", &["b"]),
            ("b", &["c"]),
            ("c", &["a", "d"]),
            ("d", &[]),
            ("e", &["a"]),
        ]);
        assert_eq!(cycles(&all), [["a", "b", "c"].map(str::to_owned)]);
    }
}

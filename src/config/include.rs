//! Files of rules that a configuration includes by name: shipped with the package, or your own.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::Wrong;
use super::file::{self, Source};
use super::rules::RawRule;

/// Where the package puts them.
const SHIPPED: &str = "/usr/share/scx_takt/rules.d";
/// The folder beside the configuration file that comes first.
const OWN: &str = "rules.d";
/// What their names end in.
const EXTENSION: &str = "toml";

/// A file of rules as written: nothing but rules.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRules {
    /// Its rules, in the order of the file.
    pub rule: Vec<Spanned<RawRule>>,
}

/// Reads the file of this name that comes first for a configuration at `config`.
///
/// # Errors
/// If the name is none, or no folder has such a file, or it cannot be read.
pub fn read(name: &str, config: &Path) -> Result<Source, Wrong> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        let what = "include takes names of letters, digits, - and _, without a folder or .toml";
        return Err(Wrong::one(format!("{what}, not {name:?}")));
    }
    let folders = folders(config);
    let path = |folder: &PathBuf| folder.join(name).with_extension(EXTENSION);
    let found = folders.iter().map(path).find(|path| path.exists());
    let found = found.ok_or_else(|| {
        let known = known(&folders);
        let hint = match known.is_empty() {
            true => "no such file is there".to_owned(),
            false => file::unknown("file of rules", name, known.iter().map(String::as_str)),
        };
        let folders = folders.map(|folder| folder.display().to_string());
        Wrong::one(format!(
            "include looks in {}: {hint}",
            folders.join(" and ")
        ))
    })?;
    Source::read(&found)
}

/// Where files of rules are looked for, in this order.
fn folders(config: &Path) -> [PathBuf; 2] {
    let own = config.parent().unwrap_or(Path::new("")).join(OWN);
    [own, PathBuf::from(SHIPPED)]
}

/// The names that may be included.
fn known(folders: &[PathBuf]) -> Vec<String> {
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    let named = paths.filter(|path| path.extension().is_some_and(|end| end == EXTENSION));
    let mut names: Vec<String> = named
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

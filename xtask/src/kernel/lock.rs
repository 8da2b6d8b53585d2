//! `kernels.lock`: the exact builds that tests and tables use, so that two machines boot the same kernels.

use super::version;
use crate::arch::Arch;
use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;

const HEADER: &str = "\
# The kernels that a series stands for: ARCHITECTURE SERIES RELEASE PACKAGE-VERSION.
# `cargo xtask kernel update` moves them to the newest builds that the mirror offers.
";

/// A series and its build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The architecture as in `uname -m`.
    pub arch: String,
    /// The series, such as `7.2`.
    pub series: String,
    /// Its `uname -r`.
    pub release: String,
    /// Its package version.
    pub version: String,
}

/// The content of `kernels.lock`.
pub struct Lock {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Lock {
    /// Reads the lock of the tree. Without a file, no series is locked.
    pub fn read() -> Result<Self> {
        let path = Tree::find()?.top.join("kernels.lock");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        Ok(Self {
            entries: parse(&text)?,
            path,
        })
    }

    /// The entry of exactly this series.
    pub fn find(&self, series: &str, arch: Arch) -> Option<&Entry> {
        self.of(arch).find(|entry| entry.series == series)
    }

    /// All entries of an architecture.
    pub fn of(&self, arch: Arch) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.arch == arch.name())
    }

    /// Replaces the entry of the same architecture and series. Entries stay sorted.
    pub fn set(&mut self, new: Entry) {
        self.entries
            .retain(|entry| entry.arch != new.arch || entry.series != new.series);
        self.entries.push(new);
        self.entries.sort_by(|left, right| {
            let series = |entry: &Entry| version::series(&entry.series);
            (&right.arch, series(left)).cmp(&(&left.arch, series(right)))
        });
    }

    /// Writes the file.
    pub fn write(&self) -> Result<()> {
        crate::files::write_atomically(&self.path, text(&self.entries).as_bytes())
    }
}

fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [arch, series, release, version] = words[..] else {
            bail!("kernels.lock: `{line}` is not ARCHITECTURE SERIES RELEASE PACKAGE-VERSION");
        };
        entries.push(Entry {
            arch: arch.to_owned(),
            series: series.to_owned(),
            release: release.to_owned(),
            version: version.to_owned(),
        });
    }
    Ok(entries)
}

fn text(entries: &[Entry]) -> String {
    let lines = entries.iter().map(|entry| {
        let Entry {
            arch,
            series,
            release,
            version,
        } = entry;
        format!("{arch} {series} {release} {version}\n")
    });
    HEADER.to_owned() + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(arch: Arch, series: &str, release: &str) -> Entry {
        Entry {
            arch: arch.name().to_owned(),
            series: series.to_owned(),
            release: release.to_owned(),
            version: format!("{release}-1"),
        }
    }

    #[test]
    fn written_entries_are_read_back() {
        let entries = vec![
            entry(Arch::X86_64, "6.18", "6.18.15"),
            entry(Arch::Aarch64, "7.2", "7.2.13"),
        ];
        assert_eq!(parse(&text(&entries)).unwrap(), entries);
        let why = parse("x86_64 7.2 7.2.13\n").unwrap_err().to_string();
        assert!(why.contains("`x86_64 7.2 7.2.13` is not"), "{why}");
    }

    #[test]
    fn set_replaces_only_the_entry_of_its_series() {
        let mut lock = Lock {
            path: PathBuf::new(),
            entries: vec![
                entry(Arch::X86_64, "6.18", "old"),
                entry(Arch::Aarch64, "6.18", "other"),
            ],
        };
        lock.set(entry(Arch::X86_64, "7.2", "x"));
        lock.set(entry(Arch::X86_64, "6.18", "new"));
        let found = |series, arch| lock.find(series, arch).map(|entry| entry.release.as_str());
        assert_eq!(found("6.18", Arch::X86_64), Some("new"));
        assert_eq!(found("6.18", Arch::Aarch64), Some("other"));
        let order: Vec<&str> = lock.entries.iter().map(|e| e.release.as_str()).collect();
        assert_eq!(order, ["new", "x", "other"]);
    }
}

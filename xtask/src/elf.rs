//! The loader and the shared libraries that a program needs in a guest. They are searched as the
//! loader would search them. Programs are read and never run, so this works for another
//! architecture as well.
//!
//! Limits: no `ld.so.cache` and no hardware capability folders; libraries opened with `dlopen`
//! are not found.

use anyhow::{Context, Result, bail};
use goblin::elf::Elf;
use goblin::elf::header::{EM_AARCH64, EM_X86_64};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The loader and libraries of one or more programs, as paths on this machine.
#[derive(Debug, Default)]
pub struct Libraries {
    /// Every file to copy to the same path in the guest.
    pub files: BTreeSet<PathBuf>,
    /// Folders of these files that a loader does not search by default.
    pub extra_folders: BTreeSet<PathBuf>,
}

/// Whether `data` begins with the magic number of ELF.
pub fn is_elf(data: &[u8]) -> bool {
    data.starts_with(b"\x7fELF")
}

/// The machine an ELF file was built for, in the names that `--arch` uses.
pub fn machine(data: &[u8]) -> Option<&'static str> {
    match u16::from_le_bytes([*data.get(18)?, *data.get(19)?]) {
        EM_X86_64 => Some("x86_64"),
        EM_AARCH64 => Some("aarch64"),
        _ => None,
    }
}

impl Libraries {
    /// Adds what the ELF file `path` (with content `data`) needs; nothing for a static one.
    pub fn add(&mut self, path: &Path, data: &[u8]) -> Result<()> {
        let elf =
            Elf::parse(data).with_context(|| format!("cannot read {} as ELF", path.display()))?;
        if let Some(loader) = elf.interpreter {
            self.add_loader(path, loader)?;
        }
        let folders = search_folders(path, &elf);
        for name in &elf.libraries {
            let Some(found) = find(name, &folders, elf.header.e_machine) else {
                bail!(
                    "{} needs the library {name}, which is in none of its search folders; \
                     install the package that holds it",
                    path.display()
                );
            };
            if !self.files.insert(found.clone()) {
                continue;
            }
            if let Some(folder) = found.parent().filter(|folder| !is_default(folder)) {
                self.extra_folders.insert(folder.to_owned());
            }
            let data =
                fs::read(&found).with_context(|| format!("cannot read {}", found.display()))?;
            self.add(&found, &data)?;
        }
        Ok(())
    }

    fn add_loader(&mut self, program: &Path, loader: &str) -> Result<()> {
        let candidates = [
            PathBuf::from(loader),
            Path::new("/usr/aarch64-linux-gnu").join(loader.trim_start_matches('/')),
        ];
        if !candidates.iter().any(|candidate| candidate.exists()) {
            bail!(
                "{} needs the loader {loader}, which is missing: install the package that holds it",
                program.display()
            );
        }
        self.files.insert(PathBuf::from(loader));
        Ok(())
    }
}

/// The path on this machine of the file that the guest has at `guest`.
pub fn host_path(guest: &Path) -> PathBuf {
    if guest.exists() {
        return guest.to_owned();
    }
    let name = guest.strip_prefix("/").unwrap_or(guest);
    Path::new("/usr/aarch64-linux-gnu").join(name)
}

fn search_folders(path: &Path, elf: &Elf<'_>) -> Vec<PathBuf> {
    let origin = path
        .canonicalize()
        .ok()
        .and_then(|real| real.parent().map(Path::to_owned));
    let own = elf
        .rpaths
        .iter()
        .chain(&elf.runpaths)
        .flat_map(|list| list.split(':'))
        .map(|folder| {
            let origin = origin
                .as_deref()
                .unwrap_or(Path::new("/"))
                .to_string_lossy();
            PathBuf::from(
                folder
                    .replace("$ORIGIN", &origin)
                    .replace("${ORIGIN}", &origin),
            )
        });
    let defaults = match elf.header.e_machine {
        EM_AARCH64 => &AARCH64_FOLDERS[..],
        _ => &X86_64_FOLDERS[..],
    };
    own.chain(defaults.iter().map(PathBuf::from))
        .chain(configured_folders())
        .collect()
}

const X86_64_FOLDERS: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
const AARCH64_FOLDERS: [&str; 5] = [
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/aarch64-linux-gnu/lib",
    "/lib",
    "/usr/lib",
];

fn is_default(folder: &Path) -> bool {
    X86_64_FOLDERS
        .iter()
        .chain(&AARCH64_FOLDERS[..2])
        .any(|known| Path::new(known) == folder)
}

/// The folders that `/etc/ld.so.conf.d` names. Its `include` lines are ignored.
fn configured_folders() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/etc/ld.so.conf.d") else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| {
            text.lines()
                .map(str::trim)
                .map(PathBuf::from)
                .collect::<Vec<_>>()
        })
        .filter(|folder| folder.is_absolute())
        .collect()
}

fn find(name: &str, folders: &[PathBuf], machine: u16) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| {
        fs::read(path).is_ok_and(|data| {
            data.get(18..20)
                .is_some_and(|field| field == machine.to_le_bytes())
                && is_elf(&data)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_this_test_are_found() {
        let me = std::env::current_exe().unwrap();
        let data = fs::read(&me).unwrap();
        assert!(is_elf(&data));
        let mut libraries = Libraries::default();
        libraries.add(&me, &data).unwrap();
        let names: Vec<_> = libraries
            .files
            .iter()
            .map(|file| file.to_string_lossy())
            .collect();
        assert!(
            names.iter().any(|name| name.contains("libc.so")),
            "{names:?}"
        );
        assert!(
            names.iter().any(|name| name.contains("ld-linux")),
            "{names:?}"
        );
    }

    #[test]
    fn text_is_no_elf() {
        assert!(!is_elf(b"#!/bin/sh\n"));
        assert_eq!(machine(b"#!/bin/sh"), None);
    }
}

//! What is remembered across runs: the last ejection, and this machine's baseline under EEVDF.
//!
//! Root keeps it in /var/lib/scx_takt, others in $XDG_STATE_HOME/scx_takt or ~/.local/state/scx_takt.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::snapshot::{Ejection, Waits};

const SYSTEM: &str = "/var/lib/scx_takt";
const EJECTION: &str = "last_ejection.json";
const BASELINE: &str = "baseline.json";

fn dir() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(SYSTEM.into());
    }
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/state"));
    let base = env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(home)?;
    Some(base.join("scx_takt"))
}

/// When the kernel last ejected scx_takt, and why; `None`: never, or it was not written down.
pub fn last_ejection() -> Option<Ejection> {
    read(&Path::new(SYSTEM).join(EJECTION))
}

/// Writes down that scx_takt was ejected.
///
/// # Errors
/// If the file cannot be written.
pub fn remember_ejection(ejection: &Ejection) -> Result<()> {
    write(&Path::new(SYSTEM).join(EJECTION), ejection)
}

/// The waits of this machine under EEVDF, of this kind.
pub fn baseline(kind: &str) -> Option<Waits> {
    let own = dir().map(|dir| dir.join(BASELINE));
    let system = Path::new(SYSTEM).join(BASELINE);
    let found: Option<Waits> = own.and_then(|path| read(&path)).or_else(|| read(&system));
    found.filter(|waits| waits.kind == kind)
}

/// Keeps the waits of this machine under EEVDF.
///
/// # Errors
/// If the file cannot be written.
pub fn remember_baseline(waits: &Waits) -> Result<()> {
    let dir = dir().context("no folder for state: neither HOME nor XDG_STATE_HOME is set")?;
    write(&dir.join(BASELINE), waits)
}

/// A file that is not there or cannot be understood is as good as none.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // Whole or not at all: a reader never sees half a file.
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(value)?)?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/file.json");
        let ejection = Ejection {
            unix_s: 5,
            reason: "stall".into(),
        };
        write(&path, &ejection).unwrap();
        assert_eq!(read(&path), Some(ejection));
        fs::write(&path, "{ half a fi").unwrap();
        assert_eq!(read::<Ejection>(&path), None);
    }
}

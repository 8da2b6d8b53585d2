//! Tasks as `/proc` shows them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folders of the threads of the process at `process`; none if it is gone, or is no process.
pub fn threads_of(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(process.join("task")).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

/// The folders of all threads.
///
/// # Errors
/// If there is no `/proc`.
pub fn all_threads() -> io::Result<impl Iterator<Item = PathBuf>> {
    let processes = fs::read_dir("/proc")?.flatten();
    Ok(processes.flat_map(|process| threads_of(&process.path())))
}

/// A field of `/proc/PID/status`, such as `Tgid:`.
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim())
}

//! Files that are written completely or not at all.

use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes `data` to `path` through a temporary file in the same folder.
pub fn write_atomically(path: &Path, data: &[u8]) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let failed = || format!("cannot write {}", path.display());
    fs::create_dir_all(folder).with_context(failed)?;
    let readable = fs::Permissions::from_mode(0o644);
    let mut builder = tempfile::Builder::new();
    let mut file = builder
        .permissions(readable)
        .tempfile_in(folder)
        .with_context(failed)?;
    file.write_all(data).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

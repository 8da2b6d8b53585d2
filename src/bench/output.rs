//! Output files: opened before the measurement starts, so that an unwritable one does not cost half
//! an hour, and put in place in one step, so that no half-written one is ever seen.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// A file to be written at the end.
pub enum Output {
    /// Standard output.
    Stdout,
    /// A terminal, pipe or device, which cannot be replaced.
    Device(File),
    /// A regular file with the temporary one that will take its place.
    File(NamedTempFile, PathBuf),
}

impl Output {
    /// Makes sure that `path` can be written; `-` is standard output.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_inner(path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn open_inner(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        match path.metadata() {
            Ok(found) if found.is_dir() => bail!("it is a folder"),
            Ok(found) if !found.is_file() => {
                return Ok(Self::Device(OpenOptions::new().write(true).open(path)?));
            }
            Ok(_) => drop(OpenOptions::new().append(true).open(path)?),
            Err(_) => {}
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let temporary = tempfile::Builder::new()
            .prefix(".scx_takt-bench-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(|error| io::Error::from(error.kind()))?;
        Ok(Self::File(temporary, path.to_owned()))
    }

    /// Writes `text` and puts the file in place.
    pub fn write(self, text: &str) -> Result<()> {
        match self {
            Self::Stdout => std::io::stdout().lock().write_all(text.as_bytes())?,
            Self::Device(mut file) => file.write_all(text.as_bytes())?,
            Self::File(mut temporary, path) => {
                temporary.write_all(text.as_bytes())?;
                temporary
                    .persist(&path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        let output = Output::open(&path).unwrap();
        assert!(!path.exists());
        output.write("{}").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
        drop(Output::open(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_refused_at_once() {
        assert!(Output::open(Path::new("/nowhere/out.json")).is_err());
        assert!(Output::open(Path::new("/tmp")).is_err());
        Output::open(Path::new("/dev/null"))
            .unwrap()
            .write("x")
            .unwrap();
    }
}

//! Notices when the configuration file changes.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Watches one file: written, replaced or deleted.
pub struct Watch {
    inotify: Inotify,
    name: OsString,
}

impl Watch {
    /// Watches the directory that `path` is in, since editors replace the file by a new one.
    ///
    /// # Errors
    /// If there is no such directory, or the kernel refuses.
    pub fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().context("it names no file")?.to_owned();
        let directory = match path.parent() {
            Some(directory) if directory != Path::new("") => directory,
            _ => Path::new("."),
        };
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // Not IN_MODIFY: it tells of a file that is still being written.
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        inotify.add_watch(directory, events)?;
        Ok(Self { inotify, name })
    }

    /// Has the file changed since the last call?
    pub fn changed(&self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.inotify.read_events() {
            // An event without a name says that events were lost.
            changed |= events
                .iter()
                .any(|event| event.name.as_ref().is_none_or(|name| *name == self.name));
        }
        changed
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn written_replaced_and_deleted_are_noticed_and_neighbours_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let watch = Watch::new(&path).unwrap();
        assert!(!watch.changed());
        fs::write(directory.path().join("other"), "").unwrap();
        assert!(!watch.changed());
        fs::write(&path, "").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
        fs::rename(directory.path().join("other"), &path).unwrap();
        assert!(watch.changed());
        fs::remove_file(&path).unwrap();
        assert!(watch.changed());
        assert!(Watch::new(Path::new("/no/such/directory/file")).is_err());
    }
}

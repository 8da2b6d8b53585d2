//! Which tasks are watched, and whether they are there.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::base::output::escaped;
use crate::base::procfs::{self, field};
use crate::base::{CGROUP_MOUNT, wait};
use crate::bpf_abi::intf;

/// The kernel's limit of a name, without its zero.
const NAME_MAX: usize = intf::takt_consts_TAKT_COMM_LEN as usize - 1;
/// How deep a unit's cgroup may be.
const UNIT_DEPTH: u32 = 8;

/// The tasks that are asked about.
#[derive(Debug)]
pub enum Target {
    /// A process, or one of its threads.
    Task {
        /// Its id.
        pid: i32,
        /// One thread, not all of a process.
        is_thread: bool,
        /// When its process was started, in ticks since boot.
        start: u64,
        /// Readable once it is gone.
        gone: OwnedFd,
    },
    /// All tasks of a name.
    Name(String),
    /// All tasks of a cgroup and of those below it.
    Cgroup {
        /// The unit's name.
        unit: String,
        /// The kernel's id of it.
        id: u64,
        /// How deep it is; the root is 0.
        level: u32,
    },
}

impl Target {
    /// The tasks of `text`, a PID or a name, or those of a systemd unit.
    ///
    /// # Errors
    /// If there are none.
    pub fn find(text: Option<&str>, unit: Option<&str>) -> Result<Self> {
        if let Some(unit) = unit {
            return Self::unit(unit);
        }
        let text = text.unwrap_or_default();
        match text.parse::<i32>() {
            Ok(pid) if pid > 0 => Self::pid(pid),
            Ok(pid) => bail!("no task has PID {pid}: give one above 0, or a name"),
            Err(_) => Self::name(text),
        }
    }

    fn pid(pid: i32) -> Result<Self> {
        let missing =
            || format!("no task has PID {pid}: it may have ended; `ps` shows what is there");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(missing)?;
        let tgid = field(&status, "Tgid:").and_then(|text| text.parse::<i32>().ok());
        let tgid = tgid.with_context(missing)?;
        // Opened before its start is read: what is read then is of this process.
        let gone = wait::pidfd_of(tgid).with_context(missing)?;
        let stat = fs::read_to_string(format!("/proc/{tgid}/stat")).with_context(missing)?;
        Ok(Self::Task {
            pid,
            is_thread: tgid != pid,
            start: start_of(&stat).with_context(missing)?,
            gone,
        })
    }

    fn name(name: &str) -> Result<Self> {
        let cut = cut(name);
        let found = tasks_named(cut).context("cannot read /proc")?;
        if found == 0 {
            bail!(
                "no task is named '{}': start it first, or give its PID; the kernel keeps {NAME_MAX} \
                 characters of a name",
                escaped(name)
            );
        }
        Ok(Self::Name(cut.to_owned()))
    }

    fn unit(unit: &str) -> Result<Self> {
        let mount = Path::new(CGROUP_MOUNT);
        let roots = [mount.to_owned(), mount.join("unified")];
        let root = roots
            .iter()
            .find(|root| root.join("cgroup.procs").exists())
            .with_context(|| {
                format!("--unit needs cgroup v2, which is not mounted at {CGROUP_MOUNT}")
            })?;
        let name = if unit.contains('.') {
            unit.to_owned()
        } else {
            format!("{unit}.service")
        };
        let Some((path, level)) = find_below(root, &name) else {
            bail!(
                "no cgroup is named '{}': is the unit active? `systemctl status` says so",
                escaped(&name)
            );
        };
        let id = fs::metadata(&path)
            .with_context(|| format!("cannot look at {}", path.display()))?
            .ino();
        Ok(Self::Cgroup {
            unit: name,
            id,
            level,
        })
    }

    /// What to call it.
    pub fn describe(&self) -> String {
        match self {
            Self::Task {
                pid,
                is_thread: true,
                ..
            } => format!("thread {pid}"),
            Self::Task { pid, .. } => format!("process {pid}"),
            Self::Name(name) => format!("tasks named {}", escaped(name)),
            Self::Cgroup { unit, .. } => format!("tasks of {}", escaped(unit)),
        }
    }

    /// What becomes readable when there is nothing left to watch.
    pub fn gone(&self) -> Option<&OwnedFd> {
        match self {
            Self::Task { gone, .. } => Some(gone),
            _ => None,
        }
    }
}

/// A name as the kernel holds it: its first 15 bytes, cut between characters.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(NAME_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// A name for the kernel side; the skeleton has `i8` for the `char` of BPF on every machine.
pub fn comm_of(name: &str) -> [i8; NAME_MAX + 1] {
    let mut comm = [0; NAME_MAX + 1];
    for (to, from) in comm.iter_mut().zip(name.bytes().take(NAME_MAX)) {
        *to = from as i8;
    }
    comm
}

/// How many tasks have this name now.
fn tasks_named(name: &str) -> io::Result<usize> {
    let comms = procfs::all_threads()?.filter_map(|thread| fs::read(thread.join("comm")).ok());
    let named = comms.filter(|comm| comm.strip_suffix(b"\n") == Some(name.as_bytes()));
    Ok(named.count())
}

/// When a process was started, in ticks since boot: field 22 of `/proc/PID/stat`. Its name, field 2, may hold
/// anything.
fn start_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// The folder of this name below `root` that is least deep, and how deep it is.
fn find_below(root: &Path, name: &str) -> Option<(PathBuf, u32)> {
    let mut folders = VecDeque::from([(root.to_owned(), 0)]);
    while let Some((folder, level)) = folders.pop_front() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name() == name {
                return Some((entry.path(), level + 1));
            }
            if level + 1 < UNIT_DEPTH {
                folders.push_back((entry.path(), level + 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let rest = (3..=30)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        for name in ["sh", "a) b", "a b (c) 1 2 3"] {
            assert_eq!(start_of(&format!("7 ({name}) {rest}")), Some(22), "{name}");
        }
        assert_eq!(start_of("7 (sh"), None);
    }

    #[test]
    fn this_process_and_its_name_are_found() {
        let own = std::process::id() as i32;
        let Target::Task {
            pid,
            is_thread,
            start,
            ..
        } = Target::pid(own).unwrap()
        else {
            panic!("no task");
        };
        assert_eq!((pid, is_thread), (own, false));
        assert!(start > 0);
        let comm = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(tasks_named(comm.trim_end()).unwrap() > 0);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let wrong = |text| format!("{:#}", Target::find(Some(text), None).unwrap_err());
        assert!(wrong("0").contains("give one above 0"));
        assert!(wrong("2147483647").contains("may have ended"));
        let named = wrong("no\x1bsuch");
        assert!(
            named.contains("no\\u{1b}such") && !named.contains('\x1b'),
            "{named}"
        );
    }

    #[test]
    fn a_unit_is_the_folder_that_is_least_deep() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a/b/x.service", "c/x.service/sub"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let found = find_below(root.path(), "x.service");
        assert_eq!(found, Some((root.path().join("c/x.service"), 2)));
        assert_eq!(find_below(root.path(), "y.service"), None);
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("12345678901234567"), "123456789012345");
        assert_eq!(cut("12345678901234ü"), "12345678901234");
        assert_eq!(comm_of("ab")[..3], [97, 98, 0]);
    }
}

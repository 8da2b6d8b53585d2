//! What the kernel says of `sched_ext` in sysfs: the one reader of `/sys/kernel/sched_ext`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::{Error, Result};

const ROOT: &str = "/sys/kernel/sched_ext";

/// The scheduler that is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Active {
    /// The kernel was built without `sched_ext`.
    Unsupported,
    /// The kernel's own scheduler (EEVDF).
    Kernel,
    /// A `sched_ext` scheduler, by the name in its ops.
    SchedExt(String),
    /// A `sched_ext` scheduler that comes or goes at this moment; the kernel's word for it.
    Changing(String),
}

impl Active {
    /// The name of a `sched_ext` scheduler that is fully enabled.
    pub fn ops(self) -> Option<String> {
        match self {
            Self::SchedExt(ops) => Some(ops),
            _ => None,
        }
    }

    /// Is it the kernel's own scheduler, alone?
    pub fn is_kernel(&self) -> bool {
        matches!(self, Self::Unsupported | Self::Kernel)
    }
}

impl fmt::Display for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => write!(f, "EEVDF (no sched_ext)"),
            Self::Kernel => write!(f, "EEVDF"),
            Self::SchedExt(ops) => write!(f, "{ops}"),
            Self::Changing(state) => write!(f, "a sched_ext scheduler ({state})"),
        }
    }
}

/// `/sys/kernel/sched_ext` at one moment. A file that the kernel does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `enabled`, `disabled`, or on the way between them.
    pub state: Option<String>,
    /// Name of the active scheduler's ops.
    pub ops: Option<String>,
    /// Number of times that a scheduler was enabled since boot. The kernel counts after it has announced
    /// the scheduler, so a reader that is quick reads the number of before.
    pub enable_seq: Option<u64>,
    /// Number of tasks that `init_task` of a scheduler refused since boot.
    pub nr_rejected: Option<u64>,
}

impl Status {
    /// Reads the running kernel's.
    ///
    /// # Errors
    /// If the state cannot be read for another reason than that `sched_ext` is not there.
    pub fn read() -> Result<Self> {
        Self::read_in(Path::new(ROOT))
    }

    fn read_in(dir: &Path) -> Result<Self> {
        let path = dir.join("state");
        let state = match fs::read_to_string(&path) {
            Ok(state) => Some(state.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::reading(path)(error)),
        };
        // These may go while they are read.
        let text = |name: &str| {
            let text = fs::read_to_string(dir.join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        let number = |name: &str| text(name)?.parse().ok();
        Ok(Self {
            state,
            ops: text("root/ops").filter(|ops| !ops.is_empty()),
            enable_seq: number("enable_seq"),
            nr_rejected: number("nr_rejected"),
        })
    }

    /// The scheduler that is active at this moment.
    pub fn active(&self) -> Active {
        match (self.state.as_deref(), &self.ops) {
            (None, _) => Active::Unsupported,
            (Some("disabled"), _) => Active::Kernel,
            (Some("enabled"), Some(ops)) => Active::SchedExt(ops.clone()),
            (Some(state), _) => Active::Changing(state.to_owned()),
        }
    }
}

/// Reads which scheduler is active.
///
/// # Errors
/// As [`Status::read`].
pub fn active() -> Result<Active> {
    Ok(Status::read()?.active())
}

/// Has the active scheduler taken every task that is not real-time? (The others take those only that ask for
/// it.)
pub fn switched_all() -> bool {
    fs::read_to_string(Path::new(ROOT).join("switch_all")).is_ok_and(|all| all.trim() == "1")
}

/// Moves on when a CPU comes or goes. The kernel refuses a scheduler that has read another number.
///
/// # Errors
/// If it cannot be read, or is no number.
pub fn hotplug_seq() -> Result<u64> {
    number_in(&Path::new(ROOT).join("hotplug_seq"))
}

fn number_in(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).map_err(Error::reading(path))?;
    let text = text.trim();
    text.parse().map_err(|_| Error::NoNumber {
        path: path.to_owned(),
        text: text.to_owned(),
    })
}

/// The kernel's event counters of the active scheduler, by the names that the kernel gives them
/// (`SCX_EV_SELECT_CPU_FALLBACK`); empty if no scheduler is active or the kernel has no counters (6.12).
pub fn event_counters() -> BTreeMap<String, u64> {
    event_counters_in(&Path::new(ROOT).join("root/events"))
}

/// A line is `NAME COUNT`.
fn event_counters_in(file: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let counter = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    text.lines().filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysfs(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn active_scheduler_is_read_from_state_and_ops() {
        let active = |files: &[_]| Status::read_in(sysfs(files).path()).unwrap().active();
        assert_eq!(active(&[]), Active::Unsupported);
        assert_eq!(active(&[("state", "disabled\n")]), Active::Kernel);
        let enabled = active(&[("state", "enabled\n"), ("root/ops", "simple\n")]);
        assert_eq!(enabled, Active::SchedExt("simple".into()));
        assert!(!enabled.is_kernel());
        assert_eq!(enabled.ops().as_deref(), Some("simple"));
        let disabling = active(&[("state", "disabling\n")]);
        assert_eq!(disabling, Active::Changing("disabling".into()));
        assert_eq!(disabling.ops(), None);
        let no_ops_yet = active(&[("state", "enabled\n"), ("root/ops", "\n")]);
        assert_eq!(no_ops_yet, Active::Changing("enabled".into()));
    }

    #[test]
    fn status_has_every_file_that_is_there() {
        let dir = sysfs(&[
            ("state", "enabled\n"),
            ("root/ops", "takt_1\n"),
            ("enable_seq", "1\n"),
            ("nr_rejected", "2\n"),
        ]);
        let expected = Status {
            state: Some("enabled".into()),
            ops: Some("takt_1".into()),
            enable_seq: Some(1),
            nr_rejected: Some(2),
        };
        assert_eq!(Status::read_in(dir.path()).unwrap(), expected);
        let absent = dir.path().join("absent");
        assert_eq!(Status::read_in(&absent).unwrap(), Status::default());
    }

    #[test]
    fn a_state_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let error = Status::read_in(dir.path()).unwrap_err().to_string();
        assert!(error.contains("state: "), "{error}");
    }

    #[test]
    fn a_count_of_hotplugs_must_be_a_number() {
        let dir = sysfs(&[("good", "7\n"), ("bad", "seven\n")]);
        assert_eq!(number_in(&dir.path().join("good")).unwrap(), 7);
        let error = |name: &str| number_in(&dir.path().join(name)).unwrap_err();
        assert!(matches!(error("bad"), Error::NoNumber { text, .. } if text == "seven"));
        assert!(matches!(error("absent"), Error::Read { .. }));
    }

    #[test]
    fn counters_have_the_names_that_the_kernel_gives() {
        let dir = sysfs(&[(
            "root/events",
            "SCX_EV_SELECT_CPU_FALLBACK 3\nSCX_EV_NEW 0\n",
        )]);
        let expected = [("SCX_EV_SELECT_CPU_FALLBACK", 3), ("SCX_EV_NEW", 0)];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(
            event_counters_in(&dir.path().join("root/events")),
            BTreeMap::from(expected)
        );
        assert!(event_counters_in(&dir.path().join("absent")).is_empty());
    }
}

//! What the kernel says about the active sched_ext scheduler, and whether it stayed the same.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// `/sys/kernel/sched_ext` at one moment. A file that the kernel does not have is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SchedExt {
    /// `enabled`, `disabled`, or on the way between them.
    pub state: Option<String>,
    /// Name of the active scheduler.
    pub ops: Option<String>,
    /// How often a scheduler has been enabled since boot.
    pub enable_seq: Option<u64>,
    /// How many tasks a scheduler has refused since boot.
    pub nr_rejected: Option<u64>,
}

impl SchedExt {
    /// Reads the running kernel's.
    pub fn read() -> Self {
        Self::read_from(Path::new("/sys/kernel/sched_ext"))
    }

    fn read_from(folder: &Path) -> Self {
        let text = |name: &str| {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        let number = |name: &str| text(name)?.parse().ok();
        Self {
            state: text("state"),
            ops: text("root/ops"),
            enable_seq: number("enable_seq"),
            nr_rejected: number("nr_rejected"),
        }
    }

    /// A scheduler decides.
    pub fn is_enabled(&self) -> bool {
        self.state.as_deref() == Some("enabled")
    }

    /// The scheduler that is at work, in words.
    pub fn describe(&self) -> String {
        match (&self.state, &self.ops) {
            (None, _) => "no sched_ext in this kernel".to_owned(),
            (Some(_), Some(ops)) if self.is_enabled() => ops.clone(),
            (Some(state), _) => format!("sched_ext {state}"),
        }
    }

    /// What has gone wrong since `start`, if `self` is the snapshot of a later moment. A scheduler that
    /// was not there at the start cannot be missed.
    pub fn trouble_since(&self, start: &Self, reload_allowed: bool) -> Option<String> {
        if !start.is_enabled() {
            return None;
        }
        let before = start.describe();
        if !reload_allowed && (!self.is_enabled() || self.ops != start.ops) {
            return Some(format!("{before} did not stay: now {}", self.describe()));
        }
        if !reload_allowed && self.enable_seq != start.enable_seq {
            return Some(format!("{before} was ejected and loaded again"));
        }
        let rejected = self
            .nr_rejected
            .unwrap_or(0)
            .saturating_sub(start.nr_rejected.unwrap_or(0));
        (rejected > 0).then(|| format!("{before} rejected {rejected} tasks"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> SchedExt {
        SchedExt {
            state: Some("enabled".into()),
            ops: Some("takt_1".into()),
            enable_seq: Some(1),
            nr_rejected: Some(2),
        }
    }

    fn disabled() -> SchedExt {
        SchedExt {
            state: Some("disabled".into()),
            ops: None,
            ..enabled()
        }
    }

    #[test]
    fn a_scheduler_that_stayed_is_no_trouble() {
        assert_eq!(enabled().trouble_since(&enabled(), false), None);
        assert_eq!(
            SchedExt::default().trouble_since(&SchedExt::default(), false),
            None
        );
    }

    #[test]
    fn ejection_replacement_reload_and_rejection_are_trouble() {
        let trouble = |end: SchedExt| end.trouble_since(&enabled(), false).unwrap();
        assert!(trouble(disabled()).contains("now sched_ext disabled"));
        assert!(
            trouble(SchedExt {
                ops: Some("b".into()),
                ..enabled()
            })
            .contains("now b")
        );
        let again = SchedExt {
            enable_seq: Some(2),
            ..enabled()
        };
        assert!(trouble(again.clone()).contains("loaded again"));
        assert_eq!(again.trouble_since(&enabled(), true), None);
        let rejecting = SchedExt {
            nr_rejected: Some(5),
            ..enabled()
        };
        assert!(trouble(rejecting).contains("rejected 3 tasks"));
    }

    #[test]
    fn one_that_comes_later_is_not_missed() {
        assert_eq!(enabled().trouble_since(&disabled(), false), None);
        assert_eq!(disabled().trouble_since(&disabled(), false), None);
    }

    #[test]
    fn reads_what_is_there() {
        let folder = std::env::temp_dir().join(format!("takt_sched_ext.{}", std::process::id()));
        fs::create_dir_all(folder.join("root")).unwrap();
        fs::write(folder.join("state"), "enabled\n").unwrap();
        fs::write(folder.join("root/ops"), "takt_1\n").unwrap();
        fs::write(folder.join("enable_seq"), "1\n").unwrap();
        fs::write(folder.join("nr_rejected"), "2\n").unwrap();
        let read = SchedExt::read_from(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read, enabled());
        assert_eq!(SchedExt::read_from(&folder), SchedExt::default());
    }
}

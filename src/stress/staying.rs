//! Whether the active sched_ext scheduler stayed the same.

use scx_ops::sched_ext::{Active, Status};

/// What has gone wrong between the status at the `start` and `now`. A scheduler that was not there at the start
/// cannot be missed.
pub fn trouble_since(start: &Status, now: &Status, reload_allowed: bool) -> Option<String> {
    let Active::SchedExt(before) = start.active() else {
        return None;
    };
    let active = now.active();
    if !reload_allowed && active != start.active() {
        return Some(format!("{before} did not stay: now {active}"));
    }
    if !reload_allowed && now.enable_seq != start.enable_seq {
        return Some(format!("{before} was ejected and loaded again"));
    }
    let nr_rejected = |status: &Status| status.nr_rejected.unwrap_or(0);
    let rejected = nr_rejected(now).saturating_sub(nr_rejected(start));
    (rejected > 0).then(|| format!("{before} rejected {rejected} tasks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> Status {
        Status {
            state: Some("enabled".into()),
            ops: Some("takt_1".into()),
            enable_seq: Some(1),
            nr_rejected: Some(2),
        }
    }

    fn disabled() -> Status {
        Status {
            state: Some("disabled".into()),
            ops: None,
            ..enabled()
        }
    }

    #[test]
    fn a_scheduler_that_stayed_is_no_trouble() {
        assert_eq!(trouble_since(&enabled(), &enabled(), false), None);
        let unsupported = Status::default();
        assert_eq!(trouble_since(&unsupported, &unsupported, false), None);
    }

    #[test]
    fn ejection_replacement_reload_and_rejection_are_trouble() {
        let trouble = |now: Status| trouble_since(&enabled(), &now, false).unwrap();
        assert!(trouble(disabled()).contains("now EEVDF"));
        let replaced = Status {
            ops: Some("b".into()),
            ..enabled()
        };
        assert!(trouble(replaced).contains("now b"));
        let again = Status {
            enable_seq: Some(2),
            ..enabled()
        };
        assert!(trouble(again.clone()).contains("loaded again"));
        assert_eq!(trouble_since(&enabled(), &again, true), None);
        let rejecting = Status {
            nr_rejected: Some(5),
            ..enabled()
        };
        assert!(trouble(rejecting).contains("rejected 3 tasks"));
    }

    #[test]
    fn one_that_comes_later_is_not_missed() {
        assert_eq!(trouble_since(&disabled(), &enabled(), false), None);
        assert_eq!(trouble_since(&disabled(), &disabled(), false), None);
    }
}

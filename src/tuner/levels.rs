//! One scale for all tunables: level 0 is what the user set, each level above gives up some throughput
//! for latency.

use crate::base::units::time;
use crate::bpf_abi::intf::takt_tunables;
use crate::config::tunables::{self, Tunable};

/// The tightest level.
pub const MAX: u8 = 12;

/// How one tunable moves along the scale.
struct Adjustment {
    tunable: &'static str,
    /// By what it is multiplied from one level to the next.
    factor: f64,
    /// Where it stops, in nanoseconds. A tunable that starts beyond this stays where it is.
    end_ns: u64,
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// What makes a wakeup wait: the slice of the running task, the margin and the protected time that keep it
/// from being preempted, and the credit that a sleeper lost while it slept. A wakeup that finds a task in
/// the time that it is protected waits for the end of its burst, so both `burst_max_ns` and `preempt_after_ns`
/// have to come down to what a frame of a game computes, and less; `preempt_after_ns` faster, for no timer
/// comes back for a task that wakes within it, and one wakeup in a hundred is enough to miss a goal. The starvation bound
/// (`lead_max_ns`) is a promise and `handoff_gap_ns` is learnt behaviour: neither is set.
const ADJUSTMENTS: [Adjustment; 7] = [
    Adjustment {
        tunable: "slice_max_ns",
        factor: 0.75,
        end_ns: MS,
    },
    Adjustment {
        tunable: "slice_min_ns",
        factor: 0.75,
        end_ns: 300 * US,
    },
    Adjustment {
        tunable: "latency_ns",
        factor: 0.75,
        end_ns: 2 * MS,
    },
    Adjustment {
        tunable: "preempt_margin_ns",
        factor: 0.7,
        end_ns: 20 * US,
    },
    Adjustment {
        tunable: "preempt_after_ns",
        factor: 0.6,
        end_ns: 20 * US,
    },
    Adjustment {
        tunable: "burst_max_ns",
        factor: 0.7,
        end_ns: 100 * US,
    },
    Adjustment {
        tunable: "lag_max_ns",
        factor: 1.15,
        end_ns: 12 * MS,
    },
];

/// The tunables at `level`, starting from `base`. Every value is within its range.
pub fn at(base: &takt_tunables, level: u8) -> takt_tunables {
    let mut tunables = *base;
    for adjustment in &ADJUSTMENTS {
        if let Some(tunable) = tunables::find(adjustment.tunable) {
            tunable.set(
                &mut tunables,
                moved(adjustment, tunable.of(base), level.min(MAX)),
            );
        }
    }
    tunables
}

fn moved(adjustment: &Adjustment, from_ns: u64, level: u8) -> u64 {
    let to_ns = (from_ns as f64 * adjustment.factor.powi(i32::from(level))).round() as u64;
    if adjustment.factor < 1.0 {
        to_ns.max(adjustment.end_ns).min(from_ns)
    } else {
        to_ns.min(adjustment.end_ns).max(from_ns)
    }
}

/// What differs between two sets, for people: `slice_max 20 ms -> 10 ms, ...`.
pub fn differences(from: &takt_tunables, to: &takt_tunables) -> String {
    let differing = tunables::TUNABLES
        .iter()
        .filter(|tunable| tunable.of(from) != tunable.of(to));
    let differences = differing.map(|tunable: &Tunable| {
        let name = tunable.name.trim_end_matches("_ns");
        format!(
            "{name} {} -> {}",
            time(tunable.of(from)),
            time(tunable.of(to))
        )
    });
    differences.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::profile::Profile;

    #[test]
    fn every_level_of_every_profile_is_in_range_and_one_way() {
        for (profile, name) in Profile::ALL {
            let base = profile.tunables(false);
            for level in 0..=MAX {
                let tunables = at(&base, level);
                assert!(
                    tunables::out_of_range(&tunables).is_none(),
                    "{name} {level}"
                );
                let next = at(&base, level + 1);
                assert!(next.slice_max_ns <= tunables.slice_max_ns, "{name} {level}");
                assert!(
                    next.preempt_margin_ns <= tunables.preempt_margin_ns,
                    "{name} {level}"
                );
                assert!(next.lag_max_ns >= tunables.lag_max_ns, "{name} {level}");
                assert_eq!(next.lead_max_ns, base.lead_max_ns);
            }
            assert_eq!(differences(&base, &at(&base, 0)), "");
        }
    }

    #[test]
    fn a_tunable_beyond_the_end_of_its_turn_stays() {
        let mut base = Profile::Auto.tunables(false);
        base.slice_min_ns = 200 * US;
        base.lag_max_ns = 50 * MS;
        let tight = at(&base, MAX);
        assert_eq!((tight.slice_min_ns, tight.lag_max_ns), (200 * US, 50 * MS));
    }

    #[test]
    fn differences_are_told_with_units() {
        let base = Profile::Auto.tunables(false);
        let text = differences(&base, &at(&base, 2));
        assert!(text.contains("slice_max 20 ms -> 11.2 ms"), "{text}");
        assert!(text.contains("preempt_margin 200 us -> 98 us"), "{text}");
    }
}

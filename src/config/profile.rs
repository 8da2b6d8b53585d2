//! Profiles: what the machine is for, as sets of tunables.
//!
//! A profile is where the tuner starts from and what it returns to when a goal is met. What stands
//! here differs from `auto` only where there is a reason to; the reason stands beside it.

use clap::ValueEnum;
use serde::Deserialize;

use super::tunables::default_tunables;
use crate::bpf_abi::intf::takt_tunables;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// What the machine is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The defaults; on battery those of `powersave`.
    #[default]
    Auto,
    /// One program that must not miss a frame, beside others that may wait.
    Gaming,
    /// Wakeups first: audio, control, interactive work on a loaded machine.
    Latency,
    /// Throughput of many equal workers.
    Server,
    /// Few switches and few preemptions: a CPU that is left alone stays in its sleep for longer.
    Powersave,
    /// A Raspberry Pi 5 or its like: a few equal, slow cores, small caches, a thermal limit.
    Pi,
}

impl Profile {
    /// Every profile, with its name.
    pub const ALL: [(Self, &str); 6] = [
        (Self::Auto, "auto"),
        (Self::Gaming, "gaming"),
        (Self::Latency, "latency"),
        (Self::Server, "server"),
        (Self::Powersave, "powersave"),
        (Self::Pi, "pi"),
    ];

    /// Its name in files, flags and messages.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(profile, _)| *profile == self)
            .map_or("auto", |(_, name)| name)
    }

    /// Its tunables. `on_battery` matters to `auto` only.
    pub fn tunables(self, on_battery: bool) -> takt_tunables {
        let base = default_tunables();
        match self {
            Self::Auto if on_battery => Self::Powersave.tunables(false),
            Self::Auto => base,
            // Slices shorter than a third of a frame of 60 Hz. Work in progress is protected up to a fifth of a
            // frame: what takes longer in one go has to make room for the threads of a game, each of
            // which has but a part of the frame's time.
            Self::Gaming => takt_tunables {
                slice_max_ns: 10 * MS,
                slice_min_ns: 2 * MS,
                latency_ns: 6 * MS,
                preempt_margin_ns: 100 * US,
                preempt_after_ns: 200 * US,
                burst_max_ns: 3 * MS,
                ..base
            },
            // Short slices, early preemption, twice the credit for tasks that sleep, and little protection of
            // work in progress.
            Self::Latency => takt_tunables {
                slice_max_ns: 10 * MS,
                slice_min_ns: MS,
                latency_ns: 4 * MS,
                lag_max_ns: 6 * MS,
                preempt_margin_ns: 100 * US,
                preempt_after_ns: 200 * US,
                burst_max_ns: 2 * MS,
                ..base
            },
            // Long slices keep caches warm; work in progress is protected for longer.
            Self::Server => takt_tunables {
                slice_max_ns: 40 * MS,
                slice_min_ns: 6 * MS,
                latency_ns: 48 * MS,
                preempt_margin_ns: 500 * US,
                preempt_after_ns: 2 * MS,
                burst_max_ns: 20 * MS,
                ..base
            },
            // No task is preempted for a small difference, and CPU-bound tasks get longer slices where no other
            // waits. Slices among many stay as they are: longer ones cost frames (docs/user/tuning.md), and a
            // laptop on battery draws too.
            Self::Powersave => takt_tunables {
                slice_max_ns: 50 * MS,
                preempt_margin_ns: 500 * US,
                ..base
            },
            // Half as many slices: each may cost 512 KiB of cache. Twice the time for work in
            // progress: the core takes about twice as long for it. docs/user/raspberry-pi-5.md has the
            // price: one wakeup in a thousand waits for milliseconds.
            Self::Pi => takt_tunables {
                slice_min_ns: 6 * MS,
                latency_ns: 12 * MS,
                preempt_after_ns: 2 * MS,
                burst_max_ns: 20 * MS,
                handoff_gap_ns: 100 * US,
                ..base
            },
        }
    }

    /// Shall CPUs run only as fast as their load asks for? Else at full speed, as far as we have a say.
    pub fn saves_power(self, on_battery: bool) -> bool {
        self == Self::Powersave || (self == Self::Auto && on_battery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tunables;

    #[test]
    fn every_profile_keeps_to_the_ranges() {
        for (profile, name) in Profile::ALL {
            for on_battery in [false, true] {
                let wrong = tunables::out_of_range(&profile.tunables(on_battery));
                assert!(
                    wrong.is_none(),
                    "{name}: {:?}",
                    wrong.map(|tunable| tunable.name)
                );
            }
            assert_eq!(profile.name(), name);
        }
    }
}

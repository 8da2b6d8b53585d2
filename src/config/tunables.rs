//! What may be set while the scheduler runs: names, units, defaults, ranges and what each does, in
//! one table.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::file::unknown;
use crate::bpf_abi::intf::takt_tunables;

/// One tunable: a field of `struct takt_tunables`. All values are nanoseconds.
#[derive(Debug)]
pub struct Tunable {
    /// The field's name, its unit included.
    pub name: &'static str,
    /// The least and the greatest value that make sense.
    pub range: (u64, u64),
    /// What it does, in one line.
    pub doc: &'static str,
    get: fn(&mut takt_tunables) -> &mut u64,
}

impl Tunable {
    /// Its value in `tunables`, in nanoseconds.
    pub fn of(&self, tunables: &takt_tunables) -> u64 {
        let mut copy = *tunables;
        *(self.get)(&mut copy)
    }

    /// Sets it; a value out of range becomes the nearest one in range.
    pub fn set(&self, tunables: &mut takt_tunables, value_ns: u64) {
        let (min, max) = self.range;
        *(self.get)(tunables) = value_ns.clamp(min, max);
    }
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

macro_rules! tunables {
    ($($name:ident = $default:expr, $min:expr, $max:expr, $doc:expr;)*) => {
        /// Every tunable, in the order of `struct takt_tunables`.
        pub const TUNABLES: &[Tunable] = &[$(Tunable {
            name: stringify!($name),
            range: ($min, $max),
            doc: $doc,
            get: |tunables| &mut tunables.$name,
        }),*];

        /// All tunables at their defaults.
        pub fn default_tunables() -> takt_tunables {
            takt_tunables { $($name: $default),* }
        }
    };
}

tunables! {
    slice_max_ns = 20 * MS, 100 * US, 100 * MS, "slice of a task while no other waits";
    slice_min_ns = 3 * MS, 100 * US, 100 * MS, "slice under the longest queue";
    latency_ns = 6 * MS, MS, 1_000 * MS,
        "every queued task should get a slice within this, while slices allow";
    lag_max_ns = 3 * MS, 0, 100 * MS, "positive lag that a task keeps on wakeup, at most";
    lead_max_ns = 250 * MS, MS, 5_000 * MS,
        "negative lag holds a task back so long at most; with a quarter more, the bound on waits in short queues";
    preempt_margin_ns = 200 * US, 0, 100 * MS,
        "a wakeup preempts a task whose lag is less by this ...";
    preempt_after_ns = MS, 0, 1_000 * MS, "... and that has run for this long since it last woke, at least";
    burst_max_ns = 10 * MS, 0, 1_000 * MS,
        "a task that runs no longer than this between sleeps is short-running: protected while it runs";
    handoff_gap_ns = 50 * US, 0, 10 * MS,
        "a waker that sleeps within this shares its CPU with the wakee";
    long_wait_ns = 50 * MS, US, 10_000 * MS, "a longer wait is emitted as an event";
}

/// The tunable of this name.
pub fn find(name: &str) -> Option<&'static Tunable> {
    TUNABLES.iter().find(|tunable| tunable.name == name)
}

/// The first value that is out of its range, if any: such tunables must not reach the BPF side.
pub fn out_of_range(tunables: &takt_tunables) -> Option<&'static Tunable> {
    TUNABLES.iter().find(|tunable| {
        let (min, max) = tunable.range;
        !(min..=max).contains(&tunable.of(tunables))
    })
}

/// Every tunable's value in nanoseconds, by name.
pub fn named(tunables: &takt_tunables) -> BTreeMap<String, u64> {
    TUNABLES
        .iter()
        .map(|tunable| (tunable.name.to_owned(), tunable.of(tunables)))
        .collect()
}

/// The tunables that differ: name, value in `from`, value in `to`.
pub fn changed(from: &takt_tunables, to: &takt_tunables) -> Vec<(&'static str, u64, u64)> {
    let all = TUNABLES
        .iter()
        .map(|tunable| (tunable.name, tunable.of(from), tunable.of(to)));
    all.filter(|(_, from, to)| from != to).collect()
}

/// Reads `NAME=VALUE` settings, values in nanoseconds.
///
/// # Errors
/// An unknown name (the known ones are listed), a value that is no number, or one out of range.
pub fn parse(settings: &[String]) -> Result<Vec<(&'static Tunable, u64)>> {
    settings.iter().map(|setting| parse_one(setting)).collect()
}

fn parse_one(setting: &str) -> Result<(&'static Tunable, u64)> {
    let Some((name, value)) = setting.split_once('=') else {
        bail!("{setting:?} is not of the form NAME=VALUE");
    };
    let Some(tunable) = find(name) else {
        bail!(unknown(
            "tunable",
            name,
            TUNABLES.iter().map(|tunable| tunable.name)
        ));
    };
    let (min, max) = tunable.range;
    match value.parse::<u64>() {
        Ok(value) if (min..=max).contains(&value) => Ok((tunable, value)),
        _ => bail!("{name} takes a whole number from {min} to {max}, not {value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulation_has_these_defaults() {
        let (ours, its) = (
            default_tunables(),
            takt_formulas::simulation::default_tunables(),
        );
        assert_eq!(
            [
                ours.slice_max_ns,
                ours.slice_min_ns,
                ours.latency_ns,
                ours.lag_max_ns,
                ours.lead_max_ns
            ],
            [
                its.slice_max_ns,
                its.slice_min_ns,
                its.latency_ns,
                its.lag_max_ns,
                its.lead_max_ns
            ]
        );
    }

    #[test]
    fn defaults_are_in_range() {
        for tunable in TUNABLES {
            let (min, max) = tunable.range;
            assert!(
                (min..=max).contains(&tunable.of(&default_tunables())),
                "{}",
                tunable.name
            );
        }
    }

    #[test]
    fn reads_settings_and_refuses_wild_ones() {
        let settings = parse(&["slice_max_ns=5000000".into()]).unwrap();
        assert_eq!(
            (settings[0].0.name, settings[0].1),
            ("slice_max_ns", 5_000_000)
        );
        for wrong in [
            "slice_max_ns",
            "no_such=1",
            "slice_max_ns=x",
            "slice_max_ns=0",
        ] {
            assert!(parse(&[wrong.into()]).is_err(), "{wrong}");
        }
    }
}

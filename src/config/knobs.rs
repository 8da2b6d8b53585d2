//! What may be turned while the scheduler runs: names, units, defaults, ranges and what each does, in
//! one table.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::file::unknown;
use crate::bpf_abi::intf::takt_knobs;

/// One knob: a field of `struct takt_knobs`. All values are nanoseconds.
#[derive(Debug)]
pub struct Knob {
    /// The field's name, its unit included.
    pub name: &'static str,
    /// The least and the greatest value that make sense.
    pub range: (u64, u64),
    /// What it does, in one line.
    pub doc: &'static str,
    get: fn(&mut takt_knobs) -> &mut u64,
}

impl Knob {
    /// Its value in `knobs`, in nanoseconds.
    pub fn of(&self, knobs: &takt_knobs) -> u64 {
        let mut copy = *knobs;
        *(self.get)(&mut copy)
    }

    /// Sets it; a value out of range becomes the nearest one in range.
    pub fn set(&self, knobs: &mut takt_knobs, value_ns: u64) {
        let (min, max) = self.range;
        *(self.get)(knobs) = value_ns.clamp(min, max);
    }
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

macro_rules! knobs {
    ($($name:ident = $default:expr, $min:expr, $max:expr, $doc:expr;)*) => {
        /// Every knob, in the order of `struct takt_knobs`.
        pub const KNOBS: &[Knob] = &[$(Knob {
            name: stringify!($name),
            range: ($min, $max),
            doc: $doc,
            get: |knobs| &mut knobs.$name,
        }),*];

        /// All knobs at their defaults.
        pub fn default_knobs() -> takt_knobs {
            takt_knobs { $($name: $default),* }
        }
    };
}

knobs! {
    slice_max_ns = 20 * MS, 100 * US, 100 * MS, "slice of a task that runs without rivals";
    slice_min_ns = 3 * MS, 100 * US, 100 * MS, "slice under the longest queue";
    latency_ns = 6 * MS, MS, 1_000 * MS,
        "every queued task should get its turn within this, while slices allow";
    lag_max_ns = 3 * MS, 0, 100 * MS, "vtime credit that a sleeper keeps at most";
    lead_max_ns = 250 * MS, MS, 5_000 * MS,
        "vtime debt that can hold a task back at most: the bound on any wait";
    preempt_margin_ns = 200 * US, 0, 100 * MS,
        "a wakeup preempts whoever is this far ahead of it in vtime ...";
    preempt_after_ns = MS, 0, 1_000 * MS, "... and has run for this long since it last woke";
    burst_max_ns = 10 * MS, 0, 1_000 * MS,
        "a task that sleeps after bursts up to this is left alone in them";
    handoff_gap_ns = 50 * US, 0, 10 * MS,
        "a waker that sleeps within this shares its CPU with the wakee";
    long_wait_ns = 50 * MS, US, 10_000 * MS, "a wait that is told as an event";
}

/// The knob of this name.
pub fn find(name: &str) -> Option<&'static Knob> {
    KNOBS.iter().find(|knob| knob.name == name)
}

/// The first value that is out of its range, if any: such knobs must not reach the BPF side.
pub fn out_of_range(knobs: &takt_knobs) -> Option<&'static Knob> {
    KNOBS.iter().find(|knob| {
        let (min, max) = knob.range;
        !(min..=max).contains(&knob.of(knobs))
    })
}

/// Every knob's value in nanoseconds, by name.
pub fn named(knobs: &takt_knobs) -> BTreeMap<String, u64> {
    KNOBS
        .iter()
        .map(|knob| (knob.name.to_owned(), knob.of(knobs)))
        .collect()
}

/// The knobs that differ: name, value in `from`, value in `to`.
pub fn turned(from: &takt_knobs, to: &takt_knobs) -> Vec<(&'static str, u64, u64)> {
    let all = KNOBS
        .iter()
        .map(|knob| (knob.name, knob.of(from), knob.of(to)));
    all.filter(|(_, from, to)| from != to).collect()
}

/// Reads `NAME=VALUE` settings, values in nanoseconds.
///
/// # Errors
/// An unknown name (the known ones are listed), a value that is no number, or one out of range.
pub fn parse(settings: &[String]) -> Result<Vec<(&'static Knob, u64)>> {
    settings.iter().map(|setting| parse_one(setting)).collect()
}

fn parse_one(setting: &str) -> Result<(&'static Knob, u64)> {
    let Some((name, value)) = setting.split_once('=') else {
        bail!("{setting:?} is not of the form NAME=VALUE");
    };
    let Some(knob) = find(name) else {
        bail!(unknown("knob", name, KNOBS.iter().map(|knob| knob.name)));
    };
    let (min, max) = knob.range;
    match value.parse::<u64>() {
        Ok(value) if (min..=max).contains(&value) => Ok((knob, value)),
        _ => bail!("{name} takes a whole number from {min} to {max}, not {value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range() {
        for knob in KNOBS {
            let (min, max) = knob.range;
            assert!(
                (min..=max).contains(&knob.of(&default_knobs())),
                "{}",
                knob.name
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

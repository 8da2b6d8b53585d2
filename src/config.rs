//! What may be turned while the scheduler runs: names, units, defaults and ranges, in one table.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::bpf_abi::intf::takt_knobs;

/// One knob: a field of `struct takt_knobs`. All values are nanoseconds.
pub struct Knob {
    /// The field's name, its unit included.
    pub name: &'static str,
    /// The least and the greatest value that make sense.
    pub range: (u64, u64),
    get: fn(&mut takt_knobs) -> &mut u64,
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

macro_rules! knobs {
    ($($name:ident = $default:expr, $min:expr, $max:expr;)*) => {
        /// Every knob. What each does stands in `src/bpf/intf.h`.
        pub const KNOBS: &[Knob] = &[$(Knob {
            name: stringify!($name),
            range: ($min, $max),
            get: |knobs| &mut knobs.$name,
        }),*];

        /// All knobs at their defaults.
        pub fn default_knobs() -> takt_knobs {
            takt_knobs { $($name: $default),* }
        }
    };
}

knobs! {
    slice_max_ns = 20 * MS, 100 * US, 100 * MS;
    slice_min_ns = 3 * MS, 100 * US, 100 * MS;
    latency_ns = 24 * MS, MS, 1_000 * MS;
    lag_max_ns = 3 * MS, 0, 100 * MS;
    lead_max_ns = 250 * MS, MS, 5_000 * MS;
    preempt_margin_ns = 200 * US, 0, 100 * MS;
    preempt_after_ns = MS, 0, 1_000 * MS;
    burst_max_ns = 10 * MS, 0, 1_000 * MS;
    handoff_gap_ns = 50 * US, 0, 10 * MS;
    long_wait_ns = 50 * MS, US, 10_000 * MS;
}

/// Every knob's value in nanoseconds, by name.
pub fn named(knobs: &takt_knobs) -> BTreeMap<String, u64> {
    let mut knobs = *knobs;
    let named = KNOBS
        .iter()
        .map(|knob| (knob.name.to_owned(), *(knob.get)(&mut knobs)));
    named.collect()
}

/// The knobs that are not at their defaults: name, default, value.
pub fn turned(knobs: &takt_knobs) -> Vec<(&'static str, u64, u64)> {
    let (mut defaults, mut knobs) = (default_knobs(), *knobs);
    let pairs = KNOBS.iter().map(|knob| {
        let from = *(knob.get)(&mut defaults);
        (knob.name, from, *(knob.get)(&mut knobs))
    });
    pairs.filter(|(_, from, to)| from != to).collect()
}

/// Applies `NAME=VALUE` settings, values in nanoseconds.
///
/// # Errors
/// An unknown name (the known ones are listed), a value that is no number, or one out of range.
pub fn apply(knobs: &mut takt_knobs, settings: &[String]) -> Result<()> {
    for setting in settings {
        let Some((name, value)) = setting.split_once('=') else {
            bail!("{setting:?} is not of the form NAME=VALUE");
        };
        let Some(knob) = KNOBS.iter().find(|knob| knob.name == name) else {
            let known: Vec<_> = KNOBS.iter().map(|knob| knob.name).collect();
            bail!("unknown knob {name:?}; known are {}", known.join(", "));
        };
        let (min, max) = knob.range;
        match value.parse::<u64>() {
            Ok(value) if (min..=max).contains(&value) => *(knob.get)(knobs) = value,
            _ => bail!("{name} takes a whole number from {min} to {max}, not {value:?}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range() {
        for knob in KNOBS {
            let (min, max) = knob.range;
            let default = *(knob.get)(&mut default_knobs());
            assert!((min..=max).contains(&default), "{}", knob.name);
        }
    }

    #[test]
    fn applies_settings_and_refuses_wild_ones() {
        let mut knobs = default_knobs();
        apply(&mut knobs, &["slice_max_ns=5000000".into()]).unwrap();
        assert_eq!(knobs.slice_max_ns, 5_000_000);
        assert_eq!(turned(&knobs), [("slice_max_ns", 20_000_000, 5_000_000)]);
        for wrong in [
            "slice_max_ns",
            "no_such=1",
            "slice_max_ns=x",
            "slice_max_ns=0",
        ] {
            assert!(apply(&mut knobs, &[wrong.into()]).is_err(), "{wrong}");
        }
    }
}

//! Figures with the unit that keeps them short.

use std::time::Duration;

/// A duration in nanoseconds, to a tenth of its unit; from 10 us to 1 ms in whole microseconds.
pub fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => (ns as f64, "ns"),
        1_000..10_000 => (ns as f64 / 1e3, "us"),
        10_000..1_000_000 => ((ns / 1_000) as f64, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let value = format!("{value:.1}");
    format!("{} {unit}", value.strip_suffix(".0").unwrap_or(&value))
}

/// As [`time`].
pub fn duration(time: Duration) -> String {
    self::time(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// A long duration.
pub fn uptime(ns: u64) -> String {
    let s = ns / 1_000_000_000;
    let (days, hours, minutes) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match days {
        0 => format!("{hours}:{minutes:02}:{:02}", s % 60),
        _ => format!("{days} d {hours}:{minutes:02}"),
    }
}

/// The rate of something that was counted over a period.
pub fn per_second(count: u64, period_ns: u64) -> u64 {
    let exact = u128::from(count) * 1_000_000_000;
    u64::try_from(exact.checked_div(period_ns.into()).unwrap_or(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let of = [1, 1_500, 15_000, 2_500_000, 3_000_000_000].map(time);
        assert_eq!(of, ["1 ns", "1.5 us", "15 us", "2.5 ms", "3 s"]);
        assert_eq!(uptime(3_661 * 1_000_000_000), "1:01:01");
        assert_eq!(uptime(90_061 * 1_000_000_000), "1 d 1:01");
    }

    #[test]
    fn a_rate_of_no_time_is_none() {
        assert_eq!((per_second(5, 500_000_000), per_second(5, 0)), (10, 0));
    }
}

//! Run-queue latency: how long all tasks of the machine waited for a CPU while a workload ran, under
//! any scheduler, from the tracing programs of `observe`.

use serde::Serialize;

use crate::observe::{Histogram, Reading};

const NS_PER_US: f64 = 1_000.0;

/// The waits of all tasks during one run of one workload under one scheduler.
#[derive(Clone, Debug, Serialize)]
pub struct Waits {
    /// Scheduler.
    pub scheduler: String,
    /// Workload that ran.
    pub workload: String,
    /// From ready to running, whatever made a task ready.
    pub all: Quantiles,
    /// Of these, the waits of tasks that had slept.
    pub wakeups: Quantiles,
}

/// A distribution in a few figures; times in nanoseconds, none if nothing was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Quantiles {
    /// Waits seen.
    pub count: u64,
    /// Half of them were at most so long.
    pub p50_ns: Option<u64>,
    /// 99 % of them.
    pub p99_ns: Option<u64>,
    /// 99.9 % of them.
    pub p999_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
    /// `[upper bound in ns, count]`, ascending.
    #[serde(skip)]
    pub distribution: Vec<[u64; 2]>,
}

impl Quantiles {
    fn new(waits: &Histogram) -> Self {
        Self {
            count: waits.count(),
            p50_ns: waits.quantile_ns(500),
            p99_ns: waits.quantile_ns(990),
            p999_ns: waits.quantile_ns(999),
            max_ns: waits.quantile_ns(1000),
            distribution: waits
                .buckets()
                .map(|(_, last_ns, count)| [last_ns, count])
                .collect(),
        }
    }

    /// p50, p99, p99.9 and the longest, in microseconds.
    pub fn times_us(&self) -> [Option<f64>; 4] {
        let times = [self.p50_ns, self.p99_ns, self.p999_ns, self.max_ns];
        times.map(|time| time.map(|ns| ns as f64 / NS_PER_US))
    }
}

/// Sums up what was seen during one run.
pub fn of(scheduler: &str, workload: &str, reading: &Reading) -> Waits {
    Waits {
        scheduler: scheduler.to_owned(),
        workload: workload.to_owned(),
        all: Quantiles::new(&reading.waits(|_| true)),
        wakeups: Quantiles::new(&reading.wakeups(|_| true)),
    }
}

impl Waits {
    /// Both distributions with their names, for tables.
    pub fn parts(&self) -> [(&'static str, &Quantiles); 2] {
        [("all", &self.all), ("after sleep", &self.wakeups)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_seen_is_no_time_at_all() {
        let none = Quantiles::new(&Histogram::default());
        assert_eq!((none.count, none.times_us()), (0, [None; 4]));
    }

    #[test]
    fn quantiles_are_of_all_waits() {
        let mut waits = Histogram::default();
        (0..99).for_each(|_| waits.record(10_000));
        waits.record(2_000_000);
        let found = Quantiles::new(&waits);
        let [p50, p99, p999, max] = found.times_us().map(Option::unwrap_or_default);
        assert!((p50 - 10.0).abs() < 0.4 && (p99 - 10.0).abs() < 0.4);
        assert_eq!((p999, max), (2_000.0, 2_000.0));
        let counted: u64 = found.distribution.iter().map(|step| step[1]).sum();
        assert_eq!(counted, found.count);
    }
}

//! Wakeup latency by class, from the histograms of `src/bpf/wakeup.bpf.h`.

use crate::base::quantile;
use crate::bpf_abi::intf::{
    takt_consts_TAKT_WAKE_BUCKETS, takt_cpu_stats, takt_latency_class_TAKT_LAT_LATENCY,
    takt_latency_class_TAKT_LAT_NORMAL,
};

/// Number of buckets: bucket 0 is less than 1,024 ns, then come 4 to each power of two.
pub const BUCKETS: usize = takt_consts_TAKT_WAKE_BUCKETS as usize;
/// log2 of the bound of bucket 0, in nanoseconds.
const FIRST_EXPONENT: usize = 10;

/// The class with this number in `enum takt_latency_class`.
pub const LATENCY: usize = takt_latency_class_TAKT_LAT_LATENCY as usize;
/// As [`LATENCY`].
pub const NORMAL: usize = takt_latency_class_TAKT_LAT_NORMAL as usize;

/// A histogram of wakeup latencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wakeups([u64; BUCKETS]);

impl Default for Wakeups {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Wakeups {
    /// Those of one class.
    pub fn of_class(stats: &takt_cpu_stats, class: usize) -> Self {
        let all = stats.wake_hist.get(class * BUCKETS..(class + 1) * BUCKETS);
        let mut one = Self::default();
        one.0
            .iter_mut()
            .zip(all.unwrap_or_default())
            .for_each(|(to, from)| *to = *from);
        one
    }

    /// The upper bounds of the buckets that are not empty, in nanoseconds, and what is in them.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + Clone + '_ {
        let used = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(|(bucket, count)| (upper_ns(bucket), *count))
    }

    /// Those of `self` and `other` together.
    pub fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| {
            self.0[i].saturating_add(other.0[i])
        }))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The upper bound, in nanoseconds, of the bucket in which the `permille` smallest share of all
    /// latencies ends; `None` if there were none.
    pub fn quantile_ns(&self, permille: u64) -> Option<u64> {
        quantile::of_buckets(self.buckets(), permille)
    }

    /// Counts one latency.
    #[cfg(test)]
    pub fn add(&mut self, ns: u64) {
        self.0[bucket_of(ns)] += 1;
    }
}

/// The upper bound of a bucket in nanoseconds.
pub fn upper_ns(bucket: usize) -> u64 {
    match bucket.checked_sub(1) {
        None => 1 << FIRST_EXPONENT,
        Some(above) => (5 + above as u64 % 4) << (FIRST_EXPONENT + above / 4 - 2),
    }
}

/// The bucket of a latency, as `wake_bucket()` of the BPF side has it.
pub fn bucket_of(ns: u64) -> usize {
    if ns < 1 << FIRST_EXPONENT {
        return 0;
    }
    let exponent = ns.ilog2() as usize;
    let quarter = (ns >> (exponent - 2)) as usize & 3;
    (1 + (exponent - FIRST_EXPONENT) * 4 + quarter).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_below_the_bound_of_its_bucket_and_not_below_the_one_before() {
        for ns in [
            0,
            1,
            1023,
            1024,
            1279,
            1280,
            5_000,
            499_999,
            1 << 20,
            3_000_000_000,
        ] {
            let bucket = bucket_of(ns);
            assert!(ns < upper_ns(bucket), "{ns}");
            assert!(bucket == 0 || ns >= upper_ns(bucket - 1), "{ns}");
            assert_eq!(bucket, takt_formulas::wake_bucket(ns) as usize, "{ns}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles() {
        let mut wakeups = Wakeups::default();
        assert_eq!(wakeups.quantile_ns(990), None);
        (0..99).for_each(|_| wakeups.add(5_000));
        wakeups.add(1_000_000);
        assert_eq!(wakeups.quantile_ns(990), Some(5_120));
        assert_eq!(wakeups.quantile_ns(999), Some(1 << 20));
        assert_eq!(wakeups.plus(&wakeups).count(), 200);
    }

    #[test]
    fn classes_do_not_mix() {
        let mut stats = takt_cpu_stats::default();
        stats.wake_hist[LATENCY * BUCKETS + 3] = 7;
        assert_eq!(Wakeups::of_class(&stats, LATENCY).count(), 7);
        assert_eq!(Wakeups::of_class(&stats, NORMAL).count(), 0);
        assert_eq!(Wakeups::of_class(&stats, 99).count(), 0);
    }
}

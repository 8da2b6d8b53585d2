//! Log-linear histograms of nanoseconds: the reading side of `struct obs_hist`.

use crate::base::quantile;
use crate::bpf_abi::intf::{self, obs_hist};

/// Buckets per power of two, and the first value that shares its bucket with others.
const SUBS: u64 = intf::obs_consts_OBS_SUBS as u64;
/// Buckets in all; the last one has everything that is longer.
pub const BUCKETS: usize = intf::obs_consts_OBS_BUCKETS as usize;

/// How often each length of time was seen. A length is known to 1/16 of itself: quantiles are the
/// middle of their bucket and off by 3.2 % at most; sum and maximum are exact.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            sum_ns: 0,
            max_ns: 0,
        }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("sum_ns", &self.sum_ns)
            .field("max_ns", &self.max_ns)
            .finish_non_exhaustive()
    }
}

impl Histogram {
    /// How many lengths were seen.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Their mean, in nanoseconds; `None` if nothing was seen.
    pub fn mean_ns(&self) -> Option<u64> {
        self.sum_ns.checked_div(self.count())
    }

    /// The longest, in nanoseconds; 0 if nothing was seen. In a difference ([`Self::since`]) it is
    /// exact if it is the longest ever, else the upper bound of its bucket.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The length that the smallest `permille` of all do not exceed, in nanoseconds; `None` if nothing
    /// was seen. That of all is the longest, exactly.
    pub fn quantile_ns(&self, permille: u64) -> Option<u64> {
        let total = self.count();
        if quantile::rank(total, permille) == total {
            return Some(self.max_ns);
        }
        let middles = self.counts.iter().enumerate().map(|(bucket, count)| {
            let (first, last) = range_of(bucket);
            (first + (last - first) / 2, *count)
        });
        quantile::of_buckets(middles, permille).map(|ns| ns.min(self.max_ns))
    }

    /// The buckets that are not empty: first and last nanosecond, and how many lengths lie between.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let used = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        used.map(|(bucket, count)| {
            let (first, last) = range_of(bucket);
            (first, last.min(self.max_ns.max(first)), *count)
        })
    }

    /// Adds what another one has seen.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What was seen since `earlier`, a former state of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut delta = Self {
            sum_ns: self.sum_ns.wrapping_sub(earlier.sum_ns),
            ..Self::default()
        };
        for (bucket, count) in delta.counts.iter_mut().enumerate() {
            *count = self.counts[bucket].saturating_sub(earlier.counts[bucket]);
        }
        let highest = delta.counts.iter().rposition(|count| *count > 0);
        delta.max_ns = match highest {
            None => 0,
            Some(_) if self.max_ns > earlier.max_ns => self.max_ns,
            Some(bucket) => range_of(bucket).1.min(self.max_ns),
        };
        delta
    }

    /// Adds what one CPU has counted.
    pub(super) fn merge_raw(&mut self, raw: &obs_hist) {
        for (mine, theirs) in self.counts.iter_mut().zip(&raw.count) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.wrapping_add(raw.sum_ns);
        self.max_ns = self.max_ns.max(raw.max_ns);
    }

    /// Adds one length, as the BPF side does.
    #[cfg(test)]
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket_of(ns)] += 1;
        self.sum_ns = self.sum_ns.wrapping_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }
}

/// The first and the last value of a bucket; the last bucket ends at `u64::MAX`.
fn range_of(bucket: usize) -> (u64, u64) {
    if bucket >= BUCKETS - 1 {
        return (first_of(BUCKETS - 1), u64::MAX);
    }
    (first_of(bucket), first_of(bucket + 1) - 1)
}

fn first_of(bucket: usize) -> u64 {
    let (group, sub) = (bucket as u64 / SUBS, bucket as u64 % SUBS);
    match group {
        0 => sub,
        _ => (SUBS + sub) << (group - 1),
    }
}

/// The bucket of a value: `bucket_of()` of `src/bpf/buckets.h`.
#[cfg(test)]
pub(super) fn bucket_of(ns: u64) -> usize {
    takt_formulas::observer_bucket(ns) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_ranges_are_each_others_inverse() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let (first, last) = range_of(bucket);
            assert_eq!(
                first, next,
                "bucket {bucket} begins where the last one ended"
            );
            assert_eq!((bucket_of(first), bucket_of(last)), (bucket, bucket));
            next = last.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket has all the rest");
    }

    #[test]
    fn the_middle_of_a_bucket_is_off_by_a_thirtieth_at_most() {
        for bucket in 0..BUCKETS - 1 {
            let (first, last) = range_of(bucket);
            let half = (last - first).div_ceil(2) as f64;
            assert!(
                half <= first as f64 * 0.032,
                "bucket {bucket}: {first}..={last}"
            );
        }
    }

    #[test]
    fn quantiles_of_known_values() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_ns(500), histogram.max_ns()), (None, 0));
        for us in 1..=1000 {
            histogram.record(us * 1000);
        }
        for (q, want) in [(500, 500e3), (900, 900e3), (990, 990e3), (999, 999e3)] {
            let got = histogram.quantile_ns(q).unwrap() as f64;
            assert!((got / want - 1.0).abs() < 0.04, "{q}: {got} for {want}");
        }
        assert_eq!(histogram.quantile_ns(1000), Some(1_000_000));
        assert_eq!(histogram.quantile_ns(0), histogram.quantile_ns(1));
        assert_eq!(histogram.mean_ns(), Some(500_500));
    }

    #[test]
    fn differences_and_sums() {
        let mut earlier = Histogram::default();
        earlier.record(5_000_000);
        let mut now = earlier.clone();
        now.record(1_000);
        let delta = now.since(&earlier);
        assert_eq!((delta.count(), delta.sum_ns()), (1, 1_000));
        assert_eq!(delta.max_ns(), range_of(bucket_of(1_000)).1);
        now.record(6_000_000);
        assert_eq!(now.since(&earlier).max_ns(), 6_000_000);
        assert_eq!(now.since(&now), Histogram::default());

        let mut sum = earlier.clone();
        sum.merge(&now.since(&earlier));
        assert_eq!(sum, now);
    }

    #[test]
    fn lengths_beyond_the_last_bucket_are_not_lost() {
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX / 2);
        histogram.record(1 << 39);
        assert_eq!(histogram.count(), 2);
        assert_eq!(histogram.max_ns(), u64::MAX / 2);
        assert!(histogram.buckets().all(|(first, _, _)| first < 1 << 39));
    }
}

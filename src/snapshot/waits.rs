//! A histogram of waiting times, by any scheduler or observer.

use super::delta::figures;
use crate::base::quantile;
use crate::wakeups;

figures! {
    /// How long tasks waited for a CPU.
    pub struct Waits {
        /// Which waits were measured. Only figures of one kind can be compared.
        level kind: String,
        /// Upper bound of each bucket, in nanoseconds, ascending.
        level bounds_ns: Vec<u64>,
        /// Waits in each bucket.
        count counts: Vec<u64>,
        /// The waits in sum, in nanoseconds.
        count sum_ns: u64,
        /// The longest wait of the last second or two; 0: not measured.
        level max_ns: u64,
    }
}

/// Buckets of a histogram in powers of two: bucket b has waits of [2^b, 2^(b+1)) ns.
const POWERS: usize = 32;

impl Waits {
    /// What scx_takt and the observer both measure.
    pub const EVERY_WAIT: &str = "all but real-time tasks";
    /// As [`Self::EVERY_WAIT`], but without waits for the next slice: only those that begin with a wakeup.
    pub const WAKEUPS: &str = "wakeups of all but real-time tasks";

    /// Every wait, in powers of two, which is what scx_takt itself counts in, so that its figures and
    /// the observer's can be compared. `counted`: lengths in nanoseconds, and how many there were.
    pub fn of_powers(counted: impl Iterator<Item = (u64, u64)>, sum_ns: u64, max_ns: u64) -> Self {
        let mut counts = vec![0; POWERS];
        for (ns, count) in counted {
            let bucket = ns.max(1).ilog2() as usize;
            counts[bucket.min(POWERS - 1)] += count;
        }
        Self {
            kind: Self::EVERY_WAIT.to_owned(),
            bounds_ns: (0..POWERS).map(|bucket| 2 << bucket).collect(),
            counts,
            sum_ns,
            max_ns,
        }
    }

    /// Waits that began with a wakeup, in the buckets of [`crate::wakeups`], which scx_takt itself
    /// counts in. `counted`, `sum_ns` and `max_ns` as in [`Self::of_powers`].
    pub fn of_wakeups(counted: impl Iterator<Item = (u64, u64)>, sum_ns: u64, max_ns: u64) -> Self {
        let mut counts = vec![0; wakeups::BUCKETS];
        for (ns, count) in counted {
            counts[wakeups::bucket_of(ns)] += count;
        }
        Self {
            kind: Self::WAKEUPS.to_owned(),
            bounds_ns: (0..wakeups::BUCKETS).map(wakeups::upper_ns).collect(),
            counts,
            sum_ns,
            max_ns,
        }
    }

    /// Number of waits.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The upper bound, in nanoseconds, of the bucket that holds the `permille` smallest share of all
    /// waits; `None`: there were no waits.
    pub fn quantile_ns(&self, permille: u64) -> Option<u64> {
        let buckets = self.bounds_ns.iter().copied();
        quantile::of_buckets(buckets.zip(self.counts.iter().copied()), permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_powers_of_two() {
        let lengths = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 5), (u64::MAX, 2)];
        let waits = Waits::of_powers(lengths.into_iter(), 0, 0);
        assert_eq!(waits.counts[..3], [2, 2, 5]);
        assert_eq!(waits.counts[POWERS - 1], 2);
        assert_eq!((waits.bounds_ns[0], waits.bounds_ns[2]), (2, 8));
        assert_eq!(waits.total(), 11);
    }

    #[test]
    fn wakeups_fall_into_quarters_of_a_power_of_two() {
        let lengths = [(700, 3), (1_024, 1), (1_279, 1), (1_280, 4), (u64::MAX, 2)];
        let waits = Waits::of_wakeups(lengths.into_iter(), 0, 0);
        assert_eq!(waits.counts[..3], [3, 2, 4]);
        assert_eq!(waits.bounds_ns[..3], [1_024, 1_280, 1_536]);
        assert_eq!((waits.counts.last(), waits.total()), (Some(&2), 11));
    }

    #[test]
    fn quantiles_are_bucket_bounds() {
        let mut waits = Waits {
            bounds_ns: vec![2, 4, 8, 16],
            counts: vec![0, 99, 0, 1],
            ..Default::default()
        };
        assert_eq!(waits.quantile_ns(990), Some(4));
        waits.counts.clear();
        assert_eq!(waits.quantile_ns(500), None);
    }
}

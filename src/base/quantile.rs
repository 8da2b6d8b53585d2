//! Quantiles: of histograms, and of samples.

/// How many values, counted from the smallest, make up `permille` of `total`; at least one.
pub fn rank(total: u64, permille: u64) -> u64 {
    let rank = (u128::from(total) * u128::from(permille.min(1000))).div_ceil(1000);
    u64::try_from(rank).unwrap_or(total).max(1)
}

/// The bucket in which the smallest `permille` of all values end. `buckets`: ascending, each as the value
/// that stands for it (its upper bound, or its middle) and how many values it holds. `None`: there are no values.
pub fn of_buckets(
    mut buckets: impl Iterator<Item = (u64, u64)> + Clone,
    permille: u64,
) -> Option<u64> {
    let counts = buckets.clone().map(|(_, count)| count);
    let rank = rank(counts.fold(0, u64::saturating_add), permille);
    let mut seen = 0u64;
    buckets
        .find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= rank
        })
        .map(|(value, _)| value)
}

/// The value below which a `share` (0 to 1) of samples in ascending order lies, interpolated between
/// its neighbours. `None`: there are no samples.
pub fn of_sorted(samples: &[f64], share: f64) -> Option<f64> {
    let position = share * samples.len().checked_sub(1)? as f64;
    let below = samples.get(position.floor() as usize)?;
    let above = samples.get(position.ceil() as usize)?;
    Some(below + (above - below) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_buckets() {
        let of = |buckets: [(u64, u64); 4], permille| of_buckets(buckets.into_iter(), permille);
        let buckets = [(2, 0), (4, 99), (8, 0), (16, 1)];
        let found = [0, 500, 990, 999, 1000, 2000].map(|permille| of(buckets, permille));
        assert_eq!(found, [4, 4, 4, 16, 16, 16].map(Some));
        assert_eq!(of([(2, 0); 4], 500), None);
        assert_eq!(of([(2, u64::MAX); 4], 1000), Some(2));
    }

    #[test]
    fn quantiles_of_samples_are_interpolated() {
        assert_eq!(of_sorted(&[], 0.5), None);
        assert_eq!(of_sorted(&[1.0, 2.0, 4.0, 8.0], 0.5), Some(3.0));
        assert_eq!(of_sorted(&[1.0, 2.0], 1.0), Some(2.0));
    }
}

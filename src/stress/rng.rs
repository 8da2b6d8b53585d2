//! Random numbers that one seed repeats (SplitMix64: tiny, and good enough to choose from a menu).

/// A stream of random numbers; the same seed gives the same stream.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own for one worker of a run: `salt` keeps workers of one seed apart.
    pub fn new(seed: u64, salt: u64) -> Self {
        let mut rng = Self(seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.next();
        rng
    }

    /// The next 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    /// One of `items`, or nothing if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let last = (items.len() as u64).checked_sub(1)?;
        items.get(self.between(0, last) as usize)
    }

    /// Some of `items`, at least one of them if there are any.
    pub fn some_of<T: Copy>(&mut self, items: &[T]) -> Vec<T> {
        let mut some: Vec<T> = items.iter().copied().filter(|_| self.one_in(2)).collect();
        if some.is_empty() {
            some.extend(self.pick(items));
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_repeats_and_salts_differ() {
        let draw = |seed, salt| {
            let mut rng = Rng::new(seed, salt);
            [rng.next(), rng.next(), rng.next()]
        };
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }

    #[test]
    fn ranges_hold_and_reach_both_ends() {
        let mut rng = Rng::new(7, 0);
        let seen: Vec<u64> = (0..200).map(|_| rng.between(3, 6)).collect();
        assert!(seen.iter().all(|n| (3..=6).contains(n)));
        assert!(seen.contains(&3) && seen.contains(&6));
    }

    #[test]
    fn some_of_is_never_empty_unless_there_is_nothing() {
        let mut rng = Rng::new(7, 0);
        assert!((0..100).all(|_| !rng.some_of(&[1, 2]).is_empty()));
        assert!(rng.some_of::<u8>(&[]).is_empty());
        assert_eq!(rng.pick::<u8>(&[]), None);
    }
}

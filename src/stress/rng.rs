//! Random numbers that one seed repeats.

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// A stream of random numbers. Seeds are given by hand, so the algorithm has a name: that of rand's `SmallRng` and
/// `StdRng` changes between versions.
pub type Rng = Xoshiro256PlusPlus;

/// The stream of one worker of a run.
pub fn of_worker(seed: u64, worker: u64) -> Rng {
    Rng::seed_from_u64(Rng::seed_from_u64(seed).next_u64() ^ worker)
}

/// Some of `items`, at least one of them if there are any.
pub fn some_of<T: Copy>(rng: &mut Rng, items: &[T]) -> Vec<T> {
    let some = items.iter().copied().filter(|_| rng.random_ratio(1, 2));
    let mut some: Vec<T> = some.collect();
    if some.is_empty() {
        some.extend(items.choose(rng));
    }
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_repeats_and_workers_differ() {
        let draw = |seed, worker| of_worker(seed, worker).next_u64();
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }

    /// A seed that a report names must give the same load in a later version.
    #[test]
    fn the_stream_of_a_seed_stays() {
        assert_eq!(of_worker(1, 1).next_u64(), 6_789_830_237_640_301_711);
    }

    #[test]
    fn some_of_is_never_empty_unless_there_is_nothing() {
        let mut rng = of_worker(7, 0);
        assert!((0..100).all(|_| !some_of(&mut rng, &[1, 2]).is_empty()));
        assert!(some_of::<u8>(&mut rng, &[]).is_empty());
    }
}

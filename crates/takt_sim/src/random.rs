//! Random numbers of a world: the same seed, the same numbers, on every machine.

/// SplitMix64 (Steele, Lea, Flood 2014): passes BigCrush, and is nothing but a counter and a hash.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// `value`, more or less by up to `permille` thousandths.
    pub fn around(&mut self, value: u64, permille: u64) -> u64 {
        let spread = value / 1000 * permille;
        value - spread + self.below(2 * spread + 1)
    }
}

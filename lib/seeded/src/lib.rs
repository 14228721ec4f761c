//! Numbers from a seed, for tests, doubles and simulations: the same seed gives the same run on every machine and with every version.
//! Nothing that somebody must not guess may come from here.
//!
//! ```
//! let mut random = seeded::Random::new(7);
//! assert_eq!(random.below(1000), seeded::Random::new(7).below(1000));
//! ```

/// A source of numbers (SplitMix64, whose every seed is a good one).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The source that a seed stands for.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `limit`; 0 when that is 0. Its bias is of no account to tests.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_stream() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [random.number(), random.number(), random.number()]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        // The first number of seed 0, as published with the algorithm.
        assert_eq!(Random::new(0).number(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(Random::new(0).below(0), 0);
    }
}

//! Values for tests, from a seed.

use seeded::Random;

/// What values are made of.
#[derive(Clone, Debug)]
pub struct Sampler(Random);

impl Sampler {
    /// The same seed gives the same values.
    pub fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0.number()
    }

    /// A length below `bound`.
    pub fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.0.below(bound)).expect("a small bound")
    }

    /// So many bytes, many of them zero, as lengths are.
    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| if self.number().is_multiple_of(3) { self.number().to_le_bytes()[0] } else { 0 })
            .collect()
    }
}

//! Values for tests, from a seed.

/// A small generator of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Sampler(u64);

impl Sampler {
    /// The same seed gives the same values.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A length below `bound`.
    pub fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.number() % bound).expect("a small bound")
    }

    /// So many bytes, many of them zero, as lengths are.
    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| if self.number().is_multiple_of(3) { self.number().to_le_bytes()[0] } else { 0 })
            .collect()
    }
}

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

    /// Another input, as a fuzzer without feedback makes them: up to five times a bit or a byte is changed, four bytes become a word that a
    /// length could be, the rest is cut off, a few bytes are taken out, or some of another input or any at all are put in.
    #[must_use]
    pub fn mutated(&mut self, input: &[u8], other: &[u8], lengths: &[u32]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.index(4) {
            let at = self.index(bytes.len());
            match self.index(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.index(8),
                1 if !bytes.is_empty() => bytes[at] = self.byte(),
                2 if bytes.len() >= 4 && !lengths.is_empty() => {
                    let at = at.min(bytes.len() - 4) & !3;
                    bytes[at..at + 4].copy_from_slice(&lengths[self.index(lengths.len())].to_be_bytes());
                }
                3 => bytes.truncate(at),
                4 => drop(bytes.splice(at..(at + self.index(16)).min(bytes.len()), [])),
                5 => {
                    let from = self.index(other.len());
                    let piece: Vec<u8> = other[from..].iter().take(self.index(64)).copied().collect();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let noise: Vec<u8> = (0..self.index(16)).map(|_| self.byte()).collect();
                    bytes.splice(at..at, noise);
                }
            }
        }
        bytes
    }

    fn index(&mut self, limit: usize) -> usize {
        self.below(limit as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
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

    #[test]
    fn an_input_is_changed_in_every_way() {
        let mut random = Random::new(7);
        let inputs: Vec<Vec<u8>> =
            (0..1000).map(|_| random.mutated(&[7; 16], &[9; 16], &[0xaabb_ccdd])).collect();
        let has = |what: &[u8]| inputs.iter().any(|input| input.windows(what.len()).any(|part| part == what));
        assert!(has(&[9; 16]) && has(&[0xaa, 0xbb, 0xcc, 0xdd]));
        assert!(inputs.iter().any(|input| input.len() < 8) && inputs.iter().any(|input| input.len() > 32));
        // Nothing is needed for it.
        assert!((0..100).all(|_| random.mutated(&[], &[], &[]).len() < 80));
    }
}

//! Maps from serials, which are counted up by the side that looks them up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Spreads numbers that follow each other. Nobody else chooses them, so they need no hash that withstands being chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct SerialHasher(u64);

impl SerialHasher {
    /// 2^64 divided by the golden ratio: neighbours come to lie far from each other.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
}

impl Hasher for SerialHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(Self::SPREAD);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map whose keys are serials.
pub type Serials<K, V> = HashMap<K, V, BuildHasherDefault<SerialHasher>>;

#[test]
fn neighbours_do_not_meet() {
    let hashes: std::collections::HashSet<u64> = (0..10_000_u32)
        .map(|serial| {
            let mut hasher = SerialHasher::default();
            hasher.write_u32(serial);
            hasher.finish()
        })
        .collect();
    assert_eq!(hashes.len(), 10_000);
}

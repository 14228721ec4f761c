//! The fuzzer's target without a fuzzer: inputs from a seed.
#![cfg(test)]

#[path = "../fuzz/targets.rs"]
mod targets;

use seeded::Random;
use std::io::ErrorKind;

/// The longest piece that is taken: 64 KiB, and what wrapping adds to it.
const LONGEST: u32 = 65_536 + 1024;

#[test]
fn pieces_are_opened_or_refused_however_they_are_cut() {
    let mut random = Random::new(1);
    let text: Vec<u8> = (0..=255).cycle().take(2000).collect();
    for _ in 0..5_000 {
        let [cut, form, ..] = random.number().to_le_bytes();
        let length = usize::try_from(random.below(text.len() as u64)).unwrap();
        let input = [&[cut, form], &text[..length]].concat();
        targets::sealed(&random.mutated(&input, &text, &[0, 1, 5, LONGEST, LONGEST + 1, u32::MAX]));
    }
}

#[test]
fn a_piece_that_is_too_long_is_refused_before_it_has_come() {
    for (length, end) in [(LONGEST, ErrorKind::UnexpectedEof), (LONGEST + 1, ErrorKind::InvalidData)] {
        assert_eq!(targets::read(length.to_be_bytes().to_vec(), 0), (Vec::new(), Some(end)), "{length}");
    }
    let longest = vec![3; LONGEST as usize - 1];
    assert_eq!(targets::read(targets::piece(&longest), 200), (longest, None));
}

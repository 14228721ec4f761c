//! The fuzzer's targets without a fuzzer: a small corpus of real messages, mutated by a generator with a seed.
#![cfg(test)]

#[path = "../fuzz/targets.rs"]
mod targets;

use libvirt_protocol::packet::PACKET_MIN;
use seeded::Random;
use std::time::Duration;
use targets::TARGETS;

/// Messages between virsh and libvirtd 9.0.0, one of each procedure and direction: `>` to the daemon, `<` from it.
const MESSAGES: &str = include_str!("../testdata/virsh-9.0.0.txt");

/// Places and bytes to change.
struct Numbers(Random);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.0.number().to_le_bytes()[0]
    }
}

/// Inputs of the targets that hold real messages.
fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let mut corpus = Vec::new();
    for line in MESSAGES.lines().filter(|line| !line.starts_with('#')) {
        let (direction, digits) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let procedure = u32::from_be_bytes(*bytes[12..].first_chunk().unwrap());
        let [.., high, low] = (procedure - 1).to_be_bytes();
        let (call, ret) = (direction == ">", direction == "<");
        let what = if call { 2 } else { 3 };
        let payload = &bytes[PACKET_MIN..];
        corpus.push(("contents", [&[0, high, low, what], payload].concat()));
        let [.., long, length] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        if ret {
            // The call, and its reply.
            let steps = [&[7, 0, 0, high, low, 0, 0, 10, 0, 1, 0, long, length][..], payload].concat();
            corpus.push(("client", steps));
        } else {
            let steps =
                [&[1, 1, 0, high, low, 0, 0, long, length][..], payload, &[5, 0, 4, 1, 2, 3, 4]].concat();
            corpus.push(("server", steps));
        }
    }
    corpus
}

/// Another input: bits, bytes, words that lengths could be, pieces taken out, put in twice or taken from another one.
fn mutated(input: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            1 if !bytes.is_empty() => bytes[at] = numbers.byte(),
            2 if bytes.len() >= 4 => {
                let word = [0, 1, 4, 27, 28, 16_384, 33_554_436, 0x7fff_ffff, 0x8000_0000, u32::MAX];
                let at = at.min(bytes.len() - 4) & !3;
                bytes[at..at + 4].copy_from_slice(&word[numbers.below(word.len())].to_be_bytes());
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..(at + numbers.below(16)).min(bytes.len()), [])),
            5 => {
                let from = numbers.below(other.len());
                let piece = other[from..].iter().take(numbers.below(64)).copied().collect::<Vec<_>>();
                bytes.splice(at..at, piece);
            }
            _ => {
                let noise: Vec<u8> = (0..numbers.below(16)).map(|_| numbers.byte()).collect();
                bytes.splice(at..at, noise);
            }
        }
    }
    bytes
}

/// Runs the targets until told to stop. A target that panics fails the test; the seed and the round are in the panic's place above.
fn fuzz(seed: u64, mut go_on: impl FnMut(u64) -> bool) -> u64 {
    let corpus = corpus();
    assert!(corpus.len() > 500, "{} inputs", corpus.len());
    let mut numbers = Numbers(Random::new(seed));
    let mut rounds = 0;
    while go_on(rounds) {
        let (name, input) = &corpus[numbers.below(corpus.len())];
        let other = &corpus[numbers.below(corpus.len())].1;
        let target = TARGETS.iter().find(|(known, _)| known == name).unwrap().1;
        target(&mutated(input, other, &mut numbers));
        rounds += 1;
    }
    rounds
}

#[test]
fn real_messages_are_decoded_and_stay_what_they_are() {
    for (name, input) in corpus() {
        let target = TARGETS.iter().find(|(known, _)| *known == name).unwrap().1;
        target(&input);
    }
}

#[test]
fn mutated_messages_are_decoded_or_refused() {
    fuzz(1, |round| round < 60_000);
}

#[test]
#[ignore = "ten minutes"]
fn mutated_messages_for_ten_minutes() {
    #[expect(clippy::disallowed_methods, reason = "the test is as long as it says")]
    let start = std::time::Instant::now();
    let seed = start.elapsed().as_nanos() as u64 ^ u64::from(std::process::id());
    println!("seed {seed}");
    let rounds = fuzz(seed, |_| start.elapsed() < Duration::from_secs(600));
    println!("{rounds} inputs");
}

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

/// What a length or a count could be: none, some, at the bounds and beyond.
const LENGTHS: [u32; 10] = [0, 1, 4, 27, 28, 16_384, 33_554_436, 0x7fff_ffff, 0x8000_0000, u32::MAX];

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
    corpus.extend(challenges().map(|challenge| ("scram", challenge)));
    corpus
}

/// What daemons answer to SCRAM, and bad answers; the first byte says what is done with them.
fn challenges() -> impl Iterator<Item = Vec<u8>> {
    let rest = [
        "3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=10000",
        "x,s=QQ==,i=1",
    ];
    let last = [
        "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=y",
        "e=invalid-proof",
    ];
    rest.into_iter().zip(last).enumerate().map(|(at, (challenge, last))| {
        let form = (u8::try_from(at).unwrap() % 2) | 2 | if at == 0 { 4 } else { 0 };
        let length = u8::try_from(challenge.len()).unwrap();
        [&[form, length][..], challenge.as_bytes(), last.as_bytes()].concat()
    })
}

/// Runs the targets until told to stop. A target that panics fails the test; the seed and the round are in the panic's place above.
fn fuzz(seed: u64, mut go_on: impl FnMut(u64) -> bool) -> u64 {
    let corpus = corpus();
    assert!(corpus.len() > 500, "{} inputs", corpus.len());
    let mut random = Random::new(seed);
    let mut rounds = 0;
    while go_on(rounds) {
        let mut one = || &corpus[usize::try_from(random.below(corpus.len() as u64)).unwrap()];
        let ((name, input), (_, other)) = (one(), one());
        let target = TARGETS.iter().find(|(known, _)| known == name).unwrap().1;
        target(&random.mutated(input, other, &LENGTHS));
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

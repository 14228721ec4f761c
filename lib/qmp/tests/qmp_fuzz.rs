//! The fuzzer's targets without a fuzzer: a small corpus of real messages, mutated by a generator with a seed.
#![cfg(test)]

#[path = "../fuzz/targets.rs"]
mod targets;

use seeded::Random;
use std::time::Duration;
use targets::TARGETS;

/// What QEMU 7.2 and its agent say, shortened.
const MESSAGES: &[&str] = &[
    r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}"#,
    r#"{"return": {}, "id": "negotiation"}"#,
    r#"{"return": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "id": "negotiation"}"#,
    r#"{"return": {"status": "running", "singlestep": false, "running": true}, "id": 0}"#,
    r#"{"id": 2, "error": {"class": "GenericError", "desc": "The command has failed"}}"#,
    r#"{"error": {"class": "GenericError", "desc": "JSON parse error, stray input"}}"#,
    r#"{"return": [{"name": "a", "meta-type": "command", "arg-type": "1", "ret-type": "2"}, {"name": "1", "meta-type": "object", "members": [{"name": "b", "type": "1", "default": null}], "tag": "b", "variants": [{"case": "file", "type": "2"}]}, {"name": "2", "meta-type": "alternate", "members": [{"type": "2"}, {"type": "[2]"}]}, {"name": "[2]", "meta-type": "array", "element-type": "2"}], "id": 4}"#,
    r#"{"return": [{"device": "", "locked": false, "removable": false, "inserted": {"file": "x", "image": {"virtual-size": 1, "filename": "x", "format": "raw"}}, "type": "unknown"}], "id": 5}"#,
    r#"{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "SHUTDOWN", "data": {"guest": false, "reason": "host-qmp-quit"}}"#,
    r#"{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "BLOCK_JOB_COMPLETED", "data": {"device": "d", "len": 1, "offset": 2, "speed": 0, "type": "mirror"}}"#,
    r#"{"timestamp": {"seconds": 1, "microseconds": 5}, "event": "GUEST_PANICKED", "data": {"action": "pause", "info": {"type": "hyper-v", "arg1": 1, "arg2": 2, "arg3": 3, "arg4": 4, "arg5": 18446744073709551615}}}"#,
    "\u{fffd}{\"return\": 7}",
    r#"{"return": {"count": 2, "buf-b64": "YWI=", "eof": false}}"#,
    r#"{'execute': 'qmp_capabilities', "arguments": {"enable": ["oob"]}, "id": {"a": [1, -2.5e3]}}{"exec-oob": "yank"}"#,
];

/// A length or an index.
fn below(numbers: &mut Random, limit: usize) -> usize {
    usize::try_from(numbers.below(limit as u64)).unwrap()
}

fn byte(numbers: &mut Random) -> u8 {
    numbers.number().to_le_bytes()[0]
}

/// A few messages in a row, with how they are cut in front.
fn conversation(numbers: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..4).map(|_| byte(numbers)).collect();
    // Half of them get through the negotiation.
    if below(numbers, 2) == 0 {
        bytes.extend(format!("{}\r\n{}\r\n", MESSAGES[0], MESSAGES[1]).into_bytes());
    }
    for _ in 0..below(numbers, 6) {
        let message = MESSAGES[below(numbers, MESSAGES.len())].replace('\u{fffd}', "\u{1}");
        bytes.extend(message.bytes().map(|byte| if byte == 1 { 0xff } else { byte }));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Bits, bytes, pieces taken out, doubled or put in.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Random) {
    for _ in 0..below(numbers, 5) {
        let at = below(numbers, bytes.len());
        match below(numbers, 6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(numbers, 8),
            1 if !bytes.is_empty() => bytes[at] = b"{}[]\"'\\:,\n\xff0"[below(numbers, 12)],
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..(at + below(numbers, 16)).min(bytes.len()), [])),
            4 => {
                let piece: Vec<u8> = bytes[at..].iter().take(below(numbers, 200)).copied().collect();
                let times = below(numbers, 40);
                bytes.splice(at..at, piece.repeat(times));
            }
            _ => {
                let noise: Vec<u8> = (0..below(numbers, 16)).map(|_| byte(numbers)).collect();
                bytes.splice(at..at, noise);
            }
        }
    }
}

/// Runs the targets until told to stop. A target that panics fails the test.
fn fuzz(seed: u64, mut go_on: impl FnMut(u64) -> bool) -> u64 {
    let mut numbers = Random::new(seed);
    let mut rounds = 0;
    while go_on(rounds) {
        let mut bytes = conversation(&mut numbers);
        mutate(&mut bytes, &mut numbers);
        TARGETS[below(&mut numbers, TARGETS.len())].1(&bytes);
        rounds += 1;
    }
    rounds
}

/// What the fuzzer runs, one program for each.
#[test]
fn each_target_has_its_program() {
    for (name, target) in TARGETS {
        assert!(std::ptr::fn_addr_eq(targets::named(name), *target), "{name}");
        let program = format!("{}/fuzz/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        assert!(std::fs::read_to_string(program).unwrap().contains(&format!("named(\"{name}\")")), "{name}");
    }
}

#[test]
fn mutated_conversations_are_understood_or_refused() {
    fuzz(1, |round| round < 40_000);
}

#[test]
#[ignore = "ten minutes"]
fn mutated_conversations_for_ten_minutes() {
    #[expect(clippy::disallowed_methods, reason = "the test is as long as it says")]
    let start = std::time::Instant::now();
    let seed = start.elapsed().as_nanos() as u64 ^ u64::from(std::process::id());
    println!("seed {seed}");
    let rounds = fuzz(seed, |_| start.elapsed() < Duration::from_secs(600));
    println!("{rounds} inputs");
}

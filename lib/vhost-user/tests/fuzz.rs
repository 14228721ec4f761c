//! Whole sessions, mutated: whatever a peer says, nothing panics, and what is decoded is what it was when it is encoded again.
#![cfg(test)]

#[path = "../fuzz/src/lib.rs"]
pub mod targets;

use seeded::Random;
use targets::{FRONT, KICK, RAW, TURN, USER, WRITE};
use vhost_user::front::Request;
use vhost_user::payload::{
    Config, Inflight, Log, MemoryTable, Region, SingleRegion, VringAddress, VringState,
};
use vhost_user::wire::{Header, Message};
use vhost_user::{ProtocolFeatures, back};
use virtio::features::Features;

/// A place in something so long, or 0.
fn below(random: &mut Random, length: usize) -> usize {
    random.below(length as u64) as usize
}

const BYTES: u64 = 1 << 16;

/// A message of a session, how many descriptors come with it, and what is done when it was answered.
#[derive(Clone)]
struct Said {
    bytes: Vec<u8>,
    descriptors: usize,
    then: Vec<u8>,
}

fn said<M: Message>(request: &M, need_reply: bool) -> Said {
    let mut payload = Vec::new();
    request.put(&mut payload);
    let facts = request.facts();
    let size = payload.len() as u32;
    let header = Header { request: facts.number, reply: false, need_reply, size };
    let descriptors = usize::from(facts.descriptors.1.min(1).max(facts.descriptors.0));
    Said { bytes: [header.encode().as_slice(), &payload].concat(), descriptors, then: Vec::new() }
}

/// As the fuzzers take it.
fn steps(session: &[Said]) -> Vec<u8> {
    let steps = session.iter().flat_map(|Said { bytes, descriptors, then }| {
        [&[RAW + *descriptors as u8], bytes.as_slice(), then].concat()
    });
    steps.collect()
}

fn write(at: u16, bytes: &[u8]) -> Vec<u8> {
    let pieces = (at..).step_by(16).zip(bytes.chunks(16));
    pieces
        .flat_map(|(at, piece)| [&[WRITE + piece.len() as u8], &at.to_le_bytes()[..], piece].concat())
        .collect()
}

/// Where requests are told how they ended, and that they are not yet.
const STATUS: u16 = 0x5000;
const UNTOUCHED: u8 = 0xff;
/// Entries of the ring, of which each request takes three.
const ENTRIES: u16 = 8;
const REQUESTS: u16 = 3;

/// A driver that reads the first sector for the n-th time, and kicks: a chain of three in a ring of either kind.
fn request(features: Features, number: u16) -> Vec<u8> {
    const NEXT: u16 = 1;
    const WRITES: u16 = 2;
    const AVAILABLE: u16 = 1 << 7;
    const USED: u16 = 1 << 15;
    let is_packed = features.contains(Features::RING_PACKED);
    let status = STATUS + number;
    let segments = [(0x3000_u64, 16_u32, NEXT), (0x4000, 512, NEXT | WRITES), (status.into(), 1, WRITES)];
    let mut all = write(status, &[UNTOUCHED]);
    for (at, (address, length, flags)) in (3 * number..).zip(segments) {
        let round = if (at / ENTRIES).is_multiple_of(2) { AVAILABLE } else { USED };
        let last = if is_packed { [number, flags | round] } else { [flags, (at + 1) % ENTRIES] };
        let last = last.map(u16::to_le_bytes).concat();
        let entry = [&address.to_le_bytes()[..], &length.to_le_bytes(), &last].concat();
        all.extend(write(at % ENTRIES * 16, &entry));
    }
    if !is_packed {
        all.extend(write(0x1004 + 2 * number, &(3 * number % ENTRIES).to_le_bytes()));
        all.extend(write(0x1002, &(number + 1).to_le_bytes()));
    }
    // The last one has a kick of its own.
    all.extend([KICK + u8::from(number + 1 == REQUESTS), TURN]);
    all
}

/// Where the ring is after so many.
fn base(features: Features, requests: u32) -> u32 {
    let at = (3 * requests) | 0x8000;
    if features.contains(Features::RING_PACKED) { at | at << 16 } else { requests }
}

/// The whole life of a session with a disk, every request that it serves among it.
fn session(features: Features) -> Vec<Said> {
    let protocol =
        ProtocolFeatures::all().difference(ProtocolFeatures::PAGEFAULT | ProtocolFeatures::XEN_MMAP).bits();
    let region = Region { guest_address: 0, size: BYTES, user_address: USER, mmap_offset: 0 };
    let Region { guest_address, size, user_address, mmap_offset } = region;
    let single = SingleRegion { guest_address, size, user_address, mmap_offset };
    let address = VringAddress {
        descriptors: user_address,
        available: user_address + 0x1000,
        used: user_address + 0x2000,
        ..VringAddress::default()
    };
    let state = |num| VringState { index: 0, num };
    let offered = ProtocolFeatures::MQ
        | ProtocolFeatures::LOG_SHMFD
        | ProtocolFeatures::REPLY_ACK
        | ProtocolFeatures::BACKEND_REQ
        | ProtocolFeatures::CONFIG
        | ProtocolFeatures::INFLIGHT_SHMFD
        | ProtocolFeatures::RESET_DEVICE
        | ProtocolFeatures::CONFIGURE_MEM_SLOTS
        | ProtocolFeatures::STATUS;
    let inflight = Inflight { mmap_size: BYTES, mmap_offset: 0, queues: 1, queue_size: 64 };
    let requests = [
        Request::GetFeatures,
        Request::GetProtocolFeatures,
        Request::SetProtocolFeatures(protocol & offered.bits()),
        Request::SetOwner,
        Request::SetFeatures((features | Features::VERSION_1 | Features::PROTOCOL_FEATURES).bits()),
        Request::GetQueueNum,
        Request::GetMaxMemSlots,
        Request::AddMemReg(single),
        Request::SetInflightFd(inflight),
        Request::GetInflightFd(Inflight { queues: 1, queue_size: 8, ..Inflight::default() }),
        Request::SetLogBase(Log { size: BYTES, offset: 0 }),
        Request::SetLogFd,
        Request::SetVringNum(state(ENTRIES.into())),
        Request::SetVringBase(state(base(features, 0))),
        Request::SetVringAddr(address),
        Request::SetVringCall(0),
        Request::SetVringErr(0),
        Request::SetVringKick(0),
        Request::SetVringEnable(state(1)),
        Request::SetStatus(0xf),
        Request::GetStatus,
        Request::GetConfig(Config { offset: 0, size: 8, flags: 0, bytes: vec![0; 8] }),
        Request::RemMemReg(single),
        Request::SetMemTable(MemoryTable { regions: vec![region] }),
        Request::GetVringBase(state(0)),
        Request::SetVringBase(state(base(features, 2))),
        Request::SetVringKick(0),
        Request::GetVringBase(state(0)),
        Request::ResetDevice,
    ];
    let mut all: Vec<_> =
        requests.iter().map(|request| said(request, request.facts().reply.is_none())).collect();
    // When it is enabled, when its memory has become a table, and when it goes on behind what it did.
    let runs = |it: &Request| matches!(it, Request::SetVringEnable(_) | Request::SetMemTable(_));
    let enabled = requests.iter().position(runs).unwrap();
    let moved = requests.iter().rposition(runs).unwrap();
    let resumed = requests.iter().rposition(|it| matches!(it, Request::SetVringKick(_))).unwrap();
    for (number, at) in (0..REQUESTS).zip([enabled, moved, resumed]) {
        all[at].then = request(features, number);
    }
    all
}

/// Another session: bits and words changed, messages cut, lost, doubled and moved, descriptors too many and too few.
fn mutated(session: &[Said], random: &mut Random) -> Vec<Said> {
    let mut all = session.to_vec();
    for _ in 0..=below(random, 4) {
        let at = below(random, all.len());
        let other = below(random, all.len());
        match below(random, 8) {
            0 if !all.is_empty() => drop(all.remove(at)),
            1 if !all.is_empty() => all.insert(other, all[at].clone()),
            2 if !all.is_empty() => all.swap(at, other),
            3 if !all.is_empty() => all[at].descriptors = below(random, 10),
            4 if !all.is_empty() => {
                let length = all[at].bytes.len();
                all[at].bytes.truncate(below(random, length));
            }
            5 if !all.is_empty() => {
                let length = all[at].bytes.len();
                if length >= 4 {
                    let words =
                        [0, 1, 2, 8, 255, 256, 257, 0x8000, 0xffff, 0x0001_0000, 0x7fff_ffff, u32::MAX];
                    let place = below(random, length / 4) * 4;
                    let word = words[below(random, words.len())];
                    all[at].bytes[place..place + 4].copy_from_slice(&word.to_ne_bytes());
                }
            }
            _ if !all.is_empty() && !all[at].bytes.is_empty() => {
                let place = below(random, all[at].bytes.len());
                all[at].bytes[place] ^= 1 << below(random, 8);
            }
            _ => {}
        }
    }
    all
}

const KINDS: [Features; 2] = [Features::EVENT_IDX, Features::RING_PACKED];

#[test]
fn a_session_that_is_right_is_answered_to_its_end_and_its_ring_is_served() {
    for features in KINDS {
        let session = session(features);
        let ran = targets::session(&steps(&session)).unwrap();
        // All have an answer, their own or an acknowledgement, but what comes before acknowledgements are negotiated.
        assert_eq!(ran.answers, session.len() - 1);
        for number in 0..REQUESTS {
            let status = ran.byte((STATUS + number).into());
            assert_eq!(status, 0, "request {number} has succeeded, {features:?}");
        }
    }
}

fn fuzz(seed: u64, mut go_on: impl FnMut(u64) -> bool) -> (u64, usize) {
    let corpus: Vec<_> = KINDS.iter().map(|features| session(*features)).collect();
    let mut random = Random::new(seed);
    let (mut rounds, mut answers) = (0, 0);
    while go_on(rounds) {
        let input = steps(&mutated(&corpus[below(&mut random, corpus.len())], &mut random));
        answers += targets::session(&input).map_or(0, |ran| ran.answers);
        targets::codec(&input);
        targets::front(&input);
        rounds += 1;
    }
    (rounds, answers)
}

#[test]
fn sessions_that_are_mutated_are_answered_or_ended() {
    let (rounds, answers) = fuzz(1, |round| round < 5_000);
    // Most of them go on for a while.
    assert!(answers as u64 > 5 * rounds, "{answers} answers in {rounds} sessions");
}

/// As the long tests do it.
#[test]
#[ignore = "ten minutes"]
#[expect(clippy::disallowed_methods, reason = "the time is what is asked for")]
fn sessions_are_mutated_for_ten_minutes() {
    let begin = std::time::Instant::now();
    let (rounds, answers) = fuzz(2, |_| begin.elapsed() < std::time::Duration::from_secs(600));
    println!("{rounds} sessions, {answers} answers");
}

/// What the fuzzers begin with: two sessions, every message of the table as the table makes it, and every answer.
fn seeds() -> Vec<Vec<u8>> {
    // Fields are zeroes, where the input has nothing but those.
    let every = |flags: u8| {
        Request::FACTS.iter().flat_map(move |facts| [vec![facts.number as u8, flags], vec![0; 16]].concat())
    };
    let mut all: Vec<_> = KINDS.iter().map(|features| steps(&session(*features))).collect();
    let asked = back::Request::FACTS.iter().map(|facts| FRONT as u8 + facts.number as u8);
    all.push(every(1).chain(asked.flat_map(|number| [vec![number, 1], vec![0; 16]].concat())).collect());
    // Asked, and answered.
    all.push(
        Request::FACTS
            .iter()
            .flat_map(|facts| {
                [[facts.number as u8, 0].as_slice(), &[0; 16], &[facts.number as u8, 2], &[0; 16]].concat()
            })
            .collect(),
    );
    all
}

/// Every target takes what it begins with, and that is what the table says.
#[test]
fn the_fuzzers_begin_with_every_message() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (number, seed) in seeds().into_iter().enumerate() {
        for (_, target) in targets::TARGETS {
            target(&seed);
        }
        let path = directory.join(format!("{number:02}"));
        if std::fs::read(&path).ok().as_ref() != Some(&seed) {
            std::fs::write(&path, seed).unwrap();
            panic!("{} was another, and is right now: the table has changed", path.display());
        }
    }
}

/// The rings' targets without a fuzzer: bytes, most of which are steps.
#[test]
fn the_rings_targets_take_any_bytes() {
    let mut random = Random::new(3);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..below(&mut random, 300)).map(|_| random.number() as u8).collect();
        targets::device(&bytes);
        targets::driver(&bytes);
    }
}

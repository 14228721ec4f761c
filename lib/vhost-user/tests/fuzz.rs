//! Whole sessions, mutated: whatever a peer says, nothing panics, and what is decoded is what it was when it is encoded again.
#![cfg(test)]

#[path = "../fuzz/targets.rs"]
mod targets;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::os::fd::OwnedFd;
use vhost_user::backend::Session;
use vhost_user::devices::{Disk, InMemory};
use vhost_user::framing::Framing;
use vhost_user::front::Request;
use vhost_user::payload::{
    Config, Inflight, Log, MemoryTable, Region, SingleRegion, VringAddress, VringState,
};
use vhost_user::session::{Answering, Asking};
use vhost_user::socket::Canceller;
use vhost_user::wire::{Header, Message};
use vhost_user::{ProtocolFeatures, back};
use virtio::features::Features;

/// splitmix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

const BYTES: u64 = 1 << 16;

/// A message of a session, and how many descriptors come with it.
#[derive(Clone)]
struct Said {
    bytes: Vec<u8>,
    descriptors: usize,
}

fn said<M: Message>(request: &M, need_reply: bool) -> Said {
    let mut payload = Vec::new();
    request.put(&mut payload);
    let facts = request.facts();
    let size = payload.len() as u32;
    let header = Header { request: facts.number, reply: false, need_reply, size };
    let descriptors = usize::from(facts.descriptors.1.min(1).max(facts.descriptors.0));
    Said { bytes: [header.encode().as_slice(), &payload].concat(), descriptors }
}

/// The whole life of a session with a disk, every request that it serves among it.
fn session(features: Features) -> Vec<Said> {
    let protocol =
        ProtocolFeatures::all().difference(ProtocolFeatures::PAGEFAULT | ProtocolFeatures::XEN_MMAP).bits();
    let region = Region { guest_address: 0, size: BYTES, user_address: 0x7000_0000, mmap_offset: 0 };
    let Region { guest_address, size, user_address, mmap_offset } = region;
    let single = SingleRegion { guest_address, size, user_address, mmap_offset };
    let base = user_address;
    let address = VringAddress {
        descriptors: base,
        available: base + 0x1000,
        used: base + 0x2000,
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
        Request::SetVringNum(state(8)),
        Request::SetVringBase(state(if features.contains(Features::RING_PACKED) { 0x8000_8000 } else { 0 })),
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
        Request::ResetDevice,
    ];
    requests.iter().map(|request| said(request, request.facts().reply.is_none())).collect()
}

fn files(count: usize) -> Vec<OwnedFd> {
    let file = |_| {
        let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, BYTES).unwrap();
        file
    };
    (0..count).map(file).collect()
}

/// Says all of it to a back-end; gives how many messages were answered.
fn back_end(session: &[Said]) -> usize {
    let mut disk = Disk::new(InMemory::new(8), 1);
    let mut back = Session::new(&mut disk, Canceller::new().unwrap()).unwrap();
    let mut framing = Framing::default();
    let mut answers = 0;
    for Said { bytes, descriptors } in session {
        let mut left = bytes.as_slice();
        let mut along = files(*descriptors);
        while !left.is_empty() {
            let (now, later) = left.split_at(framing.want().min(left.len()));
            match framing.feed(now, std::mem::take(&mut along)) {
                Ok(None) => {}
                Err(_) => return answers,
                Ok(Some(message)) => match back.handle(message) {
                    Ok(answer) => answers += usize::from(answer.is_some()),
                    Err(_) => return answers,
                },
            }
            left = later;
            if left.is_empty() {
                break;
            }
        }
    }
    answers
}

/// What can be decoded is encoded as the same bytes.
fn comes_back<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let mut framing = Framing::default();
    let mut left = bytes;
    while !left.is_empty() {
        let (now, later) = left.split_at(framing.want().min(left.len()));
        left = later;
        let Ok(message) = framing.feed(now, Vec::new()) else { return };
        let Some(message) = message else { continue };
        let (number, payload) = (message.header.request, message.payload.clone());
        if let Ok(request) = M::get(number, &payload) {
            let mut again = Vec::new();
            request.put(&mut again);
            assert_eq!(M::get(number, &again), Ok(request), "request {number}");
        }
        if let Ok(reply) = M::get_reply(number, &payload) {
            let mut again = Vec::new();
            reply.put(&mut again);
            assert_eq!(M::get_reply(number, &again), Ok(reply), "an answer to request {number}");
        }
        let _ = Answering::<M>::default().asked(message, true);
    }
}

/// What a front-end makes of answers.
fn front_end(session: &[Said], answers: &[u8]) {
    let mut asking = Asking::<Request>::default();
    asking.negotiated.offered = Features::PROTOCOL_FEATURES;
    asking.negotiated.protocol = ProtocolFeatures::all();
    for Said { bytes, .. } in session {
        let Some(number) = bytes.first_chunk().map(|number| u32::from_ne_bytes(*number)) else { continue };
        if let Ok(request) = Request::get(number, bytes.get(12..).unwrap_or_default()) {
            let descriptors = usize::from(request.facts().descriptors.0);
            let _ = asking.ask(&request, descriptors);
        }
    }
    let mut framing = Framing::default();
    let mut left = answers;
    while !left.is_empty() {
        let (now, later) = left.split_at(framing.want().min(left.len()));
        left = later;
        match framing.feed(now, Vec::new()) {
            Ok(None) => {}
            Err(_) => return,
            Ok(Some(message)) => {
                if asking.answered(message).is_err() {
                    return;
                }
            }
        }
    }
}

/// Another session: bits and words changed, messages cut, lost, doubled and moved, descriptors too many and too few.
fn mutated(session: &[Said], numbers: &mut Numbers) -> Vec<Said> {
    let mut all = session.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(all.len());
        let other = numbers.below(all.len());
        match numbers.below(8) {
            0 if !all.is_empty() => drop(all.remove(at)),
            1 if !all.is_empty() => all.insert(other, all[at].clone()),
            2 if !all.is_empty() => all.swap(at, other),
            3 if !all.is_empty() => all[at].descriptors = numbers.below(10),
            4 if !all.is_empty() => {
                let length = all[at].bytes.len();
                all[at].bytes.truncate(numbers.below(length));
            }
            5 if !all.is_empty() => {
                let length = all[at].bytes.len();
                if length >= 4 {
                    let words =
                        [0, 1, 2, 8, 255, 256, 257, 0x8000, 0xffff, 0x0001_0000, 0x7fff_ffff, u32::MAX];
                    let place = numbers.below(length / 4) * 4;
                    let word = words[numbers.below(words.len())];
                    all[at].bytes[place..place + 4].copy_from_slice(&word.to_ne_bytes());
                }
            }
            _ if !all.is_empty() && !all[at].bytes.is_empty() => {
                let place = numbers.below(all[at].bytes.len());
                all[at].bytes[place] ^= 1 << numbers.below(8);
            }
            _ => {}
        }
    }
    all
}

const KINDS: [Features; 2] = [Features::EVENT_IDX, Features::RING_PACKED];

#[test]
fn a_session_that_is_right_is_answered_to_its_end() {
    for features in KINDS {
        let session = session(features);
        // All have an answer, their own or an acknowledgement, but what comes before acknowledgements are negotiated.
        assert_eq!(back_end(&session), session.len() - 1);
        let bytes: Vec<u8> = session.iter().flat_map(|said| said.bytes.clone()).collect();
        comes_back::<Request>(&bytes);
    }
}

fn fuzz(seed: u64, mut go_on: impl FnMut(u64) -> bool) -> (u64, usize) {
    let corpus: Vec<_> = KINDS.iter().map(|features| session(*features)).collect();
    let mut numbers = Numbers(seed);
    let (mut rounds, mut answers) = (0, 0);
    while go_on(rounds) {
        let input = mutated(&corpus[numbers.below(corpus.len())], &mut numbers);
        answers += back_end(&input);
        let bytes: Vec<u8> = input.iter().flat_map(|said| said.bytes.clone()).collect();
        comes_back::<Request>(&bytes);
        comes_back::<back::Request>(&bytes);
        front_end(&input, &bytes);
        rounds += 1;
    }
    (rounds, answers)
}

#[test]
fn sessions_that_are_mutated_are_answered_or_ended() {
    let (rounds, answers) = fuzz(1, |round| round < 20_000);
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

/// What the fuzzers begin with: two sessions, and every message of the table, with a payload that is right but for its zeroes.
fn seeds() -> Vec<Vec<u8>> {
    fn every<M: Message>() -> Vec<u8> {
        let said = M::FACTS.iter().flat_map(|facts| {
            let is_right = |length: &usize| M::get(facts.number, &vec![0; *length]).is_ok();
            let size = (0..4096).find(is_right).unwrap_or(0);
            let header = Header { request: facts.number, reply: false, need_reply: true, size: size as u32 };
            [vec![facts.descriptors.0], header.encode().to_vec(), vec![0; size]].concat()
        });
        said.collect()
    }
    let mut all: Vec<Vec<u8>> = KINDS
        .iter()
        .map(|features| {
            let session = session(*features);
            session
                .iter()
                .flat_map(|said| [vec![said.descriptors as u8], said.bytes.clone()].concat())
                .collect()
        })
        .collect();
    all.extend([every::<Request>(), every::<back::Request>()]);
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
    let mut numbers = Numbers(3);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..numbers.below(300)).map(|_| numbers.next() as u8).collect();
        targets::device(&bytes);
        targets::driver(&bytes);
    }
}

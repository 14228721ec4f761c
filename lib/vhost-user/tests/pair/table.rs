//! Faults that back-ends of others have (docs/acceptance/05-vhost-user.md has the table), at our front-end: it says what is wrong, or has no use for
//! what it cannot know to be wrong.

use crate::{Served, TIMEOUT, wanted};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use vhost_user::ProtocolFeatures;
use vhost_user::framing::Raw;
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, FrontEnd};
use vhost_user::memory::Memory;
use vhost_user::payload::{Config, Iotlb, MemoryTable, Region, VringState};
use vhost_user::session::{Asking, Negotiated, NotSent, Violation};
use vhost_user::socket::{Canceller, Socket};
use vhost_user::wire::Header;
use virtio::features::Features;

const REPLY: u32 = 1 | 1 << 2;

/// The bytes of a message.
fn message(number: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let size = payload.len() as u32;
    [[number, flags, size].map(u32::to_ne_bytes).concat(), payload.to_vec()].concat()
}

fn number(request: u32, number: u64) -> Vec<u8> {
    message(request, REPLY, &number.to_ne_bytes())
}

/// A front-end, and a back-end that wrote its answers before it was asked: without acknowledgements, and with these features offered.
fn negotiated(features: Features, protocol: u64) -> (FrontEnd, UnixStream) {
    let (ours, mut its) = UnixStream::pair().unwrap();
    its.write_all(&[number(1, features.bits()), number(15, protocol)].concat()).unwrap();
    let mut front = FrontEnd::new(ours, TIMEOUT).unwrap();
    let all = ProtocolFeatures::all().difference(ProtocolFeatures::REPLY_ACK);
    let wanted = vhost_user::frontend::Wanted { protocol: all, ..wanted(Features::EVENT_IDX) };
    front.negotiate(wanted).unwrap();
    (front, its)
}

const ORDINARY: Features = Features::VERSION_1.union(Features::PROTOCOL_FEATURES);

fn ordinary() -> (FrontEnd, UnixStream) {
    let config = ProtocolFeatures::CONFIG | ProtocolFeatures::MQ;
    negotiated(ORDINARY, config.bits())
}

/// What the back-end heard.
fn heard(mut its: &UnixStream) -> Vec<(u32, Vec<u8>)> {
    let mut bytes = Vec::new();
    its.set_nonblocking(true).unwrap();
    let _ = its.read_to_end(&mut bytes);
    let mut all = Vec::new();
    let mut left = bytes.as_slice();
    while left.len() >= 12 {
        let word = |at: usize| u32::from_ne_bytes(left[at..at + 4].try_into().unwrap());
        let (number, size) = (word(0), word(8) as usize);
        all.push((number, left[12..12 + size].to_vec()));
        left = &left[12 + size..];
    }
    all
}

/// Version 0, 2 and 3, reserved flags, and the flag of an answer missing.
#[test]
fn flags_that_are_no_answers_end_the_connection() {
    for flags in [4, 6, 7, REPLY | 1 << 4, REPLY | 1 << 9, REPLY | 1 << 31] {
        let (mut front, mut its) = ordinary();
        its.write_all(&message(17, flags, &1_u64.to_ne_bytes())).unwrap();
        assert!(matches!(front.queues(), Err(CallError::Header { .. })), "{flags:#x}");
        assert!(matches!(front.queues(), Err(CallError::Broken)), "{flags:#x}");
    }
    let (mut front, mut its) = ordinary();
    its.write_all(&message(17, 1, &1_u64.to_ne_bytes())).unwrap();
    let error = front.queues().unwrap_err();
    assert!(matches!(error, CallError::Violation { error: Violation::Direction { .. }, .. }), "{error}");
}

/// An answer in pieces is one all the same, as a header of ours in pieces is at the back-end.
#[test]
fn an_answer_byte_by_byte_is_understood() {
    let (mut front, mut its) = ordinary();
    let writer = std::thread::spawn(move || {
        for byte in number(17, 7) {
            its.write_all(&[byte]).unwrap();
            std::thread::yield_now();
        }
        its
    });
    assert_eq!(front.queues().unwrap(), 7);
    writer.join().unwrap();
}

/// Half an answer and more than one, another request's answer, and descriptors that belong to none.
#[test]
fn answers_that_do_not_fit_are_none() {
    let (mut front, mut its) = ordinary();
    its.write_all(&message(17, REPLY, &[1, 0, 0, 0])).unwrap();
    let error = front.queues().unwrap_err();
    assert!(matches!(error, CallError::Violation { error: Violation::Payload { .. }, .. }), "{error}");

    let (mut front, mut its) = ordinary();
    its.write_all(&message(17, REPLY, &[0; 16])).unwrap();
    let error = front.queues().unwrap_err();
    assert!(matches!(error, CallError::Violation { error: Violation::Payload { .. }, .. }), "{error}");

    let (mut front, mut its) = ordinary();
    its.write_all(&number(200, 0)).unwrap();
    let error = front.queues().unwrap_err();
    assert!(matches!(error, CallError::Violation { error: Violation::Answer { .. }, .. }), "{error}");

    let (mut front, its) = ordinary();
    let null = std::fs::File::open("/dev/null").unwrap();
    let socket = Socket::new(its, Canceller::new().unwrap()).unwrap();
    socket.send(&number(17, 1), &[null.as_fd()]).unwrap();
    let error = front.queues().unwrap_err();
    assert!(matches!(error, CallError::Violation { error: Violation::Descriptors { .. }, .. }), "{error}");
}

/// What is offered and means nothing, or lacks what it needs, is not set.
#[test]
fn features_that_cannot_be_are_not_taken() {
    let offered = ProtocolFeatures::MQ | ProtocolFeatures::INBAND_NOTIFICATIONS;
    let (front, its) =
        negotiated(Features::from_bits_retain(ORDINARY.bits() | 1 << 63), offered.bits() | 1 << 63);
    assert_eq!(front.negotiated().protocol, ProtocolFeatures::MQ);
    let set: Vec<_> = heard(&its).into_iter().filter(|(number, _)| [2, 16].contains(number)).collect();
    let bits = |bits: u64| bits.to_ne_bytes().to_vec();
    assert_eq!(set[0], (16, bits(ProtocolFeatures::MQ.bits())));
    assert_eq!(set[1].0, 2);
    assert_eq!(set[1].1[7] & 0x80, 0, "bit 63 is nothing that a driver of ours knows");
}

/// A configuration space that is not there is an answer without bytes, on the wire: twelve bytes of header, and a size of 0.
#[test]
fn no_configuration_space_is_an_empty_answer() {
    let asked = || Request::GetConfig(Config { offset: 4096, size: 4, flags: 0, bytes: vec![0; 4] });
    let (mut front, mut its) = ordinary();
    its.write_all(&[24, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert!(matches!(front.config(4096, 4), Err(CallError::Refused { request: "GET_CONFIG", .. })));
    // Fewer bytes than were asked for are not those either.
    its.write_all(&message(24, REPLY, &[[0_u8; 8].as_slice(), &[0; 4], &[1, 2]].concat())).unwrap();
    assert!(matches!(front.config(0, 4), Err(CallError::Refused { request: "GET_CONFIG", .. })));

    let (stream, served) = Served::start();
    let mut raw = stream.try_clone().unwrap();
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    front.negotiate(wanted(Features::empty())).unwrap();
    let mut payload = Vec::new();
    vhost_user::wire::Message::put(&asked(), &mut payload);
    raw.set_nonblocking(false).unwrap();
    raw.write_all(&message(24, 1, &payload)).unwrap();
    let mut answer = [0xff; 12];
    raw.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [24, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    drop((raw, front));
    served.ended().unwrap();
}

/// DPDK answers a log with no bytes, libvhost-user with a number.
#[test]
fn a_log_is_answered_by_a_number_or_by_nothing() {
    let (mut front, mut its) = negotiated(ORDINARY, ProtocolFeatures::LOG_SHMFD.bits());
    let null = std::fs::File::open("/dev/null").unwrap();
    for answer in [[].as_slice(), &[0; 8]] {
        its.write_all(&message(6, REPLY, answer)).unwrap();
        front.set_log(null.as_fd(), 4096).unwrap();
    }
    its.write_all(&message(6, REPLY, &[0; 4])).unwrap();
    assert!(matches!(front.set_log(null.as_fd(), 4096), Err(CallError::Violation { .. })));
}

/// What our front-end does not send, whoever would take it.
#[test]
fn what_no_back_end_should_take_is_not_sent() {
    let (mut front, its) = ordinary();
    let region = Region { guest_address: 0, size: 4096, user_address: 0, mmap_offset: 0 };
    let null = std::fs::File::open("/dev/null").unwrap();
    let state = VringState { index: 0, num: 8 };
    let before = heard(&its).len();
    let unsent = |result: Result<_, CallError>| {
        assert!(matches!(result.map(drop), Err(CallError::NotSent(NotSent::Descriptors { .. }))));
    };
    unsent(front.call(&Request::SetMemTable(MemoryTable { regions: vec![region] }), &[null.as_fd(); 9]));
    unsent(front.call(&Request::SetVringNum(state), &[null.as_fd()]));
    let mut memory = Memory::new(1 << 22).unwrap();
    for size in [0, 7, 40_000] {
        assert!(matches!(front.start_queue(0, size, &mut memory), Err(CallError::Layout(_))), "{size}");
    }
    assert!(matches!(front.start_queue(256, 8, &mut memory), Err(CallError::Queue { index: 256 })));
    assert_eq!((before > 0, heard(&its)), (true, Vec::new()));
}

/// DPDK answers a translation to who asks for that, as QEMU does, though it is always to be answered. What has an answer is otherwise not to be
/// acknowledged.
#[test]
fn the_answer_to_a_translation_is_asked_for() {
    let negotiated = Negotiated {
        features: Features::ACCESS_PLATFORM,
        protocol: ProtocolFeatures::REPLY_ACK,
        ..Negotiated::default()
    };
    let mut asking = Asking::default();
    asking.negotiated = negotiated;
    for (request, asks) in [(Request::IotlbMsg(Iotlb::default()), true), (Request::GetFeatures, false)] {
        let (bytes, is_answered) = asking.ask(&request, 0).unwrap();
        assert_eq!((bytes[4] & 1 << 3 != 0, is_answered), (asks, true), "{request:?}");
    }
    // It is one answer, and a number.
    let header = Header { request: 22, reply: true, need_reply: false, size: 8 };
    let raw = Raw { header, payload: vec![0; 8], descriptors: Vec::new() };
    let answer = asking.answered(raw).unwrap();
    assert_eq!((answer.number, asking.waiting()), (22, 1));
}

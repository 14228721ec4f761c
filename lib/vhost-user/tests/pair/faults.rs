//! What front-ends do wrong: an error of the right kind, and nothing left behind.

use crate::{Served, TIMEOUT, wanted};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use vhost_user::ProtocolFeatures;
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, FrontEnd};
use vhost_user::memory::Memory;
use vhost_user::payload::{Config, MemoryTable, Region, VringAddress, VringState};
use vhost_user::socket::{Canceller, Socket};
use vhost_user::wire::{Header, Message as _};
use virtio::features::Features;

fn connected() -> (FrontEnd, Served) {
    let (stream, served) = Served::start();
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    front.negotiate(wanted(Features::empty())).unwrap();
    (front, served)
}

/// Each is refused with an acknowledgement, and the session goes on.
#[test]
fn requests_that_cannot_be_done_are_refused_and_the_session_goes_on() {
    let (mut front, served) = connected();
    let memory = Memory::new(8192).unwrap();
    let state = |index, num| VringState { index, num };
    let region = |size, mmap_offset| Region { guest_address: 0, size, user_address: 0, mmap_offset };
    let refused = [
        (Request::SetVringNum(state(2, 128)), 0),
        (Request::SetVringNum(state(u32::MAX, 128)), 0),
        (Request::SetVringNum(state(0, 0)), 0),
        (Request::SetVringNum(state(0, 32769)), 0),
        (Request::SetVringBase(state(2, 0)), 0),
        (Request::SetVringEnable(state(2, 1)), 0),
        (Request::SetVringEnable(state(0, 2)), 0),
        (Request::SetVringAddr(VringAddress { index: 2, ..VringAddress::default() }), 0),
        // A kick for a ring of which nothing is known, one for a ring that is not there, and two that contradict themselves.
        (Request::SetVringKick(0), 1),
        (Request::SetVringKick(2), 1),
        (Request::SetVringCall(0), 0),
        (Request::SetVringCall(1 << 8), 1),
        (Request::SetVringCall(1 << 9), 1),
        (Request::SetFeatures(1 << 63), 0),
        (Request::SetProtocolFeatures(1 << 63), 0),
        (Request::SetConfig(Config { offset: 0, size: 1, flags: 0, bytes: vec![0] }), 0),
        (Request::SetConfig(Config { offset: u32::MAX, size: 1, flags: 0, bytes: vec![0] }), 0),
        // Memory without a descriptor, of no bytes, longer than its descriptor, beyond every file.
        (Request::SetMemTable(MemoryTable { regions: vec![region(4096, 0)] }), 0),
        (Request::SetMemTable(MemoryTable { regions: vec![region(0, 0)] }), 1),
        (Request::SetMemTable(MemoryTable { regions: vec![region(8193, 0)] }), 1),
        (Request::SetMemTable(MemoryTable { regions: vec![region(8192, u64::MAX)] }), 1),
        (Request::SetMemTable(MemoryTable { regions: vec![region(4096, 0), region(4096, 4096)] }), 2),
    ];
    for (request, descriptors) in refused {
        let descriptors = vec![memory.descriptor(); descriptors];
        match front.call(&request, &descriptors) {
            Err(CallError::Refused { request: name, code: 1 }) => assert_eq!(name, request.facts().name),
            other => panic!("{request:?}: {other:?}"),
        }
    }
    assert!(matches!(front.config(4096, 4), Err(CallError::Refused { .. })));
    assert!(matches!(front.config(u32::MAX, 4), Err(CallError::Refused { .. })));
    // A ring that never started can be stopped, and says where it would begin.
    assert_eq!(front.stop_queue(0).unwrap(), 0);
    assert_eq!(front.queues().unwrap(), 2);
    drop(front);
    served.ended().unwrap();
}

/// Bytes that are no message end the session with the reason, wherever they are cut.
#[test]
fn what_is_no_message_ends_the_session() {
    let header = |request, size| Header { request, reply: false, need_reply: false, size }.encode();
    let mut version = header(1, 0);
    version[4] = 2;
    let mut reserved = header(1, 0);
    reserved[7] = 0x80;
    let answer = Header { request: 1, reply: true, need_reply: false, size: 0 }.encode();
    let cases: [(&[u8], &str); 7] = [
        (&version, "request 1 has the flags 0x2: version 1 and bits 2 and 3 are known"),
        (&reserved, "request 1 has the flags 0x80000001: version 1 and bits 2 and 3 are known"),
        (&header(1, u32::MAX), "request 1 announces 4294967295 bytes; the largest has 4108"),
        (&header(200, 0), "request 200: there is no such request"),
        (&header(0, 0), "request 0: there is no such request"),
        (&answer, "request 1 has the flag of answers"),
        (&header(8, 4), "the peer closed the connection"),
    ];
    for (bytes, text) in cases {
        let (mut stream, served) = Served::start();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(vhost_user::with_causes(&served.ended().unwrap_err()), text);
        let mut rest = Vec::new();
        // What was not read may reset the connection; what was answered is nothing.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
}

/// A message may come byte by byte.
#[test]
fn a_header_in_pieces_is_understood() {
    let (mut stream, served) = Served::start();
    let header = Header { request: 1, reply: false, need_reply: false, size: 0 };
    for byte in header.encode() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..12], Header { request: 1, reply: true, need_reply: false, size: 8 }.encode());
    drop(stream);
    served.ended().unwrap();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Descriptors that belong to nothing, and those of sessions that ended anyhow.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test tells itself that it is alone")]
fn descriptors_that_nobody_asked_for_are_closed() {
    // The test's own process counts, so others must not run beside it: it is asked of a process of its own.
    if std::env::var_os("VHOST_USER_TEST_ALONE").is_none() {
        let this = std::env::current_exe().unwrap();
        let status = std::process::Command::new(this)
            .args(["--exact", "faults::descriptors_that_nobody_asked_for_are_closed"])
            .env("VHOST_USER_TEST_ALONE", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let before = descriptors();
    for round in 0..1_000 {
        let (stream, served) = Served::start();
        let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
        let mut wanted = wanted(Features::empty());
        wanted.protocol |= ProtocolFeatures::INFLIGHT_SHMFD | ProtocolFeatures::BACKEND_REQ;
        front.negotiate(wanted).unwrap();
        let memory = Memory::new(4096).unwrap();
        if round % 2 == 0 {
            front.add_memory(&memory).unwrap();
        }
        // A ring that runs, an inflight region and a channel, all of which the front-end leaves as they are.
        let (said, region) = front.inflight(1, 8).unwrap();
        front.set_inflight(said, region.as_fd()).unwrap();
        let channel = front.open_channel().unwrap();
        let mut rings = Memory::new(1 << 16).unwrap();
        front.add_memory(&rings).unwrap();
        let mut queue = front.start_queue(0, 8, &mut rings).unwrap();
        let part = rings.part(16, 16).unwrap();
        let segment = virtio::Segment { address: part.host_address(), length: 16 };
        queue.ring.add(&[], &[segment]).unwrap();
        queue.submit().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let request = Request::SetVringNum(VringState { index: 0, num: 8 });
        let error = front.call(&request, &[null.as_fd()]).unwrap_err();
        assert_eq!(error.to_string(), "SET_VRING_NUM takes 0 to 0 descriptors, not 1");
        drop((front, queue, channel, region));
        served.ended().unwrap();

        // What our front-end would not send.
        let (stream, served) = Served::start();
        let socket = Socket::new(stream, Canceller::new().unwrap()).unwrap();
        socket.expire_after(Some(TIMEOUT)).unwrap();
        let send = |request: &Request, need_reply, descriptors: &[BorrowedFd<'_>]| {
            let mut payload = Vec::new();
            request.put(&mut payload);
            let size = payload.len() as u32;
            let header = Header { request: request.number(), reply: false, need_reply, size }.encode();
            socket.send(&[header.as_slice(), &payload].concat(), descriptors).unwrap();
        };
        send(&Request::SetProtocolFeatures(ProtocolFeatures::REPLY_ACK.bits()), false, &[]);
        send(&request, true, &[null.as_fd(), null.as_fd()]);
        let mut answer = [0; 20];
        let (count, _) = socket.receive(&mut answer).unwrap();
        assert_eq!((count, answer[12]), (20, 1), "refused");
        send(&Request::SetLogFd, false, &[]);
        assert_eq!(served.ended().unwrap_err().to_string(), "request 7 came with 0 descriptors");
    }
    assert_eq!(descriptors(), before);
    let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(mappings.lines().filter(|line| line.contains("memfd:vhost-user")).count(), 0);
}

/// A message that has begun does not hold up the rings, and is not waited for for ever.
#[test]
fn half_a_message_holds_up_nobody() {
    let (stream, served) = Served::start();
    let half = stream.try_clone().unwrap();
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    front.negotiate(wanted(Features::empty())).unwrap();
    let mut memory = Memory::new(1 << 18).unwrap();
    front.add_memory(&memory).unwrap();
    let mut queue = front.start_queue(0, 8, &mut memory).unwrap();
    let part = memory.part(1024, 512).unwrap();
    part.slice().fill(0);
    // The first bytes of a header, by a descriptor of the same connection.
    (&half).write_all(&[1, 0, 0]).unwrap();
    for _ in 0..100 {
        let segment = |at: u64, length| virtio::Segment { address: part.host_address() + at, length };
        queue.ring.add(&[segment(0, 16)], &[segment(512, 512), segment(16, 1)]).unwrap();
        queue.submit().unwrap();
        while queue.ring.reap().unwrap().is_none() {
            assert!(queue.wait(TIMEOUT).unwrap(), "the ring stands still");
        }
    }
    drop((front, half));
    assert_eq!(served.ended().unwrap_err().to_string(), "the peer closed the connection");
}

/// A front-end that reads none of its answers has its rings served all the same, and its answers later.
#[test]
fn a_front_end_that_does_not_read_is_served() {
    let (mut stream, served) = Served::start();
    let ask = Header { request: 1, reply: false, need_reply: false, size: 0 }.encode();
    stream.set_nonblocking(true).unwrap();
    let mut asked = 0;
    // Until there is no room for questions either.
    while stream.write_all(&ask).is_ok() {
        asked += 1;
    }
    stream.set_nonblocking(false).unwrap();
    let mut answer = [0; 20];
    for _ in 0..asked {
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], 1);
    }
    drop(stream);
    let _ = served.ended();
}

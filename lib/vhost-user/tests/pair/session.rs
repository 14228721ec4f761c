//! What is beside the rings: state, logs, regions and channels.

use crate::toy::{Client, EVERYTHING, SIZE, Toy, asks, client, negotiated};
use crate::{Served, TIMEOUT, wanted};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, ftruncate, memfd_create};
use rustix::io::{pread, write};
use rustix::pipe::pipe;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use vhost_user::ProtocolFeatures;
use vhost_user::back::Request as Asks;
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, Direction, FrontEnd};
use vhost_user::memory::Memory;
use vhost_user::payload::{SingleRegion, VringState};
use vhost_user::socket::{Canceller, Socket};
use vhost_user::wire::{Header, Message as _};
use virtio::Segment;
use virtio::features::Features;

#[test]
fn a_device_is_reset_by_its_status_and_by_request() {
    let (stream, served) = Served::with(Toy::new());
    let mut front = negotiated(stream, asks(Features::empty(), EVERYTHING));
    assert_eq!(front.status().unwrap(), 0);
    front.set_status(0xf).unwrap();
    assert_eq!(front.status().unwrap(), 0xf);
    front.set_config(2, &[9, 9]).unwrap();
    assert_eq!(front.config(0, 4).unwrap(), [1, 2, 9, 9]);
    assert!(matches!(front.set_config(1, &[9]), Err(CallError::Refused { .. })), "the driver must not");
    front.set_status(0).unwrap();
    assert_eq!(front.config(0, 4).unwrap(), [1, 2, 3, 4]);
    front.set_config(2, &[9, 9]).unwrap();
    front.reset().unwrap();
    assert_eq!(front.config(0, 4).unwrap(), [1, 2, 3, 4]);
    drop(front);
    served.ended().unwrap();
}

#[test]
fn a_change_of_configuration_is_told_on_the_channel() {
    let toy = Toy::new();
    let bell = toy.bell.try_clone().unwrap();
    let (stream, served) = Served::with(toy);
    let mut front = negotiated(stream, asks(Features::empty(), EVERYTHING));
    for round in 0..3 {
        // A channel takes the place of the one before.
        let mut channel = front.open_channel().unwrap();
        write(&bell, &1_u64.to_ne_bytes()).unwrap();
        let asked = channel.next(TIMEOUT).unwrap();
        assert_eq!((asked.request, asked.waits), (Asks::ConfigChangeMsg, false));
        assert_eq!(front.config(3, 1).unwrap(), [5 + round]);
    }
    drop(front);
    served.ended().unwrap();
}

#[test]
fn a_front_end_that_closes_its_channel_is_told_nothing_more() {
    let (stream, served) = Served::with(Toy::new());
    let mut front = negotiated(stream, asks(Features::empty(), EVERYTHING));
    drop(front.open_channel().unwrap());
    let mut channel = front.open_channel().unwrap();
    // What nobody asked for is read away.
    channel.answer(&Asks::ConfigChangeMsg, 0, &[]).unwrap();
    assert_eq!(front.queues().unwrap(), 2);
    drop(channel);
    assert_eq!(front.queues().unwrap(), 2);
    drop(front);
    served.ended().unwrap();
}

#[test]
fn what_is_written_is_in_the_log() {
    for features in [Features::empty(), Features::RING_PACKED] {
        let (stream, served) = Served::with(Toy::new());
        let mut client = client(stream, asks(features, EVERYTHING));
        client.send(10);
        client.answered();
        // The driver's addresses are this process's, so the log is as long as they go: a file with a hole.
        let log = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        let bytes = client.bytes.host_address() / 4096 / 8 + 4096;
        ftruncate(&log, bytes).unwrap();
        client.front.set_log(log.as_fd(), bytes).unwrap();
        let features = client.front.negotiated().features;
        client.front.set_features(features | Features::LOG_ALL).unwrap();
        let is_dirty = |address: u64| {
            let page = address / 4096;
            let mut byte = [0];
            pread(&log, &mut byte, page / 8).unwrap();
            byte[0] & 1 << (page % 8) != 0
        };
        let page = client.bytes.host_address();
        assert!(!is_dirty(page));
        client.send(20);
        client.answered();
        assert!(is_dirty(page) && !is_dirty(page + 4096) && !is_dirty(page - 4096));
        // The queue itself, once that was asked for.
        let used = client.queue.address().used;
        let before = is_dirty(used);
        client.front.log_queue(&client.queue).unwrap();
        client.send(30);
        client.answered();
        client.front.queues().unwrap();
        assert!(!before && is_dirty(used), "{features:?}");
        client.front.stop_logging_queue(&client.queue).unwrap();
        drop(client);
        served.ended().unwrap();
    }
}

#[test]
fn the_state_of_a_device_goes_out_and_in() {
    let (stream, served) = Served::with(Toy::new());
    let mut front = negotiated(stream, asks(Features::empty(), EVERYTHING));
    assert!(matches!(front.transferred(), Err(CallError::Refused { .. })), "there was no transfer");
    let (reads, writes) = pipe().unwrap();
    assert!(front.transfer(Direction::Save, writes).unwrap().is_none());
    let mut state = Vec::new();
    File::from(reads).read_to_end(&mut state).unwrap();
    front.transferred().unwrap();
    assert_eq!(state, vec![7; 100_000]);
    for (state, loads) in [(vec![7, 8], true), (vec![8], false), (Vec::new(), false)] {
        let (reads, writes) = pipe().unwrap();
        front.transfer(Direction::Load, reads).unwrap();
        File::from(writes).write_all(&state).unwrap();
        assert_eq!(front.transferred().is_ok(), loads, "{state:?}");
    }
    let (reads, writes) = pipe().unwrap();
    front.transfer(Direction::Save, writes).unwrap();
    state.clear();
    File::from(reads).read_to_end(&mut state).unwrap();
    front.transferred().unwrap();
    assert_eq!(state, [7, 8], "what was loaded");
    // A device that runs is not transferred.
    let mut memory = Memory::new(1 << 16).unwrap();
    front.add_memory(&memory).unwrap();
    let _queue = front.start_queue(0, SIZE, &mut memory).unwrap();
    let (_reads, writes) = pipe().unwrap();
    assert!(matches!(front.transfer(Direction::Save, writes), Err(CallError::Refused { .. })));
    drop(front);
    served.ended().unwrap();
}

/// Whatever a front-end writes into the pipe, the back-end's memory is not filled with it.
#[test]
fn a_state_of_any_length_is_not_kept() {
    const MOST: usize = 64 << 20;
    let (stream, served) = Served::with(Toy::new());
    let mut front = negotiated(stream, asks(Features::empty(), EVERYTHING));
    for (bytes, loads) in [(MOST, true), (MOST + 1, false)] {
        let (reads, writes) = pipe().unwrap();
        front.transfer(Direction::Load, reads).unwrap();
        // Who has read enough may be gone before all is written.
        let _ = File::from(writes).write_all(&vec![7; bytes]);
        assert_eq!(front.transferred().is_ok(), loads, "{bytes} bytes");
    }
    drop(front);
    served.ended().unwrap();
}

#[test]
fn kicks_and_calls_are_messages_where_that_was_negotiated() {
    let (stream, served) = Served::with(Toy::new());
    let protocol =
        ProtocolFeatures::INBAND_NOTIFICATIONS | ProtocolFeatures::BACKEND_REQ | ProtocolFeatures::REPLY_ACK;
    let mut client = client(stream, asks(Features::empty(), protocol));
    let mut channel = client.front.open_channel().unwrap();
    client.front.call(&Request::SetVringCall(1 << 8), &[]).unwrap();
    // The first kick starts it again.
    let base = client.front.stop_queue(0).unwrap();
    client.front.call(&Request::SetVringBase(VringState { index: 0, num: base }), &[]).unwrap();
    for byte in 0..10 {
        let at = 2 * usize::from(byte);
        client.bytes.piece(at, 1).unwrap().slice().write(&[byte]);
        let address = client.bytes.host_address() + at as u64;
        let segment = |at| [Segment { address: address + at, length: 1 }];
        client.queue.ring.add(&segment(0), &segment(1)).unwrap();
        client.queue.ring.publish();
        let must_kick = client.queue.ring.must_kick();
        assert!(must_kick || byte > 0, "a ring that was stopped is looked at by nobody");
        // The back-end may still be looking after the one before.
        if must_kick {
            client.front.call(&Request::VringKick(VringState { index: 0, num: 0 }), &[]).unwrap();
        }
        let asked = channel.next(TIMEOUT).unwrap();
        assert_eq!(asked.request, Asks::VringCall(VringState { index: 0, num: 0 }));
        client.answered();
        assert_eq!(client.answer_to(byte), byte + 1);
    }
    drop(client);
    served.ended().unwrap();
}

#[test]
fn a_ring_without_kicks_is_polled() {
    for protocol in [EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS), ProtocolFeatures::empty()]
    {
        let (stream, served) = Served::with(Toy::new());
        let mut client = client(stream, asks(Features::EVENT_IDX, protocol));
        client.front.call(&Request::SetVringKick(1 << 8), &[]).unwrap();
        for byte in 0..20 {
            client.send(byte);
            client.answered();
        }
        drop(client);
        served.ended().unwrap();
    }
}

/// Descriptors of a front-end that wait, or do so later: a call whose counter is full, and a kick that nobody has kicked.
#[test]
fn descriptors_that_wait_hold_up_nobody() {
    for begins in [EventfdFlags::empty(), EventfdFlags::NONBLOCK] {
        waiting_descriptors(begins);
    }
}

fn waiting_descriptors(begins: EventfdFlags) {
    let (stream, served) = Served::with(Toy::new());
    let protocol = EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS);
    let mut client = client(stream, asks(Features::empty(), protocol));
    let descriptor = || eventfd(0, EventfdFlags::CLOEXEC | begins).unwrap();
    let (call, kick) = (descriptor(), descriptor());
    rustix::io::write(&call, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    client.front.call(&Request::SetVringErr(0), &[call.as_fd()]).unwrap();
    client.front.call(&Request::SetVringCall(0), &[call.as_fd()]).unwrap();
    client.front.call(&Request::SetVringKick(0), &[kick.as_fd()]).unwrap();
    // Both sides have the same flags.
    for descriptor in [&call, &kick] {
        fcntl_setfl(descriptor, OFlags::empty()).unwrap();
    }
    for byte in 0..5 {
        client.send(byte);
        rustix::io::write(&kick, &1_u64.to_ne_bytes()).unwrap();
        client.front.call(&Request::GetFeatures, &[]).unwrap();
    }
    drop(client);
    served.ended().unwrap();
}

/// Two queues at once, by turns, and neither waits for the other.
#[test]
fn queues_run_side_by_side() {
    let (stream, served) = Served::with(Toy::new());
    let mut one = client(stream, asks(Features::EVENT_IDX, EVERYTHING));
    let mut other = one.front.start_queue(1, SIZE, &mut one.memory).unwrap();
    let bytes = one.memory.part(64, 64).unwrap();
    let segment = |at: u64| [Segment { address: bytes.host_address() + at, length: 1 }];
    for byte in 0..100 {
        one.send(byte);
        other.ring.add(&segment(0), &segment(1)).unwrap();
        other.submit().unwrap();
        one.answered();
        while other.ring.reap().unwrap().is_none() {
            assert!(other.wait(TIMEOUT).unwrap());
        }
    }
    drop(one);
    served.ended().unwrap();
}

/// A front-end that knows nothing of protocol features: rings are enabled from the start.
#[test]
fn a_front_end_without_protocol_features_is_served() {
    let (stream, served) = Served::with(Toy::new());
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    let offered = front.call(&Request::GetFeatures, &[]).unwrap();
    assert!(offered.is_some());
    front.call(&Request::SetOwner, &[]).unwrap();
    front.set_features(Features::VERSION_1).unwrap();
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let queue = front.start_queue(0, SIZE, &mut memory).unwrap();
    let bytes = memory.part(512, 4096).unwrap();
    let mut client = Client { front, memory, queue, bytes };
    for byte in 0..20 {
        client.send(byte);
        client.answered();
    }
    drop(client);
    served.ended().unwrap();
}

/// What a back-end had taken when it died is taken by the next, once, in the order in which it was taken; what it had given back is not.
#[test]
fn what_was_in_flight_is_served_by_the_next_back_end() {
    for features in [
        Features::empty(),
        Features::EVENT_IDX,
        Features::RING_PACKED,
        Features::RING_PACKED | Features::EVENT_IDX | Features::INDIRECT_DESC,
    ] {
        let toy = Toy { keeps: true, ..Toy::new() };
        let answered = Arc::clone(&toy.answered);
        let (stream, served) = Served::with(toy);
        let wanted = asks(features, EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS));
        let mut front = negotiated(stream, wanted);
        let (said, region) = front.inflight(2, SIZE).unwrap();
        front.set_inflight(said, region.as_fd()).unwrap();
        let mut memory = Memory::new(1 << 20).unwrap();
        front.add_memory(&memory).unwrap();
        let queue = front.start_queue(0, SIZE, &mut memory).unwrap();
        let bytes = memory.part(512, 4096).unwrap();
        let mut client = Client { front, memory, queue, bytes };
        let mut served = served;
        let mut all = Vec::new();
        for life in 0..8_u8 {
            for byte in 0..4 {
                client.send(8 * life + byte);
            }
            // Even ones come back, odd ones are kept: those of this life, and not those of the life before, which the next serves whole.
            for _ in 0..2 {
                client.answered();
            }
            assert_eq!(std::mem::take(&mut *answered.lock().unwrap()), [8 * life, 8 * life + 2]);
            served.kill();
            let next = Toy { answered: Arc::clone(&answered), ..Toy::new() };
            let (stream, whole) = Served::with(next);
            client.front = negotiated(stream, wanted);
            client.front.add_memory(&client.memory).unwrap();
            client.front.set_inflight(said, region.as_fd()).unwrap();
            let base = client.queue.base();
            client.front.attach_queue(&client.queue, base).unwrap();
            for _ in 0..2 {
                client.answered();
            }
            assert_eq!(
                std::mem::take(&mut *answered.lock().unwrap()),
                [8 * life + 1, 8 * life + 3],
                "{features:?}"
            );
            all.extend((0..4).map(|byte| 8 * life + byte));
            whole.kill();
            let keeping = Toy { keeps: true, answered: Arc::clone(&answered), ..Toy::new() };
            let (stream, keeping) = Served::with(keeping);
            served = keeping;
            client.front = negotiated(stream, wanted);
            client.front.add_memory(&client.memory).unwrap();
            client.front.set_inflight(said, region.as_fd()).unwrap();
            let base = client.queue.base();
            client.front.attach_queue(&client.queue, base).unwrap();
        }
        for byte in all {
            assert_eq!(client.answer_to(byte), byte + 1);
        }
        assert_eq!(client.queue.ring.in_flight(), 0);
        drop(client);
        served.ended().unwrap();
    }
}

/// A ring that stops gives back what the device kept of it.
#[test]
fn a_device_gives_back_what_it_keeps_when_its_queue_stops() {
    let toy = Toy { keeps: true, ..Toy::new() };
    let (stream, served) = Served::with(toy);
    let mut client = client(
        stream,
        asks(Features::empty(), EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS)),
    );
    client.send(1);
    client.send(2);
    client.answered();
    assert_eq!(client.front.stop_queue(0).unwrap(), 2);
    let done = client.queue.ring.reap().unwrap().unwrap();
    assert_eq!(done.written, 0);
    drop(client);
    served.ended().unwrap();
}

/// Requests of features that were not negotiated are refused.
#[test]
fn what_was_not_negotiated_is_not_served() {
    let (stream, served) = Served::start();
    let mut front = negotiated(stream, wanted(Features::empty()));
    assert!(matches!(front.status(), Err(CallError::NotSent(_))), "ours does not even send it");
    drop(front);
    served.ended().unwrap();

    let (stream, served) = Served::start();
    // What our front-end would not send.
    let socket = Socket::new(stream, Canceller::new().unwrap()).unwrap();
    socket.expire_after(Some(TIMEOUT)).unwrap();
    let ask = |request: &Request, need_reply| {
        let mut payload = Vec::new();
        request.put(&mut payload);
        let size = payload.len() as u32;
        let header = Header { request: request.number(), reply: false, need_reply, size }.encode();
        socket.send(&[header.as_slice(), &payload].concat(), &[]).unwrap();
    };
    ask(&Request::SetProtocolFeatures(ProtocolFeatures::REPLY_ACK.bits()), false);
    for request in [Request::SetStatus(1), Request::ResetDevice, Request::RemMemReg(SingleRegion::default())]
    {
        ask(&request, true);
        let mut answer = [0; 20];
        let (count, _) = socket.receive(&mut answer).unwrap();
        assert_eq!((count, answer[12]), (20, 1), "{request:?} is refused");
    }
    // What has an answer of its own cannot be refused by a number.
    ask(&Request::GetStatus, true);
    let text = "GET_STATUS failed, and the front-end does not wait to hear of it";
    assert_eq!(served.ended().unwrap_err().to_string(), text);
}

/// A front-end that does not read its channel for a while finds everything there afterwards, and has held up nobody.
#[test]
fn a_channel_that_nobody_reads_loses_no_call() {
    let protocol =
        ProtocolFeatures::INBAND_NOTIFICATIONS | ProtocolFeatures::BACKEND_REQ | ProtocolFeatures::REPLY_ACK;
    let (stream, served) = Served::with(Toy::new());
    let mut client = client(stream, asks(Features::empty(), protocol));
    let mut channel = client.front.open_channel().unwrap();
    // A few messages are all that there is room for.
    rustix::net::sockopt::set_socket_recv_buffer_size(&channel, 1).unwrap();
    client.front.call(&Request::SetVringCall(1 << 8), &[]).unwrap();
    for round in 0..2_000 {
        client.send((round % 100) as u8);
        client.front.call(&Request::VringKick(VringState { index: 0, num: 0 }), &[]).unwrap();
        client.front.queues().unwrap();
        while client.queue.ring.reap().unwrap().is_none() {
            client.front.queues().unwrap();
        }
    }
    // Whatever waits is read away, and calls go on.
    while channel.next(std::time::Duration::ZERO).is_ok() {}
    for _ in 0..3 {
        client.send(1);
        client.front.call(&Request::VringKick(VringState { index: 0, num: 0 }), &[]).unwrap();
        let asked = channel.next(TIMEOUT).unwrap();
        assert_eq!(asked.request, Asks::VringCall(VringState { index: 0, num: 0 }));
        while client.queue.ring.reap().unwrap().is_none() {
            client.front.queues().unwrap();
        }
        while channel.next(std::time::Duration::ZERO).is_ok() {}
    }
    drop(client);
    served.ended().unwrap();
}

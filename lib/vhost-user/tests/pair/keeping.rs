//! Chains that a device keeps, leaves or cannot take, and rings that stop, move and change hands meanwhile.

use crate::toy::{Client, EVERYTHING, SIZE, Toy, asks, client, negotiated};
use crate::{Served, TIMEOUT};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::pread;
use rustix::pipe::pipe;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use vhost_user::ProtocolFeatures;
use vhost_user::backend::{Device, Guest};
use vhost_user::devices::{Balloon, Console, Disk, Entropy, Loopback, Network, Null};
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, FrontEnd};
use vhost_user::memory::Memory;
use vhost_user::payload::{Inflight, VringAddress};
use virtio::blk::{self, Requests};
use virtio::features::Features;
use virtio::net::{self, HEADER};
use virtio::{Segment, console};

const KINDS: [Features; 4] = [
    Features::empty(),
    Features::EVENT_IDX,
    Features::RING_PACKED,
    Features::RING_PACKED.union(Features::EVENT_IDX),
];

const ORDINARY: ProtocolFeatures = EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS);

fn with(device: impl Device + Send + 'static, features: Features) -> (Client, Served) {
    let (stream, served) = Served::with(device);
    (client(stream, asks(features, ORDINARY)), served)
}

/// Not a byte of what comes to a console is written where the driver does not want it yet.
#[test]
fn input_waits_until_its_queue_is_enabled() {
    let ((input, to), (_from, output)) = (pipe().unwrap(), pipe().unwrap());
    let (stream, served) = Served::with(Console::new(input, output, 80, 25).unwrap());
    let mut client = client(stream, asks(Features::empty(), ORDINARY));
    client.front.disable_queue(console::RECEIVE.into()).unwrap();
    let segment = Segment { address: client.bytes.host_address(), length: 8 };
    client.queue.ring.add(&[], &[segment]).unwrap();
    client.queue.submit().unwrap();
    File::from(to).write_all(b"early").unwrap();
    // The device looks at its input before it looks at a message.
    for _ in 0..5 {
        client.front.queues().unwrap();
    }
    assert_eq!(client.queue.ring.reap().unwrap(), None);
    client.front.enable_queue(console::RECEIVE.into()).unwrap();
    while client.queue.ring.reap().unwrap().is_none_or(|done| done.written != 5) {
        assert!(client.queue.wait(TIMEOUT).unwrap(), "nothing came in {TIMEOUT:?}");
    }
    drop(client);
    served.ended().unwrap();
}

/// What a device keeps comes back before it is reset, so that the ring says where it really stopped.
#[test]
fn what_a_device_keeps_comes_back_before_it_is_reset() {
    for features in KINDS {
        let toy = Toy { keeps: true, ..Toy::new() };
        let (mut client, served) = with(toy, features);
        client.send(1);
        client.send(2);
        client.answered();
        client.front.set_status(0).unwrap();
        let done = client.queue.ring.reap().unwrap().expect("what was kept is there");
        assert_eq!(done.written, 0);
        drop(client);
        served.ended().unwrap();
    }
}

#[test]
fn what_a_device_keeps_comes_back_before_its_memory_goes() {
    for features in KINDS {
        let toy = Toy { keeps: true, ..Toy::new() };
        let (mut client, served) = with(toy, features);
        for round in 0..3 {
            client.send(10 * round + 1);
            client.send(10 * round + 2);
            client.answered();
            client.front.remove_memory(&client.memory).unwrap();
            let done = client.queue.ring.reap().unwrap().expect("what was kept is there");
            assert_eq!(done.written, 0);
            client.front.add_memory(&client.memory).unwrap();
            client.send(10 * round + 4);
            client.answered();
        }
        drop(client);
        served.ended().unwrap();
    }
}

/// Sends a frame, and gives the lengths that the buffers of the other queue come back with.
fn frame_through(client: &mut Client, length: u32, buffers: u32, each: u32) -> Vec<u32> {
    let bytes = client.memory.part(16 << 10, 4096).unwrap();
    let segment = |at: u32, length| Segment { address: bytes.host_address() + u64::from(at), length };
    for number in 0..buffers {
        client.queue.ring.add(&[], &[segment(8192 + number * each, each)]).unwrap();
    }
    client.queue.submit().unwrap();
    let mut transmit = client.front.start_queue(1, SIZE, &mut client.memory).unwrap();
    transmit.ring.add(&[segment(0, HEADER as u32 + length)], &[]).unwrap();
    transmit.submit().unwrap();
    while transmit.ring.reap().unwrap().is_none() {
        assert!(transmit.wait(TIMEOUT).unwrap(), "it was not sent");
    }
    let mut written = Vec::new();
    while written.len() < buffers as usize {
        match client.queue.ring.reap().unwrap() {
            Some(done) => written.push(done.written),
            None => assert!(client.queue.wait(TIMEOUT).unwrap(), "nothing came in {TIMEOUT:?}"),
        }
    }
    written
}

/// What was negotiated is the session's, and outlives a reset of the device.
#[test]
fn a_network_that_was_reset_goes_on_with_what_was_negotiated() {
    let mergeable = Features::from_bits_retain(net::Features::MRG_RXBUF.bits());
    let (mut client, served) = with(Network::new(Loopback::default(), [2; 6]), mergeable);
    client.front.reset().unwrap();
    client.queue = client.front.start_queue(0, SIZE, &mut client.memory).unwrap();
    let written = frame_through(&mut client, 500, 3, 200);
    assert_eq!(written, [200, 200, HEADER as u32 + 500 - 400], "in three buffers");
    drop(client);
    served.ended().unwrap();
}

/// Without version 1 the header of a frame has no number of buffers.
#[test]
fn a_legacy_network_has_a_shorter_header() {
    let (stream, served) = Served::with(Network::new(Loopback::default(), [2; 6]));
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    front.negotiate(asks(Features::empty(), ORDINARY)).unwrap();
    let legacy = front.negotiated().features.difference(Features::VERSION_1);
    front.set_features(legacy).unwrap();
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let queue = front.start_queue(0, SIZE, &mut memory).unwrap();
    let bytes = memory.part(512, 4096).unwrap();
    let mut client = Client { front, memory, queue, bytes };
    // 12 bytes sent: a header of ten, and a frame of two, which are zeroes. A longer header would say that it is one buffer.
    client.bytes.slice().fill(0xee);
    let segment = Segment { address: client.bytes.host_address(), length: 100 };
    client.queue.ring.add(&[], &[segment]).unwrap();
    client.queue.submit().unwrap();
    let mut transmit = client.front.start_queue(1, SIZE, &mut client.memory).unwrap();
    let zeroes = client.memory.part(12, 64).unwrap();
    transmit.ring.add(&[Segment { address: zeroes.host_address(), length: 12 }], &[]).unwrap();
    transmit.submit().unwrap();
    assert_eq!(ended(&mut client), 12);
    let mut frame = [0xee; 2];
    client.bytes.piece(10, 2).unwrap().slice().read(&mut frame);
    assert_eq!(frame, [0, 0]);
    drop(client);
    served.ended().unwrap();
}

/// A frame may take as many buffers as there are, but nobody tries that for ever.
#[test]
fn a_frame_that_needs_too_many_buffers_is_dropped() {
    let mergeable = Features::from_bits_retain(net::Features::MRG_RXBUF.bits());
    let (stream, served) = Served::with(Network::new(Loopback::default(), [2; 6]));
    let mut front = negotiated(stream, asks(mergeable, ORDINARY));
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let mut receive = front.start_queue(0, 512, &mut memory).unwrap();
    let mut transmit = front.start_queue(1, SIZE, &mut memory).unwrap();
    let bytes = memory.part(8192, 4096).unwrap();
    let segment = |at: u64, length| Segment { address: bytes.host_address() + at, length };
    for number in 0..512 {
        receive.ring.add(&[], &[segment(4096 + number * 2, 2)]).unwrap();
    }
    receive.submit().unwrap();
    transmit.ring.add(&[segment(0, HEADER as u32 + 1500)], &[]).unwrap();
    transmit.submit().unwrap();
    let done = loop {
        match receive.ring.reap().unwrap() {
            Some(done) => break done,
            None => assert!(receive.wait(TIMEOUT).unwrap(), "the frame waits for ever"),
        }
    };
    assert_eq!(done.written, 0, "nothing of it was delivered");
    drop(front);
    served.ended().unwrap();
}

/// One chain does not hold up everything else for as long as its driver likes.
#[test]
fn a_chain_of_any_length_is_bounded_work() {
    struct Counts(std::sync::Arc<std::sync::atomic::AtomicU64>);
    impl std::io::Read for Counts {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.fetch_add(into.len() as u64, std::sync::atomic::Ordering::Relaxed);
            Ok(into.len())
        }
    }
    let read = std::sync::Arc::default();
    let (mut client, served) = with(Entropy::new(Counts(std::sync::Arc::clone(&read))), Features::empty());
    let whole = client.memory.region();
    let all = Segment { address: whole.address, length: 1 << 16 };
    // The same bytes again and again.
    let bytes = client.bytes.host_address();
    let segments = vec![Segment { address: bytes, length: 512 }; 15];
    client.queue.ring.add(&[], &segments).unwrap();
    client.queue.submit().unwrap();
    assert!(ended(&mut client) <= 15 * 512);
    let more = Memory::new(64 << 20).unwrap();
    client.front.add_memory(&more).unwrap();
    let all = Segment { address: more.region().address, length: (64 << 20) - all.length };
    client.queue.ring.add(&[], &[all; 16]).unwrap();
    client.queue.submit().unwrap();
    let written = ended(&mut client);
    assert!((1..=1 << 20).contains(&written), "{written} bytes at once");
    assert!(read.load(std::sync::atomic::Ordering::Relaxed) < 2 << 20);
    drop(client);
    served.ended().unwrap();
}

/// How many chains it was given in each of its turns.
struct Turns(Arc<Mutex<Vec<u32>>>);

impl Device for Turns {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let mut served = 0;
        guest.each(queue, |_| {
            served += 1;
            0
        });
        self.0.lock().unwrap().push(served);
    }
}

/// Nor do several chains, though all of them are there at once: others have their turn after 16 MiB.
#[test]
fn a_turn_is_over_after_so_many_bytes_of_chains() {
    let turns = Arc::default();
    let (mut client, served) = with(Turns(Arc::clone(&turns)), Features::empty());
    let more = Memory::new(8 << 20).unwrap();
    client.front.add_memory(&more).unwrap();
    let segment = Segment { address: more.region().address, length: 8 << 20 };
    for _ in 0..8 {
        client.queue.ring.add(&[segment], &[]).unwrap();
    }
    client.queue.submit().unwrap();
    for _ in 0..8 {
        assert_eq!(ended(&mut client), 0);
    }
    drop(client);
    served.ended().unwrap();
    let turns = turns.lock().unwrap();
    assert_eq!(turns.iter().sum::<u32>(), 8, "{turns:?}");
    assert!(turns.iter().all(|chains| *chains <= 2), "{turns:?}");
}

/// Nor does a buffer of page numbers of any length: those beyond the first 16,384 are not looked at.
#[test]
fn a_balloon_takes_so_many_pages_at_once_and_no_more() {
    const EACH: u32 = 4 << 10;
    let device = Balloon::new().unwrap();
    let control = device.control();
    let (mut client, served) = with(device, Features::empty());
    // A page at the beginning, which is given up again and again: all the numbers are 0, and each is a page of its own.
    let machine = Memory::at(0, 4096).unwrap();
    client.front.add_memory(&machine).unwrap();
    let numbers = client.memory.part(4 * EACH as usize, 4096).unwrap();
    let segment = Segment { address: numbers.host_address(), length: 4 * EACH };
    client.queue.ring.add(&[segment; SIZE as usize], &[]).unwrap();
    client.queue.submit().unwrap();
    assert_eq!(ended(&mut client), 0);
    assert!(u32::from(SIZE) * EACH > 16_384, "more than are looked at");
    assert_eq!(control.numbers().inflated, 16_384 * 4096);
    drop(client);
    served.ended().unwrap();
}

/// A discard and a write of zeroes go on for as long as configuration space says, and no longer.
#[test]
fn no_range_is_longer_than_is_said() {
    let wanted = blk::Features::DISCARD | blk::Features::WRITE_ZEROES;
    let (mut client, served) =
        with(Disk::new(Null { sectors: 1 << 30 }, 1), Features::from_bits_retain(wanted.bits()));
    let config = blk::Config::parse(&client.front.config(0, blk::Config::BYTES as u32).unwrap());
    let most = config.discard_sectors;
    assert_eq!((most, config.zeroes_sectors), ((128 << 20) / 512, most));
    let slots = client.memory.part(Requests::bytes(SIZE), 64).unwrap();
    let address = slots.host_address();
    let mut requests = Requests::new(SIZE, slots, address).unwrap();
    let ring = &mut client.queue.ring;
    requests.discard(ring, 8, most, 0).unwrap();
    requests.discard(ring, 8, most + 1, 1).unwrap();
    requests.write_zeroes(ring, 8, most, false, 2).unwrap();
    requests.write_zeroes(ring, 8, u32::MAX, false, 3).unwrap();
    client.queue.submit().unwrap();
    let mut results = [None; 4];
    while results.contains(&None) {
        match requests.reap(&mut client.queue.ring).unwrap() {
            Some(done) => results[done.tag as usize] = Some(done.result),
            None => assert!(client.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}"),
        }
    }
    let failed = Err(blk::Failure::Io);
    assert_eq!(results, [Ok(()), failed, Ok(()), failed].map(Some));
    drop(client);
    served.ended().unwrap();
}

fn ended(client: &mut Client) -> u32 {
    loop {
        match client.queue.ring.reap().unwrap() {
            Some(done) => return done.written,
            None => assert!(client.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}"),
        }
    }
}

/// Takes three chains at once or none, and gives them back with as many bytes written as there were others.
struct Triples;

impl Device for Triples {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        loop {
            let mut held = Vec::new();
            while held.len() < 3 {
                let Some(next) = guest.take(queue) else {
                    held.into_iter().rev().for_each(|it| guest.untake(queue, it));
                    return;
                };
                held.push(next);
            }
            let written = held.iter().map(|it| it.chain().writer().write(&[3]) as u32).collect::<Vec<_>>();
            guest.put_together(queue, held.into_iter().zip(written));
        }
    }
}

/// Keeps every second chain until it is killed.
struct Keeper(Vec<vhost_user::backend::Kept>, bool);

impl Device for Keeper {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        while let Some(held) = guest.take(queue) {
            self.1 ^= true;
            if self.1 {
                self.0.push(held.keep());
            } else {
                guest.put(queue, held, 0);
            }
        }
    }
}

/// What was in flight when a back-end died may be left in its ring by the next one, for a better moment.
#[test]
fn what_was_in_flight_can_be_left_in_its_ring() {
    for features in KINDS {
        for crashed in 1..=4 {
            let (stream, served) = Served::with(Keeper(Vec::new(), false));
            let wanted = asks(features, ORDINARY);
            let mut front = negotiated(stream, wanted);
            let mut memory = Memory::new(1 << 20).unwrap();
            front.add_memory(&memory).unwrap();
            let (said, region) = front.inflight(1, SIZE).unwrap();
            front.set_inflight(said, region.as_fd()).unwrap();
            let mut queue = front.start_queue(0, SIZE, &mut memory).unwrap();
            let bytes = memory.part(512, 64).unwrap();
            let offer = |queue: &mut vhost_user::frontend::Queue| {
                let segment = Segment { address: bytes.host_address(), length: 8 };
                queue.ring.add(&[], &[segment]).unwrap();
                queue.submit().unwrap();
            };
            for _ in 0..2 * crashed {
                offer(&mut queue);
            }
            for _ in 0..crashed {
                while queue.ring.reap().unwrap().is_none() {
                    assert!(queue.wait(TIMEOUT).unwrap());
                }
            }
            served.kill();
            let (stream, served) = Served::with(Triples);
            let mut front = negotiated(stream, wanted);
            front.add_memory(&memory).unwrap();
            front.set_inflight(said, region.as_fd()).unwrap();
            let base = queue.base();
            front.attach_queue(&queue, base).unwrap();
            for more in 0..7 {
                offer(&mut queue);
                front.queues().unwrap();
                let mut done = 0;
                while (crashed + more + 1) / 3 * 3 > done {
                    match queue.ring.reap().unwrap() {
                        Some(one) => {
                            assert_eq!(one.written, 1, "{features:?}");
                            done += 1;
                        }
                        None if queue.ring.in_flight() == (crashed + more + 1) % 3 => break,
                        None => assert!(queue.wait(TIMEOUT).unwrap(), "{features:?}: a chain is lost"),
                    }
                }
            }
            assert_eq!(queue.ring.in_flight(), (crashed + 7) % 3, "{features:?}");
            drop(front);
            served.ended().unwrap();
        }
    }
}

/// Takes one chain each time that it is called, though there may be more.
struct Lazy;

impl Device for Lazy {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        if let Some(held) = guest.take(queue) {
            let written = held.chain().writer().write(&[1]) as u32;
            guest.put(queue, held, written);
        }
    }
}

/// A device that leaves chains in its ring is called when the next one comes.
#[test]
fn a_device_that_stops_early_is_called_for_the_next_chain() {
    for features in KINDS {
        let (mut client, served) = with(Lazy, features);
        client.send(0);
        assert_eq!(ended(&mut client), 1);
        client.front.queues().unwrap();
        for round in 1..20 {
            // Two are more than it takes; what it leaves it takes with the next.
            let segment = Segment { address: client.bytes.host_address(), length: 1 };
            let before = client.queue.ring.in_flight();
            client.queue.ring.add(&[], &[segment]).unwrap();
            if round < 8 {
                client.queue.ring.add(&[], &[segment]).unwrap();
            }
            client.queue.submit().unwrap();
            assert_eq!(ended(&mut client), 1, "{features:?}: round {round}, {before} before it");
            client.front.queues().unwrap();
            while client.queue.ring.reap().unwrap().is_some() {}
        }
        drop(client);
        served.ended().unwrap();
    }
}

/// The pages of a packed ring itself are written too, whatever address its log is given.
#[test]
fn a_packed_ring_is_in_the_log_by_its_own_address() {
    let (stream, served) = Served::with(Toy::new());
    let protocol = ORDINARY.difference(ProtocolFeatures::GPA_ADDRESSES);
    let mut front = negotiated(stream, asks(Features::RING_PACKED, protocol));
    let mut memory = Memory::at(1 << 20, 1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let mut queue = front.start_queue(0, SIZE, &mut memory).unwrap();
    let bytes = memory.part(512, 4096).unwrap();
    let log = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&log, 4096).unwrap();
    front.set_log(log.as_fd(), 4096).unwrap();
    let features = front.negotiated().features;
    front.set_features(features | Features::LOG_ALL).unwrap();
    // What QEMU gives for the log is where the device's events are, and those it puts on a page of their own.
    let address = VringAddress { flags: 1, log: (1 << 20) + 0x8000, ..queue.address() };
    front.call(&Request::SetVringAddr(address), &[]).unwrap();
    let at = memory.address_of(&bytes);
    queue.ring.add(&[Segment { address: at, length: 1 }], &[Segment { address: at + 1, length: 1 }]).unwrap();
    queue.submit().unwrap();
    while queue.ring.reap().unwrap().is_none() {
        assert!(queue.wait(TIMEOUT).unwrap());
    }
    front.queues().unwrap();
    let is_dirty = |address: u64| {
        let mut byte = [0];
        pread(&log, &mut byte, address / 4096 / 8).unwrap();
        byte[0] & 1 << (address / 4096 % 8) != 0
    };
    assert!(is_dirty(at), "what the device wrote");
    assert!(is_dirty((1 << 20) + 0x8000), "what was named");
    let ring = queue.address().descriptors - memory.region().memory.host_address() + (1 << 20);
    assert!(is_dirty(ring), "the ring's own entries");
    assert!(!is_dirty((1 << 20) + 0x9000));
    drop(front);
    served.ended().unwrap();
}

/// A kick that cannot be waited for is refused, and a ring that was refused does not run.
#[test]
fn a_kick_that_is_refused_starts_nothing() {
    let (mut client, served) = with(Toy::new(), Features::empty());
    let base = client.front.stop_queue(0).unwrap();
    client.front.place_queue(&client.queue, base).unwrap();
    let file = tempfile::tempfile().unwrap();
    let error = client.front.call(&Request::SetVringKick(0), &[file.as_fd()]).unwrap_err();
    assert!(matches!(error, CallError::Refused { .. }), "{error}");
    client.front.enable_queue(0).unwrap();
    client.send(1);
    for _ in 0..5 {
        client.front.queues().unwrap();
    }
    assert_eq!(client.queue.ring.reap().unwrap(), None);
    client.front.attach_queue(&client.queue, base).unwrap();
    client.answered();
    drop(client);
    served.ended().unwrap();
}

/// A region in which a ring has no room remembers nothing, and the front-end hears of it.
#[test]
fn an_inflight_region_that_is_too_short_for_its_ring_is_refused() {
    let (stream, served) = Served::with(Toy::new());
    let mut front = negotiated(stream, asks(Features::empty(), ORDINARY));
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    for said in [
        // Fewer entries than the ring has, and fewer bytes than it says.
        Inflight { mmap_size: 4096, queues: 1, queue_size: SIZE / 2, ..Inflight::default() },
        Inflight { mmap_size: 64, queues: 1, queue_size: SIZE, ..Inflight::default() },
    ] {
        let region = memfd_create("region", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&region, 4096).unwrap();
        front.set_inflight(said, region.as_fd()).unwrap();
        let error = front.start_queue(0, SIZE, &mut memory).err().expect("it is too short");
        assert!(matches!(error, CallError::Refused { request: "SET_VRING_KICK", .. }), "{error}");
    }
    // One that begins where its numbers have no alignment, and one that has no part for the second queue.
    let region = memfd_create("region", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&region, 8192).unwrap();
    for mmap_offset in [1, 2, 4] {
        let said = Inflight { mmap_size: 4096, mmap_offset, queues: 1, queue_size: SIZE };
        let error = front.set_inflight(said, region.as_fd()).unwrap_err();
        assert!(matches!(error, CallError::Refused { request: "SET_INFLIGHT_FD", .. }), "{error}");
    }
    let said = Inflight { mmap_size: 4096, mmap_offset: 8, queues: 1, queue_size: SIZE };
    front.set_inflight(said, region.as_fd()).unwrap();
    front.start_queue(0, SIZE, &mut memory).unwrap();
    let error = front.start_queue(1, SIZE, &mut memory).err().expect("nothing would be remembered of it");
    assert!(matches!(error, CallError::Refused { request: "SET_VRING_KICK", .. }), "{error}");
    drop(front);
    served.ended().unwrap();
}

//! What a back-end leaves in flight, and what becomes of it: rings that stop, are reset or begin anew before it is done.

use crate::toy::{Client, EVERYTHING, SIZE, Toy, asks, negotiated};
use crate::{Served, TIMEOUT};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::backend::{Deferred, Device, Guest};
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, Lasting, Wanted};
use vhost_user::memory::Memory;
use vhost_user::payload::Inflight;
use vhost_user::socket::Canceller;
use virtio::Segment;
use virtio::features::Features;

const KINDS: [Features; 4] = [
    Features::empty(),
    Features::RING_PACKED,
    Features::IN_ORDER,
    Features::RING_PACKED.union(Features::IN_ORDER),
];

fn wanted(features: Features) -> Wanted {
    asks(features, EVERYTHING.difference(ProtocolFeatures::INBAND_NOTIFICATIONS))
}

/// A device that keeps what is odd, its driver, and the region that remembers that.
fn begun(features: Features, size: u16) -> (Client, Served, (Inflight, OwnedFd)) {
    let (stream, served) = Served::with(Toy { keeps: true, ..Toy::new() });
    let mut front = negotiated(stream, wanted(features));
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let (said, region) = front.inflight(1, size).unwrap();
    front.set_inflight(said, region.as_fd()).unwrap();
    let queue = front.start_queue(0, size, &mut memory).unwrap();
    let bytes = memory.part(512, 4096).unwrap();
    (Client { front, memory, queue, bytes }, served, (said, region))
}

/// The next back-end, which keeps nothing, and has the memory of the one before.
fn next(client: &mut Client, features: Features) -> Served {
    let (stream, served) = Served::with(Toy::new());
    client.front = negotiated(stream, wanted(features));
    client.front.add_memory(&client.memory).unwrap();
    served
}

/// Waits until all that was sent is the device's: rings have a turn before each message, and two have everything.
fn taken(client: &mut Client) {
    for _ in 0..4 {
        client.front.queues().unwrap();
    }
}

/// A ring that stops before it was enabled has done what was in flight, so that whoever goes on there needs no region.
#[test]
fn what_was_in_flight_is_done_before_its_ring_stops() {
    for features in KINDS {
        let (mut client, served, (said, region)) = begun(features, SIZE);
        // Where the driver was promised the order, what is even waits for what is odd before it.
        let bytes: [u8; 5] =
            if features.contains(Features::IN_ORDER) { [2, 4, 1, 3, 5] } else { [1, 2, 3, 4, 5] };
        bytes.iter().for_each(|byte| client.send(*byte));
        (0..2).for_each(|_| client.answered());
        taken(&mut client);
        served.kill();

        let served = next(&mut client, features);
        client.front.set_inflight(said, region.as_fd()).unwrap();
        let base = client.queue.base();
        client.front.place_queue(&client.queue, base).unwrap();
        let kick = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        client.front.call(&Request::SetVringKick(0), &[kick.as_fd()]).unwrap();
        let base = client.front.stop_queue(0).unwrap();
        for _ in 0..3 {
            let done = client.queue.ring.reap().unwrap();
            let done = done.unwrap_or_else(|| panic!("{features:?}: the ring stopped before it was done"));
            assert_eq!(done.written, 1, "{features:?}");
        }
        assert_eq!([1, 3, 5].map(|byte| client.answer_to(byte)), [2, 4, 6]);
        drop((said, region));
        drop(std::mem::replace(&mut client.front, negotiated(Served::start().0, wanted(Features::empty()))));
        served.ended().unwrap();

        let served = next(&mut client, features);
        client.front.attach_queue(&client.queue, base).unwrap();
        client.send(10);
        client.answered();
        assert_eq!(client.answer_to(10), 11);
        drop(client);
        served.ended().unwrap();
    }
}

/// More than one turn's worth.
#[test]
fn however_much_was_in_flight_is_done_before_its_ring_stops() {
    for features in KINDS {
        let (mut client, served, (said, region)) = begun(features, 1024);
        for _ in 0..400 {
            client.send(1);
        }
        taken(&mut client);
        served.kill();
        let served = next(&mut client, features);
        client.front.set_inflight(said, region.as_fd()).unwrap();
        client.front.attach_queue(&client.queue, client.queue.base()).unwrap();
        client.front.stop_queue(0).unwrap();
        let mut done = 0;
        while let Some(one) = client.queue.ring.reap().unwrap() {
            assert_eq!(one.written, 1);
            done += 1;
        }
        assert_eq!(done, 400, "{features:?}");
        drop(client);
        served.ended().unwrap();
    }
}

/// Has one chain at a time, and gives it back in a turn of its own.
struct OneByOne {
    bell: OwnedFd,
    has: Option<Deferred>,
}

impl Device for OneByOne {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        2
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        if self.has.is_none()
            && let Some(held) = guest.take(queue)
        {
            self.has = Some(guest.defer(queue, held));
            write(&self.bell, &1_u64.to_ne_bytes()).unwrap();
        }
    }
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.bell.as_fd()]
    }
    fn ready(&mut self, _: usize, guest: &mut Guest<'_>) {
        let _ = read(&self.bell, &mut [0; 8]);
        if let Some(deferred) = self.has.take() {
            guest.finish(deferred, 0);
        }
    }
}

/// However often a device has its hands full: who waits for it has no more to remember each time.
#[test]
fn what_was_in_flight_may_be_done_one_by_one() {
    const ENTRIES: u16 = 16_384;
    let (mut client, served, (said, region)) = begun(Features::empty(), ENTRIES);
    client.bytes.slice().fill(1);
    let segment = Segment { address: client.bytes.host_address(), length: 1 };
    for _ in 0..ENTRIES {
        client.queue.ring.add(&[segment], &[]).unwrap();
    }
    client.queue.submit().unwrap();
    // 256 in each turn, of which there is one before each message.
    for _ in 0..=ENTRIES / 256 {
        client.front.queues().unwrap();
    }
    served.kill();
    let bell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let (stream, served) = Served::with(OneByOne { bell, has: None });
    client.front = negotiated(stream, wanted(Features::empty()));
    client.front.add_memory(&client.memory).unwrap();
    client.front.set_inflight(said, region.as_fd()).unwrap();
    client.front.place_queue(&client.queue, client.queue.base()).unwrap();
    let kick = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    client.front.call(&Request::SetVringKick(0), &[kick.as_fd()]).unwrap();
    client.front.stop_queue(0).unwrap();
    let mut done = 0;
    while client.queue.ring.reap().unwrap().is_some() {
        done += 1;
    }
    assert_eq!(done, ENTRIES);
    drop(client);
    served.ended().unwrap();
}

/// The region says nothing of a ring that begins anew after a reset, or after it was stopped with nothing in flight.
#[test]
fn a_ring_that_begins_anew_is_not_where_the_region_was() {
    for features in KINDS {
        for stops in [false, true] {
            let (mut client, served, _region) = begun(features, SIZE);
            for byte in [2, 4, 6] {
                client.send(byte);
                client.answered();
            }
            if stops {
                client.front.stop_queue(0).unwrap();
            } else {
                // With something in flight, which is nobody's afterwards.
                client.send(1);
                client.front.reset().unwrap();
            }
            client.queue = client.front.start_queue(0, SIZE, &mut client.memory).unwrap();
            client.send(8);
            client.answered();
            assert_eq!(client.answer_to(8), 9, "{features:?}");
            drop(client);
            served.ended().unwrap();
        }
    }
}

/// A driver that was promised the order does not hear of what is over before what came before it is: it would take both for over.
#[test]
fn a_device_may_give_back_in_any_order() {
    for features in KINDS {
        let (mut client, served, _region) = begun(features, SIZE);
        [1, 2, 3, 4].into_iter().for_each(|byte| client.send(byte));
        taken(&mut client);
        let mut came = Vec::new();
        while let Some(done) = client.queue.ring.reap().unwrap() {
            came.push(done.written);
        }
        // What is odd is kept.
        let expected: &[u32] = if features.contains(Features::IN_ORDER) { &[] } else { &[1, 1] };
        assert_eq!(came, expected, "{features:?}");
        client.front.stop_queue(0).unwrap();
        while let Some(done) = client.queue.ring.reap().unwrap() {
            came.push(done.written);
        }
        let expected = if features.contains(Features::IN_ORDER) { [0, 1, 0, 1] } else { [1, 1, 0, 0] };
        assert_eq!(came, expected, "{features:?}");
        assert_eq!([2, 4].map(|byte| client.answer_to(byte)), [3, 5]);
        drop(client);
        served.ended().unwrap();
    }
}

/// Takes a request, says so, and does it when it is told to.
struct Waits {
    queues: u16,
    begun: Sender<()>,
    goes_on: Receiver<()>,
}

impl Device for Waits {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        self.queues
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        guest.each(queue, |chain| {
            self.begun.send(()).unwrap();
            self.goes_on.recv().unwrap();
            chain.writer().write(&[1]) as u32
        });
    }
}

/// Who goes on while the back-end lives waits until that has finished what it is at: two of them would do it twice.
#[test]
fn a_back_end_that_is_at_work_finishes_before_the_next_begins() {
    let ((begun, begins), (go_on, goes_on)) = (channel(), channel());
    let (stream, first) = Served::with(Waits { queues: 1, begun, goes_on });
    let (next, second) = Served::with(Toy::new());
    let (tried, tries) = channel();
    let mut streams = vec![next, stream];
    let connect = move || {
        tried.send(()).unwrap();
        streams.pop().ok_or(std::io::ErrorKind::ConnectionRefused.into())
    };
    let canceller = Canceller::new().unwrap();
    let features = wanted(Features::empty());
    let mut lasting = Lasting::new(connect, features, TIMEOUT, (1, SIZE), canceller).unwrap();
    tries.recv().unwrap();
    let mut memory = Memory::new(1 << 20).unwrap();
    lasting.add_memory(&memory).unwrap();
    let error = lasting.start_queue(1, SIZE, &mut memory).err().unwrap();
    assert!(matches!(error, CallError::Unremembered { index: 1, .. }), "{error}");
    let error = lasting.start_queue(0, 2 * SIZE, &mut memory).err().unwrap();
    assert!(matches!(error, CallError::Unremembered { most: SIZE, .. }), "{error}");
    let mut queue = lasting.start_queue(0, SIZE, &mut memory).unwrap();
    let segment = Segment { address: memory.part(1, 1).unwrap().host_address(), length: 1 };
    queue.ring.add(&[], &[segment]).unwrap();
    queue.submit().unwrap();
    begins.recv_timeout(TIMEOUT).unwrap();
    std::thread::scope(|scope| {
        let resumed = scope.spawn(|| lasting.resume());
        assert!(tries.recv_timeout(Duration::from_millis(50)).is_err(), "the other is at work");
        go_on.send(()).unwrap();
        resumed.join().unwrap().unwrap();
    });
    tries.try_recv().unwrap();
    first.ended().unwrap();
    assert_eq!(queue.ring.reap().unwrap().map(|done| done.written), Some(1));
    assert_eq!(queue.ring.in_flight(), 0, "the next had nothing to do");
    drop(lasting);
    second.ended().unwrap();
}

/// One that is at work before all its queues have started finishes too, however long that takes, before another is tried.
#[test]
fn a_back_end_whose_queues_start_one_by_one_finishes_before_the_next_begins() {
    let ((begun, begins), (go_on, goes_on)) = (channel(), channel());
    let (stream, first) = Served::with(Toy::new());
    let (at_work, second) = Served::with(Waits { queues: 2, begun, goes_on });
    let (last, third) = Served::with(Toy::new());
    let (tried, tries) = channel();
    let mut streams = vec![last, at_work, stream];
    let connect = move || {
        tried.send(()).unwrap();
        streams.pop().ok_or(std::io::ErrorKind::ConnectionRefused.into())
    };
    // How long the start of the second queue waits for the work of the first.
    let answers = Duration::from_secs(1);
    let canceller = Canceller::new().unwrap();
    let features = wanted(Features::empty());
    let mut lasting = Lasting::new(connect, features, answers, (2, SIZE), canceller).unwrap();
    let mut memory = Memory::new(1 << 20).unwrap();
    lasting.add_memory(&memory).unwrap();
    let mut queue = lasting.start_queue(0, SIZE, &mut memory).unwrap();
    let _other = lasting.start_queue(1, SIZE, &mut memory).unwrap();
    first.kill();
    let segment = Segment { address: memory.part(1, 1).unwrap().host_address(), length: 1 };
    queue.ring.add(&[], &[segment]).unwrap();
    queue.submit().unwrap();
    std::thread::scope(|scope| {
        let resumed = scope.spawn(|| lasting.resume());
        begins.recv_timeout(TIMEOUT).unwrap();
        assert_eq!(tries.try_iter().count(), 2);
        assert!(tries.recv_timeout(answers * 3 / 2).is_err(), "the second is at work");
        go_on.send(()).unwrap();
        resumed.join().unwrap().unwrap();
    });
    assert_eq!(tries.try_iter().count(), 1);
    assert_eq!(queue.ring.reap().unwrap().map(|done| done.written), Some(1));
    assert_eq!(queue.ring.in_flight(), 0, "the third had nothing to do");
    assert!(begins.try_recv().is_err(), "it was done once");
    second.ended().unwrap();
    drop(lasting);
    third.ended().unwrap();
}

//! A disk whose storage does not answer, among many.

use crate::{Served, TIMEOUT, wanted};
use std::sync::mpsc::{Receiver, Sender, channel};
use vhost_user::ProtocolFeatures;
use vhost_user::devices::{Disk, InMemory};
use vhost_user::frontend::{FrontEnd, Queue, Wanted};
use vhost_user::memory::Memory;
use virtio::blk::{self, Failure, Range, Requests, Storage};
use virtio::features::Features;
use virtio::memory::Slice;

/// Discards for as long as it is not told that it is over.
struct Slow {
    memory: InMemory,
    begun: Sender<()>,
    over: Receiver<()>,
}

impl Storage for Slow {
    fn sectors(&self) -> u64 {
        self.memory.sectors()
    }
    fn read(&mut self, place: u64, into: Slice<'_>) -> Result<(), Failure> {
        self.memory.read(place, into)
    }
    fn write(&mut self, place: u64, from: Slice<'_>) -> Result<(), Failure> {
        self.memory.write(place, from)
    }
    fn flush(&mut self) -> Result<(), Failure> {
        self.memory.flush()
    }
    fn discard(&mut self, range: Range) -> Result<(), Failure> {
        self.begun.send(()).unwrap();
        self.over.recv().unwrap();
        self.memory.discard(range)
    }
}

struct Client {
    _front: FrontEnd,
    _memory: Memory,
    queue: Queue,
    requests: Requests,
}

impl Client {
    fn new(stream: std::os::unix::net::UnixStream) -> Self {
        let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
        let features = Features::from_bits_retain((blk::Features::DISCARD | blk::Features::FLUSH).bits());
        let protocol = ProtocolFeatures::REPLY_ACK | ProtocolFeatures::CONFIGURE_MEM_SLOTS;
        front.negotiate(Wanted { protocol, ..wanted(features) }).unwrap();
        let mut memory = Memory::new(1 << 16).unwrap();
        front.add_memory(&memory).unwrap();
        let queue = front.start_queue(0, 8, &mut memory).unwrap();
        let slots = memory.part(Requests::bytes(8), 64).unwrap();
        let address = slots.host_address();
        Self { _front: front, _memory: memory, queue, requests: Requests::new(8, slots, address).unwrap() }
    }

    fn ended(&mut self) {
        loop {
            match self.requests.reap(&mut self.queue.ring).unwrap() {
                Some(done) => return done.result.unwrap(),
                None => assert!(self.queue.wait(TIMEOUT).unwrap(), "it waits for another's storage"),
            }
        }
    }
}

/// A disk through the page cache waits in its session's thread: of 64 sessions it holds up its own.
#[test]
fn a_disk_that_waits_for_its_storage_holds_up_no_other() {
    let ((begun, begins), (over, is_over)) = (channel(), channel());
    let (stream, waits) =
        Served::with(Disk::new(Slow { memory: InMemory::new(64), begun, over: is_over }, 1));
    let mut slow = Client::new(stream);
    slow.requests.discard(&mut slow.queue.ring, 0, 8, 0).unwrap();
    slow.queue.submit().unwrap();
    begins.recv_timeout(TIMEOUT).unwrap();
    let mut others = Vec::new();
    for _ in 1..64 {
        let (stream, served) = Served::with(Disk::new(InMemory::new(64), 1));
        let mut client = Client::new(stream);
        for _ in 0..20 {
            client.requests.flush(&mut client.queue.ring, 0).unwrap();
            client.queue.submit().unwrap();
            client.ended();
        }
        others.push((client, served));
    }
    assert!(slow.requests.reap(&mut slow.queue.ring).unwrap().is_none(), "its storage has not answered");
    over.send(()).unwrap();
    slow.ended();
    drop(slow);
    waits.ended().unwrap();
    for (client, served) in others {
        drop(client);
        served.ended().unwrap();
    }
}

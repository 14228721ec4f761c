//! Rings whose kick, enabling and memory come in another order than usual.

use crate::{Served, TIMEOUT, wanted};
use std::os::fd::AsFd as _;
use vhost_user::front::Request;
use vhost_user::frontend::{CallError, FrontEnd};
use vhost_user::memory::Memory;
use vhost_user::payload::{MemoryTable, Region, SingleRegion, VringState};
use virtio::Segment;
use virtio::blk::Requests;
use virtio::features::Features;

const QUEUE: u16 = 8;

struct Client {
    front: FrontEnd,
    memory: Memory,
    queue: vhost_user::frontend::Queue,
    requests: Requests,
    data: Segment,
    served: Served,
}

fn client() -> Client {
    let (stream, served) = Served::start();
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    front.negotiate(wanted(Features::EVENT_IDX)).unwrap();
    let mut memory = Memory::new(1 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let queue = front.start_queue(0, QUEUE, &mut memory).unwrap();
    let slots = memory.part(Requests::bytes(QUEUE), 64).unwrap();
    let address = slots.host_address();
    let requests = Requests::new(QUEUE, slots, address).unwrap();
    let part = memory.part(512, 512).unwrap();
    let data = Segment { address: part.host_address(), length: 512 };
    Client { front, memory, queue, requests, data, served }
}

impl Client {
    fn enable(&mut self, num: u32) {
        self.front.call(&Request::SetVringEnable(VringState { index: 0, num }), &[]).unwrap();
    }

    fn ask(&mut self) {
        self.requests.read(&mut self.queue.ring, 0, &[self.data], 0).unwrap();
        self.queue.submit().unwrap();
        // Told in any case: what is tested is what comes of it.
        self.queue.kick().unwrap();
    }

    fn answered(&mut self) {
        loop {
            match self.requests.reap(&mut self.queue.ring).unwrap() {
                Some(done) => break done.result.unwrap(),
                None => assert!(self.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}"),
            }
        }
    }

    /// A call later nothing has ended: the back-end looks at kicks before each message.
    fn not_answered(&mut self) {
        self.front.queues().unwrap();
        self.front.queues().unwrap();
        assert_eq!(self.requests.reap(&mut self.queue.ring).unwrap(), None);
    }

    fn region(&self) -> Region {
        let virtio::memory::Region { address, memory } = self.memory.region();
        Region { guest_address: address, size: memory.len() as u64, user_address: address, mmap_offset: 0 }
    }

    fn end(self) {
        drop(self.front);
        self.served.ended().unwrap();
    }
}

#[test]
fn a_kick_before_a_ring_is_enabled_is_not_lost() {
    let mut client = client();
    for _ in 0..20 {
        client.enable(0);
        client.ask();
        client.not_answered();
        client.enable(1);
        client.answered();
    }
    client.end();
}

#[test]
fn a_ring_goes_on_when_its_memory_is_back() {
    let mut client = client();
    let region = client.region();
    let Region { guest_address, size, user_address, mmap_offset } = region;
    let single = SingleRegion { guest_address, size, user_address, mmap_offset };
    for round in 0..20 {
        client.ask();
        client.answered();
        client.front.call(&Request::RemMemReg(single), &[]).unwrap();
        client.ask();
        client.not_answered();
        let descriptor = client.memory.descriptor().try_clone_to_owned().unwrap();
        if round % 2 == 0 {
            client.front.call(&Request::AddMemReg(single), &[descriptor.as_fd()]).unwrap();
        } else {
            let table = MemoryTable { regions: vec![region] };
            client.front.call(&Request::SetMemTable(table), &[descriptor.as_fd()]).unwrap();
        }
        client.answered();
    }
    // A region that is not there, or is another, cannot be taken away.
    let other = SingleRegion { size: size - 1, ..single };
    let error = client.front.call(&Request::RemMemReg(other), &[]).unwrap_err();
    assert!(matches!(error, CallError::Refused { request: "REM_MEM_REG", .. }));
    client.end();
}

#[test]
fn a_ring_goes_on_where_it_stopped() {
    let mut client = client();
    for round in 0..20 {
        client.ask();
        client.answered();
        let base = client.front.stop_queue(0).unwrap();
        assert_eq!(base, 2 * round + 1);
        client.ask();
        client.not_answered();
        client.front.attach_queue(&client.queue, base).unwrap();
        client.answered();
    }
    client.end();
}

/// QEMU 7.2 gives each region once for each pair of a network's queues. It is there once, and no other may be in its place.
#[test]
fn a_region_that_is_given_again_is_there_once() {
    let mut client = client();
    let whole = client.memory.region();
    let (address, size) = (whole.address, whole.memory.len() as u64);
    let single = |size| SingleRegion { guest_address: address, size, user_address: address, mmap_offset: 0 };
    let again = Request::AddMemReg(single(size));
    client.front.call(&again, &[client.memory.descriptor()]).unwrap();
    client.ask();
    client.answered();
    let other = Memory::new(1 << 20).unwrap();
    let refused = |result: Result<_, CallError>| assert!(matches!(result, Err(CallError::Refused { .. })));
    refused(client.front.call(&again, &[other.descriptor()]));
    refused(client.front.call(&Request::AddMemReg(single(size / 2)), &[client.memory.descriptor()]));
    let gone = Request::RemMemReg(single(size));
    client.front.call(&gone, &[]).unwrap();
    refused(client.front.call(&gone, &[]));
    drop(client.front);
    client.served.ended().unwrap();
}

//! Requests through every kind of ring.

use crate::{SECTORS, Served, TIMEOUT, wanted};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vhost_user::frontend::{FrontEnd, Queue};
use vhost_user::memory::Memory;
use virtio::Segment;
use virtio::blk::{Config, Requests, SECTOR};
use virtio::features::Features;

const QUEUE: u16 = 32;

struct Client {
    front: FrontEnd,
    memory: Memory,
    queue: Queue,
    requests: Requests,
    served: Served,
}

fn client(features: Features) -> Client {
    let (stream, served) = Served::start();
    let mut front = FrontEnd::new(stream, TIMEOUT).unwrap();
    let negotiated = front.negotiate(wanted(features)).unwrap();
    assert!(negotiated.features.contains(features), "ours has all of them");
    let mut memory = Memory::new(2 << 20).unwrap();
    front.add_memory(&memory).unwrap();
    let queue = front.start_queue(1, QUEUE, &mut memory).unwrap();
    let slots = memory.part(Requests::bytes(QUEUE), 64).unwrap();
    let address = slots.host_address();
    let requests = Requests::new(QUEUE, slots, address).unwrap();
    Client { front, memory, queue, requests, served }
}

impl Client {
    fn end(&mut self, mut count: usize) {
        self.queue.submit().unwrap();
        while count > 0 {
            match self.requests.reap(&mut self.queue.ring).unwrap() {
                Some(done) => {
                    done.result.unwrap();
                    count -= 1;
                }
                None => assert!(self.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}"),
            }
        }
    }
}

/// Every request writes a part of the disk and reads it back, many times round the ring.
#[test]
fn requests_go_through_every_kind_of_ring() {
    let bits = [Features::RING_PACKED, Features::EVENT_IDX, Features::INDIRECT_DESC, Features::IN_ORDER];
    for set in 0..1_u32 << bits.len() {
        let features =
            (0..).zip(bits).filter(|(bit, _)| set & 1 << bit != 0).map(|(_, it)| it).collect::<Features>();
        let mut client = client(features);
        let config = Config::parse(&client.front.config(0, Config::BYTES as u32).unwrap());
        assert_eq!((config.capacity, config.queues), (SECTORS.into(), 2));
        let parts: Vec<_> = (0..8).map(|_| client.memory.part(1536, 512).unwrap()).collect();
        let segments = |i: usize| {
            let address = parts[i].host_address();
            [Segment { address, length: 512 }, Segment { address: address + 512, length: 1024 }]
        };
        let content = |round: u64, i: usize| vec![(round * 8) as u8 ^ i as u8 | 1; 1536];
        for round in 0..20 {
            for (i, part) in parts.iter().enumerate() {
                part.slice().write(&content(round, i));
                let sector = (round * 8 + i as u64) * 3;
                client.requests.write(&mut client.queue.ring, sector, &segments(i), 0).unwrap();
            }
            client.end(parts.len());
            for (i, part) in parts.iter().enumerate() {
                part.slice().fill(0);
                let sector = (round * 8 + i as u64) * 3;
                client.requests.read(&mut client.queue.ring, sector, &segments(i), 0).unwrap();
            }
            client.end(parts.len());
            for (i, part) in parts.iter().enumerate() {
                let mut read = vec![0; 1536];
                part.slice().read(&mut read);
                assert_eq!(read, content(round, i), "{features:?}, round {round}");
            }
        }
        // Where the ring stopped is where both sides count it.
        let base = client.front.stop_queue(1).unwrap();
        if features.contains(Features::RING_PACKED) {
            let base = virtio::packed::Base::from_bits(base, QUEUE).unwrap();
            assert_eq!(base.available, base.used, "nothing is in flight");
        } else {
            assert_eq!(base, 20 * 16);
        }
        let Client { front, served, .. } = client;
        drop(front);
        served.ended().unwrap();
    }
}

/// Memory comes and goes beside a ring that runs.
#[test]
fn memory_is_added_while_a_ring_runs() {
    let mut client = client(Features::EVENT_IDX);
    for round in 0..8 {
        let mut more = Memory::new(8192).unwrap();
        client.front.add_memory(&more).unwrap();
        let part = more.part(512, 512).unwrap();
        part.slice().fill(round);
        let data = [Segment { address: part.host_address(), length: part.len() as u32 }];
        client.requests.write(&mut client.queue.ring, round.into(), &data, 0).unwrap();
        client.end(1);
        part.slice().fill(0xff);
        client.requests.read(&mut client.queue.ring, round.into(), &data, 0).unwrap();
        client.end(1);
        let mut read = [0; SECTOR as usize];
        part.slice().read(&mut read);
        assert_eq!(read, [round; SECTOR as usize]);
        client.front.remove_memory(&more).unwrap();
    }
}

/// A back-end that calls all the time and gives nothing back is waited for no longer than one that is silent.
#[test]
fn calls_without_anything_used_do_not_prolong_a_wait() {
    let mut client = client(Features::EVENT_IDX);
    let call = client.queue.call().try_clone_to_owned().unwrap();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                rustix::io::write(&call, &1_u64.to_ne_bytes()).unwrap();
                std::thread::yield_now();
            }
        });
        let is_there = client.queue.wait(Duration::from_millis(20));
        let at_once = client.queue.wait(Duration::ZERO);
        ends.store(true, Ordering::Relaxed);
        assert!(!is_there.unwrap() && !at_once.unwrap());
    });
    // What is used is seen as before.
    let data = client.memory.part(512, 512).unwrap();
    let data = [Segment { address: data.host_address(), length: 512 }];
    client.requests.read(&mut client.queue.ring, 0, &data, 0).unwrap();
    client.end(1);
}

//! Our device beside that of the crate `virtio-queue` on the same rings: they take the same chains, use them alike byte by byte, and call
//! in the same moments.
#![cfg(test)]

use proptest::prelude::*;
use std::sync::Arc;
use virtio::memory::{Heap, Region, Regions, Shared, SplitMemory};
use virtio::{Chain, Options, Segment, split};
use virtio_queue::{Queue, QueueT as _};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

const SIZE: u16 = 16;
const MEMORY: usize = 1 << 16;
const AVAIL: usize = 0x1000;
const USED: usize = 0x2000;
const DATA: u64 = 0x4000;

/// A round: chains that are offered, and the order in which they are used.
#[derive(Clone, Debug)]
struct Round {
    /// Lengths of what is read and of what is written.
    chains: Vec<(Vec<u8>, Vec<u8>)>,
    order: Vec<prop::sample::Index>,
    written: u32,
    /// The driver asks to be called after so many more.
    after: u16,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let lengths = || prop::collection::vec(1..32_u8, 0..4);
    let chain =
        (lengths(), lengths()).prop_filter("a chain has a segment", |(a, b)| !(a.is_empty() && b.is_empty()));
    let round = (
        prop::collection::vec(chain, 0..6),
        prop::collection::vec(any::<prop::sample::Index>(), 6),
        0..100_u32,
        1..4_u16,
    );
    let round = round.prop_map(|(chains, order, written, after)| Round { chains, order, written, after });
    prop::collection::vec(round, 1..60)
}

fn cells(memory: &Shared) -> SplitMemory {
    let [table, avail, used] = SplitMemory::bytes(SIZE);
    let part = |at, bytes| memory.piece(at, bytes).unwrap();
    SplitMemory::new(SIZE, part(0, table), part(AVAIL, avail), part(USED, used)).unwrap()
}

fn bytes(memory: &Shared, at: usize, count: usize) -> Vec<u8> {
    let mut all = vec![0; count];
    memory.piece(at, count).unwrap().slice().read(&mut all);
    all
}

fn run(rounds: &[Round], event_index: bool) {
    let options = Options { event_index, ..Options::default() };
    let memory = Shared::whole(Arc::new(Heap::zeroed(MEMORY)));
    let mut regions = Regions::new();
    regions.add(Region { address: 0, memory: memory.clone() }).unwrap();
    let mut driver = split::Driver::new(cells(&memory), options);
    let mut device = split::Device::new(cells(&memory), options);

    // The peer's ring is a copy in memory of its own.
    let theirs = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
    let mut queue = Queue::new(SIZE).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(AVAIL as u64)).unwrap();
    queue.try_set_used_ring_address(GuestAddress(USED as u64)).unwrap();
    queue.set_event_idx(event_index);
    queue.set_ready(true);

    for (number, round) in (1_u8..).zip(rounds) {
        for (read, write) in &round.chains {
            let mut at = DATA;
            let mut place = |length: &u8| {
                let segment = Segment { address: at, length: u32::from(*length) };
                at += u64::from(*length);
                segment
            };
            let read: Vec<_> = read.iter().map(&mut place).collect();
            let write: Vec<_> = write.iter().map(&mut place).collect();
            memory.piece(DATA as usize, 512).unwrap().slice().fill(number);
            // A ring that is full is full for both.
            let _ = driver.add(&read, &write);
        }
        driver.publish();
        driver.want_calls(round.after);
        let all = bytes(&memory, 0, USED);
        theirs.write_slice(&all, GuestAddress(0)).unwrap();
        theirs.write_slice(&bytes(&memory, DATA as usize, 512), GuestAddress(DATA)).unwrap();

        let mut chain = Chain::new();
        let mut taken = Vec::new();
        while let Some(one) = device.take(&&regions, &mut chain).unwrap() {
            let peer = queue.pop_descriptor_chain(&theirs).expect("the peer takes it too");
            assert_eq!(peer.head_index(), one.id());
            let pieces: Vec<_> = peer.collect();
            let lengths = |write| {
                pieces.iter().filter(move |it| it.is_write_only() == write).map(|it| it.len() as usize)
            };
            let own =
                |slices: &[virtio::memory::Slice<'_>]| slices.iter().map(|it| it.len()).collect::<Vec<_>>();
            assert_eq!(own(chain.readable()), lengths(false).collect::<Vec<_>>());
            assert_eq!(own(chain.writable()), lengths(true).collect::<Vec<_>>());
            let mut read = vec![0; chain.readable_bytes() as usize];
            chain.reader().read(&mut read);
            let mut expected = Vec::new();
            for piece in pieces.iter().filter(|piece| !piece.is_write_only()) {
                let mut part = vec![0; piece.len() as usize];
                theirs.read_slice(&mut part, piece.addr()).unwrap();
                expected.extend(part);
            }
            assert_eq!(read, expected);
            taken.push(one);
        }
        assert!(queue.pop_descriptor_chain(&theirs).is_none(), "the peer takes no more");

        for index in &round.order {
            if taken.is_empty() {
                break;
            }
            let one = taken.remove(index.index(taken.len()));
            queue.add_used(&theirs, one.id(), round.written).unwrap();
            device.put(one, round.written);
        }
        while let Some(one) = taken.pop() {
            queue.add_used(&theirs, one.id(), round.written).unwrap();
            device.put(one, round.written);
        }
        device.publish();
        let [_, _, used] = SplitMemory::bytes(SIZE);
        let mut peer = vec![0; used];
        theirs.read_slice(&mut peer, GuestAddress(USED as u64)).unwrap();
        let own = bytes(&memory, USED, used);
        // Without the event field, which each side sets when it waits.
        assert_eq!(own[..used - 2], peer[..used - 2]);
        let called = device.must_call();
        if event_index {
            // Without it the peer always calls.
            assert_eq!(called, queue.needs_notification(&theirs).unwrap());
        }
        while driver.reap().unwrap().is_some() {}
    }
}

proptest! {
    #[test]
    fn chains_are_taken_and_used_as_the_peer_does(rounds in rounds(), event_index: bool) {
        run(&rounds, event_index);
    }
}

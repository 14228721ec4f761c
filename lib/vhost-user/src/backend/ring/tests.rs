//! A ring and its driver.

use super::*;
use crate::backend::inflight;
use crate::payload::Region;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::pread;
use virtio::{Segment, packed};

const SIZE: u16 = 8;

/// A packed ring with an inflight region, and its driver.
struct Setting {
    _ours: crate::memory::Memory,
    memory: Memory,
    inflight: Inflight,
    address: VringAddress,
    driver: packed::Driver<PackedMemory>,
}

const FEATURES: Features = Features::RING_PACKED.union(Features::VERSION_1);

impl Setting {
    fn new() -> Self {
        let ours = crate::memory::Memory::at(0, 1 << 16).unwrap();
        let whole = ours.region().memory;
        let user_address = whole.host_address();
        let region = Region { guest_address: 0, size: 1 << 16, user_address, mmap_offset: 0 };
        let descriptor = ours.descriptor().try_clone_to_owned().unwrap();
        let memory = Memory::of(&[region], vec![descriptor]).unwrap();
        let (said, descriptor) = inflight::create(1, SIZE, true).unwrap();
        let inflight = Inflight::new(&said, &descriptor).unwrap();
        let part = |at: usize, bytes| whole.piece(at, bytes).unwrap();
        let cells = PackedMemory::new(SIZE, part(0, 128), part(4096, 4), part(8192, 4)).unwrap();
        let address = VringAddress {
            descriptors: user_address,
            available: user_address + 4096,
            used: user_address + 8192,
            ..VringAddress::default()
        };
        let driver = packed::Driver::new(cells, FEATURES.options());
        Self { _ours: ours, memory, inflight, address, driver }
    }

    /// A back-end that goes on with what there is.
    fn back_end(&self) -> Ring {
        let mut ring = Ring { size: SIZE, address: Some(self.address), enabled: true, ..Ring::default() };
        let inflight = Some(&self.inflight);
        ring.start(0, &Start { memory: &self.memory, features: FEATURES, inflight }).unwrap();
        ring
    }

    fn offer(&mut self, count: usize) {
        for _ in 0..count {
            self.driver.add(&[], &[Segment { address: 0x3000, length: 4 }]).unwrap();
        }
        self.driver.publish();
    }

    /// How many chains a back-end finds, of which it gives back none.
    fn found(&self, ring: &mut Ring) -> usize {
        let mut chain = Chain::default();
        std::iter::from_fn(|| ring.next(&self.memory, &mut chain).map(drop)).count()
    }
}

fn turn(setting: &Setting, ring: &mut Ring, takes: bool) -> usize {
    ring.due = false;
    ring.begin(true);
    let found = if takes { setting.found(ring) } else { 0 };
    ring.turn_over(None, &setting.memory);
    found
}

#[test]
fn a_ring_that_is_looked_at_needs_no_kicks_until_nobody_looks() {
    let mut setting = Setting::new();
    let mut ring = setting.back_end();
    assert_eq!(turn(&setting, &mut ring, true), 0);
    assert!(!ring.is_due());
    setting.offer(1);
    assert!(!setting.driver.must_kick() && ring.is_due());
    assert_eq!(turn(&setting, &mut ring, true), 1);
    assert!(!ring.is_due());
    // What comes in the last moment is seen, and what comes later is kicked for.
    setting.offer(1);
    assert!(!setting.driver.must_kick());
    ring.unwatch(None);
    assert!(ring.is_due());
    assert_eq!(turn(&setting, &mut ring, true), 1);
    ring.unwatch(None);
    assert!(!ring.is_due());
    setting.offer(1);
    assert!(setting.driver.must_kick());
}

#[test]
fn a_ring_that_stops_while_it_is_looked_at_leaves_no_driver_silent() {
    let mut setting = Setting::new();
    let mut ring = setting.back_end();
    assert_eq!(turn(&setting, &mut ring, true), 0);
    setting.offer(1);
    assert!(!setting.driver.must_kick(), "somebody looks");
    let epoll = rustix::event::epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    ring.stop(&epoll, None, true);
    assert!(!ring.is_watched());
    setting.offer(1);
    assert!(setting.driver.must_kick(), "nobody looks any more");
}

/// A migration that has sent the page of events hears that it has to be sent again.
#[test]
fn who_asks_for_kicks_again_writes_it_down() {
    const EVENTS: u64 = 8192;
    let mut setting = Setting::new();
    setting.address = VringAddress { flags: 1, log: EVENTS, ..setting.address };
    for stop in [Ring::unwatch, Ring::pause] as [fn(&mut Ring, Option<&Log>); 2] {
        let bits = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&bits, 4096).unwrap();
        let log = Log::new(4096, 0, &bits).unwrap();
        let mut ring = setting.back_end();
        assert_eq!(turn(&setting, &mut ring, true), 0);
        stop(&mut ring, Some(&log));
        let mut byte = [0];
        pread(&bits, &mut byte, 0).unwrap();
        assert_eq!(byte, [1 << (EVENTS / 4096)]);
    }
}

#[test]
fn what_a_device_leaves_is_no_work_until_more_comes() {
    let mut setting = Setting::new();
    let mut ring = setting.back_end();
    setting.offer(1);
    while ring.is_due() {
        turn(&setting, &mut ring, false);
    }
    ring.unwatch(None);
    assert!(!ring.is_due());
    setting.driver.must_kick();
    setting.offer(1);
    assert!(setting.driver.must_kick(), "it is told of the next");
}

/// A back-end gives back all there is and dies before it has written that down. The driver goes on meanwhile, and offers the same places
/// again: what is there now is no used entry, and was one.
#[test]
fn what_the_driver_saw_is_done_though_it_offered_the_place_again() {
    for again in 0..=usize::from(SIZE) {
        let mut setting = Setting::new();
        setting.offer(SIZE.into());
        let mut first = setting.back_end();
        let mut chain = Chain::default();
        let all: Vec<_> = std::iter::from_fn(|| first.next(&setting.memory, &mut chain)).collect();
        assert_eq!(all.len(), usize::from(SIZE));
        all.into_iter().for_each(|taken| first.put(taken, 4));
        // Published, and no more.
        let Some(Queue::Packed(queue)) = &mut first.queue else { panic!("it is packed") };
        queue.publish();
        drop(first);
        for _ in 0..SIZE {
            assert!(setting.driver.reap().unwrap().is_some());
        }
        setting.offer(again);
        let mut second = setting.back_end();
        assert_eq!(setting.found(&mut second), again, "what is done is not done again");
    }
}

/// Several chains are given back at once, and the back-end dies when all but the first are written: nobody saw any of them, and nobody
/// may see the others before the first.
#[test]
fn a_batch_that_a_crash_cut_is_not_seen_in_part() {
    let mut setting = Setting::new();
    setting.offer(3);
    let mut first = setting.back_end();
    for _ in 0..3 {
        let mut chain = Chain::default();
        let taken = first.next(&setting.memory, &mut chain).unwrap();
        first.put(taken, 4);
    }
    // It dies before it publishes.
    drop(first);
    assert_eq!(setting.driver.reap().unwrap(), None);
    let mut second = setting.back_end();
    let mut chain = Chain::default();
    let taken = second.next(&setting.memory, &mut chain).unwrap();
    second.put(taken, 4);
    second.publish();
    assert!(setting.driver.reap().unwrap().is_some());
    assert_eq!(setting.driver.reap().unwrap(), None, "the others are in flight");
}

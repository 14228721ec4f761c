//! The other side writes anything at all into the ring.

use crate::pair::{AnyDevice, AnyDriver, DATA, Kind, pair};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use virtio::cells::{Descriptor, INDIRECT, NEXT, Packed, PackedCells, SplitCells, WRITE};
use virtio::memory::{Heap, PackedMemory, Region, Regions, Shared, SplitMemory};
use virtio::{Chain, Fault, Options, Segment, packed, split};

const SIZE: u16 = 8;

/// A split ring whose driver is the test.
struct Split {
    cells: SplitMemory,
    device: split::Device<SplitMemory>,
    regions: Regions,
    data: Shared,
}

fn split(options: Options) -> Split {
    let memory = Shared::whole(Arc::new(Heap::zeroed(8192)));
    let cells = || {
        let [table, avail, used] = SplitMemory::bytes(SIZE);
        let part = |at, bytes| memory.piece(at, bytes).unwrap();
        SplitMemory::new(SIZE, part(0, table), part(1024, avail), part(2048, used)).unwrap()
    };
    let mut regions = Regions::new();
    let data = memory.piece(4096, 4096).unwrap();
    regions.add(Region { address: DATA, memory: data.clone() }).unwrap();
    Split { cells: cells(), device: split::Device::new(cells(), options), regions, data }
}

impl Split {
    /// What the device says of these descriptors, if the first is offered.
    fn offered(mut self, descriptors: &[Descriptor]) -> Fault {
        for (entry, at) in descriptors.iter().zip(0..) {
            self.cells.set_descriptor(at, *entry);
        }
        self.cells.set_avail_index(1);
        self.fault()
    }

    fn fault(&mut self) -> Fault {
        let mut chain = Chain::new();
        let fault = self.device.take(&&self.regions, &mut chain).unwrap_err();
        self.cells.set_avail_index(2);
        let again = self.device.take(&&self.regions, &mut chain).unwrap_err();
        assert_eq!(fault, again, "a ring stays broken");
        fault
    }
}

fn entry(flags: u16, next: u16) -> Descriptor {
    Descriptor { address: DATA, length: 16, flags, next }
}

const INDIRECT_TOO: Options = Options { event_index: false, indirect: true, in_order: false };

#[test]
fn chains_that_loop_or_leave_the_table_are_refused() {
    let plain = Options::default;
    assert_eq!(split(plain()).offered(&[entry(NEXT, 0)]), Fault::Loop { size: SIZE });
    assert_eq!(split(plain()).offered(&[entry(NEXT, 1), entry(NEXT, 0)]), Fault::Loop { size: SIZE });
    assert_eq!(split(plain()).offered(&[entry(NEXT, SIZE)]), Fault::Descriptor { index: SIZE, size: SIZE });
    assert_eq!(split(plain()).offered(&[entry(WRITE | NEXT, 1), entry(0, 0)]), Fault::Order { index: 1 });
    let mut ring = split(plain());
    ring.cells.set_avail_entry(0, u16::MAX);
    ring.cells.set_avail_index(1);
    assert_eq!(ring.fault(), Fault::Descriptor { index: u16::MAX, size: SIZE });
    let mut ring = split(plain());
    ring.cells.set_avail_index(SIZE + 1);
    let mut chain = Chain::new();
    let fault = ring.device.take(&&ring.regions, &mut chain).unwrap_err();
    assert_eq!(fault, Fault::Index { from: 0, to: SIZE + 1, size: SIZE });
}

#[test]
fn segments_that_are_no_memory_are_refused() {
    let beyond = Descriptor { address: DATA + 4090, length: 7, ..entry(0, 0) };
    let fault = split(Options::default()).offered(&[beyond]);
    assert_eq!(fault, Fault::Address { address: DATA + 4090, length: 7 });
    let wrapped = Descriptor { address: u64::MAX, length: 2, ..entry(0, 0) };
    let fault = split(Options::default()).offered(&[wrapped]);
    assert_eq!(fault, Fault::Address { address: u64::MAX, length: 2 });
    // Together 4 GiB, over and over the same page.
    let mut ring = split(Options::default());
    let huge = Shared::whole(Arc::new(Heap::zeroed(1 << 20)));
    ring.regions.add(Region { address: 0, memory: huge }).unwrap();
    let most = Descriptor { address: 0, length: 1 << 20, ..entry(NEXT, 1) };
    let rest = Descriptor { address: 0, length: u32::MAX - (1 << 20) + 1, ..entry(0, 0) };
    assert_eq!(ring.offered(&[most, rest]), Fault::Length);
}

#[test]
fn indirect_tables_are_taken_where_they_may_be_and_checked() {
    let table = |length| Descriptor { length, ..entry(INDIRECT, 0) };
    assert_eq!(
        split(Options::default()).offered(&[table(16)]),
        Fault::Indirect { index: 0 },
        "not negotiated"
    );
    let followed = Descriptor { flags: INDIRECT | NEXT, next: 1, ..table(16) };
    assert_eq!(split(INDIRECT_TOO).offered(&[followed, entry(0, 0)]), Fault::Indirect { index: 0 });
    for bytes in [0, 15, 17, 16 * (u32::from(SIZE) + 1), u32::MAX] {
        assert_eq!(split(INDIRECT_TOO).offered(&[table(bytes)]), Fault::IndirectLength { bytes });
    }
    // What is in the table: itself again, a loop, an entry beyond the end.
    let with_table = |first: [u8; 16], second: [u8; 16]| {
        let ring = split(INDIRECT_TOO);
        ring.data.slice().write(&first);
        ring.data.piece(16, 16).unwrap().slice().write(&second);
        ring.offered(&[table(32)])
    };
    let bytes = |flags: u16, next: u16| {
        let mut all = [0; 16];
        all[..8].copy_from_slice(&DATA.to_le_bytes());
        all[8..12].copy_from_slice(&32_u32.to_le_bytes());
        all[12..14].copy_from_slice(&flags.to_le_bytes());
        all[14..].copy_from_slice(&next.to_le_bytes());
        all
    };
    assert_eq!(with_table(bytes(INDIRECT, 0), bytes(0, 0)), Fault::Indirect { index: 0 });
    assert_eq!(with_table(bytes(NEXT, 0), bytes(0, 0)), Fault::Loop { size: 2 });
    assert_eq!(with_table(bytes(NEXT, 1), bytes(NEXT, 0)), Fault::Loop { size: 2 });
    assert_eq!(with_table(bytes(NEXT, 2), bytes(0, 0)), Fault::Descriptor { index: 2, size: 2 });
    assert_eq!(with_table(bytes(WRITE | NEXT, 1), bytes(0, 0)), Fault::Order { index: 1 });
}

/// Chains of a packed ring that go round into what the device still has.
#[test]
fn a_packed_chain_ends_before_what_the_device_has() {
    let memory = Shared::whole(Arc::new(Heap::zeroed(8192)));
    let cells = || {
        let part = |at, bytes| memory.piece(at, bytes).unwrap();
        PackedMemory::new(4, part(0, 64), part(1024, 4), part(2048, 4)).unwrap()
    };
    let mut regions = Regions::new();
    regions.add(Region { address: DATA, memory: memory.piece(4096, 4096).unwrap() }).unwrap();
    let driver = cells();
    let mut device = packed::Device::new(cells(), Options::default());
    let available = virtio::cells::AVAILABLE;
    let offer = |place, flags| {
        driver.set_address(place, DATA);
        driver.set_state(place, Packed { length: 1, id: place, flags });
    };
    offer(0, available);
    let mut chain = Chain::new();
    let _lost = device.take(&&regions, &mut chain).unwrap().unwrap();
    for place in 1..4 {
        offer(place, available | NEXT);
    }
    let fault = device.take(&&regions, &mut chain).unwrap_err();
    assert_eq!(fault, Fault::Loop { size: 4 });
}

fn scribble(ring: &Shared, noise: &[(u16, u64)], span: usize) {
    for (at, value) in noise {
        // All that lies in the first kibibytes, where the table and the indices are.
        let at = usize::from(*at) % (span / 8) * 8;
        ring.piece(at, 8).unwrap().slice().write(&value.to_le_bytes());
    }
}

proptest! {
    /// A device on memory of which the driver writes anything: no panic, no chain longer than the ring, an end.
    #[test]
    fn a_device_survives_any_ring(
        is_packed: bool, options in (any::<bool>(), any::<bool>()),
        noise in prop::collection::vec((any::<u16>(), any::<u64>()), 0..64),
    ) {
        let kind = if is_packed { Kind::Packed } else { Kind::Split };
        let options = Options { event_index: options.0, indirect: options.1, in_order: false };
        let mut pair = pair(kind, SIZE, options, options.indirect, 4096);
        // Small addresses, so that some segments are memory.
        pair.regions.add(Region { address: 0, memory: pair.data.piece(0, 256).unwrap() }).unwrap();
        let mut chain = Chain::new();
        for part in noise.chunks(8) {
            scribble(&pair.ring, part, 128);
            scribble(&pair.ring.piece(0x80000, 1024).unwrap(), part, 24);
            for _ in 0..=SIZE {
                match pair.device.take(&&pair.regions, &mut chain) {
                    Ok(Some(taken)) => {
                        prop_assert!(taken.places() >= 1 && taken.places() <= SIZE);
                        let pieces = chain.readable().len() + chain.writable().len();
                        prop_assert!(pieces <= 3 * usize::from(SIZE));
                        let sum: usize = chain.readable().iter().chain(chain.writable()).map(|p| p.len()).sum();
                        prop_assert_eq!(sum, chain.readable_bytes() as usize + chain.writable_bytes() as usize);
                        pair.device.put(taken, 0);
                    }
                    Ok(None) | Err(_) => break,
                }
            }
            pair.device.publish();
            pair.device.must_call();
            pair.device.want_kicks();
        }
    }

    /// A driver on memory of which the device writes anything: no panic, and no chain comes back twice.
    #[test]
    fn a_driver_survives_any_ring(
        is_packed: bool, options in (any::<bool>(), any::<bool>()),
        noise in prop::collection::vec((any::<u16>(), any::<u64>()), 0..64),
    ) {
        let kind = if is_packed { Kind::Packed } else { Kind::Split };
        let options = Options { event_index: options.0, indirect: false, in_order: options.1 };
        let mut pair = pair(kind, SIZE, options, false, 4096);
        let mut out = BTreeSet::new();
        for part in noise.chunks(8) {
            while let Ok(token) = pair.driver.add(&[Segment { address: DATA, length: 1 }], &[Segment { address: DATA, length: 2 }]) {
                prop_assert!(out.insert(token));
            }
            pair.driver.publish();
            pair.driver.must_kick();
            scribble(&pair.ring, part, 128);
            scribble(&pair.ring.piece(0xc0000, 1024).unwrap(), part, 72);
            for _ in 0..=SIZE {
                match pair.driver.reap() {
                    Ok(Some(done)) => {
                        prop_assert!(out.remove(&done.token), "{:?} came back twice", done.token);
                        prop_assert!(done.written <= 2);
                    }
                    Ok(None) | Err(_) => break,
                }
            }
            prop_assert_eq!(usize::from(pair.driver.in_flight()), out.len());
            pair.driver.want_calls(1);
        }
    }
}

/// What the device says that it wrote is never more than it could.
#[test]
fn a_device_that_says_it_wrote_too_much_is_not_believed() {
    for kind in [Kind::Split, Kind::Packed] {
        let mut pair = pair(kind, SIZE, Options::default(), false, 4096);
        let token = pair.driver.add(&[], &[Segment { address: DATA, length: 5 }]).unwrap();
        pair.driver.publish();
        let mut chain = Chain::new();
        let taken = pair.device.take(&&pair.regions, &mut chain).unwrap().unwrap();
        pair.device.put(taken, 6);
        pair.device.publish();
        let done = pair.driver.reap().unwrap().unwrap();
        assert_eq!((done.token, done.written, done.overlong), (token, 5, true));
    }
}

/// In order, an entry names a chain that is as far ahead as the index went.
#[test]
fn a_batch_is_as_long_as_the_index_says() {
    let options = Options { in_order: true, ..Options::default() };
    for (index, whole) in [(1_u16, false), (2, true)] {
        let mut pair = pair(Kind::Split, SIZE, options, false, 4096);
        let add = |_| pair.driver.add(&[], &[Segment { address: DATA, length: 4 }]).unwrap();
        let [first, second] = [0, 1].map(add);
        pair.driver.publish();
        let [_, _, used] = SplitMemory::bytes(SIZE);
        let used = pair.ring.piece(0xc0000, used).unwrap();
        let [id, written] = [u32::from(second.0), 1].map(u32::to_le_bytes);
        used.piece(4, 4).unwrap().slice().write(&id);
        used.piece(8, 4).unwrap().slice().write(&written);
        used.piece(2, 2).unwrap().slice().write(&index.to_le_bytes());
        if whole {
            let done = [0, 1].map(|_| pair.driver.reap().unwrap().map(|done| (done.token, done.written)));
            assert_eq!(done, [Some((first, 4)), Some((second, 1))], "those before the last were used whole");
            assert_eq!(pair.driver.reap(), Ok(None));
        } else {
            assert_eq!(pair.driver.reap(), Err(Fault::Unknown { id: u32::from(second.0) }));
        }
    }
}

/// The same chain twice, one that was never offered, an index that jumps.
#[test]
fn a_driver_refuses_what_it_did_not_offer() {
    for id in [3, u32::MAX] {
        let mut pair = pair(Kind::Split, SIZE, Options::default(), false, 4096);
        pair.driver.add(&[Segment { address: DATA, length: 1 }], &[]).unwrap();
        pair.driver.publish();
        let [_, _, used] = SplitMemory::bytes(SIZE);
        let used = pair.ring.piece(0xc0000, used).unwrap();
        used.piece(4, 4).unwrap().slice().write(&id.to_le_bytes());
        used.piece(2, 2).unwrap().slice().write(&1_u16.to_le_bytes());
        assert_eq!(pair.driver.reap(), Err(Fault::Unknown { id }));
        assert_eq!(pair.driver.reap(), Err(Fault::Unknown { id }), "a ring stays broken");
    }
    let mut pair = pair(Kind::Split, SIZE, Options::default(), false, 4096);
    pair.ring.piece(0xc0002, 2).unwrap().slice().write(&1_u16.to_le_bytes());
    assert_eq!(pair.driver.reap(), Err(Fault::Index { from: 0, to: 1, size: SIZE }));
    assert!(matches!((&pair.driver, &pair.device), (AnyDriver::Split(_), AnyDevice::Split(_))));
}

//! The other side writes anything at all into the ring.

use crate::pair::{AnyDevice, AnyDriver, DATA, Kind, TABLES, pair};
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
    for bytes in [0, 15, 17, 16 * 1025, u32::MAX] {
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

/// Linux makes tables that are longer than the ring, and a table may lie in two regions.
#[test]
fn a_table_may_be_longer_than_the_ring_and_in_pieces() {
    for cut in [None, Some(16 * 5), Some(16 * 5 + 3)] {
        for linked in [true, false] {
            let mut pair =
                pair(if linked { Kind::Split } else { Kind::Packed }, SIZE, INDIRECT_TOO, false, 4096);
            let entries = 2 * u32::from(SIZE);
            let table = Shared::whole(Arc::new(Heap::zeroed(16 * entries as usize)));
            for at in 0..entries {
                let flags = if linked && at + 1 < entries { NEXT } else { 0 };
                let rest = u64::from(at + 1) | u64::from(flags) << 32 | u64::from(at as u16 + 1) << 48;
                let place = table.piece(16 * at as usize, 16).unwrap();
                place.slice().write(&DATA.to_le_bytes());
                let rest = if linked { rest } else { u64::from(at + 1) };
                place.piece(8, 8).unwrap().slice().write(&rest.to_le_bytes());
            }
            let whole = table.len();
            let add = |regions: &mut Regions, from: usize, to: usize| {
                let memory = table.piece(from, to - from).unwrap();
                regions.add(Region { address: TABLES + from as u64, memory }).unwrap();
            };
            add(&mut pair.regions, 0, cut.unwrap_or(whole));
            if let Some(cut) = cut {
                add(&mut pair.regions, cut, whole);
            }
            let (address, length) = (TABLES, 16 * entries);
            match &pair.device {
                AnyDevice::Split(_) => {
                    let cells = pair.split();
                    cells.set_descriptor(0, Descriptor { address, length, flags: INDIRECT, next: 0 });
                    cells.set_avail_index(1);
                }
                AnyDevice::Packed(_) => {
                    let cells = pair.packed();
                    cells.set_address(0, address);
                    cells.set_state(0, Packed { length, id: 7, flags: INDIRECT | virtio::cells::AVAILABLE });
                }
            }
            let mut chain = Chain::new();
            let _taken = pair.device.take(&&pair.regions, &mut chain).unwrap().unwrap();
            let lengths: Vec<_> = chain.readable().iter().map(|piece| piece.len()).collect();
            assert_eq!(lengths, (1..=entries as usize).collect::<Vec<_>>());
        }
    }
}

/// A name that the device has already is not offered again.
#[test]
fn a_chain_is_not_taken_twice() {
    let ring = split(Options::default());
    ring.cells.set_descriptor(3, entry(0, 0));
    for slot in 0..2 {
        ring.cells.set_avail_entry(slot, 3);
    }
    ring.cells.set_avail_index(2);
    let Split { mut device, regions, .. } = ring;
    let mut chain = Chain::new();
    let taken = device.take(&&regions, &mut chain).unwrap().unwrap();
    assert_eq!(device.take(&&regions, &mut chain).unwrap_err(), Fault::Twice { id: taken.id() });

    for given_back in [false, true] {
        let mut chain = Chain::new();
        let mut pair = pair(Kind::Packed, SIZE, Options::default(), false, 4096);
        let cells = pair.packed();
        for place in 0..2 {
            cells.set_address(place, DATA);
            cells.set_state(place, Packed { length: 1, id: 0xfff0, flags: virtio::cells::AVAILABLE });
        }
        let taken = pair.device.take(&&pair.regions, &mut chain).unwrap().unwrap();
        if given_back {
            pair.device.put(taken, 0);
            let again = pair.device.take(&&pair.regions, &mut chain).unwrap().unwrap();
            assert_eq!(again.id(), 0xfff0, "an id is the driver's to choose");
        } else {
            assert_eq!(
                pair.device.take(&&pair.regions, &mut chain).unwrap_err(),
                Fault::Twice { id: 0xfff0 }
            );
        }
    }
}

/// Chains of a packed ring that break its rules.
#[test]
fn packed_chains_that_break_a_rule_are_refused() {
    let offered = |options: Options, entries: &[(u16, u32)]| {
        let mut pair = pair(Kind::Packed, SIZE, options, false, 4096);
        let cells = pair.packed();
        for (place, (flags, length)) in (0..).zip(entries) {
            cells.set_address(place, DATA);
            cells.set_state(
                place,
                Packed { length: *length, id: place, flags: flags | virtio::cells::AVAILABLE },
            );
        }
        pair.device.take(&&pair.regions, &mut Chain::new()).unwrap_err()
    };
    let plain = Options::default();
    assert_eq!(offered(plain, &[(WRITE | NEXT, 1), (0, 1)]), Fault::Order { index: 1 });
    assert_eq!(offered(plain, &[(INDIRECT, 16)]), Fault::Indirect { index: 0 });
    assert_eq!(offered(INDIRECT_TOO, &[(INDIRECT | NEXT, 16), (0, 1)]), Fault::Indirect { index: 0 });
    assert_eq!(offered(INDIRECT_TOO, &[(NEXT, 1), (INDIRECT, 16)]), Fault::Indirect { index: 1 });
    assert_eq!(offered(INDIRECT_TOO, &[(INDIRECT, 24)]), Fault::IndirectLength { bytes: 24 });
    assert_eq!(offered(plain, &[(NEXT, 1); SIZE as usize]), Fault::Loop { size: SIZE });
    assert_eq!(offered(plain, &[(0, 1 << 20)]), Fault::Address { address: DATA, length: 1 << 20 });
}

/// In order, one entry of a packed ring closes a batch, and who waits in the middle of one is told that there is more.
#[test]
fn a_batch_of_a_packed_ring_comes_back_whole() {
    let options = Options { in_order: true, event_index: true, ..Options::default() };
    let mut pair = pair(Kind::Packed, SIZE, options, false, 4096);
    let add = |_| pair.driver.add(&[], &[Segment { address: DATA, length: 4 }]).unwrap();
    let tokens = [0, 1, 2].map(add);
    pair.driver.publish();
    let flags = virtio::cells::AVAILABLE | virtio::cells::USED | WRITE;
    pair.packed().set_state(0, Packed { length: 1, id: tokens[2].0, flags });
    let first = pair.driver.reap().unwrap().unwrap();
    assert_eq!((first.token, first.written), (tokens[0], 4));
    assert!(pair.driver.want_calls(1), "the batch is not at its end");
    let rest = [0, 1].map(|_| pair.driver.reap().unwrap().map(|done| (done.token, done.written)));
    assert_eq!(rest, [Some((tokens[1], 4)), Some((tokens[2], 1))], "those before the last were used whole");
    assert_eq!(pair.driver.reap(), Ok(None));
    assert!(!pair.driver.want_calls(1));
}

/// Where a used entry of a packed ring does not say that something was written, its length counts as far as something could be.
#[test]
fn a_length_counts_where_something_could_be_written() {
    let one: &[Segment] = &[Segment { address: DATA, length: 5 }];
    let (read, write): ([&[Segment]; 2], [&[Segment]; 2]) = ([one, &[]], [&[], one]);
    for ([readable, writable], flag, length, expected) in [
        (write, WRITE, 3, (3, false)),
        (write, WRITE, 9, (5, true)),
        // QEMU's devices.
        (write, 0, 3, (3, false)),
        (write, 0, 9, (5, false)),
        // DPDK's, of a frame that was sent.
        (read, 0, 5, (0, false)),
        (read, WRITE, 5, (0, true)),
    ] {
        let mut pair = pair(Kind::Packed, SIZE, Options::default(), false, 4096);
        let token = pair.driver.add(readable, writable).unwrap();
        pair.driver.publish();
        let flags = virtio::cells::AVAILABLE | virtio::cells::USED | flag;
        pair.packed().set_state(0, Packed { length, id: token.0, flags });
        let done = pair.driver.reap().unwrap().unwrap();
        assert_eq!((done.written, done.overlong), expected, "{flag} {length}");
    }
}

/// A device cannot have used what it was not told of.
#[test]
fn what_was_not_published_does_not_come_back() {
    for in_order in [false, true] {
        let options = Options { in_order, ..Options::default() };
        let mut pair = pair(Kind::Split, SIZE, options, false, 4096);
        let mut add = || pair.driver.add(&[Segment { address: DATA, length: 1 }], &[]).unwrap();
        let [_published, kept] = [add(), {
            pair.driver.publish();
            pair.driver.add(&[Segment { address: DATA, length: 1 }], &[]).unwrap()
        }];
        let cells = pair.split();
        cells.set_used_entry(0, kept.0.into(), 0);
        cells.set_used_index(1);
        assert_eq!(pair.driver.reap(), Err(Fault::Unknown { id: kept.0.into() }));
    }
    let mut pair = pair(Kind::Packed, SIZE, Options::default(), false, 4096);
    pair.driver.add(&[Segment { address: DATA, length: 1 }], &[]).unwrap();
    pair.driver.publish();
    let kept = pair.driver.add(&[Segment { address: DATA, length: 1 }], &[]).unwrap();
    let flags = virtio::cells::AVAILABLE | virtio::cells::USED;
    pair.packed().set_state(0, Packed { length: 0, id: kept.0, flags });
    assert_eq!(pair.driver.reap(), Err(Fault::Unknown { id: kept.0.into() }));
}

/// What was offered first comes first, also when it was long ago.
#[test]
fn the_oldest_chain_stays_the_oldest() {
    for kind in [Kind::Split, Kind::Packed] {
        let mut pair = pair(kind, SIZE, Options::default(), false, 4096);
        let mut chain = Chain::new();
        let crate::pair::Pair { driver, device, regions, .. } = &mut pair;
        let add = |driver: &mut AnyDriver| driver.add(&[Segment { address: DATA, length: 1 }], &[]).unwrap();
        let oldest = add(driver);
        driver.publish();
        let kept = device.take(&&*regions, &mut chain).unwrap().unwrap();
        for _ in 0..(1 << 16) - 1 {
            add(driver);
            driver.publish();
            let taken = device.take(&&*regions, &mut chain).unwrap().unwrap();
            device.put(taken, 0);
            device.publish();
            driver.reap().unwrap().unwrap();
        }
        let newest = add(driver);
        assert_eq!(driver.outstanding(), [oldest, newest]);
        device.put(kept, 0);
        device.publish();
        driver.publish();
        assert_eq!(driver.reap().unwrap().unwrap().token, oldest);
    }
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

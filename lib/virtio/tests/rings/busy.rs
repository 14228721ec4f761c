//! Drivers that publish while the device looks how far they are, for ever.

use std::cell::Cell;
use std::sync::Arc;
use virtio::cells::{AVAILABLE, Descriptor, NEXT, Packed, PackedCells, SplitCells, Suppression};
use virtio::memory::{Heap, Region, Regions, Shared};
use virtio::{Chain, Options, packed, split};

/// Memory that says something else each time it is read.
#[derive(Default)]
struct Busy(Cell<u16>);

impl Busy {
    fn next(&self) -> u16 {
        let next = self.0.get().wrapping_add(1);
        assert!(next < 100, "the device does not come to an end");
        self.0.replace(next)
    }
}

impl SplitCells for Busy {
    fn size(&self) -> u16 {
        8
    }
    /// One that goes on and one that does not by turns.
    fn descriptor(&self, _: u16) -> Descriptor {
        let number = self.next();
        Descriptor {
            length: number.into(),
            flags: if number % 2 == 1 { NEXT } else { 0 },
            next: 5,
            address: 0,
        }
    }
    fn set_descriptor(&self, _: u16, _: Descriptor) {}
    fn avail_flags(&self) -> u16 {
        0
    }
    fn set_avail_flags(&self, _: u16) {}
    fn avail_index(&self) -> u16 {
        self.next()
    }
    fn set_avail_index(&self, _: u16) {}
    fn avail_entry(&self, _: u16) -> u16 {
        self.next()
    }
    fn set_avail_entry(&self, _: u16, _: u16) {}
    fn used_event(&self) -> u16 {
        0
    }
    fn set_used_event(&self, _: u16) {}
    fn used_flags(&self) -> u16 {
        0
    }
    fn set_used_flags(&self, _: u16) {}
    fn used_index(&self) -> u16 {
        0
    }
    fn set_used_index(&self, _: u16) {}
    fn used_entry(&self, _: u16) -> (u32, u32) {
        (0, 0)
    }
    fn set_used_entry(&self, _: u16, _: u32, _: u32) {}
    fn avail_event(&self) -> u16 {
        0
    }
    fn set_avail_event(&self, _: u16) {}
    fn fence(&self) {}
}

impl PackedCells for Busy {
    fn size(&self) -> u16 {
        8
    }
    /// Offered and taken back by turns; the first goes on in the next.
    fn state(&self, place: u16) -> Packed {
        let number = self.next();
        let flags = if number % 2 == 1 { AVAILABLE } else { 0 } | if place == 0 { NEXT } else { 0 };
        Packed { length: number.into(), id: 7, flags }
    }
    fn set_state(&self, _: u16, _: Packed) {}
    fn address(&self, _: u16) -> u64 {
        self.next().into()
    }
    fn set_address(&self, _: u16, _: u64) {}
    fn driver_event(&self) -> Suppression {
        Suppression::default()
    }
    fn set_driver_event(&self, _: Suppression) {}
    fn device_event(&self) -> Suppression {
        Suppression::default()
    }
    fn set_device_event(&self, _: Suppression) {}
    fn fence(&self) {}
}

#[test]
fn a_driver_that_never_pauses_does_not_hold_the_device() {
    for event_index in [false, true] {
        let options = Options { event_index, ..Options::default() };
        assert!(split::Device::new(Busy::default(), options).want_more_kicks());
        assert!(packed::Device::new(Busy::default(), options).want_more_kicks());
    }
}

/// Memory of 64 bytes.
fn some() -> Regions {
    let mut regions = Regions::new();
    let memory = Shared::whole(Arc::new(Heap::zeroed(64)));
    regions.add(Region { address: 0, memory }).unwrap();
    regions
}

/// What is checked of a descriptor is what is used of it: the second reading would find another.
#[test]
fn descriptors_of_a_split_ring_are_read_once() {
    let regions = some();
    let mut device = split::Device::new(Busy::default(), Options::default());
    let mut chain = Chain::new();
    assert!(device.take(&&regions, &mut chain).unwrap().is_none(), "it begins with nothing");
    let taken = device.take(&&regions, &mut chain).unwrap().expect("one is published");
    // The index was 1, so that the head is 2, and the segments have 3 and 4 bytes.
    assert_eq!((taken.id(), chain.reader().remaining()), (2, 3 + 4));
}

/// What is told of a chain is what was read for it, however often its driver writes it anew.
#[test]
fn descriptors_are_noted_as_they_were_read() {
    let regions = some();
    let mut device = packed::Device::new(Busy::default(), Options::default());
    let (mut chain, mut noted) = (Chain::new(), Vec::new());
    assert!(device.take(&&regions, &mut chain).unwrap().is_none(), "it begins with nothing");
    let taken = device.take_noting(&&regions, &mut chain, |address, rest| noted.push((address, rest)));
    assert_eq!(taken.unwrap().map(|taken| (taken.id(), taken.places())), Some((7, 2)));
    let entry = |length, flags| Packed { length, id: 7, flags };
    // Anything that was read twice would have another number, and those after it too.
    assert_eq!(noted, [(2, entry(1, AVAILABLE | NEXT)), (4, entry(3, AVAILABLE))]);
    assert_eq!(chain.reader().remaining(), 4, "and these were given");
}

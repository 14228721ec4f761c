//! Drivers that publish while the device looks how far they are, for ever.

use std::cell::Cell;
use virtio::cells::{AVAILABLE, Descriptor, Packed, PackedCells, SplitCells, Suppression};
use virtio::{Options, packed, split};

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
    fn descriptor(&self, _: u16) -> Descriptor {
        Descriptor::default()
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
        0
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
    /// Offered and taken back by turns.
    fn state(&self, _: u16) -> Packed {
        let flags = if self.next() % 2 == 1 { AVAILABLE } else { 0 };
        Packed { flags, ..Packed::default() }
    }
    fn set_state(&self, _: u16, _: Packed) {}
    fn address(&self, _: u16) -> u64 {
        0
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

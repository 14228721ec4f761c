//! A driver and a device on the same memory.

use std::sync::Arc;
use virtio::memory::{Heap, PackedMemory, Region, Regions, Shared, SplitMemory};
use virtio::ring::{Device, Driver};
use virtio::{Options, Tables, packed, split};

pub(crate) type AnyDriver = Driver<SplitMemory, PackedMemory>;
pub(crate) type AnyDevice = Device<SplitMemory, PackedMemory>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Split,
    Packed,
}

/// Where the data of the chains is, in the driver's addresses.
pub(crate) const DATA: u64 = 0x10_0000;
/// Where the indirect tables are.
pub(crate) const TABLES: u64 = 0x8000_0000;
/// Entries of each of them.
pub(crate) const TABLE: u16 = 8;

pub(crate) struct Pair {
    pub(crate) driver: AnyDriver,
    pub(crate) device: AnyDevice,
    pub(crate) regions: Regions,
    pub(crate) ring: Shared,
    pub(crate) data: Shared,
}

/// With tables for the driver if `indirect`, and `data` bytes of memory in two regions that touch, so that segments may lie in both.
pub(crate) fn pair(kind: Kind, size: u16, options: Options, indirect: bool, data: usize) -> Pair {
    let ring = Shared::whole(Arc::new(Heap::zeroed(1 << 20)));
    let parts = |bytes| parts(&ring, bytes);
    let options = Options { indirect: options.indirect || indirect, ..options };
    let (driver, device) = match kind {
        Kind::Split => {
            let cells = || {
                let [table, avail, used] = parts(SplitMemory::bytes(size));
                SplitMemory::new(size, table, avail, used).unwrap()
            };
            (
                AnyDriver::Split(split::Driver::new(cells(), options)),
                AnyDevice::Split(split::Device::new(cells(), options)),
            )
        }
        Kind::Packed => {
            let cells = || {
                let [table, driver, device] = parts(PackedMemory::bytes(size));
                PackedMemory::new(size, table, driver, device).unwrap()
            };
            (
                AnyDriver::Packed(packed::Driver::new(cells(), options)),
                AnyDevice::Packed(packed::Device::new(cells(), options)),
            )
        }
    };
    let mut regions = Regions::new();
    let all = Shared::whole(Arc::new(Heap::zeroed(data)));
    let half = data / 2 + 3;
    regions.add(Region { address: DATA, memory: all.piece(0, half).unwrap() }).unwrap();
    regions
        .add(Region { address: DATA + half as u64, memory: all.piece(half, data - half).unwrap() })
        .unwrap();
    let driver = if indirect {
        let tables = Shared::whole(Arc::new(Heap::zeroed(Tables::bytes(size, TABLE))));
        regions.add(Region { address: TABLES, memory: tables.clone() }).unwrap();
        driver.with_tables(Tables::new(tables, TABLES, size, TABLE).unwrap())
    } else {
        driver
    };
    Pair { driver, device, regions, ring, data: all }
}

impl Pair {
    /// The cells of a split ring, for who writes what no side would.
    pub(crate) fn split(&self) -> SplitMemory {
        let size = self.driver.size();
        let [table, avail, used] = self.parts(SplitMemory::bytes(size));
        SplitMemory::new(size, table, avail, used).unwrap()
    }

    /// Those of a packed ring.
    pub(crate) fn packed(&self) -> PackedMemory {
        let size = self.driver.size();
        let [table, driver, device] = self.parts(PackedMemory::bytes(size));
        PackedMemory::new(size, table, driver, device).unwrap()
    }

    fn parts(&self, bytes: [usize; 3]) -> [Shared; 3] {
        parts(&self.ring, bytes)
    }
}

fn parts(ring: &Shared, bytes: [usize; 3]) -> [Shared; 3] {
    let starts = [0, 0x80000, 0xc0000];
    [0, 1, 2].map(|i| ring.piece(starts[i], bytes[i]).unwrap())
}

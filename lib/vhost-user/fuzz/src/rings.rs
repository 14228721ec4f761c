//! Rings of which the other side writes anything.

use super::steps::Steps;
use std::collections::BTreeSet;
use std::sync::Arc;
use virtio::cells::SplitCells as _;
use virtio::memory::{Heap, PackedMemory, Region, Regions, Shared, SplitMemory};
use virtio::packed::Base;
use virtio::ring::{Device, Driver};
use virtio::{Chain, Options, Segment, Tables, packed, split};

const SIZE: u16 = 8;
/// Where the data is, in the driver's addresses; the ring lies before it, where chains may name it too.
const RING: u64 = 0x1_0000;
const RING_BYTES: usize = 1024;
const ALL_BYTES: usize = 4096;
const DEVICE_PART: usize = 512;
/// Where a driver's tables are, and how many entries each has.
const TABLES: usize = 2048;
const EACH: u16 = 4;
/// The bit of the options for a ring that had chains before.
const RESUMED: u8 = 1 << 4;

/// Memory with a ring at its beginning, of one kind or the other.
struct Setting {
    whole: Shared,
    regions: Regions,
    options: Options,
    is_packed: bool,
}

impl Setting {
    fn new(options: u8) -> Self {
        let whole = Shared::whole(Arc::new(Heap::zeroed(ALL_BYTES)));
        let mut regions = Regions::new();
        // In two pieces, so that segments may lie in both.
        for (at, length) in [(0, 2000), (2000, ALL_BYTES - 2000)] {
            let memory = whole.piece(at, length).expect("it is that long");
            regions.add(Region { address: RING + at as u64, memory }).expect("they do not overlap");
        }
        let bit = |bit: u8| options & 1 << bit != 0;
        let options = Options { event_index: bit(1), indirect: bit(2), in_order: bit(3) };
        Self { whole, regions, options, is_packed: bit(0) }
    }

    fn parts(&self) -> [Shared; 3] {
        let bytes = if self.is_packed { PackedMemory::bytes(SIZE) } else { SplitMemory::bytes(SIZE) };
        let part = |at, bytes| self.whole.piece(at, bytes).expect("it is that long");
        [part(0, bytes[0]), part(256, bytes[1]), part(DEVICE_PART, bytes[2])]
    }

    fn split(&self) -> SplitMemory {
        let [table, driver, device] = self.parts();
        SplitMemory::new(SIZE, table, driver, device).expect("the parts are right")
    }

    fn packed(&self) -> PackedMemory {
        let [table, driver, device] = self.parts();
        PackedMemory::new(SIZE, table, driver, device).expect("the parts are right")
    }

    /// What the other side writes, wherever it wants to.
    fn scribble(&self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.whole.piece(at % ALL_BYTES, bytes.len()) {
            place.slice().write(bytes);
        }
    }
}

/// A device on a ring of which the driver writes anything.
pub fn device(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let Some(options) = steps.byte() else { return };
    let setting = Setting::new(options);
    // A ring begins, or goes on where somebody says; what is used of a split one it says itself.
    let base = if options & RESUMED == 0 { None } else { Some(steps.number() as u32) };
    let mut device = if setting.is_packed {
        let base = base.map_or(Some(Base::START), |bits| Base::from_bits(bits, SIZE));
        let Some(base) = base else { return };
        Device::Packed(packed::Device::resumed(setting.packed(), setting.options, base))
    } else {
        let cells = setting.split();
        if base.is_some() {
            setting.scribble(DEVICE_PART + 2, &steps.word().unwrap_or(0).to_le_bytes());
        }
        let (taken, used) = (base.unwrap_or(0) as u16, cells.used_index());
        Device::Split(split::Device::resumed(cells, setting.options, taken, used))
    };
    let mut chain = Chain::new();
    let mut out = Vec::new();
    while let Some(step) = steps.byte() {
        match step % 8 {
            0..=2 => {
                let Some(at) = steps.word() else { return };
                // Mostly the ring.
                let at = if step % 8 < 2 { usize::from(at) % RING_BYTES } else { at.into() };
                setting.scribble(at, steps.take(usize::from(step >> 3)));
            }
            3 | 4 => {
                let is_there = device.has_chains();
                match device.take(&&setting.regions, &mut chain) {
                    Ok(Some(taken)) => {
                        assert!(taken.places() >= 1 && taken.places() <= SIZE);
                        assert!(
                            !out.iter().any(|other: &virtio::Taken| other.id() == taken.id()),
                            "taken twice"
                        );
                        let all = chain.readable().iter().chain(chain.writable());
                        let sum: usize = all.map(|piece| piece.len()).sum();
                        assert_eq!(sum, (chain.readable_bytes() + chain.writable_bytes()) as usize);
                        if step % 8 == 4 {
                            device.untake(taken);
                        } else {
                            out.push(taken);
                        }
                    }
                    Ok(None) => assert!(!is_there, "a device that looks would look for ever"),
                    Err(_) => return,
                }
            }
            5 if !out.is_empty() => {
                let at = if setting.options.in_order { 0 } else { usize::from(step >> 3) % out.len() };
                device.put(out.remove(at), u32::from(step) << 3);
            }
            6 => {
                device.publish();
                let _ = device.must_call();
            }
            _ => {
                let _ = device.want_kicks();
                device.want_no_kicks();
            }
        }
    }
}

/// A driver on a ring of which the device writes anything: what comes back was offered, once, and is no longer than it was.
pub fn driver(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let Some(options) = steps.byte() else { return };
    let setting = Setting::new(options);
    let mut driver = if setting.is_packed {
        Driver::Packed(packed::Driver::new(setting.packed(), setting.options))
    } else if options & RESUMED == 0 {
        Driver::Split(split::Driver::new(setting.split(), setting.options))
    } else {
        let before = steps.number() as u16;
        Driver::Split(split::Driver::resumed(setting.split(), setting.options, before))
    };
    if setting.options.indirect {
        let memory = setting.whole.piece(TABLES, Tables::bytes(SIZE, EACH)).expect("it is that long");
        let tables = Tables::new(memory, RING + TABLES as u64, SIZE, EACH).expect("it is long enough");
        driver = driver.with_tables(tables);
    }
    let (mut offered, mut told) = (BTreeSet::new(), BTreeSet::new());
    while let Some(step) = steps.byte() {
        match step % 8 {
            0..=2 => {
                let Some(at) = steps.word() else { return };
                setting.scribble(usize::from(at) % RING_BYTES, steps.take(usize::from(step >> 3)));
            }
            3 | 4 => {
                let segment = Segment { address: RING + RING_BYTES as u64, length: 64 };
                let (readable, writable) = (usize::from(step >> 3 & 3), usize::from(step >> 5));
                let added = driver.add(&vec![segment; readable], &vec![segment; writable]);
                if let Ok(token) = added {
                    assert!(token.0 < SIZE && !told.contains(&token), "a name that is in use");
                    assert!(offered.insert(token), "a name that is in use");
                }
            }
            5 => {
                driver.publish();
                told.append(&mut offered);
                let _ = driver.must_kick();
            }
            6 => {
                let is_there = driver.has_used(1);
                match driver.reap() {
                    Ok(Some(done)) => {
                        assert!(told.remove(&done.token), "it was not out");
                        assert!(done.written <= 64 * 7);
                    }
                    Ok(None) => assert!(!is_there, "a driver that looks would look for ever"),
                    Err(_) => return,
                }
            }
            _ => {
                let _ = driver.want_calls(u16::from(step >> 3));
                driver.want_no_calls();
            }
        }
        assert!(driver.free() <= SIZE && driver.in_flight() <= SIZE);
    }
}

//! The memory that driver and device share.
//!
//! ```text
//!   Backing (a mapping, a heap block)  <- Shared (a piece, keeps it alive) <- Region (a piece with an address) <- Regions
//!                                              |
//!                                              v
//!                                     Slice<'_> (bytes that anybody may change), SplitMemory, PackedMemory (cells)
//! ```

mod sys;

pub use sys::{Backing, Heap, Number, PackedMemory, Shared, Slice, SplitMemory};

use crate::Fault;
use alloc::vec::Vec;
use thiserror::Error;

/// Why a ring cannot be where it was put.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// Split rings have a power of two of entries, packed ones any number; both up to 32,768 and at least one.
    #[error("a ring of {size} entries")]
    Size {
        /// Entries asked for.
        size: u16,
    },
    /// A part of the ring does not begin where it may (sections 2.7 and 2.8).
    #[error("the {part} must begin at a multiple of {alignment} bytes")]
    Alignment {
        /// Which part.
        part: &'static str,
        /// The multiple.
        alignment: usize,
    },
    /// A part of the ring is longer than its memory.
    #[error("the {part} takes {needed} bytes and has {given}")]
    Short {
        /// Which part.
        part: &'static str,
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that are there.
        given: usize,
    },
}

/// Memory at an address of the driver's.
#[derive(Clone, Debug)]
pub struct Region {
    /// Its first byte, in the driver's addresses.
    pub address: u64,
    /// Where it is here.
    pub memory: Shared,
}

impl Region {
    fn length(&self) -> u64 {
        self.memory.len() as u64
    }
}

/// A region that cannot be added to others.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionError {
    /// It shares addresses with one that is there.
    #[error("{length} bytes at {address:#x} overlap another region")]
    Overlap {
        /// Its first byte.
        address: u64,
        /// Its bytes.
        length: u64,
    },
    /// It has no byte, or goes beyond the last address.
    #[error("{length} bytes at {address:#x} are no region")]
    Extent {
        /// Its first byte.
        address: u64,
        /// Its bytes.
        length: u64,
    },
}

/// What memory is behind an address. A device that knows its addresses otherwise (through an IOMMU) implements this itself.
pub trait Translate<'m> {
    /// Gives the pieces of `length` bytes at `address`, in order.
    ///
    /// # Errors
    /// [`Fault::Address`] where any byte is missing.
    fn translate(
        &self,
        address: u64,
        length: u32,
        access: Access,
        piece: &mut dyn FnMut(Slice<'m>),
    ) -> Result<(), Fault>;

    /// The same where all of it is one piece that is found at once; `None` sends the caller to [`Translate::translate`].
    #[inline]
    fn translate_one(&self, _address: u64, _length: u32, _access: Access) -> Option<Slice<'m>> {
        None
    }
}

/// What a device does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// Memory by the driver's addresses. Few regions (a machine has 2 to 8; at most 509 are ever sent), kept sorted.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    sorted: Vec<Region>,
}

impl Regions {
    /// No memory at all.
    pub const fn new() -> Self {
        Self { sorted: Vec::new() }
    }

    /// Adds a region.
    ///
    /// # Errors
    /// [`RegionError`]; nothing has changed.
    pub fn add(&mut self, region: Region) -> Result<(), RegionError> {
        let (address, length) = (region.address, region.length());
        let last = length.checked_sub(1).and_then(|beyond| address.checked_add(beyond));
        let Some(last) = last else { return Err(RegionError::Extent { address, length }) };
        let at = self.sorted.partition_point(|other| other.address < address);
        let before = at.checked_sub(1).and_then(|before| self.sorted.get(before));
        if before.is_some_and(|before| address - before.address < before.length())
            || self.sorted.get(at).is_some_and(|after| after.address <= last)
        {
            return Err(RegionError::Overlap { address, length });
        }
        self.sorted.insert(at, region);
        Ok(())
    }

    /// Takes out the region that begins at `address` and has `length` bytes, and no other.
    pub fn remove(&mut self, address: u64, length: u64) -> Option<Region> {
        let at = self.sorted.iter().position(|it| it.address == address && it.length() == length)?;
        Some(self.sorted.remove(at))
    }

    /// The regions, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.sorted.iter()
    }

    /// `length` bytes that lie in one region.
    pub fn shared(&self, address: u64, length: usize) -> Option<Shared> {
        let region = self.find(address)?;
        region.memory.piece(usize::try_from(address - region.address).ok()?, length)
    }

    /// The driver's address of bytes that are known by where they are here; `None` where no region is.
    pub fn address_of(&self, slice: &Slice<'_>) -> Option<u64> {
        let host = slice.as_ptr() as u64;
        self.sorted.iter().find_map(|region| {
            let offset = host.checked_sub(region.memory.host_address())?;
            (offset < region.length()).then_some(region.address + offset)
        })
    }

    /// The same bytes, with what keeps them where they are; `None` where no region has them.
    pub fn kept(&self, slice: &Slice<'_>) -> Option<Shared> {
        let host = slice.as_ptr() as u64;
        self.sorted.iter().find_map(|region| {
            let offset = host.checked_sub(region.memory.host_address())?;
            region.memory.piece(usize::try_from(offset).ok()?, slice.len())
        })
    }

    #[inline]
    fn find(&self, address: u64) -> Option<&Region> {
        // In order, not by halves: of eight regions the right one is found before halving them has mispredicted twice.
        self.sorted.iter().find(|region| address.wrapping_sub(region.address) < region.length())
    }
}

impl<'m> Translate<'m> for &'m Regions {
    fn translate(
        &self,
        address: u64,
        length: u32,
        _access: Access,
        piece: &mut dyn FnMut(Slice<'m>),
    ) -> Result<(), Fault> {
        let missing = Fault::Address { address, length };
        let mut at = address;
        let mut left = u64::from(length);
        while left > 0 {
            let region = self.find(at).ok_or(missing)?;
            let offset = at - region.address;
            let here = left.min(region.length() - offset);
            // Both fit: they are within a region, and that is memory.
            let slice = region.memory.slice().part(offset as usize, here as usize).ok_or(missing)?;
            piece(slice);
            left -= here;
            match at.checked_add(here) {
                Some(next) => at = next,
                None if left == 0 => break,
                None => return Err(missing),
            }
        }
        Ok(())
    }

    #[inline]
    fn translate_one(&self, address: u64, length: u32, _access: Access) -> Option<Slice<'m>> {
        let region = self.find(address)?;
        region.memory.slice().part((address - region.address) as usize, length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    fn region(address: u64, bytes: usize) -> Region {
        Region { address, memory: Shared::whole(Arc::new(Heap::zeroed(bytes))) }
    }

    #[test]
    fn regions_may_touch_and_never_overlap() {
        let mut all = Regions::new();
        all.add(region(0x1000, 0x1000)).unwrap();
        all.add(region(0x2000, 0x1000)).unwrap();
        all.add(region(0, 0x1000)).unwrap();
        for (address, bytes) in [(0x1000, 0x1000), (0x1fff, 1), (0x2fff, 2), (0, 0x4000), (0x800, 0x1000)] {
            let error = all.add(region(address, bytes)).unwrap_err();
            assert_eq!(error, RegionError::Overlap { address, length: bytes as u64 });
        }
        for (address, bytes) in [(0x9000, 0), (u64::MAX, 2)] {
            let error = all.add(region(address, bytes)).unwrap_err();
            assert_eq!(error, RegionError::Extent { address, length: bytes as u64 });
        }
        all.add(region(u64::MAX, 1)).unwrap();
        assert_eq!(all.iter().count(), 4);
        assert!(all.remove(0x1000, 0xfff).is_none(), "a part of a region is no region");
        assert!(all.remove(0x1000, 0x1000).is_some());
        assert!(all.shared(0x1000, 1).is_none());
    }

    #[test]
    fn a_segment_may_lie_in_two_regions_that_touch() {
        let mut all = Regions::new();
        all.add(region(0x1000, 0x1000)).unwrap();
        all.add(region(0x2000, 0x1000)).unwrap();
        let mut lengths = Vec::new();
        (&all).translate(0x1ffe, 5, Access::Read, &mut |piece| lengths.push(piece.len())).unwrap();
        assert_eq!(lengths, [2, 3]);
        assert!((&all).translate_one(0x1ffe, 5, Access::Read).is_none());
        assert!((&all).translate_one(0x1ffe, 2, Access::Read).is_some());
        let missing = (&all).translate(0x2fff, 2, Access::Read, &mut |_| {}).unwrap_err();
        assert_eq!(missing, Fault::Address { address: 0x2fff, length: 2 });
    }

    #[test]
    fn the_last_address_can_be_reached_and_not_passed() {
        let mut all = Regions::new();
        all.add(region(u64::MAX - 3, 4)).unwrap();
        all.add(region(0, 4)).unwrap();
        let mut bytes = 0;
        (&all).translate(u64::MAX - 1, 2, Access::Write, &mut |piece| bytes += piece.len()).unwrap();
        assert_eq!(bytes, 2);
        assert!(
            (&all).translate(u64::MAX - 1, 3, Access::Write, &mut |_| {}).is_err(),
            "addresses do not begin again"
        );
    }
}

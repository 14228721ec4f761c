//! The front-end's memory, by both of its addresses.

use super::Failure;
use crate::memory::Mapping;
use crate::payload::{Region, SingleRegion};
use rustix::fs::fstat;
use rustix::param::page_size;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use virtio::memory::{Regions, Shared};

/// Most regions: what QEMU's own back-ends have.
pub(super) const MOST: usize = 32;

/// All of it. The driver's addresses are in descriptors, the front-end's in the addresses of rings.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) regions: Regions,
    all: Vec<(Region, Shared)>,
}

/// Without the padding.
pub(super) fn region(single: &SingleRegion) -> Region {
    let SingleRegion { guest_address, size, user_address, mmap_offset } = *single;
    Region { guest_address, size, user_address, mmap_offset }
}

impl Memory {
    /// A whole table, each region with its descriptor.
    pub(super) fn of(regions: &[Region], descriptors: Vec<OwnedFd>) -> Result<Self, Failure> {
        let mut all = Self::default();
        if regions.len() != descriptors.len() {
            let address = regions.first().map_or(0, |region| region.guest_address);
            let why = format!("{} regions and {} descriptors", regions.len(), descriptors.len());
            return Err(Failure::Memory { address, why });
        }
        for (region, descriptor) in regions.iter().zip(descriptors) {
            all.add(*region, Some(descriptor))?;
        }
        Ok(all)
    }

    pub(super) fn add(&mut self, region: Region, descriptor: Option<OwnedFd>) -> Result<(), Failure> {
        let wrong = |why: String| Failure::Memory { address: region.guest_address, why };
        let descriptor = descriptor.ok_or_else(|| wrong("it comes without a descriptor".to_owned()))?;
        if self.all.len() >= MOST {
            return Err(wrong(format!("there are {MOST} regions already")));
        }
        let overlaps = |other: &Region| {
            let (low, high) =
                if other.user_address < region.user_address { (other, &region) } else { (&region, other) };
            high.user_address - low.user_address < low.size
        };
        if region.user_address.checked_add(region.size).is_none()
            || self.all.iter().any(|(other, _)| overlaps(other))
        {
            return Err(wrong(format!("it overlaps another at {:#x}", region.user_address)));
        }
        let memory =
            map(region.size, region.mmap_offset, &descriptor).map_err(|error| wrong(error.to_string()))?;
        let known = virtio::memory::Region { address: region.guest_address, memory: memory.clone() };
        self.regions.add(known).map_err(|error| wrong(error.to_string()))?;
        self.all.push((region, memory));
        Ok(())
    }

    /// Takes out a region, which is named by its addresses and its size.
    pub(super) fn remove(&mut self, gone: Region) -> Result<(), Failure> {
        let same = |it: &Region| {
            (it.guest_address, it.size, it.user_address) == (gone.guest_address, gone.size, gone.user_address)
        };
        let at = self.all.iter().position(|(it, _)| same(it));
        let missing =
            || Failure::Memory { address: gone.guest_address, why: "there is no such region".to_owned() };
        self.all.remove(at.ok_or_else(missing)?);
        self.regions.remove(gone.guest_address, gone.size);
        Ok(())
    }

    /// The driver's address of what the front-end calls by this one of its own.
    pub(super) fn guest(&self, address: u64) -> Option<u64> {
        self.all.iter().find_map(|(region, _)| {
            let offset = address.checked_sub(region.user_address).filter(|offset| *offset < region.size)?;
            Some(region.guest_address + offset)
        })
    }

    /// What the front-end calls by this address of its own.
    pub(super) fn user(&self, address: u64, bytes: usize) -> Option<Shared> {
        self.all.iter().find_map(|(region, memory)| {
            let offset = address.checked_sub(region.user_address).filter(|offset| *offset < region.size)?;
            memory.piece(usize::try_from(offset).ok()?, bytes)
        })
    }
}

/// `size` bytes from `offset` of a descriptor.
pub(super) fn map(size: u64, offset: u64, descriptor: &OwnedFd) -> std::io::Result<Shared> {
    use std::io::{Error, ErrorKind};
    let wrong = |text: &'static str| Error::new(ErrorKind::InvalidInput, text);
    let end = offset.checked_add(size).ok_or_else(|| wrong("it goes beyond every file"))?;
    if size == 0 {
        return Err(wrong("it has no byte"));
    }
    let file = fstat(descriptor)?;
    // A file that is shorter would be mapped, and end us with SIGBUS when it is touched.
    if u64::try_from(file.st_size).unwrap_or(0) < end {
        return Err(wrong("its descriptor is shorter"));
    }
    // Huge pages are mapped and unmapped whole; the block size of their file system is that of a page.
    let block = u64::try_from(file.st_blksize).unwrap_or(0);
    let page = if block.is_power_of_two() { block.max(page_size() as u64) } else { page_size() as u64 };
    let start = offset / page * page;
    let addressed = |bytes: u64| usize::try_from(bytes).map_err(|_| wrong("it cannot be addressed"));
    let whole =
        (end - start).checked_next_multiple_of(page).ok_or_else(|| wrong("it cannot be addressed"))?;
    let mapping = Mapping::new(descriptor.as_fd(), start, addressed(whole)?)?;
    let piece = Shared::whole(Arc::new(mapping)).piece(addressed(offset - start)?, addressed(size)?);
    piece.ok_or_else(|| wrong("it cannot be addressed"))
}

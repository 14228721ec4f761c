//! The front-end's memory, by both of its addresses.

use super::Failure;
use super::iotlb::Iotlb;
use crate::memory::{Mapping, reaches};
use crate::payload::{Region, SingleRegion};
use rustix::fs::fstat;
use rustix::param::page_size;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use virtio::Fault;
use virtio::memory::{Access, Regions, Shared, Slice, Translate};

/// Most regions: what QEMU's own back-ends have.
pub(super) const MOST: usize = 32;

/// All of it. The driver's addresses are in descriptors, the front-end's in the addresses of rings.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) regions: Regions,
    all: Vec<Known>,
    /// The addresses of rings and descriptors are no driver's but an IOMMU's.
    pub(super) iotlb: Option<Iotlb>,
}

/// A region, where it is mapped here, and the file that it is of.
struct Known {
    region: Region,
    memory: Shared,
    file: File,
}

/// What tells files apart: device and number.
type File = (u64, u64);

fn file_of(descriptor: &OwnedFd) -> std::io::Result<File> {
    let file = fstat(descriptor)?;
    Ok((file.st_dev, file.st_ino))
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

    /// The same, whose addresses go through an IOMMU if there was one.
    pub(super) fn with(self, iotlb: Option<Iotlb>) -> Self {
        Self { iotlb, ..self }
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
            || self.all.iter().any(|other| overlaps(&other.region))
        {
            return Err(wrong(format!("it overlaps another at {:#x}", region.user_address)));
        }
        let unmapped = |error: std::io::Error| wrong(error.to_string());
        let memory = map(region.size, region.mmap_offset, &descriptor).map_err(unmapped)?;
        let file = file_of(&descriptor).map_err(unmapped)?;
        let known = virtio::memory::Region { address: region.guest_address, memory: memory.clone() };
        self.regions.add(known).map_err(|error| wrong(error.to_string()))?;
        self.all.push(Known { region, memory, file });
        Ok(())
    }

    /// Whether this very region is there, of this very file.
    pub(super) fn has(&self, region: &Region, descriptor: Option<&OwnedFd>) -> bool {
        let file = descriptor.and_then(|descriptor| file_of(descriptor).ok());
        self.all.iter().any(|it| it.region == *region && Some(it.file) == file)
    }

    /// Takes out a region, which is named by its addresses and its size.
    pub(super) fn remove(&mut self, gone: Region) -> Result<(), Failure> {
        let same = |it: &Region| {
            (it.guest_address, it.size, it.user_address) == (gone.guest_address, gone.size, gone.user_address)
        };
        let at = self.all.iter().position(|it| same(&it.region));
        let missing =
            || Failure::Memory { address: gone.guest_address, why: "there is no such region".to_owned() };
        self.all.remove(at.ok_or_else(missing)?);
        self.regions.remove(gone.guest_address, gone.size);
        Ok(())
    }

    /// Where each region lies here.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Region, &Shared)> {
        self.all.iter().map(|it| (&it.region, &it.memory))
    }

    /// The driver's address of a part of a ring.
    pub(super) fn guest(&self, address: u64) -> Option<u64> {
        let user = match &self.iotlb {
            Some(iotlb) => iotlb.find(address, Access::Read)?.0,
            None => address,
        };
        self.all.iter().find_map(|Known { region, .. }| {
            let offset = user.checked_sub(region.user_address).filter(|offset| *offset < region.size)?;
            Some(region.guest_address + offset)
        })
    }

    /// A part of a ring, by the address that the front-end gave for it.
    ///
    /// # Errors
    /// [`Fault`]; one that passes where the IOMMU has to be asked first.
    pub(super) fn part(&self, address: u64, bytes: usize, access: Access) -> Result<Shared, Fault> {
        let length = bytes as u32;
        let missing = Fault::Address { address, length };
        let Some(iotlb) = &self.iotlb else { return self.user(address, bytes).ok_or(missing) };
        let find = |at| {
            iotlb.find(at, access).ok_or_else(|| {
                iotlb.miss(at, access);
                Fault::Untranslated { address: at, length }
            })
        };
        let (user, mut known) = find(address)?;
        while known < bytes as u64 {
            let (next, more) = find(address.checked_add(known).ok_or(missing)?)?;
            // A ring lies in one piece here too.
            if next != user.wrapping_add(known) {
                return Err(missing);
            }
            known = known.saturating_add(more);
        }
        self.user(user, bytes).ok_or(missing)
    }

    /// What the front-end calls by this address of its own.
    fn user(&self, address: u64, bytes: usize) -> Option<Shared> {
        self.all.iter().find_map(|Known { region, memory, .. }| {
            let offset = address.checked_sub(region.user_address).filter(|offset| *offset < region.size)?;
            memory.piece(usize::try_from(offset).ok()?, bytes)
        })
    }

    /// As much of it as lies in one region.
    fn user_slice(&self, address: u64, most: u64) -> Option<Slice<'_>> {
        self.all.iter().find_map(|Known { region, memory, .. }| {
            let offset = address.checked_sub(region.user_address).filter(|offset| *offset < region.size)?;
            memory.slice().part(offset as usize, most.min(region.size - offset) as usize)
        })
    }
}

impl<'m> Translate<'m> for &'m Memory {
    fn translate(
        &self,
        address: u64,
        length: u32,
        access: Access,
        piece: &mut dyn FnMut(Slice<'m>),
    ) -> Result<(), Fault> {
        let Some(iotlb) = &self.iotlb else {
            return (&self.regions).translate(address, length, access, piece);
        };
        let (mut at, mut left) = (address, u64::from(length));
        while left > 0 {
            let Some((user, known)) = iotlb.find(at, access) else {
                iotlb.miss(at, access);
                return Err(Fault::Untranslated { address, length });
            };
            let slice = self.user_slice(user, known.min(left)).ok_or(Fault::Address { address, length })?;
            let here = slice.len() as u64;
            piece(slice);
            left -= here;
            at = at.checked_add(here).filter(|_| here > 0).ok_or(Fault::Address { address, length })?;
        }
        Ok(())
    }

    #[inline]
    fn translate_one(&self, address: u64, length: u32, access: Access) -> Option<Slice<'m>> {
        let Some(iotlb) = &self.iotlb else {
            return (&self.regions).translate_one(address, length, access);
        };
        let (user, known) = iotlb.find(address, access)?;
        let slice = self.user_slice(user, known.min(length.into()))?;
        (slice.len() == length as usize).then_some(slice)
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
    if !reaches(descriptor, end)? {
        return Err(wrong("its descriptor is shorter"));
    }
    let file = fstat(descriptor)?;
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

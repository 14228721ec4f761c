//! Shared memory regions of a device, with `SHMEM`, and objects that back-ends share, with `SHARED_OBJECT`.

use super::{CallError, FrontEnd};
use crate::front::Request;
use crate::memory::{Mapping, reaches};
use crate::payload::{SharedMapping, SharedObject};
use crate::socket::Waits;
use crate::wire::Reply;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use thiserror::Error;
use virtio::memory::Shared;

/// Why a back-end's memory is not mapped or unmapped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The device has no such region, or it ends before.
    #[error("{size} bytes at {offset:#x} of shared memory region {region}")]
    Outside {
        /// Which.
        region: u8,
        /// Its byte.
        offset: u64,
        /// Bytes.
        size: u64,
    },
    /// What is to be mapped is shorter, and who touches what is not there would be ended.
    #[error("the descriptor ends before byte {end:#x}")]
    Short {
        /// The first byte behind what was asked for.
        end: u64,
    },
    /// Something else is mapped there.
    #[error("something is mapped at {offset:#x} of shared memory region {region}")]
    Overlap {
        /// Which.
        region: u8,
        /// Its byte.
        offset: u64,
    },
    /// Only what was mapped is unmapped, whole.
    #[error("this is not mapped")]
    NotMapped,
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The shared memory regions of a device: what the back-end asks to be mapped into them.
#[derive(Debug, Default)]
pub struct SharedRegions {
    sizes: Vec<u64>,
    mapped: BTreeMap<(u8, u64), (u64, Shared)>,
}

impl SharedRegions {
    /// Bytes of each region, by its number.
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// Does what `SHMEM_MAP` asks for.
    ///
    /// # Errors
    /// [`MapError`]; nothing has changed.
    pub fn map(&mut self, what: &SharedMapping, descriptor: &OwnedFd) -> Result<(), MapError> {
        const WRITES: u64 = 1;
        let SharedMapping { region, fd_offset, offset, size, flags } = *what;
        let end = offset.checked_add(size).filter(|_| size > 0);
        let room = self.sizes.get(usize::from(region)).copied().unwrap_or(0);
        let outside = MapError::Outside { region, offset, size };
        let (Some(end), Ok(bytes)) = (end.filter(|end| *end <= room), usize::try_from(size)) else {
            return Err(outside);
        };
        // Mappings do not overlap, so only the last that begins before the end can reach into this one.
        let before = self.mapped.range((region, 0)..(region, end)).next_back();
        if before.is_some_and(|((_, at), (size, _))| at + size > offset) {
            return Err(MapError::Overlap { region, offset });
        }
        let last = fd_offset.saturating_add(size);
        if !reaches(descriptor, last)? {
            return Err(MapError::Short { end: last });
        }
        let mapping = if flags & WRITES != 0 {
            Mapping::new(descriptor.as_fd(), fd_offset, bytes)?
        } else {
            Mapping::read_only(descriptor.as_fd(), fd_offset, bytes)?
        };
        self.mapped.insert((region, offset), (size, Shared::whole(Arc::new(mapping))));
        Ok(())
    }

    /// Does what `SHMEM_UNMAP` asks for.
    ///
    /// # Errors
    /// [`MapError::NotMapped`].
    pub fn unmap(&mut self, what: &SharedMapping) -> Result<(), MapError> {
        let key = (what.region, what.offset);
        match self.mapped.get(&key) {
            Some((size, _)) if *size == what.size => drop(self.mapped.remove(&key)),
            _ => return Err(MapError::NotMapped),
        }
        Ok(())
    }

    /// The device was reset: nothing is mapped any more.
    pub fn reset(&mut self) {
        self.mapped.clear();
    }

    /// Bytes of a region that lie in one mapping.
    pub fn memory(&self, region: u8, offset: u64, bytes: usize) -> Option<Shared> {
        let ((_, at), (_, memory)) = self.mapped.range((region, 0)..=(region, offset)).next_back()?;
        memory.piece(usize::try_from(offset - at).ok()?, bytes)
    }
}

impl<W: Waits> FrontEnd<W> {
    /// The device's shared memory regions, in which nothing is mapped yet.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn shared_regions(&mut self) -> W::Output<'_, Result<SharedRegions, CallError>> {
        W::run(async move {
            match self.ask(&Request::GetShmemConfig, &[]).await?.map(|answer| answer.reply) {
                Some(Reply::SharedMemoryConfig(config)) => {
                    Ok(SharedRegions { sizes: config.sizes.to_vec(), mapped: BTreeMap::new() })
                }
                _ => Err(CallError::Broken),
            }
        })
    }

    /// An object of this back-end's; `None`: it has none of this name.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn shared_object(&mut self, uuid: [u8; 16]) -> W::Output<'_, Result<Option<OwnedFd>, CallError>> {
        W::run(async move {
            let answer = self.ask(&Request::GetSharedObject(SharedObject { uuid }), &[]).await?;
            Ok(answer.and_then(|mut answer| answer.descriptors.pop()))
        })
    }
}

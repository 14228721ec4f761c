//! Memory that comes and goes.

use super::{CallError, FrontEnd};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::memory::Memory;
use crate::payload::{MemoryTable, Region, SingleRegion};
use crate::socket::Waits;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

/// By which addresses the front-end calls memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Where it is here.
    Ours,
    /// Those of the driver, with `GPA_ADDRESSES`.
    Drivers,
}

/// The driver has an address of its own for it.
pub(super) fn region(whole: &virtio::memory::Region, names: Names) -> Region {
    let virtio::memory::Region { address, memory } = whole;
    let user_address = match names {
        Names::Ours => memory.host_address(),
        Names::Drivers => *address,
    };
    Region { guest_address: *address, size: memory.len() as u64, user_address, mmap_offset: 0 }
}

const fn single(region: Region) -> SingleRegion {
    let Region { guest_address, size, user_address, mmap_offset } = region;
    SingleRegion { guest_address, size, user_address, mmap_offset }
}

impl<W: Waits> FrontEnd<W> {
    /// Lets the back-end see memory. It must stay until it is taken away again, or the session ends.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn add_memory<'a>(&'a mut self, memory: &'a Memory) -> W::Output<'a, Result<(), CallError>> {
        W::run(async move {
            let region = region(&memory.region(), self.names());
            let descriptor = Arc::new(memory.descriptor().try_clone_to_owned()?);
            if self.has_slots() {
                self.ask(&Request::AddMemReg(single(region)), &[descriptor.as_fd()]).await?;
                self.regions.push((region, descriptor));
                return Ok(());
            }
            // What is given again after a call that nobody waited for is there once.
            let mut all = self.regions.clone();
            all.retain(|(other, _)| *other != region);
            all.push((region, descriptor));
            self.send_table(&all).await?;
            self.regions = all;
            Ok(())
        })
    }

    /// Takes it away. Rings that lie in it stand still until it is there again; chains must have no part in it any more.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn remove_memory<'a>(&'a mut self, memory: &'a Memory) -> W::Output<'a, Result<(), CallError>> {
        W::run(async move {
            let region = region(&memory.region(), self.names());
            let Some(at) = self.regions.iter().position(|(other, _)| *other == region) else { return Ok(()) };
            if self.has_slots() {
                self.ask(&Request::RemMemReg(single(region)), &[]).await?;
                self.regions.remove(at);
                return Ok(());
            }
            let mut all = self.regions.clone();
            all.remove(at);
            self.send_table(&all).await?;
            self.regions = all;
            Ok(())
        })
    }

    /// How many regions the back-end can have: 8 where it does not say.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn memory_slots(&mut self) -> W::Output<'_, Result<u64, CallError>> {
        W::run(
            async move { if self.has_slots() { self.number(&Request::GetMaxMemSlots).await } else { Ok(8) } },
        )
    }

    pub(super) const fn names(&self) -> Names {
        let drivers = self.negotiated().protocol.contains(ProtocolFeatures::GPA_ADDRESSES);
        if drivers { Names::Drivers } else { Names::Ours }
    }

    const fn has_slots(&self) -> bool {
        self.negotiated().protocol.contains(ProtocolFeatures::CONFIGURE_MEM_SLOTS)
    }

    /// Gives the back-end all that another session gave.
    pub(super) async fn add_regions(&mut self, other: &Self) -> Result<(), CallError> {
        self.regions.extend_from_slice(&other.regions);
        if !self.has_slots() {
            return self.send_table(&other.regions).await;
        }
        for (region, descriptor) in &other.regions {
            self.ask(&Request::AddMemReg(single(*region)), &[descriptor.as_fd()]).await?;
        }
        Ok(())
    }

    async fn send_table(&mut self, all: &[(Region, Arc<OwnedFd>)]) -> Result<(), CallError> {
        let (regions, descriptors): (Vec<_>, Vec<_>) = all.iter().map(|(it, fd)| (*it, fd.as_fd())).unzip();
        self.ask(&Request::SetMemTable(MemoryTable { regions }), &descriptors).await.map(drop)
    }
}

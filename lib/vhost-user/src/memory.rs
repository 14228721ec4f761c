//! Memory that can be given to another process.

pub(crate) use crate::sys::mapping::discard;
pub use crate::sys::mapping::{Mapping, Userfault};

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use virtio::memory::{Region, Shared};

/// Memory of ours that a back-end sees: a descriptor, and where it is mapped here. For the driver it is where it is in this process, so that
/// no address has to be translated, or where it is told to be, as the memory of a machine is.
#[derive(Debug)]
pub struct Memory {
    descriptor: OwnedFd,
    whole: Shared,
    /// Its first byte for the driver.
    address: u64,
    /// Bytes that were given out.
    used: usize,
}

impl Memory {
    /// `bytes` of zeroes, in whole pages.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let mut memory = Self::at(0, bytes)?;
        memory.address = memory.whole.host_address();
        Ok(memory)
    }

    /// The same at an address of the driver's.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn at(address: u64, bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(4096);
        let descriptor = memfd_create("vhost-user", MemfdFlags::CLOEXEC)?;
        ftruncate(&descriptor, bytes as u64)?;
        let whole = Shared::whole(Arc::new(Mapping::new(descriptor.as_fd(), 0, bytes)?));
        Ok(Self { descriptor, whole, address, used: 0 })
    }

    /// A part of it that nobody had before; `None` if there is not enough left. `alignment` is a power of two, at most a page.
    pub fn part(&mut self, bytes: usize, alignment: usize) -> Option<Shared> {
        let start = self.used.checked_next_multiple_of(alignment)?;
        let part = self.whole.piece(start, bytes)?;
        self.used = start + bytes;
        Some(part)
    }

    /// All of it, at the driver's address.
    pub fn region(&self) -> Region {
        Region { address: self.address, memory: self.whole.clone() }
    }

    /// The driver's address of a part.
    pub fn address_of(&self, part: &Shared) -> u64 {
        self.address.wrapping_add(part.host_address().wrapping_sub(self.whole.host_address()))
    }

    /// What is sent for it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether a file goes on to `end`, the first byte behind what is to be mapped. One that is shorter would be mapped all the same, and end who
/// touches what is not there with SIGBUS.
pub(crate) fn reaches(descriptor: &OwnedFd, end: u64) -> io::Result<bool> {
    Ok(u64::try_from(fstat(descriptor)?.st_size).unwrap_or(0) >= end)
}

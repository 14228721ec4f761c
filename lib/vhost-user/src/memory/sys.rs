//! Mappings.
#![expect(unsafe_code, reason = "mapping a descriptor, and unmapping it")]

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use virtio::memory::{Backing, Shared};

/// A descriptor's memory, shared with whoever else maps it, until it is dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    /// `bytes` from `offset`, which is a multiple of the page size.
    ///
    /// A descriptor that is a file shorter than that can be mapped all the same; who touches what is not there gets SIGBUS.
    ///
    /// # Errors
    /// That of `mmap`.
    pub fn new(descriptor: BorrowedFd<'_>, offset: u64, bytes: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the address is the kernel's choice, so nothing that is mapped is replaced.
        let start =
            unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, descriptor, offset)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, bytes })
    }
}

/// Gives the pages of shared memory back to the host, for all who see it.
///
/// # Errors
/// That of `madvise`: it is not whole pages, or of a kind that cannot.
pub(crate) fn discard(memory: &Shared) -> io::Result<()> {
    let start = memory.slice().as_ptr();
    // SAFETY: the memory is mapped as long as the value lives; nobody has a Rust reference to bytes that become zeroes.
    unsafe { madvise(start.cast(), memory.len(), Advice::LinuxRemove) }.map_err(io::Error::from)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nobody else unmaps it; what borrowed from it is gone.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

// SAFETY: the mapping stays until the value is dropped; no reference into it is ever made.
unsafe impl Backing for Mapping {
    fn start(&self) -> NonNull<u8> {
        self.start
    }
    fn len(&self) -> usize {
        self.bytes
    }
}

// SAFETY: an address and a length; the bytes are accessed as shared memory only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

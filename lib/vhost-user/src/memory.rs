//! Memory that can be given to another process.

mod sys;

pub use sys::Mapping;
pub(crate) use sys::discard;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use virtio::memory::{Region, Shared};

/// Memory of ours that a back-end sees: a descriptor, and where it is mapped here. Its addresses on the wire are those of this process, for
/// driver and front-end alike, so none has to be translated.
#[derive(Debug)]
pub struct Memory {
    descriptor: OwnedFd,
    whole: Shared,
    /// Bytes that were given out.
    used: usize,
}

impl Memory {
    /// `bytes` of zeroes, in whole pages.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(4096);
        let descriptor = memfd_create("vhost-user", MemfdFlags::CLOEXEC)?;
        ftruncate(&descriptor, bytes as u64)?;
        let whole = Shared::whole(Arc::new(Mapping::new(descriptor.as_fd(), 0, bytes)?));
        Ok(Self { descriptor, whole, used: 0 })
    }

    /// A part of it that nobody had before; `None` if there is not enough left. `alignment` is a power of two, at most a page.
    pub fn part(&mut self, bytes: usize, alignment: usize) -> Option<Shared> {
        let start = self.used.checked_next_multiple_of(alignment)?;
        let part = self.whole.piece(start, bytes)?;
        self.used = start + bytes;
        Some(part)
    }

    /// All of it, at the address that it has on the wire.
    pub fn region(&self) -> Region {
        Region { address: self.whole.host_address(), memory: self.whole.clone() }
    }

    /// What is sent for it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

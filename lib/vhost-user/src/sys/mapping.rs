//! Mappings, and what of them is missing.
#![expect(unsafe_code, reason = "mapping a descriptor, and unmapping it; the ioctls of userfaultfd")]

use rustix::io::{Errno, read};
use rustix::ioctl::{Updater, ioctl, opcode};
use rustix::mm::{Advice, MapFlags, ProtFlags, UserfaultfdFlags, madvise, mmap, munmap, userfaultfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
        Self::with(descriptor, offset, bytes, MapFlags::SHARED)
    }

    /// The same of what may only be read: what is written to it nobody else sees.
    ///
    /// # Errors
    /// That of `mmap`.
    pub fn read_only(descriptor: BorrowedFd<'_>, offset: u64, bytes: usize) -> io::Result<Self> {
        Self::with(descriptor, offset, bytes, MapFlags::PRIVATE)
    }

    fn with(descriptor: BorrowedFd<'_>, offset: u64, bytes: usize, flags: MapFlags) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the address is the kernel's choice, so nothing that is mapped is replaced.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, protection, flags, descriptor, offset)? };
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

/// Tells who touches a page that is not there, and lets it wait until it is (linux/userfaultfd.h).
#[derive(Debug)]
pub struct Userfault(OwnedFd);

/// `struct uffdio_api`, `struct uffdio_register`, `struct uffdio_range`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}
#[repr(C)]
struct Register {
    start: u64,
    bytes: u64,
    mode: u64,
    ioctls: u64,
}
#[repr(C)]
struct Range {
    start: u64,
    bytes: u64,
}

const API: u64 = 0xaa;
const MISSING: u64 = 1;
const PAGE_FAULT: u8 = 0x12;
/// `struct uffd_msg`: what happened is its first byte, where is its third word.
const MESSAGE: usize = 32;

impl Userfault {
    /// Of this process's memory; nothing of it is watched yet.
    ///
    /// # Errors
    /// Those of the system calls: who may is a setting of the host's (`vm.unprivileged_userfaultfd`).
    pub fn new() -> io::Result<Self> {
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
        // SAFETY: a new descriptor, which does nothing until memory is registered.
        let descriptor = unsafe { userfaultfd(flags)? };
        let mut api = Api { api: API, features: 0, ioctls: 0 };
        // SAFETY: the structure is that of this ioctl, and lives until it returns.
        unsafe {
            ioctl(&descriptor, Updater::<{ opcode::read_write::<Api>(0xaa, 0x3f) }, _>::new(&mut api))?
        };
        Ok(Self(descriptor))
    }

    /// One that another process made of its memory.
    pub const fn of(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    /// That of the system call.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Pages of this memory that are missing are asked for from now on; it is whole pages.
    ///
    /// # Errors
    /// That of the system call.
    pub fn register(&self, memory: &Shared) -> io::Result<()> {
        let mut register =
            Register { start: memory.host_address(), bytes: memory.len() as u64, mode: MISSING, ioctls: 0 };
        // SAFETY: as above; that pages are missing changes nothing of what may be done with the memory, only when it is done.
        unsafe {
            ioctl(&self.0, Updater::<{ opcode::read_write::<Register>(0xaa, 0) }, _>::new(&mut register))?;
        }
        Ok(())
    }

    /// The address that somebody waits for, in the other process; `None`: nobody does.
    ///
    /// # Errors
    /// That of the system call.
    pub fn missing(&self) -> io::Result<Option<u64>> {
        let mut message = [0; MESSAGE];
        match read(&self.0, &mut message) {
            Ok(MESSAGE) if message[0] == PAGE_FAULT => {
                let mut address = [0; 8];
                address.copy_from_slice(&message[16..24]);
                Ok(Some(u64::from_ne_bytes(address)))
            }
            Ok(_) | Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Who waits for any of these bytes looks again.
    ///
    /// # Errors
    /// That of the system call.
    pub fn wake(&self, address: u64, bytes: u64) -> io::Result<()> {
        let mut range = Range { start: address, bytes };
        // SAFETY: as above; whoever is woken finds what is there, or waits again.
        unsafe { ioctl(&self.0, Updater::<{ opcode::read::<Range>(0xaa, 2) }, _>::new(&mut range))? };
        Ok(())
    }
}

impl AsFd for Userfault {
    /// Readable when somebody waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

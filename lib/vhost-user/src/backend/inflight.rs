//! Memory that remembers which chains are in flight, so that whoever serves after a crash goes on with exactly those.
//!
//! Its layout is the specification's ("Inflight I/O tracking"): a header for each queue, and an entry for each descriptor. What is between
//! the queues is ours. Every field is written in the order that makes any moment a good one to die at.

mod packed;
mod split;

use crate::payload;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::io;
use std::os::fd::OwnedFd;
use virtio::memory::{Shared, Slice};

pub(super) use packed::{Entry, Packed};
pub(super) use split::Split;

/// What a header says of how it is laid out, and where.
const VERSION: u16 = 1;
const VERSION_AT: usize = 8;

/// The whole of it, as SET_INFLIGHT_FD gives it.
#[derive(Debug)]
pub(super) struct Inflight {
    memory: Shared,
    queues: u16,
    queue_size: u16,
}

/// Bytes for a queue, in whole cache lines.
const fn stride(queue_size: u16, is_packed: bool) -> usize {
    let bytes = if is_packed { packed::bytes(queue_size) } else { split::bytes(queue_size) };
    bytes.next_multiple_of(64)
}

/// Memory for so many queues, zeroed, and what it says to the front-end.
pub(super) fn create(
    queues: u16,
    queue_size: u16,
    is_packed: bool,
) -> io::Result<(payload::Inflight, OwnedFd)> {
    let bytes = usize::from(queues) * stride(queue_size, is_packed);
    let descriptor = memfd_create("vhost-user-inflight", MemfdFlags::CLOEXEC)?;
    ftruncate(&descriptor, bytes as u64)?;
    Ok((payload::Inflight { mmap_size: bytes as u64, mmap_offset: 0, queues, queue_size }, descriptor))
}

impl Inflight {
    pub(super) fn new(said: &payload::Inflight, descriptor: &OwnedFd) -> io::Result<Self> {
        // Its numbers are read and written whole, which takes their alignment.
        if !said.mmap_offset.is_multiple_of(8) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it begins at no multiple of 8"));
        }
        let memory = super::memory::map(said.mmap_size, said.mmap_offset, descriptor)?;
        Ok(Self { memory, queues: said.queues, queue_size: said.queue_size })
    }

    /// The part of a queue of so many entries.
    ///
    /// # Errors
    /// Why it remembers nothing of it.
    pub(super) fn queue(&self, index: u16, size: u16, is_packed: bool) -> Result<Shared, &'static str> {
        const SHORT: &str = "the inflight region has no room for it";
        let part = self.part(index, is_packed).filter(|_| size <= self.queue_size).ok_or(SHORT)?;
        let all = part.slice();
        let version: u16 = get(&all, VERSION_AT);
        if version > VERSION {
            return Err("the inflight region is of a version that is not known");
        }
        let beyond = (size..self.queue_size).any(|entry| is_in_flight(&all, entry, is_packed));
        if version == VERSION && beyond {
            return Err("the inflight region has requests of a longer ring");
        }
        Ok(part)
    }

    /// A ring has stopped: where nothing of it is in flight, it goes on where it is told, and not where it was.
    pub(super) fn settled(&self, index: u16, is_packed: bool) {
        if let Some(part) = self.part(index, is_packed) {
            let all = part.slice();
            if !(0..self.queue_size).any(|entry| is_in_flight(&all, entry, is_packed)) {
                all.fill(0);
            }
        }
    }

    /// The device was reset: what was in flight is nobody's any more.
    pub(super) fn forget(&self) {
        self.memory.slice().fill(0);
    }

    fn part(&self, index: u16, is_packed: bool) -> Option<Shared> {
        let stride = stride(self.queue_size, is_packed);
        self.memory.piece(usize::from(index) * stride, stride).filter(|_| index < self.queues)
    }
}

/// Whether an entry says that its chain was taken, and not given back.
fn is_in_flight(all: &Slice<'_>, entry: u16, is_packed: bool) -> bool {
    let at = if is_packed { packed::place_of(entry) } else { split::place_of(entry) };
    get::<u8>(all, at) == 1
}

/// A number of the region. Callers stay within what [`stride`] has room for.
fn get<N: virtio::memory::Number + Default>(memory: &Slice<'_>, at: usize) -> N {
    memory.load(at).unwrap_or_default()
}

fn set<N: virtio::memory::Number>(memory: &Slice<'_>, at: usize, value: N) {
    let stored = memory.store(at, value);
    debug_assert!(stored.is_some(), "the region has room for its entries");
}

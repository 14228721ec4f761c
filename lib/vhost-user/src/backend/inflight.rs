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

/// What a header says of how it is laid out.
const VERSION: u16 = 1;

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
        let memory = super::memory::map(said.mmap_size, said.mmap_offset, descriptor)?;
        Ok(Self { memory, queues: said.queues, queue_size: said.queue_size })
    }

    /// Whether it is for this queue too.
    pub(super) const fn has(&self, index: u16) -> bool {
        index < self.queues
    }

    /// The part of a queue; `None` where it has none, or too short a one.
    pub(super) fn queue(&self, index: u16, size: u16, is_packed: bool) -> Option<Shared> {
        if index >= self.queues || size > self.queue_size {
            return None;
        }
        let stride = stride(self.queue_size, is_packed);
        self.memory.piece(usize::from(index) * stride, stride)
    }
}

/// A number of the region. Callers stay within what [`stride`] has room for.
fn get<N: virtio::memory::Number + Default>(memory: &Slice<'_>, at: usize) -> N {
    memory.load(at).unwrap_or_default()
}

fn set<N: virtio::memory::Number>(memory: &Slice<'_>, at: usize, value: N) {
    let stored = memory.store(at, value);
    debug_assert!(stored.is_some(), "the region has room for its entries");
}

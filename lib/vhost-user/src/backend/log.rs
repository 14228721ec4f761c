//! The dirty log: which pages of the driver's memory we wrote, for a migration that goes on while we do.

use super::memory::map;
use std::io;
use std::os::fd::OwnedFd;
use virtio::Chain;
use virtio::memory::{Regions, Shared};

/// Bytes that a bit of the log stands for.
const PAGE: u64 = 4096;

/// A bit for each page, by the driver's addresses, in memory of the front-end's.
#[derive(Debug)]
pub(super) struct Log(Shared);

impl Log {
    pub(super) fn new(size: u64, offset: u64, descriptor: &OwnedFd) -> io::Result<Self> {
        map(size, offset, descriptor).map(Self)
    }

    /// These bytes were written. Pages beyond the log are no memory of the driver's.
    pub(super) fn wrote(&self, address: u64, bytes: u64) {
        let Some(last) = bytes.checked_sub(1).and_then(|more| address.checked_add(more)) else { return };
        let log = self.0.slice();
        for page in address / PAGE..=last / PAGE {
            let Ok(byte) = usize::try_from(page / 8) else { return };
            if log.set_bits(byte, 1 << (page % 8)).is_none() {
                return;
            }
        }
    }

    /// All that a device may have written of a chain: which parts it did write is its own affair.
    pub(super) fn wrote_chain(&self, chain: &Chain<'_>, regions: &Regions) {
        for piece in chain.writable() {
            if let Some(address) = regions.address_of(piece) {
                self.wrote(address, piece.len() as u64);
            }
        }
    }
}

//! Addresses behind an IOMMU: what the front-end has told of them, and what is missing.

use crate::payload;
use std::cell::Cell;
use std::collections::BTreeMap;
use virtio::memory::Access;

/// What an entry says of its kind, and what is asked with one.
pub(super) const MISS: u8 = 1;
pub(super) const UPDATE: u8 = 2;
pub(super) const INVALIDATE: u8 = 3;

const READ: u8 = 1;
const WRITE: u8 = 2;

#[derive(Clone, Copy)]
struct Entry {
    size: u64,
    user_address: u64,
    permission: u8,
}

/// The last of so many addresses. None means all from there on: a guest that flushes everything has QEMU say 2^64 addresses, which is 0 in the
/// field (`vhost_iommu_unmap_notify`, hw/virtio/vhost.c), and Linux' own back-ends take it for that.
pub(super) fn last(iova: u64, size: u64) -> u64 {
    size.checked_sub(1).map_or(u64::MAX, |rest| iova.saturating_add(rest))
}

/// Translations by their first address; none overlaps another.
#[derive(Default)]
pub(super) struct Iotlb {
    entries: BTreeMap<u64, Entry>,
    /// What was looked for and is not there: the first of it is asked for.
    missed: Cell<Option<payload::Iotlb>>,
}

impl Iotlb {
    /// An entry comes, in the place of whatever was there.
    pub(super) fn update(&mut self, entry: &payload::Iotlb) {
        let payload::Iotlb { iova, size, user_address, permission, .. } = *entry;
        if size > 0 {
            self.invalidate(iova, last(iova, size));
            self.entries.insert(iova, Entry { size, user_address, permission });
        }
    }

    /// What has any address from this one to that goes, whole.
    pub(super) fn invalidate(&mut self, iova: u64, last: u64) {
        self.entries.retain(|start, entry| *start > last || start.saturating_add(entry.size - 1) < iova);
    }

    /// The front-end's address of the first byte, and how many follow it.
    pub(super) fn find(&self, iova: u64, access: Access) -> Option<(u64, u64)> {
        let (start, entry) = self.entries.range(..=iova).next_back()?;
        let offset = iova - start;
        let needed = match access {
            Access::Read => READ,
            Access::Write => WRITE,
        };
        let found = offset < entry.size && entry.permission & needed != 0;
        found.then(|| (entry.user_address.wrapping_add(offset), entry.size - offset))
    }

    /// It was looked for in vain.
    pub(super) fn miss(&self, iova: u64, access: Access) {
        let permission = match access {
            Access::Read => READ,
            Access::Write => WRITE,
        };
        if self.missed.get().is_none() {
            self.missed.set(Some(payload::Iotlb {
                iova,
                permission,
                kind: MISS,
                ..payload::Iotlb::default()
            }));
        }
    }

    /// What is to be asked for.
    pub(super) fn missed(&self) -> Option<payload::Iotlb> {
        self.missed.take()
    }
}

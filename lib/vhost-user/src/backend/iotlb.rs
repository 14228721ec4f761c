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

/// Most entries that are kept; the oldest goes then, and is asked for again. All pages of a chain have to be there at once, and each ring
/// asks for its own: with fewer than all rings need they would take each other's for ever. A disk's longest request, 128 MiB, has 32,768
/// pages; Linux' own back-ends, whose chains are shorter, keep 2,048 (`max_iotlb_entries`, drivers/vhost/vhost.c).
const MOST: usize = 1 << 16;

#[derive(Clone, Copy)]
struct Entry {
    /// How many came before it.
    number: u64,
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
    /// The first addresses of those that are there, the oldest first.
    ages: BTreeMap<u64, u64>,
    /// How many came.
    count: u64,
    /// What was looked for and is not there: the first of it is asked for.
    missed: Cell<Option<payload::Iotlb>>,
}

impl Iotlb {
    /// An entry comes, in the place of whatever was there.
    pub(super) fn update(&mut self, entry: &payload::Iotlb) {
        let payload::Iotlb { iova, size, user_address, permission, .. } = *entry;
        if size > 0 {
            self.invalidate(iova, last(iova, size));
            if self.entries.len() >= MOST
                && let Some((_, oldest)) = self.ages.pop_first()
            {
                self.entries.remove(&oldest);
            }
            self.entries.insert(iova, Entry { number: self.count, size, user_address, permission });
            self.ages.insert(self.count, iova);
            self.count += 1;
        }
    }

    /// What has any address from this one to that goes, whole.
    pub(super) fn invalidate(&mut self, iova: u64, last: u64) {
        // None overlaps another: but for the one before, all of them begin within.
        let before = self.entries.range(..iova).next_back();
        let reaches = before.filter(|(start, entry)| start.saturating_add(entry.size - 1) >= iova);
        let from = reaches.map_or(iova, |(start, _)| *start);
        while let Some((&start, entry)) = self.entries.range(from..).next()
            && start <= last
        {
            self.ages.remove(&entry.number);
            self.entries.remove(&start);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    fn entry(iova: u64, size: u64) -> payload::Iotlb {
        payload::Iotlb { iova, size, user_address: 0, permission: READ, ..payload::Iotlb::default() }
    }

    #[test]
    fn no_more_entries_are_kept_than_there_is_room_for() {
        let mut iotlb = Iotlb::default();
        for page in 0..3 * MOST as u64 {
            iotlb.update(&entry(page * PAGE, PAGE));
            assert!(iotlb.entries.len() <= MOST && iotlb.ages.len() == iotlb.entries.len());
        }
        let is_there = |iotlb: &Iotlb, page: u64| iotlb.find(page * PAGE, Access::Read).is_some();
        let oldest = 2 * MOST as u64;
        assert!(!is_there(&iotlb, oldest - 1) && is_there(&iotlb, oldest), "the oldest went");
        // One that is told anew is not the oldest any more, and takes nobody's place.
        iotlb.update(&entry(oldest * PAGE, PAGE));
        assert!(is_there(&iotlb, oldest + 1));
        iotlb.update(&entry(0, PAGE));
        assert!(is_there(&iotlb, 0) && is_there(&iotlb, oldest) && !is_there(&iotlb, oldest + 1));
        iotlb.invalidate(0, u64::MAX);
        assert!(iotlb.entries.is_empty() && iotlb.ages.is_empty());
    }

    proptest! {
        /// Whatever comes and goes: as if each address had an entry of its own.
        #[test]
        fn an_address_has_what_was_told_of_it_last(
            steps in prop::collection::vec((any::<bool>(), 0_u64..64, 1_u64..24), 1..40),
            high in any::<bool>(),
        ) {
            // At the end of all addresses nothing is beyond.
            let base = if high { u64::MAX - 40 } else { 0 };
            let mut iotlb = Iotlb::default();
            let mut model: Vec<(u64, u64)> = Vec::new();
            for (comes, at, size) in steps {
                let iova = base.saturating_add(at);
                let last = last(iova, size);
                model.retain(|(start, end)| *start > last || *end < iova);
                if comes {
                    iotlb.update(&entry(iova, size));
                    model.push((iova, last));
                } else {
                    iotlb.invalidate(iova, last);
                }
                for address in (0..100).map(|at| base.saturating_add(at)) {
                    let is_there = model.iter().any(|(start, end)| (*start..=*end).contains(&address));
                    prop_assert_eq!(iotlb.find(address, Access::Read).is_some(), is_there);
                }
            }
        }
    }
}

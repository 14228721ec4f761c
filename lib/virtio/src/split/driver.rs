//! The driver's side of a split ring.

use super::NO_NOTIFICATIONS;
use crate::Fault;
use crate::cells::{Descriptor, INDIRECT, NEXT, SplitCells, WRITE};
use crate::chain::Segment;
use crate::event::passed;
use crate::ring::{AddError, Done, Full, Options, Tables, Token, entries, writable_bytes};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// A descriptor of the ring as the driver remembers it. The device sees copies, and may scribble on them.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The next free one, or the next of its chain.
    next: u16,
    /// Of a head: descriptors of its chain. 0: not with the device.
    count: u16,
    /// Of a head: bytes that the device may write.
    writable: u32,
    /// Of a head: which of all chains it is.
    offered: u64,
}

/// Offers chains, and learns what became of them.
///
/// ```
/// use std::sync::Arc;
/// use virtio::memory::{Heap, Region, Regions, Shared, SplitMemory};
/// use virtio::{Chain, Options, Segment, split};
///
/// // A page with the three parts of a ring of 16, and a page of data.
/// let memory = Shared::whole(Arc::new(Heap::zeroed(8192)));
/// let ring = || {
///     let part = |offset, len| memory.piece(offset, len).unwrap();
///     SplitMemory::new(16, part(0, 256), part(256, 38), part(512, 134)).unwrap()
/// };
/// let mut driver = split::Driver::new(ring(), Options::default());
/// let mut device = split::Device::new(ring(), Options::default());
/// let mut regions = Regions::new();
/// regions.add(Region { address: 0x4000, memory: memory.piece(4096, 4096).unwrap() })?;
///
/// let token = driver.add(&[], &[Segment { address: 0x4010, length: 100 }])?;
/// driver.publish();
/// assert!(driver.must_kick());
///
/// let mut chain = Chain::new();
/// let taken = device.take(&&regions, &mut chain)?.expect("one was published");
/// chain.writer().write(b"hello");
/// device.put(taken, 5);
/// device.publish();
///
/// let done = driver.reap()?.expect("one was used");
/// assert_eq!((done.token, done.written), (token, 5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Driver<C> {
    cells: C,
    options: Options,
    tables: Option<Tables>,
    slots: Box<[Slot]>,
    /// Heads by the place in the available ring where they are: what the device could overwrite there does not count.
    offered: Box<[u16]>,
    free: Free,
    /// Chains that were ever offered, and those that the device was told of. Modulo 2^16 they are where the next head goes and the index.
    offers: u64,
    told: u64,
    /// How far the device was told when it was last looked whether to kick.
    considered: u16,
    /// How far used entries were read, and how far there are some.
    reaped: u16,
    used: u16,
    /// In order: the used entry that closes a batch, and what was written of its last chain.
    batch: Option<(u32, u32)>,
    broken: Option<Fault>,
}

/// Free descriptors: a list through their slots.
struct Free {
    first: u16,
    last: u16,
    count: u16,
}

impl<C: SplitCells> Driver<C> {
    /// A driver of a ring whose cells are zero.
    pub fn new(cells: C, options: Options) -> Self {
        let size = cells.size();
        let mut slots = vec![Slot::default(); usize::from(size)].into_boxed_slice();
        for (slot, next) in slots.iter_mut().zip(1..) {
            slot.next = next;
        }
        Self {
            slots,
            offered: vec![0; usize::from(size)].into_boxed_slice(),
            free: Free { first: 0, last: size - 1, count: size },
            cells,
            options,
            tables: None,
            offers: 0,
            told: 0,
            considered: 0,
            reaped: 0,
            used: 0,
            batch: None,
            broken: None,
        }
    }

    /// A driver of a ring of which so many chains were offered and used before, modulo 2^16, as that of a machine is that comes from elsewhere.
    pub fn resumed(cells: C, options: Options, before: u16) -> Self {
        cells.set_avail_index(before);
        cells.set_used_index(before);
        let (offers, new) = (u64::from(before), Self::new(cells, options));
        Self { offers, told: offers, considered: before, reaped: before, used: before, ..new }
    }

    /// Puts chains of several segments into tables of their own, so that each takes one descriptor. Only where indirect descriptors were
    /// negotiated.
    #[must_use]
    pub fn with_tables(mut self, tables: Tables) -> Self {
        self.tables = Some(tables);
        self
    }

    /// Entries of the ring.
    #[inline]
    pub fn size(&self) -> u16 {
        self.cells.size()
    }

    /// Descriptors that are free.
    pub const fn free(&self) -> u16 {
        self.free.count
    }

    /// Chains that the device has, or will have with the next [`Driver::publish`].
    pub fn in_flight(&self) -> u16 {
        self.next().wrapping_sub(self.reaped)
    }

    /// Offers a chain: what the device reads, then what it writes. It is seen after [`Driver::publish`].
    ///
    /// # Errors
    /// [`AddError::Full`] until chains are reaped; the others are the caller's.
    #[inline]
    pub fn add(&mut self, readable: &[Segment], writable: &[Segment]) -> Result<Token, AddError> {
        let (count, needed) = entries(readable, writable, self.size(), self.tables.as_ref())?;
        let writable_bytes = writable_bytes(readable, writable)?;
        if self.free.count < needed {
            return Err(AddError::Full(Full));
        }
        let head = self.free.first;
        self.free.first = match &self.tables {
            Some(tables) if count > 1 => {
                let Segment { address, length } = tables.fill(head, readable, writable, true);
                self.cells.set_descriptor(head, Descriptor { address, length, flags: INDIRECT, next: 0 });
                self.slot(head).next
            }
            _ => {
                let (mut at, mut left) = (head, count);
                for (segments, write) in [(readable, 0), (writable, WRITE)] {
                    for &Segment { address, length } in segments {
                        let next = self.slot(at).next;
                        left -= 1;
                        let flags = if left > 0 { write | NEXT } else { write };
                        self.cells.set_descriptor(at, Descriptor { address, length, flags, next });
                        at = next;
                    }
                }
                at
            }
        };
        self.free.count -= needed;
        let offered = self.offers;
        let slot = self.slot_mut(head);
        (slot.count, slot.writable, slot.offered) = (needed, writable_bytes, offered);
        let place = self.next() & self.mask();
        self.cells.set_avail_entry(place, head);
        self.offered[usize::from(place)] = head;
        self.offers = offered + 1;
        Ok(Token(head))
    }

    /// Lets the device see what was added.
    #[inline]
    pub fn publish(&mut self) {
        if self.told != self.offers {
            self.told = self.offers;
            self.cells.set_avail_index(self.next());
        }
    }

    /// Whether the device wants a kick for what was published since this was last asked.
    #[inline]
    pub fn must_kick(&mut self) -> bool {
        let (old, new) = (self.considered, self.told as u16);
        self.considered = new;
        if old == new {
            return false;
        }
        self.cells.fence();
        if self.options.event_index {
            passed(self.cells.avail_event(), new, old)
        } else {
            self.cells.used_flags() & NO_NOTIFICATIONS == 0
        }
    }

    /// What the device has used, one chain at a time; `None` if nothing is left.
    ///
    /// # Errors
    /// A [`Fault`] of the device's, again and again: such a ring must be set up anew.
    #[inline]
    pub fn reap(&mut self) -> Result<Option<Done>, Fault> {
        if self.reaped == self.used && !self.look()? {
            return Ok(None);
        }
        let place = self.reaped & self.mask();
        let (id, written) = match self.batch.take() {
            Some(batch) => batch,
            None => self.cells.used_entry(place),
        };
        let done = if self.options.in_order {
            self.next_of_batch(place, id, written)
        } else {
            self.take_back(id, written)
        };
        let Some(done) = done else {
            return Err(self.break_with(Fault::Unknown { id }));
        };
        self.reaped = self.reaped.wrapping_add(1);
        Ok(Some(done))
    }

    /// Asks to be called when `more` further chains (at least 1) were used, or at the next one where the event index was not negotiated.
    /// `true`: so many are there already, and there may be no call for them.
    pub fn want_calls(&mut self, more: u16) -> bool {
        if self.options.event_index {
            self.cells.set_used_event(self.reaped.wrapping_add(more.max(1) - 1));
        } else {
            self.cells.set_avail_flags(0);
        }
        self.cells.fence();
        self.has_used(more)
    }

    /// Whether the device has used so many chains (at least 1) that are not reaped yet.
    #[inline]
    pub fn has_used(&self, chains: u16) -> bool {
        self.cells.used_index().wrapping_sub(self.reaped) >= chains.max(1)
    }

    /// Asks for no calls. A device may call all the same.
    pub fn want_no_calls(&mut self) {
        if self.options.event_index {
            // As far behind as the count allows: passed once in 65,536 chains.
            self.cells.set_used_event(self.reaped.wrapping_sub(1));
        } else {
            self.cells.set_avail_flags(NO_NOTIFICATIONS);
        }
    }

    /// Where a device that knows nothing of what was in flight goes on: at what the used ring says. Right only if chains are used in order.
    pub fn base(&self) -> u16 {
        self.cells.used_index()
    }

    /// What the device has, oldest first. Nothing of it will be used when the ring is set up anew.
    pub fn outstanding(&self) -> Vec<Token> {
        let heads = self.slots.iter().zip(0..).filter(|(slot, _)| slot.count > 0);
        let mut heads: Vec<_> = heads.map(|(slot, head)| (slot.offered, head)).collect();
        heads.sort_unstable();
        heads.into_iter().map(|(_, head)| Token(head)).collect()
    }

    /// Looks how far the device is.
    fn look(&mut self) -> Result<bool, Fault> {
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        let used = self.cells.used_index();
        let ahead = used.wrapping_sub(self.reaped);
        if ahead > (self.told as u16).wrapping_sub(self.reaped) {
            let fault = Fault::Index { from: self.reaped, to: used, size: self.size() };
            return Err(self.break_with(fault));
        }
        self.used = used;
        Ok(ahead > 0)
    }

    #[cold]
    fn break_with(&mut self, fault: Fault) -> Fault {
        self.used = self.reaped;
        *self.broken.insert(fault)
    }

    fn take_back(&mut self, id: u32, written: u32) -> Option<Done> {
        let head = u16::try_from(id).ok().filter(|head| *head < self.size())?;
        let Slot { count, writable, offered, .. } = self.slot(head);
        // Nor can it have used what it was not told of.
        if count == 0 || offered >= self.told {
            return None;
        }
        self.slot_mut(head).count = 0;
        self.release(head, count);
        Some(Done { token: Token(head), written: written.min(writable), overlong: written > writable })
    }

    /// In order, one entry may close a batch: it names the last chain of it, and those before it were used whole (section 2.7.9).
    fn next_of_batch(&mut self, place: u16, id: u32, written: u32) -> Option<Done> {
        let head = self.offered[usize::from(place)];
        if u32::from(head) == id {
            return self.take_back(id, written);
        }
        let last_seen = self.reaped.wrapping_add(1) == self.used;
        let with_device = self.slots.get(usize::try_from(id).ok()?).is_some_and(|slot| slot.count > 0);
        if last_seen || !with_device {
            return None;
        }
        self.batch = Some((id, written));
        let writable = self.slot(head).writable;
        self.take_back(u32::from(head), writable)
    }

    /// Descriptors come back to the front, where they are in the cache; in order, to the end, so that they stay in the ring's order.
    #[inline]
    fn release(&mut self, head: u16, count: u16) {
        let mut tail = head;
        for _ in 1..count {
            tail = self.slot(tail).next;
        }
        if self.free.count == 0 {
            (self.free.first, self.free.last) = (head, tail);
        } else if self.options.in_order {
            let last = self.free.last;
            self.slot_mut(last).next = head;
            self.free.last = tail;
        } else {
            let first = self.free.first;
            self.slot_mut(tail).next = first;
            self.free.first = head;
        }
        self.free.count += count;
    }

    /// Where the next head goes.
    #[inline]
    const fn next(&self) -> u16 {
        self.offers as u16
    }

    // Read where it never changes: next to counters, one wide load of both would wait for the counter's store.
    #[inline]
    fn mask(&self) -> u16 {
        self.cells.size() - 1
    }

    // The mask keeps every index within the table.
    #[inline]
    fn slot(&self, index: u16) -> Slot {
        self.slots[usize::from(index & self.mask())]
    }

    #[inline]
    fn slot_mut(&mut self, index: u16) -> &mut Slot {
        let index = index & self.mask();
        &mut self.slots[usize::from(index)]
    }
}

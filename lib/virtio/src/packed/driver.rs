//! The driver's side of a packed ring.

use super::{Position, TURN, wanted};
use crate::Fault;
use crate::cells::{INDIRECT, NEXT, Packed, PackedCells, Suppression, WRITE};
use crate::chain::Segment;
use crate::ring::{AddError, Done, Full, Options, Tables, Token, entries, writable_bytes};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// A chain as the driver remembers it, by its id.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The next free id.
    next: u16,
    /// Places of its chain in the ring. 0: not with the device.
    count: u16,
    /// Bytes that the device may write.
    writable: u32,
    /// Which of all chains it is.
    offered: u64,
}

/// Offers chains, and learns what became of them; used as [`crate::split::Driver`] is.
pub struct Driver<C> {
    cells: C,
    options: Options,
    tables: Option<Tables>,
    slots: Box<[Slot]>,
    /// In order: ids as they were offered, by `offers` modulo the size.
    order: Box<[u16]>,
    free_id: u16,
    free: u16,
    next: Position,
    used: Position,
    /// The head of the first chain that is not published: the device stops there, whatever is behind it.
    held: Option<(u16, Packed)>,
    /// Places that were filled since it was last looked whether to kick.
    filled: u16,
    /// Chains that were ever offered, those that the device was told of, and those that came back.
    offers: u64,
    told: u64,
    reaped: u64,
    /// Places of the shortest chain since the device had none.
    shortest: u16,
    batch: Option<(u16, u32)>,
    broken: Option<Fault>,
}

impl<C: PackedCells> Driver<C> {
    /// A driver of a ring whose cells are zero.
    pub fn new(cells: C, options: Options) -> Self {
        let size = cells.size();
        let mut slots = vec![Slot::default(); usize::from(size)].into_boxed_slice();
        for (slot, next) in slots.iter_mut().zip(1..) {
            slot.next = next;
        }
        Self {
            slots,
            order: vec![0; usize::from(size).next_power_of_two()].into_boxed_slice(),
            cells,
            options,
            tables: None,
            free_id: 0,
            free: size,
            next: Position::START,
            used: Position::START,
            held: None,
            filled: 0,
            offers: 0,
            told: 0,
            reaped: 0,
            shortest: 1,
            batch: None,
            broken: None,
        }
    }

    /// As [`crate::split::Driver::with_tables`].
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

    /// Places that are free.
    pub const fn free(&self) -> u16 {
        self.free
    }

    /// Chains that the device has, or will have with the next [`Driver::publish`].
    pub const fn in_flight(&self) -> u16 {
        (self.offers - self.reaped) as u16
    }

    /// As [`crate::split::Driver::add`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn add(&mut self, readable: &[Segment], writable: &[Segment]) -> Result<Token, AddError> {
        let (count, needed) = entries(readable, writable, self.size(), self.tables.as_ref())?;
        let writable_bytes = writable_bytes(readable, writable)?;
        if self.free < needed {
            return Err(AddError::Full(Full));
        }
        let id = self.free_id;
        let head = self.next;
        match &self.tables {
            Some(tables) if count > 1 => {
                let table = tables.fill(id, readable, writable, false);
                self.offer(head, id, table, INDIRECT);
            }
            _ => {
                // The head comes last, and with it the chain.
                let (mut at, mut left) = (head, count);
                let mut first = None;
                for (segments, write) in [(readable, 0), (writable, WRITE)] {
                    for segment in segments {
                        left -= 1;
                        let flags = if left > 0 { write | NEXT } else { write };
                        if first.is_none() {
                            first = Some((*segment, flags));
                        } else {
                            self.fill(at, id, *segment, flags);
                        }
                        at = at.plus(1, self.size());
                    }
                }
                if let Some((segment, flags)) = first {
                    self.offer(head, id, segment, flags);
                }
            }
        }
        let offered = self.offers;
        self.shortest = if offered == self.reaped { needed } else { self.shortest.min(needed) };
        let slot = &mut self.slots[usize::from(id)];
        self.free_id = slot.next;
        (slot.count, slot.writable, slot.offered) = (needed, writable_bytes, offered);
        let order = offered as usize & (self.order.len() - 1);
        self.order[order] = id;
        self.offers = offered + 1;
        self.free -= needed;
        self.filled = self.filled.saturating_add(needed);
        self.next = head.plus(needed, self.size());
        Ok(Token(id))
    }

    /// Writes a head, or keeps the first of those that are not published.
    #[inline]
    fn offer(&mut self, at: Position, id: u16, segment: Segment, flags: u16) {
        if self.held.is_some() {
            return self.fill(at, id, segment, flags);
        }
        self.cells.set_address(at.place(), segment.address);
        self.held = Some((at.place(), Packed { length: segment.length, id, flags: flags | at.available() }));
    }

    #[inline]
    fn fill(&self, at: Position, id: u16, Segment { address, length }: Segment, flags: u16) {
        self.cells.set_address(at.place(), address);
        self.cells.set_state(at.place(), Packed { length, id, flags: flags | at.available() });
    }

    /// Lets the device see what was added.
    #[inline]
    pub fn publish(&mut self) {
        self.told = self.offers;
        if let Some((place, state)) = self.held.take() {
            self.cells.set_state(place, state);
        }
    }

    /// Whether the device wants a kick for what was published since this was last asked. Asked right after [`Driver::publish`].
    #[inline]
    pub fn must_kick(&mut self) -> bool {
        let filled = core::mem::take(&mut self.filled);
        if filled == 0 {
            return false;
        }
        self.cells.fence();
        wanted(self.cells.device_event(), self.options.event_index, self.next, filled, self.size())
    }

    /// As [`crate::split::Driver::reap`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn reap(&mut self) -> Result<Option<Done>, Fault> {
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        let (id, written) = match self.batch {
            Some(batch) => batch,
            None => {
                let state = self.cells.state(self.used.place());
                if state.flags & TURN != self.used.used() {
                    return Ok(None);
                }
                // Without the flag the length means nothing (section 2.8.4), and DPDK leaves that of a frame which it read. But QEMU's devices
                // never set the flag: the length counts as far as something could be written.
                let could = self.slots.get(usize::from(state.id)).map_or(0, |slot| slot.writable);
                let is_said = state.flags & WRITE != 0;
                (state.id, if is_said { state.length } else { state.length.min(could) })
            }
        };
        let done =
            if self.options.in_order { self.next_of_batch(id, written) } else { self.take_back(id, written) };
        match done {
            Some(done) => Ok(Some(done)),
            None => Err(*self.broken.insert(Fault::Unknown { id: u32::from(id) })),
        }
    }

    /// As [`crate::split::Driver::want_calls`]. Calls are by place here: where chains are of different lengths, it may come before so many
    /// were used, and never after; but for several of them it may come later where shorter chains are added before it came.
    pub fn want_calls(&mut self, more: u16) -> bool {
        let event = if self.options.event_index {
            let at = self.used.plus(self.places(more) - 1, self.size());
            Suppression { place: at.bits(), flags: Suppression::AT_PLACE }
        } else {
            Suppression { place: 0, flags: Suppression::ENABLE }
        };
        self.cells.set_driver_event(event);
        self.cells.fence();
        self.has_used(more)
    }

    /// As [`crate::split::Driver::has_used`], or a few less where chains are of different lengths.
    pub fn has_used(&self, chains: u16) -> bool {
        let wanted = self.places(chains);
        let (mut places, mut chains) = (0, self.reaped);
        let mut batch = self.batch;
        while places < wanted {
            let id = match batch.take() {
                Some((id, _)) => id,
                None => {
                    let at = self.used.plus(places, self.size());
                    let state = self.cells.state(at.place());
                    if state.flags & TURN != at.used() {
                        return false;
                    }
                    state.id
                }
            };
            // What cannot be is there as well: reaping tells of it.
            let Some(slot) = self.slots.get(usize::from(id)).filter(|slot| slot.count > 0) else {
                return true;
            };
            if !self.options.in_order {
                places = places.saturating_add(slot.count);
                continue;
            }
            if slot.offered < chains {
                return true;
            }
            for chain in chains..=slot.offered {
                let id = self.order[chain as usize & (self.order.len() - 1)];
                places = places.saturating_add(self.slots[usize::from(id)].count);
            }
            chains = slot.offered + 1;
        }
        true
    }

    /// The fewest places with which the last of so many chains has begun, of those that the device has: 1 for the next, whatever its length.
    fn places(&self, chains: u16) -> u16 {
        let before = chains.min(self.in_flight()).saturating_sub(1);
        before.saturating_mul(self.shortest).saturating_add(1).min(self.size())
    }

    /// Asks for no calls. A device may call all the same.
    pub fn want_no_calls(&mut self) {
        self.cells.set_driver_event(Suppression { place: 0, flags: Suppression::DISABLE });
    }

    /// As [`crate::split::Driver::outstanding`].
    pub fn outstanding(&self) -> Vec<Token> {
        let ids = self.slots.iter().zip(0..).filter(|(slot, _)| slot.count > 0);
        let mut ids: Vec<_> = ids.map(|(slot, id)| (slot.offered, id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| Token(id)).collect()
    }

    #[inline]
    fn take_back(&mut self, id: u16, written: u32) -> Option<Done> {
        let free_id = self.free_id;
        let slot = self.slots.get_mut(usize::from(id))?;
        let (count, writable) = (slot.count, slot.writable);
        // Nor can it have used what it was not told of.
        if count == 0 || slot.offered >= self.told {
            return None;
        }
        slot.count = 0;
        slot.next = free_id;
        self.free_id = id;
        self.free += count;
        self.used = self.used.plus(count, self.size());
        self.reaped += 1;
        Some(Done { token: Token(id), written: written.min(writable), overlong: written > writable })
    }

    /// As in a split ring (section 2.8.7).
    fn next_of_batch(&mut self, id: u16, written: u32) -> Option<Done> {
        let oldest = self.order[self.reaped as usize & (self.order.len() - 1)];
        if oldest == id {
            self.batch = None;
            return self.take_back(id, written);
        }
        if self.slots.get(usize::from(id)).is_none_or(|slot| slot.count == 0) {
            return None;
        }
        self.batch = Some((id, written));
        let writable = self.slots[usize::from(oldest)].writable;
        self.take_back(oldest, writable)
    }
}

//! The device's side of a packed ring.

use super::{Base, Position, TURN, wanted};
use crate::Fault;
use crate::cells::{INDIRECT, NEXT, Packed, PackedCells, Suppression, WRITE};
use crate::chain::{Chain, Segment, Taken};
use crate::memory::Translate;
use crate::ring::{Names, Options, ROUNDS};

/// Takes chains, and gives them back; used as [`crate::split::Device`] is.
pub struct Device<C> {
    cells: C,
    options: Options,
    next: Position,
    used: Position,
    /// The first used entry that is not published: the driver stops there.
    held: Option<(u16, Packed)>,
    /// Places that were given back since it was last looked whether to call.
    freed: u16,
    /// Places of chains that the device has.
    taken: u16,
    /// Their ids, which may be any number: the driver gives them (section 2.8.5).
    out: Names,
    broken: Option<Fault>,
    /// Where the driver was when chains were left to it.
    left: Position,
}

impl<C: PackedCells> Device<C> {
    /// A device of a ring that begins.
    pub fn new(cells: C, options: Options) -> Self {
        Self::resumed(cells, options, Base::START)
    }

    /// A device of a ring that goes on.
    pub fn resumed(cells: C, options: Options, base: Base) -> Self {
        let (size, Base { available: next, used }) = (cells.size(), base);
        let taken =
            (next.place() + if next.wrap() == used.wrap() { 0 } else { size }).saturating_sub(used.place());
        Self {
            cells,
            options,
            next,
            used,
            held: None,
            freed: 0,
            taken,
            out: Names::new(1 << 16),
            broken: None,
            left: next,
        }
    }

    /// Where the ring is.
    pub const fn base(&self) -> Base {
        Base { available: self.next, used: self.used }
    }

    /// Entries of the ring.
    #[inline]
    pub fn size(&self) -> u16 {
        self.cells.size()
    }

    /// As [`crate::split::Device::take`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn take<'m, T: Translate<'m>>(
        &mut self,
        memory: &T,
        chain: &mut Chain<'m>,
    ) -> Result<Option<Taken>, Fault> {
        self.take_noting(memory, chain, |_, _| {})
    }

    /// The same, and tells each descriptor of the ring (its address, and the rest) as it was read, from the chain's first to its last. An inflight
    /// region keeps them, since used entries overwrite them; who read them again could keep something else than was done. They
    /// mean nothing where no chain is given.
    ///
    /// # Errors
    /// As [`Device::take`].
    #[inline(always)]
    pub fn take_noting<'m, T: Translate<'m>>(
        &mut self,
        memory: &T,
        chain: &mut Chain<'m>,
        note: impl FnMut(u64, Packed),
    ) -> Result<Option<Taken>, Fault> {
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        let head = self.cells.state(self.next.place());
        if head.flags & TURN != self.next.available() {
            return Ok(None);
        }
        match self.read(self.next, head, memory, chain, note) {
            Ok(taken) if taken.count <= self.size() - self.taken => {
                if !self.out.insert(taken.id) {
                    return Err(*self.broken.insert(Fault::Twice { id: taken.id }));
                }
                self.next = self.next.plus(taken.count, self.size());
                self.taken += taken.count;
                Ok(Some(taken))
            }
            // It goes on into places that the device has not given back.
            Ok(_) => Err(*self.broken.insert(Fault::Loop { size: self.size() })),
            Err(fault) if fault.passes() => Err(fault),
            Err(fault) => Err(*self.broken.insert(fault)),
        }
    }

    /// Takes a chain again that was taken before a crash, from descriptors that were kept.
    ///
    /// # Errors
    /// As [`Device::take`].
    pub fn retake<'m, T: Translate<'m>>(
        &mut self,
        taken: Taken,
        descriptors: impl IntoIterator<Item = (u64, Packed)>,
        memory: &T,
        chain: &mut Chain<'m>,
    ) -> Result<Taken, Fault> {
        chain.clear();
        for ((address, Packed { length, flags, .. }), index) in descriptors.into_iter().zip(0..) {
            let segment = Segment { address, length };
            let read = if flags & INDIRECT == 0 {
                chain.push(memory, index, segment, flags)
            } else if self.options.indirect && index == 0 {
                chain.push_table(memory, index, segment, false)
            } else {
                Err(Fault::Indirect { index })
            };
            read.map_err(|fault| if fault.passes() { fault } else { *self.broken.insert(fault) })?;
        }
        if self.out.insert(taken.id) {
            Ok(taken)
        } else {
            Err(*self.broken.insert(Fault::Twice { id: taken.id }))
        }
    }

    /// As [`crate::split::Device::untake`].
    pub fn untake(&mut self, taken: Taken) {
        self.next = self.next.minus(taken.count, self.size());
        self.taken = self.taken.saturating_sub(taken.count);
        self.out.remove(taken.id);
    }

    /// As [`crate::split::Device::forget`].
    pub fn forget(&mut self, taken: Taken) {
        self.out.remove(taken.id);
    }

    /// Gives a chain back, in any order unless in-order was negotiated. The driver sees it after [`Device::publish`].
    #[inline]
    pub fn put(&mut self, taken: Taken, written: u32) {
        let Taken { id, count } = taken;
        let flags = self.used.used() | if written > 0 { WRITE } else { 0 };
        let state = Packed { length: written, id, flags };
        if self.held.is_none() {
            self.held = Some((self.used.place(), state));
        } else {
            self.cells.set_state(self.used.place(), state);
        }
        self.used = self.used.plus(count, self.size());
        self.freed = self.freed.saturating_add(count);
        self.taken = self.taken.saturating_sub(count);
        self.out.remove(id);
    }

    /// Lets the driver see what was given back.
    #[inline]
    pub fn publish(&mut self) {
        if let Some((place, state)) = self.held.take() {
            self.cells.set_state(place, state);
        }
    }

    /// Whether the driver wants a call for what was published since this was last asked. Asked right after [`Device::publish`].
    #[inline]
    pub fn must_call(&mut self) -> bool {
        let freed = core::mem::take(&mut self.freed);
        if freed == 0 {
            return false;
        }
        self.cells.fence();
        wanted(self.cells.driver_event(), self.options.event_index, self.used, freed, self.size())
    }

    /// Asks to be kicked for the next chain. `true`: one is there already, and there may be no kick for it.
    pub fn want_kicks(&mut self) -> bool {
        let event = if self.options.event_index {
            Suppression { place: self.next.bits(), flags: Suppression::AT_PLACE }
        } else {
            Suppression { place: 0, flags: Suppression::ENABLE }
        };
        self.cells.set_device_event(event);
        self.cells.fence();
        self.has_chains()
    }

    /// As [`crate::split::Device::has_chains`].
    #[inline]
    pub fn has_chains(&self) -> bool {
        self.cells.state(self.next.place()).flags & TURN == self.next.available()
    }

    /// As [`crate::split::Device::want_more_kicks`].
    pub fn want_more_kicks(&mut self) -> bool {
        let size = self.size();
        let is_available = |at: Position| self.cells.state(at.place()).flags & TURN == at.available();
        let mut end = self.next;
        let mut room = size - self.taken;
        for _ in 0..ROUNDS {
            while room > 0 && is_available(end) {
                end = end.plus(1, size);
                room -= 1;
            }
            let at_place = Suppression { place: end.bits(), flags: Suppression::AT_PLACE };
            let all = Suppression { place: 0, flags: Suppression::ENABLE };
            self.cells.set_device_event(if self.options.event_index { at_place } else { all });
            self.cells.fence();
            if room == 0 || !is_available(end) {
                return core::mem::replace(&mut self.left, end) != end;
            }
        }
        self.left = end;
        true
    }

    /// Asks for no kicks. A driver may kick all the same.
    pub fn want_no_kicks(&mut self) {
        self.cells.set_device_event(Suppression { place: 0, flags: Suppression::DISABLE });
    }

    // Into the device's loop, where results stay in registers: a third of the time of a request.
    #[inline(always)]
    fn read<'m, T: Translate<'m>>(
        &self,
        from: Position,
        head: Packed,
        memory: &T,
        chain: &mut Chain<'m>,
        mut note: impl FnMut(u64, Packed),
    ) -> Result<Taken, Fault> {
        chain.clear();
        let (mut at, mut entry) = (from, head);
        for count in 1..=self.size() {
            let index = at.place();
            let segment = Segment { address: self.cells.address(index), length: entry.length };
            note(segment.address, entry);
            if entry.flags & INDIRECT != 0 {
                if !self.options.indirect || entry.flags & NEXT != 0 || count > 1 {
                    return Err(Fault::Indirect { index });
                }
                chain.push_table(memory, index, segment, false)?;
                return Ok(Taken { id: entry.id, count });
            }
            chain.push(memory, index, segment, entry.flags)?;
            if entry.flags & NEXT == 0 {
                return Ok(Taken { id: entry.id, count });
            }
            at = at.plus(1, self.size());
            entry = self.cells.state(at.place());
        }
        Err(Fault::Loop { size: self.size() })
    }
}

//! The device's side of a split ring.

use super::NO_NOTIFICATIONS;
use crate::Fault;
use crate::cells::{INDIRECT, NEXT, SplitCells};
use crate::chain::{Chain, Segment, Taken};
use crate::event::passed;
use crate::memory::Translate;
use crate::ring::{Names, Options, ROUNDS};

/// Takes chains, and gives them back. An example is with [`super::Driver`].
pub struct Device<C> {
    cells: C,
    options: Options,
    /// How far chains were taken, and how far there are some.
    taken: u16,
    available: u16,
    /// Where the next used entry goes, how far the driver was told, and how far when it was last looked whether to call.
    next: u16,
    published: u16,
    considered: u16,
    /// Heads of the chains that it has.
    out: Names,
    broken: Option<Fault>,
    /// Where the driver was when chains were left to it.
    left: u16,
}

impl<C: SplitCells> Device<C> {
    /// A device of a ring that begins.
    pub fn new(cells: C, options: Options) -> Self {
        Self::resumed(cells, options, 0, 0)
    }

    /// A device of a ring that goes on: `taken` chains of it were taken before and `used` given back, both modulo 2^16. With vhost-user the
    /// first is the ring's base, and the second what the used ring says ([`SplitCells::used_index`]).
    pub fn resumed(cells: C, options: Options, taken: u16, used: u16) -> Self {
        Self {
            out: Names::new(cells.size().into()),
            cells,
            options,
            taken,
            available: taken,
            next: used,
            published: used,
            considered: used,
            broken: None,
            left: taken,
        }
    }

    /// How far chains were taken: the base of vhost-user.
    pub const fn base(&self) -> u16 {
        self.taken
    }

    /// How many chains the driver was told that it has back, modulo 2^16.
    pub const fn used(&self) -> u16 {
        self.published
    }

    /// Entries of the ring.
    #[inline]
    pub fn size(&self) -> u16 {
        self.cells.size()
    }

    /// The next chain that the driver published; `None` if there is none. The chain is filled anew, and everything in it was checked.
    ///
    /// # Errors
    /// A [`Fault`] of the driver's, again and again: such a ring must be set up anew.
    #[inline(always)]
    pub fn take<'m, T: Translate<'m>>(
        &mut self,
        memory: &T,
        chain: &mut Chain<'m>,
    ) -> Result<Option<Taken>, Fault> {
        if self.taken == self.available && !self.look()? {
            return Ok(None);
        }
        let head = self.cells.avail_entry(self.taken & self.mask());
        match self.read(head, memory, chain) {
            Ok(taken) if !self.out.insert(taken.id) => Err(self.break_with(Fault::Twice { id: taken.id })),
            Ok(taken) => {
                self.taken = self.taken.wrapping_add(1);
                Ok(Some(taken))
            }
            Err(fault) if fault.passes() => Err(fault),
            Err(fault) => Err(self.break_with(fault)),
        }
    }

    /// Reads a chain again that was taken before a crash.
    ///
    /// # Errors
    /// As [`Device::take`].
    pub fn retake<'m, T: Translate<'m>>(
        &mut self,
        taken: Taken,
        memory: &T,
        chain: &mut Chain<'m>,
    ) -> Result<Taken, Fault> {
        match self.read(taken.id, memory, chain) {
            Ok(taken) if self.out.insert(taken.id) => Ok(taken),
            Ok(taken) => Err(self.break_with(Fault::Twice { id: taken.id })),
            Err(fault) if fault.passes() => Err(fault),
            Err(fault) => Err(self.break_with(fault)),
        }
    }

    /// Leaves the chain that was taken last in the ring, as if it had not been.
    pub fn untake(&mut self, taken: Taken) {
        self.taken = self.taken.wrapping_sub(1);
        self.out.remove(taken.id);
    }

    /// A chain that was taken again after a crash is not the device's any more, and is not given back either: [`Device::retake`] comes later.
    pub fn forget(&mut self, taken: Taken) {
        self.out.remove(taken.id);
    }

    /// Gives a chain back, in any order unless in-order was negotiated. The driver sees it after [`Device::publish`].
    #[inline]
    pub fn put(&mut self, taken: Taken, written: u32) {
        self.cells.set_used_entry(self.next & self.mask(), u32::from(taken.id), written);
        self.next = self.next.wrapping_add(1);
        self.out.remove(taken.id);
    }

    /// Lets the driver see what was given back.
    #[inline]
    pub fn publish(&mut self) {
        if self.published != self.next {
            self.published = self.next;
            self.cells.set_used_index(self.next);
        }
    }

    /// Whether the driver wants a call for what was published since this was last asked.
    #[inline]
    pub fn must_call(&mut self) -> bool {
        let (old, new) = (self.considered, self.published);
        self.considered = new;
        if old == new {
            return false;
        }
        self.cells.fence();
        if self.options.event_index {
            passed(self.cells.used_event(), new, old)
        } else {
            self.cells.avail_flags() & NO_NOTIFICATIONS == 0
        }
    }

    /// Asks to be kicked for the next chain. `true`: some are there already, and there may be no kick for them.
    pub fn want_kicks(&mut self) -> bool {
        if self.options.event_index {
            self.cells.set_avail_event(self.taken);
        } else {
            self.cells.set_used_flags(0);
        }
        self.cells.fence();
        self.has_chains()
    }

    /// Whether the driver has published any that were not taken.
    #[inline]
    pub fn has_chains(&self) -> bool {
        self.cells.avail_index() != self.taken
    }

    /// Asks to be kicked for a chain behind all that are there. `true`: there are others than when this was last asked, and there may have
    /// been no kick for them. So it is where the driver publishes all the while: it is not followed for ever.
    pub fn want_more_kicks(&mut self) -> bool {
        let mut now = self.cells.avail_index();
        for _ in 0..ROUNDS {
            if self.options.event_index {
                self.cells.set_avail_event(now);
            } else {
                self.cells.set_used_flags(0);
            }
            self.cells.fence();
            let then = core::mem::replace(&mut now, self.cells.avail_index());
            if then == now {
                return core::mem::replace(&mut self.left, now) != now;
            }
        }
        self.left = now;
        true
    }

    /// Asks for no kicks. A driver may kick all the same.
    pub fn want_no_kicks(&mut self) {
        if self.options.event_index {
            self.cells.set_avail_event(self.taken.wrapping_sub(1));
        } else {
            self.cells.set_used_flags(NO_NOTIFICATIONS);
        }
    }

    // Read where it never changes: next to counters, one wide load of both would wait for the counter's store.
    #[inline]
    fn mask(&self) -> u16 {
        self.cells.size() - 1
    }

    fn look(&mut self) -> Result<bool, Fault> {
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        let available = self.cells.avail_index();
        let ahead = available.wrapping_sub(self.taken);
        if ahead > self.size() {
            return Err(self.break_with(Fault::Index { from: self.taken, to: available, size: self.size() }));
        }
        self.available = available;
        Ok(ahead > 0)
    }

    #[cold]
    fn break_with(&mut self, fault: Fault) -> Fault {
        self.available = self.taken;
        *self.broken.insert(fault)
    }

    // Into the device's loop, where results stay in registers: a third of the time of a request.
    #[inline(always)]
    fn read<'m, T: Translate<'m>>(
        &self,
        head: u16,
        memory: &T,
        chain: &mut Chain<'m>,
    ) -> Result<Taken, Fault> {
        let size = self.size();
        chain.clear();
        let mut index = head;
        for _ in 0..size {
            if index >= size {
                return Err(Fault::Descriptor { index, size });
            }
            let entry = self.cells.descriptor(index);
            let segment = Segment { address: entry.address, length: entry.length };
            if entry.flags & INDIRECT != 0 {
                if !self.options.indirect || entry.flags & NEXT != 0 {
                    return Err(Fault::Indirect { index });
                }
                chain.push_table(memory, index, segment, true)?;
                return Ok(Taken { id: head, count: 1 });
            }
            chain.push(memory, index, segment, entry.flags)?;
            if entry.flags & NEXT == 0 {
                return Ok(Taken { id: head, count: 1 });
            }
            index = entry.next;
        }
        Err(Fault::Loop { size })
    }
}

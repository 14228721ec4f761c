//! The driver's side of a balloon.
//!
//! Which pages are given up is the caller's affair: it has an allocator. What is here is what is told of them, and when they may be used again.

use super::{DONE, PAGE, STATISTIC, STOP, Tag, statistic};
use crate::Fault;
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::memory::Shared;
use crate::post::Outbox;
use crate::ring::{AddError, Driver, Full, Token};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Most pages of one message; Linux has as many.
pub const PAGES_AT_ONCE: usize = 256;

/// What is to be done until the device has as many pages as it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many pages are to be given up.
    Inflate(u32),
    /// So many are to be taken back.
    Deflate(u32),
    /// It has them.
    Rest,
}

impl Step {
    /// From what is wanted, and what has been given up.
    pub fn between(wanted: u32, given: u32) -> Self {
        match wanted.cmp(&given) {
            Ordering::Greater => Self::Inflate(wanted - given),
            Ordering::Less => Self::Deflate(given - wanted),
            Ordering::Equal => Self::Rest,
        }
    }
}

/// Tells of pages on one queue: those that are given up, or those that are taken back.
///
/// A page that is given up must not be touched from [`Pages::tell`] on. One that is taken back may be touched when [`Pages::told`] gives it:
/// where `MUST_TELL_HOST` was not negotiated earlier, too.
#[derive(Debug)]
pub struct Pages {
    outbox: Outbox,
    /// What the device has not read yet, message by message.
    under_way: BTreeMap<Token, Vec<u32>>,
}

impl Pages {
    /// Bytes of memory for a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        size as usize * PAGES_AT_ONCE * 4
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, memory: Shared, address: u64) -> Option<Self> {
        let outbox = Outbox::new(size, PAGES_AT_ONCE as u32 * 4, memory, address)?;
        Some(Self { outbox, under_way: BTreeMap::new() })
    }

    /// Tells of pages, which are named by their address divided by [`PAGE`]. The device sees it when the ring is published.
    ///
    /// # Errors
    /// [`AddError`]; [`AddError::Length`] for more than [`PAGES_AT_ONCE`].
    pub fn tell<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        pages: &[u32],
    ) -> Result<(), AddError> {
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        let token = self.outbox.post(ring, &[&bytes])?;
        self.under_way.insert(token, pages.to_vec());
        Ok(())
    }

    /// The pages that the device has read of since; those of whole messages, in the order in which it read them.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn told<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Vec<u32>, Fault> {
        let mut all = Vec::new();
        while let Some(token) = self.outbox.next(ring)? {
            all.extend(self.under_way.remove(&token).unwrap_or_default());
        }
        Ok(all)
    }
}

/// Statistics: one message that the device keeps until it wants the next.
#[derive(Debug)]
pub struct Statistics {
    outbox: Outbox,
    kept: bool,
}

impl Statistics {
    /// Most statistics of a message.
    pub const MOST: usize = 32;
    /// Bytes of memory.
    pub const BYTES: usize = Self::MOST * STATISTIC;

    /// In memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, memory: Shared, address: u64) -> Option<Self> {
        let outbox = Outbox::new(size, Self::BYTES as u32, memory, address)?;
        Some(Self { outbox, kept: false })
    }

    /// Whether the device wants a message: in the beginning, and whenever it has given back the last.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn are_wanted<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<bool, Fault> {
        if self.outbox.taken(ring)? > 0 {
            self.kept = false;
        }
        Ok(!self.kept)
    }

    /// Gives it one.
    ///
    /// # Errors
    /// [`AddError`]; [`AddError::Length`] for more than [`Statistics::MOST`].
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        all: &[(Tag, u64)],
    ) -> Result<(), AddError> {
        let bytes: Vec<u8> = all.iter().flat_map(|(tag, value)| statistic(*tag, *value)).collect();
        self.outbox.send(ring, &[&bytes])?;
        self.kept = true;
        Ok(())
    }
}

/// What hints are to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Hints are wanted, in a round of this number.
    Round(u32),
    /// None are wanted; the pages of the last round stay untouched.
    Stop,
    /// The pages of all rounds are the driver's again.
    Release,
}

impl Wish {
    /// From [`super::Config::hint_command`].
    pub const fn parse(command: u32) -> Self {
        match command {
            STOP => Self::Stop,
            DONE => Self::Release,
            round => Self::Round(round),
        }
    }
}

/// What the device has read on the queue of hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hinted {
    /// The begin or the end of a round.
    Mark,
    /// This memory.
    Free(Segment),
}

/// Hints of free pages (section 5.5.6.7): the device may leave them out of a migration, as long as nobody writes to them.
#[derive(Debug)]
pub struct Hints {
    /// A number for each entry of the ring.
    marks: Shared,
    address: u64,
    free: Vec<u16>,
    /// By token.
    sent: Box<[(u16, Hinted)]>,
}

impl Hints {
    /// Bytes of memory for a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        size as usize * 4
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, marks: Shared, address: u64) -> Option<Self> {
        (marks.len() >= Self::bytes(size)).then(|| Self {
            marks,
            address,
            free: (0..size).rev().collect(),
            sent: vec![(0, Hinted::Mark); usize::from(size)].into_boxed_slice(),
        })
    }

    /// Begins the round that the device asked for.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn begin<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        round: u32,
    ) -> Result<(), AddError> {
        self.mark(ring, round)
    }

    /// Hints that memory is free.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn hint<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        free: Segment,
    ) -> Result<(), AddError> {
        let token = ring.add(&[], &[free])?;
        self.sent[usize::from(token.0)] = (0, Hinted::Free(free));
        Ok(())
    }

    /// Ends the round.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn end<S: SplitCells, P: PackedCells>(&mut self, ring: &mut Driver<S, P>) -> Result<(), AddError> {
        self.mark(ring, STOP)
    }

    fn mark<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        number: u32,
    ) -> Result<(), AddError> {
        let at = self.free.last().copied().ok_or(AddError::Full(Full))?;
        let offset = usize::from(at) * 4;
        if let Some(place) = self.marks.slice().part(offset, 4) {
            place.write(&number.to_le_bytes());
        }
        let token = ring.add(&[Segment { address: self.address + offset as u64, length: 4 }], &[])?;
        self.free.pop();
        self.sent[usize::from(token.0)] = (at, Hinted::Mark);
        Ok(())
    }

    /// The next that the device has read; `None` if there is none. Memory stays hinted until [`Wish::Release`].
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn next<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Hinted>, Fault> {
        let Some(done) = ring.reap()? else { return Ok(None) };
        let (at, hinted) = self.sent[usize::from(done.token.0)];
        if hinted == Hinted::Mark {
            self.free.push(at);
        }
        Ok(Some(hinted))
    }
}

/// Whole pages of memory, as they are reported: [`Driver::add`] takes them as writable. When that chain has come back they are the driver's
/// again, and read as zero, or as the poison that was told.
pub const fn report(address: u64, pages: u32) -> Segment {
    Segment { address, length: pages * PAGE as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::memory::{Heap, PackedMemory, Region, Regions, SplitMemory};
    use crate::ring::Options;
    use crate::split;
    use alloc::sync::Arc;

    /// Pages may be used again when the device has read of them, and not when it has read of others.
    #[test]
    fn pages_are_told_when_they_are_read_of() {
        const SIZE: u16 = 4;
        let memory = Shared::whole(Arc::new(Heap::zeroed(1 << 16)));
        let cells = || {
            let part = |at, bytes| memory.piece(at, bytes).unwrap();
            SplitMemory::new(SIZE, part(0, 64), part(64, 14), part(128, 38)).unwrap()
        };
        let address = memory.host_address();
        let mut ring: Driver<_, PackedMemory> =
            Driver::Split(split::Driver::new(cells(), Options::default()));
        let mut device = split::Device::new(cells(), Options::default());
        let mut regions = Regions::new();
        regions.add(Region { address, memory: memory.clone() }).unwrap();
        let slots = memory.piece(4096, Pages::bytes(SIZE)).unwrap();
        let mut pages = Pages::new(SIZE, slots, address + 4096).unwrap();
        for page in [1, 2, 3] {
            pages.tell(&mut ring, &[10 * page, 10 * page + 1]).unwrap();
        }
        ring.publish();
        let mut chain = Chain::new();
        let mut taken: Vec<_> =
            (0..3).map(|_| device.take(&&regions, &mut chain).unwrap().unwrap()).collect();
        assert_eq!(pages.told(&mut ring).unwrap(), []);
        for expected in [[30, 31], [20, 21], [10, 11]] {
            device.put(taken.pop().unwrap(), 0);
            device.publish();
            assert_eq!(pages.told(&mut ring).unwrap(), expected);
        }
    }
}

//! A ring as a back-end leaves it that dies with requests in its hands, and what it wrote down of them.

use super::super::work::{SIZE, Work};
use super::super::{Outcome, Trouble, failed};
use crate::frontend::Used;
use crate::memory::Mapping;
use crate::payload::Inflight;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use virtio::features::Features;
use virtio::memory::{Number, Shared};
use virtio::packed::Base;
use virtio::ring::Token;

/// How the rings are, and with them the region.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Split,
    Packed,
}

impl Kind {
    pub(super) const fn features(self) -> Features {
        match self {
            Self::Split => Features::empty(),
            Self::Packed => Features::RING_PACKED,
        }
    }

    /// Bytes of the header, and of each entry, which begins with whether its chain is in flight.
    const fn layout(self) -> (usize, usize) {
        match self {
            Self::Split => (16, 16),
            Self::Packed => (32, 32),
        }
    }
}

/// Both kinds: version, entries; when an entry's chain was taken.
const VERSION: usize = 8;
const ENTRIES: usize = 10;
const COUNTER: usize = 8;

/// Of a split ring: the head that was given back last, how far the used ring was told; the one before in its batch.
const LAST_BATCH: usize = 12;
const SPLIT_USED: usize = 14;
const SPLIT_NEXT: usize = 6;
/// No head.
const NONE: u16 = 0xffff;

/// Of a packed ring: the first free entry, where the next used descriptor goes and in which round, each with what it was before the last batch.
const FREE: [usize; 2] = [12, 14];
const PACKED_USED: [usize; 2] = [16, 18];
const WRAP: [usize; 2] = [20, 21];
/// Of its entries: the next, the last of the chain, how many; then the descriptor.
const PACKED_NEXT: usize = 2;
const LAST: usize = 4;
const COUNT: usize = 6;
const ID: usize = 16;

/// Flags of a packed descriptor that the device has used in the first round.
const IS_USED: u16 = 1 << 7 | 1 << 15;

/// The part of the first queue.
pub(super) struct Region {
    kind: Kind,
    memory: Shared,
}

impl Region {
    pub(super) fn of(kind: Kind, said: &Inflight, descriptor: &OwnedFd) -> Result<Self, Trouble> {
        let long = || Trouble::Failed("the region is longer than memory".to_owned());
        let end = said.mmap_offset.checked_add(said.mmap_size).and_then(|end| usize::try_from(end).ok());
        let whole = Shared::whole(Arc::new(Mapping::new(descriptor.as_fd(), 0, end.ok_or_else(long)?)?));
        let (header, entry) = kind.layout();
        let memory = whole.piece(said.mmap_offset as usize, header + usize::from(SIZE) * entry);
        let short = || Trouble::Failed("the region is too short".to_owned());
        Ok(Self { kind, memory: memory.ok_or_else(short)? })
    }

    /// Whether anything is said to be in flight.
    pub(super) fn has_any(&self) -> bool {
        (0..SIZE).any(|entry| self.memory.slice().load::<u8>(self.place(entry)) == Some(1))
    }

    fn place(&self, entry: u16) -> usize {
        let (header, bytes) = self.kind.layout();
        header + usize::from(entry) * bytes
    }

    fn set<N: Number>(&self, at: usize, number: N) -> Outcome {
        match self.memory.slice().store(at, number) {
            Some(()) => Ok(()),
            None => failed("the region is not aligned"),
        }
    }
}

/// What became of the last batch before the back-end died.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Batch {
    /// It came back, and was written down.
    Finished,
    /// It came back.
    Shown,
    /// It was about to come back.
    Hidden,
}

/// A chain that was taken: its first entry of the region, and how many it has in the ring.
struct Chain {
    token: Token,
    head: u16,
    places: u16,
}

/// A ring and its region.
pub(super) struct Crash {
    pub(super) work: Work,
    pub(super) region: Region,
    said: Inflight,
    descriptor: OwnedFd,
    chains: Vec<Chain>,
}

impl Crash {
    /// So many requests were offered on a ring that the back-end has not heard of, and all of them were taken.
    pub(super) fn new(mut work: Work, kind: Kind, requests: usize) -> Result<Self, Trouble> {
        let (said, descriptor) = work.front.inflight(1, SIZE)?;
        let region = Region::of(kind, &said, &descriptor)?;
        let (mut chains, mut head) = (Vec::new(), 0);
        for _ in 0..requests {
            let (token, places) = work.offer_in_turn(0)?;
            chains.push(Chain { token, head: if kind == Kind::Split { token.0 } else { head }, places });
            head += places;
        }
        work.queue.ring.publish();
        let crash = Self { work, region, said, descriptor, chains };
        crash.written_down()?;
        Ok(crash)
    }

    pub(super) fn requests(&self) -> usize {
        self.chains.len()
    }

    /// Which of the requests it is.
    pub(super) fn place(&self, token: Token) -> Option<usize> {
        self.chains.iter().position(|chain| chain.token == token)
    }

    /// All are in flight, in the order in which they were offered, and none has come back.
    fn written_down(&self) -> Outcome {
        let region = &self.region;
        region.set(VERSION, 1_u16)?;
        region.set(ENTRIES, SIZE)?;
        match region.kind {
            Kind::Split => {
                region.set(LAST_BATCH, NONE)?;
                region.set(SPLIT_USED, 0_u16)?;
            }
            Kind::Packed => {
                let taken: u16 = self.chains.iter().map(|chain| chain.places).sum();
                self.free(taken, taken)?;
                self.used(0, 0)?;
                for entry in 0..SIZE {
                    region.set(region.place(entry) + PACKED_NEXT, entry + 1)?;
                }
                self.copied(taken)?;
            }
        }
        for chain in &self.chains {
            let head = region.place(chain.head);
            if region.kind == Kind::Packed {
                region.set(head + LAST, chain.head + chain.places - 1)?;
                region.set(head + COUNT, chain.places)?;
            }
            region.set(head, 1_u8)?;
        }
        self.taken_in(&Vec::from_iter(0..self.chains.len()))
    }

    /// They were taken in this order.
    pub(super) fn taken_in(&self, order: &[usize]) -> Outcome {
        for (counter, chain) in (1_u64..).zip(order.iter().filter_map(|at| self.chains.get(*at))) {
            self.region.set(self.region.place(chain.head) + COUNTER, counter)?;
        }
        Ok(())
    }

    /// The descriptors of a packed ring, each as it is in its place.
    fn copied(&self, count: u16) -> Outcome {
        let Used::Packed(table) = self.work.queue.used_entries() else { return failed("the ring is split") };
        for at in 0..count {
            let mut bytes = [0; 16];
            table.piece(usize::from(at) * 16, 16).map(|place| place.slice().read(&mut bytes));
            let (address, rest) = bytes.split_at(8);
            let (length, names) = rest.split_at(4);
            // A name and flags, a length, an address.
            let there = self.region.place(at) + ID;
            for (offset, part) in [(0, names), (4, length), (8, address)] {
                let place = self.region.memory.piece(there + offset, part.len());
                place.map(|place| place.slice().write(part));
            }
        }
        Ok(())
    }

    /// These of them came back, or were about to: all at once, and in this order.
    pub(super) fn given_back(&mut self, which: &[usize], batch: Batch) -> Outcome {
        let back: Vec<_> = which.iter().filter_map(|at| self.chains.get(*at)).collect();
        if batch != Batch::Hidden {
            back.iter().for_each(|chain| self.work.pretend_done(chain.token));
        }
        let region = &self.region;
        if batch == Batch::Finished {
            back.iter().try_for_each(|chain| region.set(region.place(chain.head), 0_u8))?;
        }
        match region.kind {
            Kind::Split => self.given_back_split(&back, batch),
            Kind::Packed => self.given_back_packed(&back, batch),
        }
    }

    fn given_back_split(&self, back: &[&Chain], batch: Batch) -> Outcome {
        let region = &self.region;
        let mut before = NONE;
        for chain in back {
            region.set(region.place(chain.head) + SPLIT_NEXT, before)?;
            before = chain.head;
        }
        region.set(LAST_BATCH, before)?;
        let count = back.len() as u16;
        if batch == Batch::Finished {
            region.set(SPLIT_USED, count)?;
        }
        if batch == Batch::Hidden {
            return Ok(());
        }
        let Used::Split(used) = self.work.queue.used_entries() else { return failed("the ring is packed") };
        // Behind flags and index: a head and the bytes that were written, each of 32 bits.
        for (at, chain) in (4..).step_by(8).zip(back) {
            let entry = [u32::from(chain.token.0).to_le_bytes(), 1_u32.to_le_bytes()].concat();
            used.piece(at, 8).map(|place| place.slice().write(&entry));
        }
        used.slice().store(2, count.to_le());
        Ok(())
    }

    fn given_back_packed(&self, back: &[&Chain], batch: Batch) -> Outcome {
        let region = &self.region;
        let taken: u16 = self.chains.iter().map(|chain| chain.places).sum();
        let (mut free, mut used) = (taken, 0);
        for chain in back {
            let last = chain.head + chain.places - 1;
            region.set(region.place(last) + PACKED_NEXT, free)?;
            (free, used) = (chain.head, used + chain.places);
        }
        let old = if batch == Batch::Finished { (free, used) } else { (taken, 0) };
        self.free(free, old.0)?;
        self.used(used, old.1)?;
        if batch == Batch::Hidden {
            return Ok(());
        }
        let Used::Packed(table) = self.work.queue.used_entries() else { return failed("the ring is split") };
        let mut place = 0;
        for chain in back {
            // Behind the address: what was written, the name, the flags.
            let mut entry = 1_u32.to_le_bytes().to_vec();
            entry.extend([chain.token.0.to_le_bytes(), IS_USED.to_le_bytes()].concat());
            table.piece(place * 16 + 8, 8).map(|place| place.slice().write(&entry));
            place += usize::from(chain.places);
        }
        Ok(())
    }

    fn free(&self, now: u16, before: u16) -> Outcome {
        FREE.into_iter().zip([now, before]).try_for_each(|(at, free)| self.region.set(at, free))
    }

    fn used(&self, now: u16, before: u16) -> Outcome {
        WRAP.into_iter().try_for_each(|at| self.region.set(at, 1_u8))?;
        PACKED_USED.into_iter().zip([now, before]).try_for_each(|(at, used)| self.region.set(at, used))
    }

    /// The next back-end has the ring and its region.
    pub(super) fn resumed(&mut self) -> Outcome {
        let Self { work, said, descriptor, .. } = self;
        let base = match work.queue.used_entries() {
            // What the ring itself says.
            Used::Split(used) => used.slice().load::<u16>(2).map_or(0, u16::from_le).into(),
            Used::Packed(_) => Base::START.bits(),
        };
        work.front.place_queue(&work.queue, base)?;
        work.front.set_inflight(*said, descriptor.as_fd())?;
        work.front.attach_queue(&work.queue, base)?;
        work.front.driver_ok().map_err(Into::into)
    }
}

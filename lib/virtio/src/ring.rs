//! What both kinds of rings share, and rings whose kind is known at run time only.

use crate::cells::{DESCRIPTOR_BYTES, Descriptor, NEXT, PackedCells, SplitCells, WRITE};
use crate::chain::{Chain, Segment, Taken};
use crate::memory::{Shared, Translate};
use crate::{Fault, packed, split};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use thiserror::Error;

/// What was negotiated for a ring (section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `VIRTIO_F_EVENT_IDX` (29): notifications are asked for by place.
    pub event_index: bool,
    /// `VIRTIO_F_INDIRECT_DESC` (28): the device takes indirect tables.
    pub indirect: bool,
    /// `VIRTIO_F_IN_ORDER` (35): chains are used in the order in which they were offered.
    pub in_order: bool,
}

/// How often a driver that publishes meanwhile is followed, before the device says that there is more.
pub(crate) const ROUNDS: u32 = 4;

/// Names a chain from [`Driver::add`] until it is reaped; then another may have its name. Below the size of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u16);

/// A chain that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which.
    pub token: Token,
    /// Bytes that the device wrote, as it says, and never more than were writable.
    pub written: u32,
    /// The device says that it wrote more than it could.
    pub overlong: bool,
}

/// Names of the chains that a device has. A hostile driver may offer one twice; who keeps something by name must not mix them up.
#[derive(Debug)]
pub(crate) struct Names(Box<[u64]>);

impl Names {
    pub(crate) fn new(most: usize) -> Self {
        Self(vec![0; most.div_ceil(64)].into_boxed_slice())
    }

    /// Remembers a name below what there can be; `false`: it was there.
    #[inline]
    pub(crate) fn insert(&mut self, name: u16) -> bool {
        let (word, bit) = Self::place(name);
        let word = &mut self.0[word];
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    #[inline]
    pub(crate) fn remove(&mut self, name: u16) {
        let (word, bit) = Self::place(name);
        // One that a crash remembers wrongly was never there.
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    #[inline]
    const fn place(name: u16) -> (usize, u64) {
        (name as usize / 64, 1 << (name % 64))
    }
}

/// There is no room in the ring until chains are reaped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the ring is full")]
pub struct Full;

/// Why a chain was not offered. The ring is as it was.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddError {
    /// There is no room now.
    #[error(transparent)]
    Full(Full),
    /// It has no segment.
    #[error("a chain without a segment")]
    Empty,
    /// It has more segments than the ring, or an indirect table, has entries.
    #[error("a chain of {segments} segments where at most {most} fit")]
    Long {
        /// Its segments.
        segments: usize,
        /// Those that fit.
        most: u16,
    },
    /// Its segments are 4 GiB or more together.
    #[error("the segments of a chain are 4 GiB or more")]
    Length,
}

/// Memory for indirect tables, one for each chain that a ring can hold.
#[derive(Debug)]
pub struct Tables {
    memory: Shared,
    address: u64,
    each: u16,
}

impl Tables {
    /// Bytes for a ring of `size` and tables of `each` entries.
    pub const fn bytes(size: u16, each: u16) -> usize {
        size as usize * each as usize * DESCRIPTOR_BYTES as usize
    }

    /// Tables of `each` entries for a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(memory: Shared, address: u64, size: u16, each: u16) -> Option<Self> {
        (each > 0 && memory.len() >= Self::bytes(size, each)).then_some(Self { memory, address, each })
    }

    #[inline]
    pub(crate) fn fill(
        &self,
        number: u16,
        readable: &[Segment],
        writable: &[Segment],
        linked: bool,
    ) -> Segment {
        let first = usize::from(number) * usize::from(self.each);
        let count = (readable.len() + writable.len()) as u16;
        let table = self.memory.slice();
        let flagged = readable.iter().map(|s| (s, 0)).chain(writable.iter().map(|s| (s, WRITE)));
        for ((segment, write), at) in flagged.zip(0..) {
            let (flags, next) = match linked {
                true if at + 1 < count => (write | NEXT, at + 1),
                true => (write, 0),
                // Those of a packed ring follow each other, and are packed themselves: an id, then the flags (section 2.8.8).
                false => (0, write),
            };
            let entry = Descriptor { address: segment.address, length: segment.length, flags, next };
            // `new` saw that all tables fit, and `total` that this one does.
            let _ = table.set_descriptor(first + usize::from(at), entry);
        }
        let address = self.address + first as u64 * u64::from(DESCRIPTOR_BYTES);
        Segment { address, length: u32::from(count) * DESCRIPTOR_BYTES }
    }
}

/// Segments of a chain, and the entries of the ring that it takes.
#[inline]
pub(crate) fn entries(
    readable: &[Segment],
    writable: &[Segment],
    size: u16,
    tables: Option<&Tables>,
) -> Result<(u16, u16), AddError> {
    let segments = readable.len() + writable.len();
    let most = tables.map_or(size, |tables| tables.each.min(size));
    if segments > usize::from(most) {
        return Err(AddError::Long { segments, most });
    }
    match segments as u16 {
        0 => Err(AddError::Empty),
        count => Ok((count, if tables.is_some() { 1 } else { count })),
    }
}

/// The bytes of a chain that the device may write.
#[inline]
pub(crate) fn writable_bytes(readable: &[Segment], writable: &[Segment]) -> Result<u32, AddError> {
    let sum = |all: &[Segment]| all.iter().map(|segment| u64::from(segment.length)).sum::<u64>();
    let written = sum(writable);
    match u32::try_from(sum(readable) + written) {
        Ok(_) => Ok(written as u32),
        Err(_) => Err(AddError::Length),
    }
}

/// The driver's side of a ring of either kind.
pub enum Driver<S, P> {
    /// Split.
    Split(split::Driver<S>),
    /// Packed.
    Packed(packed::Driver<P>),
}

/// The device's side of a ring of either kind.
pub enum Device<S, P> {
    /// Split.
    Split(split::Device<S>),
    /// Packed.
    Packed(packed::Device<P>),
}

macro_rules! either {
    ($self:ident, $ring:ident => $call:expr) => {
        match $self {
            Self::Split($ring) => $call,
            Self::Packed($ring) => $call,
        }
    };
}

impl<S: SplitCells, P: PackedCells> Driver<S, P> {
    /// [`split::Driver::with_tables`].
    #[must_use]
    pub fn with_tables(self, tables: Tables) -> Self {
        match self {
            Self::Split(ring) => Self::Split(ring.with_tables(tables)),
            Self::Packed(ring) => Self::Packed(ring.with_tables(tables)),
        }
    }

    /// Entries of the ring.
    pub fn size(&self) -> u16 {
        either!(self, ring => ring.size())
    }

    /// Entries that are free.
    pub fn free(&self) -> u16 {
        either!(self, ring => ring.free())
    }

    /// Chains that the device has, or will have with the next [`Driver::publish`].
    pub fn in_flight(&self) -> u16 {
        either!(self, ring => ring.in_flight())
    }

    /// [`split::Driver::add`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn add(&mut self, readable: &[Segment], writable: &[Segment]) -> Result<Token, AddError> {
        either!(self, ring => ring.add(readable, writable))
    }

    /// [`split::Driver::publish`].
    #[inline]
    pub fn publish(&mut self) {
        either!(self, ring => ring.publish());
    }

    /// [`split::Driver::must_kick`].
    #[inline]
    pub fn must_kick(&mut self) -> bool {
        either!(self, ring => ring.must_kick())
    }

    /// [`split::Driver::reap`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn reap(&mut self) -> Result<Option<Done>, Fault> {
        either!(self, ring => ring.reap())
    }

    /// [`split::Driver::want_calls`].
    pub fn want_calls(&mut self, more: u16) -> bool {
        either!(self, ring => ring.want_calls(more))
    }

    /// [`split::Driver::has_used`].
    #[inline]
    pub fn has_used(&self, chains: u16) -> bool {
        either!(self, ring => ring.has_used(chains))
    }

    /// [`split::Driver::want_no_calls`].
    pub fn want_no_calls(&mut self) {
        either!(self, ring => ring.want_no_calls());
    }

    /// [`split::Driver::outstanding`].
    pub fn outstanding(&self) -> Vec<Token> {
        either!(self, ring => ring.outstanding())
    }
}

impl<S: SplitCells, P: PackedCells> Device<S, P> {
    /// Entries of the ring.
    pub fn size(&self) -> u16 {
        either!(self, ring => ring.size())
    }

    /// [`split::Device::take`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn take<'m, T: Translate<'m>>(
        &mut self,
        memory: &T,
        chain: &mut Chain<'m>,
    ) -> Result<Option<Taken>, Fault> {
        either!(self, ring => ring.take(memory, chain))
    }

    /// [`split::Device::untake`].
    pub fn untake(&mut self, taken: Taken) {
        either!(self, ring => ring.untake(taken));
    }

    /// [`split::Device::forget`].
    pub fn forget(&mut self, taken: Taken) {
        either!(self, ring => ring.forget(taken));
    }

    /// [`split::Device::put`].
    #[inline]
    pub fn put(&mut self, taken: Taken, written: u32) {
        either!(self, ring => ring.put(taken, written));
    }

    /// [`split::Device::publish`].
    #[inline]
    pub fn publish(&mut self) {
        either!(self, ring => ring.publish());
    }

    /// [`split::Device::must_call`].
    #[inline]
    pub fn must_call(&mut self) -> bool {
        either!(self, ring => ring.must_call())
    }

    /// [`split::Device::want_kicks`].
    pub fn want_kicks(&mut self) -> bool {
        either!(self, ring => ring.want_kicks())
    }

    /// [`split::Device::has_chains`].
    #[inline]
    pub fn has_chains(&self) -> bool {
        either!(self, ring => ring.has_chains())
    }

    /// [`split::Device::want_more_kicks`].
    pub fn want_more_kicks(&mut self) -> bool {
        either!(self, ring => ring.want_more_kicks())
    }

    /// [`split::Device::want_no_kicks`].
    pub fn want_no_kicks(&mut self) {
        either!(self, ring => ring.want_no_kicks());
    }
}

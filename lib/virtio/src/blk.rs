//! Block devices (section 5.2), the driver's side.

use crate::Fault;
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::memory::Shared;
use crate::ring::{AddError, Driver, Token};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use thiserror::Error;

/// Bytes of a sector, whatever the block size.
pub const SECTOR: u64 = 512;

bitflags::bitflags! {
    /// Features of block devices.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Segments have a largest size.
        const SIZE_MAX = 1 << 1;
        /// Requests have a largest number of segments.
        const SEG_MAX = 1 << 2;
        /// The geometry is told.
        const GEOMETRY = 1 << 4;
        /// It cannot be written.
        const RO = 1 << 5;
        /// The block size is told.
        const BLK_SIZE = 1 << 6;
        /// Flushes.
        const FLUSH = 1 << 9;
        /// The best sizes of requests are told.
        const TOPOLOGY = 1 << 10;
        /// The cache can be switched.
        const CONFIG_WCE = 1 << 11;
        /// Several queues.
        const MQ = 1 << 12;
        /// Discards.
        const DISCARD = 1 << 13;
        /// Writes zeroes by itself.
        const WRITE_ZEROES = 1 << 14;
        /// Life time of the medium.
        const LIFETIME = 1 << 15;
        /// Erases securely.
        const SECURE_ERASE = 1 << 16;
        /// Zones.
        const ZONED = 1 << 17;
    }
}

/// Configuration space (section 5.2.4), as much of it as the device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Sectors of 512 bytes.
    pub capacity: u64,
    /// Most bytes of a segment, with [`Features::SIZE_MAX`].
    pub size_max: u32,
    /// Most segments of data in a request, with [`Features::SEG_MAX`].
    pub seg_max: u32,
    /// Bytes of a block, with [`Features::BLK_SIZE`].
    pub block_size: u32,
    /// Queues, with [`Features::MQ`].
    pub queues: u16,
    /// Most sectors of a discard.
    pub discard_sectors: u32,
    /// Most segments of a discard.
    pub discard_segments: u32,
    /// Most sectors of a write of zeroes.
    pub zeroes_sectors: u32,
    /// Most segments of one.
    pub zeroes_segments: u32,
}

impl Config {
    /// Bytes of the part that is read here.
    pub const BYTES: usize = 60;

    /// From its bytes; what is missing is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
        }
        let number = |at| u32::from_le_bytes(part(bytes, at));
        Self {
            capacity: u64::from_le_bytes(part(bytes, 0)),
            size_max: number(8),
            seg_max: number(12),
            block_size: number(20),
            queues: u16::from_le_bytes(part(bytes, 34)),
            discard_sectors: number(36),
            discard_segments: number(40),
            zeroes_sectors: number(48),
            zeroes_segments: number(52),
        }
    }
}

/// Kinds of requests (section 5.2.6).
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
    pub(super) const DISCARD: u32 = 11;
    pub(super) const WRITE_ZEROES: u32 = 13;
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The device could not do it.
    #[error("input or output error")]
    Io,
    /// The device does not know such requests.
    #[error("not supported by the device")]
    Unsupported,
    /// A status that means nothing; 255 is one that the device never wrote.
    #[error("the device gave the status {0}")]
    Status(u8),
}

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// What the caller calls it.
    pub tag: u64,
    /// How it ended.
    pub result: Result<(), Failure>,
}

/// A status that no device writes.
const UNWRITTEN: u8 = 0xff;

/// Bytes that a request has for its header, its range and its status; a cache line, so that no two requests share one.
const SLOT: usize = 64;
const HEADER_AT: usize = 0;
const RANGE_AT: usize = 16;
const STATUS_AT: usize = 32;

/// Requests of a queue. The data of a request stays where the caller has it.
#[derive(Debug)]
pub struct Requests {
    slots: Shared,
    address: u64,
    free: Vec<u16>,
    /// By token: the slot, and the caller's name of the request.
    pending: Box<[(u16, u64)]>,
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

impl Requests {
    /// Bytes of memory for the requests of a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        size as usize * SLOT
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, slots: Shared, address: u64) -> Option<Self> {
        (slots.len() >= Self::bytes(size)).then(|| Self {
            slots,
            address,
            free: (0..size).rev().collect(),
            pending: vec![(0, 0); usize::from(size)].into_boxed_slice(),
            readable: Vec::new(),
            writable: Vec::new(),
        })
    }

    /// Reads from `sector` on into `data`.
    ///
    /// # Errors
    /// [`AddError`].
    #[inline]
    pub fn read<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        sector: u64,
        data: &[Segment],
        tag: u64,
    ) -> Result<(), AddError> {
        self.add(ring, kind::IN, sector, None, [&[], data], tag)
    }

    /// Writes `data` from `sector` on.
    ///
    /// # Errors
    /// [`AddError`].
    #[inline]
    pub fn write<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        sector: u64,
        data: &[Segment],
        tag: u64,
    ) -> Result<(), AddError> {
        self.add(ring, kind::OUT, sector, None, [data, &[]], tag)
    }

    /// Makes what was written before durable; with [`Features::FLUSH`].
    ///
    /// # Errors
    /// [`AddError`].
    pub fn flush<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        tag: u64,
    ) -> Result<(), AddError> {
        self.add(ring, kind::FLUSH, 0, None, [&[], &[]], tag)
    }

    /// Reads the name of the device, 20 bytes, into `data`.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn id<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        data: Segment,
        tag: u64,
    ) -> Result<(), AddError> {
        self.add(ring, kind::GET_ID, 0, None, [&[], &[data]], tag)
    }

    /// Forgets the content of sectors; with [`Features::DISCARD`].
    ///
    /// # Errors
    /// [`AddError`].
    pub fn discard<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        sector: u64,
        sectors: u32,
        tag: u64,
    ) -> Result<(), AddError> {
        self.add(ring, kind::DISCARD, 0, Some((sector, sectors, 0)), [&[], &[]], tag)
    }

    /// Makes sectors zero, and gives back their space if `unmap`; with [`Features::WRITE_ZEROES`].
    ///
    /// # Errors
    /// [`AddError`].
    pub fn write_zeroes<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        sector: u64,
        sectors: u32,
        unmap: bool,
        tag: u64,
    ) -> Result<(), AddError> {
        self.add(ring, kind::WRITE_ZEROES, 0, Some((sector, sectors, u32::from(unmap))), [&[], &[]], tag)
    }

    #[inline]
    fn add<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        kind: u32,
        sector: u64,
        range: Option<(u64, u32, u32)>,
        [out, into]: [&[Segment]; 2],
        tag: u64,
    ) -> Result<(), AddError> {
        let slot = self.free.last().copied().ok_or(AddError::Full(crate::Full))?;
        let start = usize::from(slot) * SLOT;
        let at = |offset: usize, length| Segment { address: self.address + (start + offset) as u64, length };
        self.readable.clear();
        self.readable.push(at(HEADER_AT, 16));
        self.readable.extend_from_slice(out);
        if range.is_some() {
            self.readable.push(at(RANGE_AT, 16));
        }
        self.writable.clear();
        self.writable.extend_from_slice(into);
        self.writable.push(at(STATUS_AT, 1));

        let mut bytes = [0; STATUS_AT + 1];
        let (head, rest) = bytes.split_at_mut(RANGE_AT);
        head[..4].copy_from_slice(&kind.to_le_bytes());
        head[8..].copy_from_slice(&sector.to_le_bytes());
        let (sector, sectors, flags) = range.unwrap_or_default();
        rest[..8].copy_from_slice(&sector.to_le_bytes());
        rest[8..12].copy_from_slice(&sectors.to_le_bytes());
        rest[12..16].copy_from_slice(&flags.to_le_bytes());
        rest[16] = UNWRITTEN;
        if let Some(memory) = self.slots.slice().part(start, bytes.len()) {
            memory.write(&bytes);
        }
        let Token(token) = ring.add(&self.readable, &self.writable)?;
        self.free.pop();
        self.pending[usize::from(token)] = (slot, tag);
        Ok(())
    }

    /// A request that has ended; `None` if none has.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    #[inline]
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Completed>, Fault> {
        let Some(done) = ring.reap()? else { return Ok(None) };
        let (slot, tag) = self.pending[usize::from(done.token.0)];
        self.free.push(slot);
        let mut status = [UNWRITTEN];
        if let Some(memory) = self.slots.slice().part(usize::from(slot) * SLOT + STATUS_AT, 1) {
            memory.read(&mut status);
        }
        let result = match status {
            [0] => Ok(()),
            [1] => Err(Failure::Io),
            [2] => Err(Failure::Unsupported),
            [other] => Err(Failure::Status(other)),
        };
        Ok(Some(Completed { tag, result }))
    }
}

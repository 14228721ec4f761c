//! The driver's side of a block device.

use super::{Completed, Failure, kind};
use crate::Fault;
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::memory::Shared;
use crate::ring::{AddError, Driver, Token};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

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

    /// Makes what was written before durable; with [`super::Features::FLUSH`].
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

    /// Forgets the content of sectors; with [`super::Features::DISCARD`].
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

    /// Makes sectors zero, and gives back their space if `unmap`; with [`super::Features::WRITE_ZEROES`].
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

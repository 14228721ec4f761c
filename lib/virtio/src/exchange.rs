//! Requests that the device answers within the same chain: commands of a control queue, of SCSI, of a file system.
//!
//! ```text
//!   readable: request (copied) | data of the caller's      writable: answer (copied) | data of the caller's
//! ```

use crate::Fault;
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::memory::Shared;
use crate::ring::{AddError, Driver, Full};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// The requests of a queue. Request and answer are copied; data stays where the caller has it.
#[derive(Debug)]
pub struct Exchanges {
    slots: Shared,
    address: u64,
    request_bytes: u32,
    answer_bytes: u32,
    free: Vec<u16>,
    /// By token.
    pending: Box<[Pending]>,
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    slot: u16,
    /// Bytes of the answer that were asked for.
    answer: u32,
    tag: u64,
}

/// A request that has ended, until it is given to [`Exchanges::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is not released is lost for further requests"]
pub struct Answered {
    /// What the caller calls it.
    pub tag: u64,
    /// Bytes of the answer that the device wrote, as it says.
    pub answer: u32,
    /// Bytes of the caller's data that it wrote, as it says.
    pub data: u32,
    slot: u16,
}

impl Exchanges {
    /// Bytes of memory for a ring of `size`, with requests and answers of at most so many bytes.
    pub const fn bytes(size: u16, request_bytes: u32, answer_bytes: u32) -> usize {
        size as usize * Self::slot_bytes(request_bytes, answer_bytes)
    }

    /// Slots share no cache line, nor does a request with its answer.
    const fn slot_bytes(request_bytes: u32, answer_bytes: u32) -> usize {
        (request_bytes as usize).next_multiple_of(64) + (answer_bytes as usize).next_multiple_of(64)
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(
        size: u16,
        request_bytes: u32,
        answer_bytes: u32,
        slots: Shared,
        address: u64,
    ) -> Option<Self> {
        (slots.len() >= Self::bytes(size, request_bytes, answer_bytes)).then(|| Self {
            slots,
            address,
            request_bytes,
            answer_bytes,
            free: (0..size).rev().collect(),
            pending: vec![Pending::default(); usize::from(size)].into_boxed_slice(),
            readable: Vec::new(),
            writable: Vec::new(),
        })
    }

    /// Sends a request, made of `parts`, with data that the device reads, and lets it write an answer of `answer` bytes and data. The device
    /// sees it when the ring is published.
    ///
    /// # Errors
    /// [`AddError`]; [`AddError::Length`] where request or answer are longer than was said in [`Exchanges::new`].
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        (parts, data): (&[&[u8]], &[Segment]),
        (answer, into): (u32, &[Segment]),
        tag: u64,
    ) -> Result<(), AddError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).ok().filter(|length| *length <= self.request_bytes);
        let (Some(length), true) = (length, answer <= self.answer_bytes) else {
            return Err(AddError::Length);
        };
        let slot = self.free.last().copied().ok_or(AddError::Full(Full))?;
        let (request_at, answer_at) = self.places(slot);
        let mut at = request_at;
        for part in parts {
            if let Some(place) = self.slots.slice().part(at, part.len()) {
                place.write(part);
            }
            at += part.len();
        }
        let segment = |at: usize, length| Segment { address: self.address + at as u64, length };
        self.readable.clear();
        self.readable.push(segment(request_at, length));
        self.readable.extend_from_slice(data);
        self.writable.clear();
        if answer > 0 {
            self.writable.push(segment(answer_at, answer));
        }
        self.writable.extend_from_slice(into);
        let token = ring.add(&self.readable, &self.writable)?;
        self.free.pop();
        self.pending[usize::from(token.0)] = Pending { slot, answer, tag };
        Ok(())
    }

    /// A request that has ended; `None` if none has.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Answered>, Fault> {
        let Some(done) = ring.reap()? else { return Ok(None) };
        let Pending { slot, answer, tag } = self.pending[usize::from(done.token.0)];
        let written = done.written.min(answer);
        Ok(Some(Answered { tag, answer: written, data: done.written - written, slot }))
    }

    /// Reads the answer of a request that has ended into `into`, and lets go of it: what the caller calls it, and the bytes of it that the device
    /// wrote; `None` if none has. The rest of `into` stays as it is.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn answer<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        into: &mut [u8],
    ) -> Result<Option<(u64, usize)>, Fault> {
        let Some(answered) = self.reap(ring)? else { return Ok(None) };
        let (tag, length) = (answered.tag, self.read(&answered, into));
        self.release(answered);
        Ok(Some((tag, length)))
    }

    /// Reads the answer from its start; gives the bytes of it that the device wrote. The rest of `into` stays as it is.
    pub fn read(&self, answered: &Answered, into: &mut [u8]) -> usize {
        let (_, at) = self.places(answered.slot);
        let count = into.len().min(answered.answer as usize);
        self.slots.slice().part(at, count).map_or(0, |place| place.read(&mut into[..count]))
    }

    /// Its place can be used again.
    pub fn release(&mut self, answered: Answered) {
        self.free.push(answered.slot);
    }

    const fn places(&self, slot: u16) -> (usize, usize) {
        let start = slot as usize * Self::slot_bytes(self.request_bytes, self.answer_bytes);
        (start, start + (self.request_bytes as usize).next_multiple_of(64))
    }
}

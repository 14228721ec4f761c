//! Messages that a driver sends and receives through buffers of its own: network frames, a console's text, random bytes.

use crate::Fault;
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::memory::{Shared, Slice};
use crate::ring::{AddError, Driver, Full, Token};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// So many messages ahead a buffer is asked for.
const AHEAD: usize = 8;

/// Buffers of one size, in memory that the device finds at an address.
#[derive(Debug)]
struct Buffers {
    memory: Shared,
    address: u64,
    each: u32,
    free: Vec<u16>,
    /// By token, the buffer.
    out: Box<[u16]>,
}

impl Buffers {
    fn new(ring_size: u16, each: u32, memory: Shared, address: u64) -> Option<Self> {
        let count = u16::try_from(memory.len() / usize::try_from(each).ok()?.max(1)).unwrap_or(u16::MAX);
        (count > 0 && each > 0).then(|| Self {
            memory,
            address,
            each,
            free: (0..count.min(ring_size)).rev().collect(),
            out: vec![0; usize::from(ring_size)].into_boxed_slice(),
        })
    }

    #[inline]
    fn segment(&self, buffer: u16, length: u32) -> Segment {
        Segment { address: self.address + u64::from(buffer) * u64::from(self.each), length }
    }

    #[inline]
    fn slice(&self, buffer: u16, length: u32) -> Option<Slice<'_>> {
        self.memory.slice().part(usize::from(buffer) * self.each as usize, length.min(self.each) as usize)
    }

    #[inline]
    fn is_out(&mut self, Token(token): Token, buffer: u16) {
        if let Some(out) = self.out.get_mut(usize::from(token)) {
            *out = buffer;
        }
    }

    #[inline]
    fn of(&self, Token(token): Token) -> u16 {
        self.out.get(usize::from(token)).copied().unwrap_or_default()
    }
}

/// Buffers that the device fills.
#[derive(Debug)]
pub struct Inbox(Buffers);

/// A buffer that was filled, until it is given to [`Inbox::offer_again`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a buffer that is not offered again is lost"]
pub struct Letter {
    buffer: u16,
    length: u32,
}

impl Inbox {
    /// As many buffers of `each` bytes as `memory` has room for, and the ring of `ring_size` too; `None` where that is none.
    pub fn new(ring_size: u16, each: u32, memory: Shared, address: u64) -> Option<Self> {
        Buffers::new(ring_size, each, memory, address).map(Self)
    }

    /// Offers every buffer that is free. The device sees them when the ring is published.
    ///
    /// # Errors
    /// [`AddError`], never because the ring is full.
    pub fn offer<S: SplitCells, P: PackedCells>(&mut self, ring: &mut Driver<S, P>) -> Result<(), AddError> {
        while let Some(buffer) = self.0.free.pop() {
            match ring.add(&[], &[self.0.segment(buffer, self.0.each)]) {
                Ok(token) => self.0.is_out(token, buffer),
                Err(error) => {
                    self.0.free.push(buffer);
                    return if error == AddError::Full(Full) { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }

    /// The next that was filled.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn next<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Letter>, Fault> {
        let done = ring.reap()?;
        Ok(done.map(|done| Letter { buffer: self.0.of(done.token), length: done.written }))
    }

    /// What is in it.
    pub fn open(&self, letter: &Letter) -> Option<Slice<'_>> {
        self.0.slice(letter.buffer, letter.length)
    }

    /// It can be filled again.
    pub fn offer_again(&mut self, letter: Letter) {
        self.0.free.push(letter.buffer);
    }
}

/// Buffers that the device reads.
#[derive(Debug)]
pub struct Outbox(Buffers);

impl Outbox {
    /// As [`Inbox::new`].
    pub fn new(ring_size: u16, each: u32, memory: Shared, address: u64) -> Option<Self> {
        Buffers::new(ring_size, each, memory, address).map(Self)
    }

    /// Sends these parts as one message, which is copied. The device sees it when the ring is published.
    ///
    /// # Errors
    /// [`AddError::Full`] while no buffer is free; [`AddError::Length`] where it is longer than one.
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        parts: &[&[u8]],
    ) -> Result<(), AddError> {
        self.post(ring, parts).map(drop)
    }

    /// The same, and what names the message until [`Outbox::next`] gives it.
    ///
    /// # Errors
    /// As [`Outbox::send`].
    pub fn post<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        parts: &[&[u8]],
    ) -> Result<Token, AddError> {
        self.fill(ring, parts.iter().map(|part| part.len()).sum(), |slice| {
            let mut at = 0;
            for part in parts {
                slice.part(at, part.len()).map(|place| place.write(part));
                at += part.len();
            }
        })
    }

    /// The same of a header that was made just now, and what comes behind it. As the compiler knows how long the header is, it goes from
    /// registers: copied as any bytes are, it is loaded wider than it was stored, for which the processor waits until every store before it
    /// has left, also those for whose lines the device has to be asked.
    #[inline]
    pub(crate) fn post_behind<S: SplitCells, P: PackedCells, const N: usize>(
        &mut self,
        ring: &mut Driver<S, P>,
        header: [u8; N],
        body: &[u8],
    ) -> Result<Token, AddError> {
        self.fill(ring, N + body.len(), |slice| {
            slice.part(0, N).map(|place| place.write(&header));
            slice.part(N, body.len()).map(|place| place.write(body));
        })
    }

    /// A buffer with so many bytes, which `write` writes.
    #[inline]
    fn fill<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        length: usize,
        write: impl FnOnce(&Slice<'_>),
    ) -> Result<Token, AddError> {
        let length =
            u32::try_from(length).ok().filter(|length| *length <= self.0.each).ok_or(AddError::Length)?;
        let buffer = self.0.free.last().copied().ok_or(AddError::Full(Full))?;
        if let Some(slice) = self.0.slice(buffer, length) {
            write(&slice);
        }
        // For who sends many: the buffer of a message some later, whose lines the device has had since it read the one before.
        let later = self.0.free.len().checked_sub(1 + AHEAD).and_then(|at| self.0.free.get(at));
        if let Some(slice) = later.and_then(|later| self.0.slice(*later, length)) {
            slice.prepare();
        }
        let token = ring.add(&[self.0.segment(buffer, length)], &[])?;
        self.0.free.pop();
        self.0.is_out(token, buffer);
        Ok(token)
    }

    /// Takes back the buffer of a message that the device has read, in whatever order it does; `None` if there is none.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn next<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Token>, Fault> {
        let Some(done) = ring.reap()? else { return Ok(None) };
        let buffer = self.0.of(done.token);
        self.0.free.push(buffer);
        Ok(Some(done.token))
    }

    /// Takes back the buffers that the device has read; gives their number.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn taken<S: SplitCells, P: PackedCells>(&mut self, ring: &mut Driver<S, P>) -> Result<usize, Fault> {
        let mut count = 0;
        while self.next(ring)?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

//! A pair of queues, from the driver's side.

use super::{HEADER, Header};
use crate::Fault;
use crate::cells::{PackedCells, SplitCells};
use crate::memory::Shared;
use crate::post::{Inbox, Letter, Outbox};
use crate::ring::{AddError, Driver};
use alloc::vec;
use alloc::vec::Vec;
use thiserror::Error;

/// What came is no frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The device broke a rule of the ring.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A buffer without room for a header.
    #[error("a frame without a header")]
    Short,
}

/// Frames that are received. One may lie in several buffers, with [`super::Features::MRG_RXBUF`].
#[derive(Debug)]
pub struct Receiver {
    inbox: Inbox,
    /// The buffers of a frame that is not whole yet, and how many it has.
    parts: Vec<Letter>,
    expected: u16,
}

impl Receiver {
    /// With buffers of `each` bytes, header included; `None` where `memory`, which the device finds at `address`, has no room for one.
    pub fn new(ring_size: u16, each: u32, memory: Shared, address: u64) -> Option<Self> {
        let inbox = Inbox::new(ring_size, each, memory, address)?;
        Some(Self { inbox, parts: Vec::new(), expected: 0 })
    }

    /// Offers every buffer that is free. The device sees them when the ring is published.
    ///
    /// # Errors
    /// [`AddError`], never because the ring is full.
    pub fn offer<S: SplitCells, P: PackedCells>(&mut self, ring: &mut Driver<S, P>) -> Result<(), AddError> {
        self.inbox.offer(ring)
    }

    /// The next frame, in place of what is in `frame`; `None`: there is none that is whole.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn next<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        frame: &mut Vec<u8>,
    ) -> Result<Option<Header>, ReceiveError> {
        while let Some(letter) = self.inbox.next(ring)? {
            if self.parts.is_empty() {
                let header = self.inbox.open(&letter).and_then(|slice| slice.part(0, HEADER));
                let Some(bytes) = header else {
                    self.inbox.offer_again(letter);
                    return Err(ReceiveError::Short);
                };
                let mut header = [0; HEADER];
                bytes.read(&mut header);
                // Without mergeable buffers the number is 1, and was not always set.
                self.expected = Header::parse(&header).buffers.max(1);
            }
            self.parts.push(letter);
            if self.parts.len() == usize::from(self.expected) {
                return Ok(Some(self.gather(frame)));
            }
        }
        Ok(None)
    }

    fn gather(&mut self, frame: &mut Vec<u8>) -> Header {
        frame.clear();
        for letter in self.parts.drain(..) {
            if let Some(slice) = self.inbox.open(&letter) {
                let start = frame.len();
                frame.extend(vec![0; slice.len()]);
                slice.read(&mut frame[start..]);
            }
            self.inbox.offer_again(letter);
        }
        // The first has one: that was looked at when it came.
        let mut header = [0; HEADER];
        for (to, from) in header.iter_mut().zip(frame.drain(..HEADER)) {
            *to = from;
        }
        Header::parse(&header)
    }
}

/// Frames that are sent.
#[derive(Debug)]
pub struct Sender(Outbox);

impl Sender {
    /// With buffers of `each` bytes, header included; `None` where `memory`, which the device finds at `address`, has no room for one.
    pub fn new(ring_size: u16, each: u32, memory: Shared, address: u64) -> Option<Self> {
        Outbox::new(ring_size, each, memory, address).map(Self)
    }

    /// Sends a frame, which is copied. The device sees it when the ring is published.
    ///
    /// # Errors
    /// [`AddError::Full`] until [`Sender::taken`] finds something; [`AddError::Length`] where it is longer than a buffer.
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        header: Header,
        frame: &[u8],
    ) -> Result<(), AddError> {
        self.0.post_behind(ring, header.bytes(), frame).map(drop)
    }

    /// Takes back the buffers that the device has read; gives their number.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn taken<S: SplitCells, P: PackedCells>(&mut self, ring: &mut Driver<S, P>) -> Result<usize, Fault> {
        self.0.taken(ring)
    }
}

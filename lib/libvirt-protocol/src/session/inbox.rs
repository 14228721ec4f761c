//! Bytes that have arrived, cut into packets.

use crate::packet::{
    DESCRIPTORS_MAX, HEADER_SIZE, Header, LENGTH_SIZE, PACKET_MIN, PacketError, packet_size,
};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// How much is read at once when no long packet is under way.
const CHUNK: usize = 64 * 1024;
/// A buffer that grew beyond this for one packet is given back after it.
const KEEP: usize = 1024 * 1024;

/// Bytes that have arrived, cut into packets. A packet's length is believed only as far as bytes of it have come: a length word alone
/// reserves no memory.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The payload of the last packet.
    payload: Range<usize>,
    descriptors: VecDeque<OwnedFd>,
}

/// A packet that has come whole; its payload lies in the inbox ([`Inbox::payload`]).
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) header: Header,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Inbox {
    /// Room for what comes next; never empty. Read into it, then say how much came.
    pub fn space(&mut self) -> &mut [u8] {
        self.payload = 0..0;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.buffer.len() > KEEP {
                self.buffer = Vec::new();
            }
        }
        let have = self.end - self.start;
        // As much as is missing of the packet under way, but no more than has come of it already.
        let wanted = self.missing().clamp(1, CHUNK.max(have));
        if self.buffer.len() - self.end < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = have;
            let room = (have + wanted).max(CHUNK);
            if self.buffer.len() < room {
                self.buffer.resize(room, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put into the room, and these descriptors came with them.
    ///
    /// # Panics
    /// When it is more than the room held.
    pub fn filled(&mut self, bytes: usize, descriptors: impl IntoIterator<Item = OwnedFd>) {
        assert!(bytes <= self.buffer.len() - self.end, "more bytes than there was room for");
        self.end += bytes;
        self.descriptors.extend(descriptors);
    }

    /// How many bytes have come that no packet has taken yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Bytes missing of the packet under way, as far as is known.
    fn missing(&self) -> usize {
        let held = &self.buffer[self.start..self.end];
        let size = held.first_chunk().and_then(|length| packet_size(*length).ok());
        size.unwrap_or(CHUNK).saturating_sub(held.len())
    }

    /// The next packet, if it has come whole.
    ///
    /// # Errors
    /// When the bytes cannot be a packet. The connection is of no further use.
    pub(crate) fn packet(&mut self) -> Result<Option<Packet>, PacketError> {
        let held = &self.buffer[self.start..self.end];
        let Some(length) = held.first_chunk::<LENGTH_SIZE>() else { return Ok(None) };
        let size = packet_size(*length)?;
        // A header that cannot be one is refused before the rest of the packet comes.
        let Some(header) = held.get(LENGTH_SIZE..).and_then(|rest| rest.first_chunk::<HEADER_SIZE>()) else {
            return Ok(None);
        };
        let header = Header::decode(header)?;
        let mut from = PACKET_MIN;
        let mut count = 0;
        if header.kind.has_descriptors() {
            if size < PACKET_MIN + LENGTH_SIZE {
                return Err(PacketError::Length(u32::from_be_bytes(*length)));
            }
            let Some(word) = held.get(PACKET_MIN..).and_then(|rest| rest.first_chunk::<4>()) else {
                return Ok(None);
            };
            let word = u32::from_be_bytes(*word);
            count = word as usize;
            if count > DESCRIPTORS_MAX {
                return Err(PacketError::Descriptors(word));
            }
            from += LENGTH_SIZE;
        }
        // Each descriptor comes with a byte of its own behind the packet.
        let whole = size + count;
        if held.len() < whole {
            return Ok(None);
        }
        if self.descriptors.len() < count {
            return Err(PacketError::NoDescriptors { announced: count, came: self.descriptors.len() });
        }
        let descriptors = self.descriptors.drain(..count).collect();
        self.payload = self.start + from..self.start + size;
        self.start += whole;
        Ok(Some(Packet { header, descriptors }))
    }

    /// The payload of the last packet, until room is asked for.
    pub(crate) fn payload(&self) -> &[u8] {
        self.buffer.get(self.payload.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Kind, Status};

    fn packet(payload: &[u8]) -> Vec<u8> {
        let header =
            Header { program: 1, version: 1, procedure: 2, kind: Kind::Reply, serial: 3, status: Status::Ok };
        let length = u32::try_from(PACKET_MIN + payload.len()).unwrap();
        [&length.to_be_bytes()[..], &header.encode(), payload].concat()
    }

    fn feed(inbox: &mut Inbox, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            let space = inbox.space();
            let fitting = space.len().min(left.len());
            space[..fitting].copy_from_slice(&left[..fitting]);
            inbox.filled(fitting, []);
            left = &left[fitting..];
        }
    }

    #[test]
    fn packets_come_out_whole_however_the_bytes_come() {
        let sizes = [0, 1, 7, 70_000, 3, 2_000_000, 0];
        let all: Vec<u8> = sizes.iter().flat_map(|size| packet(&vec![9; *size])).collect();
        for step in [1013, 65_536, all.len()] {
            let mut inbox = Inbox::default();
            let mut found = Vec::new();
            for piece in all.chunks(step) {
                feed(&mut inbox, piece);
                while inbox.packet().unwrap().is_some() {
                    found.push(inbox.payload().len());
                }
            }
            assert_eq!(found, sizes);
            assert_eq!(inbox.pending(), 0);
        }
    }

    #[test]
    fn a_length_word_alone_reserves_nothing() {
        let mut inbox = Inbox::default();
        feed(&mut inbox, &33_554_436_u32.to_be_bytes());
        assert!(inbox.packet().unwrap().is_none());
        assert!(inbox.space().len() <= 2 * CHUNK);
    }

    #[test]
    fn lengths_that_no_packet_has_are_refused() {
        for length in [0, 27, 33_554_437, u32::MAX] {
            let mut inbox = Inbox::default();
            feed(&mut inbox, &length.to_be_bytes());
            assert_eq!(inbox.packet().unwrap_err(), PacketError::Length(length));
        }
    }

    #[test]
    fn a_long_packet_leaves_no_long_buffer_behind() {
        let mut inbox = Inbox::default();
        feed(&mut inbox, &packet(&vec![1; 8_000_000]));
        assert!(inbox.packet().unwrap().is_some());
        assert_eq!(inbox.payload().len(), 8_000_000);
        assert!(inbox.space().len() <= KEEP);
    }
}

//! Bytes that have arrived, cut into packets.

use crate::packet::{Frame, Header, PacketError, packet_size};
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
    /// When the bytes cannot be a packet, or descriptors came that belong to none. The connection is of no further use.
    pub(crate) fn packet(&mut self) -> Result<Option<Packet>, PacketError> {
        let held = &self.buffer[self.start..self.end];
        let frame = match Frame::begin(held)? {
            Some(frame) if held.len() >= frame.size() => frame,
            under_way => {
                // Descriptors come behind the packet that announces them, so what is here now belongs to this one.
                let announced = under_way.map_or(0, |frame| frame.descriptors);
                let came = self.descriptors.len();
                return if came > announced {
                    Err(PacketError::Unannounced { announced, came })
                } else {
                    Ok(None)
                };
            }
        };
        let announced = frame.descriptors;
        if self.descriptors.len() < announced {
            return Err(PacketError::NoDescriptors { announced, came: self.descriptors.len() });
        }
        let descriptors = self.descriptors.drain(..announced).collect();
        self.payload = self.start + frame.payload.start..self.start + frame.payload.end;
        self.start += frame.size();
        Ok(Some(Packet { header: frame.header, descriptors }))
    }

    /// The payload of the last packet, until room is asked for.
    pub(crate) fn payload(&self) -> &[u8] {
        self.buffer.get(self.payload.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{self, Kind, Status};

    fn header(kind: Kind) -> Header {
        Header { program: 1, version: 1, procedure: 2, kind, serial: 3, status: Status::Ok }
    }

    fn packet(payload: &[u8]) -> Vec<u8> {
        packet::encode(&header(Kind::Reply), 0, payload)
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

    /// A descriptor, with the byte that it comes with.
    fn descriptor(inbox: &mut Inbox, byte: u8) {
        let (reader, _) = std::io::pipe().unwrap();
        inbox.space()[0] = byte;
        inbox.filled(1, [reader.into()]);
    }

    #[test]
    fn descriptors_that_nothing_announced_end_the_connection() {
        // With a byte that could begin a packet, in the midst of a packet without any, behind one that announced fewer.
        let mut inbox = Inbox::default();
        descriptor(&mut inbox, 0);
        assert_eq!(inbox.packet().unwrap_err(), PacketError::Unannounced { announced: 0, came: 1 });

        let mut inbox = Inbox::default();
        let long = packet(&[7; 100]);
        feed(&mut inbox, &long[..60]);
        assert!(inbox.packet().unwrap().is_none());
        descriptor(&mut inbox, long[60]);
        assert_eq!(inbox.packet().unwrap_err(), PacketError::Unannounced { announced: 0, came: 1 });

        let mut inbox = Inbox::default();
        feed(&mut inbox, &packet::encode(&header(Kind::ReplyWithFds), 1, &[]));
        assert!(inbox.packet().unwrap().is_none());
        descriptor(&mut inbox, 0);
        descriptor(&mut inbox, 0);
        assert_eq!(inbox.packet().unwrap().unwrap().descriptors.len(), 1);
        assert_eq!(inbox.packet().unwrap_err(), PacketError::Unannounced { announced: 0, came: 1 });
    }
}

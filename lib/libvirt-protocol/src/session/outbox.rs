//! Bytes to be sent, and the descriptors between them.

use crate::packet::{self, DESCRIPTORS_MAX, Header, Kind, PACKET_MAX, STREAM_CHUNK};
use crate::xdr::{LimitError, Limited};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes to be sent, in order, and the descriptors that go between them.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Places in `bytes`, counted from the first byte ever, before which a descriptor goes.
    descriptors: VecDeque<(u64, OwnedFd)>,
    /// How many bytes were taken out of `bytes` so far.
    gone: u64,
    /// The place behind the last answer to a keepalive question.
    pong: u64,
}

/// What is to be sent next.
#[derive(Debug)]
pub enum Transmit<'a> {
    /// These bytes, or a part of them.
    Bytes(&'a [u8]),
    /// One byte (0), and this descriptor with it.
    Descriptor(BorrowedFd<'a>),
}

/// What a packet carries, looked at as a whole: it is within what the protocol allows.
#[derive(Debug)]
pub(crate) struct Load {
    /// Size of the payload.
    size: usize,
    descriptors: Vec<OwnedFd>,
}

impl Load {
    /// A payload of this size, and these descriptors.
    ///
    /// # Errors
    /// When that is more than one packet may be: the other side would close the connection, with everything on it.
    pub(crate) fn new(size: usize, descriptors: Vec<OwnedFd>) -> Result<Self, LimitError> {
        let limited = |of, length, limit: usize| {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            LimitError { length, limit, of }
        };
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(limited(Limited::Descriptors, descriptors.len(), DESCRIPTORS_MAX));
        }
        let kind = if descriptors.is_empty() { Kind::Call } else { Kind::CallWithFds };
        match packet::length(kind, size) {
            length if length > PACKET_MAX => Err(limited(Limited::Message, length, PACKET_MAX)),
            _ => Ok(Self { size, descriptors }),
        }
    }

    /// Whether descriptors travel with it.
    pub(crate) fn has_descriptors(&self) -> bool {
        !self.descriptors.is_empty()
    }
}

impl Outbox {
    /// Appends a packet whose payload is written by `put`.
    pub(crate) fn packet(&mut self, header: &Header, load: Load, put: impl FnOnce(&mut Vec<u8>)) {
        let Load { size, descriptors } = load;
        self.compact();
        self.bytes.reserve(packet::length(header.kind, size));
        packet::put_head(header, descriptors.len(), size, &mut self.bytes);
        put(&mut self.bytes);
        let place = self.gone + self.bytes.len() as u64;
        self.descriptors.extend(descriptors.into_iter().map(|descriptor| (place, descriptor)));
    }

    /// Appends packets with these bytes, in the usual pieces; none when there are none.
    pub(crate) fn pieces(&mut self, header: &Header, data: &[u8]) {
        for piece in data.chunks(STREAM_CHUNK) {
            self.short(header, piece);
        }
    }

    /// Appends a packet without descriptors that is known to be short: a signal, a piece of a stream.
    pub(crate) fn short(&mut self, header: &Header, payload: &[u8]) {
        let load = Load { size: payload.len(), descriptors: Vec::new() };
        self.packet(header, load, |out| out.extend_from_slice(payload));
    }

    /// Answers a keepalive question, unless an earlier answer is still to be sent: who asks and does not read gets one, not a heap of them.
    pub(crate) fn pong(&mut self, question: &Header) {
        if self.pong > self.gone + self.sent as u64 {
            return;
        }
        let answer = Header { procedure: super::keepalive::PONG, ..*question };
        self.short(&answer, &[]);
        self.pong = self.gone + self.bytes.len() as u64;
    }

    /// Gives up what has gone, when it is at least half of all: so each byte moves once at most, and who always has more to send does
    /// not keep all that ever went.
    fn compact(&mut self) {
        if self.sent * 2 >= self.bytes.len() {
            self.gone += self.sent as u64;
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// What goes next.
    #[must_use]
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        let at = self.gone + self.sent as u64;
        let rest = &self.bytes[self.sent..];
        match self.descriptors.front() {
            Some((place, descriptor)) if *place == at => Some(Transmit::Descriptor(descriptor.as_fd())),
            Some((place, _)) => {
                let until = usize::try_from(place - at).unwrap_or(rest.len()).min(rest.len());
                Some(Transmit::Bytes(&rest[..until]))
            }
            None if rest.is_empty() => None,
            None => Some(Transmit::Bytes(rest)),
        }
    }

    /// So many bytes of [`Transmit::Bytes`] were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = (self.sent + bytes).min(self.bytes.len());
        self.compact();
    }

    /// The descriptor of [`Transmit::Descriptor`] was sent.
    pub fn descriptor_sent(&mut self) {
        self.descriptors.pop_front();
    }

    /// Bytes that wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PAYLOAD_MAX, Status};

    #[test]
    fn what_never_runs_dry_stays_small() {
        let header = Header {
            program: 1,
            version: 1,
            procedure: 1,
            kind: Kind::Stream,
            serial: 1,
            status: Status::Continue,
        };
        let mut outbox = Outbox::default();
        let (mut put, mut seen) = (0_u8, 0_u8);
        for _ in 0..1000 {
            while outbox.pending() < 10 * 1028 {
                outbox.short(&header, &[put; 1000]);
                put = put.wrapping_add(1);
            }
            let Some(Transmit::Bytes(bytes)) = outbox.transmit() else { panic!("there is something") };
            // One packet at a time, which is never all.
            assert!(bytes.len() > 1028 && bytes[28..1028].iter().all(|byte| *byte == seen));
            seen = seen.wrapping_add(1);
            outbox.sent(1028);
            assert!(outbox.bytes.len() <= 3 * 10 * 1028, "{}", outbox.bytes.len());
        }
    }

    #[test]
    fn descriptors_follow_their_packet() {
        let header =
            |kind| Header { program: 1, version: 1, procedure: 1, kind, serial: 1, status: Status::Ok };
        let mut outbox = Outbox::default();
        outbox.short(&header(Kind::Call), &[]);
        let (reader, writer) = std::io::pipe().unwrap();
        let load = Load::new(4, vec![reader.into(), writer.into()]).unwrap();
        outbox.packet(&header(Kind::CallWithFds), load, |out| out.extend_from_slice(&[1; 4]));
        outbox.short(&header(Kind::Call), &[]);
        let mut seen = Vec::new();
        while let Some(next) = outbox.transmit() {
            match next {
                Transmit::Bytes(bytes) => {
                    // In small steps, as a full socket would have it.
                    let step = bytes.len().min(10);
                    seen.push(step);
                    outbox.sent(step);
                }
                Transmit::Descriptor(_) => {
                    seen.push(0);
                    outbox.descriptor_sent();
                }
            }
        }
        assert_eq!(seen, [10, 10, 10, 10, 10, 10, 4, 0, 0, 10, 10, 8]);
    }

    #[test]
    fn a_load_is_what_one_packet_carries_at_most() {
        let descriptors = |count: usize| -> Vec<OwnedFd> {
            (0..count).map(|_| std::io::pipe().unwrap().0.into()).collect()
        };
        assert!(Load::new(PAYLOAD_MAX, Vec::new()).is_ok());
        let error = Load::new(PAYLOAD_MAX + 1, Vec::new()).unwrap_err();
        assert_eq!((error.of, error.length, error.limit), (Limited::Message, PACKET_MAX + 1, 33_554_436));
        // The count of descriptors takes a word of the packet.
        assert!(Load::new(PAYLOAD_MAX - 4, descriptors(32)).is_ok());
        assert_eq!(Load::new(PAYLOAD_MAX - 3, descriptors(1)).unwrap_err().length, PACKET_MAX + 1);
        let error = Load::new(0, descriptors(33)).unwrap_err();
        assert_eq!((error.of, error.length, error.limit), (Limited::Descriptors, 33, 32));
        assert_eq!(
            error.to_string(),
            "33 file descriptors with one message, where libvirt's protocol allows 32"
        );
    }
}

//! Bytes to be sent, and the descriptors between them.

use crate::packet::{Header, LENGTH_SIZE, PACKET_MIN};
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

impl Outbox {
    /// Appends a packet whose payload has this size and is written by `put`.
    pub(crate) fn packet(
        &mut self,
        header: &Header,
        size: usize,
        descriptors: Vec<OwnedFd>,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        self.compact();
        let counted = header.kind.has_descriptors();
        let length = PACKET_MIN + if counted { LENGTH_SIZE } else { 0 } + size;
        self.bytes.reserve(length);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(&header.encode());
        if counted {
            let count = u32::try_from(descriptors.len()).unwrap_or(u32::MAX);
            self.bytes.extend_from_slice(&count.to_be_bytes());
        }
        put(&mut self.bytes);
        let place = self.gone + self.bytes.len() as u64;
        self.descriptors.extend(descriptors.into_iter().map(|descriptor| (place, descriptor)));
    }

    /// Answers a keepalive question, unless an earlier answer is still to be sent: who asks and does not read gets one, not a heap of them.
    pub(crate) fn pong(&mut self, question: &Header) {
        if self.pong > self.gone + self.sent as u64 {
            return;
        }
        let answer = Header { procedure: super::keepalive::PONG, ..*question };
        self.packet(&answer, 0, Vec::new(), |_| {});
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
    use crate::packet::{Kind, Status};

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
                outbox.packet(&header, 1000, Vec::new(), |out| out.extend([put; 1000]));
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
        outbox.packet(&header(Kind::Call), 0, Vec::new(), |_| {});
        let (reader, writer) = std::io::pipe().unwrap();
        outbox.packet(&header(Kind::CallWithFds), 4, vec![reader.into(), writer.into()], |out| {
            out.extend_from_slice(&[1; 4]);
        });
        outbox.packet(&header(Kind::Call), 0, Vec::new(), |_| {});
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
}

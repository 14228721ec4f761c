//! Packets out of a stream of bytes, and back.

use super::Direction;
use libvirt_protocol::packet::{self, Frame, Header, Kind, PacketError, Status};
use libvirt_protocol::procedure::Program;
use libvirt_protocol::xdr::{self, DecodeError, Wire};
use libvirt_protocol::{event, types};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// A packet, whole.
#[derive(Debug)]
pub struct Packet {
    /// Its header.
    pub header: Header,
    /// Its payload; the count of descriptors is no part of it.
    pub payload: Vec<u8>,
    /// The descriptors that travel with it.
    pub descriptors: Vec<OwnedFd>,
}

/// What a payload turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Structured: this is what encoding what was decoded gives.
    Recoded(Vec<u8>),
    /// Structured, but not as this library knows it.
    Malformed(DecodeError),
    /// Bytes of a stream, or nothing.
    Raw,
    /// Of a procedure or program that this library does not know.
    Unknown,
}

impl Packet {
    /// The packet as it travels, without the bytes that carry its descriptors.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        packet::encode(&self.header, self.descriptors.len(), &self.payload)
    }

    /// Decodes what the packet holds and encodes it again.
    pub(super) fn recode(&self, direction: Direction) -> Content {
        let Header { program, procedure, kind, status, .. } = self.header;
        if self.payload.is_empty() && matches!(kind, Kind::Stream) {
            return Content::Raw;
        }
        let Some(program) = Program::from_number(program) else {
            // Keepalive has no content.
            return if self.payload.is_empty() { Content::Raw } else { Content::Unknown };
        };
        let payload = &self.payload;
        let recoded = match (kind, status, direction) {
            (Kind::Stream, Status::Error, Direction::FromDaemon)
            | (Kind::Reply | Kind::ReplyWithFds, Status::Error, _) => {
                xdr::recode::<types::Error<'_>>(payload)
            }
            (Kind::Stream, ..) => return Content::Raw,
            (Kind::StreamHole, ..) => hole(payload),
            (Kind::Message, ..) => match event::recode(program, procedure, payload) {
                Some(recoded) => recoded,
                None => return Content::Unknown,
            },
            (Kind::Call | Kind::CallWithFds | Kind::Reply | Kind::ReplyWithFds, ..) => {
                let Some(recode) = program.procedure(procedure).and_then(|info| info.recode) else {
                    return Content::Unknown;
                };
                if matches!(kind, Kind::Call | Kind::CallWithFds) {
                    (recode.args)(payload)
                } else {
                    (recode.ret)(payload)
                }
            }
        };
        match recoded {
            Ok(bytes) => Content::Recoded(bytes),
            Err(error) => Content::Malformed(error),
        }
    }
}

/// A hole is its length and flags.
fn hole(payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut input = xdr::Input::new(payload);
    let (length, flags) = (i64::take(&mut input)?, u32::take(&mut input)?);
    input.finish()?;
    let mut bytes = Vec::with_capacity(payload.len());
    length.put(&mut bytes);
    flags.put(&mut bytes);
    Ok(bytes)
}

/// Takes bytes as they come, gives packets.
#[derive(Debug, Default)]
pub struct Packets {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Packets {
    /// Bytes have come, and descriptors with them.
    pub fn feed(&mut self, bytes: &[u8], descriptors: impl IntoIterator<Item = OwnedFd>) {
        self.bytes.extend_from_slice(bytes);
        self.descriptors.extend(descriptors);
    }

    /// The next packet; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are no packets.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, PacketError> {
        let frame = match Frame::begin(&self.bytes)? {
            Some(frame) if self.bytes.len() >= frame.size() => frame,
            _ => return Ok(None),
        };
        let count = frame.descriptors;
        if self.descriptors.len() < count {
            return Err(PacketError::NoDescriptors { announced: count, came: self.descriptors.len() });
        }
        let payload = self.bytes[frame.payload.clone()].to_vec();
        self.bytes.drain(..frame.size());
        let descriptors = self.descriptors.drain(..count).collect();
        Ok(Some(Packet { header: frame.header, payload, descriptors }))
    }
}

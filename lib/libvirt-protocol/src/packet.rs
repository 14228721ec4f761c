//! Packets: a length word, a header of six words, a payload (`virnetprotocol.x`, and `docs/kbase/internals/rpc.rst` of libvirt).
//!
//! ```text
//!   length | prog | vers | proc | type | serial | status | payload
//!     4 B  |            24 B                             | 0 .. 32 MiB
//! ```

use std::fmt;
use std::ops::Range;

/// Bytes of the length word.
pub const LENGTH_SIZE: usize = 4;
/// Bytes of the header.
pub const HEADER_SIZE: usize = 24;
/// The shortest packet: a header without payload.
pub const PACKET_MIN: usize = LENGTH_SIZE + HEADER_SIZE;
/// The longest packet: libvirt counts 32 MiB without the length word.
pub const PACKET_MAX: usize = LENGTH_SIZE + 33_554_432;
/// The longest payload.
pub const PAYLOAD_MAX: usize = PACKET_MAX - PACKET_MIN;
/// Size of the pieces in which both ends send stream data (`VIR_NET_MESSAGE_LEGACY_PAYLOAD_MAX`).
pub const STREAM_CHUNK: usize = 262_120;
/// The most file descriptors that travel with one packet (`VIR_NET_MESSAGE_NUM_FDS_MAX`).
pub const DESCRIPTORS_MAX: usize = 32;

/// What a packet is (`virNetMessageType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A call.
    Call,
    /// The reply to a call.
    Reply,
    /// An event or a keepalive message: nobody answers it by serial.
    Message,
    /// Data of a stream.
    Stream,
    /// A call with file descriptors.
    CallWithFds,
    /// A reply with file descriptors.
    ReplyWithFds,
    /// A hole in a stream.
    StreamHole,
}

/// How it stands with what a packet belongs to (`virNetMessageStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Done, or of a call: always this.
    Ok,
    /// Failed; the payload of what the daemon sends is an error.
    Error,
    /// A stream goes on.
    Continue,
}

/// The header of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Program number.
    pub program: u32,
    /// Version of the program.
    pub version: u32,
    /// Procedure of the program.
    pub procedure: i32,
    /// What the packet is.
    pub kind: Kind,
    /// What joins a reply or stream data to its call; 0 in messages.
    pub serial: u32,
    /// How it stands.
    pub status: Status,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, procedure, kind, serial, status, .. } = self;
        write!(f, "{kind:?} {program:#x}:{procedure} serial {serial} {status:?}")
    }
}

/// A packet that breaks the rules. The connection cannot go on after one: where the next packet begins is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// A length that no packet has.
    #[error("a packet of {0} bytes; the protocol has {PACKET_MIN} to {PACKET_MAX}")]
    Length(u32),
    /// A type that does not exist.
    #[error("a packet of type {0}")]
    Kind(i32),
    /// A status that does not exist.
    #[error("a packet with status {0}")]
    Status(i32),
    /// More file descriptors than may travel.
    #[error("a packet with {0} file descriptors; the protocol allows {DESCRIPTORS_MAX}")]
    Descriptors(u32),
    /// A packet announced descriptors that did not come.
    #[error("a packet announced {announced} file descriptors, and {came} came")]
    NoDescriptors {
        /// What it said.
        announced: usize,
        /// What came.
        came: usize,
    },
    /// Descriptors came that no packet had announced: who sends them would fill the table of this process with them.
    #[error("{came} file descriptors came, and the packet under way announced {announced}")]
    Unannounced {
        /// What the packet under way has said so far.
        announced: usize,
        /// What came.
        came: usize,
    },
}

impl Kind {
    fn number(self) -> i32 {
        match self {
            Self::Call => 0,
            Self::Reply => 1,
            Self::Message => 2,
            Self::Stream => 3,
            Self::CallWithFds => 4,
            Self::ReplyWithFds => 5,
            Self::StreamHole => 6,
        }
    }

    /// Whether file descriptors follow the packet and their count precedes its payload.
    #[must_use]
    pub fn has_descriptors(self) -> bool {
        matches!(self, Self::CallWithFds | Self::ReplyWithFds)
    }
}

impl TryFrom<i32> for Kind {
    type Error = PacketError;

    fn try_from(number: i32) -> Result<Self, PacketError> {
        Ok(match number {
            0 => Self::Call,
            1 => Self::Reply,
            2 => Self::Message,
            3 => Self::Stream,
            4 => Self::CallWithFds,
            5 => Self::ReplyWithFds,
            6 => Self::StreamHole,
            unknown => return Err(PacketError::Kind(unknown)),
        })
    }
}

impl Status {
    fn number(self) -> i32 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Continue => 2,
        }
    }
}

impl TryFrom<i32> for Status {
    type Error = PacketError;

    fn try_from(number: i32) -> Result<Self, PacketError> {
        Ok(match number {
            0 => Self::Ok,
            1 => Self::Error,
            2 => Self::Continue,
            unknown => return Err(PacketError::Status(unknown)),
        })
    }
}

impl Header {
    /// The header as it travels.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let words = [
            self.program,
            self.version,
            self.procedure.cast_unsigned(),
            self.kind.number().cast_unsigned(),
            self.serial,
            self.status.number().cast_unsigned(),
        ];
        let mut bytes = [0; HEADER_SIZE];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// The header out of its bytes.
    ///
    /// # Errors
    /// When type or status do not exist.
    pub fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<Self, PacketError> {
        let word = |index: usize| {
            let at = index * 4;
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Ok(Self {
            program: word(0),
            version: word(1),
            procedure: word(2).cast_signed(),
            kind: Kind::try_from(word(3).cast_signed())?,
            serial: word(4),
            status: Status::try_from(word(5).cast_signed())?,
        })
    }
}

/// The size of the packet that begins with this length word, the word included.
///
/// # Errors
/// When no packet has it.
pub fn packet_size(length: [u8; LENGTH_SIZE]) -> Result<usize, PacketError> {
    let length = u32::from_be_bytes(length);
    let size = length as usize;
    if (PACKET_MIN..=PACKET_MAX).contains(&size) { Ok(size) } else { Err(PacketError::Length(length)) }
}

/// A packet at the front of bytes that may go on behind it, or end within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Where its payload lies, without the count of descriptors.
    pub payload: Range<usize>,
    /// How many descriptors come with it, each with a byte of its own behind the payload.
    pub descriptors: usize,
}

impl Frame {
    /// What the bytes begin with; `None` when too few are there to tell.
    ///
    /// # Errors
    /// When they cannot be a packet, whatever follows.
    pub fn begin(bytes: &[u8]) -> Result<Option<Self>, PacketError> {
        let Some(length) = bytes.first_chunk::<LENGTH_SIZE>() else { return Ok(None) };
        let end = packet_size(*length)?;
        // A header that cannot be one is refused before the rest of the packet comes.
        let Some(header) = bytes.get(LENGTH_SIZE..).and_then(|rest| rest.first_chunk::<HEADER_SIZE>()) else {
            return Ok(None);
        };
        let header = Header::decode(header)?;
        if !header.kind.has_descriptors() {
            return Ok(Some(Self { header, payload: PACKET_MIN..end, descriptors: 0 }));
        }
        let start = PACKET_MIN + LENGTH_SIZE;
        if end < start {
            return Err(PacketError::Length(u32::from_be_bytes(*length)));
        }
        let Some(count) = bytes.get(PACKET_MIN..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        let count = u32::from_be_bytes(*count);
        let descriptors = count as usize;
        if descriptors > DESCRIPTORS_MAX {
            return Err(PacketError::Descriptors(count));
        }
        Ok(Some(Self { header, payload: start..end, descriptors }))
    }

    /// All bytes of the packet, those that carry its descriptors included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.payload.end + self.descriptors
    }
}

/// A whole packet as it travels, without the bytes that carry its descriptors. Nothing is looked at: who wants to see what becomes of a
/// packet that breaks the rules can make one.
#[must_use]
pub fn encode(header: &Header, descriptors: usize, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(length(header.kind, payload.len()));
    put_head(header, descriptors, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out
}

/// What a packet with a payload of so many bytes is long.
pub(crate) fn length(kind: Kind, payload: usize) -> usize {
    PACKET_MIN + if kind.has_descriptors() { LENGTH_SIZE } else { 0 } + payload
}

/// Appends everything of a packet that stands before its payload of so many bytes.
pub(crate) fn put_head(header: &Header, descriptors: usize, payload: usize, out: &mut Vec<u8>) {
    let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&word(length(header.kind, payload)));
    out.extend_from_slice(&header.encode());
    if header.kind.has_descriptors() {
        out.extend_from_slice(&word(descriptors));
    }
}

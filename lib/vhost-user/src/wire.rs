//! How messages look on the wire: header, payloads, and what each request carries.

pub use crate::generated::payload::{Body, Reply};

use crate::ProtocolFeatures;
use std::fmt;
use thiserror::Error;

/// Bytes of a [`Header`].
pub const HEADER_BYTES: usize = 12;
/// Most bytes of a payload that anybody sends: configuration space.
pub const MOST_PAYLOAD: u32 = 12 + 4096;
/// Most descriptors that come with a message.
pub const MOST_DESCRIPTORS: usize = 8;

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
/// The bit of a header's flags that says that it is an answer (vhost-user: Header).
pub const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// What comes before every payload. Descriptors travel with its first byte, so it is read alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the request, of this direction.
    pub request: u32,
    /// It is an answer.
    pub reply: bool,
    /// An acknowledgement is asked for.
    pub need_reply: bool,
    /// Bytes of the payload.
    pub size: u32,
}

/// A header that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// Another version of the protocol, or bits that mean nothing.
    #[error("request {request} has the flags {flags:#x}: version 1 and bits 2 and 3 are known")]
    Flags {
        /// Of this request.
        request: u32,
        /// The flags.
        flags: u32,
    },
    /// More descriptors than any message has.
    #[error("{count} descriptors came with one message; the most that any has are {MOST_DESCRIPTORS}")]
    Descriptors {
        /// How many.
        count: usize,
    },
    /// More bytes than any message has.
    #[error("request {request} announces {size} bytes; the largest has {MOST_PAYLOAD}")]
    Size {
        /// Of this request.
        request: u32,
        /// The bytes.
        size: u32,
    },
}

impl Header {
    /// Its bytes.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let flags =
            VERSION | if self.reply { REPLY } else { 0 } | if self.need_reply { NEED_REPLY } else { 0 };
        let mut bytes = [0; HEADER_BYTES];
        for (to, from) in bytes.chunks_exact_mut(4).zip([self.request, flags, self.size]) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        bytes
    }

    /// From its bytes.
    ///
    /// # Errors
    /// [`HeaderError`]: nothing after it can be understood.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let mut read = Read(bytes);
        let mut next = || u32::get(&mut read).unwrap_or_default();
        let (request, flags, size) = (next(), next(), next());
        if flags & VERSION_MASK != VERSION || flags & !(VERSION_MASK | REPLY | NEED_REPLY) != 0 {
            return Err(HeaderError::Flags { request, flags });
        }
        if size > MOST_PAYLOAD {
            return Err(HeaderError::Size { request, size });
        }
        Ok(Self { request, reply: flags & REPLY != 0, need_reply: flags & NEED_REPLY != 0, size })
    }
}

/// A payload that does not fit its request.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadError {
    /// It ends too early.
    #[error("{bytes} bytes are missing")]
    Short {
        /// How many.
        bytes: usize,
    },
    /// It goes on too long.
    #[error("{bytes} bytes too many")]
    Long {
        /// How many.
        bytes: usize,
    },
    /// More of something than there can be.
    #[error("{count} where at most {most} can be")]
    Count {
        /// How many.
        count: u32,
        /// How many there can be.
        most: u32,
    },
    /// There is no such request.
    #[error("there is no such request")]
    Unknown,
}

/// Bytes that are read from the front.
#[derive(Debug)]
pub struct Read<'a>(&'a [u8]);

impl Read<'_> {
    /// The next few.
    ///
    /// # Errors
    /// [`PayloadError::Short`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        let missing = PayloadError::Short { bytes: N.saturating_sub(self.0.len()) };
        let (first, rest) = self.0.split_first_chunk().ok_or(missing)?;
        self.0 = rest;
        Ok(*first)
    }

    /// Leaves out bytes that mean nothing.
    ///
    /// # Errors
    /// [`PayloadError::Short`].
    pub fn skip(&mut self, bytes: usize) -> Result<(), PayloadError> {
        let missing = PayloadError::Short { bytes: bytes.saturating_sub(self.0.len()) };
        self.0 = self.0.get(bytes..).ok_or(missing)?;
        Ok(())
    }

    /// A number of things that follow.
    ///
    /// # Errors
    /// [`PayloadError::Count`] beyond `most`.
    pub fn count(&mut self, most: u32) -> Result<usize, PayloadError> {
        match u32::get(self)? {
            count if count > most => Err(PayloadError::Count { count, most }),
            count => Ok(count as usize),
        }
    }

    /// All that is left.
    ///
    /// # Errors
    /// [`PayloadError::Long`] beyond `most`.
    pub fn rest(&mut self, most: u32) -> Result<Vec<u8>, PayloadError> {
        match self.0.len().checked_sub(most as usize + 1) {
            Some(beyond) => Err(PayloadError::Long { bytes: beyond + 1 }),
            None => Ok(std::mem::take(&mut self.0).to_vec()),
        }
    }
}

/// What crosses the wire as a payload or a part of one.
pub trait Wire: Sized {
    /// Appends its bytes.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it.
    ///
    /// # Errors
    /// [`PayloadError`].
    fn get(from: &mut Read<'_>) -> Result<Self, PayloadError>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend(self.to_ne_bytes());
            }
            fn get(from: &mut Read<'_>) -> Result<Self, PayloadError> {
                from.array().map(Self::from_ne_bytes)
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64);

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn get(_: &mut Read<'_>) -> Result<Self, PayloadError> {
        Ok(())
    }
}

/// Reads a payload, whole.
///
/// # Errors
/// [`PayloadError`], also where bytes are left.
pub fn decode<T: Wire>(payload: &[u8]) -> Result<T, PayloadError> {
    let mut read = Read(payload);
    let value = T::get(&mut read)?;
    match read.0.len() {
        0 => Ok(value),
        bytes => Err(PayloadError::Long { bytes }),
    }
}

/// A number as people read it: small ones as they are, addresses and bits by their digits.
pub(crate) struct Number(pub(crate) u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1 << 16 { write!(f, "{}", self.0) } else { write!(f, "{:#x}", self.0) }
    }
}

/// Bytes by their digits.
pub(crate) struct Bytes<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is known of a request without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number.
    pub number: u32,
    /// Its name in the specification.
    pub name: &'static str,
    /// What it carries.
    pub payload: Body,
    /// What its answer carries; `None`: it has one only where an acknowledgement is asked for.
    pub reply: Option<Body>,
    /// Fewest and most descriptors that go along.
    pub descriptors: (u8, u8),
    /// Fewest and most that come with the answer.
    pub reply_descriptors: (u8, u8),
    /// The answer is asked for as an acknowledgement is, where those were negotiated: DPDK gives it only then, and QEMU asks so.
    pub asks_for_reply: bool,
    /// An answer without a payload is one: a configuration space that cannot be read has no bytes at all; a log is answered by none by DPDK, as
    /// the specification has it, and by a number by libvhost-user.
    pub may_be_empty: bool,
    /// What must have been negotiated.
    pub gate: Gate,
}

/// What must have been negotiated before a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    Open,
    /// The back-end offered virtio feature bit 30; whether it was acknowledged does not matter.
    ProtocolFeatures,
    /// The virtio feature `VIRTIO_F_ACCESS_PLATFORM`.
    AccessPlatform,
    /// A protocol feature.
    Feature(ProtocolFeatures),
}

/// The requests of one direction.
pub trait Message: Sized {
    /// All of them, by number, from 1 on.
    const FACTS: &'static [Facts];

    /// Its number.
    fn number(&self) -> u32;
    /// Appends its payload.
    fn put(&self, out: &mut Vec<u8>);
    /// From its number and its payload.
    ///
    /// # Errors
    /// [`PayloadError`].
    fn get(number: u32, payload: &[u8]) -> Result<Self, PayloadError>;
    /// The answer to the request of this number, from its payload.
    ///
    /// # Errors
    /// [`PayloadError`].
    fn get_reply(number: u32, payload: &[u8]) -> Result<Reply, PayloadError>;

    /// What is known of a number.
    fn facts_of(number: u32) -> Option<&'static Facts> {
        Self::FACTS.get((number as usize).checked_sub(1)?)
    }

    /// What is known of this one.
    fn facts(&self) -> &'static Facts {
        // Every variant is printed from the line that its facts are printed from.
        &Self::FACTS[self.number() as usize - 1]
    }
}

impl ProtocolFeatures {
    /// The first feature of these that cannot be had: what it lacks, or what it cannot go with.
    pub fn contradiction(self) -> Option<(Self, Self)> {
        crate::generated::features::RULES.iter().find_map(|(feature, needs, excludes)| {
            let wrong = needs.difference(self).union(excludes.intersection(self));
            (self.contains(*feature) && !wrong.is_empty()).then_some((*feature, wrong))
        })
    }
}

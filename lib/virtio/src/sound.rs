//! Sound devices (section 5.14): streams of samples that the driver sets up on one queue and feeds on another.
//!
//! ```text
//!   set parameters ──> prepare ──> start ──> (samples)* ──> stop ──> release
//! ```

use crate::Fault;
use crate::bytes::{u32_at, u64_at};
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::exchange::Exchanges;
use crate::memory::Shared;
use crate::ring::{AddError, Driver};
use alloc::vec::Vec;
use thiserror::Error;

/// The queue of commands.
pub const CONTROL: u16 = 0;
/// The queue on which the device tells what happens.
pub const EVENT: u16 = 1;
/// The queue of samples that are to be heard.
pub const TRANSMIT: u16 = 2;
/// The queue of samples that were recorded.
pub const RECEIVE: u16 = 3;

/// Configuration space (section 5.14.4), as much of it as version 1.2 has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Sockets that something can be plugged into.
    pub jacks: u32,
    /// Streams.
    pub streams: u32,
    /// Maps of channels.
    pub maps: u32,
}

impl Config {
    /// Its bytes.
    pub const BYTES: usize = 12;

    /// From its bytes; what is missing is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        let number = |at| u32_at(bytes, at);
        Self { jacks: number(0), streams: number(4), maps: number(8) }
    }
}

/// Which way samples go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// They are heard.
    Output,
    /// They are recorded.
    Input,
}

/// What a stream can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Bits of features.
    pub features: u32,
    /// Formats that it takes, a bit each: bit 5 is signed, 16 bits.
    pub formats: u64,
    /// Rates that it takes, a bit each: bit 6 is 44,100 in a second, bit 7 is 48,000.
    pub rates: u64,
    /// Which way its samples go.
    pub direction: Direction,
    /// Fewest and most channels.
    pub channels: (u8, u8),
}

/// How samples of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Bytes that the device may have at once.
    pub buffer_bytes: u32,
    /// Bytes after which it tells that it has heard them.
    pub period_bytes: u32,
    /// Channels.
    pub channels: u8,
    /// The bit of [`Stream::formats`].
    pub format: u8,
    /// The bit of [`Stream::rates`].
    pub rate: u8,
}

/// What a device is told. Streams have numbers from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Says what streams can do, from one on, at most [`STREAMS`]; [`Ended::streams`].
    Streams {
        /// The first.
        first: u32,
        /// How many.
        count: u32,
    },
    /// How samples are to be.
    Set(u32, Parameters),
    /// Gets ready for samples.
    Prepare(u32),
    /// Begins.
    Start(u32),
    /// Ends.
    Stop(u32),
    /// Forgets what it has of a stream, and gives back its samples.
    Release(u32),
}

/// Most streams of one [`Command::Streams`].
pub const STREAMS: u32 = 16;
const STREAM_BYTES: usize = 32;
const COMMAND_BYTES: u32 = 24;
const ANSWER_BYTES: u32 = 4 + STREAMS * STREAM_BYTES as u32;

impl Command {
    /// Its bytes (section 5.14.6), and those of the answer.
    fn encoded(&self) -> (Vec<u8>, u32) {
        fn numbers(all: &[u32]) -> Vec<u8> {
            all.iter().flat_map(|number| number.to_le_bytes()).collect()
        }
        match self {
            Self::Streams { first, count } => {
                (numbers(&[0x100, *first, *count, STREAM_BYTES as u32]), 4 + count * STREAM_BYTES as u32)
            }
            Self::Set(stream, Parameters { buffer_bytes, period_bytes, channels, format, rate }) => {
                let mut bytes = numbers(&[0x101, *stream, *buffer_bytes, *period_bytes, 0]);
                bytes.extend([*channels, *format, *rate, 0]);
                (bytes, 4)
            }
            Self::Prepare(stream) => (numbers(&[0x102, *stream]), 4),
            Self::Release(stream) => (numbers(&[0x103, *stream]), 4),
            Self::Start(stream) => (numbers(&[0x104, *stream]), 4),
            Self::Stop(stream) => (numbers(&[0x105, *stream]), 4),
        }
    }
}

/// Why the device did not do it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// It is malformed, names what is not there, or comes at the wrong time.
    #[error("the device cannot make sense of it")]
    Wrong,
    /// It is not supported.
    #[error("not supported by the device")]
    Unsupported,
    /// It could not be done.
    #[error("input or output error")]
    Io,
    /// No answer of the specification's; 0 is none at all.
    #[error("the device answers {0:#x}")]
    Other(u32),
}

fn result(status: u32) -> Result<(), Refused> {
    match status {
        0x8000 => Ok(()),
        0x8001 => Err(Refused::Wrong),
        0x8002 => Err(Refused::Unsupported),
        0x8003 => Err(Refused::Io),
        other => Err(Refused::Other(other)),
    }
}

/// A command that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What the caller calls it.
    pub tag: u64,
    /// Whether the device did it.
    pub result: Result<(), Refused>,
    /// What [`Command::Streams`] asked for; otherwise empty.
    pub streams: Vec<Stream>,
}

/// The commands of the control queue.
#[derive(Debug)]
pub struct Commands(Exchanges);

impl Commands {
    /// Bytes of memory for a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        Exchanges::bytes(size, COMMAND_BYTES, ANSWER_BYTES)
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, slots: Shared, address: u64) -> Option<Self> {
        Exchanges::new(size, COMMAND_BYTES, ANSWER_BYTES, slots, address).map(Self)
    }

    /// Sends a command. The device sees it when the ring is published.
    ///
    /// # Errors
    /// [`AddError`]; [`AddError::Length`] where it asks for more than [`STREAMS`] streams.
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        command: &Command,
        tag: u64,
    ) -> Result<(), AddError> {
        if let Command::Streams { count, .. } = command
            && *count > STREAMS
        {
            return Err(AddError::Length);
        }
        let (bytes, answer) = command.encoded();
        self.0.send(ring, (&[&bytes], &[]), (answer, &[]), tag)
    }

    /// A command that has ended; `None` if none has.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Ended>, Fault> {
        let mut answer = [0; ANSWER_BYTES as usize];
        let Some((tag, length)) = self.0.answer(ring, &mut answer)? else { return Ok(None) };
        let stream = |item: &[u8]| Stream {
            features: u32_at(item, 4),
            formats: u64_at(item, 8),
            rates: u64_at(item, 16),
            direction: if item[24] == 0 { Direction::Output } else { Direction::Input },
            channels: (item[25], item[26]),
        };
        let items = answer[..length].get(4..).unwrap_or_default();
        let streams = items.chunks_exact(STREAM_BYTES).map(stream).collect();
        Ok(Some(Ended { tag, result: result(u32_at(&answer, 0)), streams }))
    }
}

/// Samples that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What the caller calls them.
    pub tag: u64,
    /// Whether they are heard, or will be.
    pub result: Result<(), Refused>,
    /// Bytes that are to be heard before what is given now.
    pub latency_bytes: u32,
}

/// Samples of streams that are to be heard; they stay where the caller has them.
#[derive(Debug)]
pub struct Samples(Exchanges);

impl Samples {
    const STATUS_BYTES: u32 = 8;

    /// Bytes of memory for a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        Exchanges::bytes(size, 4, Self::STATUS_BYTES)
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, slots: Shared, address: u64) -> Option<Self> {
        Exchanges::new(size, 4, Self::STATUS_BYTES, slots, address).map(Self)
    }

    /// Gives samples to a stream. The device sees them when the ring is published.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        stream: u32,
        samples: &[Segment],
        tag: u64,
    ) -> Result<(), AddError> {
        self.0.send(ring, (&[&stream.to_le_bytes()], samples), (Self::STATUS_BYTES, &[]), tag)
    }

    /// Samples that the device has taken; `None` if there are none.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Heard>, Fault> {
        let mut answer = [0; Self::STATUS_BYTES as usize];
        let Some((tag, _)) = self.0.answer(ring, &mut answer)? else { return Ok(None) };
        let [status, latency_bytes] = [0, 4].map(|at| u32_at(&answer, at));
        Ok(Some(Heard { tag, result: result(status), latency_bytes }))
    }
}

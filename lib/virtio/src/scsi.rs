//! SCSI hosts (section 5.6): commands, task management, and events.

use crate::Fault;
use crate::bytes::{u16_at, u32_at};
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::exchange::Exchanges;
use crate::memory::Shared;
use crate::ring::{AddError, Driver};
use alloc::vec::Vec;
use thiserror::Error;

bitflags::bitflags! {
    /// Features of SCSI hosts.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// A command may read and write.
        const INOUT = 1 << 0;
        /// Devices come and go.
        const HOTPLUG = 1 << 1;
        /// Changes of a device are told.
        const CHANGE = 1 << 2;
        /// Data is protected.
        const T10_PI = 1 << 3;
    }
}

/// The queue of [`Control`].
pub const CONTROL: u16 = 0;
/// The queue on which events come, each of [`Event::BYTES`], into a [`crate::post::Inbox`].
pub const EVENTS: u16 = 1;
/// The first queue of [`Requests`].
pub const REQUESTS: u16 = 2;

/// Bytes of a command descriptor block, unless configuration space says otherwise.
pub const COMMAND: usize = 32;
/// Bytes of sense data, unless configuration space says otherwise.
pub const SENSE: usize = 96;

const REQUEST_BYTES: u32 = (19 + COMMAND) as u32;
const RESPONSE_BYTES: u32 = (12 + SENSE) as u32;

/// Configuration space (section 5.6.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Queues for requests.
    pub queues: u32,
    /// Most segments of data in a request.
    pub seg_max: u32,
    /// Most sectors of one.
    pub max_sectors: u32,
    /// Most commands of a device at once.
    pub commands_per_lun: u32,
    /// Bytes of an event.
    pub event_bytes: u32,
    /// Bytes of sense data.
    pub sense_bytes: u32,
    /// Bytes of a command.
    pub command_bytes: u32,
    /// Highest target.
    pub max_target: u16,
    /// Highest logical unit.
    pub max_lun: u32,
}

impl Config {
    /// Bytes of configuration space.
    pub const BYTES: usize = 36;

    /// From its bytes; what is missing is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        let number = |at| u32_at(bytes, at);
        Self {
            queues: number(0),
            seg_max: number(4),
            max_sectors: number(8),
            commands_per_lun: number(12),
            event_bytes: number(16),
            sense_bytes: number(20),
            command_bytes: number(24),
            max_target: u16_at(bytes, 30),
            max_lun: number(32),
        }
    }
}

/// A logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unit {
    /// The target.
    pub target: u8,
    /// Its unit, below 16,384.
    pub lun: u16,
}

impl Unit {
    /// As requests name it: a single level, with flat addresses (section 5.6.6.1).
    const fn bytes(self) -> [u8; 8] {
        let [high, low] = self.lun.to_be_bytes();
        [1, self.target, 0x40 | high & 0x3f, low, 0, 0, 0, 0]
    }

    const fn parse(bytes: [u8; 8]) -> Self {
        Self { target: bytes[1], lun: u16::from_be_bytes([bytes[2] & 0x3f, bytes[3]]) }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What the caller calls it.
    pub tag: u64,
    /// What the host says of it.
    pub response: Result<Status, Failure>,
}

/// What the device says of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The SCSI status: 0 is good, 2 is "check condition", of which the sense data tells more.
    pub status: u8,
    /// Bytes of data that were not transferred.
    pub residual: u32,
    /// Sense data.
    pub sense: Vec<u8>,
}

impl Status {
    /// Sense key, additional code and its qualifier, of sense data in either format.
    pub fn sense_code(&self) -> Option<(u8, u8, u8)> {
        let byte = |at: usize| self.sense.get(at).copied();
        match byte(0)? & 0x7f {
            0x70 | 0x71 => Some((byte(2)? & 0xf, byte(12)?, byte(13)?)),
            0x72 | 0x73 => Some((byte(1)? & 0xf, byte(2)?, byte(3)?)),
            _ => None,
        }
    }
}

/// Why a command did not reach its device, or was not done by it (section 5.6.6.1).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// More data than the buffers hold.
    #[error("the data does not fit")]
    Overrun,
    /// Ended by task management.
    #[error("aborted")]
    Aborted,
    /// There is no such device.
    #[error("no such device")]
    BadTarget,
    /// The device was reset.
    #[error("the device was reset")]
    Reset,
    /// To be tried again.
    #[error("the host is busy")]
    Busy,
    /// The path to the device failed.
    #[error("the transport failed")]
    Transport,
    /// The target failed.
    #[error("the target failed")]
    Target,
    /// The path failed.
    #[error("the nexus failed")]
    Nexus,
    /// It failed.
    #[error("the host failed")]
    Failed,
    /// Something that means nothing, or no response at all.
    #[error("the host gave the response {0}")]
    Unknown(u8),
}

impl Failure {
    const fn parse(response: u8) -> Self {
        match response {
            1 => Self::Overrun,
            2 => Self::Aborted,
            3 => Self::BadTarget,
            4 => Self::Reset,
            5 => Self::Busy,
            6 => Self::Transport,
            7 => Self::Target,
            8 => Self::Nexus,
            9 => Self::Failed,
            other => Self::Unknown(other),
        }
    }
}

/// Commands of a queue. Data stays where the caller has it.
#[derive(Debug)]
pub struct Requests(Exchanges);

impl Requests {
    /// Bytes of memory for the requests of a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        Exchanges::bytes(size, REQUEST_BYTES, RESPONSE_BYTES)
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, slots: Shared, address: u64) -> Option<Self> {
        Exchanges::new(size, REQUEST_BYTES, RESPONSE_BYTES, slots, address).map(Self)
    }

    /// Sends a command descriptor block, with data that the device reads and data that it writes: one of them, or, with
    /// [`Features::INOUT`], both.
    ///
    /// # Errors
    /// [`AddError`]; [`AddError::Length`] for a block of more than [`COMMAND`] bytes.
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        unit: Unit,
        command: &[u8],
        [out, into]: [&[Segment]; 2],
        tag: u64,
    ) -> Result<(), AddError> {
        let mut block = [0; COMMAND];
        block.get_mut(..command.len()).ok_or(AddError::Length)?.copy_from_slice(command);
        // Unit, id, and the attributes of the task: simple.
        let parts: [&[u8]; 4] = [&unit.bytes(), &tag.to_le_bytes(), &[0; 3], &block];
        self.0.send(ring, (&parts, out), (RESPONSE_BYTES, into), tag)
    }

    /// A command that has ended; `None` if none has.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Completion>, Fault> {
        let Some(answered) = self.0.reap(ring)? else { return Ok(None) };
        let mut bytes = [0; RESPONSE_BYTES as usize];
        bytes[11] = u8::MAX;
        self.0.read(&answered, &mut bytes);
        let tag = answered.tag;
        self.0.release(answered);
        let response = match bytes[11] {
            0 => {
                let sense = bytes[12..][..SENSE.min(u32_at(&bytes, 0) as usize)].to_vec();
                Ok(Status { status: bytes[10], residual: u32_at(&bytes, 4), sense })
            }
            other => Err(Failure::parse(other)),
        };
        Ok(Some(Completion { tag, response }))
    }
}

/// What the control queue does to commands and units (section 5.6.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Ends one command, by its tag.
    Abort(u64),
    /// Ends all commands of a unit.
    AbortAll,
    /// Resets a unit.
    ResetUnit,
    /// Resets a target.
    ResetTarget,
    /// Asks whether a command is there.
    Query(u64),
}

impl Task {
    const fn encoded(self) -> (u32, u64) {
        match self {
            Self::Abort(tag) => (0, tag),
            Self::AbortAll => (1, 0),
            Self::ResetTarget => (4, 0),
            Self::ResetUnit => (5, 0),
            Self::Query(tag) => (6, tag),
        }
    }
}

/// How the control queue answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It was done; of a query, it is not there.
    Complete,
    /// Of a query: it is there.
    Succeeded,
    /// It was refused.
    Rejected,
    /// There is no such unit.
    BadUnit,
    /// Something else went wrong.
    Failed(Failure),
}

/// Task management.
#[derive(Debug)]
pub struct Control(Exchanges);

impl Control {
    const REQUEST: u32 = 24;

    /// Bytes of memory for a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        Exchanges::bytes(size, Self::REQUEST, 1)
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, slots: Shared, address: u64) -> Option<Self> {
        Exchanges::new(size, Self::REQUEST, 1, slots, address).map(Self)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        unit: Unit,
        task: Task,
        tag: u64,
    ) -> Result<(), AddError> {
        let (subtype, subject) = task.encoded();
        // The type of task management is 0.
        let parts: [&[u8]; 4] = [&[0; 4], &subtype.to_le_bytes(), &unit.bytes(), &subject.to_le_bytes()];
        self.0.send(ring, (&parts, &[]), (1, &[]), tag)
    }

    /// A request that has ended: its tag, and the answer.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<(u64, Answer)>, Fault> {
        let Some(answered) = self.0.reap(ring)? else { return Ok(None) };
        let mut response = [u8::MAX];
        self.0.read(&answered, &mut response);
        let tag = answered.tag;
        self.0.release(answered);
        let answer = match response[0] {
            0 => Answer::Complete,
            10 => Answer::Succeeded,
            11 => Answer::Rejected,
            12 => Answer::BadUnit,
            other => Answer::Failed(Failure::parse(other)),
        };
        Ok(Some((tag, answer)))
    }
}

/// What happened to a unit (section 5.6.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Events were lost before this one: all units are to be looked at again.
    Missed,
    /// A unit came.
    Added(Unit),
    /// It is gone.
    Removed(Unit),
    /// It was reset.
    Reset(Unit),
    /// Its parameters changed: additional sense code, and qualifier.
    Changed(Unit, u8, u8),
    /// One that is not known here.
    Other(u32),
}

impl Event {
    /// Bytes of an event.
    pub const BYTES: usize = 16;

    /// From its bytes.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Self {
        const MISSED: u32 = 1 << 31;
        let kind = u32_at(bytes, 0);
        let unit = bytes[4..].first_chunk().map_or(Unit { target: 0, lun: 0 }, |unit| Unit::parse(*unit));
        if kind & MISSED != 0 {
            return Self::Missed;
        }
        match (kind, u32_at(bytes, 12)) {
            (1, 0) => Self::Reset(unit),
            (1, 1) => Self::Added(unit),
            (1, 2) => Self::Removed(unit),
            (3, reason) => Self::Changed(unit, reason as u8, (reason >> 8) as u8),
            (other, _) => Self::Other(other),
        }
    }
}

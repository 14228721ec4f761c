//! File systems (section 5.11): a FUSE session through rings, as far as a directory is listed and a file is read.
//!
//! Numbers and structures are those of FUSE 7.31, `include/uapi/linux/fuse.h` of Linux; everything in them is little endian, as both sides are.

use crate::Fault;
use crate::bytes::{u32_at, u64_at};
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::exchange::{Answered, Exchanges};
use crate::memory::{Shared, Slice};
use crate::ring::{AddError, Driver};
use alloc::string::String;
use alloc::vec::Vec;
use thiserror::Error;

bitflags::bitflags! {
    /// Features of file systems (section 5.11.3).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// There is a queue on which the device tells of what it was not asked.
        const NOTIFICATION = 1 << 0;
    }
}

/// The queue for what must not wait behind anything: [`Requests::forget`].
pub const HIGH_PRIORITY: u16 = 0;
/// The first queue for everything else.
pub const REQUESTS: u16 = 1;
/// The node of the directory that is shared.
pub const ROOT: u64 = 1;

/// Longest name of a file.
const NAME_MAX: usize = 255;
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
const ATTRIBUTES: usize = 88;
const REQUEST_BYTES: u32 = (IN_HEADER + 64 + NAME_MAX + 1) as u32;
const ANSWER_BYTES: u32 = (OUT_HEADER + 40 + ATTRIBUTES) as u32;

/// Configuration space (section 5.11.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The name under which it is mounted.
    pub tag: String,
    /// Queues for requests.
    pub request_queues: u32,
}

impl Config {
    /// Bytes of the part that is read here.
    pub const BYTES: usize = 40;

    /// From its bytes; what is missing is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut all = [0; Self::BYTES];
        let length = bytes.len().min(Self::BYTES);
        all[..length].copy_from_slice(&bytes[..length]);
        let (tag, rest) = all.split_at(36);
        let end = tag.iter().position(|byte| *byte == 0).unwrap_or(tag.len());
        Self { tag: String::from_utf8_lossy(&tag[..end]).into_owned(), request_queues: u32_at(rest, 0) }
    }
}

/// A request (`FUSE_*`), and how its answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lookup,
    Forget,
    Attributes,
    Open,
    Read,
    Release,
    Init,
    OpenDirectory,
    ReadDirectory,
    ReleaseDirectory,
    Destroy,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Lookup => 1,
            Self::Forget => 2,
            Self::Attributes => 3,
            Self::Open => 14,
            Self::Read => 15,
            Self::Release => 18,
            Self::Init => 26,
            Self::OpenDirectory => 27,
            Self::ReadDirectory => 28,
            Self::ReleaseDirectory => 29,
            Self::Destroy => 38,
        }
    }

    /// Bytes that follow the header of an answer without data.
    const fn answer(self) -> usize {
        match self {
            Self::Lookup => 40 + ATTRIBUTES,
            Self::Attributes => 16 + ATTRIBUTES,
            Self::Open | Self::OpenDirectory => 16,
            Self::Init => 64,
            Self::Forget
            | Self::Read
            | Self::ReadDirectory
            | Self::Release
            | Self::ReleaseDirectory
            | Self::Destroy => 0,
        }
    }
}

/// What a file is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Number of the inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes that it takes.
    pub blocks: u64,
    /// When it was modified: seconds since 1970, and nanoseconds.
    pub modified: (u64, u32),
    /// Kind and permissions, as in `st_mode`.
    pub mode: u32,
    /// Names that it has.
    pub links: u32,
    /// Whose it is: user and group.
    pub owner: (u32, u32),
}

impl Attributes {
    fn parse(bytes: &[u8]) -> Self {
        Self {
            inode: u64_at(bytes, 0),
            size: u64_at(bytes, 8),
            blocks: u64_at(bytes, 16),
            modified: (u64_at(bytes, 32), u32_at(bytes, 52)),
            mode: u32_at(bytes, 60),
            links: u32_at(bytes, 64),
            owner: (u32_at(bytes, 68), u32_at(bytes, 72)),
        }
    }
}

/// What a request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The session stands, with this version and these bits of the other side's.
    Session {
        /// Major and minor number.
        version: (u32, u32),
        /// `FUSE_*` flags.
        flags: u32,
        /// Most bytes of a write.
        most_written: u32,
    },
    /// A name leads to this node, which is remembered by the device until [`Requests::forget`].
    Node {
        /// The node.
        node: u64,
        /// What it is like.
        attributes: Attributes,
    },
    /// What a node is like.
    Attributes(Attributes),
    /// A file or a directory is open.
    Open {
        /// Names it from here on.
        handle: u64,
    },
    /// So many bytes are in the caller's data.
    Data(u32),
    /// It was done.
    Done,
}

/// Why a request brought nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// An error of the file system's, as in `errno`.
    #[error("the file system gave the error {0}")]
    Errno(u32),
    /// The answer is shorter than it says, or than such answers are, or belongs to another request.
    #[error("the answer makes no sense")]
    Malformed,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// What the caller calls it.
    pub tag: u64,
    /// How it ended.
    pub result: Result<Reply, Failure>,
}

/// Requests of a queue. The first of a session is [`Requests::init`].
#[derive(Debug)]
pub struct Requests {
    exchanges: Exchanges,
    /// What was asked, by the number of the request.
    asked: Vec<(u64, Kind, u64)>,
    /// Number of the next request.
    next: u64,
}

impl Requests {
    /// Bytes of memory for the requests of a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        Exchanges::bytes(size, REQUEST_BYTES, ANSWER_BYTES)
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, slots: Shared, address: u64) -> Option<Self> {
        let exchanges = Exchanges::new(size, REQUEST_BYTES, ANSWER_BYTES, slots, address)?;
        Some(Self { exchanges, asked: Vec::new(), next: 1 })
    }

    /// Begins the session, on one queue of the device.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn init<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        tag: u64,
    ) -> Result<(), AddError> {
        let mut body = [0; 16];
        put(&mut body, 0, &7_u32.to_le_bytes());
        put(&mut body, 4, &31_u32.to_le_bytes());
        put(&mut body, 8, &(128_u32 << 10).to_le_bytes());
        self.ask(ring, Kind::Init, 0, &[&body], &[], tag)
    }

    /// The node that `name` leads to in a directory.
    ///
    /// # Errors
    /// [`AddError`]; [`AddError::Length`] where the name is too long.
    pub fn look_up<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        directory: u64,
        name: &[u8],
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::Lookup, directory, &[name, &[0]], &[], tag)
    }

    /// What a node is like.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn attributes<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        node: u64,
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::Attributes, node, &[&[0; 16]], &[], tag)
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn open<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        node: u64,
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::Open, node, &[&[0; 8]], &[], tag)
    }

    /// Reads from `offset` of an open file into `data`.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn read<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        (node, handle): (u64, u64),
        offset: u64,
        data: &[Segment],
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::Read, node, &[&read_body(handle, offset, data)], data, tag)
    }

    /// Closes a file.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn release<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        (node, handle): (u64, u64),
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::Release, node, &[&release_body(handle)], &[], tag)
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn open_directory<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        node: u64,
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::OpenDirectory, node, &[&[0; 8]], &[], tag)
    }

    /// Entries of an open directory, into `data`, where [`entries`] finds them; none: it has no more.
    /// `offset` is 0, or [`Entry::next`] of the last that was read.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn read_directory<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        (node, handle): (u64, u64),
        offset: u64,
        data: &[Segment],
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::ReadDirectory, node, &[&read_body(handle, offset, data)], data, tag)
    }

    /// Closes a directory.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn release_directory<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        (node, handle): (u64, u64),
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::ReleaseDirectory, node, &[&release_body(handle)], &[], tag)
    }

    /// The driver no longer knows a node that it has looked up so many times. There is no answer but the end of the request.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn forget<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        node: u64,
        times: u64,
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::Forget, node, &[&times.to_le_bytes()], &[], tag)
    }

    /// Ends the session.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn destroy<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        tag: u64,
    ) -> Result<(), AddError> {
        self.ask(ring, Kind::Destroy, 0, &[], &[], tag)
    }

    fn ask<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        kind: Kind,
        node: u64,
        body: &[&[u8]],
        data: &[Segment],
        tag: u64,
    ) -> Result<(), AddError> {
        let length = IN_HEADER + body.iter().map(|part| part.len()).sum::<usize>();
        let unique = self.next;
        let mut header = [0; IN_HEADER];
        put(&mut header, 0, &(length as u32).to_le_bytes());
        put(&mut header, 4, &kind.number().to_le_bytes());
        put(&mut header, 8, &unique.to_le_bytes());
        put(&mut header, 16, &node.to_le_bytes());
        let parts: Vec<&[u8]> = [header.as_slice()].into_iter().chain(body.iter().copied()).collect();
        // What is forgotten is not answered (section 5.11.6.2).
        let answer = if kind == Kind::Forget { 0 } else { OUT_HEADER + kind.answer() };
        self.exchanges.send(ring, (&parts, &[]), (answer as u32, data), unique)?;
        self.asked.push((unique, kind, tag));
        self.next += 1;
        Ok(())
    }

    /// A request that has ended; `None` if none has.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Completed>, Fault> {
        let Some(answered) = self.exchanges.reap(ring)? else { return Ok(None) };
        let mut bytes = [0; ANSWER_BYTES as usize];
        self.exchanges.read(&answered, &mut bytes);
        let asked = self.asked.iter().position(|(unique, ..)| *unique == answered.tag);
        let completed = asked.map(|at| {
            let (unique, kind, tag) = self.asked.swap_remove(at);
            Completed { tag, result: reply(kind, unique, &answered, &bytes) }
        });
        self.exchanges.release(answered);
        Ok(completed)
    }
}

/// What an answer says.
fn reply(kind: Kind, unique: u64, answered: &Answered, bytes: &[u8]) -> Result<Reply, Failure> {
    if kind == Kind::Forget {
        return Ok(Reply::Done);
    }
    let written = u64::from(answered.answer) + u64::from(answered.data);
    let length = u64::from(u32_at(bytes, 0));
    let is_whole = length >= OUT_HEADER as u64 && length <= written;
    if !is_whole || u64_at(bytes, 8) != unique {
        return Err(Failure::Malformed);
    }
    match u32_at(bytes, 4).wrapping_neg() {
        0 => {}
        errno => return Err(Failure::Errno(errno)),
    }
    let payload = (length as usize) - OUT_HEADER;
    let body = &bytes[OUT_HEADER..];
    // A session of an older version has a shorter answer.
    let least = if kind == Kind::Init { 24 } else { kind.answer() };
    if payload < least {
        return Err(Failure::Malformed);
    }
    Ok(match kind {
        Kind::Init => Reply::Session {
            version: (u32_at(body, 0), u32_at(body, 4)),
            flags: u32_at(body, 12),
            most_written: u32_at(body, 20),
        },
        Kind::Lookup => Reply::Node { node: u64_at(body, 0), attributes: Attributes::parse(&body[40..]) },
        Kind::Attributes => Reply::Attributes(Attributes::parse(&body[16..])),
        Kind::Open | Kind::OpenDirectory => Reply::Open { handle: u64_at(body, 0) },
        Kind::Read | Kind::ReadDirectory => Reply::Data(payload as u32),
        Kind::Forget | Kind::Release | Kind::ReleaseDirectory | Kind::Destroy => Reply::Done,
    })
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the inode.
    pub inode: u64,
    /// Where the directory goes on behind it.
    pub next: u64,
    /// Its kind, as in `d_type`.
    pub kind: u32,
    /// Its name.
    pub name: Vec<u8>,
}

/// The entries in what [`Requests::read_directory`] brought. What is cut off or makes no sense ends them.
pub fn entries(data: &Slice<'_>) -> Vec<Entry> {
    const FIXED: usize = 24;
    let mut all = Vec::new();
    let mut at = 0;
    loop {
        let mut head = [0; FIXED];
        match data.part(at, FIXED) {
            Some(part) => part.read(&mut head),
            None => break,
        };
        let length = u32_at(&head, 16) as usize;
        let Some(part) = data.part(at + FIXED, length).filter(|_| length <= NAME_MAX) else { break };
        let mut name = alloc::vec![0; length];
        part.read(&mut name);
        all.push(Entry { inode: u64_at(&head, 0), next: u64_at(&head, 8), kind: u32_at(&head, 20), name });
        at += (FIXED + length).next_multiple_of(8);
    }
    all
}

fn read_body(handle: u64, offset: u64, data: &[Segment]) -> [u8; 40] {
    let size: u64 = data.iter().map(|segment| u64::from(segment.length)).sum();
    let mut body = [0; 40];
    put(&mut body, 0, &handle.to_le_bytes());
    put(&mut body, 8, &offset.to_le_bytes());
    // More than 4 GiB are no chain.
    put(&mut body, 16, &(size as u32).to_le_bytes());
    body
}

fn release_body(handle: u64) -> [u8; 24] {
    let mut body = [0; 24];
    put(&mut body, 0, &handle.to_le_bytes());
    body
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

//! Block devices (section 5.2).

mod device;
mod driver;

pub use device::{Range, Storage, Transfer, Way, flushed, is_flush, serve};
pub use driver::Requests;

use crate::bytes::{u16_at, u32_at, u64_at};
use thiserror::Error;

/// Bytes of a sector, whatever the block size.
pub const SECTOR: u64 = 512;

bitflags::bitflags! {
    /// Features of block devices.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Segments have a largest size.
        const SIZE_MAX = 1 << 1;
        /// Requests have a largest number of segments.
        const SEG_MAX = 1 << 2;
        /// The geometry is told.
        const GEOMETRY = 1 << 4;
        /// It cannot be written.
        const RO = 1 << 5;
        /// The block size is told.
        const BLK_SIZE = 1 << 6;
        /// Flushes.
        const FLUSH = 1 << 9;
        /// The best sizes of requests are told.
        const TOPOLOGY = 1 << 10;
        /// The cache can be switched.
        const CONFIG_WCE = 1 << 11;
        /// Several queues.
        const MQ = 1 << 12;
        /// Discards.
        const DISCARD = 1 << 13;
        /// Writes zeroes by itself.
        const WRITE_ZEROES = 1 << 14;
        /// Life time of the medium.
        const LIFETIME = 1 << 15;
        /// Erases securely.
        const SECURE_ERASE = 1 << 16;
        /// Zones.
        const ZONED = 1 << 17;
    }
}

/// Configuration space (section 5.2.4), as much of it as the device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Sectors of 512 bytes.
    pub capacity: u64,
    /// Most bytes of a segment, with [`Features::SIZE_MAX`].
    pub size_max: u32,
    /// Most segments of data in a request, with [`Features::SEG_MAX`].
    pub seg_max: u32,
    /// Bytes of a block, with [`Features::BLK_SIZE`].
    pub block_size: u32,
    /// Queues, with [`Features::MQ`].
    pub queues: u16,
    /// Most sectors of a discard.
    pub discard_sectors: u32,
    /// Most segments of a discard.
    pub discard_segments: u32,
    /// Most sectors of a write of zeroes.
    pub zeroes_sectors: u32,
    /// Most segments of one.
    pub zeroes_segments: u32,
}

impl Config {
    /// Bytes of the part that is read here.
    pub const BYTES: usize = 60;

    /// Its bytes.
    pub fn bytes(&self) -> [u8; Self::BYTES] {
        let mut all = [0; Self::BYTES];
        let mut put = |at: usize, bytes: &[u8]| all[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.capacity.to_le_bytes());
        put(34, &self.queues.to_le_bytes());
        for (at, number) in [
            (8, self.size_max),
            (12, self.seg_max),
            (20, self.block_size),
            (36, self.discard_sectors),
            (40, self.discard_segments),
            (48, self.zeroes_sectors),
            (52, self.zeroes_segments),
        ] {
            put(at, &number.to_le_bytes());
        }
        all
    }

    /// From its bytes; what is missing is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        let number = |at| u32_at(bytes, at);
        Self {
            capacity: u64_at(bytes, 0),
            size_max: number(8),
            seg_max: number(12),
            block_size: number(20),
            queues: u16_at(bytes, 34),
            discard_sectors: number(36),
            discard_segments: number(40),
            zeroes_sectors: number(48),
            zeroes_segments: number(52),
        }
    }
}

/// Kinds of requests (section 5.2.6).
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
    pub(super) const DISCARD: u32 = 11;
    pub(super) const WRITE_ZEROES: u32 = 13;
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The device could not do it.
    #[error("input or output error")]
    Io,
    /// The device does not know such requests.
    #[error("not supported by the device")]
    Unsupported,
    /// A status that means nothing; 255 is one that the device never wrote.
    #[error("the device gave the status {0}")]
    Status(u8),
}

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// What the caller calls it.
    pub tag: u64,
    /// How it ended.
    pub result: Result<(), Failure>,
}

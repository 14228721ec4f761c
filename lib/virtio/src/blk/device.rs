//! The device's side of a block device.

use super::{Failure, SECTOR, kind};
use crate::bytes::{u32_at, u64_at};
use crate::chain::{Chain, Cursor};
use crate::memory::Slice;

/// What is behind a block device. Places and lengths are bytes within the capacity; those of a request are multiples of 512, its pieces may be any.
pub trait Storage {
    /// Sectors of 512 bytes.
    fn sectors(&self) -> u64;
    /// Reads into memory.
    ///
    /// # Errors
    /// [`Failure`].
    fn read(&mut self, place: u64, into: Slice<'_>) -> Result<(), Failure>;
    /// Writes from memory.
    ///
    /// # Errors
    /// [`Failure`].
    fn write(&mut self, place: u64, from: Slice<'_>) -> Result<(), Failure>;
    /// Makes what was written before durable.
    ///
    /// # Errors
    /// [`Failure`].
    fn flush(&mut self) -> Result<(), Failure>;
    /// Forgets what is there.
    ///
    /// # Errors
    /// [`Failure`].
    fn discard(&mut self, range: Range) -> Result<(), Failure> {
        let _ = range;
        Err(Failure::Unsupported)
    }
    /// Makes it zeroes.
    ///
    /// # Errors
    /// [`Failure`].
    fn write_zeroes(&mut self, range: Range) -> Result<(), Failure> {
        let _ = range;
        Err(Failure::Unsupported)
    }
    /// Most ranges of a discard or a write of zeroes, as configuration space says them.
    fn ranges(&self) -> usize {
        1
    }
    /// Most bytes of one of those ranges, as configuration space says them: nothing else is done meanwhile.
    fn most_of_a_range(&self) -> u64 {
        MOST
    }
    /// A name, at most 20 bytes.
    fn id(&self) -> &[u8] {
        b""
    }
}

/// A part of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first byte.
    pub place: u64,
    /// Its bytes.
    pub length: u64,
    /// Its space may be given back.
    pub unmap: bool,
}

/// Most bytes that one request reads or writes, for the same reason.
const MOST: u64 = 128 << 20;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// Does what a chain asks for, and gives the bytes that were written, the status included. A chain without a writable byte for the
/// status cannot be answered at all: 0.
pub fn serve<S: Storage + ?Sized>(storage: &mut S, chain: &Chain<'_>) -> u32 {
    if let Some(transfer) = Transfer::of(chain, storage.sectors()) {
        let (mut place, mut result) = (transfer.place, Ok(()));
        transfer.pieces(chain, |part| {
            if result.is_ok() {
                result = match transfer.way {
                    Way::Read => storage.read(place, part),
                    Way::Write => storage.write(place, part),
                };
                place += part.len() as u64;
            }
        });
        return transfer.ended(chain, result);
    }
    let Some(room) = chain.writable_bytes().checked_sub(1) else { return 0 };
    let mut reader = chain.reader();
    let result = match header(&mut reader) {
        Some((kind, _)) => request(storage, kind, &mut reader, &mut chain.writer(), room),
        None => Err(Failure::Io),
    };
    answer(chain, room, result)
}

/// A read or a write whose bytes somebody else moves, in place of [`serve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The first byte of the storage.
    pub place: u64,
    /// Bytes, a multiple of 512.
    pub length: u32,
    /// Which way they go.
    pub way: Way,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Out of the storage.
    Read,
    /// Into it.
    Write,
}

impl Transfer {
    /// What the chain asks for, if it is a read or a write within so many sectors. `None`: it is something else, or cannot be done, and
    /// [`serve`] answers it without reading or writing.
    pub fn of(chain: &Chain<'_>, sectors: u64) -> Option<Self> {
        let room = chain.writable_bytes().checked_sub(1)?;
        let mut reader = chain.reader();
        let (kind, sector) = header(&mut reader)?;
        let (length, way) = match kind {
            kind::IN => (room, Way::Read),
            kind::OUT => (reader.remaining() as u32, Way::Write),
            _ => return None,
        };
        let place = inside(sectors, sector, bounded(length.into()).ok()?).ok()?;
        Some(Self { place, length, way })
    }

    /// Bytes of what the device reads, or writes, of the chain before those of the transfer.
    pub const fn before(&self) -> usize {
        match self.way {
            Way::Read => 0,
            Way::Write => HEADER,
        }
    }

    /// Each piece of its memory, in the order of the bytes.
    pub fn pieces<'m>(&self, chain: &Chain<'m>, each: impl FnMut(Slice<'m>)) {
        let mut cursor = match self.way {
            Way::Read => chain.writer(),
            Way::Write => chain.reader(),
        };
        cursor.skip(self.before());
        cursor.advance(self.length as usize, each);
    }

    /// It has ended: writes the status, and gives the bytes that were written.
    pub fn ended(&self, chain: &Chain<'_>, result: Result<(), Failure>) -> u32 {
        let Some(room) = chain.writable_bytes().checked_sub(1) else { return 0 };
        let written = if self.way == Way::Read { room } else { 0 };
        answer(chain, room, result.map(|()| written))
    }
}

/// Whether a chain asks for what was written to be made durable, which somebody else does, in place of [`serve`].
pub fn is_flush(chain: &Chain<'_>) -> bool {
    chain.writable_bytes() > 0 && header(&mut chain.reader()).is_some_and(|(kind, _)| kind == kind::FLUSH)
}

/// It was: writes the status, and gives the bytes that were written.
pub fn flushed(chain: &Chain<'_>, result: Result<(), Failure>) -> u32 {
    chain.writable_bytes().checked_sub(1).map_or(0, |room| answer(chain, room, result.map(|()| 0)))
}

/// Bytes before the data: what is asked for, something reserved, and the sector (section 5.2.6).
const HEADER: usize = 16;

fn header(reader: &mut Cursor<'_, '_>) -> Option<(u32, u64)> {
    let mut header = [0; HEADER];
    if reader.read(&mut header) < header.len() {
        return None;
    }
    Some((u32_at(&header, 0), u64_at(&header, 8)))
}

/// Writes the status, and gives the bytes that were written.
fn answer(chain: &Chain<'_>, room: u32, result: Result<u32, Failure>) -> u32 {
    let (status, written) = match result {
        Ok(written) => (OK, written),
        Err(Failure::Unsupported) => (UNSUPPORTED, 0),
        Err(Failure::Io | Failure::Status(_)) => (IO_ERROR, 0),
    };
    // The status is the last byte, wherever the data ended.
    let mut last = chain.writer();
    last.skip(room as usize);
    last.write(&[status]);
    // Only what is written from the start on without a gap may be told, and the status is behind the data (section 2.7.8.2).
    if written == room { room + 1 } else { written }
}

/// What is no transfer.
fn request<S: Storage + ?Sized>(
    storage: &mut S,
    kind: u32,
    reader: &mut Cursor<'_, '_>,
    writer: &mut Cursor<'_, '_>,
    room: u32,
) -> Result<u32, Failure> {
    match kind {
        // Beyond the end, or of no whole sectors.
        kind::IN | kind::OUT => Err(Failure::Io),
        kind::FLUSH => storage.flush().map(|()| 0),
        kind::GET_ID => {
            let mut id = [0; 20];
            let name = storage.id();
            let length = name.len().min(id.len());
            id[..length].copy_from_slice(&name[..length]);
            Ok(writer.write(&id[..id.len().min(room as usize)]) as u32)
        }
        kind::DISCARD | kind::WRITE_ZEROES => {
            let ranges = reader.remaining() / 16;
            if ranges == 0 || ranges > storage.ranges() || !reader.remaining().is_multiple_of(16) {
                return Err(Failure::Io);
            }
            let mut entry = [0; 16];
            while reader.read(&mut entry) == entry.len() {
                let range = range(storage, &entry, kind)?;
                if kind == kind::DISCARD {
                    storage.discard(range)?;
                } else {
                    storage.write_zeroes(range)?;
                }
            }
            Ok(0)
        }
        _ => Err(Failure::Unsupported),
    }
}

fn bounded(length: u64) -> Result<u64, Failure> {
    if length <= MOST { Ok(length) } else { Err(Failure::Io) }
}

/// The first byte of so many from `sector` on, which must all be there.
fn inside(all: u64, sector: u64, length: u64) -> Result<u64, Failure> {
    let end = sector.checked_add(length / SECTOR).filter(|end| *end <= all);
    match end {
        // Below the capacity in bytes, which is a number of 64 bits.
        Some(_) if length.is_multiple_of(SECTOR) => Ok(sector * SECTOR),
        _ => Err(Failure::Io),
    }
}

/// One entry of a discard or a write of zeroes (section 5.2.6): sector, sectors, flags.
fn range<S: Storage + ?Sized>(storage: &S, entry: &[u8; 16], kind: u32) -> Result<Range, Failure> {
    const UNMAP: u32 = 1;
    let (sector, sectors, flags) = (u64_at(entry, 0), u32_at(entry, 8), u32_at(entry, 12));
    let known = if kind == kind::WRITE_ZEROES { UNMAP } else { 0 };
    if flags & !known != 0 {
        return Err(Failure::Unsupported);
    }
    let length = u64::from(sectors) * SECTOR;
    if length > storage.most_of_a_range() {
        return Err(Failure::Io);
    }
    let place = inside(storage.sectors(), sector, length)?;
    Ok(Range { place, length, unmap: flags & UNMAP != 0 })
}

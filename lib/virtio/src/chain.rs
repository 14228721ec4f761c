//! What a driver offers and a device takes: chains of segments.

use crate::Fault;
use crate::cells::{DESCRIPTOR_BYTES, Descriptor, INDIRECT, NEXT, WRITE};
use crate::memory::{Access, Slice, Translate};
use alloc::vec::Vec;

/// Most entries of an indirect table. The specification has as many as the ring has entries (section 2.7.5.3.1); Linux makes longer ones
/// where the device's limits of segments allow them, and QEMU takes this many.
const MOST_ENTRIES: u32 = 1024;

/// A piece of memory in a chain, in the driver's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first byte.
    pub address: u64,
    /// Its bytes.
    pub length: u32,
}

/// A chain that the device has and must give back, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a chain that is not given back is lost to the driver"]
pub struct Taken {
    pub(crate) id: u16,
    /// Places of a packed ring that it takes; 1 in a split ring.
    pub(crate) count: u16,
}

impl Taken {
    /// What names it: the head of a split ring, the id of a packed one, which may be any number. Unique among those that the device has:
    /// a driver that offers a name twice breaks the ring.
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// Places of the ring that it takes up there: 1 in a split ring.
    pub const fn places(&self) -> u16 {
        self.count
    }

    /// One that was taken before a crash, as an inflight region remembers it.
    pub const fn remembered(id: u16, places: u16) -> Self {
        Self { id, count: places }
    }
}

/// The memory of a chain: what the device reads, then what it writes. One value is filled again and again, so that taking allocates
/// nothing.
#[derive(Debug, Default)]
pub struct Chain<'m> {
    pieces: Vec<Slice<'m>>,
    /// Pieces and bytes that the device reads, which are the first.
    readable: usize,
    readable_bytes: u32,
    bytes: u32,
    writes: bool,
}

impl<'m> Chain<'m> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { pieces: Vec::new(), readable: 0, readable_bytes: 0, bytes: 0, writes: false }
    }

    /// One of pieces that somebody has kept, what the device reads before what it writes. Together they are those of a chain that was taken.
    pub fn of(
        readable: impl IntoIterator<Item = Slice<'m>>,
        writable: impl IntoIterator<Item = Slice<'m>>,
    ) -> Self {
        let mut chain = Self::new();
        chain.pieces.extend(readable);
        chain.readable = chain.pieces.len();
        chain.readable_bytes = chain.pieces.iter().map(Slice::len).sum::<usize>() as u32;
        chain.pieces.extend(writable);
        chain.bytes = chain.pieces.iter().map(Slice::len).sum::<usize>() as u32;
        chain
    }

    /// What the device reads.
    #[inline]
    pub fn readable(&self) -> &[Slice<'m>] {
        self.pieces.get(..self.readable).unwrap_or_default()
    }

    /// What the device writes.
    #[inline]
    pub fn writable(&self) -> &[Slice<'m>] {
        self.pieces.get(self.readable..).unwrap_or_default()
    }

    /// Bytes that the device reads.
    #[inline]
    pub const fn readable_bytes(&self) -> u32 {
        self.readable_bytes
    }

    /// Bytes that the device writes.
    #[inline]
    pub const fn writable_bytes(&self) -> u32 {
        self.bytes - self.readable_bytes
    }

    /// Reads from the first readable byte on.
    #[inline]
    pub fn reader(&self) -> Cursor<'_, 'm> {
        Cursor { pieces: self.readable(), offset: 0 }
    }

    /// Writes from the first writable byte on.
    #[inline]
    pub fn writer(&self) -> Cursor<'_, 'm> {
        Cursor { pieces: self.writable(), offset: 0 }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.readable = 0;
        self.readable_bytes = 0;
        self.bytes = 0;
        self.writes = false;
    }

    /// Adds the segment of descriptor `index`.
    #[inline(always)]
    pub(crate) fn push<T: Translate<'m>>(
        &mut self,
        memory: &T,
        index: u16,
        segment: Segment,
        flags: u16,
    ) -> Result<(), Fault> {
        let writes = flags & WRITE != 0;
        if self.writes && !writes {
            return Err(Fault::Order { index });
        }
        self.writes = writes;
        let Segment { address, length } = segment;
        self.bytes = self.bytes.checked_add(length).ok_or(Fault::Length)?;
        let access = if writes { Access::Write } else { Access::Read };
        match memory.translate_one(address, length, access) {
            Some(piece) => self.pieces.push(piece),
            None => self.push_parts(memory, segment, access)?,
        }
        if !writes {
            self.readable = self.pieces.len();
            self.readable_bytes = self.bytes;
        }
        Ok(())
    }

    #[cold]
    fn push_parts<T: Translate<'m>>(
        &mut self,
        memory: &T,
        Segment { address, length }: Segment,
        access: Access,
    ) -> Result<(), Fault> {
        memory.translate(address, length, access, &mut |piece| self.pieces.push(piece))
    }

    /// Adds the segments of an indirect table, which is read where it is. Those of split rings are linked, those of packed ones follow
    /// each other (section 2.8.8).
    #[cold]
    pub(crate) fn push_table<T: Translate<'m>>(
        &mut self,
        memory: &T,
        index: u16,
        table: Segment,
        linked: bool,
    ) -> Result<(), Fault> {
        let entries = table.length / DESCRIPTOR_BYTES;
        if !table.length.is_multiple_of(DESCRIPTOR_BYTES) || !(1..=MOST_ENTRIES).contains(&entries) {
            return Err(Fault::IndirectLength { bytes: table.length });
        }
        let size = entries as u16;
        let table = Table::of(memory, table)?;
        let mut at = 0;
        for _ in 0..size {
            let entry = table.entry(at).ok_or(Fault::Descriptor { index: at, size })?;
            let segment = Segment { address: entry.address, length: entry.length };
            let (flags, next) = if linked {
                (entry.flags, (entry.flags & NEXT != 0).then_some(entry.next))
            } else {
                // Entries of a packed ring's table are packed themselves: their flags are where others have `next`, behind an id.
                (entry.next, (at + 1 < size).then_some(at + 1))
            };
            if flags & INDIRECT != 0 {
                return Err(Fault::Indirect { index });
            }
            self.push(memory, at, segment, flags)?;
            match next {
                Some(next) => at = next,
                None => return Ok(()),
            }
        }
        Err(Fault::Loop { size })
    }
}

/// An indirect table: where it is, or a copy of one that is in several pieces.
enum Table<'m> {
    Whole(Slice<'m>),
    Gathered(Vec<u8>),
}

impl<'m> Table<'m> {
    fn of<T: Translate<'m>>(memory: &T, Segment { address, length }: Segment) -> Result<Self, Fault> {
        if let Some(slice) = memory.translate_one(address, length, Access::Read) {
            return Ok(Self::Whole(slice));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        memory.translate(address, length, Access::Read, &mut |piece| {
            let start = bytes.len();
            bytes.resize(start + piece.len(), 0);
            piece.read(bytes.get_mut(start..).unwrap_or_default());
        })?;
        Ok(Self::Gathered(bytes))
    }

    fn entry(&self, index: u16) -> Option<Descriptor> {
        match self {
            Self::Whole(slice) => slice.descriptor(index.into()),
            Self::Gathered(bytes) => {
                let start = usize::from(index) * DESCRIPTOR_BYTES as usize;
                bytes.get(start..)?.first_chunk().copied().map(Descriptor::from_bytes)
            }
        }
    }
}

/// Goes through pieces of memory as if they were one.
#[derive(Clone, Debug)]
pub struct Cursor<'c, 'm> {
    pieces: &'c [Slice<'m>],
    offset: usize,
}

impl<'m> Cursor<'_, 'm> {
    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.pieces.iter().map(Slice::len).sum::<usize>() - self.offset
    }

    /// Copies what comes next into `into`; gives how many bytes that were.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let mut done = 0;
        self.advance(into.len(), |piece| {
            done += piece.read(into.get_mut(done..).unwrap_or_default());
        })
    }

    /// Copies `from` to what comes next; gives how many bytes that were.
    pub fn write(&mut self, from: &[u8]) -> usize {
        let mut done = 0;
        self.advance(from.len(), |piece| {
            done += piece.write(from.get(done..).unwrap_or_default());
        })
    }

    /// Leaves out up to `count` bytes; gives how many.
    pub fn skip(&mut self, count: usize) -> usize {
        self.advance(count, |_| {})
    }

    /// The next `count` bytes, or those that are left, piece by piece.
    pub fn advance(&mut self, count: usize, mut each: impl FnMut(Slice<'m>)) -> usize {
        let mut left = count;
        while let Some((first, rest)) = self.pieces.split_first() {
            let here = left.min(first.len() - self.offset);
            if let Some(part) = first.part(self.offset, here).filter(|part| !part.is_empty()) {
                each(part);
            }
            left -= here;
            self.offset += here;
            if self.offset < first.len() {
                break;
            }
            (self.pieces, self.offset) = (rest, 0);
        }
        count - left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Heap, Region, Regions, Shared};
    use alloc::sync::Arc;

    #[test]
    fn a_cursor_sees_pieces_as_one() {
        let mut regions = Regions::new();
        let memory = Shared::whole(Arc::new(Heap::zeroed(4096)));
        regions.add(Region { address: 0, memory: memory.clone() }).unwrap();
        memory.slice().write(b"abcdefgh");
        let mut chain = Chain::new();
        for (address, length) in [(0, 3), (3, 0), (4, 4)] {
            chain.push(&&regions, 0, Segment { address, length }, 0).unwrap();
        }
        chain.push(&&regions, 1, Segment { address: 100, length: 2 }, WRITE).unwrap();
        chain.push(&&regions, 2, Segment { address: 200, length: 3 }, WRITE).unwrap();
        assert_eq!((chain.readable_bytes(), chain.writable_bytes()), (7, 5));

        let mut reader = chain.reader();
        let mut four = [0; 4];
        assert_eq!((reader.read(&mut four), &four), (4, b"abce"));
        assert_eq!((reader.skip(1), reader.remaining()), (1, 2));
        assert_eq!((reader.read(&mut four), &four[..2]), (2, b"gh".as_slice()));

        let mut writer = chain.writer();
        assert_eq!(writer.write(b"12"), 2);
        assert_eq!(writer.write(b"3456"), 3, "there is no more");
        let mut back = [0; 103];
        memory.piece(100, 103).unwrap().slice().read(&mut back);
        assert_eq!((&back[..2], &back[100..]), (b"12".as_slice(), b"345".as_slice()));
    }

    #[test]
    fn what_is_read_comes_before_what_is_written_and_all_is_below_four_gibibytes() {
        let mut regions = Regions::new();
        regions.add(Region { address: 0, memory: Shared::whole(Arc::new(Heap::zeroed(4096))) }).unwrap();
        let mut chain = Chain::new();
        chain.push(&&regions, 0, Segment { address: 0, length: 0 }, WRITE).unwrap();
        let wrong = chain.push(&&regions, 7, Segment { address: 0, length: 1 }, 0);
        assert_eq!(wrong, Err(Fault::Order { index: 7 }), "after a writable segment of no bytes as well");
        chain.clear();
        chain.push(&&regions, 0, Segment { address: 0, length: 4096 }, 0).unwrap();
        let wrong = chain.push(&&regions, 0, Segment { address: 0, length: u32::MAX - 4095 }, WRITE);
        assert_eq!(wrong, Err(Fault::Length));
    }
}

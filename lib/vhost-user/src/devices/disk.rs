//! Block devices.

#[cfg(feature = "io-uring")]
mod direct;

#[cfg(feature = "io-uring")]
pub use direct::DirectDisk;

use crate::backend::{Device, Guest};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, pread, pwrite};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use virtio::Chain;
use virtio::blk::{self, Failure, Range, SECTOR, Storage};
use virtio::features::Features;
use virtio::memory::Slice;

/// A block device on any storage.
pub struct Disk<S> {
    storage: S,
    queues: u16,
    config: [u8; blk::Config::BYTES],
}

impl<S: Storage> Disk<S> {
    /// With so many queues.
    pub fn new(storage: S, queues: u16) -> Self {
        let most = u32::try_from(storage.most_of_a_range() / SECTOR).unwrap_or(u32::MAX);
        let config = blk::Config {
            capacity: storage.sectors(),
            // Together as much as one request may have.
            size_max: 1 << 20,
            seg_max: 126,
            block_size: SECTOR as u32,
            queues,
            discard_sectors: most,
            discard_segments: 1,
            zeroes_sectors: most,
            zeroes_segments: 1,
        };
        Self { config: config.bytes(), storage, queues }
    }
}

impl<S: Storage> Device for Disk<S> {
    fn features(&self) -> Features {
        let features = blk::Features::SIZE_MAX
            | blk::Features::SEG_MAX
            | blk::Features::BLK_SIZE
            | blk::Features::FLUSH
            | blk::Features::MQ
            | blk::Features::DISCARD
            | blk::Features::WRITE_ZEROES;
        Features::from_bits_retain(features.bits())
    }

    fn queues(&self) -> u16 {
        self.queues
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        while let Some(held) = guest.take(queue) {
            let (written, zeroed) = served(&mut self.storage, held.chain());
            guest.put(queue, held, written);
            guest.spend(zeroed);
        }
    }
}

/// Does what a chain asks for: bytes that were written of it, and those of the storage that became zeroes, of which a chain says nothing by its
/// length.
fn served<S: Storage>(storage: &mut S, chain: &Chain<'_>) -> (u32, u64) {
    let mut counted = Counted { storage, zeroed: 0 };
    let written = blk::serve(&mut counted, chain);
    (written, counted.zeroed)
}

struct Counted<'s, S> {
    storage: &'s mut S,
    zeroed: u64,
}

impl<S: Storage> Storage for Counted<'_, S> {
    fn sectors(&self) -> u64 {
        self.storage.sectors()
    }
    fn read(&mut self, place: u64, into: Slice<'_>) -> Result<(), Failure> {
        self.storage.read(place, into)
    }
    fn write(&mut self, place: u64, from: Slice<'_>) -> Result<(), Failure> {
        self.storage.write(place, from)
    }
    fn flush(&mut self) -> Result<(), Failure> {
        self.storage.flush()
    }
    fn discard(&mut self, range: Range) -> Result<(), Failure> {
        self.zeroed += range.length;
        self.storage.discard(range)
    }
    fn write_zeroes(&mut self, range: Range) -> Result<(), Failure> {
        self.zeroed += range.length;
        self.storage.write_zeroes(range)
    }
    fn ranges(&self) -> usize {
        self.storage.ranges()
    }
    fn most_of_a_range(&self) -> u64 {
        self.storage.most_of_a_range()
    }
    fn id(&self) -> &[u8] {
        self.storage.id()
    }
}

/// Reads give what was in the memory before, writes are forgotten: what remains is the cost of everything else.
#[derive(Clone, Copy, Debug)]
pub struct Null {
    /// Sectors that it pretends to have.
    pub sectors: u64,
}

impl Storage for Null {
    fn sectors(&self) -> u64 {
        self.sectors
    }
    fn read(&mut self, _: u64, _: Slice<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn write(&mut self, _: u64, _: Slice<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }
    fn discard(&mut self, _: Range) -> Result<(), Failure> {
        Ok(())
    }
    fn write_zeroes(&mut self, _: Range) -> Result<(), Failure> {
        Ok(())
    }
}

/// Memory of this process, gone with it.
#[derive(Clone, Debug)]
pub struct InMemory(Vec<u8>);

impl InMemory {
    /// Zeroes.
    pub fn new(sectors: u32) -> Self {
        Self(vec![0; sectors as usize * SECTOR as usize])
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn part(&mut self, place: u64, length: usize) -> Result<&mut [u8], Failure> {
        let start = usize::try_from(place).map_err(|_| Failure::Io)?;
        let end = start.checked_add(length).ok_or(Failure::Io)?;
        self.0.get_mut(start..end).ok_or(Failure::Io)
    }
}

impl Storage for InMemory {
    fn sectors(&self) -> u64 {
        self.0.len() as u64 / SECTOR
    }
    fn read(&mut self, place: u64, into: Slice<'_>) -> Result<(), Failure> {
        into.write(self.part(place, into.len())?);
        Ok(())
    }
    fn write(&mut self, place: u64, from: Slice<'_>) -> Result<(), Failure> {
        from.read(self.part(place, from.len())?);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }
    fn discard(&mut self, range: Range) -> Result<(), Failure> {
        self.write_zeroes(range)
    }
    fn write_zeroes(&mut self, range: Range) -> Result<(), Failure> {
        let length = usize::try_from(range.length).map_err(|_| Failure::Io)?;
        self.part(range.place, length)?.fill(0);
        Ok(())
    }
    fn id(&self) -> &[u8] {
        b"memory"
    }
}

/// A file, as long as it is when it is opened.
#[derive(Debug)]
pub struct OnFile {
    file: File,
    sectors: u64,
}

impl OnFile {
    /// Whole sectors of a file or a block device.
    ///
    /// # Errors
    /// Where its length is not known, or no sector.
    pub fn new(mut file: File) -> io::Result<Self> {
        // Of a block device only this tells.
        let sectors = file.seek(SeekFrom::End(0))? / SECTOR;
        if sectors == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is shorter than a sector"));
        }
        Ok(Self { file, sectors })
    }

    fn fallocate(&self, flags: FallocateFlags, range: Range) -> Result<(), Failure> {
        if range.length == 0 {
            return Ok(());
        }
        fallocate(&self.file, flags | FallocateFlags::KEEP_SIZE, range.place, range.length).map_err(failure)
    }

    /// Where the file system knows no shorter way, as tmpfs and NFS do not.
    fn fill_with_zeroes(&self, range: Range) -> Result<(), Failure> {
        /// Where direct writes may begin too.
        #[repr(align(4096))]
        struct Zeroes([u8; 64 << 10]);
        static ZEROES: Zeroes = Zeroes([0; 64 << 10]);
        let (mut place, end) = (range.place, range.place + range.length);
        while place < end {
            let count = ZEROES.0.len().min(usize::try_from(end - place).unwrap_or(usize::MAX));
            let written = pwrite(&self.file, &ZEROES.0[..count], place).map_err(failure)?;
            if written == 0 {
                return Err(Failure::Io);
            }
            place += written as u64;
        }
        Ok(())
    }
}

fn failure(error: Errno) -> Failure {
    if matches!(error, Errno::OPNOTSUPP | Errno::NOSYS) { Failure::Unsupported } else { Failure::Io }
}

impl Storage for OnFile {
    fn sectors(&self) -> u64 {
        self.sectors
    }
    fn read(&mut self, mut place: u64, into: Slice<'_>) -> Result<(), Failure> {
        let mut buffer = [0; 16 << 10];
        let mut done = 0;
        while done < into.len() {
            let want = buffer.len().min(into.len() - done);
            let count = pread(&self.file, &mut buffer[..want], place).map_err(failure)?;
            // The file has become shorter.
            let part = into.part(done, count).filter(|_| count > 0).ok_or(Failure::Io)?;
            part.write(&buffer[..count]);
            done += count;
            place += count as u64;
        }
        Ok(())
    }
    fn write(&mut self, mut place: u64, from: Slice<'_>) -> Result<(), Failure> {
        let mut buffer = [0; 16 << 10];
        let mut done = 0;
        while done < from.len() {
            let want = buffer.len().min(from.len() - done);
            from.part(done, want).ok_or(Failure::Io)?.read(&mut buffer[..want]);
            let count = pwrite(&self.file, &buffer[..want], place).map_err(failure)?;
            if count == 0 {
                return Err(Failure::Io);
            }
            done += count;
            place += count as u64;
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), Failure> {
        self.file.sync_data().map_err(|_| Failure::Io)
    }
    fn discard(&mut self, range: Range) -> Result<(), Failure> {
        self.fallocate(FallocateFlags::PUNCH_HOLE, range)
    }
    fn write_zeroes(&mut self, range: Range) -> Result<(), Failure> {
        let how = if range.unmap { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
        match self.fallocate(how, range) {
            Err(Failure::Unsupported) => self.fill_with_zeroes(range),
            other => other,
        }
    }
    fn id(&self) -> &[u8] {
        b"file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::unix::fs::FileExt as _;

    /// A memfd is a file of tmpfs, which cannot zero a range by itself.
    #[test]
    fn zeroes_are_written_where_the_file_system_has_no_shorter_way() {
        let file = memfd_create("disk", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 1 << 20).unwrap();
        let mut disk = OnFile::new(File::from(file)).unwrap();
        disk.file.write_all_at(&[7; 1 << 20], 0).unwrap();
        for (unmap, place) in [(false, 512), (true, 512 << 10)] {
            disk.write_zeroes(Range { place, length: 300 << 10, unmap }).unwrap();
            let mut read = vec![0; (300 << 10) + 2];
            disk.file.read_exact_at(&mut read, place - 1).unwrap();
            assert!(read[1..=300 << 10].iter().all(|byte| *byte == 0) && read[0] == 7);
            assert_eq!(read[(300 << 10) + 1], 7);
        }
        disk.discard(Range { place: 0, length: 0, unmap: false }).unwrap();
        disk.write_zeroes(Range { place: 0, length: 0, unmap: false }).unwrap();
        assert_eq!(disk.sectors(), 2048);
    }
}

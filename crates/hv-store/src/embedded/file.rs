//! What redb reads and writes through: the store's file, and a guard that keeps a damaged file as it was found.

use redb::StorageBackend;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file. Growing it reserves the blocks, so a full disk shows there, and never in the middle of a commit.
#[derive(Debug)]
pub(super) struct DiskFile(pub(super) File);

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let old = self.len()?;
        if len > old {
            match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), old, len - old) {
                Ok(()) => return Ok(()),
                // Reserving is not known to every file system.
                Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => {
                    // Some of it may have been reserved; what redb believes the length to be must stay true.
                    self.0.set_len(old)?;
                    return Err(error.into());
                }
            }
        }
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// Stands between redb and its medium.
///
/// While the store is being opened and checked, writes are collected; only [`Guard::accept`] lets them through. An
/// open that fails leaves the medium untouched. It also remembers whether a sync has ever failed: after that the page
/// cache may claim what the disk has lost, so nothing may be acknowledged until the file has been read again. Nor does it
/// write any more: a later sync that succeeds would make durable what leads to the lost parts.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    medium: Box<dyn StorageBackend>,
    held: Mutex<Option<Held>>,
    sync_failed: AtomicBool,
}

/// Collected writes: in order for the medium, by block for reading.
#[derive(Debug, Default)]
struct Held {
    steps: Vec<Step>,
    len: u64,
    blocks: HashMap<u64, Box<[u8]>>,
}

#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

const BLOCK: u64 = 4096;

impl Guard {
    pub(super) fn new(medium: Box<dyn StorageBackend>) -> Self {
        Self {
            inner: Arc::new(Inner { medium, held: Mutex::new(None), sync_failed: AtomicBool::new(false) }),
        }
    }

    /// Collects writes from here on, after dropping those collected so far.
    pub(super) fn hold(&self) -> io::Result<()> {
        let len = self.inner.medium.len()?;
        *self.held() = Some(Held { len, ..Held::default() });
        Ok(())
    }

    /// Writes what was collected, in the order and with the syncs it came with, and collects no more.
    pub(super) fn accept(&self) -> io::Result<()> {
        let mut held = self.held();
        for step in held.iter().flat_map(|held| &held.steps) {
            match step {
                Step::Write(offset, data) => self.inner.changeable()?.write(*offset, data)?,
                Step::SetLen(len) => self.inner.changeable()?.set_len(*len)?,
                Step::Sync => self.inner.sync()?,
            }
        }
        *held = None;
        Ok(())
    }

    /// Writes the whole file again as it is on the medium, and syncs it: what was read of it is durable after that, and not
    /// only in a page cache that an unfinished or failed sync of an earlier process has left.
    pub(super) fn persist(&self) -> io::Result<()> {
        const CHUNK: u64 = 1 << 20;
        let medium = &*self.inner.medium;
        let len = medium.len()?;
        let mut buffer = Vec::new();
        for start in (0..len).step_by(CHUNK as usize) {
            buffer.resize((len - start).min(CHUNK) as usize, 0);
            medium.read(start, &mut buffer)?;
            self.inner.changeable()?.write(start, &buffer)?;
        }
        self.inner.sync()
    }

    pub(super) fn sync_failed(&self) -> bool {
        self.inner.sync_failed.load(Ordering::Relaxed)
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn sync(&self) -> io::Result<()> {
        self.changeable()?.sync_data().inspect_err(|_| self.sync_failed.store(true, Ordering::Relaxed))
    }

    /// The medium, unless a sync of it has failed.
    fn changeable(&self) -> io::Result<&dyn StorageBackend> {
        if self.sync_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier sync has failed"));
        }
        Ok(&*self.medium)
    }

    /// The block as it would be had the collected writes been made; zeros beyond the end.
    fn block(&self, held: &Held, block: u64) -> io::Result<Box<[u8]>> {
        if let Some(bytes) = held.blocks.get(&block) {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; BLOCK as usize].into_boxed_slice();
        let start = block * BLOCK;
        let end = self.medium.len()?.min(held.len).min(start + BLOCK);
        if end > start {
            self.medium.read(start, &mut bytes[..(end - start) as usize])?;
        }
        Ok(bytes)
    }
}

impl StorageBackend for Guard {
    fn len(&self) -> io::Result<u64> {
        match &*self.held() {
            Some(held) => Ok(held.len),
            None => self.inner.medium.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = self.held();
        let Some(held) = &*held else { return self.inner.medium.read(offset, out) };
        if offset + out.len() as u64 > held.len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if held.blocks.is_empty() {
            return self.inner.medium.read(offset, out);
        }
        for (block, range, at) in blocks(offset, out.len()) {
            let bytes = self.inner.block(held, block)?;
            out[range].copy_from_slice(&bytes[at]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut held = self.held();
        let Some(held) = &mut *held else { return self.inner.changeable()?.set_len(len) };
        held.steps.push(Step::SetLen(len));
        held.len = len;
        held.blocks.retain(|block, _| block * BLOCK < len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut held = self.held();
        match &mut *held {
            Some(held) => held.steps.push(Step::Sync),
            None => return self.inner.sync(),
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut held = self.held();
        let Some(held) = &mut *held else { return self.inner.changeable()?.write(offset, data) };
        for (block, range, at) in blocks(offset, data.len()) {
            let mut bytes = self.inner.block(held, block)?;
            bytes[at].copy_from_slice(&data[range]);
            held.blocks.insert(block, bytes);
        }
        held.len = held.len.max(offset + data.len() as u64);
        held.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

type Piece = (u64, std::ops::Range<usize>, std::ops::Range<usize>);

/// Splits a span into (block, range within the span, range within the block).
fn blocks(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let end = offset + len as u64;
    (offset / BLOCK..end.div_ceil(BLOCK)).map(move |block| {
        let from = offset.max(block * BLOCK);
        let to = end.min((block + 1) * BLOCK);
        let span = (from - offset) as usize..(to - offset) as usize;
        (block, span, (from - block * BLOCK) as usize..(to - block * BLOCK) as usize)
    })
}

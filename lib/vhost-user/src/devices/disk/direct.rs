//! A disk on a file, around the page cache.

use super::{Disk, OnFile, failure, served};
use crate::backend::{Device, Guest, Held};
use crate::sys::uring::{Move, Transfers, Uring};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, pread, pwrite};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use virtio::blk::{Failure, Storage as _, Transfer, Way};
use virtio::features::Features;

/// Transfers of one turn that are under way at once.
const AT_ONCE: u16 = 128;

/// What the memory and the place of a direct transfer are a multiple of: the sector of drivers.
const ALIGNED: usize = 512;

/// A block device on a file that is read and written around the page cache (`O_DIRECT`), all requests that there are at once, by io_uring.
/// Faster than [`Disk`] on [`OnFile`] where a disk is behind the file, whose guest has a cache of its own; slower where the page cache has
/// everything.
///
/// A turn ends when all that was taken has ended, and the driver hears of it then.
pub struct DirectDisk {
    disk: Disk<OnFile>,
    file: File,
    ring: Uring,
}

impl DirectDisk {
    /// Whole sectors of a file or a block device, with so many queues. Who else has the same opened file goes around the page cache too.
    ///
    /// # Errors
    /// Those of [`OnFile::new`]; where the file system knows no direct transfers, or none of 512 bytes; and where the kernel has no io_uring
    /// for this process. [`OnFile`] serves such a file.
    pub fn new(file: File, queues: u16) -> io::Result<Self> {
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::DIRECT)?;
        pread(&file, Aligned::new(ALIGNED).bytes(), 0)?;
        let disk = Disk::new(OnFile::new(file.try_clone()?)?, queues);
        Ok(Self { disk, file, ring: Uring::new(AT_ONCE)? })
    }
}

impl Device for DirectDisk {
    fn features(&self) -> Features {
        self.disk.features()
    }

    fn queues(&self) -> u16 {
        self.disk.queues()
    }

    fn config(&self) -> &[u8] {
        self.disk.config()
    }

    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let Self { disk, file, ring } = self;
        let (storage, taken) = (&mut disk.storage, VecDeque::new());
        ring.run(file.as_fd(), &mut Turn { file, storage, queue, guest, taken, given: 0 });
    }
}

/// The requests of one queue in one turn. They are given back in the order in which they came: a driver may have been promised that.
struct Turn<'t, 's> {
    file: &'t File,
    storage: &'t mut OnFile,
    queue: u16,
    guest: &'t mut Guest<'s>,
    /// Those that were not given back yet, with the bytes that were written of them when they are over.
    taken: VecDeque<(Held<'s>, Option<u32>)>,
    /// How many were.
    given: usize,
}

impl<'s> Transfers<'s> for Turn<'_, 's> {
    /// The how manieth it is.
    type Of = (usize, Transfer);

    fn next(&mut self) -> Option<(Move<'s>, Self::Of)> {
        loop {
            let held = self.guest.take(self.queue)?;
            let number = self.given + self.taken.len();
            let Some(transfer) = Transfer::of(held.chain(), self.storage.sectors()) else {
                let (written, zeroed) = served(self.storage, held.chain());
                self.guest.spend(zeroed);
                self.taken.push_back((held, Some(written)));
                self.give();
                continue;
            };
            let (mut pieces, mut is_aligned) = (Vec::new(), true);
            transfer.pieces(held.chain(), |piece| {
                let parts = [piece.len(), piece.as_ptr().addr()];
                is_aligned &= parts.iter().all(|part| part.is_multiple_of(ALIGNED));
                pieces.push(piece);
            });
            self.taken.push_back((held, None));
            if is_aligned && !pieces.is_empty() {
                let Transfer { way, place, .. } = transfer;
                return Some((Move { way, place, pieces }, (number, transfer)));
            }
            self.over(number, transfer, None);
        }
    }

    fn ended(&mut self, (number, transfer): Self::Of, moved: io::Result<usize>) {
        let result = match moved {
            Ok(bytes) if bytes == transfer.length as usize => Some(Ok(())),
            // The end of the file, or more than the kernel takes at once.
            Ok(_) => None,
            Err(error) => match Errno::from_io_error(&error) {
                // A device that wants more of its memory than sectors, or fewer pieces.
                Some(Errno::INVAL) => None,
                other => Some(Err(other.map_or(Failure::Io, failure))),
            },
        };
        self.over(number, transfer, result);
    }
}

impl Turn<'_, '_> {
    /// One is over, or has to be done by memory of ours.
    fn over(&mut self, number: usize, transfer: Transfer, result: Option<Result<(), Failure>>) {
        if let Some((held, written)) = self.taken.get_mut(number - self.given) {
            let result = result.unwrap_or_else(|| bounced(self.file, held, transfer));
            *written = Some(transfer.ended(held.chain(), result));
        }
        self.give();
    }

    /// Gives back those that are over, up to the first that is not.
    fn give(&mut self) {
        while let Some((_, Some(written))) = self.taken.front() {
            let written = *written;
            if let Some((held, _)) = self.taken.pop_front() {
                self.guest.put(self.queue, held, written);
                self.given += 1;
            }
        }
    }
}

/// A transfer by memory of ours, whatever the driver's is like.
fn bounced(file: &File, held: &Held<'_>, transfer: Transfer) -> Result<(), Failure> {
    let mut between = Aligned::new(transfer.length as usize);
    let bytes = between.bytes();
    let mut at = 0;
    if transfer.way == Way::Write {
        transfer.pieces(held.chain(), |piece| at += piece.read(bytes.get_mut(at..).unwrap_or_default()));
    }
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let place = transfer.place + done as u64;
        let moved = match transfer.way {
            Way::Read => pread(file, rest, place),
            Way::Write => pwrite(file, rest, place),
        };
        match moved {
            // The file has become shorter.
            Ok(0) => return Err(Failure::Io),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    if transfer.way == Way::Read {
        transfer.pieces(held.chain(), |piece| at += piece.write(bytes.get(at..).unwrap_or_default()));
    }
    Ok(())
}

/// Memory that begins where direct transfers may.
struct Aligned {
    all: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// A page, which is enough for every device.
    const TO: usize = 4096;

    fn new(length: usize) -> Self {
        let all = vec![0; length + Self::TO];
        let start = all.as_ptr().align_offset(Self::TO);
        Self { all, start, length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.all[self.start..self.start + self.length]
    }
}

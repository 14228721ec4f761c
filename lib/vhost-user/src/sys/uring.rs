//! Several transfers of a file at once, by io_uring.
#![expect(unsafe_code, reason = "the kernel moves bytes between files and memory while nobody waits for it")]

use io_uring::{IoUring, opcode, types};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use virtio::blk::Way;
use virtio::memory::Shared;

/// What the kernel is to do.
pub(crate) enum Job {
    /// Bytes of the file from `place` on, and their memory.
    Move { way: Way, place: u64, pieces: Vec<Shared> },
    /// What was written before is made durable.
    Flush,
}

/// A piece of memory as the kernel takes it: `iovec` of `readv`.
#[repr(C)]
struct Part {
    start: *mut c_void,
    bytes: usize,
}

// SAFETY: an address and a length, for the kernel; the memory is that of a `Shared`, which is both.
unsafe impl Send for Part {}

/// Jobs of one file that are under way while others do something else. Readable when some have ended.
pub(crate) struct Uring<O: Send + 'static> {
    /// There until it is dropped.
    under_way: Option<UnderWay<O>>,
    ended: OwnedFd,
    most: usize,
}

impl<O: Send + 'static> AsFd for Uring<O> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

impl<O: Send + 'static> Uring<O> {
    /// For at most so many jobs at once.
    pub(crate) fn new(file: File, most: u16) -> io::Result<Self> {
        let ring = IoUring::new(most.into())?;
        let ended = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(ended.as_raw_fd())?;
        let under_way = Some(UnderWay { ring, file, places: Vec::new(), count: 0 });
        Ok(Self { under_way, ended, most: most.into() })
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.under_way.as_ref().map_or(0, |it| it.count)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.count() < self.most
    }

    /// Adds a job, for which there is room, and which begins with [`Uring::begin`]. `of` comes back with its end.
    pub(crate) fn add(&mut self, job: Job, of: O) {
        if let Some(under_way) = &mut self.under_way {
            under_way.add(job, of);
        }
    }

    /// Those that are under way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> impl Iterator<Item = &O> {
        self.under_way.iter().flat_map(|it| it.places.iter().flatten().map(|given| &given.of))
    }

    /// What was added begins.
    pub(crate) fn begin(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.submit(0);
        }
    }

    /// The news that some have ended is read.
    pub(crate) fn heard(&self) {
        // There may be none, which says the same.
        let _ = read(&self.ended, &mut [0; 8]);
    }

    /// One that has ended, and how many bytes it moved.
    pub(crate) fn ended(&mut self) -> Option<(O, io::Result<usize>)> {
        self.under_way.as_mut()?.ended()
    }
}

impl<O: Send + 'static> Drop for Uring<O> {
    /// What is under way is waited for by nobody here: a thread keeps its memory until the kernel has done with it.
    fn drop(&mut self) {
        if let Some(mut under_way) = self.under_way.take().filter(|it| it.count > 0) {
            let waits = move || {
                while under_way.count > 0 {
                    under_way.submit(1);
                    while under_way.ended().is_some() {}
                }
            };
            // Where there is no thread it is kept for good.
            let _ = std::thread::Builder::new().name("transfers".to_owned()).spawn(waits);
        }
    }
}

/// A job that the kernel has, with what it was given.
struct Given<O> {
    _parts: Vec<Part>,
    _pieces: Vec<Shared>,
    of: O,
}

/// Jobs that the kernel has, with their memory.
struct UnderWay<O> {
    ring: IoUring,
    file: File,
    /// By the number that the kernel knows them by.
    places: Vec<Option<Given<O>>>,
    count: usize,
}

impl<O> UnderWay<O> {
    fn add(&mut self, job: Job, of: O) {
        let file = types::Fd(self.file.as_raw_fd());
        let (entry, parts, pieces) = match job {
            Job::Move { way, place, pieces } => {
                let part = |piece: &Shared| Part { start: piece.slice().as_ptr().cast(), bytes: piece.len() };
                let parts: Vec<_> = pieces.iter().map(part).collect();
                let (start, count) = (parts.as_ptr().cast(), parts.len() as u32);
                let entry = match way {
                    Way::Read => opcode::Readv::new(file, start, count).offset(place).build(),
                    Way::Write => opcode::Writev::new(file, start, count).offset(place).build(),
                };
                (entry, parts, pieces)
            }
            Job::Flush => {
                let entry = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build();
                (entry, Vec::new(), Vec::new())
            }
        };
        let free = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        if free == self.places.len() {
            self.places.push(None);
        }
        self.places[free] = Some(Given { _parts: parts, _pieces: pieces, of });
        self.count += 1;
        // SAFETY: the parts, and with the pieces the memory that they name, stay in `places` until the kernel has said that it is done, also
        // where this value goes before that: `Drop` gives them up. Another process may change that memory at any time as it is. The file is
        // open as long as the ring is.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(free as u64)) };
        // Not more than that are under way, and all of them are handed over before the next.
        pushed.expect("the ring has room for as many as it was made for");
    }

    /// Hands over what is new, and waits until so many have ended. A kernel that will not is one that may still write to the memory: nobody can
    /// go on.
    fn submit(&mut self, ended: usize) {
        while let Err(error) = self.ring.submit_and_wait(ended) {
            let passes = [Errno::INTR, Errno::AGAIN, Errno::BUSY].map(|it| Some(it.raw_os_error()));
            if !passes.contains(&error.raw_os_error()) {
                std::process::abort();
            }
        }
    }

    fn ended(&mut self) -> Option<(O, io::Result<usize>)> {
        let entry = self.ring.completion().next()?;
        let moved = usize::try_from(entry.result());
        let moved = moved.map_err(|_| io::Error::from_raw_os_error(-entry.result()));
        let given = self.places.get_mut(entry.user_data() as usize)?.take()?;
        self.count -= 1;
        Some((given.of, moved))
    }
}

impl<O> Drop for UnderWay<O> {
    /// What the kernel has it keeps.
    fn drop(&mut self) {
        if self.count > 0 {
            std::mem::forget(std::mem::take(&mut self.places));
        }
    }
}

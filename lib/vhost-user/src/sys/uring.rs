//! Several transfers of a file at once, by io_uring.
#![expect(unsafe_code, reason = "the kernel moves bytes between files and memory while nobody waits for it")]

use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use virtio::blk::Way;
use virtio::memory::Slice;

/// Bytes of the file from `place` on, and their memory.
pub(crate) struct Move<'m> {
    pub(crate) way: Way,
    pub(crate) place: u64,
    pub(crate) pieces: Vec<Slice<'m>>,
}

/// Where transfers come from, and where they go when they have ended.
pub(crate) trait Transfers<'m> {
    /// What belongs to one of them.
    type Of;
    /// The next one; `None`: there is none now.
    fn next(&mut self) -> Option<(Move<'m>, Self::Of)>;
    /// One has ended, with so many bytes moved.
    fn ended(&mut self, of: Self::Of, moved: io::Result<usize>);
}

/// A piece of memory as the kernel takes it: `iovec` of `readv`.
#[repr(C)]
struct Part {
    start: *mut c_void,
    bytes: usize,
}

/// A ring of the kernel's, for transfers that begin and end within one call.
pub(crate) struct Uring {
    ring: IoUring,
    most: usize,
}

impl Uring {
    /// For at most so many transfers at once.
    pub(crate) fn new(most: u16) -> io::Result<Self> {
        Ok(Self { ring: IoUring::new(most.into())?, most: most.into() })
    }

    /// Moves everything that there is, as much at once as there is room for, and returns when nothing is under way.
    pub(crate) fn run<'m, T: Transfers<'m>>(&mut self, file: BorrowedFd<'_>, transfers: &mut T) {
        let mut under_way = UnderWay { ring: &mut self.ring, places: Vec::new(), count: 0 };
        loop {
            while under_way.count < self.most {
                let Some((transfer, of)) = transfers.next() else { break };
                under_way.add(file, transfer, of);
            }
            if under_way.count == 0 {
                return;
            }
            under_way.wait();
            while let Some((of, moved)) = under_way.ended() {
                transfers.ended(of, moved);
            }
        }
    }
}

/// A transfer that the kernel has, with what it was given.
struct Given<'m, O> {
    _parts: Vec<Part>,
    _pieces: Vec<Slice<'m>>,
    of: O,
}

/// Transfers that the kernel has. Their memory is borrowed for as long as this value lives, and it does not go before the kernel is done.
struct UnderWay<'r, 'm, O> {
    ring: &'r mut IoUring,
    /// By the number that the kernel knows them by.
    places: Vec<Option<Given<'m, O>>>,
    count: usize,
}

impl<'m, O> UnderWay<'_, 'm, O> {
    fn add(&mut self, file: BorrowedFd<'_>, Move { way, place, pieces }: Move<'m>, of: O) {
        let part = |piece: &Slice<'_>| Part { start: piece.as_ptr().cast(), bytes: piece.len() };
        let parts: Vec<_> = pieces.iter().map(part).collect();
        let (file, start, count) = (types::Fd(file.as_raw_fd()), parts.as_ptr().cast(), parts.len() as u32);
        let entry = match way {
            Way::Read => opcode::Readv::new(file, start, count).offset(place).build(),
            Way::Write => opcode::Writev::new(file, start, count).offset(place).build(),
        };
        let free = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        if free == self.places.len() {
            self.places.push(None);
        }
        self.places[free] = Some(Given { _parts: parts, _pieces: pieces, of });
        self.count += 1;
        // SAFETY: the parts stay in `places` until the kernel has said that it is done, and the memory that they name outlives this value, which
        // does not go before that; another process may change it at any time as it is. The descriptor is open as long as `run` is.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(free as u64)) };
        // Not more than that are under way, and each wait hands over all of them.
        pushed.expect("the ring has room for as many as it was made for");
    }

    /// Hands over what is new, and waits until something has ended. A kernel that will not is one that may still write to the memory: nobody can
    /// go on.
    fn wait(&mut self) {
        while let Err(error) = self.ring.submit_and_wait(1) {
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

impl<O> Drop for UnderWay<'_, '_, O> {
    /// Where what is called in between panics, the kernel has memory all the same.
    fn drop(&mut self) {
        while self.count > 0 {
            self.wait();
            while self.ended().is_some() {}
        }
    }
}

//! A disk on a file, around the page cache.
//!
//! ```text
//!   run: take a chain --> a transfer, or a flush --> defer it, with its memory --> io_uring
//!                    '--> anything else, which is done at once                        |
//!   ready: its eventfd --> a transfer has ended --> finish its chain, and begin what had no room
//! ```
//!
//! What has no room stays in its queue, but for one chain, and what needs memory of ours has a little of it at a time: how much is kept here is
//! not for the driver to say.
//!
//! Nobody waits for the file here, so that one that does not answer holds up its own requests alone.

use super::{Disk, OnFile, failure, served};
use crate::backend::{Deferred, Device, Guest};
use crate::sys::uring::{Job, Uring};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, pread};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use virtio::Chain;
use virtio::blk::{self, Failure, Storage as _, Transfer, Way};
use virtio::features::Features;
use virtio::memory::{Heap, Shared};

/// Requests that are under way at once.
const AT_ONCE: u16 = 128;

/// Most memory of ours that one of them has, which is moved in pieces of that length where it is longer.
const BETWEEN: usize = 256 << 10;

/// What the memory and the place of a direct transfer are a multiple of: the sector of drivers.
const ALIGNED: usize = 512;

/// A block device on a file that is read and written around the page cache (`O_DIRECT`), all requests that there are at once, by io_uring.
/// Faster than [`Disk`] on [`OnFile`] where a disk is behind the file, whose guest has a cache of its own; slower where the page cache has
/// everything.
///
/// Reads, writes and flushes hold up nobody, however long the file takes. What is still under way when a session ends is over before a request
/// of the next begins, if the same value serves it; another on the same file does not know of it.
pub struct DirectDisk {
    disk: Disk<OnFile>,
    ring: Uring<(u64, Request)>,
    /// Requests that are to go on, and at most one of each queue that never began: it found no room, or waits for those of an earlier session.
    waiting: VecDeque<Request>,
    /// Sessions, and resets of the device, that began.
    now: u64,
    /// Requests of earlier ones that are under way.
    earlier: usize,
}

/// What the driver asked for.
struct Request {
    deferred: Deferred,
    what: What,
}

enum What {
    /// By the driver's own memory.
    Transfer(Transfer),
    /// By memory of ours, a piece at a time: so many bytes were moved.
    Bounced(Transfer, Shared, usize),
    Flush,
}

impl DirectDisk {
    /// Whole sectors of a file or a block device, with so many queues. Who else has the same opened file goes around the page cache too.
    ///
    /// # Errors
    /// Those of [`OnFile::new`]; where the file system knows no direct transfers, or none of 512 bytes; and where the kernel has no io_uring
    /// for this process. [`OnFile`] serves such a file.
    pub fn new(file: File, queues: u16) -> io::Result<Self> {
        /// Where direct transfers of every device may begin.
        #[repr(align(4096))]
        struct First([u8; ALIGNED]);
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::DIRECT)?;
        pread(&file, &mut First([0; ALIGNED]).0, 0)?;
        let disk = Disk::new(OnFile::new(file.try_clone()?)?, queues);
        Self::on(disk, file)
    }

    fn on(disk: Disk<OnFile>, file: File) -> io::Result<Self> {
        let ring = Uring::new(file, AT_ONCE)?;
        Ok(Self { disk, ring, waiting: VecDeque::new(), now: 0, earlier: 0 })
    }

    /// Begins what there is room for, and gives back what has ended.
    fn go_on(&mut self, guest: &mut Guest<'_>) {
        self.begin_waiting();
        self.ring.begin();
        // No more than are under way: what is begun below tells when it has ended, and has another turn.
        while let Some(((of, request), moved)) = self.ring.ended() {
            if of != self.now {
                self.earlier -= 1;
                continue;
            }
            match request.ended(moved) {
                Ok((deferred, written)) => guest.finish(deferred, written),
                Err(request) => self.waiting.push_front(request),
            }
        }
        self.begin_waiting();
        self.ring.begin();
    }

    fn begin_waiting(&mut self) {
        while self.earlier == 0
            && self.ring.has_room()
            && let Some(mut request) = self.waiting.pop_front()
        {
            self.ring.add(request.job(), (self.now, request));
        }
    }

    /// Whether anything of a queue does.
    fn waits(&self, queue: u16) -> bool {
        self.waiting.iter().any(|request| request.deferred.queue() == queue)
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
        // Up to the first chain that has to wait: how many there are is the driver's to say. That one is taken all the same, so that a ring which is
        // to stop shows that there is something to wait for; and at its end there is another turn.
        while !self.waits(queue)
            && let Some(held) = guest.take(queue)
        {
            let what = match Transfer::of(held.chain(), self.disk.storage.sectors()) {
                Some(transfer) => What::Transfer(transfer),
                None if blk::is_flush(held.chain()) => What::Flush,
                None => {
                    let (written, zeroed) = served(&mut self.disk.storage, held.chain());
                    guest.put(queue, held, written);
                    guest.spend(zeroed);
                    continue;
                }
            };
            self.waiting.push_back(Request { deferred: guest.defer(queue, held), what });
            self.begin_waiting();
        }
        self.go_on(guest);
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ring.as_fd()]
    }

    fn ready(&mut self, _source: usize, guest: &mut Guest<'_>) {
        self.ring.heard();
        self.go_on(guest);
    }

    fn reset(&mut self) {
        self.now += 1;
        self.earlier = self.ring.count();
        self.waiting.clear();
    }
}

impl Request {
    /// The driver's memory of a transfer: so many bytes of it behind others.
    fn memory(&self, transfer: Transfer, behind: usize, bytes: usize) -> Vec<Shared> {
        let before = transfer.before() + behind;
        match transfer.way {
            Way::Read => self.deferred.writable(before, bytes),
            Way::Write => self.deferred.readable(before, bytes),
        }
    }

    /// What the kernel is to do of it next.
    fn job(&mut self) -> Job {
        if let What::Transfer(transfer) = self.what {
            let pieces = self.memory(transfer, 0, transfer.length as usize);
            if !pieces.is_empty() && pieces.iter().all(is_aligned) {
                let Transfer { way, place, .. } = transfer;
                return Job::Move { way, place, pieces };
            }
            self.bounce(transfer);
        }
        let What::Bounced(transfer, between, done) = &self.what else { return Job::Flush };
        let Transfer { way, place, .. } = *transfer;
        let piece = between.piece(0, between.len().min(transfer.length as usize - done));
        let pieces: Vec<_> = piece.into_iter().collect();
        if way == Way::Write {
            copy(&self.memory(*transfer, *done, between.len()), &pieces);
        }
        Job::Move { way, place: place + *done as u64, pieces }
    }

    /// It goes on by memory of ours, from its first byte on.
    fn bounce(&mut self, transfer: Transfer) {
        let between = Shared::whole(Arc::new(Heap::zeroed(BETWEEN.min(transfer.length as usize))));
        self.what = What::Bounced(transfer, between, 0);
    }

    /// What came of it, with the bytes that were written of its chain; or what is to be done of it still.
    fn ended(mut self, moved: io::Result<usize>) -> Result<(Deferred, u32), Self> {
        let moved = moved.map_err(|error| Errno::from_io_error(&error));
        let result = match (&mut self.what, moved) {
            (_, Err(Some(Errno::INTR | Errno::AGAIN))) => return Err(self),
            (What::Flush, Ok(_)) => Ok(()),
            (What::Transfer(transfer), Ok(bytes)) if bytes == transfer.length as usize => Ok(()),
            // The end of the file, or more than the kernel takes at once; a device that wants more of its memory than sectors, or fewer pieces.
            (What::Transfer(transfer), Ok(_) | Err(Some(Errno::INVAL))) => {
                let transfer = *transfer;
                self.bounce(transfer);
                return Err(self);
            }
            // The file has become shorter.
            (What::Bounced(..), Ok(0)) => Err(Failure::Io),
            (What::Bounced(transfer, between, done), Ok(bytes)) => {
                let (transfer, behind, between) = (*transfer, *done, between.piece(0, bytes));
                *done += bytes;
                let is_over = *done >= transfer.length as usize;
                if transfer.way == Way::Read {
                    let between: Vec<_> = between.into_iter().collect();
                    copy(&between, &self.memory(transfer, behind, bytes));
                }
                if !is_over {
                    return Err(self);
                }
                Ok(())
            }
            (_, Err(error)) => Err(error.map_or(Failure::Io, failure)),
        };
        let chain = self.deferred.chain();
        let written = match self.what {
            What::Transfer(transfer) | What::Bounced(transfer, ..) => transfer.ended(&chain, result),
            What::Flush => blk::flushed(&chain, result),
        };
        drop(chain);
        Ok((self.deferred, written))
    }
}

/// Whether the kernel moves it directly.
fn is_aligned(piece: &Shared) -> bool {
    let parts = [piece.len() as u64, piece.host_address()];
    parts.iter().all(|part| part.is_multiple_of(ALIGNED as u64))
}

/// Copies the bytes of some pieces of memory, which are as many as those of the others.
fn copy(from: &[Shared], into: &[Shared]) {
    let from = Chain::of(from.iter().map(Shared::slice), []);
    let into = Chain::of([], into.iter().map(Shared::slice));
    let (mut reader, mut writer) = (from.reader(), into.writer());
    let mut bytes = [0; 4096];
    while let count @ 1.. = reader.read(&mut bytes) {
        writer.write(&bytes[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProtocolFeatures;
    use crate::backend::{ServeError, serve};
    use crate::frontend::{FrontEnd, Queue, Wanted};
    use crate::memory::Memory;
    use crate::socket::{Canceller, SocketError};
    use rustix::io::write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread::JoinHandle;
    use std::time::Duration;
    use virtio::Segment;
    use virtio::blk::Requests;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// A disk that is a pipe: what is read comes when somebody writes it.
    fn slow() -> (DirectDisk, OwnedFd) {
        let (reads, writes) = rustix::pipe::pipe().unwrap();
        let file = File::from(reads);
        let storage = OnFile { file: file.try_clone().unwrap(), sectors: 1 << 20 };
        (DirectDisk::on(Disk::new(storage, 2), file).unwrap(), writes)
    }

    struct Client {
        front: FrontEnd,
        queue: Queue,
        requests: Requests,
        memory: Memory,
        canceller: Canceller,
        served: Serving,
    }

    type Serving = JoinHandle<(DirectDisk, Result<(), ServeError>)>;

    impl Client {
        /// With two reads under way, of which the second is none that the kernel can do without memory of ours.
        fn new(mut disk: DirectDisk) -> Self {
            let (ours, its) = UnixStream::pair().unwrap();
            let canceller = Canceller::new().unwrap();
            let ends = canceller.clone();
            let served = std::thread::spawn(move || {
                let ended = serve(&mut disk, its, &ends);
                (disk, ended)
            });
            Self::of(ours, canceller, served)
        }

        /// Of a disk that somebody serves.
        fn of(ours: UnixStream, canceller: Canceller, served: Serving) -> Self {
            let mut front = FrontEnd::new(ours, TIMEOUT).unwrap();
            let protocol = ProtocolFeatures::REPLY_ACK | ProtocolFeatures::STATUS | ProtocolFeatures::CONFIG;
            let wanted = Wanted { features: Features::empty(), required: Features::VERSION_1, protocol };
            front.negotiate(wanted).unwrap();
            let mut memory = Memory::new(1 << 20).unwrap();
            front.add_memory(&memory).unwrap();
            let mut queue = front.start_queue(0, 16, &mut memory).unwrap();
            let slots = memory.part(Requests::bytes(16), 64).unwrap();
            let address = slots.host_address();
            let mut requests = Requests::new(16, slots, address).unwrap();
            let data = memory.part(4 * ALIGNED, ALIGNED).unwrap();
            for (tag, beside) in [(0, 0), (1, ALIGNED as u64 + 8)] {
                let segment = Segment { address: data.host_address() + beside, length: ALIGNED as u32 };
                requests.read(&mut queue.ring, 0, &[segment], tag).unwrap();
            }
            queue.submit().unwrap();
            Self { front, queue, requests, memory, canceller, served }
        }

        fn one(&mut self) -> u64 {
            loop {
                if let Some(done) = self.requests.reap(&mut self.queue.ring).unwrap() {
                    assert_eq!(done.result, Ok(()));
                    return done.tag;
                }
                assert!(self.queue.wait(TIMEOUT).unwrap(), "nothing ended in {TIMEOUT:?}");
            }
        }
    }

    #[test]
    fn storage_that_does_not_answer_holds_up_its_own_requests_alone() {
        let (disk, pipe) = slow();
        let mut client = Client::new(disk);
        // Messages and another queue have their turn.
        assert_eq!(client.front.status().unwrap(), 0);
        client.front.start_queue(1, 16, &mut client.memory).unwrap();
        assert_eq!(client.front.stop_queue(1).unwrap(), 0);
        assert!(client.requests.reap(&mut client.queue.ring).unwrap().is_none(), "nobody has written");
        // A ring stops when all is back, whoever is first.
        let writes = std::thread::spawn(move || {
            for byte in [7, 9] {
                write(&pipe, &[byte; ALIGNED]).unwrap();
            }
            pipe
        });
        assert_eq!(client.front.stop_queue(0).unwrap(), 2);
        let mut came = [client.one(), client.one()];
        came.sort_unstable();
        assert_eq!(came, [0, 1]);
        drop((client.front, writes.join().unwrap()));
        client.served.join().unwrap().1.unwrap();
    }

    #[test]
    fn a_session_on_storage_that_does_not_answer_can_be_ended() {
        let (disk, pipe) = slow();
        let client = Client::new(disk);
        client.canceller.cancel();
        let (disk, ended) = client.served.join().unwrap();
        assert!(matches!(ended, Err(ServeError::Socket(SocketError::Cancelled))), "{ended:?}");
        // The next session's begin when those are over: what they read is not its own.
        let mut next = Client::new(disk);
        assert_eq!(next.front.status().unwrap(), 0);
        for byte in 1..=4 {
            write(&pipe, &[byte; ALIGNED]).unwrap();
        }
        let mut came = [next.one(), next.one()];
        came.sort_unstable();
        assert_eq!(came, [0, 1]);
        drop((next.front, pipe));
        next.served.join().unwrap().1.unwrap();
    }

    #[test]
    fn a_ring_that_stops_can_be_cancelled() {
        let (disk, _pipe) = slow();
        let mut client = Client::new(disk);
        let canceller = client.canceller.clone();
        assert_eq!(client.front.status().unwrap(), 0);
        let cancels = std::thread::spawn(move || canceller.cancel());
        client.front.stop_queue(0).unwrap_err();
        cancels.join().unwrap();
        let (_, ended) = client.served.join().unwrap();
        assert!(matches!(ended, Err(ServeError::Socket(SocketError::Cancelled))), "{ended:?}");
    }

    /// How much is kept is not for the driver to say: what has no room stays in its queue, and memory of ours is had a piece at a time.
    #[test]
    fn what_a_driver_asks_for_is_kept_within_limits() {
        const EACH: usize = 200 << 10;
        let (disk, pipe) = slow();
        let mut client = Client::new(disk);
        let mut queue = client.front.start_queue(1, 1024, &mut client.memory).unwrap();
        let slots = client.memory.part(Requests::bytes(1024), 64).unwrap();
        let address = slots.host_address();
        let mut requests = Requests::new(1024, slots, address).unwrap();
        // The same bytes again and again, where the kernel cannot put them itself.
        let data = client.memory.part(EACH + 8, 4096).unwrap();
        let segment = Segment { address: data.host_address() + 8, length: EACH as u32 };
        for tag in 0..200 {
            requests.read(&mut queue.ring, 0, &[segment; 2], tag).unwrap();
        }
        queue.submit().unwrap();
        // Between two messages it takes what it may in a turn.
        for _ in 0..64 {
            client.front.status().unwrap();
        }
        client.canceller.cancel();
        let (disk, _) = client.served.join().unwrap();
        assert_eq!((disk.ring.count(), disk.waiting.len()), (usize::from(AT_ONCE), 1));
        let ours = |request: &Request| match &request.what {
            What::Bounced(_, between, _) => between.len(),
            What::Transfer(_) | What::Flush => 0,
        };
        let under_way = disk.ring.under_way().map(|(_, request)| ours(request));
        let most = under_way.chain(disk.waiting.iter().map(ours)).max();
        assert_eq!(most, Some(BETWEEN));
        drop((disk, pipe));
    }

    /// The thread of several sessions is not held up either: another of them is served, and this one ends when it is told to.
    #[cfg(feature = "tokio")]
    #[test]
    fn storage_that_does_not_answer_holds_up_no_other_session_of_its_thread() {
        use crate::backend::serve_async;
        let (mut disk, pipe) = slow();
        let mut entropy = crate::devices::Entropy::new(File::open("/dev/zero").unwrap());
        let (ours, its) = UnixStream::pair().unwrap();
        let (other, its_other) = UnixStream::pair().unwrap();
        let canceller = Canceller::new().unwrap();
        let ends = canceller.clone();
        let served = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let never = Canceller::new().unwrap();
            let (slow, quick) = runtime.block_on(async {
                tokio::join!(serve_async(&mut disk, its, &ends), serve_async(&mut entropy, its_other, &never))
            });
            quick.unwrap();
            (disk, slow)
        });
        let mut client = Client::of(ours, canceller.clone(), served);
        let mut other = FrontEnd::new(other, TIMEOUT).unwrap();
        let wanted = Wanted {
            features: Features::empty(),
            required: Features::VERSION_1,
            protocol: ProtocolFeatures::empty(),
        };
        other.negotiate(wanted).unwrap();
        assert_eq!(client.front.status().unwrap(), 0);
        canceller.cancel();
        drop((other, client.front));
        let (_, ended) = client.served.join().unwrap();
        assert!(matches!(ended, Err(ServeError::Socket(SocketError::Cancelled))), "{ended:?}");
        drop(pipe);
    }
}

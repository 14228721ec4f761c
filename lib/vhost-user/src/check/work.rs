//! Something harmless to do, by the type of device: what shows that a ring works.

use super::{Outcome, Run, Trouble, failed, not_applicable};
use crate::clock::Clock;
use crate::front::Request;
use crate::frontend::{FrontEnd, Queue};
use crate::memory::Memory;
use rustix::event::EventfdFlags;
use std::cell::Cell;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;
use virtio::Segment;
use virtio::blk::{self, Config};
use virtio::features::Features;
use virtio::memory::Shared;
use virtio::ring::{Done, Token};

/// Types of devices of which it is known what to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Network: a frame of an experimental type is sent.
    Net,
    /// Block device: the first sector is read.
    Blk,
    /// Console: a line is written.
    Console,
    /// Entropy: bytes are taken.
    Rng,
    /// Balloon: page 0 is taken back.
    Balloon,
    /// File system: a FUSE session begins.
    Fs,
}

impl Kind {
    /// All of them, and how they are called.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Net, "net"),
        (Self::Blk, "blk"),
        (Self::Console, "console"),
        (Self::Rng, "rng"),
        (Self::Balloon, "balloon"),
        (Self::Fs, "fs"),
    ];

    /// The queue that is worked on; those before it are started too.
    pub(super) const fn queue(self) -> u32 {
        match self {
            Self::Blk | Self::Rng => 0,
            Self::Net | Self::Console | Self::Balloon | Self::Fs => 1,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

/// A type of which it is not known what to ask.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0:?} is none of net, blk, console, rng, balloon, fs")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// Entries of the ring that is worked with.
pub(super) const SIZE: u16 = 64;

/// How long rings are waited for: as long as an answer may take, until requests have shown how long they take; then many times as long as the
/// slowest of them, and half a second at least. Some back-ends leave a request of several checks, and a run would be nothing but waiting.
#[derive(Clone)]
pub(super) struct Patience {
    most: Duration,
    slowest: Rc<Cell<Option<Duration>>>,
    clock: Clock,
}

impl Patience {
    /// Never more than `most`.
    pub(super) fn new(most: Duration, clock: Clock) -> Self {
        Self { most, slowest: Rc::default(), clock }
    }

    /// For what is waited for next.
    pub(super) fn time(&self) -> Duration {
        const LEAST: Duration = Duration::from_millis(500);
        let slowest = self.slowest.get();
        slowest.map_or(self.most, |slowest| slowest.saturating_mul(50).max(LEAST).min(self.most))
    }

    pub(super) fn begin(&self) -> Duration {
        (self.clock)()
    }

    /// A request has ended that was waited for from then on.
    pub(super) fn ended(&self, begin: Duration) {
        let took = (self.clock)().saturating_sub(begin);
        self.slowest.set(self.slowest.get().max(Some(took)));
    }
}

/// Bytes that a request has for what it reads and what it writes: a sector that it reads, and eight and one that it writes.
const SLOT: usize = 10 << 9;
const STATUS_AT: usize = 256;
/// Where a disk that goes around the page cache takes memory as it is, as are all slots.
const WRITES_AT: usize = SECTOR;
const SECTOR: usize = blk::SECTOR as usize;

/// A session whose queues run.
pub(super) struct Work {
    pub(super) front: FrontEnd,
    pub(super) memory: Memory,
    pub(super) queue: Queue,
    /// Those before it.
    others: Vec<Queue>,
    kind: Kind,
    slots: Shared,
    /// By token, the slot; those that are free.
    out: Vec<usize>,
    free: Vec<usize>,
    /// Bytes that a disk has at its beginning, up to eight sectors.
    longest: usize,
    /// Memory that is more than the slots'.
    _more: Vec<Memory>,
    patience: Patience,
}

impl Work {
    pub(super) fn start(run: &mut Run<'_>) -> Result<Self, Trouble> {
        Self::with(run, Features::empty())
    }

    /// With these features of rings.
    pub(super) fn with(run: &mut Run<'_>, features: Features) -> Result<Self, Trouble> {
        let kind = served(run)?;
        let front = run.front(features)?;
        Self::on(run, front, kind)
    }

    /// On a split ring that had so many chains before.
    pub(super) fn after(run: &mut Run<'_>, before: u16) -> Result<Self, Trouble> {
        let kind = served(run)?;
        let front = run.front(Features::empty())?;
        Self::on_after(run, front, kind, before)
    }

    /// On a session that is there.
    pub(super) fn on(run: &Run<'_>, front: FrontEnd, kind: Kind) -> Result<Self, Trouble> {
        Self::on_after(run, front, kind, 0)
    }

    /// On queues that the back-end has not heard of: [`Self::attach`] tells it of them.
    pub(super) fn laid_out(run: &mut Run<'_>, features: Features) -> Result<Self, Trouble> {
        let kind = served(run)?;
        let front = run.front(features)?;
        Self::laid_out_on(run, front, kind)
    }

    /// The same on a session that is there, which hears of its memory.
    pub(super) fn laid_out_on(run: &Run<'_>, mut front: FrontEnd, kind: Kind) -> Result<Self, Trouble> {
        let memory = Memory::new(1 << 20)?;
        front.add_memory(&memory)?;
        Self::laid_out_in(run, front, kind, memory)
    }

    /// The same on memory that it has heard of.
    pub(super) fn laid_out_in(
        run: &Run<'_>,
        front: FrontEnd,
        kind: Kind,
        mut memory: Memory,
    ) -> Result<Self, Trouble> {
        let mut others = Vec::new();
        for index in 0..kind.queue() {
            others.push(front.lay_out(0, index, SIZE, &mut memory)?);
        }
        let queue = front.lay_out(0, kind.queue(), SIZE, &mut memory)?;
        Self::of(run, front, kind, memory, (others, queue))
    }

    /// Starts all queues that were laid out.
    pub(super) fn attach(&mut self) -> Outcome {
        for queue in self.others.iter().chain([&self.queue]) {
            self.front.attach_queue(queue, queue.base())?;
        }
        self.front.driver_ok().map_err(Into::into)
    }

    fn on_after(run: &Run<'_>, mut front: FrontEnd, kind: Kind, before: u16) -> Result<Self, Trouble> {
        let mut memory = Memory::new(1 << 20)?;
        front.add_memory(&memory)?;
        let mut others = Vec::new();
        for index in 0..kind.queue() {
            others.push(front.start_queue(index, SIZE, &mut memory)?);
        }
        let queue = front.start_queue_after(before, kind.queue(), SIZE, &mut memory)?;
        front.driver_ok()?;
        Self::of(run, front, kind, memory, (others, queue))
    }

    fn of(
        run: &Run<'_>,
        front: FrontEnd,
        kind: Kind,
        mut memory: Memory,
        (others, queue): (Vec<Queue>, Queue),
    ) -> Result<Self, Trouble> {
        let slots = memory.part(usize::from(SIZE) * SLOT, SECTOR);
        let slots = slots.ok_or_else(|| Trouble::Failed("no memory is left for requests".to_owned()))?;
        let sectors = Config::parse(run.offer.config.as_deref().unwrap_or_default()).capacity;
        Ok(Self {
            front,
            memory,
            queue,
            others,
            kind,
            slots,
            out: vec![0; SIZE.into()],
            free: (0..SIZE.into()).collect(),
            longest: if sectors < 8 { SECTOR } else { 8 * SECTOR },
            _more: Vec::new(),
            patience: run.patience.clone(),
        })
    }

    /// Requests lie in this memory from now on.
    pub(super) fn use_memory(&mut self, mut memory: Memory) -> Outcome {
        let slots =
            memory.part(SLOT, SECTOR).ok_or_else(|| Trouble::Failed("no memory is left".to_owned()))?;
        (self.slots, self.free) = (slots, vec![0]);
        self._more.push(memory);
        Ok(())
    }

    /// Offers a request, without telling.
    pub(super) fn offer(&mut self) -> Outcome {
        self.add((WRITES_AT, SECTOR)).map(drop)
    }

    /// The same, each of which takes its time: a disk around the page cache reads the even ones at once, all of them together, and the odd
    /// ones by memory of its own. Gives its name, and how many places of the ring it takes.
    pub(super) fn offer_in_turn(&mut self, number: usize) -> Result<(Token, u16), Trouble> {
        let even = (WRITES_AT, self.longest);
        self.add(if number.is_multiple_of(2) { even } else { (WRITES_AT + 8, SECTOR) })
    }

    /// Tells everything of them but a descriptor for kicks.
    pub(super) fn place(&mut self) -> Outcome {
        for queue in self.others.iter().chain([&self.queue]) {
            self.front.place_queue(queue, queue.base())?;
            self.front.enable_queue(queue.index())?;
        }
        self.front.driver_ok().map_err(Into::into)
    }

    /// The pages in which the next request lies, from the address of the first byte on.
    pub(super) fn next_pages(&self) -> (u64, u64) {
        const PAGE: u64 = 4096;
        let slot = self.free.last().copied().unwrap_or(0);
        let start = self.slots.host_address() + (slot * SLOT) as u64;
        let first = start / PAGE * PAGE;
        (first, (start + SLOT as u64).next_multiple_of(PAGE) - first)
    }

    /// A request looks as if it had been served.
    pub(super) fn pretend_done(&self, token: Token) {
        let slot = self.out[usize::from(token.0)];
        if let Some(place) = self.slots.piece(slot * SLOT + STATUS_AT, 1) {
            place.slice().write(&[0]);
        }
    }

    /// With this place and length for what is read of a disk.
    fn add(&mut self, (from, length): (usize, usize)) -> Result<(Token, u16), Trouble> {
        let Some(slot) = self.free.pop() else { return failed("every request is under way") };
        let at = |offset: usize| self.slots.host_address() + (slot * SLOT + offset) as u64;
        let write = |offset: usize, bytes: &[u8]| {
            if let Some(place) = self.slots.piece(slot * SLOT + offset, bytes.len()) {
                place.slice().write(bytes);
            }
        };
        let segment = |offset: usize, length: usize| Segment { address: at(offset), length: length as u32 };
        let tables = self.front.negotiated().features.options().indirect;
        let (readable, writable) = match self.kind {
            Kind::Blk => {
                // A read from the first sector on, and its status.
                write(0, &[0; 16]);
                write(STATUS_AT, &[0xff]);
                (vec![segment(0, 16)], vec![segment(from, length), segment(STATUS_AT, 1)])
            }
            // Some take one segment only, which is a finding of its own.
            Kind::Rng if !tables => (Vec::new(), vec![segment(WRITES_AT, 64)]),
            Kind::Rng => (Vec::new(), vec![segment(WRITES_AT, 32), segment(WRITES_AT + 32, 32)]),
            Kind::Net => {
                let mut frame = [0; 12 + 60];
                // From one local address to another, of a type for experiments.
                frame[12..24].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
                frame[24..26].copy_from_slice(&[0x88, 0xb5]);
                write(0, &frame);
                (vec![segment(0, 12), segment(12, frame.len() - 12)], Vec::new())
            }
            Kind::Console => {
                let text = b"vhost-user-check\n";
                write(0, text);
                (vec![segment(0, 5), segment(5, text.len() - 5)], Vec::new())
            }
            Kind::Balloon => {
                write(0, &[0; 8]);
                (vec![segment(0, 4), segment(4, 4)], Vec::new())
            }
            Kind::Fs => {
                // FUSE_INIT of version 7.31, as a header and its body (linux/fuse.h).
                let mut init = [0; 40 + 16];
                for (at, word) in [(0, 56_u32), (4, 26), (8, 1), (40, 7), (44, 31), (48, 4096)] {
                    init[at..at + 4].copy_from_slice(&word.to_le_bytes());
                }
                write(0, &init);
                (vec![segment(0, init.len())], vec![segment(WRITES_AT, 16 + 64)])
            }
        };
        let free = self.queue.ring.free();
        let token =
            self.queue.ring.add(&readable, &writable).map_err(|error| Trouble::Failed(error.to_string()))?;
        // Every request has several segments where a table can be made of them.
        let segments = readable.len() + writable.len();
        let places = free - self.queue.ring.free();
        debug_assert!(!tables || segments > 1 && places == 1, "{segments} segments");
        self.out[usize::from(token.0)] = slot;
        Ok((token, places))
    }

    /// Waits for a request to end, and looks at what came of it.
    pub(super) fn ended(&mut self) -> Outcome {
        self.ended_as().map(drop)
    }

    /// The same; gives its name.
    pub(super) fn ended_as(&mut self) -> Result<Token, Trouble> {
        let begin = self.patience.begin();
        loop {
            match self.reap()? {
                Some(done) => {
                    self.patience.ended(begin);
                    self.right(done)?;
                    return Ok(done.token);
                }
                None if self.queue.wait(self.patience.time())? => {}
                // A call may be missing though the request is done: that is another fault than not serving.
                None => {
                    return match self.reap()? {
                        Some(_) => failed("it served the request and did not call"),
                        None => failed("the request is not served"),
                    };
                }
            }
        }
    }

    pub(super) fn reap(&mut self) -> Result<Option<Done>, Trouble> {
        self.queue.ring.reap().map_err(|fault| Trouble::Failed(format!("it broke the ring: {fault}")))
    }

    pub(super) fn right(&mut self, done: Done) -> Outcome {
        let slot = self.out[usize::from(done.token.0)];
        self.free.push(slot);
        let mut status = [0xff];
        match self.kind {
            Kind::Blk => {
                if let Some(place) = self.slots.piece(slot * SLOT + STATUS_AT, 1) {
                    place.slice().read(&mut status);
                }
                match status {
                    [0] => Ok(()),
                    [status] => failed(format!("reading the first sector gave the status {status}")),
                }
            }
            Kind::Rng | Kind::Fs if done.written == 0 => failed("it wrote nothing"),
            Kind::Rng | Kind::Fs | Kind::Net | Kind::Console | Kind::Balloon => Ok(()),
        }
    }

    /// A request from beginning to end.
    pub(super) fn once(&mut self) -> Outcome {
        self.offer()?;
        self.queue.submit()?;
        self.ended()
    }

    /// So many at once, then waits for all.
    pub(super) fn batch(&mut self, count: usize) -> Outcome {
        for _ in 0..count {
            self.offer()?;
        }
        self.queue.submit()?;
        (0..count).try_for_each(|_| self.ended())
    }

    /// Requests that a ring without tables has room for at once.
    pub(super) const fn room(&self) -> usize {
        match self.kind {
            Kind::Blk => SIZE as usize / 3,
            Kind::Fs | Kind::Net | Kind::Console | Kind::Balloon => SIZE as usize / 2,
            Kind::Rng => SIZE as usize,
        }
    }

    /// Sends a request that must succeed.
    pub(super) fn call(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Outcome {
        self.front.call(request, descriptors).map(drop).map_err(Into::into)
    }
}

/// The same of one that serves requests at all.
pub(super) fn served(run: &Run<'_>) -> Result<Kind, Trouble> {
    if run.serves_nothing {
        return not_applicable("it serves no request at all: rings.served");
    }
    known(run)
}

/// The type of device, without which its rings cannot be used.
pub(super) fn known(run: &Run<'_>) -> Result<Kind, Trouble> {
    run.options.kind.map_or_else(|| not_applicable("the type of the device is not given"), Ok)
}

pub(super) fn eventfd() -> Result<OwnedFd, Trouble> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    Ok(rustix::event::eventfd(0, flags).map_err(std::io::Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_waited_for_as_long_as_requests_take() {
        let ms = Duration::from_millis;
        let patience = Patience::new(ms(2000), || Duration::from_millis(100));
        assert_eq!(patience.time(), ms(2000), "nothing is known");
        patience.ended(ms(99));
        assert_eq!(patience.time(), ms(500), "fifty times a millisecond is no time");
        patience.clone().ended(ms(80));
        assert_eq!(patience.time(), ms(1000));
        patience.ended(ms(99));
        assert_eq!(patience.time(), ms(1000), "the slowest counts");
        patience.ended(ms(0));
        assert_eq!(patience.time(), ms(2000), "and never more");
    }
}

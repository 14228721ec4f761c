//! What is wrong with queues: a device that does something else with what is in them.

use super::{Fault as Whole, Faulty};
use crate::ProtocolFeatures;
use crate::back;
use crate::backend::{Device, Failure, Guest, Held, Reply, Writer};
use crate::devices::WithMore;
use crate::front::Request;
use crate::session::Answer;
use crate::socket::Canceller;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use virtio::features::Features;

/// When a queue has this, that is done.
pub(super) struct Fault {
    of: Of,
    when: Box<dyn Fn(&Turn<'_>) -> bool + Send + Sync>,
    act: Act,
}

/// Which queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// That which checks of such a device work with.
    Worked,
    /// Any other.
    Others,
}

/// What is done with all that a queue has.
#[derive(Clone, Copy)]
enum Act {
    /// The back-end dies.
    Die,
    /// It stays there.
    Leave,
    /// It is given back, with nothing done but this.
    Finish(Finish),
    /// The same, the last first, which the driver sees all at once.
    Backwards(Finish),
}

/// How a chain is given back.
#[derive(Clone, Copy, Default)]
struct Finish {
    /// Bytes that are said to be written.
    written: u32,
    /// What is in all of them.
    fill: Option<u8>,
    /// What is in the last.
    status: Option<u8>,
}

/// What a queue has.
struct Turn<'t> {
    features: Features,
    /// How many chains there were in each turn before, of this session.
    before: &'t [usize],
    count: usize,
    /// How many there were in all of them.
    total: usize,
    /// Where in the ring the first of them is, as a split ring counts.
    at: u16,
    /// Lengths of the segments of the first chain, and how it begins.
    readable: Vec<usize>,
    writable: Vec<usize>,
    head: Vec<u8>,
    /// Sectors, where it is a disk.
    capacity: u64,
}

impl Turn<'_> {
    /// Whether these of the features of rings are in use, and no others.
    fn has(&self, features: Features) -> bool {
        let all = Features::EVENT_IDX | Features::INDIRECT_DESC | Features::IN_ORDER | Features::RING_PACKED;
        self.features & all == features
    }

    fn number<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.head.get(at..)?.first_chunk().copied()
    }

    /// A disk's request of this type; its sector.
    fn request(&self, kind: u32) -> Option<u64> {
        let is_it = self.number(0).map(u32::from_le_bytes) == Some(kind);
        self.number(8).map(u64::from_le_bytes).filter(|_| is_it)
    }

    fn reads(&self) -> usize {
        self.readable.iter().sum()
    }

    fn writes(&self) -> usize {
        self.writable.iter().sum()
    }
}

fn turn(when: impl Fn(&Turn<'_>) -> bool + Send + Sync + 'static, act: Act) -> Whole {
    let fault = Fault { of: Of::Worked, when: Box::new(when), act };
    Whole { queue: Some(fault), ..Whole::default() }
}

/// The same of the other queues.
fn others(act: Act) -> Whole {
    let fault = Fault { of: Of::Others, when: Box::new(|_| true), act };
    Whole { queue: Some(fault), ..Whole::default() }
}

/// Turns that are remembered.
const MOST: usize = 64;

/// Given back as it came.
const NOTHING: Act = Act::Finish(Finish { written: 0, fill: None, status: None });

const fn status(status: u8) -> Act {
    Act::Finish(Finish { written: 1, fill: None, status: Some(status) })
}

/// What is wrong with rings that run.
pub(super) fn ring(name: &str) -> Option<Whole> {
    let all_of = |features: Features| turn(move |it| it.has(features), NOTHING);
    // Everything is right but the order.
    let backwards = |features: Features| {
        let finish = Finish { written: 1, fill: None, status: Some(0) };
        turn(move |it| it.has(features | Features::IN_ORDER), Act::Backwards(finish))
    };
    Some(match name {
        "served" => turn(|_| true, NOTHING),
        "traffic.event-index" => all_of(Features::EVENT_IDX),
        "traffic.indirect" => all_of(Features::INDIRECT_DESC),
        "traffic.both" => all_of(Features::INDIRECT_DESC | Features::EVENT_IDX),
        "traffic.in-order" => backwards(Features::empty()),
        "traffic.packed" => all_of(Features::RING_PACKED),
        "traffic.packed.event-index" => all_of(Features::RING_PACKED | Features::EVENT_IDX),
        "traffic.packed.indirect" => all_of(Features::RING_PACKED | Features::INDIRECT_DESC),
        "traffic.packed.in-order" => backwards(Features::RING_PACKED),
        // Half of what fits at once, and all of it again.
        "traffic.plain" => turn(|it| it.has(Features::empty()) && it.count == 10, NOTHING),
        "traffic.second" => others(NOTHING),
        // With the last of the indices.
        "traffic.wrap" => turn(|it| usize::from(it.at) + it.count >= 1 << 16, NOTHING),
        "traffic.long" => turn(|it| it.total + it.count > 1 << 16, NOTHING),
        "traffic.full" => turn(|it| it.count == 21 && it.before.contains(&21), NOTHING),
        "traffic.length" => turn(
            |it| it.request(0) == Some(0) && it.readable.len() == 1 && it.writes() == 513,
            Act::Finish(Finish { written: 1 << 20, fill: None, status: Some(0) }),
        ),
        _ => return None,
    })
}

/// What is wrong with devices of a type.
pub(super) fn device(check: &str) -> Option<Whole> {
    Some(match check {
        "blk.read.last" => turn(
            |it| it.request(0).is_some_and(|sector| sector.checked_add(1) == Some(it.capacity)),
            status(1),
        ),
        "blk.read.beyond" => turn(|it| it.request(0) == Some(it.capacity), status(0)),
        "blk.read.far" => turn(|it| it.request(0).is_some_and(|sector| sector >= 1 << 55), status(0)),
        "blk.read.length" => {
            turn(|it| it.before.is_empty() && it.request(0) == Some(0) && it.writes() == 4097, status(0))
        }
        "blk.unknown" => turn(|it| it.request(0x7777).is_some(), status(0)),
        "blk.header.pieces" => turn(|it| it.readable == [4, 11, 1], status(1)),
        "blk.data.pieces" => turn(|it| it.writable == [100, 413], status(1)),
        "blk.id" => turn(|it| it.request(8).is_some(), status(1)),
        "blk.flush" => turn(|it| it.request(4).is_some(), status(1)),
        "blk.read.odd" => turn(|it| it.request(0).is_some() && it.writes() == 101, status(0)),
        "blk.read.nothing" => turn(|it| it.request(0).is_some() && it.writes() == 1, Act::Die),
        "blk.header.short" => turn(|it| it.reads() == 8, Act::Die),
        "blk.header.none" => turn(|it| it.reads() == 0 && it.writable == [512, 1], Act::Die),
        "blk.status.none" => turn(|it| it.readable == [16] && it.writes() == 0, Act::Die),
        // The first thing that is asked: what was there before is there still.
        "blk.write" => turn(|it| it.request(1) == Some(0), status(0)),
        "blk.write.beyond" => turn(|it| it.request(1) == Some(it.capacity), status(0)),
        "blk.discard" => turn(|it| it.request(11).is_some(), status(1)),
        "blk.zeroes" => turn(|it| it.request(13).is_some(), status(1)),
        "rng.differs" => {
            let same = Finish { written: 64, fill: Some(4), status: None };
            turn(|it| it.writable == [64], Act::Finish(same))
        }
        "rng.length" => {
            let more = Finish { written: 10, fill: Some(4), status: None };
            turn(|it| it.writes() == 8192, Act::Finish(more))
        }
        "rng.pieces" => turn(|it| it.writable == [10, 22, 32], NOTHING),
        "rng.readable" => turn(|it| (it.reads(), it.writes()) == (64, 0), Act::Die),
        "net.send.short" => turn(|it| it.reads() == 5, Act::Die),
        "net.send.empty" => turn(|it| it.reads() == 12, Act::Die),
        "net.send.large" => turn(|it| it.reads() == 100_000, Act::Die),
        "net.send.pieces" => turn(|it| it.readable == [3, 20, 49], Act::Leave),
        "console.send.pieces" => turn(|it| it.readable == [10, 18], Act::Leave),
        "console.send.large" => turn(|it| it.reads() == 65_536, Act::Die),
        _ => return None,
    })
}

/// A device that is right but for a fault, and has more than most, so that there is something to be wrong in.
pub(super) struct Wrong<'d, D> {
    device: WithMore<&'d mut D>,
    faulty: &'d Faulty,
    ends: Canceller,
    features: Features,
    before: Vec<usize>,
    total: usize,
}

const MORE: ProtocolFeatures =
    ProtocolFeatures::DEVICE_STATE.union(ProtocolFeatures::SHMEM).union(ProtocolFeatures::SHARED_OBJECT);

impl<'d, D: Device> Wrong<'d, D> {
    pub(super) fn new(device: &'d mut D, faulty: &'d Faulty, ends: Canceller) -> io::Result<Self> {
        let postcopy =
            if faulty.fault.has_postcopy { ProtocolFeatures::PAGEFAULT } else { ProtocolFeatures::empty() };
        let mut device = WithMore::new(device, MORE | postcopy)?;
        faulty.fault.asks.into_iter().for_each(|how| device.ask_otherwise(how));
        Ok(Self { device, faulty, ends, features: Features::empty(), before: Vec::new(), total: 0 })
    }

    fn act(&mut self, fault: &Fault, queue: u16, guest: &mut Guest<'_>) {
        let at = guest.place(queue);
        let mut all: Vec<Held<'_>> = Vec::new();
        while let Some(held) = guest.take(queue) {
            all.push(held);
        }
        let Some(first) = all.first() else { return };
        let chain = first.chain();
        let lengths = |pieces: &[virtio::memory::Slice<'_>]| pieces.iter().map(|it| it.len()).collect();
        let mut head = vec![0; 16];
        let count = chain.reader().read(&mut head);
        head.truncate(count);
        let capacity = self.device.config().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let turn = Turn {
            features: self.features,
            before: &self.before,
            count: all.len(),
            total: self.total,
            at,
            readable: lengths(chain.readable()),
            writable: lengths(chain.writable()),
            head,
            capacity,
        };
        let act = (fault.when)(&turn).then_some(fault.act);
        if self.before.len() == MOST {
            self.before.remove(0);
        }
        self.before.push(all.len());
        self.total += all.len();
        match act {
            Some(Act::Finish(finish)) => {
                for held in all {
                    finish.write(&held);
                    guest.put(queue, held, finish.written);
                }
                return;
            }
            Some(Act::Backwards(finish)) => {
                all.iter().for_each(|held| finish.write(held));
                guest.break_promise(queue);
                guest.put_together(queue, all.into_iter().rev().map(|held| (held, finish.written)));
                return;
            }
            Some(Act::Die) => {
                self.faulty.die();
                self.ends.cancel();
            }
            Some(Act::Leave) | None => {}
        }
        all.into_iter().rev().for_each(|held| guest.untake(queue, held));
        if act.is_none() {
            self.device.run(queue, guest);
        }
    }
}

impl Finish {
    fn write(self, held: &Held<'_>) {
        for piece in held.chain().writable() {
            self.fill.iter().for_each(|byte| piece.fill(*byte));
        }
        if let (Some(status), Some(last)) = (self.status, held.chain().writable().last())
            && let Some(place) = last.len().checked_sub(1).and_then(|at| last.part(at, 1))
        {
            place.write(&[status]);
        }
    }
}

impl<D: Device> Device for Wrong<'_, D> {
    fn features(&self) -> Features {
        self.device.features()
    }
    fn queues(&self) -> u16 {
        self.device.queues()
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        match &self.faulty.fault.queue {
            Some(fault) if (queue == self.faulty.queue) == (fault.of == Of::Worked) => {
                self.act(fault, queue, guest);
            }
            _ => self.device.run(queue, guest),
        }
    }
    fn protocol(&self) -> ProtocolFeatures {
        self.device.protocol()
    }
    fn config(&self) -> &[u8] {
        self.device.config()
    }
    fn set_config(&mut self, offset: usize, bytes: &[u8], writer: Writer) -> Result<(), Failure> {
        self.device.set_config(offset, bytes, writer)
    }
    fn negotiated(&mut self, features: Features) {
        self.features = features;
        self.device.negotiated(features);
    }
    fn run_disabled(&mut self, queue: u16, guest: &mut Guest<'_>) {
        self.device.run_disabled(queue, guest);
    }
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.device.sources()
    }
    fn ready(&mut self, source: usize, guest: &mut Guest<'_>) {
        self.device.ready(source, guest);
    }
    fn answered(&mut self, request: &back::Request, answer: Answer, guest: &mut Guest<'_>) {
        self.device.answered(request, answer, guest);
    }
    fn stopping(&mut self, queue: u16, guest: &mut Guest<'_>) {
        self.device.stopping(queue, guest);
    }
    fn reset(&mut self) {
        self.device.reset();
    }
    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        self.device.save()
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        self.device.load(state)
    }
    fn request(
        &mut self,
        request: &Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        self.device.request(request, descriptors)
    }
}

//! What a device has of its guest.

use super::channel::Channel;
use super::iotlb::Iotlb;
use super::log::Log;
use super::memory::Memory;
use super::ring::Ring;
use crate::back::Request;
use crate::payload::VringState;
use std::os::fd::OwnedFd;
use virtio::memory::{Shared, Slice};
use virtio::{Chain, Taken};

/// Chains and bytes that a queue may take in one turn, before others have theirs.
const CHAINS: u32 = 256;
const BYTES: u64 = 16 << 20;

/// The queues of a device, its guest's memory, and what it may tell of itself, for one turn.
pub struct Guest<'s> {
    pub(super) rings: &'s mut [Ring],
    pub(super) memory: &'s Memory,
    pub(super) log: Option<&'s Log>,
    pub(super) channel: Option<&'s mut Channel>,
    /// A queue that is disabled, and of which chains may be taken all the same.
    drains: Option<u16>,
    chains: u32,
    bytes: u64,
    spare: Vec<Chain<'s>>,
}

/// A chain that the device has, and gives back with [`Guest::put`].
#[derive(Debug)]
#[must_use = "a chain that is not given back is lost to the driver"]
pub struct Held<'s> {
    taken: Taken,
    chain: Chain<'s>,
}

impl<'s> Held<'s> {
    /// Its memory.
    pub const fn chain(&self) -> &Chain<'s> {
        &self.chain
    }

    /// Keeps it beyond this turn, without its memory, which may go. [`Device::stopping`](super::Device::stopping) gives back what is kept.
    pub fn keep(self) -> Kept {
        Kept(self.taken)
    }
}

/// A chain that the device keeps for later.
#[derive(Debug)]
#[must_use = "a chain that is not given back is lost to the driver"]
pub struct Kept(Taken);

/// A chain that the device serves beyond this turn, such as by a request to storage, and gives back with [`Guest::finish`] when one of its
/// [`Device::sources`](super::Device::sources) tells that it is over. It has its memory, which stays where it is for as long as this value
/// lives, whatever becomes of the session.
///
/// A ring does not stop, and memory does not go, before everything of it is back: the session waits for the device's sources, so that
/// [`Device::stopping`](super::Device::stopping) has nothing to do. Where that takes longer than 10 s the session ends, and who comes next finds the
/// chain in the inflight region.
#[derive(Debug)]
#[must_use = "a chain that is not given back is lost to the driver"]
pub struct Deferred {
    queue: u16,
    /// Of the ring's lives that in which it was taken.
    life: u64,
    taken: Taken,
    readable: Vec<Shared>,
    writable: Vec<Shared>,
}

impl Deferred {
    /// Its queue.
    pub const fn queue(&self) -> u16 {
        self.queue
    }

    /// So many bytes of what the device reads, behind others, piece by piece with what keeps them; fewer where there are no more.
    pub fn readable(&self, before: usize, bytes: usize) -> Vec<Shared> {
        within(&self.readable, before, bytes)
    }

    /// The same of what it writes.
    pub fn writable(&self, before: usize, bytes: usize) -> Vec<Shared> {
        within(&self.writable, before, bytes)
    }

    /// Its memory.
    pub fn chain(&self) -> Chain<'_> {
        Chain::of(self.readable.iter().map(Shared::slice), self.writable.iter().map(Shared::slice))
    }
}

fn within(pieces: &[Shared], mut before: usize, mut bytes: usize) -> Vec<Shared> {
    let mut all = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let here = bytes.min(piece.len().saturating_sub(before));
        if here > 0 {
            all.extend(piece.piece(before, here));
        }
        before = before.saturating_sub(piece.len());
        bytes -= here;
    }
    all
}

impl<'s> Guest<'s> {
    pub(super) const fn new(
        rings: &'s mut [Ring],
        memory: &'s Memory,
        log: Option<&'s Log>,
        channel: Option<&'s mut Channel>,
    ) -> Self {
        Self { rings, memory, log, channel, drains: None, chains: CHAINS, bytes: BYTES, spare: Vec::new() }
    }

    /// A turn of a queue that is started and not enabled.
    pub(super) const fn draining(mut self, queue: u16) -> Self {
        self.drains = Some(queue);
        self
    }

    /// Serves the chains of a queue one after the other: `serve` does what a chain asks for, and says how many bytes it wrote of it, from
    /// the first writable one on.
    pub fn each(&mut self, queue: u16, mut serve: impl FnMut(&Chain<'_>) -> u32) {
        while let Some(held) = self.take(queue) {
            let written = serve(held.chain());
            self.put(queue, held, written);
        }
    }

    /// The next chain of a queue; `None` if there is none, if the queue is not enabled, or if it had enough for this turn and comes again in
    /// the next.
    pub fn take(&mut self, queue: u16) -> Option<Held<'s>> {
        let ring = self.rings.get_mut(usize::from(queue))?;
        if !ring.can_run() && self.drains != Some(queue) {
            return None;
        }
        if self.chains == 0 || self.bytes == 0 {
            ring.due = true;
            return None;
        }
        let mut chain = self.spare.pop().unwrap_or_default();
        let Some(taken) = ring.next(self.memory, &mut chain) else {
            self.spare.push(chain);
            return None;
        };
        self.chains -= 1;
        let bytes = u64::from(chain.readable_bytes()) + u64::from(chain.writable_bytes());
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(Held { taken, chain })
    }

    /// What was done took as long as so many bytes of chains: when there were enough, others have their turn before the rest.
    pub fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Leaves the chain in its queue that was taken of it last, of which nothing was written: who needs several at once and did not find
    /// enough.
    pub fn untake(&mut self, queue: u16, Held { taken, chain }: Held<'s>) {
        if let Some(ring) = self.rings.get_mut(usize::from(queue)) {
            ring.untake(taken);
            self.spare.push(chain);
        }
    }

    /// Gives a chain back, of which so many bytes were written, from the first writable one on.
    pub fn put(&mut self, queue: u16, held: Held<'s>, written: u32) {
        self.put_together(queue, [(held, written)]);
    }

    /// Gives back several at once: the driver sees all of them or none.
    pub fn put_together(&mut self, queue: u16, all: impl IntoIterator<Item = (Held<'s>, u32)>) {
        let Some(ring) = self.rings.get_mut(usize::from(queue)) else { return };
        for (Held { taken, chain }, written) in all {
            if let Some(log) = self.log {
                log.wrote_chain(&chain, &self.memory.regions);
            }
            ring.put(taken, written);
            self.spare.push(chain);
        }
        ring.publish();
    }

    /// Gives back a chain that was kept, and of which nothing was written since.
    pub fn put_kept(&mut self, queue: u16, Kept(taken): Kept) {
        if let Some(ring) = self.rings.get_mut(usize::from(queue)) {
            ring.put(taken, 0);
            ring.publish();
        }
    }

    /// Keeps a chain, with its memory, until [`Guest::finish`].
    pub fn defer(&mut self, queue: u16, Held { taken, chain }: Held<'s>) -> Deferred {
        let keep = |pieces: &[Slice<'s>]| {
            let kept = pieces.iter().map(|piece| self.memory.regions.kept(piece));
            kept.map(|piece| {
                piece.expect("the memory of a chain is in a region in the turn in which it is taken")
            })
            .collect()
        };
        let (readable, writable) = (keep(chain.readable()), keep(chain.writable()));
        self.spare.push(chain);
        let life = self.rings.get_mut(usize::from(queue)).map_or(0, Ring::defer);
        Deferred { queue, life, taken, readable, writable }
    }

    /// Gives back a chain that was deferred, of which so many bytes were written, from the first writable one on. Where its ring was stopped
    /// since, nobody hears of it.
    pub fn finish(&mut self, deferred: Deferred, written: u32) {
        let Some(ring) = self.rings.get_mut(usize::from(deferred.queue)) else { return };
        if !ring.undefer(deferred.life) {
            return;
        }
        if let Some(log) = self.log {
            log.wrote_chain(&deferred.chain(), &self.memory.regions);
        }
        ring.put(deferred.taken, written);
        ring.publish();
        // What the driver offers next is looked for, as after a turn in which it was served.
        ring.due = true;
    }

    /// Whether a queue is started and enabled.
    pub fn is_running(&self, queue: u16) -> bool {
        self.rings.get(usize::from(queue)).is_some_and(Ring::can_run)
    }

    /// The driver of a queue was promised the order, and does not have it from now on.
    #[cfg(feature = "faults")]
    pub(crate) fn break_promise(&mut self, queue: u16) {
        self.rings.iter_mut().skip(queue.into()).take(1).for_each(Ring::break_promise);
    }

    /// How many chains of a split ring were taken, modulo 2^16.
    #[cfg(feature = "faults")]
    pub(crate) fn place(&self, queue: u16) -> u16 {
        self.rings.get(usize::from(queue)).map_or(0, Ring::place)
    }

    /// The guest's memory.
    pub fn memory(&self) -> &'s virtio::memory::Regions {
        &self.memory.regions
    }

    /// Gives memory of the guest's back to the host; who reads it next finds zeroes. `false`: not all of it is memory, or the host cannot.
    pub fn give_up(&self, address: u64, bytes: u64) -> bool {
        let mut at = address;
        let end = address.saturating_add(bytes);
        while at < end {
            let Some(region) = self.memory.regions.iter().find(|region| {
                at.checked_sub(region.address).is_some_and(|offset| offset < region.memory.len() as u64)
            }) else {
                return false;
            };
            let offset = at - region.address;
            let here = (end - at).min(region.memory.len() as u64 - offset);
            let Some(piece) = region.memory.piece(offset as usize, here as usize) else { return false };
            if crate::memory::discard(&piece).is_err() {
                return false;
            }
            at += here;
        }
        true
    }

    /// Tells the front-end that configuration space has changed; `false`: it did not say that it wants to know.
    pub fn config_changed(&mut self) -> bool {
        self.tell(&Request::ConfigChangeMsg)
    }

    /// Sends a request to the front-end for which no answer is awaited; `false`: it takes none, or not this one, or 1,024 lie
    /// unread, and a later one may go.
    pub fn tell(&mut self, request: &Request) -> bool {
        self.channel.as_deref_mut().is_some_and(|channel| channel.tell(request).is_ok())
    }

    /// Asks the front-end something, with descriptors that go along. [`Device::answered`](super::Device::answered) hears what comes of it,
    /// if there is an answer, which is always so with `REPLY_ACK`; `false`: it takes no such request, or 1,024
    /// lie unread or unanswered, and a later one may go.
    pub fn ask(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> bool {
        self.channel.as_deref_mut().is_some_and(|channel| channel.ask(request, descriptors).is_ok())
    }

    /// The end of a turn: drivers are called.
    pub(super) fn over(mut self) {
        for index in 0..self.rings.len() {
            let untold = self.rings.get_mut(index).is_some_and(|ring| ring.turn_over(self.log, self.memory));
            if untold {
                // In-band calls, if those were negotiated.
                self.tell(&Request::VringCall(VringState { index: index as u32, num: 0 }));
            }
            if self.rings.get_mut(index).is_some_and(Ring::error_untold) {
                self.tell(&Request::VringErr(VringState { index: index as u32, num: 0 }));
            }
        }
        if let Some(missed) = self.memory.iotlb.as_ref().and_then(Iotlb::missed) {
            self.tell(&Request::IotlbMsg(missed));
        }
    }
}

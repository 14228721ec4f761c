//! A ring of the front-end's, from stopped to running.

use super::Failure;
use super::inflight::{Entry, Inflight, Packed, Split};
use super::log::Log;
use super::memory::Memory;
use crate::payload::VringAddress;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::write;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use virtio::cells::{Packed as Descriptor, PackedCells as _, SplitCells as _};
use virtio::features::Features;
use virtio::memory::{Access, PackedMemory, SplitMemory};
use virtio::packed::{Base, Position, Round};
use virtio::ring::Device as Queue;
use virtio::{Chain, Fault, Taken, packed, split};

/// What is known of a ring. It is started by its kick, enabled by a request of its own, and processed if it is both.
#[derive(Default)]
pub(super) struct Ring {
    pub(super) size: u16,
    pub(super) address: Option<VringAddress>,
    /// Where it goes on; `None`: at its beginning.
    pub(super) base: Option<u32>,
    pub(super) enabled: bool,
    call: Option<Bell>,
    pub(super) error: Option<Bell>,
    started: bool,
    kick: Option<OwnedFd>,
    /// It was started without kicks.
    polled: bool,
    queue: Option<Queue<SplitMemory, PackedMemory>>,
    inflight: Option<Remembered>,
    /// The descriptors that were read last, for a region of a packed ring: kept for its memory alone.
    noted: Vec<(u64, Descriptor)>,
    /// Taken before a crash, and to be taken again first.
    again: VecDeque<Again>,
    /// Those of them that the device has.
    retaken: Vec<Again>,
    /// It stops: there is nothing else to be taken.
    finishes: bool,
    /// Which of the lives of all rings of this process it has, while its memory is there.
    life: u64,
    /// Chains that the device serves beyond their turn.
    deferred: usize,
    /// Where the driver was promised the order.
    turns: Option<Turns>,
    /// There may be something to do.
    pub(super) due: bool,
    /// It broke, and there was no descriptor to tell it by.
    error_untold: bool,
    /// It was used in this turn: what there is to tell the driver is told at its end.
    touched: bool,
    /// Nothing was left in it when the device looked last.
    exhausted: bool,
    /// Somebody looks at it between turns, and the driver need not kick.
    watched: bool,
}

/// The next life of a ring.
static LIVES: AtomicU64 = AtomicU64::new(1);

enum Remembered {
    Split(Split),
    Packed(Packed),
}

#[derive(Clone)]
enum Again {
    Split(u16),
    Packed(Entry),
}

impl Again {
    const fn id(&self) -> u16 {
        match self {
            Self::Split(id) | Self::Packed(Entry { id, .. }) => *id,
        }
    }
}

/// Chains that the device has, in the order in which they were taken, and what it gave back before their turn.
#[derive(Default)]
struct Turns {
    taken: VecDeque<u16>,
    early: Vec<(Taken, u32)>,
}

impl Turns {
    /// The next that can be given back, if it was.
    fn next(&mut self) -> Option<(Taken, u32)> {
        let first = *self.taken.front()?;
        let at = self.early.iter().position(|(taken, _)| taken.id() == first)?;
        self.taken.pop_front();
        Some(self.early.swap_remove(at))
    }

    /// One was not taken.
    fn forget(&mut self, id: u16) {
        if let Some(at) = self.taken.iter().rposition(|taken| *taken == id) {
            self.taken.remove(at);
        }
    }
}

/// What a ring needs of its session to start.
pub(super) struct Start<'s> {
    pub(super) memory: &'s Memory,
    pub(super) features: Features,
    pub(super) inflight: Option<&'s Inflight>,
}

impl Ring {
    /// It is started, with kicks that tell `epoll` under the ring's index, or without.
    pub(super) fn set_kick(
        &mut self,
        epoll: &OwnedFd,
        index: u16,
        kick: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        if let Some(kick) = &kick {
            // Each kick is told once, so that its counter need not be read.
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(epoll, kick, epoll::EventData::new_u64(index.into()), flags)
                .map_err(|error| Failure::Descriptor { what: "kick", error: error.into() })?;
        }
        self.drop_kick(epoll);
        self.polled = kick.is_none();
        self.kick = kick;
        self.started = true;
        Ok(())
    }

    /// Its kicks have come to an end.
    pub(super) fn drop_kick(&mut self, epoll: &OwnedFd) {
        if let Some(kick) = self.kick.take() {
            // The front-end has the same eventfd, so closing ours does not take it out.
            let _ = epoll::delete(epoll, kick);
        }
    }

    /// Where the driver is called from now on. What it missed in between it hears of now.
    pub(super) fn set_call(&mut self, call: Option<Bell>) {
        self.call = call;
        if self.queue.is_some() {
            notify(self.call.as_ref());
        }
    }

    /// Its kicks come as messages.
    pub(super) const fn is_told(&mut self) {
        self.polled = false;
    }

    /// Started without kicks.
    pub(super) const fn is_polled(&self) -> bool {
        self.can_run() && self.polled
    }

    pub(super) const fn is_started(&self) -> bool {
        self.started
    }

    /// Its memory is there, whether it is enabled or not.
    pub(super) const fn is_mapped(&self) -> bool {
        self.queue.is_some()
    }

    pub(super) const fn can_run(&self) -> bool {
        self.enabled && self.queue.is_some()
    }

    /// Begins to process it, if it is not being processed.
    pub(super) fn start(&mut self, index: u16, from: &Start<'_>) -> Result<(), Failure> {
        if self.queue.is_some() {
            // A new kick for a ring that runs.
            return Ok(());
        }
        let wrong = |why| Failure::Ring { index, why };
        let address = self.address.ok_or_else(|| wrong("nobody said where it is".to_owned()))?;
        let is_packed = from.features.contains(Features::RING_PACKED);
        let bytes = if is_packed { PackedMemory::bytes(self.size) } else { SplitMemory::bytes(self.size) };
        let part = |address, bytes, access| from.memory.part(address, bytes, access);
        let parts = part(address.descriptors, bytes[0], if is_packed { Access::Write } else { Access::Read })
            .and_then(|table| Ok((table, part(address.available, bytes[1], Access::Read)?)))
            .and_then(|(table, driver)| Ok((table, driver, part(address.used, bytes[2], Access::Write)?)));
        let (table, driver, device) = match parts {
            Ok(parts) => parts,
            // It runs when the IOMMU has been asked.
            Err(fault) if fault.passes() => return Ok(()),
            Err(fault) => return Err(wrong(fault.to_string())),
        };
        let layout = |error: virtio::memory::LayoutError| wrong(error.to_string());
        let not_a_base = |base: u32| Failure::Value { what: "ring base", value: base.into() };
        let options = from.features.options();
        self.turns = options.in_order.then(Turns::default);
        self.life = LIVES.fetch_add(1, Ordering::Relaxed);
        let remembers = from.inflight.map(|all| all.queue(index, self.size, is_packed)).transpose();
        let remembers = remembers.map_err(|why| wrong(why.to_owned()))?;
        self.queue = Some(if is_packed {
            let base = self.base.unwrap_or(Base::START.bits());
            let mut base = Base::from_bits(base, self.size).ok_or_else(|| not_a_base(base))?;
            let cells = PackedMemory::new(self.size, table, driver, device).map_err(layout)?;
            if let Some(memory) = remembers {
                // What the driver still offers there it was not given back. Anything else says that it was, even that it offered that
                // place again since.
                let was_told = |at: Position| {
                    let flags = cells.state(at.place()).flags;
                    let [available, used] =
                        [virtio::cells::AVAILABLE, virtio::cells::USED].map(|bit| flags & bit != 0);
                    !(available == at.wrap() && used != at.wrap())
                };
                let (queue, used, left) = Packed::resumed(memory, self.size, base.used, was_told);
                // The next chain is behind all that are out.
                let places: usize = left.iter().map(|entry| entry.descriptors.len()).sum();
                let available = usize::from(used.place()) + places;
                let available = match available.checked_sub(self.size.into()) {
                    Some(place) => Position::new(place as u16, Round::from(!used.wrap())),
                    None => Position::new(available as u16, Round::from(used.wrap())),
                };
                base = Base { available, used };
                // Entries that were written behind a used one that nobody saw are not used either.
                for at in base.places(self.size) {
                    let state = cells.state(at.place());
                    if at.is_used(state.flags) {
                        cells.set_state(at.place(), Descriptor { flags: at.available(), ..state });
                    }
                }
                self.inflight = Some(Remembered::Packed(queue));
                self.again = left.into_iter().map(Again::Packed).collect();
            }
            Queue::Packed(packed::Device::resumed(cells, options, base))
        } else {
            let base = self.base.unwrap_or(0);
            let mut base = u16::try_from(base).map_err(|_| not_a_base(base))?;
            let cells = SplitMemory::new(self.size, table, driver, device).map_err(layout)?;
            // What was used is told by the ring itself.
            let used = cells.used_index();
            if let Some(memory) = remembers {
                let (queue, left) = Split::resumed(memory, self.size, used);
                base = used.wrapping_add(left.len() as u16);
                self.inflight = Some(Remembered::Split(queue));
                self.again = left.into_iter().map(Again::Split).collect();
            }
            Queue::Split(split::Device::resumed(cells, options, base, used))
        });
        self.due = true;
        // Whoever waits for a call that an earlier back-end did not live to make.
        notify(self.call.as_ref());
        Ok(())
    }

    /// Lets go of the memory; [`Ring::start`] goes on where it was. The driver kicks from now on, also whoever looks at the ring next: that one
    /// cannot know what this one asked for.
    pub(super) fn pause(&mut self, log: Option<&Log>) {
        if let Some(queue) = &mut self.queue {
            queue.want_kicks();
            self.wrote_events(log);
        }
        self.watched = false;
        self.base = match self.queue.take() {
            Some(Queue::Split(queue)) => Some(queue.base().into()),
            Some(Queue::Packed(queue)) => Some(queue.base().bits()),
            None => self.base,
        };
        self.inflight = None;
        self.again.clear();
        self.retaken.clear();
        self.turns = None;
        (self.life, self.deferred) = (0, 0);
    }

    /// A chain is served beyond its turn; gives the life in which it was taken.
    pub(super) const fn defer(&mut self) -> u64 {
        self.deferred += 1;
        self.life
    }

    /// It is over; `false`: the ring was stopped since.
    pub(super) const fn undefer(&mut self, life: u64) -> bool {
        let is_it = self.life == life && life != 0;
        if is_it {
            self.deferred = self.deferred.saturating_sub(1);
        }
        is_it
    }

    /// Whether any is.
    pub(super) const fn has_deferred(&self) -> bool {
        self.deferred > 0
    }

    /// Chains that a back-end before had in flight, and that nobody has taken again.
    pub(super) fn left_again(&self) -> usize {
        self.again.len()
    }

    /// A turn begins in which there is nothing else to be taken.
    pub(super) const fn only_again(&mut self) {
        self.finishes = true;
    }

    /// It ends, and whatever else there was has its turn.
    pub(super) const fn all_again(&mut self) {
        (self.finishes, self.due) = (false, true);
    }

    /// The device has no use for what was in flight: the driver has it back, with nothing in it.
    pub(super) fn give_up_again(&mut self) {
        for again in std::mem::take(&mut self.again) {
            let places = match &again {
                Again::Split(_) => 1,
                Again::Packed(entry) => entry.descriptors.len() as u16,
            };
            self.put_now(Taken::remembered(again.id(), places), 0);
        }
        self.publish();
    }

    /// What is given back is given back at once, whatever the driver was promised.
    #[cfg(feature = "faults")]
    pub(super) fn break_promise(&mut self) {
        self.turns = None;
    }

    /// How many chains of a split ring were taken, modulo 2^16.
    #[cfg(feature = "faults")]
    pub(super) fn place(&self) -> u16 {
        match &self.queue {
            Some(Queue::Split(queue)) => queue.base(),
            Some(Queue::Packed(_)) | None => 0,
        }
    }

    /// Whether any part of it lies within these addresses, the last one included.
    pub(super) fn lies_in(&self, start: u64, last: u64, is_packed: bool) -> bool {
        let Some(address) = self.address else { return false };
        let bytes = if is_packed { PackedMemory::bytes(self.size) } else { SplitMemory::bytes(self.size) };
        let parts = [address.descriptors, address.available, address.used];
        let overlaps = |(at, bytes): (u64, usize)| at <= last && start < at.saturating_add(bytes as u64);
        parts.into_iter().zip(bytes).any(overlaps)
    }

    /// Stops it, and says where.
    pub(super) fn stop(&mut self, epoll: &OwnedFd, log: Option<&Log>, is_packed: bool) -> u32 {
        self.pause(log);
        self.drop_kick(epoll);
        self.started = false;
        self.base.unwrap_or(if is_packed { Base::START.bits() } else { 0 })
    }

    /// As it was when the session began, but for the descriptors that the front-end gives once.
    pub(super) fn reset(&mut self, epoll: &OwnedFd, log: Option<&Log>) {
        self.stop(epoll, log, false);
        *self = Self { call: self.call.take(), error: self.error.take(), size: self.size, ..Self::default() };
    }

    /// The next chain, if there is one. A ring that broke a rule has none any more, until it is set up anew.
    pub(super) fn next<'m>(&mut self, memory: &'m Memory, chain: &mut Chain<'m>) -> Option<Taken> {
        self.touch();
        let queue = self.queue.as_mut()?;
        loop {
            let next = match self.again.pop_front() {
                Some(again) => match retake(queue, again.clone(), memory, chain) {
                    Err(fault) if fault.passes() => {
                        self.again.push_front(again);
                        Err(fault)
                    }
                    other => {
                        self.retaken.push(again);
                        other.map(Some)
                    }
                },
                None if self.finishes => return None,
                None => take(queue, self.inflight.as_mut(), &mut self.noted, memory, chain),
            };
            match next {
                Ok(Some(taken)) => {
                    if let Some(turns) = &mut self.turns {
                        turns.taken.push_back(taken.id());
                    }
                    return Some(taken);
                }
                Ok(None) if !self.watched && queue.want_kicks() => queue.want_no_kicks(),
                Ok(None) => {
                    self.exhausted = true;
                    return None;
                }
                // The front-end is asked, and its answer brings the next turn.
                Err(fault) if fault.passes() => {
                    self.exhausted = true;
                    self.watched = false;
                    return None;
                }
                Err(_) => {
                    // It stays with the driver to set it up anew.
                    self.enabled = false;
                    notify(self.error.as_ref());
                    self.error_untold = self.error.is_none();
                    return None;
                }
            }
        }
    }

    pub(super) const fn is_watched(&self) -> bool {
        self.watched
    }

    /// A turn begins. `watched`: [`Ring::is_due`] is asked from its end on, until [`Ring::unwatch`].
    pub(super) fn begin(&mut self, watched: bool) {
        self.watched = watched;
        self.touch();
    }

    /// Something may be taken or given back in this turn, and its end tells the driver.
    fn touch(&mut self) {
        self.exhausted = false;
        if !std::mem::replace(&mut self.touched, true)
            && let Some(queue) = &mut self.queue
        {
            queue.want_no_kicks();
        }
    }

    /// Whether there is something for a turn, as far as it shows without kicks.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.can_run()
            && (self.due
                || self.watched && self.exhausted && self.queue.as_ref().is_some_and(Queue::has_chains))
    }

    /// Nobody looks at it any more, and the driver kicks.
    pub(super) fn unwatch(&mut self, log: Option<&Log>) {
        if std::mem::take(&mut self.watched)
            && self.exhausted
            && let Some(queue) = &mut self.queue
        {
            if queue.want_kicks() {
                queue.want_no_kicks();
                self.due = true;
            }
            self.wrote_events(log);
        }
    }

    /// The device's part was written: used entries and events of a split ring, the events of a packed one.
    fn wrote_events(&self, log: Option<&Log>) {
        if let (Some(log), Some(VringAddress { flags: 1, log: at, .. })) = (log, self.address) {
            let is_packed = matches!(self.queue, Some(Queue::Packed(_)));
            let [.., part] =
                if is_packed { PackedMemory::bytes(self.size) } else { SplitMemory::bytes(self.size) };
            log.wrote(at, part as u64);
        }
    }

    /// Leaves the chain that was taken last in the ring.
    pub(super) fn untake(&mut self, taken: Taken) {
        let Some(queue) = &mut self.queue else { return };
        self.exhausted = false;
        if let Some(turns) = &mut self.turns {
            turns.forget(taken.id());
        }
        if let Some(at) = self.retaken.iter().position(|again| again.id() == taken.id()) {
            // It is in flight still: the ring has not counted it again, and its mark stays.
            self.again.push_front(self.retaken.remove(at));
            queue.forget(taken);
            return;
        }
        match &mut self.inflight {
            Some(Remembered::Split(remembered)) => remembered.untaken(taken.id()),
            Some(Remembered::Packed(remembered)) => remembered.untaken(taken.id()),
            None => {}
        }
        queue.untake(taken);
    }

    /// Gives a chain back; the driver sees it after [`Ring::publish`], or, where it was promised the order, when those before it are back too.
    pub(super) fn put(&mut self, taken: Taken, written: u32) {
        let Some(turns) = &mut self.turns else { return self.put_now(taken, written) };
        turns.early.push((taken, written));
        while let Some((taken, written)) = self.turns.as_mut().and_then(Turns::next) {
            self.put_now(taken, written);
        }
    }

    fn put_now(&mut self, taken: Taken, written: u32) {
        let Some(queue) = &mut self.queue else { return };
        self.retaken.retain(|again| again.id() != taken.id());
        match &mut self.inflight {
            Some(Remembered::Split(remembered)) => remembered.putting(taken.id()),
            Some(Remembered::Packed(remembered)) => remembered.putting(taken.id()),
            None => {}
        }
        queue.put(taken, written);
        self.touched = true;
    }

    pub(super) fn publish(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        queue.publish();
        match (&mut self.inflight, queue) {
            (Some(Remembered::Split(remembered)), Queue::Split(queue)) => remembered.told(queue.used()),
            (Some(Remembered::Packed(remembered)), _) => remembered.told(),
            _ => {}
        }
    }

    /// Whether it broke, and there is only the channel to tell it by. Told once.
    pub(super) fn error_untold(&mut self) -> bool {
        std::mem::take(&mut self.error_untold)
    }

    /// The end of a turn: the driver is called if it wants to be. `true`: it wants to be, and there is no descriptor for it.
    pub(super) fn turn_over(&mut self, log: Option<&Log>, memory: &Memory) -> bool {
        let Some(queue) = self.queue.as_mut().filter(|_| std::mem::take(&mut self.touched)) else {
            return false;
        };
        // Who left some hears of the next.
        if !self.exhausted && !self.due {
            self.due = queue.want_more_kicks();
        }
        let must_call = queue.must_call();
        // Used entries of a packed ring are where the driver's are, of which the log's address says nothing.
        if let (Some(log), Queue::Packed(_), Some(VringAddress { flags: 1, descriptors, .. })) =
            (log, queue, self.address)
            && let Some(entries) = memory.guest(descriptors)
        {
            log.wrote(entries, PackedMemory::bytes(self.size)[0] as u64);
        }
        self.wrote_events(log);
        if !must_call {
            return false;
        }
        notify(self.call.as_ref());
        self.call.is_none()
    }
}

fn take<'m>(
    queue: &mut Queue<SplitMemory, PackedMemory>,
    inflight: Option<&mut Remembered>,
    noted: &mut Vec<(u64, Descriptor)>,
    memory: &'m Memory,
    chain: &mut Chain<'m>,
) -> Result<Option<Taken>, Fault> {
    match (inflight, queue) {
        (Some(Remembered::Packed(remembered)), Queue::Packed(queue)) => {
            noted.clear();
            let taken = queue.take_noting(&memory, chain, |address, rest| noted.push((address, rest)))?;
            if let Some(taken) = &taken {
                remembered.taken(taken.id(), noted.iter().copied());
            }
            Ok(taken)
        }
        (Some(Remembered::Split(remembered)), queue) => {
            let taken = queue.take(&memory, chain)?;
            if let Some(taken) = &taken {
                remembered.taken(taken.id());
            }
            Ok(taken)
        }
        (None | Some(Remembered::Packed(_)), queue) => queue.take(&memory, chain),
    }
}

fn retake<'m>(
    queue: &mut Queue<SplitMemory, PackedMemory>,
    again: Again,
    memory: &'m Memory,
    chain: &mut Chain<'m>,
) -> Result<Taken, Fault> {
    match (queue, again) {
        (Queue::Split(queue), Again::Split(head)) => queue.retake(Taken::remembered(head, 1), &memory, chain),
        (Queue::Packed(queue), Again::Packed(Entry { id, descriptors })) => {
            let taken = Taken::remembered(id, descriptors.len() as u16);
            queue.retake(taken, descriptors, &memory, chain)
        }
        // A region is read as the kind of ring that it is started with.
        (Queue::Split(_), Again::Packed(_)) | (Queue::Packed(_), Again::Split(_)) => {
            Err(Fault::Unknown { id: 0 })
        }
    }
}

/// A descriptor by which the front-end is told.
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) const fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Writing to a counter that is full waits. Whether it does is no fact to be remembered: the front-end has the same counter, and may
    /// change that at any time.
    fn has_room(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut all = [PollFd::new(&self.0, PollFlags::OUT)];
        poll(&mut all, Some(&now)).is_ok_and(|count| count > 0)
    }
}

fn notify(bell: Option<&Bell>) {
    if let Some(bell) = bell
        && bell.has_room()
    {
        // A counter that is full has not been read yet, and will be; what else it may be is the front-end's, as is the harm.
        let _ = write(&bell.0, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests;

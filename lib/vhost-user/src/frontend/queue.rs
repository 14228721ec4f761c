//! A queue of the device, from the driver's side.

use super::memory::Names;
use super::wait_error::{BrokenRing, WaitError};
use super::{CallError, FrontEnd};
use crate::ProtocolFeatures;
use crate::clock;
use crate::front::Request;
use crate::memory::Memory;
use crate::payload::{VringAddress, VringState};
use crate::polling::{self, Polling};
use crate::socket::Waits;
#[cfg(feature = "tokio")]
use crate::sys::reactor::readable;
use crate::wire::Reply;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
#[cfg(feature = "tokio")]
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "tokio")]
use tokio::io::unix::AsyncFd;
use virtio::features::Features;
use virtio::memory::{PackedMemory, Shared, SplitMemory};
use virtio::ring::Driver;
use virtio::{Tables, packed, split};

/// What a queue's epoll says of the front-end's canceller.
const CANCELLED: u64 = 1;

/// The same of the descriptor of errors.
const BROKEN: u64 = 2;

/// Segments that a chain may have where indirect descriptors are in use.
const TABLE: u16 = 16;

/// A started queue: the ring, and how both sides notify each other.
pub struct Queue {
    /// The ring.
    pub ring: Driver<SplitMemory, PackedMemory>,
    anchor: Arc<Anchor>,
    /// Tells of each call once, so that the counter of `call` need not be read: one system call for a wait in place of two.
    calls: OwnedFd,
    /// Where a task waits for calls, since the first that did.
    #[cfg(feature = "tokio")]
    reactor: Option<Awaited>,
    polling: Polling,
    /// Calls were asked for, as they are in a ring that begins.
    is_called: bool,
}

/// What a task waits for: calls and errors.
#[cfg(feature = "tokio")]
struct Awaited {
    calls: AsyncFd<OwnedFd>,
    errors: AsyncFd<OwnedFd>,
}

/// What a back-end is told of a queue, however many there are one after the other.
pub(super) struct Anchor {
    address: VringAddress,
    size: u16,
    kick: OwnedFd,
    call: OwnedFd,
    /// Counts while the ring is broken.
    error: OwnedFd,
    used: Used,
}

/// Where a device tells what it used.
#[derive(Clone)]
pub(crate) enum Used {
    /// In its part of a split ring, which says how far it is.
    Split(Shared),
    /// In the descriptors of a packed one.
    Packed(Shared),
}

impl Anchor {
    /// Where a back-end goes on that knows what was in flight.
    pub(super) fn base(&self) -> u32 {
        match &self.used {
            // The index is behind the flags (section 2.7.8).
            Used::Split(used) => used.slice().load::<u16>(2).unwrap_or(0).into(),
            Used::Packed(_) => packed::Base::START.bits(),
        }
    }

    /// Nothing is known to be wrong with the ring.
    fn mended(&self) -> io::Result<()> {
        match read(&self.error, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn broken(&self) -> WaitError {
        BrokenRing { index: self.address.index }.into()
    }

    /// The driver looks what there is.
    pub(super) fn call_driver(&self) -> io::Result<()> {
        ring(&self.call)
    }
}

fn ring(descriptor: &OwnedFd) -> io::Result<()> {
    match write(descriptor, &1_u64.to_ne_bytes()) {
        // A counter that is full has not been read yet, and will be.
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Queue {
    /// Which queue of the device.
    pub fn index(&self) -> u32 {
        self.anchor.address.index
    }

    /// What the back-end is told of where it lies.
    pub fn address(&self) -> VringAddress {
        self.anchor.address
    }

    /// For who looks into the ring beside its driver.
    pub(crate) fn used_entries(&self) -> &Used {
        &self.anchor.used
    }

    pub(super) fn anchor(&self) -> Arc<Anchor> {
        Arc::clone(&self.anchor)
    }

    /// Publishes what was added, and wakes the back-end if it wants that.
    ///
    /// # Errors
    /// That of the eventfd.
    #[inline]
    pub fn submit(&mut self) -> io::Result<()> {
        self.ring.publish();
        if self.ring.must_kick() { self.kick() } else { Ok(()) }
    }

    /// Wakes the back-end.
    ///
    /// # Errors
    /// That of the eventfd.
    pub fn kick(&self) -> io::Result<()> {
        ring(&self.anchor.kick)
    }

    /// Where a back-end goes on that comes after one that died.
    pub fn base(&self) -> u32 {
        match &self.ring {
            Driver::Split(ring) => ring.base().into(),
            // An inflight region knows; without one a packed ring cannot go on.
            Driver::Packed(_) => packed::Base::START.bits(),
        }
    }

    /// How long to look at the ring before sleeping, at most: 32 us unless something else is said here. Nobody looks while sleeps are longer.
    pub const fn set_polling(&mut self, most: Duration) {
        self.polling = Polling::new(most, clock::monotonic);
    }

    /// Waits until something was used, at most so long, however often the back-end calls meanwhile; `false`: nothing was, or the back-end did
    /// not call for it.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait(&mut self, time: Duration) -> Result<bool, WaitError> {
        self.wait_for(1, time)
    }

    /// The same until so many chains were used beside those that were reaped, or all that the back-end has; fewer where their lengths differ
    /// and the ring is packed. With the event index the back-end calls once for all of them, so this costs both sides less the more they are.
    /// What was added counts as the back-end's: [`Queue::submit`] it first, or its end is waited for in vain. `false`: there may be fewer.
    ///
    /// # Errors
    /// As [`Queue::wait`].
    pub fn wait_for(&mut self, chains: u16, time: Duration) -> Result<bool, WaitError> {
        let chains = chains.min(self.ring.in_flight());
        let wait = self.polling.begin();
        let is_there = self.polling.look(&wait, time, || self.ring.has_used(chains))
            || self.sleep(&wait, chains, time)?;
        // A wait that was in vain says nothing of how long the next one takes.
        if is_there {
            self.polling.ended(&wait);
            self.look_next();
        }
        Ok(is_there)
    }

    /// The next wait begins with looking: until it sleeps, nobody has to be called. What was asked for lies behind where there is an event
    /// index, and comes up again once the ring has gone round; without one calls come until they are asked for no more.
    fn look_next(&mut self) {
        if self.is_called && self.polling.looks() {
            self.ring.want_no_calls();
            self.is_called = false;
        }
    }

    /// Until there are so many, or the wait has taken so long. A call alone says nothing: a back-end may call as often as it likes.
    fn sleep(&mut self, wait: &polling::Wait, chains: u16, time: Duration) -> Result<bool, WaitError> {
        let mut is_there = self.ring.want_calls(chains);
        self.is_called = true;
        while !is_there {
            let left = time.saturating_sub(wait.took());
            let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
            let mut event = [MaybeUninit::uninit()];
            match epoll::wait(&self.calls, &mut event, Some(&left)) {
                // What was used without a call is not there for who sleeps.
                Ok(([], _)) => return Ok(false),
                Ok(([event], _)) if event.data.u64() == CANCELLED => return Err(WaitError::Cancelled),
                Ok(([event], _)) if event.data.u64() == BROKEN => {
                    // What it gave back before is there all the same.
                    is_there = self.ring.has_used(chains);
                    if !is_there {
                        return Err(self.anchor.broken());
                    }
                }
                Ok(_) | Err(Errno::INTR) => is_there = self.ring.has_used(chains),
                Err(error) => return Err(error.into()),
            }
            if !is_there && wait.took() >= time {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// [`Queue::wait_for`] in tokio's reactor, without looking before: others have their turn meanwhile. Dropped, it can be asked again.
    ///
    /// # Errors
    /// [`WaitError`]; who cancels such a wait drops it.
    #[cfg(feature = "tokio")]
    pub async fn used(&mut self, chains: u16) -> Result<(), WaitError> {
        let chains = chains.min(self.ring.in_flight());
        if self.ring.has_used(chains) {
            return Ok(());
        }
        self.is_called = true;
        if self.ring.want_calls(chains) {
            return Ok(());
        }
        let reactor = match &mut self.reactor {
            Some(reactor) => reactor,
            none => none.insert(Awaited {
                calls: readable(self.anchor.call.try_clone()?)?,
                errors: readable(self.anchor.error.try_clone()?)?,
            }),
        };
        while !self.ring.has_used(chains) {
            tokio::select! {
                called = reactor.calls.readable() => called?.clear_ready(),
                failed = reactor.errors.readable() => {
                    let mut failed = failed?;
                    // It may be the news of what was mended since.
                    let mut error = [PollFd::new(&self.anchor.error, PollFlags::IN)];
                    let counts = poll(&mut error, Some(&Timespec::default()))? > 0;
                    if counts && !self.ring.has_used(chains) {
                        return Err(self.anchor.broken());
                    }
                    if !counts {
                        failed.clear_ready();
                    }
                }
            }
        }
        Ok(())
    }

    /// What becomes readable when the back-end calls. Who waits on it reads it, and does not use [`Queue::wait`].
    pub fn call(&self) -> BorrowedFd<'_> {
        self.anchor.call.as_fd()
    }
}

impl<W: Waits> FrontEnd<W> {
    /// Starts queue `index` with `size` entries, whose parts lie in `memory`, which the back-end sees. Packed, event index, indirect and
    /// in-order are what was negotiated.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn start_queue<'a>(
        &'a mut self,
        index: u32,
        size: u16,
        memory: &'a mut Memory,
    ) -> W::Output<'a, Result<Queue, CallError>> {
        self.start_queue_after(0, index, size, memory)
    }

    /// The same of a queue that had so many chains before, if its ring is split.
    pub(crate) fn start_queue_after<'a>(
        &'a mut self,
        before: u16,
        index: u32,
        size: u16,
        memory: &'a mut Memory,
    ) -> W::Output<'a, Result<Queue, CallError>> {
        W::run(self.start_new(before, index, size, memory))
    }

    pub(super) async fn start_new(
        &mut self,
        before: u16,
        index: u32,
        size: u16,
        memory: &mut Memory,
    ) -> Result<Queue, CallError> {
        let queue = self.lay_out(before, index, size, memory)?;
        let base = match queue.anchor.used {
            Used::Packed(_) => packed::Base::START.bits(),
            Used::Split(_) => before.into(),
        };
        self.attach(&queue.anchor(), base).await?;
        Ok(queue)
    }

    /// A queue that the back-end has not heard of.
    pub(crate) fn lay_out(
        &self,
        before: u16,
        index: u32,
        size: u16,
        memory: &mut Memory,
    ) -> Result<Queue, CallError> {
        let negotiated = self.negotiated().features;
        let options = negotiated.options();
        let is_packed = negotiated.contains(Features::RING_PACKED);
        let bytes = if is_packed { PackedMemory::bytes(size) } else { SplitMemory::bytes(size) };
        // Behind an IOMMU, and where the driver's addresses are everybody's, rings have those too.
        let is_drivers = negotiated.contains(Features::ACCESS_PLATFORM) || self.names() == Names::Drivers;
        let whole = memory.region();
        let to_named = if is_drivers { whole.address.wrapping_sub(whole.memory.host_address()) } else { 0 };
        let mut part = |bytes, alignment| memory.part(bytes, alignment).ok_or(CallError::Memory);
        // Each part has cache lines of its own: the sides write different ones.
        let [table, driver, device] = [part(bytes[0], 64)?, part(bytes[1], 64)?, part(bytes[2], 64)?];
        let [descriptors, available, used] =
            [&table, &driver, &device].map(|it| it.host_address().wrapping_add(to_named));
        let entries = if is_packed { Used::Packed(table.clone()) } else { Used::Split(device.clone()) };
        let ring = if is_packed {
            Driver::Packed(packed::Driver::new(PackedMemory::new(size, table, driver, device)?, options))
        } else {
            let cells = SplitMemory::new(size, table, driver, device)?;
            Driver::Split(split::Driver::resumed(cells, options, before))
        };
        let ring = if options.indirect {
            let tables = part(Tables::bytes(size, TABLE), 64)?;
            let address = memory.address_of(&tables);
            ring.with_tables(Tables::new(tables, address, size, TABLE).ok_or(CallError::Memory)?)
        } else {
            ring
        };
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let counter = || eventfd(0, flags).map_err(io::Error::from);
        let (kick, call, error) = (counter()?, counter()?, counter()?);
        let calls = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        epoll::add(
            &calls,
            &call,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN | epoll::EventFlags::ET,
        )
        .map_err(io::Error::from)?;

        epoll::add(
            &calls,
            self.socket.canceller(),
            epoll::EventData::new_u64(CANCELLED),
            epoll::EventFlags::IN,
        )
        .map_err(io::Error::from)?;
        epoll::add(&calls, &error, epoll::EventData::new_u64(BROKEN), epoll::EventFlags::IN)
            .map_err(io::Error::from)?;

        let address = VringAddress { index, flags: 0, descriptors, used, available, log: 0 };
        let anchor = Anchor { address, size, kick, call, error, used: entries };
        Ok(Queue {
            ring,
            anchor: Arc::new(anchor),
            calls,
            #[cfg(feature = "tokio")]
            reactor: None,
            polling: Polling::new(polling::MOST, clock::monotonic),
            is_called: true,
        })
    }

    /// Starts a queue that is there already, in this session, from `base` on: after a reconnection, where an inflight region that the
    /// back-end was given says what it left; or after a stop.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn attach_queue(&mut self, queue: &Queue, base: u32) -> W::Output<'_, Result<(), CallError>> {
        let anchor = queue.anchor();
        W::run(async move { self.attach(&anchor, base).await })
    }

    pub(super) async fn attach(&mut self, queue: &Anchor, base: u32) -> Result<(), CallError> {
        self.place(queue, base).await?;
        self.set_going(queue).await
    }

    /// Starts a queue of which everything else was told.
    pub(super) async fn set_going(&mut self, queue: &Anchor) -> Result<(), CallError> {
        let VringAddress { index, .. } = queue.address;
        self.ask(&Request::SetVringKick(index.into()), &[queue.kick.as_fd()]).await?;
        if self.negotiated().features.contains(Features::PROTOCOL_FEATURES) {
            self.ask(&Request::SetVringEnable(VringState { index, num: 1 }), &[]).await?;
            // Without an acknowledgement only an answer to something later tells that it is enabled. rust-vmm's framework forgets a kick
            // that comes before (vhost-user-backend 0.10).
            if !self.negotiated().protocol.contains(ProtocolFeatures::REPLY_ACK) {
                self.number(&Request::GetFeatures).await?;
            }
        }
        // Back-ends that wait for a first kick are woken (the rule was withdrawn, and is still kept by some); and who comes back may have
        // missed one.
        Ok(ring(&queue.kick)?)
    }

    /// Tells everything of a queue but its kick, with which it starts.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn place_queue(&mut self, queue: &Queue, base: u32) -> W::Output<'_, Result<(), CallError>> {
        let anchor = queue.anchor();
        W::run(async move { self.place(&anchor, base).await })
    }

    async fn place(&mut self, queue: &Anchor, base: u32) -> Result<(), CallError> {
        self.size(queue, base).await?;
        self.locate(queue).await
    }

    /// Tells how long a queue is, and where it goes on.
    pub(super) async fn size(&mut self, queue: &Anchor, base: u32) -> Result<(), CallError> {
        let VringAddress { index, .. } = queue.address;
        if index > 0xff {
            return Err(CallError::Queue { index });
        }
        self.ask(&Request::SetVringNum(VringState { index, num: queue.size.into() }), &[]).await?;
        self.ask(&Request::SetVringBase(VringState { index, num: base }), &[]).await.map(drop)
    }

    /// Tells where a queue lies, and where the driver hears of it.
    pub(super) async fn locate(&mut self, queue: &Anchor) -> Result<(), CallError> {
        let VringAddress { index, .. } = queue.address;
        self.ask(&Request::SetVringAddr(queue.address), &[]).await?;
        // Before the back-end may find something else.
        queue.mended()?;
        self.ask(&Request::SetVringErr(index.into()), &[queue.error.as_fd()]).await?;
        self.ask(&Request::SetVringCall(index.into()), &[queue.call.as_fd()]).await.map(drop)
    }

    /// Lets a queue be processed.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn enable_queue(&mut self, index: u32) -> W::Output<'_, Result<(), CallError>> {
        self.done(Request::SetVringEnable(VringState { index, num: 1 }))
    }

    /// Lets it not be processed, until it is enabled again.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn disable_queue(&mut self, index: u32) -> W::Output<'_, Result<(), CallError>> {
        self.done(Request::SetVringEnable(VringState { index, num: 0 }))
    }

    /// From now on the back-end writes down in the dirty log also what it writes of the queue itself: used entries, and what it asks for. Where there
    /// is a log ([`FrontEnd::set_log`]) and `LOG_ALL` is set, a migration needs it of every queue.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn log_queue(&mut self, queue: &Queue) -> W::Output<'_, Result<(), CallError>> {
        const LOGGED: u32 = 1;
        let address = queue.address();
        // The log is by the driver's addresses.
        let to_drivers = self.regions.iter().find_map(|(region, _)| {
            let offset = address.used.checked_sub(region.user_address).filter(|it| *it < region.size)?;
            Some(region.guest_address + offset)
        });
        let log = to_drivers.unwrap_or(address.used);
        self.done(Request::SetVringAddr(VringAddress { flags: LOGGED, log, ..address }))
    }

    /// It does no longer.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn stop_logging_queue(&mut self, queue: &Queue) -> W::Output<'_, Result<(), CallError>> {
        self.done(Request::SetVringAddr(queue.address()))
    }

    /// Stops a queue when the back-end has given back everything, and says where it stopped, as the ring's base.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn stop_queue(&mut self, index: u32) -> W::Output<'_, Result<u32, CallError>> {
        W::run(async move {
            let answer = self.ask(&Request::GetVringBase(VringState { index, num: 0 }), &[]).await?;
            match answer.map(|answer| answer.reply) {
                Some(Reply::VringState(state)) => Ok(state.num),
                _ => Err(CallError::Broken),
            }
        })
    }
}

//! The protocol as a value: a message in, an answer out.

use super::channel::Channel;
use super::guest::Guest;
use super::inflight::{self, Inflight};
use super::iotlb::Iotlb;
use super::log::Log;
use super::memory::{self, Memory};
use super::postcopy::Postcopy;
use super::ring::{Bell, Ring, Start};
use super::transfer::Transfer;
use super::{Device, Failure, SessionError, Writer};
use crate::framing::Raw;
use crate::front::Request;
use crate::payload::{Config, DeviceState, VringState};
use crate::session::{Acknowledges, Answering, Negotiated, Question, Violation, Wants};
use crate::socket::Canceller;
use crate::wire::{Message as _, Reply};
use crate::{ProtocolFeatures, clock};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use virtio::features::Features;

/// An answer: its bytes and its descriptors.
pub type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// What a session's epoll says of the channel, and of the device's sources from here on; rings are there by their number.
pub(super) const CHANNEL: u64 = u64::MAX - 2;
pub(super) const SOURCES: u64 = 1 << 32;

/// What a request of its own answers.
type Done = Option<(Reply, Vec<OwnedFd>)>;

/// A front-end's session with a device, which is as new at its beginning.
pub struct Session<'d, D> {
    pub(super) device: &'d mut D,
    pub(super) answering: Answering<Request>,
    pub(super) negotiated: Negotiated,
    pub(super) memory: Memory,
    pub(super) rings: Vec<Ring>,
    pub(super) log: Option<Log>,
    /// Where the front-end would be told that the log has changed. It looks by itself; what it gave is only kept.
    log_call: Option<OwnedFd>,
    pub(super) inflight: Option<Inflight>,
    pub(super) channel: Option<Channel>,
    /// The virtio status, as the front-end tells it.
    status: u64,
    transfer: Option<Transfer>,
    pub(super) postcopy: Option<Postcopy>,
    /// Tells of kicks, by the number of their ring, and of what [`serve`](super::serve()) adds.
    pub(super) epoll: OwnedFd,
    pub(super) canceller: Canceller,
    /// How long what a device serves beyond a turn may take once its ring is to stop.
    pub(super) drain: Duration,
}

/// As long as a message may take.
const DRAIN: Duration = Duration::from_secs(10);

/// Features of every session beside the device's own.
const RINGS: Features = Features::INDIRECT_DESC
    .union(Features::EVENT_IDX)
    .union(Features::PROTOCOL_FEATURES)
    .union(Features::VERSION_1)
    .union(Features::RING_PACKED)
    .union(Features::IN_ORDER)
    .union(Features::ACCESS_PLATFORM)
    .union(Features::LOG_ALL);
const PROTOCOL: ProtocolFeatures = ProtocolFeatures::MQ
    .union(ProtocolFeatures::LOG_SHMFD)
    .union(ProtocolFeatures::REPLY_ACK)
    .union(ProtocolFeatures::BACKEND_REQ)
    .union(ProtocolFeatures::BACKEND_SEND_FD)
    .union(ProtocolFeatures::GPA_ADDRESSES)
    // A device gives back what it keeps when its ring stops, and nothing has to be waited for.
    .union(ProtocolFeatures::GET_VRING_BASE_INFLIGHT)
    .union(ProtocolFeatures::GET_VRING_BASE_SKIP_DRAIN)
    .union(ProtocolFeatures::CONFIG)
    .union(ProtocolFeatures::INFLIGHT_SHMFD)
    .union(ProtocolFeatures::RESET_DEVICE)
    .union(ProtocolFeatures::INBAND_NOTIFICATIONS)
    .union(ProtocolFeatures::CONFIGURE_MEM_SLOTS)
    .union(ProtocolFeatures::STATUS);

impl<'d, D: Device> Session<'d, D> {
    /// A session that begins. `canceller` ends its waits, those on the back-end's own channel among them.
    ///
    /// # Errors
    /// That of the system call.
    pub fn new(device: &'d mut D, canceller: Canceller) -> io::Result<Self> {
        device.reset();
        let rings = (0..device.queues()).map(|_| Ring::default()).collect();
        let mut session = Self {
            device,
            answering: Answering::default(),
            negotiated: Negotiated::default(),
            memory: Memory::default(),
            rings,
            log: None,
            log_call: None,
            inflight: None,
            channel: None,
            status: 0,
            transfer: None,
            postcopy: None,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            canceller,
            drain: DRAIN,
        };
        session.negotiated.offered = session.offered();
        for (source, of) in session.device.sources().into_iter().zip(SOURCES..) {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&session.epoll, source, epoll::EventData::new_u64(of), flags)?;
        }
        Ok(session)
    }

    /// What was negotiated.
    pub const fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    fn offered(&self) -> Features {
        self.device.features() | RINGS
    }

    fn protocol(&self) -> ProtocolFeatures {
        let all = self.device.protocol() | PROTOCOL;
        // Who can be migrated by postcopy has its memory as a table.
        if all.contains(ProtocolFeatures::PAGEFAULT) {
            return all.difference(ProtocolFeatures::CONFIGURE_MEM_SLOTS);
        }
        all
    }

    pub(super) fn is_packed(&self) -> bool {
        self.negotiated.features.contains(Features::RING_PACKED)
    }

    /// Does what a message asks for, and gives the answer if there is one.
    ///
    /// # Errors
    /// [`SessionError`]: the session is over.
    pub fn handle(&mut self, message: Raw) -> Result<Option<Outgoing>, SessionError> {
        let acknowledges = Acknowledges::from(self.negotiated.protocol);
        let number = message.header.request;
        // Requests that have an answer are not acknowledged beside it.
        let is_acknowledged = message.header.need_reply
            && acknowledges == Acknowledges::Yes
            && !message.header.reply
            && Request::facts_of(number).is_none_or(|facts| facts.reply.is_none());
        let Question { request, descriptors, wants } = match self.answering.asked(message, acknowledges) {
            Ok(question) => question,
            // The message was read whole, so the next can be; who asked for an answer learns that it failed.
            Err(Violation::Payload { .. } | Violation::Descriptors { .. }) if is_acknowledged => {
                return Ok(Some((self.answering.answer(number, &Reply::U64(1)), Vec::new())));
            }
            Err(violation) => return Err(violation.into()),
        };
        let facts = request.facts();
        if let Request::SetMemTable(table) = &request
            && self.postcopy.as_ref().is_some_and(Postcopy::listens)
        {
            return self.postcopy_table(table, descriptors);
        }
        let done = if self.negotiated.allows(facts.gate) {
            self.request(request, descriptors)
        } else {
            Err(Failure::NotNegotiated(facts.name))
        };
        let answer =
            |reply: &Reply, descriptors| Some((self.answering.answer(facts.number, reply), descriptors));
        match (done, wants) {
            (Ok(Some((reply, descriptors))), Wants::Answer) => Ok(answer(&reply, descriptors)),
            (Ok(_), Wants::Acknowledgement) => Ok(answer(&Reply::U64(0), Vec::new())),
            (Err(_), Wants::Acknowledgement) => Ok(answer(&Reply::U64(1), Vec::new())),
            (Ok(_), _) => Ok(None),
            (Err(failure), _) => Err(SessionError::Failed { request: facts.name, failure }),
        }
    }

    fn request(&mut self, request: Request, mut descriptors: Vec<OwnedFd>) -> Result<Done, Failure> {
        let number = |number: u64| Ok(Some((Reply::U64(number), Vec::new())));
        match request {
            Request::GetFeatures => return number(self.offered().bits()),
            Request::SetFeatures(bits) => self.set_features(Features::from_bits_retain(bits))?,
            Request::SetOwner | Request::ResetOwner => {}
            Request::GetProtocolFeatures => return number(self.protocol().bits()),
            Request::SetProtocolFeatures(bits) => self.set_protocol(bits)?,
            Request::GetQueueNum => return number(self.device.queues().into()),

            Request::SetMemTable(table) => {
                table.regions.iter().try_for_each(|region| self.may_have(region))?;
                let memory = Memory::of(&table.regions, descriptors)?;
                self.give_back()?;
                self.memory = memory.with(self.memory.iotlb.take());
                self.move_rings();
            }
            Request::GetMaxMemSlots => return number(memory::MOST as u64),
            Request::AddMemReg(region) => {
                let region = memory::region(&region);
                self.may_have(&region)?;
                let descriptor = descriptors.pop();
                // QEMU 7.2 says it once for each pair of a network.
                if !self.memory.has(&region, descriptor.as_ref()) {
                    self.memory.add(region, descriptor)?;
                }
                // Those that run have all that they need.
                self.start_rings();
            }
            Request::RemMemReg(region) => {
                self.give_back()?;
                self.memory.remove(memory::region(&region))?;
                self.move_rings();
            }
            Request::SetLogBase(log) => {
                let descriptor = descriptors.pop().ok_or(Failure::Value { what: "descriptors", value: 0 })?;
                let log = Log::new(log.size, log.offset, &descriptor);
                self.log = Some(log.map_err(|error| Failure::Descriptor { what: "log", error })?);
                return number(0);
            }
            Request::SetLogFd => self.log_call = descriptors.pop(),

            Request::SetVringNum(VringState { index, num }) => {
                let size = u16::try_from(num).ok().filter(|size| *size > 0 && *size <= 1 << 15);
                self.ring(index.into())?.size =
                    size.ok_or(Failure::Value { what: "ring size", value: num.into() })?;
            }
            Request::SetVringAddr(address) => self.ring(address.index.into())?.address = Some(address),
            Request::SetVringBase(VringState { index, num }) => {
                // An index of 16 bits, or two places of a packed ring.
                if num > 0xffff && !self.is_packed() {
                    return Err(Failure::Value { what: "ring base", value: num.into() });
                }
                // DPDK's virtio-user tells one place of a packed ring: where nothing is in flight the other is the same.
                let num = if self.is_packed() && num <= 0xffff { num | num << 16 } else { num };
                self.ring(index.into())?.base = Some(num);
            }
            Request::GetVringBase(VringState { index, .. }) => {
                self.ring(index.into())?;
                self.finish(index as u16)?;
                return Ok(Some((self.stop(index)?, Vec::new())));
            }
            // What is in flight is left to the region that remembers it.
            Request::GetVringBaseSkipDrain(VringState { index, .. }) => {
                return Ok(Some((self.stop(index)?, Vec::new())));
            }
            Request::SetVringKick(which) => self.start(which, descriptors)?,
            Request::SetVringCall(which) => {
                let (index, call) = descriptor_of(which, descriptors)?;
                self.ring(index)?.set_call(call.map(Bell::new));
            }
            Request::SetVringErr(which) => {
                let (index, error) = descriptor_of(which, descriptors)?;
                self.ring(index)?.error = error.map(Bell::new);
            }
            Request::SetVringEnable(VringState { index, num }) => {
                let enabled = match num {
                    0 => false,
                    1 => true,
                    other => return Err(Failure::Value { what: "enable", value: other.into() }),
                };
                let ring = self.ring(index.into())?;
                (ring.enabled, ring.due) = (enabled, true);
            }
            Request::VringKick(VringState { index, .. }) => {
                // Where kicks are messages, the first of them starts the ring.
                if !self.ring(index.into())?.is_started() {
                    self.start(u64::from(index) | 1 << 8, Vec::new())?;
                    // Without a descriptor it would be looked at all the time, as SET_VRING_KICK asks for it.
                    self.ring(index.into())?.is_told();
                }
                self.ring(index.into())?.due = true;
            }

            Request::GetConfig(asked) => return Ok(Some((self.config(&asked), Vec::new()))),
            Request::SetConfig(config) => self.set_config(&config)?,
            Request::SetBackendReqFd => {
                let descriptor = descriptors.pop().ok_or(Failure::Value { what: "descriptors", value: 0 })?;
                self.open_channel(descriptor)
                    .map_err(|error| Failure::Descriptor { what: "channel", error })?;
            }
            Request::GetInflightFd(asked) => {
                let failed = |error| Failure::Descriptor { what: "inflight region", error };
                let (queues, size) = (asked.queues, asked.queue_size);
                if queues == 0 || queues > self.device.queues() || size == 0 || size > 1 << 15 {
                    return Err(Failure::Value {
                        what: "queues of an inflight region",
                        value: queues.into(),
                    });
                }
                let (said, descriptor) = inflight::create(queues, size, self.is_packed()).map_err(failed)?;
                return Ok(Some((Reply::Inflight(said), vec![descriptor])));
            }
            Request::SetInflightFd(said) => {
                let descriptor = descriptors.pop().ok_or(Failure::Value { what: "descriptors", value: 0 })?;
                let inflight = Inflight::new(&said, &descriptor);
                let failed = |error| Failure::Descriptor { what: "inflight region", error };
                self.inflight = Some(inflight.map_err(failed)?);
            }

            Request::IotlbMsg(entry) => return number(u64::from(!self.translation(&entry)?)),
            Request::PostcopyAdvise => {
                let failed = |error| Failure::Descriptor { what: "userfaultfd", error };
                let (postcopy, theirs) = Postcopy::new().map_err(failed)?;
                self.postcopy = Some(postcopy);
                return Ok(Some((Reply::None, vec![theirs])));
            }
            Request::PostcopyListen => {
                let has_memory = self.memory.places().next().is_some();
                let postcopy = self.postcopy.as_mut().filter(|_| !has_memory);
                postcopy.ok_or(Failure::NotNegotiated("POSTCOPY_ADVISE without memory"))?.listen();
            }
            Request::PostcopyEnd => return number(u64::from(self.postcopy.take().is_none())),

            Request::SetStatus(status) => {
                self.status = status;
                // Its rings are stopped by requests of their own, which come later, and want to know where they were.
                if status == 0 {
                    self.reset_device()?;
                }
            }
            Request::GetStatus => return number(self.status),
            Request::ResetDevice => {
                self.reset_device()?;
                for ring in &mut self.rings {
                    ring.reset(&self.epoll, self.log.as_ref());
                }
                if let Some(inflight) = &self.inflight {
                    inflight.forget();
                }
                self.status = 0;
            }
            Request::SetDeviceStateFd(how) => return number(self.transfer(how, descriptors.pop())?),
            Request::CheckDeviceState => {
                let finished = self.transfer.take().map(|it| it.finished(&self.canceller));
                let loaded = match finished {
                    Some(Ok(Some(state))) => self.device.load(&state).is_ok(),
                    Some(Ok(None)) => true,
                    Some(Err(_)) | None => false,
                };
                return number(u64::from(!loaded));
            }
            other => {
                let (reply, descriptors) = self.device.request(&other, descriptors)?;
                return Ok(Some((reply, descriptors)));
            }
        }
        Ok(None)
    }

    fn set_features(&mut self, features: Features) -> Result<(), Failure> {
        if !self.offered().contains(features) {
            let value = features.difference(self.offered()).bits();
            return Err(Failure::Value { what: "features", value });
        }
        self.negotiated.features = features;
        if !features.contains(Features::ACCESS_PLATFORM) {
            self.memory.iotlb = None;
        } else if self.memory.iotlb.is_none() {
            self.memory.iotlb = Some(Iotlb::default());
        }
        self.tell_channel();
        self.device.negotiated(features);
        Ok(())
    }

    /// What may be sent on the channel, which may have come before the features.
    fn tell_channel(&mut self) {
        if let Some(channel) = &mut self.channel {
            channel.asking.negotiated = self.negotiated;
        }
    }

    fn set_protocol(&mut self, bits: u64) -> Result<(), Failure> {
        let offered = self.protocol();
        let set = ProtocolFeatures::from_bits(bits).filter(|set| offered.contains(*set));
        let set = set.filter(|set| set.contradiction().is_none());
        self.negotiated.protocol = set.ok_or(Failure::Value { what: "protocol features", value: bits })?;
        self.tell_channel();
        Ok(())
    }

    /// As many bytes as were asked for; an answer without a payload where they are not all there.
    fn config(&self, asked: &Config) -> Reply {
        let Config { offset, size, .. } = *asked;
        let part = self.device.config().get(offset as usize..).and_then(|rest| rest.get(..size as usize));
        part.map_or(Reply::None, |part| {
            Reply::Config(Config { offset, size, flags: 0, bytes: part.to_vec() })
        })
    }

    fn set_config(&mut self, config: &Config) -> Result<(), Failure> {
        let wrong = |what, value: u32| Failure::Value { what, value: value.into() };
        let writer = match config.flags {
            0 => Writer::Driver,
            1 => Writer::Migration,
            other => return Err(wrong("flags of a write to configuration space", other)),
        };
        let (offset, length) = (config.offset as usize, config.bytes.len());
        let is_there = self.device.config().get(offset..).is_some_and(|rest| rest.len() >= length);
        if !is_there || config.size as usize != length {
            return Err(wrong("configuration space", config.offset));
        }
        self.device.set_config(offset, &config.bytes, writer)
    }

    fn ring(&mut self, index: u64) -> Result<&mut Ring, Failure> {
        let queues = self.device.queues();
        let ring = usize::try_from(index).ok().and_then(|index| self.rings.get_mut(index));
        ring.ok_or(Failure::Queue { index, queues })
    }

    /// A kick comes, and with it the ring starts.
    fn start(&mut self, which: u64, descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
        let (index, kick) = descriptor_of(which, descriptors)?;
        let enables = !self.negotiated.features.contains(Features::PROTOCOL_FEATURES);
        self.ring(index)?;
        let Self { rings, memory, negotiated, inflight, epoll, .. } = self;
        let from = Start { memory, features: negotiated.features, inflight: inflight.as_ref() };
        // What `descriptor_of` gives has eight bits.
        let (index, Some(ring)) = (index as u16, rings.get_mut(index as usize)) else { return Ok(()) };
        let was_mapped = ring.is_mapped();
        ring.start(index, &from)?;
        if let Err(failure) = ring.set_kick(epoll, index, kick) {
            // Refused is refused: it does not run either.
            if !was_mapped {
                ring.pause(self.log.as_ref());
            }
            return Err(failure);
        }
        // Without protocol features there is no request that enables a ring.
        ring.enabled |= enables;
        ring.due = true;
        self.tell_miss();
        Ok(())
    }

    /// Stops a ring when the device has given back all that it keeps of it, and says where.
    fn stop(&mut self, index: u32) -> Result<Reply, Failure> {
        self.ring(index.into())?;
        let is_packed = self.is_packed();
        self.stopping(index as u16)?;
        let Self { rings, epoll, log, .. } = self;
        let num = rings.get_mut(index as usize).map_or(0, |ring| ring.stop(epoll, log.as_ref(), is_packed));
        if let Some(inflight) = &self.inflight {
            inflight.settled(index as u16, is_packed);
        }
        Ok(Reply::VringState(VringState { index, num }))
    }

    /// What a back-end before had in flight is done before a ring stops: the base that is told lies behind it, and whoever goes on there need
    /// not have the region that remembers it.
    fn finish(&mut self, index: u16) -> Result<(), Failure> {
        let place = usize::from(index);
        let left = |rings: &[Ring]| rings.get(place).map_or(0, Ring::left_again);
        while left(&self.rings) > 0 {
            let Self { device, rings, memory, log, channel, .. } = self;
            let before = left(rings);
            rings.iter_mut().for_each(Ring::only_again);
            let mut guest = Guest::new(rings, memory, log.as_ref(), channel.as_mut()).draining(index);
            device.run(index, &mut guest);
            guest.over();
            rings.iter_mut().for_each(Ring::all_again);
            if left(rings) < before {
                continue;
            }
            // Who has its hands full takes more when something has ended.
            if rings.get(place).is_some_and(Ring::has_deferred) {
                self.drained(index)?;
                continue;
            }
            if memory.iotlb.is_some() {
                let why = "it has requests that wait for the IOMMU".to_owned();
                return Err(Failure::Ring { index, why });
            }
            // Such as buffers for frames that have not come.
            rings.iter_mut().skip(place).take(1).for_each(Ring::give_up_again);
        }
        Ok(())
    }

    /// The device gives back what it keeps of a queue, and what it serves beyond a turn has ended.
    pub(super) fn stopping(&mut self, index: u16) -> Result<(), Failure> {
        let Self { device, rings, memory, log, channel, .. } = self;
        let mut guest = Guest::new(rings, memory, log.as_ref(), channel.as_mut());
        device.stopping(index, &mut guest);
        guest.over();
        self.drained(index)
    }

    /// Waits until nothing of a queue is served beyond its turn.
    fn drained(&mut self, index: u16) -> Result<(), Failure> {
        let place = usize::from(index);
        let has_some = |rings: &[Ring]| rings.get(place).is_some_and(Ring::has_deferred);
        if !has_some(&self.rings) {
            return Ok(());
        }
        let begin = clock::monotonic();
        // A driver that goes on would keep it from ending.
        self.rings.iter_mut().skip(place).take(1).for_each(Ring::only_again);
        let mut drained = Ok(());
        while drained.is_ok() && has_some(&self.rings) {
            let left = self.drain.saturating_sub(clock::monotonic().saturating_sub(begin));
            drained = self.ready(left, index);
        }
        self.rings.iter_mut().skip(place).take(1).for_each(Ring::all_again);
        drained
    }

    /// Waits for the device's sources alone, so long at most.
    fn ready(&mut self, time: Duration, index: u16) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::Descriptor { what: "device", error };
        let sources = self.device.sources();
        let mut all: Vec<_> = sources.iter().map(|it| PollFd::new(it, PollFlags::IN)).collect();
        all.push(PollFd::new(&self.canceller, PollFlags::IN));
        let time = Timespec::try_from(time).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        match poll(&mut all, Some(&time)) {
            Ok(0) => {
                let why = "its device has not finished what it has, and has had the time to".to_owned();
                return Err(Failure::Ring { index, why });
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let mut ready: Vec<_> = all.iter().map(|it| !it.revents().is_empty()).collect();
        if ready.pop() == Some(true) {
            return Err(Failure::Cancelled);
        }
        let Self { device, rings, memory, log, channel, .. } = self;
        for source in ready.iter().enumerate().filter_map(|(source, is_ready)| is_ready.then_some(source)) {
            let mut guest = Guest::new(rings, memory, log.as_ref(), channel.as_mut());
            device.ready(source, &mut guest);
            guest.over();
        }
        Ok(())
    }

    /// The same of all queues that it has: their memory is about to go, or the device forgets all that it has.
    fn give_back(&mut self) -> Result<(), Failure> {
        for index in 0..self.rings.len() {
            if self.rings.get(index).is_some_and(Ring::is_mapped) {
                self.stopping(index as u16)?;
            }
        }
        Ok(())
    }

    /// The device is as new, but for what was negotiated, which is the session's.
    fn reset_device(&mut self) -> Result<(), Failure> {
        self.give_back()?;
        self.device.reset();
        self.device.negotiated(self.negotiated.features);
        Ok(())
    }

    fn open_channel(&mut self, descriptor: OwnedFd) -> io::Result<()> {
        self.drop_channel();
        let channel = Channel::new(descriptor, self.negotiated, self.canceller.clone())?;
        let data = epoll::EventData::new_u64(CHANNEL);
        epoll::add(&self.epoll, &channel, data, epoll::EventFlags::IN)?;
        self.channel = Some(channel);
        Ok(())
    }

    pub(super) fn drop_channel(&mut self) {
        if let Some(channel) = self.channel.take() {
            let _ = epoll::delete(&self.epoll, &channel);
        }
    }

    /// The state of the device goes one way or the other. Answers 0x100: the front-end's own descriptor is used.
    fn transfer(&mut self, how: DeviceState, pipe: Option<OwnedFd>) -> Result<u64, Failure> {
        const NO_DESCRIPTOR: u64 = 1 << 8;
        const FAILED: u64 = 1;
        let pipe = pipe.ok_or(Failure::Value { what: "descriptors", value: 0 })?;
        let started = match (how.direction, how.phase) {
            // A device that runs on would not be what was saved.
            _ if self.rings.iter().any(Ring::is_started) => return Ok(FAILED | NO_DESCRIPTOR),
            (0, 0) => match self.device.save() {
                Ok(state) => Transfer::save(state, pipe),
                Err(_) => return Ok(FAILED | NO_DESCRIPTOR),
            },
            (1, 0) => Transfer::load(pipe),
            _ => return Ok(FAILED | NO_DESCRIPTOR),
        };
        self.transfer = Some(started.map_err(|error| Failure::State { error })?);
        Ok(NO_DESCRIPTOR)
    }
}

impl<D> AsFd for Session<'_, D> {
    /// Readable when there is something for [`Session::turn`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl<D> Drop for Session<'_, D> {
    /// Whoever serves the rings next finds drivers that kick.
    fn drop(&mut self) {
        let Self { rings, log, .. } = self;
        rings.iter_mut().for_each(|ring| ring.pause(log.as_ref()));
    }
}

/// Requests that bring an eventfd for a ring, or say in bit 8 that there is none.
fn descriptor_of(which: u64, mut descriptors: Vec<OwnedFd>) -> Result<(u64, Option<OwnedFd>), Failure> {
    const NONE: u64 = 1 << 8;
    let descriptor = descriptors.pop();
    if descriptor.is_some() == (which & NONE != 0) || which & !(NONE | 0xff) != 0 {
        return Err(Failure::Value { what: "ring and descriptor", value: which });
    }
    Ok((which & 0xff, descriptor))
}

//! The back-end: it serves a device whose memory and rings the front-end gives it.
//!
//! ```text
//!   socket --Raw--> Session::handle --> answer         kick --> Session::kicked --> Device::handle
//!                     |  memory, rings                                 |
//!                     '-- Changed: rings start and stop                '-- call
//! ```
//!
//! [`Session`] is the protocol as a value; [`serve`](Session::serve) runs one over a socket until the front-end leaves. What a device is, is a
//! [`Device`].

mod memory;
mod ring;
mod serve;

pub use serve::ServeError;

use crate::ProtocolFeatures;
use crate::framing::Raw;
use crate::front::Request;
use crate::payload::{Config, VringState};
use crate::session::{Answering, Negotiated, Question, Violation, Wants};
use crate::wire::{Message as _, Reply};
use memory::Memory;
use ring::Ring;
use std::os::fd::OwnedFd;
use thiserror::Error;
use virtio::Chain;
use virtio::features::Features;

/// A device. Everything else, from memory to notifications, is the session's.
pub trait Device {
    /// Features of its type. Those of rings and of vhost-user are added.
    fn features(&self) -> Features;
    /// How many queues it has, at least 1.
    fn queues(&self) -> u16;
    /// Configuration space, all of it.
    fn config(&self) -> &[u8] {
        &[]
    }
    /// The driver writes configuration space, within what [`Device::config`] gives; `false`: it must not.
    fn set_config(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let _ = (offset, bytes);
        false
    }
    /// What the front-end and the device use; called before any chain comes.
    fn negotiated(&mut self, features: Features) {
        let _ = features;
    }
    /// Does what a chain of a queue asks for, and says how many bytes it wrote of it, from the first on.
    fn handle(&mut self, queue: u16, chain: &Chain<'_>) -> u32;
    /// Everything is as it was when the device began.
    fn reset(&mut self) {}
}

/// Why a request failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// There is no such queue.
    #[error("queue {index} of {queues}")]
    Queue {
        /// The queue.
        index: u64,
        /// How many there are.
        queues: u16,
    },
    /// A value that cannot be.
    #[error("{what}: {value:#x}")]
    Value {
        /// Which.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// A ring without its parts, or with parts that are no memory.
    #[error("ring {index} cannot start: {why}")]
    Ring {
        /// The ring.
        index: u32,
        /// Why.
        why: String,
    },
    /// Memory that cannot be had.
    #[error("memory at {address:#x}: {why}")]
    Memory {
        /// Its first byte, in the driver's addresses.
        address: u64,
        /// Why.
        why: String,
    },
    /// A request of the specification that this back-end has no use for.
    #[error("{0} is not served")]
    NotServed(&'static str),
}

/// Why a session ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// What came was no request.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// A request failed that nobody waits for: the front-end would go on as if it had not.
    #[error("{request}: {failure}")]
    Failed {
        /// The request.
        request: &'static str,
        /// Why.
        failure: Failure,
    },
}

/// An answer: its bytes and its descriptors.
pub type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// A front-end's session with a device.
pub struct Session<D> {
    device: D,
    answering: Answering<Request>,
    negotiated: Negotiated,
    memory: Memory,
    rings: Vec<Ring>,
}

impl<D: Device> Session<D> {
    /// What every session offers beside the device's own.
    const RINGS: Features = Features::INDIRECT_DESC
        .union(Features::EVENT_IDX)
        .union(Features::PROTOCOL_FEATURES)
        .union(Features::VERSION_1)
        .union(Features::RING_PACKED)
        .union(Features::IN_ORDER);
    const PROTOCOL: ProtocolFeatures = ProtocolFeatures::MQ
        .union(ProtocolFeatures::REPLY_ACK)
        .union(ProtocolFeatures::CONFIG)
        .union(ProtocolFeatures::RESET_DEVICE)
        .union(ProtocolFeatures::CONFIGURE_MEM_SLOTS);

    /// A session that begins.
    pub fn new(device: D) -> Self {
        let rings = (0..device.queues()).map(|_| Ring::default()).collect();
        Self {
            device,
            answering: Answering::default(),
            negotiated: Negotiated::default(),
            memory: Memory::default(),
            rings,
        }
    }

    /// The device, when the session is over.
    pub fn into_device(self) -> D {
        self.device
    }

    fn offered(&self) -> Features {
        self.device.features() | Self::RINGS
    }

    /// Does what a message asks for, and gives the answer if there is one.
    ///
    /// # Errors
    /// [`SessionError`]: the session is over.
    pub fn handle(&mut self, message: Raw) -> Result<Option<Outgoing>, SessionError> {
        let acknowledges = self.negotiated.protocol.contains(ProtocolFeatures::REPLY_ACK);
        let asked_to = message.header.need_reply && acknowledges && !message.header.reply;
        let number = message.header.request;
        let Question { request, descriptors, wants } = match self.answering.asked(message, acknowledges) {
            Ok(question) => question,
            // The message was read whole, so the next can be; who asked for an answer learns that it failed.
            Err(Violation::Payload { .. } | Violation::Descriptors { .. }) if asked_to => {
                return Ok(Some((self.answering.answer(number, &Reply::U64(1)), Vec::new())));
            }
            Err(violation) => return Err(violation.into()),
        };
        let facts = request.facts();
        let done = self.request(request, descriptors);
        let answer = |reply: &Reply| Some((self.answering.answer(facts.number, reply), Vec::new()));
        match (done, wants) {
            (Ok(Some(reply)), _) => Ok(answer(&reply)),
            (Ok(None), Wants::Acknowledgement) => Ok(answer(&Reply::U64(0))),
            (Err(_), Wants::Acknowledgement) => Ok(answer(&Reply::U64(1))),
            (Ok(None), _) => Ok(None),
            (Err(failure), _) => Err(SessionError::Failed { request: facts.name, failure }),
        }
    }

    /// The answer is that of requests which have one of their own.
    fn request(&mut self, request: Request, mut descriptors: Vec<OwnedFd>) -> Result<Option<Reply>, Failure> {
        match request {
            Request::GetFeatures => return Ok(Some(Reply::U64(self.offered().bits()))),
            Request::SetFeatures(bits) => self.set_features(Features::from_bits_retain(bits))?,
            Request::SetOwner | Request::ResetOwner => {}
            Request::GetProtocolFeatures => return Ok(Some(Reply::U64(Self::PROTOCOL.bits()))),
            Request::SetProtocolFeatures(bits) => {
                let set = ProtocolFeatures::from_bits(bits).filter(|set| Self::PROTOCOL.contains(*set));
                self.negotiated.protocol =
                    set.ok_or(Failure::Value { what: "protocol features", value: bits })?;
            }
            Request::GetQueueNum => return Ok(Some(Reply::U64(self.device.queues().into()))),
            Request::SetMemTable(table) => {
                self.memory = Memory::of(&table.regions, descriptors)?;
                self.move_rings();
            }
            Request::GetMaxMemSlots => return Ok(Some(Reply::U64(memory::MOST as u64))),
            Request::AddMemReg(region) => {
                let descriptor = descriptors.pop();
                self.memory.add(memory::region(&region), descriptor)?;
                self.move_rings();
            }
            Request::RemMemReg(region) => {
                self.memory.remove(memory::region(&region))?;
                self.move_rings();
            }
            Request::SetVringNum(VringState { index, num }) => {
                let ring = self.ring(index.into())?;
                ring.size = u16::try_from(num).ok().filter(|size| *size > 0 && *size <= 1 << 15).unwrap_or(0);
                if ring.size == 0 {
                    return Err(Failure::Value { what: "ring size", value: num.into() });
                }
            }
            Request::SetVringAddr(address) => self.ring(address.index.into())?.address = Some(address),
            Request::SetVringBase(VringState { index, num }) => self.ring(index.into())?.base = num,
            Request::GetVringBase(VringState { index, .. }) => {
                let num = self.ring(index.into())?.stop();
                return Ok(Some(Reply::VringState(VringState { index, num })));
            }
            Request::SetVringKick(number) => {
                let enabled = !self.negotiated.features.contains(Features::PROTOCOL_FEATURES);
                let index = self.with_descriptor(number, descriptors, |ring, kick| {
                    ring.started(kick);
                    // Without protocol features there is no request that enables a ring.
                    ring.enabled |= enabled;
                })?;
                self.start_ring(index)?;
            }
            Request::SetVringCall(number) => {
                self.with_descriptor(number, descriptors, |ring, call| ring.call = call)?;
            }
            Request::SetVringErr(number) => {
                self.with_descriptor(number, descriptors, |ring, error| ring.error = error)?;
            }
            Request::SetVringEnable(VringState { index, num }) => {
                self.ring(index.into())?.enabled = match num {
                    0 => false,
                    1 => true,
                    other => return Err(Failure::Value { what: "enable", value: other.into() }),
                };
            }
            Request::GetConfig(asked) => return Ok(Some(self.config(&asked))),
            Request::SetConfig(config) => {
                let (offset, length) = (config.offset as usize, config.bytes.len());
                let there = self.device.config().get(offset..).is_some_and(|rest| rest.len() >= length);
                if !there || !self.device.set_config(offset, &config.bytes) {
                    return Err(Failure::Value { what: "configuration space", value: config.offset.into() });
                }
            }
            Request::ResetDevice => {
                for ring in &mut self.rings {
                    *ring = Ring::default();
                }
                self.device.reset();
            }
            other => return Err(Failure::NotServed(other.facts().name)),
        }
        Ok(None)
    }

    fn set_features(&mut self, features: Features) -> Result<(), Failure> {
        if !self.offered().contains(features) {
            let value = features.difference(self.offered()).bits();
            return Err(Failure::Value { what: "features", value });
        }
        self.negotiated.features = features;
        self.device.negotiated(features);
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

    fn ring(&mut self, index: u64) -> Result<&mut Ring, Failure> {
        let queues = self.device.queues();
        let ring = usize::try_from(index).ok().and_then(|index| self.rings.get_mut(index));
        ring.ok_or(Failure::Queue { index, queues })
    }

    /// Requests that bring an eventfd, or say in bit 8 that there is none.
    fn with_descriptor(
        &mut self,
        number: u64,
        mut descriptors: Vec<OwnedFd>,
        set: impl FnOnce(&mut Ring, Option<OwnedFd>),
    ) -> Result<u32, Failure> {
        const NONE: u64 = 1 << 8;
        let descriptor = descriptors.pop();
        if descriptor.is_some() == (number & NONE != 0) || number & !(NONE | 0xff) != 0 {
            return Err(Failure::Value { what: "ring and descriptor", value: number });
        }
        let index = number & 0xff;
        set(self.ring(index)?, descriptor);
        Ok(index as u32)
    }

    fn start_ring(&mut self, index: u32) -> Result<(), Failure> {
        let Self { rings, memory, negotiated, .. } = self;
        match rings.get_mut(index as usize) {
            Some(ring) => ring.start(index, memory, negotiated.features),
            None => Ok(()),
        }
    }

    /// What rings have of the memory before is not the memory that there is now. A ring whose memory is away goes on when it is back: front-ends
    /// take regions away and give them again while rings run.
    fn move_rings(&mut self) {
        let Self { rings, memory, negotiated, .. } = self;
        for (ring, index) in rings.iter_mut().zip(0..).filter(|(ring, _)| ring.is_started()) {
            ring.pause();
            let _ = ring.start(index, memory, negotiated.features);
        }
    }
}

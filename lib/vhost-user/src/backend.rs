//! The back-end: it serves a device whose memory and rings the front-end gives it.
//!
//! ```text
//!   socket --Raw--> Session::handle --> answer            kick, or a source of the device's --> Device::run, Device::ready
//!                     |                                                                              |
//!                     '-- memory, rings, log, inflight region  <------------- Guest ----------------'
//! ```
//!
//! [`Session`] is the protocol as a value; [`serve()`] and `serve_async` (with the feature `tokio`) run one over a socket until the front-end leaves. What a device is, is a [`Device`].

mod addresses;
mod channel;
mod guest;
mod inflight;
mod iotlb;
mod log;
mod memory;
mod postcopy;
mod ring;
mod serve;
mod session;
mod transfer;

pub use guest::{Deferred, Guest, Held, Kept};
#[cfg(feature = "tokio")]
pub use serve::serve_async;
pub use serve::{ServeError, serve, serve_polling};
pub use session::{Outgoing, Session};

use crate::front::Request;
use crate::session::{Answer, Violation};
use crate::{ProtocolFeatures, back};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use thiserror::Error;
use virtio::features::Features;

pub use crate::wire::Reply;

/// A device. Everything else, from memory to notifications, is the session's.
///
/// ```
/// use vhost_user::backend::{Device, Guest};
/// use virtio::features::Features;
///
/// /// Fills what it is given with the same byte.
/// struct Constant(u8);
///
/// impl Device for Constant {
///     fn features(&self) -> Features {
///         Features::empty()
///     }
///     fn queues(&self) -> u16 {
///         1
///     }
///     fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
///         guest.each(queue, |chain| {
///             chain.writable().iter().for_each(|piece| piece.fill(self.0));
///             chain.writable_bytes()
///         });
///     }
/// }
/// ```
pub trait Device {
    /// Features of its type. Those of rings and of vhost-user are added.
    fn features(&self) -> Features;
    /// How many queues it has, at least 1.
    fn queues(&self) -> u16;
    /// A queue may have chains. What it does not take stays there, and the next call comes with the next chain.
    ///
    /// What is done here is done while nothing else of the session is: its other queues, messages of the front-end, and whoever wants to end it
    /// wait for it, and in `serve_async` so do the sessions of its thread. A device on something that may not answer, such as a
    /// disk on a network, begins here what it does and keeps the chain with [`Guest::defer`]; one of its [`Device::sources`] tells that it is
    /// over, and [`Device::ready`] gives the chain back with [`Guest::finish`].
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>);
    /// Protocol features of its own: those whose requests [`Device::request`], [`Device::save`] and [`Device::load`] do.
    fn protocol(&self) -> ProtocolFeatures {
        ProtocolFeatures::empty()
    }
    /// Configuration space, all of it.
    fn config(&self) -> &[u8] {
        &[]
    }
    /// Configuration space is written, within what [`Device::config`] gives.
    ///
    /// # Errors
    /// [`Failure`] where it must not be.
    fn set_config(&mut self, offset: usize, bytes: &[u8], writer: Writer) -> Result<(), Failure> {
        let _ = (bytes, writer);
        Err(Failure::Value { what: "configuration space", value: offset as u64 })
    }
    /// What the front-end and the device use; called before any chain comes, and again when a migration begins or ends.
    fn negotiated(&mut self, features: Features) {
        let _ = features;
    }
    /// A queue that is started and not enabled may have chains. Network devices drop what is sent there; most do nothing.
    fn run_disabled(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let _ = (queue, guest);
    }
    /// Descriptors beside the queues on which it waits for something to read, as long as the session lasts. Each time that something comes
    /// is told once, so all of it is read, or the rest when a queue has room again.
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
    /// One of them has something to read. Its end is the end of a turn, as that of [`Device::run`] is; queues that have more and had no room
    /// before are asked for it here.
    fn ready(&mut self, source: usize, guest: &mut Guest<'_>) {
        let _ = (source, guest);
    }
    /// The front-end has answered what was asked with [`Guest::ask`].
    fn answered(&mut self, request: &back::Request, answer: Answer, guest: &mut Guest<'_>) {
        let _ = (request, answer, guest);
    }
    /// A queue is about to stop, to lose its memory or to be forgotten by a reset: what was kept of it is given back now.
    fn stopping(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let _ = (queue, guest);
    }
    /// Everything is as it was when the device began; [`Device::negotiated`] follows where something was.
    fn reset(&mut self) {}
    /// Its state, for a migration; with `DEVICE_STATE`.
    ///
    /// # Errors
    /// [`Failure`].
    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        Err(Failure::NotServed("SET_DEVICE_STATE_FD"))
    }
    /// Goes on from what another saved.
    ///
    /// # Errors
    /// [`Failure`].
    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        let _ = state;
        Err(Failure::NotServed("SET_DEVICE_STATE_FD"))
    }
    /// Requests of its type: `SEND_RARP`, `NET_SET_MTU`, crypto sessions, `GPU_SET_SOCKET`, `GET_SHARED_OBJECT`, `GET_SHMEM_CONFIG`.
    ///
    /// # Errors
    /// [`Failure`].
    fn request(
        &mut self,
        request: &Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        let _ = descriptors;
        Err(Failure::NotServed(crate::wire::Message::facts(request).name))
    }
}

impl<D: Device + ?Sized> Device for &mut D {
    fn features(&self) -> Features {
        (**self).features()
    }
    fn queues(&self) -> u16 {
        (**self).queues()
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        (**self).run(queue, guest);
    }
    fn protocol(&self) -> ProtocolFeatures {
        (**self).protocol()
    }
    fn config(&self) -> &[u8] {
        (**self).config()
    }
    fn set_config(&mut self, offset: usize, bytes: &[u8], writer: Writer) -> Result<(), Failure> {
        (**self).set_config(offset, bytes, writer)
    }
    fn negotiated(&mut self, features: Features) {
        (**self).negotiated(features);
    }
    fn run_disabled(&mut self, queue: u16, guest: &mut Guest<'_>) {
        (**self).run_disabled(queue, guest);
    }
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        (**self).sources()
    }
    fn ready(&mut self, source: usize, guest: &mut Guest<'_>) {
        (**self).ready(source, guest);
    }
    fn answered(&mut self, request: &back::Request, answer: Answer, guest: &mut Guest<'_>) {
        (**self).answered(request, answer, guest);
    }
    fn stopping(&mut self, queue: u16, guest: &mut Guest<'_>) {
        (**self).stopping(queue, guest);
    }
    fn reset(&mut self) {
        (**self).reset();
    }
    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        (**self).save()
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        (**self).load(state)
    }
    fn request(
        &mut self,
        request: &Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        (**self).request(request, descriptors)
    }
}

/// Who writes configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The driver, which may write some of it.
    Driver,
    /// A migration, which may write all of it.
    Migration,
}

/// Why a request failed.
#[derive(Debug, Error)]
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
        index: u16,
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
    /// A descriptor that is not what it should be.
    #[error("the descriptor of the {what} cannot be used")]
    Descriptor {
        /// What it should be.
        what: &'static str,
        /// What happened.
        #[source]
        error: io::Error,
    },
    /// The device's state did not arrive.
    #[error("the state of the device was not transferred")]
    State {
        /// What happened.
        #[source]
        error: io::Error,
    },
    /// It needs something that was not negotiated.
    #[error("{0} was not negotiated")]
    NotNegotiated(&'static str),
    /// A request that this device has no use for.
    #[error("{0} is not served")]
    NotServed(&'static str),
    /// Somebody ended the session while it was waited for.
    #[error("the session was ended meanwhile")]
    Cancelled,
}

/// Why a session ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// What came was no request.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// A request failed that nobody waits for: the front-end would go on as if it had not.
    #[error("{request} failed, and the front-end does not wait to hear of it")]
    Failed {
        /// The request.
        request: &'static str,
        /// Why.
        #[source]
        failure: Failure,
    },
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

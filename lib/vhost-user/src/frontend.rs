//! The front-end: it owns the memory and drives the device.

mod channel;
mod iommu;
mod lasting;
mod memory;
mod postcopy;
mod queue;
mod shared;
mod state;

pub use channel::{Asked, Channel, ChannelError};
pub use iommu::Permission;
pub use lasting::Lasting;
pub use postcopy::Missing;
pub use queue::Queue;
pub use shared::{MapError, SharedRegions};
pub use state::Direction;

use crate::ProtocolFeatures;
use crate::framing::{Framing, Raw};
use crate::front::Request;
use crate::payload::{Config, MemoryTable, Region};
use crate::session::{Answer, Asking, Negotiated, NotSent, Violation};
use crate::socket::{Canceller, Socket, SocketError};
use crate::wire::{HeaderError, Message as _, Reply};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use thiserror::Error;
use virtio::features::Features;

/// Why a request brought no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// It was not sent.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// The connection: [`SocketError::TimedOut`] leaves it usable if the request went out whole, the others do not.
    #[error("{request}: {error}")]
    Socket {
        /// The request.
        request: &'static str,
        /// What happened.
        error: SocketError,
    },
    /// What came was no header.
    #[error("{request}: {error}")]
    Header {
        /// The request.
        request: &'static str,
        /// What is wrong with it.
        error: HeaderError,
    },
    /// What came was no answer to it.
    #[error("{request}: {error}")]
    Violation {
        /// The request.
        request: &'static str,
        /// What is wrong with it.
        error: Violation,
    },
    /// The back-end says that it failed.
    #[error("the back-end refuses {request} ({code})")]
    Refused {
        /// The request.
        request: &'static str,
        /// What it said, not 0.
        code: u64,
    },
    /// An earlier call left the connection in the middle of a message.
    #[error("the connection broke with an earlier call")]
    Broken,
    /// The back-end does not offer what the caller cannot do without.
    #[error("the back-end lacks features that are needed: {missing:?}")]
    Missing {
        /// Which.
        missing: Features,
    },
    /// Memory or a descriptor could not be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A ring cannot be as it was asked for.
    #[error(transparent)]
    Layout(#[from] virtio::memory::LayoutError),
    /// Queues are named by 8 bits where descriptors go along.
    #[error("queue {index} cannot have descriptors: they end at 255")]
    Queue {
        /// The queue.
        index: u32,
    },
    /// The memory for rings is used up.
    #[error("no memory is left for a ring")]
    Memory,
}

/// What the front-end wants of a device.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Virtio features that it uses if they are there.
    pub features: Features,
    /// Those without which it cannot work.
    pub required: Features,
    /// Protocol features that it uses if they are there.
    pub protocol: ProtocolFeatures,
}

/// A connection to a back-end. Every call ends after the time that was set, or when it is cancelled.
///
/// ```no_run
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
/// use vhost_user::ProtocolFeatures;
/// use vhost_user::frontend::{FrontEnd, Wanted};
/// use vhost_user::memory::Memory;
/// use virtio::features::Features;
///
/// let stream = UnixStream::connect("/run/disk.sock")?;
/// let mut device = FrontEnd::new(stream, Duration::from_secs(5))?;
/// let wanted = Wanted {
///     features: Features::EVENT_IDX,
///     required: Features::VERSION_1,
///     protocol: ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK,
/// };
/// device.negotiate(wanted)?;
/// let mut memory = Memory::new(1 << 20)?;
/// device.add_memory(&memory)?;
/// let queue = device.start_queue(0, 128, &mut memory)?;
/// # drop(queue);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FrontEnd {
    socket: Socket,
    asking: Asking<Request>,
    framing: Framing,
    timeout: Duration,
    broken: bool,
    regions: Vec<(Region, OwnedFd)>,
}

impl FrontEnd {
    /// A session on a connected stream, in which each call may take `timeout`.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(stream: UnixStream, timeout: Duration) -> io::Result<Self> {
        Self::cancelled_by(stream, timeout, Canceller::new()?)
    }

    /// The same, whose calls `canceller` ends.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn cancelled_by(stream: UnixStream, timeout: Duration, canceller: Canceller) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::new(stream, canceller)?,
            asking: Asking::default(),
            framing: Framing::default(),
            timeout,
            broken: false,
            regions: Vec::new(),
        })
    }

    /// What ends its calls from another thread.
    pub fn canceller(&self) -> Canceller {
        self.socket.canceller()
    }

    /// What was negotiated.
    pub const fn negotiated(&self) -> &Negotiated {
        &self.asking.negotiated
    }

    /// Sends any request, and waits for its answer if it has one.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call(
        &mut self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Option<Answer>, CallError> {
        if self.broken {
            return Err(CallError::Broken);
        }
        let name = request.facts().name;
        let (bytes, answered) = self.asking.ask(request, descriptors.len())?;
        self.socket.expire_after(Some(self.timeout))?;
        let failed = |error| CallError::Socket { request: name, error };
        if let Err(error) = self.socket.send(&bytes, descriptors) {
            self.broken = true;
            return Err(failed(error));
        }
        if !answered {
            return Ok(None);
        }
        loop {
            // Those of calls that timed out come first.
            let last = self.asking.waiting() == 1;
            let answer = self.answer(name)?;
            if !last {
                continue;
            }
            return match answer.reply {
                Reply::U64(code) if answer.acknowledges && code != 0 => {
                    Err(CallError::Refused { request: name, code })
                }
                _ => Ok(Some(answer)),
            };
        }
    }

    fn answer(&mut self, request: &'static str) -> Result<Answer, CallError> {
        let message = self.message(request)?;
        self.asking.answered(message).map_err(|error| {
            self.broken = true;
            CallError::Violation { request, error }
        })
    }

    /// The next message, which is awaited for this request.
    fn message(&mut self, request: &'static str) -> Result<Raw, CallError> {
        let mut buffer = [0; 4096];
        loop {
            let want = self.framing.want().min(buffer.len());
            let (count, descriptors) = self.socket.receive(&mut buffer[..want]).map_err(|error| {
                // After a wait that was too short the next call reads the answer before its own.
                self.broken = !matches!(error, SocketError::TimedOut);
                CallError::Socket { request, error }
            })?;
            match self.framing.feed(&buffer[..count], descriptors) {
                Ok(None) => {}
                Ok(Some(message)) => return Ok(message),
                Err(error) => {
                    self.broken = true;
                    return Err(CallError::Header { request, error });
                }
            }
        }
    }

    /// Sends a table of memory in postcopy, which is answered by the same table at the back-end's addresses.
    fn told_where(
        &mut self,
        table: MemoryTable,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Vec<Region>, CallError> {
        let request = Request::SetMemTable(table);
        let name = request.facts().name;
        self.tell(&request, descriptors)?;
        let message = self.message(name)?;
        match Request::get(message.header.request, &message.payload) {
            Ok(Request::SetMemTable(table)) if message.header.reply => Ok(table.regions),
            _ => {
                self.broken = true;
                Err(CallError::Broken)
            }
        }
    }

    /// Says that its answer has arrived.
    fn tell_table(&mut self) -> Result<(), CallError> {
        self.tell(&Request::SetMemTable(MemoryTable::default()), &[])
    }

    /// Sends a request that is not acknowledged.
    fn tell(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), CallError> {
        if self.broken {
            return Err(CallError::Broken);
        }
        let bytes = self.asking.tell(request, descriptors.len())?;
        self.socket.expire_after(Some(self.timeout))?;
        self.socket.send(&bytes, descriptors).map_err(|error| {
            self.broken = true;
            CallError::Socket { request: request.facts().name, error }
        })
    }

    fn number(&mut self, request: &Request) -> Result<u64, CallError> {
        match self.call(request, &[])?.map(|answer| answer.reply) {
            Some(Reply::U64(number)) => Ok(number),
            // The table says that these requests are answered by a number.
            _ => Err(CallError::Broken),
        }
    }

    /// Agrees with the back-end on features, and becomes the owner of the session. Gives what is in use.
    ///
    /// # Errors
    /// [`CallError::Missing`] where the back-end lacks what is required, and those of the calls.
    pub fn negotiate(&mut self, wanted: Wanted) -> Result<Negotiated, CallError> {
        let offered = Features::from_bits_retain(self.number(&Request::GetFeatures)?);
        self.asking.negotiated.offered = offered;
        let missing = wanted.required.difference(offered);
        if !missing.is_empty() {
            return Err(CallError::Missing { missing });
        }
        if offered.contains(Features::PROTOCOL_FEATURES) {
            let offered = self.number(&Request::GetProtocolFeatures)?;
            let mut protocol = ProtocolFeatures::from_bits_truncate(offered) & wanted.protocol;
            while let Some((feature, _)) = protocol.contradiction() {
                protocol.remove(feature);
            }
            self.call(&Request::SetProtocolFeatures(protocol.bits()), &[])?;
            self.asking.negotiated.protocol = protocol;
        }
        self.call(&Request::SetOwner, &[])?;
        let features = offered & (wanted.features | wanted.required | Features::PROTOCOL_FEATURES);
        self.call(&Request::SetFeatures(features.bits()), &[])?;
        self.asking.negotiated.features = features;
        Ok(self.asking.negotiated)
    }

    /// Sets the features that are used anew: `LOG_ALL` comes and goes with a migration.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn set_features(&mut self, features: Features) -> Result<(), CallError> {
        self.call(&Request::SetFeatures(features.bits()), &[])?;
        self.asking.negotiated.features = features;
        Ok(())
    }

    /// How many queues the back-end can have: 1 where it does not say. DPDK's back-ends count pairs.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn queues(&mut self) -> Result<u64, CallError> {
        if !self.asking.negotiated.protocol.contains(ProtocolFeatures::MQ) {
            return Ok(1);
        }
        self.number(&Request::GetQueueNum)
    }

    /// Reads configuration space.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Refused`] where the back-end has no such bytes.
    pub fn config(&mut self, offset: u32, size: u32) -> Result<Vec<u8>, CallError> {
        // As many bytes go out as are to come back.
        let asked = Config { offset, size, flags: 0, bytes: vec![0; size as usize] };
        let answer = self.call(&Request::GetConfig(asked), &[])?;
        match answer.map(|answer| answer.reply) {
            Some(Reply::Config(config)) if config.bytes.len() == size as usize => Ok(config.bytes),
            _ => Err(CallError::Refused { request: "GET_CONFIG", code: 0 }),
        }
    }

    /// Writes configuration space, as the driver does.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn set_config(&mut self, offset: u32, bytes: &[u8]) -> Result<(), CallError> {
        let config = Config { offset, size: bytes.len() as u32, flags: 0, bytes: bytes.to_vec() };
        self.call(&Request::SetConfig(config), &[]).map(drop)
    }

    /// The virtio status, with `STATUS`.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn status(&mut self) -> Result<u64, CallError> {
        self.number(&Request::GetStatus)
    }

    /// Sets it; 0 resets the device.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn set_status(&mut self, status: u64) -> Result<(), CallError> {
        self.call(&Request::SetStatus(status), &[]).map(drop)
    }

    /// Tells the back-end that the driver is ready, where it wants to know: with `STATUS` some process no ring before. Called when the queues
    /// are started.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn driver_ok(&mut self) -> Result<(), CallError> {
        const ACKNOWLEDGE: u64 = 1;
        const DRIVER: u64 = 2;
        const DRIVER_OK: u64 = 4;
        const FEATURES_OK: u64 = 8;
        if !self.asking.negotiated.protocol.contains(ProtocolFeatures::STATUS) {
            return Ok(());
        }
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK)?;
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
    }

    /// Disables all rings and resets the device, with `RESET_DEVICE`. What was negotiated stays.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn reset(&mut self) -> Result<(), CallError> {
        self.call(&Request::ResetDevice, &[]).map(drop)
    }
}

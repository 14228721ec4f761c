//! The front-end: it owns the memory and drives the device.

mod channel;
mod iommu;
mod lasting;
mod memory;
mod postcopy;
mod queue;
mod shared;
mod state;
mod wait_error;

pub use channel::{Asked, Channel, ChannelError};
pub use iommu::Permission;
pub use lasting::Lasting;
pub use postcopy::Missing;
pub use queue::Queue;
pub(crate) use queue::Used;
pub use shared::{MapError, SharedRegions};
pub use state::Direction;
pub use wait_error::{BrokenRing, WaitError};

use crate::ProtocolFeatures;
use crate::framing::{Framing, Raw};
use crate::front::Request;
use crate::payload::{Config, MemoryTable, Region};
use crate::session::{Answer, Asking, Negotiated, NotSent, Violation};
#[cfg(feature = "tokio")]
use crate::socket::Reactor;
use crate::socket::{Canceller, Socket, SocketError, Thread, Waits};
use crate::wire::{HeaderError, Message as _, Reply};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
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
    #[error("{request}")]
    Socket {
        /// The request.
        request: &'static str,
        /// What happened.
        #[source]
        error: SocketError,
    },
    /// What came was no header.
    #[error("{request}")]
    Header {
        /// The request.
        request: &'static str,
        /// What is wrong with it.
        #[source]
        error: HeaderError,
    },
    /// What came was no answer to it.
    #[error("{request}")]
    Violation {
        /// The request.
        request: &'static str,
        /// What is wrong with it.
        #[source]
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
    /// What is in flight of a queue would not outlive its back-end.
    #[error("queue {index} of {size} entries: the inflight region has room for {queues} queues of {most}")]
    Unremembered {
        /// The queue.
        index: u32,
        /// Its entries.
        size: u16,
        /// Queues of the region.
        queues: u16,
        /// Entries of each.
        most: u16,
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

/// A connection to a back-end. Every call ends after the time that was set, or when it is cancelled. It waits in the thread that calls, or, as
/// `AsyncFrontEnd` (with the feature `tokio`), in tokio's reactor: all that is said here of results is said of futures there.
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
pub struct FrontEnd<W = Thread> {
    socket: Socket,
    waits: W,
    asking: Asking<Request>,
    framing: Framing,
    timeout: Duration,
    broken: bool,
    regions: Vec<(Region, Arc<OwnedFd>)>,
}

/// A front-end whose calls are futures. One that is dropped may have been heard all the same, and what consists of several requests may be
/// done in part.
///
/// ```no_run
/// # async fn run(wanted: vhost_user::frontend::Wanted) -> Result<(), Box<dyn std::error::Error>> {
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
/// use vhost_user::frontend::AsyncFrontEnd;
/// use vhost_user::memory::Memory;
///
/// let stream = UnixStream::connect("/run/disk.sock")?;
/// let mut device = AsyncFrontEnd::in_reactor(stream, Duration::from_secs(5))?;
/// device.negotiate(wanted).await?;
/// let mut memory = Memory::new(1 << 20)?;
/// device.add_memory(&memory).await?;
/// let mut queue = device.start_queue(0, 128, &mut memory).await?;
/// // What was put into the ring is given back.
/// queue.submit()?;
/// queue.used(1).await?;
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "tokio")]
pub type AsyncFrontEnd = FrontEnd<Reactor>;

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
        Self::on(stream, timeout, canceller)
    }
}

#[cfg(feature = "tokio")]
impl AsyncFrontEnd {
    /// A session on a connected stream, in which each call may take `timeout`; made in a runtime of tokio's, by whose reactor it waits.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn in_reactor(stream: UnixStream, timeout: Duration) -> io::Result<Self> {
        Self::on(stream, timeout, Canceller::new()?)
    }
}

impl<W: Waits> FrontEnd<W> {
    fn on(stream: UnixStream, timeout: Duration, canceller: Canceller) -> io::Result<Self> {
        let socket = Socket::new(stream, canceller)?;
        let waits = W::on(&socket)?;
        let (asking, framing) = (Asking::default(), Framing::default());
        Ok(Self { socket, waits, asking, framing, timeout, broken: false, regions: Vec::new() })
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
    pub fn call<'a>(
        &'a mut self,
        request: &'a Request,
        descriptors: &'a [BorrowedFd<'a>],
    ) -> W::Output<'a, Result<Option<Answer>, CallError>> {
        W::run(self.ask(request, descriptors))
    }

    async fn ask(
        &mut self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Option<Answer>, CallError> {
        if self.broken {
            return Err(CallError::Broken);
        }
        let name = request.facts().name;
        let (bytes, answered) = self.asking.ask(request, descriptors.len())?;
        self.send(name, &bytes, descriptors).await?;
        if !answered {
            return Ok(None);
        }
        loop {
            // Those of calls that timed out come first.
            let last = self.asking.waiting() == 1;
            let answer = self.answer(name).await?;
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

    /// Sends a message, and sets the time for what comes of it.
    async fn send(
        &mut self,
        request: &'static str,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), CallError> {
        self.socket.expire_after(Some(self.timeout))?;
        // Also for who does not wait until it has gone out.
        self.broken = true;
        let sent = self.socket.send_in(&self.waits, bytes, descriptors).await;
        sent.map_err(|error| CallError::Socket { request, error })?;
        self.broken = false;
        Ok(())
    }

    async fn answer(&mut self, request: &'static str) -> Result<Answer, CallError> {
        let message = self.message(request).await?;
        self.asking.answered(message).map_err(|error| {
            self.broken = true;
            CallError::Violation { request, error }
        })
    }

    /// The next message, which is awaited for this request.
    async fn message(&mut self, request: &'static str) -> Result<Raw, CallError> {
        let mut buffer = [0; 4096];
        loop {
            let want = self.framing.want().min(buffer.len());
            let received = self.socket.receive_in(&self.waits, &mut buffer[..want]).await;
            let (count, descriptors) = received.map_err(|error| {
                // After a wait that was too short the next call reads the answer before its own.
                self.broken |= !matches!(error, SocketError::TimedOut);
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
    async fn told_where(
        &mut self,
        table: MemoryTable,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Vec<Region>, CallError> {
        let request = Request::SetMemTable(table);
        let name = request.facts().name;
        self.tell(&request, descriptors).await?;
        // Nobody reads past this answer, which looks like no other.
        self.broken = true;
        let message = self.message(name).await?;
        match Request::get(message.header.request, &message.payload) {
            Ok(Request::SetMemTable(table)) if message.header.reply => {
                self.broken = false;
                Ok(table.regions)
            }
            _ => Err(CallError::Broken),
        }
    }

    /// Says that its answer has arrived.
    async fn tell_table(&mut self) -> Result<(), CallError> {
        self.tell(&Request::SetMemTable(MemoryTable::default()), &[]).await
    }

    /// Sends a request that is not acknowledged.
    async fn tell(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), CallError> {
        if self.broken {
            return Err(CallError::Broken);
        }
        let bytes = self.asking.tell(request, descriptors.len())?;
        self.send(request.facts().name, &bytes, descriptors).await
    }

    async fn number(&mut self, request: &Request) -> Result<u64, CallError> {
        match self.ask(request, &[]).await?.map(|answer| answer.reply) {
            Some(Reply::U64(number)) => Ok(number),
            // The table says that these requests are answered by a number.
            _ => Err(CallError::Broken),
        }
    }

    /// Agrees with the back-end on features, and becomes the owner of the session. Gives what is in use.
    ///
    /// # Errors
    /// [`CallError::Missing`] where the back-end lacks what is required, and those of the calls.
    pub fn negotiate(&mut self, wanted: Wanted) -> W::Output<'_, Result<Negotiated, CallError>> {
        W::run(self.agree(wanted))
    }

    async fn agree(&mut self, wanted: Wanted) -> Result<Negotiated, CallError> {
        let offered = Features::from_bits_retain(self.number(&Request::GetFeatures).await?);
        self.asking.negotiated.offered = offered;
        let missing = wanted.required.difference(offered);
        if !missing.is_empty() {
            return Err(CallError::Missing { missing });
        }
        if offered.contains(Features::PROTOCOL_FEATURES) {
            let offered = self.number(&Request::GetProtocolFeatures).await?;
            let mut protocol = ProtocolFeatures::from_bits_truncate(offered) & wanted.protocol;
            while let Some((feature, _)) = protocol.contradiction() {
                protocol.remove(feature);
            }
            self.ask(&Request::SetProtocolFeatures(protocol.bits()), &[]).await?;
            self.asking.negotiated.protocol = protocol;
        }
        self.ask(&Request::SetOwner, &[]).await?;
        let features = offered & (wanted.features | wanted.required | Features::PROTOCOL_FEATURES);
        self.ask(&Request::SetFeatures(features.bits()), &[]).await?;
        self.asking.negotiated.features = features;
        Ok(self.asking.negotiated)
    }

    /// Sets the features that are used anew: `LOG_ALL` comes and goes with a migration.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn set_features(&mut self, features: Features) -> W::Output<'_, Result<(), CallError>> {
        W::run(async move {
            self.ask(&Request::SetFeatures(features.bits()), &[]).await?;
            self.asking.negotiated.features = features;
            Ok(())
        })
    }

    /// How many queues the back-end can have: 1 where it does not say. DPDK's back-ends count pairs.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn queues(&mut self) -> W::Output<'_, Result<u64, CallError>> {
        W::run(async move {
            if !self.asking.negotiated.protocol.contains(ProtocolFeatures::MQ) {
                return Ok(1);
            }
            self.number(&Request::GetQueueNum).await
        })
    }

    /// Reads configuration space.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Refused`] where the back-end has no such bytes.
    pub fn config(&mut self, offset: u32, size: u32) -> W::Output<'_, Result<Vec<u8>, CallError>> {
        W::run(async move {
            // As many bytes go out as are to come back.
            let asked = Config { offset, size, flags: 0, bytes: vec![0; size as usize] };
            let answer = self.ask(&Request::GetConfig(asked), &[]).await?;
            match answer.map(|answer| answer.reply) {
                Some(Reply::Config(config)) if config.bytes.len() == size as usize => Ok(config.bytes),
                _ => Err(CallError::Refused { request: "GET_CONFIG", code: 0 }),
            }
        })
    }

    /// Writes configuration space, as the driver does.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn set_config(&mut self, offset: u32, bytes: &[u8]) -> W::Output<'_, Result<(), CallError>> {
        let config = Config { offset, size: bytes.len() as u32, flags: 0, bytes: bytes.to_vec() };
        self.done(Request::SetConfig(config))
    }

    /// The virtio status, with `STATUS`.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn status(&mut self) -> W::Output<'_, Result<u64, CallError>> {
        W::run(self.number(&Request::GetStatus))
    }

    /// Sets it; 0 resets the device.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn set_status(&mut self, status: u64) -> W::Output<'_, Result<(), CallError>> {
        self.done(Request::SetStatus(status))
    }

    /// Tells the back-end that the driver is ready, where it wants to know: with `STATUS` some process no ring before. Called when the queues
    /// are started.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn driver_ok(&mut self) -> W::Output<'_, Result<(), CallError>> {
        W::run(self.tell_ok())
    }

    async fn tell_ok(&mut self) -> Result<(), CallError> {
        const ACKNOWLEDGE: u64 = 1;
        const DRIVER: u64 = 2;
        const DRIVER_OK: u64 = 4;
        const FEATURES_OK: u64 = 8;
        if self.asking.negotiated.protocol.contains(ProtocolFeatures::STATUS) {
            let known = ACKNOWLEDGE | DRIVER | FEATURES_OK;
            for status in [known, known | DRIVER_OK] {
                self.ask(&Request::SetStatus(status), &[]).await?;
            }
        }
        Ok(())
    }

    /// Disables all rings and resets the device, with `RESET_DEVICE`. What was negotiated stays.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn reset(&mut self) -> W::Output<'_, Result<(), CallError>> {
        self.done(Request::ResetDevice)
    }

    /// A request without descriptors whose answer says no more than that it was done.
    fn done(&mut self, request: Request) -> W::Output<'_, Result<(), CallError>> {
        W::run(async move { self.ask(&request, &[]).await.map(drop) })
    }
}

//! One connection: calls, events and streams over one transport.
//!
//! ```text
//!   Call ──┐                       ┌── Driver (a future that the caller runs)
//!   Bytes ─┼─> Mutex<State> <──────┤     reads, writes, keeps the connection alive
//!   Events ┘   session, transport, └── polls the transport
//!              who waits for what
//! ```
//!
//! Who waits for a reply writes to the socket itself when it can, so that a lone call costs one wake-up: that of its reply. Calls
//! that are started together are written together.

mod bytes;
mod call;
mod direct;
mod driver;
mod incoming;
mod reading;
mod routes;
mod state;
mod waiters;

pub(crate) use bytes::Left;
pub use bytes::{ByteStream, Piece, StreamReader, StreamWriter};
pub use call::{Call, Reply};
pub(crate) use direct::{Interrupt, Watch};
pub(crate) use driver::Mover;
pub use driver::{Driver, DriverEnd};
pub(crate) use routes::{Class, Key};
pub(crate) use state::FAREWELL;

use crate::error::Error;
use crate::events::{Fanout, Queue};
use crate::transport::{Traits, Transport};
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::session::{ClientSession, Keepalive, Limits};
use state::State;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a connection behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many calls may be under way at the daemon.
    pub limits: Limits,
    /// When a silent connection is given up; `None` waits for ever. While it is not read, since a stream's reader takes nothing, its
    /// silence does not count.
    pub keepalive: Option<Keepalive>,
    /// How long a call may take that says nothing else; how long a stream may take to accept a piece of data or its end, or to bring the
    /// next piece of a volume or a screenshot. `None` waits for as long as the daemon shows that it lives.
    pub deadline: Option<Duration>,
    /// How long connecting may take as a whole, with everything until the daemon has opened what the URI names; the first time never
    /// longer than the deadline of calls, if there is one. `None` waits for as long as whoever dials does, and a minute when a connection is
    /// made again.
    pub connecting: Option<Duration>,
    /// Bytes that stream data may take while it waits for readers, before the connection is no longer read.
    pub stream_buffer: usize,
}

/// How long connecting may take by default: somebody may have to type a password.
pub(crate) const CONNECTING: Duration = Duration::from_secs(60);

impl Options {
    /// How long connecting may take.
    pub(crate) fn connecting(&self) -> Option<Duration> {
        self.connecting.into_iter().chain(self.deadline).min()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            keepalive: Some(Keepalive::default()),
            deadline: None,
            connecting: Some(CONNECTING),
            stream_buffer: 2 * 1024 * 1024,
        }
    }
}

/// A connection to a daemon; cheap to clone. It ends when all clones are gone, or the driver is dropped.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
    deadline: Option<Duration>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

struct Shared {
    state: Mutex<State>,
}

/// Closes the connection when the last clone goes.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.let_go();
        state.wake_driver();
    }
}

impl Shared {
    /// Nothing panics while the lock is held, except on a bug; what it guards is then as good as before.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one place that reads the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "sessions take time as an argument; this is where it comes from"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A connection on a transport, and the driver to be run beside it.
pub fn connection(transport: impl Transport, options: Options) -> (Connection, Driver) {
    let (connection, mover) = moved(transport, options);
    (connection, Driver::new(mover))
}

/// A connection on a transport, and what moves it.
pub(crate) fn moved(transport: impl Transport, options: Options) -> (Connection, Mover) {
    let session = ClientSession::new(options.limits, options.keepalive, now());
    let state = State::new(session, Box::new(transport), options.stream_buffer);
    let shared = Arc::new(Shared { state: Mutex::new(state) });
    let handle = Arc::new(Handle(Arc::clone(&shared)));
    let mover = Mover::new(Arc::clone(&shared));
    (Connection { shared, _handle: handle, deadline: options.deadline }, mover)
}

impl Connection {
    /// Calls a procedure with this connection's deadline.
    ///
    /// Dropping the future abandons the call; see [`Error::execution`] for what that means to the daemon.
    ///
    /// # Errors
    /// When the daemon refuses, the connection breaks, or the deadline passes; [`crate::ErrorKind::Misuse`] when the call opens a stream.
    pub async fn call<P: Procedure>(&self, args: &P::Args<'_>) -> Result<Reply<P>, Error> {
        self.call_with::<P>(args, Vec::new()).await
    }

    /// The same, and sends descriptors with the call.
    ///
    /// # Errors
    /// As [`Connection::call`]; also when the transport carries no descriptors.
    pub async fn call_with<P: Procedure>(
        &self,
        args: &P::Args<'_>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Reply<P>, Error> {
        // Not `started`: what follows waits at once, and writes.
        let begun = opens_no_stream::<P>().and_then(|()| self.shared.lock().begin::<P>(args, descriptors));
        Call::new(Arc::clone(&self.shared), begun, P::flags(args)).within(self.deadline).await
    }

    /// Starts a call now; the future that comes back waits for its reply. Of a call that opens a stream it only brings
    /// [`crate::ErrorKind::Misuse`]: nobody would have the stream, see [`Connection::open`].
    pub fn start<P: Procedure>(&self, args: &P::Args<'_>, descriptors: Vec<OwnedFd>) -> Call<P> {
        match opens_no_stream::<P>() {
            Ok(()) => self.started(args, descriptors),
            Err(misused) => Call::new(Arc::clone(&self.shared), Err(misused), P::flags(args)),
        }
    }

    fn started<P: Procedure>(&self, args: &P::Args<'_>, descriptors: Vec<OwnedFd>) -> Call<P> {
        let mut state = self.shared.lock();
        let begun = state.begin::<P>(args, descriptors);
        state.wake_driver();
        drop(state);
        Call::new(Arc::clone(&self.shared), begun, P::flags(args))
    }

    /// Calls a procedure that opens a stream.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn open<P: Procedure>(&self, args: &P::Args<'_>) -> Result<(Reply<P>, ByteStream), Error> {
        self.open_leaving::<P>(args, None).await
    }

    /// The same; what is done with the connection once the stream has ended well, or was refused.
    pub(crate) async fn open_leaving<P: Procedure>(
        &self,
        args: &P::Args<'_>,
        left: Option<Left>,
    ) -> Result<(Reply<P>, ByteStream), Error> {
        let call = self.started::<P>(args, Vec::new());
        let serial = call.serial();
        let reply = match call.within(self.deadline).await {
            Ok(reply) => reply,
            Err(error) => {
                // What was refused has left nothing behind.
                if error.refusal().is_some()
                    && let Some(left) = left
                {
                    left.take(self.clone());
                }
                return Err(error);
            }
        };
        let serial = serial.ok_or_else(|| Error::protocol("a reply without a call").of(P::INFO))?;
        Ok((reply, ByteStream::new(self.clone(), P::INFO, serial, left)))
    }

    /// Sends what calls have left that were started, as far as it goes at once.
    pub(crate) fn push(&self) {
        self.shared.lock().write_unwritten();
    }

    /// Events of a registration go to these from now on.
    pub(crate) fn route(&self, key: Key, listeners: Arc<Fanout>) {
        self.shared.lock().routes.add(key, listeners);
    }

    /// Events of no registration that is known go to this queue, too, until the connection is closed.
    pub(crate) fn add_unclaimed(&self, queue: &Arc<Queue>) -> Result<(), Error> {
        let mut state = self.shared.lock();
        if let Some(closed) = state.closed() {
            return Err(closed.clone());
        }
        state.routes.add_unclaimed(queue);
        Ok(())
    }

    /// Events of a registration go nowhere from now on.
    pub(crate) fn unroute(&self, key: Key) {
        self.shared.lock().routes.remove(key);
    }

    /// A registration has ended at the daemon, too.
    pub(crate) fn unrouted(&self, key: Key) {
        self.shared.lock().routes.ended(key);
    }

    /// The same connection with another deadline for calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Option<Duration>) -> Self {
        self.clone().timed(deadline)
    }

    /// The same, when nobody else has it.
    pub(crate) fn timed(self, deadline: Option<Duration>) -> Self {
        Self { deadline, ..self }
    }

    /// What the transport can do.
    #[must_use]
    pub fn traits(&self) -> Traits {
        self.shared.lock().traits
    }

    /// Puts what the bytes travel on into something else: from now on they travel inside of it. Nothing may be on its way.
    #[cfg(feature = "gssapi")]
    pub(crate) fn seal(&self, within: impl FnOnce(Box<dyn Transport>) -> Box<dyn Transport>) {
        self.shared.lock().seal(within);
    }

    /// What it is busy with.
    pub(crate) fn load(&self) -> Load {
        let state = self.shared.lock();
        let session = &state.session;
        Load { calls: session.load(), clogged: session.is_clogged() }
    }

    /// From now on the daemon is asked for signs of life.
    pub(crate) fn keep_alive(&self, keepalive: Option<Keepalive>) {
        self.shared.lock().keep_alive(keepalive);
    }

    /// Ends it, whoever still holds it.
    pub(crate) fn shut(&self, reason: &Error) {
        let mut state = self.shared.lock();
        state.close(reason);
        state.wake_driver();
    }

    /// From now on the daemon hears when it ends in good order.
    pub(crate) fn announce_end(&self) {
        self.shared.lock().announces = true;
    }

    /// Ends it, whoever still holds it, and tells the daemon so.
    pub(crate) fn leave(&self, reason: &Error) {
        let mut state = self.shared.lock();
        state.leave(reason);
        state.wake_driver();
    }

    /// When the daemon has heard of the end, or has had time enough.
    pub(crate) async fn parted(&self) {
        std::future::poll_fn(|context| self.shared.lock().poll_over(context)).await;
    }

    /// Why the connection is closed, if it is.
    #[must_use]
    pub fn closed(&self) -> Option<Error> {
        self.shared.lock().closed().cloned()
    }
}

/// What a connection is busy with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Calls that are under way or wait for a place, abandoned ones too.
    pub(crate) calls: usize,
    /// Those at the daemon that nobody waits for any more have taken all places: nothing moves before the daemon answers what nobody wants to know.
    pub(crate) clogged: bool,
}

/// A stream that nobody reads stops the whole connection, so it is opened only where somebody gets it.
fn opens_no_stream<P: Procedure>() -> Result<(), Error> {
    match P::INFO.stream {
        None => Ok(()),
        Some(_) => Err(Error::misuse("it opens a stream: call_stream brings it").of(P::INFO)),
    }
}

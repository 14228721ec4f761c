//! Async front of a [`Session`]: one future owns the socket, any number of [`Client`]s send it calls.

use crate::{
    commands::{Command, QueryQmpSchema},
    deadline::Deadlines,
    events::{Filter, Hub, Subscription, Waiter},
    message::{Event, Greeting, Refusal},
    schema::Schema,
    session::{CallId, Counters, DESCRIPTORS, Execution, Limits, Opening, Output, Session, Violation},
    transport::{Bytes, Outgoing, Unix},
    wire::{Decode as _, DecodeError},
};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    future::Future,
    hash::{BuildHasherDefault, Hasher},
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::UnixStream,
    sync::{OnceCell, mpsc, oneshot, watch},
};

/// Settings of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Limits of the session.
    pub limits: Limits,
    /// How it begins.
    pub opening: Opening,
    /// How long calls may take, unless [`Client::with_deadline`] says otherwise.
    pub deadlines: Deadlines,
}

/// Joins a byte stream to a session. The second value drives the connection and must be polled, usually as a task of
/// its own; it ends with the reason when the connection ends, or when every [`Client`] is gone. Descriptors cannot be passed:
/// see [`client_unix`].
pub fn client<S>(
    stream: S,
    options: Options,
) -> (Client, impl Future<Output = Arc<CloseReason>> + Send + 'static)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    joined(reader, Bytes(writer), options)
}

/// The same for a unix socket, over which descriptors can be passed.
pub fn client_unix(
    stream: UnixStream,
    options: Options,
) -> (Client, impl Future<Output = Arc<CloseReason>> + Send + 'static) {
    let (reader, writer) = stream.into_split();
    joined(reader, Unix(writer), options)
}

fn joined<R, W>(
    reader: R,
    writer: W,
    options: Options,
) -> (Client, impl Future<Output = Arc<CloseReason>> + Send + 'static)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: Outgoing + 'static,
{
    let (calls, inputs) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        next_id: AtomicU64::new(0),
        hub: Hub::default(),
        phase: watch::Sender::new(Phase::Opening),
        counters: watch::Sender::new(Counters::default()),
        schema: OnceCell::new(),
        carries_descriptors: W::CARRIES_DESCRIPTORS,
    });
    let guard = CloseGuard { shared: shared.clone() };
    let client = Client { shared, calls, deadlines: options.deadlines };
    let driver = async move {
        let mut driver = Driver {
            session: Session::open(options.limits, options.opening),
            pending: HashMap::default(),
            counters: Counters::default(),
            shared: guard.shared.clone(),
        };
        let reason = driver.run(reader, writer, inputs).await;
        guard.shared.close(reason)
    };
    (client, driver)
}

/// Handle to a connection; clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    calls: mpsc::UnboundedSender<Input>,
    deadlines: Deadlines,
}

impl Client {
    /// The same connection with one deadline for each call, whatever its command. Negative answers come late, not never.
    #[must_use]
    pub fn with_deadline(&self, deadline: Option<Duration>) -> Self {
        Self { deadlines: Deadlines::all(deadline), ..self.clone() }
    }

    /// Waits until the server has greeted and negotiation is done. Has no deadline of its own.
    ///
    /// # Errors
    /// The reason why the connection ended before.
    pub async fn ready(&self) -> Result<Arc<Greeting>, Arc<CloseReason>> {
        let mut phase = self.shared.phase.subscribe();
        let settled = phase.wait_for(|phase| !matches!(phase, Phase::Opening)).await;
        match settled.as_deref() {
            Ok(Phase::Running(greeting)) => Ok(greeting.clone()),
            Ok(Phase::Closed(reason)) => Err(reason.clone()),
            Ok(Phase::Opening) | Err(_) => Err(Arc::new(CloseReason::Abandoned)),
        }
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) -> Arc<CloseReason> {
        let mut phase = self.shared.phase.subscribe();
        match phase.wait_for(|phase| matches!(phase, Phase::Closed(_))).await.as_deref() {
            Ok(Phase::Closed(reason)) => reason.clone(),
            Ok(_) | Err(_) => Arc::new(CloseReason::Abandoned),
        }
    }

    /// Runs a typed command.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<C: Command>(&self, command: &C) -> Result<C::Reply, CallError> {
        let mut arguments = Map::new();
        command.put(&mut arguments);
        typed::<C>(self.run(C::FACTS.name, arguments, C::EXECUTION, Vec::new()).await?)
    }

    /// Runs a typed command that takes descriptors; [`crate::descriptors`] has the usual ones. They are closed on this side once
    /// they are sent.
    ///
    /// # Errors
    /// [`CallError`], also [`CallError::NoDescriptors`] and [`CallError::TooManyDescriptors`].
    pub async fn call_with<C: Command>(
        &self,
        command: &C,
        descriptors: Vec<OwnedFd>,
    ) -> Result<C::Reply, CallError> {
        let mut arguments = Map::new();
        command.put(&mut arguments);
        typed::<C>(self.run(C::FACTS.name, arguments, Execution::InBand, descriptors).await?)
    }

    /// Runs any command; `arguments` may be empty.
    ///
    /// # Errors
    /// [`CallError`], never [`CallError::Decode`].
    pub async fn execute(&self, command: &str, arguments: Map<String, Value>) -> Result<Value, CallError> {
        self.run(command, arguments, Execution::InBand, Vec::new()).await
    }

    /// Runs any command out of band, for a server whose main loop is blocked.
    ///
    /// # Errors
    /// Like [`Client::execute`], and [`CallError::Unsupported`].
    pub async fn execute_oob(
        &self,
        command: &str,
        arguments: Map<String, Value>,
    ) -> Result<Value, CallError> {
        self.run(command, arguments, Execution::OutOfBand, Vec::new()).await
    }

    /// The interface as the connected program describes it; asked for once per connection (33 ms of QEMU's time, 207 kB).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn schema(&self) -> Result<Arc<Schema>, CallError> {
        let schema = self
            .shared
            .schema
            .get_or_try_init(|| async { Ok(Arc::new(Schema::new(self.call(&QueryQmpSchema {}).await?))) });
        schema.await.cloned()
    }

    /// Whether the connected program has a command; see [`Client::schema`].
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn supports<C: Command>(&self) -> Result<bool, CallError> {
        Ok(self.schema().await?.command(C::FACTS.name).is_some())
    }

    /// Follows events from now on. A reader that falls more than `capacity` events behind loses the oldest and is told
    /// how many. Events raised while nobody is connected are lost to everybody: read the state after subscribing.
    #[must_use]
    pub fn subscribe(&self, filter: Filter, capacity: usize) -> Subscription {
        self.shared.hub.subscribe(filter, capacity)
    }

    /// Waits for the first event that `matches`, counted from this call, and cannot lose it to other events. Make the
    /// waiter before sending the command that causes the event.
    #[must_use]
    pub fn waiter(&self, matches: impl FnMut(&Event) -> bool + Send + 'static) -> Waiter {
        self.shared.hub.waiter(Box::new(matches))
    }

    /// What the session noticed and ignored so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.shared.counters.borrow()
    }

    async fn run(
        &self,
        command: &str,
        arguments: Map<String, Value>,
        execution: Execution,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Value, CallError> {
        if descriptors.len() > DESCRIPTORS {
            return Err(CallError::TooManyDescriptors {
                command: command.to_owned(),
                count: descriptors.len(),
            });
        }
        if !descriptors.is_empty() && !self.shared.carries_descriptors {
            return Err(CallError::NoDescriptors { command: command.to_owned() });
        }
        let (reply, answer) = oneshot::channel();
        let id = self.shared.new_id();
        let input = Input::Call { id, command: command.to_owned(), arguments, execution, descriptors, reply };
        if self.calls.send(input).is_err() {
            return Err(self.closed_error(command));
        }
        let mut pending = Pending { id, calls: &self.calls, answered: false };
        let answer = match self.deadlines.of(command) {
            None => answer.await,
            Some(after) => match tokio::time::timeout(after, answer).await {
                Ok(answer) => answer,
                Err(_) => return Err(CallError::Deadline { command: command.to_owned(), after }),
            },
        };
        pending.answered = true;
        match answer {
            Ok(Answer::Reply(Ok(value))) => Ok(value),
            Ok(Answer::Reply(Err(refusal))) => {
                Err(CallError::Refused { command: command.to_owned(), refusal })
            }
            Ok(Answer::Unsupported) => Err(CallError::Unsupported { command: command.to_owned() }),
            Err(_) => Err(self.closed_error(command)),
        }
    }

    /// Has a command run without anybody waiting for its answer, also from `drop`.
    pub(crate) fn launch<C: Command>(&self, command: &C) {
        let mut arguments = Map::new();
        command.put(&mut arguments);
        // Nobody receives.
        let (reply, _) = oneshot::channel();
        // On a connection that has ended there is nothing left to do.
        let _ = self.calls.send(Input::Call {
            id: self.shared.new_id(),
            command: C::FACTS.name.to_owned(),
            arguments,
            execution: C::EXECUTION,
            descriptors: Vec::new(),
            reply,
        });
    }

    fn closed_error(&self, command: &str) -> CallError {
        let reason = match &*self.shared.phase.borrow() {
            Phase::Closed(reason) => reason.clone(),
            Phase::Opening | Phase::Running(_) => Arc::new(CloseReason::Abandoned),
        };
        CallError::Closed { command: command.to_owned(), reason }
    }
}

fn typed<C: Command>(reply: Value) -> Result<C::Reply, CallError> {
    C::Reply::decode(reply).map_err(|source| CallError::Decode { command: C::FACTS.name.to_owned(), source })
}

/// Why a call has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server refused; nothing else is wrong.
    #[error("QEMU refused {command}")]
    Refused {
        /// The command.
        command: String,
        /// The server's words.
        #[source]
        refusal: Refusal,
    },
    /// No answer in time. The command may still take effect; the connection stays usable.
    #[error("QEMU did not answer {command} within {after:?}")]
    Deadline {
        /// The command.
        command: String,
        /// The deadline that passed.
        after: Duration,
    },
    /// The connection ended. Whether the command took effect is unknown.
    #[error("the connection to QEMU ended before {command} was answered")]
    Closed {
        /// The command.
        command: String,
        /// Why it ended.
        #[source]
        reason: Arc<CloseReason>,
    },
    /// The server does not offer out-of-band execution.
    #[error("this QEMU does not offer out-of-band execution of {command}")]
    Unsupported {
        /// The command.
        command: String,
    },
    /// Descriptors travel over unix sockets only, and only where the client was made by [`client_unix`].
    #[error("{command} needs a descriptor, which this connection cannot carry")]
    NoDescriptors {
        /// The command.
        command: String,
    },
    /// The server would drop what is over [`DESCRIPTORS`].
    #[error("{command} with {count} descriptors: QEMU takes no more than {DESCRIPTORS} at once")]
    TooManyDescriptors {
        /// The command.
        command: String,
        /// How many there are.
        count: usize,
    },
    /// The answer has not the declared form.
    #[error("the answer to {command} has an unexpected form")]
    Decode {
        /// The command.
        command: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}

impl CallError {
    /// The server's refusal, if that is what it was.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server closed it; after `quit` a reset is as common as an orderly end and means the same.
    #[error("QEMU closed the connection")]
    Ended,
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[source] io::Error),
    /// The server broke the protocol.
    #[error("QEMU broke the protocol")]
    Protocol(#[from] Violation),
    /// This side gave it up: the driving future was dropped, or every client was.
    #[error("the connection was given up on this side")]
    Abandoned,
}

#[derive(Debug)]
struct Shared {
    next_id: AtomicU64,
    hub: Hub,
    phase: watch::Sender<Phase>,
    counters: watch::Sender<Counters>,
    schema: OnceCell<Arc<Schema>>,
    carries_descriptors: bool,
}

impl Shared {
    fn new_id(&self) -> CallId {
        CallId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The first reason stands.
    fn close(&self, reason: CloseReason) -> Arc<CloseReason> {
        let mut kept = Arc::new(reason);
        self.phase.send_if_modified(|phase| {
            if let Phase::Closed(earlier) = phase {
                kept = earlier.clone();
                return false;
            }
            *phase = Phase::Closed(kept.clone());
            true
        });
        self.hub.close();
        kept
    }
}

#[derive(Clone, Debug)]
enum Phase {
    Opening,
    Running(Arc<Greeting>),
    Closed(Arc<CloseReason>),
}

/// Tells everybody who waits when the driving future is dropped instead of run to its end.
struct CloseGuard {
    shared: Arc<Shared>,
}

impl Drop for CloseGuard {
    fn drop(&mut self) {
        self.shared.close(CloseReason::Abandoned);
    }
}

#[derive(Debug)]
enum Input {
    Call {
        id: CallId,
        command: String,
        arguments: Map<String, Value>,
        execution: Execution,
        descriptors: Vec<OwnedFd>,
        reply: oneshot::Sender<Answer>,
    },
    Abandon(CallId),
}

#[derive(Debug)]
enum Answer {
    Reply(Result<Value, Refusal>),
    Unsupported,
}

/// Gives the call up when its future is dropped or its deadline passes.
struct Pending<'a> {
    id: CallId,
    calls: &'a mpsc::UnboundedSender<Input>,
    answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered {
            // A driver that is gone has nothing to give up.
            let _ = self.calls.send(Input::Abandon(self.id));
        }
    }
}

struct Driver {
    session: Session,
    pending: HashMap<CallId, oneshot::Sender<Answer>, BuildHasherDefault<Counted>>,
    /// As last told.
    counters: Counters,
    shared: Arc<Shared>,
}

impl Driver {
    async fn run(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl Outgoing,
        mut inputs: mpsc::UnboundedReceiver<Input>,
    ) -> CloseReason {
        let mut chunk = vec![0; READ_BYTES];
        let mut writable = true;
        loop {
            // Cancel safety: a read or write that lost the race has moved no byte; `recv` keeps its message.
            tokio::select! {
                read = reader.read(&mut chunk) => match read {
                    Ok(0) => return CloseReason::Ended,
                    Ok(count) => {
                        let outcome = self.session.handle_bytes(&chunk[..count]);
                        self.deliver();
                        if let Err(violation) = outcome {
                            return violation.into();
                        }
                        // Whoever got something has a turn before more is read, also on a runtime of one thread in a storm.
                        tokio::task::yield_now().await;
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return CloseReason::Ended,
                    Err(error) => return CloseReason::Socket(error),
                },
                written = writer.send(self.session.transmit()), if writable && !self.session.transmit().bytes.is_empty() => {
                    match written {
                        Ok(count) => self.session.transmitted(count),
                        // What the server said last is still to be read; the reader sees the end.
                        Err(_) => writable = false,
                    }
                }
                input = inputs.recv() => match input {
                    Some(input) => {
                        self.take(input);
                        // What was asked at the same time goes out in one write.
                        while let Ok(input) = inputs.try_recv() {
                            self.take(input);
                        }
                    }
                    None => return CloseReason::Abandoned,
                },
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Call { id, command, arguments, execution, descriptors, reply } => {
                self.pending.insert(id, reply);
                if descriptors.is_empty() {
                    self.session.submit(id, command, arguments, execution);
                } else {
                    self.session.submit_with_descriptors(id, command, arguments, descriptors);
                }
                self.deliver();
            }
            Input::Abandon(id) => {
                self.pending.remove(&id);
                self.session.abandon(id);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Running(greeting) => {
                    self.shared.phase.send_replace(Phase::Running(Arc::new(greeting)));
                }
                Output::Reply(id, result) => self.answer(id, Answer::Reply(result)),
                Output::Unsupported(id) => self.answer(id, Answer::Unsupported),
                Output::Event(event) => {
                    tracing::trace!(event = event.name, "QMP event");
                    self.shared.hub.publish(event);
                }
            }
        }
        let counters = self.session.counters();
        if counters != self.counters {
            self.counters = counters;
            self.shared.counters.send_replace(counters);
        }
    }

    fn answer(&mut self, id: CallId, answer: Answer) {
        if let Some(reply) = self.pending.remove(&id) {
            // The caller may have left between its last poll and now; that is its right.
            let _ = reply.send(answer);
        }
    }
}

/// Ids are counted by us, so nobody can choose them to collide; the multiplication spreads them over the high bits that the map looks at.
#[derive(Default)]
struct Counted(u64);

impl Hasher for Counted {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Most replies and events fit; larger ones take several reads.
const READ_BYTES: usize = 16 * 1024;

//! Async front of a [`Session`]: one future owns the socket, any number of [`Client`]s send it calls.

mod driver;
mod error;

pub(crate) use driver::{LAST_WORDS, Undo};
pub use error::{CallError, CloseReason, with_causes};

use crate::{
    commands::{Command, QueryQmpSchema},
    deadline::Deadlines,
    descriptors::Names,
    events::{Filter, Hub, Subscription, Waiter},
    message::{Event, Greeting},
    schema::Schema,
    session::{CallId, Counters, DESCRIPTORS, Execution, Limits, Opening, Session},
    transport::{self, Bytes, Outgoing},
    wire::{Decode as _, DecodeError},
};
use driver::{Answer, CloseGuard, Driver, Given, Input, Pending, Waiting};
use serde_json::{Map, Value};
use std::{
    future::Future,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
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
/// its own; it ends with the reason when the connection ends, or when every [`Client`] is gone and what they left to be done, such as
/// closing descriptors, is done (within five seconds). Descriptors cannot be passed: see [`client_unix`].
pub fn client<S>(
    stream: S,
    options: Options,
) -> (Client, impl Future<Output = Arc<CloseReason>> + Send + 'static)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    joined(
        || {
            let (reader, writer) = tokio::io::split(stream);
            Ok((reader, Bytes(writer)))
        },
        options,
    )
}

/// The same for a unix socket, over which descriptors can be passed.
///
/// # Panics
/// The driver, when it is first polled outside of a tokio runtime with I/O.
pub fn client_unix(
    stream: UnixStream,
    options: Options,
) -> (Client, impl Future<Output = Arc<CloseReason>> + Send + 'static) {
    joined(|| transport::unix(stream), options)
}

/// `halves` is asked when the driver is first polled.
fn joined<R, W>(
    halves: impl FnOnce() -> io::Result<(R, W)> + Send + 'static,
    options: Options,
) -> (Client, impl Future<Output = Arc<CloseReason>> + Send + 'static)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: Outgoing + 'static,
{
    let (calls, mut inputs) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        next_id: AtomicU64::new(0),
        hub: Hub::default(),
        phase: watch::Sender::new(Phase::Opening),
        counters: watch::Sender::new(Counters::default()),
        schema: OnceCell::new(),
        carries_descriptors: W::CARRIES_DESCRIPTORS,
        names: Names::default(),
    });
    let guard = CloseGuard { shared: shared.clone() };
    let client = Client { shared, calls, deadlines: options.deadlines };
    let driver = async move {
        let (reader, writer) = match halves() {
            Ok(halves) => halves,
            Err(error) => return guard.shared.close(CloseReason::Socket(error)),
        };
        let session = Session::open(options.limits, options.opening);
        let mut driver = Driver::new(session, guard.shared.clone());
        let reason = driver.run(reader, writer, &mut inputs).await;
        // Before the calls are dropped, who ask for the reason.
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
    /// The same connection with one deadline for each call, whatever its command. A command that is still carried out when it passes may take effect.
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
        let schema = self.shared.schema.get_or_try_init(|| async {
            let command = QueryQmpSchema::FACTS.name;
            let ask = |id, reply| Input::CallForText { id, command, reply };
            let schema = match self.ask(command, Left::Abandoned, ask).await? {
                Taken::Text(message) => Schema::read(&message).map_err(|error| DecodeError::of_json(&error)),
                Taken::Value(value) => Vec::decode(value).map(Schema::new),
            };
            let schema =
                schema.map_err(|source| CallError::Decode { command: command.to_owned(), source })?;
            Ok(Arc::new(schema))
        });
        schema.await.cloned()
    }

    /// Whether the connected program has a command; see [`Client::schema`].
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn supports<C: Command>(&self) -> Result<bool, CallError> {
        Ok(self.schema().await?.command(C::FACTS.name).is_some())
    }

    /// A call with descriptors whose effect is undone when nobody takes its answer.
    pub(crate) async fn call_or_undo<C: Command>(
        &self,
        command: &C,
        descriptors: Vec<OwnedFd>,
        undo: Undo,
    ) -> Result<C::Reply, CallError> {
        let mut arguments = Map::new();
        command.put(&mut arguments);
        let (name, execution) = (C::FACTS.name, Execution::InBand);
        typed::<C>(self.run_left(name, arguments, execution, descriptors, Left::Undone(undo)).await?)
    }

    /// A call that is carried out whether or not anybody waits for its answer.
    pub(crate) async fn call_for_good<C: Command>(&self, command: &C) -> Result<C::Reply, CallError> {
        let mut arguments = Map::new();
        command.put(&mut arguments);
        let (name, execution) = (C::FACTS.name, C::EXECUTION);
        typed::<C>(self.run_left(name, arguments, execution, Vec::new(), Left::Kept).await?)
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
        self.run_left(command, arguments, execution, descriptors, Left::Abandoned).await
    }

    async fn run_left(
        &self,
        command: &str,
        arguments: Map<String, Value>,
        execution: Execution,
        descriptors: Vec<OwnedFd>,
        left: Left,
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
        let name = command.to_owned();
        let call = |id, reply| Input::Call { id, command: name, arguments, execution, descriptors, reply };
        match self.ask(command, left, call).await? {
            Taken::Value(value) => Ok(value),
            Taken::Text(message) => crate::message::answer(&message).map_err(|error| CallError::Decode {
                command: command.to_owned(),
                source: DecodeError::of_json(&error),
            }),
        }
    }

    /// Sends a call and waits for its answer.
    async fn ask(
        &self,
        command: &str,
        left: Left,
        call: impl FnOnce(CallId, Waiting) -> Input,
    ) -> Result<Taken, CallError> {
        let (caller, answer) = oneshot::channel();
        let id = self.shared.new_id();
        let (given_up, undo) = match left {
            Left::Abandoned => (Some(Input::Abandon(id)), None),
            Left::Undone(undo) => (Some(Input::Withdraw(id)), Some((undo, self.calls.downgrade()))),
            Left::Kept => (None, None),
        };
        let mut pending = Pending { calls: &self.calls, left: given_up };
        if self.calls.send(call(id, Waiting { caller, undo })).is_err() {
            return Err(self.closed_error(command));
        }
        let answer = match self.deadlines.of(command) {
            None => answer.await,
            Some(after) => match tokio::time::timeout(after, answer).await {
                Ok(answer) => answer,
                Err(_) => return Err(CallError::Deadline { command: command.to_owned(), after }),
            },
        };
        pending.left = None;
        let answer = answer.map(Given::take);
        let outcome = match &answer {
            Ok(Answer::Reply(Err(refusal))) => Some(refusal.class.as_str()),
            Ok(Answer::Reply(Ok(_)) | Answer::Text(_)) => Some("ok"),
            Ok(Answer::Unreadable(_) | Answer::Unsupported | Answer::Illegible(_)) | Err(_) => None,
        };
        if let Some(outcome) = outcome {
            self.shared.observed("command", command, outcome);
        }
        match answer {
            Ok(Answer::Reply(Err(refusal))) => {
                Err(CallError::Refused { command: command.to_owned(), refusal })
            }
            Ok(Answer::Unreadable(malformed)) => {
                Err(CallError::Unreadable { command: command.to_owned(), source: malformed })
            }
            Ok(Answer::Unsupported) => Err(CallError::Unsupported { command: command.to_owned() }),
            Ok(Answer::Illegible(source)) => {
                Err(CallError::Illegible { command: command.to_owned(), source })
            }
            Ok(Answer::Reply(Ok(value))) => Ok(Taken::Value(value)),
            Ok(Answer::Text(message)) => Ok(Taken::Text(message)),
            Err(_) => Err(self.closed_error(command)),
        }
    }

    /// A number that nobody else on this connection has.
    pub(crate) fn new_id(&self) -> CallId {
        self.shared.new_id()
    }

    pub(crate) fn names(&self) -> &Names {
        &self.shared.names
    }

    /// Has a command run without anybody waiting for its answer, also from `drop`.
    pub(crate) fn launch<C: Command>(&self, command: &C) {
        let mut arguments = Map::new();
        command.put(&mut arguments);
        // On a connection that has ended there is nothing left to do.
        let _ = self.calls.send(Input::Call {
            id: self.shared.new_id(),
            command: C::FACTS.name.to_owned(),
            arguments,
            execution: C::EXECUTION,
            descriptors: Vec::new(),
            reply: Waiting::nobody(),
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

/// What a call brought.
enum Taken {
    Value(Value),
    /// The whole message.
    Text(Box<[u8]>),
}

/// What becomes of a call that nobody waits for any more.
enum Left {
    /// It is given up: its answer is of no interest.
    Abandoned,
    /// It is taken back if it is not written yet; otherwise its answer tells how it is undone.
    Undone(Undo),
    /// It is carried out.
    Kept,
}

fn typed<C: Command>(reply: Value) -> Result<C::Reply, CallError> {
    C::Reply::decode(reply).map_err(|source| CallError::Decode { command: C::FACTS.name.to_owned(), source })
}

#[derive(Debug)]
struct Shared {
    next_id: AtomicU64,
    hub: Hub,
    phase: watch::Sender<Phase>,
    counters: watch::Sender<Counters>,
    schema: OnceCell<Arc<Schema>>,
    carries_descriptors: bool,
    names: Names,
}

impl Shared {
    fn new_id(&self) -> CallId {
        CallId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells whoever traces what was answered or raised, and by whom. A greeting without a package is that of a server of tests.
    fn observed(&self, kind: &str, name: &str, outcome: &str) {
        if !tracing::enabled!(target: "qmp::observed", tracing::Level::TRACE) {
            return;
        }
        let by = match &*self.phase.borrow() {
            Phase::Running(greeting) if !greeting.version.package.is_empty() => {
                format!("qemu-{}.{}", greeting.version.qemu.major, greeting.version.qemu.minor)
            }
            _ => "server".to_owned(),
        };
        tracing::trace!(target: "qmp::observed", kind, name, by, outcome);
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

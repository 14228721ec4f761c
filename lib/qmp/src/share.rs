//! One monitor for several users: QEMU serves one connection of a monitor at a time, and this serves the others.
//!
//! ```text
//!   user A --.                                   ids rewritten, 8 commands in flight over all users
//!   user B ---+-- Share (a session for each) -- Client -- QEMU
//!   user C --'    ^-- events go to everybody who has negotiated
//! ```
//!
//! To its users it is a monitor: it greets with QEMU's version, negotiates with each, offers out-of-band execution when QEMU does,
//! answers a user's in-band commands in order, and sends the events that came before an answer before it. What differs:
//!
//! - An event may overtake an answer that came just before it.
//! - A user may be allowed some commands only ([`Policy`]).
//! - Descriptors do not pass.
//! - A user who does not read is cut off when events come and more than [`UNREAD_BYTES`] wait for it: nothing is kept without limit, and
//!   a connection that ends says more than events that are missing.

use crate::{
    CallError, Client, EventError, Filter,
    client::LAST_WORDS,
    limit::Limit,
    message::{Event, Greeting},
    with_causes,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

mod parser;

pub use parser::{Input, Parser};

/// What a user may do.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Everything, `quit` included.
    All,
    /// These commands.
    Only(BTreeSet<String>),
    /// Commands whose names begin with `query-`, and `qom-get`, `qom-list`.
    Queries,
}

impl Policy {
    /// These commands.
    pub fn only<S: Into<String>>(commands: impl IntoIterator<Item = S>) -> Self {
        Self::Only(commands.into_iter().map(Into::into).collect())
    }

    fn allows(&self, command: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(commands) => commands.contains(command),
            Self::Queries => command.starts_with("query-") || ["qom-get", "qom-list"].contains(&command),
        }
    }
}

/// A monitor that is shared; clones share it.
#[derive(Clone, Debug)]
pub struct Share {
    client: Client,
}

/// Why a user's connection ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UserEnd {
    /// The user left.
    #[error("the user of the shared monitor left")]
    Left,
    /// Its socket failed.
    #[error("the socket of the monitor's user failed")]
    Socket(#[source] io::Error),
    /// It did not read what it was sent.
    #[error("the user of the shared monitor does not read its events")]
    Stuck,
    /// A request outgrew the limit.
    #[error("a request of more than {0} bytes")]
    TooLong(usize),
    /// The monitor itself is gone.
    #[error("the monitor is gone")]
    Monitor,
}

/// Bytes that wait for one user before it is cut off.
pub const UNREAD_BYTES: usize = 4 * 1024 * 1024;

/// Events on their way to a user; they wait there only while its other work is done.
const EVENTS: usize = 1024;

/// Bytes of one request. QEMU takes 64 MiB; no command needs it.
const REQUEST_BYTES: usize = 8 * 1024 * 1024;

/// In-band commands of one user with out-of-band execution that wait for their answers: one that is carried out and the eight of QEMU's queue,
/// so that who keeps to those is always read. Of others it is one, as in QEMU.
const PIPELINED: usize = 9;

/// Out-of-band commands of one user that wait for their answers; QEMU itself carries out one after another.
const OUT_OF_BAND: usize = 8;

impl Share {
    /// Shares a client's connection. Deadlines of its calls are those of the client; [`Client::with_deadline`] with `None` makes the
    /// users wait as long as QEMU makes them wait.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Serves one user until its connection ends.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite, policy: Policy) -> UserEnd {
        let Ok(greeting) = self.client.ready().await else { return UserEnd::Monitor };
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut user = User {
            // Only those that are raised from now on, and kept back until it has negotiated.
            events: self.client.subscribe(Filter::All, EVENTS),
            client: &self.client,
            policy,
            parser: Parser::new(REQUEST_BYTES),
            oob_offered: greeting.capabilities.iter().any(|capability| capability == "oob"),
            negotiated: false,
            oob: false,
            in_band: VecDeque::new(),
            out_of_band: Vec::new(),
            output: Vec::new(),
        };
        user.say(&hello(&greeting));
        let mut chunk = vec![0; 16 * 1024];
        // The monitor is gone: what it said last is still passed on, such as the answer to `quit`, to who reads it.
        let mut ending = Limit::default();
        loop {
            if ending.has_begun() && user.is_done() {
                return UserEnd::Monitor;
            }
            let is_ending = ending.has_begun();
            if !is_ending && let Some(end) = user.take_permitted() {
                return end;
            }
            let reads = is_ending || user.may_take();
            // Cancel safety: a read or write that lost the race has moved no byte; events and calls under way are kept.
            // In this order, so that an event comes before an answer that came after it.
            tokio::select! {
                biased;
                event = user.events.next(), if user.negotiated && !is_ending => match event {
                    Ok(_) if user.output.len() > UNREAD_BYTES => return UserEnd::Stuck,
                    Ok(event) => user.say(&told(&event)),
                    Err(EventError::Lagged(_)) => return UserEnd::Stuck,
                    Err(EventError::Closed) => ending.begin(LAST_WORDS),
                },
                written = writer.write(&user.output), if !user.output.is_empty() => match written {
                    Ok(count) => drop(user.output.drain(..count)),
                    Err(error) => return UserEnd::Socket(error),
                },
                answer = Answered { in_band: &mut user.in_band, out_of_band: &mut user.out_of_band } => user.say(&answer),
                read = reader.read(&mut chunk), if reads => match read {
                    Ok(0) => return UserEnd::Left,
                    Ok(_) if is_ending => {}
                    Ok(count) => user.parser.push(&chunk[..count]),
                    Err(error) => return UserEnd::Socket(error),
                },
                _ = self.client.closed(), if !is_ending => ending.begin(LAST_WORDS),
                () = ending.passed() => return UserEnd::Monitor,
            }
        }
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Value> + Send + 'a>>;

struct User<'a> {
    events: crate::Subscription,
    client: &'a Client,
    policy: Policy,
    parser: Parser,
    oob_offered: bool,
    negotiated: bool,
    oob: bool,
    /// Answers in the order of their requests.
    in_band: VecDeque<Pending<'a>>,
    out_of_band: Vec<Pending<'a>>,
    output: Vec<u8>,
}

enum Pending<'a> {
    Waiting(Answer<'a>),
    Ready(Value),
}

impl<'a> User<'a> {
    fn say(&mut self, message: &Value) {
        self.output.extend_from_slice(message.to_string().as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn is_done(&self) -> bool {
        self.in_band.is_empty() && self.out_of_band.is_empty() && self.output.is_empty()
    }

    fn may_take(&self) -> bool {
        let pipelined = if self.oob { PIPELINED } else { 1 };
        self.in_band.len() < pipelined
            && self.out_of_band.len() < OUT_OF_BAND
            && self.output.len() < UNREAD_BYTES
    }

    /// Takes what the user has sent, as far as it may go now.
    fn take_permitted(&mut self) -> Option<UserEnd> {
        while self.may_take() {
            match self.parser.next_input()? {
                Input::TooLong => return Some(UserEnd::TooLong(REQUEST_BYTES)),
                input => self.take(input),
            }
        }
        None
    }

    fn take(&mut self, input: Input) {
        let value = match input {
            Input::Value(value) => value,
            Input::Malformed | Input::TooLong => {
                // Without an id: nobody knows which.
                let answer = refusal(None, "GenericError", "JSON parse error");
                return self.in_band.push_back(Pending::Ready(answer));
            }
        };
        let Value::Object(mut request) = value else {
            let answer = refusal(None, "GenericError", "QMP input must be a JSON object");
            return self.in_band.push_back(Pending::Ready(answer));
        };
        let id = request.remove("id");
        let (command, out_of_band) = match (request.remove("execute"), request.remove("exec-oob")) {
            (Some(Value::String(command)), None) => (command, false),
            (None, Some(Value::String(command))) if self.oob => (command, true),
            _ => {
                let answer = refusal(id, "GenericError", "QMP input lacks member 'execute'");
                return self.in_band.push_back(Pending::Ready(answer));
            }
        };
        let arguments = match request.remove("arguments") {
            None => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => {
                let answer = refusal(id, "GenericError", "QMP input member 'arguments' must be an object");
                return self.in_band.push_back(Pending::Ready(answer));
            }
        };
        if command == "qmp_capabilities" || !self.negotiated {
            let answer = self.negotiate(id, &command, &arguments);
            return self.in_band.push_back(Pending::Ready(answer));
        }
        if !self.policy.allows(&command) {
            let text = format!("The command {command} is not for users of this shared monitor");
            return self.in_band.push_back(Pending::Ready(refusal(id, "CommandNotFound", &text)));
        }
        let client = self.client;
        if out_of_band {
            let answer = async move { answer(id, client.execute_oob(&command, arguments).await) };
            self.out_of_band.push(Pending::Waiting(Box::pin(answer)));
        } else {
            let answer = async move { answer(id, client.execute(&command, arguments).await) };
            self.in_band.push_back(Pending::Waiting(Box::pin(answer)));
        }
    }

    fn negotiate(&mut self, id: Option<Value>, command: &str, arguments: &Map<String, Value>) -> Value {
        if command != "qmp_capabilities" || self.negotiated {
            let text = if self.negotiated {
                "Capabilities negotiation is already complete"
            } else {
                "Expecting capabilities negotiation with 'qmp_capabilities'"
            };
            return refusal(id, "CommandNotFound", text);
        }
        let wanted = arguments.get("enable").and_then(Value::as_array).cloned().unwrap_or_default();
        if wanted.iter().any(|capability| capability != "oob" || !self.oob_offered) {
            return refusal(id, "GenericError", "a capability that was not offered");
        }
        self.oob = !wanted.is_empty();
        self.negotiated = true;
        // Events from before are not for it.
        self.events = self.client.subscribe(Filter::All, EVENTS);
        with_id(id, "return", json!({}))
    }
}

/// The next answer that may be sent: in-band ones in order, out-of-band ones when they come.
struct Answered<'u, 'a> {
    in_band: &'u mut VecDeque<Pending<'a>>,
    out_of_band: &'u mut Vec<Pending<'a>>,
}

impl Future for Answered<'_, '_> {
    type Output = Value;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Value> {
        let this = self.get_mut();
        // All are polled, since a call is made when it is first polled.
        for pending in this.in_band.iter_mut().chain(this.out_of_band.iter_mut()) {
            if let Pending::Waiting(answer) = pending
                && let Poll::Ready(answer) = answer.as_mut().poll(context)
            {
                *pending = Pending::Ready(answer);
            }
        }
        if let Some(at) = this.out_of_band.iter().position(|pending| matches!(pending, Pending::Ready(_)))
            && let Pending::Ready(answer) = this.out_of_band.remove(at)
        {
            return Poll::Ready(answer);
        }
        match this.in_band.pop_front() {
            Some(Pending::Ready(answer)) => Poll::Ready(answer),
            Some(waiting) => {
                this.in_band.push_front(waiting);
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

fn hello(greeting: &Greeting) -> Value {
    let version = &greeting.version;
    json!({"QMP": {
        "version": {"qemu": version.qemu, "package": version.package},
        "capabilities": greeting.capabilities,
    }})
}

fn told(event: &Event) -> Value {
    let timestamp = event.timestamp.map_or(
        json!({"seconds": -1, "microseconds": -1}),
        |timestamp| json!({"seconds": timestamp.seconds, "microseconds": timestamp.microseconds}),
    );
    let mut message = Map::from_iter([("timestamp".to_owned(), timestamp)]);
    message.insert("event".to_owned(), Value::from(event.name.as_str()));
    if !event.data.is_empty() {
        message.insert("data".to_owned(), Value::Object(event.data.clone()));
    }
    Value::Object(message)
}

fn answer(id: Option<Value>, outcome: Result<Value, CallError>) -> Value {
    match outcome {
        Ok(value) => with_id(id, "return", value),
        Err(CallError::Refused { refusal: words, .. }) => refusal(id, words.class.as_str(), &words.desc),
        Err(error) => refusal(id, "GenericError", &with_causes(&error)),
    }
}

fn refusal(id: Option<Value>, class: &str, text: &str) -> Value {
    with_id(id, "error", json!({"class": class, "desc": text}))
}

fn with_id(id: Option<Value>, kind: &str, content: Value) -> Value {
    let mut message = Map::new();
    if let Some(id) = id {
        message.insert("id".to_owned(), id);
    }
    message.insert(kind.to_owned(), content);
    Value::Object(message)
}

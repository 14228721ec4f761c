//! The protocol as a value: bytes in, outputs and bytes out. No socket, no clock, no task.
//!
//! ```text
//!            greeting               qmp_capabilities accepted
//!  Greeting ----------> Negotiating ------------------------> Running
//!     \____________________ events are accepted in every state ___/
//! ```
//!
//! - Calls may be submitted in every state; they wait until the session runs and until fewer than
//!   [`IN_BAND_IN_FLIGHT`] in-band calls are unanswered. Out-of-band calls overtake that queue.
//! - Giving up a call never harms the session: a call not yet written is taken back, the answer to a written one is
//!   counted and dropped.
//! - Answers to calls that nobody made, errors without id and messages of unknown kind are counted, not fatal.

use crate::{
    codec::{Splitter, TooLong},
    message::{Event, Greeting, Malformed, Message, Refusal},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};
use thiserror::Error;

/// In-band calls written and not answered: beyond 8 the server stops reading (`QMP_REQ_QUEUE_LEN_MAX` in
/// `monitor/monitor-internal.h`) and out-of-band commands would wait as well.
pub const IN_BAND_IN_FLIGHT: usize = 8;

/// Names one call within a session; chosen by the caller, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// How a command is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// In order, on the server's main loop.
    #[default]
    InBand,
    /// At once, beside a blocked main loop; only commands marked `allow-oob` and only if the server offers it.
    OutOfBand,
}

/// Limits of a session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest message accepted, in bytes. The largest reply known is the schema with about 240 kB.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 64 * 1024 * 1024 }
    }
}

/// What the session has to say; taken with [`Session::poll_output`].
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Negotiation has succeeded; calls are being written from here on.
    Running(Greeting),
    /// The answer to a call that has not been given up.
    Reply(CallId, Result<Value, Refusal>),
    /// A call that cannot be made on this server: out of band was asked for and is not offered.
    Unsupported(CallId),
    /// An event.
    Event(Event),
}

/// The peer broke the protocol; the connection is of no further use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A message outgrew the limit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// A line was not a QMP message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The server refused the negotiation that its own greeting invited.
    #[error("the server refused the capabilities that it had offered")]
    Negotiation(#[source] Refusal),
}

/// Things that happened and needed no action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Answers to calls that had been given up.
    pub late_replies: u64,
    /// Answers with an id that was never used, or used up.
    pub unknown_replies: u64,
    /// Errors without an id.
    pub unattributed_errors: u64,
    /// Messages of a kind these bindings do not know.
    pub unknown_messages: u64,
}

/// One QMP connection, client side.
#[derive(Debug)]
pub struct Session {
    splitter: Splitter,
    state: State,
    oob: bool,
    in_band: usize,
    in_flight: HashMap<u64, Slot>,
    waiting: VecDeque<Call>,
    outputs: VecDeque<Output>,
    transmit: Vec<u8>,
    counters: Counters,
}

#[derive(Debug)]
enum State {
    Greeting,
    Negotiating(Greeting),
    Running,
}

#[derive(Debug)]
struct Slot {
    execution: Execution,
    abandoned: bool,
}

#[derive(Debug)]
struct Call {
    id: CallId,
    command: String,
    arguments: Map<String, Value>,
    execution: Execution,
}

impl Session {
    /// A session that waits for the greeting.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            splitter: Splitter::new(limits.message_bytes),
            state: State::Greeting,
            oob: false,
            in_band: 0,
            in_flight: HashMap::new(),
            waiting: VecDeque::new(),
            outputs: VecDeque::new(),
            transmit: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a call. It is written as soon as the session permits.
    pub fn submit(
        &mut self,
        id: CallId,
        command: impl Into<String>,
        arguments: Map<String, Value>,
        execution: Execution,
    ) {
        self.waiting.push_back(Call { id, command: command.into(), arguments, execution });
        self.write_permitted();
    }

    /// Gives a call up: its answer, if any, will be counted and dropped. Unknown and answered calls are ignored.
    pub fn abandon(&mut self, id: CallId) {
        self.waiting.retain(|call| call.id != id);
        if let Some(slot) = self.in_flight.get_mut(&id.0) {
            slot.abandoned = true;
        }
    }

    /// Takes bytes from the server.
    ///
    /// # Errors
    /// [`Violation`] when the peer breaks the protocol; drop the connection then. Outputs made before stay available.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.splitter.push(bytes);
        while let Some(line) = self.splitter.next_message()? {
            let message = Message::parse(line)?;
            self.handle(message)?;
        }
        self.write_permitted();
        Ok(())
    }

    /// The next output, oldest first. Call after every input until it answers `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Bytes to send to the server; say with [`Session::transmitted`] how many were sent.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        &self.transmit
    }

    /// The first `count` bytes of [`Session::transmit`] are with the kernel.
    pub fn transmitted(&mut self, count: usize) {
        self.transmit.drain(..count);
    }

    /// What was noticed and ignored so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn handle(&mut self, message: Message) -> Result<(), Violation> {
        match message {
            Message::Event(event) => self.outputs.push_back(Output::Event(event)),
            Message::Greeting(greeting) if matches!(self.state, State::Greeting) => self.negotiate(greeting),
            Message::Reply { id, result } if id.as_ref().is_some_and(|id| id == NEGOTIATION_ID) => {
                self.negotiated(result)?;
            }
            Message::Reply { id: Some(id), result } => self.answered(&id, result),
            Message::Reply { id: None, result: Err(_) } => self.counters.unattributed_errors += 1,
            Message::Reply { id: None, result: Ok(_) } => self.counters.unknown_replies += 1,
            Message::Greeting(_) | Message::Other => self.counters.unknown_messages += 1,
        }
        Ok(())
    }

    /// With out-of-band enabled the server reads ahead, which also makes pipelined in-band calls 1.7 times as fast.
    fn negotiate(&mut self, greeting: Greeting) {
        self.oob = greeting.capabilities.iter().any(|capability| capability == "oob");
        let enable = if self.oob { vec![Value::from("oob")] } else { Vec::new() };
        let arguments = Map::from_iter([("enable".to_owned(), Value::from(enable))]);
        write_request(&mut self.transmit, NEGOTIATION_ID, "qmp_capabilities", &arguments, Execution::InBand);
        self.state = State::Negotiating(greeting);
    }

    fn negotiated(&mut self, result: Result<Value, Refusal>) -> Result<(), Violation> {
        let State::Negotiating(greeting) = std::mem::replace(&mut self.state, State::Running) else {
            self.counters.unknown_replies += 1;
            return Ok(());
        };
        result.map_err(Violation::Negotiation)?;
        self.outputs.push_back(Output::Running(greeting));
        Ok(())
    }

    fn answered(&mut self, id: &Value, result: Result<Value, Refusal>) {
        let Some((id, slot)) = id.as_u64().and_then(|id| Some((id, self.in_flight.remove(&id)?))) else {
            self.counters.unknown_replies += 1;
            return;
        };
        if slot.execution == Execution::InBand {
            self.in_band -= 1;
        }
        if slot.abandoned {
            self.counters.late_replies += 1;
        } else {
            self.outputs.push_back(Output::Reply(CallId(id), result));
        }
    }

    fn write_permitted(&mut self) {
        if !matches!(self.state, State::Running) {
            return;
        }
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        for call in std::mem::take(&mut self.waiting) {
            match call.execution {
                Execution::OutOfBand if !self.oob => self.outputs.push_back(Output::Unsupported(call.id)),
                Execution::InBand if self.in_band >= IN_BAND_IN_FLIGHT => kept.push_back(call),
                Execution::InBand => {
                    self.in_band += 1;
                    self.write(&call);
                }
                Execution::OutOfBand => self.write(&call),
            }
        }
        self.waiting = kept;
    }

    fn write(&mut self, call: &Call) {
        write_request(&mut self.transmit, call.id.0, &call.command, &call.arguments, call.execution);
        self.in_flight.insert(call.id.0, Slot { execution: call.execution, abandoned: false });
    }
}

fn write_request(
    out: &mut Vec<u8>,
    id: impl Serialize,
    command: &str,
    arguments: &Map<String, Value>,
    execution: Execution,
) {
    #[derive(Serialize)]
    struct Request<'a, I> {
        #[serde(skip_serializing_if = "Option::is_none")]
        execute: Option<&'a str>,
        #[serde(rename = "exec-oob", skip_serializing_if = "Option::is_none")]
        exec_oob: Option<&'a str>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        arguments: &'a Map<String, Value>,
        id: I,
    }
    let in_band = execution == Execution::InBand;
    let request = Request {
        execute: in_band.then_some(command),
        exec_oob: (!in_band).then_some(command),
        arguments,
        id,
    };
    serde_json::to_writer(&mut *out, &request).expect("a JSON value is always writable to memory");
    out.push(b'\n');
}

/// Not a number, so that it never meets a caller's id.
const NEGOTIATION_ID: &str = "negotiation";

#[cfg(test)]
mod tests;

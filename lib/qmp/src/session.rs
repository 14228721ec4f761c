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
//! - A call that carries descriptors is a fence: it is written when no in-band call is unanswered, and none is written before
//!   its answer. The server keeps only the descriptors that came last, so those of two calls under way would be mixed up.
//! - A stream whose last user may have left half a message is taken over with [`Opening::Resumed`]: one byte that is no JSON makes
//!   the server drop what it has, and the one error that it raises is swallowed.
//! - Giving up a call never harms the session: a call not yet written is taken back, the answer to a written one is
//!   counted and dropped.
//! - A call that the server's reader would refuse is not written ([`Illegible`]): it would be answered without its id. Such an error that
//!   comes all the same is the answer to the oldest in-band call, as those are answered in order; after one, the server may take the rest
//!   of that request for many, so that further ones count only when it has answered another call.
//! - Answers to calls that nobody made, errors that answer none and messages of unknown kind are counted, not fatal.

use crate::{
    codec::{Splitter, TooLong},
    legible::{self, Illegible},
    message::{Addressee, Event, Greeting, Malformed, Message, Refusal, Version, addressee, replied},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{collections::VecDeque, os::fd::OwnedFd};
use thiserror::Error;

/// In-band calls written and not answered. With the eighth that the server has not begun it stops reading (`QMP_REQ_QUEUE_LEN_MAX` in
/// `monitor/qmp.c`, `handle_qmp_command`), and out-of-band commands would wait as well. It begins none while anything keeps its main loop, be
/// it of another monitor: one fewer is always read.
pub const IN_BAND_IN_FLIGHT: usize = 7;

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

/// Descriptors that one message can carry (`TCP_MAX_FDS` in QEMU's `chardev/char-socket.c`); more are lost.
pub const DESCRIPTORS: usize = 16;

/// How a session begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opening {
    /// The server greets: a connection that was just made.
    #[default]
    Greeted,
    /// The connection had another user, who may have left half a message, and calls that are still to be answered. No greeting
    /// comes: the version is asked for.
    Resumed {
        /// Whether that user had enabled out-of-band execution; it cannot be asked for.
        oob: Oob,
    },
}

/// Whether a server takes out-of-band calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oob {
    /// It does.
    Enabled,
    /// It does not.
    Disabled,
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
    /// The message with the answer to a call that was made with [`Session::submit_for_text`], whole and unread.
    Text(CallId, Box<[u8]>),
    /// The answer to a call that has not been given up, when it cannot be read.
    Unreadable(CallId, Malformed),
    /// A call that cannot be made on this server: out of band was asked for and is not offered.
    Unsupported(CallId),
    /// A call that was not written, as the server would not read it.
    Illegible(CallId, Illegible),
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
    /// A line was not a QMP message, and no answer that could have been one.
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
    /// Answers with an id that no call under way has.
    pub unknown_replies: u64,
    /// Errors without an id that answer no call, other than those that a resynchronisation raises.
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
    /// A call with descriptors is under way.
    fenced: bool,
    /// Seven in band, and some out of band: too few for an index.
    in_flight: Vec<Slot>,
    /// In-band calls that are not written yet.
    waiting: VecDeque<Call>,
    /// Out-of-band calls made before the session ran.
    early: Vec<Call>,
    outputs: VecDeque<Output>,
    transmit: Vec<u8>,
    /// How much of `transmit` is with the kernel.
    sent: usize,
    attached: Option<Attached>,
    /// The server could not read a request, and has answered none since.
    is_astray: bool,
    /// The error that a resynchronisation raises is still to come; what comes before it is of the user before.
    is_resynchronising: bool,
    counters: Counters,
}

#[derive(Debug)]
enum State {
    Greeting,
    Negotiating(Greeting),
    /// The answer tells that the server understands us again; it is a refusal, for a server negotiates once.
    Resuming(Oob),
    /// The version is asked for, in place of the greeting that came to somebody else.
    Identifying,
    Running,
}

#[derive(Debug)]
struct Slot {
    call: CallId,
    /// What the server is told and answers with.
    id: u64,
    /// In band, and one of those that may be unanswered.
    holds_place: bool,
    abandoned: bool,
    fence: bool,
    text: bool,
}

#[derive(Debug)]
struct Call {
    id: CallId,
    command: String,
    arguments: Map<String, Value>,
    execution: Execution,
    descriptors: Vec<OwnedFd>,
    text: bool,
}

/// Descriptors in the bytes to send.
#[derive(Debug)]
struct Attached {
    /// Where their command begins.
    from: usize,
    descriptors: Vec<OwnedFd>,
}

/// What is to be sent next, in one system call.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Bytes.
    pub bytes: &'a [u8],
    /// Descriptors that go with the first of them; mostly none.
    pub descriptors: &'a [OwnedFd],
}

impl Session {
    /// A session that waits for the greeting.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::open(limits, Opening::Greeted)
    }

    /// A session that begins otherwise.
    #[must_use]
    pub fn open(limits: Limits, opening: Opening) -> Self {
        let mut session = Self {
            splitter: Splitter::new(limits.message_bytes),
            state: State::Greeting,
            oob: false,
            in_band: 0,
            fenced: false,
            in_flight: Vec::new(),
            waiting: VecDeque::new(),
            early: Vec::new(),
            outputs: VecDeque::new(),
            transmit: Vec::new(),
            sent: 0,
            attached: None,
            is_astray: false,
            is_resynchronising: false,
            counters: Counters::default(),
        };
        if let Opening::Resumed { oob } = opening {
            session.state = State::Resuming(oob);
            session.transmit.push(RESYNCHRONISE);
            session.is_resynchronising = true;
            session.ask(NEGOTIATION_ID, "qmp_capabilities");
        }
        session
    }

    /// Takes a call. It is written as soon as the session permits.
    pub fn submit(
        &mut self,
        id: CallId,
        command: impl Into<String>,
        arguments: Map<String, Value>,
        execution: Execution,
    ) {
        let descriptors = Vec::new();
        let call = Call { id, command: command.into(), arguments, execution, descriptors, text: false };
        let Some(call) = self.legible(call) else { return };
        match (execution, &self.state) {
            (Execution::OutOfBand, State::Running) => self.write_out_of_band(call),
            (Execution::OutOfBand, _) => self.early.push(call),
            (Execution::InBand, _) => self.submit_in_band(call),
        }
    }

    /// Takes an in-band call that carries descriptors: no more than [`DESCRIPTORS`]. They are closed here once they are sent, or when
    /// the call is given up before.
    pub fn submit_with_descriptors(
        &mut self,
        id: CallId,
        command: impl Into<String>,
        arguments: Map<String, Value>,
        descriptors: Vec<OwnedFd>,
    ) {
        let execution = Execution::InBand;
        let command = command.into();
        let call = Call { id, command, arguments, execution, descriptors, text: false };
        if let Some(call) = self.legible(call) {
            self.submit_in_band(call);
        }
    }

    /// Takes an in-band call without arguments whose answer is large and is to be read by the caller: nothing is built of it here.
    pub fn submit_for_text(&mut self, id: CallId, command: impl Into<String>) {
        let (command, descriptors) = (command.into(), Vec::new());
        let execution = Execution::InBand;
        self.submit_in_band(Call { id, command, arguments: Map::new(), execution, descriptors, text: true });
    }

    fn legible(&mut self, call: Call) -> Option<Call> {
        match legible::check(&call.command, &call.arguments) {
            Ok(()) => Some(call),
            Err(why) => {
                self.outputs.push_back(Output::Illegible(call.id, why));
                None
            }
        }
    }

    fn submit_in_band(&mut self, call: Call) {
        self.waiting.push_back(call);
        self.write_permitted();
    }

    /// Gives a call up: its answer, if any, will be counted and dropped. Unknown and answered calls are ignored.
    pub fn abandon(&mut self, id: CallId) {
        if !self.withdraw(id)
            && let Some(slot) = self.in_flight.iter_mut().find(|slot| slot.call == id)
        {
            slot.abandoned = true;
        }
    }

    /// Takes a call back that is not written yet, and says whether it was not.
    pub fn withdraw(&mut self, id: CallId) -> bool {
        let before = self.waiting.len() + self.early.len();
        self.waiting.retain(|call| call.id != id);
        self.early.retain(|call| call.id != id);
        let is_withdrawn = self.waiting.len() + self.early.len() < before;
        // It may have been the fence that others waited behind.
        self.write_permitted();
        is_withdrawn
    }

    /// Takes bytes from the server.
    ///
    /// # Errors
    /// [`Violation`] when the peer breaks the protocol; drop the connection then. Outputs made before stay available.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.splitter.push(bytes);
        while let Some(line) = self.splitter.next_message()? {
            // Rarely is there such a call, and then its answer is mostly the next large line.
            if self.in_flight.iter().any(|slot| slot.text && !slot.abandoned)
                && let Some(id) = replied(line)
                && self.in_flight.iter().any(|slot| slot.text && !slot.abandoned && slot.id == id)
            {
                let text = Box::from(line);
                if let Some(slot) = self.settle(id) {
                    self.outputs.push_back(Output::Text(slot.call, text));
                }
                continue;
            }
            match Message::parse(line) {
                Ok(message) => self.handle(message)?,
                Err(malformed) => {
                    let concerned = addressee(line);
                    self.unreadable(concerned, malformed)?;
                }
            }
        }
        self.write_permitted();
        Ok(())
    }

    /// The next output, oldest first. Call after every input until it answers `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What to send to the server next; say with [`Session::transmitted`] how many bytes were sent. There is more until this is
    /// empty: descriptors travel with the bytes of their own command only.
    #[must_use]
    pub fn transmit(&self) -> Transmit<'_> {
        let plain = |to: usize| Transmit { bytes: &self.transmit[self.sent..to], descriptors: &[] };
        match &self.attached {
            None => plain(self.transmit.len()),
            Some(attached) if attached.from > self.sent => plain(attached.from),
            Some(attached) => {
                Transmit { bytes: &self.transmit[self.sent..], descriptors: &attached.descriptors }
            }
        }
    }

    /// The first `count` bytes of [`Session::transmit`] are with the kernel, and its descriptors.
    pub fn transmitted(&mut self, count: usize) {
        if count > 0 {
            self.attached.take_if(|attached| attached.from <= self.sent);
        }
        self.sent += count;
        if self.sent == self.transmit.len() {
            self.transmit.clear();
            self.sent = 0;
        }
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
            Message::Reply { id: None, result: Err(_) } if self.is_resynchronising => {
                self.is_resynchronising = false;
            }
            Message::Reply { id: None, result: Err(refusal) } => self.refused(refusal),
            Message::Reply { id: None, result: Ok(_) } => self.counters.unknown_replies += 1,
            Message::Greeting(_) | Message::Other => self.counters.unknown_messages += 1,
        }
        Ok(())
    }

    /// An error without an id: the server could not read a request. It says so in the order of the requests (`handle_qmp_command` in
    /// `monitor/qmp.c`), so it answers the oldest. Its number is not given to another call: were this wrong, its answer would still come.
    fn refused(&mut self, refusal: Refusal) {
        let oldest = self.in_flight.iter_mut().find(|slot| slot.holds_place);
        let Some(slot) = oldest.filter(|_| !self.is_astray) else {
            self.counters.unattributed_errors += 1;
            return;
        };
        self.is_astray = true;
        self.in_band -= 1;
        self.fenced &= !slot.fence;
        slot.holds_place = false;
        if std::mem::replace(&mut slot.abandoned, true) {
            self.counters.late_replies += 1;
        } else {
            self.outputs.push_back(Output::Reply(slot.call, Err(refusal)));
        }
    }

    /// One line that is of no use costs the call that it answers, if any: the next line is a message again.
    fn unreadable(&mut self, concerned: Option<Addressee>, malformed: Malformed) -> Result<(), Violation> {
        if self.is_resynchronising {
            // The user before may have read the beginning of a line.
            self.counters.unknown_messages += 1;
            return Ok(());
        }
        match concerned.ok_or_else(|| malformed.clone())? {
            Addressee::Call(id) => match self.settle(id) {
                Some(slot) if !slot.abandoned => {
                    self.outputs.push_back(Output::Unreadable(slot.call, malformed));
                }
                Some(_) => self.counters.late_replies += 1,
                None => self.counters.unknown_replies += 1,
            },
            Addressee::Nobody => self.counters.unknown_messages += 1,
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

    fn ask(&mut self, id: &str, command: &str) {
        write_request(&mut self.transmit, id, command, &Map::new(), Execution::InBand);
    }

    fn negotiated(&mut self, result: Result<Value, Refusal>) -> Result<(), Violation> {
        if self.is_resynchronising {
            // It answers the user before, who was one of ours.
            self.counters.unknown_replies += 1;
            return Ok(());
        }
        match std::mem::replace(&mut self.state, State::Running) {
            State::Negotiating(greeting) => {
                result.map_err(Violation::Negotiation)?;
                self.run(greeting);
            }
            State::Resuming(oob) => {
                // Accepted by a server whose last user had not come so far.
                self.oob = oob == Oob::Enabled && result.is_err();
                self.state = State::Identifying;
                self.ask(NEGOTIATION_ID, "query-version");
            }
            State::Identifying => {
                let version = result.map_err(Violation::Negotiation)?;
                let capabilities = if self.oob { vec!["oob".to_owned()] } else { Vec::new() };
                self.run(Greeting { version: Version::of(version)?, capabilities });
            }
            state @ (State::Greeting | State::Running) => {
                self.state = state;
                self.counters.unknown_replies += 1;
            }
        }
        Ok(())
    }

    fn run(&mut self, greeting: Greeting) {
        self.outputs.push_back(Output::Running(greeting));
        for call in std::mem::take(&mut self.early) {
            self.write_out_of_band(call);
        }
    }

    fn answered(&mut self, id: &Value, result: Result<Value, Refusal>) {
        let Some(slot) = id.as_u64().and_then(|id| self.settle(id)) else {
            self.counters.unknown_replies += 1;
            return;
        };
        if slot.abandoned {
            self.counters.late_replies += 1;
        } else {
            self.outputs.push_back(Output::Reply(slot.call, result));
        }
    }

    /// A call was answered.
    fn settle(&mut self, id: u64) -> Option<Slot> {
        let at = self.in_flight.iter().position(|slot| slot.id == id)?;
        let slot = self.in_flight.remove(at);
        if slot.holds_place {
            self.in_band -= 1;
            self.fenced &= !slot.fence;
            self.is_astray = false;
        }
        Some(slot)
    }

    /// Writes in-band calls in the order in which they were made, as far as they may go now.
    fn write_permitted(&mut self) {
        if !matches!(self.state, State::Running) {
            return;
        }
        while !self.fenced && self.in_band < IN_BAND_IN_FLIGHT {
            let Some(call) = self.waiting.front() else { return };
            let fence = !call.descriptors.is_empty();
            if fence && self.in_band > 0 {
                return;
            }
            let Some(call) = self.waiting.pop_front() else { return };
            self.in_band += 1;
            self.fenced = fence;
            self.write(call);
        }
    }

    fn write_out_of_band(&mut self, call: Call) {
        if self.oob {
            self.write(call);
        } else {
            self.outputs.push_back(Output::Unsupported(call.id));
        }
    }

    fn write(&mut self, call: Call) {
        let from = self.transmit.len();
        let id = self.free_id();
        write_request(&mut self.transmit, id, &call.command, &call.arguments, call.execution);
        let fence = !call.descriptors.is_empty();
        if fence {
            // There is no other: it was sent before its command was answered.
            self.attached = Some(Attached { from, descriptors: call.descriptors });
        }
        self.in_flight.push(Slot {
            call: call.id,
            id,
            holds_place: call.execution == Execution::InBand,
            abandoned: false,
            fence,
            text: call.text,
        });
    }

    /// The least that no call under way has, also none that was given up, or one above all of them where there are very many: QEMU reads and
    /// repeats it byte by byte, and five digits more cost a tenth of its time for a small command (7.2.22).
    fn free_id(&self) -> u64 {
        let low = self.in_flight.iter().filter(|slot| slot.id < 64);
        match low.fold(0_u64, |taken, slot| taken | 1 << slot.id).trailing_ones() {
            64 => self.in_flight.iter().map(|slot| slot.id + 1).max().unwrap_or(0),
            free => free.into(),
        }
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

/// No JSON text holds this byte, so a parser drops what it has (measured on QEMU 7.2: also inside an open string, at the price
/// of one error without id).
const RESYNCHRONISE: u8 = 0xff;

/// Not a number, so that it never meets a caller's id.
const NEGOTIATION_ID: &str = "negotiation";

#[cfg(test)]
mod tests;

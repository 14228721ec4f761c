//! The future that owns the socket.

use super::{CloseReason, Phase, Shared};
use crate::{
    legible::Illegible,
    limit::Limit,
    message::{Malformed, Refusal},
    session::{CallId, Counters, Execution, Output, Session},
    transport::Outgoing,
};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{mpsc, oneshot},
};

/// Tells everybody who waits when the driving future is dropped instead of run to its end.
pub(super) struct CloseGuard {
    pub(super) shared: Arc<Shared>,
}

impl Drop for CloseGuard {
    fn drop(&mut self) {
        self.shared.close(CloseReason::Abandoned);
    }
}

#[derive(Debug)]
pub(super) enum Input {
    Call {
        id: CallId,
        command: String,
        arguments: Map<String, Value>,
        execution: Execution,
        descriptors: Vec<OwnedFd>,
        reply: Waiting,
    },
    CallForText {
        id: CallId,
        command: &'static str,
        reply: Waiting,
    },
    Abandon(CallId),
    /// It is given up only if it is not written yet.
    Withdraw(CallId),
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) caller: oneshot::Sender<Given>,
    /// Where an answer that nobody takes leaves something behind: the command that removes it, and the way back to the driver.
    pub(super) undo: Option<(Undo, mpsc::WeakUnboundedSender<Input>)>,
}

/// An answer on its way to the caller. One that is dropped there, because the caller has left in the meantime, is undone.
#[derive(Debug)]
pub(super) struct Given {
    answer: Option<Answer>,
    undo: Option<(Undo, mpsc::WeakUnboundedSender<Input>)>,
    shared: Arc<Shared>,
}

impl Given {
    pub(super) fn take(mut self) -> Answer {
        self.answer.take().expect("taken once")
    }

    /// The call that undoes what nobody took, and the way to the driver.
    fn undone(&mut self) -> Option<(Input, mpsc::WeakUnboundedSender<Input>)> {
        let (Some(Answer::Reply(Ok(value))), Some((undo, calls))) = (self.answer.take(), self.undo.take())
        else {
            return None;
        };
        let (command, arguments) = undo(value)?;
        let call = Input::Call {
            id: self.shared.new_id(),
            command: command.to_owned(),
            arguments,
            execution: Execution::InBand,
            descriptors: Vec::new(),
            reply: Waiting::nobody(),
        };
        Some((call, calls))
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        // Whoever has it has a client. A driver that is gone has nothing to undo.
        if let Some((call, calls)) = self.undone()
            && let Some(calls) = calls.upgrade()
        {
            let _ = calls.send(call);
        }
    }
}

impl Waiting {
    /// The answer is of no interest.
    pub(super) fn nobody() -> Self {
        Self { caller: oneshot::channel().0, undo: None }
    }
}

/// Makes of a reply the command that undoes it.
pub(crate) type Undo = fn(Value) -> Option<(&'static str, Map<String, Value>)>;

#[derive(Debug)]
pub(super) enum Answer {
    Reply(Result<Value, Refusal>),
    Text(Box<[u8]>),
    Unreadable(Malformed),
    Unsupported,
    Illegible(Illegible),
}

/// What becomes of a call when its future is dropped or its deadline passes.
pub(super) struct Pending<'a> {
    pub(super) calls: &'a mpsc::UnboundedSender<Input>,
    /// Nothing once it is answered.
    pub(super) left: Option<Input>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            // A driver that is gone has nothing to give up.
            let _ = self.calls.send(left);
        }
    }
}

pub(super) struct Driver {
    session: Session,
    pending: HashMap<CallId, Waiting, BuildHasherDefault<Counted>>,
    /// As last told.
    counters: Counters,
    shared: Arc<Shared>,
}

impl Driver {
    pub(super) fn new(session: Session, shared: Arc<Shared>) -> Self {
        Self { session, pending: HashMap::default(), counters: Counters::default(), shared }
    }

    pub(super) async fn run(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl Outgoing,
        inputs: &mut mpsc::UnboundedReceiver<Input>,
    ) -> CloseReason {
        let mut chunk = vec![0; READ_BYTES];
        // Of a server that takes nothing more.
        let mut last_words = Limit::default();
        // Of this side, when every client is gone: what they had run without waiting for it is still done.
        let mut parting = Limit::default();
        // Since something was written.
        let mut reads = 0;
        while !parting.has_begun() || !self.pending.is_empty() {
            // Cancel safety: a read or write that lost the race has moved no byte; `recv` keeps its message; the limit is kept across
            // rounds.
            tokio::select! {
                read = reader.read(&mut chunk) => match read {
                    Ok(0) => return CloseReason::Ended,
                    Ok(count) => {
                        let outcome = self.session.handle_bytes(&chunk[..count]);
                        self.deliver();
                        if let Err(violation) = outcome {
                            return violation.into();
                        }
                        // Whoever got something has a turn before much more is read, also on a runtime of one thread in a storm. Where
                        // nothing more waits to be read that mostly comes of itself, and costs the runtime no look at its sockets.
                        reads += 1;
                        if count == chunk.len() || reads >= IN_A_ROW {
                            reads = 0;
                            tokio::task::yield_now().await;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return CloseReason::Ended,
                    Err(error) => return CloseReason::Socket(error),
                },
                written = writer.send(self.session.transmit()), if !last_words.has_begun() && !self.session.transmit().bytes.is_empty() => {
                    reads = 0;
                    match written {
                        Ok(count) => self.session.transmitted(count),
                        // The server has closed it. What it said last is still to be read; the reader sees the end, mostly at once.
                        Err(error) if is_closed(&error) => {
                            last_words.begin(LAST_WORDS);
                        }
                        Err(error) => return CloseReason::Socket(error),
                    }
                }
                () = last_words.passed() => return CloseReason::Ended,
                () = parting.passed() => break,
                input = inputs.recv(), if !parting.has_begun() => match input {
                    Some(input) => {
                        self.take(input);
                        // What was asked at the same time goes out in one write.
                        while let Ok(input) = inputs.try_recv() {
                            self.take(input);
                        }
                    }
                    None => parting.begin(LAST_WORDS),
                },
            }
        }
        CloseReason::Abandoned
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
            Input::CallForText { id, command, reply } => {
                self.pending.insert(id, reply);
                self.session.submit_for_text(id, command);
                self.deliver();
            }
            Input::Abandon(id) => {
                self.pending.remove(&id);
                self.session.abandon(id);
            }
            Input::Withdraw(id) => {
                if self.session.withdraw(id) {
                    self.pending.remove(&id);
                }
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Running(greeting) => {
                    self.shared.phase.send_replace(Phase::Running(Arc::new(greeting)));
                    // The session's own call: nobody waits for its answer.
                    self.shared.observed("command", "qmp_capabilities", "ok");
                }
                Output::Reply(id, result) => self.answer(id, Answer::Reply(result)),
                Output::Text(id, message) => self.answer(id, Answer::Text(message)),
                Output::Unreadable(id, malformed) => self.answer(id, Answer::Unreadable(malformed)),
                Output::Unsupported(id) => self.answer(id, Answer::Unsupported),
                Output::Illegible(id, why) => self.answer(id, Answer::Illegible(why)),
                Output::Event(event) => {
                    self.shared.observed("event", &event.name, "ok");
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
        let Some(Waiting { caller, undo }) = self.pending.remove(&id) else { return };
        // The caller may have left between its last poll and now, as may every client: that is their right.
        let untaken = caller.send(Given { answer: Some(answer), undo, shared: self.shared.clone() }).err();
        if let Some((call, _)) = untaken.and_then(|mut given| given.undone()) {
            self.take(call);
        }
    }
}

/// Whether a write failed because the other side reads no more.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Reads behind one another, after which others have a turn.
const IN_A_ROW: u32 = 8;

/// For a server that reads no more, to finish what it says, and for one that nobody talks to any more, to answer what was asked of it.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);

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

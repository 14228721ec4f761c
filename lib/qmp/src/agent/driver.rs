//! The future that owns the channel, what is frozen, and the files that nobody uses any more.

use super::{
    Leftovers, Options, Patience, Shared,
    commands::{Command as _, Facts, FileClose, FileOpen, FsfreezeStatus, FsfreezeThaw, WhileFrozen},
    session::{Output, Session, Stage},
};
use crate::{
    CloseReason,
    limit::Limit,
    message::{Malformed, Refusal},
    session::CallId,
    wire::Object as _,
};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    future::Future,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

pub(super) type Outcome = Result<Value, Failure>;
pub(super) type Reply = oneshot::Sender<Outcome>;

#[derive(Debug)]
pub(super) enum Input {
    Call {
        id: CallId,
        facts: &'static Facts,
        arguments: Map<String, Value>,
        /// What it is done with, named by the call that opened it: not with another file of the same handle.
        file: Option<CallId>,
        reply: Reply,
    },
    /// Of a file, which is closed when nobody takes its handle.
    Open {
        id: CallId,
        arguments: Map<String, Value>,
        reply: Reply,
    },
    /// Of a file, which is named by the call that opened it; done as soon as it can be, also when nobody waits for it.
    Close {
        file: CallId,
        reply: Option<Reply>,
    },
    Freeze {
        id: CallId,
        facts: &'static Facts,
        arguments: Map<String, Value>,
        limit: Duration,
        reply: Reply,
    },
    /// By the owner of a freeze, which is named by its call.
    Thaw {
        freeze: CallId,
        reply: Option<Reply>,
    },
    Abandon(CallId),
}

/// Why a call failed, the connection being whole.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    Absent,
    Late,
    Garbled(Malformed),
    Frozen,
    NotFrozen,
    Gone,
}

pub(super) fn drive<S>(
    stream: S,
    options: Options,
    shared: Arc<Shared>,
    mut inputs: mpsc::UnboundedReceiver<Input>,
) -> impl Future<Output = Arc<CloseReason>> + Send + 'static
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let guard = CloseGuard(shared);
    async move {
        let mut driver = Driver {
            // Numbers that differ from those of other connections.
            session: Session::new(options.limits, RandomState::new().build_hasher().finish()),
            pending: HashMap::new(),
            freeze: Freeze::Thawed,
            files: Files::default(),
            leftovers: match options.leftovers {
                Leftovers::Leave => Looking::No,
                Leftovers::Thaw => Looking::Wanted,
            },
            timer: Timer::default(),
            limit: Limit::default(),
            patience: options.patience,
            shared: guard.0.clone(),
        };
        let reason = driver.run(stream, &mut inputs).await;
        // Before the calls are dropped, who ask for the reason.
        guard.0.close(reason)
    }
}

/// Tells everybody who waits when the driving future is dropped instead of run to its end.
struct CloseGuard(Arc<Shared>);

impl Drop for CloseGuard {
    fn drop(&mut self) {
        self.0.close(CloseReason::Abandoned);
    }
}

struct Driver {
    session: Session,
    pending: HashMap<CallId, Waiting>,
    freeze: Freeze,
    files: Files,
    leftovers: Looking,
    timer: Timer,
    /// When a freeze has lasted long enough, or a thaw is tried again.
    limit: Limit,
    patience: Patience,
    shared: Arc<Shared>,
}

/// Who waits for an answer.
struct Waiting {
    reply: Reply,
    /// What is answered is the handle of a file.
    opens: bool,
    /// The file that it is done with.
    file: Option<CallId>,
}

impl Waiting {
    fn of(reply: Reply) -> Self {
        Self { reply, opens: false, file: None }
    }
}

/// Files in the guest, by the call that opened each. The agent counts their handles up, also over a restart of its own, and begins anew when the
/// guest does (its counter is in `/run`): a handle from before may be another file then.
#[derive(Default)]
struct Files {
    open: HashMap<CallId, i64>,
    /// The highest handle that was seen.
    highest: Option<i64>,
    /// The calls that close files.
    closing: HashMap<CallId, CallId>,
    /// To be closed when the file systems are thawed and an agent is there.
    left: Vec<CallId>,
}

impl Files {
    /// Whether it is one of a guest that was started anew: what was open was closed with the one before.
    fn opened(&mut self, file: CallId, handle: i64) -> bool {
        let is_anew = self.highest.replace(handle) >= Some(handle);
        if is_anew {
            self.open.clear();
            self.left.clear();
        }
        self.open.insert(file, handle);
        is_anew
    }
}

/// What is known of the guest's file systems.
enum Freeze {
    Thawed,
    Freezing {
        call: CallId,
        limit: Duration,
    },
    /// By this owner; `None` once the freeze is over for him: what remains is to thaw.
    Frozen(Option<CallId>),
    /// Thawing was asked for, and is until it is done.
    Thawing {
        call: CallId,
        /// The owner who waits for it; nobody when it is not his doing.
        waiting: Option<Reply>,
    },
}

/// Whether an earlier connection has left something frozen.
enum Looking {
    No,
    Wanted,
    Asked(CallId),
}

/// Of the session's present stage.
#[derive(Default)]
struct Timer {
    stage: u64,
    limit: Limit,
}

impl Driver {
    async fn run(
        &mut self,
        stream: impl AsyncRead + AsyncWrite,
        inputs: &mut mpsc::UnboundedReceiver<Input>,
    ) -> CloseReason {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut chunk = vec![0; READ_BYTES];
        let mut wanted = true;
        self.look();
        while wanted || !matches!(self.freeze, Freeze::Thawed) || !self.session.is_idle() {
            self.set_timer();
            // Cancel safety: a read or write that lost the race has moved no byte; `recv` keeps its message; timers are kept.
            tokio::select! {
                read = reader.read(&mut chunk) => match read {
                    Ok(0) => return CloseReason::Ended,
                    Ok(count) => {
                        if let Err(too_long) = self.session.handle_bytes(&chunk[..count]) {
                            return CloseReason::Protocol(too_long.into());
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return CloseReason::Ended,
                    Err(error) => return CloseReason::Socket(error),
                },
                written = writer.write(self.session.transmit()), if !self.session.transmit().is_empty() => {
                    match written {
                        Ok(count) => self.session.transmitted(count),
                        Err(error) => return CloseReason::Socket(error),
                    }
                }
                input = inputs.recv(), if wanted => match input {
                    Some(input) => self.take(input),
                    None => wanted = false,
                },
                () = self.timer.limit.passed() => {
                    self.timer.limit.lift();
                    self.session.expired();
                }
                () = self.limit.passed() => self.thaw(None),
            }
            self.deliver();
        }
        CloseReason::Abandoned
    }

    fn set_timer(&mut self) {
        let (number, stage) = self.session.stage();
        if number == self.timer.stage {
            return;
        }
        let patience = stage.map(|stage| match stage {
            Stage::Agent => self.patience.agent,
            Stage::Answer(pace) => self.patience.for_answer(pace),
            Stage::Call => REST,
        });
        self.timer = Timer { stage: number, limit: Limit::default() };
        if let Some(patience) = patience {
            self.timer.limit.begin(patience);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Call { id, facts, arguments, file, reply } => {
                self.call(id, facts, &arguments, Waiting { file, ..Waiting::of(reply) });
            }
            Input::Open { id, arguments, reply } => {
                self.call(id, FileOpen::FACTS, &arguments, Waiting { opens: true, ..Waiting::of(reply) });
            }
            Input::Close { file, reply } => self.close(file, reply),
            Input::Freeze { id, facts, arguments, limit, reply } => {
                if !matches!(self.freeze, Freeze::Thawed) {
                    let _ = reply.send(Err(Failure::Frozen));
                    return;
                }
                self.freeze = Freeze::Freezing { call: id, limit };
                self.pending.insert(id, Waiting::of(reply));
                self.session.submit(id, facts, &arguments);
            }
            Input::Thaw { freeze, reply } => match self.freeze {
                Freeze::Frozen(Some(owner)) if owner == freeze => self.thaw(reply),
                // The limit has passed: what is frozen now is no business of his, or only still to be thawed.
                _ => {
                    if let Some(reply) = reply {
                        let _ = reply.send(Err(Failure::NotFrozen));
                    }
                }
            },
            Input::Abandon(id) => self.abandon(id),
        }
    }

    fn call(&mut self, id: CallId, facts: &Facts, arguments: &Map<String, Value>, waiting: Waiting) {
        let refused = facts.while_frozen == WhileFrozen::Refused || facts.is_guarded();
        if refused && !matches!(self.freeze, Freeze::Thawed) {
            // A caller that has left meanwhile needs no reason.
            let _ = waiting.reply.send(Err(Failure::Frozen));
            return;
        }
        if waiting.file.is_some_and(|file| !self.files.open.contains_key(&file)) {
            let _ = waiting.reply.send(Err(Failure::Gone));
            return;
        }
        self.pending.insert(id, waiting);
        self.session.submit(id, facts, arguments);
    }

    fn abandon(&mut self, id: CallId) {
        if self.pending.get(&id).is_some_and(|waiting| waiting.opens) {
            // Once it was sent its answer is needed, to close what it opens.
            if self.session.withdraw(id) {
                self.pending.remove(&id);
            }
            return;
        }
        self.pending.remove(&id);
        let unsent = self.session.abandon(id);
        // The answer of a freeze may have been on its way to the caller that has left.
        match self.freeze {
            Freeze::Freezing { call, .. } if call == id && unsent => {
                self.freeze = Freeze::Thawed;
                self.catch_up();
            }
            Freeze::Freezing { call, .. } if call == id => self.thaw(None),
            Freeze::Frozen(Some(owner)) if owner == id => self.thaw(None),
            _ => {}
        }
    }

    fn close(&mut self, file: CallId, reply: Option<Reply>) {
        let refuse = |reply: Option<Reply>, failure| {
            // A closer that has left needs no reason.
            let _ = reply.map(|reply| reply.send(Err(failure)));
        };
        let Some(handle) = self.files.open.get(&file).copied() else { return refuse(reply, Failure::Gone) };
        if !matches!(self.freeze, Freeze::Thawed) {
            self.files.left.push(file);
            return refuse(reply, Failure::Frozen);
        }
        let id = self.shared.new_id();
        self.files.closing.insert(id, file);
        if let Some(reply) = reply {
            self.pending.insert(id, Waiting::of(reply));
        }
        let mut arguments = Map::new();
        FileClose { handle }.put(&mut arguments);
        self.session.submit(id, FileClose::FACTS, &arguments);
    }

    /// Does what had to wait for an agent or for a thaw.
    fn catch_up(&mut self) {
        self.look();
        if matches!(self.freeze, Freeze::Thawed) {
            for file in std::mem::take(&mut self.files.left) {
                self.close(file, None);
            }
        }
    }

    /// Thaws what is frozen or may be. What is not known to be thawed is tried again.
    fn thaw(&mut self, waiting: Option<Reply>) {
        self.limit.lift();
        let call = self.shared.new_id();
        self.freeze = Freeze::Thawing { call, waiting };
        self.session.submit(call, FsfreezeThaw::FACTS, &Map::new());
    }

    /// Asks whether an earlier connection has left something frozen.
    fn look(&mut self) {
        if matches!((&self.leftovers, &self.freeze), (Looking::Wanted, Freeze::Thawed)) {
            let call = self.shared.new_id();
            self.leftovers = Looking::Asked(call);
            self.session.submit(call, FsfreezeStatus::FACTS, &Map::new());
        }
    }

    fn looked(&mut self, outcome: Outcome) {
        self.leftovers = match outcome {
            // No agent yet: asked again when one has answered something.
            Err(Failure::Absent | Failure::Late | Failure::Garbled(_)) => Looking::Wanted,
            Ok(state) if state.as_str() == Some("frozen") => match self.freeze {
                Freeze::Thawed => {
                    self.thaw(None);
                    Looking::No
                }
                // A freeze of ours was asked for meanwhile; the agent is about to refuse it.
                Freeze::Freezing { .. } | Freeze::Frozen(_) | Freeze::Thawing { .. } => Looking::Wanted,
            },
            Ok(_) => Looking::No,
            // An agent that freezes nothing.
            Err(Failure::Refused(_) | Failure::Frozen | Failure::NotFrozen | Failure::Gone) => Looking::No,
        };
    }

    fn deliver(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let (id, outcome) = match output {
                Output::Reply(id, outcome) => (id, outcome.map_err(Failure::Refused)),
                Output::Absent(id) => (id, Err(Failure::Absent)),
                Output::Late(id) => (id, Err(Failure::Late)),
                Output::Garbled(id, malformed) => (id, Err(Failure::Garbled(malformed))),
            };
            let answered = matches!(outcome, Ok(_) | Err(Failure::Refused(_)));
            self.settle(id, outcome);
            if answered {
                self.catch_up();
            }
        }
        let counters = self.session.counters();
        self.shared.counters.send_if_modified(|seen| std::mem::replace(seen, counters) != counters);
    }

    fn settle(&mut self, id: CallId, outcome: Outcome) {
        match self.freeze {
            Freeze::Freezing { call, limit } if call == id => self.frozen(id, limit, outcome),
            Freeze::Thawing { call, .. } if call == id => self.thawed(outcome),
            _ if matches!(self.leftovers, Looking::Asked(call) if call == id) => self.looked(outcome),
            _ => {
                self.answer(id, outcome);
            }
        }
    }

    fn frozen(&mut self, id: CallId, limit: Duration, outcome: Outcome) {
        // An agent that could not freeze all has thawed what it had frozen; a command that was not sent froze nothing.
        let maybe = !matches!(
            &outcome,
            Err(Failure::Refused(_) | Failure::Absent | Failure::Frozen | Failure::NotFrozen)
        );
        let known = outcome.is_ok();
        let taken = self.answer(id, outcome);
        self.freeze = Freeze::Thawed;
        if known && taken {
            self.freeze = Freeze::Frozen(Some(id));
            self.limit.begin(limit);
        } else if maybe {
            self.thaw(None);
        }
    }

    fn thawed(&mut self, outcome: Outcome) {
        let Freeze::Thawing { waiting, .. } = std::mem::replace(&mut self.freeze, Freeze::Thawed) else {
            return;
        };
        if outcome.is_err() {
            self.freeze = Freeze::Frozen(None);
            self.limit.begin(THAW_AGAIN);
        }
        if let Some(reply) = waiting {
            // An owner that has left meanwhile needs no count.
            let _ = reply.send(outcome);
        }
    }

    /// What was to be done with files that are gone would be done with others.
    fn forget_gone(&mut self) {
        let asked = self.pending.iter().filter_map(|(id, waiting)| Some((*id, waiting.file?)));
        let closing = self.files.closing.iter().map(|(id, file)| (*id, *file));
        let mut gone: Vec<_> = asked.chain(closing).collect();
        gone.retain(|(_, file)| !self.files.open.contains_key(file));
        for (id, _) in gone {
            // One call at a time is sent, and that was the opening of a file: those behind it are not.
            self.session.withdraw(id);
            self.answer(id, Err(Failure::Gone));
        }
    }

    /// Whether somebody was there to take it.
    fn answer(&mut self, id: CallId, outcome: Outcome) -> bool {
        if let Some(file) = self.files.closing.remove(&id) {
            if matches!(outcome, Err(Failure::Absent)) {
                self.files.left.push(file);
            } else {
                self.files.open.remove(&file);
            }
        }
        let Some(Waiting { reply, opens, .. }) = self.pending.remove(&id) else { return false };
        let opened = outcome.as_ref().ok().filter(|_| opens).and_then(Value::as_i64);
        if let Some(handle) = opened
            && self.files.opened(id, handle)
        {
            self.forget_gone();
        }
        let untaken = reply.send(outcome).err();
        if untaken.is_some() && opened.is_some() {
            self.files.left.push(id);
        }
        untaken.is_none()
    }
}

/// Pieces of files come in answers of some hundred kilobytes.
const READ_BYTES: usize = 64 * 1024;

/// How long an answer says that the agent is there. Longer than the pauses of whoever asks for a program's end.
const REST: Duration = Duration::from_secs(1);

/// Pause before a thaw that failed is tried again.
const THAW_AGAIN: Duration = Duration::from_secs(1);

//! The future that owns the channel, and what is frozen.

use super::{
    Options, Patience, Shared,
    commands::{Command as _, Facts, FsfreezeThaw, WhileFrozen},
    session::{Output, Session, Stage},
};
use crate::{
    CloseReason,
    message::{Malformed, Refusal},
    session::CallId,
};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    future::Future,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::Sleep,
};

pub(super) type Reply = oneshot::Sender<Result<Value, Failure>>;

#[derive(Debug)]
pub(super) enum Input {
    Call { id: CallId, facts: &'static Facts, arguments: Map<String, Value>, reply: Reply },
    Freeze { id: CallId, facts: &'static Facts, arguments: Map<String, Value>, limit: Duration, reply: Reply },
    Thaw { reply: Option<Reply> },
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
}

pub(super) fn drive<S>(
    stream: S,
    options: Options,
    shared: Arc<Shared>,
    inputs: mpsc::UnboundedReceiver<Input>,
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
            timer: Timer::default(),
            limit: None,
            patience: options.patience,
            shared: guard.0.clone(),
        };
        let reason = driver.run(stream, inputs).await;
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
    pending: HashMap<CallId, Reply>,
    freeze: Freeze,
    timer: Timer,
    /// When a freeze has lasted long enough, or a thaw is tried again.
    limit: Option<Pin<Box<Sleep>>>,
    patience: Patience,
    shared: Arc<Shared>,
}

/// What is known of the guest's file systems.
enum Freeze {
    Thawed,
    Freezing {
        call: CallId,
        limit: Duration,
    },
    Frozen,
    /// Thawing was asked for, and is until it is done.
    Thawing {
        call: CallId,
        waiting: Vec<Reply>,
    },
}

/// Of the session's present stage.
#[derive(Default)]
struct Timer {
    stage: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Driver {
    async fn run(
        &mut self,
        stream: impl AsyncRead + AsyncWrite,
        mut inputs: mpsc::UnboundedReceiver<Input>,
    ) -> CloseReason {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut chunk = vec![0; READ_BYTES];
        let mut wanted = true;
        while wanted || !matches!(self.freeze, Freeze::Thawed) {
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
                () = due(&mut self.timer.sleep) => {
                    self.timer.sleep = None;
                    self.session.expired();
                }
                () = due(&mut self.limit) => {
                    self.limit = None;
                    self.thaw(None);
                }
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
        });
        let sleep = patience.map(|patience| Box::pin(tokio::time::sleep(patience)));
        self.timer = Timer { stage: number, sleep };
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Call { id, facts, arguments, reply } => {
                if facts.while_frozen == WhileFrozen::Refused && !matches!(self.freeze, Freeze::Thawed) {
                    // A caller that has left meanwhile needs no reason.
                    let _ = reply.send(Err(Failure::Frozen));
                    return;
                }
                self.pending.insert(id, reply);
                self.session.submit(id, facts, &arguments);
            }
            Input::Freeze { id, facts, arguments, limit, reply } => {
                if !matches!(self.freeze, Freeze::Thawed) {
                    let _ = reply.send(Err(Failure::Frozen));
                    return;
                }
                self.freeze = Freeze::Freezing { call: id, limit };
                self.pending.insert(id, reply);
                self.session.submit(id, facts, &arguments);
            }
            Input::Thaw { reply } => self.thaw(reply),
            Input::Abandon(id) => {
                self.pending.remove(&id);
                self.session.abandon(id);
                if matches!(self.freeze, Freeze::Freezing { call, .. } if call == id) {
                    self.thaw(None);
                }
            }
        }
    }

    /// Thaws, unless nothing is frozen. What is not known to be thawed is tried again.
    fn thaw(&mut self, reply: Option<Reply>) {
        self.limit = None;
        match &mut self.freeze {
            Freeze::Thawed => {
                if let Some(reply) = reply {
                    let _ = reply.send(Err(Failure::NotFrozen));
                }
            }
            // Asked for by the limit, or by somebody before; whoever comes now learns that it was not his doing.
            Freeze::Thawing { waiting, .. } => waiting.extend(reply),
            Freeze::Freezing { .. } | Freeze::Frozen => {
                let call = self.shared.new_id();
                self.freeze = Freeze::Thawing { call, waiting: reply.into_iter().collect() };
                self.session.submit(call, FsfreezeThaw::FACTS, &Map::new());
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let (id, outcome) = match output {
                Output::Reply(id, outcome) => (id, outcome.map_err(Failure::Refused)),
                Output::Absent(id) => (id, Err(Failure::Absent)),
                Output::Late(id) => (id, Err(Failure::Late)),
                Output::Garbled(id, malformed) => (id, Err(Failure::Garbled(malformed))),
            };
            match &self.freeze {
                Freeze::Freezing { call, limit } if *call == id => {
                    let limit = *limit;
                    self.frozen(id, limit, outcome);
                }
                Freeze::Thawing { call, .. } if *call == id => self.thawed(outcome),
                _ => {
                    self.answer(id, outcome);
                }
            }
        }
        let counters = self.session.counters();
        self.shared.counters.send_if_modified(|seen| std::mem::replace(seen, counters) != counters);
    }

    fn frozen(&mut self, id: CallId, limit: Duration, outcome: Result<Value, Failure>) {
        // An agent that could not freeze all has thawed what it had frozen; a command that was not sent froze nothing.
        self.freeze = match &outcome {
            Err(Failure::Refused(_) | Failure::Absent | Failure::Frozen | Failure::NotFrozen) => {
                Freeze::Thawed
            }
            Ok(_) | Err(Failure::Late | Failure::Garbled(_)) => Freeze::Frozen,
        };
        let known = outcome.is_ok();
        let taken = self.answer(id, outcome);
        if matches!(self.freeze, Freeze::Frozen) {
            if known && taken {
                self.limit = Some(Box::pin(tokio::time::sleep(limit)));
            } else {
                self.thaw(None);
            }
        }
    }

    fn thawed(&mut self, outcome: Result<Value, Failure>) {
        let Freeze::Thawing { waiting, .. } = std::mem::replace(&mut self.freeze, Freeze::Thawed) else {
            return;
        };
        let mut waiting = waiting.into_iter();
        match outcome {
            Ok(count) => {
                for reply in waiting {
                    let _ = reply.send(Ok(count.clone()));
                }
            }
            Err(failure) => {
                if let Some(first) = waiting.next() {
                    let _ = first.send(Err(failure));
                }
                self.freeze = Freeze::Frozen;
                self.limit = Some(Box::pin(tokio::time::sleep(THAW_AGAIN)));
            }
        }
    }

    /// Whether somebody was there to take it.
    fn answer(&mut self, id: CallId, outcome: Result<Value, Failure>) -> bool {
        self.pending.remove(&id).is_some_and(|reply| reply.send(outcome).is_ok())
    }
}

async fn due(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

/// Pieces of files come in answers of some hundred kilobytes.
const READ_BYTES: usize = 64 * 1024;

/// Pause before a thaw that failed is tried again.
const THAW_AGAIN: Duration = Duration::from_secs(1);

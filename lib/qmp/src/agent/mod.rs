//! The guest agent (`qemu-ga`): typed commands, freezing that always thaws, programs and files in the guest.
//!
//! ```text
//!   Agent (clone) --calls--> driver future --Session--> socket of the channel `org.qemu.guest_agent.0`
//!     '-- Frozen (thaws when dropped) --'   '-- a freeze's end is its business, whatever becomes of its owner
//! ```
//!
//! - [`session`] is the protocol as a value; [`commands`] the table of all commands up to QEMU 10.0.
//! - [`agent()`] joins the session to a byte stream. A channel has no connection to the guest: whether an agent is there shows when it
//!   answers, and each call says so ([`AgentError::Absent`]).
//! - [`Agent::freeze`] gives a [`Frozen`]: meanwhile everything that would wait for a frozen disk is refused here.
//! - [`Agent::exec`] runs a program to its end, [`Agent::download`] and [`Agent::upload`] move files in pieces.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use qmp::agent::{self, Program, commands::GetOsinfo};
//!
//! let stream = tokio::net::UnixStream::connect("/run/guest/agent.sock").await?;
//! let (agent, driver) = agent::agent(stream, agent::Options::default());
//! let work = async {
//!     let system = agent.call(&GetOsinfo {}).await?;
//!     let listing = agent.exec(&Program::new("/bin/ls").arg("/")).await?;
//!     Ok::<_, Box<dyn std::error::Error>>((system.pretty_name, listing.stdout))
//! };
//! tokio::select! {
//!     answers = work => drop(answers?),
//!     reason = driver => println!("connection lost: {reason}"),
//! }
//! # Ok(()) }
//! ```

pub mod commands;
#[cfg(test)]
mod conformance;
mod driver;
mod exec;
mod files;
mod freeze;
mod hardware;
pub mod session;
#[cfg(test)]
mod tests;
mod types;

pub use exec::{End, ExecError, Finished, Program, Started};
pub use files::{FileError, GuestFile, PIECE};
pub use freeze::Frozen;

use crate::{
    CloseReason, DecodeError,
    message::{Malformed, Refusal},
    session::{CallId, Limits},
    wire::Decode as _,
};
use commands::{Command, Facts, Pace};
use driver::{Failure, Input, Outcome, Reply};
use serde_json::{Map, Value};
use session::Counters;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
};

/// Settings of a connection to an agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Limits of the session. A file read in larger pieces than ours needs messages of 4/3 of their size.
    pub limits: Limits,
    /// How long to wait for what.
    pub patience: Patience,
    /// What becomes of file systems that are found frozen.
    pub leftovers: Leftovers,
}

/// What becomes of file systems that an earlier connection left frozen: with its channel a [`Frozen`] can do nothing any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leftovers {
    /// They are left so: somebody else may use the agent. [`Agent::thaw_leftover`] thaws them.
    #[default]
    Leave,
    /// They are thawed as soon as the agent answers: for the only user of an agent.
    Thaw,
}

/// How long to wait for an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a sign that it is there; default 5 s.
    pub agent: Duration,
    /// For commands that ask the guest's kernel; default 10 s.
    pub prompt: Duration,
    /// For commands that work on disks; default 5 min.
    pub slow: Duration,
    /// For freezing, which waits until all is written, thawing and trimming; default 1 h.
    pub freeze: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { agent: seconds(5), prompt: seconds(10), slow: seconds(300), freeze: seconds(3600) }
    }
}

impl Patience {
    fn for_answer(&self, pace: Pace) -> Duration {
        match pace {
            Pace::Prompt => self.prompt,
            Pace::Slow => self.slow,
            Pace::Freeze => self.freeze,
        }
    }
}

/// Joins a byte stream to a session. The second value drives the connection and must be polled, usually as a task of its own; it ends
/// with the reason when the connection ends, or when every [`Agent`] is gone and what they left to do is done or has had its time: files
/// are closed, and nothing is frozen.
pub fn agent<S>(
    stream: S,
    options: Options,
) -> (Agent, impl Future<Output = Arc<CloseReason>> + Send + 'static)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (calls, inputs) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        next_id: AtomicU64::new(0),
        closed: watch::Sender::new(None),
        counters: watch::Sender::new(Counters::default()),
        patience: options.patience,
    });
    let agent = Agent { shared: shared.clone(), calls };
    (agent, driver::drive(stream, options, shared, inputs))
}

/// Handle to a connection; clones share it.
#[derive(Clone, Debug)]
pub struct Agent {
    shared: Arc<Shared>,
    calls: mpsc::UnboundedSender<Input>,
}

#[derive(Debug)]
struct Shared {
    next_id: AtomicU64,
    closed: watch::Sender<Option<Arc<CloseReason>>>,
    counters: watch::Sender<Counters>,
    patience: Patience,
}

impl Shared {
    fn new_id(&self) -> CallId {
        CallId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The first reason stands.
    fn close(&self, reason: CloseReason) -> Arc<CloseReason> {
        let mut kept = Arc::new(reason);
        self.closed.send_if_modified(|closed| {
            kept = closed.get_or_insert_with(|| kept.clone()).clone();
            true
        });
        kept
    }
}

impl Agent {
    /// Runs a typed command. Dropping the future gives the call up; the guest may still carry it out.
    ///
    /// # Errors
    /// [`AgentError`]; [`AgentError::Guarded`] for freezing and thawing, which are the business of [`Agent::freeze`].
    pub async fn call<C: Command>(&self, command: &C) -> Result<C::Reply, AgentError> {
        if C::FACTS.is_guarded() {
            return Err(AgentError::Guarded { command: C::FACTS.name });
        }
        self.call_unguarded(command).await
    }

    async fn call_unguarded<C: Command>(&self, command: &C) -> Result<C::Reply, AgentError> {
        let mut arguments = Map::new();
        command.put(&mut arguments);
        decoded::<C>(self.run(C::FACTS, arguments).await?)
    }

    /// Runs any command, such as one of a newer agent: make its facts with [`Facts::unlisted`].
    ///
    /// # Errors
    /// [`AgentError`], never [`AgentError::Decode`].
    pub async fn execute(
        &self,
        facts: &'static Facts,
        arguments: Map<String, Value>,
    ) -> Result<Value, AgentError> {
        self.run(facts, arguments).await
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) -> Arc<CloseReason> {
        let mut closed = self.shared.closed.subscribe();
        match closed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => reason.clone(),
            Ok(None) | Err(_) => Arc::new(CloseReason::Abandoned),
        }
    }

    /// What the session noticed so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.shared.counters.borrow()
    }

    async fn run(&self, facts: &'static Facts, arguments: Map<String, Value>) -> Result<Value, AgentError> {
        self.run_on(None, facts, arguments).await
    }

    async fn run_on(
        &self,
        file: Option<CallId>,
        facts: &'static Facts,
        arguments: Map<String, Value>,
    ) -> Result<Value, AgentError> {
        let id = self.shared.new_id();
        self.ask(facts, Some(id), |reply| Input::Call { id, facts, arguments, file, reply }).await
    }

    /// Sends an input and waits for its answer. `id` is given up with the future.
    async fn ask(
        &self,
        facts: &'static Facts,
        id: Option<CallId>,
        input: impl FnOnce(Reply) -> Input,
    ) -> Result<Value, AgentError> {
        let answer = self.post(facts, input)?;
        let mut pending = Pending { id, calls: &self.calls };
        let answer = answer.await;
        pending.id = None;
        self.answered(facts, answer)
    }

    /// Sends an input. Its answer can be waited for.
    fn post(
        &self,
        facts: &'static Facts,
        input: impl FnOnce(Reply) -> Input,
    ) -> Result<oneshot::Receiver<Outcome>, AgentError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.calls.send(input(reply));
        sent.map(|()| answer).map_err(|_| self.closed_error(facts.name))
    }

    fn answered(
        &self,
        facts: &'static Facts,
        answer: Result<Outcome, oneshot::error::RecvError>,
    ) -> Result<Value, AgentError> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => Err(self.error(facts, failure)),
            Err(_) => Err(self.closed_error(facts.name)),
        }
    }

    fn error(&self, facts: &'static Facts, failure: Failure) -> AgentError {
        let command = facts.name;
        let patience = &self.shared.patience;
        match failure {
            Failure::Refused(refusal) => AgentError::Refused { command, refusal },
            Failure::Absent => AgentError::Absent { command, after: patience.agent },
            Failure::Late => AgentError::Late { command, after: patience.for_answer(facts.pace) },
            Failure::Garbled(source) => AgentError::Garbled { command, source },
            Failure::Frozen => AgentError::Frozen { command },
            Failure::NotFrozen => AgentError::FreezeOver,
            Failure::Gone => AgentError::Gone { command },
        }
    }

    fn closed_error(&self, command: &'static str) -> AgentError {
        let reason = self.shared.closed.borrow().clone();
        AgentError::Closed { command, reason: reason.unwrap_or_else(|| Arc::new(CloseReason::Abandoned)) }
    }
}

fn decoded<C: Command>(reply: Value) -> Result<C::Reply, AgentError> {
    C::Reply::decode(reply).map_err(|source| AgentError::Decode { command: C::FACTS.name, source })
}

/// Gives the call up when its future is dropped.
struct Pending<'a> {
    id: Option<CallId>,
    calls: &'a mpsc::UnboundedSender<Input>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // A driver that is gone has nothing to give up.
            let _ = self.calls.send(Input::Abandon(id));
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The agent refused; nothing else is wrong.
    #[error("the guest's agent refused {command}")]
    Refused {
        /// The command.
        command: &'static str,
        /// The agent's words.
        #[source]
        refusal: Refusal,
    },
    /// No agent answers: none is installed, or it has not been started yet, or it hangs. The command was not sent.
    #[error("no agent in the guest answered within {after:?}, so {command} was not sent")]
    Absent {
        /// The command.
        command: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The command was sent and may still take effect. Of a shutdown or a suspension this is the usual end: the guest was quicker
    /// than its agent.
    #[error("the guest's agent took {command} and did not answer within {after:?}")]
    Late {
        /// The command.
        command: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended. Whether the command took effect is unknown.
    #[error("the connection to the guest's agent ended before {command} was answered")]
    Closed {
        /// The command.
        command: &'static str,
        /// Why it ended.
        #[source]
        reason: Arc<CloseReason>,
    },
    /// What answered is no agent.
    #[error("what answered {command} in the guest is no agent")]
    Garbled {
        /// The command.
        command: &'static str,
        /// What came.
        #[source]
        source: Malformed,
    },
    /// The answer has not the declared form.
    #[error("the answer to {command} has an unexpected form")]
    Decode {
        /// The command.
        command: &'static str,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The guest's file systems are frozen, and the command would wait for them. It was not sent.
    #[error("{command} has to wait until the guest's file systems are thawed")]
    Frozen {
        /// The command.
        command: &'static str,
    },
    /// Freezing and thawing have an owner and an end here; the bare command would have neither. It was not sent.
    #[error("{command} is for the guard of a freeze alone")]
    Guarded {
        /// The command.
        command: &'static str,
    },
    /// The guest was started anew since the file was opened, and has closed it: its agent's handles count from the beginning again.
    #[error("{command}: the guest was started anew since the file was opened")]
    Gone {
        /// The command.
        command: &'static str,
    },
    /// The file systems were thawed already, because the limit had passed: what was done under the freeze is not consistent.
    #[error("the guest's file systems were thawed already: the limit of the freeze had passed")]
    FreezeOver,
}

impl AgentError {
    /// The agent's refusal, if that is what it was.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

//! The task that owns the [`Controller`]: it feeds it, and carries out what it wants.

use crate::Task;
use crate::app::Expiry;
use crate::reconcile::{Conn, Controller, Effect, Input, Now, Timing};
use crate::state::Follower;
use hv_api::v1;
use hv_api::v1::agent_message::Message as Up;
use hv_api::v1::server_message::Message as Down;
use hv_core::{Error, ErrorKind, NodeId, Timestamp};
use hv_runtime::tasks::Tasks;
use hv_runtime::{clock, ids};
use hv_store::{Revision, StoreError, TxnOutcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// How often the clock is looked at: a tenth of the smallest grace period that makes sense.
const TICK: Duration = Duration::from_millis(250);

/// Frames to an agent, and the error that ends them.
pub(crate) type Frames = mpsc::UnboundedReceiver<Result<v1::ServerMessage, Status>>;

enum Message {
    Opened(Conn, mpsc::UnboundedSender<Result<v1::ServerMessage, Status>>),
    Frame(Conn, Box<v1::AgentMessage>),
    Closed(Conn),
    Done(crate::reconcile::Subject, Result<TxnOutcome, StoreError>),
    Tell(NodeId, Down, oneshot::Sender<bool>),
}

/// What agents were asked and have not answered.
#[derive(Default)]
struct Asked {
    stats: BTreeMap<u64, oneshot::Sender<v1::StatsReply>>,
    consoles: BTreeMap<String, oneshot::Sender<Result<AgentConsole, String>>>,
}

/// The agent's side of a console.
pub(crate) struct AgentConsole {
    /// What the guest prints.
    pub(crate) output: tonic::Streaming<v1::AgentConsoleMessage>,
    /// What it reads.
    pub(crate) input: mpsc::Sender<Result<v1::ServerConsoleMessage, Status>>,
}

/// Handle to the task; clones share it.
#[derive(Clone)]
pub struct Brain {
    messages: mpsc::UnboundedSender<Message>,
    asked: Arc<Mutex<Asked>>,
    /// When agents were last heard of.
    heard: Arc<Mutex<BTreeMap<NodeId, Timestamp>>>,
    next: Arc<AtomicU64>,
}

impl Brain {
    /// Starts the task. It looks at everything after `from`.
    pub(crate) fn start(
        tasks: &Tasks,
        follower: Follower,
        expiry: Expiry,
        timing: Timing,
        incarnation: String,
    ) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let brain = Self {
            messages,
            asked: Arc::default(),
            heard: Arc::default(),
            next: Arc::new(AtomicU64::new(1)),
        };
        let (controller, from) = {
            let cluster = follower.cluster();
            (Controller::new(&cluster, timing, incarnation, clock::since_boot()), cluster.revision())
        };
        let state = State {
            controller,
            follower,
            expiry,
            brain: brain.clone(),
            tasks: tasks.clone(),
            streams: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        tasks.spawn(Task::Brain, state.run(from, inbox));
        brain
    }

    /// A new stream of an agent: its number, and the frames to send down.
    pub(crate) fn open(&self) -> (Conn, Frames) {
        let conn = Conn(self.number());
        let (send, frames) = mpsc::unbounded_channel();
        // The task ends only with the server.
        let _ = self.messages.send(Message::Opened(conn, send));
        (conn, frames)
    }

    /// A frame from an agent.
    pub(crate) fn frame(&self, conn: Conn, frame: v1::AgentMessage) {
        let _ = self.messages.send(Message::Frame(conn, Box::new(frame)));
    }

    /// The stream has ended.
    pub(crate) fn closed(&self, conn: Conn) {
        let _ = self.messages.send(Message::Closed(conn));
    }

    /// When a node's agent was last heard of.
    pub(crate) fn last_seen(&self, node: NodeId) -> Option<Timestamp> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }

    /// Figures of an instance, from the agent of its node.
    pub(crate) async fn stats(&self, node: NodeId, uid: String) -> Result<v1::InstanceStats, Error> {
        let request = self.number();
        let (send, answer) = oneshot::channel();
        self.asked().stats.insert(request, send);
        let _forget = Forget(self, Question::Stats(request));
        let result = async {
            self.tell(node, Down::Stats(v1::StatsRequest { request, uid })).await?;
            let reply = answer.await.map_err(|_| away())?;
            reply.stats.ok_or_else(|| Error::new(ErrorKind::FailedPrecondition, reply.error))
        };
        timely(result).await
    }

    /// Opens a console: the agent dials in with the token.
    pub(crate) async fn console(
        &self,
        node: NodeId,
        mut open: v1::OpenConsole,
    ) -> Result<AgentConsole, Error> {
        let token = ids::secret();
        open.token.clone_from(&token);
        let (send, answer) = oneshot::channel();
        self.asked().consoles.insert(token.clone(), send);
        let _forget = Forget(self, Question::Console(token));
        let result = async {
            self.tell(node, Down::OpenConsole(open)).await?;
            answer
                .await
                .map_err(|_| away())?
                .map_err(|error| Error::new(ErrorKind::FailedPrecondition, error))
        };
        timely(result).await
    }

    /// An agent dialled in for a console. `false` when nobody waits for this token.
    pub(crate) fn console_opened(&self, token: &str, console: AgentConsole) -> bool {
        let waiting = self.asked().consoles.remove(token);
        waiting.is_some_and(|waiting| waiting.send(Ok(console)).is_ok())
    }

    async fn tell(&self, node: NodeId, message: Down) -> Result<(), Error> {
        let (send, told) = oneshot::channel();
        let _ = self.messages.send(Message::Tell(node, message, send));
        if told.await.unwrap_or(false) { Ok(()) } else { Err(away()) }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of [`Asked`].
enum Question {
    Stats(u64),
    Console(String),
}

/// Forgets a question when its asker has the answer, or went away.
struct Forget<'a>(&'a Brain, Question);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        match &self.1 {
            Question::Stats(request) => drop(self.0.asked().stats.remove(request)),
            Question::Console(token) => drop(self.0.asked().consoles.remove(token)),
        }
    }
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "the node's agent is not connected")
        .with_hint("`hypervisor-ctl node list` shows which nodes are ready")
}

async fn timely<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    const PATIENCE: Duration = Duration::from_secs(10);
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, "the node's agent did not answer within 10 s")
            .with_hint("try again"))
    })
}

struct State {
    controller: Controller,
    follower: Follower,
    expiry: Expiry,
    brain: Brain,
    tasks: Tasks,
    streams: BTreeMap<Conn, mpsc::UnboundedSender<Result<v1::ServerMessage, Status>>>,
    /// Nodes that are told apart in [`Brain::last_seen`].
    nodes: BTreeMap<NodeId, Duration>,
}

impl State {
    async fn run(mut self, from: Revision, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let stop = self.tasks.stop_token();
        let mut tick = tokio::time::interval(TICK);
        let mut changes = match self.follower.subscribe(from) {
            Ok(changes) => changes,
            Err(error) => return tracing::error!(%error, "cannot follow the store"),
        };
        loop {
            tokio::select! {
                // All arms are cancel-safe: each takes one whole item, or none.
                () = stop.cancelled() => return,
                batch = changes.next() => match batch {
                    Ok(batch) => self.step(Input::Changes(&batch)),
                    Err(error) => return tracing::error!(%error, "cannot follow the store"),
                },
                Some(message) = inbox.recv() => self.message(message),
                _ = tick.tick() => {
                    self.step(Input::Tick);
                    self.note_heard();
                }
            }
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Opened(conn, frames) => {
                self.streams.insert(conn, frames);
                self.step(Input::Opened { conn, candidate: NodeId::new(ids::uuid()) });
            }
            Message::Frame(conn, frame) => self.step(Input::Frame(conn, frame)),
            Message::Closed(conn) => {
                self.streams.remove(&conn);
                self.step(Input::Closed(conn));
            }
            Message::Done(subject, result) => self.step(Input::Done(subject, result)),
            Message::Tell(node, message, told) => {
                // The asker may have given up.
                let _ = told.send(self.controller.last_heard(node).is_some());
                self.step(Input::Tell(node, message));
            }
        }
    }

    fn step(&mut self, input: Input<'_>) {
        let now = Now { wall: clock::wall(), mono: clock::since_boot(), expiry: self.expiry.lease() };
        let effects = {
            let cluster = self.follower.cluster();
            self.controller.step(input, &cluster, now)
        };
        for effect in effects {
            match effect {
                Effect::Txn(subject, txn) => {
                    let (store, messages) = (self.follower.store().clone(), self.brain.messages.clone());
                    self.tasks.spawn(Task::Commit, async move {
                        let result = store.txn(txn).await;
                        let _ = messages.send(Message::Done(subject, result));
                    });
                }
                Effect::Send(conn, frame) => {
                    if let Some(stream) = self.streams.get(&conn) {
                        // A stream that has just ended is reported by its reader.
                        let _ = stream.send(Ok(*frame));
                    }
                }
                Effect::Close(conn, why) => {
                    if let Some(stream) = self.streams.remove(&conn) {
                        let _ = stream.send(Err(Status::aborted(why)));
                    }
                }
                Effect::Forward(answer) => self.forward(*answer),
            }
        }
    }

    fn forward(&self, answer: Up) {
        let mut asked = self.brain.asked();
        match answer {
            Up::Stats(reply) => {
                if let Some(waiting) = asked.stats.remove(&reply.request) {
                    let _ = waiting.send(reply);
                }
            }
            Up::ConsoleRefused(refused) => {
                if let Some(waiting) = asked.consoles.remove(&refused.token) {
                    let _ = waiting.send(Err(refused.error));
                }
            }
            Up::Hello(_) | Up::Heartbeat(_) | Up::Observed(_) | Up::Node(_) => {}
        }
    }

    /// Publishes when agents were heard of: kept in memory only, never stored.
    fn note_heard(&mut self) {
        let (wall, mono) = (clock::wall(), clock::since_boot());
        let ids: BTreeSet<NodeId> = self.follower.cluster().nodes().keys().copied().collect();
        self.nodes.retain(|id, _| ids.contains(id));
        for &id in &ids {
            if let Some(heard) = self.controller.last_heard(id) {
                self.nodes.insert(id, heard);
            }
        }
        let mut published = self.brain.heard.lock().unwrap_or_else(PoisonError::into_inner);
        published.retain(|id, _| ids.contains(id));
        for (id, heard) in &self.nodes {
            let ago = i64::try_from(mono.saturating_sub(*heard).as_millis()).unwrap_or(i64::MAX);
            published.insert(*id, Timestamp(wall.0 - ago));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn questions_of_askers_that_went_away_are_forgotten() {
        let (messages, _inbox) = mpsc::unbounded_channel();
        let brain = Brain { messages, asked: Arc::default(), heard: Arc::default(), next: Arc::default() };
        let node = NodeId::new(ids::uuid());
        let mut stats = Box::pin(brain.stats(node, String::new()));
        let mut console = Box::pin(brain.console(node, v1::OpenConsole::default()));
        assert!((&mut stats).now_or_never().is_none());
        assert!((&mut console).now_or_never().is_none());
        // One guard for both counts: two in one expression would wait for each other.
        let open = || {
            let asked = brain.asked();
            (asked.stats.len(), asked.consoles.len())
        };
        assert_eq!(open(), (1, 1));
        drop((stats, console));
        assert_eq!(open(), (0, 0));
    }
}

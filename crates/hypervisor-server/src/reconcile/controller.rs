//! The controller: one value that owns the agents' sessions and decides every step.

use super::desired::desired;
use super::drain;
use super::instance::{self, View};
use super::link::Link;
use super::node::{self, Agent};
use super::session::{Session, Stream, abandoned};
use crate::state::write::{PlacementRecord, Writer};
use crate::state::{Change, Cluster, InstanceEntry, Object};
use hv_api::v1;
use hv_api::v1::agent_message::Message as Up;
use hv_api::v1::server_message::Message as Down;
use hv_core::instance::{Epoch, Relocation};
use hv_core::operation::Target;
use hv_core::{InstanceId, NodeId, Resources, Timestamp};
use hv_store::{LeaseId, Revision, StoreError, Txn, TxnOutcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often instances without a node are looked at without any sign of change.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often an agent beats.
    pub beat: Duration,
    /// Silence after which a node is unknown.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { beat: Duration::from_secs(1), grace: Duration::from_secs(12) }
    }
}

/// One stream of one agent; numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An instance and its operations.
    Instance(InstanceId),
    /// A node.
    Node(NodeId),
    /// A node that joins for the first time.
    Join(Conn),
}

/// What the controller is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// The cluster has changed; it already shows this.
    Changes(&'a [Arc<Change>]),
    /// An agent opened a stream. `candidate` is the uid for a new node.
    Opened {
        /// The stream.
        conn: Conn,
        /// A fresh uid.
        candidate: NodeId,
    },
    /// A frame came.
    Frame(Conn, Box<v1::AgentMessage>),
    /// A stream ended.
    Closed(Conn),
    /// The answer to [`Effect::Txn`].
    Done(Subject, Result<TxnOutcome, StoreError>),
    /// Ask a node's agent something.
    Tell(NodeId, Down),
    /// Time has passed.
    Tick,
}

/// What the controller wants done.
#[derive(Debug)]
pub enum Effect {
    /// Commit, and answer with [`Input::Done`].
    Txn(Subject, Txn),
    /// Send a frame.
    Send(Conn, Box<v1::ServerMessage>),
    /// End a stream; why, for the agent's log.
    Close(Conn, String),
    /// An agent's answer to what it was asked.
    Forward(Box<Up>),
}

/// Time and expiry, as inputs.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Wall clock.
    pub wall: Timestamp,
    /// Never jumps.
    pub mono: Duration,
    /// Lease for records that expire.
    pub expiry: LeaseId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// Under way.
    Committing,
    /// Done; rests until this is visible.
    Until(Revision),
    /// The store failed; rests until then.
    Failed(Duration),
}

/// Decides. See the module's head.
#[derive(Debug)]
pub struct Controller {
    pub(super) timing: Timing,
    pub(super) incarnation: String,
    pub(super) version: String,
    pub(super) streams: BTreeMap<Conn, Stream>,
    pub(super) sessions: BTreeMap<NodeId, Session>,
    /// Since when a node has no session.
    pub(super) missed: BTreeMap<NodeId, Duration>,
    pub(super) busy: BTreeMap<Subject, Busy>,
    pub(super) dirty: BTreeSet<Subject>,
    pub(super) reserved: BTreeMap<InstanceId, (NodeId, Resources)>,
    pub(super) highest_epoch: Epoch,
    /// When instances without a node are looked at again.
    pub(super) next_sweep: Duration,
}

impl Controller {
    /// The controller of a server that has just started: everything is looked at once, and every node gets a full grace
    /// period before it is judged.
    pub fn new(cluster: &Cluster, timing: Timing, incarnation: impl Into<String>, now: Duration) -> Self {
        let instances = cluster.instances().keys().copied().map(Subject::Instance);
        let nodes = cluster.nodes().keys().copied().map(Subject::Node);
        let dirty = instances.chain(nodes).chain(cluster.with_open_operations().map(subject));
        Self {
            timing,
            incarnation: incarnation.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            streams: BTreeMap::new(),
            sessions: BTreeMap::new(),
            missed: cluster.nodes().keys().map(|id| (*id, now)).collect(),
            busy: BTreeMap::new(),
            dirty: dirty.collect(),
            reserved: BTreeMap::new(),
            highest_epoch: Epoch(0),
            next_sweep: now + SWEEP_EVERY,
        }
    }

    /// When a node was last heard of, for those with a session.
    pub fn last_heard(&self, node: NodeId) -> Option<Duration> {
        self.sessions.get(&node).map(|session| session.last_heard)
    }

    /// Takes one input and everything that follows from it.
    pub fn step(&mut self, input: Input<'_>, cluster: &Cluster, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Changes(changes) => self.on_changes(changes, cluster),
            Input::Opened { conn, candidate } => {
                let stream = Stream::New { candidate, link: Link::default(), since: now.mono };
                self.streams.insert(conn, stream);
            }
            Input::Frame(conn, frame) => self.on_frame(conn, *frame, cluster, now, &mut effects),
            Input::Closed(conn) => self.on_closed(conn, now),
            Input::Done(subject, result) => self.on_done(subject, result, now),
            Input::Tell(node, message) => {
                if let Some(session) = self.sessions.get_mut(&node) {
                    let frame = session.link.frame(message);
                    effects.push(Effect::Send(session.conn, Box::new(frame)));
                }
            }
            Input::Tick => self.on_tick(cluster, now, &mut effects),
        }
        self.release(cluster.revision(), now);
        self.reconcile(cluster, now, &mut effects);
        effects
    }

    fn on_changes(&mut self, changes: &[Arc<Change>], cluster: &Cluster) {
        for change in changes {
            match &change.object {
                Object::Instance(entry) => {
                    self.dirty.insert(Subject::Instance(entry.instance.id));
                    let deleted = change.kind == crate::state::ChangeKind::Deleted;
                    // The operation of a node that is drained says what is left there, and what room is kept for.
                    let before = match &change.previous {
                        Some(Object::Instance(before)) => Some(&before.placement),
                        _ => None,
                    };
                    let nodes =
                        before.into_iter().chain([&entry.placement]).flat_map(PlacementRecord::claims);
                    let drained =
                        nodes.filter(|node| cluster.open_operations(Target::Node(*node)).next().is_some());
                    self.dirty.extend(drained.map(Subject::Node));
                    // What it leaves free may be what another waits for: it is gone, or its node refused it.
                    let refused =
                        entry.instance.placement.is_none() && !entry.placement.rejections.is_empty();
                    if refused || deleted {
                        self.mark_unplaced(cluster);
                    }
                    if deleted {
                        // What is left of it somewhere belongs to nothing now.
                        let id = entry.instance.id;
                        let has = |session: &Session| session.sightings.contains_key(&id);
                        let nodes = self.sessions.iter().filter(|(_, session)| has(session));
                        self.dirty.extend(nodes.map(|(node, _)| Subject::Node(*node)));
                    }
                }
                Object::Node(entry) => {
                    self.dirty.insert(Subject::Node(entry.node.id));
                    if change.kind == crate::state::ChangeKind::Deleted {
                        self.missed.remove(&entry.node.id);
                        self.mark_strays(entry.node.id, cluster);
                    }
                    for placed in cluster.claiming(entry.node.id) {
                        self.dirty.insert(Subject::Instance(placed.instance.id));
                    }
                    self.mark_unplaced(cluster);
                }
                Object::Operation(entry) => {
                    self.dirty.insert(subject(entry.operation.target));
                }
            }
        }
    }

    /// Those that a node was said to have, and that do not belong there.
    pub(super) fn mark_strays(&mut self, node: NodeId, cluster: &Cluster) {
        let on_it = |entry: &&Arc<InstanceEntry>| entry.strays.iter().any(|stray| stray.node == node);
        let strays = cluster.instances().values().filter(on_it);
        self.dirty.extend(strays.map(|entry| Subject::Instance(entry.instance.id)));
    }

    /// Those that wait for a node, and those that may wait for one to leave for.
    fn mark_unplaced(&mut self, cluster: &Cluster) {
        let unplaced = cluster.instances().values().filter(|entry| {
            entry.instance.placement.is_none() || entry.instance.spec.relocation == Relocation::Recreate
        });
        self.dirty.extend(unplaced.map(|entry| Subject::Instance(entry.instance.id)));
    }

    fn on_done(&mut self, subject: Subject, result: Result<TxnOutcome, StoreError>, now: Now) {
        let busy = match result {
            // A condition that did not hold shows in what is about to become visible.
            Ok(outcome) => Busy::Until(outcome.revision),
            Err(error) => {
                tracing::error!(?subject, %error, "the store refused a step");
                Busy::Failed(now.mono + Duration::from_secs(1))
            }
        };
        self.busy.insert(subject, busy);
    }

    fn on_tick(&mut self, cluster: &Cluster, now: Now, effects: &mut Vec<Effect>) {
        // Room may appear without a sign of its own, such as when an instance becomes smaller.
        if now.mono >= self.next_sweep {
            self.next_sweep = now.mono + SWEEP_EVERY;
            self.mark_unplaced(cluster);
        }
        let silent: Vec<Conn> = self
            .sessions
            .values()
            .filter(|session| now.mono.saturating_sub(session.last_heard) >= self.timing.grace)
            .map(|session| session.conn)
            .chain(self.streams.iter().filter_map(|(conn, stream)| match stream {
                Stream::New { since, .. } | Stream::Joining { since, .. }
                    if now.mono.saturating_sub(*since) >= self.timing.grace =>
                {
                    Some(*conn)
                }
                _ => None,
            }))
            .collect();
        for conn in silent {
            self.close(conn, "nothing was heard for the grace period", now, effects);
        }
        for (node, since) in &self.missed {
            if now.mono.saturating_sub(*since) >= self.timing.grace
                && cluster
                    .nodes()
                    .get(node)
                    .is_some_and(|entry| entry.node.status.phase != hv_core::node::NodePhase::Unknown)
            {
                self.dirty.insert(Subject::Node(*node));
            }
        }
    }

    /// Objects whose last step is visible, or whose pause is over, are looked at again.
    fn release(&mut self, visible: Revision, now: Now) {
        let (dirty, reserved) = (&mut self.dirty, &mut self.reserved);
        self.busy.retain(|subject, busy| {
            let free = match busy {
                Busy::Committing => false,
                Busy::Until(revision) => *revision <= visible,
                Busy::Failed(until) => *until <= now.mono,
            };
            if free {
                // From now on the cluster shows what was placed, if it was: a step that failed may have been applied all the same.
                if let Subject::Instance(id) = subject {
                    reserved.remove(id);
                }
                dirty.insert(*subject);
            }
            !free
        });
    }

    fn reconcile(&mut self, cluster: &Cluster, now: Now, effects: &mut Vec<Effect>) {
        let resting: BTreeSet<Subject> =
            self.dirty.iter().filter(|subject| self.busy.contains_key(subject)).copied().collect();
        let ready: Vec<Subject> = self.dirty.difference(&resting).copied().collect();
        self.dirty = resting;
        for subject in ready {
            let txn = match subject {
                Subject::Instance(id) => self.reconcile_instance(id, cluster, now, effects),
                Subject::Node(id) => self.reconcile_node(id, cluster, now, effects),
                Subject::Join(conn) => self.reconcile_join(conn, cluster, now, effects),
            };
            if let Some(txn) = txn {
                self.busy.insert(subject, Busy::Committing);
                effects.push(Effect::Txn(subject, txn));
            }
        }
    }

    fn reconcile_instance(
        &mut self,
        id: InstanceId,
        cluster: &Cluster,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Txn> {
        let placed = cluster.instances().get(&id).and_then(|entry| entry.placement.node);
        self.tell_nodes(id, placed, cluster, effects);
        let sightings = self.sessions.values().filter_map(|session| session.sightings.get(&id).copied());
        let sightings: Vec<_> = sightings.collect();
        // A node that is away, or is just telling what it has, keeps what it said before.
        let said = |node: &NodeId| {
            self.sessions.get(node).is_some_and(|session| session.complete || session.told.contains(&id))
        };
        let stored = cluster.instances().get(&id).map_or(&[][..], |entry| &entry.strays);
        let heard =
            stored.iter().filter(|stray| cluster.nodes().contains_key(&stray.node) && !said(&stray.node));
        let heard: Vec<_> = heard.copied().collect();
        let view = View {
            cluster,
            sightings: &sightings,
            heard: &heard,
            observed: placed
                .and_then(|node| self.sessions.get(&node))
                .and_then(|session| session.observed.get(&id)),
            reserved: &self.reserved,
            // An agent that has not come back may know of a higher one than any that was reported. But epochs rise by one with a
            // revision at most, and a restore skips more revisions than there may have been.
            highest_epoch: self.highest_epoch.max(Epoch(cluster.restored().unwrap_or_default().0)),
            now: now.wall,
            expiry: now.expiry,
        };
        match instance::step(id, &view) {
            Ok(step) => {
                let step = step?;
                if let Some(reserve) = step.reserve {
                    self.reserved.insert(id, reserve);
                }
                Some(step.txn)
            }
            Err(error) => {
                tracing::error!(instance = %id, %error, "cannot decide on an instance");
                None
            }
        }
    }

    /// Tells the instance's node what is wanted, if it was told something else; and forgets it on every other node.
    fn tell_nodes(
        &mut self,
        id: InstanceId,
        placed: Option<NodeId>,
        cluster: &Cluster,
        effects: &mut Vec<Effect>,
    ) {
        for (node, session) in &mut self.sessions {
            if Some(*node) != placed {
                session.sent.remove(&id);
                session.observed.remove(&id);
            }
        }
        let Some(session) = placed.and_then(|node| self.sessions.get_mut(&node)) else { return };
        let Some((told, desired)) = desired(cluster, id) else { return };
        session.sightings.remove(&id);
        if session.sent.get(&id) != Some(&told) {
            session.sent.insert(id, told);
            let delta = v1::Desired { full: false, complete: true, instances: vec![desired] };
            let frame = session.link.frame(Down::Desired(delta));
            effects.push(Effect::Send(session.conn, Box::new(frame)));
        }
    }

    fn reconcile_node(
        &mut self,
        id: NodeId,
        cluster: &Cluster,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Txn> {
        let Some(entry) = cluster.nodes().get(&id) else {
            // Deregistered in the moment its agent joined: the agent comes again, and is recorded anew.
            if let Some(session) = self.sessions.get_mut(&id) {
                let conn = session.conn;
                if cluster.abandoned(id).is_some() {
                    effects.push(Effect::Send(conn, Box::new(session.link.frame(abandoned(id)))));
                }
                self.close(conn, "the node was deregistered", now, effects);
            }
            let mut writer = Writer::default();
            drain::operations(&mut writer, id, None, &self.drain_view(cluster, now));
            return (!writer.is_empty()).then(|| writer.finish());
        };
        let agent = match (self.sessions.get(&id), self.missed.get(&id)) {
            (Some(session), _) => Agent::Connected {
                report: &session.report,
                left: session.complete.then(|| {
                    [
                        node::unended(&session.unended, cluster),
                        node::unknown(&session.sightings, cluster),
                        node::kept(&session.kept, cluster),
                    ]
                }),
            },
            (None, Some(since)) if now.mono.saturating_sub(*since) < self.timing.grace => Agent::Missed,
            (None, _) => Agent::Lost,
        };
        let mut writer = Writer::default();
        node::step(&mut writer, entry, &agent, now.wall);
        drain::operations(&mut writer, id, Some(&entry.node), &self.drain_view(cluster, now));
        (!writer.is_empty()).then(|| writer.finish())
    }

    fn drain_view<'a>(&'a self, cluster: &'a Cluster, now: Now) -> drain::View<'a> {
        drain::View { cluster, reserved: &self.reserved, now: now.wall, expiry: now.expiry }
    }
}

fn subject(target: Target) -> Subject {
    match target {
        Target::Instance(id) => Subject::Instance(id),
        Target::Node(id) => Subject::Node(id),
    }
}

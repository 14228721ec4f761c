//! The controller: one value that owns the agents' sessions and decides every step.

use super::instance::{self, Observed, View};
use super::link::Link;
use super::node::{self, Agent};
use crate::state::{Change, Cluster, Object};
use hv_api::convert::{report_from, spec_to, status_from};
use hv_api::v1;
use hv_api::v1::agent_message::Message as Up;
use hv_api::v1::server_message::Message as Down;
use hv_core::instance::Epoch;
use hv_core::node::NodeReport;
use hv_core::operation::Target;
use hv_core::{InstanceId, NodeId, Resources, Timestamp};
use hv_store::{LeaseId, Revision, StoreError, Txn, TxnOutcome};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one frame of a full set, but for its last instance: with that one (at most half a MiB of cloud-init, and little
/// else) it stays below the default limit of 4 MiB for a gRPC message.
const FRAME_BYTES: usize = 1 << 20;

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

#[derive(Debug)]
enum Stream {
    /// Has not said hello.
    New { candidate: NodeId, link: Link, since: Duration },
    /// Said hello; its node is being recorded.
    Joining { hello: Box<v1::Hello>, candidate: NodeId, link: Link, since: Duration },
    /// Is the session of a node.
    Session(NodeId),
}

#[derive(Debug)]
struct Session {
    conn: Conn,
    number: u64,
    link: Link,
    last_heard: Duration,
    report: NodeReport,
    observed: BTreeMap<InstanceId, Observed>,
    /// Instances that a restored store has lost, and that this node has: the epochs it has them under.
    claims: BTreeMap<InstanceId, Epoch>,
    /// What the agent was told: epoch, generation, deleted and force.
    sent: BTreeMap<InstanceId, (Epoch, u64, bool, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
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
    timing: Timing,
    incarnation: String,
    version: String,
    streams: BTreeMap<Conn, Stream>,
    sessions: BTreeMap<NodeId, Session>,
    /// Since when a node has no session.
    missed: BTreeMap<NodeId, Duration>,
    busy: BTreeMap<Subject, Busy>,
    dirty: BTreeSet<Subject>,
    reserved: BTreeMap<InstanceId, (NodeId, Resources)>,
    highest_epoch: Epoch,
    /// When instances without a node are looked at again.
    next_sweep: Duration,
}

impl Controller {
    /// The controller of a server that has just started: everything is looked at once, and every node gets a full grace
    /// period before it is judged.
    pub fn new(cluster: &Cluster, timing: Timing, incarnation: impl Into<String>, now: Duration) -> Self {
        let instances = cluster.instances().keys().copied().chain(cluster.with_open_operations());
        let dirty =
            instances.map(Subject::Instance).chain(cluster.nodes().keys().copied().map(Subject::Node));
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
                    if entry.instance.placement.is_some() {
                        self.reserved.remove(&entry.instance.id);
                    }
                    // What it leaves free may be what another waits for: it is gone, or its node refused it.
                    let refused =
                        entry.instance.placement.is_none() && !entry.placement.rejections.is_empty();
                    if refused || change.kind == crate::state::ChangeKind::Deleted {
                        self.mark_unplaced(cluster);
                    }
                }
                Object::Node(entry) => {
                    self.dirty.insert(Subject::Node(entry.node.id));
                    if change.kind == crate::state::ChangeKind::Deleted {
                        self.missed.remove(&entry.node.id);
                    }
                    for placed in cluster.placed_on(entry.node.id) {
                        self.dirty.insert(Subject::Instance(placed.instance.id));
                    }
                    self.mark_unplaced(cluster);
                }
                Object::Operation(entry) => {
                    if let Target::Instance(id) = entry.operation.target {
                        self.dirty.insert(Subject::Instance(id));
                    }
                }
            }
        }
    }

    fn mark_unplaced(&mut self, cluster: &Cluster) {
        let unplaced = cluster.instances().values().filter(|entry| entry.instance.placement.is_none());
        self.dirty.extend(unplaced.map(|entry| Subject::Instance(entry.instance.id)));
    }

    fn on_frame(
        &mut self,
        conn: Conn,
        frame: v1::AgentMessage,
        cluster: &Cluster,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        let link = match stream {
            Stream::New { link, .. } | Stream::Joining { link, .. } => link,
            Stream::Session(node) => match self.sessions.get_mut(node) {
                Some(session) if session.conn == conn => {
                    session.last_heard = now.mono;
                    &mut session.link
                }
                _ => return,
            },
        };
        let message = match link.receive(frame) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(gap) => return self.close(conn, &gap.to_string(), now, effects),
        };
        match (&mut *stream, message) {
            (Stream::New { candidate, link, since }, Up::Hello(hello)) => {
                self.highest_epoch = self.highest_epoch.max(Epoch(hello.highest_epoch));
                *stream = Stream::Joining {
                    hello: Box::new(hello),
                    candidate: *candidate,
                    link: std::mem::take(link),
                    since: *since,
                };
                self.dirty.insert(Subject::Join(conn));
            }
            (Stream::New { .. } | Stream::Joining { .. }, _) => {
                self.close(
                    conn,
                    "the first frame must be a hello, and nothing may follow before the welcome",
                    now,
                    effects,
                );
            }
            (Stream::Session(node), message) => {
                let node = *node;
                self.on_session(node, message, cluster, effects);
            }
        }
    }

    fn on_session(&mut self, node: NodeId, message: Up, cluster: &Cluster, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&node) else { return };
        match message {
            Up::Hello(_) => {}
            Up::Heartbeat(beat) => {
                let frame = session.link.frame(Down::Heartbeat(beat));
                effects.push(Effect::Send(session.conn, Box::new(frame)));
            }
            Up::Observed(observed) => {
                for wire in observed.instances {
                    let status = wire.status.as_ref().map(status_from);
                    let (Ok(id), Some(Ok(status))) = (wire.uid.parse(), status) else {
                        tracing::warn!(%node, uid = wire.uid, "an agent sent a report that cannot be read");
                        continue;
                    };
                    self.highest_epoch = self.highest_epoch.max(Epoch(wire.epoch));
                    if cluster.instances().get(&id).is_some_and(|entry| cluster.lost(entry).is_some()) {
                        // A refusal, or a deletion, says nothing of where it is.
                        match wire.gone || wire.rejected {
                            true => session.claims.remove(&id),
                            false => session.claims.insert(id, Epoch(wire.epoch)),
                        };
                        self.dirty.insert(Subject::Instance(id));
                    }
                    if wire.orphan {
                        tracing::warn!(%node, instance = %id, "a node has an instance that nobody asked for");
                        continue;
                    }
                    let observed = Observed {
                        epoch: Epoch(wire.epoch),
                        status,
                        gone: wire.gone,
                        rejected: wire.rejected,
                    };
                    session.observed.insert(id, observed);
                    self.dirty.insert(Subject::Instance(id));
                }
            }
            Up::Node(report) => {
                session.report = report_from(&report);
                self.dirty.insert(Subject::Node(node));
            }
            answer @ (Up::Stats(_) | Up::ConsoleRefused(_)) => {
                effects.push(Effect::Forward(Box::new(answer)))
            }
        }
    }

    fn on_closed(&mut self, conn: Conn, now: Now) {
        if let Some(Stream::Session(node)) = self.streams.remove(&conn)
            && self.sessions.get(&node).is_some_and(|session| session.conn == conn)
        {
            self.sessions.remove(&node);
            self.missed.insert(node, now.mono);
            self.dirty.insert(Subject::Node(node));
        }
    }

    fn close(&mut self, conn: Conn, why: &str, now: Now, effects: &mut Vec<Effect>) {
        tracing::warn!(conn = conn.0, why, "closing an agent's stream");
        effects.push(Effect::Close(conn, why.to_owned()));
        self.on_closed(conn, now);
    }

    fn on_done(&mut self, subject: Subject, result: Result<TxnOutcome, StoreError>, now: Now) {
        let busy = match result {
            Ok(outcome) => {
                // A condition that did not hold shows in what is about to become visible. Nothing was placed.
                if let (Subject::Instance(id), false) = (subject, outcome.succeeded) {
                    self.reserved.remove(&id);
                }
                Busy::Until(outcome.revision)
            }
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
            // It may have been applied all the same: what it placed counts until then.
            if let (Subject::Instance(id), Busy::Failed(_), true) = (*subject, *busy, free) {
                reserved.remove(&id);
            }
            if free {
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
        let claims =
            self.sessions.iter().filter_map(|(node, session)| Some((*session.claims.get(&id)?, *node)));
        let view = View {
            cluster,
            claim: claims.max().map(|(_, node)| node),
            observed: placed
                .and_then(|node| self.sessions.get(&node))
                .and_then(|session| session.observed.get(&id)),
            reserved: &self.reserved,
            highest_epoch: self.highest_epoch,
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
        session.claims.remove(&id);
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
            if let Some(session) = self.sessions.get(&id) {
                self.close(session.conn, "the node was deregistered", now, effects);
            }
            return None;
        };
        let agent = match (self.sessions.get(&id), self.missed.get(&id)) {
            (Some(session), _) => Agent::Connected(&session.report),
            (None, Some(since)) if now.mono.saturating_sub(*since) < self.timing.grace => Agent::Missed,
            (None, _) => Agent::Lost,
        };
        node::step(entry, &agent, now.wall)
    }

    fn reconcile_join(
        &mut self,
        conn: Conn,
        cluster: &Cluster,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Txn> {
        let Some(Stream::Joining { hello, candidate, .. }) = self.streams.get(&conn) else { return None };
        let entry = match node::of_hello(cluster, hello) {
            node::Known::Node(entry) => entry,
            node::Known::New => match node::create(hello, *candidate, now.wall) {
                Ok(txn) => return Some(txn),
                Err(error) => {
                    self.close(conn, &error.to_string(), now, effects);
                    return None;
                }
            },
            node::Known::Taken(why) => {
                self.close(conn, &why, now, effects);
                return None;
            }
        };
        let id = entry.node.id;
        if let Some(rival) = self.sessions.get(&id) {
            if hello.node_uid.is_empty() {
                let why = format!(
                    "another agent is connected as node `{}`: give this one another name",
                    entry.node.metadata.name
                );
                self.close(conn, &why, now, effects);
                return None;
            }
            if rival.number >= hello.session {
                self.close(conn, "a newer session of this node is open", now, effects);
                return None;
            }
            let rival = rival.conn;
            self.close(rival, "a newer session of this node was opened", now, effects);
        }
        let name = entry.node.metadata.name.to_string();
        self.welcome(conn, id, name, cluster, now, effects);
        None
    }

    /// Makes the stream the node's session: welcome, then the full set.
    fn welcome(
        &mut self,
        conn: Conn,
        id: NodeId,
        name: String,
        cluster: &Cluster,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Stream::Joining { hello, mut link, .. }) = self.streams.insert(conn, Stream::Session(id))
        else {
            return;
        };
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let welcome = v1::Welcome {
            node_uid: id.to_string(),
            node_name: name,
            session: hello.session,
            heartbeat_interval_ms: millis(self.timing.beat),
            grace_ms: millis(self.timing.grace),
            incarnation: self.incarnation.clone(),
            server_version: self.version.clone(),
        };
        effects.push(Effect::Send(conn, Box::new(link.frame(Down::Welcome(welcome)))));
        let wanted: Vec<_> = cluster
            .placed_on(id)
            .filter_map(|entry| Some((entry.instance.id, desired(cluster, entry.instance.id)?)))
            .collect();
        for full in full_set(wanted.iter().map(|(_, (_, desired))| desired.clone())) {
            effects.push(Effect::Send(conn, Box::new(link.frame(Down::Desired(full)))));
        }
        let session = Session {
            conn,
            number: hello.session,
            link,
            last_heard: now.mono,
            report: report_from(&hello.report.unwrap_or_default()),
            observed: BTreeMap::new(),
            claims: BTreeMap::new(),
            sent: wanted.into_iter().map(|(id, (told, _))| (id, told)).collect(),
        };
        self.sessions.insert(id, session);
        self.missed.remove(&id);
        self.dirty.insert(Subject::Node(id));
    }
}

/// What a node is told of an instance placed on it; nothing as long as it may be elsewhere.
fn desired(cluster: &Cluster, id: InstanceId) -> Option<((Epoch, u64, bool, bool), v1::DesiredInstance)> {
    let entry = cluster.instances().get(&id)?;
    let instance = &entry.instance;
    if cluster.lost(entry).is_some() {
        return None;
    }
    let epoch = instance.placement?.epoch;
    let (deleted, force) = (instance.is_deleting(), instance.spec.force_stop);
    let wire = v1::DesiredInstance {
        uid: id.to_string(),
        name: instance.metadata.name.to_string(),
        project: instance.metadata.project.to_string(),
        epoch: epoch.0,
        generation: instance.metadata.generation,
        spec: Some(spec_to(&instance.spec)),
        deleted,
        force,
    };
    Some(((epoch, instance.metadata.generation, deleted, force), wire))
}

/// A full set in frames that are not too large; the last one says so.
fn full_set(instances: impl Iterator<Item = v1::DesiredInstance>) -> Vec<v1::Desired> {
    let mut frames = vec![v1::Desired { full: true, complete: false, instances: Vec::new() }];
    let mut bytes = 0;
    for instance in instances {
        if bytes >= FRAME_BYTES {
            frames.push(v1::Desired { full: true, complete: false, instances: Vec::new() });
            bytes = 0;
        }
        bytes += instance.encoded_len();
        if let Some(frame) = frames.last_mut() {
            frame.instances.push(instance);
        }
    }
    if let Some(last) = frames.last_mut() {
        last.complete = true;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_of_large_instances_fits_into_frames() {
        let large = v1::InstanceSpec {
            cloud_init: Some(v1::CloudInitSpec { user_data: "x".repeat(512 << 10), ..Default::default() }),
            ..Default::default()
        };
        let instance = v1::DesiredInstance { spec: Some(large), ..Default::default() };
        let frames = full_set(std::iter::repeat_n(instance, 20));
        assert!(frames.iter().all(|frame| frame.full && frame.encoded_len() < 4 << 20));
        assert_eq!(frames.iter().map(|frame| frame.instances.len()).sum::<usize>(), 20);
        let complete: Vec<_> = frames.iter().map(|frame| frame.complete).collect();
        assert!(complete.ends_with(&[true]) && !complete[..complete.len() - 1].contains(&true));
        assert_eq!(full_set(std::iter::empty()).len(), 1, "an empty set is said, too");
    }
}

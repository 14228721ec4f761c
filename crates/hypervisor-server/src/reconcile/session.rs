//! Agents' streams and sessions: a stream says hello, joins, and becomes the session of its node; the newest one wins.

use super::controller::{Conn, Controller, Effect, Now, Subject};
use super::desired::{Told, desired, full_set};
use super::instance::Observed;
use super::link::Link;
use super::node;
use super::sighting::Seen;
use crate::state::Cluster;
use crate::state::write::Stray;
use hv_api::convert::{report_from, status_from};
use hv_api::v1;
use hv_api::v1::agent_message::Message as Up;
use hv_api::v1::server_message::Message as Down;
use hv_core::condition::REVOCATION;
use hv_core::instance::Epoch;
use hv_core::node::NodeReport;
use hv_core::{InstanceId, NodeId};
use hv_store::Txn;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug)]
pub(super) enum Stream {
    /// Has not said hello.
    New { candidate: NodeId, link: Link, since: Duration },
    /// Said hello; its node is being recorded.
    Joining { hello: Box<v1::Hello>, candidate: NodeId, link: Link, since: Duration },
    /// Is the session of a node.
    Session(NodeId),
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: Conn,
    pub(super) number: u64,
    pub(super) link: Link,
    pub(super) last_heard: Duration,
    pub(super) report: NodeReport,
    pub(super) observed: BTreeMap<InstanceId, Observed>,
    /// Instances that this node has, and that do not belong here as far as the store knows, if it knows them at all.
    pub(super) sightings: BTreeMap<InstanceId, Stray>,
    /// Guests that the server gave up and that cannot be ended there, and why.
    pub(super) unended: BTreeMap<InstanceId, String>,
    /// Instances that the server gave up and that it keeps the disks of.
    pub(super) kept: BTreeSet<InstanceId>,
    /// Those of which it has said what it has, until it has told all.
    pub(super) told: BTreeSet<InstanceId>,
    /// It has told all that it has.
    pub(super) complete: bool,
    /// What the agent was told: epoch, generation, deleted and force.
    pub(super) sent: BTreeMap<InstanceId, Told>,
}

impl Controller {
    pub(super) fn on_frame(
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
                let (full, complete) = (observed.full, observed.full && observed.complete);
                for wire in observed.instances {
                    let status = wire.status.as_ref().map(status_from);
                    let (Ok(id), Some(Ok(status))) = (wire.uid.parse(), status) else {
                        tracing::warn!(%node, uid = wire.uid, "an agent sent a report that cannot be read");
                        continue;
                    };
                    let seen = Seen::of(node, &wire, &status);
                    if seen != Seen::NotYet && (full || !session.complete) {
                        session.told.insert(id);
                    }
                    let unended =
                        status.conditions.get(REVOCATION).map(|condition| condition.message.clone());
                    if session.unended.get(&id) != unended.as_ref() {
                        match unended {
                            Some(why) => drop(session.unended.insert(id, why)),
                            None => drop(session.unended.remove(&id)),
                        }
                        self.dirty.insert(Subject::Node(node));
                    }
                    let kept = match wire.revoked && !wire.gone {
                        true => session.kept.insert(id),
                        false => session.kept.remove(&id),
                    };
                    if kept {
                        self.dirty.insert(Subject::Node(node));
                    }
                    self.highest_epoch = self.highest_epoch.max(Epoch(wire.epoch));
                    let entry = cluster.instances().get(&id);
                    let elsewhere = entry.is_none_or(|entry| {
                        cluster.missing(entry).is_some() || entry.placement.node != Some(node)
                    });
                    let before = session.sightings.get(&id).copied();
                    match seen {
                        Seen::There(sighting) if elsewhere => {
                            session.sightings.insert(id, sighting);
                        }
                        Seen::NotYet => {}
                        Seen::Nothing | Seen::There(_) => {
                            session.sightings.remove(&id);
                        }
                    }
                    if entry.is_none() && session.sightings.get(&id).copied() != before {
                        self.dirty.insert(Subject::Node(node));
                    }
                    self.dirty.insert(Subject::Instance(id));
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
                }
                if complete {
                    let told = std::mem::take(&mut session.told);
                    session.sightings.retain(|id, _| told.contains(id));
                    session.unended.retain(|id, _| told.contains(id));
                    session.kept.retain(|id| told.contains(id));
                    session.complete = true;
                    self.dirty.insert(Subject::Node(node));
                    self.mark_strays(node, cluster);
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

    pub(super) fn on_closed(&mut self, conn: Conn, now: Now) {
        if let Some(Stream::Session(node)) = self.streams.remove(&conn)
            && self.sessions.get(&node).is_some_and(|session| session.conn == conn)
            && let Some(session) = self.sessions.remove(&node)
        {
            self.dirty.extend(session.sightings.into_keys().map(Subject::Instance));
            self.missed.insert(node, now.mono);
            self.dirty.insert(Subject::Node(node));
        }
    }

    pub(super) fn close(&mut self, conn: Conn, why: &str, now: Now, effects: &mut Vec<Effect>) {
        tracing::warn!(conn = conn.0, why, "closing an agent's stream");
        effects.push(Effect::Close(conn, why.to_owned()));
        self.on_closed(conn, now);
    }

    pub(super) fn reconcile_join(
        &mut self,
        conn: Conn,
        cluster: &Cluster,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Txn> {
        let Some(Stream::Joining { hello, candidate, link, .. }) = self.streams.get_mut(&conn) else {
            return None;
        };
        if let Some(id) = hello.node_uid.parse().ok().filter(|id| cluster.abandoned(*id).is_some()) {
            effects.push(Effect::Send(conn, Box::new(link.frame(abandoned(id)))));
            self.close(conn, "the node was abandoned; its agent joins as a new one", now, effects);
            return None;
        }
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
            sightings: BTreeMap::new(),
            unended: BTreeMap::new(),
            kept: BTreeSet::new(),
            told: BTreeSet::new(),
            complete: false,
            sent: wanted.into_iter().map(|(id, (told, _))| (id, told)).collect(),
        };
        self.sessions.insert(id, session);
        self.missed.remove(&id);
        self.dirty.insert(Subject::Node(id));
    }
}

/// Tells an agent that its node was abandoned.
pub(super) fn abandoned(id: NodeId) -> Down {
    Down::Abandoned(v1::Abandoned { node_uid: id.to_string() })
}

//! The next step of one node: its record follows its agent's session.

use super::sighting;
use crate::state::write::{Stray, Writer};
use crate::state::{Cluster, NodeEntry, keys};
use crate::words::first_few;
use hv_api::v1;
use hv_core::condition::{KEPT_DISKS, REVOCATION, UNKNOWN_INSTANCES};
use hv_core::node::{Node, NodePhase, NodeReport, NodeStatus};
use hv_core::{ConditionStatus, Error, InstanceId, Metadata, Name, NodeId, Timestamp};
use hv_store::{Compare, Txn};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a node's agent.
#[derive(Clone, Debug)]
pub(super) enum Agent<'a> {
    /// Connected.
    Connected {
        /// Its newest report.
        report: &'a NodeReport,
        /// What it has that people should know of, once it has told all that it has: until then what was known before says more.
        left: Option<[Left; 3]>,
    },
    /// Not connected, but not for long enough to say so.
    Missed,
    /// Not heard of for the grace period.
    Lost,
}

/// Brings the stored status of a node up to date.
pub(super) fn step(writer: &mut Writer, entry: &NodeEntry, agent: &Agent<'_>, now: Timestamp) {
    let mut node = entry.node.clone();
    match agent {
        Agent::Connected { report, left } => {
            node.status.report = (*report).clone();
            node.status.phase = if report.drivers.iter().any(|driver| driver.healthy) {
                NodePhase::Ready
            } else {
                NodePhase::NotReady
            };
            let conditions = &mut node.status.conditions;
            for Left { condition, status, reason, message } in left.iter().flatten() {
                match message {
                    Some(message) => drop(conditions.set(condition, *status, reason, message, now)),
                    None => drop(conditions.clear(condition)),
                }
            }
        }
        Agent::Missed => {}
        Agent::Lost if node.status.phase == NodePhase::Registered => {}
        Agent::Lost => node.status.phase = NodePhase::Unknown,
    }
    if node.status.phase != entry.node.status.phase {
        node.status.last_transition_at = now;
    }
    if node != entry.node {
        writer.only_if(Compare::Exists(keys::node(node.id))).put_node_status(&node);
    }
}

/// One kind of things that a node has and should not, as a condition of it.
#[derive(Clone, Debug)]
pub(super) struct Left {
    condition: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    /// Which they are, for people; `None` when there is nothing of the kind.
    message: Option<String>,
}

fn name(id: InstanceId, cluster: &Cluster) -> String {
    match cluster.instances().get(&id) {
        Some(entry) => format!("{} ({id})", entry.instance.metadata.name),
        None => id.to_string(),
    }
}

/// Says which guests a node cannot end though the server gave them up, why, and what people do then.
pub(super) fn unended(guests: &BTreeMap<InstanceId, String>, cluster: &Cluster) -> Left {
    let guests = first_few(guests.iter().map(|(id, why)| format!("{}: {why}", name(*id, cluster))), "; ");
    let message = guests.map(|guests| {
        format!(
            "guests that were given up with an earlier node of this host cannot be ended, and may run elsewhere as well: {guests}. End \
             them on this host: the uid is on the command line of their process"
        )
    });
    Left { condition: REVOCATION, status: ConditionStatus::False, reason: "CannotEnd", message }
}

/// Says which disks a node keeps that the server gave up.
pub(super) fn kept(disks: &BTreeSet<InstanceId>, cluster: &Cluster) -> Left {
    let message = first_few(disks.iter().map(|id| name(*id, cluster)), "; ").map(|disks| {
        format!(
            "disks that an earlier node of this host was given up with are kept here: {disks}. Remove their directories when nobody needs \
             what is on them"
        )
    });
    Left { condition: KEPT_DISKS, status: ConditionStatus::True, reason: "NodeAbandoned", message }
}

/// Says what a node has of instances that the store does not know.
pub(super) fn unknown(sightings: &BTreeMap<InstanceId, Stray>, cluster: &Cluster) -> Left {
    let unknown = sightings.iter().filter(|(id, _)| !cluster.instances().contains_key(id));
    let unknown = unknown.map(|(id, stray)| format!("{} of {id}", sighting::what(*stray)));
    let message = first_few(unknown, "; ").map(|unknown| {
        format!(
            "here is what belongs to no instance that the server knows: {unknown}. It is left alone, and not started again: end it on this \
             host, where the uid is on the command line of its process, and remove its directory"
        )
    });
    Left { condition: UNKNOWN_INSTANCES, status: ConditionStatus::True, reason: "NotInStore", message }
}

/// What a hello comes to.
#[derive(Debug)]
pub(super) enum Known<'a> {
    /// It is this node's.
    Node(&'a NodeEntry),
    /// No node has its uid or its name.
    New,
    /// Its name belongs to another node; why, for the agent's log.
    Taken(String),
}

/// The node that a hello belongs to: by uid. By name only where people registered the node and no agent has joined yet: a
/// host that happens to have another's name must not get its instances.
pub(super) fn of_hello<'a>(cluster: &'a Cluster, hello: &v1::Hello) -> Known<'a> {
    if let Some(entry) = hello.node_uid.parse().ok().and_then(|id: NodeId| cluster.nodes().get(&id)) {
        return Known::Node(entry);
    }
    let name = Name::parse("node_name", &sanitized(&hello.node_name)).ok();
    match name.and_then(|name| cluster.nodes().get(&cluster.node_named(&name)?)) {
        None => Known::New,
        Some(entry) if entry.node.status.phase == NodePhase::Registered => Known::Node(entry),
        Some(entry) => Known::Taken(format!(
            "the name `{}` belongs to node {}, and this agent is node {}: set another node_name, or deregister that node first",
            entry.node.metadata.name, entry.node.id, hello.node_uid
        )),
    }
}

/// Records a node whose agent dials in for the first time. A uid that the agent brings is kept: after a restore of an old
/// store, the node is the same node.
pub(super) fn create(hello: &v1::Hello, candidate: NodeId, now: Timestamp) -> Result<Txn, Error> {
    let id = hello.node_uid.parse().unwrap_or(candidate);
    let name = Name::parse("node_name", &sanitized(&hello.node_name))?;
    let spec = hv_api::convert::node_spec_from(&hello.initial_spec.clone().unwrap_or_default())?;
    hv_core::labels::check_labels("labels", &hello.initial_labels)?;
    let node = Node {
        id,
        metadata: Metadata {
            name: name.clone(),
            project: Name::parse("project", hv_core::meta::DEFAULT_PROJECT)?,
            labels: hello.initial_labels.clone(),
            annotations: Default::default(),
            generation: 1,
            created_at: now,
            deletion_requested_at: None,
            finalizers: Vec::new(),
        },
        spec,
        status: NodeStatus { last_transition_at: now, ..NodeStatus::default() },
    };
    let mut writer = Writer::default();
    writer
        .only_if(Compare::Absent(keys::node(id)))
        .only_if(Compare::Absent(keys::node_name(&name)))
        .put_node(&node)
        .put_text(keys::node_name(&name), &id.to_string());
    Ok(writer.finish())
}

/// A host's name as a node's: the part before the first dot, in lower case, with '-' for what a name may not have.
pub(super) fn sanitized(hostname: &str) -> String {
    let label = hostname.split('.').next().unwrap_or_default().to_lowercase();
    let mut name: String = label
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(63)
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name = format!("node-{name}").chars().take(63).collect();
    }
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_node_names() {
        for (host, name) in [
            ("alpha", "alpha"),
            ("Alpha.example.org", "alpha"),
            ("10-0-0-1", "node-10-0-0-1"),
            ("a_b", "a-b"),
            ("", "node"),
        ] {
            assert_eq!(sanitized(host), name);
            Name::parse("name", &sanitized(host)).unwrap();
        }
    }
}

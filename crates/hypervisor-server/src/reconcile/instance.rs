//! The next step of one instance: a pure function of what is stored, what its agent reports, and the nodes.

use super::sighting;
use super::{drain, progress};
use crate::scheduler::{self, Candidate, Decision, Outlook};
use crate::state::write::{Lost, PlacementRecord, Rejection, Stray, Writer};
use crate::state::{Cluster, InstanceEntry, Missing, keys};
use hv_core::condition::REPORTED;
use hv_core::instance::{Epoch, Instance, InstanceStatus, Phase, Placement, Relocation, RunState};
use hv_core::node::NodePhase;
use hv_core::operation::Target;
use hv_core::{ConditionStatus, Error, InstanceId, NodeId, Resources, Timestamp};
use hv_store::{Compare, LeaseId, Txn};
use std::collections::BTreeMap;

/// What an agent last said of an instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observed {
    pub(super) epoch: Epoch,
    pub(super) status: InstanceStatus,
    pub(super) gone: bool,
    pub(super) rejected: bool,
}

/// What the step is decided on.
pub(super) struct View<'a> {
    pub(super) cluster: &'a Cluster,
    /// What the agent of the instance's node says of it.
    pub(super) observed: Option<&'a Observed>,
    /// Who has it, of those that have reported since they connected, where it does not belong as far as the store knows.
    pub(super) sightings: &'a [Stray],
    /// Who has it, of those that have not: as they said before.
    pub(super) heard: &'a [Stray],
    /// Placed a moment ago, and not yet visible in the cluster: node and resources.
    pub(super) reserved: &'a BTreeMap<InstanceId, (NodeId, Resources)>,
    /// Above everything that any agent has reported.
    pub(super) highest_epoch: Epoch,
    pub(super) now: Timestamp,
    pub(super) expiry: LeaseId,
}

/// A step: the transaction, and the reservation that it makes.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) txn: Txn,
    pub(super) reserve: Option<(NodeId, Resources)>,
}

/// The nodes with what is on them, as the scheduler wants them.
pub(crate) fn candidates<'a>(
    cluster: &'a Cluster,
    instance: &'a Instance,
    placement: &'a PlacementRecord,
    reserved: &BTreeMap<InstanceId, (NodeId, Resources)>,
) -> Vec<Candidate<'a>> {
    let mut extra: BTreeMap<NodeId, (Resources, Vec<&'a Instance>)> = BTreeMap::new();
    // Its own reservation is for itself.
    for (id, (node, resources)) in reserved.iter().filter(|(id, _)| **id != instance.id) {
        let other = cluster.instances().get(id);
        if !other.is_some_and(|other| other.placement.claims().any(|claim| claim == *node)) {
            let (sum, instances) = extra.entry(*node).or_default();
            *sum = *sum + *resources;
            instances.extend(other.map(|other| &other.instance));
        }
    }
    let one = |node: &'a std::sync::Arc<crate::state::NodeEntry>| {
        let id = node.node.id;
        let refused = |rejection: &&'a Rejection| {
            rejection.node == id && rejection.generation == instance.metadata.generation
        };
        // What the instance takes already must not count against it.
        let own = match placement.claims().any(|claim| claim == id) {
            true => instance.resources(),
            false => Resources::default(),
        };
        let (more, coming) = extra.get(&id).map_or((Resources::default(), &[][..]), |(sum, of)| (*sum, of));
        let there = cluster.claiming(id).map(|entry| &entry.instance).chain(coming.iter().copied());
        Candidate {
            node: &node.node,
            allocated: cluster.allocated(id) + more - own,
            refusal: placement.rejections.iter().find(refused).map(|rejection| rejection.message.as_str()),
            taken: scheduler::taken(instance, id, there),
        }
    };
    cluster.nodes().values().map(one).collect()
}

/// Where an instance would go now.
pub(crate) fn scheduled(
    cluster: &Cluster,
    entry: &InstanceEntry,
    reserved: &BTreeMap<InstanceId, (NodeId, Resources)>,
) -> Result<Decision, Error> {
    let candidates = candidates(cluster, &entry.instance, &entry.placement, reserved);
    scheduler::schedule(&entry.instance, &candidates)
}

/// The next step, if there is one to take.
pub(super) fn step(id: InstanceId, view: &View<'_>) -> Result<Option<Step>, Error> {
    let Some(entry) = view.cluster.instances().get(&id) else {
        let mut writer = Writer::default();
        operations(&mut writer, id, None, view);
        return Ok((!writer.is_empty()).then(|| Step { txn: writer.finish(), reserve: None }));
    };
    let mut writer = Writer::default();
    let mut instance = entry.instance.clone();
    let mut placement = entry.placement.clone();
    let mut reserve = None;

    let missing = view.cluster.missing(entry);
    let settling = view.sightings.iter().filter(|sighting| sighting::settles(**sighting));
    let seen_on = settling.max().map(|sighting| sighting.node);
    if missing == Some(Missing::Nowhere) && instance.is_deleting() {
        return Ok(Some(remove(entry, view)));
    }
    match (placement.node, view.observed.filter(|observed| observed.epoch == placement.epoch)) {
        // Before all else: where it was when the snapshot was taken, and whether it was leaving or lost then, says nothing.
        _ if missing == Some(Missing::Waits) || (missing.is_some() && seen_on.is_some()) => {
            reserve = find(&mut instance, &mut placement, seen_on, view);
        }
        _ if missing == Some(Missing::Nowhere) => {
            unplace(&mut instance, &mut placement);
            placement.lost = None;
            reserve = place(&mut instance, &mut placement, entry, view)?;
        }
        // Nothing of it is on any node.
        (None, _) if instance.is_deleting() => return Ok(Some(remove(entry, view))),
        (Some(_), Some(observed)) if observed.gone && instance.is_deleting() => {
            return Ok(Some(remove(entry, view)));
        }
        // Its node was deregistered, and it with it.
        (Some(node), _) if !view.cluster.nodes().contains_key(&node) => {
            if instance.is_deleting() {
                return Ok(Some(remove(entry, view)));
            }
            let name = view.cluster.abandoned(node).map_or_else(|| node.to_string(), str::to_owned);
            unplace(&mut instance, &mut placement);
            if instance.spec.relocation == Relocation::Recreate {
                instance.status.message = format!("node {name} was abandoned: it is made anew");
            } else {
                placement.lost = Some(Lost { node_name: name, restart_serial: instance.spec.restart_serial });
                instance.status = lost(&placement);
            }
        }
        (None, _) if placement.stays_lost(&instance.spec) => instance.status = lost(&placement),
        // It is on no node, and need not be on one before it is started.
        (None, _)
            if instance.spec.run_state == RunState::Stopped && instance.status.phase == Phase::Stopped =>
        {
            instance.status.observed_generation = instance.metadata.generation;
        }
        (None, _) => {
            reserve = place(&mut instance, &mut placement, entry, view)?;
        }
        (Some(node), Some(observed)) if observed.rejected => {
            unplace(&mut instance, &mut placement);
            placement.rejections.retain(|rejection| rejection.node != node);
            placement.rejections.push(Rejection {
                node,
                message: observed.status.message.clone(),
                generation: instance.metadata.generation,
            });
            instance.status.message.clone_from(&observed.status.message);
        }
        (Some(node), Some(observed)) if observed.gone && placement.leaving => {
            let reserved = placement.reserved;
            unplace(&mut instance, &mut placement);
            placement.reserved = reserved;
            instance.status.message = format!("it has left node {}", node_name(view.cluster, node));
        }
        // It has yet to hear that it leaves: a step of its own, so that whoever watches sees it.
        (Some(node), Some(_))
            if !placement.leaving
                && let Some(other) = drain::leaves_for(entry, view.cluster, view.reserved)? =>
        {
            placement.leaving = true;
            placement.reserved = Some(other);
            reserve = Some((other, instance.resources()));
            instance.status.phase = Phase::Migrating;
            instance.status.message = leaves(view.cluster, node);
        }
        (Some(node), Some(observed)) if observed.gone => {
            instance.status.phase = Phase::Failed;
            instance.status.message =
                format!("node {} has nothing of it any more", node_name(view.cluster, node));
        }
        // An agent that has just started has yet to look: what was known before stands.
        (Some(_), Some(observed))
            if observed.status.phase == Phase::Unknown && observed.status.message.is_empty() => {}
        (Some(node), Some(observed)) => {
            // An agent that has just started has yet to look; what it acted on under this epoch, it has acted on.
            let acted_on = instance.status.observed_generation.max(observed.status.observed_generation);
            // Likewise of its disk.
            let root_disk_bytes = match observed.status.root_disk_bytes {
                0 => instance.status.root_disk_bytes,
                known => known,
            };
            // Nor has anybody seen that a guest let go of its ports.
            let published_ports = match observed.status.phase {
                Phase::Unknown => std::mem::take(&mut instance.status.published_ports),
                _ => observed.status.published_ports.clone(),
            };
            instance.status = InstanceStatus {
                observed_generation: acted_on,
                root_disk_bytes,
                published_ports,
                ..observed.status.clone()
            };
            if placement.leaving && !instance.is_deleting() {
                instance.status.phase = Phase::Migrating;
                if instance.status.message.is_empty() {
                    instance.status.message = leaves(view.cluster, node);
                }
            }
        }
        (Some(node), None) => {
            let phase = view.cluster.nodes().get(&node).map(|node| node.node.status.phase);
            if phase == Some(NodePhase::Unknown) && instance.status.phase != Phase::Unknown {
                instance.status.phase = Phase::Unknown;
                instance.status.message = format!(
                    "node {} is not heard of; the guest may well be running",
                    node_name(view.cluster, node)
                );
            }
        }
    }

    if let (Some(node), true, true) = (placement.node, placement.leaving, entry.placement.leaving) {
        placement.reserved = drain::keeps_room(entry, view.cluster, view.reserved)?;
        if placement.reserved.is_none() && !instance.is_deleting() {
            instance.status.message = format!("{}; no node keeps room for it", leaves(view.cluster, node));
        }
        if placement.reserved != entry.placement.reserved {
            reserve = placement.reserved.map(|other| (other, instance.resources()));
        }
    }

    let strays = view.sightings.iter().chain(view.heard).copied();
    let mut strays: Vec<_> = strays.filter(|stray| placement.node != Some(stray.node)).collect();
    strays.sort_by(|a, b| b.cmp(a));
    let name = |node| node_name(view.cluster, node);
    let before = &entry.instance.status.conditions;
    sighting::show(&mut instance.status.conditions, before, &strays, name, view.now);
    if strays != entry.strays {
        writer.put_strays(id, &strays);
    }
    if instance.status != entry.instance.status {
        writer.put_instance_status(id, &instance.status);
    }
    if placement != entry.placement {
        writer.put_placement(id, &placement);
    }
    operations(&mut writer, id, Some(&instance), view);
    if writer.is_empty() {
        return Ok(None);
    }
    writer.unchanged(keys::placement(id), entry.placement_revision);
    let assigned = placement.node.filter(|_| placement.epoch != entry.placement.epoch);
    let claimed = assigned.or(placement.reserved.filter(|_| placement.reserved != entry.placement.reserved));
    let key = keys::instance(&instance.metadata.project, id);
    if placement.leaving && !entry.placement.leaving {
        // It may leave, and its node is drained, as was seen.
        writer.unchanged(key, Some(entry.spec_revision));
        if let Some(node) = entry.placement.node.and_then(|node| view.cluster.nodes().get(&node)) {
            writer.unchanged(keys::node(node.node.id), Some(node.spec_revision));
        }
    } else if placement.node == entry.placement.node && assigned.is_none() {
        writer.only_if(Compare::Exists(key));
    } else {
        // A placement was decided on this very specification.
        writer.unchanged(key, Some(entry.spec_revision));
    }
    if let Some(node) = claimed {
        match view.cluster.nodes().get(&node) {
            // Whether it may go there was decided on this very specification: the node may be drained by now.
            Some(seen) => writer.unchanged(keys::node(node), Some(seen.spec_revision)),
            // Reported by the agent of a node that has just been deregistered.
            None => writer.only_if(Compare::Exists(keys::node(node))),
        };
        writer
            .unchanged(keys::node_raised(node), view.cluster.claims(node).raised)
            .put_text(keys::node_placed(node), "");
    }
    Ok(Some(Step { txn: writer.finish(), reserve }))
}

/// Takes up an instance of a restored store where it is found, and waits as long as it is not: it may live on a node that
/// has not come back, and would run twice if it were started elsewhere.
fn find(
    instance: &mut Instance,
    placement: &mut PlacementRecord,
    seen_on: Option<NodeId>,
    view: &View<'_>,
) -> Option<(NodeId, Resources)> {
    let Some(node) = seen_on else {
        let message = view.cluster.awaits_report(instance);
        instance.status.phase = Phase::Unknown;
        instance.status.conditions.set(REPORTED, ConditionStatus::False, "StoreRestored", &message, view.now);
        instance.status.message = message;
        return None;
    };
    // A new assignment also where it is already: what the node was told last is newer than what the snapshot holds.
    placement.node = Some(node);
    placement.epoch = placement.epoch.next_above(view.highest_epoch);
    placement.rejections.clear();
    placement.leaving = false;
    placement.reserved = None;
    placement.lost = None;
    instance.placement = Some(Placement { node, epoch: placement.epoch });
    instance.status.conditions.clear(REPORTED);
    instance.status.message = format!("found on node {}", node_name(view.cluster, node));
    Some((node, instance.resources()))
}

/// Takes an instance from its node; it waits for the next one.
fn unplace(instance: &mut Instance, placement: &mut PlacementRecord) {
    placement.node = None;
    placement.leaving = false;
    placement.reserved = None;
    instance.placement = None;
    instance.status = blank(&instance.status);
}

/// The status of what has yet to be observed. Its image is as large as it was.
fn blank(before: &InstanceStatus) -> InstanceStatus {
    InstanceStatus { root_disk_bytes: before.root_disk_bytes, ..InstanceStatus::default() }
}

fn leaves(cluster: &Cluster, node: NodeId) -> String {
    format!("it leaves node {}, which is drained", node_name(cluster, node))
}

fn lost(placement: &PlacementRecord) -> InstanceStatus {
    let node = placement.lost.as_ref().map_or("", |lost| lost.node_name.as_str());
    InstanceStatus {
        phase: Phase::Failed,
        message: format!(
            "node {node} was abandoned, and its disks with it; `instance start` makes it anew, with fresh disks on any other host"
        ),
        ..InstanceStatus::default()
    }
}

/// Chooses a node. Without one the status says why; what is wanted stopped is that already.
fn place(
    instance: &mut Instance,
    placement: &mut PlacementRecord,
    entry: &InstanceEntry,
    view: &View<'_>,
) -> Result<Option<(NodeId, Resources)>, Error> {
    let candidates = candidates(view.cluster, &entry.instance, &entry.placement, view.reserved);
    let decision = scheduler::schedule(instance, &candidates)?;
    placement.reserved = None;
    if let Some(node) = decision.chosen {
        placement.node = Some(node);
        placement.lost = None;
        placement.epoch = placement.epoch.next_above(view.highest_epoch);
        instance.placement = Some(Placement { node, epoch: placement.epoch });
        instance.status =
            InstanceStatus { phase: Phase::Scheduled, message: decision.summary, ..blank(&instance.status) };
        return Ok(Some((node, instance.resources())));
    }
    if instance.spec.run_state == RunState::Stopped {
        // There is nothing to wait for: it is as it is wanted.
        instance.status = InstanceStatus {
            phase: Phase::Stopped,
            message: format!("it is on no node until it is started: {}", decision.summary),
            observed_generation: instance.metadata.generation,
            ..blank(&instance.status)
        };
        return Ok(None);
    }
    // Refused by every node that could otherwise have it: waiting would not help.
    let refused = candidates.iter().any(|candidate| candidate.refusal.is_some())
        && decision.verdicts.iter().all(|verdict| {
            let refusal = candidates.iter().find(|c| c.node.id == verdict.node).and_then(|c| c.refusal);
            verdict.obstacles.len() != 1
                || refusal == verdict.obstacles.first().map(|obstacle| obstacle.text.as_str())
        });
    let is_over = refused || decision.outlook == Outlook::Hopeless;
    instance.status = InstanceStatus {
        phase: if is_over { Phase::Failed } else { Phase::Pending },
        message: decision.summary,
        ..blank(&instance.status)
    };
    Ok(None)
}

/// Removes every trace of a deleted instance, and ends its operations.
fn remove(entry: &InstanceEntry, view: &View<'_>) -> Step {
    let (id, metadata) = (entry.instance.id, &entry.instance.metadata);
    let mut writer = Writer::default();
    writer
        .unchanged(keys::placement(id), entry.placement_revision)
        .delete(keys::instance(&metadata.project, id))
        .delete(keys::instance_status(id))
        .delete(keys::placement(id))
        .delete(keys::strays(id))
        .delete(keys::instance_name(&metadata.project, &metadata.name));
    operations(&mut writer, id, None, view);
    Step { txn: writer.finish(), reserve: None }
}

/// Most operations that one transaction advances: with what else it holds it stays below the store's limit.
pub(super) const MAX_OPERATIONS: usize = 50;

fn operations(writer: &mut Writer, id: InstanceId, instance: Option<&Instance>, view: &View<'_>) {
    for entry in view.cluster.open_operations(Target::Instance(id)).take(MAX_OPERATIONS) {
        if let Some(next) = progress::advance(&entry.operation, instance, view.now) {
            writer
                .unchanged(keys::operation(next.id), Some(entry.revision))
                .put_operation(&next, view.expiry);
        }
    }
}

fn node_name(cluster: &Cluster, node: NodeId) -> String {
    cluster.nodes().get(&node).map_or_else(|| node.to_string(), |entry| entry.node.metadata.name.to_string())
}

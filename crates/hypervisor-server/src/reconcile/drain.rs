//! Draining a node: what may be made anew on another node leaves, as long as one takes it; the rest stays. An operation says how
//! far that is, and what stays why.
//!
//! ```text
//!   on a node that is drained ─> leaving (its agent tears it down: it asks the guest first) ─> gone ─> placed anew
//! ```
//!
//! Nothing leaves for nowhere: there must be a node that would take it, and room is kept for it there until it is placed anew. Once
//! it leaves, nothing takes that back. If the node that it leaves for takes nothing any more, room is kept on another one that has it;
//! a drain waits until no room is kept on its node.

use super::instance::scheduled;
use crate::state::write::Writer;
use crate::state::{Cluster, InstanceEntry, keys};
use crate::words::first_few;
use hv_core::instance::Relocation;
use hv_core::node::{Node, Schedulability};
use hv_core::operation::{Operation, OperationPhase, Target};
use hv_core::{Error, InstanceId, NodeId, Resources, Timestamp};
use hv_store::LeaseId;
use std::collections::BTreeMap;

/// What the progress of a drain is decided on.
pub(super) struct View<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) reserved: &'a BTreeMap<InstanceId, (NodeId, Resources)>,
    pub(super) now: Timestamp,
    pub(super) expiry: LeaseId,
}

/// The node that an instance is to leave its own for: that is drained, the instance may leave, and the other would take it.
pub(super) fn leaves_for(
    entry: &InstanceEntry,
    cluster: &Cluster,
    reserved: &BTreeMap<InstanceId, (NodeId, Resources)>,
) -> Result<Option<NodeId>, Error> {
    let instance = &entry.instance;
    let node = entry.placement.node.and_then(|node| cluster.nodes().get(&node));
    let drained = node.is_some_and(|node| node.node.spec.schedulability == Schedulability::Draining);
    let here = cluster.missing(entry).is_none();
    if !drained || !here || instance.is_deleting() || instance.spec.relocation != Relocation::Recreate {
        return Ok(None);
    }
    Ok(scheduled(cluster, entry, reserved)?.chosen)
}

/// Where room is kept for an instance that leaves: where it was, as long as that node takes anything, else on another that has it.
/// Without one it waits for its place when it has left, as any instance does.
pub(super) fn keeps_room(
    entry: &InstanceEntry,
    cluster: &Cluster,
    reserved: &BTreeMap<InstanceId, (NodeId, Resources)>,
) -> Result<Option<NodeId>, Error> {
    let Some(kept) = entry.placement.reserved else { return Ok(None) };
    let node = cluster.nodes().get(&kept);
    if node.is_some_and(|node| node.node.spec.schedulability == Schedulability::Schedulable) {
        return Ok(Some(kept));
    }
    if entry.instance.is_deleting() {
        return Ok(None);
    }
    Ok(scheduled(cluster, entry, reserved)?.chosen)
}

/// Brings the operations of a node up to date. `None`: it is gone.
pub(super) fn operations(writer: &mut Writer, id: NodeId, node: Option<&Node>, view: &View<'_>) {
    for entry in view.cluster.open_operations(Target::Node(id)).take(super::instance::MAX_OPERATIONS) {
        let mut next = entry.operation.clone();
        if advance(&mut next, id, node, view) {
            writer
                .unchanged(keys::operation(next.id), Some(entry.revision))
                .put_operation(&next, view.expiry);
        }
    }
}

/// Says whether anything changed.
fn advance(operation: &mut Operation, id: NodeId, node: Option<&Node>, view: &View<'_>) -> bool {
    let now = view.now;
    let cancelled = match node {
        None => Some("the node was deregistered"),
        Some(node) if node.spec.schedulability != Schedulability::Draining => {
            Some("the node is not drained any more")
        }
        Some(_) => None,
    };
    if let Some(why) = cancelled {
        return operation.end(now, OperationPhase::Cancelled, why, None);
    }
    let (mut leave, mut bound, mut nowhere, mut missing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in view.cluster.placed_on(id) {
        let name = entry.instance.metadata.name.as_str();
        let leaves = entry.placement.leaving
            || entry.instance.is_deleting()
            || leaves_for(entry, view.cluster, view.reserved).is_ok_and(|node| node.is_some());
        match entry.instance.spec.relocation {
            // A node may report it any time, or none ever.
            _ if view.cluster.missing(entry).is_some() => missing.push(name),
            _ if leaves => leave.push(name),
            Relocation::Never => bound.push(name),
            Relocation::Recreate => nowhere.push(name),
        }
    }
    let coming: Vec<_> = view
        .cluster
        .claiming(id)
        .filter(|entry| entry.placement.node != Some(id) && view.cluster.missing(entry).is_none())
        .map(|entry| entry.instance.metadata.name.as_str())
        .collect();
    let stays = [
        (bound, "staying with their disks (relocation never)"),
        (nowhere, "waiting for a node that takes them"),
        (missing, "not reported by any node since the store was restored"),
    ];
    let stays: Vec<_> = stays
        .into_iter()
        .filter_map(|(names, why)| Some(format!("{why}: {}", first_few(names, ", ")?)))
        .collect();
    if leave.is_empty() && coming.is_empty() {
        let message =
            if stays.is_empty() { "nothing is on it any more".to_owned() } else { stays.join("; ") };
        return operation.end(now, OperationPhase::Succeeded, message, None);
    }
    let waits = [(leave, "to leave"), (coming, "to go elsewhere: room is kept for it here")];
    let waits: Vec<_> = waits
        .into_iter()
        .filter_map(|(names, what)| Some(format!("waiting for {} {what}", first_few(names, ", ")?)))
        .collect();
    operation.step(now, 50, waits.join("; "))
}

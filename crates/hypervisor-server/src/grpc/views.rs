//! Objects as callers see them.

use super::Api;
use crate::state::{Change, ChangeKind, Cluster, InstanceEntry, NodeEntry, Object, OperationEntry};
use hv_api::convert::{instance_to, node_to, operation_to, resources_to};
use hv_api::v1;
use hv_core::InstanceId;

/// An instance with its node's name.
pub(super) fn instance(cluster: &Cluster, entry: &InstanceEntry) -> v1::Instance {
    let name = entry
        .instance
        .placement
        .and_then(|placement| cluster.nodes().get(&placement.node))
        .map(|node| node.node.metadata.name.to_string())
        .unwrap_or_default();
    instance_to(&entry.instance, &name, entry.revision.0)
}

/// A node with what is on it, and when it was last heard of.
pub(super) fn node(api: &Api, cluster: &Cluster, entry: &NodeEntry) -> v1::Node {
    let id = entry.node.id;
    let mut node = node_to(&entry.node, entry.revision.0);
    if let Some(status) = &mut node.status {
        status.allocated = Some(resources_to(cluster.allocated(id)));
        status.instances = u32::try_from(cluster.placed_on(id).count()).unwrap_or(u32::MAX);
        status.last_seen_at_ms = api.brain.last_seen(id).map_or(0, |time| time.0);
    }
    node
}

/// An operation.
pub(super) fn operation(entry: &OperationEntry) -> v1::Operation {
    operation_to(&entry.operation, entry.revision.0)
}

/// A change's kind.
pub(super) fn kind(kind: ChangeKind) -> v1::ChangeKind {
    match kind {
        ChangeKind::Added => v1::ChangeKind::Added,
        ChangeKind::Modified => v1::ChangeKind::Modified,
        ChangeKind::Deleted => v1::ChangeKind::Deleted,
    }
}

/// What a change is to whoever sees only a selection: objects change, and so come into it or leave it. `None` when it is
/// nothing to them.
pub(super) fn change(change: &Change, shows: impl Fn(&Object) -> bool) -> Option<v1::ChangeKind> {
    let is = shows(&change.object);
    let was = change.previous.as_ref().map_or(is, shows);
    match (change.kind, was, is) {
        (ChangeKind::Modified, false, true) => Some(v1::ChangeKind::Added),
        (ChangeKind::Modified, true, false) => Some(v1::ChangeKind::Deleted),
        (of, _, true) => Some(kind(of)),
        (_, _, false) => None,
    }
}

/// An instance that a call changed, by uid; none when it has been deleted since.
pub(super) fn changed_instance(cluster: &Cluster, uid: &str) -> Option<v1::Instance> {
    let entry = uid.parse().ok().and_then(|id: InstanceId| cluster.instances().get(&id))?;
    Some(instance(cluster, entry))
}

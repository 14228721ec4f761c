//! What must hold while nodes are cordoned and drained.

use crate::agent::short;
use crate::check::{Invariant, Ledger};
use hv_core::NodeId;
use hv_core::node::{NodePhase, Schedulability};
use hypervisor_server::state::{InstanceEntry, NodeEntry, Object};

impl Ledger {
    /// A node has changed, or is gone: what leaves may have to go elsewhere.
    pub(crate) fn node_changed(&mut self, node: &NodeEntry, is_gone: bool) {
        if is_gone || !takes(node) {
            for open in self.left_for.values_mut() {
                open.remove(&node.node.id);
            }
        }
    }

    /// A node that takes nothing new is given nothing.
    pub(crate) fn given(&mut self, entry: &InstanceEntry, before: Option<&InstanceEntry>) {
        let (now, before) = (&entry.placement, before.map(|before| &before.placement));
        let held = |node: NodeId| {
            before.is_some_and(|before| {
                before.claims().any(|claim| claim == node)
                    && (now.node != Some(node) || before.epoch == now.epoch)
            })
        };
        for node in now.claims().filter(|node| !held(*node)) {
            let Some(known) = self.cluster.nodes().get(&node) else { continue };
            let schedulability = known.node.spec.schedulability;
            if schedulability != Schedulability::Schedulable {
                let name = &known.node.metadata.name;
                let what =
                    format!("{} is given to {name}, which is {schedulability:?}", short(entry.instance.id));
                self.breaks(Invariant::ClosedIsGivenNothing, what);
            }
        }
    }

    /// What leaves a node has a place on another, unless something happens to that or to what it takes.
    pub(crate) fn leaves(&mut self, entry: &InstanceEntry, before: Option<&InstanceEntry>) {
        let (id, placement) = (entry.instance.id, &entry.placement);
        let Some(before) = before else { return };
        if placement.leaving && !before.placement.leaving {
            let nodes = self.cluster.nodes().values();
            let open = nodes.filter(|node| takes(node)).map(|node| node.node.id);
            self.left_for.insert(id, open.collect());
            return;
        }
        let arrived = placement.node.is_some() && !placement.leaving;
        let changed = before.instance.metadata.generation != entry.instance.metadata.generation;
        if arrived || changed || !placement.rejections.is_empty() {
            self.left_for.remove(&id);
        }
        let waits = [&before.placement, placement].iter().all(|placement| placement.node.is_none())
            && before.instance.status != entry.instance.status;
        if waits && self.left_for.get(&id).is_some_and(|open| !open.is_empty()) {
            let what =
                format!("{} has left its node, and waits: {}", short(id), entry.instance.status.message);
            self.breaks(Invariant::LeavesForSomewhere, what);
        }
    }
}

fn takes(node: &NodeEntry) -> bool {
    node.node.spec.schedulability == Schedulability::Schedulable && node.node.status.phase == NodePhase::Ready
}

/// The instance as it was before a change.
pub(crate) fn before(previous: Option<&Object>) -> Option<&InstanceEntry> {
    match previous {
        Some(Object::Instance(before)) => Some(before),
        _ => None,
    }
}

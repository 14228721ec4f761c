//! Building transactions: objects in, keys and bytes out.

use super::keys;
use hv_api::convert::{metadata_to, node_spec_to, node_to, operation_to, spec_to, status_to};
use hv_api::internal::v1 as internal;
use hv_api::v1;
use hv_core::instance::{Epoch, Instance, InstanceSpec, InstanceStatus};
use hv_core::node::Node;
use hv_core::operation::Operation;
use hv_core::{InstanceId, NodeId};
use hv_store::{Compare, LeaseId, Op, Revision, Txn};
use prost::Message;

/// Why a node refused an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The node.
    pub node: NodeId,
    /// Why.
    pub message: String,
    /// The generation that was refused; a newer one may fit.
    pub generation: u64,
}

/// An instance was on a node that was abandoned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The node's name.
    pub node_name: String,
    /// Its restart serial at that time; a greater one asks for it to be made anew.
    pub restart_serial: u64,
}

/// Where an instance belongs, and where it may not go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementRecord {
    /// The node, while there is one.
    pub node: Option<NodeId>,
    /// The newest epoch.
    pub epoch: Epoch,
    /// Nodes that refused.
    pub rejections: Vec<Rejection>,
    /// It was on a node that was abandoned, and has not been placed since.
    pub lost: Option<Lost>,
    /// Its node is drained: it is torn down there, and placed anew then.
    pub leaving: bool,
    /// Room is kept for it on this node until it is placed anew: it must not leave for nowhere.
    pub reserved: Option<NodeId>,
}

impl PlacementRecord {
    /// The nodes whose room it takes: where it is, and where room is kept for it.
    pub fn claims(&self) -> impl Iterator<Item = NodeId> {
        self.node.into_iter().chain(self.reserved.filter(|reserved| self.node != Some(*reserved)))
    }

    /// What was lost with its node is not made anew before somebody asks for it: its disks were there.
    pub fn stays_lost(&self, spec: &InstanceSpec) -> bool {
        self.lost.as_ref().is_some_and(|lost| spec.restart_serial <= lost.restart_serial)
    }
}

/// Something of an instance is on a node where it does not belong. Of several, the greatest is the likeliest to be where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// Its guest lives, or may. That counts most: what does not live elsewhere can wait, and two guests must not live.
    pub lives: bool,
    /// The assignment that it is there under; 0 where the agent does not remember one.
    pub epoch: Epoch,
    /// The node.
    pub node: NodeId,
}

/// A transaction in the making.
#[derive(Debug, Default)]
pub struct Writer(Txn);

impl Writer {
    /// The finished transaction.
    pub fn finish(self) -> Txn {
        self.0
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.0.then.is_empty()
    }

    /// Adds a condition.
    pub fn only_if(&mut self, compare: Compare) -> &mut Self {
        if !self.0.compares.contains(&compare) {
            self.0.compares.push(compare);
        }
        self
    }

    /// Adds the condition that a key is as it was seen.
    pub fn unchanged(&mut self, key: String, seen: Option<Revision>) -> &mut Self {
        self.only_if(match seen {
            Some(revision) => Compare::ModRevision(key, revision),
            None => Compare::Absent(key),
        })
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: String) -> &mut Self {
        self.0.then.push(Op::Delete(key));
        self
    }

    /// Puts plain text.
    pub fn put_text(&mut self, key: String, text: &str) -> &mut Self {
        self.0.then.push(Op::Put { key, value: text.to_owned().into(), lease: None });
        self
    }

    /// Metadata and specification of an instance.
    pub fn put_instance(&mut self, instance: &Instance) -> &mut Self {
        let message = v1::Instance {
            metadata: Some(metadata_to(instance.id, &instance.metadata, 0)),
            spec: Some(spec_to(&instance.spec)),
            status: None,
        };
        self.put(keys::instance(&instance.metadata.project, instance.id), &message, None)
    }

    /// Status of an instance.
    pub fn put_instance_status(&mut self, id: InstanceId, status: &InstanceStatus) -> &mut Self {
        self.put(keys::instance_status(id), &status_to(status), None)
    }

    /// Placement of an instance.
    pub fn put_placement(&mut self, id: InstanceId, placement: &PlacementRecord) -> &mut Self {
        let rejection = |rejection: &Rejection| internal::Rejection {
            node_uid: rejection.node.to_string(),
            message: rejection.message.clone(),
            generation: rejection.generation,
        };
        let message = internal::Placement {
            node_uid: placement.node.map(|node| node.to_string()).unwrap_or_default(),
            epoch: placement.epoch.0,
            rejections: placement.rejections.iter().map(rejection).collect(),
            lost: placement.lost.as_ref().map(|lost| internal::Lost {
                node_name: lost.node_name.clone(),
                restart_serial: lost.restart_serial,
            }),
            leaving: placement.leaving,
            reserved_node_uid: placement.reserved.map(|node| node.to_string()).unwrap_or_default(),
        };
        self.put(keys::placement(id), &message, None)
    }

    /// What nodes have of an instance that does not belong there.
    pub fn put_strays(&mut self, id: InstanceId, strays: &[Stray]) -> &mut Self {
        let one = |stray: &Stray| internal::Stray {
            node_uid: stray.node.to_string(),
            epoch: stray.epoch.0,
            lives: stray.lives,
        };
        let message = internal::Strays { strays: strays.iter().map(one).collect() };
        match strays {
            [] => self.delete(keys::strays(id)),
            _ => self.put(keys::strays(id), &message, None),
        }
    }

    /// Metadata and specification of a node.
    pub fn put_node(&mut self, node: &Node) -> &mut Self {
        let message = v1::Node {
            metadata: Some(metadata_to(node.id, &node.metadata, 0)),
            spec: Some(node_spec_to(&node.spec)),
            status: None,
        };
        self.put(keys::node(node.id), &message, None)
    }

    /// Status of a node.
    pub fn put_node_status(&mut self, node: &Node) -> &mut Self {
        let status = node_to(node, 0).status.unwrap_or_default();
        self.put(keys::node_status(node.id), &status, None)
    }

    /// An operation; one that has ended goes with the lease.
    pub fn put_operation(&mut self, operation: &Operation, expiry: LeaseId) -> &mut Self {
        let lease = operation.phase.is_final().then_some(expiry);
        self.put(keys::operation(operation.id), &operation_to(operation, 0), lease)
    }

    /// An answered call.
    pub fn put_idempotency(
        &mut self,
        key: String,
        record: &internal::Idempotency,
        expiry: LeaseId,
    ) -> &mut Self {
        self.put(key, record, Some(expiry))
    }

    fn put(&mut self, key: String, message: &impl Message, lease: Option<LeaseId>) -> &mut Self {
        self.0.then.push(Op::Put { key, value: message.encode_to_vec().into(), lease });
        self
    }
}

//! What the server is told of an instance.

use hv_api::convert::status_to;
use hv_api::v1;
use hv_core::InstanceId;
use hv_core::instance::{Epoch, InstanceStatus};

/// The observed state of an instance under one assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which instance.
    pub id: InstanceId,
    /// The assignment.
    pub epoch: Epoch,
    /// What is observed.
    pub status: InstanceStatus,
    /// Nothing of it is left here.
    pub gone: bool,
    /// The assignment was refused, before anything was made.
    pub rejected: bool,
    /// It is here, and no server asked for it.
    pub orphan: bool,
    /// It is an orphan because the server gave up this node; its guest may still have to end.
    pub revoked: bool,
}

impl Report {
    /// Whether it says anything of what is here: not before an agent that has just started has looked.
    pub fn has_looked(&self) -> bool {
        self.gone || self.rejected || self.status.has_looked()
    }

    /// Whether the agent has no record of it: what is here was found, and nobody knows why.
    pub fn is_found(&self) -> bool {
        self.orphan && self.epoch == Epoch(0)
    }

    /// For the wire.
    pub fn to_wire(&self) -> v1::ObservedInstance {
        v1::ObservedInstance {
            uid: self.id.to_string(),
            epoch: self.epoch.0,
            status: Some(status_to(&self.status)),
            gone: self.gone,
            rejected: self.rejected,
            orphan: self.orphan,
            revoked: self.revoked,
        }
    }
}

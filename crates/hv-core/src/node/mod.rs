//! Nodes: hosts with an agent.

use crate::{Conditions, Error, Metadata, Name, NodeId, Resources, Timestamp};
use std::collections::BTreeMap;

/// What a node is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodeRole {
    /// Runs the control plane as well.
    Master,
    /// Runs instances.
    #[default]
    Worker,
}

/// Whether the control plane can work with a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodePhase {
    /// Registered; its agent has not dialled in yet.
    #[default]
    Registered,
    /// Its agent is connected and healthy.
    Ready,
    /// Its agent is connected and says that it cannot run instances.
    NotReady,
    /// Its agent has not been heard of for the grace period.
    Unknown,
}

impl NodePhase {
    /// The word people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Unknown => "unknown",
        }
    }
}

/// What the scheduler may do with a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Schedulability {
    /// New instances are placed here.
    #[default]
    Schedulable,
    /// Nothing new is placed; what is here stays.
    Cordoned,
    /// Nothing new is placed, and what is here is to leave.
    Draining,
    /// Out of service for work on the host.
    Maintenance,
}

/// What people decide about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSpec {
    /// What it is for.
    pub role: NodeRole,
    /// Failure domain, outer.
    pub region: String,
    /// Failure domain, inner.
    pub zone: String,
    /// What the scheduler may do.
    pub schedulability: Schedulability,
    /// Why it is not schedulable.
    pub reason: String,
}

impl NodeSpec {
    /// Checks what a caller sent.
    pub fn check(&self) -> Result<(), Error> {
        for (field, text) in [("spec.region", &self.region), ("spec.zone", &self.zone)] {
            if !text.is_empty() {
                Name::parse(field, text)?;
            }
        }
        if self.reason.len() > 256 {
            return Err(Error::invalid("spec.reason", "at most 256 bytes"));
        }
        Ok(())
    }
}

/// A driver on a node, as its agent reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverStatus {
    /// Such as `qemu`.
    pub name: String,
    /// Which instances it runs, in the words of [`InstanceKind`](crate::instance::InstanceKind).
    pub instance_types: Vec<String>,
    /// Whether it can run instances now.
    pub healthy: bool,
    /// Why not, and what to do.
    pub message: String,
    /// Version of what it drives.
    pub version: String,
    /// Names of its capabilities.
    pub capabilities: Vec<String>,
    /// Facts for people.
    pub attributes: BTreeMap<String, String>,
}

/// What an agent says of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// The host's name.
    pub hostname: String,
    /// The host's addresses.
    pub addresses: Vec<String>,
    /// What the host has.
    pub capacity: Resources,
    /// What instances may take of it.
    pub allocatable: Resources,
    /// Its drivers.
    pub drivers: Vec<DriverStatus>,
    /// The agent's version.
    pub agent_version: String,
    /// The kernel's version.
    pub kernel_version: String,
    /// The kernel's boot id.
    pub boot_id: String,
}

impl NodeReport {
    /// Whether there is a driver for this kind of instance, healthy or not.
    pub fn drives(&self, kind: crate::instance::InstanceKind) -> bool {
        self.drivers.iter().any(|driver| driver.instance_types.iter().any(|t| t == kind.as_str()))
    }

    /// Whether some healthy driver runs this kind of instance.
    pub fn runs(&self, kind: crate::instance::InstanceKind) -> bool {
        self.drivers
            .iter()
            .any(|driver| driver.healthy && driver.instance_types.iter().any(|t| t == kind.as_str()))
    }
}

/// What is observed of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Whether the control plane can work with it.
    pub phase: NodePhase,
    /// Observed aspects.
    pub conditions: Conditions,
    /// The newest report of its agent.
    pub report: NodeReport,
    /// When it entered its phase.
    pub last_transition_at: Timestamp,
}

/// A host that runs instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Name, labels, generation.
    pub metadata: Metadata,
    /// What people decide.
    pub spec: NodeSpec,
    /// What is observed.
    pub status: NodeStatus,
}

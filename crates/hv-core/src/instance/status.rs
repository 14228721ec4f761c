//! What is observed of an instance.

use super::PublishedPort;
use crate::{Conditions, NodeId, Timestamp};
use std::collections::BTreeMap;

/// Where an instance is in its life.
///
/// ```text
///   pending ─> scheduled ─> preparing ─> starting ─> running <─> paused
///      ^           (rejected: back)          ^          │
///      └───────────────┘                     │          v
///                                            └── stopped <─ stopping        failed: start again, or delete
///   any ─> unknown (node not heard of) ─> as reported      any ─> deleting ─> gone
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waits for the scheduler.
    #[default]
    Pending,
    /// Has a node, which has not begun.
    Scheduled,
    /// Its node makes disks and networks.
    Preparing,
    /// Its guest is being started.
    Starting,
    /// Its guest runs.
    Running,
    /// Its vCPUs are halted.
    Paused,
    /// Its guest has been asked to power down.
    Stopping,
    /// There is no guest.
    Stopped,
    /// It moves to another node.
    Migrating,
    /// It could not be started, or died.
    Failed,
    /// Its node is not heard of.
    Unknown,
    /// It is being torn down.
    Deleting,
}

impl Phase {
    /// All phases, in the order of a life.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Scheduled,
        Self::Preparing,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Stopped,
        Self::Migrating,
        Self::Failed,
        Self::Unknown,
        Self::Deleting,
    ];

    /// The word people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Migrating => "migrating",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Deleting => "deleting",
        }
    }
}

/// Which node an instance belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// The node.
    pub node: NodeId,
    /// Raised by every assignment; whoever holds a lower one has lost the instance.
    pub epoch: Epoch,
}

/// How often an instance has been assigned to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of the next assignment, above everything any agent has reported.
    #[must_use]
    pub fn next_above(self, highest_reported: Self) -> Self {
        Self(self.0.max(highest_reported.0) + 1)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What is observed of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, for people.
    pub message: String,
    /// Observed aspects beside the phase.
    pub conditions: Conditions,
    /// The newest generation its node has acted on.
    pub observed_generation: u64,
    /// The newest restart serial its node has acted on.
    pub observed_restart_serial: u64,
    /// When the guest last started.
    pub started_at: Option<Timestamp>,
    /// How often the guest was started since creation.
    pub starts: u64,
    /// The guest's addresses, where known.
    pub addresses: Vec<String>,
    /// Ports that lead into it.
    pub published_ports: Vec<PublishedPort>,
    /// Driver, accelerator, process id: for people.
    pub details: BTreeMap<String, String>,
    /// Size of the root disk as its node made it, in bytes: the image's where the specification names none. 0: not made yet.
    pub root_disk_bytes: u64,
}

impl InstanceStatus {
    /// Whether somebody has looked: an agent that has just started says [`Phase::Unknown`] without a word until its driver has answered.
    pub fn has_looked(&self) -> bool {
        self.phase != Phase::Unknown || !self.message.is_empty()
    }
}

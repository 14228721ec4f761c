//! Instances: virtual machines, containers and microVMs.

mod spec;
pub mod state;
mod status;
pub mod update;

pub use spec::*;
pub use status::*;

use crate::{InstanceId, Metadata};

/// An instance as the control plane knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Name, labels, generation.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: InstanceSpec,
    /// What is observed.
    pub status: InstanceStatus,
    /// Where it belongs; absent until the scheduler has spoken.
    pub placement: Option<Placement>,
}

impl Instance {
    /// Whether deletion was asked for.
    pub fn is_deleting(&self) -> bool {
        self.metadata.deletion_requested_at.is_some()
    }
}

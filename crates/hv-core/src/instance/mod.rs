//! Instances: virtual machines, containers and microVMs.

mod port;
mod spec;
pub mod state;
mod status;
pub mod update;

pub use port::*;
pub use spec::*;
pub use status::*;

use crate::{InstanceId, Metadata, Resources};

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

    /// What it takes of a node. A root disk that the specification names no size of has its image's, once a node has said that.
    pub fn resources(&self) -> Resources {
        let spec = self.spec.resources();
        let more = self.status.root_disk_bytes.saturating_sub(self.spec.root_disk_bytes);
        Resources { disk_bytes: spec.disk_bytes.saturating_add(more), ..spec }
    }
}

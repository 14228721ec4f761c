//! Checkpoints of domains: places in time that incremental backups go by.

use super::Domain;
use crate::handle::{handle, methods};
use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::{
    DomainCheckpointCreateFlags, DomainCheckpointDeleteFlags, DomainCheckpointListFlags,
    DomainCheckpointXmlFlags,
};
use libvirt_protocol::remote::*;

handle! {
    /// A checkpoint of a domain.
    DomainCheckpoint = DomainCheckpoint
}

methods! { Domain(this) {
    /// Makes a checkpoint (`virDomainCheckpointCreateXML`).
    create_checkpoint(xml: &str, flags: DomainCheckpointCreateFlags) -> DomainCheckpoint
        = remote::DomainCheckpointCreateXml(DomainCheckpointCreateXmlArgs {
            dom: this.wire(), xml_desc: xml.into(), flags,
        }) => |found| DomainCheckpoint::new(this.connect(), found.checkpoint);
    /// All its checkpoints that fit the flags (`virDomainListAllCheckpoints`).
    checkpoints(flags: DomainCheckpointListFlags) -> Vec<DomainCheckpoint>
        = remote::DomainListAllCheckpoints(DomainListAllCheckpointsArgs { dom: this.wire(), need_results: 1, flags })
        => |found| DomainCheckpoint::list(this.connect(), &found.checkpoints);
    /// The checkpoint with a name (`virDomainCheckpointLookupByName`).
    checkpoint_by_name(name: &str) -> DomainCheckpoint
        = remote::DomainCheckpointLookupByName(DomainCheckpointLookupByNameArgs {
            dom: this.wire(), name: name.into(), flags: NoFlags::empty(),
        }) => |found| DomainCheckpoint::new(this.connect(), found.checkpoint);
} }

impl DomainCheckpoint {
    /// Its name (`virDomainCheckpointGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }

    /// Its domain (`virDomainCheckpointGetDomain`).
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::new(self.connect(), self.wire().dom)
    }
}

methods! { DomainCheckpoint(this) {
    /// Its description as XML (`virDomainCheckpointGetXMLDesc`).
    xml(flags: DomainCheckpointXmlFlags) -> String
        = remote::DomainCheckpointGetXmlDesc(DomainCheckpointGetXmlDescArgs { checkpoint: this.wire(), flags })
        => |found| found.xml.into();
    /// Removes it (`virDomainCheckpointDelete`).
    delete(flags: DomainCheckpointDeleteFlags)
        = remote::DomainCheckpointDelete(DomainCheckpointDeleteArgs { checkpoint: this.wire(), flags });
    /// The one before it (`virDomainCheckpointGetParent`).
    parent() -> DomainCheckpoint
        = remote::DomainCheckpointGetParent(DomainCheckpointGetParentArgs {
            checkpoint: this.wire(), flags: NoFlags::empty(),
        }) => |found| DomainCheckpoint::new(this.connect(), found.parent);
    /// Those after it (`virDomainCheckpointListAllChildren`).
    children(flags: DomainCheckpointListFlags) -> Vec<DomainCheckpoint>
        = remote::DomainCheckpointListAllChildren(DomainCheckpointListAllChildrenArgs {
            checkpoint: this.wire(), need_results: 1, flags,
        }) => |found| DomainCheckpoint::list(this.connect(), &found.checkpoints);
} }

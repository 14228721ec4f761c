//! Snapshots of domains.

use super::Domain;
use crate::handle::{handle, methods};
use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::{
    DomainSnapshotCreateFlags, DomainSnapshotDeleteFlags, DomainSnapshotListFlags, DomainSnapshotRevertFlags,
    DomainSnapshotXmlFlags,
};
use libvirt_protocol::remote::*;

handle! {
    /// A snapshot of a domain.
    DomainSnapshot = DomainSnapshot
}

methods! { Domain(this) {
    /// Takes a snapshot (`virDomainSnapshotCreateXML`).
    create_snapshot(xml: &str, flags: DomainSnapshotCreateFlags) -> DomainSnapshot
        = remote::DomainSnapshotCreateXml(DomainSnapshotCreateXmlArgs { dom: this.wire(), xml_desc: xml.into(), flags })
        => |found| DomainSnapshot::new(this.connect(), found.snap);
    /// All its snapshots that fit the flags (`virDomainListAllSnapshots`).
    snapshots(flags: DomainSnapshotListFlags) -> Vec<DomainSnapshot>
        = remote::DomainListAllSnapshots(DomainListAllSnapshotsArgs { dom: this.wire(), need_results: 1, flags })
        => |found| DomainSnapshot::list(this.connect(), &found.snapshots);
    /// The snapshot with a name (`virDomainSnapshotLookupByName`).
    snapshot_by_name(name: &str) -> DomainSnapshot
        = remote::DomainSnapshotLookupByName(DomainSnapshotLookupByNameArgs {
            dom: this.wire(), name: name.into(), flags: NoFlags::empty(),
        }) => |found| DomainSnapshot::new(this.connect(), found.snap);
    /// Whether it has a current snapshot (`virDomainHasCurrentSnapshot`).
    has_current_snapshot() -> bool
        = remote::DomainHasCurrentSnapshot(DomainHasCurrentSnapshotArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| found.result != 0;
    /// Its current snapshot (`virDomainSnapshotCurrent`).
    current_snapshot() -> DomainSnapshot
        = remote::DomainSnapshotCurrent(DomainSnapshotCurrentArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| DomainSnapshot::new(this.connect(), found.snap);
} }

impl DomainSnapshot {
    /// Its name (`virDomainSnapshotGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }

    /// Its domain (`virDomainSnapshotGetDomain`).
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::new(self.connect(), self.wire().dom)
    }
}

methods! { DomainSnapshot(this) {
    /// Its description as XML (`virDomainSnapshotGetXMLDesc`).
    xml(flags: DomainSnapshotXmlFlags) -> String
        = remote::DomainSnapshotGetXmlDesc(DomainSnapshotGetXmlDescArgs { snap: this.wire(), flags })
        => |found| found.xml.into();
    /// Goes back to it (`virDomainRevertToSnapshot`).
    revert(flags: DomainSnapshotRevertFlags)
        = remote::DomainRevertToSnapshot(DomainRevertToSnapshotArgs { snap: this.wire(), flags });
    /// Removes it (`virDomainSnapshotDelete`).
    delete(flags: DomainSnapshotDeleteFlags)
        = remote::DomainSnapshotDelete(DomainSnapshotDeleteArgs { snap: this.wire(), flags });
    /// The one that it was taken after (`virDomainSnapshotGetParent`).
    parent() -> DomainSnapshot
        = remote::DomainSnapshotGetParent(DomainSnapshotGetParentArgs { snap: this.wire(), flags: NoFlags::empty() })
        => |found| DomainSnapshot::new(this.connect(), found.snap);
    /// Those that were taken after it (`virDomainSnapshotListAllChildren`).
    children(flags: DomainSnapshotListFlags) -> Vec<DomainSnapshot>
        = remote::DomainSnapshotListAllChildren(DomainSnapshotListAllChildrenArgs {
            snapshot: this.wire(), need_results: 1, flags,
        }) => |found| DomainSnapshot::list(this.connect(), &found.snapshots);
    /// Whether it is the current one (`virDomainSnapshotIsCurrent`).
    is_current() -> bool
        = remote::DomainSnapshotIsCurrent(DomainSnapshotIsCurrentArgs { snap: this.wire(), flags: NoFlags::empty() })
        => |found| found.current != 0;
    /// Whether the daemon keeps a record of it, which an undefined domain must not have (`virDomainSnapshotHasMetadata`).
    has_metadata() -> bool
        = remote::DomainSnapshotHasMetadata(DomainSnapshotHasMetadataArgs { snap: this.wire(), flags: NoFlags::empty() })
        => |found| found.metadata != 0;
} }

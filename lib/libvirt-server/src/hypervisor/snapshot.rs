//! Snapshots of domains.

use super::domain::{Config, Domain};
use super::tree::{Branch, Node, Tree};
use super::{Hypervisor, Refusal, Reply, Scope, fits};
use crate::xml::Element;
use libvirt_protocol::enums::{
    DomainEventStartedDetailType, DomainEventStoppedDetailType, DomainPausedReason, DomainRunningReason,
    DomainShutoffReason, DomainState, ErrorDomain, ErrorNumber,
};
use libvirt_protocol::flags::{
    DomainSnapshotCreateFlags, DomainSnapshotDeleteFlags, DomainSnapshotListFlags as Filter,
    DomainSnapshotRevertFlags, DomainSnapshotXmlFlags,
};
use libvirt_protocol::{remote, types};

/// A domain as it was.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    description: Option<String>,
    state: DomainState,
    created_s: u64,
    /// Only the disks, not the memory.
    disk_only: bool,
    config: Config,
}

impl Domain {
    fn snapshot(&self, name: &str) -> Result<&Node<Snapshot>, Refusal> {
        self.snapshots.find(name).ok_or_else(|| {
            let text = format!("no domain snapshot with matching name '{name}'");
            Refusal::new(ErrorNumber::NoDomainSnapshot, text)
        })
    }
}

fn wire(domain: &Domain, name: &str) -> types::DomainSnapshot<'static> {
    types::DomainSnapshot { name: name.to_owned().into(), dom: domain.wire() }
}

fn passes(tree: &Tree<Snapshot>, node: &Node<Snapshot>, filter: Filter) -> bool {
    let leaf = tree.is_leaf(&node.name);
    let Snapshot { state, disk_only, .. } = node.item;
    let off = state == DomainState::Shutoff;
    fits(
        filter.bits(),
        [
            vec![(Filter::METADATA.bits(), true), (Filter::NO_METADATA.bits(), false)],
            vec![(Filter::LEAVES.bits(), leaf), (Filter::NO_LEAVES.bits(), !leaf)],
            vec![
                (Filter::INACTIVE.bits(), off && !disk_only),
                (Filter::ACTIVE.bits(), !off && !disk_only),
                (Filter::DISK_ONLY.bits(), disk_only),
            ],
            vec![(Filter::INTERNAL.bits(), !disk_only), (Filter::EXTERNAL.bits(), disk_only)],
        ],
    )
}

/// The snapshots of a domain that pass a filter; of all, or of those below one.
fn listed<'d>(domain: &'d Domain, below: Option<&str>, filter: Filter) -> Vec<&'d Node<Snapshot>> {
    let tree = &domain.snapshots;
    // One bit: of all it means only the roots, of one it means not only the children.
    let bit = filter.contains(Filter::ROOTS);
    let stands = |node: &Node<Snapshot>| match below {
        None => !bit || node.parent.is_none(),
        Some(name) if bit => tree.is_below(node, name),
        Some(name) => node.parent.as_deref() == Some(name),
    };
    tree.iter().filter(|node| stands(node) && passes(tree, node, filter)).collect()
}

impl Hypervisor {
    pub(super) fn snapshot_create_xml(
        &mut self,
        args: remote::DomainSnapshotCreateXmlArgs<'_>,
    ) -> Reply<remote::DomainSnapshotCreateXml> {
        use DomainSnapshotCreateFlags as F;
        let known = F::REDEFINE | F::CURRENT | F::HALT | F::QUIESCE | F::ATOMIC | F::LIVE | F::VALIDATE;
        self.only(args.flags.bits(), known.bits(), "testDomainSnapshotCreateXML")?;
        self.validate(args.flags.bits(), F::VALIDATE.bits(), &args.xml_desc)?;
        let document = self.document(&args.xml_desc.to_str_lossy(), "domainsnapshot", "domain_snapshot")?;
        let redefine = args.flags.contains(F::REDEFINE);
        if self.scope == Scope::Complete
            && args.flags.contains(F::QUIESCE)
            && !args.flags.contains(F::DISK_ONLY)
        {
            let text = "quiesce requires disk-only";
            return Err(Refusal::new(ErrorNumber::ArgumentUnsupported, text));
        }
        let mut created_s = self.seconds();
        let domain = self.domain_mut(&args.dom)?;
        if domain.checkpoints.len() > 0 {
            let text = "cannot create snapshot while checkpoint exists";
            return Err(Refusal::new(ErrorNumber::OperationUnsupported, text));
        }
        let name = document.text_of("name").map_or_else(|| created_s.to_string(), str::to_owned);
        if domain.snapshots.find(&name).is_some() {
            let text = format!("domain moment {name} already exists");
            return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Domain));
        }
        let disk_only = args.flags.contains(F::DISK_ONLY);
        let mut config = domain.config.clone();
        if disk_only {
            config = domain.persistent_config().clone();
        }
        let mut state = domain.state;
        if redefine {
            let number = |name| document.text_of(name).and_then(|text| text.trim().parse().ok());
            created_s = number("creationTime").unwrap_or(created_s);
            state = match document.text_of("state") {
                Some("running") => DomainState::Running,
                Some("paused") => DomainState::Paused,
                _ => DomainState::Shutoff,
            };
        }
        let snapshot = Snapshot {
            description: document.text_of("description").map(str::to_owned),
            state,
            created_s,
            disk_only,
            config,
        };
        let wire = wire(domain, &name);
        if redefine {
            // It was taken before, by somebody who has told what it is.
            let parent = document.find("parent").and_then(|parent| parent.text_of("name"));
            if let Some(parent) = parent {
                domain.snapshot(parent)?;
            }
            domain.snapshots.add_below(&name, parent, snapshot);
            if args.flags.contains(F::CURRENT) {
                domain.snapshots.set_current(&name);
            }
        } else if !args.flags.contains(F::NO_METADATA) {
            domain.snapshots.add(&name, snapshot);
        }
        if args.flags.contains(F::HALT) && domain.is_active() {
            let detail = DomainEventStoppedDetailType::FromSnapshot;
            self.stop(args.dom.uuid, DomainShutoffReason::FromSnapshot, detail);
        }
        Ok(remote::DomainSnapshotCreateXmlRet { snap: wire })
    }

    pub(super) fn snapshot_get_xml_desc(
        &mut self,
        args: remote::DomainSnapshotGetXmlDescArgs<'_>,
    ) -> Reply<remote::DomainSnapshotGetXmlDesc> {
        self.only(args.flags.bits(), 1, "testDomainSnapshotGetXMLDesc")?;
        let domain = self.domain(&args.snap.dom)?;
        let node = domain.snapshot(&args.snap.name.to_str_lossy())?;
        let Snapshot { description, state, created_s, disk_only, config } = &node.item;
        let mut xml = Element::new("domainsnapshot").child(Element::text("name", &node.name));
        if let Some(description) = description {
            xml.children.push(Element::text("description", description));
        }
        let state = match state {
            _ if *disk_only => "disk-snapshot",
            DomainState::Running => "running",
            DomainState::Paused => "paused",
            _ => "shutoff",
        };
        xml.children.push(Element::text("state", state));
        if let Some(parent) = &node.parent {
            xml.children.push(Element::new("parent").child(Element::text("name", parent)));
        }
        xml.children.push(Element::text("creationTime", created_s));
        let saved = if state == "shutoff" || *disk_only { "no" } else { "internal" };
        xml.children.push(Element::new("memory").with("snapshot", saved));
        let kind = if *disk_only { "external" } else { "internal" };
        let disks: Vec<Element> = config
            .disks()
            .map(|disk| Element::new("disk").with("name", disk).with("snapshot", kind))
            .collect();
        if !disks.is_empty() {
            xml.children.push(Element::new("disks").children(disks));
        }
        xml.children.push(config.shown(args.flags.contains(DomainSnapshotXmlFlags::SECURE)));
        Ok(remote::DomainSnapshotGetXmlDescRet { xml: xml.print().into() })
    }

    pub(super) fn snapshot_list_all(
        &mut self,
        args: remote::DomainListAllSnapshotsArgs<'_>,
    ) -> Reply<remote::DomainListAllSnapshots> {
        let domain = self.domain(&args.dom)?;
        let found = listed(domain, None, args.flags);
        let ret = found.len() as i32;
        let want = args.need_results != 0;
        let snapshots = found.iter().filter(|_| want).map(|node| wire(domain, &node.name)).collect();
        Ok(remote::DomainListAllSnapshotsRet { snapshots, ret })
    }

    pub(super) fn snapshot_list_all_children(
        &mut self,
        args: remote::DomainSnapshotListAllChildrenArgs<'_>,
    ) -> Reply<remote::DomainSnapshotListAllChildren> {
        let domain = self.domain(&args.snapshot.dom)?;
        let name = args.snapshot.name.to_string();
        domain.snapshot(&name)?;
        let found = listed(domain, Some(&name), args.flags);
        let ret = found.len() as i32;
        let want = args.need_results != 0;
        let snapshots = found.iter().filter(|_| want).map(|node| wire(domain, &node.name)).collect();
        Ok(remote::DomainSnapshotListAllChildrenRet { snapshots, ret })
    }

    pub(super) fn snapshot_num(
        &mut self,
        args: remote::DomainSnapshotNumArgs<'_>,
    ) -> Reply<remote::DomainSnapshotNum> {
        let num = listed(self.domain(&args.dom)?, None, args.flags).len() as i32;
        Ok(remote::DomainSnapshotNumRet { num })
    }

    pub(super) fn snapshot_list_names(
        &mut self,
        args: remote::DomainSnapshotListNamesArgs<'_>,
    ) -> Reply<remote::DomainSnapshotListNames> {
        let most = usize::try_from(args.maxnames).unwrap_or(0);
        let found = listed(self.domain(&args.dom)?, None, args.flags);
        let names = found.into_iter().take(most).map(|node| node.name.clone().into()).collect();
        Ok(remote::DomainSnapshotListNamesRet { names })
    }

    pub(super) fn snapshot_num_children(
        &mut self,
        args: remote::DomainSnapshotNumChildrenArgs<'_>,
    ) -> Reply<remote::DomainSnapshotNumChildren> {
        let name = args.snap.name.to_string();
        let num = listed(self.domain(&args.snap.dom)?, Some(&name), args.flags).len() as i32;
        Ok(remote::DomainSnapshotNumChildrenRet { num })
    }

    pub(super) fn snapshot_list_children_names(
        &mut self,
        args: remote::DomainSnapshotListChildrenNamesArgs<'_>,
    ) -> Reply<remote::DomainSnapshotListChildrenNames> {
        let most = usize::try_from(args.maxnames).unwrap_or(0);
        let name = args.snap.name.to_string();
        let found = listed(self.domain(&args.snap.dom)?, Some(&name), args.flags);
        let names = found.into_iter().take(most).map(|node| node.name.clone().into()).collect();
        Ok(remote::DomainSnapshotListChildrenNamesRet { names })
    }

    pub(super) fn snapshot_lookup_by_name(
        &mut self,
        args: remote::DomainSnapshotLookupByNameArgs<'_>,
    ) -> Reply<remote::DomainSnapshotLookupByName> {
        let domain = self.domain(&args.dom)?;
        let node = domain.snapshot(&args.name.to_str_lossy())?;
        Ok(remote::DomainSnapshotLookupByNameRet { snap: wire(domain, &node.name) })
    }

    pub(super) fn has_current_snapshot(
        &mut self,
        args: remote::DomainHasCurrentSnapshotArgs<'_>,
    ) -> Reply<remote::DomainHasCurrentSnapshot> {
        let result = self.domain(&args.dom)?.snapshots.current().is_some().into();
        Ok(remote::DomainHasCurrentSnapshotRet { result })
    }

    pub(super) fn snapshot_current(
        &mut self,
        args: remote::DomainSnapshotCurrentArgs<'_>,
    ) -> Reply<remote::DomainSnapshotCurrent> {
        let domain = self.domain(&args.dom)?;
        let Some(current) = domain.snapshots.current() else {
            let text = "the domain does not have a current snapshot";
            return Err(Refusal::new(ErrorNumber::NoDomainSnapshot, text));
        };
        Ok(remote::DomainSnapshotCurrentRet { snap: wire(domain, current) })
    }

    pub(super) fn snapshot_get_parent(
        &mut self,
        args: remote::DomainSnapshotGetParentArgs<'_>,
    ) -> Reply<remote::DomainSnapshotGetParent> {
        let domain = self.domain(&args.snap.dom)?;
        let node = domain.snapshot(&args.snap.name.to_str_lossy())?;
        let Some(parent) = &node.parent else {
            let text = format!("snapshot '{}' does not have a parent", node.name);
            return Err(Refusal::new(ErrorNumber::NoDomainSnapshot, text));
        };
        Ok(remote::DomainSnapshotGetParentRet { snap: wire(domain, parent) })
    }

    pub(super) fn snapshot_is_current(
        &mut self,
        args: remote::DomainSnapshotIsCurrentArgs<'_>,
    ) -> Reply<remote::DomainSnapshotIsCurrent> {
        let domain = self.domain(&args.snap.dom)?;
        let node = domain.snapshot(&args.snap.name.to_str_lossy())?;
        let current = (domain.snapshots.current() == Some(node.name.as_str())).into();
        Ok(remote::DomainSnapshotIsCurrentRet { current })
    }

    pub(super) fn snapshot_has_metadata(
        &mut self,
        args: remote::DomainSnapshotHasMetadataArgs<'_>,
    ) -> Reply<remote::DomainSnapshotHasMetadata> {
        self.domain(&args.snap.dom)?.snapshot(&args.snap.name.to_str_lossy())?;
        Ok(remote::DomainSnapshotHasMetadataRet { metadata: 1 })
    }

    pub(super) fn snapshot_delete(
        &mut self,
        args: remote::DomainSnapshotDeleteArgs<'_>,
    ) -> Reply<remote::DomainSnapshotDelete> {
        use DomainSnapshotDeleteFlags as F;
        self.only(args.flags.bits(), (F::CHILDREN | F::CHILDREN_ONLY).bits(), "testDomainSnapshotDelete")?;
        let domain = self.domain_mut(&args.snap.dom)?;
        let name = domain.snapshot(&args.snap.name.to_str_lossy())?.name.clone();
        let branch = match args.flags {
            _ if args.flags.contains(F::CHILDREN_ONLY) => Branch::Below,
            _ if args.flags.contains(F::CHILDREN) => Branch::Whole,
            _ => Branch::Item,
        };
        domain.snapshots.remove(&name, branch);
        Ok(())
    }

    pub(super) fn revert_to_snapshot(
        &mut self,
        args: remote::DomainRevertToSnapshotArgs<'_>,
    ) -> Reply<remote::DomainRevertToSnapshot> {
        use DomainSnapshotRevertFlags as F;
        let known = F::RUNNING | F::PAUSED | F::FORCE | F::RESET_NVRAM;
        self.only(args.flags.bits(), known.bits(), "testDomainRevertToSnapshot")?;
        let uuid = args.snap.dom.uuid;
        let domain = self.domain_mut(&args.snap.dom)?;
        let node = domain.snapshot(&args.snap.name.to_str_lossy())?;
        let (name, snapshot) = (node.name.clone(), node.item.clone());
        let wanted = if args.flags.contains(F::RUNNING) {
            DomainState::Running
        } else if args.flags.contains(F::PAUSED) {
            DomainState::Paused
        } else {
            snapshot.state
        };
        let (was, persistent) = (domain.is_active(), domain.persistent);
        let asleep = !matches!(snapshot.state, DomainState::Running | DomainState::Paused);
        if was && asleep && args.flags.intersects(F::RUNNING | F::PAUSED) && !args.flags.contains(F::FORCE) {
            let text = "must respawn guest to start inactive snapshot";
            return Err(Refusal::new(ErrorNumber::SnapshotRevertRisky, text));
        }
        domain.snapshots.set_current(&name);
        let start = matches!(wanted, DomainState::Running | DomainState::Paused);
        if was && start {
            // The guest is put back to where it was, as another run.
            domain.id = None;
        } else if was {
            let detail = DomainEventStoppedDetailType::FromSnapshot;
            self.stop(uuid, DomainShutoffReason::FromSnapshot, detail);
        }
        let Some(domain) = self.domains.get_mut(&uuid) else { return Ok(()) };
        domain.config = snapshot.config;
        domain.next = None;
        if start {
            self.start(uuid, DomainRunningReason::FromSnapshot, DomainEventStartedDetailType::FromSnapshot);
            if let Some(domain) = self.domains.get_mut(&uuid).filter(|_| wanted == DomainState::Paused) {
                domain.set_state(DomainState::Paused, DomainPausedReason::FromSnapshot);
            }
        } else if !persistent {
            self.domains.remove(&uuid);
        }
        Ok(())
    }
}

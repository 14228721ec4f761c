//! Checkpoints of domains: points in time from which changed blocks are counted.

use super::domain::{Config, Domain};
use super::tree::{Branch, Node, Tree};
use super::{Hypervisor, Refusal, Reply, fits};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::{
    DomainCheckpointCreateFlags, DomainCheckpointDeleteFlags, DomainCheckpointListFlags as Filter,
    DomainCheckpointXmlFlags,
};
use libvirt_protocol::{remote, types};

/// A point in time.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    description: Option<String>,
    created_s: u64,
    config: Config,
}

impl Domain {
    fn checkpoint(&self, name: &str) -> Result<&Node<Checkpoint>, Refusal> {
        self.checkpoints.find(name).ok_or_else(|| {
            let text = format!("no domain checkpoint with matching name '{name}'");
            Refusal::new(ErrorNumber::NoDomainCheckpoint, text)
        })
    }
}

fn wire(domain: &Domain, name: &str) -> types::DomainCheckpoint<'static> {
    types::DomainCheckpoint { name: name.to_owned().into(), dom: domain.wire() }
}

/// The checkpoints of a domain that pass a filter; of all, or of those below one.
fn listed<'d>(domain: &'d Domain, below: Option<&str>, filter: Filter) -> Vec<&'d Node<Checkpoint>> {
    let tree: &Tree<Checkpoint> = &domain.checkpoints;
    // One bit: of all it means only the roots, of one it means not only the children.
    let bit = filter.contains(Filter::ROOTS);
    let stands = |node: &Node<Checkpoint>| match below {
        None => !bit || node.parent.is_none(),
        Some(name) if bit => tree.is_below(node, name),
        Some(name) => node.parent.as_deref() == Some(name),
    };
    let passes = |node: &Node<Checkpoint>| {
        let leaf = tree.is_leaf(&node.name);
        fits(filter.bits(), [[(Filter::LEAVES.bits(), leaf), (Filter::NO_LEAVES.bits(), !leaf)]])
    };
    tree.iter().filter(|node| stands(node) && passes(node)).collect()
}

impl Hypervisor {
    pub(super) fn checkpoint_create_xml(
        &mut self,
        args: remote::DomainCheckpointCreateXmlArgs<'_>,
    ) -> Reply<remote::DomainCheckpointCreateXml> {
        use DomainCheckpointCreateFlags as F;
        self.only(args.flags.bits(), 1 | 2, "testDomainCheckpointCreateXML")?;
        let redefine = args.flags.contains(F::REDEFINE);
        if args.flags.contains(F::REDEFINE_VALIDATE) && !redefine {
            let text = "redefine validate requires redefine";
            return Err(Refusal::argument(text));
        }
        let document =
            self.document(&args.xml_desc.to_str_lossy(), "domaincheckpoint", "domain_checkpoint")?;
        let mut created_s = self.seconds();
        let domain = self.domain_mut(&args.dom)?;
        if domain.snapshots.len() > 0 {
            let text = "cannot create checkpoint while snapshot exists";
            return Err(Refusal::new(ErrorNumber::OperationUnsupported, text));
        }
        if !domain.is_active() {
            return Err(Refusal::new(
                ErrorNumber::OperationUnsupported,
                "cannot create checkpoint for inactive domain",
            ));
        }
        let name = document.text_of("name").map_or_else(|| created_s.to_string(), str::to_owned);
        if domain.checkpoints.find(&name).is_some() {
            let text = format!("domain moment {name} already exists");
            return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Domain));
        }
        if args.flags.contains(F::REDEFINE_VALIDATE) {
            // What it says of disks must be so.
            let named = document.find("disks").into_iter().flat_map(|disks| disks.all("disk"));
            let mut names = named.filter_map(|disk| disk.attribute("name"));
            if let Some(stranger) = names.find(|name| !domain.config.disks().any(|disk| disk == *name)) {
                let text = format!("disk '{stranger}' not found");
                return Err(Refusal::argument(text).of(ErrorDomain::Domain));
            }
        }
        if redefine && let Some(text) = document.text_of("creationTime") {
            created_s = text.trim().parse().unwrap_or(created_s);
        }
        let description = document.text_of("description").map(str::to_owned);
        let config = domain.config.clone();
        domain.checkpoints.add(&name, Checkpoint { description, created_s, config });
        Ok(remote::DomainCheckpointCreateXmlRet { checkpoint: wire(domain, &name) })
    }

    pub(super) fn checkpoint_get_xml_desc(
        &mut self,
        args: remote::DomainCheckpointGetXmlDescArgs<'_>,
    ) -> Reply<remote::DomainCheckpointGetXmlDesc> {
        self.only(args.flags.bits(), 1 | 2, "testDomainCheckpointGetXMLDesc")?;
        let domain = self.domain(&args.checkpoint.dom)?;
        let node = domain.checkpoint(&args.checkpoint.name.to_str_lossy())?;
        let Checkpoint { description, created_s, config } = &node.item;
        let mut xml = Element::new("domaincheckpoint").child(Element::text("name", &node.name));
        if let Some(description) = description {
            xml.children.push(Element::text("description", description));
        }
        if let Some(parent) = &node.parent {
            xml.children.push(Element::new("parent").child(Element::text("name", parent)));
        }
        xml.children.push(Element::text("creationTime", created_s));
        let sizes = args.flags.contains(DomainCheckpointXmlFlags::SIZE);
        let disk = |disk: &str| {
            let size = domain.capacities.get(disk).copied().unwrap_or_default();
            let disk = Element::new("disk").with("name", disk);
            let disk = disk.with("checkpoint", "bitmap").with("bitmap", &node.name);
            if sizes { disk.with("size", size) } else { disk }
        };
        let disks: Vec<Element> = config.disks().map(disk).collect();
        if !disks.is_empty() {
            xml.children.push(Element::new("disks").children(disks));
        }
        // 2: VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN.
        if args.flags.bits() & 2 == 0 {
            xml.children.push(config.shown(args.flags.contains(DomainCheckpointXmlFlags::SECURE)));
        }
        Ok(remote::DomainCheckpointGetXmlDescRet { xml: xml.print().into() })
    }

    pub(super) fn checkpoint_list_all(
        &mut self,
        args: remote::DomainListAllCheckpointsArgs<'_>,
    ) -> Reply<remote::DomainListAllCheckpoints> {
        let domain = self.domain(&args.dom)?;
        let found = listed(domain, None, args.flags);
        let ret = found.len() as i32;
        let want = args.need_results != 0;
        let checkpoints = found.iter().filter(|_| want).map(|node| wire(domain, &node.name)).collect();
        Ok(remote::DomainListAllCheckpointsRet { checkpoints, ret })
    }

    pub(super) fn checkpoint_list_all_children(
        &mut self,
        args: remote::DomainCheckpointListAllChildrenArgs<'_>,
    ) -> Reply<remote::DomainCheckpointListAllChildren> {
        let domain = self.domain(&args.checkpoint.dom)?;
        let name = args.checkpoint.name.to_string();
        domain.checkpoint(&name)?;
        let found = listed(domain, Some(&name), args.flags);
        let ret = found.len() as i32;
        let want = args.need_results != 0;
        let checkpoints = found.iter().filter(|_| want).map(|node| wire(domain, &node.name)).collect();
        Ok(remote::DomainCheckpointListAllChildrenRet { checkpoints, ret })
    }

    pub(super) fn checkpoint_lookup_by_name(
        &mut self,
        args: remote::DomainCheckpointLookupByNameArgs<'_>,
    ) -> Reply<remote::DomainCheckpointLookupByName> {
        let domain = self.domain(&args.dom)?;
        let node = domain.checkpoint(&args.name.to_str_lossy())?;
        Ok(remote::DomainCheckpointLookupByNameRet { checkpoint: wire(domain, &node.name) })
    }

    pub(super) fn checkpoint_get_parent(
        &mut self,
        args: remote::DomainCheckpointGetParentArgs<'_>,
    ) -> Reply<remote::DomainCheckpointGetParent> {
        let domain = self.domain(&args.checkpoint.dom)?;
        let node = domain.checkpoint(&args.checkpoint.name.to_str_lossy())?;
        let Some(parent) = &node.parent else {
            let text = format!("checkpoint '{}' does not have a parent", node.name);
            return Err(Refusal::new(ErrorNumber::NoDomainCheckpoint, text));
        };
        Ok(remote::DomainCheckpointGetParentRet { parent: wire(domain, parent) })
    }

    pub(super) fn checkpoint_delete(
        &mut self,
        args: remote::DomainCheckpointDeleteArgs<'_>,
    ) -> Reply<remote::DomainCheckpointDelete> {
        use DomainCheckpointDeleteFlags as F;
        let known = F::CHILDREN | F::METADATA_ONLY | F::CHILDREN_ONLY;
        self.only(args.flags.bits(), known.bits(), "testDomainCheckpointDelete")?;
        let domain = self.domain_mut(&args.checkpoint.dom)?;
        let name = domain.checkpoint(&args.checkpoint.name.to_str_lossy())?.name.clone();
        let branch = match args.flags {
            _ if args.flags.contains(F::CHILDREN_ONLY) => Branch::Below,
            _ if args.flags.contains(F::CHILDREN) => Branch::Whole,
            _ => Branch::Item,
        };
        domain.checkpoints.remove(&name, branch);
        Ok(())
    }
}

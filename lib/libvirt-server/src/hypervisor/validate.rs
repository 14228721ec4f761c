//! Whether a document is what its schema allows: of what stands at the top of it.
//!
//! libvirt compares the whole document with its RELAX NG schemas. What a mistake most often is, an element of a name that nobody knows,
//! is found here too, at the top; deeper down a document is believed.

use super::{Hypervisor, Refusal, Scope, domain, network};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::xdr::Text;

/// What may stand in an element of this name.
fn known(root: &str) -> &'static [&'static str] {
    match root {
        "domain" => &domain::ORDER,
        "network" => &network::KNOWN,
        "pool" => &[
            "name",
            "uuid",
            "capacity",
            "allocation",
            "available",
            "features",
            "refresh",
            "source",
            "target",
        ],
        "volume" => {
            &["name", "key", "source", "capacity", "allocation", "physical", "target", "backingStore"]
        }
        "secret" => &["uuid", "description", "usage"],
        "interface" => &["start", "mtu", "protocol", "link", "bond", "bridge", "vlan", "mac"],
        "filter" => &["uuid", "rule", "filterref"],
        "filterbinding" => &["owner", "portdev", "mac", "filterref"],
        "networkport" => &[
            "uuid",
            "owner",
            "group",
            "mac",
            "virtualport",
            "bandwidth",
            "vlan",
            "port",
            "plug",
            "class",
            "rxfilters",
        ],
        "device" => &["name", "path", "devnode", "parent", "driver", "capability"],
        "domainsnapshot" | "domaincheckpoint" => &[
            "name",
            "description",
            "state",
            "creationTime",
            "parent",
            "memory",
            "disks",
            "domain",
            "inactiveDomain",
            "active",
            "cookie",
        ],
        "cpu" => &[
            "arch",
            "model",
            "vendor",
            "microcode",
            "signature",
            "counter",
            "maxphysaddr",
            "topology",
            "cache",
            "feature",
            "numa",
            "pages",
        ],
        _ => &[],
    }
}

impl Hypervisor {
    /// Demands of a document that its schema allows it, when this bit of the flags asks for that. A text that is no document is not
    /// looked at: who reads it says so.
    pub(super) fn validate(&self, flags: u32, bit: u32, xml: &Text<'_>) -> Result<(), Refusal> {
        if flags & bit == 0 || self.scope == Scope::TestDriver {
            return Ok(());
        }
        let Ok(document) = Element::parse(&xml.to_str_lossy()) else { return Ok(()) };
        let stranger =
            document.children.iter().find(|child| !known(&document.name).contains(&child.name.as_str()));
        let Some(stranger) = stranger else { return Ok(()) };
        let text = format!("Element {} failed to validate content: {}", document.name, stranger.name);
        Err(Refusal::new(ErrorNumber::XmlInvalidSchema, text).of(ErrorDomain::Xml))
    }
}

//! Virtual networks.

mod update;

use super::{Hypervisor, Refusal, Reply, count, fits};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber, NetworkEventLifecycleType, NetworkMetadataType};
use libvirt_protocol::flags::{ConnectListAllNetworksFlags as Filter, NetworkUpdateFlags, NetworkXmlFlags};
use libvirt_protocol::xdr::Uuid;
use libvirt_protocol::{remote, types};
use std::net::Ipv4Addr;

/// A network.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) name: String,
    uuid: Uuid,
    active: bool,
    persistent: bool,
    autostart: bool,
    /// As it is; name and UUID left out.
    config: Element,
    /// As it will be at its next start.
    next: Option<Element>,
    /// What programs keep with it, by name space.
    metadata: Vec<(String, Element)>,
}

/// What may stand at the top of a network, first what libvirt writes in this order.
pub(super) const KNOWN: [&str; 18] = [
    "name",
    "uuid",
    "title",
    "description",
    "metadata",
    "forward",
    "bridge",
    "mtu",
    "mac",
    "domain",
    "dns",
    "vlan",
    "bandwidth",
    "ip",
    "route",
    "portgroup",
    "virtualport",
    "port",
];
const ORDER: &[&str] = KNOWN.split_at(14).0;

/// Puts what stands at the top into its order.
fn order(config: &mut Element) {
    let rank = |element: &Element| ORDER.iter().position(|name| *name == element.name);
    config.children.sort_by_key(|element| rank(element).unwrap_or(ORDER.len()));
}

impl Network {
    fn read(document: &Element, uuid: Uuid) -> Result<Self, Refusal> {
        let refuse = |text: &str| Err(Refusal::xml(text).of(ErrorDomain::Network));
        let Some(name) = document.text_of("name").filter(|name| !name.is_empty()) else {
            return Err(Refusal::bare(ErrorNumber::NoName).of(ErrorDomain::Network));
        };
        if name.contains('/') {
            return refuse(&format!("name {name} cannot contain '/'"));
        }
        let mut config = Element::new("network");
        for child in &document.children {
            if matches!(child.name.as_str(), "name" | "uuid") {
                continue;
            }
            config.children.push(child.clone());
        }
        if let Some(forward) = config.find_mut("forward")
            && forward.attribute("mode").is_none()
        {
            forward.set("mode", "nat");
        }
        let routed = config.path("forward/@mode").is_none_or(|mode| matches!(mode, "nat" | "route" | "open"));
        if routed {
            if config.find("bridge").is_none() {
                config.children.push(Element::new("bridge"));
            }
            if let Some(bridge) = config.find_mut("bridge") {
                let mut complete = Element::new("bridge");
                for (name, default) in [("name", None), ("stp", Some("on")), ("delay", Some("0"))] {
                    if let Some(value) = bridge.attribute(name).or(default) {
                        complete.set(name, value);
                    }
                }
                *bridge = complete;
            }
        }
        order(&mut config);
        let (name, metadata) = (name.to_owned(), Vec::new());
        Ok(Self {
            name,
            uuid,
            active: false,
            persistent: false,
            autostart: false,
            config,
            next: None,
            metadata,
        })
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    pub(super) fn bridge(&self) -> Option<&str> {
        self.config.path("bridge/@name")
    }

    /// What is written on it: a title, a description, or what a program keeps under its name space.
    pub(super) fn words(&self, kind: NetworkMetadataType, uri: Option<&str>, kept: bool) -> Option<String> {
        let config = self.next.as_ref().filter(|_| kept).unwrap_or(&self.config);
        match kind {
            NetworkMetadataType::Title => config.text_of("title").map(str::to_owned),
            NetworkMetadataType::Description => config.text_of("description").map(str::to_owned),
            _ => {
                let found = self.metadata.iter().find(|(known, _)| Some(known.as_str()) == uri);
                found.map(|(_, element)| element.print_indented().trim_end().to_owned())
            }
        }
    }

    /// Writes that, or takes it away.
    pub(super) fn write(
        &mut self,
        kind: NetworkMetadataType,
        uri: Option<&str>,
        element: Option<Element>,
        flags: NetworkUpdateFlags,
    ) -> Result<(), Refusal> {
        let impact = self.impact(flags)?;
        let name = match kind {
            NetworkMetadataType::Title => "title",
            NetworkMetadataType::Description => "description",
            _ => {
                let uri = uri.unwrap_or_default();
                self.metadata.retain(|(known, _)| known != uri);
                self.metadata.extend(element.map(|element| (uri.to_owned(), element)));
                return Ok(());
            }
        };
        // Of one that does not run there is only what it will be.
        let (live, config) = impact;
        let now = (live || self.next.is_none()).then_some(&mut self.config);
        for config in [now, self.next.as_mut().filter(|_| config)].into_iter().flatten() {
            config.children.retain(|child| child.name != name);
            if let Some(element) = &element {
                config.children.push(element.clone());
                order(config);
            }
        }
        Ok(())
    }

    /// Whether a call is about what it is, and about what it will be.
    pub(super) fn impact(&self, flags: NetworkUpdateFlags) -> Result<(bool, bool), Refusal> {
        use NetworkUpdateFlags as F;
        let current = !flags.intersects(F::LIVE | F::CONFIG);
        let live = flags.contains(F::LIVE) || current && self.active;
        let config = flags.contains(F::CONFIG) || current && !self.active;
        if live && !self.active {
            return Err(Refusal::invalid("network is not running"));
        }
        if config && !self.persistent {
            return Err(Refusal::invalid("transient networks do not have any persistent config"));
        }
        Ok((live, config))
    }

    pub(super) fn wire(&self) -> types::Network<'static> {
        types::Network { name: self.name.clone().into(), uuid: self.uuid }
    }

    fn document(&self) -> Element {
        let mut document = self.config.clone();
        document.children.insert(0, Element::text("name", &self.name));
        document.children.insert(1, Element::text("uuid", self.uuid));
        document
    }

    /// The first address that it gives to guests.
    pub(super) fn first_address(&self) -> Option<Ipv4Addr> {
        self.config.path("ip/dhcp/range/@start")?.parse().ok()
    }
}

impl Hypervisor {
    /// The network of the default state.
    pub(super) fn add_default_network(&mut self) {
        let uuid = Uuid([
            0xdd, 0x8f, 0xe8, 0x84, 0x6c, 0x02, 0x60, 0x1e, 0x75, 0x51, 0xcc, 0xa9, 0x7d, 0xf1, 0xc5, 0xdf,
        ]);
        let range = Element::new("range").with("start", "192.168.122.2").with("end", "192.168.122.254");
        let ip = Element::new("ip").with("address", "192.168.122.1").with("netmask", "255.255.255.0");
        let document = Element::new("network")
            .child(Element::text("name", "default"))
            .child(Element::new("forward").with("mode", "nat"))
            .child(Element::new("bridge").with("name", "virbr0"))
            .child(ip.child(Element::new("dhcp").child(range)));
        if let Ok(mut network) = Network::read(&document, uuid) {
            network.active = true;
            network.persistent = true;
            network.next = Some(network.config.clone());
            self.networks.insert(uuid, network);
        }
    }

    pub(super) fn network(&self, net: &types::Network<'_>) -> Result<&Network, Refusal> {
        self.networks.get(&net.uuid).ok_or_else(|| no_network(net))
    }

    pub(super) fn network_mut(&mut self, net: &types::Network<'_>) -> Result<&mut Network, Refusal> {
        self.networks.get_mut(&net.uuid).ok_or_else(|| no_network(net))
    }

    fn read_network(&mut self, xml: &str) -> Result<Network, Refusal> {
        let document = self.document(xml, "network", "network_definition")?;
        let named = document.text_of("name").unwrap_or_default();
        let known = self.networks.values().find(|network| network.name == named);
        let uuid = match known {
            Some(known) if document.find("uuid").is_none() => known.uuid,
            _ => self.uuid_of(&document, ErrorDomain::Network)?,
        };
        let network = Network::read(&document, uuid)?;
        let named = self.networks.values().find(|known| known.name == network.name);
        if let Some(named) = named.filter(|named| named.uuid != uuid) {
            let text = format!("network '{}' already exists with uuid {}", network.name, named.uuid);
            return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Network));
        }
        if let Some(known) = self.networks.get(&uuid).filter(|known| known.name != network.name) {
            let text = format!("network '{}' is already defined with uuid {uuid}", known.name);
            return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Network));
        }
        Ok(network)
    }

    fn define_network(&mut self, xml: &str) -> Result<types::Network<'static>, Refusal> {
        let mut network = self.read_network(xml)?;
        let net = network.wire();
        match self.networks.get_mut(&net.uuid) {
            Some(known) if known.active => {
                known.persistent = true;
                known.next = Some(network.config);
            }
            Some(known) => known.config = network.config,
            None => {
                network.persistent = true;
                self.networks.insert(net.uuid, network);
            }
        }
        self.tell_network(&net, NetworkEventLifecycleType::Defined);
        Ok(net)
    }

    fn create_network(&mut self, xml: &str) -> Result<types::Network<'static>, Refusal> {
        let mut network = self.read_network(xml)?;
        let net = network.wire();
        if let Some(known) = self.networks.get(&net.uuid) {
            if known.active {
                let text = format!("network is already active as '{}'", known.name);
                return Err(Refusal::invalid(text).of(ErrorDomain::Network));
            }
            network.persistent = known.persistent;
            network.autostart = known.autostart;
            network.next = Some(known.config.clone());
        }
        network.active = true;
        self.networks.insert(net.uuid, network);
        self.tell_network(&net, NetworkEventLifecycleType::Started);
        Ok(net)
    }

    pub(super) fn network_define_xml(
        &mut self,
        args: remote::NetworkDefineXmlArgs<'_>,
    ) -> Reply<remote::NetworkDefineXml> {
        let net = self.define_network(&args.xml.to_str_lossy())?;
        Ok(remote::NetworkDefineXmlRet { net })
    }

    pub(super) fn network_define_xml_flags(
        &mut self,
        args: remote::NetworkDefineXmlFlagsArgs<'_>,
    ) -> Reply<remote::NetworkDefineXmlFlags> {
        self.only(args.flags.bits(), 1, "testNetworkDefineXMLFlags")?;
        self.validate(args.flags.bits(), 1, &args.xml)?;
        let net = self.define_network(&args.xml.to_str_lossy())?;
        Ok(remote::NetworkDefineXmlFlagsRet { net })
    }

    pub(super) fn network_create_xml(
        &mut self,
        args: remote::NetworkCreateXmlArgs<'_>,
    ) -> Reply<remote::NetworkCreateXml> {
        let net = self.create_network(&args.xml.to_str_lossy())?;
        Ok(remote::NetworkCreateXmlRet { net })
    }

    pub(super) fn network_create_xml_flags(
        &mut self,
        args: remote::NetworkCreateXmlFlagsArgs<'_>,
    ) -> Reply<remote::NetworkCreateXmlFlags> {
        self.only(args.flags.bits(), 1, "testNetworkCreateXMLFlags")?;
        self.validate(args.flags.bits(), 1, &args.xml)?;
        let net = self.create_network(&args.xml.to_str_lossy())?;
        Ok(remote::NetworkCreateXmlFlagsRet { net })
    }

    pub(super) fn network_create(
        &mut self,
        args: remote::NetworkCreateArgs<'_>,
    ) -> Reply<remote::NetworkCreate> {
        let network = self.network_mut(&args.net)?;
        if network.active {
            return Err(Refusal::invalid(format!("Network '{}' is already running", network.name)));
        }
        network.active = true;
        network.next = Some(network.config.clone());
        let net = network.wire();
        self.tell_network(&net, NetworkEventLifecycleType::Started);
        Ok(())
    }

    pub(super) fn network_destroy(
        &mut self,
        args: remote::NetworkDestroyArgs<'_>,
    ) -> Reply<remote::NetworkDestroy> {
        // The test driver says nothing of a network that does not run.
        let network = self.network_mut(&args.net)?;
        network.active = false;
        if let Some(next) = network.next.take() {
            network.config = next;
        }
        let (net, persistent) = (network.wire(), network.persistent);
        if !persistent {
            self.networks.remove(&net.uuid);
        }
        self.tell_network(&net, NetworkEventLifecycleType::Stopped);
        Ok(())
    }

    pub(super) fn network_undefine(
        &mut self,
        args: remote::NetworkUndefineArgs<'_>,
    ) -> Reply<remote::NetworkUndefine> {
        let network = self.network(&args.net)?;
        if network.active {
            return Err(Refusal::invalid(format!("Network '{}' is still running", network.name)));
        }
        let net = network.wire();
        self.networks.remove(&net.uuid);
        self.tell_network(&net, NetworkEventLifecycleType::Undefined);
        Ok(())
    }

    pub(super) fn network_get_xml_desc(
        &mut self,
        args: remote::NetworkGetXmlDescArgs<'_>,
    ) -> Reply<remote::NetworkGetXmlDesc> {
        self.only(args.flags.bits(), 0, "testNetworkGetXMLDesc")?;
        let network = self.network(&args.net)?;
        let mut shown = network.clone();
        if let Some(next) = network.next.clone().filter(|_| args.flags.contains(NetworkXmlFlags::INACTIVE)) {
            shown.config = next;
        }
        let xml = shown.document().print();
        Ok(remote::NetworkGetXmlDescRet { xml: xml.into() })
    }

    pub(super) fn network_get_bridge_name(
        &mut self,
        args: remote::NetworkGetBridgeNameArgs<'_>,
    ) -> Reply<remote::NetworkGetBridgeName> {
        let network = self.network(&args.net)?;
        let Some(name) = network.config.path("bridge/@name") else {
            let text = format!("network '{}' does not have a bridge name.", network.name);
            return Err(Refusal::internal(text));
        };
        Ok(remote::NetworkGetBridgeNameRet { name: name.to_owned().into() })
    }

    pub(super) fn network_get_autostart(
        &mut self,
        args: remote::NetworkGetAutostartArgs<'_>,
    ) -> Reply<remote::NetworkGetAutostart> {
        Ok(remote::NetworkGetAutostartRet { autostart: self.network(&args.net)?.autostart.into() })
    }

    pub(super) fn network_set_autostart(
        &mut self,
        args: remote::NetworkSetAutostartArgs<'_>,
    ) -> Reply<remote::NetworkSetAutostart> {
        self.network_mut(&args.net)?.autostart = args.autostart != 0;
        Ok(())
    }

    pub(super) fn network_is_active(
        &mut self,
        args: remote::NetworkIsActiveArgs<'_>,
    ) -> Reply<remote::NetworkIsActive> {
        Ok(remote::NetworkIsActiveRet { active: self.network(&args.net)?.active.into() })
    }

    pub(super) fn network_is_persistent(
        &mut self,
        args: remote::NetworkIsPersistentArgs<'_>,
    ) -> Reply<remote::NetworkIsPersistent> {
        Ok(remote::NetworkIsPersistentRet { persistent: self.network(&args.net)?.persistent.into() })
    }

    pub(super) fn network_lookup_by_name(
        &mut self,
        args: remote::NetworkLookupByNameArgs<'_>,
    ) -> Reply<remote::NetworkLookupByName> {
        let found = self.networks.values().find(|network| args.name == network.name.as_str());
        let text = format!("no network with matching name '{}'", args.name);
        let net = found.map(Network::wire).ok_or_else(|| Refusal::new(ErrorNumber::NoNetwork, text))?;
        Ok(remote::NetworkLookupByNameRet { net })
    }

    pub(super) fn network_lookup_by_uuid(
        &mut self,
        args: remote::NetworkLookupByUuidArgs,
    ) -> Reply<remote::NetworkLookupByUuid> {
        let text = format!("no network with matching uuid '{}'", args.uuid);
        let found = self.networks.get(&args.uuid).map(Network::wire);
        let net = found.ok_or_else(|| Refusal::new(ErrorNumber::NoNetwork, text))?;
        Ok(remote::NetworkLookupByUuidRet { net })
    }

    pub(super) fn list_all_networks(
        &mut self,
        args: remote::ConnectListAllNetworksArgs,
    ) -> Reply<remote::ConnectListAllNetworks> {
        let passes = |network: &&Network| {
            let Network { active, persistent, autostart, .. } = **network;
            fits(
                args.flags.bits(),
                [
                    [(Filter::ACTIVE.bits(), active), (Filter::INACTIVE.bits(), !active)],
                    [(Filter::PERSISTENT.bits(), persistent), (Filter::TRANSIENT.bits(), !persistent)],
                    [(Filter::AUTOSTART.bits(), autostart), (Filter::NO_AUTOSTART.bits(), !autostart)],
                ],
            )
        };
        let found: Vec<_> = self.networks.values().filter(passes).map(Network::wire).collect();
        let ret = count(found.len());
        let nets = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::ConnectListAllNetworksRet { nets: nets.into(), ret })
    }

    fn network_names(&self, active: bool, most: i32) -> impl Iterator<Item = String> {
        let most = usize::try_from(most).unwrap_or(0);
        self.networks
            .values()
            .filter(move |known| known.active == active)
            .map(|known| known.name.clone())
            .take(most)
    }

    pub(super) fn list_networks(
        &mut self,
        args: remote::ConnectListNetworksArgs,
    ) -> Reply<remote::ConnectListNetworks> {
        let names = self.network_names(true, args.maxnames).map(Into::into).collect();
        Ok(remote::ConnectListNetworksRet { names })
    }

    pub(super) fn list_defined_networks(
        &mut self,
        args: remote::ConnectListDefinedNetworksArgs,
    ) -> Reply<remote::ConnectListDefinedNetworks> {
        let names = self.network_names(false, args.maxnames).map(Into::into).collect();
        Ok(remote::ConnectListDefinedNetworksRet { names })
    }

    pub(super) fn num_of_networks(&mut self, (): ()) -> Reply<remote::ConnectNumOfNetworks> {
        Ok(remote::ConnectNumOfNetworksRet { num: self.network_names(true, i32::MAX).count() as i32 })
    }

    pub(super) fn num_of_defined_networks(&mut self, (): ()) -> Reply<remote::ConnectNumOfDefinedNetworks> {
        Ok(remote::ConnectNumOfDefinedNetworksRet { num: self.network_names(false, i32::MAX).count() as i32 })
    }
}

fn no_network(net: &types::Network<'_>) -> Refusal {
    let text = format!("no network with matching uuid '{}' ({})", net.uuid, net.name);
    Refusal::new(ErrorNumber::NoNetwork, text)
}

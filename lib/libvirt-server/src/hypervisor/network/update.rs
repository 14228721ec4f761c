//! Changes to parts of networks: an address, a host, a portgroup that comes, goes or changes.

use crate::hypervisor::{Hypervisor, Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber, NetworkUpdateCommand, NetworkUpdateSection};
use libvirt_protocol::flags::NetworkUpdateFlags;
use libvirt_protocol::remote;
use std::net::Ipv4Addr;

impl Hypervisor {
    pub(in crate::hypervisor) fn network_update(
        &mut self,
        args: remote::NetworkUpdateArgs<'_>,
    ) -> Reply<remote::NetworkUpdate> {
        use NetworkUpdateFlags as F;
        self.only(args.flags.bits(), (F::LIVE | F::CONFIG).bits(), "testNetworkUpdate")?;
        let xml = args.xml.to_str_lossy().into_owned();
        let (path, root) = section(args.section)?;
        let element = self.document(&xml, root, "network_update_xml")?;
        let network = self.network_mut(&args.net)?;
        if root == "range" {
            within(&network.config, &element)?;
        }
        let current = !args.flags.intersects(F::LIVE | F::CONFIG);
        let live = args.flags.contains(F::LIVE) || current && network.active;
        let config = args.flags.contains(F::CONFIG) || current && !network.active;
        if live && !network.active {
            return Err(Refusal::invalid("network is not running"));
        }
        let index = usize::try_from(args.parent_index).unwrap_or(0);
        if live || network.next.is_none() {
            update(&mut network.config, path, index, args.command, &element)?;
        }
        if config && let Some(next) = &mut network.next {
            update(next, path, index, args.command, &element)?;
        }
        Ok(())
    }
}

/// Where a section stands, and the element that it holds.
fn section(section: NetworkUpdateSection) -> Result<(&'static [&'static str], &'static str), Refusal> {
    use NetworkUpdateSection as S;
    Ok(match section {
        S::IpDhcpHost => (&["ip", "dhcp"], "host"),
        S::IpDhcpRange => (&["ip", "dhcp"], "range"),
        S::DnsHost => (&["dns"], "host"),
        S::DnsTxt => (&["dns"], "txt"),
        S::DnsSrv => (&["dns"], "srv"),
        S::ForwardInterface => (&["forward"], "interface"),
        S::Portgroup => (&[], "portgroup"),
        _ => {
            let text = "can't update this section of network";
            return Err(Refusal::new(ErrorNumber::OperationUnsupported, text));
        }
    })
}

/// Demands that a range lies in the network's first subnet.
fn within(config: &Element, range: &Element) -> Result<(), Refusal> {
    let Some(ip) = config.find("ip") else { return Ok(()) };
    let address = |element: &Element, name: &str| element.attribute(name)?.parse::<Ipv4Addr>().ok();
    let prefix = match (ip.attribute("prefix"), address(ip, "netmask")) {
        (Some(prefix), _) => prefix.parse().unwrap_or(32),
        (None, Some(mask)) => mask.to_bits().leading_ones(),
        (None, None) => return Ok(()),
    };
    let (Some(own), Some(start), Some(end)) =
        (address(ip, "address"), address(range, "start"), address(range, "end"))
    else {
        return Err(Refusal::xml("Missing or invalid IP address in range").of(ErrorDomain::Network));
    };
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
    if [start, end].iter().all(|end| end.to_bits() & mask == own.to_bits() & mask) {
        return Ok(());
    }
    let text = format!("range {start} - {end} is not entirely within network {own}/{prefix}");
    Err(Refusal::internal(text).of(ErrorDomain::None))
}

/// What tells one element of a section from another.
fn same(left: &Element, right: &Element) -> bool {
    let keys: &[&str] = match left.name.as_str() {
        "host" => &["mac", "ip"],
        "range" => &["start", "end"],
        "interface" => &["dev"],
        _ => &["name"],
    };
    left.name == right.name
        && keys.iter().any(|key| left.attribute(key).is_some() && left.attribute(key) == right.attribute(key))
}

fn update(
    config: &mut Element,
    path: &[&str],
    index: usize,
    command: NetworkUpdateCommand,
    element: &Element,
) -> Result<(), Refusal> {
    let mut parent = config;
    for (depth, name) in path.iter().enumerate() {
        let number = if depth == 0 { index } else { 0 };
        let places: Vec<usize> = parent
            .children
            .iter()
            .enumerate()
            .filter(|(_, child)| child.name == *name)
            .map(|(at, _)| at)
            .collect();
        let at = match places.get(number) {
            Some(at) => *at,
            None => {
                parent.children.push(Element::new(name));
                parent.children.len() - 1
            }
        };
        parent = &mut parent.children[at];
    }
    let known = parent.children.iter().position(|child| same(child, element));
    let missing = || {
        let text = format!("couldn't locate a matching {} entry in the network", element.name);
        Refusal::invalid(text).of(ErrorDomain::Network)
    };
    match command {
        NetworkUpdateCommand::Delete => {
            parent.children.remove(known.ok_or_else(missing)?);
        }
        NetworkUpdateCommand::Modify => {
            let at = known.ok_or_else(missing)?;
            parent.children[at] = element.clone();
        }
        _ if known.is_some() => {
            let text = format!("there is an existing {} entry in the network that matches", element.name);
            return Err(Refusal::invalid(text).of(ErrorDomain::Network));
        }
        NetworkUpdateCommand::AddFirst => {
            let first = parent.children.iter().position(|child| child.name == element.name);
            parent.children.insert(first.unwrap_or(parent.children.len()), element.clone());
        }
        _ => {
            let order = |name: &str| if name == "range" { 0 } else { 1 };
            let end = parent.children.iter().position(|child| order(&child.name) > order(&element.name));
            parent.children.insert(end.unwrap_or(parent.children.len()), element.clone());
        }
    }
    Ok(())
}

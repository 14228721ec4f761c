//! Who has which address of a network, and what people and programs write on a network.

use super::events::{Object, Topic};
use super::{Hypervisor, Refusal, Reply, count};
use crate::xml::Element;
use libvirt_protocol::enums::{
    ErrorDomain, ErrorNumber, IpAddrType, NetworkEventId, NetworkMetadataType as Kind,
};
use libvirt_protocol::{remote, types};

/// How long a lease lasts (the default of libvirt's dnsmasq).
const LEASE_S: i64 = 3600;

impl Hypervisor {
    pub(super) fn network_get_dhcp_leases(
        &mut self,
        args: remote::NetworkGetDhcpLeasesArgs<'_>,
    ) -> Reply<remote::NetworkGetDhcpLeases> {
        let network = self.network(&args.net)?.name.clone();
        let only = args.mac.map(|mac| mac.to_string());
        let mut leases = Vec::new();
        for domain in self.domains.values().filter(|domain| domain.is_active()) {
            let interfaces = domain.config.devices.iter().filter(|device| device.name == "interface");
            for (number, interface) in interfaces.enumerate() {
                let mac = interface.path("mac/@address").unwrap_or_default();
                if interface.path("source/@network") != Some(&network)
                    || only.as_deref().is_some_and(|only| only != mac)
                {
                    continue;
                }
                let address = self.guest_address(&network, number);
                leases.push(types::NetworkDhcpLease {
                    iface: self.bridge(&network).into(),
                    expirytime: self.now.as_secs().cast_signed() + LEASE_S,
                    kind: IpAddrType::Ipv4,
                    mac: Some(mac.to_owned().into()),
                    iaid: None,
                    ipaddr: address.addr,
                    prefix: address.prefix,
                    hostname: Some(domain.config.name.clone().into()),
                    clientid: Some(format!("01:{mac}").into()),
                });
            }
        }
        let ret = count(leases.len());
        let leases = if args.need_results != 0 { leases } else { Vec::new() };
        Ok(remote::NetworkGetDhcpLeasesRet { leases: leases.into(), ret })
    }

    fn bridge(&self, network: &str) -> String {
        let found = self.networks.values().find(|known| known.name == network);
        found.and_then(|network| network.bridge()).unwrap_or_default().to_owned()
    }

    pub(super) fn network_get_metadata(
        &mut self,
        args: remote::NetworkGetMetadataArgs<'_>,
    ) -> Reply<remote::NetworkGetMetadata> {
        let uri = args.uri.map(|uri| uri.to_string());
        let network = self.network(&args.network)?;
        let (live, _) = network.impact(args.flags)?;
        let found = network.words(args.kind, uri.as_deref(), !live);
        let metadata = found.ok_or_else(|| {
            let text = "Requested metadata element is not present";
            Refusal::new(ErrorNumber::NoNetworkMetadata, text).of(ErrorDomain::Network)
        })?;
        Ok(remote::NetworkGetMetadataRet { metadata: metadata.into() })
    }

    pub(super) fn network_set_metadata(
        &mut self,
        args: remote::NetworkSetMetadataArgs<'_>,
    ) -> Reply<remote::NetworkSetMetadata> {
        let text = args.metadata.map(|text| text.to_string()).filter(|text| !text.is_empty());
        let uri = args.uri.map(|uri| uri.to_string());
        let element = match args.kind {
            Kind::Title => text.map(|text| Element::text("title", text)),
            Kind::Description => text.map(|text| Element::text("description", text)),
            _ => match text {
                Some(xml) => Some(Element::parse(&xml).map_err(|error| {
                    let text = format!("(metadata_xml):{}: {}", error.line, error.what);
                    Refusal::new(ErrorNumber::XmlDetail, text).of(ErrorDomain::Network)
                })?),
                None => None,
            },
        };
        let network = self.network_mut(&args.network)?;
        network.write(args.kind, uri.as_deref(), element, args.flags)?;
        let net = network.wire();
        let topic = Topic::Network(NetworkEventId::MetadataChange);
        self.tell(topic, &Object::Uuid(net.uuid), "network_event_callback_metadata_change", |callback_id| {
            remote::NetworkEventCallbackMetadataChangeMsg {
                callback_id,
                net: net.clone(),
                kind: args.kind,
                nsuri: uri.clone().map(Into::into),
            }
        });
        Ok(())
    }
}

//! Ports of networks, and bindings of filters to devices of the host. libvirt's test driver has neither, so this follows its network and
//! filter drivers; what they would do to the host is not done.

use super::{Hypervisor, Refusal, Reply, count};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::NetworkPortCreateFlags;
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::xdr::{IntoOwned, Uuid};
use libvirt_protocol::{remote, types};

/// A port of a network.
#[derive(Clone, Debug)]
pub(super) struct Port {
    network: Uuid,
    document: Element,
    /// Bandwidth that was set.
    params: Vec<TypedParam<'static>>,
}

/// A filter on a device of the host.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    filter: String,
    document: Element,
}

fn no_port(uuid: Uuid) -> Refusal {
    let text = format!("no network port with matching UUID '{uuid}'");
    Refusal::new(ErrorNumber::NoNetworkPort, text).of(ErrorDomain::Network)
}

impl Hypervisor {
    fn port(&self, port: &types::NetworkPort<'_>) -> Result<&Port, Refusal> {
        let found = self.ports.get(&port.uuid).filter(|found| found.network == port.net.uuid);
        found.ok_or_else(|| no_port(port.uuid))
    }

    fn ports_of(&self, network: &types::Network<'_>) -> Vec<types::NetworkPort<'static>> {
        let of = self.ports.iter().filter(|(_, port)| port.network == network.uuid);
        of.map(|(uuid, _)| types::NetworkPort { net: network.clone().into_owned(), uuid: *uuid }).collect()
    }

    pub(super) fn network_list_all_ports(
        &mut self,
        args: remote::NetworkListAllPortsArgs<'_>,
    ) -> Reply<remote::NetworkListAllPorts> {
        self.network(&args.network)?;
        let found = self.ports_of(&args.network);
        let ret = count(found.len());
        let ports = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::NetworkListAllPortsRet { ports: ports.into(), ret })
    }

    pub(super) fn network_port_lookup_by_uuid(
        &mut self,
        args: remote::NetworkPortLookupByUuidArgs<'_>,
    ) -> Reply<remote::NetworkPortLookupByUuid> {
        let port = types::NetworkPort { net: args.network.into_owned(), uuid: args.uuid };
        self.port(&port)?;
        Ok(remote::NetworkPortLookupByUuidRet { port })
    }

    pub(super) fn network_port_create_xml(
        &mut self,
        args: remote::NetworkPortCreateXmlArgs<'_>,
    ) -> Reply<remote::NetworkPortCreateXml> {
        use NetworkPortCreateFlags as F;
        self.validate(args.flags.bits(), F::VALIDATE.bits(), &args.xml)?;
        let document = self.document(&args.xml.to_str_lossy(), "networkport", "networkport_definition")?;
        let network = self.network(&args.network)?;
        if !network.is_active() {
            return Err(Refusal::invalid(format!("network '{}' is not active", network.name)));
        }
        let owner = document.find("owner").filter(|owner| owner.find("uuid").is_some());
        if owner.is_none() {
            let text = "missing owner UUID in network port XML";
            return Err(Refusal::xml(text).of(ErrorDomain::Network));
        }
        let uuid = self.uuid_of(&document, ErrorDomain::Network)?;
        // Under this flag what a port had is taken over.
        if self.ports.contains_key(&uuid) && !args.flags.contains(F::RECLAIM) {
            let text = format!("port with UUID '{uuid}' already exists");
            return Err(Refusal::new(ErrorNumber::NetworkPortExist, text).of(ErrorDomain::Network));
        }
        let mut complete = Element::new("networkport").child(Element::text("uuid", uuid));
        complete.children.extend(document.children.iter().filter(|child| child.name != "uuid").cloned());
        let net = args.network.into_owned();
        self.ports.insert(uuid, Port { network: net.uuid, document: complete, params: Vec::new() });
        Ok(remote::NetworkPortCreateXmlRet { port: types::NetworkPort { net, uuid } })
    }

    pub(super) fn network_port_get_xml_desc(
        &mut self,
        args: remote::NetworkPortGetXmlDescArgs<'_>,
    ) -> Reply<remote::NetworkPortGetXmlDesc> {
        Ok(remote::NetworkPortGetXmlDescRet { xml: self.port(&args.port)?.document.print().into() })
    }

    pub(super) fn network_port_get_parameters(
        &mut self,
        args: remote::NetworkPortGetParametersArgs<'_>,
    ) -> Reply<remote::NetworkPortGetParameters> {
        let params = self.port(&args.port)?.params.clone();
        let nparams = params.len() as i32;
        let params = if args.nparams == 0 { Vec::new() } else { params };
        Ok(remote::NetworkPortGetParametersRet { params: params.into(), nparams })
    }

    pub(super) fn network_port_set_parameters(
        &mut self,
        args: remote::NetworkPortSetParametersArgs<'_>,
    ) -> Reply<remote::NetworkPortSetParameters> {
        self.port(&args.port)?;
        let Some(port) = self.ports.get_mut(&args.port.uuid) else { return Err(no_port(args.port.uuid)) };
        for param in args.params.iter().map(IntoOwned::into_owned) {
            port.params.retain(|known| known.field != param.field);
            port.params.push(param);
        }
        Ok(())
    }

    pub(super) fn network_port_delete(
        &mut self,
        args: remote::NetworkPortDeleteArgs<'_>,
    ) -> Reply<remote::NetworkPortDelete> {
        self.port(&args.port)?;
        self.ports.remove(&args.port.uuid);
        Ok(())
    }

    fn binding(&self, device: &str) -> Result<(&String, &Binding), Refusal> {
        self.bindings.get_key_value(device).ok_or_else(|| {
            let text = format!("no nwfilter binding for port dev '{device}'");
            Refusal::new(ErrorNumber::NoNwfilterBinding, text).of(ErrorDomain::Nwfilter)
        })
    }

    pub(super) fn nwfilter_binding_create_xml(
        &mut self,
        args: remote::NwFilterBindingCreateXmlArgs<'_>,
    ) -> Reply<remote::NwFilterBindingCreateXml> {
        self.validate(args.flags.bits(), 1, &args.xml)?;
        let document =
            self.document(&args.xml.to_str_lossy(), "filterbinding", "nwfilterbinding_definition")?;
        let named = |path: &str, what: &str| {
            let found = document.path(path).filter(|value| !value.is_empty()).map(str::to_owned);
            found.ok_or_else(|| {
                Refusal::internal(format!("filter binding has no {what}")).of(ErrorDomain::Nwfilter)
            })
        };
        let device = named("portdev/@name", "port dev name")?;
        let filter = named("filterref/@filter", "filter reference")?;
        if !self.filters.values().any(|known| known.is_called(&filter)) {
            let text = format!("referenced filter '{filter}' is missing");
            return Err(Refusal::internal(text).of(ErrorDomain::Nwfilter));
        }
        if self.bindings.contains_key(&device) {
            let text = format!("Filter already present for NIC {device}");
            return Err(Refusal::invalid(text).of(ErrorDomain::Nwfilter));
        }
        let nwfilter =
            types::NwFilterBinding { portdev: device.clone().into(), filtername: filter.clone().into() };
        self.bindings.insert(device, Binding { filter, document });
        Ok(remote::NwFilterBindingCreateXmlRet { nwfilter })
    }

    pub(super) fn nwfilter_binding_delete(
        &mut self,
        args: remote::NwFilterBindingDeleteArgs<'_>,
    ) -> Reply<remote::NwFilterBindingDelete> {
        let device = args.nwfilter.portdev.to_string();
        self.binding(&device)?;
        self.bindings.remove(&device);
        Ok(())
    }

    pub(super) fn nwfilter_binding_get_xml_desc(
        &mut self,
        args: remote::NwFilterBindingGetXmlDescArgs<'_>,
    ) -> Reply<remote::NwFilterBindingGetXmlDesc> {
        let (_, binding) = self.binding(&args.nwfilter.portdev.to_str_lossy())?;
        Ok(remote::NwFilterBindingGetXmlDescRet { xml: binding.document.print().into() })
    }

    pub(super) fn nwfilter_binding_lookup(
        &mut self,
        args: remote::NwFilterBindingLookupByPortDevArgs<'_>,
    ) -> Reply<remote::NwFilterBindingLookupByPortDev> {
        let (device, binding) = self.binding(&args.name.to_str_lossy())?;
        let nwfilter = types::NwFilterBinding {
            portdev: device.clone().into(),
            filtername: binding.filter.clone().into(),
        };
        Ok(remote::NwFilterBindingLookupByPortDevRet { nwfilter })
    }

    pub(super) fn list_all_nwfilter_bindings(
        &mut self,
        args: remote::ConnectListAllNwFilterBindingsArgs,
    ) -> Reply<remote::ConnectListAllNwFilterBindings> {
        let found: Vec<_> = self
            .bindings
            .iter()
            .map(|(device, binding)| types::NwFilterBinding {
                portdev: device.clone().into(),
                filtername: binding.filter.clone().into(),
            })
            .collect();
        let ret = count(found.len());
        let bindings = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::ConnectListAllNwFilterBindingsRet { bindings: bindings.into(), ret })
    }
}

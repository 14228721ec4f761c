//! Network interfaces of the host, with the transaction that can take changes back.

use super::{Hypervisor, Refusal, Reply, count, fits};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::ConnectListAllInterfacesFlags as Filter;
use libvirt_protocol::{remote, types};

/// All interfaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Interfaces {
    all: Vec<Interface>,
    /// As they were when a transaction began.
    before: Option<Vec<Interface>>,
}

/// An interface.
#[derive(Clone, Debug)]
struct Interface {
    name: String,
    active: bool,
    config: Element,
}

impl Interface {
    fn mac(&self) -> &str {
        self.config.path("mac/@address").unwrap_or_default()
    }

    fn wire(&self) -> types::Interface<'static> {
        types::Interface { name: self.name.clone().into(), mac: self.mac().to_owned().into() }
    }
}

/// The order in which libvirt writes what stands in an interface.
const ORDER: [&str; 8] = ["start", "mtu", "protocol", "link", "bond", "bridge", "vlan", "mac"];

impl Interfaces {
    /// Those of the default state.
    pub(super) fn defaults() -> Self {
        let route = Element::new("route").with("gateway", "192.168.0.1");
        let ip = Element::new("ip").with("address", "192.168.0.5").with("prefix", "24");
        let config = Element::new("interface")
            .with("type", "ethernet")
            .with("name", "eth1")
            .child(Element::new("start").with("mode", "onboot"))
            .child(Element::new("mtu").with("size", "1492"))
            .child(Element::new("protocol").with("family", "ipv4").child(ip).child(route))
            .child(Element::new("mac").with("address", "aa:bb:cc:dd:ee:ff"));
        Self { all: vec![Interface { name: "eth1".into(), active: true, config }], before: None }
    }

    fn find(&mut self, iface: &types::Interface<'_>) -> Result<&mut Interface, Refusal> {
        let name = iface.name.to_string();
        self.all.iter_mut().find(|known| known.name == name).ok_or_else(|| missing(&name))
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::new(ErrorNumber::NoInterface, format!("no interface with matching name '{name}'"))
}

impl Hypervisor {
    pub(super) fn interface_define_xml(
        &mut self,
        args: remote::InterfaceDefineXmlArgs<'_>,
    ) -> Reply<remote::InterfaceDefineXml> {
        self.only(args.flags.bits(), 1, "testInterfaceDefineXML")?;
        self.validate(args.flags.bits(), 1, &args.xml)?;
        let refuse = |text: &str| Err(Refusal::xml(text).of(ErrorDomain::Interface));
        let mut config = self.document(&args.xml.to_str_lossy(), "interface", "interface_definition")?;
        if config.attribute("type").is_none() {
            let text = "Missing required attribute 'type' in element 'interface'";
            return Err(Refusal::xml(text).of(ErrorDomain::Xml));
        }
        let Some(name) = config.attribute("name").map(str::to_owned) else {
            return refuse("interface has no name");
        };
        let rank = |element: &Element| ORDER.iter().position(|name| *name == element.name);
        config.children.sort_by_key(|child| rank(child).unwrap_or(ORDER.len()));
        let all = &mut self.interfaces.all;
        let at = match all.iter().position(|known| known.name == name) {
            Some(at) => {
                all[at].config = config;
                at
            }
            None => {
                all.push(Interface { name, active: false, config });
                all.len() - 1
            }
        };
        Ok(remote::InterfaceDefineXmlRet { iface: all[at].wire() })
    }

    pub(super) fn interface_undefine(
        &mut self,
        args: remote::InterfaceUndefineArgs<'_>,
    ) -> Reply<remote::InterfaceUndefine> {
        let name = self.interfaces.find(&args.iface)?.name.clone();
        self.interfaces.all.retain(|known| known.name != name);
        Ok(())
    }

    pub(super) fn interface_create(
        &mut self,
        args: remote::InterfaceCreateArgs<'_>,
    ) -> Reply<remote::InterfaceCreate> {
        let interface = self.interfaces.find(&args.iface)?;
        if interface.active {
            return Err(Refusal::bare(ErrorNumber::OperationInvalid));
        }
        interface.active = true;
        Ok(())
    }

    pub(super) fn interface_destroy(
        &mut self,
        args: remote::InterfaceDestroyArgs<'_>,
    ) -> Reply<remote::InterfaceDestroy> {
        let interface = self.interfaces.find(&args.iface)?;
        if !interface.active {
            return Err(Refusal::bare(ErrorNumber::OperationInvalid));
        }
        interface.active = false;
        Ok(())
    }

    pub(super) fn interface_is_active(
        &mut self,
        args: remote::InterfaceIsActiveArgs<'_>,
    ) -> Reply<remote::InterfaceIsActive> {
        Ok(remote::InterfaceIsActiveRet { active: self.interfaces.find(&args.iface)?.active.into() })
    }

    pub(super) fn interface_get_xml_desc(
        &mut self,
        args: remote::InterfaceGetXmlDescArgs<'_>,
    ) -> Reply<remote::InterfaceGetXmlDesc> {
        self.only(args.flags.bits(), 0, "testInterfaceGetXMLDesc")?;
        let xml = self.interfaces.find(&args.iface)?.config.print();
        Ok(remote::InterfaceGetXmlDescRet { xml: xml.into() })
    }

    pub(super) fn interface_lookup_by_name(
        &mut self,
        args: remote::InterfaceLookupByNameArgs<'_>,
    ) -> Reply<remote::InterfaceLookupByName> {
        let found = self.interfaces.all.iter().find(|known| args.name == known.name.as_str());
        let iface = found.map(Interface::wire).ok_or_else(|| missing(&args.name.to_str_lossy()))?;
        Ok(remote::InterfaceLookupByNameRet { iface })
    }

    pub(super) fn interface_lookup_by_mac_string(
        &mut self,
        args: remote::InterfaceLookupByMacStringArgs<'_>,
    ) -> Reply<remote::InterfaceLookupByMacString> {
        let mac = args.mac.to_string();
        let mut found = self.interfaces.all.iter().filter(|known| known.mac().eq_ignore_ascii_case(&mac));
        let text = format!("no interface with matching mac '{mac}'");
        let iface = found.next().ok_or_else(|| Refusal::new(ErrorNumber::NoInterface, text))?.wire();
        if found.next().is_some() {
            return Err(Refusal::bare(ErrorNumber::MultipleInterfaces));
        }
        Ok(remote::InterfaceLookupByMacStringRet { iface })
    }

    pub(super) fn interface_change_begin(
        &mut self,
        _args: remote::InterfaceChangeBeginArgs,
    ) -> Reply<remote::InterfaceChangeBegin> {
        if self.interfaces.before.is_some() {
            return Err(Refusal::invalid("there is another transaction running."));
        }
        self.interfaces.before = Some(self.interfaces.all.clone());
        Ok(())
    }

    pub(super) fn interface_change_commit(
        &mut self,
        _args: remote::InterfaceChangeCommitArgs,
    ) -> Reply<remote::InterfaceChangeCommit> {
        match self.interfaces.before.take() {
            Some(_) => Ok(()),
            None => Err(Refusal::invalid("no transaction running, nothing to be committed.")),
        }
    }

    pub(super) fn interface_change_rollback(
        &mut self,
        _args: remote::InterfaceChangeRollbackArgs,
    ) -> Reply<remote::InterfaceChangeRollback> {
        let Some(mut before) = self.interfaces.before.take() else {
            return Err(Refusal::invalid("no transaction running, nothing to rollback."));
        };
        // What comes back does not run: the test driver keeps definitions only.
        before.iter_mut().for_each(|interface| interface.active = false);
        self.interfaces.all = before;
        Ok(())
    }

    pub(super) fn list_all_interfaces(
        &mut self,
        args: remote::ConnectListAllInterfacesArgs,
    ) -> Reply<remote::ConnectListAllInterfaces> {
        let passes = |known: &&Interface| {
            let states = [(Filter::ACTIVE.bits(), known.active), (Filter::INACTIVE.bits(), !known.active)];
            fits(args.flags.bits(), [states])
        };
        let found: Vec<_> = self.interfaces.all.iter().filter(passes).map(Interface::wire).collect();
        let ret = count(found.len());
        let ifaces = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::ConnectListAllInterfacesRet { ifaces: ifaces.into(), ret })
    }

    fn interface_names(&self, active: bool, most: i32) -> impl Iterator<Item = String> {
        let most = usize::try_from(most).unwrap_or(0);
        let found = self.interfaces.all.iter().filter(move |known| known.active == active);
        found.map(|known| known.name.clone()).take(most)
    }

    pub(super) fn list_interfaces(
        &mut self,
        args: remote::ConnectListInterfacesArgs,
    ) -> Reply<remote::ConnectListInterfaces> {
        let names = self.interface_names(true, args.maxnames).map(Into::into).collect();
        Ok(remote::ConnectListInterfacesRet { names })
    }

    pub(super) fn list_defined_interfaces(
        &mut self,
        args: remote::ConnectListDefinedInterfacesArgs,
    ) -> Reply<remote::ConnectListDefinedInterfaces> {
        let names = self.interface_names(false, args.maxnames).map(Into::into).collect();
        Ok(remote::ConnectListDefinedInterfacesRet { names })
    }

    pub(super) fn num_of_interfaces(&mut self, (): ()) -> Reply<remote::ConnectNumOfInterfaces> {
        Ok(remote::ConnectNumOfInterfacesRet { num: self.interface_names(true, i32::MAX).count() as i32 })
    }

    pub(super) fn num_of_defined_interfaces(
        &mut self,
        (): (),
    ) -> Reply<remote::ConnectNumOfDefinedInterfaces> {
        let num = self.interface_names(false, i32::MAX).count() as i32;
        Ok(remote::ConnectNumOfDefinedInterfacesRet { num })
    }
}

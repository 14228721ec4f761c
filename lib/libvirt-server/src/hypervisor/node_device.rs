//! Devices of the host.

use super::{Hypervisor, Refusal, Reply, count, only};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber, NodeDeviceEventLifecycleType};
use libvirt_protocol::flags::ConnectListAllNodeDeviceFlags as Filter;
use libvirt_protocol::{remote, types};

/// A device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    name: String,
    parent: Option<String>,
    capability: Element,
}

/// Those of the default state.
pub(super) fn defaults() -> Vec<Device> {
    let system = Element::new("capability").with("type", "system");
    let hardware = Element::new("hardware")
        .child(Element::text("vendor", "Libvirt"))
        .child(Element::text("version", "Test driver"))
        .child(Element::text("serial", "123456"))
        .child(Element::text("uuid", "11111111-2222-3333-4444-555555555555"));
    let firmware = Element::new("firmware")
        .child(Element::text("vendor", "Libvirt"))
        .child(Element::text("version", "Test Driver"))
        .child(Element::text("release_date", "01/22/2007"));
    let computer =
        Device { name: "computer".into(), parent: None, capability: system.child(hardware).child(firmware) };
    let host = |number: u32, unique: u32, parent: &str, world: [&str; 3]| Device {
        name: format!("scsi_host{number}"),
        parent: Some(parent.to_owned()),
        capability: scsi_host(number, unique, world),
    };
    let vport = |mut device: Device| {
        let operations = Element::new("capability").with("type", "vport_ops");
        let operations = operations.child(Element::text("max_vports", 0)).child(Element::text("vports", 0));
        device.capability.children.push(operations);
        device
    };
    vec![
        computer,
        vport(host(1, 0, "computer", ["2000000012341234", "1000000012341234", "2000000043214321"])),
        vport(host(2, 1, "computer", ["2000000056785678", "1000000056785678", "2000000087658765"])),
        host(11, 10, "scsi_host1", ["2000000034563456", "1000000034563456", "2000000043214321"]),
    ]
}

fn scsi_host(number: u32, unique: u32, [node, port, fabric]: [&str; 3]) -> Element {
    let channel = Element::new("capability")
        .with("type", "fc_host")
        .child(Element::text("wwnn", node))
        .child(Element::text("wwpn", port))
        .child(Element::text("fabric_wwn", fabric));
    Element::new("capability")
        .with("type", "scsi_host")
        .child(Element::text("host", number))
        .child(Element::text("unique_id", unique))
        .child(channel)
}

impl Device {
    fn wire(&self) -> types::NodeDevice<'static> {
        types::NodeDevice { name: self.name.clone().into() }
    }

    fn kind(&self) -> &str {
        self.capability.attribute("type").unwrap_or_default()
    }

    fn part(&self, kind: &str) -> Option<&Element> {
        self.capability.all("capability").find(|part| part.attribute("type") == Some(kind))
    }

    fn has(&self, kind: &str) -> bool {
        // Lists speak of virtual ports by another name than documents.
        let part = if kind == "vports" { "vport_ops" } else { kind };
        self.kind() == kind || self.part(part).is_some()
    }

    fn document(&self) -> Element {
        let mut document = Element::new("device").child(Element::text("name", &self.name));
        if let Some(parent) = &self.parent {
            document.children.push(Element::text("parent", parent));
        }
        document.child(self.capability.clone())
    }
}

impl Hypervisor {
    fn device(&self, name: &str) -> Result<&Device, Refusal> {
        self.devices.iter().find(|device| device.name == name).ok_or_else(|| {
            let text = format!("no node device with matching name '{name}'");
            Refusal::new(ErrorNumber::NoNodeDevice, text)
        })
    }

    pub(super) fn list_all_node_devices(
        &mut self,
        args: remote::ConnectListAllNodeDevicesArgs,
    ) -> Reply<remote::ConnectListAllNodeDevices> {
        let kinds = [
            ("system", Filter::CAP_SYSTEM),
            ("pci", Filter::CAP_PCI_DEV),
            ("usb_device", Filter::CAP_USB_DEV),
            ("usb", Filter::CAP_USB_INTERFACE),
            ("net", Filter::CAP_NET),
            ("scsi_host", Filter::CAP_SCSI_HOST),
            ("scsi_target", Filter::CAP_SCSI_TARGET),
            ("scsi", Filter::CAP_SCSI),
            ("storage", Filter::CAP_STORAGE),
            ("fc_host", Filter::CAP_FC_HOST),
            ("vports", Filter::CAP_VPORTS),
        ];
        // The kinds that the test driver of 9.0.0 knows, and no state.
        only(args.flags.bits(), 0x001f_ffff, "testConnectListAllNodeDevices")?;
        let asked = |device: &&Device| {
            let mut asked = kinds.iter().filter(|(_, bit)| args.flags.contains(*bit)).peekable();
            args.flags.is_empty() || asked.any(|(kind, _)| device.has(kind))
        };
        let found: Vec<_> = self.devices.iter().filter(asked).map(Device::wire).collect();
        let ret = count(found.len());
        let devices = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::ConnectListAllNodeDevicesRet { devices: devices.into(), ret })
    }

    fn device_names(&self, kind: Option<String>, most: i32) -> impl Iterator<Item = String> {
        let most = usize::try_from(most).unwrap_or(0);
        let found =
            self.devices.iter().filter(move |device| kind.as_ref().is_none_or(|kind| device.has(kind)));
        found.map(|device| device.name.clone()).take(most)
    }

    pub(super) fn node_num_of_devices(
        &mut self,
        args: remote::NodeNumOfDevicesArgs<'_>,
    ) -> Reply<remote::NodeNumOfDevices> {
        let num = self.device_names(args.cap.map(|cap| cap.to_string()), i32::MAX).count() as i32;
        Ok(remote::NodeNumOfDevicesRet { num })
    }

    pub(super) fn node_list_devices(
        &mut self,
        args: remote::NodeListDevicesArgs<'_>,
    ) -> Reply<remote::NodeListDevices> {
        let names = self.device_names(args.cap.map(|cap| cap.to_string()), args.maxnames);
        Ok(remote::NodeListDevicesRet { names: names.map(Into::into).collect() })
    }

    pub(super) fn node_device_lookup_by_name(
        &mut self,
        args: remote::NodeDeviceLookupByNameArgs<'_>,
    ) -> Reply<remote::NodeDeviceLookupByName> {
        let dev = self.device(&args.name.to_str_lossy())?.wire();
        Ok(remote::NodeDeviceLookupByNameRet { dev })
    }

    pub(super) fn node_device_get_xml_desc(
        &mut self,
        args: remote::NodeDeviceGetXmlDescArgs<'_>,
    ) -> Reply<remote::NodeDeviceGetXmlDesc> {
        only(args.flags.bits(), 0, "testNodeDeviceGetXMLDesc")?;
        let xml = self.device(&args.name.to_str_lossy())?.document().print();
        Ok(remote::NodeDeviceGetXmlDescRet { xml: xml.into() })
    }

    pub(super) fn node_device_get_parent(
        &mut self,
        args: remote::NodeDeviceGetParentArgs<'_>,
    ) -> Reply<remote::NodeDeviceGetParent> {
        let parent_name = self.device(&args.name.to_str_lossy())?.parent.clone().map(Into::into);
        Ok(remote::NodeDeviceGetParentRet { parent_name })
    }

    pub(super) fn node_device_num_of_caps(
        &mut self,
        args: remote::NodeDeviceNumOfCapsArgs<'_>,
    ) -> Reply<remote::NodeDeviceNumOfCaps> {
        self.device(&args.name.to_str_lossy())?;
        Ok(remote::NodeDeviceNumOfCapsRet { num: 1 })
    }

    pub(super) fn node_device_list_caps(
        &mut self,
        args: remote::NodeDeviceListCapsArgs<'_>,
    ) -> Reply<remote::NodeDeviceListCaps> {
        let kind = self.device(&args.name.to_str_lossy())?.kind().to_owned();
        Ok(remote::NodeDeviceListCapsRet { names: vec![kind.into()].into() })
    }

    pub(super) fn node_device_create_xml(
        &mut self,
        args: remote::NodeDeviceCreateXmlArgs<'_>,
    ) -> Reply<remote::NodeDeviceCreateXml> {
        only(args.flags.bits(), 1, "testNodeDeviceCreateXML")?;
        let document = self.document(&args.xml_desc.to_str_lossy(), "device", "node_device_definition")?;
        let capability = document.find("capability");
        let channel = capability
            .into_iter()
            .flat_map(|capability| capability.all("capability"))
            .find(|part| part.attribute("type") == Some("fc_host"));
        let Some(channel) = channel else {
            let text = "Device is not a fibre channel HBA";
            return Err(Refusal::internal(text).of(ErrorDomain::Nodedev));
        };
        let world = |name: &str, what: &str| {
            let value = channel.text_of(name).map(str::to_owned);
            let text = format!("no {what} supplied for 'new device', and auto-generation failed");
            value.ok_or_else(|| Refusal::internal(text).of(ErrorDomain::Nodedev))
        };
        let (node, port) = (world("wwnn", "WWNN")?, world("wwpn", "WWPN")?);
        let parent = document.text_of("parent").unwrap_or("computer").to_owned();
        let Ok(host) = self.device(&parent) else {
            let text = "Could not find parent device for 'new device'";
            return Err(Refusal::internal(text).of(ErrorDomain::Nodedev));
        };
        if host.part("vport_ops").is_none() {
            let text = format!("Parent device {parent} is not capable of vport operations");
            return Err(Refusal::internal(text).of(ErrorDomain::Nodedev));
        }
        // The test driver makes every new adapter like its host 11, whatever the parent.
        let device = Device {
            name: "scsi_host12".into(),
            parent: Some("scsi_host1".into()),
            capability: scsi_host(11, 10, [&node, &port, "2000000043214321"]),
        };
        let dev = device.wire();
        self.devices.retain(|known| known.name != device.name);
        let name = device.name.clone();
        self.devices.push(device);
        self.tell_device(&name, NodeDeviceEventLifecycleType::Created);
        Ok(remote::NodeDeviceCreateXmlRet { dev })
    }

    pub(super) fn node_device_destroy(
        &mut self,
        args: remote::NodeDeviceDestroyArgs<'_>,
    ) -> Reply<remote::NodeDeviceDestroy> {
        let name = self.device(&args.name.to_str_lossy())?.name.clone();
        self.devices.retain(|device| device.name != name);
        self.tell_device(&name, NodeDeviceEventLifecycleType::Deleted);
        Ok(())
    }
}

//! Devices of the host.

mod beyond;

use super::{Hypervisor, Refusal, Reply, Scope, count, fits};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber, NodeDeviceEventLifecycleType};
use libvirt_protocol::flags::{ConnectListAllNodeDeviceFlags as Filter, NodeDeviceXmlFlags};
use libvirt_protocol::{remote, types};

/// A device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    name: String,
    parent: Option<String>,
    /// Which driver of the host's serves it.
    driver: Option<String>,
    /// As it is, or, of one that is not there, as it will be.
    capability: Element,
    /// As it will be, of one that is kept.
    kept: Option<Element>,
    active: bool,
    autostart: bool,
}

/// What a list can be of.
const KINDS: [(&str, Filter); 24] = [
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
    ("scsi_generic", Filter::CAP_SCSI_GENERIC),
    ("drm", Filter::CAP_DRM),
    ("mdev_types", Filter::CAP_MDEV_TYPES),
    ("mdev", Filter::CAP_MDEV),
    ("ccw", Filter::CAP_CCW_DEV),
    ("css", Filter::CAP_CSS_DEV),
    ("vdpa", Filter::CAP_VDPA),
    ("ap_card", Filter::CAP_AP_CARD),
    ("ap_queue", Filter::CAP_AP_QUEUE),
    ("ap_matrix", Filter::CAP_AP_MATRIX),
    ("vpd", Filter::CAP_VPD),
    ("ccwgroup", Filter::CAP_CCWGROUP_DEV),
    ("ccwgroup_member", Filter::CAP_CCWGROUP_MEMBER),
];

/// Those of the default state.
pub(super) fn defaults(scope: Scope) -> Vec<Device> {
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
    let computer = Device::new("computer", None, system.child(hardware).child(firmware));
    let host = |number: u32, unique: u32, parent: &str, world: [&str; 3]| {
        Device::new(&format!("scsi_host{number}"), Some(parent), scsi_host(number, unique, world))
    };
    let vport = |mut device: Device| {
        let operations = Element::new("capability").with("type", "vport_ops");
        let operations = operations.child(Element::text("max_vports", 0)).child(Element::text("vports", 0));
        device.capability.children.push(operations);
        device
    };
    let mut all = vec![
        computer,
        vport(host(1, 0, "computer", ["2000000012341234", "1000000012341234", "2000000043214321"])),
        vport(host(2, 1, "computer", ["2000000056785678", "1000000056785678", "2000000087658765"])),
        host(11, 10, "scsi_host1", ["2000000034563456", "1000000034563456", "2000000043214321"]),
    ];
    if scope == Scope::Complete {
        all.extend(beyond::devices());
    }
    all
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
    fn new(name: &str, parent: Option<&str>, capability: Element) -> Self {
        Self {
            name: name.to_owned(),
            parent: parent.map(str::to_owned),
            driver: None,
            capability,
            kept: None,
            active: true,
            autostart: false,
        }
    }

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

    /// Its document: as it is, or as it will be when it is started again.
    fn document(&self, kept: bool) -> Element {
        let mut document = Element::new("device").child(Element::text("name", &self.name));
        if let Some(parent) = &self.parent {
            document.children.push(Element::text("parent", parent));
        }
        if let Some(driver) = &self.driver {
            document.children.push(Element::new("driver").child(Element::text("name", driver)));
        }
        let capability = self.kept.as_ref().filter(|_| kept).unwrap_or(&self.capability);
        document.child(capability.clone())
    }
}

impl Hypervisor {
    fn device(&self, name: &str) -> Result<&Device, Refusal> {
        self.devices.iter().find(|device| device.name == name).ok_or_else(|| {
            let text = format!("no node device with matching name '{name}'");
            Refusal::new(ErrorNumber::NoNodeDevice, text)
        })
    }

    fn device_mut(&mut self, name: &str) -> Result<&mut Device, Refusal> {
        self.device(name)?;
        let found = self.devices.iter_mut().find(|device| device.name == name);
        found.ok_or_else(|| Refusal::internal("the device has gone"))
    }

    pub(super) fn list_all_node_devices(
        &mut self,
        args: remote::ConnectListAllNodeDevicesArgs,
    ) -> Reply<remote::ConnectListAllNodeDevices> {
        // The kinds that the test driver of 9.0.0 knows, and no state.
        self.only(args.flags.bits(), 0x001f_ffff, "testConnectListAllNodeDevices")?;
        let passes = |device: &&Device| {
            let Device { active, .. } = **device;
            let persistent = device.kept.is_some();
            fits(
                args.flags.bits(),
                [
                    KINDS.iter().map(|(kind, bit)| (bit.bits(), device.has(kind))).collect::<Vec<_>>(),
                    vec![(Filter::ACTIVE.bits(), active), (Filter::INACTIVE.bits(), !active)],
                    vec![(Filter::PERSISTENT.bits(), persistent), (Filter::TRANSIENT.bits(), !persistent)],
                ],
            )
        };
        let found: Vec<_> = self.devices.iter().filter(passes).map(Device::wire).collect();
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
        self.only(args.flags.bits(), 0, "testNodeDeviceGetXMLDesc")?;
        let kept = args.flags.contains(NodeDeviceXmlFlags::INACTIVE);
        let device = self.device(&args.name.to_str_lossy())?;
        if kept && device.kept.is_none() {
            let text = format!("node device '{}' is not persistent", device.name);
            return Err(Refusal::invalid(text).of(ErrorDomain::Nodedev));
        }
        let xml = device.document(kept).print();
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
        self.only(args.flags.bits(), 1, "testNodeDeviceCreateXML")?;
        self.validate(args.flags.bits(), 1, &args.xml_desc)?;
        let document = self.document(&args.xml_desc.to_str_lossy(), "device", "node_device_definition")?;
        let capability = document.find("capability");
        if self.scope == Scope::Complete && beyond::is_mediated(&document) {
            let dev = self.create_mediated(&document)?;
            return Ok(remote::NodeDeviceCreateXmlRet { dev });
        }
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
        let made = scsi_host(11, 10, [&node, &port, "2000000043214321"]);
        let device = Device::new("scsi_host12", Some("scsi_host1"), made);
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
        let device = self.device_mut(&args.name.to_str_lossy())?;
        let name = device.name.clone();
        // One that is kept can be started again.
        match device.kept.clone() {
            Some(kept) if device.active => {
                device.active = false;
                device.capability = kept;
            }
            Some(_) => {
                let text = format!("Device '{name}' is not active");
                return Err(Refusal::invalid(text).of(ErrorDomain::Nodedev));
            }
            None => self.devices.retain(|device| device.name != name),
        }
        self.tell_device(&name, NodeDeviceEventLifecycleType::Deleted);
        Ok(())
    }
}

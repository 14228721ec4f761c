//! Devices that the test driver's host lacks: one of each kind, devices that are made of others and kept (mediated ones), devices that are
//! given to guests. Follows libvirt's driver for devices of the host.
//!
//! ```text
//!   define ──> kept ──create──> active and kept ──undefine──> active
//!                ^──destroy─────────┘
//! ```

use super::{Device, KINDS};
use crate::hypervisor::events::{Object, Topic};
use crate::hypervisor::{Hypervisor, Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::{
    ErrorDomain, ErrorNumber, NodeDeviceEventId, NodeDeviceEventLifecycleType as Life,
};
use libvirt_protocol::flags::NodeDeviceUpdateFlags;
use libvirt_protocol::{remote, types};

/// What serves a device of the PCI bus that no guest has, and one that a guest may have.
const HOST_DRIVER: &str = "test-pci";
const GUEST_DRIVER: &str = "vfio-pci";
/// The kind of device that can be made, and of what.
const MEDIATED: &str = "mdev";
const MEDIATED_TYPE: &str = "test-type";

/// One device of each kind that the default state has none of, under a bridge of the PCI bus.
pub(super) fn devices() -> Vec<Device> {
    let part = |kind| Element::new("capability").with("type", kind);
    let inside = ["scsi_generic", "mdev_types", "vpd", "ccwgroup_member"];
    let known = ["system", "pci", "scsi_host", "fc_host", "vports", MEDIATED];
    let types = Element::new("type").with("id", MEDIATED_TYPE).child(Element::text("availableInstances", 16));
    let mut bridge = part("pci").child(Element::text("domain", 0)).child(Element::text("bus", 0));
    bridge.children.extend([part("mdev_types").child(types), part("vpd")]);
    let mut pci = Device::new("pci_0000_00_02_0", Some("computer"), bridge);
    pci.driver = Some(HOST_DRIVER.to_owned());
    let mut all = vec![pci];
    for (kind, _) in KINDS.iter().filter(|(kind, _)| !known.contains(kind) && !inside.contains(kind)) {
        let mut capability = part(kind);
        match *kind {
            "storage" => capability.children.push(part("scsi_generic")),
            "ccw" => capability.children.push(part("ccwgroup_member")),
            _ => {}
        }
        all.push(Device::new(&format!("{kind}_0"), Some("computer"), capability));
    }
    all
}

/// Whether a document is of a device that is made of another.
pub(super) fn is_mediated(document: &Element) -> bool {
    document.path("capability/@type") == Some(MEDIATED)
}

fn refuse(text: impl Into<String>) -> Refusal {
    Refusal::invalid(text).of(ErrorDomain::Nodedev)
}

impl Hypervisor {
    fn read_mediated(&mut self, document: &Element) -> Result<Device, Refusal> {
        let Some(capability) = document.find("capability").filter(|_| is_mediated(document)) else {
            return Err(Refusal::new(ErrorNumber::OperationUnsupported, "Unsupported device type")
                .of(ErrorDomain::Nodedev));
        };
        if capability.path("type/@id") != Some(MEDIATED_TYPE) {
            return Err(Refusal::xml("missing type id attribute for 'new device'").of(ErrorDomain::Nodedev));
        }
        let parent = document.text_of("parent").unwrap_or_default().to_owned();
        if self.device(&parent).ok().is_none_or(|parent| parent.part("mdev_types").is_none()) {
            let text = format!("unable to find parent device '{parent}'");
            return Err(Refusal::internal(text).of(ErrorDomain::Nodedev));
        }
        let uuid = self.uuid_of(capability, ErrorDomain::Nodedev)?;
        let mut capability = capability.clone();
        capability.children.retain(|child| child.name != "uuid");
        capability.children.insert(1, Element::text("uuid", uuid));
        let name = format!("mdev_{}_0000_00_02_0", uuid.to_string().replace('-', "_"));
        Ok(Device::new(&name, Some(&parent), capability))
    }

    /// A device that is there until it is destroyed, or the host is switched off.
    pub(super) fn create_mediated(
        &mut self,
        document: &Element,
    ) -> Result<types::NodeDevice<'static>, Refusal> {
        let device = self.read_mediated(document)?;
        if self.device(&device.name).is_ok() {
            return Err(refuse(format!("device {} is already there", device.name)));
        }
        let wire = device.wire();
        self.devices.push(device);
        self.tell_device(&wire.name.to_string(), Life::Created);
        Ok(wire)
    }

    pub(in crate::hypervisor) fn node_device_define_xml(
        &mut self,
        args: remote::NodeDeviceDefineXmlArgs<'_>,
    ) -> Reply<remote::NodeDeviceDefineXml> {
        self.validate(args.flags.bits(), 1, &args.xml_desc)?;
        let document = self.document(&args.xml_desc.to_str_lossy(), "device", "node_device_definition")?;
        let mut device = self.read_mediated(&document)?;
        let dev = device.wire();
        match self.device_mut(&device.name) {
            Ok(known) => known.kept = Some(device.capability),
            Err(_) => {
                device.active = false;
                device.kept = Some(device.capability.clone());
                self.devices.push(device);
            }
        }
        self.tell_device(&dev.name.to_string(), Life::Defined);
        Ok(remote::NodeDeviceDefineXmlRet { dev })
    }

    /// The device, which must be kept.
    fn kept_mut(&mut self, name: &str) -> Result<&mut Device, Refusal> {
        let device = self.device_mut(name)?;
        if device.kept.is_none() {
            return Err(refuse(format!("node device '{name}' is not persistent")));
        }
        Ok(device)
    }

    pub(in crate::hypervisor) fn node_device_undefine(
        &mut self,
        args: remote::NodeDeviceUndefineArgs<'_>,
    ) -> Reply<remote::NodeDeviceUndefine> {
        let name = args.name.to_string();
        let device = self.kept_mut(&name)?;
        (device.kept, device.autostart) = (None, false);
        if !device.active {
            self.devices.retain(|device| device.name != name);
        }
        self.tell_device(&name, Life::Undefined);
        Ok(())
    }

    pub(in crate::hypervisor) fn node_device_create(
        &mut self,
        args: remote::NodeDeviceCreateArgs<'_>,
    ) -> Reply<remote::NodeDeviceCreate> {
        let name = args.name.to_string();
        let device = self.kept_mut(&name)?;
        if device.active {
            return Err(refuse(format!("Device '{name}' is already active")));
        }
        device.active = true;
        self.tell_device(&name, Life::Created);
        Ok(())
    }

    pub(in crate::hypervisor) fn node_device_get_autostart(
        &mut self,
        args: remote::NodeDeviceGetAutostartArgs<'_>,
    ) -> Reply<remote::NodeDeviceGetAutostart> {
        let autostart = self.device(&args.name.to_str_lossy())?.autostart.into();
        Ok(remote::NodeDeviceGetAutostartRet { autostart })
    }

    pub(in crate::hypervisor) fn node_device_set_autostart(
        &mut self,
        args: remote::NodeDeviceSetAutostartArgs<'_>,
    ) -> Reply<remote::NodeDeviceSetAutostart> {
        self.kept_mut(&args.name.to_str_lossy())?.autostart = args.autostart != 0;
        Ok(())
    }

    pub(in crate::hypervisor) fn node_device_is_persistent(
        &mut self,
        args: remote::NodeDeviceIsPersistentArgs<'_>,
    ) -> Reply<remote::NodeDeviceIsPersistent> {
        let persistent = self.device(&args.name.to_str_lossy())?.kept.is_some().into();
        Ok(remote::NodeDeviceIsPersistentRet { persistent })
    }

    pub(in crate::hypervisor) fn node_device_is_active(
        &mut self,
        args: remote::NodeDeviceIsActiveArgs<'_>,
    ) -> Reply<remote::NodeDeviceIsActive> {
        let active = self.device(&args.name.to_str_lossy())?.active.into();
        Ok(remote::NodeDeviceIsActiveRet { active })
    }

    pub(in crate::hypervisor) fn node_device_update(
        &mut self,
        args: remote::NodeDeviceUpdateArgs<'_>,
    ) -> Reply<remote::NodeDeviceUpdate> {
        use NodeDeviceUpdateFlags as F;
        let document = self.document(&args.xml_desc.to_str_lossy(), "device", "node_device_definition")?;
        let given = self.read_mediated(&document)?;
        let name = args.name.to_string();
        let device = self.device_mut(&name)?;
        let current = !args.flags.intersects(F::LIVE | F::CONFIG);
        let live = args.flags.contains(F::LIVE) || current && device.active;
        let config = args.flags.contains(F::CONFIG) || current && !device.active;
        if live && !device.active {
            return Err(refuse(format!("node device '{name}' is not active")));
        }
        if config && device.kept.is_none() {
            return Err(refuse(format!("node device '{name}' is not persistent")));
        }
        if device.capability.path("uuid") != given.capability.path("uuid") {
            return Err(refuse(format!("The device UUID of '{name}' cannot be changed")));
        }
        if config {
            device.kept = Some(given.capability.clone());
        }
        if live || !device.active {
            device.capability = given.capability;
        }
        let topic = Topic::Device(NodeDeviceEventId::Update);
        self.tell(topic, &Object::Name(name.clone()), "node_device_event_update", |callback_id| {
            remote::NodeDeviceEventUpdateMsg {
                callback_id,
                dev: types::NodeDevice { name: name.clone().into() },
            }
        });
        Ok(())
    }

    /// Puts a driver in the place of the one that serves a device of the PCI bus.
    fn drive(&mut self, name: &str, driver: &str) -> Result<(), Refusal> {
        let device = self.device_mut(name)?;
        if device.kind() != "pci" {
            let text = format!("device {name} is not a PCI device");
            return Err(Refusal::argument(text).of(ErrorDomain::Nodedev));
        }
        device.driver = Some(driver.to_owned());
        Ok(())
    }

    pub(in crate::hypervisor) fn node_device_dettach(
        &mut self,
        args: remote::NodeDeviceDettachArgs<'_>,
    ) -> Reply<remote::NodeDeviceDettach> {
        self.drive(&args.name.to_str_lossy(), GUEST_DRIVER)
    }

    pub(in crate::hypervisor) fn node_device_detach_flags(
        &mut self,
        args: remote::NodeDeviceDetachFlagsArgs<'_>,
    ) -> Reply<remote::NodeDeviceDetachFlags> {
        match args.driver_name.map(|driver| driver.to_string()).as_deref() {
            None | Some("vfio") => self.drive(&args.name.to_str_lossy(), GUEST_DRIVER),
            Some(other) => {
                let text = format!("unknown driver name '{other}'");
                Err(Refusal::argument(text).of(ErrorDomain::Nodedev))
            }
        }
    }

    pub(in crate::hypervisor) fn node_device_re_attach(
        &mut self,
        args: remote::NodeDeviceReAttachArgs<'_>,
    ) -> Reply<remote::NodeDeviceReAttach> {
        self.drive(&args.name.to_str_lossy(), HOST_DRIVER)
    }

    pub(in crate::hypervisor) fn node_device_reset(
        &mut self,
        args: remote::NodeDeviceResetArgs<'_>,
    ) -> Reply<remote::NodeDeviceReset> {
        let device = self.device(&args.name.to_str_lossy())?;
        // What is reset loses its state; in memory it has none.
        match device.kind() {
            "pci" => Ok(()),
            _ => Err(Refusal::argument(format!("device {} is not a PCI device", device.name))
                .of(ErrorDomain::Nodedev)),
        }
    }

    pub(in crate::hypervisor) fn node_device_lookup_scsi_host(
        &mut self,
        args: remote::NodeDeviceLookupScsiHostByWwnArgs<'_>,
    ) -> Reply<remote::NodeDeviceLookupScsiHostByWwn> {
        let found = self.devices.iter().find(|device| {
            let channel = device.part("fc_host");
            channel.is_some_and(|channel| {
                channel.text_of("wwnn").is_some_and(|name| args.wwnn == name)
                    && channel.text_of("wwpn").is_some_and(|name| args.wwpn == name)
            })
        });
        let text = "no node device with matching WWNs";
        let dev = found.map(Device::wire).ok_or_else(|| Refusal::new(ErrorNumber::NoNodeDevice, text))?;
        Ok(remote::NodeDeviceLookupScsiHostByWwnRet { dev })
    }
}

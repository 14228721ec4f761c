//! Devices of the host.

use crate::connect::Connect;
use crate::handle::{Autostart, handle, methods, text};
use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::{
    ConnectListAllNodeDeviceFlags, NodeDeviceCreateXmlFlags, NodeDeviceDefineXmlFlags, NodeDeviceUpdateFlags,
    NodeDeviceXmlFlags,
};
use libvirt_protocol::remote::*;

handle! {
    /// A device of the host.
    NodeDevice = NodeDevice
}

/// How many capabilities of one device are listed, at most: the protocol's own limit.
const CAPABILITIES: i32 = 65_536;

methods! { Connect(this) {
    /// All devices of the host that fit the flags; none set means all (`virConnectListAllNodeDevices`).
    node_devices(flags: ConnectListAllNodeDeviceFlags) -> Vec<NodeDevice>
        = remote::ConnectListAllNodeDevices(ConnectListAllNodeDevicesArgs { need_results: 1, flags })
        => |found| NodeDevice::list(this, &found.devices);
    /// The device with a name (`virNodeDeviceLookupByName`).
    node_device_by_name(name: &str) -> NodeDevice
        = remote::NodeDeviceLookupByName(NodeDeviceLookupByNameArgs { name: name.into() })
        => |found| NodeDevice::new(this, found.dev);
    /// The SCSI host with a pair of world-wide names (`virNodeDeviceLookupSCSIHostByWWN`).
    scsi_host_by_wwn(wwnn: &str, wwpn: &str) -> NodeDevice
        = remote::NodeDeviceLookupScsiHostByWwn(NodeDeviceLookupScsiHostByWwnArgs {
            wwnn: wwnn.into(), wwpn: wwpn.into(), flags: NoFlags::empty(),
        }) => |found| NodeDevice::new(this, found.dev);
    /// Makes a device that goes with the host's restart: a virtual HBA, a mediated device (`virNodeDeviceCreateXML`).
    create_node_device(xml: &str, flags: NodeDeviceCreateXmlFlags) -> NodeDevice
        = remote::NodeDeviceCreateXml(NodeDeviceCreateXmlArgs { xml_desc: xml.into(), flags })
        => |found| NodeDevice::new(this, found.dev);
    /// Defines a device that stays (`virNodeDeviceDefineXML`).
    define_node_device(xml: &str, flags: NodeDeviceDefineXmlFlags) -> NodeDevice
        = remote::NodeDeviceDefineXml(NodeDeviceDefineXmlArgs { xml_desc: xml.into(), flags })
        => |found| NodeDevice::new(this, found.dev);
} }

impl NodeDevice {
    /// Its name (`virNodeDeviceGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }
}

methods! { NodeDevice(this) {
    /// Its description as XML (`virNodeDeviceGetXMLDesc`).
    xml(flags: NodeDeviceXmlFlags) -> String
        = remote::NodeDeviceGetXmlDesc(NodeDeviceGetXmlDescArgs { name: this.wire().name, flags })
        => |found| found.xml.into();
    /// Name of the device that it hangs on (`virNodeDeviceGetParent`).
    parent() -> Option<String>
        = remote::NodeDeviceGetParent(NodeDeviceGetParentArgs { name: this.wire().name })
        => |found| text(found.parent_name);
    /// What it can do (`virNodeDeviceListCaps`).
    capabilities() -> Vec<String>
        = remote::NodeDeviceListCaps(NodeDeviceListCapsArgs { name: this.wire().name, maxnames: CAPABILITIES })
        => |found| found.names.iter().map(Into::into).collect();
    /// Takes it from the host's driver, for a guest (`virNodeDeviceDetachFlags`).
    detach(driver: Option<&str>)
        = remote::NodeDeviceDetachFlags(NodeDeviceDetachFlagsArgs {
            name: this.wire().name, driver_name: driver.map(Into::into), flags: NoFlags::empty(),
        });
    /// Gives it back to the host's driver (`virNodeDeviceReAttach`).
    reattach() = remote::NodeDeviceReAttach(NodeDeviceReAttachArgs { name: this.wire().name });
    /// Resets it (`virNodeDeviceReset`).
    reset() = remote::NodeDeviceReset(NodeDeviceResetArgs { name: this.wire().name });
    /// Starts a defined one (`virNodeDeviceCreate`).
    start() = remote::NodeDeviceCreate(NodeDeviceCreateArgs { name: this.wire().name, flags: NoFlags::empty() });
    /// Removes it from the host (`virNodeDeviceDestroy`).
    destroy() = remote::NodeDeviceDestroy(NodeDeviceDestroyArgs { name: this.wire().name });
    /// Removes its definition (`virNodeDeviceUndefine`).
    undefine() = remote::NodeDeviceUndefine(NodeDeviceUndefineArgs { name: this.wire().name, flags: NoFlags::empty() });
    /// Changes its definition (`virNodeDeviceUpdate`).
    update(xml: &str, flags: NodeDeviceUpdateFlags)
        = remote::NodeDeviceUpdate(NodeDeviceUpdateArgs { name: this.wire().name, xml_desc: xml.into(), flags });
    /// Whether it starts with the host (`virNodeDeviceGetAutostart`).
    autostart() -> bool
        = remote::NodeDeviceGetAutostart(NodeDeviceGetAutostartArgs { name: this.wire().name })
        => |found| found.autostart != 0;
    /// Says whether it is to start with the host (`virNodeDeviceSetAutostart`).
    set_autostart(autostart: Autostart)
        = remote::NodeDeviceSetAutostart(NodeDeviceSetAutostartArgs {
            name: this.wire().name, autostart: autostart.into(),
        });
    /// Whether it stays (`virNodeDeviceIsPersistent`).
    is_persistent() -> bool
        = remote::NodeDeviceIsPersistent(NodeDeviceIsPersistentArgs { name: this.wire().name })
        => |found| found.persistent != 0;
    /// Whether it exists on the host now (`virNodeDeviceIsActive`).
    is_active() -> bool
        = remote::NodeDeviceIsActive(NodeDeviceIsActiveArgs { name: this.wire().name })
        => |found| found.active != 0;
} }

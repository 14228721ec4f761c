//! Network interfaces of the host.

use crate::connect::Connect;
use crate::handle::{handle, methods};
use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::{ConnectListAllInterfacesFlags, InterfaceDefineFlags};
use libvirt_protocol::remote::*;

handle! {
    /// A network interface of the host.
    Interface = Interface
}

methods! { Connect(this) {
    /// All interfaces of the host that fit the flags; none set means all (`virConnectListAllInterfaces`).
    interfaces(flags: ConnectListAllInterfacesFlags) -> Vec<Interface>
        = remote::ConnectListAllInterfaces(ConnectListAllInterfacesArgs { need_results: 1, flags })
        => |found| Interface::list(this, &found.ifaces);
    /// The interface with a name (`virInterfaceLookupByName`).
    interface_by_name(name: &str) -> Interface
        = remote::InterfaceLookupByName(InterfaceLookupByNameArgs { name: name.into() })
        => |found| Interface::new(this, found.iface);
    /// The interface with a MAC address (`virInterfaceLookupByMACString`).
    interface_by_mac(mac: &str) -> Interface
        = remote::InterfaceLookupByMacString(InterfaceLookupByMacStringArgs { mac: mac.into() })
        => |found| Interface::new(this, found.iface);
    /// Defines an interface, or changes its definition (`virInterfaceDefineXML`).
    define_interface(xml: &str, flags: InterfaceDefineFlags) -> Interface
        = remote::InterfaceDefineXml(InterfaceDefineXmlArgs { xml: xml.into(), flags })
        => |found| Interface::new(this, found.iface);
    /// Remembers the interfaces as they are, to go back to if nothing else helps (`virInterfaceChangeBegin`).
    begin_interface_change() = remote::InterfaceChangeBegin(InterfaceChangeBeginArgs { flags: NoFlags::empty() });
    /// Keeps what was changed since (`virInterfaceChangeCommit`).
    commit_interface_change() = remote::InterfaceChangeCommit(InterfaceChangeCommitArgs { flags: NoFlags::empty() });
    /// Goes back to what was remembered (`virInterfaceChangeRollback`).
    roll_back_interface_change()
        = remote::InterfaceChangeRollback(InterfaceChangeRollbackArgs { flags: NoFlags::empty() });
} }

impl Interface {
    /// Its name (`virInterfaceGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }

    /// Its MAC address (`virInterfaceGetMACString`).
    #[must_use]
    pub fn mac(&self) -> String {
        self.wire().mac.to_string()
    }
}

methods! { Interface(this) {
    /// Its definition as XML (`virInterfaceGetXMLDesc`).
    xml() -> String
        = remote::InterfaceGetXmlDesc(InterfaceGetXmlDescArgs { iface: this.wire(), flags: NoFlags::empty() })
        => |found| found.xml.into();
    /// Starts it (`virInterfaceCreate`).
    start() = remote::InterfaceCreate(InterfaceCreateArgs { iface: this.wire(), flags: NoFlags::empty() });
    /// Stops it (`virInterfaceDestroy`).
    destroy() = remote::InterfaceDestroy(InterfaceDestroyArgs { iface: this.wire(), flags: NoFlags::empty() });
    /// Removes its definition (`virInterfaceUndefine`).
    undefine() = remote::InterfaceUndefine(InterfaceUndefineArgs { iface: this.wire() });
    /// Whether it runs (`virInterfaceIsActive`).
    is_active() -> bool
        = remote::InterfaceIsActive(InterfaceIsActiveArgs { iface: this.wire() }) => |found| found.active != 0;
} }

// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Virtual networks and their ports.

use crate::NoFlags;
use crate::generated::types::{Network, NetworkDhcpLease, NetworkPort};
use crate::generated::{enums, flags};
use crate::params::TypedParam;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, Uuid, structure};

procedure! {
/// [`virNetworkCreate`](https://libvirt.org/search.html?q=virNetworkCreate), since libvirt 0.3.0.
NetworkCreate(NetworkCreateArgs<'a>) -> () = Info::new(Program::Remote, 39, "network_create", Release(0, 3, 0)).function("virNetworkCreate").acl(&["network:start"])
}

structure! {
/// What [`NetworkCreate`] takes.
NetworkCreateArgs<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkCreateXML`](https://libvirt.org/search.html?q=virNetworkCreateXML), since libvirt 0.3.0.
NetworkCreateXml(NetworkCreateXmlArgs<'a>) -> NetworkCreateXmlRet<'a> = Info::new(Program::Remote, 40, "network_create_xml", Release(0, 3, 0)).function("virNetworkCreateXML").acl(&["network:write", "network:start"])
}

structure! {
/// What [`NetworkCreateXml`] takes.
NetworkCreateXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
}}

structure! {
/// What [`NetworkCreateXml`] returns.
NetworkCreateXmlRet<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkDefineXML`](https://libvirt.org/search.html?q=virNetworkDefineXML), since libvirt 0.3.0.
NetworkDefineXml(NetworkDefineXmlArgs<'a>) -> NetworkDefineXmlRet<'a> = Info::new(Program::Remote, 41, "network_define_xml", Release(0, 3, 0)).function("virNetworkDefineXML").urgent().acl(&["network:write", "network:save"])
}

structure! {
/// What [`NetworkDefineXml`] takes.
NetworkDefineXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
}}

structure! {
/// What [`NetworkDefineXml`] returns.
NetworkDefineXmlRet<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkDestroy`](https://libvirt.org/search.html?q=virNetworkDestroy), since libvirt 0.3.0.
NetworkDestroy(NetworkDestroyArgs<'a>) -> () = Info::new(Program::Remote, 42, "network_destroy", Release(0, 3, 0)).function("virNetworkDestroy").urgent().acl(&["network:stop"])
}

structure! {
/// What [`NetworkDestroy`] takes.
NetworkDestroyArgs<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkGetXMLDesc`](https://libvirt.org/search.html?q=virNetworkGetXMLDesc), since libvirt 0.3.0.
NetworkGetXmlDesc(NetworkGetXmlDescArgs<'a>) -> NetworkGetXmlDescRet<'a> = Info::new(Program::Remote, 43, "network_get_xml_desc", Release(0, 3, 0)).function("virNetworkGetXMLDesc").urgent().acl(&["network:read"])
}

structure! {
/// What [`NetworkGetXmlDesc`] takes.
NetworkGetXmlDescArgs<'a> {
/// `net`
net: Network<'a>,
/// `flags`
flags: flags::NetworkXmlFlags,
}}

structure! {
/// What [`NetworkGetXmlDesc`] returns.
NetworkGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virNetworkGetAutostart`](https://libvirt.org/search.html?q=virNetworkGetAutostart), since libvirt 0.3.0.
NetworkGetAutostart(NetworkGetAutostartArgs<'a>) -> NetworkGetAutostartRet = Info::new(Program::Remote, 44, "network_get_autostart", Release(0, 3, 0)).function("virNetworkGetAutostart").urgent().acl(&["network:read"])
}

structure! {
/// What [`NetworkGetAutostart`] takes.
NetworkGetAutostartArgs<'a> {
/// `net`
net: Network<'a>,
}}

structure! {
/// What [`NetworkGetAutostart`] returns.
NetworkGetAutostartRet {
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virNetworkGetBridgeName`](https://libvirt.org/search.html?q=virNetworkGetBridgeName), since libvirt 0.3.0.
NetworkGetBridgeName(NetworkGetBridgeNameArgs<'a>) -> NetworkGetBridgeNameRet<'a> = Info::new(Program::Remote, 45, "network_get_bridge_name", Release(0, 3, 0)).function("virNetworkGetBridgeName").urgent().acl(&["network:read"])
}

structure! {
/// What [`NetworkGetBridgeName`] takes.
NetworkGetBridgeNameArgs<'a> {
/// `net`
net: Network<'a>,
}}

structure! {
/// What [`NetworkGetBridgeName`] returns.
NetworkGetBridgeNameRet<'a> {
/// `name`
name: Text<'a>,
}}

procedure! {
/// [`virNetworkLookupByName`](https://libvirt.org/search.html?q=virNetworkLookupByName), since libvirt 0.3.0.
NetworkLookupByName(NetworkLookupByNameArgs<'a>) -> NetworkLookupByNameRet<'a> = Info::new(Program::Remote, 46, "network_lookup_by_name", Release(0, 3, 0)).function("virNetworkLookupByName").urgent().acl(&["network:getattr"])
}

structure! {
/// What [`NetworkLookupByName`] takes.
NetworkLookupByNameArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NetworkLookupByName`] returns.
NetworkLookupByNameRet<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkLookupByUUID`](https://libvirt.org/search.html?q=virNetworkLookupByUUID), since libvirt 0.3.0.
NetworkLookupByUuid(NetworkLookupByUuidArgs) -> NetworkLookupByUuidRet<'a> = Info::new(Program::Remote, 47, "network_lookup_by_uuid", Release(0, 3, 0)).function("virNetworkLookupByUUID").urgent().acl(&["network:getattr"])
}

structure! {
/// What [`NetworkLookupByUuid`] takes.
NetworkLookupByUuidArgs {
/// `uuid`
uuid: Uuid,
}}

structure! {
/// What [`NetworkLookupByUuid`] returns.
NetworkLookupByUuidRet<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkSetAutostart`](https://libvirt.org/search.html?q=virNetworkSetAutostart), since libvirt 0.3.0.
NetworkSetAutostart(NetworkSetAutostartArgs<'a>) -> () = Info::new(Program::Remote, 48, "network_set_autostart", Release(0, 3, 0)).function("virNetworkSetAutostart").urgent().acl(&["network:write"])
}

structure! {
/// What [`NetworkSetAutostart`] takes.
NetworkSetAutostartArgs<'a> {
/// `net`
net: Network<'a>,
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virNetworkUndefine`](https://libvirt.org/search.html?q=virNetworkUndefine), since libvirt 0.3.0.
NetworkUndefine(NetworkUndefineArgs<'a>) -> () = Info::new(Program::Remote, 49, "network_undefine", Release(0, 3, 0)).function("virNetworkUndefine").urgent().acl(&["network:delete"])
}

structure! {
/// What [`NetworkUndefine`] takes.
NetworkUndefineArgs<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkIsActive`](https://libvirt.org/search.html?q=virNetworkIsActive), since libvirt 0.7.3.
NetworkIsActive(NetworkIsActiveArgs<'a>) -> NetworkIsActiveRet = Info::new(Program::Remote, 152, "network_is_active", Release(0, 7, 3)).function("virNetworkIsActive").urgent().acl(&["network:read"])
}

structure! {
/// What [`NetworkIsActive`] takes.
NetworkIsActiveArgs<'a> {
/// `net`
net: Network<'a>,
}}

structure! {
/// What [`NetworkIsActive`] returns.
NetworkIsActiveRet {
/// `active`
active: i32,
}}

procedure! {
/// [`virNetworkIsPersistent`](https://libvirt.org/search.html?q=virNetworkIsPersistent), since libvirt 0.7.3.
NetworkIsPersistent(NetworkIsPersistentArgs<'a>) -> NetworkIsPersistentRet = Info::new(Program::Remote, 153, "network_is_persistent", Release(0, 7, 3)).function("virNetworkIsPersistent").urgent().acl(&["network:read"])
}

structure! {
/// What [`NetworkIsPersistent`] takes.
NetworkIsPersistentArgs<'a> {
/// `net`
net: Network<'a>,
}}

structure! {
/// What [`NetworkIsPersistent`] returns.
NetworkIsPersistentRet {
/// `persistent`
persistent: i32,
}}

procedure! {
/// [`virNetworkUpdate`](https://libvirt.org/search.html?q=virNetworkUpdate), since libvirt 0.10.2.
NetworkUpdate(NetworkUpdateArgs<'a>) -> () = Info::new(Program::Remote, 291, "network_update", Release(0, 10, 2)).function("virNetworkUpdate").urgent().acl(&["network:write", "network:save:!VIR_NETWORK_UPDATE_AFFECT_CONFIG|VIR_NETWORK_UPDATE_AFFECT_LIVE", "network:save:VIR_NETWORK_UPDATE_AFFECT_CONFIG"])
}

structure! {
/// What [`NetworkUpdate`] takes.
NetworkUpdateArgs<'a> {
/// `net`
net: Network<'a>,
/// `command`
command: enums::NetworkUpdateCommand,
/// `section`
section: enums::NetworkUpdateSection,
/// `parentIndex`
parent_index: i32,
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::NetworkUpdateFlags,
}}

procedure! {
/// [`virNetworkGetDHCPLeases`](https://libvirt.org/search.html?q=virNetworkGetDHCPLeases), since libvirt 1.2.6.
NetworkGetDhcpLeases(NetworkGetDhcpLeasesArgs<'a>) -> NetworkGetDhcpLeasesRet<'a> = Info::new(Program::Remote, 341, "network_get_dhcp_leases", Release(1, 2, 6)).function("virNetworkGetDHCPLeases").acl(&["network:read"])
}

structure! {
/// What [`NetworkGetDhcpLeases`] takes.
NetworkGetDhcpLeasesArgs<'a> {
/// `net`
net: Network<'a>,
/// `mac`
mac: Option<Text<'a>>,
/// `need_results`
need_results: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NetworkGetDhcpLeases`] returns.
NetworkGetDhcpLeasesRet<'a> {
/// `leases`
leases: List<'a, NetworkDhcpLease<'a>, 65536>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virNetworkListAllPorts`](https://libvirt.org/search.html?q=virNetworkListAllPorts), since libvirt 5.5.0.
NetworkListAllPorts(NetworkListAllPortsArgs<'a>) -> NetworkListAllPortsRet<'a> = Info::new(Program::Remote, 404, "network_list_all_ports", Release(5, 5, 0)).function("virNetworkListAllPorts").urgent().acl(&["network:search_ports"])
}

structure! {
/// What [`NetworkListAllPorts`] takes.
NetworkListAllPortsArgs<'a> {
/// `network`
network: Network<'a>,
/// `need_results`
need_results: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NetworkListAllPorts`] returns.
NetworkListAllPortsRet<'a> {
/// `ports`
ports: List<'a, NetworkPort<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virNetworkPortLookupByUUID`](https://libvirt.org/search.html?q=virNetworkPortLookupByUUID), since libvirt 5.5.0.
NetworkPortLookupByUuid(NetworkPortLookupByUuidArgs<'a>) -> NetworkPortLookupByUuidRet<'a> = Info::new(Program::Remote, 405, "network_port_lookup_by_uuid", Release(5, 5, 0)).function("virNetworkPortLookupByUUID").urgent().acl(&["network_port:getattr"])
}

structure! {
/// What [`NetworkPortLookupByUuid`] takes.
NetworkPortLookupByUuidArgs<'a> {
/// `network`
network: Network<'a>,
/// `uuid`
uuid: Uuid,
}}

structure! {
/// What [`NetworkPortLookupByUuid`] returns.
NetworkPortLookupByUuidRet<'a> {
/// `port`
port: NetworkPort<'a>,
}}

procedure! {
/// [`virNetworkPortCreateXML`](https://libvirt.org/search.html?q=virNetworkPortCreateXML), since libvirt 5.5.0.
NetworkPortCreateXml(NetworkPortCreateXmlArgs<'a>) -> NetworkPortCreateXmlRet<'a> = Info::new(Program::Remote, 406, "network_port_create_xml", Release(5, 5, 0)).function("virNetworkPortCreateXML").acl(&["network_port:create"])
}

structure! {
/// What [`NetworkPortCreateXml`] takes.
NetworkPortCreateXmlArgs<'a> {
/// `network`
network: Network<'a>,
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::NetworkPortCreateFlags,
}}

structure! {
/// What [`NetworkPortCreateXml`] returns.
NetworkPortCreateXmlRet<'a> {
/// `port`
port: NetworkPort<'a>,
}}

procedure! {
/// [`virNetworkPortGetParameters`](https://libvirt.org/search.html?q=virNetworkPortGetParameters), since libvirt 5.5.0.
NetworkPortGetParameters(NetworkPortGetParametersArgs<'a>) -> NetworkPortGetParametersRet<'a> = Info::new(Program::Remote, 407, "network_port_get_parameters", Release(5, 5, 0)).function("virNetworkPortGetParameters").acl(&["network_port:read"])
}

structure! {
/// What [`NetworkPortGetParameters`] takes.
NetworkPortGetParametersArgs<'a> {
/// `port`
port: NetworkPort<'a>,
/// `nparams`
nparams: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NetworkPortGetParameters`] returns.
NetworkPortGetParametersRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virNetworkPortSetParameters`](https://libvirt.org/search.html?q=virNetworkPortSetParameters), since libvirt 5.5.0.
NetworkPortSetParameters(NetworkPortSetParametersArgs<'a>) -> () = Info::new(Program::Remote, 408, "network_port_set_parameters", Release(5, 5, 0)).function("virNetworkPortSetParameters").acl(&["network_port:write"])
}

structure! {
/// What [`NetworkPortSetParameters`] takes.
NetworkPortSetParametersArgs<'a> {
/// `port`
port: NetworkPort<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virNetworkPortGetXMLDesc`](https://libvirt.org/search.html?q=virNetworkPortGetXMLDesc), since libvirt 5.5.0.
NetworkPortGetXmlDesc(NetworkPortGetXmlDescArgs<'a>) -> NetworkPortGetXmlDescRet<'a> = Info::new(Program::Remote, 409, "network_port_get_xml_desc", Release(5, 5, 0)).function("virNetworkPortGetXMLDesc").acl(&["network_port:read"])
}

structure! {
/// What [`NetworkPortGetXmlDesc`] takes.
NetworkPortGetXmlDescArgs<'a> {
/// `port`
port: NetworkPort<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NetworkPortGetXmlDesc`] returns.
NetworkPortGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virNetworkPortDelete`](https://libvirt.org/search.html?q=virNetworkPortDelete), since libvirt 5.5.0.
NetworkPortDelete(NetworkPortDeleteArgs<'a>) -> () = Info::new(Program::Remote, 410, "network_port_delete", Release(5, 5, 0)).function("virNetworkPortDelete").acl(&["network_port:delete"])
}

structure! {
/// What [`NetworkPortDelete`] takes.
NetworkPortDeleteArgs<'a> {
/// `port`
port: NetworkPort<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virNetworkDefineXMLFlags`](https://libvirt.org/search.html?q=virNetworkDefineXMLFlags), since libvirt 7.7.0.
NetworkDefineXmlFlags(NetworkDefineXmlFlagsArgs<'a>) -> NetworkDefineXmlFlagsRet<'a> = Info::new(Program::Remote, 432, "network_define_xml_flags", Release(7, 7, 0)).function("virNetworkDefineXMLFlags").urgent().acl(&["network:write", "network:save"])
}

structure! {
/// What [`NetworkDefineXmlFlags`] takes.
NetworkDefineXmlFlagsArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::NetworkDefineFlags,
}}

structure! {
/// What [`NetworkDefineXmlFlags`] returns.
NetworkDefineXmlFlagsRet<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkCreateXMLFlags`](https://libvirt.org/search.html?q=virNetworkCreateXMLFlags), since libvirt 7.8.0.
NetworkCreateXmlFlags(NetworkCreateXmlFlagsArgs<'a>) -> NetworkCreateXmlFlagsRet<'a> = Info::new(Program::Remote, 437, "network_create_xml_flags", Release(7, 8, 0)).function("virNetworkCreateXMLFlags").urgent().acl(&["network:write", "network:start"])
}

structure! {
/// What [`NetworkCreateXmlFlags`] takes.
NetworkCreateXmlFlagsArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::NetworkCreateFlags,
}}

structure! {
/// What [`NetworkCreateXmlFlags`] returns.
NetworkCreateXmlFlagsRet<'a> {
/// `net`
net: Network<'a>,
}}

procedure! {
/// [`virNetworkSetMetadata`](https://libvirt.org/search.html?q=virNetworkSetMetadata), since libvirt 9.7.0.
NetworkSetMetadata(NetworkSetMetadataArgs<'a>) -> () = Info::new(Program::Remote, 444, "network_set_metadata", Release(9, 7, 0)).function("virNetworkSetMetadata").acl(&["network:write", "network:save:!VIR_NETWORK_UPDATE_AFFECT_CONFIG|VIR_NETWORK_UPDATE_AFFECT_LIVE", "network:save:VIR_NETWORK_UPDATE_AFFECT_CONFIG"])
}

structure! {
/// What [`NetworkSetMetadata`] takes.
NetworkSetMetadataArgs<'a> {
/// `network`
network: Network<'a>,
/// `type`
kind: enums::NetworkMetadataType,
/// `metadata`
metadata: Option<Text<'a>>,
/// `key`
key: Option<Text<'a>>,
/// `uri`
uri: Option<Text<'a>>,
/// `flags`
flags: flags::NetworkUpdateFlags,
}}

procedure! {
/// [`virNetworkGetMetadata`](https://libvirt.org/search.html?q=virNetworkGetMetadata), since libvirt 9.7.0.
NetworkGetMetadata(NetworkGetMetadataArgs<'a>) -> NetworkGetMetadataRet<'a> = Info::new(Program::Remote, 445, "network_get_metadata", Release(9, 7, 0)).function("virNetworkGetMetadata").acl(&["network:read"])
}

structure! {
/// What [`NetworkGetMetadata`] takes.
NetworkGetMetadataArgs<'a> {
/// `network`
network: Network<'a>,
/// `type`
kind: enums::NetworkMetadataType,
/// `uri`
uri: Option<Text<'a>>,
/// `flags`
flags: flags::NetworkUpdateFlags,
}}

structure! {
/// What [`NetworkGetMetadata`] returns.
NetworkGetMetadataRet<'a> {
/// `metadata`
metadata: Text<'a>,
}}

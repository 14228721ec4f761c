// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Devices of the host.

use crate::NoFlags;
use crate::generated::flags;
use crate::generated::types::NodeDevice;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, structure};

procedure! {
/// [`virNodeDeviceLookupByName`](https://libvirt.org/search.html?q=virNodeDeviceLookupByName), since libvirt 0.5.0.
NodeDeviceLookupByName(NodeDeviceLookupByNameArgs<'a>) -> NodeDeviceLookupByNameRet<'a> = Info::new(Program::Remote, 113, "node_device_lookup_by_name", Release(0, 5, 0)).function("virNodeDeviceLookupByName").urgent().acl(&["node_device:getattr"])
}

structure! {
/// What [`NodeDeviceLookupByName`] takes.
NodeDeviceLookupByNameArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NodeDeviceLookupByName`] returns.
NodeDeviceLookupByNameRet<'a> {
/// `dev`
dev: NodeDevice<'a>,
}}

procedure! {
/// [`virNodeDeviceGetXMLDesc`](https://libvirt.org/search.html?q=virNodeDeviceGetXMLDesc), since libvirt 0.5.0.
NodeDeviceGetXmlDesc(NodeDeviceGetXmlDescArgs<'a>) -> NodeDeviceGetXmlDescRet<'a> = Info::new(Program::Remote, 114, "node_device_get_xml_desc", Release(0, 5, 0)).function("virNodeDeviceGetXMLDesc").acl(&["node_device:read"])
}

structure! {
/// What [`NodeDeviceGetXmlDesc`] takes.
NodeDeviceGetXmlDescArgs<'a> {
/// `name`
name: Text<'a>,
/// `flags`
flags: flags::NodeDeviceXmlFlags,
}}

structure! {
/// What [`NodeDeviceGetXmlDesc`] returns.
NodeDeviceGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virNodeDeviceGetParent`](https://libvirt.org/search.html?q=virNodeDeviceGetParent), since libvirt 0.5.0.
NodeDeviceGetParent(NodeDeviceGetParentArgs<'a>) -> NodeDeviceGetParentRet<'a> = Info::new(Program::Remote, 115, "node_device_get_parent", Release(0, 5, 0)).function("virNodeDeviceGetParent").urgent().acl(&["node_device:read"])
}

structure! {
/// What [`NodeDeviceGetParent`] takes.
NodeDeviceGetParentArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NodeDeviceGetParent`] returns.
NodeDeviceGetParentRet<'a> {
/// `parentName`
parent_name: Option<Text<'a>>,
}}

procedure! {
/// [`virNodeDeviceNumOfCaps`](https://libvirt.org/search.html?q=virNodeDeviceNumOfCaps), since libvirt 0.5.0.
NodeDeviceNumOfCaps(NodeDeviceNumOfCapsArgs<'a>) -> NodeDeviceNumOfCapsRet = Info::new(Program::Remote, 116, "node_device_num_of_caps", Release(0, 5, 0)).function("virNodeDeviceNumOfCaps").urgent().acl(&["node_device:read"])
}

structure! {
/// What [`NodeDeviceNumOfCaps`] takes.
NodeDeviceNumOfCapsArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NodeDeviceNumOfCaps`] returns.
NodeDeviceNumOfCapsRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virNodeDeviceListCaps`](https://libvirt.org/search.html?q=virNodeDeviceListCaps), since libvirt 0.5.0.
NodeDeviceListCaps(NodeDeviceListCapsArgs<'a>) -> NodeDeviceListCapsRet<'a> = Info::new(Program::Remote, 117, "node_device_list_caps", Release(0, 5, 0)).function("virNodeDeviceListCaps").urgent().acl(&["node_device:read"])
}

structure! {
/// What [`NodeDeviceListCaps`] takes.
NodeDeviceListCapsArgs<'a> {
/// `name`
name: Text<'a>,
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`NodeDeviceListCaps`] returns.
NodeDeviceListCapsRet<'a> {
/// `names`
names: List<'a, Text<'a>, 65536>,
}}

procedure! {
/// [`virNodeDeviceDettach`](https://libvirt.org/search.html?q=virNodeDeviceDettach), since libvirt 0.6.1.
NodeDeviceDettach(NodeDeviceDettachArgs<'a>) -> () = Info::new(Program::Remote, 118, "node_device_dettach", Release(0, 6, 1)).function("virNodeDeviceDettach").acl(&["node_device:detach"])
}

structure! {
/// What [`NodeDeviceDettach`] takes.
NodeDeviceDettachArgs<'a> {
/// `name`
name: Text<'a>,
}}

procedure! {
/// [`virNodeDeviceReAttach`](https://libvirt.org/search.html?q=virNodeDeviceReAttach), since libvirt 0.6.1.
NodeDeviceReAttach(NodeDeviceReAttachArgs<'a>) -> () = Info::new(Program::Remote, 119, "node_device_re_attach", Release(0, 6, 1)).function("virNodeDeviceReAttach").acl(&["node_device:detach"])
}

structure! {
/// What [`NodeDeviceReAttach`] takes.
NodeDeviceReAttachArgs<'a> {
/// `name`
name: Text<'a>,
}}

procedure! {
/// [`virNodeDeviceReset`](https://libvirt.org/search.html?q=virNodeDeviceReset), since libvirt 0.6.1.
NodeDeviceReset(NodeDeviceResetArgs<'a>) -> () = Info::new(Program::Remote, 120, "node_device_reset", Release(0, 6, 1)).function("virNodeDeviceReset").acl(&["node_device:detach"])
}

structure! {
/// What [`NodeDeviceReset`] takes.
NodeDeviceResetArgs<'a> {
/// `name`
name: Text<'a>,
}}

procedure! {
/// [`virNodeDeviceCreateXML`](https://libvirt.org/search.html?q=virNodeDeviceCreateXML), since libvirt 0.6.3.
NodeDeviceCreateXml(NodeDeviceCreateXmlArgs<'a>) -> NodeDeviceCreateXmlRet<'a> = Info::new(Program::Remote, 123, "node_device_create_xml", Release(0, 6, 3)).function("virNodeDeviceCreateXML").acl(&["node_device:write", "node_device:start"])
}

structure! {
/// What [`NodeDeviceCreateXml`] takes.
NodeDeviceCreateXmlArgs<'a> {
/// `xml_desc`
xml_desc: Text<'a>,
/// `flags`
flags: flags::NodeDeviceCreateXmlFlags,
}}

structure! {
/// What [`NodeDeviceCreateXml`] returns.
NodeDeviceCreateXmlRet<'a> {
/// `dev`
dev: NodeDevice<'a>,
}}

procedure! {
/// [`virNodeDeviceDestroy`](https://libvirt.org/search.html?q=virNodeDeviceDestroy), since libvirt 0.6.3.
NodeDeviceDestroy(NodeDeviceDestroyArgs<'a>) -> () = Info::new(Program::Remote, 124, "node_device_destroy", Release(0, 6, 3)).function("virNodeDeviceDestroy").urgent().acl(&["node_device:stop"])
}

structure! {
/// What [`NodeDeviceDestroy`] takes.
NodeDeviceDestroyArgs<'a> {
/// `name`
name: Text<'a>,
}}

procedure! {
/// [`virNodeDeviceLookupSCSIHostByWWN`](https://libvirt.org/search.html?q=virNodeDeviceLookupSCSIHostByWWN), since libvirt 1.0.3.
NodeDeviceLookupScsiHostByWwn(NodeDeviceLookupScsiHostByWwnArgs<'a>) -> NodeDeviceLookupScsiHostByWwnRet<'a> = Info::new(Program::Remote, 297, "node_device_lookup_scsi_host_by_wwn", Release(1, 0, 3)).function("virNodeDeviceLookupSCSIHostByWWN").urgent().acl(&["node_device:getattr"])
}

structure! {
/// What [`NodeDeviceLookupScsiHostByWwn`] takes.
NodeDeviceLookupScsiHostByWwnArgs<'a> {
/// `wwnn`
wwnn: Text<'a>,
/// `wwpn`
wwpn: Text<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeDeviceLookupScsiHostByWwn`] returns.
NodeDeviceLookupScsiHostByWwnRet<'a> {
/// `dev`
dev: NodeDevice<'a>,
}}

procedure! {
/// [`virNodeDeviceDetachFlags`](https://libvirt.org/search.html?q=virNodeDeviceDetachFlags), since libvirt 1.0.5.
NodeDeviceDetachFlags(NodeDeviceDetachFlagsArgs<'a>) -> () = Info::new(Program::Remote, 301, "node_device_detach_flags", Release(1, 0, 5)).function("virNodeDeviceDetachFlags").acl(&["node_device:detach"])
}

structure! {
/// What [`NodeDeviceDetachFlags`] takes.
NodeDeviceDetachFlagsArgs<'a> {
/// `name`
name: Text<'a>,
/// `driverName`
driver_name: Option<Text<'a>>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virNodeDeviceDefineXML`](https://libvirt.org/search.html?q=virNodeDeviceDefineXML), since libvirt 7.3.0.
NodeDeviceDefineXml(NodeDeviceDefineXmlArgs<'a>) -> NodeDeviceDefineXmlRet<'a> = Info::new(Program::Remote, 428, "node_device_define_xml", Release(7, 3, 0)).function("virNodeDeviceDefineXML").acl(&["node_device:write", "node_device:save"])
}

structure! {
/// What [`NodeDeviceDefineXml`] takes.
NodeDeviceDefineXmlArgs<'a> {
/// `xml_desc`
xml_desc: Text<'a>,
/// `flags`
flags: flags::NodeDeviceDefineXmlFlags,
}}

structure! {
/// What [`NodeDeviceDefineXml`] returns.
NodeDeviceDefineXmlRet<'a> {
/// `dev`
dev: NodeDevice<'a>,
}}

procedure! {
/// [`virNodeDeviceUndefine`](https://libvirt.org/search.html?q=virNodeDeviceUndefine), since libvirt 7.3.0.
NodeDeviceUndefine(NodeDeviceUndefineArgs<'a>) -> () = Info::new(Program::Remote, 429, "node_device_undefine", Release(7, 3, 0)).function("virNodeDeviceUndefine").urgent().acl(&["node_device:delete"])
}

structure! {
/// What [`NodeDeviceUndefine`] takes.
NodeDeviceUndefineArgs<'a> {
/// `name`
name: Text<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virNodeDeviceCreate`](https://libvirt.org/search.html?q=virNodeDeviceCreate), since libvirt 7.3.0.
NodeDeviceCreate(NodeDeviceCreateArgs<'a>) -> () = Info::new(Program::Remote, 430, "node_device_create", Release(7, 3, 0)).function("virNodeDeviceCreate").urgent().acl(&["node_device:start"])
}

structure! {
/// What [`NodeDeviceCreate`] takes.
NodeDeviceCreateArgs<'a> {
/// `name`
name: Text<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virNodeDeviceGetAutostart`](https://libvirt.org/search.html?q=virNodeDeviceGetAutostart), since libvirt 7.8.0.
NodeDeviceGetAutostart(NodeDeviceGetAutostartArgs<'a>) -> NodeDeviceGetAutostartRet = Info::new(Program::Remote, 433, "node_device_get_autostart", Release(7, 8, 0)).function("virNodeDeviceGetAutostart").urgent().acl(&["node_device:read"])
}

structure! {
/// What [`NodeDeviceGetAutostart`] takes.
NodeDeviceGetAutostartArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NodeDeviceGetAutostart`] returns.
NodeDeviceGetAutostartRet {
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virNodeDeviceSetAutostart`](https://libvirt.org/search.html?q=virNodeDeviceSetAutostart), since libvirt 7.8.0.
NodeDeviceSetAutostart(NodeDeviceSetAutostartArgs<'a>) -> () = Info::new(Program::Remote, 434, "node_device_set_autostart", Release(7, 8, 0)).function("virNodeDeviceSetAutostart").urgent().acl(&["node_device:write"])
}

structure! {
/// What [`NodeDeviceSetAutostart`] takes.
NodeDeviceSetAutostartArgs<'a> {
/// `name`
name: Text<'a>,
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virNodeDeviceIsPersistent`](https://libvirt.org/search.html?q=virNodeDeviceIsPersistent), since libvirt 7.8.0.
NodeDeviceIsPersistent(NodeDeviceIsPersistentArgs<'a>) -> NodeDeviceIsPersistentRet = Info::new(Program::Remote, 435, "node_device_is_persistent", Release(7, 8, 0)).function("virNodeDeviceIsPersistent").urgent().acl(&["node_device:read"])
}

structure! {
/// What [`NodeDeviceIsPersistent`] takes.
NodeDeviceIsPersistentArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NodeDeviceIsPersistent`] returns.
NodeDeviceIsPersistentRet {
/// `persistent`
persistent: i32,
}}

procedure! {
/// [`virNodeDeviceIsActive`](https://libvirt.org/search.html?q=virNodeDeviceIsActive), since libvirt 7.8.0.
NodeDeviceIsActive(NodeDeviceIsActiveArgs<'a>) -> NodeDeviceIsActiveRet = Info::new(Program::Remote, 436, "node_device_is_active", Release(7, 8, 0)).function("virNodeDeviceIsActive").urgent().acl(&["node_device:read"])
}

structure! {
/// What [`NodeDeviceIsActive`] takes.
NodeDeviceIsActiveArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NodeDeviceIsActive`] returns.
NodeDeviceIsActiveRet {
/// `active`
active: i32,
}}

procedure! {
/// [`virNodeDeviceUpdate`](https://libvirt.org/search.html?q=virNodeDeviceUpdate), since libvirt 10.1.0.
NodeDeviceUpdate(NodeDeviceUpdateArgs<'a>) -> () = Info::new(Program::Remote, 447, "node_device_update", Release(10, 1, 0)).function("virNodeDeviceUpdate").urgent().acl(&["node_device:write", "node_device:save:!VIR_NODE_DEVICE_UPDATE_AFFECT_CONFIG|VIR_NODE_DEVICE_UPDATE_AFFECT_LIVE", "node_device:save:VIR_NODE_DEVICE_UPDATE_AFFECT_CONFIG"])
}

structure! {
/// What [`NodeDeviceUpdate`] takes.
NodeDeviceUpdateArgs<'a> {
/// `name`
name: Text<'a>,
/// `xml_desc`
xml_desc: Text<'a>,
/// `flags`
flags: flags::NodeDeviceUpdateFlags,
}}

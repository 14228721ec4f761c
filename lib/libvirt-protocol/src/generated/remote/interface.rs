// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Network interfaces of the host.

use crate::NoFlags;
use crate::generated::flags;
use crate::generated::types::Interface;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{Text, structure};

procedure! {
/// [`virInterfaceLookupByName`](https://libvirt.org/search.html?q=virInterfaceLookupByName), since libvirt 0.6.4.
InterfaceLookupByName(InterfaceLookupByNameArgs<'a>) -> InterfaceLookupByNameRet<'a> = Info::new(Program::Remote, 128, "interface_lookup_by_name", Release(0, 6, 4)).function("virInterfaceLookupByName").urgent().acl(&["interface:getattr"])
}

structure! {
/// What [`InterfaceLookupByName`] takes.
InterfaceLookupByNameArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`InterfaceLookupByName`] returns.
InterfaceLookupByNameRet<'a> {
/// `iface`
iface: Interface<'a>,
}}

procedure! {
/// [`virInterfaceLookupByMACString`](https://libvirt.org/search.html?q=virInterfaceLookupByMACString), since libvirt 0.6.4.
InterfaceLookupByMacString(InterfaceLookupByMacStringArgs<'a>) -> InterfaceLookupByMacStringRet<'a> = Info::new(Program::Remote, 129, "interface_lookup_by_mac_string", Release(0, 6, 4)).function("virInterfaceLookupByMACString").urgent().acl(&["interface:getattr"])
}

structure! {
/// What [`InterfaceLookupByMacString`] takes.
InterfaceLookupByMacStringArgs<'a> {
/// `mac`
mac: Text<'a>,
}}

structure! {
/// What [`InterfaceLookupByMacString`] returns.
InterfaceLookupByMacStringRet<'a> {
/// `iface`
iface: Interface<'a>,
}}

procedure! {
/// [`virInterfaceGetXMLDesc`](https://libvirt.org/search.html?q=virInterfaceGetXMLDesc), since libvirt 0.6.4.
InterfaceGetXmlDesc(InterfaceGetXmlDescArgs<'a>) -> InterfaceGetXmlDescRet<'a> = Info::new(Program::Remote, 130, "interface_get_xml_desc", Release(0, 6, 4)).function("virInterfaceGetXMLDesc").acl(&["interface:read"])
}

structure! {
/// What [`InterfaceGetXmlDesc`] takes.
InterfaceGetXmlDescArgs<'a> {
/// `iface`
iface: Interface<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`InterfaceGetXmlDesc`] returns.
InterfaceGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virInterfaceDefineXML`](https://libvirt.org/search.html?q=virInterfaceDefineXML), since libvirt 0.6.4.
InterfaceDefineXml(InterfaceDefineXmlArgs<'a>) -> InterfaceDefineXmlRet<'a> = Info::new(Program::Remote, 131, "interface_define_xml", Release(0, 6, 4)).function("virInterfaceDefineXML").urgent().acl(&["interface:write", "interface:save"])
}

structure! {
/// What [`InterfaceDefineXml`] takes.
InterfaceDefineXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::InterfaceDefineFlags,
}}

structure! {
/// What [`InterfaceDefineXml`] returns.
InterfaceDefineXmlRet<'a> {
/// `iface`
iface: Interface<'a>,
}}

procedure! {
/// [`virInterfaceUndefine`](https://libvirt.org/search.html?q=virInterfaceUndefine), since libvirt 0.6.4.
InterfaceUndefine(InterfaceUndefineArgs<'a>) -> () = Info::new(Program::Remote, 132, "interface_undefine", Release(0, 6, 4)).function("virInterfaceUndefine").urgent().acl(&["interface:delete"])
}

structure! {
/// What [`InterfaceUndefine`] takes.
InterfaceUndefineArgs<'a> {
/// `iface`
iface: Interface<'a>,
}}

procedure! {
/// [`virInterfaceCreate`](https://libvirt.org/search.html?q=virInterfaceCreate), since libvirt 0.6.4.
InterfaceCreate(InterfaceCreateArgs<'a>) -> () = Info::new(Program::Remote, 133, "interface_create", Release(0, 6, 4)).function("virInterfaceCreate").acl(&["interface:start"])
}

structure! {
/// What [`InterfaceCreate`] takes.
InterfaceCreateArgs<'a> {
/// `iface`
iface: Interface<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virInterfaceDestroy`](https://libvirt.org/search.html?q=virInterfaceDestroy), since libvirt 0.6.4.
InterfaceDestroy(InterfaceDestroyArgs<'a>) -> () = Info::new(Program::Remote, 134, "interface_destroy", Release(0, 6, 4)).function("virInterfaceDestroy").urgent().acl(&["interface:stop"])
}

structure! {
/// What [`InterfaceDestroy`] takes.
InterfaceDestroyArgs<'a> {
/// `iface`
iface: Interface<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virInterfaceIsActive`](https://libvirt.org/search.html?q=virInterfaceIsActive), since libvirt 0.7.3.
InterfaceIsActive(InterfaceIsActiveArgs<'a>) -> InterfaceIsActiveRet = Info::new(Program::Remote, 156, "interface_is_active", Release(0, 7, 3)).function("virInterfaceIsActive").urgent().acl(&["interface:read"])
}

structure! {
/// What [`InterfaceIsActive`] takes.
InterfaceIsActiveArgs<'a> {
/// `iface`
iface: Interface<'a>,
}}

structure! {
/// What [`InterfaceIsActive`] returns.
InterfaceIsActiveRet {
/// `active`
active: i32,
}}

procedure! {
/// [`virInterfaceChangeBegin`](https://libvirt.org/search.html?q=virInterfaceChangeBegin), since libvirt 0.9.2.
InterfaceChangeBegin(InterfaceChangeBeginArgs) -> () = Info::new(Program::Remote, 220, "interface_change_begin", Release(0, 9, 2)).function("virInterfaceChangeBegin").acl(&["connect:interface_transaction"])
}

structure! {
/// What [`InterfaceChangeBegin`] takes.
InterfaceChangeBeginArgs {
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virInterfaceChangeCommit`](https://libvirt.org/search.html?q=virInterfaceChangeCommit), since libvirt 0.9.2.
InterfaceChangeCommit(InterfaceChangeCommitArgs) -> () = Info::new(Program::Remote, 221, "interface_change_commit", Release(0, 9, 2)).function("virInterfaceChangeCommit").acl(&["connect:interface_transaction"])
}

structure! {
/// What [`InterfaceChangeCommit`] takes.
InterfaceChangeCommitArgs {
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virInterfaceChangeRollback`](https://libvirt.org/search.html?q=virInterfaceChangeRollback), since libvirt 0.9.2.
InterfaceChangeRollback(InterfaceChangeRollbackArgs) -> () = Info::new(Program::Remote, 222, "interface_change_rollback", Release(0, 9, 2)).function("virInterfaceChangeRollback").acl(&["connect:interface_transaction"])
}

structure! {
/// What [`InterfaceChangeRollback`] takes.
InterfaceChangeRollbackArgs {
/// `flags`
flags: NoFlags,
}}

// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Network filters and their bindings.

use crate::NoFlags;
use crate::generated::flags;
use crate::generated::types::{NwFilter, NwFilterBinding};
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{Text, Uuid, structure};

procedure! {
/// [`virNWFilterLookupByName`](https://libvirt.org/search.html?q=virNWFilterLookupByName), since libvirt 0.8.0.
NwFilterLookupByName(NwFilterLookupByNameArgs<'a>) -> NwFilterLookupByNameRet<'a> = Info::new(Program::Remote, 175, "nwfilter_lookup_by_name", Release(0, 8, 0)).function("virNWFilterLookupByName").urgent().acl(&["nwfilter:getattr"])
}

structure! {
/// What [`NwFilterLookupByName`] takes.
NwFilterLookupByNameArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NwFilterLookupByName`] returns.
NwFilterLookupByNameRet<'a> {
/// `nwfilter`
nwfilter: NwFilter<'a>,
}}

procedure! {
/// [`virNWFilterLookupByUUID`](https://libvirt.org/search.html?q=virNWFilterLookupByUUID), since libvirt 0.8.0.
NwFilterLookupByUuid(NwFilterLookupByUuidArgs) -> NwFilterLookupByUuidRet<'a> = Info::new(Program::Remote, 176, "nwfilter_lookup_by_uuid", Release(0, 8, 0)).function("virNWFilterLookupByUUID").urgent().acl(&["nwfilter:getattr"])
}

structure! {
/// What [`NwFilterLookupByUuid`] takes.
NwFilterLookupByUuidArgs {
/// `uuid`
uuid: Uuid,
}}

structure! {
/// What [`NwFilterLookupByUuid`] returns.
NwFilterLookupByUuidRet<'a> {
/// `nwfilter`
nwfilter: NwFilter<'a>,
}}

procedure! {
/// [`virNWFilterGetXMLDesc`](https://libvirt.org/search.html?q=virNWFilterGetXMLDesc), since libvirt 0.8.0.
NwFilterGetXmlDesc(NwFilterGetXmlDescArgs<'a>) -> NwFilterGetXmlDescRet<'a> = Info::new(Program::Remote, 177, "nwfilter_get_xml_desc", Release(0, 8, 0)).function("virNWFilterGetXMLDesc").urgent().acl(&["nwfilter:read"])
}

structure! {
/// What [`NwFilterGetXmlDesc`] takes.
NwFilterGetXmlDescArgs<'a> {
/// `nwfilter`
nwfilter: NwFilter<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NwFilterGetXmlDesc`] returns.
NwFilterGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virNWFilterDefineXML`](https://libvirt.org/search.html?q=virNWFilterDefineXML), since libvirt 0.8.0.
NwFilterDefineXml(NwFilterDefineXmlArgs<'a>) -> NwFilterDefineXmlRet<'a> = Info::new(Program::Remote, 180, "nwfilter_define_xml", Release(0, 8, 0)).function("virNWFilterDefineXML").urgent().acl(&["nwfilter:write", "nwfilter:save"])
}

structure! {
/// What [`NwFilterDefineXml`] takes.
NwFilterDefineXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
}}

structure! {
/// What [`NwFilterDefineXml`] returns.
NwFilterDefineXmlRet<'a> {
/// `nwfilter`
nwfilter: NwFilter<'a>,
}}

procedure! {
/// [`virNWFilterUndefine`](https://libvirt.org/search.html?q=virNWFilterUndefine), since libvirt 0.8.0.
NwFilterUndefine(NwFilterUndefineArgs<'a>) -> () = Info::new(Program::Remote, 181, "nwfilter_undefine", Release(0, 8, 0)).function("virNWFilterUndefine").urgent().acl(&["nwfilter:delete"])
}

structure! {
/// What [`NwFilterUndefine`] takes.
NwFilterUndefineArgs<'a> {
/// `nwfilter`
nwfilter: NwFilter<'a>,
}}

procedure! {
/// [`virNWFilterBindingLookupByPortDev`](https://libvirt.org/search.html?q=virNWFilterBindingLookupByPortDev), since libvirt 4.5.0.
NwFilterBindingLookupByPortDev(NwFilterBindingLookupByPortDevArgs<'a>) -> NwFilterBindingLookupByPortDevRet<'a> = Info::new(Program::Remote, 397, "nwfilter_binding_lookup_by_port_dev", Release(4, 5, 0)).function("virNWFilterBindingLookupByPortDev").urgent().acl(&["nwfilter_binding:getattr"])
}

structure! {
/// What [`NwFilterBindingLookupByPortDev`] takes.
NwFilterBindingLookupByPortDevArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`NwFilterBindingLookupByPortDev`] returns.
NwFilterBindingLookupByPortDevRet<'a> {
/// `nwfilter`
nwfilter: NwFilterBinding<'a>,
}}

procedure! {
/// [`virNWFilterBindingGetXMLDesc`](https://libvirt.org/search.html?q=virNWFilterBindingGetXMLDesc), since libvirt 4.5.0.
NwFilterBindingGetXmlDesc(NwFilterBindingGetXmlDescArgs<'a>) -> NwFilterBindingGetXmlDescRet<'a> = Info::new(Program::Remote, 398, "nwfilter_binding_get_xml_desc", Release(4, 5, 0)).function("virNWFilterBindingGetXMLDesc").urgent().acl(&["nwfilter_binding:read"])
}

structure! {
/// What [`NwFilterBindingGetXmlDesc`] takes.
NwFilterBindingGetXmlDescArgs<'a> {
/// `nwfilter`
nwfilter: NwFilterBinding<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NwFilterBindingGetXmlDesc`] returns.
NwFilterBindingGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virNWFilterBindingCreateXML`](https://libvirt.org/search.html?q=virNWFilterBindingCreateXML), since libvirt 4.5.0.
NwFilterBindingCreateXml(NwFilterBindingCreateXmlArgs<'a>) -> NwFilterBindingCreateXmlRet<'a> = Info::new(Program::Remote, 399, "nwfilter_binding_create_xml", Release(4, 5, 0)).function("virNWFilterBindingCreateXML").urgent().acl(&["nwfilter_binding:create"])
}

structure! {
/// What [`NwFilterBindingCreateXml`] takes.
NwFilterBindingCreateXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::NwFilterBindingCreateFlags,
}}

structure! {
/// What [`NwFilterBindingCreateXml`] returns.
NwFilterBindingCreateXmlRet<'a> {
/// `nwfilter`
nwfilter: NwFilterBinding<'a>,
}}

procedure! {
/// [`virNWFilterBindingDelete`](https://libvirt.org/search.html?q=virNWFilterBindingDelete), since libvirt 4.5.0.
NwFilterBindingDelete(NwFilterBindingDeleteArgs<'a>) -> () = Info::new(Program::Remote, 400, "nwfilter_binding_delete", Release(4, 5, 0)).function("virNWFilterBindingDelete").urgent().acl(&["nwfilter_binding:delete"])
}

structure! {
/// What [`NwFilterBindingDelete`] takes.
NwFilterBindingDeleteArgs<'a> {
/// `nwfilter`
nwfilter: NwFilterBinding<'a>,
}}

procedure! {
/// [`virNWFilterDefineXMLFlags`](https://libvirt.org/search.html?q=virNWFilterDefineXMLFlags), since libvirt 7.7.0.
NwFilterDefineXmlFlags(NwFilterDefineXmlFlagsArgs<'a>) -> NwFilterDefineXmlFlagsRet<'a> = Info::new(Program::Remote, 431, "nwfilter_define_xml_flags", Release(7, 7, 0)).function("virNWFilterDefineXMLFlags").urgent().acl(&["nwfilter:write", "nwfilter:save"])
}

structure! {
/// What [`NwFilterDefineXmlFlags`] takes.
NwFilterDefineXmlFlagsArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::NwFilterDefineFlags,
}}

structure! {
/// What [`NwFilterDefineXmlFlags`] returns.
NwFilterDefineXmlFlagsRet<'a> {
/// `nwfilter`
nwfilter: NwFilter<'a>,
}}

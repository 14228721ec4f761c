// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Checkpoints of domains.

use crate::NoFlags;
use crate::generated::flags;
use crate::generated::types::{Domain, DomainCheckpoint};
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, structure};

procedure! {
/// [`virDomainCheckpointCreateXML`](https://libvirt.org/search.html?q=virDomainCheckpointCreateXML), since libvirt 5.6.0.
DomainCheckpointCreateXml(DomainCheckpointCreateXmlArgs<'a>) -> DomainCheckpointCreateXmlRet<'a> = Info::new(Program::Remote, 411, "domain_checkpoint_create_xml", Release(5, 6, 0)).function("virDomainCheckpointCreateXML").acl(&["domain:checkpoint", "domain:fs_freeze:VIR_DOMAIN_CHECKPOINT_CREATE_QUIESCE"])
}

structure! {
/// What [`DomainCheckpointCreateXml`] takes.
DomainCheckpointCreateXmlArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `xml_desc`
xml_desc: Text<'a>,
/// `flags`
flags: flags::DomainCheckpointCreateFlags,
}}

structure! {
/// What [`DomainCheckpointCreateXml`] returns.
DomainCheckpointCreateXmlRet<'a> {
/// `checkpoint`
checkpoint: DomainCheckpoint<'a>,
}}

procedure! {
/// [`virDomainCheckpointGetXMLDesc`](https://libvirt.org/search.html?q=virDomainCheckpointGetXMLDesc), since libvirt 5.6.0.
DomainCheckpointGetXmlDesc(DomainCheckpointGetXmlDescArgs<'a>) -> DomainCheckpointGetXmlDescRet<'a> = Info::new(Program::Remote, 412, "domain_checkpoint_get_xml_desc", Release(5, 6, 0)).function("virDomainCheckpointGetXMLDesc").acl(&["domain:read", "domain:read_secure:VIR_DOMAIN_CHECKPOINT_XML_SECURE"])
}

structure! {
/// What [`DomainCheckpointGetXmlDesc`] takes.
DomainCheckpointGetXmlDescArgs<'a> {
/// `checkpoint`
checkpoint: DomainCheckpoint<'a>,
/// `flags`
flags: flags::DomainCheckpointXmlFlags,
}}

structure! {
/// What [`DomainCheckpointGetXmlDesc`] returns.
DomainCheckpointGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virDomainCheckpointListAllChildren`](https://libvirt.org/search.html?q=virDomainCheckpointListAllChildren), since libvirt 5.6.0.
DomainCheckpointListAllChildren(DomainCheckpointListAllChildrenArgs<'a>) -> DomainCheckpointListAllChildrenRet<'a> = Info::new(Program::Remote, 414, "domain_checkpoint_list_all_children", Release(5, 6, 0)).function("virDomainCheckpointListAllChildren").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainCheckpointListAllChildren`] takes.
DomainCheckpointListAllChildrenArgs<'a> {
/// `checkpoint`
checkpoint: DomainCheckpoint<'a>,
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::DomainCheckpointListFlags,
}}

structure! {
/// What [`DomainCheckpointListAllChildren`] returns.
DomainCheckpointListAllChildrenRet<'a> {
/// `checkpoints`
checkpoints: List<'a, DomainCheckpoint<'a>, 16384>,
/// `ret`
ret: i32,
}}

procedure! {
/// [`virDomainCheckpointLookupByName`](https://libvirt.org/search.html?q=virDomainCheckpointLookupByName), since libvirt 5.6.0.
DomainCheckpointLookupByName(DomainCheckpointLookupByNameArgs<'a>) -> DomainCheckpointLookupByNameRet<'a> = Info::new(Program::Remote, 415, "domain_checkpoint_lookup_by_name", Release(5, 6, 0)).function("virDomainCheckpointLookupByName").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainCheckpointLookupByName`] takes.
DomainCheckpointLookupByNameArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `name`
name: Text<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainCheckpointLookupByName`] returns.
DomainCheckpointLookupByNameRet<'a> {
/// `checkpoint`
checkpoint: DomainCheckpoint<'a>,
}}

procedure! {
/// [`virDomainCheckpointGetParent`](https://libvirt.org/search.html?q=virDomainCheckpointGetParent), since libvirt 5.6.0.
DomainCheckpointGetParent(DomainCheckpointGetParentArgs<'a>) -> DomainCheckpointGetParentRet<'a> = Info::new(Program::Remote, 416, "domain_checkpoint_get_parent", Release(5, 6, 0)).function("virDomainCheckpointGetParent").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainCheckpointGetParent`] takes.
DomainCheckpointGetParentArgs<'a> {
/// `checkpoint`
checkpoint: DomainCheckpoint<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainCheckpointGetParent`] returns.
DomainCheckpointGetParentRet<'a> {
/// `parent`
parent: DomainCheckpoint<'a>,
}}

procedure! {
/// [`virDomainCheckpointDelete`](https://libvirt.org/search.html?q=virDomainCheckpointDelete), since libvirt 5.6.0.
DomainCheckpointDelete(DomainCheckpointDeleteArgs<'a>) -> () = Info::new(Program::Remote, 417, "domain_checkpoint_delete", Release(5, 6, 0)).function("virDomainCheckpointDelete").acl(&["domain:checkpoint"])
}

structure! {
/// What [`DomainCheckpointDelete`] takes.
DomainCheckpointDeleteArgs<'a> {
/// `checkpoint`
checkpoint: DomainCheckpoint<'a>,
/// `flags`
flags: flags::DomainCheckpointDeleteFlags,
}}

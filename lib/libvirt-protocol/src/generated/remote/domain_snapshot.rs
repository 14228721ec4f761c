// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Snapshots of domains.

use crate::NoFlags;
use crate::generated::flags;
use crate::generated::types::{Domain, DomainSnapshot};
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, structure};

procedure! {
/// [`virDomainSnapshotCreateXML`](https://libvirt.org/search.html?q=virDomainSnapshotCreateXML), since libvirt 0.8.0.
DomainSnapshotCreateXml(DomainSnapshotCreateXmlArgs<'a>) -> DomainSnapshotCreateXmlRet<'a> = Info::new(Program::Remote, 185, "domain_snapshot_create_xml", Release(0, 8, 0)).function("virDomainSnapshotCreateXML").acl(&["domain:snapshot", "domain:fs_freeze:VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE"])
}

structure! {
/// What [`DomainSnapshotCreateXml`] takes.
DomainSnapshotCreateXmlArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `xml_desc`
xml_desc: Text<'a>,
/// `flags`
flags: flags::DomainSnapshotCreateFlags,
}}

structure! {
/// What [`DomainSnapshotCreateXml`] returns.
DomainSnapshotCreateXmlRet<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
}}

procedure! {
/// [`virDomainSnapshotGetXMLDesc`](https://libvirt.org/search.html?q=virDomainSnapshotGetXMLDesc), since libvirt 0.8.0.
DomainSnapshotGetXmlDesc(DomainSnapshotGetXmlDescArgs<'a>) -> DomainSnapshotGetXmlDescRet<'a> = Info::new(Program::Remote, 186, "domain_snapshot_get_xml_desc", Release(0, 8, 0)).function("virDomainSnapshotGetXMLDesc").urgent().acl(&["domain:read", "domain:read_secure:VIR_DOMAIN_SNAPSHOT_XML_SECURE"])
}

structure! {
/// What [`DomainSnapshotGetXmlDesc`] takes.
DomainSnapshotGetXmlDescArgs<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
/// `flags`
flags: flags::DomainSnapshotXmlFlags,
}}

structure! {
/// What [`DomainSnapshotGetXmlDesc`] returns.
DomainSnapshotGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virDomainSnapshotNum`](https://libvirt.org/search.html?q=virDomainSnapshotNum), since libvirt 0.8.0.
DomainSnapshotNum(DomainSnapshotNumArgs<'a>) -> DomainSnapshotNumRet = Info::new(Program::Remote, 187, "domain_snapshot_num", Release(0, 8, 0)).function("virDomainSnapshotNum").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotNum`] takes.
DomainSnapshotNumArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainSnapshotListFlags,
}}

structure! {
/// What [`DomainSnapshotNum`] returns.
DomainSnapshotNumRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virDomainSnapshotListNames`](https://libvirt.org/search.html?q=virDomainSnapshotListNames), since libvirt 0.8.0.
DomainSnapshotListNames(DomainSnapshotListNamesArgs<'a>) -> DomainSnapshotListNamesRet<'a> = Info::new(Program::Remote, 188, "domain_snapshot_list_names", Release(0, 8, 0)).function("virDomainSnapshotListNames").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotListNames`] takes.
DomainSnapshotListNamesArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `maxnames`
maxnames: i32,
/// `flags`
flags: flags::DomainSnapshotListFlags,
}}

structure! {
/// What [`DomainSnapshotListNames`] returns.
DomainSnapshotListNamesRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virDomainSnapshotLookupByName`](https://libvirt.org/search.html?q=virDomainSnapshotLookupByName), since libvirt 0.8.0.
DomainSnapshotLookupByName(DomainSnapshotLookupByNameArgs<'a>) -> DomainSnapshotLookupByNameRet<'a> = Info::new(Program::Remote, 189, "domain_snapshot_lookup_by_name", Release(0, 8, 0)).function("virDomainSnapshotLookupByName").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotLookupByName`] takes.
DomainSnapshotLookupByNameArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `name`
name: Text<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainSnapshotLookupByName`] returns.
DomainSnapshotLookupByNameRet<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
}}

procedure! {
/// [`virDomainSnapshotCurrent`](https://libvirt.org/search.html?q=virDomainSnapshotCurrent), since libvirt 0.8.0.
DomainSnapshotCurrent(DomainSnapshotCurrentArgs<'a>) -> DomainSnapshotCurrentRet<'a> = Info::new(Program::Remote, 191, "domain_snapshot_current", Release(0, 8, 0)).function("virDomainSnapshotCurrent").acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotCurrent`] takes.
DomainSnapshotCurrentArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainSnapshotCurrent`] returns.
DomainSnapshotCurrentRet<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
}}

procedure! {
/// [`virDomainSnapshotDelete`](https://libvirt.org/search.html?q=virDomainSnapshotDelete), since libvirt 0.8.0.
DomainSnapshotDelete(DomainSnapshotDeleteArgs<'a>) -> () = Info::new(Program::Remote, 193, "domain_snapshot_delete", Release(0, 8, 0)).function("virDomainSnapshotDelete").acl(&["domain:snapshot"])
}

structure! {
/// What [`DomainSnapshotDelete`] takes.
DomainSnapshotDeleteArgs<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
/// `flags`
flags: flags::DomainSnapshotDeleteFlags,
}}

procedure! {
/// [`virDomainSnapshotGetParent`](https://libvirt.org/search.html?q=virDomainSnapshotGetParent), since libvirt 0.9.7.
DomainSnapshotGetParent(DomainSnapshotGetParentArgs<'a>) -> DomainSnapshotGetParentRet<'a> = Info::new(Program::Remote, 244, "domain_snapshot_get_parent", Release(0, 9, 7)).function("virDomainSnapshotGetParent").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotGetParent`] takes.
DomainSnapshotGetParentArgs<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainSnapshotGetParent`] returns.
DomainSnapshotGetParentRet<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
}}

procedure! {
/// [`virDomainSnapshotNumChildren`](https://libvirt.org/search.html?q=virDomainSnapshotNumChildren), since libvirt 0.9.7.
DomainSnapshotNumChildren(DomainSnapshotNumChildrenArgs<'a>) -> DomainSnapshotNumChildrenRet = Info::new(Program::Remote, 246, "domain_snapshot_num_children", Release(0, 9, 7)).function("virDomainSnapshotNumChildren").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotNumChildren`] takes.
DomainSnapshotNumChildrenArgs<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
/// `flags`
flags: flags::DomainSnapshotListFlags,
}}

structure! {
/// What [`DomainSnapshotNumChildren`] returns.
DomainSnapshotNumChildrenRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virDomainSnapshotListChildrenNames`](https://libvirt.org/search.html?q=virDomainSnapshotListChildrenNames), since libvirt 0.9.7.
DomainSnapshotListChildrenNames(DomainSnapshotListChildrenNamesArgs<'a>) -> DomainSnapshotListChildrenNamesRet<'a> = Info::new(Program::Remote, 247, "domain_snapshot_list_children_names", Release(0, 9, 7)).function("virDomainSnapshotListChildrenNames").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotListChildrenNames`] takes.
DomainSnapshotListChildrenNamesArgs<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
/// `maxnames`
maxnames: i32,
/// `flags`
flags: flags::DomainSnapshotListFlags,
}}

structure! {
/// What [`DomainSnapshotListChildrenNames`] returns.
DomainSnapshotListChildrenNamesRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virDomainSnapshotIsCurrent`](https://libvirt.org/search.html?q=virDomainSnapshotIsCurrent), since libvirt 0.9.13.
DomainSnapshotIsCurrent(DomainSnapshotIsCurrentArgs<'a>) -> DomainSnapshotIsCurrentRet = Info::new(Program::Remote, 271, "domain_snapshot_is_current", Release(0, 9, 13)).function("virDomainSnapshotIsCurrent").acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotIsCurrent`] takes.
DomainSnapshotIsCurrentArgs<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainSnapshotIsCurrent`] returns.
DomainSnapshotIsCurrentRet {
/// `current`
current: i32,
}}

procedure! {
/// [`virDomainSnapshotHasMetadata`](https://libvirt.org/search.html?q=virDomainSnapshotHasMetadata), since libvirt 0.9.13.
DomainSnapshotHasMetadata(DomainSnapshotHasMetadataArgs<'a>) -> DomainSnapshotHasMetadataRet = Info::new(Program::Remote, 272, "domain_snapshot_has_metadata", Release(0, 9, 13)).function("virDomainSnapshotHasMetadata").acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotHasMetadata`] takes.
DomainSnapshotHasMetadataArgs<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainSnapshotHasMetadata`] returns.
DomainSnapshotHasMetadataRet {
/// `metadata`
metadata: i32,
}}

procedure! {
/// [`virDomainSnapshotListAllChildren`](https://libvirt.org/search.html?q=virDomainSnapshotListAllChildren), since libvirt 0.9.13.
DomainSnapshotListAllChildren(DomainSnapshotListAllChildrenArgs<'a>) -> DomainSnapshotListAllChildrenRet<'a> = Info::new(Program::Remote, 275, "domain_snapshot_list_all_children", Release(0, 9, 13)).function("virDomainSnapshotListAllChildren").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainSnapshotListAllChildren`] takes.
DomainSnapshotListAllChildrenArgs<'a> {
/// `snapshot`
snapshot: DomainSnapshot<'a>,
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::DomainSnapshotListFlags,
}}

structure! {
/// What [`DomainSnapshotListAllChildren`] returns.
DomainSnapshotListAllChildrenRet<'a> {
/// `snapshots`
snapshots: List<'a, DomainSnapshot<'a>, 16384>,
/// `ret`
ret: i32,
}}

// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Storage volumes.

use crate::NoFlags;
use crate::generated::types::{StoragePool, StorageVol};
use crate::generated::{enums, flags};
use crate::procedure::{Direction, Info, Program, Release, procedure};
use crate::xdr::{Text, structure};

procedure! {
/// [`virStorageVolCreateXML`](https://libvirt.org/search.html?q=virStorageVolCreateXML), since libvirt 0.4.1.
StorageVolCreateXml(StorageVolCreateXmlArgs<'a>) -> StorageVolCreateXmlRet<'a> = Info::new(Program::Remote, 93, "storage_vol_create_xml", Release(0, 4, 1)).function("virStorageVolCreateXML").acl(&["storage_vol:create"])
}

structure! {
/// What [`StorageVolCreateXml`] takes.
StorageVolCreateXmlArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::StorageVolCreateFlags,
}}

structure! {
/// What [`StorageVolCreateXml`] returns.
StorageVolCreateXmlRet<'a> {
/// `vol`
vol: StorageVol<'a>,
}}

procedure! {
/// [`virStorageVolDelete`](https://libvirt.org/search.html?q=virStorageVolDelete), since libvirt 0.4.1.
StorageVolDelete(StorageVolDeleteArgs<'a>) -> () = Info::new(Program::Remote, 94, "storage_vol_delete", Release(0, 4, 1)).function("virStorageVolDelete").acl(&["storage_vol:delete"])
}

structure! {
/// What [`StorageVolDelete`] takes.
StorageVolDeleteArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
/// `flags`
flags: flags::StorageVolDeleteFlags,
}}

procedure! {
/// [`virStorageVolLookupByName`](https://libvirt.org/search.html?q=virStorageVolLookupByName), since libvirt 0.4.1.
StorageVolLookupByName(StorageVolLookupByNameArgs<'a>) -> StorageVolLookupByNameRet<'a> = Info::new(Program::Remote, 95, "storage_vol_lookup_by_name", Release(0, 4, 1)).function("virStorageVolLookupByName").urgent().acl(&["storage_vol:getattr"])
}

structure! {
/// What [`StorageVolLookupByName`] takes.
StorageVolLookupByNameArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`StorageVolLookupByName`] returns.
StorageVolLookupByNameRet<'a> {
/// `vol`
vol: StorageVol<'a>,
}}

procedure! {
/// [`virStorageVolLookupByKey`](https://libvirt.org/search.html?q=virStorageVolLookupByKey), since libvirt 0.4.1.
StorageVolLookupByKey(StorageVolLookupByKeyArgs<'a>) -> StorageVolLookupByKeyRet<'a> = Info::new(Program::Remote, 96, "storage_vol_lookup_by_key", Release(0, 4, 1)).function("virStorageVolLookupByKey").urgent().acl(&["storage_vol:getattr"])
}

structure! {
/// What [`StorageVolLookupByKey`] takes.
StorageVolLookupByKeyArgs<'a> {
/// `key`
key: Text<'a>,
}}

structure! {
/// What [`StorageVolLookupByKey`] returns.
StorageVolLookupByKeyRet<'a> {
/// `vol`
vol: StorageVol<'a>,
}}

procedure! {
/// [`virStorageVolLookupByPath`](https://libvirt.org/search.html?q=virStorageVolLookupByPath), since libvirt 0.4.1.
StorageVolLookupByPath(StorageVolLookupByPathArgs<'a>) -> StorageVolLookupByPathRet<'a> = Info::new(Program::Remote, 97, "storage_vol_lookup_by_path", Release(0, 4, 1)).function("virStorageVolLookupByPath").urgent().acl(&["storage_vol:getattr"])
}

structure! {
/// What [`StorageVolLookupByPath`] takes.
StorageVolLookupByPathArgs<'a> {
/// `path`
path: Text<'a>,
}}

structure! {
/// What [`StorageVolLookupByPath`] returns.
StorageVolLookupByPathRet<'a> {
/// `vol`
vol: StorageVol<'a>,
}}

procedure! {
/// [`virStorageVolGetInfo`](https://libvirt.org/search.html?q=virStorageVolGetInfo), since libvirt 0.4.1.
StorageVolGetInfo(StorageVolGetInfoArgs<'a>) -> StorageVolGetInfoRet = Info::new(Program::Remote, 98, "storage_vol_get_info", Release(0, 4, 1)).function("virStorageVolGetInfo").urgent().acl(&["storage_vol:read"])
}

structure! {
/// What [`StorageVolGetInfo`] takes.
StorageVolGetInfoArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
}}

structure! {
/// What [`StorageVolGetInfo`] returns.
StorageVolGetInfoRet {
/// `type`
kind: u8,
/// `capacity`
capacity: u64,
/// `allocation`
allocation: u64,
}}

procedure! {
/// [`virStorageVolGetXMLDesc`](https://libvirt.org/search.html?q=virStorageVolGetXMLDesc), since libvirt 0.4.1.
StorageVolGetXmlDesc(StorageVolGetXmlDescArgs<'a>) -> StorageVolGetXmlDescRet<'a> = Info::new(Program::Remote, 99, "storage_vol_get_xml_desc", Release(0, 4, 1)).function("virStorageVolGetXMLDesc").urgent().acl(&["storage_vol:read"])
}

structure! {
/// What [`StorageVolGetXmlDesc`] takes.
StorageVolGetXmlDescArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`StorageVolGetXmlDesc`] returns.
StorageVolGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virStorageVolGetPath`](https://libvirt.org/search.html?q=virStorageVolGetPath), since libvirt 0.4.1.
StorageVolGetPath(StorageVolGetPathArgs<'a>) -> StorageVolGetPathRet<'a> = Info::new(Program::Remote, 100, "storage_vol_get_path", Release(0, 4, 1)).function("virStorageVolGetPath").urgent().acl(&["storage_vol:read"])
}

structure! {
/// What [`StorageVolGetPath`] takes.
StorageVolGetPathArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
}}

structure! {
/// What [`StorageVolGetPath`] returns.
StorageVolGetPathRet<'a> {
/// `name`
name: Text<'a>,
}}

procedure! {
/// [`virStorageVolCreateXMLFrom`](https://libvirt.org/search.html?q=virStorageVolCreateXMLFrom), since libvirt 0.6.4.
StorageVolCreateXmlFrom(StorageVolCreateXmlFromArgs<'a>) -> StorageVolCreateXmlFromRet<'a> = Info::new(Program::Remote, 125, "storage_vol_create_xml_from", Release(0, 6, 4)).function("virStorageVolCreateXMLFrom").acl(&["storage_vol:create"])
}

structure! {
/// What [`StorageVolCreateXmlFrom`] takes.
StorageVolCreateXmlFromArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `xml`
xml: Text<'a>,
/// `clonevol`
clonevol: StorageVol<'a>,
/// `flags`
flags: flags::StorageVolCreateFlags,
}}

structure! {
/// What [`StorageVolCreateXmlFrom`] returns.
StorageVolCreateXmlFromRet<'a> {
/// `vol`
vol: StorageVol<'a>,
}}

procedure! {
/// [`virStorageVolWipe`](https://libvirt.org/search.html?q=virStorageVolWipe), since libvirt 0.8.0.
StorageVolWipe(StorageVolWipeArgs<'a>) -> () = Info::new(Program::Remote, 165, "storage_vol_wipe", Release(0, 8, 0)).function("virStorageVolWipe").acl(&["storage_vol:format"])
}

structure! {
/// What [`StorageVolWipe`] takes.
StorageVolWipeArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virStorageVolUpload`](https://libvirt.org/search.html?q=virStorageVolUpload), since libvirt 0.9.0.
StorageVolUpload(StorageVolUploadArgs<'a>) -> () = Info::new(Program::Remote, 208, "storage_vol_upload", Release(0, 9, 0)).function("virStorageVolUpload").stream(Direction::Write).sparse(1).acl(&["storage_vol:data_write"])
}

structure! {
/// What [`StorageVolUpload`] takes.
StorageVolUploadArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
/// `offset`
offset: u64,
/// `length`
length: u64,
/// `flags`
flags: flags::StorageVolUploadFlags,
}}

procedure! {
/// [`virStorageVolDownload`](https://libvirt.org/search.html?q=virStorageVolDownload), since libvirt 0.9.0.
StorageVolDownload(StorageVolDownloadArgs<'a>) -> () = Info::new(Program::Remote, 209, "storage_vol_download", Release(0, 9, 0)).function("virStorageVolDownload").stream(Direction::Read).sparse(1).acl(&["storage_vol:data_read"])
}

structure! {
/// What [`StorageVolDownload`] takes.
StorageVolDownloadArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
/// `offset`
offset: u64,
/// `length`
length: u64,
/// `flags`
flags: flags::StorageVolDownloadFlags,
}}

procedure! {
/// [`virStorageVolWipePattern`](https://libvirt.org/search.html?q=virStorageVolWipePattern), since libvirt 0.9.10.
StorageVolWipePattern(StorageVolWipePatternArgs<'a>) -> () = Info::new(Program::Remote, 259, "storage_vol_wipe_pattern", Release(0, 9, 10)).function("virStorageVolWipePattern").acl(&["storage_vol:format"])
}

structure! {
/// What [`StorageVolWipePattern`] takes.
StorageVolWipePatternArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
/// `algorithm`
algorithm: enums::StorageVolWipeAlgorithm,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virStorageVolResize`](https://libvirt.org/search.html?q=virStorageVolResize), since libvirt 0.9.10.
StorageVolResize(StorageVolResizeArgs<'a>) -> () = Info::new(Program::Remote, 260, "storage_vol_resize", Release(0, 9, 10)).function("virStorageVolResize").acl(&["storage_vol:resize"])
}

structure! {
/// What [`StorageVolResize`] takes.
StorageVolResizeArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
/// `capacity`
capacity: u64,
/// `flags`
flags: flags::StorageVolResizeFlags,
}}

procedure! {
/// [`virStorageVolGetInfoFlags`](https://libvirt.org/search.html?q=virStorageVolGetInfoFlags), since libvirt 3.0.0.
StorageVolGetInfoFlags(StorageVolGetInfoFlagsArgs<'a>) -> StorageVolGetInfoFlagsRet = Info::new(Program::Remote, 378, "storage_vol_get_info_flags", Release(3, 0, 0)).function("virStorageVolGetInfoFlags").urgent().acl(&["storage_vol:read"])
}

structure! {
/// What [`StorageVolGetInfoFlags`] takes.
StorageVolGetInfoFlagsArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
/// `flags`
flags: flags::StorageVolInfoFlags,
}}

structure! {
/// What [`StorageVolGetInfoFlags`] returns.
StorageVolGetInfoFlagsRet {
/// `type`
kind: u8,
/// `capacity`
capacity: u64,
/// `allocation`
allocation: u64,
}}

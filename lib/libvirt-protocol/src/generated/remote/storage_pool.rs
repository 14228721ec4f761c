// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Storage pools.

use crate::NoFlags;
use crate::generated::flags;
use crate::generated::types::{StoragePool, StorageVol};
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, Uuid, structure};

procedure! {
/// [`virStoragePoolCreateXML`](https://libvirt.org/search.html?q=virStoragePoolCreateXML), since libvirt 0.4.1.
StoragePoolCreateXml(StoragePoolCreateXmlArgs<'a>) -> StoragePoolCreateXmlRet<'a> = Info::new(Program::Remote, 76, "storage_pool_create_xml", Release(0, 4, 1)).function("virStoragePoolCreateXML").acl(&["storage_pool:start", "storage_pool:write"])
}

structure! {
/// What [`StoragePoolCreateXml`] takes.
StoragePoolCreateXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::StoragePoolCreateFlags,
}}

structure! {
/// What [`StoragePoolCreateXml`] returns.
StoragePoolCreateXmlRet<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

procedure! {
/// [`virStoragePoolDefineXML`](https://libvirt.org/search.html?q=virStoragePoolDefineXML), since libvirt 0.4.1.
StoragePoolDefineXml(StoragePoolDefineXmlArgs<'a>) -> StoragePoolDefineXmlRet<'a> = Info::new(Program::Remote, 77, "storage_pool_define_xml", Release(0, 4, 1)).function("virStoragePoolDefineXML").urgent().acl(&["storage_pool:write", "storage_pool:save"])
}

structure! {
/// What [`StoragePoolDefineXml`] takes.
StoragePoolDefineXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::StoragePoolDefineFlags,
}}

structure! {
/// What [`StoragePoolDefineXml`] returns.
StoragePoolDefineXmlRet<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

procedure! {
/// [`virStoragePoolCreate`](https://libvirt.org/search.html?q=virStoragePoolCreate), since libvirt 0.4.1.
StoragePoolCreate(StoragePoolCreateArgs<'a>) -> () = Info::new(Program::Remote, 78, "storage_pool_create", Release(0, 4, 1)).function("virStoragePoolCreate").acl(&["storage_pool:start"])
}

structure! {
/// What [`StoragePoolCreate`] takes.
StoragePoolCreateArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `flags`
flags: flags::StoragePoolCreateFlags,
}}

procedure! {
/// [`virStoragePoolBuild`](https://libvirt.org/search.html?q=virStoragePoolBuild), since libvirt 0.4.1.
StoragePoolBuild(StoragePoolBuildArgs<'a>) -> () = Info::new(Program::Remote, 79, "storage_pool_build", Release(0, 4, 1)).function("virStoragePoolBuild").acl(&["storage_pool:format"])
}

structure! {
/// What [`StoragePoolBuild`] takes.
StoragePoolBuildArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `flags`
flags: flags::StoragePoolBuildFlags,
}}

procedure! {
/// [`virStoragePoolDestroy`](https://libvirt.org/search.html?q=virStoragePoolDestroy), since libvirt 0.4.1.
StoragePoolDestroy(StoragePoolDestroyArgs<'a>) -> () = Info::new(Program::Remote, 80, "storage_pool_destroy", Release(0, 4, 1)).function("virStoragePoolDestroy").urgent().acl(&["storage_pool:stop"])
}

structure! {
/// What [`StoragePoolDestroy`] takes.
StoragePoolDestroyArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

procedure! {
/// [`virStoragePoolDelete`](https://libvirt.org/search.html?q=virStoragePoolDelete), since libvirt 0.4.1.
StoragePoolDelete(StoragePoolDeleteArgs<'a>) -> () = Info::new(Program::Remote, 81, "storage_pool_delete", Release(0, 4, 1)).function("virStoragePoolDelete").acl(&["storage_pool:format"])
}

structure! {
/// What [`StoragePoolDelete`] takes.
StoragePoolDeleteArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `flags`
flags: flags::StoragePoolDeleteFlags,
}}

procedure! {
/// [`virStoragePoolUndefine`](https://libvirt.org/search.html?q=virStoragePoolUndefine), since libvirt 0.4.1.
StoragePoolUndefine(StoragePoolUndefineArgs<'a>) -> () = Info::new(Program::Remote, 82, "storage_pool_undefine", Release(0, 4, 1)).function("virStoragePoolUndefine").urgent().acl(&["storage_pool:delete"])
}

structure! {
/// What [`StoragePoolUndefine`] takes.
StoragePoolUndefineArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

procedure! {
/// [`virStoragePoolRefresh`](https://libvirt.org/search.html?q=virStoragePoolRefresh), since libvirt 0.4.1.
StoragePoolRefresh(StoragePoolRefreshArgs<'a>) -> () = Info::new(Program::Remote, 83, "storage_pool_refresh", Release(0, 4, 1)).function("virStoragePoolRefresh").acl(&["storage_pool:refresh"])
}

structure! {
/// What [`StoragePoolRefresh`] takes.
StoragePoolRefreshArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virStoragePoolLookupByName`](https://libvirt.org/search.html?q=virStoragePoolLookupByName), since libvirt 0.4.1.
StoragePoolLookupByName(StoragePoolLookupByNameArgs<'a>) -> StoragePoolLookupByNameRet<'a> = Info::new(Program::Remote, 84, "storage_pool_lookup_by_name", Release(0, 4, 1)).function("virStoragePoolLookupByName").urgent().acl(&["storage_pool:getattr"])
}

structure! {
/// What [`StoragePoolLookupByName`] takes.
StoragePoolLookupByNameArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`StoragePoolLookupByName`] returns.
StoragePoolLookupByNameRet<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

procedure! {
/// [`virStoragePoolLookupByUUID`](https://libvirt.org/search.html?q=virStoragePoolLookupByUUID), since libvirt 0.4.1.
StoragePoolLookupByUuid(StoragePoolLookupByUuidArgs) -> StoragePoolLookupByUuidRet<'a> = Info::new(Program::Remote, 85, "storage_pool_lookup_by_uuid", Release(0, 4, 1)).function("virStoragePoolLookupByUUID").urgent().acl(&["storage_pool:getattr"])
}

structure! {
/// What [`StoragePoolLookupByUuid`] takes.
StoragePoolLookupByUuidArgs {
/// `uuid`
uuid: Uuid,
}}

structure! {
/// What [`StoragePoolLookupByUuid`] returns.
StoragePoolLookupByUuidRet<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

procedure! {
/// [`virStoragePoolLookupByVolume`](https://libvirt.org/search.html?q=virStoragePoolLookupByVolume), since libvirt 0.4.1.
StoragePoolLookupByVolume(StoragePoolLookupByVolumeArgs<'a>) -> StoragePoolLookupByVolumeRet<'a> = Info::new(Program::Remote, 86, "storage_pool_lookup_by_volume", Release(0, 4, 1)).function("virStoragePoolLookupByVolume").urgent().acl(&["storage_pool:getattr"])
}

structure! {
/// What [`StoragePoolLookupByVolume`] takes.
StoragePoolLookupByVolumeArgs<'a> {
/// `vol`
vol: StorageVol<'a>,
}}

structure! {
/// What [`StoragePoolLookupByVolume`] returns.
StoragePoolLookupByVolumeRet<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

procedure! {
/// [`virStoragePoolGetInfo`](https://libvirt.org/search.html?q=virStoragePoolGetInfo), since libvirt 0.4.1.
StoragePoolGetInfo(StoragePoolGetInfoArgs<'a>) -> StoragePoolGetInfoRet = Info::new(Program::Remote, 87, "storage_pool_get_info", Release(0, 4, 1)).function("virStoragePoolGetInfo").urgent().acl(&["storage_pool:read"])
}

structure! {
/// What [`StoragePoolGetInfo`] takes.
StoragePoolGetInfoArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

structure! {
/// What [`StoragePoolGetInfo`] returns.
StoragePoolGetInfoRet {
/// `state`
state: u8,
/// `capacity`
capacity: u64,
/// `allocation`
allocation: u64,
/// `available`
available: u64,
}}

procedure! {
/// [`virStoragePoolGetXMLDesc`](https://libvirt.org/search.html?q=virStoragePoolGetXMLDesc), since libvirt 0.4.1.
StoragePoolGetXmlDesc(StoragePoolGetXmlDescArgs<'a>) -> StoragePoolGetXmlDescRet<'a> = Info::new(Program::Remote, 88, "storage_pool_get_xml_desc", Release(0, 4, 1)).function("virStoragePoolGetXMLDesc").urgent().acl(&["storage_pool:read"])
}

structure! {
/// What [`StoragePoolGetXmlDesc`] takes.
StoragePoolGetXmlDescArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `flags`
flags: flags::StorageXmlFlags,
}}

structure! {
/// What [`StoragePoolGetXmlDesc`] returns.
StoragePoolGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virStoragePoolGetAutostart`](https://libvirt.org/search.html?q=virStoragePoolGetAutostart), since libvirt 0.4.1.
StoragePoolGetAutostart(StoragePoolGetAutostartArgs<'a>) -> StoragePoolGetAutostartRet = Info::new(Program::Remote, 89, "storage_pool_get_autostart", Release(0, 4, 1)).function("virStoragePoolGetAutostart").urgent().acl(&["storage_pool:read"])
}

structure! {
/// What [`StoragePoolGetAutostart`] takes.
StoragePoolGetAutostartArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

structure! {
/// What [`StoragePoolGetAutostart`] returns.
StoragePoolGetAutostartRet {
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virStoragePoolSetAutostart`](https://libvirt.org/search.html?q=virStoragePoolSetAutostart), since libvirt 0.4.1.
StoragePoolSetAutostart(StoragePoolSetAutostartArgs<'a>) -> () = Info::new(Program::Remote, 90, "storage_pool_set_autostart", Release(0, 4, 1)).function("virStoragePoolSetAutostart").urgent().acl(&["storage_pool:write"])
}

structure! {
/// What [`StoragePoolSetAutostart`] takes.
StoragePoolSetAutostartArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virStoragePoolNumOfVolumes`](https://libvirt.org/search.html?q=virStoragePoolNumOfVolumes), since libvirt 0.4.1.
StoragePoolNumOfVolumes(StoragePoolNumOfVolumesArgs<'a>) -> StoragePoolNumOfVolumesRet = Info::new(Program::Remote, 91, "storage_pool_num_of_volumes", Release(0, 4, 1)).function("virStoragePoolNumOfVolumes").urgent().acl(&["storage_pool:search_storage_vols"])
}

structure! {
/// What [`StoragePoolNumOfVolumes`] takes.
StoragePoolNumOfVolumesArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

structure! {
/// What [`StoragePoolNumOfVolumes`] returns.
StoragePoolNumOfVolumesRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virStoragePoolListVolumes`](https://libvirt.org/search.html?q=virStoragePoolListVolumes), since libvirt 0.4.1.
StoragePoolListVolumes(StoragePoolListVolumesArgs<'a>) -> StoragePoolListVolumesRet<'a> = Info::new(Program::Remote, 92, "storage_pool_list_volumes", Release(0, 4, 1)).function("virStoragePoolListVolumes").urgent().acl(&["storage_pool:search_storage_vols"])
}

structure! {
/// What [`StoragePoolListVolumes`] takes.
StoragePoolListVolumesArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`StoragePoolListVolumes`] returns.
StoragePoolListVolumesRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virStoragePoolIsActive`](https://libvirt.org/search.html?q=virStoragePoolIsActive), since libvirt 0.7.3.
StoragePoolIsActive(StoragePoolIsActiveArgs<'a>) -> StoragePoolIsActiveRet = Info::new(Program::Remote, 154, "storage_pool_is_active", Release(0, 7, 3)).function("virStoragePoolIsActive").urgent().acl(&["storage_pool:read"])
}

structure! {
/// What [`StoragePoolIsActive`] takes.
StoragePoolIsActiveArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

structure! {
/// What [`StoragePoolIsActive`] returns.
StoragePoolIsActiveRet {
/// `active`
active: i32,
}}

procedure! {
/// [`virStoragePoolIsPersistent`](https://libvirt.org/search.html?q=virStoragePoolIsPersistent), since libvirt 0.7.3.
StoragePoolIsPersistent(StoragePoolIsPersistentArgs<'a>) -> StoragePoolIsPersistentRet = Info::new(Program::Remote, 155, "storage_pool_is_persistent", Release(0, 7, 3)).function("virStoragePoolIsPersistent").urgent().acl(&["storage_pool:read"])
}

structure! {
/// What [`StoragePoolIsPersistent`] takes.
StoragePoolIsPersistentArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

structure! {
/// What [`StoragePoolIsPersistent`] returns.
StoragePoolIsPersistentRet {
/// `persistent`
persistent: i32,
}}

procedure! {
/// [`virStoragePoolListAllVolumes`](https://libvirt.org/search.html?q=virStoragePoolListAllVolumes), since libvirt 0.10.2.
StoragePoolListAllVolumes(StoragePoolListAllVolumesArgs<'a>) -> StoragePoolListAllVolumesRet<'a> = Info::new(Program::Remote, 282, "storage_pool_list_all_volumes", Release(0, 10, 2)).function("virStoragePoolListAllVolumes").urgent().acl(&["storage_pool:search_storage_vols"])
}

structure! {
/// What [`StoragePoolListAllVolumes`] takes.
StoragePoolListAllVolumesArgs<'a> {
/// `pool`
pool: StoragePool<'a>,
/// `need_results`
need_results: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`StoragePoolListAllVolumes`] returns.
StoragePoolListAllVolumesRet<'a> {
/// `vols`
vols: List<'a, StorageVol<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virStoragePoolLookupByTargetPath`](https://libvirt.org/search.html?q=virStoragePoolLookupByTargetPath), since libvirt 4.1.0.
StoragePoolLookupByTargetPath(StoragePoolLookupByTargetPathArgs<'a>) -> StoragePoolLookupByTargetPathRet<'a> = Info::new(Program::Remote, 391, "storage_pool_lookup_by_target_path", Release(4, 1, 0)).function("virStoragePoolLookupByTargetPath").urgent().acl(&["storage_pool:getattr"])
}

structure! {
/// What [`StoragePoolLookupByTargetPath`] takes.
StoragePoolLookupByTargetPathArgs<'a> {
/// `path`
path: Text<'a>,
}}

structure! {
/// What [`StoragePoolLookupByTargetPath`] returns.
StoragePoolLookupByTargetPathRet<'a> {
/// `pool`
pool: StoragePool<'a>,
}}

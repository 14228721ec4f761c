//! Storage pools and volumes.

mod files;

pub use files::Holes;

use crate::connect::Connect;
use crate::connection::ByteStream;
use crate::error::Error;
use crate::handle::{Autostart, handle, methods};
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{StoragePoolState, StorageVolType, StorageVolWipeAlgorithm};
use libvirt_protocol::flags::{
    ConnectListAllStoragePoolsFlags, StoragePoolBuildFlags, StoragePoolCreateFlags, StoragePoolDefineFlags,
    StoragePoolDeleteFlags, StorageVolCreateFlags, StorageVolDeleteFlags, StorageVolDownloadFlags,
    StorageVolInfoFlags, StorageVolResizeFlags, StorageVolUploadFlags, StorageXmlFlags,
};
use libvirt_protocol::remote::{self, *};
use libvirt_protocol::xdr::Uuid;
use std::num::NonZero;
use std::ops::{Bound, RangeBounds};

handle! {
    /// A storage pool.
    StoragePool = StoragePool
}

handle! {
    /// A storage volume.
    StorageVol = StorageVol
}

/// Sizes of a volume (`virStorageVolInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageVolInfo {
    /// What it is.
    pub kind: StorageVolType,
    /// Its size, in bytes.
    pub capacity: u64,
    /// What it takes of its pool, in bytes.
    pub allocation: u64,
}

/// State and sizes of a pool (`virStoragePoolInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoragePoolInfo {
    /// Its state.
    pub state: StoragePoolState,
    /// Its size, in bytes.
    pub capacity: u64,
    /// What is taken, in bytes.
    pub allocation: u64,
    /// What is left, in bytes.
    pub available: u64,
}

methods! { Connect(this) {
    /// All storage pools that fit the flags; none set means all (`virConnectListAllStoragePools`).
    storage_pools(flags: ConnectListAllStoragePoolsFlags) -> Vec<StoragePool>
        = remote::ConnectListAllStoragePools(ConnectListAllStoragePoolsArgs { need_results: 1, flags })
        => |found| StoragePool::list(this, &found.pools);
    /// The storage pool with a name (`virStoragePoolLookupByName`).
    storage_pool_by_name(name: &str) -> StoragePool
        = remote::StoragePoolLookupByName(StoragePoolLookupByNameArgs { name: name.into() })
        => |found| StoragePool::new(this, found.pool);
    /// The storage pool with a UUID (`virStoragePoolLookupByUUID`).
    storage_pool_by_uuid(uuid: Uuid) -> StoragePool
        = remote::StoragePoolLookupByUuid(StoragePoolLookupByUuidArgs { uuid })
        => |found| StoragePool::new(this, found.pool);
    /// The storage pool at a path of the host (`virStoragePoolLookupByTargetPath`).
    storage_pool_by_path(path: &str) -> StoragePool
        = remote::StoragePoolLookupByTargetPath(StoragePoolLookupByTargetPathArgs { path: path.into() })
        => |found| StoragePool::new(this, found.pool);
    /// Defines a storage pool that stays (`virStoragePoolDefineXML`).
    define_storage_pool(xml: &str, flags: StoragePoolDefineFlags) -> StoragePool
        = remote::StoragePoolDefineXml(StoragePoolDefineXmlArgs { xml: xml.into(), flags })
        => |found| StoragePool::new(this, found.pool);
    /// Starts a storage pool that goes when it stops (`virStoragePoolCreateXML`).
    create_storage_pool(xml: &str, flags: StoragePoolCreateFlags) -> StoragePool
        = remote::StoragePoolCreateXml(StoragePoolCreateXmlArgs { xml: xml.into(), flags })
        => |found| StoragePool::new(this, found.pool);
    /// What pools of a type could be made of, as XML (`virConnectFindStoragePoolSources`).
    find_storage_pool_sources(kind: &str, source: Option<&str>) -> String
        = remote::ConnectFindStoragePoolSources(ConnectFindStoragePoolSourcesArgs {
            kind: kind.into(), src_spec: source.map(Into::into), flags: NoFlags::empty(),
        }) => |found| found.xml.into();
    /// What pools can be, as XML (`virConnectGetStoragePoolCapabilities`).
    storage_pool_capabilities() -> String
        = remote::ConnectGetStoragePoolCapabilities(ConnectGetStoragePoolCapabilitiesArgs { flags: NoFlags::empty() })
        => |found| found.capabilities.into();
    /// The volume with a key (`virStorageVolLookupByKey`).
    volume_by_key(key: &str) -> StorageVol
        = remote::StorageVolLookupByKey(StorageVolLookupByKeyArgs { key: key.into() })
        => |found| StorageVol::new(this, found.vol);
    /// The volume at a path of the host (`virStorageVolLookupByPath`).
    volume_by_path(path: &str) -> StorageVol
        = remote::StorageVolLookupByPath(StorageVolLookupByPathArgs { path: path.into() })
        => |found| StorageVol::new(this, found.vol);
} }

impl StoragePool {
    /// Its name (`virStoragePoolGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }

    /// Its UUID (`virStoragePoolGetUUID`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.wire().uuid
    }
}

methods! { StoragePool(this) {
    /// Makes what it needs: a directory, a file system (`virStoragePoolBuild`).
    build(flags: StoragePoolBuildFlags)
        = remote::StoragePoolBuild(StoragePoolBuildArgs { pool: this.wire(), flags });
    /// Starts it (`virStoragePoolCreate`).
    start(flags: StoragePoolCreateFlags)
        = remote::StoragePoolCreate(StoragePoolCreateArgs { pool: this.wire(), flags });
    /// Stops it; what is in it stays (`virStoragePoolDestroy`).
    destroy() = remote::StoragePoolDestroy(StoragePoolDestroyArgs { pool: this.wire() });
    /// Removes what it is made of, with everything in it (`virStoragePoolDelete`).
    delete(flags: StoragePoolDeleteFlags)
        = remote::StoragePoolDelete(StoragePoolDeleteArgs { pool: this.wire(), flags });
    /// Removes its definition (`virStoragePoolUndefine`).
    undefine() = remote::StoragePoolUndefine(StoragePoolUndefineArgs { pool: this.wire() });
    /// Looks at its volumes again (`virStoragePoolRefresh`).
    refresh() = remote::StoragePoolRefresh(StoragePoolRefreshArgs { pool: this.wire(), flags: NoFlags::empty() });
    /// Its state and sizes (`virStoragePoolGetInfo`).
    info() -> StoragePoolInfo
        = remote::StoragePoolGetInfo(StoragePoolGetInfoArgs { pool: this.wire() })
        => |found| StoragePoolInfo {
            state: StoragePoolState::from(i32::from(found.state)),
            capacity: found.capacity,
            allocation: found.allocation,
            available: found.available,
        };
    /// Its definition as XML (`virStoragePoolGetXMLDesc`).
    xml(flags: StorageXmlFlags) -> String
        = remote::StoragePoolGetXmlDesc(StoragePoolGetXmlDescArgs { pool: this.wire(), flags })
        => |found| found.xml.into();
    /// Whether it runs (`virStoragePoolIsActive`).
    is_active() -> bool
        = remote::StoragePoolIsActive(StoragePoolIsActiveArgs { pool: this.wire() }) => |found| found.active != 0;
    /// Whether it stays when it stops (`virStoragePoolIsPersistent`).
    is_persistent() -> bool
        = remote::StoragePoolIsPersistent(StoragePoolIsPersistentArgs { pool: this.wire() })
        => |found| found.persistent != 0;
    /// Whether it starts with the host (`virStoragePoolGetAutostart`).
    autostart() -> bool
        = remote::StoragePoolGetAutostart(StoragePoolGetAutostartArgs { pool: this.wire() })
        => |found| found.autostart != 0;
    /// Says whether it is to start with the host (`virStoragePoolSetAutostart`).
    set_autostart(autostart: Autostart)
        = remote::StoragePoolSetAutostart(StoragePoolSetAutostartArgs {
            pool: this.wire(), autostart: autostart.into(),
        });
    /// Creates a volume from XML (`virStorageVolCreateXML`).
    create_volume(xml: &str, flags: StorageVolCreateFlags) -> StorageVol
        = remote::StorageVolCreateXml(StorageVolCreateXmlArgs { pool: this.wire(), xml: xml.into(), flags })
        => |found| StorageVol::new(this.connect(), found.vol);
    /// Creates a volume from XML with the content of another one (`virStorageVolCreateXMLFrom`).
    clone_volume(xml: &str, from: &StorageVol, flags: StorageVolCreateFlags) -> StorageVol
        = remote::StorageVolCreateXmlFrom(StorageVolCreateXmlFromArgs {
            pool: this.wire(), xml: xml.into(), clonevol: from.wire(), flags,
        }) => |found| StorageVol::new(this.connect(), found.vol);
    /// The volume with a name (`virStorageVolLookupByName`).
    volume_by_name(name: &str) -> StorageVol
        = remote::StorageVolLookupByName(StorageVolLookupByNameArgs { pool: this.wire(), name: name.into() })
        => |found| StorageVol::new(this.connect(), found.vol);
    /// All its volumes (`virStoragePoolListAllVolumes`).
    volumes() -> Vec<StorageVol>
        = remote::StoragePoolListAllVolumes(StoragePoolListAllVolumesArgs {
            pool: this.wire(), need_results: 1, flags: NoFlags::empty(),
        }) => |found| StorageVol::list(this.connect(), &found.vols);
} }

impl StorageVol {
    /// Its name (`virStorageVolGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }

    /// Its key, which no other volume of the host has (`virStorageVolGetKey`).
    #[must_use]
    pub fn key(&self) -> String {
        self.wire().key.to_string()
    }

    /// Opens a stream that reads its bytes in a range: `..` all, `512..` from there to the end, `512..1536` a part
    /// (`virStorageVolDownload`).
    ///
    /// # Errors
    /// As every call; [`crate::ErrorKind::Misuse`] when the range is empty.
    pub async fn download(
        &self,
        range: impl RangeBounds<u64>,
        flags: StorageVolDownloadFlags,
    ) -> Result<ByteStream, Error> {
        let (offset, length) = span(range)?;
        let length = length.map_or(TO_THE_END, NonZero::get);
        let args = StorageVolDownloadArgs { vol: self.wire(), offset, length, flags };
        self.connect().open_stream::<remote::StorageVolDownload>(&args).await
    }

    /// Opens a stream that writes its bytes in a range: `..` from the beginning and `512..` from there, as many as come; into `512..1536`
    /// no more than it holds (`virStorageVolUpload`). With `SPARSE_STREAM` a daemon steps over the first hole, where a volume that held something
    /// before holds it still, and ends a volume that is a file with each: [`StorageVol::upload_file`] sees to both.
    ///
    /// # Errors
    /// As every call; [`crate::ErrorKind::Misuse`] when the range is empty.
    pub async fn upload(
        &self,
        range: impl RangeBounds<u64>,
        flags: StorageVolUploadFlags,
    ) -> Result<ByteStream, Error> {
        let (offset, promised) = span(range)?;
        let length = promised.map_or(TO_THE_END, NonZero::get);
        let args = StorageVolUploadArgs { vol: self.wire(), offset, length, flags };
        let stream = self.connect().open_stream::<remote::StorageVolUpload>(&args).await?;
        Ok(match promised {
            Some(length) => stream.of_length(length.get()),
            None => stream,
        })
    }
}

methods! { StorageVol(this) {
    /// The pool that it is in (`virStoragePoolLookupByVolume`).
    pool() -> StoragePool
        = remote::StoragePoolLookupByVolume(StoragePoolLookupByVolumeArgs { vol: this.wire() })
        => |found| StoragePool::new(this.connect(), found.pool);
    /// Its sizes (`virStorageVolGetInfo`).
    info() -> StorageVolInfo
        = remote::StorageVolGetInfo(StorageVolGetInfoArgs { vol: this.wire() })
        => |found| StorageVolInfo {
            kind: StorageVolType::from(i32::from(found.kind)),
            capacity: found.capacity,
            allocation: found.allocation,
        };
    /// Its sizes, measured in the way that the flags say (`virStorageVolGetInfoFlags`).
    info_with(flags: StorageVolInfoFlags) -> StorageVolInfo
        = remote::StorageVolGetInfoFlags(StorageVolGetInfoFlagsArgs { vol: this.wire(), flags })
        => |found| StorageVolInfo {
            kind: StorageVolType::from(i32::from(found.kind)),
            capacity: found.capacity,
            allocation: found.allocation,
        };
    /// Its definition as XML (`virStorageVolGetXMLDesc`).
    xml() -> String
        = remote::StorageVolGetXmlDesc(StorageVolGetXmlDescArgs { vol: this.wire(), flags: NoFlags::empty() })
        => |found| found.xml.into();
    /// Where it is on its host (`virStorageVolGetPath`).
    path() -> String
        = remote::StorageVolGetPath(StorageVolGetPathArgs { vol: this.wire() }) => |found| found.name.into();
    /// Changes its size, in bytes (`virStorageVolResize`).
    resize(capacity: u64, flags: StorageVolResizeFlags)
        = remote::StorageVolResize(StorageVolResizeArgs { vol: this.wire(), capacity, flags });
    /// Overwrites it with zeros (`virStorageVolWipe`).
    wipe() = remote::StorageVolWipe(StorageVolWipeArgs { vol: this.wire(), flags: NoFlags::empty() });
    /// Overwrites it with a pattern (`virStorageVolWipePattern`).
    wipe_pattern(algorithm: StorageVolWipeAlgorithm)
        = remote::StorageVolWipePattern(StorageVolWipePatternArgs {
            vol: this.wire(), algorithm, flags: NoFlags::empty(),
        });
    /// Removes it (`virStorageVolDelete`).
    delete(flags: StorageVolDeleteFlags)
        = remote::StorageVolDelete(StorageVolDeleteArgs { vol: this.wire(), flags });
} }

/// What the protocol means by a length of nothing: a range that means nothing must never become it.
const TO_THE_END: u64 = 0;

/// Where a range begins and how long it is; no length: to the end.
fn span(range: impl RangeBounds<u64>) -> Result<(u64, Option<NonZero<u64>>), Error> {
    let nothing = || Error::misuse("the range of a volume's bytes is empty".to_owned());
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.checked_add(1).ok_or_else(nothing)?,
        Bound::Unbounded => 0,
    };
    let length = match range.end_bound() {
        // One that ends with the largest number there is ends with the volume.
        Bound::Included(last) => {
            last.checked_add(1).map_or(Some(u64::MAX - start), |end| end.checked_sub(start))
        }
        Bound::Excluded(end) => end.checked_sub(start),
        Bound::Unbounded => return Ok((start, None)),
    };
    Ok((start, Some(length.and_then(NonZero::new).ok_or_else(nothing)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_range_means_what_it_says_and_nothing_means_nothing() {
        let span = |range: (Bound<u64>, Bound<u64>)| {
            super::span(range).map(|(start, length)| (start, length.map(NonZero::get)))
        };
        use Bound::{Excluded as E, Included as I, Unbounded as U};
        for (range, meant) in [
            ((U, U), Some((0, None))),
            ((I(512), U), Some((512, None))),
            ((I(512), E(1536)), Some((512, Some(1024)))),
            ((I(512), I(1535)), Some((512, Some(1024)))),
            ((E(511), E(1536)), Some((512, Some(1024)))),
            ((U, E(10)), Some((0, Some(10)))),
            ((U, I(u64::MAX)), Some((0, Some(u64::MAX)))),
            // A computed range of nothing must not become everything.
            ((I(5), E(5)), None),
            ((U, E(0)), None),
            ((I(10), E(5)), None),
            ((I(10), I(5)), None),
            ((E(u64::MAX), U), None),
        ] {
            let found = span(range);
            assert_eq!(found.as_ref().ok().copied(), meant, "{range:?}");
            assert!(found.is_ok() || matches!(found.unwrap_err().kind(), ErrorKind::Misuse(_)));
        }
    }
}

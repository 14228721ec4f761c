//! Storage pools and volumes.

use crate::connect::Connect;
use crate::connection::ByteStream;
use crate::error::Error;
use libvirt_protocol::enums::StorageVolType;
use libvirt_protocol::flags::{
    StoragePoolBuildFlags, StoragePoolCreateFlags, StorageVolCreateFlags, StorageVolDeleteFlags,
    StorageVolDownloadFlags, StorageVolUploadFlags,
};
use libvirt_protocol::xdr::{IntoOwned, Uuid};
use libvirt_protocol::{remote, types};
use std::ops::Range;
use std::sync::Arc;

/// A storage pool.
#[derive(Clone, Debug)]
pub struct StoragePool {
    connect: Connect,
    pool: Arc<types::StoragePool<'static>>,
}

/// A storage volume.
#[derive(Clone, Debug)]
pub struct StorageVol {
    connect: Connect,
    vol: Arc<types::StorageVol<'static>>,
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

impl StoragePool {
    pub(crate) fn new(connect: &Connect, pool: types::StoragePool<'static>) -> Self {
        Self { connect: connect.clone(), pool: Arc::new(pool) }
    }

    fn wire(&self) -> types::StoragePool<'_> {
        let types::StoragePool { name, uuid } = &*self.pool;
        types::StoragePool { name: name.borrowed(), uuid: *uuid }
    }

    /// Its name (`virStoragePoolGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.pool.name.to_string()
    }

    /// Its UUID (`virStoragePoolGetUUID`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.pool.uuid
    }

    /// Makes what it needs: a directory, a file system (`virStoragePoolBuild`).
    ///
    /// # Errors
    /// As every call.
    pub async fn build(&self, flags: StoragePoolBuildFlags) -> Result<(), Error> {
        let args = remote::StoragePoolBuildArgs { pool: self.wire(), flags };
        self.connect.call::<remote::StoragePoolBuild>(&args).await.map(drop)
    }

    /// Starts it (`virStoragePoolCreate`).
    ///
    /// # Errors
    /// As every call.
    pub async fn start(&self, flags: StoragePoolCreateFlags) -> Result<(), Error> {
        let args = remote::StoragePoolCreateArgs { pool: self.wire(), flags };
        self.connect.call::<remote::StoragePoolCreate>(&args).await.map(drop)
    }

    /// Creates a volume from XML (`virStorageVolCreateXML`).
    ///
    /// # Errors
    /// As every call.
    pub async fn create_volume(&self, xml: &str, flags: StorageVolCreateFlags) -> Result<StorageVol, Error> {
        let args = remote::StorageVolCreateXmlArgs { pool: self.wire(), xml: xml.into(), flags };
        let reply = self.connect.call::<remote::StorageVolCreateXml>(&args).await?;
        Ok(StorageVol::new(&self.connect, reply.result()?.vol.into_owned()))
    }

    /// The volume with a name (`virStorageVolLookupByName`).
    ///
    /// # Errors
    /// As every call; [`Error::is_not_found`] when there is none.
    pub async fn volume_by_name(&self, name: &str) -> Result<StorageVol, Error> {
        let args = remote::StorageVolLookupByNameArgs { pool: self.wire(), name: name.into() };
        let reply = self.connect.call::<remote::StorageVolLookupByName>(&args).await?;
        Ok(StorageVol::new(&self.connect, reply.result()?.vol.into_owned()))
    }

    /// All its volumes (`virStoragePoolListAllVolumes`).
    ///
    /// # Errors
    /// As every call.
    pub async fn volumes(&self) -> Result<Vec<StorageVol>, Error> {
        let args = remote::StoragePoolListAllVolumesArgs {
            pool: self.wire(),
            need_results: 1,
            ..Default::default()
        };
        let reply = self.connect.call::<remote::StoragePoolListAllVolumes>(&args).await?;
        let found = reply.result()?;
        Ok(found.vols.iter().map(|vol| StorageVol::new(&self.connect, vol.into_owned())).collect())
    }
}

impl StorageVol {
    fn new(connect: &Connect, vol: types::StorageVol<'static>) -> Self {
        Self { connect: connect.clone(), vol: Arc::new(vol) }
    }

    fn wire(&self) -> types::StorageVol<'_> {
        let types::StorageVol { pool, name, key } = &*self.vol;
        types::StorageVol { pool: pool.borrowed(), name: name.borrowed(), key: key.borrowed() }
    }

    /// Its name (`virStorageVolGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.vol.name.to_string()
    }

    /// Its key, which no other volume of the host has (`virStorageVolGetKey`).
    #[must_use]
    pub fn key(&self) -> String {
        self.vol.key.to_string()
    }

    /// Its sizes (`virStorageVolGetInfo`).
    ///
    /// # Errors
    /// As every call.
    pub async fn info(&self) -> Result<StorageVolInfo, Error> {
        let reply = self
            .connect
            .call::<remote::StorageVolGetInfo>(&remote::StorageVolGetInfoArgs { vol: self.wire() })
            .await?;
        let found = reply.result()?;
        let kind = StorageVolType::from(i32::from(found.kind));
        Ok(StorageVolInfo { kind, capacity: found.capacity, allocation: found.allocation })
    }

    /// Where it is on its host (`virStorageVolGetPath`).
    ///
    /// # Errors
    /// As every call.
    pub async fn path(&self) -> Result<String, Error> {
        let reply = self
            .connect
            .call::<remote::StorageVolGetPath>(&remote::StorageVolGetPathArgs { vol: self.wire() })
            .await?;
        Ok(reply.result()?.name.into())
    }

    /// Overwrites it with zeros (`virStorageVolWipe`).
    ///
    /// # Errors
    /// As every call.
    pub async fn wipe(&self) -> Result<(), Error> {
        let args = remote::StorageVolWipeArgs { vol: self.wire(), ..Default::default() };
        self.connect.call::<remote::StorageVolWipe>(&args).await.map(drop)
    }

    /// Removes it (`virStorageVolDelete`).
    ///
    /// # Errors
    /// As every call.
    pub async fn delete(&self, flags: StorageVolDeleteFlags) -> Result<(), Error> {
        let args = remote::StorageVolDeleteArgs { vol: self.wire(), flags };
        self.connect.call::<remote::StorageVolDelete>(&args).await.map(drop)
    }

    /// Opens a stream that reads its bytes in a range; an empty range reads to the end (`virStorageVolDownload`).
    ///
    /// # Errors
    /// As every call.
    pub async fn download(
        &self,
        range: Range<u64>,
        flags: StorageVolDownloadFlags,
    ) -> Result<ByteStream, Error> {
        let length = range.end.saturating_sub(range.start);
        let args = remote::StorageVolDownloadArgs { vol: self.wire(), offset: range.start, length, flags };
        self.connect.open_stream::<remote::StorageVolDownload>(&args).await
    }

    /// Opens a stream that writes its bytes in a range; an empty range takes what comes (`virStorageVolUpload`).
    ///
    /// # Errors
    /// As every call.
    pub async fn upload(&self, range: Range<u64>, flags: StorageVolUploadFlags) -> Result<ByteStream, Error> {
        let length = range.end.saturating_sub(range.start);
        let args = remote::StorageVolUploadArgs { vol: self.wire(), offset: range.start, length, flags };
        self.connect.open_stream::<remote::StorageVolUpload>(&args).await
    }
}

//! Volumes, whose contents lie in memory.

use super::Pool;
use super::content::Content;
use crate::hypervisor::domain::config_bytes as bytes;
use crate::hypervisor::stream::{Holes, Source};
use crate::hypervisor::{Hypervisor, Refusal, Reply, Scope};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::{
    StorageVolCreateFlags, StorageVolDownloadFlags, StorageVolInfoFlags, StorageVolResizeFlags,
    StorageVolUploadFlags,
};
use libvirt_protocol::{remote, types};

/// A volume.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(super) capacity: u64,
    pub(super) allocation: u64,
    format: Option<String>,
    backing: Option<Element>,
    /// What was written.
    pub(crate) content: Content,
}

/// What the format of a volume is when nobody says: none is written for a pool of this kind.
const DEFAULT_FORMAT: &str = "raw";
/// What a volume's tables take that are written when it is made, in bytes.
const METADATA: u64 = 192 << 10;

impl Volume {
    fn read(document: &Element) -> Result<Self, Refusal> {
        let refuse = |text: &str| Err(Refusal::xml(text).of(ErrorDomain::Storage));
        let Some(name) = document.text_of("name").filter(|name| !name.is_empty()) else {
            return refuse("missing volume name element");
        };
        let Some(capacity) = document.find("capacity") else {
            return refuse("missing capacity element");
        };
        let capacity = bytes(capacity, "bytes")?;
        let allocation = document.find("allocation").map(|element| bytes(element, "bytes")).transpose()?;
        Ok(Self {
            name: name.to_owned(),
            capacity,
            allocation: allocation.unwrap_or(capacity),
            format: document.path("target/format/@type").map(str::to_owned),
            backing: document.find("backingStore").cloned(),
            content: Content::default(),
        })
    }

    fn document(&self, pool: &Pool) -> Element {
        let amount = |name, bytes: u64| Element::text(name, bytes).with("unit", "bytes");
        let path = pool.key(&self.name);
        let format = self.format.as_deref().unwrap_or(DEFAULT_FORMAT);
        let target = Element::new("target")
            .child(Element::text("path", &path))
            .child(Element::new("format").with("type", format));
        let document = Element::new("volume")
            .with("type", "file")
            .child(Element::text("name", &self.name))
            .child(Element::text("key", &path))
            .child(amount("capacity", self.capacity))
            .child(amount("allocation", self.allocation))
            .child(target);
        document.children(self.backing.clone())
    }
}

impl Hypervisor {
    fn pool_of(&self, vol: &types::StorageVol<'_>) -> Result<&Pool, Refusal> {
        let found = self.pools.values().find(|pool| vol.pool == pool.name.as_str());
        let text = || format!("no storage pool with matching name '{}'", vol.pool);
        found.ok_or_else(|| Refusal::new(ErrorNumber::NoStoragePool, text()))?.needs_active()
    }

    fn pool_of_mut(&mut self, vol: &types::StorageVol<'_>) -> Result<&mut Pool, Refusal> {
        let uuid = self.pool_of(vol)?.uuid;
        self.pools.get_mut(&uuid).ok_or_else(|| Refusal::internal("the pool has gone"))
    }

    /// The volume that a client means.
    pub(crate) fn volume_mut(&mut self, vol: &types::StorageVol<'_>) -> Result<&mut Volume, Refusal> {
        let name = vol.name.to_string();
        let pool = self.pool_of_mut(vol)?;
        pool.volume(&name)?;
        let found = pool.volumes.iter_mut().find(|volume| volume.name == name);
        found.ok_or_else(|| Refusal::internal("the volume has gone"))
    }

    pub(crate) fn vol_create_xml(
        &mut self,
        args: remote::StorageVolCreateXmlArgs<'_>,
    ) -> Reply<remote::StorageVolCreateXml> {
        use StorageVolCreateFlags as F;
        self.validate(args.flags.bits(), F::VALIDATE.bits(), &args.xml)?;
        let document = self.document(&args.xml.to_str_lossy(), "volume", "storage_vol_definition")?;
        let mut volume = Volume::read(&document)?;
        if args.flags.contains(F::PREALLOC_METADATA) && self.scope == Scope::Complete {
            volume.allocation = volume.allocation.max(METADATA);
        }
        let pool = self.pool_mut(&args.pool)?;
        pool.needs_active()?;
        let vol = pool.add(volume)?;
        Ok(remote::StorageVolCreateXmlRet { vol })
    }

    pub(crate) fn vol_create_xml_from(
        &mut self,
        args: remote::StorageVolCreateXmlFromArgs<'_>,
    ) -> Reply<remote::StorageVolCreateXmlFrom> {
        use StorageVolCreateFlags as F;
        self.validate(args.flags.bits(), F::VALIDATE.bits(), &args.xml)?;
        let document = self.document(&args.xml.to_str_lossy(), "volume", "storage_vol_definition")?;
        let origin = self.pool_of(&args.clonevol)?.volume(&args.clonevol.name.to_str_lossy())?.clone();
        let mut volume = Volume::read(&document)?;
        volume.capacity = volume.capacity.max(origin.capacity);
        volume.content = origin.content;
        // One that shares what it has with another takes no room.
        if args.flags.contains(F::REFLINK) && self.scope == Scope::Complete {
            volume.allocation = 0;
        }
        if args.flags.contains(F::PREALLOC_METADATA) && self.scope == Scope::Complete {
            volume.allocation = volume.allocation.max(METADATA);
        }
        let pool = self.pool_mut(&args.pool)?;
        pool.needs_active()?;
        let vol = pool.add(volume)?;
        Ok(remote::StorageVolCreateXmlFromRet { vol })
    }

    pub(crate) fn vol_delete(
        &mut self,
        args: remote::StorageVolDeleteArgs<'_>,
    ) -> Reply<remote::StorageVolDelete> {
        let name = args.vol.name.to_string();
        let pool = self.pool_of_mut(&args.vol)?;
        pool.allocation -= pool.volume(&name)?.allocation.min(pool.allocation);
        pool.volumes.retain(|volume| volume.name != name);
        Ok(())
    }

    pub(crate) fn vol_lookup_by_name(
        &mut self,
        args: remote::StorageVolLookupByNameArgs<'_>,
    ) -> Reply<remote::StorageVolLookupByName> {
        let pool = self.pool(&args.pool)?.needs_active()?;
        let volume = pool.volume(&args.name.to_str_lossy())?;
        Ok(remote::StorageVolLookupByNameRet { vol: pool.vol(&volume.name) })
    }

    fn find_vol(&self, key: &str, what: &str) -> Result<types::StorageVol<'static>, Refusal> {
        let active = self.pools.values().filter(|pool| pool.active);
        let all = active.flat_map(|pool| pool.volumes.iter().map(move |volume| (pool, volume)));
        let mut found = all.filter(|(pool, volume)| pool.key(&volume.name) == key);
        let text = || format!("no storage vol with matching {what} '{key}'");
        let found = found.next().map(|(pool, volume)| pool.vol(&volume.name));
        found.ok_or_else(|| Refusal::new(ErrorNumber::NoStorageVol, text()))
    }

    pub(crate) fn vol_lookup_by_key(
        &mut self,
        args: remote::StorageVolLookupByKeyArgs<'_>,
    ) -> Reply<remote::StorageVolLookupByKey> {
        Ok(remote::StorageVolLookupByKeyRet { vol: self.find_vol(&args.key.to_str_lossy(), "key")? })
    }

    pub(crate) fn vol_lookup_by_path(
        &mut self,
        args: remote::StorageVolLookupByPathArgs<'_>,
    ) -> Reply<remote::StorageVolLookupByPath> {
        Ok(remote::StorageVolLookupByPathRet { vol: self.find_vol(&args.path.to_str_lossy(), "path")? })
    }

    pub(crate) fn vol_get_info(
        &mut self,
        args: remote::StorageVolGetInfoArgs<'_>,
    ) -> Reply<remote::StorageVolGetInfo> {
        let volume = self.pool_of(&args.vol)?.volume(&args.vol.name.to_str_lossy())?;
        let Volume { capacity, allocation, .. } = *volume;
        Ok(remote::StorageVolGetInfoRet { kind: 0, capacity, allocation })
    }

    pub(crate) fn vol_get_info_flags(
        &mut self,
        args: remote::StorageVolGetInfoFlagsArgs<'_>,
    ) -> Reply<remote::StorageVolGetInfoFlags> {
        let volume = self.pool_of(&args.vol)?.volume(&args.vol.name.to_str_lossy())?;
        let Volume { capacity, allocation, .. } = *volume;
        // A raw file is as long as what it holds, however much of it is there.
        let physical = args.flags.contains(StorageVolInfoFlags::GET_PHYSICAL);
        let allocation = if physical { capacity } else { allocation };
        Ok(remote::StorageVolGetInfoFlagsRet { kind: 0, capacity, allocation })
    }

    pub(crate) fn vol_get_xml_desc(
        &mut self,
        args: remote::StorageVolGetXmlDescArgs<'_>,
    ) -> Reply<remote::StorageVolGetXmlDesc> {
        let pool = self.pool_of(&args.vol)?;
        let volume = pool.volume(&args.vol.name.to_str_lossy())?;
        Ok(remote::StorageVolGetXmlDescRet { xml: volume.document(pool).print().into() })
    }

    pub(crate) fn vol_get_path(
        &mut self,
        args: remote::StorageVolGetPathArgs<'_>,
    ) -> Reply<remote::StorageVolGetPath> {
        let pool = self.pool_of(&args.vol)?;
        let volume = pool.volume(&args.vol.name.to_str_lossy())?;
        Ok(remote::StorageVolGetPathRet { name: pool.key(&volume.name).into() })
    }

    pub(crate) fn vol_wipe(&mut self, args: remote::StorageVolWipeArgs<'_>) -> Reply<remote::StorageVolWipe> {
        self.volume_mut(&args.vol)?.content.truncate(0);
        Ok(())
    }

    pub(crate) fn vol_wipe_pattern(
        &mut self,
        args: remote::StorageVolWipePatternArgs<'_>,
    ) -> Reply<remote::StorageVolWipePattern> {
        self.volume_mut(&args.vol)?.content.truncate(0);
        Ok(())
    }

    pub(crate) fn vol_resize(
        &mut self,
        args: remote::StorageVolResizeArgs<'_>,
    ) -> Reply<remote::StorageVolResize> {
        use StorageVolResizeFlags as F;
        let volume = self.volume_mut(&args.vol)?;
        let capacity = match args.flags {
            _ if args.flags.contains(F::DELTA | F::SHRINK) => volume.capacity.saturating_sub(args.capacity),
            _ if args.flags.contains(F::DELTA) => volume.capacity.saturating_add(args.capacity),
            _ => args.capacity,
        };
        if capacity < volume.capacity && !args.flags.contains(F::SHRINK) {
            let text = "Can't shrink capacity below current capacity unless shrink flag explicitly specified";
            return Err(Refusal::argument(text));
        }
        volume.capacity = capacity;
        if args.flags.contains(F::ALLOCATE) {
            volume.allocation = capacity;
        }
        volume.content.truncate(capacity);
        Ok(())
    }

    pub(crate) fn vol_upload(
        &mut self,
        args: remote::StorageVolUploadArgs<'_>,
    ) -> Reply<remote::StorageVolUpload> {
        let sparse = args.flags.contains(StorageVolUploadFlags::SPARSE_STREAM);
        self.only(args.flags.bits(), StorageVolUploadFlags::SPARSE_STREAM.bits(), "storageVolUpload")?;
        let capacity = self.volume_mut(&args.vol)?.capacity;
        let end = span(args.offset, args.length, capacity)?;
        let holes = if sparse { Holes::Allowed } else { Holes::Never };
        let vol = libvirt_protocol::xdr::IntoOwned::into_owned(args.vol);
        self.open_upload(vol, args.offset, end, holes)
    }

    pub(crate) fn vol_download(
        &mut self,
        args: remote::StorageVolDownloadArgs<'_>,
    ) -> Reply<remote::StorageVolDownload> {
        let sparse = args.flags.contains(StorageVolDownloadFlags::SPARSE_STREAM);
        self.only(args.flags.bits(), StorageVolDownloadFlags::SPARSE_STREAM.bits(), "storageVolDownload")?;
        let capacity = self.volume_mut(&args.vol)?.capacity;
        let end = span(args.offset, args.length, capacity)?.min(capacity).max(args.offset);
        let vol = libvirt_protocol::xdr::IntoOwned::into_owned(args.vol);
        let holes = if sparse { Holes::Allowed } else { Holes::Never };
        self.open_download(Source::Volume { vol, place: args.offset, end }, holes)
    }
}

/// Where a span ends; a length of 0 reaches to the end of the volume.
fn span(offset: u64, length: u64, capacity: u64) -> Result<u64, Refusal> {
    let end = if length == 0 { Some(capacity.max(offset)) } else { offset.checked_add(length) };
    end.ok_or_else(|| Refusal::argument("offset and length are beyond every volume"))
}

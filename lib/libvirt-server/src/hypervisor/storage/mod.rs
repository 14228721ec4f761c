//! Storage pools.

mod content;
mod pool;
mod volume;

pub(super) use content::Run;
pub(super) use pool::{KINDS, Pool};

use pool::built;

use super::{Hypervisor, Refusal, Reply, Scope, count, fits};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber, StoragePoolEventLifecycleType, StoragePoolState};
use libvirt_protocol::flags::{
    ConnectListAllStoragePoolsFlags as Filter, StoragePoolDeleteFlags, StorageXmlFlags,
};
use libvirt_protocol::xdr::Uuid;
use libvirt_protocol::{remote, types};

impl Hypervisor {
    /// The pool of the default state.
    pub(super) fn add_default_pool(&mut self) {
        let uuid = Uuid([
            0xdf, 0xe2, 0x24, 0xcb, 0x28, 0xfb, 0x8d, 0xd0, 0xc4, 0xb2, 0x64, 0xeb, 0x3f, 0x0f, 0x45, 0x66,
        ]);
        let document = Element::new("pool")
            .with("type", "dir")
            .child(Element::text("name", "default-pool"))
            .child(Element::new("target").child(Element::text("path", "/default-pool")));
        if let Ok(mut pool) = Pool::read(&document, uuid) {
            pool.active = true;
            pool.persistent = true;
            self.pools.insert(uuid, pool);
        }
    }

    fn pool(&self, pool: &types::StoragePool<'_>) -> Result<&Pool, Refusal> {
        self.pools.get(&pool.uuid).ok_or_else(|| no_pool(pool))
    }

    fn pool_mut(&mut self, pool: &types::StoragePool<'_>) -> Result<&mut Pool, Refusal> {
        self.pools.get_mut(&pool.uuid).ok_or_else(|| no_pool(pool))
    }

    fn read_pool(&mut self, xml: &str) -> Result<Pool, Refusal> {
        let document = self.document(xml, "pool", "storage_pool_definition")?;
        let named = document.text_of("name").unwrap_or_default();
        let known = self.pools.values().find(|pool| pool.name == named);
        let uuid = match known {
            Some(known) if document.find("uuid").is_none() => known.uuid,
            _ => self.uuid_of(&document, ErrorDomain::Storage)?,
        };
        let pool = Pool::read(&document, uuid)?;
        let named = self.pools.values().find(|known| known.name == pool.name);
        if let Some(named) = named.filter(|named| named.uuid != uuid) {
            let text = format!("pool '{}' already exists with uuid {}", pool.name, named.uuid);
            return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Storage));
        }
        if let Some(known) = self.pools.get(&uuid).filter(|known| known.name != pool.name) {
            let text = format!("pool '{}' is already defined with uuid {uuid}", known.name);
            return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Storage));
        }
        Ok(pool)
    }

    pub(super) fn pool_define_xml(
        &mut self,
        args: remote::StoragePoolDefineXmlArgs<'_>,
    ) -> Reply<remote::StoragePoolDefineXml> {
        self.only(args.flags.bits(), 1, "testStoragePoolDefineXML")?;
        self.validate(args.flags.bits(), 1, &args.xml)?;
        let mut pool = self.read_pool(&args.xml.to_str_lossy())?;
        let wire = pool.wire();
        if let Some(known) = self.pools.get_mut(&pool.uuid) {
            if known.active && self.scope == Scope::Complete {
                // It stays what it is until it is started again.
                (pool.persistent, known.persistent) = (true, true);
                known.kept = Some(Box::new(pool));
                self.tell_pool(&wire, StoragePoolEventLifecycleType::Defined);
                return Ok(remote::StoragePoolDefineXmlRet { pool: wire });
            }
            pool.active = known.active;
            pool.autostart = known.autostart;
            pool.volumes.clone_from(&known.volumes);
            pool.allocation = known.allocation;
        }
        pool.persistent = true;
        self.pools.insert(pool.uuid, pool);
        self.tell_pool(&wire, StoragePoolEventLifecycleType::Defined);
        Ok(remote::StoragePoolDefineXmlRet { pool: wire })
    }

    pub(super) fn pool_create_xml(
        &mut self,
        args: remote::StoragePoolCreateXmlArgs<'_>,
    ) -> Reply<remote::StoragePoolCreateXml> {
        let mut pool = self.read_pool(&args.xml.to_str_lossy())?;
        let build = built(args.flags)?;
        if let Some(known) = self.pools.get(&pool.uuid) {
            if known.active {
                let text = format!("pool is already active as '{}'", known.name);
                return Err(Refusal::invalid(text).of(ErrorDomain::Storage));
            }
            pool.persistent = known.persistent;
        }
        let wire = pool.wire();
        if let Some(how) = build {
            pool.build(how)?;
            self.tell_pool(&wire, StoragePoolEventLifecycleType::Created);
        }
        pool.active = true;
        self.pools.insert(pool.uuid, pool);
        self.tell_pool(&wire, StoragePoolEventLifecycleType::Started);
        Ok(remote::StoragePoolCreateXmlRet { pool: wire })
    }

    pub(super) fn pool_create(
        &mut self,
        args: remote::StoragePoolCreateArgs<'_>,
    ) -> Reply<remote::StoragePoolCreate> {
        let build = built(args.flags)?;
        let pool = self.pool_mut(&args.pool)?;
        pool.needs_inactive()?;
        let wire = pool.wire();
        if let Some(how) = build {
            pool.build(how)?;
        }
        pool.active = true;
        if build.is_some() {
            self.tell_pool(&wire, StoragePoolEventLifecycleType::Created);
        }
        self.tell_pool(&wire, StoragePoolEventLifecycleType::Started);
        Ok(())
    }

    pub(super) fn pool_build(
        &mut self,
        args: remote::StoragePoolBuildArgs<'_>,
    ) -> Reply<remote::StoragePoolBuild> {
        let complete = self.scope == Scope::Complete;
        let pool = self.pool_mut(&args.pool)?;
        pool.needs_inactive()?;
        if complete {
            pool.build(args.flags)?;
        }
        let wire = pool.wire();
        self.tell_pool(&wire, StoragePoolEventLifecycleType::Created);
        Ok(())
    }

    pub(super) fn pool_destroy(
        &mut self,
        args: remote::StoragePoolDestroyArgs<'_>,
    ) -> Reply<remote::StoragePoolDestroy> {
        let pool = self.pool_mut(&args.pool)?;
        pool.needs_active()?;
        pool.active = false;
        if let Some(kept) = pool.kept.take() {
            (pool.source, pool.target) = (kept.source, kept.target);
        }
        let (wire, persistent) = (pool.wire(), pool.persistent);
        if !persistent {
            self.pools.remove(&wire.uuid);
        }
        self.tell_pool(&wire, StoragePoolEventLifecycleType::Stopped);
        Ok(())
    }

    pub(super) fn pool_delete(
        &mut self,
        args: remote::StoragePoolDeleteArgs<'_>,
    ) -> Reply<remote::StoragePoolDelete> {
        let zeroed = args.flags.contains(StoragePoolDeleteFlags::ZEROED);
        let pool = self.pool_mut(&args.pool)?;
        pool.needs_inactive()?;
        if zeroed {
            pool.volumes.iter_mut().for_each(|volume| volume.content.truncate(0));
        }
        let wire = pool.wire();
        self.tell_pool(&wire, StoragePoolEventLifecycleType::Deleted);
        Ok(())
    }

    pub(super) fn pool_undefine(
        &mut self,
        args: remote::StoragePoolUndefineArgs<'_>,
    ) -> Reply<remote::StoragePoolUndefine> {
        let pool = self.pool(&args.pool)?;
        pool.needs_inactive()?;
        let wire = pool.wire();
        self.pools.remove(&wire.uuid);
        self.tell_pool(&wire, StoragePoolEventLifecycleType::Undefined);
        Ok(())
    }

    pub(super) fn pool_refresh(
        &mut self,
        args: remote::StoragePoolRefreshArgs<'_>,
    ) -> Reply<remote::StoragePoolRefresh> {
        let wire = self.pool(&args.pool)?.needs_active()?.wire();
        self.tell_refresh(&wire);
        Ok(())
    }

    pub(super) fn pool_lookup_by_name(
        &mut self,
        args: remote::StoragePoolLookupByNameArgs<'_>,
    ) -> Reply<remote::StoragePoolLookupByName> {
        let found = self.pools.values().find(|pool| args.name == pool.name.as_str()).map(Pool::wire);
        let text = format!("no storage pool with matching name '{}'", args.name);
        let pool = found.ok_or_else(|| Refusal::new(ErrorNumber::NoStoragePool, text))?;
        Ok(remote::StoragePoolLookupByNameRet { pool })
    }

    pub(super) fn pool_lookup_by_uuid(
        &mut self,
        args: remote::StoragePoolLookupByUuidArgs,
    ) -> Reply<remote::StoragePoolLookupByUuid> {
        let text = format!("no storage pool with matching uuid '{}'", args.uuid);
        let found = self.pools.get(&args.uuid).map(Pool::wire);
        let pool = found.ok_or_else(|| Refusal::new(ErrorNumber::NoStoragePool, text))?;
        Ok(remote::StoragePoolLookupByUuidRet { pool })
    }

    pub(super) fn pool_lookup_by_volume(
        &mut self,
        args: remote::StoragePoolLookupByVolumeArgs<'_>,
    ) -> Reply<remote::StoragePoolLookupByVolume> {
        let found = self.pools.values().find(|pool| args.vol.pool == pool.name.as_str()).map(Pool::wire);
        let text = format!("no storage pool with matching name '{}'", args.vol.pool);
        let pool = found.ok_or_else(|| Refusal::new(ErrorNumber::NoStoragePool, text))?;
        Ok(remote::StoragePoolLookupByVolumeRet { pool })
    }

    pub(super) fn pool_lookup_by_target_path(
        &mut self,
        args: remote::StoragePoolLookupByTargetPathArgs<'_>,
    ) -> Reply<remote::StoragePoolLookupByTargetPath> {
        let found = self.pools.values().find(|pool| pool.active && args.path == pool.path()).map(Pool::wire);
        let text = format!("no storage pool with matching target path '{}'", args.path);
        let pool = found.ok_or_else(|| Refusal::new(ErrorNumber::NoStoragePool, text))?;
        Ok(remote::StoragePoolLookupByTargetPathRet { pool })
    }

    pub(super) fn pool_get_info(
        &mut self,
        args: remote::StoragePoolGetInfoArgs<'_>,
    ) -> Reply<remote::StoragePoolGetInfo> {
        let pool = self.pool(&args.pool)?;
        let state = if pool.active { StoragePoolState::Running } else { StoragePoolState::Inactive };
        let state: i32 = state.into();
        Ok(remote::StoragePoolGetInfoRet {
            state: u8::try_from(state).unwrap_or_default(),
            capacity: pool.capacity,
            allocation: pool.allocation,
            available: pool.capacity.saturating_sub(pool.allocation),
        })
    }

    pub(super) fn pool_get_xml_desc(
        &mut self,
        args: remote::StoragePoolGetXmlDescArgs<'_>,
    ) -> Reply<remote::StoragePoolGetXmlDesc> {
        self.only(args.flags.bits(), 0, "testStoragePoolGetXMLDesc")?;
        let pool = self.pool(&args.pool)?;
        let kept = pool.kept.as_deref().filter(|_| args.flags.contains(StorageXmlFlags::INACTIVE));
        let xml = kept.unwrap_or(pool).document().print();
        Ok(remote::StoragePoolGetXmlDescRet { xml: xml.into() })
    }

    pub(super) fn pool_get_autostart(
        &mut self,
        args: remote::StoragePoolGetAutostartArgs<'_>,
    ) -> Reply<remote::StoragePoolGetAutostart> {
        Ok(remote::StoragePoolGetAutostartRet { autostart: self.pool(&args.pool)?.autostart.into() })
    }

    pub(super) fn pool_set_autostart(
        &mut self,
        args: remote::StoragePoolSetAutostartArgs<'_>,
    ) -> Reply<remote::StoragePoolSetAutostart> {
        let pool = self.pool_mut(&args.pool)?;
        if !pool.persistent {
            return Err(Refusal::argument("pool has no config file"));
        }
        pool.autostart = args.autostart != 0;
        Ok(())
    }

    pub(super) fn pool_is_active(
        &mut self,
        args: remote::StoragePoolIsActiveArgs<'_>,
    ) -> Reply<remote::StoragePoolIsActive> {
        Ok(remote::StoragePoolIsActiveRet { active: self.pool(&args.pool)?.active.into() })
    }

    pub(super) fn pool_is_persistent(
        &mut self,
        args: remote::StoragePoolIsPersistentArgs<'_>,
    ) -> Reply<remote::StoragePoolIsPersistent> {
        Ok(remote::StoragePoolIsPersistentRet { persistent: self.pool(&args.pool)?.persistent.into() })
    }

    pub(super) fn pool_num_of_volumes(
        &mut self,
        args: remote::StoragePoolNumOfVolumesArgs<'_>,
    ) -> Reply<remote::StoragePoolNumOfVolumes> {
        let num = self.pool(&args.pool)?.needs_active()?.volumes.len() as i32;
        Ok(remote::StoragePoolNumOfVolumesRet { num })
    }

    pub(super) fn pool_list_volumes(
        &mut self,
        args: remote::StoragePoolListVolumesArgs<'_>,
    ) -> Reply<remote::StoragePoolListVolumes> {
        let most = usize::try_from(args.maxnames).unwrap_or(0);
        let pool = self.pool(&args.pool)?.needs_active()?;
        let names = pool.volumes.iter().take(most).map(|volume| volume.name.clone().into()).collect();
        Ok(remote::StoragePoolListVolumesRet { names })
    }

    pub(super) fn pool_list_all_volumes(
        &mut self,
        args: remote::StoragePoolListAllVolumesArgs<'_>,
    ) -> Reply<remote::StoragePoolListAllVolumes> {
        let pool = self.pool(&args.pool)?.needs_active()?;
        let ret = count(pool.volumes.len());
        let want = args.need_results != 0;
        let vols = pool.volumes.iter().filter(|_| want).map(|volume| pool.vol(&volume.name)).collect();
        Ok(remote::StoragePoolListAllVolumesRet { vols, ret })
    }

    pub(super) fn list_all_storage_pools(
        &mut self,
        args: remote::ConnectListAllStoragePoolsArgs,
    ) -> Reply<remote::ConnectListAllStoragePools> {
        let kinds = [
            ("dir", Filter::DIR),
            ("fs", Filter::FS),
            ("netfs", Filter::NETFS),
            ("logical", Filter::LOGICAL),
            ("disk", Filter::DISK),
            ("iscsi", Filter::ISCSI),
            ("scsi", Filter::SCSI),
            ("mpath", Filter::MPATH),
            ("rbd", Filter::RBD),
            ("sheepdog", Filter::SHEEPDOG),
            ("gluster", Filter::GLUSTER),
            ("zfs", Filter::ZFS),
            ("vstorage", Filter::VSTORAGE),
            ("iscsi-direct", Filter::ISCSI_DIRECT),
        ];
        let passes = |pool: &&Pool| {
            let Pool { active, persistent, autostart, .. } = **pool;
            let kind = kinds.iter().map(|(kind, bit)| (bit.bits(), pool.kind == *kind));
            fits(
                args.flags.bits(),
                [
                    vec![(Filter::ACTIVE.bits(), active), (Filter::INACTIVE.bits(), !active)],
                    vec![(Filter::PERSISTENT.bits(), persistent), (Filter::TRANSIENT.bits(), !persistent)],
                    vec![(Filter::AUTOSTART.bits(), autostart), (Filter::NO_AUTOSTART.bits(), !autostart)],
                    kind.collect(),
                ],
            )
        };
        let found: Vec<_> = self.pools.values().filter(passes).map(Pool::wire).collect();
        let ret = count(found.len());
        let pools = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::ConnectListAllStoragePoolsRet { pools: pools.into(), ret })
    }

    fn pool_names(&self, active: bool, most: i32) -> impl Iterator<Item = String> {
        let most = usize::try_from(most).unwrap_or(0);
        self.pools.values().filter(move |pool| pool.active == active).map(|pool| pool.name.clone()).take(most)
    }

    pub(super) fn list_storage_pools(
        &mut self,
        args: remote::ConnectListStoragePoolsArgs,
    ) -> Reply<remote::ConnectListStoragePools> {
        let names = self.pool_names(true, args.maxnames).map(Into::into).collect();
        Ok(remote::ConnectListStoragePoolsRet { names })
    }

    pub(super) fn list_defined_storage_pools(
        &mut self,
        args: remote::ConnectListDefinedStoragePoolsArgs,
    ) -> Reply<remote::ConnectListDefinedStoragePools> {
        let names = self.pool_names(false, args.maxnames).map(Into::into).collect();
        Ok(remote::ConnectListDefinedStoragePoolsRet { names })
    }

    pub(super) fn num_of_storage_pools(&mut self, (): ()) -> Reply<remote::ConnectNumOfStoragePools> {
        Ok(remote::ConnectNumOfStoragePoolsRet { num: self.pool_names(true, i32::MAX).count() as i32 })
    }

    pub(super) fn num_of_defined_storage_pools(
        &mut self,
        (): (),
    ) -> Reply<remote::ConnectNumOfDefinedStoragePools> {
        let num = self.pool_names(false, i32::MAX).count() as i32;
        Ok(remote::ConnectNumOfDefinedStoragePoolsRet { num })
    }

    pub(super) fn find_storage_pool_sources(
        &mut self,
        args: remote::ConnectFindStoragePoolSourcesArgs<'_>,
    ) -> Reply<remote::ConnectFindStoragePoolSources> {
        let device = |path| Element::new("device").with("path", path);
        let kind = args.kind.to_string();
        let sources = match kind.as_str() {
            "logical" => {
                Vec::from([("/dev/sda20", "testvg1"), ("/dev/sda21", "testvg2")].map(|(path, name)| {
                    let format = Element::new("format").with("type", "lvm2");
                    Element::new("source")
                        .child(device(path))
                        .child(Element::text("name", name))
                        .child(format)
                }))
            }
            "netfs" => {
                let Some(spec) = args.src_spec.map(|spec| spec.to_string()) else {
                    return Err(Refusal::argument("hostname must be specified for netfs sources"));
                };
                let spec = self.document(&spec, "source", "storage_source")?;
                let host = spec.path("host/@name").unwrap_or_default().to_owned();
                let share = Element::new("source")
                    .child(Element::new("host").with("name", &host))
                    .child(Element::new("dir").with("path", "/testshare"))
                    .child(Element::new("format").with("type", "nfs"));
                vec![share]
            }
            "dir" | "fs" | "disk" | "iscsi" | "scsi" | "mpath" | "rbd" | "sheepdog" | "gluster" | "zfs" => {
                return Err(Refusal::internal(format!("unknown storage pool type {kind}")));
            }
            _ => {
                let text = format!("pool type '{kind}' does not support source discovery");
                return Err(Refusal::new(ErrorNumber::NoSupport, text));
            }
        };
        let xml = Element::new("sources").children(sources).print();
        Ok(remote::ConnectFindStoragePoolSourcesRet { xml: xml.into() })
    }
}

fn no_pool(pool: &types::StoragePool<'_>) -> Refusal {
    let text = format!("no storage pool with matching uuid '{}' ({})", pool.uuid, pool.name);
    Refusal::new(ErrorNumber::NoStoragePool, text)
}

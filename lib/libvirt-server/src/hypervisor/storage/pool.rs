//! A storage pool: what is kept of one, its document, how it is built.

use super::volume::Volume;
use crate::hypervisor::Refusal;
use crate::hypervisor::flags::exclusive;
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::{StoragePoolBuildFlags as Build, StoragePoolCreateFlags};
use libvirt_protocol::types;
use libvirt_protocol::xdr::Uuid;

/// A storage pool.
#[derive(Clone, Debug)]
pub(in crate::hypervisor) struct Pool {
    pub(super) name: String,
    pub(super) uuid: Uuid,
    pub(super) kind: String,
    pub(super) active: bool,
    pub(super) persistent: bool,
    pub(super) autostart: bool,
    pub(super) capacity: u64,
    pub(super) allocation: u64,
    pub(super) source: Element,
    pub(super) target: Element,
    pub(super) volumes: Vec<Volume>,
    /// Whether somebody has made the place that it lies in.
    built: bool,
    /// As it will be at its next start, where it was defined anew while it ran.
    pub(super) kept: Option<Box<Self>>,
}

/// What a pool can be of.
pub(in crate::hypervisor) const KINDS: [&str; 14] = [
    "dir",
    "fs",
    "netfs",
    "logical",
    "disk",
    "iscsi",
    "iscsi-direct",
    "scsi",
    "mpath",
    "rbd",
    "sheepdog",
    "gluster",
    "zfs",
    "vstorage",
];
/// What every pool of the test driver holds.
const POOL_CAPACITY: u64 = 100 << 30;
impl Pool {
    pub(super) fn read(document: &Element, uuid: Uuid) -> Result<Self, Refusal> {
        let refuse = |text: &str| Err(Refusal::xml(text).of(ErrorDomain::Storage));
        let attribute = |text: &str| Err(Refusal::xml(text).of(ErrorDomain::Xml));
        let Some(kind) = document.attribute("type") else {
            return attribute("Missing required attribute 'type' in element 'pool'");
        };
        if !KINDS.contains(&kind) {
            return attribute(&format!("Invalid value for attribute 'type' in element 'pool': '{kind}'."));
        }
        let source = document.find("source").cloned().unwrap_or_else(|| Element::new("source"));
        let name = document.text_of("name").or_else(|| source.text_of("name")).unwrap_or_default();
        if name.is_empty() {
            return refuse("missing pool source name element");
        }
        let Some(path) = document.path("target/path") else {
            return refuse("missing storage pool target path");
        };
        let mut target = Element::new("target").child(Element::text("path", path.trim_end_matches('/')));
        target
            .children
            .extend(document.find("target").and_then(|target| target.find("permissions")).cloned());
        Ok(Self {
            name: name.to_owned(),
            uuid,
            kind: kind.to_owned(),
            active: false,
            persistent: false,
            autostart: false,
            capacity: POOL_CAPACITY,
            allocation: 0,
            source: source.open(),
            target,
            volumes: Vec::new(),
            built: false,
            kept: None,
        })
    }

    pub(super) fn wire(&self) -> types::StoragePool<'static> {
        types::StoragePool { name: self.name.clone().into(), uuid: self.uuid }
    }

    pub(super) fn path(&self) -> &str {
        self.target.text_of("path").unwrap_or_default()
    }

    pub(super) fn document(&self) -> Element {
        let amount = |name, bytes: u64| Element::text(name, bytes).with("unit", "bytes");
        Element::new("pool")
            .with("type", &self.kind)
            .child(Element::text("name", &self.name))
            .child(Element::text("uuid", self.uuid))
            .child(amount("capacity", self.capacity))
            .child(amount("allocation", self.allocation))
            .child(amount("available", self.capacity.saturating_sub(self.allocation)))
            .child(self.source.clone())
            .child(self.target.clone())
    }

    pub(super) fn key(&self, volume: &str) -> String {
        format!("{}/{volume}", self.path())
    }

    pub(super) fn vol(&self, volume: &str) -> types::StorageVol<'static> {
        types::StorageVol {
            pool: self.name.clone().into(),
            name: volume.to_owned().into(),
            key: self.key(volume).into(),
        }
    }

    pub(super) fn volume(&self, name: &str) -> Result<&Volume, Refusal> {
        self.volumes.iter().find(|volume| volume.name == name).ok_or_else(|| {
            let text = format!("no storage vol with matching name '{name}'");
            Refusal::new(ErrorNumber::NoStorageVol, text)
        })
    }

    pub(super) fn needs_active(&self) -> Result<&Self, Refusal> {
        if self.active {
            return Ok(self);
        }
        Err(Refusal::invalid(format!("storage pool '{}' is not active", self.name)))
    }

    pub(super) fn needs_inactive(&self) -> Result<&Self, Refusal> {
        if !self.active {
            return Ok(self);
        }
        Err(Refusal::invalid(format!("storage pool '{}' is active", self.name)))
    }

    /// Makes the place that it lies in; what is there already is kept only if nobody said that it may go.
    pub(super) fn build(&mut self, flags: Build) -> Result<(), Refusal> {
        let named = |flag: Build, name| (flag.bits(), name);
        let both = [
            named(Build::OVERWRITE, "VIR_STORAGE_POOL_BUILD_OVERWRITE"),
            named(Build::NO_OVERWRITE, "VIR_STORAGE_POOL_BUILD_NO_OVERWRITE"),
        ];
        exclusive(flags.bits(), both[0], both[1])?;
        if self.built && flags.contains(Build::NO_OVERWRITE) {
            let text = format!(
                "Device '{}' already contains a file system, format overwrite is needed",
                self.path()
            );
            return Err(Refusal::new(ErrorNumber::StoragePoolBuilt, text).of(ErrorDomain::Storage));
        }
        if flags.contains(Build::OVERWRITE) {
            (self.volumes, self.allocation) = (Vec::new(), 0);
        }
        self.built = true;
        Ok(())
    }

    pub(super) fn add(&mut self, volume: Volume) -> Result<types::StorageVol<'static>, Refusal> {
        if self.volumes.iter().any(|known| known.name == volume.name) {
            return Err(Refusal::new(ErrorNumber::OperationFailed, "storage vol already exists"));
        }
        if self.allocation.saturating_add(volume.allocation) > self.capacity {
            let text = format!("Not enough free space in pool for volume '{}'", volume.name);
            return Err(Refusal::internal(text));
        }
        self.allocation += volume.allocation;
        let vol = self.vol(&volume.name);
        self.volumes.push(volume);
        Ok(vol)
    }
}

/// How a pool is made before it is started, if it is.
pub(super) fn built(flags: StoragePoolCreateFlags) -> Result<Option<Build>, Refusal> {
    use StoragePoolCreateFlags as F;
    let named = |flag: F, name| (flag.bits(), name);
    exclusive(
        flags.bits(),
        named(F::WITH_BUILD_OVERWRITE, "VIR_STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE"),
        named(F::WITH_BUILD_NO_OVERWRITE, "VIR_STORAGE_POOL_CREATE_WITH_BUILD_NO_OVERWRITE"),
    )?;
    Ok(match flags {
        _ if flags.contains(F::WITH_BUILD_OVERWRITE) => Some(Build::OVERWRITE),
        _ if flags.contains(F::WITH_BUILD_NO_OVERWRITE) => Some(Build::NO_OVERWRITE),
        _ if flags.contains(F::WITH_BUILD) => Some(Build::NEW),
        _ => None,
    })
}

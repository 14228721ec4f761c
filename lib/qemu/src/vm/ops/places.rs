//! Free ports and slots. They are chosen before a device is added, and nobody else gets them meanwhile.

use super::{OperationError, figure, plug::place_of};
use crate::{
    Vm,
    argv::{PORT_PREFIX, places},
    config::{CpuPlace, MemoryModule, ModulePlace},
    mutex::guarded,
};
use qmp::{
    CallError,
    commands::{
        HotpluggableCpu, MemoryDeviceInfo, PciDevice, QomGet, QomList, QueryHotpluggableCpus,
        QueryMemoryDevices, QueryPci,
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
};

/// Places and names that are about to be used, and what calls tell each other.
pub(crate) type Reserved = Arc<Mutex<BTreeSet<String>>>;

/// A name or place that is ours until this is dropped; what has it by then keeps it.
#[derive(Debug)]
pub(super) struct Reservation {
    reserved: Reserved,
    name: String,
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        guarded(&self.reserved).remove(&self.name);
    }
}

/// The place of a device.
#[derive(Debug)]
pub(super) struct Place {
    /// The member of the device that names it.
    member: &'static str,
    name: Reservation,
}

impl Place {
    /// Puts a device there.
    pub(super) fn put(&self, device: &mut Value) {
        if self.member == "addr" {
            device["bus"] = json!("pci.0");
        }
        device[self.member] = json!(self.name.name);
    }
}

/// What is where ([`Vm::places`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupied {
    /// Names of devices and the numbers of their places.
    pub devices: BTreeMap<String, u8>,
    /// Number of PCIe ports; `None` on boards without any.
    pub ports: Option<u8>,
    /// Memory modules, in the order of their slots.
    pub modules: Vec<MemoryModule>,
    /// CPUs beside those of the first start.
    pub cpus: Vec<CpuPlace>,
}

impl Vm {
    /// Where network cards, disks, the balloon and the random source sit, also those that were plugged, and what memory modules and CPUs were
    /// plugged: what a configuration says ([`crate::Config::occupied`]) that describes the machine as it is now, to be moved, restored, or started again.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn places(&self) -> Result<Occupied, OperationError> {
        let action = "ask what is where";
        let (modules, cpus) = (self.modules().await?, self.plugged_cpus().await?);
        let ports = self.ports().await?;
        let mut devices = BTreeMap::new();
        if ports.is_empty() {
            let buses = self.ask(action, &QueryPci {}).await?;
            for device in buses.into_iter().flat_map(|bus| bus.devices) {
                let slot = places::GENERAL_PCI_SLOTS.contains(&device.slot).then_some(device.slot as usize);
                let place = slot.map(|slot| slot - places::FIRST_PCI_SLOT);
                if let Some(place) = place.and_then(|place| u8::try_from(place).ok())
                    && !device.qdev_id.is_empty()
                {
                    devices.insert(device.qdev_id, place);
                }
            }
            return Ok(Occupied { devices, ports: None, modules, cpus });
        }
        for port in &ports {
            let path = format!("/machine/peripheral/{PORT_PREFIX}{port}/{PORT_PREFIX}{port}");
            let bus = self.ask(action, &QomList { path: path.clone() }).await?;
            let Some(child) = bus.into_iter().find(|item| item.name.starts_with("child[")) else { continue };
            let device = self.ask(action, &QomGet { path, property: child.name }).await?;
            if let Some(id) = device.as_str().and_then(|path| path.rsplit('/').next()) {
                devices.insert(id.to_owned(), *port);
            }
        }
        Ok(Occupied { devices, ports: u8::try_from(ports.len()).ok(), modules, cpus })
    }

    async fn modules(&self) -> Result<Vec<MemoryModule>, OperationError> {
        let devices = self.ask("ask for the memory modules", &QueryMemoryDevices {}).await?;
        let modules = devices.into_iter().filter_map(|device| {
            let MemoryDeviceInfo::Dimm(info) = device else { return None };
            let place = ModulePlace {
                slot: u16::try_from(info.slot).ok()?,
                address: u64::try_from(info.addr).ok()?,
                node: u16::try_from(info.node).ok()?,
            };
            Some(MemoryModule { id: info.id?, size_mib: figure(info.size) >> 20, place: Some(place) })
        });
        let mut modules: Vec<MemoryModule> = modules.collect();
        modules.sort_by_key(|module| module.place.map(|place| place.slot));
        Ok(modules)
    }

    /// Those of the start have no name.
    async fn plugged_cpus(&self) -> Result<Vec<CpuPlace>, OperationError> {
        let places = match self.ask("ask for the CPUs", &QueryHotpluggableCpus {}).await {
            // A board into which none can be plugged.
            Err(OperationError::Qmp { source: CallError::Refused { .. }, .. }) => return Ok(Vec::new()),
            places => places?,
        };
        let is_named = |place: &HotpluggableCpu| {
            let path = place.qom_path.as_deref();
            path.is_some_and(|path| path.starts_with("/machine/peripheral/"))
        };
        // Listed from the last to the first.
        Ok(places.iter().rev().filter(|place| is_named(place)).map(place_of).collect())
    }

    /// Numbers of PCIe ports, in order.
    async fn ports(&self) -> Result<Vec<u8>, OperationError> {
        let number = |name: &String| name.strip_prefix(PORT_PREFIX)?.parse().ok();
        let mut ports: Vec<u8> = self.devices().await?.iter().filter_map(number).collect();
        ports.sort_unstable();
        Ok(ports)
    }

    /// A place for a device, which may say what place it is to have.
    pub(super) async fn free_place(&self, id: &str, said: Option<u8>) -> Result<Place, OperationError> {
        let is_meant = |place: usize| said.is_none_or(|said| usize::from(said) == place);
        let ports = self.ports().await?;
        if ports.is_empty() {
            let slots = places::GENERAL_PCI_SLOTS;
            let slots = slots.filter(|slot| is_meant(*slot as usize - places::FIRST_PCI_SLOT));
            // Reserved before it is looked at, or two could find the same one empty.
            for slot in slots.map(|slot| format!("{slot:#x}")) {
                let Some(place) = self.reserve("addr", slot.clone()) else { continue };
                let buses = self.ask("look for a free place", &QueryPci {}).await?;
                let devices: Vec<PciDevice> = buses.into_iter().flat_map(|bus| bus.devices).collect();
                if free_slots(&devices).contains(&slot) {
                    return Ok(place);
                }
            }
            return Err(OperationError::NoPlace { id: id.to_owned() });
        }
        // The first two belong to the balloon and the random source, whether present or not.
        let is_general = |port: &u8| usize::from(*port) >= places::FIXED && is_meant(usize::from(*port));
        for port in ports.into_iter().filter(is_general) {
            let name = format!("{PORT_PREFIX}{port}");
            // Reserved before it is looked at, or two could find it empty.
            let Some(place) = self.reserve("bus", name.clone()) else { continue };
            // The bus itself knows; `query-pci` lists what lies behind a port only after the firmware has numbered it.
            let path = format!("/machine/peripheral/{name}/{name}");
            let bus = self.ask("look for a free port", &QomList { path }).await?;
            if !bus.iter().any(|item| item.name.starts_with("child[")) {
                return Ok(place);
            }
        }
        Err(OperationError::NoPlace { id: id.to_owned() })
    }

    fn reserve(&self, member: &'static str, value: String) -> Option<Place> {
        self.reserve_name(value).map(|name| Place { member, name })
    }

    pub(super) fn is_reserved(&self, name: &str) -> bool {
        guarded(&self.reserved).contains(name)
    }

    /// Has a name taken until it is given up: something that calls tell each other.
    pub(super) fn note(&self, name: String) {
        guarded(&self.reserved).insert(name);
    }

    pub(super) fn forget(&self, name: &str) {
        guarded(&self.reserved).remove(name);
    }

    pub(super) fn reserve_name(&self, name: String) -> Option<Reservation> {
        let mut reserved = guarded(&self.reserved);
        reserved.insert(name.clone()).then(|| Reservation { reserved: self.reserved.clone(), name })
    }
}

/// Slots of a conventional bus; a host without any bus has none.
fn free_slots(devices: &[PciDevice]) -> Vec<String> {
    if devices.is_empty() {
        return Vec::new();
    }
    let used: BTreeSet<i64> =
        devices.iter().filter(|device| device.bus == 0).map(|device| device.slot).collect();
    let slots = places::GENERAL_PCI_SLOTS.filter(|slot| !used.contains(slot));
    slots.map(|slot| format!("{slot:#x}")).collect()
}

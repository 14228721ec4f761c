//! Free ports and slots. They are chosen before a device is added, and nobody else gets them meanwhile.

use super::{OperationError, failed};
use crate::{
    Vm,
    argv::{PORT_PREFIX, places},
};
use qmp::commands::{PciDevice, QomList, QueryPci};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Places that are about to be used.
pub(crate) type Reserved = Arc<Mutex<BTreeSet<String>>>;

/// A place that is ours until this is dropped; a device that sits there by then keeps it.
#[derive(Debug)]
pub(super) struct Place {
    reserved: Reserved,
    name: String,
    /// Members of the device.
    bus: (&'static str, String),
}

impl Place {
    /// Puts a device there.
    pub(super) fn put(&self, device: &mut Value) {
        if self.bus.0 == "addr" {
            device["bus"] = json!("pci.0");
        }
        device[self.bus.0] = json!(self.bus.1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Vm {
    pub(super) async fn free_place(&self, id: &str) -> Result<Place, OperationError> {
        let number = |name: &String| name.strip_prefix(PORT_PREFIX)?.parse::<usize>().ok();
        let mut ports: Vec<usize> = self.devices().await?.iter().filter_map(number).collect();
        ports.sort_unstable();
        if ports.is_empty() {
            let buses = self.slow().call(&QueryPci {}).await.map_err(failed("look for a free place"))?;
            let devices: Vec<PciDevice> = buses.into_iter().flat_map(|bus| bus.devices).collect();
            let mut slots = free_slots(&devices).into_iter();
            return slots
                .find_map(|slot| self.reserve("addr", slot))
                .ok_or_else(|| OperationError::NoPlace { id: id.to_owned() });
        }
        // The first two belong to the balloon and the random source, whether present or not.
        for port in ports.into_iter().filter(|port| *port >= places::FIXED) {
            let name = format!("{PORT_PREFIX}{port}");
            // Reserved before it is looked at, or two could find it empty.
            let Some(place) = self.reserve("bus", name.clone()) else { continue };
            // The bus itself knows; `query-pci` lists what lies behind a port only after the firmware has numbered it.
            let path = format!("/machine/peripheral/{name}/{name}");
            let bus = self.slow().call(&QomList { path }).await.map_err(failed("look for a free port"))?;
            if !bus.iter().any(|item| item.name.starts_with("child[")) {
                return Ok(place);
            }
        }
        Err(OperationError::NoPlace { id: id.to_owned() })
    }

    fn reserve(&self, member: &'static str, value: String) -> Option<Place> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.insert(value.clone()).then(|| Place {
            reserved: self.reserved.clone(),
            name: value.clone(),
            bus: (member, value),
        })
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

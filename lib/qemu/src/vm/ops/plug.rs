//! Devices that come and go while the guest runs.
//!
//! Adding goes from the inside out (nodes, then the device), and is taken back in reverse when a step fails. Removing asks the guest, and the
//! nodes stay until it has let go.

use super::{OperationError, failed, guest};
use crate::{
    Vm,
    argv::{block_nodes, netdev, nic_device},
    config::{ConfigError, Disk, DiskBus, Nic, NicBackend, NicModel, Source, check_id},
};
use qmp::{
    CallError,
    commands::{QomList, QueryHotpluggableCpus, QueryNamedBlockNodes},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

impl Vm {
    /// Adds a virtio or NVMe disk. The guest finds it within moments.
    ///
    /// # Errors
    /// [`OperationError`]; nothing is left of a disk that could not be added.
    pub async fn plug_disk(&self, disk: &Disk) -> Result<(), OperationError> {
        disk.check(&BTreeSet::new())?;
        if !matches!(disk.bus, DiskBus::Virtio | DiskBus::Nvme) {
            return Err(ConfigError::conflict(&disk.id, "only virtio and NVMe disks are plugged").into());
        }
        let attached = block_nodes(disk, &mut plain)?;
        let place = self.free_place(&disk.id).await?;
        let adding = async {
            if let Some(limits) = &attached.limits {
                self.run(format!("limit {}", disk.id), "object-add", limits.clone()).await?;
            }
            for node in &attached.nodes {
                self.run(format!("open {}", disk.id), "blockdev-add", node.clone()).await?;
            }
            let mut device = attached.device(disk);
            place.put(&mut device);
            self.run(format!("add {}", disk.id), "device_add", device).await
        };
        let added = adding.await;
        if added.is_err() {
            self.close_disk(&disk.id).await?;
        }
        added.map(drop)
    }

    /// Takes a disk from the guest and closes its image. Waits for the guest to let go, at most `patience` long; asks again
    /// every few seconds, as a guest that is booting does not hear.
    ///
    /// # Errors
    /// [`OperationError`]. The disk is whole after [`OperationError::GuestRefused`] and [`OperationError::GuestSilent`], though in the latter
    /// case the guest may let go of it later.
    pub async fn unplug_disk(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        self.unplug(id, patience).await?;
        self.close_disk(id).await
    }

    /// Adds a network card.
    ///
    /// # Errors
    /// [`OperationError`]; nothing is left of a card that could not be added.
    pub async fn plug_nic(&self, nic: &Nic) -> Result<(), OperationError> {
        nic.check()?;
        if let NicBackend::VhostUser(_) = nic.backend {
            return Err(ConfigError::conflict(
                &nic.id,
                "vhost-user cards are part of the machine from its start",
            )
            .into());
        }
        let no_descriptor = &mut |key: &str| Err(ConfigError::NoDescriptor { key: key.to_owned() });
        let backend = netdev(nic, no_descriptor)?;
        let place = self.free_place(&nic.id).await?;
        let driver = if nic.model == NicModel::Virtio { "virtio-net-pci" } else { nic.model.driver() };
        let mut device = nic_device(nic, driver);
        place.put(&mut device);
        let name = backend["id"].clone();
        self.run(format!("connect {}", nic.id), "netdev_add", backend).await?;
        let added = self.run(format!("add {}", nic.id), "device_add", device).await;
        if added.is_err() {
            self.run(format!("disconnect {}", nic.id), "netdev_del", json!({"id": name})).await?;
        }
        added.map(drop)
    }

    /// Takes a network card from the guest, as [`Vm::unplug_disk`] does a disk.
    ///
    /// # Errors
    /// Likewise.
    pub async fn unplug_nic(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        self.unplug(id, patience).await?;
        self.run(format!("disconnect {id}"), "netdev_del", json!({"id": format!("{id}-net")})).await.map(drop)
    }

    /// Adds a CPU in the first empty place and answers its id. The guest may have to be told to use it.
    ///
    /// # Errors
    /// [`OperationError`]; [`OperationError::NoPlace`] when the machine has as many as it can ([`crate::config::Cpu::max`]).
    pub async fn plug_cpu(&self) -> Result<String, OperationError> {
        let places = self
            .slow()
            .call(&QueryHotpluggableCpus {})
            .await
            .map_err(failed("look for a place for a CPU"))?;
        // Listed from the last to the first.
        let free = places.into_iter().rfind(|place| place.qom_path.is_none());
        let Some(free) = free else { return Err(OperationError::NoPlace { id: "a CPU".to_owned() }) };
        let mut device = json!({});
        let props = free.props;
        let numbers = [
            ("node-id", props.node_id),
            ("socket-id", props.socket_id),
            ("die-id", props.die_id),
            ("core-id", props.core_id),
            ("thread-id", props.thread_id),
        ];
        let mut id = "cpu".to_owned();
        for (name, number) in numbers {
            if let Some(number) = number {
                device[name] = json!(number);
                id.push_str(&format!("-{number}"));
            }
        }
        (device["driver"], device["id"]) = (json!(free.kind), json!(id));
        self.run(format!("add {id}"), "device_add", device).await?;
        Ok(id)
    }

    /// Takes a plugged CPU from the guest.
    ///
    /// # Errors
    /// As [`Vm::unplug_disk`]. CPUs of the start have no id and stay.
    pub async fn unplug_cpu(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        self.unplug(id, patience).await
    }

    /// Adds a memory module of this size under this id. The guest may have to be told to use it.
    ///
    /// # Errors
    /// [`OperationError`]; QEMU refuses when no slot is left ([`crate::config::MemoryHotplug`]).
    pub async fn plug_memory(&self, id: &str, mib: u64) -> Result<(), OperationError> {
        check_id(id)?;
        let backend = format!("{id}-ram");
        let object = json!({"qom-type": "memory-backend-ram", "id": backend, "size": mib << 20});
        self.run(format!("take memory for {id}"), "object-add", object).await?;
        let device = json!({"driver": "pc-dimm", "id": id, "memdev": backend});
        let added = self.run(format!("add {id}"), "device_add", device).await;
        if added.is_err() {
            self.run(format!("give back the memory of {id}"), "object-del", json!({"id": backend})).await?;
        }
        added.map(drop)
    }

    /// Takes a memory module from the guest, which must be able to empty it, and gives its memory back to the host.
    ///
    /// # Errors
    /// As [`Vm::unplug_disk`]; a guest that cannot empty it refuses.
    pub async fn unplug_memory(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        self.unplug(id, patience).await?;
        self.run(format!("give back the memory of {id}"), "object-del", json!({"id": format!("{id}-ram")}))
            .await
            .map(drop)
    }

    /// Names of the devices of the machine that can be named: those of its start and those plugged since.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn devices(&self) -> Result<BTreeSet<String>, OperationError> {
        let path = "/machine/peripheral".to_owned();
        let found = self.slow().call(&QomList { path }).await.map_err(failed("list the devices"))?;
        Ok(found.into_iter().filter(|item| item.kind.starts_with("child<")).map(|item| item.name).collect())
    }

    /// Asks the guest to let go of a device until it has, has refused, or `patience` is over.
    async fn unplug(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        if !self.devices().await?.contains(id) {
            return Err(OperationError::Unknown { what: "device", id: id.to_owned() });
        }
        let name = id.to_owned();
        // Before the request: the answer may be quicker than its reply.
        let mut waiter = self.qmp().waiter(move |event| {
            let of_it = event.data.get("device").and_then(Value::as_str) == Some(&name);
            of_it
                && matches!(
                    event.name.as_str(),
                    "DEVICE_DELETED" | "DEVICE_UNPLUG_GUEST_ERROR" | "MEM_UNPLUG_ERROR"
                )
        });
        let what = format!("letting go of {id}");
        let mut left = patience;
        loop {
            let asked =
                self.run(format!("ask the guest to let go of {id}"), "device_del", json!({"id": id})).await;
            match asked {
                Ok(_) => {}
                Err(error) if is_pending(&error) => {}
                // It went between our questions.
                Err(_) if !self.devices().await?.contains(id) => return Ok(()),
                Err(error) => return Err(error),
            }
            let wait = left.min(ASK_AGAIN);
            match guest(&mut waiter, &what, wait).await {
                Ok(event) if event.name == "DEVICE_DELETED" => return Ok(()),
                Ok(_) => return Err(OperationError::GuestRefused { id: id.to_owned() }),
                Err(OperationError::GuestSilent { .. }) if left > wait => left -= wait,
                Err(OperationError::GuestSilent { what, .. }) => {
                    return Err(OperationError::GuestSilent { what, after: patience });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the nodes and limits of a disk that no device uses any more; those that are not there are no error.
    pub(super) async fn close_disk(&self, id: &str) -> Result<(), OperationError> {
        let query = QueryNamedBlockNodes { flat: Some(true) };
        loop {
            let nodes = self.slow().call(&query).await.map_err(failed("list the disks"))?;
            let ours =
                nodes.into_iter().filter_map(|node| node.node_name).filter(|node| is_node_of(node, id));
            // Those on top of others first; QEMU refuses the others until then.
            let (mut removed, mut refused) = (0, None);
            for node in ours {
                match self.run(format!("close {id}"), "blockdev-del", json!({"node-name": node})).await {
                    Ok(_) => removed += 1,
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(error) if removed == 0 => return Err(error),
                Some(_) => {}
                None => break,
            }
        }
        // There is an object only if the disk had limits of its own.
        let limits = json!({"id": format!("{id}-limits")});
        match self.run(format!("remove the limits of {id}"), "object-del", limits).await {
            Ok(_) | Err(OperationError::Qmp { source: CallError::Refused { .. }, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Descriptors travel at the start only.
pub(super) fn plain(source: &Source) -> Result<String, ConfigError> {
    match source {
        Source::Path(path) | Source::HostDevice(path) => match path.to_str() {
            Some(path) => Ok(path.to_owned()),
            None => Err(ConfigError::NotUtf8 { field: "disk", path: path.clone() }),
        },
        Source::Descriptor(key) => Err(ConfigError::NoDescriptor { key: key.clone() }),
        Source::Nbd { .. } | Source::Null { .. } => Ok(String::new()),
    }
}

/// Whether a block node belongs to a disk: see [`crate::argv`] for the names, [`super::snapshot`] for overlays.
pub(super) fn is_node_of(node: &str, id: &str) -> bool {
    let Some(rest) = node.strip_prefix(id) else { return false };
    let rest = rest.strip_suffix("-file").unwrap_or(rest);
    let numbered = |prefix: &str| {
        rest.strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    rest.is_empty() || rest == "-throttle" || rest == "-cor" || numbered("-b") || numbered("-s")
}

/// QEMU says so when it has asked the guest already.
fn is_pending(error: &OperationError) -> bool {
    let OperationError::Qmp { source, .. } = error else { return false };
    source.refusal().is_some_and(|refusal| refusal.desc.contains("unplug"))
}

/// A guest that has just begun to boot does not hear; QEMU itself takes another request after five seconds.
const ASK_AGAIN: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::is_node_of;

    #[test]
    fn nodes_are_told_from_those_of_other_disks() {
        for node in [
            "root",
            "root-file",
            "root-throttle",
            "root-cor",
            "root-b1",
            "root-b12-file",
            "root-s3",
            "root-s3-file",
        ] {
            assert!(is_node_of(node, "root"), "{node}");
        }
        for node in ["root-1", "root2", "roo", "root-b", "root-bx", "root-data", "data-root", "root-b1-cor"] {
            assert!(!is_node_of(node, "root"), "{node}");
        }
    }
}

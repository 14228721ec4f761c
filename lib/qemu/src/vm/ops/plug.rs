//! Devices that come and go while the guest runs.
//!
//! Adding goes from the inside out (nodes, then the device), and is taken back in reverse when a step fails. Removing asks the guest, and the
//! nodes stay until it has let go.

use super::{
    OperationError,
    follow::{Follow, Heard},
    rollback::{Made, Rollback, insist},
};
use crate::{
    Vm,
    argv::{block_nodes, netdev, nic_device},
    config::{ConfigError, Disk, DiskBus, Nic, NicBackend, NicModel, Source, check_id},
};
use qmp::{
    CallError,
    commands::{
        BlockdevDel, Command, DeviceDel, NetdevDel, ObjectDel, ObjectProperty, QomList,
        QueryHotpluggableCpus, QueryNamedBlockNodes,
    },
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
        self.is_free(&disk.id).await?;
        let place = self.free_place(&disk.id).await?;
        let mut rollback = Rollback::new(self);
        let id = || disk.id.clone();
        let adding = async {
            if let Some(limits) = &attached.limits {
                let made = Made::Object(name_of(limits, "id"));
                rollback.run(format!("limit {}", disk.id), "object-add", limits.clone(), made).await?;
            }
            for node in &attached.nodes {
                let made = Made::Node(name_of(node, "node-name"));
                rollback.run(format!("open {}", disk.id), "blockdev-add", node.clone(), made).await?;
            }
            let mut device = attached.device(disk);
            place.put(&mut device);
            rollback.run(format!("add {}", disk.id), "device_add", device, Made::Device(id())).await
        };
        let added = adding.await;
        settled(rollback, added).await
    }

    /// Takes a disk from the guest and closes its image. Waits for the guest to let go, at most `patience` long; asks again
    /// every few seconds, as a guest that is booting does not hear.
    ///
    /// # Errors
    /// [`OperationError`]. The disk is whole after [`OperationError::GuestRefused`] and [`OperationError::GuestSilent`], though in the latter
    /// case the guest may let go of it later.
    pub async fn unplug_disk(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        let unplugged = self.unplug(id, patience).await;
        // What an earlier attempt left, because the guest let go later or a job still used it.
        let closed = if let Ok(()) | Err(OperationError::Unknown { .. }) = &unplugged {
            self.close_disk(id).await?
        } else {
            0
        };
        if closed > 0 { Ok(()) } else { unplugged }
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
        self.is_free(&nic.id).await?;
        let mut rollback = Rollback::new(self);
        let adding = async {
            let made = Made::Netdev(name_of(&backend, "id"));
            rollback.run(format!("connect {}", nic.id), "netdev_add", backend, made).await?;
            rollback.run(format!("add {}", nic.id), "device_add", device, Made::Device(nic.id.clone())).await
        };
        let added = adding.await;
        settled(rollback, added).await
    }

    /// Takes a network card from the guest, as [`Vm::unplug_disk`] does a disk.
    ///
    /// # Errors
    /// Likewise.
    pub async fn unplug_nic(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        let backend = NetdevDel { id: format!("{id}-net") };
        self.unplug_with(id, patience, &backend).await
    }

    /// Adds a CPU in the first empty place and answers its id. The guest may have to be told to use it.
    ///
    /// # Errors
    /// [`OperationError`]; [`OperationError::NoPlace`] when the machine has as many as it can ([`crate::config::Cpu::max`]).
    pub async fn plug_cpu(&self) -> Result<String, OperationError> {
        let places = self.ask("look for a place for a CPU", &QueryHotpluggableCpus {}).await?;
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
        let mut rollback = Rollback::new(self);
        rollback.run(format!("add {id}"), "device_add", device, Made::Device(id.clone())).await?;
        rollback.keep();
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
        self.is_free(id).await?;
        let too_large = || ConfigError::conflict(id, "a memory module of more than 2^63 bytes");
        let bytes = mib.checked_mul(1 << 20).ok_or_else(too_large)?;
        let backend = format!("{id}-ram");
        let object = json!({"qom-type": "memory-backend-ram", "id": backend, "size": bytes});
        let device = json!({"driver": "pc-dimm", "id": id, "memdev": backend});
        let mut rollback = Rollback::new(self);
        let adding = async {
            let action = format!("take memory for {id}");
            rollback.run(action, "object-add", object, Made::Object(backend)).await?;
            rollback.run(format!("add {id}"), "device_add", device, Made::Device(id.to_owned())).await
        };
        let added = adding.await;
        settled(rollback, added).await
    }

    /// Takes a memory module from the guest, which must be able to empty it, and gives its memory back to the host.
    ///
    /// # Errors
    /// As [`Vm::unplug_disk`]; a guest that cannot empty it refuses.
    pub async fn unplug_memory(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        let backend = ObjectDel { id: format!("{id}-ram") };
        self.unplug_with(id, patience, &backend).await
    }

    /// Names of the devices of the machine that can be named: those of its start and those plugged since.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn devices(&self) -> Result<BTreeSet<String>, OperationError> {
        Ok(children(self.ask("list the devices", &QomList { path: PERIPHERAL.to_owned() }).await?))
    }

    /// Refuses an id that something has: what would be taken back after a failure would be another's.
    async fn is_free(&self, id: &str) -> Result<(), OperationError> {
        if self.devices().await?.contains(id) {
            return Err(ConfigError::conflict(id, "there is a device of this id").into());
        }
        Ok(())
    }

    /// Takes a device from the guest, then removes what it stood on; also what an earlier attempt left.
    async fn unplug_with<C: Command>(
        &self,
        id: &str,
        patience: Duration,
        backend: &C,
    ) -> Result<(), OperationError> {
        let unplugged = self.unplug(id, patience).await;
        if !matches!(&unplugged, Ok(()) | Err(OperationError::Unknown { .. })) {
            return unplugged;
        }
        let removed = insist(&mut Follow::new(self, &[]), backend).await;
        match (unplugged, removed) {
            (Err(unknown), Err(OperationError::Qmp { .. })) => Err(unknown),
            (_, removed) => removed,
        }
    }

    /// Asks the guest to let go of a device until it has, has refused, or `patience` is over.
    async fn unplug(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        let what = format!("letting go of {id}");
        let silent = OperationError::GuestSilent { what: what.clone(), after: patience };
        // Before the request: the answer may be quicker than its reply.
        let mut follow =
            Follow::new(self, &["DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR"]);
        if !self.plugged(&mut follow, &what).await?.contains(id) {
            return Err(OperationError::Unknown { what: "device", id: id.to_owned() });
        }
        let asking = async {
            loop {
                match self.tell(what.clone(), &DeviceDel { id: id.to_owned() }).await {
                    Ok(_) => {}
                    Err(error) if is_pending(&error) => {}
                    // It went between our questions, or the answer was lost and the next one tells.
                    Err(error) => {
                        if !self.plugged(&mut follow, &what).await?.contains(id) {
                            return Ok(());
                        }
                        if !matches!(error, OperationError::Undecided { .. }) {
                            return Err(error);
                        }
                    }
                }
                match tokio::time::timeout(ASK_AGAIN, self.let_go(id, &what, &mut follow)).await {
                    Ok(outcome) => return outcome,
                    Err(_) => continue,
                }
            }
        };
        tokio::time::timeout(patience, asking).await.unwrap_or(Err(silent))
    }

    /// Waits for the guest's answer.
    async fn let_go(&self, id: &str, what: &str, follow: &mut Follow) -> Result<(), OperationError> {
        loop {
            match follow.heard(what).await? {
                Heard::Event(event) => {
                    let of_it = event.data.get("device").and_then(Value::as_str) == Some(id);
                    match event.name.as_str() {
                        _ if !of_it => {}
                        "DEVICE_DELETED" => return Ok(()),
                        _ => return Err(OperationError::GuestRefused { id: id.to_owned() }),
                    }
                }
                Heard::Gap if !self.plugged(follow, what).await?.contains(id) => return Ok(()),
                Heard::Gap => {}
            }
        }
    }

    /// [`Vm::devices`], over any number of connections.
    async fn plugged(&self, follow: &mut Follow, what: &str) -> Result<BTreeSet<String>, OperationError> {
        Ok(children(follow.read(what, &QomList { path: PERIPHERAL.to_owned() }).await?))
    }

    /// Removes the nodes and limits of a disk that no device uses any more, and answers how many there were.
    pub(super) async fn close_disk(&self, id: &str) -> Result<usize, OperationError> {
        let mut closed = self.close_nodes(id, &[]).await?;
        // There is an object only if the disk had limits of its own.
        let limits = ObjectDel { id: format!("{id}-limits") };
        match insist(&mut Follow::new(self, &[]), &limits).await {
            Ok(()) => closed += 1,
            Err(OperationError::Qmp { source: CallError::Refused { .. }, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(closed)
    }

    /// Removes the nodes of a disk that are not among those that it uses.
    pub(super) async fn close_unused(&self, id: &str, used: &[String]) -> Result<(), OperationError> {
        self.close_nodes(id, used).await.map(drop)
    }

    async fn close_nodes(&self, id: &str, used: &[String]) -> Result<usize, OperationError> {
        let mut follow = Follow::new(self, &[]);
        let mut closed = 0;
        loop {
            let query = QueryNamedBlockNodes { flat: Some(true) };
            let nodes = follow.read("list the images", &query).await?;
            let in_use = |node: &str| used.iter().any(|it| it == node.strip_suffix("-file").unwrap_or(node));
            let ours = nodes.into_iter().filter_map(|node| node.node_name);
            let ours = ours.filter(|node| is_node_of(node, id) && !in_use(node));
            // Those on top of others first; QEMU refuses the others until then.
            let (mut removed, mut refused) = (0, None);
            for node in ours {
                match insist(&mut follow, &BlockdevDel { node_name: node }).await {
                    Ok(()) => removed += 1,
                    Err(error) => refused = Some(error),
                }
            }
            closed += removed;
            match refused {
                Some(error) if removed == 0 => return Err(error),
                Some(_) => {}
                None => return Ok(closed),
            }
        }
    }
}

/// Keeps what was made, or takes it back.
async fn settled(rollback: Rollback, added: Result<(), OperationError>) -> Result<(), OperationError> {
    match added {
        Ok(()) => rollback.keep(),
        Err(_) => rollback.undo().await,
    }
    added
}

fn name_of(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
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

fn children(items: Vec<ObjectProperty>) -> BTreeSet<String> {
    items.into_iter().filter(|item| item.kind.starts_with("child<")).map(|item| item.name).collect()
}

/// Where QEMU keeps the devices that have a name.
const PERIPHERAL: &str = "/machine/peripheral";

/// QEMU has asked the guest already: these are its words, and their class is that of every other refusal (hw/pci/pcie.c,
/// softmmu/qdev-monitor.c, 7.2 and 10.0).
fn is_pending(error: &OperationError) -> bool {
    let OperationError::Qmp { source, .. } = error else { return false };
    let told = ["in the process of unplug", "guest is busy"];
    source.refusal().is_some_and(|refusal| told.iter().any(|told| refusal.desc.contains(told)))
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

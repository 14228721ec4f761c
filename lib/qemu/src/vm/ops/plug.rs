//! Devices that come and go while the guest runs.
//!
//! Adding goes from the inside out (nodes, then the device), and is taken back in reverse when a step fails. Removing asks the guest, and the
//! nodes stay until it has let go.

mod answer;

use self::answer::{ANSWERS, Answer, answer};
use super::{
    OperationError, failed,
    follow::{Follow, Heard},
    host,
    places::Reservation,
    rollback::{Made, Rollback},
};
use crate::{
    Vm,
    argv::{block_nodes, connection, netdev, netdev_id, nic_device},
    config::{
        ConfigError, CpuPlace, Disk, DiskBus, Image, Nic, NicBackend, NicModel, Reconnect, Stream, check_id,
    },
};
use qmp::{
    CallError,
    commands::{
        BlockdevDel, ChardevRemove, Command, DeviceDel, HotpluggableCpu, NetdevDel, ObjectDel,
        ObjectProperty, QomGet, QomList, QueryHotpluggableCpus, QueryMemdev,
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::PathBuf,
    time::Duration,
};

impl Vm {
    /// Adds a virtio or NVMe disk. The guest finds it within moments. An encrypted one names a secret that the machine was started with
    /// ([`crate::Config::secrets`]).
    ///
    /// # Errors
    /// [`OperationError`]; nothing is left of a disk that could not be added.
    pub async fn plug_disk(&self, disk: &Disk) -> Result<(), OperationError> {
        self.plug_disk_with(disk, BTreeMap::new()).await
    }

    /// The same with the descriptors that the images name by key ([`crate::config::Source::Descriptor`]): for files that the process may
    /// not open or whose names it cannot take. QEMU keeps them until the disk is unplugged.
    ///
    /// # Errors
    /// [`OperationError`], as of [`Vm::plug_disk`].
    pub async fn plug_disk_with(
        &self,
        disk: &Disk,
        descriptors: BTreeMap<String, OwnedFd>,
    ) -> Result<(), OperationError> {
        let secrets = self.secrets_for(disk).await?;
        disk.check(&secrets.iter().map(String::as_str).collect())?;
        if !matches!(disk.bus, DiskBus::Virtio | DiskBus::Nvme) {
            return Err(ConfigError::conflict(&disk.id, "only virtio and NVMe disks are plugged").into());
        }
        self.is_free(&disk.id).await?;
        let place = self.free_place(&disk.id, disk.place).await?;
        let mut rollback = Rollback::new(self);
        let id = || disk.id.clone();
        let adding = async {
            let image = disk.image.as_ref();
            let files = self.hand_over_files(&disk.id, image, descriptors, &mut rollback).await?;
            let attached = block_nodes(disk, &mut |source| files.name(source))?;
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
        rollback.settle(added).await
    }

    /// The secrets of the machine, if the disk needs any.
    async fn secrets_for(&self, disk: &Disk) -> Result<BTreeSet<String>, OperationError> {
        if !disk.image.iter().flat_map(Image::chain).any(|image| image.key.is_some()) {
            return Ok(BTreeSet::new());
        }
        let objects = self.ask("list the secrets", &QomList { path: OBJECTS.to_owned() }).await?;
        Ok(objects.into_iter().filter(|it| it.kind == "child<secret>").map(|it| it.name).collect())
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
        self.plug_nic_with(nic, BTreeMap::new()).await
    }

    /// The same with the descriptors that its back end names by key: opened taps, a connected switch.
    ///
    /// # Errors
    /// [`OperationError`], as of [`Vm::plug_nic`]; refused for vhost-user in a machine whose memory no other process can map, and for one
    /// that listens: QEMU would stand until somebody comes in.
    pub async fn plug_nic_with(
        &self,
        nic: &Nic,
        descriptors: BTreeMap<String, OwnedFd>,
    ) -> Result<(), OperationError> {
        nic.check()?;
        // The names under which QEMU gets the descriptors.
        let mut names = Vec::new();
        let mut name = |key: &str| {
            let name = format!("{}-fd{}", nic.id, names.len());
            names.push((key.to_owned(), name.clone()));
            Ok(name)
        };
        let backend = match &nic.backend {
            // Of the newer kind QEMU looks for the name in a thread of its own, where no monitor has any, and tells nobody. What the older
            // one carries looks the same.
            NicBackend::Stream(Stream::Connected(key)) => {
                json!({"type": "socket", "id": netdev_id(nic), "fd": name(key)?})
            }
            NicBackend::Stream(Stream::ListenOn(_)) => {
                let reason = "QEMU takes a listening socket at its start only; hand over a connected one";
                return Err(ConfigError::conflict(&nic.id, reason).into());
            }
            _ => netdev(nic, &mut name)?,
        };
        let stream = match &nic.backend {
            NicBackend::VhostUser(stream) => Some(self.switch(nic, stream).await?),
            _ => None,
        };
        let place = self.free_place(&nic.id, nic.place).await?;
        let driver = if nic.model == NicModel::Virtio { "virtio-net-pci" } else { nic.model.driver() };
        let mut device = nic_device(nic, driver);
        place.put(&mut device);
        self.is_free(&nic.id).await?;
        let mut rollback = Rollback::new(self);
        let adding = async {
            let named = self.hand_over_named(names, descriptors).await?;
            let client = &named.client;
            let action = || format!("connect {}", nic.id);
            if let Some(stream) = stream {
                let id = stream_of(&nic.id);
                let command = json!({"id": id, "backend": stream});
                rollback.run_on(client, action(), "chardev-add", command, Made::Stream(id)).await?;
            }
            let made = Made::Netdev(name_of(&backend, "id"));
            rollback.run_on(client, action(), "netdev_add", backend, made).await?;
            named.used();
            rollback.run(format!("add {}", nic.id), "device_add", device, Made::Device(nic.id.clone())).await
        };
        let added = adding.await;
        rollback.settle(added).await
    }

    /// The connection to a switch that maps the guest's memory.
    async fn switch(&self, nic: &Nic, stream: &Stream) -> Result<Value, OperationError> {
        let wrong = |reason: &str| Err(ConfigError::conflict(&nic.id, reason).into());
        let Stream::Connect { to, again_s } = stream else {
            return wrong("a switch is connected to: QEMU would stand until one comes in");
        };
        if !self.has_shared_memory().await? {
            return wrong("another process maps the guest's memory: memory.sharing must be Shared");
        }
        let mut stream = connection(to)?;
        if *again_s > 0 {
            let schema = self.qmp().schema().await.map_err(failed("ask for the schema"))?;
            let (member, pause) = Reconnect::of(&schema).spelt(*again_s);
            stream["data"][member] = json!(pause);
        }
        Ok(stream)
    }

    /// A description of memory of the kind that the machine has: what maps the guest's memory maps all of it, and what huge pages are for is
    /// not left out of a part.
    async fn memory_like_the_rest(&self) -> Result<Value, OperationError> {
        let action = "ask for the memory";
        let mut follow = Follow::new(self, &[]);
        let memory = follow.read(action, &QueryMemdev {}).await?;
        let share = !memory.is_empty() && memory.iter().all(|module| module.share);
        let objects = follow.read(action, &QomList { path: OBJECTS.to_owned() }).await?;
        let ids = memory.into_iter().filter_map(|module| module.id);
        let kind =
            |id: &String| objects.iter().find(|object| object.name == *id).map(|object| object.kind.clone());
        for (id, kind) in ids.filter_map(|id| kind(&id).map(|kind| (id, kind))) {
            let mut of = async |property: &str| {
                let question = QomGet { path: format!("{OBJECTS}/{id}"), property: property.to_owned() };
                follow.read(action, &question).await
            };
            if kind == "child<memory-backend-memfd>" && of("hugetlb").await? == json!(true) {
                let size = of("hugetlbsize").await?;
                return Ok(
                    json!({"qom-type": "memory-backend-memfd", "hugetlb": true, "hugetlbsize": size, "share": share}),
                );
            }
            // Files of a directory are made as needed; a single file is the other memory's.
            if kind == "child<memory-backend-file>"
                && let Value::String(path) = of("mem-path").await?
                && let place = PathBuf::from(&path)
                && host("look at the memory's file", path.as_ref(), move |_| Ok(place.is_dir())).await?
            {
                return Ok(json!({"qom-type": "memory-backend-file", "mem-path": path, "share": share}));
            }
        }
        Ok(if share {
            json!({"qom-type": "memory-backend-memfd", "share": true})
        } else {
            json!({"qom-type": "memory-backend-ram"})
        })
    }

    /// Whether other processes can map the guest's memory.
    async fn has_shared_memory(&self) -> Result<bool, OperationError> {
        let memory = self.ask("ask for the memory", &QueryMemdev {}).await?;
        Ok(!memory.is_empty() && memory.iter().all(|module| module.share))
    }

    /// Takes a network card from the guest, as [`Vm::unplug_disk`] does a disk.
    ///
    /// # Errors
    /// Likewise.
    pub async fn unplug_nic(&self, id: &str, patience: Duration) -> Result<(), OperationError> {
        let backend = NetdevDel { id: format!("{id}-net") };
        self.unplug_with(id, patience, &backend).await?;
        // There is a stream only behind a card of vhost-user.
        let stream = ChardevRemove { id: stream_of(id) };
        match Follow::new(self, &[]).insist("close the stream of a card", &stream).await {
            Ok(()) | Err(OperationError::Qmp { source: CallError::Refused { .. }, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds a CPU in the first empty place and answers its id. The guest may have to be told to use it.
    ///
    /// # Errors
    /// [`OperationError`]; [`OperationError::NoPlace`] when the machine has as many as it can ([`crate::config::Cpu::max`]).
    pub async fn plug_cpu(&self) -> Result<String, OperationError> {
        let (device, id) = self.free_cpu().await?;
        let mut rollback = Rollback::new(self);
        let made = Made::Device(id.to_string());
        rollback.run(format!("add {id}"), "device_add", device, made).await?;
        rollback.keep();
        Ok(id.to_string())
    }

    /// The first place that is empty and that nobody else is about to take: the device for it, and its id.
    async fn free_cpu(&self) -> Result<(Value, Reservation), OperationError> {
        let mut taken = BTreeSet::new();
        loop {
            let places = self.ask("look for a place for a CPU", &QueryHotpluggableCpus {}).await?;
            // Listed from the last to the first.
            let mut free = places.iter().rev().filter(|place| place.qom_path.is_none()).map(cpu);
            let Some((device, id)) = free.find(|(_, id)| !taken.contains(id)) else {
                return Err(OperationError::NoPlace { id: "a CPU".to_owned() });
            };
            taken.insert(id.clone());
            // Looked at again once it is reserved, or two could find it empty.
            let Some(reserved) = self.reserve_name(id.clone()) else { continue };
            let places = self.ask("look for a place for a CPU", &QueryHotpluggableCpus {}).await?;
            if places.iter().any(|place| place.qom_path.is_none() && cpu(place).1 == id) {
                return Ok((device, reserved));
            }
        }
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
        let mut object = self.memory_like_the_rest().await?;
        (object["id"], object["size"]) = (json!(backend), json!(bytes));
        let device = json!({"driver": "pc-dimm", "id": id, "memdev": backend});
        let mut rollback = Rollback::new(self);
        let adding = async {
            let action = format!("take memory for {id}");
            rollback.run(action, "object-add", object, Made::Object(backend)).await?;
            rollback.run(format!("add {id}"), "device_add", device, Made::Device(id.to_owned())).await
        };
        let added = adding.await;
        rollback.settle(added).await
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
        let removed = Follow::new(self, &[]).insist("remove what a device stood on", backend).await;
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
        let mut follow = Follow::new(self, ANSWERS);
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
                Heard::Event(event) => match answer(&event, id) {
                    Some(Answer::LetGo) => return Ok(()),
                    Some(Answer::Refused) => return Err(OperationError::GuestRefused { id: id.to_owned() }),
                    None => {}
                },
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
        let mut closed = self.close_nodes(id).await?;
        // There is an object only if the disk had limits of its own.
        let limits = ObjectDel { id: format!("{id}-limits") };
        match Follow::new(self, &[]).insist("remove the limits of a disk", &limits).await {
            Ok(()) => closed += 1,
            Err(OperationError::Qmp { source: CallError::Refused { .. }, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(closed + self.drop_files(|disk| disk == id).await?)
    }

    /// Closes the nodes of a disk, and answers how many there were.
    async fn close_nodes(&self, id: &str) -> Result<usize, OperationError> {
        let mut follow = Follow::new(self, &[]);
        let mut closed = 0;
        loop {
            let what = "close the images of a disk";
            let nodes = follow.nodes(what).await?;
            let ours = nodes.into_iter().filter_map(|node| node.node_name);
            let ours = ours.filter(|node| is_node_of(node, id));
            // Those on top of others first; QEMU refuses the others until then.
            let (mut removed, mut refused) = (0, None);
            for node in ours {
                match follow.insist(what, &BlockdevDel { node_name: node }).await {
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

fn name_of(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}

/// The stream behind a card.
fn stream_of(nic: &str) -> String {
    format!("{nic}-chr")
}

/// Whether a block node belongs to a disk: see [`crate::argv`] for the names, [`super::snapshot`] for overlays.
pub(super) fn is_node_of(node: &str, id: &str) -> bool {
    let Some(rest) = node.strip_prefix(id) else { return false };
    let rest = rest.strip_suffix("-file").unwrap_or(rest);
    let numbered = |prefix: &str| {
        rest.strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let known = ["", "-throttle", "-cor", "-cbw", "-scr", "-view"];
    known.contains(&rest) || numbered("-b") || numbered("-s")
}

fn children(items: Vec<ObjectProperty>) -> BTreeSet<String> {
    items.into_iter().filter(|item| item.kind.starts_with("child<")).map(|item| item.name).collect()
}

/// Where QEMU keeps the devices that have a name.
const PERIPHERAL: &str = "/machine/peripheral";

/// Where it keeps what devices stand on.
const OBJECTS: &str = "/objects";

/// QEMU has asked the guest already: these are its words, and their class is that of every other refusal (hw/pci/pcie.c,
/// softmmu/qdev-monitor.c, 7.2 and 10.0).
fn is_pending(error: &OperationError) -> bool {
    let OperationError::Qmp { source, .. } = error else { return false };
    let told = ["in the process of unplug", "guest is busy"];
    source.refusal().is_some_and(|refusal| told.iter().any(|told| refusal.desc.contains(told)))
}

/// A guest that has just begun to boot does not hear; QEMU itself takes another request after five seconds.
const ASK_AGAIN: Duration = Duration::from_secs(6);

/// The place of a CPU.
pub(super) fn place_of(cpu: &HotpluggableCpu) -> CpuPlace {
    let number = |number: Option<i64>| number.and_then(|number| u16::try_from(number).ok());
    CpuPlace {
        node: number(cpu.props.node_id),
        socket: number(cpu.props.socket_id),
        die: number(cpu.props.die_id),
        core: number(cpu.props.core_id),
        thread: number(cpu.props.thread_id),
    }
}

/// The device for a place of a CPU, and its id.
fn cpu(cpu: &HotpluggableCpu) -> (Value, String) {
    let place = place_of(cpu);
    (place.device(&cpu.kind), place.id())
}

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

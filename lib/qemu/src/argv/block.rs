//! Disks: their graph of block nodes and their devices.

use super::{Line, places::Class, utf8};
use crate::config::{
    Address, Board, Cache, ConfigError, DetectZeroes, Disk, DiskBus, DiskKind, Format, Image, Source,
    Throttle,
};
use serde_json::{Map, Value, json};

/// What gives a file its name: the path itself, or a set of descriptors.
pub(crate) type Filename<'f> = &'f mut dyn FnMut(&Source) -> Result<String, ConfigError>;

/// The block nodes of a disk, those that others refer to first, and what its device needs to know of them.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    /// An object with the disk's own limits.
    pub(crate) limits: Option<Value>,
    /// Nodes, each as `blockdev-add` takes it.
    pub(crate) nodes: Vec<Value>,
    /// Name of the node that the device takes; `None` for an empty drive.
    pub(crate) top: Option<String>,
}

/// Describes the nodes of a disk.
pub(crate) fn nodes(disk: &Disk, filename: Filename<'_>) -> Result<Attached, ConfigError> {
    let mut attached = Attached { limits: None, nodes: Vec::new(), top: None };
    let Some(image) = &disk.image else { return Ok(attached) };
    image_nodes(image, &disk.id, disk.is_writable(), filename, &mut attached.nodes)?;
    let mut top = disk.id.clone();
    let mut filter = |driver: &str, suffix: &str, extra: Option<(&str, Value)>| {
        let name = format!("{}-{suffix}", disk.id);
        let mut node = json!({"driver": driver, "node-name": name, "file": top});
        if !disk.is_writable() {
            node["read-only"] = json!(true);
        }
        if let Some((member, value)) = extra {
            node[member] = value;
        }
        attached.nodes.push(node);
        top = name;
    };
    match &disk.throttle {
        None => {}
        Some(Throttle::Group(group)) => {
            filter("throttle", "throttle", Some(("throttle-group", json!(group))))
        }
        Some(Throttle::Own(limits)) => {
            let group = format!("{}-limits", disk.id);
            filter("throttle", "throttle", Some(("throttle-group", json!(group))));
            attached.limits = Some(throttle_group(&group, limits));
        }
    }
    if disk.copy_on_read {
        let name = format!("{}-cor", disk.id);
        attached.nodes.push(json!({"driver": "copy-on-read", "node-name": name, "file": top}));
        top = name;
    }
    attached.top = Some(top);
    Ok(attached)
}

/// A group of limits as an object.
pub(crate) fn throttle_group(id: &str, limits: &crate::config::Limits) -> Value {
    let limits: Map<String, Value> =
        limits.members().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    json!({"qom-type": "throttle-group", "id": id, "limits": limits})
}

/// The nodes of an image, those of its backing images first.
fn image_nodes(
    image: &Image,
    id: &str,
    writable: bool,
    filename: Filename<'_>,
    nodes: &mut Vec<Value>,
) -> Result<(), ConfigError> {
    let chain: Vec<&Image> = image.chain().collect();
    for (depth, image) in chain.iter().enumerate().rev() {
        let name = |depth: usize| if depth == 0 { id.to_owned() } else { format!("{id}-b{depth}") };
        let (node, read_only) = (name(depth), depth > 0 || !writable);
        let access = image.access;
        let file = format!("{node}-file");
        let mut below = source_node(&image.source, &file, filename)?;
        if depth > 0 && writable {
            // Committing reopens the image for writing and not its file, which is a node of its own: that goes by what is done with it.
            below["auto-read-only"] = json!(true);
        } else {
            below["read-only"] = json!(read_only);
        }
        below["discard"] = json!(access.discard.as_str());
        cache(&mut below, access.cache);
        if matches!(image.source, Source::Path(_) | Source::Descriptor(_) | Source::HostDevice(_)) {
            if let Some(aio) = access.aio {
                below["aio"] = json!(aio.as_str());
            }
            if let Some(lock) = access.lock {
                below["locking"] = json!(lock.as_str());
            }
        }
        nodes.push(below);
        let driver = match (image.format, &image.key) {
            (Format::Raw, Some(_)) => "luks",
            (format, _) => format.as_str(),
        };
        let mut format = json!({
            "driver": driver, "node-name": node, "file": file, "read-only": read_only, "discard": access.discard.as_str(),
        });
        match access.detect_zeroes {
            DetectZeroes::Off => {}
            DetectZeroes::On => format["detect-zeroes"] = json!("on"),
            DetectZeroes::Unmap => format["detect-zeroes"] = json!("unmap"),
        }
        cache(&mut format, access.cache);
        match (driver, &image.key) {
            ("luks", Some(key)) => format["key-secret"] = json!(key),
            (_, Some(key)) => format["encrypt"] = json!({"format": "luks", "key-secret": key}),
            (_, None) => {}
        }
        if matches!(image.format, Format::Qcow2 | Format::Vmdk) {
            format["backing"] = image.backing.as_ref().map_or(Value::Null, |_| json!(name(depth + 1)));
        }
        nodes.push(format);
    }
    Ok(())
}

fn cache(node: &mut Value, cache: Cache) {
    match cache {
        Cache::Writeback => {}
        Cache::None => node["cache"] = json!({"direct": true, "no-flush": false}),
        Cache::Unsafe => node["cache"] = json!({"direct": false, "no-flush": true}),
    }
}

fn source_node(source: &Source, node: &str, filename: Filename<'_>) -> Result<Value, ConfigError> {
    Ok(match source {
        Source::Path(_) | Source::Descriptor(_) => {
            json!({"driver": "file", "node-name": node, "filename": filename(source)?})
        }
        Source::HostDevice(_) => {
            json!({"driver": "host_device", "node-name": node, "filename": filename(source)?})
        }
        Source::Nbd { server, export } => {
            let server = socket_address(server)?;
            json!({"driver": "nbd", "node-name": node, "server": server, "export": export})
        }
        Source::Null { bytes } => {
            json!({"driver": "null-co", "node-name": node, "size": bytes, "read-zeroes": true})
        }
    })
}

/// QEMU's `SocketAddress`.
pub(crate) fn socket_address(address: &Address) -> Result<Value, ConfigError> {
    Ok(match address {
        Address::Unix(path) => json!({"type": "unix", "path": utf8("socket", path)?}),
        Address::Tcp(host, port) => json!({"type": "inet", "host": host, "port": port.to_string()}),
    })
}

/// The device of a disk without its place.
fn device(disk: &Disk, top: Option<String>, boot_index: usize) -> Value {
    let mut device = json!({"id": disk.id});
    if let Some(top) = top {
        device["drive"] = json!(top);
    }
    device["bootindex"] = json!(boot_index);
    if let Some(serial) = &disk.serial {
        device["serial"] = json!(serial);
    }
    if let Some(queues) = disk.queues {
        device["num-queues"] = json!(queues);
    }
    if let (Some(thread), DiskBus::Virtio) = (&disk.iothread, disk.bus) {
        device["iothread"] = json!(thread);
    }
    for (name, policy) in [("werror", disk.on_write_error), ("rerror", disk.on_read_error)] {
        if let (Some(policy), true) = (policy.as_str(), disk.bus != DiskBus::Nvme) {
            device[name] = json!(policy);
        }
    }
    if let Some((logical, physical)) = disk.sectors {
        device["logical_block_size"] = json!(logical);
        device["physical_block_size"] = json!(physical);
    }
    if disk.shared {
        device["share-rw"] = json!(true);
    }
    device
}

impl Attached {
    /// The device of a virtio or NVMe disk without its place, for plugging.
    pub(crate) fn device(&self, disk: &Disk) -> Value {
        let mut device = device(disk, self.top.clone(), 0);
        if let Value::Object(members) = &mut device {
            members.remove("bootindex");
        }
        device["driver"] = json!(if disk.bus == DiskBus::Nvme { "nvme" } else { "virtio-blk-pci" });
        device
    }
}

impl Line<'_> {
    /// Controllers that serve several devices.
    pub(super) fn controllers(&mut self) {
        for group in &self.config.throttle_groups {
            self.option("-object", &throttle_group(&group.id, &group.limits));
        }
        for number in 0..self.config.scsi_controllers() {
            let mut disks = self.config.disks.iter().filter(|disk| disk.bus == DiskBus::Scsi(number));
            let mut controller = json!({"driver": self.virtio("virtio-scsi"), "id": format!("scsi{number}")});
            if let Some(thread) = disks.find_map(|disk| disk.iothread.as_ref()) {
                controller["iothread"] = json!(thread);
            }
            self.classed(Class::Scsi, number.into(), controller);
        }
        if self.config.has_usb() {
            self.classed(Class::Usb, 0, json!({"driver": "qemu-xhci", "id": "usb0", "p2": 8, "p3": 8}));
        }
    }

    pub(super) fn disks(&mut self) -> Result<(), ConfigError> {
        let config = self.config;
        let (mut on_board, mut places) = (0, self.places.of_disks(config).into_iter());
        let mut scsi = [0u16; 8];
        for (index, disk) in config.disks.iter().enumerate() {
            let note = crate::vm::note_of_disk(&disk.id);
            let attached =
                nodes(disk, &mut |source| self.noted_filename("disk", source, Some(note.clone())))?;
            if let Some(limits) = &attached.limits {
                self.option("-object", limits);
            }
            for node in &attached.nodes {
                self.option("-blockdev", node);
            }
            let boot_index = disk
                .boot_index
                .map_or(index + 1 + CHOSEN_ORDERS * usize::from(self.has_chosen_order()), usize::from);
            let mut device = device(disk, attached.top, boot_index);
            let cdrom = disk.kind == DiskKind::Cdrom;
            match disk.bus {
                DiskBus::Virtio | DiskBus::Nvme => {
                    let driver =
                        if disk.bus == DiskBus::Nvme { "nvme".to_owned() } else { self.virtio("virtio-blk") };
                    device["driver"] = json!(driver);
                    self.general(places.next().expect("one for each such disk"), device);
                }
                DiskBus::Board => {
                    device["driver"] = json!(if cdrom { "ide-cd" } else { "ide-hd" });
                    if self.board == Board::I440fx {
                        device["bus"] = json!(format!("ide.{}", on_board / 2));
                        device["unit"] = json!(on_board % 2);
                    } else {
                        device["bus"] = json!(format!("ide.{on_board}"));
                    }
                    on_board += 1;
                    self.option("-device", &device);
                }
                DiskBus::Scsi(controller) => {
                    let target = &mut scsi[usize::from(controller)];
                    device["driver"] = json!(if cdrom { "scsi-cd" } else { "scsi-hd" });
                    device["bus"] = json!(format!("scsi{controller}.0"));
                    device["channel"] = json!(0);
                    device["scsi-id"] = json!(*target);
                    device["lun"] = json!(0);
                    *target += 1;
                    self.option("-device", &device);
                }
                DiskBus::Usb if cdrom => {
                    let bridge = format!("{}-usb", disk.id);
                    self.option("-device", &json!({"driver": "usb-bot", "id": bridge, "bus": "usb0.0"}));
                    device["driver"] = json!("scsi-cd");
                    device["bus"] = json!(format!("{bridge}.0"));
                    self.option("-device", &device);
                }
                DiskBus::Usb => {
                    device["driver"] = json!("usb-storage");
                    device["bus"] = json!("usb0.0");
                    self.option("-device", &device);
                }
            }
        }
        Ok(())
    }

    /// Where a place in the boot order is chosen, the others come after all that can be chosen.
    pub(super) fn has_chosen_order(&self) -> bool {
        self.config.disks.iter().any(|disk| disk.boot_index.is_some())
            || self.config.nics.iter().any(|nic| nic.boot_index.is_some())
    }
}

/// Places in the boot order are 16 bits wide.
const CHOSEN_ORDERS: usize = 1 << 16;

//! Where each device sits. Guests name their network cards and disks by it, and a machine that moves must find them there: a disk more moves
//! no card, and a device that was plugged can say where it is.
//!
//! ```text
//!  q35      pcie.0 -- slots 1..: root ports of eight functions; port0: balloon, port1: rng, port2..: network cards,
//!              |                 then disks, then spare ports
//!              |-- slots 0x1c downward: one slot per class of device (graphics, channels, USB, ...), function by number
//!              '-- ide.0..5: SATA disks and CD-ROM drives                isa: serial ports
//!  i440fx   pci.0, the same without root ports: slots 3.. and 0x1c downward; ide.0..1 with two units each
//!  microvm  eight virtio-mmio places: the same from 0 upward and from 7 downward
//! ```

use super::{Line, PORT_PREFIX};
use crate::config::{
    Board, Config, ConfigError, DiskBus, Gpu, Iommu, PanicModel, SerialKind, SoundCard, WatchdogModel,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Devices that have a slot of the root bus to themselves, in the order of slots downward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Gpu,
    Channels,
    Usb,
    Scsi,
    Sound,
    Share,
    VhostUser,
    Input,
    Vsock,
    Watchdog,
    Panic,
    Iommu,
    Serial,
}

/// The places of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    board: Board,
    /// Devices in the general places, spare ones included.
    general: usize,
    /// Those of network cards and of disks that have one, in the order of the configuration.
    devices: Vec<usize>,
    /// Number of devices of each class that is there.
    classes: BTreeMap<Class, usize>,
}

impl Places {
    pub(crate) fn new(config: &Config, board: Board) -> Self {
        let devices = chosen(config);
        let spare = if board == Board::Microvm { 0 } else { usize::from(config.spare_ports) };
        let on_pci = |gpu: &&Gpu| **gpu != Gpu::Ramfb;
        let pci_serial = config.serials.iter().filter(|serial| serial.kind == SerialKind::Pci).count();
        let pci_sound = config.sound.as_ref().is_some_and(|sound| sound.card != SoundCard::Usb);
        let pci_watchdog = config.watchdog.is_some_and(|it| it.model == WatchdogModel::I6300esb);
        let counts = [
            (Class::Gpu, config.display.gpus.iter().filter(on_pci).count()),
            (Class::Channels, config.has_virtio_serial().into()),
            (Class::Usb, config.has_usb().into()),
            (Class::Scsi, config.scsi_controllers().into()),
            (Class::Sound, pci_sound.into()),
            (Class::Share, config.shares.len()),
            (Class::VhostUser, config.vhost_user.len()),
            (Class::Input, config.inputs.len()),
            (Class::Vsock, config.vsock.is_some().into()),
            (Class::Watchdog, pci_watchdog.into()),
            (Class::Panic, config.panic.is_some_and(|panic| panic.model == PanicModel::Pci).into()),
            (Class::Iommu, (config.tuning.iommu == Some(Iommu::Virtio)).into()),
            (Class::Serial, pci_serial),
        ];
        let classes = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        Self { board, general: FIXED + devices.len() + spare, devices, classes }
    }

    /// Those of network cards.
    pub(super) fn of_nics(&self, config: &Config) -> Vec<usize> {
        self.devices[..config.nics.len()].to_vec()
    }

    /// Those of disks that have one.
    pub(super) fn of_disks(&self, config: &Config) -> Vec<usize> {
        self.devices[config.nics.len()..].to_vec()
    }

    /// Whether all fit.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let range = |field, value: usize, most: usize| {
            if value <= most {
                Ok(())
            } else {
                Err(ConfigError::Range { field, value: value as u64, allowed: format!("at most {most}") })
            }
        };
        for count in self.classes.values() {
            range("number of devices of a class", *count, 8)?;
        }
        let most = match self.board {
            Board::Q35 => (self.lowest_class_slot() - FIRST_PORT_SLOT) * 8,
            Board::I440fx => self.lowest_class_slot() - FIRST_PCI_SLOT,
            Board::Microvm => MMIO_PLACES.saturating_sub(self.classes.values().sum()),
        };
        range("number of devices and spare ports", self.general, most)?;
        let mut taken = BTreeSet::new();
        for place in &self.devices {
            if !(FIXED..self.general).contains(place) {
                let allowed = format!("{FIXED} to {}: more spare ports give more", self.general - 1);
                return Err(ConfigError::Range { field: "place", value: *place as u64, allowed });
            }
            if !taken.insert(place) {
                return Err(ConfigError::conflict(format!("place {place}"), "two devices cannot have it"));
            }
        }
        Ok(())
    }

    fn lowest_class_slot(&self) -> usize {
        self.classes.keys().last().map_or(TOP_SLOT + 1, |class| class_slot(*class))
    }

    /// The bus and address of a general place.
    fn general(&self, index: usize) -> Vec<(&'static str, Value)> {
        match self.board {
            Board::Q35 => vec![("bus", json!(format!("{PORT_PREFIX}{index}"))), ("addr", json!("0x0"))],
            Board::I440fx => {
                vec![("bus", json!("pci.0")), ("addr", json!(format!("{:#x}", FIRST_PCI_SLOT + index)))]
            }
            Board::Microvm => vec![("bus", json!(format!("virtio-mmio-bus.{index}")))],
        }
    }

    /// The bus and address of a device by class and number.
    fn class(&self, class: Class, index: usize) -> Vec<(&'static str, Value)> {
        let bus = match self.board {
            Board::Q35 => "pcie.0",
            Board::I440fx => "pci.0",
            Board::Microvm => {
                let above: usize = self.classes.range(..class).map(|(_, count)| count).sum();
                return vec![("bus", json!(format!("virtio-mmio-bus.{}", MMIO_PLACES - 1 - above - index)))];
            }
        };
        let mut place =
            vec![("bus", json!(bus)), ("addr", json!(format!("{:#x}.{index:x}", class_slot(class))))];
        if index == 0 && self.classes.get(&class).is_some_and(|count| *count > 1) {
            place.push(("multifunction", json!(true)));
        }
        place
    }
}

/// The places of network cards and then of disks: what they say, and for the rest the next that nobody says.
fn chosen(config: &Config) -> Vec<usize> {
    let general = config.disks.iter().filter(|disk| is_general(disk.bus));
    let said: Vec<Option<u8>> =
        config.nics.iter().map(|nic| nic.place).chain(general.map(|disk| disk.place)).collect();
    let taken: BTreeSet<usize> = said.iter().flatten().map(|place| usize::from(*place)).collect();
    let mut free = (FIXED..).filter(|place| !taken.contains(place));
    let next = said.into_iter().map(|place| place.map(usize::from).or_else(|| free.next()));
    next.flatten().collect()
}

/// Whether disks of this bus have a general place.
pub(crate) fn is_general(bus: DiskBus) -> bool {
    matches!(bus, DiskBus::Virtio | DiskBus::Nvme)
}

impl Line<'_> {
    pub(super) fn root_ports(&mut self) {
        if self.board != Board::Q35 {
            return;
        }
        for port in 0..self.places.general {
            let (slot, function) = (FIRST_PORT_SLOT + port / 8, port % 8);
            let mut device = json!({
                "driver": "pcie-root-port", "id": format!("{PORT_PREFIX}{port}"), "bus": "pcie.0",
                "addr": format!("{slot:#x}.{function:x}"), "chassis": port + 1, "port": port,
            });
            if function == 0 {
                device["multifunction"] = json!(true);
            }
            self.option("-device", &device);
        }
    }

    /// Adds a device in a general place.
    pub(super) fn general(&mut self, index: usize, mut device: Value) {
        for (name, value) in self.places.general(index) {
            device[name] = value;
        }
        self.option("-device", &device);
    }

    /// Adds a device of a class.
    pub(super) fn classed(&mut self, class: Class, index: usize, mut device: Value) {
        for (name, value) in self.places.class(class, index) {
            device[name] = value;
        }
        self.option("-device", &device);
    }

    /// Name of a virtio driver on this board.
    pub(super) fn virtio(&self, driver: &str) -> String {
        format!("{driver}-{}", if self.board == Board::Microvm { "device" } else { "pci" })
    }
}

/// From the top down, in the order of the classes.
fn class_slot(class: Class) -> usize {
    TOP_SLOT - class as usize
}

/// General places 0 and 1 belong to the balloon and the random source, whether present or not.
pub(crate) const FIXED: usize = 2;

/// First slot of the root bus that holds root ports; slot 0 is the host bridge, 0x1f the board's own devices.
const FIRST_PORT_SLOT: usize = 1;

/// On i440fx slot 1 is the board's own; slot 2 is where old firmware looks for VGA.
pub(crate) const FIRST_PCI_SLOT: usize = 3;

/// Slots of an i440fx board that devices can be plugged into; the first two of them are the balloon's and the random source's.
pub(crate) const GENERAL_PCI_SLOTS: std::ops::RangeInclusive<i64> = 5..=0xf;

/// Slots above are the q35 board's own (USB and the ISA bridge).
const TOP_SLOT: usize = 0x1c;

/// QEMU 7.2's microvm has so many.
const MMIO_PLACES: usize = 8;

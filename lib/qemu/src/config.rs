//! What a virtual machine is made of. Plain values; [`crate::argv`] turns them into a command line.
//!
//! ```text
//!  Config -- machine, cpu, memory, boot          what the guest is
//!        |-- disks, nics, shares, ...            what is attached to it
//!        |-- display, serials, channels          how people and agents reach it
//!        '-- sandbox, secrets, tls               what its process may do and knows
//! ```
//!
//! Everything is checked by [`Config::check`] without a host: ids, ranges, references and what excludes each other. What only
//! QEMU can know (whether a model has a feature, whether a file exists) it says itself at the start.

mod block;
mod chardev;
mod check;
mod cpu;
mod device;
mod display;
mod error;
mod firmware;
mod machine;
mod memory;
mod net;
mod security;

pub use block::{
    Access, Aio, Cache, DetectZeroes, Discard, Disk, DiskBus, DiskKind, Format, Image, Limits, OnError,
    Source, Throttle, ThrottleGroup,
};
pub use chardev::{Address, Channel, Chardev, Reconnect, Serial, SerialKind, Stream};
pub use cpu::{Cpu, CpuPlace, Topology};
pub use device::{
    Balloon, FwCfg, FwCfgContent, Input, NinePSecurity, Panic, PanicAction, PanicModel, Rng, RngSource,
    Share, ShareKind, Smbios, Sound, SoundBackend, SoundCard, Tpm, TpmModel, Usb, VhostUser, VhostUserKind,
    Vsock, Watchdog, WatchdogAction, WatchdogModel,
};
pub use display::{Dbus, Display, Gpu, ImageCompression, Password, Spice, Vnc, VncShare};
pub use error::ConfigError;
pub(crate) use error::{absolute, utf8};
pub use firmware::{Boot, DirectKernel, Firmware};
pub use machine::{Accelerator, Board, Clock, ClockBase, ClockSource, Iommu, Switch, Tuning};
pub use memory::{
    Allocation, Backing, Distance, HostPolicy, Memory, MemoryHotplug, MemoryModule, ModulePlace, NumaNode,
    Sharing,
};
pub use net::{Forward, Nic, NicBackend, NicModel, Protocol, UserNetwork};
pub use security::{Encoding, Permission, Sandbox, Secret, Tls, TlsRole};

pub(crate) use machine::date;

use crate::{
    argv::places::{FIXED, is_general},
    vm::Occupied,
};
use uuid::Uuid;

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name shown in process lists and to management; any text.
    pub name: String,
    /// Identity: given to the guest (SMBIOS) and used to recognise the process.
    pub uuid: Uuid,
    /// Versioned machine type such as `pc-q35-7.2`; see [`Board`]. Never the alias `q35` for a machine that is kept: its
    /// meaning changes with QEMU's version, and with it the hardware the guest sees.
    pub machine: String,
    /// What executes the guest's code.
    pub accelerator: Accelerator,
    /// Settings of both that most machines leave alone.
    pub tuning: Tuning,
    /// Virtual CPUs.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// How the guest starts.
    pub boot: Boot,
    /// Battery-backed clock.
    pub clock: Clock,
    /// Disks and CD-ROMs; the order is the boot order.
    pub disks: Vec<Disk>,
    /// Limits that disks share.
    pub throttle_groups: Vec<ThrottleGroup>,
    /// Threads that serve disks.
    pub iothreads: Vec<String>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Graphics.
    pub display: Display,
    /// Serial ports beside the console.
    pub serials: Vec<Serial>,
    /// Channels to agents in the guest.
    pub channels: Vec<Channel>,
    /// Directories of the host.
    pub shares: Vec<Share>,
    /// Devices that other processes implement.
    pub vhost_user: Vec<VhostUser>,
    /// Devices on USB; there is a controller if there is a device.
    pub usb: Vec<Usb>,
    /// virtio input devices.
    pub inputs: Vec<Input>,
    /// Sound card.
    pub sound: Option<Sound>,
    /// Host randomness (virtio-rng).
    pub rng: Option<Rng>,
    /// Memory balloon (virtio-balloon).
    pub balloon: Option<Balloon>,
    /// Trusted platform module.
    pub tpm: Option<Tpm>,
    /// Sockets between host and guest.
    pub vsock: Option<Vsock>,
    /// Watchdog.
    pub watchdog: Option<Watchdog>,
    /// Notice of a guest's panic.
    pub panic: Option<Panic>,
    /// Identity that changes when the guest is copied or set back (`vmgenid`).
    pub generation: Option<Uuid>,
    /// A place where the guest tells how to read its dump (`vmcoreinfo`).
    pub dump_info: bool,
    /// Tables of the firmware.
    pub smbios: Smbios,
    /// Files of the firmware configuration device.
    pub fw_cfg: Vec<FwCfg>,
    /// What the process may do.
    pub sandbox: Sandbox,
    /// Passwords and keys.
    pub secrets: Vec<Secret>,
    /// TLS credentials.
    pub tls: Vec<Tls>,
    /// Empty places kept for hot-plug; PCIe ports themselves cannot be added to a running machine.
    pub spare_ports: u8,
    /// How the program spells what was renamed; see [`Reconnect::of`].
    pub reconnect: Reconnect,
    /// Arguments added at the end, as they are: for what has no member here yet.
    pub extra: Vec<std::ffi::OsString>,
}

/// Longest id: QEMU's block node names end at 31 bytes and carry a suffix of ours.
pub const MAX_ID_BYTES: usize = 20;

/// Checks a device id: 1 to 20 of `a-z`, `0-9` and `-`, a letter first; no name that is made here, for devices of every machine or
/// for what stands behind a device (`root-file`, `root-s1`).
///
/// # Errors
/// [`ConfigError::Id`].
pub fn check_id(id: &str) -> Result<(), ConfigError> {
    let plain = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain
        && !check::is_ours(id)
        && id.len() <= MAX_ID_BYTES
        && id.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
    {
        Ok(())
    } else {
        Err(ConfigError::Id { id: id.to_owned() })
    }
}

impl Config {
    /// The same with network cards and disks in the places that they have in a running machine ([`crate::Vm::places`]), of which it has as
    /// many: add those that were plugged before, and leave out what was unplugged. Memory and CPUs are what the machine has of them. Then it can
    /// be moved, restored and started again as it is.
    ///
    /// ```
    /// # use qemu::{Config, config::{Nic, NicBackend}, vm::Occupied};
    /// # let mut config = Config::new("web", uuid::Uuid::nil(), "q35", 1, 512);
    /// # let card = || Nic::new("nic1", [0x52, 0x54, 0, 0, 0, 1], NicBackend::User { forwards: Vec::new(), restrict: false });
    /// # let occupied = Occupied { devices: [("nic1".to_owned(), 4)].into(), ports: Some(6), ..Occupied::default() };
    /// // After `vm.plug_nic(&card())`, and `let occupied = vm.places().await?`:
    /// config.nics.push(card());
    /// let now = config.occupied(&occupied);
    /// assert_eq!((now.nics[0].place, now.spare_ports), (Some(4), 3));
    /// ```
    #[must_use]
    pub fn occupied(mut self, occupied: &Occupied) -> Self {
        let place = |id: &str| occupied.devices.get(id).copied();
        for nic in &mut self.nics {
            nic.place = place(&nic.id);
        }
        for disk in self.disks.iter_mut().filter(|disk| is_general(disk.bus)) {
            disk.place = place(&disk.id);
        }
        if let Some(ports) = occupied.ports {
            let disks = self.disks.iter().filter(|disk| is_general(disk.bus)).count();
            let used = FIXED + self.nics.len() + disks;
            self.spare_ports = u8::try_from(used).map_or(0, |used| ports.saturating_sub(used));
        }
        self.memory.modules.clone_from(&occupied.modules);
        self.cpu.plugged.clone_from(&occupied.cpus);
        self
    }

    /// A machine of the given size without disks and network cards, on which everything else has its default: random
    /// numbers, a balloon, four spare ports.
    #[must_use]
    pub fn new(name: &str, uuid: Uuid, machine: &str, cpus: u16, memory_mib: u64) -> Self {
        Self {
            name: name.to_owned(),
            uuid,
            machine: machine.to_owned(),
            accelerator: Accelerator::Tcg,
            tuning: Tuning::default(),
            cpu: Cpu::new(cpus),
            memory: Memory::new(memory_mib),
            boot: Boot::default(),
            clock: Clock::default(),
            disks: Vec::new(),
            throttle_groups: Vec::new(),
            iothreads: Vec::new(),
            nics: Vec::new(),
            display: Display::default(),
            serials: Vec::new(),
            channels: Vec::new(),
            shares: Vec::new(),
            vhost_user: Vec::new(),
            usb: Vec::new(),
            inputs: Vec::new(),
            sound: None,
            rng: Some(Rng::default()),
            balloon: Some(Balloon::default()),
            tpm: None,
            vsock: None,
            watchdog: None,
            panic: None,
            generation: None,
            dump_info: false,
            smbios: Smbios::default(),
            fw_cfg: Vec::new(),
            sandbox: Sandbox::default(),
            secrets: Vec::new(),
            tls: Vec::new(),
            spare_ports: 4,
            reconnect: Reconnect::default(),
            extra: Vec::new(),
        }
    }

    /// Keys of descriptors that QEMU opens anew by their numbers, instead of using them.
    pub(crate) fn opened_anew(&self) -> impl Iterator<Item = &str> {
        let secrets = self.secrets.iter().map(|secret| &secret.source);
        let files = self.fw_cfg.iter().filter_map(|file| match &file.content {
            FwCfgContent::File(source) => Some(source),
            _ => None,
        });
        secrets.chain(files).filter_map(|source| match source {
            Source::Descriptor(key) => Some(key.as_str()),
            _ => None,
        })
    }

    /// With another disk.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// With another network card.
    #[must_use]
    pub fn nic(mut self, nic: Nic) -> Self {
        self.nics.push(nic);
        self
    }

    /// Whether a controller for USB is needed.
    pub(crate) fn has_usb(&self) -> bool {
        let on_usb = |serial: &Serial| serial.kind == SerialKind::Usb;
        !self.usb.is_empty()
            || self.disks.iter().any(|disk| disk.bus == DiskBus::Usb)
            || self.serials.iter().any(on_usb)
            || self.sound.as_ref().is_some_and(|sound| sound.card == SoundCard::Usb)
    }

    /// Whether a controller for consoles and channels is needed.
    pub(crate) fn has_virtio_serial(&self) -> bool {
        !self.channels.is_empty() || self.serials.iter().any(|serial| serial.kind == SerialKind::Virtio)
    }

    /// How many SCSI controllers are needed: all up to the highest that a disk names, so that none ever moves.
    pub(crate) fn scsi_controllers(&self) -> u8 {
        let of = |disk: &Disk| if let DiskBus::Scsi(number) = disk.bus { Some(number + 1) } else { None };
        self.disks.iter().filter_map(of).max().unwrap_or(0)
    }
}

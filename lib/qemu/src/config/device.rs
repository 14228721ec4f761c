//! Smaller devices.

use super::{
    block::Source,
    chardev::{Chardev, Stream},
    check_id,
    error::{ConfigError, range},
};
use std::path::PathBuf;

/// A memory balloon (virtio-balloon).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balloon {
    /// The guest tells which pages it does not use; they return to the host by themselves.
    pub free_page_reporting: bool,
    /// The guest takes memory back instead of running out of it.
    pub deflate_on_oom: bool,
}

/// Where random numbers for virtio-rng come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    /// Their source.
    pub source: RngSource,
    /// At most so many bytes in so many milliseconds.
    pub limit: Option<(u64, u32)>,
}

/// Where random numbers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RngSource {
    /// A file, usually `/dev/urandom`.
    File(PathBuf),
    /// QEMU itself: needs no file.
    Builtin,
    /// A daemon of the entropy gathering protocol.
    Egd(Stream),
}

impl Default for Rng {
    fn default() -> Self {
        Self { source: RngSource::File("/dev/urandom".into()), limit: None }
    }
}

/// A trusted platform module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tpm {
    /// How the guest sees it.
    pub model: TpmModel,
    /// Control socket of swtpm: an address to connect to, or a connected socket.
    pub control: Stream,
}

/// How the guest sees a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TpmModel {
    /// Command response buffer: TPM 2.0 only.
    Crb,
    /// FIFO: TPM 1.2 and 2.0.
    Tis,
}

/// A timer that the guest must reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// The device.
    pub model: WatchdogModel,
    /// What happens when the guest does not.
    pub action: WatchdogAction,
}

/// A watchdog device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogModel {
    /// Intel 6300ESB, on PCI.
    I6300esb,
    /// iBASE 700, on ISA.
    Ib700,
    /// The one of the q35 board itself.
    Tco,
}

/// What a watchdog does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogAction {
    /// Reset the machine.
    Reset,
    /// Ask the guest to power off.
    Shutdown,
    /// Power off.
    Poweroff,
    /// Stop the machine.
    Pause,
    /// Only an event.
    None,
    /// An interrupt that the guest cannot mask.
    InjectNmi,
}

impl WatchdogAction {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Shutdown => "shutdown",
            Self::Poweroff => "poweroff",
            Self::Pause => "pause",
            Self::None => "none",
            Self::InjectNmi => "inject-nmi",
        }
    }
}

/// A device by which the guest tells that it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The device.
    pub model: PanicModel,
    /// What happens then.
    pub action: PanicAction,
}

/// A panic device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicModel {
    /// On ISA.
    Isa,
    /// On PCI.
    Pci,
}

/// What happens when the guest panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicAction {
    /// It stays, stopped, for a dump.
    Pause,
    /// It is off, as after its own power-off; the reason says why.
    Poweroff,
    /// Only an event.
    None,
}

impl PanicAction {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            // `shutdown` would leave it stopped where the process is kept, as ours is.
            Self::Poweroff => "exit-failure",
            Self::None => "none",
        }
    }
}

/// A device on USB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usb {
    /// A pointer with absolute coordinates.
    Tablet,
    /// A mouse.
    Mouse,
    /// A keyboard.
    Keyboard,
    /// A reader for smart cards with a card emulated by the host's software.
    SmartCard(Chardev),
    /// A device of the host, by vendor and product.
    Host {
        /// Vendor.
        vendor: u16,
        /// Product.
        product: u16,
    },
    /// A device that a SPICE client or another program hands over.
    Redirected(Chardev),
}

/// A virtio input device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A keyboard.
    Keyboard,
    /// A mouse.
    Mouse,
    /// A pointer with absolute coordinates.
    Tablet,
    /// A device of the host, `/dev/input/event<n>`.
    Host(PathBuf),
}

/// A sound card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// The card.
    pub card: SoundCard,
    /// Where sound goes to and comes from.
    pub backend: SoundBackend,
}

/// A sound card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoundCard {
    /// Intel High Definition Audio with line in and out.
    Hda,
    /// The same with a microphone and a speaker.
    HdaMicro,
    /// The same with output only.
    HdaOutput,
    /// Intel AC'97.
    Ac97,
    /// On USB.
    Usb,
}

/// Where sound goes to and comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SoundBackend {
    /// Nowhere.
    None,
    /// The SPICE client.
    Spice,
    /// The D-Bus display.
    Dbus,
    /// A file.
    Wav(PathBuf),
    /// A PulseAudio server.
    Pulse(String),
}

/// A socket between host and guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vsock {
    /// The guest's address, from 3.
    pub cid: u32,
    /// An opened /dev/vhost-vsock handed over under this key; `None` lets QEMU open it.
    pub vhost: Option<String>,
}

/// A directory of the host in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Name of the device; see [`check_id`].
    pub id: String,
    /// Name the guest mounts it by, at most 36 bytes.
    pub tag: String,
    /// How.
    pub kind: ShareKind,
}

/// How a directory is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareKind {
    /// virtiofs: the socket of a virtiofsd. The memory must be shared.
    Virtiofs {
        /// Connection to it.
        socket: Stream,
        /// Requests in flight; `None` for QEMU's default.
        queue: Option<u16>,
    },
    /// The 9p file system, served by QEMU itself.
    NineP {
        /// The directory.
        path: PathBuf,
        /// How the guest's owners and modes are kept.
        security: NinePSecurity,
        /// Whether the guest may write.
        read_only: bool,
    },
}

/// How 9p keeps the guest's owners and modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NinePSecurity {
    /// In extended attributes.
    MappedXattr,
    /// In files beside.
    MappedFile,
    /// As the host's own: needs root.
    Passthrough,
    /// Not at all.
    None,
}

impl NinePSecurity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MappedXattr => "mapped-xattr",
            Self::MappedFile => "mapped-file",
            Self::Passthrough => "passthrough",
            Self::None => "none",
        }
    }
}

/// A virtio device that another process implements. The memory must be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostUser {
    /// Name of the device; see [`check_id`].
    pub id: String,
    /// What it is.
    pub kind: VhostUserKind,
    /// Connection to the process.
    pub socket: Stream,
}

/// What another process implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VhostUserKind {
    /// A disk with this many queues.
    Block {
        /// Queues.
        queues: u16,
    },
    /// A SCSI controller.
    Scsi,
    /// A graphics card.
    Gpu,
    /// A graphics card with VGA.
    Vga,
    /// An input device.
    Input,
    /// Random numbers.
    Rng,
    /// Sockets; the process knows the guest's address.
    Vsock,
    /// I2C bus.
    I2c,
    /// GPIO pins.
    Gpio,
}

impl VhostUserKind {
    pub(crate) fn driver(self) -> &'static str {
        match self {
            Self::Block { .. } => "vhost-user-blk-pci",
            Self::Scsi => "vhost-user-scsi-pci",
            Self::Gpu => "vhost-user-gpu-pci",
            Self::Vga => "vhost-user-vga",
            Self::Input => "vhost-user-input-pci",
            Self::Rng => "vhost-user-rng-pci",
            Self::Vsock => "vhost-user-vsock-pci",
            Self::I2c => "vhost-user-i2c-pci",
            Self::Gpio => "vhost-user-gpio-pci",
        }
    }
}

/// Facts about the machine in the tables that firmware hands to the guest (SMBIOS). Empty members are QEMU's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Smbios {
    /// BIOS (type 0), by QEMU's names: vendor, version, date, release, uefi.
    pub bios: Vec<(String, String)>,
    /// System (type 1): manufacturer, product, version, serial, sku, family.
    pub system: Vec<(String, String)>,
    /// Board (type 2): manufacturer, product, version, serial, asset, location.
    pub board: Vec<(String, String)>,
    /// Chassis (type 3): manufacturer, version, serial, asset, sku.
    pub chassis: Vec<(String, String)>,
    /// Processors (type 4): sock_pfx, manufacturer, version, serial, asset, part, max-speed, current-speed.
    pub processor: Vec<(String, String)>,
    /// Memory modules (type 17): loc_pfx, bank, manufacturer, serial, asset, part, speed.
    pub memory: Vec<(String, String)>,
    /// Texts (type 11), e.g. `io.systemd.credential:name=value`.
    pub strings: Vec<String>,
}

/// A file that the guest finds in QEMU's firmware configuration device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FwCfg {
    /// Its name: `opt/` and at most 51 bytes more.
    pub name: String,
    /// What it holds.
    pub content: FwCfgContent,
}

/// What a firmware configuration file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FwCfgContent {
    /// A text; seen by everybody who may list processes.
    Text(String),
    /// A file.
    File(Source),
}

impl FwCfg {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let length = self.name.len() as u64;
        range("bytes of fw_cfg.name", length, (5..=55).contains(&length), "5 to 55")?;
        if !self.name.starts_with("opt/") || self.name.contains('\0') {
            return Err(ConfigError::Text {
                field: "fw_cfg.name",
                reason: "begins with opt/ and holds no NUL",
            });
        }
        if let FwCfgContent::File(Source::HostDevice(_) | Source::Nbd { .. } | Source::Null { .. }) =
            self.content
        {
            return Err(ConfigError::conflict(&self.name, "its content is a file or a descriptor"));
        }
        Ok(())
    }
}

impl Share {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_id(&self.id)?;
        let length = self.tag.len() as u64;
        range("bytes of share.tag", length, (1..=31).contains(&length), "1 to 31")?;
        match &self.kind {
            ShareKind::Virtiofs { socket, .. } => socket.check_vhost_user(&self.id),
            ShareKind::NineP { .. } => Ok(()),
        }
    }
}

//! Disks and what lies under them.
//!
//! ```text
//!  device --> copy-on-read --> throttle --> format --> file, device or NBD server
//!                                             '--> backing format --> ...
//! ```

use super::{
    chardev::Address,
    check_id,
    error::{ConfigError, no_nul, range},
};
use crate::argv::places::is_general;
use std::{collections::BTreeSet, path::PathBuf};

/// A disk of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Name of the device and root of its node names; see [`check_id`].
    pub id: String,
    /// What the guest finds there; `None` for a CD-ROM drive without a disc.
    pub image: Option<Image>,
    /// The device in the guest.
    pub kind: DiskKind,
    /// How it is attached.
    pub bus: DiskBus,
    /// Text the guest sees as serial number; 20 bytes with virtio, 36 elsewhere.
    pub serial: Option<String>,
    /// Limits.
    pub throttle: Option<Throttle>,
    /// Keep what was read from a backing image in the image on top.
    pub copy_on_read: bool,
    /// Thread that serves it ([`super::Config::iothreads`]); virtio and SCSI only.
    pub iothread: Option<String>,
    /// Request queues of virtio; `None` for one per CPU.
    pub queues: Option<u16>,
    /// What happens when writing fails.
    pub on_write_error: OnError,
    /// What happens when reading fails.
    pub on_read_error: OnError,
    /// Size of a sector in bytes, as the guest sees it: logical and physical.
    pub sectors: Option<(u32, u32)>,
    /// Place in the boot order; `None` for the place in the list of disks.
    pub boot_index: Option<u16>,
    /// Of virtio and NVMe disks: number of its general place, which is that of its PCIe port on q35; `None` for the next free one, network
    /// cards before disks. [`crate::Vm::places`] tells where one is that was plugged.
    pub place: Option<u8>,
    /// Several machines may write at once.
    pub shared: bool,
}

/// A disk device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// A disk.
    Disk,
    /// A disk that the guest cannot write.
    ReadOnly,
    /// A CD-ROM drive.
    Cdrom,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskBus {
    /// virtio-blk: fastest, each a device of its own. Not for CDs.
    #[default]
    Virtio,
    /// A virtio-scsi controller by number; each serves up to 256 disks.
    Scsi(u8),
    /// The board's own disk controller: six SATA places on q35, four IDE places on i440fx.
    Board,
    /// An NVMe controller of its own.
    Nvme,
    /// A stick on the USB controller.
    Usb,
}

/// What happens when the host cannot read or write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Writing: stop the guest when the disk is full, else tell it. Reading: tell it.
    #[default]
    Default,
    /// Tell the guest.
    Report,
    /// Stop the guest; it goes on where it was once the cause is gone.
    Stop,
    /// Nothing: the guest believes that it worked.
    Ignore,
}

impl OnError {
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Report => Some("report"),
            Self::Stop => Some("stop"),
            Self::Ignore => Some("ignore"),
        }
    }
}

/// Limits of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// Its own.
    Own(Limits),
    /// Those of a group that several disks share ([`super::Config::throttle_groups`]).
    Group(String),
}

/// Disks that share limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThrottleGroup {
    /// Name.
    pub id: String,
    /// Limits of all its disks together.
    pub limits: Limits,
}

/// Limits per second; `None` for none. A total excludes the two it is the sum of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub bytes: Option<u64>,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub write_bytes: Option<u64>,
    /// Requests.
    pub requests: Option<u64>,
    /// Requests to read.
    pub read_requests: Option<u64>,
    /// Requests to write.
    pub write_requests: Option<u64>,
    /// Bytes during a burst.
    pub burst_bytes: Option<u64>,
    /// Requests during a burst.
    pub burst_requests: Option<u64>,
    /// Longest burst in seconds.
    pub burst_s: Option<u64>,
    /// A request of more bytes counts as several.
    pub request_bytes: Option<u64>,
}

impl Limits {
    /// Names of QEMU's `ThrottleLimits` with their values.
    pub(crate) fn members(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("bps-total", self.bytes),
            ("bps-read", self.read_bytes),
            ("bps-write", self.write_bytes),
            ("iops-total", self.requests),
            ("iops-read", self.read_requests),
            ("iops-write", self.write_requests),
            ("bps-total-max", self.burst_bytes),
            ("iops-total-max", self.burst_requests),
            ("bps-total-max-length", self.burst_bytes.and(self.burst_s)),
            ("iops-total-max-length", self.burst_requests.and(self.burst_s)),
            ("iops-size", self.request_bytes),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let both = |total: Option<u64>, parts: [Option<u64>; 2]| {
            total.is_some() && parts.iter().any(Option::is_some)
        };
        if both(self.bytes, [self.read_bytes, self.write_bytes])
            || both(self.requests, [self.read_requests, self.write_requests])
        {
            return Err(ConfigError::conflict("throttle", "a total excludes limits of its parts"));
        }
        if self.burst_bytes.is_some() && self.burst_bytes < self.bytes
            || self.burst_bytes.is_some() && self.bytes.is_none()
        {
            return Err(ConfigError::conflict("throttle", "a burst needs the limit that it may exceed"));
        }
        if self.burst_requests.is_some() && (self.requests.is_none() || self.burst_requests < self.requests) {
            return Err(ConfigError::conflict("throttle", "a burst needs the limit that it may exceed"));
        }
        if self.burst_s.is_some() && self.burst_bytes.is_none() && self.burst_requests.is_none() {
            return Err(ConfigError::conflict("throttle", "the length of a burst needs a burst"));
        }
        if self.request_bytes.is_some()
            && self.requests.or(self.read_requests).or(self.write_requests).is_none()
        {
            return Err(ConfigError::conflict("throttle", "the size of a request needs a limit of requests"));
        }
        Ok(())
    }
}

/// An image and what lies under it. QEMU never follows the backing file named in an image's header: what is not listed
/// here does not exist for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where the bytes are.
    pub source: Source,
    /// Their format; never guessed, as a guest can write any header.
    pub format: Format,
    /// The image below an overlay, opened read-only; for writing only while the overlay is committed into it
    /// ([`crate::Vm::commit_disk`]).
    pub backing: Option<Box<Image>>,
    /// How it is read and written.
    pub access: Access,
    /// Further files that its header may name: the external data file of a qcow2 image, the extents of a VMDK. An image that names another one
    /// is refused, as QEMU would open whatever whoever made the image has written there. By the paths that QEMU opens: what a VMDK names is meant
    /// from the image's directory, what a qcow2 image names from the root, where QEMU's process is.
    pub others: Vec<PathBuf>,
    /// Key of an encrypted image, a secret of [`super::Config::secrets`]. A raw image is then LUKS, a qcow2 image has LUKS inside.
    pub key: Option<String>,
}

/// How an image is read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The host's cache.
    pub cache: Cache,
    /// Mechanism; `None` for QEMU's threads.
    pub aio: Option<Aio>,
    /// What a discarded range becomes.
    pub discard: Discard,
    /// Whether written zeroes are noticed.
    pub detect_zeroes: DetectZeroes,
    /// Whether the file is locked against other programs.
    pub lock: Option<super::Switch>,
}

/// The host's cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// Used, and flushed when the guest asks.
    #[default]
    Writeback,
    /// Passed by (O_DIRECT), flushed when the guest asks.
    None,
    /// Used; flushes of the guest are ignored: a crash of the host destroys the image.
    Unsafe,
}

/// Mechanism of reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aio {
    /// A pool of threads.
    Threads,
    /// Linux AIO; needs [`Cache::None`].
    Native,
    /// io_uring; the program may have been built without.
    IoUring,
}

impl Aio {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Native => "native",
            Self::IoUring => "io_uring",
        }
    }
}

/// What a discarded range becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discard {
    /// Given back to the host.
    #[default]
    Unmap,
    /// Kept.
    Ignore,
}

impl Discard {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unmap => "unmap",
            Self::Ignore => "ignore",
        }
    }
}

/// Whether written zeroes are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DetectZeroes {
    /// They are data.
    #[default]
    Off,
    /// They are written efficiently.
    On,
    /// They are discarded.
    Unmap,
}

impl DetectZeroes {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Unmap => "unmap",
        }
    }
}

/// Format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Bytes as they are.
    Raw,
    /// QEMU's copy-on-write format, version 2 and 3.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Hyper-V's old one.
    Vpc,
    /// Hyper-V's.
    Vhdx,
}

impl Format {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
        }
    }
}

/// Where an image's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that the QEMU process can open.
    Path(PathBuf),
    /// A descriptor of a regular file, handed to the process under this key; see [`crate::StartSpec::descriptors`]. QEMU refuses one of a
    /// block device.
    Descriptor(String),
    /// A block device of the host, at a path that the QEMU process can open.
    HostDevice(PathBuf),
    /// An export of an NBD server, in a format that names no further files: not qcow2, not VMDK.
    Nbd {
        /// The server.
        server: Address,
        /// Name of the export; empty for the server's default.
        export: String,
    },
    /// This many bytes of zeroes that forget what is written: for tests and measurements.
    Null {
        /// Size.
        bytes: u64,
    },
}

impl Image {
    /// An image without backing.
    #[must_use]
    pub fn new(source: Source, format: Format) -> Self {
        Self { source, format, backing: None, access: Access::default(), others: Vec::new(), key: None }
    }

    /// A raw file.
    #[must_use]
    pub fn raw(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::Path(path.into()), Format::Raw)
    }

    /// A qcow2 file.
    #[must_use]
    pub fn qcow2(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::Path(path.into()), Format::Qcow2)
    }

    /// With another one below.
    #[must_use]
    pub fn on(mut self, backing: Image) -> Self {
        self.backing = Some(Box::new(backing));
        self
    }

    /// It and all below.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |image| image.backing.as_deref())
    }

    pub(crate) fn check(&self, id: &str, secrets: &BTreeSet<&str>) -> Result<(), ConfigError> {
        for image in self.chain() {
            if image.backing.is_some()
                && matches!(image.format, Format::Raw | Format::Vdi | Format::Vpc | Format::Vhdx)
            {
                let reason = format!("an image in the format {} has no backing image", image.format.as_str());
                return Err(ConfigError::conflict(id, reason));
            }
            if image.access.aio == Some(Aio::Native) && image.access.cache != Cache::None {
                return Err(ConfigError::conflict(
                    id,
                    "native AIO needs the host's cache to be passed by (Cache::None)",
                ));
            }
            if image.access.detect_zeroes == DetectZeroes::Unmap && image.access.discard == Discard::Ignore {
                return Err(ConfigError::conflict(
                    id,
                    "zeroes cannot be discarded where discarding is ignored",
                ));
            }
            if let Some(key) = &image.key {
                if !secrets.contains(key.as_str()) {
                    return Err(ConfigError::Unknown {
                        what: "secret",
                        name: key.clone(),
                        user: id.to_owned(),
                    });
                }
                if !matches!(image.format, Format::Raw | Format::Qcow2) {
                    return Err(ConfigError::conflict(id, "only raw and qcow2 images are encrypted"));
                }
            }
            if let Source::Nbd { export, .. } = &image.source {
                no_nul("disk.source.export", export)?;
            }
        }
        Ok(())
    }
}

impl Disk {
    /// A disk that the guest may write, on virtio.
    #[must_use]
    pub fn new(id: &str, image: Image) -> Self {
        Self {
            id: id.to_owned(),
            image: Some(image),
            kind: DiskKind::Disk,
            bus: DiskBus::Virtio,
            serial: None,
            throttle: None,
            copy_on_read: false,
            iothread: None,
            queues: None,
            on_write_error: OnError::default(),
            on_read_error: OnError::default(),
            sectors: None,
            boot_index: None,
            place: None,
            shared: false,
        }
    }

    /// A disk that the guest cannot write, on virtio.
    #[must_use]
    pub fn read_only(id: &str, image: Image) -> Self {
        Self { kind: DiskKind::ReadOnly, ..Self::new(id, image) }
    }

    /// A CD-ROM drive on the board's own controller.
    #[must_use]
    pub fn cdrom(id: &str, image: Option<Image>) -> Self {
        Self { kind: DiskKind::Cdrom, bus: DiskBus::Board, image, ..Self::new(id, Image::raw("")) }
    }

    /// The same on another bus.
    #[must_use]
    pub fn on(mut self, bus: DiskBus) -> Self {
        self.bus = bus;
        self
    }

    /// The same with a serial number.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        self.serial = Some(serial.to_owned());
        self
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.kind == DiskKind::Disk
    }

    pub(crate) fn check(&self, secrets: &BTreeSet<&str>) -> Result<(), ConfigError> {
        check_id(&self.id)?;
        let wrong = |reason: &str| Err(ConfigError::conflict(&self.id, reason));
        if self.place.is_some() && !is_general(self.bus) {
            return wrong("only virtio and NVMe disks have a place of their own");
        }
        let Some(image) = &self.image else {
            let other = self.throttle.is_some() || self.copy_on_read;
            return if self.kind != DiskKind::Cdrom || other {
                wrong("only a plain CD-ROM drive can be without an image")
            } else {
                Ok(())
            };
        };
        image.check(&self.id, secrets)?;
        match (self.kind, self.bus) {
            (DiskKind::Cdrom, DiskBus::Virtio | DiskBus::Nvme) => {
                return wrong("a CD-ROM drive is on SCSI, USB or the board's controller");
            }
            (DiskKind::ReadOnly, DiskBus::Board | DiskBus::Nvme) => {
                return wrong("this bus cannot protect a disk from writing; take virtio, SCSI or USB");
            }
            _ => {}
        }
        if self.iothread.is_some() && !matches!(self.bus, DiskBus::Virtio | DiskBus::Scsi(_)) {
            return wrong("only virtio and SCSI are served by a thread of their own");
        }
        if let Some(queues) = self.queues {
            range("disk.queues", queues, (1..=256).contains(&queues), "1 to 256")?;
            if self.bus != DiskBus::Virtio {
                return wrong("only virtio has a number of queues");
            }
        }
        if self.copy_on_read && (image.backing.is_none() || !self.is_writable()) {
            return wrong("copying on reading needs a writable image with one below");
        }
        if let Some(serial) = &self.serial {
            no_nul("disk.serial", serial)?;
            let most = if self.bus == DiskBus::Virtio { 20 } else { 36 };
            range("bytes of disk.serial", serial.len() as u64, serial.len() <= most, format!("0 to {most}"))?;
        }
        if self.bus == DiskBus::Nvme && self.serial.is_none() {
            return wrong("NVMe needs a serial number");
        }
        if let Some((logical, physical)) = self.sectors {
            for size in [logical, physical] {
                range(
                    "disk.sectors",
                    size,
                    size.is_power_of_two() && (512..=32_768).contains(&size),
                    "powers of two from 512 to 32768",
                )?;
            }
            range(
                "disk.sectors",
                logical,
                logical <= physical,
                "a logical sector no larger than the physical one",
            )?;
        }
        match &self.throttle {
            Some(Throttle::Own(limits)) => limits.check(),
            Some(Throttle::Group(_)) | None => Ok(()),
        }
    }
}

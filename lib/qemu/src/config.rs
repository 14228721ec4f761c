//! What a virtual machine is made of. Plain values; [`crate::argv`] turns them into a command line.

use std::path::PathBuf;
use thiserror::Error;
use uuid::Uuid;

/// A virtual machine on the q35 board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name shown in process lists and to management; any text.
    pub name: String,
    /// Identity: given to the guest (SMBIOS) and used to recognise the process.
    pub uuid: Uuid,
    /// Versioned machine type such as `pc-q35-7.2`. Never the alias `q35`: its meaning changes with QEMU's version, and
    /// with it the hardware the guest sees.
    pub machine: String,
    /// What executes the guest's code.
    pub accelerator: Accelerator,
    /// CPU model; `None` takes `host` with KVM and `max` with TCG.
    pub cpu_model: Option<String>,
    /// Virtual CPUs.
    pub cpus: u16,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// How the guest starts.
    pub boot: Boot,
    /// Disks and CD-ROMs; the order is the boot order.
    pub disks: Vec<Disk>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Offer host randomness (virtio-rng).
    pub rng: bool,
    /// Offer a memory balloon (virtio-balloon).
    pub balloon: bool,
    /// Empty PCIe ports kept for hot-plug; ports themselves cannot be added to a running machine.
    pub spare_ports: u8,
}

/// What executes the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor, through /dev/kvm.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accelerator {
    /// Name as QEMU writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// How the guest starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Firmware.
    pub firmware: Firmware,
    /// A kernel that the firmware starts instead of a boot loader from disk.
    pub kernel: Option<DirectKernel>,
}

/// Firmware of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's default BIOS.
    #[default]
    Bios,
    /// UEFI in flash memory.
    Uefi {
        /// The program, shared by all machines, e.g. `/usr/share/OVMF/OVMF_CODE_4M.fd`.
        code: PathBuf,
        /// This machine's own copy of the variables.
        vars: Source,
    },
}

/// A kernel started directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectKernel {
    /// bzImage, or vmlinux with a PVH note.
    pub kernel: PathBuf,
    /// Initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Command line of the kernel.
    pub cmdline: String,
}

/// A disk of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Name of the device and root of its node names; see [`check_id`].
    pub id: String,
    /// What the guest finds there.
    pub image: Image,
    /// The device in the guest.
    pub kind: DiskKind,
    /// Text the guest sees as serial number, at most 20 bytes.
    pub serial: Option<String>,
}

/// A disk device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// virtio-blk.
    Virtio,
    /// virtio-blk that the guest cannot write.
    VirtioReadOnly,
    /// A CD-ROM drive on the board's SATA controller; at most six.
    Cdrom,
}

/// An image and what lies under it. QEMU never follows the backing file named in an image's header: what is not listed
/// here does not exist for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where the bytes are.
    pub source: Source,
    /// Their format; never guessed, as a guest can write any header.
    pub format: Format,
    /// The image below an overlay, opened read-only.
    pub backing: Option<Box<Image>>,
}

/// Format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Bytes as they are.
    Raw,
    /// QEMU's copy-on-write format, version 2 and 3.
    Qcow2,
}

/// Where an image's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that the QEMU process can open.
    Path(PathBuf),
    /// A descriptor handed to the process under this key; see [`crate::StartSpec::descriptors`].
    Descriptor(String),
}

/// A network card (virtio-net).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Name of the device and of its back-end; see [`check_id`].
    pub id: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// What is at the other end.
    pub backend: NicBackend,
}

/// The host side of a network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NicBackend {
    /// QEMU's user-mode network: no rights needed, the guest reaches out and is reached by forwarded ports.
    User {
        /// Forwarded ports.
        forwards: Vec<Forward>,
        /// Cut off everything but the forwarded ports.
        restrict: bool,
    },
    /// An existing tap interface.
    Tap {
        /// Its name.
        ifname: String,
    },
    /// An opened tap descriptor handed to the process under this key.
    TapDescriptor(String),
}

/// A port of the host that leads to a port of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Transport.
    pub protocol: Protocol,
    /// Address and port on the host.
    pub host: std::net::SocketAddrV4,
    /// Port in the guest.
    pub guest_port: u16,
}

/// Transport of a forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A configuration that cannot become a command line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// QEMU's JSON options take UTF-8 only.
    #[error("{field}: the path {path:?} is not UTF-8; rename it or hand the file over as a descriptor")]
    NotUtf8 {
        /// The member.
        field: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// An id that QEMU would refuse or that would clash.
    #[error("{id:?} is no device id: 1 to {MAX_ID_BYTES} of a-z, 0-9 and '-', a letter first, each id once")]
    Id {
        /// The id.
        id: String,
    },
    /// A key without descriptor.
    #[error("no descriptor was handed over under the key {key:?}")]
    NoDescriptor {
        /// The key.
        key: String,
    },
    /// A number outside its range.
    #[error("{field} is {value}; allowed are {allowed}")]
    Range {
        /// The member.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What would do.
        allowed: &'static str,
    },
    /// A text with a character that cannot be passed.
    #[error("{field}: {reason}")]
    Text {
        /// The member.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Longest id: QEMU's block node names end at 31 bytes and carry a suffix of ours.
pub const MAX_ID_BYTES: usize = 20;

/// Checks a device id: 1 to 20 of `a-z`, `0-9` and `-`, a letter first.
///
/// # Errors
/// [`ConfigError::Id`].
pub fn check_id(id: &str) -> Result<(), ConfigError> {
    let plain = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain && id.len() <= MAX_ID_BYTES && id.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) {
        Ok(())
    } else {
        Err(ConfigError::Id { id: id.to_owned() })
    }
}

impl Config {
    /// A machine of the given size without disks and network cards, on which everything else has its default.
    #[must_use]
    pub fn new(name: &str, uuid: Uuid, machine: &str, cpus: u16, memory_mib: u64) -> Self {
        Self {
            name: name.to_owned(),
            uuid,
            machine: machine.to_owned(),
            accelerator: Accelerator::Tcg,
            cpu_model: None,
            cpus,
            memory_mib,
            boot: Boot::default(),
            disks: Vec::new(),
            nics: Vec::new(),
            rng: true,
            balloon: true,
            spare_ports: 4,
        }
    }

    /// Checks what can be checked without a host.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |field, value, allowed, good| {
            if good { Ok(()) } else { Err(ConfigError::Range { field, value, allowed }) }
        };
        range("cpus", self.cpus.into(), "1 to 255", (1..=255).contains(&self.cpus))?;
        range("memory_mib", self.memory_mib, "16 to 16777216", (16..=16 << 20).contains(&self.memory_mib))?;
        let ports = crate::argv::ports(self);
        range("number of devices and spare ports", ports as u64, "at most 224", ports <= 224)?;
        let cdroms = self.disks.iter().filter(|disk| disk.kind == DiskKind::Cdrom).count();
        range("number of CD-ROM drives", cdroms as u64, "at most 6", cdroms <= 6)?;
        let mut seen = std::collections::HashSet::new();
        for id in self.disks.iter().map(|disk| &disk.id).chain(self.nics.iter().map(|nic| &nic.id)) {
            check_id(id)?;
            if crate::argv::OWN_IDS.contains(&id.as_str())
                || id.starts_with(crate::argv::PORT_PREFIX)
                || !seen.insert(id)
            {
                return Err(ConfigError::Id { id: id.clone() });
            }
        }
        let no_nul = |field, text: &str| {
            if text.contains('\0') {
                Err(ConfigError::Text { field, reason: "holds a NUL character" })
            } else {
                Ok(())
            }
        };
        no_nul("name", &self.name)?;
        if self.name.is_empty() {
            return Err(ConfigError::Text { field: "name", reason: "is empty" });
        }
        self.boot.kernel.as_ref().map_or(Ok(()), |kernel| no_nul("cmdline", &kernel.cmdline))
    }
}

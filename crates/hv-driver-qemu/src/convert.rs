//! From a specification to QEMU's terms, and from QEMU's state to the contract's.

use crate::{
    config::Uefi,
    error,
    layout::{InstanceFacts, Layout},
    network,
};
use hv_core::InstanceId;
use hv_core::instance::{self, Attachment, InstanceSpec, Mac, PublishedPort};
use hv_driver::{Assignment, DriverError, DriverErrorKind, End, Guest};
use qemu::{
    Accelerator, Confinement, Status,
    config::{
        Boot, Config, DirectKernel, Disk, Firmware, Format, Forward, Image, Nic, NicBackend, Protocol, Source,
    },
};
use qmp::{commands::RunState, events::ShutdownCause};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{IpAddr, SocketAddrV4, TcpListener, UdpSocket},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

const OPERATION: &str = "start";

/// Whether the guest's process is the driver's user or one without rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestRights {
    /// It may open what the driver may, as far as Landlock lets it.
    Own,
    /// It may open what everybody may.
    None,
}

/// A machine with all that is handed over to it.
pub(crate) struct Machine {
    pub(crate) config: Config,
    pub(crate) descriptors: BTreeMap<String, OwnedFd>,
    pub(crate) confinement: Confinement,
}

/// Opens everything and describes the machine. Blocking.
pub(crate) fn machine(
    layout: &Layout,
    assignment: &Assignment,
    facts: &InstanceFacts,
    (machine, accelerator): (&str, Accelerator),
    uefi: &Uefi,
    rights: GuestRights,
) -> Result<Machine, DriverError> {
    let spec = &assignment.spec;
    let cpus = u16::try_from(spec.cpus).unwrap_or(u16::MAX);
    let id = assignment.handle.id;
    let mut builder = Builder { descriptors: BTreeMap::new(), confinement: Confinement::base() };
    let mut config = Config::new(&assignment.name, id.uuid(), machine, cpus, spec.memory_bytes >> 20);
    config.accelerator = accelerator;
    config.boot = builder.boot(layout, spec, uefi, rights)?;
    config.disks = builder.disks(layout, spec, facts)?;
    config.nics = builder.nics(id, spec)?;
    let Builder { descriptors, confinement } = builder;
    Ok(Machine { config, descriptors, confinement })
}

struct Builder {
    descriptors: BTreeMap<String, OwnedFd>,
    confinement: Confinement,
}

impl Builder {
    fn hand_over(&mut self, key: &str, descriptor: impl Into<OwnedFd>) -> Source {
        self.descriptors.insert(key.to_owned(), descriptor.into());
        Source::Descriptor(key.to_owned())
    }

    fn boot(
        &mut self,
        layout: &Layout,
        spec: &InstanceSpec,
        uefi: &Uefi,
        rights: GuestRights,
    ) -> Result<Boot, DriverError> {
        let firmware = match spec.boot.firmware {
            instance::Firmware::Bios => Firmware::Bios,
            instance::Firmware::Uefi => {
                let vars = self.hand_over("uefi-vars", open(&layout.uefi_vars(), Access::Write)?);
                self.confinement.read.push(uefi.code.clone());
                Firmware::Uefi { code: uefi.code.clone(), vars }
            }
        };
        let kernel = match &spec.boot.kernel {
            None => None,
            Some(kernel) => Some(DirectKernel {
                kernel: self.boot_file("kernel", kernel, rights)?,
                initrd: match &spec.boot.initrd {
                    Some(initrd) => Some(self.boot_file("initrd", initrd, rights)?),
                    None => None,
                },
                cmdline: spec.boot.cmdline.clone(),
            }),
        };
        Ok(Boot { firmware, kernel, ..Boot::default() })
    }

    /// QEMU opens kernels by name only. A process without rights gets a name that leads to a descriptor: of the file, if all
    /// may read it, whatever directories lie above; else of a copy in memory.
    fn boot_file(&mut self, key: &str, path: &Path, rights: GuestRights) -> Result<PathBuf, DriverError> {
        let mut file = open(path, Access::Read)?;
        self.confinement.read.push(path.to_owned());
        if rights == GuestRights::Own {
            return Ok(path.to_owned());
        }
        let public = file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
        let descriptor: OwnedFd = if public {
            file.into()
        } else {
            let mut copy = || -> io::Result<OwnedFd> {
                let mut copy = File::from(rustix::fs::memfd_create(key, rustix::fs::MemfdFlags::CLOEXEC)?);
                io::copy(&mut file, &mut copy)?;
                Ok(copy.into())
            };
            copy()
                .map_err(|error| error::io(OPERATION, &format!("cannot read {}", path.display()), &error))?
        };
        // Descriptors keep their numbers across exec.
        let name = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        self.descriptors.insert(key.to_owned(), descriptor);
        Ok(name.into())
    }

    /// In the order of the guest's devices: root, further disks, seed.
    fn disks(
        &mut self,
        layout: &Layout,
        spec: &InstanceSpec,
        facts: &InstanceFacts,
    ) -> Result<Vec<Disk>, DriverError> {
        let mut disks = Vec::new();
        if spec.image.is_some() || spec.root_disk_bytes > 0 {
            let backing = match &facts.image {
                None => None,
                Some(path) => {
                    let source = self.hand_over("root-image", open(path, Access::Read)?);
                    let raw = facts.image_format.as_deref() == Some("raw");
                    Some(Image::new(source, if raw { Format::Raw } else { Format::Qcow2 }))
                }
            };
            let root = self.hand_over("root", open(&layout.root(), Access::Write)?);
            let image = Image::new(root, Format::Qcow2);
            let image = match backing {
                Some(backing) => image.on(backing),
                None => image,
            };
            disks.push(Disk::new("root", image).serial(&serial("root")));
        }
        for (index, further) in spec.disks.iter().enumerate() {
            let id = disk_id(index);
            let name = further.name.as_str();
            let source = self.hand_over(&id, open(&layout.disk(name), Access::Write)?);
            disks.push(Disk::new(&id, Image::new(source, Format::Qcow2)).serial(&serial(name)));
        }
        if spec.cloud_init.is_some() {
            let source = self.hand_over("seed", open(&layout.seed(), Access::Read)?);
            disks.push(Disk::read_only("seed", Image::new(source, Format::Raw)).serial(&serial("seed")));
        }
        Ok(disks)
    }

    fn nics(&mut self, id: InstanceId, spec: &InstanceSpec) -> Result<Vec<Nic>, DriverError> {
        let mut nics = Vec::new();
        for (index, interface) in spec.interfaces.iter().enumerate() {
            let nic = format!("nic-{index}");
            let mac = interface.mac.unwrap_or_else(|| Mac::derive(id, index)).0;
            let backend = match &interface.attachment {
                Attachment::User { publish } => NicBackend::User {
                    forwards: publish.iter().map(forward).collect::<Result<_, _>>()?,
                    restrict: false,
                },
                Attachment::Tap { interface } => {
                    self.hand_over(&nic, network::open_tap(interface)?);
                    NicBackend::TapDescriptor(nic.clone())
                }
                Attachment::Bridge { bridge } => {
                    self.hand_over(&nic, network::tap_on_bridge(id, index, bridge)?);
                    NicBackend::TapDescriptor(nic.clone())
                }
            };
            nics.push(Nic::new(&nic, mac, backend));
        }
        Ok(nics)
    }
}

/// Guests find a disk by it below /dev/disk/by-id; virtio carries 20 bytes.
fn serial(name: &str) -> String {
    name.chars().take(20).collect()
}

/// The device of the further disk at this position; names may be longer than QEMU's ids.
pub(crate) fn disk_id(index: usize) -> String {
    format!("disk-{index}")
}

#[derive(Clone, Copy, PartialEq)]
enum Access {
    Read,
    Write,
}

fn open(path: &Path, access: Access) -> Result<File, DriverError> {
    File::options().read(true).write(access == Access::Write).open(path).map_err(|error| {
        let what = format!("cannot open {}", path.display());
        if error.kind() == io::ErrorKind::NotFound {
            return DriverError::new(DriverErrorKind::Missing, OPERATION, format!("{what}: {error}"));
        }
        error::io(OPERATION, &what, &error)
    })
}

fn forward(port: &PublishedPort) -> Result<Forward, DriverError> {
    let IpAddr::V4(address) = port.host_address else {
        let message = format!("port {} on {}: only IPv4 can be published", port.host_port, port.host_address);
        return Err(DriverError::new(DriverErrorKind::Unsupported, OPERATION, message));
    };
    let protocol = match port.protocol {
        instance::Protocol::Tcp => Protocol::Tcp,
        instance::Protocol::Udp => Protocol::Udp,
    };
    Ok(Forward { protocol, host: SocketAddrV4::new(address, port.host_port), guest_port: port.guest_port })
}

/// Whether QEMU could listen on all ports now. QEMU itself only says "could not set up".
pub(crate) fn check_ports(ports: &[PublishedPort]) -> Result<(), DriverError> {
    for port in ports {
        let at = (port.host_address, port.host_port);
        let bound = match port.protocol {
            instance::Protocol::Tcp => TcpListener::bind(at).map(drop),
            instance::Protocol::Udp => UdpSocket::bind(at).map(drop),
        };
        if let Err(error) = bound {
            let (number, address) = (port.host_port, port.host_address);
            let message = match error.kind() {
                io::ErrorKind::AddrInUse => format!("port {number} on {address} is in use"),
                _ => format!("cannot publish port {number} on {address}: {error}"),
            };
            return Err(DriverError::new(DriverErrorKind::Conflict, OPERATION, message));
        }
    }
    Ok(())
}

/// What a live process says of its guest; `None` when the process has ended.
pub(crate) fn guest_of(status: &Status) -> Option<Guest> {
    if status.exit.is_some() {
        return None;
    }
    Some(match &status.run_state {
        RunState::Running | RunState::Suspended => Guest::Running,
        RunState::Shutdown => match &status.shutdown {
            Some(ShutdownCause::GuestPanic) => Guest::Ended(End::Failed("the guest panicked".to_owned())),
            _ => Guest::Ended(End::PoweredOff),
        },
        RunState::GuestPanicked => Guest::Ended(End::Failed("the guest panicked".to_owned())),
        RunState::InternalError => Guest::Ended(End::Failed(
            "QEMU met an internal error and stopped the guest; see its log".to_owned(),
        )),
        // Among others io-error: a disk of the host was full, and the guest waits to be resumed.
        _ => Guest::Paused,
    })
}

/// Why a process that has ended did so; `None` when its guest had powered itself off before.
pub(crate) fn failure_of(status: &Status, last_words: &str) -> Option<String> {
    let how = status.exit.map_or_else(|| "gone".to_owned(), |exit| exit.to_string());
    let why = match &status.shutdown {
        Some(ShutdownCause::GuestShutdown) => return None,
        Some(ShutdownCause::GuestPanic) => "; the guest panicked".to_owned(),
        Some(ShutdownCause::HostSignal) => "; somebody sent it a signal".to_owned(),
        Some(other) => format!("; {other}"),
        None => String::new(),
    };
    let words = if last_words.is_empty() { String::new() } else { format!(": {last_words}") };
    Some(format!("the QEMU process ended ({how}{why}){words}"))
}

//! What is wanted of an instance, and the rules that a valid specification obeys.

use super::PublishedPort;
use crate::{Error, Name, Resources, Selector};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// Allowed numbers of vCPUs.
pub const CPUS: RangeInclusive<u32> = 1..=256;
/// Allowed memory, a multiple of [`MIB`].
pub const MEMORY_BYTES: RangeInclusive<u64> = 16 * MIB..=4 << 40;
/// Allowed disk size.
pub const DISK_BYTES: RangeInclusive<u64> = MIB..=64 << 40;
/// Most disks beside the root disk.
pub const MAX_DISKS: usize = 16;
/// Most network interfaces.
pub const MAX_INTERFACES: usize = 8;
/// Most published ports of one interface.
pub const MAX_PORTS: usize = 64;
/// Most bytes of all cloud-init files together.
pub const MAX_CLOUD_INIT_BYTES: usize = 512 * 1024;
/// Longest kernel command line (x86: COMMAND_LINE_SIZE is 2048 with its NUL).
pub const MAX_CMDLINE_BYTES: usize = 2047;
/// How long a guest may take to power down unless its specification says otherwise.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest such time.
pub const MAX_STOP_TIMEOUT: Duration = Duration::from_secs(3600);

/// What an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceKind {
    /// A virtual machine.
    Vm,
    /// A container.
    Container,
    /// A microVM.
    MicroVm,
}

impl InstanceKind {
    /// The word in driver reports and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Container => "container",
            Self::MicroVm => "microvm",
        }
    }
}

/// What state is wanted: a level, not a verb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RunState {
    /// The guest runs.
    #[default]
    Running,
    /// Its vCPUs are halted; its memory stays.
    Paused,
    /// There is no guest.
    Stopped,
}

/// What happens when the guest ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// It stays stopped.
    Never,
    /// It is started again when it failed, not when it powered itself off.
    #[default]
    OnFailure,
    /// It is started again whatever the reason.
    Always,
}

/// Whether an instance may leave its node. Its disks are there, and do not move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Relocation {
    /// It stays where its disks are.
    #[default]
    Never,
    /// It may be made anew on another node, with fresh disks, when its node is drained or abandoned.
    Recreate,
}

/// Which firmware a virtual machine starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
    /// OVMF.
    Uefi,
}

/// A further disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Unique in the instance.
    pub name: Name,
    /// Its size.
    pub size_bytes: u64,
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads `52:54:00:12:34:56`; it must be locally administered and unicast.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        let wrong =
            || Error::invalid(field, format!("`{text}` is not a MAC address such as 52:54:00:12:34:56"));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        if bytes[0] & 1 != 0 || bytes[0] & 2 == 0 {
            return Err(Error::invalid(
                field,
                format!(
                    "`{text}` must be a locally administered unicast address: the second digit is 2, 6, a or e"
                ),
            ));
        }
        Ok(Self(bytes))
    }

    /// The address of an interface that names none: from the instance's uid and the interface's position, so that it is
    /// the same after every restart and on every node.
    pub fn derive(instance: crate::InstanceId, index: usize) -> Self {
        // FNV-1a: any stable spread does; the uid's last 74 bits are random.
        let hash = instance
            .uuid()
            .as_bytes()
            .iter()
            .chain(&index.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
            });
        let h = hash.to_le_bytes();
        // 52:54 is what people know from QEMU; it is locally administered and unicast.
        Self([0x52, 0x54, h[0] ^ h[4], h[1] ^ h[5], h[2] ^ h[6], h[3] ^ h[7]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

/// What a network interface hangs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// QEMU's own NAT.
    User {
        /// Ports that lead into the guest.
        publish: Vec<PublishedPort>,
    },
    /// An existing tap interface.
    Tap {
        /// Its name.
        interface: String,
    },
    /// An existing bridge.
    Bridge {
        /// Its name.
        bridge: String,
    },
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// Unique in the instance.
    pub name: Name,
    /// Its address; derived from the uid when absent.
    pub mac: Option<Mac>,
    /// What it hangs on.
    pub attachment: Attachment,
}

/// How the guest starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootSpec {
    /// Firmware.
    pub firmware: Firmware,
    /// Kernel for direct boot.
    pub kernel: Option<PathBuf>,
    /// Its initramfs.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub cmdline: String,
}

/// Contents of the NoCloud files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudInitSpec {
    /// `user-data`.
    pub user_data: String,
    /// `meta-data`; made from uid and name when empty.
    pub meta_data: String,
    /// `network-config`; left out when empty.
    pub network_config: String,
}

/// Where an instance may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementSpec {
    /// Taken when it fits: uid or name.
    pub preferred_node: String,
    /// No other will do: uid or name.
    pub required_node: String,
    /// Region, when not empty.
    pub region: String,
    /// Zone, when not empty.
    pub zone: String,
    /// Condition on the node's labels, as text; see [`Selector`].
    pub node_selector: String,
}

/// What is wanted of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    /// What it is.
    pub kind: InstanceKind,
    /// vCPUs.
    pub cpus: u32,
    /// Memory.
    pub memory_bytes: u64,
    /// The image its root disk is an overlay of.
    pub image: Option<PathBuf>,
    /// Size of the root disk; 0 for the image's own, or for none.
    pub root_disk_bytes: u64,
    /// Further disks.
    pub disks: Vec<DiskSpec>,
    /// Network interfaces.
    pub interfaces: Vec<InterfaceSpec>,
    /// How it starts.
    pub boot: BootSpec,
    /// Its first-boot configuration.
    pub cloud_init: Option<CloudInitSpec>,
    /// The wanted state.
    pub run_state: RunState,
    /// Each raise restarts it once.
    pub restart_serial: u64,
    /// What happens when it ends by itself.
    pub restart_policy: RestartPolicy,
    /// How long the guest may take to power down.
    pub stop_timeout: Duration,
    /// With [`RunState::Stopped`], or a raised serial: do not ask the guest.
    pub force_stop: bool,
    /// With [`RunState::Stopped`]: how long the guest may take this once.
    pub stop_timeout_once: Option<Duration>,
    /// Where it may run.
    pub placement: PlacementSpec,
    /// Whether it may leave its node.
    pub relocation: Relocation,
}

impl Default for InstanceSpec {
    fn default() -> Self {
        Self {
            kind: InstanceKind::Vm,
            cpus: 1,
            memory_bytes: 512 * MIB,
            image: None,
            root_disk_bytes: 0,
            disks: Vec::new(),
            interfaces: Vec::new(),
            boot: BootSpec::default(),
            cloud_init: None,
            run_state: RunState::Running,
            restart_serial: 0,
            restart_policy: RestartPolicy::default(),
            stop_timeout: DEFAULT_STOP_TIMEOUT,
            force_stop: false,
            stop_timeout_once: None,
            placement: PlacementSpec::default(),
            relocation: Relocation::default(),
        }
    }
}

impl InstanceSpec {
    /// What it takes of a node, as far as it says so: see [`Instance::resources`](super::Instance::resources).
    pub fn resources(&self) -> Resources {
        Resources {
            cpus: self.cpus,
            memory_bytes: self.memory_bytes,
            disk_bytes: self.root_disk_bytes + self.disks.iter().map(|disk| disk.size_bytes).sum::<u64>(),
            gpus: 0,
        }
    }

    /// The ports of the node that lead to it.
    pub fn published(&self) -> impl Iterator<Item = &PublishedPort> {
        self.interfaces.iter().flat_map(|interface| match &interface.attachment {
            Attachment::User { publish } => publish.as_slice(),
            Attachment::Tap { .. } | Attachment::Bridge { .. } => &[],
        })
    }

    /// Checks every field; the error names the first wrong one and what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        if !CPUS.contains(&self.cpus) {
            return Err(Error::invalid("spec.cpus", format!("{} is not between 1 and 256", self.cpus)));
        }
        if !MEMORY_BYTES.contains(&self.memory_bytes) || !self.memory_bytes.is_multiple_of(MIB) {
            return Err(Error::invalid(
                "spec.memory_bytes",
                format!("{} is not a multiple of 1 MiB between 16 MiB and 4 TiB", self.memory_bytes),
            ));
        }
        self.check_disks()?;
        self.check_interfaces()?;
        self.check_boot()?;
        if let Some(cloud_init) = &self.cloud_init {
            let bytes =
                cloud_init.user_data.len() + cloud_init.meta_data.len() + cloud_init.network_config.len();
            if bytes > MAX_CLOUD_INIT_BYTES {
                return Err(Error::invalid(
                    "spec.cloud_init",
                    format!("{bytes} bytes; at most 512 KiB are allowed"),
                ));
            }
        }
        if self.stop_timeout.max(self.stop_timeout_once.unwrap_or_default()) > MAX_STOP_TIMEOUT {
            return Err(Error::invalid("spec.stop_timeout_ms", "at most 3600000 (one hour)"));
        }
        for (field, text) in
            [("spec.placement.region", &self.placement.region), ("spec.placement.zone", &self.placement.zone)]
        {
            if !text.is_empty() {
                Name::parse(field, text)?;
            }
        }
        Selector::parse("spec.placement.node_selector", &self.placement.node_selector)?;
        Ok(())
    }

    fn check_disks(&self) -> Result<(), Error> {
        if let Some(image) = &self.image {
            check_path("spec.image", image)?;
        }
        if self.root_disk_bytes != 0 && !DISK_BYTES.contains(&self.root_disk_bytes) {
            return Err(Error::invalid("spec.root_disk_bytes", "0, or between 1 MiB and 64 TiB"));
        }
        if self.disks.len() > MAX_DISKS {
            return Err(Error::invalid(
                "spec.disks",
                format!("{} disks; at most {MAX_DISKS}", self.disks.len()),
            ));
        }
        let mut names = BTreeSet::from(["root", "seed"]);
        for (index, disk) in self.disks.iter().enumerate() {
            if !names.insert(disk.name.as_str()) {
                return Err(Error::invalid(
                    format!("spec.disks[{index}].name"),
                    format!("`{}` is taken: by another disk, or it is one of `root` and `seed`", disk.name),
                ));
            }
            if !DISK_BYTES.contains(&disk.size_bytes) {
                return Err(Error::invalid(
                    format!("spec.disks[{index}].size_bytes"),
                    format!("{} is not between 1 MiB and 64 TiB", disk.size_bytes),
                ));
            }
        }
        Ok(())
    }

    fn check_interfaces(&self) -> Result<(), Error> {
        if self.interfaces.len() > MAX_INTERFACES {
            return Err(Error::invalid(
                "spec.network_interfaces",
                format!("{} interfaces; at most {MAX_INTERFACES}", self.interfaces.len()),
            ));
        }
        let mut names = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for (index, interface) in self.interfaces.iter().enumerate() {
            let field = |rest: &str| format!("spec.network_interfaces[{index}].{rest}");
            if !names.insert(interface.name.as_str()) {
                return Err(Error::invalid(
                    field("name"),
                    format!("`{}` is taken by another interface", interface.name),
                ));
            }
            match &interface.attachment {
                Attachment::User { publish } => {
                    if publish.len() > MAX_PORTS {
                        return Err(Error::invalid(
                            field("user.publish"),
                            format!("at most {MAX_PORTS} ports"),
                        ));
                    }
                    for (number, port) in publish.iter().enumerate() {
                        let here = field(&format!("user.publish[{number}]"));
                        if port.host_port == 0 || port.guest_port == 0 {
                            return Err(Error::invalid(here, "ports are 1 to 65535"));
                        }
                        if !ports.insert((port.protocol.as_str(), port.host_address, port.host_port)) {
                            return Err(Error::invalid(
                                here,
                                format!("host port {} is published twice", port.host_port),
                            ));
                        }
                    }
                }
                Attachment::Tap { interface } => check_interface_name(&field("tap"), interface)?,
                Attachment::Bridge { bridge } => check_interface_name(&field("bridge"), bridge)?,
            }
        }
        Ok(())
    }

    fn check_boot(&self) -> Result<(), Error> {
        let boot = &self.boot;
        for (field, path) in [("spec.boot.kernel", &boot.kernel), ("spec.boot.initrd", &boot.initrd)] {
            if let Some(path) = path {
                check_path(field, path)?;
            }
        }
        if boot.cmdline.len() > MAX_CMDLINE_BYTES || boot.cmdline.contains(['\0', '\n']) {
            return Err(Error::invalid("spec.boot.cmdline", "one line of at most 2047 bytes"));
        }
        if boot.kernel.is_none() && (boot.initrd.is_some() || !boot.cmdline.is_empty()) {
            return Err(Error::invalid("spec.boot.kernel", "initrd and cmdline need a kernel"));
        }
        if boot.kernel.is_none() && self.image.is_none() && self.root_disk_bytes == 0 {
            return Err(Error::invalid(
                "spec.image",
                "there is nothing to boot: give an image, a kernel or a root disk",
            ));
        }
        Ok(())
    }
}

fn check_path(field: &str, path: &std::path::Path) -> Result<(), Error> {
    let text = path.to_str().unwrap_or_default();
    if !path.is_absolute() || text.contains(['\0', '\n']) || text.len() > 4095 {
        return Err(Error::invalid(field, format!("`{}` is not an absolute path in UTF-8", path.display())));
    }
    Ok(())
}

/// Linux: 1 to 15 bytes, no slash, no white space (IFNAMSIZ in linux/if.h, dev_valid_name in net/core/dev.c).
fn check_interface_name(field: &str, name: &str) -> Result<(), Error> {
    let ok = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if ok {
        Ok(())
    } else {
        Err(Error::invalid(field, format!("`{name}` is not the name of a network interface")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Protocol;
    use std::net::IpAddr;

    fn bootable() -> InstanceSpec {
        InstanceSpec { image: Some("/images/debian 12, test.qcow2".into()), ..InstanceSpec::default() }
    }

    fn field_of(change: impl FnOnce(&mut InstanceSpec)) -> String {
        let mut spec = bootable();
        change(&mut spec);
        spec.check().unwrap_err().field.unwrap()
    }

    fn user(name: &str, publish: Vec<PublishedPort>) -> InterfaceSpec {
        InterfaceSpec {
            name: Name::parse("name", name).unwrap(),
            mac: None,
            attachment: Attachment::User { publish },
        }
    }

    fn port(host_port: u16) -> PublishedPort {
        PublishedPort {
            protocol: Protocol::Tcp,
            host_address: IpAddr::from([127, 0, 0, 1]),
            host_port,
            guest_port: 22,
        }
    }

    #[test]
    fn a_plain_spec_is_valid() {
        bootable().check().unwrap();
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_eq!(field_of(|s| s.cpus = 0), "spec.cpus");
        assert_eq!(field_of(|s| s.cpus = 257), "spec.cpus");
        assert_eq!(field_of(|s| s.memory_bytes = MIB), "spec.memory_bytes");
        assert_eq!(field_of(|s| s.memory_bytes += 1), "spec.memory_bytes");
        assert_eq!(field_of(|s| s.image = Some("debian.qcow2".into())), "spec.image");
        assert_eq!(field_of(|s| s.image = None), "spec.image");
        assert_eq!(field_of(|s| s.root_disk_bytes = 1), "spec.root_disk_bytes");
        assert_eq!(field_of(|s| s.boot.cmdline = "quiet".into()), "spec.boot.kernel");
        assert_eq!(field_of(|s| s.boot.kernel = Some("vmlinuz".into())), "spec.boot.kernel");
        assert_eq!(field_of(|s| s.stop_timeout = Duration::from_secs(3601)), "spec.stop_timeout_ms");
        assert_eq!(field_of(|s| s.placement.zone = "Zone A".into()), "spec.placement.zone");
        assert_eq!(field_of(|s| s.placement.node_selector = "a b".into()), "spec.placement.node_selector");
        let disk = |name: &str| DiskSpec { name: Name::parse("name", name).unwrap(), size_bytes: MIB };
        assert_eq!(field_of(|s| s.disks = vec![disk("root")]), "spec.disks[0].name");
        assert_eq!(field_of(|s| s.disks = vec![disk("a"), disk("a")]), "spec.disks[1].name");
        assert_eq!(
            field_of(|s| s.disks = vec![DiskSpec { size_bytes: 1, ..disk("a") }]),
            "spec.disks[0].size_bytes"
        );
        assert_eq!(
            field_of(|s| s.interfaces = vec![user("a", vec![port(1), port(1)])]),
            "spec.network_interfaces[0].user.publish[1]"
        );
        assert_eq!(
            field_of(|s| s.interfaces = vec![user("a", vec![]), user("a", vec![])]),
            "spec.network_interfaces[1].name"
        );
        assert_eq!(
            field_of(|s| {
                s.interfaces = vec![InterfaceSpec {
                    attachment: Attachment::Tap { interface: "a/b".into() },
                    ..user("a", vec![])
                }];
            }),
            "spec.network_interfaces[0].tap"
        );
    }

    #[test]
    fn derived_macs_are_stable_local_and_unicast() {
        let id = "018f4e2a-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(Mac::derive(id, 0), Mac::derive(id, 0));
        assert_ne!(Mac::derive(id, 0), Mac::derive(id, 1));
        Mac::parse("mac", &Mac::derive(id, 0).to_string()).unwrap();
        assert!(Mac::parse("mac", "01:00:00:00:00:00").is_err());
        assert!(Mac::parse("mac", "00:11:22:33:44:55").is_err());
    }
}

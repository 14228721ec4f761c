//! What an instance has on disk. All names derive from its uid.

use hv_core::InstanceId;
use hv_core::instance::{Protocol, PublishedPort};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Places of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
}

impl Layout {
    pub(crate) fn new(state_dir: &Path, id: InstanceId) -> Self {
        Self { dir: instances(state_dir).join(id.to_string()) }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root.qcow2")
    }

    pub(crate) fn disk(&self, name: &str) -> PathBuf {
        self.dir.join(format!("disk-{name}.qcow2"))
    }

    pub(crate) fn seed(&self) -> PathBuf {
        self.dir.join("seed.iso")
    }

    pub(crate) fn uefi_vars(&self) -> PathBuf {
        self.dir.join("uefi-vars.fd")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub(crate) fn console_log(&self) -> PathBuf {
        self.run().join("console.log")
    }

    pub(crate) fn qemu_log(&self) -> PathBuf {
        self.run().join("qemu.log")
    }

    /// Whether a QEMU lives that was started here: it holds the lock until it ends.
    pub(crate) fn is_occupied(&self) -> io::Result<bool> {
        match File::open(self.run().join("lock")) {
            Ok(lock) => match lock.try_lock() {
                Ok(()) => Ok(false),
                Err(fs::TryLockError::WouldBlock) => Ok(true),
                Err(fs::TryLockError::Error(error)) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what a guest leaves behind. Its logs stay for the operator, until the instance is deleted.
    pub(crate) fn forget_guest(&self) -> io::Result<()> {
        for name in [qemu::Record::FILE, GuestFacts::FILE, EndFacts::FILE, "qmp.sock", "console.sock"] {
            match fs::remove_file(self.run().join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// What QEMU said since `start`: its last lines, for an error message.
    pub(crate) fn last_words(&self, start: u64) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut log = File::open(self.qemu_log())?;
            let end = log.metadata()?.len();
            log.seek(SeekFrom::Start(start.max(end.saturating_sub(LAST_WORDS_BYTES))))?;
            let mut bytes = Vec::new();
            log.take(LAST_WORDS_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.len().saturating_sub(LAST_WORDS_LINES);
        lines[last..].iter().map(|line| crate::error::plain(line)).collect::<Vec<_>>().join("; ")
    }
}

/// The directory of all instances.
pub(crate) fn instances(state_dir: &Path) -> PathBuf {
    state_dir.join("instances")
}

/// Length of a file; 0 when there is none.
pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// A small file of facts, replaced as a whole.
pub(crate) trait Facts: Serialize + DeserializeOwned {
    const FILE: &'static str;

    fn load(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(Self::FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, dir: &Path) -> io::Result<()> {
        hv_runtime::files::replace(&dir.join(Self::FILE), &serde_json::to_vec_pretty(self)?)
    }
}

/// What an instance is, beyond its files. Its disks' origin stands here and not in their headers, which QEMU can write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceFacts {
    pub(crate) name: String,
    pub(crate) epoch: u64,
    /// The image under the root disk, free of symbolic links.
    pub(crate) image: Option<PathBuf>,
    /// `raw` or `qcow2`; never guessed again.
    pub(crate) image_format: Option<String>,
    /// Versioned machine type, fixed by the first start.
    pub(crate) machine: Option<String>,
    /// The user of its guests, fixed by the first start.
    #[serde(default)]
    pub(crate) uid: Option<u32>,
    /// What the root disk may grow to.
    #[serde(default)]
    pub(crate) root_disk_bytes: u64,
    /// Why it will hardly boot, if that can be seen.
    #[serde(default)]
    pub(crate) boot_warning: Option<String>,
}

impl Facts for InstanceFacts {
    const FILE: &'static str = "instance.json";
}

/// What is to be known of a guest that QEMU itself does not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestFacts {
    /// Milliseconds since the Unix epoch.
    pub(crate) started_at: i64,
    pub(crate) accelerator: String,
    pub(crate) accelerator_reason: String,
    pub(crate) machine: String,
    pub(crate) qemu_version: String,
    /// Lengths of the logs when it was started.
    pub(crate) console_start: u64,
    pub(crate) log_start: u64,
    pub(crate) ports: Vec<Port>,
    /// Names of its further disks, in the order of their devices.
    pub(crate) disks: Vec<String>,
    /// The user of its process, if that is not the driver's.
    #[serde(default)]
    pub(crate) uid: Option<u32>,
    /// Directories of its control group.
    #[serde(default)]
    pub(crate) cgroup: Vec<PathBuf>,
    /// Processes that the kernel had killed in it for want of memory when the guest was started.
    #[serde(default)]
    pub(crate) memory_kills: u64,
}

impl Facts for GuestFacts {
    const FILE: &'static str = "guest.json";
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    udp: bool,
    host_address: IpAddr,
    host_port: u16,
    guest_port: u16,
}

impl From<PublishedPort> for Port {
    fn from(port: PublishedPort) -> Self {
        Self {
            udp: port.protocol == Protocol::Udp,
            host_address: port.host_address,
            host_port: port.host_port,
            guest_port: port.guest_port,
        }
    }
}

impl From<&Port> for PublishedPort {
    fn from(port: &Port) -> Self {
        Self {
            protocol: if port.udp { Protocol::Udp } else { Protocol::Tcp },
            host_address: port.host_address,
            host_port: port.host_port,
            guest_port: port.guest_port,
        }
    }
}

/// How a guest ended whose process is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndFacts {
    /// The host's boot in which it ended; the end of an earlier boot says nothing any more.
    pub(crate) boot_id: String,
    /// Why it failed; absent when it powered itself off.
    pub(crate) failure: Option<String>,
}

impl Facts for EndFacts {
    const FILE: &'static str = "ended.json";
}

const LAST_WORDS_BYTES: u64 = 4096;
const LAST_WORDS_LINES: usize = 5;

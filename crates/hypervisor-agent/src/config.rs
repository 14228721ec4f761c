//! Settings of the agent.

use hv_runtime::config::{Key, Kind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings of `hypervisor-agent`; `configs/agent.toml` is the annotated example.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// The server: `unix:PATH`, or `http://HOST:PORT` on loopback.
    pub server_addr: String,
    /// File with the bearer token; mode 0600.
    pub token_file: PathBuf,
    /// The node's name; the host's name when empty.
    pub node_name: String,
    /// `worker` or `master`: what a new node record starts with.
    pub role: String,
    /// Failure domain, outer.
    pub region: String,
    /// Failure domain, inner.
    pub zone: String,
    /// Labels that a new node record starts with.
    pub labels: BTreeMap<String, String>,
    /// Where the journal and instances live.
    pub state_dir: PathBuf,
    /// Log filter, such as `info`.
    pub log_level: String,
    /// How many vCPUs instances may have for each processor of the host.
    pub cpu_overcommit: u32,
    /// Memory that instances may not take, in MiB.
    pub reserved_memory_mib: u64,
    /// Starts guests after a boot of the host before the server has named their instances. Only where no other host could run
    /// them: the server may have given them to another while this one was off, and two guests of one instance would run.
    pub start_without_server: bool,
    /// The QEMU driver.
    pub qemu: QemuConfig,
}

/// Settings of the QEMU driver.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QemuConfig {
    /// Path of the binary; found in PATH when empty.
    pub binary: String,
    /// `auto`, `kvm` or `tcg`.
    pub accel: String,
    /// Account that all guests run under when the agent is root: a name or a number; empty to give each its own.
    pub user: String,
    /// The user numbers that guests get, each its own, when the agent is root: `FIRST-LAST`.
    pub uid_range: String,
    /// Where guests get control groups of their own, when the agent is root: `auto`, `off`, or the path of a directory in a
    /// cgroup v2 hierarchy that holds no process.
    pub cgroups: String,
    /// Starts guests that nothing keeps from the agent's files: on a kernel without Landlock, when the agent is not root.
    pub allow_unconfined: bool,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            server_addr: "unix:/run/hypervisor/server.sock".into(),
            token_file: "/var/lib/hypervisor/token".into(),
            node_name: String::new(),
            role: "worker".into(),
            region: String::new(),
            zone: String::new(),
            labels: BTreeMap::new(),
            state_dir: "/var/lib/hypervisor/agent".into(),
            log_level: "info".into(),
            cpu_overcommit: 16,
            reserved_memory_mib: 512,
            start_without_server: false,
            qemu: QemuConfig::default(),
        }
    }
}

impl Default for QemuConfig {
    fn default() -> Self {
        let uids = hv_driver_qemu::DEFAULT_UIDS;
        Self {
            binary: String::new(),
            accel: "auto".into(),
            user: String::new(),
            uid_range: format!("{}-{}", uids.start(), uids.end()),
            cgroups: "auto".into(),
            allow_unconfined: false,
        }
    }
}

/// All settings, for the file, the environment and `--help`.
pub const KEYS: &[Key] = &[
    Key { path: "server_addr", kind: Kind::Text },
    Key { path: "token_file", kind: Kind::Text },
    Key { path: "node_name", kind: Kind::Text },
    Key { path: "role", kind: Kind::Text },
    Key { path: "region", kind: Kind::Text },
    Key { path: "zone", kind: Kind::Text },
    Key { path: "labels", kind: Kind::Map },
    Key { path: "state_dir", kind: Kind::Text },
    Key { path: "log_level", kind: Kind::Text },
    Key { path: "cpu_overcommit", kind: Kind::Number },
    Key { path: "reserved_memory_mib", kind: Kind::Number },
    Key { path: "start_without_server", kind: Kind::Bool },
    Key { path: "qemu.binary", kind: Kind::Text },
    Key { path: "qemu.accel", kind: Kind::Text },
    Key { path: "qemu.user", kind: Kind::Text },
    Key { path: "qemu.uid_range", kind: Kind::Text },
    Key { path: "qemu.cgroups", kind: Kind::Text },
    Key { path: "qemu.allow_unconfined", kind: Kind::Bool },
];

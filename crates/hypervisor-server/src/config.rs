//! Settings of the server.

use hv_runtime::config::{Key, Kind};
use serde::Deserialize;
use std::path::PathBuf;

/// Settings of `hypervisor-server`; `configs/server.toml` is the annotated example.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Loopback address to listen on, with port 0 for any; empty for none.
    pub grpc_addr: String,
    /// Unix socket to listen on; empty for none.
    pub socket: PathBuf,
    /// File with the bearer token; made if it does not exist. Mode 0600.
    pub token_file: PathBuf,
    /// Where the store lives.
    pub state_dir: PathBuf,
    /// How many of the newest revisions the store keeps: how far back watches resume. Older history is compacted.
    pub retain_revisions: u64,
    /// Name of the cluster, when it is made.
    pub cluster_name: String,
    /// Log filter, such as `info`.
    pub log_level: String,
    /// Liveness of agents.
    pub heartbeat: HeartbeatConfig,
}

/// Liveness of agents.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeartbeatConfig {
    /// How often an agent beats, in milliseconds. At least 10.
    pub interval_ms: u64,
    /// Silence after which a node is unknown, in milliseconds. At least three intervals.
    pub timeout_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            grpc_addr: "127.0.0.1:50051".into(),
            socket: "/run/hypervisor/server.sock".into(),
            token_file: "/var/lib/hypervisor/token".into(),
            state_dir: "/var/lib/hypervisor/server".into(),
            retain_revisions: 100_000,
            cluster_name: "hypervisor".into(),
            log_level: "info".into(),
            heartbeat: HeartbeatConfig::default(),
        }
    }
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self { interval_ms: 1000, timeout_ms: 12_000 }
    }
}

/// All settings, for the file, the environment and `--help`.
pub const KEYS: &[Key] = &[
    Key { path: "grpc_addr", kind: Kind::Text },
    Key { path: "socket", kind: Kind::Text },
    Key { path: "token_file", kind: Kind::Text },
    Key { path: "state_dir", kind: Kind::Text },
    Key { path: "retain_revisions", kind: Kind::Number },
    Key { path: "cluster_name", kind: Kind::Text },
    Key { path: "log_level", kind: Kind::Text },
    Key { path: "heartbeat.interval_ms", kind: Kind::Number },
    Key { path: "heartbeat.timeout_ms", kind: Kind::Number },
];

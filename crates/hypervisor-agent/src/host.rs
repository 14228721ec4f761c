//! What this host is and has, for the node's report.

use crate::config::AgentConfig;
use hv_core::Resources;
use hv_core::node::{DriverStatus, NodeReport};
use std::path::Path;

/// The host's name.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The node's report. Disk space is what is free where instances live, plus what their files take.
pub(crate) fn report(config: &AgentConfig, drivers: Vec<DriverStatus>, boot_id: &str) -> NodeReport {
    let cpus = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
    let memory_bytes = memory_bytes();
    let disk_bytes = disk_bytes(&config.state_dir);
    let capacity = Resources { cpus, memory_bytes, disk_bytes, gpus: 0 };
    let allocatable = Resources {
        cpus: cpus.saturating_mul(config.cpu_overcommit.max(1)),
        memory_bytes: memory_bytes.saturating_sub(config.reserved_memory_mib << 20),
        ..capacity
    };
    NodeReport {
        hostname: hostname(),
        addresses: Vec::new(),
        capacity,
        allocatable,
        drivers,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
        boot_id: boot_id.to_owned(),
    }
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn memory_bytes() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn disk_bytes(path: &Path) -> u64 {
    // Size, not free space: what instances hold is subtracted by the scheduler. Rounded, so that a report does not change
    // with every block.
    rustix::fs::statvfs(path).map_or(0, |fs| (fs.f_blocks * fs.f_frsize) >> 30 << 30)
}

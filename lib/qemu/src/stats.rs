//! Figures of a running machine.

use crate::proc_fs;
use qmp::{
    CallError,
    commands::{BlockDeviceStats, BlockStats},
};
use std::{collections::BTreeMap, io, time::Duration};
use thiserror::Error;

/// Figures of a machine at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// CPU time used by the process, emulation and device threads included.
    pub cpu_time: Duration,
    /// Resident memory of the process in bytes.
    pub rss_bytes: u64,
    /// Counters by disk id.
    pub disks: BTreeMap<String, DiskStats>,
}

/// Counters of a disk since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Bytes read by the guest.
    pub rd_bytes: u64,
    /// Bytes written by the guest.
    pub wr_bytes: u64,
    /// Read requests.
    pub rd_operations: u64,
    /// Write requests.
    pub wr_operations: u64,
    /// Flush requests.
    pub flush_operations: u64,
    /// Time spent on reads, in nanoseconds.
    pub rd_total_time_ns: u64,
    /// Time spent on writes, in nanoseconds.
    pub wr_total_time_ns: u64,
    /// Reads that failed.
    pub failed_rd_operations: u64,
    /// Writes that failed.
    pub failed_wr_operations: u64,
}

/// Why figures are missing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// QEMU did not tell.
    #[error("cannot read the disk counters")]
    Qmp(#[from] CallError),
    /// /proc did not tell.
    #[error("cannot read the figures of process {pid}")]
    Process {
        /// The process.
        pid: u32,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn collect(pid: u32, blocks: Vec<BlockStats>) -> Result<Stats, StatsError> {
    let stat = proc_fs::stat(pid).map_err(|source| StatsError::Process { pid, source })?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let disks = blocks
        .into_iter()
        .filter_map(|block| Some((disk_id(block.qdev.as_deref()?)?, counters(&block.stats))))
        .collect();
    Ok(Stats {
        cpu_time: Duration::from_millis(stat.cpu_ticks * 1000 / ticks_per_second),
        rss_bytes: stat.rss_pages * rustix::param::page_size() as u64,
        disks,
    })
}

fn counters(stats: &BlockDeviceStats) -> DiskStats {
    DiskStats {
        rd_bytes: stats.rd_bytes,
        wr_bytes: stats.wr_bytes,
        rd_operations: stats.rd_operations,
        wr_operations: stats.wr_operations,
        flush_operations: stats.flush_operations,
        rd_total_time_ns: stats.rd_total_time_ns,
        wr_total_time_ns: stats.wr_total_time_ns,
        failed_rd_operations: stats.failed_rd_operations,
        failed_wr_operations: stats.failed_wr_operations,
    }
}

/// `/machine/peripheral/<id>/virtio-backend` for virtio, `<id>` for others.
pub(crate) fn disk_id(qdev: &str) -> Option<String> {
    let tail = qdev.strip_prefix("/machine/peripheral/").unwrap_or(qdev);
    let id = tail.split('/').next()?;
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_found_by_their_id_in_both_forms() {
        assert_eq!(disk_id("/machine/peripheral/root/virtio-backend").as_deref(), Some("root"));
        assert_eq!(disk_id("seed").as_deref(), Some("seed"));
        assert_eq!(disk_id(""), None);
    }
}

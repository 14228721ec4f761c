//! Statistics of many domains in one call.

use super::Domain;
use crate::connect::Connect;
use crate::error::Error;
use crate::host::NodeInfo;
use crate::params::Params;
use libvirt_protocol::enums::DomainState;
use libvirt_protocol::flags::{ConnectGetAllDomainStatsFlags, DomainStatsTypes};
use libvirt_protocol::remote::{self, ConnectGetAllDomainStatsArgs};
use libvirt_protocol::types;

/// Statistics of a domain. What was not asked for, or what its driver does not have, is `None` or empty.
#[derive(Clone, Debug)]
pub struct DomainStats {
    /// The domain.
    pub domain: Domain,
    /// All of it, under the names `DOMAIN_STATS_*`.
    pub params: Params,
}

/// Statistics of a block device of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    /// Its name in the guest's definition: `vda`.
    pub name: String,
    /// Where it is on the host.
    pub path: Option<String>,
    /// Reads.
    pub read_requests: Option<u64>,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Writes.
    pub write_requests: Option<u64>,
    /// Bytes written.
    pub write_bytes: Option<u64>,
    /// Flushes.
    pub flush_requests: Option<u64>,
    /// The highest place written to, in bytes.
    pub allocation: Option<u64>,
    /// Its size, in bytes.
    pub capacity: Option<u64>,
    /// Its size on the host, in bytes.
    pub physical: Option<u64>,
}

/// Statistics of a network interface of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// Its name on the host.
    pub name: String,
    /// Bytes that the guest has received. libvirt turns the counters of a tap around, whose host's side counts what it sends.
    pub rx_bytes: Option<u64>,
    /// Packets.
    pub rx_packets: Option<u64>,
    /// Errors.
    pub rx_errors: Option<u64>,
    /// Drops.
    pub rx_dropped: Option<u64>,
    /// Bytes that the guest has sent.
    pub tx_bytes: Option<u64>,
    /// Packets.
    pub tx_packets: Option<u64>,
    /// Errors.
    pub tx_errors: Option<u64>,
    /// Drops.
    pub tx_dropped: Option<u64>,
}

/// Statistics of a virtual CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcpuStats {
    /// Its state (`virVcpuState`).
    pub state: Option<i64>,
    /// CPU time used, in nanoseconds.
    pub time_ns: Option<u64>,
    /// Time that it waited for a host CPU, in nanoseconds.
    pub delay_ns: Option<u64>,
}

/// A host with everything on it.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    /// The host.
    pub node: NodeInfo,
    /// Its free memory, in bytes.
    pub free_memory: Option<u64>,
    /// Its domains, running and defined.
    pub domains: Vec<DomainStats>,
}

impl DomainStats {
    fn new(connect: &Connect, record: types::DomainStatsRecord<'_>) -> Self {
        Self { domain: Domain::new(connect, record.dom), params: record.params.iter().collect() }
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> Option<DomainState> {
        self.params.i64("state.state").and_then(|n| i32::try_from(n).ok()).map(DomainState::from)
    }

    /// CPU time used, in nanoseconds.
    #[must_use]
    pub fn cpu_time_ns(&self) -> Option<u64> {
        self.params.u64("cpu.time")
    }

    /// Memory that it has, in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> Option<u64> {
        self.params.u64("balloon.current")
    }

    /// Most memory that it may have, in KiB.
    #[must_use]
    pub fn max_memory_kib(&self) -> Option<u64> {
        self.params.u64("balloon.maximum")
    }

    /// Its block devices.
    #[must_use]
    pub fn blocks(&self) -> Vec<BlockStats> {
        let read = |disk: &Params| BlockStats {
            name: disk.text("name").unwrap_or_default(),
            path: disk.text("path"),
            read_requests: disk.u64("rd.reqs"),
            read_bytes: disk.u64("rd.bytes"),
            write_requests: disk.u64("wr.reqs"),
            write_bytes: disk.u64("wr.bytes"),
            flush_requests: disk.u64("fl.reqs"),
            allocation: disk.u64("allocation"),
            capacity: disk.u64("capacity"),
            physical: disk.u64("physical"),
        };
        self.params.group("block").iter().map(read).collect()
    }

    /// Its network interfaces.
    #[must_use]
    pub fn interfaces(&self) -> Vec<InterfaceStats> {
        let read = |interface: &Params| InterfaceStats {
            name: interface.text("name").unwrap_or_default(),
            rx_bytes: interface.u64("rx.bytes"),
            rx_packets: interface.u64("rx.pkts"),
            rx_errors: interface.u64("rx.errs"),
            rx_dropped: interface.u64("rx.drop"),
            tx_bytes: interface.u64("tx.bytes"),
            tx_packets: interface.u64("tx.pkts"),
            tx_errors: interface.u64("tx.errs"),
            tx_dropped: interface.u64("tx.drop"),
        };
        self.params.group("net").iter().map(read).collect()
    }

    /// Its virtual CPUs, by number; those that are off have nothing.
    #[must_use]
    pub fn vcpus(&self) -> Vec<VcpuStats> {
        // Their count has another name than that of other groups.
        let count = self.params.u64("vcpu.maximum").unwrap_or(0).min(self.params.as_slice().len() as u64);
        (0..count)
            .map(|number| VcpuStats {
                state: self.params.i64(&format!("vcpu.{number}.state")),
                time_ns: self.params.u64(&format!("vcpu.{number}.time")),
                delay_ns: self.params.u64(&format!("vcpu.{number}.delay")),
            })
            .collect()
    }
}

impl Connect {
    /// Statistics of all domains that fit the flags, in one call; no type set means all that the driver has
    /// (`virConnectGetAllDomainStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn all_stats(
        &self,
        types: DomainStatsTypes,
        flags: ConnectGetAllDomainStatsFlags,
    ) -> Result<Vec<DomainStats>, Error> {
        self.stats(&[], types, flags).await
    }

    /// The same, of these domains alone (`virDomainListGetStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn stats_of(
        &self,
        domains: &[Domain],
        types: DomainStatsTypes,
        flags: ConnectGetAllDomainStatsFlags,
    ) -> Result<Vec<DomainStats>, Error> {
        // To the daemon no domain would mean all of them.
        if domains.is_empty() { Ok(Vec::new()) } else { self.stats(domains, types, flags).await }
    }

    async fn stats(
        &self,
        domains: &[Domain],
        types: DomainStatsTypes,
        flags: ConnectGetAllDomainStatsFlags,
    ) -> Result<Vec<DomainStats>, Error> {
        let doms = domains.iter().map(Domain::wire).collect();
        let args = ConnectGetAllDomainStatsArgs { doms, stats: types, flags };
        let reply = self.call::<remote::ConnectGetAllDomainStats>(&args).await?;
        Ok(reply.result()?.ret_stats.iter().map(|record| DomainStats::new(self, record)).collect())
    }

    /// The host and all its domains with their states and statistics: three calls, however many domains there are.
    ///
    /// # Errors
    /// As every call.
    pub async fn snapshot_host(&self, types: DomainStatsTypes) -> Result<HostSnapshot, Error> {
        let types = if types.is_empty() { types } else { types | DomainStatsTypes::STATE };
        let node = self.node_info();
        let free_memory = self.free_memory();
        let stats = self.all_stats(types, ConnectGetAllDomainStatsFlags::empty());
        let (node, free_memory, domains) = tokio::join!(node, free_memory, stats);
        let free_memory = match free_memory {
            Ok(bytes) => Some(bytes),
            Err(error) if error.is_unsupported() => None,
            Err(error) => return Err(error),
        };
        Ok(HostSnapshot { node: node?, free_memory, domains: domains? })
    }
}

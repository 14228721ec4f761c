//! The host, and what the connection as a whole can be asked for.

use crate::connect::Connect;
use crate::domain::CpuMap;
use crate::error::Error;
use crate::handle::methods;
use crate::params::Params;
use crate::transport::Privacy;
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{CpuCompareResult, NodeSuspendTarget};
use libvirt_protocol::flags::{
    ConnectBaselineCpuFlags, ConnectCompareCpuFlags, ConnectGetDomainCapabilitiesFlags, NodeAllocPagesFlags,
};
use libvirt_protocol::procedure::Release;
use libvirt_protocol::remote::{self, *};

/// The host (`virNodeInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its processor's architecture: `x86_64`.
    pub model: String,
    /// Its memory, in KiB.
    pub memory_kib: u64,
    /// CPUs that are on.
    pub cpus: i32,
    /// Their expected frequency, in MHz; 0 when unknown.
    pub mhz: i32,
    /// NUMA nodes; 1 when their layout is unusual.
    pub nodes: i32,
    /// Sockets a node.
    pub sockets: i32,
    /// Cores a socket.
    pub cores: i32,
    /// Threads a core.
    pub threads: i32,
}

/// What a question about domains' capabilities goes by; `None` leaves it to the daemon.
#[derive(Clone, Copy, Debug, Default)]
pub struct CapabilitiesOf<'a> {
    /// The emulator's path.
    pub emulator: Option<&'a str>,
    /// Architecture of the guest.
    pub arch: Option<&'a str>,
    /// Machine type.
    pub machine: Option<&'a str>,
    /// `kvm`, `qemu` …
    pub virtualisation: Option<&'a str>,
}

/// All CPUs, or all NUMA cells, in calls that ask for one by its number.
const ALL: i32 = -1;

impl Connect {
    /// Whether the connection itself encrypts what it carries, which its transport decides and not the daemon (`virConnectIsEncrypted`): TLS,
    /// also one that checks nobody, and what was agreed on with Kerberos. A local socket, ssh and another program do not count, though
    /// nobody may hear them ([`Connect::is_secure`]). libvirt also counts every login with SASL, with whatever mechanism; a password alone
    /// encrypts nothing, and does not count here.
    ///
    /// # Errors
    /// When the connection is lost, or is not made again in time.
    pub async fn is_encrypted(&self) -> Result<bool, Error> {
        Ok(self.connection().await?.traits().encrypted)
    }
}

methods! { Connect(this) {
    /// The host's name, as the daemon knows it (`virConnectGetHostname`).
    hostname() -> String = remote::ConnectGetHostname() => |found| found.hostname.into();
    /// The URI that was opened, in the daemon's words (`virConnectGetURI`).
    uri() -> String = remote::ConnectGetUri() => |found| found.uri.into();
    /// Name of the driver: `QEMU`, `TEST` … (`virConnectGetType`).
    driver() -> String = remote::ConnectGetType() => |found| found.kind.into();
    /// Release of the hypervisor, as libvirt counts (`virConnectGetVersion`).
    hypervisor_version() -> Release
        = remote::ConnectGetVersion() => |found| Release::from_number(found.hv_ver);
    /// Whether nobody else can listen: to what the daemon says to its driver, which is the daemon's word, and to what is said on the way to the
    /// daemon (`virConnectIsSecure`). A connection that checks nobody (`no_verify=1`) counts, as with libvirt: who only listens hears nothing.
    is_secure() -> bool
        = remote::ConnectIsSecure() => |found| found.secure != 0 && this.connection().await?.traits().privacy != Privacy::Open;
    /// Most virtual CPUs of a guest of a type (`virConnectGetMaxVcpus`).
    max_vcpus(kind: Option<&str>) -> i32
        = remote::ConnectGetMaxVcpus(ConnectGetMaxVcpusArgs { kind: kind.map(Into::into) }) => |found| found.max_vcpus;
    /// What host and hypervisor can do, as XML (`virConnectGetCapabilities`).
    capabilities() -> String = remote::ConnectGetCapabilities() => |found| found.capabilities.into();
    /// What domains can be, as XML (`virConnectGetDomainCapabilities`).
    domain_capabilities(of: CapabilitiesOf<'_>, flags: ConnectGetDomainCapabilitiesFlags) -> String
        = remote::ConnectGetDomainCapabilities(ConnectGetDomainCapabilitiesArgs {
            emulatorbin: of.emulator.map(Into::into), arch: of.arch.map(Into::into), machine: of.machine.map(Into::into),
            virttype: of.virtualisation.map(Into::into), flags,
        }) => |found| found.capabilities.into();
    /// The host's firmware tables, as XML (`virConnectGetSysinfo`).
    system_info() -> String
        = remote::ConnectGetSysinfo(ConnectGetSysinfoArgs { flags: NoFlags::empty() }) => |found| found.sysinfo.into();
    /// Names of CPU models of an architecture (`virConnectGetCPUModelNames`).
    cpu_models(arch: &str) -> Vec<String>
        = remote::ConnectGetCpuModelNames(ConnectGetCpuModelNamesArgs {
            arch: arch.into(), need_results: 1, flags: NoFlags::empty(),
        }) => |found| found.models.iter().map(Into::into).collect();
    /// Compares a CPU with the host's (`virConnectCompareCPU`).
    compare_cpu(xml: &str, flags: ConnectCompareCpuFlags) -> CpuCompareResult
        = remote::ConnectCompareCpu(ConnectCompareCpuArgs { xml: xml.into(), flags }) => |found| found.result;
    /// Compares a CPU with what the hypervisor can give (`virConnectCompareHypervisorCPU`).
    compare_hypervisor_cpu(of: CapabilitiesOf<'_>, xml: &str, flags: ConnectCompareCpuFlags) -> CpuCompareResult
        = remote::ConnectCompareHypervisorCpu(ConnectCompareHypervisorCpuArgs {
            emulator: of.emulator.map(Into::into), arch: of.arch.map(Into::into), machine: of.machine.map(Into::into),
            virttype: of.virtualisation.map(Into::into), xml_cpu: xml.into(), flags,
        }) => |found| found.result;
    /// The CPU that several hosts have in common, as XML (`virConnectBaselineCPU`).
    baseline_cpu(cpus: &[&str], flags: ConnectBaselineCpuFlags) -> String
        = remote::ConnectBaselineCpu(ConnectBaselineCpuArgs {
            xml_cpus: cpus.iter().map(|cpu| (*cpu).into()).collect(), flags,
        }) => |found| found.cpu.into();
    /// The same, of what the hypervisor can give (`virConnectBaselineHypervisorCPU`).
    baseline_hypervisor_cpu(of: CapabilitiesOf<'_>, cpus: &[&str], flags: ConnectBaselineCpuFlags) -> String
        = remote::ConnectBaselineHypervisorCpu(ConnectBaselineHypervisorCpuArgs {
            emulator: of.emulator.map(Into::into), arch: of.arch.map(Into::into), machine: of.machine.map(Into::into),
            virttype: of.virtualisation.map(Into::into),
            xml_cpus: cpus.iter().map(|cpu| (*cpu).into()).collect(), flags,
        }) => |found| found.cpu.into();
    /// A domain's definition out of a hypervisor's own form (`virConnectDomainXMLFromNative`).
    domain_from_native(format: &str, config: &str) -> String
        = remote::ConnectDomainXmlFromNative(ConnectDomainXmlFromNativeArgs {
            native_format: format.into(), native_config: config.into(), flags: NoFlags::empty(),
        }) => |found| found.domain_xml.into();
    /// A domain's definition in a hypervisor's own form, such as a command line (`virConnectDomainXMLToNative`).
    domain_to_native(format: &str, xml: &str) -> String
        = remote::ConnectDomainXmlToNative(ConnectDomainXmlToNativeArgs {
            native_format: format.into(), domain_xml: xml.into(), flags: NoFlags::empty(),
        }) => |found| found.native_config.into();
    /// The host (`virNodeGetInfo`).
    node_info() -> NodeInfo
        = remote::NodeGetInfo() => |found| NodeInfo {
            model: crate::domain::words(&found.model.0),
            memory_kib: found.memory,
            cpus: found.cpus,
            mhz: found.mhz,
            nodes: found.nodes,
            sockets: found.sockets,
            cores: found.cores,
            threads: found.threads,
        };
    /// The host's free memory, in bytes (`virNodeGetFreeMemory`).
    free_memory() -> u64 = remote::NodeGetFreeMemory() => |found| found.free_mem;
    /// Free memory of NUMA cells, in bytes, from the first one on (`virNodeGetCellsFreeMemory`).
    cells_free_memory(first: i32) -> Vec<u64>
        = remote::NodeGetCellsFreeMemory(NodeGetCellsFreeMemoryArgs { start_cell: first, maxcells: 1024 })
        => |found| found.cells.iter().collect();
    /// Which CPUs of the host are on, and how many there are (`virNodeGetCPUMap`).
    cpu_map() -> (CpuMap, i32)
        = remote::NodeGetCpuMap(NodeGetCpuMapArgs { need_map: 1, need_online: 1, flags: NoFlags::empty() })
        => |found| (CpuMap::from_bytes(&found.cpumap.0), found.ret);
    /// Free pages of these sizes, in KiB, by NUMA cell from the first one on (`virNodeGetFreePages`).
    free_pages(sizes_kib: &[u32], first: i32, cells: u32) -> Vec<u64>
        = remote::NodeGetFreePages(NodeGetFreePagesArgs {
            pages: sizes_kib.into(), start_cell: first, cell_count: cells, flags: NoFlags::empty(),
        }) => |found| found.counts.iter().collect();
    /// Sets, or adds to, the pool of huge pages; returns how many NUMA cells were changed (`virNodeAllocPages`).
    allocate_pages(sizes_kib: &[u32], counts: &[u64], first: i32, cells: u32, flags: NodeAllocPagesFlags) -> i32
        = remote::NodeAllocPages(NodeAllocPagesArgs {
            page_sizes: sizes_kib.into(), page_counts: counts.into(), start_cell: first, cell_count: cells, flags,
        }) => |found| found.ret;
    /// How the host merges equal pages: names `NODE_MEMORY_SHARED_*` (`virNodeGetMemoryParameters`).
    memory_parameters() -> Params
        = remote::NodeGetMemoryParameters(NodeGetMemoryParametersArgs { nparams: 64, flags: NoFlags::empty() })
        => |found| found.params.iter().collect();
    /// Says how the host merges equal pages (`virNodeSetMemoryParameters`).
    set_memory_parameters(parameters: &Params)
        = remote::NodeSetMemoryParameters(NodeSetMemoryParametersArgs {
            params: parameters.as_slice().into(), flags: NoFlags::empty(),
        });
    /// The security model, and its domain of interpretation (`virNodeGetSecurityModel`).
    security_model() -> (String, String)
        = remote::NodeGetSecurityModel()
        => |found| (crate::domain::words(&found.model.0), crate::domain::words(&found.doi.0));
    /// What the processor has for encrypted memory: names `NODE_SEV_*` (`virNodeGetSEVInfo`).
    sev_info() -> Params
        = remote::NodeGetSevInfo(NodeGetSevInfoArgs { nparams: 64, flags: crate::params::TEXTS_TOO })
        => |found| found.params.iter().collect();
    /// Puts the host to sleep for so many seconds (`virNodeSuspendForDuration`).
    suspend_host(target: NodeSuspendTarget, seconds: u64)
        = remote::NodeSuspendForDuration(NodeSuspendForDurationArgs {
            target, duration: seconds, flags: NoFlags::empty(),
        });
} }

// A host of Linux refuses these two when there is room for more figures than it has, so it is asked how many there are.
impl Connect {
    /// Time that a CPU of the host, or all with `None`, spent on what: nanoseconds (`virNodeGetCPUStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn cpu_stats(&self, cpu: Option<i32>) -> Result<Vec<(String, u64)>, Error> {
        let mut args =
            NodeGetCpuStatsArgs { cpu_num: cpu.unwrap_or(ALL), nparams: 0, flags: NoFlags::empty() };
        args.nparams = self.call::<remote::NodeGetCpuStats>(&args).await?.result()?.nparams;
        let reply = self.call::<remote::NodeGetCpuStats>(&args).await?;
        Ok(reply.result()?.params.iter().map(|stat| (stat.field.into(), stat.value)).collect())
    }

    /// Memory of a NUMA cell, or of all with `None`, by use: KiB (`virNodeGetMemoryStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn memory_stats(&self, cell: Option<i32>) -> Result<Vec<(String, u64)>, Error> {
        let mut args =
            NodeGetMemoryStatsArgs { nparams: 0, cell_num: cell.unwrap_or(ALL), flags: NoFlags::empty() };
        args.nparams = self.call::<remote::NodeGetMemoryStats>(&args).await?.result()?.nparams;
        let reply = self.call::<remote::NodeGetMemoryStats>(&args).await?;
        Ok(reply.result()?.params.iter().map(|stat| (stat.field.into(), stat.value)).collect())
    }

    /// Whether the connection still works: one round trip (`virConnectIsAlive`).
    ///
    /// # Errors
    /// With the reason when it does not.
    pub async fn check(&self) -> Result<(), Error> {
        self.call::<remote::ConnectGetLibVersion>(&()).await.map(drop)
    }
}

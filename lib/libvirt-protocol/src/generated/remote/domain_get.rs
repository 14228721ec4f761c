// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! What can be read of domains.

use crate::NoFlags;
use crate::generated::types::{Domain, DomainDiskError, DomainFsinfo, DomainIoThreadInfo, VcpuInfo};
use crate::generated::{enums, flags};
use crate::params::TypedParam;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{Bytes, List, Text, Words, structure};

procedure! {
/// [`virDomainGetXMLDesc`](https://libvirt.org/search.html?q=virDomainGetXMLDesc), since libvirt 0.3.0.
DomainGetXmlDesc(DomainGetXmlDescArgs<'a>) -> DomainGetXmlDescRet<'a> = Info::new(Program::Remote, 14, "domain_get_xml_desc", Release(0, 3, 0)).function("virDomainGetXMLDesc").acl(&["domain:read", "domain:read_secure:VIR_DOMAIN_XML_SECURE", "domain:read_secure:VIR_DOMAIN_XML_MIGRATABLE"])
}

structure! {
/// What [`DomainGetXmlDesc`] takes.
DomainGetXmlDescArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainXmlFlags,
}}

structure! {
/// What [`DomainGetXmlDesc`] returns.
DomainGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virDomainGetAutostart`](https://libvirt.org/search.html?q=virDomainGetAutostart), since libvirt 0.3.0.
DomainGetAutostart(DomainGetAutostartArgs<'a>) -> DomainGetAutostartRet = Info::new(Program::Remote, 15, "domain_get_autostart", Release(0, 3, 0)).function("virDomainGetAutostart").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetAutostart`] takes.
DomainGetAutostartArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetAutostart`] returns.
DomainGetAutostartRet {
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virDomainGetInfo`](https://libvirt.org/search.html?q=virDomainGetInfo), since libvirt 0.3.0.
DomainGetInfo(DomainGetInfoArgs<'a>) -> DomainGetInfoRet = Info::new(Program::Remote, 16, "domain_get_info", Release(0, 3, 0)).function("virDomainGetInfo").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetInfo`] takes.
DomainGetInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetInfo`] returns.
DomainGetInfoRet {
/// `state`
state: u8,
/// `maxMem`
max_mem: u64,
/// `memory`
memory: u64,
/// `nrVirtCpu`
nr_virt_cpu: u16,
/// `cpuTime`
cpu_time: u64,
}}

procedure! {
/// [`virDomainGetMaxMemory`](https://libvirt.org/search.html?q=virDomainGetMaxMemory), since libvirt 0.3.0.
DomainGetMaxMemory(DomainGetMaxMemoryArgs<'a>) -> DomainGetMaxMemoryRet = Info::new(Program::Remote, 17, "domain_get_max_memory", Release(0, 3, 0)).function("virDomainGetMaxMemory").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetMaxMemory`] takes.
DomainGetMaxMemoryArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetMaxMemory`] returns.
DomainGetMaxMemoryRet {
/// `memory`
memory: u64,
}}

procedure! {
/// [`virDomainGetMaxVcpus`](https://libvirt.org/search.html?q=virDomainGetMaxVcpus), since libvirt 0.3.0.
DomainGetMaxVcpus(DomainGetMaxVcpusArgs<'a>) -> DomainGetMaxVcpusRet = Info::new(Program::Remote, 18, "domain_get_max_vcpus", Release(0, 3, 0)).function("virDomainGetMaxVcpus").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetMaxVcpus`] takes.
DomainGetMaxVcpusArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetMaxVcpus`] returns.
DomainGetMaxVcpusRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virDomainGetOSType`](https://libvirt.org/search.html?q=virDomainGetOSType), since libvirt 0.3.0.
DomainGetOsType(DomainGetOsTypeArgs<'a>) -> DomainGetOsTypeRet<'a> = Info::new(Program::Remote, 19, "domain_get_os_type", Release(0, 3, 0)).function("virDomainGetOSType").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetOsType`] takes.
DomainGetOsTypeArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetOsType`] returns.
DomainGetOsTypeRet<'a> {
/// `type`
kind: Text<'a>,
}}

procedure! {
/// [`virDomainGetVcpus`](https://libvirt.org/search.html?q=virDomainGetVcpus), since libvirt 0.3.0.
DomainGetVcpus(DomainGetVcpusArgs<'a>) -> DomainGetVcpusRet<'a> = Info::new(Program::Remote, 20, "domain_get_vcpus", Release(0, 3, 0)).function("virDomainGetVcpus").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetVcpus`] takes.
DomainGetVcpusArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `maxinfo`
maxinfo: i32,
/// `maplen`
maplen: i32,
}}

structure! {
/// What [`DomainGetVcpus`] returns.
DomainGetVcpusRet<'a> {
/// `info`
info: List<'a, VcpuInfo, 16384>,
/// `cpumaps`
cpumaps: Bytes<'a, 8388608>,
}}

procedure! {
/// [`virDomainGetSchedulerType`](https://libvirt.org/search.html?q=virDomainGetSchedulerType), since libvirt 0.3.0.
DomainGetSchedulerType(DomainGetSchedulerTypeArgs<'a>) -> DomainGetSchedulerTypeRet<'a> = Info::new(Program::Remote, 56, "domain_get_scheduler_type", Release(0, 3, 0)).function("virDomainGetSchedulerType").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetSchedulerType`] takes.
DomainGetSchedulerTypeArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetSchedulerType`] returns.
DomainGetSchedulerTypeRet<'a> {
/// `type`
kind: Text<'a>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virDomainGetSchedulerParameters`](https://libvirt.org/search.html?q=virDomainGetSchedulerParameters), since libvirt 0.3.0.
DomainGetSchedulerParameters(DomainGetSchedulerParametersArgs<'a>) -> DomainGetSchedulerParametersRet<'a> = Info::new(Program::Remote, 57, "domain_get_scheduler_parameters", Release(0, 3, 0)).function("virDomainGetSchedulerParameters").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetSchedulerParameters`] takes.
DomainGetSchedulerParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `nparams`
nparams: i32,
}}

structure! {
/// What [`DomainGetSchedulerParameters`] returns.
DomainGetSchedulerParametersRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 16>,
}}

procedure! {
/// [`virDomainGetSecurityLabel`](https://libvirt.org/search.html?q=virDomainGetSecurityLabel), since libvirt 0.6.1.
DomainGetSecurityLabel(DomainGetSecurityLabelArgs<'a>) -> DomainGetSecurityLabelRet = Info::new(Program::Remote, 121, "domain_get_security_label", Release(0, 6, 1)).function("virDomainGetSecurityLabel").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetSecurityLabel`] takes.
DomainGetSecurityLabelArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetSecurityLabel`] returns.
DomainGetSecurityLabelRet {
/// `label`
label: Words<4097>,
/// `enforcing`
enforcing: i32,
}}

procedure! {
/// [`virDomainGetJobInfo`](https://libvirt.org/search.html?q=virDomainGetJobInfo), since libvirt 0.7.7.
DomainGetJobInfo(DomainGetJobInfoArgs<'a>) -> DomainGetJobInfoRet = Info::new(Program::Remote, 163, "domain_get_job_info", Release(0, 7, 7)).function("virDomainGetJobInfo").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetJobInfo`] takes.
DomainGetJobInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetJobInfo`] returns.
DomainGetJobInfoRet {
/// `type`
kind: enums::DomainJobType,
/// `timeElapsed`
time_elapsed: u64,
/// `timeRemaining`
time_remaining: u64,
/// `dataTotal`
data_total: u64,
/// `dataProcessed`
data_processed: u64,
/// `dataRemaining`
data_remaining: u64,
/// `memTotal`
mem_total: u64,
/// `memProcessed`
mem_processed: u64,
/// `memRemaining`
mem_remaining: u64,
/// `fileTotal`
file_total: u64,
/// `fileProcessed`
file_processed: u64,
/// `fileRemaining`
file_remaining: u64,
}}

procedure! {
/// [`virDomainGetBlockInfo`](https://libvirt.org/search.html?q=virDomainGetBlockInfo), since libvirt 0.8.1.
DomainGetBlockInfo(DomainGetBlockInfoArgs<'a>) -> DomainGetBlockInfoRet = Info::new(Program::Remote, 194, "domain_get_block_info", Release(0, 8, 1)).function("virDomainGetBlockInfo").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetBlockInfo`] takes.
DomainGetBlockInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetBlockInfo`] returns.
DomainGetBlockInfoRet {
/// `allocation`
allocation: u64,
/// `capacity`
capacity: u64,
/// `physical`
physical: u64,
}}

procedure! {
/// [`virDomainGetMemoryParameters`](https://libvirt.org/search.html?q=virDomainGetMemoryParameters), since libvirt 0.8.5.
DomainGetMemoryParameters(DomainGetMemoryParametersArgs<'a>) -> DomainGetMemoryParametersRet<'a> = Info::new(Program::Remote, 198, "domain_get_memory_parameters", Release(0, 8, 5)).function("virDomainGetMemoryParameters").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetMemoryParameters`] takes.
DomainGetMemoryParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `nparams`
nparams: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetMemoryParameters`] returns.
DomainGetMemoryParametersRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virDomainGetVcpusFlags`](https://libvirt.org/search.html?q=virDomainGetVcpusFlags), since libvirt 0.8.5.
DomainGetVcpusFlags(DomainGetVcpusFlagsArgs<'a>) -> DomainGetVcpusFlagsRet = Info::new(Program::Remote, 200, "domain_get_vcpus_flags", Release(0, 8, 5)).function("virDomainGetVcpusFlags").acl(&["domain:read", "domain:write:VIR_DOMAIN_VCPU_GUEST"])
}

structure! {
/// What [`DomainGetVcpusFlags`] takes.
DomainGetVcpusFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainVcpuFlags,
}}

structure! {
/// What [`DomainGetVcpusFlags`] returns.
DomainGetVcpusFlagsRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virDomainGetBlkioParameters`](https://libvirt.org/search.html?q=virDomainGetBlkioParameters), since libvirt 0.9.0.
DomainGetBlkioParameters(DomainGetBlkioParametersArgs<'a>) -> DomainGetBlkioParametersRet<'a> = Info::new(Program::Remote, 206, "domain_get_blkio_parameters", Release(0, 9, 0)).function("virDomainGetBlkioParameters").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetBlkioParameters`] takes.
DomainGetBlkioParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `nparams`
nparams: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetBlkioParameters`] returns.
DomainGetBlkioParametersRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virDomainGetState`](https://libvirt.org/search.html?q=virDomainGetState), since libvirt 0.9.2.
DomainGetState(DomainGetStateArgs<'a>) -> DomainGetStateRet = Info::new(Program::Remote, 212, "domain_get_state", Release(0, 9, 2)).function("virDomainGetState").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetState`] takes.
DomainGetStateArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetState`] returns.
DomainGetStateRet {
/// `state`
state: enums::DomainState,
/// `reason`
reason: i32,
}}

procedure! {
/// [`virDomainGetSchedulerParametersFlags`](https://libvirt.org/search.html?q=virDomainGetSchedulerParametersFlags), since libvirt 0.9.2.
DomainGetSchedulerParametersFlags(DomainGetSchedulerParametersFlagsArgs<'a>) -> DomainGetSchedulerParametersFlagsRet<'a> = Info::new(Program::Remote, 223, "domain_get_scheduler_parameters_flags", Release(0, 9, 2)).function("virDomainGetSchedulerParametersFlags").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetSchedulerParametersFlags`] takes.
DomainGetSchedulerParametersFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `nparams`
nparams: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetSchedulerParametersFlags`] returns.
DomainGetSchedulerParametersFlagsRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 16>,
}}

procedure! {
/// [`virDomainGetControlInfo`](https://libvirt.org/search.html?q=virDomainGetControlInfo), since libvirt 0.9.3.
DomainGetControlInfo(DomainGetControlInfoArgs<'a>) -> DomainGetControlInfoRet = Info::new(Program::Remote, 229, "domain_get_control_info", Release(0, 9, 3)).function("virDomainGetControlInfo").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetControlInfo`] takes.
DomainGetControlInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetControlInfo`] returns.
DomainGetControlInfoRet {
/// `state`
state: enums::DomainControlState,
/// `details`
details: u32,
/// `stateTime`
state_time: u64,
}}

procedure! {
/// [`virDomainGetVcpuPinInfo`](https://libvirt.org/search.html?q=virDomainGetVcpuPinInfo), since libvirt 0.9.3.
DomainGetVcpuPinInfo(DomainGetVcpuPinInfoArgs<'a>) -> DomainGetVcpuPinInfoRet<'a> = Info::new(Program::Remote, 230, "domain_get_vcpu_pin_info", Release(0, 9, 3)).function("virDomainGetVcpuPinInfo").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetVcpuPinInfo`] takes.
DomainGetVcpuPinInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `ncpumaps`
ncpumaps: i32,
/// `maplen`
maplen: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetVcpuPinInfo`] returns.
DomainGetVcpuPinInfoRet<'a> {
/// `cpumaps`
cpumaps: Bytes<'a, 8388608>,
/// `num`
num: i32,
}}

procedure! {
/// [`virDomainGetBlockJobInfo`](https://libvirt.org/search.html?q=virDomainGetBlockJobInfo), since libvirt 0.9.4.
DomainGetBlockJobInfo(DomainGetBlockJobInfoArgs<'a>) -> DomainGetBlockJobInfoRet = Info::new(Program::Remote, 238, "domain_get_block_job_info", Release(0, 9, 4)).function("virDomainGetBlockJobInfo").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetBlockJobInfo`] takes.
DomainGetBlockJobInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `flags`
flags: flags::DomainBlockJobInfoFlags,
}}

structure! {
/// What [`DomainGetBlockJobInfo`] returns.
DomainGetBlockJobInfoRet {
/// `found`
found: i32,
/// `type`
kind: enums::DomainBlockJobType,
/// `bandwidth`
bandwidth: u64,
/// `cur`
cur: u64,
/// `end`
end: u64,
}}

procedure! {
/// [`virDomainGetBlockIoTune`](https://libvirt.org/search.html?q=virDomainGetBlockIoTune), since libvirt 0.9.8.
DomainGetBlockIoTune(DomainGetBlockIoTuneArgs<'a>) -> DomainGetBlockIoTuneRet<'a> = Info::new(Program::Remote, 253, "domain_get_block_io_tune", Release(0, 9, 8)).function("virDomainGetBlockIoTune").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetBlockIoTune`] takes.
DomainGetBlockIoTuneArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `disk`
disk: Option<Text<'a>>,
/// `nparams`
nparams: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetBlockIoTune`] returns.
DomainGetBlockIoTuneRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 32>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virDomainGetNumaParameters`](https://libvirt.org/search.html?q=virDomainGetNumaParameters), since libvirt 0.9.9.
DomainGetNumaParameters(DomainGetNumaParametersArgs<'a>) -> DomainGetNumaParametersRet<'a> = Info::new(Program::Remote, 255, "domain_get_numa_parameters", Release(0, 9, 9)).function("virDomainGetNumaParameters").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetNumaParameters`] takes.
DomainGetNumaParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `nparams`
nparams: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetNumaParameters`] returns.
DomainGetNumaParametersRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virDomainGetInterfaceParameters`](https://libvirt.org/search.html?q=virDomainGetInterfaceParameters), since libvirt 0.9.9.
DomainGetInterfaceParameters(DomainGetInterfaceParametersArgs<'a>) -> DomainGetInterfaceParametersRet<'a> = Info::new(Program::Remote, 257, "domain_get_interface_parameters", Release(0, 9, 9)).function("virDomainGetInterfaceParameters").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetInterfaceParameters`] takes.
DomainGetInterfaceParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `device`
device: Text<'a>,
/// `nparams`
nparams: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetInterfaceParameters`] returns.
DomainGetInterfaceParametersRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virDomainGetCPUStats`](https://libvirt.org/search.html?q=virDomainGetCPUStats), since libvirt 0.9.10.
DomainGetCpuStats(DomainGetCpuStatsArgs<'a>) -> DomainGetCpuStatsRet<'a> = Info::new(Program::Remote, 262, "domain_get_cpu_stats", Release(0, 9, 10)).function("virDomainGetCPUStats").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetCpuStats`] takes.
DomainGetCpuStatsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `nparams`
nparams: u32,
/// `start_cpu`
start_cpu: i32,
/// `ncpus`
ncpus: u32,
/// `flags`
flags: flags::TypedParameterFlags,
}}

structure! {
/// What [`DomainGetCpuStats`] returns.
DomainGetCpuStatsRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 2048>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virDomainGetDiskErrors`](https://libvirt.org/search.html?q=virDomainGetDiskErrors), since libvirt 0.9.10.
DomainGetDiskErrors(DomainGetDiskErrorsArgs<'a>) -> DomainGetDiskErrorsRet<'a> = Info::new(Program::Remote, 263, "domain_get_disk_errors", Release(0, 9, 10)).function("virDomainGetDiskErrors").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetDiskErrors`] takes.
DomainGetDiskErrorsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `maxerrors`
maxerrors: u32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetDiskErrors`] returns.
DomainGetDiskErrorsRet<'a> {
/// `errors`
errors: List<'a, DomainDiskError<'a>, 256>,
/// `nerrors`
nerrors: i32,
}}

procedure! {
/// [`virDomainGetMetadata`](https://libvirt.org/search.html?q=virDomainGetMetadata), since libvirt 0.9.10.
DomainGetMetadata(DomainGetMetadataArgs<'a>) -> DomainGetMetadataRet<'a> = Info::new(Program::Remote, 265, "domain_get_metadata", Release(0, 9, 10)).function("virDomainGetMetadata").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetMetadata`] takes.
DomainGetMetadataArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `type`
kind: enums::DomainMetadataType,
/// `uri`
uri: Option<Text<'a>>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetMetadata`] returns.
DomainGetMetadataRet<'a> {
/// `metadata`
metadata: Text<'a>,
}}

procedure! {
/// [`virDomainGetHostname`](https://libvirt.org/search.html?q=virDomainGetHostname), since libvirt 0.10.0.
DomainGetHostname(DomainGetHostnameArgs<'a>) -> DomainGetHostnameRet<'a> = Info::new(Program::Remote, 277, "domain_get_hostname", Release(0, 10, 0)).function("virDomainGetHostname").acl(&["domain:write"])
}

structure! {
/// What [`DomainGetHostname`] takes.
DomainGetHostnameArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainGetHostnameFlags,
}}

structure! {
/// What [`DomainGetHostname`] returns.
DomainGetHostnameRet<'a> {
/// `hostname`
hostname: Text<'a>,
}}

procedure! {
/// [`virDomainGetSecurityLabelList`](https://libvirt.org/search.html?q=virDomainGetSecurityLabelList), since libvirt 0.10.0.
DomainGetSecurityLabelList(DomainGetSecurityLabelListArgs<'a>) -> DomainGetSecurityLabelListRet<'a> = Info::new(Program::Remote, 278, "domain_get_security_label_list", Release(0, 10, 0)).function("virDomainGetSecurityLabelList").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetSecurityLabelList`] takes.
DomainGetSecurityLabelListArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetSecurityLabelList`] returns.
DomainGetSecurityLabelListRet<'a> {
/// `labels`
labels: List<'a, DomainGetSecurityLabelRet, 64>,
/// `ret`
ret: i32,
}}

procedure! {
/// [`virDomainGetEmulatorPinInfo`](https://libvirt.org/search.html?q=virDomainGetEmulatorPinInfo), since libvirt 0.10.0.
DomainGetEmulatorPinInfo(DomainGetEmulatorPinInfoArgs<'a>) -> DomainGetEmulatorPinInfoRet<'a> = Info::new(Program::Remote, 280, "domain_get_emulator_pin_info", Release(0, 10, 0)).function("virDomainGetEmulatorPinInfo").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetEmulatorPinInfo`] takes.
DomainGetEmulatorPinInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `maplen`
maplen: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetEmulatorPinInfo`] returns.
DomainGetEmulatorPinInfoRet<'a> {
/// `cpumaps`
cpumaps: Bytes<'a, 8388608>,
/// `ret`
ret: i32,
}}

procedure! {
/// [`virDomainGetJobStats`](https://libvirt.org/search.html?q=virDomainGetJobStats), since libvirt 1.0.3.
DomainGetJobStats(DomainGetJobStatsArgs<'a>) -> DomainGetJobStatsRet<'a> = Info::new(Program::Remote, 298, "domain_get_job_stats", Release(1, 0, 3)).function("virDomainGetJobStats").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetJobStats`] takes.
DomainGetJobStatsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainGetJobStatsFlags,
}}

structure! {
/// What [`DomainGetJobStats`] returns.
DomainGetJobStatsRet<'a> {
/// `type`
kind: enums::DomainJobType,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
}}

procedure! {
/// [`virDomainGetTime`](https://libvirt.org/search.html?q=virDomainGetTime), since libvirt 1.2.5.
DomainGetTime(DomainGetTimeArgs<'a>) -> DomainGetTimeRet = Info::new(Program::Remote, 337, "domain_get_time", Release(1, 2, 5)).function("virDomainGetTime").acl(&["domain:write"])
}

structure! {
/// What [`DomainGetTime`] takes.
DomainGetTimeArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetTime`] returns.
DomainGetTimeRet {
/// `seconds`
seconds: i64,
/// `nseconds`
nseconds: u32,
}}

procedure! {
/// [`virDomainGetFSInfo`](https://libvirt.org/search.html?q=virDomainGetFSInfo), since libvirt 1.2.11.
DomainGetFsinfo(DomainGetFsinfoArgs<'a>) -> DomainGetFsinfoRet<'a> = Info::new(Program::Remote, 349, "domain_get_fsinfo", Release(1, 2, 11)).function("virDomainGetFSInfo").acl(&["domain:fs_freeze"])
}

structure! {
/// What [`DomainGetFsinfo`] takes.
DomainGetFsinfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetFsinfo`] returns.
DomainGetFsinfoRet<'a> {
/// `info`
info: List<'a, DomainFsinfo<'a>, 256>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virDomainGetIOThreadInfo`](https://libvirt.org/search.html?q=virDomainGetIOThreadInfo), since libvirt 1.2.14.
DomainGetIoThreadInfo(DomainGetIoThreadInfoArgs<'a>) -> DomainGetIoThreadInfoRet<'a> = Info::new(Program::Remote, 351, "domain_get_iothread_info", Release(1, 2, 14)).function("virDomainGetIOThreadInfo").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetIoThreadInfo`] takes.
DomainGetIoThreadInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetIoThreadInfo`] returns.
DomainGetIoThreadInfoRet<'a> {
/// `info`
info: List<'a, DomainIoThreadInfo<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virDomainGetPerfEvents`](https://libvirt.org/search.html?q=virDomainGetPerfEvents), since libvirt 1.3.3.
DomainGetPerfEvents(DomainGetPerfEventsArgs<'a>) -> DomainGetPerfEventsRet<'a> = Info::new(Program::Remote, 365, "domain_get_perf_events", Release(1, 3, 3)).function("virDomainGetPerfEvents").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetPerfEvents`] takes.
DomainGetPerfEventsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

structure! {
/// What [`DomainGetPerfEvents`] returns.
DomainGetPerfEventsRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
}}

procedure! {
/// [`virDomainGetGuestVcpus`](https://libvirt.org/search.html?q=virDomainGetGuestVcpus), since libvirt 2.0.0.
DomainGetGuestVcpus(DomainGetGuestVcpusArgs<'a>) -> DomainGetGuestVcpusRet<'a> = Info::new(Program::Remote, 371, "domain_get_guest_vcpus", Release(2, 0, 0)).function("virDomainGetGuestVcpus").acl(&["domain:write"])
}

structure! {
/// What [`DomainGetGuestVcpus`] takes.
DomainGetGuestVcpusArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetGuestVcpus`] returns.
DomainGetGuestVcpusRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
}}

procedure! {
/// [`virDomainGetLaunchSecurityInfo`](https://libvirt.org/search.html?q=virDomainGetLaunchSecurityInfo), since libvirt 4.5.0.
DomainGetLaunchSecurityInfo(DomainGetLaunchSecurityInfoArgs<'a>) -> DomainGetLaunchSecurityInfoRet<'a> = Info::new(Program::Remote, 396, "domain_get_launch_security_info", Release(4, 5, 0)).function("virDomainGetLaunchSecurityInfo").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetLaunchSecurityInfo`] takes.
DomainGetLaunchSecurityInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetLaunchSecurityInfo`] returns.
DomainGetLaunchSecurityInfoRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
}}

procedure! {
/// [`virDomainGetGuestInfo`](https://libvirt.org/search.html?q=virDomainGetGuestInfo), since libvirt 5.7.0.
DomainGetGuestInfo(DomainGetGuestInfoArgs<'a>) -> DomainGetGuestInfoRet<'a> = Info::new(Program::Remote, 418, "domain_get_guest_info", Release(5, 7, 0)).function("virDomainGetGuestInfo").acl(&["domain:write"])
}

structure! {
/// What [`DomainGetGuestInfo`] takes.
DomainGetGuestInfoArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `types`
types: flags::DomainGuestInfoTypes,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainGetGuestInfo`] returns.
DomainGetGuestInfoRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 2048>,
}}

procedure! {
/// [`virDomainGetMessages`](https://libvirt.org/search.html?q=virDomainGetMessages), since libvirt 7.1.0.
DomainGetMessages(DomainGetMessagesArgs<'a>) -> DomainGetMessagesRet<'a> = Info::new(Program::Remote, 426, "domain_get_messages", Release(7, 1, 0)).function("virDomainGetMessages").acl(&["domain:read"])
}

structure! {
/// What [`DomainGetMessages`] takes.
DomainGetMessagesArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainMessageType,
}}

structure! {
/// What [`DomainGetMessages`] returns.
DomainGetMessagesRet<'a> {
/// `msgs`
msgs: List<'a, Text<'a>, 2048>,
}}

procedure! {
/// [`virDomainGetAutostartOnce`](https://libvirt.org/search.html?q=virDomainGetAutostartOnce), since libvirt 11.2.0.
DomainGetAutostartOnce(DomainGetAutostartOnceArgs<'a>) -> DomainGetAutostartOnceRet = Info::new(Program::Remote, 449, "domain_get_autostart_once", Release(11, 2, 0)).function("virDomainGetAutostartOnce").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainGetAutostartOnce`] takes.
DomainGetAutostartOnceArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainGetAutostartOnce`] returns.
DomainGetAutostartOnceRet {
/// `autostart`
autostart: i32,
}}

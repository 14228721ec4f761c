// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! The host.

use crate::NoFlags;
use crate::generated::types::{NodeGetCpuStatsEntry, NodeGetMemoryStatsEntry};
use crate::generated::{enums, flags};
use crate::params::TypedParam;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{Bytes, FixedWords, List, Text, Words, structure};

procedure! {
/// [`virNodeGetInfo`](https://libvirt.org/search.html?q=virNodeGetInfo), since libvirt 0.3.0.
NodeGetInfo(()) -> NodeGetInfoRet = Info::new(Program::Remote, 6, "node_get_info", Release(0, 3, 0)).function("virNodeGetInfo").urgent().acl(&["connect:read"])
}

structure! {
/// What [`NodeGetInfo`] returns.
NodeGetInfoRet {
/// `model`
model: FixedWords<32>,
/// `memory`
memory: u64,
/// `cpus`
cpus: i32,
/// `mhz`
mhz: i32,
/// `nodes`
nodes: i32,
/// `sockets`
sockets: i32,
/// `cores`
cores: i32,
/// `threads`
threads: i32,
}}

procedure! {
/// [`virNodeGetCellsFreeMemory`](https://libvirt.org/search.html?q=virNodeGetCellsFreeMemory), since libvirt 0.4.1.
NodeGetCellsFreeMemory(NodeGetCellsFreeMemoryArgs) -> NodeGetCellsFreeMemoryRet<'a> = Info::new(Program::Remote, 101, "node_get_cells_free_memory", Release(0, 4, 1)).function("virNodeGetCellsFreeMemory").urgent().acl(&["connect:read"])
}

structure! {
/// What [`NodeGetCellsFreeMemory`] takes.
NodeGetCellsFreeMemoryArgs {
/// `startCell`
start_cell: i32,
/// `maxcells`
maxcells: i32,
}}

structure! {
/// What [`NodeGetCellsFreeMemory`] returns.
NodeGetCellsFreeMemoryRet<'a> {
/// `cells`
cells: List<'a, u64, 1024>,
}}

procedure! {
/// [`virNodeGetFreeMemory`](https://libvirt.org/search.html?q=virNodeGetFreeMemory), since libvirt 0.4.1.
NodeGetFreeMemory(()) -> NodeGetFreeMemoryRet = Info::new(Program::Remote, 102, "node_get_free_memory", Release(0, 4, 1)).function("virNodeGetFreeMemory").urgent().acl(&["connect:read"])
}

structure! {
/// What [`NodeGetFreeMemory`] returns.
NodeGetFreeMemoryRet {
/// `freeMem`
free_mem: u64,
}}

procedure! {
/// [`virNodeNumOfDevices`](https://libvirt.org/search.html?q=virNodeNumOfDevices), since libvirt 0.5.0.
NodeNumOfDevices(NodeNumOfDevicesArgs<'a>) -> NodeNumOfDevicesRet = Info::new(Program::Remote, 111, "node_num_of_devices", Release(0, 5, 0)).function("virNodeNumOfDevices").urgent().acl(&["connect:search_node_devices"])
}

structure! {
/// What [`NodeNumOfDevices`] takes.
NodeNumOfDevicesArgs<'a> {
/// `cap`
cap: Option<Text<'a>>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeNumOfDevices`] returns.
NodeNumOfDevicesRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virNodeListDevices`](https://libvirt.org/search.html?q=virNodeListDevices), since libvirt 0.5.0.
NodeListDevices(NodeListDevicesArgs<'a>) -> NodeListDevicesRet<'a> = Info::new(Program::Remote, 112, "node_list_devices", Release(0, 5, 0)).function("virNodeListDevices").urgent().acl(&["connect:search_node_devices"])
}

structure! {
/// What [`NodeListDevices`] takes.
NodeListDevicesArgs<'a> {
/// `cap`
cap: Option<Text<'a>>,
/// `maxnames`
maxnames: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeListDevices`] returns.
NodeListDevicesRet<'a> {
/// `names`
names: List<'a, Text<'a>, 65536>,
}}

procedure! {
/// [`virNodeGetSecurityModel`](https://libvirt.org/search.html?q=virNodeGetSecurityModel), since libvirt 0.6.1.
NodeGetSecurityModel(()) -> NodeGetSecurityModelRet = Info::new(Program::Remote, 122, "node_get_security_model", Release(0, 6, 1)).function("virNodeGetSecurityModel").urgent().acl(&["connect:read"])
}

structure! {
/// What [`NodeGetSecurityModel`] returns.
NodeGetSecurityModelRet {
/// `model`
model: Words<257>,
/// `doi`
doi: Words<257>,
}}

procedure! {
/// [`virNodeGetCPUStats`](https://libvirt.org/search.html?q=virNodeGetCPUStats), since libvirt 0.9.3.
NodeGetCpuStats(NodeGetCpuStatsArgs) -> NodeGetCpuStatsRet<'a> = Info::new(Program::Remote, 227, "node_get_cpu_stats", Release(0, 9, 3)).function("virNodeGetCPUStats").urgent().acl(&["connect:read"])
}

structure! {
/// What [`NodeGetCpuStats`] takes.
NodeGetCpuStatsArgs {
/// `cpuNum`
cpu_num: i32,
/// `nparams`
nparams: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeGetCpuStats`] returns.
NodeGetCpuStatsRet<'a> {
/// `params`
params: List<'a, NodeGetCpuStatsEntry<'a>, 16>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virNodeGetMemoryStats`](https://libvirt.org/search.html?q=virNodeGetMemoryStats), since libvirt 0.9.3.
NodeGetMemoryStats(NodeGetMemoryStatsArgs) -> NodeGetMemoryStatsRet<'a> = Info::new(Program::Remote, 228, "node_get_memory_stats", Release(0, 9, 3)).function("virNodeGetMemoryStats").urgent().acl(&["connect:read"])
}

structure! {
/// What [`NodeGetMemoryStats`] takes.
NodeGetMemoryStatsArgs {
/// `nparams`
nparams: i32,
/// `cellNum`
cell_num: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeGetMemoryStats`] returns.
NodeGetMemoryStatsRet<'a> {
/// `params`
params: List<'a, NodeGetMemoryStatsEntry<'a>, 16>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virNodeSuspendForDuration`](https://libvirt.org/search.html?q=virNodeSuspendForDuration), since libvirt 0.9.8.
NodeSuspendForDuration(NodeSuspendForDurationArgs) -> () = Info::new(Program::Remote, 250, "node_suspend_for_duration", Release(0, 9, 8)).function("virNodeSuspendForDuration").acl(&["connect:pm_control"])
}

structure! {
/// What [`NodeSuspendForDuration`] takes.
NodeSuspendForDurationArgs {
/// `target`
target: enums::NodeSuspendTarget,
/// `duration`
duration: u64,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virNodeSetMemoryParameters`](https://libvirt.org/search.html?q=virNodeSetMemoryParameters), since libvirt 0.10.2.
NodeSetMemoryParameters(NodeSetMemoryParametersArgs<'a>) -> () = Info::new(Program::Remote, 288, "node_set_memory_parameters", Release(0, 10, 2)).function("virNodeSetMemoryParameters").acl(&["connect:write"])
}

structure! {
/// What [`NodeSetMemoryParameters`] takes.
NodeSetMemoryParametersArgs<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virNodeGetMemoryParameters`](https://libvirt.org/search.html?q=virNodeGetMemoryParameters), since libvirt 0.10.2.
NodeGetMemoryParameters(NodeGetMemoryParametersArgs) -> NodeGetMemoryParametersRet<'a> = Info::new(Program::Remote, 289, "node_get_memory_parameters", Release(0, 10, 2)).function("virNodeGetMemoryParameters").acl(&["connect:read"])
}

structure! {
/// What [`NodeGetMemoryParameters`] takes.
NodeGetMemoryParametersArgs {
/// `nparams`
nparams: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeGetMemoryParameters`] returns.
NodeGetMemoryParametersRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `nparams`
nparams: i32,
}}

procedure! {
/// [`virNodeGetCPUMap`](https://libvirt.org/search.html?q=virNodeGetCPUMap), since libvirt 1.0.0.
NodeGetCpuMap(NodeGetCpuMapArgs) -> NodeGetCpuMapRet<'a> = Info::new(Program::Remote, 293, "node_get_cpu_map", Release(1, 0, 0)).function("virNodeGetCPUMap").acl(&["connect:read"])
}

structure! {
/// What [`NodeGetCpuMap`] takes.
NodeGetCpuMapArgs {
/// `need_map`
need_map: i32,
/// `need_online`
need_online: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeGetCpuMap`] returns.
NodeGetCpuMapRet<'a> {
/// `cpumap`
cpumap: Bytes<'a, 2048>,
/// `online`
online: u32,
/// `ret`
ret: i32,
}}

procedure! {
/// [`virNodeGetFreePages`](https://libvirt.org/search.html?q=virNodeGetFreePages), since libvirt 1.2.6.
NodeGetFreePages(NodeGetFreePagesArgs<'a>) -> NodeGetFreePagesRet<'a> = Info::new(Program::Remote, 340, "node_get_free_pages", Release(1, 2, 6)).function("virNodeGetFreePages").urgent().acl(&["connect:read"])
}

structure! {
/// What [`NodeGetFreePages`] takes.
NodeGetFreePagesArgs<'a> {
/// `pages`
pages: List<'a, u32, 1024>,
/// `startCell`
start_cell: i32,
/// `cellCount`
cell_count: u32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeGetFreePages`] returns.
NodeGetFreePagesRet<'a> {
/// `counts`
counts: List<'a, u64, 1024>,
}}

procedure! {
/// [`virNodeAllocPages`](https://libvirt.org/search.html?q=virNodeAllocPages), since libvirt 1.2.9.
NodeAllocPages(NodeAllocPagesArgs<'a>) -> NodeAllocPagesRet = Info::new(Program::Remote, 347, "node_alloc_pages", Release(1, 2, 9)).function("virNodeAllocPages").acl(&["connect:write"])
}

structure! {
/// What [`NodeAllocPages`] takes.
NodeAllocPagesArgs<'a> {
/// `pageSizes`
page_sizes: List<'a, u32, 1024>,
/// `pageCounts`
page_counts: List<'a, u64, 1024>,
/// `startCell`
start_cell: i32,
/// `cellCount`
cell_count: u32,
/// `flags`
flags: flags::NodeAllocPagesFlags,
}}

structure! {
/// What [`NodeAllocPages`] returns.
NodeAllocPagesRet {
/// `ret`
ret: i32,
}}

procedure! {
/// [`virNodeGetSEVInfo`](https://libvirt.org/search.html?q=virNodeGetSEVInfo), since libvirt 4.5.0.
NodeGetSevInfo(NodeGetSevInfoArgs) -> NodeGetSevInfoRet<'a> = Info::new(Program::Remote, 395, "node_get_sev_info", Release(4, 5, 0)).function("virNodeGetSEVInfo").acl(&["connect:read"])
}

structure! {
/// What [`NodeGetSevInfo`] takes.
NodeGetSevInfoArgs {
/// `nparams`
nparams: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`NodeGetSevInfo`] returns.
NodeGetSevInfoRet<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `nparams`
nparams: i32,
}}

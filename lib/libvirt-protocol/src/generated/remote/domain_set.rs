// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! What can be set of domains.

use crate::NoFlags;
use crate::generated::types::Domain;
use crate::generated::{enums, flags};
use crate::params::TypedParam;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, structure};

procedure! {
/// [`virDomainSetAutostart`](https://libvirt.org/search.html?q=virDomainSetAutostart), since libvirt 0.3.0.
DomainSetAutostart(DomainSetAutostartArgs<'a>) -> () = Info::new(Program::Remote, 29, "domain_set_autostart", Release(0, 3, 0)).function("virDomainSetAutostart").urgent().acl(&["domain:write"])
}

structure! {
/// What [`DomainSetAutostart`] takes.
DomainSetAutostartArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virDomainSetMaxMemory`](https://libvirt.org/search.html?q=virDomainSetMaxMemory), since libvirt 0.3.0.
DomainSetMaxMemory(DomainSetMaxMemoryArgs<'a>) -> () = Info::new(Program::Remote, 30, "domain_set_max_memory", Release(0, 3, 0)).function("virDomainSetMaxMemory").urgent().acl(&["domain:write"])
}

structure! {
/// What [`DomainSetMaxMemory`] takes.
DomainSetMaxMemoryArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `memory`
memory: u64,
}}

procedure! {
/// [`virDomainSetMemory`](https://libvirt.org/search.html?q=virDomainSetMemory), since libvirt 0.3.0.
DomainSetMemory(DomainSetMemoryArgs<'a>) -> () = Info::new(Program::Remote, 31, "domain_set_memory", Release(0, 3, 0)).function("virDomainSetMemory").acl(&["domain:write"])
}

structure! {
/// What [`DomainSetMemory`] takes.
DomainSetMemoryArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `memory`
memory: u64,
}}

procedure! {
/// [`virDomainSetVcpus`](https://libvirt.org/search.html?q=virDomainSetVcpus), since libvirt 0.3.0.
DomainSetVcpus(DomainSetVcpusArgs<'a>) -> () = Info::new(Program::Remote, 32, "domain_set_vcpus", Release(0, 3, 0)).function("virDomainSetVcpus").acl(&["domain:write"])
}

structure! {
/// What [`DomainSetVcpus`] takes.
DomainSetVcpusArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `nvcpus`
nvcpus: u32,
}}

procedure! {
/// [`virDomainSetSchedulerParameters`](https://libvirt.org/search.html?q=virDomainSetSchedulerParameters), since libvirt 0.3.0.
DomainSetSchedulerParameters(DomainSetSchedulerParametersArgs<'a>) -> () = Info::new(Program::Remote, 58, "domain_set_scheduler_parameters", Release(0, 3, 0)).function("virDomainSetSchedulerParameters").acl(&["domain:read"])
}

structure! {
/// What [`DomainSetSchedulerParameters`] takes.
DomainSetSchedulerParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 16>,
}}

procedure! {
/// [`virDomainSetMemoryParameters`](https://libvirt.org/search.html?q=virDomainSetMemoryParameters), since libvirt 0.8.5.
DomainSetMemoryParameters(DomainSetMemoryParametersArgs<'a>) -> () = Info::new(Program::Remote, 197, "domain_set_memory_parameters", Release(0, 8, 5)).function("virDomainSetMemoryParameters").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetMemoryParameters`] takes.
DomainSetMemoryParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetVcpusFlags`](https://libvirt.org/search.html?q=virDomainSetVcpusFlags), since libvirt 0.8.5.
DomainSetVcpusFlags(DomainSetVcpusFlagsArgs<'a>) -> () = Info::new(Program::Remote, 199, "domain_set_vcpus_flags", Release(0, 8, 5)).function("virDomainSetVcpusFlags").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG", "domain:write:VIR_DOMAIN_VCPU_GUEST"])
}

structure! {
/// What [`DomainSetVcpusFlags`] takes.
DomainSetVcpusFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `nvcpus`
nvcpus: u32,
/// `flags`
flags: flags::DomainVcpuFlags,
}}

procedure! {
/// [`virDomainSetMemoryFlags`](https://libvirt.org/search.html?q=virDomainSetMemoryFlags), since libvirt 0.9.0.
DomainSetMemoryFlags(DomainSetMemoryFlagsArgs<'a>) -> () = Info::new(Program::Remote, 204, "domain_set_memory_flags", Release(0, 9, 0)).function("virDomainSetMemoryFlags").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetMemoryFlags`] takes.
DomainSetMemoryFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `memory`
memory: u64,
/// `flags`
flags: flags::DomainMemoryModFlags,
}}

procedure! {
/// [`virDomainSetBlkioParameters`](https://libvirt.org/search.html?q=virDomainSetBlkioParameters), since libvirt 0.9.0.
DomainSetBlkioParameters(DomainSetBlkioParametersArgs<'a>) -> () = Info::new(Program::Remote, 205, "domain_set_blkio_parameters", Release(0, 9, 0)).function("virDomainSetBlkioParameters").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetBlkioParameters`] takes.
DomainSetBlkioParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetSchedulerParametersFlags`](https://libvirt.org/search.html?q=virDomainSetSchedulerParametersFlags), since libvirt 0.9.2.
DomainSetSchedulerParametersFlags(DomainSetSchedulerParametersFlagsArgs<'a>) -> () = Info::new(Program::Remote, 219, "domain_set_scheduler_parameters_flags", Release(0, 9, 2)).function("virDomainSetSchedulerParametersFlags").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetSchedulerParametersFlags`] takes.
DomainSetSchedulerParametersFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetBlockIoTune`](https://libvirt.org/search.html?q=virDomainSetBlockIoTune), since libvirt 0.9.8.
DomainSetBlockIoTune(DomainSetBlockIoTuneArgs<'a>) -> () = Info::new(Program::Remote, 252, "domain_set_block_io_tune", Release(0, 9, 8)).function("virDomainSetBlockIoTune").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetBlockIoTune`] takes.
DomainSetBlockIoTuneArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `disk`
disk: Text<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 32>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetNumaParameters`](https://libvirt.org/search.html?q=virDomainSetNumaParameters), since libvirt 0.9.9.
DomainSetNumaParameters(DomainSetNumaParametersArgs<'a>) -> () = Info::new(Program::Remote, 254, "domain_set_numa_parameters", Release(0, 9, 9)).function("virDomainSetNumaParameters").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetNumaParameters`] takes.
DomainSetNumaParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetInterfaceParameters`](https://libvirt.org/search.html?q=virDomainSetInterfaceParameters), since libvirt 0.9.9.
DomainSetInterfaceParameters(DomainSetInterfaceParametersArgs<'a>) -> () = Info::new(Program::Remote, 256, "domain_set_interface_parameters", Release(0, 9, 9)).function("virDomainSetInterfaceParameters").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetInterfaceParameters`] takes.
DomainSetInterfaceParametersArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `device`
device: Text<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 16>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetMetadata`](https://libvirt.org/search.html?q=virDomainSetMetadata), since libvirt 0.9.10.
DomainSetMetadata(DomainSetMetadataArgs<'a>) -> () = Info::new(Program::Remote, 264, "domain_set_metadata", Release(0, 9, 10)).function("virDomainSetMetadata").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetMetadata`] takes.
DomainSetMetadataArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `type`
kind: enums::DomainMetadataType,
/// `metadata`
metadata: Option<Text<'a>>,
/// `key`
key: Option<Text<'a>>,
/// `uri`
uri: Option<Text<'a>>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetMemoryStatsPeriod`](https://libvirt.org/search.html?q=virDomainSetMemoryStatsPeriod), since libvirt 1.1.1.
DomainSetMemoryStatsPeriod(DomainSetMemoryStatsPeriodArgs<'a>) -> () = Info::new(Program::Remote, 308, "domain_set_memory_stats_period", Release(1, 1, 1)).function("virDomainSetMemoryStatsPeriod").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetMemoryStatsPeriod`] takes.
DomainSetMemoryStatsPeriodArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `period`
period: i32,
/// `flags`
flags: flags::DomainMemoryModFlags,
}}

procedure! {
/// [`virDomainSetTime`](https://libvirt.org/search.html?q=virDomainSetTime), since libvirt 1.2.5.
DomainSetTime(DomainSetTimeArgs<'a>) -> () = Info::new(Program::Remote, 338, "domain_set_time", Release(1, 2, 5)).function("virDomainSetTime").acl(&["domain:set_time"])
}

structure! {
/// What [`DomainSetTime`] takes.
DomainSetTimeArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `seconds`
seconds: i64,
/// `nseconds`
nseconds: u32,
/// `flags`
flags: flags::DomainSetTimeFlags,
}}

procedure! {
/// [`virDomainSetUserPassword`](https://libvirt.org/search.html?q=virDomainSetUserPassword), since libvirt 1.2.16.
DomainSetUserPassword(DomainSetUserPasswordArgs<'a>) -> () = Info::new(Program::Remote, 357, "domain_set_user_password", Release(1, 2, 16)).function("virDomainSetUserPassword").acl(&["domain:set_password"])
}

structure! {
/// What [`DomainSetUserPassword`] takes.
DomainSetUserPasswordArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `user`
user: Option<Text<'a>>,
/// `password`
password: Option<Text<'a>>,
/// `flags`
flags: flags::DomainSetUserPasswordFlags,
}}

procedure! {
/// [`virDomainSetPerfEvents`](https://libvirt.org/search.html?q=virDomainSetPerfEvents), since libvirt 1.3.3.
DomainSetPerfEvents(DomainSetPerfEventsArgs<'a>) -> () = Info::new(Program::Remote, 366, "domain_set_perf_events", Release(1, 3, 3)).function("virDomainSetPerfEvents").acl(&["domain:write"])
}

structure! {
/// What [`DomainSetPerfEvents`] takes.
DomainSetPerfEventsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetGuestVcpus`](https://libvirt.org/search.html?q=virDomainSetGuestVcpus), since libvirt 2.0.0.
DomainSetGuestVcpus(DomainSetGuestVcpusArgs<'a>) -> () = Info::new(Program::Remote, 372, "domain_set_guest_vcpus", Release(2, 0, 0)).function("virDomainSetGuestVcpus").acl(&["domain:write"])
}

structure! {
/// What [`DomainSetGuestVcpus`] takes.
DomainSetGuestVcpusArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `cpumap`
cpumap: Text<'a>,
/// `state`
state: i32,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainSetVcpu`](https://libvirt.org/search.html?q=virDomainSetVcpu), since libvirt 3.1.0.
DomainSetVcpu(DomainSetVcpuArgs<'a>) -> () = Info::new(Program::Remote, 384, "domain_set_vcpu", Release(3, 1, 0)).function("virDomainSetVcpu").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetVcpu`] takes.
DomainSetVcpuArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `cpumap`
cpumap: Text<'a>,
/// `state`
state: i32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetBlockThreshold`](https://libvirt.org/search.html?q=virDomainSetBlockThreshold), since libvirt 3.2.0.
DomainSetBlockThreshold(DomainSetBlockThresholdArgs<'a>) -> () = Info::new(Program::Remote, 386, "domain_set_block_threshold", Release(3, 2, 0)).function("virDomainSetBlockThreshold").acl(&["domain:write"])
}

structure! {
/// What [`DomainSetBlockThreshold`] takes.
DomainSetBlockThresholdArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `dev`
dev: Text<'a>,
/// `threshold`
threshold: u64,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainSetLifecycleAction`](https://libvirt.org/search.html?q=virDomainSetLifecycleAction), since libvirt 3.9.0.
DomainSetLifecycleAction(DomainSetLifecycleActionArgs<'a>) -> () = Info::new(Program::Remote, 390, "domain_set_lifecycle_action", Release(3, 9, 0)).function("virDomainSetLifecycleAction").acl(&["domain:write"])
}

structure! {
/// What [`DomainSetLifecycleAction`] takes.
DomainSetLifecycleActionArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `type`
kind: enums::DomainLifecycle,
/// `action`
action: enums::DomainLifecycleAction,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetIOThreadParams`](https://libvirt.org/search.html?q=virDomainSetIOThreadParams), since libvirt 4.10.0.
DomainSetIoThreadParams(DomainSetIoThreadParamsArgs<'a>) -> () = Info::new(Program::Remote, 402, "domain_set_iothread_params", Release(4, 10, 0)).function("virDomainSetIOThreadParams").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetIoThreadParams`] takes.
DomainSetIoThreadParamsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `iothread_id`
iothread_id: u32,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSetLaunchSecurityState`](https://libvirt.org/search.html?q=virDomainSetLaunchSecurityState), since libvirt 8.0.0.
DomainSetLaunchSecurityState(DomainSetLaunchSecurityStateArgs<'a>) -> () = Info::new(Program::Remote, 439, "domain_set_launch_security_state", Release(8, 0, 0)).function("virDomainSetLaunchSecurityState").acl(&["domain:write"])
}

structure! {
/// What [`DomainSetLaunchSecurityState`] takes.
DomainSetLaunchSecurityStateArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainSetAutostartOnce`](https://libvirt.org/search.html?q=virDomainSetAutostartOnce), since libvirt 11.2.0.
DomainSetAutostartOnce(DomainSetAutostartOnceArgs<'a>) -> () = Info::new(Program::Remote, 450, "domain_set_autostart_once", Release(11, 2, 0)).function("virDomainSetAutostartOnce").urgent().acl(&["domain:write"])
}

structure! {
/// What [`DomainSetAutostartOnce`] takes.
DomainSetAutostartOnceArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `autostart`
autostart: i32,
}}

procedure! {
/// [`virDomainSetThrottleGroup`](https://libvirt.org/search.html?q=virDomainSetThrottleGroup), since libvirt 11.2.0.
DomainSetThrottleGroup(DomainSetThrottleGroupArgs<'a>) -> () = Info::new(Program::Remote, 451, "domain_set_throttle_group", Release(11, 2, 0)).function("virDomainSetThrottleGroup").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainSetThrottleGroup`] takes.
DomainSetThrottleGroupArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `group`
group: Text<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 32>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Domains.

use crate::NoFlags;
use crate::generated::types::{Domain, DomainCheckpoint, DomainInterface, DomainMemoryStat, DomainSnapshot};
use crate::generated::{enums, flags};
use crate::params::TypedParam;
use crate::procedure::{Descriptors, Direction, Info, Program, Release, procedure};
use crate::xdr::{Bytes, List, Text, Uuid, structure};

procedure! {
/// [`virDomainAttachDevice`](https://libvirt.org/search.html?q=virDomainAttachDevice), since libvirt 0.3.0.
DomainAttachDevice(DomainAttachDeviceArgs<'a>) -> () = Info::new(Program::Remote, 8, "domain_attach_device", Release(0, 3, 0)).function("virDomainAttachDevice").acl(&["domain:write"])
}

structure! {
/// What [`DomainAttachDevice`] takes.
DomainAttachDeviceArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virDomainCreate`](https://libvirt.org/search.html?q=virDomainCreate), since libvirt 0.3.0.
DomainCreate(DomainCreateArgs<'a>) -> () = Info::new(Program::Remote, 9, "domain_create", Release(0, 3, 0)).function("virDomainCreate").acl(&["domain:start"])
}

structure! {
/// What [`DomainCreate`] takes.
DomainCreateArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainCreateXML`](https://libvirt.org/search.html?q=virDomainCreateXML), since libvirt 0.3.0.
DomainCreateXml(DomainCreateXmlArgs<'a>) -> DomainCreateXmlRet<'a> = Info::new(Program::Remote, 10, "domain_create_xml", Release(0, 3, 0)).function("virDomainCreateXML").acl(&["domain:write", "domain:start"])
}

structure! {
/// What [`DomainCreateXml`] takes.
DomainCreateXmlArgs<'a> {
/// `xml_desc`
xml_desc: Text<'a>,
/// `flags`
flags: flags::DomainCreateFlags,
}}

structure! {
/// What [`DomainCreateXml`] returns.
DomainCreateXmlRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainDefineXML`](https://libvirt.org/search.html?q=virDomainDefineXML), since libvirt 0.3.0.
DomainDefineXml(DomainDefineXmlArgs<'a>) -> DomainDefineXmlRet<'a> = Info::new(Program::Remote, 11, "domain_define_xml", Release(0, 3, 0)).function("virDomainDefineXML").urgent().acl(&["domain:write", "domain:save"])
}

structure! {
/// What [`DomainDefineXml`] takes.
DomainDefineXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
}}

structure! {
/// What [`DomainDefineXml`] returns.
DomainDefineXmlRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainDestroy`](https://libvirt.org/search.html?q=virDomainDestroy), since libvirt 0.3.0.
DomainDestroy(DomainDestroyArgs<'a>) -> () = Info::new(Program::Remote, 12, "domain_destroy", Release(0, 3, 0)).function("virDomainDestroy").urgent().acl(&["domain:stop"])
}

structure! {
/// What [`DomainDestroy`] takes.
DomainDestroyArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainDetachDevice`](https://libvirt.org/search.html?q=virDomainDetachDevice), since libvirt 0.3.0.
DomainDetachDevice(DomainDetachDeviceArgs<'a>) -> () = Info::new(Program::Remote, 13, "domain_detach_device", Release(0, 3, 0)).function("virDomainDetachDevice").acl(&["domain:write"])
}

structure! {
/// What [`DomainDetachDevice`] takes.
DomainDetachDeviceArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virDomainLookupByID`](https://libvirt.org/search.html?q=virDomainLookupByID), since libvirt 0.3.0.
DomainLookupById(DomainLookupByIdArgs) -> DomainLookupByIdRet<'a> = Info::new(Program::Remote, 22, "domain_lookup_by_id", Release(0, 3, 0)).function("virDomainLookupByID").urgent().acl(&["domain:getattr"])
}

structure! {
/// What [`DomainLookupById`] takes.
DomainLookupByIdArgs {
/// `id`
id: i32,
}}

structure! {
/// What [`DomainLookupById`] returns.
DomainLookupByIdRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainLookupByName`](https://libvirt.org/search.html?q=virDomainLookupByName), since libvirt 0.3.0.
DomainLookupByName(DomainLookupByNameArgs<'a>) -> DomainLookupByNameRet<'a> = Info::new(Program::Remote, 23, "domain_lookup_by_name", Release(0, 3, 0)).function("virDomainLookupByName").urgent().acl(&["domain:getattr"])
}

structure! {
/// What [`DomainLookupByName`] takes.
DomainLookupByNameArgs<'a> {
/// `name`
name: Text<'a>,
}}

structure! {
/// What [`DomainLookupByName`] returns.
DomainLookupByNameRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainLookupByUUID`](https://libvirt.org/search.html?q=virDomainLookupByUUID), since libvirt 0.3.0.
DomainLookupByUuid(DomainLookupByUuidArgs) -> DomainLookupByUuidRet<'a> = Info::new(Program::Remote, 24, "domain_lookup_by_uuid", Release(0, 3, 0)).function("virDomainLookupByUUID").urgent().acl(&["domain:getattr"])
}

structure! {
/// What [`DomainLookupByUuid`] takes.
DomainLookupByUuidArgs {
/// `uuid`
uuid: Uuid,
}}

structure! {
/// What [`DomainLookupByUuid`] returns.
DomainLookupByUuidRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainPinVcpu`](https://libvirt.org/search.html?q=virDomainPinVcpu), since libvirt 0.3.0.
DomainPinVcpu(DomainPinVcpuArgs<'a>) -> () = Info::new(Program::Remote, 26, "domain_pin_vcpu", Release(0, 3, 0)).function("virDomainPinVcpu").acl(&["domain:write"])
}

structure! {
/// What [`DomainPinVcpu`] takes.
DomainPinVcpuArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `vcpu`
vcpu: u32,
/// `cpumap`
cpumap: Bytes<'a, 2048>,
}}

procedure! {
/// [`virDomainReboot`](https://libvirt.org/search.html?q=virDomainReboot), since libvirt 0.3.0.
DomainReboot(DomainRebootArgs<'a>) -> () = Info::new(Program::Remote, 27, "domain_reboot", Release(0, 3, 0)).function("virDomainReboot").acl(&["domain:init_control", "domain:write:VIR_DOMAIN_REBOOT_GUEST_AGENT"])
}

structure! {
/// What [`DomainReboot`] takes.
DomainRebootArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainRebootFlags,
}}

procedure! {
/// [`virDomainResume`](https://libvirt.org/search.html?q=virDomainResume), since libvirt 0.3.0.
DomainResume(DomainResumeArgs<'a>) -> () = Info::new(Program::Remote, 28, "domain_resume", Release(0, 3, 0)).function("virDomainResume").acl(&["domain:suspend"])
}

structure! {
/// What [`DomainResume`] takes.
DomainResumeArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainShutdown`](https://libvirt.org/search.html?q=virDomainShutdown), since libvirt 0.3.0.
DomainShutdown(DomainShutdownArgs<'a>) -> () = Info::new(Program::Remote, 33, "domain_shutdown", Release(0, 3, 0)).function("virDomainShutdown").acl(&["domain:init_control"])
}

structure! {
/// What [`DomainShutdown`] takes.
DomainShutdownArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainSuspend`](https://libvirt.org/search.html?q=virDomainSuspend), since libvirt 0.3.0.
DomainSuspend(DomainSuspendArgs<'a>) -> () = Info::new(Program::Remote, 34, "domain_suspend", Release(0, 3, 0)).function("virDomainSuspend").acl(&["domain:suspend"])
}

structure! {
/// What [`DomainSuspend`] takes.
DomainSuspendArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainUndefine`](https://libvirt.org/search.html?q=virDomainUndefine), since libvirt 0.3.0.
DomainUndefine(DomainUndefineArgs<'a>) -> () = Info::new(Program::Remote, 35, "domain_undefine", Release(0, 3, 0)).function("virDomainUndefine").urgent().acl(&["domain:delete"])
}

structure! {
/// What [`DomainUndefine`] takes.
DomainUndefineArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainCoreDump`](https://libvirt.org/search.html?q=virDomainCoreDump), since libvirt 0.3.0.
DomainCoreDump(DomainCoreDumpArgs<'a>) -> () = Info::new(Program::Remote, 53, "domain_core_dump", Release(0, 3, 0)).function("virDomainCoreDump").acl(&["domain:core_dump"])
}

structure! {
/// What [`DomainCoreDump`] takes.
DomainCoreDumpArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `to`
to: Text<'a>,
/// `flags`
flags: flags::DomainCoreDumpFlags,
}}

procedure! {
/// [`virDomainRestore`](https://libvirt.org/search.html?q=virDomainRestore), since libvirt 0.3.0.
DomainRestore(DomainRestoreArgs<'a>) -> () = Info::new(Program::Remote, 54, "domain_restore", Release(0, 3, 0)).function("virDomainRestore").acl(&["domain:start", "domain:write"])
}

structure! {
/// What [`DomainRestore`] takes.
DomainRestoreArgs<'a> {
/// `from`
from: Text<'a>,
}}

procedure! {
/// [`virDomainSave`](https://libvirt.org/search.html?q=virDomainSave), since libvirt 0.3.0.
DomainSave(DomainSaveArgs<'a>) -> () = Info::new(Program::Remote, 55, "domain_save", Release(0, 3, 0)).function("virDomainSave").acl(&["domain:hibernate"])
}

structure! {
/// What [`DomainSave`] takes.
DomainSaveArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `to`
to: Text<'a>,
}}

procedure! {
/// [`virDomainInterfaceStats`](https://libvirt.org/search.html?q=virDomainInterfaceStats), since libvirt 0.3.2.
DomainInterfaceStats(DomainInterfaceStatsArgs<'a>) -> DomainInterfaceStatsRet = Info::new(Program::Remote, 65, "domain_interface_stats", Release(0, 3, 2)).function("virDomainInterfaceStats").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainInterfaceStats`] takes.
DomainInterfaceStatsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `device`
device: Text<'a>,
}}

structure! {
/// What [`DomainInterfaceStats`] returns.
DomainInterfaceStatsRet {
/// `rx_bytes`
rx_bytes: i64,
/// `rx_packets`
rx_packets: i64,
/// `rx_errs`
rx_errs: i64,
/// `rx_drop`
rx_drop: i64,
/// `tx_bytes`
tx_bytes: i64,
/// `tx_packets`
tx_packets: i64,
/// `tx_errs`
tx_errs: i64,
/// `tx_drop`
tx_drop: i64,
}}

procedure! {
/// [`virDomainMemoryPeek`](https://libvirt.org/search.html?q=virDomainMemoryPeek), since libvirt 0.4.2.
DomainMemoryPeek(DomainMemoryPeekArgs<'a>) -> DomainMemoryPeekRet<'a> = Info::new(Program::Remote, 104, "domain_memory_peek", Release(0, 4, 2)).function("virDomainMemoryPeek").acl(&["domain:mem_read"])
}

structure! {
/// What [`DomainMemoryPeek`] takes.
DomainMemoryPeekArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `offset`
offset: u64,
/// `size`
size: u32,
/// `flags`
flags: flags::DomainMemoryFlags,
}}

structure! {
/// What [`DomainMemoryPeek`] returns.
DomainMemoryPeekRet<'a> {
/// `buffer`
buffer: Bytes<'a, 4194304>,
}}

procedure! {
/// [`virDomainIsActive`](https://libvirt.org/search.html?q=virDomainIsActive), since libvirt 0.7.3.
DomainIsActive(DomainIsActiveArgs<'a>) -> DomainIsActiveRet = Info::new(Program::Remote, 150, "domain_is_active", Release(0, 7, 3)).function("virDomainIsActive").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainIsActive`] takes.
DomainIsActiveArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainIsActive`] returns.
DomainIsActiveRet {
/// `active`
active: i32,
}}

procedure! {
/// [`virDomainIsPersistent`](https://libvirt.org/search.html?q=virDomainIsPersistent), since libvirt 0.7.3.
DomainIsPersistent(DomainIsPersistentArgs<'a>) -> DomainIsPersistentRet = Info::new(Program::Remote, 151, "domain_is_persistent", Release(0, 7, 3)).function("virDomainIsPersistent").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainIsPersistent`] takes.
DomainIsPersistentArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainIsPersistent`] returns.
DomainIsPersistentRet {
/// `persistent`
persistent: i32,
}}

procedure! {
/// [`virDomainMemoryStats`](https://libvirt.org/search.html?q=virDomainMemoryStats), since libvirt 0.7.5.
DomainMemoryStats(DomainMemoryStatsArgs<'a>) -> DomainMemoryStatsRet<'a> = Info::new(Program::Remote, 159, "domain_memory_stats", Release(0, 7, 5)).function("virDomainMemoryStats").acl(&["domain:read"])
}

structure! {
/// What [`DomainMemoryStats`] takes.
DomainMemoryStatsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `maxStats`
max_stats: u32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainMemoryStats`] returns.
DomainMemoryStatsRet<'a> {
/// `stats`
stats: List<'a, DomainMemoryStat, 1024>,
}}

procedure! {
/// [`virDomainAttachDeviceFlags`](https://libvirt.org/search.html?q=virDomainAttachDeviceFlags), since libvirt 0.7.7.
DomainAttachDeviceFlags(DomainAttachDeviceFlagsArgs<'a>) -> () = Info::new(Program::Remote, 160, "domain_attach_device_flags", Release(0, 7, 7)).function("virDomainAttachDeviceFlags").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainAttachDeviceFlags`] takes.
DomainAttachDeviceFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::DomainDeviceModifyFlags,
}}

procedure! {
/// [`virDomainDetachDeviceFlags`](https://libvirt.org/search.html?q=virDomainDetachDeviceFlags), since libvirt 0.7.7.
DomainDetachDeviceFlags(DomainDetachDeviceFlagsArgs<'a>) -> () = Info::new(Program::Remote, 161, "domain_detach_device_flags", Release(0, 7, 7)).function("virDomainDetachDeviceFlags").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainDetachDeviceFlags`] takes.
DomainDetachDeviceFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::DomainDeviceModifyFlags,
}}

procedure! {
/// [`virDomainAbortJob`](https://libvirt.org/search.html?q=virDomainAbortJob), since libvirt 0.7.7.
DomainAbortJob(DomainAbortJobArgs<'a>) -> () = Info::new(Program::Remote, 164, "domain_abort_job", Release(0, 7, 7)).function("virDomainAbortJob").acl(&["domain:write"])
}

structure! {
/// What [`DomainAbortJob`] takes.
DomainAbortJobArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainUpdateDeviceFlags`](https://libvirt.org/search.html?q=virDomainUpdateDeviceFlags), since libvirt 0.8.0.
DomainUpdateDeviceFlags(DomainUpdateDeviceFlagsArgs<'a>) -> () = Info::new(Program::Remote, 174, "domain_update_device_flags", Release(0, 8, 0)).function("virDomainUpdateDeviceFlags").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainUpdateDeviceFlags`] takes.
DomainUpdateDeviceFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::DomainDeviceModifyFlags,
}}

procedure! {
/// [`virDomainManagedSave`](https://libvirt.org/search.html?q=virDomainManagedSave), since libvirt 0.8.0.
DomainManagedSave(DomainManagedSaveArgs<'a>) -> () = Info::new(Program::Remote, 182, "domain_managed_save", Release(0, 8, 0)).function("virDomainManagedSave").acl(&["domain:hibernate"])
}

structure! {
/// What [`DomainManagedSave`] takes.
DomainManagedSaveArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainSaveRestoreFlags,
}}

procedure! {
/// [`virDomainHasManagedSaveImage`](https://libvirt.org/search.html?q=virDomainHasManagedSaveImage), since libvirt 0.8.0.
DomainHasManagedSaveImage(DomainHasManagedSaveImageArgs<'a>) -> DomainHasManagedSaveImageRet = Info::new(Program::Remote, 183, "domain_has_managed_save_image", Release(0, 8, 0)).function("virDomainHasManagedSaveImage").acl(&["domain:read"])
}

structure! {
/// What [`DomainHasManagedSaveImage`] takes.
DomainHasManagedSaveImageArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainHasManagedSaveImage`] returns.
DomainHasManagedSaveImageRet {
/// `result`
result: i32,
}}

procedure! {
/// [`virDomainManagedSaveRemove`](https://libvirt.org/search.html?q=virDomainManagedSaveRemove), since libvirt 0.8.0.
DomainManagedSaveRemove(DomainManagedSaveRemoveArgs<'a>) -> () = Info::new(Program::Remote, 184, "domain_managed_save_remove", Release(0, 8, 0)).function("virDomainManagedSaveRemove").acl(&["domain:hibernate"])
}

structure! {
/// What [`DomainManagedSaveRemove`] takes.
DomainManagedSaveRemoveArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainHasCurrentSnapshot`](https://libvirt.org/search.html?q=virDomainHasCurrentSnapshot), since libvirt 0.8.0.
DomainHasCurrentSnapshot(DomainHasCurrentSnapshotArgs<'a>) -> DomainHasCurrentSnapshotRet = Info::new(Program::Remote, 190, "domain_has_current_snapshot", Release(0, 8, 0)).function("virDomainHasCurrentSnapshot").acl(&["domain:read"])
}

structure! {
/// What [`DomainHasCurrentSnapshot`] takes.
DomainHasCurrentSnapshotArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainHasCurrentSnapshot`] returns.
DomainHasCurrentSnapshotRet {
/// `result`
result: i32,
}}

procedure! {
/// [`virDomainRevertToSnapshot`](https://libvirt.org/search.html?q=virDomainRevertToSnapshot), since libvirt 0.8.0.
DomainRevertToSnapshot(DomainRevertToSnapshotArgs<'a>) -> () = Info::new(Program::Remote, 192, "domain_revert_to_snapshot", Release(0, 8, 0)).function("virDomainRevertToSnapshot").acl(&["domain:snapshot"])
}

structure! {
/// What [`DomainRevertToSnapshot`] takes.
DomainRevertToSnapshotArgs<'a> {
/// `snap`
snap: DomainSnapshot<'a>,
/// `flags`
flags: flags::DomainSnapshotRevertFlags,
}}

procedure! {
/// [`virDomainCreateWithFlags`](https://libvirt.org/search.html?q=virDomainCreateWithFlags), since libvirt 0.8.2.
DomainCreateWithFlags(DomainCreateWithFlagsArgs<'a>) -> DomainCreateWithFlagsRet<'a> = Info::new(Program::Remote, 196, "domain_create_with_flags", Release(0, 8, 2)).function("virDomainCreateWithFlags").acl(&["domain:start"])
}

structure! {
/// What [`DomainCreateWithFlags`] takes.
DomainCreateWithFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainCreateFlags,
}}

structure! {
/// What [`DomainCreateWithFlags`] returns.
DomainCreateWithFlagsRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainOpenConsole`](https://libvirt.org/search.html?q=virDomainOpenConsole), since libvirt 0.8.6.
DomainOpenConsole(DomainOpenConsoleArgs<'a>) -> () = Info::new(Program::Remote, 201, "domain_open_console", Release(0, 8, 6)).function("virDomainOpenConsole").stream(Direction::Both).acl(&["domain:open_device"])
}

structure! {
/// What [`DomainOpenConsole`] takes.
DomainOpenConsoleArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `dev_name`
dev_name: Option<Text<'a>>,
/// `flags`
flags: flags::DomainConsoleFlags,
}}

procedure! {
/// [`virDomainIsUpdated`](https://libvirt.org/search.html?q=virDomainIsUpdated), since libvirt 0.8.6.
DomainIsUpdated(DomainIsUpdatedArgs<'a>) -> DomainIsUpdatedRet = Info::new(Program::Remote, 202, "domain_is_updated", Release(0, 8, 6)).function("virDomainIsUpdated").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainIsUpdated`] takes.
DomainIsUpdatedArgs<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// What [`DomainIsUpdated`] returns.
DomainIsUpdatedRet {
/// `updated`
updated: i32,
}}

procedure! {
/// [`virDomainInjectNMI`](https://libvirt.org/search.html?q=virDomainInjectNMI), since libvirt 0.9.2.
DomainInjectNmi(DomainInjectNmiArgs<'a>) -> () = Info::new(Program::Remote, 210, "domain_inject_nmi", Release(0, 9, 2)).function("virDomainInjectNMI").acl(&["domain:inject_nmi"])
}

structure! {
/// What [`DomainInjectNmi`] takes.
DomainInjectNmiArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainScreenshot`](https://libvirt.org/search.html?q=virDomainScreenshot), since libvirt 0.9.2.
DomainScreenshot(DomainScreenshotArgs<'a>) -> DomainScreenshotRet<'a> = Info::new(Program::Remote, 211, "domain_screenshot", Release(0, 9, 2)).function("virDomainScreenshot").stream(Direction::Read).acl(&["domain:screenshot"])
}

structure! {
/// What [`DomainScreenshot`] takes.
DomainScreenshotArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `screen`
screen: u32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainScreenshot`] returns.
DomainScreenshotRet<'a> {
/// `mime`
mime: Option<Text<'a>>,
}}

procedure! {
/// [`virDomainPinVcpuFlags`](https://libvirt.org/search.html?q=virDomainPinVcpuFlags), since libvirt 0.9.3.
DomainPinVcpuFlags(DomainPinVcpuFlagsArgs<'a>) -> () = Info::new(Program::Remote, 225, "domain_pin_vcpu_flags", Release(0, 9, 3)).function("virDomainPinVcpuFlags").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainPinVcpuFlags`] takes.
DomainPinVcpuFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `vcpu`
vcpu: u32,
/// `cpumap`
cpumap: Bytes<'a, 2048>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainSendKey`](https://libvirt.org/search.html?q=virDomainSendKey), since libvirt 0.9.3.
DomainSendKey(DomainSendKeyArgs<'a>) -> () = Info::new(Program::Remote, 226, "domain_send_key", Release(0, 9, 3)).function("virDomainSendKey").acl(&["domain:send_input"])
}

structure! {
/// What [`DomainSendKey`] takes.
DomainSendKeyArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `codeset`
codeset: enums::KeycodeSet,
/// `holdtime`
holdtime: u32,
/// `keycodes`
keycodes: List<'a, u32, 16>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainUndefineFlags`](https://libvirt.org/search.html?q=virDomainUndefineFlags), since libvirt 0.9.4.
DomainUndefineFlags(DomainUndefineFlagsArgs<'a>) -> () = Info::new(Program::Remote, 231, "domain_undefine_flags", Release(0, 9, 4)).function("virDomainUndefineFlags").urgent().acl(&["domain:delete"])
}

structure! {
/// What [`DomainUndefineFlags`] takes.
DomainUndefineFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainUndefineFlags,
}}

procedure! {
/// [`virDomainSaveFlags`](https://libvirt.org/search.html?q=virDomainSaveFlags), since libvirt 0.9.4.
DomainSaveFlags(DomainSaveFlagsArgs<'a>) -> () = Info::new(Program::Remote, 232, "domain_save_flags", Release(0, 9, 4)).function("virDomainSaveFlags").acl(&["domain:hibernate"])
}

structure! {
/// What [`DomainSaveFlags`] takes.
DomainSaveFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `to`
to: Text<'a>,
/// `dxml`
dxml: Option<Text<'a>>,
/// `flags`
flags: flags::DomainSaveRestoreFlags,
}}

procedure! {
/// [`virDomainRestoreFlags`](https://libvirt.org/search.html?q=virDomainRestoreFlags), since libvirt 0.9.4.
DomainRestoreFlags(DomainRestoreFlagsArgs<'a>) -> () = Info::new(Program::Remote, 233, "domain_restore_flags", Release(0, 9, 4)).function("virDomainRestoreFlags").acl(&["domain:start", "domain:write"])
}

structure! {
/// What [`DomainRestoreFlags`] takes.
DomainRestoreFlagsArgs<'a> {
/// `from`
from: Text<'a>,
/// `dxml`
dxml: Option<Text<'a>>,
/// `flags`
flags: flags::DomainSaveRestoreFlags,
}}

procedure! {
/// [`virDomainDestroyFlags`](https://libvirt.org/search.html?q=virDomainDestroyFlags), since libvirt 0.9.4.
DomainDestroyFlags(DomainDestroyFlagsArgs<'a>) -> () = Info::new(Program::Remote, 234, "domain_destroy_flags", Release(0, 9, 4)).function("virDomainDestroyFlags").urgent().acl(&["domain:stop"])
}

structure! {
/// What [`DomainDestroyFlags`] takes.
DomainDestroyFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainDestroyFlags,
}}

procedure! {
/// [`virDomainSaveImageGetXMLDesc`](https://libvirt.org/search.html?q=virDomainSaveImageGetXMLDesc), since libvirt 0.9.4.
DomainSaveImageGetXmlDesc(DomainSaveImageGetXmlDescArgs<'a>) -> DomainSaveImageGetXmlDescRet<'a> = Info::new(Program::Remote, 235, "domain_save_image_get_xml_desc", Release(0, 9, 4)).function("virDomainSaveImageGetXMLDesc").urgent().acl(&["domain:write"])
}

structure! {
/// What [`DomainSaveImageGetXmlDesc`] takes.
DomainSaveImageGetXmlDescArgs<'a> {
/// `file`
file: Text<'a>,
/// `flags`
flags: flags::DomainSaveImageXmlFlags,
}}

structure! {
/// What [`DomainSaveImageGetXmlDesc`] returns.
DomainSaveImageGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virDomainSaveImageDefineXML`](https://libvirt.org/search.html?q=virDomainSaveImageDefineXML), since libvirt 0.9.4.
DomainSaveImageDefineXml(DomainSaveImageDefineXmlArgs<'a>) -> () = Info::new(Program::Remote, 236, "domain_save_image_define_xml", Release(0, 9, 4)).function("virDomainSaveImageDefineXML").urgent().acl(&["domain:write", "domain:hibernate"])
}

structure! {
/// What [`DomainSaveImageDefineXml`] takes.
DomainSaveImageDefineXmlArgs<'a> {
/// `file`
file: Text<'a>,
/// `dxml`
dxml: Text<'a>,
/// `flags`
flags: flags::DomainSaveRestoreFlags,
}}

procedure! {
/// [`virDomainReset`](https://libvirt.org/search.html?q=virDomainReset), since libvirt 0.9.7.
DomainReset(DomainResetArgs<'a>) -> () = Info::new(Program::Remote, 245, "domain_reset", Release(0, 9, 7)).function("virDomainReset").acl(&["domain:reset"])
}

structure! {
/// What [`DomainReset`] takes.
DomainResetArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainOpenGraphics`](https://libvirt.org/search.html?q=virDomainOpenGraphics), since libvirt 0.9.7.
DomainOpenGraphics(DomainOpenGraphicsArgs<'a>) -> () = Info::new(Program::Remote, 249, "domain_open_graphics", Release(0, 9, 7)).function("virDomainOpenGraphics").descriptors(Descriptors::Send).acl(&["domain:open_graphics"])
}

structure! {
/// What [`DomainOpenGraphics`] takes.
DomainOpenGraphicsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `idx`
idx: u32,
/// `flags`
flags: flags::DomainOpenGraphicsFlags,
}}

procedure! {
/// [`virDomainShutdownFlags`](https://libvirt.org/search.html?q=virDomainShutdownFlags), since libvirt 0.9.10.
DomainShutdownFlags(DomainShutdownFlagsArgs<'a>) -> () = Info::new(Program::Remote, 258, "domain_shutdown_flags", Release(0, 9, 10)).function("virDomainShutdownFlags").acl(&["domain:init_control", "domain:write:VIR_DOMAIN_SHUTDOWN_GUEST_AGENT"])
}

structure! {
/// What [`DomainShutdownFlags`] takes.
DomainShutdownFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainShutdownFlags,
}}

procedure! {
/// [`virDomainPMSuspendForDuration`](https://libvirt.org/search.html?q=virDomainPMSuspendForDuration), since libvirt 0.9.10.
DomainPmSuspendForDuration(DomainPmSuspendForDurationArgs<'a>) -> () = Info::new(Program::Remote, 261, "domain_pm_suspend_for_duration", Release(0, 9, 10)).function("virDomainPMSuspendForDuration").acl(&["domain:pm_control"])
}

structure! {
/// What [`DomainPmSuspendForDuration`] takes.
DomainPmSuspendForDurationArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `target`
target: enums::NodeSuspendTarget,
/// `duration`
duration: u64,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainPMWakeup`](https://libvirt.org/search.html?q=virDomainPMWakeup), since libvirt 0.9.11.
DomainPmWakeup(DomainPmWakeupArgs<'a>) -> () = Info::new(Program::Remote, 267, "domain_pm_wakeup", Release(0, 9, 11)).function("virDomainPMWakeup").acl(&["domain:pm_control"])
}

structure! {
/// What [`DomainPmWakeup`] takes.
DomainPmWakeupArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainListAllSnapshots`](https://libvirt.org/search.html?q=virDomainListAllSnapshots), since libvirt 0.9.13.
DomainListAllSnapshots(DomainListAllSnapshotsArgs<'a>) -> DomainListAllSnapshotsRet<'a> = Info::new(Program::Remote, 274, "domain_list_all_snapshots", Release(0, 9, 13)).function("virDomainListAllSnapshots").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainListAllSnapshots`] takes.
DomainListAllSnapshotsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::DomainSnapshotListFlags,
}}

structure! {
/// What [`DomainListAllSnapshots`] returns.
DomainListAllSnapshotsRet<'a> {
/// `snapshots`
snapshots: List<'a, DomainSnapshot<'a>, 16384>,
/// `ret`
ret: i32,
}}

procedure! {
/// [`virDomainPinEmulator`](https://libvirt.org/search.html?q=virDomainPinEmulator), since libvirt 0.10.0.
DomainPinEmulator(DomainPinEmulatorArgs<'a>) -> () = Info::new(Program::Remote, 279, "domain_pin_emulator", Release(0, 10, 0)).function("virDomainPinEmulator").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainPinEmulator`] takes.
DomainPinEmulatorArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `cpumap`
cpumap: Bytes<'a, 2048>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainFSTrim`](https://libvirt.org/search.html?q=virDomainFSTrim), since libvirt 1.0.1.
DomainFstrim(DomainFstrimArgs<'a>) -> () = Info::new(Program::Remote, 294, "domain_fstrim", Release(1, 0, 1)).function("virDomainFSTrim").acl(&["domain:fs_trim"])
}

structure! {
/// What [`DomainFstrim`] takes.
DomainFstrimArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `mountPoint`
mount_point: Option<Text<'a>>,
/// `minimum`
minimum: u64,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainSendProcessSignal`](https://libvirt.org/search.html?q=virDomainSendProcessSignal), since libvirt 1.0.1.
DomainSendProcessSignal(DomainSendProcessSignalArgs<'a>) -> () = Info::new(Program::Remote, 295, "domain_send_process_signal", Release(1, 0, 1)).function("virDomainSendProcessSignal").acl(&["domain:send_signal"])
}

structure! {
/// What [`DomainSendProcessSignal`] takes.
DomainSendProcessSignalArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `pid_value`
pid_value: i64,
/// `signum`
signum: enums::DomainProcessSignal,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainOpenChannel`](https://libvirt.org/search.html?q=virDomainOpenChannel), since libvirt 1.0.2.
DomainOpenChannel(DomainOpenChannelArgs<'a>) -> () = Info::new(Program::Remote, 296, "domain_open_channel", Release(1, 0, 2)).function("virDomainOpenChannel").stream(Direction::Both).acl(&["domain:open_device"])
}

structure! {
/// What [`DomainOpenChannel`] takes.
DomainOpenChannelArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `name`
name: Option<Text<'a>>,
/// `flags`
flags: flags::DomainChannelFlags,
}}

procedure! {
/// [`virDomainCreateXMLWithFiles`](https://libvirt.org/search.html?q=virDomainCreateXMLWithFiles), since libvirt 1.1.1.
DomainCreateXmlWithFiles(DomainCreateXmlWithFilesArgs<'a>) -> DomainCreateXmlWithFilesRet<'a> = Info::new(Program::Remote, 309, "domain_create_xml_with_files", Release(1, 1, 1)).function("virDomainCreateXMLWithFiles").descriptors(Descriptors::Send).acl(&["domain:write", "domain:start"])
}

structure! {
/// What [`DomainCreateXmlWithFiles`] takes.
DomainCreateXmlWithFilesArgs<'a> {
/// `xml_desc`
xml_desc: Text<'a>,
/// `flags`
flags: flags::DomainCreateFlags,
}}

structure! {
/// What [`DomainCreateXmlWithFiles`] returns.
DomainCreateXmlWithFilesRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainCreateWithFiles`](https://libvirt.org/search.html?q=virDomainCreateWithFiles), since libvirt 1.1.1.
DomainCreateWithFiles(DomainCreateWithFilesArgs<'a>) -> DomainCreateWithFilesRet<'a> = Info::new(Program::Remote, 310, "domain_create_with_files", Release(1, 1, 1)).function("virDomainCreateWithFiles").descriptors(Descriptors::Send).acl(&["domain:start"])
}

structure! {
/// What [`DomainCreateWithFiles`] takes.
DomainCreateWithFilesArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainCreateFlags,
}}

structure! {
/// What [`DomainCreateWithFiles`] returns.
DomainCreateWithFilesRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainCoreDumpWithFormat`](https://libvirt.org/search.html?q=virDomainCoreDumpWithFormat), since libvirt 1.2.3.
DomainCoreDumpWithFormat(DomainCoreDumpWithFormatArgs<'a>) -> () = Info::new(Program::Remote, 334, "domain_core_dump_with_format", Release(1, 2, 3)).function("virDomainCoreDumpWithFormat").acl(&["domain:core_dump"])
}

structure! {
/// What [`DomainCoreDumpWithFormat`] takes.
DomainCoreDumpWithFormatArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `to`
to: Text<'a>,
/// `dumpformat`
dumpformat: enums::DomainCoreDumpFormat,
/// `flags`
flags: flags::DomainCoreDumpFlags,
}}

procedure! {
/// [`virDomainFSFreeze`](https://libvirt.org/search.html?q=virDomainFSFreeze), since libvirt 1.2.5.
DomainFsfreeze(DomainFsfreezeArgs<'a>) -> DomainFsfreezeRet = Info::new(Program::Remote, 335, "domain_fsfreeze", Release(1, 2, 5)).function("virDomainFSFreeze").acl(&["domain:fs_freeze"])
}

structure! {
/// What [`DomainFsfreeze`] takes.
DomainFsfreezeArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `mountpoints`
mountpoints: List<'a, Text<'a>, 256>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainFsfreeze`] returns.
DomainFsfreezeRet {
/// `filesystems`
filesystems: i32,
}}

procedure! {
/// [`virDomainFSThaw`](https://libvirt.org/search.html?q=virDomainFSThaw), since libvirt 1.2.5.
DomainFsthaw(DomainFsthawArgs<'a>) -> DomainFsthawRet = Info::new(Program::Remote, 336, "domain_fsthaw", Release(1, 2, 5)).function("virDomainFSThaw").acl(&["domain:fs_freeze"])
}

structure! {
/// What [`DomainFsthaw`] takes.
DomainFsthawArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `mountpoints`
mountpoints: List<'a, Text<'a>, 256>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainFsthaw`] returns.
DomainFsthawRet {
/// `filesystems`
filesystems: i32,
}}

procedure! {
/// [`virDomainOpenGraphicsFD`](https://libvirt.org/search.html?q=virDomainOpenGraphicsFD), since libvirt 1.2.8.
DomainOpenGraphicsFd(DomainOpenGraphicsFdArgs<'a>) -> () = Info::new(Program::Remote, 343, "domain_open_graphics_fd", Release(1, 2, 8)).function("virDomainOpenGraphicsFD").descriptors(Descriptors::Receive).acl(&["domain:open_graphics"])
}

structure! {
/// What [`DomainOpenGraphicsFd`] takes.
DomainOpenGraphicsFdArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `idx`
idx: u32,
/// `flags`
flags: flags::DomainOpenGraphicsFlags,
}}

procedure! {
/// [`virDomainDefineXMLFlags`](https://libvirt.org/search.html?q=virDomainDefineXMLFlags), since libvirt 1.2.12.
DomainDefineXmlFlags(DomainDefineXmlFlagsArgs<'a>) -> DomainDefineXmlFlagsRet<'a> = Info::new(Program::Remote, 350, "domain_define_xml_flags", Release(1, 2, 12)).function("virDomainDefineXMLFlags").urgent().acl(&["domain:write", "domain:save"])
}

structure! {
/// What [`DomainDefineXmlFlags`] takes.
DomainDefineXmlFlagsArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::DomainDefineFlags,
}}

structure! {
/// What [`DomainDefineXmlFlags`] returns.
DomainDefineXmlFlagsRet<'a> {
/// `dom`
dom: Domain<'a>,
}}

procedure! {
/// [`virDomainPinIOThread`](https://libvirt.org/search.html?q=virDomainPinIOThread), since libvirt 1.2.14.
DomainPinIoThread(DomainPinIoThreadArgs<'a>) -> () = Info::new(Program::Remote, 352, "domain_pin_iothread", Release(1, 2, 14)).function("virDomainPinIOThread").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainPinIoThread`] takes.
DomainPinIoThreadArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `iothreads_id`
iothreads_id: u32,
/// `cpumap`
cpumap: Bytes<'a, 2048>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainInterfaceAddresses`](https://libvirt.org/search.html?q=virDomainInterfaceAddresses), since libvirt 1.2.14.
DomainInterfaceAddresses(DomainInterfaceAddressesArgs<'a>) -> DomainInterfaceAddressesRet<'a> = Info::new(Program::Remote, 353, "domain_interface_addresses", Release(1, 2, 14)).function("virDomainInterfaceAddresses").acl(&["domain:read", "domain:write::source:VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT"])
}

structure! {
/// What [`DomainInterfaceAddresses`] takes.
DomainInterfaceAddressesArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `source`
source: enums::DomainInterfaceAddressesSource,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainInterfaceAddresses`] returns.
DomainInterfaceAddressesRet<'a> {
/// `ifaces`
ifaces: List<'a, DomainInterface<'a>, 2048>,
}}

procedure! {
/// [`virDomainAddIOThread`](https://libvirt.org/search.html?q=virDomainAddIOThread), since libvirt 1.2.15.
DomainAddIoThread(DomainAddIoThreadArgs<'a>) -> () = Info::new(Program::Remote, 355, "domain_add_iothread", Release(1, 2, 15)).function("virDomainAddIOThread").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainAddIoThread`] takes.
DomainAddIoThreadArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `iothread_id`
iothread_id: u32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainDelIOThread`](https://libvirt.org/search.html?q=virDomainDelIOThread), since libvirt 1.2.15.
DomainDelIoThread(DomainDelIoThreadArgs<'a>) -> () = Info::new(Program::Remote, 356, "domain_del_iothread", Release(1, 2, 15)).function("virDomainDelIOThread").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainDelIoThread`] takes.
DomainDelIoThreadArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `iothread_id`
iothread_id: u32,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainRename`](https://libvirt.org/search.html?q=virDomainRename), since libvirt 1.2.19.
DomainRename(DomainRenameArgs<'a>) -> DomainRenameRet = Info::new(Program::Remote, 358, "domain_rename", Release(1, 2, 19)).function("virDomainRename").acl(&["domain:write", "domain:save"])
}

structure! {
/// What [`DomainRename`] takes.
DomainRenameArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `new_name`
new_name: Option<Text<'a>>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainRename`] returns.
DomainRenameRet {
/// `retcode`
retcode: i32,
}}

procedure! {
/// [`virDomainManagedSaveGetXMLDesc`](https://libvirt.org/search.html?q=virDomainManagedSaveGetXMLDesc), since libvirt 3.7.0.
DomainManagedSaveGetXmlDesc(DomainManagedSaveGetXmlDescArgs<'a>) -> DomainManagedSaveGetXmlDescRet<'a> = Info::new(Program::Remote, 388, "domain_managed_save_get_xml_desc", Release(3, 7, 0)).function("virDomainManagedSaveGetXMLDesc").acl(&["domain:read", "domain:read_secure:VIR_DOMAIN_SAVE_IMAGE_XML_SECURE"])
}

structure! {
/// What [`DomainManagedSaveGetXmlDesc`] takes.
DomainManagedSaveGetXmlDescArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainSaveImageXmlFlags,
}}

structure! {
/// What [`DomainManagedSaveGetXmlDesc`] returns.
DomainManagedSaveGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virDomainManagedSaveDefineXML`](https://libvirt.org/search.html?q=virDomainManagedSaveDefineXML), since libvirt 3.7.0.
DomainManagedSaveDefineXml(DomainManagedSaveDefineXmlArgs<'a>) -> () = Info::new(Program::Remote, 389, "domain_managed_save_define_xml", Release(3, 7, 0)).function("virDomainManagedSaveDefineXML").acl(&["domain:write", "domain:hibernate"])
}

structure! {
/// What [`DomainManagedSaveDefineXml`] takes.
DomainManagedSaveDefineXmlArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `dxml`
dxml: Option<Text<'a>>,
/// `flags`
flags: flags::DomainSaveRestoreFlags,
}}

procedure! {
/// [`virDomainDetachDeviceAlias`](https://libvirt.org/search.html?q=virDomainDetachDeviceAlias), since libvirt 4.4.0.
DomainDetachDeviceAlias(DomainDetachDeviceAliasArgs<'a>) -> () = Info::new(Program::Remote, 392, "domain_detach_device_alias", Release(4, 4, 0)).function("virDomainDetachDeviceAlias").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainDetachDeviceAlias`] takes.
DomainDetachDeviceAliasArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `alias`
alias: Text<'a>,
/// `flags`
flags: flags::DomainDeviceModifyFlags,
}}

procedure! {
/// [`virDomainListAllCheckpoints`](https://libvirt.org/search.html?q=virDomainListAllCheckpoints), since libvirt 5.6.0.
DomainListAllCheckpoints(DomainListAllCheckpointsArgs<'a>) -> DomainListAllCheckpointsRet<'a> = Info::new(Program::Remote, 413, "domain_list_all_checkpoints", Release(5, 6, 0)).function("virDomainListAllCheckpoints").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainListAllCheckpoints`] takes.
DomainListAllCheckpointsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::DomainCheckpointListFlags,
}}

structure! {
/// What [`DomainListAllCheckpoints`] returns.
DomainListAllCheckpointsRet<'a> {
/// `checkpoints`
checkpoints: List<'a, DomainCheckpoint<'a>, 16384>,
/// `ret`
ret: i32,
}}

procedure! {
/// [`virDomainAgentSetResponseTimeout`](https://libvirt.org/search.html?q=virDomainAgentSetResponseTimeout), since libvirt 5.10.0.
DomainAgentSetResponseTimeout(DomainAgentSetResponseTimeoutArgs<'a>) -> DomainAgentSetResponseTimeoutRet = Info::new(Program::Remote, 420, "domain_agent_set_response_timeout", Release(5, 10, 0)).function("virDomainAgentSetResponseTimeout").acl(&["domain:write"])
}

structure! {
/// What [`DomainAgentSetResponseTimeout`] takes.
DomainAgentSetResponseTimeoutArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `timeout`
timeout: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainAgentSetResponseTimeout`] returns.
DomainAgentSetResponseTimeoutRet {
/// `result`
result: i32,
}}

procedure! {
/// [`virDomainBackupBegin`](https://libvirt.org/search.html?q=virDomainBackupBegin), since libvirt 6.0.0.
DomainBackupBegin(DomainBackupBeginArgs<'a>) -> () = Info::new(Program::Remote, 421, "domain_backup_begin", Release(6, 0, 0)).function("virDomainBackupBegin").acl(&["domain:checkpoint", "domain:block_write"])
}

structure! {
/// What [`DomainBackupBegin`] takes.
DomainBackupBeginArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `backup_xml`
backup_xml: Text<'a>,
/// `checkpoint_xml`
checkpoint_xml: Option<Text<'a>>,
/// `flags`
flags: flags::DomainBackupBeginFlags,
}}

procedure! {
/// [`virDomainBackupGetXMLDesc`](https://libvirt.org/search.html?q=virDomainBackupGetXMLDesc), since libvirt 6.0.0.
DomainBackupGetXmlDesc(DomainBackupGetXmlDescArgs<'a>) -> DomainBackupGetXmlDescRet<'a> = Info::new(Program::Remote, 422, "domain_backup_get_xml_desc", Release(6, 0, 0)).function("virDomainBackupGetXMLDesc").urgent().acl(&["domain:read"])
}

structure! {
/// What [`DomainBackupGetXmlDesc`] takes.
DomainBackupGetXmlDescArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainBackupGetXmlDesc`] returns.
DomainBackupGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virDomainAuthorizedSSHKeysGet`](https://libvirt.org/search.html?q=virDomainAuthorizedSSHKeysGet), since libvirt 6.10.0.
DomainAuthorizedSshKeysGet(DomainAuthorizedSshKeysGetArgs<'a>) -> DomainAuthorizedSshKeysGetRet<'a> = Info::new(Program::Remote, 424, "domain_authorized_ssh_keys_get", Release(6, 10, 0)).function("virDomainAuthorizedSSHKeysGet").acl(&["domain:write"])
}

structure! {
/// What [`DomainAuthorizedSshKeysGet`] takes.
DomainAuthorizedSshKeysGetArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `user`
user: Text<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`DomainAuthorizedSshKeysGet`] returns.
DomainAuthorizedSshKeysGetRet<'a> {
/// `keys`
keys: List<'a, Text<'a>, 2048>,
}}

procedure! {
/// [`virDomainAuthorizedSSHKeysSet`](https://libvirt.org/search.html?q=virDomainAuthorizedSSHKeysSet), since libvirt 6.10.0.
DomainAuthorizedSshKeysSet(DomainAuthorizedSshKeysSetArgs<'a>) -> () = Info::new(Program::Remote, 425, "domain_authorized_ssh_keys_set", Release(6, 10, 0)).function("virDomainAuthorizedSSHKeysSet").acl(&["domain:write"])
}

structure! {
/// What [`DomainAuthorizedSshKeysSet`] takes.
DomainAuthorizedSshKeysSetArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `user`
user: Text<'a>,
/// `keys`
keys: List<'a, Text<'a>, 2048>,
/// `flags`
flags: flags::DomainAuthorizedSshKeysSetFlags,
}}

procedure! {
/// [`virDomainStartDirtyRateCalc`](https://libvirt.org/search.html?q=virDomainStartDirtyRateCalc), since libvirt 7.2.0.
DomainStartDirtyRateCalc(DomainStartDirtyRateCalcArgs<'a>) -> () = Info::new(Program::Remote, 427, "domain_start_dirty_rate_calc", Release(7, 2, 0)).function("virDomainStartDirtyRateCalc").acl(&["domain:write"])
}

structure! {
/// What [`DomainStartDirtyRateCalc`] takes.
DomainStartDirtyRateCalcArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `seconds`
seconds: i32,
/// `flags`
flags: flags::DomainDirtyRateCalcFlags,
}}

procedure! {
/// [`virDomainSaveParams`](https://libvirt.org/search.html?q=virDomainSaveParams), since libvirt 8.4.0.
DomainSaveParams(DomainSaveParamsArgs<'a>) -> () = Info::new(Program::Remote, 440, "domain_save_params", Release(8, 4, 0)).function("virDomainSaveParams").acl(&["domain:hibernate"])
}

structure! {
/// What [`DomainSaveParams`] takes.
DomainSaveParamsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `flags`
flags: flags::DomainSaveRestoreFlags,
}}

procedure! {
/// [`virDomainRestoreParams`](https://libvirt.org/search.html?q=virDomainRestoreParams), since libvirt 8.4.0.
DomainRestoreParams(DomainRestoreParamsArgs<'a>) -> () = Info::new(Program::Remote, 441, "domain_restore_params", Release(8, 4, 0)).function("virDomainRestoreParams").acl(&["domain:start", "domain:write"])
}

structure! {
/// What [`DomainRestoreParams`] takes.
DomainRestoreParamsArgs<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `flags`
flags: flags::DomainSaveRestoreFlags,
}}

procedure! {
/// [`virDomainAbortJobFlags`](https://libvirt.org/search.html?q=virDomainAbortJobFlags), since libvirt 8.5.0.
DomainAbortJobFlags(DomainAbortJobFlagsArgs<'a>) -> () = Info::new(Program::Remote, 442, "domain_abort_job_flags", Release(8, 5, 0)).function("virDomainAbortJobFlags").acl(&["domain:write"])
}

structure! {
/// What [`DomainAbortJobFlags`] takes.
DomainAbortJobFlagsArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: flags::DomainAbortJobFlags,
}}

procedure! {
/// [`virDomainFDAssociate`](https://libvirt.org/search.html?q=virDomainFDAssociate), since libvirt 9.0.0.
DomainFdAssociate(DomainFdAssociateArgs<'a>) -> () = Info::new(Program::Remote, 443, "domain_fd_associate", Release(9, 0, 0)).function("virDomainFDAssociate").descriptors(Descriptors::Send).acl(&["domain:write"])
}

structure! {
/// What [`DomainFdAssociate`] takes.
DomainFdAssociateArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `name`
name: Text<'a>,
/// `flags`
flags: flags::DomainFdAssociateFlags,
}}

procedure! {
/// [`virDomainGraphicsReload`](https://libvirt.org/search.html?q=virDomainGraphicsReload), since libvirt 10.2.0.
DomainGraphicsReload(DomainGraphicsReloadArgs<'a>) -> () = Info::new(Program::Remote, 448, "domain_graphics_reload", Release(10, 2, 0)).function("virDomainGraphicsReload").acl(&["domain:write"])
}

structure! {
/// What [`DomainGraphicsReload`] takes.
DomainGraphicsReloadArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `type`
kind: enums::DomainGraphicsReloadType,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virDomainDelThrottleGroup`](https://libvirt.org/search.html?q=virDomainDelThrottleGroup), since libvirt 11.2.0.
DomainDelThrottleGroup(DomainDelThrottleGroupArgs<'a>) -> () = Info::new(Program::Remote, 452, "domain_del_throttle_group", Release(11, 2, 0)).function("virDomainDelThrottleGroup").acl(&["domain:write", "domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE", "domain:save:VIR_DOMAIN_AFFECT_CONFIG"])
}

structure! {
/// What [`DomainDelThrottleGroup`] takes.
DomainDelThrottleGroupArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `group`
group: Option<Text<'a>>,
/// `flags`
flags: flags::DomainModificationImpact,
}}

procedure! {
/// [`virDomainAnnounceInterface`](https://libvirt.org/search.html?q=virDomainAnnounceInterface), since libvirt 12.5.0.
DomainAnnounceInterface(DomainAnnounceInterfaceArgs<'a>) -> () = Info::new(Program::Remote, 456, "domain_announce_interface", Release(12, 5, 0)).function("virDomainAnnounceInterface").acl(&["domain:write"])
}

structure! {
/// What [`DomainAnnounceInterface`] takes.
DomainAnnounceInterfaceArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `device`
device: Option<Text<'a>>,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
/// `flags`
flags: NoFlags,
}}

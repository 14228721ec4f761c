// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Enumerations. Values without a name are kept.

use crate::constants::enumeration;

enumeration! {
/// [`virCPUCompareResult`](https://libvirt.org/search.html?q=virCPUCompareResult)
CpuCompareResult {
/// `VIR_CPU_COMPARE_ERROR`, since 0.7.5.
Error = -1,
/// `VIR_CPU_COMPARE_INCOMPATIBLE`, since 0.7.5.
Incompatible = 0,
/// `VIR_CPU_COMPARE_IDENTICAL`, since 0.7.5.
Identical = 1,
/// `VIR_CPU_COMPARE_SUPERSET`, since 0.7.5.
Superset = 2,
}
}

enumeration! {
/// [`virClientTransport`](https://libvirt.org/search.html?q=virClientTransport)
ClientTransport {
/// `VIR_CLIENT_TRANS_UNIX`, since 2.0.0.
Unix = 0,
/// `VIR_CLIENT_TRANS_TCP`, since 2.0.0.
Tcp = 1,
/// `VIR_CLIENT_TRANS_TLS`, since 2.0.0.
Tls = 2,
}
}

enumeration! {
/// [`virConnectCloseReason`](https://libvirt.org/search.html?q=virConnectCloseReason)
ConnectCloseReason {
/// `VIR_CONNECT_CLOSE_REASON_ERROR`, since 0.10.0.
Error = 0,
/// `VIR_CONNECT_CLOSE_REASON_EOF`, since 0.10.0.
Eof = 1,
/// `VIR_CONNECT_CLOSE_REASON_KEEPALIVE`, since 0.10.0.
Keepalive = 2,
/// `VIR_CONNECT_CLOSE_REASON_CLIENT`, since 0.10.0.
Client = 3,
}
}

enumeration! {
/// [`virConnectDomainEventAgentLifecycleReason`](https://libvirt.org/search.html?q=virConnectDomainEventAgentLifecycleReason)
ConnectDomainEventAgentLifecycleReason {
/// `VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_UNKNOWN`, since 1.2.11.
Unspecified = 0,
/// `VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_DOMAIN_STARTED`, since 1.2.11.
DomainStarted = 1,
/// `VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_CHANNEL`, since 1.2.11.
Channel = 2,
}
}

enumeration! {
/// [`virConnectDomainEventAgentLifecycleState`](https://libvirt.org/search.html?q=virConnectDomainEventAgentLifecycleState)
ConnectDomainEventAgentLifecycleState {
/// `VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED`, since 1.2.11.
Connected = 1,
/// `VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED`, since 1.2.11.
Disconnected = 2,
}
}

enumeration! {
/// [`virConnectDomainEventBlockJobStatus`](https://libvirt.org/search.html?q=virConnectDomainEventBlockJobStatus)
ConnectDomainEventBlockJobStatus {
/// `VIR_DOMAIN_BLOCK_JOB_COMPLETED`, since 0.9.4.
Completed = 0,
/// `VIR_DOMAIN_BLOCK_JOB_FAILED`, since 0.9.4.
Failed = 1,
/// `VIR_DOMAIN_BLOCK_JOB_CANCELED`, since 0.9.12.
Canceled = 2,
/// `VIR_DOMAIN_BLOCK_JOB_READY`, since 1.0.0.
Ready = 3,
}
}

enumeration! {
/// [`virConnectDomainEventDiskChangeReason`](https://libvirt.org/search.html?q=virConnectDomainEventDiskChangeReason)
ConnectDomainEventDiskChangeReason {
/// `VIR_DOMAIN_EVENT_DISK_CHANGE_MISSING_ON_START`, since 0.9.7.
ChangeMissingOnStart = 0,
/// `VIR_DOMAIN_EVENT_DISK_DROP_MISSING_ON_START`, since 1.1.2.
DropMissingOnStart = 1,
}
}

enumeration! {
/// [`virDomainAgentResponseTimeoutValues`](https://libvirt.org/search.html?q=virDomainAgentResponseTimeoutValues)
DomainAgentResponseTimeout {
/// `VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK`, since 5.10.0.
Block = -2,
/// `VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_DEFAULT`, since 5.10.0.
Default = -1,
/// `VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_NOWAIT`, since 5.10.0.
Nowait = 0,
}
}

enumeration! {
/// [`virDomainBlockJobType`](https://libvirt.org/search.html?q=virDomainBlockJobType)
DomainBlockJobType {
/// `VIR_DOMAIN_BLOCK_JOB_TYPE_UNKNOWN`, since 0.9.4.
Unspecified = 0,
/// `VIR_DOMAIN_BLOCK_JOB_TYPE_PULL`, since 0.9.4.
Pull = 1,
/// `VIR_DOMAIN_BLOCK_JOB_TYPE_COPY`, since 0.9.12.
Copy = 2,
/// `VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT`, since 0.10.2.
Commit = 3,
/// `VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT`, since 1.2.6.
ActiveCommit = 4,
/// `VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP`, since 6.0.0.
Backup = 5,
}
}

enumeration! {
/// [`virDomainBlockedReason`](https://libvirt.org/search.html?q=virDomainBlockedReason)
DomainBlockedReason {
/// `VIR_DOMAIN_BLOCKED_UNKNOWN`, since 0.9.2.
Unspecified = 0,
}
}

enumeration! {
/// [`virDomainControlErrorReason`](https://libvirt.org/search.html?q=virDomainControlErrorReason)
DomainControlErrorReason {
/// `VIR_DOMAIN_CONTROL_ERROR_REASON_NONE`, since 1.2.14.
None = 0,
/// `VIR_DOMAIN_CONTROL_ERROR_REASON_UNKNOWN`, since 1.2.14.
Unspecified = 1,
/// `VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR`, since 1.2.14.
Monitor = 2,
/// `VIR_DOMAIN_CONTROL_ERROR_REASON_INTERNAL`, since 1.2.14.
Internal = 3,
}
}

enumeration! {
/// [`virDomainControlState`](https://libvirt.org/search.html?q=virDomainControlState)
DomainControlState {
/// `VIR_DOMAIN_CONTROL_OK`, since 0.9.3.
Ok = 0,
/// `VIR_DOMAIN_CONTROL_JOB`, since 0.9.3.
Job = 1,
/// `VIR_DOMAIN_CONTROL_OCCUPIED`, since 0.9.3.
Occupied = 2,
/// `VIR_DOMAIN_CONTROL_ERROR`, since 0.9.3.
Error = 3,
}
}

enumeration! {
/// [`virDomainCoreDumpFormat`](https://libvirt.org/search.html?q=virDomainCoreDumpFormat)
DomainCoreDumpFormat {
/// `VIR_DOMAIN_CORE_DUMP_FORMAT_RAW`, since 1.2.3.
Raw = 0,
/// `VIR_DOMAIN_CORE_DUMP_FORMAT_KDUMP_ZLIB`, since 1.2.3.
KdumpZlib = 1,
/// `VIR_DOMAIN_CORE_DUMP_FORMAT_KDUMP_LZO`, since 1.2.3.
KdumpLzo = 2,
/// `VIR_DOMAIN_CORE_DUMP_FORMAT_KDUMP_SNAPPY`, since 1.2.3.
KdumpSnappy = 3,
/// `VIR_DOMAIN_CORE_DUMP_FORMAT_WIN_DMP`, since 7.4.0.
WinDmp = 4,
}
}

enumeration! {
/// [`virDomainCrashedReason`](https://libvirt.org/search.html?q=virDomainCrashedReason)
DomainCrashedReason {
/// `VIR_DOMAIN_CRASHED_UNKNOWN`, since 0.9.2.
Unspecified = 0,
/// `VIR_DOMAIN_CRASHED_PANICKED`, since 1.1.1.
Panicked = 1,
}
}

enumeration! {
/// [`virDomainDirtyRateStatus`](https://libvirt.org/search.html?q=virDomainDirtyRateStatus)
DomainDirtyRateStatus {
/// `VIR_DOMAIN_DIRTYRATE_UNSTARTED`, since 7.2.0.
Unstarted = 0,
/// `VIR_DOMAIN_DIRTYRATE_MEASURING`, since 7.2.0.
Measuring = 1,
/// `VIR_DOMAIN_DIRTYRATE_MEASURED`, since 7.2.0.
Measured = 2,
}
}

enumeration! {
/// [`virDomainDiskErrorCode`](https://libvirt.org/search.html?q=virDomainDiskErrorCode)
DomainDiskErrorCode {
/// `VIR_DOMAIN_DISK_ERROR_NONE`, since 0.9.10.
None = 0,
/// `VIR_DOMAIN_DISK_ERROR_UNSPEC`, since 0.9.10.
Unspec = 1,
/// `VIR_DOMAIN_DISK_ERROR_NO_SPACE`, since 0.9.10.
NoSpace = 2,
}
}

enumeration! {
/// [`virDomainEventCrashedDetailType`](https://libvirt.org/search.html?q=virDomainEventCrashedDetailType)
DomainEventCrashedDetailType {
/// `VIR_DOMAIN_EVENT_CRASHED_PANICKED`, since 1.1.1.
Panicked = 0,
/// `VIR_DOMAIN_EVENT_CRASHED_CRASHLOADED`, since 6.1.0.
Crashloaded = 1,
}
}

enumeration! {
/// [`virDomainEventDefinedDetailType`](https://libvirt.org/search.html?q=virDomainEventDefinedDetailType)
DomainEventDefinedDetailType {
/// `VIR_DOMAIN_EVENT_DEFINED_ADDED`, since 0.5.0.
Added = 0,
/// `VIR_DOMAIN_EVENT_DEFINED_UPDATED`, since 0.5.0.
Updated = 1,
/// `VIR_DOMAIN_EVENT_DEFINED_RENAMED`, since 1.2.19.
Renamed = 2,
/// `VIR_DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT`, since 1.3.3.
FromSnapshot = 3,
}
}

enumeration! {
/// [`virDomainEventGraphicsAddressType`](https://libvirt.org/search.html?q=virDomainEventGraphicsAddressType)
DomainEventGraphicsAddressType {
/// `VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_IPV4`, since 0.8.0.
Ipv4 = 0,
/// `VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_IPV6`, since 0.8.0.
Ipv6 = 1,
/// `VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_UNIX`, since 0.9.7.
Unix = 2,
}
}

enumeration! {
/// [`virDomainEventGraphicsPhase`](https://libvirt.org/search.html?q=virDomainEventGraphicsPhase)
DomainEventGraphicsPhase {
/// `VIR_DOMAIN_EVENT_GRAPHICS_CONNECT`, since 0.8.0.
Connect = 0,
/// `VIR_DOMAIN_EVENT_GRAPHICS_INITIALIZE`, since 0.8.0.
Initialize = 1,
/// `VIR_DOMAIN_EVENT_GRAPHICS_DISCONNECT`, since 0.8.0.
Disconnect = 2,
}
}

enumeration! {
/// [`virDomainEventID`](https://libvirt.org/search.html?q=virDomainEventID)
DomainEventId {
/// `VIR_DOMAIN_EVENT_ID_LIFECYCLE`, since 0.8.0.
Lifecycle = 0,
/// `VIR_DOMAIN_EVENT_ID_REBOOT`, since 0.8.0.
Reboot = 1,
/// `VIR_DOMAIN_EVENT_ID_RTC_CHANGE`, since 0.8.0.
RtcChange = 2,
/// `VIR_DOMAIN_EVENT_ID_WATCHDOG`, since 0.8.0.
Watchdog = 3,
/// `VIR_DOMAIN_EVENT_ID_IO_ERROR`, since 0.8.0.
IoError = 4,
/// `VIR_DOMAIN_EVENT_ID_GRAPHICS`, since 0.8.0.
Graphics = 5,
/// `VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON`, since 0.8.1.
IoErrorReason = 6,
/// `VIR_DOMAIN_EVENT_ID_CONTROL_ERROR`, since 0.9.2.
ControlError = 7,
/// `VIR_DOMAIN_EVENT_ID_BLOCK_JOB`, since 0.9.4.
BlockJob = 8,
/// `VIR_DOMAIN_EVENT_ID_DISK_CHANGE`, since 0.9.7.
DiskChange = 9,
/// `VIR_DOMAIN_EVENT_ID_TRAY_CHANGE`, since 0.9.11.
TrayChange = 10,
/// `VIR_DOMAIN_EVENT_ID_PMWAKEUP`, since 0.9.11.
Pmwakeup = 11,
/// `VIR_DOMAIN_EVENT_ID_PMSUSPEND`, since 0.9.11.
Pmsuspend = 12,
/// `VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE`, since 0.10.0.
BalloonChange = 13,
/// `VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK`, since 1.0.0.
PmsuspendDisk = 14,
/// `VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED`, since 1.1.1.
DeviceRemoved = 15,
/// `VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2`, since 1.2.6.
BlockJob2 = 16,
/// `VIR_DOMAIN_EVENT_ID_TUNABLE`, since 1.2.9.
Tunable = 17,
/// `VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE`, since 1.2.11.
AgentLifecycle = 18,
/// `VIR_DOMAIN_EVENT_ID_DEVICE_ADDED`, since 1.2.15.
DeviceAdded = 19,
/// `VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION`, since 1.3.2.
MigrationIteration = 20,
/// `VIR_DOMAIN_EVENT_ID_JOB_COMPLETED`, since 1.3.3.
JobCompleted = 21,
/// `VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED`, since 1.3.4.
DeviceRemovalFailed = 22,
/// `VIR_DOMAIN_EVENT_ID_METADATA_CHANGE`, since 3.0.0.
MetadataChange = 23,
/// `VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD`, since 3.2.0.
BlockThreshold = 24,
/// `VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE`, since 6.9.0.
MemoryFailure = 25,
/// `VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE`, since 7.9.0.
MemoryDeviceSizeChange = 26,
/// `VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE`, since 11.2.0.
NicMacChange = 27,
/// `VIR_DOMAIN_EVENT_ID_VCPU_REMOVED`, since 12.4.0.
VcpuRemoved = 28,
/// `VIR_DOMAIN_EVENT_ID_CHANNEL_LIFECYCLE`, since 12.4.0.
ChannelLifecycle = 29,
}
}

enumeration! {
/// [`virDomainEventIOErrorAction`](https://libvirt.org/search.html?q=virDomainEventIOErrorAction)
DomainEventIoErrorAction {
/// `VIR_DOMAIN_EVENT_IO_ERROR_NONE`, since 0.8.0.
None = 0,
/// `VIR_DOMAIN_EVENT_IO_ERROR_PAUSE`, since 0.8.0.
Pause = 1,
/// `VIR_DOMAIN_EVENT_IO_ERROR_REPORT`, since 0.8.0.
Report = 2,
}
}

enumeration! {
/// [`virDomainEventPMSuspendedDetailType`](https://libvirt.org/search.html?q=virDomainEventPMSuspendedDetailType)
DomainEventPmSuspendedDetailType {
/// `VIR_DOMAIN_EVENT_PMSUSPENDED_MEMORY`, since 0.10.2.
Memory = 0,
/// `VIR_DOMAIN_EVENT_PMSUSPENDED_DISK`, since 1.0.0.
Disk = 1,
}
}

enumeration! {
/// [`virDomainEventResumedDetailType`](https://libvirt.org/search.html?q=virDomainEventResumedDetailType)
DomainEventResumedDetailType {
/// `VIR_DOMAIN_EVENT_RESUMED_UNPAUSED`, since 0.5.0.
Unpaused = 0,
/// `VIR_DOMAIN_EVENT_RESUMED_MIGRATED`, since 0.5.0.
Migrated = 1,
/// `VIR_DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT`, since 0.9.5.
FromSnapshot = 2,
/// `VIR_DOMAIN_EVENT_RESUMED_POSTCOPY`, since 1.3.3.
Postcopy = 3,
/// `VIR_DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED`, since 8.5.0.
PostcopyFailed = 4,
}
}

enumeration! {
/// [`virDomainEventShutdownDetailType`](https://libvirt.org/search.html?q=virDomainEventShutdownDetailType)
DomainEventShutdownDetailType {
/// `VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED`, since 0.9.8.
Finished = 0,
/// `VIR_DOMAIN_EVENT_SHUTDOWN_GUEST`, since 3.4.0.
Guest = 1,
/// `VIR_DOMAIN_EVENT_SHUTDOWN_HOST`, since 3.4.0.
Host = 2,
}
}

enumeration! {
/// [`virDomainEventStartedDetailType`](https://libvirt.org/search.html?q=virDomainEventStartedDetailType)
DomainEventStartedDetailType {
/// `VIR_DOMAIN_EVENT_STARTED_BOOTED`, since 0.5.0.
Booted = 0,
/// `VIR_DOMAIN_EVENT_STARTED_MIGRATED`, since 0.5.0.
Migrated = 1,
/// `VIR_DOMAIN_EVENT_STARTED_RESTORED`, since 0.5.0.
Restored = 2,
/// `VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT`, since 0.8.0.
FromSnapshot = 3,
/// `VIR_DOMAIN_EVENT_STARTED_WAKEUP`, since 0.9.11.
Wakeup = 4,
}
}

enumeration! {
/// [`virDomainEventStoppedDetailType`](https://libvirt.org/search.html?q=virDomainEventStoppedDetailType)
DomainEventStoppedDetailType {
/// `VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN`, since 0.5.0.
Shutdown = 0,
/// `VIR_DOMAIN_EVENT_STOPPED_DESTROYED`, since 0.5.0.
Destroyed = 1,
/// `VIR_DOMAIN_EVENT_STOPPED_CRASHED`, since 0.5.0.
Crashed = 2,
/// `VIR_DOMAIN_EVENT_STOPPED_MIGRATED`, since 0.5.0.
Migrated = 3,
/// `VIR_DOMAIN_EVENT_STOPPED_SAVED`, since 0.5.0.
Saved = 4,
/// `VIR_DOMAIN_EVENT_STOPPED_FAILED`, since 0.5.0.
Failed = 5,
/// `VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT`, since 0.8.0.
FromSnapshot = 6,
}
}

enumeration! {
/// [`virDomainEventSuspendedDetailType`](https://libvirt.org/search.html?q=virDomainEventSuspendedDetailType)
DomainEventSuspendedDetailType {
/// `VIR_DOMAIN_EVENT_SUSPENDED_PAUSED`, since 0.5.0.
Paused = 0,
/// `VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED`, since 0.5.0.
Migrated = 1,
/// `VIR_DOMAIN_EVENT_SUSPENDED_IOERROR`, since 0.8.0.
Ioerror = 2,
/// `VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG`, since 0.8.0.
Watchdog = 3,
/// `VIR_DOMAIN_EVENT_SUSPENDED_RESTORED`, since 0.9.5.
Restored = 4,
/// `VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT`, since 0.9.5.
FromSnapshot = 5,
/// `VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR`, since 1.0.1.
ApiError = 6,
/// `VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY`, since 1.3.3.
Postcopy = 7,
/// `VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED`, since 1.3.3.
PostcopyFailed = 8,
}
}

enumeration! {
/// [`virDomainEventTrayChangeReason`](https://libvirt.org/search.html?q=virDomainEventTrayChangeReason)
DomainEventTrayChangeReason {
/// `VIR_DOMAIN_EVENT_TRAY_CHANGE_OPEN`, since 0.9.11.
Open = 0,
/// `VIR_DOMAIN_EVENT_TRAY_CHANGE_CLOSE`, since 0.9.11.
Close = 1,
}
}

enumeration! {
/// [`virDomainEventType`](https://libvirt.org/search.html?q=virDomainEventType)
DomainEventType {
/// `VIR_DOMAIN_EVENT_DEFINED`, since 0.5.0.
Defined = 0,
/// `VIR_DOMAIN_EVENT_UNDEFINED`, since 0.5.0.
Undefined = 1,
/// `VIR_DOMAIN_EVENT_STARTED`, since 0.5.0.
Started = 2,
/// `VIR_DOMAIN_EVENT_SUSPENDED`, since 0.5.0.
Suspended = 3,
/// `VIR_DOMAIN_EVENT_RESUMED`, since 0.5.0.
Resumed = 4,
/// `VIR_DOMAIN_EVENT_STOPPED`, since 0.5.0.
Stopped = 5,
/// `VIR_DOMAIN_EVENT_SHUTDOWN`, since 0.9.8.
Shutdown = 6,
/// `VIR_DOMAIN_EVENT_PMSUSPENDED`, since 0.10.2.
Pmsuspended = 7,
/// `VIR_DOMAIN_EVENT_CRASHED`, since 1.1.1.
Crashed = 8,
}
}

enumeration! {
/// [`virDomainEventUndefinedDetailType`](https://libvirt.org/search.html?q=virDomainEventUndefinedDetailType)
DomainEventUndefinedDetailType {
/// `VIR_DOMAIN_EVENT_UNDEFINED_REMOVED`, since 0.5.0.
Removed = 0,
/// `VIR_DOMAIN_EVENT_UNDEFINED_RENAMED`, since 1.2.19.
Renamed = 1,
}
}

enumeration! {
/// [`virDomainEventWatchdogAction`](https://libvirt.org/search.html?q=virDomainEventWatchdogAction)
DomainEventWatchdogAction {
/// `VIR_DOMAIN_EVENT_WATCHDOG_NONE`, since 0.8.0.
None = 0,
/// `VIR_DOMAIN_EVENT_WATCHDOG_PAUSE`, since 0.8.0.
Pause = 1,
/// `VIR_DOMAIN_EVENT_WATCHDOG_RESET`, since 0.8.0.
Reset = 2,
/// `VIR_DOMAIN_EVENT_WATCHDOG_POWEROFF`, since 0.8.0.
Poweroff = 3,
/// `VIR_DOMAIN_EVENT_WATCHDOG_SHUTDOWN`, since 0.8.0.
Shutdown = 4,
/// `VIR_DOMAIN_EVENT_WATCHDOG_DEBUG`, since 0.8.0.
Debug = 5,
/// `VIR_DOMAIN_EVENT_WATCHDOG_INJECTNMI`, since 1.2.17.
Injectnmi = 6,
}
}

enumeration! {
/// [`virDomainGraphicsReloadType`](https://libvirt.org/search.html?q=virDomainGraphicsReloadType)
DomainGraphicsReloadType {
/// `VIR_DOMAIN_GRAPHICS_RELOAD_TYPE_ANY`, since 10.2.0.
Any = 0,
/// `VIR_DOMAIN_GRAPHICS_RELOAD_TYPE_VNC`, since 10.2.0.
Vnc = 1,
}
}

enumeration! {
/// [`virDomainInterfaceAddressesSource`](https://libvirt.org/search.html?q=virDomainInterfaceAddressesSource)
DomainInterfaceAddressesSource {
/// `VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE`, since 1.2.14.
Lease = 0,
/// `VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT`, since 1.2.14.
Agent = 1,
/// `VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP`, since 4.2.0.
Arp = 2,
}
}

enumeration! {
/// [`virDomainJobOperation`](https://libvirt.org/search.html?q=virDomainJobOperation)
DomainJobOperation {
/// `VIR_DOMAIN_JOB_OPERATION_UNKNOWN`, since 3.3.0.
Unspecified = 0,
/// `VIR_DOMAIN_JOB_OPERATION_START`, since 3.3.0.
Start = 1,
/// `VIR_DOMAIN_JOB_OPERATION_SAVE`, since 3.3.0.
Save = 2,
/// `VIR_DOMAIN_JOB_OPERATION_RESTORE`, since 3.3.0.
Restore = 3,
/// `VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN`, since 3.3.0.
MigrationIn = 4,
/// `VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT`, since 3.3.0.
MigrationOut = 5,
/// `VIR_DOMAIN_JOB_OPERATION_SNAPSHOT`, since 3.3.0.
Snapshot = 6,
/// `VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT`, since 3.3.0.
SnapshotRevert = 7,
/// `VIR_DOMAIN_JOB_OPERATION_DUMP`, since 3.3.0.
Dump = 8,
/// `VIR_DOMAIN_JOB_OPERATION_BACKUP`, since 6.0.0.
Backup = 9,
/// `VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE`, since 9.0.0.
SnapshotDelete = 10,
}
}

enumeration! {
/// [`virDomainJobType`](https://libvirt.org/search.html?q=virDomainJobType)
DomainJobType {
/// `VIR_DOMAIN_JOB_NONE`, since 0.7.7.
None = 0,
/// `VIR_DOMAIN_JOB_BOUNDED`, since 0.7.7.
Bounded = 1,
/// `VIR_DOMAIN_JOB_UNBOUNDED`, since 0.7.7.
Unbounded = 2,
/// `VIR_DOMAIN_JOB_COMPLETED`, since 0.7.7.
Completed = 3,
/// `VIR_DOMAIN_JOB_FAILED`, since 0.7.7.
Failed = 4,
/// `VIR_DOMAIN_JOB_CANCELLED`, since 0.7.7.
Cancelled = 5,
}
}

enumeration! {
/// [`virDomainLifecycle`](https://libvirt.org/search.html?q=virDomainLifecycle)
DomainLifecycle {
/// `VIR_DOMAIN_LIFECYCLE_POWEROFF`, since 3.9.0.
Poweroff = 0,
/// `VIR_DOMAIN_LIFECYCLE_REBOOT`, since 3.9.0.
Reboot = 1,
/// `VIR_DOMAIN_LIFECYCLE_CRASH`, since 3.9.0.
Crash = 2,
}
}

enumeration! {
/// [`virDomainLifecycleAction`](https://libvirt.org/search.html?q=virDomainLifecycleAction)
DomainLifecycleAction {
/// `VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY`, since 3.9.0.
Destroy = 0,
/// `VIR_DOMAIN_LIFECYCLE_ACTION_RESTART`, since 3.9.0.
Restart = 1,
/// `VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME`, since 3.9.0.
RestartRename = 2,
/// `VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE`, since 3.9.0.
Preserve = 3,
/// `VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_DESTROY`, since 3.9.0.
CoredumpDestroy = 4,
/// `VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART`, since 3.9.0.
CoredumpRestart = 5,
}
}

enumeration! {
/// [`virDomainMemoryFailureActionType`](https://libvirt.org/search.html?q=virDomainMemoryFailureActionType)
DomainMemoryFailureActionType {
/// `VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_IGNORE`, since 6.9.0.
Ignore = 0,
/// `VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_INJECT`, since 6.9.0.
Inject = 1,
/// `VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_FATAL`, since 6.9.0.
Fatal = 2,
/// `VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_RESET`, since 6.9.0.
Reset = 3,
}
}

enumeration! {
/// [`virDomainMemoryFailureRecipientType`](https://libvirt.org/search.html?q=virDomainMemoryFailureRecipientType)
DomainMemoryFailureRecipientType {
/// `VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_HYPERVISOR`, since 6.9.0.
Hypervisor = 0,
/// `VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_GUEST`, since 6.9.0.
Guest = 1,
}
}

enumeration! {
/// [`virDomainMemoryStatTags`](https://libvirt.org/search.html?q=virDomainMemoryStatTags)
DomainMemoryStatTags {
/// `VIR_DOMAIN_MEMORY_STAT_SWAP_IN`, since 0.7.5.
SwapIn = 0,
/// `VIR_DOMAIN_MEMORY_STAT_SWAP_OUT`, since 0.7.5.
SwapOut = 1,
/// `VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT`, since 0.7.5.
MajorFault = 2,
/// `VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT`, since 0.7.5.
MinorFault = 3,
/// `VIR_DOMAIN_MEMORY_STAT_UNUSED`, since 0.7.5.
Unused = 4,
/// `VIR_DOMAIN_MEMORY_STAT_AVAILABLE`, since 0.7.5.
Available = 5,
/// `VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON`, since 0.9.3.
ActualBalloon = 6,
/// `VIR_DOMAIN_MEMORY_STAT_RSS`, since 0.9.10.
Rss = 7,
/// `VIR_DOMAIN_MEMORY_STAT_USABLE`, since 2.1.0.
Usable = 8,
/// `VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE`, since 2.1.0.
LastUpdate = 9,
/// `VIR_DOMAIN_MEMORY_STAT_DISK_CACHES`, since 4.6.0.
DiskCaches = 10,
/// `VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGALLOC`, since 5.4.0.
HugetlbPgalloc = 11,
/// `VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGFAIL`, since 5.4.0.
HugetlbPgfail = 12,
/// `VIR_DOMAIN_MEMORY_STAT_NR`, since 0.7.5.
Nr = 13,
}
}

enumeration! {
/// [`virDomainMetadataType`](https://libvirt.org/search.html?q=virDomainMetadataType)
DomainMetadataType {
/// `VIR_DOMAIN_METADATA_DESCRIPTION`, since 0.9.10.
Description = 0,
/// `VIR_DOMAIN_METADATA_TITLE`, since 0.9.10.
Title = 1,
/// `VIR_DOMAIN_METADATA_ELEMENT`, since 0.9.10.
Element = 2,
}
}

enumeration! {
/// [`virDomainNostateReason`](https://libvirt.org/search.html?q=virDomainNostateReason)
DomainNostateReason {
/// `VIR_DOMAIN_NOSTATE_UNKNOWN`, since 0.9.2.
Unspecified = 0,
}
}

enumeration! {
/// [`virDomainNumatuneMemMode`](https://libvirt.org/search.html?q=virDomainNumatuneMemMode)
DomainNumatuneMemMode {
/// `VIR_DOMAIN_NUMATUNE_MEM_STRICT`, since 0.9.9.
Strict = 0,
/// `VIR_DOMAIN_NUMATUNE_MEM_PREFERRED`, since 0.9.9.
Preferred = 1,
/// `VIR_DOMAIN_NUMATUNE_MEM_INTERLEAVE`, since 0.9.9.
Interleave = 2,
/// `VIR_DOMAIN_NUMATUNE_MEM_RESTRICTIVE`, since 7.3.0.
Restrictive = 3,
}
}

enumeration! {
/// [`virDomainPMSuspendedDiskReason`](https://libvirt.org/search.html?q=virDomainPMSuspendedDiskReason)
DomainPmSuspendedDiskReason {
/// `VIR_DOMAIN_PMSUSPENDED_DISK_UNKNOWN`, since 1.0.0.
PmsuspendedDiskUnknown = 0,
}
}

enumeration! {
/// [`virDomainPMSuspendedReason`](https://libvirt.org/search.html?q=virDomainPMSuspendedReason)
DomainPmSuspendedReason {
/// `VIR_DOMAIN_PMSUSPENDED_UNKNOWN`, since 0.9.11.
PmsuspendedUnknown = 0,
}
}

enumeration! {
/// [`virDomainPausedReason`](https://libvirt.org/search.html?q=virDomainPausedReason)
DomainPausedReason {
/// `VIR_DOMAIN_PAUSED_UNKNOWN`, since 0.9.2.
Unspecified = 0,
/// `VIR_DOMAIN_PAUSED_USER`, since 0.9.2.
User = 1,
/// `VIR_DOMAIN_PAUSED_MIGRATION`, since 0.9.2.
Migration = 2,
/// `VIR_DOMAIN_PAUSED_SAVE`, since 0.9.2.
Save = 3,
/// `VIR_DOMAIN_PAUSED_DUMP`, since 0.9.2.
Dump = 4,
/// `VIR_DOMAIN_PAUSED_IOERROR`, since 0.9.2.
Ioerror = 5,
/// `VIR_DOMAIN_PAUSED_WATCHDOG`, since 0.9.2.
Watchdog = 6,
/// `VIR_DOMAIN_PAUSED_FROM_SNAPSHOT`, since 0.9.2.
FromSnapshot = 7,
/// `VIR_DOMAIN_PAUSED_SHUTTING_DOWN`, since 0.9.5.
ShuttingDown = 8,
/// `VIR_DOMAIN_PAUSED_SNAPSHOT`, since 1.0.1.
Snapshot = 9,
/// `VIR_DOMAIN_PAUSED_CRASHED`, since 1.1.1.
Crashed = 10,
/// `VIR_DOMAIN_PAUSED_STARTING_UP`, since 1.2.14.
StartingUp = 11,
/// `VIR_DOMAIN_PAUSED_POSTCOPY`, since 1.3.3.
Postcopy = 12,
/// `VIR_DOMAIN_PAUSED_POSTCOPY_FAILED`, since 1.3.3.
PostcopyFailed = 13,
/// `VIR_DOMAIN_PAUSED_API_ERROR`, since 9.2.0.
ApiError = 14,
}
}

enumeration! {
/// [`virDomainProcessSignal`](https://libvirt.org/search.html?q=virDomainProcessSignal)
DomainProcessSignal {
/// `VIR_DOMAIN_PROCESS_SIGNAL_NOP`, since 1.0.1.
Nop = 0,
/// `VIR_DOMAIN_PROCESS_SIGNAL_HUP`, since 1.0.1.
Hup = 1,
/// `VIR_DOMAIN_PROCESS_SIGNAL_INT`, since 1.0.1.
Int = 2,
/// `VIR_DOMAIN_PROCESS_SIGNAL_QUIT`, since 1.0.1.
Quit = 3,
/// `VIR_DOMAIN_PROCESS_SIGNAL_ILL`, since 1.0.1.
Ill = 4,
/// `VIR_DOMAIN_PROCESS_SIGNAL_TRAP`, since 1.0.1.
Trap = 5,
/// `VIR_DOMAIN_PROCESS_SIGNAL_ABRT`, since 1.0.1.
Abrt = 6,
/// `VIR_DOMAIN_PROCESS_SIGNAL_BUS`, since 1.0.1.
Bus = 7,
/// `VIR_DOMAIN_PROCESS_SIGNAL_FPE`, since 1.0.1.
Fpe = 8,
/// `VIR_DOMAIN_PROCESS_SIGNAL_KILL`, since 1.0.1.
Kill = 9,
/// `VIR_DOMAIN_PROCESS_SIGNAL_USR1`, since 1.0.1.
Usr1 = 10,
/// `VIR_DOMAIN_PROCESS_SIGNAL_SEGV`, since 1.0.1.
Segv = 11,
/// `VIR_DOMAIN_PROCESS_SIGNAL_USR2`, since 1.0.1.
Usr2 = 12,
/// `VIR_DOMAIN_PROCESS_SIGNAL_PIPE`, since 1.0.1.
Pipe = 13,
/// `VIR_DOMAIN_PROCESS_SIGNAL_ALRM`, since 1.0.1.
Alrm = 14,
/// `VIR_DOMAIN_PROCESS_SIGNAL_TERM`, since 1.0.1.
Term = 15,
/// `VIR_DOMAIN_PROCESS_SIGNAL_STKFLT`, since 1.0.1.
Stkflt = 16,
/// `VIR_DOMAIN_PROCESS_SIGNAL_CHLD`, since 1.0.1.
Chld = 17,
/// `VIR_DOMAIN_PROCESS_SIGNAL_CONT`, since 1.0.1.
Cont = 18,
/// `VIR_DOMAIN_PROCESS_SIGNAL_STOP`, since 1.0.1.
Stop = 19,
/// `VIR_DOMAIN_PROCESS_SIGNAL_TSTP`, since 1.0.1.
Tstp = 20,
/// `VIR_DOMAIN_PROCESS_SIGNAL_TTIN`, since 1.0.1.
Ttin = 21,
/// `VIR_DOMAIN_PROCESS_SIGNAL_TTOU`, since 1.0.1.
Ttou = 22,
/// `VIR_DOMAIN_PROCESS_SIGNAL_URG`, since 1.0.1.
Urg = 23,
/// `VIR_DOMAIN_PROCESS_SIGNAL_XCPU`, since 1.0.1.
Xcpu = 24,
/// `VIR_DOMAIN_PROCESS_SIGNAL_XFSZ`, since 1.0.1.
Xfsz = 25,
/// `VIR_DOMAIN_PROCESS_SIGNAL_VTALRM`, since 1.0.1.
Vtalrm = 26,
/// `VIR_DOMAIN_PROCESS_SIGNAL_PROF`, since 1.0.1.
Prof = 27,
/// `VIR_DOMAIN_PROCESS_SIGNAL_WINCH`, since 1.0.1.
Winch = 28,
/// `VIR_DOMAIN_PROCESS_SIGNAL_POLL`, since 1.0.1.
Poll = 29,
/// `VIR_DOMAIN_PROCESS_SIGNAL_PWR`, since 1.0.1.
Pwr = 30,
/// `VIR_DOMAIN_PROCESS_SIGNAL_SYS`, since 1.0.1.
Sys = 31,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT0`, since 1.0.1.
Rt0 = 32,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT1`, since 1.0.1.
Rt1 = 33,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT2`, since 1.0.1.
Rt2 = 34,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT3`, since 1.0.1.
Rt3 = 35,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT4`, since 1.0.1.
Rt4 = 36,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT5`, since 1.0.1.
Rt5 = 37,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT6`, since 1.0.1.
Rt6 = 38,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT7`, since 1.0.1.
Rt7 = 39,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT8`, since 1.0.1.
Rt8 = 40,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT9`, since 1.0.1.
Rt9 = 41,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT10`, since 1.0.1.
Rt10 = 42,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT11`, since 1.0.1.
Rt11 = 43,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT12`, since 1.0.1.
Rt12 = 44,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT13`, since 1.0.1.
Rt13 = 45,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT14`, since 1.0.1.
Rt14 = 46,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT15`, since 1.0.1.
Rt15 = 47,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT16`, since 1.0.1.
Rt16 = 48,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT17`, since 1.0.1.
Rt17 = 49,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT18`, since 1.0.1.
Rt18 = 50,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT19`, since 1.0.1.
Rt19 = 51,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT20`, since 1.0.1.
Rt20 = 52,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT21`, since 1.0.1.
Rt21 = 53,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT22`, since 1.0.1.
Rt22 = 54,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT23`, since 1.0.1.
Rt23 = 55,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT24`, since 1.0.1.
Rt24 = 56,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT25`, since 1.0.1.
Rt25 = 57,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT26`, since 1.0.1.
Rt26 = 58,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT27`, since 1.0.1.
Rt27 = 59,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT28`, since 1.0.1.
Rt28 = 60,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT29`, since 1.0.1.
Rt29 = 61,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT30`, since 1.0.1.
Rt30 = 62,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT31`, since 1.0.1.
Rt31 = 63,
/// `VIR_DOMAIN_PROCESS_SIGNAL_RT32`, since 1.0.1.
Rt32 = 64,
}
}

enumeration! {
/// [`virDomainQemuAgentCommandTimeoutValues`](https://libvirt.org/search.html?q=virDomainQemuAgentCommandTimeoutValues)
DomainQemuAgentCommandTimeout {
/// `VIR_DOMAIN_QEMU_AGENT_COMMAND_BLOCK`, since 0.10.0.
Block = -2,
/// `VIR_DOMAIN_QEMU_AGENT_COMMAND_DEFAULT`, since 0.10.0.
Default = -1,
/// `VIR_DOMAIN_QEMU_AGENT_COMMAND_NOWAIT`, since 0.10.0.
Nowait = 0,
/// `VIR_DOMAIN_QEMU_AGENT_COMMAND_SHUTDOWN`, since 1.2.15.
Shutdown = 60,
}
}

impl DomainQemuAgentCommandTimeout {
    /// `VIR_DOMAIN_QEMU_AGENT_COMMAND_MIN`, since 0.10.0. The same as [`Self::Block`].
    pub const MIN: Self = Self::Block;
}

enumeration! {
/// [`virDomainRunningReason`](https://libvirt.org/search.html?q=virDomainRunningReason)
DomainRunningReason {
/// `VIR_DOMAIN_RUNNING_UNKNOWN`, since 0.9.2.
Unspecified = 0,
/// `VIR_DOMAIN_RUNNING_BOOTED`, since 0.9.2.
Booted = 1,
/// `VIR_DOMAIN_RUNNING_MIGRATED`, since 0.9.2.
Migrated = 2,
/// `VIR_DOMAIN_RUNNING_RESTORED`, since 0.9.2.
Restored = 3,
/// `VIR_DOMAIN_RUNNING_FROM_SNAPSHOT`, since 0.9.2.
FromSnapshot = 4,
/// `VIR_DOMAIN_RUNNING_UNPAUSED`, since 0.9.2.
Unpaused = 5,
/// `VIR_DOMAIN_RUNNING_MIGRATION_CANCELED`, since 0.9.2.
MigrationCanceled = 6,
/// `VIR_DOMAIN_RUNNING_SAVE_CANCELED`, since 0.9.2.
SaveCanceled = 7,
/// `VIR_DOMAIN_RUNNING_WAKEUP`, since 0.9.11.
Wakeup = 8,
/// `VIR_DOMAIN_RUNNING_CRASHED`, since 1.1.1.
Crashed = 9,
/// `VIR_DOMAIN_RUNNING_POSTCOPY`, since 1.3.3.
Postcopy = 10,
/// `VIR_DOMAIN_RUNNING_POSTCOPY_FAILED`, since 8.5.0.
PostcopyFailed = 11,
}
}

enumeration! {
/// [`virDomainShutdownReason`](https://libvirt.org/search.html?q=virDomainShutdownReason)
DomainShutdownReason {
/// `VIR_DOMAIN_SHUTDOWN_UNKNOWN`, since 0.9.2.
Unspecified = 0,
/// `VIR_DOMAIN_SHUTDOWN_USER`, since 0.9.2.
User = 1,
}
}

enumeration! {
/// [`virDomainShutoffReason`](https://libvirt.org/search.html?q=virDomainShutoffReason)
DomainShutoffReason {
/// `VIR_DOMAIN_SHUTOFF_UNKNOWN`, since 0.9.2.
Unspecified = 0,
/// `VIR_DOMAIN_SHUTOFF_SHUTDOWN`, since 0.9.2.
Shutdown = 1,
/// `VIR_DOMAIN_SHUTOFF_DESTROYED`, since 0.9.2.
Destroyed = 2,
/// `VIR_DOMAIN_SHUTOFF_CRASHED`, since 0.9.2.
Crashed = 3,
/// `VIR_DOMAIN_SHUTOFF_MIGRATED`, since 0.9.2.
Migrated = 4,
/// `VIR_DOMAIN_SHUTOFF_SAVED`, since 0.9.2.
Saved = 5,
/// `VIR_DOMAIN_SHUTOFF_FAILED`, since 0.9.2.
Failed = 6,
/// `VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT`, since 0.9.2.
FromSnapshot = 7,
/// `VIR_DOMAIN_SHUTOFF_DAEMON`, since 4.10.0.
Daemon = 8,
}
}

enumeration! {
/// [`virDomainState`](https://libvirt.org/search.html?q=virDomainState)
DomainState {
/// `VIR_DOMAIN_NOSTATE`, since 0.0.1.
Nostate = 0,
/// `VIR_DOMAIN_RUNNING`, since 0.0.1.
Running = 1,
/// `VIR_DOMAIN_BLOCKED`, since 0.0.1.
Blocked = 2,
/// `VIR_DOMAIN_PAUSED`, since 0.0.1.
Paused = 3,
/// `VIR_DOMAIN_SHUTDOWN`, since 0.0.1.
Shutdown = 4,
/// `VIR_DOMAIN_SHUTOFF`, since 0.0.1.
Shutoff = 5,
/// `VIR_DOMAIN_CRASHED`, since 0.0.2.
Crashed = 6,
/// `VIR_DOMAIN_PMSUSPENDED`, since 0.9.11.
Pmsuspended = 7,
}
}

enumeration! {
/// [`virErrorDomain`](https://libvirt.org/search.html?q=virErrorDomain)
ErrorDomain {
/// `VIR_FROM_NONE`, since 0.1.0.
None = 0,
/// `VIR_FROM_XEN`, since 0.1.0.
Xen = 1,
/// `VIR_FROM_XEND`, since 0.1.0.
Xend = 2,
/// `VIR_FROM_XENSTORE`, since 0.1.0.
Xenstore = 3,
/// `VIR_FROM_SEXPR`, since 0.1.0.
Sexpr = 4,
/// `VIR_FROM_XML`, since 0.1.0.
Xml = 5,
/// `VIR_FROM_DOM`, since 0.1.0.
Dom = 6,
/// `VIR_FROM_RPC`, since 0.1.1.
Rpc = 7,
/// `VIR_FROM_PROXY`, since 0.1.3.
Proxy = 8,
/// `VIR_FROM_CONF`, since 0.1.6.
Conf = 9,
/// `VIR_FROM_QEMU`, since 0.2.0.
Qemu = 10,
/// `VIR_FROM_NET`, since 0.2.0.
Net = 11,
/// `VIR_FROM_TEST`, since 0.2.3.
Test = 12,
/// `VIR_FROM_REMOTE`, since 0.2.3.
Remote = 13,
/// `VIR_FROM_OPENVZ`, since 0.3.1.
Openvz = 14,
/// `VIR_FROM_XENXM`, since 0.4.1.
Xenxm = 15,
/// `VIR_FROM_STATS_LINUX`, since 0.4.1.
StatsLinux = 16,
/// `VIR_FROM_LXC`, since 0.4.2.
Lxc = 17,
/// `VIR_FROM_STORAGE`, since 0.4.1.
Storage = 18,
/// `VIR_FROM_NETWORK`, since 0.4.6.
Network = 19,
/// `VIR_FROM_DOMAIN`, since 0.4.6.
Domain = 20,
/// `VIR_FROM_UML`, since 0.5.0.
Uml = 21,
/// `VIR_FROM_NODEDEV`, since 0.5.0.
Nodedev = 22,
/// `VIR_FROM_XEN_INOTIFY`, since 0.5.0.
XenInotify = 23,
/// `VIR_FROM_SECURITY`, since 0.6.1.
Security = 24,
/// `VIR_FROM_VBOX`, since 0.6.3.
Vbox = 25,
/// `VIR_FROM_INTERFACE`, since 0.6.4.
Interface = 26,
/// `VIR_FROM_ONE`, since 0.6.4.
One = 27,
/// `VIR_FROM_ESX`, since 0.7.0.
Esx = 28,
/// `VIR_FROM_PHYP`, since 0.7.0.
Phyp = 29,
/// `VIR_FROM_SECRET`, since 0.7.1.
Secret = 30,
/// `VIR_FROM_CPU`, since 0.7.5.
Cpu = 31,
/// `VIR_FROM_XENAPI`, since 0.8.0.
Xenapi = 32,
/// `VIR_FROM_NWFILTER`, since 0.8.0.
Nwfilter = 33,
/// `VIR_FROM_HOOK`, since 0.8.0.
Hook = 34,
/// `VIR_FROM_DOMAIN_SNAPSHOT`, since 0.8.0.
DomainSnapshot = 35,
/// `VIR_FROM_AUDIT`, since 0.8.5.
Audit = 36,
/// `VIR_FROM_SYSINFO`, since 0.8.6.
Sysinfo = 37,
/// `VIR_FROM_STREAMS`, since 0.8.6.
Streams = 38,
/// `VIR_FROM_VMWARE`, since 0.8.7.
Vmware = 39,
/// `VIR_FROM_EVENT`, since 0.9.0.
Event = 40,
/// `VIR_FROM_LIBXL`, since 0.9.0.
Libxl = 41,
/// `VIR_FROM_LOCKING`, since 0.9.2.
Locking = 42,
/// `VIR_FROM_HYPERV`, since 0.9.5.
Hyperv = 43,
/// `VIR_FROM_CAPABILITIES`, since 0.9.8.
Capabilities = 44,
/// `VIR_FROM_URI`, since 0.9.11.
Uri = 45,
/// `VIR_FROM_AUTH`, since 0.9.11.
Auth = 46,
/// `VIR_FROM_DBUS`, since 0.9.12.
Dbus = 47,
/// `VIR_FROM_PARALLELS`, since 0.10.0.
Parallels = 48,
/// `VIR_FROM_DEVICE`, since 0.10.0.
Device = 49,
/// `VIR_FROM_SSH`, since 0.10.0.
Ssh = 50,
/// `VIR_FROM_LOCKSPACE`, since 1.0.0.
Lockspace = 51,
/// `VIR_FROM_INITCTL`, since 1.0.1.
Initctl = 52,
/// `VIR_FROM_IDENTITY`, since 1.0.4.
Identity = 53,
/// `VIR_FROM_CGROUP`, since 1.0.5.
Cgroup = 54,
/// `VIR_FROM_ACCESS`, since 1.1.0.
Access = 55,
/// `VIR_FROM_SYSTEMD`, since 1.1.1.
Systemd = 56,
/// `VIR_FROM_BHYVE`, since 1.2.2.
Bhyve = 57,
/// `VIR_FROM_CRYPTO`, since 1.2.3.
Crypto = 58,
/// `VIR_FROM_FIREWALL`, since 1.2.4.
Firewall = 59,
/// `VIR_FROM_POLKIT`, since 1.2.9.
Polkit = 60,
/// `VIR_FROM_THREAD`, since 1.2.14.
Thread = 61,
/// `VIR_FROM_ADMIN`, since 1.2.17.
Admin = 62,
/// `VIR_FROM_LOGGING`, since 1.3.0.
Logging = 63,
/// `VIR_FROM_XENXL`, since 1.3.2.
Xenxl = 64,
/// `VIR_FROM_PERF`, since 1.3.3.
Perf = 65,
/// `VIR_FROM_LIBSSH`, since 2.5.0.
Libssh = 66,
/// `VIR_FROM_RESCTRL`, since 3.7.0.
Resctrl = 67,
/// `VIR_FROM_FIREWALLD`, since 5.1.0.
Firewalld = 68,
/// `VIR_FROM_DOMAIN_CHECKPOINT`, since 5.2.0.
DomainCheckpoint = 69,
/// `VIR_FROM_TPM`, since 5.6.0.
Tpm = 70,
/// `VIR_FROM_BPF`, since 5.10.0.
Bpf = 71,
/// `VIR_FROM_CH`, since 7.5.0.
Ch = 72,
}
}

enumeration! {
/// [`virErrorLevel`](https://libvirt.org/search.html?q=virErrorLevel)
ErrorLevel {
/// `VIR_ERR_NONE`, since 0.1.0.
None = 0,
/// `VIR_ERR_WARNING`, since 0.1.0.
Warning = 1,
/// `VIR_ERR_ERROR`, since 0.1.0.
Error = 2,
}
}

enumeration! {
/// [`virErrorNumber`](https://libvirt.org/search.html?q=virErrorNumber)
ErrorNumber {
/// `VIR_ERR_OK`, since 0.1.0.
Ok = 0,
/// `VIR_ERR_INTERNAL_ERROR`, since 0.1.0.
InternalError = 1,
/// `VIR_ERR_NO_MEMORY`, since 0.1.0.
NoMemory = 2,
/// `VIR_ERR_NO_SUPPORT`, since 0.1.0.
NoSupport = 3,
/// `VIR_ERR_UNKNOWN_HOST`, since 0.1.0.
UnknownHost = 4,
/// `VIR_ERR_NO_CONNECT`, since 0.1.0.
NoConnect = 5,
/// `VIR_ERR_INVALID_CONN`, since 0.1.0.
InvalidConn = 6,
/// `VIR_ERR_INVALID_DOMAIN`, since 0.1.0.
InvalidDomain = 7,
/// `VIR_ERR_INVALID_ARG`, since 0.1.0.
InvalidArg = 8,
/// `VIR_ERR_OPERATION_FAILED`, since 0.1.0.
OperationFailed = 9,
/// `VIR_ERR_GET_FAILED`, since 0.1.0.
GetFailed = 10,
/// `VIR_ERR_POST_FAILED`, since 0.1.0.
PostFailed = 11,
/// `VIR_ERR_HTTP_ERROR`, since 0.1.0.
HttpError = 12,
/// `VIR_ERR_SEXPR_SERIAL`, since 0.1.0.
SexprSerial = 13,
/// `VIR_ERR_NO_XEN`, since 0.1.0.
NoXen = 14,
/// `VIR_ERR_XEN_CALL`, since 0.1.0.
XenCall = 15,
/// `VIR_ERR_OS_TYPE`, since 0.1.0.
OsType = 16,
/// `VIR_ERR_NO_KERNEL`, since 0.1.0.
NoKernel = 17,
/// `VIR_ERR_NO_ROOT`, since 0.1.0.
NoRoot = 18,
/// `VIR_ERR_NO_SOURCE`, since 0.1.0.
NoSource = 19,
/// `VIR_ERR_NO_TARGET`, since 0.1.0.
NoTarget = 20,
/// `VIR_ERR_NO_NAME`, since 0.1.0.
NoName = 21,
/// `VIR_ERR_NO_OS`, since 0.1.0.
NoOs = 22,
/// `VIR_ERR_NO_DEVICE`, since 0.1.0.
NoDevice = 23,
/// `VIR_ERR_NO_XENSTORE`, since 0.1.0.
NoXenstore = 24,
/// `VIR_ERR_DRIVER_FULL`, since 0.1.0.
DriverFull = 25,
/// `VIR_ERR_CALL_FAILED`, since 0.1.0.
CallFailed = 26,
/// `VIR_ERR_XML_ERROR`, since 0.1.1.
XmlError = 27,
/// `VIR_ERR_DOM_EXIST`, since 0.1.1.
DomExist = 28,
/// `VIR_ERR_OPERATION_DENIED`, since 0.1.4.
OperationDenied = 29,
/// `VIR_ERR_OPEN_FAILED`, since 0.1.6.
OpenFailed = 30,
/// `VIR_ERR_READ_FAILED`, since 0.1.6.
ReadFailed = 31,
/// `VIR_ERR_PARSE_FAILED`, since 0.1.6.
ParseFailed = 32,
/// `VIR_ERR_CONF_SYNTAX`, since 0.1.6.
ConfSyntax = 33,
/// `VIR_ERR_WRITE_FAILED`, since 0.1.6.
WriteFailed = 34,
/// `VIR_ERR_XML_DETAIL`, since 0.1.9.
XmlDetail = 35,
/// `VIR_ERR_INVALID_NETWORK`, since 0.2.0.
InvalidNetwork = 36,
/// `VIR_ERR_NETWORK_EXIST`, since 0.2.0.
NetworkExist = 37,
/// `VIR_ERR_SYSTEM_ERROR`, since 0.2.1.
SystemError = 38,
/// `VIR_ERR_RPC`, since 0.2.3.
Rpc = 39,
/// `VIR_ERR_GNUTLS_ERROR`, since 0.2.3.
GnutlsError = 40,
/// `VIR_WAR_NO_NETWORK`, since 0.2.3.
WarNoNetwork = 41,
/// `VIR_ERR_NO_DOMAIN`, since 0.3.0.
NoDomain = 42,
/// `VIR_ERR_NO_NETWORK`, since 0.3.0.
NoNetwork = 43,
/// `VIR_ERR_INVALID_MAC`, since 0.3.1.
InvalidMac = 44,
/// `VIR_ERR_AUTH_FAILED`, since 0.4.1.
AuthFailed = 45,
/// `VIR_ERR_INVALID_STORAGE_POOL`, since 0.4.1.
InvalidStoragePool = 46,
/// `VIR_ERR_INVALID_STORAGE_VOL`, since 0.4.1.
InvalidStorageVol = 47,
/// `VIR_WAR_NO_STORAGE`, since 0.4.1.
WarNoStorage = 48,
/// `VIR_ERR_NO_STORAGE_POOL`, since 0.4.1.
NoStoragePool = 49,
/// `VIR_ERR_NO_STORAGE_VOL`, since 0.4.1.
NoStorageVol = 50,
/// `VIR_WAR_NO_NODE`, since 0.5.0.
WarNoNode = 51,
/// `VIR_ERR_INVALID_NODE_DEVICE`, since 0.5.0.
InvalidNodeDevice = 52,
/// `VIR_ERR_NO_NODE_DEVICE`, since 0.5.0.
NoNodeDevice = 53,
/// `VIR_ERR_NO_SECURITY_MODEL`, since 0.6.1.
NoSecurityModel = 54,
/// `VIR_ERR_OPERATION_INVALID`, since 0.6.4.
OperationInvalid = 55,
/// `VIR_WAR_NO_INTERFACE`, since 0.6.4.
WarNoInterface = 56,
/// `VIR_ERR_NO_INTERFACE`, since 0.6.4.
NoInterface = 57,
/// `VIR_ERR_INVALID_INTERFACE`, since 0.6.4.
InvalidInterface = 58,
/// `VIR_ERR_MULTIPLE_INTERFACES`, since 0.7.0.
MultipleInterfaces = 59,
/// `VIR_WAR_NO_NWFILTER`, since 0.8.0.
WarNoNwfilter = 60,
/// `VIR_ERR_INVALID_NWFILTER`, since 0.8.0.
InvalidNwfilter = 61,
/// `VIR_ERR_NO_NWFILTER`, since 0.8.0.
NoNwfilter = 62,
/// `VIR_ERR_BUILD_FIREWALL`, since 0.8.0.
BuildFirewall = 63,
/// `VIR_WAR_NO_SECRET`, since 0.7.1.
WarNoSecret = 64,
/// `VIR_ERR_INVALID_SECRET`, since 0.7.1.
InvalidSecret = 65,
/// `VIR_ERR_NO_SECRET`, since 0.7.1.
NoSecret = 66,
/// `VIR_ERR_CONFIG_UNSUPPORTED`, since 0.7.3.
ConfigUnsupported = 67,
/// `VIR_ERR_OPERATION_TIMEOUT`, since 0.7.3.
OperationTimeout = 68,
/// `VIR_ERR_MIGRATE_PERSIST_FAILED`, since 0.7.3.
MigratePersistFailed = 69,
/// `VIR_ERR_HOOK_SCRIPT_FAILED`, since 0.8.0.
HookScriptFailed = 70,
/// `VIR_ERR_INVALID_DOMAIN_SNAPSHOT`, since 0.8.0.
InvalidDomainSnapshot = 71,
/// `VIR_ERR_NO_DOMAIN_SNAPSHOT`, since 0.8.0.
NoDomainSnapshot = 72,
/// `VIR_ERR_INVALID_STREAM`, since 0.9.0.
InvalidStream = 73,
/// `VIR_ERR_ARGUMENT_UNSUPPORTED`, since 0.9.4.
ArgumentUnsupported = 74,
/// `VIR_ERR_STORAGE_PROBE_FAILED`, since 0.9.5.
StorageProbeFailed = 75,
/// `VIR_ERR_STORAGE_POOL_BUILT`, since 0.9.5.
StoragePoolBuilt = 76,
/// `VIR_ERR_SNAPSHOT_REVERT_RISKY`, since 0.9.7.
SnapshotRevertRisky = 77,
/// `VIR_ERR_OPERATION_ABORTED`, since 0.9.9.
OperationAborted = 78,
/// `VIR_ERR_AUTH_CANCELLED`, since 0.9.10.
AuthCancelled = 79,
/// `VIR_ERR_NO_DOMAIN_METADATA`, since 0.9.10.
NoDomainMetadata = 80,
/// `VIR_ERR_MIGRATE_UNSAFE`, since 0.9.11.
MigrateUnsafe = 81,
/// `VIR_ERR_OVERFLOW`, since 0.9.11.
Overflow = 82,
/// `VIR_ERR_BLOCK_COPY_ACTIVE`, since 0.9.12.
BlockCopyActive = 83,
/// `VIR_ERR_OPERATION_UNSUPPORTED`, since 0.10.0.
OperationUnsupported = 84,
/// `VIR_ERR_SSH`, since 0.10.0.
Ssh = 85,
/// `VIR_ERR_AGENT_UNRESPONSIVE`, since 0.10.0.
AgentUnresponsive = 86,
/// `VIR_ERR_RESOURCE_BUSY`, since 1.0.0.
ResourceBusy = 87,
/// `VIR_ERR_ACCESS_DENIED`, since 1.1.0.
AccessDenied = 88,
/// `VIR_ERR_DBUS_SERVICE`, since 1.1.1.
DbusService = 89,
/// `VIR_ERR_STORAGE_VOL_EXIST`, since 1.1.4.
StorageVolExist = 90,
/// `VIR_ERR_CPU_INCOMPATIBLE`, since 1.2.6.
CpuIncompatible = 91,
/// `VIR_ERR_XML_INVALID_SCHEMA`, since 1.2.12.
XmlInvalidSchema = 92,
/// `VIR_ERR_MIGRATE_FINISH_OK`, since 1.2.18.
MigrateFinishOk = 93,
/// `VIR_ERR_AUTH_UNAVAILABLE`, since 1.3.3.
AuthUnavailable = 94,
/// `VIR_ERR_NO_SERVER`, since 1.3.3.
NoServer = 95,
/// `VIR_ERR_NO_CLIENT`, since 1.3.5.
NoClient = 96,
/// `VIR_ERR_AGENT_UNSYNCED`, since 2.3.0.
AgentUnsynced = 97,
/// `VIR_ERR_LIBSSH`, since 2.5.0.
Libssh = 98,
/// `VIR_ERR_DEVICE_MISSING`, since 4.1.0.
DeviceMissing = 99,
/// `VIR_ERR_INVALID_NWFILTER_BINDING`, since 4.5.0.
InvalidNwfilterBinding = 100,
/// `VIR_ERR_NO_NWFILTER_BINDING`, since 4.5.0.
NoNwfilterBinding = 101,
/// `VIR_ERR_INVALID_DOMAIN_CHECKPOINT`, since 5.2.0.
InvalidDomainCheckpoint = 102,
/// `VIR_ERR_NO_DOMAIN_CHECKPOINT`, since 5.2.0.
NoDomainCheckpoint = 103,
/// `VIR_ERR_NO_DOMAIN_BACKUP`, since 5.2.0.
NoDomainBackup = 104,
/// `VIR_ERR_INVALID_NETWORK_PORT`, since 5.5.0.
InvalidNetworkPort = 105,
/// `VIR_ERR_NETWORK_PORT_EXIST`, since 5.5.0.
NetworkPortExist = 106,
/// `VIR_ERR_NO_NETWORK_PORT`, since 5.5.0.
NoNetworkPort = 107,
/// `VIR_ERR_NO_HOSTNAME`, since 6.1.0.
NoHostname = 108,
/// `VIR_ERR_CHECKPOINT_INCONSISTENT`, since 6.10.0.
CheckpointInconsistent = 109,
/// `VIR_ERR_MULTIPLE_DOMAINS`, since 7.1.0.
MultipleDomains = 110,
/// `VIR_ERR_NO_NETWORK_METADATA`, since 9.7.0.
NoNetworkMetadata = 111,
/// `VIR_ERR_AGENT_COMMAND_TIMEOUT`, since 11.2.0.
AgentCommandTimeout = 112,
/// `VIR_ERR_AGENT_COMMAND_FAILED`, since 11.2.0.
AgentCommandFailed = 113,
}
}

enumeration! {
/// [`virIPAddrType`](https://libvirt.org/search.html?q=virIPAddrType)
IpAddrType {
/// `VIR_IP_ADDR_TYPE_IPV4`, since 1.2.6.
Ipv4 = 0,
/// `VIR_IP_ADDR_TYPE_IPV6`, since 1.2.6.
Ipv6 = 1,
}
}

enumeration! {
/// [`virKeycodeSet`](https://libvirt.org/search.html?q=virKeycodeSet)
KeycodeSet {
/// `VIR_KEYCODE_SET_LINUX`, since 0.9.3.
Linux = 0,
/// `VIR_KEYCODE_SET_XT`, since 0.9.3.
Xt = 1,
/// `VIR_KEYCODE_SET_ATSET1`, since 0.9.3.
Atset1 = 2,
/// `VIR_KEYCODE_SET_ATSET2`, since 0.9.3.
Atset2 = 3,
/// `VIR_KEYCODE_SET_ATSET3`, since 0.9.3.
Atset3 = 4,
/// `VIR_KEYCODE_SET_OSX`, since 0.9.4.
Osx = 5,
/// `VIR_KEYCODE_SET_XT_KBD`, since 0.9.4.
XtKbd = 6,
/// `VIR_KEYCODE_SET_USB`, since 0.9.4.
Usb = 7,
/// `VIR_KEYCODE_SET_WIN32`, since 0.9.4.
Win32 = 8,
/// `VIR_KEYCODE_SET_QNUM`, since 4.2.0.
Qnum = 9,
}
}

enumeration! {
/// [`virNetworkEventID`](https://libvirt.org/search.html?q=virNetworkEventID)
NetworkEventId {
/// `VIR_NETWORK_EVENT_ID_LIFECYCLE`, since 1.2.1.
Lifecycle = 0,
/// `VIR_NETWORK_EVENT_ID_METADATA_CHANGE`, since 9.8.0.
MetadataChange = 1,
}
}

enumeration! {
/// [`virNetworkEventLifecycleType`](https://libvirt.org/search.html?q=virNetworkEventLifecycleType)
NetworkEventLifecycleType {
/// `VIR_NETWORK_EVENT_DEFINED`, since 1.2.1.
Defined = 0,
/// `VIR_NETWORK_EVENT_UNDEFINED`, since 1.2.1.
Undefined = 1,
/// `VIR_NETWORK_EVENT_STARTED`, since 1.2.1.
Started = 2,
/// `VIR_NETWORK_EVENT_STOPPED`, since 1.2.1.
Stopped = 3,
}
}

enumeration! {
/// [`virNetworkMetadataType`](https://libvirt.org/search.html?q=virNetworkMetadataType)
NetworkMetadataType {
/// `VIR_NETWORK_METADATA_DESCRIPTION`, since 9.7.0.
Description = 0,
/// `VIR_NETWORK_METADATA_TITLE`, since 9.7.0.
Title = 1,
/// `VIR_NETWORK_METADATA_ELEMENT`, since 9.7.0.
Element = 2,
}
}

enumeration! {
/// [`virNetworkUpdateCommand`](https://libvirt.org/search.html?q=virNetworkUpdateCommand)
NetworkUpdateCommand {
/// `VIR_NETWORK_UPDATE_COMMAND_NONE`, since 0.10.2.
None = 0,
/// `VIR_NETWORK_UPDATE_COMMAND_MODIFY`, since 0.10.2.
Modify = 1,
/// `VIR_NETWORK_UPDATE_COMMAND_DELETE`, since 0.10.2.
Delete = 2,
/// `VIR_NETWORK_UPDATE_COMMAND_ADD_FIRST`, since 0.10.2.
AddFirst = 4,
}
}

enumeration! {
/// [`virNetworkUpdateSection`](https://libvirt.org/search.html?q=virNetworkUpdateSection)
NetworkUpdateSection {
/// `VIR_NETWORK_SECTION_NONE`, since 0.10.2.
None = 0,
/// `VIR_NETWORK_SECTION_BRIDGE`, since 0.10.2.
Bridge = 1,
/// `VIR_NETWORK_SECTION_DOMAIN`, since 0.10.2.
Domain = 2,
/// `VIR_NETWORK_SECTION_IP`, since 0.10.2.
Ip = 3,
/// `VIR_NETWORK_SECTION_IP_DHCP_HOST`, since 0.10.2.
IpDhcpHost = 4,
/// `VIR_NETWORK_SECTION_IP_DHCP_RANGE`, since 0.10.2.
IpDhcpRange = 5,
/// `VIR_NETWORK_SECTION_FORWARD`, since 0.10.2.
Forward = 6,
/// `VIR_NETWORK_SECTION_FORWARD_INTERFACE`, since 0.10.2.
ForwardInterface = 7,
/// `VIR_NETWORK_SECTION_FORWARD_PF`, since 0.10.2.
ForwardPf = 8,
/// `VIR_NETWORK_SECTION_PORTGROUP`, since 0.10.2.
Portgroup = 9,
/// `VIR_NETWORK_SECTION_DNS_HOST`, since 0.10.2.
DnsHost = 10,
/// `VIR_NETWORK_SECTION_DNS_TXT`, since 0.10.2.
DnsTxt = 11,
/// `VIR_NETWORK_SECTION_DNS_SRV`, since 0.10.2.
DnsSrv = 12,
}
}

enumeration! {
/// [`virNodeDeviceEventID`](https://libvirt.org/search.html?q=virNodeDeviceEventID)
NodeDeviceEventId {
/// `VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE`, since 2.2.0.
Lifecycle = 0,
/// `VIR_NODE_DEVICE_EVENT_ID_UPDATE`, since 2.2.0.
Update = 1,
}
}

enumeration! {
/// [`virNodeDeviceEventLifecycleType`](https://libvirt.org/search.html?q=virNodeDeviceEventLifecycleType)
NodeDeviceEventLifecycleType {
/// `VIR_NODE_DEVICE_EVENT_CREATED`, since 2.2.0.
Created = 0,
/// `VIR_NODE_DEVICE_EVENT_DELETED`, since 2.2.0.
Deleted = 1,
/// `VIR_NODE_DEVICE_EVENT_DEFINED`, since 7.3.0.
Defined = 2,
/// `VIR_NODE_DEVICE_EVENT_UNDEFINED`, since 7.3.0.
Undefined = 3,
}
}

enumeration! {
/// [`virNodeGetCPUStatsAllCPUs`](https://libvirt.org/search.html?q=virNodeGetCPUStatsAllCPUs)
NodeGetCpuStatsAllCpus {
/// `VIR_NODE_CPU_STATS_ALL_CPUS`, since 0.9.3.
CpuStatsAllCpus = -1,
}
}

enumeration! {
/// [`virNodeGetMemoryStatsAllCells`](https://libvirt.org/search.html?q=virNodeGetMemoryStatsAllCells)
NodeGetMemoryStatsAllCells {
/// `VIR_NODE_MEMORY_STATS_ALL_CELLS`, since 0.9.3.
MemoryStatsAllCells = -1,
}
}

enumeration! {
/// [`virNodeSuspendTarget`](https://libvirt.org/search.html?q=virNodeSuspendTarget)
NodeSuspendTarget {
/// `VIR_NODE_SUSPEND_TARGET_MEM`, since 0.9.8.
Mem = 0,
/// `VIR_NODE_SUSPEND_TARGET_DISK`, since 0.9.8.
Disk = 1,
/// `VIR_NODE_SUSPEND_TARGET_HYBRID`, since 0.9.8.
Hybrid = 2,
}
}

enumeration! {
/// [`virSecretEventID`](https://libvirt.org/search.html?q=virSecretEventID)
SecretEventId {
/// `VIR_SECRET_EVENT_ID_LIFECYCLE`, since 3.0.0.
Lifecycle = 0,
/// `VIR_SECRET_EVENT_ID_VALUE_CHANGED`, since 3.0.0.
ValueChanged = 1,
}
}

enumeration! {
/// [`virSecretEventLifecycleType`](https://libvirt.org/search.html?q=virSecretEventLifecycleType)
SecretEventLifecycleType {
/// `VIR_SECRET_EVENT_DEFINED`, since 3.0.0.
Defined = 0,
/// `VIR_SECRET_EVENT_UNDEFINED`, since 3.0.0.
Undefined = 1,
}
}

enumeration! {
/// [`virSecretUsageType`](https://libvirt.org/search.html?q=virSecretUsageType)
SecretUsageType {
/// `VIR_SECRET_USAGE_TYPE_NONE`, since 0.7.1.
None = 0,
/// `VIR_SECRET_USAGE_TYPE_VOLUME`, since 0.7.1.
Volume = 1,
/// `VIR_SECRET_USAGE_TYPE_CEPH`, since 0.9.7.
Ceph = 2,
/// `VIR_SECRET_USAGE_TYPE_ISCSI`, since 1.0.4.
Iscsi = 3,
/// `VIR_SECRET_USAGE_TYPE_TLS`, since 2.3.0.
Tls = 4,
/// `VIR_SECRET_USAGE_TYPE_VTPM`, since 5.6.0.
Vtpm = 5,
}
}

enumeration! {
/// [`virStoragePoolEventID`](https://libvirt.org/search.html?q=virStoragePoolEventID)
StoragePoolEventId {
/// `VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE`, since 2.0.0.
Lifecycle = 0,
/// `VIR_STORAGE_POOL_EVENT_ID_REFRESH`, since 2.0.0.
Refresh = 1,
}
}

enumeration! {
/// [`virStoragePoolEventLifecycleType`](https://libvirt.org/search.html?q=virStoragePoolEventLifecycleType)
StoragePoolEventLifecycleType {
/// `VIR_STORAGE_POOL_EVENT_DEFINED`, since 2.0.0.
Defined = 0,
/// `VIR_STORAGE_POOL_EVENT_UNDEFINED`, since 2.0.0.
Undefined = 1,
/// `VIR_STORAGE_POOL_EVENT_STARTED`, since 2.0.0.
Started = 2,
/// `VIR_STORAGE_POOL_EVENT_STOPPED`, since 2.0.0.
Stopped = 3,
/// `VIR_STORAGE_POOL_EVENT_CREATED`, since 3.8.0.
Created = 4,
/// `VIR_STORAGE_POOL_EVENT_DELETED`, since 3.8.0.
Deleted = 5,
}
}

enumeration! {
/// [`virStoragePoolState`](https://libvirt.org/search.html?q=virStoragePoolState)
StoragePoolState {
/// `VIR_STORAGE_POOL_INACTIVE`, since 0.4.1.
Inactive = 0,
/// `VIR_STORAGE_POOL_BUILDING`, since 0.4.1.
Building = 1,
/// `VIR_STORAGE_POOL_RUNNING`, since 0.4.1.
Running = 2,
/// `VIR_STORAGE_POOL_DEGRADED`, since 0.4.1.
Degraded = 3,
/// `VIR_STORAGE_POOL_INACCESSIBLE`, since 0.8.2.
Inaccessible = 4,
}
}

enumeration! {
/// [`virStorageVolType`](https://libvirt.org/search.html?q=virStorageVolType)
StorageVolType {
/// `VIR_STORAGE_VOL_FILE`, since 0.4.1.
File = 0,
/// `VIR_STORAGE_VOL_BLOCK`, since 0.4.1.
Block = 1,
/// `VIR_STORAGE_VOL_DIR`, since 0.9.5.
Dir = 2,
/// `VIR_STORAGE_VOL_NETWORK`, since 0.9.13.
Network = 3,
/// `VIR_STORAGE_VOL_NETDIR`, since 1.2.0.
Netdir = 4,
/// `VIR_STORAGE_VOL_PLOOP`, since 1.3.4.
Ploop = 5,
}
}

enumeration! {
/// [`virStorageVolWipeAlgorithm`](https://libvirt.org/search.html?q=virStorageVolWipeAlgorithm)
StorageVolWipeAlgorithm {
/// `VIR_STORAGE_VOL_WIPE_ALG_ZERO`, since 0.9.10.
Zero = 0,
/// `VIR_STORAGE_VOL_WIPE_ALG_NNSA`, since 0.9.10.
Nnsa = 1,
/// `VIR_STORAGE_VOL_WIPE_ALG_DOD`, since 0.9.10.
Dod = 2,
/// `VIR_STORAGE_VOL_WIPE_ALG_BSI`, since 0.9.10.
Bsi = 3,
/// `VIR_STORAGE_VOL_WIPE_ALG_GUTMANN`, since 0.9.10.
Gutmann = 4,
/// `VIR_STORAGE_VOL_WIPE_ALG_SCHNEIER`, since 0.9.10.
Schneier = 5,
/// `VIR_STORAGE_VOL_WIPE_ALG_PFITZNER7`, since 0.9.10.
Pfitzner7 = 6,
/// `VIR_STORAGE_VOL_WIPE_ALG_PFITZNER33`, since 0.9.10.
Pfitzner33 = 7,
/// `VIR_STORAGE_VOL_WIPE_ALG_RANDOM`, since 0.9.10.
Random = 8,
/// `VIR_STORAGE_VOL_WIPE_ALG_TRIM`, since 1.3.2.
Trim = 9,
}
}

enumeration! {
/// [`virVcpuHostCpuState`](https://libvirt.org/search.html?q=virVcpuHostCpuState)
VcpuHostCpuState {
/// `VIR_VCPU_INFO_CPU_UNAVAILABLE`, since 6.10.0.
Unavailable = -2,
/// `VIR_VCPU_INFO_CPU_OFFLINE`, since 6.10.0.
Offline = -1,
}
}

enumeration! {
/// [`virVcpuState`](https://libvirt.org/search.html?q=virVcpuState)
VcpuState {
/// `VIR_VCPU_OFFLINE`, since 0.1.4.
Offline = 0,
/// `VIR_VCPU_RUNNING`, since 0.1.4.
Running = 1,
/// `VIR_VCPU_BLOCKED`, since 0.1.4.
Blocked = 2,
}
}

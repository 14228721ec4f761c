// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Contents of events.

use crate::generated::types::{
    Domain, DomainEventGraphicsAddress, DomainEventGraphicsIdentity, Network, NodeDevice, Secret, StoragePool,
};
use crate::generated::{enums, flags};
use crate::params::TypedParam;
use crate::xdr::{List, Text, structure};

structure! {
/// The event `domain_event_lifecycle`, since libvirt 0.5.0.
DomainEventLifecycleMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `event`
event: enums::DomainEventType,
/// `detail`
detail: i32,
}}

structure! {
/// The event `domain_event_reboot`, since libvirt 0.8.0.
DomainEventRebootMsg<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// The event `domain_event_rtc_change`, since libvirt 0.8.0.
DomainEventRtcChangeMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `offset`
offset: i64,
}}

structure! {
/// The event `domain_event_watchdog`, since libvirt 0.8.0.
DomainEventWatchdogMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `action`
action: enums::DomainEventWatchdogAction,
}}

structure! {
/// The event `domain_event_io_error`, since libvirt 0.8.0.
DomainEventIoErrorMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `srcPath`
src_path: Text<'a>,
/// `devAlias`
dev_alias: Text<'a>,
/// `action`
action: enums::DomainEventIoErrorAction,
}}

structure! {
/// The event `domain_event_graphics`, since libvirt 0.8.0.
DomainEventGraphicsMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `phase`
phase: enums::DomainEventGraphicsPhase,
/// `local`
local: DomainEventGraphicsAddress<'a>,
/// `remote`
remote: DomainEventGraphicsAddress<'a>,
/// `authScheme`
auth_scheme: Text<'a>,
/// `subject`
subject: List<'a, DomainEventGraphicsIdentity<'a>, 20>,
}}

structure! {
/// The event `domain_event_io_error_reason`, since libvirt 0.8.1.
DomainEventIoErrorReasonMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `srcPath`
src_path: Text<'a>,
/// `devAlias`
dev_alias: Text<'a>,
/// `action`
action: enums::DomainEventIoErrorAction,
/// `reason`
reason: Text<'a>,
}}

structure! {
/// The event `domain_event_control_error`, since libvirt 0.9.2.
DomainEventControlErrorMsg<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// The event `domain_event_block_job`, since libvirt 0.9.4.
DomainEventBlockJobMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `path`
path: Text<'a>,
/// `type`
kind: enums::DomainBlockJobType,
/// `status`
status: enums::ConnectDomainEventBlockJobStatus,
}}

structure! {
/// The event `domain_event_disk_change`, since libvirt 0.9.7.
DomainEventDiskChangeMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `oldSrcPath`
old_src_path: Option<Text<'a>>,
/// `newSrcPath`
new_src_path: Option<Text<'a>>,
/// `devAlias`
dev_alias: Text<'a>,
/// `reason`
reason: enums::ConnectDomainEventDiskChangeReason,
}}

structure! {
/// The event `domain_event_tray_change`, since libvirt 0.9.11.
DomainEventTrayChangeMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `devAlias`
dev_alias: Text<'a>,
/// `reason`
reason: enums::DomainEventTrayChangeReason,
}}

structure! {
/// The event `domain_event_pmwakeup`, since libvirt 0.9.11.
DomainEventPmwakeupMsg<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// The event `domain_event_pmsuspend`, since libvirt 0.9.11.
DomainEventPmsuspendMsg<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// The event `domain_event_balloon_change`, since libvirt 0.10.0.
DomainEventBalloonChangeMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `actual`
actual: u64,
}}

structure! {
/// The event `domain_event_pmsuspend_disk`, since libvirt 1.0.0.
DomainEventPmsuspendDiskMsg<'a> {
/// `dom`
dom: Domain<'a>,
}}

structure! {
/// The event `domain_event_device_removed`, since libvirt 1.1.1.
DomainEventDeviceRemovedMsg<'a> {
/// `dom`
dom: Domain<'a>,
/// `devAlias`
dev_alias: Text<'a>,
}}

structure! {
/// The event `network_event_lifecycle`, since libvirt 1.2.1.
NetworkEventLifecycleMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `net`
net: Network<'a>,
/// `event`
event: enums::NetworkEventLifecycleType,
/// `detail`
detail: i32,
}}

structure! {
/// The event `domain_event_callback_lifecycle`, since libvirt 1.2.1.
DomainEventCallbackLifecycleMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventLifecycleMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_reboot`, since libvirt 1.2.1.
DomainEventCallbackRebootMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventRebootMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_rtc_change`, since libvirt 1.2.1.
DomainEventCallbackRtcChangeMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventRtcChangeMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_watchdog`, since libvirt 1.2.1.
DomainEventCallbackWatchdogMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventWatchdogMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_io_error`, since libvirt 1.2.1.
DomainEventCallbackIoErrorMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventIoErrorMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_graphics`, since libvirt 1.2.1.
DomainEventCallbackGraphicsMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventGraphicsMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_io_error_reason`, since libvirt 1.2.1.
DomainEventCallbackIoErrorReasonMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventIoErrorReasonMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_control_error`, since libvirt 1.2.1.
DomainEventCallbackControlErrorMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventControlErrorMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_block_job`, since libvirt 1.2.1.
DomainEventCallbackBlockJobMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventBlockJobMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_disk_change`, since libvirt 1.2.1.
DomainEventCallbackDiskChangeMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventDiskChangeMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_tray_change`, since libvirt 1.2.1.
DomainEventCallbackTrayChangeMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventTrayChangeMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_pmwakeup`, since libvirt 1.2.1.
DomainEventCallbackPmwakeupMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `reason`
reason: i32,
/// `msg`
msg: DomainEventPmwakeupMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_pmsuspend`, since libvirt 1.2.1.
DomainEventCallbackPmsuspendMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `reason`
reason: i32,
/// `msg`
msg: DomainEventPmsuspendMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_balloon_change`, since libvirt 1.2.1.
DomainEventCallbackBalloonChangeMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventBalloonChangeMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_pmsuspend_disk`, since libvirt 1.2.1.
DomainEventCallbackPmsuspendDiskMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `reason`
reason: i32,
/// `msg`
msg: DomainEventPmsuspendDiskMsg<'a>,
}}

structure! {
/// The event `domain_event_callback_device_removed`, since libvirt 1.2.1.
DomainEventCallbackDeviceRemovedMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `msg`
msg: DomainEventDeviceRemovedMsg<'a>,
}}

structure! {
/// The event `domain_event_block_job_2`, since libvirt 1.2.6.
DomainEventBlockJob2Msg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `dst`
dst: Text<'a>,
/// `type`
kind: enums::DomainBlockJobType,
/// `status`
status: enums::ConnectDomainEventBlockJobStatus,
}}

structure! {
/// The event `domain_event_callback_tunable`, since libvirt 1.2.9.
DomainEventCallbackTunableMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 2048>,
}}

structure! {
/// The event `domain_event_callback_agent_lifecycle`, since libvirt 1.2.11.
DomainEventCallbackAgentLifecycleMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `state`
state: enums::ConnectDomainEventAgentLifecycleState,
/// `reason`
reason: enums::ConnectDomainEventAgentLifecycleReason,
}}

structure! {
/// The event `domain_event_callback_device_added`, since libvirt 1.2.15.
DomainEventCallbackDeviceAddedMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `devAlias`
dev_alias: Text<'a>,
}}

structure! {
/// The event `domain_event_callback_migration_iteration`, since libvirt 1.3.2.
DomainEventCallbackMigrationIterationMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `iteration`
iteration: i32,
}}

structure! {
/// The event `connect_event_connection_closed`, since libvirt 1.3.2.
ConnectEventConnectionClosedMsg {
/// `reason`
reason: enums::ConnectCloseReason,
}}

structure! {
/// The event `domain_event_callback_job_completed`, since libvirt 1.3.3.
DomainEventCallbackJobCompletedMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `params`
params: List<'a, TypedParam<'a>, 64>,
}}

structure! {
/// The event `domain_event_callback_device_removal_failed`, since libvirt 1.3.4.
DomainEventCallbackDeviceRemovalFailedMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `devAlias`
dev_alias: Text<'a>,
}}

structure! {
/// The event `storage_pool_event_lifecycle`, since libvirt 2.0.0.
StoragePoolEventLifecycleMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `pool`
pool: StoragePool<'a>,
/// `event`
event: enums::StoragePoolEventLifecycleType,
/// `detail`
detail: i32,
}}

structure! {
/// The event `storage_pool_event_refresh`, since libvirt 2.0.0.
StoragePoolEventRefreshMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `pool`
pool: StoragePool<'a>,
}}

structure! {
/// The event `node_device_event_lifecycle`, since libvirt 2.2.0.
NodeDeviceEventLifecycleMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dev`
dev: NodeDevice<'a>,
/// `event`
event: enums::NodeDeviceEventLifecycleType,
/// `detail`
detail: i32,
}}

structure! {
/// The event `node_device_event_update`, since libvirt 2.2.0.
NodeDeviceEventUpdateMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dev`
dev: NodeDevice<'a>,
}}

structure! {
/// The event `domain_event_callback_metadata_change`, since libvirt 3.0.0.
DomainEventCallbackMetadataChangeMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `type`
kind: enums::DomainMetadataType,
/// `nsuri`
nsuri: Option<Text<'a>>,
}}

structure! {
/// The event `secret_event_lifecycle`, since libvirt 3.0.0.
SecretEventLifecycleMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `secret`
secret: Secret<'a>,
/// `event`
event: enums::SecretEventLifecycleType,
/// `detail`
detail: i32,
}}

structure! {
/// The event `secret_event_value_changed`, since libvirt 3.0.0.
SecretEventValueChangedMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `secret`
secret: Secret<'a>,
}}

structure! {
/// The event `domain_event_block_threshold`, since libvirt 3.2.0.
DomainEventBlockThresholdMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `dev`
dev: Text<'a>,
/// `path`
path: Option<Text<'a>>,
/// `threshold`
threshold: u64,
/// `excess`
excess: u64,
}}

structure! {
/// The event `domain_event_memory_failure`, since libvirt 6.9.0.
DomainEventMemoryFailureMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `recipient`
recipient: enums::DomainMemoryFailureRecipientType,
/// `action`
action: enums::DomainMemoryFailureActionType,
/// `flags`
flags: flags::DomainMemoryFailureFlags,
}}

structure! {
/// The event `domain_event_memory_device_size_change`, since libvirt 7.9.0.
DomainEventMemoryDeviceSizeChangeMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `alias`
alias: Text<'a>,
/// `size`
size: u64,
}}

structure! {
/// The event `network_event_callback_metadata_change`, since libvirt 9.8.0.
NetworkEventCallbackMetadataChangeMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `net`
net: Network<'a>,
/// `type`
kind: enums::NetworkMetadataType,
/// `nsuri`
nsuri: Option<Text<'a>>,
}}

structure! {
/// The event `domain_event_nic_mac_change`, since libvirt 11.2.0.
DomainEventNicMacChangeMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `alias`
alias: Text<'a>,
/// `oldMAC`
old_mac: Text<'a>,
/// `newMAC`
new_mac: Text<'a>,
}}

structure! {
/// The event `domain_event_vcpu_removed`, since libvirt 12.4.0.
DomainEventVcpuRemovedMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `vcpuid`
vcpuid: u32,
}}

structure! {
/// The event `domain_event_callback_channel_lifecycle`, since libvirt 12.4.0.
DomainEventCallbackChannelLifecycleMsg<'a> {
/// `callbackID`
callback_id: i32,
/// `dom`
dom: Domain<'a>,
/// `channelName`
channel_name: Text<'a>,
/// `state`
state: i32,
/// `reason`
reason: i32,
}}

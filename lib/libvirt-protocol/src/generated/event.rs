// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! What a daemon sends without being asked.

use super::{qemu, remote};
use crate::procedure::{Program, Release};
use crate::xdr::{self, DecodeError, IntoOwned};

/// An event, whichever message carried it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Since libvirt 1.3.2; `connect_register_close_callback`.
    ConnectionClosed(remote::ConnectEventConnectionClosedMsg),
    /// Since libvirt 1.2.11; `domain VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE`.
    DomainAgentLifecycle(remote::DomainEventCallbackAgentLifecycleMsg<'a>),
    /// Since libvirt 0.10.0; `domain VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE`.
    DomainBalloonChange(remote::DomainEventBalloonChangeMsg<'a>),
    /// Since libvirt 0.9.4; `domain VIR_DOMAIN_EVENT_ID_BLOCK_JOB`.
    DomainBlockJob(remote::DomainEventBlockJobMsg<'a>),
    /// Since libvirt 1.2.6; `domain VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2`.
    DomainBlockJob2(remote::DomainEventBlockJob2Msg<'a>),
    /// Since libvirt 3.2.0; `domain VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD`.
    DomainBlockThreshold(remote::DomainEventBlockThresholdMsg<'a>),
    /// Since libvirt 12.4.0; `domain VIR_DOMAIN_EVENT_ID_CHANNEL_LIFECYCLE`.
    DomainChannelLifecycle(remote::DomainEventCallbackChannelLifecycleMsg<'a>),
    /// Since libvirt 0.9.2; `domain VIR_DOMAIN_EVENT_ID_CONTROL_ERROR`.
    DomainControlError(remote::DomainEventControlErrorMsg<'a>),
    /// Since libvirt 1.2.15; `domain VIR_DOMAIN_EVENT_ID_DEVICE_ADDED`.
    DomainDeviceAdded(remote::DomainEventCallbackDeviceAddedMsg<'a>),
    /// Since libvirt 1.3.4; `domain VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED`.
    DomainDeviceRemovalFailed(remote::DomainEventCallbackDeviceRemovalFailedMsg<'a>),
    /// Since libvirt 1.1.1; `domain VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED`.
    DomainDeviceRemoved(remote::DomainEventDeviceRemovedMsg<'a>),
    /// Since libvirt 0.9.7; `domain VIR_DOMAIN_EVENT_ID_DISK_CHANGE`.
    DomainDiskChange(remote::DomainEventDiskChangeMsg<'a>),
    /// Since libvirt 0.8.0; `domain VIR_DOMAIN_EVENT_ID_GRAPHICS`.
    DomainGraphics(remote::DomainEventGraphicsMsg<'a>),
    /// Since libvirt 0.8.0; `domain VIR_DOMAIN_EVENT_ID_IO_ERROR`.
    DomainIoError(remote::DomainEventIoErrorMsg<'a>),
    /// Since libvirt 0.8.1; `domain VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON`.
    DomainIoErrorReason(remote::DomainEventIoErrorReasonMsg<'a>),
    /// Since libvirt 1.3.3; `domain VIR_DOMAIN_EVENT_ID_JOB_COMPLETED`.
    DomainJobCompleted(remote::DomainEventCallbackJobCompletedMsg<'a>),
    /// Since libvirt 0.5.0; `domain VIR_DOMAIN_EVENT_ID_LIFECYCLE`.
    DomainLifecycle(remote::DomainEventLifecycleMsg<'a>),
    /// Since libvirt 7.9.0; `domain VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE`.
    DomainMemoryDeviceSizeChange(remote::DomainEventMemoryDeviceSizeChangeMsg<'a>),
    /// Since libvirt 6.9.0; `domain VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE`.
    DomainMemoryFailure(remote::DomainEventMemoryFailureMsg<'a>),
    /// Since libvirt 3.0.0; `domain VIR_DOMAIN_EVENT_ID_METADATA_CHANGE`.
    DomainMetadataChange(remote::DomainEventCallbackMetadataChangeMsg<'a>),
    /// Since libvirt 1.3.2; `domain VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION`.
    DomainMigrationIteration(remote::DomainEventCallbackMigrationIterationMsg<'a>),
    /// Since libvirt 11.2.0; `domain VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE`.
    DomainNicMacChange(remote::DomainEventNicMacChangeMsg<'a>),
    /// Since libvirt 0.9.11; `domain VIR_DOMAIN_EVENT_ID_PMSUSPEND`.
    DomainPmsuspend(remote::DomainEventCallbackPmsuspendMsg<'a>),
    /// Since libvirt 1.0.0; `domain VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK`.
    DomainPmsuspendDisk(remote::DomainEventCallbackPmsuspendDiskMsg<'a>),
    /// Since libvirt 0.9.11; `domain VIR_DOMAIN_EVENT_ID_PMWAKEUP`.
    DomainPmwakeup(remote::DomainEventCallbackPmwakeupMsg<'a>),
    /// Since libvirt 0.8.0; `domain VIR_DOMAIN_EVENT_ID_REBOOT`.
    DomainReboot(remote::DomainEventRebootMsg<'a>),
    /// Since libvirt 0.8.0; `domain VIR_DOMAIN_EVENT_ID_RTC_CHANGE`.
    DomainRtcChange(remote::DomainEventRtcChangeMsg<'a>),
    /// Since libvirt 0.9.11; `domain VIR_DOMAIN_EVENT_ID_TRAY_CHANGE`.
    DomainTrayChange(remote::DomainEventTrayChangeMsg<'a>),
    /// Since libvirt 1.2.9; `domain VIR_DOMAIN_EVENT_ID_TUNABLE`.
    DomainTunable(remote::DomainEventCallbackTunableMsg<'a>),
    /// Since libvirt 12.4.0; `domain VIR_DOMAIN_EVENT_ID_VCPU_REMOVED`.
    DomainVcpuRemoved(remote::DomainEventVcpuRemovedMsg<'a>),
    /// Since libvirt 0.8.0; `domain VIR_DOMAIN_EVENT_ID_WATCHDOG`.
    DomainWatchdog(remote::DomainEventWatchdogMsg<'a>),
    /// Since libvirt 1.2.1; `network VIR_NETWORK_EVENT_ID_LIFECYCLE`.
    NetworkLifecycle(remote::NetworkEventLifecycleMsg<'a>),
    /// Since libvirt 9.8.0; `network VIR_NETWORK_EVENT_ID_METADATA_CHANGE`.
    NetworkMetadataChange(remote::NetworkEventCallbackMetadataChangeMsg<'a>),
    /// Since libvirt 2.2.0; `node_device VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE`.
    NodeDeviceLifecycle(remote::NodeDeviceEventLifecycleMsg<'a>),
    /// Since libvirt 2.2.0; `node_device VIR_NODE_DEVICE_EVENT_ID_UPDATE`.
    NodeDeviceUpdate(remote::NodeDeviceEventUpdateMsg<'a>),
    /// Since libvirt 1.2.3; `connect_domain_monitor_event_register`.
    QemuMonitor(qemu::DomainMonitorEventMsg<'a>),
    /// Since libvirt 3.0.0; `secret VIR_SECRET_EVENT_ID_LIFECYCLE`.
    SecretLifecycle(remote::SecretEventLifecycleMsg<'a>),
    /// Since libvirt 3.0.0; `secret VIR_SECRET_EVENT_ID_VALUE_CHANGED`.
    SecretValueChanged(remote::SecretEventValueChangedMsg<'a>),
    /// Since libvirt 2.0.0; `storage_pool VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE`.
    StoragePoolLifecycle(remote::StoragePoolEventLifecycleMsg<'a>),
    /// Since libvirt 2.0.0; `storage_pool VIR_STORAGE_POOL_EVENT_ID_REFRESH`.
    StoragePoolRefresh(remote::StoragePoolEventRefreshMsg<'a>),
}

impl Event<'_> {
    /// The same event, held by itself.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::ConnectionClosed(body) => Event::ConnectionClosed(body.into_owned()),
            Self::DomainAgentLifecycle(body) => Event::DomainAgentLifecycle(body.into_owned()),
            Self::DomainBalloonChange(body) => Event::DomainBalloonChange(body.into_owned()),
            Self::DomainBlockJob(body) => Event::DomainBlockJob(body.into_owned()),
            Self::DomainBlockJob2(body) => Event::DomainBlockJob2(body.into_owned()),
            Self::DomainBlockThreshold(body) => Event::DomainBlockThreshold(body.into_owned()),
            Self::DomainChannelLifecycle(body) => Event::DomainChannelLifecycle(body.into_owned()),
            Self::DomainControlError(body) => Event::DomainControlError(body.into_owned()),
            Self::DomainDeviceAdded(body) => Event::DomainDeviceAdded(body.into_owned()),
            Self::DomainDeviceRemovalFailed(body) => Event::DomainDeviceRemovalFailed(body.into_owned()),
            Self::DomainDeviceRemoved(body) => Event::DomainDeviceRemoved(body.into_owned()),
            Self::DomainDiskChange(body) => Event::DomainDiskChange(body.into_owned()),
            Self::DomainGraphics(body) => Event::DomainGraphics(body.into_owned()),
            Self::DomainIoError(body) => Event::DomainIoError(body.into_owned()),
            Self::DomainIoErrorReason(body) => Event::DomainIoErrorReason(body.into_owned()),
            Self::DomainJobCompleted(body) => Event::DomainJobCompleted(body.into_owned()),
            Self::DomainLifecycle(body) => Event::DomainLifecycle(body.into_owned()),
            Self::DomainMemoryDeviceSizeChange(body) => {
                Event::DomainMemoryDeviceSizeChange(body.into_owned())
            }
            Self::DomainMemoryFailure(body) => Event::DomainMemoryFailure(body.into_owned()),
            Self::DomainMetadataChange(body) => Event::DomainMetadataChange(body.into_owned()),
            Self::DomainMigrationIteration(body) => Event::DomainMigrationIteration(body.into_owned()),
            Self::DomainNicMacChange(body) => Event::DomainNicMacChange(body.into_owned()),
            Self::DomainPmsuspend(body) => Event::DomainPmsuspend(body.into_owned()),
            Self::DomainPmsuspendDisk(body) => Event::DomainPmsuspendDisk(body.into_owned()),
            Self::DomainPmwakeup(body) => Event::DomainPmwakeup(body.into_owned()),
            Self::DomainReboot(body) => Event::DomainReboot(body.into_owned()),
            Self::DomainRtcChange(body) => Event::DomainRtcChange(body.into_owned()),
            Self::DomainTrayChange(body) => Event::DomainTrayChange(body.into_owned()),
            Self::DomainTunable(body) => Event::DomainTunable(body.into_owned()),
            Self::DomainVcpuRemoved(body) => Event::DomainVcpuRemoved(body.into_owned()),
            Self::DomainWatchdog(body) => Event::DomainWatchdog(body.into_owned()),
            Self::NetworkLifecycle(body) => Event::NetworkLifecycle(body.into_owned()),
            Self::NetworkMetadataChange(body) => Event::NetworkMetadataChange(body.into_owned()),
            Self::NodeDeviceLifecycle(body) => Event::NodeDeviceLifecycle(body.into_owned()),
            Self::NodeDeviceUpdate(body) => Event::NodeDeviceUpdate(body.into_owned()),
            Self::QemuMonitor(body) => Event::QemuMonitor(body.into_owned()),
            Self::SecretLifecycle(body) => Event::SecretLifecycle(body.into_owned()),
            Self::SecretValueChanged(body) => Event::SecretValueChanged(body.into_owned()),
            Self::StoragePoolLifecycle(body) => Event::StoragePoolLifecycle(body.into_owned()),
            Self::StoragePoolRefresh(body) => Event::StoragePoolRefresh(body.into_owned()),
        }
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::ConnectionClosed(_) => Kind::ConnectionClosed,
            Self::DomainAgentLifecycle(_) => Kind::DomainAgentLifecycle,
            Self::DomainBalloonChange(_) => Kind::DomainBalloonChange,
            Self::DomainBlockJob(_) => Kind::DomainBlockJob,
            Self::DomainBlockJob2(_) => Kind::DomainBlockJob2,
            Self::DomainBlockThreshold(_) => Kind::DomainBlockThreshold,
            Self::DomainChannelLifecycle(_) => Kind::DomainChannelLifecycle,
            Self::DomainControlError(_) => Kind::DomainControlError,
            Self::DomainDeviceAdded(_) => Kind::DomainDeviceAdded,
            Self::DomainDeviceRemovalFailed(_) => Kind::DomainDeviceRemovalFailed,
            Self::DomainDeviceRemoved(_) => Kind::DomainDeviceRemoved,
            Self::DomainDiskChange(_) => Kind::DomainDiskChange,
            Self::DomainGraphics(_) => Kind::DomainGraphics,
            Self::DomainIoError(_) => Kind::DomainIoError,
            Self::DomainIoErrorReason(_) => Kind::DomainIoErrorReason,
            Self::DomainJobCompleted(_) => Kind::DomainJobCompleted,
            Self::DomainLifecycle(_) => Kind::DomainLifecycle,
            Self::DomainMemoryDeviceSizeChange(_) => Kind::DomainMemoryDeviceSizeChange,
            Self::DomainMemoryFailure(_) => Kind::DomainMemoryFailure,
            Self::DomainMetadataChange(_) => Kind::DomainMetadataChange,
            Self::DomainMigrationIteration(_) => Kind::DomainMigrationIteration,
            Self::DomainNicMacChange(_) => Kind::DomainNicMacChange,
            Self::DomainPmsuspend(_) => Kind::DomainPmsuspend,
            Self::DomainPmsuspendDisk(_) => Kind::DomainPmsuspendDisk,
            Self::DomainPmwakeup(_) => Kind::DomainPmwakeup,
            Self::DomainReboot(_) => Kind::DomainReboot,
            Self::DomainRtcChange(_) => Kind::DomainRtcChange,
            Self::DomainTrayChange(_) => Kind::DomainTrayChange,
            Self::DomainTunable(_) => Kind::DomainTunable,
            Self::DomainVcpuRemoved(_) => Kind::DomainVcpuRemoved,
            Self::DomainWatchdog(_) => Kind::DomainWatchdog,
            Self::NetworkLifecycle(_) => Kind::NetworkLifecycle,
            Self::NetworkMetadataChange(_) => Kind::NetworkMetadataChange,
            Self::NodeDeviceLifecycle(_) => Kind::NodeDeviceLifecycle,
            Self::NodeDeviceUpdate(_) => Kind::NodeDeviceUpdate,
            Self::QemuMonitor(_) => Kind::QemuMonitor,
            Self::SecretLifecycle(_) => Kind::SecretLifecycle,
            Self::SecretValueChanged(_) => Kind::SecretValueChanged,
            Self::StoragePoolLifecycle(_) => Kind::StoragePoolLifecycle,
            Self::StoragePoolRefresh(_) => Kind::StoragePoolRefresh,
        }
    }
}

/// Which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// [`Event::ConnectionClosed`]
    ConnectionClosed,
    /// [`Event::DomainAgentLifecycle`]
    DomainAgentLifecycle,
    /// [`Event::DomainBalloonChange`]
    DomainBalloonChange,
    /// [`Event::DomainBlockJob`]
    DomainBlockJob,
    /// [`Event::DomainBlockJob2`]
    DomainBlockJob2,
    /// [`Event::DomainBlockThreshold`]
    DomainBlockThreshold,
    /// [`Event::DomainChannelLifecycle`]
    DomainChannelLifecycle,
    /// [`Event::DomainControlError`]
    DomainControlError,
    /// [`Event::DomainDeviceAdded`]
    DomainDeviceAdded,
    /// [`Event::DomainDeviceRemovalFailed`]
    DomainDeviceRemovalFailed,
    /// [`Event::DomainDeviceRemoved`]
    DomainDeviceRemoved,
    /// [`Event::DomainDiskChange`]
    DomainDiskChange,
    /// [`Event::DomainGraphics`]
    DomainGraphics,
    /// [`Event::DomainIoError`]
    DomainIoError,
    /// [`Event::DomainIoErrorReason`]
    DomainIoErrorReason,
    /// [`Event::DomainJobCompleted`]
    DomainJobCompleted,
    /// [`Event::DomainLifecycle`]
    DomainLifecycle,
    /// [`Event::DomainMemoryDeviceSizeChange`]
    DomainMemoryDeviceSizeChange,
    /// [`Event::DomainMemoryFailure`]
    DomainMemoryFailure,
    /// [`Event::DomainMetadataChange`]
    DomainMetadataChange,
    /// [`Event::DomainMigrationIteration`]
    DomainMigrationIteration,
    /// [`Event::DomainNicMacChange`]
    DomainNicMacChange,
    /// [`Event::DomainPmsuspend`]
    DomainPmsuspend,
    /// [`Event::DomainPmsuspendDisk`]
    DomainPmsuspendDisk,
    /// [`Event::DomainPmwakeup`]
    DomainPmwakeup,
    /// [`Event::DomainReboot`]
    DomainReboot,
    /// [`Event::DomainRtcChange`]
    DomainRtcChange,
    /// [`Event::DomainTrayChange`]
    DomainTrayChange,
    /// [`Event::DomainTunable`]
    DomainTunable,
    /// [`Event::DomainVcpuRemoved`]
    DomainVcpuRemoved,
    /// [`Event::DomainWatchdog`]
    DomainWatchdog,
    /// [`Event::NetworkLifecycle`]
    NetworkLifecycle,
    /// [`Event::NetworkMetadataChange`]
    NetworkMetadataChange,
    /// [`Event::NodeDeviceLifecycle`]
    NodeDeviceLifecycle,
    /// [`Event::NodeDeviceUpdate`]
    NodeDeviceUpdate,
    /// [`Event::QemuMonitor`]
    QemuMonitor,
    /// [`Event::SecretLifecycle`]
    SecretLifecycle,
    /// [`Event::SecretValueChanged`]
    SecretValueChanged,
    /// [`Event::StoragePoolLifecycle`]
    StoragePoolLifecycle,
    /// [`Event::StoragePoolRefresh`]
    StoragePoolRefresh,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 40] = [
        Self::ConnectionClosed,
        Self::DomainAgentLifecycle,
        Self::DomainBalloonChange,
        Self::DomainBlockJob,
        Self::DomainBlockJob2,
        Self::DomainBlockThreshold,
        Self::DomainChannelLifecycle,
        Self::DomainControlError,
        Self::DomainDeviceAdded,
        Self::DomainDeviceRemovalFailed,
        Self::DomainDeviceRemoved,
        Self::DomainDiskChange,
        Self::DomainGraphics,
        Self::DomainIoError,
        Self::DomainIoErrorReason,
        Self::DomainJobCompleted,
        Self::DomainLifecycle,
        Self::DomainMemoryDeviceSizeChange,
        Self::DomainMemoryFailure,
        Self::DomainMetadataChange,
        Self::DomainMigrationIteration,
        Self::DomainNicMacChange,
        Self::DomainPmsuspend,
        Self::DomainPmsuspendDisk,
        Self::DomainPmwakeup,
        Self::DomainReboot,
        Self::DomainRtcChange,
        Self::DomainTrayChange,
        Self::DomainTunable,
        Self::DomainVcpuRemoved,
        Self::DomainWatchdog,
        Self::NetworkLifecycle,
        Self::NetworkMetadataChange,
        Self::NodeDeviceLifecycle,
        Self::NodeDeviceUpdate,
        Self::QemuMonitor,
        Self::SecretLifecycle,
        Self::SecretValueChanged,
        Self::StoragePoolLifecycle,
        Self::StoragePoolRefresh,
    ];

    /// What subscribes to it.
    #[must_use]
    pub const fn subscription(self) -> Subscription {
        match self {
            Self::ConnectionClosed => Subscription::Close,
            Self::DomainAgentLifecycle => Subscription::Domain(18),
            Self::DomainBalloonChange => Subscription::Domain(13),
            Self::DomainBlockJob => Subscription::Domain(8),
            Self::DomainBlockJob2 => Subscription::Domain(16),
            Self::DomainBlockThreshold => Subscription::Domain(24),
            Self::DomainChannelLifecycle => Subscription::Domain(29),
            Self::DomainControlError => Subscription::Domain(7),
            Self::DomainDeviceAdded => Subscription::Domain(19),
            Self::DomainDeviceRemovalFailed => Subscription::Domain(22),
            Self::DomainDeviceRemoved => Subscription::Domain(15),
            Self::DomainDiskChange => Subscription::Domain(9),
            Self::DomainGraphics => Subscription::Domain(5),
            Self::DomainIoError => Subscription::Domain(4),
            Self::DomainIoErrorReason => Subscription::Domain(6),
            Self::DomainJobCompleted => Subscription::Domain(21),
            Self::DomainLifecycle => Subscription::Domain(0),
            Self::DomainMemoryDeviceSizeChange => Subscription::Domain(26),
            Self::DomainMemoryFailure => Subscription::Domain(25),
            Self::DomainMetadataChange => Subscription::Domain(23),
            Self::DomainMigrationIteration => Subscription::Domain(20),
            Self::DomainNicMacChange => Subscription::Domain(27),
            Self::DomainPmsuspend => Subscription::Domain(12),
            Self::DomainPmsuspendDisk => Subscription::Domain(14),
            Self::DomainPmwakeup => Subscription::Domain(11),
            Self::DomainReboot => Subscription::Domain(1),
            Self::DomainRtcChange => Subscription::Domain(2),
            Self::DomainTrayChange => Subscription::Domain(10),
            Self::DomainTunable => Subscription::Domain(17),
            Self::DomainVcpuRemoved => Subscription::Domain(28),
            Self::DomainWatchdog => Subscription::Domain(3),
            Self::NetworkLifecycle => Subscription::Network(0),
            Self::NetworkMetadataChange => Subscription::Network(1),
            Self::NodeDeviceLifecycle => Subscription::NodeDevice(0),
            Self::NodeDeviceUpdate => Subscription::NodeDevice(1),
            Self::QemuMonitor => Subscription::QemuMonitor,
            Self::SecretLifecycle => Subscription::Secret(0),
            Self::SecretValueChanged => Subscription::Secret(1),
            Self::StoragePoolLifecycle => Subscription::StoragePool(0),
            Self::StoragePoolRefresh => Subscription::StoragePool(1),
        }
    }

    /// The release that brought it.
    #[must_use]
    pub const fn since(self) -> Release {
        match self {
            Self::ConnectionClosed => Release(1, 3, 2),
            Self::DomainAgentLifecycle => Release(1, 2, 11),
            Self::DomainBalloonChange => Release(0, 10, 0),
            Self::DomainBlockJob => Release(0, 9, 4),
            Self::DomainBlockJob2 => Release(1, 2, 6),
            Self::DomainBlockThreshold => Release(3, 2, 0),
            Self::DomainChannelLifecycle => Release(12, 4, 0),
            Self::DomainControlError => Release(0, 9, 2),
            Self::DomainDeviceAdded => Release(1, 2, 15),
            Self::DomainDeviceRemovalFailed => Release(1, 3, 4),
            Self::DomainDeviceRemoved => Release(1, 1, 1),
            Self::DomainDiskChange => Release(0, 9, 7),
            Self::DomainGraphics => Release(0, 8, 0),
            Self::DomainIoError => Release(0, 8, 0),
            Self::DomainIoErrorReason => Release(0, 8, 1),
            Self::DomainJobCompleted => Release(1, 3, 3),
            Self::DomainLifecycle => Release(0, 5, 0),
            Self::DomainMemoryDeviceSizeChange => Release(7, 9, 0),
            Self::DomainMemoryFailure => Release(6, 9, 0),
            Self::DomainMetadataChange => Release(3, 0, 0),
            Self::DomainMigrationIteration => Release(1, 3, 2),
            Self::DomainNicMacChange => Release(11, 2, 0),
            Self::DomainPmsuspend => Release(0, 9, 11),
            Self::DomainPmsuspendDisk => Release(1, 0, 0),
            Self::DomainPmwakeup => Release(0, 9, 11),
            Self::DomainReboot => Release(0, 8, 0),
            Self::DomainRtcChange => Release(0, 8, 0),
            Self::DomainTrayChange => Release(0, 9, 11),
            Self::DomainTunable => Release(1, 2, 9),
            Self::DomainVcpuRemoved => Release(12, 4, 0),
            Self::DomainWatchdog => Release(0, 8, 0),
            Self::NetworkLifecycle => Release(1, 2, 1),
            Self::NetworkMetadataChange => Release(9, 8, 0),
            Self::NodeDeviceLifecycle => Release(2, 2, 0),
            Self::NodeDeviceUpdate => Release(2, 2, 0),
            Self::QemuMonitor => Release(1, 2, 3),
            Self::SecretLifecycle => Release(3, 0, 0),
            Self::SecretValueChanged => Release(3, 0, 0),
            Self::StoragePoolLifecycle => Release(2, 0, 0),
            Self::StoragePoolRefresh => Release(2, 0, 0),
        }
    }
}

/// What subscribes to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subscription {
    /// A domain event with this id (`virDomainEventID`).
    Domain(i32),
    /// A network event (`virNetworkEventID`).
    Network(i32),
    /// A storage pool event (`virStoragePoolEventID`).
    StoragePool(i32),
    /// A node device event (`virNodeDeviceEventID`).
    NodeDevice(i32),
    /// A secret event (`virSecretEventID`).
    Secret(i32),
    /// The callback for the end of the daemon's own connection.
    Close,
    /// QEMU's monitor events.
    QemuMonitor,
}

/// A message that carried an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// The number of the subscription that it belongs to; `None` in messages of daemons older than 1.2.1.
    pub callback_id: Option<i32>,
    /// The event.
    pub event: Event<'a>,
}

/// Decodes an event. `None` when the message is none that this library knows: a newer daemon's, to be passed over.
///
/// # Errors
/// When the content is not what the message has.
pub fn decode(program: Program, procedure: i32, payload: &[u8]) -> Option<Result<Message<'_>, DecodeError>> {
    Some(match (program, procedure) {
        (Program::Remote, 362) => xdr::decode::<remote::ConnectEventConnectionClosedMsg>(payload)
            .map(|m| Message { callback_id: None, event: Event::ConnectionClosed(m) }),
        (Program::Remote, 348) => xdr::decode::<remote::DomainEventCallbackAgentLifecycleMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainAgentLifecycle(m) }),
        (Program::Remote, 276) => xdr::decode::<remote::DomainEventBalloonChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainBalloonChange(m) }),
        (Program::Remote, 331) => xdr::decode::<remote::DomainEventCallbackBalloonChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainBalloonChange(m.msg) }),
        (Program::Remote, 241) => xdr::decode::<remote::DomainEventBlockJobMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainBlockJob(m) }),
        (Program::Remote, 326) => xdr::decode::<remote::DomainEventCallbackBlockJobMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainBlockJob(m.msg) }),
        (Program::Remote, 339) => xdr::decode::<remote::DomainEventBlockJob2Msg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainBlockJob2(m) }),
        (Program::Remote, 385) => xdr::decode::<remote::DomainEventBlockThresholdMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainBlockThreshold(m) }),
        (Program::Remote, 455) => xdr::decode::<remote::DomainEventCallbackChannelLifecycleMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainChannelLifecycle(m) }),
        (Program::Remote, 224) => xdr::decode::<remote::DomainEventControlErrorMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainControlError(m) }),
        (Program::Remote, 325) => xdr::decode::<remote::DomainEventCallbackControlErrorMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainControlError(m.msg) }),
        (Program::Remote, 354) => xdr::decode::<remote::DomainEventCallbackDeviceAddedMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainDeviceAdded(m) }),
        (Program::Remote, 367) => {
            xdr::decode::<remote::DomainEventCallbackDeviceRemovalFailedMsg<'_>>(payload).map(|m| Message {
                callback_id: Some(m.callback_id),
                event: Event::DomainDeviceRemovalFailed(m),
            })
        }
        (Program::Remote, 311) => xdr::decode::<remote::DomainEventDeviceRemovedMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainDeviceRemoved(m) }),
        (Program::Remote, 333) => xdr::decode::<remote::DomainEventCallbackDeviceRemovedMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainDeviceRemoved(m.msg) }),
        (Program::Remote, 248) => xdr::decode::<remote::DomainEventDiskChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainDiskChange(m) }),
        (Program::Remote, 327) => xdr::decode::<remote::DomainEventCallbackDiskChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainDiskChange(m.msg) }),
        (Program::Remote, 173) => xdr::decode::<remote::DomainEventGraphicsMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainGraphics(m) }),
        (Program::Remote, 323) => xdr::decode::<remote::DomainEventCallbackGraphicsMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainGraphics(m.msg) }),
        (Program::Remote, 172) => xdr::decode::<remote::DomainEventIoErrorMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainIoError(m) }),
        (Program::Remote, 322) => xdr::decode::<remote::DomainEventCallbackIoErrorMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainIoError(m.msg) }),
        (Program::Remote, 195) => xdr::decode::<remote::DomainEventIoErrorReasonMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainIoErrorReason(m) }),
        (Program::Remote, 324) => xdr::decode::<remote::DomainEventCallbackIoErrorReasonMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainIoErrorReason(m.msg) }),
        (Program::Remote, 363) => xdr::decode::<remote::DomainEventCallbackJobCompletedMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainJobCompleted(m) }),
        (Program::Remote, 107) => xdr::decode::<remote::DomainEventLifecycleMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainLifecycle(m) }),
        (Program::Remote, 318) => xdr::decode::<remote::DomainEventCallbackLifecycleMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainLifecycle(m.msg) }),
        (Program::Remote, 438) => xdr::decode::<remote::DomainEventMemoryDeviceSizeChangeMsg<'_>>(payload)
            .map(|m| Message {
                callback_id: Some(m.callback_id),
                event: Event::DomainMemoryDeviceSizeChange(m),
            }),
        (Program::Remote, 423) => xdr::decode::<remote::DomainEventMemoryFailureMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainMemoryFailure(m) }),
        (Program::Remote, 379) => xdr::decode::<remote::DomainEventCallbackMetadataChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainMetadataChange(m) }),
        (Program::Remote, 359) => {
            xdr::decode::<remote::DomainEventCallbackMigrationIterationMsg<'_>>(payload).map(|m| Message {
                callback_id: Some(m.callback_id),
                event: Event::DomainMigrationIteration(m),
            })
        }
        (Program::Remote, 453) => xdr::decode::<remote::DomainEventNicMacChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainNicMacChange(m) }),
        (Program::Remote, 270) => {
            xdr::decode::<remote::DomainEventPmsuspendMsg<'_>>(payload).map(|msg| Message {
                callback_id: None,
                event: Event::DomainPmsuspend(remote::DomainEventCallbackPmsuspendMsg {
                    msg,
                    ..Default::default()
                }),
            })
        }
        (Program::Remote, 330) => xdr::decode::<remote::DomainEventCallbackPmsuspendMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainPmsuspend(m) }),
        (Program::Remote, 292) => {
            xdr::decode::<remote::DomainEventPmsuspendDiskMsg<'_>>(payload).map(|msg| Message {
                callback_id: None,
                event: Event::DomainPmsuspendDisk(remote::DomainEventCallbackPmsuspendDiskMsg {
                    msg,
                    ..Default::default()
                }),
            })
        }
        (Program::Remote, 332) => xdr::decode::<remote::DomainEventCallbackPmsuspendDiskMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainPmsuspendDisk(m) }),
        (Program::Remote, 269) => {
            xdr::decode::<remote::DomainEventPmwakeupMsg<'_>>(payload).map(|msg| Message {
                callback_id: None,
                event: Event::DomainPmwakeup(remote::DomainEventCallbackPmwakeupMsg {
                    msg,
                    ..Default::default()
                }),
            })
        }
        (Program::Remote, 329) => xdr::decode::<remote::DomainEventCallbackPmwakeupMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainPmwakeup(m) }),
        (Program::Remote, 169) => xdr::decode::<remote::DomainEventRebootMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainReboot(m) }),
        (Program::Remote, 319) => xdr::decode::<remote::DomainEventCallbackRebootMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainReboot(m.msg) }),
        (Program::Remote, 170) => xdr::decode::<remote::DomainEventRtcChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainRtcChange(m) }),
        (Program::Remote, 320) => xdr::decode::<remote::DomainEventCallbackRtcChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainRtcChange(m.msg) }),
        (Program::Remote, 268) => xdr::decode::<remote::DomainEventTrayChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainTrayChange(m) }),
        (Program::Remote, 328) => xdr::decode::<remote::DomainEventCallbackTrayChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainTrayChange(m.msg) }),
        (Program::Remote, 346) => xdr::decode::<remote::DomainEventCallbackTunableMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainTunable(m) }),
        (Program::Remote, 454) => xdr::decode::<remote::DomainEventVcpuRemovedMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainVcpuRemoved(m) }),
        (Program::Remote, 171) => xdr::decode::<remote::DomainEventWatchdogMsg<'_>>(payload)
            .map(|m| Message { callback_id: None, event: Event::DomainWatchdog(m) }),
        (Program::Remote, 321) => xdr::decode::<remote::DomainEventCallbackWatchdogMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::DomainWatchdog(m.msg) }),
        (Program::Remote, 315) => xdr::decode::<remote::NetworkEventLifecycleMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::NetworkLifecycle(m) }),
        (Program::Remote, 446) => xdr::decode::<remote::NetworkEventCallbackMetadataChangeMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::NetworkMetadataChange(m) }),
        (Program::Remote, 376) => xdr::decode::<remote::NodeDeviceEventLifecycleMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::NodeDeviceLifecycle(m) }),
        (Program::Remote, 377) => xdr::decode::<remote::NodeDeviceEventUpdateMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::NodeDeviceUpdate(m) }),
        (Program::Qemu, 6) => xdr::decode::<qemu::DomainMonitorEventMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::QemuMonitor(m) }),
        (Program::Remote, 382) => xdr::decode::<remote::SecretEventLifecycleMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::SecretLifecycle(m) }),
        (Program::Remote, 383) => xdr::decode::<remote::SecretEventValueChangedMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::SecretValueChanged(m) }),
        (Program::Remote, 370) => xdr::decode::<remote::StoragePoolEventLifecycleMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::StoragePoolLifecycle(m) }),
        (Program::Remote, 373) => xdr::decode::<remote::StoragePoolEventRefreshMsg<'_>>(payload)
            .map(|m| Message { callback_id: Some(m.callback_id), event: Event::StoragePoolRefresh(m) }),
        _ => return None,
    })
}

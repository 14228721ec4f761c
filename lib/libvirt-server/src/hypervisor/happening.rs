//! What happens in a domain by itself: nothing does in memory, so a test says so, and those who subscribed hear of it as of any other
//! event, each in the form that it subscribed to.

use super::events::{Object, Topic};
use super::{Hypervisor, domain};
use libvirt_protocol::enums::{
    ConnectCloseReason, ConnectDomainEventAgentLifecycleReason, ConnectDomainEventAgentLifecycleState,
    ConnectDomainEventDiskChangeReason, DomainEventGraphicsPhase, DomainEventId as Id,
    DomainEventIoErrorAction, DomainEventTrayChangeReason, DomainEventWatchdogAction,
    DomainMemoryFailureActionType, DomainMemoryFailureRecipientType, DomainPausedReason, DomainState,
};
use libvirt_protocol::flags::DomainMemoryFailureFlags;
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::xdr::{self, LimitError};
use libvirt_protocol::{remote, types};

/// What a guest does, or what happens to it (`virDomainEventID`).
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The guest sets its hardware clock: seconds from the host's time.
    RtcChange(i64),
    /// The guest's watchdog fires, and this is done about it.
    Watchdog(DomainEventWatchdogAction),
    /// A disk fails: what it is, what it is called, what is done about it, why.
    IoError {
        /// Its file.
        path: String,
        /// Its name.
        alias: String,
        /// What is done: under `Pause` the domain waits.
        action: DomainEventIoErrorAction,
        /// Why, as `enospc`.
        reason: String,
    },
    /// Somebody looks at a screen, in this phase of coming or going.
    Graphics(DomainEventGraphicsPhase),
    /// The monitor does not answer.
    ControlError,
    /// The medium of a drive was not there when the domain was started: its file, its name.
    DiskChange {
        /// What was to be there.
        path: String,
        /// The drive.
        alias: String,
    },
    /// The agent in the guest comes or goes.
    AgentLifecycle(ConnectDomainEventAgentLifecycleState),
    /// The guest does not let go of a device.
    DeviceRemovalFailed(String),
    /// More than a threshold was written to a disk: its name, the threshold, how much more. The threshold is gone.
    BlockThreshold {
        /// The disk.
        device: String,
        /// Bytes more than the threshold.
        excess: u64,
    },
    /// Memory of the host that the guest has is broken.
    MemoryFailure(DomainMemoryFailureActionType),
    /// A device of memory has another size: its name, bytes.
    MemoryDeviceSizeChange(String, u64),
    /// The guest gives a card another address: its name, the old one, the new one.
    NicMacChange(String, String, String),
    /// A program in the guest opens a channel, or closes it: its name, 1 or 2 (`virConnectDomainEventChannelLifecycleState`).
    ChannelLifecycle(String, i32),
    /// A migration sends what has changed once more.
    MigrationIteration(i32),
}

/// One event in both forms.
struct Told<'a> {
    id: Id,
    names: (&'static str, &'static str),
    message: &'a dyn Fn(Option<i32>) -> Result<Vec<u8>, LimitError>,
}

impl Hypervisor {
    fn tell_of(&mut self, dom: &types::Domain<'static>, told: &Told<'_>) {
        self.tell_both(Topic::Domain(told.id), &Object::Uuid(dom.uuid), told.names, told.message);
    }

    /// Something happens in a domain that runs, known by its name. Of one that does not nobody hears anything.
    pub fn happen(&mut self, domain: &str, what: Happening) {
        let found = self.domains.values().find(|known| known.config.name == domain && known.is_active());
        let Some(dom) = found.map(domain::Domain::wire) else { return };
        let with = |id: Option<i32>| id.unwrap_or_default();
        macro_rules! both {
            ($id:ident, $new:literal, $old:literal, $with:ident, $msg:expr) => {{
                let msg = $msg;
                let message = |id: Option<i32>| match id {
                    Some(callback_id) => xdr::encode(&remote::$with { callback_id, msg: msg.clone() }),
                    None => xdr::encode(&msg),
                };
                self.tell_of(&dom, &Told { id: Id::$id, names: ($new, $old), message: &message });
            }};
        }
        macro_rules! new {
            ($id:ident, $new:literal, $msg:ident { $($field:ident: $value:expr),* $(,)? }) => {{
                let message = |id: Option<i32>| {
                    xdr::encode(&remote::$msg { callback_id: with(id), dom: dom.clone(), $($field: $value),* })
                };
                self.tell_of(&dom, &Told { id: Id::$id, names: ($new, ""), message: &message });
            }};
        }
        match what {
            Happening::RtcChange(offset) => both!(
                RtcChange,
                "domain_event_callback_rtc_change",
                "domain_event_rtc_change",
                DomainEventCallbackRtcChangeMsg,
                remote::DomainEventRtcChangeMsg { dom: dom.clone(), offset }
            ),
            Happening::Watchdog(action) => {
                if action == DomainEventWatchdogAction::Pause {
                    self.halt(&dom, DomainPausedReason::Watchdog);
                }
                both!(
                    Watchdog,
                    "domain_event_callback_watchdog",
                    "domain_event_watchdog",
                    DomainEventCallbackWatchdogMsg,
                    remote::DomainEventWatchdogMsg { dom: dom.clone(), action }
                );
            }
            Happening::IoError { path, alias, action, reason } => {
                if action == DomainEventIoErrorAction::Pause {
                    self.halt(&dom, DomainPausedReason::Ioerror);
                }
                self.meets_error(dom.uuid);
                let (src_path, dev_alias): (xdr::Text<'static>, xdr::Text<'static>) =
                    (path.into(), alias.into());
                both!(
                    IoError,
                    "domain_event_callback_io_error",
                    "domain_event_io_error",
                    DomainEventCallbackIoErrorMsg,
                    remote::DomainEventIoErrorMsg {
                        dom: dom.clone(),
                        src_path: src_path.clone(),
                        dev_alias: dev_alias.clone(),
                        action
                    }
                );
                both!(
                    IoErrorReason,
                    "domain_event_callback_io_error_reason",
                    "domain_event_io_error_reason",
                    DomainEventCallbackIoErrorReasonMsg,
                    remote::DomainEventIoErrorReasonMsg {
                        dom: dom.clone(),
                        src_path: src_path.clone(),
                        dev_alias: dev_alias.clone(),
                        action,
                        reason: reason.clone().into()
                    }
                );
            }
            Happening::Graphics(phase) => both!(
                Graphics,
                "domain_event_callback_graphics",
                "domain_event_graphics",
                DomainEventCallbackGraphicsMsg,
                remote::DomainEventGraphicsMsg {
                    dom: dom.clone(),
                    phase,
                    auth_scheme: "none".into(),
                    ..Default::default()
                }
            ),
            Happening::ControlError => both!(
                ControlError,
                "domain_event_callback_control_error",
                "domain_event_control_error",
                DomainEventCallbackControlErrorMsg,
                remote::DomainEventControlErrorMsg { dom: dom.clone() }
            ),
            Happening::DiskChange { path, alias } => both!(
                DiskChange,
                "domain_event_callback_disk_change",
                "domain_event_disk_change",
                DomainEventCallbackDiskChangeMsg,
                remote::DomainEventDiskChangeMsg {
                    dom: dom.clone(),
                    old_src_path: Some(path.clone().into()),
                    new_src_path: None,
                    dev_alias: alias.clone().into(),
                    reason: ConnectDomainEventDiskChangeReason::ChangeMissingOnStart,
                }
            ),
            Happening::AgentLifecycle(state) => new!(
                AgentLifecycle,
                "domain_event_callback_agent_lifecycle",
                DomainEventCallbackAgentLifecycleMsg {
                    state: state,
                    reason: ConnectDomainEventAgentLifecycleReason::Channel,
                }
            ),
            Happening::DeviceRemovalFailed(alias) => new!(
                DeviceRemovalFailed,
                "domain_event_callback_device_removal_failed",
                DomainEventCallbackDeviceRemovalFailedMsg { dev_alias: alias.clone().into() }
            ),
            Happening::BlockThreshold { device, excess } => {
                let found =
                    self.domains.get_mut(&dom.uuid).and_then(|domain| domain.thresholds.remove(&device));
                let Some(threshold) = found else { return };
                new!(
                    BlockThreshold,
                    "domain_event_block_threshold",
                    DomainEventBlockThresholdMsg {
                        dev: device.clone().into(),
                        path: None,
                        threshold: threshold,
                        excess: excess,
                    }
                );
            }
            Happening::MemoryFailure(action) => new!(
                MemoryFailure,
                "domain_event_memory_failure",
                DomainEventMemoryFailureMsg {
                    recipient: DomainMemoryFailureRecipientType::Guest,
                    action: action,
                    flags: DomainMemoryFailureFlags::ACTION_REQUIRED,
                }
            ),
            Happening::MemoryDeviceSizeChange(alias, size) => new!(
                MemoryDeviceSizeChange,
                "domain_event_memory_device_size_change",
                DomainEventMemoryDeviceSizeChangeMsg { alias: alias.clone().into(), size: size }
            ),
            Happening::NicMacChange(alias, old, new) => new!(
                NicMacChange,
                "domain_event_nic_mac_change",
                DomainEventNicMacChangeMsg {
                    alias: alias.clone().into(),
                    old_mac: old.clone().into(),
                    new_mac: new.clone().into(),
                }
            ),
            Happening::ChannelLifecycle(name, state) => new!(
                ChannelLifecycle,
                "domain_event_callback_channel_lifecycle",
                DomainEventCallbackChannelLifecycleMsg {
                    channel_name: name.clone().into(),
                    state: state,
                    reason: 2,
                }
            ),
            Happening::MigrationIteration(iteration) => new!(
                MigrationIteration,
                "domain_event_callback_migration_iteration",
                DomainEventCallbackMigrationIterationMsg { iteration: iteration }
            ),
        }
    }

    /// A domain waits for a reason of its own.
    fn halt(&mut self, dom: &types::Domain<'static>, reason: DomainPausedReason) {
        if let Some(domain) = self.domains.get_mut(&dom.uuid) {
            domain.set_state(DomainState::Paused, reason);
        }
    }

    /// The medium of a drive was changed: its tray opened, and closed.
    pub(super) fn tell_medium(&mut self, dom: &types::Domain<'static>, alias: &str) {
        for reason in [DomainEventTrayChangeReason::Open, DomainEventTrayChangeReason::Close] {
            let msg = remote::DomainEventTrayChangeMsg {
                dom: dom.clone(),
                dev_alias: alias.to_owned().into(),
                reason,
            };
            let message = |id: Option<i32>| match id {
                Some(callback_id) => {
                    xdr::encode(&remote::DomainEventCallbackTrayChangeMsg { callback_id, msg: msg.clone() })
                }
                None => xdr::encode(&msg),
            };
            let names = ("domain_event_callback_tray_change", "domain_event_tray_change");
            self.tell_of(dom, &Told { id: Id::TrayChange, names, message: &message });
        }
    }

    /// A guest has so much of its memory, in KiB.
    pub(super) fn tell_balloon(&mut self, dom: &types::Domain<'static>, actual: u64) {
        let msg = remote::DomainEventBalloonChangeMsg { dom: dom.clone(), actual };
        let message = |id: Option<i32>| match id {
            Some(callback_id) => {
                xdr::encode(&remote::DomainEventCallbackBalloonChangeMsg { callback_id, msg: msg.clone() })
            }
            None => xdr::encode(&msg),
        };
        let names = ("domain_event_callback_balloon_change", "domain_event_balloon_change");
        self.tell_of(dom, &Told { id: Id::BalloonChange, names, message: &message });
    }

    /// A parameter of a running domain was changed.
    pub(super) fn tell_tunable(&mut self, dom: &types::Domain<'static>, params: &[TypedParam<'static>]) {
        let message = |id: Option<i32>| {
            xdr::encode(&remote::DomainEventCallbackTunableMsg {
                callback_id: id.unwrap_or_default(),
                dom: dom.clone(),
                params: params.to_vec().into(),
            })
        };
        self.tell_of(
            dom,
            &Told { id: Id::Tunable, names: ("domain_event_callback_tunable", ""), message: &message },
        );
    }

    /// A running domain has lost a virtual processor.
    pub(super) fn tell_vcpu_removed(&mut self, dom: &types::Domain<'static>, vcpuid: u32) {
        let message = |id: Option<i32>| {
            let callback_id = id.unwrap_or_default();
            xdr::encode(&remote::DomainEventVcpuRemovedMsg { callback_id, dom: dom.clone(), vcpuid })
        };
        self.tell_of(
            dom,
            &Told { id: Id::VcpuRemoved, names: ("domain_event_vcpu_removed", ""), message: &message },
        );
    }

    /// The driver behind the daemon has gone: those who asked to be told are (`virConnectRegisterCloseCallback`).
    pub fn lose_driver(&mut self, reason: ConnectCloseReason) {
        let Some(info) = super::events::event("connect_event_connection_closed") else { return };
        let Ok(payload) = xdr::encode(&remote::ConnectEventConnectionClosedMsg { reason }) else { return };
        let waiting = self.clients.iter().filter(|(_, connected)| connected.close_callback);
        for (client, _) in waiting {
            tracing::trace!(target: "libvirt_server::answered", program = ?info.program, procedure = info.name);
            let payload = payload.clone();
            self.effects.push_back((*client, super::Effect::Event { info, payload }));
        }
    }
}

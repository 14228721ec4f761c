//! Domains.
//!
//! One file for each side of them: what they are and whether they run is here; devices, tuning, block devices, the guest inside, jobs,
//! migration, snapshots, checkpoints and streams are in files of their own.

mod block;
mod checkpoint;
mod devices;
mod guest;
mod job;
mod migrate;
mod migration;
mod qemu;
mod snapshot;
mod stats;
mod streams;
mod tuning;

pub use block::{BlockInfo, BlockJob, BlockJobInfo, BlockJobState, BlockTarget};
pub use checkpoint::DomainCheckpoint;
pub use devices::{CpuMap, IoThread, VcpuInfo};
pub use guest::{DomainInterface, FileSystem, GuestAddress, GuestTime};
pub use job::{BackgroundJob, CallJob, JobProgress};
pub use migrate::MigrateParameters;
pub use migration::{Aftermath, MigrationJob};
pub use qemu::{QemuError, qemu_value};
pub use snapshot::DomainSnapshot;
pub use stats::{BlockStats, DomainStats, HostSnapshot, InterfaceStats, VcpuStats};
pub use tuning::{
    BandwidthParameters, BlkioParameters, BlockIoTune, IoThreadParameters, MemoryParameters, NumaParameters,
    SchedulerParameters,
};

use crate::connect::Connect;
use crate::handle::{Autostart, handle, methods};
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{self, DomainMetadataType};
use libvirt_protocol::flags::{
    ConnectListAllDomainsFlags, DomainCreateFlags, DomainDefineFlags, DomainDestroyFlags,
    DomainGetHostnameFlags, DomainModificationImpact, DomainRebootFlags, DomainSaveImageXmlFlags,
    DomainSaveRestoreFlags, DomainShutdownFlags, DomainUndefineFlags, DomainXmlFlags,
};
use libvirt_protocol::remote::*;
use libvirt_protocol::xdr::Uuid;

handle! {
    /// A domain. The handle is a name and a UUID; it stays when the domain goes, and its calls then fail as not found.
    Domain = Domain
}

/// What a domain uses (`virDomainInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its state.
    pub state: enums::DomainState,
    /// Most memory it may have, in KiB.
    pub max_memory_kib: u64,
    /// Memory it has, in KiB.
    pub memory_kib: u64,
    /// Virtual CPUs.
    pub vcpus: u16,
    /// CPU time used, in nanoseconds.
    pub cpu_time_ns: u64,
}

/// The state of a domain, and the reason, whose meaning depends on the state (`virDomainRunningReason` and its siblings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainState {
    /// The state.
    pub state: enums::DomainState,
    /// The reason.
    pub reason: i32,
}

/// Whether the daemon can control a domain (`virDomainControlInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlInfo {
    /// Whether it can, or waits for something.
    pub state: enums::DomainControlState,
    /// More of it (`virDomainControlErrorReason`).
    pub details: u32,
    /// How long it has been so, in milliseconds.
    pub state_time_ms: u64,
}

methods! { Connect(this) {
    /// All domains that fit the flags; none set means all (`virConnectListAllDomains`).
    domains(flags: ConnectListAllDomainsFlags) -> Vec<Domain>
        = remote::ConnectListAllDomains(ConnectListAllDomainsArgs { need_results: 1, flags })
        => |found| Domain::list(this, &found.domains);
    /// The domain with a number, which it has while it runs (`virDomainLookupByID`).
    domain_by_id(id: i32) -> Domain
        = remote::DomainLookupById(DomainLookupByIdArgs { id }) => |found| Domain::new(this, found.dom);
    /// The domain with a name; [`crate::Error::is_not_found`] when there is none (`virDomainLookupByName`).
    domain_by_name(name: &str) -> Domain
        = remote::DomainLookupByName(DomainLookupByNameArgs { name: name.into() })
        => |found| Domain::new(this, found.dom);
    /// The domain with a UUID; [`crate::Error::is_not_found`] when there is none (`virDomainLookupByUUID`).
    domain_by_uuid(uuid: Uuid) -> Domain
        = remote::DomainLookupByUuid(DomainLookupByUuidArgs { uuid }) => |found| Domain::new(this, found.dom);
    /// Defines a domain that stays, or changes its definition (`virDomainDefineXMLFlags`).
    define_domain(xml: &str, flags: DomainDefineFlags) -> Domain
        = remote::DomainDefineXmlFlags(DomainDefineXmlFlagsArgs { xml: xml.into(), flags })
        => |found| Domain::new(this, found.dom);
    /// Starts a domain that goes when it stops (`virDomainCreateXML`).
    create_domain(xml: &str, flags: DomainCreateFlags) -> Domain
        = remote::DomainCreateXml(DomainCreateXmlArgs { xml_desc: xml.into(), flags })
        => |found| Domain::new(this, found.dom);
    /// Lets a domain go on from a file that [`Domain::save`] has made, with another definition if one is given
    /// (`virDomainRestoreFlags`).
    restore_domain(from: &str, xml: Option<&str>, flags: DomainSaveRestoreFlags)
        = remote::DomainRestoreFlags(DomainRestoreFlagsArgs {
            from: from.into(), dxml: xml.map(Into::into), flags,
        });
    /// The definition in a saved domain's file, as XML (`virDomainSaveImageGetXMLDesc`).
    save_image_xml(file: &str, flags: DomainSaveImageXmlFlags) -> String
        = remote::DomainSaveImageGetXmlDesc(DomainSaveImageGetXmlDescArgs { file: file.into(), flags })
        => |found| found.xml.into();
    /// Changes the definition in a saved domain's file (`virDomainSaveImageDefineXML`).
    define_save_image(file: &str, xml: &str, flags: DomainSaveRestoreFlags)
        = remote::DomainSaveImageDefineXml(DomainSaveImageDefineXmlArgs {
            file: file.into(), dxml: xml.into(), flags,
        });
} }

impl Domain {
    /// Its name (`virDomainGetName`); what is not UTF-8 is replaced.
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }

    /// Its UUID (`virDomainGetUUID`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.wire().uuid
    }

    /// Its number while it runs, as of the call that gave this handle (`virDomainGetID`).
    #[must_use]
    pub fn id(&self) -> Option<i32> {
        (self.wire().id >= 0).then_some(self.wire().id)
    }
}

methods! { Domain(this) {
    /// Its state (`virDomainGetState`).
    state() -> DomainState
        = remote::DomainGetState(DomainGetStateArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| DomainState { state: found.state, reason: found.reason };
    /// What it uses (`virDomainGetInfo`).
    info() -> DomainInfo
        = remote::DomainGetInfo(DomainGetInfoArgs { dom: this.wire() })
        => |found| DomainInfo {
            state: enums::DomainState::from(i32::from(found.state)),
            max_memory_kib: found.max_mem,
            memory_kib: found.memory,
            vcpus: found.nr_virt_cpu,
            cpu_time_ns: found.cpu_time,
        };
    /// Whether the daemon can control it (`virDomainGetControlInfo`).
    control_info() -> ControlInfo
        = remote::DomainGetControlInfo(DomainGetControlInfoArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| ControlInfo { state: found.state, details: found.details, state_time_ms: found.state_time };
    /// Its definition as XML (`virDomainGetXMLDesc`).
    xml(flags: DomainXmlFlags) -> String
        = remote::DomainGetXmlDesc(DomainGetXmlDescArgs { dom: this.wire(), flags }) => |found| found.xml.into();
    /// What kind of guest it is: `hvm`, `exe` … (`virDomainGetOSType`).
    os_type() -> String
        = remote::DomainGetOsType(DomainGetOsTypeArgs { dom: this.wire() }) => |found| found.kind.into();
    /// Whether it runs (`virDomainIsActive`).
    is_active() -> bool
        = remote::DomainIsActive(DomainIsActiveArgs { dom: this.wire() }) => |found| found.active != 0;
    /// Whether it stays when it stops (`virDomainIsPersistent`).
    is_persistent() -> bool
        = remote::DomainIsPersistent(DomainIsPersistentArgs { dom: this.wire() }) => |found| found.persistent != 0;
    /// Whether its definition has changed since it was started (`virDomainIsUpdated`).
    is_updated() -> bool
        = remote::DomainIsUpdated(DomainIsUpdatedArgs { dom: this.wire() }) => |found| found.updated != 0;
    /// Starts it; the handle that comes back has its number (`virDomainCreateWithFlags`).
    start(flags: DomainCreateFlags) -> Domain
        = remote::DomainCreateWithFlags(DomainCreateWithFlagsArgs { dom: this.wire(), flags })
        => |found| Domain::new(this.connect(), found.dom);
    /// Asks the guest to power itself off (`virDomainShutdownFlags`).
    shutdown(flags: DomainShutdownFlags)
        = remote::DomainShutdownFlags(DomainShutdownFlagsArgs { dom: this.wire(), flags });
    /// Asks the guest to restart (`virDomainReboot`).
    reboot(flags: DomainRebootFlags) = remote::DomainReboot(DomainRebootArgs { dom: this.wire(), flags });
    /// Presses its reset button (`virDomainReset`).
    reset() = remote::DomainReset(DomainResetArgs { dom: this.wire(), flags: NoFlags::empty() });
    /// Takes its power away (`virDomainDestroyFlags`).
    destroy(flags: DomainDestroyFlags)
        = remote::DomainDestroyFlags(DomainDestroyFlagsArgs { dom: this.wire(), flags });
    /// Pauses it (`virDomainSuspend`).
    suspend() = remote::DomainSuspend(DomainSuspendArgs { dom: this.wire() });
    /// Lets it go on (`virDomainResume`).
    resume() = remote::DomainResume(DomainResumeArgs { dom: this.wire() });
    /// Puts the guest to sleep for so many seconds, or until it is woken with 0 (`virDomainPMSuspendForDuration`).
    sleep(target: enums::NodeSuspendTarget, seconds: u64)
        = remote::DomainPmSuspendForDuration(DomainPmSuspendForDurationArgs {
            dom: this.wire(), target, duration: seconds, flags: NoFlags::empty(),
        });
    /// Wakes a guest that sleeps (`virDomainPMWakeup`).
    wake() = remote::DomainPmWakeup(DomainPmWakeupArgs { dom: this.wire(), flags: NoFlags::empty() });
    /// Removes its definition (`virDomainUndefineFlags`).
    undefine(flags: DomainUndefineFlags)
        = remote::DomainUndefineFlags(DomainUndefineFlagsArgs { dom: this.wire(), flags });
    /// Gives it another name; this handle keeps the old one (`virDomainRename`).
    rename(name: &str)
        = remote::DomainRename(DomainRenameArgs {
            dom: this.wire(), new_name: Some(name.into()), flags: NoFlags::empty(),
        });
    /// Whether it starts with the host (`virDomainGetAutostart`).
    autostart() -> bool
        = remote::DomainGetAutostart(DomainGetAutostartArgs { dom: this.wire() }) => |found| found.autostart != 0;
    /// Says whether it is to start with the host (`virDomainSetAutostart`).
    set_autostart(autostart: Autostart)
        = remote::DomainSetAutostart(DomainSetAutostartArgs { dom: this.wire(), autostart: autostart.into() });
    /// Whether it starts with the host next time only (`virDomainGetAutostartOnce`).
    autostart_once() -> bool
        = remote::DomainGetAutostartOnce(DomainGetAutostartOnceArgs { dom: this.wire() })
        => |found| found.autostart != 0;
    /// Says whether it is to start with the host next time only (`virDomainSetAutostartOnce`).
    set_autostart_once(autostart: Autostart)
        = remote::DomainSetAutostartOnce(DomainSetAutostartOnceArgs {
            dom: this.wire(), autostart: autostart.into(),
        });
    /// What happens when the guest powers off, reboots or crashes (`virDomainSetLifecycleAction`).
    set_lifecycle_action(kind: enums::DomainLifecycle, action: enums::DomainLifecycleAction, flags: DomainModificationImpact)
        = remote::DomainSetLifecycleAction(DomainSetLifecycleActionArgs { dom: this.wire(), kind, action, flags });
    /// The guest's host name (`virDomainGetHostname`).
    hostname(flags: DomainGetHostnameFlags) -> String
        = remote::DomainGetHostname(DomainGetHostnameArgs { dom: this.wire(), flags }) => |found| found.hostname.into();
    /// Its metadata of a kind; `uri` names the element (`virDomainGetMetadata`).
    metadata(kind: DomainMetadataType, uri: Option<&str>, flags: DomainModificationImpact) -> String
        = remote::DomainGetMetadata(DomainGetMetadataArgs {
            dom: this.wire(), kind, uri: uri.map(Into::into), flags,
        }) => |found| found.metadata.into();
    /// Sets metadata of a kind, or removes it with `None`; an element needs `key` and `uri` (`virDomainSetMetadata`).
    set_metadata(kind: DomainMetadataType, metadata: Option<&str>, key: Option<&str>, uri: Option<&str>, flags: DomainModificationImpact)
        = remote::DomainSetMetadata(DomainSetMetadataArgs {
            dom: this.wire(), kind, metadata: metadata.map(Into::into), key: key.map(Into::into),
            uri: uri.map(Into::into), flags,
        });
    /// What the daemon has to complain about its definition (`virDomainGetMessages`).
    messages(kinds: libvirt_protocol::flags::DomainMessageType) -> Vec<String>
        = remote::DomainGetMessages(DomainGetMessagesArgs { dom: this.wire(), flags: kinds })
        => |found| found.msgs.iter().map(Into::into).collect();
    /// Security labels that it runs under, and whether each is enforced (`virDomainGetSecurityLabelList`).
    security_labels() -> Vec<(String, bool)>
        = remote::DomainGetSecurityLabelList(DomainGetSecurityLabelListArgs { dom: this.wire() })
        => |found| found.labels.iter().map(|label| (words(&label.label.0), label.enforcing != 0)).collect();
    /// Whether it has been put aside by [`Domain::managed_save`] (`virDomainHasManagedSaveImage`).
    has_managed_save() -> bool
        = remote::DomainHasManagedSaveImage(DomainHasManagedSaveImageArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| found.result != 0;
    /// Throws away what [`Domain::managed_save`] has put aside (`virDomainManagedSaveRemove`).
    remove_managed_save()
        = remote::DomainManagedSaveRemove(DomainManagedSaveRemoveArgs { dom: this.wire(), flags: NoFlags::empty() });
    /// The definition that it was put aside with, as XML (`virDomainManagedSaveGetXMLDesc`).
    managed_save_xml(flags: DomainSaveImageXmlFlags) -> String
        = remote::DomainManagedSaveGetXmlDesc(DomainManagedSaveGetXmlDescArgs { dom: this.wire(), flags })
        => |found| found.xml.into();
    /// Changes the definition that it was put aside with (`virDomainManagedSaveDefineXML`).
    define_managed_save(xml: &str, flags: DomainSaveRestoreFlags)
        = remote::DomainManagedSaveDefineXml(DomainManagedSaveDefineXmlArgs {
            dom: this.wire(), dxml: Some(xml.into()), flags,
        });
    /// Interrupts the guest as hardware failures do (`virDomainInjectNMI`).
    inject_nmi() = remote::DomainInjectNmi(DomainInjectNmiArgs { dom: this.wire(), flags: NoFlags::empty() });
    /// Presses keys together for so many milliseconds (`virDomainSendKey`).
    send_keys(codes: enums::KeycodeSet, hold_ms: u32, keys: &[u32])
        = remote::DomainSendKey(DomainSendKeyArgs {
            dom: this.wire(), codeset: codes, holdtime: hold_ms, keycodes: keys.into(), flags: NoFlags::empty(),
        });
    /// Sends a signal to a process of a container (`virDomainSendProcessSignal`).
    send_process_signal(pid: i64, signal: enums::DomainProcessSignal)
        = remote::DomainSendProcessSignal(DomainSendProcessSignalArgs {
            dom: this.wire(), pid_value: pid, signum: signal, flags: NoFlags::empty(),
        });
    /// Reads certificates of its graphics again (`virDomainGraphicsReload`).
    reload_graphics(kind: enums::DomainGraphicsReloadType)
        = remote::DomainGraphicsReload(DomainGraphicsReloadArgs { dom: this.wire(), kind, flags: NoFlags::empty() });
    /// What is known of its memory's encryption: names `DOMAIN_LAUNCH_SECURITY_*` (`virDomainGetLaunchSecurityInfo`).
    launch_security() -> crate::Params
        = remote::DomainGetLaunchSecurityInfo(DomainGetLaunchSecurityInfoArgs { dom: this.wire(), flags: crate::params::TEXTS_TOO })
        => |found| found.params.iter().collect();
    /// Sets a secret of its memory's encryption (`virDomainSetLaunchSecurityState`).
    set_launch_security(parameters: &crate::Params)
        = remote::DomainSetLaunchSecurityState(DomainSetLaunchSecurityStateArgs {
            dom: this.wire(), params: parameters.as_slice().into(), flags: NoFlags::empty(),
        });
} }

/// A text in words of which each holds one character; C ends it with a zero.
pub(crate) fn words(words: &[u8]) -> String {
    let end = words.iter().position(|byte| *byte == 0).unwrap_or(words.len());
    String::from_utf8_lossy(&words[..end]).into_owned()
}

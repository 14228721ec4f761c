//! Which flags each call takes under [`Scope::Complete`]: one table, looked at before any call is answered.
//!
//! Under [`Scope::TestDriver`] each call takes what libvirt's test driver takes of it, and that stands beside
//! its code ([`Hypervisor::only`]). What a flag does stands there too. Those that can do nothing in memory are named, with the reason, in
//! `schema/flags.toml` of the protocol, as those are that are refused; `cargo xtask codegen` compares both with what the tests saw.

use super::{Hypervisor, Refusal, Scope};
use libvirt_protocol::flags::*;
use libvirt_protocol::procedure::{Info, Procedure, Program};
use libvirt_protocol::{qemu, remote};
use std::collections::HashMap;
use std::sync::LazyLock;

/// `VIR_TYPED_PARAM_STRING_OKAY`: the client can read texts among parameters.
const TEXTS: u32 = 4;

/// All bits that have a name; what else a set of flags holds is somebody's mistake.
fn named(bits: impl Iterator<Item = u32>) -> u32 {
    bits.fold(0, |all, bit| all | bit)
}

macro_rules! takes {
    ($($program:ident::$procedure:ident: $flags:ident $(- $refused:ident)* $(+ $more:ident)?;)*) => {
        [$((
            $program::$procedure::INFO,
            || named($flags::all().iter_names().map(|(_, flag)| flag.bits()))
                $(& !$flags::$refused.bits())* $(| $more)?,
        )),*]
    };
}

/// A call, and the flags that it takes.
type Row = (&'static Info, fn() -> u32);

/// A call that is not here takes no flag but [`TEXTS`], or has none.
const TAKEN: &[Row] = &takes! {
    remote::ConnectOpen: ConnectFlags;
    remote::DomainCreateXml: DomainCreateFlags;
    remote::DomainGetXmlDesc: DomainXmlFlags;
    remote::DomainReboot: DomainRebootFlags;
    remote::NetworkGetXmlDesc: NetworkXmlFlags;
    remote::DomainCoreDump: DomainCoreDumpFlags;
    remote::DomainMigratePerform: DomainMigrateFlags;
    remote::StoragePoolCreateXml: StoragePoolCreateFlags;
    remote::StoragePoolDefineXml: StoragePoolDefineFlags;
    remote::StoragePoolCreate: StoragePoolCreateFlags;
    remote::StoragePoolBuild: StoragePoolBuildFlags - REPAIR - RESIZE;
    remote::StoragePoolDelete: StoragePoolDeleteFlags;
    remote::StoragePoolGetXmlDesc: StorageXmlFlags;
    remote::StorageVolCreateXml: StorageVolCreateFlags - REFLINK;
    remote::StorageVolDelete: StorageVolDeleteFlags;
    remote::DomainMemoryPeek: DomainMemoryFlags;
    remote::DomainMigratePrepare2: DomainMigrateFlags;
    remote::DomainMigrateFinish2: DomainMigrateFlags;
    remote::NodeDeviceGetXmlDesc: NodeDeviceXmlFlags;
    remote::NodeDeviceCreateXml: NodeDeviceCreateXmlFlags;
    remote::StorageVolCreateXmlFrom: StorageVolCreateFlags;
    remote::InterfaceDefineXml: InterfaceDefineFlags;
    remote::SecretDefineXml: SecretDefineFlags;
    remote::DomainMigratePrepareTunnel: DomainMigrateFlags;
    remote::ConnectCompareCpu: ConnectCompareCpuFlags;
    remote::DomainAttachDeviceFlags: DomainDeviceModifyFlags - FORCE;
    remote::DomainDetachDeviceFlags: DomainDeviceModifyFlags - FORCE;
    remote::ConnectBaselineCpu: ConnectBaselineCpuFlags;
    remote::DomainUpdateDeviceFlags: DomainDeviceModifyFlags;
    remote::DomainManagedSave: DomainSaveRestoreFlags;
    remote::DomainSnapshotCreateXml: DomainSnapshotCreateFlags;
    remote::DomainSnapshotGetXmlDesc: DomainSnapshotXmlFlags;
    remote::DomainSnapshotNum: DomainSnapshotListFlags;
    remote::DomainSnapshotListNames: DomainSnapshotListFlags;
    remote::DomainRevertToSnapshot: DomainSnapshotRevertFlags;
    remote::DomainSnapshotDelete: DomainSnapshotDeleteFlags;
    remote::DomainCreateWithFlags: DomainCreateFlags;
    remote::DomainSetMemoryParameters: DomainModificationImpact;
    remote::DomainGetMemoryParameters: DomainModificationImpact + TEXTS;
    remote::DomainSetVcpusFlags: DomainVcpuFlags;
    remote::DomainGetVcpusFlags: DomainVcpuFlags;
    remote::DomainOpenConsole: DomainConsoleFlags;
    remote::DomainSetMemoryFlags: DomainMemoryModFlags;
    remote::DomainSetBlkioParameters: DomainModificationImpact;
    remote::DomainGetBlkioParameters: DomainModificationImpact + TEXTS;
    remote::DomainMigrateSetMaxSpeed: DomainMigrateMaxSpeedFlags;
    remote::StorageVolUpload: StorageVolUploadFlags;
    remote::StorageVolDownload: StorageVolDownloadFlags;
    remote::DomainMigrateBegin3: DomainMigrateFlags;
    remote::DomainMigratePrepare3: DomainMigrateFlags;
    remote::DomainMigratePrepareTunnel3: DomainMigrateFlags;
    remote::DomainMigratePerform3: DomainMigrateFlags;
    remote::DomainMigrateFinish3: DomainMigrateFlags;
    remote::DomainMigrateConfirm3: DomainMigrateFlags;
    remote::DomainSetSchedulerParametersFlags: DomainModificationImpact;
    remote::DomainGetSchedulerParametersFlags: DomainModificationImpact + TEXTS;
    remote::DomainPinVcpuFlags: DomainModificationImpact;
    remote::DomainGetVcpuPinInfo: DomainModificationImpact;
    remote::DomainUndefineFlags: DomainUndefineFlags;
    remote::DomainSaveFlags: DomainSaveRestoreFlags;
    remote::DomainRestoreFlags: DomainSaveRestoreFlags;
    remote::DomainDestroyFlags: DomainDestroyFlags;
    remote::DomainSaveImageGetXmlDesc: DomainSaveImageXmlFlags;
    remote::DomainSaveImageDefineXml: DomainSaveRestoreFlags;
    remote::DomainBlockJobAbort: DomainBlockJobAbortFlags;
    remote::DomainGetBlockJobInfo: DomainBlockJobInfoFlags;
    remote::DomainBlockJobSetSpeed: DomainBlockJobSetSpeedFlags;
    remote::DomainBlockPull: DomainBlockPullFlags;
    remote::DomainMigrateGetMaxSpeed: DomainMigrateMaxSpeedFlags;
    remote::DomainBlockStatsFlags: TypedParameterFlags;
    remote::DomainSnapshotNumChildren: DomainSnapshotListFlags;
    remote::DomainSnapshotListChildrenNames: DomainSnapshotListFlags;
    remote::DomainOpenGraphics: DomainOpenGraphicsFlags;
    remote::DomainBlockResize: DomainBlockResizeFlags;
    remote::DomainSetBlockIoTune: DomainModificationImpact;
    remote::DomainGetBlockIoTune: DomainModificationImpact + TEXTS;
    remote::DomainSetNumaParameters: DomainModificationImpact;
    remote::DomainGetNumaParameters: DomainModificationImpact + TEXTS;
    remote::DomainSetInterfaceParameters: DomainModificationImpact;
    remote::DomainGetInterfaceParameters: DomainModificationImpact + TEXTS;
    remote::DomainShutdownFlags: DomainShutdownFlags;
    remote::StorageVolResize: StorageVolResizeFlags;
    remote::DomainGetCpuStats: TypedParameterFlags;
    remote::DomainSetMetadata: DomainModificationImpact;
    remote::DomainGetMetadata: DomainModificationImpact;
    remote::DomainBlockRebase: DomainBlockRebaseFlags;
    remote::ConnectListAllDomains: ConnectListAllDomainsFlags;
    remote::DomainListAllSnapshots: DomainSnapshotListFlags;
    remote::DomainSnapshotListAllChildren: DomainSnapshotListFlags;
    remote::DomainGetHostname: DomainGetHostnameFlags;
    remote::DomainPinEmulator: DomainModificationImpact;
    remote::DomainGetEmulatorPinInfo: DomainModificationImpact;
    remote::ConnectListAllStoragePools: ConnectListAllStoragePoolsFlags;
    remote::ConnectListAllNetworks: ConnectListAllNetworksFlags;
    remote::ConnectListAllInterfaces: ConnectListAllInterfacesFlags;
    remote::ConnectListAllNodeDevices: ConnectListAllNodeDeviceFlags;
    remote::ConnectListAllSecrets: ConnectListAllSecretsFlags;
    remote::DomainBlockCommit: DomainBlockCommitFlags;
    remote::NetworkUpdate: NetworkUpdateFlags;
    remote::DomainOpenChannel: DomainChannelFlags;
    remote::DomainGetJobStats: DomainGetJobStatsFlags;
    remote::DomainMigrateBegin3Params: DomainMigrateFlags;
    remote::DomainMigratePrepare3Params: DomainMigrateFlags;
    remote::DomainMigratePrepareTunnel3Params: DomainMigrateFlags;
    remote::DomainMigratePerform3Params: DomainMigrateFlags;
    remote::DomainMigrateFinish3Params: DomainMigrateFlags;
    remote::DomainMigrateConfirm3Params: DomainMigrateFlags;
    remote::DomainSetMemoryStatsPeriod: DomainMemoryModFlags - MAXIMUM;
    remote::DomainCreateXmlWithFiles: DomainCreateFlags;
    remote::DomainCreateWithFiles: DomainCreateFlags;
    remote::DomainCoreDumpWithFormat: DomainCoreDumpFlags;
    remote::DomainSetTime: DomainSetTimeFlags;
    remote::ConnectGetDomainCapabilities: ConnectGetDomainCapabilitiesFlags;
    remote::DomainOpenGraphicsFd: DomainOpenGraphicsFlags;
    remote::ConnectGetAllDomainStats: ConnectGetAllDomainStatsFlags;
    remote::DomainBlockCopy: DomainBlockCopyFlags;
    remote::NodeAllocPages: NodeAllocPagesFlags;
    remote::DomainDefineXmlFlags: DomainDefineFlags;
    remote::DomainGetIoThreadInfo: DomainModificationImpact;
    remote::DomainPinIoThread: DomainModificationImpact;
    remote::DomainAddIoThread: DomainModificationImpact;
    remote::DomainDelIoThread: DomainModificationImpact;
    remote::DomainSetUserPassword: DomainSetUserPasswordFlags;
    remote::DomainGetPerfEvents: DomainModificationImpact + TEXTS;
    remote::DomainSetPerfEvents: DomainModificationImpact;
    remote::StorageVolGetInfoFlags: StorageVolInfoFlags;
    remote::DomainSetVcpu: DomainModificationImpact;
    remote::DomainManagedSaveGetXmlDesc: DomainSaveImageXmlFlags;
    remote::DomainManagedSaveDefineXml: DomainSaveRestoreFlags;
    remote::DomainSetLifecycleAction: DomainModificationImpact;
    remote::DomainDetachDeviceAlias: DomainDeviceModifyFlags - FORCE;
    remote::ConnectCompareHypervisorCpu: ConnectCompareCpuFlags;
    remote::ConnectBaselineHypervisorCpu: ConnectBaselineCpuFlags;
    remote::NwFilterBindingCreateXml: NwFilterBindingCreateFlags;
    remote::DomainSetIoThreadParams: DomainModificationImpact;
    remote::NetworkPortCreateXml: NetworkPortCreateFlags;
    remote::DomainCheckpointCreateXml: DomainCheckpointCreateFlags;
    remote::DomainCheckpointGetXmlDesc: DomainCheckpointXmlFlags;
    remote::DomainListAllCheckpoints: DomainCheckpointListFlags;
    remote::DomainCheckpointListAllChildren: DomainCheckpointListFlags;
    remote::DomainCheckpointDelete: DomainCheckpointDeleteFlags;
    remote::DomainBackupBegin: DomainBackupBeginFlags;
    remote::DomainAuthorizedSshKeysSet: DomainAuthorizedSshKeysSetFlags;
    remote::DomainGetMessages: DomainMessageType;
    remote::DomainStartDirtyRateCalc: DomainDirtyRateCalcFlags;
    remote::NodeDeviceDefineXml: NodeDeviceDefineXmlFlags;
    remote::NwFilterDefineXmlFlags: NwFilterDefineFlags;
    remote::NetworkDefineXmlFlags: NetworkDefineFlags;
    remote::NetworkCreateXmlFlags: NetworkCreateFlags;
    remote::DomainSaveParams: DomainSaveRestoreFlags;
    remote::DomainRestoreParams: DomainSaveRestoreFlags;
    remote::DomainAbortJobFlags: DomainAbortJobFlags;
    remote::DomainFdAssociate: DomainFdAssociateFlags;
    remote::NetworkSetMetadata: NetworkUpdateFlags;
    remote::NetworkGetMetadata: NetworkUpdateFlags;
    remote::NodeDeviceUpdate: NodeDeviceUpdateFlags;
    remote::DomainSetThrottleGroup: DomainModificationImpact;
    remote::DomainDelThrottleGroup: DomainModificationImpact;
    qemu::DomainMonitorCommand: DomainQemuMonitorCommandFlags;
    qemu::ConnectDomainMonitorEventRegister: ConnectDomainQemuMonitorEventRegisterFlags;
    qemu::DomainMonitorCommandWithFiles: DomainQemuMonitorCommandFlags;
};

/// Demands that a call has no flag that it does not take.
pub(super) fn check(info: &Info, flags: u32) -> Result<(), Refusal> {
    static INDEX: LazyLock<HashMap<(Program, i32), u32>> =
        LazyLock::new(|| TAKEN.iter().map(|(info, taken)| ((info.program, info.number), taken())).collect());
    let taken = INDEX.get(&(info.program, info.number)).copied().unwrap_or(TEXTS);
    if flags & !taken == 0 {
        return Ok(());
    }
    Err(Refusal::flags(flags & !taken, info.function.unwrap_or(info.name)))
}

/// Demands that of two flags that exclude each other at most one is set (`VIR_EXCLUSIVE_FLAGS_RET`).
pub(super) fn exclusive(
    flags: u32,
    (one, first): (u32, &str),
    (other, second): (u32, &str),
) -> Result<(), Refusal> {
    if flags & one == 0 || flags & other == 0 {
        return Ok(());
    }
    let text = format!("flags '{first}' and '{second}' in function are mutually exclusive");
    Err(Refusal::argument(text))
}

impl Hypervisor {
    /// Demands that a call has no flag but these, which are those that libvirt's test driver takes of it.
    pub(super) fn only(&self, flags: u32, known: u32, function: &str) -> Result<(), Refusal> {
        match self.scope {
            Scope::TestDriver if flags & !known != 0 => Err(Refusal::flags(flags & !known, function)),
            // The table has been asked.
            Scope::TestDriver | Scope::Complete => Ok(()),
        }
    }
}

// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Sets of flags. Bits without a name are kept.

use crate::constants::flags;

flags! {
/// [`virAdmConnectDaemonShutdownFlags`](https://libvirt.org/search.html?q=virAdmConnectDaemonShutdownFlags)
AdmConnectDaemonShutdownFlags {
/// `VIR_DAEMON_SHUTDOWN_PRESERVE`, since 11.2.0.
DAEMON_SHUTDOWN_PRESERVE = 0x1;
}
}

flags! {
/// [`virConnectBaselineCPUFlags`](https://libvirt.org/search.html?q=virConnectBaselineCPUFlags)
ConnectBaselineCpuFlags {
/// `VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES`, since 1.1.2.
EXPAND_FEATURES = 0x1;
/// `VIR_CONNECT_BASELINE_CPU_MIGRATABLE`, since 1.2.14.
MIGRATABLE = 0x2;
}
}

flags! {
/// [`virConnectCompareCPUFlags`](https://libvirt.org/search.html?q=virConnectCompareCPUFlags)
ConnectCompareCpuFlags {
/// `VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE`, since 1.2.6.
FAIL_INCOMPATIBLE = 0x1;
/// `VIR_CONNECT_COMPARE_CPU_VALIDATE_XML`, since 6.9.0.
VALIDATE_XML = 0x2;
}
}

flags! {
/// [`virConnectDomainQemuMonitorEventRegisterFlags`](https://libvirt.org/search.html?q=virConnectDomainQemuMonitorEventRegisterFlags)
ConnectDomainQemuMonitorEventRegisterFlags {
/// `VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX`, since 1.2.3.
REGEX = 0x1;
/// `VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_NOCASE`, since 1.2.3.
NOCASE = 0x2;
}
}

flags! {
/// [`virConnectFlags`](https://libvirt.org/search.html?q=virConnectFlags)
ConnectFlags {
/// `VIR_CONNECT_RO`, since 0.4.1.
RO = 0x1;
/// `VIR_CONNECT_NO_ALIASES`, since 0.9.7.
NO_ALIASES = 0x2;
}
}

flags! {
/// [`virConnectGetAllDomainStatsFlags`](https://libvirt.org/search.html?q=virConnectGetAllDomainStatsFlags)
ConnectGetAllDomainStatsFlags {
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE`, since 1.2.8.
ACTIVE = 0x1;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE`, since 1.2.8.
INACTIVE = 0x2;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT`, since 1.2.8.
PERSISTENT = 0x4;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_TRANSIENT`, since 1.2.8.
TRANSIENT = 0x8;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING`, since 1.2.8.
RUNNING = 0x10;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED`, since 1.2.8.
PAUSED = 0x20;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF`, since 1.2.8.
SHUTOFF = 0x40;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_OTHER`, since 1.2.8.
OTHER = 0x80;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT`, since 4.5.0.
NOWAIT = 0x20000000;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING`, since 1.2.12.
BACKING = 0x40000000;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS`, since 1.2.8.
ENFORCE_STATS = 0x80000000;
}
}

flags! {
/// [`virConnectGetDomainCapabilitiesFlags`](https://libvirt.org/search.html?q=virConnectGetDomainCapabilitiesFlags)
ConnectGetDomainCapabilitiesFlags {
/// `VIR_CONNECT_GET_DOMAIN_CAPABILITIES_DISABLE_DEPRECATED_FEATURES`, since 11.0.0.
DISABLE_DEPRECATED_FEATURES = 0x1;
}
}

flags! {
/// [`virConnectListAllDomainsFlags`](https://libvirt.org/search.html?q=virConnectListAllDomainsFlags)
ConnectListAllDomainsFlags {
/// `VIR_CONNECT_LIST_DOMAINS_ACTIVE`, since 0.9.13.
ACTIVE = 0x1;
/// `VIR_CONNECT_LIST_DOMAINS_INACTIVE`, since 0.9.13.
INACTIVE = 0x2;
/// `VIR_CONNECT_LIST_DOMAINS_PERSISTENT`, since 0.9.13.
PERSISTENT = 0x4;
/// `VIR_CONNECT_LIST_DOMAINS_TRANSIENT`, since 0.9.13.
TRANSIENT = 0x8;
/// `VIR_CONNECT_LIST_DOMAINS_RUNNING`, since 0.9.13.
RUNNING = 0x10;
/// `VIR_CONNECT_LIST_DOMAINS_PAUSED`, since 0.9.13.
PAUSED = 0x20;
/// `VIR_CONNECT_LIST_DOMAINS_SHUTOFF`, since 0.9.13.
SHUTOFF = 0x40;
/// `VIR_CONNECT_LIST_DOMAINS_OTHER`, since 0.9.13.
OTHER = 0x80;
/// `VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE`, since 0.9.13.
MANAGEDSAVE = 0x100;
/// `VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE`, since 0.9.13.
NO_MANAGEDSAVE = 0x200;
/// `VIR_CONNECT_LIST_DOMAINS_AUTOSTART`, since 0.9.13.
AUTOSTART = 0x400;
/// `VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART`, since 0.9.13.
NO_AUTOSTART = 0x800;
/// `VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT`, since 0.9.13.
HAS_SNAPSHOT = 0x1000;
/// `VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT`, since 0.9.13.
NO_SNAPSHOT = 0x2000;
/// `VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT`, since 5.6.0.
HAS_CHECKPOINT = 0x4000;
/// `VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT`, since 5.6.0.
NO_CHECKPOINT = 0x8000;
}
}

flags! {
/// [`virConnectListAllInterfacesFlags`](https://libvirt.org/search.html?q=virConnectListAllInterfacesFlags)
ConnectListAllInterfacesFlags {
/// `VIR_CONNECT_LIST_INTERFACES_INACTIVE`, since 0.10.2.
INACTIVE = 0x1;
/// `VIR_CONNECT_LIST_INTERFACES_ACTIVE`, since 0.10.2.
ACTIVE = 0x2;
}
}

flags! {
/// [`virConnectListAllNetworksFlags`](https://libvirt.org/search.html?q=virConnectListAllNetworksFlags)
ConnectListAllNetworksFlags {
/// `VIR_CONNECT_LIST_NETWORKS_INACTIVE`, since 0.10.2.
INACTIVE = 0x1;
/// `VIR_CONNECT_LIST_NETWORKS_ACTIVE`, since 0.10.2.
ACTIVE = 0x2;
/// `VIR_CONNECT_LIST_NETWORKS_PERSISTENT`, since 0.10.2.
PERSISTENT = 0x4;
/// `VIR_CONNECT_LIST_NETWORKS_TRANSIENT`, since 0.10.2.
TRANSIENT = 0x8;
/// `VIR_CONNECT_LIST_NETWORKS_AUTOSTART`, since 0.10.2.
AUTOSTART = 0x10;
/// `VIR_CONNECT_LIST_NETWORKS_NO_AUTOSTART`, since 0.10.2.
NO_AUTOSTART = 0x20;
}
}

flags! {
/// [`virConnectListAllNodeDeviceFlags`](https://libvirt.org/search.html?q=virConnectListAllNodeDeviceFlags)
ConnectListAllNodeDeviceFlags {
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_SYSTEM`, since 0.10.2.
CAP_SYSTEM = 0x1;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV`, since 0.10.2.
CAP_PCI_DEV = 0x2;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_USB_DEV`, since 0.10.2.
CAP_USB_DEV = 0x4;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_USB_INTERFACE`, since 0.10.2.
CAP_USB_INTERFACE = 0x8;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET`, since 0.10.2.
CAP_NET = 0x10;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_SCSI_HOST`, since 0.10.2.
CAP_SCSI_HOST = 0x20;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_SCSI_TARGET`, since 0.10.2.
CAP_SCSI_TARGET = 0x40;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_SCSI`, since 0.10.2.
CAP_SCSI = 0x80;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_STORAGE`, since 0.10.2.
CAP_STORAGE = 0x100;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_FC_HOST`, since 1.0.4.
CAP_FC_HOST = 0x200;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_VPORTS`, since 1.0.4.
CAP_VPORTS = 0x400;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_SCSI_GENERIC`, since 1.1.0.
CAP_SCSI_GENERIC = 0x800;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_DRM`, since 3.1.0.
CAP_DRM = 0x1000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV_TYPES`, since 3.4.0.
CAP_MDEV_TYPES = 0x2000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV`, since 3.4.0.
CAP_MDEV = 0x4000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_CCW_DEV`, since 3.4.0.
CAP_CCW_DEV = 0x8000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_CSS_DEV`, since 6.8.0.
CAP_CSS_DEV = 0x10000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_VDPA`, since 6.9.0.
CAP_VDPA = 0x20000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_AP_CARD`, since 7.0.0.
CAP_AP_CARD = 0x40000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_AP_QUEUE`, since 7.0.0.
CAP_AP_QUEUE = 0x80000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_AP_MATRIX`, since 7.0.0.
CAP_AP_MATRIX = 0x100000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_VPD`, since 7.9.0.
CAP_VPD = 0x200000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_CCWGROUP_DEV`, since 11.1.0.
CAP_CCWGROUP_DEV = 0x400000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_CAP_CCWGROUP_MEMBER`, since 11.1.0.
CAP_CCWGROUP_MEMBER = 0x800000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_PERSISTENT`, since 10.1.0.
PERSISTENT = 0x10000000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_TRANSIENT`, since 10.1.0.
TRANSIENT = 0x20000000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_INACTIVE`, since 7.3.0.
INACTIVE = 0x40000000;
/// `VIR_CONNECT_LIST_NODE_DEVICES_ACTIVE`, since 7.3.0.
ACTIVE = 0x80000000;
}
}

flags! {
/// [`virConnectListAllSecretsFlags`](https://libvirt.org/search.html?q=virConnectListAllSecretsFlags)
ConnectListAllSecretsFlags {
/// `VIR_CONNECT_LIST_SECRETS_EPHEMERAL`, since 0.10.2.
EPHEMERAL = 0x1;
/// `VIR_CONNECT_LIST_SECRETS_NO_EPHEMERAL`, since 0.10.2.
NO_EPHEMERAL = 0x2;
/// `VIR_CONNECT_LIST_SECRETS_PRIVATE`, since 0.10.2.
PRIVATE = 0x4;
/// `VIR_CONNECT_LIST_SECRETS_NO_PRIVATE`, since 0.10.2.
NO_PRIVATE = 0x8;
}
}

flags! {
/// [`virConnectListAllStoragePoolsFlags`](https://libvirt.org/search.html?q=virConnectListAllStoragePoolsFlags)
ConnectListAllStoragePoolsFlags {
/// `VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE`, since 0.10.2.
INACTIVE = 0x1;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE`, since 0.10.2.
ACTIVE = 0x2;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT`, since 0.10.2.
PERSISTENT = 0x4;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_TRANSIENT`, since 0.10.2.
TRANSIENT = 0x8;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART`, since 0.10.2.
AUTOSTART = 0x10;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_NO_AUTOSTART`, since 0.10.2.
NO_AUTOSTART = 0x20;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_DIR`, since 0.10.2.
DIR = 0x40;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_FS`, since 0.10.2.
FS = 0x80;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_NETFS`, since 0.10.2.
NETFS = 0x100;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_LOGICAL`, since 0.10.2.
LOGICAL = 0x200;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_DISK`, since 0.10.2.
DISK = 0x400;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_ISCSI`, since 0.10.2.
ISCSI = 0x800;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_SCSI`, since 0.10.2.
SCSI = 0x1000;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_MPATH`, since 0.10.2.
MPATH = 0x2000;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_RBD`, since 0.10.2.
RBD = 0x4000;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_SHEEPDOG`, since 0.10.2.
SHEEPDOG = 0x8000;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_GLUSTER`, since 1.2.1.
GLUSTER = 0x10000;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_ZFS`, since 1.2.8.
ZFS = 0x20000;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_VSTORAGE`, since 3.1.0.
VSTORAGE = 0x40000;
/// `VIR_CONNECT_LIST_STORAGE_POOLS_ISCSI_DIRECT`, since 5.6.0.
ISCSI_DIRECT = 0x80000;
}
}

flags! {
/// [`virDomainAbortJobFlagsValues`](https://libvirt.org/search.html?q=virDomainAbortJobFlagsValues)
DomainAbortJobFlags {
/// `VIR_DOMAIN_ABORT_JOB_POSTCOPY`, since 8.5.0.
POSTCOPY = 0x1;
}
}

flags! {
/// [`virDomainAuthorizedSSHKeysSetFlags`](https://libvirt.org/search.html?q=virDomainAuthorizedSSHKeysSetFlags)
DomainAuthorizedSshKeysSetFlags {
/// `VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND`, since 6.10.0.
APPEND = 0x1;
/// `VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE`, since 6.10.0.
REMOVE = 0x2;
}
}

flags! {
/// [`virDomainBackupBeginFlags`](https://libvirt.org/search.html?q=virDomainBackupBeginFlags)
DomainBackupBeginFlags {
/// `VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL`, since 6.0.0.
REUSE_EXTERNAL = 0x1;
}
}

flags! {
/// [`virDomainBlockCommitFlags`](https://libvirt.org/search.html?q=virDomainBlockCommitFlags)
DomainBlockCommitFlags {
/// `VIR_DOMAIN_BLOCK_COMMIT_SHALLOW`, since 0.10.2.
SHALLOW = 0x1;
/// `VIR_DOMAIN_BLOCK_COMMIT_DELETE`, since 0.10.2.
DELETE = 0x2;
/// `VIR_DOMAIN_BLOCK_COMMIT_ACTIVE`, since 1.2.6.
ACTIVE = 0x4;
/// `VIR_DOMAIN_BLOCK_COMMIT_RELATIVE`, since 1.2.7.
RELATIVE = 0x8;
/// `VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES`, since 1.2.9.
BANDWIDTH_BYTES = 0x10;
}
}

flags! {
/// [`virDomainBlockCopyFlags`](https://libvirt.org/search.html?q=virDomainBlockCopyFlags)
DomainBlockCopyFlags {
/// `VIR_DOMAIN_BLOCK_COPY_SHALLOW`, since 1.2.8.
SHALLOW = 0x1;
/// `VIR_DOMAIN_BLOCK_COPY_REUSE_EXT`, since 1.2.8.
REUSE_EXT = 0x2;
/// `VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB`, since 3.5.0.
TRANSIENT_JOB = 0x4;
/// `VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES`, since 8.0.0.
SYNCHRONOUS_WRITES = 0x8;
}
}

flags! {
/// [`virDomainBlockJobAbortFlags`](https://libvirt.org/search.html?q=virDomainBlockJobAbortFlags)
DomainBlockJobAbortFlags {
/// `VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC`, since 0.9.12.
ASYNC = 0x1;
/// `VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT`, since 0.9.12.
PIVOT = 0x2;
}
}

flags! {
/// [`virDomainBlockJobInfoFlags`](https://libvirt.org/search.html?q=virDomainBlockJobInfoFlags)
DomainBlockJobInfoFlags {
/// `VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES`, since 1.2.9.
BANDWIDTH_BYTES = 0x1;
}
}

flags! {
/// [`virDomainBlockJobSetSpeedFlags`](https://libvirt.org/search.html?q=virDomainBlockJobSetSpeedFlags)
DomainBlockJobSetSpeedFlags {
/// `VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES`, since 1.2.9.
SPEED_BANDWIDTH_BYTES = 0x1;
}
}

flags! {
/// [`virDomainBlockPullFlags`](https://libvirt.org/search.html?q=virDomainBlockPullFlags)
DomainBlockPullFlags {
/// `VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES`, since 1.2.9.
BANDWIDTH_BYTES = 0x40;
}
}

flags! {
/// [`virDomainBlockRebaseFlags`](https://libvirt.org/search.html?q=virDomainBlockRebaseFlags)
DomainBlockRebaseFlags {
/// `VIR_DOMAIN_BLOCK_REBASE_SHALLOW`, since 0.9.12.
SHALLOW = 0x1;
/// `VIR_DOMAIN_BLOCK_REBASE_REUSE_EXT`, since 0.9.12.
REUSE_EXT = 0x2;
/// `VIR_DOMAIN_BLOCK_REBASE_COPY_RAW`, since 0.9.12.
COPY_RAW = 0x4;
/// `VIR_DOMAIN_BLOCK_REBASE_COPY`, since 0.9.12.
COPY = 0x8;
/// `VIR_DOMAIN_BLOCK_REBASE_RELATIVE`, since 1.2.7.
RELATIVE = 0x10;
/// `VIR_DOMAIN_BLOCK_REBASE_COPY_DEV`, since 1.2.9.
COPY_DEV = 0x20;
/// `VIR_DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES`, since 1.2.9.
BANDWIDTH_BYTES = 0x40;
}
}

flags! {
/// [`virDomainBlockResizeFlags`](https://libvirt.org/search.html?q=virDomainBlockResizeFlags)
DomainBlockResizeFlags {
/// `VIR_DOMAIN_BLOCK_RESIZE_BYTES`, since 0.9.11.
BYTES = 0x1;
/// `VIR_DOMAIN_BLOCK_RESIZE_CAPACITY`, since 10.0.0.
CAPACITY = 0x2;
}
}

flags! {
/// [`virDomainChannelFlags`](https://libvirt.org/search.html?q=virDomainChannelFlags)
DomainChannelFlags {
/// `VIR_DOMAIN_CHANNEL_FORCE`, since 1.0.2.
FORCE = 0x1;
}
}

flags! {
/// [`virDomainCheckpointCreateFlags`](https://libvirt.org/search.html?q=virDomainCheckpointCreateFlags)
DomainCheckpointCreateFlags {
/// `VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE`, since 5.6.0.
REDEFINE = 0x1;
/// `VIR_DOMAIN_CHECKPOINT_CREATE_QUIESCE`, since 5.6.0.
QUIESCE = 0x2;
/// `VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE`, since 6.10.0.
REDEFINE_VALIDATE = 0x4;
}
}

flags! {
/// [`virDomainCheckpointDeleteFlags`](https://libvirt.org/search.html?q=virDomainCheckpointDeleteFlags)
DomainCheckpointDeleteFlags {
/// `VIR_DOMAIN_CHECKPOINT_DELETE_CHILDREN`, since 5.6.0.
CHILDREN = 0x1;
/// `VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY`, since 5.6.0.
METADATA_ONLY = 0x2;
/// `VIR_DOMAIN_CHECKPOINT_DELETE_CHILDREN_ONLY`, since 5.6.0.
CHILDREN_ONLY = 0x4;
}
}

flags! {
/// [`virDomainCheckpointListFlags`](https://libvirt.org/search.html?q=virDomainCheckpointListFlags)
DomainCheckpointListFlags {
/// `VIR_DOMAIN_CHECKPOINT_LIST_DESCENDANTS`, since 5.6.0.
DESCENDANTS = 0x1;
/// `VIR_DOMAIN_CHECKPOINT_LIST_ROOTS`, since 5.6.0.
ROOTS = 0x1;
/// `VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL`, since 5.6.0.
TOPOLOGICAL = 0x2;
/// `VIR_DOMAIN_CHECKPOINT_LIST_LEAVES`, since 5.6.0.
LEAVES = 0x4;
/// `VIR_DOMAIN_CHECKPOINT_LIST_NO_LEAVES`, since 5.6.0.
NO_LEAVES = 0x8;
}
}

flags! {
/// [`virDomainCheckpointXMLFlags`](https://libvirt.org/search.html?q=virDomainCheckpointXMLFlags)
DomainCheckpointXmlFlags {
/// `VIR_DOMAIN_CHECKPOINT_XML_SECURE`, since 5.6.0.
SECURE = 0x1;
/// `VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN`, since 5.6.0.
NO_DOMAIN = 0x2;
/// `VIR_DOMAIN_CHECKPOINT_XML_SIZE`, since 5.6.0.
SIZE = 0x4;
}
}

flags! {
/// [`virDomainConsoleFlags`](https://libvirt.org/search.html?q=virDomainConsoleFlags)
DomainConsoleFlags {
/// `VIR_DOMAIN_CONSOLE_FORCE`, since 0.9.11.
FORCE = 0x1;
/// `VIR_DOMAIN_CONSOLE_SAFE`, since 0.9.11.
SAFE = 0x2;
}
}

flags! {
/// [`virDomainCoreDumpFlags`](https://libvirt.org/search.html?q=virDomainCoreDumpFlags)
DomainCoreDumpFlags {
/// `VIR_DUMP_CRASH`, since 0.7.5.
CRASH = 0x1;
/// `VIR_DUMP_LIVE`, since 0.7.5.
LIVE = 0x2;
/// `VIR_DUMP_BYPASS_CACHE`, since 0.9.4.
BYPASS_CACHE = 0x4;
/// `VIR_DUMP_RESET`, since 0.9.7.
RESET = 0x8;
/// `VIR_DUMP_MEMORY_ONLY`, since 0.9.13.
MEMORY_ONLY = 0x10;
}
}

flags! {
/// [`virDomainCreateFlags`](https://libvirt.org/search.html?q=virDomainCreateFlags)
DomainCreateFlags {
/// `VIR_DOMAIN_NONE`, since 0.0.1.
NONE = 0x0;
/// `VIR_DOMAIN_START_PAUSED`, since 0.8.2.
START_PAUSED = 0x1;
/// `VIR_DOMAIN_START_AUTODESTROY`, since 0.9.3.
START_AUTODESTROY = 0x2;
/// `VIR_DOMAIN_START_BYPASS_CACHE`, since 0.9.4.
START_BYPASS_CACHE = 0x4;
/// `VIR_DOMAIN_START_FORCE_BOOT`, since 0.9.5.
START_FORCE_BOOT = 0x8;
/// `VIR_DOMAIN_START_VALIDATE`, since 1.2.12.
START_VALIDATE = 0x10;
/// `VIR_DOMAIN_START_RESET_NVRAM`, since 8.1.0.
START_RESET_NVRAM = 0x20;
}
}

flags! {
/// [`virDomainDefineFlags`](https://libvirt.org/search.html?q=virDomainDefineFlags)
DomainDefineFlags {
/// `VIR_DOMAIN_DEFINE_VALIDATE`, since 1.2.12.
VALIDATE = 0x1;
}
}

flags! {
/// [`virDomainDestroyFlagsValues`](https://libvirt.org/search.html?q=virDomainDestroyFlagsValues)
DomainDestroyFlags {
/// `VIR_DOMAIN_DESTROY_DEFAULT`, since 0.9.10.
DEFAULT = 0x0;
/// `VIR_DOMAIN_DESTROY_GRACEFUL`, since 0.9.10.
GRACEFUL = 0x1;
/// `VIR_DOMAIN_DESTROY_REMOVE_LOGS`, since 8.3.0.
REMOVE_LOGS = 0x2;
}
}

flags! {
/// [`virDomainDeviceModifyFlags`](https://libvirt.org/search.html?q=virDomainDeviceModifyFlags)
DomainDeviceModifyFlags {
/// `VIR_DOMAIN_DEVICE_MODIFY_CURRENT`, since 0.7.7.
CURRENT = 0x0;
/// `VIR_DOMAIN_DEVICE_MODIFY_LIVE`, since 0.7.7.
LIVE = 0x1;
/// `VIR_DOMAIN_DEVICE_MODIFY_CONFIG`, since 0.7.7.
CONFIG = 0x2;
/// `VIR_DOMAIN_DEVICE_MODIFY_FORCE`, since 0.8.6.
FORCE = 0x4;
}
}

flags! {
/// [`virDomainDirtyRateCalcFlags`](https://libvirt.org/search.html?q=virDomainDirtyRateCalcFlags)
DomainDirtyRateCalcFlags {
/// `VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING`, since 8.1.0.
PAGE_SAMPLING = 0x0;
/// `VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP`, since 8.1.0.
DIRTY_BITMAP = 0x1;
/// `VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING`, since 8.1.0.
DIRTY_RING = 0x2;
}
}

flags! {
/// [`virDomainFDAssociateFlags`](https://libvirt.org/search.html?q=virDomainFDAssociateFlags)
DomainFdAssociateFlags {
/// `VIR_DOMAIN_FD_ASSOCIATE_SECLABEL_RESTORE`, since 9.0.0.
RESTORE = 0x1;
/// `VIR_DOMAIN_FD_ASSOCIATE_SECLABEL_WRITABLE`, since 9.0.0.
WRITABLE = 0x2;
}
}

flags! {
/// [`virDomainGetHostnameFlags`](https://libvirt.org/search.html?q=virDomainGetHostnameFlags)
DomainGetHostnameFlags {
/// `VIR_DOMAIN_GET_HOSTNAME_LEASE`, since 6.1.0.
LEASE = 0x1;
/// `VIR_DOMAIN_GET_HOSTNAME_AGENT`, since 6.1.0.
AGENT = 0x2;
}
}

flags! {
/// [`virDomainGetJobStatsFlags`](https://libvirt.org/search.html?q=virDomainGetJobStatsFlags)
DomainGetJobStatsFlags {
/// `VIR_DOMAIN_JOB_STATS_COMPLETED`, since 1.2.9.
COMPLETED = 0x1;
/// `VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED`, since 6.0.0.
KEEP_COMPLETED = 0x2;
}
}

flags! {
/// [`virDomainGuestInfoTypes`](https://libvirt.org/search.html?q=virDomainGuestInfoTypes)
DomainGuestInfoTypes {
/// `VIR_DOMAIN_GUEST_INFO_USERS`, since 5.7.0.
USERS = 0x1;
/// `VIR_DOMAIN_GUEST_INFO_OS`, since 5.7.0.
OS = 0x2;
/// `VIR_DOMAIN_GUEST_INFO_TIMEZONE`, since 5.7.0.
TIMEZONE = 0x4;
/// `VIR_DOMAIN_GUEST_INFO_HOSTNAME`, since 5.7.0.
HOSTNAME = 0x8;
/// `VIR_DOMAIN_GUEST_INFO_FILESYSTEM`, since 5.7.0.
FILESYSTEM = 0x10;
/// `VIR_DOMAIN_GUEST_INFO_DISKS`, since 7.0.0.
DISKS = 0x20;
/// `VIR_DOMAIN_GUEST_INFO_INTERFACES`, since 7.10.0.
INTERFACES = 0x40;
/// `VIR_DOMAIN_GUEST_INFO_LOAD`, since 11.2.0.
LOAD = 0x80;
}
}

flags! {
/// [`virDomainMemoryFailureFlags`](https://libvirt.org/search.html?q=virDomainMemoryFailureFlags)
DomainMemoryFailureFlags {
/// `VIR_DOMAIN_MEMORY_FAILURE_ACTION_REQUIRED`, since 6.9.0.
ACTION_REQUIRED = 0x1;
/// `VIR_DOMAIN_MEMORY_FAILURE_RECURSIVE`, since 6.9.0.
RECURSIVE = 0x2;
}
}

flags! {
/// [`virDomainMemoryFlags`](https://libvirt.org/search.html?q=virDomainMemoryFlags)
DomainMemoryFlags {
/// `VIR_MEMORY_VIRTUAL`, since 0.4.4.
VIRTUAL = 0x1;
/// `VIR_MEMORY_PHYSICAL`, since 0.7.0.
PHYSICAL = 0x2;
}
}

flags! {
/// [`virDomainMemoryModFlags`](https://libvirt.org/search.html?q=virDomainMemoryModFlags)
DomainMemoryModFlags {
/// `VIR_DOMAIN_MEM_CURRENT`, since 0.9.1.
CURRENT = 0x0;
/// `VIR_DOMAIN_MEM_LIVE`, since 0.9.0.
LIVE = 0x1;
/// `VIR_DOMAIN_MEM_CONFIG`, since 0.9.0.
CONFIG = 0x2;
/// `VIR_DOMAIN_MEM_MAXIMUM`, since 0.9.1.
MAXIMUM = 0x4;
}
}

flags! {
/// [`virDomainMessageType`](https://libvirt.org/search.html?q=virDomainMessageType)
DomainMessageType {
/// `VIR_DOMAIN_MESSAGE_DEPRECATION`, since 7.1.0.
DEPRECATION = 0x1;
/// `VIR_DOMAIN_MESSAGE_TAINTING`, since 7.1.0.
TAINTING = 0x2;
/// `VIR_DOMAIN_MESSAGE_IOERRORS`, since 11.1.0.
IOERRORS = 0x4;
}
}

flags! {
/// [`virDomainMigrateFlags`](https://libvirt.org/search.html?q=virDomainMigrateFlags)
DomainMigrateFlags {
/// `VIR_MIGRATE_LIVE`, since 0.3.2.
LIVE = 0x1;
/// `VIR_MIGRATE_PEER2PEER`, since 0.7.2.
PEER2PEER = 0x2;
/// `VIR_MIGRATE_TUNNELLED`, since 0.7.2.
TUNNELLED = 0x4;
/// `VIR_MIGRATE_PERSIST_DEST`, since 0.7.3.
PERSIST_DEST = 0x8;
/// `VIR_MIGRATE_UNDEFINE_SOURCE`, since 0.7.3.
UNDEFINE_SOURCE = 0x10;
/// `VIR_MIGRATE_PAUSED`, since 0.7.5.
PAUSED = 0x20;
/// `VIR_MIGRATE_NON_SHARED_DISK`, since 0.8.2.
NON_SHARED_DISK = 0x40;
/// `VIR_MIGRATE_NON_SHARED_INC`, since 0.8.2.
NON_SHARED_INC = 0x80;
/// `VIR_MIGRATE_CHANGE_PROTECTION`, since 0.9.4.
CHANGE_PROTECTION = 0x100;
/// `VIR_MIGRATE_UNSAFE`, since 0.9.11.
UNSAFE = 0x200;
/// `VIR_MIGRATE_OFFLINE`, since 1.0.1.
OFFLINE = 0x400;
/// `VIR_MIGRATE_COMPRESSED`, since 1.0.3.
COMPRESSED = 0x800;
/// `VIR_MIGRATE_ABORT_ON_ERROR`, since 1.1.0.
ABORT_ON_ERROR = 0x1000;
/// `VIR_MIGRATE_AUTO_CONVERGE`, since 1.2.3.
AUTO_CONVERGE = 0x2000;
/// `VIR_MIGRATE_RDMA_PIN_ALL`, since 1.2.9.
RDMA_PIN_ALL = 0x4000;
/// `VIR_MIGRATE_POSTCOPY`, since 1.3.3.
POSTCOPY = 0x8000;
/// `VIR_MIGRATE_TLS`, since 3.2.0.
TLS = 0x10000;
/// `VIR_MIGRATE_PARALLEL`, since 5.2.0.
PARALLEL = 0x20000;
/// `VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES`, since 8.0.0.
NON_SHARED_SYNCHRONOUS_WRITES = 0x40000;
/// `VIR_MIGRATE_POSTCOPY_RESUME`, since 8.5.0.
POSTCOPY_RESUME = 0x80000;
/// `VIR_MIGRATE_ZEROCOPY`, since 8.5.0.
ZEROCOPY = 0x100000;
}
}

flags! {
/// [`virDomainMigrateMaxSpeedFlags`](https://libvirt.org/search.html?q=virDomainMigrateMaxSpeedFlags)
DomainMigrateMaxSpeedFlags {
/// `VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY`, since 5.1.0.
POSTCOPY = 0x1;
}
}

flags! {
/// [`virDomainModificationImpact`](https://libvirt.org/search.html?q=virDomainModificationImpact)
DomainModificationImpact {
/// `VIR_DOMAIN_AFFECT_CURRENT`, since 0.9.2.
CURRENT = 0x0;
/// `VIR_DOMAIN_AFFECT_LIVE`, since 0.9.2.
LIVE = 0x1;
/// `VIR_DOMAIN_AFFECT_CONFIG`, since 0.9.2.
CONFIG = 0x2;
}
}

flags! {
/// [`virDomainOpenGraphicsFlags`](https://libvirt.org/search.html?q=virDomainOpenGraphicsFlags)
DomainOpenGraphicsFlags {
/// `VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH`, since 0.9.7.
SKIPAUTH = 0x1;
}
}

flags! {
/// [`virDomainQemuMonitorCommandFlags`](https://libvirt.org/search.html?q=virDomainQemuMonitorCommandFlags)
DomainQemuMonitorCommandFlags {
/// `VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT`, since 0.8.8.
DEFAULT = 0x0;
/// `VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP`, since 0.8.8.
HMP = 0x1;
}
}

flags! {
/// [`virDomainRebootFlagValues`](https://libvirt.org/search.html?q=virDomainRebootFlagValues)
DomainRebootFlags {
/// `VIR_DOMAIN_REBOOT_DEFAULT`, since 0.9.10.
DEFAULT = 0x0;
/// `VIR_DOMAIN_REBOOT_ACPI_POWER_BTN`, since 0.9.10.
ACPI_POWER_BTN = 0x1;
/// `VIR_DOMAIN_REBOOT_GUEST_AGENT`, since 0.9.10.
GUEST_AGENT = 0x2;
/// `VIR_DOMAIN_REBOOT_INITCTL`, since 1.0.1.
INITCTL = 0x4;
/// `VIR_DOMAIN_REBOOT_SIGNAL`, since 1.0.1.
SIGNAL = 0x8;
/// `VIR_DOMAIN_REBOOT_PARAVIRT`, since 1.2.5.
PARAVIRT = 0x10;
}
}

flags! {
/// [`virDomainSaveImageXMLFlags`](https://libvirt.org/search.html?q=virDomainSaveImageXMLFlags)
DomainSaveImageXmlFlags {
/// `VIR_DOMAIN_SAVE_IMAGE_XML_SECURE`, since 5.1.0.
SECURE = 0x1;
}
}

flags! {
/// [`virDomainSaveRestoreFlags`](https://libvirt.org/search.html?q=virDomainSaveRestoreFlags)
DomainSaveRestoreFlags {
/// `VIR_DOMAIN_SAVE_BYPASS_CACHE`, since 0.9.4.
BYPASS_CACHE = 0x1;
/// `VIR_DOMAIN_SAVE_RUNNING`, since 0.9.5.
RUNNING = 0x2;
/// `VIR_DOMAIN_SAVE_PAUSED`, since 0.9.5.
PAUSED = 0x4;
/// `VIR_DOMAIN_SAVE_RESET_NVRAM`, since 8.1.0.
RESET_NVRAM = 0x8;
}
}

flags! {
/// [`virDomainSetTimeFlags`](https://libvirt.org/search.html?q=virDomainSetTimeFlags)
DomainSetTimeFlags {
/// `VIR_DOMAIN_TIME_SYNC`, since 1.2.5.
TIME_SYNC = 0x1;
}
}

flags! {
/// [`virDomainSetUserPasswordFlags`](https://libvirt.org/search.html?q=virDomainSetUserPasswordFlags)
DomainSetUserPasswordFlags {
/// `VIR_DOMAIN_PASSWORD_ENCRYPTED`, since 1.2.16.
PASSWORD_ENCRYPTED = 0x1;
}
}

flags! {
/// [`virDomainShutdownFlagValues`](https://libvirt.org/search.html?q=virDomainShutdownFlagValues)
DomainShutdownFlags {
/// `VIR_DOMAIN_SHUTDOWN_DEFAULT`, since 0.9.10.
DEFAULT = 0x0;
/// `VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN`, since 0.9.10.
ACPI_POWER_BTN = 0x1;
/// `VIR_DOMAIN_SHUTDOWN_GUEST_AGENT`, since 0.9.10.
GUEST_AGENT = 0x2;
/// `VIR_DOMAIN_SHUTDOWN_INITCTL`, since 1.0.1.
INITCTL = 0x4;
/// `VIR_DOMAIN_SHUTDOWN_SIGNAL`, since 1.0.1.
SIGNAL = 0x8;
/// `VIR_DOMAIN_SHUTDOWN_PARAVIRT`, since 1.2.5.
PARAVIRT = 0x10;
}
}

flags! {
/// [`virDomainSnapshotCreateFlags`](https://libvirt.org/search.html?q=virDomainSnapshotCreateFlags)
DomainSnapshotCreateFlags {
/// `VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE`, since 0.9.5.
REDEFINE = 0x1;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT`, since 0.9.5.
CURRENT = 0x2;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA`, since 0.9.5.
NO_METADATA = 0x4;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_HALT`, since 0.9.5.
HALT = 0x8;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY`, since 0.9.5.
DISK_ONLY = 0x10;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT`, since 0.9.10.
REUSE_EXT = 0x20;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE`, since 0.9.10.
QUIESCE = 0x40;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC`, since 0.9.11.
ATOMIC = 0x80;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_LIVE`, since 1.0.1.
LIVE = 0x100;
/// `VIR_DOMAIN_SNAPSHOT_CREATE_VALIDATE`, since 5.6.0.
VALIDATE = 0x200;
}
}

flags! {
/// [`virDomainSnapshotDeleteFlags`](https://libvirt.org/search.html?q=virDomainSnapshotDeleteFlags)
DomainSnapshotDeleteFlags {
/// `VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN`, since 0.8.0.
CHILDREN = 0x1;
/// `VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY`, since 0.9.5.
METADATA_ONLY = 0x2;
/// `VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN_ONLY`, since 0.9.5.
CHILDREN_ONLY = 0x4;
}
}

flags! {
/// [`virDomainSnapshotListFlags`](https://libvirt.org/search.html?q=virDomainSnapshotListFlags)
DomainSnapshotListFlags {
/// `VIR_DOMAIN_SNAPSHOT_LIST_DESCENDANTS`, since 0.9.7.
DESCENDANTS = 0x1;
/// `VIR_DOMAIN_SNAPSHOT_LIST_ROOTS`, since 0.9.5.
ROOTS = 0x1;
/// `VIR_DOMAIN_SNAPSHOT_LIST_METADATA`, since 0.9.5.
METADATA = 0x2;
/// `VIR_DOMAIN_SNAPSHOT_LIST_LEAVES`, since 0.9.7.
LEAVES = 0x4;
/// `VIR_DOMAIN_SNAPSHOT_LIST_NO_LEAVES`, since 0.9.13.
NO_LEAVES = 0x8;
/// `VIR_DOMAIN_SNAPSHOT_LIST_NO_METADATA`, since 0.9.13.
NO_METADATA = 0x10;
/// `VIR_DOMAIN_SNAPSHOT_LIST_INACTIVE`, since 1.0.1.
INACTIVE = 0x20;
/// `VIR_DOMAIN_SNAPSHOT_LIST_ACTIVE`, since 1.0.1.
ACTIVE = 0x40;
/// `VIR_DOMAIN_SNAPSHOT_LIST_DISK_ONLY`, since 1.0.1.
DISK_ONLY = 0x80;
/// `VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL`, since 1.0.1.
INTERNAL = 0x100;
/// `VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL`, since 1.0.1.
EXTERNAL = 0x200;
/// `VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL`, since 5.2.0.
TOPOLOGICAL = 0x400;
}
}

flags! {
/// [`virDomainSnapshotRevertFlags`](https://libvirt.org/search.html?q=virDomainSnapshotRevertFlags)
DomainSnapshotRevertFlags {
/// `VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING`, since 0.9.5.
RUNNING = 0x1;
/// `VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED`, since 0.9.5.
PAUSED = 0x2;
/// `VIR_DOMAIN_SNAPSHOT_REVERT_FORCE`, since 0.9.7.
FORCE = 0x4;
/// `VIR_DOMAIN_SNAPSHOT_REVERT_RESET_NVRAM`, since 8.1.0.
RESET_NVRAM = 0x8;
}
}

flags! {
/// [`virDomainSnapshotXMLFlags`](https://libvirt.org/search.html?q=virDomainSnapshotXMLFlags)
DomainSnapshotXmlFlags {
/// `VIR_DOMAIN_SNAPSHOT_XML_SECURE`, since 5.1.0.
SECURE = 0x1;
}
}

flags! {
/// [`virDomainStatsTypes`](https://libvirt.org/search.html?q=virDomainStatsTypes)
DomainStatsTypes {
/// `VIR_DOMAIN_STATS_STATE`, since 1.2.8.
STATE = 0x1;
/// `VIR_DOMAIN_STATS_CPU_TOTAL`, since 1.2.9.
CPU_TOTAL = 0x2;
/// `VIR_DOMAIN_STATS_BALLOON`, since 1.2.9.
BALLOON = 0x4;
/// `VIR_DOMAIN_STATS_VCPU`, since 1.2.9.
VCPU = 0x8;
/// `VIR_DOMAIN_STATS_INTERFACE`, since 1.2.9.
INTERFACE = 0x10;
/// `VIR_DOMAIN_STATS_BLOCK`, since 1.2.9.
BLOCK = 0x20;
/// `VIR_DOMAIN_STATS_PERF`, since 1.3.3.
PERF = 0x40;
/// `VIR_DOMAIN_STATS_IOTHREAD`, since 4.10.0.
IOTHREAD = 0x80;
/// `VIR_DOMAIN_STATS_MEMORY`, since 6.0.0.
MEMORY = 0x100;
/// `VIR_DOMAIN_STATS_DIRTYRATE`, since 7.2.0.
DIRTYRATE = 0x200;
/// `VIR_DOMAIN_STATS_VM`, since 8.9.0.
VM = 0x400;
}
}

flags! {
/// [`virDomainUndefineFlagsValues`](https://libvirt.org/search.html?q=virDomainUndefineFlagsValues)
DomainUndefineFlags {
/// `VIR_DOMAIN_UNDEFINE_MANAGED_SAVE`, since 0.9.4.
MANAGED_SAVE = 0x1;
/// `VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA`, since 0.9.5.
SNAPSHOTS_METADATA = 0x2;
/// `VIR_DOMAIN_UNDEFINE_NVRAM`, since 1.2.9.
NVRAM = 0x4;
/// `VIR_DOMAIN_UNDEFINE_KEEP_NVRAM`, since 2.3.0.
KEEP_NVRAM = 0x8;
/// `VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA`, since 5.6.0.
CHECKPOINTS_METADATA = 0x10;
/// `VIR_DOMAIN_UNDEFINE_TPM`, since 8.9.0.
TPM = 0x20;
/// `VIR_DOMAIN_UNDEFINE_KEEP_TPM`, since 8.9.0.
KEEP_TPM = 0x40;
}
}

flags! {
/// [`virDomainVcpuFlags`](https://libvirt.org/search.html?q=virDomainVcpuFlags)
DomainVcpuFlags {
/// `VIR_DOMAIN_VCPU_CURRENT`, since 0.9.4.
CURRENT = 0x0;
/// `VIR_DOMAIN_VCPU_LIVE`, since 0.8.5.
LIVE = 0x1;
/// `VIR_DOMAIN_VCPU_CONFIG`, since 0.8.5.
CONFIG = 0x2;
/// `VIR_DOMAIN_VCPU_MAXIMUM`, since 0.8.5.
MAXIMUM = 0x4;
/// `VIR_DOMAIN_VCPU_GUEST`, since 1.1.0.
GUEST = 0x8;
/// `VIR_DOMAIN_VCPU_HOTPLUGGABLE`, since 2.4.0.
HOTPLUGGABLE = 0x10;
}
}

flags! {
/// [`virDomainXMLFlags`](https://libvirt.org/search.html?q=virDomainXMLFlags)
DomainXmlFlags {
/// `VIR_DOMAIN_XML_SECURE`, since 0.3.3.
SECURE = 0x1;
/// `VIR_DOMAIN_XML_INACTIVE`, since 0.3.3.
INACTIVE = 0x2;
/// `VIR_DOMAIN_XML_UPDATE_CPU`, since 0.8.0.
UPDATE_CPU = 0x4;
/// `VIR_DOMAIN_XML_MIGRATABLE`, since 1.0.0.
MIGRATABLE = 0x8;
}
}

flags! {
/// [`virInterfaceDefineFlags`](https://libvirt.org/search.html?q=virInterfaceDefineFlags)
InterfaceDefineFlags {
/// `VIR_INTERFACE_DEFINE_VALIDATE`, since 7.7.0.
VALIDATE = 0x1;
}
}

flags! {
/// [`virInterfaceXMLFlags`](https://libvirt.org/search.html?q=virInterfaceXMLFlags)
InterfaceXmlFlags {
/// `VIR_INTERFACE_XML_INACTIVE`, since 0.7.3.
INACTIVE = 0x1;
}
}

flags! {
/// [`virNWFilterBindingCreateFlags`](https://libvirt.org/search.html?q=virNWFilterBindingCreateFlags)
NwFilterBindingCreateFlags {
/// `VIR_NWFILTER_BINDING_CREATE_VALIDATE`, since 7.8.0.
NWFILTER_BINDING_CREATE_VALIDATE = 0x1;
}
}

flags! {
/// [`virNWFilterDefineFlags`](https://libvirt.org/search.html?q=virNWFilterDefineFlags)
NwFilterDefineFlags {
/// `VIR_NWFILTER_DEFINE_VALIDATE`, since 7.7.0.
NWFILTER_DEFINE_VALIDATE = 0x1;
}
}

flags! {
/// [`virNetworkCreateFlags`](https://libvirt.org/search.html?q=virNetworkCreateFlags)
NetworkCreateFlags {
/// `VIR_NETWORK_CREATE_VALIDATE`, since 7.8.0.
VALIDATE = 0x1;
}
}

flags! {
/// [`virNetworkDefineFlags`](https://libvirt.org/search.html?q=virNetworkDefineFlags)
NetworkDefineFlags {
/// `VIR_NETWORK_DEFINE_VALIDATE`, since 7.7.0.
VALIDATE = 0x1;
}
}

flags! {
/// [`virNetworkPortCreateFlags`](https://libvirt.org/search.html?q=virNetworkPortCreateFlags)
NetworkPortCreateFlags {
/// `VIR_NETWORK_PORT_CREATE_RECLAIM`, since 5.5.0.
RECLAIM = 0x1;
/// `VIR_NETWORK_PORT_CREATE_VALIDATE`, since 7.8.0.
VALIDATE = 0x2;
}
}

flags! {
/// [`virNetworkUpdateFlags`](https://libvirt.org/search.html?q=virNetworkUpdateFlags)
NetworkUpdateFlags {
/// `VIR_NETWORK_UPDATE_AFFECT_CURRENT`, since 0.10.2.
CURRENT = 0x0;
/// `VIR_NETWORK_UPDATE_AFFECT_LIVE`, since 0.10.2.
LIVE = 0x1;
/// `VIR_NETWORK_UPDATE_AFFECT_CONFIG`, since 0.10.2.
CONFIG = 0x2;
}
}

flags! {
/// [`virNetworkXMLFlags`](https://libvirt.org/search.html?q=virNetworkXMLFlags)
NetworkXmlFlags {
/// `VIR_NETWORK_XML_INACTIVE`, since 0.9.10.
INACTIVE = 0x1;
}
}

flags! {
/// [`virNodeAllocPagesFlags`](https://libvirt.org/search.html?q=virNodeAllocPagesFlags)
NodeAllocPagesFlags {
/// `VIR_NODE_ALLOC_PAGES_ADD`, since 1.2.9.
ADD = 0x0;
/// `VIR_NODE_ALLOC_PAGES_SET`, since 1.2.9.
SET = 0x1;
}
}

flags! {
/// [`virNodeDeviceCreateXMLFlags`](https://libvirt.org/search.html?q=virNodeDeviceCreateXMLFlags)
NodeDeviceCreateXmlFlags {
/// `VIR_NODE_DEVICE_CREATE_XML_VALIDATE`, since 8.10.0.
VALIDATE = 0x1;
}
}

flags! {
/// [`virNodeDeviceDefineXMLFlags`](https://libvirt.org/search.html?q=virNodeDeviceDefineXMLFlags)
NodeDeviceDefineXmlFlags {
/// `VIR_NODE_DEVICE_DEFINE_XML_VALIDATE`, since 8.10.0.
VALIDATE = 0x1;
}
}

flags! {
/// [`virNodeDeviceUpdateFlags`](https://libvirt.org/search.html?q=virNodeDeviceUpdateFlags)
NodeDeviceUpdateFlags {
/// `VIR_NODE_DEVICE_UPDATE_AFFECT_CURRENT`, since 10.1.0.
CURRENT = 0x0;
/// `VIR_NODE_DEVICE_UPDATE_AFFECT_LIVE`, since 10.1.0.
LIVE = 0x1;
/// `VIR_NODE_DEVICE_UPDATE_AFFECT_CONFIG`, since 10.1.0.
CONFIG = 0x2;
}
}

flags! {
/// [`virNodeDeviceXMLFlags`](https://libvirt.org/search.html?q=virNodeDeviceXMLFlags)
NodeDeviceXmlFlags {
/// `VIR_NODE_DEVICE_XML_INACTIVE`, since 10.1.0.
INACTIVE = 0x1;
}
}

flags! {
/// [`virSecretDefineFlags`](https://libvirt.org/search.html?q=virSecretDefineFlags)
SecretDefineFlags {
/// `VIR_SECRET_DEFINE_VALIDATE`, since 7.7.0.
VALIDATE = 0x1;
}
}

flags! {
/// [`virStoragePoolBuildFlags`](https://libvirt.org/search.html?q=virStoragePoolBuildFlags)
StoragePoolBuildFlags {
/// `VIR_STORAGE_POOL_BUILD_NEW`, since 0.4.1.
NEW = 0x0;
/// `VIR_STORAGE_POOL_BUILD_REPAIR`, since 0.4.1.
REPAIR = 0x1;
/// `VIR_STORAGE_POOL_BUILD_RESIZE`, since 0.4.1.
RESIZE = 0x2;
/// `VIR_STORAGE_POOL_BUILD_NO_OVERWRITE`, since 0.9.5.
NO_OVERWRITE = 0x4;
/// `VIR_STORAGE_POOL_BUILD_OVERWRITE`, since 0.9.5.
OVERWRITE = 0x8;
}
}

flags! {
/// [`virStoragePoolCreateFlags`](https://libvirt.org/search.html?q=virStoragePoolCreateFlags)
StoragePoolCreateFlags {
/// `VIR_STORAGE_POOL_CREATE_NORMAL`, since 1.3.1.
NORMAL = 0x0;
/// `VIR_STORAGE_POOL_CREATE_WITH_BUILD`, since 1.3.1.
WITH_BUILD = 0x1;
/// `VIR_STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE`, since 1.3.1.
WITH_BUILD_OVERWRITE = 0x2;
/// `VIR_STORAGE_POOL_CREATE_WITH_BUILD_NO_OVERWRITE`, since 1.3.1.
WITH_BUILD_NO_OVERWRITE = 0x4;
}
}

flags! {
/// [`virStoragePoolDefineFlags`](https://libvirt.org/search.html?q=virStoragePoolDefineFlags)
StoragePoolDefineFlags {
/// `VIR_STORAGE_POOL_DEFINE_VALIDATE`, since 7.7.0.
VALIDATE = 0x1;
}
}

flags! {
/// [`virStoragePoolDeleteFlags`](https://libvirt.org/search.html?q=virStoragePoolDeleteFlags)
StoragePoolDeleteFlags {
/// `VIR_STORAGE_POOL_DELETE_NORMAL`, since 0.4.1.
NORMAL = 0x0;
/// `VIR_STORAGE_POOL_DELETE_ZEROED`, since 0.4.1.
ZEROED = 0x1;
}
}

flags! {
/// [`virStorageVolCreateFlags`](https://libvirt.org/search.html?q=virStorageVolCreateFlags)
StorageVolCreateFlags {
/// `VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA`, since 1.0.1.
PREALLOC_METADATA = 0x1;
/// `VIR_STORAGE_VOL_CREATE_REFLINK`, since 1.2.13.
REFLINK = 0x2;
/// `VIR_STORAGE_VOL_CREATE_VALIDATE`, since 8.10.0.
VALIDATE = 0x4;
}
}

flags! {
/// [`virStorageVolDeleteFlags`](https://libvirt.org/search.html?q=virStorageVolDeleteFlags)
StorageVolDeleteFlags {
/// `VIR_STORAGE_VOL_DELETE_NORMAL`, since 0.4.1.
NORMAL = 0x0;
/// `VIR_STORAGE_VOL_DELETE_ZEROED`, since 0.4.1.
ZEROED = 0x1;
/// `VIR_STORAGE_VOL_DELETE_WITH_SNAPSHOTS`, since 1.2.21.
WITH_SNAPSHOTS = 0x2;
}
}

flags! {
/// [`virStorageVolDownloadFlags`](https://libvirt.org/search.html?q=virStorageVolDownloadFlags)
StorageVolDownloadFlags {
/// `VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM`, since 3.4.0.
SPARSE_STREAM = 0x1;
}
}

flags! {
/// [`virStorageVolInfoFlags`](https://libvirt.org/search.html?q=virStorageVolInfoFlags)
StorageVolInfoFlags {
/// `VIR_STORAGE_VOL_USE_ALLOCATION`, since 3.0.0.
USE_ALLOCATION = 0x0;
/// `VIR_STORAGE_VOL_GET_PHYSICAL`, since 3.0.0.
GET_PHYSICAL = 0x1;
}
}

flags! {
/// [`virStorageVolResizeFlags`](https://libvirt.org/search.html?q=virStorageVolResizeFlags)
StorageVolResizeFlags {
/// `VIR_STORAGE_VOL_RESIZE_ALLOCATE`, since 0.9.10.
ALLOCATE = 0x1;
/// `VIR_STORAGE_VOL_RESIZE_DELTA`, since 0.9.10.
DELTA = 0x2;
/// `VIR_STORAGE_VOL_RESIZE_SHRINK`, since 0.9.10.
SHRINK = 0x4;
}
}

flags! {
/// [`virStorageVolUploadFlags`](https://libvirt.org/search.html?q=virStorageVolUploadFlags)
StorageVolUploadFlags {
/// `VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM`, since 3.4.0.
SPARSE_STREAM = 0x1;
}
}

flags! {
/// [`virStorageXMLFlags`](https://libvirt.org/search.html?q=virStorageXMLFlags)
StorageXmlFlags {
/// `VIR_STORAGE_XML_INACTIVE`, since 0.9.13.
INACTIVE = 0x1;
}
}

flags! {
/// [`virTypedParameterFlags`](https://libvirt.org/search.html?q=virTypedParameterFlags)
TypedParameterFlags {
/// `VIR_TYPED_PARAM_STRING_OKAY`, since 0.9.8.
PARAM_STRING_OKAY = 0x4;
}
}

// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Names of typed parameters and other strings of the interface, under the names of their C macros.

/// `VIR_CLIENT_INFO_READONLY`, since 2.0.0.
pub const CLIENT_INFO_READONLY: &str = "readonly";
/// `VIR_CLIENT_INFO_SASL_USER_NAME`, since 2.0.0.
pub const CLIENT_INFO_SASL_USER_NAME: &str = "sasl_user_name";
/// `VIR_CLIENT_INFO_SELINUX_CONTEXT`, since 2.0.0.
pub const CLIENT_INFO_SELINUX_CONTEXT: &str = "selinux_context";
/// `VIR_CLIENT_INFO_SOCKET_ADDR`, since 2.0.0.
pub const CLIENT_INFO_SOCKET_ADDR: &str = "sock_addr";
/// `VIR_CLIENT_INFO_UNIX_GROUP_ID`, since 2.0.0.
pub const CLIENT_INFO_UNIX_GROUP_ID: &str = "unix_group_id";
/// `VIR_CLIENT_INFO_UNIX_GROUP_NAME`, since 2.0.0.
pub const CLIENT_INFO_UNIX_GROUP_NAME: &str = "unix_group_name";
/// `VIR_CLIENT_INFO_UNIX_PROCESS_ID`, since 2.0.0.
pub const CLIENT_INFO_UNIX_PROCESS_ID: &str = "unix_process_id";
/// `VIR_CLIENT_INFO_UNIX_USER_ID`, since 2.0.0.
pub const CLIENT_INFO_UNIX_USER_ID: &str = "unix_user_id";
/// `VIR_CLIENT_INFO_UNIX_USER_NAME`, since 2.0.0.
pub const CLIENT_INFO_UNIX_USER_NAME: &str = "unix_user_name";
/// `VIR_CLIENT_INFO_X509_DISTINGUISHED_NAME`, since 2.0.0.
pub const CLIENT_INFO_X509_DISTINGUISHED_NAME: &str = "tls_x509_dname";
/// `VIR_CONNECT_IDENTITY_GROUP_NAME`, since 5.8.0.
pub const CONNECT_IDENTITY_GROUP_NAME: &str = "group-name";
/// `VIR_CONNECT_IDENTITY_PROCESS_ID`, since 5.8.0.
pub const CONNECT_IDENTITY_PROCESS_ID: &str = "process-id";
/// `VIR_CONNECT_IDENTITY_PROCESS_TIME`, since 5.8.0.
pub const CONNECT_IDENTITY_PROCESS_TIME: &str = "process-time";
/// `VIR_CONNECT_IDENTITY_SASL_USER_NAME`, since 5.8.0.
pub const CONNECT_IDENTITY_SASL_USER_NAME: &str = "sasl-user-name";
/// `VIR_CONNECT_IDENTITY_SELINUX_CONTEXT`, since 5.8.0.
pub const CONNECT_IDENTITY_SELINUX_CONTEXT: &str = "selinux-context";
/// `VIR_CONNECT_IDENTITY_UNIX_GROUP_ID`, since 5.8.0.
pub const CONNECT_IDENTITY_UNIX_GROUP_ID: &str = "unix-group-id";
/// `VIR_CONNECT_IDENTITY_UNIX_USER_ID`, since 5.8.0.
pub const CONNECT_IDENTITY_UNIX_USER_ID: &str = "unix-user-id";
/// `VIR_CONNECT_IDENTITY_USER_NAME`, since 5.8.0.
pub const CONNECT_IDENTITY_USER_NAME: &str = "user-name";
/// `VIR_CONNECT_IDENTITY_X509_DISTINGUISHED_NAME`, since 5.8.0.
pub const CONNECT_IDENTITY_X509_DISTINGUISHED_NAME: &str = "x509-distinguished-name";
/// `VIR_DOMAIN_BANDWIDTH_IN_AVERAGE`, since 0.9.9.
pub const DOMAIN_BANDWIDTH_IN_AVERAGE: &str = "inbound.average";
/// `VIR_DOMAIN_BANDWIDTH_IN_BURST`, since 0.9.9.
pub const DOMAIN_BANDWIDTH_IN_BURST: &str = "inbound.burst";
/// `VIR_DOMAIN_BANDWIDTH_IN_FLOOR`, since 1.2.19.
pub const DOMAIN_BANDWIDTH_IN_FLOOR: &str = "inbound.floor";
/// `VIR_DOMAIN_BANDWIDTH_IN_PEAK`, since 0.9.9.
pub const DOMAIN_BANDWIDTH_IN_PEAK: &str = "inbound.peak";
/// `VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE`, since 0.9.9.
pub const DOMAIN_BANDWIDTH_OUT_AVERAGE: &str = "outbound.average";
/// `VIR_DOMAIN_BANDWIDTH_OUT_BURST`, since 0.9.9.
pub const DOMAIN_BANDWIDTH_OUT_BURST: &str = "outbound.burst";
/// `VIR_DOMAIN_BANDWIDTH_OUT_PEAK`, since 0.9.9.
pub const DOMAIN_BANDWIDTH_OUT_PEAK: &str = "outbound.peak";
/// `VIR_DOMAIN_BLKIO_DEVICE_READ_BPS`, since 1.2.2.
pub const DOMAIN_BLKIO_DEVICE_READ_BPS: &str = "device_read_bytes_sec";
/// `VIR_DOMAIN_BLKIO_DEVICE_READ_IOPS`, since 1.2.2.
pub const DOMAIN_BLKIO_DEVICE_READ_IOPS: &str = "device_read_iops_sec";
/// `VIR_DOMAIN_BLKIO_DEVICE_WEIGHT`, since 0.9.8.
pub const DOMAIN_BLKIO_DEVICE_WEIGHT: &str = "device_weight";
/// `VIR_DOMAIN_BLKIO_DEVICE_WRITE_BPS`, since 1.2.2.
pub const DOMAIN_BLKIO_DEVICE_WRITE_BPS: &str = "device_write_bytes_sec";
/// `VIR_DOMAIN_BLKIO_DEVICE_WRITE_IOPS`, since 1.2.2.
pub const DOMAIN_BLKIO_DEVICE_WRITE_IOPS: &str = "device_write_iops_sec";
/// `VIR_DOMAIN_BLKIO_WEIGHT`, since 0.9.0.
pub const DOMAIN_BLKIO_WEIGHT: &str = "weight";
/// `VIR_DOMAIN_BLOCK_COPY_BANDWIDTH`, since 1.2.8.
pub const DOMAIN_BLOCK_COPY_BANDWIDTH: &str = "bandwidth";
/// `VIR_DOMAIN_BLOCK_COPY_BUF_SIZE`, since 1.2.8.
pub const DOMAIN_BLOCK_COPY_BUF_SIZE: &str = "buf-size";
/// `VIR_DOMAIN_BLOCK_COPY_GRANULARITY`, since 1.2.8.
pub const DOMAIN_BLOCK_COPY_GRANULARITY: &str = "granularity";
/// `VIR_DOMAIN_BLOCK_IOTUNE_GROUP_NAME`, since 3.0.0.
pub const DOMAIN_BLOCK_IOTUNE_GROUP_NAME: &str = "group_name";
/// `VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC`, since 0.9.8.
pub const DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC: &str = "read_bytes_sec";
/// `VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX`, since 1.2.11.
pub const DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX: &str = "read_bytes_sec_max";
/// `VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX_LENGTH: &str = "read_bytes_sec_max_length";
/// `VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC`, since 0.9.8.
pub const DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC: &str = "read_iops_sec";
/// `VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX`, since 1.2.11.
pub const DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX: &str = "read_iops_sec_max";
/// `VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX_LENGTH: &str = "read_iops_sec_max_length";
/// `VIR_DOMAIN_BLOCK_IOTUNE_SIZE_IOPS_SEC`, since 1.2.11.
pub const DOMAIN_BLOCK_IOTUNE_SIZE_IOPS_SEC: &str = "size_iops_sec";
/// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC`, since 0.9.8.
pub const DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC: &str = "total_bytes_sec";
/// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX`, since 1.2.11.
pub const DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX: &str = "total_bytes_sec_max";
/// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX_LENGTH: &str = "total_bytes_sec_max_length";
/// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC`, since 0.9.8.
pub const DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC: &str = "total_iops_sec";
/// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX`, since 1.2.11.
pub const DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX: &str = "total_iops_sec_max";
/// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX_LENGTH: &str = "total_iops_sec_max_length";
/// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC`, since 0.9.8.
pub const DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC: &str = "write_bytes_sec";
/// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX`, since 1.2.11.
pub const DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX: &str = "write_bytes_sec_max";
/// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX_LENGTH: &str = "write_bytes_sec_max_length";
/// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC`, since 0.9.8.
pub const DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC: &str = "write_iops_sec";
/// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX`, since 1.2.11.
pub const DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX: &str = "write_iops_sec_max";
/// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX_LENGTH: &str = "write_iops_sec_max_length";
/// `VIR_DOMAIN_BLOCK_STATS_ERRS`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_ERRS: &str = "errs";
/// `VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_FLUSH_REQ: &str = "flush_operations";
/// `VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES: &str = "flush_total_times";
/// `VIR_DOMAIN_BLOCK_STATS_READ_BYTES`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_READ_BYTES: &str = "rd_bytes";
/// `VIR_DOMAIN_BLOCK_STATS_READ_REQ`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_READ_REQ: &str = "rd_operations";
/// `VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES: &str = "rd_total_times";
/// `VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_WRITE_BYTES: &str = "wr_bytes";
/// `VIR_DOMAIN_BLOCK_STATS_WRITE_REQ`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_WRITE_REQ: &str = "wr_operations";
/// `VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES`, since 0.9.5.
pub const DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES: &str = "wr_total_times";
/// `VIR_DOMAIN_CPU_STATS_CPUTIME`, since 0.9.10.
pub const DOMAIN_CPU_STATS_CPUTIME: &str = "cpu_time";
/// `VIR_DOMAIN_CPU_STATS_SYSTEMTIME`, since 0.9.11.
pub const DOMAIN_CPU_STATS_SYSTEMTIME: &str = "system_time";
/// `VIR_DOMAIN_CPU_STATS_USERTIME`, since 0.9.11.
pub const DOMAIN_CPU_STATS_USERTIME: &str = "user_time";
/// `VIR_DOMAIN_CPU_STATS_VCPUTIME`, since 0.9.13.
pub const DOMAIN_CPU_STATS_VCPUTIME: &str = "vcpu_time";
/// `VIR_DOMAIN_GUEST_INFO_DISK_COUNT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_COUNT: &str = "disk.count";
/// `VIR_DOMAIN_GUEST_INFO_DISK_PREFIX`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_PREFIX: &str = "disk.";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_ALIAS`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_ALIAS: &str = ".alias";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_COUNT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_COUNT: &str = ".dependency.count";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_PREFIX`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_PREFIX: &str = ".dependency.";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_GUEST_ALIAS`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_GUEST_ALIAS: &str = ".guest_alias";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_GUEST_BUS`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_GUEST_BUS: &str = ".guest_bus";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_PARTITION`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_PARTITION: &str = ".partition";
/// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_SERIAL`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_DISK_SUFFIX_SERIAL: &str = ".serial";
/// `VIR_DOMAIN_GUEST_INFO_FS_COUNT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_COUNT: &str = "fs.count";
/// `VIR_DOMAIN_GUEST_INFO_FS_PREFIX`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_PREFIX: &str = "fs.";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_COUNT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_COUNT: &str = ".disk.count";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_PREFIX`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_PREFIX: &str = ".disk.";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_ALIAS`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_ALIAS: &str = ".alias";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_DEVICE`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_DEVICE: &str = ".device";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_SERIAL`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_SERIAL: &str = ".serial";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_FSTYPE`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_FSTYPE: &str = ".fstype";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_MOUNTPOINT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_MOUNTPOINT: &str = ".mountpoint";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_TOTAL_BYTES`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_TOTAL_BYTES: &str = ".total-bytes";
/// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_USED_BYTES`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_FS_SUFFIX_USED_BYTES: &str = ".used-bytes";
/// `VIR_DOMAIN_GUEST_INFO_HOSTNAME_HOSTNAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_HOSTNAME_HOSTNAME: &str = "hostname";
/// `VIR_DOMAIN_GUEST_INFO_IF_COUNT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_COUNT: &str = "if.count";
/// `VIR_DOMAIN_GUEST_INFO_IF_PREFIX`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_PREFIX: &str = "if.";
/// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_COUNT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_COUNT: &str = ".addr.count";
/// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_PREFIX`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_PREFIX: &str = ".addr.";
/// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_ADDR`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_ADDR: &str = ".addr";
/// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_PREFIX`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_PREFIX: &str = ".prefix";
/// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_TYPE`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_TYPE: &str = ".type";
/// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_HWADDR`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_SUFFIX_HWADDR: &str = ".hwaddr";
/// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_IF_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_GUEST_INFO_LOAD_15M`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_LOAD_15M: &str = "load.15m";
/// `VIR_DOMAIN_GUEST_INFO_LOAD_1M`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_LOAD_1M: &str = "load.1m";
/// `VIR_DOMAIN_GUEST_INFO_LOAD_5M`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_LOAD_5M: &str = "load.5m";
/// `VIR_DOMAIN_GUEST_INFO_OS_ID`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_ID: &str = "os.id";
/// `VIR_DOMAIN_GUEST_INFO_OS_KERNEL_RELEASE`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_KERNEL_RELEASE: &str = "os.kernel-release";
/// `VIR_DOMAIN_GUEST_INFO_OS_KERNEL_VERSION`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_KERNEL_VERSION: &str = "os.kernel-version";
/// `VIR_DOMAIN_GUEST_INFO_OS_MACHINE`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_MACHINE: &str = "os.machine";
/// `VIR_DOMAIN_GUEST_INFO_OS_NAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_NAME: &str = "os.name";
/// `VIR_DOMAIN_GUEST_INFO_OS_PRETTY_NAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_PRETTY_NAME: &str = "os.pretty-name";
/// `VIR_DOMAIN_GUEST_INFO_OS_VARIANT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_VARIANT: &str = "os.variant";
/// `VIR_DOMAIN_GUEST_INFO_OS_VARIANT_ID`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_VARIANT_ID: &str = "os.variant-id";
/// `VIR_DOMAIN_GUEST_INFO_OS_VERSION`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_VERSION: &str = "os.version";
/// `VIR_DOMAIN_GUEST_INFO_OS_VERSION_ID`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_OS_VERSION_ID: &str = "os.version-id";
/// `VIR_DOMAIN_GUEST_INFO_TIMEZONE_NAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_TIMEZONE_NAME: &str = "timezone.name";
/// `VIR_DOMAIN_GUEST_INFO_TIMEZONE_OFFSET`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_TIMEZONE_OFFSET: &str = "timezone.offset";
/// `VIR_DOMAIN_GUEST_INFO_USER_COUNT`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_USER_COUNT: &str = "user.count";
/// `VIR_DOMAIN_GUEST_INFO_USER_PREFIX`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_USER_PREFIX: &str = "user.";
/// `VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_DOMAIN`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_USER_SUFFIX_DOMAIN: &str = ".domain";
/// `VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_LOGIN_TIME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_USER_SUFFIX_LOGIN_TIME: &str = ".login-time";
/// `VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_GUEST_INFO_USER_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_IOTHREAD_POLL_GROW`, since 4.10.0.
pub const DOMAIN_IOTHREAD_POLL_GROW: &str = "poll_grow";
/// `VIR_DOMAIN_IOTHREAD_POLL_MAX_NS`, since 4.10.0.
pub const DOMAIN_IOTHREAD_POLL_MAX_NS: &str = "poll_max_ns";
/// `VIR_DOMAIN_IOTHREAD_POLL_SHRINK`, since 4.10.0.
pub const DOMAIN_IOTHREAD_POLL_SHRINK: &str = "poll_shrink";
/// `VIR_DOMAIN_IOTHREAD_THREAD_POOL_MAX`, since 8.5.0.
pub const DOMAIN_IOTHREAD_THREAD_POOL_MAX: &str = "thread_pool_max";
/// `VIR_DOMAIN_IOTHREAD_THREAD_POOL_MIN`, since 8.5.0.
pub const DOMAIN_IOTHREAD_THREAD_POOL_MIN: &str = "thread_pool_min";
/// `VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE`, since 2.0.0.
pub const DOMAIN_JOB_AUTO_CONVERGE_THROTTLE: &str = "auto_converge_throttle";
/// `VIR_DOMAIN_JOB_COMPRESSION_BYTES`, since 1.0.3.
pub const DOMAIN_JOB_COMPRESSION_BYTES: &str = "compression_bytes";
/// `VIR_DOMAIN_JOB_COMPRESSION_CACHE`, since 1.0.3.
pub const DOMAIN_JOB_COMPRESSION_CACHE: &str = "compression_cache";
/// `VIR_DOMAIN_JOB_COMPRESSION_CACHE_MISSES`, since 1.0.3.
pub const DOMAIN_JOB_COMPRESSION_CACHE_MISSES: &str = "compression_cache_misses";
/// `VIR_DOMAIN_JOB_COMPRESSION_OVERFLOW`, since 1.0.3.
pub const DOMAIN_JOB_COMPRESSION_OVERFLOW: &str = "compression_overflow";
/// `VIR_DOMAIN_JOB_COMPRESSION_PAGES`, since 1.0.3.
pub const DOMAIN_JOB_COMPRESSION_PAGES: &str = "compression_pages";
/// `VIR_DOMAIN_JOB_DATA_PROCESSED`, since 1.0.3.
pub const DOMAIN_JOB_DATA_PROCESSED: &str = "data_processed";
/// `VIR_DOMAIN_JOB_DATA_REMAINING`, since 1.0.3.
pub const DOMAIN_JOB_DATA_REMAINING: &str = "data_remaining";
/// `VIR_DOMAIN_JOB_DATA_TOTAL`, since 1.0.3.
pub const DOMAIN_JOB_DATA_TOTAL: &str = "data_total";
/// `VIR_DOMAIN_JOB_DISK_BPS`, since 1.2.9.
pub const DOMAIN_JOB_DISK_BPS: &str = "disk_bps";
/// `VIR_DOMAIN_JOB_DISK_PROCESSED`, since 1.0.3.
pub const DOMAIN_JOB_DISK_PROCESSED: &str = "disk_processed";
/// `VIR_DOMAIN_JOB_DISK_REMAINING`, since 1.0.3.
pub const DOMAIN_JOB_DISK_REMAINING: &str = "disk_remaining";
/// `VIR_DOMAIN_JOB_DISK_TEMP_TOTAL`, since 6.0.0.
pub const DOMAIN_JOB_DISK_TEMP_TOTAL: &str = "disk_temp_total";
/// `VIR_DOMAIN_JOB_DISK_TEMP_USED`, since 6.0.0.
pub const DOMAIN_JOB_DISK_TEMP_USED: &str = "disk_temp_used";
/// `VIR_DOMAIN_JOB_DISK_TOTAL`, since 1.0.3.
pub const DOMAIN_JOB_DISK_TOTAL: &str = "disk_total";
/// `VIR_DOMAIN_JOB_DOWNTIME`, since 1.0.3.
pub const DOMAIN_JOB_DOWNTIME: &str = "downtime";
/// `VIR_DOMAIN_JOB_DOWNTIME_NET`, since 1.2.15.
pub const DOMAIN_JOB_DOWNTIME_NET: &str = "downtime_net";
/// `VIR_DOMAIN_JOB_ERRMSG`, since 6.3.0.
pub const DOMAIN_JOB_ERRMSG: &str = "errmsg";
/// `VIR_DOMAIN_JOB_MEMORY_BPS`, since 1.2.9.
pub const DOMAIN_JOB_MEMORY_BPS: &str = "memory_bps";
/// `VIR_DOMAIN_JOB_MEMORY_CONSTANT`, since 1.0.3.
pub const DOMAIN_JOB_MEMORY_CONSTANT: &str = "memory_constant";
/// `VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE`, since 1.3.1.
pub const DOMAIN_JOB_MEMORY_DIRTY_RATE: &str = "memory_dirty_rate";
/// `VIR_DOMAIN_JOB_MEMORY_ITERATION`, since 1.3.1.
pub const DOMAIN_JOB_MEMORY_ITERATION: &str = "memory_iteration";
/// `VIR_DOMAIN_JOB_MEMORY_NORMAL`, since 1.0.3.
pub const DOMAIN_JOB_MEMORY_NORMAL: &str = "memory_normal";
/// `VIR_DOMAIN_JOB_MEMORY_NORMAL_BYTES`, since 1.0.3.
pub const DOMAIN_JOB_MEMORY_NORMAL_BYTES: &str = "memory_normal_bytes";
/// `VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE`, since 3.9.0.
pub const DOMAIN_JOB_MEMORY_PAGE_SIZE: &str = "memory_page_size";
/// `VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS`, since 5.0.0.
pub const DOMAIN_JOB_MEMORY_POSTCOPY_REQS: &str = "memory_postcopy_requests";
/// `VIR_DOMAIN_JOB_MEMORY_PROCESSED`, since 1.0.3.
pub const DOMAIN_JOB_MEMORY_PROCESSED: &str = "memory_processed";
/// `VIR_DOMAIN_JOB_MEMORY_REMAINING`, since 1.0.3.
pub const DOMAIN_JOB_MEMORY_REMAINING: &str = "memory_remaining";
/// `VIR_DOMAIN_JOB_MEMORY_TOTAL`, since 1.0.3.
pub const DOMAIN_JOB_MEMORY_TOTAL: &str = "memory_total";
/// `VIR_DOMAIN_JOB_OPERATION`, since 3.3.0.
pub const DOMAIN_JOB_OPERATION: &str = "operation";
/// `VIR_DOMAIN_JOB_SETUP_TIME`, since 1.2.9.
pub const DOMAIN_JOB_SETUP_TIME: &str = "setup_time";
/// `VIR_DOMAIN_JOB_SUCCESS`, since 6.0.0.
pub const DOMAIN_JOB_SUCCESS: &str = "success";
/// `VIR_DOMAIN_JOB_TIME_ELAPSED`, since 1.0.3.
pub const DOMAIN_JOB_TIME_ELAPSED: &str = "time_elapsed";
/// `VIR_DOMAIN_JOB_TIME_ELAPSED_NET`, since 1.2.15.
pub const DOMAIN_JOB_TIME_ELAPSED_NET: &str = "time_elapsed_net";
/// `VIR_DOMAIN_JOB_TIME_REMAINING`, since 1.0.3.
pub const DOMAIN_JOB_TIME_REMAINING: &str = "time_remaining";
/// `VIR_DOMAIN_JOB_VFIO_DATA_TRANSFERRED`, since 10.6.0.
pub const DOMAIN_JOB_VFIO_DATA_TRANSFERRED: &str = "vfio_data_transferred";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_API_MAJOR`, since 8.0.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_API_MAJOR: &str = "sev-api-major";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_API_MINOR`, since 8.0.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_API_MINOR: &str = "sev-api-minor";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_BUILD_ID`, since 8.0.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_BUILD_ID: &str = "sev-build-id";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_MEASUREMENT`, since 4.5.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_MEASUREMENT: &str = "sev-measurement";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_POLICY`, since 8.0.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_POLICY: &str = "sev-policy";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET`, since 8.0.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_SECRET: &str = "sev-secret";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET_HEADER`, since 8.0.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_SECRET_HEADER: &str = "sev-secret-header";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET_SET_ADDRESS`, since 8.0.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_SECRET_SET_ADDRESS: &str = "sev-secret-set-address";
/// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_SNP_POLICY`, since 10.5.0.
pub const DOMAIN_LAUNCH_SECURITY_SEV_SNP_POLICY: &str = "sev-snp-policy";
/// `VIR_DOMAIN_MEMORY_HARD_LIMIT`, since 0.8.5.
pub const DOMAIN_MEMORY_HARD_LIMIT: &str = "hard_limit";
/// `VIR_DOMAIN_MEMORY_MIN_GUARANTEE`, since 0.8.5.
pub const DOMAIN_MEMORY_MIN_GUARANTEE: &str = "min_guarantee";
/// `VIR_DOMAIN_MEMORY_SOFT_LIMIT`, since 0.8.5.
pub const DOMAIN_MEMORY_SOFT_LIMIT: &str = "soft_limit";
/// `VIR_DOMAIN_MEMORY_SWAP_HARD_LIMIT`, since 0.8.5.
pub const DOMAIN_MEMORY_SWAP_HARD_LIMIT: &str = "swap_hard_limit";
/// `VIR_DOMAIN_NUMA_MODE`, since 0.9.9.
pub const DOMAIN_NUMA_MODE: &str = "numa_mode";
/// `VIR_DOMAIN_NUMA_NODESET`, since 0.9.9.
pub const DOMAIN_NUMA_NODESET: &str = "numa_nodeset";
/// `VIR_DOMAIN_SAVE_PARAM_DXML`, since 8.4.0.
pub const DOMAIN_SAVE_PARAM_DXML: &str = "dxml";
/// `VIR_DOMAIN_SAVE_PARAM_FILE`, since 8.4.0.
pub const DOMAIN_SAVE_PARAM_FILE: &str = "file";
/// `VIR_DOMAIN_SAVE_PARAM_IMAGE_FORMAT`, since 11.2.0.
pub const DOMAIN_SAVE_PARAM_IMAGE_FORMAT: &str = "image_format";
/// `VIR_DOMAIN_SAVE_PARAM_PARALLEL_CHANNELS`, since 11.2.0.
pub const DOMAIN_SAVE_PARAM_PARALLEL_CHANNELS: &str = "parallel.channels";
/// `VIR_DOMAIN_SCHEDULER_CAP`, since 0.9.7.
pub const DOMAIN_SCHEDULER_CAP: &str = "cap";
/// `VIR_DOMAIN_SCHEDULER_CPU_SHARES`, since 0.9.7.
pub const DOMAIN_SCHEDULER_CPU_SHARES: &str = "cpu_shares";
/// `VIR_DOMAIN_SCHEDULER_EMULATOR_PERIOD`, since 0.10.0.
pub const DOMAIN_SCHEDULER_EMULATOR_PERIOD: &str = "emulator_period";
/// `VIR_DOMAIN_SCHEDULER_EMULATOR_QUOTA`, since 0.10.0.
pub const DOMAIN_SCHEDULER_EMULATOR_QUOTA: &str = "emulator_quota";
/// `VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD`, since 1.3.3.
pub const DOMAIN_SCHEDULER_GLOBAL_PERIOD: &str = "global_period";
/// `VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA`, since 1.3.3.
pub const DOMAIN_SCHEDULER_GLOBAL_QUOTA: &str = "global_quota";
/// `VIR_DOMAIN_SCHEDULER_IOTHREAD_PERIOD`, since 2.2.0.
pub const DOMAIN_SCHEDULER_IOTHREAD_PERIOD: &str = "iothread_period";
/// `VIR_DOMAIN_SCHEDULER_IOTHREAD_QUOTA`, since 2.2.0.
pub const DOMAIN_SCHEDULER_IOTHREAD_QUOTA: &str = "iothread_quota";
/// `VIR_DOMAIN_SCHEDULER_LIMIT`, since 0.9.7.
pub const DOMAIN_SCHEDULER_LIMIT: &str = "limit";
/// `VIR_DOMAIN_SCHEDULER_RESERVATION`, since 0.9.7.
pub const DOMAIN_SCHEDULER_RESERVATION: &str = "reservation";
/// `VIR_DOMAIN_SCHEDULER_SHARES`, since 0.9.7.
pub const DOMAIN_SCHEDULER_SHARES: &str = "shares";
/// `VIR_DOMAIN_SCHEDULER_VCPU_PERIOD`, since 0.9.7.
pub const DOMAIN_SCHEDULER_VCPU_PERIOD: &str = "vcpu_period";
/// `VIR_DOMAIN_SCHEDULER_VCPU_QUOTA`, since 0.9.7.
pub const DOMAIN_SCHEDULER_VCPU_QUOTA: &str = "vcpu_quota";
/// `VIR_DOMAIN_SCHEDULER_WEIGHT`, since 0.9.7.
pub const DOMAIN_SCHEDULER_WEIGHT: &str = "weight";
/// `VIR_DOMAIN_STATS_BALLOON_AVAILABLE`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_AVAILABLE: &str = "balloon.available";
/// `VIR_DOMAIN_STATS_BALLOON_CURRENT`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_CURRENT: &str = "balloon.current";
/// `VIR_DOMAIN_STATS_BALLOON_DISK_CACHES`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_DISK_CACHES: &str = "balloon.disk_caches";
/// `VIR_DOMAIN_STATS_BALLOON_HUGETLB_PGALLOC`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_HUGETLB_PGALLOC: &str = "balloon.hugetlb_pgalloc";
/// `VIR_DOMAIN_STATS_BALLOON_HUGETLB_PGFAIL`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_HUGETLB_PGFAIL: &str = "balloon.hugetlb_pgfail";
/// `VIR_DOMAIN_STATS_BALLOON_LAST_UPDATE`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_LAST_UPDATE: &str = "balloon.last-update";
/// `VIR_DOMAIN_STATS_BALLOON_MAJOR_FAULT`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_MAJOR_FAULT: &str = "balloon.major_fault";
/// `VIR_DOMAIN_STATS_BALLOON_MAXIMUM`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_MAXIMUM: &str = "balloon.maximum";
/// `VIR_DOMAIN_STATS_BALLOON_MINOR_FAULT`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_MINOR_FAULT: &str = "balloon.minor_fault";
/// `VIR_DOMAIN_STATS_BALLOON_RSS`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_RSS: &str = "balloon.rss";
/// `VIR_DOMAIN_STATS_BALLOON_SWAP_IN`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_SWAP_IN: &str = "balloon.swap_in";
/// `VIR_DOMAIN_STATS_BALLOON_SWAP_OUT`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_SWAP_OUT: &str = "balloon.swap_out";
/// `VIR_DOMAIN_STATS_BALLOON_UNUSED`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_UNUSED: &str = "balloon.unused";
/// `VIR_DOMAIN_STATS_BALLOON_USABLE`, since 11.2.0.
pub const DOMAIN_STATS_BALLOON_USABLE: &str = "balloon.usable";
/// `VIR_DOMAIN_STATS_BLOCK_COUNT`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_COUNT: &str = "block.count";
/// `VIR_DOMAIN_STATS_BLOCK_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_PREFIX: &str = "block.";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_ALLOCATION`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_ALLOCATION: &str = ".allocation";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_BACKINGINDEX`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_BACKINGINDEX: &str = ".backingIndex";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_CAPACITY`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_CAPACITY: &str = ".capacity";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_ERRORS`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_ERRORS: &str = ".errors";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_FL_REQS`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_FL_REQS: &str = ".fl.reqs";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_FL_TIMES`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_FL_TIMES: &str = ".fl.times";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_PATH`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_PATH: &str = ".path";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_PHYSICAL`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_PHYSICAL: &str = ".physical";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_BYTES`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_RD_BYTES: &str = ".rd.bytes";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_REQS`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_RD_REQS: &str = ".rd.reqs";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_TIMES`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_RD_TIMES: &str = ".rd.times";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_THRESHOLD`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_THRESHOLD: &str = ".threshold";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_BYTES`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_WR_BYTES: &str = ".wr.bytes";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_REQS`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_WR_REQS: &str = ".wr.reqs";
/// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_TIMES`, since 11.2.0.
pub const DOMAIN_STATS_BLOCK_SUFFIX_WR_TIMES: &str = ".wr.times";
/// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_COUNT`, since 11.2.0.
pub const DOMAIN_STATS_CPU_CACHE_MONITOR_COUNT: &str = "cpu.cache.monitor.count";
/// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_CPU_CACHE_MONITOR_PREFIX: &str = "cpu.cache.monitor.";
/// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_COUNT`, since 11.2.0.
pub const DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_COUNT: &str = ".bank.count";
/// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_PREFIX: &str = ".bank.";
/// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_BYTES`, since 11.2.0.
pub const DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_BYTES: &str = ".bytes";
/// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_ID`, since 11.2.0.
pub const DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_ID: &str = ".id";
/// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_VCPUS`, since 11.2.0.
pub const DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_VCPUS: &str = ".vcpus";
/// `VIR_DOMAIN_STATS_CPU_HALTPOLL_FAIL_TIME`, since 11.2.0.
pub const DOMAIN_STATS_CPU_HALTPOLL_FAIL_TIME: &str = "cpu.haltpoll.fail.time";
/// `VIR_DOMAIN_STATS_CPU_HALTPOLL_SUCCESS_TIME`, since 11.2.0.
pub const DOMAIN_STATS_CPU_HALTPOLL_SUCCESS_TIME: &str = "cpu.haltpoll.success.time";
/// `VIR_DOMAIN_STATS_CPU_SYSTEM`, since 11.2.0.
pub const DOMAIN_STATS_CPU_SYSTEM: &str = "cpu.system";
/// `VIR_DOMAIN_STATS_CPU_TIME`, since 11.2.0.
pub const DOMAIN_STATS_CPU_TIME: &str = "cpu.time";
/// `VIR_DOMAIN_STATS_CPU_USER`, since 11.2.0.
pub const DOMAIN_STATS_CPU_USER: &str = "cpu.user";
/// `VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_CUR`, since 11.2.0.
pub const DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_CUR: &str = ".cur";
/// `VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_MAX`, since 11.2.0.
pub const DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_MAX: &str = ".max";
/// `VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_SUM`, since 11.2.0.
pub const DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_SUM: &str = ".sum";
/// `VIR_DOMAIN_STATS_DIRTYRATE_CALC_MODE`, since 11.2.0.
pub const DOMAIN_STATS_DIRTYRATE_CALC_MODE: &str = "dirtyrate.calc_mode";
/// `VIR_DOMAIN_STATS_DIRTYRATE_CALC_PERIOD`, since 11.2.0.
pub const DOMAIN_STATS_DIRTYRATE_CALC_PERIOD: &str = "dirtyrate.calc_period";
/// `VIR_DOMAIN_STATS_DIRTYRATE_CALC_START_TIME`, since 11.2.0.
pub const DOMAIN_STATS_DIRTYRATE_CALC_START_TIME: &str = "dirtyrate.calc_start_time";
/// `VIR_DOMAIN_STATS_DIRTYRATE_CALC_STATUS`, since 11.2.0.
pub const DOMAIN_STATS_DIRTYRATE_CALC_STATUS: &str = "dirtyrate.calc_status";
/// `VIR_DOMAIN_STATS_DIRTYRATE_MEGABYTES_PER_SECOND`, since 11.2.0.
pub const DOMAIN_STATS_DIRTYRATE_MEGABYTES_PER_SECOND: &str = "dirtyrate.megabytes_per_second";
/// `VIR_DOMAIN_STATS_DIRTYRATE_VCPU_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_DIRTYRATE_VCPU_PREFIX: &str = "dirtyrate.vcpu.";
/// `VIR_DOMAIN_STATS_DIRTYRATE_VCPU_SUFFIX_MEGABYTES_PER_SECOND`, since 11.2.0.
pub const DOMAIN_STATS_DIRTYRATE_VCPU_SUFFIX_MEGABYTES_PER_SECOND: &str = ".megabytes_per_second";
/// `VIR_DOMAIN_STATS_IOTHREAD_COUNT`, since 11.2.0.
pub const DOMAIN_STATS_IOTHREAD_COUNT: &str = "iothread.count";
/// `VIR_DOMAIN_STATS_IOTHREAD_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_IOTHREAD_PREFIX: &str = "iothread.";
/// `VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_GROW`, since 11.2.0.
pub const DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_GROW: &str = ".poll-grow";
/// `VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_MAX_NS`, since 11.2.0.
pub const DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_MAX_NS: &str = ".poll-max-ns";
/// `VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_SHRINK`, since 11.2.0.
pub const DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_SHRINK: &str = ".poll-shrink";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_COUNT`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_COUNT: &str = "memory.bandwidth.monitor.count";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_PREFIX: &str = "memory.bandwidth.monitor.";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_COUNT`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_COUNT: &str = ".node.count";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_PREFIX: &str = ".node.";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_LOCAL`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_LOCAL: &str = ".bytes.local";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_TOTAL`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_TOTAL: &str = ".bytes.total";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_ID`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_ID: &str = ".id";
/// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_VCPUS`, since 11.2.0.
pub const DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_VCPUS: &str = ".vcpus";
/// `VIR_DOMAIN_STATS_NET_COUNT`, since 11.2.0.
pub const DOMAIN_STATS_NET_COUNT: &str = "net.count";
/// `VIR_DOMAIN_STATS_NET_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_NET_PREFIX: &str = "net.";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_NAME`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_NAME: &str = ".name";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_RX_BYTES`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_RX_BYTES: &str = ".rx.bytes";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_RX_DROP`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_RX_DROP: &str = ".rx.drop";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_RX_ERRS`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_RX_ERRS: &str = ".rx.errs";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_RX_PKTS`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_RX_PKTS: &str = ".rx.pkts";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_TX_BYTES`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_TX_BYTES: &str = ".tx.bytes";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_TX_DROP`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_TX_DROP: &str = ".tx.drop";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_TX_ERRS`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_TX_ERRS: &str = ".tx.errs";
/// `VIR_DOMAIN_STATS_NET_SUFFIX_TX_PKTS`, since 11.2.0.
pub const DOMAIN_STATS_NET_SUFFIX_TX_PKTS: &str = ".tx.pkts";
/// `VIR_DOMAIN_STATS_PERF_ALIGNMENT_FAULTS`, since 11.2.0.
pub const DOMAIN_STATS_PERF_ALIGNMENT_FAULTS: &str = "perf.alignment_faults";
/// `VIR_DOMAIN_STATS_PERF_BRANCH_INSTRUCTIONS`, since 11.2.0.
pub const DOMAIN_STATS_PERF_BRANCH_INSTRUCTIONS: &str = "perf.branch_instructions";
/// `VIR_DOMAIN_STATS_PERF_BRANCH_MISSES`, since 11.2.0.
pub const DOMAIN_STATS_PERF_BRANCH_MISSES: &str = "perf.branch_misses";
/// `VIR_DOMAIN_STATS_PERF_BUS_CYCLES`, since 11.2.0.
pub const DOMAIN_STATS_PERF_BUS_CYCLES: &str = "perf.bus_cycles";
/// `VIR_DOMAIN_STATS_PERF_CACHE_MISSES`, since 11.2.0.
pub const DOMAIN_STATS_PERF_CACHE_MISSES: &str = "perf.cache_misses";
/// `VIR_DOMAIN_STATS_PERF_CACHE_REFERENCES`, since 11.2.0.
pub const DOMAIN_STATS_PERF_CACHE_REFERENCES: &str = "perf.cache_references";
/// `VIR_DOMAIN_STATS_PERF_CMT`, since 11.2.0.
pub const DOMAIN_STATS_PERF_CMT: &str = "perf.cmt";
/// `VIR_DOMAIN_STATS_PERF_CONTEXT_SWITCHES`, since 11.2.0.
pub const DOMAIN_STATS_PERF_CONTEXT_SWITCHES: &str = "perf.context_switches";
/// `VIR_DOMAIN_STATS_PERF_CPU_CLOCK`, since 11.2.0.
pub const DOMAIN_STATS_PERF_CPU_CLOCK: &str = "perf.cpu_clock";
/// `VIR_DOMAIN_STATS_PERF_CPU_CYCLES`, since 11.2.0.
pub const DOMAIN_STATS_PERF_CPU_CYCLES: &str = "perf.cpu_cycles";
/// `VIR_DOMAIN_STATS_PERF_CPU_MIGRATIONS`, since 11.2.0.
pub const DOMAIN_STATS_PERF_CPU_MIGRATIONS: &str = "perf.cpu_migrations";
/// `VIR_DOMAIN_STATS_PERF_EMULATION_FAULTS`, since 11.2.0.
pub const DOMAIN_STATS_PERF_EMULATION_FAULTS: &str = "perf.emulation_faults";
/// `VIR_DOMAIN_STATS_PERF_INSTRUCTIONS`, since 11.2.0.
pub const DOMAIN_STATS_PERF_INSTRUCTIONS: &str = "perf.instructions";
/// `VIR_DOMAIN_STATS_PERF_MBML`, since 11.2.0.
pub const DOMAIN_STATS_PERF_MBML: &str = "perf.mbml";
/// `VIR_DOMAIN_STATS_PERF_MBMT`, since 11.2.0.
pub const DOMAIN_STATS_PERF_MBMT: &str = "perf.mbmt";
/// `VIR_DOMAIN_STATS_PERF_PAGE_FAULTS`, since 11.2.0.
pub const DOMAIN_STATS_PERF_PAGE_FAULTS: &str = "perf.page_faults";
/// `VIR_DOMAIN_STATS_PERF_PAGE_FAULTS_MAJ`, since 11.2.0.
pub const DOMAIN_STATS_PERF_PAGE_FAULTS_MAJ: &str = "perf.page_faults_maj";
/// `VIR_DOMAIN_STATS_PERF_PAGE_FAULTS_MIN`, since 11.2.0.
pub const DOMAIN_STATS_PERF_PAGE_FAULTS_MIN: &str = "perf.page_faults_min";
/// `VIR_DOMAIN_STATS_PERF_REF_CPU_CYCLES`, since 11.2.0.
pub const DOMAIN_STATS_PERF_REF_CPU_CYCLES: &str = "perf.ref_cpu_cycles";
/// `VIR_DOMAIN_STATS_PERF_STALLED_CYCLES_BACKEND`, since 11.2.0.
pub const DOMAIN_STATS_PERF_STALLED_CYCLES_BACKEND: &str = "perf.stalled_cycles_backend";
/// `VIR_DOMAIN_STATS_PERF_STALLED_CYCLES_FRONTEND`, since 11.2.0.
pub const DOMAIN_STATS_PERF_STALLED_CYCLES_FRONTEND: &str = "perf.stalled_cycles_frontend";
/// `VIR_DOMAIN_STATS_PERF_TASK_CLOCK`, since 11.2.0.
pub const DOMAIN_STATS_PERF_TASK_CLOCK: &str = "perf.task_clock";
/// `VIR_DOMAIN_STATS_STATE_REASON`, since 11.2.0.
pub const DOMAIN_STATS_STATE_REASON: &str = "state.reason";
/// `VIR_DOMAIN_STATS_STATE_STATE`, since 11.2.0.
pub const DOMAIN_STATS_STATE_STATE: &str = "state.state";
/// `VIR_DOMAIN_STATS_VCPU_CURRENT`, since 11.2.0.
pub const DOMAIN_STATS_VCPU_CURRENT: &str = "vcpu.current";
/// `VIR_DOMAIN_STATS_VCPU_MAXIMUM`, since 11.2.0.
pub const DOMAIN_STATS_VCPU_MAXIMUM: &str = "vcpu.maximum";
/// `VIR_DOMAIN_STATS_VCPU_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_VCPU_PREFIX: &str = "vcpu.";
/// `VIR_DOMAIN_STATS_VCPU_SUFFIX_DELAY`, since 11.2.0.
pub const DOMAIN_STATS_VCPU_SUFFIX_DELAY: &str = ".delay";
/// `VIR_DOMAIN_STATS_VCPU_SUFFIX_HALTED`, since 11.2.0.
pub const DOMAIN_STATS_VCPU_SUFFIX_HALTED: &str = ".halted";
/// `VIR_DOMAIN_STATS_VCPU_SUFFIX_STATE`, since 11.2.0.
pub const DOMAIN_STATS_VCPU_SUFFIX_STATE: &str = ".state";
/// `VIR_DOMAIN_STATS_VCPU_SUFFIX_TIME`, since 11.2.0.
pub const DOMAIN_STATS_VCPU_SUFFIX_TIME: &str = ".time";
/// `VIR_DOMAIN_STATS_VCPU_SUFFIX_WAIT`, since 11.2.0.
pub const DOMAIN_STATS_VCPU_SUFFIX_WAIT: &str = ".wait";
/// `VIR_DOMAIN_STATS_VM_PREFIX`, since 11.2.0.
pub const DOMAIN_STATS_VM_PREFIX: &str = "vm.";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_DISK`, since 1.2.9.
pub const DOMAIN_TUNABLE_BLKDEV_DISK: &str = "blkdeviotune.disk";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_GROUP_NAME`, since 3.0.0.
pub const DOMAIN_TUNABLE_BLKDEV_GROUP_NAME: &str = "blkdeviotune.group_name";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC`, since 1.2.9.
pub const DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC: &str = "blkdeviotune.read_bytes_sec";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC_MAX`, since 1.2.11.
pub const DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC_MAX: &str = "blkdeviotune.read_bytes_sec_max";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC_MAX_LENGTH: &str = "blkdeviotune.read_bytes_sec_max_length";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC`, since 1.2.9.
pub const DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC: &str = "blkdeviotune.read_iops_sec";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC_MAX`, since 1.2.11.
pub const DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC_MAX: &str = "blkdeviotune.read_iops_sec_max";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC_MAX_LENGTH: &str = "blkdeviotune.read_iops_sec_max_length";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_SIZE_IOPS_SEC`, since 1.2.11.
pub const DOMAIN_TUNABLE_BLKDEV_SIZE_IOPS_SEC: &str = "blkdeviotune.size_iops_sec";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC`, since 1.2.9.
pub const DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC: &str = "blkdeviotune.total_bytes_sec";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC_MAX`, since 1.2.11.
pub const DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC_MAX: &str = "blkdeviotune.total_bytes_sec_max";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC_MAX_LENGTH: &str = "blkdeviotune.total_bytes_sec_max_length";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC`, since 1.2.9.
pub const DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC: &str = "blkdeviotune.total_iops_sec";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC_MAX`, since 1.2.11.
pub const DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC_MAX: &str = "blkdeviotune.total_iops_sec_max";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC_MAX_LENGTH: &str = "blkdeviotune.total_iops_sec_max_length";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC`, since 1.2.9.
pub const DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC: &str = "blkdeviotune.write_bytes_sec";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC_MAX`, since 1.2.11.
pub const DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC_MAX: &str = "blkdeviotune.write_bytes_sec_max";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC_MAX_LENGTH: &str = "blkdeviotune.write_bytes_sec_max_length";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC`, since 1.2.9.
pub const DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC: &str = "blkdeviotune.write_iops_sec";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC_MAX`, since 1.2.11.
pub const DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC_MAX: &str = "blkdeviotune.write_iops_sec_max";
/// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC_MAX_LENGTH`, since 2.4.0.
pub const DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC_MAX_LENGTH: &str = "blkdeviotune.write_iops_sec_max_length";
/// `VIR_DOMAIN_TUNABLE_CPU_CPU_SHARES`, since 1.2.9.
pub const DOMAIN_TUNABLE_CPU_CPU_SHARES: &str = "cputune.cpu_shares";
/// `VIR_DOMAIN_TUNABLE_CPU_EMULATORPIN`, since 1.2.9.
pub const DOMAIN_TUNABLE_CPU_EMULATORPIN: &str = "cputune.emulatorpin";
/// `VIR_DOMAIN_TUNABLE_CPU_EMULATOR_PERIOD`, since 1.2.9.
pub const DOMAIN_TUNABLE_CPU_EMULATOR_PERIOD: &str = "cputune.emulator_period";
/// `VIR_DOMAIN_TUNABLE_CPU_EMULATOR_QUOTA`, since 1.2.9.
pub const DOMAIN_TUNABLE_CPU_EMULATOR_QUOTA: &str = "cputune.emulator_quota";
/// `VIR_DOMAIN_TUNABLE_CPU_GLOBAL_PERIOD`, since 1.3.3.
pub const DOMAIN_TUNABLE_CPU_GLOBAL_PERIOD: &str = "cputune.global_period";
/// `VIR_DOMAIN_TUNABLE_CPU_GLOBAL_QUOTA`, since 1.3.3.
pub const DOMAIN_TUNABLE_CPU_GLOBAL_QUOTA: &str = "cputune.global_quota";
/// `VIR_DOMAIN_TUNABLE_CPU_IOTHREADSPIN`, since 1.2.14.
pub const DOMAIN_TUNABLE_CPU_IOTHREADSPIN: &str = "cputune.iothreadpin%u";
/// `VIR_DOMAIN_TUNABLE_CPU_IOTHREAD_PERIOD`, since 2.2.0.
pub const DOMAIN_TUNABLE_CPU_IOTHREAD_PERIOD: &str = "cputune.iothread_period";
/// `VIR_DOMAIN_TUNABLE_CPU_IOTHREAD_QUOTA`, since 2.2.0.
pub const DOMAIN_TUNABLE_CPU_IOTHREAD_QUOTA: &str = "cputune.iothread_quota";
/// `VIR_DOMAIN_TUNABLE_CPU_VCPUPIN`, since 1.2.9.
pub const DOMAIN_TUNABLE_CPU_VCPUPIN: &str = "cputune.vcpupin%u";
/// `VIR_DOMAIN_TUNABLE_CPU_VCPU_PERIOD`, since 1.2.9.
pub const DOMAIN_TUNABLE_CPU_VCPU_PERIOD: &str = "cputune.vcpu_period";
/// `VIR_DOMAIN_TUNABLE_CPU_VCPU_QUOTA`, since 1.2.9.
pub const DOMAIN_TUNABLE_CPU_VCPU_QUOTA: &str = "cputune.vcpu_quota";
/// `VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT`, since 2.0.0.
pub const MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT: &str = "auto_converge.increment";
/// `VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL`, since 2.0.0.
pub const MIGRATE_PARAM_AUTO_CONVERGE_INITIAL: &str = "auto_converge.initial";
/// `VIR_MIGRATE_PARAM_BANDWIDTH`, since 1.1.0.
pub const MIGRATE_PARAM_BANDWIDTH: &str = "bandwidth";
/// `VIR_MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER`, since 11.1.0.
pub const MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER: &str = "bandwidth.avail.switchover";
/// `VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY`, since 5.1.0.
pub const MIGRATE_PARAM_BANDWIDTH_POSTCOPY: &str = "bandwidth.postcopy";
/// `VIR_MIGRATE_PARAM_COMPRESSION`, since 1.3.4.
pub const MIGRATE_PARAM_COMPRESSION: &str = "compression";
/// `VIR_MIGRATE_PARAM_COMPRESSION_MT_DTHREADS`, since 1.3.4.
pub const MIGRATE_PARAM_COMPRESSION_MT_DTHREADS: &str = "compression.mt.dthreads";
/// `VIR_MIGRATE_PARAM_COMPRESSION_MT_LEVEL`, since 1.3.4.
pub const MIGRATE_PARAM_COMPRESSION_MT_LEVEL: &str = "compression.mt.level";
/// `VIR_MIGRATE_PARAM_COMPRESSION_MT_THREADS`, since 1.3.4.
pub const MIGRATE_PARAM_COMPRESSION_MT_THREADS: &str = "compression.mt.threads";
/// `VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE`, since 1.3.4.
pub const MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE: &str = "compression.xbzrle.cache";
/// `VIR_MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL`, since 9.4.0.
pub const MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL: &str = "compression.zlib.level";
/// `VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL`, since 9.4.0.
pub const MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL: &str = "compression.zstd.level";
/// `VIR_MIGRATE_PARAM_DEST_NAME`, since 1.1.0.
pub const MIGRATE_PARAM_DEST_NAME: &str = "destination_name";
/// `VIR_MIGRATE_PARAM_DEST_XML`, since 1.1.0.
pub const MIGRATE_PARAM_DEST_XML: &str = "destination_xml";
/// `VIR_MIGRATE_PARAM_DISKS_PORT`, since 1.3.3.
pub const MIGRATE_PARAM_DISKS_PORT: &str = "disks_port";
/// `VIR_MIGRATE_PARAM_DISKS_URI`, since 6.8.0.
pub const MIGRATE_PARAM_DISKS_URI: &str = "disks_uri";
/// `VIR_MIGRATE_PARAM_GRAPHICS_URI`, since 1.1.0.
pub const MIGRATE_PARAM_GRAPHICS_URI: &str = "graphics_uri";
/// `VIR_MIGRATE_PARAM_LISTEN_ADDRESS`, since 1.1.4.
pub const MIGRATE_PARAM_LISTEN_ADDRESS: &str = "listen_address";
/// `VIR_MIGRATE_PARAM_MIGRATE_DISKS`, since 1.2.17.
pub const MIGRATE_PARAM_MIGRATE_DISKS: &str = "migrate_disks";
/// `VIR_MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES`, since 10.9.0.
pub const MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES: &str = "migrate_disks_detect_zeroes";
/// `VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS`, since 5.2.0.
pub const MIGRATE_PARAM_PARALLEL_CONNECTIONS: &str = "parallel.connections";
/// `VIR_MIGRATE_PARAM_PERSIST_XML`, since 1.3.4.
pub const MIGRATE_PARAM_PERSIST_XML: &str = "persistent_xml";
/// `VIR_MIGRATE_PARAM_TLS_DESTINATION`, since 6.0.0.
pub const MIGRATE_PARAM_TLS_DESTINATION: &str = "tls.destination";
/// `VIR_MIGRATE_PARAM_URI`, since 1.1.0.
pub const MIGRATE_PARAM_URI: &str = "migrate_uri";
/// `VIR_NETWORK_PORT_BANDWIDTH_IN_AVERAGE`, since 5.5.0.
pub const NETWORK_PORT_BANDWIDTH_IN_AVERAGE: &str = "inbound.average";
/// `VIR_NETWORK_PORT_BANDWIDTH_IN_BURST`, since 5.5.0.
pub const NETWORK_PORT_BANDWIDTH_IN_BURST: &str = "inbound.burst";
/// `VIR_NETWORK_PORT_BANDWIDTH_IN_FLOOR`, since 5.5.0.
pub const NETWORK_PORT_BANDWIDTH_IN_FLOOR: &str = "inbound.floor";
/// `VIR_NETWORK_PORT_BANDWIDTH_IN_PEAK`, since 5.5.0.
pub const NETWORK_PORT_BANDWIDTH_IN_PEAK: &str = "inbound.peak";
/// `VIR_NETWORK_PORT_BANDWIDTH_OUT_AVERAGE`, since 5.5.0.
pub const NETWORK_PORT_BANDWIDTH_OUT_AVERAGE: &str = "outbound.average";
/// `VIR_NETWORK_PORT_BANDWIDTH_OUT_BURST`, since 5.5.0.
pub const NETWORK_PORT_BANDWIDTH_OUT_BURST: &str = "outbound.burst";
/// `VIR_NETWORK_PORT_BANDWIDTH_OUT_PEAK`, since 5.5.0.
pub const NETWORK_PORT_BANDWIDTH_OUT_PEAK: &str = "outbound.peak";
/// `VIR_NODE_CPU_STATS_IDLE`, since 0.9.3.
pub const NODE_CPU_STATS_IDLE: &str = "idle";
/// `VIR_NODE_CPU_STATS_INTR`, since 1.2.2.
pub const NODE_CPU_STATS_INTR: &str = "intr";
/// `VIR_NODE_CPU_STATS_IOWAIT`, since 0.9.3.
pub const NODE_CPU_STATS_IOWAIT: &str = "iowait";
/// `VIR_NODE_CPU_STATS_KERNEL`, since 0.9.3.
pub const NODE_CPU_STATS_KERNEL: &str = "kernel";
/// `VIR_NODE_CPU_STATS_USER`, since 0.9.3.
pub const NODE_CPU_STATS_USER: &str = "user";
/// `VIR_NODE_CPU_STATS_UTILIZATION`, since 0.9.3.
pub const NODE_CPU_STATS_UTILIZATION: &str = "utilization";
/// `VIR_NODE_MEMORY_SHARED_FULL_SCANS`, since 0.10.2.
pub const NODE_MEMORY_SHARED_FULL_SCANS: &str = "shm_full_scans";
/// `VIR_NODE_MEMORY_SHARED_MERGE_ACROSS_NODES`, since 1.0.0.
pub const NODE_MEMORY_SHARED_MERGE_ACROSS_NODES: &str = "shm_merge_across_nodes";
/// `VIR_NODE_MEMORY_SHARED_PAGES_SHARED`, since 0.10.2.
pub const NODE_MEMORY_SHARED_PAGES_SHARED: &str = "shm_pages_shared";
/// `VIR_NODE_MEMORY_SHARED_PAGES_SHARING`, since 0.10.2.
pub const NODE_MEMORY_SHARED_PAGES_SHARING: &str = "shm_pages_sharing";
/// `VIR_NODE_MEMORY_SHARED_PAGES_TO_SCAN`, since 0.10.2.
pub const NODE_MEMORY_SHARED_PAGES_TO_SCAN: &str = "shm_pages_to_scan";
/// `VIR_NODE_MEMORY_SHARED_PAGES_UNSHARED`, since 0.10.2.
pub const NODE_MEMORY_SHARED_PAGES_UNSHARED: &str = "shm_pages_unshared";
/// `VIR_NODE_MEMORY_SHARED_PAGES_VOLATILE`, since 0.10.2.
pub const NODE_MEMORY_SHARED_PAGES_VOLATILE: &str = "shm_pages_volatile";
/// `VIR_NODE_MEMORY_SHARED_SLEEP_MILLISECS`, since 0.10.2.
pub const NODE_MEMORY_SHARED_SLEEP_MILLISECS: &str = "shm_sleep_millisecs";
/// `VIR_NODE_MEMORY_STATS_BUFFERS`, since 0.9.3.
pub const NODE_MEMORY_STATS_BUFFERS: &str = "buffers";
/// `VIR_NODE_MEMORY_STATS_CACHED`, since 0.9.3.
pub const NODE_MEMORY_STATS_CACHED: &str = "cached";
/// `VIR_NODE_MEMORY_STATS_FREE`, since 0.9.3.
pub const NODE_MEMORY_STATS_FREE: &str = "free";
/// `VIR_NODE_MEMORY_STATS_TOTAL`, since 0.9.3.
pub const NODE_MEMORY_STATS_TOTAL: &str = "total";
/// `VIR_NODE_SEV_CBITPOS`, since 4.5.0.
pub const NODE_SEV_CBITPOS: &str = "cbitpos";
/// `VIR_NODE_SEV_CERT_CHAIN`, since 4.5.0.
pub const NODE_SEV_CERT_CHAIN: &str = "cert-chain";
/// `VIR_NODE_SEV_CPU0_ID`, since 8.4.0.
pub const NODE_SEV_CPU0_ID: &str = "cpu0-id";
/// `VIR_NODE_SEV_MAX_ES_GUESTS`, since 8.0.0.
pub const NODE_SEV_MAX_ES_GUESTS: &str = "max-es-guests";
/// `VIR_NODE_SEV_MAX_GUESTS`, since 8.0.0.
pub const NODE_SEV_MAX_GUESTS: &str = "max-guests";
/// `VIR_NODE_SEV_PDH`, since 4.5.0.
pub const NODE_SEV_PDH: &str = "pdh";
/// `VIR_NODE_SEV_REDUCED_PHYS_BITS`, since 4.5.0.
pub const NODE_SEV_REDUCED_PHYS_BITS: &str = "reduced-phys-bits";
/// `VIR_PERF_PARAM_ALIGNMENT_FAULTS`, since 3.2.0.
pub const PERF_PARAM_ALIGNMENT_FAULTS: &str = "alignment_faults";
/// `VIR_PERF_PARAM_BRANCH_INSTRUCTIONS`, since 3.0.0.
pub const PERF_PARAM_BRANCH_INSTRUCTIONS: &str = "branch_instructions";
/// `VIR_PERF_PARAM_BRANCH_MISSES`, since 3.0.0.
pub const PERF_PARAM_BRANCH_MISSES: &str = "branch_misses";
/// `VIR_PERF_PARAM_BUS_CYCLES`, since 3.0.0.
pub const PERF_PARAM_BUS_CYCLES: &str = "bus_cycles";
/// `VIR_PERF_PARAM_CACHE_MISSES`, since 2.3.0.
pub const PERF_PARAM_CACHE_MISSES: &str = "cache_misses";
/// `VIR_PERF_PARAM_CACHE_REFERENCES`, since 2.3.0.
pub const PERF_PARAM_CACHE_REFERENCES: &str = "cache_references";
/// `VIR_PERF_PARAM_CMT`, since 1.3.3.
pub const PERF_PARAM_CMT: &str = "cmt";
/// `VIR_PERF_PARAM_CONTEXT_SWITCHES`, since 3.2.0.
pub const PERF_PARAM_CONTEXT_SWITCHES: &str = "context_switches";
/// `VIR_PERF_PARAM_CPU_CLOCK`, since 3.2.0.
pub const PERF_PARAM_CPU_CLOCK: &str = "cpu_clock";
/// `VIR_PERF_PARAM_CPU_CYCLES`, since 2.3.0.
pub const PERF_PARAM_CPU_CYCLES: &str = "cpu_cycles";
/// `VIR_PERF_PARAM_CPU_MIGRATIONS`, since 3.2.0.
pub const PERF_PARAM_CPU_MIGRATIONS: &str = "cpu_migrations";
/// `VIR_PERF_PARAM_EMULATION_FAULTS`, since 3.2.0.
pub const PERF_PARAM_EMULATION_FAULTS: &str = "emulation_faults";
/// `VIR_PERF_PARAM_INSTRUCTIONS`, since 2.3.0.
pub const PERF_PARAM_INSTRUCTIONS: &str = "instructions";
/// `VIR_PERF_PARAM_MBML`, since 1.3.5.
pub const PERF_PARAM_MBML: &str = "mbml";
/// `VIR_PERF_PARAM_MBMT`, since 1.3.5.
pub const PERF_PARAM_MBMT: &str = "mbmt";
/// `VIR_PERF_PARAM_PAGE_FAULTS`, since 3.2.0.
pub const PERF_PARAM_PAGE_FAULTS: &str = "page_faults";
/// `VIR_PERF_PARAM_PAGE_FAULTS_MAJ`, since 3.2.0.
pub const PERF_PARAM_PAGE_FAULTS_MAJ: &str = "page_faults_maj";
/// `VIR_PERF_PARAM_PAGE_FAULTS_MIN`, since 3.2.0.
pub const PERF_PARAM_PAGE_FAULTS_MIN: &str = "page_faults_min";
/// `VIR_PERF_PARAM_REF_CPU_CYCLES`, since 3.0.0.
pub const PERF_PARAM_REF_CPU_CYCLES: &str = "ref_cpu_cycles";
/// `VIR_PERF_PARAM_STALLED_CYCLES_BACKEND`, since 3.0.0.
pub const PERF_PARAM_STALLED_CYCLES_BACKEND: &str = "stalled_cycles_backend";
/// `VIR_PERF_PARAM_STALLED_CYCLES_FRONTEND`, since 3.0.0.
pub const PERF_PARAM_STALLED_CYCLES_FRONTEND: &str = "stalled_cycles_frontend";
/// `VIR_PERF_PARAM_TASK_CLOCK`, since 3.2.0.
pub const PERF_PARAM_TASK_CLOCK: &str = "task_clock";
/// `VIR_SERVER_CLIENTS_CURRENT`, since 2.0.0.
pub const SERVER_CLIENTS_CURRENT: &str = "nclients";
/// `VIR_SERVER_CLIENTS_MAX`, since 2.0.0.
pub const SERVER_CLIENTS_MAX: &str = "nclients_max";
/// `VIR_SERVER_CLIENTS_UNAUTH_CURRENT`, since 2.0.0.
pub const SERVER_CLIENTS_UNAUTH_CURRENT: &str = "nclients_unauth";
/// `VIR_SERVER_CLIENTS_UNAUTH_MAX`, since 2.0.0.
pub const SERVER_CLIENTS_UNAUTH_MAX: &str = "nclients_unauth_max";
/// `VIR_THREADPOOL_JOB_QUEUE_DEPTH`, since 2.0.0.
pub const THREADPOOL_JOB_QUEUE_DEPTH: &str = "jobQueueDepth";
/// `VIR_THREADPOOL_WORKERS_CURRENT`, since 2.0.0.
pub const THREADPOOL_WORKERS_CURRENT: &str = "nWorkers";
/// `VIR_THREADPOOL_WORKERS_FREE`, since 2.0.0.
pub const THREADPOOL_WORKERS_FREE: &str = "freeWorkers";
/// `VIR_THREADPOOL_WORKERS_MAX`, since 2.0.0.
pub const THREADPOOL_WORKERS_MAX: &str = "maxWorkers";
/// `VIR_THREADPOOL_WORKERS_MIN`, since 2.0.0.
pub const THREADPOOL_WORKERS_MIN: &str = "minWorkers";
/// `VIR_THREADPOOL_WORKERS_PRIORITY`, since 2.0.0.
pub const THREADPOOL_WORKERS_PRIORITY: &str = "prioWorkers";

//! Typed parameters of domains, as structures: what each name means and which type it has is said once, here.

use super::Domain;
use crate::error::Error;
use crate::handle::methods;
use crate::params::{Params, parameters};
use libvirt_protocol::flags::DomainModificationImpact;
use libvirt_protocol::parameters::*;
use libvirt_protocol::remote::{self, *};

parameters! {
    /// How its CPU time is shared (`DOMAIN_SCHEDULER_*`). Periods and quotas are in microseconds; a negative quota is none.
    SchedulerParameters {
        /// Its weight against others.
        cpu_shares: u64 = DOMAIN_SCHEDULER_CPU_SHARES,
        /// Of which every virtual CPU gets `vcpu_quota`.
        vcpu_period: u64 = DOMAIN_SCHEDULER_VCPU_PERIOD,
        /// What every virtual CPU gets of a period.
        vcpu_quota: i64 = DOMAIN_SCHEDULER_VCPU_QUOTA,
        /// Of which the emulator gets `emulator_quota`.
        emulator_period: u64 = DOMAIN_SCHEDULER_EMULATOR_PERIOD,
        /// What the emulator gets of a period.
        emulator_quota: i64 = DOMAIN_SCHEDULER_EMULATOR_QUOTA,
        /// Of which everything together gets `global_quota`.
        global_period: u64 = DOMAIN_SCHEDULER_GLOBAL_PERIOD,
        /// What everything together gets of a period.
        global_quota: i64 = DOMAIN_SCHEDULER_GLOBAL_QUOTA,
        /// Of which the I/O threads get `iothread_quota`.
        iothread_period: u64 = DOMAIN_SCHEDULER_IOTHREAD_PERIOD,
        /// What the I/O threads get of a period.
        iothread_quota: i64 = DOMAIN_SCHEDULER_IOTHREAD_QUOTA,
    }
}

parameters! {
    /// Limits of its memory on the host, in KiB (`DOMAIN_MEMORY_*`).
    MemoryParameters {
        /// What it never exceeds.
        hard_limit: u64 = DOMAIN_MEMORY_HARD_LIMIT,
        /// What it is held to when memory is short.
        soft_limit: u64 = DOMAIN_MEMORY_SOFT_LIMIT,
        /// Memory and swap together.
        swap_hard_limit: u64 = DOMAIN_MEMORY_SWAP_HARD_LIMIT,
        /// What it always gets.
        min_guarantee: u64 = DOMAIN_MEMORY_MIN_GUARANTEE,
    }
}

parameters! {
    /// How its disk time is shared (`DOMAIN_BLKIO_*`). The limits by device are texts: `/dev/sda,500,/dev/sdb,700`.
    BlkioParameters {
        /// Its weight against others.
        weight: u32 = DOMAIN_BLKIO_WEIGHT,
        /// Its weight by device.
        device_weight: String = DOMAIN_BLKIO_DEVICE_WEIGHT,
        /// Reads a second, by device.
        device_read_iops: String = DOMAIN_BLKIO_DEVICE_READ_IOPS,
        /// Writes a second, by device.
        device_write_iops: String = DOMAIN_BLKIO_DEVICE_WRITE_IOPS,
        /// Bytes read a second, by device.
        device_read_bps: String = DOMAIN_BLKIO_DEVICE_READ_BPS,
        /// Bytes written a second, by device.
        device_write_bps: String = DOMAIN_BLKIO_DEVICE_WRITE_BPS,
    }
}

parameters! {
    /// Where its memory is on the host (`DOMAIN_NUMA_*`).
    NumaParameters {
        /// Nodes, as `0-3,^2`.
        nodeset: String = DOMAIN_NUMA_NODESET,
        /// How strictly (`virDomainNumatuneMemMode`).
        mode: i32 = DOMAIN_NUMA_MODE,
    }
}

parameters! {
    /// Bandwidth of one of its interfaces, in KiB a second; bursts in KiB (`DOMAIN_BANDWIDTH_*`).
    BandwidthParameters {
        /// Inwards, in the long run.
        in_average: u32 = DOMAIN_BANDWIDTH_IN_AVERAGE,
        /// Inwards, at most.
        in_peak: u32 = DOMAIN_BANDWIDTH_IN_PEAK,
        /// Inwards, how much at the peak's speed.
        in_burst: u32 = DOMAIN_BANDWIDTH_IN_BURST,
        /// Inwards, always.
        in_floor: u32 = DOMAIN_BANDWIDTH_IN_FLOOR,
        /// Outwards, in the long run.
        out_average: u32 = DOMAIN_BANDWIDTH_OUT_AVERAGE,
        /// Outwards, at most.
        out_peak: u32 = DOMAIN_BANDWIDTH_OUT_PEAK,
        /// Outwards, how much at the peak's speed.
        out_burst: u32 = DOMAIN_BANDWIDTH_OUT_BURST,
    }
}

parameters! {
    /// Limits of one of its disks: bytes and operations a second; 0 is none (`DOMAIN_BLOCK_IOTUNE_*`). The `…_max` ones may be reached
    /// for `…_max_length` seconds.
    BlockIoTune {
        /// Bytes read and written.
        total_bytes_sec: u64 = DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC,
        /// Bytes read.
        read_bytes_sec: u64 = DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC,
        /// Bytes written.
        write_bytes_sec: u64 = DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC,
        /// Reads and writes.
        total_iops_sec: u64 = DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC,
        /// Reads.
        read_iops_sec: u64 = DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC,
        /// Writes.
        write_iops_sec: u64 = DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC,
        /// Bytes read and written, for a while.
        total_bytes_sec_max: u64 = DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX,
        /// Bytes read, for a while.
        read_bytes_sec_max: u64 = DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX,
        /// Bytes written, for a while.
        write_bytes_sec_max: u64 = DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX,
        /// Reads and writes, for a while.
        total_iops_sec_max: u64 = DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX,
        /// Reads, for a while.
        read_iops_sec_max: u64 = DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX,
        /// Writes, for a while.
        write_iops_sec_max: u64 = DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX,
        /// Seconds of `total_bytes_sec_max`.
        total_bytes_sec_max_length: u64 = DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX_LENGTH,
        /// Seconds of `read_bytes_sec_max`.
        read_bytes_sec_max_length: u64 = DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX_LENGTH,
        /// Seconds of `write_bytes_sec_max`.
        write_bytes_sec_max_length: u64 = DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX_LENGTH,
        /// Seconds of `total_iops_sec_max`.
        total_iops_sec_max_length: u64 = DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX_LENGTH,
        /// Seconds of `read_iops_sec_max`.
        read_iops_sec_max_length: u64 = DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX_LENGTH,
        /// Seconds of `write_iops_sec_max`.
        write_iops_sec_max_length: u64 = DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX_LENGTH,
        /// Bytes that count as one operation.
        size_iops_sec: u64 = DOMAIN_BLOCK_IOTUNE_SIZE_IOPS_SEC,
        /// Disks of one group share the limits.
        group_name: String = DOMAIN_BLOCK_IOTUNE_GROUP_NAME,
    }
}

parameters! {
    /// How one of its I/O threads polls (`DOMAIN_IOTHREAD_*`).
    IoThreadParameters {
        /// At most so long, in nanoseconds.
        poll_max_ns: u64 = DOMAIN_IOTHREAD_POLL_MAX_NS,
        /// By how much it grows.
        poll_grow: u32 = DOMAIN_IOTHREAD_POLL_GROW,
        /// By how much it shrinks.
        poll_shrink: u32 = DOMAIN_IOTHREAD_POLL_SHRINK,
        /// Workers at least.
        thread_pool_min: i32 = DOMAIN_IOTHREAD_THREAD_POOL_MIN,
        /// Workers at most.
        thread_pool_max: i32 = DOMAIN_IOTHREAD_THREAD_POOL_MAX,
    }
}

impl Domain {
    /// How its CPU time is shared (`virDomainGetSchedulerParametersFlags`).
    ///
    /// # Errors
    /// As every call.
    pub async fn scheduler(&self, flags: DomainModificationImpact) -> Result<SchedulerParameters, Error> {
        if flags.is_empty() {
            // Some drivers have the call without flags alone.
            let args = DomainGetSchedulerParametersArgs { dom: self.wire(), nparams: 16 };
            let reply = self.connect().call::<remote::DomainGetSchedulerParameters>(&args).await?;
            return Ok(reply.result()?.params.iter().collect::<Params>().into());
        }
        let args = DomainGetSchedulerParametersFlagsArgs { dom: self.wire(), nparams: 16, flags };
        let reply = self.connect().call::<remote::DomainGetSchedulerParametersFlags>(&args).await?;
        Ok(reply.result()?.params.iter().collect::<Params>().into())
    }
}

// Calls that ask how many parameters there are also take more room than that: the protocol's limit saves a round trip.
methods! { Domain(this) {
    /// Says how its CPU time is shared (`virDomainSetSchedulerParametersFlags`).
    set_scheduler(parameters: &SchedulerParameters, flags: DomainModificationImpact)
        = remote::DomainSetSchedulerParametersFlags(DomainSetSchedulerParametersFlagsArgs {
            dom: this.wire(), params: Params::from(parameters).into_list(), flags,
        });
    /// Name of the host's scheduler (`virDomainGetSchedulerType`).
    scheduler_type() -> String
        = remote::DomainGetSchedulerType(DomainGetSchedulerTypeArgs { dom: this.wire() }) => |found| found.kind.into();
    /// Limits of its memory (`virDomainGetMemoryParameters`).
    memory_parameters(flags: DomainModificationImpact) -> MemoryParameters
        = remote::DomainGetMemoryParameters(DomainGetMemoryParametersArgs { dom: this.wire(), nparams: 16, flags })
        => |found| found.params.iter().collect::<Params>().into();
    /// Sets limits of its memory (`virDomainSetMemoryParameters`).
    set_memory_parameters(parameters: &MemoryParameters, flags: DomainModificationImpact)
        = remote::DomainSetMemoryParameters(DomainSetMemoryParametersArgs {
            dom: this.wire(), params: Params::from(parameters).into_list(), flags,
        });
    /// How its disk time is shared (`virDomainGetBlkioParameters`).
    blkio_parameters(flags: DomainModificationImpact) -> BlkioParameters
        = remote::DomainGetBlkioParameters(DomainGetBlkioParametersArgs { dom: this.wire(), nparams: 16, flags })
        => |found| found.params.iter().collect::<Params>().into();
    /// Says how its disk time is shared (`virDomainSetBlkioParameters`).
    set_blkio_parameters(parameters: &BlkioParameters, flags: DomainModificationImpact)
        = remote::DomainSetBlkioParameters(DomainSetBlkioParametersArgs {
            dom: this.wire(), params: Params::from(parameters).into_list(), flags,
        });
    /// Where its memory is (`virDomainGetNumaParameters`).
    numa_parameters(flags: DomainModificationImpact) -> NumaParameters
        = remote::DomainGetNumaParameters(DomainGetNumaParametersArgs { dom: this.wire(), nparams: 16, flags })
        => |found| found.params.iter().collect::<Params>().into();
    /// Says where its memory is (`virDomainSetNumaParameters`).
    set_numa_parameters(parameters: &NumaParameters, flags: DomainModificationImpact)
        = remote::DomainSetNumaParameters(DomainSetNumaParametersArgs {
            dom: this.wire(), params: Params::from(parameters).into_list(), flags,
        });
    /// Bandwidth of an interface (`virDomainGetInterfaceParameters`).
    interface_bandwidth(device: &str, flags: DomainModificationImpact) -> BandwidthParameters
        = remote::DomainGetInterfaceParameters(DomainGetInterfaceParametersArgs {
            dom: this.wire(), device: device.into(), nparams: 16, flags,
        }) => |found| found.params.iter().collect::<Params>().into();
    /// Sets the bandwidth of an interface (`virDomainSetInterfaceParameters`).
    set_interface_bandwidth(device: &str, parameters: &BandwidthParameters, flags: DomainModificationImpact)
        = remote::DomainSetInterfaceParameters(DomainSetInterfaceParametersArgs {
            dom: this.wire(), device: device.into(), params: Params::from(parameters).into_list(), flags,
        });
    /// Limits of a disk (`virDomainGetBlockIoTune`).
    block_io_tune(disk: &str, flags: DomainModificationImpact) -> BlockIoTune
        = remote::DomainGetBlockIoTune(DomainGetBlockIoTuneArgs {
            dom: this.wire(), disk: Some(disk.into()), nparams: 32, flags,
        }) => |found| found.params.iter().collect::<Params>().into();
    /// Sets limits of a disk (`virDomainSetBlockIoTune`).
    set_block_io_tune(disk: &str, parameters: &BlockIoTune, flags: DomainModificationImpact)
        = remote::DomainSetBlockIoTune(DomainSetBlockIoTuneArgs {
            dom: this.wire(), disk: disk.into(), params: Params::from(parameters).into_list(), flags,
        });
    /// Sets limits of a group of disks (`virDomainSetThrottleGroup`). The daemon wants the group's name among them too, and gets it.
    set_throttle_group(group: &str, parameters: &BlockIoTune, flags: DomainModificationImpact)
        = remote::DomainSetThrottleGroup(DomainSetThrottleGroupArgs {
            dom: this.wire(), group: group.into(), flags,
            params: Params::from(&BlockIoTune { group_name: Some(group.to_owned()), ..parameters.clone() }).into_list(),
        });
    /// Removes a group of disks (`virDomainDelThrottleGroup`).
    remove_throttle_group(group: &str, flags: DomainModificationImpact)
        = remote::DomainDelThrottleGroup(DomainDelThrottleGroupArgs {
            dom: this.wire(), group: Some(group.into()), flags,
        });
    /// Says how an I/O thread polls (`virDomainSetIOThreadParams`).
    set_iothread(id: u32, parameters: &IoThreadParameters, flags: DomainModificationImpact)
        = remote::DomainSetIoThreadParams(DomainSetIoThreadParamsArgs {
            dom: this.wire(), iothread_id: id, params: Params::from(parameters).into_list(), flags,
        });
    /// Which events of the processor are counted: names `PERF_PARAM_*` (`virDomainGetPerfEvents`).
    perf_events(flags: DomainModificationImpact) -> Params
        = remote::DomainGetPerfEvents(DomainGetPerfEventsArgs { dom: this.wire(), flags })
        => |found| found.params.iter().collect();
    /// Says which events of the processor are counted (`virDomainSetPerfEvents`).
    set_perf_events(parameters: &Params, flags: DomainModificationImpact)
        = remote::DomainSetPerfEvents(DomainSetPerfEventsArgs {
            dom: this.wire(), params: parameters.as_slice().into(), flags,
        });
} }

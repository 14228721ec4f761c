//! Memory, virtual CPUs and devices of domains.

use super::Domain;
use crate::error::Error;
use crate::handle::methods;
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{DomainMemoryStatTags, VcpuState};
use libvirt_protocol::flags::{
    DomainDeviceModifyFlags, DomainMemoryFlags, DomainMemoryModFlags, DomainModificationImpact,
    DomainVcpuFlags,
};
use libvirt_protocol::remote::{self, *};
use libvirt_protocol::xdr::Bytes;

/// A set of host CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuMap(Vec<u8>);

impl CpuMap {
    /// Whether a CPU is in it.
    #[must_use]
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.get(cpu / 8).is_some_and(|byte| byte & (1 << (cpu % 8)) != 0)
    }

    /// The CPUs in it.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 8).filter(|cpu| self.contains(*cpu))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromIterator<usize> for CpuMap {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        let mut map = Self::default();
        for cpu in cpus {
            if map.0.len() <= cpu / 8 {
                map.0.resize(cpu / 8 + 1, 0);
            }
            map.0[cpu / 8] |= 1 << (cpu % 8);
        }
        map
    }
}

/// A virtual CPU (`virVcpuInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcpuInfo {
    /// Its number.
    pub number: u32,
    /// Its state.
    pub state: VcpuState,
    /// CPU time used, in nanoseconds.
    pub cpu_time_ns: u64,
    /// The host CPU that it runs on, or a negative number.
    pub cpu: i32,
    /// Host CPUs that it may run on.
    pub allowed: CpuMap,
}

/// An I/O thread (`virDomainIOThreadInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoThread {
    /// Its number.
    pub id: u32,
    /// Host CPUs that it may run on.
    pub allowed: CpuMap,
}

/// Host CPUs that a map can name: the protocol's limit of 2048 bytes for each.
const MAP_LENGTH: i32 = 2048;

impl Domain {
    /// Its virtual CPUs, while it runs (`virDomainGetVcpus`).
    ///
    /// # Errors
    /// As every call.
    pub async fn vcpus(&self) -> Result<Vec<VcpuInfo>, Error> {
        let most = self.max_vcpus().await?;
        let host = self.connect().cpu_map().await?.0;
        let length = i32::try_from(host.as_bytes().len()).unwrap_or(MAP_LENGTH).min(MAP_LENGTH);
        let args = DomainGetVcpusArgs { dom: self.wire(), maxinfo: most, maplen: length };
        let reply = self.connect().call::<remote::DomainGetVcpus>(&args).await?;
        let found = reply.result()?;
        let maps = found.cpumaps.0.chunks(usize::try_from(length).unwrap_or(1).max(1));
        let maps = maps.map(CpuMap::from_bytes).chain(std::iter::repeat(CpuMap::default()));
        Ok(found
            .info
            .iter()
            .zip(maps)
            .map(|(info, allowed)| VcpuInfo {
                number: info.number,
                state: info.state,
                cpu_time_ns: info.cpu_time,
                cpu: info.cpu,
                allowed,
            })
            .collect())
    }
}

methods! { Domain(this) {
    /// Most memory it may have, in KiB (`virDomainGetMaxMemory`).
    max_memory() -> u64
        = remote::DomainGetMaxMemory(DomainGetMaxMemoryArgs { dom: this.wire() }) => |found| found.memory;
    /// Says how much memory it has, in KiB; the flags say whether that is the most it may have (`virDomainSetMemoryFlags`).
    set_memory(kib: u64, flags: DomainMemoryModFlags)
        = remote::DomainSetMemoryFlags(DomainSetMemoryFlagsArgs { dom: this.wire(), memory: kib, flags });
    /// Numbers about its memory, most in KiB (`virDomainMemoryStats`).
    memory_stats() -> Vec<(DomainMemoryStatTags, u64)>
        = remote::DomainMemoryStats(DomainMemoryStatsArgs { dom: this.wire(), max_stats: 1024, flags: NoFlags::empty() })
        => |found| found.stats.iter().map(|stat| (DomainMemoryStatTags::from(i32::from(stat.tag)), stat.val)).collect();
    /// Says how often the guest's balloon reports, in seconds; 0 stops it (`virDomainSetMemoryStatsPeriod`).
    set_memory_stats_period(seconds: i32, flags: DomainMemoryModFlags)
        = remote::DomainSetMemoryStatsPeriod(DomainSetMemoryStatsPeriodArgs { dom: this.wire(), period: seconds, flags });
    /// Reads the guest's memory: at most 64 KiB for most drivers (`virDomainMemoryPeek`).
    peek_memory(offset: u64, size: u32, flags: DomainMemoryFlags) -> Vec<u8>
        = remote::DomainMemoryPeek(DomainMemoryPeekArgs { dom: this.wire(), offset, size, flags })
        => |found| found.buffer.0.into_owned();
    /// Most virtual CPUs it may have (`virDomainGetMaxVcpus`).
    max_vcpus() -> i32
        = remote::DomainGetMaxVcpus(DomainGetMaxVcpusArgs { dom: this.wire() }) => |found| found.num;
    /// How many virtual CPUs it has; the flags say now, at the next start, or at most (`virDomainGetVcpusFlags`).
    vcpu_count(flags: DomainVcpuFlags) -> i32
        = remote::DomainGetVcpusFlags(DomainGetVcpusFlagsArgs { dom: this.wire(), flags }) => |found| found.num;
    /// Says how many virtual CPUs it has (`virDomainSetVcpusFlags`).
    set_vcpu_count(count: u32, flags: DomainVcpuFlags)
        = remote::DomainSetVcpusFlags(DomainSetVcpusFlagsArgs { dom: this.wire(), nvcpus: count, flags });
    /// Plugs virtual CPUs in (`state` 1) or out (0); `vcpus` as `0-3,7` (`virDomainSetVcpu`).
    set_vcpu(vcpus: &str, state: i32, flags: DomainModificationImpact)
        = remote::DomainSetVcpu(DomainSetVcpuArgs { dom: this.wire(), cpumap: vcpus.into(), state, flags });
    /// Says which host CPUs a virtual CPU may run on (`virDomainPinVcpuFlags`).
    pin_vcpu(vcpu: u32, cpus: &CpuMap, flags: DomainModificationImpact)
        = remote::DomainPinVcpuFlags(DomainPinVcpuFlagsArgs {
            dom: this.wire(), vcpu, cpumap: Bytes(cpus.as_bytes().into()), flags,
        });
    /// Says which host CPUs its emulator may run on (`virDomainPinEmulator`).
    pin_emulator(cpus: &CpuMap, flags: DomainModificationImpact)
        = remote::DomainPinEmulator(DomainPinEmulatorArgs {
            dom: this.wire(), cpumap: Bytes(cpus.as_bytes().into()), flags,
        });
    /// Which host CPUs its emulator may run on (`virDomainGetEmulatorPinInfo`).
    emulator_pin(flags: DomainModificationImpact) -> CpuMap
        = remote::DomainGetEmulatorPinInfo(DomainGetEmulatorPinInfoArgs { dom: this.wire(), maplen: MAP_LENGTH, flags })
        => |found| CpuMap::from_bytes(&found.cpumaps.0);
    /// Its I/O threads (`virDomainGetIOThreadInfo`).
    iothreads(flags: DomainModificationImpact) -> Vec<IoThread>
        = remote::DomainGetIoThreadInfo(DomainGetIoThreadInfoArgs { dom: this.wire(), flags })
        => |found| found.info.iter().map(|thread| IoThread {
            id: thread.iothread_id, allowed: CpuMap::from_bytes(&thread.cpumap.0),
        }).collect();
    /// Adds an I/O thread (`virDomainAddIOThread`).
    add_iothread(id: u32, flags: DomainModificationImpact)
        = remote::DomainAddIoThread(DomainAddIoThreadArgs { dom: this.wire(), iothread_id: id, flags });
    /// Removes an I/O thread (`virDomainDelIOThread`).
    remove_iothread(id: u32, flags: DomainModificationImpact)
        = remote::DomainDelIoThread(DomainDelIoThreadArgs { dom: this.wire(), iothread_id: id, flags });
    /// Says which host CPUs an I/O thread may run on (`virDomainPinIOThread`).
    pin_iothread(id: u32, cpus: &CpuMap, flags: DomainModificationImpact)
        = remote::DomainPinIoThread(DomainPinIoThreadArgs {
            dom: this.wire(), iothreads_id: id, cpumap: Bytes(cpus.as_bytes().into()), flags,
        });
    /// Plugs a device in (`virDomainAttachDeviceFlags`).
    attach_device(xml: &str, flags: DomainDeviceModifyFlags)
        = remote::DomainAttachDeviceFlags(DomainAttachDeviceFlagsArgs { dom: this.wire(), xml: xml.into(), flags });
    /// Asks to plug a device out; the guest may take its time, and an event says when it is out (`virDomainDetachDeviceFlags`).
    detach_device(xml: &str, flags: DomainDeviceModifyFlags)
        = remote::DomainDetachDeviceFlags(DomainDetachDeviceFlagsArgs { dom: this.wire(), xml: xml.into(), flags });
    /// The same, for the device with an alias (`virDomainDetachDeviceAlias`).
    detach_device_alias(alias: &str, flags: DomainDeviceModifyFlags)
        = remote::DomainDetachDeviceAlias(DomainDetachDeviceAliasArgs { dom: this.wire(), alias: alias.into(), flags });
    /// Changes a device: a medium, a link's state (`virDomainUpdateDeviceFlags`).
    update_device(xml: &str, flags: DomainDeviceModifyFlags)
        = remote::DomainUpdateDeviceFlags(DomainUpdateDeviceFlagsArgs { dom: this.wire(), xml: xml.into(), flags });
    /// Tells switches where a guest's interface is, or all of them (`virDomainAnnounceInterface`).
    announce_interface(device: Option<&str>, parameters: &crate::Params)
        = remote::DomainAnnounceInterface(DomainAnnounceInterfaceArgs {
            dom: this.wire(), device: device.map(Into::into), params: parameters.as_slice().into(),
            flags: NoFlags::empty(),
        });
    /// Measures for so many seconds how fast the guest writes to its memory (`virDomainStartDirtyRateCalc`).
    start_dirty_rate(seconds: i32, flags: libvirt_protocol::flags::DomainDirtyRateCalcFlags)
        = remote::DomainStartDirtyRateCalc(DomainStartDirtyRateCalcArgs { dom: this.wire(), seconds, flags });
} }

#[cfg(test)]
mod tests {
    use super::CpuMap;

    #[test]
    fn a_map_holds_what_was_put_in() {
        let map: CpuMap = [0, 9, 3].into_iter().collect();
        assert_eq!(map.iter().collect::<Vec<_>>(), [0, 3, 9]);
        assert!(map.contains(9) && !map.contains(1) && !map.contains(4096));
        assert_eq!(map.as_bytes(), [0b1001, 0b10]);
    }
}

//! What the agent answers of disks, processors, memory, networks and devices.

use crate::{
    open_enum::open_enum,
    wire::{DecodeError, Members, UnknownVariant, Variants, object, tagged},
};
use serde_json::{Map, Value};

/// A union of which there is one variant so far; its tag is `type`.
macro_rules! one_variant {
    ($(#[$meta:meta])* pub enum $name:ident { $(#[$arm_meta:meta])* $arm:ident($type:ty) = $tag:literal, }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $(#[$arm_meta])*
            $arm($type),
            /// Of a kind that these bindings do not know.
            Unknown(UnknownVariant),
        }

        impl Variants for $name {
            fn tag(&self) -> &str {
                match self {
                    Self::$arm(_) => $tag,
                    Self::Unknown(unknown) => &unknown.tag,
                }
            }

            fn put(&self, into: &mut Map<String, Value>) {
                match self {
                    Self::$arm(variant) => crate::wire::Object::put(variant, into),
                    Self::Unknown(unknown) => unknown.put(into),
                }
            }

            fn take(tag: String, members: &mut Members) -> Result<Self, DecodeError> {
                Ok(match tag.as_str() {
                    $tag => Self::$arm(crate::wire::Object::take(members)?),
                    _ => Self::Unknown(UnknownVariant::take(tag, members)),
                })
            }
        }

        tagged!($name, "type");
    };
}

object! {
    /// A mounted file system.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Filesystem {
        /// Its device.
        name: String = "name",
        /// Where.
        mountpoint: String = "mountpoint",
        /// Of what kind.
        kind: String = "type",
        /// Bytes in use.
        used_bytes: Option<u64> = "used-bytes",
        /// Bytes for everybody.
        total_bytes: Option<u64> = "total-bytes",
        /// Bytes with those kept for root; since 9.1.
        total_bytes_privileged: Option<u64> = "total-bytes-privileged",
        /// The disks below.
        disk: Vec<DiskAddress> = "disk",
    }
}

object! {
    /// A disk or partition.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Disk {
        /// Its device.
        name: String = "name",
        /// Whether it is a part of another one.
        partition: bool = "partition",
        /// Devices that it is made of.
        dependencies: Option<Vec<String>> = "dependencies",
        /// Where it hangs.
        address: Option<DiskAddress> = "address",
        /// Another name, such as that of a mapping.
        alias: Option<String> = "alias",
        /// Its own counters; since 7.1.
        smart: Option<DiskSmart> = "smart",
    }
}

open_enum! {
    /// What a disk hangs on.
    pub enum DiskBus {
        /// `ide`.
        Ide = "ide",
        /// `fdc`.
        Fdc = "fdc",
        /// `scsi`.
        Scsi = "scsi",
        /// `virtio`.
        Virtio = "virtio",
        /// `xen`.
        Xen = "xen",
        /// `usb`.
        Usb = "usb",
        /// `uml`.
        Uml = "uml",
        /// `sata`.
        Sata = "sata",
        /// `sd`.
        Sd = "sd",
        /// `unknown`: the guest does not know.
        Unspecified = "unknown",
        /// `ieee1394`.
        Ieee1394 = "ieee1394",
        /// `ssa`.
        Ssa = "ssa",
        /// `fibre`.
        Fibre = "fibre",
        /// `raid`.
        Raid = "raid",
        /// `iscsi`.
        Iscsi = "iscsi",
        /// `sas`.
        Sas = "sas",
        /// `mmc`.
        Mmc = "mmc",
        /// `virtual`.
        Virtual = "virtual",
        /// `file-backed-virtual`.
        FileBackedVirtual = "file-backed-virtual",
        /// `nvme`.
        Nvme = "nvme",
    }
}

object! {
    /// Where a disk hangs.
    #[derive(Clone, Debug, PartialEq)]
    pub struct DiskAddress {
        /// The controller; -1 in all members when there is none.
        pci_controller: PciAddress = "pci-controller",
        /// Of what kind.
        bus_type: DiskBus = "bus-type",
        /// Number of the bus.
        bus: i64 = "bus",
        /// Number on it.
        target: i64 = "target",
        /// Number in that.
        unit: i64 = "unit",
        /// Serial number.
        serial: Option<String> = "serial",
        /// Device in the guest.
        dev: Option<String> = "dev",
        /// On machines with channels (s390x); since 6.0.
        ccw_address: Option<CcwAddress> = "ccw-address",
    }
}

object! {
    /// Address on PCI.
    #[derive(Clone, Debug, PartialEq)]
    pub struct PciAddress {
        /// Domain.
        domain: i64 = "domain",
        /// Bus.
        bus: i64 = "bus",
        /// Slot.
        slot: i64 = "slot",
        /// Function.
        function: i64 = "function",
    }
}

object! {
    /// Address on a channel.
    #[derive(Clone, Debug, PartialEq)]
    pub struct CcwAddress {
        /// Channel subsystem.
        cssid: i64 = "cssid",
        /// Set.
        ssid: i64 = "ssid",
        /// Subchannel.
        subchno: i64 = "subchno",
        /// Device.
        devno: i64 = "devno",
    }
}

one_variant! {
    /// A disk's own counters.
    pub enum DiskSmart {
        /// Of an NVMe disk.
        Nvme(Box<NvmeSmart>) = "nvme",
    }
}

object! {
    /// Counters of an NVMe disk (log page 2, NVMe 1.4 section 5.14.1.2).
    #[derive(Clone, Debug, PartialEq)]
    pub struct NvmeSmart {
        /// Bits of the log page.
        critical_warning: i64 = "critical-warning",
        /// Kelvin.
        temperature: i64 = "temperature",
        /// Percent.
        available_spare: i64 = "available-spare",
        /// Percent.
        available_spare_threshold: i64 = "available-spare-threshold",
        /// Percent.
        percentage_used: i64 = "percentage-used",
        /// Lower 64 bits.
        data_units_read_lo: u64 = "data-units-read-lo",
        /// Upper 64 bits.
        data_units_read_hi: u64 = "data-units-read-hi",
        /// Lower 64 bits.
        data_units_written_lo: u64 = "data-units-written-lo",
        /// Upper 64 bits.
        data_units_written_hi: u64 = "data-units-written-hi",
        /// Lower 64 bits.
        host_read_commands_lo: u64 = "host-read-commands-lo",
        /// Upper 64 bits.
        host_read_commands_hi: u64 = "host-read-commands-hi",
        /// Lower 64 bits.
        host_write_commands_lo: u64 = "host-write-commands-lo",
        /// Upper 64 bits.
        host_write_commands_hi: u64 = "host-write-commands-hi",
        /// Lower 64 bits.
        controller_busy_time_lo: u64 = "controller-busy-time-lo",
        /// Upper 64 bits.
        controller_busy_time_hi: u64 = "controller-busy-time-hi",
        /// Lower 64 bits.
        power_cycles_lo: u64 = "power-cycles-lo",
        /// Upper 64 bits.
        power_cycles_hi: u64 = "power-cycles-hi",
        /// Lower 64 bits.
        power_on_hours_lo: u64 = "power-on-hours-lo",
        /// Upper 64 bits.
        power_on_hours_hi: u64 = "power-on-hours-hi",
        /// Lower 64 bits.
        unsafe_shutdowns_lo: u64 = "unsafe-shutdowns-lo",
        /// Upper 64 bits.
        unsafe_shutdowns_hi: u64 = "unsafe-shutdowns-hi",
        /// Lower 64 bits.
        media_errors_lo: u64 = "media-errors-lo",
        /// Upper 64 bits.
        media_errors_hi: u64 = "media-errors-hi",
        /// Lower 64 bits.
        number_of_error_log_entries_lo: u64 = "number-of-error-log-entries-lo",
        /// Upper 64 bits.
        number_of_error_log_entries_hi: u64 = "number-of-error-log-entries-hi",
    }
}

object! {
    /// Counters of a disk.
    #[derive(Clone, Debug, PartialEq)]
    pub struct DiskStats {
        /// Its device.
        name: String = "name",
        /// Major number.
        major: u64 = "major",
        /// Minor number.
        minor: u64 = "minor",
        /// The counters.
        stats: DiskCounters = "stats",
    }
}

object! {
    /// Counters of a disk (Linux Documentation/admin-guide/iostats.rst); sectors of 512 bytes, ticks of 1 ms.
    #[derive(Clone, Debug, PartialEq)]
    pub struct DiskCounters {
        /// `read-sectors`.
        read_sectors: Option<u64> = "read-sectors",
        /// `read-ios`.
        read_ios: Option<u64> = "read-ios",
        /// `read-merges`.
        read_merges: Option<u64> = "read-merges",
        /// `write-sectors`.
        write_sectors: Option<u64> = "write-sectors",
        /// `write-ios`.
        write_ios: Option<u64> = "write-ios",
        /// `write-merges`.
        write_merges: Option<u64> = "write-merges",
        /// `discard-sectors`.
        discard_sectors: Option<u64> = "discard-sectors",
        /// `discard-ios`.
        discard_ios: Option<u64> = "discard-ios",
        /// `discard-merges`.
        discard_merges: Option<u64> = "discard-merges",
        /// `flush-ios`.
        flush_ios: Option<u64> = "flush-ios",
        /// `read-ticks`.
        read_ticks: Option<u64> = "read-ticks",
        /// `write-ticks`.
        write_ticks: Option<u64> = "write-ticks",
        /// `discard-ticks`.
        discard_ticks: Option<u64> = "discard-ticks",
        /// `flush-ticks`.
        flush_ticks: Option<u64> = "flush-ticks",
        /// `ios-pgr`.
        ios_pgr: Option<u64> = "ios-pgr",
        /// `total-ticks`.
        total_ticks: Option<u64> = "total-ticks",
        /// `weight-ticks`.
        weight_ticks: Option<u64> = "weight-ticks",
    }
}

object! {
    /// A processor.
    #[derive(Clone, Debug, PartialEq)]
    pub struct LogicalProcessor {
        /// Its number.
        logical_id: i64 = "logical-id",
        /// Whether the guest uses it.
        online: bool = "online",
        /// Whether the guest can do without; only in answers.
        can_offline: Option<bool> = "can-offline",
    }
}

one_variant! {
    /// Times of a processor.
    pub enum CpuStats {
        /// Of Linux.
        Linux(LinuxCpuStats) = "linux",
    }
}

object! {
    /// Times of a processor under Linux, in milliseconds (Linux Documentation/filesystems/proc.rst, `/proc/stat`).
    #[derive(Clone, Debug, PartialEq)]
    pub struct LinuxCpuStats {
        /// Its number.
        cpu: i64 = "cpu",
        /// `user`.
        user: u64 = "user",
        /// `nice`.
        nice: u64 = "nice",
        /// `system`.
        system: u64 = "system",
        /// `idle`.
        idle: u64 = "idle",
        /// `iowait`.
        iowait: Option<u64> = "iowait",
        /// `irq`.
        irq: Option<u64> = "irq",
        /// `softirq`.
        softirq: Option<u64> = "softirq",
        /// `steal`.
        steal: Option<u64> = "steal",
        /// `guest`.
        guest: Option<u64> = "guest",
        /// `guestnice`.
        guestnice: Option<u64> = "guestnice",
    }
}

object! {
    /// Of `guest-get-load`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Load {
        /// Mean of a minute.
        load1m: f64 = "load1m",
        /// Mean of five minutes.
        load5m: f64 = "load5m",
        /// Mean of a quarter of an hour.
        load15m: f64 = "load15m",
    }
}

object! {
    /// A block of memory.
    #[derive(Clone, Debug, PartialEq)]
    pub struct MemoryBlock {
        /// Its number.
        phys_index: u64 = "phys-index",
        /// Whether the guest uses it.
        online: bool = "online",
        /// Whether the guest can do without; only in answers.
        can_offline: Option<bool> = "can-offline",
    }
}

object! {
    /// What became of a block.
    #[derive(Clone, Debug, PartialEq)]
    pub struct MemoryBlockResponse {
        /// Its number.
        phys_index: u64 = "phys-index",
        /// How it went.
        response: MemoryBlockResult = "response",
        /// The guest's error.
        error_code: Option<i64> = "error-code",
    }
}

open_enum! {
    /// How a change of a block went.
    pub enum MemoryBlockResult {
        /// Done.
        Success = "success",
        /// There is none.
        NotFound = "not-found",
        /// This guest cannot.
        OperationNotSupported = "operation-not-supported",
        /// The guest could not.
        OperationFailed = "operation-failed",
    }
}

object! {
    /// Of `guest-get-memory-block-info`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct MemoryBlockInfo {
        /// Bytes in a block.
        size: u64 = "size",
    }
}

object! {
    /// A network interface.
    #[derive(Clone, Debug, PartialEq)]
    pub struct NetworkInterface {
        /// Its name.
        name: String = "name",
        /// Its hardware address.
        hardware_address: Option<String> = "hardware-address",
        /// Its addresses.
        ip_addresses: Option<Vec<IpAddress>> = "ip-addresses",
        /// Its counters; since 2.11.
        statistics: Option<NetworkStatistics> = "statistics",
    }
}

object! {
    /// An address.
    #[derive(Clone, Debug, PartialEq)]
    pub struct IpAddress {
        /// The address.
        ip_address: String = "ip-address",
        /// Of which protocol.
        ip_address_type: IpAddressType = "ip-address-type",
        /// Length of the network's part, in bits.
        prefix: i64 = "prefix",
    }
}

open_enum! {
    /// Protocol of an address.
    pub enum IpAddressType {
        /// Version 4.
        Ipv4 = "ipv4",
        /// Version 6.
        Ipv6 = "ipv6",
    }
}

object! {
    /// Counters of an interface.
    #[derive(Clone, Debug, PartialEq)]
    pub struct NetworkStatistics {
        /// `rx-bytes`.
        rx_bytes: u64 = "rx-bytes",
        /// `rx-packets`.
        rx_packets: u64 = "rx-packets",
        /// `rx-errs`.
        rx_errs: u64 = "rx-errs",
        /// `rx-dropped`.
        rx_dropped: u64 = "rx-dropped",
        /// `tx-bytes`.
        tx_bytes: u64 = "tx-bytes",
        /// `tx-packets`.
        tx_packets: u64 = "tx-packets",
        /// `tx-errs`.
        tx_errs: u64 = "tx-errs",
        /// `tx-dropped`.
        tx_dropped: u64 = "tx-dropped",
    }
}

object! {
    /// A route.
    #[derive(Clone, Debug, PartialEq)]
    pub struct NetworkRoute {
        /// The interface.
        iface: String = "iface",
        /// Where to.
        destination: String = "destination",
        /// What it costs.
        metric: i64 = "metric",
        /// `gateway`.
        gateway: Option<String> = "gateway",
        /// `mask`.
        mask: Option<String> = "mask",
        /// `irtt`.
        irtt: Option<i64> = "irtt",
        /// `flags`; the agent extends the sign of their 32 bits.
        flags: Option<u64> = "flags",
        /// `refcnt`.
        refcnt: Option<i64> = "refcnt",
        /// `use`.
        uses: Option<i64> = "use",
        /// `window`.
        window: Option<i64> = "window",
        /// `mtu`.
        mtu: Option<i64> = "mtu",
        /// `desprefixlen`.
        desprefixlen: Option<String> = "desprefixlen",
        /// `source`.
        source: Option<String> = "source",
        /// `srcprefixlen`.
        srcprefixlen: Option<String> = "srcprefixlen",
        /// `nexthop`.
        nexthop: Option<String> = "nexthop",
        /// 4 or 6.
        version: i64 = "version",
    }
}

object! {
    /// A device and its driver.
    #[derive(Clone, Debug, PartialEq)]
    pub struct DeviceInfo {
        /// Name of the driver.
        driver_name: String = "driver-name",
        /// When it was made: nanoseconds since the epoch.
        driver_date: Option<u64> = "driver-date",
        /// Version of the driver.
        driver_version: Option<String> = "driver-version",
        /// What the device is.
        id: Option<DeviceId> = "id",
    }
}

one_variant! {
    /// What a device is.
    pub enum DeviceId {
        /// On PCI.
        Pci(PciDeviceId) = "pci",
    }
}

object! {
    /// What a device on PCI is.
    #[derive(Clone, Debug, PartialEq)]
    pub struct PciDeviceId {
        /// Its maker.
        vendor_id: u64 = "vendor-id",
        /// Its kind.
        device_id: u64 = "device-id",
    }
}

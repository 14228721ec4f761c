//! What the guest itself is asked for, mostly through its agent.

use super::Domain;
use crate::handle::{methods, text};
use crate::params::Params;
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{DomainInterfaceAddressesSource, IpAddrType};
use libvirt_protocol::flags::{
    DomainAuthorizedSshKeysSetFlags, DomainGuestInfoTypes, DomainSetTimeFlags, DomainSetUserPasswordFlags,
};
use libvirt_protocol::remote::*;

/// A file system of a guest (`virDomainFSInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Where it is mounted.
    pub mount_point: String,
    /// The guest's name of its device.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Aliases of the domain's disks that it lies on.
    pub disks: Vec<String>,
}

/// An interface of a guest (`virDomainInterface`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainInterface {
    /// Its name, in the guest or on the host, as the source has it.
    pub name: String,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<GuestAddress>,
}

/// An address of a guest (`virDomainIPAddress`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestAddress {
    /// Which kind.
    pub kind: IpAddrType,
    /// The address.
    pub address: String,
    /// Length of its prefix, in bits.
    pub prefix: u32,
}

/// A guest's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanoseconds: u32,
}

methods! { Domain(this) {
    /// What the guest tells of itself: users, system, time zone, host name, file systems; groups with [`Params::group`]
    /// (`virDomainGetGuestInfo`).
    guest_info(types: DomainGuestInfoTypes) -> Params
        = remote::DomainGetGuestInfo(DomainGetGuestInfoArgs { dom: this.wire(), types, flags: NoFlags::empty() })
        => |found| found.params.iter().collect();
    /// Interfaces with their addresses: by leases, by the agent, or by the host's ARP table (`virDomainInterfaceAddresses`).
    interface_addresses(source: DomainInterfaceAddressesSource) -> Vec<DomainInterface>
        = remote::DomainInterfaceAddresses(DomainInterfaceAddressesArgs {
            dom: this.wire(), source, flags: NoFlags::empty(),
        }) => |found| found.ifaces.iter().map(|interface| DomainInterface {
            name: interface.name.into(),
            mac: text(interface.hwaddr),
            addresses: interface.addrs.iter().map(|address| GuestAddress {
                kind: address.kind, address: address.addr.into(), prefix: address.prefix,
            }).collect(),
        }).collect();
    /// File systems that are mounted (`virDomainGetFSInfo`).
    file_systems() -> Vec<FileSystem>
        = remote::DomainGetFsinfo(DomainGetFsinfoArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| found.info.iter().map(|system| FileSystem {
            mount_point: system.mountpoint.into(),
            name: system.name.into(),
            kind: system.fstype.into(),
            disks: system.dev_aliases.iter().map(Into::into).collect(),
        }).collect();
    /// Holds file systems still, all of them when none is named; returns how many (`virDomainFSFreeze`).
    freeze_file_systems(mount_points: &[&str]) -> i32
        = remote::DomainFsfreeze(DomainFsfreezeArgs {
            dom: this.wire(), mountpoints: mount_points.iter().map(|point| (*point).into()).collect(), flags: NoFlags::empty(),
        }) => |found| found.filesystems;
    /// Lets them go on; returns how many (`virDomainFSThaw`).
    thaw_file_systems(mount_points: &[&str]) -> i32
        = remote::DomainFsthaw(DomainFsthawArgs {
            dom: this.wire(), mountpoints: mount_points.iter().map(|point| (*point).into()).collect(), flags: NoFlags::empty(),
        }) => |found| found.filesystems;
    /// Tells disks what is not in use, in pieces of at least so many bytes (`virDomainFSTrim`).
    trim_file_systems(mount_point: Option<&str>, minimum: u64)
        = remote::DomainFstrim(DomainFstrimArgs {
            dom: this.wire(), mount_point: mount_point.map(Into::into), minimum, flags: NoFlags::empty(),
        });
    /// Its clock (`virDomainGetTime`).
    time() -> GuestTime
        = remote::DomainGetTime(DomainGetTimeArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| GuestTime { seconds: found.seconds, nanoseconds: found.nseconds };
    /// Sets its clock, or lets it read its hardware's with the flag for that (`virDomainSetTime`).
    set_time(time: GuestTime, flags: DomainSetTimeFlags)
        = remote::DomainSetTime(DomainSetTimeArgs {
            dom: this.wire(), seconds: time.seconds, nseconds: time.nanoseconds, flags,
        });
    /// Sets a user's password (`virDomainSetUserPassword`).
    set_user_password(user: &str, password: &str, flags: DomainSetUserPasswordFlags)
        = remote::DomainSetUserPassword(DomainSetUserPasswordArgs {
            dom: this.wire(), user: Some(user.into()), password: Some(password.into()), flags,
        });
    /// Keys with which a user may log in (`virDomainAuthorizedSSHKeysGet`).
    ssh_keys(user: &str) -> Vec<String>
        = remote::DomainAuthorizedSshKeysGet(DomainAuthorizedSshKeysGetArgs {
            dom: this.wire(), user: user.into(), flags: NoFlags::empty(),
        }) => |found| found.keys.iter().map(Into::into).collect();
    /// Sets, adds or removes keys with which a user may log in (`virDomainAuthorizedSSHKeysSet`).
    set_ssh_keys(user: &str, keys: &[&str], flags: DomainAuthorizedSshKeysSetFlags)
        = remote::DomainAuthorizedSshKeysSet(DomainAuthorizedSshKeysSetArgs {
            dom: this.wire(), user: user.into(), keys: keys.iter().map(|key| (*key).into()).collect(), flags,
        });
    /// The guest's own view of its virtual CPUs: names `vcpus`, `online`, `offlinable` (`virDomainGetGuestVcpus`).
    guest_vcpus() -> Params
        = remote::DomainGetGuestVcpus(DomainGetGuestVcpusArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| found.params.iter().collect();
    /// Turns virtual CPUs on (`state` 1) or off (0) inside the guest; `vcpus` as `0-3,7` (`virDomainSetGuestVcpus`).
    set_guest_vcpus(vcpus: &str, state: i32)
        = remote::DomainSetGuestVcpus(DomainSetGuestVcpusArgs {
            dom: this.wire(), cpumap: vcpus.into(), state, flags: NoFlags::empty(),
        });
    /// How many seconds the agent may take to answer; negative numbers are `virDomainAgentResponseTimeoutValues`
    /// (`virDomainAgentSetResponseTimeout`).
    set_agent_timeout(seconds: i32)
        = remote::DomainAgentSetResponseTimeout(DomainAgentSetResponseTimeoutArgs {
            dom: this.wire(), timeout: seconds, flags: NoFlags::empty(),
        });
} }

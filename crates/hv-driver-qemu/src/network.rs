//! Taps: opened here, where the rights are, and handed to QEMU as descriptors.
//!
//! A tap that the user made is opened and left as it is. For a bridge a tap is made; it lasts as long as a process holds its
//! descriptor, which is QEMU alone.

mod sys;

use hv_core::InstanceId;
use hv_driver::{DriverError, DriverErrorKind};
use std::{io, os::fd::OwnedFd, path::Path};

/// Whether the tap interface exists.
pub(crate) fn check_tap(operation: &'static str, name: &str) -> Result<(), DriverError> {
    if sysfs(name).join("tun_flags").exists() {
        return Ok(());
    }
    let message = if sysfs(name).exists() {
        format!("the interface {name} is no tap interface")
    } else {
        format!(
            "there is no tap interface {name} on this node; make it with `ip tuntap add dev {name} mode tap`"
        )
    };
    Err(DriverError::new(DriverErrorKind::Missing, operation, message))
}

/// Whether the bridge exists, and taps can be made for it.
pub(crate) fn check_bridge(operation: &'static str, name: &str) -> Result<(), DriverError> {
    if !sysfs(name).join("bridge").exists() {
        let message = if sysfs(name).exists() {
            format!("the interface {name} is no bridge")
        } else {
            format!("there is no bridge {name} on this node; make it with `ip link add {name} type bridge`")
        };
        return Err(DriverError::new(DriverErrorKind::Missing, operation, message));
    }
    if !rustix::process::geteuid().is_root() {
        let message = format!(
            "joining the bridge {name} needs root: run the agent as root, or make a tap and give its name"
        );
        return Err(DriverError::new(DriverErrorKind::Unsupported, operation, message));
    }
    Ok(())
}

/// Opens a tap that exists.
pub(crate) fn open_tap(name: &str) -> Result<OwnedFd, DriverError> {
    check_tap("start", name)?;
    sys::tap(name).map_err(|error| failed(&format!("cannot open the tap interface {name}"), &error))
}

/// Makes a tap and joins it to the bridge.
pub(crate) fn tap_on_bridge(id: InstanceId, index: usize, bridge: &str) -> Result<OwnedFd, DriverError> {
    check_bridge("start", bridge)?;
    let name = tap_name(id, index);
    let join = || -> io::Result<OwnedFd> {
        let tap = sys::tap(&name)?;
        sys::join(bridge, &name)?;
        sys::up(&name)?;
        Ok(tap)
    };
    join().map_err(|error| failed(&format!("cannot join the tap {name} to the bridge {bridge}"), &error))
}

/// `hv`, the last 11 digits of the uid (44 random bits), and the interface's position: 14 of the 15 bytes that Linux allows.
fn tap_name(id: InstanceId, index: usize) -> String {
    let digits = id.uuid().simple().to_string();
    format!("hv{}{index:x}", &digits[digits.len() - 11..])
}

fn sysfs(name: &str) -> std::path::PathBuf {
    Path::new("/sys/class/net").join(name)
}

fn failed(what: &str, error: &io::Error) -> DriverError {
    crate::error::io("start", what, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_names_fit_and_differ() {
        let id = "018f4e2a-0000-7000-8000-0123456789ab".parse().unwrap();
        assert_eq!(tap_name(id, 7), "hv123456789ab7");
        assert!(tap_name(id, 7).len() <= 15);
    }
}

//! Whether this node can make an instance at all. Looks, and makes nothing. Blocking.

use crate::{config::Uefi, error, network, prepare};
use hv_core::instance::{Attachment, Firmware, InstanceKind, InstanceSpec};
use hv_driver::{DriverError, DriverErrorKind};
use std::{ffi::OsStr, fs::File, path::Path};

const OPERATION: &str = "admit";

/// Checks everything but the programs.
pub(crate) fn check(spec: &InstanceSpec, state_dir: &Path, uefi_files: &Uefi) -> Result<(), DriverError> {
    if spec.kind != InstanceKind::Vm {
        let message = format!("the driver qemu runs instances of kind vm, not {}", spec.kind.as_str());
        return Err(DriverError::new(DriverErrorKind::Unsupported, OPERATION, message));
    }
    if let Some(path) = &spec.image {
        prepare::image(OPERATION, path)?;
    }
    for (what, path) in [("kernel", &spec.boot.kernel), ("initrd", &spec.boot.initrd)] {
        if let Some(path) = path {
            readable(what, path)?;
        }
    }
    if spec.boot.firmware == Firmware::Uefi {
        uefi(OPERATION, uefi_files)?;
    }
    for interface in &spec.interfaces {
        match &interface.attachment {
            Attachment::Tap { interface } => network::check_tap(OPERATION, interface)?,
            Attachment::Bridge { bridge } => network::check_bridge(OPERATION, bridge)?,
            Attachment::User { publish } => {
                if let Some(port) = publish.iter().find(|port| port.host_address.is_ipv6()) {
                    let message = format!(
                        "port {} on {}: QEMU's user network publishes on IPv4 addresses only",
                        port.host_port, port.host_address
                    );
                    return Err(DriverError::new(DriverErrorKind::Unsupported, OPERATION, message));
                }
            }
        }
    }
    space(state_dir)
}

/// Whether the firmware is installed.
pub(crate) fn uefi(operation: &'static str, uefi: &Uefi) -> Result<(), DriverError> {
    for path in [&uefi.code, &uefi.vars] {
        if !path.is_file() {
            let message =
                format!("there is no UEFI firmware at {}; install the Debian package ovmf", path.display());
            return Err(DriverError::new(DriverErrorKind::Missing, operation, message));
        }
    }
    Ok(())
}

/// Where a program is, if it is on the path.
pub(crate) fn find_program(name: &str, search_path: &OsStr) -> Option<std::path::PathBuf> {
    std::env::split_paths(search_path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

fn readable(what: &str, path: &Path) -> Result<(), DriverError> {
    let problem = match File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => return Ok(()),
        Ok(_) => "it is not a regular file".to_owned(),
        Err(error) => error.to_string(),
    };
    let message = format!("cannot use the {what} {}: {problem}", path.display());
    Err(DriverError::new(DriverErrorKind::Missing, OPERATION, message))
}

/// Disks grow as they are written, so only a disk that is as good as full is a reason to refuse.
fn space(state_dir: &Path) -> Result<(), DriverError> {
    let free = rustix::fs::statvfs(state_dir)
        .map_err(|error| {
            error::io(OPERATION, &format!("cannot look at {}", state_dir.display()), &error.into())
        })
        .map(|fs| fs.f_bavail * fs.f_frsize)?;
    if free < LEAST_FREE_BYTES {
        let message =
            format!("only {} MiB are free in {}; free some space first", free >> 20, state_dir.display());
        return Err(DriverError::new(DriverErrorKind::NoSpace, OPERATION, message));
    }
    Ok(())
}

/// Enough for the metadata of empty disks and for a guest's first writes.
const LEAST_FREE_BYTES: u64 = 64 << 20;

//! Errors of the layers below, in the terms of the contract.

use hv_driver::{DriverError, DriverErrorKind};
use hv_storage::StorageError;
use qemu::{BinaryError, StartError, accel::KvmUnusable};
use qmp::CallError;
use std::{error::Error, io};

/// A text with all its causes: `cannot do this: because of that`.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An error of the file system, or of a system call.
pub(crate) fn io(operation: &'static str, what: &str, error: &io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DriverErrorKind::NoSpace,
        io::ErrorKind::AddrInUse | io::ErrorKind::ResourceBusy => DriverErrorKind::Conflict,
        _ => DriverErrorKind::Failed,
    };
    DriverError::new(kind, operation, format!("{what}: {error}"))
}

pub(crate) fn storage(operation: &'static str, error: &StorageError) -> DriverError {
    let kind = match error {
        StorageError::ImageNotFound { .. } | StorageError::NoQemuImg => DriverErrorKind::Missing,
        StorageError::NoSpace { .. } => DriverErrorKind::NoSpace,
        StorageError::Io { .. } | StorageError::QemuImg { .. } | StorageError::Exists { .. } => {
            DriverErrorKind::Failed
        }
        _ => DriverErrorKind::Invalid,
    };
    DriverError::new(kind, operation, chain(error))
}

pub(crate) fn binary(operation: &'static str, error: &BinaryError) -> DriverError {
    let kind = match error {
        BinaryError::Missing { .. } => DriverErrorKind::Missing,
        _ => DriverErrorKind::Failed,
    };
    DriverError::new(kind, operation, chain(error))
}

pub(crate) fn kvm(operation: &'static str, error: &KvmUnusable) -> DriverError {
    DriverError::new(DriverErrorKind::Missing, operation, error.to_string())
}

pub(crate) fn call(operation: &'static str, error: &CallError) -> DriverError {
    let kind = match error {
        CallError::Deadline { .. } | CallError::Closed { .. } => DriverErrorKind::Unresponsive,
        _ => DriverErrorKind::Failed,
    };
    DriverError::new(kind, operation, chain(error))
}

pub(crate) fn start(error: &StartError) -> DriverError {
    let make = |kind, message: String| DriverError::new(kind, "start", message);
    match error {
        StartError::Config(_) => make(DriverErrorKind::Invalid, chain(error)),
        StartError::Occupied { .. } => make(DriverErrorKind::Conflict, chain(error)),
        StartError::Silent { .. } => make(DriverErrorKind::Unresponsive, chain(error)),
        StartError::Ended { exit, message } => {
            let words: Vec<&str> = message.lines().map(plain).collect();
            let words = words.join("; ");
            make(kind_of(&words), format!("QEMU ended at start ({exit}): {words}"))
        }
        StartError::Prepare { source, .. } => {
            let kind = match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DriverErrorKind::NoSpace,
                _ => DriverErrorKind::Failed,
            };
            make(kind, chain(error))
        }
        _ => make(DriverErrorKind::Failed, chain(error)),
    }
}

/// A line of QEMU's without time and program name.
pub(crate) fn plain(line: &str) -> &str {
    line.split_once("qemu-system-x86_64: ").map_or(line, |(_, words)| words).trim()
}

/// What QEMU's complaints at start mean.
fn kind_of(words: &str) -> DriverErrorKind {
    let says = |known: &[&str]| known.iter().any(|known| words.contains(known));
    if says(&["Cannot allocate memory", "No space left on device"]) {
        DriverErrorKind::NoSpace
    } else if says(&["Could not set up host forwarding rule", "Failed to get", "Device or resource busy"]) {
        DriverErrorKind::Conflict
    } else {
        DriverErrorKind::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_complaints_lose_their_prefix_and_get_their_meaning() {
        let line = "2026-01-01T00:00:00.000000Z qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory";
        let error = start(&StartError::Ended { exit: qemu::Exit::Code(1), message: line.into() });
        assert_eq!(error.kind, DriverErrorKind::NoSpace);
        assert_eq!(
            error.message,
            "QEMU ended at start (exit status 1): cannot set up guest memory 'pc.ram': Cannot allocate memory"
        );
    }
}

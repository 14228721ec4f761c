//! The program `qemu-img`, for what is not worth writing twice.

use crate::{DiskPath, StorageError};
use std::ffi::OsStr;
use std::io;
use std::process::{Command, Stdio};

/// Runs `qemu-img` with `arguments`; `subject` is the file that errors speak of.
pub(crate) fn run<I, S>(action: &'static str, subject: &DiskPath, arguments: I) -> Result<(), StorageError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    // One language for messages: they are searched below and shown to users as they are.
    let output = Command::new("qemu-img").args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output();
    let path = subject.as_path().to_owned();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StorageError::NoQemuImg,
        _ => StorageError::io("run qemu-img for", &path)(error),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("qemu-img: ").to_owned();
    if message.contains("No space left on device") || message.contains("Disk quota exceeded") {
        return Err(StorageError::NoSpace { path });
    }
    Err(StorageError::QemuImg { action, path, message })
}

//! What can go wrong, each with what to do next.

use std::io;
use std::path::PathBuf;

/// An error of this crate. The text says what was being done; the cause is in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A path that QEMU's command lines or our records cannot carry safely.
    #[error("the path {path:?} cannot be used: {reason}; rename the file or directory")]
    BadPath {
        /// The path, with invalid bytes replaced.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The image file is not there.
    #[error("there is no image {}; give the path of an existing qcow2 or raw file on the host", .path.display())]
    ImageNotFound {
        /// The path as resolved.
        path: PathBuf,
    },
    /// The image is a directory, a device, a socket.
    #[error("{} is not a regular file; an image must be a local qcow2 or raw file", .path.display())]
    NotRegular {
        /// The path as resolved.
        path: PathBuf,
    },
    /// The image is of a format that is not accepted.
    #[error("{} is not usable as an image: {reason}", .path.display())]
    Unsupported {
        /// The image.
        path: PathBuf,
        /// What it is and what to do.
        reason: String,
    },
    /// The image's header contradicts itself.
    #[error("{} has a damaged qcow2 header: {reason}; `qemu-img check` may tell more", .path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The image reads from another file that is not allowed.
    #[error("{} has the backing file {backing:?}, which {reason}; flatten it with `qemu-img convert -O qcow2`", .path.display())]
    BackingFile {
        /// The image.
        path: PathBuf,
        /// The backing file as the header states it.
        backing: String,
        /// Why it is refused.
        reason: String,
    },
    /// A disk would get smaller, or be smaller than its image.
    #[error(
        "a disk of {} is smaller than the {} that {} has; disks only grow",
        size(*requested), size(*current), .path.display()
    )]
    WouldShrink {
        /// The disk or image.
        path: PathBuf,
        /// Its virtual size in bytes.
        current: u64,
        /// What was asked for in bytes.
        requested: u64,
    },
    /// A size that no disk can have.
    #[error("a disk cannot have {requested} bytes: give a multiple of 512, from 512 to {max}")]
    BadSize {
        /// What was asked for in bytes.
        requested: u64,
        /// The largest possible size in bytes.
        max: u64,
    },
    /// The target exists.
    #[error("{} exists already; delete it first or choose another name", .path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The disk is full (or the quota is used up). Nothing was left behind.
    #[error("no space left for {}; free some space and try again, nothing was left behind", .path.display())]
    NoSpace {
        /// The target.
        path: PathBuf,
    },
    /// `qemu-img` is not installed.
    #[error("the program qemu-img was not found; install the package qemu-utils")]
    NoQemuImg,
    /// `qemu-img` failed for another reason.
    #[error("qemu-img could not {action} {}: {message}", .path.display())]
    QemuImg {
        /// What it was asked to do.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its own message.
        message: String,
    },
    /// cloud-init would not understand the user data.
    #[error("user data, line {line}, column {column}: {message}")]
    UserDataSyntax {
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// The user data is of no kind that cloud-init knows, or too large.
    #[error("user data: {0}")]
    UserData(String),
    /// A file operation failed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl StorageError {
    /// Turns the system's error into ours; a full disk has its own variant.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io { action, path, source },
        }
    }
}

/// Bytes in the largest unit that says them exactly.
fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_exactly() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (513, "513 bytes"),
            (1 << 30, "1 GiB"),
            (3 << 29, "1536 MiB"),
            (6 << 40, "6 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}

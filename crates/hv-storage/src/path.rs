//! Paths that every layer below can carry.

use crate::StorageError;
use std::fmt;
use std::path::{Path, PathBuf};

/// An absolute path that every layer below can carry: QEMU gets disks as descriptors, so that commas, spaces and quotes are
/// letters like others. What cannot be shown on one line, stored as text or be a qcow2 backing file is refused here, once,
/// with a clear reason. Being absolute, it is never taken for a protocol such as `nbd:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskPath(PathBuf);

impl DiskPath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`StorageError::BadPath`] with the reason.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let path = path.as_ref();
        let refuse =
            |reason| Err(StorageError::BadPath { path: path.to_string_lossy().into_owned(), reason });
        let Some(text) = path.to_str() else { return refuse("it is not valid UTF-8") };
        if !path.is_absolute() {
            return refuse("it is not absolute");
        }
        if text.len() > MAX_BYTES {
            return refuse("it is longer than 1023 bytes");
        }
        if text.chars().any(char::is_control) {
            return refuse("it contains a control character");
        }
        if path.components().any(|component| component == std::path::Component::ParentDir) {
            return refuse("it contains `..`");
        }
        Ok(Self(path.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory that holds the file; the root directory is its own parent.
    #[must_use]
    pub fn parent(&self) -> &Path {
        self.0.parent().unwrap_or(&self.0)
    }
}

impl AsRef<Path> for DiskPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for DiskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Longest backing file name of a qcow2 image (QEMU docs/interop/qcow2.txt, bytes 16 to 19 of the header).
const MAX_BYTES: usize = 1023;

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn harmless_paths_are_accepted() {
        for path in
            ["/var/lib/hypervisor/a-1_2.qcow2", "/ü/x:y=z", "/", "/my images/a, b 'c' \"d\".qcow2", "/a\\b"]
        {
            assert!(DiskPath::new(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn each_dangerous_path_is_refused_with_its_reason() {
        let cases: &[(&[u8], &str)] = &[
            (b"/a\tb", "control"),
            (b"/a\nb", "control"),
            (b"/a\x01b", "control"),
            (b"/a\xffb", "UTF-8"),
            (b"a/b", "absolute"),
            (b"/a/../b", "`..`"),
        ];
        for (path, reason) in cases {
            let error = DiskPath::new(OsStr::from_bytes(path)).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}

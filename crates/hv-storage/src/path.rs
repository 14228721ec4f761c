//! Paths that every layer below can carry.

use crate::StorageError;
use std::fmt;
use std::path::{Path, PathBuf};

/// An absolute path that is safe on every command line and in every record that a disk passes through.
///
/// QEMU's `key=value` options split at commas, `file:`-like prefixes choose a protocol, logs and shells stumble over
/// quotes and spaces. None of these are escaped here: such a path is refused at the edge, once, with a clear reason.
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
            return refuse("it is longer than 1024 bytes");
        }
        for character in text.chars() {
            match character {
                ',' => return refuse("it contains a comma"),
                '\'' | '"' | '`' => return refuse("it contains a quote"),
                '\\' => return refuse("it contains a backslash"),
                c if c.is_whitespace() => return refuse("it contains white space"),
                c if c.is_control() => return refuse("it contains a control character"),
                _ => {}
            }
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

const MAX_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn harmless_paths_are_accepted() {
        for path in ["/var/lib/hypervisor/a-1_2.qcow2", "/ü/x:y=z", "/"] {
            assert!(DiskPath::new(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn each_dangerous_path_is_refused_with_its_reason() {
        let cases: &[(&[u8], &str)] = &[
            (b"/a,b", "comma"),
            (b"/a b", "white space"),
            (b"/a\tb", "white space"),
            (b"/a'b", "quote"),
            (b"/a\"b", "quote"),
            (b"/a\\b", "backslash"),
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

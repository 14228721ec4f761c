//! What can be wrong with a configuration.

use std::path::{Path, PathBuf};
use thiserror::Error;

/// A configuration that cannot become a command line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// QEMU's JSON options take UTF-8 only.
    #[error("{field}: the path {path:?} is not UTF-8; rename it or hand the file over as a descriptor")]
    NotUtf8 {
        /// The member.
        field: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A relative path would be looked for in the root directory, which is QEMU's.
    #[error("{field}: the path {path:?} is relative, and QEMU's directory is another one; give all of it")]
    Relative {
        /// The member.
        field: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// An id that QEMU would refuse or that would clash.
    #[error("{id:?} is no device id: 1 to {max} of a-z, 0-9 and '-', a letter first, each id once", max = super::MAX_ID_BYTES)]
    Id {
        /// The id.
        id: String,
    },
    /// Something that is named and not there.
    #[error("{user}: there is no {what} {name:?}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// Who names it.
        user: String,
    },
    /// A key without descriptor.
    #[error("no descriptor was handed over under the key {key:?}")]
    NoDescriptor {
        /// The key.
        key: String,
    },
    /// A number outside its range.
    #[error("{field} is {value}; allowed are {allowed}")]
    Range {
        /// The member.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What would do.
        allowed: String,
    },
    /// A text with a character that cannot be passed.
    #[error("{field}: {reason}")]
    Text {
        /// The member.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// Two members that exclude each other, or one that needs another.
    #[error("{what}: {reason}")]
    Conflict {
        /// Who is concerned.
        what: String,
        /// Why it cannot be, and what would help.
        reason: String,
    },
}

impl ConfigError {
    pub(crate) fn conflict(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Conflict { what: what.into(), reason: reason.into() }
    }
}

/// A path that means the same to QEMU, whose directory is the root.
pub(crate) fn absolute<'p>(field: &'static str, path: &'p Path) -> Result<&'p Path, ConfigError> {
    if path.is_absolute() { Ok(path) } else { Err(ConfigError::Relative { field, path: path.to_owned() }) }
}

/// A path for where QEMU takes UTF-8 only.
pub(crate) fn utf8<'p>(field: &'static str, path: &'p Path) -> Result<&'p str, ConfigError> {
    let path = absolute(field, path)?;
    path.to_str().ok_or_else(|| ConfigError::NotUtf8 { field, path: path.to_owned() })
}

/// `Ok` when `good`.
pub(crate) fn range(
    field: &'static str,
    value: impl Into<u64>,
    good: bool,
    allowed: impl Into<String>,
) -> Result<(), ConfigError> {
    if good {
        Ok(())
    } else {
        Err(ConfigError::Range { field, value: value.into(), allowed: allowed.into() })
    }
}

/// No option of QEMU can carry a NUL.
pub(crate) fn no_nul(field: &'static str, text: &str) -> Result<(), ConfigError> {
    if text.contains('\0') {
        Err(ConfigError::Text { field, reason: "holds a NUL character" })
    } else {
        Ok(())
    }
}

//! What the process may do, and what it is trusted with.

use super::{block::Source, check_id, error::ConfigError};
use std::path::PathBuf;

/// The process's system call filter (seccomp). On, and strict, by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The filter as a whole.
    pub filter: super::Switch,
    /// Starting other programs, e.g. the bridge helper.
    pub spawn: Permission,
    /// Gaining rights.
    pub elevate: Permission,
    /// Changing its own scheduling and affinity.
    pub resources: Permission,
    /// Obsolete system calls.
    pub obsolete: Permission,
}

/// Whether something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It is.
    Allow,
    /// It ends the process.
    Deny,
}

impl Permission {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        let deny = Permission::Deny;
        Self { filter: super::Switch::On, spawn: deny, elevate: deny, resources: deny, obsolete: deny }
    }
}

/// A password or key that QEMU reads from a file or descriptor; never part of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Name that users of the secret give.
    pub id: String,
    /// Where it is.
    pub source: Source,
    /// How it is written there.
    pub encoding: Encoding,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    #[default]
    Raw,
    /// In base64.
    Base64,
}

/// TLS credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Name that users of the credentials give.
    pub id: String,
    /// Directory with `ca-cert.pem` and, by role, `server-cert.pem` and `server-key.pem` or `client-...`.
    pub directory: PathBuf,
    /// Which end we are.
    pub role: TlsRole,
    /// Whether the other end must prove itself too.
    pub verify_peer: bool,
}

/// Which end of a TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRole {
    /// The one that is connected to.
    Server,
    /// The one that connects.
    Client,
}

impl Secret {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_id(&self.id)?;
        match self.source {
            Source::Path(_) | Source::Descriptor(_) => Ok(()),
            _ => Err(ConfigError::conflict(&self.id, "a secret is in a file or a descriptor")),
        }
    }
}

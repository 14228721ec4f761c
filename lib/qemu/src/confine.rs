//! Landlock: what the process may reach in the file system when it keeps its caller's user.
//!
//! An allow list: what is not named does not exist for it, among others the caller's own secrets. Descriptors that
//! were handed over are not affected.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr,
};
use std::{io, os::fd::OwnedFd, path::PathBuf};

/// What may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Files, and directories with all they hold, for reading and executing.
    pub read: Vec<PathBuf>,
    /// Files and directories for writing as well.
    pub write: Vec<PathBuf>,
}

impl Confinement {
    /// What QEMU itself needs: programs, libraries, its data and settings for reading; devices and /proc for both.
    #[must_use]
    pub fn base() -> Self {
        let read = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/sys", "/run/systemd/resolve"];
        Self { read: read.map(PathBuf::from).to_vec(), write: ["/dev", "/proc"].map(PathBuf::from).to_vec() }
    }

    /// Whether this kernel has Landlock and lets this process use it.
    #[must_use]
    pub fn is_available() -> bool {
        Self::default().into_ruleset().is_ok()
    }

    /// The ruleset to apply; an error on a kernel without Landlock. Paths that do not exist are left out.
    pub(crate) fn into_ruleset(self) -> io::Result<OwnedFd> {
        let abi = ABI::V3;
        let build = || -> Result<_, landlock::RulesetError> {
            let mut ruleset = Ruleset::default()
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(abi))?
                .create()?;
            for (paths, access) in
                [(&self.read, AccessFs::from_read(abi)), (&self.write, AccessFs::from_all(abi))]
            {
                for path in paths {
                    if let Ok(fd) = PathFd::new(path) {
                        ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
                    }
                }
            }
            Ok(ruleset)
        };
        let ruleset: Option<OwnedFd> = build().map(Into::into).map_err(io::Error::other)?;
        ruleset.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "this kernel has no Landlock"))
    }
}

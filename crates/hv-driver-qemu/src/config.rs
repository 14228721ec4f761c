//! Settings of the driver.

use qemu::{Identity, Supervision, accel::Choice};
use std::{ffi::OsString, fs, io, path::PathBuf, time::Duration};

/// User and group of guests when the driver runs as root and no other user is named. Outside the ranges that Debian and
/// systemd hand out (systemd: UIDS-GIDS.md, 60706 to 61183 are unused). No file belongs to it.
pub const DEFAULT_GUEST_ID: u32 = 61_000;

/// How the driver works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory for everything that is kept; made if absent, mode 0700.
    pub state_dir: PathBuf,
    /// The QEMU program; looked for in [`Config::search_path`] when absent.
    pub binary: Option<PathBuf>,
    /// Where programs are looked for, in the form of `PATH`.
    pub search_path: OsString,
    /// What executes guests.
    pub accel: Choice,
    /// User of guests, as name or number, when the driver runs as root; [`DEFAULT_GUEST_ID`] when absent. A driver that is
    /// not root starts guests as itself, and Landlock hides all files from them that they do not need.
    pub user: Option<String>,
    /// Starts guests even when they run as the driver's own user and the kernel has no Landlock: they could then read all
    /// that the driver can. Default `false`.
    pub allow_unconfined: bool,
    /// Program and variables of the UEFI firmware.
    pub uefi: Uefi,
    /// How guests are watched.
    pub supervision: Supervision,
    /// How long QEMU may take to greet.
    pub start_deadline: Duration,
}

/// Files of the UEFI firmware.
#[derive(Clone, Debug)]
pub struct Uefi {
    /// The program, shared by all guests.
    pub code: PathBuf,
    /// What a guest's variables are copied from.
    pub vars: PathBuf,
}

/// The configured user does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no user `{0}`; create it, give a number, or leave the setting out")]
pub struct NoSuchUser(pub String);

impl Config {
    /// The defaults for a state directory.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            binary: None,
            search_path: "/usr/local/bin:/usr/bin:/bin:/usr/libexec".into(),
            accel: Choice::Auto,
            user: None,
            allow_unconfined: false,
            uefi: Uefi {
                code: "/usr/share/OVMF/OVMF_CODE_4M.fd".into(),
                vars: "/usr/share/OVMF/OVMF_VARS_4M.fd".into(),
            },
            supervision: Supervision::default(),
            start_deadline: Duration::from_secs(60),
        }
    }

    /// Who guests are; `None` for the caller.
    pub(crate) fn identity(&self) -> io::Result<Option<Identity>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let (uid, gid) = match &self.user {
            None => (DEFAULT_GUEST_ID, DEFAULT_GUEST_ID),
            Some(user) => account(user, &fs::read_to_string("/etc/passwd").unwrap_or_default())
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, NoSuchUser(user.clone())))?,
        };
        Ok(Some(Identity { uid, gid, groups: Vec::new() }))
    }
}

/// User and group of a name in the form of /etc/passwd, or of a bare number.
fn account(user: &str, passwd: &str) -> Option<(u32, u32)> {
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (name == user || uid == user).then_some((uid.parse().ok()?, gid.parse().ok()?))
    });
    known.or_else(|| user.parse().ok().map(|number| (number, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nguests:x:990:991::/:/bin/false\n";
        assert_eq!(account("guests", passwd), Some((990, 991)));
        assert_eq!(account("990", passwd), Some((990, 991)));
        assert_eq!(account("61000", passwd), Some((61_000, 61_000)));
        assert_eq!(account("nobody-here", passwd), None);
    }
}

//! Settings of the driver.

use crate::cgroup;
use qemu::{Supervision, accel::Choice};
use std::{ffi::OsString, ops::RangeInclusive, path::PathBuf, time::Duration};

/// Users and groups of guests when the driver runs as root and nothing else was said. Outside the ranges that Debian and
/// systemd hand out (systemd: UIDS-GIDS.md, 60706 to 61183 are unused).
pub const DEFAULT_UIDS: RangeInclusive<u32> = 60_706..=61_183;

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
    /// The one user of all guests, as name or number, when the driver runs as root; when absent each guest has a number of
    /// its own. A driver that is not root starts guests as itself, and Landlock hides all files from them that they do not
    /// need.
    pub user: Option<String>,
    /// Numbers for guests' users, each its own, and as many instances as can be; [`DEFAULT_UIDS`] by default.
    pub uids: RangeInclusive<u32>,
    /// Directory in which the numbers of guests' users are reserved while guests live, common to all drivers of the host; made if
    /// absent, mode 0700.
    pub reservations: PathBuf,
    /// Where guests get control groups of their own, when the driver runs as root.
    pub cgroups: cgroup::Choice,
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
            uids: DEFAULT_UIDS,
            reservations: "/run/hypervisor-users".into(),
            cgroups: cgroup::Choice::Auto,
            allow_unconfined: false,
            uefi: Uefi {
                code: "/usr/share/OVMF/OVMF_CODE_4M.fd".into(),
                vars: "/usr/share/OVMF/OVMF_VARS_4M.fd".into(),
            },
            supervision: Supervision::default(),
            start_deadline: Duration::from_secs(60),
        }
    }
}

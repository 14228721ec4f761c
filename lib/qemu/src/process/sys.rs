//! What happens in the child between fork and exec, and the watch on a pidfd.
#![expect(
    unsafe_code,
    reason = "code between fork and exec, system calls and registrations without a safe form"
)]

use super::Identity;
use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Registers a pidfd for readability, which is the end of its process.
pub(super) fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open and the same until the registration, which owns it, ends.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(Into::into)
}

/// Arranges for the child to join control groups, start in its own session, keep only the descriptors in `keep` (beside 0 to 2), confine
/// itself by the Landlock ruleset and become `identity`.
pub(super) fn in_child(
    command: &mut Command,
    keep: Vec<RawFd>,
    cgroups: Vec<OwnedFd>,
    identity: Option<Identity>,
    ruleset: Option<OwnedFd>,
) {
    // SAFETY: the closure runs in the forked child of a possibly threaded process. It makes system calls only: it
    // takes no lock and allocates nothing, and errors are built from a number.
    unsafe {
        command.pre_exec(move || {
            cgroups.iter().try_for_each(join)?;
            check(libc::setsid().into())?;
            close_at_exec_except(&keep)?;
            if let Some(ruleset) = &ruleset {
                restrict(ruleset)?;
            }
            if let Some(identity) = &identity {
                become_identity(identity)?;
            }
            Ok(())
        });
    }
}

/// A process writes 0 to name itself (cgroups(7)).
fn join(group: &OwnedFd) -> io::Result<()> {
    // SAFETY: the pointer and length describe a constant.
    let written = unsafe { libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) };
    check(libc::c_long::try_from(written).unwrap_or(-1))
}

/// Marks instead of closing: the standard library's own pipe must survive until exec.
fn close_at_exec_except(keep: &[RawFd]) -> io::Result<()> {
    // SAFETY: close_range with this flag changes only descriptor flags.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    for fd in keep {
        // SAFETY: F_SETFD changes only the flags of a descriptor that the closure's owner holds open.
        check(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) }.into())?;
    }
    Ok(())
}

fn restrict(ruleset: &OwnedFd) -> io::Result<()> {
    // SAFETY: neither call touches memory.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        check(libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32))
    }
}

/// Raw system calls: the C library's versions take locks to reach other threads, and here there are none.
fn become_identity(identity: &Identity) -> io::Result<()> {
    // SAFETY: the pointer and length describe the vector, which outlives the call; the others pass numbers.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, identity.groups.len(), identity.groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, identity.gid, identity.gid, identity.gid))?;
        check(libc::syscall(libc::SYS_setresuid, identity.uid, identity.uid, identity.uid))
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

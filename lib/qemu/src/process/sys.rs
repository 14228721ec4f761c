//! What happens in the child between fork and exec, and the watch on a pidfd.
#![expect(
    unsafe_code,
    reason = "code between fork and exec, system calls and registrations without a safe form"
)]

use super::{Identity, Limits};
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

/// Arranges for the child to join control groups, start in its own session with signals, mask and limits of its own, keep only the
/// descriptors in `keep` (beside 0 to 2), confine itself by the Landlock ruleset and become `identity`.
pub(super) fn in_child(
    command: &mut Command,
    keep: Vec<RawFd>,
    cgroups: Vec<OwnedFd>,
    limits: Limits,
    identity: Option<Identity>,
    ruleset: Option<OwnedFd>,
) {
    // SAFETY: the closure runs in the forked child of a possibly threaded process. It makes system calls only: it
    // takes no lock and allocates nothing, and errors are built from a number.
    unsafe {
        command.pre_exec(move || {
            cgroups.iter().try_for_each(join)?;
            check(libc::setsid().into())?;
            default_signals()?;
            libc::umask(0o077);
            limit(libc::RLIMIT_CORE, limits.core_bytes)?;
            limit(libc::RLIMIT_NOFILE, limits.open_files)?;
            if let Some(bytes) = limits.locked_bytes {
                limit(libc::RLIMIT_MEMLOCK, bytes)?;
            }
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

/// What was ignored or blocked here would stay so across exec.
fn default_signals() -> io::Result<()> {
    // The C library keeps two signals to itself and refuses to change them, so the kernel is asked. Its structure is four words: action,
    // flags, restorer, mask.
    let default = [0u64; 4];
    for signal in 1..=64 {
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads 32 bytes, which live until the call returns. The default action runs no code of ours; KILL and STOP
        // cannot be changed, which is refused.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8) };
    }
    // SAFETY: the set is made before it is used, and lives until the call returns.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()).into())
    }
}

/// Sets both limits, as far as the hard one may be kept.
fn limit(resource: libc::__rlimit_resource_t, wanted: u64) -> io::Result<()> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives until the call returns.
    check(unsafe { libc::getrlimit(resource, &raw mut limits) }.into())?;
    let value = wanted.min(limits.rlim_max);
    limits = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: likewise.
    check(unsafe { libc::setrlimit(resource, &raw const limits) }.into())
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

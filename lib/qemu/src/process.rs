//! The QEMU process: spawned with exactly the descriptors it needs, watched through a pidfd, reaped once.
//!
//! - stdin is empty, stdout and stderr are one file opened for appending: no pipe ends here, so the process can
//!   outlive its parent and can never block on one.
//! - A session of its own, default signals, an empty signal mask, a file mask of 077, limits of its own ([`Limits`]), an almost empty
//!   environment.
//! - Every descriptor that is not listed is closed at exec, whoever opened it.
//! - Privileges are dropped before exec: `-runas` cannot be used with the sandbox's `elevateprivileges=deny`.

mod sys;

use crate::{confine::Confinement, mutex::guarded, proc_fs};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, OwnedFd},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions},
    time::Timespec,
};
use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io,
    os::fd::{AsRawFd, RawFd},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};
use thiserror::Error;
use tokio::io::unix::AsyncFd;

/// Who the process is; it cannot regain anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups, e.g. the one that may open /dev/kvm. All others are dropped.
    pub groups: Vec<u32>,
}

/// Limits of the process. A wish above what the caller may grant is granted as far as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a core dump. Default 0: a dump holds the guest's memory.
    pub core_bytes: u64,
    /// Open descriptors. Default 65536: sockets, disks and queues of a large machine are some hundred.
    pub open_files: u64,
    /// Bytes that may be locked in memory, for devices of the host and `mem-lock`; `None` leaves the caller's limit.
    pub locked_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { core_bytes: 0, open_files: 65_536, locked_bytes: None }
    }
}

/// Everything needed to start one process.
#[derive(Debug)]
pub(crate) struct Spawn {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Kept open across exec, under the numbers they have here.
    pub(crate) inherited: Vec<OwnedFd>,
    pub(crate) log: File,
    pub(crate) identity: Option<Identity>,
    pub(crate) confinement: Option<Confinement>,
    /// `cgroup.procs` or `tasks` of the groups to join.
    pub(crate) cgroups: Vec<OwnedFd>,
    pub(crate) oom_score_adj: Option<i16>,
    pub(crate) limits: Limits,
}

impl Spawn {
    /// Starts the process; this side's copies of the inherited descriptors are closed when this returns.
    pub(crate) fn spawn(self) -> io::Result<Guard> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir("/").env_clear().envs(ENVIRONMENT);
        command.stdin(Stdio::null()).stdout(self.log.try_clone()?).stderr(self.log);
        let keep: Vec<RawFd> = self.inherited.iter().map(AsRawFd::as_raw_fd).collect();
        let ruleset = self.confinement.map(Confinement::into_ruleset).transpose()?;
        sys::in_child(&mut command, keep, self.cgroups, self.limits, self.identity, ruleset);
        let child = Unheld(Some(command.spawn()?));
        let guard = child.hold()?;
        let pid = guard.process().pid;
        if let Some(score) = self.oom_score_adj {
            std::fs::write(format!("/proc/{}/oom_score_adj", pid.as_raw_pid()), score.to_string())?;
        }
        Ok(guard)
    }
}

/// A child that no pidfd holds yet: the descriptor may be the one too many. It ends with this.
struct Unheld(Option<Child>);

impl Unheld {
    fn hold(mut self) -> io::Result<Guard> {
        let child = self.0.as_ref().expect("present until held");
        // The child is ours and not reaped, so its number cannot have passed to another process.
        let process = Process::open(Pid::from_child(child))?;
        self.0 = None;
        Ok(Guard(Some(process)))
    }
}

impl Drop for Unheld {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        // Neither fails for a child of ours that nobody has reaped.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called exit.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It is gone; only a parent learns more, and this process is not the parent.
    Gone,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::Gone => f.write_str("gone"),
        }
    }
}

/// A process that was killed and that the kernel does not let go of. It runs none of its own code any more, and ends by itself when it is let
/// go: until then it has its disks and their locks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "process {pid} was killed and has not ended within {after:?}: the kernel holds it{}",
    match state {
        Some('D') => " until a file system or device of the host answers (state D); bring that back or force it off (umount -f, or removing the \
                      device), and it ends by itself",
        _ => ", which may be giving its memory back; wait for it",
    }
)]
pub struct Held {
    /// The process.
    pub pid: u32,
    /// How long it was waited for.
    pub after: Duration,
    /// The state letter of /proc/pid/stat, if it could be read.
    pub state: Option<char>,
}

impl Held {
    /// Whether this is why a machine could not be ended.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}

/// A running or ended process, held by pidfd: signals can never reach another one. Dropping it does not end it.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    /// How it ended, once reaped; the lock keeps two callers from reaping at once.
    exit: Mutex<Option<Exit>>,
}

impl Process {
    /// Takes hold of a process. Whether it is the one meant is for the caller to verify, before and after.
    pub(crate) fn open(pid: Pid) -> io::Result<Self> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        let pidfd = sys::watch(pidfd)?;
        Ok(Self { pid, pidfd, exit: Mutex::new(None) })
    }

    /// Process number, for people and for /proc.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for the end and reaps the process if it is a child. Any number of callers get the same answer.
    pub async fn exited(&self) -> Exit {
        // The pidfd stays readable from the end on; an error here could only be the end of the runtime's reactor.
        let _ = self.pidfd.readable().await;
        self.reap().unwrap_or(Exit::Gone)
    }

    /// Ends it at once and waits for its end, at most `limit` long.
    pub(crate) async fn killed(&self, limit: Duration) -> io::Result<Exit> {
        self.kill()?;
        match tokio::time::timeout(limit, self.exited()).await {
            Ok(exit) => Ok(exit),
            Err(_) => {
                let held = Held { pid: self.pid(), after: limit, state: self.state() };
                Err(io::Error::new(io::ErrorKind::TimedOut, held))
            }
        }
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// Missing rights, when the process is another user's. A process that has ended is no error.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Like [`Process::kill`].
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The state letter of /proc/pid/stat: `T` is stopped, `D` waits for the kernel.
    pub(crate) fn state(&self) -> Option<char> {
        proc_fs::stat(self.pid()).ok().map(|stat| stat.state)
    }

    /// Waits without a runtime; reaps it when it has ended.
    fn ends_within(&self, limit: Timespec) -> bool {
        let mut ready = [PollFd::new(self.pidfd.get_ref(), PollFlags::IN)];
        // Interrupted or not: what counts is whether it can be reaped.
        let _ = rustix::event::poll(&mut ready, Some(&limit));
        self.reap().is_some()
    }

    fn reap(&self) -> Option<Exit> {
        let mut exit = guarded(&self.exit);
        if exit.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            *exit = match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(None) => None,
                Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Gone,
                }),
                Err(_) => Some(Exit::Gone),
            };
        }
        *exit
    }
}

/// A process that ends with its owner: killed and reaped when dropped on an error path.
#[derive(Debug)]
pub(crate) struct Guard(Option<Process>);

impl Guard {
    pub(crate) fn process(&self) -> &Process {
        self.0.as_ref().expect("present until released")
    }

    /// The process lives on by itself.
    pub(crate) fn release(mut self) -> Process {
        self.0.take().expect("present until released")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(process) = self.0.take() else { return };
        if let Err(error) = process.kill() {
            tracing::debug!(pid = process.pid(), %error, "cannot kill a process whose start failed");
        }
        // A killed process ends within milliseconds, unless the kernel holds it: that is no reason to hold up a thread of the caller's.
        if !process.ends_within(ENDS_SOON) {
            let reaper = std::thread::Builder::new().name("reaper".to_owned());
            let waiting = reaper.spawn(move || while !process.ends_within(ENDS_LATE) {});
            if let Err(error) = waiting {
                tracing::debug!(%error, "nobody reaps a process that the kernel holds");
            }
        }
    }
}

/// How long a process may take to end that was killed. One with much memory gives it back for seconds.
pub(crate) const ENDS: Duration = Duration::from_secs(30);

/// How long a thread of the caller's may be held up for a process that was killed.
const ENDS_SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How long a thread of its own waits for it at a time.
const ENDS_LATE: Timespec = Timespec { tv_sec: 3600, tv_nsec: 0 };

/// QEMU needs nothing from the environment, and what is secret in ours is not for it. `C` keeps its messages as
/// documented.
const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C")];

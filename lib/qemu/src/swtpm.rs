//! The process that is a machine's TPM: swtpm, started before QEMU, ended with it.
//!
//! ```text
//!   swtpm <---- socket pair ----> QEMU      no path: neither finds another's
//!     '-- --terminate: it ends when QEMU does, whoever looks after both
//! ```

use crate::{
    config::{Config, ConfigError, Stream},
    proc_fs,
    process::{Guard, Identity, Limits, Process, Spawn},
};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
};

/// A TPM that is started with its machine. The machine's [`crate::config::Tpm::control`] is [`Stream::Connected`]: what QEMU is connected
/// to under that key is this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swtpm {
    /// The program, usually `/usr/bin/swtpm`.
    pub program: PathBuf,
    /// Directory with the state of this machine's TPM, which the process's identity may write; empty for a new one.
    pub state: PathBuf,
    /// Version of the specification.
    pub version: TpmVersion,
}

/// Version of the TPM's specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TpmVersion {
    /// 1.2, for guests that know no other.
    V12,
    /// 2.0.
    #[default]
    V20,
}

/// What tells a later manager which process it is; a part of the machine's [`crate::Record`], and like it passes over what it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// Process number.
    pub pid: u32,
    /// Start of the process in clock ticks since boot.
    pub start_ticks: u64,
}

impl Companion {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start_ticks: proc_fs::stat(pid)?.start_ticks })
    }

    /// Takes hold of it; `None` when it is no more.
    pub(crate) fn hold(self) -> Option<Process> {
        let is_it = || proc_fs::stat(self.pid).is_ok_and(|stat| stat.start_ticks == self.start_ticks);
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw)?;
        // Before and after: the number may pass to another process in between.
        let process = is_it().then(|| Process::open(pid).ok()).flatten()?;
        is_it().then_some(process)
    }
}

impl Swtpm {
    /// The key under which QEMU is handed its end.
    pub(crate) fn key(config: &Config) -> Result<&str, ConfigError> {
        match config.tpm.as_ref().map(|tpm| &tpm.control) {
            Some(Stream::Connected(key)) => Ok(key),
            _ => Err(ConfigError::conflict(
                "tpm",
                "one that is started with the machine is handed over connected: Stream::Connected",
            )),
        }
    }

    /// Starts it. Answers QEMU's end.
    pub(crate) fn start(
        &self,
        log: File,
        identity: Option<Identity>,
        cgroups: Vec<OwnedFd>,
        limits: Limits,
    ) -> io::Result<(Guard, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        // Its options have no way to write a comma; a descriptor has no name.
        let state = OwnedFd::from(File::open(&self.state)?);
        let mut args = vec!["socket".into()];
        if self.version == TpmVersion::V20 {
            args.push("--tpm2".into());
        }
        args.extend([
            "--tpmstate".into(),
            format!("dir=/proc/self/fd/{},mode=0600", state.as_raw_fd()).into(),
        ]);
        args.extend(["--ctrl".into(), format!("type=unixio,clientfd={}", theirs.as_raw_fd()).into()]);
        args.push("--terminate".into());
        let spawn = Spawn {
            program: self.program.clone(),
            args,
            inherited: vec![state, theirs.into()],
            log,
            identity,
            confinement: None,
            cgroups,
            oom_score_adj: None,
            limits,
        };
        Ok((spawn.spawn()?, ours.into()))
    }
}

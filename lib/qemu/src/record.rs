//! The runtime record: what a manager that starts later needs to find its machine again and to prove that it is it.

use crate::{logs::Places, proc_fs, process::Process, swtpm::Companion};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// Identity and places of one running machine. Written before its guest runs, removed by whoever cleans up. What a newer library has written
/// in addition is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Identity of the machine, part of its command line.
    pub uuid: Uuid,
    /// Process number.
    pub pid: u32,
    /// Start of the process in clock ticks since boot (field 22 of /proc/pid/stat).
    pub start_ticks: u64,
    /// The boot of the host that both refer to.
    pub boot_id: String,
    /// Device and inode of the program.
    pub exe: (u64, u64),
    /// Socket of the monitor.
    pub qmp_socket: PathBuf,
    /// Socket of the serial console.
    pub console_socket: PathBuf,
    /// Log of the serial console.
    pub console_log: PathBuf,
    /// QEMU's own messages.
    pub qemu_log: PathBuf,
    /// SHA-256 of the command line, each argument followed by a zero byte; in hexadecimal.
    pub argv_digest: String,
    /// The process that is the machine's TPM, if it was started with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swtpm: Option<Companion>,
}

impl Record {
    /// File name within the machine's run directory.
    pub const FILE: &'static str = "record.json";

    /// Its name until it is whole.
    pub(crate) const NEW: &'static str = ".record.json.new";

    /// Writes the record so that a crash leaves the old one or the new one: mode 0600, synced, renamed. Waits for the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, run_dir: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        let new = run_dir.join(Self::NEW);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(new, run_dir.join(Self::FILE))?;
        File::open(run_dir)?.sync_all()
    }

    /// Reads the record of a run directory; `None` when there is none.
    ///
    /// # Errors
    /// Those of the file system, and `InvalidData` for a file that is no record.
    pub fn load(run_dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(run_dir.join(Self::FILE)) {
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes);
                record.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Describes a machine that has just been started in `run_dir`.
    pub(crate) fn of(
        uuid: Uuid,
        pid: u32,
        run_dir: &Path,
        logs: Places,
        args: &[OsString],
    ) -> io::Result<Self> {
        Ok(Self {
            uuid,
            pid,
            start_ticks: proc_fs::stat(pid)?.start_ticks,
            boot_id: proc_fs::boot_id()?,
            exe: proc_fs::exe(pid)?,
            qmp_socket: run_dir.join(QMP_SOCKET),
            console_socket: run_dir.join(CONSOLE_SOCKET),
            console_log: logs.console,
            qemu_log: logs.qemu,
            argv_digest: digest(args.iter().map(|arg| arg.as_bytes())),
            swtpm: None,
        })
    }

    /// The same for a process that greets by now: a program that is a script, or was started through a loader, has become another one
    /// since, with arguments of its own.
    pub(crate) fn greeted(&self) -> io::Result<Self> {
        let (exe, cmdline) = (proc_fs::exe(self.pid)?, proc_fs::cmdline(self.pid)?);
        Ok(Self { exe, argv_digest: digest(arguments(&cmdline)), ..self.clone() })
    }

    /// Looks among all processes for the machine `uuid` of `run_dir`, whose lock it holds, and describes it: for a manager that ended
    /// between starting the process and writing its record. While a machine migrates within a host two processes have its identity. Of a
    /// script and the QEMU that it runs beside itself, which has the same arguments and the same lock, it is QEMU. Waits for each process that
    /// the kernel holds while it has its memory map: [`crate::adopt_in`] asks in a thread of its own.
    ///
    /// # Errors
    /// /proc cannot be read. Processes that end meanwhile or hide their command line are passed over.
    pub fn find(uuid: Uuid, run_dir: &Path) -> io::Result<Option<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let Some(pid) = Pid::from_raw(pid) else { continue };
            let number = pid.as_raw_nonzero().get().unsigned_abs();
            let Ok(cmdline) = proc_fs::cmdline(number) else { continue };
            if !names(&cmdline, uuid) {
                continue;
            }
            let args: Vec<OsString> =
                cmdline[1..cmdline.len() - 1].iter().map(|arg| OsStr::from_bytes(arg).to_owned()).collect();
            let candidate = Process::open(pid)
                .and_then(|_held| Self::of(uuid, number, run_dir, Places::found(run_dir), &args));
            if let Ok(record) = candidate
                && record.proves()?.is_ok()
                && let Ok(stat) = proc_fs::stat(record.pid)
            {
                found.push((record, stat.parent));
            }
        }
        let parents: Vec<u32> = found.iter().map(|(_, parent)| *parent).collect();
        Ok(found.into_iter().map(|(record, _)| record).find(|record| !parents.contains(&record.pid)))
    }

    /// Takes hold of the process if it still is the one recorded.
    ///
    /// The facts are compared before the pidfd is opened and again after: a number that passed to another process in
    /// between would differ then.
    ///
    /// # Errors
    /// Missing rights and the like; that the process is gone is `Ok(Err(why))`.
    pub(crate) fn hold(&self) -> io::Result<Result<Process, String>> {
        if let Err(why) = self.proves()? {
            return Ok(Err(why));
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(Err("the recorded process number is invalid".into())) };
        let process = match Process::open(pid) {
            Ok(process) => process,
            Err(error) if is_gone(&error) => return Ok(Err("the process has ended".into())),
            Err(error) => return Err(error),
        };
        Ok(self.proves()?.map(|()| process))
    }

    fn proves(&self) -> io::Result<Result<(), String>> {
        if proc_fs::boot_id()? != self.boot_id {
            return Ok(Err("the host has been rebooted".into()));
        }
        let facts = || -> io::Result<_> {
            let stat = proc_fs::stat(self.pid)?;
            if stat.state == 'Z' {
                return Ok(None);
            }
            let holds = self.lock().and_then(|lock| proc_fs::holds(self.pid, &lock).ok());
            Ok(Some((stat.start_ticks, proc_fs::exe(self.pid)?, proc_fs::cmdline(self.pid)?, holds)))
        };
        let (start, exe, cmdline, holds) = match facts() {
            Ok(Some(facts)) => facts,
            Ok(None) => return Ok(Err("the process has ended".into())),
            Err(error) if is_gone(&error) => return Ok(Err("the process has ended".into())),
            Err(error) => return Err(error),
        };
        let digest = digest(arguments(&cmdline));
        // Number and start name one process for as long as the host runs. It may execute another program since it was recorded, as a script
        // does that becomes QEMU: then its lock, which goes with the process, must prove it.
        let is_unchanged = exe == self.exe && digest == self.argv_digest;
        if start != self.start_ticks || (!is_unchanged && holds != Some(true)) {
            return Ok(Err(format!("process {} is another one now", self.pid)));
        }
        // Who may not look, or finds no lock any more, has the other facts.
        if !names(&cmdline, self.uuid) || holds == Some(false) {
            return Ok(Err(format!("process {} is not the machine of this directory", self.pid)));
        }
        Ok(Ok(()))
    }

    /// The machine's directory.
    pub(crate) fn run_dir(&self) -> Option<&Path> {
        self.qmp_socket.parent()
    }

    /// The lock that a process of this machine holds as long as it lives.
    pub(crate) fn lock(&self) -> Option<PathBuf> {
        Some(self.run_dir()?.join(LOCK))
    }
}

fn names(cmdline: &[Vec<u8>], uuid: Uuid) -> bool {
    let uuid = uuid.to_string();
    cmdline.windows(2).any(|pair| pair[0] == b"-uuid" && pair[1] == uuid.as_bytes())
}

/// They are between the program's name and what follows the last zero byte.
fn arguments(cmdline: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    cmdline.get(1..cmdline.len().saturating_sub(1)).unwrap_or_default().iter().map(Vec::as_slice)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn digest<'a>(args: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for arg in args {
        hash.update(arg);
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) const LOCK: &str = "lock";
pub(crate) const QMP_SOCKET: &str = "qmp.sock";
pub(crate) const CONSOLE_SOCKET: &str = "console.sock";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_newer_library_has_added_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let uuid = Uuid::from_u128(1);
        let swtpm = Companion { pid: 2, start_ticks: 3 };
        let record =
            Record::of(uuid, std::process::id(), directory.path(), Places::found(directory.path()), &[]);
        let record = Record { swtpm: Some(swtpm), ..record.unwrap() };
        let mut newer = serde_json::to_value(&record).unwrap();
        newer["more"] = json!([1]);
        newer["swtpm"]["more"] = json!({});
        fs::write(directory.path().join(Record::FILE), newer.to_string()).unwrap();
        assert_eq!(Record::load(directory.path()).unwrap(), Some(record));
    }
}

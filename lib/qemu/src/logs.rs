//! Where the logs of a machine are: in its run directory, or in a directory that the caller or the environment names.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// Where a machine logs to. Each file is opened for appending (mode 0600), so whoever reads it may also trim it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// QEMU's own messages; `None` for `qemu.log` in the run directory.
    pub qemu: Option<PathBuf>,
    /// What the guest writes to its console; `None` for `console.log` in the run directory.
    pub console: Option<PathBuf>,
}

impl Logs {
    /// The variable that [`Logs::from_env`] reads.
    pub const VARIABLE: &'static str = "QEMU_LOG_DIR";

    /// `<uuid>.qemu.log` and `<uuid>.console.log` in the directory that [`Logs::VARIABLE`] names, if it names one. The directory
    /// must exist.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the explicit entry point for the environment")]
    pub fn from_env(uuid: Uuid) -> Self {
        Self::of(std::env::var_os(Self::VARIABLE), uuid)
    }

    fn of(directory: Option<OsString>, uuid: Uuid) -> Self {
        let Some(directory) = directory.filter(|directory| !directory.is_empty()) else {
            return Self::default();
        };
        let file = |kind: &str| Some(Path::new(&directory).join(format!("{uuid}.{kind}.log")));
        Self { qemu: file("qemu"), console: file("console") }
    }

    /// The places for a machine with this run directory.
    pub(crate) fn within(&self, run_dir: &Path) -> Places {
        let or = |path: &Option<PathBuf>, name: &str| path.clone().unwrap_or_else(|| run_dir.join(name));
        Places { qemu: or(&self.qemu, QEMU), console: or(&self.console, CONSOLE) }
    }

    /// Leaves a link in the run directory, which is found `here`, to each log that is elsewhere: for people, and for a manager without a
    /// record. A log of an earlier start that is in its place is kept as `<name>.before`.
    pub(crate) fn link(&self, run_dir: &Path, here: &Path) -> io::Result<()> {
        for (place, name) in [(&self.qemu, QEMU), (&self.console, CONSOLE)] {
            let link = here.join(name);
            if fs::symlink_metadata(&link).is_ok_and(|found| found.is_symlink()) {
                fs::remove_file(&link)?;
            }
            if let Some(place) = place
                && *place != run_dir.join(name)
            {
                match fs::rename(&link, here.join(format!("{name}.before"))) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => std::os::unix::fs::symlink(std::path::absolute(place)?, &link)?,
                }
            }
        }
        Ok(())
    }
}

/// Where the logs of one machine are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) qemu: PathBuf,
    pub(crate) console: PathBuf,
}

impl Places {
    /// Those that an earlier start in this directory chose.
    pub(crate) fn found(run_dir: &Path) -> Self {
        let real = |name: &str| fs::read_link(run_dir.join(name)).unwrap_or_else(|_| run_dir.join(name));
        Self { qemu: real(QEMU), console: real(CONSOLE) }
    }
}

const QEMU: &str = "qemu.log";
const CONSOLE: &str = "console.log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_there_is_kept_when_the_next_is_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("qemu.log"), "said before").unwrap();
        let elsewhere = Logs { qemu: Some(at("elsewhere")), console: None };
        for _ in 0..2 {
            elsewhere.link(directory.path(), directory.path()).unwrap();
            assert_eq!(fs::read_link(at("qemu.log")).unwrap(), at("elsewhere"));
        }
        assert_eq!(fs::read_to_string(at("qemu.log.before")).unwrap(), "said before");
        Logs::default().link(directory.path(), directory.path()).unwrap();
        assert!(!at("qemu.log").exists(), "a link that nobody uses is gone");
    }

    #[test]
    fn the_environment_names_a_directory_or_nothing() {
        let uuid = Uuid::nil();
        for nothing in [None, Some(OsString::new())] {
            assert_eq!(Logs::of(nothing, uuid), Logs::default());
        }
        let logs = Logs::of(Some("/var/log/vm".into()), uuid);
        assert_eq!(logs.console.unwrap(), Path::new("/var/log/vm").join(format!("{uuid}.console.log")));
        let places = Logs::default().within(Path::new("/run/vm"));
        assert_eq!((places.qemu, places.console), ("/run/vm/qemu.log".into(), "/run/vm/console.log".into()));
    }
}

//! A machine's directory and its lock. QEMU inherits the locked descriptor, so the lock lasts exactly as long as the process, whoever
//! started it.
//!
//! ```text
//!   open the directory --> open its lock --> lock it --> is it still the lock of the directory that the path names? --no--> all over again
//!                                                          '-yes-> what is done here is done by the directory's descriptor
//! ```
//! Somebody may remove a directory and make it anew at any moment, and another machine may start there. So who has the lock of a directory
//! that is gone has it for that one: he makes and removes nothing by path.

use crate::record::LOCK;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, openat, statat, unlinkat},
    io::{Errno, retry_on_intr},
};
use std::{
    fs::{File, TryLockError},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use thiserror::Error;

/// A machine's directory, of which we have the lock: until this is dropped and whoever inherited [`RunDir::lock`] has ended.
#[derive(Debug)]
pub(crate) struct RunDir {
    directory: OwnedFd,
    lock: File,
}

/// Why a directory was not had.
#[derive(Debug, Error)]
pub(crate) enum NotLocked<E> {
    /// Somebody else keeps it.
    #[error("it is held")]
    Held,
    /// It was not opened.
    #[error(transparent)]
    Closed(E),
    /// The file system refused.
    #[error(transparent)]
    Refused(io::Error),
}

impl RunDir {
    /// That of a directory whose lock is there. Nobody has locked it yet.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn opened(path: &Path) -> io::Result<Self> {
        Self::within(opened(path)?, OFlags::empty())
    }

    /// The same of an open directory; `also` may be [`OFlags::CREATE`] for a lock that is not there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn within(directory: OwnedFd, also: OFlags) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | also;
        let lock = retry_on_intr(|| openat(&directory, LOCK, flags, Mode::RUSR | Mode::WUSR))?;
        Ok(Self { directory, lock: lock.into() })
    }

    /// Whether the path still names this directory, and its lock the one that we have.
    ///
    /// # Errors
    /// Those of the file system; that one of them is gone is none.
    pub(crate) fn is_at(&self, path: &Path) -> io::Result<bool> {
        let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
        let found = |stat: rustix::io::Result<Stat>| match stat {
            Ok(stat) => Ok(Some(identity(stat))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error),
        };
        let directory = found(statat(CWD, path, AtFlags::empty()))?;
        let lock = found(statat(&self.directory, LOCK, AtFlags::empty()))?;
        Ok(directory == Some(identity(fstat(&self.directory)?)) && lock == Some(identity(fstat(&self.lock)?)))
    }

    /// The lock, for a process that is to have it as long as it lives.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// A path that leads to this directory and to no other for as long as this is kept, in this process.
    pub(crate) fn here(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.directory.as_raw_fd()).into()
    }

    /// Removes files of it, those too that come after one that stays; what is not there is as good.
    ///
    /// # Errors
    /// That of the first that stays.
    pub(crate) fn remove(&self, names: &[&str]) -> io::Result<()> {
        let gone = |name: &&str| match unlinkat(&self.directory, *name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        };
        let mut errors = names.iter().map(gone).filter_map(Result::err);
        let first = errors.next();
        errors.for_each(drop);
        first.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Opens a directory, or whatever the path names, for what is done by its descriptor.
///
/// # Errors
/// Those of the file system.
pub(crate) fn opened(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?)
}

/// Has the lock of the directory that `path` names, or waits for it: one that is held, or that is not the directory's any more, is tried again
/// so many times before that is believed. For a thread that may wait ([`qmp::aside`]): the lock of a network's file system is its server's to
/// give.
///
/// Another program that this process starts at the same time has all our descriptors between its `fork` and its `exec`, and so for a moment
/// also the lock of a QEMU that has just ended; and a start that was given up may have it until it has ended.
pub(crate) fn locked<E>(
    path: &Path,
    open: impl FnMut() -> Result<RunDir, E>,
    times: u32,
) -> Result<RunDir, NotLocked<E>> {
    locked_after(path, open, times, pause)
}

/// The same with something else between two tries.
pub(crate) fn locked_after<E>(
    path: &Path,
    mut open: impl FnMut() -> Result<RunDir, E>,
    times: u32,
    mut pause: impl FnMut(),
) -> Result<RunDir, NotLocked<E>> {
    let mut left = times;
    let mut opened = open().map_err(NotLocked::Closed)?;
    loop {
        let is_locked = match opened.lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(NotLocked::Refused(error)),
        };
        let is_there = opened.is_at(path).map_err(NotLocked::Refused)?;
        match (is_locked, is_there) {
            (true, true) => return Ok(opened),
            _ if left == 0 => return Err(NotLocked::Held),
            (false, true) => pause(),
            (_, false) => opened = open().map_err(NotLocked::Closed)?,
        }
        left -= 1;
    }
}

/// Between two tries.
pub(crate) fn pause() {
    thread::sleep(PAUSE);
}

/// Far more than so many tries take where the file system answers at once, however busy the host is.
pub(crate) fn more_than(times: u32) -> Duration {
    10 * PAUSE * times
}

const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    fn made(path: &Path) -> io::Result<RunDir> {
        RunDir::within(opened(path)?, OFlags::CREATE)
    }

    /// Puts a directory in the place of another, as whoever clears up and starts anew does: in it are a lock and these files.
    pub(crate) fn replace(path: &Path, files: &[&str]) {
        fs::remove_dir_all(path).expect("removed");
        fs::create_dir(path).expect("made");
        for name in [LOCK].iter().chain(files) {
            fs::write(path.join(name), "").expect("written");
        }
    }

    #[test]
    fn a_lock_that_the_last_look_finds_free_is_had() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        // A child of another test has a copy of the lock until it is another program: not every last look finds it free.
        let is_had = || {
            let mut other = Some(locked(path, || made(path), 50).expect("free"));
            assert!(matches!(locked_after(path, || made(path), 1, || {}), Err(NotLocked::Held)));
            locked_after(path, || made(path), 1, || drop(other.take())).is_ok()
        };
        assert!((0..50).any(|_| is_had()));
    }

    #[test]
    fn the_lock_that_is_had_is_that_of_the_directory_at_the_path() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = &scratch.path().join("run");
        // Of the whole directory, and of its lock alone.
        for is_whole in [true, false] {
            fs::create_dir(path).expect("made");
            let mut other = Some(locked(path, || made(path), 0).expect("free"));
            let replaced = || {
                if is_whole {
                    replace(path, &[]);
                } else {
                    fs::remove_file(path.join(LOCK)).expect("removed");
                    fs::write(path.join(LOCK), "").expect("written");
                }
                other.take();
            };
            let had = locked_after(path, || made(path), 2, replaced).expect("had");
            let next = locked(path, || made(path), 0);
            assert!(matches!(next, Err(NotLocked::Held)), "{is_whole}: {next:?}");
            drop(had);
            locked(path, || made(path), 50).expect("free again");
            fs::remove_dir_all(path).expect("removed");
        }
    }

    #[test]
    fn what_is_done_by_a_directory_reaches_no_other_of_its_name() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = &scratch.path().join("run");
        fs::create_dir(path).expect("made");
        let had = locked(path, || made(path), 0).expect("free");
        fs::write(had.here().join("first"), "").expect("written");
        assert!(path.join("first").exists() && had.is_at(path).expect("looked at"));
        replace(path, &["first"]);
        had.remove(&["first"]).expect("it is not there any more");
        assert!(fs::write(had.here().join("second"), "").is_err(), "what is removed has no room");
        assert!(path.join("first").exists() && !path.join("second").exists());
        assert!(!had.is_at(path).expect("looked at"));
    }
}

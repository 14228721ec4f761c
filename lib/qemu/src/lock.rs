//! The lock of a machine's directory. QEMU inherits the locked descriptor, so the lock lasts exactly as long as the process, whoever
//! started it.

use std::{
    fs::{File, TryLockError},
    io, thread,
    time::Duration,
};
use thiserror::Error;

/// Why a lock was not had.
#[derive(Debug, Error)]
pub(crate) enum NotLocked {
    /// Somebody else keeps it. What it was tried with.
    #[error("it is held")]
    Held(File),
    /// The file system refused.
    #[error(transparent)]
    Refused(io::Error),
}

/// Has a lock, or waits for it: one that is held is tried again so many times before that is believed. For a thread that may wait
/// ([`qmp::aside`]): the lock of a network's file system is its server's to give.
///
/// Another program that this process starts at the same time has all our descriptors between its `fork` and its `exec`, and so for a moment
/// also the lock of a QEMU that has just ended; and a start that was given up may have it until it has ended.
pub(crate) fn locked(file: File, times: u32) -> Result<File, NotLocked> {
    locked_after(file, times, || thread::sleep(PAUSE))
}

fn locked_after(file: File, times: u32, mut pause: impl FnMut()) -> Result<File, NotLocked> {
    let mut left = times;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if left == 0 => return Err(NotLocked::Held(file)),
            Err(TryLockError::WouldBlock) => pause(),
            Err(TryLockError::Error(error)) => return Err(NotLocked::Refused(error)),
        }
        left -= 1;
    }
}

/// Far more than so many tries take where the file system answers at once, however busy the host is.
pub(crate) fn more_than(times: u32) -> Duration {
    10 * PAUSE * times
}

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_the_last_look_finds_free_is_had() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let opened = || File::options().append(true).create(true).open(&path).expect("opened");
        let other = opened();
        other.try_lock().expect("free");
        assert!(matches!(locked_after(opened(), 1, || {}), Err(NotLocked::Held(_))));
        let mut other = Some(other);
        assert!(locked_after(opened(), 1, || drop(other.take())).is_ok());
    }
}

//! The lock of a machine's directory. QEMU inherits the locked descriptor, so the lock lasts exactly as long as the process, whoever
//! started it.

use qmp::aside::{Unanswered, ask};
use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    time::Duration,
};
use thiserror::Error;

/// Why a lock was not had.
#[derive(Debug, Error)]
pub(crate) enum NotLocked {
    /// Somebody else keeps it.
    #[error("it is held")]
    Held,
    /// The file system refused.
    #[error(transparent)]
    Refused(io::Error),
    /// The file system does not answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// Has a lock that was tried once, or waits for it: one that is held is asked for again so many times before that is believed.
///
/// Another program that this process starts at the same time has all our descriptors between its `fork` and its `exec`, and so for a moment
/// also the lock of a QEMU that has just ended; and a start that was given up may have it until it has ended.
pub(crate) async fn locked(
    mut tried: (Result<(), TryLockError>, File),
    path: &Path,
    times: u32,
    deadline: Duration,
) -> Result<File, NotLocked> {
    let mut left = times;
    loop {
        let (outcome, file) = tried;
        match outcome {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if left == 0 => return Err(NotLocked::Held),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(NotLocked::Refused(error)),
        }
        left -= 1;
        // The lock of a network's file system is its server's to give.
        tried = ask(path, deadline, move |_| (file.try_lock(), file)).await?;
    }
}

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_that_the_last_look_finds_free_is_had() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let opened = || File::options().append(true).create(true).open(&path).expect("opened");
        let (other, own) = (opened(), opened());
        other.try_lock().expect("free");
        let held = (own.try_lock(), own);
        let limit = Duration::from_secs(60);
        assert!(matches!(locked(held, &path, 1, limit).await, Err(NotLocked::Held)));
        let own = opened();
        let held = (own.try_lock(), own);
        drop(other);
        assert!(locked(held, &path, 1, limit).await.is_ok());
    }
}

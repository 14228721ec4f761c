//! What a machine that has ended leaves in its directory: sockets that nobody serves any more. Its logs and its record stay.

use crate::{
    lock::{NotLocked, locked},
    record::Record,
};
use qmp::aside::ask;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::OnceCell;

/// The sockets of one process.
#[derive(Debug)]
pub(crate) struct Left {
    sockets: [PathBuf; 2],
    lock: Option<PathBuf>,
    gone: OnceCell<()>,
}

impl Left {
    pub(crate) fn of(record: &Record) -> Self {
        let sockets = [record.qmp_socket.clone(), record.console_socket.clone()];
        Self { sockets, lock: record.lock(), gone: OnceCell::new() }
    }

    /// Removes them, once the process has ended; whoever else does so is waited for. Only under the lock of the directory, which each process
    /// in it holds as long as it lives, and each start from before it makes its sockets: those of the next one are not touched. What could
    /// not be removed is tried again by whoever comes next.
    pub(crate) async fn removed(&self) {
        let Some(lock) = &self.lock else { return };
        let removed = self.gone.get_or_try_init(|| remove(&self.sockets, lock));
        // However many questions that takes, and whoever else is waited for.
        let removed = tokio::time::timeout(PATIENCE, removed).await;
        let error = match removed {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        // They are replaced by the next start.
        tracing::debug!(error = &error as &dyn std::error::Error, "sockets are left");
    }
}

async fn remove(sockets: &[PathBuf; 2], lock: &Path) -> io::Result<()> {
    let place = lock.to_owned();
    let opened = ask(lock, PATIENCE, move |_| {
        let lock = File::options().append(true).open(place)?;
        Ok::<_, io::Error>((lock.try_lock(), lock))
    });
    let tried = match opened.await? {
        // What was in a directory that is gone is gone, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        tried => tried?,
    };
    let held = locked(tried, lock, TRIES, PATIENCE).await.map_err(|error| match error {
        NotLocked::Refused(error) => error,
        error => io::Error::other(error),
    })?;
    let sockets = sockets.clone();
    ask(lock, PATIENCE, move |_| {
        let removed = remove_files(&sockets);
        drop(held);
        removed
    })
    .await?
}

/// Removes files, those too that come after one that stays; what is not there is as good.
///
/// # Errors
/// That of the first that stays.
pub(crate) fn remove_files(files: &[PathBuf]) -> io::Result<()> {
    let stays =
        |file: &PathBuf| fs::remove_file(file).err().filter(|it| it.kind() != io::ErrorKind::NotFound);
    let mut errors = files.iter().filter_map(stays);
    let first = errors.next();
    errors.for_each(drop);
    first.map_or(Ok(()), Err)
}

/// How often a lock that is held is tried: a program that is just being started may have a copy of it until it executes.
const TRIES: u32 = 10;

/// Of whoever ends a machine, with a file system that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_ends_a_machine_waits_once_for_a_silent_file_system() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        // Opening it waits for whoever reads it.
        mknodat(CWD, at("lock"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        let left =
            Left { sockets: [at("first"), at("second")], lock: Some(at("lock")), gone: OnceCell::new() };
        tokio::time::pause();
        let both = async { tokio::join!(left.removed(), left.removed()) };
        tokio::time::timeout(PATIENCE * 3 / 2, both).await.expect("not one after the other");
        // Those who wait there have it now.
        File::options().read(true).write(true).open(at("lock")).expect("opened");
    }

    #[tokio::test]
    async fn what_could_not_be_removed_is_tried_again_and_hides_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for name in ["lock", "second"] {
            fs::write(at(name), "").expect("written");
        }
        // No file, and so it stays.
        fs::create_dir(at("first")).expect("made");
        let left =
            Left { sockets: [at("first"), at("second")], lock: Some(at("lock")), gone: OnceCell::new() };
        left.removed().await;
        assert!(at("first").exists() && !at("second").exists() && !left.gone.initialized());
        fs::remove_dir(at("first")).expect("removed");
        fs::write(at("first"), "").expect("written");
        left.removed().await;
        assert!(!at("first").exists() && left.gone.initialized());
        // A socket that comes later is somebody else's.
        fs::write(at("first"), "").expect("written");
        left.removed().await;
        assert!(at("first").exists());
    }
}

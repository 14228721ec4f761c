//! What a machine that has ended leaves in its directory: sockets that nobody serves any more. Its logs and its record stay.

use crate::{
    lock::{NotLocked, locked},
    record::Record,
};
use qmp::aside::run;
use std::{
    fmt,
    fs::{self, File},
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};
use tokio::sync::Mutex;

/// The sockets of one process.
pub(crate) struct Left {
    sockets: [PathBuf; 2],
    lock: Option<PathBuf>,
    removal: Mutex<Removal>,
}

/// How far the removal has come.
enum Removal {
    /// Not begun, or refused. Whoever comes next tries it again: to be refused takes a moment.
    Due,
    /// A thread is at it, which nobody can call back. It ends when its file system answers, and what came of it is seen by who comes then.
    Going {
        outcome: Pin<Box<dyn Future<Output = io::Result<()>> + Send>>,
        /// Somebody has waited for it in vain, and nobody else does.
        is_silent: bool,
    },
    /// They are gone.
    Done,
}

impl fmt::Debug for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Left").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

impl Left {
    pub(crate) fn of(record: &Record) -> Self {
        let sockets = [record.qmp_socket.clone(), record.console_socket.clone()];
        Self { sockets, lock: record.lock(), removal: Mutex::new(Removal::Due) }
    }

    /// Removes them, once the process has ended; whoever else does so is waited for. Only under the lock of the directory, which each process
    /// in it holds as long as it lives, and each start from before it makes its sockets: those of the next one are not touched. What was
    /// refused is tried again by whoever comes next. A file system that does not answer is waited for once, by who finds that out: the
    /// others go on at once until it does.
    pub(crate) async fn removed(&self) {
        let Some(lock) = &self.lock else { return };
        let mut removal = self.removal.lock().await;
        if let Removal::Due = *removal {
            let (sockets, lock) = (self.sockets.clone(), lock.clone());
            let outcome = async { run(move || remove(&sockets, &lock)).await.flatten() };
            *removal = Removal::Going { outcome: Box::pin(outcome), is_silent: false };
        }
        let Removal::Going { outcome, is_silent } = &mut *removal else { return };
        let patience = if *is_silent { Duration::ZERO } else { PATIENCE };
        let error = match tokio::time::timeout(patience, outcome).await {
            Ok(Ok(())) => {
                *removal = Removal::Done;
                return;
            }
            Ok(Err(error)) => {
                *removal = Removal::Due;
                error
            }
            Err(_) => {
                *is_silent = true;
                io::ErrorKind::TimedOut.into()
            }
        };
        // They are replaced by the next start.
        tracing::debug!(error = &error as &dyn std::error::Error, "sockets are left");
    }
}

/// In a thread that may wait: what it locks is free again when it ends, whoever waits for it then.
fn remove(sockets: &[PathBuf], lock: &Path) -> io::Result<()> {
    let lock = match File::options().append(true).open(lock) {
        // What was in a directory that is gone is gone, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        lock => lock?,
    };
    let _held = locked(lock, TRIES).map_err(|error| match error {
        NotLocked::Refused(error) => error,
        error @ NotLocked::Held(_) => io::Error::other(error),
    })?;
    remove_files(sockets)
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

/// Of who ends a machine, with a file system that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(directory: &Path) -> Left {
        let [first, second, lock] = ["first", "second", "lock"].map(|name| directory.join(name));
        Left { sockets: [first, second], lock: Some(lock), removal: Mutex::new(Removal::Due) }
    }

    impl Left {
        async fn is_done(&self) -> bool {
            matches!(*self.removal.lock().await, Removal::Done)
        }

        /// Tries it once, however long the thread of it is kept from running.
        async fn is_through(&self) {
            let through = async {
                loop {
                    self.removed().await;
                    if !matches!(*self.removal.lock().await, Removal::Going { .. }) {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), through).await.expect("it comes through");
        }
    }

    #[tokio::test]
    async fn a_silent_file_system_is_waited_for_once_until_it_answers() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("first");
        fs::write(&socket, "").expect("written");
        // Opening it waits for whoever reads it.
        let lock = directory.path().join("lock");
        mknodat(CWD, &lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        let left = at(directory.path());
        tokio::time::pause();
        let both = async { tokio::join!(left.removed(), left.removed()) };
        tokio::time::timeout(PATIENCE * 3 / 2, both).await.expect("not one after the other");
        for _ in 0..3 {
            tokio::time::timeout(PATIENCE / 2, left.removed()).await.expect("that it is silent is known");
        }
        assert!(socket.exists() && !left.is_done().await);
        tokio::time::resume();
        // It answers.
        let _reader = File::options().read(true).write(true).open(lock).expect("opened");
        let done = async {
            while !left.is_done().await {
                left.removed().await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), done).await.expect("it goes on by itself");
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn what_was_refused_is_tried_again_and_hides_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let [first, second, lock] = ["first", "second", "lock"].map(|name| directory.path().join(name));
        for name in [&lock, &second] {
            fs::write(name, "").expect("written");
        }
        // No file, and so it stays.
        fs::create_dir(&first).expect("made");
        let left = at(directory.path());
        left.is_through().await;
        assert!(first.exists() && !second.exists() && !left.is_done().await);
        fs::remove_dir(&first).expect("removed");
        fs::write(&first, "").expect("written");
        left.is_through().await;
        assert!(!first.exists() && left.is_done().await);
        // A socket that comes later is somebody else's.
        fs::write(&first, "").expect("written");
        left.removed().await;
        assert!(first.exists());
    }
}

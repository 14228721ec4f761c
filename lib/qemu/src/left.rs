//! What a machine that has ended leaves in its directory: sockets that nobody serves any more. Its logs and its record stay.

use crate::record::Record;
use qmp::aside::ask;
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
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
    /// in it holds as long as it lives, and each start from before it makes its sockets: those of the next one are not touched.
    pub(crate) async fn removed(&self) {
        let Some(lock) = self.lock.clone() else { return };
        let remove = async {
            let sockets = self.sockets.clone();
            let removed = ask(&lock.clone(), PATIENCE, move |_| remove(&sockets, &lock)).await;
            if let Err(error) = removed.map_err(io::Error::from).flatten() {
                // Those of a directory that is gone are gone, too; others are replaced by the next start.
                tracing::debug!(error = &error as &dyn std::error::Error, "sockets are left");
            }
        };
        self.gone.get_or_init(|| remove).await;
    }
}

fn remove(sockets: &[PathBuf], lock: &Path) -> io::Result<()> {
    let lock = File::options().append(true).open(lock)?;
    let mut tries = 0;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tries < TRIES => {
                tries += 1;
                // A program that is just being started may have a copy of it until it executes.
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    for socket in sockets {
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// How often a lock that is held is tried, and what passes in between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Of whoever ends a machine, with a file system that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

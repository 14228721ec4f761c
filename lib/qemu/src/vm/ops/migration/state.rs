//! A machine's state in a file.

use super::{
    super::{OperationError, failed},
    Migrated, MigrationOptions,
};
use crate::Vm;
use qmp::commands::RunState;
use std::{
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt, unix::net::UnixStream},
    path::Path,
};
use tokio::io::AsyncWriteExt;

impl Vm {
    /// Stops the guest and writes its state to a new file (mode 0600, synced with its directory), which is larger than the memory the
    /// guest uses. Disks are not part of it. The process then waits to be ended; on an error the guest stands, unless the file could not
    /// be made, and can be resumed.
    ///
    /// A call that is dropped leaves the guest standing and no file; what QEMU was sending fails by itself.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn save(&self, file: &Path) -> Result<Migrated, OperationError> {
        let host = |source| OperationError::Host { action: format!("write {}", file.display()), source };
        let mut output = File::options().write(true).create_new(true).mode(0o600).open(file).map_err(host)?;
        let half_a_state = Removed(file);
        let directory =
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = File::open(directory).map_err(host)?;
        // A connection, not the file: what is written is synced here, and QEMU need not be allowed to write anywhere.
        let (mut input, theirs) = UnixStream::pair().map_err(host)?;
        self.pause().await.map_err(failed("stop the guest"))?;
        let written = tokio::task::spawn_blocking(move || -> io::Result<()> {
            io::copy(&mut input, &mut output)?;
            output.flush()?;
            output.sync_all()?;
            directory.sync_all()
        });
        // As fast as the file takes it.
        let options = MigrationOptions { bandwidth: Some(u64::MAX >> 1), ..MigrationOptions::default() };
        let sent = async { self.migrate(OwnedFd::from(theirs), &options).await?.done().await };
        // QEMU's end is closed when it is done or has failed, and so the copy ends; one that cannot be written ends the sending.
        let (sent, written) = tokio::join!(sent, written);
        let moved = sent?;
        written.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into())).map_err(host)?;
        std::mem::forget(half_a_state);
        Ok(moved)
    }

    /// Reads a state that [`Vm::save`] wrote into a machine that was started with [`crate::StartSpec::incoming`] and the same configuration.
    /// The guest stands then, where it stood.
    ///
    /// # Errors
    /// [`OperationError`]; the process is to be ended then.
    pub async fn restore(&self, file: &Path) -> Result<(), OperationError> {
        let host = |source| OperationError::Host { action: format!("read {}", file.display()), source };
        let mut input = tokio::fs::File::open(file).await.map_err(host)?;
        let (ours, theirs) = UnixStream::pair().map_err(host)?;
        ours.set_nonblocking(true).map_err(host)?;
        let mut stream = tokio::net::UnixStream::from_std(ours).map_err(host)?;
        let mut arriving = self.await_migration(OwnedFd::from(theirs), &MigrationOptions::default()).await?;
        let sent = async {
            tokio::io::copy(&mut input, &mut stream).await?;
            stream.shutdown().await
        };
        let arrived = async {
            arriving.over().await?;
            arriving.follow.leaves("the state", &[RunState::Inmigrate]).await?;
            arriving.settled().await
        };
        // A state that QEMU does not take ends the connection before the file ends; its own words are more useful.
        let (sent, arrived) = tokio::join!(sent, arrived);
        arrived?;
        sent.map_err(host)
    }
}

/// A file that goes with this; one that is gone is as good.
struct Removed<'p>(&'p Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

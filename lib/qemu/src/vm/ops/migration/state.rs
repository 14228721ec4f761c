//! A machine's state in a file.

use super::{
    super::{OperationError, failed, fresh::Fresh, host},
    Migrated, MigrationOptions, Switchover,
};
use crate::Vm;
use qmp::{
    aside::{Place, leave, run},
    commands::RunState,
};
use std::{
    fs::File,
    io::{self, Write},
    net::Shutdown,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt, unix::net::UnixStream},
    path::Path,
};

impl Vm {
    /// Stops the guest and writes its state to a new file (mode 0600, synced with its directory), which is larger than the memory the
    /// guest uses. Disks are not part of it. The process then waits to be ended; on an error the guest stands, unless the file could not
    /// be made or the machine is being moved ([`OperationError::Moving`]), and can be resumed.
    ///
    /// A call that is dropped leaves the guest standing and soon no file; its connection is closed, so what QEMU was sending fails.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn save(&self, file: &Path) -> Result<Migrated, OperationError> {
        // Stopped under a move it would stand at both ends, and run at both when both are resumed.
        let _alone = self.is_to_stay().await?;
        let place = file.to_owned();
        let make = move |at: &Place| {
            let output = File::options().write(true).create_new(true).mode(0o600).open(&place)?;
            let half_a_state = Fresh::of(place.clone());
            let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            at.now(parent);
            Ok((output, File::open(parent)?, half_a_state))
        };
        let (output, directory, half_a_state) = host(writing(file), file, make).await?;
        let half_a_state = HalfAState(Some(half_a_state));
        let saved = self.save_to(output, directory, file).await;
        match &saved {
            Ok(_) => half_a_state.keep(),
            Err(_) => half_a_state.removed().await,
        }
        saved
    }

    async fn save_to(
        &self,
        mut output: File,
        directory: File,
        file: &Path,
    ) -> Result<Migrated, OperationError> {
        let host = |source| OperationError::Host { action: writing(file), source };
        // A connection, not the file: what is written is synced here, and QEMU need not be allowed to write anywhere.
        let (input, theirs) = UnixStream::pair().map_err(host)?;
        let closed = Closed(input.try_clone().map_err(host)?);
        self.pause().await.map_err(failed("stop the guest"))?;
        // As long as the disk takes.
        let written = run(move || -> io::Result<()> {
            // One that cannot be written ends the sending.
            let mut input = Closed(input);
            io::copy(&mut input.0, &mut output)?;
            output.flush()?;
            output.sync_all()?;
            directory.sync_all()
        });
        // As fast as the file takes it.
        let options = MigrationOptions { bandwidth: Some(u64::MAX >> 1), ..MigrationOptions::default() };
        let sent = async {
            let sent = match self.send(OwnedFd::from(theirs).into(), &options, Switchover::AtOnce).await {
                Ok(migration) => migration.done().await,
                Err(not_sent) => Err(not_sent.error),
            };
            if sent.is_err() {
                // QEMU may have its end still.
                closed.shut();
            }
            sent
        };
        // QEMU's end is closed when it is done, and so the copy ends.
        let (sent, written) = tokio::join!(sent, written);
        // Of a copy that failed QEMU knows only that its connection broke.
        written.flatten().map_err(host)?;
        sent
    }

    /// Reads a state that [`Vm::save`] wrote into a machine that was started with [`crate::StartSpec::incoming`] and the same configuration.
    /// The guest stands then, where it stood.
    ///
    /// # Errors
    /// [`OperationError`]; the process is to be ended then.
    pub async fn restore(&self, file: &Path) -> Result<(), OperationError> {
        let action = || format!("read {}", file.display());
        let place = file.to_owned();
        let mut input = host(action(), file, move |_| File::open(place)).await?;
        let host = |source| OperationError::Host { action: action(), source };
        let (ours, theirs) = UnixStream::pair().map_err(host)?;
        let closed = Closed(ours.try_clone().map_err(host)?);
        let mut arriving = self.await_migration(OwnedFd::from(theirs), &MigrationOptions::default()).await?;
        // As long as the disk takes.
        let sent = run(move || {
            // It ends also where the file could not be read to its end: QEMU waits for more otherwise.
            let mut output = Closed(ours);
            io::copy(&mut input, &mut output.0).map(drop)
        });
        let sent = async { sent.await.flatten() };
        let arrived = async {
            arriving.over().await?;
            arriving.follow.leaves("the state", &[RunState::Inmigrate]).await?;
            arriving.settled().await
        };
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        let (sent, arrived) = tokio::join!(sent, arrived);
        drop(closed);
        match (sent, arrived) {
            // A state that QEMU does not take ends the connection before the file ends; its own words are more useful.
            (Err(error), Err(refused)) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {
                Err(refused)
            }
            (Err(error), _) => Err(host(error)),
            (Ok(()), arrived) => arrived,
        }
    }
}

/// A connection whose both ways end with this, whoever else has it open.
struct Closed(UnixStream);

impl Closed {
    fn shut(&self) {
        // One that has ended already is as good.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.shut();
    }
}

/// A file that is removed with this, unless it is whole.
struct HalfAState(Option<Fresh>);

impl HalfAState {
    fn keep(mut self) {
        if let Some(file) = self.0.take() {
            file.keep();
        }
    }

    /// Removes it and waits for that.
    async fn removed(mut self) {
        let file = self.0.take();
        // Without a thread it is removed here.
        drop(run(move || drop(file)).await);
    }
}

impl Drop for HalfAState {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            leave(move || drop(file));
        }
    }
}

fn writing(file: &Path) -> String {
    format!("write {}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As of a call that is dropped while another thread waits for QEMU.
    #[test]
    fn a_connection_that_is_given_up_ends_the_copy_and_the_sending() {
        let (mut input, mut theirs) = UnixStream::pair().expect("a pair");
        let closed = Closed(input.try_clone().expect("a copy"));
        theirs.write_all(b"begun").expect("there is room");
        let copy = std::thread::spawn(move || {
            let mut copied = Vec::new();
            io::copy(&mut input, &mut copied).map(|_| copied)
        });
        drop(closed);
        assert_eq!(copy.join().expect("no panic").expect("an orderly end"), b"begun");
        assert_eq!(theirs.write_all(b"more").expect_err("ended").kind(), io::ErrorKind::BrokenPipe);
    }
}

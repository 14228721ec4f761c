//! The images of a machine, listed and at rest while none of them is being made.
//!
//! QEMU 7.2 ends where, while a job of `blockdev-create` makes a qcow2 image,
//! - it is asked for its nodes: the node of that job has no version yet (`qcow2_get_specific_info: Assertion 'false' failed`, block/qcow2.c);
//! - its guest is stopped, which flushes every image (`blk_unref: Assertion 'blk->refcnt == 1' failed`, block/block-backend.c).
//!
//! Calls for one machine may come at once, and one that was dropped leaves its job going: whoever lists or stops waits for all of them. The
//! stop at the end of a migration comes when QEMU chooses: no image is made while a machine is being sent. Whoever asks, stops or sends with
//! bare hands ([`Vm::qmp`]), or from another process, while an image is made has to see to it himself: nothing that is asked of QEMU before
//! or after could keep him from it.

use super::{OperationError, failed, follow::Follow, job::concluded};
use crate::{Vm, vm::supervisor::Chore};
use qmp::{
    CallError,
    commands::{BlockNode, QueryNamedBlockNodes},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard};

/// Held for reading while images are listed or the guest is stopped, for writing while an image is made.
pub(crate) type Images = Arc<RwLock<()>>;

impl Vm {
    /// Waits until no image is made, and keeps the next from beginning: for this command.
    ///
    /// # Errors
    /// [`CallError::Deadline`] where that takes too long, as QEMU or its disk does not answer; the command was not sent.
    pub(in crate::vm) async fn while_none_is_made(
        &self,
        command: &str,
    ) -> Result<RwLockReadGuard<'_, ()>, CallError> {
        in_time(command, self.images.read()).await
    }

    pub(super) async fn named_nodes(&self) -> Result<Vec<BlockNode>, OperationError> {
        let what = "list the images";
        let _none_is_made = self.while_none_is_made("query-named-block-nodes").await.map_err(failed(what))?;
        self.ask(what, &QueryNamedBlockNodes { flat: Some(true) }).await
    }

    /// A job of this name makes an image from here on.
    ///
    /// # Errors
    /// [`OperationError::Moving`] where the machine is being sent, whoever has begun that; those of asking for it, and of waiting for others
    /// that take too long.
    pub(super) async fn makes_image(
        &self,
        job: &str,
    ) -> Result<Meanwhile<OwnedRwLockWriteGuard<()>>, OperationError> {
        let alone = in_time("blockdev-create", self.images.clone().write_owned()).await;
        let alone = alone.map_err(failed("make an image"))?;
        // Whoever of this process sends it tells QEMU while no image is made: from here on QEMU knows of it, or it is told after the image.
        if self.migration().await?.is_some() {
            return Err(OperationError::Moving);
        }
        Ok(Meanwhile { vm: self.clone(), job: job.to_owned(), held: Some(alone) })
    }

    /// A job of this name, of this command, stops the guest for a while from here on.
    ///
    /// # Errors
    /// Where images that are made take too long; the command was not sent.
    pub(super) async fn stops_guest(
        &self,
        command: &str,
        job: &str,
    ) -> Result<Meanwhile<OwnedRwLockReadGuard<()>>, OperationError> {
        let none_is_made = in_time(command, self.images.clone().read_owned()).await;
        let none_is_made = none_is_made.map_err(failed("stop the guest"))?;
        Ok(Meanwhile { vm: self.clone(), job: job.to_owned(), held: Some(none_is_made) })
    }
}

impl Follow {
    /// The images that are open, over any number of connections.
    pub(super) async fn nodes(&mut self, what: &str) -> Result<Vec<BlockNode>, OperationError> {
        let images = self.vm().images.clone();
        let _none_is_made = in_time("query-named-block-nodes", images.read()).await.map_err(failed(what))?;
        self.read(what, &QueryNamedBlockNodes { flat: Some(true) }).await
    }
}

/// The lock, for this command, once no image is made or listed.
async fn in_time<Held>(command: &str, free: impl Future<Output = Held>) -> Result<Held, CallError> {
    let free = tokio::time::timeout(IMAGE, free).await;
    free.map_err(|_| CallError::Deadline { command: command.to_owned(), after: IMAGE })
}

/// What is held until a job is [`Meanwhile::over`], or until it has ended where this is dropped.
pub(super) struct Meanwhile<Held: Send + 'static> {
    vm: Vm,
    job: String,
    held: Option<Held>,
}

impl<Held: Send> Meanwhile<Held> {
    /// The job came to this.
    pub(super) fn over(mut self, done: &Result<(), OperationError>) {
        match done {
            // It was dismissed, or never begun.
            Ok(()) | Err(OperationError::Job { .. } | OperationError::Qmp { .. }) => self.held = None,
            // It may go on.
            Err(_) => {}
        }
    }
}

impl<Held: Send + 'static> Drop for Meanwhile<Held> {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut follow = Follow::new(&self.vm, super::job::EVENTS);
        let job = std::mem::take(&mut self.job);
        let until_over = Chore::Drive(Box::pin(async move {
            // Where it cannot be followed there is no machine any more, or nobody who lists.
            let _ = concluded(&mut follow, &job).await;
            drop(held);
        }));
        let _ = self.vm.chores.send(until_over);
    }
}

/// For an image to be made, as for any answer that waits for a disk ([`qmp::deadline::Class::Storage`]).
const IMAGE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::supervisor::tests::supervised_by;
    use tokio::task::JoinSet;

    /// The command that waited in vain.
    async fn in_vain<T>(waits: impl Future<Output = Result<T, OperationError>>) -> String {
        let outcome = tokio::time::timeout(2 * IMAGE, waits).await.expect("it has a limit");
        match outcome.err().expect("an image is made") {
            OperationError::Qmp { source: CallError::Deadline { command, after }, .. } if after == IMAGE => {
                command
            }
            error => panic!("{error:?}"),
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_an_image_that_is_made_has_a_limit() {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, _reader, _writer) = supervised_by(directory.path(), &mut tasks).await;
        let _image = vm.images.clone().write_owned().await;
        tokio::time::pause();
        assert_eq!(in_vain(vm.makes_image("b")).await, "blockdev-create");
        assert_eq!(in_vain(vm.stops_guest("snapshot-save", "c")).await, "snapshot-save");
        assert_eq!(in_vain(vm.named_nodes()).await, "query-named-block-nodes");
        assert_eq!(in_vain(Follow::new(&vm, &[]).nodes("list")).await, "query-named-block-nodes");
    }
}

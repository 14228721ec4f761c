//! The images of a machine, listed while none of them is being made.
//!
//! QEMU 7.2 ends where it is asked for its nodes while a job of `blockdev-create` makes a qcow2 image: the node of that job has no version yet
//! (`qcow2_get_specific_info: Assertion 'false' failed`, block/qcow2.c). Calls for one machine may come at once, and one that was dropped
//! leaves its job going: whoever lists waits for all of them. Whoever asks with bare hands ([`Vm::qmp`]) has to see to it himself.

use super::{OperationError, follow::Follow, job::concluded};
use crate::{Vm, vm::supervisor::Chore};
use qmp::commands::{BlockNode, QueryNamedBlockNodes};
use std::sync::Arc;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// Held for reading while images are listed, for writing while one is made.
pub(crate) type Images = Arc<RwLock<()>>;

impl Vm {
    pub(super) async fn named_nodes(&self) -> Result<Vec<BlockNode>, OperationError> {
        let _none_is_made = self.images.read().await;
        self.ask("list the images", &QueryNamedBlockNodes { flat: Some(true) }).await
    }

    /// A job of this name makes an image from here on.
    pub(super) async fn makes_image(&self, job: &str) -> Making {
        let alone = self.images.clone().write_owned().await;
        Making { vm: self.clone(), job: job.to_owned(), alone: Some(alone) }
    }
}

impl Follow {
    /// The images that are open, over any number of connections.
    pub(super) async fn nodes(&mut self, what: &str) -> Result<Vec<BlockNode>, OperationError> {
        let images = self.vm().images.clone();
        let _none_is_made = images.read().await;
        self.read(what, &QueryNamedBlockNodes { flat: Some(true) }).await
    }
}

/// An image that a job makes: nobody lists images until it is [`Making::over`], or until the job has ended where this is dropped.
pub(super) struct Making {
    vm: Vm,
    job: String,
    alone: Option<OwnedRwLockWriteGuard<()>>,
}

impl Making {
    pub(super) fn over(mut self) {
        self.alone = None;
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let Some(alone) = self.alone.take() else { return };
        let mut follow = Follow::new(&self.vm, super::job::EVENTS);
        let job = std::mem::take(&mut self.job);
        let until_over = Chore::Drive(Box::pin(async move {
            // Where it cannot be followed there is no machine any more, or nobody who lists.
            let _ = concluded(&mut follow, &job).await;
            drop(alone);
        }));
        let _ = self.vm.chores.send(until_over);
    }
}

//! A copy that all of a guest's writing goes to as well.

use super::{
    super::{
        OperationError, ReadyJob,
        graph::{copying_job_id, disk_of},
        rollback::{Made, Rollback},
    },
    CopyTarget, closed,
};
use crate::Vm;
use qmp::commands::{BlockdevMirror, SyncMode};

/// A disk that is written to two places. Dropping this leaves it so, and [`Vm::jobs`] finds it. What waits can be dropped and begun again.
#[derive(Debug)]
pub struct Mirror {
    job: ReadyJob,
    vm: Vm,
    disk: String,
    target: String,
    /// What the disk used when it was first told to use the copy.
    before: Option<Vec<String>>,
}

impl Vm {
    /// Starts to copy a disk to another place with all that the guest writes meanwhile.
    ///
    /// # Errors
    /// [`OperationError`]; nothing goes on then.
    pub async fn mirror_disk(&self, disk: &str, to: &CopyTarget) -> Result<Mirror, OperationError> {
        let mut rollback = Rollback::new(self);
        let started = self.begin_mirror(&mut rollback, disk, to).await;
        rollback.settle(started).await
    }

    /// The same as a part of what `rollback` takes back.
    pub(in super::super) async fn begin_mirror(
        &self,
        rollback: &mut Rollback,
        disk: &str,
        to: &CopyTarget,
    ) -> Result<Mirror, OperationError> {
        let node = self.active_node(disk).await?;
        let target = self.open_target(rollback, disk, &node, to).await?;
        let id = copying_job_id("mirror", &target);
        let mirror = BlockdevMirror {
            job_id: Some(id.clone()),
            auto_dismiss: Some(false),
            ..BlockdevMirror::new(node, target.clone(), SyncMode::Full)
        };
        rollback.also(Made::Job(id.clone()));
        let job = self.job(format!("mirror {disk}"), id, &mirror).await.map(ReadyJob::of)?;
        Ok(Mirror::of(job, self, target))
    }
}

impl Mirror {
    pub(in super::super) fn of(job: ReadyJob, vm: &Vm, target: String) -> Self {
        Self { job, vm: vm.clone(), disk: disk_of(&target).to_owned(), target, before: None }
    }

    /// What there is of it until it has ended.
    pub(in super::super) fn made(&self) -> [Made; 2] {
        [Made::Job(self.job.id().to_owned()), Made::Node(self.target.clone())]
    }

    /// Name of the copy's node, which the disk uses after [`Mirror::complete`].
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How much is done of how much; the guest's writing makes it more.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn progress(&self) -> Result<Option<(u64, u64)>, OperationError> {
        self.job.progress().await
    }

    /// Waits until both are the same, which they are from then on.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn ready(&mut self) -> Result<(), OperationError> {
        self.job.ready().await
    }

    /// Makes the disk use the copy as soon as both are the same, and closes what it used before.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn complete(&mut self) -> Result<(), OperationError> {
        let before = match self.before.take() {
            Some(before) => before,
            None => self.vm.chain(&self.disk).await?,
        };
        self.before = Some(before.clone());
        if let Err(error) = self.job.completed().await {
            return closed(&self.vm, Err(error), &self.target).await;
        }
        // The new chain may stand on images of the old one; what else is open is another's.
        let used = self.vm.chain(&self.disk).await?;
        for node in before.iter().filter(|node| !used.contains(node)) {
            self.vm.close_image(node).await?;
        }
        self.vm.drop_files(|disk| disk == self.disk).await.map(drop)
    }

    /// Leaves a copy of one moment, as soon as both are the same, and the disk where it was.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn part(&mut self) -> Result<(), OperationError> {
        let outcome = self.job.parted().await;
        closed(&self.vm, outcome, &self.target).await
    }

    /// Gives it up at once; what the copy holds is of no moment.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn abandon(&mut self) -> Result<(), OperationError> {
        let outcome = self.job.given_up().await;
        closed(&self.vm, outcome, &self.target).await
    }
}

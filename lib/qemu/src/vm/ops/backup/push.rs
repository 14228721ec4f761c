//! Copies that QEMU writes: whole, or what changed.

use super::{
    super::{
        Job, OperationError,
        graph::copy_id,
        job::expected,
        rollback::{Made, Rollback},
    },
    CopyTarget, close_copy,
};
use crate::Vm;
use qmp::commands::{BitmapSyncMode, BlockdevBackupOptions, SyncMode, Transaction, TransactionAction};

/// What a backup takes of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The disk.
    pub disk: String,
    /// Where it goes.
    pub to: CopyTarget,
    /// Only what changed since this bitmap was begun or last used. It begins anew when the copy is whole.
    pub since: Option<String>,
}

/// A backup that QEMU writes. The copy is closed when it is over. Dropping this leaves it going.
#[derive(Debug)]
pub struct PushBackup {
    job: Job,
    vm: Vm,
    target: String,
}

impl Vm {
    /// Starts to copy a disk as it is now: all of it, or what changed since the bitmap, which begins anew when the copy is whole.
    ///
    /// # Errors
    /// [`OperationError`]; nothing goes on then. [`OperationError::Unknown`] also for a bitmap that has not noted every change, which was
    /// told to stand still or whose process was killed: forget it, begin another, and copy all. [`OperationError::InUse`] while another job of
    /// the disk goes on, such as another backup that QEMU writes.
    pub async fn push_backup(
        &self,
        disk: &str,
        to: &CopyTarget,
        since: Option<&str>,
    ) -> Result<PushBackup, OperationError> {
        let copied = Copied { disk: disk.to_owned(), to: to.clone(), since: since.map(str::to_owned) };
        let backups = self.push_backups(&[copied]).await?;
        Ok(backups.into_iter().next().expect("one for each disk"))
    }

    /// The same of several disks at one moment of the guest; in their order. None is begun unless all are.
    ///
    /// # Errors
    /// As [`Vm::push_backup`].
    pub async fn push_backups(&self, disks: &[Copied]) -> Result<Vec<PushBackup>, OperationError> {
        let mut rollback = Rollback::new(self);
        let starting = async {
            let (mut actions, mut begun, mut ways) = (Vec::new(), Vec::new(), Vec::new());
            for (index, Copied { disk, to, since }) in disks.iter().enumerate() {
                if disks[..index].iter().any(|before| before.disk == *disk) {
                    return Err(OperationError::InUse {
                        disk: disk.clone(),
                        by: "a backup of the same call",
                    });
                }
                let way = self.way_to_copy(disk).await?;
                let node = way.active.clone();
                ways.push(way);
                if let Some(name) = since {
                    self.whole_bitmap(disk, name).await?;
                }
                let target = self.open_target(&mut rollback, disk, &node, to).await?;
                let id = copy_id("backup", disk, &target);
                let sync = if since.is_some() { SyncMode::Bitmap } else { SyncMode::Full };
                let backup = BlockdevBackupOptions {
                    job_id: Some(id.clone()),
                    bitmap: since.clone(),
                    bitmap_mode: since.as_ref().map(|_| BitmapSyncMode::OnSuccess),
                    auto_dismiss: Some(false),
                    ..BlockdevBackupOptions::new(node, sync, target.clone())
                };
                actions.push(TransactionAction::BlockdevBackup(backup));
                begun.push((format!("back up {disk}"), id, target));
            }
            let ids: Vec<String> = begun.iter().map(|(_, id, _)| id.clone()).collect();
            ids.iter().for_each(|id| rollback.also(Made::Job(id.clone())));
            self.jobs_at_once("begin a backup", &ids, &Transaction::new(actions)).await?;
            let backup = |(action, id, target)| PushBackup::of(self, Job::of(self, id, action), target);
            Ok(begun.into_iter().map(backup).collect())
        };
        let started = starting.await;
        rollback.settle(started).await
    }
}

impl PushBackup {
    pub(in super::super) fn of(vm: &Vm, job: Job, target: String) -> Self {
        Self { job, vm: vm.clone(), target }
    }

    /// Name of the copy's node.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How much is done of how much.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn progress(&self) -> Result<Option<(u64, u64)>, OperationError> {
        self.job.progress().await
    }

    /// Waits until the copy is whole, and closes it. A wait that is dropped, or ran into a limit of time, can be begun again; the backup is found
    /// until it is over ([`Vm::jobs`]).
    ///
    /// # Errors
    /// [`OperationError`]; the copy is of no use then, and a bitmap as it was.
    pub async fn done(&mut self) -> Result<(), OperationError> {
        let end = self.job.end().await?;
        close_copy(&self.vm, &end, &self.target).await?;
        self.job.dismiss(end).await
    }

    /// Gives it up.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn cancel(&mut self) -> Result<(), OperationError> {
        let end = self.job.given_up().await?;
        close_copy(&self.vm, &end, &self.target).await?;
        expected(self.job.dismiss(end).await)
    }
}

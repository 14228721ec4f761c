//! A copy that all of a guest's writing goes to as well.

use super::{
    super::{
        OperationError, ReadyJob,
        graph::copy_id,
        job::expected,
        plug::is_node_of,
        rollback::{Made, Rollback},
    },
    CopyTarget, close_copy,
};
use crate::Vm;
use qmp::commands::{BlockdevMirror, SyncMode};
use std::collections::BTreeSet;

/// A disk that is written to two places. Dropping this leaves it so.
#[derive(Debug)]
pub struct Mirror {
    job: ReadyJob,
    vm: Vm,
    disk: String,
    target: String,
    /// What the disk used before it was told to use the copy.
    before: Option<Before>,
}

impl Vm {
    /// Starts to copy a disk to another place with all that the guest writes meanwhile. Limits of the disk count for what is read to be copied,
    /// too, and hold for the copy when the disk uses that.
    ///
    /// # Errors
    /// [`OperationError`]; nothing goes on then. [`OperationError::InUse`] while a pulled backup of the disk or another job goes on.
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
        let way = self.way(disk).await?;
        let target = self.open_target(rollback, disk, &way.active, to).await?;
        let id = copy_id("mirror", disk, &target);
        let mirror = BlockdevMirror {
            job_id: Some(id.clone()),
            auto_dismiss: Some(false),
            // QEMU takes no node that another one stands on. Filters stay where they are.
            replaces: (way.top != way.active).then(|| way.active.clone()),
            ..BlockdevMirror::new(way.top.clone(), target.clone(), SyncMode::Full)
        };
        rollback.also(Made::Job(id.clone()));
        let job = self.job(format!("mirror {disk}"), id, &mirror).await.map(ReadyJob::of)?;
        Ok(Mirror::found(self, job, disk.to_owned(), target))
    }
}

impl Mirror {
    pub(in super::super) fn found(vm: &Vm, job: ReadyJob, disk: String, target: String) -> Self {
        Self { job, vm: vm.clone(), disk, target, before: None }
    }

    /// What there is of it until it has ended.
    pub(in super::super) fn made(&self) -> [Made; 2] {
        [Made::Job(self.job.id().to_owned()), Made::Node(self.target.clone())]
    }

    pub(in super::super) fn job_id(&self) -> &str {
        self.job.id()
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

    /// Makes the disk use the copy as soon as both are the same, and closes what it used before. A wait that is dropped can be begun again; the
    /// mirror is found until it is over ([`Vm::jobs`]).
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn complete(&mut self) -> Result<(), OperationError> {
        let before = match &self.before {
            Some(before) => before.clone(),
            None => self.used_before().await?,
        };
        let before = self.before.insert(before).clone();
        let end = self.job.completed().await?;
        // The new chain may stand on images of the old one; what else is open is another's.
        let used = self.vm.chain(&self.disk).await?;
        if used.contains(&self.target) {
            self.close_all(&before, &used).await?;
            self.vm.drop_files(|disk| disk == self.disk).await?;
        } else {
            close_copy(&self.vm, &end, &self.target).await?;
        }
        self.job.dismiss(end).await
    }

    /// Leaves a copy of one moment, as soon as both are the same, and the disk where it was.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn part(&mut self) -> Result<(), OperationError> {
        let end = self.job.parted().await?;
        close_copy(&self.vm, &end, &self.target).await?;
        self.job.dismiss(end).await
    }

    /// Gives it up at once; what the copy holds is of no moment.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn abandon(&mut self) -> Result<(), OperationError> {
        let end = self.job.given_up().await?;
        close_copy(&self.vm, &end, &self.target).await?;
        expected(self.job.dismiss(end).await)
    }

    /// What the disk uses; of one that uses the copy already, which only a mirror that was found does, all that is named after it.
    async fn used_before(&self) -> Result<Before, OperationError> {
        let chain = self.vm.chain(&self.disk).await?;
        if !chain.contains(&self.target) {
            return Ok(Before::Used(chain));
        }
        let nodes = self.vm.named_nodes().await?.into_iter().filter_map(|node| node.node_name);
        // Of one that was being closed only the file may be left.
        let images = nodes.map(|node| node.trim_end_matches("-file").to_owned());
        let images: BTreeSet<String> = images.filter(|node| is_image_of(node, &self.disk)).collect();
        Ok(Before::Named(images.into_iter().collect()))
    }

    /// Closes what the disk does not use any more, of which some may stand on others.
    async fn close_all(&self, before: &Before, used: &[String]) -> Result<(), OperationError> {
        let (Before::Used(nodes) | Before::Named(nodes)) = before;
        let mut nodes: Vec<&String> = nodes.iter().filter(|node| !used.contains(node)).collect();
        while !nodes.is_empty() {
            let (mut left, mut refused) = (Vec::new(), None);
            for node in &nodes {
                if let Err(error) = self.vm.close_image(node).await {
                    left.push(*node);
                    refused = Some(error);
                }
            }
            match (refused, before) {
                (Some(error), Before::Used(_)) if left.len() == nodes.len() => return Err(error),
                // What is in use by others only has the disk's name.
                (Some(_), Before::Named(_)) if left.len() == nodes.len() => return Ok(()),
                _ => nodes = left,
            }
        }
        Ok(())
    }
}

/// What may be to be closed when the disk uses the copy.
#[derive(Clone, Debug)]
enum Before {
    /// All of it was the disk's.
    Used(Vec<String>),
    /// Some of it may be something else's.
    Named(Vec<String>),
}

/// Whether a node is an image of the disk, and neither a filter nor what belongs to one.
fn is_image_of(node: &str, disk: &str) -> bool {
    let others = ["-throttle", "-cor", "-cbw", "-scr", "-view"];
    is_node_of(node, disk) && !others.iter().any(|other| node.ends_with(other))
}

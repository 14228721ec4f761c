//! Snapshots: inside an image, with the memory of the machine; or as an overlay on top of it.
//!
//! ```text
//!   inside:   root.qcow2 { tag: disk + memory }             save, load, delete
//!
//!   overlay:  device --> root --> root-s1 (new)             what follows is written to the overlay
//!             stream: what lies below is copied up          commit: the overlay is written down and left
//! ```

use super::{
    Job, OperationError, ReadyJob, failed,
    follow::Follow,
    graph::{Above, NewImage, Way, job_id},
    rollback::Rollback,
    sleep::AWAKE,
};
use crate::{
    Vm,
    config::{Access, Format},
};
use qmp::agent::{Agent, AgentError, Frozen};
use qmp::commands::{
    BlockCommit, BlockStream, Command, ExternalSnapshot, QueryStatus, SnapshotDelete, SnapshotLoad,
    SnapshotSave, Transaction, TransactionAction,
};
use std::{path::PathBuf, time::Duration};

/// An overlay to be put on top of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The disk.
    pub disk: String,
    /// The new qcow2 file. QEMU makes it: it must not be there, in a place that its process may write to.
    pub file: PathBuf,
    /// How it is read and written; `None` for the same cache as the disk's.
    pub access: Option<Access>,
}

impl Overlay {
    /// An overlay that is cached as the disk is.
    #[must_use]
    pub fn new(disk: &str, file: impl Into<PathBuf>) -> Self {
        Self { disk: disk.to_owned(), file: file.into(), access: None }
    }
}

/// A snapshot of a guest whose file systems were to stand still.
#[derive(Debug)]
pub struct Taken {
    /// The names of the overlays' nodes, in order.
    pub nodes: Vec<String>,
    /// Whether they did.
    pub consistency: Consistency,
}

/// What is known of the file systems on a snapshot, or on disks that are served.
#[derive(Debug)]
pub enum Consistency {
    /// So many stood still from before that moment until after it. None at all means that the guest has none that can.
    Frozen {
        /// How many.
        file_systems: u64,
    },
    /// They may have been thawed before: what was taken is as after a power cut.
    Unknown(AgentError),
}

/// Has the guest's file systems stand still and write all they hold.
pub(super) async fn freeze(agent: &Agent, limit: Duration) -> Result<Frozen, OperationError> {
    let action = "freeze the guest's file systems".to_owned();
    agent.freeze(None, limit).await.map_err(|source| OperationError::Agent { action, source })
}

impl Consistency {
    /// Lets them go on, and says whether they stood still until now.
    pub(super) async fn thawed(frozen: Frozen) -> Self {
        match frozen.thaw().await {
            Ok(file_systems) => Self::Frozen { file_systems },
            Err(error) => Self::Unknown(error),
        }
    }
}

/// Overlays that are to be put on top of disks, which nobody else changes meanwhile.
struct Made {
    nodes: Vec<String>,
    actions: Vec<TransactionAction>,
    _ways: Vec<Way>,
}

impl Vm {
    /// Saves disks and memory of the machine inside the image of `memory_disk` under `tag`; `disks` have the tag too. All are
    /// qcow2 and written to. The guest stands meanwhile. One that sleeps is woken before by a QEMU before 9.0, which would not wake it from what
    /// was saved.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn save_snapshot(
        &self,
        tag: &str,
        memory_disk: &str,
        disks: &[&str],
    ) -> Result<(), OperationError> {
        let (devices, vmstate) = (self.active_nodes(disks).await?, self.active_node(memory_disk).await?);
        self.wakes_for_its_state().await.map_err(failed(AWAKE))?;
        let save = |job_id| SnapshotSave { job_id, tag: tag.to_owned(), vmstate, devices };
        self.snapshot_job("save", tag, save).await
    }

    /// Sets disks and memory of the machine back to what [`Vm::save_snapshot`] saved. The guest goes on from there if it ran before,
    /// or slept.
    ///
    /// # Errors
    /// [`OperationError`]; the guest may have to be started anew when this fails half way.
    pub async fn load_snapshot(
        &self,
        tag: &str,
        memory_disk: &str,
        disks: &[&str],
    ) -> Result<(), OperationError> {
        let (devices, vmstate) = (self.active_nodes(disks).await?, self.active_node(memory_disk).await?);
        self.wakes_for_its_state().await.map_err(failed(AWAKE))?;
        let load = |job_id| SnapshotLoad { job_id, tag: tag.to_owned(), vmstate, devices };
        self.snapshot_job("load", tag, load).await
    }

    /// Removes what [`Vm::save_snapshot`] saved.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn delete_snapshot(&self, tag: &str, disks: &[&str]) -> Result<(), OperationError> {
        let devices = self.active_nodes(disks).await?;
        let delete = |job_id| SnapshotDelete { job_id, tag: tag.to_owned(), devices };
        self.snapshot_job("delete", tag, delete).await
    }

    async fn active_nodes(&self, disks: &[&str]) -> Result<Vec<String>, OperationError> {
        let mut nodes = Vec::new();
        for disk in disks {
            nodes.push(self.active_node(disk).await?);
        }
        Ok(nodes)
    }

    async fn snapshot_job<C: Command>(
        &self,
        verb: &str,
        tag: &str,
        command: impl FnOnce(String) -> C,
    ) -> Result<(), OperationError> {
        let id = job_id(verb);
        // The guest stands while its memory is written or read, and QEMU 7.2 would end where an image is made then: `ops/listing.rs`.
        let stops = self.stops_guest(&format!("snapshot-{verb}"), &id).await?;
        let command = command(id.clone());
        let action = format!("{verb} the snapshot {tag}");
        let done = async { self.job(action, id, &command).await?.done().await }.await;
        stops.over(&done);
        done
    }

    /// Puts new overlays on top of disks, all at the same moment of the guest. Answers the names of their nodes, in order.
    ///
    /// # Errors
    /// [`OperationError`]; the machine is as before then. [`OperationError::InUse`] while one of the disks is mirrored,
    /// committed or streamed, or QEMU's own refusal; one that is backed up is taken.
    pub async fn snapshot_disks(&self, overlays: &[Overlay]) -> Result<Vec<String>, OperationError> {
        let mut rollback = Rollback::new(self);
        let taken = self.take_overlays(overlays, &mut rollback).await;
        rollback.settle(taken).await
    }

    /// The same at a moment at which the guest's file systems stand still and have written all they hold. The images are made before, so
    /// that they stand no longer than it takes; at most `limit`.
    ///
    /// # Errors
    /// [`OperationError`], also [`OperationError::Agent`] when they cannot be frozen; the machine is as before then. A snapshot that
    /// was taken and is not known to be consistent is no error: [`Taken`] says so.
    pub async fn snapshot_frozen(
        &self,
        overlays: &[Overlay],
        agent: &Agent,
        limit: Duration,
    ) -> Result<Taken, OperationError> {
        let mut rollback = Rollback::new(self);
        let taking = async {
            let made = self.make_overlays(overlays, &mut rollback).await?;
            let frozen = freeze(agent, limit).await?;
            // On an error the guard thaws.
            let nodes = self.transact(overlays, made).await?;
            Ok(Taken { nodes, consistency: Consistency::thawed(frozen).await })
        };
        let taken = taking.await;
        rollback.settle(taken).await
    }

    async fn take_overlays(
        &self,
        overlays: &[Overlay],
        rollback: &mut Rollback,
    ) -> Result<Vec<String>, OperationError> {
        let made = self.make_overlays(overlays, rollback).await?;
        self.transact(overlays, made).await
    }

    async fn make_overlays(
        &self,
        overlays: &[Overlay],
        rollback: &mut Rollback,
    ) -> Result<Made, OperationError> {
        let (mut actions, mut nodes, mut ways) = (Vec::new(), Vec::new(), Vec::new());
        for Overlay { disk, file, access } in overlays {
            let way = self.way_below(disk).await?;
            let image = NewImage {
                disk,
                like: &way.active,
                path: file,
                format: Format::Qcow2,
                access: *access,
                above: Above::Recorded,
                node: None,
            };
            let overlay = self.make_image(rollback, image).await?;
            nodes.push(overlay.clone());
            let snapshot = ExternalSnapshot { node: way.active.clone(), overlay };
            actions.push(TransactionAction::BlockdevSnapshot(snapshot));
            ways.push(way);
        }
        Ok(Made { nodes, actions, _ways: ways })
    }

    async fn transact(
        &self,
        overlays: &[Overlay],
        Made { nodes: made, actions, _ways }: Made,
    ) -> Result<Vec<String>, OperationError> {
        let action = "take a snapshot";
        match self.tell(action, &Transaction::new(actions)).await {
            Ok(_) => Ok(made),
            Err(OperationError::Undecided { source, .. }) => {
                Follow::new(self, &[]).read(action, &QueryStatus {}).await?;
                // All of them or none.
                match (overlays.first(), made.first()) {
                    (Some(overlay), Some(node)) if self.active_node(&overlay.disk).await? == *node => {
                        Ok(made)
                    }
                    _ => Err(OperationError::Qmp { action: action.to_owned(), source }),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Starts to copy what lies below the top image of a disk into it. When it is done the images below are not used any more and
    /// can be removed ([`Vm::forget_node`]).
    ///
    /// # Errors
    /// [`OperationError`]; [`OperationError::InUse`] while a backup of the disk or another job goes on, or QEMU's own refusal.
    pub async fn stream_disk(&self, disk: &str) -> Result<Job, OperationError> {
        // A backup would lose the image that it began with, if that is closed.
        let (way, id) = (self.way(disk).await?, job_id("stream"));
        let stream = BlockStream {
            job_id: Some(id.clone()),
            auto_dismiss: Some(false),
            ..BlockStream::new(way.active.clone())
        };
        self.job(format!("stream {disk}"), id, &stream).await
    }

    /// Starts to write the top image of a disk down into the one below it. [`ReadyJob::complete`] makes the disk use that one again. QEMU must
    /// be allowed to open that file for writing; one that was handed over by a descriptor to read from cannot be written to.
    ///
    /// # Errors
    /// [`OperationError`]; [`OperationError::InUse`] while a pulled backup of the disk or another job goes on.
    pub async fn commit_disk(&self, disk: &str) -> Result<ReadyJob, OperationError> {
        let (way, id) = (self.way(disk).await?, job_id("commit"));
        let commit = BlockCommit {
            job_id: Some(id.clone()),
            top_node: Some(way.active.clone()),
            base_node: Some(self.below_active(disk).await?),
            auto_dismiss: Some(false),
            // QEMU takes no node that another one stands on, as a filter does.
            ..BlockCommit::new(way.top.clone())
        };
        self.job(format!("commit {disk}"), id, &commit).await.map(ReadyJob::of)
    }
}

//! Copies of disks while the guest writes to them.
//!
//! ```text
//!   push    disk ---(as it was at the start)---> file or NBD server      whole, or what changed since a bitmap
//!   pull    disk --> scratch (what the guest overwrites) --> NBD export   read by whoever wants, as it was at the start
//!   mirror  disk ---(and all that follows)---> file or NBD server; complete: the disk uses the copy from then on
//! ```

use super::{
    Job, OperationError, ReadyJob, figure,
    graph::{Above, NewImage, job_id},
    rollback::{Made, Rollback},
};
use crate::{
    Vm,
    config::{Address, ConfigError, Format},
};
use qmp::commands::{
    BitmapSyncMode, BlockDirtyBitmapAdd, BlockDirtyBitmapRemove, BlockExportAdd, BlockExportAddNbd,
    BlockExportAddVariant, BlockdevAdd, BlockdevBackup, BlockdevBackupOptions, BlockdevMirror,
    BlockdevOptions, BlockdevOptionsNbd, BlockdevOptionsRaw, BlockdevOptionsVariant, BlockdevRef,
    DirtyBitmap, DirtyBitmapAdd, InetSocketAddress, NbdServerStart, NbdServerStop, SocketAddress,
    SocketAddressWrapped, SyncMode, UnixSocketAddress,
};
use std::path::{Path, PathBuf};

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyTarget {
    /// A new file, which QEMU makes in a place that its process may write to; raw or qcow2.
    File {
        /// The file; it must not be there.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
    /// A writable export of an NBD server, at least as large as the disk.
    Nbd {
        /// The server.
        server: Address,
        /// Name of the export.
        export: String,
    },
}

/// A backup that QEMU writes. The copy is closed when it is over. Dropping this leaves it going.
#[derive(Debug)]
pub struct PushBackup {
    job: Job,
    vm: Vm,
    target: String,
}

/// A disk as it was, served for reading until this is finished. Dropping it leaves it served.
#[derive(Debug)]
pub struct PullBackup {
    job: Job,
    vm: Vm,
    scratch: String,
}

/// A disk that is written to two places. Dropping this leaves it so.
#[derive(Debug)]
pub struct Mirror {
    job: ReadyJob,
    vm: Vm,
    disk: String,
    target: String,
}

impl Vm {
    /// Begins to note which parts of a disk change, under this name. The notes end with the process.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn add_bitmap(&self, disk: &str, name: &str) -> Result<(), OperationError> {
        let bitmap = DirtyBitmapAdd::new(self.active_node(disk).await?, name);
        self.tell(format!("note the changes of {disk}"), &BlockDirtyBitmapAdd(bitmap)).await.map(drop)
    }

    /// Forgets such notes.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn remove_bitmap(&self, disk: &str, name: &str) -> Result<(), OperationError> {
        let bitmap = DirtyBitmap { node: self.active_node(disk).await?, name: name.to_owned() };
        self.tell(format!("forget the changes of {disk}"), &BlockDirtyBitmapRemove(bitmap)).await.map(drop)
    }

    /// Bytes that changed since the notes were begun or last used.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn changed_bytes(&self, disk: &str, name: &str) -> Result<u64, OperationError> {
        let node = self.node(&self.active_node(disk).await?).await?;
        let mut bitmaps = node.dirty_bitmaps.into_iter().flatten();
        let found = bitmaps.find(|bitmap| bitmap.name.as_deref() == Some(name));
        let count = found.map(|bitmap| figure(bitmap.count));
        count.ok_or_else(|| OperationError::Unknown { what: "bitmap", id: name.to_owned() })
    }

    /// Starts to copy a disk as it is now: all of it, or what changed since the bitmap, which begins anew when the copy is whole.
    ///
    /// # Errors
    /// [`OperationError`]; nothing goes on then.
    pub async fn push_backup(
        &self,
        disk: &str,
        to: &CopyTarget,
        since: Option<&str>,
    ) -> Result<PushBackup, OperationError> {
        let mut rollback = Rollback::new(self);
        let starting = async {
            let node = self.active_node(disk).await?;
            let target = self.open_target(&mut rollback, disk, &node, to, Above::Nothing).await?;
            let id = job_id("backup");
            let sync = if since.is_some() { SyncMode::Bitmap } else { SyncMode::Full };
            let backup = BlockdevBackupOptions {
                job_id: Some(id.clone()),
                bitmap: since.map(str::to_owned),
                bitmap_mode: since.map(|_| BitmapSyncMode::OnSuccess),
                auto_dismiss: Some(false),
                ..BlockdevBackupOptions::new(node, sync, target.clone())
            };
            let job = self.job(format!("back up {disk}"), id, &BlockdevBackup(backup)).await?;
            Ok(PushBackup { job, vm: self.clone(), target })
        };
        let started = starting.await;
        settled(rollback, started).await
    }

    /// Serves a disk as it is now at `listen` under the name `export`, for reading. `scratch` is a new file that takes what the guest
    /// overwrites meanwhile. One at a time: it is QEMU's only NBD server.
    ///
    /// # Errors
    /// [`OperationError`]; nothing is served then.
    pub async fn pull_backup(
        &self,
        disk: &str,
        scratch: &Path,
        listen: &Address,
        export: &str,
    ) -> Result<PullBackup, OperationError> {
        let mut rollback = Rollback::new(self);
        let action = || format!("serve {disk}");
        let starting = async {
            let node = self.active_node(disk).await?;
            let address = listening(listen)?;
            let target = CopyTarget::File { path: scratch.to_owned(), format: Format::Qcow2 };
            let scratch = self.open_target(&mut rollback, disk, &node, &target, Above::Attached).await?;
            let id = job_id("serve");
            rollback.also(Made::Job(id.clone()));
            // Nothing is copied but what the guest is about to overwrite.
            let backup = BlockdevBackupOptions {
                job_id: Some(id.clone()),
                auto_dismiss: Some(false),
                ..BlockdevBackupOptions::new(node, SyncMode::None, scratch.clone())
            };
            let job = self.job(action(), id, &BlockdevBackup(backup)).await?;
            rollback.make(action(), &NbdServerStart::new(address), Made::NbdServer).await?;
            let name = BlockExportAddNbd { name: Some(export.to_owned()), ..BlockExportAddNbd::default() };
            let exported =
                BlockExportAdd::new(scratch.clone(), scratch.clone(), BlockExportAddVariant::Nbd(name));
            self.tell(action(), &exported).await?;
            Ok(PullBackup { job, vm: self.clone(), scratch })
        };
        let started = starting.await;
        settled(rollback, started).await
    }

    /// Starts to copy a disk to another place with all that the guest writes meanwhile.
    ///
    /// # Errors
    /// [`OperationError`]; nothing goes on then.
    pub async fn mirror_disk(&self, disk: &str, to: &CopyTarget) -> Result<Mirror, OperationError> {
        let mut rollback = Rollback::new(self);
        let starting = async {
            let node = self.active_node(disk).await?;
            let target = self.open_target(&mut rollback, disk, &node, to, Above::Nothing).await?;
            let id = job_id("mirror");
            let mirror = BlockdevMirror {
                job_id: Some(id.clone()),
                auto_dismiss: Some(false),
                ..BlockdevMirror::new(node, target.clone(), SyncMode::Full)
            };
            let job = self.job(format!("mirror {disk}"), id, &mirror).await.map(ReadyJob::of)?;
            Ok(Mirror { job, vm: self.clone(), disk: disk.to_owned(), target })
        };
        let started = starting.await;
        settled(rollback, started).await
    }

    /// Opens a target as large as `node`, making it if it is a file; answers its node.
    async fn open_target(
        &self,
        rollback: &mut Rollback,
        disk: &str,
        node: &str,
        to: &CopyTarget,
        above: Above,
    ) -> Result<String, OperationError> {
        match to {
            CopyTarget::File { path, format } => {
                let image = NewImage { disk, like: node, path, format: *format, above };
                self.make_image(rollback, image).await
            }
            CopyTarget::Nbd { server, export } => {
                let name = self.free_image_name(disk).await?;
                let nbd = BlockdevOptionsNbd {
                    export: Some(export.clone()),
                    ..BlockdevOptionsNbd::new(server_address(server)?)
                };
                let nbd = BlockdevOptions::new(BlockdevOptionsVariant::Nbd(nbd));
                let raw = BlockdevOptionsRaw::new(BlockdevRef::Object(Box::new(nbd)));
                let open = BlockdevOptions {
                    node_name: Some(name.to_string()),
                    ..BlockdevOptions::new(BlockdevOptionsVariant::Raw(raw))
                };
                let made = Made::Node(name.to_string());
                rollback.make(format!("open the copy of {disk}"), &BlockdevAdd(open), made).await?;
                Ok(name.to_string())
            }
        }
    }
}

/// Keeps what was made, or takes it back.
async fn settled<T>(rollback: Rollback, started: Result<T, OperationError>) -> Result<T, OperationError> {
    match started {
        Ok(_) => rollback.keep(),
        Err(_) => rollback.undo().await,
    }
    started
}

/// Closes a copy that nothing writes any more. What came of the job comes first: it may be going on still.
async fn closed(vm: &Vm, outcome: Result<(), OperationError>, target: &str) -> Result<(), OperationError> {
    match outcome {
        Ok(()) => vm.close_image(target).await,
        Err(error @ OperationError::Job { .. }) => {
            if let Err(second) = vm.close_image(target).await {
                tracing::debug!(target, error = &second as &dyn std::error::Error, "a copy stays open");
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

impl PushBackup {
    /// How much is done of how much.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn progress(&self) -> Result<Option<(u64, u64)>, OperationError> {
        self.job.progress().await
    }

    /// Waits until the copy is whole, and closes it.
    ///
    /// # Errors
    /// [`OperationError`]; the copy is of no use then, and a bitmap as it was.
    pub async fn done(self) -> Result<(), OperationError> {
        let outcome = self.job.done().await;
        closed(&self.vm, outcome, &self.target).await
    }

    /// Gives it up.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn cancel(self) -> Result<(), OperationError> {
        let outcome = self.job.cancel().await;
        closed(&self.vm, outcome, &self.target).await
    }
}

impl PullBackup {
    /// Stops to serve it; readers that are still connected are cut off. The scratch file can be removed then.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn finish(self) -> Result<(), OperationError> {
        // Ends every export with its readers, and waits for that.
        self.vm.tell("stop to serve a disk", &NbdServerStop {}).await?;
        let outcome = self.job.cancel().await;
        closed(&self.vm, outcome, &self.scratch).await
    }
}

impl Mirror {
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
    pub async fn complete(mut self) -> Result<(), OperationError> {
        if let Err(error) = self.job.completed().await {
            return closed(&self.vm, Err(error), &self.target).await;
        }
        // The new chain may stand on images of the old one.
        let used = self.vm.chain(&self.disk).await?;
        self.vm.close_unused(&self.disk, &used).await
    }

    /// Leaves a copy of one moment, as soon as both are the same, and the disk where it was.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn part(mut self) -> Result<(), OperationError> {
        let outcome = self.job.parted().await;
        closed(&self.vm, outcome, &self.target).await
    }

    /// Gives it up at once; what the copy holds is of no moment.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn abandon(mut self) -> Result<(), OperationError> {
        let outcome = self.job.given_up().await;
        closed(&self.vm, outcome, &self.target).await
    }
}

fn server_address(address: &Address) -> Result<SocketAddress, OperationError> {
    address.check("NBD server")?;
    Ok(match address {
        Address::Unix(path) => SocketAddress::Unix(unix(path)?),
        Address::Tcp(host, port) => SocketAddress::Inet(inet(host, *port)),
    })
}

/// The older form of an address, which this one command takes.
fn listening(address: &Address) -> Result<SocketAddressWrapped, OperationError> {
    address.check("NBD server")?;
    Ok(match address {
        Address::Unix(path) => SocketAddressWrapped::Unix(unix(path)?),
        Address::Tcp(host, port) => SocketAddressWrapped::Inet(inet(host, *port)),
    })
}

fn unix(path: &Path) -> Result<UnixSocketAddress, ConfigError> {
    let path =
        path.to_str().ok_or_else(|| ConfigError::NotUtf8 { field: "socket", path: path.to_owned() })?;
    Ok(UnixSocketAddress::new(path))
}

fn inet(host: &str, port: u16) -> InetSocketAddress {
    InetSocketAddress::new(host, port.to_string())
}

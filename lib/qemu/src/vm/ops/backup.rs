//! Copies of disks while the guest writes to them.
//!
//! ```text
//!   push    disk ---(as it was at the start)---> file or NBD server      whole, or what changed since a bitmap
//!   pull    device --> filter --> disk                                    read by whoever wants, as it was at the start; a filter
//!                        '--> scratch (what the guest overwrites)         above the disk copies that before it is overwritten
//!           NBD export --> view of the filter
//!   mirror  disk ---(and all that follows)---> file or NBD server; complete: the disk uses the copy from then on
//! ```

use super::{
    Job, OperationError, ReadyJob, figure,
    graph::{Above, NewImage, job_id},
    rollback::{Made, Rollback},
};
use crate::{
    Vm,
    config::{Access, Address, ConfigError, Format},
};
use qmp::commands::{
    BitmapSyncMode, BlockDirtyBitmapAdd, BlockDirtyBitmapDisable, BlockDirtyBitmapRemove, BlockExportAdd,
    BlockExportAddNbd, BlockExportAddVariant, BlockdevAdd, BlockdevBackupOptions, BlockdevDel,
    BlockdevMirror, BlockdevOptions, BlockdevOptionsCopyBeforeWrite,
    BlockdevOptionsCopyBeforeWriteOnCbwError, BlockdevOptionsFormat, BlockdevOptionsNbd, BlockdevOptionsRaw,
    BlockdevOptionsVariant, BlockdevRef, DirtyBitmap, DirtyBitmapAdd, DirtyBitmapMerge, InetSocketAddress,
    NbdExportBitmap, NbdServerStart, NbdServerStop, QomSet, SocketAddress, SocketAddressWrapped, SyncMode,
    Transaction, TransactionAction, UnixSocketAddress,
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
        /// How it is read and written; `None` for the same cache as the disk's.
        access: Option<Access>,
    },
    /// A writable export of an NBD server, at least as large as the disk.
    Nbd {
        /// The server.
        server: Address,
        /// Name of the export.
        export: String,
    },
}

impl CopyTarget {
    /// A new file, cached as the disk is.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>, format: Format) -> Self {
        Self::File { path: path.into(), format, access: None }
    }
}

/// Where the notes of what changes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notes {
    /// In memory; they end with the process.
    InMemory,
    /// In the qcow2 image, where an orderly end of the process leaves them for the next one.
    InTheImage,
}

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

/// A disk that is to be served as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The disk.
    pub disk: String,
    /// A new file that takes what the guest overwrites meanwhile, in a place that the process may write to. When it cannot take more, the
    /// guest goes on and readers get errors.
    pub scratch: PathBuf,
    /// Where readers come in.
    pub listen: Address,
    /// Name of the export.
    pub export: String,
    /// Readers are told which parts changed since this bitmap was begun (the NBD context `qemu:dirty-bitmap:<name>`);
    /// [`PullBackup::finish`] lets it begin anew at the moment that was served.
    pub since: Option<String>,
    /// Credentials of the machine ([`crate::config::Tls`], of a server); readers come in over TLS only.
    pub tls: Option<String>,
}

impl Served {
    /// Without TLS, whole.
    #[must_use]
    pub fn new(disk: &str, scratch: impl Into<PathBuf>, listen: Address, export: &str) -> Self {
        let (disk, export) = (disk.to_owned(), export.to_owned());
        Self { disk, scratch: scratch.into(), listen, export, since: None, tls: None }
    }
}

/// A disk as it was, served for reading until this is finished. Dropping it leaves it served: [`Vm::pulled_backup`] finds it again.
#[derive(Debug)]
pub struct PullBackup {
    vm: Vm,
    disk: String,
    /// The node and name of the bitmap that tells what changed.
    since: Option<(String, String)>,
}

/// How a pulled backup ended, as its reader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// The reader has all it wanted: a bitmap begins anew at the moment that was served.
    Whole,
    /// It has not: a bitmap goes on as if nothing had been served.
    GivenUp,
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
    /// Begins to note which parts of a disk change, under this name.
    ///
    /// # Errors
    /// [`OperationError`]; refused for notes that are to be kept in an image that is not qcow2.
    pub async fn add_bitmap(&self, disk: &str, name: &str, keep: Notes) -> Result<(), OperationError> {
        let bitmap = DirtyBitmapAdd {
            persistent: Some(keep == Notes::InTheImage),
            ..DirtyBitmapAdd::new(self.active_node(disk).await?, name)
        };
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
            let (mut actions, mut begun) = (Vec::new(), Vec::new());
            for Copied { disk, to, since } in disks {
                let node = self.active_node(disk).await?;
                let target = self.open_target(&mut rollback, disk, &node, to).await?;
                let id = job_id("backup");
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
            let backup = |(action, id, target)| PushBackup {
                job: Job::of(self, id, action),
                vm: self.clone(),
                target,
            };
            Ok(begun.into_iter().map(backup).collect())
        };
        let started = starting.await;
        settled(rollback, started).await
    }

    /// Serves a disk as it is now, for reading. One at a time: it is QEMU's only NBD server.
    ///
    /// # Errors
    /// [`OperationError`]; nothing is served then.
    pub async fn pull_backup(&self, served: &Served) -> Result<PullBackup, OperationError> {
        let Served { disk, scratch, listen, export, since, tls } = served;
        let mut rollback = Rollback::new(self);
        let action = || format!("serve {disk}");
        let starting = async {
            let (node, top) = (self.active_node(disk).await?, self.top_node(disk).await?);
            if let Some(name) = since {
                // Nothing is begun for one that is not there.
                self.changed_bytes(disk, name).await?;
            }
            let address = listening(listen)?;
            let image = NewImage {
                disk,
                like: &node,
                path: scratch,
                format: Format::Qcow2,
                access: None,
                above: Above::Nothing,
                node: Some(scratch_of(disk)),
            };
            let scratch = self.make_image(&mut rollback, image).await?;
            let reference = |node: &str| BlockdevRef::String(node.to_owned());
            let filter = filter_of(disk);
            let copy = BlockdevOptionsCopyBeforeWrite {
                // A guest does not pay for its backup.
                on_cbw_error: Some(BlockdevOptionsCopyBeforeWriteOnCbwError::BreakSnapshot),
                ..BlockdevOptionsCopyBeforeWrite::new(reference(&top), reference(&scratch))
            };
            let copy = BlockdevOptions {
                node_name: Some(filter.clone()),
                ..BlockdevOptions::new(BlockdevOptionsVariant::CopyBeforeWrite(copy))
            };
            rollback.make(action(), &BlockdevAdd(copy), Made::Node(filter.clone())).await?;
            if let Some(name) = since {
                // Changes are noted anew before the moment that is served, and until after it in both: what is written in between is
                // told once too often, never once too seldom.
                let next = DirtyBitmapAdd::new(node.clone(), next_of(name));
                rollback.also(Made::NextNotes(node.clone(), name.clone()));
                self.tell(action(), &BlockDirtyBitmapAdd(next)).await?;
            }
            rollback.make(action(), &drive(disk, &filter), Made::Filter(disk.clone())).await?;
            if let Some(name) = since {
                let bitmap = DirtyBitmap { node: node.clone(), name: name.clone() };
                self.tell(action(), &BlockDirtyBitmapDisable(bitmap)).await?;
            }
            let view = view_of(disk);
            let access = BlockdevOptionsFormat { file: reference(&filter) };
            let access = BlockdevOptions {
                node_name: Some(view.clone()),
                read_only: Some(true),
                ..BlockdevOptions::new(BlockdevOptionsVariant::SnapshotAccess(access))
            };
            rollback.make(action(), &BlockdevAdd(access), Made::Node(view.clone())).await?;
            let server = NbdServerStart { tls_creds: tls.clone(), ..NbdServerStart::new(address) };
            rollback.make(action(), &server, Made::NbdServer).await?;
            let bitmaps = since.as_ref().map(|name| {
                let bitmap = DirtyBitmap { node: node.clone(), name: name.clone() };
                vec![NbdExportBitmap::Object(Box::new(bitmap))]
            });
            let nbd =
                BlockExportAddNbd { name: Some(export.clone()), bitmaps, ..BlockExportAddNbd::default() };
            let exported = BlockExportAdd::new(view.clone(), view, BlockExportAddVariant::Nbd(nbd));
            self.tell(action(), &exported).await?;
            let since = since.clone().map(|name| (node, name));
            Ok(PullBackup { vm: self.clone(), disk: disk.clone(), since })
        };
        let started = starting.await;
        settled(rollback, started).await
    }

    /// A disk that is served, whoever began it.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn pulled_backup(&self, disk: &str) -> Result<Option<PullBackup>, OperationError> {
        if self.below_filter(disk).await?.is_none() {
            return Ok(None);
        }
        let node = self.node(&self.active_node(disk).await?).await?;
        let names = node.dirty_bitmaps.into_iter().flatten().filter_map(|bitmap| bitmap.name);
        let mut next = names.filter_map(|name| name.strip_suffix(NEXT).map(str::to_owned));
        let since = node.node_name.zip(next.next());
        Ok(Some(PullBackup { vm: self.clone(), disk: disk.to_owned(), since }))
    }

    /// The node below the filter of a disk that is served: what it is now, as a snapshot may have been taken meanwhile.
    async fn below_filter(&self, disk: &str) -> Result<Option<String>, OperationError> {
        let mut chain = self.chain(disk).await?.into_iter();
        Ok(if chain.next() == Some(filter_of(disk)) { chain.next() } else { None })
    }

    /// Has the device of a disk use what is below the filter again.
    pub(super) async fn leave_filter(&self, disk: &str) -> Result<(), OperationError> {
        match self.below_filter(disk).await? {
            Some(below) => self.tell(format!("stop to serve {disk}"), &drive(disk, &below)).await.map(drop),
            None => Ok(()),
        }
    }

    /// Starts to copy a disk to another place with all that the guest writes meanwhile.
    ///
    /// # Errors
    /// [`OperationError`]; nothing goes on then.
    pub async fn mirror_disk(&self, disk: &str, to: &CopyTarget) -> Result<Mirror, OperationError> {
        let mut rollback = Rollback::new(self);
        let started = self.begin_mirror(&mut rollback, disk, to).await;
        settled(rollback, started).await
    }

    /// The same as a part of what `rollback` takes back.
    pub(super) async fn begin_mirror(
        &self,
        rollback: &mut Rollback,
        disk: &str,
        to: &CopyTarget,
    ) -> Result<Mirror, OperationError> {
        let node = self.active_node(disk).await?;
        let target = self.open_target(rollback, disk, &node, to).await?;
        let id = job_id("mirror");
        let mirror = BlockdevMirror {
            job_id: Some(id.clone()),
            auto_dismiss: Some(false),
            ..BlockdevMirror::new(node, target.clone(), SyncMode::Full)
        };
        rollback.also(Made::Job(id.clone()));
        let job = self.job(format!("mirror {disk}"), id, &mirror).await.map(ReadyJob::of)?;
        Ok(Mirror { job, vm: self.clone(), disk: disk.to_owned(), target })
    }

    /// Opens a target as large as `node`, making it if it is a file; answers its node.
    async fn open_target(
        &self,
        rollback: &mut Rollback,
        disk: &str,
        node: &str,
        to: &CopyTarget,
    ) -> Result<String, OperationError> {
        match to {
            CopyTarget::File { path, format, access } => {
                let image = NewImage {
                    disk,
                    like: node,
                    path,
                    format: *format,
                    access: *access,
                    above: Above::Nothing,
                    node: None,
                };
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
    pub async fn finish(self, pulled: Pulled) -> Result<(), OperationError> {
        let Self { vm, disk, since } = self;
        let action = || format!("stop to serve {disk}");
        // Ends every export with its readers, and waits for that.
        vm.tell(action(), &NbdServerStop {}).await?;
        vm.tell(action(), &BlockdevDel { node_name: view_of(&disk) }).await?;
        vm.leave_filter(&disk).await?;
        vm.tell(action(), &BlockdevDel { node_name: filter_of(&disk) }).await?;
        vm.close_image(&scratch_of(&disk)).await?;
        let Some((node, name)) = since else { return Ok(()) };
        vm.join_notes(&node, &name, pulled).await
    }
}

impl Vm {
    /// Ends a pair of bitmaps: `name` goes on with what changed since the moment that was served, or since before it, too.
    pub(super) async fn join_notes(
        &self,
        node: &str,
        name: &str,
        pulled: Pulled,
    ) -> Result<(), OperationError> {
        let bitmap = |name: &str| DirtyBitmap { node: node.to_owned(), name: name.to_owned() };
        let next = next_of(name);
        let mut actions = Vec::new();
        if pulled == Pulled::Whole {
            actions.push(TransactionAction::BlockDirtyBitmapClear(bitmap(name)));
        }
        actions.push(TransactionAction::BlockDirtyBitmapEnable(bitmap(name)));
        let bitmaps = vec![NbdExportBitmap::String(next.clone())];
        actions.push(TransactionAction::BlockDirtyBitmapMerge(DirtyBitmapMerge {
            node: node.to_owned(),
            target: name.to_owned(),
            bitmaps,
        }));
        self.tell("note changes anew", &Transaction::new(actions)).await?;
        self.tell("note changes anew", &BlockDirtyBitmapRemove(bitmap(&next))).await.map(drop)
    }
}

/// The name under which changes are noted while a bitmap is read.
pub(super) fn next_of(bitmap: &str) -> String {
    format!("{bitmap}{NEXT}")
}

const NEXT: &str = "#next";

/// What belongs to a disk that is served, beside the filter.
pub(super) fn served_of(disk: &str) -> [String; 2] {
    [scratch_of(disk), view_of(disk)]
}

/// The filter above a disk that is served, what takes its copies, and what is served.
pub(super) fn filter_of(disk: &str) -> String {
    format!("{disk}-cbw")
}

fn scratch_of(disk: &str) -> String {
    format!("{disk}-scr")
}

fn view_of(disk: &str) -> String {
    format!("{disk}-view")
}

/// Has the device of a disk use another node.
fn drive(disk: &str, node: &str) -> QomSet {
    QomSet { path: format!("/machine/peripheral/{disk}"), property: "drive".to_owned(), value: node.into() }
}

impl Mirror {
    /// What there is of it until it has ended.
    pub(super) fn made(&self) -> [Made; 2] {
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
pub(super) fn listening(address: &Address) -> Result<SocketAddressWrapped, OperationError> {
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

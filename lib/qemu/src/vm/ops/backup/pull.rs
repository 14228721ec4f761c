//! A disk as it was, served to whoever reads it.

use super::{
    super::{
        OperationError, failed,
        follow::{Follow, Told},
        graph::{Above, NewImage, Way, device},
        nbd,
        plug::is_node_of,
        rollback::{Made, Rollback, remove},
        snapshot::{Consistency, freeze},
    },
    listening,
};
use crate::{
    Vm,
    config::{Address, ConfigError, Format},
    vm::Pauses,
};
use qmp::{
    agent::Agent,
    commands::{
        BlockDirtyBitmapAdd, BlockDirtyBitmapRemove, BlockExportAdd, BlockExportAddNbd,
        BlockExportAddVariant, BlockExportInfo, BlockNode, BlockdevAdd, BlockdevOptions,
        BlockdevOptionsCopyBeforeWrite, BlockdevOptionsCopyBeforeWriteOnCbwError, BlockdevOptionsFormat,
        BlockdevOptionsVariant, BlockdevRef, Cont, DirtyBitmap, DirtyBitmapAdd, DirtyBitmapMerge,
        NbdExportBitmap, NbdServerStart, QomSet, QueryBlockExports, QueryStatus, RunState, Stop, Transaction,
        TransactionAction,
    },
};
use std::{path::PathBuf, time::Duration};

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

/// A disk as it was, served for reading until this is finished. Dropping it leaves it served, and an end that failed leaves what it did not
/// come to: [`Vm::pulled_backup`] finds both again.
#[derive(Debug)]
pub struct PullBackup {
    vm: Vm,
    disk: String,
    /// The node and name of the bitmap that tells what changed.
    since: Option<(String, String)>,
    /// Where it is served; `None` of one that was found when it was not served any more.
    listen: Option<Address>,
}

/// A disk that is about to be served.
struct Parts<'s> {
    served: &'s Served,
    /// From its device to its node.
    way: Way,
    /// The node that takes what the guest overwrites.
    scratch: String,
}

/// How a pulled backup ended, as its reader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// The reader has all it wanted: a bitmap begins anew at the moment that was served.
    Whole,
    /// It has not: a bitmap goes on as if nothing had been served.
    GivenUp,
}

impl Vm {
    /// Serves a disk as it is now, for reading.
    ///
    /// # Errors
    /// As [`Vm::pull_backups`].
    pub async fn pull_backup(&self, served: &Served) -> Result<PullBackup, OperationError> {
        let backups = self.pull_backups(std::slice::from_ref(served)).await?;
        Ok(backups.into_iter().next().expect("one for each disk"))
    }

    /// Serves disks as they are at one moment of the guest, for which it stands a few milliseconds if they are several; in their order. All
    /// are served at the same place, by QEMU's only NBD server: what else was served by it has to be finished before.
    ///
    /// # Errors
    /// [`OperationError`]; nothing is served then. [`OperationError::InUse`] of a disk that is served already or that a job copies or merges.
    /// [`OperationError::Unknown`] also for a bitmap that has not noted every change, as of [`Vm::push_backup`].
    pub async fn pull_backups(&self, disks: &[Served]) -> Result<Vec<PullBackup>, OperationError> {
        self.serve(disks, None).await.map(|(backups, _)| backups)
    }

    /// The same at a moment at which the guest's file systems stand still and have written all they hold. All is made ready before, so that
    /// they stand no longer than that moment takes; at most `limit`.
    ///
    /// # Errors
    /// As [`Vm::pull_backups`], and [`OperationError::Agent`] when they cannot be frozen; nothing is served then. Disks that are served and not
    /// known to be consistent are no error: [`Consistency`] says so.
    pub async fn pull_backups_frozen(
        &self,
        disks: &[Served],
        agent: &Agent,
        limit: Duration,
    ) -> Result<(Vec<PullBackup>, Consistency), OperationError> {
        let (backups, consistency) = self.serve(disks, Some((agent, limit))).await?;
        Ok((backups, consistency.unwrap_or(Consistency::Frozen { file_systems: 0 })))
    }

    /// Serves disks; of a guest whose file systems are to stand still says whether they did.
    async fn serve(
        &self,
        disks: &[Served],
        still: Option<(&Agent, Duration)>,
    ) -> Result<(Vec<PullBackup>, Option<Consistency>), OperationError> {
        let Some(first) = disks.first() else { return Ok((Vec::new(), None)) };
        if disks.iter().any(|served| (&served.listen, &served.tls) != (&first.listen, &first.tls)) {
            let reason = "disks that are served together are served at one place, with the same credentials";
            return Err(ConfigError::conflict(&first.disk, reason).into());
        }
        let address = listening(&first.listen)?;
        let mut rollback = Rollback::new(self);
        let starting = async {
            let mut parts = Vec::new();
            for served in disks {
                parts.push(self.prepare_to_serve(&mut rollback, served).await?);
            }
            let frozen = match still {
                Some((agent, limit)) => Some(freeze(agent, limit).await?),
                None => None,
            };
            // On an error the guard thaws.
            self.begin_to_keep(&mut rollback, &parts).await?;
            let consistency = match frozen {
                Some(frozen) => Some(Consistency::thawed(frozen).await),
                None => None,
            };
            for parts in &parts {
                self.open_view(&mut rollback, parts).await?;
            }
            let server = NbdServerStart { tls_creds: first.tls.clone(), ..NbdServerStart::new(address) };
            rollback.make("serve disks", &server, Made::NbdServer(first.listen.clone())).await?;
            for parts in &parts {
                self.export(parts).await?;
            }
            let backup = |parts: Parts<'_>| PullBackup {
                vm: self.clone(),
                disk: parts.served.disk.clone(),
                since: parts.served.since.clone().map(|name| (parts.way.active, name)),
                listen: Some(parts.served.listen.clone()),
            };
            Ok((parts.into_iter().map(backup).collect(), consistency))
        };
        let started = starting.await;
        rollback.settle(started).await
    }

    /// Makes what takes the guest's overwriting, and the filter that sends it there, which nobody uses yet.
    async fn prepare_to_serve<'s>(
        &self,
        rollback: &mut Rollback,
        served: &'s Served,
    ) -> Result<Parts<'s>, OperationError> {
        let disk = &served.disk;
        let action = || format!("serve {disk}");
        let way = self.way(disk).await?;
        let node = &way.active;
        if let Some(name) = &served.since {
            // Nothing is begun for one that is not there.
            self.whole_bitmap(disk, name).await?;
        }
        let image = NewImage {
            disk,
            like: node,
            path: &served.scratch,
            format: Format::Qcow2,
            access: None,
            above: Above::Nothing,
            node: Some(scratch_of(disk)),
        };
        let scratch = self.make_image(rollback, image).await?;
        let filter = filter_of(disk);
        let copy = BlockdevOptionsCopyBeforeWrite {
            // A guest does not pay for its backup.
            on_cbw_error: Some(BlockdevOptionsCopyBeforeWriteOnCbwError::BreakSnapshot),
            ..BlockdevOptionsCopyBeforeWrite::new(reference(&way.top), reference(&scratch))
        };
        let copy = BlockdevOptions {
            node_name: Some(filter.clone()),
            ..BlockdevOptions::new(BlockdevOptionsVariant::CopyBeforeWrite(copy))
        };
        rollback.make(action(), &BlockdevAdd(copy), Made::Node(filter)).await?;
        if let Some(name) = &served.since {
            // From before the moment that is served, changes are noted anew. The bitmap goes on beside that: whatever ends the process
            // leaves it with all that changed.
            let next = DirtyBitmapAdd::new(node.clone(), next_of(name));
            rollback.also(Made::NextNotes(node.clone(), name.clone()));
            self.tell(action(), &BlockDirtyBitmapAdd(next)).await?;
        }
        Ok(Parts { served, way, scratch })
    }

    /// The moment that is served: from here on what the guest overwrites is kept.
    async fn begin_to_keep(
        &self,
        rollback: &mut Rollback,
        parts: &[Parts<'_>],
    ) -> Result<(), OperationError> {
        let action = "serve disks as of one moment";
        // One disk needs no moment beside its own.
        // From before it is known to run: who pauses it after that is heard.
        let since = self.pauses();
        let stands = parts.len() > 1 && self.ask(action, &QueryStatus {}).await?.status == RunState::Running;
        let moment = if stands {
            // A machine that moves would take a guest along that stands, for ever.
            let alone = self.is_to_stay().await?;
            let _none_is_made = self.while_none_is_made("stop").await.map_err(failed(action))?;
            // Not before that: a guest that was never stopped is not to be started again.
            rollback.also(Made::Stop(since));
            self.tell(action, &Stop {}).await?;
            Some((alone, Made::Stop(since)))
        } else {
            None
        };
        for Parts { served: Served { disk, .. }, .. } in parts {
            let filter = drive(disk, &filter_of(disk));
            rollback.make(format!("serve {disk}"), &filter, Made::Filter(disk.clone())).await?;
        }
        if let Some((alone, stop)) = moment {
            remove(&mut Follow::new(self, &[]), action, &stop).await?;
            rollback.gone(&stop);
            drop(alone);
        }
        Ok(())
    }

    /// Opens the disk as it was, for reading.
    async fn open_view(&self, rollback: &mut Rollback, parts: &Parts<'_>) -> Result<(), OperationError> {
        let Parts { served: Served { disk, since, .. }, way, scratch } = parts;
        let action = || format!("serve {disk}");
        if let Some(name) = since {
            // After that moment: what is written in between is told once too often, never once too seldom.
            self.copy_bitmap(action(), (&way.active, name), scratch).await?;
        }
        let access = BlockdevOptionsFormat { file: reference(&filter_of(disk)) };
        let access = BlockdevOptions {
            node_name: Some(view_of(disk)),
            read_only: Some(true),
            ..BlockdevOptions::new(BlockdevOptionsVariant::SnapshotAccess(access))
        };
        rollback.make(action(), &BlockdevAdd(access), Made::Node(view_of(disk))).await
    }

    /// Lets readers in.
    async fn export(&self, parts: &Parts<'_>) -> Result<(), OperationError> {
        let Parts { served: Served { disk, since, export, listen, .. }, scratch, .. } = parts;
        let bitmaps = since.as_ref().map(|name| {
            let bitmap = DirtyBitmap { node: scratch.clone(), name: name.clone() };
            vec![NbdExportBitmap::Object(Box::new(bitmap))]
        });
        let nbd = BlockExportAddNbd { name: Some(export.clone()), bitmaps, ..BlockExportAddNbd::default() };
        let exported =
            BlockExportAdd::new(export_of(disk, listen), view_of(disk), BlockExportAddVariant::Nbd(nbd));
        self.tell(format!("serve {disk}"), &exported).await.map(drop)
    }

    /// Makes a bitmap of another node what this one is now. It notes nothing itself, and goes with its node.
    async fn copy_bitmap(
        &self,
        action: String,
        (node, name): (&str, &str),
        to: &str,
    ) -> Result<(), OperationError> {
        let copy = DirtyBitmapAdd {
            granularity: Some(self.whole_bitmap_of(node, name).await?.granularity),
            disabled: Some(true),
            ..DirtyBitmapAdd::new(to, name)
        };
        let source = DirtyBitmap { node: node.to_owned(), name: name.to_owned() };
        let merge = DirtyBitmapMerge {
            node: to.to_owned(),
            target: name.to_owned(),
            bitmaps: vec![NbdExportBitmap::Object(Box::new(source))],
        };
        let actions = vec![
            TransactionAction::BlockDirtyBitmapAdd(copy),
            TransactionAction::BlockDirtyBitmapMerge(merge),
        ];
        self.tell(action, &Transaction::new(actions)).await.map(drop)
    }

    /// A disk that is served, whoever began it; also one whose end was begun and not finished.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn pulled_backup(&self, disk: &str) -> Result<Option<PullBackup>, OperationError> {
        let nodes = self.named_nodes().await?;
        let [scratch, view] = served_of(disk);
        let ours = [filter_of(disk), view, file_of(&scratch), scratch];
        let is_ours = |node: &BlockNode| node.node_name.as_ref().is_some_and(|name| ours.contains(name));
        // A snapshot that was taken meanwhile leaves the notes on an image below.
        let since = nodes.iter().find_map(|node| {
            let of = node.node_name.clone().filter(|name| is_node_of(name, disk))?;
            let names = node.dirty_bitmaps.iter().flatten().filter_map(|bitmap| bitmap.name.as_deref());
            let name = names.filter_map(|name| name.strip_suffix(NEXT)).next()?;
            Some((of, name.to_owned()))
        });
        let found = since.is_some() || nodes.iter().any(is_ours);
        if !found {
            return Ok(None);
        }
        let exports = self.ask("ask what is served", &QueryBlockExports {}).await?;
        let listen =
            exports.iter().filter(|export| is_export_of(export, disk)).find_map(|it| place_of(&it.id));
        Ok(Some(PullBackup { vm: self.clone(), disk: disk.to_owned(), since, listen }))
    }

    /// The node below the filter of a disk that is served: what it is now, as a snapshot may have been taken meanwhile.
    pub(in super::super) async fn below_filter(&self, disk: &str) -> Result<Option<String>, OperationError> {
        let mut chain = self.chain(disk).await?.into_iter();
        Ok(if chain.next() == Some(filter_of(disk)) { chain.next() } else { None })
    }
}

impl PullBackup {
    /// Stops to serve it; readers that are still connected are cut off. The scratch file can be removed then.
    ///
    /// # Errors
    /// [`OperationError`]. It can be said again then: what is done already is passed over.
    pub async fn finish(&self, pulled: Pulled) -> Result<(), OperationError> {
        let Self { vm, disk, since, .. } = self;
        let what = format!("stop to serve {disk}");
        let mut follow = Follow::new(vm, nbd::EVENTS);
        let at = self.listen.as_ref();
        nbd::end(&mut follow, &what, at, |export| is_export_of(export, disk)).await?;
        let [scratch, view] = served_of(disk);
        let parts = [
            Made::Node(view),
            Made::Filter(disk.clone()),
            Made::Node(filter_of(disk)),
            Made::Node(scratch.clone()),
            Made::Node(file_of(&scratch)),
        ];
        for made in &parts {
            remove(&mut follow, &what, made).await?;
        }
        match since {
            Some((node, name)) => join_notes(&mut follow, &what, node, name, pulled).await,
            None => Ok(()),
        }
    }
}

/// Lets a guest go on that was stopped for a moment, unless somebody has paused it since or it stands for another reason.
pub(in super::super) async fn goes_on(
    follow: &mut Follow,
    what: &str,
    since: Pauses,
) -> Result<(), OperationError> {
    let is_paused = |follow: &Follow| follow.vm().pauses() != since;
    if is_paused(follow) || follow.read(what, &QueryStatus {}).await?.status != RunState::Paused {
        return Ok(());
    }
    follow.insist(what, &Cont {}).await?;
    // Somebody who came in between is not to be undone.
    if is_paused(follow) { follow.insist(what, &Stop {}).await } else { Ok(()) }
}

/// Has the device of a disk use what is below the filter again.
pub(in super::super) async fn leave_filter(
    follow: &mut Follow,
    what: &str,
    disk: &str,
) -> Result<(), OperationError> {
    while let Some(below) = follow.vm().below_filter(disk).await? {
        if follow.told(what, &drive(disk, &below)).await? == Told::Answered {
            return Ok(());
        }
    }
    Ok(())
}

/// Ends a pair of bitmaps: `name` goes on with what changed since the moment that was served, or since before it, too. Told twice it does
/// what it does once: until the second bitmap is gone that one has all that changed since.
pub(in super::super) async fn join_notes(
    follow: &mut Follow,
    what: &str,
    node: &str,
    name: &str,
    pulled: Pulled,
) -> Result<(), OperationError> {
    let bitmap = |name: &str| DirtyBitmap { node: node.to_owned(), name: name.to_owned() };
    let next = next_of(name);
    if !has_bitmap(follow, what, node, &next).await? {
        return Ok(());
    }
    let mut actions = Vec::new();
    if pulled == Pulled::Whole {
        actions.push(TransactionAction::BlockDirtyBitmapClear(bitmap(name)));
    }
    let bitmaps = vec![NbdExportBitmap::String(next.clone())];
    actions.push(TransactionAction::BlockDirtyBitmapMerge(DirtyBitmapMerge {
        node: node.to_owned(),
        target: name.to_owned(),
        bitmaps,
    }));
    follow.insist(what, &Transaction::new(actions)).await?;
    match follow.insist(what, &BlockDirtyBitmapRemove(bitmap(&next))).await {
        // An answer was lost.
        Err(OperationError::Qmp { .. }) if !has_bitmap(follow, what, node, &next).await? => Ok(()),
        removed => removed,
    }
}

/// Whether a node has a bitmap.
async fn has_bitmap(follow: &mut Follow, what: &str, node: &str, name: &str) -> Result<bool, OperationError> {
    let nodes = follow.nodes(what).await?;
    let of_node = nodes.into_iter().filter(|it| it.node_name.as_deref() == Some(node));
    let mut bitmaps = of_node.flat_map(|node| node.dirty_bitmaps.into_iter().flatten());
    Ok(bitmaps.any(|bitmap| bitmap.name.as_deref() == Some(name)))
}

/// The name under which changes are noted while a bitmap is read.
fn next_of(bitmap: &str) -> String {
    format!("{bitmap}{NEXT}")
}

const NEXT: &str = "#next";

/// What belongs to a disk that is served, beside the filter.
fn served_of(disk: &str) -> [String; 2] {
    [scratch_of(disk), view_of(disk)]
}

fn reference(node: &str) -> BlockdevRef {
    BlockdevRef::String(node.to_owned())
}

/// The filter above a disk that is served, what takes its copies, and what is served.
fn filter_of(disk: &str) -> String {
    format!("{disk}-cbw")
}

/// The file that an image stands on.
fn file_of(node: &str) -> String {
    format!("{node}-file")
}

fn scratch_of(disk: &str) -> String {
    format!("{disk}-scr")
}

fn view_of(disk: &str) -> String {
    format!("{disk}-view")
}

/// The name of an export tells whoever finds it where it is served, which QEMU does not.
fn export_of(disk: &str, listen: &Address) -> String {
    let place = match listen {
        Address::Unix(path) => format!("u{}", path.display()),
        Address::Tcp(host, port) => format!("{port}:{host}"),
    };
    let digits: String = place.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{digits}", view_of(disk))
}

/// Whether a node is there only to serve a disk.
pub(in super::super) fn is_part_of_pulled(node: &BlockNode) -> bool {
    let parts = ["-cbw", "-scr", "-view"];
    node.node_name.as_ref().is_some_and(|name| parts.iter().any(|part| name.ends_with(part)))
}

fn is_export_of(export: &BlockExportInfo, disk: &str) -> bool {
    export.id.split('.').next() == Some(&view_of(disk))
}

fn place_of(export: &str) -> Option<Address> {
    let (_, digits) = export.split_once('.')?;
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
    let place = String::from_utf8(bytes.collect::<Option<_>>()?).ok()?;
    match place.strip_prefix('u') {
        Some(path) => Some(Address::Unix(path.into())),
        None => {
            let (port, host) = place.split_once(':')?;
            Some(Address::Tcp(host.to_owned(), port.parse().ok()?))
        }
    }
}

/// Has the device of a disk use another node.
fn drive(disk: &str, node: &str) -> QomSet {
    QomSet { path: device(disk), property: "drive".to_owned(), value: node.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::supervisor::tests::{answer, state, supervised_by};
    use serde_json::{Value, json};
    use tokio::{io::AsyncWriteExt, task::JoinSet};

    #[test]
    fn where_a_disk_is_served_is_read_from_its_export() {
        for at in [Address::Unix("/run/a b/\u{e4}.sock".into()), Address::Tcp("::1".into(), 10809)] {
            let id = export_of("root", &at);
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)), "{id}");
            assert_eq!(place_of(&id), Some(at));
        }
        for id in ["root-view", "root-view.7", "root-view.zz", "root-view.ff", "root-view.75\u{e4}"] {
            assert_eq!(place_of(id), None, "{id}");
        }
    }

    /// An image that is made holds up the stop until that is given up, and somebody pauses the guest meanwhile.
    #[tokio::test]
    async fn a_guest_that_was_not_stopped_to_be_served_is_not_started() {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut reader, mut writer) = supervised_by(directory.path(), &mut tasks).await;
        answer(&mut reader, &mut writer, state("running")).await;
        let _image = vm.images.clone().write_owned().await;
        let served = ["a", "b"].map(|id| Served::new(id, "scratch", Address::Unix("socket".into()), id));
        let parts = served.each_ref().map(|served| Parts {
            served,
            way: Way::new(
                served.disk.clone(),
                served.disk.clone(),
                vm.reserve_name(served.disk.clone()).expect("free"),
            ),
            scratch: "scratch".to_owned(),
        });
        let mut rollback = Rollback::new(&vm);
        {
            let mut beginning = std::pin::pin!(vm.begin_to_keep(&mut rollback, &parts));
            let asked = async {
                answer(&mut reader, &mut writer, state("running")).await;
                // Nor does it move.
                answer(&mut reader, &mut writer, json!({})).await;
                // What is answered after it.
                let (client, later) = (vm.qmp(), QueryStatus {});
                let answers = answer(&mut reader, &mut writer, state("running"));
                tokio::join!(client.call(&later), answers).0.unwrap();
            };
            // Cancel safety: what begins is kept.
            tokio::select! {
                biased;
                early = beginning.as_mut() => panic!("{early:?}"),
                () = asked => {}
            }
            tokio::time::pause();
            let late = beginning.await.unwrap_err();
            assert!(matches!(late, OperationError::Qmp { .. }), "{late:?}");
            tokio::time::resume();
        }
        let mut told = Vec::new();
        let monitor = async {
            while let Some(line) = reader.next_line().await.unwrap() {
                let command: Value = serde_json::from_str(&line).unwrap();
                let name = command["execute"].as_str().unwrap();
                let with = if name == "query-status" { state("paused") } else { json!({}) };
                let reply = format!("{}\r\n", json!({"return": with, "id": command["id"]}));
                writer.write_all(reply.as_bytes()).await.unwrap();
                told.push(name.to_owned());
            }
        };
        // Cancel safety: nothing more is told when all is taken back.
        tokio::select! {
            biased;
            () = rollback.undo() => {}
            () = monitor => {}
        }
        assert!(told.iter().all(|command| command == "query-status"), "{told:?}");
    }
}

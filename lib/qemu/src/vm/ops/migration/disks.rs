//! A machine moves with its disks.
//!
//! ```text
//!   source                                          destination
//!     disk --mirror, until both are the same------->  NBD export of its disk
//!     memory --------------------------------------->
//!     guest stands; mirrors part: both disks are the same for good
//!     the last of the memory ----------------------->  exports are closed, the guest runs
//! ```

use super::{
    super::{
        ClientTls, CopyTarget, Mirror, OperationError, RECONNECT,
        backup::listening,
        job::break_copy,
        rollback::{Made, Rollback},
    },
    Channel, MigrateError, Migrated, Migration, MigrationOptions, MigrationTls, Route, Switchover,
    Whereabouts,
    moving::PATIENCE,
};
use crate::{
    Vm,
    config::{Address, ConfigError},
};
use qmp::commands::{
    BlockExportAdd, BlockExportAddNbd, BlockExportAddVariant, MigrationStatus, NbdServerStart, QueryStatus,
    RunState,
};

use std::{task::Poll, time::Duration};

/// Disks that move with their machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedDisks {
    /// Their ids. The destination has disks of the same ids, at least as large, whose content is written over.
    pub ids: Vec<String>,
    /// Where the destination takes them, over NBD, while it is going on.
    pub through: Address,
}

impl Vm {
    /// As [`Vm::migrate_to`] for a machine whose disks are not shared with the destination: they are copied, too, and are the same at both
    /// ends at the moment the guest moves. With credentials ([`MigrationOptions::tls`]) disks go over TLS as the memory does.
    ///
    /// The guest stands until its disks are the same, at most [`MigrationOptions::patience`]: it goes on here where they are not by then. Where
    /// the monitor has broken meanwhile, that takes ten seconds more and the end of the destination's process. A monitor that is away for ten
    /// seconds at least, and for longer than the patience, counts as a guest that stands: nobody else tells whether it does. One that is back
    /// before and tells of a guest that stands does not tell since when: the patience begins then.
    ///
    /// A call that is dropped gives the migration and its copies up, and the guest goes on here, unless its disks were the same already and it
    /// was let go: then it stands at the destination, whose disks are whole, and is to be resumed there, or goes on here if the migration
    /// fails ([`Vm::migration`] tells of it until it is over).
    ///
    /// # Errors
    /// As [`Vm::migrate_to`]. Post-copy is refused: the guest must stand until its disks are there.
    pub async fn migrate_with_disks(
        &self,
        destination: &Self,
        via: impl Into<Route>,
        options: &MigrationOptions,
        disks: &MovedDisks,
    ) -> Result<Migrated, MigrateError> {
        let here = |source| MigrateError { guest: Whereabouts::Source, source };
        if options.postcopy {
            return Err(here(
                ConfigError::conflict("migration", "post-copy and disks that are moved").into(),
            ));
        }
        let (to, at) = via.into().ends();
        let alone = self.migrates_alone()?;
        let served = destination.take_disks(options.tls.as_ref(), disks).await.map_err(here)?;
        // Nobody else moves it before all is taken back: what is given up then would be his.
        let mut begun = Rollback::holding(self, alone);
        let patience = options.patience.unwrap_or(PATIENCE);
        let moving = async {
            let mirrors = self.mirror_disks(&mut begun, options.tls.as_ref(), disks).await.map_err(here)?;
            let arriving = destination.await_migration(at, options).await.map_err(here)?;
            let to = destination.chosen(to).await.map_err(here)?;
            // Before it is asked for: this may be dropped at any moment from here.
            begun.also(Made::Migration);
            let too_long = self.stands_too_long(patience);
            let mut leaving = Migration::leaving(self);
            let arrival = Arrival { destination, mirrors, too_long };
            match self.leaves_with_disks(&mut leaving, to, options, arrival, &mut begun).await {
                Ok(()) => {}
                Err(Stopped::BeforeItBegan(source)) => return Err(self.has_not_begun(source).await),
                Err(Stopped::OnItsWay(source)) => {
                    // What cannot be given up has ended, and the guest goes on here.
                    if let Err(error) = Migration::of(self).cancel().await {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "cannot give up a migration"
                        );
                    }
                    return Err(self.stays(destination, leaving, source).await);
                }
            }
            self.moves(destination, leaving, arriving, patience).await
        };
        let moved = moving.await;
        // What came of it is told by the outcome.
        begun.gone(&Made::Migration);
        begun.gone(&Made::Departure);
        // Of a machine that stays: its copies are of no use. Of one that has left there are none.
        begun.undo().await;
        let (moved, runs) = match moved {
            Ok(moved) => moved,
            Err(error) => {
                // A destination that is silent is not waited for.
                drop(served);
                return Err(error);
            }
        };
        // Its disks are the guest's alone from here on.
        served.undo().await;
        if runs {
            destination.goes_on().await?;
        }
        Ok(moved)
    }

    /// Serves disks for writing until what is answered is taken back.
    async fn take_disks(
        &self,
        tls: Option<&MigrationTls>,
        disks: &MovedDisks,
    ) -> Result<Rollback, OperationError> {
        let mut served = Rollback::new(self);
        let action = "take disks";
        let serving = async {
            let start = NbdServerStart {
                tls_creds: tls.map(|tls| tls.destination.clone()),
                ..NbdServerStart::new(listening(&disks.through)?)
            };
            served.make(action, &start, Made::NbdServer(disks.through.clone())).await?;
            for disk in &disks.ids {
                let nbd = BlockExportAddNbd { name: Some(disk.clone()), ..BlockExportAddNbd::default() };
                let node = self.active_node(disk).await?;
                let export = BlockExportAdd {
                    writable: Some(true),
                    ..BlockExportAdd::new(format!("{disk}-moved"), node, BlockExportAddVariant::Nbd(nbd))
                };
                self.tell(action, &export).await?;
            }
            Ok(())
        };
        match serving.await {
            Ok(()) => Ok(served),
            Err(error) => {
                served.undo().await;
                Err(error)
            }
        }
    }

    /// Mirrors disks until each is the same as its copy.
    async fn mirror_disks(
        &self,
        begun: &mut Rollback,
        tls: Option<&MigrationTls>,
        disks: &MovedDisks,
    ) -> Result<Vec<Mirror>, OperationError> {
        let mut mirrors = Vec::new();
        for disk in &disks.ids {
            let tls =
                tls.map(|tls| ClientTls { credentials: tls.source.clone(), hostname: tls.hostname.clone() });
            let copy = CopyTarget::Nbd { server: disks.through.clone(), export: disk.clone(), tls };
            mirrors.push(self.begin_mirror(begun, disk, &copy).await?);
        }
        for mirror in &mut mirrors {
            mirror.ready().await?;
        }
        Ok(mirrors)
    }

    /// Sends the machine until its guest was stopped to be moved, ends the mirrors at that moment, and lets it move.
    async fn leaves_with_disks(
        &self,
        leaving: &mut Migration,
        to: Channel,
        options: &MigrationOptions,
        arrival: Arrival<'_, impl Future<Output = OperationError>>,
        begun: &mut Rollback,
    ) -> Result<(), Stopped> {
        let Arrival { destination, mirrors, too_long } = arrival;
        let jobs: Vec<String> = mirrors.iter().map(|mirror| mirror.job_id().to_owned()).collect();
        let parting = async {
            let begin = self.begin(leaving, to, options, Switchover::WhenTold);
            begin.await.map_err(Stopped::BeforeItBegan)?;
            let waiting =
                leaving.until(&[MigrationStatus::PreSwitchover]).await.map_err(Stopped::OnItsWay)?;
            if waiting.status != Some(MigrationStatus::PreSwitchover) {
                // It has failed: the one who follows it tells why.
                return Ok(false);
            }
            part_all(mirrors, begun).await.map(|()| true).map_err(Stopped::OnItsWay)
        };
        // Cancel safety: what is given up is taken back by who is told of the error.
        let parted = tokio::select! {
            biased;
            parted = parting => parted,
            silent = too_long => Err(Stopped::OnItsWay(silent)),
        };
        match parted {
            Ok(true) => leaving.let_go(begun).await.map_err(Stopped::OnItsWay),
            Ok(false) => Ok(()),
            Err(Stopped::OnItsWay(error)) => {
                // QEMU itself may wait for their servers, and carries out nothing else until it need not.
                let breaking = async {
                    for job in &jobs {
                        break_copy(&mut leaving.follow, job).await?;
                    }
                    Ok(())
                };
                // Not of the patience with the guest: a busy host needs its time for this, too.
                match tokio::time::timeout(RECONNECT, breaking).await {
                    Ok(broken) => broken.map_err(Stopped::OnItsWay)?,
                    // Its monitor has broken, too, and it greets nobody meanwhile. The copies end with the process that they go to, which
                    // is of no use any more.
                    Err(_) => {
                        if let Err(error) = destination.kill().await {
                            tracing::debug!(%error, "cannot end a destination that is silent");
                        }
                    }
                }
                Err(Stopped::OnItsWay(error))
            }
            Err(refused) => Err(refused),
        }
    }

    /// Ready when the guest has stood for so long to be moved, or QEMU does not even say what for, on whatever connection. Where the connection
    /// broke before it was heard to be stopped it may run: then there is time for another one first, and it counts as standing from when it is
    /// found so.
    pub(in crate::vm) fn stands_too_long(&self, patience: Duration) -> impl Future<Output = OperationError> {
        let is_stop = |event: &qmp::Event| event.name == "STOP";
        let mut clients = self.client.clone();
        let mut client = clients.borrow_and_update().with_deadline(None);
        let mut stops = client.waiter(is_stop);
        async move {
            loop {
                // With the connection events end: the guest may have been stopped since.
                let is_stopped = stops.await.is_some();
                let mut after = if is_stopped { patience } else { patience.max(RECONNECT) };
                let mut limit = std::pin::pin!(tokio::time::sleep(after));
                stops = client.waiter(is_stop);
                let stands = async {
                    loop {
                        match client.call(&QueryStatus {}).await {
                            // Otherwise somebody has paused it, or nobody has stopped it.
                            Ok(info) => return info.status == RunState::FinishMigrate,
                            // While QEMU waits for the copies it greets nobody.
                            Err(_) if clients.changed().await.is_ok() => {
                                client = clients.borrow_and_update().with_deadline(None);
                                stops = client.waiter(is_stop);
                            }
                            // Whoever follows the machine tells of its end.
                            Err(_) => std::future::pending().await,
                        }
                    }
                };
                // Cancel safety: what is not answered by then is of no more interest.
                let stands = tokio::select! {
                    biased;
                    stands = stands => Some(stands),
                    () = &mut limit => None,
                };
                match stands {
                    Some(false) => continue,
                    // When it was stopped nobody has heard.
                    Some(true) if !is_stopped => {
                        after = patience;
                        limit.set(tokio::time::sleep(patience));
                    }
                    Some(true) | None => {}
                }
                limit.await;
                let what = "the copies of the disks to part".to_owned();
                return OperationError::GuestSilent { what, after };
            }
        }
    }
}

/// Where a machine did not leave with its disks.
enum Stopped {
    /// QEMU has not begun with it.
    BeforeItBegan(OperationError),
    /// It may have.
    OnItsWay(OperationError),
}

/// What is waited for before the guest is let go.
struct Arrival<'a, TooLong> {
    destination: &'a Vm,
    mirrors: Vec<Mirror>,
    too_long: TooLong,
}

/// Ends mirrors, all at once.
async fn part_all(mirrors: Vec<Mirror>, begun: &mut Rollback) -> Result<(), OperationError> {
    let part = |mut mirror: Mirror| async move {
        let made = mirror.made();
        mirror.part().await.map(|()| made)
    };
    let mut parting: Vec<_> = mirrors.into_iter().map(|mirror| Box::pin(part(mirror))).collect();
    std::future::poll_fn(|context| {
        let mut failed = None;
        parting.retain_mut(|part| match part.as_mut().poll(context) {
            Poll::Ready(Ok(made)) => {
                made.iter().for_each(|made| begun.gone(made));
                false
            }
            Poll::Ready(Err(error)) => {
                failed = Some(error);
                false
            }
            Poll::Pending => true,
        });
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if parting.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

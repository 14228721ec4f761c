//! A machine moves to another process: two ends, and one guest that must go on at exactly one of them.

use super::{
    super::{
        OperationError, figure,
        follow::{Heard, Told},
        places::Reservation,
    },
    Channel, Migrated, Migration, MigrationOptions, NotSent, Switchover, goes_on, has_moved, is_let_run,
    status_of, uri,
};
use crate::{Vm, config::Address, mutex::guarded, vm::supervisor::Chore};
use qmp::commands::{
    Cont, Migrate, MigratePause, MigrateRecover, MigrationStatus, QueryMigrate, QueryStatus, RunState,
    SocketAddress,
};
use std::{
    convert::Infallible,
    fmt,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::sync::oneshot;

/// Why a machine has not moved, and where its guest is.
#[derive(Debug, Error)]
#[error("the machine has not moved; {guest}")]
pub struct MigrateError {
    /// Where the guest is.
    pub guest: Whereabouts,
    /// What went wrong.
    #[source]
    pub source: OperationError,
}

/// Where the guest of a migration that failed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// At the source, and runs there if it ran. The destination is to be ended.
    Source,
    /// At the destination, with a part of its memory still at the source: [`Vm::recover_migration`] goes on. It stands whenever it needs
    /// the rest.
    Both,
    /// The source has let go of it and the destination does not tell whether it has it. It stands at the source: when the
    /// destination is proved to be ended it can be resumed there, and never before.
    Unknown,
    /// Lost: it had moved before its memory, and one of the ends is no more.
    Lost,
    /// Another migration of it goes on, begun by somebody else, whose end tells where it is. This one has changed nothing.
    Moving,
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "it goes on where it was",
            Self::Both => "its memory is on both sides, and the connection is to be replaced",
            Self::Unknown => "it stands, and the destination does not tell whether it has it",
            Self::Lost => "it is lost with the end that had a part of its memory",
            Self::Moving => "another migration of it goes on",
        })
    }
}

/// How both ends of a migration meet. The destination chooses a port for port 0 of an address.
#[derive(Debug)]
pub enum Route {
    /// The destination listens where the source connects.
    Address(Address),
    /// The destination listens behind a tunnel or forwarder, which the source connects to.
    Forwarded {
        /// Where the destination listens.
        listen: Address,
        /// Where the source connects.
        connect: Address,
    },
    /// Both ends of one connection, handed over.
    Connected {
        /// The source's end.
        source: OwnedFd,
        /// The destination's end.
        destination: OwnedFd,
    },
}

impl Route {
    /// The end of the source, the end of the destination.
    pub(super) fn ends(self) -> (Channel, Channel) {
        match self {
            Self::Address(address) => (Channel::from(&address), Channel::Address(address)),
            Self::Forwarded { listen, connect } => (Channel::Address(connect), Channel::Address(listen)),
            Self::Connected { source, destination } => (source.into(), destination.into()),
        }
    }
}

impl From<&Address> for Route {
    fn from(address: &Address) -> Self {
        Self::Address(address.clone())
    }
}

impl Vm {
    /// Moves the machine to another process that was started with [`crate::StartSpec::incoming`] and the same configuration. On success
    /// the guest runs there if it ran here, and this process waits to be ended. One that sleeps is woken for it by a QEMU before 9.0.
    ///
    /// A call that is dropped leaves the migration going: [`Vm::migration`] finds it, at both ends.
    ///
    /// # Errors
    /// [`MigrateError`], which tells where the guest is. A guest that the destination has proved not to have goes on here.
    pub async fn migrate_to(
        &self,
        destination: &Self,
        via: impl Into<Route>,
        options: &MigrationOptions,
    ) -> Result<Migrated, MigrateError> {
        let _alone = self.migrates_alone()?;
        let (to, at) = via.into().ends();
        let arriving = match destination.await_migration(at, options).await {
            Ok(arriving) => arriving,
            Err(source) => return Err(self.has_not_begun(source).await),
        };
        let to = match destination.chosen(to).await {
            Ok(to) => to,
            Err(source) => return Err(self.has_not_begun(source).await),
        };
        let decided = self.attends_migration(|| {});
        let sent = self.send(to, options, Switchover::AtOnce).await;
        drop(decided);
        let leaving = match sent {
            Ok(leaving) => leaving,
            Err(not_sent) => return Err(self.was_not_sent(destination, not_sent).await),
        };
        let patience = options.patience.unwrap_or(PATIENCE);
        let (moved, runs) = self.moves(destination, leaving, arriving, patience).await?;
        if runs {
            destination.goes_on().await?;
        }
        Ok(moved)
    }

    /// Has the machine to itself: two that move or save it at once would take each other's end for their own.
    pub(super) fn migrates_alone(&self) -> Result<Reservation, MigrateError> {
        self.stays_here().map_err(|source| MigrateError { guest: Whereabouts::Moving, source })
    }

    /// Keeps others of this process from moving the machine.
    pub(super) fn stays_here(&self) -> Result<Reservation, OperationError> {
        self.reserve_name(MIGRATES.to_owned()).ok_or(OperationError::Moving)
    }

    /// The same for who is about to stop the guest, which a machine that moves would take along: nobody moves it, from another process either.
    pub(in super::super) async fn is_to_stay(&self) -> Result<Reservation, OperationError> {
        let alone = self.stays_here()?;
        if self.goes_elsewhere().await? { Err(OperationError::Moving) } else { Ok(alone) }
    }

    /// Follows a migration that QEMU is about to be told to begin until it is over, whoever else does: a guest that falls asleep meanwhile is to
    /// be woken. It is decided whether QEMU is told when what is answered is dropped; `then` comes last.
    pub(super) fn attends_migration(
        &self,
        then: impl FnOnce() + Send + 'static,
    ) -> oneshot::Sender<Infallible> {
        let (decided, is_decided) = oneshot::channel::<Infallible>();
        let mut migration = Migration::leaving(self);
        let until_over = Chore::Drive(Box::pin(async move {
            // Nothing comes but the end.
            let _ = is_decided.await;
            // Newer than what QEMU was told, also where the answer to that is lost.
            if migration.is_going().await.unwrap_or(false) {
                let _ = migration.until(&[]).await;
            }
            then();
        }));
        let _ = self.chores.send(until_over);
        decided
    }

    /// Whether QEMU sends it, or waits for another connection to send the rest.
    async fn goes_elsewhere(&self) -> Result<bool, OperationError> {
        let info = self.ask("ask for the migration", &QueryMigrate {}).await?;
        Ok(goes_on(&info) || info.status == Some(MigrationStatus::PostcopyPaused))
    }

    /// Whether somebody of this process moves or saves it.
    pub(in crate::vm::ops) fn is_moved_here(&self) -> bool {
        self.is_reserved(MIGRATES)
    }

    /// How many bytes were sent by now where somebody moves or saves it.
    pub(in crate::vm::ops) async fn is_moving(&self) -> Result<Option<u64>, OperationError> {
        let info = self.ask("ask for the migration", &QueryMigrate {}).await?;
        let is_moving = self.is_moved_here() || goes_on(&info);
        Ok(is_moving.then(|| info.ram.map_or(0, |ram| figure(ram.transferred))))
    }

    /// Lets the guest run that has arrived here. One that was shut down, or has panicked, has arrived as it is.
    pub(super) async fn goes_on(&self) -> Result<(), MigrateError> {
        let unknown = |source| MigrateError { guest: Whereabouts::Unknown, source };
        Migration::of(self).run_arrived().await.map_err(unknown)
    }

    /// Noted of a destination that has a guest before its memory, which ran and has not been let run there: until somebody pauses it.
    fn to_run(&self) -> String {
        format!("#to-run-{}", self.pauses().0)
    }

    /// Where this destination listens, for a source that was told of port 0.
    pub(super) async fn chosen(&self, told: Channel) -> Result<Channel, OperationError> {
        let Channel::Address(Address::Tcp(host, 0)) = told else { return Ok(told) };
        let listens = self.ask("ask where the destination listens", &QueryMigrate {}).await?.socket_address;
        let port = listens.into_iter().flatten().find_map(|address| match address {
            SocketAddress::Inet(inet) => inet.port.parse().ok(),
            _ => None,
        });
        let unknown = || OperationError::Unknown { what: "port that is listened on at", id: host.clone() };
        Ok(Channel::Address(Address::Tcp(host.clone(), port.ok_or_else(unknown)?)))
    }

    /// Goes on with a migration whose connection broke after the guest had moved before its memory ([`Whereabouts::Both`]), over a new one. A
    /// guest that runs there goes on, and one that this process was about to let run is let run. Any other stands there afterwards, as somebody
    /// has paused it, here or there: it is for [`Vm::resume`]. So is one that another process moved and had not let run.
    ///
    /// # Errors
    /// As [`Vm::migrate_to`].
    pub async fn recover_migration(
        &self,
        destination: &Self,
        via: impl Into<Route>,
    ) -> Result<Migrated, MigrateError> {
        let both = |source| MigrateError { guest: Whereabouts::Both, source };
        let _alone = self.migrates_alone()?;
        let mut leaving = Migration::of(self);
        let address = |channel| match channel {
            Channel::Address(address) => uri(&address),
            Channel::Connected(_) => {
                Err(crate::config::ConfigError::conflict("migration", "it is recovered over an address")
                    .into())
            }
        };
        let (to, at) = via.into().ends();
        let (to, at) = (address(to).map_err(both)?, address(at).map_err(both)?);
        leaving.until(&[]).await.map_err(both)?;
        destination.recovers(at).await.map_err(both)?;
        // From here on: what was said of the end before is not heard again.
        let is_to_run = destination.is_reserved(&destination.to_run());
        let (mut leaving, mut arriving) =
            (Migration::left_early(self, is_to_run), Migration::of(destination));
        let resume = Migrate { uri: Some(to), resume: Some(true), ..Migrate::default() };
        self.tell("send the rest", &resume).await.map_err(both)?;
        // Until then both still tell of the end before.
        leaving.goes_on().await.map_err(both)?;
        arriving.goes_on().await.map_err(both)?;
        let (moved, runs) = self.moves(destination, leaving, arriving, PATIENCE).await?;
        if runs {
            destination.goes_on().await?;
        }
        Ok(moved)
    }

    /// Has the destination of a broken migration listen again. It may stand still in its main loop, which needs the memory that is
    /// missing: only what is carried out of band reaches it.
    async fn recovers(&self, at: String) -> Result<(), OperationError> {
        let action = "listen for the rest";
        // An end that has not noticed the break yet; one that has refuses.
        if let Err(error) = self.tell(action, &MigratePause {}).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the destination has noticed the break"
            );
        }
        let recover = MigrateRecover { uri: at };
        let mut pauses = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map(Duration::from_millis).into_iter();
        loop {
            match (self.tell(action, &recover).await, pauses.next()) {
                // Until it has closed the broken connection, it refuses.
                (Err(OperationError::Qmp { .. }), Some(pause)) => tokio::time::sleep(pause).await,
                (told, _) => return told.map(drop),
            }
        }
    }

    /// Follows both ends until the guest is at one of them. Answers whether it stands there and is to run, as it ran when
    /// it was stopped to be moved.
    pub(super) async fn moves(
        &self,
        destination: &Self,
        mut leaving: Migration,
        mut arriving: Migration,
        patience: Duration,
    ) -> Result<(Migrated, bool), MigrateError> {
        let mut early = None;
        let ran = leaving.ran.clone();
        let left = {
            let (left, arrived) = (leaving.left(), arriving.arrived(ran));
            tokio::pin!(left, arrived);
            // The source decides. The destination is followed beside it: with post-copy it has the guest long before.
            let left = loop {
                // Cancel safety: both are kept across rounds.
                tokio::select! {
                    left = &mut left => break left,
                    end = &mut arrived, if early.is_none() => early = Some(end),
                }
            };
            if early.is_none() && !matches!(left, Err(OperationError::Job { .. } | OperationError::Broken)) {
                early = tokio::time::timeout(patience, arrived).await.ok();
            }
            left
        };
        let early_move = leaving.moved_early || arriving.moved_early;
        match (left, early) {
            (Ok(moved), Some(Ok(stands))) => Ok((moved, stands && leaving.ran())),
            // The source is no more, and the guest has arrived with all it needs.
            (Err(OperationError::Ended { .. }), Some(Ok(stands))) => {
                Ok((Migrated::default(), stands && leaving.ran()))
            }
            (Err(source @ OperationError::Broken), _) | (Err(source), Some(Err(OperationError::Broken))) => {
                if leaving.ran() && !arriving.is_noted {
                    // Nobody has heard yet that it is there.
                    destination.note(destination.to_run());
                }
                Err(MigrateError { guest: Whereabouts::Both, source })
            }
            (Err(source), _) if early_move => Err(MigrateError { guest: Whereabouts::Lost, source }),
            (Err(source), _) => Err(self.stays(destination, leaving, source).await),
            // It has left. Only an end that is proved to be no more, or that says itself that it failed, does not have it.
            (Ok(_), Some(Err(source @ (OperationError::Ended { .. } | OperationError::Job { .. })))) => {
                if early_move {
                    return Err(MigrateError { guest: Whereabouts::Lost, source });
                }
                Err(self.stays(destination, leaving, source).await)
            }
            (Ok(_), Some(Err(source))) => Err(MigrateError { guest: Whereabouts::Unknown, source }),
            (Ok(_), None) => {
                let what = "the destination to have the machine".to_owned();
                let source = OperationError::GuestSilent { what, after: patience };
                Err(MigrateError { guest: Whereabouts::Unknown, source })
            }
        }
    }

    /// Where the guest of a migration is that was not sent.
    pub(super) async fn was_not_sent(
        &self,
        destination: &Self,
        NotSent { begun, error }: NotSent,
    ) -> MigrateError {
        match begun {
            Some(leaving) => self.stays(destination, leaving, error).await,
            None => self.has_not_begun(error).await,
        }
    }

    /// Where the guest of a migration is that QEMU has not begun with: neither it nor the destination was changed, whoever else may move it.
    pub(super) async fn has_not_begun(&self, source: OperationError) -> MigrateError {
        let mut migration = Migration::of(self);
        let guest = match migration.is_going().await {
            Ok(true) => Whereabouts::Moving,
            Ok(false) => match migration.follow.read(WHAT, &QueryStatus {}).await {
                Ok(info) if info.status != RunState::Postmigrate => Whereabouts::Source,
                // It was sent before, by somebody who knows what came of it.
                _ => Whereabouts::Unknown,
            },
            Err(_) => Whereabouts::Unknown,
        };
        let _ = migration.settled().await;
        MigrateError { guest, source }
    }

    /// Sees to it that a guest that has not moved goes on here, and that it does nowhere else.
    pub(super) async fn stays(
        &self,
        destination: &Self,
        mut migration: Migration,
        source: OperationError,
    ) -> MigrateError {
        let unknown = |source| MigrateError { guest: Whereabouts::Unknown, source };
        if let OperationError::Ended { .. } = source
            && self.status().exit.is_some()
        {
            return unknown(source);
        }
        let state = match migration.follow.leaves("the machine", &[RunState::FinishMigrate]).await {
            Ok(state) => state,
            Err(_) => return unknown(source),
        };
        // QEMU lets a guest go on that ran, and leaves one alone that somebody has stopped.
        if !migration.ran() || state != RunState::Postmigrate {
            let _ = migration.settled().await;
            return MigrateError { guest: Whereabouts::Source, source };
        }
        // It stands after it was sent: with its disks, which the other end must have let go of for certain.
        if let Err(error) = destination.kill().await {
            tracing::debug!(%error, "cannot end a destination that has failed");
            return unknown(source);
        }
        match migration.run_guest().await {
            Ok(()) => MigrateError { guest: Whereabouts::Source, source },
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "cannot let a guest go on that did not move");
                unknown(source)
            }
        }
    }
}

/// The right to move a machine from before QEMU is told to send until the migration is over, whoever follows that.
#[derive(Clone, Debug)]
pub(super) struct Alone(Arc<Mutex<Option<Reservation>>>);

impl Alone {
    pub(super) fn of(alone: Reservation) -> Self {
        Self(Arc::new(Mutex::new(Some(alone))))
    }

    /// Others may move the machine again.
    pub(super) fn is_over(&self) {
        drop(guarded(&self.0).take());
    }
}

impl Migration {
    /// Waits until the destination has the guest and all its memory. Answers whether it stands, but for what it was when it left: one that
    /// has moved before its memory and `ran` at the source runs from there on.
    async fn arrived(&mut self, ran: Option<Arc<AtomicBool>>) -> Result<bool, OperationError> {
        let mut stands = true;
        let status = self.until(&[MigrationStatus::PostcopyActive]).await?.status;
        if status.as_ref().is_some_and(has_moved) && ran.is_some_and(|ran| ran.load(Relaxed)) {
            // For who recovers it, where this comes no further.
            let vm = self.follow.vm();
            vm.note(vm.to_run());
            self.is_noted = true;
            if status == Some(MigrationStatus::PostcopyActive) {
                self.run_arrived().await?;
                stands = false;
            }
        }
        self.over().await?;
        // The devices' state is loaded a moment later, and nothing announces that.
        self.follow.leaves(WHAT, &[RunState::Inmigrate]).await?;
        self.settled().await?;
        Ok(stands)
    }

    /// Lets a guest run that has arrived here and stands for no reason of its own.
    async fn run_arrived(&mut self) -> Result<(), OperationError> {
        match self.follow.leaves(WHAT, &[RunState::Inmigrate]).await? {
            RunState::Paused | RunState::Prelaunch => self.run_guest().await?,
            _ => self.settled().await?,
        }
        let vm = self.follow.vm();
        vm.forget(&vm.to_run());
        Ok(())
    }

    /// Waits until a broken one goes on, or ends.
    ///
    /// # Errors
    /// [`OperationError::Broken`] when it breaks again at once.
    async fn goes_on(&mut self) -> Result<(), OperationError> {
        while self.info().await?.status == Some(MigrationStatus::PostcopyPaused) {
            if let Heard::Event(event) = self.heard().await?
                && status_of(&event) == Some(MigrationStatus::PostcopyPaused)
            {
                return Err(OperationError::Broken);
            }
        }
        Ok(())
    }

    /// Lets the guest of this end run.
    async fn run_guest(&mut self) -> Result<(), OperationError> {
        while self.follow.told("let the guest run", &Cont {}).await? == Told::Lost
            && !is_let_run(&self.follow.read(WHAT, &QueryStatus {}).await?.status)
        {}
        self.settled().await
    }
}

const WHAT: &str = "the machine to arrive";

/// Of the destination, from the end of the source to the state of its devices.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Reserved while a machine is moved.
const MIGRATES: &str = "#migrates";

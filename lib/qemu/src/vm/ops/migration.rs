//! Migration: a running machine goes on in another process, or is kept in a file.
//!
//! ```text
//!   source                                destination (StartSpec::incoming)
//!     |                                       | listens
//!     |---- memory, again and again --------->|
//!     | stands, sends the last                |
//!     | postmigrate                           | stands; resumed once the source is known to stand
//!
//!   with post-copy:
//!     | stands, sends the devices' state      |
//!     | postcopy-active                       | resumed at once, asks for the memory it touches
//!     |---- the rest of the memory ---------->|
//! ```

mod disks;
mod giving_up;
mod moving;
mod state;

pub use disks::MovedDisks;
pub use moving::{MigrateError, Route, Whereabouts};

use super::{
    OperationError, failed, figure,
    follow::{Follow, Heard},
    sleep::AWAKE,
    undone,
};
use crate::{
    Vm,
    config::{Address, utf8},
};
use giving_up::BREAKS;
use moving::Alone;
use qmp::{
    CallError, Event,
    commands::{
        Migrate, MigrateIncoming, MigratePause, MigrateSetCapabilities, MigrateSetParameters,
        MigrateStartPostcopy, MigrationCapabilityStatus, MigrationCapabilityStatusCapability as Capability,
        MigrationInfo, MigrationStatus, QueryMigrate, QueryStatus, QueryYank, RunState, StringOrNull, Yank,
        YankInstance,
    },
};
use serde_json::Value;
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// How memory is moved. Both ends must agree: [`Vm::migrate_to`] sees to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationOptions {
    /// Connections that carry memory beside the first; `None` for one connection in all.
    pub channels: Option<u8>,
    /// Let the guest run at the destination before all its memory is there. A connection that breaks then has to be replaced
    /// ([`Vm::recover_migration`]); an end that is lost then costs the guest.
    pub postcopy: bool,
    /// Most bytes per second; `None` for QEMU's default of 128 MiB.
    pub bandwidth: Option<u64>,
    /// Most bytes per second after the guest has moved, beside what it asks for; `None` for QEMU's default of no limit.
    pub postcopy_bandwidth: Option<u64>,
    /// How long the guest may stand; `None` for QEMU's default of 300 ms.
    pub downtime: Option<Duration>,
    /// Credentials of both ends by name ([`crate::config::Config::tls`]): a client's at the source, a server's at the destination.
    pub tls: Option<MigrationTls>,
    /// How long the destination may take to have the guest after the source has let go of it, and before that, where disks move, to have them
    /// while the guest stands; `None` for two minutes each.
    pub patience: Option<Duration>,
}

/// Credentials of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationTls {
    /// Credentials of the source.
    pub source: String,
    /// Credentials of the destination.
    pub destination: String,
    /// Name in the destination's certificate.
    pub hostname: String,
}

/// What a migration took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// From its start to its end.
    pub total: Duration,
    /// How long the guest stood.
    pub downtime: Duration,
    /// Bytes of memory sent.
    pub bytes: u64,
}

/// One end of a migration's connection.
#[derive(Debug)]
pub enum Channel {
    /// Listened at, or connected to, by QEMU.
    Address(Address),
    /// Connected already, and handed over. One connection only: not with [`MigrationOptions::channels`] or post-copy.
    Connected(OwnedFd),
}

impl From<&Address> for Channel {
    fn from(address: &Address) -> Self {
        Self::Address(address.clone())
    }
}

impl From<OwnedFd> for Channel {
    fn from(connected: OwnedFd) -> Self {
        Self::Connected(connected)
    }
}

/// When the last is sent after the guest was stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Switchover {
    AtOnce,
    /// When what belongs to the guest beside its memory is over there, too.
    WhenTold,
}

/// A migration that is going on, at one of its ends. Dropping it leaves it going; [`Vm::migration`] finds it again.
#[derive(Debug)]
pub struct Migration {
    follow: Follow,
    /// The guest has moved before its memory.
    moved_early: bool,
    /// QEMU tells by events how it fares.
    is_announced: bool,
    /// It is noted of the destination that the guest is to run there ([`Vm::to_run`]).
    is_noted: bool,
    /// Of a source: whether the guest ran when the migration stopped it. Somebody may stop it, and it may end, while its memory is sent.
    ran: Option<Arc<AtomicBool>>,
    /// Of one that its caller follows by himself: what keeps others from moving the machine until it is over.
    alone: Option<Alone>,
}

/// A migration that was not sent, or not as it was asked for.
struct NotSent {
    /// It, if QEMU has begun with it.
    begun: Option<Migration>,
    error: OperationError,
}

impl Vm {
    /// Lets the destination listen. Its machine stands until it is told to run.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn await_migration(
        &self,
        at: impl Into<Channel>,
        options: &MigrationOptions,
    ) -> Result<Migration, OperationError> {
        let migration = Migration::of(self);
        let credentials = options.tls.as_ref().map(|tls| (tls.destination.as_str(), ""));
        self.prepare_migration(options, credentials, Switchover::AtOnce).await?;
        let action = "listen for a machine";
        let command = |uri| MigrateIncoming { uri: Some(uri), ..MigrateIncoming::default() };
        match at.into() {
            Channel::Address(address) => drop(self.tell(action, &command(uri(&address)?)).await?),
            Channel::Connected(descriptor) => {
                let client = self.qmp();
                let named = client.pass_named(STREAM, descriptor).await.map_err(undone(action))?;
                client.call(&command(format!("fd:{STREAM}"))).await.map_err(undone(action))?;
                named.used();
            }
        }
        Ok(migration)
    }

    /// Starts to send the machine to a destination that listens. It can be followed and given up. Nobody else of this process moves or saves it
    /// until that is over. A guest that sleeps is woken for it by a QEMU before 9.0.
    ///
    /// # Errors
    /// [`OperationError`]. One that fails at once is told by [`Migration::done`].
    pub async fn migrate(
        &self,
        to: impl Into<Channel>,
        options: &MigrationOptions,
    ) -> Result<Migration, OperationError> {
        let alone = Alone::of(self.stays_here()?);
        let held = alone.clone();
        let decided = self.attends_migration(move || held.is_over());
        let sent = self.send(to.into(), options, Switchover::AtOnce).await;
        drop(decided);
        match sent {
            Ok(migration) => Ok(Migration { alone: Some(alone), ..migration }),
            Err(not_sent) => {
                alone.is_over();
                Err(not_sent.error)
            }
        }
    }

    /// The same for who has the machine to himself.
    async fn send(
        &self,
        to: Channel,
        options: &MigrationOptions,
        switchover: Switchover,
    ) -> Result<Migration, NotSent> {
        let mut migration = Migration::leaving(self);
        let begun = self.begin(&mut migration, to, options, switchover).await;
        begun.map_err(|error| NotSent { begun: None, error })?;
        match self.begins_to_move(&mut migration, options.postcopy).await {
            Ok(()) => Ok(migration),
            Err(error) => Err(NotSent { begun: Some(migration), error }),
        }
    }

    /// Has QEMU begin to send.
    ///
    /// # Errors
    /// [`OperationError`]; it has not begun then.
    async fn begin(
        &self,
        migration: &mut Migration,
        to: Channel,
        options: &MigrationOptions,
        switchover: Switchover,
    ) -> Result<(), OperationError> {
        migration.notes_state().await?;
        let credentials = options.tls.as_ref().map(|tls| (tls.source.as_str(), tls.hostname.as_str()));
        self.prepare_migration(options, credentials, switchover).await?;
        let action = "send the machine";
        let command = |uri| Migrate { uri: Some(uri), ..Migrate::default() };
        // Until QEMU knows of it, after which no image is made.
        let none_is_made = self.while_none_is_made("migrate").await.map_err(failed(action))?;
        self.wakes_for_its_state().await.map_err(failed(AWAKE))?;
        let told = match to {
            Channel::Address(address) => self.tell(action, &command(uri(&address)?)).await,
            Channel::Connected(descriptor) => {
                let client = self.qmp();
                let named = client.pass_named(STREAM, descriptor).await.map_err(undone(action))?;
                let told = client.call(&command(format!("fd:{STREAM}"))).await.map_err(undone(action));
                if told.is_ok() {
                    named.used();
                }
                told
            }
        };
        drop(none_is_made);
        match told {
            // Only the answer was lost.
            Err(OperationError::Undecided { .. }) if migration.has_begun().await? => Ok(()),
            told => told.map(drop),
        }
    }

    /// Waits until there is something to follow, and begins post-copy where that is wanted.
    async fn begins_to_move(&self, migration: &mut Migration, postcopy: bool) -> Result<(), OperationError> {
        // A machine with little to send is further before anybody has asked.
        let info = migration
            .until(&[MigrationStatus::Active, MigrationStatus::PreSwitchover, MigrationStatus::Device])
            .await?;
        if postcopy && info.status == Some(MigrationStatus::Active) {
            let begun = self.tell("begin post-copy", &MigrateStartPostcopy {}).await;
            if let Err(error) = begun
                && migration.info().await?.status == Some(MigrationStatus::Active)
            {
                let given_up = migration.give_up().await;
                if migration.moved_early {
                    // It began all the same, and is followed to its end.
                    return Ok(());
                }
                given_up?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// A migration that is going on at this end, whoever began it. It is asked for as long as any command of a migration may take
    /// ([`qmp::deadline::Class::Migration`], two minutes unless the client has another limit), and ten seconds more where the monitor has to be
    /// opened again: a destination with post-copy answers nothing while it waits for memory, however long that is.
    ///
    /// A guest that sleeps at its source, where QEMU is older than 9.0, is woken by who follows what is answered, as of [`Vm::migrate_to`].
    ///
    /// # Errors
    /// [`OperationError`]: [`OperationError::Qmp`] with a deadline or a closed connection of one that does not answer; what becomes of its
    /// migration is told by its source.
    pub async fn migration(&self) -> Result<Option<Migration>, OperationError> {
        let action = "ask for the migration";
        // What it does from here on is heard, on whichever connection.
        let mut migration = Migration::leaving(self);
        let mut info = self.ask(action, &QueryMigrate {}).await?;
        migration.notes(&info);
        let mut is_arriving = false;
        if goes_on(&info) && !migration.moved_early {
            is_arriving = self.ask(action, &QueryStatus {}).await?.status == RunState::Inmigrate;
            if !is_arriving {
                // A destination that is not any more has its guest before its memory, or all of it.
                info = self.ask(action, &QueryMigrate {}).await?;
                migration.notes(&info);
            }
        }
        if is_arriving || migration.moved_early && !is_told_by_its_source(&info) {
            migration.ran = None;
        } else {
            // What its guest did before was not heard.
            migration.follow.misses();
        }
        Ok(goes_on(&info).then_some(migration))
    }

    /// Breaks the connections of migrations and of network disks, out of band: for a QEMU that hangs because their other ends do not answer.
    /// What waited for them fails. Answers how many were broken. Those of consoles and monitors are left alone: one of them is ours.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn yank(&self) -> Result<usize, OperationError> {
        let action = "break hanging connections";
        let mut instances = self.ask(action, &QueryYank {}).await?;
        instances.retain(|instance| !matches!(instance, YankInstance::Chardev(_)));
        let count = instances.len();
        if count > 0 {
            self.tell(action, &Yank { instances }).await?;
        }
        Ok(count)
    }

    async fn prepare_migration(
        &self,
        options: &MigrationOptions,
        credentials: Option<(&str, &str)>,
        switchover: Switchover,
    ) -> Result<(), OperationError> {
        let action = "prepare a migration";
        let capabilities = [
            (Capability::Events, true),
            (Capability::Multifd, options.channels.is_some()),
            (Capability::PostcopyRam, options.postcopy),
            (Capability::PauseBeforeSwitchover, switchover == Switchover::WhenTold),
        ];
        let capabilities =
            capabilities.map(|(capability, state)| MigrationCapabilityStatus { capability, state }).into();
        self.tell(action, &MigrateSetCapabilities { capabilities }).await?;
        let (credentials, hostname) = credentials.unwrap_or_default();
        let text = |text: &str| Some(StringOrNull::String(text.to_owned()));
        let signed = |figure: u64| Some(i64::try_from(figure).unwrap_or(i64::MAX));
        // All of them each time: QEMU keeps those of the migration before.
        let parameters = MigrateSetParameters {
            multifd_channels: options.channels.map(i64::from),
            max_bandwidth: signed(options.bandwidth.unwrap_or(BANDWIDTH)),
            max_postcopy_bandwidth: signed(options.postcopy_bandwidth.unwrap_or(0)),
            downtime_limit: signed(
                options.downtime.unwrap_or(DOWNTIME).as_millis().try_into().unwrap_or(u64::MAX),
            ),
            tls_creds: text(credentials),
            tls_hostname: text(hostname),
            ..MigrateSetParameters::default()
        };
        self.tell(action, &parameters).await.map(drop)
    }
}

impl Migration {
    pub(super) fn of(vm: &Vm) -> Self {
        Self {
            follow: Follow::new(vm, EVENTS),
            moved_early: false,
            is_announced: false,
            is_noted: false,
            ran: None,
            alone: None,
        }
    }

    /// The same at its source, where the guest may stop for other reasons.
    fn leaving(vm: &Vm) -> Self {
        Self { follow: Follow::new(vm, EVENTS_OF_SOURCE), ran: Some(Arc::default()), ..Self::of(vm) }
    }

    /// The same of a guest that has moved before its memory, and is still to run there or not.
    fn left_early(vm: &Vm, is_to_run: bool) -> Self {
        Self { ran: Some(Arc::new(AtomicBool::new(is_to_run))), ..Self::leaving(vm) }
    }

    /// Whether the guest ran when it was stopped to be moved, as of now.
    fn ran(&self) -> bool {
        self.ran.as_ref().is_some_and(|ran| ran.load(Relaxed))
    }

    /// Notes whether the guest is meant to run. That it stands to be moved does not count.
    async fn notes_state(&mut self) -> Result<(), OperationError> {
        let Some(ran) = self.ran.clone() else { return Ok(()) };
        match self.follow.read(WHAT, &QueryStatus {}).await?.status {
            RunState::FinishMigrate | RunState::Postmigrate => {}
            state => ran.store(is_let_run(&state), Relaxed),
        }
        Ok(())
    }

    /// The same of a guest that is being sent. One that has fallen asleep is woken, and sent in any case.
    async fn notes_change(&mut self) -> Result<(), OperationError> {
        if self.ran.is_some() {
            let _ = self.follow.vm().wakes_for_its_state().await;
        }
        self.notes_state().await
    }

    /// Bytes of memory sent and still to be sent, as of now; a guest that writes makes the rest grow again.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn progress(&self) -> Result<(u64, u64), OperationError> {
        let info = self.follow.vm().ask("ask for the migration", &QueryMigrate {}).await?;
        Ok(info.ram.map_or((0, 0), |ram| (figure(ram.transferred), figure(ram.remaining))))
    }

    /// Waits for its end at this side.
    ///
    /// # Errors
    /// [`OperationError::Job`] with QEMU's words when it failed or was given up; the guest goes on where it was.
    /// [`OperationError::Broken`] for one that waits to be recovered.
    pub async fn done(mut self) -> Result<Migrated, OperationError> {
        self.left().await
    }

    /// Gives it up and waits until the machine is back to itself. One that is just over stays over. It is given up by breaking its connection
    /// where QEMU's own way may cost the guest: QEMU tells it as failed then.
    ///
    /// # Errors
    /// [`OperationError`]; refused for one with post-copy whose guest has moved, which goes on. [`OperationError::Arriving`] at its destination.
    pub async fn cancel(mut self) -> Result<(), OperationError> {
        self.give_up().await
    }

    /// Breaks its connection on purpose, at either end, after the guest has moved before its memory: both ends stop to exchange memory until
    /// [`Vm::recover_migration`]. For a connection that hangs.
    ///
    /// # Errors
    /// [`OperationError`]; refused before the guest has moved. [`OperationError::Undecided`] where nothing is heard of it within ten seconds, as
    /// of a destination that waits for memory and whose monitor has broken: its connection is broken then, and [`Vm::migration`] tells whether
    /// there was still something to stop as soon as QEMU answers.
    pub async fn pause(&mut self) -> Result<(), OperationError> {
        let action = "pause a migration";
        // A break before this one was announced, too.
        self.follow.forget();
        self.follow.vm().tell(action, &MigratePause {}).await?;
        let paused = tokio::time::timeout(BREAKS, self.paused()).await;
        paused.unwrap_or_else(|_| {
            let source = CallError::Deadline { command: "migrate-pause".to_owned(), after: BREAKS };
            Err(OperationError::Undecided { action: action.to_owned(), source })
        })
    }

    /// Waits until it has stopped, or is over.
    async fn paused(&mut self) -> Result<(), OperationError> {
        // It is announced. A destination that stands still for its memory could not be asked.
        while let Heard::Event(event) = self.follow.heard(WHAT).await? {
            match status_of(&event) {
                Some(MigrationStatus::PostcopyPaused) => return Ok(()),
                Some(status) if is_over(&status) => break,
                _ => {}
            }
        }
        match self.over().await {
            Err(OperationError::Broken) => Ok(()),
            _ => self.left().await.map(drop),
        }
    }

    /// Waits until the source has let go of its guest for good and is in the state after that.
    async fn left(&mut self) -> Result<Migrated, OperationError> {
        let info = self.over().await;
        if !matches!(info, Err(OperationError::Broken)) {
            // It says that it is over a moment before it is in its last state.
            self.follow.leaves(WHAT, &[RunState::FinishMigrate]).await?;
            self.settled().await?;
        }
        if let Some(alone) = &self.alone {
            alone.is_over();
        }
        let info = info?;
        let milliseconds = |value: Option<i64>| Duration::from_millis(value.map_or(0, figure));
        Ok(Migrated {
            total: milliseconds(info.total_time),
            downtime: milliseconds(info.downtime),
            bytes: info.ram.map_or(0, |ram| figure(ram.transferred)),
        })
    }

    /// Waits for its end.
    async fn over(&mut self) -> Result<MigrationInfo, OperationError> {
        let info = self.until(&[]).await?;
        match &info.status {
            Some(MigrationStatus::Completed) => Ok(info),
            Some(MigrationStatus::PostcopyPaused) => Err(OperationError::Broken),
            status => {
                let status = status.as_ref().map_or("none", MigrationStatus::as_str);
                let message = info.error_desc.unwrap_or_else(|| status.to_owned());
                Err(OperationError::Job { action: WHAT.to_owned(), message })
            }
        }
    }

    /// Supervision knows the last state, too.
    async fn settled(&self) -> Result<(), OperationError> {
        self.follow.vm().read_again().await.map(drop).map_err(failed("ask for the state"))
    }

    /// Waits until it is in one of these states, or over, or broken.
    async fn until(&mut self, wanted: &[MigrationStatus]) -> Result<MigrationInfo, OperationError> {
        loop {
            let info = self.info().await?;
            if info.status.as_ref().is_some_and(|status| wanted.contains(status) || is_over(status)) {
                return Ok(info);
            }
            loop {
                let Heard::Event(event) = self.heard().await? else {
                    self.notes_change().await?;
                    break;
                };
                let Some(status) = status_of(&event) else {
                    self.notes_change().await?;
                    continue;
                };
                self.is_announced = true;
                self.moved_early |= has_moved(&status);
                if status == MigrationStatus::PostcopyPaused {
                    // A destination may stand still now: it answers nothing.
                    return Ok(MigrationInfo { status: Some(status), ..MigrationInfo::default() });
                }
                if wanted.contains(&status) || is_over(&status) {
                    break;
                }
            }
        }
    }

    /// Waits for what is announced of it, and not for ever: whoever has begun it may not have wanted it announced.
    async fn heard(&mut self) -> Result<Heard, OperationError> {
        let heard = self.follow.heard(WHAT);
        // A destination that stands still for its memory could not be asked.
        if self.is_announced || self.moved_early && self.ran.is_none() {
            return heard.await;
        }
        tokio::time::timeout(ASKED_AGAIN, heard).await.unwrap_or(Ok(Heard::Gap))
    }

    pub(super) async fn is_going(&mut self) -> Result<bool, OperationError> {
        Ok(goes_on(&self.info().await?))
    }

    /// Whether it goes on, or has stopped the guest already.
    async fn has_begun(&mut self) -> Result<bool, OperationError> {
        let stands = [RunState::FinishMigrate, RunState::Postmigrate];
        Ok(self.is_going().await? || stands.contains(&self.follow.read(WHAT, &QueryStatus {}).await?.status))
    }

    async fn info(&mut self) -> Result<MigrationInfo, OperationError> {
        let info = self.follow.read(WHAT, &QueryMigrate {}).await?;
        self.notes(&info);
        Ok(info)
    }

    fn notes(&mut self, info: &MigrationInfo) {
        self.moved_early |= info.status.as_ref().is_some_and(has_moved);
    }
}

fn status_of(event: &Event) -> Option<MigrationStatus> {
    event.data.get("status").and_then(Value::as_str).map(MigrationStatus::from)
}

/// Whether there is one that is not over.
fn goes_on(info: &MigrationInfo) -> bool {
    info.status.as_ref().is_some_and(|status| *status != MigrationStatus::None && !is_over(status))
}

/// Of one whose guest has moved before its memory: only a source tells how much it has sent (`fill_source_migration_info` in QEMU's
/// migration/migration.c).
fn is_told_by_its_source(info: &MigrationInfo) -> bool {
    info.ram.is_some()
}

/// Whether nothing more happens by itself.
fn is_over(status: &MigrationStatus) -> bool {
    use MigrationStatus::{Cancelled, Completed, Failed, PostcopyPaused};
    matches!(status, Completed | Failed | Cancelled | PostcopyPaused)
}

/// Whether the guest is at the destination before its memory.
fn has_moved(status: &MigrationStatus) -> bool {
    use MigrationStatus::{PostcopyActive, PostcopyPaused, PostcopyRecover, PostcopyRecoverSetup};
    matches!(status, PostcopyActive | PostcopyPaused | PostcopyRecover | PostcopyRecoverSetup)
}

/// Whether a guest in this state is meant to run. One that sleeps is: it is woken to be sent by QEMU 7.2 ([`Vm::wakes_for_its_state`]), and
/// stands at its destination with 10.0, where `cont` has it sleep again.
fn is_let_run(state: &RunState) -> bool {
    matches!(state, RunState::Running | RunState::Suspended)
}

/// The form that every version of QEMU takes.
fn uri(address: &Address) -> Result<String, OperationError> {
    address.check("migration")?;
    match address {
        Address::Unix(path) => Ok(format!("unix:{}", utf8("migration", path)?)),
        Address::Tcp(host, port) if host.contains(':') => Ok(format!("tcp:[{host}]:{port}")),
        Address::Tcp(host, port) => Ok(format!("tcp:{host}:{port}")),
    }
}

const EVENTS: &[&str] = &["MIGRATION"];

/// Also those after which the guest stands, runs or sleeps.
const EVENTS_OF_SOURCE: &[&str] = &["MIGRATION", "STOP", "RESUME", "SUSPEND"];

const WHAT: &str = "the migration";

/// How long a migration may be silent before it is asked for.
const ASKED_AGAIN: Duration = Duration::from_secs(2);

/// Name of a handed-over connection within a monitor; QEMU uses it up.
const STREAM: &str = "migration-stream";

/// QEMU's defaults (`query-migrate-parameters` of a fresh process; 7.2 and 10.0 agree).
const BANDWIDTH: u64 = 128 << 20;
const DOWNTIME: Duration = Duration::from_millis(300);

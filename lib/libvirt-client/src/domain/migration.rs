//! A migration in steps, which we take between two daemons.
//!
//! ```text
//!             source                     destination
//!   begin     cookie, definition ──────>
//!   prepare                              listens; cookie, address
//!   perform   sends the guest  ════════> (the call ends with the transfer)
//!   finish                     <──────── runs, or is thrown away
//!   confirm   lets go, or goes on
//! ```
//!
//! What the source is told at the end follows from what is known of the destination, and from nothing else:
//!
//! | the destination | the source is told | and then |
//! |---|---|---|
//! | says that it runs the guest, or is found to run it | that it may let go | the guest has moved |
//! | says that it does not, or is found not to have it | to go on with the guest | the migration has failed |
//! | does not answer, nor any question after that | nothing: the guest stands still there | who knows more decides ([`Aftermath::Unknown`]) |
//!
//! A migration in which the guest goes ahead of its memory (`POSTCOPY`) may break with half of it on each side. The guest goes on nowhere
//! then: the source is told that the destination has failed, keeps its half, and it is taken up again: [`Aftermath::Split`].
//!
//! Where nothing is known, libvirt's own library tells the source to go on, and leaves it to locks on the disks that the guest does not run twice.

use super::{Domain, DomainState, MigrateParameters};
use crate::connect::Connect;
use crate::connection::{Connection, Driver, Reply};
use crate::error::{Error, ErrorKind, Execution};
use crate::params::Params;
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{self, DomainPausedReason, ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::DomainMigrateFlags as F;
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::procedure::Release;
use libvirt_protocol::remote::{self, *};
use libvirt_protocol::xdr::{Bytes, List};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Between two questions whether something has come about.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a destination is asked for a guest that is there and does not run yet.
const QUESTIONS: u32 = 40;
/// How often in a row a question may be lost: that on a connection which is about to be known as lost, and those until there is another.
const LOST: u32 = 4;
/// How long the destination may take to throw away what nobody needs; nothing depends on its answer.
const FAREWELL: Duration = Duration::from_secs(30);
/// The first daemon that takes up again what has broken (`VIR_MIGRATE_POSTCOPY_RESUME`).
const TAKES_UP_AGAIN: Release = Release(8, 5, 0);

/// A migration between two daemons that we are connected to. Await it for its end, which brings the domain at its destination. It goes on
/// when this is dropped, in a task of its own, for as long as the executor runs.
#[derive(Debug)]
#[must_use = "nobody hears of its end when this is dropped"]
pub struct MigrationJob {
    domain: Domain,
    /// `None` once it was taken.
    outcome: Option<oneshot::Receiver<Result<Domain, Error>>>,
    aborts: mpsc::UnboundedSender<Abort>,
    /// Everything is sent, and what is under way cannot be aborted any more.
    late: Arc<AtomicBool>,
}

/// Somebody wants it to be given up, and waits for what comes of it.
type Abort = oneshot::Sender<Result<(), Error>>;

/// What a migration has left behind that did not come to an end in order ([`ErrorKind::Migration`]).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Aftermath {
    /// The guest runs at the destination: this is it. The source could not be told; what is left there stands still and must not go on:
    /// destroy it.
    Moved(Box<Domain>),
    /// The guest is not at the destination. The source could not be told; if the guest stands still there, resume it.
    Stays,
    /// The guest has gone ahead and its memory has not followed: it waits at the destination for what is still at the source. Neither half
    /// is whole; migrate again with the same flags and `POSTCOPY_RESUME`, once both sides tell that post-copy has failed (the lifecycle
    /// events' detail `PostcopyFailed`): a destination's daemon that is asked before it has heard of that from its QEMU says that it has failed
    /// again, though the memory follows, and both daemons then see to the end by themselves.
    Split,
    /// Nobody knows whether the guest runs at the destination. The source was told nothing, so that the guest does not run twice: it
    /// stands still there, unless the transfer has failed by itself. Look at the destination: if the guest runs there, destroy what is
    /// left at the source; if it is not there, resume it at the source.
    Unknown,
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moved(_) => {
                "the guest runs at the destination, and the source does not know: destroy what is left there"
            }
            Self::Stays => {
                "the guest is not at the destination, and the source does not know: resume the guest there if it stands still"
            }
            Self::Split => {
                "the guest is at the destination and a part of its memory at the source: migrate again with POSTCOPY_RESUME"
            }
            Self::Unknown => {
                "whether the guest runs at the destination is not known: if it does, destroy what is left at the source, else \
                 resume it there"
            }
        })
    }
}

impl MigrationJob {
    /// How far it is; `None` while nothing is transferred: not yet, or not any more (`virDomainGetJobStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn progress(&self) -> Result<Option<super::JobProgress>, Error> {
        self.domain.job().await.map(|job| job.map(|(_, progress)| progress))
    }

    /// Aborts it; awaiting it then tells that. One that has ended is no error (`virDomainAbortJob`).
    ///
    /// # Errors
    /// As every call; when it is too late: everything has been transferred, or the guest runs at the destination already.
    pub async fn abort(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        if self.aborts.send(answer).is_ok()
            && let Ok(said) = answered.await
        {
            return said;
        }
        // Nobody takes it any more.
        if self.late.load(Ordering::Acquire) { Err(too_late()) } else { Ok(()) }
    }
}

impl Future for MigrationJob {
    type Output = Result<Domain, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(outcome) = &mut self.outcome else {
            return Poll::Ready(Err(Error::misuse("the end of this migration has been told already")));
        };
        // Its task has ended without a word, as its executor has.
        let lost = |_| Err(Error::new(ErrorKind::Closed).left(Aftermath::Unknown));
        let ended = std::task::ready!(Pin::new(outcome).poll(context)).unwrap_or_else(lost);
        self.outcome = None;
        Poll::Ready(ended)
    }
}

/// The task that takes the steps.
pub(super) struct Migration {
    guest: Domain,
    to: Connect,
    /// Connections of its own: daemons tie a migration to those that began it, and what is lost then is known exactly.
    source: Connection,
    destination: Connection,
    parameters: MigrateParameters,
    flags: F,
    aborts: mpsc::UnboundedReceiver<Abort>,
    late: Arc<AtomicBool>,
}

/// What is known of the guest at the destination.
enum There {
    Runs(Domain),
    Not,
    Unknown,
}

/// What a destination has answered to the step that ends it.
enum Finished {
    Runs(Domain, Vec<u8>),
    Not(Error),
    Unknown(Error),
}

/// What the source is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    LetGo,
    GoOn,
}

fn too_late() -> Error {
    Error::job("the guest has been sent: it is too late to abort its migration".to_owned())
}

fn list<'a>(parameters: &MigrateParameters) -> List<'a, TypedParam<'a>, 64> {
    Params::from(parameters).into_list()
}

/// Whether a daemon has decided, rather than a part of it that only passes calls on and has lost the rest.
fn is_decided(error: &Error) -> bool {
    error.refusal().is_some_and(|refusal| !matches!(refusal.domain, ErrorDomain::Rpc | ErrorDomain::Remote))
}

/// What a state at the destination means; nothing when it will be another soon. `paused`: it is to stand still there, too.
fn there(state: DomainState, paused: bool) -> Option<bool> {
    use enums::DomainState as S;
    let incoming = [DomainPausedReason::Migration, DomainPausedReason::StartingUp]
        .map(i32::from)
        .contains(&state.reason);
    match state.state {
        S::Running | S::Blocked => Some(true),
        S::Shutoff | S::Crashed => Some(false),
        S::Paused if paused && !incoming => Some(true),
        _ => None,
    }
}

impl Migration {
    /// Gets the connections that it needs, and starts.
    pub(super) async fn start(
        guest: &Domain,
        to: &Connect,
        parameters: &MigrateParameters,
        flags: F,
    ) -> Result<MigrationJob, Error> {
        let (source, destination) = tokio::try_join!(guest.connect().own(), to.own())?;
        let (aborts, wished) = mpsc::unbounded_channel();
        let (answer, outcome) = oneshot::channel();
        let migration = Self {
            guest: guest.clone(),
            to: to.clone(),
            source,
            destination,
            parameters: parameters.clone(),
            flags,
            aborts: wished,
            late: Arc::default(),
        };
        let late = migration.late.clone();
        let ended = late.clone();
        guest.connect().lanes().run(Driver::work(async move {
            let outcome = migration.run().await;
            ended.store(false, Ordering::Release);
            // Who asked for it may be gone.
            let _ = answer.send(outcome);
        }));
        Ok(MigrationJob { domain: guest.clone(), outcome: Some(outcome), aborts, late })
    }

    /// Flags of steps at the destination: these concern the sender alone.
    fn flags_there(&self) -> F {
        self.flags - (F::ABORT_ON_ERROR | F::AUTO_CONVERGE | F::CHANGE_PROTECTION)
    }

    async fn run(mut self) -> Result<Domain, Error> {
        let begun = match self.begin().await {
            Ok(cookie) => cookie,
            Err(error) => {
                // The guest is as it was; only a job may wait for its next step.
                if error.execution() == Execution::Possible {
                    self.tell_vainly().await;
                }
                return Err(error);
            }
        };
        let prepared = match self.prepare(begun).await {
            Ok(cookie) => cookie,
            Err(error) => {
                if error.execution() == Execution::Possible {
                    self.throw_away().await;
                }
                self.tell_vainly().await;
                return Err(error);
            }
        };
        if let Ok(asked) = self.aborts.try_recv() {
            let _ = asked.send(Ok(()));
            self.refuse_aborts(Ok(()));
            self.throw_away().await;
            self.tell_vainly().await;
            return Err(Error::job("the migration was aborted before its transfer".to_owned()));
        }
        if self.flags.contains(F::OFFLINE) {
            self.refuse_aborts(Err(too_late()));
            // Nothing is sent, and the destination takes its own cookie for one of a guest that comes from itself.
            return self.end(&[]).await;
        }
        match self.perform(&prepared).await {
            Ok(cookie) => self.end(&cookie).await,
            Err(error) => self.give_up(error).await,
        }
    }

    async fn begin(&mut self) -> Result<Vec<u8>, Error> {
        let args = DomainMigrateBegin3ParamsArgs {
            dom: self.guest.wire(),
            params: list(&self.parameters),
            flags: self.flags,
        };
        let begun = self.source.call::<remote::DomainMigrateBegin3Params>(&args).await?;
        let begun = begun.result()?;
        self.parameters.destination_xml = Some(begun.xml.into());
        self.parameters.destination_name.get_or_insert_with(|| self.guest.name());
        let args = DomainGetStateArgs { dom: self.guest.wire(), flags: NoFlags::empty() };
        // One that stands still is to stand still there; but not one that only waits for its other half to be taken up again.
        if !self.flags.contains(F::POSTCOPY_RESUME)
            && let Ok(state) = self.source.call::<remote::DomainGetState>(&args).await
            && state.result().is_ok_and(|state| state.state == enums::DomainState::Paused)
        {
            self.flags |= F::PAUSED;
        }
        Ok(begun.cookie_out.0.into_owned())
    }

    async fn prepare(&mut self, cookie: Vec<u8>) -> Result<Vec<u8>, Error> {
        let args = DomainMigratePrepare3ParamsArgs {
            params: list(&self.parameters),
            cookie_in: Bytes(cookie.into()),
            flags: self.flags_there(),
        };
        let prepared = self.destination.call::<remote::DomainMigratePrepare3Params>(&args).await?;
        let prepared = prepared.result()?;
        if let Some(uri) = prepared.uri_out {
            self.parameters.uri = Some(uri.into());
        }
        Ok(prepared.cookie_out.0.into_owned())
    }

    /// The transfer. It takes the time that it takes: no deadline of calls holds.
    async fn perform(&mut self, cookie: &[u8]) -> Result<Vec<u8>, Error> {
        let args = DomainMigratePerform3ParamsArgs {
            dom: self.guest.wire(),
            dconnuri: None,
            params: list(&self.parameters),
            cookie_in: Bytes(cookie.into()),
            flags: self.flags,
        };
        let mut call = self.source.start::<remote::DomainMigratePerform3Params>(&args, Vec::new());
        let mut asked: Vec<Abort> = Vec::new();
        let performed = loop {
            tokio::select! {
                biased;
                performed = &mut call => break performed,
                // An attempt that is broken off for this is made again.
                Some(abort) = self.aborts.recv() => asked.push(abort),
                answer = abort(&self.guest), if !asked.is_empty() => {
                    asked.drain(..).for_each(|asked| drop(asked.send(answer.clone())));
                }
            }
        };
        let performed = performed.and_then(|reply| Ok(reply.result()?.cookie_out.0.into_owned()));
        self.refuse_aborts(if performed.is_ok() { Err(too_late()) } else { Ok(()) });
        performed
    }

    /// From now on nothing is aborted: it is too late, or it is given up already.
    fn refuse_aborts(&mut self, with: Result<(), Error>) {
        self.late.store(with.is_err(), Ordering::Release);
        self.aborts.close();
        while let Ok(abort) = self.aborts.try_recv() {
            let _ = abort.send(with.clone());
        }
    }

    /// The guest has been sent, or need not be.
    async fn end(&self, cookie: &[u8]) -> Result<Domain, Error> {
        match self.finish(Told::LetGo, cookie).await {
            Finished::Runs(moved, cookie) => self.let_go(moved, &cookie).await,
            Finished::Not(error) => Err(match self.is_split().await {
                Some(true) => {
                    self.tell_of_break().await;
                    error.left(Aftermath::Split)
                }
                Some(false) => self.go_on(error).await,
                None => error.left(Aftermath::Unknown),
            }),
            // A guest that runs nowhere cannot run twice.
            Finished::Unknown(error) if self.flags.contains(F::OFFLINE) => {
                self.tell_vainly().await;
                Err(error)
            }
            Finished::Unknown(error) => match self.ask().await {
                There::Runs(moved) => self.let_go(moved, &[]).await,
                There::Not => Err(self.go_on(error).await),
                There::Unknown => Err(error.left(Aftermath::Unknown)),
            },
        }
    }

    /// The transfer has failed, or nobody knows how it went.
    async fn give_up(&self, error: Error) -> Result<Domain, Error> {
        if is_decided(&error) {
            // The source has given up by itself: there is nothing to tell it.
            let is_split = self.is_split().await;
            self.throw_away().await;
            return Err(match is_split {
                Some(true) => error.left(Aftermath::Split),
                Some(false) => error,
                None => error.left(Aftermath::Unknown),
            });
        }
        let finished = self.finish(Told::GoOn, &[]).await;
        // Behind a transfer in which the guest goes ahead, a destination that has failed may have it all the same.
        let there = match finished {
            Finished::Not(_) if !self.flags.contains(F::POSTCOPY) => There::Not,
            _ => self.ask().await,
        };
        Err(match there {
            There::Not => self.go_on(error).await,
            There::Runs(_) | There::Unknown => error.left(Aftermath::Unknown),
        })
    }

    /// Whether the guest has gone ahead of its memory and stands still here because of that. Nothing where the source does not say: it is told
    /// nothing then, as half a guest must not go on.
    async fn is_split(&self) -> Option<bool> {
        if !self.flags.contains(F::POSTCOPY) {
            return Some(false);
        }
        let half = [DomainPausedReason::Postcopy, DomainPausedReason::PostcopyFailed].map(i32::from);
        match self.guest.state().await {
            Ok(state) => Some(state.state == enums::DomainState::Paused && half.contains(&state.reason)),
            Err(error) if error.is_not_found() => Some(false),
            Err(_) => None,
        }
    }

    /// Has what may be at the destination thrown away. A destination keeps a guest that has gone ahead.
    async fn throw_away(&self) {
        let finished = tokio::time::timeout(FAREWELL, self.finish(Told::GoOn, &[])).await;
        if finished.is_err() {
            tracing::debug!("the destination takes too long to throw away what it was sent");
        }
    }

    /// Tells the destination that the guest is to run there, or to be thrown away; without a deadline, for much depends on the answer.
    async fn finish(&self, told: Told, cookie: &[u8]) -> Finished {
        let args = DomainMigrateFinish3ParamsArgs {
            params: list(&self.parameters),
            cookie_in: Bytes(cookie.into()),
            flags: self.flags_there(),
            cancelled: i32::from(told == Told::GoOn),
        };
        let mut finished =
            self.destination.start::<remote::DomainMigrateFinish3Params>(&args, Vec::new()).await;
        if finished.as_ref().is_err_and(|error| !is_decided(error) && error.execution() == Execution::No) {
            // It was lost before, and has not heard of it.
            finished = self.to.call::<remote::DomainMigrateFinish3Params>(&args).await;
        }
        let read = |reply: Reply<remote::DomainMigrateFinish3Params>| {
            let finished = reply.result()?;
            Ok((Domain::new(&self.to, finished.dom), finished.cookie_out.0.into_owned()))
        };
        match finished.and_then(read) {
            Ok((moved, cookie)) => Finished::Runs(moved, cookie),
            Err(error) if is_decided(&error) => Finished::Not(error),
            Err(error) => Finished::Unknown(error),
        }
    }

    /// Looks whether the destination has the guest.
    async fn ask(&self) -> There {
        let mut lost = 0;
        for _ in 0..QUESTIONS {
            let found = async {
                let found = self.to.domain_by_uuid(self.guest.uuid()).await?;
                let state = found.state().await?;
                Ok::<_, Error>((found, state))
            };
            match found.await {
                Ok((found, state)) => match there(state, self.flags.contains(F::PAUSED)) {
                    Some(true) => return There::Runs(found),
                    Some(false) => return There::Not,
                    // Its daemon is still at it, or waits to be told.
                    None => lost = 0,
                },
                Err(error) if error.is_not_found() => return There::Not,
                Err(error) if is_decided(&error) || lost == LOST => return There::Unknown,
                Err(_) => lost += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
        There::Unknown
    }

    /// The guest runs at the destination.
    async fn let_go(&self, moved: Domain, cookie: &[u8]) -> Result<Domain, Error> {
        let Err(error) = self.tell(Told::LetGo, cookie).await else { return Ok(moved) };
        // It may have heard, and only its answer was lost.
        match self.guest.state().await {
            Ok(state) if state.state == enums::DomainState::Shutoff => Ok(moved),
            Err(error) if error.is_not_found() => Ok(moved),
            _ => Err(error.left(Aftermath::Moved(Box::new(moved)))),
        }
    }

    /// The guest is not at the destination, for this reason.
    async fn go_on(&self, error: Error) -> Error {
        if self.tell(Told::GoOn, &[]).await.is_ok() {
            return error;
        }
        // It may have gone on by itself.
        match self.guest.state().await {
            Ok(state) if state.state == enums::DomainState::Running => error,
            _ => error.left(Aftermath::Stays),
        }
    }

    /// Tells the source that the destination has failed, half of the guest being there. It goes on with the guest no more than before, but
    /// ends what it still holds for this migration: only then does it see to the end by itself if the memory does follow, and can it be taken
    /// up again from every state (`qemuMigrationSrcConfirm`, `qemu_migration.c`). A daemon that takes nothing up again is told nothing.
    async fn tell_of_break(&self) {
        if self.guest.connect().daemon_version() < TAKES_UP_AGAIN {
            return;
        }
        if let Err(error) = self.tell(Told::GoOn, &[]).await {
            tracing::debug!(
                error = format_args!("{error:#}"),
                "the source did not take the break of a migration"
            );
        }
    }

    /// Tells the source to go on with a guest that has never stood still: what it does not hear it finds out when our connection ends.
    async fn tell_vainly(&self) {
        if let Err(error) = self.tell(Told::GoOn, &[]).await {
            tracing::debug!(
                error = format_args!("{error:#}"),
                "the source did not take the end of a migration"
            );
        }
    }

    /// Tells the source, on another connection if this one is lost.
    async fn tell(&self, told: Told, cookie: &[u8]) -> Result<(), Error> {
        let args = DomainMigrateConfirm3ParamsArgs {
            dom: self.guest.wire(),
            params: list(&self.parameters),
            cookie_in: Bytes(cookie.into()),
            flags: self.flags,
            cancelled: i32::from(told == Told::GoOn),
        };
        match self.source.call::<remote::DomainMigrateConfirm3Params>(&args).await {
            Err(error) if !is_decided(&error) => {
                self.guest.connect().call::<remote::DomainMigrateConfirm3Params>(&args).await.map(drop)
            }
            told => told.map(drop),
        }
    }
}

/// Aborts the transfer, once the daemon is at it.
async fn abort(guest: &Domain) -> Result<(), Error> {
    loop {
        if let Some(answer) = try_abort(guest).await {
            return answer;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tries to abort the transfer; nothing when the daemon is not at it.
async fn try_abort(guest: &Domain) -> Option<Result<(), Error>> {
    let args = DomainAbortJobArgs { dom: guest.wire() };
    match guest.connect().call::<remote::DomainAbortJob>(&args).await {
        Err(error)
            if error.refusal().is_some_and(|refusal| refusal.code == ErrorNumber::OperationInvalid) =>
        {
            match guest.job().await {
                Ok(None) => None,
                _ => Some(Err(error)),
            }
        }
        said => Some(said.map(drop)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_waits_for_its_memory_is_neither_there_nor_not() {
        let state = |state, reason| DomainState { state, reason };
        let paused = |reason: DomainPausedReason| state(enums::DomainState::Paused, i32::from(reason));
        for (state, stands_still, meant) in [
            (state(enums::DomainState::Running, 4), false, Some(true)),
            (state(enums::DomainState::Shutoff, 0), false, Some(false)),
            (paused(DomainPausedReason::Migration), false, None),
            (paused(DomainPausedReason::Migration), true, None),
            (paused(DomainPausedReason::StartingUp), true, None),
            (paused(DomainPausedReason::User), true, Some(true)),
            (paused(DomainPausedReason::User), false, None),
            (paused(DomainPausedReason::PostcopyFailed), false, None),
        ] {
            assert_eq!(there(state, stands_still), meant, "{state:?} {stands_still}");
        }
    }
}

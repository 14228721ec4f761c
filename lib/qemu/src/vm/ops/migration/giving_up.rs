//! Giving a migration up, so that the guest goes on here and has its disks.
//!
//! `migrate_cancel` is not for every moment. While QEMU sends the last of a machine (run state `finish-migrate`) it waits for the state of
//! its CPUs and carries out meanwhile what its monitor says. Cancelled just then, QEMU 7.2 lets go of the disks afterwards, does not take
//! them back, and lets the guest run: the guest's next write ends the process (`bdrv_co_write_req_prepare: Assertion
//! '!(bs->open_flags & BDRV_O_INACTIVE)' failed`, block/io.c), or the next migration does (the same in `bdrv_inactivate_recurse`, block.c).
//! Where a connection breaks QEMU takes the disks back at every moment. Therefore:
//!
//! | status | what is done |
//! |---|---|
//! | `setup` | `migrate_cancel`: there may be no connection yet, and it is far from the last |
//! | `active`, `device` | its connection is broken (`yank`) |
//! | `pre-switchover` | `migrate_cancel`, unless somebody has let it go on: then it is broken |
//! | `postcopy-active` and later | nothing: QEMU 7.2 would carry out `migrate_cancel`, and the guest be at neither end |
//!
//! Nobody lets one go on while it is being given up, and the other way round: both reserve the same name ([`Vm::departure`]).

use super::{
    super::{
        OperationError,
        follow::Told,
        places::Reservation,
        rollback::{Made, Rollback},
    },
    Migration, WHAT, has_moved, is_over, is_told_by_its_source,
};
use crate::{Vm, vm::supervisor::Chore};
use qmp::{
    CallError, ErrorClass, Refusal,
    commands::{
        MigrateCancel, MigrateContinue, MigrationInfo, MigrationStatus, QueryStatus, RunState, Yank,
        YankInstance,
    },
};
use std::time::Duration;

/// What ends a migration without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// There is none, or it is over.
    Nothing,
    /// `migrate_cancel`.
    Cancel,
    /// `yank`.
    Break,
    /// Somebody has ended it already.
    Wait,
    /// The guest has moved before its memory.
    TooLate,
}

fn remedy(status: Option<&MigrationStatus>, is_held: bool) -> Remedy {
    match status {
        None | Some(MigrationStatus::None) => Remedy::Nothing,
        Some(status) if is_over(status) => Remedy::Nothing,
        Some(status) if has_moved(status) => Remedy::TooLate,
        Some(MigrationStatus::Cancelling) => Remedy::Wait,
        Some(MigrationStatus::Setup) => Remedy::Cancel,
        Some(MigrationStatus::PreSwitchover) if is_held => Remedy::Cancel,
        Some(_) => Remedy::Break,
    }
}

impl Vm {
    /// The right to let a machine go on that waits before it leaves, or to give its migration up; `None` while somebody else has it.
    fn departure(&self) -> Option<Reservation> {
        self.reserve_name(DEPARTS.to_owned())
    }
}

impl Migration {
    pub(super) async fn give_up(&mut self) -> Result<(), OperationError> {
        if self.follow.read(WHAT, &QueryStatus {}).await?.status == RunState::Inmigrate {
            return Err(OperationError::Arriving);
        }
        let held = self.follow.vm().departure();
        let given_up = async {
            loop {
                let info = self.info().await?;
                let status = info.status.clone();
                match remedy(status.as_ref(), held.is_some()) {
                    // Of one that QEMU was never told to begin nothing will ever be heard.
                    Remedy::Nothing => return Ok::<_, OperationError>(status),
                    Remedy::Cancel => {
                        self.follow.insist("give up a migration", &MigrateCancel {}).await?;
                        return Ok(status);
                    }
                    Remedy::Wait => return Ok(status),
                    Remedy::TooLate => return Err(too_late(&info)),
                    Remedy::Break => self.break_up(held.is_some()).await?,
                }
            }
        };
        if matches!(given_up.await?, None | Some(MigrationStatus::None)) {
            return Ok(());
        }
        match self.left().await {
            Ok(_) | Err(OperationError::Job { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Breaks its connection and waits until QEMU has noticed, or waits to be let go on, which it does not notice in.
    async fn break_up(&mut self, is_held: bool) -> Result<(), OperationError> {
        let yank = Yank { instances: vec![YankInstance::Migration] };
        match self.follow.told("break the connection of a migration", &yank).await {
            // It has none any more: it is just over.
            Ok(_) | Err(OperationError::Qmp { source: CallError::Refused { .. }, .. }) => {}
            Err(error) => return Err(error),
        }
        let waits: &[MigrationStatus] = if is_held { &[MigrationStatus::PreSwitchover] } else { &[] };
        if tokio::time::timeout(BREAKS, self.until(waits)).await.is_ok() {
            return Ok(());
        }
        // A descriptor of another kind than a socket cannot be broken. It is cancelled, but not at the moment that is harmful.
        self.follow.leaves(WHAT, &[RunState::FinishMigrate]).await?;
        self.follow.insist("give up a migration", &MigrateCancel {}).await
    }

    /// Lets the machine go that waits before it leaves. From here on it is not given up: it goes, or its migration fails.
    pub(super) async fn let_go(&mut self, begun: &mut Rollback) -> Result<(), OperationError> {
        let vm = self.follow.vm().clone();
        let given_up =
            || OperationError::Job { action: WHAT.to_owned(), message: "it was given up".to_owned() };
        let departs = vm.departure().ok_or_else(given_up)?;
        begun.gone(&Made::Migration);
        begun.also(Made::Departure);
        let mut over = Self::of(&vm);
        let until_over = Chore::Drive(Box::pin(async move {
            // Also for who finds the migration when this call has been dropped.
            let _ = over.until(&[]).await;
            drop(departs);
        }));
        let _ = vm.chores.send(until_over);
        self.told_to_go().await
    }

    /// Lets it go whoever has told it already, and follows it to its end.
    pub(in super::super) async fn goes(mut self) -> Result<(), OperationError> {
        match self.told_to_go().await {
            // It goes already.
            Ok(()) | Err(OperationError::Qmp { source: CallError::Refused { .. }, .. }) => {}
            Err(error) => return Err(error),
        }
        match self.left().await {
            Ok(_) | Err(OperationError::Job { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn told_to_go(&mut self) -> Result<(), OperationError> {
        let go_on = MigrateContinue { state: MigrationStatus::PreSwitchover };
        while self.follow.told("let the machine move", &go_on).await? == Told::Lost
            && self.info().await?.status == Some(MigrationStatus::PreSwitchover)
        {}
        Ok(())
    }
}

/// Reserved by who lets a machine leave, until its migration is over, or by who gives its migration up.
const DEPARTS: &str = "#departs";

/// A broken connection is noticed with the next page that is sent.
pub(super) const BREAKS: Duration = Duration::from_secs(10);

/// Why one is not given up whose guest has moved before its memory.
fn too_late(info: &MigrationInfo) -> OperationError {
    if !is_told_by_its_source(info) {
        return OperationError::Arriving;
    }
    let desc = "the guest has moved before its memory, which is to follow it".to_owned();
    let refusal = Refusal { class: ErrorClass::GenericError, desc };
    let source = CallError::Refused { command: "migrate_cancel".to_owned(), refusal };
    OperationError::Qmp { action: "give up a migration".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sending_the_last_is_never_cancelled() {
        use MigrationStatus::{
            Active, Cancelled, Cancelling, Completed, Device, Failed, PostcopyActive, PostcopyPaused,
            PreSwitchover, Setup,
        };
        for (status, is_held, expected) in [
            (None, true, Remedy::Nothing),
            (Some(Setup), false, Remedy::Cancel),
            (Some(Active), true, Remedy::Break),
            (Some(Device), true, Remedy::Break),
            (Some(PreSwitchover), true, Remedy::Cancel),
            // It was let go: it may be further by now.
            (Some(PreSwitchover), false, Remedy::Break),
            (Some(PostcopyActive), true, Remedy::TooLate),
            (Some(PostcopyPaused), true, Remedy::Nothing),
            (Some(Cancelling), true, Remedy::Wait),
            (Some(Completed), true, Remedy::Nothing),
            (Some(Failed), true, Remedy::Nothing),
            (Some(Cancelled), true, Remedy::Nothing),
        ] {
            assert_eq!(remedy(status.as_ref(), is_held), expected, "{status:?} {is_held}");
        }
    }
}

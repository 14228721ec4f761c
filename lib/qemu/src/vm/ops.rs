//! Operations on a running machine. Each returns when what it did is done, not when QEMU has accepted the request, and takes back what it
//! began when it cannot go on.
//!
//! ```text
//!  plug     disks, network cards, CPUs, memory   in: until the device is there; out: until the guest has let go of it
//!  block    size, limits, CDs
//!  snapshot inside a qcow2 image, or as an overlay; merged back by commit and stream
//!  console  keys, pictures
//!  display  passwords
//!  balloon  until the guest has given or taken
//!  cpus     which host CPUs each virtual CPU runs on
//!  migration  to another process, or to a file and back
//! ```

mod at_work;
mod backup;
mod balloon;
mod block;
mod console;
mod cpus;
mod display;
mod follow;
mod fresh;
mod graph;
mod handed;
mod job;
mod listing;
mod migration;
mod nbd;
mod places;
mod plug;
mod rollback;
mod sleep;
mod snapshot;

pub(crate) use at_work::Patience;
pub use backup::{ClientTls, Copied, CopyTarget, Mirror, Notes, PullBackup, Pulled, PushBackup, Served};
pub use balloon::GuestMemory;
pub use block::Eject;
pub use console::Picture;
pub use cpus::Vcpu;
pub use display::{Connected, Expiry, Screen};
pub(crate) use handed::note_of_disk;
pub use job::{FoundJob, Job, ReadyJob};
pub(super) use listing::Images;
pub use migration::{
    Channel, MigrateError, Migrated, Migration, MigrationOptions, MigrationTls, MovedDisks, Route,
    Whereabouts,
};
pub use places::Occupied;
pub(super) use places::Reserved;
pub(super) use rollback::Rollback;
pub use snapshot::{Consistency, Overlay, Taken};

use super::Vm;
use crate::{config::ConfigError, process::Exit};
use follow::Follow;
use qmp::{
    CallError,
    agent::AgentError,
    aside::{PATIENCE, Place, ask},
    commands::Command,
};
use std::{io, path::Path, time::Duration};
use thiserror::Error;

/// Why an operation was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OperationError {
    /// QEMU refused or did not answer.
    #[error("cannot {action}")]
    Qmp {
        /// What was attempted.
        action: String,
        /// Why not.
        #[source]
        source: CallError,
    },
    /// What is to be added is described wrongly.
    #[error("what is to be added cannot be")]
    Config(#[from] ConfigError),
    /// No port or slot is left for another device.
    #[error("there is no free place for {id}: start the machine with more spare ports")]
    NoPlace {
        /// The device.
        id: String,
    },
    /// The machine has none such.
    #[error("there is no {what} {id:?}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// The guest does not let go of it.
    #[error("the guest refused to let go of {id}")]
    GuestRefused {
        /// The device.
        id: String,
    },
    /// The guest has not done its part in time. It may still do it.
    #[error("{what} did not happen within {after:?}; the guest may not know how, or may still do it")]
    GuestSilent {
        /// What was waited for.
        what: String,
        /// The time that passed.
        after: Duration,
    },
    /// A job of QEMU failed.
    #[error("{action} failed: {message}")]
    Job {
        /// What it did.
        action: String,
        /// QEMU's own words.
        message: String,
    },
    /// The answer of a command that changes something did not arrive; whether it took effect is unknown.
    #[error("cannot tell whether QEMU did it: {action}")]
    Undecided {
        /// What was attempted.
        action: String,
        /// What became of the answer.
        #[source]
        source: CallError,
    },
    /// The connection of a migration broke after the guest had moved before its memory: [`Vm::recover_migration`].
    #[error("the connection broke while the guest's memory was on both sides")]
    Broken,
    /// What the guest writes to a disk is seen by something else, which has to end first: a job ([`Vm::jobs`]), a pulled backup
    /// ([`Vm::pulled_backup`]), or what another call is about to begin.
    #[error("what the guest writes to {disk} is seen by {by}, which has to end first")]
    InUse {
        /// The disk.
        disk: String,
        /// What sees it.
        by: &'static str,
    },
    /// The machine is being moved, by another call or another process; [`Vm::migration`] follows it. No image is made meanwhile.
    #[error("the machine is being moved")]
    Moving,
    /// The destination of a migration cannot give it up: [`Migration::cancel`] at its source, or end this process.
    #[error(
        "the machine is still arriving here: its migration is given up at its source, or by ending this process"
    )]
    Arriving,
    /// The machine's process ended meanwhile.
    #[error("the machine's process ended ({exit}) while waiting for {what}")]
    Ended {
        /// What was waited for.
        what: String,
        /// How it ended.
        exit: Exit,
    },
    /// Nobody supervises the machine any more; what came of it is unknown.
    #[error("supervision of the machine ended while waiting for {what}")]
    Lost {
        /// What was waited for.
        what: String,
    },
    /// The guest's agent refused or did not answer.
    #[error("cannot {action}")]
    Agent {
        /// What was attempted.
        action: String,
        /// Why not.
        #[source]
        source: AgentError,
    },
    /// The host refused, or does not answer ([`io::ErrorKind::TimedOut`]).
    #[error("cannot {action}")]
    Host {
        /// What was attempted.
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Vm {
    /// Asks for something, which changes nothing.
    async fn ask<C: Command>(
        &self,
        action: impl Into<String>,
        question: &C,
    ) -> Result<C::Reply, OperationError> {
        let action = action.into();
        match self.qmp().call(question).await {
            // It can be asked again on the next connection.
            Err(source @ CallError::Closed { .. }) => {
                let mut follow = Follow::new(self, &[]);
                let asked = follow.read(&action, question);
                let late = OperationError::Qmp { action: action.clone(), source };
                tokio::time::timeout(RECONNECT, asked).await.unwrap_or(Err(late))
            }
            answer => answer.map_err(failed(action)),
        }
    }

    /// Runs a command that changes something.
    async fn tell<C: Command>(
        &self,
        action: impl Into<String>,
        command: &C,
    ) -> Result<C::Reply, OperationError> {
        self.qmp().call(command).await.map_err(undone(action))
    }
}

/// Does something with a file of the host, beside the runtime ([`qmp::aside`]).
async fn host<T: Send + 'static>(
    action: impl Into<String>,
    path: &Path,
    work: impl FnOnce(&Place) -> io::Result<T> + Send + 'static,
) -> Result<T, OperationError> {
    let done = ask(path, PATIENCE, work).await.map_err(io::Error::from).flatten();
    done.map_err(|source| OperationError::Host { action: action.into(), source })
}

fn failed(action: impl Into<String>) -> impl FnOnce(CallError) -> OperationError {
    let action = action.into();
    move |source| OperationError::Qmp { action, source }
}

/// Of a command that changes something: without an answer it may have been carried out, or be about to.
fn undone(action: impl Into<String>) -> impl FnOnce(CallError) -> OperationError {
    let action = action.into();
    move |source| match source {
        CallError::Deadline { .. }
        | CallError::Closed { .. }
        | CallError::Decode { .. }
        | CallError::Unreadable { .. } => OperationError::Undecided { action, source },
        source => OperationError::Qmp { action, source },
    }
}

/// For a broken connection to be opened again.
const RECONNECT: Duration = Duration::from_secs(10);

/// A figure that QEMU gives as a signed number and that is none below zero.
fn figure(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

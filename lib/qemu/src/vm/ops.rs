//! Operations on a running machine. Each returns when what it did is done, not when QEMU has accepted the request, and takes back what it
//! began when it cannot go on.
//!
//! ```text
//!  plug     disks, network cards, CPUs, memory   in: until the device is there; out: until the guest has let go of it
//!  block    size, limits, CDs
//!  snapshot inside a qcow2 image, or as an overlay; merged back by commit and stream
//!  console  keys, pictures
//!  balloon  until the guest has given or taken
//!  cpus     which host CPUs each virtual CPU runs on
//! ```

mod balloon;
mod block;
mod console;
mod cpus;
mod job;
mod places;
mod plug;
mod snapshot;

pub use balloon::GuestMemory;
pub use block::Eject;
pub use console::Picture;
pub use cpus::Vcpu;
pub use job::Job;
pub(super) use places::Reserved;
pub use snapshot::Overlay;

use super::Vm;
use crate::config::ConfigError;
use qmp::{CallError, Client, Waiter};
use serde_json::{Map, Value};
use std::{io, time::Duration};
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
    /// The monitor's connection ended meanwhile; what came of it is unknown.
    #[error("the connection ended while waiting for {what}")]
    Lost {
        /// What was waited for.
        what: String,
    },
    /// The host refused.
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
    /// For commands that work on QEMU's main loop: negative answers come late, not never.
    fn slow(&self) -> Client {
        self.qmp().with_deadline(Some(SLOW))
    }

    /// Runs a command whose arguments have the form of the command line's.
    async fn run(
        &self,
        action: impl Into<String>,
        command: &str,
        arguments: Value,
    ) -> Result<Value, OperationError> {
        let arguments = if let Value::Object(members) = arguments { members } else { Map::new() };
        self.slow().execute(command, arguments).await.map_err(failed(action))
    }
}

fn failed(action: impl Into<String>) -> impl FnOnce(CallError) -> OperationError {
    let action = action.into();
    move |source| OperationError::Qmp { action, source }
}

/// Waits for an event that the guest causes.
async fn guest(
    waiter: &mut Waiter,
    what: &str,
    patience: Duration,
) -> Result<std::sync::Arc<qmp::Event>, OperationError> {
    match tokio::time::timeout(patience, waiter).await {
        Ok(Some(event)) => Ok(event),
        Ok(None) => Err(OperationError::Lost { what: what.to_owned() }),
        Err(_) => Err(OperationError::GuestSilent { what: what.to_owned(), after: patience }),
    }
}

/// Attaching a device on a busy host takes seconds; a disk that syncs, more.
const SLOW: Duration = Duration::from_secs(120);

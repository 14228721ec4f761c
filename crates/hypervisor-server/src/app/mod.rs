//! What callers ask for: pure functions from (cluster, request, context) to a transaction that records the intent.
//!
//! Nothing here starts anything. Each plan carries the conditions under which it was made; when one no longer holds, the
//! plan is made anew on what is visible then.

mod commit;
pub mod instance;
pub mod node;
pub mod operation;
#[cfg(test)]
pub(crate) mod world;

pub use commit::{Call, Committed, Committer, Expiry};

use crate::state::keys;
use crate::state::write::Writer;
use hv_core::operation::{Operation, OperationKind, OperationPhase, Target};
use hv_core::{Error, ErrorKind, Labels, Name, OperationId, Timestamp};
use hv_store::{Compare, LeaseId};
use uuid::Uuid;

/// What a plan may use beside the cluster and the request: time, fresh ids, and who asks.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who asks.
    pub principal: String,
    /// Now.
    pub now: Timestamp,
    /// uid for the object, should one be made.
    pub uid: Uuid,
    /// uid of the operation.
    pub operation: OperationId,
    /// Lease for what expires.
    pub expiry: LeaseId,
}

/// A recorded intent, ready to commit.
#[derive(Debug)]
pub struct Plan {
    /// The transaction without idempotency.
    pub writer: Writer,
    /// The operation that it records.
    pub operation: Operation,
    /// Paths of the fields that wait for a restart: part of the answer, so it is recorded with it.
    pub needs_restart: Vec<String>,
}

impl Context {
    /// A new operation of the caller's.
    fn operation(&self, kind: OperationKind, target: Target, name: &Name, project: &Name) -> Operation {
        Operation {
            id: self.operation,
            kind,
            target,
            target_name: name.clone(),
            project: project.clone(),
            phase: OperationPhase::Pending,
            progress_percent: 0,
            message: String::new(),
            error: None,
            principal: self.principal.clone(),
            created_at: self.now,
            ended_at: None,
            cancel_requested: false,
            target_generation: 0,
            target_restart_serial: 0,
            steps: Vec::new(),
        }
    }

    /// Adds the operation to the transaction.
    fn plan(&self, mut writer: Writer, operation: Operation) -> Plan {
        writer.only_if(Compare::Absent(keys::operation(operation.id))).put_operation(&operation, self.expiry);
        Plan { writer, operation, needs_restart: Vec::new() }
    }
}

/// Labels, or annotations, after an update. The mask names them all by `field`, or single ones by `field.KEY`, which two callers can
/// change at the same time: one that the request does not have is removed. `None` where the mask names none.
fn pairs_after(field: &str, old: &Labels, new: &Labels, paths: &[String]) -> Option<Labels> {
    let mut after = None;
    for path in paths {
        if path == field {
            after = Some(new.clone());
        } else if let Some(key) = key_of(field, path) {
            let pairs = after.get_or_insert_with(|| old.clone());
            match new.get(key) {
                Some(value) => pairs.insert(key.to_owned(), value.clone()),
                None => pairs.remove(key),
            };
        }
    }
    after
}

/// The key in `field.KEY`.
fn key_of<'a>(field: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(field)?.strip_prefix('.').filter(|key| !key.is_empty())
}

/// Refuses when the object is not the one the caller saw.
fn check_precondition(
    precondition: Option<&hv_api::v1::Precondition>,
    generation: u64,
    uid: impl std::fmt::Display,
) -> Result<(), Error> {
    match precondition.map_or(0, |precondition| precondition.generation) {
        0 => Ok(()),
        wanted if wanted == generation => Ok(()),
        wanted => Err(Error::new(
            ErrorKind::Conflict,
            format!("the object is at generation {generation}, the call expects {wanted}"),
        )
        .with_uid(uid)
        .with_hint("read it again, and decide anew")),
    }
}

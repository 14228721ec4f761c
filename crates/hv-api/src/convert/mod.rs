//! Conversions between the wire and [`hv_core`]. `*_from` reads what a caller or the store sent and checks it; `*_to` cannot
//! fail.

mod instance;
mod node;
mod operation;

pub use instance::*;
pub use node::*;
pub use operation::*;

use crate::v1;
use hv_core::meta::DEFAULT_PROJECT;
use hv_core::{
    Condition, ConditionStatus, Conditions, Error, ErrorKind, Metadata, Name, Resources, Timestamp,
};
use std::fmt;

/// Metadata for the wire.
pub fn metadata_to(uid: impl fmt::Display, metadata: &Metadata, revision: u64) -> v1::Metadata {
    v1::Metadata {
        uid: uid.to_string(),
        name: metadata.name.to_string(),
        project: metadata.project.to_string(),
        labels: metadata.labels.clone(),
        annotations: metadata.annotations.clone(),
        generation: metadata.generation,
        revision,
        created_at_ms: metadata.created_at.0,
        deletion_requested_at_ms: metadata.deletion_requested_at.map_or(0, |time| time.0),
        finalizers: metadata.finalizers.clone(),
    }
}

/// Metadata of a stored object.
pub fn metadata_from(metadata: &v1::Metadata) -> Result<Metadata, Error> {
    Ok(Metadata {
        name: Name::parse("metadata.name", &metadata.name)?,
        project: Name::parse("metadata.project", &metadata.project)?,
        labels: metadata.labels.clone(),
        annotations: metadata.annotations.clone(),
        generation: metadata.generation,
        created_at: Timestamp(metadata.created_at_ms),
        deletion_requested_at: (metadata.deletion_requested_at_ms != 0)
            .then_some(Timestamp(metadata.deletion_requested_at_ms)),
        finalizers: metadata.finalizers.clone(),
    })
}

/// A project's name; the default one when empty.
pub fn project_from(field: &str, text: &str) -> Result<Name, Error> {
    Name::parse(field, if text.is_empty() { DEFAULT_PROJECT } else { text })
}

/// Resources for the wire.
pub fn resources_to(resources: Resources) -> v1::Resources {
    let Resources { cpus, memory_bytes, disk_bytes, gpus } = resources;
    v1::Resources { cpus, memory_bytes, disk_bytes, gpus }
}

/// Resources from the wire; absent is none.
pub fn resources_from(resources: Option<&v1::Resources>) -> Resources {
    resources.map_or_else(Resources::default, |r| Resources {
        cpus: r.cpus,
        memory_bytes: r.memory_bytes,
        disk_bytes: r.disk_bytes,
        gpus: r.gpus,
    })
}

/// Conditions for the wire.
pub fn conditions_to(conditions: &Conditions) -> Vec<v1::Condition> {
    let one = |(kind, condition): (&String, &Condition)| v1::Condition {
        r#type: kind.clone(),
        status: condition.status.as_str().to_owned(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_at_ms: condition.since.0,
    };
    conditions.0.iter().map(one).collect()
}

/// Conditions from the wire.
pub fn conditions_from(conditions: &[v1::Condition]) -> Conditions {
    let one = |condition: &v1::Condition| {
        let value = Condition {
            status: ConditionStatus::from_word(&condition.status),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: Timestamp(condition.last_transition_at_ms),
        };
        (condition.r#type.clone(), value)
    };
    Conditions(conditions.iter().map(one).collect())
}

/// An error for the wire.
pub fn error_to(error: &Error) -> v1::ErrorInfo {
    v1::ErrorInfo {
        reason: error.kind.reason().to_owned(),
        field: error.field.clone().unwrap_or_default(),
        uid: error.uid.clone().unwrap_or_default(),
        hint: error.hint.clone().unwrap_or_default(),
        retryable: error.kind.retryable(),
    }
}

const KINDS: [ErrorKind; 13] = [
    ErrorKind::Invalid,
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::FailedPrecondition,
    ErrorKind::Conflict,
    ErrorKind::Expired,
    ErrorKind::Exhausted,
    ErrorKind::Unauthenticated,
    ErrorKind::PermissionDenied,
    ErrorKind::Unsupported,
    ErrorKind::Unavailable,
    ErrorKind::Timeout,
    ErrorKind::Internal,
];

/// An error from the wire, with the message that came beside it.
pub fn error_from(info: &v1::ErrorInfo, message: &str) -> Error {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let kind = KINDS.into_iter().find(|kind| kind.reason() == info.reason).unwrap_or(ErrorKind::Internal);
    Error {
        kind,
        message: message.to_owned(),
        field: some(&info.field),
        uid: some(&info.uid),
        hint: some(&info.hint),
    }
}

/// A wire enumeration's value, or the error that names the field.
fn known<T: TryFrom<i32>>(field: &str, value: i32) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::invalid(field, format!("{value} is no value of this field")))
}

fn id_from<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::invalid(field, format!("`{text}` is not a uid")))
}

//! Operations.

use super::{error_from, error_to, id_from, known, project_from};
use crate::v1;
use hv_core::operation::{Operation, OperationKind, OperationPhase, Target};
use hv_core::{Error, Name, OperationId, Timestamp};

/// A phase for the wire.
pub fn operation_phase_to(phase: OperationPhase) -> v1::OperationPhase {
    match phase {
        OperationPhase::Pending => v1::OperationPhase::Pending,
        OperationPhase::Running => v1::OperationPhase::Running,
        OperationPhase::Succeeded => v1::OperationPhase::Succeeded,
        OperationPhase::Failed => v1::OperationPhase::Failed,
        OperationPhase::Cancelled => v1::OperationPhase::Cancelled,
    }
}

/// A phase from the wire; unspecified is none.
pub fn operation_phase_from(field: &str, phase: i32) -> Result<Option<OperationPhase>, Error> {
    Ok(match known::<v1::OperationPhase>(field, phase)? {
        v1::OperationPhase::Unspecified => None,
        v1::OperationPhase::Pending => Some(OperationPhase::Pending),
        v1::OperationPhase::Running => Some(OperationPhase::Running),
        v1::OperationPhase::Succeeded => Some(OperationPhase::Succeeded),
        v1::OperationPhase::Failed => Some(OperationPhase::Failed),
        v1::OperationPhase::Cancelled => Some(OperationPhase::Cancelled),
    })
}

/// An operation for the wire.
pub fn operation_to(operation: &Operation, revision: u64) -> v1::Operation {
    let (target_kind, target_uid) = match operation.target {
        Target::Instance(id) => ("instance", id.to_string()),
        Target::Node(id) => ("node", id.to_string()),
    };
    v1::Operation {
        uid: operation.id.to_string(),
        kind: operation.kind.as_str().to_owned(),
        target_kind: target_kind.to_owned(),
        target_uid,
        target_name: operation.target_name.to_string(),
        project: operation.project.to_string(),
        phase: operation_phase_to(operation.phase).into(),
        progress_percent: operation.progress_percent.into(),
        // The error's own message: the wire carries it once.
        message: operation
            .error
            .as_ref()
            .map_or_else(|| operation.message.clone(), |error| error.message.clone()),
        error: operation.error.as_ref().map(error_to),
        principal: operation.principal.clone(),
        created_at_ms: operation.created_at.0,
        ended_at_ms: operation.ended_at.map_or(0, |time| time.0),
        cancel_requested: operation.cancel_requested,
        target_generation: operation.target_generation,
        target_restart_serial: operation.target_restart_serial,
        steps: operation
            .steps
            .iter()
            .map(|(time, message)| v1::OperationStep { at_ms: time.0, message: message.clone() })
            .collect(),
        revision,
    }
}

/// An operation from the wire.
pub fn operation_from(operation: &v1::Operation) -> Result<Operation, Error> {
    let target = match operation.target_kind.as_str() {
        "node" => Target::Node(id_from("target_uid", &operation.target_uid)?),
        _ => Target::Instance(id_from("target_uid", &operation.target_uid)?),
    };
    Ok(Operation {
        id: id_from::<OperationId>("uid", &operation.uid)?,
        kind: OperationKind::from_word(&operation.kind)
            .ok_or_else(|| Error::invalid("kind", format!("`{}` is no kind of operation", operation.kind)))?,
        target,
        target_name: Name::parse("target_name", &operation.target_name)?,
        project: project_from("project", &operation.project)?,
        phase: operation_phase_from("phase", operation.phase)?.unwrap_or(OperationPhase::Pending),
        progress_percent: u8::try_from(operation.progress_percent).unwrap_or(100).min(100),
        message: operation.message.clone(),
        error: operation.error.as_ref().map(|info| error_from(info, &operation.message)),
        principal: operation.principal.clone(),
        created_at: Timestamp(operation.created_at_ms),
        ended_at: (operation.ended_at_ms != 0).then_some(Timestamp(operation.ended_at_ms)),
        cancel_requested: operation.cancel_requested,
        target_generation: operation.target_generation,
        target_restart_serial: operation.target_restart_serial,
        steps: operation.steps.iter().map(|step| (Timestamp(step.at_ms), step.message.clone())).collect(),
    })
}

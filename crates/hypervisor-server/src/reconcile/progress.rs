//! How far an operation on an instance is: a pure function of the operation and the instance.

use hv_core::instance::{Instance, Phase, RunState};
use hv_core::operation::{Operation, OperationKind, OperationPhase};
use hv_core::{Error, ErrorKind, Timestamp};

/// Brings an operation up to date with its instance (`None`: it is gone). Answers the changed operation, if it changed.
pub(super) fn advance(
    operation: &Operation,
    instance: Option<&Instance>,
    now: Timestamp,
) -> Option<Operation> {
    if operation.phase.is_final() {
        return None;
    }
    let mut next = operation.clone();
    let changed = match instance {
        None if operation.kind == OperationKind::InstanceDelete => {
            next.end(now, OperationPhase::Succeeded, "deleted", None)
        }
        None => next.end(now, OperationPhase::Cancelled, "the instance was deleted", None),
        Some(instance) if operation.kind == OperationKind::InstanceDelete => {
            next.step(now, 50, phrase(instance, "deleting"))
        }
        Some(instance) if instance.is_deleting() => {
            next.end(now, OperationPhase::Cancelled, "the instance is being deleted", None)
        }
        Some(instance) if instance.metadata.generation > operation.target_generation => {
            next.end(now, OperationPhase::Cancelled, "a newer change took its place", None)
        }
        Some(instance) => converge(&mut next, instance, now),
    };
    changed.then_some(next)
}

fn converge(operation: &mut Operation, instance: &Instance, now: Timestamp) -> bool {
    let status = &instance.status;
    // Without a node there is nobody to act on anything, but for a stop, which needs nobody.
    let acted = instance.placement.is_some() || status.phase == Phase::Stopped;
    let settled = status.observed_generation >= operation.target_generation && acted;
    let failed = |message: &str| Error::new(ErrorKind::FailedPrecondition, message);
    match status.phase {
        // Every node that could have it has refused it, or it was lost with its node.
        Phase::Failed if instance.placement.is_none() => operation.end(
            now,
            OperationPhase::Failed,
            "",
            Some(
                failed(&status.message).with_hint("mend what the message names, on the node or by `instance update`, then `instance start`; for another image or node, `instance delete` it first, and create it anew"),
            ),
        ),
        Phase::Failed if settled => operation.end(
            now,
            OperationPhase::Failed,
            "",
            Some(
                failed(&status.message)
                    .with_hint("`instance get` shows its state; `instance start` tries again"),
            ),
        ),
        Phase::Stopped if settled && instance.spec.run_state != RunState::Stopped => operation.end(
            now,
            OperationPhase::Succeeded,
            format!("it has stopped since: {}", status.message),
            None,
        ),
        Phase::Migrating => operation.step(now, 10, phrase(instance, "it moves to another node")),
        _ if settled => operation.end(now, OperationPhase::Succeeded, status.phase.as_str(), None),
        Phase::Pending if status.message.is_empty() => operation.step(now, 5, "waiting for a node"),
        Phase::Pending => operation.step(now, 5, format!("waiting for a node: {}", status.message)),
        Phase::Scheduled => operation.step(now, 20, phrase(instance, "placed")),
        Phase::Preparing => operation.step(now, 40, "making disks and networks"),
        Phase::Starting => operation.step(now, 70, "starting the guest"),
        Phase::Stopping => operation.step(now, 40, phrase(instance, "waiting for the guest to power down")),
        Phase::Unknown => operation.step(now, 10, phrase(instance, "waiting for the node")),
        Phase::Running | Phase::Paused | Phase::Stopped | Phase::Failed | Phase::Deleting => {
            operation.step(now, 10, "waiting for the node to act")
        }
    }
}

fn phrase(instance: &Instance, otherwise: &str) -> String {
    if instance.status.message.is_empty() { otherwise.to_owned() } else { instance.status.message.clone() }
}

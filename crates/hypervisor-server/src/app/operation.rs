//! Calls about operations.

use super::Context;
use crate::state::write::Writer;
use crate::state::{Cluster, OperationEntry, keys};
use hv_core::instance::RunState;
use hv_core::operation::{OperationKind, OperationPhase, Target};
use hv_core::{Error, ErrorKind, OperationId};
use std::sync::Arc;

/// An operation by uid.
pub fn find<'a>(cluster: &'a Cluster, reference: &str) -> Result<&'a Arc<OperationEntry>, Error> {
    reference.parse().ok().and_then(|id: OperationId| cluster.operations().get(&id)).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no operation `{reference}`")).with_hint(
            "operations are kept for a day after they end; `hypervisor-ctl operation list` shows them",
        )
    })
}

/// Plans the end of an operation: what it wanted started is wanted stopped; what is done stays done.
pub fn cancel(cluster: &Cluster, reference: &str, context: &Context) -> Result<(Writer, OperationId), Error> {
    let entry = find(cluster, reference)?;
    let mut operation = entry.operation.clone();
    let refuse = |why: &str, hint: &str| {
        Err(Error::new(ErrorKind::FailedPrecondition, why).with_uid(entry.operation.id).with_hint(hint))
    };
    if operation.phase.is_final() {
        return refuse("the operation has ended", "nothing is left to cancel");
    }
    match operation.kind {
        OperationKind::InstanceCreate | OperationKind::InstanceStart | OperationKind::InstanceRestart => {}
        OperationKind::InstanceStop => {
            return refuse(
                "a guest that was asked to power down cannot be asked to stay",
                "start it once it has stopped",
            );
        }
        OperationKind::InstanceDelete => return refuse("a deletion is final", "create the instance anew"),
        _ => return refuse("this operation is too short to be cancelled", "wait for it"),
    }
    let mut writer = Writer::default();
    if let Target::Instance(id) = operation.target
        && let Some(instance) = cluster.instances().get(&id)
    {
        let mut changed = instance.instance.clone();
        changed.spec.run_state = RunState::Stopped;
        changed.metadata.generation += 1;
        writer
            .unchanged(keys::instance(&changed.metadata.project, id), Some(instance.spec_revision))
            .put_instance(&changed);
    }
    operation.cancel_requested = true;
    operation.end(
        context.now,
        OperationPhase::Cancelled,
        format!("cancelled by {}", context.principal),
        None,
    );
    writer
        .unchanged(keys::operation(operation.id), Some(entry.revision))
        .put_operation(&operation, context.expiry);
    Ok((writer, operation.id))
}

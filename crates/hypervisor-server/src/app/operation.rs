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
        OperationKind::NodeUpdate => {
            return refuse("what leaves the node cannot be called back", "`node uncordon` keeps the rest");
        }
        OperationKind::InstanceDelete => return refuse("a deletion is final", "create the instance anew"),
        _ => return refuse("this operation is too short to be cancelled", "wait for it"),
    }
    let mut writer = Writer::default();
    if let Target::Instance(id) = operation.target
        && let Some(instance) = cluster.instances().get(&id)
    {
        if instance.instance.metadata.generation > operation.target_generation {
            return refuse(
                "the instance was changed after this operation was asked for",
                "a newer call decides what becomes of it; stop it if it shall not run",
            );
        }
        let mut changed = instance.instance.clone();
        changed.spec.run_state = RunState::Stopped;
        // What an earlier stop said does not hold for this one.
        changed.spec.force_stop = false;
        changed.spec.stop_timeout_once = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::world::World;
    use hv_core::instance::state::Request;
    use std::time::Duration;

    #[test]
    fn an_operation_that_a_newer_change_overtook_cannot_be_cancelled() {
        let mut world = World::new();
        let created = world.create("demo");
        world.act("demo", Request::ForceStop, Some(Duration::from_secs(1)));
        let started = world.act("demo", Request::Start, None);
        let refused = cancel(&world.cluster, &created, &world.context()).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
        assert!(refused.to_string().contains("changed after"), "{refused}");
        // The newest one can be.
        assert!(cancel(&world.cluster, &started, &world.context()).is_ok());
    }

    #[test]
    fn what_is_cancelled_stops_as_the_specification_says() {
        let mut world = World::new();
        let created = world.create("demo");
        // Left over from an earlier stop.
        let mut instance = world.entry("demo").instance.clone();
        instance.spec.force_stop = true;
        instance.spec.stop_timeout_once = Some(Duration::from_secs(1));
        let mut writer = Writer::default();
        writer.put_instance(&instance);
        assert!(world.commit(writer));
        let (writer, _) = cancel(&world.cluster, &created, &world.context()).unwrap();
        assert!(world.commit(writer));
        let spec = &world.entry("demo").instance.spec;
        assert_eq!(
            (spec.run_state, spec.force_stop, spec.stop_timeout_once),
            (RunState::Stopped, false, None)
        );
    }
}

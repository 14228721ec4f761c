//! Calls about nodes.

use super::{Context, Plan, check_precondition, key_of, pairs_after};
use crate::state::write::Writer;
use crate::state::{Cluster, keys};
use hv_api::convert::{node_spec_from, node_spec_to};
use hv_api::v1;
use hv_core::labels::{check_annotations, check_labels};
use hv_core::node::{Node, NodePhase, NodeStatus, Schedulability};
use hv_core::operation::{OperationKind, OperationPhase, Target};
use hv_core::{Error, ErrorKind, Metadata, Name, NodeId};
use hv_store::Compare;

const PATHS: [&str; 7] =
    ["spec.role", "spec.region", "spec.zone", "spec.schedulability", "spec.reason", "labels", "annotations"];

/// Plans the registration of a node before its agent dials in.
pub fn register(
    cluster: &Cluster,
    request: &v1::RegisterNodeRequest,
    context: &Context,
) -> Result<Plan, Error> {
    let name = Name::parse("name", &request.name)?;
    check_labels("labels", &request.labels)?;
    check_annotations("annotations", &request.annotations)?;
    let spec = node_spec_from(&request.spec.clone().unwrap_or_default())?;
    if let Some(taken) = cluster.node_named(&name) {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("a node `{name}` exists"))
            .with_uid(taken)
            .with_hint("choose another name, or update that node"));
    }
    let id = NodeId::new(context.uid);
    let node = Node {
        id,
        metadata: Metadata {
            name: name.clone(),
            project: project()?,
            labels: request.labels.clone(),
            annotations: request.annotations.clone(),
            generation: 1,
            created_at: context.now,
            deletion_requested_at: None,
            finalizers: Vec::new(),
        },
        spec,
        status: NodeStatus { last_transition_at: context.now, ..NodeStatus::default() },
    };
    let mut writer = Writer::default();
    writer
        .only_if(Compare::Absent(keys::node_name(&name)))
        .put_node(&node)
        .put_text(keys::node_name(&name), &id.to_string());
    done(writer, OperationKind::NodeRegister, id, &name, "registered", context)
}

/// Plans a change of a node.
pub fn update(cluster: &Cluster, request: &v1::UpdateNodeRequest, context: &Context) -> Result<Plan, Error> {
    let entry = cluster.find_node(&request.node)?;
    check_precondition(request.precondition.as_ref(), entry.node.metadata.generation, entry.node.id)?;
    let paths = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        return Err(Error::invalid(
            "update_mask",
            format!("name the fields to change: {}", PATHS.join(", ")),
        ));
    }
    let mut node = entry.node.clone();
    let mut spec = node_spec_to(&node.spec);
    let new = request.spec.clone().unwrap_or_default();
    for path in paths {
        match path.as_str() {
            "spec.role" => spec.role = new.role,
            "spec.region" => spec.region.clone_from(&new.region),
            "spec.zone" => spec.zone.clone_from(&new.zone),
            "spec.schedulability" => spec.schedulability = new.schedulability,
            "spec.reason" => spec.reason.clone_from(&new.reason),
            "labels" | "annotations" => {}
            path if key_of("labels", path).or_else(|| key_of("annotations", path)).is_some() => {}
            other => {
                return Err(Error::invalid(
                    "update_mask",
                    format!("`{other}` cannot be updated; one of {}", PATHS.join(", ")),
                ));
            }
        }
    }
    let metadata = &mut node.metadata;
    if let Some(labels) = pairs_after("labels", &metadata.labels, &request.labels, paths) {
        check_labels("labels", &labels)?;
        metadata.labels = labels;
    }
    if let Some(annotations) = pairs_after("annotations", &metadata.annotations, &request.annotations, paths)
    {
        check_annotations("annotations", &annotations)?;
        metadata.annotations = annotations;
    }
    node.spec = node_spec_from(&spec)?;
    let mut writer = Writer::default();
    writer.unchanged(keys::node(node.id), Some(entry.spec_revision));
    if node != entry.node {
        node.metadata.generation += u64::from(node.spec != entry.node.spec);
        writer.put_node(&node);
    }
    let drains = paths.iter().any(|path| path == "spec.schedulability")
        && node.spec.schedulability == Schedulability::Draining;
    let name = &node.metadata.name;
    if drains && cluster.claiming(node.id).next().is_some() {
        // It ends when nothing is left that can leave.
        let mut operation =
            context.operation(OperationKind::NodeUpdate, Target::Node(node.id), name, &project()?);
        operation.target_generation = node.metadata.generation;
        return Ok(context.plan(writer, operation));
    }
    if drains {
        // Nothing has been placed there meanwhile.
        writer.unchanged(keys::node_placed(node.id), cluster.claims(node.id).placed);
    }
    done(writer, OperationKind::NodeUpdate, node.id, name, "updated", context)
}

/// Plans the removal of a node.
pub fn deregister(
    cluster: &Cluster,
    request: &v1::DeregisterNodeRequest,
    context: &Context,
) -> Result<Plan, Error> {
    let entry = cluster.find_node(&request.node)?;
    let node = &entry.node;
    check_precondition(request.precondition.as_ref(), node.metadata.generation, node.id)?;
    let refuse = |why: String, hint: &str| {
        Err(Error::new(ErrorKind::FailedPrecondition, why).with_uid(node.id).with_hint(hint))
    };
    let placed = cluster.placed_on(node.id).count();
    let (name, phase) = (&node.metadata.name, node.status.phase);
    if request.abandon_instances && phase != NodePhase::Unknown {
        return refuse(
            format!("node `{name}` is {}: only a node that is unknown can be abandoned", phase.as_str()),
            "switch its host off, and wait until the node is unknown; instances on a node that works are deleted, not abandoned",
        );
    }
    if placed > 0 && !request.abandon_instances {
        let hint = match phase {
            NodePhase::Unknown => {
                "wait for its host; if that is off for good, give them up: `node deregister --abandon-instances`"
            }
            NodePhase::Registered | NodePhase::Ready | NodePhase::NotReady => "delete them first",
        };
        return refuse(format!("{placed} instances are on node `{name}`"), hint);
    }
    if matches!(phase, NodePhase::Ready | NodePhase::NotReady) {
        return refuse(
            format!("the agent of node `{name}` is connected and would register it again"),
            "stop the agent first",
        );
    }
    let mut writer = Writer::default();
    writer
        .unchanged(keys::node(node.id), Some(entry.spec_revision))
        // Its agent has not come back meanwhile.
        .unchanged(keys::node_status(node.id), entry.status_revision)
        .delete(keys::node(node.id))
        .delete(keys::node_status(node.id))
        .delete(keys::node_placed(node.id))
        .delete(keys::node_raised(node.id))
        .delete(keys::node_name(name));
    let mut message = "deregistered".to_owned();
    if request.abandon_instances {
        writer.put_text(keys::abandoned(node.id), name.as_str());
        message = format!("deregistered, and {placed} instances abandoned");
    }
    done(writer, OperationKind::NodeDeregister, node.id, name, &message, context)
}

/// Records an operation that its own transaction completes.
fn done(
    writer: Writer,
    kind: OperationKind,
    id: NodeId,
    name: &Name,
    message: &str,
    context: &Context,
) -> Result<Plan, Error> {
    let mut operation = context.operation(kind, Target::Node(id), name, &project()?);
    operation.end(context.now, OperationPhase::Succeeded, message, None);
    Ok(context.plan(writer, operation))
}

fn project() -> Result<Name, Error> {
    Name::parse("project", hv_core::meta::DEFAULT_PROJECT)
}

//! What callers ask for, planned on what the server sees: each request becomes one conditional transaction.

use hv_core::instance::state::{Decision, Request, decide};
use hv_core::instance::{Instance, InstanceSpec, InstanceStatus};
use hv_core::meta::DEFAULT_PROJECT;
use hv_core::node::Schedulability;
use hv_core::operation::{Operation, OperationKind, OperationPhase, Target};
use hv_core::{Error, InstanceId, Labels, Metadata, Name, OperationId, Timestamp};
use hv_store::{Compare, LeaseId, Txn};
use hypervisor_server::state::write::Writer;
use hypervisor_server::state::{InstanceEntry, NodeEntry, keys};

/// Time, a fresh id and expiry: inputs, as everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) now: Timestamp,
    pub(crate) operation: OperationId,
    pub(crate) expiry: LeaseId,
}

pub(crate) fn create(id: InstanceId, name: &str, spec: InstanceSpec, context: Context) -> Result<Txn, Error> {
    let name = Name::parse("name", name)?;
    let project = Name::parse("project", DEFAULT_PROJECT)?;
    let instance = Instance {
        id,
        metadata: Metadata {
            name: name.clone(),
            project: project.clone(),
            labels: Labels::new(),
            annotations: Labels::new(),
            generation: 1,
            created_at: context.now,
            deletion_requested_at: None,
            finalizers: Vec::new(),
        },
        spec,
        status: InstanceStatus::default(),
        placement: None,
    };
    let mut writer = Writer::default();
    writer
        .only_if(Compare::Absent(keys::instance_name(&project, &name)))
        .put_instance(&instance)
        .put_text(keys::instance_name(&project, &name), &id.to_string())
        .put_operation(&operation(&instance, OperationKind::InstanceCreate, context), context.expiry);
    Ok(writer.finish())
}

/// `None` when there is nothing to change.
pub(crate) fn act(entry: &InstanceEntry, request: Request, context: Context) -> Result<Option<Txn>, Error> {
    let Decision::Set { run_state, bump_serial, force } = decide(&entry.instance, request)? else {
        return Ok(None);
    };
    let mut instance = entry.instance.clone();
    instance.spec.run_state = run_state;
    instance.spec.restart_serial += u64::from(bump_serial);
    instance.spec.force_stop = force;
    let kind = match request {
        Request::Start => OperationKind::InstanceStart,
        Request::Stop | Request::ForceStop => OperationKind::InstanceStop,
        Request::Restart | Request::ForceRestart => OperationKind::InstanceRestart,
        Request::Pause => OperationKind::InstancePause,
        _ => OperationKind::InstanceResume,
    };
    Ok(Some(change(entry, instance, kind, context)))
}

pub(crate) fn update(
    entry: &InstanceEntry,
    alter: impl FnOnce(&mut InstanceSpec),
    context: Context,
) -> Result<Txn, Error> {
    decide(&entry.instance, Request::Update)?;
    let mut instance = entry.instance.clone();
    alter(&mut instance.spec);
    Ok(change(entry, instance, OperationKind::InstanceUpdate, context))
}

pub(crate) fn delete(entry: &InstanceEntry, force: bool, context: Context) -> Result<Txn, Error> {
    decide(&entry.instance, Request::Delete)?;
    let mut instance = entry.instance.clone();
    instance.metadata.deletion_requested_at.get_or_insert(context.now);
    instance.spec.force_stop = force;
    Ok(change(entry, instance, OperationKind::InstanceDelete, context))
}

pub(crate) fn set_schedulability(entry: &NodeEntry, to: Schedulability) -> Txn {
    let mut node = entry.node.clone();
    node.spec.schedulability = to;
    node.metadata.generation += 1;
    let mut writer = Writer::default();
    writer.unchanged(keys::node(node.id), Some(entry.spec_revision)).put_node(&node);
    writer.finish()
}

fn change(entry: &InstanceEntry, mut instance: Instance, kind: OperationKind, context: Context) -> Txn {
    instance.metadata.generation += 1;
    let mut writer = Writer::default();
    writer
        .unchanged(keys::instance(&instance.metadata.project, instance.id), Some(entry.spec_revision))
        .put_instance(&instance)
        .put_operation(&operation(&instance, kind, context), context.expiry);
    writer.finish()
}

fn operation(instance: &Instance, kind: OperationKind, context: Context) -> Operation {
    Operation {
        id: context.operation,
        kind,
        target: Target::Instance(instance.id),
        target_name: instance.metadata.name.clone(),
        project: instance.metadata.project.clone(),
        phase: OperationPhase::Pending,
        progress_percent: 0,
        message: String::new(),
        error: None,
        principal: "simulation".into(),
        created_at: context.now,
        ended_at: None,
        cancel_requested: false,
        target_generation: instance.metadata.generation,
        target_restart_serial: instance.spec.restart_serial,
        steps: Vec::new(),
    }
}

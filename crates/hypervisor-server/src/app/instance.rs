//! Calls about instances.

use super::{Context, Plan, check_precondition, key_of, pairs_after};
use crate::reconcile::candidates;
use crate::scheduler::{Hold, Outlook, Taken, schedule, taken};
use crate::state::write::{PlacementRecord, Writer};
use crate::state::{Cluster, InstanceEntry, Missing, NOWHERE_LABEL, keys};
use crate::words::first_few;
use hv_api::convert::{project_from, spec_from, spec_to};
use hv_api::v1;
use hv_core::Labels;
use hv_core::instance::state::{Decision, Request, decide};
use hv_core::instance::update::{Field, needs_restart};
use hv_core::instance::{Instance, InstanceSpec, InstanceStatus, Phase, RunState};
use hv_core::labels::{check_annotations, check_labels};
use hv_core::node::Node;
use hv_core::operation::{OperationKind, OperationPhase, Target};
use hv_core::{Error, ErrorKind, InstanceId, Metadata, Name, NodeId};
use hv_store::Compare;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Who must clean up before a deletion completes: the agent of the node.
const FINALIZER: &str = "agent";

/// Plans the creation of an instance.
pub fn create(
    cluster: &Cluster,
    request: &v1::CreateInstanceRequest,
    context: &Context,
) -> Result<Plan, Error> {
    let name = Name::parse("name", &request.name)?;
    let project = project_from("project", &request.project)?;
    check_labels("labels", &request.labels)?;
    check_annotations("annotations", &request.annotations)?;
    let wire = request.spec.as_ref().ok_or_else(|| Error::invalid("spec", "a specification is required"))?;
    let spec =
        InstanceSpec { restart_serial: 0, force_stop: false, stop_timeout_once: None, ..spec_from(wire)? };
    check_required_node(cluster, &spec.placement.required_node)?;
    if let Some(taken) = cluster.instance_named(&project, &name) {
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("an instance `{name}` exists in project `{project}`"),
        )
        .with_uid(taken)
        .with_hint("choose another name, or delete that instance"));
    }
    let id = InstanceId::new(context.uid);
    let instance = Instance {
        id,
        metadata: Metadata {
            name: name.clone(),
            project: project.clone(),
            labels: request.labels.clone(),
            annotations: request.annotations.clone(),
            generation: 1,
            created_at: context.now,
            deletion_requested_at: None,
            finalizers: vec![FINALIZER.to_owned()],
        },
        spec,
        status: InstanceStatus::default(),
        placement: None,
    };
    check_outlook(cluster, &instance)?;
    let mut writer = Writer::default();
    writer
        .only_if(Compare::Absent(keys::instance_name(&project, &name)))
        .only_if(Compare::Absent(keys::instance(&project, id)))
        .put_instance(&instance)
        .put_text(keys::instance_name(&project, &name), &id.to_string());
    let mut operation =
        context.operation(OperationKind::InstanceCreate, Target::Instance(id), &name, &project);
    operation.target_generation = 1;
    Ok(context.plan(writer, operation))
}

/// What none of the nodes can ever have, and what would meet another's ports wherever it could be, is not begun. Where no node is known it
/// waits for one.
fn check_outlook(cluster: &Cluster, instance: &Instance) -> Result<(), Error> {
    let nowhere = PlacementRecord::default();
    let decision = schedule(instance, &candidates(cluster, instance, &nowhere, &BTreeMap::new()))?;
    let refused =
        |hint: &str| Error::new(ErrorKind::FailedPrecondition, decision.summary.clone()).with_hint(hint);
    match decision.outlook {
        Outlook::Open => Ok(()),
        Outlook::Hopeless => Err(refused(
            "ask for what a node has, or register one that has it first; `hypervisor-ctl node list` shows them",
        )),
        Outlook::PortsTaken => {
            Err(refused("publish another port, or stop the instance that has this one first"))
        }
    }
}

/// A node that people name must be there. What else no node has today, one that joins may have: an instance waits for that.
fn check_required_node(cluster: &Cluster, reference: &str) -> Result<(), Error> {
    if reference.is_empty() || cluster.find_node(reference).is_ok() {
        return Ok(());
    }
    let mut names: Vec<_> = cluster.nodes().values().map(|entry| entry.node.metadata.name.as_str()).collect();
    names.sort_unstable();
    let there = match first_few(names, ", ") {
        Some(names) => format!("there are: {names}"),
        None => "no node has registered".to_owned(),
    };
    Err(Error::invalid("spec.placement.required_node", format!("there is no node `{reference}`; {there}"))
        .with_hint("name one of them, or register that node first: `hypervisor-ctl node register`"))
}

/// A verb on an instance, with what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// uid or name.
    pub instance: &'a str,
    /// Its project; the default one when empty.
    pub project: &'a str,
    /// What to do.
    pub request: Request,
    /// How long the guest may take this once.
    pub timeout: Option<Duration>,
    /// What the caller demands.
    pub precondition: Option<&'a v1::Precondition>,
}

/// Plans start, stop, restart, pause and resume.
pub fn act(cluster: &Cluster, act: &Act<'_>, context: &Context) -> Result<Plan, Error> {
    let entry = find(cluster, act.project, act.instance)?;
    check_precondition(act.precondition, entry.instance.metadata.generation, entry.instance.id)?;
    let kind = match act.request {
        Request::Start => OperationKind::InstanceStart,
        Request::Stop | Request::ForceStop => OperationKind::InstanceStop,
        Request::Restart | Request::ForceRestart => OperationKind::InstanceRestart,
        Request::Pause => OperationKind::InstancePause,
        Request::Resume => OperationKind::InstanceResume,
        Request::Update | Request::Delete | Request::Console | Request::Stats => {
            return Err(Error::new(ErrorKind::Internal, format!("{} is no verb", act.request.as_str())));
        }
    };
    let decision = decided(cluster, entry, act.request)?;
    let mut instance = entry.instance.clone();
    apply(&mut instance.spec, decision, act.timeout);
    instance.spec.check()?;
    let ports = check_ports(cluster, entry, &instance)?;
    let mut plan = change(entry, instance, kind, context);
    claim(&mut plan, cluster, entry, ports);
    Ok(plan)
}

/// An instance that has a node is started there, or publishes other ports there, and likewise where room is kept for it: others may have them
/// by then. Answers the nodes whose ports it takes.
fn check_ports(cluster: &Cluster, entry: &InstanceEntry, to_be: &Instance) -> Result<Vec<NodeId>, Error> {
    let old = &entry.instance.spec;
    let is_to_run = to_be.spec.run_state != RunState::Stopped && to_be.spec.published().next().is_some();
    if !is_to_run || (old.run_state != RunState::Stopped && old.published().eq(to_be.spec.published())) {
        return Ok(Vec::new());
    }
    for node in entry.placement.claims() {
        let there = cluster.claiming(node).map(|entry| &entry.instance);
        if let Some(taken) = taken(to_be, node, there).first() {
            let whose = match cluster.nodes().get(&node).filter(|_| entry.placement.node != Some(node)) {
                Some(kept) => format!("node {}, where room is kept for it,", kept.node.metadata.name),
                None => "its node".to_owned(),
            };
            return Err(is_taken(taken, &whose).with_uid(entry.instance.id));
        }
    }
    Ok(entry.placement.claims().collect())
}

/// A port that another instance has, and what to do about it.
fn is_taken(Taken { instance, port, hold }: &Taken<'_>, whose: &str) -> Error {
    let (message, hint) = match hold {
        Hold::Kept => (
            format!("port {port} of {whose} leads to `{instance}`"),
            "stop that instance first, or publish another port: `hypervisor-ctl instance update`",
        ),
        Hold::UntilRestart => (
            format!("port {port} of {whose} still leads to `{instance}`, until that is restarted"),
            "restart that instance first, or publish another port: `hypervisor-ctl instance update`",
        ),
        Hold::Ending => (
            format!("port {port} of {whose} still leads to `{instance}`, whose guest has yet to end"),
            "try again when that instance is stopped, or publish another port: `hypervisor-ctl instance update`",
        ),
    };
    Error::new(ErrorKind::FailedPrecondition, message).with_hint(hint)
}

/// What a plan takes of nodes that have the instance already, or keep room for it: of two that were decided on the same sight of a node only
/// one is committed.
fn claim(plan: &mut Plan, cluster: &Cluster, entry: &InstanceEntry, nodes: impl IntoIterator<Item = NodeId>) {
    for node in nodes {
        let claims = cluster.claims(node);
        plan.writer
            .unchanged(keys::placement(entry.instance.id), entry.placement_revision)
            .unchanged(keys::node_placed(node), claims.placed)
            .unchanged(keys::node_raised(node), claims.raised)
            .put_text(keys::node_raised(node), "");
    }
}

/// Whether a verb is acceptable now. Of an instance that waits to be found again nobody knows whether it runs: a stop is recorded for when
/// it is found, every other verb is refused.
fn decided(cluster: &Cluster, entry: &InstanceEntry, request: Request) -> Result<Decision, Error> {
    let instance = &entry.instance;
    if cluster.missing(entry) == Some(Missing::Waits)
        && !matches!(request, Request::Stop | Request::ForceStop)
    {
        let (verb, name) = (request.as_str(), &instance.metadata.name);
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("cannot {verb} `{name}`: {}", cluster.awaits_report(instance)),
        )
        .with_uid(instance.id)
        .with_hint("`hypervisor-ctl node list` shows which nodes are connected"));
    }
    decide(instance, request)
}

/// The label that says of an instance that it is nowhere has to name the restore that it is said of: another one would do nothing.
fn check_nowhere_label(cluster: &Cluster, old: &Labels, new: &Labels) -> Result<(), Error> {
    let Some(said) = new.get(NOWHERE_LABEL).filter(|said| old.get(NOWHERE_LABEL) != Some(*said)) else {
        return Ok(());
    };
    let was = match cluster.restored() {
        Some(restored) if *said == restored.to_string() => return Ok(()),
        Some(restored) => {
            format!("this store was restored at revision {restored}: {NOWHERE_LABEL}={restored}")
        }
        None => "this store was never restored".to_owned(),
    };
    Err(Error::invalid("labels", format!("`{NOWHERE_LABEL}={said}` names no restore of this store; {was}"))
        .with_hint("the instance's message has the whole command"))
}

fn apply(spec: &mut InstanceSpec, decision: Decision, timeout: Option<Duration>) {
    if let Decision::Set { run_state, bump_serial, force } = decision {
        spec.run_state = run_state;
        spec.restart_serial += u64::from(bump_serial);
        spec.force_stop = force;
        spec.stop_timeout_once = timeout.filter(|_| run_state == RunState::Stopped);
    }
}

/// Records a changed instance: a changed specification gets a new generation, and its operation waits for it. Without one
/// there is nothing to wait for, unless the last change is still under way.
fn change(entry: &InstanceEntry, mut instance: Instance, kind: OperationKind, context: &Context) -> Plan {
    let old = &entry.instance;
    let spec_changed = instance.spec != old.spec || instance.is_deleting() != old.is_deleting();
    let mut writer = Writer::default();
    let key = keys::instance(&old.metadata.project, old.id);
    if spec_changed {
        instance.metadata.generation += 1;
    }
    if instance.metadata == old.metadata && !spec_changed {
        writer.only_if(Compare::Exists(key));
    } else {
        writer.unchanged(key, Some(entry.spec_revision)).put_instance(&instance);
    }
    let metadata = &instance.metadata;
    let mut operation = context.operation(kind, Target::Instance(old.id), &metadata.name, &metadata.project);
    operation.target_generation = metadata.generation;
    operation.target_restart_serial = instance.spec.restart_serial;
    let settled =
        old.status.observed_generation >= metadata.generation || kind == OperationKind::InstanceUpdate;
    if !spec_changed && settled && !instance.is_deleting() {
        operation.end(context.now, OperationPhase::Succeeded, "it was so already", None);
    } else if entry.placement.stays_lost(&instance.spec) && !instance.is_deleting() {
        // Nobody will act on it before it is started.
        operation.end(context.now, OperationPhase::Succeeded, "recorded for its next start", None);
    } else if kind == OperationKind::InstanceUpdate
        && (old.status.phase, old.placement.is_some()) == (Phase::Failed, true)
        && (instance.spec.run_state, instance.spec.restart_serial)
            == (old.spec.run_state, old.spec.restart_serial)
    {
        // How its last start ended says nothing of this change, and whether there is another start is not for the change to say.
        let message = "recorded for its next start; it has failed before, and `instance start` tries again";
        operation.end(context.now, OperationPhase::Succeeded, message, None);
    }
    context.plan(writer, operation)
}

/// Plans a deletion.
pub fn delete(
    cluster: &Cluster,
    request: &v1::DeleteInstanceRequest,
    context: &Context,
) -> Result<Plan, Error> {
    let entry = find(cluster, &request.project, &request.instance)?;
    check_precondition(request.precondition.as_ref(), entry.instance.metadata.generation, entry.instance.id)?;
    decide(&entry.instance, Request::Delete)?;
    if let (true, Some(node)) = (request.only_unplaced, entry.placement.node) {
        let name = cluster
            .nodes()
            .get(&node)
            .map_or_else(|| node.to_string(), |it| it.node.metadata.name.to_string());
        let message = format!("node {name} has `{}` by now", entry.instance.metadata.name);
        let refused = Error::new(ErrorKind::FailedPrecondition, message).with_uid(entry.instance.id);
        return Err(refused.with_hint("look at it again, and decide anew: `hypervisor-ctl instance get`"));
    }
    let mut instance = entry.instance.clone();
    instance.metadata.deletion_requested_at.get_or_insert(context.now);
    if request.force && cluster.missing(entry).is_some() {
        // Said once more, it is said of the restored store.
        instance.metadata.deletion_requested_at = Some(context.now);
    }
    if request.force {
        instance.spec.force_stop = true;
    } else if !entry.instance.is_deleting() {
        // What an earlier stop said does not hold for this one.
        instance.spec.force_stop = false;
    }
    let mut plan = change(entry, instance, OperationKind::InstanceDelete, context);
    if request.only_unplaced {
        plan.writer.unchanged(keys::placement(entry.instance.id), entry.placement_revision);
    }
    Ok(plan)
}

/// A planned update, and what it means for a running guest.
#[derive(Debug)]
pub struct Update {
    /// What to commit.
    pub plan: Plan,
    /// Fields that wait for a restart.
    pub needs_restart: Vec<Field>,
}

/// Plans an update.
pub fn update(
    cluster: &Cluster,
    request: &v1::UpdateInstanceRequest,
    context: &Context,
) -> Result<Update, Error> {
    let entry = find(cluster, &request.project, &request.instance)?;
    let old = &entry.instance;
    check_precondition(request.precondition.as_ref(), old.metadata.generation, old.id)?;
    decide(old, Request::Update)?;
    let paths = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        return Err(Error::invalid("update_mask", "name the fields to change, such as spec.cpus"));
    }
    let keyed = |path: &str| key_of("labels", path).or_else(|| key_of("annotations", path)).is_some();
    let whole = paths.iter().filter(|path| !keyed(path));
    let mask = whole.map(|path| Field::parse(path)).collect::<Result<Vec<_>, _>>()?;
    let mut instance = old.clone();
    if let Some(labels) = pairs_after("labels", &old.metadata.labels, &request.labels, paths) {
        check_labels("labels", &labels)?;
        check_nowhere_label(cluster, &old.metadata.labels, &labels)?;
        instance.metadata.labels = labels;
    }
    if let Some(annotations) =
        pairs_after("annotations", &old.metadata.annotations, &request.annotations, paths)
    {
        check_annotations("annotations", &annotations)?;
        instance.metadata.annotations = annotations;
    }
    instance.spec = masked(&old.spec, request.spec.as_ref(), &mask)?;
    let mut claimed = BTreeSet::from_iter(check_room(cluster, entry, &instance)?);
    if instance.spec.root_disk_bytes < old.spec.root_disk_bytes {
        return Err(Error::invalid("spec.root_disk_bytes", "a disk cannot shrink"));
    }
    if mask.contains(&Field::RunState) {
        let wanted = hv_api::convert::run_state_from(
            "spec.run_state",
            request.spec.as_ref().map_or(0, |spec| spec.run_state),
        )?;
        let verb = match (wanted, old.spec.run_state) {
            (RunState::Running, RunState::Paused) => Request::Resume,
            (RunState::Running, _) => Request::Start,
            (RunState::Paused, _) => Request::Pause,
            (RunState::Stopped, _) => Request::Stop,
        };
        apply(&mut instance.spec, decided(cluster, entry, verb)?, None);
    }
    claimed.extend(check_ports(cluster, entry, &instance)?);
    let has_guest = matches!(
        old.status.phase,
        Phase::Starting | Phase::Running | Phase::Paused | Phase::Stopping | Phase::Unknown
    );
    let waiting = if has_guest { needs_restart(&old.spec, &instance.spec) } else { Vec::new() };
    let mut plan = change(entry, instance, OperationKind::InstanceUpdate, context);
    claim(&mut plan, cluster, entry, claimed);
    Ok(Update { plan, needs_restart: waiting })
}

/// An instance may grow only into what its node has left, and the node that it leaves for. Answers the nodes that it takes more of:
/// what was seen there must still hold at the commit.
fn check_room(cluster: &Cluster, entry: &InstanceEntry, new: &Instance) -> Result<Vec<NodeId>, Error> {
    let (own, wanted) = (entry.instance.resources(), new.resources());
    if wanted.shortages(own).is_empty() {
        return Ok(Vec::new());
    }
    let room = |node: &Node| {
        let free = node.status.report.allocatable - (cluster.allocated(node.id) - own);
        match wanted.shortages(free).first() {
            None => Ok(node.id),
            Some(shortage) => Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!("node {} has no room for it: the instance {shortage}", node.metadata.name),
            )
            .with_uid(entry.instance.id)
            .with_hint("free something on that node, or ask for less")),
        }
    };
    let nodes = entry.placement.claims().filter_map(|node| cluster.nodes().get(&node));
    nodes.map(|node| room(&node.node)).collect()
}

/// The old specification with the masked fields of the new one; checked as a whole.
fn masked(old: &InstanceSpec, new: Option<&v1::InstanceSpec>, mask: &[Field]) -> Result<InstanceSpec, Error> {
    let mut wire = spec_to(old);
    let new = new.cloned().unwrap_or_default();
    for field in mask {
        match field {
            Field::Labels | Field::Annotations | Field::RunState => {}
            Field::Cpus => wire.cpus = new.cpus,
            Field::Memory => wire.memory_bytes = new.memory_bytes,
            Field::RootDisk => wire.root_disk_bytes = new.root_disk_bytes,
            Field::Interfaces => wire.network_interfaces.clone_from(&new.network_interfaces),
            Field::Boot => wire.boot.clone_from(&new.boot),
            Field::CloudInit => wire.cloud_init.clone_from(&new.cloud_init),
            Field::Relocation => wire.relocation = new.relocation,
            Field::RestartPolicy => wire.restart_policy = new.restart_policy,
            Field::StopTimeout => wire.stop_timeout_ms = new.stop_timeout_ms,
        }
    }
    spec_from(&wire)
}

fn find<'a>(
    cluster: &'a Cluster,
    project: &str,
    reference: &str,
) -> Result<&'a std::sync::Arc<InstanceEntry>, Error> {
    if reference.is_empty() {
        return Err(Error::invalid("instance", "name an instance, or give its uid"));
    }
    cluster.find_instance(&project_from("project", project)?, reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::world::World;

    #[test]
    fn of_two_raises_at_once_only_what_the_node_has_is_committed() {
        let mut world = World::new();
        let node = world.node("alpha", 4);
        for name in ["one", "two"] {
            world.create(name);
            world.place(name, node);
        }
        // Each of them fits, and both together do not.
        let (one, two) = (world.raise("one", 3).unwrap(), world.raise("two", 3).unwrap());
        assert!(world.commit(one.writer));
        assert!(!world.commit(two.writer), "it was decided before the other");
        let refused = world.raise("two", 3).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
        assert!(refused.message.contains("no room"), "{refused}");
        // Smaller ones are still to be had, also twice at once where one is no raise.
        let (less, one) = (world.raise("one", 2).unwrap(), world.raise("two", 1).unwrap());
        assert!(world.commit(less.writer) && world.commit(one.writer));
        let two = world.raise("two", 2);
        world.take(two);
    }

    /// An instance that has ended on a node, with a port that it wants.
    fn stopped_on(world: &mut World, name: &str, node: hv_core::NodeId) {
        world.create(name);
        world.place(name, node);
        world.act(name, Request::Stop, None);
        let published = publishes(world, name);
        world.take(published);
        is_in(world, name, Phase::Stopped);
    }

    fn publishes(world: &World, name: &str) -> Result<Plan, Error> {
        let port = v1::PublishedPort { host_port: 2222, guest_port: 22, ..Default::default() };
        let user = v1::UserNetwork { publish: vec![port] };
        let interface = v1::NetworkInterfaceSpec {
            name: "net0".into(),
            attachment: Some(v1::network_interface_spec::Attachment::User(user)),
            ..Default::default()
        };
        let request = v1::UpdateInstanceRequest {
            instance: name.into(),
            spec: Some(v1::InstanceSpec { network_interfaces: vec![interface], ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["spec.network_interfaces".into()] }),
            ..Default::default()
        };
        update(&world.cluster, &request, &world.context()).map(|update| update.plan)
    }

    fn starts(world: &World, instance: &str) -> Result<Plan, Error> {
        let verb = Act { instance, project: "", request: Request::Start, timeout: None, precondition: None };
        act(&world.cluster, &verb, &world.context())
    }

    fn is_in(world: &mut World, name: &str, phase: Phase) {
        let instance = &world.entry(name).instance;
        let observed_generation = instance.metadata.generation;
        let status = InstanceStatus { phase, observed_generation, ..instance.status.clone() };
        let mut writer = Writer::default();
        writer.put_instance_status(instance.id, &status);
        assert!(world.commit(writer));
    }

    #[test]
    fn of_two_starts_at_once_that_want_one_port_one_is_committed() {
        let mut world = World::new();
        let node = world.node("alpha", 4);
        for name in ["one", "two"] {
            stopped_on(&mut world, name, node);
        }
        let (one, two) = (starts(&world, "one").unwrap(), starts(&world, "two").unwrap());
        assert!(world.commit(one.writer));
        assert!(!world.commit(two.writer), "it was decided before the other");
        let refused = starts(&world, "two").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
        assert!(refused.message.ends_with("leads to `one`"), "{refused}");
        // Nor when that is stopped before its node has said what it made of the start.
        world.act("one", Request::Stop, None);
        let refused = starts(&world, "two").unwrap_err();
        assert!(refused.message.contains("still leads to `one`"), "{refused}");
        is_in(&mut world, "one", Phase::Stopped);
        let one = starts(&world, "one");
        world.take(one);
        // Until the guest of the other has ended, not until that was asked for.
        is_in(&mut world, "one", Phase::Running);
        world.act("one", Request::Stop, None);
        let refused = starts(&world, "two").unwrap_err();
        assert!(refused.message.contains("still leads to `one`"), "{refused}");
        // A node says so of what is to be deleted before its guest has ended.
        is_in(&mut world, "one", Phase::Deleting);
        let refused = starts(&world, "two").unwrap_err();
        assert!(refused.message.contains("still leads to `one`"), "{refused}");
        is_in(&mut world, "one", Phase::Stopped);
        let two = starts(&world, "two");
        world.take(two);
    }

    /// Its node is drained, and the other keeps room for it.
    fn leaves_for(world: &mut World, name: &str, other: NodeId) {
        let entry = world.entry(name);
        let (id, before) = (entry.instance.id, entry.placement.clone());
        let mut writer = Writer::default();
        writer.put_placement(id, &PlacementRecord { leaving: true, reserved: Some(other), ..before });
        assert!(world.commit(writer));
    }

    #[test]
    fn a_start_asks_for_its_ports_also_where_room_is_kept_for_it() {
        let mut world = World::new();
        let (alpha, beta) = (world.node("alpha", 4), world.node("beta", 4));
        for (name, node) in [("one", alpha), ("two", beta)] {
            stopped_on(&mut world, name, node);
        }
        leaves_for(&mut world, "one", beta);
        let (one, two) = (starts(&world, "one").unwrap(), starts(&world, "two").unwrap());
        assert!(world.commit(two.writer));
        assert!(!world.commit(one.writer), "it was decided before the other");
        let refused = starts(&world, "one").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
        let why = "of node beta, where room is kept for it, leads to `two`";
        assert!(refused.message.ends_with(why), "{refused}");
    }

    #[test]
    fn what_is_deleted_as_long_as_no_node_has_it_stays_when_one_has() {
        let mut world = World::new();
        let node = world.node("alpha", 4);
        world.create("one");
        let request =
            v1::DeleteInstanceRequest { instance: "one".into(), only_unplaced: true, ..Default::default() };
        let before = delete(&world.cluster, &request, &world.context()).unwrap();
        world.place("one", node);
        assert!(!world.commit(before.writer), "it was decided before it was placed");
        let refused = delete(&world.cluster, &request, &world.context()).unwrap_err();
        assert!(refused.message.contains("node alpha has `one`"), "{refused}");
    }
}

//! The controller on a model store, where a whole server would be too much.

use super::sighting::Seen;
use super::{Conn, Controller, Effect, Input, Now, Subject, Timing};
use crate::app::Plan;
use crate::app::world::World;
use crate::state::write::Writer;
use crate::state::{Change, Cluster, keys};
use hv_api::convert::{report_to, status_from};
use hv_api::v1;
use hv_api::v1::agent_message::Message as Up;
use hv_core::condition::{KEPT_DISKS, REVOCATION, STRAY, UNKNOWN_INSTANCES};
use hv_core::instance::{Instance, InstanceSpec, InstanceStatus, Phase, Relocation};
use hv_core::node::{DriverStatus, Node, NodePhase, NodeReport, NodeSpec, NodeStatus};
use hv_core::{
    ConditionStatus, InstanceId, Labels, Metadata, Name, NodeId, OperationId, Resources, Timestamp,
};
use hv_store::model::Model;
use hv_store::{LeaseId, Op, Txn};
use std::sync::Arc;
use std::time::Duration;

const NOW: Now = Now { wall: Timestamp(1), mono: Duration::from_secs(1), expiry: LeaseId(1) };

fn metadata(name: &str) -> Metadata {
    Metadata {
        name: Name::parse("name", name).expect("a name"),
        project: Name::parse("name", "default").expect("a name"),
        labels: Labels::new(),
        annotations: Labels::new(),
        generation: 1,
        created_at: Timestamp(1),
        deletion_requested_at: None,
        finalizers: vec![],
    }
}

/// Applies a transaction; says whether its conditions held, and what became visible.
fn apply(model: &mut Model, cluster: &mut Cluster, txn: &Txn) -> (hv_store::TxnOutcome, Vec<Arc<Change>>) {
    let outcome = model.txn(txn).expect("a valid transaction");
    let changes = model.events_since(keys::ROOT, cluster.revision(), 0).expect("nothing is compacted");
    let visible = changes.batches.iter().flat_map(|batch| cluster.apply(batch).expect("readable"));
    (outcome, visible.map(Arc::new).collect())
}

fn placement(effects: &[Effect]) -> Option<(Subject, Txn)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Txn(subject @ Subject::Instance(id), txn) => {
            let places = |op: &Op| matches!(op, Op::Put { key, .. } if *key == keys::placement(*id));
            txn.then.iter().any(places).then(|| (*subject, txn.clone()))
        }
        _ => None,
    })
}

#[test]
fn a_placement_that_was_refused_leaves_no_reservation_behind() {
    let (mut model, mut cluster) = (Model::new("test"), Cluster::default());
    let room = Resources { cpus: 4, memory_bytes: 4 << 30, disk_bytes: 1 << 30, gpus: 0 };
    let driver = DriverStatus { healthy: true, instance_types: vec!["vm".into()], ..DriverStatus::default() };
    let node = Node {
        id: "018f4e2a-0000-7000-8000-000000000001".parse().expect("a uid"),
        metadata: metadata("alpha"),
        spec: NodeSpec::default(),
        status: NodeStatus {
            phase: NodePhase::Ready,
            report: NodeReport { allocatable: room, drivers: vec![driver], ..NodeReport::default() },
            ..NodeStatus::default()
        },
    };
    // It takes all the node has: whatever else were reserved there, it would not fit.
    let mut instance = Instance {
        id: "018f4e2a-0000-7000-8000-000000000002".parse().expect("a uid"),
        metadata: metadata("demo"),
        spec: InstanceSpec { image: Some("/i".into()), cpus: 4, ..InstanceSpec::default() },
        status: InstanceStatus::default(),
        placement: None,
    };
    let mut writer = Writer::default();
    writer.put_node(&node).put_node_status(&node).put_instance(&instance);
    apply(&mut model, &mut cluster, &writer.finish());

    let mut controller = Controller::new(&cluster, Timing::default(), "test", NOW.mono);
    let effects = controller.step(Input::Tick, &cluster, NOW);
    let (subject, placing) = placement(&effects).expect("there is room");
    // Its owner changes it meanwhile.
    instance.metadata.generation = 2;
    let mut writer = Writer::default();
    writer.put_instance(&instance);
    let (_, changes) = apply(&mut model, &mut cluster, &writer.finish());
    let (outcome, _) = apply(&mut model, &mut cluster, &placing);
    assert!(!outcome.succeeded, "it was decided on an older specification");

    let mut effects = controller.step(Input::Done(subject, Ok(outcome)), &cluster, NOW);
    effects.extend(controller.step(Input::Changes(&changes), &cluster, NOW));
    assert!(placement(&effects).is_some(), "it is placed again: {effects:?}");
}

/// A node with four CPUs, an instance on it that has one of them, and one that wants three and waits for its placement.
fn crowded() -> (World, Txn) {
    let mut world = World::new();
    let node = world.node("alpha", 4);
    world.create("placed");
    world.place("placed", node);
    world.create("waiting");
    let raised = world.raise("waiting", 3);
    world.take(raised);
    let mut controller = Controller::new(&world.cluster, Timing::default(), "test", NOW.mono);
    let (_, txn) = placement(&controller.step(Input::Tick, &world.cluster, NOW)).expect("there is room");
    (world, txn)
}

#[test]
fn a_raise_beside_a_placement_is_decided_again() {
    let (mut world, placing) = crowded();
    let raise = world.raise("placed", 2).expect("it does not see the placement");
    assert!(world.apply(&placing));
    assert!(!world.commit(raise.writer), "the placement came first");
    assert!(world.raise("placed", 2).is_err());
}

#[test]
fn a_placement_beside_a_raise_is_decided_again() {
    let (mut world, placing) = crowded();
    let raise = world.raise("placed", 2);
    world.take(raise);
    assert!(!world.apply(&placing), "the raise came first");
    let mut controller = Controller::new(&world.cluster, Timing::default(), "test", NOW.mono);
    assert!(placement(&controller.step(Input::Tick, &world.cluster, NOW)).is_none(), "it waits");
}

/// A controller, its store, and agents of the nodes in it.
struct Site {
    world: World,
    controller: Controller,
}

impl Site {
    fn new(world: World) -> Self {
        let controller = Controller::new(&world.cluster, Timing::default(), "test", NOW.mono);
        Self { world, controller }
    }

    /// Takes an input, and commits what follows until nothing does.
    fn step(&mut self, input: Input<'_>) {
        let mut effects = self.controller.step(input, &self.world.cluster, NOW);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                let Effect::Txn(subject, txn) = effect else { continue };
                let outcome = self.world.model.txn(&txn).expect("a valid transaction");
                let visible = self.world.follow();
                let cluster = &self.world.cluster;
                effects.extend(self.controller.step(Input::Changes(&visible), cluster, NOW));
                effects.extend(self.controller.step(Input::Done(subject, Ok(outcome)), cluster, NOW));
            }
        }
    }

    fn connect(&mut self, node: NodeId) {
        let conn = Conn(self.controller.streams.len() as u64);
        self.step(Input::Opened { conn, candidate: node });
        let report = report_to(&self.world.cluster.nodes()[&node].node.status.report);
        let hello =
            v1::Hello { node_uid: node.to_string(), session: 1, report: Some(report), ..Default::default() };
        self.frame(conn, 1, Up::Hello(hello));
    }

    fn frame(&mut self, conn: Conn, sequence: u64, message: Up) {
        self.step(Input::Frame(conn, Box::new(v1::AgentMessage { sequence, message: Some(message) })));
    }

    fn report(&mut self, node: NodeId, report: v1::ObservedInstance) {
        self.observed(node, v1::Observed { full: false, complete: true, instances: vec![report] });
    }

    fn observed(&mut self, node: NodeId, observed: v1::Observed) {
        let session = &self.controller.sessions[&node];
        let (conn, next) = (session.conn, session.link.received() + 1);
        self.frame(conn, next, Up::Observed(observed));
    }

    fn disconnect(&mut self, node: NodeId) {
        let conn = self.controller.sessions[&node].conn;
        self.step(Input::Closed(conn));
    }

    /// Another server on the same store.
    fn restart(&mut self) {
        self.controller = Controller::new(&self.world.cluster, Timing::default(), "test", NOW.mono);
        self.step(Input::Tick);
    }
}

#[test]
fn what_no_assignment_explains_settles_nothing_and_a_guest_that_lives_beats_a_newer_one_that_does_not() {
    let mut world = World::new();
    let (alpha, beta) = (world.node("alpha", 4), world.node("beta", 4));
    world.create("demo");
    world.place("demo", alpha);
    let id = world.entry("demo").instance.id;
    let mut writer = Writer::default();
    writer.put_text(keys::RESTORED.to_owned(), "from incarnation former");
    assert!(world.commit(writer));
    let mut site = Site::new(world);
    let report = |epoch, phase: v1::InstancePhase| v1::ObservedInstance {
        uid: id.to_string(),
        epoch,
        status: Some(v1::InstanceStatus {
            phase: phase.into(),
            message: "seen".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let stray = |site: &Site| {
        let conditions = &site.world.entry("demo").instance.status.conditions;
        conditions.get(STRAY).map(|stray| (stray.reason.clone(), stray.message.clone()))
    };
    let missing = |site: &Site| site.world.cluster.missing(site.world.entry("demo")).is_some();
    site.connect(alpha);
    site.connect(beta);

    site.report(beta, v1::ObservedInstance { orphan: true, ..report(0, v1::InstancePhase::Running) });
    assert!(missing(&site), "it may be anything");
    let (reason, message) = stray(&site).expect("people are told");
    assert!(
        reason == "GuestElsewhere" && message.contains("beta, which remembers no assignment"),
        "{message}"
    );
    // An agent that has yet to look says nothing of it.
    site.report(
        beta,
        v1::ObservedInstance {
            status: Some(v1::InstanceStatus {
                phase: v1::InstancePhase::Unknown.into(),
                ..Default::default()
            }),
            ..report(7, v1::InstancePhase::Unknown)
        },
    );
    assert!(missing(&site));

    // Both come to be known at once: one that lives, and a newer one that does not.
    let both =
        [(beta, report(9, v1::InstancePhase::Stopped)), (alpha, report(7, v1::InstancePhase::Running))];
    for (node, report) in both {
        let status = status_from(report.status.as_ref().unwrap()).unwrap();
        let Seen::There(sighting) = Seen::of(node, &report, &status) else { panic!("it is there") };
        let session = site.controller.sessions.get_mut(&node).unwrap();
        session.sightings.insert(id, sighting);
        session.told.insert(id);
    }
    site.controller.dirty.insert(Subject::Instance(id));
    site.step(Input::Tick);
    assert!(!missing(&site));
    assert_eq!(site.world.entry("demo").placement.node, Some(alpha));
    let (reason, message) = stray(&site).expect("the other one is shown");
    assert!(reason == "DisksElsewhere" && message.contains("beta, under assignment 9"), "{message}");

    // What its node says of it does not hide that; once it is gone there, nothing is shown any more.
    let epoch = site.world.entry("demo").placement.epoch.0;
    site.report(alpha, report(epoch, v1::InstancePhase::Running));
    assert_eq!(site.world.entry("demo").instance.status.phase, Phase::Running);
    assert!(stray(&site).is_some());
    site.report(beta, v1::ObservedInstance { gone: true, ..report(9, v1::InstancePhase::Stopped) });
    assert_eq!(stray(&site), None);
}

/// What a node says of a guest of an instance that does not belong there.
fn stray_guest(id: InstanceId) -> v1::ObservedInstance {
    v1::ObservedInstance {
        uid: id.to_string(),
        epoch: 1,
        status: Some(v1::InstanceStatus { phase: v1::InstancePhase::Running.into(), ..Default::default() }),
        orphan: true,
        ..Default::default()
    }
}

fn full(complete: bool, instances: Vec<v1::ObservedInstance>) -> v1::Observed {
    v1::Observed { full: true, complete, instances }
}

#[test]
fn a_stray_is_shown_until_its_node_says_that_it_is_gone_or_is_gone_itself() {
    let mut world = World::new();
    let (alpha, beta) = (world.node("alpha", 4), world.node("beta", 4));
    world.create("demo");
    world.place("demo", alpha);
    let id = world.entry("demo").instance.id;
    let mut site = Site::new(world);
    site.connect(alpha);
    site.connect(beta);
    let stray = |site: &Site| {
        let conditions = &site.world.entry("demo").instance.status.conditions;
        conditions.get(STRAY).map(|stray| stray.message.clone())
    };
    site.observed(beta, full(true, vec![stray_guest(id)]));
    let shown = stray(&site).expect("it is shown");
    assert!(shown.contains("a guest of it on node beta, under assignment 1"), "{shown}");
    // Its node is away, and the server is another; then the node comes back and has yet to say what it has.
    site.disconnect(beta);
    assert_eq!(stray(&site).as_ref(), Some(&shown));
    site.restart();
    assert_eq!(stray(&site).as_ref(), Some(&shown));
    site.connect(beta);
    site.observed(beta, full(false, vec![]));
    assert_eq!(stray(&site).as_ref(), Some(&shown));
    site.observed(beta, full(true, vec![stray_guest(id)]));
    assert_eq!(stray(&site).as_ref(), Some(&shown));
    // It comes back without it.
    site.disconnect(beta);
    site.connect(beta);
    site.observed(beta, full(false, vec![]));
    assert_eq!(stray(&site).as_ref(), Some(&shown));
    site.observed(beta, full(true, vec![]));
    assert_eq!(stray(&site), None);
    assert_eq!(site.world.entry("demo").strays, []);

    // What a node had that is none any more is nobody's to report.
    site.report(beta, stray_guest(id));
    assert!(stray(&site).is_some());
    site.disconnect(beta);
    let mut writer = Writer::default();
    writer.delete(keys::node(beta));
    assert!(site.world.model.txn(&writer.finish()).unwrap().succeeded);
    let visible = site.world.follow();
    site.step(Input::Changes(&visible));
    assert_eq!(stray(&site), None);
}

#[test]
fn a_node_shows_what_it_has_of_instances_that_nobody_knows_until_it_is_gone() {
    let mut world = World::new();
    let (alpha, beta) = (world.node("alpha", 4), world.node("beta", 4));
    world.create("demo");
    world.place("demo", alpha);
    let id = world.entry("demo").instance.id;
    let mut site = Site::new(world);
    site.connect(beta);
    let shown = |site: &Site| {
        let conditions = &site.world.cluster.nodes()[&beta].node.status.conditions;
        conditions.get(UNKNOWN_INSTANCES).map(|unknown| unknown.message.clone())
    };
    let other: InstanceId = "018f4e2a-0000-7000-8000-00000000abcd".parse().unwrap();
    let stray = |id: InstanceId| stray_guest(id);
    site.observed(beta, full(false, vec![stray(other)]));
    assert_eq!(shown(&site), None, "it may have more to tell");
    site.observed(beta, full(true, vec![stray(id)]));
    let message = shown(&site).expect("people are told");
    assert!(message.contains(&format!(": a guest of {other}. It is left alone")), "{message}");
    // A server that has just started shows what was known until the node has told all.
    site.disconnect(beta);
    site.restart();
    site.connect(beta);
    site.observed(beta, full(false, vec![]));
    assert_eq!(shown(&site).as_ref(), Some(&message));
    site.observed(beta, full(true, vec![stray(other), stray(id)]));
    site.report(beta, v1::ObservedInstance { uid: other.to_string(), gone: true, ..stray(other) });
    assert_eq!(shown(&site), None);
    // A stray is nobody's once its instance is removed.
    let mut writer = Writer::default();
    writer.delete(keys::instance(&Name::parse("name", "default").unwrap(), id));
    assert!(site.world.model.txn(&writer.finish()).unwrap().succeeded);
    let visible = site.world.follow();
    site.step(Input::Changes(&visible));
    assert!(shown(&site).expect("it is left").contains(&format!("a guest of {id}")));
}

#[test]
fn a_node_shows_the_guests_that_it_was_to_end_and_cannot() {
    let mut world = World::new();
    let (alpha, beta) = (world.node("alpha", 4), world.node("beta", 4));
    world.create("demo");
    world.place("demo", alpha);
    let id = world.entry("demo").instance.id;
    let mut site = Site::new(world);
    site.connect(beta);
    let shown = |site: &Site| {
        let conditions = &site.world.cluster.nodes()[&beta].node.status.conditions;
        conditions.get(REVOCATION).map(|revocation| (revocation.status, revocation.message.clone()))
    };
    let revoked = || v1::ObservedInstance { revoked: true, ..stray_guest(id) };
    let unended = |id: InstanceId, why: &str| {
        let mut report = v1::ObservedInstance { uid: id.to_string(), ..revoked() };
        report.status.as_mut().unwrap().conditions.push(v1::Condition {
            r#type: REVOCATION.into(),
            status: "False".into(),
            reason: "CannotEnd".into(),
            message: why.into(),
            ..Default::default()
        });
        report
    };
    site.observed(beta, full(true, vec![revoked()]));
    assert_eq!(shown(&site), None, "it is being ended");
    site.report(beta, unended(id, "kill: it does not die"));
    let (status, message) = shown(&site).expect("people are told");
    assert_eq!(status, ConditionStatus::False);
    assert!(message.contains(&format!("demo ({id}): kill: it does not die. End them")), "{message}");
    // One that the store has forgotten is told by its uid; a node that is away keeps what it said.
    let other: InstanceId = "018f4e2a-0000-7000-8000-00000000abcd".parse().unwrap();
    site.report(beta, unended(other, "kill: no"));
    site.disconnect(beta);
    site.restart();
    site.connect(beta);
    site.observed(beta, full(false, vec![]));
    let message = shown(&site).expect("it is still there").1;
    assert!(message.contains("demo (") && message.contains(&format!("{other}: kill: no")), "{message}");
    site.observed(beta, full(true, vec![unended(other, "kill: no")]));
    let message = shown(&site).expect("one is left").1;
    assert!(!message.contains("demo"), "{message}");
    // It has ended; its disks are kept until somebody removes them.
    let ended = v1::ObservedInstance { uid: other.to_string(), ..revoked() };
    site.report(beta, ended.clone());
    assert_eq!(shown(&site), None);
    let kept = |site: &Site| {
        let conditions = &site.world.cluster.nodes()[&beta].node.status.conditions;
        conditions.get(KEPT_DISKS).map(|kept| kept.message.clone())
    };
    let message = kept(&site).expect("it takes room");
    assert!(message.contains(&format!("are kept here: {other}. Remove")), "{message}");
    site.report(beta, v1::ObservedInstance { gone: true, ..ended });
    assert_eq!(kept(&site), None);
}

#[test]
fn a_disk_that_the_specification_says_no_size_of_counts_as_its_node_made_it() {
    let mut world = World::new();
    let alpha = world.node("alpha", 4);
    world.create("demo");
    world.place("demo", alpha);
    let entry = world.entry("demo");
    let (uid, epoch) = (entry.instance.id.to_string(), entry.placement.epoch.0);
    let mut site = Site::new(world);
    site.connect(alpha);
    let made = |phase: v1::InstancePhase, root_disk_bytes| v1::ObservedInstance {
        uid: uid.clone(),
        epoch,
        status: Some(v1::InstanceStatus { phase: phase.into(), root_disk_bytes, ..Default::default() }),
        ..Default::default()
    };
    let counted = |site: &Site| site.world.cluster.allocated(alpha).disk_bytes;
    site.report(alpha, made(v1::InstancePhase::Preparing, 0));
    assert_eq!(counted(&site), 0);
    site.report(alpha, made(v1::InstancePhase::Running, 2 << 30));
    assert_eq!(counted(&site), 2 << 30);
    // Its agent has just started, or cannot read it: it has not become smaller.
    site.report(alpha, made(v1::InstancePhase::Stopped, 0));
    assert_eq!(counted(&site), 2 << 30);
    let specified = |root_disk_bytes: u64| {
        let mut instance = site.world.entry("demo").instance.clone();
        instance.spec.root_disk_bytes = root_disk_bytes;
        instance.resources().disk_bytes
    };
    assert_eq!((specified(1 << 30), specified(3 << 30)), (2 << 30, 3 << 30));
}

#[test]
fn ports_that_a_guest_was_seen_with_are_its_while_nobody_can_look() {
    let (mut site, alpha) = movable();
    let entry = site.world.entry("demo");
    let (uid, epoch) = (entry.instance.id.to_string(), entry.placement.epoch.0);
    let port = v1::PublishedPort { host_port: 2222, guest_port: 22, ..Default::default() };
    let mut ports_after = |phase: v1::InstancePhase, message: &str, ports: &[v1::PublishedPort]| {
        let status = v1::InstanceStatus {
            phase: phase.into(),
            message: message.to_owned(),
            published_ports: ports.to_vec(),
            ..Default::default()
        };
        let report =
            v1::ObservedInstance { uid: uid.clone(), epoch, status: Some(status), ..Default::default() };
        site.report(alpha, report);
        let status = &site.world.entry("demo").instance.status;
        (status.message.clone(), status.published_ports.len())
    };
    assert_eq!(ports_after(v1::InstancePhase::Running, "", &[port]), (String::new(), 1));
    let unseen = "cannot observe: its monitor is away";
    assert_eq!(ports_after(v1::InstancePhase::Unknown, unseen, &[]), (unseen.to_owned(), 1));
    assert_eq!(ports_after(v1::InstancePhase::Stopped, "", &[]), (String::new(), 0));
}

/// `demo` runs on alpha, and may leave it.
fn movable() -> (Site, NodeId) {
    let mut world = World::new();
    let alpha = world.node("alpha", 4);
    world.create("demo");
    world.place("demo", alpha);
    let mut instance = world.entry("demo").instance.clone();
    instance.spec.relocation = Relocation::Recreate;
    let mut writer = Writer::default();
    writer.put_instance(&instance);
    assert!(world.commit(writer));
    let mut site = Site::new(world);
    site.connect(alpha);
    site.report_demo(alpha, v1::InstancePhase::Running, false);
    (site, alpha)
}

impl Site {
    fn report_demo(&mut self, node: NodeId, phase: v1::InstancePhase, gone: bool) {
        let entry = self.world.entry("demo");
        let (uid, epoch) = (entry.instance.id.to_string(), entry.placement.epoch.0);
        let status = Some(v1::InstanceStatus { phase: phase.into(), ..Default::default() });
        self.report(node, v1::ObservedInstance { uid, epoch, status, gone, ..Default::default() });
    }

    fn node(&mut self, name: &str, cpus: u32) -> NodeId {
        let node = self.world.node(name, cpus);
        self.connect(node);
        node
    }

    fn plan(&self, node: &str, to: v1::Schedulability) -> Plan {
        let request = v1::UpdateNodeRequest {
            node: node.into(),
            spec: Some(v1::NodeSpec { schedulability: to.into(), ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["spec.schedulability".into()] }),
            ..Default::default()
        };
        crate::app::node::update(&self.world.cluster, &request, &self.world.context()).unwrap()
    }

    /// Stores it; the controller has yet to hear of it.
    fn store(&mut self, plan: Plan) -> OperationId {
        assert!(self.world.model.txn(&plan.writer.finish()).unwrap().succeeded);
        plan.operation.id
    }

    fn hear(&mut self) {
        let visible = self.world.follow();
        self.step(Input::Changes(&visible));
    }

    fn drain(&mut self, node: &str) -> OperationId {
        let operation = self.store(self.plan(node, v1::Schedulability::Draining));
        self.hear();
        operation
    }

    /// Whether it has ended, and what it says.
    fn operation(&self, id: OperationId) -> (bool, String) {
        let operation = &self.world.cluster.operations()[&id].operation;
        let step = operation.steps.last().map(|(_, message)| message.clone());
        match operation.phase.is_final() {
            true => (true, operation.message.clone()),
            false => (false, step.unwrap_or_default()),
        }
    }
}

#[test]
fn a_drain_counts_as_leaving_what_leaves_for_the_last_room() {
    let (mut site, _) = movable();
    // Room for one of it, and not for two.
    let beta = site.node("beta", 1);
    let operation = site.drain("alpha");
    assert_eq!(site.world.entry("demo").placement.reserved, Some(beta));
    assert_eq!(site.operation(operation), (false, "waiting for demo to leave".into()));
}

#[test]
fn nothing_leaves_for_a_node_that_is_closed_in_that_instant() {
    for to in [v1::Schedulability::Cordoned, v1::Schedulability::Draining] {
        let (mut site, alpha) = movable();
        site.node("beta", 4);
        let closing = site.plan("beta", to);
        site.store(site.plan("alpha", v1::Schedulability::Draining));
        let visible = site.world.follow();
        let mut effects = site.controller.step(Input::Changes(&visible), &site.world.cluster, NOW);
        let (subject, leaving) = placement(&effects).expect("it leaves for beta");
        site.store(closing);
        let outcome = site.world.model.txn(&leaving).unwrap();
        assert!(!outcome.succeeded, "beta is {to:?} by now");

        // Decided again: it stays, since nothing else would take it.
        let visible = site.world.follow();
        effects = site.controller.step(Input::Done(subject, Ok(outcome)), &site.world.cluster, NOW);
        effects.extend(site.controller.step(Input::Changes(&visible), &site.world.cluster, NOW));
        assert!(placement(&effects).is_none(), "{effects:?}");
        let stays = &site.world.entry("demo").placement;
        assert!(stays.node == Some(alpha) && !stays.leaving, "{stays:?}");
    }
}

#[test]
fn a_placement_and_a_drain_in_the_same_instant_see_each_other() {
    let both = || {
        let mut world = World::new();
        world.node("alpha", 4);
        world.create("demo");
        let mut site = Site::new(world);
        let effects = site.controller.step(Input::Tick, &site.world.cluster, NOW);
        let (_, placing) = placement(&effects).expect("there is room");
        let draining = site.plan("alpha", v1::Schedulability::Draining);
        assert!(draining.operation.phase.is_final(), "nothing is there to wait for");
        (site, placing, draining)
    };
    let (mut site, placing, draining) = both();
    site.store(draining);
    assert!(!site.world.apply(&placing), "the drain came first");

    let (mut site, placing, draining) = both();
    assert!(site.world.apply(&placing));
    assert!(!site.world.commit(draining.writer), "the placement came first");
    let again = site.plan("alpha", v1::Schedulability::Draining);
    assert!(!again.operation.phase.is_final(), "it waits for what was placed");
}

#[test]
fn room_is_kept_elsewhere_when_the_node_that_something_leaves_for_is_drained() {
    let (mut site, alpha) = movable();
    let beta = site.node("beta", 4);
    let of_alpha = site.drain("alpha");
    assert_eq!(site.world.entry("demo").placement.reserved, Some(beta));

    // Decided before it is heard that room is kept elsewhere: the drain says for what.
    let gamma = site.node("gamma", 2);
    let plan = site.plan("beta", v1::Schedulability::Draining);
    assert!(!plan.operation.phase.is_final(), "room is kept there");
    let of_beta = site.store(plan);
    let visible = site.world.follow();
    let effects = site.controller.step(Input::Changes(&visible), &site.world.cluster, NOW);
    let mut moving = None;
    for effect in effects {
        let Effect::Txn(subject, txn) = effect else { continue };
        match subject {
            Subject::Instance(_) => moving = Some((subject, txn)),
            _ => {
                let outcome = site.world.model.txn(&txn).unwrap();
                site.step(Input::Done(subject, Ok(outcome)));
            }
        }
    }
    site.hear();
    let waits = "waiting for demo to go elsewhere: room is kept for it here";
    assert_eq!(site.operation(of_beta), (false, waits.into()));

    let (subject, txn) = moving.expect("room is kept elsewhere");
    let outcome = site.world.model.txn(&txn).unwrap();
    assert!(outcome.succeeded);
    site.hear();
    site.step(Input::Done(subject, Ok(outcome)));
    assert_eq!(site.world.entry("demo").placement.reserved, Some(gamma));
    assert_eq!(site.operation(of_beta), (true, "nothing is on it any more".into()));
    assert_eq!(site.operation(of_alpha), (false, "waiting for demo to leave".into()));

    // With that one closed too there is none: it is said, and it waits for its place when it has left.
    site.store(site.plan("gamma", v1::Schedulability::Cordoned));
    site.hear();
    let demo = site.world.entry("demo");
    assert_eq!((demo.placement.reserved, demo.placement.node), (None, Some(alpha)));
    let message = &demo.instance.status.message;
    assert_eq!(message, "it leaves node alpha, which is drained; no node keeps room for it");
    site.store(site.plan("beta", v1::Schedulability::Schedulable));
    site.hear();
    site.report_demo(alpha, v1::InstancePhase::Stopped, true);
    assert_eq!(site.world.entry("demo").placement.node, Some(beta));
}

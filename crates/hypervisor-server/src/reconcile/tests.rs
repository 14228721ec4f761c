//! The controller on a model store, where a whole server would be too much.

use super::sighting::Seen;
use super::{Conn, Controller, Effect, Input, Now, Subject, Timing};
use crate::app::world::World;
use crate::state::write::Writer;
use crate::state::{Change, Cluster, keys};
use hv_api::convert::{report_to, status_from};
use hv_api::v1;
use hv_api::v1::agent_message::Message as Up;
use hv_core::condition::STRAY;
use hv_core::instance::{Instance, InstanceSpec, InstanceStatus, Phase, Relocation};
use hv_core::node::{DriverStatus, Node, NodePhase, NodeReport, NodeSpec, NodeStatus};
use hv_core::{Labels, Metadata, Name, NodeId, Resources, Timestamp};
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
        let session = &self.controller.sessions[&node];
        let (conn, next) = (session.conn, session.link.received() + 1);
        let observed = v1::Observed { full: false, complete: true, instances: vec![report] };
        self.frame(conn, next, Up::Observed(observed));
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
        let Seen::There(sighting) = Seen::of(&report, &status) else { panic!("it is there") };
        site.controller.sessions.get_mut(&node).unwrap().sightings.insert(id, sighting);
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

#[test]
fn a_drain_counts_as_leaving_what_leaves_for_the_last_room() {
    let mut world = World::new();
    let alpha = world.node("alpha", 4);
    world.create("demo");
    world.place("demo", alpha);
    // Room for one of it, and not for two.
    let beta = world.node("beta", 1);
    let mut instance = world.entry("demo").instance.clone();
    instance.spec.relocation = Relocation::Recreate;
    let mut writer = Writer::default();
    writer.put_instance(&instance);
    assert!(world.commit(writer));
    let mut site = Site::new(world);
    site.connect(alpha);
    site.connect(beta);
    let status = v1::InstanceStatus { phase: v1::InstancePhase::Running.into(), ..Default::default() };
    let uid = instance.id.to_string();
    site.report(alpha, v1::ObservedInstance { uid, epoch: 1, status: Some(status), ..Default::default() });

    let request = v1::UpdateNodeRequest {
        node: "alpha".into(),
        spec: Some(v1::NodeSpec {
            schedulability: v1::Schedulability::Draining.into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.schedulability".into()] }),
        ..Default::default()
    };
    let plan = crate::app::node::update(&site.world.cluster, &request, &site.world.context()).unwrap();
    let (operation, txn) = (plan.operation.id, plan.writer.finish());
    assert!(site.world.model.txn(&txn).unwrap().succeeded);
    let visible = site.world.follow();
    site.step(Input::Changes(&visible));
    assert_eq!(site.world.entry("demo").placement.reserved, Some(beta));
    let operation = &site.world.cluster.operations()[&operation].operation;
    assert!(!operation.phase.is_final(), "{operation:?}");
    assert!(operation.steps.iter().any(|(_, message)| message.contains("waiting for demo")), "{operation:?}");
}

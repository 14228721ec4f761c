//! The controller on a model store, where a whole server would be too much.

use super::{Controller, Effect, Input, Now, Subject, Timing};
use crate::app::world::World;
use crate::state::write::Writer;
use crate::state::{Change, Cluster, keys};
use hv_core::instance::{Instance, InstanceSpec, InstanceStatus};
use hv_core::node::{DriverStatus, Node, NodePhase, NodeReport, NodeSpec, NodeStatus};
use hv_core::{Labels, Metadata, Name, Resources, Timestamp};
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

//! Nodes that are drained, and nodes that are abandoned and whose host comes back. Every hop real but the guests.
#![cfg(test)]

mod site;

use hv_api::v1;
use hv_core::InstanceId;
use hv_core::instance::{Epoch, Phase};
use hv_driver::fake::FakeDriver;
use hv_driver::{Guest, Handle};
use hv_runtime::clock;
use hypervisor_agent::Agent;
use hypervisor_agent::instance::Report;
use hypervisor_agent::node::Reports;
use site::{PATIENCE, Site, guest};
use std::time::Duration;
use tonic::Code;

/// Waits until the agent has nothing but orphans that do not run.
async fn all_left_behind(agent: &Agent, ids: &[InstanceId]) {
    reported(agent, |all| {
        ids.iter().all(|id| {
            let left = |report: &Report| report.orphan && report.status.phase == Phase::Stopped;
            all.instances.get(id).is_some_and(|(_, report)| left(report))
        })
    })
    .await;
}

/// Waits until an agent reports what is wanted.
async fn reported(agent: &Agent, wanted: impl Fn(&Reports) -> bool) {
    let mut reports = agent.node.reports.clone();
    let over = reports.wait_for(|reports| wanted(reports));
    drop(tokio::time::timeout(PATIENCE, over).await.expect("it comes to that").unwrap());
}

#[tokio::test]
async fn a_node_that_is_unknown_can_be_abandoned_and_what_returns_ends_its_guests() {
    let mut site = Site::start().await;
    let (alpha_host, beta_host) = (FakeDriver::new(clock::wall), FakeDriver::new(clock::wall));
    let alpha = site.agent("alpha", &alpha_host).await;
    let old_uid = site.node("alpha", v1::NodePhase::Ready).await;
    let mut ids = Vec::new();
    for name in ["again", "doomed", "idle"] {
        ids.push(site.create(name, |_| {}).await);
    }
    ids.push(site.create("free", |spec| spec.relocation = v1::Relocation::Recreate.into()).await);
    let abandon =
        v1::DeregisterNodeRequest { node: "alpha".into(), abandon_instances: true, ..Default::default() };
    // Never a node that works, not even a cordoned one.
    site.schedulability("alpha", v1::Schedulability::Cordoned).await;
    let refused = site.cluster.deregister_node(abandon.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("`alpha` is ready"), "{}", refused.message());

    // Its host is gone. A deletion waits for it, and it cannot be deregistered just so.
    alpha.drain(Duration::from_secs(5)).await.unwrap();
    site.node("alpha", v1::NodePhase::Unknown).await;
    let delete = v1::DeleteInstanceRequest { instance: "doomed".into(), ..Default::default() };
    let deletion = site.compute.delete_instance(delete).await.unwrap().into_inner().operation;
    let plain = v1::DeregisterNodeRequest { abandon_instances: false, ..abandon.clone() };
    let refused = site.cluster.deregister_node(plain).await.unwrap_err();
    assert!(refused.message().contains("4 instances are on node `alpha`"), "{}", refused.message());
    let error: v1::ErrorInfo = prost::Message::decode(refused.details()).unwrap();
    assert!(error.hint.contains("--abandon-instances"), "{error:?}");

    let done = site.cluster.deregister_node(abandon).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(done.message, "deregistered, and 4 instances abandoned");
    let ended = site.ended(deletion).await;
    assert_eq!((ended.phase(), ended.message.as_str()), (v1::OperationPhase::Succeeded, "deleted"));
    for name in ["again", "idle"] {
        let status = site.until(name, v1::InstancePhase::Failed).await;
        assert!(status.message.contains("node alpha was abandoned"), "{}", status.message);
        assert_eq!(status.node_name, "");
    }

    // One of them is wanted anew, elsewhere.
    let beta = site.agent("beta", &beta_host).await;
    // One may be made anew by itself.
    assert_eq!(site.until("free", v1::InstancePhase::Running).await.node_name, "beta");
    let started = site.start_instance("again").await;
    assert_eq!(started.phase(), v1::OperationPhase::Succeeded, "{started:?}");
    let status = site.until("again", v1::InstancePhase::Running).await;
    assert_eq!((status.node_name.as_str(), status.epoch > 1), ("beta", true));

    // The host comes back: it is another node now, and nothing of the old one runs.
    let alpha = site.agent("alpha", &alpha_host).await;
    let new_uid = site.node("alpha", v1::NodePhase::Ready).await;
    assert_ne!(new_uid, old_uid);
    all_left_behind(&alpha, &ids).await;
    for id in &ids {
        assert_eq!(guest(&alpha_host, *id), (Some(Guest::Absent), 1), "its disks are kept");
    }
    assert_eq!(guest(&beta_host, ids[0]), (Some(Guest::Running), 1));

    // It stays so across a restart of its agent, and it works as any other node.
    alpha.drain(Duration::from_secs(5)).await.unwrap();
    let alpha = site.agent("alpha", &alpha_host).await;
    all_left_behind(&alpha, &ids).await;
    site.schedulability("beta", v1::Schedulability::Cordoned).await;
    let started = site.start_instance("idle").await;
    assert_eq!(started.phase(), v1::OperationPhase::Succeeded, "{started:?}");
    assert_eq!(site.until("idle", v1::InstancePhase::Running).await.node_name, "alpha");
    assert_eq!(guest(&alpha_host, ids[2]), (Some(Guest::Running), 2));
    assert_eq!(guest(&alpha_host, ids[0]), (Some(Guest::Absent), 1));

    // A person has removed the disks of one: at the next session it is gone, and forgotten at one after the server has heard of that.
    alpha_host
        .tamper(ids[0], |host| host.delete(Handle { id: ids[0], epoch: Epoch(1) }))
        .expect("nothing of it runs");
    alpha.drain(Duration::from_secs(5)).await.unwrap();
    let alpha = site.agent("alpha", &alpha_host).await;
    reported(&alpha, |all| all.instances.get(&ids[0]).is_some_and(|(_, report)| report.gone)).await;
    let mut alpha = alpha;
    let forgotten = async {
        loop {
            alpha.drain(Duration::from_secs(5)).await.unwrap();
            alpha = site.agent("alpha", &alpha_host).await;
            let mut reports = alpha.node.reports.clone();
            let is_it =
                |all: &Reports| all.instances.contains_key(&ids[1]) && !all.instances.contains_key(&ids[0]);
            // A session that ends as soon as it has begun may not have said it: then the next one says it again.
            if tokio::time::timeout(Duration::from_secs(1), reports.wait_for(|all| is_it(all))).await.is_ok()
            {
                return alpha;
            }
        }
    };
    let alpha = tokio::time::timeout(PATIENCE, forgotten).await.expect("it is forgotten");

    site.end([alpha, beta]).await;
}

#[tokio::test]
async fn a_drained_node_loses_what_may_leave_and_says_what_stays() {
    let mut site = Site::start().await;
    let (alpha_host, beta_host) = (FakeDriver::new(clock::wall), FakeDriver::new(clock::wall));
    let alpha = site.agent("alpha", &alpha_host).await;
    site.node("alpha", v1::NodePhase::Ready).await;
    let recreate = |spec: &mut v1::InstanceSpec| spec.relocation = v1::Relocation::Recreate.into();
    let web = site.create("web", recreate).await;
    let database = site.create("db", |_| {}).await;
    let tied = |spec: &mut v1::InstanceSpec| {
        spec.relocation = v1::Relocation::Recreate.into();
        spec.placement = Some(v1::PlacementSpec { required_node: "alpha".into(), ..Default::default() });
    };
    let tied = site.create("tied", tied).await;

    // Nothing leaves for nowhere.
    let drained = site.schedulability("alpha", v1::Schedulability::Draining).await;
    assert_eq!(
        (drained.phase(), drained.message.as_str()),
        (
            v1::OperationPhase::Succeeded,
            "staying with their disks (relocation never): db; waiting for a node that takes them: web, tied"
        )
    );
    for id in [web, database, tied] {
        assert_eq!(guest(&alpha_host, id), (Some(Guest::Running), 1));
    }

    // Once there is another node, it goes there by itself, and is on one node at every moment.
    let beta = site.agent("beta", &beta_host).await;
    site.node("beta", v1::NodePhase::Ready).await;
    let drained = site.schedulability("alpha", v1::Schedulability::Draining).await;
    assert_eq!(drained.phase(), v1::OperationPhase::Succeeded, "{drained:?}");
    assert_eq!(
        drained.message,
        "staying with their disks (relocation never): db; waiting for a node that takes them: tied"
    );
    let status = site.until("web", v1::InstancePhase::Running).await;
    assert_eq!(status.node_name, "beta");
    assert_eq!(guest(&alpha_host, web), (None, 0), "nothing of it is left");
    assert_eq!(guest(&beta_host, web), (Some(Guest::Running), 1));
    assert_eq!(guest(&alpha_host, database), (Some(Guest::Running), 1));

    // What stays leaves with a deletion, and then the node is empty.
    for name in ["db", "tied"] {
        let delete = v1::DeleteInstanceRequest { instance: name.into(), ..Default::default() };
        let operation = site.compute.delete_instance(delete).await.unwrap().into_inner().operation;
        site.ended(operation).await;
    }
    let drained = site.schedulability("alpha", v1::Schedulability::Draining).await;
    assert_eq!(drained.message, "updated");

    site.end([alpha, beta]).await;
}

#[tokio::test]
async fn no_more_leave_than_the_other_nodes_can_take() {
    let mut site = Site::start().await;
    let hosts = [FakeDriver::new(clock::wall), FakeDriver::new(clock::wall), FakeDriver::new(clock::wall)];
    let alpha = site.agent("alpha", &hosts[0]).await;
    site.node("alpha", v1::NodePhase::Ready).await;
    let nodes = site.cluster.list_nodes(v1::ListNodesRequest::default()).await.unwrap().into_inner().nodes;
    let status = nodes[0].status.as_ref().unwrap();
    // A node holds one of these, and not two.
    let mib = status.allocatable.as_ref().unwrap().memory_bytes >> 20;
    let large = |spec: &mut v1::InstanceSpec| {
        spec.memory_bytes = (mib * 3 / 5) << 20;
        spec.relocation = v1::Relocation::Recreate.into();
    };
    let one = site.create("one", large).await;
    let beta = site.agent("beta", &hosts[1]).await;
    site.node("beta", v1::NodePhase::Ready).await;
    let two = site.create("two", large).await;
    for node in ["alpha", "beta"] {
        site.schedulability(node, v1::Schedulability::Draining).await;
    }
    // One of them keeps its guest and its disks: both could go to the new node, but not both of them.
    let gamma = site.agent("gamma", &hosts[2]).await;
    site.node("gamma", v1::NodePhase::Ready).await;
    let waits = "waiting for a node that takes them: ";
    let mut messages = Vec::new();
    for node in ["alpha", "beta"] {
        messages.push(site.schedulability(node, v1::Schedulability::Draining).await.message);
    }
    let (stays, left) = match messages[0].starts_with(waits) {
        true => (0, 1),
        false => (1, 0),
    };
    let names = ["one", "two"];
    assert_eq!(messages[stays], format!("{waits}{}", names[stays]));
    assert_eq!(site.until(names[left], v1::InstancePhase::Running).await.node_name, "gamma");
    let ids = [one, two];
    assert_eq!(guest(&hosts[stays], ids[stays]), (Some(Guest::Running), 1), "it was never asked to end");
    assert_eq!(guest(&hosts[left], ids[left]), (None, 0));
    assert_eq!(guest(&hosts[2], ids[left]), (Some(Guest::Running), 1));

    site.end([alpha, beta, gamma]).await;
}

#[tokio::test]
async fn a_drain_waits_for_a_guest_that_takes_its_time_and_ends_with_an_uncordon() {
    let mut site = Site::start().await;
    let (alpha_host, beta_host) = (FakeDriver::new(clock::wall), FakeDriver::new(clock::wall));
    let alpha = site.agent("alpha", &alpha_host).await;
    site.node("alpha", v1::NodePhase::Ready).await;
    let slow = |spec: &mut v1::InstanceSpec| {
        spec.relocation = v1::Relocation::Recreate.into();
        spec.stop_timeout_ms = 3_600_000;
    };
    let slow = site.create("slow", slow).await;
    alpha_host.tamper(slow, |host| {
        if let Some(slot) = host.slot_mut(slow) {
            slot.heeds_power_button = false;
        }
    });
    let beta = site.agent("beta", &beta_host).await;
    site.node("beta", v1::NodePhase::Ready).await;
    let request = v1::UpdateNodeRequest {
        node: "alpha".into(),
        spec: Some(v1::NodeSpec {
            schedulability: v1::Schedulability::Draining.into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.schedulability".into()] }),
        ..Default::default()
    };
    let drain = site.cluster.update_node(request).await.unwrap().into_inner().operation;
    let status = site.until("slow", v1::InstancePhase::Migrating).await;
    assert!(status.message.contains("leaves node alpha"), "{}", status.message);
    let request = v1::GetOperationRequest { operation: drain.clone().unwrap().uid };
    let now = site.operations.get_operation(request).await.unwrap().into_inner();
    assert!(!matches!(now.phase(), v1::OperationPhase::Succeeded), "{now:?}");
    // Another change of the node does not take its place.
    let zone = v1::UpdateNodeRequest {
        node: "alpha".into(),
        spec: Some(v1::NodeSpec { zone: "b".into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.zone".into()] }),
        ..Default::default()
    };
    site.cluster.update_node(zone).await.unwrap();
    let cancel = v1::CancelOperationRequest { operation: drain.clone().unwrap().uid };
    let refused = site.operations.cancel_operation(cancel).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    site.schedulability("alpha", v1::Schedulability::Schedulable).await;
    let drained = site.ended(drain).await;
    assert_eq!(
        (drained.phase(), drained.message.as_str()),
        (v1::OperationPhase::Cancelled, "the node is not drained any more")
    );
    // It was told to leave, and does.
    alpha_host.tamper(slow, |host| host.end_guest(slow, hv_driver::End::PoweredOff));
    site.until("slow", v1::InstancePhase::Running).await;
    let boots = guest(&alpha_host, slow).1 + guest(&beta_host, slow).1;
    assert_eq!(boots, 1, "made anew, once");

    site.end([alpha, beta]).await;
}

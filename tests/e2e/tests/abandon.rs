//! A host that is taken for dead and is not: its node is abandoned, and it comes back with a guest that still runs.
#![cfg(test)]

use e2e::{Api, Site};
use hv_api::v1;
use std::fs;

#[tokio::test]
async fn a_host_that_comes_back_after_its_node_was_abandoned_ends_its_guest_and_keeps_its_disk() {
    let Some(mut site) =
        Site::new("a_host_that_comes_back_after_its_node_was_abandoned_ends_its_guest_and_keeps_its_disk")
            .await
    else {
        return;
    };
    site.configure_server("heartbeat.interval_ms = 500\nheartbeat.timeout_ms = 3000");
    let mut api = site.start().await;
    let instance = api.created(Api::request("demo", None)).await.metadata.unwrap().uid;
    assert_eq!(api.booted("demo").await, 1);
    let before = site.guests.of(&instance);
    assert_eq!(before.len(), 1);

    site.kill_agent();
    let lost = api.node_is(v1::NodePhase::Unknown).await.metadata.unwrap();
    let abandon =
        v1::DeregisterNodeRequest { node: lost.name.clone(), abandon_instances: true, ..Default::default() };
    let operation = api.cluster.deregister_node(abandon).await.unwrap().into_inner().operation;
    api.succeeded(operation).await;
    let failed =
        api.until("demo", "a lost instance", |status| status.phase() == v1::InstancePhase::Failed).await;
    assert!(failed.message.contains("was abandoned"), "{}", failed.message);
    assert_eq!(site.guests.of(&instance), before, "nobody can reach it");

    // Its agent hears of it, ends the guest, and joins as another node; the disk is still there.
    let agent = site.try_agent();
    agent.says("the server gave up this node; its disks are kept").await;
    agent.says("phase=\"stopped\"").await;
    site.agent = Some(agent);
    let found = api.node_is(v1::NodePhase::Ready).await.metadata.unwrap();
    assert_eq!(found.name, lost.name);
    assert_ne!(found.uid, lost.uid);
    assert!(site.guests.now().is_empty(), "{:?}", site.guests.now());
    assert!(fs::exists(site.path("agent/instances").join(&instance)).unwrap());

    // Started again by a person, and placed where its disk is, it goes on from that.
    let operation = api.start("demo").await;
    api.succeeded(Some(operation)).await;
    assert_eq!(api.booted("demo").await, 2, "the boot counter is on its disk");
    api.delete("demo").await;
    site.guests.assert_nothing_left();
}

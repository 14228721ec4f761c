//! Many guests at once, and one that does not answer.
#![cfg(test)]

use e2e::{Api, Sampler, Site, patiently};
use futures::StreamExt;
use futures::future::join_all;
use hv_api::v1;
use hv_runtime::clock;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;

fn small(name: &str) -> v1::CreateInstanceRequest {
    let mut request = Api::request(name, None);
    request.spec.as_mut().unwrap().memory_bytes = 64 << 20;
    request
}

#[tokio::test]
async fn twenty_at_once() {
    const ALL: usize = 20;
    let Some((site, mut api)) = Site::running("twenty_at_once").await else { return };
    let sampler = Sampler::start(site.guests.clone());
    let watch = api.compute.watch_instances(v1::WatchInstancesRequest::default()).await.unwrap();
    let mut changes = watch.into_inner();
    let began = clock::since_boot();
    let creates = (0..ALL).map(|n| {
        let mut api = api.clone();
        async move { api.compute.create_instance(small(&format!("guest-{n}"))).await.unwrap().into_inner() }
    });
    let created = join_all(creates).await;
    let recorded = clock::since_boot() - began;
    let mut running = BTreeSet::new();
    patiently("twenty running guests", async {
        while running.len() < ALL {
            let Some(instance) = changes.next().await.unwrap().unwrap().instance else { continue };
            let (metadata, status) = (instance.metadata.unwrap(), instance.status.unwrap());
            if status.phase() == v1::InstancePhase::Running {
                running.insert(metadata.uid);
            }
        }
    })
    .await;
    println!(
        "{ALL} created in {} ms, running after {} ms",
        recorded.as_millis(),
        (clock::since_boot() - began).as_millis()
    );
    let processes = site.guests.now();
    let instances: BTreeSet<_> = processes.iter().map(|process| process.instance.clone()).collect();
    assert_eq!((processes.len(), &instances), (ALL, &running));
    for create in created {
        api.succeeded(create.operation).await;
    }
    let deletes = (0..ALL).map(|n| {
        let mut api = api.clone();
        async move { api.delete(&format!("guest-{n}")).await }
    });
    join_all(deletes).await;
    for uid in &running {
        assert_eq!(sampler.of(uid), (1, 1), "{uid}");
    }
    site.guests.assert_nothing_left();
}

fn responsive(status: &v1::InstanceStatus) -> Option<&v1::Condition> {
    status.conditions.iter().find(|condition| condition.r#type == "Responsive")
}

#[tokio::test]
async fn a_stopped_qemu_is_a_condition_of_its_own_instance_and_delays_nobody() {
    let test = "a_stopped_qemu_is_a_condition_of_its_own_instance_and_delays_nobody";
    let Some((site, mut api)) = Site::running(test).await else { return };
    let uid = api.created(small("silent")).await.metadata.unwrap().uid;
    api.created(small("other")).await;
    let pid = Pid::from_raw(site.guests.of(&uid)[0].cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    // Nobody has noticed yet, and nobody is held up.
    let began = clock::since_boot();
    api.get("silent").await;
    api.created(small("third")).await;
    let busy = clock::since_boot() - began;
    let silent = api
        .until("silent", "silence", |status| {
            responsive(status).is_some_and(|condition| condition.status == "False")
        })
        .await;
    println!(
        "noticed after {} ms; a create meanwhile took {} ms",
        (clock::since_boot() - began).as_millis(),
        busy.as_millis()
    );
    let condition = responsive(&silent).unwrap();
    assert!(condition.message.contains("stopped"), "{condition:?}");
    assert_eq!(silent.phase(), v1::InstancePhase::Running, "silence is no phase");
    // Now that it is known: all calls go on.
    let list = api.compute.list_instances(v1::ListInstancesRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.instances.len(), 3);
    for (name, wanted) in [("other", "True"), ("third", "True"), ("silent", "False")] {
        let status = api.status(name).await;
        assert_eq!(responsive(&status).unwrap().status, wanted, "{name}");
    }
    api.created(small("fourth")).await;
    for name in ["other", "third", "fourth"] {
        api.delete(name).await;
    }
    kill_process(pid, Signal::CONT).unwrap();
    let back = api
        .until("silent", "an answer", |status| {
            responsive(status).is_some_and(|condition| condition.status == "True")
        })
        .await;
    assert_eq!((back.phase(), back.starts), (v1::InstancePhase::Running, 1));
    // One that never answers again can still be removed.
    kill_process(pid, Signal::STOP).unwrap();
    api.delete("silent").await;
    site.guests.assert_nothing_left();
}

//! One instance through its whole life, by the programs as they are shipped.
#![cfg(test)]

use e2e::{Api, Site, boots, demo, error_info, free_port, page};
use hv_api::v1;
use tonic::Code;

fn names(answer: v1::ListInstancesResponse) -> Vec<String> {
    answer.instances.into_iter().map(|instance| instance.metadata.unwrap().name).collect()
}

async fn listed(api: &mut Api, request: v1::ListInstancesRequest) -> Vec<String> {
    names(api.compute.list_instances(request).await.unwrap().into_inner())
}

fn update(
    name: &str,
    path: &str,
    change: impl FnOnce(&mut v1::UpdateInstanceRequest),
) -> v1::UpdateInstanceRequest {
    let mut request = v1::UpdateInstanceRequest {
        instance: name.into(),
        spec: Some(v1::InstanceSpec::default()),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.into()] }),
        ..Default::default()
    };
    change(&mut request);
    request
}

#[tokio::test]
async fn a_life() {
    let Some((site, mut api)) = Site::running("a_life").await else { return };
    let port = free_port();
    let mut request = Api::request("demo", Some(port));
    request.labels.insert("tier".into(), "web".into());
    let instance = api.created(request).await;
    let uid = instance.metadata.unwrap().uid;
    let status = api.status("demo").await;
    assert_eq!((status.phase(), status.node_name.as_str()), (v1::InstancePhase::Running, "alpha"));
    assert_eq!(site.guests.of(&uid), [status.details["pid"].parse::<u32>().unwrap()]);

    // The console, both ways; a second one is shown the past.
    let mut console = api.console("demo").await;
    assert_eq!(console.until(boots).await, 1);
    for (prompt, answer) in
        [("login:", "demo\n"), ("assword:", "demo\n"), ("$", "echo six times seven is $((6 * 7))\n")]
    {
        console.says(prompt).await;
        console.type_in(answer).await;
    }
    console.says("six times seven is 42").await;
    api.console("demo")
        .await
        .until(|seen| {
            (seen.contains("hypervisor-demo: up boot=1") && seen.contains("six times seven is 42"))
                .then_some(())
        })
        .await;
    assert_eq!(boots(&page(port).await), Some(1));

    // Figures.
    let stats = v1::GetInstanceStatsRequest { instance: "demo".into(), ..Default::default() };
    let stats = api.compute.get_instance_stats(stats).await.unwrap().into_inner();
    assert!(stats.cpu_time_ns.unwrap() > 0 && stats.memory_used_bytes.unwrap() > 16 << 20, "{stats:?}");
    assert!(stats.disk_write_bytes.unwrap() > 0, "{stats:?}");

    // The disk counts with its image's size: the specification names none.
    let header = std::fs::read(demo().unwrap().join("demo.qcow2")).unwrap();
    let size = u64::from_be_bytes(header[24..32].try_into().unwrap());
    let node = api.node_is(v1::NodePhase::Ready).await.status.unwrap();
    assert!(size > 0 && node.allocated.unwrap().disk_bytes == size);
    assert_eq!(api.status("demo").await.root_disk_bytes, size);

    // Lists.
    for name in ["idle-1", "idle-2", "idle-3"] {
        let mut idle = Api::request(name, None);
        idle.labels.insert("tier".into(), "idle".into());
        idle.spec.as_mut().unwrap().run_state = v1::RunState::Stopped.into();
        api.created(idle).await;
    }
    let all = v1::ListInstancesRequest::default;
    assert_eq!(listed(&mut api, all()).await, ["demo", "idle-1", "idle-2", "idle-3"]);
    let running = v1::ListInstancesRequest { phase: v1::InstancePhase::Running.into(), ..all() };
    assert_eq!(listed(&mut api, running).await, ["demo"]);
    let idle = v1::ListInstancesRequest { label_selector: "tier=idle".into(), ..all() };
    assert_eq!(listed(&mut api, idle).await, ["idle-1", "idle-2", "idle-3"]);
    let elsewhere = v1::ListInstancesRequest { project: "other".into(), ..all() };
    assert_eq!(listed(&mut api, elsewhere).await, [""; 0]);
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = Some(v1::PageRequest { size: 3, token });
        let answer = v1::ListInstancesRequest { page, ..all() };
        let answer = api.compute.list_instances(answer).await.unwrap().into_inner();
        token = answer.page.clone().unwrap().next_token;
        paged.push(names(answer));
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, [vec!["demo", "idle-1", "idle-2"], vec!["idle-3"]]);
    for name in ["idle-1", "idle-2", "idle-3"] {
        api.delete(name).await;
    }

    // An update that is in force at once, and one that waits for a restart.
    let request = update("demo", "spec.stop_timeout_ms", |request| {
        request.spec.as_mut().unwrap().stop_timeout_ms = 50_000;
    });
    let answer = api.compute.update_instance(request).await.unwrap().into_inner();
    assert_eq!(answer.effect(), v1::UpdateEffect::Applied, "{answer:?}");
    api.succeeded(answer.operation).await;
    let request = update("demo", "spec.memory_bytes", |request| {
        request.spec.as_mut().unwrap().memory_bytes = 112 << 20;
    });
    let answer = api.compute.update_instance(request).await.unwrap().into_inner();
    assert_eq!(answer.effect(), v1::UpdateEffect::NeedsRestart);
    assert_eq!(answer.needs_restart, ["spec.memory_bytes"]);
    api.succeeded(answer.operation).await;
    let waits = |status: &v1::InstanceStatus| {
        status
            .conditions
            .iter()
            .any(|condition| condition.r#type == "RestartRequired" && condition.status == "True")
    };
    api.until("demo", "a restart is required", waits).await;

    // Pause: the guest's clock stands still.
    let request = v1::PauseInstanceRequest { instance: "demo".into(), ..Default::default() };
    let answer = api.compute.pause_instance(request).await.unwrap().into_inner();
    api.succeeded(answer.operation).await;
    assert_eq!(api.status("demo").await.phase(), v1::InstancePhase::Paused);
    let silent = tokio::time::timeout(std::time::Duration::from_millis(300), page(port)).await;
    assert!(silent.is_err(), "a paused guest answers");
    let request = v1::ResumeInstanceRequest { instance: "demo".into(), ..Default::default() };
    let answer = api.compute.resume_instance(request).await.unwrap().into_inner();
    api.succeeded(answer.operation).await;
    assert_eq!(boots(&page(port).await), Some(1));

    // The restart brings the memory.
    api.restart("demo").await;
    assert_eq!(api.booted("demo").await, 2);
    let status = api.status("demo").await;
    assert!(!waits(&status), "{status:?}");
    let pid = site.guests.of(&uid)[0];
    let argv = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(argv.contains("size=112M"), "{argv}");

    // A stop in order; then one by force, of a guest that has not booted yet.
    let console = api.console("demo").await;
    let stop = api.stop("demo").await;
    api.succeeded(Some(stop)).await;
    let status = api.status("demo").await;
    assert_eq!(
        (status.phase(), status.message.as_str()),
        (v1::InstancePhase::Stopped, "powered off as asked")
    );
    assert!(console.to_end().await.contains("power button, shutting down"));
    assert_eq!(site.guests.of(&uid), [0_u32; 0]);
    api.start("demo").await;
    let request = v1::StopInstanceRequest { instance: "demo".into(), force: true, ..Default::default() };
    let answer = api.compute.stop_instance(request).await.unwrap().into_inner();
    api.succeeded(answer.operation).await;
    assert_eq!(site.guests.of(&uid), [0_u32; 0]);
    assert_eq!(api.status("demo").await.phase(), v1::InstancePhase::Stopped);

    // Deleting a running one. A uid that is gone is not found.
    api.start("demo").await;
    api.delete("demo").await;
    site.guests.assert_nothing_left();
    let again = v1::DeleteInstanceRequest { instance: "demo".into(), ..Default::default() };
    let again = api.compute.delete_instance(again).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound, "{:?}", error_info(&again));
}

//! Instances that are on no node: what waits says for what, and what need not wait ends. Every hop real but the guests.
#![cfg(test)]

mod site;

use hv_api::v1;
use hv_driver::fake::{FakeDriver, Fault};
use hv_driver::{DriverError, DriverErrorKind, Guest};
use hv_runtime::clock;
use site::{Site, guest};
use tonic::Code;

#[tokio::test]
async fn what_is_on_no_node_is_stopped_at_once_and_starts_when_there_is_one() {
    let mut site = Site::start().await;
    let web = site.ask("web", |_| {}).await.unwrap();
    let create = web.operation.unwrap();
    let waits = site.says(&create, "waiting for a node: no node has registered").await;
    assert_eq!(waits.phase(), v1::OperationPhase::Running);

    let stopped = site.stop_instance("web").await;
    assert_eq!(
        (stopped.phase(), stopped.message.as_str()),
        (v1::OperationPhase::Succeeded, "stopped"),
        "{stopped:?}"
    );
    assert_eq!(site.ended(Some(create)).await.phase(), v1::OperationPhase::Cancelled);
    let status = site.until("web", v1::InstancePhase::Stopped).await;
    assert!(status.message.contains("on no node until it is started"), "{}", status.message);
    let again = site.stop_instance("web").await;
    assert_eq!((again.phase(), again.message.as_str()), (v1::OperationPhase::Succeeded, "it was so already"));
    let huge = site.ask("huge", |spec| spec.memory_bytes = 4 << 40).await.unwrap().operation.unwrap();
    site.says(&huge, "waiting for a node: no node has registered").await;
    // What is made to be stopped is that at once, too.
    site.create("idle", |spec| spec.run_state = v1::RunState::Stopped.into()).await;

    let start = v1::StartInstanceRequest { instance: "web".into(), ..Default::default() };
    let start = site.compute.start_instance(start).await.unwrap().into_inner().operation.unwrap();
    site.says(&start, "waiting for a node: no node has registered").await;
    let host = FakeDriver::new(clock::wall);
    let alpha = site.agent("alpha", &host).await;
    assert_eq!(site.ended(Some(start)).await.phase(), v1::OperationPhase::Succeeded);
    let id = web.instance.unwrap().metadata.unwrap().uid.parse().unwrap();
    assert_eq!(guest(&host, id), (Some(Guest::Running), 1));

    // More than any node has: nobody has to wait for a larger one, whoever asked before there was any.
    let why = "no node fits: alpha: needs 4194304 MiB of memory";
    let ended = site.ended(Some(huge)).await;
    let error = &ended.message;
    assert!(ended.phase() == v1::OperationPhase::Failed && error.starts_with(why), "{ended:?}");
    assert!(error.ends_with(" in all"), "{error}");
    assert!(site.until("huge", v1::InstancePhase::Failed).await.message.starts_with(why));
    assert_eq!(site.stop_instance("huge").await.phase(), v1::OperationPhase::Succeeded);
    let started = site.start_instance("huge").await;
    assert_eq!(started.phase(), v1::OperationPhase::Failed, "{started:?}");
    assert_eq!(site.delete_instance("huge").await.phase(), v1::OperationPhase::Succeeded);
    let refused = site.ask("huge", |spec| spec.memory_bytes = 4 << 40).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with(why), "{refused}");
    // The one that was stopped from the first is started where there is a node now.
    assert_eq!(site.start_instance("idle").await.phase(), v1::OperationPhase::Succeeded);
    site.end([alpha]).await;
}

#[tokio::test]
async fn a_change_of_what_has_failed_is_not_judged_by_that_failure() {
    let mut site = Site::start().await;
    let host = FakeDriver::new(clock::wall);
    let alpha = site.agent("alpha", &host).await;
    site.node("alpha", v1::NodePhase::Ready).await;
    let in_use = || DriverError::new(DriverErrorKind::Conflict, "start", "port 2222 is in use").permanent();
    host.inject("start", None, Fault::Fail(in_use()));
    let create = site.ask("web", |_| {}).await.unwrap().operation;
    assert_eq!(site.ended(create).await.phase(), v1::OperationPhase::Failed);
    let update = |change: v1::InstanceSpec, path: &str| v1::UpdateInstanceRequest {
        instance: "web".into(),
        spec: Some(change),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.into()] }),
        ..Default::default()
    };
    let larger =
        update(v1::InstanceSpec { memory_bytes: 128 << 20, ..Default::default() }, "spec.memory_bytes");
    let updated = site.compute.update_instance(larger).await.unwrap().into_inner().operation;
    let updated = site.ended(updated).await;
    assert_eq!(updated.phase(), v1::OperationPhase::Succeeded, "{updated:?}");
    assert!(updated.message.contains("recorded for its next start"), "{}", updated.message);
    // A change that is a start is one, and answers for it.
    let running = || {
        update(
            v1::InstanceSpec { run_state: v1::RunState::Running.into(), ..Default::default() },
            "spec.run_state",
        )
    };
    let again = DriverError::new(DriverErrorKind::Conflict, "start", "port 3333 is in use").permanent();
    host.inject("start", None, Fault::Fail(again));
    let started = site.compute.update_instance(running()).await.unwrap().into_inner().operation;
    let started = site.ended(started).await;
    assert_eq!(
        (started.phase(), started.message.as_str()),
        (v1::OperationPhase::Failed, "port 3333 is in use")
    );
    let started = site.compute.update_instance(running()).await.unwrap().into_inner().operation;
    assert_eq!(site.ended(started).await.phase(), v1::OperationPhase::Succeeded);
    site.end([alpha]).await;
}

#[tokio::test]
async fn a_node_that_is_not_there_is_refused_and_those_that_are_there_are_named() {
    let mut site = Site::start().await;
    let on = |node: &str| {
        let placement = v1::PlacementSpec { required_node: node.into(), ..Default::default() };
        move |spec: &mut v1::InstanceSpec| spec.placement = Some(placement)
    };
    let refused = site.ask("web", on("alpa")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("there is no node `alpa`; no node has registered"), "{refused}");
    let alpha = site.agent("alpha", &FakeDriver::new(clock::wall)).await;
    let uid = site.node("alpha", v1::NodePhase::Ready).await;
    let refused = site.ask("web", on("alpa")).await.unwrap_err();
    assert!(refused.message().contains("there are: alpha"), "{refused}");
    site.create("web", on("alpha")).await;
    site.create("by-uid", on(&uid)).await;
    site.end([alpha]).await;
}

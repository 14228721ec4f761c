//! What callers may rely on: repeated calls, cancelled operations, watches of a selection. Every hop real but the guest.
#![cfg(test)]

use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::cluster_service_client::ClusterServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_api::v1::operation_service_client::OperationServiceClient;
use hv_client::{Bearer, Dialer, ServerAddr};
use hv_driver::Driver;
use hv_driver::fake::FakeDriver;
use hv_runtime::clock;
use hypervisor::local::{Layout, Local};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

type Authorised = InterceptedService<Channel, Bearer>;

struct Site {
    _dir: TempDir,
    local: Local,
    compute: ComputeServiceClient<Authorised>,
    cluster: ClusterServiceClient<Authorised>,
    operations: OperationServiceClient<Authorised>,
}

impl Site {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout(dir.path().to_owned());
        let driver: Arc<dyn Driver> = Arc::new(FakeDriver::new(clock::wall));
        let local =
            Local::start(layout.server_config("127.0.0.1:0"), layout.agent_config(), driver).await.unwrap();
        let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
        let channel = dialer.dial().await.unwrap();
        Self {
            _dir: dir,
            local,
            compute: ComputeServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            cluster: ClusterServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            operations: OperationServiceClient::with_interceptor(channel, dialer.bearer()),
        }
    }

    async fn created(&mut self, name: &str) {
        let answer = self.compute.create_instance(create(name)).await.unwrap().into_inner();
        assert_eq!(self.ended(answer.operation).await, v1::OperationPhase::Succeeded);
    }

    async fn ended(&mut self, operation: Option<v1::Operation>) -> v1::OperationPhase {
        let request = v1::WaitOperationRequest { operation: operation.unwrap().uid, timeout_ms: 20_000 };
        self.operations.wait_operation(request).await.unwrap().into_inner().phase()
    }

    async fn deleted(&mut self, name: &str) {
        let request = v1::DeleteInstanceRequest { instance: name.into(), force: true, ..Default::default() };
        let answer = self.compute.delete_instance(request).await.unwrap().into_inner();
        assert_eq!(self.ended(answer.operation).await, v1::OperationPhase::Succeeded);
    }

    async fn drain(self) {
        drop((self.compute, self.cluster, self.operations));
        self.local.drain(Duration::from_secs(5)).await.unwrap();
    }
}

fn create(name: &str) -> v1::CreateInstanceRequest {
    let spec = v1::InstanceSpec {
        r#type: v1::InstanceType::Vm.into(),
        cpus: 1,
        memory_bytes: 64 << 20,
        image: "/images/demo.qcow2".into(),
        ..Default::default()
    };
    v1::CreateInstanceRequest { name: name.into(), spec: Some(spec), ..Default::default() }
}

#[tokio::test]
async fn the_key_of_one_call_is_refused_by_another_that_reads_alike() {
    let mut site = Site::start().await;
    site.created("demo").await;
    let start = v1::StartInstanceRequest {
        instance: "demo".into(),
        idempotency_key: "k".into(),
        ..Default::default()
    };
    site.compute.start_instance(start.clone()).await.unwrap();
    let pause = v1::PauseInstanceRequest {
        instance: "demo".into(),
        idempotency_key: "k".into(),
        ..Default::default()
    };
    assert_eq!(site.compute.pause_instance(pause).await.unwrap_err().code(), Code::Aborted);
    site.compute.start_instance(start).await.unwrap();
    site.drain().await;
}

#[tokio::test]
async fn a_repeated_update_says_again_what_waits_for_a_restart() {
    let mut site = Site::start().await;
    site.created("demo").await;
    let update = v1::UpdateInstanceRequest {
        instance: "demo".into(),
        spec: Some(v1::InstanceSpec { cpus: 2, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.cpus".into()] }),
        idempotency_key: "k".into(),
        ..Default::default()
    };
    let first = site.compute.update_instance(update.clone()).await.unwrap().into_inner();
    let second = site.compute.update_instance(update).await.unwrap().into_inner();
    assert_eq!(first.operation.unwrap().uid, second.operation.unwrap().uid);
    for (effect, fields) in [(first.effect, first.needs_restart), (second.effect, second.needs_restart)] {
        assert_eq!(effect, i32::from(v1::UpdateEffect::NeedsRestart));
        assert_eq!(fields, ["spec.cpus"]);
    }
    site.drain().await;
}

#[tokio::test]
async fn a_repeated_call_answers_also_when_its_target_is_gone() {
    let mut site = Site::start().await;
    let request = v1::CreateInstanceRequest { idempotency_key: "c".into(), ..create("demo") };
    let first = site.compute.create_instance(request.clone()).await.unwrap().into_inner();
    let uid = first.operation.clone().unwrap().uid;
    site.ended(first.operation).await;
    let start = v1::StartInstanceRequest {
        instance: "demo".into(),
        idempotency_key: "s".into(),
        ..Default::default()
    };
    let started = site.compute.start_instance(start.clone()).await.unwrap().into_inner();
    assert!(started.instance.is_some());
    site.deleted("demo").await;

    let again = site.compute.create_instance(request).await.unwrap().into_inner();
    assert_eq!((again.instance, again.operation.unwrap().uid), (None, uid));
    let again = site.compute.start_instance(start).await.unwrap().into_inner();
    assert_eq!((again.instance, again.operation.unwrap().uid), (None, started.operation.unwrap().uid));

    let register =
        v1::RegisterNodeRequest { name: "beta".into(), idempotency_key: "n".into(), ..Default::default() };
    let first = site.cluster.register_node(register.clone()).await.unwrap().into_inner();
    let deregister = v1::DeregisterNodeRequest { node: "beta".into(), ..Default::default() };
    site.cluster.deregister_node(deregister).await.unwrap();
    let again = site.cluster.register_node(register).await.unwrap().into_inner();
    assert_eq!((again.node, again.operation.unwrap().uid), (None, first.operation.unwrap().uid));
    site.drain().await;
}

#[tokio::test]
async fn a_watch_of_labels_tells_which_node_comes_and_leaves() {
    let mut site = Site::start().await;
    let register = v1::RegisterNodeRequest { name: "beta".into(), ..Default::default() };
    site.cluster.register_node(register).await.unwrap();
    let watch = v1::WatchNodesRequest { label_selector: "rack=7".into(), ..Default::default() };
    let mut changes = site.cluster.watch_nodes(watch).await.unwrap().into_inner();
    let mut told = Vec::new();
    for rack in ["7", "8", "9", "7"] {
        let update = v1::UpdateNodeRequest {
            node: "beta".into(),
            labels: [("rack".to_owned(), rack.to_owned())].into(),
            update_mask: Some(prost_types::FieldMask { paths: vec!["labels".into()] }),
            ..Default::default()
        };
        site.cluster.update_node(update).await.unwrap();
    }
    let deregister = v1::DeregisterNodeRequest { node: "beta".into(), ..Default::default() };
    site.cluster.deregister_node(deregister).await.unwrap();
    while told.len() < 4 {
        let change = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.expect("it is told");
        told.push(change.unwrap().unwrap().kind());
    }
    use v1::ChangeKind::{Added, Deleted};
    assert_eq!(told, [Added, Deleted, Added, Deleted], "the last one: it was deregistered");
    drop(changes);
    site.drain().await;
}

#[tokio::test]
async fn a_watch_of_labels_tells_who_comes_and_who_leaves() {
    let mut site = Site::start().await;
    site.created("demo").await;
    let watch = v1::WatchInstancesRequest { label_selector: "tier=web".into(), ..Default::default() };
    let mut changes = site.compute.watch_instances(watch).await.unwrap().into_inner();
    let first = changes.next().await.unwrap().unwrap();
    assert_eq!(first.kind(), v1::ChangeKind::Progress, "nothing is selected yet");
    for (tier, expected) in [
        ("web", Some(v1::ChangeKind::Added)),
        ("db", Some(v1::ChangeKind::Deleted)),
        ("cache", None),
        ("web", Some(v1::ChangeKind::Added)),
    ] {
        let update = v1::UpdateInstanceRequest {
            instance: "demo".into(),
            labels: [("tier".to_owned(), tier.to_owned())].into(),
            update_mask: Some(prost_types::FieldMask { paths: vec!["labels".into()] }),
            ..Default::default()
        };
        site.compute.update_instance(update).await.unwrap();
        let Some(expected) = expected else { continue };
        // Status changes in between are modifications.
        let next = async {
            loop {
                let change = changes.next().await.unwrap().unwrap();
                if !matches!(change.kind(), v1::ChangeKind::Modified | v1::ChangeKind::Progress) {
                    return change;
                }
            }
        };
        let change = tokio::time::timeout(Duration::from_secs(20), next).await.expect("it is told");
        assert_eq!(change.kind(), expected);
        let labels = change.instance.unwrap().metadata.unwrap().labels;
        assert_eq!(labels["tier"], tier);
    }
    drop(changes);
    site.drain().await;
}

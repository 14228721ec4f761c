//! The path of one instance through server and agent, every hop real but the guest: the public API on the real socket, the
//! embedded store, the real stream, the journal, the instance task; below it a driver with pretended guests.
#![cfg(test)]

use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::cluster_service_client::ClusterServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_api::v1::operation_service_client::OperationServiceClient;
use hv_client::{Bearer, Dialer, ServerAddr};
use hv_driver::fake::{FakeDriver, Fault};
use hv_driver::{Driver, DriverError, DriverErrorKind, End, Guest};
use hv_runtime::clock;
use hypervisor::local::{Layout, Local, start_server};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

struct Site {
    dir: TempDir,
    driver: FakeDriver,
}

struct Api {
    compute: ComputeServiceClient<tonic::service::interceptor::InterceptedService<Channel, Bearer>>,
    cluster: ClusterServiceClient<tonic::service::interceptor::InterceptedService<Channel, Bearer>>,
    operations: OperationServiceClient<tonic::service::interceptor::InterceptedService<Channel, Bearer>>,
}

impl Site {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), driver: FakeDriver::new(clock::wall) }
    }

    fn layout(&self) -> Layout {
        Layout(self.dir.path().to_owned())
    }

    async fn start(&self) -> Local {
        let layout = self.layout();
        let mut agent = layout.agent_config();
        agent.node_name = "alpha".into();
        let driver: Arc<dyn Driver> = Arc::new(self.driver.clone());
        Local::start(layout.server_config("127.0.0.1:0"), agent, driver).await.unwrap()
    }

    async fn api(&self) -> Api {
        let layout = self.layout();
        let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
        let channel = dialer.dial().await.unwrap();
        Api {
            compute: ComputeServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            cluster: ClusterServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            operations: OperationServiceClient::with_interceptor(channel, dialer.bearer()),
        }
    }

    fn boots(&self, uid: &str) -> u64 {
        self.driver.host().slots().get(&uid.parse().unwrap()).map_or(0, |slot| slot.boots)
    }

    fn guest(&self, uid: &str) -> Option<Guest> {
        self.driver.host().slots().get(&uid.parse().unwrap()).map(|slot| slot.guest.clone())
    }
}

fn spec() -> v1::InstanceSpec {
    v1::InstanceSpec {
        r#type: v1::InstanceType::Vm.into(),
        cpus: 1,
        memory_bytes: 64 << 20,
        image: "/images/demo.qcow2".into(),
        ..Default::default()
    }
}

fn create(name: &str) -> v1::CreateInstanceRequest {
    v1::CreateInstanceRequest { name: name.into(), spec: Some(spec()), ..Default::default() }
}

impl Api {
    async fn created(&mut self, name: &str) -> v1::Instance {
        let answer = self.compute.create_instance(create(name)).await.unwrap().into_inner();
        let operation = self.ended(answer.operation.unwrap()).await;
        assert_eq!(operation.phase(), v1::OperationPhase::Succeeded, "{operation:?}");
        self.get(name).await
    }

    async fn get(&mut self, name: &str) -> v1::Instance {
        let request = v1::GetInstanceRequest { instance: name.into(), ..Default::default() };
        self.compute.get_instance(request).await.unwrap().into_inner()
    }

    async fn ended(&mut self, operation: v1::Operation) -> v1::Operation {
        let request = v1::WaitOperationRequest { operation: operation.uid, timeout_ms: 20_000 };
        self.operations.wait_operation(request).await.unwrap().into_inner()
    }

    async fn stop(&mut self, name: &str) -> v1::Operation {
        let request = v1::StopInstanceRequest { instance: name.into(), ..Default::default() };
        let answer = self.compute.stop_instance(request).await.unwrap().into_inner();
        self.ended(answer.operation.unwrap()).await
    }

    async fn start(&mut self, name: &str) -> v1::Operation {
        let request = v1::StartInstanceRequest { instance: name.into(), ..Default::default() };
        let answer = self.compute.start_instance(request).await.unwrap().into_inner();
        self.ended(answer.operation.unwrap()).await
    }

    /// Watches one instance until it is as wanted: no polling, no sleep.
    async fn until(&mut self, name: &str, wanted: impl Fn(&v1::InstanceStatus) -> bool) -> v1::Instance {
        let request = v1::WatchInstancesRequest { instance: name.into(), ..Default::default() };
        let mut changes = self.compute.watch_instances(request).await.unwrap().into_inner();
        let found = async {
            loop {
                let change = changes.next().await.expect("the watch goes on").unwrap();
                if let Some(instance) = change.instance
                    && wanted(instance.status.as_ref().unwrap())
                {
                    return instance;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("it comes to pass")
    }
}

fn info(status: &Status) -> v1::ErrorInfo {
    prost::Message::decode(status.details()).unwrap()
}

#[tokio::test]
async fn create_stop_start_restart_pause_resume_delete() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let instance = api.created("demo").await;
    let (metadata, status) = (instance.metadata.unwrap(), instance.status.unwrap());
    assert_eq!(
        (status.phase(), status.node_name.as_str(), status.epoch),
        (v1::InstancePhase::Running, "alpha", 1)
    );
    assert_eq!(site.boots(&metadata.uid), 1);

    assert_eq!(api.stop("demo").await.phase(), v1::OperationPhase::Succeeded);
    assert_eq!(api.get("demo").await.status.unwrap().phase(), v1::InstancePhase::Stopped);
    assert_eq!(api.start("demo").await.phase(), v1::OperationPhase::Succeeded);
    assert_eq!(site.boots(&metadata.uid), 2);

    let request = v1::RestartInstanceRequest { instance: "demo".into(), ..Default::default() };
    let answer = api.compute.restart_instance(request).await.unwrap().into_inner();
    assert_eq!(api.ended(answer.operation.unwrap()).await.phase(), v1::OperationPhase::Succeeded);
    assert_eq!(site.boots(&metadata.uid), 3);

    let request = v1::PauseInstanceRequest { instance: "demo".into(), ..Default::default() };
    let answer = api.compute.pause_instance(request).await.unwrap().into_inner();
    api.ended(answer.operation.unwrap()).await;
    assert_eq!(site.guest(&metadata.uid), Some(Guest::Paused));
    let request = v1::ResumeInstanceRequest { instance: "demo".into(), ..Default::default() };
    let answer = api.compute.resume_instance(request).await.unwrap().into_inner();
    api.ended(answer.operation.unwrap()).await;
    assert_eq!(site.guest(&metadata.uid), Some(Guest::Running));

    let request = v1::DeleteInstanceRequest { instance: "demo".into(), ..Default::default() };
    let answer = api.compute.delete_instance(request).await.unwrap().into_inner();
    let operation = api.ended(answer.operation.unwrap()).await;
    assert_eq!((operation.phase(), operation.message.as_str()), (v1::OperationPhase::Succeeded, "deleted"));
    assert_eq!(operation.principal, "token:local");
    assert_eq!(site.guest(&metadata.uid), None);
    let gone = api
        .compute
        .get_instance(v1::GetInstanceRequest { instance: "demo".into(), ..Default::default() })
        .await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    // The name is free again.
    api.created("demo").await;
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn server_and_agent_restart_and_the_guest_does_not_notice() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let uid = api.created("demo").await.metadata.unwrap().uid;
    local.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(site.guest(&uid), Some(Guest::Running));

    let local = site.start().await;
    let mut api = site.api().await;
    let instance = api.until("demo", |status| status.phase() == v1::InstancePhase::Running).await;
    assert_eq!(instance.metadata.unwrap().uid, uid);
    assert_eq!(site.boots(&uid), 1);
    // What was asked while the agent was away is done when it is back.
    local.agent.drain(Duration::from_secs(5)).await.unwrap();
    let request = v1::StopInstanceRequest { instance: "demo".into(), ..Default::default() };
    let operation = api.compute.stop_instance(request).await.unwrap().into_inner().operation.unwrap();
    let layout = site.layout();
    let mut config = layout.agent_config();
    config.node_name = "alpha".into();
    let agent = hypervisor_agent::build(config, Arc::new(site.driver.clone())).unwrap().spawn().await;
    assert_eq!(api.ended(operation).await.phase(), v1::OperationPhase::Succeeded);
    assert_eq!(site.guest(&uid), Some(Guest::Absent));
    agent.drain(Duration::from_secs(5)).await.unwrap();
    local.server.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn wrong_requests_name_the_field_and_change_nothing() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let mut refused = async |change: fn(&mut v1::CreateInstanceRequest)| {
        let mut request = create("demo");
        change(&mut request);
        let status = api.compute.create_instance(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        info(&status).field
    };
    assert_eq!(refused(|r| r.name = "Demo".into()).await, "name");
    assert_eq!(refused(|r| r.project = "a b".into()).await, "project");
    assert_eq!(refused(|r| r.spec = None).await, "spec");
    assert_eq!(refused(|r| r.spec.as_mut().unwrap().cpus = 0).await, "spec.cpus");
    assert_eq!(refused(|r| r.spec.as_mut().unwrap().memory_bytes = 1).await, "spec.memory_bytes");
    assert_eq!(refused(|r| r.spec.as_mut().unwrap().image = "relative".into()).await, "spec.image");
    assert_eq!(refused(|r| r.idempotency_key = "x".repeat(129)).await, "idempotency_key");
    let list = api.compute.list_instances(v1::ListInstancesRequest::default()).await.unwrap().into_inner();
    assert!(list.instances.is_empty());

    let uid = api.created("demo").await.metadata.unwrap().uid;
    let status = api.compute.create_instance(create("demo")).await.unwrap_err();
    assert_eq!((status.code(), info(&status).uid), (Code::AlreadyExists, uid));
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_another_body_conflicts() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let request = v1::CreateInstanceRequest { idempotency_key: "k1".into(), ..create("demo") };
    let first = api.compute.create_instance(request.clone()).await.unwrap().into_inner();
    let second = api.compute.create_instance(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.operation.as_ref().unwrap().uid, second.operation.as_ref().unwrap().uid);
    assert_eq!(first.instance.unwrap().metadata.unwrap().uid, second.instance.unwrap().metadata.unwrap().uid);
    let other = v1::CreateInstanceRequest { name: "other".into(), ..request };
    let status = api.compute.create_instance(other).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    api.ended(first.operation.unwrap()).await;
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_precondition_on_the_generation_survives_status_changes_only() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    api.created("demo").await;
    let update = |generation, cpus| v1::UpdateInstanceRequest {
        instance: "demo".into(),
        spec: Some(v1::InstanceSpec { cpus, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.cpus".into()] }),
        precondition: Some(v1::Precondition { generation }),
        ..Default::default()
    };
    let answer = api.compute.update_instance(update(1, 2)).await.unwrap().into_inner();
    assert_eq!(answer.effect(), v1::UpdateEffect::NeedsRestart);
    assert_eq!(answer.needs_restart, ["spec.cpus"]);
    assert_eq!(api.ended(answer.operation.unwrap()).await.phase(), v1::OperationPhase::Succeeded);
    let status = api.get("demo").await.status.unwrap();
    assert!(status.conditions.iter().any(|c| c.r#type == "RestartRequired" && c.status == "True"));
    let refused = api.compute.update_instance(update(1, 3)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn an_image_that_no_node_has_fails_the_operation_and_a_start_tries_again() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let missing =
        DriverError::new(DriverErrorKind::Missing, "admit", "image /images/demo.qcow2 does not exist");
    site.driver.inject("admit", None, Fault::Fail(missing));
    let answer = api.compute.create_instance(create("demo")).await.unwrap().into_inner();
    let operation = api.ended(answer.operation.unwrap()).await;
    assert_eq!(operation.phase(), v1::OperationPhase::Failed, "{operation:?}");
    assert!(operation.message.contains("image /images/demo.qcow2 does not exist"), "{}", operation.message);
    let status = api.get("demo").await.status.unwrap();
    assert_eq!((status.phase(), status.node_uid.as_str()), (v1::InstancePhase::Failed, ""));
    let operation = api.start("demo").await;
    assert_eq!(operation.phase(), v1::OperationPhase::Succeeded, "{operation:?}");
    assert_eq!(api.get("demo").await.status.unwrap().epoch, 2, "a new assignment, a new epoch");
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_failed_start_reports_the_driver_s_own_words() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let error =
        DriverError::new(DriverErrorKind::Conflict, "start", "port 2222 on 127.0.0.1 is in use").permanent();
    site.driver.inject("start", None, Fault::Fail(error));
    let answer = api.compute.create_instance(create("demo")).await.unwrap().into_inner();
    let operation = api.ended(answer.operation.unwrap()).await;
    assert_eq!(operation.phase(), v1::OperationPhase::Failed);
    assert_eq!(operation.message, "port 2222 on 127.0.0.1 is in use");
    assert_eq!(api.start("demo").await.phase(), v1::OperationPhase::Succeeded);
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_cordoned_node_takes_nothing_new_and_a_waiting_create_can_be_cancelled() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    api.created("first").await;
    let schedulability = |value: v1::Schedulability| v1::UpdateNodeRequest {
        node: "alpha".into(),
        spec: Some(v1::NodeSpec { schedulability: value.into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.schedulability".into()] }),
        ..Default::default()
    };
    api.cluster.update_node(schedulability(v1::Schedulability::Cordoned)).await.unwrap();
    let answer = api.compute.create_instance(create("second")).await.unwrap().into_inner();
    let waiting = api.until("second", |status| status.message.contains("cordoned")).await;
    assert_eq!(waiting.status.unwrap().phase(), v1::InstancePhase::Pending);
    let explain = v1::ExplainInstanceRequest { instance: "second".into(), ..Default::default() };
    let explained = api.compute.explain_instance(explain).await.unwrap().into_inner();
    assert_eq!(explained.verdicts[0].reasons, ["cordoned"]);
    let operation = answer.operation.unwrap();
    let cancel = v1::CancelOperationRequest { operation: operation.uid.clone() };
    let cancelled = api.operations.cancel_operation(cancel.clone()).await.unwrap().into_inner();
    assert_eq!(cancelled.phase(), v1::OperationPhase::Cancelled);
    assert_eq!(api.operations.cancel_operation(cancel).await.unwrap_err().code(), Code::FailedPrecondition);

    // A place that becomes free is taken without anybody asking again.
    let answer = api.compute.create_instance(create("third")).await.unwrap().into_inner();
    api.cluster.update_node(schedulability(v1::Schedulability::Schedulable)).await.unwrap();
    assert_eq!(api.ended(answer.operation.unwrap()).await.phase(), v1::OperationPhase::Succeeded);
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_seen_and_stays_off() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let uid = api.created("demo").await.metadata.unwrap().uid;
    let id = uid.parse().unwrap();
    site.driver.tamper(id, |host| host.end_guest(id, End::PoweredOff));
    let instance = api.until("demo", |status| status.phase() == v1::InstancePhase::Stopped).await;
    assert_eq!(instance.status.unwrap().message, "the guest powered itself off");
    assert_eq!(instance.spec.unwrap().run_state(), v1::RunState::Running);
    assert_eq!(api.start("demo").await.phase(), v1::OperationPhase::Succeeded);
    assert_eq!(site.boots(&uid), 2);
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn stats_and_console_reach_the_node_and_are_refused_without_a_guest() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    api.created("demo").await;
    let request = v1::GetInstanceStatsRequest { instance: "demo".into(), ..Default::default() };
    let stats = api.compute.get_instance_stats(request.clone()).await.unwrap().into_inner();
    assert_eq!((stats.memory_used_bytes, stats.network_rx_bytes), (Some(1 << 20), None));

    let (send, inputs) = tokio::sync::mpsc::channel(4);
    let input = |input| v1::ConsoleInput { input: Some(input) };
    let open = v1::ConsoleOpen { instance: "demo".into(), ..Default::default() };
    send.send(input(v1::console_input::Input::Open(open))).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(inputs);
    let mut outputs = api.compute.attach_console(stream).await.unwrap().into_inner();
    send.send(input(v1::console_input::Input::Data(b"hello".to_vec()))).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("hello") {
        match outputs.next().await.unwrap().unwrap().output.unwrap() {
            v1::console_output::Output::Opened(opened) => assert_eq!(opened.instance_name, "demo"),
            v1::console_output::Output::Data(bytes) => seen.extend(bytes),
            v1::console_output::Output::Closed(why) => panic!("closed: {why}"),
        }
    }
    assert!(String::from_utf8_lossy(&seen).starts_with("demo up boot=1"), "the past is replayed first");
    drop((send, outputs));

    api.stop("demo").await;
    assert_eq!(api.compute.get_instance_stats(request).await.unwrap_err().code(), Code::FailedPrecondition);
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn watches_resume_from_a_revision_also_after_a_restart_of_the_server() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    api.created("first").await;
    let list = api.compute.list_instances(v1::ListInstancesRequest::default()).await.unwrap().into_inner();
    let revision = list.page.unwrap().revision;
    api.created("second").await;
    local.drain(Duration::from_secs(5)).await.unwrap();

    let server = start_server(&site.layout().server_config("127.0.0.1:0")).await.unwrap();
    let mut api = site.api().await;
    let request = v1::WatchInstancesRequest { after_revision: revision, ..Default::default() };
    let mut changes = api.compute.watch_instances(request).await.unwrap().into_inner();
    let change = changes.next().await.unwrap().unwrap();
    assert_eq!(change.instance.unwrap().metadata.unwrap().name, "second");
    assert!(change.revision > revision);
    let future = v1::WatchInstancesRequest { after_revision: 1_000_000, ..Default::default() };
    assert_eq!(api.compute.watch_instances(future).await.unwrap_err().code(), Code::OutOfRange);
    let elsewhere = v1::WatchInstancesRequest {
        after_revision: revision,
        incarnation: "of another store".into(),
        ..Default::default()
    };
    let refused = api.compute.watch_instances(elsewhere).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("restored"), "{}", refused.message());
    server.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn without_the_token_nothing_is_answered() {
    let site = Site::new();
    let local = site.start().await;
    let address = local.server.addr.unwrap();
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut bare = ComputeServiceClient::new(channel.clone());
    let status = bare.list_instances(v1::ListInstancesRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut wrong = Request::new(v1::ListInstancesRequest::default());
    wrong.metadata_mut().insert("authorization", "Bearer nonsense".parse().unwrap());
    assert_eq!(bare.list_instances(wrong).await.unwrap_err().code(), Code::Unauthenticated);
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn services_to_come_answer_unimplemented_by_name() {
    let site = Site::new();
    let local = site.start().await;
    let layout = site.layout();
    let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
    let channel = dialer.dial().await.unwrap();
    let mut client = hv_api::v1alpha::network_service_client::NetworkServiceClient::with_interceptor(
        channel,
        dialer.bearer(),
    );
    let status = client.create_network(hv_api::v1alpha::CreateNetworkRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().starts_with("NetworkService.CreateNetwork"), "{}", status.message());
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_second_server_on_the_same_state_is_refused() {
    let site = Site::new();
    let local = site.start().await;
    let error = start_server(&site.layout().server_config("127.0.0.1:0")).await.map(|_| ()).unwrap_err();
    assert!(format!("{error:#}").contains("store"), "{error:#}");
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_placed_instance_grows_only_into_what_its_node_has() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    api.created("demo").await;
    let update = v1::UpdateInstanceRequest {
        instance: "demo".into(),
        spec: Some(v1::InstanceSpec { memory_bytes: 4 << 40, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.memory_bytes".into()] }),
        ..Default::default()
    };
    let refused = api.compute.update_instance(update).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("needs 4194304 MiB of memory"), "{}", refused.message());
    assert_eq!(api.get("demo").await.metadata.unwrap().generation, 1);
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn nodes_are_registered_watched_and_deregistered() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let revision =
        api.cluster.get_cluster_info(v1::GetClusterInfoRequest {}).await.unwrap().into_inner().revision;
    let register = v1::RegisterNodeRequest {
        name: "beta".into(),
        spec: Some(v1::NodeSpec { zone: "b".into(), ..Default::default() }),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        ..Default::default()
    };
    let node = api.cluster.register_node(register.clone()).await.unwrap().into_inner().node.unwrap();
    assert_eq!(node.status.unwrap().phase(), v1::NodePhase::Registered);
    let taken = api.cluster.register_node(register).await.unwrap_err();
    assert_eq!((taken.code(), info(&taken).uid), (Code::AlreadyExists, node.metadata.unwrap().uid));

    let by_zone =
        v1::ListNodesRequest { zone: "b".into(), label_selector: "disk=ssd".into(), ..Default::default() };
    assert_eq!(api.cluster.list_nodes(by_zone).await.unwrap().into_inner().nodes.len(), 1);
    let deregister = v1::DeregisterNodeRequest { node: "beta".into(), ..Default::default() };
    api.cluster.deregister_node(deregister).await.unwrap();

    let watch = v1::WatchNodesRequest { after_revision: revision, node: String::new(), ..Default::default() };
    let mut changes = api.cluster.watch_nodes(watch).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.last() != Some(&("beta".to_owned(), v1::ChangeKind::Deleted)) {
        let change = changes.next().await.unwrap().unwrap();
        let name = change.node.clone().unwrap().metadata.unwrap().name;
        if name == "beta" {
            seen.push((name, change.kind()));
        }
    }
    assert_eq!(seen[0].1, v1::ChangeKind::Added);

    // One that works, or has instances, stays.
    let mut changes = api.cluster.watch_nodes(v1::WatchNodesRequest::default()).await.unwrap().into_inner();
    let ready = |node: v1::Node| {
        node.metadata.unwrap().name == "alpha" && node.status.unwrap().phase() == v1::NodePhase::Ready
    };
    // It may not have joined yet.
    while !changes.next().await.unwrap().unwrap().node.is_some_and(ready) {}
    let deregister = v1::DeregisterNodeRequest { node: "alpha".into(), ..Default::default() };
    let connected = api.cluster.deregister_node(deregister.clone()).await.unwrap_err();
    assert_eq!(connected.code(), Code::FailedPrecondition);
    assert!(connected.message().contains("is connected"), "{}", connected.message());
    api.created("demo").await;
    let used = api.cluster.deregister_node(deregister).await.unwrap_err();
    assert!(used.message().contains("1 instances"), "{}", used.message());
    local.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn events_tell_everything_in_order_and_resume() {
    use hv_api::v1::event_service_client::EventServiceClient;
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    let layout = site.layout();
    let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
    let mut events = EventServiceClient::with_interceptor(dialer.dial().await.unwrap(), dialer.bearer());
    let from =
        api.cluster.get_cluster_info(v1::GetClusterInfoRequest {}).await.unwrap().into_inner().revision;
    let request =
        v1::WatchEventsRequest { after_revision: from, kinds: vec!["instance".into()], ..Default::default() };
    let mut live = events.watch_events(request.clone()).await.unwrap().into_inner();
    api.created("demo").await;
    api.stop("demo").await;
    let phase = |event: &v1::Event| match &event.object {
        Some(v1::event::Object::Instance(instance)) => instance.status.as_ref().unwrap().phase(),
        other => panic!("{other:?}"),
    };
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event| phase(event) != v1::InstancePhase::Stopped) {
        seen.push(live.next().await.unwrap().unwrap());
    }
    assert!(seen.is_sorted_by(|a, b| a.revision < b.revision), "each change once, in order");
    assert_eq!(seen[0].kind(), v1::ChangeKind::Added);
    // Whoever comes back in the middle hears the rest, the same.
    let middle = seen[seen.len() / 2].revision;
    let request = v1::WatchEventsRequest { after_revision: middle, ..request };
    let mut resumed = events.watch_events(request).await.unwrap().into_inner();
    for expected in seen.iter().filter(|event| event.revision > middle) {
        assert_eq!(resumed.next().await.unwrap().unwrap().revision, expected.revision);
    }
    drop((live, resumed, events));
    local.drain(Duration::from_secs(5)).await.unwrap();
}

/// An agent with a state directory of its own.
async fn agent(site: &Site, dir: &str, name: &str) -> hypervisor_agent::Agent {
    let mut config = site.layout().agent_config();
    config.node_name = name.into();
    config.state_dir = site.dir.path().join(dir);
    hypervisor_agent::build(config, Arc::new(FakeDriver::new(clock::wall))).unwrap().spawn().await
}

#[tokio::test]
async fn a_host_s_full_name_becomes_a_node_and_a_namesake_gets_nothing_of_it() {
    let site = Site::new();
    let server = start_server(&site.layout().server_config("127.0.0.1:0")).await.unwrap();
    let mut api = site.api().await;
    let ready = async |api: &mut Api, name: &str| {
        let mut changes =
            api.cluster.watch_nodes(v1::WatchNodesRequest::default()).await.unwrap().into_inner();
        let found = async {
            loop {
                let node = changes.next().await.unwrap().unwrap().node.unwrap();
                let is_ready = node.status.as_ref().unwrap().phase() == v1::NodePhase::Ready;
                let metadata = node.metadata.unwrap();
                if metadata.name == name && is_ready {
                    return metadata.uid;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("the node joins")
    };
    let first = agent(&site, "first", "Alpha.Example.org").await;
    let uid = ready(&mut api, "alpha").await;
    api.created("demo").await;
    first.drain(Duration::from_secs(5)).await.unwrap();

    // Another host of the same name, while the first is away; then one of another name, which shows that the other has had
    // its chance.
    let namesake = agent(&site, "namesake", "alpha.elsewhere.org").await;
    let other = agent(&site, "other", "beta").await;
    ready(&mut api, "beta").await;
    assert!(namesake.node.reports.borrow().instances.is_empty(), "it was given no instance");
    let nodes = api.cluster.list_nodes(v1::ListNodesRequest::default()).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.len(), 2);

    // The first one comes back as itself.
    let first = agent(&site, "first", "Alpha.Example.org").await;
    assert_eq!(ready(&mut api, "alpha").await, uid);
    for agent in [first, namesake, other] {
        agent.drain(Duration::from_secs(5)).await.unwrap();
    }
    server.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn what_is_gone_is_forgotten_at_the_next_session() {
    let site = Site::new();
    let local = site.start().await;
    let mut api = site.api().await;
    api.created("demo").await;
    let request = v1::DeleteInstanceRequest { instance: "demo".into(), ..Default::default() };
    let operation = api.compute.delete_instance(request).await.unwrap().into_inner().operation.unwrap();
    api.ended(operation).await;
    assert_eq!(local.agent.node.reports.borrow().instances.len(), 1);
    local.server.drain(Duration::from_secs(5)).await.unwrap();
    let server = start_server(&site.layout().server_config("127.0.0.1:0")).await.unwrap();
    let mut reports = local.agent.node.reports.clone();
    let forgotten = reports.wait_for(|reports| reports.instances.is_empty());
    tokio::time::timeout(Duration::from_secs(20), forgotten).await.expect("it is forgotten").unwrap();
    local.agent.drain(Duration::from_secs(5)).await.unwrap();
    server.drain(Duration::from_secs(5)).await.unwrap();
}

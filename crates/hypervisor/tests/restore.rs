//! A store restored from a snapshot, while nodes run what is newer: nothing runs twice, and nothing is started that may be
//! elsewhere. Server, store, stream and agents are real; guests are pretended.
#![cfg(test)]

mod ctl;

use clap::Parser;
use ctl::ctl;
use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::cluster_service_client::ClusterServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_api::v1::operation_service_client::OperationServiceClient;
use hv_client::{Bearer, Dialer, ServerAddr};
use hv_driver::fake::FakeDriver;
use hv_runtime::clock;
use hv_store::{Snapshot, snapshot_file};
use hypervisor::local::{Layout, start_server};
use hypervisor_agent::Agent;
use hypervisor_ctl::Exit;
use hypervisor_server::backup::{self, BackupError};
use hypervisor_server::cli::Cli;
use hypervisor_server::config::ServerConfig;
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

const DRAIN: Duration = Duration::from_secs(5);

struct Api {
    compute: ComputeServiceClient<InterceptedService<Channel, Bearer>>,
    cluster: ClusterServiceClient<InterceptedService<Channel, Bearer>>,
    operations: OperationServiceClient<InterceptedService<Channel, Bearer>>,
}

async fn api(layout: &Layout) -> Api {
    let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
    let channel = dialer.dial().await.unwrap();
    Api {
        compute: ComputeServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
        cluster: ClusterServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
        operations: OperationServiceClient::with_interceptor(channel, dialer.bearer()),
    }
}

async fn agent(layout: &Layout, name: &str, driver: &FakeDriver) -> Agent {
    let mut config = layout.agent_config();
    config.node_name = name.into();
    config.state_dir = layout.0.join(name);
    config.labels.insert("node".into(), name.into());
    hypervisor_agent::build(config, Arc::new(driver.clone())).unwrap().spawn().await
}

impl Api {
    async fn create(&mut self, name: &str, node: &str) -> v1::CreateInstanceResponse {
        let spec = v1::InstanceSpec {
            r#type: v1::InstanceType::Vm.into(),
            cpus: 1,
            memory_bytes: 64 << 20,
            image: "/images/demo.qcow2".into(),
            placement: Some(v1::PlacementSpec {
                node_selector: format!("node={node}"),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = v1::CreateInstanceRequest { name: name.into(), spec: Some(spec), ..Default::default() };
        self.compute.create_instance(request).await.unwrap().into_inner()
    }

    async fn ended(&mut self, operation: Option<v1::Operation>) {
        let request = v1::WaitOperationRequest { operation: operation.unwrap().uid, timeout_ms: 20_000 };
        let operation = self.operations.wait_operation(request).await.unwrap().into_inner();
        assert_eq!(operation.phase(), v1::OperationPhase::Succeeded, "{operation:?}");
    }

    async fn until(
        &mut self,
        name: &str,
        wanted: impl Fn(&v1::InstanceStatus) -> bool,
    ) -> v1::InstanceStatus {
        let request = v1::WatchInstancesRequest { instance: name.into(), ..Default::default() };
        let mut changes = self.compute.watch_instances(request).await.unwrap().into_inner();
        let found = async {
            loop {
                let change = changes.next().await.expect("the watch goes on").unwrap();
                if let Some(status) = change.instance.and_then(|instance| instance.status)
                    && wanted(&status)
                {
                    return status;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("it comes to pass")
    }

    /// What a node says that it has of instances nobody knows.
    async fn unknown_on(&mut self, node: &str) -> String {
        let request = v1::WatchNodesRequest { node: node.into(), ..Default::default() };
        let mut changes = self.cluster.watch_nodes(request).await.unwrap().into_inner();
        let said = async {
            loop {
                let change = changes.next().await.expect("the watch goes on").unwrap();
                let conditions = change.node.and_then(|node| node.status).unwrap_or_default().conditions;
                if let Some(unknown) = conditions.into_iter().find(|c| c.r#type == "UnknownInstances") {
                    return unknown.message;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), said).await.expect("it is shown")
    }

    async fn running(&mut self, name: &str) -> v1::InstanceStatus {
        self.until(name, |status| status.phase() == v1::InstancePhase::Running).await
    }

    async fn stop(&mut self, name: &str) {
        let request = v1::StopInstanceRequest { instance: name.into(), ..Default::default() };
        let answer = self.compute.stop_instance(request).await.unwrap().into_inner();
        self.ended(answer.operation).await;
    }

    async fn start(&mut self, name: &str) {
        let request = v1::StartInstanceRequest { instance: name.into(), ..Default::default() };
        let answer = self.compute.start_instance(request).await.unwrap().into_inner();
        self.ended(answer.operation).await;
    }
}

fn is_lost(status: &v1::InstanceStatus) -> bool {
    status.conditions.iter().any(|condition| condition.r#type == "Reported" && condition.status == "False")
}

#[tokio::test]
async fn what_nodes_run_is_found_again_and_what_nobody_reports_waits() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout(directory.path().to_owned());
    let config = layout.server_config("");
    let file = directory.path().join("store.snapshot");
    let (alpha_host, beta_host) = (FakeDriver::new(clock::wall), FakeDriver::new(clock::wall));

    let server = start_server(&config).await.unwrap();
    let alpha = agent(&layout, "alpha", &alpha_host).await;
    let mut calls = api(&layout).await;
    let mut uids = HashMap::new();
    for (name, node) in [("kept", "alpha"), ("deleted", "alpha"), ("placed-later", "beta")] {
        let answer = calls.create(name, node).await;
        uids.insert(name, answer.instance.unwrap().metadata.unwrap().uid);
        if node == "alpha" {
            calls.ended(answer.operation).await;
        }
    }
    let boots = |host: &FakeDriver, name: &str| {
        host.host().slots().get(&uids[name].parse().unwrap()).map_or(0, |slot| slot.boots)
    };
    let stopped = directory.path().join("stopped.snapshot");
    let busy = backup::snapshot(&config, &stopped).await.unwrap_err();
    assert!(busy.to_string().contains("hypervisor-ctl cluster snapshot"), "{busy}");
    // The server that runs saves what it has, and once more when it is stopped: the same.
    let (exit, said) = ctl(&layout, &["cluster", "snapshot", file.to_str().unwrap()]).await;
    assert_eq!(exit, Exit::Ok, "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (exit, said) = ctl(&layout, &["cluster", "snapshot", file.to_str().unwrap()]).await;
    assert!(exit != Exit::Ok && said.contains("there is a file already"), "{said}");
    server.drain(DRAIN).await.unwrap();
    let taken = backup::snapshot(&config, &stopped).await.unwrap();
    let running = snapshot_file::read(&file).unwrap().snapshot;
    let told = |snapshot: &Snapshot| {
        let instances = snapshot.items.iter().filter(|item| item.key.starts_with("/hv1/instance/"));
        instances.map(|item| (item.key.clone(), item.value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(told(&running), told(&taken));
    assert_eq!(told(&running).len(), 3);

    // What the snapshot does not know.
    let server = start_server(&config).await.unwrap();
    let incarnation = server.identity.incarnation.clone();
    let beta = agent(&layout, "beta", &beta_host).await;
    let mut calls = api(&layout).await;
    calls.running("placed-later").await;
    calls.stop("kept").await;
    calls.start("kept").await;
    let request = v1::DeleteInstanceRequest { instance: "deleted".into(), ..Default::default() };
    let answer = calls.compute.delete_instance(request).await.unwrap().into_inner();
    calls.ended(answer.operation).await;
    let newer = calls.create("newer", "alpha").await;
    calls.ended(newer.operation).await;
    let newer = newer.instance.unwrap().metadata.unwrap().uid;
    let list = calls.compute.list_instances(v1::ListInstancesRequest::default()).await.unwrap().into_inner();
    let token = list.page.unwrap().revision;
    assert_eq!((boots(&alpha_host, "kept"), boots(&beta_host, "placed-later")), (2, 1));

    // The store is lost; its node goes on, the other one comes back later.
    beta.drain(DRAIN).await.unwrap();
    server.drain(DRAIN).await.unwrap();
    let there = backup::restore(&config, &file).await.unwrap_err();
    assert!(matches!(there, BackupError::StoreExists(_)), "{there}");
    std::fs::remove_dir_all(&config.state_dir).unwrap();
    let damaged = directory.path().join("damaged.snapshot");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let refused = backup::restore(&config, &damaged).await.unwrap_err();
    assert!(matches!(refused, BackupError::Snapshot(_)), "{refused}");
    assert!(!config.state_dir.join("store.redb").exists(), "nothing was begun");
    // Twice: the first of them is lost, too. Epochs are above the revision of the restore, and below those of the next.
    let first = backup::restore(&config, &file).await.unwrap();
    std::fs::remove_dir_all(&config.state_dir).unwrap();
    let restored = backup::restore(&config, &file).await.unwrap();
    assert!(restored.revision > first.revision, "{} {}", restored.revision, first.revision);
    assert!(restored.revision > taken.revision && restored.revision.0 > token);

    let server = start_server(&config).await.unwrap();
    assert_ne!(server.identity.incarnation, incarnation);
    let mut calls = api(&layout).await;
    for named in [incarnation, String::new()] {
        let request =
            v1::WatchInstancesRequest { after_revision: token, incarnation: named, ..Default::default() };
        let refused = calls.compute.watch_instances(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    }
    let kept =
        calls.until("kept", |status| status.epoch > 1 && status.phase() == v1::InstancePhase::Running).await;
    assert_eq!((kept.node_name.as_str(), is_lost(&kept)), ("alpha", false));
    for name in ["deleted", "placed-later"] {
        let status = calls.until(name, is_lost).await;
        assert_eq!(status.phase(), v1::InstancePhase::Unknown);
        assert!(
            status.message.contains(&format!("restored={}", restored.revision))
                && status.message.contains(name),
            "{}",
            status.message
        );
    }
    // What waits says so to whoever asks it for anything but to be down, and its explanation says what for.
    let start = v1::StartInstanceRequest { instance: "deleted".into(), ..Default::default() };
    let refused = calls.compute.start_instance(start).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("cannot start `deleted`: the store was restored"), "{refused}");
    let restart = v1::RestartInstanceRequest { instance: "deleted".into(), ..Default::default() };
    assert_eq!(calls.compute.restart_instance(restart).await.unwrap_err().code(), Code::FailedPrecondition);
    let explain = v1::ExplainInstanceRequest { instance: "deleted".into(), ..Default::default() };
    let explained = calls.compute.explain_instance(explain).await.unwrap().into_inner();
    assert!(explained.summary.contains("no node has reported this instance"), "{}", explained.summary);
    // What was made after the snapshot is nobody's, and its node shows it.
    let unknown = calls.unknown_on("alpha").await;
    assert!(unknown.contains(&format!("a guest of {newer}")), "{unknown}");
    assert_eq!(unknown.matches("guest of").count(), 1, "{unknown}");

    // It is really back: what is asked of it is done.
    calls.stop("kept").await;
    calls.start("kept").await;
    assert_eq!(boots(&alpha_host, "kept"), 3);

    // People say that it is nowhere, of this restore and no other.
    let nowhere = |restored: u64| v1::UpdateInstanceRequest {
        instance: "deleted".into(),
        labels: std::collections::BTreeMap::from([("restored".into(), restored.to_string())]),
        update_mask: Some(prost_types::FieldMask { paths: vec!["labels".into()] }),
        ..Default::default()
    };
    let refused = calls.compute.update_instance(nowhere(first.revision.0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains(&format!("restored={}", restored.revision)), "{refused}");
    calls.compute.update_instance(nowhere(restored.revision.0)).await.unwrap();
    let anew = calls.running("deleted").await;
    assert!(!is_lost(&anew) && anew.epoch > restored.revision.0, "{anew:?}");
    assert_eq!(boots(&alpha_host, "deleted"), 1);

    // Its node comes back.
    assert_eq!(boots(&beta_host, "placed-later"), 1);
    let beta = agent(&layout, "beta", &beta_host).await;
    let found = calls.running("placed-later").await;
    assert_eq!((found.node_name.as_str(), is_lost(&found)), ("beta", false));
    calls.stop("placed-later").await;
    let boots = (boots(&alpha_host, "placed-later"), boots(&beta_host, "placed-later"));
    assert_eq!(boots, (0, 1), "it never ran anywhere else, nor again");

    // What was found stays found.
    server.drain(DRAIN).await.unwrap();
    let server = start_server(&config).await.unwrap();
    let mut calls = api(&layout).await;
    // What is done was decided on by the new server.
    calls.start("placed-later").await;
    for name in ["kept", "deleted", "placed-later"] {
        calls.stop(name).await;
        assert!(!is_lost(&calls.until(name, |_| true).await), "{name}");
    }
    alpha.drain(DRAIN).await.unwrap();
    beta.drain(DRAIN).await.unwrap();
    server.drain(DRAIN).await.unwrap();
}

#[test]
fn the_command_line_saves_a_store_and_makes_another_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (state, file) = (directory.path().join("state"), directory.path().join("store.snapshot"));
    let run = |command: &str| {
        let arguments = ["hypervisor-server", "store", command, file.to_str().unwrap(), "--state-dir"];
        Cli::try_parse_from(arguments.into_iter().chain([state.to_str().unwrap()])).unwrap().run()
    };
    let nothing = run("snapshot").unwrap_err();
    assert!(nothing.to_string().contains("there is no store"), "{nothing:#}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ServerConfig { state_dir: state.clone(), ..ServerConfig::default() };
    let incarnation = || {
        runtime.block_on(async {
            let store = hypervisor_server::open_store(&config).await.unwrap();
            let incarnation = store.status().await.unwrap().incarnation;
            store.close().await;
            incarnation
        })
    };
    let old = incarnation();
    run("snapshot").unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let taken = run("snapshot").unwrap_err();
    assert!(format!("{taken:#}").contains("store.snapshot exists"), "{taken:#}");
    let there = run("restore").unwrap_err();
    assert!(there.to_string().contains("empty state directory"), "{there:#}");
    std::fs::remove_dir_all(&state).unwrap();
    run("restore").unwrap();
    assert_ne!(incarnation(), old);
}

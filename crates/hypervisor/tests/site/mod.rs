//! A server and agents with pretended guests, each in a directory of its own; everything between them is real.
#![allow(clippy::allow_attributes, dead_code, reason = "each test program uses its part")]

use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::cluster_service_client::ClusterServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_api::v1::operation_service_client::OperationServiceClient;
use hv_client::{Bearer, Dialer, ServerAddr};
use hv_core::InstanceId;
use hv_driver::Guest;
use hv_driver::fake::FakeDriver;
use hypervisor::local::{Layout, start_server};
use hypervisor_agent::Agent;
use hypervisor_server::Server;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

type Authorised = InterceptedService<Channel, Bearer>;

/// Far more than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One server, and whatever agents a test starts.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
    pub(crate) compute: ComputeServiceClient<Authorised>,
    pub(crate) cluster: ClusterServiceClient<Authorised>,
    pub(crate) operations: OperationServiceClient<Authorised>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout(dir.path().to_owned());
        let mut config = layout.server_config("127.0.0.1:0");
        config.heartbeat.interval_ms = 200;
        config.heartbeat.timeout_ms = 2_000;
        let server = start_server(&config).await.unwrap();
        let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
        let channel = dialer.dial().await.unwrap();
        Self {
            dir,
            server,
            compute: ComputeServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            cluster: ClusterServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            operations: OperationServiceClient::with_interceptor(channel, dialer.bearer()),
        }
    }

    pub(crate) async fn agent(&self, name: &str, driver: &FakeDriver) -> Agent {
        let mut config = Layout(self.dir.path().to_owned()).agent_config();
        config.node_name = name.into();
        config.state_dir = self.dir.path().join(name);
        hypervisor_agent::build(config, Arc::new(driver.clone())).unwrap().spawn().await
    }

    /// Waits until the node is in a phase; answers its uid.
    pub(crate) async fn node(&mut self, name: &str, phase: v1::NodePhase) -> String {
        let mut changes =
            self.cluster.watch_nodes(v1::WatchNodesRequest::default()).await.unwrap().into_inner();
        let found = async {
            loop {
                let change = changes.next().await.unwrap().unwrap();
                let node = change.node.clone().unwrap();
                let metadata = node.metadata.unwrap();
                let is = node.status.unwrap().phase() == phase;
                if metadata.name == name && is && change.kind() != v1::ChangeKind::Deleted {
                    return metadata.uid;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("the node comes to it")
    }

    /// Asks for an instance; whatever becomes of it.
    pub(crate) async fn ask(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut v1::InstanceSpec),
    ) -> Result<v1::CreateInstanceResponse, Status> {
        let mut spec = v1::InstanceSpec {
            r#type: v1::InstanceType::Vm.into(),
            cpus: 1,
            memory_bytes: 64 << 20,
            image: "/images/demo.qcow2".into(),
            ..Default::default()
        };
        change(&mut spec);
        let request = v1::CreateInstanceRequest { name: name.into(), spec: Some(spec), ..Default::default() };
        Ok(self.compute.create_instance(request).await?.into_inner())
    }

    pub(crate) async fn create(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut v1::InstanceSpec),
    ) -> InstanceId {
        let answer = self.ask(name, change).await.unwrap();
        let ended = self.ended(answer.operation).await;
        assert_eq!(ended.phase(), v1::OperationPhase::Succeeded, "{ended:?}");
        answer.instance.unwrap().metadata.unwrap().uid.parse().unwrap()
    }

    pub(crate) async fn ended(&mut self, operation: Option<v1::Operation>) -> v1::Operation {
        let request = v1::WaitOperationRequest { operation: operation.unwrap().uid, timeout_ms: 20_000 };
        self.operations.wait_operation(request).await.unwrap().into_inner()
    }

    pub(crate) async fn until(&mut self, name: &str, phase: v1::InstancePhase) -> v1::InstanceStatus {
        let request = v1::WatchInstancesRequest { instance: name.into(), ..Default::default() };
        let mut changes = self.compute.watch_instances(request).await.unwrap().into_inner();
        let found = async {
            loop {
                let change = changes.next().await.unwrap().unwrap();
                if let Some(status) = change.instance.and_then(|instance| instance.status)
                    && status.phase() == phase
                {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("it comes to pass")
    }

    pub(crate) async fn schedulability(&mut self, node: &str, wanted: v1::Schedulability) -> v1::Operation {
        let request = v1::UpdateNodeRequest {
            node: node.into(),
            spec: Some(v1::NodeSpec { schedulability: wanted.into(), ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["spec.schedulability".into()] }),
            ..Default::default()
        };
        let answer = self.cluster.update_node(request).await.unwrap().into_inner();
        self.ended(answer.operation).await
    }

    /// Waits until an operation says this of how far it is.
    pub(crate) async fn says(&mut self, operation: &v1::Operation, text: &str) -> v1::Operation {
        let request = v1::GetOperationRequest { operation: operation.uid.clone() };
        let said = async {
            loop {
                let now = self.operations.get_operation(request.clone()).await.unwrap().into_inner();
                if now.message.contains(text) {
                    return now;
                }
                assert_eq!(now.ended_at_ms, 0, "{now:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, said).await.expect("it says so")
    }

    pub(crate) async fn stop_instance(&mut self, name: &str) -> v1::Operation {
        let request = v1::StopInstanceRequest { instance: name.into(), ..Default::default() };
        let answer = self.compute.stop_instance(request).await.unwrap().into_inner();
        self.ended(answer.operation).await
    }

    pub(crate) async fn delete_instance(&mut self, name: &str) -> v1::Operation {
        let request = v1::DeleteInstanceRequest { instance: name.into(), ..Default::default() };
        let answer = self.compute.delete_instance(request).await.unwrap().into_inner();
        self.ended(answer.operation).await
    }

    /// Ends the agents, and the server after them.
    pub(crate) async fn end(self, agents: impl IntoIterator<Item = Agent>) {
        for agent in agents {
            agent.drain(Duration::from_secs(5)).await.unwrap();
        }
        drop((self.compute, self.cluster, self.operations));
        self.server.drain(Duration::from_secs(5)).await.unwrap();
    }

    pub(crate) async fn start_instance(&mut self, name: &str) -> v1::Operation {
        let request = v1::StartInstanceRequest { instance: name.into(), ..Default::default() };
        let answer = self.compute.start_instance(request).await.unwrap().into_inner();
        self.ended(answer.operation).await
    }
}

/// A guest as its host has it, and how often it was started there.
pub(crate) fn guest(driver: &FakeDriver, id: InstanceId) -> (Option<Guest>, u64) {
    let host = driver.host();
    let slot = host.slots().get(&id);
    (slot.map(|slot| slot.guest.clone()), slot.map_or(0, |slot| slot.boots))
}

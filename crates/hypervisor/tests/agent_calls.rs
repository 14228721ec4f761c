//! The nine calls that the ancestor's server made to its agents, as messages of the stream that the agent opens. Each test
//! plays the agent against a real server.
#![cfg(test)]

use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::agent_message::Message as Up;
use hv_api::v1::agent_service_client::AgentServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_api::v1::server_message::Message as Down;
use hv_client::{Bearer, Dialer, ServerAddr};
use hypervisor::local::{Layout, start_server};
use hypervisor_server::Server;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

type Client<T> = InterceptedService<T, Bearer>;

/// A server, a caller, and an agent that a test plays.
struct Stage {
    compute: ComputeServiceClient<Client<Channel>>,
    agent: AgentServiceClient<Client<Channel>>,
    up: mpsc::UnboundedSender<v1::AgentMessage>,
    down: tonic::Streaming<v1::ServerMessage>,
    sequence: u64,
    server: Server,
    _dir: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout(dir.path().to_owned());
        let server = start_server(&layout.server_config("")).await.unwrap();
        let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
        let channel = dialer.dial().await.unwrap();
        let mut agent = AgentServiceClient::with_interceptor(channel.clone(), dialer.bearer());
        let (up, frames) = mpsc::unbounded_channel();
        let resources = v1::Resources { cpus: 8, memory_bytes: 8 << 30, disk_bytes: 1 << 40, gpus: 0 };
        let driver = v1::DriverStatus {
            name: "played".into(),
            healthy: true,
            instance_types: vec!["vm".into()],
            ..Default::default()
        };
        let report =
            v1::NodeReport { allocatable: Some(resources), drivers: vec![driver], ..Default::default() };
        let hello =
            v1::Hello { node_name: "alpha".into(), session: 1, report: Some(report), ..Default::default() };
        up.send(v1::AgentMessage { sequence: 1, message: Some(Up::Hello(hello)) }).unwrap();
        let down = agent.session(UnboundedReceiverStream::new(frames)).await.unwrap().into_inner();
        let compute = ComputeServiceClient::with_interceptor(channel, dialer.bearer());
        let mut stage = Self { compute, agent, up, down, sequence: 1, server, _dir: dir };
        assert!(matches!(stage.hear().await, Down::Welcome(_)));
        let Down::Desired(full) = stage.hear().await else { panic!("the full set follows the welcome") };
        assert!(full.full && full.complete && full.instances.is_empty());
        stage.say(Up::Observed(v1::Observed { full: true, complete: true, instances: vec![] }));
        stage
    }

    fn say(&mut self, message: Up) {
        self.sequence += 1;
        self.up.send(v1::AgentMessage { sequence: self.sequence, message: Some(message) }).unwrap();
    }

    async fn hear(&mut self) -> Down {
        let next = tokio::time::timeout(Duration::from_secs(20), self.down.next());
        next.await.expect("in time").expect("the stream goes on").unwrap().message.unwrap()
    }

    /// The next word on an instance.
    async fn desired(&mut self) -> v1::DesiredInstance {
        loop {
            if let Down::Desired(mut desired) = self.hear().await {
                assert!(!desired.full);
                return desired.instances.remove(0);
            }
        }
    }

    /// Reports a phase, as an agent that has acted on all it heard.
    fn report(&mut self, desired: &v1::DesiredInstance, phase: v1::InstancePhase) {
        let status = v1::InstanceStatus {
            phase: phase.into(),
            observed_generation: desired.generation,
            observed_restart_serial: desired.spec.as_ref().unwrap().restart_serial,
            ..Default::default()
        };
        let observed = v1::ObservedInstance {
            uid: desired.uid.clone(),
            epoch: desired.epoch,
            status: Some(status),
            ..Default::default()
        };
        self.say(Up::Observed(v1::Observed { full: false, complete: true, instances: vec![observed] }));
    }

    async fn create(&mut self) -> v1::DesiredInstance {
        let spec =
            v1::InstanceSpec { cpus: 1, memory_bytes: 64 << 20, image: "/i".into(), ..Default::default() };
        let request =
            v1::CreateInstanceRequest { name: "demo".into(), spec: Some(spec), ..Default::default() };
        self.compute.create_instance(request).await.unwrap();
        self.desired().await
    }

    async fn running(&mut self) -> v1::DesiredInstance {
        let desired = self.create().await;
        self.report(&desired, v1::InstancePhase::Running);
        self.until(v1::InstancePhase::Running).await;
        desired
    }

    /// Waits until the API shows a phase.
    async fn until(&mut self, phase: v1::InstancePhase) -> v1::Instance {
        let request = v1::WatchInstancesRequest { instance: "demo".into(), ..Default::default() };
        let mut changes = self.compute.watch_instances(request).await.unwrap().into_inner();
        let found = async {
            loop {
                let change = changes.next().await.unwrap().unwrap();
                if let Some(instance) =
                    change.instance.filter(|i| i.status.as_ref().unwrap().phase() == phase)
                {
                    return instance;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("in time")
    }

    async fn end(self) {
        drop((self.up, self.down, self.compute, self.agent));
        self.server.drain(Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test]
async fn create_instance_is_a_desired_instance() {
    let mut stage = Stage::new().await;
    let desired = stage.create().await;
    assert_eq!(
        (desired.name.as_str(), desired.epoch, desired.generation, desired.deleted),
        ("demo", 1, 1, false)
    );
    assert_eq!(desired.spec.unwrap().memory_bytes, 64 << 20);
    stage.end().await;
}

#[tokio::test]
async fn delete_instance_is_a_desired_deletion_until_the_agent_says_gone() {
    let mut stage = Stage::new().await;
    let desired = stage.running().await;
    let request = v1::DeleteInstanceRequest { instance: "demo".into(), force: true, ..Default::default() };
    stage.compute.delete_instance(request).await.unwrap();
    let deletion = stage.desired().await;
    assert_eq!((&deletion.uid, deletion.deleted, deletion.force), (&desired.uid, true, true));
    let get = v1::GetInstanceRequest { instance: "demo".into(), ..Default::default() };
    assert!(stage.compute.get_instance(get.clone()).await.is_ok(), "it is there until nothing is left of it");
    let gone = v1::ObservedInstance {
        uid: deletion.uid,
        epoch: deletion.epoch,
        gone: true,
        status: Some(v1::InstanceStatus::default()),
        ..Default::default()
    };
    let request = v1::WatchInstancesRequest { instance: "demo".into(), ..Default::default() };
    let mut changes = stage.compute.watch_instances(request).await.unwrap().into_inner();
    stage.say(Up::Observed(v1::Observed { full: false, complete: true, instances: vec![gone] }));
    while changes.next().await.unwrap().unwrap().kind() != v1::ChangeKind::Deleted {}
    assert_eq!(stage.compute.get_instance(get).await.unwrap_err().code(), tonic::Code::NotFound);
    stage.end().await;
}

#[tokio::test]
async fn stop_and_start_instance_are_levels() {
    let mut stage = Stage::new().await;
    stage.running().await;
    let request = v1::StopInstanceRequest { instance: "demo".into(), timeout_ms: 5000, ..Default::default() };
    stage.compute.stop_instance(request).await.unwrap();
    let stopped = stage.desired().await;
    let spec = stopped.spec.clone().unwrap();
    assert_eq!(
        (spec.run_state(), spec.force_stop, spec.stop_timeout_once_ms),
        (v1::RunState::Stopped, false, 5000)
    );
    stage.report(&stopped, v1::InstancePhase::Stopped);
    stage.until(v1::InstancePhase::Stopped).await;
    let request = v1::StartInstanceRequest { instance: "demo".into(), ..Default::default() };
    stage.compute.start_instance(request).await.unwrap();
    let spec = stage.desired().await.spec.unwrap();
    assert_eq!((spec.run_state(), spec.restart_serial), (v1::RunState::Running, 1));
    stage.end().await;
}

#[tokio::test]
async fn a_forced_stop_says_so() {
    let mut stage = Stage::new().await;
    stage.running().await;
    let request = v1::StopInstanceRequest { instance: "demo".into(), force: true, ..Default::default() };
    stage.compute.stop_instance(request).await.unwrap();
    assert!(stage.desired().await.spec.unwrap().force_stop);
    stage.end().await;
}

#[tokio::test]
async fn restart_instance_raises_the_serial() {
    let mut stage = Stage::new().await;
    stage.running().await;
    let request = v1::RestartInstanceRequest { instance: "demo".into(), ..Default::default() };
    stage.compute.restart_instance(request).await.unwrap();
    let spec = stage.desired().await.spec.unwrap();
    assert_eq!((spec.run_state(), spec.restart_serial), (v1::RunState::Running, 1));
    stage.end().await;
}

#[tokio::test]
async fn get_instance_is_what_the_agent_last_reported() {
    let mut stage = Stage::new().await;
    let desired = stage.running().await;
    stage.report(&desired, v1::InstancePhase::Paused);
    let shown = stage.until(v1::InstancePhase::Paused).await;
    assert_eq!(shown.status.unwrap().observed_generation, 1);
    // A report under an older assignment says nothing.
    let old = v1::DesiredInstance { epoch: 0, ..desired.clone() };
    stage.report(&old, v1::InstancePhase::Failed);
    stage.report(&desired, v1::InstancePhase::Running);
    stage.until(v1::InstancePhase::Running).await;
    stage.end().await;
}

#[tokio::test]
async fn list_instances_is_the_full_set_in_parts() {
    let mut stage = Stage::new().await;
    let desired = stage.create().await;
    let status = v1::InstanceStatus {
        phase: v1::InstancePhase::Running.into(),
        observed_generation: 1,
        ..Default::default()
    };
    let one = |uid: String| v1::ObservedInstance {
        uid,
        epoch: 1,
        status: Some(status.clone()),
        ..Default::default()
    };
    let unknown = v1::ObservedInstance { orphan: true, ..one("018f4e2a-0000-7000-8000-0000000000aa".into()) };
    stage.say(Up::Observed(v1::Observed { full: true, complete: false, instances: vec![unknown] }));
    stage.say(Up::Observed(v1::Observed { full: true, complete: true, instances: vec![one(desired.uid)] }));
    stage.until(v1::InstancePhase::Running).await;
    let list = stage.compute.list_instances(v1::ListInstancesRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.instances.len(), 1, "what nobody asked for is reported, and is no instance");
    stage.end().await;
}

#[tokio::test]
async fn get_instance_stats_is_asked_and_answered() {
    let mut stage = Stage::new().await;
    let desired = stage.running().await;
    let mut compute = stage.compute.clone();
    let request = v1::GetInstanceStatsRequest { instance: "demo".into(), ..Default::default() };
    let (answer, ()) = tokio::join!(compute.get_instance_stats(request), async {
        let Down::Stats(request) = stage.hear().await else { panic!("figures are asked for") };
        assert_eq!(request.uid, desired.uid);
        let stats = v1::InstanceStats { uid: request.uid, cpu_time_ns: Some(7), ..Default::default() };
        stage.say(Up::Stats(v1::StatsReply {
            request: request.request,
            stats: Some(stats),
            error: String::new(),
        }));
    });
    assert_eq!(answer.unwrap().into_inner().cpu_time_ns, Some(7));
    stage.end().await;
}

#[tokio::test]
async fn attach_console_is_a_stream_that_the_agent_opens() {
    use v1::agent_console_message::Message as Out;
    use v1::console_input::Input;
    use v1::console_output::Output;
    use v1::server_console_message::Message as In;
    let mut stage = Stage::new().await;
    stage.running().await;
    let (inputs, receiver) = mpsc::channel(4);
    let open = v1::ConsoleOpen { instance: "demo".into(), columns: 80, rows: 24, ..Default::default() };
    inputs.send(v1::ConsoleInput { input: Some(Input::Open(open)) }).await.unwrap();
    let mut compute = stage.compute.clone();
    let mut agent = stage.agent.clone();
    let (out, frames) = mpsc::channel(4);
    let (attached, from_server) =
        tokio::join!(compute.attach_console(ReceiverStream::new(receiver)), async {
            let Down::OpenConsole(open) = stage.hear().await else { panic!("a console is asked for") };
            assert_eq!((open.columns, open.rows), (80, 24));
            out.send(v1::AgentConsoleMessage { message: Some(Out::Token(open.token)) }).await.unwrap();
            agent.console(ReceiverStream::new(frames)).await.unwrap().into_inner()
        });
    let (mut outputs, mut from_server) = (attached.unwrap().into_inner(), from_server);
    let opened = outputs.message().await.unwrap().unwrap().output.unwrap();
    assert!(matches!(opened, Output::Opened(opened) if opened.instance_name == "demo"));
    out.send(v1::AgentConsoleMessage { message: Some(Out::Data(b"login:".to_vec())) }).await.unwrap();
    assert_eq!(outputs.message().await.unwrap().unwrap().output, Some(Output::Data(b"login:".to_vec())));
    inputs.send(v1::ConsoleInput { input: Some(Input::Data(b"demo\n".to_vec())) }).await.unwrap();
    assert_eq!(from_server.message().await.unwrap().unwrap().message, Some(In::Data(b"demo\n".to_vec())));
    let size = v1::ConsoleResize { columns: 132, rows: 43 };
    inputs.send(v1::ConsoleInput { input: Some(Input::Resize(size)) }).await.unwrap();
    assert_eq!(from_server.message().await.unwrap().unwrap().message, Some(In::Resize(size)));
    out.send(v1::AgentConsoleMessage { message: Some(Out::Closed("the guest has ended".into())) })
        .await
        .unwrap();
    let closed = outputs.message().await.unwrap().unwrap().output;
    assert_eq!(closed, Some(Output::Closed("the guest has ended".into())));
    // A token is good once.
    let (again, frames) = mpsc::channel(1);
    again.send(v1::AgentConsoleMessage { message: Some(Out::Token("stolen".into())) }).await.unwrap();
    assert_eq!(agent.console(ReceiverStream::new(frames)).await.unwrap_err().code(), tonic::Code::NotFound);
    drop((inputs, outputs, out, from_server, compute, agent));
    stage.end().await;
}

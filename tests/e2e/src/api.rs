//! The public API, as a test wants it.

use crate::{demo, patiently};
use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::cluster_service_client::ClusterServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_api::v1::event_service_client::EventServiceClient;
use hv_api::v1::operation_service_client::OperationServiceClient;
use hv_client::{Bearer, Dialer, ServerAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Service = InterceptedService<Channel, Bearer>;

/// Clients of one server.
#[derive(Clone, Debug)]
pub struct Api {
    /// Instances.
    pub compute: ComputeServiceClient<Service>,
    /// Nodes.
    pub cluster: ClusterServiceClient<Service>,
    /// Operations.
    pub operations: OperationServiceClient<Service>,
    /// Events.
    pub events: EventServiceClient<Service>,
}

impl Api {
    /// Dials a socket.
    pub async fn dial(socket: &Path, token: &Path) -> Self {
        let dialer = Dialer::new(ServerAddr::Unix(socket.to_owned()), token.to_owned()).unwrap();
        let channel = dialer.dial().await.unwrap();
        Self {
            compute: ComputeServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            cluster: ClusterServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            operations: OperationServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            events: EventServiceClient::with_interceptor(channel, dialer.bearer()),
        }
    }

    /// A request for the demo guest, small, with a port that leads to its web page.
    pub fn request(name: &str, port: Option<u16>) -> v1::CreateInstanceRequest {
        use v1::network_interface_spec::Attachment;
        let demo = demo().unwrap();
        let path = |file: &str| demo.join(file).to_str().unwrap().to_owned();
        let manifest = std::fs::read_to_string(path("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let interface = port.map(|port| {
            let publish =
                vec![v1::PublishedPort { host_port: port.into(), guest_port: 80, ..Default::default() }];
            v1::NetworkInterfaceSpec {
                name: "net0".into(),
                mac: String::new(),
                attachment: Some(Attachment::User(v1::UserNetwork { publish })),
            }
        });
        let spec = v1::InstanceSpec {
            r#type: v1::InstanceType::Vm.into(),
            cpus: 1,
            memory_bytes: 96 << 20,
            image: path("demo.qcow2"),
            network_interfaces: interface.into_iter().collect(),
            boot: Some(v1::BootSpec {
                firmware: v1::Firmware::Bios.into(),
                kernel: path("vmlinuz"),
                initrd: path("initrd.img"),
                cmdline: manifest["cmdline"].as_str().unwrap().to_owned(),
            }),
            stop_timeout_ms: 60_000,
            ..Default::default()
        };
        v1::CreateInstanceRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() }
    }

    /// Creates an instance, and waits until that has succeeded.
    pub async fn created(&mut self, request: v1::CreateInstanceRequest) -> v1::Instance {
        let answer = self.compute.create_instance(request).await.unwrap().into_inner();
        self.succeeded(answer.operation).await;
        answer.instance.unwrap()
    }

    /// Waits for an operation's end.
    pub async fn ended(&mut self, operation: &str) -> v1::Operation {
        let request = v1::WaitOperationRequest { operation: operation.to_owned(), timeout_ms: 0 };
        let answer = patiently("the end of an operation", self.operations.wait_operation(request)).await;
        answer.unwrap().into_inner()
    }

    /// Waits for an operation's success.
    pub async fn succeeded(&mut self, operation: Option<v1::Operation>) -> v1::Operation {
        let ended = self.ended(&operation.unwrap().uid).await;
        assert_eq!(ended.phase(), v1::OperationPhase::Succeeded, "{ended:?}");
        ended
    }

    /// An instance.
    pub async fn get(&mut self, name: &str) -> v1::Instance {
        let request = v1::GetInstanceRequest { instance: name.to_owned(), ..Default::default() };
        self.compute.get_instance(request).await.unwrap().into_inner()
    }

    /// Its status.
    pub async fn status(&mut self, name: &str) -> v1::InstanceStatus {
        self.get(name).await.status.unwrap()
    }

    /// Asks for a start and waits for it.
    pub async fn start(&mut self, name: &str) -> v1::Operation {
        let request = v1::StartInstanceRequest { instance: name.to_owned(), ..Default::default() };
        let answer = self.compute.start_instance(request).await.unwrap().into_inner();
        self.succeeded(answer.operation).await
    }

    /// Asks for a restart and waits for it.
    pub async fn restart(&mut self, name: &str) -> v1::Operation {
        let request = v1::RestartInstanceRequest { instance: name.to_owned(), ..Default::default() };
        let answer = self.compute.restart_instance(request).await.unwrap().into_inner();
        self.succeeded(answer.operation).await
    }

    /// Asks for a stop in order and does not wait for it.
    pub async fn stop(&mut self, name: &str) -> v1::Operation {
        let request = v1::StopInstanceRequest { instance: name.to_owned(), ..Default::default() };
        self.compute.stop_instance(request).await.unwrap().into_inner().operation.unwrap()
    }

    /// Deletes an instance without asking its guest, and waits until it is gone.
    pub async fn delete(&mut self, name: &str) {
        let request =
            v1::DeleteInstanceRequest { instance: name.to_owned(), force: true, ..Default::default() };
        let answer = self.compute.delete_instance(request).await.unwrap().into_inner();
        self.succeeded(answer.operation).await;
        let request = v1::GetInstanceRequest { instance: name.to_owned(), ..Default::default() };
        assert_eq!(self.compute.get_instance(request).await.unwrap_err().code(), Code::NotFound);
    }

    /// Watches one instance until it is as wanted.
    pub async fn until(
        &mut self,
        name: &str,
        what: &str,
        wanted: impl Fn(&v1::InstanceStatus) -> bool,
    ) -> v1::InstanceStatus {
        let request = v1::WatchInstancesRequest { instance: name.to_owned(), ..Default::default() };
        let mut changes = self.compute.watch_instances(request).await.unwrap().into_inner();
        patiently(what, async {
            loop {
                let change = changes.next().await.unwrap().unwrap();
                if let Some(status) = change.instance.and_then(|instance| instance.status)
                    && wanted(&status)
                {
                    return status;
                }
            }
        })
        .await
    }

    /// Watches the node until it is in a phase.
    pub async fn node_is(&mut self, phase: v1::NodePhase) -> v1::Node {
        let mut changes =
            self.cluster.watch_nodes(v1::WatchNodesRequest::default()).await.unwrap().into_inner();
        patiently("the node's phase", async {
            loop {
                let change = changes.next().await.unwrap().unwrap();
                if let Some(node) = change.node
                    && node.status.as_ref().is_some_and(|status| status.phase() == phase)
                {
                    return node;
                }
            }
        })
        .await
    }

    /// Attaches to a console; again while the agent is on its way back.
    pub async fn console(&mut self, name: &str) -> Console {
        patiently("a console", async {
            loop {
                match self.try_console(name).await {
                    Ok(console) => return console,
                    Err(status) if status.code() == Code::Unavailable => {
                        assert!(error_info(&status).retryable, "{status:?}");
                        tokio::time::sleep(AGAIN).await;
                    }
                    Err(status) => panic!("{status:?}"),
                }
            }
        })
        .await
    }

    async fn try_console(&mut self, name: &str) -> Result<Console, Status> {
        let (send, inputs) = mpsc::channel(4);
        let open = v1::ConsoleOpen { instance: name.to_owned(), ..Default::default() };
        send.send(v1::ConsoleInput { input: Some(v1::console_input::Input::Open(open)) }).await.unwrap();
        let output = self.compute.attach_console(ReceiverStream::new(inputs)).await?.into_inner();
        Ok(Console { send, output, seen: String::new() })
    }

    /// Waits until the guest says on its console that it is up; answers its boot counter.
    pub async fn booted(&mut self, name: &str) -> u64 {
        self.console(name).await.until(boots).await
    }
}

/// An attached console.
#[derive(Debug)]
pub struct Console {
    send: mpsc::Sender<v1::ConsoleInput>,
    output: tonic::Streaming<v1::ConsoleOutput>,
    seen: String,
}

impl Console {
    /// Types text.
    pub async fn type_in(&mut self, text: &str) {
        let data = v1::console_input::Input::Data(text.as_bytes().to_vec());
        self.send.send(v1::ConsoleInput { input: Some(data) }).await.unwrap();
    }

    /// Reads until what was printed since the last call satisfies `found`; answers that.
    pub async fn until<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> T {
        let reading = async {
            loop {
                if let Some(value) = found(&self.seen) {
                    self.seen.clear();
                    return value;
                }
                let message = self.output.message().await.unwrap().and_then(|message| message.output);
                match message {
                    Some(v1::console_output::Output::Data(bytes)) => {
                        self.seen.push_str(&String::from_utf8_lossy(&bytes));
                    }
                    Some(v1::console_output::Output::Opened(_)) => {}
                    other => panic!("the console closed: {other:?}: {}", self.seen),
                }
            }
        };
        match tokio::time::timeout(crate::LONG, reading).await {
            Ok(value) => value,
            Err(_) => panic!("not on the console: {}", self.seen),
        }
    }

    /// Reads until this text.
    pub async fn says(&mut self, text: &str) {
        self.until(|seen| seen.contains(text).then_some(())).await;
    }

    /// Reads to the end of the console; answers all of it.
    pub async fn to_end(mut self) -> String {
        patiently("the console's end", async {
            while let Ok(Some(message)) = self.output.message().await {
                match message.output {
                    Some(v1::console_output::Output::Data(bytes)) => {
                        self.seen.push_str(&String::from_utf8_lossy(&bytes));
                    }
                    Some(v1::console_output::Output::Closed(_)) => break,
                    _ => {}
                }
            }
        })
        .await;
        self.seen
    }
}

/// Before asking again what cannot be waited for.
const AGAIN: Duration = Duration::from_millis(50);

const UP: &str = "hypervisor-demo: up boot=";

/// The boot counter in the newest line that says the guest is up.
pub fn boots(text: &str) -> Option<u64> {
    let rest = &text[text.rfind(UP)? + UP.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

/// The uptime in that line, in seconds.
pub fn uptime(text: &str) -> Option<f64> {
    let rest = &text[text.rfind(UP)?..];
    let (_, rest) = rest.split_once("uptime=")?;
    rest.split_once('s')?.0.parse().ok()
}

/// The demo guest's web page: its status line. Asks again until the guest answers.
pub async fn page(port: u16) -> String {
    patiently("the guest's page", async {
        loop {
            let ask = async {
                let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
                stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                std::io::Result::Ok(answer)
            };
            match ask.await {
                Ok(answer) if answer.contains(UP) => return answer,
                _ => tokio::time::sleep(AGAIN).await,
            }
        }
    })
    .await
}

/// What rides in an error.
pub fn error_info(status: &Status) -> v1::ErrorInfo {
    prost::Message::decode(status.details()).unwrap()
}

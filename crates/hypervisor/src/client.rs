//! The public API, as a user of it would call it.

use crate::local::Layout;
use anyhow::{Context, bail};
use hv_api::status::from_status;
use hv_api::v1;
use hv_api::v1::cluster_service_client::ClusterServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_api::v1::operation_service_client::OperationServiceClient;
use hv_client::{Bearer, Dialer, ServerAddr};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How long the agent beside us may take to join.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks at what tells of itself nowhere.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

type Service = InterceptedService<Channel, Bearer>;

/// Clients of the local server.
pub(crate) struct Client {
    compute: ComputeServiceClient<Service>,
    cluster: ClusterServiceClient<Service>,
    operations: OperationServiceClient<Service>,
}

fn failed(status: Status) -> anyhow::Error {
    let error = from_status(&status);
    match &error.hint {
        Some(hint) => anyhow::anyhow!("{error} ({hint})"),
        None => anyhow::anyhow!("{error}"),
    }
}

impl Client {
    /// Dials the server's socket.
    pub(crate) async fn dial(layout: &Layout) -> anyhow::Result<Self> {
        let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token())?;
        let channel = dialer.dial().await?;
        Ok(Self {
            compute: ComputeServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            cluster: ClusterServiceClient::with_interceptor(channel.clone(), dialer.bearer()),
            operations: OperationServiceClient::with_interceptor(channel, dialer.bearer()),
        })
    }

    /// Returns when the agent of a node has joined this server and can run instances.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let mut last = "no agent has joined".to_owned();
        let joined = async {
            loop {
                let nodes = self.cluster.list_nodes(v1::ListNodesRequest::default()).await.map_err(failed)?;
                // The store remembers an earlier run's agent, but not when it was last seen.
                let joined = nodes.into_inner().nodes.into_iter().filter_map(|node| node.status);
                for status in joined.filter(|status| status.last_seen_at_ms != 0) {
                    if status.phase() == v1::NodePhase::Ready {
                        return Ok(());
                    }
                    let drivers = status.drivers.iter().filter(|driver| !driver.healthy);
                    let messages = drivers.map(|driver| format!("{}: {}", driver.name, driver.message));
                    last = messages.collect::<Vec<_>>().join("; ");
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let joined = tokio::time::timeout(JOIN_WITHIN, joined).await;
        joined.unwrap_or_else(|_| bail!("the node was not ready within {} s: {last}", JOIN_WITHIN.as_secs()))
    }

    /// An instance, if there is one of this name.
    pub(crate) async fn instance(&mut self, name: &str) -> anyhow::Result<Option<v1::Instance>> {
        let request = v1::GetInstanceRequest { instance: name.to_owned(), ..Default::default() };
        match self.compute.get_instance(request).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(failed(status)),
        }
    }

    /// Creates an instance and waits for it.
    pub(crate) async fn create(
        &mut self,
        request: v1::CreateInstanceRequest,
    ) -> anyhow::Result<v1::Instance> {
        let answer = self.compute.create_instance(request).await.map_err(failed)?.into_inner();
        self.ended(answer.operation).await?;
        answer.instance.context("the answer has no instance")
    }

    pub(crate) async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let request = v1::StartInstanceRequest { instance: name.to_owned(), ..Default::default() };
        let answer = self.compute.start_instance(request).await.map_err(failed)?.into_inner();
        self.ended(answer.operation).await
    }

    pub(crate) async fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        let request = v1::RestartInstanceRequest { instance: name.to_owned(), ..Default::default() };
        let answer = self.compute.restart_instance(request).await.map_err(failed)?.into_inner();
        self.ended(answer.operation).await
    }

    pub(crate) async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let request = v1::StopInstanceRequest { instance: name.to_owned(), ..Default::default() };
        let answer = self.compute.stop_instance(request).await.map_err(failed)?.into_inner();
        self.ended(answer.operation).await
    }

    pub(crate) async fn delete(&mut self, name: &str) -> anyhow::Result<()> {
        let request = v1::DeleteInstanceRequest { instance: name.to_owned(), ..Default::default() };
        let answer = self.compute.delete_instance(request).await.map_err(failed)?.into_inner();
        self.ended(answer.operation).await
    }

    async fn ended(&mut self, operation: Option<v1::Operation>) -> anyhow::Result<()> {
        let operation = operation.context("the answer has no operation")?.uid;
        let request = v1::WaitOperationRequest { operation, timeout_ms: 0 };
        let ended = self.operations.wait_operation(request).await.map_err(failed)?.into_inner();
        if ended.phase() != v1::OperationPhase::Succeeded {
            bail!("{} of `{}`: {}", ended.kind, ended.target_name, ended.message);
        }
        Ok(())
    }

    /// Attaches to a console; what was printed before comes first.
    pub(crate) async fn console(&mut self, name: &str) -> anyhow::Result<Console> {
        let (send, inputs) = mpsc::channel(4);
        let open = v1::ConsoleOpen { instance: name.to_owned(), ..Default::default() };
        send.send(v1::ConsoleInput { input: Some(v1::console_input::Input::Open(open)) }).await?;
        let output =
            self.compute.attach_console(ReceiverStream::new(inputs)).await.map_err(failed)?.into_inner();
        Ok(Console { send, output, seen: Vec::new() })
    }
}

/// An attached console.
pub(crate) struct Console {
    send: mpsc::Sender<v1::ConsoleInput>,
    output: tonic::Streaming<v1::ConsoleOutput>,
    seen: Vec<u8>,
}

impl Console {
    /// Types text.
    pub(crate) async fn type_in(&mut self, text: &str) -> anyhow::Result<()> {
        let data = v1::console_input::Input::Data(text.as_bytes().to_vec());
        self.send.send(v1::ConsoleInput { input: Some(data) }).await.context("the console closed")
    }

    /// Reads until what was printed since the last call satisfies `found`; answers that.
    pub(crate) async fn until<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        loop {
            if let Some(value) = found(&String::from_utf8_lossy(&self.seen)) {
                self.seen.clear();
                return Ok(value);
            }
            let message = self.output.message().await.map_err(failed)?.and_then(|message| message.output);
            match message {
                Some(v1::console_output::Output::Data(bytes)) => self.seen.extend(bytes),
                Some(v1::console_output::Output::Opened(_)) => {}
                Some(v1::console_output::Output::Closed(why)) => bail!("the console closed: {why}"),
                None => bail!("the console closed"),
            }
        }
    }
}

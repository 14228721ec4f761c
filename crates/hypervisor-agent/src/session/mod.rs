//! The session with the server: dialled by the agent, opened anew after every gap.

mod console;
pub mod link;

use crate::node::{Node, Request, RevokeError, Task};
use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::agent_service_client::AgentServiceClient;
use hv_client::{Bearer, DialError, Dialer};
use hv_core::InstanceId;
use hv_core::instance::Epoch;
use hv_core::node::DriverStatus;
use hv_driver::{Driver, Handle, Stats};
use hv_runtime::clock;
use hv_runtime::tasks::Tasks;
use link::{Event, Link};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

/// First pause before dialling again; it doubles up to [`LONGEST_PAUSE`] while the server is away.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the journal may take to have every assignment revoked before the server is asked again.
const REVOKED_WITHIN: Duration = Duration::from_secs(30);
/// How often the node looks at itself: QEMU may be installed, or go, while the agent runs.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Who this node says it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// uid: made by the agent at its first start; a server may give it that of a node that was registered by name.
    pub node_uid: String,
    /// Name.
    pub node_name: String,
    /// Newest session number.
    pub session: u64,
    /// Store incarnation of the newest session.
    pub incarnation: String,
    /// Highest epoch in the journal.
    pub highest_epoch: Epoch,
    /// What a new node record starts with.
    pub initial_spec: v1::NodeSpec,
    /// Labels that it starts with.
    pub initial_labels: std::collections::BTreeMap<String, String>,
    /// What the host is and has.
    pub report: v1::NodeReport,
}

/// The node's report, given what its drivers say.
pub type Describe = Arc<dyn Fn(Vec<DriverStatus>) -> v1::NodeReport + Send + Sync>;

/// What the session needs of the rest of the agent.
pub struct Session {
    /// Reaches the server.
    pub dialer: Dialer,
    /// Who this node is.
    pub identity: Identity,
    /// Its instances.
    pub node: Node,
    /// For figures and consoles.
    pub driver: Arc<dyn Driver>,
    /// Makes the node's report of what its drivers say.
    pub describe: Describe,
    /// Keeps the identity.
    pub journal: crate::journal::Journal,
    /// Runs consoles.
    pub tasks: Tasks,
}

/// A way a session came to its end.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("cannot reach the server")]
    Dial(#[from] DialError),
    #[error("the server refused or ended the session: {0}")]
    Status(Box<tonic::Status>),
    #[error(transparent)]
    Link(#[from] link::LinkError),
    #[error("the server closed the stream")]
    Closed,
    #[error(
        "the server gave up this node while it was not heard of: its guests end, and it joins as a new node"
    )]
    Abandoned,
    #[error("the server gave up this node while it was not heard of, and it cannot become another")]
    Revoke(#[from] RevokeError),
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl Session {
    /// Keeps a session open until told to stop.
    pub async fn run(mut self) {
        let stop = self.tasks.stop_token();
        let mut pause = FIRST_PAUSE;
        loop {
            let began = clock::since_boot();
            let error = tokio::select! {
                () = stop.cancelled() => return,
                // Dropping it closes the streams; the next session starts with full sets.
                Err(error) = self.once() => error,
            };
            if stop.is_cancelled() {
                return;
            }
            if clock::since_boot().saturating_sub(began) > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tracing::warn!(error = %chain(&error), retry_in_ms = pause.as_millis() as u64, "no session with the server");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One session, from dialling to its end.
    async fn once(&mut self) -> Result<std::convert::Infallible, SessionError> {
        let channel = self.dialer.dial().await?;
        let mut client = self.client(channel);
        self.identity.session += 1;
        // Durable before anybody hears it: an agent that dies here comes back as the same node.
        self.journal
            .write_session(&self.identity.node_uid, self.identity.session, &self.identity.incarnation)
            .await?;

        let (mut link, hello) = Link::open(self.hello(), clock::since_boot());
        // Bounded by what a session can hold: one frame per changed instance, and a beat a second.
        let (up, frames) = mpsc::unbounded_channel();
        let _ = up.send(hello);
        let mut down = client.session(UnboundedReceiverStream::new(frames)).await?.into_inner();
        let (answers, mut answered) = mpsc::unbounded_channel();
        let mut reports = self.node.reports.clone();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let until_tick = link.deadline().saturating_sub(clock::since_boot());
            tokio::select! {
                // All arms are cancel-safe: each takes one whole item, or none.
                frame = down.next() => {
                    let frame = frame.ok_or(SessionError::Closed)??;
                    for event in link.receive(frame, clock::since_boot())? {
                        self.handle(event, &answers).await?;
                    }
                }
                changed = reports.changed() => changed.map_err(|_| SessionError::Closed)?,
                Some(answer) = answered.recv() => {
                    if self.is_news(&answer) {
                        let _ = up.send(link.frame(answer));
                    }
                }
                _ = look.tick() => {
                    let (driver, describe, answers) = (self.driver.clone(), self.describe.clone(), answers.clone());
                    self.tasks.spawn(Task::Look, async move {
                        let report = describe(vec![driver.fingerprint().await]);
                        let _ = answers.send(v1::agent_message::Message::Node(report));
                    });
                }
                () = tokio::time::sleep(until_tick) => {
                    if let Some(beat) = link.tick(clock::since_boot())? {
                        let _ = up.send(beat);
                    }
                }
            }
            let now_reported = reports.borrow_and_update().clone();
            for frame in link.report(&now_reported) {
                // A closed channel shows as the stream's end above.
                let _ = up.send(frame);
            }
        }
    }

    fn client(
        &self,
        channel: Channel,
    ) -> AgentServiceClient<tonic::service::interceptor::InterceptedService<Channel, Bearer>> {
        AgentServiceClient::with_interceptor(channel, self.dialer.bearer())
    }

    /// Whether the server should hear it: a report of the node that says what it knows is no news.
    fn is_news(&mut self, message: &v1::agent_message::Message) -> bool {
        let v1::agent_message::Message::Node(report) = message else { return true };
        if self.identity.report == *report {
            return false;
        }
        self.identity.report = report.clone();
        true
    }

    fn hello(&self) -> v1::Hello {
        let reports = self.node.reports.borrow();
        let reported = reports.instances.values().map(|(_, report)| report.epoch).max();
        let highest_epoch = reported.max(Some(self.identity.highest_epoch)).map_or(0, |epoch| epoch.0);
        v1::Hello {
            node_uid: self.identity.node_uid.clone(),
            node_name: self.identity.node_name.clone(),
            session: self.identity.session,
            report: Some(self.identity.report.clone()),
            initial_spec: Some(self.identity.initial_spec.clone()),
            initial_labels: self.identity.initial_labels.clone(),
            highest_epoch,
            incarnation: self.identity.incarnation.clone(),
        }
    }

    async fn handle(
        &mut self,
        event: Event,
        answers: &mpsc::UnboundedSender<v1::agent_message::Message>,
    ) -> Result<(), SessionError> {
        match event {
            Event::Welcome(welcome) => {
                tracing::info!(node = welcome.node_name, session = welcome.session, "joined the server");
                self.journal
                    .write_session(&welcome.node_uid, self.identity.session, &welcome.incarnation)
                    .await?;
                self.identity.node_uid = welcome.node_uid;
                self.identity.incarnation = welcome.incarnation;
            }
            Event::Desired(desired) => {
                // The node task ends only with the agent.
                let _ = self.node.requests.send(Request::Desired(desired));
            }
            Event::FullSet(wanted) => {
                let _ = self.node.requests.send(Request::FullSet(wanted));
            }
            Event::Abandoned => {
                // Every instance remembers that it is revoked before this becomes another node: an agent that dies in between, or
                // cannot write that down, comes back as the old one, and is told again.
                self.node.revoke(REVOKED_WITHIN).await?;
                let node_uid = hv_runtime::ids::uuid().to_string();
                self.journal
                    .write_session(&node_uid, self.identity.session, &self.identity.incarnation)
                    .await?;
                self.identity.node_uid = node_uid;
                return Err(SessionError::Abandoned);
            }
            Event::Stats(request) => {
                let (driver, answers) = (self.driver.clone(), answers.clone());
                self.tasks.spawn(Task::Console, async move {
                    let reply = stats(&*driver, request).await;
                    let _ = answers.send(v1::agent_message::Message::Stats(reply));
                });
            }
            Event::OpenConsole(open) => {
                let (driver, answers, dialer) = (self.driver.clone(), answers.clone(), self.dialer.clone());
                let stop = self.tasks.stop_token();
                self.tasks.spawn(Task::Console, async move {
                    let token = open.token.clone();
                    let carried = tokio::select! {
                        () = stop.cancelled() => return,
                        carried = console::carry(&*driver, &dialer, open) => carried,
                    };
                    if let Err(error) = carried {
                        let refused = v1::ConsoleRefused { token, error };
                        let _ = answers.send(v1::agent_message::Message::ConsoleRefused(refused));
                    }
                });
            }
        }
        Ok(())
    }
}

async fn stats(driver: &dyn Driver, request: v1::StatsRequest) -> v1::StatsReply {
    let failed = |error: String| v1::StatsReply { request: request.request, stats: None, error };
    let Ok(id) = request.uid.parse::<InstanceId>() else { return failed("not a uid".into()) };
    let patience = Duration::from_secs(5);
    match tokio::time::timeout(patience, driver.stats(Handle { id, epoch: Epoch(0) })).await {
        Err(_) => failed("the guest's monitor did not answer within 5 s".into()),
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(stats)) => v1::StatsReply {
            request: request.request,
            stats: Some(stats_to(id, &stats)),
            error: String::new(),
        },
    }
}

fn stats_to(id: InstanceId, stats: &Stats) -> v1::InstanceStats {
    let known = !stats.disks.is_empty();
    let total = |of: fn(&hv_driver::DiskStats) -> u64| known.then(|| stats.disks.iter().map(of).sum());
    v1::InstanceStats {
        uid: id.to_string(),
        collected_at_ms: clock::wall().0,
        cpu_time_ns: stats.cpu_time_ns,
        cpu_usage_percent: None,
        memory_used_bytes: stats.memory_used_bytes,
        memory_cache_bytes: None,
        disk_read_bytes: total(|disk| disk.read_bytes),
        disk_write_bytes: total(|disk| disk.write_bytes),
        network_rx_bytes: stats.network_bytes.map(|(rx, _)| rx),
        network_tx_bytes: stats.network_bytes.map(|(_, tx)| tx),
        disks: stats
            .disks
            .iter()
            .map(|disk| v1::DiskStats {
                name: disk.name.clone(),
                read_bytes: disk.read_bytes,
                write_bytes: disk.write_bytes,
                read_requests: disk.read_requests,
                write_requests: disk.write_requests,
            })
            .collect(),
    }
}

/// An error with its causes, for a log line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

//! The node's instances: one task each, and one place that routes to them.

use crate::instance::machine::Confirmation;
use crate::instance::task::{self, Message, Surroundings};
use crate::instance::{Desired, Record, Report};
use crate::journal::Journal;
use futures::StreamExt;
use hv_core::InstanceId;
use hv_core::instance::{Epoch, InstanceStatus, Phase};
use hv_driver::{Driver, Handle};
use hv_runtime::tasks::{TaskKind, Tasks};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// The agent's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Owns one instance; its end (a bug) leaves the others alone.
    Instance,
    /// Routes events and collects reports.
    Node,
    /// Talks with the server.
    Session,
    /// Carries one console, or answers for figures.
    Console,
    /// Looks at the node itself.
    Look,
}

impl TaskKind for Task {
    fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Node => "node",
            Self::Session => "session",
            Self::Console => "console",
            Self::Look => "look",
        }
    }

    fn is_vital(self) -> bool {
        matches!(self, Self::Node | Self::Session)
    }
}

/// A request to the node task.
#[derive(Debug)]
pub enum Request {
    /// A part of what the server wants.
    Desired(Vec<Desired>),
    /// The server's full set is known: whatever else is here is an orphan.
    FullSet(BTreeSet<InstanceId>),
    /// The node goes down: guests may take this long, and nothing is started any more.
    Quiesce(Duration),
    /// The server gave up this node: guests end. Answers whose.
    Revoke(oneshot::Sender<BTreeSet<InstanceId>>),
}

/// All reports by instance, for whoever tells the server. The number rises with every change.
pub type Reports = BTreeMap<InstanceId, (u64, Report)>;

/// Handle to the node task.
#[derive(Clone, Debug)]
pub struct Node {
    /// Requests.
    pub requests: mpsc::UnboundedSender<Request>,
    /// What is observed.
    pub reports: watch::Receiver<Arc<Reports>>,
}

/// Why a node's assignments are not all revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The guests have been ended all the same.
    #[error("the journal did not take within {} s that this node was given up; see its errors", .0.as_secs())]
    Journal(Duration),
    /// The agent ends.
    #[error("the agent ends")]
    Ends,
}

impl Node {
    /// Revokes every assignment: guests end at once; answers when the journal has it of each. Safe to repeat.
    ///
    /// # Errors
    /// The journal takes longer than `within`, or the agent ends.
    pub async fn revoke(&self, within: Duration) -> Result<(), RevokeError> {
        let (send, whose) = oneshot::channel();
        self.requests.send(Request::Revoke(send)).map_err(|_| RevokeError::Ends)?;
        let whose = whose.await.map_err(|_| RevokeError::Ends)?;
        // A task reports what it has written.
        let mut reports = self.reports.clone();
        let written = |reports: &Arc<Reports>| {
            whose.iter().all(|id| reports.get(id).is_some_and(|(_, report)| report.revoked))
        };
        match tokio::time::timeout(within, reports.wait_for(written)).await {
            Ok(written) => written.map(drop).map_err(|_| RevokeError::Ends),
            Err(_) => Err(RevokeError::Journal(within)),
        }
    }
}

/// Starts the node's tasks with what the journal holds, in this boot of the host. With `quiesce`, only to take the guests down.
pub fn start(
    tasks: &Tasks,
    driver: Arc<dyn Driver>,
    journal: Journal,
    (boot_id, confirmation): (String, Confirmation),
    records: Vec<Record>,
    quiesce: Option<Duration>,
) -> Node {
    let (requests, inbox) = mpsc::unbounded_channel();
    let (publish, reports) = watch::channel(Arc::default());
    let (report_tx, report_rx) = mpsc::unbounded_channel();
    let stop = tasks.stop_token();
    let around = Surroundings { driver, journal, reports: report_tx, boot_id, confirmation, stop, quiesce };
    let state = State {
        tasks: tasks.clone(),
        around,
        instances: BTreeMap::new(),
        publish,
        number: 0,
        quiescing: quiesce.is_some(),
    };
    tasks.spawn(Task::Node, state.run(records, inbox, report_rx));
    Node { requests, reports }
}

struct State {
    tasks: Tasks,
    around: Surroundings,
    instances: BTreeMap<InstanceId, mpsc::UnboundedSender<Message>>,
    publish: watch::Sender<Arc<Reports>>,
    number: u64,
    quiescing: bool,
}

impl State {
    async fn run(
        mut self,
        records: Vec<Record>,
        mut inbox: mpsc::UnboundedReceiver<Request>,
        mut reports: mpsc::UnboundedReceiver<Report>,
    ) {
        let mut events = self.around.driver.events();
        let stop = self.around.stop.clone();
        for record in records {
            self.start(record);
        }
        loop {
            tokio::select! {
                // All arms are cancel-safe: each takes one whole item, or none.
                () = stop.cancelled() => return,
                Some(request) = inbox.recv() => match request {
                    Request::Desired(desired) => desired.into_iter().for_each(|desired| self.desired(desired)),
                    Request::FullSet(wanted) => {
                        self.forget_the_gone(&wanted).await;
                        self.find_orphans(wanted);
                    }
                    Request::Quiesce(patience) => self.quiesce(patience),
                    Request::Revoke(whose) => {
                        for instance in self.instances.values() {
                            let _ = instance.send(Message::Revoked);
                        }
                        // The session may have ended with the agent's stop.
                        let _ = whose.send(self.instances.keys().copied().collect());
                    }
                },
                Some(report) = reports.recv() => self.publish(report),
                Some(id) = events.next() => {
                    if let Some(instance) = self.instances.get(&id) {
                        // The task may just have ended with the agent's stop.
                        let _ = instance.send(Message::Changed);
                    }
                }
            }
        }
    }

    fn quiesce(&mut self, patience: Duration) {
        self.quiescing = true;
        for instance in self.instances.values() {
            let _ = instance.send(Message::Quiesce(patience));
        }
    }

    fn desired(&mut self, desired: Desired) {
        match self.instances.get(&desired.id) {
            Some(instance) => {
                let _ = instance.send(Message::Desired(Box::new(desired)));
            }
            // It waits in the server for the node to come back.
            None if self.quiescing => {}
            None => self.start(Record::new(desired, self.around.boot_id.clone())),
        }
    }

    fn start(&mut self, record: Record) {
        let (send, inbox) = mpsc::unbounded_channel();
        self.instances.insert(record.desired.id, send);
        self.tasks.spawn(Task::Instance, task::run(record, self.around.clone(), inbox));
    }

    fn publish(&mut self, report: Report) {
        let revoked = self.publish.borrow().get(&report.id).is_some_and(|(_, known)| known.revoked);
        if revoked && report.orphan && !report.revoked {
            // From a look that began before it was revoked.
            return;
        }
        self.number += 1;
        let number = self.number;
        self.publish.send_modify(|reports| {
            Arc::make_mut(reports).insert(report.id, (number, report));
        });
    }

    /// Lets go of instances of which nothing is left here and which the server does not name any more. Messages of earlier
    /// sessions, which could bring them back, ended with those sessions.
    async fn forget_the_gone(&mut self, wanted: &BTreeSet<InstanceId>) {
        // What is here without being wanted keeps its record: a restored store may come to know of it again.
        let over = |(id, (_, report)): (&InstanceId, &(u64, Report))| {
            // One that was revoked goes on to say so while its disks are here: a server that has forgotten it must not take its remains for the instance.
            let unknown = report.orphan && !self.instances.contains_key(id);
            ((report.gone || report.rejected || unknown) && !wanted.contains(id)).then_some(*id)
        };
        let over: Vec<InstanceId> = self.publish.borrow().iter().filter_map(over).collect();
        if over.is_empty() {
            return;
        }
        // Together: the journal commits them at once.
        let forgotten =
            futures::future::join_all(over.iter().map(|id| self.around.journal.forget(*id))).await;
        for (id, result) in over.iter().zip(forgotten) {
            match result {
                // Its task ends with its inbox.
                Ok(()) => drop(self.instances.remove(id)),
                Err(error) => {
                    tracing::warn!(instance = %id, %error, "cannot forget an instance that is gone")
                }
            }
        }
        self.publish.send_modify(|reports| Arc::make_mut(reports).retain(|id, _| !over.contains(id)));
    }

    /// Reports what is here and unknown to the server. It is never deleted: a person decides.
    fn find_orphans(&self, wanted: BTreeSet<InstanceId>) {
        let (driver, reports) = (self.around.driver.clone(), self.around.reports.clone());
        let epochs: BTreeMap<InstanceId, Epoch> =
            self.publish.borrow().iter().map(|(id, (_, report))| (*id, report.epoch)).collect();
        // Those that were revoked report themselves, as long as something is left of them.
        let mut revoked: BTreeMap<InstanceId, mpsc::UnboundedSender<Message>> = BTreeMap::new();
        for (id, (_, report)) in self.publish.borrow().iter() {
            if let (true, Some(instance)) = (report.revoked, self.instances.get(id)) {
                revoked.insert(*id, instance.clone());
            }
        }
        self.tasks.spawn(Task::Look, async move {
            let owned = match driver.list_owned().await {
                Ok(owned) => owned,
                Err(error) => return tracing::warn!(%error, "cannot list what is on this node"),
            };
            for (_, instance) in revoked.iter().filter(|(id, _)| !owned.contains(id)) {
                // The task may just have ended with the agent's stop.
                let _ = instance.send(Message::Vanished);
            }
            for id in owned.into_iter().filter(|id| !wanted.contains(id) && !revoked.contains_key(id)) {
                let epoch = epochs.get(&id).copied().unwrap_or_default();
                let phase = match driver.observe(Handle { id, epoch }).await.map(|seen| seen.guest) {
                    Ok(hv_driver::Guest::Running) => Phase::Running,
                    Ok(hv_driver::Guest::Paused) => Phase::Paused,
                    Ok(hv_driver::Guest::Absent | hv_driver::Guest::Ended(_)) => Phase::Stopped,
                    Err(_) => Phase::Unknown,
                };
                tracing::warn!(instance = %id, phase = phase.as_str(), "an instance is here that the server does not know; it is left alone");
                let status =
                    InstanceStatus { phase, message: "unknown to the server".into(), ..InstanceStatus::default() };
                let report = Report {
                    id,
                    epoch,
                    status,
                    gone: false,
                    rejected: false,
                    orphan: true,
                    revoked: false,
                };
                let _ = reports.send(report);
            }
        });
    }
}

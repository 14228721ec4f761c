//! The node's instances: one task each, and one place that routes to them.

use crate::instance::machine::{Confirmation, Origin};
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

/// How often the node looks for what is on it and what is not: somebody may remove what no server wants here.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is known of the node's instances, for whoever tells the server.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// By instance; the number rises with every change.
    pub instances: BTreeMap<InstanceId, (u64, Report)>,
    /// Since the agent started, every instance that its journal knew has been looked at, or is over and was forgotten.
    pub looked: bool,
    /// Nothing is missing: since the agent started, every instance that its journal knew has been looked at, and so has the node for
    /// what the journal did not know.
    pub complete: bool,
}

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
            whose.iter().all(|id| reports.instances.get(id).is_some_and(|(_, report)| report.revoked))
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
    let (publish, reports) =
        watch::channel(Arc::new(Reports { looked: records.is_empty(), ..Reports::default() }));
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
        unseen: records.iter().map(|record| record.desired.id).collect(),
        look: Look::Never,
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
    /// Those of the journal that have not been looked at since the agent started.
    unseen: BTreeSet<InstanceId>,
    look: Look,
}

/// How far looking at the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It has not been looked at since the agent started.
    Never,
    /// For the first time, or not.
    UnderWay { first: bool, again: bool },
    /// It has been looked at.
    Done,
}

/// What a look at the node has found.
struct Found {
    /// All that has something here; `None` when that cannot be told.
    owned: Option<BTreeSet<InstanceId>>,
    /// Those of them that had no task when the look began.
    strangers: Vec<(InstanceId, Phase)>,
    /// Those that had a task, and have nothing here.
    missing: Vec<InstanceId>,
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
        let (tell, mut found) = mpsc::unbounded_channel();
        let mut look = tokio::time::interval(LOOK_EVERY);
        for record in records {
            self.start(record, Origin::Journal);
        }
        loop {
            tokio::select! {
                // All arms are cancel-safe: each takes one whole item, or none.
                () = stop.cancelled() => return,
                Some(request) = inbox.recv() => match request {
                    Request::Desired(desired) => desired.into_iter().for_each(|desired| self.desired(desired)),
                    Request::FullSet(wanted) => {
                        self.forget_the_gone(&wanted).await;
                        for (_, instance) in self.instances.iter().filter(|(id, _)| !wanted.contains(id)) {
                            // The task may just have ended with the agent's stop.
                            let _ = instance.send(Message::Unnamed);
                        }
                        self.look(&tell);
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
                Some(report) = reports.recv() => {
                    let unseen = !self.unseen.is_empty();
                    self.publish(report);
                    if unseen && self.unseen.is_empty() {
                        self.look(&tell);
                    }
                }
                Some(found) = found.recv() => self.found(found, &tell),
                _ = look.tick() => self.look(&tell),
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
            None => self.start(Record::new(desired, self.around.boot_id.clone()), Origin::Assigned),
        }
    }

    fn start(&mut self, record: Record, origin: Origin) {
        let (send, inbox) = mpsc::unbounded_channel();
        self.instances.insert(record.desired.id, send);
        self.tasks.spawn(Task::Instance, task::run(record, origin, self.around.clone(), inbox));
    }

    fn publish(&mut self, report: Report) {
        if report.has_looked() {
            self.unseen.remove(&report.id);
        }
        self.number += 1;
        let (number, complete, looked) = (self.number, self.is_complete(), self.unseen.is_empty());
        self.publish.send_modify(|reports| {
            let reports = Arc::make_mut(reports);
            reports.instances.insert(report.id, (number, report));
            (reports.complete, reports.looked) = (complete, looked);
        });
    }

    fn is_complete(&self) -> bool {
        let looked = matches!(self.look, Look::Done | Look::UnderWay { first: false, .. });
        looked && self.unseen.is_empty()
    }

    /// Lets go of instances of which nothing is left here and which the server does not name any more. Messages of earlier
    /// sessions, which could bring them back, ended with those sessions.
    async fn forget_the_gone(&mut self, wanted: &BTreeSet<InstanceId>) {
        // What is here without being wanted keeps its record, and goes on to say so: a restored store may come to know of it
        // again, and one that has forgotten that it was revoked must not take its remains for the instance.
        let over = |(id, (_, report)): (&InstanceId, &(u64, Report))| {
            ((report.gone || report.rejected) && !wanted.contains(id)).then_some(*id)
        };
        let over: Vec<InstanceId> = self.publish.borrow().instances.iter().filter_map(over).collect();
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
        self.publish
            .send_modify(|reports| Arc::make_mut(reports).instances.retain(|id, _| !over.contains(id)));
    }

    /// Looks for what is here and has no record, and for what has one and is not here.
    fn look(&mut self, tell: &mpsc::UnboundedSender<Found>) {
        let first = match &mut self.look {
            Look::UnderWay { again, .. } => return *again = true,
            Look::Never => true,
            Look::Done => false,
        };
        self.look = Look::UnderWay { first, again: false };
        let known: BTreeSet<InstanceId> = self.instances.keys().copied().collect();
        let (driver, tell) = (self.around.driver.clone(), tell.clone());
        self.tasks.spawn(Task::Look, async move {
            let mut found = Found { owned: None, strangers: Vec::new(), missing: Vec::new() };
            match driver.list_owned().await {
                Err(error) => tracing::warn!(%error, "cannot list what is on this node"),
                Ok(owned) => {
                    for id in owned.iter().filter(|id| !known.contains(id)) {
                        let phase = match driver.observe(Handle { id: *id, epoch: Epoch(0) }).await {
                            Ok(seen) => match seen.guest {
                                hv_driver::Guest::Running => Phase::Running,
                                hv_driver::Guest::Paused => Phase::Paused,
                                hv_driver::Guest::Absent | hv_driver::Guest::Ended(_) => Phase::Stopped,
                            },
                            Err(_) => Phase::Unknown,
                        };
                        found.strangers.push((*id, phase));
                    }
                    found.missing = known.into_iter().filter(|id| !owned.contains(id)).collect();
                    found.owned = Some(owned.into_iter().collect());
                }
            }
            // The node task may just have ended with the agent's stop.
            let _ = tell.send(found);
        });
    }

    /// Reports what is here and unknown. It is never deleted: a person decides.
    fn found(&mut self, found: Found, tell: &mpsc::UnboundedSender<Found>) {
        let (first, again) = match self.look {
            Look::UnderWay { first, again } => (first, again),
            Look::Never | Look::Done => (false, false),
        };
        self.look = if first && found.owned.is_none() { Look::Never } else { Look::Done };
        for id in &found.missing {
            if let Some(instance) = self.instances.get(id) {
                // The task may just have ended with the agent's stop.
                let _ = instance.send(Message::Vanished);
            }
        }
        let stranger = |id, phase, gone| {
            let status = InstanceStatus {
                phase,
                message: "unknown to this agent".into(),
                ..InstanceStatus::default()
            };
            Report { id, epoch: Epoch(0), status, gone, rejected: false, orphan: true, revoked: false }
        };
        let mut news = Vec::new();
        // One that has a record by now speaks for itself.
        for (id, phase) in found.strangers.iter().filter(|(id, _)| !self.instances.contains_key(id)) {
            news.push(stranger(*id, *phase, false));
        }
        if let Some(owned) = found.owned {
            let reports = self.publish.borrow();
            let gone = reports.instances.values().map(|(_, report)| report).filter(|report| {
                report.is_found() && !self.instances.contains_key(&report.id) && !owned.contains(&report.id)
            });
            news.extend(gone.map(|report| stranger(report.id, Phase::Stopped, true)));
        }
        for report in news {
            let known = self.publish.borrow().instances.get(&report.id).map(|(_, known)| known.clone());
            if known.as_ref() == Some(&report) {
                continue;
            }
            if !report.gone {
                let phase = report.status.phase.as_str();
                tracing::warn!(instance = %report.id, phase, "an instance is here that this agent has no record of; it is left alone");
            }
            self.publish(report);
        }
        let complete = self.is_complete();
        self.publish.send_if_modified(|reports| {
            let changed = reports.complete != complete;
            if changed {
                Arc::make_mut(reports).complete = complete;
            }
            changed
        });
        if again {
            self.look(tell);
        }
    }
}

//! The task that owns one instance: it alone steps its machine and alone calls the driver for it. One call it makes without the
//! machine: the end of a guest whose node the server gave up.

use super::machine::{Action, Confirmation, Effect, EpochCheck, Input, Machine, Now, Origin};
use super::{Desired, Record, Report};
use crate::journal::Journal;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hv_driver::{Assignment, Driver, DriverError, DriverErrorKind, Handle, Observation};
use hv_runtime::clock;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often an instance is looked at without any sign of change: a lost event costs at most this.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Pause after a write to the journal that failed.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Most time that a driver's call may take before it counts as failed. A call that is cut off is repeated later; the
/// driver adopts what it had made.
fn patience(action: Action) -> Duration {
    Duration::from_secs(match action {
        Action::Admit => 30,
        Action::Prepare => 600,
        Action::Start(_) => 120,
        Action::PowerDown | Action::Pause | Action::Resume => 20,
        Action::Kill | Action::Delete => 60,
    })
}

/// A message to the task.
#[derive(Debug)]
pub enum Message {
    /// What the server wants.
    Desired(Box<Desired>),
    /// The driver says that something changed.
    Changed,
    /// The node goes down: the guest may take this long.
    Quiesce(Duration),
    /// The server gave up the node.
    Revoked,
    /// The server's full set does not name it.
    Unnamed,
    /// The driver has nothing of it.
    Vanished,
}

/// What an instance task needs of the rest of the agent.
#[derive(Clone)]
pub struct Surroundings {
    /// Runs the guest.
    pub driver: Arc<dyn Driver>,
    /// Remembers.
    pub journal: Journal,
    /// Where reports go.
    pub reports: mpsc::UnboundedSender<Report>,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Whether guests wait, in this boot, until the server has named their instances.
    pub confirmation: Confirmation,
    /// Ends the task; the guest runs on.
    pub stop: CancellationToken,
    /// The agent came up only to take its guests down; they may take this long.
    pub quiesce: Option<Duration>,
}

/// The two clocks of this node.
pub fn now() -> Now {
    Now { wall: clock::wall(), mono: clock::since_boot() }
}

enum Answer {
    Done(Action, Result<(), DriverError>),
    Observed(u64, Result<Observation, DriverError>),
    /// The end of a guest that a revocation did not leave to the machine.
    Ended(Result<(), DriverError>),
}

/// Runs until told to stop. Inputs are taken one by one; a driver's call runs beside them, so that a slow one never keeps
/// the task from hearing that it is no longer wanted.
pub async fn run(
    record: Record,
    origin: Origin,
    around: Surroundings,
    inbox: mpsc::UnboundedReceiver<Message>,
) {
    let mut machine =
        Machine::new(record, origin, around.boot_id.clone(), EpochCheck::Enforced).with(around.confirmation);
    let calls = FuturesUnordered::new();
    let mut task = Task {
        handle: machine.handle(),
        quiescing: around.quiesce.is_some(),
        around,
        inbox,
        waiting: VecDeque::new(),
        revoked: false,
        calls,
    };
    let mut wake_at: Option<Duration> = None;
    let mut effects = Vec::new();
    if let Some(patience) = task.around.quiesce {
        effects = machine.step(Input::Quiesce(patience), now());
    }
    effects.extend(machine.begin(now()));
    loop {
        task.handle = machine.handle();
        wake_at = task.apply(effects, wake_at).await;
        let Some(input) = task.input(wake_at).await else { return };
        if matches!(input, Input::Revoked) {
            task.revoked = false;
        }
        let is_named = !matches!(input, Input::Unnamed);
        effects = machine.step(input, now());
        // Not of one that is gone, and whose journal is about to forget it.
        if !is_named && machine.is_unnamed() {
            tracing::warn!(instance = %machine.handle().id, "an instance is here that the server does not name; it is left alone, and not started again");
        }
    }
}

/// What surrounds the machine.
struct Task {
    /// Its instance, by the machine's newest step.
    handle: Handle,
    around: Surroundings,
    inbox: mpsc::UnboundedReceiver<Message>,
    /// What came while the journal was written.
    waiting: VecDeque<Input>,
    /// The server gave up the node, and the machine has not heard of it.
    revoked: bool,
    /// The node goes down: what the journal does not take is lost.
    quiescing: bool,
    calls: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl Task {
    /// The next input; `None` when the task is to end.
    async fn input(&mut self, wake_at: Option<Duration>) -> Option<Input> {
        if let Some(input) = self.waiting.pop_front() {
            return Some(input);
        }
        let due = wake_at.map_or(LOOK_EVERY, |at| at.saturating_sub(clock::since_boot()).min(LOOK_EVERY));
        tokio::select! {
            // All arms are cancel-safe: each takes one whole item, or none.
            () = self.around.stop.cancelled() => None,
            message = self.inbox.recv() => Some(self.heard(message?)),
            Some(answer) = self.calls.next() => Some(self.answered(answer)),
            () = tokio::time::sleep(due) => {
                let due = wake_at.is_some_and(|at| clock::since_boot() >= at);
                Some(if due { Input::Timer } else { Input::Changed })
            }
        }
    }

    /// Takes a message. A guest that may run elsewhere ends now: neither what is being done nor a journal that cannot be written
    /// delays that. The machine, which ends it too, sees to it that it stays so.
    fn heard(&mut self, message: Message) -> Input {
        match message {
            Message::Desired(desired) => Input::Desired(desired),
            Message::Changed => Input::Changed,
            Message::Unnamed => Input::Unnamed,
            Message::Vanished => Input::Vanished,
            Message::Quiesce(patience) => {
                self.quiescing = true;
                Input::Quiesce(patience)
            }
            Message::Revoked => {
                self.revoked = true;
                let (driver, handle) = (self.around.driver.clone(), self.handle);
                self.calls.push(Box::pin(async move {
                    Answer::Ended(in_time(Action::Kill, driver.kill(handle)).await)
                }));
                Input::Revoked
            }
        }
    }

    fn answered(&self, answer: Answer) -> Input {
        let id = self.handle.id;
        let failed = |action: Action, error: &DriverError| {
            tracing::warn!(instance = %id, ?action, %error, context = ?error.context, "driver call failed");
        };
        match answer {
            Answer::Done(action, result) => {
                if let Err(error) = &result {
                    failed(action, error);
                }
                Input::Done(action, result)
            }
            Answer::Observed(number, result) => Input::Observed(number, result),
            Answer::Ended(result) => {
                if let Err(error) = &result {
                    failed(Action::Kill, error);
                }
                Input::Changed
            }
        }
    }

    /// Carries out effects in their order. Answers when to wake up. All are carried out, however long the journal takes: the
    /// machine counts on each. Only the agent's stop cuts this short.
    async fn apply(&mut self, effects: Vec<Effect>, mut wake_at: Option<Duration>) -> Option<Duration> {
        wake_at = wake_at.filter(|at| clock::since_boot() < *at);
        let mut remembered = true;
        for effect in effects {
            match effect {
                Effect::Persist(record) => remembered = self.persist(&record).await?,
                Effect::Report(report) => {
                    tracing::info!(
                        instance = %report.id, epoch = report.epoch.0, phase = report.status.phase.as_str(),
                        message = report.status.message, "instance"
                    );
                    // The session may be gone at shutdown; the journal and the driver know all that a report says.
                    let _ = self.around.reports.send(*report);
                }
                Effect::Run(action, _) if self.revoked && makes_a_guest(action) => {
                    // Decided before; the machine has yet to hear of it.
                    let error =
                        DriverError::new(DriverErrorKind::Conflict, "call", "the server gave up this node");
                    self.calls.push(Box::pin(async move { Answer::Done(action, Err(error)) }));
                }
                Effect::Run(action @ (Action::Admit | Action::Prepare | Action::Start(_)), _)
                    if !remembered =>
                {
                    // Decided before the node went down.
                    let error = DriverError::new(DriverErrorKind::Conflict, "call", "the node goes down");
                    self.calls.push(Box::pin(async move { Answer::Done(action, Err(error)) }));
                }
                Effect::Run(action, assignment) => {
                    let driver = self.around.driver.clone();
                    self.calls.push(Box::pin(async move {
                        Answer::Done(action, in_time(action, perform(&*driver, action, &assignment)).await)
                    }));
                }
                Effect::Observe(number, handle) => {
                    let driver = self.around.driver.clone();
                    self.calls.push(Box::pin(async move {
                        Answer::Observed(number, look(&*driver, handle).await)
                    }));
                }
                Effect::WakeAt(at) => wake_at = Some(at),
            }
        }
        wake_at
    }

    /// Writes a record until the journal has it; `None` when the task is to end. Without a journal nothing may be done: what is
    /// not remembered would be done twice. What comes meanwhile waits.
    ///
    /// Only a node that goes down does not wait: its guests are to see their power button also where the disk is full. Answers
    /// whether the journal has the record. What it lacks then starts nothing twice: after a boot of the host, and wherever an agent
    /// finds a guest gone that it has not seen end, the server is asked first.
    async fn persist(&mut self, record: &Record) -> Option<bool> {
        let id = record.desired.id;
        let journal = self.around.journal.clone();
        loop {
            let Err(error) = self.meanwhile(journal.write(record)).await? else { return Some(true) };
            if !self.quiescing {
                tracing::error!(instance = %id, %error, "cannot write the journal; trying again");
                self.pause(WRITE_AGAIN_AFTER).await?;
            }
            if self.quiescing {
                tracing::error!(instance = %id, %error, "cannot write the journal; the node goes down all the same, and forgets that its guest was asked to");
                return Some(false);
            }
        }
    }

    /// Waits for something, and keeps what comes meanwhile; `None` when the task is to end.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let stop = self.around.stop.clone();
        let mut work = std::pin::pin!(work);
        loop {
            let input = tokio::select! {
                // All arms are cancel-safe: the work is kept, the others take one whole item, or none.
                () = stop.cancelled() => return None,
                done = &mut work => return Some(done),
                message = self.inbox.recv() => self.heard(message?),
                Some(answer) = self.calls.next() => self.answered(answer),
            };
            self.waiting.push_back(input);
        }
    }

    /// Waits for so long, or until the node goes down; `None` when the task is to end.
    async fn pause(&mut self, pause: Duration) -> Option<()> {
        let stop = self.around.stop.clone();
        let mut over = std::pin::pin!(tokio::time::sleep(pause));
        while !self.quiescing {
            let input = tokio::select! {
                // All arms are cancel-safe: each takes one whole item, or none.
                () = stop.cancelled() => return None,
                () = &mut over => break,
                message = self.inbox.recv() => self.heard(message?),
                Some(answer) = self.calls.next() => self.answered(answer),
            };
            self.waiting.push_back(input);
        }
        Some(())
    }
}

/// Whether an action may lead to a guest that runs.
fn makes_a_guest(action: Action) -> bool {
    matches!(action, Action::Admit | Action::Prepare | Action::Start(_) | Action::Resume)
}

async fn in_time(
    action: Action,
    call: impl Future<Output = Result<(), DriverError>>,
) -> Result<(), DriverError> {
    tokio::time::timeout(patience(action), call).await.unwrap_or_else(|_| {
        let message = format!("took longer than {} s", patience(action).as_secs());
        Err(DriverError::new(DriverErrorKind::Unresponsive, "call", message))
    })
}

async fn look(driver: &dyn Driver, handle: Handle) -> Result<Observation, DriverError> {
    const PATIENCE: Duration = Duration::from_secs(10);
    tokio::time::timeout(PATIENCE, driver.observe(handle)).await.unwrap_or_else(|_| {
        Err(DriverError::new(
            DriverErrorKind::Unresponsive,
            "observe",
            "the driver did not answer within 10 s",
        ))
    })
}

async fn perform(driver: &dyn Driver, action: Action, assignment: &Assignment) -> Result<(), DriverError> {
    let handle = assignment.handle;
    match action {
        Action::Admit => driver.admit(assignment).await,
        Action::Prepare => driver.prepare(assignment).await,
        Action::Start(mode) => driver.start(assignment, mode).await,
        Action::PowerDown => driver.power_down(handle).await,
        Action::Kill => driver.kill(handle).await,
        Action::Pause => driver.pause(handle).await,
        Action::Resume => driver.resume(handle).await,
        Action::Delete => driver.delete(handle).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::instance::{Epoch, InstanceSpec, Phase, RestartPolicy};
    use hv_driver::fake::FakeDriver;

    /// Far more than anything takes.
    const LONG: Duration = Duration::from_secs(60);

    fn desired() -> Desired {
        Desired {
            id: "018f4e2a-0000-7000-8000-000000000001".parse().unwrap(),
            name: "demo".into(),
            project: "default".into(),
            epoch: Epoch(1),
            generation: 1,
            spec: InstanceSpec { image: Some("/images/demo.qcow2".into()), ..InstanceSpec::default() },
            deleted: false,
            force: false,
        }
    }

    /// No record is written once a start is in it.
    #[tokio::test]
    async fn a_start_that_the_journal_does_not_take_is_none_once_the_node_goes_down() {
        let (journal, mut writes) = crate::journal::by_hand();
        let (driver, (reports, mut reported)) = (FakeDriver::new(clock::wall), mpsc::unbounded_channel());
        let (tell, inbox) = mpsc::unbounded_channel();
        let around = Surroundings {
            driver: Arc::new(driver.clone()),
            journal,
            reports,
            boot_id: "boot".into(),
            confirmation: Confirmation::Awaited,
            stop: CancellationToken::new(),
            quiesce: None,
        };
        let id = desired().id;
        let spec = InstanceSpec { restart_policy: RestartPolicy::Never, ..desired().spec };
        let task = run(Record::new(Desired { spec, ..desired() }, "boot"), Origin::Assigned, around, inbox);
        let (fails, failed) = tokio::sync::oneshot::channel();
        let journal = tokio::task::spawn_blocking(move || {
            let (mut fails, mut last) = (Some(fails), None);
            while let Some(write) = writes() {
                if write.record.started.is_some() {
                    last = Some(write.record.clone());
                    write.fail();
                    fails.take().map(|fails| fails.send(()));
                } else {
                    write.settle();
                }
            }
            last
        });
        let story = async {
            failed.await.unwrap();
            tell.send(Message::Quiesce(LONG)).unwrap();
            while reported.recv().await.unwrap().status.phase != Phase::Stopped {}
            drop(tell);
        };
        let told = async { tokio::join!(task, story) };
        tokio::time::timeout(LONG, told).await.expect("it goes on");
        let last = journal.await.unwrap().unwrap();
        assert_eq!(driver.calls("start", id), 0);
        assert_eq!(
            last.started.unwrap().ended,
            None,
            "it did not fail: it starts with the node, whatever its policy"
        );
    }

    #[tokio::test]
    async fn a_start_that_waits_for_the_journal_is_none_once_the_server_has_given_up_the_node() {
        let desired = desired();
        let id = desired.id;
        let (journal, mut writes) = crate::journal::by_hand();
        let (driver, (reports, mut reported)) = (FakeDriver::new(clock::wall), mpsc::unbounded_channel());
        let (tell, inbox) = mpsc::unbounded_channel();
        let around = Surroundings {
            driver: Arc::new(driver.clone()),
            journal,
            reports,
            boot_id: "boot".into(),
            confirmation: Confirmation::Awaited,
            stop: CancellationToken::new(),
            quiesce: None,
        };
        let task = run(Record::new(desired, "boot"), Origin::Assigned, around, inbox);
        // The journal takes what comes before the start, and then nothing until it is let go.
        let (holds, held) = tokio::sync::oneshot::channel();
        let (go_on, let_go) = std::sync::mpsc::channel();
        let journal = tokio::task::spawn_blocking(move || {
            let mut holds = Some(holds);
            while let Some(write) = writes() {
                if write.record.started.is_some()
                    && let Some(holds) = holds.take()
                {
                    holds.send(()).unwrap();
                    let_go.recv().unwrap();
                }
                write.settle();
            }
        });
        let story = async {
            held.await.unwrap();
            tell.send(Message::Revoked).unwrap();
            while driver.calls("kill", id) == 0 {
                tokio::task::yield_now().await;
            }
            go_on.send(()).unwrap();
            while !reported.recv().await.unwrap().revoked {}
            drop(tell);
        };
        let told = async { tokio::join!(task, story) };
        tokio::time::timeout(LONG, told).await.expect("it goes on");
        journal.await.unwrap();
        assert_eq!(driver.calls("start", id), 0);
    }
}

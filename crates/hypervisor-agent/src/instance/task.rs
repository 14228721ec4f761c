//! The task that owns one instance: it alone steps its machine and alone calls the driver for it.

use super::machine::{Action, Confirmation, Effect, EpochCheck, Input, Machine, Now};
use super::{Desired, Record, Report};
use crate::journal::Journal;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hv_driver::{Assignment, Driver, DriverError, DriverErrorKind, Handle, Observation};
use hv_runtime::clock;
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
}

/// Runs until told to stop. Inputs are taken one by one; a driver's call runs beside them, so that a slow one never keeps
/// the task from hearing that it is no longer wanted.
pub async fn run(record: Record, around: Surroundings, mut inbox: mpsc::UnboundedReceiver<Message>) {
    let mut machine =
        Machine::new(record, around.boot_id.clone(), EpochCheck::Enforced).with(around.confirmation);
    let mut calls: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
    let mut wake_at: Option<Duration> = None;
    let mut effects = Vec::new();
    if let Some(patience) = around.quiesce {
        effects = machine.step(Input::Quiesce(patience), now());
    }
    effects.extend(machine.begin(now()));
    loop {
        wake_at = apply(effects, &around, &mut calls, wake_at).await;
        let due = wake_at.map_or(LOOK_EVERY, |at| at.saturating_sub(clock::since_boot()).min(LOOK_EVERY));
        let input = tokio::select! {
            // All arms are cancel-safe: each takes one whole item, or none.
            () = around.stop.cancelled() => return,
            message = inbox.recv() => match message {
                Some(Message::Desired(desired)) => Input::Desired(desired),
                Some(Message::Changed) => Input::Changed,
                Some(Message::Quiesce(patience)) => Input::Quiesce(patience),
                Some(Message::Revoked) => Input::Revoked,
                None => return,
            },
            Some(answer) = calls.next() => match answer {
                Answer::Done(action, result) => {
                    if let Err(error) = &result {
                        tracing::warn!(instance = %machine.handle().id, ?action, %error, context = ?error.context, "driver call failed");
                    }
                    Input::Done(action, result)
                }
                Answer::Observed(number, result) => Input::Observed(number, result),
            },
            () = tokio::time::sleep(due) => {
                if wake_at.is_some_and(|at| clock::since_boot() >= at) { Input::Timer } else { Input::Changed }
            }
        };
        effects = machine.step(input, now());
    }
}

/// Carries out effects in their order. Answers when to wake up. All are carried out, however long the journal takes: the
/// machine counts on each. Only the agent's stop cuts this short.
async fn apply(
    effects: Vec<Effect>,
    around: &Surroundings,
    calls: &mut FuturesUnordered<BoxFuture<'static, Answer>>,
    mut wake_at: Option<Duration>,
) -> Option<Duration> {
    wake_at = wake_at.filter(|at| clock::since_boot() < *at);
    for effect in effects {
        match effect {
            Effect::Persist(record) => {
                // Without a journal nothing may be done: what is not remembered would be done twice.
                while let Err(error) = around.journal.write(&record).await {
                    tracing::error!(instance = %record.desired.id, %error, "cannot write the journal; trying again");
                    tokio::select! {
                        () = around.stop.cancelled() => return wake_at,
                        () = tokio::time::sleep(WRITE_AGAIN_AFTER) => {}
                    }
                }
            }
            Effect::Report(report) => {
                tracing::info!(
                    instance = %report.id, epoch = report.epoch.0, phase = report.status.phase.as_str(),
                    message = report.status.message, "instance"
                );
                // The session may be gone at shutdown; the journal and the driver know all that a report says.
                let _ = around.reports.send(*report);
            }
            Effect::Run(action, assignment) => {
                let driver = around.driver.clone();
                calls.push(Box::pin(async move {
                    let call = perform(&*driver, action, &assignment);
                    let result = tokio::time::timeout(patience(action), call).await.unwrap_or_else(|_| {
                        let message = format!("took longer than {} s", patience(action).as_secs());
                        Err(DriverError::new(DriverErrorKind::Unresponsive, "call", message))
                    });
                    Answer::Done(action, result)
                }));
            }
            Effect::Observe(number, handle) => {
                let driver = around.driver.clone();
                calls.push(Box::pin(async move { Answer::Observed(number, look(&*driver, handle).await) }));
            }
            Effect::WakeAt(at) => wake_at = Some(at),
        }
    }
    wake_at
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

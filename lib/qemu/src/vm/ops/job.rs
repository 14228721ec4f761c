//! Jobs: work of QEMU that goes on while the guest runs.
//!
//! ```text
//!  created --> running --------------------------------> concluded --dismiss--> gone      Job
//!  created --> running --> ready --complete or cancel--> concluded --dismiss--> gone      ReadyJob
//! ```
//! Jobs here do not dismiss themselves: one that fails at once would otherwise vanish with its error. They are followed over every
//! connection to the monitor, and found again by a later manager: [`Vm::jobs`].

use super::{
    Mirror, OperationError, PushBackup, figure,
    follow::{Follow, Heard, Told},
    graph::{connection_of, of_copy},
    undone,
};
use crate::Vm;
use qmp::{
    CallError, Event,
    commands::{
        BlockJobCancel, Command, JobCancel, JobComplete, JobDismiss, JobInfo, JobStatus, JobType, QueryJobs,
        Yank, YankInstance, YankInstanceBlockNode,
    },
};
use serde_json::Value;

/// A job that ends by itself. Dropping it leaves the job going.
#[derive(Debug)]
pub struct Job {
    id: String,
    action: String,
    follow: Follow,
    /// How it concluded, once that is known: also when it is dismissed and nobody has heard that it was.
    end: Option<End>,
}

/// A job that keeps two sides the same until it is told to end. Dropping it leaves the job going.
#[derive(Debug)]
pub struct ReadyJob(Job);

/// A job that is there, whoever began it.
#[derive(Debug)]
pub enum FoundJob {
    /// A backup that QEMU writes, with its copy.
    Backup(PushBackup),
    /// A copy that all of a guest's writing goes to as well.
    Mirror(Mirror),
    /// It ends by itself.
    Ends(Job),
    /// It waits to be told.
    Waits(ReadyJob),
}

impl Vm {
    /// The jobs that are going on or that nobody has dismissed yet, after a manager or a connection was lost.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn jobs(&self) -> Result<Vec<FoundJob>, OperationError> {
        let jobs = Follow::new(self, EVENTS).read("the list of jobs", &QueryJobs {}).await?;
        let found = jobs.into_iter().map(|info| {
            let (action, follow) = (info.kind.as_str().to_owned(), Follow::new(self, EVENTS));
            let copy = of_copy(&info.id).map(|(disk, target)| (disk.to_owned(), target.to_owned()));
            let job = Job { id: info.id, action, follow, end: None };
            match (info.kind, copy) {
                (JobType::Backup, Some((_, target))) => FoundJob::Backup(PushBackup::of(self, job, target)),
                (JobType::Mirror, Some((disk, target))) => {
                    FoundJob::Mirror(Mirror::found(self, ReadyJob(job), disk, target))
                }
                (JobType::Mirror | JobType::Commit, _) => FoundJob::Waits(ReadyJob(job)),
                _ => FoundJob::Ends(job),
            }
        });
        Ok(found.collect())
    }

    /// Starts several jobs by one command: all of them, or none.
    pub(super) async fn jobs_at_once<C: Command>(
        &self,
        action: &str,
        ids: &[String],
        command: &C,
    ) -> Result<(), OperationError> {
        match self.tell(action, command).await {
            Err(OperationError::Undecided { source, .. }) => {
                let jobs = Follow::new(self, EVENTS).read(action, &QueryJobs {}).await?;
                if ids.iter().all(|id| jobs.iter().any(|job| job.id == *id)) {
                    return Ok(());
                }
                Err(OperationError::Qmp { action: action.to_owned(), source })
            }
            told => told.map(drop),
        }
    }

    /// Starts a job by a command that has its id.
    pub(super) async fn job<C: Command>(
        &self,
        action: String,
        id: String,
        command: &C,
    ) -> Result<Job, OperationError> {
        // Subscribed first: a short job has ended before the reply is read.
        let mut job = Job::of(self, id, action);
        match self.qmp().call(command).await {
            Ok(_) => Ok(job),
            // No two jobs have the same id, and this one does not vanish: it is there, or it was not begun.
            Err(source @ (CallError::Deadline { .. } | CallError::Closed { .. })) => {
                match job.info().await? {
                    Some(_) => Ok(job),
                    None => Err(OperationError::Qmp { action: job.action, source }),
                }
            }
            Err(error) => Err(undone(job.action)(error)),
        }
    }
}

impl Job {
    /// A job that was started.
    pub(super) fn of(vm: &Vm, id: String, action: String) -> Self {
        Self { id, action, follow: Follow::new(vm, EVENTS), end: None }
    }

    /// Its name within QEMU.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How much is done of how much, in units of the job (bytes mostly); `None` when it is over.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn progress(&self) -> Result<Option<(u64, u64)>, OperationError> {
        let jobs = self.follow.vm().ask(self.action.clone(), &QueryJobs {}).await?;
        let info = jobs.into_iter().find(|job| job.id == self.id);
        Ok(info.map(|info| (figure(info.current_progress), figure(info.total_progress))))
    }

    /// Waits for its end. A wait that is dropped can be begun again.
    ///
    /// # Errors
    /// [`OperationError::Job`] with QEMU's words when it failed.
    pub async fn done(&mut self) -> Result<(), OperationError> {
        let end = self.end().await?;
        self.dismiss(end).await
    }

    /// Gives it up and waits for its end. One that has just concluded is only dismissed.
    ///
    /// # Errors
    /// [`OperationError`]; not that of the job, which is expected.
    pub async fn cancel(&mut self) -> Result<(), OperationError> {
        let end = self.given_up().await?;
        expected(self.dismiss(end).await)
    }

    /// Waits until it has concluded. It is found until it is dismissed.
    pub(super) async fn end(&mut self) -> Result<End, OperationError> {
        if self.end.is_none() {
            let Some(info) = self.until(&[JobStatus::Concluded]).await? else {
                // Dismissed by somebody else.
                return Err(OperationError::Unknown { what: "job", id: self.id.clone() });
            };
            self.end = Some(End(info.error));
        }
        Ok(self.end.clone().expect("just known"))
    }

    /// The same for one that is not wanted any more.
    pub(super) async fn given_up(&mut self) -> Result<End, OperationError> {
        break_copy(&mut self.follow, &self.id).await?;
        let cancel = JobCancel { id: self.id.clone() };
        self.insist(&cancel, |info| info.status == JobStatus::Concluded).await?;
        self.end().await
    }

    /// Forgets one that has concluded, and says how.
    pub(super) async fn dismiss(&mut self, end: End) -> Result<(), OperationError> {
        let dismiss = JobDismiss { id: self.id.clone() };
        self.insist(&dismiss, |_| false).await?;
        match end.0 {
            None => Ok(()),
            Some(message) => Err(OperationError::Job { action: self.action.clone(), message }),
        }
    }

    /// Tells QEMU until it has answered, or the job is gone or as it should be.
    async fn insist<C: Command>(
        &mut self,
        command: &C,
        is_done: impl Fn(&JobInfo) -> bool,
    ) -> Result<(), OperationError> {
        loop {
            let told = self.follow.told(&self.action, command).await;
            if let Ok(Told::Answered) = told {
                return Ok(());
            }
            match self.info().await? {
                Some(info) if !is_done(&info) => told.map(drop)?,
                _ => return Ok(()),
            }
        }
    }

    async fn info(&mut self) -> Result<Option<JobInfo>, OperationError> {
        let jobs = self.follow.read(&self.action, &QueryJobs {}).await?;
        Ok(jobs.into_iter().find(|job| job.id == self.id))
    }

    /// Reads the state, then follows the events until it is one of these. `None` for a job that is gone.
    async fn until(&mut self, wanted: &[JobStatus]) -> Result<Option<JobInfo>, OperationError> {
        let is_it = |id: &str, event: &Event| {
            let text = |member: &str| event.data.get(member).and_then(Value::as_str).unwrap_or_default();
            let state = text("status");
            text("id") == id && wanted.iter().any(|status| status.as_str() == state)
        };
        loop {
            match self.info().await? {
                Some(info) if !wanted.contains(&info.status) => {}
                info => return Ok(info),
            }
            loop {
                match self.follow.heard(&self.action).await? {
                    Heard::Event(event) if !is_it(&self.id, &event) => {}
                    Heard::Event(_) | Heard::Gap => break,
                }
            }
        }
    }
}

impl ReadyJob {
    pub(super) fn of(job: Job) -> Self {
        Self(job)
    }

    /// Its name within QEMU.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// As [`Job::progress`].
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn progress(&self) -> Result<Option<(u64, u64)>, OperationError> {
        self.0.progress().await
    }

    /// Waits until both sides are the same, which they are from then on.
    ///
    /// # Errors
    /// [`OperationError`]; a job that failed is dismissed.
    pub async fn ready(&mut self) -> Result<(), OperationError> {
        match self.0.until(&[JobStatus::Ready, JobStatus::Concluded]).await? {
            Some(info) if info.status == JobStatus::Ready => Ok(()),
            _ => self.0.done().await,
        }
    }

    /// Completes it as soon as it is ready, and waits for its end. A wait that is dropped can be begun again.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn complete(&mut self) -> Result<(), OperationError> {
        let end = self.completed().await?;
        self.0.dismiss(end).await
    }

    pub(super) async fn completed(&mut self) -> Result<End, OperationError> {
        self.ended_by(&JobComplete { id: self.0.id.clone() }).await
    }

    /// Ends it as soon as it is ready, with both sides the same at its end and each used as before.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn part(&mut self) -> Result<(), OperationError> {
        let end = self.parted().await?;
        self.0.dismiss(end).await
    }

    pub(super) async fn parted(&mut self) -> Result<End, OperationError> {
        // Of the commands that end a job only this one, without force, ends it at a moment when both sides are the same.
        self.ended_by(&BlockJobCancel { device: self.0.id.clone(), force: Some(false) }).await
    }

    /// Gives it up at once, whatever state the other side is in, and waits for its end.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn abandon(&mut self) -> Result<(), OperationError> {
        self.0.cancel().await
    }

    pub(super) async fn given_up(&mut self) -> Result<End, OperationError> {
        self.0.given_up().await
    }

    pub(super) async fn dismiss(&mut self, end: End) -> Result<(), OperationError> {
        self.0.dismiss(end).await
    }

    /// Tells it how to end when it is ready, and waits for that; one that has concluded is not told.
    async fn ended_by<C: Command>(&mut self, command: &C) -> Result<End, OperationError> {
        let wanted = [JobStatus::Ready, JobStatus::Concluded];
        if self.0.until(&wanted).await?.is_some_and(|info| info.status == JobStatus::Ready) {
            self.0.insist(command, |info| info.status != JobStatus::Ready).await?;
        }
        self.0.end().await
    }
}

/// How a job concluded: QEMU's words if it failed.
#[derive(Clone, Debug)]
pub(super) struct End(Option<String>);

impl End {
    pub(super) fn is_good(&self) -> bool {
        self.0.is_none()
    }
}

/// The end of a job that was given up, whatever it came to.
pub(super) fn expected(ended: Result<(), OperationError>) -> Result<(), OperationError> {
    match ended {
        Err(OperationError::Job { .. }) => Ok(()),
        ended => ended,
    }
}

/// Breaks the connection to the server that a copy goes to: one that does not answer would keep its job from ending.
pub(super) async fn break_copy(follow: &mut Follow, id: &str) -> Result<(), OperationError> {
    let Some((_, target)) = of_copy(id) else { return Ok(()) };
    let connection = YankInstance::BlockNode(YankInstanceBlockNode { node_name: connection_of(target) });
    let yank = Yank { instances: vec![connection] };
    match follow.told("break the connection of a copy", &yank).await {
        // It goes to a file.
        Ok(_) | Err(OperationError::Qmp { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until a job has concluded or is gone.
pub(super) async fn concluded(follow: &mut Follow, id: &str) -> Result<(), OperationError> {
    let mut job = Job::of(follow.vm(), id.to_owned(), "end a job".to_owned());
    job.until(&[JobStatus::Concluded]).await.map(drop)
}

pub(super) const EVENTS: &[&str] = &["JOB_STATUS_CHANGE"];

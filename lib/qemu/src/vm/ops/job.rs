//! Jobs: work of QEMU that goes on while the guest runs.
//!
//! ```text
//!  created --> running --> [ready --complete--> ] ... --> concluded --dismiss--> gone
//! ```
//! Jobs here do not dismiss themselves: one that fails at once would otherwise vanish with its error.

use super::{OperationError, failed};
use crate::Vm;
use qmp::{
    Event, EventError, Filter, Subscription,
    commands::{JobInfo, JobStatus, QueryJobs},
};
use serde_json::{Value, json};

/// A job that was started. Dropping it leaves the job going.
#[derive(Debug)]
pub struct Job {
    vm: Vm,
    id: String,
    action: String,
    events: Subscription,
}

impl Vm {
    /// Starts a job by a command that takes `job-id`.
    pub(super) async fn job(
        &self,
        action: String,
        id: String,
        command: &str,
        mut arguments: Value,
    ) -> Result<Job, OperationError> {
        // Subscribed first: a short job has ended before the reply is read.
        let events = self.qmp().subscribe(Filter::Names(&["JOB_STATUS_CHANGE"]), EVENTS);
        arguments["job-id"] = json!(id);
        self.run(action.clone(), command, arguments).await?;
        Ok(Job { vm: self.clone(), id, action, events })
    }
}

impl Job {
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
        let info = self.info().await?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(info.map(|info| (number(info.current_progress), number(info.total_progress))))
    }

    /// Waits until it is ready to be completed (both sides are the same from then on), or has concluded.
    ///
    /// # Errors
    /// [`OperationError`]; a failed job is dismissed.
    pub async fn ready(&mut self) -> Result<(), OperationError> {
        self.until(&[JobStatus::Ready, JobStatus::Concluded]).await?;
        self.failure().await
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`OperationError::Job`] with QEMU's words when it failed.
    pub async fn done(mut self) -> Result<(), OperationError> {
        self.until(&[JobStatus::Concluded]).await?;
        self.failure().await?;
        self.vm.run(self.action.clone(), "job-dismiss", json!({"id": self.id})).await.map(drop)
    }

    /// Completes a job that is ready, and waits for its end.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn complete(mut self) -> Result<(), OperationError> {
        self.ready().await?;
        self.vm.run(self.action.clone(), "job-complete", json!({"id": self.id})).await?;
        self.done().await
    }

    /// Gives it up and waits for its end. One that has just concluded is only dismissed.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn cancel(mut self) -> Result<(), OperationError> {
        let asked = self.vm.run(self.action.clone(), "job-cancel", json!({"id": self.id})).await;
        match self.info().await? {
            None => return Ok(()),
            Some(info) if info.status != JobStatus::Concluded => asked.map(drop)?,
            Some(_) => {}
        }
        self.until(&[JobStatus::Concluded]).await?;
        self.vm.run(self.action.clone(), "job-dismiss", json!({"id": self.id})).await.map(drop)
    }

    async fn info(&self) -> Result<Option<JobInfo>, OperationError> {
        let jobs = self.vm.slow().call(&QueryJobs {}).await.map_err(failed(self.action.clone()))?;
        Ok(jobs.into_iter().find(|job| job.id == self.id))
    }

    /// Reads the state once, then follows the events.
    async fn until(&mut self, wanted: &[JobStatus]) -> Result<(), OperationError> {
        let is_it = |id: &str, event: &Event| {
            let text = |member: &str| event.data.get(member).and_then(Value::as_str).unwrap_or_default();
            let state = text("status");
            text("id") == id && wanted.iter().any(|status| status.as_str() == state)
        };
        loop {
            match self.info().await? {
                Some(info) if wanted.contains(&info.status) => return Ok(()),
                Some(_) => {}
                None => return Err(OperationError::Unknown { what: "job", id: self.id.clone() }),
            }
            loop {
                match self.events.next().await {
                    Ok(event) if is_it(&self.id, &event) => break,
                    Ok(_) => {}
                    // What was lost may have been it.
                    Err(EventError::Lagged(_)) => break,
                    Err(EventError::Closed) => {
                        return Err(OperationError::Lost { what: self.action.clone() });
                    }
                }
            }
        }
    }

    /// The error of a job that has concluded with one; it is dismissed.
    async fn failure(&self) -> Result<(), OperationError> {
        let Some(JobInfo { error: Some(message), .. }) = self.info().await? else { return Ok(()) };
        self.vm.run(self.action.clone(), "job-dismiss", json!({"id": self.id})).await?;
        Err(OperationError::Job { action: self.action.clone(), message })
    }
}

/// A job changes its state a dozen times.
const EVENTS: usize = 64;

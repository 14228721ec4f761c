//! Long work on a domain: while it runs it tells how far it is, and can be aborted.
//!
//! libvirt knows two kinds. A save, a dump or a migration is one call that ends with the work: [`CallJob`]. A backup is begun by a call
//! and goes on without it: [`BackgroundJob`]. (Block jobs are a third kind, with one job for each disk: [`super::BlockJob`].)

use super::Domain;
use crate::connection::{Call, Connection, Reply};
use crate::error::{Error, ErrorKind};
use crate::events::{Filter, Item, Subscription};
use crate::handle::methods;
use crate::params::{Params, parameters};
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{DomainCoreDumpFormat, DomainJobOperation, DomainJobType};
use libvirt_protocol::event::{Event, Kind};
use libvirt_protocol::flags::{
    DomainAbortJobFlags, DomainBackupBeginFlags, DomainCoreDumpFlags, DomainGetJobStatsFlags,
    DomainSaveRestoreFlags,
};
use libvirt_protocol::parameters::*;
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::remote::{self, *};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Work that is one call. Await it for its end; dropping it leaves the work to the daemon, which goes on with it. Where too much is at work
/// already it waits for its place, also when it was dropped; [`crate::Connect::close`] ends what still waits so.
#[derive(Debug)]
#[must_use = "nobody hears of its end when this is dropped"]
pub struct CallJob<P: Procedure> {
    domain: Domain,
    /// The call, and its lane, which does not end before it. `None` once it is left to itself.
    under_way: Option<(Call<P>, Connection)>,
}

/// Work that goes on after the call that began it.
#[derive(Debug)]
pub struct BackgroundJob {
    domain: Domain,
    operation: DomainJobOperation,
    ends: Subscription,
}

parameters! {
    /// How far a job is (`DOMAIN_JOB_*`). Times are in milliseconds, sizes in bytes.
    JobProgress {
        /// What it does (`virDomainJobOperation`).
        operation: i32 = DOMAIN_JOB_OPERATION,
        /// How long it has run.
        time_elapsed: u64 = DOMAIN_JOB_TIME_ELAPSED,
        /// How long it will, by its own estimate.
        time_remaining: u64 = DOMAIN_JOB_TIME_REMAINING,
        /// How long the guest stands still, or has stood still.
        downtime: u64 = DOMAIN_JOB_DOWNTIME,
        /// Memory and disks together.
        data_total: u64 = DOMAIN_JOB_DATA_TOTAL,
        /// What is done of it.
        data_processed: u64 = DOMAIN_JOB_DATA_PROCESSED,
        /// What is not; a guest that writes makes it more.
        data_remaining: u64 = DOMAIN_JOB_DATA_REMAINING,
        /// Memory.
        memory_total: u64 = DOMAIN_JOB_MEMORY_TOTAL,
        /// What is done of it.
        memory_processed: u64 = DOMAIN_JOB_MEMORY_PROCESSED,
        /// What is not.
        memory_remaining: u64 = DOMAIN_JOB_MEMORY_REMAINING,
        /// Bytes a second.
        memory_bps: u64 = DOMAIN_JOB_MEMORY_BPS,
        /// Pages a second that the guest writes to.
        memory_dirty_rate: u64 = DOMAIN_JOB_MEMORY_DIRTY_RATE,
        /// How often its memory was gone over.
        memory_iteration: u64 = DOMAIN_JOB_MEMORY_ITERATION,
        /// Disks.
        disk_total: u64 = DOMAIN_JOB_DISK_TOTAL,
        /// What is done of them.
        disk_processed: u64 = DOMAIN_JOB_DISK_PROCESSED,
        /// What is not.
        disk_remaining: u64 = DOMAIN_JOB_DISK_REMAINING,
        /// Whether it ended well, of one that has ended.
        success: bool = DOMAIN_JOB_SUCCESS,
        /// Why it did not.
        error: String = DOMAIN_JOB_ERRMSG,
    }
}

impl<P: Procedure> CallJob<P> {
    /// How far it is; `None` when it is not at work: not yet, or not any more (`virDomainGetJobStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn progress(&self) -> Result<Option<JobProgress>, Error> {
        self.domain.job().await.map(|job| job.map(|(_, progress)| progress))
    }

    /// Aborts it; awaiting it then tells that (`virDomainAbortJob`).
    ///
    /// # Errors
    /// As every call.
    pub async fn abort(&self) -> Result<(), Error> {
        self.domain.abort_job().await
    }
}

impl<P: Procedure> Future for CallJob<P> {
    type Output = Result<Reply<P>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.under_way {
            Some((call, _)) => Pin::new(call).poll(context),
            None => Poll::Ready(Err(Error::new(ErrorKind::Closed).of(P::INFO))),
        }
    }
}

impl<P: Procedure> Drop for CallJob<P> {
    fn drop(&mut self) {
        // A call that nobody waits for would be taken back from its queue, and its lane would end with what it has not sent. Nothing is run
        // for that: whoever drops it may be anywhere.
        if let Some((call, _lane)) = self.under_way.take() {
            call.detach();
        }
    }
}

impl BackgroundJob {
    /// How far it is; `None` when it has ended (`virDomainGetJobStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn progress(&self) -> Result<Option<JobProgress>, Error> {
        self.domain.job().await.map(|job| job.map(|(_, progress)| progress))
    }

    /// Aborts it (`virDomainAbortJob`).
    ///
    /// # Errors
    /// As every call.
    pub async fn abort(&self) -> Result<(), Error> {
        self.domain.abort_job().await
    }

    /// Waits until it has ended well; returns its last figures.
    ///
    /// # Errors
    /// When the connection is lost; [`ErrorKind::Job`] when it failed or was aborted, and when it has ended and nothing tells how: the event
    /// that does was lost, and another job has ended since.
    pub async fn wait(mut self) -> Result<JobProgress, Error> {
        loop {
            let item = self.ends.next().await?;
            if let Some(end) = self.told(&item) {
                return end;
            }
            // Its end may be among what was not seen.
            if matches!(item, Item::Lagged(_) | Item::Resynchronised) {
                let working = self.domain.job().await?;
                if working.is_none_or(|(_, progress)| !does(self.operation, &progress)) {
                    return self.unseen_end().await;
                }
            }
        }
    }

    /// It has ended, and what told that was not seen yet, or never will be.
    async fn unseen_end(&mut self) -> Result<JobProgress, Error> {
        while let Some(Ok(item)) = self.ends.now() {
            if let Some(end) = self.told(&item) {
                return end;
            }
        }
        let (_, progress) = self.domain.last_job().await?;
        ended(self.operation, progress).unwrap_or_else(|| {
            let (what, of) = (self.operation, self.domain.name());
            let problem =
                format!("{what:?} of {of} has ended, and how is not known: the event that tells was lost");
            Err(Error::job(problem))
        })
    }

    /// What an item says of this job's end.
    fn told(&self, item: &Item) -> Option<Result<JobProgress, Error>> {
        match item {
            Item::Event(Event::DomainJobCompleted(event)) => {
                ended(self.operation, event.params.iter().collect::<Params>().into())
            }
            _ => None,
        }
    }
}

/// How a job has ended that does this, by the last figures of one; nothing when they are of another kind: a domain has one job at a time, and
/// may have had others before and after.
fn ended(operation: DomainJobOperation, progress: JobProgress) -> Option<Result<JobProgress, Error>> {
    does(operation, &progress).then(|| match progress.success {
        Some(true) => Ok(progress),
        _ => {
            let why = progress.error.as_deref().unwrap_or("it failed or was aborted");
            Err(Error::job(format!("{operation:?} has not ended well: {why}")))
        }
    })
}

/// Whether these are figures of a job that does this.
fn does(operation: DomainJobOperation, progress: &JobProgress) -> bool {
    progress.operation == Some(operation.into())
}

impl Domain {
    /// The job that is at work, if one is, and how far it is (`virDomainGetJobStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn job(&self) -> Result<Option<(DomainJobType, JobProgress)>, Error> {
        let (kind, progress) = self.job_stats(DomainGetJobStatsFlags::empty()).await?;
        Ok((kind != DomainJobType::None).then_some((kind, progress)))
    }

    /// The last job that has ended. The daemon forgets it after this (`virDomainGetJobStats`).
    ///
    /// # Errors
    /// As every call.
    pub async fn last_job(&self) -> Result<(DomainJobType, JobProgress), Error> {
        self.job_stats(DomainGetJobStatsFlags::COMPLETED).await
    }

    /// Writes its state to a file of the host and stops it (`virDomainSaveFlags`).
    ///
    /// # Errors
    /// When the call cannot be sent.
    pub async fn save(
        &self,
        to: &str,
        xml: Option<&str>,
        flags: DomainSaveRestoreFlags,
    ) -> Result<CallJob<remote::DomainSaveFlags>, Error> {
        let args = DomainSaveFlagsArgs { dom: self.wire(), to: to.into(), dxml: xml.map(Into::into), flags };
        self.begin(&args).await
    }

    /// Puts it aside: its state goes to a file that the daemon keeps, and starting it goes on from there (`virDomainManagedSave`).
    ///
    /// # Errors
    /// When the call cannot be sent.
    pub async fn managed_save(
        &self,
        flags: DomainSaveRestoreFlags,
    ) -> Result<CallJob<remote::DomainManagedSave>, Error> {
        self.begin(&DomainManagedSaveArgs { dom: self.wire(), flags }).await
    }

    /// Writes its memory to a file of the host, to be looked at (`virDomainCoreDumpWithFormat`).
    ///
    /// # Errors
    /// When the call cannot be sent.
    pub async fn core_dump(
        &self,
        to: &str,
        format: DomainCoreDumpFormat,
        flags: DomainCoreDumpFlags,
    ) -> Result<CallJob<remote::DomainCoreDumpWithFormat>, Error> {
        let args =
            DomainCoreDumpWithFormatArgs { dom: self.wire(), to: to.into(), dumpformat: format, flags };
        self.begin(&args).await
    }

    /// Begins to copy its disks as they are now (`virDomainBackupBegin`).
    ///
    /// # Errors
    /// As every call.
    pub async fn backup(
        &self,
        xml: &str,
        checkpoint: Option<&str>,
        flags: DomainBackupBeginFlags,
    ) -> Result<BackgroundJob, Error> {
        // Before it begins: a small one has ended before its call comes back.
        let filter = [Filter::domain(Kind::DomainJobCompleted, self)];
        let ends = self.connect().subscribe_to(filter).await?;
        let args = DomainBackupBeginArgs {
            dom: self.wire(),
            backup_xml: xml.into(),
            checkpoint_xml: checkpoint.map(Into::into),
            flags,
        };
        self.connect().call::<remote::DomainBackupBegin>(&args).await?;
        Ok(BackgroundJob { domain: self.clone(), operation: DomainJobOperation::Backup, ends })
    }

    /// Sends a call now, on a lane for work.
    pub(super) async fn begin<P: Procedure>(&self, args: &P::Args<'_>) -> Result<CallJob<P>, Error> {
        let (lane, call) = self.connect().start_on_a_lane::<P>(args).await?;
        Ok(CallJob { domain: self.clone(), under_way: Some((call, lane)) })
    }

    /// Aborts the job that is at work; one that is none is no error (`virDomainAbortJob`).
    ///
    /// # Errors
    /// As every call.
    pub async fn abort_job(&self) -> Result<(), Error> {
        let args = DomainAbortJobArgs { dom: self.wire() };
        match self.connect().call::<remote::DomainAbortJob>(&args).await {
            Err(error)
                if matches!(error.kind(), ErrorKind::Libvirt(refusal)
                if refusal.code == libvirt_protocol::enums::ErrorNumber::OperationInvalid) =>
            {
                // It may have ended in between.
                if self.job().await?.is_none() { Ok(()) } else { Err(error) }
            }
            other => other.map(drop),
        }
    }
}

methods! { Domain(this) {
    /// Figures of the job that is at work, or of the last one (`virDomainGetJobStats`).
    job_stats(flags: DomainGetJobStatsFlags) -> (DomainJobType, JobProgress)
        = remote::DomainGetJobStats(DomainGetJobStatsArgs { dom: this.wire(), flags })
        => |found| (found.kind, found.params.iter().collect::<Params>().into());
    /// Aborts the job that is at work in the way that the flags say (`virDomainAbortJobFlags`).
    abort_job_with(flags: DomainAbortJobFlags)
        = remote::DomainAbortJobFlags(DomainAbortJobFlagsArgs { dom: this.wire(), flags });
    /// What the running backup does, as XML (`virDomainBackupGetXMLDesc`).
    backup_xml() -> String
        = remote::DomainBackupGetXmlDesc(DomainBackupGetXmlDescArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| found.xml.into();
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_end_is_a_jobs_end() {
        use DomainJobOperation::{Backup, Dump};
        let of = |operation: Option<DomainJobOperation>, success| {
            let operation = operation.map(i32::from);
            ended(Backup, JobProgress { operation, success, ..Default::default() }).map(|end| end.is_ok())
        };
        assert_eq!(of(Some(Backup), Some(true)), Some(true));
        assert_eq!(of(Some(Backup), Some(false)), Some(false));
        assert_eq!(of(Some(Backup), None), Some(false), "nothing says that it ended well");
        assert_eq!(of(Some(Dump), Some(true)), None);
        assert_eq!(of(None, Some(true)), None);
    }
}

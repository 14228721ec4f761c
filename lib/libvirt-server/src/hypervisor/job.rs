//! Jobs: calls that take time. Saving and dumping a domain are such.

use super::domain::Image;
use super::{Client, Effect, Hypervisor, Refusal, Reply};
use libvirt_protocol::enums::{
    DomainEventStoppedDetailType, DomainJobType, DomainShutoffReason, ErrorNumber,
};
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::session::CallId;
use libvirt_protocol::xdr::Uuid;
use libvirt_protocol::{remote, types};
use std::time::Duration;

/// A call that is under way on a domain.
#[derive(Debug)]
pub(super) struct Job {
    client: Client,
    call: CallId,
    domain: Uuid,
    work: Work,
    started: Duration,
    ends: Duration,
}

/// What a job does when its time has come.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Keeps the domain in an image, and stops it.
    Save { path: String },
    /// Keeps the domain with the hypervisor, and stops it.
    ManagedSave,
    /// Writes the domain's memory down; after a crash it is stopped.
    Dump { crash: bool },
}

impl Hypervisor {
    /// How long saving and dumping take; by default no time at all.
    pub fn set_job_duration(&mut self, duration: Duration) {
        self.job_duration = duration;
    }

    /// When [`Hypervisor::tick`] is due next, as time since the epoch.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.jobs.iter().map(|job| job.ends).chain(self.administration.deadline()).min()
    }

    /// Time has passed: ends the jobs that are due.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        let (due, left) = std::mem::take(&mut self.jobs).into_iter().partition(|job: &Job| job.ends <= now);
        self.jobs = left;
        for Job { client, call, domain, work, .. } in due {
            let before = self.effects.len();
            let effect = match self.perform(domain, work) {
                Ok(()) => Effect::Reply { call, result: Vec::new(), descriptors: Vec::new() },
                Err(refusal) => Effect::Refuse { call, refusal },
            };
            self.effects.insert(before, (client, effect));
        }
    }

    /// Does the work of the call under way, at once or as a job.
    pub(super) fn work(&mut self, dom: &types::Domain<'_>, work: Work) -> Result<(), Refusal> {
        self.active(dom)?;
        if self.jobs.iter().any(|job| job.domain == dom.uuid) {
            let text = "cannot acquire state change lock: another job is under way";
            return Err(Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::OperationTimeout, text) });
        }
        match self.caller.call {
            Some(call) if !self.job_duration.is_zero() => {
                let (started, ends) = (self.now, self.now + self.job_duration);
                let client = self.caller.client;
                self.jobs.push(Job { client, call, domain: dom.uuid, work, started, ends });
                self.deferred = true;
                Ok(())
            }
            _ => self.perform(dom.uuid, work),
        }
    }

    fn perform(&mut self, uuid: Uuid, work: Work) -> Result<(), Refusal> {
        let active = self.domains.get_mut(&uuid).filter(|domain| domain.is_active());
        let Some(domain) = active else { return Err(Refusal::not_running()) };
        match work {
            Work::Save { path } => {
                let config = domain.config.clone();
                self.images.insert(path, Image { config });
                self.stop(uuid, DomainShutoffReason::Saved, DomainEventStoppedDetailType::Saved);
            }
            Work::ManagedSave => {
                self.stop(uuid, DomainShutoffReason::Saved, DomainEventStoppedDetailType::Saved);
                if let Some(domain) = self.domains.get_mut(&uuid) {
                    domain.managed_save = true;
                }
            }
            Work::Dump { crash: true } => {
                self.stop(uuid, DomainShutoffReason::Crashed, DomainEventStoppedDetailType::Crashed);
            }
            Work::Dump { crash: false } => {}
        }
        Ok(())
    }

    /// Calls that take their time.
    pub(super) fn calls_under_way(&self) -> usize {
        self.jobs.len()
    }

    fn job(&self, dom: &types::Domain<'_>) -> Option<&Job> {
        self.jobs.iter().find(|job| job.domain == dom.uuid)
    }

    /// Milliseconds of a job that are over, and that are left.
    fn progress(&self, job: &Job) -> (u64, u64) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let elapsed = self.now.saturating_sub(job.started);
        (milliseconds(elapsed), milliseconds(job.ends.saturating_sub(self.now)))
    }

    pub(super) fn domain_get_job_info(
        &mut self,
        args: remote::DomainGetJobInfoArgs<'_>,
    ) -> Reply<remote::DomainGetJobInfo> {
        self.active(&args.dom)?;
        let Some(job) = self.job(&args.dom) else { return Ok(Default::default()) };
        let (time_elapsed, time_remaining) = self.progress(job);
        Ok(remote::DomainGetJobInfoRet {
            kind: DomainJobType::Bounded,
            time_elapsed,
            time_remaining,
            ..Default::default()
        })
    }

    pub(super) fn domain_get_job_stats(
        &mut self,
        args: remote::DomainGetJobStatsArgs<'_>,
    ) -> Reply<remote::DomainGetJobStats> {
        self.active(&args.dom)?;
        let Some(job) = self.job(&args.dom) else { return Ok(Default::default()) };
        let (elapsed, remaining) = self.progress(job);
        let params =
            vec![TypedParam::new("time_elapsed", elapsed), TypedParam::new("time_remaining", remaining)];
        Ok(remote::DomainGetJobStatsRet { kind: DomainJobType::Bounded, params: params.into() })
    }

    pub(super) fn domain_abort_job(
        &mut self,
        args: remote::DomainAbortJobArgs<'_>,
    ) -> Reply<remote::DomainAbortJob> {
        self.active(&args.dom)?;
        let Some(at) = self.jobs.iter().position(|job| job.domain == args.dom.uuid) else {
            return Err(Refusal::invalid("no job is active on the domain"));
        };
        let Job { client, call, .. } = self.jobs.remove(at);
        let text = "operation aborted: job canceled by client";
        let refusal = Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::OperationAborted, text) };
        self.effects.push_back((client, Effect::Refuse { call, refusal }));
        Ok(())
    }
}

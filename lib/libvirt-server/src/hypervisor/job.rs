//! Jobs: calls that take time. Saving and dumping a domain are such.

use super::domain::Image;
use super::{Client, Effect, Hypervisor, Refusal, Reply};
use libvirt_protocol::enums::{
    DomainEventStoppedDetailType, DomainJobOperation, DomainJobType, DomainPausedReason, DomainRunningReason,
    DomainShutoffReason, DomainState, ErrorNumber,
};
use libvirt_protocol::flags::{DomainAbortJobFlags, DomainGetJobStatsFlags, DomainMigrateFlags};
use libvirt_protocol::parameters::{
    DOMAIN_JOB_OPERATION, DOMAIN_JOB_TIME_ELAPSED, DOMAIN_JOB_TIME_REMAINING,
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
    /// The guest of a migration runs at its destination already.
    ahead: bool,
}

/// What a job does when its time has come.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Keeps the domain in an image, or without a path with the hypervisor, and stops it; whether it waits when it is back.
    Save { path: Option<String>, paused: bool },
    /// Writes the domain's memory down; whether the domain, which waits meanwhile, then goes on.
    Dump { then: AfterDump, resume: bool },
    /// Sends the domain to another server.
    Migrate(DomainMigrateFlags),
}

/// What becomes of a domain whose memory has been written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterDump {
    GoOn,
    Crash,
    Reset,
}

impl Work {
    /// What its call returns, encoded.
    fn result(&self) -> Vec<u8> {
        match self {
            Self::Save { .. } | Self::Dump { .. } => Vec::new(),
            // An empty cookie.
            Self::Migrate(_) => vec![0; 4],
        }
    }

    fn operation(&self) -> DomainJobOperation {
        match self {
            Self::Save { .. } => DomainJobOperation::Save,
            Self::Dump { .. } => DomainJobOperation::Dump,
            Self::Migrate(_) => DomainJobOperation::MigrationOut,
        }
    }
}

impl Hypervisor {
    /// How long saving and dumping take; by default no time at all.
    pub fn set_job_duration(&mut self, duration: Duration) {
        self.job_duration = duration;
    }

    /// When [`Hypervisor::tick`] is due next, as time since the epoch.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let others = [self.block_job_deadline(), self.backup_deadline(), self.administration.deadline()];
        self.jobs.iter().map(|job| job.ends).chain(others.into_iter().flatten()).min()
    }

    /// Time has passed: ends the jobs that are due.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        let (due, left) = std::mem::take(&mut self.jobs).into_iter().partition(|job: &Job| job.ends <= now);
        self.jobs = left;
        for Job { client, call, domain, work, .. } in due {
            let before = self.effects.len();
            let result = work.result();
            let effect = match self.perform(domain, work) {
                Ok(()) => Effect::Reply { call, result, descriptors: Vec::new() },
                Err(refusal) => Effect::Refuse { call, refusal },
            };
            self.effects.insert(before, (client, effect));
        }
        self.tick_block_jobs();
        self.tick_backups();
    }

    /// Whether a call is at work on a domain.
    pub(super) fn is_at_work(&self, domain: Uuid) -> bool {
        self.jobs.iter().any(|job| job.domain == domain)
    }

    /// Does the work of the call under way, at once or as a job.
    pub(super) fn work(&mut self, dom: &types::Domain<'_>, work: Work) -> Result<(), Refusal> {
        self.active(dom)?;
        let guarded = self.is_protected(dom.uuid) && !matches!(work, Work::Migrate(_));
        if guarded || self.is_at_work(dom.uuid) || self.backups.contains_key(&dom.uuid) {
            let text = "cannot acquire state change lock: another job is under way";
            return Err(Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::OperationTimeout, text) });
        }
        match self.caller.call {
            Some(call) if !self.job_duration.is_zero() => {
                let (started, ends) = (self.now, self.now + self.job_duration);
                let client = self.caller.client;
                self.jobs.push(Job { client, call, domain: dom.uuid, work, started, ends, ahead: false });
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
            Work::Save { path, paused } => {
                let image = Image { config: domain.config.clone(), paused };
                self.stop(uuid, DomainShutoffReason::Saved, DomainEventStoppedDetailType::Saved);
                match path {
                    Some(path) => drop(self.images.insert(path, image)),
                    None => {
                        if let Some(domain) = self.domains.get_mut(&uuid) {
                            (domain.managed_save, domain.managed) = (true, Some(image));
                        }
                    }
                }
            }
            Work::Dump { then, resume } => {
                if resume {
                    domain.set_state(DomainState::Running, DomainRunningReason::Unpaused);
                }
                let dom = domain.wire();
                match then {
                    AfterDump::GoOn => {}
                    AfterDump::Crash => {
                        self.stop(uuid, DomainShutoffReason::Crashed, DomainEventStoppedDetailType::Crashed);
                    }
                    AfterDump::Reset => self.tell_reboot(&dom),
                }
            }
            Work::Migrate(_) => self.migrated(uuid),
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

    /// What is at work on a domain: the kind of job, milliseconds that are over, and that are left, and what it does.
    fn at_work(&self, dom: &types::Domain<'_>) -> Option<(DomainJobType, u64, u64, DomainJobOperation)> {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let over = |started: Duration| milliseconds(self.now.saturating_sub(started));
        let left = |ends: Duration| milliseconds(ends.saturating_sub(self.now));
        if let Some(job) = self.job(dom) {
            let (over, left) = (over(job.started), left(job.ends));
            return Some((DomainJobType::Bounded, over, left, job.work.operation()));
        }
        let backup = self.backups.get(&dom.uuid)?;
        let (kind, left) = match backup.ends {
            Some(ends) => (DomainJobType::Bounded, left(ends)),
            None => (DomainJobType::Unbounded, 0),
        };
        Some((kind, over(backup.started), left, DomainJobOperation::Backup))
    }

    pub(super) fn domain_get_job_info(
        &mut self,
        args: remote::DomainGetJobInfoArgs<'_>,
    ) -> Reply<remote::DomainGetJobInfo> {
        self.active(&args.dom)?;
        let Some((kind, time_elapsed, time_remaining, _)) = self.at_work(&args.dom) else {
            return Ok(Default::default());
        };
        Ok(remote::DomainGetJobInfoRet { kind, time_elapsed, time_remaining, ..Default::default() })
    }

    pub(super) fn domain_get_job_stats(
        &mut self,
        args: remote::DomainGetJobStatsArgs<'_>,
    ) -> Reply<remote::DomainGetJobStats> {
        use DomainGetJobStatsFlags as F;
        if args.flags.contains(F::COMPLETED) {
            let last = &mut self.domain_mut(&args.dom)?.last_job;
            let params =
                if args.flags.contains(F::KEEP_COMPLETED) { last.clone() } else { std::mem::take(last) };
            let kind = if params.is_empty() { DomainJobType::None } else { DomainJobType::Completed };
            return Ok(remote::DomainGetJobStatsRet { kind, params: params.into() });
        }
        self.active(&args.dom)?;
        let Some((kind, elapsed, remaining, operation)) = self.at_work(&args.dom) else {
            return Ok(Default::default());
        };
        let mut params = vec![
            TypedParam::new(DOMAIN_JOB_OPERATION, i32::from(operation)),
            TypedParam::new(DOMAIN_JOB_TIME_ELAPSED, elapsed),
            TypedParam::new(DOMAIN_JOB_TIME_REMAINING, remaining),
        ];
        if let Some(Job { work: Work::Migrate(flags), .. }) = self.job(&args.dom) {
            params.extend(self.domain(&args.dom)?.limits.told(*flags));
        }
        Ok(remote::DomainGetJobStatsRet { kind, params: params.into() })
    }

    pub(super) fn domain_abort_job(
        &mut self,
        args: remote::DomainAbortJobArgs<'_>,
    ) -> Reply<remote::DomainAbortJob> {
        self.end_job(&args.dom, DomainAbortJobFlags::empty())
    }

    pub(super) fn domain_abort_job_flags(
        &mut self,
        args: remote::DomainAbortJobFlagsArgs<'_>,
    ) -> Reply<remote::DomainAbortJobFlags> {
        self.end_job(&args.dom, args.flags)
    }

    /// A migration goes on with the guest at its destination; what is left is sent after it.
    pub(super) fn migrate_start_post_copy(
        &mut self,
        args: remote::DomainMigrateStartPostCopyArgs<'_>,
    ) -> Reply<remote::DomainMigrateStartPostCopy> {
        self.active(&args.dom)?;
        let job = self.jobs.iter_mut().find(|job| job.domain == args.dom.uuid);
        match job {
            Some(job) if matches!(job.work, Work::Migrate(flags) if flags.contains(DomainMigrateFlags::POSTCOPY)) =>
            {
                job.ahead = true;
            }
            Some(_) => {
                let text =
                    "switching to post-copy requires migration to be started with VIR_MIGRATE_POSTCOPY flag";
                return Err(Refusal::invalid(text));
            }
            None => {
                return Err(Refusal::invalid("post-copy can only be started while migration is in progress"));
            }
        }
        self.domain_mut(&args.dom)?.set_state(DomainState::Paused, DomainPausedReason::Postcopy);
        Ok(())
    }

    /// Ends the work on a domain, if it is of such a kind, with this.
    pub(super) fn break_off(&mut self, uuid: Uuid, is_such: impl Fn(&Work) -> bool, refusal: Refusal) {
        if let Some(at) = self.jobs.iter().position(|job| job.domain == uuid && is_such(&job.work)) {
            let Job { client, call, .. } = self.jobs.remove(at);
            self.effects.push_back((client, Effect::Refuse { call, refusal }));
        }
    }

    fn end_job(&mut self, dom: &types::Domain<'_>, flags: DomainAbortJobFlags) -> Result<(), Refusal> {
        self.active(dom)?;
        if let Some(backup) = self.backups.get(&dom.uuid) {
            // One that others pull ends in no other way, and ends well so (seen on 9.0.0).
            let error = backup.ends_by_itself().then_some("Operation canceled");
            self.end_backup(dom.uuid, error);
            return Ok(());
        }
        let Some(at) = self.jobs.iter().position(|job| job.domain == dom.uuid) else {
            return Err(Refusal::invalid("no job is active on the domain"));
        };
        let broken = flags.contains(DomainAbortJobFlags::POSTCOPY);
        match self.jobs[at].ahead {
            true if !broken => return Err(Refusal::invalid("cannot abort migration in post-copy mode")),
            false if broken => {
                return Err(Refusal::invalid("current job is not outgoing migration in post-copy mode"));
            }
            _ => {}
        }
        let Job { client, call, ahead, domain, .. } = self.jobs.remove(at);
        // Half of the guest is here and half of it there: it waits for somebody who takes the migration up again.
        if ahead && let Some(domain) = self.domains.get_mut(&domain) {
            domain.set_state(DomainState::Paused, DomainPausedReason::PostcopyFailed);
        }
        let text = "operation aborted: job canceled by client";
        let refusal = Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::OperationAborted, text) };
        self.effects.push_back((client, Effect::Refuse { call, refusal }));
        Ok(())
    }
}

//! Migration: five steps between two servers, which the client takes. How each version of the protocol asks for them stands in
//! [`steps`]; when the server takes them by itself: [`errand`].
//!
//! ```text
//!             source                       destination
//!   begin     definition, cookie ────────>
//!   prepare                                the domain is there, paused
//!   perform   takes its time; paused
//!   finish                                 runs, or is gone again
//!   confirm   gone, or goes on
//! ```
//!
//! No memory moves, for there is none: what passes between the two is the definition. libvirt's test driver has no migration, so this
//! follows its QEMU driver.

mod errand;
mod guard;
mod steps;

pub(crate) use errand::Errand;

use super::domain::{Domain, Placement};
use super::flags::exclusive;
use super::job::Work;
use super::{Happening, Hypervisor, Refusal, Reply};
use libvirt_protocol::enums::{
    DomainEventResumedDetailType, DomainEventStartedDetailType, DomainEventStoppedDetailType,
    DomainEventSuspendedDetailType, DomainEventType, DomainPausedReason, DomainRunningReason,
    DomainShutoffReason, DomainState, ErrorNumber,
};
use libvirt_protocol::flags::DomainMigrateFlags as F;
use libvirt_protocol::parameters::{DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, DOMAIN_JOB_COMPRESSION_CACHE};
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::xdr::Uuid;
use libvirt_protocol::{remote, types};

/// Speeds and sizes that migrations are told to keep to, and what is told back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// MiB a second.
    speed: u64,
    postcopy_speed: u64,
    downtime_ms: u64,
    cache_bytes: u64,
}

impl Default for Limits {
    /// What QEMU 7.2 begins with.
    fn default() -> Self {
        Self { speed: 32, postcopy_speed: 0, downtime_ms: 300, cache_bytes: 64 << 20 }
    }
}

impl Limits {
    /// What figures of a migration say of how its memory travels (`qemuDomainJobDataToParams`).
    pub(super) fn told(&self, flags: F) -> Vec<TypedParam<'static>> {
        let cache = (F::COMPRESSED, TypedParam::new(DOMAIN_JOB_COMPRESSION_CACHE, self.cache_bytes));
        // A guest that writes nothing is not slowed down.
        let throttle = (F::AUTO_CONVERGE, TypedParam::new(DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, 0_i32));
        [cache, throttle]
            .into_iter()
            .filter(|(flag, _)| flags.contains(*flag))
            .map(|(_, told)| told)
            .collect()
    }
}

/// The port at which QEMU's migrations begin.
const PORT: u16 = 49_152;

/// Which flags need others (`qemuDomainMigrationCheck...` and libvirt's `virDomainMigrate3`).
fn combine(flags: F) -> Result<(), Refusal> {
    let named = |flag: F, name| (flag.bits(), name);
    for (one, other) in [
        (
            named(F::NON_SHARED_DISK, "VIR_MIGRATE_NON_SHARED_DISK"),
            named(F::NON_SHARED_INC, "VIR_MIGRATE_NON_SHARED_INC"),
        ),
        (named(F::TUNNELLED, "VIR_MIGRATE_TUNNELLED"), named(F::PARALLEL, "VIR_MIGRATE_PARALLEL")),
    ] {
        exclusive(flags.bits(), one, other)?;
    }
    let needs = [
        (F::ZEROCOPY, F::PARALLEL, "zero-copy is only available for parallel migration"),
        (F::POSTCOPY_RESUME, F::POSTCOPY, "flag VIR_MIGRATE_POSTCOPY_RESUME requires VIR_MIGRATE_POSTCOPY"),
    ];
    match needs.iter().find(|(flag, needed, _)| flags.contains(*flag) && !flags.contains(*needed)) {
        Some((_, _, text)) => Err(Refusal::argument(*text)),
        None => Ok(()),
    }
}

impl Domain {
    fn is_paused_for(&self, reason: DomainPausedReason) -> bool {
        self.state == DomainState::Paused && self.reason == i32::from(reason)
    }

    /// A migration that broke after the guest had gone ahead is taken up again, and only such a one.
    fn may_be_resumed(&self, flags: F) -> Result<(), Refusal> {
        let broken = self.is_paused_for(DomainPausedReason::PostcopyFailed);
        match flags.contains(F::POSTCOPY_RESUME) {
            true if !broken => Err(Refusal::invalid(format!(
                "migration of domain {} is not in post-copy phase",
                self.config.name
            ))),
            false if broken => {
                let text = format!(
                    "post-copy migration of domain {} was interrupted and needs to be resumed",
                    self.config.name
                );
                Err(Refusal::invalid(text))
            }
            _ => Ok(()),
        }
    }
}

/// How a migration is begun, at the source.
struct Begin {
    xml: Option<String>,
    flags: F,
}

/// How it is prepared, at the destination.
struct Prepare {
    xml: Option<String>,
    name: Option<String>,
    uri: Option<String>,
    flags: F,
}

impl Hypervisor {
    /// The definition that goes to the destination.
    fn begin_migration(&mut self, dom: &types::Domain<'_>, begin: Begin) -> Result<String, Refusal> {
        let Begin { xml, flags } = begin;
        let domain = self.domain(dom)?;
        if !domain.is_active() && !flags.contains(F::OFFLINE) {
            return Err(Refusal::not_running());
        }
        if flags.contains(F::OFFLINE) && !flags.contains(F::PERSIST_DEST) {
            let text = "offline migration must be specified with the persistent flag set";
            return Err(Refusal::invalid(text));
        }
        domain.may_be_resumed(flags)?;
        combine(flags)?;
        guard::is_safe(&domain.config, flags)?;
        if self.is_at_work(dom.uuid) || self.backups.contains_key(&dom.uuid) {
            return Err(Refusal::invalid("domain has active block job or another job"));
        }
        let config = match xml {
            Some(xml) => {
                let given = self.read_domain(&xml)?;
                if given.uuid != dom.uuid {
                    return Err(Refusal::argument("the definition at the destination has another UUID"));
                }
                given
            }
            None => self.domain(dom)?.config.clone(),
        };
        self.protect(dom, flags);
        Ok(config.document(None).print())
    }

    /// The domain is there, and waits; where its memory is to be sent.
    fn prepare_migration(&mut self, prepare: Prepare) -> Result<Option<String>, Refusal> {
        let Prepare { xml, name, uri, flags } = prepare;
        let Some(xml) = xml else { return Err(Refusal::internal("no domain XML passed")) };
        combine(flags)?;
        let mut config = self.read_domain(&xml)?;
        if let Some(name) = name {
            config.name = name;
        }
        if flags.contains(F::OFFLINE) {
            self.place(config, Placement::Defined)?;
            return Ok(None);
        }
        let uri = uri.unwrap_or_else(|| format!("tcp:{}:{PORT}", self.hostname));
        if flags.contains(F::POSTCOPY_RESUME) {
            // The other half of it has been waiting here.
            let waiting = self.domains.get(&config.uuid).is_some_and(|domain| domain.is_active());
            return match waiting {
                true => Ok(Some(uri)),
                false => Err(Refusal::not_running()),
            };
        }
        let uuid = self.place(config, Placement::New)?;
        self.start(uuid, DomainRunningReason::Migrated, DomainEventStartedDetailType::Migrated);
        if let Some(domain) = self.domains.get_mut(&uuid) {
            domain.set_state(DomainState::Paused, DomainPausedReason::Migration);
        }
        Ok(Some(uri))
    }

    /// A disk of a guest fails while it is sent: then it is not sent, if that was said (`ABORT_ON_ERROR`).
    pub(super) fn meets_error(&mut self, uuid: Uuid) {
        let refusal =
            Refusal::new(ErrorNumber::OperationFailed, "job 'migration out' failed due to I/O error");
        self.break_off(
            uuid,
            |work| matches!(work, Work::Migrate(flags) if flags.contains(F::ABORT_ON_ERROR)),
            refusal,
        );
    }

    /// The guest's memory is sent.
    fn perform_migration(&mut self, dom: &types::Domain<'_>, flags: F) -> Result<(), Refusal> {
        if flags.contains(F::OFFLINE) {
            // There is no memory to be sent.
            return self.domain(dom).map(drop);
        }
        self.active(dom)?.may_be_resumed(flags)?;
        self.work(dom, Work::Migrate(flags))?;
        if flags.contains(F::POSTCOPY_RESUME) {
            // It has gone ahead, and stands still here whatever comes.
            self.domain_mut(dom)?.set_state(DomainState::Paused, DomainPausedReason::Postcopy);
            return Ok(());
        }
        // Only under this flag a guest goes on while it is sent.
        if !flags.contains(F::LIVE) && self.deferred {
            self.domain_mut(dom)?.set_state(DomainState::Paused, DomainPausedReason::Migration);
        }
        Ok(())
    }

    /// Everything has been sent.
    pub(super) fn migrated(&mut self, uuid: Uuid) {
        let Some(domain) = self.domains.get_mut(&uuid) else { return };
        let (name, dom) = (domain.config.name.clone(), domain.wire());
        // One that has gone ahead stands still since then.
        let ahead = domain.is_paused_for(DomainPausedReason::Postcopy);
        if !ahead {
            domain.set_state(DomainState::Paused, DomainPausedReason::Migration);
        }
        self.happen(&name, Happening::MigrationIteration(1));
        if ahead {
            return;
        }
        let detail = DomainEventSuspendedDetailType::Migrated;
        self.tell_lifecycle(&dom, DomainEventType::Suspended, detail.into());
    }

    /// The domain runs at the destination, or is gone again.
    fn finish_migration(
        &mut self,
        name: &str,
        flags: F,
        failed: bool,
    ) -> Result<types::Domain<'static>, Refusal> {
        let found = self.domains.values().find(|domain| domain.config.name == name);
        let Some((uuid, dom)) = found.map(|domain| (domain.config.uuid, domain.wire())) else {
            return Err(Refusal::new(
                ErrorNumber::NoDomain,
                format!("no domain with matching name '{name}'"),
            ));
        };
        if failed {
            self.stop(uuid, DomainShutoffReason::Failed, DomainEventStoppedDetailType::Failed);
            // Nothing of it stays.
            return Err(Refusal::new(ErrorNumber::OperationFailed, "migration was cancelled"));
        }
        if flags.contains(F::PERSIST_DEST)
            && let Some(domain) = self.domains.get_mut(&uuid)
        {
            domain.persistent = true;
            domain.next = domain.is_active().then(|| domain.config.clone());
        }
        if !flags.intersects(F::PAUSED | F::OFFLINE) {
            self.go_on(&dom, DomainRunningReason::Migrated, DomainEventResumedDetailType::Migrated);
        }
        Ok(dom)
    }

    /// The domain is gone from the source, or goes on there.
    fn confirm_migration(
        &mut self,
        dom: &types::Domain<'_>,
        flags: F,
        cancelled: bool,
    ) -> Result<(), Refusal> {
        self.protect(dom, F::empty());
        let domain = self.domain(dom)?;
        let dom = domain.wire();
        if cancelled {
            if domain.is_paused_for(DomainPausedReason::Migration) {
                let reason = DomainRunningReason::MigrationCanceled;
                self.go_on(&dom, reason, DomainEventResumedDetailType::Migrated);
            } else if domain.is_paused_for(DomainPausedReason::Postcopy) {
                // Half of it is here and half of it there.
                self.domain_mut(&dom)?.set_state(DomainState::Paused, DomainPausedReason::PostcopyFailed);
                let detail = DomainEventSuspendedDetailType::PostcopyFailed;
                self.tell_lifecycle(&dom, DomainEventType::Suspended, detail.into());
            }
            return Ok(());
        }
        if domain.is_active() {
            self.stop(dom.uuid, DomainShutoffReason::Migrated, DomainEventStoppedDetailType::Migrated);
        }
        if flags.contains(F::UNDEFINE_SOURCE) && self.domains.contains_key(&dom.uuid) {
            let args = remote::DomainUndefineArgs { dom };
            self.domain_undefine(args)?;
        }
        Ok(())
    }

    /// A paused domain runs.
    fn go_on(
        &mut self,
        dom: &types::Domain<'static>,
        reason: DomainRunningReason,
        detail: DomainEventResumedDetailType,
    ) {
        if let Some(domain) = self.domains.get_mut(&dom.uuid) {
            domain.set_state(DomainState::Running, reason);
        }
        self.tell_lifecycle(dom, DomainEventType::Resumed, detail.into());
    }

    pub(super) fn migrate_set_max_speed(
        &mut self,
        args: remote::DomainMigrateSetMaxSpeedArgs<'_>,
    ) -> Reply<remote::DomainMigrateSetMaxSpeed> {
        let limits = &mut self.domain_mut(&args.dom)?.limits;
        // 1: VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY.
        *if args.flags.bits() & 1 != 0 { &mut limits.postcopy_speed } else { &mut limits.speed } =
            args.bandwidth;
        Ok(())
    }

    pub(super) fn migrate_get_max_speed(
        &mut self,
        args: remote::DomainMigrateGetMaxSpeedArgs<'_>,
    ) -> Reply<remote::DomainMigrateGetMaxSpeed> {
        let limits = self.domain(&args.dom)?.limits;
        let bandwidth = if args.flags.bits() & 1 != 0 { limits.postcopy_speed } else { limits.speed };
        Ok(remote::DomainMigrateGetMaxSpeedRet { bandwidth })
    }

    pub(super) fn migrate_set_max_downtime(
        &mut self,
        args: remote::DomainMigrateSetMaxDowntimeArgs<'_>,
    ) -> Reply<remote::DomainMigrateSetMaxDowntime> {
        self.active_mut(&args.dom)?.limits.downtime_ms = args.downtime;
        Ok(())
    }

    pub(super) fn migrate_get_max_downtime(
        &mut self,
        args: remote::DomainMigrateGetMaxDowntimeArgs<'_>,
    ) -> Reply<remote::DomainMigrateGetMaxDowntime> {
        Ok(remote::DomainMigrateGetMaxDowntimeRet { downtime: self.active(&args.dom)?.limits.downtime_ms })
    }

    pub(super) fn migrate_set_cache(
        &mut self,
        args: remote::DomainMigrateSetCompressionCacheArgs<'_>,
    ) -> Reply<remote::DomainMigrateSetCompressionCache> {
        self.active_mut(&args.dom)?.limits.cache_bytes = args.cache_size;
        Ok(())
    }

    pub(super) fn migrate_get_cache(
        &mut self,
        args: remote::DomainMigrateGetCompressionCacheArgs<'_>,
    ) -> Reply<remote::DomainMigrateGetCompressionCache> {
        let cache_size = self.active(&args.dom)?.limits.cache_bytes;
        Ok(remote::DomainMigrateGetCompressionCacheRet { cache_size })
    }
}

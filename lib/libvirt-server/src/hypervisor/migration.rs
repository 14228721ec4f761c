//! Migration, as version 3 of it with parameters has it: five steps between two servers, which the client takes.
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

use super::domain::Placement;
use super::job::Work;
use super::{Hypervisor, Refusal, Reply};
use libvirt_protocol::enums::{
    DomainEventResumedDetailType, DomainEventStartedDetailType, DomainEventStoppedDetailType,
    DomainEventSuspendedDetailType, DomainEventType, DomainPausedReason, DomainRunningReason,
    DomainShutoffReason, DomainState, ErrorNumber,
};
use libvirt_protocol::flags::DomainMigrateFlags as F;
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::xdr::{Bytes, IntoOwned, List, Uuid};
use libvirt_protocol::{parameters as names, remote, types};

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

/// The port at which QEMU's migrations begin.
const PORT: u16 = 49_152;

fn text<'a>(params: &List<'a, TypedParam<'a>, 64>, name: &str) -> Option<String> {
    let found = params.iter().find(|param| param.field == name)?;
    found.value.as_text().map(|text| text.to_string())
}

fn cookie<const MAX: u32>(text: &str) -> Bytes<'static, MAX> {
    Bytes(text.as_bytes().to_vec().into())
}

impl Hypervisor {
    pub(super) fn migrate_begin(
        &mut self,
        args: remote::DomainMigrateBegin3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigrateBegin3Params> {
        let domain = self.domain(&args.dom)?;
        if !domain.is_active() && !args.flags.contains(F::OFFLINE) {
            return Err(Refusal::not_running());
        }
        if args.flags.contains(F::OFFLINE) && !args.flags.contains(F::PERSIST_DEST) {
            let text = "offline migration must be specified with the persistent flag set";
            return Err(Refusal::invalid(text));
        }
        if self.is_at_work(args.dom.uuid) || self.backups.contains_key(&args.dom.uuid) {
            return Err(Refusal::invalid("domain has active block job or another job"));
        }
        let config = match text(&args.params, names::MIGRATE_PARAM_DEST_XML) {
            Some(xml) => {
                let given = self.read_domain(&xml)?;
                if given.uuid != args.dom.uuid {
                    return Err(Refusal::argument("the definition at the destination has another UUID"));
                }
                given
            }
            None => self.domain(&args.dom)?.config.clone(),
        };
        let cookie_out =
            cookie(&format!("<qemu-migration><hostname>{}</hostname></qemu-migration>", self.hostname));
        let xml = config.document(None).print().into();
        Ok(remote::DomainMigrateBegin3ParamsRet { cookie_out, xml })
    }

    pub(super) fn migrate_prepare(
        &mut self,
        args: remote::DomainMigratePrepare3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigratePrepare3Params> {
        let Some(xml) = text(&args.params, names::MIGRATE_PARAM_DEST_XML) else {
            return Err(Refusal::internal("no domain XML passed"));
        };
        let mut config = self.read_domain(&xml)?;
        if let Some(name) = text(&args.params, names::MIGRATE_PARAM_DEST_NAME) {
            config.name = name;
        }
        if args.flags.contains(F::OFFLINE) {
            self.place(config, Placement::Defined)?;
            return Ok(remote::DomainMigratePrepare3ParamsRet {
                cookie_out: args.cookie_in.into_owned(),
                uri_out: None,
            });
        }
        let uuid = self.place(config, Placement::New)?;
        self.start(uuid, DomainRunningReason::Migrated, DomainEventStartedDetailType::Migrated);
        if let Some(domain) = self.domains.get_mut(&uuid) {
            domain.set_state(DomainState::Paused, DomainPausedReason::Migration);
        }
        let uri = text(&args.params, names::MIGRATE_PARAM_URI);
        let uri = uri.unwrap_or_else(|| format!("tcp:{}:{PORT}", self.hostname));
        Ok(remote::DomainMigratePrepare3ParamsRet {
            cookie_out: args.cookie_in.into_owned(),
            uri_out: Some(uri.into()),
        })
    }

    pub(super) fn migrate_perform(
        &mut self,
        args: remote::DomainMigratePerform3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigratePerform3Params> {
        if args.flags.intersects(F::PEER2PEER | F::TUNNELLED) || args.dconnuri.is_some() {
            let text = "a daemon in memory connects to no other: migrate without PEER2PEER";
            return Err(Refusal::new(ErrorNumber::OperationUnsupported, text));
        }
        self.work(&args.dom, Work::Migrate)?;
        // Nothing but the one cookie passes, so a job that takes its time has nothing to add.
        Ok(remote::DomainMigratePerform3ParamsRet::default())
    }

    /// Everything has been sent.
    pub(super) fn migrated(&mut self, uuid: Uuid) {
        let Some(domain) = self.domains.get_mut(&uuid) else { return };
        domain.set_state(DomainState::Paused, DomainPausedReason::Migration);
        let dom = domain.wire();
        let detail = DomainEventSuspendedDetailType::Migrated;
        self.tell_lifecycle(&dom, DomainEventType::Suspended, detail.into());
    }

    pub(super) fn migrate_finish(
        &mut self,
        args: remote::DomainMigrateFinish3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigrateFinish3Params> {
        let name = text(&args.params, names::MIGRATE_PARAM_DEST_NAME).unwrap_or_default();
        let found = self.domains.values().find(|domain| domain.config.name == name);
        let Some((uuid, dom)) = found.map(|domain| (domain.config.uuid, domain.wire())) else {
            return Err(Refusal::new(
                ErrorNumber::NoDomain,
                format!("no domain with matching name '{name}'"),
            ));
        };
        if args.cancelled != 0 {
            self.stop(uuid, DomainShutoffReason::Failed, DomainEventStoppedDetailType::Failed);
            // Nothing of it stays.
            return Err(Refusal::new(ErrorNumber::OperationFailed, "migration was cancelled"));
        }
        if args.flags.contains(F::PERSIST_DEST)
            && let Some(domain) = self.domains.get_mut(&uuid)
        {
            domain.persistent = true;
            domain.next = domain.is_active().then(|| domain.config.clone());
        }
        if !args.flags.intersects(F::PAUSED | F::OFFLINE) {
            self.go_on(&dom, DomainRunningReason::Migrated, DomainEventResumedDetailType::Migrated);
        }
        let cookie_out = args.cookie_in.into_owned();
        Ok(remote::DomainMigrateFinish3ParamsRet { dom, cookie_out })
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

    pub(super) fn migrate_confirm(
        &mut self,
        args: remote::DomainMigrateConfirm3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigrateConfirm3Params> {
        let domain = self.domain(&args.dom)?;
        let dom = domain.wire();
        let sent =
            domain.state == DomainState::Paused && domain.reason == i32::from(DomainPausedReason::Migration);
        if args.cancelled != 0 {
            if sent {
                let reason = DomainRunningReason::MigrationCanceled;
                self.go_on(&dom, reason, DomainEventResumedDetailType::Migrated);
            }
            return Ok(());
        }
        if domain.is_active() {
            self.stop(dom.uuid, DomainShutoffReason::Migrated, DomainEventStoppedDetailType::Migrated);
        }
        if args.flags.contains(F::UNDEFINE_SOURCE) && self.domains.contains_key(&dom.uuid) {
            let args = remote::DomainUndefineArgs { dom };
            self.domain_undefine(args)?;
        }
        Ok(())
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

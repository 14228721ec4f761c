//! Domains: what is kept of each, how one is found, what becomes of it.
//!
//! ```text
//!   define ──> shut off ──start──> running <──resume── paused
//!                 ^  ^                │ └───suspend────────^
//!                 │  └─destroy, shutdown, save ────────────┘
//!              undefine: gone; a transient domain goes when it stops
//! ```

mod agent;
mod config;
mod devices;
mod guest;
mod hotplug;
mod lifecycle;
mod lists;
mod memory;
mod metadata;
mod parameters;
mod power;
mod read;
mod save;
pub(super) use read::terminated;
pub(super) use vcpus::SUPPORTED_VCPUS;
mod statistics;
mod throttle;
mod vcpus;

pub(super) use config::{Config, ORDER, bytes as config_bytes};

use super::checkpoint::Checkpoint;
use super::migration::Limits;
use super::snapshot::Snapshot;
use super::tree::Tree;
use super::{Client, Hypervisor, Refusal};
use libvirt_protocol::enums::{
    DomainEventDefinedDetailType, DomainEventStartedDetailType, DomainEventStoppedDetailType,
    DomainEventType, DomainRunningReason, DomainShutoffReason, DomainState, ErrorDomain, ErrorNumber,
};
use libvirt_protocol::flags::DomainModificationImpact;
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::types;
use libvirt_protocol::xdr::Uuid;
use std::collections::BTreeMap;

/// A domain.
#[derive(Clone, Debug)]
pub(super) struct Domain {
    /// While it is active.
    pub(super) id: Option<i32>,
    pub(super) state: DomainState,
    /// Why; what the number means depends on the state.
    pub(super) reason: i32,
    pub(super) persistent: bool,
    pub(super) autostart: bool,
    /// Of the running domain, or of the one that is shut off.
    pub(super) config: Config,
    /// What an active domain will be at its next start.
    pub(super) next: Option<Config>,
    pub(super) managed_save: bool,
    /// What was saved, when it was saved and not only said to be.
    pub(super) managed: Option<Image>,
    /// What the agent in it keeps.
    pub(super) agent: agent::Agent,
    /// Of disks: how many bytes may be written before somebody is told.
    pub(super) thresholds: BTreeMap<String, u64>,
    /// How the last look at how fast it writes to its memory was made.
    pub(super) dirty_rate: Option<&'static str>,
    /// What it was tainted with.
    pub(super) taints: std::collections::BTreeSet<&'static str>,
    /// What its clock was set to: seconds and nanoseconds.
    pub(super) time: Option<(i64, u32)>,
    /// Whether each file system of the guest is frozen.
    pub(super) frozen: [bool; guest::FILE_SYSTEMS.len()],
    pub(super) snapshots: Tree<Snapshot>,
    pub(super) checkpoints: Tree<Checkpoint>,
    /// Once, at the host's next start.
    pub(super) autostart_once: bool,
    /// With whom it ends.
    pub(super) owner: Option<Client>,
    /// Who migrates it, and keeps others from it.
    pub(super) migrated_by: Option<Client>,
    /// Of disks that were given a size, in bytes.
    pub(super) capacities: BTreeMap<String, u64>,
    /// Figures of the last job that has ended.
    pub(super) last_job: Vec<TypedParam<'static>>,
    pub(super) limits: Limits,
}

/// A domain that was saved.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) config: Config,
    /// Whether it waits when it is back.
    pub(super) paused: bool,
}

impl Domain {
    fn new(config: Config) -> Self {
        Self {
            id: None,
            state: DomainState::Shutoff,
            reason: DomainShutoffReason::Unspecified.into(),
            persistent: false,
            autostart: false,
            config,
            next: None,
            managed_save: false,
            managed: None,
            agent: agent::Agent::default(),
            thresholds: BTreeMap::new(),
            dirty_rate: None,
            taints: Default::default(),
            time: None,
            frozen: [false; guest::FILE_SYSTEMS.len()],
            snapshots: Tree::default(),
            checkpoints: Tree::default(),
            autostart_once: false,
            owner: None,
            migrated_by: None,
            capacities: BTreeMap::new(),
            last_job: Vec::new(),
            limits: Limits::default(),
        }
    }

    pub(super) fn wire(&self) -> types::Domain<'static> {
        types::Domain {
            name: self.config.name.clone().into(),
            uuid: self.config.uuid,
            id: self.id.unwrap_or(-1),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.id.is_some()
    }

    pub(super) fn set_state(&mut self, state: DomainState, reason: impl Into<i32>) {
        self.state = state;
        self.reason = reason.into();
    }

    /// What it will be at its next start.
    pub(super) fn persistent_config(&mut self) -> &mut Config {
        match &mut self.next {
            Some(next) => next,
            None => &mut self.config,
        }
    }

    /// Which of the two configurations a call is about: the running one, the persistent one.
    pub(super) fn impact(&self, flags: DomainModificationImpact) -> Result<Impact, Refusal> {
        let live = flags.contains(DomainModificationImpact::LIVE);
        let config = flags.contains(DomainModificationImpact::CONFIG);
        let current = !live && !config;
        let impact = Impact {
            live: live || current && self.is_active(),
            config: config || current && !self.is_active(),
        };
        if impact.live && !self.is_active() {
            return Err(Refusal::not_running());
        }
        if impact.config && !self.persistent {
            return Err(Refusal::invalid("transient domains do not have any persistent config"));
        }
        Ok(impact)
    }

    /// Changes the configurations that a call is about.
    pub(super) fn change(&mut self, impact: Impact, change: impl Fn(&mut Config)) {
        if impact.live {
            change(&mut self.config);
        }
        if impact.config {
            change(self.persistent_config());
        }
    }

    /// The configuration that a question is about.
    pub(super) fn asked(&self, impact: Impact) -> &Config {
        match &self.next {
            Some(next) if impact.config => next,
            _ => &self.config,
        }
    }
}

/// Which configurations a call is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Impact {
    pub(super) live: bool,
    pub(super) config: bool,
}

impl Hypervisor {
    /// The domain that a client means.
    pub(super) fn domain(&self, dom: &types::Domain<'_>) -> Result<&Domain, Refusal> {
        self.domains.get(&dom.uuid).ok_or_else(|| missing(dom))
    }

    /// The same, to be changed.
    pub(super) fn domain_mut(&mut self, dom: &types::Domain<'_>) -> Result<&mut Domain, Refusal> {
        self.domains.get_mut(&dom.uuid).ok_or_else(|| missing(dom))
    }

    /// The domain, which must run.
    pub(super) fn active(&self, dom: &types::Domain<'_>) -> Result<&Domain, Refusal> {
        let domain = self.domain(dom)?;
        if domain.is_active() { Ok(domain) } else { Err(Refusal::not_running()) }
    }

    pub(super) fn active_mut(&mut self, dom: &types::Domain<'_>) -> Result<&mut Domain, Refusal> {
        self.active(dom)?;
        self.domain_mut(dom)
    }

    /// Starts a domain that is known to be shut off.
    pub(super) fn start(
        &mut self,
        uuid: Uuid,
        reason: DomainRunningReason,
        detail: DomainEventStartedDetailType,
    ) {
        self.last_domain_id += 1;
        let id = self.last_domain_id;
        let Some(domain) = self.domains.get_mut(&uuid) else { return };
        domain.id = Some(id);
        domain.set_state(DomainState::Running, reason);
        domain.managed_save = false;
        if domain.persistent {
            domain.next = Some(domain.config.clone());
        }
        let dom = domain.wire();
        self.tell_lifecycle(&dom, DomainEventType::Started, detail.into());
    }

    /// Stops a domain that is known to be active. A transient one goes.
    pub(super) fn stop(
        &mut self,
        uuid: Uuid,
        reason: DomainShutoffReason,
        detail: DomainEventStoppedDetailType,
    ) {
        self.forget_block_jobs(uuid);
        // As `qemuBackupJobTerminate` tells it.
        self.end_backup(uuid, Some("domain is not running"));
        let Some(domain) = self.domains.get_mut(&uuid) else { return };
        domain.id = None;
        domain.owner = None;
        domain.set_state(DomainState::Shutoff, reason);
        domain.frozen = Default::default();
        if let Some(next) = domain.next.take() {
            domain.config = next;
        }
        let dom = domain.wire();
        if !domain.persistent {
            self.domains.remove(&uuid);
        }
        self.tell_lifecycle(&dom, DomainEventType::Stopped, detail.into());
    }

    /// Puts a configuration in place of the one of its UUID, or beside the others.
    pub(super) fn place(&mut self, config: Config, how: Placement) -> Result<Uuid, Refusal> {
        let named = self.domains.values().find(|domain| domain.config.name == config.name);
        if let Some(named) = named.filter(|named| named.config.uuid != config.uuid) {
            let text = format!("domain '{}' already exists with uuid {}", config.name, named.config.uuid);
            return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Domain));
        }
        let uuid = config.uuid;
        if let Some(known) = self.domains.get_mut(&uuid) {
            if known.config.name != config.name {
                let text = format!("domain '{}' is already defined with uuid {uuid}", known.config.name);
                return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Domain));
            }
            match how {
                Placement::New if known.is_active() => {
                    let text = format!("domain '{}' is already active", config.name);
                    return Err(Refusal::invalid(text).of(ErrorDomain::Domain));
                }
                Placement::New => known.config = config,
                Placement::Defined if known.is_active() => known.next = Some(config),
                Placement::Defined => known.config = config,
            }
        } else {
            self.domains.insert(uuid, Domain::new(config));
        }
        Ok(uuid)
    }

    /// The domain of the default state.
    pub(super) fn add_default_domain(&mut self) {
        let uuid = Uuid([
            0x66, 0x95, 0xeb, 0x01, 0xf6, 0xa4, 0x83, 0x04, 0x79, 0xaa, 0x97, 0xf2, 0x50, 0x2e, 0x19, 0x3f,
        ]);
        let config = Config::default_domain(uuid);
        let mut domain = Domain::new(config);
        domain.persistent = true;
        self.domains.insert(uuid, domain);
        self.last_domain_id += 1;
        let id = self.last_domain_id;
        if let Some(domain) = self.domains.get_mut(&uuid) {
            domain.id = Some(id);
            domain.set_state(DomainState::Running, DomainRunningReason::Unspecified);
            domain.next = Some(domain.config.clone());
        }
    }

    pub(super) fn tell_defined(&mut self, uuid: Uuid, detail: DomainEventDefinedDetailType) {
        if let Some(domain) = self.domains.get(&uuid) {
            let dom = domain.wire();
            self.tell_lifecycle(&dom, DomainEventType::Defined, detail.into());
        }
    }
}

/// How a configuration comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// To be started at once: the domain must not run.
    New,
    /// To be kept: a running domain takes it at its next start.
    Defined,
}

fn missing(dom: &types::Domain<'_>) -> Refusal {
    let text = format!("no domain with matching uuid '{}' ({})", dom.uuid, dom.name);
    Refusal::new(ErrorNumber::NoDomain, text)
}

//! Finding domains.

use super::{Domain, Hypervisor};
use crate::hypervisor::{Refusal, Reply};
use libvirt_protocol::enums::{DomainState, ErrorNumber};
use libvirt_protocol::flags::ConnectListAllDomainsFlags as Filter;
use libvirt_protocol::remote;

/// Whether a domain passes a filter: in every group of which a bit is set, one must fit.
pub(super) fn passes(domain: &Domain, filter: Filter) -> bool {
    let state = domain.state;
    let groups: [&[(Filter, bool)]; 7] = [
        &[(Filter::ACTIVE, domain.is_active()), (Filter::INACTIVE, !domain.is_active())],
        &[(Filter::PERSISTENT, domain.persistent), (Filter::TRANSIENT, !domain.persistent)],
        &[
            (Filter::RUNNING, state == DomainState::Running),
            (Filter::PAUSED, state == DomainState::Paused),
            (Filter::SHUTOFF, state == DomainState::Shutoff),
            (
                Filter::OTHER,
                !matches!(state, DomainState::Running | DomainState::Paused | DomainState::Shutoff),
            ),
        ],
        &[(Filter::MANAGEDSAVE, domain.managed_save), (Filter::NO_MANAGEDSAVE, !domain.managed_save)],
        &[(Filter::AUTOSTART, domain.autostart), (Filter::NO_AUTOSTART, !domain.autostart)],
        &[
            (Filter::HAS_SNAPSHOT, domain.snapshots.len() > 0),
            (Filter::NO_SNAPSHOT, domain.snapshots.len() == 0),
        ],
        &[
            (Filter::HAS_CHECKPOINT, domain.checkpoints.len() > 0),
            (Filter::NO_CHECKPOINT, domain.checkpoints.len() == 0),
        ],
    ];
    crate::hypervisor::fits(
        filter.bits(),
        groups.iter().map(|group| group.iter().map(|(bit, fit)| (bit.bits(), *fit))),
    )
}

impl Hypervisor {
    pub(crate) fn list_all_domains(
        &mut self,
        args: remote::ConnectListAllDomainsArgs,
    ) -> Reply<remote::ConnectListAllDomains> {
        let found: Vec<_> =
            self.domains.values().filter(|domain| passes(domain, args.flags)).map(Domain::wire).collect();
        let ret = crate::hypervisor::count(found.len());
        let domains = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::ConnectListAllDomainsRet { domains: domains.into(), ret })
    }

    pub(crate) fn list_domains(
        &mut self,
        args: remote::ConnectListDomainsArgs,
    ) -> Reply<remote::ConnectListDomains> {
        let most = usize::try_from(args.maxids).unwrap_or(0);
        let ids = self.domains.values().filter_map(|domain| domain.id).take(most).collect();
        Ok(remote::ConnectListDomainsRet { ids })
    }

    pub(crate) fn num_of_domains(&mut self, (): ()) -> Reply<remote::ConnectNumOfDomains> {
        let num = self.domains.values().filter(|domain| domain.is_active()).count();
        Ok(remote::ConnectNumOfDomainsRet { num: num as i32 })
    }

    pub(crate) fn list_defined_domains(
        &mut self,
        args: remote::ConnectListDefinedDomainsArgs,
    ) -> Reply<remote::ConnectListDefinedDomains> {
        let most = usize::try_from(args.maxnames).unwrap_or(0);
        let off = self.domains.values().filter(|domain| !domain.is_active());
        let names = off.map(|domain| domain.config.name.clone().into()).take(most).collect();
        Ok(remote::ConnectListDefinedDomainsRet { names })
    }

    pub(crate) fn num_of_defined_domains(&mut self, (): ()) -> Reply<remote::ConnectNumOfDefinedDomains> {
        let num = self.domains.values().filter(|domain| !domain.is_active()).count();
        Ok(remote::ConnectNumOfDefinedDomainsRet { num: num as i32 })
    }

    fn found(
        &self,
        fit: impl Fn(&Domain) -> bool,
    ) -> Result<libvirt_protocol::types::Domain<'static>, Refusal> {
        let found = self.domains.values().find(|domain| fit(domain)).map(Domain::wire);
        found.ok_or_else(|| Refusal::bare(ErrorNumber::NoDomain))
    }

    pub(crate) fn domain_lookup_by_id(
        &mut self,
        args: remote::DomainLookupByIdArgs,
    ) -> Reply<remote::DomainLookupById> {
        let dom = self.found(|domain| domain.id == Some(args.id))?;
        Ok(remote::DomainLookupByIdRet { dom })
    }

    pub(crate) fn domain_lookup_by_name(
        &mut self,
        args: remote::DomainLookupByNameArgs<'_>,
    ) -> Reply<remote::DomainLookupByName> {
        let dom = self.found(|domain| args.name == domain.config.name.as_str())?;
        Ok(remote::DomainLookupByNameRet { dom })
    }

    pub(crate) fn domain_lookup_by_uuid(
        &mut self,
        args: remote::DomainLookupByUuidArgs,
    ) -> Reply<remote::DomainLookupByUuid> {
        let dom = self.found(|domain| domain.config.uuid == args.uuid)?;
        Ok(remote::DomainLookupByUuidRet { dom })
    }
}

//! Memory of domains.

use super::{Hypervisor, Impact};
use crate::hypervisor::{Refusal, Reply, Scope};
use libvirt_protocol::enums::DomainMemoryStatTags as Tag;
use libvirt_protocol::flags::{DomainMemoryModFlags, DomainModificationImpact};
use libvirt_protocol::{remote, types};

impl Hypervisor {
    pub(crate) fn domain_get_max_memory(
        &mut self,
        args: remote::DomainGetMaxMemoryArgs<'_>,
    ) -> Reply<remote::DomainGetMaxMemory> {
        Ok(remote::DomainGetMaxMemoryRet { memory: self.domain(&args.dom)?.config.max_memory_kib })
    }

    pub(crate) fn domain_set_max_memory(
        &mut self,
        args: remote::DomainSetMaxMemoryArgs<'_>,
    ) -> Reply<remote::DomainSetMaxMemory> {
        self.set_memory(&args.dom, args.memory, DomainMemoryModFlags::MAXIMUM)
    }

    pub(crate) fn domain_set_memory(
        &mut self,
        args: remote::DomainSetMemoryArgs<'_>,
    ) -> Reply<remote::DomainSetMemory> {
        self.set_memory(&args.dom, args.memory, DomainMemoryModFlags::LIVE)
    }

    pub(crate) fn domain_set_memory_flags(
        &mut self,
        args: remote::DomainSetMemoryFlagsArgs<'_>,
    ) -> Reply<remote::DomainSetMemoryFlags> {
        self.only(args.flags.bits(), 7, "testDomainSetMemoryFlags")?;
        self.set_memory(&args.dom, args.memory, args.flags)
    }

    fn set_memory(
        &mut self,
        dom: &types::Domain<'_>,
        memory_kib: u64,
        flags: DomainMemoryModFlags,
    ) -> Result<(), Refusal> {
        let domain = self.domain_mut(dom)?;
        let impact = domain.impact(DomainModificationImpact::from_bits_retain(flags.bits() & 3))?;
        if flags.contains(DomainMemoryModFlags::MAXIMUM) {
            if impact.live {
                return Err(Refusal::invalid("cannot resize the maximum memory on an active domain"));
            }
            domain.change(impact, |config| {
                config.max_memory_kib = memory_kib;
                config.memory_kib = config.memory_kib.min(memory_kib);
            });
            return Ok(());
        }
        let most = |impact: Impact| domain.asked(impact).max_memory_kib;
        let live = impact.live && memory_kib > most(Impact { live: true, config: false });
        let config = impact.config && memory_kib > most(Impact { live: false, config: true });
        if live || config {
            return Err(Refusal::argument("cannot set memory higher than max memory"));
        }
        domain.change(impact, |config| config.memory_kib = memory_kib);
        let dom = domain.wire();
        if impact.live && self.scope == Scope::Complete {
            self.tell_balloon(&dom, memory_kib);
        }
        Ok(())
    }

    pub(crate) fn domain_memory_stats(
        &mut self,
        args: remote::DomainMemoryStatsArgs<'_>,
    ) -> Reply<remote::DomainMemoryStats> {
        let current = self.active(&args.dom)?.config.memory_kib;
        // The test driver's guest uses half of what it has, whatever it has.
        let stats = [
            (Tag::ActualBalloon, current),
            (Tag::SwapIn, 0),
            (Tag::SwapOut, 0),
            (Tag::MajorFault, 0),
            (Tag::MinorFault, 0),
            (Tag::Unused, current / 2),
            (Tag::Available, current),
            (Tag::Usable, current / 2),
            (Tag::LastUpdate, super::guest::TIME_S.cast_unsigned()),
            (Tag::DiskCaches, current / 8),
            (Tag::HugetlbPgalloc, 0),
            (Tag::HugetlbPgfail, 0),
            (Tag::Rss, current / 2),
        ];
        let stats = stats.into_iter().map(|(tag, val)| types::DomainMemoryStat { tag, val });
        Ok(remote::DomainMemoryStatsRet { stats: stats.take(args.max_stats as usize).collect() })
    }
}

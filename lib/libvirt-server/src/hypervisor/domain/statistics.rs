//! Statistics of many domains in one call.

use super::{Domain, Hypervisor};
use crate::hypervisor::{Refusal, Reply, Scope};
use libvirt_protocol::enums::{DomainState, ErrorNumber, VcpuState};
use libvirt_protocol::flags::{ConnectGetAllDomainStatsFlags, ConnectListAllDomainsFlags, DomainStatsTypes};
use libvirt_protocol::params::{TypedParam, TypedValue};
use libvirt_protocol::{remote, types};

/// Figures of a disk and of an interface that has done nothing.
const DISK: [&str; 8] =
    ["rd.reqs", "rd.bytes", "rd.times", "wr.reqs", "wr.bytes", "wr.times", "fl.reqs", "fl.times"];
const INTERFACE: [&str; 8] =
    ["rx.bytes", "rx.pkts", "rx.errs", "rx.drop", "tx.bytes", "tx.pkts", "tx.errs", "tx.drop"];

impl Hypervisor {
    pub(crate) fn get_all_domain_stats(
        &mut self,
        args: remote::ConnectGetAllDomainStatsArgs<'_>,
    ) -> Reply<remote::ConnectGetAllDomainStats> {
        use ConnectGetAllDomainStatsFlags as F;
        let asked: Vec<_> = args.doms.iter().map(|dom| dom.uuid).collect();
        // The other flags of this call filter as those of the list do, in the same bits.
        let filter = args.flags - (F::NOWAIT | F::BACKING | F::ENFORCE_STATS);
        let filter = ConnectListAllDomainsFlags::from_bits_retain(filter.bits());
        let known = DomainStatsTypes::all().iter_names().fold(0, |all, (_, group)| all | group.bits());
        let unknown = args.stats.bits() & !known;
        if args.flags.contains(F::ENFORCE_STATS) && unknown != 0 && self.scope == Scope::Complete {
            let text = format!("Stats types bits 0x{unknown:x} are not supported by this daemon");
            return Err(Refusal::new(ErrorNumber::ArgumentUnsupported, text));
        }
        let backing = args.flags.contains(F::BACKING);
        let wanted = |domain: &&Domain| {
            let listed = asked.is_empty() || asked.contains(&domain.config.uuid);
            // The test driver passes its filter over.
            listed && (self.scope == Scope::TestDriver || super::lists::passes(domain, filter))
        };
        let record = |domain: &Domain| {
            let params = match self.scope {
                Scope::TestDriver => state(domain),
                // Who does not want to wait for a job hears what is known without its domain.
                Scope::Complete if args.flags.contains(F::NOWAIT) && self.is_at_work(domain.config.uuid) => {
                    state(domain)
                }
                Scope::Complete => self.statistics(domain, args.stats, backing),
            };
            types::DomainStatsRecord { dom: domain.wire(), params: params.into() }
        };
        let ret_stats = self.domains.values().filter(wanted).map(record).collect();
        Ok(remote::ConnectGetAllDomainStatsRet { ret_stats })
    }

    /// The groups that are asked for; all of them when none is named.
    fn statistics(
        &self,
        domain: &Domain,
        groups: DomainStatsTypes,
        backing: bool,
    ) -> Vec<TypedParam<'static>> {
        use DomainStatsTypes as G;
        let wants = |group| groups.is_empty() || groups.contains(group);
        let config = &domain.config;
        let active = domain.is_active();
        let mut out = Vec::new();
        if wants(G::STATE) {
            out.extend(state(domain));
        }
        if wants(G::CPU_TOTAL) && active {
            let time = self.microseconds() * 1000;
            out.push(TypedParam::new("cpu.time", time));
            out.push(TypedParam::new("cpu.user", time / 2));
            out.push(TypedParam::new("cpu.system", time / 4));
        }
        if wants(G::BALLOON) {
            out.push(TypedParam::new("balloon.current", config.memory_kib));
            out.push(TypedParam::new("balloon.maximum", config.max_memory_kib));
        }
        if wants(G::VCPU) {
            out.push(TypedParam::new("vcpu.current", config.vcpus));
            out.push(TypedParam::new("vcpu.maximum", config.max_vcpus));
            for vcpu in (0..config.vcpus).filter(|_| active) {
                let running = match domain.state {
                    DomainState::Running => VcpuState::Running,
                    _ => VcpuState::Blocked,
                };
                out.push(TypedParam::new(format!("vcpu.{vcpu}.state"), i32::from(running)));
                let time = self.microseconds() * 1000 / u64::from(config.vcpus);
                out.push(TypedParam::new(format!("vcpu.{vcpu}.time"), time));
            }
        }
        if wants(G::INTERFACE) && active {
            let interfaces = config.devices.iter().filter(|device| device.name == "interface");
            let names: Vec<&str> =
                interfaces.map(|found| found.path("target/@dev").unwrap_or_default()).collect();
            out.push(TypedParam::new("net.count", crate::hypervisor::count(names.len())));
            for (number, name) in names.iter().enumerate() {
                out.push(TypedParam::new(
                    format!("net.{number}.name"),
                    TypedValue::String((*name).to_owned().into()),
                ));
                let figures = INTERFACE.iter().map(|of| TypedParam::new(format!("net.{number}.{of}"), 0_u64));
                out.extend(figures);
            }
        }
        if wants(G::BLOCK) {
            let disks = config.devices.iter().filter(|device| device.name == "disk");
            // A disk, and, for who asks, the files below it: each with its place.
            let disks: Vec<_> = disks
                .flat_map(|disk| {
                    let below = disk.find("backingStore").filter(|_| backing);
                    let below = std::iter::successors(below, |store| store.find("backingStore"));
                    std::iter::once((disk, disk, 0))
                        .chain((1_u32..).zip(below).map(move |(at, store)| (disk, store, at)))
                })
                .filter(|(_, file, at)| *at == 0 || file.find("source").is_some())
                .collect();
            out.push(TypedParam::new("block.count", crate::hypervisor::count(disks.len())));
            for (number, (disk, file, at)) in disks.iter().enumerate() {
                let text = |of: &str, value: &str| {
                    let value = TypedValue::String(value.to_owned().into());
                    TypedParam::new(format!("block.{number}.{of}"), value)
                };
                let name = disk.path("target/@dev").unwrap_or_default();
                out.push(text("name", name));
                out.extend(file.path("source/@file").map(|file| text("path", file)));
                out.extend((*at > 0).then(|| TypedParam::new(format!("block.{number}.backingIndex"), *at)));
                if active {
                    let figures =
                        DISK.iter().map(|of| TypedParam::new(format!("block.{number}.{of}"), 0_u64));
                    out.extend(figures);
                }
                let size = self.capacity(&domain.wire(), name);
                for of in ["allocation", "capacity", "physical"] {
                    out.push(TypedParam::new(format!("block.{number}.{of}"), size));
                }
            }
        }
        if let Some(mode) = domain.dirty_rate.filter(|_| wants(G::DIRTYRATE)) {
            // Nothing runs, so nothing is written. 2: `VIR_DOMAIN_DIRTYRATE_MEASURED`.
            out.push(TypedParam::new("dirtyrate.calc_status", 2_i32));
            out.push(TypedParam::new("dirtyrate.calc_mode", TypedValue::String(mode.into())));
            out.push(TypedParam::new("dirtyrate.megabytes_per_second", 0_i64));
        }
        if wants(G::IOTHREAD) && active {
            out.push(TypedParam::new("iothread.count", crate::hypervisor::count(config.iothreads.len())));
        }
        out
    }
}

fn state(domain: &Domain) -> Vec<TypedParam<'static>> {
    let state: i32 = domain.state.into();
    vec![TypedParam::new("state.state", state), TypedParam::new("state.reason", domain.reason)]
}

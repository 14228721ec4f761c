//! Virtual processors and I/O threads, and where they may run.

use super::config::Cpus;
use super::read::{HOST_CPUS, map_length};
use super::{Config, Hypervisor, Impact};
use crate::hypervisor::{Refusal, Reply, Scope};
use libvirt_protocol::enums::ErrorDomain;
use libvirt_protocol::flags::{DomainModificationImpact, DomainVcpuFlags};
use libvirt_protocol::parameters::{DOMAIN_TUNABLE_CPU_EMULATORPIN, DOMAIN_TUNABLE_CPU_VCPUPIN};
use libvirt_protocol::params::{TypedParam, TypedValue};
use libvirt_protocol::xdr::Bytes;
use libvirt_protocol::{remote, types};

/// How many processors the host says that a domain can have (`virConnectGetMaxVcpus`). Definitions may say more.
pub(in crate::hypervisor) const SUPPORTED_VCPUS: u32 = 32;

impl Hypervisor {
    pub(crate) fn domain_get_max_vcpus(
        &mut self,
        args: remote::DomainGetMaxVcpusArgs<'_>,
    ) -> Reply<remote::DomainGetMaxVcpus> {
        Ok(remote::DomainGetMaxVcpusRet { num: self.domain(&args.dom)?.config.max_vcpus.cast_signed() })
    }

    pub(crate) fn domain_get_vcpus_flags(
        &mut self,
        args: remote::DomainGetVcpusFlagsArgs<'_>,
    ) -> Reply<remote::DomainGetVcpusFlags> {
        self.only(args.flags.bits(), 1 | 2 | 4, "testDomainGetVcpusFlags")?;
        let domain = self.domain(&args.dom)?;
        let impact = domain.impact(DomainModificationImpact::from_bits_retain(args.flags.bits() & 3))?;
        if args.flags.contains(DomainVcpuFlags::GUEST) {
            // What the guest uses of them, its agent says.
            let all = self.active(&args.dom)?;
            let used = (0..all.config.vcpus).filter(|cpu| !all.agent.idle.contains(cpu)).count();
            return Ok(remote::DomainGetVcpusFlagsRet { num: crate::hypervisor::count(used).cast_signed() });
        }
        let config = domain.asked(impact);
        let most = args.flags.contains(DomainVcpuFlags::MAXIMUM);
        let num = if most { config.max_vcpus } else { config.vcpus };
        Ok(remote::DomainGetVcpusFlagsRet { num: num.cast_signed() })
    }

    pub(crate) fn domain_set_vcpus(
        &mut self,
        args: remote::DomainSetVcpusArgs<'_>,
    ) -> Reply<remote::DomainSetVcpus> {
        supported(args.nvcpus, "virDomainSetVcpus")?;
        self.set_vcpus(&args.dom, args.nvcpus, DomainVcpuFlags::LIVE)
    }

    pub(crate) fn domain_set_vcpus_flags(
        &mut self,
        args: remote::DomainSetVcpusFlagsArgs<'_>,
    ) -> Reply<remote::DomainSetVcpusFlags> {
        self.only(args.flags.bits(), 1 | 2 | 4, "testDomainSetVcpusFlags")?;
        supported(args.nvcpus, "virDomainSetVcpusFlags")?;
        self.set_vcpus(&args.dom, args.nvcpus, args.flags)
    }

    fn set_vcpus(
        &mut self,
        dom: &types::Domain<'_>,
        count: u32,
        flags: DomainVcpuFlags,
    ) -> Result<(), Refusal> {
        let domain = self.domain_mut(dom)?;
        let impact = domain.impact(DomainModificationImpact::from_bits_retain(flags.bits() & 3))?;
        if flags.contains(DomainVcpuFlags::MAXIMUM) {
            domain.change(Impact { live: false, config: true }, |config| {
                config.max_vcpus = count;
                config.vcpus = config.vcpus.min(count);
            });
            return Ok(());
        }
        let mut most = u32::MAX;
        if impact.live {
            most = most.min(domain.config.max_vcpus);
        }
        if impact.config {
            most = most.min(domain.asked(Impact { live: false, config: true }).max_vcpus);
        }
        if count > most {
            let text = format!("requested cpu amount exceeds maximum ({count} > {most})");
            return Err(Refusal::argument(text));
        }
        if flags.contains(DomainVcpuFlags::GUEST) {
            let all = self.active_mut(dom)?;
            all.agent.idle = (count..all.config.vcpus).collect();
            return Ok(());
        }
        let before = domain.config.vcpus;
        domain.change(impact, |config| {
            config.vcpus = count;
            if flags.contains(DomainVcpuFlags::HOTPLUGGABLE) {
                config.list_vcpus();
            }
        });
        let dom = domain.wire();
        if impact.live {
            (count..before).rev().for_each(|cpu| self.tell_vcpu_removed(&dom, cpu));
        }
        Ok(())
    }

    pub(crate) fn domain_set_vcpu(
        &mut self,
        args: remote::DomainSetVcpuArgs<'_>,
    ) -> Reply<remote::DomainSetVcpu> {
        let cpus = Cpus::parse(&args.cpumap.to_str_lossy()).0;
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let config = domain.asked(impact);
        // Processors come and go at the end: those that run are the first ones.
        let (Some(first), Some(last)) = (cpus.first().copied(), cpus.last().copied()) else {
            return Err(Refusal::argument("cpumap doesn't contain any vcpus"));
        };
        let (edge, count) = match args.state {
            0 => (last.saturating_add(1), first),
            1 => (first, last.saturating_add(1)),
            _ => return Err(Refusal::argument("unsupported state value")),
        };
        if edge != config.vcpus || count == 0 || last >= config.max_vcpus {
            let text = format!("vCPUs '{}' cannot be changed by themselves", args.cpumap);
            return Err(Refusal::argument(text));
        }
        let flags = DomainVcpuFlags::from_bits_retain(args.flags.bits()) | DomainVcpuFlags::HOTPLUGGABLE;
        self.set_vcpus(&args.dom, count, flags)
    }

    pub(crate) fn domain_pin_vcpu(
        &mut self,
        args: remote::DomainPinVcpuArgs<'_>,
    ) -> Reply<remote::DomainPinVcpu> {
        self.pin_vcpu(&args.dom, args.vcpu, &args.cpumap, DomainModificationImpact::LIVE)
    }

    pub(crate) fn domain_pin_vcpu_flags(
        &mut self,
        args: remote::DomainPinVcpuFlagsArgs<'_>,
    ) -> Reply<remote::DomainPinVcpuFlags> {
        self.only(args.flags.bits() & !1, 0, "testDomainPinVcpuFlags")?;
        self.pin_vcpu(&args.dom, args.vcpu, &args.cpumap, args.flags)
    }

    fn pin_vcpu(
        &mut self,
        dom: &types::Domain<'_>,
        vcpu: u32,
        map: &Bytes<'_, 2048>,
        flags: DomainModificationImpact,
    ) -> Result<(), Refusal> {
        let scope = self.scope;
        let domain = self.domain_mut(dom)?;
        // The test driver pins what runs, whatever it is asked.
        let impact = match scope {
            Scope::TestDriver if !domain.is_active() => {
                return Err(Refusal::invalid("cannot pin vcpus on an inactive domain"));
            }
            Scope::TestDriver => Impact { live: true, config: false },
            Scope::Complete => domain.impact(flags)?,
        };
        if vcpu >= domain.config.max_vcpus {
            return Err(Refusal::argument(format!("requested vcpu '{vcpu}' is not present in the domain")));
        }
        let cpus = Cpus::from_map(&map.0);
        domain.change(impact, |config| {
            config.vcpu_pins.insert(vcpu, cpus.clone());
        });
        let (dom, live) = (domain.wire(), impact.live && scope == Scope::Complete);
        self.tell_pinned(&dom, live, DOMAIN_TUNABLE_CPU_VCPUPIN.replace("%u", &vcpu.to_string()), &cpus);
        Ok(())
    }

    pub(crate) fn domain_get_vcpu_pin_info(
        &mut self,
        args: remote::DomainGetVcpuPinInfoArgs<'_>,
    ) -> Reply<remote::DomainGetVcpuPinInfo> {
        let domain = self.domain(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let config = domain.asked(impact);
        let count = config.vcpus.min(args.ncpumaps.max(0).cast_unsigned());
        let length = map_length(args.ncpumaps, args.maplen)?;
        let maps: Vec<u8> = (0..count).flat_map(|number| config.pinned(number).to_map(length)).collect();
        Ok(remote::DomainGetVcpuPinInfoRet { cpumaps: maps.into(), num: count.cast_signed() })
    }

    pub(crate) fn domain_pin_emulator(
        &mut self,
        args: remote::DomainPinEmulatorArgs<'_>,
    ) -> Reply<remote::DomainPinEmulator> {
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let cpus = Cpus::from_map(&args.cpumap.0);
        domain.change(impact, |config| config.emulator_pin = Some(cpus.clone()));
        let (dom, live) = (domain.wire(), impact.live && self.scope == Scope::Complete);
        self.tell_pinned(&dom, live, DOMAIN_TUNABLE_CPU_EMULATORPIN.to_owned(), &cpus);
        Ok(())
    }

    pub(crate) fn domain_get_emulator_pin_info(
        &mut self,
        args: remote::DomainGetEmulatorPinInfoArgs<'_>,
    ) -> Reply<remote::DomainGetEmulatorPinInfo> {
        let domain = self.domain(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let cpus = domain.asked(impact).emulator_pin.clone().unwrap_or_else(|| Cpus::first(HOST_CPUS));
        let map = cpus.to_map(map_length(1, args.maplen)?);
        Ok(remote::DomainGetEmulatorPinInfoRet { cpumaps: map.into(), ret: 1 })
    }

    pub(crate) fn domain_get_io_thread_info(
        &mut self,
        args: remote::DomainGetIoThreadInfoArgs<'_>,
    ) -> Reply<remote::DomainGetIoThreadInfo> {
        let domain = self.domain(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let config = domain.asked(impact);
        let one = |id: &u32| {
            let cpus = config.iothread_pins.get(id).cloned();
            // A thread that nobody pinned shows as many processors as the domain may have.
            let cpus = cpus.unwrap_or_else(|| Cpus::first(config.max_vcpus.min(u8::BITS)));
            types::DomainIoThreadInfo { iothread_id: *id, cpumap: cpus.to_map(1).into() }
        };
        let info: Vec<_> = config.iothreads.iter().map(one).collect();
        let ret = crate::hypervisor::count(info.len());
        Ok(remote::DomainGetIoThreadInfoRet { info: info.into(), ret })
    }

    pub(crate) fn domain_add_io_thread(
        &mut self,
        args: remote::DomainAddIoThreadArgs<'_>,
    ) -> Reply<remote::DomainAddIoThread> {
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let id = args.iothread_id;
        if id == 0 {
            return Err(Refusal::argument("invalid value of 0 for iothread_id"));
        }
        let taken = impact.live && domain.config.iothreads.contains(&id)
            || impact.config && domain.persistent_config().iothreads.contains(&id);
        if taken {
            return Err(Refusal::argument(format!("an IOThread is already using iothread_id '{id}'"))
                .of(ErrorDomain::Domain));
        }
        domain.change(impact, |config| {
            config.iothreads.push(id);
            config.iothreads_chosen = true;
        });
        Ok(())
    }

    pub(crate) fn domain_del_io_thread(
        &mut self,
        args: remote::DomainDelIoThreadArgs<'_>,
    ) -> Reply<remote::DomainDelIoThread> {
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let id = args.iothread_id;
        if id == 0 {
            return Err(Refusal::argument("invalid value of 0 for iothread_id"));
        }
        if !domain.asked(impact).iothreads.contains(&id) {
            return Err(Refusal::argument(format!("cannot find IOThread '{id}' in iothreadids list"))
                .of(ErrorDomain::Domain));
        }
        domain.change(impact, |config| {
            config.iothreads.retain(|known| *known != id);
            config.iothread_pins.remove(&id);
        });
        Ok(())
    }

    pub(crate) fn domain_pin_io_thread(
        &mut self,
        args: remote::DomainPinIoThreadArgs<'_>,
    ) -> Reply<remote::DomainPinIoThread> {
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let id = args.iothreads_id;
        if !domain.asked(impact).iothreads.contains(&id) {
            return Err(Refusal::argument(format!("iothreadid {id} not found")));
        }
        let cpus = Cpus::from_map(&args.cpumap.0);
        domain.change(impact, |config| {
            config.iothread_pins.insert(id, cpus.clone());
        });
        Ok(())
    }

    pub(crate) fn domain_set_io_thread_params(
        &mut self,
        args: remote::DomainSetIoThreadParamsArgs<'_>,
    ) -> Reply<remote::DomainSetIoThreadParams> {
        let complete = self.scope == Scope::Complete;
        let domain = self.domain_mut(&args.dom)?;
        let id = args.iothread_id;
        let impact = if complete { domain.impact(args.flags)? } else { Impact { live: true, config: false } };
        if !domain.asked(impact).iothreads.contains(&id) {
            return Err(Refusal::argument(format!("cannot find IOThread '{id}' in iothreadids list"))
                .of(ErrorDomain::Domain));
        }
        if complete {
            domain.change(impact, |config| config.keep(&format!("iothread {id}"), args.params.iter()));
        }
        Ok(())
    }

    /// A running domain's processors were bound to others of the host.
    fn tell_pinned(&mut self, dom: &types::Domain<'static>, live: bool, name: String, cpus: &Cpus) {
        if live {
            let value = TypedValue::String(cpus.print().into());
            self.tell_tunable(dom, &[TypedParam::new(name, value)]);
        }
    }
}

/// Whether so many processors can be asked for, whatever the domain.
fn supported(count: u32, function: &str) -> Result<(), Refusal> {
    match count {
        0 => Err(Refusal::zero("nvcpus", function)),
        1..=SUPPORTED_VCPUS => Ok(()),
        _ => Err(Refusal::argument(format!(
            "requested cpu amount exceeds maximum supported amount ({count} > {SUPPORTED_VCPUS})"
        ))),
    }
}

impl Config {
    /// Lists the processors one by one: the first stays, the others can go while the domain runs.
    fn list_vcpus(&mut self) {
        let word = |yes: bool| if yes { "yes" } else { "no" };
        let one = |id: u32| {
            crate::xml::Element::new("vcpu")
                .with("id", id)
                .with("enabled", word(id < self.vcpus))
                .with("hotpluggable", word(id > 0))
        };
        let list = crate::xml::Element::new("vcpus").children((0..self.max_vcpus).map(one));
        self.others.retain(|element| element.name != "vcpus");
        self.others.push(list);
    }
}

//! Typed parameters: memory limits, block and network throttling, the scheduler, events of the processor.

use super::{Config, Hypervisor};
use crate::hypervisor::{Refusal, Reply, Scope};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::params::{TypedParam, TypedValue};
use libvirt_protocol::xdr::{IntoOwned, List};
use libvirt_protocol::{remote, types};

/// libvirt's "no limit" (`VIR_DOMAIN_MEMORY_PARAM_UNLIMITED`), in KiB.
const UNLIMITED: u64 = 9_007_199_254_740_991;

/// A group of parameters and their defaults, in libvirt's order.
fn defaults(group: &str) -> Vec<TypedParam<'static>> {
    let zero = |name: &'static str| TypedParam::new(name, 0_u64);
    match group {
        "memory" => ["hard_limit", "soft_limit", "swap_hard_limit"]
            .map(|name| TypedParam::new(name, UNLIMITED))
            .to_vec(),
        "blkio" => {
            let mut all = vec![TypedParam::new("weight", 0_u32)];
            let lists = [
                "device_weight",
                "device_read_iops_sec",
                "device_write_iops_sec",
                "device_read_bytes_sec",
                "device_write_bytes_sec",
            ];
            all.extend(lists.map(|name| TypedParam::new(name, "")));
            all
        }
        // The test driver's weight.
        "scheduler" => vec![TypedParam::new("weight", 50_u32)],
        "numa" => vec![TypedParam::new("numa_mode", 0_i32), TypedParam::new("numa_nodeset", "")],
        "interface" => [
            "inbound.average",
            "inbound.peak",
            "inbound.burst",
            "inbound.floor",
            "outbound.average",
            "outbound.peak",
            "outbound.burst",
        ]
        .map(|name| TypedParam::new(name, 0_u32))
        .to_vec(),
        "blkdeviotune" => {
            let base = [
                "total_bytes_sec",
                "read_bytes_sec",
                "write_bytes_sec",
                "total_iops_sec",
                "read_iops_sec",
                "write_iops_sec",
            ];
            let most = [
                "total_bytes_sec_max",
                "read_bytes_sec_max",
                "write_bytes_sec_max",
                "total_iops_sec_max",
                "read_iops_sec_max",
                "write_iops_sec_max",
            ];
            let length = [
                "total_bytes_sec_max_length",
                "read_bytes_sec_max_length",
                "write_bytes_sec_max_length",
                "total_iops_sec_max_length",
                "read_iops_sec_max_length",
                "write_iops_sec_max_length",
            ];
            let mut all: Vec<_> = base.into_iter().chain(most).map(zero).collect();
            all.push(zero("size_iops_sec"));
            all.push(TypedParam::new("group_name", ""));
            all.extend(length.map(zero));
            all
        }
        "perf" => [
            "cmt",
            "mbmt",
            "mbml",
            "cpu_cycles",
            "instructions",
            "cache_references",
            "cache_misses",
            "branch_instructions",
            "branch_misses",
            "bus_cycles",
            "stalled_cycles_frontend",
            "stalled_cycles_backend",
            "ref_cpu_cycles",
            "cpu_clock",
            "task_clock",
            "page_faults",
            "context_switches",
            "cpu_migrations",
            "page_faults_min",
            "page_faults_maj",
            "alignment_faults",
            "emulation_faults",
        ]
        .map(|name| TypedParam::new(name, false))
        .to_vec(),
        _ => Vec::new(),
    }
}

impl Config {
    /// A group's parameters: what was set, else the defaults.
    fn parameters(&self, group: &str, scope: &str) -> Vec<TypedParam<'static>> {
        let mut all = defaults(group);
        for parameter in &mut all {
            let key = (scope.to_owned(), parameter.field.to_string());
            if let Some(value) = self.parameters.get(&key) {
                parameter.value = value.clone();
            }
        }
        all
    }

    /// Keeps parameters that are known to be of the group.
    pub(super) fn keep<'a>(&mut self, scope: &str, given: impl Iterator<Item = TypedParam<'a>>) {
        for parameter in given {
            let key = (scope.to_owned(), parameter.field.to_string());
            self.parameters.insert(key, parameter.value.into_owned());
        }
    }

    fn parameter(&self, scope: &str, name: &str) -> Option<&TypedValue<'static>> {
        self.parameters.get(&(scope.to_owned(), name.to_owned()))
    }

    /// A number that was set, where it says something.
    pub(super) fn set_number(&self, scope: &str, name: &str) -> Option<i64> {
        self.parameter(scope, name).and_then(TypedValue::as_i64).filter(|number| *number != 0)
    }

    /// The elements at the top of the document that hold parameters.
    pub(super) fn tuning(&self) -> Vec<Element> {
        let mut found = Vec::new();
        if let Some(weight) = self.set_number("blkio", "weight") {
            found.push(Element::new("blkiotune").child(Element::text("weight", weight)));
        }
        let limits = ["hard_limit", "soft_limit", "swap_hard_limit"].into_iter().filter_map(|name| {
            let limit = self.set_number("memory", name)?;
            (limit.unsigned_abs() < UNLIMITED).then(|| Element::text(name, limit).with("unit", "KiB"))
        });
        let limits: Vec<Element> = limits.collect();
        if !limits.is_empty() {
            found.push(Element::new("memtune").children(limits));
        }
        let events = defaults("perf").into_iter().filter_map(|event| {
            let enabled = self.parameter("perf", &event.field.to_string())?.as_i64()? != 0;
            let event = Element::new("event").with("name", event.field);
            Some(event.with("enabled", if enabled { "yes" } else { "no" }))
        });
        let events: Vec<Element> = events.collect();
        if !events.is_empty() {
            found.push(Element::new("perf").children(events));
        }
        found
    }

    /// A device with the parameters that were set for it.
    pub(super) fn tuned(&self, device: &Element) -> Element {
        let name = device.path("target/@dev").unwrap_or_default();
        let mut tuned = device.clone();
        match device.name.as_str() {
            "disk" => {
                let scope = format!("disk {name}");
                let known = defaults("blkdeviotune");
                let set = known.iter().filter_map(|parameter| {
                    let name = parameter.field.to_string();
                    Some(Element::text(&name, self.set_number(&scope, &name)?))
                });
                let set: Vec<Element> = set.collect();
                if !set.is_empty() {
                    super::devices::put(&mut tuned, Element::new("iotune").children(set));
                }
            }
            "interface" => {
                let scope = format!("interface {name}");
                let mut bandwidth = Element::new("bandwidth");
                for way in ["inbound", "outbound"] {
                    let mut limits = Element::new(way);
                    for limit in ["average", "peak", "burst", "floor"] {
                        if let Some(number) = self.set_number(&scope, &format!("{way}.{limit}")) {
                            limits.set(limit, number);
                        }
                    }
                    bandwidth.children.extend((!limits.attributes.is_empty()).then_some(limits));
                }
                if !bandwidth.children.is_empty() {
                    super::devices::put(&mut tuned, bandwidth);
                }
            }
            _ => {}
        }
        tuned
    }

    /// Takes the parameters out of the elements that hold them.
    pub(super) fn take_tuning(&mut self) {
        let mut take = |element: &str, scope: &str, name: &str| {
            let found = self.others.iter_mut().find(|known| known.name == element);
            let Some(found) = found else { return };
            let Some(value) = found.text_of(name).and_then(|text| text.trim().parse::<u64>().ok()) else {
                return;
            };
            found.children.retain(|child| child.name != name);
            let value = if scope == "blkio" {
                TypedValue::UInt(u32::try_from(value).unwrap_or(u32::MAX))
            } else {
                TypedValue::ULLong(value)
            };
            self.parameters.insert((scope.to_owned(), name.to_owned()), value);
        };
        take("blkiotune", "blkio", "weight");
        for name in ["hard_limit", "soft_limit", "swap_hard_limit"] {
            take("memtune", "memory", name);
        }
        let emptied = |element: &Element| {
            matches!(element.name.as_str(), "blkiotune" | "memtune") && element.children.is_empty()
        };
        self.others.retain(|element| !emptied(element));
    }
}

/// Demands that all parameters are of the group.
fn known<'a, const MAX: u32>(group: &str, given: &List<'a, TypedParam<'a>, MAX>) -> Result<(), Refusal> {
    let known = defaults(group);
    let stranger = given.iter().find(|given| !known.iter().any(|known| known.field == given.field));
    match stranger {
        Some(stranger) => Err(Refusal::argument(format!("parameter '{}' not supported", stranger.field))),
        None => Ok(()),
    }
}

/// What a question of this form is answered with: how many there are when there is no room, else the first so many.
fn answer<const MAX: u32>(
    all: Vec<TypedParam<'static>>,
    room: i32,
) -> (List<'static, TypedParam<'static>, MAX>, i32) {
    match usize::try_from(room).unwrap_or(0) {
        0 => (List::default(), all.len() as i32),
        room => (all.into_iter().take(room).collect(), 0),
    }
}

/// Calls of the usual form: ask for a group, set a group.
macro_rules! told {
    ($group:literal: $get:ident $get_args:ident -> $get_ret:ident) => {
        impl Hypervisor {
            pub(crate) fn $get(
                &mut self,
                args: remote::$get_args<'_>,
            ) -> Result<remote::$get_ret<'static>, Refusal> {
                let domain = self.domain(&args.dom)?;
                let impact = domain.impact(args.flags.difference(TYPED_STRINGS))?;
                let (params, nparams) = answer(domain.asked(impact).parameters($group, $group), args.nparams);
                Ok(remote::$get_ret { params, nparams })
            }
        }
    };
}

macro_rules! group {
    ($group:literal: $get:ident $get_args:ident -> $get_ret:ident, $set:ident $set_args:ident) => {
        told!($group: $get $get_args -> $get_ret);

        impl Hypervisor {
            pub(crate) fn $set(&mut self, args: remote::$set_args<'_>) -> Result<(), Refusal> {
                let domain = self.domain_mut(&args.dom)?;
                let impact = domain.impact(args.flags)?;
                known($group, &args.params)?;
                domain.change(impact, |config| config.keep($group, args.params.iter()));
                Ok(())
            }
        }
    };
}

/// `VIR_TYPED_PARAM_STRING_OKAY`: the client can read texts.
const TYPED_STRINGS: libvirt_protocol::flags::DomainModificationImpact =
    libvirt_protocol::flags::DomainModificationImpact::from_bits_retain(4);

group!("memory": domain_get_memory_parameters DomainGetMemoryParametersArgs -> DomainGetMemoryParametersRet,
       domain_set_memory_parameters DomainSetMemoryParametersArgs);
group!("blkio": domain_get_blkio_parameters DomainGetBlkioParametersArgs -> DomainGetBlkioParametersRet,
       domain_set_blkio_parameters DomainSetBlkioParametersArgs);

told!("numa": domain_get_numa_parameters DomainGetNumaParametersArgs -> DomainGetNumaParametersRet);

impl Hypervisor {
    pub(crate) fn domain_set_numa_parameters(
        &mut self,
        args: remote::DomainSetNumaParametersArgs<'_>,
    ) -> Reply<remote::DomainSetNumaParameters> {
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        if !args.params.iter().any(|parameter| parameter.field == "numa_nodeset") {
            let text = "nodeset for NUMA memory tuning must be set if 'placement' is 'static'";
            return Err(Refusal::new(ErrorNumber::ConfigUnsupported, text).of(ErrorDomain::Domain));
        }
        known("numa", &args.params)?;
        domain.change(impact, |config| config.keep("numa", args.params.iter()));
        Ok(())
    }

    pub(crate) fn domain_get_interface_parameters(
        &mut self,
        args: remote::DomainGetInterfaceParametersArgs<'_>,
    ) -> Reply<remote::DomainGetInterfaceParameters> {
        let scope = self.interface_scope(&args.dom, &args.device.to_str_lossy())?;
        let domain = self.domain(&args.dom)?;
        let impact = domain.impact(args.flags.difference(TYPED_STRINGS))?;
        let (params, nparams) = answer(domain.asked(impact).parameters("interface", &scope), args.nparams);
        Ok(remote::DomainGetInterfaceParametersRet { params, nparams })
    }

    pub(crate) fn domain_set_interface_parameters(
        &mut self,
        args: remote::DomainSetInterfaceParametersArgs<'_>,
    ) -> Reply<remote::DomainSetInterfaceParameters> {
        let scope = self.interface_scope(&args.dom, &args.device.to_str_lossy())?;
        known("interface", &args.params)?;
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        domain.change(impact, |config| config.keep(&scope, args.params.iter()));
        Ok(())
    }

    fn interface_scope(&self, dom: &types::Domain<'_>, device: &str) -> Result<String, Refusal> {
        match self.domain(dom)?.config.interface(device) {
            // By name, even where the client gave the address.
            Some(found) => Ok(format!("interface {}", found.path("target/@dev").unwrap_or(device))),
            None => Err(Refusal::new(
                ErrorNumber::OperationFailed,
                format!("no interface matching name or MAC '{device}' found"),
            )),
        }
    }

    pub(crate) fn domain_get_block_io_tune(
        &mut self,
        args: remote::DomainGetBlockIoTuneArgs<'_>,
    ) -> Reply<remote::DomainGetBlockIoTune> {
        let disk = args.disk.as_ref().map(|disk| disk.to_string()).unwrap_or_default();
        let domain = self.domain(&args.dom)?;
        let (params, nparams) = if args.nparams == 0 {
            answer(defaults("blkdeviotune"), 0)
        } else {
            let impact = domain.impact(args.flags.difference(TYPED_STRINGS))?;
            let config = domain.asked(impact);
            known_disk(config, &disk)?;
            answer(config.parameters("blkdeviotune", &format!("disk {disk}")), args.nparams)
        };
        Ok(remote::DomainGetBlockIoTuneRet { params, nparams })
    }

    pub(crate) fn domain_set_block_io_tune(
        &mut self,
        args: remote::DomainSetBlockIoTuneArgs<'_>,
    ) -> Reply<remote::DomainSetBlockIoTune> {
        let disk = args.disk.to_string();
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let config = domain.asked(impact);
        known_disk(config, &disk)?;
        let scope = format!("disk {disk}");
        let value = |name: &str| {
            let given = args.params.iter().find(|parameter| parameter.field == name);
            let kept = config.parameters.get(&(scope.clone(), name.to_owned())).cloned();
            given.map(|parameter| parameter.value.into_owned()).or(kept).and_then(|value| value.as_i64())
        };
        for name in [
            "total_bytes_sec",
            "read_bytes_sec",
            "write_bytes_sec",
            "total_iops_sec",
            "read_iops_sec",
            "write_iops_sec",
        ] {
            if value(name).unwrap_or(0) > value(&format!("{name}_max")).unwrap_or(0) {
                let text = format!("{name} cannot be set higher than {name}_max ");
                return Err(Refusal::argument(text));
            }
        }
        known("blkdeviotune", &args.params)?;
        domain.change(impact, |config| config.keep(&scope, args.params.iter()));
        Ok(())
    }

    pub(crate) fn domain_get_perf_events(
        &mut self,
        args: remote::DomainGetPerfEventsArgs<'_>,
    ) -> Reply<remote::DomainGetPerfEvents> {
        let domain = self.domain(&args.dom)?;
        let impact = domain.impact(args.flags.difference(TYPED_STRINGS))?;
        let params = domain.asked(impact).parameters("perf", "perf");
        Ok(remote::DomainGetPerfEventsRet { params: params.into() })
    }

    pub(crate) fn domain_set_perf_events(
        &mut self,
        args: remote::DomainSetPerfEventsArgs<'_>,
    ) -> Reply<remote::DomainSetPerfEvents> {
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        known("perf", &args.params)?;
        domain.change(impact, |config| config.keep("perf", args.params.iter()));
        Ok(())
    }

    pub(crate) fn domain_get_scheduler_type(
        &mut self,
        args: remote::DomainGetSchedulerTypeArgs<'_>,
    ) -> Reply<remote::DomainGetSchedulerType> {
        self.domain(&args.dom)?;
        Ok(remote::DomainGetSchedulerTypeRet { kind: "fair".into(), nparams: 1 })
    }

    pub(crate) fn domain_get_scheduler_parameters(
        &mut self,
        args: remote::DomainGetSchedulerParametersArgs<'_>,
    ) -> Reply<remote::DomainGetSchedulerParameters> {
        self.active(&args.dom)?;
        Ok(remote::DomainGetSchedulerParametersRet { params: vec![TypedParam::new("weight", 50_u32)].into() })
    }

    pub(crate) fn domain_get_scheduler_parameters_flags(
        &mut self,
        args: remote::DomainGetSchedulerParametersFlagsArgs<'_>,
    ) -> Reply<remote::DomainGetSchedulerParametersFlags> {
        // The test driver's reader knows no flag, and its weight is what it is.
        let flags = args.flags.bits();
        if self.scope == Scope::Complete {
            let domain = self.domain(&args.dom)?;
            let impact = domain.impact(args.flags.difference(TYPED_STRINGS))?;
            let params = domain.asked(impact).parameters("scheduler", "scheduler").into();
            return Ok(remote::DomainGetSchedulerParametersFlagsRet { params });
        }
        if flags & !(1 | 4) != 0 {
            return Err(Refusal::flags(flags, "testDomainGetSchedulerParametersFlags"));
        }
        self.active(&args.dom)?;
        let params = vec![TypedParam::new("weight", 50_u32)].into();
        Ok(remote::DomainGetSchedulerParametersFlagsRet { params })
    }

    pub(crate) fn domain_set_scheduler_parameters(
        &mut self,
        args: remote::DomainSetSchedulerParametersArgs<'_>,
    ) -> Reply<remote::DomainSetSchedulerParameters> {
        self.active(&args.dom).map(drop)
    }

    pub(crate) fn domain_set_scheduler_parameters_flags(
        &mut self,
        args: remote::DomainSetSchedulerParametersFlagsArgs<'_>,
    ) -> Reply<remote::DomainSetSchedulerParametersFlags> {
        let complete = self.scope == Scope::Complete;
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        if complete {
            known("scheduler", &args.params)?;
            domain.change(impact, |config| config.keep("scheduler", args.params.iter()));
        }
        Ok(())
    }

    pub(crate) fn domain_block_stats_flags(
        &mut self,
        args: remote::DomainBlockStatsFlagsArgs<'_>,
    ) -> Reply<remote::DomainBlockStatsFlags> {
        let [rd_req, rd_bytes, wr_req, wr_bytes, errs] =
            self.block_stats(&args.dom, &args.path.to_str_lossy())?;
        let all = vec![
            TypedParam::new("rd_bytes", rd_bytes),
            TypedParam::new("rd_operations", rd_req),
            TypedParam::new("wr_bytes", wr_bytes),
            TypedParam::new("wr_operations", wr_req),
            TypedParam::new("errs", errs),
        ];
        let (params, nparams) = answer(all, args.nparams);
        Ok(remote::DomainBlockStatsFlagsRet { params, nparams })
    }

    pub(crate) fn domain_set_lifecycle_action(
        &mut self,
        args: remote::DomainSetLifecycleActionArgs<'_>,
    ) -> Reply<remote::DomainSetLifecycleAction> {
        use libvirt_protocol::enums::{DomainLifecycle, DomainLifecycleAction};
        let name = match args.kind {
            DomainLifecycle::Poweroff => "on_poweroff",
            DomainLifecycle::Reboot => "on_reboot",
            _ => "on_crash",
        };
        let action = match args.action {
            DomainLifecycleAction::Destroy => "destroy",
            DomainLifecycleAction::Restart => "restart",
            DomainLifecycleAction::RestartRename => "rename-restart",
            DomainLifecycleAction::Preserve => "preserve",
            DomainLifecycleAction::CoredumpDestroy => "coredump-destroy",
            _ => "coredump-restart",
        };
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        domain.change(impact, |config| {
            if let Some(element) = config.others.iter_mut().find(|element| element.name == name) {
                element.text = action.to_owned();
            }
        });
        Ok(())
    }
}

fn known_disk(config: &Config, disk: &str) -> Result<(), Refusal> {
    if config.disks().any(|known| known == disk) {
        return Ok(());
    }
    let text = format!("disk '{disk}' was not found in the domain config");
    Err(Refusal::argument(text))
}

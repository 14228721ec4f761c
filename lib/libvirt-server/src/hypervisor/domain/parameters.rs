//! Typed parameters: memory limits, block and network throttling, the scheduler, events of the processor.

use super::{Domain, Hypervisor, Impact};
use crate::hypervisor::{Refusal, Reply};
use libvirt_protocol::enums::ErrorNumber;
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

impl Domain {
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

    /// Keeps the parameters of a group that it knows; `scope` tells apart what has the group more than once.
    fn set_parameters<'a, const MAX: u32>(
        &mut self,
        group: &str,
        scope: &str,
        given: &List<'a, TypedParam<'a>, MAX>,
    ) -> Result<(), Refusal> {
        let known = defaults(group);
        for parameter in given.iter() {
            if !known.iter().any(|known| known.field == parameter.field) {
                let text = format!("parameter '{}' not supported", parameter.field);
                return Err(Refusal::argument(text));
            }
        }
        for parameter in given.iter() {
            let key = (scope.to_owned(), parameter.field.to_string());
            self.parameters.insert(key, parameter.value.into_owned());
        }
        Ok(())
    }
}

/// What a question of this form is answered with: how many there are, or the first so many.
fn answer<const MAX: u32>(
    all: Vec<TypedParam<'static>>,
    room: i32,
) -> (List<'static, TypedParam<'static>, MAX>, i32) {
    let count = all.len() as i32;
    let room = usize::try_from(room).unwrap_or(0);
    (all.into_iter().take(room).collect(), count)
}

/// Calls of the usual form: ask for a group, set a group.
macro_rules! group {
    ($group:literal: $get:ident $get_args:ident -> $get_ret:ident, $set:ident $set_args:ident) => {
        impl Hypervisor {
            pub(crate) fn $get(
                &mut self,
                args: remote::$get_args<'_>,
            ) -> Result<remote::$get_ret<'static>, Refusal> {
                let domain = self.domain(&args.dom)?;
                domain.impact(args.flags.difference(TYPED_STRINGS))?;
                let (params, nparams) = answer(domain.parameters($group, $group), args.nparams);
                Ok(remote::$get_ret { params, nparams })
            }

            pub(crate) fn $set(&mut self, args: remote::$set_args<'_>) -> Result<(), Refusal> {
                let domain = self.domain_mut(&args.dom)?;
                domain.impact(args.flags)?;
                domain.set_parameters($group, $group, &args.params)
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

impl Hypervisor {
    pub(crate) fn domain_get_numa_parameters(
        &mut self,
        args: remote::DomainGetNumaParametersArgs<'_>,
    ) -> Reply<remote::DomainGetNumaParameters> {
        let domain = self.domain(&args.dom)?;
        domain.impact(args.flags.difference(TYPED_STRINGS))?;
        let (params, nparams) = answer(domain.parameters("numa", "numa"), args.nparams);
        Ok(remote::DomainGetNumaParametersRet { params, nparams })
    }

    pub(crate) fn domain_set_numa_parameters(
        &mut self,
        args: remote::DomainSetNumaParametersArgs<'_>,
    ) -> Reply<remote::DomainSetNumaParameters> {
        let domain = self.domain_mut(&args.dom)?;
        domain.impact(args.flags)?;
        if !args.params.iter().any(|parameter| parameter.field == "numa_nodeset") {
            let text = "nodeset for NUMA memory tuning must be set if 'placement' is 'static'";
            return Err(Refusal::new(ErrorNumber::ConfigUnsupported, text));
        }
        domain.set_parameters("numa", "numa", &args.params)
    }

    pub(crate) fn domain_get_interface_parameters(
        &mut self,
        args: remote::DomainGetInterfaceParametersArgs<'_>,
    ) -> Reply<remote::DomainGetInterfaceParameters> {
        let scope = self.interface_scope(&args.dom, &args.device.to_str_lossy())?;
        let domain = self.domain(&args.dom)?;
        let (params, nparams) = answer(domain.parameters("interface", &scope), args.nparams);
        Ok(remote::DomainGetInterfaceParametersRet { params, nparams })
    }

    pub(crate) fn domain_set_interface_parameters(
        &mut self,
        args: remote::DomainSetInterfaceParametersArgs<'_>,
    ) -> Reply<remote::DomainSetInterfaceParameters> {
        let scope = self.interface_scope(&args.dom, &args.device.to_str_lossy())?;
        self.domain_mut(&args.dom)?.set_parameters("interface", &scope, &args.params)
    }

    fn interface_scope(&self, dom: &types::Domain<'_>, device: &str) -> Result<String, Refusal> {
        match self.domain(dom)?.config.interface(device) {
            Some(_) => Ok(format!("interface {device}")),
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
            known_disk(domain, &disk)?;
            answer(domain.parameters("blkdeviotune", &format!("disk {disk}")), args.nparams)
        };
        Ok(remote::DomainGetBlockIoTuneRet { params, nparams })
    }

    pub(crate) fn domain_set_block_io_tune(
        &mut self,
        args: remote::DomainSetBlockIoTuneArgs<'_>,
    ) -> Reply<remote::DomainSetBlockIoTune> {
        let disk = args.disk.to_string();
        let domain = self.domain_mut(&args.dom)?;
        known_disk(domain, &disk)?;
        let scope = format!("disk {disk}");
        let value = |name: &str| {
            let given = args.params.iter().find(|parameter| parameter.field == name);
            let kept = domain.parameters.get(&(scope.clone(), name.to_owned())).cloned();
            given.map(|parameter| parameter.value.into_owned()).or(kept).and_then(|value| number(&value))
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
        domain.set_parameters("blkdeviotune", &scope, &args.params)
    }

    pub(crate) fn domain_get_perf_events(
        &mut self,
        args: remote::DomainGetPerfEventsArgs<'_>,
    ) -> Reply<remote::DomainGetPerfEvents> {
        let domain = self.domain(&args.dom)?;
        domain.impact(args.flags.difference(TYPED_STRINGS))?;
        Ok(remote::DomainGetPerfEventsRet { params: domain.parameters("perf", "perf").into() })
    }

    pub(crate) fn domain_set_perf_events(
        &mut self,
        args: remote::DomainSetPerfEventsArgs<'_>,
    ) -> Reply<remote::DomainSetPerfEvents> {
        let domain = self.domain_mut(&args.dom)?;
        domain.impact(args.flags)?;
        domain.set_parameters("perf", "perf", &args.params)
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
        self.domain(&args.dom)?.impact(args.flags).map(|_: Impact| ())
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

fn known_disk(domain: &Domain, disk: &str) -> Result<(), Refusal> {
    if domain.config.disks().any(|known| known == disk) {
        return Ok(());
    }
    let text = format!("disk '{disk}' was not found in the domain config");
    Err(Refusal::argument(text))
}

fn number(value: &TypedValue<'_>) -> Option<i64> {
    value.as_i64()
}

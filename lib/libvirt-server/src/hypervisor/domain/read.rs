//! What a domain says of itself.

use super::config::Cpus;
use super::{Config, Domain, Hypervisor};
use crate::hypervisor::{Refusal, Reply, Scope};
use libvirt_protocol::enums::{DomainControlState, ErrorDomain, ErrorNumber, VcpuState};
use libvirt_protocol::flags::{DomainMessageType, DomainXmlFlags};
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::xdr::Words;
use libvirt_protocol::{remote, types};

/// Of the host's processors, so many are counted; see the processor map.
pub(super) const HOST_CPUS: u32 = 8;
/// Kinds of machines that new domains should not be.
const OLD_MACHINES: [&str; 1] = ["pc-1.0"];
/// The host's last processor, on which the test driver's guests run.
const LAST_CPU: i32 = 15;

impl Hypervisor {
    /// Microseconds since the epoch: what the test driver makes its figures of.
    pub(super) fn microseconds(&self) -> u64 {
        u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn domain_get_info(
        &mut self,
        args: remote::DomainGetInfoArgs<'_>,
    ) -> Reply<remote::DomainGetInfo> {
        let cpu_time = self.microseconds() * 1000;
        let domain = self.domain(&args.dom)?;
        let state: i32 = domain.state.into();
        Ok(remote::DomainGetInfoRet {
            state: u8::try_from(state).unwrap_or_default(),
            max_mem: domain.config.max_memory_kib,
            memory: domain.config.memory_kib,
            nr_virt_cpu: u16::try_from(domain.config.vcpus).unwrap_or(u16::MAX),
            cpu_time,
        })
    }

    pub(crate) fn domain_get_state(
        &mut self,
        args: remote::DomainGetStateArgs<'_>,
    ) -> Reply<remote::DomainGetState> {
        let Domain { state, reason, .. } = *self.domain(&args.dom)?;
        Ok(remote::DomainGetStateRet { state, reason })
    }

    pub(crate) fn domain_get_control_info(
        &mut self,
        args: remote::DomainGetControlInfoArgs<'_>,
    ) -> Reply<remote::DomainGetControlInfo> {
        self.active(&args.dom)?;
        Ok(remote::DomainGetControlInfoRet { state: DomainControlState::Ok, details: 0, state_time: 0 })
    }

    pub(crate) fn domain_get_os_type(
        &mut self,
        _args: remote::DomainGetOsTypeArgs<'_>,
    ) -> Reply<remote::DomainGetOsType> {
        Ok(remote::DomainGetOsTypeRet { kind: "linux".into() })
    }

    pub(crate) fn domain_get_xml_desc(
        &mut self,
        args: remote::DomainGetXmlDescArgs<'_>,
    ) -> Reply<remote::DomainGetXmlDesc> {
        let xml = self.domain(&args.dom)?.describe(args.flags).print();
        Ok(remote::DomainGetXmlDescRet { xml: xml.into() })
    }

    pub(crate) fn domain_get_autostart(
        &mut self,
        args: remote::DomainGetAutostartArgs<'_>,
    ) -> Reply<remote::DomainGetAutostart> {
        Ok(remote::DomainGetAutostartRet { autostart: self.domain(&args.dom)?.autostart.into() })
    }

    pub(crate) fn domain_is_active(
        &mut self,
        args: remote::DomainIsActiveArgs<'_>,
    ) -> Reply<remote::DomainIsActive> {
        Ok(remote::DomainIsActiveRet { active: self.domain(&args.dom)?.is_active().into() })
    }

    pub(crate) fn domain_is_persistent(
        &mut self,
        args: remote::DomainIsPersistentArgs<'_>,
    ) -> Reply<remote::DomainIsPersistent> {
        Ok(remote::DomainIsPersistentRet { persistent: self.domain(&args.dom)?.persistent.into() })
    }

    pub(crate) fn domain_is_updated(
        &mut self,
        args: remote::DomainIsUpdatedArgs<'_>,
    ) -> Reply<remote::DomainIsUpdated> {
        self.domain(&args.dom)?;
        Ok(remote::DomainIsUpdatedRet { updated: 0 })
    }

    pub(crate) fn domain_get_security_label(
        &mut self,
        args: remote::DomainGetSecurityLabelArgs<'_>,
    ) -> Reply<remote::DomainGetSecurityLabel> {
        let active = self.domain(&args.dom)?.is_active();
        let label = if active { b"libvirt-test".as_slice() } else { b"" };
        Ok(remote::DomainGetSecurityLabelRet { label: terminated(label), enforcing: active.into() })
    }

    pub(crate) fn domain_get_vcpus(
        &mut self,
        args: remote::DomainGetVcpusArgs<'_>,
    ) -> Reply<remote::DomainGetVcpus> {
        let cpu_time = self.microseconds() / 10;
        let domain = self.domain(&args.dom)?;
        if !domain.is_active() {
            return Err(Refusal::invalid("cannot list vcpus for an inactive domain"));
        }
        let length = map_length(args.maxinfo, args.maplen)?;
        let count = domain.config.vcpus.min(args.maxinfo.max(0).cast_unsigned());
        let one = |number: u32| {
            let cpus = domain.config.pinned(number);
            let cpu = match domain.config.vcpu_pins.contains_key(&number) {
                true => cpus.0.last().map_or(-1, |cpu| cpu.cast_signed()),
                false => LAST_CPU,
            };
            types::VcpuInfo { number, state: VcpuState::Running, cpu_time, cpu }
        };
        let maps: Vec<u8> =
            (0..count).flat_map(|number| domain.config.pinned(number).to_map(length)).collect();
        Ok(remote::DomainGetVcpusRet { info: (0..count).map(one).collect(), cpumaps: maps.into() })
    }

    pub(crate) fn domain_block_stats(
        &mut self,
        args: remote::DomainBlockStatsArgs<'_>,
    ) -> Reply<remote::DomainBlockStats> {
        let [rd_req, rd_bytes, wr_req, wr_bytes, errs] =
            self.block_stats(&args.dom, &args.path.to_str_lossy())?;
        Ok(remote::DomainBlockStatsRet { rd_req, rd_bytes, wr_req, wr_bytes, errs })
    }

    /// Read requests and bytes, write requests and bytes, errors: no significance, just enough to differ.
    pub(super) fn block_stats(&self, dom: &types::Domain<'_>, path: &str) -> Result<[i64; 5], Refusal> {
        if path.is_empty() {
            let text = "summary statistics are not supported yet";
            return Err(Refusal::new(ErrorNumber::OperationUnsupported, text));
        }
        let domain = self.active(dom)?;
        if !domain.config.disks().any(|disk| disk == path) {
            return Err(Refusal::argument(format!("invalid path: {path}")));
        }
        let base = i64::try_from(self.microseconds()).unwrap_or(i64::MAX);
        Ok([base / 10, base / 20, base / 30, base / 40, base / 1_000_000 / 2])
    }

    pub(crate) fn domain_interface_stats(
        &mut self,
        args: remote::DomainInterfaceStatsArgs<'_>,
    ) -> Reply<remote::DomainInterfaceStats> {
        let base = i64::try_from(self.microseconds()).unwrap_or(i64::MAX);
        let device = args.device.to_str_lossy();
        let domain = self.active(&args.dom)?;
        if domain.config.interface(&device).is_none() {
            return Err(Refusal::argument(format!("'{device}' is not a known interface")));
        }
        let seconds = base / 1_000_000;
        Ok(remote::DomainInterfaceStatsRet {
            rx_bytes: base / 10,
            rx_packets: base / 100,
            rx_errs: seconds,
            rx_drop: seconds / 2,
            tx_bytes: base / 20,
            tx_packets: base / 110,
            tx_errs: seconds / 3,
            tx_drop: seconds / 4,
        })
    }

    pub(crate) fn domain_get_block_info(
        &mut self,
        args: remote::DomainGetBlockInfoArgs<'_>,
    ) -> Reply<remote::DomainGetBlockInfo> {
        let path = args.path.to_str_lossy();
        let domain = self.domain(&args.dom)?;
        if !domain.config.disks().any(|disk| disk == path) {
            return Err(Refusal::argument(format!("invalid path {path} not assigned to domain")));
        }
        if self.scope == Scope::Complete {
            let size = self.capacity(&args.dom, &path);
            return Ok(remote::DomainGetBlockInfoRet { allocation: size, capacity: size, physical: size });
        }
        const TIB: u64 = 1 << 40;
        // What the test driver answers for every disk.
        Ok(remote::DomainGetBlockInfoRet { allocation: TIB, capacity: 1_099_506_450_432, physical: TIB })
    }

    pub(crate) fn domain_get_disk_errors(
        &mut self,
        args: remote::DomainGetDiskErrorsArgs<'_>,
    ) -> Reply<remote::DomainGetDiskErrors> {
        use libvirt_protocol::enums::DomainDiskErrorCode;
        let domain = self.active(&args.dom)?;
        let disks: Vec<_> = domain.config.disks().map(str::to_owned).collect();
        let nerrors = disks.len() as i32;
        let kinds = [DomainDiskErrorCode::Unspec, DomainDiskErrorCode::NoSpace];
        let found = disks.into_iter().zip(kinds.into_iter().cycle());
        let errors = found.map(|(disk, error)| types::DomainDiskError { disk: disk.into(), error });
        let errors = errors.take(args.maxerrors as usize).collect();
        Ok(remote::DomainGetDiskErrorsRet { errors, nerrors })
    }

    pub(crate) fn domain_get_messages(
        &mut self,
        args: remote::DomainGetMessagesArgs<'_>,
    ) -> Reply<remote::DomainGetMessages> {
        use DomainMessageType as T;
        let domain = self.domain(&args.dom)?;
        let wants = |kind| args.flags.is_empty() || args.flags.contains(kind);
        let mut msgs: Vec<String> = Vec::new();
        if self.scope == Scope::Complete {
            if wants(T::TAINTING) {
                msgs.extend(domain.taints.iter().map(|taint| format!("tainted: {taint}")));
            }
            let os = domain.config.others.iter().find(|element| element.name == "os");
            if let Some(machine) = os.and_then(|os| os.path("type/@machine"))
                && OLD_MACHINES.contains(&machine)
                && wants(T::DEPRECATION)
            {
                msgs.push(format!("deprecated configuration: machine type '{machine}'"));
            }
            // As [`Hypervisor::domain_get_disk_errors`] has them: every second disk is full.
            let full =
                domain.config.disks().skip(1).step_by(2).filter(|_| domain.is_active() && wants(T::IOERRORS));
            msgs.extend(full.map(|disk| format!("I/O error: disk='{disk}', message='enospc'")));
        }
        Ok(remote::DomainGetMessagesRet { msgs: msgs.into_iter().map(Into::into).collect() })
    }

    pub(crate) fn domain_get_cpu_stats(
        &mut self,
        args: remote::DomainGetCpuStatsArgs<'_>,
    ) -> Reply<remote::DomainGetCpuStats> {
        self.only(args.flags.bits(), 4, "testDomainGetCPUStats")?;
        // `REMOTE_DOMAIN_GET_CPU_STATS_NCPUS_MAX` of `remote_protocol.x`.
        if args.ncpus > 128 {
            return Err(Refusal::internal("ncpus too large").of(ErrorDomain::Rpc));
        }
        let domain = self.active(&args.dom)?;
        const TOTAL: u64 = 48_772_617_035;
        const GUEST: u64 = 46_303_481_255;
        let params: Vec<TypedParam<'static>>;
        let per_cpu;
        if args.start_cpu == -1 {
            per_cpu = 3;
            params = vec![
                TypedParam::new("cpu_time", TOTAL),
                TypedParam::new("user_time", 5_540_000_000_u64),
                TypedParam::new("system_time", 6_460_000_000_u64),
            ];
        } else {
            let all = u64::from(domain.config.max_vcpus);
            if args.ncpus == 0 {
                let nparams = domain.config.max_vcpus.cast_signed();
                return Ok(remote::DomainGetCpuStatsRet { params: Default::default(), nparams });
            }
            per_cpu = 2;
            let start = u64::from(args.start_cpu.cast_unsigned());
            let last = (start + u64::from(args.ncpus)).min(all);
            let share = |total: u64, cpu: u64| total / all + if cpu + 1 == all { total % all } else { 0 };
            params = (start..last)
                .flat_map(|cpu| {
                    [
                        TypedParam::new("cpu_time", share(TOTAL, cpu)),
                        TypedParam::new("vcpu_time", share(GUEST, cpu)),
                    ]
                })
                .collect();
        }
        if args.nparams == 0 {
            return Ok(remote::DomainGetCpuStatsRet { params: Default::default(), nparams: per_cpu });
        }
        Ok(remote::DomainGetCpuStatsRet { params: params.into(), nparams: per_cpu })
    }
}

impl Domain {
    /// Its document.
    pub(crate) fn describe(&self, flags: DomainXmlFlags) -> crate::xml::Element {
        let inactive = flags.contains(DomainXmlFlags::INACTIVE);
        let mut document = match &self.next {
            Some(next) if inactive => next.document(None),
            _ => self.config.document(self.id.filter(|_| !inactive)),
        };
        // What another host is to make of it must be whole.
        if !flags.intersects(DomainXmlFlags::SECURE | DomainXmlFlags::MIGRATABLE) {
            super::config::hide(&mut document);
        }
        if flags.contains(DomainXmlFlags::UPDATE_CPU)
            && let Some(cpu) = document.find_mut("cpu")
            && cpu.attribute("mode") == Some("host-model")
        {
            *cpu = crate::hypervisor::cpu::host_model();
        }
        document
    }
}

impl Config {
    /// Where a virtual processor may run.
    pub(super) fn pinned(&self, vcpu: u32) -> Cpus {
        self.vcpu_pins.get(&vcpu).cloned().unwrap_or_else(|| Cpus::first(HOST_CPUS))
    }
}

/// A text with the NUL that C puts behind it.
pub(crate) fn terminated<const MAX: u32>(text: &[u8]) -> Words<MAX> {
    let mut bytes = text.to_vec();
    bytes.push(0);
    Words(bytes)
}

/// The length of a map of processors, of which a reply has so many.
pub(super) fn map_length(count: i32, length: i32) -> Result<usize, Refusal> {
    // `REMOTE_CPUMAPS_MAX` of `remote_protocol.x`.
    const MOST: usize = 8_388_608;
    let (count, length) = (usize::try_from(count).unwrap_or(0), usize::try_from(length).unwrap_or(0));
    match count.max(1).checked_mul(length) {
        Some(size) if size <= MOST => Ok(length),
        _ => Err(Refusal::internal("the processor maps would be larger than a reply").of(ErrorDomain::Rpc)),
    }
}

//! The connection itself, and the host.

use super::domain::{SUPPORTED_VCPUS, terminated};
use super::{Hypervisor, Refusal, Reply, Scope};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::procedure::Release;
use libvirt_protocol::{remote, types};

/// `REMOTE_AUTH_NONE` of `remote_protocol.x`: nobody is asked who he is.
const AUTH_NONE: i32 = 0;
/// `REMOTE_AUTH_SASL`: who comes says who he is, and proves it.
const AUTH_SASL: i32 = 1;
/// `REMOTE_AUTH_POLKIT` of `remote_protocol.x`: a policy is asked about who comes.
const AUTH_POLKIT: i32 = 2;
/// The hypervisor's own version.
const VERSION: u64 = 2;
/// Memory of the host that is free, by cell of the host.
const CELLS_FREE: [u64; 2] = [2_097_152, 4_194_304];
/// Memory of the host that is free.
const FREE_BYTES: u64 = 3_145_728;
/// The processors of the host: which of eight are on line.
const ONLINE: u8 = 0b0001_0101;

/// Processor models of x86 that libvirt 9.0.0 knows.
const MODELS: [&str; 57] = [
    "486",
    "pentium",
    "pentium2",
    "pentium3",
    "pentiumpro",
    "coreduo",
    "n270",
    "core2duo",
    "qemu32",
    "kvm32",
    "cpu64-rhel5",
    "cpu64-rhel6",
    "qemu64",
    "kvm64",
    "Conroe",
    "Penryn",
    "Nehalem",
    "Nehalem-IBRS",
    "Westmere",
    "Westmere-IBRS",
    "SandyBridge",
    "SandyBridge-IBRS",
    "IvyBridge",
    "IvyBridge-IBRS",
    "Haswell-noTSX",
    "Haswell-noTSX-IBRS",
    "Haswell",
    "Haswell-IBRS",
    "Broadwell-noTSX",
    "Broadwell-noTSX-IBRS",
    "Broadwell",
    "Broadwell-IBRS",
    "Skylake-Client",
    "Skylake-Client-IBRS",
    "Skylake-Client-noTSX-IBRS",
    "Skylake-Server",
    "Skylake-Server-IBRS",
    "Skylake-Server-noTSX-IBRS",
    "Cascadelake-Server",
    "Cascadelake-Server-noTSX",
    "Icelake-Client",
    "Icelake-Client-noTSX",
    "Icelake-Server",
    "Icelake-Server-noTSX",
    "Cooperlake",
    "Snowridge",
    "athlon",
    "phenom",
    "Opteron_G1",
    "Opteron_G2",
    "Opteron_G3",
    "Opteron_G4",
    "Opteron_G5",
    "EPYC",
    "EPYC-IBPB",
    "EPYC-Rome",
    "EPYC-Milan",
];

impl Hypervisor {
    pub(super) fn auth_list(&mut self, (): ()) -> Reply<remote::AuthList> {
        let kind = match self.is_stranger() {
            true if self.polkit.is_some() => AUTH_POLKIT,
            true => AUTH_SASL,
            false => AUTH_NONE,
        };
        Ok(remote::AuthListRet { types: vec![kind].into() })
    }

    pub(super) fn connect_open(&mut self, args: remote::ConnectOpenArgs<'_>) -> Reply<remote::ConnectOpen> {
        self.only(args.flags.bits(), 1 | 2, "virConnectOpenInternal")?;
        // An empty name has a daemon look for a driver. Without any it opens none, and misses it then (seen with libvirtd 9.0.0).
        let name = match args.name {
            None if !self.client()?.open => {
                return Err(Refusal { domain: ErrorDomain::Rpc, ..Refusal::internal("connection not open") });
            }
            Some(name) if !name.to_string().is_empty() => name.to_string(),
            _ => "test:///default".to_owned(),
        };
        match name.strip_prefix("test://").map(|path| path.trim_start_matches('/')) {
            Some("default") => {
                let client = self.client()?;
                client.open = true;
                client.read_only = args.flags.bits() & 1 != 0;
            }
            Some("") => {
                let text = "testOpen: supply a path or use test:///default";
                return Err(Refusal::argument(text));
            }
            Some(path) => {
                let text = format!("failed to read file '/{path}': there is only test:///default here");
                return Err(Refusal::internal(text));
            }
            None => {
                let text = format!("no connection driver available for {name}");
                return Err(Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::NoConnect, text) });
            }
        }
        Ok(())
    }

    pub(super) fn connect_close(&mut self, (): ()) -> Reply<remote::ConnectClose> {
        let client = self.client()?;
        client.open = false;
        client.subscriptions.clear();
        client.watches.clear();
        let client = self.caller.client;
        self.end_owned(client);
        Ok(())
    }

    pub(super) fn connect_supports_feature(
        &mut self,
        args: remote::ConnectSupportsFeatureArgs,
    ) -> Reply<remote::ConnectSupportsFeature> {
        // Of the RPC layer: descriptors, keepalive, event callbacks, close callbacks; of the driver: typed texts, right order of
        // a network's update. `virDrvFeature` in libvirt's driver.h.
        const DESCRIPTORS: i32 = 8;
        const TYPED_TEXTS: i32 = 9;
        const MIGRATION_P2P: i32 = 4;
        const MIGRATION_V3: i32 = 6;
        const CHANGE_PROTECTION: i32 = 7;
        const OFFLINE_MIGRATION: i32 = 12;
        const MIGRATION_PARAMS: i32 = 13;
        const KEEPALIVE: i32 = 10;
        const EVENT_CALLBACKS: i32 = 14;
        const CLOSE_CALLBACKS: i32 = 15;
        const NETWORK_UPDATE_ORDER: i32 = 16;
        let known =
            [DESCRIPTORS, TYPED_TEXTS, KEEPALIVE, EVENT_CALLBACKS, CLOSE_CALLBACKS, NETWORK_UPDATE_ORDER];
        // What only a driver has that migrates.
        let beyond = [MIGRATION_P2P, MIGRATION_V3, CHANGE_PROTECTION, OFFLINE_MIGRATION, MIGRATION_PARAMS];
        let supported =
            known.contains(&args.feature) || self.scope == Scope::Complete && beyond.contains(&args.feature);
        Ok(remote::ConnectSupportsFeatureRet { supported: supported.into() })
    }

    pub(super) fn register_close_callback(&mut self, (): ()) -> Reply<remote::ConnectRegisterCloseCallback> {
        self.client()?.close_callback = true;
        Ok(())
    }

    pub(super) fn unregister_close_callback(
        &mut self,
        (): (),
    ) -> Reply<remote::ConnectUnregisterCloseCallback> {
        self.client()?.close_callback = false;
        Ok(())
    }

    pub(super) fn connect_get_type(&mut self, (): ()) -> Reply<remote::ConnectGetType> {
        Ok(remote::ConnectGetTypeRet { kind: "TEST".into() })
    }

    pub(super) fn connect_get_version(&mut self, (): ()) -> Reply<remote::ConnectGetVersion> {
        Ok(remote::ConnectGetVersionRet { hv_ver: VERSION })
    }

    pub(super) fn connect_get_lib_version(&mut self, (): ()) -> Reply<remote::ConnectGetLibVersion> {
        Ok(remote::ConnectGetLibVersionRet { lib_ver: self.lib_version() })
    }

    /// The release as libvirt counts it.
    pub(super) fn lib_version(&self) -> u64 {
        let Release(major, minor, micro) = self.version;
        (u64::from(major) * 1_000 + u64::from(minor)) * 1_000 + u64::from(micro)
    }

    pub(super) fn connect_get_hostname(&mut self, (): ()) -> Reply<remote::ConnectGetHostname> {
        Ok(remote::ConnectGetHostnameRet { hostname: self.hostname.clone().into() })
    }

    pub(super) fn connect_get_uri(&mut self, (): ()) -> Reply<remote::ConnectGetUri> {
        Ok(remote::ConnectGetUriRet { uri: "test:///default".into() })
    }

    pub(super) fn connect_is_secure(&mut self, (): ()) -> Reply<remote::ConnectIsSecure> {
        Ok(remote::ConnectIsSecureRet { secure: 1 })
    }

    pub(super) fn connect_get_max_vcpus(
        &mut self,
        _args: remote::ConnectGetMaxVcpusArgs<'_>,
    ) -> Reply<remote::ConnectGetMaxVcpus> {
        Ok(remote::ConnectGetMaxVcpusRet { max_vcpus: SUPPORTED_VCPUS.cast_signed() })
    }

    pub(super) fn connect_get_sysinfo(
        &mut self,
        args: remote::ConnectGetSysinfoArgs,
    ) -> Reply<remote::ConnectGetSysinfo> {
        self.only(args.flags.bits(), 0, "testConnectGetSysinfo")?;
        let entry = |name, value| Element::text("entry", value).with("name", name);
        let bios = Element::new("bios").children([
            entry("vendor", "LENOVO"),
            entry("version", "G4ETA1WW (2.61 )"),
            entry("date", "05/07/2014"),
            entry("release", "2.61"),
        ]);
        let sysinfo = Element::new("sysinfo").with("type", "smbios").child(bios).print();
        Ok(remote::ConnectGetSysinfoRet { sysinfo: sysinfo.into() })
    }

    pub(super) fn connect_get_capabilities(&mut self, (): ()) -> Reply<remote::ConnectGetCapabilities> {
        Ok(remote::ConnectGetCapabilitiesRet { capabilities: capabilities().into() })
    }

    pub(super) fn connect_get_cpu_model_names(
        &mut self,
        args: remote::ConnectGetCpuModelNamesArgs<'_>,
    ) -> Reply<remote::ConnectGetCpuModelNames> {
        let arch = args.arch.to_string();
        if !matches!(arch.as_str(), "i686" | "x86_64") {
            return Err(Refusal::argument(format!("cannot find architecture {arch}")));
        }
        let all: Vec<&'static str> = MODELS.into_iter().chain(["Dhyana"]).collect();
        let ret = all.len() as i32;
        let want = args.need_results != 0;
        let models = all.into_iter().filter(|_| want).map(Into::into).collect();
        Ok(remote::ConnectGetCpuModelNamesRet { models, ret })
    }

    pub(super) fn node_get_info(&mut self, (): ()) -> Reply<remote::NodeGetInfo> {
        Ok(remote::NodeGetInfoRet {
            model: "i686".into(),
            memory: 3_145_728,
            cpus: 16,
            mhz: 1400,
            nodes: 2,
            sockets: 2,
            cores: 2,
            threads: 2,
        })
    }

    pub(super) fn node_get_free_memory(&mut self, (): ()) -> Reply<remote::NodeGetFreeMemory> {
        Ok(remote::NodeGetFreeMemoryRet { free_mem: FREE_BYTES })
    }

    pub(super) fn node_get_cells_free_memory(
        &mut self,
        args: remote::NodeGetCellsFreeMemoryArgs,
    ) -> Reply<remote::NodeGetCellsFreeMemory> {
        let start = usize::try_from(args.start_cell).unwrap_or(usize::MAX);
        if start >= CELLS_FREE.len() {
            return Err(Refusal::argument("Range exceeds available cells"));
        }
        let most = usize::try_from(args.maxcells).unwrap_or(0);
        let cells = CELLS_FREE.into_iter().skip(start).take(most).collect();
        Ok(remote::NodeGetCellsFreeMemoryRet { cells })
    }

    pub(super) fn node_get_free_pages(
        &mut self,
        args: remote::NodeGetFreePagesArgs<'_>,
    ) -> Reply<remote::NodeGetFreePages> {
        if self.scope == Scope::Complete {
            return self.free_pages(&args);
        }
        // The test driver fails without a word, and the daemon says so.
        Err(Refusal::silent())
    }

    pub(super) fn node_get_cpu_map(
        &mut self,
        args: remote::NodeGetCpuMapArgs,
    ) -> Reply<remote::NodeGetCpuMap> {
        let online = if args.need_online != 0 { ONLINE.count_ones() } else { 0 };
        let cpumap = if args.need_map != 0 { vec![ONLINE] } else { Vec::new() };
        Ok(remote::NodeGetCpuMapRet { cpumap: cpumap.into(), online, ret: 8 })
    }

    pub(super) fn node_get_cpu_stats(
        &mut self,
        args: remote::NodeGetCpuStatsArgs,
    ) -> Reply<remote::NodeGetCpuStats> {
        let all: [(&str, u64); 4] = [
            ("user", 9_797_400_000),
            ("kernel", 34_678_723_400_000),
            ("idle", 87_264_900_000),
            ("iowait", 763_600_000),
        ];
        let most = usize::try_from(args.nparams).unwrap_or(0);
        let one =
            |(field, value): (&'static str, u64)| types::NodeGetCpuStatsEntry { field: field.into(), value };
        let params = all.into_iter().map(one).take(most).collect();
        Ok(remote::NodeGetCpuStatsRet { params, nparams: if most == 0 { all.len() as i32 } else { 0 } })
    }

    pub(super) fn node_get_security_model(&mut self, (): ()) -> Reply<remote::NodeGetSecurityModel> {
        Ok(remote::NodeGetSecurityModelRet { model: terminated(b"testSecurity"), doi: terminated(b"") })
    }
}

/// The host's capabilities, as the test driver prints them: with blank lines of its own.
fn capabilities() -> String {
    let page = |size: u64| Element::new("pages").with("unit", "KiB").with("size", size);
    let features = || Element::new("features").child(Element::new("pae")).child(Element::new("nonpae"));
    let cpu = Element::new("cpu")
        .child(Element::text("arch", "i686"))
        .child(features())
        .children([4, 8, 2048, 1_048_576].map(page));
    let cell = |id: u64, memory: u64, small: u64| {
        let count = |size: u64, count: u64| page(size).holding(count);
        let processor = |core: u64| {
            let number = id * 8 + core;
            Element::new("cpu")
                .with("id", number)
                .with("socket_id", id)
                .with("die_id", 0)
                .with("core_id", core)
                .with("siblings", number)
        };
        Element::new("cell")
            .with("id", id)
            .child(Element::text("memory", memory).with("unit", "KiB"))
            .children([count(small, 524_288), count(2048, 0), count(1_048_576, 0)])
            .child(Element::new("cpus").with("num", 8).children((0..8).map(processor)))
    };
    let cells =
        Element::new("cells").with("num", 2).child(cell(0, 2_097_152, 4)).child(cell(1, 4_194_304, 8));
    let model = Element::new("secmodel")
        .child(Element::text("model", "testSecurity"))
        .child(Element::new("doi").inline());
    let host = Element::new("host")
        .child(cpu)
        .child(Element::new("power_management"))
        .child(Element::new("iommu").with("support", "no"))
        .child(Element::new("topology").child(cells))
        .child(model);
    let guest = |kind: &str| {
        let arch = Element::new("arch")
            .with("name", "i686")
            .child(Element::text("wordsize", 32))
            .child(Element::text("emulator", "/usr/bin/test-hv"))
            .child(Element::new("domain").with("type", "test"));
        Element::new("guest").child(Element::text("os_type", kind)).child(arch).child(features())
    };
    let mut out = String::from("<capabilities>\n\n");
    for part in [host, guest("hvm"), guest("xen")] {
        for line in part.print().lines() {
            out.push_str("  ");
            out.push_str(line);
            out.push('\n');
        }
        out.push('\n');
    }
    out + "</capabilities>\n"
}

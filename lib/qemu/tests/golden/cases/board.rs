//! Board, CPUs, memory, boot, clock.

use super::{Cases, I440FX, MICROVM, Q35, bare};
use qemu::config::{
    Accelerator, Allocation, Backing, Boot, Clock, ClockBase, ClockSource, CpuPlace, DirectKernel, Distance,
    Firmware, HostPolicy, Iommu, Memory, MemoryHotplug, MemoryModule, ModulePlace, NumaNode, Sharing, Source,
    Switch, Topology,
};

pub(super) fn add(cases: &mut Cases) {
    machines(cases);
    cpus(cases);
    memory(cases);
    plugged(cases);
    boot(cases);
}

fn machines(cases: &mut Cases) {
    cases.group("machine");
    for version in ["5.0", "5.2", "6.0", "6.2", "7.0", "7.1", "7.2"] {
        for board in ["pc-q35", "pc-i440fx"] {
            let machine = format!("{board}-{version}");
            cases.on(&machine, machine.clone(), |_| {});
        }
    }
    cases.on(MICROVM, "microvm", |_| {});
    for machine in [Q35, I440FX, MICROVM] {
        cases.on(machine, format!("{machine} kvm"), |c| c.accelerator = Accelerator::Kvm);
        cases.on(machine, format!("{machine} with balloon and random numbers"), |c| {
            (c.balloon, c.rng) = (Some(qemu::config::Balloon::default()), Some(qemu::config::Rng::default()));
        });
        cases.on(machine, format!("{machine} with spare places"), |c| c.spare_ports = 6);
        for (name, switch) in [("on", Switch::On), ("off", Switch::Off)] {
            cases.on(machine, format!("{machine} memory merging {name}"), |c| {
                c.tuning.mem_merge = Some(switch)
            });
            cases.on(machine, format!("{machine} threads {name}"), |c| c.tuning.tcg_threads = Some(switch));
        }
    }
    for (name, switch) in [("on", Switch::On), ("off", Switch::Off)] {
        cases.q35(format!("hpet {name}"), |c| c.tuning.hpet = Some(switch));
        cases.q35(format!("smm {name}"), |c| c.tuning.smm = Some(switch));
        cases.on(I440FX, format!("i440fx hpet {name}"), |c| c.tuning.hpet = Some(switch));
        cases.on(MICROVM, format!("microvm old timers {name}"), |c| c.tuning.legacy_timers = Some(switch));
    }
    cases.q35("translation cache", |c| c.tuning.tcg_cache_mib = Some(64));
    cases.q35("kvm dirty ring", |c| {
        (c.accelerator, c.tuning.kvm_dirty_ring) = (Accelerator::Kvm, Some(4096));
    });
    cases.q35("intel iommu", |c| c.tuning.iommu = Some(Iommu::Intel));
    cases
        .q35("intel iommu kvm", |c| (c.tuning.iommu, c.accelerator) = (Some(Iommu::Intel), Accelerator::Kvm));
    cases.q35("virtio iommu", |c| c.tuning.iommu = Some(Iommu::Virtio));
    cases.on(I440FX, "virtio iommu on i440fx", |c| c.tuning.iommu = Some(Iommu::Virtio));
    for name in ["a, b", "x=y", "quoted \"name\"", "umlaut \u{e4}\u{4e16}", "new\nline", "'", "trailing,"] {
        cases.q35(format!("named {name:?}"), |c| c.name = name.into());
    }
    cases.group("clock");
    for (base_name, base) in
        [("utc", ClockBase::Utc), ("local", ClockBase::LocalTime), ("2024", ClockBase::Unix(1_709_251_199))]
    {
        let sources = [
            ("default", None),
            ("host", Some(ClockSource::Host)),
            ("monotonic", Some(ClockSource::Monotonic)),
            ("guest", Some(ClockSource::Guest)),
        ];
        for (source_name, source) in sources {
            cases.q35(format!("{base_name} {source_name}"), |c| {
                c.clock = Clock { base, source, catch_up: false }
            });
        }
        cases.q35(format!("{base_name} catching up"), |c| {
            c.clock = Clock { base, source: None, catch_up: true }
        });
    }
}

fn cpus(cases: &mut Cases) {
    cases.group("cpu");
    for model in [
        "qemu64",
        "max",
        "kvm64",
        "Conroe",
        "Penryn",
        "Nehalem",
        "Westmere",
        "SandyBridge",
        "IvyBridge",
        "Haswell",
        "Broadwell",
        "Skylake-Client",
        "Skylake-Server",
        "Cascadelake-Server",
        "Cooperlake",
        "Icelake-Server",
        "Denverton",
        "Snowridge",
        "Opteron_G3",
        "Opteron_G5",
        "EPYC",
        "EPYC-Rome",
        "EPYC-Milan",
        "Dhyana",
    ] {
        cases.q35(model, |c| c.cpu.model = Some(model.into()));
    }
    for feature in ["avx2", "x2apic", "pcid", "ssse3", "hypervisor", "pdpe1gb", "invtsc"] {
        cases.q35(format!("with {feature}"), |c| {
            (c.cpu.model, c.cpu.features) = (Some("qemu64".into()), vec![(feature.into(), Switch::On)]);
        });
        cases.q35(format!("without {feature}"), |c| c.cpu.features = vec![(feature.into(), Switch::Off)]);
    }
    for count in [2, 3, 4, 8, 16] {
        cases.q35(format!("{count} CPUs"), |c| c.cpu.count = count);
        cases.q35(format!("1 of {count} CPUs"), |c| c.cpu.max = Some(count));
    }
    cases.on(I440FX, "4 CPUs on i440fx", |c| c.cpu.count = 4);
    cases.on(MICROVM, "4 CPUs on microvm", |c| c.cpu.count = 4);
    for (sockets, dies, cores, threads) in
        [(1, 1, 4, 1), (4, 1, 1, 1), (2, 1, 2, 1), (1, 2, 2, 1), (1, 1, 2, 2), (2, 2, 2, 2)]
    {
        let count = sockets * dies * cores * threads;
        cases.q35(format!("{sockets} sockets {dies} dies {cores} cores {threads} threads"), |c| {
            (c.cpu.count, c.cpu.topology) = (count, Some(Topology { sockets, dies, cores, threads }));
        });
        cases.q35(format!("1 of {sockets} sockets {dies} dies {cores} cores {threads} threads"), |c| {
            (c.cpu.max, c.cpu.topology) = (Some(count), Some(Topology { sockets, dies, cores, threads }));
        });
    }
}

/// What was plugged before a machine moved.
fn plugged(cases: &mut Cases) {
    cases.group("plugged");
    let module = |id: &str, slot, address| MemoryModule {
        id: id.into(),
        size_mib: 128,
        place: Some(ModulePlace { slot, address, node: 0 }),
    };
    let core = |core| CpuPlace { socket: Some(0), core: Some(core), thread: Some(0), ..CpuPlace::default() };
    let slots = Some(MemoryHotplug { slots: 4, max_mib: 1024 });
    for machine in [Q35, I440FX] {
        cases.on(machine, format!("a module anywhere on {machine}"), |c| {
            c.memory.hotplug = slots;
            c.memory.modules = vec![MemoryModule { place: None, ..module("dimm-1", 0, 0) }];
        });
        cases.on(machine, format!("two modules at their places on {machine}"), |c| {
            c.memory.hotplug = slots;
            c.memory.modules = vec![module("dimm-1", 1, 0x1_1000_0000), module("dimm-2", 3, 0x1_2000_0000)];
        });
        cases.on(machine, format!("two of four CPUs on {machine}"), |c| {
            c.cpu.max = Some(4);
            c.cpu.plugged = vec![core(2), core(3)];
        });
    }
    cases.q35("shared modules", |c| {
        (c.memory.hotplug, c.memory.sharing) = (slots, Sharing::Shared);
        c.memory.modules = vec![module("dimm-1", 0, 0x1_0000_0000)];
    });
    cases.q35("modules of huge pages", |c| {
        (c.memory.hotplug, c.memory.backing) = (slots, Backing::HugePages { page_kib: 2048 });
        c.memory.modules = vec![MemoryModule { size_mib: 128, ..module("dimm-1", 0, 0x1_0000_0000) }];
    });
    cases.q35("CPUs of another model in sockets", |c| {
        (c.cpu.model, c.cpu.max) = (Some("qemu64".into()), Some(4));
        c.cpu.topology = Some(Topology { sockets: 2, dies: 1, cores: 2, threads: 1 });
        c.cpu.plugged = vec![CpuPlace { socket: Some(1), ..core(1) }];
    });
    cases.q35("both in a machine with nodes", |c| {
        c.cpu.max = Some(4);
        c.memory.nodes = vec![node(32, 0..=1), node(32, 2..=3)];
        c.memory.hotplug = slots;
        c.cpu.plugged = vec![CpuPlace { node: Some(1), ..core(3) }];
        let there = ModulePlace { slot: 0, address: 0x1_0000_0000, node: 1 };
        c.memory.modules = vec![MemoryModule { place: Some(there), ..module("dimm-1", 0, 0) }];
    });
}

fn node(size_mib: u64, cpus: std::ops::RangeInclusive<u16>) -> NumaNode {
    NumaNode { size_mib, cpus: vec![cpus], host_nodes: Vec::new(), policy: HostPolicy::Default }
}

fn memory(cases: &mut Cases) {
    cases.group("memory");
    for size in [16, 128, 1024, 3072, 4096] {
        cases.q35(format!("{size} MiB"), |c| c.memory.size_mib = size);
    }
    for (slots, max_mib) in [(1, 128), (4, 1024), (256, 65_536)] {
        let hotplug = Some(MemoryHotplug { slots, max_mib });
        cases.q35(format!("{slots} slots up to {max_mib}"), |c| c.memory.hotplug = hotplug);
        cases.on(I440FX, format!("{slots} slots up to {max_mib} on i440fx"), |c| c.memory.hotplug = hotplug);
    }
    let directory = cases.path("memory");
    for (backing_name, backing) in [
        ("anonymous", Backing::Anonymous),
        ("memfd", Backing::Memfd),
        ("file", Backing::Path(directory.clone())),
        ("huge pages", Backing::HugePages { page_kib: 2048 }),
    ] {
        for (sharing_name, sharing) in [("private", Sharing::Private), ("shared", Sharing::Shared)] {
            for (when, allocation) in [("", Allocation::Lazy), (" ahead", Allocation::Ahead)] {
                let memory = Memory { backing: backing.clone(), sharing, allocation, ..Memory::new(64) };
                cases.q35(format!("{backing_name} {sharing_name}{when}"), |c| c.memory = memory);
            }
        }
    }
    cases.on(MICROVM, "shared memfd on microvm", |c| {
        (c.memory.backing, c.memory.sharing) = (Backing::Memfd, Sharing::Shared);
    });
    cases.q35("one node", |c| c.memory.nodes = vec![node(64, 0..=0)]);
    let two = |c: &mut qemu::Config| {
        c.cpu.count = 4;
        c.memory.nodes = vec![node(32, 0..=1), node(32, 2..=3)];
    };
    cases.q35("two nodes", two);
    cases.on(I440FX, "two nodes on i440fx", two);
    cases.q35("two nodes with distances", |c| {
        two(c);
        c.memory.distances =
            vec![Distance { from: 0, to: 1, value: 21 }, Distance { from: 1, to: 0, value: 31 }];
    });
    cases.q35("two nodes of shared memory", |c| {
        two(c);
        (c.memory.backing, c.memory.sharing) = (Backing::Memfd, Sharing::Shared);
    });
    cases.q35("a node without CPUs", |c| {
        c.memory.nodes = vec![node(32, 0..=0), NumaNode { cpus: Vec::new(), ..node(32, 0..=0) }];
    });
    cases.q35("CPUs in turn", |c| {
        c.cpu.count = 4;
        let turn =
            |first: u16| NumaNode { cpus: vec![first..=first, first + 2..=first + 2], ..node(32, 0..=0) };
        c.memory.nodes = vec![turn(0), turn(1)];
    });
    for (name, policy) in [
        ("preferred", HostPolicy::Preferred),
        ("bound", HostPolicy::Bind),
        ("interleaved", HostPolicy::Interleave),
    ] {
        cases.q35(format!("{name} on the host's first node"), |c| {
            c.memory.nodes = vec![NumaNode { host_nodes: vec![0], policy, ..node(64, 0..=0) }];
        });
    }
    cases.q35("heterogeneous memory attributes", |c| {
        two(c);
        c.tuning.hmat = Some(Switch::On);
    });
    cases.q35("nodes with places for CPUs and memory", |c| {
        c.cpu.max = Some(4);
        c.memory.nodes = vec![node(32, 0..=1), node(32, 2..=3)];
        c.memory.hotplug = Some(MemoryHotplug { slots: 8, max_mib: 512 });
    });
}

fn boot(cases: &mut Cases) {
    cases.group("boot");
    let kernel = |cases: &Cases, initrd: bool, cmdline: &str| {
        let initrd = initrd.then(|| cases.path("initrd, 1"));
        Some(DirectKernel { kernel: cases.path("kernel, 1"), initrd, cmdline: cmdline.into() })
    };
    for machine in [Q35, I440FX, MICROVM] {
        for (name, initrd, cmdline) in [
            ("kernel", false, ""),
            ("kernel and initrd", true, "console=ttyS0"),
            ("kernel with an odd command line", true, "a=b,c \"d\" e='f' \\g"),
        ] {
            let kernel = kernel(cases, initrd, cmdline);
            cases.on(machine, format!("{machine} {name}"), |c| c.boot.kernel = kernel);
        }
    }
    cases.q35("menu", |c| c.boot = Boot { menu_ms: Some(3000), ..Boot::default() });
    cases.q35("retry", |c| c.boot = Boot { retry_ms: Some(5000), ..Boot::default() });
    cases.q35("menu and retry", |c| {
        c.boot = Boot { menu_ms: Some(1), retry_ms: Some(65_535), ..Boot::default() }
    });
    cases.on(MICROVM, "qboot", |c| c.boot.firmware = Firmware::Image("qboot.rom".into()));
    cases.q35("another BIOS", |c| c.boot.firmware = Firmware::Image("bios-256k.bin".into()));
    let vars = cases.path("vars, 1.fd");
    for machine in [Q35, I440FX] {
        let vars = vars.clone();
        cases.on(machine, format!("{machine} uefi"), |c| {
            c.boot.firmware =
                Firmware::Uefi { code: "/usr/share/OVMF/OVMF_CODE_4M.fd".into(), vars: Source::Path(vars) };
        });
    }
    cases.q35("uefi with handed over variables", |c| {
        c.boot.firmware = Firmware::Uefi {
            code: "/usr/share/OVMF/OVMF_CODE_4M.fd".into(),
            vars: Source::Descriptor("vars".into()),
        };
    });
    let secure = Firmware::UefiSecure {
        code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd".into(),
        vars: Source::Path(cases.path("vars.ms.fd")),
    };
    cases.q35("secure boot", |c| c.boot.firmware = secure.clone());
    cases.q35("secure boot with several CPUs", |c| {
        (c.boot.firmware, c.cpu.count) = (secure, 4);
    });
    let mut config = bare(Q35);
    config.extra = ["-overcommit".into(), "mem-lock=off".into()].into();
    cases.add("an argument of one's own", config);
}

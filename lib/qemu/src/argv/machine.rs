//! Board, CPUs, memory, boot.

use super::{Line, text::Pairs, utf8};
use crate::config::{
    Accelerator, Allocation, Backing, Board, ClockBase, ClockSource, ConfigError, DirectKernel, Encoding,
    Firmware, HostPolicy, Iommu, Memory, MemoryModule, ModulePlace, NumaNode, Sharing, Switch, TlsRole, date,
};
use serde_json::{Value, json};

impl Line<'_> {
    /// What others refer to by name.
    pub(super) fn credentials(&mut self) -> Result<(), ConfigError> {
        for secret in &self.config.secrets {
            let file = self.plain_filename("secret", &secret.source)?;
            let file = utf8("secret", file.as_ref())?.to_owned();
            let format = match secret.encoding {
                Encoding::Raw => "raw",
                Encoding::Base64 => "base64",
            };
            self.option(
                "-object",
                &json!({"qom-type": "secret", "id": secret.id, "file": file, "format": format}),
            );
        }
        for tls in &self.config.tls {
            let endpoint = match tls.role {
                TlsRole::Server => "server",
                TlsRole::Client => "client",
            };
            let directory = utf8("tls.directory", &tls.directory)?.to_owned();
            self.option(
                "-object",
                &json!({
                    "qom-type": "tls-creds-x509", "id": tls.id, "dir": directory, "endpoint": endpoint,
                    "verify-peer": tls.verify_peer,
                }),
            );
        }
        for thread in &self.config.iothreads {
            self.option("-object", &json!({"qom-type": "iothread", "id": thread}));
        }
        Ok(())
    }

    pub(super) fn machine(&mut self) -> Result<(), ConfigError> {
        let config = self.config;
        let tuning = &config.tuning;
        let mut machine = Pairs::new(&super::escape(&config.machine)).with("usb", "off");
        if self.board != Board::Microvm {
            machine = machine.with("vmport", "off");
        }
        machine = machine.with("dump-guest-core", "off");
        if !config.boot.firmware.is_uefi() && config.display.gpus.is_empty() {
            // There is no display: SeaBIOS then says on the serial port what it boots from, and that there is nothing to boot.
            machine = machine.with("graphics", "off");
        }
        if self.firmware()? {
            machine = machine.with("pflash0", "pflash0").with("pflash1", "pflash1");
        }
        let secure = matches!(config.boot.firmware, Firmware::UefiSecure { .. });
        let smm = if secure { Some(Switch::On) } else { tuning.smm };
        machine = machine.maybe("smm", smm.map(Switch::as_str));
        machine = machine.maybe("hpet", tuning.hpet.map(Switch::as_str));
        machine = machine.maybe("mem-merge", tuning.mem_merge.map(Switch::as_str));
        machine = machine.maybe("hmat", tuning.hmat.map(Switch::as_str));
        if self.board == Board::Microvm {
            machine = machine.maybe("pit", tuning.legacy_timers.map(Switch::as_str));
            machine = machine.maybe("pic", tuning.legacy_timers.map(Switch::as_str));
        }
        if self.memory_objects()? {
            machine = machine.with("memory-backend", "ram0");
        }
        self.raw_option("-machine", std::ffi::OsString::from(machine));
        if secure {
            self.push(&["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        self.accelerator();
        self.cpu();
        self.memory();
        self.clock_and_boot();
        if tuning.iommu == Some(Iommu::Intel) {
            self.option("-device", &json!({"driver": "intel-iommu", "id": "iommu0"}));
        }
        Ok(())
    }

    /// Answers whether there is flash memory.
    fn firmware(&mut self) -> Result<bool, ConfigError> {
        let config = self.config;
        let (code, vars) = match &config.boot.firmware {
            Firmware::Bios => return Ok(false),
            Firmware::Image(path) => {
                self.raw_option("-bios", path);
                return Ok(false);
            }
            Firmware::Uefi { code, vars } | Firmware::UefiSecure { code, vars } => (code, vars),
        };
        let code = utf8("firmware", code)?.to_owned();
        let vars = self.filename("firmware", vars)?;
        for (node, path, read_only) in [("pflash0", code, true), ("pflash1", vars, false)] {
            self.option(
                "-blockdev",
                &json!({
                    "driver": "raw", "node-name": node, "read-only": read_only,
                    "file": {"driver": "file", "filename": path, "read-only": read_only},
                }),
            );
        }
        Ok(true)
    }

    fn accelerator(&mut self) {
        let (config, tuning) = (self.config, &self.config.tuning);
        let mut accel = Pairs::new(config.accelerator.as_str());
        match config.accelerator {
            Accelerator::Tcg => {
                let threads = |switch| if switch == Switch::On { "multi" } else { "single" };
                accel = accel.maybe("thread", tuning.tcg_threads.map(threads));
                accel = accel.maybe("tb-size", tuning.tcg_cache_mib.map(|mib| mib.to_string()));
            }
            Accelerator::Kvm => {
                if tuning.iommu == Some(Iommu::Intel) {
                    // Interrupts are remapped only where QEMU sees them.
                    accel = accel.with("kernel-irqchip", "split");
                }
                accel = accel.maybe("dirty-ring-size", tuning.kvm_dirty_ring.map(|size| size.to_string()));
            }
        }
        self.raw_option("-accel", std::ffi::OsString::from(accel));
    }

    fn cpu(&mut self) {
        let cpu = &self.config.cpu;
        let model = self.cpu_model();
        let mut text = Pairs::new(&super::escape(model));
        for (feature, switch) in &cpu.features {
            text = text.with(feature, switch.as_str());
        }
        self.raw_option("-cpu", std::ffi::OsString::from(text));
        let (count, most) = (cpu.count, cpu.most());
        let present =
            if cpu.max.is_some() { format!("cpus={count},maxcpus={most}") } else { format!("cpus={count}") };
        let arranged = match cpu.topology {
            None => format!("sockets=1,cores={most},threads=1"),
            Some(it) => {
                format!("sockets={},dies={},cores={},threads={}", it.sockets, it.dies, it.cores, it.threads)
            }
        };
        self.push(&["-smp", &format!("{present},{arranged}")]);
    }

    fn cpu_model(&self) -> &str {
        self.config.cpu.model.as_deref().unwrap_or(match self.config.accelerator {
            Accelerator::Kvm => "host",
            Accelerator::Tcg => "max",
        })
    }

    /// CPUs and memory that were plugged before.
    pub(super) fn plugged(&mut self) -> Result<(), ConfigError> {
        // All boards are PCs of 64 bits.
        let driver = format!("{}-x86_64-cpu", self.cpu_model());
        for place in &self.config.cpu.plugged {
            self.option("-device", &place.device(&driver));
        }
        let memory = &self.config.memory;
        for MemoryModule { id, size_mib, place } in &memory.modules {
            let backend = format!("{id}-ram");
            let policy = place.and_then(|place| memory.nodes.get(usize::from(place.node)));
            self.option("-object", &memory_object(memory, &backend, *size_mib, policy)?);
            let mut device = json!({"driver": "pc-dimm", "id": id, "memdev": backend});
            if let Some(ModulePlace { slot, address, node }) = place {
                (device["slot"], device["addr"], device["node"]) = (json!(slot), json!(address), json!(node));
            }
            self.option("-device", &device);
        }
        Ok(())
    }

    /// Answers whether the machine names one object as its memory.
    fn memory_objects(&mut self) -> Result<bool, ConfigError> {
        let memory = &self.config.memory;
        if !memory.nodes.is_empty() {
            for (index, node) in memory.nodes.iter().enumerate() {
                let object = memory_object(memory, &format!("ram-node{index}"), node.size_mib, Some(node))?;
                self.option("-object", &object);
            }
            return Ok(false);
        }
        if memory.is_plain() {
            return Ok(false);
        }
        self.option("-object", &memory_object(memory, "ram0", memory.size_mib, None)?);
        Ok(true)
    }

    fn memory(&mut self) {
        let memory = &self.config.memory;
        let mut size = format!("size={}M", memory.size_mib);
        if let Some(hotplug) = memory.hotplug {
            size.push_str(&format!(",slots={},maxmem={}M", hotplug.slots, hotplug.max_mib));
        }
        self.push(&["-m", &size]);
        for (index, node) in memory.nodes.iter().enumerate() {
            let mut text = format!("node,nodeid={index}");
            for cpus in &node.cpus {
                text.push_str(&format!(",cpus={}-{}", cpus.start(), cpus.end()));
            }
            self.push(&["-numa", &format!("{text},memdev=ram-node{index}")]);
        }
        for distance in &memory.distances {
            self.push(&[
                "-numa",
                &format!("dist,src={},dst={},val={}", distance.from, distance.to, distance.value),
            ]);
        }
    }

    fn clock_and_boot(&mut self) {
        let (clock, boot) = (self.config.clock, &self.config.boot);
        let base = match clock.base {
            ClockBase::Utc => "utc".to_owned(),
            ClockBase::LocalTime => "localtime".to_owned(),
            ClockBase::Unix(seconds) => date(seconds),
        };
        let source = clock.source.map(|source| match source {
            ClockSource::Host => "host",
            ClockSource::Monotonic => "rt",
            ClockSource::Guest => "vm",
        });
        let rtc = Pairs::new("").with("base", base).maybe("clock", source);
        let rtc = rtc.maybe("driftfix", clock.catch_up.then_some("slew"));
        self.raw_option("-rtc", std::ffi::OsString::from(rtc));
        let mut order = "strict=on".to_owned();
        if let Some(wait) = boot.menu_ms {
            order.push_str(&format!(",menu=on,splash-time={wait}"));
        }
        if let Some(wait) = boot.retry_ms {
            order.push_str(&format!(",reboot-timeout={wait}"));
        }
        self.push(&["-boot", &order]);
        if let Some(DirectKernel { kernel, initrd, cmdline }) = &boot.kernel {
            self.raw_option("-kernel", kernel);
            if let Some(initrd) = initrd {
                self.raw_option("-initrd", initrd);
            }
            self.push(&["-append", cmdline]);
        }
    }
}

fn memory_object(memory: &Memory, id: &str, mib: u64, node: Option<&NumaNode>) -> Result<Value, ConfigError> {
    let kind = match &memory.backing {
        // Shared anonymous memory has no descriptor that could be handed to anybody.
        Backing::Anonymous if memory.sharing == Sharing::Private => "memory-backend-ram",
        Backing::Anonymous | Backing::Memfd | Backing::HugePages { .. } => "memory-backend-memfd",
        Backing::Path(_) => "memory-backend-file",
    };
    let mut object =
        json!({"qom-type": kind, "id": id, "size": mib << 20, "share": memory.sharing == Sharing::Shared});
    match &memory.backing {
        Backing::HugePages { page_kib } => {
            object["hugetlb"] = json!(true);
            object["hugetlbsize"] = json!(u64::from(*page_kib) << 10);
        }
        Backing::Path(path) => object["mem-path"] = json!(utf8("memory.backing", path)?),
        Backing::Anonymous | Backing::Memfd => {}
    }
    if memory.allocation == Allocation::Ahead {
        object["prealloc"] = json!(true);
    }
    if let Some(node) = node
        && node.policy != HostPolicy::Default
    {
        object["host-nodes"] = json!(node.host_nodes);
        object["policy"] = json!(node.policy.as_str());
    }
    Ok(object)
}

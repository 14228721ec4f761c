//! A configuration as QEMU's command line. Pure: descriptors enter as numbers.
//!
//! JSON wherever QEMU 7.2 takes it (`-blockdev`, `-device`, `-netdev`, `-object`), so that no text can be misread;
//! elsewhere commas are doubled. Every image becomes two nodes, `<id>-file` and `<id>` (`<id>-b1-file` and so on below).
//!
//! ```text
//!  pcie.0 -- port0: balloon, port1: rng, port2..: network cards, then disks, then spare ports
//!     '-- ide.0..5: CD-ROM drives          isa: serial0
//! ```
//!
//! Each device has a root port of its own with a fixed place, eight ports to a slot: guests name their network
//! cards by it, so adding a disk must not move them.

use crate::config::{
    Config, ConfigError, DirectKernel, Disk, DiskKind, Firmware, Format, Forward, Image, Nic, NicBackend,
    Protocol, Source,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, ffi::OsString, os::fd::RawFd, path::Path};

/// Descriptors of the new process that the command line refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Listening socket of the monitor.
    pub qmp: RawFd,
    /// Listening socket of the serial console.
    pub console: RawFd,
    /// Log of everything the guest writes to the serial console, opened for appending and for writing only.
    pub console_log: RawFd,
    /// Descriptors that the configuration names.
    pub keyed: BTreeMap<String, RawFd>,
}

/// The command line without the program's name.
///
/// # Errors
/// [`ConfigError`] when the configuration is faulty or a path is not UTF-8.
pub fn argv(config: &Config, descriptors: &Descriptors) -> Result<Vec<OsString>, ConfigError> {
    config.check()?;
    let mut line = Line { args: Vec::new(), descriptors, port: 0 };
    line.process(config);
    line.machine(config)?;
    line.monitor_and_console();
    line.root_ports(ports(config));
    line.option(
        "-device",
        &line.on_port(0, config.balloon, json!({"driver": "virtio-balloon-pci", "id": "balloon0"})),
    );
    if config.rng {
        line.option(
            "-object",
            &Some(json!({"qom-type": "rng-random", "id": "rng0-source", "filename": "/dev/urandom"})),
        );
    }
    line.option(
        "-device",
        &line.on_port(1, config.rng, json!({"driver": "virtio-rng-pci", "id": "rng0", "rng": "rng0-source"})),
    );
    line.port = FIXED_PORTS;
    for nic in &config.nics {
        line.nic(nic)?;
    }
    let mut cdroms = 0;
    for (index, disk) in config.disks.iter().enumerate() {
        line.disk(disk, index, &mut cdroms)?;
    }
    Ok(line.args)
}

/// Root ports that the configuration needs, spare ones included.
pub(crate) fn ports(config: &Config) -> usize {
    let disks = config.disks.iter().filter(|disk| disk.kind != DiskKind::Cdrom).count();
    FIXED_PORTS + config.nics.len() + disks + usize::from(config.spare_ports)
}

/// Doubles commas, for options that are lists of `key=value`.
#[must_use]
pub fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

struct Line<'a> {
    args: Vec<OsString>,
    descriptors: &'a Descriptors,
    port: usize,
}

impl Line<'_> {
    fn push(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(OsString::from));
    }

    fn option(&mut self, name: &str, value: &Option<Value>) {
        if let Some(value) = value {
            self.push(&[name, &value.to_string()]);
        }
    }

    /// `-no-shutdown` keeps the process after a power-off, so that a manager that was away learns of it.
    fn process(&mut self, config: &Config) {
        self.push(&["-name", &format!("guest={},debug-threads=on", escape(&config.name))]);
        self.push(&["-uuid", &config.uuid.to_string()]);
        self.push(&["-nodefaults", "-no-user-config", "-display", "none", "-S", "-no-shutdown"]);
        self.push(&["-msg", "timestamp=on"]);
        self.push(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    }

    fn machine(&mut self, config: &Config) -> Result<(), ConfigError> {
        let mut machine = format!("{},usb=off,vmport=off,dump-guest-core=off", escape(&config.machine));
        if config.boot.firmware == Firmware::Bios {
            // There is no display: SeaBIOS then says on the serial port what it boots from, and that there is nothing to boot.
            machine.push_str(",graphics=off");
        }
        if let Firmware::Uefi { code, vars } = &config.boot.firmware {
            let code = utf8("firmware", code)?.to_owned();
            let vars = self.filename("firmware", vars)?;
            for (node, path, read_only) in [("pflash0", code, true), ("pflash1", vars, false)] {
                self.option(
                    "-blockdev",
                    &Some(json!({
                        "driver": "raw", "node-name": node, "read-only": read_only,
                        "file": {"driver": "file", "filename": path, "read-only": read_only},
                    })),
                );
            }
            machine.push_str(",pflash0=pflash0,pflash1=pflash1");
        }
        self.push(&["-machine", &machine, "-accel", config.accelerator.as_str()]);
        let model = config.cpu_model.as_deref().unwrap_or(match config.accelerator {
            crate::Accelerator::Kvm => "host",
            crate::Accelerator::Tcg => "max",
        });
        self.push(&["-cpu", &escape(model)]);
        self.push(&["-smp", &format!("cpus={0},sockets=1,cores={0},threads=1", config.cpus)]);
        self.push(&["-m", &format!("size={}M", config.memory_mib)]);
        self.push(&["-rtc", "base=utc", "-boot", "strict=on"]);
        if let Some(DirectKernel { kernel, initrd, cmdline }) = &config.boot.kernel {
            self.args.extend(["-kernel".into(), kernel.into()]);
            if let Some(initrd) = initrd {
                self.args.extend(["-initrd".into(), initrd.into()]);
            }
            self.push(&["-append", cmdline]);
        }
        Ok(())
    }

    /// One client at a time on each socket; the log goes on without any.
    fn monitor_and_console(&mut self) {
        let Descriptors { qmp, console, console_log, .. } = self.descriptors;
        self.push(&["-add-fd", &format!("fd={console_log},set={CONSOLE_LOG_SET}")]);
        self.push(&["-chardev", &format!("socket,id=qmp,fd={qmp},server=on,wait=off")]);
        self.push(&["-qmp", "chardev:qmp"]);
        self.push(&[
            "-chardev",
            &format!(
                "socket,id=console,fd={console},server=on,wait=off,logfile=/dev/fdset/{CONSOLE_LOG_SET},logappend=on"
            ),
        ]);
        self.option(
            "-device",
            &Some(json!({"driver": "isa-serial", "id": "serial0", "chardev": "console", "index": 0})),
        );
    }

    fn root_ports(&mut self, count: usize) {
        for port in 0..count {
            let (slot, function) = (FIRST_PORT_SLOT + port / 8, port % 8);
            let mut device = json!({
                "driver": "pcie-root-port", "id": format!("{PORT_PREFIX}{port}"), "bus": "pcie.0",
                "addr": format!("{slot:#x}.{function:x}"), "chassis": port + 1, "port": port,
            });
            if function == 0 {
                device["multifunction"] = json!(true);
            }
            self.option("-device", &Some(device));
        }
    }

    fn on_port(&self, port: usize, wanted: bool, mut device: Value) -> Option<Value> {
        device["bus"] = json!(format!("{PORT_PREFIX}{port}"));
        device["addr"] = json!("0x0");
        wanted.then_some(device)
    }

    fn on_next_port(&mut self, device: Value) {
        let device = self.on_port(self.port, true, device);
        self.option("-device", &device);
        self.port += 1;
    }

    fn descriptor(&self, key: &str) -> Result<(usize, RawFd), ConfigError> {
        let mut keyed = self.descriptors.keyed.iter().enumerate();
        let found = keyed.find(|(_, (known, _))| *known == key);
        found
            .map(|(index, (_, fd))| (index, *fd))
            .ok_or_else(|| ConfigError::NoDescriptor { key: key.to_owned() })
    }

    /// What QEMU opens for a source; a descriptor is put into a set of its own first.
    fn filename(&mut self, field: &'static str, source: &Source) -> Result<String, ConfigError> {
        match source {
            Source::Path(path) => Ok(utf8(field, path)?.to_owned()),
            Source::Descriptor(key) => {
                let (index, fd) = self.descriptor(key)?;
                let set = FIRST_KEYED_SET + index;
                self.push(&["-add-fd", &format!("fd={fd},set={set}")]);
                Ok(format!("/dev/fdset/{set}"))
            }
        }
    }

    fn nic(&mut self, nic: &Nic) -> Result<(), ConfigError> {
        let backend = format!("{}-net", nic.id);
        let mut netdev = match &nic.backend {
            NicBackend::User { forwards, restrict } => {
                let forwards: Vec<Value> = forwards.iter().map(|f| json!({"str": forward(f)})).collect();
                json!({"type": "user", "restrict": restrict, "hostfwd": forwards})
            }
            NicBackend::Tap { ifname } => {
                json!({"type": "tap", "ifname": ifname, "script": "no", "downscript": "no"})
            }
            NicBackend::TapDescriptor(key) => {
                json!({"type": "tap", "fd": self.descriptor(key)?.1.to_string()})
            }
        };
        netdev["id"] = json!(backend);
        self.option("-netdev", &Some(netdev));
        let mac = nic.mac.map(|byte| format!("{byte:02x}")).join(":");
        self.on_next_port(json!({"driver": "virtio-net-pci", "id": nic.id, "netdev": backend, "mac": mac}));
        Ok(())
    }

    fn disk(&mut self, disk: &Disk, index: usize, cdroms: &mut usize) -> Result<(), ConfigError> {
        let writable = disk.kind == DiskKind::Virtio;
        self.image(&disk.image, &disk.id, &disk.id, writable, 0)?;
        let mut device = json!({"id": disk.id, "drive": disk.id, "bootindex": index + 1});
        if let Some(serial) = &disk.serial {
            device["serial"] = json!(serial);
        }
        if disk.kind == DiskKind::Cdrom {
            device["driver"] = json!("ide-cd");
            device["bus"] = json!(format!("ide.{cdroms}"));
            *cdroms += 1;
            self.option("-device", &Some(device));
        } else {
            device["driver"] = json!("virtio-blk-pci");
            self.on_next_port(device);
        }
        Ok(())
    }

    /// Declares the nodes of an image, those of its backing images first.
    fn image(
        &mut self,
        image: &Image,
        id: &str,
        node: &str,
        writable: bool,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let backing_node = format!("{id}-b{}", depth + 1);
        if let Some(backing) = &image.backing {
            self.image(backing, id, &backing_node, false, depth + 1)?;
        }
        let filename = self.filename("disk", &image.source)?;
        let file = format!("{node}-file");
        self.option(
            "-blockdev",
            &Some(json!({
                "driver": "file", "node-name": file, "filename": filename, "read-only": !writable,
                "discard": "unmap",
            })),
        );
        let mut format = json!({
            "driver": match image.format { Format::Raw => "raw", Format::Qcow2 => "qcow2" },
            "node-name": node, "file": file, "read-only": !writable, "discard": "unmap",
        });
        if image.format == Format::Qcow2 {
            format["backing"] = image.backing.as_ref().map_or(Value::Null, |_| json!(backing_node));
        }
        self.option("-blockdev", &Some(format));
        Ok(())
    }
}

fn forward(forward: &Forward) -> String {
    let protocol = match forward.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{protocol}:{}:{}-:{}", forward.host.ip(), forward.host.port(), forward.guest_port)
}

fn utf8<'p>(field: &'static str, path: &'p Path) -> Result<&'p str, ConfigError> {
    path.to_str().ok_or_else(|| ConfigError::NotUtf8 { field, path: path.to_owned() })
}

/// Ids used by every machine; a device of the configuration must not take them.
pub(crate) const OWN_IDS: &[&str] =
    &["balloon0", "rng0", "rng0-source", "serial0", "console", "qmp", "pflash0", "pflash1"];

/// Prefix of the ids of root ports.
pub(crate) const PORT_PREFIX: &str = "port";

/// Ports 0 and 1 belong to the balloon and the random source, whether present or not.
const FIXED_PORTS: usize = 2;

/// First slot of the root bus that holds root ports; slot 0 is the host bridge, 0x1f the board's own devices.
const FIRST_PORT_SLOT: usize = 1;

/// Descriptor set of the console log; sets of keyed descriptors follow.
const CONSOLE_LOG_SET: usize = 1;
const FIRST_KEYED_SET: usize = 2;

#[cfg(test)]
mod tests;

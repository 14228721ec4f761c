//! What can be checked without a host.

use super::{
    Board, ClockBase, Config, ConfigError, DiskBus, DiskKind, Display, Firmware, FwCfg, Iommu, NicBackend,
    Password, Permission, SerialKind, ShareKind, Sharing, SoundBackend, Stream, Switch, Throttle,
    VhostUserKind, WatchdogModel, check_id,
    error::{absolute, no_nul, range},
};
use crate::argv::{OWN_IDS, PORT_PREFIX, places};
use std::collections::{BTreeSet, HashSet};

impl Config {
    /// Checks what can be checked without a host.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), ConfigError> {
        let board = Board::of(&self.machine)?;
        no_nul("name", &self.name)?;
        if self.name.is_empty() {
            return Err(ConfigError::Text { field: "name", reason: "is empty" });
        }
        self.cpu.check()?;
        self.memory.check(self.cpu.most())?;
        self.ids()?;
        self.disks()?;
        self.nics.iter().try_for_each(super::Nic::check)?;
        self.display.check()?;
        self.streams()?;
        self.references()?;
        self.sharing()?;
        self.firmware(board)?;
        self.processes()?;
        self.board(board)?;
        places::Places::new(self, board).check()
    }

    /// Every name once, and none of ours.
    fn ids(&self) -> Result<(), ConfigError> {
        let mut seen = HashSet::new();
        let ids = (self.disks.iter().map(|disk| &disk.id))
            .chain(self.nics.iter().map(|nic| &nic.id))
            .chain(self.serials.iter().map(|serial| &serial.id))
            .chain(self.channels.iter().map(|channel| &channel.id))
            .chain(self.shares.iter().map(|share| &share.id))
            .chain(self.vhost_user.iter().map(|device| &device.id))
            .chain(self.throttle_groups.iter().map(|group| &group.id))
            .chain(self.secrets.iter().map(|secret| &secret.id))
            .chain(self.tls.iter().map(|tls| &tls.id))
            .chain(self.memory.modules.iter().map(|module| &module.id))
            .chain(&self.iothreads);
        for id in ids {
            check_id(id)?;
            if !seen.insert(id) {
                return Err(ConfigError::Id { id: id.clone() });
            }
        }
        Ok(())
    }

    fn disks(&self) -> Result<(), ConfigError> {
        for disk in &self.disks {
            if let DiskBus::Scsi(controller) = disk.bus {
                range("disk.bus", controller, controller < 8, "controllers 0 to 7")?;
            }
        }
        let secrets: BTreeSet<&str> = self.secrets.iter().map(|secret| secret.id.as_str()).collect();
        self.disks.iter().try_for_each(|disk| disk.check(&secrets))?;
        self.throttle_groups.iter().try_for_each(|group| group.limits.check())?;
        let mut orders = HashSet::new();
        let chosen = self
            .disks
            .iter()
            .filter_map(|disk| disk.boot_index)
            .chain(self.nics.iter().filter_map(|nic| nic.boot_index));
        for index in chosen {
            range("boot_index", index, index > 0 && orders.insert(index), "numbers from 1, each once")?;
        }
        for controller in 0..self.scsi_controllers() {
            let disks = self.disks.iter().filter(|disk| disk.bus == DiskBus::Scsi(controller));
            let threads: BTreeSet<_> = disks.map(|disk| disk.iothread.as_deref()).collect();
            if threads.len() > 1 {
                let reason = "all disks of a controller are served by the same thread";
                return Err(ConfigError::conflict(format!("SCSI controller {controller}"), reason));
            }
        }
        Ok(())
    }

    fn streams(&self) -> Result<(), ConfigError> {
        self.serials.iter().try_for_each(super::Serial::check)?;
        for channel in &self.channels {
            no_nul("channel.name", &channel.name)?;
            range("bytes of channel.name", channel.name.len() as u64, !channel.name.is_empty(), "from 1")?;
            channel.chardev.stream.check(&channel.id)?;
        }
        self.shares.iter().try_for_each(super::Share::check)?;
        self.vhost_user.iter().try_for_each(|device| device.socket.check_vhost_user(&device.id))?;
        self.secrets.iter().try_for_each(super::Secret::check)?;
        self.fw_cfg.iter().try_for_each(FwCfg::check)?;
        let mut isa = BTreeSet::from([0]);
        for serial in &self.serials {
            if let SerialKind::Isa(index) = serial.kind
                && !isa.insert(index)
            {
                return Err(ConfigError::conflict(&serial.id, format!("COM{} is there already", index + 1)));
            }
        }
        let spice = self.display.spice.is_some();
        let streams = (self.serials.iter().map(|serial| (&serial.id, &serial.chardev.stream)))
            .chain(self.channels.iter().map(|channel| (&channel.id, &channel.chardev.stream)));
        for (id, stream) in streams {
            if stream.needs_spice() && !spice {
                return Err(ConfigError::conflict(id, "a channel of SPICE needs display.spice"));
            }
        }
        Ok(())
    }

    /// What is named is there.
    fn references(&self) -> Result<(), ConfigError> {
        let known = |what, name: &str, user: &str, found: bool| {
            if found {
                Ok(())
            } else {
                Err(ConfigError::Unknown { what, name: name.to_owned(), user: user.to_owned() })
            }
        };
        for disk in &self.disks {
            if let Some(Throttle::Group(name)) = &disk.throttle {
                known(
                    "throttle group",
                    name,
                    &disk.id,
                    self.throttle_groups.iter().any(|group| group.id == *name),
                )?;
            }
            if let Some(name) = &disk.iothread {
                known("thread", name, &disk.id, self.iothreads.contains(name))?;
            }
        }
        let Display { vnc, spice, .. } = &self.display;
        let passwords = [
            ("display.vnc", vnc.as_ref().map(|vnc| &vnc.password)),
            ("display.spice", spice.as_ref().map(|spice| &spice.password)),
        ];
        for (user, password) in passwords {
            if let Some(Password::Secret(name)) = password {
                known("secret", name, user, self.secrets.iter().any(|secret| secret.id == *name))?;
            }
        }
        if let Some(name) = vnc.as_ref().and_then(|vnc| vnc.tls.as_ref()) {
            known("TLS credentials", name, "display.vnc", self.tls.iter().any(|tls| tls.id == *name))?;
        }
        Ok(())
    }

    /// Devices of other processes need memory that they can map.
    fn sharing(&self) -> Result<(), ConfigError> {
        if self.memory.sharing == Sharing::Shared {
            return Ok(());
        }
        let filesystem = self
            .shares
            .iter()
            .find(|share| matches!(share.kind, ShareKind::Virtiofs { .. }))
            .map(|share| &share.id);
        let network =
            self.nics.iter().find(|nic| matches!(nic.backend, NicBackend::VhostUser(_))).map(|nic| &nic.id);
        match filesystem.or(network).or(self.vhost_user.first().map(|device| &device.id)) {
            Some(id) => Err(ConfigError::conflict(
                id,
                "another process maps the guest's memory: memory.sharing must be Shared",
            )),
            None => Ok(()),
        }
    }

    fn firmware(&self, board: Board) -> Result<(), ConfigError> {
        if let Some(kernel) = &self.boot.kernel {
            no_nul("cmdline", &kernel.cmdline)?;
            for path in [Some(&kernel.kernel), kernel.initrd.as_ref()].into_iter().flatten() {
                absolute("kernel", path)?;
            }
        }
        if let Firmware::UefiSecure { .. } = self.boot.firmware {
            if board != Board::Q35 {
                return Err(ConfigError::conflict("boot.firmware", "Secure Boot needs the board q35"));
            }
            if self.tuning.smm == Some(Switch::Off) {
                return Err(ConfigError::conflict(
                    "boot.firmware",
                    "Secure Boot needs system management mode",
                ));
            }
        }
        if let (ClockBase::Unix(_), true) = (self.clock.base, self.clock.catch_up && board == Board::Microvm)
        {
            return Err(ConfigError::conflict("clock", "microvm's clock catches up nothing"));
        }
        let texts = [
            &self.smbios.bios,
            &self.smbios.system,
            &self.smbios.board,
            &self.smbios.chassis,
            &self.smbios.processor,
            &self.smbios.memory,
        ];
        for (name, value) in texts.into_iter().flatten() {
            no_nul("smbios", value)?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-')) {
                return Err(ConfigError::Text {
                    field: "smbios",
                    reason: "a member's name is lower case letters, '-' and '_'",
                });
            }
        }
        self.smbios.strings.iter().try_for_each(|text| no_nul("smbios.strings", text))
    }

    /// What needs a right of the process or a display.
    fn processes(&self) -> Result<(), ConfigError> {
        let may_spawn = self.sandbox.filter == Switch::Off || self.sandbox.spawn == Permission::Allow;
        let bridged = self.nics.iter().find(|nic| matches!(nic.backend, NicBackend::Bridge { .. }));
        if let (Some(nic), false) = (bridged, may_spawn) {
            return Err(ConfigError::conflict(
                &nic.id,
                "the bridge helper is a program: sandbox.spawn and sandbox.elevate must be Allow",
            ));
        }
        if let (Some(nic), Permission::Deny, Switch::On) =
            (bridged, self.sandbox.elevate, self.sandbox.filter)
        {
            return Err(ConfigError::conflict(
                &nic.id,
                "the bridge helper gains rights: sandbox.elevate must be Allow",
            ));
        }
        if let Some(vsock) = &self.vsock {
            range("vsock.cid", vsock.cid, (3..u32::MAX).contains(&vsock.cid), "3 to 4294967294")?;
        }
        for device in &self.vhost_user {
            if let VhostUserKind::Block { queues } = device.kind {
                range("vhost_user.queues", queues, (1..=256).contains(&queues), "1 to 256")?;
            }
        }
        let lacks = match self.sound.as_ref().map(|sound| &sound.backend) {
            Some(SoundBackend::Spice) => self.display.spice.is_none(),
            Some(SoundBackend::Dbus) => self.display.dbus.is_none(),
            _ => false,
        };
        if lacks {
            return Err(ConfigError::conflict("sound", "its other end is a display that is not there"));
        }
        if let Some(tpm) = &self.tpm
            && !matches!(tpm.control, Stream::Connect { .. } | Stream::Connected(_))
        {
            return Err(ConfigError::conflict("tpm", "swtpm is connected to, or handed over connected"));
        }
        Ok(())
    }

    fn board(&self, board: Board) -> Result<(), ConfigError> {
        let on_board = self.disks.iter().filter(|disk| disk.bus == DiskBus::Board).count() as u64;
        let wrong = |what: &str, reason: &str| Err(ConfigError::conflict(what, reason));
        match board {
            Board::Q35 => range("number of SATA disks and CD-ROM drives", on_board, on_board <= 6, "0 to 6"),
            Board::I440fx => {
                range("number of IDE disks and CD-ROM drives", on_board, on_board <= 4, "0 to 4")?;
                let tco = self.watchdog.is_some_and(|watchdog| watchdog.model == WatchdogModel::Tco);
                if self.tuning.iommu == Some(Iommu::Intel) || tco {
                    return wrong("machine", "the board i440fx has no Intel IOMMU and no TCO watchdog");
                }
                Ok(())
            }
            Board::Microvm => self.microvm(),
        }
    }

    fn microvm(&self) -> Result<(), ConfigError> {
        let wrong = |what: &str| {
            let reason = "microvm has virtio-mmio and nothing else: no PCI, USB, SATA, UEFI, NUMA, plugging";
            Err(ConfigError::conflict(what, reason))
        };
        if let Some(disk) = self.disks.iter().find(|disk| {
            !matches!(disk.bus, DiskBus::Virtio | DiskBus::Scsi(_))
                || disk.kind == DiskKind::Cdrom && disk.bus == DiskBus::Board
        }) {
            return wrong(&disk.id);
        }
        if let Some(nic) = self.nics.iter().find(|nic| nic.model != super::NicModel::Virtio) {
            return wrong(&nic.id);
        }
        if self.boot.firmware.is_uefi() {
            return wrong("boot.firmware");
        }
        let others = [
            ("display.gpus", !self.display.gpus.is_empty()),
            ("usb", self.has_usb()),
            ("sound", self.sound.is_some()),
            ("inputs", !self.inputs.is_empty()),
            ("vhost_user", !self.vhost_user.is_empty()),
            ("tpm", self.tpm.is_some()),
            ("watchdog", self.watchdog.is_some()),
            ("panic", self.panic.is_some_and(|panic| panic.model == super::PanicModel::Pci)),
            ("memory.hotplug", self.memory.hotplug.is_some()),
            ("memory.nodes", !self.memory.nodes.is_empty()),
            ("cpu.max", self.cpu.max.is_some()),
            ("tuning.iommu", self.tuning.iommu.is_some()),
            ("tuning.hpet", self.tuning.hpet.is_some()),
            ("serials", self.serials.iter().any(|serial| !matches!(serial.kind, SerialKind::Virtio))),
        ];
        others.iter().find(|(_, used)| *used).map_or(Ok(()), |(what, _)| wrong(what))
    }
}

/// Prefixes of generated ids, which are followed by a number.
const GENERATED: &[&str] = &["scsi", "usb", "usbdev", "gpu", "input", "ram-node"];

/// Ends of the names of what stands behind a device: block nodes, back ends, limits, memory.
const PARTS: &[&str] = &[
    "-file",
    "-throttle",
    "-cor",
    "-cbw",
    "-scr",
    "-view",
    "-limits",
    "-net",
    "-chr",
    "-ram",
    "-source",
    "-device",
];

/// Ends of the same that are followed by a number: images below, images made later, CPUs and descriptors.
const NUMBERED_PARTS: &[&str] = &["-b", "-s", "-fd"];

/// Whether a name is or could be one that is made here.
pub(super) fn is_ours(id: &str) -> bool {
    let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    let base = id.trim_end_matches(|c: char| c.is_ascii_digit());
    OWN_IDS.contains(&id)
        || GENERATED.iter().any(|prefix| id.strip_prefix(prefix).is_some_and(number))
        || id.starts_with(PORT_PREFIX)
        || PARTS.iter().any(|part| id.ends_with(part))
        || (base.len() < id.len() && NUMBERED_PARTS.iter().any(|part| base.ends_with(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    #[test]
    fn names_that_are_made_here_are_nobody_elses() {
        for id in
            ["data-cor", "root-b1", "root-s12", "a-file", "x-throttle", "a-limits", "n-net", "n-chr", "m-ram"]
        {
            assert!(matches!(check_id(id), Err(ConfigError::Id { .. })), "{id}");
        }
        for id in ["port9", "portal", "ram0", "scsi1", "usbdev0", "balloon0"] {
            assert!(matches!(check_id(id), Err(ConfigError::Id { .. })), "{id}");
        }
        for id in ["data", "root", "disk-1", "disk-b", "data-2", "usb", "net0", "web-files", "dimm-1"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
    }

    /// What `sockaddr_un` has room for; QEMU would end with an error that does not say which of its sockets it means.
    #[test]
    fn a_socket_that_no_path_of_the_kernel_reaches_is_refused_by_name() {
        let at = |bytes: usize| Address::Unix(format!("/{}", "s".repeat(bytes - 1)).into());
        for make in [Stream::Listen as fn(Address) -> Stream, |to| Stream::Connect { to, again_s: 0 }] {
            assert!(make(at(107)).check("x").is_ok());
            let error = make(at(108)).check("x").unwrap_err().to_string();
            assert!(error.contains("longer than 107 bytes") && error.contains("descriptor"), "{error}");
        }
    }

    #[test]
    fn memory_is_handed_over_at_a_path_only() {
        let stream = |to| Stream::Connect { to, again_s: 0 };
        let unix = Address::Unix("/switch.sock".into());
        assert!(stream(unix.clone()).check_vhost_user("x").is_ok());
        assert!(Stream::Listen(unix).check_vhost_user("x").is_ok());
        let tcp = stream(Address::Tcp("localhost".into(), 1));
        for wrong in [tcp, Stream::Connected("key".into()), Stream::ListenOn("key".into()), Stream::Null] {
            assert!(matches!(wrong.check_vhost_user("x"), Err(ConfigError::Conflict { .. })), "{wrong:?}");
        }
    }
}

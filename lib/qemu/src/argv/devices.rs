//! Smaller devices, and the tables of the firmware.

use super::{Line, places::Class, text::Pairs, utf8};
use crate::config::{
    ConfigError, FwCfgContent, Input, PanicModel, Rng, RngSource, ShareKind, SoundBackend, SoundCard,
    TpmModel, Usb, VhostUserKind, WatchdogModel,
};
use serde_json::{Value, json};
use std::ffi::OsString;

impl Line<'_> {
    pub(super) fn balloon_and_rng(&mut self) -> Result<(), ConfigError> {
        if let Some(balloon) = self.config.balloon {
            let mut device = json!({"driver": self.virtio("virtio-balloon"), "id": "balloon0"});
            if balloon.free_page_reporting {
                device["free-page-reporting"] = json!(true);
            }
            if balloon.deflate_on_oom {
                device["deflate-on-oom"] = json!(true);
            }
            self.general(0, device);
        }
        let Some(Rng { source, limit }) = &self.config.rng else { return Ok(()) };
        let object = match source {
            RngSource::File(path) => {
                json!({"qom-type": "rng-random", "id": "rng0-source", "filename": utf8("rng", path)?})
            }
            RngSource::Builtin => json!({"qom-type": "rng-builtin", "id": "rng0-source"}),
            RngSource::Egd(stream) => {
                self.chardev("rng0-chr", &stream.clone().into())?;
                json!({"qom-type": "rng-egd", "id": "rng0-source", "chardev": "rng0-chr"})
            }
        };
        self.option("-object", &object);
        let mut device = json!({"driver": self.virtio("virtio-rng"), "id": "rng0", "rng": "rng0-source"});
        if let Some((bytes, milliseconds)) = limit {
            device["max-bytes"] = json!(bytes);
            device["period"] = json!(milliseconds);
        }
        self.general(1, device);
        Ok(())
    }

    pub(super) fn devices(&mut self) -> Result<(), ConfigError> {
        self.shares()?;
        self.vhost_user()?;
        self.usb()?;
        self.inputs()?;
        self.sound()?;
        self.tpm()?;
        self.guards()?;
        if self.config.tuning.iommu == Some(crate::config::Iommu::Virtio) {
            self.classed(Class::Iommu, 0, json!({"driver": "virtio-iommu-pci", "id": "iommu0"}));
        }
        if let Some(generation) = self.config.generation {
            self.option("-device", &json!({"driver": "vmgenid", "id": "vmgenid0", "guid": generation}));
        }
        if self.config.dump_info {
            self.option("-device", &json!({"driver": "vmcoreinfo", "id": "vmcoreinfo0"}));
        }
        Ok(())
    }

    fn shares(&mut self) -> Result<(), ConfigError> {
        for (index, share) in self.config.shares.iter().enumerate() {
            match &share.kind {
                ShareKind::Virtiofs { socket, queue } => {
                    let chardev = format!("{}-chr", share.id);
                    self.chardev(&chardev, &socket.clone().into())?;
                    let driver = self.virtio("vhost-user-fs");
                    let mut device =
                        json!({"driver": driver, "id": share.id, "chardev": chardev, "tag": share.tag});
                    if let Some(queue) = queue {
                        device["queue-size"] = json!(queue);
                    }
                    self.classed(Class::Share, index, device);
                }
                ShareKind::NineP { path, security, read_only } => {
                    let fsdev = format!("{}-fs", share.id);
                    let pairs = Pairs::new("local").with("id", &fsdev).with("path", path);
                    let pairs = pairs
                        .with("security_model", security.as_str())
                        .maybe("readonly", read_only.then_some("on"));
                    self.raw_option("-fsdev", OsString::from(pairs));
                    let driver = self.virtio("virtio-9p");
                    let device =
                        json!({"driver": driver, "id": share.id, "fsdev": fsdev, "mount_tag": share.tag});
                    self.classed(Class::Share, index, device);
                }
            }
        }
        Ok(())
    }

    fn vhost_user(&mut self) -> Result<(), ConfigError> {
        for (index, device) in self.config.vhost_user.iter().enumerate() {
            let chardev = format!("{}-chr", device.id);
            self.chardev(&chardev, &device.socket.clone().into())?;
            let mut value = json!({"driver": device.kind.driver(), "id": device.id, "chardev": chardev});
            if let VhostUserKind::Block { queues } = device.kind {
                value["num-queues"] = json!(queues);
            }
            self.classed(Class::VhostUser, index, value);
        }
        if let Some(vsock) = &self.config.vsock {
            let mut device =
                json!({"driver": self.virtio("vhost-vsock"), "id": "vsock0", "guest-cid": vsock.cid});
            if let Some(key) = &vsock.vhost {
                device["vhostfd"] = json!(self.descriptor(key)?.1.to_string());
            }
            self.classed(Class::Vsock, 0, device);
        }
        Ok(())
    }

    fn usb(&mut self) -> Result<(), ConfigError> {
        for (index, usb) in self.config.usb.iter().enumerate() {
            let (id, chardev) = (format!("usbdev{index}"), format!("usbdev{index}-chr"));
            let on_usb = |driver: &str| json!({"driver": driver, "id": id, "bus": "usb0.0"});
            match usb {
                Usb::Tablet => self.option("-device", &on_usb("usb-tablet")),
                Usb::Mouse => self.option("-device", &on_usb("usb-mouse")),
                Usb::Keyboard => self.option("-device", &on_usb("usb-kbd")),
                Usb::Host { vendor, product } => {
                    let mut device = on_usb("usb-host");
                    device["vendorid"] = json!(vendor);
                    device["productid"] = json!(product);
                    self.option("-device", &device);
                }
                Usb::Redirected(stream) => {
                    self.chardev(&chardev, stream)?;
                    let mut device = on_usb("usb-redir");
                    device["chardev"] = json!(chardev);
                    self.option("-device", &device);
                }
                Usb::SmartCard(stream) => {
                    self.chardev(&chardev, stream)?;
                    self.option("-device", &on_usb("usb-ccid"));
                    let card = json!({
                        "driver": "ccid-card-passthru", "id": format!("{id}-card"), "bus": format!("{id}.0"), "chardev": chardev,
                    });
                    self.option("-device", &card);
                }
            }
        }
        Ok(())
    }

    fn inputs(&mut self) -> Result<(), ConfigError> {
        for (index, input) in self.config.inputs.iter().enumerate() {
            let of = |driver: &str| json!({"driver": driver, "id": format!("input{index}")});
            let device = match input {
                Input::Keyboard => of("virtio-keyboard-pci"),
                Input::Mouse => of("virtio-mouse-pci"),
                Input::Tablet => of("virtio-tablet-pci"),
                Input::Host(path) => {
                    let mut device = of("virtio-input-host-pci");
                    device["evdev"] = json!(utf8("input", path)?);
                    device
                }
            };
            self.classed(Class::Input, index, device);
        }
        Ok(())
    }

    fn sound(&mut self) -> Result<(), ConfigError> {
        let Some(sound) = &self.config.sound else { return Ok(()) };
        let backend = match &sound.backend {
            SoundBackend::None => json!({"driver": "none", "id": "audio0"}),
            SoundBackend::Spice => json!({"driver": "spice", "id": "audio0"}),
            SoundBackend::Dbus => json!({"driver": "dbus", "id": "audio0"}),
            SoundBackend::Wav(path) => json!({"driver": "wav", "id": "audio0", "path": utf8("sound", path)?}),
            SoundBackend::Pulse(server) => json!({"driver": "pa", "id": "audio0", "server": server}),
        };
        self.option("-audiodev", &backend);
        let codec = |driver: &str| -> Value {
            json!({"driver": driver, "id": "sound0-codec", "bus": "sound0.0", "audiodev": "audio0"})
        };
        let codec = match sound.card {
            SoundCard::Hda => codec("hda-duplex"),
            SoundCard::HdaMicro => codec("hda-micro"),
            SoundCard::HdaOutput => codec("hda-output"),
            SoundCard::Ac97 => {
                self.classed(
                    Class::Sound,
                    0,
                    json!({"driver": "AC97", "id": "sound0", "audiodev": "audio0"}),
                );
                return Ok(());
            }
            SoundCard::Usb => {
                let device =
                    json!({"driver": "usb-audio", "id": "sound0", "bus": "usb0.0", "audiodev": "audio0"});
                self.option("-device", &device);
                return Ok(());
            }
        };
        self.classed(Class::Sound, 0, json!({"driver": "ich9-intel-hda", "id": "sound0"}));
        self.option("-device", &codec);
        Ok(())
    }

    fn tpm(&mut self) -> Result<(), ConfigError> {
        let Some(tpm) = &self.config.tpm else { return Ok(()) };
        self.chardev("tpm0-chr", &tpm.control.clone().into())?;
        self.push(&["-tpmdev", "emulator,id=tpm0,chardev=tpm0-chr"]);
        let driver = match tpm.model {
            TpmModel::Crb => "tpm-crb",
            TpmModel::Tis => "tpm-tis",
        };
        self.option("-device", &json!({"driver": driver, "id": "tpm0-device", "tpmdev": "tpm0"}));
        Ok(())
    }

    /// Watchdog and panic device, and what follows from them.
    fn guards(&mut self) -> Result<(), ConfigError> {
        let config = self.config;
        match config.watchdog.map(|watchdog| watchdog.model) {
            None => {}
            Some(WatchdogModel::I6300esb) => {
                self.classed(Class::Watchdog, 0, json!({"driver": "i6300esb", "id": "watchdog0"}));
            }
            Some(WatchdogModel::Ib700) => {
                self.option("-device", &json!({"driver": "ib700", "id": "watchdog0"}))
            }
            Some(WatchdogModel::Tco) => self.push(&["-global", "ICH9-LPC.noreboot=off"]),
        }
        match config.panic.map(|panic| panic.model) {
            None => {}
            Some(PanicModel::Isa) => self.option("-device", &json!({"driver": "pvpanic"})),
            Some(PanicModel::Pci) => {
                self.classed(Class::Panic, 0, json!({"driver": "pvpanic-pci", "id": "panic0"}));
            }
        }
        let actions = Pairs::new("")
            .maybe("watchdog", config.watchdog.map(|watchdog| watchdog.action.as_str()))
            .maybe("panic", config.panic.map(|panic| panic.action.as_str()));
        if config.watchdog.is_some() || config.panic.is_some() {
            self.raw_option("-action", OsString::from(actions));
        }
        Ok(())
    }

    /// SMBIOS and the firmware configuration device.
    pub(super) fn tables(&mut self) -> Result<(), ConfigError> {
        let config = self.config;
        let smbios = &config.smbios;
        let tables = [
            ("0", &smbios.bios),
            ("1", &smbios.system),
            ("2", &smbios.board),
            ("3", &smbios.chassis),
            ("4", &smbios.processor),
            ("17", &smbios.memory),
        ];
        for (kind, members) in tables {
            if members.is_empty() {
                continue;
            }
            let pairs = members
                .iter()
                .fold(Pairs::new("").with("type", kind), |pairs, (name, value)| pairs.with(name, value));
            self.raw_option("-smbios", OsString::from(pairs));
        }
        if !smbios.strings.is_empty() {
            let pairs = smbios
                .strings
                .iter()
                .fold(Pairs::new("").with("type", "11"), |pairs, text| pairs.with("value", text));
            self.raw_option("-smbios", OsString::from(pairs));
        }
        for file in &config.fw_cfg {
            let pairs = Pairs::new("").with("name", &file.name);
            let pairs = match &file.content {
                FwCfgContent::Text(text) => pairs.with("string", text),
                FwCfgContent::File(source) => pairs.with("file", self.plain_filename("fw_cfg", source)?),
            };
            self.raw_option("-fw_cfg", OsString::from(pairs));
        }
        Ok(())
    }
}

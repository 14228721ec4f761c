//! Streams: `-chardev` and what uses them.

use super::{Line, places::Class, text::Pairs, utf8};
use crate::config::{Address, Chardev, ConfigError, SerialKind, Source, Stream};
use serde_json::{Value, json};
use std::{ffi::OsString, os::fd::RawFd};

impl Line<'_> {
    /// Declares a stream under this name.
    pub(super) fn chardev(&mut self, id: &str, chardev: &Chardev) -> Result<(), ConfigError> {
        let fd = |key: &str| -> Result<String, ConfigError> {
            let fd: RawFd = self.descriptor(key)?.1;
            Ok(fd.to_string())
        };
        let server = |pairs: Pairs| pairs.with("server", "on").with("wait", "off");
        let pairs = match &chardev.stream {
            Stream::Null => Pairs::new("null").with("id", id),
            Stream::Listen(address) => server(socket(Pairs::new("socket").with("id", id), address)),
            Stream::ListenOn(key) => server(Pairs::new("socket").with("id", id).with("fd", fd(key)?)),
            Stream::Connect { to, again_s } => {
                let pairs = socket(Pairs::new("socket").with("id", id), to);
                let (name, pause) = self.config.reconnect.spelt(*again_s);
                pairs.maybe(name, (pause > 0).then(|| pause.to_string()))
            }
            Stream::Connected(key) => Pairs::new("socket").with("id", id).with("fd", fd(key)?),
            Stream::File(path) => Pairs::new("file").with("id", id).with("path", path).with("append", "on"),
            Stream::Pty => Pairs::new("pty").with("id", id),
            Stream::Ring { bytes } => Pairs::new("ringbuf").with("id", id).with("size", bytes.to_string()),
            Stream::Pipe(path) => Pairs::new("pipe").with("id", id).with("path", path),
            Stream::Udp { to, on } => Pairs::new("udp")
                .with("id", id)
                .with("host", &to.0)
                .with("port", to.1.to_string())
                .with("localaddr", &on.0)
                .with("localport", on.1.to_string()),
            Stream::SpiceChannel(name) => Pairs::new("spicevmc").with("id", id).with("name", name),
            Stream::SpicePort(name) => Pairs::new("spiceport").with("id", id).with("name", name),
            Stream::Agent => Pairs::new("qemu-vdagent").with("id", id).with("clipboard", "on"),
        };
        let log = match &chardev.log {
            None => None,
            Some(Source::Path(path)) => Some(path.clone().into_os_string()),
            Some(source) => Some(self.filename("chardev.log", source)?.into()),
        };
        let append = log.as_ref().map(|_| "on");
        let pairs = pairs.maybe("logfile", log).maybe("logappend", append);
        self.raw_option("-chardev", OsString::from(pairs));
        Ok(())
    }

    /// Serial ports and channels.
    pub(super) fn streams(&mut self) -> Result<(), ConfigError> {
        let config = self.config;
        if config.has_virtio_serial() {
            let driver = self.virtio("virtio-serial");
            self.classed(Class::Channels, 0, json!({"driver": driver, "id": "vserial0"}));
        }
        let (mut pci, mut consoles) = (0, 0);
        for serial in &config.serials {
            let chardev = format!("{}-chr", serial.id);
            self.chardev(&chardev, &serial.chardev)?;
            let mut device = json!({"id": serial.id, "chardev": chardev});
            match serial.kind {
                SerialKind::Isa(index) => {
                    device["driver"] = json!("isa-serial");
                    device["index"] = json!(index);
                    self.option("-device", &device);
                }
                SerialKind::Pci => {
                    device["driver"] = json!("pci-serial");
                    self.classed(Class::Serial, pci, device);
                    pci += 1;
                }
                SerialKind::Usb => {
                    device["driver"] = json!("usb-serial");
                    device["bus"] = json!("usb0.0");
                    self.option("-device", &device);
                }
                SerialKind::Virtio => {
                    device["driver"] = json!("virtconsole");
                    device["bus"] = json!("vserial0.0");
                    device["nr"] = json!(consoles);
                    consoles += 1;
                    self.option("-device", &device);
                }
                SerialKind::Debug(port) => {
                    device["driver"] = json!("isa-debugcon");
                    device["iobase"] = json!(port);
                    self.option("-device", &device);
                }
            }
        }
        for (index, channel) in config.channels.iter().enumerate() {
            let chardev = format!("{}-chr", channel.id);
            self.chardev(&chardev, &channel.chardev)?;
            // Port 0 is a console's; channels come after those that can be.
            self.option(
                "-device",
                &json!({
                    "driver": "virtserialport", "id": channel.id, "bus": "vserial0.0", "nr": FIRST_CHANNEL + index,
                    "chardev": chardev, "name": channel.name,
                }),
            );
        }
        Ok(())
    }
}

/// A connection to a server as `chardev-add` takes it.
pub(crate) fn connection(to: &Address) -> Result<Value, ConfigError> {
    let address = match to {
        Address::Unix(path) => json!({"type": "unix", "data": {"path": utf8("socket", path)?}}),
        Address::Tcp(host, port) => json!({"type": "inet", "data": {"host": host, "port": port.to_string()}}),
    };
    Ok(json!({"type": "socket", "data": {"addr": address, "server": false}}))
}

fn socket(pairs: Pairs, address: &Address) -> Pairs {
    match address {
        Address::Unix(path) => pairs.with("path", path),
        Address::Tcp(host, port) => pairs.with("host", host).with("port", port.to_string()),
    }
}

/// Eight consoles at most; a controller has 31 ports.
const FIRST_CHANNEL: usize = 8;

//! Graphics cards and displays.

use super::{Line, places::Class, text::Pairs};
use crate::config::{Address, ConfigError, Dbus, Display, Gpu, Password, Spice, Switch, Vnc, VncShare};
use serde_json::{Value, json};
use std::ffi::OsString;

impl Line<'_> {
    /// VNC and SPICE are servers beside it.
    pub(super) fn display_kind(&mut self) {
        match &self.config.display.dbus {
            None => self.push(&["-display", "none"]),
            Some(Dbus::Bus(address)) => self.option("-display", &json!({"type": "dbus", "addr": address})),
            Some(Dbus::PeerToPeer) => self.option("-display", &json!({"type": "dbus", "p2p": true})),
        }
    }

    pub(super) fn display(&mut self) -> Result<(), ConfigError> {
        let display = &self.config.display;
        let mut place = 0;
        for (index, gpu) in display.gpus.iter().enumerate() {
            let device = card(display, *gpu, index);
            if *gpu == Gpu::Ramfb {
                self.option("-device", &device);
            } else {
                self.classed(Class::Gpu, place, device);
                place += 1;
            }
        }
        if let Some(vnc) = &display.vnc {
            self.raw_option("-vnc", OsString::from(vnc_option(vnc)));
        }
        if let Some(spice) = &display.spice {
            self.raw_option("-spice", OsString::from(spice_option(spice)));
        }
        Ok(())
    }
}

fn card(display: &Display, gpu: Gpu, index: usize) -> Value {
    let (driver, memory, sized, headed) = match gpu {
        Gpu::Std => ("VGA", Some("vgamem_mb"), true, false),
        Gpu::Bochs => ("bochs-display", Some("vgamem"), true, false),
        Gpu::Cirrus => ("cirrus-vga", Some("vgamem_mb"), false, false),
        Gpu::Vmware => ("vmware-svga", Some("vgamem_mb"), false, false),
        Gpu::Qxl => ("qxl-vga", Some("vgamem_mb"), true, true),
        Gpu::VirtioVga => ("virtio-vga", None, true, true),
        Gpu::Virtio => ("virtio-gpu-pci", None, true, true),
        Gpu::Ramfb => ("ramfb", None, false, false),
    };
    let mut device = json!({"driver": driver, "id": format!("gpu{index}")});
    if let (Some(member), Some(mib)) = (memory, display.vram_mib) {
        // This one counts in bytes.
        device[member] = if gpu == Gpu::Bochs { json!(u32::from(mib) << 20) } else { json!(mib) };
    }
    if let (Some((width, height)), true) = (display.size, sized) {
        device["xres"] = json!(width);
        device["yres"] = json!(height);
    }
    if let (Some(heads), true) = (display.heads, headed) {
        device["max_outputs"] = json!(heads);
    }
    device
}

fn vnc_option(vnc: &Vnc) -> Pairs {
    let mut place = OsString::new();
    match &vnc.listen {
        Address::Unix(path) => {
            place.push("unix:");
            place.push(path);
        }
        Address::Tcp(host, port) => place.push(format!("{host}:{}", port - FIRST_VNC_PORT)),
    }
    // By its name: of a place without one, an equals sign in it would make a name.
    let first = Pairs::new("").with("vnc", place);
    let share = match vnc.share {
        VncShare::AllowExclusive => None,
        VncShare::ForceShared => Some("force-shared"),
        VncShare::Ignore => Some("ignore"),
    };
    let pairs = match &vnc.password {
        Password::None => first,
        Password::Secret(secret) => first.with("password-secret", secret),
        Password::Later => first.with("password", "on"),
    };
    pairs
        .maybe("websocket", vnc.websocket.map(|port| port.to_string()))
        .maybe("share", share)
        .maybe("tls-creds", vnc.tls.as_ref())
        .maybe("lossy", vnc.lossy.then_some("on"))
}

fn spice_option(spice: &Spice) -> Pairs {
    let pairs = match &spice.listen {
        Address::Unix(path) => Pairs::new("").with("unix", "on").with("addr", path),
        Address::Tcp(host, port) => Pairs::new("").with("addr", host).with("port", port.to_string()),
    };
    let pairs = match &spice.password {
        Password::None => pairs.with("disable-ticketing", "on"),
        Password::Secret(secret) => pairs.with("password-secret", secret),
        Password::Later => pairs,
    };
    let pairs = match &spice.tls {
        None => pairs,
        Some((port, directory)) => pairs.with("tls-port", port.to_string()).with("x509-dir", directory),
    };
    let off = |switch: Switch| (switch == Switch::Off).then_some("on");
    pairs
        .maybe("image-compression", spice.compression.map(crate::config::ImageCompression::as_str))
        .maybe("disable-copy-paste", off(spice.clipboard))
        .maybe("disable-agent-file-xfer", off(spice.file_transfer))
}

/// Displays count from here.
const FIRST_VNC_PORT: u16 = 5900;

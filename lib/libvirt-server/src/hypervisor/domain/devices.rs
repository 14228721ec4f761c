//! Devices of a domain, completed as libvirt completes them.

use crate::hypervisor::Refusal;
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};

/// The order in which libvirt writes devices.
const ORDER: [&str; 28] = [
    "emulator",
    "disk",
    "controller",
    "lease",
    "filesystem",
    "interface",
    "smartcard",
    "serial",
    "parallel",
    "console",
    "channel",
    "input",
    "tpm",
    "graphics",
    "audio",
    "sound",
    "video",
    "hostdev",
    "redirdev",
    "redirfilter",
    "hub",
    "watchdog",
    "memballoon",
    "rng",
    "nvram",
    "panic",
    "shmem",
    "memory",
];

/// All devices, with what was left open filled in; addresses of interfaces come from `mac`.
///
/// # Errors
/// When a device lacks what libvirt demands.
pub(super) fn complete(given: &[Element], mut mac: impl FnMut() -> String) -> Result<Vec<Element>, Refusal> {
    let mut devices = Vec::new();
    for device in given {
        devices.push(match device.name.as_str() {
            "disk" => disk(device)?,
            "interface" => interface(device, &mut mac),
            "graphics" => graphics(device),
            _ => device.clone(),
        });
    }
    let consoles = devices.iter().any(|device| device.name == "console");
    let serials = devices.iter().any(|device| device.name == "serial");
    if serials || consoles {
        join_consoles(&mut devices);
    }
    let shown = devices.iter().any(|device| device.name == "graphics");
    if shown && !devices.iter().any(|device| device.name == "video") {
        let model = Element::new("model").with("type", "cirrus").with("vram", "16384").with("heads", "1");
        devices.push(Element::new("video").child(model.with("primary", "yes")));
    }
    arrange(&mut devices);
    Ok(devices)
}

/// Gives names and controllers to what lacks them, and puts everything in libvirt's order.
pub(super) fn arrange(devices: &mut Vec<Element>) {
    name_interfaces(devices);
    add_controllers(devices);
    devices.sort_by_key(|device| ORDER.iter().position(|name| *name == device.name).unwrap_or(ORDER.len()));
}

/// The order in which libvirt writes what stands in a disk.
const DISK: [&str; 9] =
    ["driver", "auth", "source", "backingStore", "geometry", "blockio", "target", "iotune", "readonly"];
/// The order in which libvirt writes what stands in a network interface.
const INTERFACE: [&str; 10] =
    ["mac", "source", "virtualport", "bandwidth", "target", "guest", "model", "driver", "backend", "boot"];

/// Puts an element into a disk or a network interface, in place of the one of its name.
pub(super) fn put(device: &mut Element, element: Element) {
    device.children.retain(|child| child.name != element.name);
    device.children.push(element);
    sort(device, if device.name == "disk" { &DISK } else { &INTERFACE });
}

fn sort(device: &mut Element, order: &[&str]) {
    device
        .children
        .sort_by_key(|child| order.iter().position(|name| *name == child.name).unwrap_or(order.len()));
}

/// The number of the last controller of one kind. libvirt has no such bound.
const LAST_CONTROLLER: u64 = 255;

/// A disk: a file unless it says otherwise, on the bus that its target's name tells.
pub(crate) fn disk(given: &Element) -> Result<Element, Refusal> {
    let mut disk = Element::new("disk")
        .with("type", given.attribute("type").unwrap_or("file"))
        .with("device", given.attribute("device").unwrap_or("disk"));
    given.attributes.iter().for_each(|(name, value)| disk.set(name, value));
    disk.children = given.children.clone();
    let Some(target) = disk.find_mut("target") else {
        return Err(Refusal::bare(ErrorNumber::NoTarget).of(ErrorDomain::Domain));
    };
    let device = target.attribute("dev").unwrap_or_default().to_owned();
    if target.attribute("bus").is_none() {
        let bus =
            [("fd", "fdc"), ("hd", "ide"), ("sd", "scsi"), ("vd", "virtio"), ("xvd", "xen"), ("ubd", "uml")];
        let bus = bus.iter().find(|(start, _)| device.starts_with(start)).map_or("ide", |(_, bus)| bus);
        target.set("bus", bus);
    }
    let bus = target.attribute("bus").unwrap_or_default().to_owned();
    if disk.find("source").is_none() {
        // Nothing is in it, of whatever kind.
        disk.set("type", "file");
    }
    if disk.find("address").is_none()
        && let Some(address) = drive_address(&bus, &device)
    {
        disk.children.push(address);
    }
    // Each below it is made too, for which a name such as `sdzzzzzz` would take longer than anybody waits.
    let controller = disk.path("address/@controller").and_then(|number| number.parse::<u64>().ok());
    if let Some(controller) = controller.filter(|number| *number > LAST_CONTROLLER) {
        let text =
            format!("disk '{device}' is on controller {controller}; the last one is {LAST_CONTROLLER}");
        return Err(Refusal::new(ErrorNumber::ConfigUnsupported, text).of(ErrorDomain::Domain));
    }
    let read_only = disk.attribute("device") == Some("cdrom") && disk.find("readonly").is_none();
    if read_only {
        disk.children.push(Element::new("readonly"));
    }
    sort(&mut disk, &DISK);
    Ok(disk)
}

/// Where a disk stands on a bus whose controllers have places for drives: by the last part of its name, `hda` first.
fn drive_address(bus: &str, device: &str) -> Option<Element> {
    let mut letters = device.get(2..)?.bytes().take_while(u8::is_ascii_lowercase);
    let next = |index: u64, letter| index.checked_mul(26)?.checked_add(u64::from(letter - b'a') + 1);
    let index = letters.try_fold(0, next)?.checked_sub(1)?;
    let (controller, bus, unit) = match bus {
        "ide" => (index / 4, index % 4 / 2, index % 2),
        "scsi" => (index / 7, 0, index % 7),
        "sata" => (index / 6, 0, index % 6),
        "fdc" => (index / 2, 0, index % 2),
        _ => return None,
    };
    let address = Element::new("address").with("type", "drive").with("controller", controller);
    Some(address.with("bus", bus).with("target", 0).with("unit", unit))
}

/// Adds the controllers that devices need.
fn add_controllers(devices: &mut Vec<Element>) {
    let needs = |kind: &str| {
        let disks =
            devices.iter().filter(|device| device.name == "disk" && device.path("target/@bus") == Some(kind));
        disks.filter_map(|disk| disk.path("address/@controller")?.parse::<u32>().ok()).max()
    };
    let mut wanted: Vec<(&str, u32)> = Vec::new();
    for kind in ["scsi", "fdc", "ide", "sata"] {
        if let Some(last) = needs(kind) {
            wanted.extend((0..=last).map(|index| (kind, index)));
        }
    }
    let virtio = |device: &Element| {
        matches!(device.name.as_str(), "channel" | "console") && device.path("target/@type") == Some("virtio")
    };
    if devices.iter().any(virtio) {
        wanted.push(("virtio-serial", 0));
    }
    for (kind, index) in wanted {
        let index = index.to_string();
        let known = devices.iter().any(|device| {
            device.name == "controller"
                && device.attribute("type") == Some(kind)
                && device.attribute("index") == Some(&index)
        });
        if !known {
            devices.push(Element::new("controller").with("type", kind).with("index", index));
        }
    }
}

/// A network interface: with an address.
pub(crate) fn interface(given: &Element, mut mac: impl FnMut() -> String) -> Element {
    let mut interface = given.clone();
    if interface.find("mac").is_none() {
        interface.children.push(Element::new("mac").with("address", mac()));
    }
    sort(&mut interface, &INTERFACE);
    interface
}

/// Gives every interface without a name on the host the first that is free.
fn name_interfaces(devices: &mut [Element]) {
    let mut taken: Vec<String> = devices
        .iter()
        .filter(|device| device.name == "interface")
        .filter_map(|interface| interface.path("target/@dev").map(str::to_owned))
        .collect();
    for interface in devices.iter_mut().filter(|device| device.name == "interface") {
        if interface.path("target/@dev").is_some() {
            continue;
        }
        let free = (0..).map(|number| format!("testnet{number}")).find(|name| !taken.contains(name));
        let name = free.unwrap_or_default();
        interface.children.push(Element::new("target").with("dev", &name));
        taken.push(name);
        sort(interface, &INTERFACE);
    }
}

/// The first console and the first serial port are one and the same.
fn join_consoles(devices: &mut Vec<Element>) {
    for (port, serial) in devices.iter_mut().filter(|device| device.name == "serial").enumerate() {
        if serial.find("target").is_none() {
            serial.children.push(Element::new("target").with("port", port));
        }
    }
    let target = |number: usize| Element::new("target").with("type", "serial").with("port", number);
    for (number, console) in devices.iter_mut().filter(|device| device.name == "console").enumerate() {
        if console.find("target").is_none_or(|target| target.attribute("type").is_none()) {
            console.children.retain(|child| child.name != "target");
            console.children.push(target(number));
        }
    }
    let first = |devices: &[Element], name: &str| devices.iter().find(|device| device.name == name).cloned();
    match (first(devices, "serial"), first(devices, "console")) {
        (None, Some(console)) if console.path("target/@type") == Some("serial") => {
            let mut serial = console.renamed("serial");
            serial.children.retain(|child| child.name != "target");
            serial.children.push(Element::new("target").with("port", 0));
            devices.push(serial);
        }
        (Some(serial), None) => {
            let mut console = serial.renamed("console");
            console.children.retain(|child| child.name != "target");
            console.children.push(target(0));
            devices.push(console);
        }
        _ => {}
    }
}

/// A display: where it listens is always said.
fn graphics(given: &Element) -> Element {
    let mut graphics = given.clone();
    let kind = graphics.attribute("type").unwrap_or_default().to_owned();
    if matches!(kind.as_str(), "vnc" | "spice" | "rdp") {
        let port = graphics.attribute("port").filter(|port| *port != "-1").map(str::to_owned);
        let auto =
            graphics.attribute("autoport").unwrap_or(if port.is_none() { "yes" } else { "no" }).to_owned();
        let rest = std::mem::take(&mut graphics.attributes);
        graphics.set("type", &kind);
        // A port that is not known yet is written for VNC alone.
        match port {
            Some(port) => graphics.set("port", port),
            None if kind == "vnc" => graphics.set("port", -1),
            None => {}
        }
        graphics.set("autoport", auto);
        let known = ["type", "port", "autoport"];
        rest.iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
            .for_each(|(name, value)| graphics.set(name, value));
        if graphics.find("listen").is_none() {
            let mut listen = Element::new("listen").with("type", "address");
            if let Some(address) = graphics.attribute("listen") {
                listen.set("address", address);
            }
            graphics.children.push(listen);
        }
    }
    graphics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_on_a_controller_that_nobody_has_is_refused() {
        let disk = |name: &str, address: Option<Element>| {
            let given =
                Element::new("disk").child(Element::new("target").with("dev", name)).children(address);
            super::disk(&given).map(|disk| disk.path("address/@controller").map(str::to_owned))
        };
        let far = Element::new("address").with("type", "drive").with("controller", u32::MAX);
        for (name, address) in [("sdzzzz", None), ("namyvda", None), ("vda", Some(far))] {
            assert_eq!(disk(name, address).unwrap_err().code, ErrorNumber::ConfigUnsupported, "{name}");
        }
        assert_eq!(disk("sdzz", None).unwrap().as_deref(), Some("100"));
        // A number that is none has no place.
        assert_eq!(disk(&format!("sd{}", "z".repeat(40)), None).unwrap(), None);
    }
}

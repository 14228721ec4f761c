//! What a domain is made of: read from its XML, completed as libvirt completes it, written back in libvirt's order.

use super::devices;
use crate::hypervisor::Refusal;
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::params::TypedValue;
use libvirt_protocol::xdr::Uuid;
use std::collections::{BTreeMap, BTreeSet};

/// How many processors or I/O threads a domain has at the most, and how many of the host's processors it can name: what has a place in the
/// protocol's map of processors (2,048 bytes, `REMOTE_CPUMAP_MAX`). libvirt has no such bound; here each of them is an entry in memory, and
/// everybody waits while it is made.
pub(crate) const MOST: u32 = 16_384;

/// How many processors of the host all pins of a document name together, at the most.
const MOST_PINNED: usize = 1 << 20;

/// Processors of the host that a virtual one may run on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Cpus(pub(crate) BTreeSet<u32>);

/// A domain's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uuid: Uuid,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    /// Elements of other people's namespaces, one of each; a domain that never had any has not even the place for them.
    pub(crate) metadata: Option<Vec<Element>>,
    pub(crate) max_memory_kib: u64,
    pub(crate) memory_kib: u64,
    pub(crate) max_vcpus: u32,
    pub(crate) vcpus: u32,
    /// Numbers of its I/O threads, in the order they came.
    pub(crate) iothreads: Vec<u32>,
    /// Whether anybody ever chose one of these numbers: only then they are written.
    pub(crate) iothreads_chosen: bool,
    pub(crate) vcpu_pins: BTreeMap<u32, Cpus>,
    pub(crate) emulator_pin: Option<Cpus>,
    pub(crate) iothread_pins: BTreeMap<u32, Cpus>,
    /// Parameters that were set, by what they are of and name, over the defaults.
    pub(crate) parameters: BTreeMap<(String, String), TypedValue<'static>>,
    pub(crate) devices: Vec<Element>,
    /// Everything else at the top, as it came.
    pub(crate) others: Vec<Element>,
}

/// The order in which libvirt writes what stands at the top of a domain.
pub(crate) const ORDER: [&str; 38] = [
    "name",
    "uuid",
    "genid",
    "title",
    "description",
    "metadata",
    "maxMemory",
    "memory",
    "currentMemory",
    "blkiotune",
    "memtune",
    "memoryBacking",
    "vcpu",
    "vcpus",
    "iothreads",
    "iothreadids",
    "defaultiothread",
    "cputune",
    "numatune",
    "resource",
    "sysinfo",
    "bootloader",
    "bootloader_args",
    "os",
    "idmap",
    "features",
    "cpu",
    "clock",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "on_lockfailure",
    "pm",
    "perf",
    "throttlegroups",
    "devices",
    "seclabel",
    "launchSecurity",
];

/// What [`Config`] has in fields of its own.
const TYPED: [&str; 14] = [
    "name",
    "uuid",
    "title",
    "description",
    "metadata",
    "memory",
    "currentMemory",
    "vcpu",
    "iothreads",
    "iothreadids",
    "cputune",
    "devices",
    "os",
    "clock",
];

impl Config {
    /// The domain of libvirt's default test state.
    pub(crate) fn default_domain(uuid: Uuid) -> Self {
        let address = |bus: &str, slot: &str| {
            Element::new("address")
                .with("type", "pci")
                .with("domain", "0x0000")
                .with("bus", bus)
                .with("slot", slot)
                .with("function", "0x0")
        };
        let disk = Element::new("disk")
            .with("type", "file")
            .with("device", "disk")
            .child(Element::new("source").with("file", "/guest/diskimage1"))
            .child(Element::new("target").with("dev", "vda").with("bus", "virtio"))
            .child(address("0x01", "0x00"));
        let interface = Element::new("interface")
            .with("type", "network")
            .child(Element::new("mac").with("address", "aa:bb:cc:dd:ee:ff"))
            .child(Element::new("source").with("network", "default"))
            .child(Element::new("target").with("dev", "testnet0"))
            .child(address("0x00", "0x01"));
        let balloon = Element::new("memballoon").with("model", "virtio").child(address("0x00", "0x02"));
        let os = os(&Element::new("os").child(Element::text("type", "hvm")));
        Self {
            kind: "test".into(),
            name: "test".into(),
            uuid,
            title: None,
            description: None,
            metadata: None,
            max_memory_kib: 8_388_608,
            memory_kib: 2_097_152,
            max_vcpus: 2,
            vcpus: 2,
            iothreads: Vec::new(),
            iothreads_chosen: false,
            vcpu_pins: BTreeMap::new(),
            emulator_pin: None,
            iothread_pins: BTreeMap::new(),
            parameters: BTreeMap::new(),
            devices: vec![disk, interface, balloon],
            others: with_defaults(vec![os]),
        }
    }

    /// Reads and completes a domain's document. Addresses that it leaves open come from `mac`.
    ///
    /// # Errors
    /// When something is missing or makes no sense.
    pub(crate) fn read(document: &Element, uuid: Uuid, mac: impl FnMut() -> String) -> Result<Self, Refusal> {
        let refuse = |code, text: &str| Err(Refusal::new(code, text).of(ErrorDomain::Domain));
        let Some(name) = document.text_of("name").filter(|name| !name.is_empty()) else {
            return Err(Refusal::bare(ErrorNumber::NoName).of(ErrorDomain::Domain));
        };
        let Some(kind) = document.attribute("type") else {
            return refuse(ErrorNumber::InternalError, "missing domain type attribute");
        };
        let Some(os_element) = document.find("os").filter(|os| os.find("type").is_some()) else {
            return refuse(ErrorNumber::XmlError, "an os <type> must be specified");
        };
        let max_memory_kib = memory(document, "memory")?.unwrap_or(0);
        if max_memory_kib == 0 {
            return refuse(
                ErrorNumber::XmlError,
                "Memory size must be specified via <memory> or in the <numa> configuration",
            );
        }
        let memory_kib = memory(document, "currentMemory")?.unwrap_or(max_memory_kib).min(max_memory_kib);
        let (max_vcpus, vcpus) = vcpu_counts(document)?;
        let (iothreads, iothreads_chosen) = iothreads(document)?;
        let pins = pins(document, max_vcpus, &iothreads)?;
        let mut others: Vec<Element> =
            document.children.iter().filter(|child| !TYPED.contains(&child.name.as_str())).cloned().collect();
        others.retain(|child| ORDER.contains(&child.name.as_str()));
        others.push(os(os_element));
        if let Some(clock) = document.find("clock") {
            others.push(clock.clone());
        }
        let given = document.find("devices").map(|devices| devices.children.as_slice()).unwrap_or_default();
        let mut config = Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uuid,
            title: document.text_of("title").map(str::to_owned),
            description: document.text_of("description").map(str::to_owned),
            metadata: document.find("metadata").map(|all| all.children.clone()),
            max_memory_kib,
            memory_kib,
            max_vcpus,
            vcpus,
            iothreads,
            iothreads_chosen,
            vcpu_pins: pins.vcpus,
            emulator_pin: pins.emulator,
            iothread_pins: pins.iothreads,
            parameters: BTreeMap::new(),
            devices: devices::complete(given, mac)?,
            others: with_defaults(others),
        };
        config.take_tuning();
        Ok(config)
    }

    /// The document; `id` is that of the running domain.
    pub(crate) fn document(&self, id: Option<i32>) -> Element {
        let mut top = self.others.clone();
        let mut put = |element| top.push(element);
        put(Element::text("name", &self.name));
        put(Element::text("uuid", self.uuid));
        if let Some(title) = &self.title {
            put(Element::text("title", title));
        }
        if let Some(description) = &self.description {
            put(Element::text("description", description));
        }
        if let Some(metadata) = &self.metadata {
            let raw = metadata.iter().map(|element| Element::raw(&element.print_indented()));
            put(Element::new("metadata").children(raw));
        }
        put(Element::text("memory", self.max_memory_kib).with("unit", "KiB"));
        put(Element::text("currentMemory", self.memory_kib).with("unit", "KiB"));
        let mut vcpu = Element::text("vcpu", self.max_vcpus).with("placement", "static");
        if self.vcpus != self.max_vcpus {
            vcpu.set("current", self.vcpus);
        }
        put(vcpu);
        if !self.iothreads.is_empty() {
            put(Element::text("iothreads", self.iothreads.len()));
        }
        if self.iothreads_chosen && !self.iothreads.is_empty() {
            let one = |id: &u32| {
                let mut thread = Element::new("iothread").with("id", id);
                let scope = format!("iothread {id}");
                if let Some(most) = self.set_number(&scope, "poll_max_ns") {
                    thread.children.push(Element::new("poll").with("max", most));
                }
                thread
            };
            put(Element::new("iothreadids").children(self.iothreads.iter().map(one)));
        }
        let tune = self.cputune();
        if !tune.children.is_empty() {
            put(tune);
        }
        put(Element::new("devices").open().children(self.devices.iter().map(|device| self.tuned(device))));
        top.extend(self.tuning());
        let rank = |element: &Element| ORDER.iter().position(|name| *name == element.name);
        top.sort_by_key(rank);
        let mut document = Element::new("domain").with("type", &self.kind);
        if let Some(id) = id {
            document.set("id", id);
        }
        document.children(top)
    }

    /// The document of one that does not run; without what only those may see who may see secrets.
    pub(crate) fn shown(&self, secure: bool) -> Element {
        let mut document = self.document(None);
        if !secure {
            hide(&mut document);
        }
        document
    }

    fn cputune(&self) -> Element {
        let mut tune = Element::new("cputune");
        for (vcpu, cpus) in &self.vcpu_pins {
            tune.children.push(Element::new("vcpupin").with("vcpu", vcpu).with("cpuset", cpus.print()));
        }
        if let Some(cpus) = &self.emulator_pin {
            tune.children.push(Element::new("emulatorpin").with("cpuset", cpus.print()));
        }
        for (thread, cpus) in &self.iothread_pins {
            let pin = Element::new("iothreadpin").with("iothread", thread);
            tune.children.push(pin.with("cpuset", cpus.print()));
        }
        tune
    }

    /// The disks' targets.
    pub(crate) fn disks(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().filter(|device| device.name == "disk").filter_map(|disk| disk.path("target/@dev"))
    }

    /// The network interface with a target or an address.
    pub(crate) fn interface(&self, device: &str) -> Option<&Element> {
        let named = |interface: &&Element| {
            interface.path("target/@dev") == Some(device) || interface.path("mac/@address") == Some(device)
        };
        self.devices.iter().filter(|found| found.name == "interface").find(named)
    }
}

/// Takes the passwords of screens out of a domain's document.
pub(crate) fn hide(document: &mut Element) {
    let Some(devices) = document.find_mut("devices") else { return };
    for screen in devices.children.iter_mut().filter(|device| device.name == "graphics") {
        screen.attributes.retain(|(name, _)| name != "passwd");
    }
}

/// What libvirt adds to what stands at the top.
fn with_defaults(mut others: Vec<Element>) -> Vec<Element> {
    let defaults = [
        Element::new("clock").with("offset", "utc"),
        Element::text("on_poweroff", "destroy"),
        Element::text("on_reboot", "restart"),
        Element::text("on_crash", "destroy"),
    ];
    for default in defaults {
        if !others.iter().any(|known| known.name == default.name) {
            others.push(default);
        }
    }
    others
}

/// The part about booting, completed: an architecture, and a disk to boot from.
fn os(given: &Element) -> Element {
    let mut os = given.clone();
    let full = os.text_of("type") == Some("hvm");
    if let Some(kind) = os.find_mut("type") {
        let mut complete = Element::text("type", &kind.text).with("arch", "i686");
        kind.attributes.iter().for_each(|(name, value)| complete.set(name, value));
        *kind = complete;
    }
    if full && os.find("boot").is_none() {
        os.children.push(Element::new("boot").with("dev", "hd"));
    }
    let order = ["type", "loader", "nvram", "kernel", "initrd", "cmdline", "boot"];
    os.children.sort_by_key(|child| order.iter().position(|name| *name == child.name).unwrap_or(order.len()));
    os
}

/// An amount of memory in KiB; a part of one counts whole.
fn memory(document: &Element, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(element) = document.find(name) else { return Ok(None) };
    bytes(element, "KiB").map(|bytes| Some(bytes.div_ceil(1024)))
}

/// An amount in bytes, of an element with a unit.
pub(crate) fn bytes(element: &Element, unit: &str) -> Result<u64, Refusal> {
    let number: u64 = element.text.trim().parse().map_err(|_| {
        let text =
            format!("Invalid value '{}' for element or attribute './{}[1]'", element.text, element.name);
        Refusal::xml(text).of(ErrorDomain::Xml)
    })?;
    let unit = element.attribute("unit").unwrap_or(unit);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => 1,
        "kb" => 1_000,
        "k" | "kib" => 1 << 10,
        "mb" => 1_000_000,
        "m" | "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "g" | "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "t" | "tib" => 1 << 40,
        "p" | "pib" => 1 << 50,
        _ => return Err(Refusal::argument(format!("unknown suffix '{unit}'")).of(ErrorDomain::None)),
    };
    number
        .checked_mul(scale)
        .ok_or_else(|| Refusal::new(ErrorNumber::Overflow, format!("value too large: {number}{unit}")))
}

/// Numbers of the I/O threads, in the order they came, and whether anybody chose one.
fn iothreads(document: &Element) -> Result<(Vec<u32>, bool), Refusal> {
    let refuse = |error: Refusal| Err(error.of(ErrorDomain::Domain));
    let chosen = document.find("iothreadids").into_iter().flat_map(|ids| ids.all("iothread"));
    let (mut all, mut known) = (Vec::new(), BTreeSet::new());
    for id in chosen.filter_map(|thread| thread.attribute("id")?.parse::<u32>().ok()) {
        if !known.insert(id) {
            return refuse(Refusal::xml(format!("duplicate iothread id '{id}' found")));
        }
        all.push(id);
    }
    let is_chosen = !all.is_empty();
    let wanted = document.text_of("iothreads").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if wanted.max(all.len()) > MOST as usize {
        let text = format!("a domain has {MOST} I/O threads at the most");
        return refuse(Refusal::new(ErrorNumber::ConfigUnsupported, text));
    }
    let free = (1..).filter(|id| !known.contains(id));
    all.extend(free.take(wanted.saturating_sub(all.len())));
    Ok((all, is_chosen))
}

/// What runs on which processors of the host.
#[derive(Default)]
struct Pins {
    vcpus: BTreeMap<u32, Cpus>,
    emulator: Option<Cpus>,
    iothreads: BTreeMap<u32, Cpus>,
}

/// Pins of processors that there are not say nothing, those of I/O threads are wrong.
fn pins(document: &Element, vcpus: u32, iothreads: &[u32]) -> Result<Pins, Refusal> {
    let refusal = |text: String| Refusal::new(ErrorNumber::ConfigUnsupported, text).of(ErrorDomain::Domain);
    let twice = |what: &str, id: u32| {
        Refusal::new(ErrorNumber::InternalError, format!("duplicate {what} '{id}'")).of(ErrorDomain::Domain)
    };
    let mut named = 0;
    let mut cpus = |pin: &Element| {
        let cpus = pin.attribute("cpuset").map(Cpus::parse).unwrap_or_default();
        named += cpus.0.len();
        let text = || format!("pins name {MOST_PINNED} processors of the host at the most");
        if named > MOST_PINNED { Err(refusal(text())) } else { Ok(cpus) }
    };
    let known: BTreeSet<u32> = iothreads.iter().copied().collect();
    let mut pins = Pins::default();
    for pin in document.find("cputune").into_iter().flat_map(|tune| &tune.children) {
        let id = |key| pin.attribute(key).and_then(|id| id.parse::<u32>().ok());
        match pin.name.as_str() {
            "vcpupin" => {
                if let Some(id) = id("vcpu").filter(|id| *id < vcpus)
                    && pins.vcpus.insert(id, cpus(pin)?).is_some()
                {
                    return Err(twice("vcpupin for vcpu", id));
                }
            }
            "emulatorpin" if pins.emulator.is_none() => pins.emulator = Some(cpus(pin)?),
            "iothreadpin" => match id("iothread") {
                Some(id) if !known.contains(&id) => {
                    return Err(refusal(format!("Cannot find 'iothread' : {id}")));
                }
                Some(id) if pins.iothreads.insert(id, cpus(pin)?).is_some() => {
                    return Err(twice("iothreadpin for same iothread", id));
                }
                Some(_) => {}
                None => {}
            },
            _ => {}
        }
    }
    Ok(pins)
}

fn vcpu_counts(document: &Element) -> Result<(u32, u32), Refusal> {
    let Some(vcpu) = document.find("vcpu") else { return Ok((1, 1)) };
    let refuse = |text: &str| Refusal::xml(text.to_owned()).of(ErrorDomain::Domain);
    let most: u32 = vcpu.text.trim().parse().map_err(|_| refuse("maximum vcpus count must be an integer"))?;
    let current = match vcpu.attribute("current") {
        None => most,
        Some(text) => text.parse().map_err(|_| refuse("current vcpus count must be an integer"))?,
    };
    if most == 0 {
        return Err(refuse("invalid maximum number of vCPUs '0'"));
    }
    if most > MOST {
        let text = format!("a domain has {MOST} vCPUs at the most");
        return Err(Refusal::new(ErrorNumber::ConfigUnsupported, text).of(ErrorDomain::Domain));
    }
    if current > most {
        let text = "maximum vCPU count must not be less than current vCPU count";
        return Err(Refusal::new(ErrorNumber::ConfigUnsupported, text).of(ErrorDomain::Domain));
    }
    Ok((most, current))
}

impl Cpus {
    /// All of the first so many.
    pub(crate) fn first(count: u32) -> Self {
        Self((0..count).collect())
    }

    /// From a set like `0-3,8,^2`. Processors beyond [`MOST`] are not in it.
    pub(crate) fn parse(text: &str) -> Self {
        // In words: a document's list may be long and say the same over and over.
        let mut chosen = vec![0_u64; MOST.div_ceil(u64::BITS) as usize];
        for part in text.split(',').map(str::trim) {
            let (part, remove) = part.strip_prefix('^').map_or((part, false), |part| (part, true));
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else { continue };
            let last = last.min(MOST - 1);
            if first > last {
                continue;
            }
            let words = (0..).zip(&mut chosen).skip((first / u64::BITS) as usize);
            for (start, word) in words.map(|(index, word)| (index * u64::BITS, word)) {
                if start > last {
                    break;
                }
                let from = u64::MAX << first.saturating_sub(start);
                let to = u64::MAX >> (u64::BITS - 1).saturating_sub(last - start);
                *word = if remove { *word & !(from & to) } else { *word | from & to };
            }
        }
        Self::from_map(&chosen.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
    }

    /// From a map with a bit for each processor, lowest first.
    pub(crate) fn from_map(map: &[u8]) -> Self {
        let bits = map.iter().enumerate().flat_map(|(index, byte)| {
            (0..8_u32).filter(move |bit| byte & 1 << bit != 0).map(move |bit| index as u32 * 8 + bit)
        });
        Self(bits.collect())
    }

    /// As a map of so many bytes.
    pub(crate) fn to_map(&self, length: usize) -> Vec<u8> {
        let mut map = vec![0; length];
        for cpu in &self.0 {
            if let Some(byte) = map.get_mut(*cpu as usize / 8) {
                *byte |= 1 << (cpu % 8);
            }
        }
        map
    }

    /// As a set like `0-3,8`.
    pub(crate) fn print(&self) -> String {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for cpu in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
                _ => ranges.push((*cpu, *cpu)),
            }
        }
        let one = |(first, last): &(u32, u32)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        ranges.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_processors_are_read_and_written() {
        for (text, out) in [("0-3,8,^2", "0-1,3,8"), ("5", "5"), ("", ""), ("1,2,3", "1-3")] {
            let cpus = Cpus::parse(text);
            assert_eq!(cpus.print(), out);
            assert_eq!(Cpus::from_map(&cpus.to_map(4)), cpus);
        }
    }

    /// A definition with this beside what every one has.
    fn read(more: &str) -> Result<Config, ErrorNumber> {
        let text = format!(
            "<domain type='test'><name>a</name><memory>1024</memory><os><type>hvm</type></os>{more}</domain>"
        );
        let document = Element::parse(&text).unwrap();
        Config::read(&document, Uuid::default(), String::new).map_err(|refusal| refusal.code)
    }

    #[test]
    fn what_a_document_asks_for_has_a_bound() {
        let vcpus = |count: u32| read(&format!("<vcpu>{count}</vcpu>")).map(|config| config.max_vcpus);
        assert_eq!(vcpus(MOST), Ok(MOST));
        assert_eq!([vcpus(MOST + 1), vcpus(u32::MAX)], [Err(ErrorNumber::ConfigUnsupported); 2]);
        let threads = |count: u32| {
            read(&format!("<iothreads>{count}</iothreads>")).map(|config| config.iothreads.len())
        };
        assert_eq!(threads(MOST), Ok(MOST as usize));
        assert_eq!([threads(MOST + 1), threads(u32::MAX)], [Err(ErrorNumber::ConfigUnsupported); 2]);
        // Each of these pins names all processors.
        let all = format!("cpuset='0-{}'/>", u32::MAX);
        let pins: String = (0..65).map(|vcpu| format!("<vcpupin vcpu='{vcpu}' {all}")).collect();
        let pinned = |vcpus: u32| {
            let more = format!("<vcpu>{vcpus}</vcpu><cputune>{pins}</cputune>");
            read(&more).map(|config| config.vcpu_pins.len())
        };
        let twice =
            "<vcpu>2</vcpu><cputune><vcpupin vcpu='1' cpuset=''/><vcpupin vcpu='1' cpuset='0'/></cputune>";
        assert_eq!(read(twice).unwrap_err(), ErrorNumber::InternalError);
        // Those of processors that there are not say nothing.
        assert_eq!([pinned(64), pinned(65)], [Ok(64), Err(ErrorNumber::ConfigUnsupported)]);
    }

    #[test]
    fn a_list_of_processors_is_read_to_its_end_however_long_it_is() {
        let again = "0-16384,".repeat(1 << 19) + "^63-64,^100,^200-16383";
        assert_eq!(Cpus::parse(&again).print(), "0-62,65-99,101-199");
        assert_eq!(Cpus::parse("5,^5,60-130,^128,").print(), "60-127,129-130");
        assert_eq!(Cpus::parse("4294967295,7-4294967295,9-8").print(), format!("7-{}", MOST - 1));
    }

    #[test]
    fn threads_have_numbers_of_their_own_and_pins_name_them() {
        let ids = "<iothreads>4</iothreads><iothreadids><iothread id='3'/><iothread id='1'/></iothreadids>";
        assert_eq!(read(ids).unwrap().iothreads, [3, 1, 2, 4]);
        assert_eq!(read(&ids.replace("'3'", "'1'")).unwrap_err(), ErrorNumber::XmlError);
        let pin = |id| format!("{ids}<cputune><iothreadpin iothread='{id}' cpuset='0'/></cputune>");
        assert_eq!(read(&pin(4)).unwrap().iothread_pins.len(), 1);
        assert_eq!(read(&pin(5)).unwrap_err(), ErrorNumber::ConfigUnsupported);
    }
}

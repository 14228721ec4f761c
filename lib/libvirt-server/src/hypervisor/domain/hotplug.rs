//! Devices that come, change and go. libvirt's test driver knows none of it, so this follows its QEMU driver.

use super::{Config, Hypervisor, devices};
use crate::hypervisor::{Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::{DomainDeviceModifyFlags, DomainModificationImpact};
use libvirt_protocol::{remote, types};

/// What happens to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Attach,
    Update,
    Detach,
}

impl Hypervisor {
    pub(crate) fn domain_attach_device(
        &mut self,
        args: remote::DomainAttachDeviceArgs<'_>,
    ) -> Reply<remote::DomainAttachDevice> {
        self.plug(&args.dom, &args.xml.to_str_lossy(), DomainDeviceModifyFlags::LIVE, Change::Attach)
    }

    pub(crate) fn domain_attach_device_flags(
        &mut self,
        args: remote::DomainAttachDeviceFlagsArgs<'_>,
    ) -> Reply<remote::DomainAttachDeviceFlags> {
        self.plug(&args.dom, &args.xml.to_str_lossy(), args.flags, Change::Attach)
    }

    pub(crate) fn domain_update_device_flags(
        &mut self,
        args: remote::DomainUpdateDeviceFlagsArgs<'_>,
    ) -> Reply<remote::DomainUpdateDeviceFlags> {
        self.plug(&args.dom, &args.xml.to_str_lossy(), args.flags, Change::Update)
    }

    pub(crate) fn domain_detach_device(
        &mut self,
        args: remote::DomainDetachDeviceArgs<'_>,
    ) -> Reply<remote::DomainDetachDevice> {
        self.plug(&args.dom, &args.xml.to_str_lossy(), DomainDeviceModifyFlags::LIVE, Change::Detach)
    }

    pub(crate) fn domain_detach_device_flags(
        &mut self,
        args: remote::DomainDetachDeviceFlagsArgs<'_>,
    ) -> Reply<remote::DomainDetachDeviceFlags> {
        self.plug(&args.dom, &args.xml.to_str_lossy(), args.flags, Change::Detach)
    }

    pub(crate) fn domain_detach_device_alias(
        &mut self,
        args: remote::DomainDetachDeviceAliasArgs<'_>,
    ) -> Reply<remote::DomainDetachDeviceAlias> {
        let alias = args.alias.to_string();
        let domain = self.domain(&args.dom)?;
        let impact = domain.impact(DomainModificationImpact::from_bits_retain(args.flags.bits() & 3))?;
        let found = domain.asked(impact).devices.iter().find(|device| called(device) == alias);
        let Some(xml) = found.map(Element::print) else {
            let text = format!("no device found with alias {alias}");
            return Err(Refusal::new(ErrorNumber::DeviceMissing, text).of(ErrorDomain::Domain));
        };
        self.plug(&args.dom, &xml, args.flags, Change::Detach)
    }

    fn plug(
        &mut self,
        dom: &types::Domain<'_>,
        xml: &str,
        flags: DomainDeviceModifyFlags,
        change: Change,
    ) -> Result<(), Refusal> {
        let given = Element::parse(xml).map_err(|error| {
            let text = format!("(device_definition):{}: {}", error.line, error.what);
            Refusal::new(ErrorNumber::XmlDetail, text).of(ErrorDomain::Domain)
        })?;
        let ids = &mut self.ids;
        let device = match (given.name.as_str(), change) {
            ("disk", _) => devices::disk(&given)?,
            ("interface", Change::Attach) => devices::interface(&given, || ids.mac()),
            _ => given,
        };
        let domain = self.domain_mut(dom)?;
        let impact = domain.impact(DomainModificationImpact::from_bits_retain(flags.bits() & 3))?;
        let medium = |config: &Config| {
            let disk = config.devices.iter().find(|known| same(known, &device));
            disk.filter(|disk| disk.attribute("device") == Some("cdrom"))
                .map(|disk| disk.path("source/@file").map(str::to_owned))
        };
        let before = medium(&domain.config);
        // Both configurations are tried before one is changed.
        let mut configs = (domain.config.clone(), domain.persistent_config().clone());
        let mut alias = String::new();
        if impact.live {
            alias = configs.0.plug(&device, change)?;
        }
        if impact.config {
            alias = configs.1.plug(&device, change)?;
        }
        if impact.live {
            domain.config = configs.0;
        }
        if impact.config {
            *domain.persistent_config() = configs.1;
        }
        let dom = domain.wire();
        match change {
            _ if !impact.live => {}
            Change::Attach => self.tell_device_added(&dom, &alias),
            Change::Detach => self.tell_device_removed(&dom, &alias),
            Change::Update => {
                let after = self.domain(&dom)?.config.devices.iter().find(|known| same(known, &device));
                let after = after.and_then(|disk| disk.path("source/@file")).map(str::to_owned);
                if before.is_some_and(|before| before != after) {
                    self.tell_medium(&dom, &alias);
                }
            }
        }
        Ok(())
    }
}

impl Config {
    /// Changes a device; tells what QEMU would call it.
    fn plug(&mut self, device: &Element, change: Change) -> Result<String, Refusal> {
        let known = self.devices.iter().position(|known| same(known, device));
        let what = identity(device);
        match (change, known) {
            (Change::Attach, Some(_)) => {
                let text = format!("target {what} already exists");
                return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Domain));
            }
            (Change::Attach, None) => {
                self.devices.push(device.clone());
                devices::arrange(&mut self.devices);
            }
            (_, None) => {
                let text = format!("device not found: no {} {what} in the domain", device.name);
                return Err(Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::DeviceMissing, text) }
                    .of(ErrorDomain::Domain));
            }
            (Change::Update, Some(at)) => self.devices[at] = device.clone(),
            (Change::Detach, Some(at)) => drop(self.devices.remove(at)),
        }
        Ok(called(device))
    }
}

/// What QEMU calls a device.
fn called(device: &Element) -> String {
    let what = identity(device);
    match device.name.as_str() {
        "disk" => format!("{}-disk-{what}", device.path("target/@bus").unwrap_or_default()),
        "interface" => format!("net-{what}"),
        other => other.to_owned(),
    }
}

/// What tells a device from others of its kind.
fn identity(device: &Element) -> &str {
    match device.name.as_str() {
        "disk" => device.path("target/@dev"),
        "interface" => device.path("mac/@address"),
        _ => device.attribute("index"),
    }
    .unwrap_or_default()
}

fn same(known: &Element, given: &Element) -> bool {
    known.name == given.name
        && match known.name.as_str() {
            "disk" | "interface" => identity(known) == identity(given),
            _ => known.attributes == given.attributes,
        }
}

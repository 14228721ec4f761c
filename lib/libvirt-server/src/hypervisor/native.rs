//! A domain as the command line that would start it, and back: name, memory, processors, disks. libvirt's QEMU driver writes such lines;
//! nobody reads them any more, but the call is there.

use super::{Hypervisor, Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::remote;

/// The one form that is spoken here.
const FORM: &str = "qemu-argv";
const EMULATOR: &str = "/usr/bin/test-hv";

fn known(form: &str) -> Result<(), Refusal> {
    if form == FORM {
        return Ok(());
    }
    Err(Refusal::argument(format!("unsupported config type {form}")).of(ErrorDomain::Qemu))
}

impl Hypervisor {
    pub(super) fn xml_to_native(
        &mut self,
        args: remote::ConnectDomainXmlToNativeArgs<'_>,
    ) -> Reply<remote::ConnectDomainXmlToNative> {
        known(&args.native_format.to_str_lossy())?;
        let config = self.read_domain(&args.domain_xml.to_str_lossy())?;
        let mut words = vec![EMULATOR.to_owned()];
        let mut option = |name: &str, value: String| words.extend([format!("-{name}"), value]);
        option("name", format!("guest={}", config.name));
        option("m", format!("size={}k", config.memory_kib));
        option("smp", format!("{},maxcpus={}", config.vcpus, config.max_vcpus));
        for disk in config.devices.iter().filter(|device| device.name == "disk") {
            let file = disk.path("source/@file").unwrap_or_default();
            option("drive", format!("file={file},id={}", disk.path("target/@dev").unwrap_or_default()));
        }
        Ok(remote::ConnectDomainXmlToNativeRet { native_config: (words.join(" ") + "\n").into() })
    }

    pub(super) fn xml_from_native(
        &mut self,
        args: remote::ConnectDomainXmlFromNativeArgs<'_>,
    ) -> Reply<remote::ConnectDomainXmlFromNative> {
        known(&args.native_format.to_str_lossy())?;
        let line = args.native_config.to_string();
        let words: Vec<&str> = line.split_whitespace().collect();
        let refuse = |what: &str| {
            Refusal::new(ErrorNumber::ConfigUnsupported, format!("no {what} in the command line"))
        };
        let option = |name: &'static str| {
            words.windows(2).filter(move |pair| pair[0].strip_prefix('-') == Some(name)).map(|pair| pair[1])
        };
        // `first,name=value,...`
        let part = |text: &str, name: &str| {
            text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        let name = option("name").find_map(|text| part(text, "guest")).ok_or_else(|| refuse("name"))?;
        let memory = option("m").find_map(|text| part(text, "size")?.strip_suffix('k')?.parse::<u64>().ok());
        let smp = option("smp").next().ok_or_else(|| refuse("processors"))?;
        let vcpus = smp.split(',').next().unwrap_or("1");
        let disks = option("drive").map(|text| {
            Element::new("disk")
                .with("type", "file")
                .child(Element::new("source").with("file", part(text, "file").unwrap_or_default()))
                .child(Element::new("target").with("dev", part(text, "id").unwrap_or_default()))
        });
        let vcpu = Element::text("vcpu", part(smp, "maxcpus").unwrap_or_else(|| vcpus.to_owned()));
        let document = Element::new("domain")
            .with("type", "test")
            .child(Element::text("name", name))
            .child(Element::text("memory", memory.ok_or_else(|| refuse("memory"))?).with("unit", "KiB"))
            .child(vcpu.with("current", vcpus))
            .child(Element::new("os").child(Element::text("type", "hvm")))
            .child(Element::new("devices").open().children(disks));
        Ok(remote::ConnectDomainXmlFromNativeRet { domain_xml: document.print().into() })
    }
}

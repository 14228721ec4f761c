//! Processors: what models have in common, whether the host has what one needs, what a domain may have. libvirt's test driver tells
//! only the names of models, so this follows its QEMU driver, with a small family of models, each with all that the one before it has.

use super::{Hypervisor, Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::{CpuCompareResult, ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::{
    ConnectBaselineCpuFlags, ConnectCompareCpuFlags, ConnectGetDomainCapabilitiesFlags as CapabilitiesFlags,
};
use libvirt_protocol::remote;
use libvirt_protocol::xdr::{List, Text};
use std::collections::BTreeSet;

/// Each model with what it has beyond the one before it.
const FAMILY: [(&str, &[&str]); 6] = [
    ("qemu64", &["cx16", "fpu", "lm", "nx", "pae", "sse2", "svm"]),
    ("Conroe", &["ssse3"]),
    ("Penryn", &["sse4.1"]),
    ("Nehalem", &["popcnt", "sse4.2"]),
    ("Westmere", &["aes"]),
    ("SandyBridge", &["avx", "pclmuldq", "xsave"]),
];
/// What the host has: this model, and a clock that runs evenly, which no guest takes along to another host.
const HOST: &str = "Westmere";
const NOT_MIGRATABLE: &str = "invtsc";
/// What new guests should do without.
const DEPRECATED: &str = "svm";

type Features = BTreeSet<String>;

fn features_of(model: &str) -> Option<Features> {
    let at = FAMILY.iter().position(|(name, _)| *name == model)?;
    Some(FAMILY[..=at].iter().flat_map(|(_, own)| own.iter().map(|name| (*name).to_owned())).collect())
}

fn host() -> Features {
    let mut all = features_of(HOST).unwrap_or_default();
    all.insert(NOT_MIGRATABLE.to_owned());
    all
}

/// The features that a processor's document asks for.
fn read(document: &Element) -> Result<Features, Refusal> {
    // The host's own document has its processor inside.
    let cpu = document.find("cpu").filter(|_| document.name == "host").unwrap_or(document);
    let mut all = match cpu.text_of("model").map(str::trim) {
        None => Features::new(),
        Some(model) => features_of(model)
            .ok_or_else(|| Refusal::internal(format!("Unknown CPU model {model}")).of(ErrorDomain::Cpu))?,
    };
    for feature in cpu.all("feature") {
        let Some(name) = feature.attribute("name") else { continue };
        match feature.attribute("policy") {
            Some("disable" | "forbid") => all.remove(name),
            _ => all.insert(name.to_owned()),
        };
    }
    Ok(all)
}

/// The richest model that has nothing else, and what it lacks.
fn describe(all: &Features, expand: bool) -> Element {
    let fits =
        |(name, _): &&(&str, &[&str])| features_of(name).is_some_and(|features| features.is_subset(all));
    let model = FAMILY.iter().rev().find(fits).map(|(name, _)| *name);
    let own = model.and_then(features_of).unwrap_or_default();
    let mut cpu = Element::new("cpu").with("mode", "custom").with("match", "exact");
    cpu.children.extend(model.map(|model| Element::text("model", model).with("fallback", "forbid")));
    let named = all.iter().filter(|name| expand || !own.contains(*name));
    let feature = |name| Element::new("feature").with("policy", "require").with("name", name);
    cpu.children(named.map(feature))
}

/// The host's own model, for a domain that wants what the host is.
pub(super) fn host_model() -> Element {
    let mut all = host();
    all.remove(NOT_MIGRATABLE);
    describe(&all, false)
}

impl Hypervisor {
    fn baseline<'a>(
        &self,
        given: &List<'a, Text<'a>, 256>,
        flags: ConnectBaselineCpuFlags,
    ) -> Result<String, Refusal> {
        use ConnectBaselineCpuFlags as F;
        let mut common: Option<Features> = None;
        for xml in given.iter() {
            let document = Element::parse(&xml.to_str_lossy()).map_err(|error| Refusal::xml(error.what))?;
            let all = read(&document)?;
            common = Some(match common {
                None => all,
                Some(common) => common.intersection(&all).cloned().collect(),
            });
        }
        let Some(mut common) = common else {
            return Err(Refusal::argument("no CPUs given").of(ErrorDomain::Cpu));
        };
        if flags.contains(F::MIGRATABLE) {
            common.remove(NOT_MIGRATABLE);
        }
        Ok(describe(&common, flags.contains(F::EXPAND_FEATURES)).print())
    }

    pub(super) fn baseline_cpu(
        &mut self,
        args: remote::ConnectBaselineCpuArgs<'_>,
    ) -> Reply<remote::ConnectBaselineCpu> {
        Ok(remote::ConnectBaselineCpuRet { cpu: self.baseline(&args.xml_cpus, args.flags)?.into() })
    }

    pub(super) fn baseline_hypervisor_cpu(
        &mut self,
        args: remote::ConnectBaselineHypervisorCpuArgs<'_>,
    ) -> Reply<remote::ConnectBaselineHypervisorCpu> {
        Ok(remote::ConnectBaselineHypervisorCpuRet { cpu: self.baseline(&args.xml_cpus, args.flags)?.into() })
    }

    fn compare(&self, xml: &Text<'_>, flags: ConnectCompareCpuFlags) -> Result<CpuCompareResult, Refusal> {
        use ConnectCompareCpuFlags as F;
        self.validate(flags.bits(), F::VALIDATE_XML.bits(), xml)?;
        let document = self.document(&xml.to_str_lossy(), "cpu", "CPU_definition")?;
        let (asked, host) = (read(&document)?, host());
        if asked == host {
            return Ok(CpuCompareResult::Identical);
        }
        if asked.is_subset(&host) {
            return Ok(CpuCompareResult::Superset);
        }
        if flags.contains(F::FAIL_INCOMPATIBLE) {
            let lacking: Vec<&str> = asked.difference(&host).map(String::as_str).collect();
            let text = format!("Host CPU does not provide required features: {}", lacking.join(", "));
            return Err(Refusal::new(ErrorNumber::CpuIncompatible, text).of(ErrorDomain::Cpu));
        }
        Ok(CpuCompareResult::Incompatible)
    }

    pub(super) fn compare_cpu(
        &mut self,
        args: remote::ConnectCompareCpuArgs<'_>,
    ) -> Reply<remote::ConnectCompareCpu> {
        Ok(remote::ConnectCompareCpuRet { result: self.compare(&args.xml, args.flags)? })
    }

    pub(super) fn compare_hypervisor_cpu(
        &mut self,
        args: remote::ConnectCompareHypervisorCpuArgs<'_>,
    ) -> Reply<remote::ConnectCompareHypervisorCpu> {
        let result = self.compare(&args.xml_cpu, args.flags)?;
        Ok(remote::ConnectCompareHypervisorCpuRet { result })
    }

    pub(super) fn domain_capabilities(
        &mut self,
        args: remote::ConnectGetDomainCapabilitiesArgs<'_>,
    ) -> Reply<remote::ConnectGetDomainCapabilities> {
        let or = |given: &Option<Text<'_>>, default: &str| {
            given.as_ref().map_or(default.to_owned(), ToString::to_string)
        };
        let arch = or(&args.arch, "x86_64");
        if !matches!(arch.as_str(), "i686" | "x86_64") {
            return Err(Refusal::argument(format!("unknown architecture {arch}")));
        }
        let without = args.flags.contains(CapabilitiesFlags::DISABLE_DEPRECATED_FEATURES);
        let mut model = describe(&host(), false);
        model.name = "mode".to_owned();
        model.attributes = vec![("name".into(), "host-model".into()), ("supported".into(), "yes".into())];
        if without {
            model.children.push(Element::new("feature").with("policy", "disable").with("name", DEPRECATED));
        }
        let usable = |name: &str| features_of(name).is_some_and(|features| features.is_subset(&host()));
        let named = FAMILY.iter().map(|(name, _)| {
            Element::text("model", name).with("usable", if usable(name) { "yes" } else { "no" })
        });
        let custom = Element::new("mode").with("name", "custom").with("supported", "yes").children(named);
        let document = Element::new("domainCapabilities")
            .child(Element::text("path", or(&args.emulatorbin, "/usr/bin/test-hv")))
            .child(Element::text("domain", or(&args.virttype, "test")))
            .child(Element::text("machine", or(&args.machine, "pc")))
            .child(Element::text("arch", arch))
            .child(Element::new("vcpu").with("max", 32))
            .child(Element::new("cpu").child(model).child(custom));
        Ok(remote::ConnectGetDomainCapabilitiesRet { capabilities: document.print().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_richest_model_that_fits_is_named_with_what_it_lacks() {
        let mut all = features_of("Penryn").unwrap();
        all.insert("aes".to_owned());
        assert!(!all.contains("popcnt"));
        let cpu = describe(&all, false);
        assert_eq!(cpu.text_of("model"), Some("Penryn"));
        assert_eq!(
            cpu.all("feature").map(|feature| feature.attribute("name")).collect::<Vec<_>>(),
            [Some("aes")]
        );
        assert!(describe(&all, true).all("feature").count() > 7);
    }
}

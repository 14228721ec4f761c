//! Titles, descriptions, and what other programs keep with a domain.

use super::Hypervisor;
use crate::hypervisor::{Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::{DomainMetadataType as Kind, ErrorDomain, ErrorNumber};
use libvirt_protocol::remote;

impl Hypervisor {
    pub(crate) fn domain_get_metadata(
        &mut self,
        args: remote::DomainGetMetadataArgs<'_>,
    ) -> Reply<remote::DomainGetMetadata> {
        let domain = self.domain(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let config = domain.asked(impact);
        let found = match args.kind {
            Kind::Description => config.description.clone(),
            Kind::Title => config.title.clone(),
            _ => {
                let uri = args.uri.as_ref().map(|uri| uri.to_string()).unwrap_or_default();
                let found = config.metadata.iter().flatten().find(|element| namespace(element) == Some(&uri));
                found.map(|element| indented(&bare(element)))
            }
        };
        let text = "Requested metadata element is not present";
        let none = || Refusal::new(ErrorNumber::NoDomainMetadata, text).of(ErrorDomain::Domain);
        Ok(remote::DomainGetMetadataRet { metadata: found.ok_or_else(none)?.into() })
    }

    pub(crate) fn domain_set_metadata(
        &mut self,
        args: remote::DomainSetMetadataArgs<'_>,
    ) -> Reply<remote::DomainSetMetadata> {
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let text = args.metadata.as_ref().map(|text| text.to_string());
        let uri = args.uri.as_ref().map(|uri| uri.to_string());
        match args.kind {
            Kind::Description | Kind::Title => {
                let value = text.filter(|text| !text.is_empty());
                domain.change(impact, |config| match args.kind {
                    Kind::Title => config.title.clone_from(&value),
                    _ => config.description.clone_from(&value),
                });
            }
            _ => {
                let (uri, key) = (uri.clone().unwrap_or_default(), args.key.unwrap_or_default().to_string());
                let element = match text {
                    None => None,
                    Some(xml) => {
                        let element = Element::parse(&xml).map_err(|error| {
                            let text = format!("(metadata_xml):{}: {}", error.line, error.what);
                            Refusal::new(ErrorNumber::XmlDetail, text).of(ErrorDomain::Domain)
                        })?;
                        Some(in_namespace(element, &key, &uri))
                    }
                };
                domain.change(impact, |config| {
                    let all = config.metadata.get_or_insert_default();
                    all.retain(|known| namespace(known) != Some(&uri));
                    all.extend(element.clone());
                });
            }
        }
        let dom = domain.wire();
        self.tell_metadata(&dom, args.kind, uri.as_deref());
        Ok(())
    }
}

/// The namespace of an element, by the prefix of its name.
fn namespace(element: &Element) -> Option<&str> {
    let declaration = match element.name.split_once(':') {
        Some((prefix, _)) => format!("xmlns:{prefix}"),
        None => "xmlns".to_owned(),
    };
    element.attribute(&declaration)
}

/// The element, and all in it, under a prefix.
fn in_namespace(mut element: Element, key: &str, uri: &str) -> Element {
    prefix(&mut element, key);
    element.attributes.insert(0, (format!("xmlns:{key}"), uri.to_owned()));
    element
}

fn prefix(element: &mut Element, key: &str) {
    if !element.name.contains(':') {
        element.name = format!("{key}:{}", element.name);
    }
    element.children.iter_mut().for_each(|child| prefix(child, key));
}

/// The element without its namespace.
fn bare(element: &Element) -> Element {
    let mut bare = element.clone();
    strip(&mut bare);
    bare
}

fn strip(element: &mut Element) {
    if let Some((_, name)) = element.name.split_once(':') {
        element.name = name.to_owned();
    }
    element.attributes.retain(|(name, _)| !name.starts_with("xmlns"));
    element.children.iter_mut().for_each(strip);
}

/// As libxml writes it: double quotes, two blanks, no line end behind.
fn indented(element: &Element) -> String {
    element.print_indented().trim_end().to_owned()
}

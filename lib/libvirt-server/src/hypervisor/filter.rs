//! Network filters. libvirt's test driver has none, so this follows what its filter driver does.

use super::{Hypervisor, Refusal, Reply, count};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::xdr::Uuid;
use libvirt_protocol::{remote, types};

/// A network filter.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    name: String,
    uuid: Uuid,
    document: Element,
}

impl Filter {
    fn wire(&self) -> types::NwFilter<'static> {
        types::NwFilter { name: self.name.clone().into(), uuid: self.uuid }
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name
    }

    fn describe(&self) -> Element {
        let chain = self.document.attribute("chain").unwrap_or("root");
        let mut out = Element::new("filter").with("name", &self.name).with("chain", chain);
        if let Some(priority) = self.document.attribute("priority") {
            out.set("priority", priority);
        }
        out.children.push(Element::text("uuid", self.uuid));
        out.children.extend(self.document.children.iter().filter(|child| child.name != "uuid").cloned());
        out
    }
}

fn missing(what: &str) -> Refusal {
    let text = format!("no nwfilter with matching {what}");
    Refusal::new(ErrorNumber::NoNwfilter, text).of(ErrorDomain::Nwfilter)
}

impl Hypervisor {
    fn define_filter(&mut self, xml: &str) -> Result<types::NwFilter<'static>, Refusal> {
        let document = self.document(xml, "filter", "nwfilter_definition")?;
        let Some(name) = document.attribute("name").map(str::to_owned) else {
            return Err(Refusal::internal("filter has no name").of(ErrorDomain::Nwfilter));
        };
        let named = self.filters.values().find(|known| known.name == name).map(|known| known.uuid);
        let uuid = match named {
            Some(uuid) if document.find("uuid").is_none() => uuid,
            _ => self.uuid_of(&document, ErrorDomain::Nwfilter)?,
        };
        if let Some(other) = named.filter(|other| *other != uuid) {
            let text = format!("filter '{name}' already exists with uuid {other}");
            return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Nwfilter));
        }
        let filter = Filter { name, uuid, document };
        let wire = filter.wire();
        self.filters.insert(uuid, filter);
        Ok(wire)
    }

    pub(super) fn nwfilter_define_xml(
        &mut self,
        args: remote::NwFilterDefineXmlArgs<'_>,
    ) -> Reply<remote::NwFilterDefineXml> {
        Ok(remote::NwFilterDefineXmlRet { nwfilter: self.define_filter(&args.xml.to_str_lossy())? })
    }

    pub(super) fn nwfilter_define_xml_flags(
        &mut self,
        args: remote::NwFilterDefineXmlFlagsArgs<'_>,
    ) -> Reply<remote::NwFilterDefineXmlFlags> {
        self.validate(args.flags.bits(), 1, &args.xml)?;
        Ok(remote::NwFilterDefineXmlFlagsRet { nwfilter: self.define_filter(&args.xml.to_str_lossy())? })
    }

    pub(super) fn nwfilter_undefine(
        &mut self,
        args: remote::NwFilterUndefineArgs<'_>,
    ) -> Reply<remote::NwFilterUndefine> {
        let uuid = args.nwfilter.uuid;
        let removed = self.filters.remove(&uuid);
        removed.map(drop).ok_or_else(|| missing(&format!("uuid '{uuid}'")))
    }

    pub(super) fn nwfilter_get_xml_desc(
        &mut self,
        args: remote::NwFilterGetXmlDescArgs<'_>,
    ) -> Reply<remote::NwFilterGetXmlDesc> {
        let uuid = args.nwfilter.uuid;
        let found = self.filters.get(&uuid).ok_or_else(|| missing(&format!("uuid '{uuid}'")))?;
        Ok(remote::NwFilterGetXmlDescRet { xml: found.describe().print().into() })
    }

    pub(super) fn nwfilter_lookup_by_name(
        &mut self,
        args: remote::NwFilterLookupByNameArgs<'_>,
    ) -> Reply<remote::NwFilterLookupByName> {
        let found = self.filters.values().find(|known| args.name == known.name.as_str()).map(Filter::wire);
        let nwfilter = found.ok_or_else(|| missing(&format!("name '{}'", args.name)))?;
        Ok(remote::NwFilterLookupByNameRet { nwfilter })
    }

    pub(super) fn nwfilter_lookup_by_uuid(
        &mut self,
        args: remote::NwFilterLookupByUuidArgs,
    ) -> Reply<remote::NwFilterLookupByUuid> {
        let found = self.filters.get(&args.uuid).map(Filter::wire);
        let nwfilter = found.ok_or_else(|| missing(&format!("uuid '{}'", args.uuid)))?;
        Ok(remote::NwFilterLookupByUuidRet { nwfilter })
    }

    pub(super) fn list_all_nwfilters(
        &mut self,
        args: remote::ConnectListAllNwfiltersArgs,
    ) -> Reply<remote::ConnectListAllNwfilters> {
        let found: Vec<_> = self.filters.values().map(Filter::wire).collect();
        let ret = count(found.len());
        let filters = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::ConnectListAllNwfiltersRet { filters: filters.into(), ret })
    }

    pub(super) fn list_nwfilters(
        &mut self,
        args: remote::ConnectListNwfiltersArgs,
    ) -> Reply<remote::ConnectListNwfilters> {
        let most = usize::try_from(args.maxnames).unwrap_or(0);
        let names = self.filters.values().take(most).map(|known| known.name.clone().into()).collect();
        Ok(remote::ConnectListNwfiltersRet { names })
    }

    pub(super) fn num_of_nwfilters(&mut self, (): ()) -> Reply<remote::ConnectNumOfNwfilters> {
        Ok(remote::ConnectNumOfNwfiltersRet { num: self.filters.len() as i32 })
    }
}

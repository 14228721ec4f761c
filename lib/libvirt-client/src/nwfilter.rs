//! Network filters and their bindings.

use crate::connect::Connect;
use crate::handle::{handle, methods};
use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::{NwFilterBindingCreateFlags, NwFilterDefineFlags};
use libvirt_protocol::remote::*;
use libvirt_protocol::xdr::Uuid;

handle! {
    /// A network filter: rules for the traffic of guests.
    NwFilter = NwFilter
}

handle! {
    /// A filter that is bound to a guest's interface on the host.
    NwFilterBinding = NwFilterBinding
}

methods! { Connect(this) {
    /// All network filters (`virConnectListAllNWFilters`).
    nwfilters() -> Vec<NwFilter>
        = remote::ConnectListAllNwfilters(ConnectListAllNwfiltersArgs { need_results: 1, flags: NoFlags::empty() })
        => |found| NwFilter::list(this, &found.filters);
    /// The network filter with a name (`virNWFilterLookupByName`).
    nwfilter_by_name(name: &str) -> NwFilter
        = remote::NwFilterLookupByName(NwFilterLookupByNameArgs { name: name.into() })
        => |found| NwFilter::new(this, found.nwfilter);
    /// The network filter with a UUID (`virNWFilterLookupByUUID`).
    nwfilter_by_uuid(uuid: Uuid) -> NwFilter
        = remote::NwFilterLookupByUuid(NwFilterLookupByUuidArgs { uuid })
        => |found| NwFilter::new(this, found.nwfilter);
    /// Defines a network filter, or changes it (`virNWFilterDefineXMLFlags`).
    define_nwfilter(xml: &str, flags: NwFilterDefineFlags) -> NwFilter
        = remote::NwFilterDefineXmlFlags(NwFilterDefineXmlFlagsArgs { xml: xml.into(), flags })
        => |found| NwFilter::new(this, found.nwfilter);
    /// All bindings of filters (`virConnectListAllNWFilterBindings`).
    nwfilter_bindings() -> Vec<NwFilterBinding>
        = remote::ConnectListAllNwFilterBindings(ConnectListAllNwFilterBindingsArgs {
            need_results: 1, flags: NoFlags::empty(),
        })
        => |found| NwFilterBinding::list(this, &found.bindings);
    /// The binding at an interface of the host (`virNWFilterBindingLookupByPortDev`).
    nwfilter_binding_by_port(device: &str) -> NwFilterBinding
        = remote::NwFilterBindingLookupByPortDev(NwFilterBindingLookupByPortDevArgs { name: device.into() })
        => |found| NwFilterBinding::new(this, found.nwfilter);
    /// Binds a filter (`virNWFilterBindingCreateXML`).
    create_nwfilter_binding(xml: &str, flags: NwFilterBindingCreateFlags) -> NwFilterBinding
        = remote::NwFilterBindingCreateXml(NwFilterBindingCreateXmlArgs { xml: xml.into(), flags })
        => |found| NwFilterBinding::new(this, found.nwfilter);
} }

impl NwFilter {
    /// Its name (`virNWFilterGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }

    /// Its UUID (`virNWFilterGetUUID`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.wire().uuid
    }
}

methods! { NwFilter(this) {
    /// Its definition as XML (`virNWFilterGetXMLDesc`).
    xml() -> String
        = remote::NwFilterGetXmlDesc(NwFilterGetXmlDescArgs { nwfilter: this.wire(), flags: NoFlags::empty() })
        => |found| found.xml.into();
    /// Removes it (`virNWFilterUndefine`).
    undefine() = remote::NwFilterUndefine(NwFilterUndefineArgs { nwfilter: this.wire() });
} }

impl NwFilterBinding {
    /// The interface on the host (`virNWFilterBindingGetPortDev`).
    #[must_use]
    pub fn port_device(&self) -> String {
        self.wire().portdev.to_string()
    }

    /// Name of the filter (`virNWFilterBindingGetFilterName`).
    #[must_use]
    pub fn filter_name(&self) -> String {
        self.wire().filtername.to_string()
    }
}

methods! { NwFilterBinding(this) {
    /// Its definition as XML (`virNWFilterBindingGetXMLDesc`).
    xml() -> String
        = remote::NwFilterBindingGetXmlDesc(NwFilterBindingGetXmlDescArgs {
            nwfilter: this.wire(), flags: NoFlags::empty(),
        }) => |found| found.xml.into();
    /// Removes it (`virNWFilterBindingDelete`).
    delete() = remote::NwFilterBindingDelete(NwFilterBindingDeleteArgs { nwfilter: this.wire() });
} }

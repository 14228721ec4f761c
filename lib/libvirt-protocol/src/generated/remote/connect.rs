// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! The connection, and lists of everything behind it.

use crate::NoFlags;
use crate::generated::types::{
    Domain, DomainStatsRecord, Interface, Network, NodeDevice, NwFilter, NwFilterBinding, Secret, StoragePool,
};
use crate::generated::{enums, flags};
use crate::params::TypedParam;
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{List, Text, structure};

procedure! {
/// [`virConnectOpen`](https://libvirt.org/search.html?q=virConnectOpen), since libvirt 0.3.0.
ConnectOpen(ConnectOpenArgs<'a>) -> () = Info::new(Program::Remote, 1, "connect_open", Release(0, 3, 0)).function("virConnectOpen").urgent().acl(&["connect:getattr"])
}

structure! {
/// What [`ConnectOpen`] takes.
ConnectOpenArgs<'a> {
/// `name`
name: Option<Text<'a>>,
/// `flags`
flags: flags::ConnectFlags,
}}

procedure! {
/// [`virConnectClose`](https://libvirt.org/search.html?q=virConnectClose), since libvirt 0.3.0.
ConnectClose(()) -> () = Info::new(Program::Remote, 2, "connect_close", Release(0, 3, 0)).function("virConnectClose").urgent()
}

procedure! {
/// [`virConnectGetType`](https://libvirt.org/search.html?q=virConnectGetType), since libvirt 0.3.0.
ConnectGetType(()) -> ConnectGetTypeRet<'a> = Info::new(Program::Remote, 3, "connect_get_type", Release(0, 3, 0)).function("virConnectGetType").urgent().acl(&["connect:getattr"])
}

structure! {
/// What [`ConnectGetType`] returns.
ConnectGetTypeRet<'a> {
/// `type`
kind: Text<'a>,
}}

procedure! {
/// [`virConnectGetVersion`](https://libvirt.org/search.html?q=virConnectGetVersion), since libvirt 0.3.0.
ConnectGetVersion(()) -> ConnectGetVersionRet = Info::new(Program::Remote, 4, "connect_get_version", Release(0, 3, 0)).function("virConnectGetVersion").urgent().acl(&["connect:getattr"])
}

structure! {
/// What [`ConnectGetVersion`] returns.
ConnectGetVersionRet {
/// `hv_ver`
hv_ver: u64,
}}

procedure! {
/// [`virConnectGetMaxVcpus`](https://libvirt.org/search.html?q=virConnectGetMaxVcpus), since libvirt 0.3.0.
ConnectGetMaxVcpus(ConnectGetMaxVcpusArgs<'a>) -> ConnectGetMaxVcpusRet = Info::new(Program::Remote, 5, "connect_get_max_vcpus", Release(0, 3, 0)).function("virConnectGetMaxVcpus").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectGetMaxVcpus`] takes.
ConnectGetMaxVcpusArgs<'a> {
/// `type`
kind: Option<Text<'a>>,
}}

structure! {
/// What [`ConnectGetMaxVcpus`] returns.
ConnectGetMaxVcpusRet {
/// `max_vcpus`
max_vcpus: i32,
}}

procedure! {
/// [`virConnectGetCapabilities`](https://libvirt.org/search.html?q=virConnectGetCapabilities), since libvirt 0.3.0.
ConnectGetCapabilities(()) -> ConnectGetCapabilitiesRet<'a> = Info::new(Program::Remote, 7, "connect_get_capabilities", Release(0, 3, 0)).function("virConnectGetCapabilities").acl(&["connect:read"])
}

structure! {
/// What [`ConnectGetCapabilities`] returns.
ConnectGetCapabilitiesRet<'a> {
/// `capabilities`
capabilities: Text<'a>,
}}

procedure! {
/// [`virConnectListDefinedDomains`](https://libvirt.org/search.html?q=virConnectListDefinedDomains), since libvirt 0.3.0.
ConnectListDefinedDomains(ConnectListDefinedDomainsArgs) -> ConnectListDefinedDomainsRet<'a> = Info::new(Program::Remote, 21, "connect_list_defined_domains", Release(0, 3, 0)).function("virConnectListDefinedDomains").urgent().acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectListDefinedDomains`] takes.
ConnectListDefinedDomainsArgs {
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`ConnectListDefinedDomains`] returns.
ConnectListDefinedDomainsRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectNumOfDefinedDomains`](https://libvirt.org/search.html?q=virConnectNumOfDefinedDomains), since libvirt 0.3.0.
ConnectNumOfDefinedDomains(()) -> ConnectNumOfDefinedDomainsRet = Info::new(Program::Remote, 25, "connect_num_of_defined_domains", Release(0, 3, 0)).function("virConnectNumOfDefinedDomains").urgent().acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectNumOfDefinedDomains`] returns.
ConnectNumOfDefinedDomainsRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectListDefinedNetworks`](https://libvirt.org/search.html?q=virConnectListDefinedNetworks), since libvirt 0.3.0.
ConnectListDefinedNetworks(ConnectListDefinedNetworksArgs) -> ConnectListDefinedNetworksRet<'a> = Info::new(Program::Remote, 36, "connect_list_defined_networks", Release(0, 3, 0)).function("virConnectListDefinedNetworks").urgent().acl(&["connect:search_networks"])
}

structure! {
/// What [`ConnectListDefinedNetworks`] takes.
ConnectListDefinedNetworksArgs {
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`ConnectListDefinedNetworks`] returns.
ConnectListDefinedNetworksRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectListDomains`](https://libvirt.org/search.html?q=virConnectListDomains), since libvirt 0.3.0.
ConnectListDomains(ConnectListDomainsArgs) -> ConnectListDomainsRet<'a> = Info::new(Program::Remote, 37, "connect_list_domains", Release(0, 3, 0)).function("virConnectListDomains").urgent().acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectListDomains`] takes.
ConnectListDomainsArgs {
/// `maxids`
maxids: i32,
}}

structure! {
/// What [`ConnectListDomains`] returns.
ConnectListDomainsRet<'a> {
/// `ids`
ids: List<'a, i32, 16384>,
}}

procedure! {
/// [`virConnectListNetworks`](https://libvirt.org/search.html?q=virConnectListNetworks), since libvirt 0.3.0.
ConnectListNetworks(ConnectListNetworksArgs) -> ConnectListNetworksRet<'a> = Info::new(Program::Remote, 38, "connect_list_networks", Release(0, 3, 0)).function("virConnectListNetworks").urgent().acl(&["connect:search_networks"])
}

structure! {
/// What [`ConnectListNetworks`] takes.
ConnectListNetworksArgs {
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`ConnectListNetworks`] returns.
ConnectListNetworksRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectNumOfDefinedNetworks`](https://libvirt.org/search.html?q=virConnectNumOfDefinedNetworks), since libvirt 0.3.0.
ConnectNumOfDefinedNetworks(()) -> ConnectNumOfDefinedNetworksRet = Info::new(Program::Remote, 50, "connect_num_of_defined_networks", Release(0, 3, 0)).function("virConnectNumOfDefinedNetworks").urgent().acl(&["connect:search_networks"])
}

structure! {
/// What [`ConnectNumOfDefinedNetworks`] returns.
ConnectNumOfDefinedNetworksRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectNumOfDomains`](https://libvirt.org/search.html?q=virConnectNumOfDomains), since libvirt 0.3.0.
ConnectNumOfDomains(()) -> ConnectNumOfDomainsRet = Info::new(Program::Remote, 51, "connect_num_of_domains", Release(0, 3, 0)).function("virConnectNumOfDomains").urgent().acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectNumOfDomains`] returns.
ConnectNumOfDomainsRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectNumOfNetworks`](https://libvirt.org/search.html?q=virConnectNumOfNetworks), since libvirt 0.3.0.
ConnectNumOfNetworks(()) -> ConnectNumOfNetworksRet = Info::new(Program::Remote, 52, "connect_num_of_networks", Release(0, 3, 0)).function("virConnectNumOfNetworks").urgent().acl(&["connect:search_networks"])
}

structure! {
/// What [`ConnectNumOfNetworks`] returns.
ConnectNumOfNetworksRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectGetHostname`](https://libvirt.org/search.html?q=virConnectGetHostname), since libvirt 0.3.0.
ConnectGetHostname(()) -> ConnectGetHostnameRet<'a> = Info::new(Program::Remote, 59, "connect_get_hostname", Release(0, 3, 0)).function("virConnectGetHostname").urgent().acl(&["connect:getattr"])
}

structure! {
/// What [`ConnectGetHostname`] returns.
ConnectGetHostnameRet<'a> {
/// `hostname`
hostname: Text<'a>,
}}

procedure! {
/// The step `connect_supports_feature` of the protocol, since libvirt 0.3.2.
ConnectSupportsFeature(ConnectSupportsFeatureArgs) -> ConnectSupportsFeatureRet = Info::new(Program::Remote, 60, "connect_supports_feature", Release(0, 3, 2)).urgent().acl(&["connect:getattr"])
}

structure! {
/// What [`ConnectSupportsFeature`] takes.
ConnectSupportsFeatureArgs {
/// `feature`
feature: i32,
}}

structure! {
/// What [`ConnectSupportsFeature`] returns.
ConnectSupportsFeatureRet {
/// `supported`
supported: i32,
}}

procedure! {
/// [`virConnectNumOfStoragePools`](https://libvirt.org/search.html?q=virConnectNumOfStoragePools), since libvirt 0.4.1.
ConnectNumOfStoragePools(()) -> ConnectNumOfStoragePoolsRet = Info::new(Program::Remote, 71, "connect_num_of_storage_pools", Release(0, 4, 1)).function("virConnectNumOfStoragePools").urgent().acl(&["connect:search_storage_pools"])
}

structure! {
/// What [`ConnectNumOfStoragePools`] returns.
ConnectNumOfStoragePoolsRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectListStoragePools`](https://libvirt.org/search.html?q=virConnectListStoragePools), since libvirt 0.4.1.
ConnectListStoragePools(ConnectListStoragePoolsArgs) -> ConnectListStoragePoolsRet<'a> = Info::new(Program::Remote, 72, "connect_list_storage_pools", Release(0, 4, 1)).function("virConnectListStoragePools").urgent().acl(&["connect:search_storage_pools"])
}

structure! {
/// What [`ConnectListStoragePools`] takes.
ConnectListStoragePoolsArgs {
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`ConnectListStoragePools`] returns.
ConnectListStoragePoolsRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectNumOfDefinedStoragePools`](https://libvirt.org/search.html?q=virConnectNumOfDefinedStoragePools), since libvirt 0.4.1.
ConnectNumOfDefinedStoragePools(()) -> ConnectNumOfDefinedStoragePoolsRet = Info::new(Program::Remote, 73, "connect_num_of_defined_storage_pools", Release(0, 4, 1)).function("virConnectNumOfDefinedStoragePools").urgent().acl(&["connect:search_storage_pools"])
}

structure! {
/// What [`ConnectNumOfDefinedStoragePools`] returns.
ConnectNumOfDefinedStoragePoolsRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectListDefinedStoragePools`](https://libvirt.org/search.html?q=virConnectListDefinedStoragePools), since libvirt 0.4.1.
ConnectListDefinedStoragePools(ConnectListDefinedStoragePoolsArgs) -> ConnectListDefinedStoragePoolsRet<'a> = Info::new(Program::Remote, 74, "connect_list_defined_storage_pools", Release(0, 4, 1)).function("virConnectListDefinedStoragePools").urgent().acl(&["connect:search_storage_pools"])
}

structure! {
/// What [`ConnectListDefinedStoragePools`] takes.
ConnectListDefinedStoragePoolsArgs {
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`ConnectListDefinedStoragePools`] returns.
ConnectListDefinedStoragePoolsRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectFindStoragePoolSources`](https://libvirt.org/search.html?q=virConnectFindStoragePoolSources), since libvirt 0.4.5.
ConnectFindStoragePoolSources(ConnectFindStoragePoolSourcesArgs<'a>) -> ConnectFindStoragePoolSourcesRet<'a> = Info::new(Program::Remote, 75, "connect_find_storage_pool_sources", Release(0, 4, 5)).function("virConnectFindStoragePoolSources").acl(&["connect:detect_storage_pools"])
}

structure! {
/// What [`ConnectFindStoragePoolSources`] takes.
ConnectFindStoragePoolSourcesArgs<'a> {
/// `type`
kind: Text<'a>,
/// `srcSpec`
src_spec: Option<Text<'a>>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectFindStoragePoolSources`] returns.
ConnectFindStoragePoolSourcesRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virConnectDomainEventRegister`](https://libvirt.org/search.html?q=virConnectDomainEventRegister), since libvirt 0.5.0.
ConnectDomainEventRegister(()) -> ConnectDomainEventRegisterRet = Info::new(Program::Remote, 105, "connect_domain_event_register", Release(0, 5, 0)).function("virConnectDomainEventRegister").urgent().acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectDomainEventRegister`] returns.
ConnectDomainEventRegisterRet {
/// `cb_registered`
cb_registered: i32,
}}

procedure! {
/// [`virConnectDomainEventDeregister`](https://libvirt.org/search.html?q=virConnectDomainEventDeregister), since libvirt 0.5.0.
ConnectDomainEventDeregister(()) -> ConnectDomainEventDeregisterRet = Info::new(Program::Remote, 106, "connect_domain_event_deregister", Release(0, 5, 0)).function("virConnectDomainEventDeregister").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectDomainEventDeregister`] returns.
ConnectDomainEventDeregisterRet {
/// `cb_registered`
cb_registered: i32,
}}

procedure! {
/// [`virConnectGetURI`](https://libvirt.org/search.html?q=virConnectGetURI), since libvirt 0.5.0.
ConnectGetUri(()) -> ConnectGetUriRet<'a> = Info::new(Program::Remote, 110, "connect_get_uri", Release(0, 5, 0)).function("virConnectGetURI").urgent().acl(&["connect:getattr"])
}

structure! {
/// What [`ConnectGetUri`] returns.
ConnectGetUriRet<'a> {
/// `uri`
uri: Text<'a>,
}}

procedure! {
/// [`virConnectNumOfInterfaces`](https://libvirt.org/search.html?q=virConnectNumOfInterfaces), since libvirt 0.6.4.
ConnectNumOfInterfaces(()) -> ConnectNumOfInterfacesRet = Info::new(Program::Remote, 126, "connect_num_of_interfaces", Release(0, 6, 4)).function("virConnectNumOfInterfaces").urgent().acl(&["connect:search_interfaces"])
}

structure! {
/// What [`ConnectNumOfInterfaces`] returns.
ConnectNumOfInterfacesRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectListInterfaces`](https://libvirt.org/search.html?q=virConnectListInterfaces), since libvirt 0.6.4.
ConnectListInterfaces(ConnectListInterfacesArgs) -> ConnectListInterfacesRet<'a> = Info::new(Program::Remote, 127, "connect_list_interfaces", Release(0, 6, 4)).function("virConnectListInterfaces").urgent().acl(&["connect:search_interfaces"])
}

structure! {
/// What [`ConnectListInterfaces`] takes.
ConnectListInterfacesArgs {
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`ConnectListInterfaces`] returns.
ConnectListInterfacesRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectDomainXMLFromNative`](https://libvirt.org/search.html?q=virConnectDomainXMLFromNative), since libvirt 0.6.4.
ConnectDomainXmlFromNative(ConnectDomainXmlFromNativeArgs<'a>) -> ConnectDomainXmlFromNativeRet<'a> = Info::new(Program::Remote, 135, "connect_domain_xml_from_native", Release(0, 6, 4)).function("virConnectDomainXMLFromNative").acl(&["connect:write"])
}

structure! {
/// What [`ConnectDomainXmlFromNative`] takes.
ConnectDomainXmlFromNativeArgs<'a> {
/// `nativeFormat`
native_format: Text<'a>,
/// `nativeConfig`
native_config: Text<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectDomainXmlFromNative`] returns.
ConnectDomainXmlFromNativeRet<'a> {
/// `domainXml`
domain_xml: Text<'a>,
}}

procedure! {
/// [`virConnectDomainXMLToNative`](https://libvirt.org/search.html?q=virConnectDomainXMLToNative), since libvirt 0.6.4.
ConnectDomainXmlToNative(ConnectDomainXmlToNativeArgs<'a>) -> ConnectDomainXmlToNativeRet<'a> = Info::new(Program::Remote, 136, "connect_domain_xml_to_native", Release(0, 6, 4)).function("virConnectDomainXMLToNative").acl(&["connect:write"])
}

structure! {
/// What [`ConnectDomainXmlToNative`] takes.
ConnectDomainXmlToNativeArgs<'a> {
/// `nativeFormat`
native_format: Text<'a>,
/// `domainXml`
domain_xml: Text<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectDomainXmlToNative`] returns.
ConnectDomainXmlToNativeRet<'a> {
/// `nativeConfig`
native_config: Text<'a>,
}}

procedure! {
/// [`virConnectNumOfDefinedInterfaces`](https://libvirt.org/search.html?q=virConnectNumOfDefinedInterfaces), since libvirt 0.7.0.
ConnectNumOfDefinedInterfaces(()) -> ConnectNumOfDefinedInterfacesRet = Info::new(Program::Remote, 137, "connect_num_of_defined_interfaces", Release(0, 7, 0)).function("virConnectNumOfDefinedInterfaces").urgent().acl(&["connect:search_interfaces"])
}

structure! {
/// What [`ConnectNumOfDefinedInterfaces`] returns.
ConnectNumOfDefinedInterfacesRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectListDefinedInterfaces`](https://libvirt.org/search.html?q=virConnectListDefinedInterfaces), since libvirt 0.7.0.
ConnectListDefinedInterfaces(ConnectListDefinedInterfacesArgs) -> ConnectListDefinedInterfacesRet<'a> = Info::new(Program::Remote, 138, "connect_list_defined_interfaces", Release(0, 7, 0)).function("virConnectListDefinedInterfaces").urgent().acl(&["connect:search_interfaces"])
}

structure! {
/// What [`ConnectListDefinedInterfaces`] takes.
ConnectListDefinedInterfacesArgs {
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`ConnectListDefinedInterfaces`] returns.
ConnectListDefinedInterfacesRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectNumOfSecrets`](https://libvirt.org/search.html?q=virConnectNumOfSecrets), since libvirt 0.7.1.
ConnectNumOfSecrets(()) -> ConnectNumOfSecretsRet = Info::new(Program::Remote, 139, "connect_num_of_secrets", Release(0, 7, 1)).function("virConnectNumOfSecrets").urgent().acl(&["connect:search_secrets"])
}

structure! {
/// What [`ConnectNumOfSecrets`] returns.
ConnectNumOfSecretsRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectListSecrets`](https://libvirt.org/search.html?q=virConnectListSecrets), since libvirt 0.7.1.
ConnectListSecrets(ConnectListSecretsArgs) -> ConnectListSecretsRet<'a> = Info::new(Program::Remote, 140, "connect_list_secrets", Release(0, 7, 1)).function("virConnectListSecrets").urgent().acl(&["connect:search_secrets"])
}

structure! {
/// What [`ConnectListSecrets`] takes.
ConnectListSecretsArgs {
/// `maxuuids`
maxuuids: i32,
}}

structure! {
/// What [`ConnectListSecrets`] returns.
ConnectListSecretsRet<'a> {
/// `uuids`
uuids: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectIsSecure`](https://libvirt.org/search.html?q=virConnectIsSecure), since libvirt 0.7.3.
ConnectIsSecure(()) -> ConnectIsSecureRet = Info::new(Program::Remote, 149, "connect_is_secure", Release(0, 7, 3)).function("virConnectIsSecure").urgent()
}

structure! {
/// What [`ConnectIsSecure`] returns.
ConnectIsSecureRet {
/// `secure`
secure: i32,
}}

procedure! {
/// [`virConnectGetLibVersion`](https://libvirt.org/search.html?q=virConnectGetLibVersion), since libvirt 0.7.3.
ConnectGetLibVersion(()) -> ConnectGetLibVersionRet = Info::new(Program::Remote, 157, "connect_get_lib_version", Release(0, 7, 3)).function("virConnectGetLibVersion").urgent().acl(&["connect:getattr"])
}

structure! {
/// What [`ConnectGetLibVersion`] returns.
ConnectGetLibVersionRet {
/// `lib_ver`
lib_ver: u64,
}}

procedure! {
/// [`virConnectCompareCPU`](https://libvirt.org/search.html?q=virConnectCompareCPU), since libvirt 0.7.5.
ConnectCompareCpu(ConnectCompareCpuArgs<'a>) -> ConnectCompareCpuRet = Info::new(Program::Remote, 158, "connect_compare_cpu", Release(0, 7, 5)).function("virConnectCompareCPU").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectCompareCpu`] takes.
ConnectCompareCpuArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::ConnectCompareCpuFlags,
}}

structure! {
/// What [`ConnectCompareCpu`] returns.
ConnectCompareCpuRet {
/// `result`
result: enums::CpuCompareResult,
}}

procedure! {
/// [`virConnectBaselineCPU`](https://libvirt.org/search.html?q=virConnectBaselineCPU), since libvirt 0.7.7.
ConnectBaselineCpu(ConnectBaselineCpuArgs<'a>) -> ConnectBaselineCpuRet<'a> = Info::new(Program::Remote, 162, "connect_baseline_cpu", Release(0, 7, 7)).function("virConnectBaselineCPU").acl(&["connect:read"])
}

structure! {
/// What [`ConnectBaselineCpu`] takes.
ConnectBaselineCpuArgs<'a> {
/// `xmlCPUs`
xml_cp_us: List<'a, Text<'a>, 256>,
/// `flags`
flags: flags::ConnectBaselineCpuFlags,
}}

structure! {
/// What [`ConnectBaselineCpu`] returns.
ConnectBaselineCpuRet<'a> {
/// `cpu`
cpu: Text<'a>,
}}

procedure! {
/// [`virConnectDomainEventRegisterAny`](https://libvirt.org/search.html?q=virConnectDomainEventRegisterAny), since libvirt 0.8.0.
ConnectDomainEventRegisterAny(ConnectDomainEventRegisterAnyArgs) -> () = Info::new(Program::Remote, 167, "connect_domain_event_register_any", Release(0, 8, 0)).function("virConnectDomainEventRegisterAny").urgent().acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectDomainEventRegisterAny`] takes.
ConnectDomainEventRegisterAnyArgs {
/// `eventID`
event_id: enums::DomainEventId,
}}

procedure! {
/// [`virConnectDomainEventDeregisterAny`](https://libvirt.org/search.html?q=virConnectDomainEventDeregisterAny), since libvirt 0.8.0.
ConnectDomainEventDeregisterAny(ConnectDomainEventDeregisterAnyArgs) -> () = Info::new(Program::Remote, 168, "connect_domain_event_deregister_any", Release(0, 8, 0)).function("virConnectDomainEventDeregisterAny").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectDomainEventDeregisterAny`] takes.
ConnectDomainEventDeregisterAnyArgs {
/// `eventID`
event_id: enums::DomainEventId,
}}

procedure! {
/// [`virConnectNumOfNWFilters`](https://libvirt.org/search.html?q=virConnectNumOfNWFilters), since libvirt 0.8.0.
ConnectNumOfNwfilters(()) -> ConnectNumOfNwfiltersRet = Info::new(Program::Remote, 178, "connect_num_of_nwfilters", Release(0, 8, 0)).function("virConnectNumOfNWFilters").urgent().acl(&["connect:search_nwfilters"])
}

structure! {
/// What [`ConnectNumOfNwfilters`] returns.
ConnectNumOfNwfiltersRet {
/// `num`
num: i32,
}}

procedure! {
/// [`virConnectListNWFilters`](https://libvirt.org/search.html?q=virConnectListNWFilters), since libvirt 0.8.0.
ConnectListNwfilters(ConnectListNwfiltersArgs) -> ConnectListNwfiltersRet<'a> = Info::new(Program::Remote, 179, "connect_list_nwfilters", Release(0, 8, 0)).function("virConnectListNWFilters").urgent().acl(&["connect:search_nwfilters"])
}

structure! {
/// What [`ConnectListNwfilters`] takes.
ConnectListNwfiltersArgs {
/// `maxnames`
maxnames: i32,
}}

structure! {
/// What [`ConnectListNwfilters`] returns.
ConnectListNwfiltersRet<'a> {
/// `names`
names: List<'a, Text<'a>, 16384>,
}}

procedure! {
/// [`virConnectGetSysinfo`](https://libvirt.org/search.html?q=virConnectGetSysinfo), since libvirt 0.8.8.
ConnectGetSysinfo(ConnectGetSysinfoArgs) -> ConnectGetSysinfoRet<'a> = Info::new(Program::Remote, 203, "connect_get_sysinfo", Release(0, 8, 8)).function("virConnectGetSysinfo").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectGetSysinfo`] takes.
ConnectGetSysinfoArgs {
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectGetSysinfo`] returns.
ConnectGetSysinfoRet<'a> {
/// `sysinfo`
sysinfo: Text<'a>,
}}

procedure! {
/// [`virConnectListAllDomains`](https://libvirt.org/search.html?q=virConnectListAllDomains), since libvirt 0.9.13.
ConnectListAllDomains(ConnectListAllDomainsArgs) -> ConnectListAllDomainsRet<'a> = Info::new(Program::Remote, 273, "connect_list_all_domains", Release(0, 9, 13)).function("virConnectListAllDomains").urgent().acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectListAllDomains`] takes.
ConnectListAllDomainsArgs {
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::ConnectListAllDomainsFlags,
}}

structure! {
/// What [`ConnectListAllDomains`] returns.
ConnectListAllDomainsRet<'a> {
/// `domains`
domains: List<'a, Domain<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virConnectListAllStoragePools`](https://libvirt.org/search.html?q=virConnectListAllStoragePools), since libvirt 0.10.2.
ConnectListAllStoragePools(ConnectListAllStoragePoolsArgs) -> ConnectListAllStoragePoolsRet<'a> = Info::new(Program::Remote, 281, "connect_list_all_storage_pools", Release(0, 10, 2)).function("virConnectListAllStoragePools").urgent().acl(&["connect:search_storage_pools"])
}

structure! {
/// What [`ConnectListAllStoragePools`] takes.
ConnectListAllStoragePoolsArgs {
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::ConnectListAllStoragePoolsFlags,
}}

structure! {
/// What [`ConnectListAllStoragePools`] returns.
ConnectListAllStoragePoolsRet<'a> {
/// `pools`
pools: List<'a, StoragePool<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virConnectListAllNetworks`](https://libvirt.org/search.html?q=virConnectListAllNetworks), since libvirt 0.10.2.
ConnectListAllNetworks(ConnectListAllNetworksArgs) -> ConnectListAllNetworksRet<'a> = Info::new(Program::Remote, 283, "connect_list_all_networks", Release(0, 10, 2)).function("virConnectListAllNetworks").urgent().acl(&["connect:search_networks"])
}

structure! {
/// What [`ConnectListAllNetworks`] takes.
ConnectListAllNetworksArgs {
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::ConnectListAllNetworksFlags,
}}

structure! {
/// What [`ConnectListAllNetworks`] returns.
ConnectListAllNetworksRet<'a> {
/// `nets`
nets: List<'a, Network<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virConnectListAllInterfaces`](https://libvirt.org/search.html?q=virConnectListAllInterfaces), since libvirt 0.10.2.
ConnectListAllInterfaces(ConnectListAllInterfacesArgs) -> ConnectListAllInterfacesRet<'a> = Info::new(Program::Remote, 284, "connect_list_all_interfaces", Release(0, 10, 2)).function("virConnectListAllInterfaces").urgent().acl(&["connect:search_interfaces"])
}

structure! {
/// What [`ConnectListAllInterfaces`] takes.
ConnectListAllInterfacesArgs {
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::ConnectListAllInterfacesFlags,
}}

structure! {
/// What [`ConnectListAllInterfaces`] returns.
ConnectListAllInterfacesRet<'a> {
/// `ifaces`
ifaces: List<'a, Interface<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virConnectListAllNodeDevices`](https://libvirt.org/search.html?q=virConnectListAllNodeDevices), since libvirt 0.10.2.
ConnectListAllNodeDevices(ConnectListAllNodeDevicesArgs) -> ConnectListAllNodeDevicesRet<'a> = Info::new(Program::Remote, 285, "connect_list_all_node_devices", Release(0, 10, 2)).function("virConnectListAllNodeDevices").urgent().acl(&["connect:search_node_devices"])
}

structure! {
/// What [`ConnectListAllNodeDevices`] takes.
ConnectListAllNodeDevicesArgs {
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::ConnectListAllNodeDeviceFlags,
}}

structure! {
/// What [`ConnectListAllNodeDevices`] returns.
ConnectListAllNodeDevicesRet<'a> {
/// `devices`
devices: List<'a, NodeDevice<'a>, 65536>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virConnectListAllNWFilters`](https://libvirt.org/search.html?q=virConnectListAllNWFilters), since libvirt 0.10.2.
ConnectListAllNwfilters(ConnectListAllNwfiltersArgs) -> ConnectListAllNwfiltersRet<'a> = Info::new(Program::Remote, 286, "connect_list_all_nwfilters", Release(0, 10, 2)).function("virConnectListAllNWFilters").urgent().acl(&["connect:search_nwfilters"])
}

structure! {
/// What [`ConnectListAllNwfilters`] takes.
ConnectListAllNwfiltersArgs {
/// `need_results`
need_results: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectListAllNwfilters`] returns.
ConnectListAllNwfiltersRet<'a> {
/// `filters`
filters: List<'a, NwFilter<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virConnectListAllSecrets`](https://libvirt.org/search.html?q=virConnectListAllSecrets), since libvirt 0.10.2.
ConnectListAllSecrets(ConnectListAllSecretsArgs) -> ConnectListAllSecretsRet<'a> = Info::new(Program::Remote, 287, "connect_list_all_secrets", Release(0, 10, 2)).function("virConnectListAllSecrets").urgent().acl(&["connect:search_secrets"])
}

structure! {
/// What [`ConnectListAllSecrets`] takes.
ConnectListAllSecretsArgs {
/// `need_results`
need_results: i32,
/// `flags`
flags: flags::ConnectListAllSecretsFlags,
}}

structure! {
/// What [`ConnectListAllSecrets`] returns.
ConnectListAllSecretsRet<'a> {
/// `secrets`
secrets: List<'a, Secret<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virConnectGetCPUModelNames`](https://libvirt.org/search.html?q=virConnectGetCPUModelNames), since libvirt 1.1.3.
ConnectGetCpuModelNames(ConnectGetCpuModelNamesArgs<'a>) -> ConnectGetCpuModelNamesRet<'a> = Info::new(Program::Remote, 312, "connect_get_cpu_model_names", Release(1, 1, 3)).function("virConnectGetCPUModelNames").acl(&["connect:read"])
}

structure! {
/// What [`ConnectGetCpuModelNames`] takes.
ConnectGetCpuModelNamesArgs<'a> {
/// `arch`
arch: Text<'a>,
/// `need_results`
need_results: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectGetCpuModelNames`] returns.
ConnectGetCpuModelNamesRet<'a> {
/// `models`
models: List<'a, Text<'a>, 8192>,
/// `ret`
ret: i32,
}}

procedure! {
/// [`virConnectNetworkEventRegisterAny`](https://libvirt.org/search.html?q=virConnectNetworkEventRegisterAny), since libvirt 1.2.1.
ConnectNetworkEventRegisterAny(ConnectNetworkEventRegisterAnyArgs<'a>) -> ConnectNetworkEventRegisterAnyRet = Info::new(Program::Remote, 313, "connect_network_event_register_any", Release(1, 2, 1)).function("virConnectNetworkEventRegisterAny").urgent().acl(&["connect:search_networks"])
}

structure! {
/// What [`ConnectNetworkEventRegisterAny`] takes.
ConnectNetworkEventRegisterAnyArgs<'a> {
/// `eventID`
event_id: enums::NetworkEventId,
/// `net`
net: Option<Network<'a>>,
}}

structure! {
/// What [`ConnectNetworkEventRegisterAny`] returns.
ConnectNetworkEventRegisterAnyRet {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectNetworkEventDeregisterAny`](https://libvirt.org/search.html?q=virConnectNetworkEventDeregisterAny), since libvirt 1.2.1.
ConnectNetworkEventDeregisterAny(ConnectNetworkEventDeregisterAnyArgs) -> () = Info::new(Program::Remote, 314, "connect_network_event_deregister_any", Release(1, 2, 1)).function("virConnectNetworkEventDeregisterAny").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectNetworkEventDeregisterAny`] takes.
ConnectNetworkEventDeregisterAnyArgs {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectDomainEventRegisterAny`](https://libvirt.org/search.html?q=virConnectDomainEventRegisterAny), since libvirt 1.2.1.
ConnectDomainEventCallbackRegisterAny(ConnectDomainEventCallbackRegisterAnyArgs<'a>) -> ConnectDomainEventCallbackRegisterAnyRet = Info::new(Program::Remote, 316, "connect_domain_event_callback_register_any", Release(1, 2, 1)).function("virConnectDomainEventRegisterAny").urgent().acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectDomainEventCallbackRegisterAny`] takes.
ConnectDomainEventCallbackRegisterAnyArgs<'a> {
/// `eventID`
event_id: enums::DomainEventId,
/// `dom`
dom: Option<Domain<'a>>,
}}

structure! {
/// What [`ConnectDomainEventCallbackRegisterAny`] returns.
ConnectDomainEventCallbackRegisterAnyRet {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectDomainEventDeregisterAny`](https://libvirt.org/search.html?q=virConnectDomainEventDeregisterAny), since libvirt 1.2.1.
ConnectDomainEventCallbackDeregisterAny(ConnectDomainEventCallbackDeregisterAnyArgs) -> () = Info::new(Program::Remote, 317, "connect_domain_event_callback_deregister_any", Release(1, 2, 1)).function("virConnectDomainEventDeregisterAny").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectDomainEventCallbackDeregisterAny`] takes.
ConnectDomainEventCallbackDeregisterAnyArgs {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectGetDomainCapabilities`](https://libvirt.org/search.html?q=virConnectGetDomainCapabilities), since libvirt 1.2.7.
ConnectGetDomainCapabilities(ConnectGetDomainCapabilitiesArgs<'a>) -> ConnectGetDomainCapabilitiesRet<'a> = Info::new(Program::Remote, 342, "connect_get_domain_capabilities", Release(1, 2, 7)).function("virConnectGetDomainCapabilities").acl(&["connect:write"])
}

structure! {
/// What [`ConnectGetDomainCapabilities`] takes.
ConnectGetDomainCapabilitiesArgs<'a> {
/// `emulatorbin`
emulatorbin: Option<Text<'a>>,
/// `arch`
arch: Option<Text<'a>>,
/// `machine`
machine: Option<Text<'a>>,
/// `virttype`
virttype: Option<Text<'a>>,
/// `flags`
flags: flags::ConnectGetDomainCapabilitiesFlags,
}}

structure! {
/// What [`ConnectGetDomainCapabilities`] returns.
ConnectGetDomainCapabilitiesRet<'a> {
/// `capabilities`
capabilities: Text<'a>,
}}

procedure! {
/// [`virConnectGetAllDomainStats`](https://libvirt.org/search.html?q=virConnectGetAllDomainStats), since libvirt 1.2.8.
ConnectGetAllDomainStats(ConnectGetAllDomainStatsArgs<'a>) -> ConnectGetAllDomainStatsRet<'a> = Info::new(Program::Remote, 344, "connect_get_all_domain_stats", Release(1, 2, 8)).function("virConnectGetAllDomainStats").acl(&["connect:search_domains"])
}

structure! {
/// What [`ConnectGetAllDomainStats`] takes.
ConnectGetAllDomainStatsArgs<'a> {
/// `doms`
doms: List<'a, Domain<'a>, 16384>,
/// `stats`
stats: flags::DomainStatsTypes,
/// `flags`
flags: flags::ConnectGetAllDomainStatsFlags,
}}

structure! {
/// What [`ConnectGetAllDomainStats`] returns.
ConnectGetAllDomainStatsRet<'a> {
/// `retStats`
ret_stats: List<'a, DomainStatsRecord<'a>, 16384>,
}}

procedure! {
/// [`virConnectRegisterCloseCallback`](https://libvirt.org/search.html?q=virConnectRegisterCloseCallback), since libvirt 1.3.2.
ConnectRegisterCloseCallback(()) -> () = Info::new(Program::Remote, 360, "connect_register_close_callback", Release(1, 3, 2)).function("virConnectRegisterCloseCallback").urgent().acl(&["connect:getattr"])
}

procedure! {
/// [`virConnectUnregisterCloseCallback`](https://libvirt.org/search.html?q=virConnectUnregisterCloseCallback), since libvirt 1.3.2.
ConnectUnregisterCloseCallback(()) -> () = Info::new(Program::Remote, 361, "connect_unregister_close_callback", Release(1, 3, 2)).function("virConnectUnregisterCloseCallback").urgent().acl(&["connect:getattr"])
}

procedure! {
/// [`virConnectStoragePoolEventRegisterAny`](https://libvirt.org/search.html?q=virConnectStoragePoolEventRegisterAny), since libvirt 2.0.0.
ConnectStoragePoolEventRegisterAny(ConnectStoragePoolEventRegisterAnyArgs<'a>) -> ConnectStoragePoolEventRegisterAnyRet = Info::new(Program::Remote, 368, "connect_storage_pool_event_register_any", Release(2, 0, 0)).function("virConnectStoragePoolEventRegisterAny").urgent().acl(&["connect:search_storage_pools"])
}

structure! {
/// What [`ConnectStoragePoolEventRegisterAny`] takes.
ConnectStoragePoolEventRegisterAnyArgs<'a> {
/// `eventID`
event_id: enums::StoragePoolEventId,
/// `pool`
pool: Option<StoragePool<'a>>,
}}

structure! {
/// What [`ConnectStoragePoolEventRegisterAny`] returns.
ConnectStoragePoolEventRegisterAnyRet {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectStoragePoolEventDeregisterAny`](https://libvirt.org/search.html?q=virConnectStoragePoolEventDeregisterAny), since libvirt 2.0.0.
ConnectStoragePoolEventDeregisterAny(ConnectStoragePoolEventDeregisterAnyArgs) -> () = Info::new(Program::Remote, 369, "connect_storage_pool_event_deregister_any", Release(2, 0, 0)).function("virConnectStoragePoolEventDeregisterAny").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectStoragePoolEventDeregisterAny`] takes.
ConnectStoragePoolEventDeregisterAnyArgs {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectNodeDeviceEventRegisterAny`](https://libvirt.org/search.html?q=virConnectNodeDeviceEventRegisterAny), since libvirt 2.2.0.
ConnectNodeDeviceEventRegisterAny(ConnectNodeDeviceEventRegisterAnyArgs<'a>) -> ConnectNodeDeviceEventRegisterAnyRet = Info::new(Program::Remote, 374, "connect_node_device_event_register_any", Release(2, 2, 0)).function("virConnectNodeDeviceEventRegisterAny").urgent().acl(&["connect:search_node_devices"])
}

structure! {
/// What [`ConnectNodeDeviceEventRegisterAny`] takes.
ConnectNodeDeviceEventRegisterAnyArgs<'a> {
/// `eventID`
event_id: enums::NodeDeviceEventId,
/// `dev`
dev: Option<NodeDevice<'a>>,
}}

structure! {
/// What [`ConnectNodeDeviceEventRegisterAny`] returns.
ConnectNodeDeviceEventRegisterAnyRet {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectNodeDeviceEventDeregisterAny`](https://libvirt.org/search.html?q=virConnectNodeDeviceEventDeregisterAny), since libvirt 2.2.0.
ConnectNodeDeviceEventDeregisterAny(ConnectNodeDeviceEventDeregisterAnyArgs) -> () = Info::new(Program::Remote, 375, "connect_node_device_event_deregister_any", Release(2, 2, 0)).function("virConnectNodeDeviceEventDeregisterAny").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectNodeDeviceEventDeregisterAny`] takes.
ConnectNodeDeviceEventDeregisterAnyArgs {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectSecretEventRegisterAny`](https://libvirt.org/search.html?q=virConnectSecretEventRegisterAny), since libvirt 3.0.0.
ConnectSecretEventRegisterAny(ConnectSecretEventRegisterAnyArgs<'a>) -> ConnectSecretEventRegisterAnyRet = Info::new(Program::Remote, 380, "connect_secret_event_register_any", Release(3, 0, 0)).function("virConnectSecretEventRegisterAny").urgent().acl(&["connect:search_secrets"])
}

structure! {
/// What [`ConnectSecretEventRegisterAny`] takes.
ConnectSecretEventRegisterAnyArgs<'a> {
/// `eventID`
event_id: enums::SecretEventId,
/// `secret`
secret: Option<Secret<'a>>,
}}

structure! {
/// What [`ConnectSecretEventRegisterAny`] returns.
ConnectSecretEventRegisterAnyRet {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectSecretEventDeregisterAny`](https://libvirt.org/search.html?q=virConnectSecretEventDeregisterAny), since libvirt 3.0.0.
ConnectSecretEventDeregisterAny(ConnectSecretEventDeregisterAnyArgs) -> () = Info::new(Program::Remote, 381, "connect_secret_event_deregister_any", Release(3, 0, 0)).function("virConnectSecretEventDeregisterAny").urgent().acl(&["connect:read"])
}

structure! {
/// What [`ConnectSecretEventDeregisterAny`] takes.
ConnectSecretEventDeregisterAnyArgs {
/// `callbackID`
callback_id: i32,
}}

procedure! {
/// [`virConnectCompareHypervisorCPU`](https://libvirt.org/search.html?q=virConnectCompareHypervisorCPU), since libvirt 4.4.0.
ConnectCompareHypervisorCpu(ConnectCompareHypervisorCpuArgs<'a>) -> ConnectCompareHypervisorCpuRet = Info::new(Program::Remote, 393, "connect_compare_hypervisor_cpu", Release(4, 4, 0)).function("virConnectCompareHypervisorCPU").acl(&["connect:write"])
}

structure! {
/// What [`ConnectCompareHypervisorCpu`] takes.
ConnectCompareHypervisorCpuArgs<'a> {
/// `emulator`
emulator: Option<Text<'a>>,
/// `arch`
arch: Option<Text<'a>>,
/// `machine`
machine: Option<Text<'a>>,
/// `virttype`
virttype: Option<Text<'a>>,
/// `xmlCPU`
xml_cpu: Text<'a>,
/// `flags`
flags: flags::ConnectCompareCpuFlags,
}}

structure! {
/// What [`ConnectCompareHypervisorCpu`] returns.
ConnectCompareHypervisorCpuRet {
/// `result`
result: enums::CpuCompareResult,
}}

procedure! {
/// [`virConnectBaselineHypervisorCPU`](https://libvirt.org/search.html?q=virConnectBaselineHypervisorCPU), since libvirt 4.4.0.
ConnectBaselineHypervisorCpu(ConnectBaselineHypervisorCpuArgs<'a>) -> ConnectBaselineHypervisorCpuRet<'a> = Info::new(Program::Remote, 394, "connect_baseline_hypervisor_cpu", Release(4, 4, 0)).function("virConnectBaselineHypervisorCPU").acl(&["connect:write"])
}

structure! {
/// What [`ConnectBaselineHypervisorCpu`] takes.
ConnectBaselineHypervisorCpuArgs<'a> {
/// `emulator`
emulator: Option<Text<'a>>,
/// `arch`
arch: Option<Text<'a>>,
/// `machine`
machine: Option<Text<'a>>,
/// `virttype`
virttype: Option<Text<'a>>,
/// `xmlCPUs`
xml_cp_us: List<'a, Text<'a>, 256>,
/// `flags`
flags: flags::ConnectBaselineCpuFlags,
}}

structure! {
/// What [`ConnectBaselineHypervisorCpu`] returns.
ConnectBaselineHypervisorCpuRet<'a> {
/// `cpu`
cpu: Text<'a>,
}}

procedure! {
/// [`virConnectListAllNWFilterBindings`](https://libvirt.org/search.html?q=virConnectListAllNWFilterBindings), since libvirt 4.5.0.
ConnectListAllNwFilterBindings(ConnectListAllNwFilterBindingsArgs) -> ConnectListAllNwFilterBindingsRet<'a> = Info::new(Program::Remote, 401, "connect_list_all_nwfilter_bindings", Release(4, 5, 0)).function("virConnectListAllNWFilterBindings").urgent().acl(&["connect:search_nwfilter_bindings"])
}

structure! {
/// What [`ConnectListAllNwFilterBindings`] takes.
ConnectListAllNwFilterBindingsArgs {
/// `need_results`
need_results: i32,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectListAllNwFilterBindings`] returns.
ConnectListAllNwFilterBindingsRet<'a> {
/// `bindings`
bindings: List<'a, NwFilterBinding<'a>, 16384>,
/// `ret`
ret: u32,
}}

procedure! {
/// [`virConnectGetStoragePoolCapabilities`](https://libvirt.org/search.html?q=virConnectGetStoragePoolCapabilities), since libvirt 5.2.0.
ConnectGetStoragePoolCapabilities(ConnectGetStoragePoolCapabilitiesArgs) -> ConnectGetStoragePoolCapabilitiesRet<'a> = Info::new(Program::Remote, 403, "connect_get_storage_pool_capabilities", Release(5, 2, 0)).function("virConnectGetStoragePoolCapabilities").acl(&["connect:read"])
}

structure! {
/// What [`ConnectGetStoragePoolCapabilities`] takes.
ConnectGetStoragePoolCapabilitiesArgs {
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`ConnectGetStoragePoolCapabilities`] returns.
ConnectGetStoragePoolCapabilitiesRet<'a> {
/// `capabilities`
capabilities: Text<'a>,
}}

procedure! {
/// [`virConnectSetIdentity`](https://libvirt.org/search.html?q=virConnectSetIdentity), since libvirt 5.8.0.
ConnectSetIdentity(ConnectSetIdentityArgs<'a>) -> () = Info::new(Program::Remote, 419, "connect_set_identity", Release(5, 8, 0)).function("virConnectSetIdentity").acl(&["connect:write"])
}

structure! {
/// What [`ConnectSetIdentity`] takes.
ConnectSetIdentityArgs<'a> {
/// `params`
params: List<'a, TypedParam<'a>, 20>,
/// `flags`
flags: NoFlags,
}}

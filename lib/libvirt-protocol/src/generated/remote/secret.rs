// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! Secrets.

use crate::NoFlags;
use crate::generated::types::Secret;
use crate::generated::{enums, flags};
use crate::procedure::{Info, Program, Release, procedure};
use crate::xdr::{Bytes, Text, Uuid, structure};

procedure! {
/// [`virSecretLookupByUUID`](https://libvirt.org/search.html?q=virSecretLookupByUUID), since libvirt 0.7.1.
SecretLookupByUuid(SecretLookupByUuidArgs) -> SecretLookupByUuidRet<'a> = Info::new(Program::Remote, 141, "secret_lookup_by_uuid", Release(0, 7, 1)).function("virSecretLookupByUUID").urgent().acl(&["secret:getattr"])
}

structure! {
/// What [`SecretLookupByUuid`] takes.
SecretLookupByUuidArgs {
/// `uuid`
uuid: Uuid,
}}

structure! {
/// What [`SecretLookupByUuid`] returns.
SecretLookupByUuidRet<'a> {
/// `secret`
secret: Secret<'a>,
}}

procedure! {
/// [`virSecretDefineXML`](https://libvirt.org/search.html?q=virSecretDefineXML), since libvirt 0.7.1.
SecretDefineXml(SecretDefineXmlArgs<'a>) -> SecretDefineXmlRet<'a> = Info::new(Program::Remote, 142, "secret_define_xml", Release(0, 7, 1)).function("virSecretDefineXML").urgent().acl(&["secret:write", "secret:save"])
}

structure! {
/// What [`SecretDefineXml`] takes.
SecretDefineXmlArgs<'a> {
/// `xml`
xml: Text<'a>,
/// `flags`
flags: flags::SecretDefineFlags,
}}

structure! {
/// What [`SecretDefineXml`] returns.
SecretDefineXmlRet<'a> {
/// `secret`
secret: Secret<'a>,
}}

procedure! {
/// [`virSecretGetXMLDesc`](https://libvirt.org/search.html?q=virSecretGetXMLDesc), since libvirt 0.7.1.
SecretGetXmlDesc(SecretGetXmlDescArgs<'a>) -> SecretGetXmlDescRet<'a> = Info::new(Program::Remote, 143, "secret_get_xml_desc", Release(0, 7, 1)).function("virSecretGetXMLDesc").urgent().acl(&["secret:read"])
}

structure! {
/// What [`SecretGetXmlDesc`] takes.
SecretGetXmlDescArgs<'a> {
/// `secret`
secret: Secret<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`SecretGetXmlDesc`] returns.
SecretGetXmlDescRet<'a> {
/// `xml`
xml: Text<'a>,
}}

procedure! {
/// [`virSecretSetValue`](https://libvirt.org/search.html?q=virSecretSetValue), since libvirt 0.7.1.
SecretSetValue(SecretSetValueArgs<'a>) -> () = Info::new(Program::Remote, 144, "secret_set_value", Release(0, 7, 1)).function("virSecretSetValue").urgent().acl(&["secret:write"])
}

structure! {
/// What [`SecretSetValue`] takes.
SecretSetValueArgs<'a> {
/// `secret`
secret: Secret<'a>,
/// `value`
value: Bytes<'a, 65536>,
/// `flags`
flags: NoFlags,
}}

procedure! {
/// [`virSecretGetValue`](https://libvirt.org/search.html?q=virSecretGetValue), since libvirt 0.7.1.
SecretGetValue(SecretGetValueArgs<'a>) -> SecretGetValueRet<'a> = Info::new(Program::Remote, 145, "secret_get_value", Release(0, 7, 1)).function("virSecretGetValue").urgent().acl(&["secret:read_secure"])
}

structure! {
/// What [`SecretGetValue`] takes.
SecretGetValueArgs<'a> {
/// `secret`
secret: Secret<'a>,
/// `flags`
flags: NoFlags,
}}

structure! {
/// What [`SecretGetValue`] returns.
SecretGetValueRet<'a> {
/// `value`
value: Bytes<'a, 65536>,
}}

procedure! {
/// [`virSecretUndefine`](https://libvirt.org/search.html?q=virSecretUndefine), since libvirt 0.7.1.
SecretUndefine(SecretUndefineArgs<'a>) -> () = Info::new(Program::Remote, 146, "secret_undefine", Release(0, 7, 1)).function("virSecretUndefine").urgent().acl(&["secret:delete"])
}

structure! {
/// What [`SecretUndefine`] takes.
SecretUndefineArgs<'a> {
/// `secret`
secret: Secret<'a>,
}}

procedure! {
/// [`virSecretLookupByUsage`](https://libvirt.org/search.html?q=virSecretLookupByUsage), since libvirt 0.7.1.
SecretLookupByUsage(SecretLookupByUsageArgs<'a>) -> SecretLookupByUsageRet<'a> = Info::new(Program::Remote, 147, "secret_lookup_by_usage", Release(0, 7, 1)).function("virSecretLookupByUsage").urgent().acl(&["secret:getattr"])
}

structure! {
/// What [`SecretLookupByUsage`] takes.
SecretLookupByUsageArgs<'a> {
/// `usageType`
usage_type: enums::SecretUsageType,
/// `usageID`
usage_id: Text<'a>,
}}

structure! {
/// What [`SecretLookupByUsage`] returns.
SecretLookupByUsageRet<'a> {
/// `secret`
secret: Secret<'a>,
}}

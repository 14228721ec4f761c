// Printed by `cargo xtask codegen`. Do not edit: change the description in schema/ or the generator.

//! What only LXC has.

use crate::NoFlags;
use crate::generated::types::Domain;
use crate::procedure::{Descriptors, Info, Program, Release, procedure};
use crate::xdr::structure;

procedure! {
/// [`virDomainLxcOpenNamespace`](https://libvirt.org/search.html?q=virDomainLxcOpenNamespace), since libvirt 1.0.2.
DomainOpenNamespace(DomainOpenNamespaceArgs<'a>) -> () = Info::new(Program::Lxc, 1, "domain_open_namespace", Release(1, 0, 2)).function("virDomainLxcOpenNamespace").descriptors(Descriptors::Receive).acl(&["domain:open_namespace"])
}

structure! {
/// What [`DomainOpenNamespace`] takes.
DomainOpenNamespaceArgs<'a> {
/// `dom`
dom: Domain<'a>,
/// `flags`
flags: NoFlags,
}}

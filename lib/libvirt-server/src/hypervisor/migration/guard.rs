//! What libvirt's QEMU driver guards a migration with, and the flags that put the guards up or take them down.

use super::F;
use crate::hypervisor::domain::Config;
use crate::hypervisor::{Client, Hypervisor, Refusal};
use libvirt_protocol::enums::ErrorNumber;
use libvirt_protocol::types;
use libvirt_protocol::xdr::Uuid;

/// A disk whose host keeps what was written to it may have an older state at the destination, unless somebody knows better
/// (`qemuMigrationSrcIsSafe`). One that says nothing of a cache is taken for safe here: there is no file whose place could be looked at.
pub(super) fn is_safe(config: &Config, flags: F) -> Result<(), Refusal> {
    let kept = |disk: &&crate::xml::Element| {
        disk.name == "disk"
            && disk
                .path("driver/@cache")
                .is_some_and(|cache| !["none", "directsync", "default"].contains(&cache))
            && disk.find("readonly").is_none()
    };
    match config.devices.iter().find(kept) {
        Some(_) if !flags.intersects(F::UNSAFE | F::OFFLINE) => {
            let text =
                "Migration may lead to data corruption if disks use cache other than none or directsync";
            Err(Refusal::new(ErrorNumber::MigrateUnsafe, text))
        }
        _ => Ok(()),
    }
}

impl Hypervisor {
    /// From its first step to its last nothing else may be done to a domain (`CHANGE_PROTECTION`), unless its client goes.
    pub(super) fn protect(&mut self, dom: &types::Domain<'_>, flags: F) {
        let by = flags.contains(F::CHANGE_PROTECTION).then_some(self.caller.client);
        if let Some(domain) = self.domains.get_mut(&dom.uuid) {
            domain.migrated_by = by;
        }
    }

    /// Whether somebody's migration keeps others from a domain.
    pub(in crate::hypervisor) fn is_protected(&self, domain: Uuid) -> bool {
        self.domains.get(&domain).is_some_and(|domain| domain.migrated_by.is_some())
    }

    /// The migrations that a client has begun guard nothing any more.
    pub(in crate::hypervisor) fn end_protection(&mut self, client: Client) {
        for domain in self.domains.values_mut().filter(|domain| domain.migrated_by == Some(client)) {
            domain.migrated_by = None;
        }
    }
}

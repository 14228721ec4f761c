//! Stock virsh runs the same scripts against a private libvirtd with `test:///default` and against the server of this crate, and must
//! print the same, except for what is masked by name in `masks.rs`.
#![cfg(test)]

mod admin;
#[path = "../../../libvirt-client/tests/daemon/authority.rs"]
mod authority;
mod complete;
mod daemon;
mod masks;
#[path = "../../../libvirt-client/tests/daemon/observed.rs"]
mod observed;
mod proxy;
mod python;
mod read_only;
mod remote;
#[path = "../../../libvirt-client/tests/shared/running.rs"]
mod running;
mod sessions;
#[path = "../../../libvirt-client/tests/daemon/sshd.rs"]
mod sshd;
mod transcript;
mod wide;

use daemon::{Libvirtd, OurServer};
use std::collections::BTreeSet;
use transcript::Transcript;

const HOST: &str = include_str!("scripts/host.virsh");
const DOMAIN: &str = include_str!("scripts/domain.virsh");
const DEFINE: &str = include_str!("scripts/define-snapshot-checkpoint.virsh");
const STORAGE: &str = include_str!("scripts/network-storage-interface.virsh");
const REFUSALS: &str = include_str!("scripts/refusals.virsh");
const TUNING: &str = include_str!("scripts/tuning.virsh");
const DOCUMENTS: &str = include_str!("scripts/documents.virsh");

const SCRIPTS: [&str; 7] = [HOST, DOMAIN, DEFINE, STORAGE, REFUSALS, TUNING, DOCUMENTS];

/// Commands that change something of the hypervisor.
const CHANGING: &[&str] = &[
    "autostart",
    "blkdeviotune",
    "blkiotune",
    "checkpoint-create",
    "checkpoint-create-as",
    "checkpoint-delete",
    "create",
    "define",
    "desc",
    "destroy",
    "domfsfreeze",
    "domfsthaw",
    "domiftune",
    "domrename",
    "domtime",
    "dump",
    "emulatorpin",
    "iface-begin",
    "iface-commit",
    "iface-define",
    "iface-destroy",
    "iface-rollback",
    "iface-start",
    "iface-undefine",
    "iothreadadd",
    "iothreaddel",
    "iothreadpin",
    "managedsave",
    "memtune",
    "metadata",
    "net-autostart",
    "net-create",
    "net-define",
    "net-destroy",
    "net-start",
    "net-undefine",
    "net-update",
    "nodedev-create",
    "nodedev-destroy",
    "perf",
    "pool-autostart",
    "pool-create",
    "pool-create-as",
    "pool-define",
    "pool-define-as",
    "pool-destroy",
    "pool-start",
    "pool-undefine",
    "reboot",
    "restore",
    "resume",
    "save",
    "save-image-define",
    "set-lifecycle-action",
    "setmaxmem",
    "setmem",
    "setvcpus",
    "shutdown",
    "snapshot-create",
    "snapshot-create-as",
    "snapshot-delete",
    "snapshot-revert",
    "start",
    "suspend",
    "undefine",
    "vcpupin",
    "vol-clone",
    "vol-create",
    "vol-create-as",
    "vol-create-from",
    "vol-delete",
];

/// Runs a script against both; `None`, and a line that says so, when a part is missing.
fn compare(test: &str, script: &str) -> Option<Transcript> {
    if daemon::is_missing(test) {
        return None;
    }
    let theirs = Transcript::of(script, daemon::patiently(|| Libvirtd::start().virsh(script)));
    let our = Transcript::of(script, daemon::patiently(|| OurServer::start().virsh(script)));
    assert_eq!(theirs.commands.len(), script.lines().count(), "the script did not run: {}", theirs.text);
    for (theirs, ours) in theirs.commands.iter().zip(&our.commands) {
        assert_eq!(ours, theirs, "virsh prints otherwise");
    }
    assert_eq!(our.commands.len(), theirs.commands.len());
    Some(theirs)
}

macro_rules! scripts {
    ($($name:ident: $script:ident;)*) => {
        $(#[test]
        fn $name() {
            compare(stringify!($name), $script);
        })*
    };
}

scripts! {
    virsh_prints_the_same_of_the_host: HOST;
    virsh_prints_the_same_in_the_life_of_a_domain: DOMAIN;
    virsh_prints_the_same_of_definitions_snapshots_and_checkpoints: DEFINE;
    virsh_prints_the_same_of_networks_pools_volumes_and_interfaces: STORAGE;
    virsh_prints_the_same_refusals: REFUSALS;
    virsh_prints_the_same_of_tuning: TUNING;
    virsh_prints_the_same_documents: DOCUMENTS;
}

/// What the scripts cover, counted by what really succeeded on libvirtd.
#[test]
fn sixty_commands_succeed_and_forty_of_them_change_something() {
    let test = "sixty_commands_succeed_and_forty_of_them_change_something";
    let mut succeeded = BTreeSet::new();
    let mut all = BTreeSet::new();
    for script in SCRIPTS {
        let Some(transcript) = compare(test, script) else { return };
        for command in transcript.commands {
            all.insert(command.name().to_owned());
            if command.succeeded() {
                succeeded.insert(command.name().to_owned());
            }
        }
    }
    let changing = succeeded.iter().filter(|name| CHANGING.contains(&name.as_str())).count();
    println!(
        "{} commands compared, {} of them succeed, {changing} of these change state",
        all.len(),
        succeeded.len()
    );
    assert!(succeeded.len() >= 60 && changing >= 40, "{} and {changing}", succeeded.len());
    let unused: Vec<_> = CHANGING.iter().filter(|name| !succeeded.contains(**name)).collect();
    assert!(unused.is_empty(), "never succeeded: {unused:?}");
}

//! How long a command may take, by what it does.
//!
//! A deadline that passes loses nothing but the answer: the connection stays, and the command may still take effect. So the classes
//! are generous; they are there for the caller who would wait for ever, not to make a slow host fail.

use std::time::Duration;

/// What a command waits for inside QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// Memory only: queries, switches.
    Query,
    /// Devices and their back ends, which may pin memory or open other sockets.
    Device,
    /// Disks: images are opened, flushed, copied or closed before the answer.
    Storage,
    /// Another host, or the end of a migration's last phase.
    Migration,
}

impl Class {
    /// The class of a command. One that nobody knows may do anything, so it gets the time of a disk.
    #[must_use]
    pub fn of(command: &str) -> Self {
        match command {
            // Both stop the whole machine, and flush its disks on the way.
            "stop" | "quit" => Self::Storage,
            // Waits for the disks of a guest that is to be shown consistent.
            "dump-guest-memory" | "human-monitor-command" | "memsave" | "pmemsave" | "screendump" => {
                Self::Storage
            }
            "transaction" | "eject" | "change-backing-file" | "object-add" | "object-del" => Self::Storage,
            "query-migrate" | "cont" | "client_migrate_info" | "calc-dirty-rate" => Self::Migration,
            // The schema takes 33 ms at rest, and half a second of a busy host.
            name if name.starts_with("query-") || name.starts_with("qom-") => Self::Query,
            name if STORAGE.iter().any(|start| name.starts_with(start)) => Self::Storage,
            name if MIGRATION.iter().any(|start| name.starts_with(start)) => Self::Migration,
            name if DEVICE.iter().any(|start| name.starts_with(start)) => Self::Device,
            name if QUERY.iter().any(|start| name.starts_with(start)) => Self::Query,
            _ => Self::Storage,
        }
    }
}

const STORAGE: &[&str] = &["block", "drive-", "job-", "nbd-", "snapshot-", "x-blockdev", "x-debug-block"];

const MIGRATION: &[&str] = &["migrate", "x-colo", "xen-", "yank", "announce-self", "x-exit-preconfig"];

const DEVICE: &[&str] = &[
    "device",
    "netdev",
    "chardev",
    "cxl-",
    "display-",
    "set_link",
    "add_client",
    "system_",
    "sev-",
    "watchdog-",
    "trace-event-set",
    "replay-",
    "rtc-reset",
    "dumpdtb",
    "inject-nmi",
];

const QUERY: &[&str] = &[
    "add-fd",
    "remove-fd",
    "getfd",
    "closefd",
    "qmp_capabilities",
    "balloon",
    "set_password",
    "expire_password",
    "change-vnc-password",
    "input-send-event",
    "send-key",
    "set-action",
    "ringbuf-",
    "x-query-",
    "trace-event-get",
    "set-vcpu",
    "cancel-vcpu",
    "set-numa-node",
    "request-ebpf",
];

/// How long calls of each class may take; `None` waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// [`Class::Query`]; default 10 s.
    pub query: Option<Duration>,
    /// [`Class::Device`]; default 60 s: attaching a host device pins the guest's memory first.
    pub device: Option<Duration>,
    /// [`Class::Storage`]; default 10 min: a flush waits for the slowest disk.
    pub storage: Option<Duration>,
    /// [`Class::Migration`]; default 2 min.
    pub migration: Option<Duration>,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        Self { query: seconds(10), device: seconds(60), storage: seconds(600), migration: seconds(120) }
    }
}

impl Deadlines {
    /// The same for all.
    #[must_use]
    pub fn all(after: Option<Duration>) -> Self {
        Self { query: after, device: after, storage: after, migration: after }
    }

    /// That of a command.
    #[must_use]
    pub fn of(&self, command: &str) -> Option<Duration> {
        match Class::of(command) {
            Class::Query => self.query,
            Class::Device => self.device,
            Class::Storage => self.storage,
            Class::Migration => self.migration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::COMMANDS;
    use std::collections::BTreeMap;

    #[test]
    fn the_classes_of_known_commands() {
        let mut counts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for facts in COMMANDS {
            counts.entry(format!("{:?}", Class::of(facts.name))).or_default().push(facts.name);
        }
        for (class, some) in [
            ("Query", &["query-status", "qom-get", "getfd", "balloon", "query-blockstats"][..]),
            ("Device", &["device_add", "netdev_add", "system_reset", "chardev-add"]),
            (
                "Storage",
                &["quit", "stop", "blockdev-add", "block_resize", "transaction", "blockdev-snapshot"],
            ),
            ("Migration", &["migrate", "migrate-incoming", "query-migrate", "yank", "cont"]),
        ] {
            for name in some {
                assert!(counts[class].contains(name), "{name} in {class}");
            }
        }
        // Each rule is there for some command.
        for start in [STORAGE, MIGRATION, DEVICE, QUERY].concat() {
            assert!(
                COMMANDS.iter().any(|facts| facts.name.starts_with(start)),
                "nothing begins with {start}"
            );
        }
        assert_eq!(Class::of("__com.example_anything"), Class::Storage);
    }

    #[test]
    fn a_deadline_may_be_that_of_all() {
        let deadlines = Deadlines::all(None);
        assert_eq!(deadlines.of("quit"), None);
        assert_eq!(Deadlines::default().of("query-status"), Some(Duration::from_secs(10)));
    }
}

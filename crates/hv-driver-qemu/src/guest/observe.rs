//! What there is of a guest, in the contract's terms.

use super::{Live, Silent};
use crate::{convert, layout::GuestFacts};
use hv_core::{Timestamp, instance::PublishedPort};
use hv_driver::{End, Guest, Observation, Responsive, Stalled};
use qmp::commands::RunState;
use std::{
    collections::BTreeMap,
    sync::{PoisonError, atomic::Ordering},
};

impl Live {
    pub(super) fn observe(&self) -> Observation {
        let status = self.vm.status();
        // Without a process only when nobody supervises any more.
        let guest = convert::guest_of(&status).unwrap_or_else(|| {
            Guest::Ended(convert::failure_of(&status, "").map_or(End::PoweredOff, End::Failed))
        });
        let stalled = has_stalled(&status).then(|| Stalled {
            why: format!(
                "no space on {}: QEMU halted the guest at a write to its disk; free some space and it goes on",
                self.dir.display()
            ),
            mended: self.room.load(Ordering::Acquire),
        });
        let responsive = match (&guest, status.responsive) {
            (Guest::Running | Guest::Paused, qemu::Responsive::No(why)) => Responsive::No(why),
            _ => Responsive::Yes,
        };
        let mut details = self.facts.details(self.vm.record().pid);
        if status.run_state != RunState::Running {
            details.insert("run_state".into(), status.run_state.to_string());
        }
        Observation { stalled, ..self.facts.observation(guest, responsive, details) }
    }
}

/// QEMU halts a guest by itself when a write finds no space, and for no other error of a disk (`werror=enospc`, the default of
/// its disk devices).
pub(super) fn has_stalled(status: &qemu::Status) -> bool {
    status.exit.is_none() && status.run_state == RunState::IoError
}

impl Silent {
    pub(super) fn why(&self) -> String {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn observe(&self) -> Observation {
        let details = self.facts.details(self.record.pid);
        self.facts.observation(Guest::Running, Responsive::No(self.why()), details)
    }
}

impl GuestFacts {
    /// Of a guest whose facts were lost.
    pub(super) fn unknown() -> Self {
        Self {
            started_at: 0,
            accelerator: String::new(),
            accelerator_reason: String::new(),
            machine: String::new(),
            qemu_version: String::new(),
            console_start: 0,
            log_start: 0,
            ports: Vec::new(),
            disks: Vec::new(),
            uid: None,
            cgroup: Vec::new(),
            memory_kills: 0,
        }
    }

    fn details(&self, pid: u32) -> BTreeMap<String, String> {
        let facts = [
            ("accelerator", &self.accelerator),
            ("accelerator_reason", &self.accelerator_reason),
            ("machine", &self.machine),
            ("qemu_version", &self.qemu_version),
        ];
        let known = facts.into_iter().filter(|(_, value)| !value.is_empty());
        known
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .chain([("pid".to_owned(), pid.to_string())])
            .chain(self.uid.map(|uid| ("uid".to_owned(), uid.to_string())))
            .chain(self.cgroup.first().map(|path| ("cgroup".to_owned(), path.display().to_string())))
            .collect()
    }

    fn observation(
        &self,
        guest: Guest,
        responsive: Responsive,
        details: BTreeMap<String, String>,
    ) -> Observation {
        Observation {
            guest,
            responsive,
            stalled: None,
            started_at: (self.started_at != 0).then_some(Timestamp(self.started_at)),
            published_ports: self.ports.iter().map(PublishedPort::from).collect(),
            addresses: Vec::new(),
            details,
            root_disk_bytes: 0,
        }
    }
}

//! What a [`Machine`] says of its instance: phase, conditions, status. Derived, never decided on its own.

use super::EndedBy;
use super::machine::{Action, Machine, Now};
use hv_core::ConditionStatus;
use hv_core::condition::{PLACEMENT_CONFIRMED, RESPONSIVE, RESTART_REQUIRED, REVOCATION, STORAGE};
use hv_core::instance::{InstanceStatus, Phase, RunState, update};
use hv_driver::{Guest, Observation, Responsive};

impl Machine {
    pub(super) fn update_conditions(&mut self, now: Now) {
        if self.awaits_server {
            let (status, reason) = (ConditionStatus::False, "NotSinceBoot");
            self.conditions.set(PLACEMENT_CONFIRMED, status, reason, AWAITS_SERVER, now.wall);
        } else {
            self.conditions.clear(PLACEMENT_CONFIRMED);
        }
        let lives =
            self.seen.as_ref().is_none_or(|seen| matches!(seen.guest, Guest::Running | Guest::Paused));
        match &self.trouble {
            Some(why) if self.record.revoked.is_some() && lives => {
                self.conditions.set(REVOCATION, ConditionStatus::False, "CannotEnd", why, now.wall);
            }
            _ => drop(self.conditions.clear(REVOCATION)),
        }
        let Some(seen) = &self.seen else { return };
        let alive = matches!(seen.guest, Guest::Running | Guest::Paused);
        match &seen.responsive {
            Responsive::No(why) => {
                self.conditions.set(RESPONSIVE, ConditionStatus::False, "MonitorSilent", why, now.wall);
            }
            Responsive::Yes if alive => {
                self.conditions.set(RESPONSIVE, ConditionStatus::True, "MonitorAnswers", "", now.wall);
            }
            Responsive::Yes => {
                self.conditions.clear(RESPONSIVE);
            }
        }
        match &seen.stalled {
            Some(stalled) => {
                self.conditions.set(STORAGE, ConditionStatus::False, "NoSpace", &stalled.why, now.wall);
            }
            None => {
                self.conditions.clear(STORAGE);
            }
        }
        let waiting = match (&self.record.started, alive) {
            (Some(started), true) => update::needs_restart(&started.spec, &self.record.desired.spec),
            _ => Vec::new(),
        };
        if waiting.is_empty() {
            self.conditions.clear(RESTART_REQUIRED);
        } else {
            let fields: Vec<_> = waiting.iter().map(|field| field.path()).collect();
            let message = format!("changed since the guest started: {}", fields.join(", "));
            self.conditions.set(RESTART_REQUIRED, ConditionStatus::True, "SpecChanged", &message, now.wall);
        }
    }

    pub(super) fn phase(&self) -> Phase {
        let desired = &self.record.desired;
        if desired.deleted {
            return Phase::Deleting;
        }
        let started = self.record.started.as_ref();
        // How an earlier start ended says nothing of the one that is wanted now.
        let current = started.filter(|started| started.serial >= desired.spec.restart_serial);
        let ended = current.and_then(|started| started.ended.as_ref());
        let guest = self.seen.as_ref().map(|seen| &seen.guest);
        match (self.in_flight, guest) {
            (Some(Action::Admit), _) => Phase::Scheduled,
            (Some(Action::Prepare), _) => Phase::Preparing,
            (Some(Action::Start(_)), _) => Phase::Starting,
            (Some(Action::PowerDown | Action::Kill), Some(Guest::Running | Guest::Paused)) => Phase::Stopping,
            (_, Some(Guest::Running | Guest::Paused)) if self.stopping.is_some() => Phase::Stopping,
            (_, Some(Guest::Running)) => Phase::Running,
            (_, Some(Guest::Paused)) => Phase::Paused,
            (_, None) if started.is_none() => Phase::Scheduled,
            // Not looked yet after a restart of the agent.
            (_, None) => Phase::Unknown,
            // What is left of it is still to be removed: a process, ports.
            (_, Some(Guest::Ended(_))) if self.to_be_down() => Phase::Stopping,
            (_, Some(Guest::Absent | Guest::Ended(_))) => match ended {
                _ if self.record.is_revoked() => Phase::Stopped,
                Some(ended)
                    if ended.by == EndedBy::Failure && desired.spec.run_state != RunState::Stopped =>
                {
                    Phase::Failed
                }
                _ if self.to_be_down() => Phase::Stopped,
                _ if self.awaits_server => Phase::Scheduled,
                Some(_) => Phase::Stopped,
                None if started.is_some() => Phase::Starting,
                None if self.record.admitted => Phase::Preparing,
                None => Phase::Scheduled,
            },
        }
    }

    pub(super) fn status(&self) -> InstanceStatus {
        let started = self.record.started.as_ref();
        let phase = self.phase();
        let ended = started.and_then(|started| started.ended.as_ref()).map(|ended| ended.message.clone());
        let message = match (&self.record.rejected, &self.trouble, phase) {
            (Some(why), ..) => why.clone(),
            (_, Some(trouble), _) => trouble.clone(),
            _ if self.awaits_server => AWAITS_SERVER.to_owned(),
            _ if self.record.is_revoked() => "the server gave up this node; its disks are kept".into(),
            _ if self.record.unnamed => UNNAMED.to_owned(),
            (_, _, Phase::Failed | Phase::Stopped) => ended.unwrap_or_default(),
            (_, _, Phase::Stopping | Phase::Deleting)
                if self.stopping.is_some_and(|stopping| stopping.asked) =>
            {
                ASKED.to_owned()
            }
            _ => String::new(),
        };
        let seen = self.seen.clone().unwrap_or_else(Observation::absent);
        InstanceStatus {
            phase,
            message,
            conditions: self.conditions.clone(),
            observed_generation: self.observed_generation,
            observed_restart_serial: started.map_or(0, |started| started.serial),
            started_at: seen.started_at,
            starts: self.record.starts,
            addresses: seen.addresses,
            published_ports: seen.published_ports,
            details: seen.details,
            root_disk_bytes: seen.root_disk_bytes,
        }
    }
}

/// Said of a guest whose power button was pressed.
const ASKED: &str = "the guest was asked to power down; when its time is over it is ended";

/// Said of an instance that is here and that no server wants here.
const UNNAMED: &str =
    "the server does not name it: it is left alone, and not started again before a server names it";

/// Said of an instance that waits for its server after the host's boot.
const AWAITS_SERVER: &str = "it may have been placed elsewhere since a server last placed it here (the host was down, or the server has \
    forgotten it): it starts when this node's agent reaches a server that names it; where no other host could run it, `start_without_server = true` in \
    the agent's settings lets it start without";

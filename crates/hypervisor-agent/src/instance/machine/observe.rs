//! What a [`Machine`] makes of what the driver has seen.

use super::{FIRST_PAUSE, LONGEST_PAUSE, Machine, Now, RECOVERED_AFTER};
use crate::instance::record::Started;
use crate::instance::stall::Stall;
use crate::instance::{Ended, EndedBy};
use hv_core::instance::RestartPolicy;
use hv_driver::{DriverError, End, Guest, Observation};

impl Machine {
    pub(super) fn on_observed(&mut self, result: Result<Observation, DriverError>, now: Now) {
        let observation = match result {
            Ok(observation) => observation,
            Err(error) => {
                // What was seen before stands, but it is not to be relied on.
                self.trouble = Some(format!("cannot observe: {error}"));
                self.seen = None;
                return;
            }
        };
        let alive = matches!(observation.guest, Guest::Running | Guest::Paused);
        self.first_look(&observation.guest);
        // A guest that ended while it was to end did so for that reason, also when the agent that asked it has died since.
        let stopping = self.stopping.is_some() || self.shall_end();
        let quiescing = self.quiescing.is_some();
        if let Some(started) = &mut self.record.started {
            match &observation.guest {
                Guest::Running | Guest::Paused => {
                    started.came_up = true;
                    // Asked to end by an agent that died of it, and still there: what comes is no answer to that any more.
                    let since = self.alive_since.unwrap_or(now.mono);
                    let patience = self.record.desired.spec.stop_timeout;
                    if !quiescing && now.mono.saturating_sub(since) >= patience {
                        started.taken_down = false;
                    }
                    // Its start was answered with a failure, and yet it lives: that failure ended nothing.
                    if started.ended.take().is_some() {
                        self.retry_at = None;
                    }
                }
                // Not its own end: it starts again with the node.
                Guest::Ended(_) | Guest::Absent if quiescing || started.taken_down => {
                    started.came_up = false;
                }
                Guest::Ended(End::Failed(_)) if started.ended.is_some() => {}
                Guest::Ended(End::PoweredOff) if started.ended.is_some() && started.came_up => {}
                Guest::Ended(End::PoweredOff) => {
                    // Perhaps its start was answered with a failure: it came up all the same.
                    started.came_up = true;
                    started.ended = Some(if stopping {
                        Ended::ordered("powered off as asked")
                    } else {
                        let message = "the guest powered itself off".to_owned();
                        Ended { by: EndedBy::PowerOff, message, permanent: false }
                    });
                }
                Guest::Ended(End::Failed(message)) => {
                    started.ended = Some(if stopping {
                        Ended::ordered(message)
                    } else {
                        Ended { by: EndedBy::Failure, message: message.clone(), permanent: false }
                    });
                }
                // It vanished: with the node's reboot, or without a trace.
                Guest::Absent if started.came_up && started.ended.is_none() => {
                    if started.boot_id != self.boot_id {
                        started.came_up = false;
                    } else if stopping {
                        started.ended = Some(Ended::ordered("stopped"));
                    } else {
                        started.ended = Some(Ended {
                            by: EndedBy::Failure,
                            message: "its process vanished without saying why".into(),
                            permanent: false,
                        });
                    }
                }
                Guest::Absent => {}
            }
        } else if alive {
            // Found without a record of its start: the agent died between the two. It is ours by its uid.
            self.record.started = Some(Started {
                serial: self.record.desired.spec.restart_serial,
                boot_id: self.boot_id.clone(),
                spec: self.record.desired.spec.clone(),
                came_up: true,
                taken_down: false,
                ended: None,
            });
        }
        Stall::observe(&mut self.stall, observation.stalled.as_ref(), now.mono);
        if alive {
            let since = *self.alive_since.get_or_insert(now.mono);
            if now.mono.saturating_sub(since) >= RECOVERED_AFTER {
                self.record.failures = 0;
            }
        } else {
            self.count_failure(now);
            self.alive_since = None;
            self.stall = None;
            self.stopping = None;
            self.lift_revocation(&observation);
        }
        self.seen = Some(observation);
    }

    /// Where there is no guest, or one that has ended in order, the node may have gone down since the last agent wrote of it, by an
    /// agent that could not write that. A guest that failed was not taken down.
    fn first_look(&mut self, guest: &Guest) {
        let first = !std::mem::replace(&mut self.looked, true);
        let quietly = matches!(guest, Guest::Absent | Guest::Ended(End::PoweredOff));
        if first && quietly && !self.named {
            self.record.confirmed_boot.clear();
        }
    }

    /// Under a newer assignment the instance is made anew, once nothing is left of the old guest.
    fn lift_revocation(&mut self, observation: &Observation) {
        let newer = self.record.revoked.is_some() && !self.record.is_revoked();
        if newer && observation.guest == Guest::Absent && self.in_flight.is_none() {
            self.record.revoked = None;
            self.prepared = false;
            self.record.started = None;
            self.record.failures = 0;
            self.retry_at = None;
        }
    }

    /// Spaces out the next attempt when the guest has just ended and is to be started again.
    pub(super) fn count_failure(&mut self, now: Now) {
        let always = self.record.desired.spec.restart_policy == RestartPolicy::Always;
        let again = self
            .record
            .started
            .as_ref()
            .and_then(|started| started.ended.as_ref())
            .is_some_and(|ended| ended.by == EndedBy::Failure || always);
        if again && self.retry_at.is_none() {
            if self.alive_since.is_some_and(|since| now.mono.saturating_sub(since) >= RECOVERED_AFTER) {
                self.record.failures = 0;
            }
            self.record.failures = self.record.failures.saturating_add(1);
            let doubled = FIRST_PAUSE.saturating_mul(1 << (self.record.failures - 1).min(16));
            self.retry_at = Some(now.mono + doubled.min(LONGEST_PAUSE));
        }
    }
}

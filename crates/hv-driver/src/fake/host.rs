//! A machine with pretended guests, as a value.

use crate::{
    Assignment, DriverError, DriverErrorKind, End, Guest, Handle, Observation, Responsive, Stalled, StartMode,
};
use hv_core::instance::{Epoch, PublishedPort};
use hv_core::{InstanceId, Timestamp};
use std::collections::BTreeMap;

/// What the machine holds of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The newest epoch it was made under.
    pub epoch: Epoch,
    /// The guest.
    pub guest: Guest,
    /// Whether its monitor answers.
    pub responsive: Responsive,
    /// Why the machine halted the guest. One that is let go before the cause is gone is halted again at once.
    pub stalled: Option<Stalled>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// Ports of the machine that its guest was started with.
    pub ports: Vec<PublishedPort>,
    /// How often a guest was started on these disks: what a boot counter on the disk would say.
    pub boots: u64,
    /// Whether the guest heeds the power button.
    pub heeds_power_button: bool,
    /// What its console printed.
    pub console: Vec<u8>,
}

/// A machine with pretended guests. It outlives the agent that uses it, as guests do, but not its own [`Host::reboot`].
#[derive(Clone, Debug, Default)]
pub struct Host {
    slots: BTreeMap<InstanceId, Slot>,
}

impl Host {
    /// All there is.
    pub fn slots(&self) -> &BTreeMap<InstanceId, Slot> {
        &self.slots
    }

    /// One instance, to look at or to tamper with.
    pub fn slot_mut(&mut self, id: InstanceId) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    /// Makes the disks.
    pub fn prepare(&mut self, assignment: &Assignment) {
        let slot = self.slots.entry(assignment.handle.id).or_insert(Slot {
            epoch: assignment.handle.epoch,
            guest: Guest::Absent,
            responsive: Responsive::Yes,
            stalled: None,
            started_at: None,
            ports: Vec::new(),
            boots: 0,
            heeds_power_button: true,
            console: Vec::new(),
        });
        slot.epoch = slot.epoch.max(assignment.handle.epoch);
    }

    /// Starts a guest; one that is there is left alone.
    pub fn start(
        &mut self,
        assignment: &Assignment,
        mode: StartMode,
        now: Timestamp,
    ) -> Result<(), DriverError> {
        let slot = self.slot(assignment.handle, "start")?;
        if matches!(slot.guest, Guest::Running | Guest::Paused) {
            return Ok(());
        }
        slot.guest = match mode {
            StartMode::Running => Guest::Running,
            StartMode::Paused => Guest::Paused,
        };
        slot.responsive = Responsive::Yes;
        slot.started_at = Some(now);
        slot.ports = assignment.spec.published().copied().collect();
        slot.boots += 1;
        let line = format!("{} up boot={}\r\n", assignment.name, slot.boots);
        slot.console.extend_from_slice(line.as_bytes());
        Ok(())
    }

    /// Presses the power button.
    pub fn power_down(&mut self, handle: Handle) -> Result<(), DriverError> {
        let slot = self.slot(handle, "power down")?;
        match slot.guest {
            Guest::Running if slot.heeds_power_button => slot.guest = Guest::Ended(End::PoweredOff),
            Guest::Running | Guest::Paused | Guest::Ended(_) => {}
            Guest::Absent => return Err(not_found("power down")),
        }
        Ok(())
    }

    /// Ends the guest.
    pub fn kill(&mut self, handle: Handle) {
        if let Some(slot) = self.slots.get_mut(&handle.id) {
            slot.guest = Guest::Absent;
            slot.responsive = Responsive::Yes;
            slot.stalled = None;
            slot.started_at = None;
            slot.ports.clear();
        }
    }

    /// Halts or lets go the vCPUs.
    pub fn set_paused(&mut self, handle: Handle, paused: bool) -> Result<(), DriverError> {
        let operation = if paused { "pause" } else { "resume" };
        let slot = self.slot(handle, operation)?;
        match slot.guest {
            Guest::Running | Guest::Paused => {
                if !paused {
                    slot.stalled.take_if(|stalled| stalled.mended);
                }
                let halted = paused || slot.stalled.is_some();
                slot.guest = if halted { Guest::Paused } else { Guest::Running };
                Ok(())
            }
            Guest::Absent | Guest::Ended(_) => Err(not_found(operation)),
        }
    }

    /// Removes everything of an instance without a guest.
    pub fn delete(&mut self, handle: Handle) -> Result<(), DriverError> {
        match self.slots.get(&handle.id).map(|slot| &slot.guest) {
            Some(Guest::Running | Guest::Paused) => {
                Err(DriverError::new(DriverErrorKind::Conflict, "delete", "the guest still runs"))
            }
            _ => {
                self.slots.remove(&handle.id);
                Ok(())
            }
        }
    }

    /// What there is of an instance.
    pub fn observe(&self, handle: Handle) -> Observation {
        match self.slots.get(&handle.id) {
            None => Observation::absent(),
            Some(slot) => Observation {
                guest: slot.guest.clone(),
                responsive: slot.responsive.clone(),
                stalled: slot.stalled.clone(),
                started_at: slot.started_at,
                published_ports: slot.ports.clone(),
                details: BTreeMap::from([("boots".to_owned(), slot.boots.to_string())]),
                ..Observation::absent()
            },
        }
    }

    /// The guest ends by itself, as a guest or its process would.
    pub fn end_guest(&mut self, id: InstanceId, end: End) {
        if let Some(slot) = self.slots.get_mut(&id)
            && matches!(slot.guest, Guest::Running | Guest::Paused)
        {
            slot.guest = Guest::Ended(end);
        }
    }

    /// The machine halts the guest, which cannot go on until the cause is gone.
    pub fn stall(&mut self, id: InstanceId, why: &str) {
        if let Some(slot) = self.slots.get_mut(&id)
            && slot.guest == Guest::Running
        {
            slot.guest = Guest::Paused;
            slot.stalled = Some(Stalled { why: why.to_owned(), mended: false });
        }
    }

    /// The machine restarts: guests are gone without a trace, disks stay.
    pub fn reboot(&mut self) {
        for slot in self.slots.values_mut() {
            slot.guest = Guest::Absent;
            slot.responsive = Responsive::Yes;
            slot.stalled = None;
            slot.started_at = None;
            slot.ports.clear();
        }
    }

    fn slot(&mut self, handle: Handle, operation: &'static str) -> Result<&mut Slot, DriverError> {
        self.slots.get_mut(&handle.id).ok_or_else(|| not_found(operation))
    }
}

fn not_found(operation: &'static str) -> DriverError {
    DriverError::new(DriverErrorKind::NotFound, operation, "there is no such instance, or no guest of it")
}

//! What goes wrong from outside: programs die, hosts reboot, wires are cut, guests misbehave.

use crate::agent::short;
use crate::event::{Event, Life};
use crate::world::{World, say};
use hv_core::InstanceId;
use hv_driver::{End, Guest, Responsive};

impl World {
    /// One random fault, and the time of the next.
    pub(crate) fn fault(&mut self) {
        if !self.rough {
            return;
        }
        let node = if self.rng.permille(500) { 0 } else { 1 };
        match self.rng.below(100) {
            0..15 => self.server_crash(),
            15..35 => {
                if self.nodes[node].agent.is_some() {
                    self.summary.agent_crashes += 1;
                    self.agent_crash(node);
                }
            }
            35..42 => self.host_reboot(node),
            42..47 => self.quiesce(node),
            47..62 => self.cut(),
            _ => self.guest_fault(node),
        }
        self.after(100, self.climate.fault_every, Event::Fault);
    }

    /// The agent dies beside a write to its journal, perhaps with its host; or the guest ends that the write was about, and no agent
    /// sees it.
    pub(crate) fn falter(&mut self, life: Life, id: InstanceId) {
        if self.agent(life).is_none() {
            return;
        }
        self.summary.agent_crashes += 1;
        if self.rng.permille(200) {
            return self.host_reboot(life.node);
        }
        self.agent_crash(life.node);
        if slots_guest(self, life.node, id) == Some(Guest::Running) && self.rng.permille(700) {
            self.power_off(life.node, id);
        }
    }

    fn power_off(&mut self, node: usize, id: InstanceId) {
        say!(self, "guest {} powers itself off", short(id));
        self.nodes[node].host.end_guest(id, End::PoweredOff);
        self.ledger.powered_off(node, id);
    }

    fn guest_fault(&mut self, node: usize) {
        let slots = self.nodes[node].host.slots();
        let alive: Vec<InstanceId> = slots
            .iter()
            .filter(|(_, slot)| matches!(slot.guest, Guest::Running | Guest::Paused))
            .map(|(id, _)| *id)
            .collect();
        let Some(id) = self.rng.pick(&alive).copied() else { return };
        self.summary.guest_faults += 1;
        let kind = self.rng.below(100);
        let running = slots_guest(self, node, id) == Some(Guest::Running);
        match kind {
            0..35 if running => self.power_off(node, id),
            0..75 => {
                say!(self, "guest {} crashes", short(id));
                self.nodes[node].host.end_guest(id, End::Failed("simulated".into()));
                self.ledger.crashed(node, id);
            }
            _ => {
                say!(self, "the monitor of guest {} falls silent", short(id));
                if let Some(slot) = self.nodes[node].host.slot_mut(id) {
                    slot.responsive = Responsive::No("simulated".into());
                }
                self.after(1_000, 20_000, Event::GuestAnswers(node, id));
            }
        }
        self.notify(node, id);
    }

    pub(crate) fn guest_answers(&mut self, node: usize, id: InstanceId) {
        if let Some(slot) = self.nodes[node].host.slot_mut(id) {
            slot.responsive = Responsive::Yes;
            self.notify(node, id);
        }
    }

    /// Faults and requests end. What is down comes up by itself.
    pub(crate) fn calm(&mut self) {
        say!(self, "calm: no more faults, no more requests");
        self.rough = false;
        self.rejoin();
        self.queue.at(self.now + std::time::Duration::from_secs(10), Event::Inspect);
    }
}

fn slots_guest(world: &World, node: usize, id: InstanceId) -> Option<Guest> {
    world.nodes[node].host.slots().get(&id).map(|slot| slot.guest.clone())
}

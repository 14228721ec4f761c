//! A host that is cut off for longer than the grace period, whose node is abandoned meanwhile, and that comes back: it goes
//! on with its guests until it is told, and not a moment longer.

use crate::event::{Event, Life};
use crate::world::{World, say};
use crate::{Mutation, Scenario};
use hv_core::instance::Epoch;
use hv_core::node::NodePhase;
use hv_core::{InstanceId, NodeId};
use hypervisor_agent::instance::Input;

impl World {
    /// The beginning of the scenario.
    pub(crate) fn plan_isolation(&mut self) {
        if self.scenario == Scenario::Abandon {
            let node = usize::from(self.rng.permille(500));
            self.after(8_000, 25_000, Event::Isolate(node));
        }
    }

    /// Nothing reaches the host any more, and nothing leaves it; nobody is told.
    pub(crate) fn isolate(&mut self, node: usize) {
        say!(self, "host {} is cut off", self.nodes[node].name);
        self.isolated = Some(node);
        for wire in self.wires.values_mut().filter(|wire| wire.agent.node == node) {
            wire.dead = true;
        }
        self.after(15_000, 60_000, Event::Rejoin);
    }

    pub(crate) fn rejoin(&mut self) {
        if let Some(node) = self.isolated.take() {
            say!(self, "host {} is back", self.nodes[node].name);
        }
    }

    /// A node that the client may take for dead.
    pub(crate) fn silent_node(&mut self) -> Option<String> {
        if self.scenario != Scenario::Abandon || !self.rng.permille(300) {
            return None;
        }
        let nodes = self.server.running.as_ref()?.cluster.nodes().values();
        let mut silent = nodes.filter(|entry| entry.node.status.phase == NodePhase::Unknown);
        let node = silent.next()?.node.id.to_string();
        say!(self, "client: deregister {node}, abandon its instances");
        Some(node)
    }

    /// As the agent's session does it, but for the call that ends a guest before its machine decides that: every instance hears it, and the next session waits for [`World::renamed`].
    pub(crate) fn revoke(&mut self, life: Life) {
        say!(self, "agent {} hears that it was abandoned", self.nodes[life.node].name);
        self.summary.revocations += 1;
        let Some(agent) = self.agent(life) else { return };
        agent.revoking = true;
        let tasks: Vec<InstanceId> = agent.tasks.keys().copied().collect();
        if self.mutation != Mutation::RevocationIgnored {
            for id in tasks {
                self.input(life, id, Input::Revoked);
            }
        }
    }

    /// Whether the agent may dial: one that is becoming another node waits until its journal has every assignment revoked.
    pub(crate) fn renamed(&mut self, life: Life) -> bool {
        let node = &self.nodes[life.node];
        let Some(agent) = node.agent.as_ref().filter(|agent| agent.revoking) else { return true };
        let revoked = |id| node.journal.get(id).is_some_and(|record| record.is_revoked());
        if !agent.tasks.keys().all(revoked) && self.mutation != Mutation::RevocationIgnored {
            return false;
        }
        let uid = self.uid();
        self.nodes[life.node].rename(uid.to_string());
        self.ledger.hosts.insert(NodeId::new(uid), life.node);
        if let Some(agent) = self.agent(life) {
            agent.revoking = false;
        }
        true
    }

    /// Whether a host has been abandoned and does not know it.
    pub(crate) fn untold(&self, node: usize) -> bool {
        self.ledger.cluster.abandoned(self.nodes[node].id()).is_some()
    }

    /// Whether a guest is about to end because its node was abandoned, or would be if the node knew.
    pub(crate) fn condemned(&self, node: usize, id: InstanceId) -> bool {
        self.untold(node) || self.nodes[node].journal.get(&id).is_some_and(|record| record.revoked.is_some())
    }

    /// Whether a host may start a guest whose instance is no longer its own: it was given up while it ran, and cannot know. One
    /// that was down since the server last named the instance has to ask first.
    pub(crate) fn excused(&self, node: usize, id: InstanceId) -> bool {
        self.condemned(node, id) && self.nodes[node].named.contains(&id)
    }

    /// Whether what is left of an instance on a host is the disks that its abandoned node kept.
    pub(crate) fn left_behind(&self, node: usize, id: InstanceId) -> bool {
        let from = (id, Epoch(0));
        self.ledger.assigned.range(from..=(id, Epoch(u64::MAX))).any(|(_, holder)| {
            self.ledger.node_index(*holder) == Some(node) && self.ledger.cluster.abandoned(*holder).is_some()
        })
    }
}

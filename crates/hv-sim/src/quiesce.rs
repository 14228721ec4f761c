//! A node that goes down in order: its guests are taken down, then its agent ends. It comes up again as it was, perhaps without
//! knowing why: where its disk is full, nothing of that is written.

use crate::check::{Invariant, is_alive};
use crate::event::{Event, Life};
use crate::world::{World, say};
use crate::{Mutation, agent::short};
use hypervisor_agent::instance::Input;
use std::time::Duration;

/// How long guests may take to power down.
const PATIENCE: Duration = Duration::from_secs(4);
/// Within which all is down if nothing fails on the way: the patience, and what journal and driver may take.
const ALLOWED: Duration = Duration::from_secs(30);

impl World {
    pub(crate) fn quiesce(&mut self, index: usize) {
        let life = Life { node: index, number: self.nodes[index].life };
        let full = self.mishap(300);
        let Some(agent) = self.agent(life).filter(|agent| !agent.quiescing) else { return };
        agent.quiescing = true;
        agent.full = full;
        let ids: Vec<_> = agent.tasks.keys().copied().collect();
        let how = if full { ", and its disk is full" } else { "" };
        say!(self, "node {} goes down{how}", self.nodes[index].name);
        self.summary.quiesces += 1;
        if self.mutation != Mutation::QuiesceForgotten {
            for id in ids {
                self.input(life, id, Input::Quiesce(PATIENCE));
            }
        }
        self.going_down(life, self.now);
    }

    /// Looks whether all guests of a node that goes down have ended; then its agent does.
    pub(crate) fn going_down(&mut self, life: Life, since: Duration) {
        if self.agent(life).is_none() {
            return;
        }
        // They ended with their node, and start again with it.
        self.ledger.rebooted(life.node);
        if self.agent(life).is_some_and(|agent| agent.full) {
            self.ledger.forgets(life.node);
        }
        let node = &self.nodes[life.node];
        let alive = node.host.slots().iter().find(|(_, slot)| is_alive(&slot.guest)).map(|(id, _)| *id);
        let busy = !node.calls.is_empty() || !node.writes.is_empty();
        match alive {
            None if !busy => {
                say!(self, "node {} is down", node.name);
                self.nodes[life.node].named.clear();
                return self.agent_crash(life.node);
            }
            Some(id) if self.now - since > ALLOWED && self.climate.driver_faults == 0 => {
                self.ledger.breaks(
                    Invariant::GoesDown,
                    format!(
                        "{} still lives on {} {:?} after it was to go down",
                        short(id),
                        node.name,
                        ALLOWED
                    ),
                );
            }
            _ if self.now - since > 2 * ALLOWED => return self.agent_crash(life.node),
            _ => {}
        }
        self.after(400, 600, Event::GoingDown(life, since));
    }
}

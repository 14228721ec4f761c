//! What must hold in the end: once nothing goes wrong any more, everything becomes as it is wanted, and stays so.

use crate::agent::short;
use crate::check::{End, Invariant, Violation, is_alive, violation};
use crate::event::Event;
use crate::world::World;
use hv_core::instance::{Phase, RestartPolicy, RunState};
use hv_core::operation::Target;
use hv_core::{InstanceId, NodeId};
use hv_driver::Guest;
use hypervisor_server::scheduler::{Candidate, schedule};
use hypervisor_server::state::InstanceEntry;
use std::time::Duration;

/// Longer than the longest pause between two attempts to start a guest.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// Longer than the pause between two looks of an agent at an instance: what is settled this long stays so.
const STILL: Duration = Duration::from_secs(35);

impl World {
    /// Looks whether all is well. Says whether the run is over.
    pub(crate) fn inspect(&mut self) -> Result<bool, Violation> {
        self.queue.at(self.now + Duration::from_secs(5), Event::Inspect);
        let well = if !self.uncordon() {
            Err(violation(Invariant::Reconnected, "the server is not up, or a node is cordoned"))
        } else if self.start_anew() {
            self.settled()
        } else {
            Err(violation(Invariant::FoundAgain, "instances of a restored store wait"))
        };
        match well {
            Ok(()) => {
                let since = *self.settled_since.get_or_insert(self.now);
                Ok(self.now - since >= STILL)
            }
            Err(violation) if self.now > self.climate.calm_at + PATIENCE => Err(violation),
            Err(_) => {
                self.settled_since = None;
                Ok(false)
            }
        }
    }

    fn settled(&self) -> Result<(), Violation> {
        self.reconnected()?;
        self.operations_end()?;
        for (id, entry) in self.ledger.cluster.instances() {
            if entry.instance.is_deleting() {
                return Err(violation(Invariant::AsWanted, format!("{} is still being deleted", short(*id))));
            }
            match entry.placement.node {
                Some(node) => self.as_wanted(*id, entry, node)?,
                None => self.nowhere_to_go(*id, entry)?,
            }
        }
        self.no_orphans()
    }

    fn reconnected(&self) -> Result<(), Violation> {
        for node in &self.nodes {
            if node.agent.as_ref().is_none_or(|agent| agent.session.is_none()) {
                return Err(violation(Invariant::Reconnected, format!("agent {} has no session", node.name)));
            }
        }
        Ok(())
    }

    fn operations_end(&self) -> Result<(), Violation> {
        for entry in self.ledger.cluster.operations().values() {
            let operation = &entry.operation;
            if operation.phase.is_final() {
                continue;
            }
            let id = match operation.target {
                Target::Instance(id) => id,
                // No node is drained any more.
                Target::Node(_) => {
                    let what =
                        format!("{:?} is {:?}: {}", operation.kind, operation.phase, operation.message);
                    return Err(violation(Invariant::OperationsEnd, what));
                }
            };
            let target = self.ledger.cluster.instances().get(&id);
            let parked = target.is_some_and(|target| {
                target.instance.status.phase == Phase::Pending && !target.instance.status.message.is_empty()
            });
            if !parked {
                return Err(violation(
                    Invariant::OperationsEnd,
                    format!(
                        "{:?} of {} for generation {} is {:?}: {}; the instance: {:?}",
                        operation.kind,
                        short(id),
                        operation.target_generation,
                        operation.phase,
                        operation.message,
                        target.map(|target| (&target.instance.status, target.instance.metadata.generation))
                    ),
                ));
            }
        }
        Ok(())
    }

    /// An instance that has a node.
    fn as_wanted(&self, id: InstanceId, entry: &InstanceEntry, node: NodeId) -> Result<(), Violation> {
        let (spec, status) = (&entry.instance.spec, &entry.instance.status);
        let Some(index) = self.ledger.node_index(node) else {
            return Err(violation(Invariant::AsWanted, format!("{} is on no known node", short(id))));
        };
        let guest = self.nodes[index].host.slots().get(&id).map_or(Guest::Absent, |slot| slot.guest.clone());
        let shown = match guest {
            Guest::Running => status.phase == Phase::Running,
            Guest::Paused => status.phase == Phase::Paused,
            Guest::Absent | Guest::Ended(_) => matches!(status.phase, Phase::Stopped | Phase::Failed),
        };
        let generation = entry.instance.metadata.generation;
        if !shown || status.observed_generation != generation {
            return Err(violation(
                Invariant::ShownAsIs,
                format!(
                    "{} at generation {generation}: its guest on {} is {guest:?}, and {status:?} is shown",
                    short(id),
                    self.nodes[index].name
                ),
            ));
        }
        let boot = self.ledger.boots.get(&(index, id));
        let end = boot.map(|boot| boot.end);
        // Found powered off, it looks as if it had done that by itself.
        let forgotten = boot.is_some_and(|boot| boot.forgotten && boot.end == End::Agent);
        let excused = !is_alive(&guest)
            && match (spec.restart_policy, end) {
                // Whatever went wrong, nobody wants it tried again.
                (RestartPolicy::Never, _) => true,
                (RestartPolicy::OnFailure, Some(End::PoweredOff)) => true,
                (RestartPolicy::OnFailure, _) if forgotten => true,
                _ => self.ledger.given_up.contains(&id) && status.phase == Phase::Failed,
            };
        let as_wanted = match spec.run_state {
            RunState::Running => guest == Guest::Running || excused,
            RunState::Paused => guest == Guest::Paused || excused,
            RunState::Stopped => !is_alive(&guest),
        };
        if as_wanted {
            return Ok(());
        }
        Err(violation(
            Invariant::AsWanted,
            format!(
                "{} is wanted {:?} with policy {:?}; its guest is {guest:?} (the last ended: {end:?}), and {status:?} is shown",
                short(id),
                spec.run_state,
                spec.restart_policy
            ),
        ))
    }

    /// An instance that has no node: there must be none that takes it.
    fn nowhere_to_go(&self, id: InstanceId, entry: &InstanceEntry) -> Result<(), Violation> {
        if entry.placement.stays_lost(&entry.instance.spec) && entry.instance.status.phase == Phase::Failed {
            return Ok(());
        }
        let cluster = &self.ledger.cluster;
        let generation = entry.instance.metadata.generation;
        let status = &entry.instance.status;
        if entry.instance.spec.run_state == RunState::Stopped
            && (status.phase, status.observed_generation) == (Phase::Stopped, generation)
        {
            // It is given a node when it is started.
            return Ok(());
        }
        let candidates: Vec<Candidate<'_>> = cluster
            .nodes()
            .values()
            .map(|node| Candidate {
                node: &node.node,
                allocated: cluster.allocated(node.node.id),
                refusal: entry
                    .placement
                    .rejections
                    .iter()
                    .find(|refusal| refusal.node == node.node.id && refusal.generation == generation)
                    .map(|refusal| refusal.message.as_str()),
                // Guests here publish nothing.
                taken: Vec::new(),
            })
            .collect();
        let decision = schedule(&entry.instance, &candidates)
            .map_err(|error| violation(Invariant::AsWanted, error.to_string()))?;
        match decision.chosen {
            None => Ok(()),
            Some(_) => Err(violation(
                Invariant::AsWanted,
                format!("{} waits for a node, and {}", short(id), decision.summary),
            )),
        }
    }

    fn no_orphans(&self) -> Result<(), Violation> {
        for (index, node) in self.nodes.iter().enumerate() {
            for (id, slot) in node.host.slots() {
                if !is_alive(&slot.guest) && self.left_behind(index, *id) {
                    continue;
                }
                let entry = self.ledger.cluster.instances().get(id);
                // The store has forgotten it; its node has not, and says so.
                let reported = node.agent.as_ref().is_some_and(|agent| agent.has_reported(*id));
                if entry.is_none() && self.ledger.before.contains_key(id) && reported {
                    continue;
                }
                let holder = entry.and_then(|entry| self.ledger.node_index(entry.placement.node?));
                if holder != Some(index) {
                    return Err(violation(
                        Invariant::NoOrphans,
                        format!("{} is left on {}, and belongs to {holder:?}", short(*id), node.name),
                    ));
                }
            }
        }
        Ok(())
    }
}

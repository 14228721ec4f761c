//! What must hold at every moment, whatever goes wrong. What must hold in the end is in [`settle`](crate::settle).

use crate::agent::{ALLOCATABLE, short};
use crate::world::{Summary, World};
use hv_core::instance::{Epoch, Relocation, RestartPolicy};
use hv_core::operation::Operation;
use hv_core::{InstanceId, NodeId, OperationId};
use hv_driver::{Assignment, Guest};
use hv_store::{Batch, StoreError};
use hypervisor_server::state::write::PlacementRecord;
use hypervisor_server::state::{ChangeKind, Cluster, InstanceEntry, Object};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a run must never break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// An instance never has two live guests.
    OneGuest,
    /// A guest is started only under the newest assignment of its instance, by the node that holds it.
    NewestAssignment,
    /// Nothing lives of an instance that the server has removed.
    RemovedIsGone,
    /// One start for one restart serial, unless the guest ended in a way that its restart policy answers with a start.
    OneStart,
    /// An assignment's epoch belongs to one node, and never goes back.
    EpochsRise,
    /// As long as a node holds an assignment, the observed generation never goes back.
    ObservationsRise,
    /// What is placed on a node fits on it.
    Fits,
    /// A node that goes down starts nothing any more, and its guests end.
    GoesDown,
    /// A call has at most one operation, however often it is made.
    CallsOnce,
    /// What has not ended does not expire.
    OpenStays,
    /// Transactions obey the store's limits.
    StoreLimits,
    /// Once faults end, every accepted operation ends, or says what it waits for.
    OperationsEnd,
    /// Once faults end, every instance is as it is wanted, or its restart policy says why not.
    AsWanted,
    /// Once faults end, what the server shows is what is there.
    ShownAsIs,
    /// Once faults end, nothing is left on a node that the server does not know, or its agent reports it.
    NoOrphans,
    /// Once faults end, an instance of a restored store that is on a node has been found there.
    FoundAgain,
    /// Once faults end, server and agents find each other.
    Reconnected,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// How.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

pub(crate) fn violation(invariant: Invariant, detail: impl Into<String>) -> Violation {
    Violation { invariant, detail: detail.into() }
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has not.
    Alive,
    /// The agent asked it to, or ended it.
    Agent,
    /// By itself.
    PoweredOff,
    /// It died.
    Crashed,
}

/// The newest boot of an instance on a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot {
    pub(crate) serial: u64,
    epoch: Epoch,
    pub(crate) end: End,
    /// The host has restarted since: nobody knows how the guest ended.
    pub(crate) rebooted: bool,
    /// A further start was decided, and cut off by the agent's death.
    cut_off: bool,
}

/// What has happened, as an observer sees it who misses nothing.
#[derive(Default)]
pub(crate) struct Ledger {
    /// What is in the store.
    pub(crate) cluster: Cluster,
    /// The host of every node that ever was.
    pub(crate) hosts: BTreeMap<NodeId, usize>,
    pub(crate) assigned: BTreeMap<(InstanceId, Epoch), NodeId>,
    pub(crate) removed: BTreeSet<InstanceId>,
    /// The newest epoch, and whether a node holds it.
    pub(crate) placed: BTreeMap<InstanceId, (Epoch, bool)>,
    pub(crate) observed: BTreeMap<InstanceId, (Epoch, u64)>,
    pub(crate) boots: BTreeMap<(usize, InstanceId), Boot>,
    /// A start failed in a way that trying again does not mend.
    pub(crate) given_up: BTreeSet<InstanceId>,
    /// Where instances really are, of which the store was restored to an older state: the newest assignment, until there is a
    /// newer one.
    pub(crate) before: BTreeMap<InstanceId, PlacementRecord>,
    /// Where an instance was found, and under which epoch it was there: what was begun under it may still end.
    pub(crate) continued: BTreeMap<InstanceId, PlacementRecord>,
    /// Which call an operation would be of, and the operation that each call has got.
    asked: BTreeMap<OperationId, u64>,
    pub(crate) answered: BTreeMap<u64, OperationId>,
    broken: Option<Violation>,
}

impl Ledger {
    pub(crate) fn verdict(&mut self) -> Result<(), Violation> {
        self.broken.take().map_or(Ok(()), Err)
    }

    pub(crate) fn breaks(&mut self, invariant: Invariant, detail: String) {
        self.broken.get_or_insert(Violation { invariant, detail });
    }

    pub(crate) fn store_refused(&mut self, error: &StoreError) {
        self.breaks(Invariant::StoreLimits, error.to_string());
    }

    /// One revision of the store.
    pub(crate) fn stored(&mut self, batch: &Batch, summary: &mut Summary) {
        let changes = match self.cluster.apply(batch) {
            Ok(changes) => changes,
            Err(error) => return self.breaks(Invariant::StoreLimits, error.to_string()),
        };
        for change in changes {
            if let Object::Operation(entry) = &change.object {
                self.calls_once_and_open_stays(change.kind, &entry.operation);
            }
            if let (Object::Node(entry), ChangeKind::Deleted) = (&change.object, change.kind) {
                summary.abandonments += u64::from(self.cluster.abandoned(entry.node.id).is_some());
            }
            let Object::Instance(entry) = &change.object else { continue };
            let id = entry.instance.id;
            if change.kind == ChangeKind::Deleted {
                self.removed.insert(id);
                self.placed.remove(&id);
                self.before.remove(&id);
                summary.removals += 1;
                continue;
            }
            let found = self.found(entry, summary);
            let left = |before: &Object| match before {
                Object::Instance(before) => before.placement.leaving && entry.placement.node.is_none(),
                _ => false,
            };
            summary.departures += u64::from(change.previous.as_ref().is_some_and(left));
            self.epochs_rise(entry, summary);
            self.observations_rise(entry);
            // What is found where it is may be more than the restored store thought was there.
            if !found {
                self.fits(entry, change.previous.as_ref());
            }
        }
    }

    /// The client is about to record this operation for this call.
    pub(crate) fn asked(&mut self, operation: OperationId, call: u64) {
        self.asked.insert(operation, call);
    }

    fn calls_once_and_open_stays(&mut self, change: ChangeKind, operation: &Operation) {
        if change == ChangeKind::Deleted && !operation.phase.is_final() {
            self.breaks(Invariant::OpenStays, format!("{:?} is gone before it ended", operation.kind));
        }
        let Some(call) = self.asked.get(&operation.id).copied() else { return };
        let first = *self.answered.entry(call).or_insert(operation.id);
        if first != operation.id {
            self.breaks(Invariant::CallsOnce, format!("call {call} was made twice: {:?}", operation.kind));
        }
    }

    fn epochs_rise(&mut self, entry: &InstanceEntry, summary: &mut Summary) {
        let (id, epoch) = (entry.instance.id, entry.placement.epoch);
        let (old_epoch, was_placed) =
            self.placed.insert(id, (epoch, entry.placement.node.is_some())).unwrap_or_default();
        if epoch < old_epoch {
            self.breaks(Invariant::EpochsRise, format!("{}: from {old_epoch} to {epoch}", short(id)));
        }
        match entry.placement.node {
            Some(node) => {
                if *self.assigned.entry((id, epoch)).or_insert(node) != node {
                    self.breaks(
                        Invariant::EpochsRise,
                        format!("{}: two nodes have epoch {epoch}", short(id)),
                    );
                }
                summary.placements += u64::from(epoch > old_epoch);
            }
            None => summary.rejections += u64::from(was_placed),
        }
    }

    fn observations_rise(&mut self, entry: &InstanceEntry) {
        let id = entry.instance.id;
        let (epoch, generation) = (entry.placement.epoch, entry.instance.status.observed_generation);
        if entry.placement.node.is_none() {
            // Nobody has acted on anything: it was refused, and is to go elsewhere.
            self.observed.remove(&id);
            return;
        }
        if let Some((known_epoch, known)) = self.observed.insert(id, (epoch, generation))
            && known_epoch == epoch
            && generation < known
        {
            self.breaks(
                Invariant::ObservationsRise,
                format!("{} under epoch {epoch}: from generation {known} to {generation}", short(id)),
            );
        }
    }

    /// A node that an instance takes more of has room for all that is on it.
    fn fits(&mut self, entry: &InstanceEntry, before: Option<&Object>) {
        let before = match before {
            Some(Object::Instance(before)) => Some(before),
            _ => None,
        };
        let wanted = entry.instance.spec.resources();
        let grew = |node: NodeId| {
            before.is_none_or(|before| {
                !before.placement.claims().any(|claim| claim == node)
                    || !wanted.shortages(before.instance.spec.resources()).is_empty()
            })
        };
        for node in entry.placement.claims().filter(|node| grew(*node)) {
            let shortages = self.cluster.allocated(node).shortages(ALLOCATABLE);
            if !shortages.is_empty() {
                let detail =
                    format!("{} on node {}: {}", short(entry.instance.id), node, shortages.join(", "));
                self.breaks(Invariant::Fits, detail);
            }
        }
    }

    pub(crate) fn started_although_revoked(&mut self, id: InstanceId) {
        self.breaks(Invariant::NewestAssignment, format!("{} is started although it was revoked", short(id)));
    }

    /// A guest has started. A node that was abandoned and has not been told, or whose start was under way when it was, is
    /// excused.
    pub(crate) fn booted(&mut self, node: usize, assignment: &Assignment, excused: bool) {
        let (id, epoch) = (assignment.handle.id, assignment.handle.epoch);
        let spec = &assignment.spec;
        let stored = || self.cluster.instances().get(&id).map(|entry| entry.placement.clone());
        let newest = self.before.get(&id).cloned().or_else(stored);
        let holder = newest.as_ref().and_then(|newest| newest.node).and_then(|node| self.node_index(node));
        let continued = self.continued.get(&id).filter(|continued| {
            continued.epoch == epoch && newest.as_ref().and_then(|newest| newest.node) == continued.node
        });
        let continued = continued.is_some();
        let under_newest = newest.as_ref().map(|newest| newest.epoch) == Some(epoch) || continued;
        if !excused && (!under_newest || holder != Some(node)) {
            self.breaks(
                Invariant::NewestAssignment,
                format!(
                    "{} is started under epoch {epoch}, but the newest assignment is {newest:?}",
                    short(id)
                ),
            );
        }
        // Begun before the restore, whose serials are given out once more.
        let rebooted = continued;
        let serial = if rebooted { 0 } else { spec.restart_serial };
        let boot = Boot { serial, epoch, end: End::Alive, rebooted, cut_off: false };
        let Some(last) = self.boots.insert((node, id), boot) else { return };
        if spec.relocation == Relocation::Recreate && epoch > last.epoch {
            // It has been away, and is made anew.
            return;
        }
        let again = match last.end {
            _ if last.rebooted || last.cut_off => true,
            End::Alive | End::Agent => false,
            End::PoweredOff => spec.restart_policy == RestartPolicy::Always,
            End::Crashed => spec.restart_policy != RestartPolicy::Never,
        };
        if spec.restart_serial < last.serial || (spec.restart_serial == last.serial && !again) {
            self.breaks(
                Invariant::OneStart,
                format!(
                    "{} is started for serial {} with policy {:?}; its last guest was started for serial {} and ended: {:?}",
                    short(id), spec.restart_serial, spec.restart_policy, last.serial, last.end
                ),
            );
        }
    }

    /// A host's index, by its node: also of one that was abandoned, or that a restored store does not know.
    pub(crate) fn node_index(&self, node: NodeId) -> Option<usize> {
        self.hosts.get(&node).copied()
    }

    pub(crate) fn ended_by_agent(&mut self, node: usize, id: InstanceId) {
        self.ended(node, id, End::Agent);
    }

    pub(crate) fn powered_off(&mut self, node: usize, id: InstanceId) {
        self.ended(node, id, End::PoweredOff);
    }

    pub(crate) fn crashed(&mut self, node: usize, id: InstanceId) {
        self.ended(node, id, End::Crashed);
    }

    /// A start that failed is a failure to the restart policy, whatever became of the guest before it.
    pub(crate) fn start_failed(&mut self, node: usize, id: InstanceId) {
        if let Some(boot) = self.boots.get_mut(&(node, id)).filter(|boot| boot.end != End::Alive) {
            boot.end = End::Crashed;
        }
    }

    /// A start that was decided, and cut off by the agent's death, is repeated, also when the policy has changed since.
    pub(crate) fn start_cut_off(&mut self, node: usize, id: InstanceId) {
        if let Some(boot) = self.boots.get_mut(&(node, id)) {
            boot.cut_off = true;
        }
    }

    fn ended(&mut self, node: usize, id: InstanceId, end: End) {
        if let Some(boot) = self.boots.get_mut(&(node, id)) {
            boot.end = end;
        }
    }

    pub(crate) fn rebooted(&mut self, node: usize) {
        for ((on, _), boot) in &mut self.boots {
            boot.rebooted |= *on == node;
        }
    }

    pub(crate) fn given_up(&mut self, id: InstanceId) {
        self.given_up.insert(id);
    }
}

impl World {
    /// Looks at all guests.
    pub(crate) fn check_guests(&self) -> Result<(), Violation> {
        let alive = |node: usize| {
            let slots = self.nodes[node].host.slots();
            slots
                .iter()
                .filter(move |(id, slot)| is_alive(&slot.guest) && !self.condemned(node, **id))
                .map(|(id, _)| *id)
        };
        for id in alive(0).chain(alive(1)) {
            if self.ledger.removed.contains(&id) {
                return Err(violation(
                    Invariant::RemovedIsGone,
                    format!("{} was removed and has a live guest", short(id)),
                ));
            }
        }
        for id in alive(0) {
            if alive(1).any(|other| other == id) {
                return Err(violation(Invariant::OneGuest, format!("{} runs on both nodes", short(id))));
            }
        }
        Ok(())
    }
}

pub(crate) fn is_alive(guest: &Guest) -> bool {
    matches!(guest, Guest::Running | Guest::Paused)
}

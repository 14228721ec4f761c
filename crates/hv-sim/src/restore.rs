//! A store that is lost, and restored from an old snapshot, while agents go on with what is newer.

use crate::Mutation;
use crate::check::{Ledger, is_alive};
use crate::client::Call;
use crate::world::{Summary, World, say};
use hv_api::v1;
use hv_core::{InstanceId, Name};
use hv_store::model::Model;
use hv_store::{Batch, Event as StoreEvent, Snapshot};
use hypervisor_agent::instance::Record;
use hypervisor_server::backup;
use hypervisor_server::state::write::PlacementRecord;
use hypervisor_server::state::{Cluster, InstanceEntry, Missing, NOWHERE_LABEL, keys};

impl World {
    pub(crate) fn take_snapshot(&mut self) {
        say!(self, "snapshot at revision {}", self.model.revision());
        self.snapshot = Some(self.model.snapshot());
    }

    /// The server dies, and its store with it; the next one starts on what the snapshot holds.
    pub(crate) fn restore(&mut self) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        self.server_crash();
        if abandoned(&snapshot) != abandoned(&self.model.snapshot()) {
            // That would be somebody's word that is forgotten, and has to be given again before the host comes back.
            return;
        }
        self.summary.restores += 1;
        let incarnation = format!("restored after {}", self.model.revision());
        let mut restored = backup::restored(snapshot, &self.model.status().incarnation, self.wall());
        if self.mutation == Mutation::RestoreUnmarked {
            restored.items.retain(|item| item.key != keys::RESTORED);
        }
        self.model = Model::restore(&restored, self.now, incarnation);
        say!(self, "the store is restored, to revision {}", self.model.revision());
        let events = restored.items.into_iter().map(|current| StoreEvent::Put { current, previous: None });
        let mut cluster = Cluster::default();
        let batch = Batch { revision: restored.revision, events: events.collect() };
        cluster.apply(&batch).expect("this program wrote it");
        // Assignments that a node knows of are given; of others nobody will ever hear.
        let (hosts, nodes) = (&self.ledger.hosts, &self.nodes);
        self.ledger.assigned.retain(|(id, epoch), holder| {
            let record = hosts.get(holder).and_then(|host| nodes[*host].journal.get(id));
            record.is_some_and(|record| record.desired.epoch == *epoch)
        });
        self.ledger.restored(cluster);
    }

    /// People say of what waits, and is nowhere, that it is to start anew. Says whether nothing waits.
    pub(crate) fn start_anew(&mut self) -> bool {
        let Some(running) = &self.server.running else { return false };
        let waiting: Vec<(InstanceId, Name, bool)> = running
            .cluster
            .instances()
            .iter()
            .filter(|(_, entry)| running.cluster.missing(entry) == Some(Missing::Waits))
            .map(|(id, entry)| (*id, entry.instance.metadata.name.clone(), entry.instance.is_deleting()))
            .collect();
        let settled = waiting.is_empty();
        let restored = running.cluster.restored().unwrap_or_default().to_string();
        for (id, name, deleting) in waiting {
            if !self.is_nowhere(id) {
                continue;
            }
            let instance = name.to_string();
            let call = if deleting {
                Call::Delete(v1::DeleteInstanceRequest { instance, force: true, ..Default::default() })
            } else {
                self.summary.started_anew += 1;
                Call::Update(Box::new(v1::UpdateInstanceRequest {
                    instance,
                    labels: [(NOWHERE_LABEL.to_owned(), restored.clone())].into(),
                    update_mask: Some(prost_types::FieldMask { paths: vec!["labels".to_owned()] }),
                    ..Default::default()
                }))
            };
            say!(self, "client: {name} is nowhere");
            self.ask(call);
        }
        settled
    }

    /// Whether the server waits for a report of an instance.
    pub(crate) fn is_lost(&self, name: &str) -> bool {
        self.server.running.as_ref().is_some_and(|running| {
            let mut instances = running.cluster.instances().values();
            instances.any(|entry| {
                entry.instance.metadata.name.as_str() == name && running.cluster.missing(entry).is_some()
            })
        })
    }

    /// Whether no node has anything of an instance, or is about to, but for the disks that an abandoned one kept.
    fn is_nowhere(&self, id: InstanceId) -> bool {
        self.nodes.iter().all(|node| {
            let (slot, record) = (node.host.slots().get(&id), node.journal.get(&id));
            let remains = record.is_some_and(Record::is_revoked);
            match slot {
                Some(slot) => remains && !is_alive(&slot.guest),
                None => remains || record.is_none_or(|record| record.gone || record.rejected.is_some()),
            }
        })
    }
}

/// The marks of abandoned nodes.
fn abandoned(snapshot: &Snapshot) -> Vec<&str> {
    let keys = snapshot.items.iter().map(|item| item.key.as_str());
    keys.filter(|key| matches!(keys::Key::parse(key), keys::Key::Abandoned(_))).collect()
}

impl Ledger {
    /// The store has gone back to this.
    pub(crate) fn restored(&mut self, cluster: Cluster) {
        let old = std::mem::replace(&mut self.cluster, cluster);
        for (id, entry) in old.instances() {
            // What was lost before is where it was then.
            self.before.entry(*id).or_insert_with(|| entry.placement.clone());
        }
        let back = self.cluster.instances();
        for id in self.removed.iter().filter(|id| back.contains_key(id)) {
            self.before.insert(*id, PlacementRecord::default());
        }
        self.removed.retain(|id| !back.contains_key(id));
        let placed = |entry: &InstanceEntry| (entry.placement.epoch, entry.placement.node.is_some());
        self.placed = back.iter().map(|(id, entry)| (*id, placed(entry))).collect();
        self.observed.clear();
        self.left_for.clear();
        self.answered.clear();
    }

    /// What the restored store had lost has a new assignment, now. Says whether that is so.
    pub(crate) fn found(&mut self, entry: &InstanceEntry, summary: &mut Summary) -> bool {
        let id = entry.instance.id;
        if self.cluster.missing(entry).is_some() {
            return false;
        }
        let Some(before) = self.before.remove(&id) else { return false };
        self.continued.insert(id, before);
        summary.found_again += 1;
        for ((_, of), boot) in &mut self.boots {
            if *of == id {
                // Serials are given out once more, and a stop may be forgotten; how a guest ended by itself is not.
                boot.serial = boot.serial.min(entry.instance.spec.restart_serial);
                boot.reassigned = true;
            }
        }
        true
    }
}

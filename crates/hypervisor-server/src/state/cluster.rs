//! The store's content as objects, kept up to date by [`Cluster::apply`]. A plain value: no I/O, no clock.

use super::keys::Key;
use super::write::{Lost, PlacementRecord, Rejection, Stray};
use hv_api::convert::{instance_from, node_from, operation_from, status_from};
use hv_api::internal::v1 as internal;
use hv_api::v1;
use hv_core::instance::{Epoch, Instance, InstanceStatus, Placement};
use hv_core::meta::DEFAULT_PROJECT;
use hv_core::node::Node;
use hv_core::operation::{Operation, Target};
use hv_core::{Error, ErrorKind, InstanceId, Name, NodeId, OperationId, Resources};
use hv_store::{Batch, Event, KeyValue, Revision};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An instance with the revisions its parts were read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceEntry {
    /// The instance, with status and placement.
    pub instance: Instance,
    /// Its placement, with refusals.
    pub placement: PlacementRecord,
    /// What nodes have of it that does not belong there, as far as they have said.
    pub strays: Vec<Stray>,
    /// Revision it was created at.
    pub created: Revision,
    /// Revision of metadata and specification.
    pub spec_revision: Revision,
    /// Revision of the placement.
    pub placement_revision: Option<Revision>,
    /// The newest of all.
    pub revision: Revision,
    /// Size of its parts in the store, in bytes.
    pub bytes: usize,
}

/// A node with the revisions its parts were read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// The node.
    pub node: Node,
    /// Revision of metadata and specification.
    pub spec_revision: Revision,
    /// Revision of its status.
    pub status_revision: Option<Revision>,
    /// The newest of all.
    pub revision: Revision,
    /// Size of its parts in the store, in bytes.
    pub bytes: usize,
}

/// An operation with its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationEntry {
    /// The operation.
    pub operation: Operation,
    /// Its revision.
    pub revision: Revision,
    /// Its size in the store, in bytes.
    pub bytes: usize,
}

/// Any object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// An instance.
    Instance(Arc<InstanceEntry>),
    /// A node.
    Node(Arc<NodeEntry>),
    /// An operation.
    Operation(Arc<OperationEntry>),
}

impl Object {
    /// Roughly what it takes in memory: what it takes in the store, and a little for itself.
    pub fn weight(&self) -> usize {
        const ITSELF: usize = 512;
        let bytes = match self {
            Self::Instance(entry) => entry.bytes,
            Self::Node(entry) => entry.bytes,
            Self::Operation(entry) => entry.bytes,
        };
        ITSELF + bytes
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is different.
    Modified,
    /// It is gone; the object is as it last was.
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To what.
    pub object: Object,
    /// At which revision.
    pub revision: Revision,
    /// What a modified instance or node was before: a watch of some labels tells by it who comes and who leaves.
    pub previous: Option<Object>,
}

/// When what is claimed of a node last grew. Placements are decided by one task, which knows of its own that are under way:
/// they exclude raises, not each other. A raise excludes both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// By a placement.
    pub placed: Option<Revision>,
    /// By a raise of what a placed instance takes.
    pub raised: Option<Revision>,
}

/// Everything, at one revision.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    revision: Revision,
    instances: BTreeMap<InstanceId, Arc<InstanceEntry>>,
    nodes: BTreeMap<NodeId, Arc<NodeEntry>>,
    operations: BTreeMap<OperationId, Arc<OperationEntry>>,
    instance_names: BTreeMap<(Name, Name), InstanceId>,
    node_names: BTreeMap<Name, NodeId>,
    open_operations: BTreeMap<Target, BTreeSet<OperationId>>,
    /// What takes room on a node: what is placed there, and what room is kept for.
    claimed: BTreeMap<NodeId, BTreeSet<InstanceId>>,
    abandoned: BTreeMap<NodeId, String>,
    claims: BTreeMap<NodeId, Claims>,
    raw: BTreeMap<String, KeyValue>,
    /// When the store was restored from a snapshot, if ever.
    restored: Option<Revision>,
}

/// What becomes of an instance that a restored store does not know the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It waits for a node to report it.
    Waits,
    /// People say that it is nowhere: it is placed as if it were new, or removed if that is what they want.
    Nowhere,
}

/// The label by which people say of an instance of a restored store that it is nowhere. Its value is the revision of that restore,
/// so that what was said once does not hold for the next.
pub const NOWHERE_LABEL: &str = "restored";

impl Cluster {
    /// The revision everything here is at.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Instances in order of creation.
    pub fn instances(&self) -> &BTreeMap<InstanceId, Arc<InstanceEntry>> {
        &self.instances
    }

    /// Nodes in order of registration.
    pub fn nodes(&self) -> &BTreeMap<NodeId, Arc<NodeEntry>> {
        &self.nodes
    }

    /// Operations in order of creation.
    pub fn operations(&self) -> &BTreeMap<OperationId, Arc<OperationEntry>> {
        &self.operations
    }

    /// Whether nobody knows where this instance is: the store was restored since it was last placed, what happened after the
    /// snapshot is forgotten, and no agent has reported it yet. Only an agent's report, or people, end that.
    pub fn missing(&self, entry: &InstanceEntry) -> Option<Missing> {
        let restored = self.restored?;
        let older =
            entry.created < restored && entry.placement_revision.is_none_or(|placed| placed < restored);
        let instance = &entry.instance;
        let label = instance.metadata.labels.get(NOWHERE_LABEL);
        let labelled = label.is_some_and(|label| *label == restored.to_string());
        let forced = instance.is_deleting() && instance.spec.force_stop;
        // What people asked for before the restore, they did not ask for because of it.
        let nowhere = labelled || (forced && entry.spec_revision > restored);
        older.then_some(if nowhere { Missing::Nowhere } else { Missing::Waits })
    }

    /// Says of an instance that [waits](Missing::Waits) what it waits for, and what people do if that never comes.
    pub fn awaits_report(&self, instance: &Instance) -> String {
        let (name, restored) = (&instance.metadata.name, self.restored.unwrap_or_default());
        let project = match instance.metadata.project.as_str() {
            DEFAULT_PROJECT => String::new(),
            project => format!(" --project {project}"),
        };
        format!(
            "the store was restored, and no node has reported this instance since: connect the node that has it; if it is \
             nowhere, `hypervisor-ctl instance update {name}{project} --label {NOWHERE_LABEL}={restored}` starts it anew, \
             `hypervisor-ctl instance delete {name}{project} --force` removes it"
        )
    }

    /// When the store was restored from a snapshot, if ever.
    pub fn restored(&self) -> Option<Revision> {
        self.restored
    }

    /// Operations of an object that have not ended.
    pub fn open_operations(&self, target: Target) -> impl Iterator<Item = &Arc<OperationEntry>> {
        self.open_operations.get(&target).into_iter().flatten().filter_map(|id| self.operations.get(id))
    }

    /// Objects with operations that have not ended; they may be gone themselves.
    pub fn with_open_operations(&self) -> impl Iterator<Item = Target> {
        self.open_operations.keys().copied()
    }

    /// Instances placed on a node.
    pub fn placed_on(&self, node: NodeId) -> impl Iterator<Item = &Arc<InstanceEntry>> {
        self.claiming(node).filter(move |entry| entry.placement.node == Some(node))
    }

    /// Instances placed on a node, or with room kept for them there.
    pub fn claiming(&self, node: NodeId) -> impl Iterator<Item = &Arc<InstanceEntry>> {
        self.claimed.get(&node).into_iter().flatten().filter_map(|id| self.instances.get(id))
    }

    /// The name of a node that was abandoned.
    pub fn abandoned(&self, node: NodeId) -> Option<&str> {
        self.abandoned.get(&node).map(String::as_str)
    }

    /// When what is claimed of a node last grew.
    pub fn claims(&self, node: NodeId) -> Claims {
        self.claims.get(&node).copied().unwrap_or_default()
    }

    /// What the instances on a node take, and those that room is kept for.
    pub fn allocated(&self, node: NodeId) -> Resources {
        self.claiming(node).map(|entry| entry.instance.resources()).sum()
    }

    /// An instance by uid, or by name within a project.
    pub fn find_instance(&self, project: &Name, reference: &str) -> Result<&Arc<InstanceEntry>, Error> {
        let by_uid = reference.parse().ok().and_then(|id: InstanceId| self.instances.get(&id));
        let by_name = || {
            let name = Name::parse("instance", reference).ok()?;
            self.instances.get(self.instance_names.get(&(project.clone(), name))?)
        };
        by_uid.or_else(by_name).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no instance `{reference}` in project `{project}`"),
            )
            .with_hint("`hypervisor-ctl instance list` shows what there is")
        })
    }

    /// A node by uid or name.
    pub fn find_node(&self, reference: &str) -> Result<&Arc<NodeEntry>, Error> {
        let by_uid = reference.parse().ok().and_then(|id: NodeId| self.nodes.get(&id));
        let by_name = || self.nodes.get(self.node_names.get(&Name::parse("node", reference).ok()?)?);
        by_uid.or_else(by_name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no node `{reference}`"))
                .with_hint("`hypervisor-ctl node list` shows what there is")
        })
    }

    /// The uid that holds an instance name.
    pub fn instance_named(&self, project: &Name, name: &Name) -> Option<InstanceId> {
        self.instance_names.get(&(project.clone(), name.clone())).copied()
    }

    /// The uid that holds a node name.
    pub fn node_named(&self, name: &Name) -> Option<NodeId> {
        self.node_names.get(name).copied()
    }

    /// Takes the changes of one revision. Values that cannot be decoded are an error: this program wrote them.
    pub fn apply(&mut self, batch: &Batch) -> Result<Vec<Change>, Error> {
        let mut dirty: Vec<(Dirty, Option<String>)> = Vec::new();
        for event in &batch.events {
            let key = Key::parse(event.key());
            if key == Key::Other {
                continue;
            }
            if self.note(key, event) {
                continue;
            }
            match event {
                Event::Put { current, .. } => self.raw.insert(current.key.clone(), current.clone()),
                Event::Delete { previous } => self.raw.remove(&previous.key),
            };
            let id = match key {
                Key::Instance(id) | Key::InstanceStatus(id) | Key::Placement(id) | Key::Strays(id) => {
                    Dirty::Instance(id)
                }
                Key::Node(id) | Key::NodeStatus(id) => Dirty::Node(id),
                Key::Operation(id) => Dirty::Operation(id),
                Key::Restored => {
                    self.restored = match event {
                        Event::Put { current, .. } => Some(current.mod_revision),
                        Event::Delete { .. } => None,
                    };
                    continue;
                }
                Key::NodePlaced(_) | Key::NodeRaised(_) | Key::Abandoned(_) | Key::Other => continue,
            };
            let known = dirty.iter_mut().find(|(known, _)| *known == id);
            let spec_key = match key {
                Key::Instance(_) | Key::Node(_) | Key::Operation(_) => Some(event.key().to_owned()),
                _ => None,
            };
            match known {
                Some((_, spec)) => *spec = spec_key.or(spec.take()),
                None => dirty.push((id, spec_key)),
            }
        }
        self.revision = self.revision.max(batch.revision);
        let mut changes = Vec::new();
        for (id, key) in dirty {
            let previous = match id {
                Dirty::Instance(id) => self.instances.get(&id).cloned().map(Object::Instance),
                Dirty::Node(id) => self.nodes.get(&id).cloned().map(Object::Node),
                Dirty::Operation(_) => None,
            };
            let change = match id {
                Dirty::Instance(id) => self.rebuild_instance(id, key)?,
                Dirty::Node(id) => self.rebuild_node(id)?,
                Dirty::Operation(id) => self.rebuild_operation(id)?,
            };
            changes.extend(change.map(|(kind, object)| Change {
                kind,
                object,
                revision: batch.revision,
                previous: previous.filter(|_| kind == ChangeKind::Modified),
            }));
        }
        Ok(changes)
    }

    /// Takes what belongs to nodes and is no object. Says whether it was that.
    fn note(&mut self, key: Key, event: &Event) -> bool {
        let current = match event {
            Event::Put { current, .. } => Some(current),
            Event::Delete { .. } => None,
        };
        let revision = current.map(|current| current.mod_revision);
        match (key, current) {
            (Key::NodePlaced(id), _) => self.claims.entry(id).or_default().placed = revision,
            (Key::NodeRaised(id), _) => self.claims.entry(id).or_default().raised = revision,
            (Key::Abandoned(id), Some(current)) => {
                self.abandoned.insert(id, String::from_utf8_lossy(&current.value).into_owned());
            }
            (Key::Abandoned(id), None) => drop(self.abandoned.remove(&id)),
            _ => return false,
        }
        true
    }

    fn raw_of(&self, key: &str) -> Option<&KeyValue> {
        self.raw.get(key)
    }

    fn rebuild_instance(
        &mut self,
        id: InstanceId,
        spec_key: Option<String>,
    ) -> Result<Option<(ChangeKind, Object)>, Error> {
        let old = self.instances.get(&id).cloned();
        let spec_key = spec_key
            .or_else(|| old.as_ref().map(|old| super::keys::instance(&old.instance.metadata.project, id)));
        let Some(spec) = spec_key.and_then(|key| self.raw_of(&key).cloned()) else {
            // The specification is gone, or has not come yet.
            let Some(old) = old else { return Ok(None) };
            self.instances.remove(&id);
            self.instance_names
                .remove(&(old.instance.metadata.project.clone(), old.instance.metadata.name.clone()));
            self.unplace(&old);
            return Ok(Some((ChangeKind::Deleted, Object::Instance(old))));
        };
        let status = self.raw_of(&super::keys::instance_status(id)).cloned();
        let placement = self.raw_of(&super::keys::placement(id)).cloned();
        let strays = self.raw_of(&super::keys::strays(id)).cloned();
        let entry = Arc::new(instance_entry(&spec, status.as_ref(), placement.as_ref(), strays.as_ref())?);
        if let Some(old) = &old {
            self.unplace(old);
        }
        for node in entry.placement.claims() {
            self.claimed.entry(node).or_default().insert(id);
        }
        let metadata = &entry.instance.metadata;
        self.instance_names.insert((metadata.project.clone(), metadata.name.clone()), id);
        self.instances.insert(id, entry.clone());
        let kind = if old.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        Ok(Some((kind, Object::Instance(entry))))
    }

    fn unplace(&mut self, entry: &InstanceEntry) {
        for node in entry.placement.claims() {
            if let Some(claiming) = self.claimed.get_mut(&node) {
                claiming.remove(&entry.instance.id);
                if claiming.is_empty() {
                    self.claimed.remove(&node);
                }
            }
        }
    }

    fn rebuild_node(&mut self, id: NodeId) -> Result<Option<(ChangeKind, Object)>, Error> {
        let old = self.nodes.get(&id).cloned();
        let Some(spec) = self.raw_of(&super::keys::node(id)).cloned() else {
            let Some(old) = old else { return Ok(None) };
            self.nodes.remove(&id);
            self.node_names.remove(&old.node.metadata.name);
            return Ok(Some((ChangeKind::Deleted, Object::Node(old))));
        };
        let status = self.raw_of(&super::keys::node_status(id)).cloned();
        let mut wire: v1::Node = decode(&spec)?;
        if let Some(status) = &status {
            wire.status = Some(decode(status)?);
        }
        let entry = Arc::new(NodeEntry {
            node: node_from(&wire).map_err(|error| damaged(&spec.key, error))?,
            spec_revision: spec.mod_revision,
            bytes: spec.value.len() + status.as_ref().map_or(0, |status| status.value.len()),
            status_revision: status.as_ref().map(|status| status.mod_revision),
            revision: status.map_or(spec.mod_revision, |status| status.mod_revision.max(spec.mod_revision)),
        });
        self.node_names.insert(entry.node.metadata.name.clone(), id);
        self.nodes.insert(id, entry.clone());
        let kind = if old.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        Ok(Some((kind, Object::Node(entry))))
    }

    fn rebuild_operation(&mut self, id: OperationId) -> Result<Option<(ChangeKind, Object)>, Error> {
        let old = self.operations.get(&id).cloned();
        let raw = self.raw_of(&super::keys::operation(id)).cloned();
        let (kind, entry) = match (raw, old) {
            (None, None) => return Ok(None),
            (None, Some(old)) => {
                self.operations.remove(&id);
                (ChangeKind::Deleted, old)
            }
            (Some(raw), old) => {
                let operation = operation_from(&decode::<v1::Operation>(&raw)?)
                    .map_err(|error| damaged(&raw.key, error))?;
                let entry = Arc::new(OperationEntry {
                    operation,
                    revision: raw.mod_revision,
                    bytes: raw.value.len(),
                });
                self.operations.insert(id, entry.clone());
                (if old.is_some() { ChangeKind::Modified } else { ChangeKind::Added }, entry)
            }
        };
        let target = entry.operation.target;
        let open = self.open_operations.entry(target).or_default();
        if kind == ChangeKind::Deleted || entry.operation.phase.is_final() {
            open.remove(&id);
        } else {
            open.insert(id);
        }
        if open.is_empty() {
            self.open_operations.remove(&target);
        }
        Ok(Some((kind, Object::Operation(entry))))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dirty {
    Instance(InstanceId),
    Node(NodeId),
    Operation(OperationId),
}

fn instance_entry(
    spec: &KeyValue,
    status: Option<&KeyValue>,
    placement: Option<&KeyValue>,
    strays: Option<&KeyValue>,
) -> Result<InstanceEntry, Error> {
    let mut instance =
        instance_from(&decode::<v1::Instance>(spec)?).map_err(|error| damaged(&spec.key, error))?;
    if let Some(status) = status {
        instance.status = status_from(&decode(status)?).map_err(|error| damaged(&status.key, error))?;
    } else {
        instance.status = InstanceStatus::default();
    }
    let record = match placement {
        None => PlacementRecord::default(),
        Some(raw) => placement_record(&decode(raw)?).map_err(|error| damaged(&raw.key, error))?,
    };
    let stray_records = match strays {
        None => Vec::new(),
        Some(raw) => stray_records(&decode(raw)?).map_err(|error| damaged(&raw.key, error))?,
    };
    instance.placement = record.node.map(|node| Placement { node, epoch: record.epoch });
    let revisions = [Some(spec), status, placement, strays];
    let bytes = revisions.into_iter().flatten().map(|raw| raw.value.len()).sum();
    let revision = revisions.into_iter().flatten().map(|raw| raw.mod_revision).max().unwrap_or_default();
    Ok(InstanceEntry {
        instance,
        placement: record,
        strays: stray_records,
        created: spec.create_revision,
        spec_revision: spec.mod_revision,
        placement_revision: placement.map(|raw| raw.mod_revision),
        revision,
        bytes,
    })
}

fn node(text: &str) -> Result<NodeId, Error> {
    text.parse().map_err(|_| Error::new(ErrorKind::Internal, format!("`{text}` is not a uid")))
}

fn stray_records(wire: &internal::Strays) -> Result<Vec<Stray>, Error> {
    let one = |stray: &internal::Stray| {
        Ok(Stray { lives: stray.lives, epoch: Epoch(stray.epoch), node: node(&stray.node_uid)? })
    };
    wire.strays.iter().map(one).collect()
}

fn placement_record(wire: &internal::Placement) -> Result<PlacementRecord, Error> {
    let if_any = |text: &str| (!text.is_empty()).then(|| node(text)).transpose();
    Ok(PlacementRecord {
        node: if_any(&wire.node_uid)?,
        epoch: Epoch(wire.epoch),
        rejections: wire
            .rejections
            .iter()
            .map(|rejection| {
                Ok(Rejection {
                    node: node(&rejection.node_uid)?,
                    message: rejection.message.clone(),
                    generation: rejection.generation,
                })
            })
            .collect::<Result<_, Error>>()?,
        lost: wire
            .lost
            .as_ref()
            .map(|lost| Lost { node_name: lost.node_name.clone(), restart_serial: lost.restart_serial }),
        leaving: wire.leaving,
        reserved: if_any(&wire.reserved_node_uid)?,
    })
}

fn decode<M: Message + Default>(raw: &KeyValue) -> Result<M, Error> {
    M::decode(raw.value.clone())
        .map_err(|error| damaged(&raw.key, Error::new(ErrorKind::Internal, error.to_string())))
}

fn damaged(key: &str, error: Error) -> Error {
    Error::new(ErrorKind::Internal, format!("the stored object {key} is damaged: {error}"))
}

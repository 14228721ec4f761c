//! What plans are tested on: a model store and the cluster that follows it.

use super::instance::{Act, act, create, update};
use super::{Context, Plan};
use crate::state::write::{PlacementRecord, Writer};
use crate::state::{Change, Cluster, InstanceEntry, keys};
use hv_api::v1;
use hv_core::instance::Epoch;
use hv_core::instance::state::Request;
use hv_core::node::{DriverStatus, Node, NodePhase, NodeReport, NodeSpec, NodeStatus};
use hv_core::{Error, Labels, Metadata, Name, NodeId, OperationId, Resources, Timestamp};
use hv_runtime::ids;
use hv_store::model::Model;
use hv_store::{LeaseId, Txn};
use std::sync::Arc;
use std::time::Duration;

/// A store, and everything in it as plans see it.
pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) cluster: Cluster,
    expiry: LeaseId,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut model = Model::new("test");
        let expiry = model.lease_grant(Duration::ZERO, Duration::from_secs(60)).unwrap();
        Self { model, cluster: Cluster::default(), expiry }
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            principal: "test".into(),
            now: Timestamp(1),
            uid: ids::uuid(),
            operation: OperationId::new(ids::uuid()),
            expiry: self.expiry,
        }
    }

    /// Whether the transaction's conditions held.
    pub(crate) fn commit(&mut self, writer: Writer) -> bool {
        self.apply(&writer.finish())
    }

    pub(crate) fn apply(&mut self, txn: &Txn) -> bool {
        let succeeded = self.model.txn(txn).unwrap().succeeded;
        self.follow();
        succeeded
    }

    /// Takes what is new in the store.
    pub(crate) fn follow(&mut self) -> Vec<Arc<Change>> {
        let changes = self.model.events_since(keys::ROOT, self.cluster.revision(), 0).unwrap();
        let visible = changes.batches.iter().flat_map(|batch| self.cluster.apply(batch).unwrap());
        visible.map(Arc::new).collect()
    }

    /// Commits a plan whose conditions hold; answers its operation.
    pub(crate) fn take(&mut self, plan: Result<Plan, Error>) -> String {
        let plan = plan.unwrap();
        assert!(self.commit(plan.writer));
        plan.operation.id.to_string()
    }

    pub(crate) fn create(&mut self, name: &str) -> String {
        let spec = v1::InstanceSpec {
            r#type: v1::InstanceType::Vm.into(),
            cpus: 1,
            memory_bytes: 64 << 20,
            image: "/images/demo.qcow2".into(),
            ..Default::default()
        };
        let request = v1::CreateInstanceRequest { name: name.into(), spec: Some(spec), ..Default::default() };
        self.take(create(&self.cluster, &request, &self.context()))
    }

    /// A node that is ready, with this many CPUs.
    pub(crate) fn node(&mut self, name: &str, cpus: u32) -> NodeId {
        let driver =
            DriverStatus { healthy: true, instance_types: vec!["vm".into()], ..DriverStatus::default() };
        let allocatable = Resources { cpus, memory_bytes: 64 << 30, disk_bytes: 1 << 40, gpus: 0 };
        let report = NodeReport { allocatable, drivers: vec![driver], ..NodeReport::default() };
        let name = Name::parse("name", name).unwrap();
        let node = Node {
            id: NodeId::new(ids::uuid()),
            metadata: Metadata {
                name: name.clone(),
                project: Name::parse("name", "default").unwrap(),
                labels: Labels::new(),
                annotations: Labels::new(),
                generation: 1,
                created_at: Timestamp(1),
                deletion_requested_at: None,
                finalizers: vec![],
            },
            spec: NodeSpec::default(),
            status: NodeStatus { phase: NodePhase::Ready, report, ..NodeStatus::default() },
        };
        let mut writer = Writer::default();
        writer.put_node(&node).put_node_status(&node).put_text(keys::node_name(&name), &node.id.to_string());
        assert!(self.commit(writer));
        node.id
    }

    /// Puts an instance on a node.
    pub(crate) fn place(&mut self, name: &str, node: NodeId) {
        let id = self.entry(name).instance.id;
        let placement = PlacementRecord { node: Some(node), epoch: Epoch(1), ..PlacementRecord::default() };
        let mut writer = Writer::default();
        writer.put_placement(id, &placement);
        assert!(self.commit(writer));
    }

    pub(crate) fn raise(&self, name: &str, cpus: u32) -> Result<Plan, Error> {
        let request = v1::UpdateInstanceRequest {
            instance: name.into(),
            spec: Some(v1::InstanceSpec { cpus, ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["spec.cpus".into()] }),
            ..Default::default()
        };
        update(&self.cluster, &request, &self.context()).map(|update| update.plan)
    }

    pub(crate) fn act(&mut self, instance: &str, request: Request, timeout: Option<Duration>) -> String {
        let verb = Act { instance, project: "", request, timeout, precondition: None };
        self.take(act(&self.cluster, &verb, &self.context()))
    }

    pub(crate) fn entry(&self, name: &str) -> &InstanceEntry {
        self.cluster.instances().values().find(|entry| entry.instance.metadata.name.as_str() == name).unwrap()
    }
}

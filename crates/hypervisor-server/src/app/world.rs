//! What plans are tested on: a model store and the cluster that follows it.

use super::instance::{Act, act, create};
use super::{Context, Plan};
use crate::state::write::Writer;
use crate::state::{Cluster, InstanceEntry, keys};
use hv_api::v1;
use hv_core::instance::state::Request;
use hv_core::{Error, OperationId, Timestamp};
use hv_runtime::ids;
use hv_store::LeaseId;
use hv_store::model::Model;
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
        let succeeded = self.model.txn(&writer.finish()).unwrap().succeeded;
        let changes = self.model.events_since(keys::ROOT, self.cluster.revision(), 0).unwrap();
        for batch in &changes.batches {
            self.cluster.apply(batch).unwrap();
        }
        succeeded
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

    pub(crate) fn act(&mut self, instance: &str, request: Request, timeout: Option<Duration>) -> String {
        let verb = Act { instance, project: "", request, timeout, precondition: None };
        self.take(act(&self.cluster, &verb, &self.context()))
    }

    pub(crate) fn entry(&self, name: &str) -> &InstanceEntry {
        self.cluster.instances().values().find(|entry| entry.instance.metadata.name.as_str() == name).unwrap()
    }
}

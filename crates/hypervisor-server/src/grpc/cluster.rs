//! ClusterService.

use super::{Answers, Api, failed, page, principal, views};
use crate::Task;
use crate::app::{self, Call};
use crate::state::Object;
use crate::state::follow::store_error;
use futures::StreamExt;
use hv_api::convert::resources_to;
use hv_api::v1;
use hv_api::v1::cluster_service_server::ClusterService;
use hv_core::instance::Phase;
use hv_core::node::NodePhase;
use hv_core::{Error, NodeId, Resources, Selector};
use hv_runtime::tasks::blocking;
use hv_store::Revision;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

impl Api {
    /// What a call answers; without a node when a repeated call's has been deregistered since.
    fn node_and_operation(&self, done: &app::Committed) -> Result<(Option<v1::Node>, v1::Operation), Error> {
        let cluster = self.follower.cluster();
        let operation = views::operation(app::operation::find(&cluster, &done.operation.to_string())?);
        let node = cluster.find_node(&done.target).ok().map(|entry| views::node(self, &cluster, entry));
        Ok((node, operation))
    }
}

#[tonic::async_trait]
impl ClusterService for Api {
    async fn register_node(
        &self,
        request: Request<v1::RegisterNodeRequest>,
    ) -> Result<Response<v1::RegisterNodeResponse>, Status> {
        let who = principal(&request)?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&who, &key, "RegisterNode", &request).map_err(failed)?;
        let plan = |cluster: &_, context: &_| app::node::register(cluster, &request, context);
        let done = self.committer.commit(&call, plan).await.map_err(failed)?;
        let (node, operation) = self.node_and_operation(&done).map_err(failed)?;
        Ok(Response::new(v1::RegisterNodeResponse { node, operation: Some(operation) }))
    }

    async fn deregister_node(
        &self,
        request: Request<v1::DeregisterNodeRequest>,
    ) -> Result<Response<v1::DeregisterNodeResponse>, Status> {
        let who = principal(&request)?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&who, &key, "DeregisterNode", &request).map_err(failed)?;
        let plan = |cluster: &_, context: &_| app::node::deregister(cluster, &request, context);
        let done = self.committer.commit(&call, plan).await.map_err(failed)?;
        let cluster = self.follower.cluster();
        let operation = app::operation::find(&cluster, &done.operation.to_string()).map_err(failed)?;
        Ok(Response::new(v1::DeregisterNodeResponse { operation: Some(views::operation(operation)) }))
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Result<Response<v1::Node>, Status> {
        let cluster = self.follower.cluster();
        let entry = cluster.find_node(&request.get_ref().node).map_err(failed)?;
        Ok(Response::new(views::node(self, &cluster, entry)))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let request = request.into_inner();
        let selector = Selector::parse("label_selector", &request.label_selector).map_err(failed)?;
        let cluster = self.follower.cluster();
        let wanted = cluster
            .nodes()
            .values()
            .filter(|entry| selector.matches(&entry.node.metadata.labels))
            .filter(|entry| request.region.is_empty() || entry.node.spec.region == request.region)
            .filter(|entry| request.zone.is_empty() || entry.node.spec.zone == request.zone)
            .map(|entry| (entry.node.id.to_string(), views::node(self, &cluster, entry)))
            .filter(|(_, node)| {
                request.role == 0 || node.spec.as_ref().is_some_and(|spec| spec.role == request.role)
            })
            .filter(|(_, node)| {
                request.phase == 0 || node.status.as_ref().is_some_and(|status| status.phase == request.phase)
            });
        let (nodes, next_token) = page::cut(request.page.as_ref(), wanted).map_err(failed)?;
        let page = v1::PageInfo { next_token, revision: cluster.revision().0 };
        Ok(Response::new(v1::ListNodesResponse { nodes, page: Some(page) }))
    }

    async fn update_node(
        &self,
        request: Request<v1::UpdateNodeRequest>,
    ) -> Result<Response<v1::UpdateNodeResponse>, Status> {
        let who = principal(&request)?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        // A repetition is the same call, whatever its caller has seen meanwhile.
        let repeated = v1::UpdateNodeRequest { precondition: None, ..request.clone() };
        let call = Call::new(&who, &key, "UpdateNode", &repeated).map_err(failed)?;
        let plan = |cluster: &_, context: &_| app::node::update(cluster, &request, context);
        let done = self.committer.commit(&call, plan).await.map_err(failed)?;
        let (node, operation) = self.node_and_operation(&done).map_err(failed)?;
        Ok(Response::new(v1::UpdateNodeResponse { node, operation: Some(operation) }))
    }

    type WatchNodesStream = Answers<v1::NodeChange>;

    async fn watch_nodes(
        &self,
        request: Request<v1::WatchNodesRequest>,
    ) -> Result<Response<Self::WatchNodesStream>, Status> {
        let request = request.into_inner();
        self.check_incarnation(request.after_revision, &request.incarnation)?;
        let selector = Selector::parse("label_selector", &request.label_selector).map_err(failed)?;
        let (present, from, only) = {
            let cluster = self.follower.cluster();
            let only: Option<NodeId> = match request.node.as_str() {
                "" => None,
                reference => Some(cluster.find_node(reference).map_err(failed)?.node.id),
            };
            let revision = cluster.revision();
            let present: Vec<_> = if request.after_revision == 0 {
                cluster
                    .nodes()
                    .values()
                    .filter(|entry| only.is_none_or(|id| id == entry.node.id))
                    .filter(|entry| selector.matches(&entry.node.metadata.labels))
                    .map(|entry| {
                        Ok(v1::NodeChange {
                            kind: v1::ChangeKind::Added.into(),
                            node: Some(views::node(self, &cluster, entry)),
                            revision: revision.0,
                        })
                    })
                    .collect()
            } else {
                Vec::new()
            };
            let from = if request.after_revision == 0 { revision } else { Revision(request.after_revision) };
            (present, from, only)
        };
        let api = self.clone();
        let changes = self.changes(from)?.map(move |batch| {
            let batch = batch?;
            let cluster = api.follower.cluster();
            let shows = |object: &Object| {
                matches!(object, Object::Node(entry) if only.is_none_or(|id| id == entry.node.id)
                    && selector.matches(&entry.node.metadata.labels))
            };
            let one = |change: &std::sync::Arc<crate::state::Change>| {
                let Object::Node(entry) = &change.object else { return None };
                Some(v1::NodeChange {
                    kind: views::change(change, shows)?.into(),
                    node: Some(views::node(&api, &cluster, entry)),
                    revision: change.revision.0,
                })
            };
            Ok::<_, Status>(batch.iter().filter_map(one).collect::<Vec<_>>())
        });
        Ok(Response::new(
            self.until_stop(futures::stream::iter(present).chain(super::event::flatten(changes))),
        ))
    }

    async fn get_cluster_info(
        &self,
        _: Request<v1::GetClusterInfoRequest>,
    ) -> Result<Response<v1::ClusterInfo>, Status> {
        let status = self.follower.store().status().await;
        let status = status.map_err(|error| failed(store_error(error)))?;
        let cluster = self.follower.cluster();
        let nodes = cluster.nodes().values();
        let ready = nodes.clone().filter(|entry| entry.node.status.phase == NodePhase::Ready).count();
        let capacity: Resources = nodes.clone().map(|entry| entry.node.status.report.capacity).sum();
        let allocated: Resources = nodes.clone().map(|entry| cluster.allocated(entry.node.id)).sum();
        let instances = cluster.instances().values();
        let running = instances.clone().filter(|entry| entry.instance.status.phase == Phase::Running).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Response::new(v1::ClusterInfo {
            cluster_id: self.identity.cluster_id.clone(),
            name: self.identity.cluster_name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.identity.incarnation.clone(),
            nodes_total: count(nodes.len()),
            nodes_ready: count(ready),
            instances_total: count(instances.len()),
            instances_running: count(running),
            capacity: Some(resources_to(capacity)),
            allocated: Some(resources_to(allocated)),
            revision: cluster.revision().0,
            store_problem: status.fold_error.map(crate::fold_problem).unwrap_or_default(),
        }))
    }

    type TakeSnapshotStream = Answers<v1::SnapshotPart>;

    async fn take_snapshot(
        &self,
        _: Request<v1::TakeSnapshotRequest>,
    ) -> Result<Response<Self::TakeSnapshotStream>, Status> {
        let snapshot = self.follower.store().snapshot().await;
        let snapshot = snapshot.map_err(|error| failed(store_error(error)))?;
        let (parts, work) = super::parts::of(self.identity.incarnation.clone(), snapshot);
        self.tasks.spawn(Task::Stream, blocking(work));
        Ok(Response::new(self.until_stop(ReceiverStream::new(parts))))
    }
}

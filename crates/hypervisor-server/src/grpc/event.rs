//! EventService, and the streams of changes that other services share.

use super::{Answers, Api, failed, views};
use crate::state::{Change, ChangeKind, Cluster, Object};
use futures::{Stream, StreamExt};
use hv_api::convert::project_from;
use hv_api::v1;
use hv_api::v1::event_service_server::EventService;
use hv_core::{Error, ErrorKind};
use hv_store::Revision;
use std::sync::Arc;
use tonic::{Request, Response, Status};

impl Api {
    /// Changes after a revision, batch by batch; ends with the error that tells the caller to list anew.
    pub(super) fn changes(
        &self,
        after: Revision,
    ) -> Result<impl Stream<Item = Result<Vec<Arc<Change>>, Status>> + Send + use<>, Status> {
        let subscription = self.follower.subscribe(after).map_err(failed)?;
        Ok(futures::stream::unfold(Some(subscription), |subscription| async move {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(batch) => Some((Ok(batch), Some(subscription))),
                Err(error) => Some((Err(failed(error)), None)),
            }
        }))
    }

    /// Refuses a resume token of another life of the store. Callers that name none are trusted.
    pub(super) fn check_incarnation(&self, after_revision: u64, incarnation: &str) -> Result<(), Status> {
        if after_revision == 0 || incarnation.is_empty() || incarnation == self.identity.incarnation {
            return Ok(());
        }
        let message = format!(
            "revision {after_revision} belongs to incarnation {incarnation}; the store was restored and is {} now",
            self.identity.incarnation
        );
        Err(failed(
            Error::new(ErrorKind::Expired, message)
                .with_hint("list anew, and watch from the revision of that answer"),
        ))
    }

    /// A stream that ends when the server does: a drain does not wait for watchers.
    pub(super) fn until_stop<T: Send + 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Answers<T> {
        let stop = self.tasks.stop_token();
        Box::pin(stream.take_until(async move { stop.cancelled().await }))
    }
}

/// One answer after the other.
pub(super) fn flatten<T: Send + 'static>(
    batches: impl Stream<Item = Result<Vec<T>, Status>> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    batches.flat_map(|batch| {
        futures::stream::iter(match batch {
            Ok(items) => items.into_iter().map(Ok).collect(),
            Err(status) => vec![Err(status)],
        })
    })
}

#[tonic::async_trait]
impl EventService for Api {
    type WatchEventsStream = Answers<v1::Event>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let request = request.into_inner();
        self.check_incarnation(request.after_revision, &request.incarnation)?;
        let project = match request.project.as_str() {
            "" => None,
            text => Some(project_from("project", text).map_err(failed)?),
        };
        let after = match request.after_revision {
            0 => self.follower.revision(),
            revision => Revision(revision),
        };
        let api = self.clone();
        let kinds = request.kinds;
        let events = self.changes(after)?.map(move |batch| {
            let batch = batch?;
            let cluster = api.follower.cluster();
            let wanted = |event: &v1::Event, of: Option<&hv_core::Name>| {
                (kinds.is_empty() || kinds.contains(&event.object_kind))
                    && (project.is_none() || of.is_none() || of == project.as_ref())
            };
            let events = batch.iter().filter_map(|change| {
                let (event, of) = event(&api, &cluster, change);
                wanted(&event, of.as_ref()).then_some(event)
            });
            Ok::<_, Status>(events.collect::<Vec<_>>())
        });
        Ok(Response::new(self.until_stop(flatten(events))))
    }
}

/// A change as an event, and the project that it belongs to.
fn event(api: &Api, cluster: &Cluster, change: &Change) -> (v1::Event, Option<hv_core::Name>) {
    use v1::event::Object as Wire;
    let verb = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "is",
        ChangeKind::Deleted => "deleted",
    };
    let (kind, uid, name, state, project, object) = match &change.object {
        Object::Instance(entry) => {
            let instance = &entry.instance;
            let mut state = instance.status.phase.as_str().to_owned();
            if !instance.status.message.is_empty() {
                state = format!("{state}: {}", instance.status.message);
            }
            let project = Some(instance.metadata.project.clone());
            let object = Wire::Instance(views::instance(cluster, entry));
            ("instance", instance.id.to_string(), instance.metadata.name.to_string(), state, project, object)
        }
        Object::Node(entry) => {
            let node = &entry.node;
            let state = format!("{:?}", node.status.phase).to_lowercase();
            let object = Wire::Node(views::node(api, cluster, entry));
            ("node", node.id.to_string(), node.metadata.name.to_string(), state, None, object)
        }
        Object::Operation(entry) => {
            let operation = &entry.operation;
            let phase = format!("{:?}", operation.phase).to_lowercase();
            let state = format!("{} of {} {phase}", operation.kind.as_str(), operation.target_name);
            let project = Some(operation.project.clone());
            let object = Wire::Operation(views::operation(entry));
            ("operation", operation.id.to_string(), operation.target_name.to_string(), state, project, object)
        }
    };
    let summary = match change.kind {
        ChangeKind::Deleted => format!("{kind} {name} {verb}"),
        ChangeKind::Added | ChangeKind::Modified => format!("{kind} {name} {verb} {state}"),
    };
    let event = v1::Event {
        revision: change.revision.0,
        kind: views::kind(change.kind).into(),
        object_kind: kind.to_owned(),
        object_uid: uid,
        object_name: name,
        summary,
        object: Some(object),
    };
    (event, project)
}

//! ComputeService.

use super::{Answers, Api, failed, page, principal, views};
use crate::app::instance::Act;
use crate::app::{self, Call, Committed, Plan};
use crate::reconcile::scheduled;
use crate::scheduler;
use crate::state::{Change, InstanceEntry, Missing, Object};
use futures::StreamExt;
use hv_api::convert::{kind_from, phase_to, project_from};
use hv_api::v1;
use hv_api::v1::compute_service_server::ComputeService;
use hv_core::instance::RunState;
use hv_core::instance::state::{Request as Verb, decide};
use hv_core::{Error, ErrorKind, InstanceId, Name, Selector};
use hv_store::Revision;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

impl Api {
    /// What a call answers; without an instance when a repeated call's has been deleted since.
    fn instance_and_operation(
        &self,
        done: &Committed,
    ) -> Result<(Option<v1::Instance>, v1::Operation), Error> {
        let cluster = self.follower.cluster();
        let operation = views::operation(app::operation::find(&cluster, &done.operation.to_string())?);
        Ok((views::changed_instance(&cluster, &done.target), operation))
    }

    async fn act(&self, call: &Call, act: Act<'_>) -> Result<Response<v1::InstanceActionResponse>, Status> {
        let plan = |cluster: &_, context: &_| app::instance::act(cluster, &act, context);
        let done = self.committer.commit(call, plan).await.map_err(failed)?;
        let (instance, operation) = self.instance_and_operation(&done).map_err(failed)?;
        Ok(Response::new(v1::InstanceActionResponse { instance, operation: Some(operation) }))
    }

    fn find(&self, project: &str, reference: &str) -> Result<Arc<InstanceEntry>, Error> {
        let project = project_from("project", project)?;
        Ok(self.follower.cluster().find_instance(&project, reference)?.clone())
    }
}

/// Start, restart, pause and resume read alike.
macro_rules! verb {
    ($self:ident, $method:literal, $request:ident, $verb:expr) => {{
        let who = principal(&$request)?;
        let mut request = $request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&who, &key, $method, &request).map_err(failed)?;
        let act = Act {
            instance: &request.instance,
            project: &request.project,
            request: $verb(&request),
            timeout: None,
            precondition: request.precondition.as_ref(),
        };
        $self.act(&call, act).await
    }};
}

#[tonic::async_trait]
impl ComputeService for Api {
    async fn create_instance(
        &self,
        request: Request<v1::CreateInstanceRequest>,
    ) -> Result<Response<v1::CreateInstanceResponse>, Status> {
        let who = principal(&request)?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&who, &key, "CreateInstance", &request).map_err(failed)?;
        let plan = |cluster: &_, context: &_| app::instance::create(cluster, &request, context);
        let done = self.committer.commit(&call, plan).await.map_err(failed)?;
        let (instance, operation) = self.instance_and_operation(&done).map_err(failed)?;
        Ok(Response::new(v1::CreateInstanceResponse { instance, operation: Some(operation) }))
    }

    async fn get_instance(
        &self,
        request: Request<v1::GetInstanceRequest>,
    ) -> Result<Response<v1::Instance>, Status> {
        let request = request.into_inner();
        let project = project_from("project", &request.project).map_err(failed)?;
        let cluster = self.follower.cluster();
        let entry = cluster.find_instance(&project, &request.instance).map_err(failed)?;
        Ok(Response::new(views::instance(&cluster, entry)))
    }

    async fn list_instances(
        &self,
        request: Request<v1::ListInstancesRequest>,
    ) -> Result<Response<v1::ListInstancesResponse>, Status> {
        let request = request.into_inner();
        let selector = Selector::parse("label_selector", &request.label_selector).map_err(failed)?;
        let project = match request.project.as_str() {
            "" => None,
            text => Some(project_from("project", text).map_err(failed)?),
        };
        let kind = match request.r#type {
            0 => None,
            kind => Some(kind_from("type", kind).map_err(failed)?),
        };
        let cluster = self.follower.cluster();
        let node = match request.node.as_str() {
            "" => None,
            reference => Some(cluster.find_node(reference).map_err(failed)?.node.id),
        };
        // A page costs what it holds, not what was before it: the token is the last uid of the page before.
        let token = request.page.as_ref().and_then(|page| page.token.parse::<InstanceId>().ok());
        let after = token.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = cluster
            .instances()
            .range((after, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .filter(|entry| {
                project.as_ref().is_none_or(|project| entry.instance.metadata.project == *project)
            })
            .filter(|entry| kind.is_none_or(|kind| entry.instance.spec.kind == kind))
            .filter(|entry| node.is_none_or(|node| entry.instance.placement.is_some_and(|p| p.node == node)))
            .filter(|entry| {
                request.phase == 0 || i32::from(phase_to(entry.instance.status.phase)) == request.phase
            })
            .filter(|entry| selector.matches(&entry.instance.metadata.labels))
            .map(|entry| (entry.instance.id.to_string(), entry));
        let (entries, next_token) = page::cut(request.page.as_ref(), wanted).map_err(failed)?;
        let instances = entries.into_iter().map(|entry| views::instance(&cluster, entry)).collect();
        let page = v1::PageInfo { next_token, revision: cluster.revision().0 };
        Ok(Response::new(v1::ListInstancesResponse { instances, page: Some(page) }))
    }

    async fn update_instance(
        &self,
        request: Request<v1::UpdateInstanceRequest>,
    ) -> Result<Response<v1::UpdateInstanceResponse>, Status> {
        let who = principal(&request)?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        // A repetition is the same call, whatever its caller has seen meanwhile.
        let repeated = v1::UpdateInstanceRequest { precondition: None, ..request.clone() };
        let call = Call::new(&who, &key, "UpdateInstance", &repeated).map_err(failed)?;
        let plan = |cluster: &_, context: &_| {
            let update = app::instance::update(cluster, &request, context)?;
            let needs_restart = update.needs_restart.iter().map(|field| field.path().to_owned()).collect();
            Ok(Plan { needs_restart, ..update.plan })
        };
        let done = self.committer.commit(&call, plan).await.map_err(failed)?;
        let (instance, operation) = self.instance_and_operation(&done).map_err(failed)?;
        let effect = if done.needs_restart.is_empty() {
            v1::UpdateEffect::Applied
        } else {
            v1::UpdateEffect::NeedsRestart
        };
        Ok(Response::new(v1::UpdateInstanceResponse {
            instance,
            operation: Some(operation),
            effect: effect.into(),
            needs_restart: done.needs_restart,
        }))
    }

    async fn delete_instance(
        &self,
        request: Request<v1::DeleteInstanceRequest>,
    ) -> Result<Response<v1::DeleteInstanceResponse>, Status> {
        let who = principal(&request)?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&who, &key, "DeleteInstance", &request).map_err(failed)?;
        let plan = |cluster: &_, context: &_| app::instance::delete(cluster, &request, context);
        let done = self.committer.commit(&call, plan).await.map_err(failed)?;
        let cluster = self.follower.cluster();
        let operation = app::operation::find(&cluster, &done.operation.to_string()).map_err(failed)?;
        Ok(Response::new(v1::DeleteInstanceResponse { operation: Some(views::operation(operation)) }))
    }

    async fn start_instance(
        &self,
        request: Request<v1::StartInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        verb!(self, "StartInstance", request, |_: &v1::StartInstanceRequest| Verb::Start)
    }

    async fn stop_instance(
        &self,
        request: Request<v1::StopInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        let who = principal(&request)?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&who, &key, "StopInstance", &request).map_err(failed)?;
        let act = Act {
            instance: &request.instance,
            project: &request.project,
            request: if request.force { Verb::ForceStop } else { Verb::Stop },
            timeout: (request.timeout_ms != 0).then(|| Duration::from_millis(request.timeout_ms)),
            precondition: request.precondition.as_ref(),
        };
        self.act(&call, act).await
    }

    async fn restart_instance(
        &self,
        request: Request<v1::RestartInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        let verb = |request: &v1::RestartInstanceRequest| {
            if request.force { Verb::ForceRestart } else { Verb::Restart }
        };
        verb!(self, "RestartInstance", request, verb)
    }

    async fn pause_instance(
        &self,
        request: Request<v1::PauseInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        verb!(self, "PauseInstance", request, |_: &v1::PauseInstanceRequest| Verb::Pause)
    }

    async fn resume_instance(
        &self,
        request: Request<v1::ResumeInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        verb!(self, "ResumeInstance", request, |_: &v1::ResumeInstanceRequest| Verb::Resume)
    }

    async fn get_instance_stats(
        &self,
        request: Request<v1::GetInstanceStatsRequest>,
    ) -> Result<Response<v1::InstanceStats>, Status> {
        let request = request.into_inner();
        let entry = self.find(&request.project, &request.instance).map_err(failed)?;
        decide(&entry.instance, Verb::Stats).map_err(failed)?;
        let placement = entry.instance.placement.ok_or_else(|| {
            failed(
                Error::new(ErrorKind::FailedPrecondition, "the instance is on no node")
                    .with_uid(entry.instance.id),
            )
        })?;
        let stats = self.brain.stats(placement.node, entry.instance.id.to_string()).await.map_err(failed)?;
        Ok(Response::new(stats))
    }

    type WatchInstancesStream = Answers<v1::InstanceChange>;

    async fn watch_instances(
        &self,
        request: Request<v1::WatchInstancesRequest>,
    ) -> Result<Response<Self::WatchInstancesStream>, Status> {
        let request = request.into_inner();
        self.check_incarnation(request.after_revision, &request.incarnation)?;
        let filter = {
            let selector = Selector::parse("label_selector", &request.label_selector).map_err(failed)?;
            let project = match request.project.as_str() {
                "" => None,
                text => Some(project_from("project", text).map_err(failed)?),
            };
            let only = match request.instance.as_str() {
                "" => None,
                reference => Some(self.find(&request.project, reference).map_err(failed)?.instance.id),
            };
            Filter { selector, project, only }
        };
        let (present, from) = {
            let cluster = self.follower.cluster();
            let revision = cluster.revision();
            let present: Vec<_> = if request.after_revision == 0 {
                let shown = cluster.instances().values().filter(|entry| filter.shows(entry));
                let added = |entry: &Arc<InstanceEntry>| {
                    Ok(v1::InstanceChange {
                        kind: v1::ChangeKind::Added.into(),
                        instance: Some(views::instance(&cluster, entry)),
                        revision: revision.0,
                    })
                };
                let progress = v1::InstanceChange {
                    kind: v1::ChangeKind::Progress.into(),
                    instance: None,
                    revision: revision.0,
                };
                shown.map(added).chain([Ok(progress)]).collect()
            } else {
                Vec::new()
            };
            (present, if request.after_revision == 0 { revision } else { Revision(request.after_revision) })
        };
        let api = self.clone();
        let changes = self.changes(from)?.map(move |batch| {
            let batch = batch?;
            let cluster = api.follower.cluster();
            let shows = |object: &Object| matches!(object, Object::Instance(entry) if filter.shows(entry));
            let one = |change: &Arc<Change>| {
                let Object::Instance(entry) = &change.object else { return None };
                Some(v1::InstanceChange {
                    kind: views::change(change, shows)?.into(),
                    instance: Some(views::instance(&cluster, entry)),
                    revision: change.revision.0,
                })
            };
            Ok::<_, Status>(batch.iter().filter_map(one).collect::<Vec<_>>())
        });
        Ok(Response::new(
            self.until_stop(futures::stream::iter(present).chain(super::event::flatten(changes))),
        ))
    }

    type AttachConsoleStream = Answers<v1::ConsoleOutput>;

    async fn attach_console(
        &self,
        request: Request<Streaming<v1::ConsoleInput>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        self.open_console(request.into_inner()).await
    }

    async fn explain_instance(
        &self,
        request: Request<v1::ExplainInstanceRequest>,
    ) -> Result<Response<v1::ExplainInstanceResponse>, Status> {
        let request = request.into_inner();
        let project = project_from("project", &request.project).map_err(failed)?;
        let cluster = self.follower.cluster();
        let entry = cluster.find_instance(&project, &request.instance).map_err(failed)?;
        let decision = scheduled(&cluster, entry, &BTreeMap::new()).map_err(failed)?;
        let placed = entry.instance.placement.and_then(|placement| cluster.nodes().get(&placement.node));
        let node_name = placed.map(|node| node.node.metadata.name.to_string()).unwrap_or_default();
        let spec = &entry.instance.spec;
        let summary = match (cluster.missing(entry), placed) {
            (Some(Missing::Waits), _) => cluster.awaits_report(&entry.instance),
            (_, Some(_)) => format!("it is on {node_name}; were it placed now: {}", decision.summary),
            (_, None) if spec.run_state == RunState::Stopped => {
                format!("it is stopped, and on no node until it is started: {}", decision.summary)
            }
            (_, None) => decision.summary,
        };
        let verdict = |verdict: scheduler::Verdict| v1::NodeVerdict {
            feasible: verdict.is_feasible(),
            score: if verdict.is_feasible() { verdict.score } else { 0.0 },
            reasons: if verdict.is_feasible() { verdict.reasons } else { verdict.why_not() },
            node_name: verdict.name,
        };
        let verdicts = decision.verdicts.into_iter().map(verdict).collect();
        Ok(Response::new(v1::ExplainInstanceResponse { node_name, summary, verdicts }))
    }
}

struct Filter {
    selector: Selector,
    project: Option<Name>,
    only: Option<InstanceId>,
}

impl Filter {
    fn shows(&self, entry: &InstanceEntry) -> bool {
        let instance = &entry.instance;
        self.only.is_none_or(|id| id == instance.id)
            && self.project.as_ref().is_none_or(|project| *project == instance.metadata.project)
            && self.selector.matches(&instance.metadata.labels)
    }
}

//! OperationService.

use super::{Api, failed, page, principal, views};
use crate::app;
use hv_api::convert::{operation_phase_from, project_from};
use hv_api::v1;
use hv_api::v1::operation_service_server::OperationService;
use hv_core::operation::Target;
use hv_core::{Error, ErrorKind};
use std::time::Duration;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl OperationService for Api {
    async fn get_operation(
        &self,
        request: Request<v1::GetOperationRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        let cluster = self.follower.cluster();
        let entry = app::operation::find(&cluster, &request.get_ref().operation).map_err(failed)?;
        Ok(Response::new(views::operation(entry)))
    }

    async fn list_operations(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsResponse>, Status> {
        let request = request.into_inner();
        let phase = operation_phase_from("phase", request.phase).map_err(failed)?;
        let project = match request.project.as_str() {
            "" => None,
            text => Some(project_from("project", text).map_err(failed)?),
        };
        let cluster = self.follower.cluster();
        let wanted = cluster
            .operations()
            .values()
            .rev()
            .filter(|entry| phase.is_none_or(|phase| entry.operation.phase == phase))
            .filter(|entry| project.as_ref().is_none_or(|project| entry.operation.project == *project))
            .filter(|entry| {
                request.target_uid.is_empty()
                    || match entry.operation.target {
                        Target::Instance(id) => id.to_string() == request.target_uid,
                        Target::Node(id) => id.to_string() == request.target_uid,
                    }
            })
            // Newest first: the page's order is that of the complement.
            .map(|entry| (complement(&entry.operation.id.to_string()), views::operation(entry)));
        let (operations, next_token) = page::cut(request.page.as_ref(), wanted).map_err(failed)?;
        let page = v1::PageInfo { next_token, revision: cluster.revision().0 };
        Ok(Response::new(v1::ListOperationsResponse { operations, page: Some(page) }))
    }

    async fn wait_operation(
        &self,
        request: Request<v1::WaitOperationRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        let request = request.into_inner();
        let wait = async {
            loop {
                let (found, revision) = {
                    let cluster = self.follower.cluster();
                    let found = app::operation::find(&cluster, &request.operation).cloned();
                    (found, cluster.revision())
                };
                let entry = found?;
                if entry.operation.phase.is_final() {
                    return Ok(entry);
                }
                self.follower.reached(revision.next()).await;
            }
        };
        let stop = self.tasks.stop_token();
        let limit = match request.timeout_ms {
            0 => Duration::MAX,
            ms => Duration::from_millis(ms),
        };
        tokio::select! {
            ended = wait => ended.map(|entry| Response::new(views::operation(&entry))).map_err(failed),
            () = tokio::time::sleep(limit) => {
                let cluster = self.follower.cluster();
                let entry = app::operation::find(&cluster, &request.operation).map_err(failed)?;
                Ok(Response::new(views::operation(entry)))
            }
            () = stop.cancelled() => {
                let error = Error::new(ErrorKind::Unavailable, "the server is stopping; the operation goes on");
                Err(failed(error.with_hint("wait for it again")))
            }
        }
    }

    async fn cancel_operation(
        &self,
        request: Request<v1::CancelOperationRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        let who = principal(&request)?;
        let request = request.into_inner();
        let plan = |cluster: &_, context: &_| app::operation::cancel(cluster, &request.operation, context);
        let id = self.committer.commit_plain(&who, plan).await.map_err(failed)?;
        let cluster = self.follower.cluster();
        let entry = app::operation::find(&cluster, &id.to_string()).map_err(failed)?;
        Ok(Response::new(views::operation(entry)))
    }
}

/// Turns the order of uids round.
fn complement(uid: &str) -> String {
    uid.chars()
        .map(|c| match c.to_digit(16) {
            Some(digit) => char::from_digit(15 - digit, 16).unwrap_or(c),
            None => c,
        })
        .collect()
}

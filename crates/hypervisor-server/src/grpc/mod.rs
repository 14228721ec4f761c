//! The API's front: reads requests, asks the application, writes answers. Nothing is decided here.

mod agent;
pub mod alpha;
mod cluster;
mod compute;
mod console;
mod event;
mod operation;
mod page;
mod parts;
mod views;

use crate::app::Committer;
use crate::auth::Principal;
use crate::brain::Brain;
use crate::state::Follower;
use futures::Stream;
use hv_api::status::to_status;
use hv_api::v1;
use hv_core::Error;
use hv_runtime::tasks::Tasks;
use std::pin::Pin;
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_web::GrpcWebLayer;
use tower::Layer;

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What all services share.
#[derive(Clone)]
pub struct Api {
    /// The followed store.
    pub follower: Follower,
    /// Records intent.
    pub committer: Committer,
    /// Owns the agents' sessions.
    pub brain: Brain,
    /// Identity of the cluster.
    pub identity: crate::Identity,
    /// The server's tasks; streams end when they are told to stop.
    pub tasks: Tasks,
}

/// All services, with reflection and health, for gRPC and gRPC-Web.
pub fn routes(api: &Api) -> Result<axum::Router, tonic_reflection::server::Error> {
    let web = GrpcWebLayer::new();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(hv_api::DESCRIPTORS)
        .build_v1()?;
    let (health, health_service) = tonic_health::server::health_reporter();
    drop(health);
    let mut routes = Routes::builder();
    routes
        .add_service(web.layer(v1::cluster_service_server::ClusterServiceServer::new(api.clone())))
        .add_service(web.layer(v1::compute_service_server::ComputeServiceServer::new(api.clone())))
        .add_service(web.layer(v1::operation_service_server::OperationServiceServer::new(api.clone())))
        .add_service(web.layer(v1::event_service_server::EventServiceServer::new(api.clone())))
        .add_service(v1::agent_service_server::AgentServiceServer::new(api.clone()))
        .add_service(web.layer(reflection))
        .add_service(web.layer(health_service));
    Ok(routes.routes().into_axum_router().merge(alpha::router()))
}

fn failed(error: Error) -> Status {
    to_status(&error)
}

/// Who asks. The authentication layer puts it there before any service is reached.
fn principal<T>(request: &Request<T>) -> Result<String, Status> {
    let principal = request.extensions().get::<Principal>();
    principal.map(|principal| principal.0.clone()).ok_or_else(|| Status::unauthenticated("no principal"))
}

//! Services that are defined and not served yet: every call answers UNIMPLEMENTED and says what will bring it.

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use hv_api::status::to_status;
use hv_core::{Error, ErrorKind};
use tonic::body::Body;

/// The services, and the capability that brings each.
pub const SERVICES: [(&str, &str); 3] = [
    ("ImageService", "the image store"),
    ("NetworkService", "software-defined networking"),
    ("StorageService", "volumes and snapshots"),
];

/// Answers for all of them.
pub(super) fn router() -> Router {
    SERVICES.iter().fold(Router::new(), |router, (service, capability)| {
        let path = format!("/hypervisor.v1alpha.{service}/{{rpc}}");
        let answer = move |Path(rpc): Path<String>| async move {
            let message = format!("{service}.{rpc} is not served yet; it comes with {capability}");
            to_status(&Error::new(ErrorKind::Unsupported, message))
                .into_http::<Body>()
                .map(axum::body::Body::new)
        };
        router.route(&path, post(answer))
    })
}

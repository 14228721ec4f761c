//! The API has a place for every call of its ancestor; reflection, health and gRPC-Web answer.
#![cfg(test)]

use http::uri::PathAndQuery;
use hv_client::{Dialer, ServerAddr};
use hypervisor::local::{Layout, start_server};
use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::codegen::InterceptedService;

const TABLE: &str = include_str!("../../../docs/protocols/api-coverage.md");

/// Rows of the table: call, place, state.
fn rows() -> Vec<[String; 3]> {
    let cells = |line: &str| {
        let mut cells =
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        [cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap()]
    };
    TABLE.lines().filter(|line| line.starts_with("| ") && line.contains('`')).map(cells).collect()
}

/// Every `service.method` and every `message.field` of the compiled API.
fn places() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(hv_api::DESCRIPTORS).unwrap();
    let mut places = BTreeSet::new();
    for file in &files.file {
        let package = file.package().trim_start_matches("hypervisor.").to_owned();
        for service in &file.service {
            places.extend(
                service.method.iter().map(|method| format!("{package}.{}.{}", service.name(), method.name())),
            );
        }
        for message in &file.message_type {
            places.extend(
                message.field.iter().map(|field| format!("{package}.{}.{}", message.name(), field.name())),
            );
        }
    }
    places
}

#[test]
fn every_call_of_the_ancestor_has_its_place() {
    let (rows, places) = (rows(), places());
    let calls: BTreeSet<_> = rows.iter().map(|[call, ..]| call).collect();
    assert_eq!((rows.len(), calls.len()), (79, 79));
    for [call, place, _] in &rows {
        assert!(places.contains(place), "{call}: there is no {place}");
    }
    let alpha: BTreeSet<_> =
        rows.iter().map(|[_, place, _]| place).filter(|p| p.starts_with("v1alpha.")).collect();
    let defined: BTreeSet<_> =
        places.iter().filter(|p| p.contains("Service.") && p.starts_with("v1alpha.")).collect();
    assert_eq!(alpha, defined, "v1alpha has these calls and no others");
}

#[tokio::test]
async fn what_is_not_served_says_its_name_and_what_brings_it() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout(dir.path().to_owned());
    let server = start_server(&layout.server_config("")).await.unwrap();
    let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
    let channel = InterceptedService::new(dialer.dial().await.unwrap(), dialer.bearer());
    let mut grpc = tonic::client::Grpc::new(channel);
    let mut asked = 0;
    for [_, place, capability] in rows() {
        let Some(call) = place.strip_prefix("v1alpha.") else { continue };
        let path: PathAndQuery = format!("/hypervisor.v1alpha.{}", call.replace('.', "/")).parse().unwrap();
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let status = grpc.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{call}");
        assert!(
            status.message().contains(call) && status.message().contains(&capability),
            "{}",
            status.message()
        );
        asked += 1;
    }
    assert_eq!(asked, 52);
    drop(grpc);
    server.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn reflection_and_health_answer() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout(dir.path().to_owned());
    let server = start_server(&layout.server_config("")).await.unwrap();
    let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
    let channel = dialer.dial().await.unwrap();
    let mut health = HealthClient::with_interceptor(channel.clone(), dialer.bearer());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let mut reflection = ServerReflectionClient::with_interceptor(channel, dialer.bearer());
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        reflection.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("a list of services")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for wanted in ["hypervisor.v1.ComputeService", "hypervisor.v1alpha.NetworkService"] {
        assert!(names.contains(&wanted), "{names:?}");
    }
    drop((health, reflection, answers));
    server.drain(Duration::from_secs(5)).await.unwrap();
}

/// As a browser would call: HTTP/1.1, gRPC-Web framing; written out byte by byte, so that nothing of ours is on that side.
#[tokio::test]
async fn grpc_web_answers_over_http_1() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout(dir.path().to_owned());
    let server = start_server(&layout.server_config("127.0.0.1:0")).await.unwrap();
    let token = std::fs::read_to_string(layout.token()).unwrap();
    let call = async |origin: &str| {
        let mut stream = tokio::net::TcpStream::connect(server.addr.unwrap()).await.unwrap();
        let head = format!(
            "POST /hypervisor.v1.ClusterService/GetClusterInfo HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 5\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[0; 5]).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = call("http://localhost:8080").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("local") && answer.contains("grpc-status:0"), "{answer}");
    let refused = call("https://evil.example").await;
    assert!(refused.contains("grpc-status: 7"), "{refused}");
    server.drain(Duration::from_secs(5)).await.unwrap();
}

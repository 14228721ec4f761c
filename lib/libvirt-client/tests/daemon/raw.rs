//! Calls without a handle.

use crate::support::Daemon;
use libvirt_client::protocol::remote::{DomainGetXmlDescArgs, DomainLookupByNameArgs, DomainScreenshotArgs};
use libvirt_client::{Piece, raw};

#[tokio::test]
async fn every_call_has_a_function_of_its_name() {
    let Some(daemon) = Daemon::start("every_call_has_a_function_of_its_name") else { return };
    let connect = daemon.test().await;
    assert_eq!(raw::connect::get_type(&connect).await.unwrap().result().unwrap().kind, "TEST");
    let args = DomainLookupByNameArgs { name: "test".into() };
    let reply = raw::domain::lookup_by_name(&connect, &args).await.unwrap();
    let dom = reply.result().unwrap().dom;
    let args = DomainGetXmlDescArgs { dom: dom.clone(), ..Default::default() };
    let reply = raw::domain::get_xml_desc(&connect, &args).await.unwrap();
    assert!(reply.result().unwrap().xml.to_string().contains("<domain type='test'"));
    let args = DomainScreenshotArgs { dom, ..Default::default() };
    let (reply, mut stream) = raw::domain::screenshot(&connect, &args).await.unwrap();
    assert_eq!(reply.result().unwrap().mime.unwrap(), "image/png");
    let Some(Piece::Data(first)) = stream.receive().await.unwrap() else { panic!("no picture") };
    assert!(first.starts_with(b"\x89PNG"));
    while stream.receive().await.unwrap().is_some() {}
    stream.finish().await.unwrap();
}

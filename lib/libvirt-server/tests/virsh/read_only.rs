//! Who connects to look only is refused everything else, on both alike. virsh refuses by itself, so our own client asks.

use crate::daemon::{self, Libvirtd, OurServer};
use crate::running::run;
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{remote, types};
use libvirt_client::{Connect, Error, Refusal};
use std::path::Path;

async fn refused<P: Procedure>(connect: &Connect, args: &P::Args<'_>) -> Option<Refusal> {
    by_the_daemon(connect.call::<P>(args).await)
}

fn by_the_daemon<T>(answer: Result<T, Error>) -> Option<Refusal> {
    answer.err().map(|error| error.refusal().expect("the daemon refuses, nobody else").clone())
}

/// What is refused of some calls.
async fn refusals(socket: &Path) -> Vec<Option<Refusal>> {
    let uri = format!("test+unix:///default?socket={}", socket.display());
    let connect = Connect::builder(&uri).read_only().open_with(run).await.unwrap();
    let domain = connect.domain_by_name("test").await.unwrap();
    let dom = types::Domain { name: "test".into(), uuid: domain.uuid(), id: 1 };
    let xml = remote::DomainDefineXmlArgs { xml: "<domain/>".into() };
    let screenshot = remote::DomainScreenshotArgs { dom: dom.clone(), ..Default::default() };
    vec![
        refused::<remote::DomainGetInfo>(&connect, &remote::DomainGetInfoArgs { dom: dom.clone() }).await,
        refused::<remote::DomainSuspend>(&connect, &remote::DomainSuspendArgs { dom: dom.clone() }).await,
        refused::<remote::DomainDefineXml>(&connect, &xml).await,
        by_the_daemon(connect.open_stream::<remote::DomainScreenshot>(&screenshot).await),
        refused::<remote::ConnectListAllNetworks>(&connect, &Default::default()).await,
        refused::<remote::InterfaceChangeBegin>(&connect, &Default::default()).await,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_only_looks_is_refused_alike() {
    if daemon::is_missing("who_only_looks_is_refused_alike") {
        return;
    }
    let real = Libvirtd::start();
    let theirs = refusals(&real.socket()).await;
    let server = tokio::task::spawn_blocking(OurServer::start).await.unwrap();
    let ours = refusals(server.socket()).await;
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
    assert_eq!(ours, theirs);
    assert_eq!(theirs.iter().flatten().count(), 4, "{theirs:?}");
}

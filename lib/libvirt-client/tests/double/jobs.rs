//! Jobs on disks, and what is told of their ends.

use crate::mortal::{Back, Mortal};
use libvirt_client::protocol::flags::{DomainBlockCopyFlags, DomainBlockJobAbortFlags};
use libvirt_client::transport::Privacy;
use libvirt_client::{BlockJobState, Connect, Domain, ErrorKind, Options, Params, Reconnect};
use libvirt_server::{Handle, Scope, Server};
use std::time::Duration;

const GUEST: &str = "<domain type='test'><name>d</name><memory>1</memory><os><type>hvm</type></os><devices>\
    <disk type='file' device='disk'><source file='/images/a'/><target dev='vda' bus='virtio'/></disk>\
    <disk type='file' device='disk'><source file='/images/b'/><target dev='vdb' bus='virtio'/></disk>\
    </devices></domain>";

async fn direct(handle: &Handle) -> Connect {
    let transport = super::end(handle, Privacy::Private);
    let options = Options { keepalive: None, ..Options::default() };
    Connect::builder("").options(options).open_on("test:///default", transport, super::run).await.unwrap()
}

async fn guest(connect: &Connect) -> Domain {
    connect.create_domain(GUEST, Default::default()).await.unwrap()
}

#[tokio::test]
async fn a_disk_that_is_named_by_its_file_is_waited_for_too() {
    let connect = direct(&super::start(Server::builder().scope(Scope::Complete))).await;
    let guest = guest(&connect).await;
    for disk in ["/images/b", "vdb"] {
        let mut job = guest.block_pull(disk, Default::default(), Default::default()).await.unwrap();
        assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed, "{disk}");
    }
    // The file is another one at its end; the disk is the same.
    let copy = "<disk type='file'><source file='/images/c'/></disk>";
    let none = Params::new();
    let mut job = guest.block_copy("/images/b", copy, &none, DomainBlockCopyFlags::empty()).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
    job.abort(DomainBlockJobAbortFlags::PIVOT).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
    assert!(job.progress().await.unwrap().is_none());
    let error = guest.block_pull("/images/none", Default::default(), Default::default()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Misuse(_)), "{error}");
}

#[tokio::test]
async fn a_job_whose_end_nobody_has_seen_is_not_called_complete() {
    let slow = Server::builder().scope(Scope::Complete).job_duration(Duration::from_secs(3600));
    let handle = super::start(slow.clock(|| Duration::from_secs(1_000_000)));
    let mortal = Mortal::new(handle.clone(), None, Back::AtOnce);
    let policy = Reconnect { pause: Duration::from_millis(300), ..Reconnect::default() };
    let connect = Connect::builder(&mortal.uri()).reconnect(policy).open_with(super::run).await.unwrap();
    let beside = direct(&handle).await;
    let guest = guest(&connect).await;
    let mut job = guest.block_pull("vda", Default::default(), Default::default()).await.unwrap();
    mortal.kill();
    while connect.connection().is_ok() {
        tokio::task::yield_now().await;
    }
    // Somebody else gives it up, before we are back.
    let args = libvirt_client::protocol::remote::DomainBlockJobAbortArgs {
        dom: guest.wire(),
        path: "vda".into(),
        ..Default::default()
    };
    beside.call::<libvirt_client::protocol::remote::DomainBlockJobAbort>(&args).await.unwrap();
    let error = job.wait().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Job(_)), "{error}");
    assert!(error.to_string().contains("not known"), "{error}");
}

//! A daemon that is older than a call.

use libvirt_client::protocol::procedure::{Procedure, Release};
use libvirt_client::protocol::{lxc, qemu};
use libvirt_client::transport::Privacy;
use libvirt_client::{Connect, Error, ErrorKind};
use libvirt_server::Server;

fn since(error: &Error) -> Option<Release> {
    match error.kind() {
        ErrorKind::Unsupported { since, .. } => Some(*since),
        _ => None,
    }
}

#[tokio::test]
async fn calls_of_every_program_wait_for_no_daemon_that_is_too_old() {
    let open = |version| async move {
        let handle = super::start(Server::builder().version(version));
        let transport = super::end(&handle, Privacy::Private);
        let connect = Connect::builder("test:///default").open_on(transport, super::run).await.unwrap();
        (handle, connect)
    };
    let (_old, connect) = open(Release(0, 9, 0)).await;
    let error = connect.call::<qemu::DomainMonitorCommandWithFiles>(&Default::default()).await.unwrap_err();
    assert_eq!(since(&error), Some(qemu::DomainMonitorCommandWithFiles::INFO.since));
    let error = connect.call::<lxc::DomainOpenNamespace>(&Default::default()).await.unwrap_err();
    assert_eq!(since(&error), Some(lxc::DomainOpenNamespace::INFO.since));
    // One that is young enough says itself what it thinks of it.
    let (_young, connect) = open(Release(9, 0, 0)).await;
    let error = connect.call::<qemu::DomainMonitorCommandWithFiles>(&Default::default()).await.unwrap_err();
    assert!(error.refusal().is_some(), "{error}");
}

//! A daemon that is older than a call.

use libvirt_client::protocol::procedure::{Procedure, Release};
use libvirt_client::protocol::{lxc, qemu};
use libvirt_client::transport::{Privacy, Stream};
use libvirt_client::{Connect, Error, ErrorKind, Options};
use libvirt_server::{Handle, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split};

fn since(error: &Error) -> Option<Release> {
    match error.kind() {
        ErrorKind::Unsupported { since, .. } => Some(*since),
        _ => None,
    }
}

/// Our end of a connection, and how many bytes have gone from it to the server.
fn counted(handle: &Handle) -> (Stream<DuplexStream>, Arc<AtomicUsize>) {
    let ((ours, near), (far, theirs)) = (duplex(65_536), duplex(65_536));
    handle.attach(Stream::new(theirs, Privacy::Private));
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    super::run(async move {
        let ((mut from, mut back), (mut answers, mut to)) = (split(near), split(far));
        let forth = async {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut bytes).await {
                count.fetch_add(length, Ordering::SeqCst);
                to.write_all(&bytes[..length]).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        tokio::try_join!(forth, copy(&mut answers, &mut back)).is_ok()
    });
    (Stream::new(ours, Privacy::Private), sent)
}

#[tokio::test]
async fn calls_of_every_program_wait_for_no_daemon_that_is_too_old() {
    let open = |version| async move {
        let handle = super::start(Server::builder().version(version));
        let (transport, sent) = counted(&handle);
        // Nothing is sent but for a call.
        let options = Options { keepalive: None, ..Options::default() };
        let builder = Connect::builder("test:///default").options(options);
        (builder.open_on(transport, super::run).await.unwrap(), sent)
    };
    let (connect, sent) = open(Release(0, 9, 0)).await;
    let so_far = async || {
        // What was sent before it has arrived with it.
        connect.hostname().await.unwrap();
        sent.load(Ordering::SeqCst)
    };
    let (first, second) = (so_far().await, so_far().await);
    assert!(second > first, "a call is heard");
    let error = connect.call::<qemu::DomainMonitorCommandWithFiles>(&Default::default()).await.unwrap_err();
    assert_eq!(since(&error), Some(qemu::DomainMonitorCommandWithFiles::INFO.since));
    let error = connect.call::<lxc::DomainOpenNamespace>(&Default::default()).await.unwrap_err();
    assert_eq!(since(&error), Some(lxc::DomainOpenNamespace::INFO.since));
    assert_eq!(so_far().await - second, second - first, "the daemon hears of none of them");
    // One that is young enough says itself what it thinks of it.
    let (connect, _) = open(Release(9, 0, 0)).await;
    let error = connect.call::<qemu::DomainMonitorCommandWithFiles>(&Default::default()).await.unwrap_err();
    assert!(error.refusal().is_some(), "{error}");
}

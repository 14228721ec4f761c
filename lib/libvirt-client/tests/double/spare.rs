//! The connection that one stream leaves to the next: through ssh each is a login.

use crate::mortal::{Back, Mortal};
use libvirt_client::protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_client::protocol::event::Kind;
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote::{DomainGetInfo, DomainScreenshot, StorageVolDownload};
use libvirt_client::transport::Unix;
use libvirt_client::{ByteStream, Connect, Item, Reconnect, StorageVol};
use libvirt_server::{Handle, Scope, Server};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;

fn server() -> Handle {
    super::start(Server::builder().scope(Scope::Complete))
}

async fn volume(connect: &Connect) -> StorageVol {
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let xml = "<volume><name>v</name><capacity>4096</capacity></volume>";
    pool.create_volume(xml, Default::default()).await.unwrap()
}

/// A handle, what its connections go through, and a volume.
async fn opened() -> (Mortal, Connect, StorageVol) {
    let mortal = Mortal::new(server(), Back::Never);
    let connect = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    let volume = volume(&connect).await;
    (mortal, connect, volume)
}

/// On which connection a procedure was called last.
fn connection_of<P: Procedure>(mortal: &Mortal) -> usize {
    mortal.sequence().iter().rfind(|(_, number, _)| *number == P::INFO.number).unwrap().0
}

/// A stream, and its connection.
async fn begun(mortal: &Mortal, volume: &StorageVol) -> (ByteStream, usize) {
    let down = volume.download(.., Default::default()).await.unwrap();
    (down, connection_of::<StorageVolDownload>(mortal))
}

#[tokio::test]
async fn a_stream_that_ended_well_leaves_its_connection_to_the_next() {
    let (mortal, connect, volume) = opened().await;
    let (down, first) = begun(&mortal, &volume).await;
    let (other, second) = begun(&mortal, &volume).await;
    assert_ne!(first, second, "two at one time");
    down.finish().await.unwrap();
    // Who reads to the end of what a daemon has, has finished it.
    let (mut down, again) = begun(&mortal, &volume).await;
    assert_eq!(again, first);
    assert_eq!(down.read_to_end(&mut Vec::new()).await.unwrap(), 4096);
    drop(down);
    // Not before both halves are gone.
    let (down, again) = begun(&mortal, &volume).await;
    assert_eq!(again, first);
    let (reader, writer) = down.split();
    writer.finish().await.unwrap();
    let (down, third) = begun(&mortal, &volume).await;
    assert_ne!(third, first);
    drop(reader);
    // Of two that are left the later is kept.
    down.finish().await.unwrap();
    let (down, again) = begun(&mortal, &volume).await;
    assert_eq!(again, third);
    // Of what is broken off something may still be on its way.
    down.abort();
    let (down, fourth) = begun(&mortal, &volume).await;
    assert!(![first, second, third].contains(&fourth));
    // One that outlives its handle ends with itself, and leaves nothing.
    connect.close().await.unwrap();
    down.finish().await.unwrap();
    other.finish().await.unwrap();
    mortal.alone().await;
}

#[tokio::test]
async fn a_stream_that_is_refused_leaves_its_connection_too() {
    let (mortal, connect, volume) = opened().await;
    let guest = connect.domain_by_name("test").await.unwrap();
    mortal.refuse::<DomainScreenshot>(ErrorDomain::Qemu, ErrorNumber::OperationInvalid);
    assert!(guest.screenshot(0).await.unwrap_err().refusal().is_some());
    let (down, on) = begun(&mortal, &volume).await;
    assert_eq!(on, connection_of::<DomainScreenshot>(&mortal));
    down.finish().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_kept_ends_with_its_handle() {
    let (mortal, connect, volume) = opened().await;
    let (kept, _) = begun(&mortal, &volume).await;
    let (later, _) = begun(&mortal, &volume).await;
    let (last, _) = begun(&mortal, &volume).await;
    kept.finish().await.unwrap();
    drop((connect, volume));
    // Streams that are open go on.
    mortal.left_with(2).await;
    later.finish().await.unwrap();
    mortal.left_with(1).await;
    last.finish().await.unwrap();
    mortal.alone().await;
}

/// A handle, and what its first connection and all its others go through to the same server.
async fn apart(back: Back) -> (Connect, Mortal, Mortal) {
    let handle = server();
    let (first, others) = (Mortal::new(handle.clone(), Back::Never), Mortal::new(handle, back));
    let (to_first, to_others, dialled) = (first.socket(), others.socket(), AtomicUsize::new(0));
    let dial = move || {
        let is_first = dialled.fetch_add(1, Ordering::SeqCst) == 0;
        let socket = if is_first { to_first.clone() } else { to_others.clone() };
        async move { Unix::connect(&socket).await }
    };
    let policy = Reconnect { pause: Duration::from_millis(1), ..Reconnect::default() };
    let builder = Connect::builder("test:///default").dial(dial).reconnect(policy);
    (builder.open_with(super::run).await.unwrap(), first, others)
}

#[tokio::test]
async fn a_connection_that_was_lost_meanwhile_is_not_taken() {
    let (connect, _first, others) = apart(Back::AtOnce).await;
    let volume = volume(&connect).await;
    let (down, before) = begun(&others, &volume).await;
    down.finish().await.unwrap();
    others.kill();
    // The client has seen it.
    others.alone().await;
    let (down, after) = begun(&others, &volume).await;
    assert_ne!(after, before);
    down.finish().await.unwrap();
}

/// Whatever took the first connection may have taken the others, which do not know it yet.
#[tokio::test]
async fn what_was_there_before_the_first_connection_was_made_again_is_not_used_any_more() {
    let (connect, first, others) = apart(Back::Never).await;
    let mut events = connect.subscribe(Kind::DomainReboot).await.unwrap();
    let volume = volume(&connect).await;
    let guest = connect.domain_by_name("test").await.unwrap();
    let used = async || {
        guest.info().await.unwrap();
        let (down, stream) = begun(&others, &volume).await;
        down.finish().await.unwrap();
        [connection_of::<DomainGetInfo>(&others), stream]
    };
    let before = used().await;
    assert_eq!(used().await, before);
    first.kill();
    assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
    let after = used().await;
    assert!(after.iter().all(|on| !before.contains(on)), "{before:?} {after:?}");
}

//! A connection that is lost: who waits, who does not, and what is told.

use crate::mortal::{Back, Mortal};
use futures::FutureExt;
use libvirt_client::protocol::event::Kind;
use libvirt_client::protocol::flags::DomainConsoleFlags;
use libvirt_client::protocol::remote::ConnectGetHostname;
use libvirt_client::transport::Privacy;
use libvirt_client::{Connect, Domain, ErrorKind, Item, Reconnect, Subscription};
use libvirt_server::{Handle, Scope, Server};
use std::time::Duration;

fn server() -> Handle {
    super::start(Server::builder().scope(Scope::Complete))
}

/// Comes back only when it is told to.
async fn slowly(mortal: &Mortal) -> Connect {
    let hour = Duration::from_secs(3600);
    let policy = Reconnect { pause: hour, longest: hour, ..Reconnect::default() };
    Connect::builder(&mortal.uri())
        .reconnect(policy)
        .deadline(Duration::from_millis(200))
        .open_with(super::run)
        .await
        .unwrap()
}

async fn quickly(mortal: &Mortal) -> Connect {
    let policy = Reconnect { pause: Duration::from_millis(1), ..Reconnect::default() };
    Connect::builder(&mortal.uri()).reconnect(policy).open_with(super::run).await.unwrap()
}

/// A guest with a console, and a subscription by which the end of the connection is seen.
async fn guest(connect: &Connect) -> (Domain, Subscription) {
    let xml = "<domain type='test'><name>c</name><memory>1</memory><os><type>hvm</type></os>\
               <devices><console type='pty'/></devices></domain>";
    let events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    (connect.create_domain(xml, Default::default()).await.unwrap(), events)
}

/// Waits until the handle has seen that its connection is gone.
async fn seen(connect: &Connect) {
    while connect.is_connected() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_and_streams_wait_for_a_connection_that_is_made_again() {
    let mortal = Mortal::new(server(), Back::AtOnce);
    let connect = slowly(&mortal).await;
    let (guest, _events) = guest(&connect).await;
    mortal.kill();
    seen(&connect).await;
    // Urgent, ordinary and a stream: all wait, and none longer than a call may.
    let late = |error: libvirt_client::Error| assert!(matches!(error.kind(), ErrorKind::Timeout), "{error}");
    late(connect.hostname().await.unwrap_err());
    late(guest.autostart().await.unwrap_err());
    late(connect.allocate_pages(&[4], &[0], 0, 0, Default::default()).await.unwrap_err());
    late(guest.open_console(None, DomainConsoleFlags::empty()).await.unwrap_err());
    late(connect.subscribe(Kind::DomainReboot).await.unwrap_err());
    late(connect.start::<ConnectGetHostname>(&()).await.unwrap_err());
    late(connect.connection().await.map(drop).unwrap_err());
    late(connect.unclaimed_events().await.map(drop).unwrap_err());

    let mortal = Mortal::new(server(), Back::AtOnce);
    let connect = quickly(&mortal).await;
    let (guest, _events) = self::guest(&connect).await;
    mortal.kill();
    seen(&connect).await;
    // The first that is asked for is waited for, whatever it is.
    let mut console = guest.open_console(None, DomainConsoleFlags::empty()).await.unwrap();
    console.send(b"hello").await.unwrap();
    assert!(console.receive().await.unwrap().is_some());
    connect.allocate_pages(&[4], &[0], 0, 0, Default::default()).await.unwrap_err().refusal().unwrap();
    mortal.kill();
    seen(&connect).await;
    let call = connect.start::<ConnectGetHostname>(&()).await.unwrap();
    assert_eq!(call.await.unwrap().result().unwrap().hostname, "localhost");
}

#[tokio::test]
async fn without_a_policy_what_is_lost_is_lost_for_every_call() {
    let mortal = Mortal::new(server(), Back::AtOnce);
    let connect = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    let (guest, mut events) = guest(&connect).await;
    mortal.kill();
    // The daemon is there again at once, but nobody has asked for that.
    while let Ok(item) = events.next().await {
        assert!(matches!(item, Item::Event(_)));
    }
    seen(&connect).await;
    let reasons = [
        connect.hostname().await.unwrap_err(),
        guest.xml(Default::default()).await.unwrap_err(),
        connect.allocate_pages(&[4], &[0], 0, 0, Default::default()).await.unwrap_err(),
        guest.open_console(None, DomainConsoleFlags::empty()).await.unwrap_err(),
        connect.subscribe(Kind::DomainReboot).await.unwrap_err(),
    ];
    for reason in reasons {
        assert!(matches!(reason.kind(), ErrorKind::Closed), "{reason:?}");
    }
}

#[tokio::test]
async fn the_marker_stands_before_what_the_new_connection_brings() {
    let handle = server();
    let mortal = Mortal::new(handle.clone(), Back::AtOnce);
    let connect = quickly(&mortal).await;
    let mut events =
        connect.subscribe_to([Kind::DomainLifecycle.into(), Kind::DomainReboot.into()]).await.unwrap();
    let transport = super::end(&handle, Privacy::Private);
    let beside = Connect::builder("test:///default").open_on(transport, super::run).await.unwrap();
    let test = beside.domain_by_name("test").await.unwrap();
    for _ in 0..20 {
        mortal.kill();
        seen(&connect).await;
        // What the old connection has brought until then.
        while let Some(item) = events.next().now_or_never() {
            assert!(matches!(item, Ok(Item::Event(_))), "{item:?}");
        }
        // Something happens all the time, also between its two registrations.
        loop {
            test.suspend().await.unwrap();
            test.resume().await.unwrap();
            match events.next().now_or_never() {
                Some(Ok(Item::Resynchronised)) => break,
                Some(other) => panic!("{other:?} before the marker"),
                None => {}
            }
        }
        // It may have come before all was registered again.
        while !connect.is_connected() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_handle_that_is_closed_holds_nothing_open() {
    let handle = server();
    let mortal = Mortal::new(handle, Back::AtOnce);
    let connect = quickly(&mortal).await;
    let (guest, mut events) = guest(&connect).await;
    assert!(connect.allocate_pages(&[4], &[0], 0, 0, Default::default()).await.is_err());
    let (_, picture) = guest.screenshot(0).await.unwrap();
    picture.finish().await.unwrap();
    assert_eq!(mortal.connections(), 3, "the first, one for work, and one that a stream has left");
    let clone = connect.clone();
    connect.close().await.unwrap();
    mortal.alone().await;
    // What is left of it is of no use, and is not made again.
    assert!(matches!(clone.hostname().await.unwrap_err().kind(), ErrorKind::Closed));
    assert!(matches!(guest.info().await.unwrap_err().kind(), ErrorKind::Closed));
    while let Ok(item) = events.next().await {
        assert!(matches!(item, Item::Event(_)));
    }
    assert!(matches!(clone.close().await.unwrap_err().kind(), ErrorKind::Closed));
}

#[tokio::test]
async fn a_daemon_that_does_not_hear_of_the_end_delays_it_no_longer_than_a_moment() {
    let mortal = Mortal::new(server(), Back::AtOnce);
    let connect = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    mortal.silence::<libvirt_client::protocol::remote::ConnectClose>(true);
    // From here on nothing else happens, and time goes by at once.
    tokio::time::pause();
    connect.close().await.unwrap();
    mortal.alone().await;
}

#[test]
fn a_connection_is_made_without_an_executor() {
    let (ours, _theirs) = tokio::io::duplex(64);
    let transport = libvirt_client::transport::Stream::new(ours, Privacy::Private);
    let (connection, driver) = libvirt_client::connection(transport, Default::default());
    assert!(connection.closed().is_none());
    drop(driver);
    assert!(matches!(connection.closed().unwrap().kind(), ErrorKind::Closed));
}

#[tokio::test]
async fn an_event_that_cannot_be_understood_is_told_as_lost() {
    let mortal = Mortal::new(server(), Back::AtOnce);
    let connect = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let mut others = connect.subscribe(Kind::DomainReboot).await.unwrap();
    let test = connect.domain_by_name("test").await.unwrap();
    mortal.garble(true);
    test.suspend().await.unwrap();
    assert_eq!(events.next().await.unwrap(), Item::Lagged(1));
    mortal.garble(false);
    test.resume().await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Item::Event(_)));
    assert!(others.next().now_or_never().is_none(), "theirs have other numbers");
}

//! Subscriptions: shared, filtered, ended, and living on over a restart of the daemon.

use crate::secure::port;
use crate::support::{Daemon, Settings, run};
use futures::StreamExt;
use libvirt_client::protocol::enums::{ConnectCloseReason, DomainEventType, NetworkEventLifecycleType};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{DomainDestroyFlags, DomainUndefineFlags};
use libvirt_client::protocol::remote;
use libvirt_client::{Connect, Domain, ErrorKind, Filter, Item, Reconnect, Subscription, raw};
use std::time::Duration;

async fn event(events: &mut Subscription) -> Event<'static> {
    match events.next().await.unwrap() {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

async fn lifecycle(events: &mut Subscription) -> (String, DomainEventType) {
    match event(events).await {
        Event::DomainLifecycle(event) => (event.dom.name.into(), event.event),
        other => panic!("{other:?}"),
    }
}

async fn domain(connect: &Connect, name: &str) -> Domain {
    let xml = format!(
        "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    );
    connect.create_domain(&xml, Default::default()).await.unwrap()
}

#[tokio::test]
async fn two_subscribers_of_one_kind_both_hear_of_it() {
    let Some(daemon) = Daemon::start("two_subscribers_of_one_kind_both_hear_of_it") else { return };
    let connect = daemon.test().await;
    let mut first = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let mut second = connect.clone().subscribe(Kind::DomainLifecycle).await.unwrap();
    let test = connect.domain_by_name("test").await.unwrap();
    test.suspend().await.unwrap();
    for events in [&mut first, &mut second] {
        assert_eq!(lifecycle(events).await, ("test".to_owned(), DomainEventType::Suspended));
    }
    // One that leaves takes nothing from the other.
    drop(first);
    test.resume().await.unwrap();
    assert_eq!(lifecycle(&mut second).await, ("test".to_owned(), DomainEventType::Resumed));
    // The daemon has one registration, number 0, until the last one has left.
    drop(second);
    let mut third = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let args = remote::ConnectDomainEventCallbackDeregisterAnyArgs { callback_id: 0 };
    let error = connect.call::<remote::ConnectDomainEventCallbackDeregisterAny>(&args).await.unwrap_err();
    assert!(error.to_string().contains("domain event callback 0 not registered"), "{error}");
    test.suspend().await.unwrap();
    assert_eq!(lifecycle(&mut third).await, ("test".to_owned(), DomainEventType::Suspended));
}

#[tokio::test]
async fn many_who_come_and_go_at_once_disturb_nobody() {
    let Some(daemon) = Daemon::start("many_who_come_and_go_at_once_disturb_nobody") else { return };
    let connect = daemon.test().await;
    let mut kept = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let connect = connect.clone();
        tasks.spawn(async move {
            for _ in 0..10 {
                for kind in [Kind::DomainLifecycle, Kind::DomainReboot] {
                    connect.subscribe(kind).await.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    connect.domain_by_name("test").await.unwrap().suspend().await.unwrap();
    assert_eq!(lifecycle(&mut kept).await.1, DomainEventType::Suspended);
}

#[tokio::test]
async fn a_filter_lets_one_object_through() {
    let Some(daemon) = Daemon::start("a_filter_lets_one_object_through") else { return };
    let connect = daemon.test().await;
    let (one, other) = (domain(&connect, "one").await, domain(&connect, "other").await);
    let mut all = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let mut filtered = connect.subscribe_to([Filter::domain(Kind::DomainLifecycle, &one)]).await.unwrap();
    other.suspend().await.unwrap();
    one.suspend().await.unwrap();
    assert_eq!(lifecycle(&mut filtered).await, ("one".to_owned(), DomainEventType::Suspended));
    assert_eq!(lifecycle(&mut all).await.0, "other");
    assert_eq!(lifecycle(&mut all).await.0, "one");
    let mismatch = connect.subscribe_to([Filter::domain(Kind::NetworkLifecycle, &one)]).await.unwrap_err();
    assert!(matches!(mismatch.kind(), ErrorKind::Misuse(_)), "{mismatch}");
}

#[tokio::test]
async fn networks_pools_devices_and_secrets_have_filters_too() {
    let Some(daemon) = Daemon::start("networks_pools_devices_and_secrets_have_filters_too") else { return };
    let connect = daemon.test().await;
    let network = connect.network_by_name("default").await.unwrap();
    let other = connect
        .create_network("<network><name>other</name><bridge name='b1'/></network>", Default::default())
        .await
        .unwrap();
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let device = connect.node_device_by_name("computer").await.unwrap();
    let mut events = connect
        .subscribe_to([
            Filter::network(Kind::NetworkLifecycle, &network),
            Filter::storage_pool(Kind::StoragePoolRefresh, &pool),
            Filter::storage_pool(Kind::StoragePoolLifecycle, &pool),
            Filter::node_device(Kind::NodeDeviceLifecycle, &device),
        ])
        .await
        .unwrap();
    other.destroy().await.unwrap();
    network.destroy().await.unwrap();
    match event(&mut events).await {
        Event::NetworkLifecycle(event) => {
            assert_eq!(event.net.name, "default");
            assert_eq!(event.event, NetworkEventLifecycleType::Stopped);
        }
        other => panic!("{other:?}"),
    }
    pool.refresh().await.unwrap();
    assert!(matches!(event(&mut events).await, Event::StoragePoolRefresh(_)));
    pool.destroy().await.unwrap();
    assert!(matches!(event(&mut events).await, Event::StoragePoolLifecycle(_)));

    // The test driver has no secrets; a session of QEMU's has.
    let connect = daemon.open("qemu:///session").await;
    let define = async |path: &str| {
        let xml = format!("<secret><usage type='volume'><volume>{path}</volume></usage></secret>");
        connect.define_secret(&xml, Default::default()).await.unwrap()
    };
    let (one, other) = (define("/one").await, define("/other").await);
    let mut events = connect
        .subscribe_to([
            Filter::secret(Kind::SecretValueChanged, &one),
            Filter::secret(Kind::SecretLifecycle, &one),
        ])
        .await
        .unwrap();
    other.set_value(b"no").await.unwrap();
    one.set_value(b"yes").await.unwrap();
    match event(&mut events).await {
        Event::SecretValueChanged(event) => assert_eq!(event.secret.uuid, one.uuid()),
        other => panic!("{other:?}"),
    }
    one.undefine().await.unwrap();
    assert!(matches!(event(&mut events).await, Event::SecretLifecycle(_)));
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_hears_how_much_it_missed() {
    let Some(daemon) = Daemon::start("a_subscriber_that_does_not_read_hears_how_much_it_missed") else {
        return;
    };
    let connect = daemon.test().await;
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let mut watch = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let test = connect.domain_by_name("test").await.unwrap();
    let rounds = 600;
    for _ in 0..rounds {
        test.suspend().await.unwrap();
        test.resume().await.unwrap();
        lifecycle(&mut watch).await;
        lifecycle(&mut watch).await;
    }
    let Item::Lagged(lost) = events.next().await.unwrap() else { panic!("nothing was lost") };
    let mut read = 0;
    while let Ok(Some(Ok(_))) = tokio::time::timeout(Duration::ZERO, StreamExt::next(&mut events)).await {
        read += 1;
    }
    assert_eq!(lost + read, 2 * rounds);
}

#[tokio::test]
async fn subscriptions_live_on_over_a_restart_of_the_daemon() {
    let Some(mut daemon) = Daemon::start("subscriptions_live_on_over_a_restart_of_the_daemon") else {
        return;
    };
    let policy = Reconnect { pause: Duration::from_millis(5), ..Reconnect::default() };
    let connect = daemon.builder("qemu:///session").reconnect(policy).open_with(run).await.unwrap();
    let mut all = connect.subscribe(Kind::SecretLifecycle).await.unwrap();
    let mut shared = connect.subscribe(Kind::SecretLifecycle).await.unwrap();
    let xml = "<secret><usage type='volume'><volume>/v</volume></usage></secret>";
    let secret = connect.define_secret(xml, Default::default()).await.unwrap();
    let mut filtered = connect.subscribe_to([Filter::secret(Kind::SecretLifecycle, &secret)]).await.unwrap();
    for events in [&mut all, &mut shared] {
        assert!(matches!(event(events).await, Event::SecretLifecycle(_)));
    }
    daemon.kill();
    // It is lost with the old connection, or waits until the new one is there; both are true.
    let started = async { connect.start::<remote::ConnectGetHostname>(&()).await?.await.map(drop) };
    let (_, ()) = tokio::join!(started, async { daemon.restart() });
    for events in [&mut all, &mut shared, &mut filtered] {
        assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
    }
    assert!(!connect.hostname().await.unwrap().is_empty());
    // The handle is a name: it means the same object on the new connection. So does the subscription.
    secret.undefine().await.unwrap();
    for events in [&mut all, &mut shared, &mut filtered] {
        match event(events).await {
            Event::SecretLifecycle(event) => assert_eq!(event.secret.uuid, secret.uuid()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_call_waits_while_the_connection_is_made_again_but_not_beyond_its_deadline() {
    let Some(mut daemon) = Daemon::start("a_call_waits_while_the_connection_is_made_again") else { return };
    let policy = Reconnect { pause: Duration::from_millis(5), ..Reconnect::default() };
    let builder = daemon.builder("test+unix:///default").reconnect(policy);
    let connect = builder.deadline(Duration::from_secs(2)).open_with(run).await.unwrap();
    let mut events = connect.subscribe(Kind::DomainReboot).await.unwrap();
    daemon.kill();
    let error = loop {
        let error = connect.domain_by_name("test").await.unwrap_err();
        if matches!(error.kind(), ErrorKind::Timeout) {
            break error;
        }
        // The end of the old connection was still on its way.
        assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Transport(_)), "{error}");
    };
    assert!(error.is_retryable(), "nothing was sent: {error}");
    let error = connect.subscribe(Kind::DomainLifecycle).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout), "{error}");
    daemon.restart();
    assert_eq!(events.next().await.unwrap(), Item::Resynchronised);
    assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_again_is_given_up() {
    let Some(mut daemon) = Daemon::start("a_connection_that_cannot_be_made_again_is_given_up") else {
        return;
    };
    let policy = Reconnect { pause: Duration::from_millis(1), attempts: Some(3), ..Reconnect::default() };
    let connect = daemon.builder("test+unix:///default").reconnect(policy).open_with(run).await.unwrap();
    let mut events = connect.subscribe(Kind::DomainReboot).await.unwrap();
    daemon.kill();
    let error = events.next().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Transport(_)), "{error}");
    assert!(connect.hostname().await.is_err());
    assert!(matches!(StreamExt::next(&mut events).await, Some(Err(_))));
    assert!(StreamExt::next(&mut events).await.is_none(), "the stream ends after its error");
}

#[tokio::test]
async fn an_event_of_a_domain_that_is_gone_is_the_last_one() {
    let Some(daemon) = Daemon::start("an_event_of_a_domain_that_is_gone_is_the_last_one") else { return };
    let connect = daemon.test().await;
    let gone = domain(&connect, "gone").await;
    let mut events = gone.subscribe(Kind::DomainLifecycle).await.unwrap();
    gone.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    assert_eq!(lifecycle(&mut events).await.1, DomainEventType::Stopped);
    assert!(gone.undefine(DomainUndefineFlags::empty()).await.unwrap_err().is_not_found());
}

/// The test driver, and those of QEMU and of containers, have no service that could go. Libvirt's own driver for what another daemon has is
/// connected to one, and a daemon asks it for what is on another host.
#[tokio::test]
async fn a_driver_that_loses_what_it_is_connected_to_is_told() {
    let test = "a_driver_that_loses_what_it_is_connected_to_is_told";
    let (Some(mut other), Some(daemon)) = (Daemon::prepare(test), Daemon::start(test)) else { return };
    let port = port();
    let config = format!(
        "listen_addr = \"127.0.0.1\"\nlisten_tls = 0\nlisten_tcp = 1\ntcp_port = \"{port}\"\nauth_tcp = \"none\"\n"
    );
    other.run(&Settings { config, arguments: vec!["--listen".into()], ..Settings::default() });
    let socket = daemon.path("libvirt/libvirt-sock");
    let name = format!("test%2Btcp%3A%2F%2F127.0.0.1%3A{port}%2Fdefault");
    let uri = format!("test+unix:///default?socket={}&name={name}", socket.display());
    let connect = daemon.open(&uri).await;
    // Who leaves is not told: one registration at a time, which ends once.
    raw::connect::register_close_callback(&connect).await.unwrap();
    raw::connect::register_close_callback(&connect).await.unwrap_err();
    raw::connect::unregister_close_callback(&connect).await.unwrap();
    raw::connect::unregister_close_callback(&connect).await.unwrap_err();
    let mut closed = connect.subscribe(Kind::ConnectionClosed).await.unwrap();
    assert_eq!(connect.domains(Default::default()).await.unwrap().len(), 1, "the other's");
    other.kill();
    let told = tokio::time::timeout(Duration::from_secs(60), event(&mut closed)).await.expect("an event");
    let Event::ConnectionClosed(told) = told else { panic!("{told:?}") };
    // Whichever the driver has found first: that it reads nothing more, or that it cannot write.
    assert!(matches!(told.reason, ConnectCloseReason::Eof | ConnectCloseReason::Error), "{told:?}");
}

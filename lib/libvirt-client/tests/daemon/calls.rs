//! Calls, errors, events, abandoning.

use crate::support::{Daemon, run};
use libvirt_client::protocol::enums::{DomainEventType, DomainState, ErrorNumber};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{DomainDestroyFlags, DomainXmlFlags};
use libvirt_client::protocol::procedure::{Procedure, Release};
use libvirt_client::protocol::remote;
use libvirt_client::{ErrorKind, Execution, Item};
use std::time::Duration;

#[tokio::test]
async fn the_test_drivers_domain_lives_and_dies() {
    let Some(daemon) = Daemon::start("the_test_drivers_domain_lives_and_dies") else { return };
    let connect = daemon.test().await;
    assert!(connect.daemon_version() >= Release(9, 0, 0));
    assert_eq!(connect.uri().await.unwrap(), "test:///default");
    assert!(connect.capabilities().await.unwrap().contains("<capabilities>"));
    let domains = connect.domains(Default::default()).await.unwrap();
    assert_eq!(domains.len(), 1);
    let domain = &domains[0];
    assert_eq!((domain.name(), domain.id()), ("test".to_owned(), Some(1)));
    assert_eq!(connect.domain_by_uuid(domain.uuid()).await.unwrap().name(), "test");
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    assert_eq!(domain.state().await.unwrap().state, DomainState::Running);
    domain.suspend().await.unwrap();
    assert_eq!(domain.info().await.unwrap().state, DomainState::Paused);
    domain.resume().await.unwrap();
    domain.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    assert_eq!(domain.state().await.unwrap().state, DomainState::Shutoff);
    domain.start(Default::default()).await.unwrap();
    assert!(domain.xml(DomainXmlFlags::INACTIVE).await.unwrap().contains("<name>test</name>"));
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match events.next().await.unwrap() {
            Item::Event(Event::DomainLifecycle(event)) => {
                assert_eq!(event.dom.name, "test");
                seen.push(event.event);
            }
            other => panic!("{other:?}"),
        }
    }
    use DomainEventType as T;
    assert_eq!(seen, [T::Suspended, T::Resumed, T::Stopped, T::Started]);
    connect.close().await.unwrap();
}

/// `VIR_DRV_FEATURE_MIGRATION_V3` and `VIR_DRV_FEATURE_PROGRAM_KEEPALIVE` (libvirt's `libvirt_internal.h`).
#[tokio::test]
async fn a_daemon_says_what_it_can() {
    let Some(daemon) = Daemon::start("a_daemon_says_what_it_can") else { return };
    const MIGRATION_V3: i32 = 6;
    const KEEPALIVE: i32 = 10;
    for (uri, feature, expected) in [
        ("test+unix:///default", KEEPALIVE, 1),
        ("test+unix:///default", MIGRATION_V3, 0),
        ("qemu:///session", MIGRATION_V3, 1),
    ] {
        let connect = daemon.open(uri).await;
        let args = remote::ConnectSupportsFeatureArgs { feature };
        let reply = connect.call::<remote::ConnectSupportsFeature>(&args).await.unwrap();
        assert_eq!(reply.result().unwrap().supported, expected, "{uri}: {feature}");
    }
}

#[tokio::test]
async fn what_the_daemon_refuses_comes_with_everything_it_says() {
    let Some(daemon) = Daemon::start("what_the_daemon_refuses_comes_with_everything_it_says") else { return };
    let connect = daemon.test().await;
    let error = connect.domain_by_name("nobody").await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(error.execution(), Execution::No);
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.code, ErrorNumber::NoDomain);
    assert!(error.to_string().starts_with("virDomainLookupByName: Domain not found"), "{error}");
    // A daemon that is too old for a call is not asked.
    let args = remote::DomainAnnounceInterfaceArgs::default();
    let error = connect.call::<remote::DomainAnnounceInterface>(&args).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    if connect.daemon_version() < remote::DomainAnnounceInterface::INFO.since {
        assert!(error.to_string().contains("12.5.0"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_for_reading_only_changes_nothing() {
    let Some(daemon) = Daemon::start("a_connection_for_reading_only_changes_nothing") else { return };
    let connect = daemon.builder("test+unix:///default").read_only().open_with(run).await.unwrap();
    let domain = connect.domain_by_name("test").await.unwrap();
    let error = domain.destroy(DomainDestroyFlags::DEFAULT).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::OperationDenied);
}

#[tokio::test]
async fn the_daemons_own_kinds_of_events_can_be_subscribed_to() {
    let Some(daemon) = Daemon::start("the_daemons_own_kinds_of_events_can_be_subscribed_to") else { return };
    let connect = daemon.open("qemu:///session").await;
    let mut refused = Vec::new();
    for kind in Kind::ALL {
        if kind.since() > connect.daemon_version() {
            assert!(connect.subscribe(kind).await.unwrap_err().is_unsupported(), "{kind:?}");
        } else if let Err(error) = connect.subscribe(kind).await {
            refused.push((kind, error.to_string()));
        }
    }
    assert_eq!(refused, [], "every kind of a QEMU daemon");
}

#[tokio::test]
async fn many_calls_at_once_all_come_back() {
    let Some(daemon) = Daemon::start("many_calls_at_once_all_come_back") else { return };
    let connect = daemon.test().await;
    let first = connect.connection().await.unwrap();
    let start = |_| first.start::<remote::ConnectGetHostname>(&(), Vec::new());
    let calls: Vec<_> = (0..500).map(start).collect();
    let expected = connect.hostname().await.unwrap();
    // The daemon may know its domain too.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(expected.split('.').next(), host.trim().split('.').next());
    for call in calls {
        assert_eq!(call.await.unwrap().result().unwrap().hostname, expected.as_str());
    }
    // Every second one is dropped before its reply; the others do not notice.
    let mut calls: Vec<_> = (0..100).map(start).collect();
    let mut index = 0;
    calls.retain(|_| {
        index += 1;
        index % 2 == 0
    });
    for call in calls {
        assert_eq!(call.await.unwrap().result().unwrap().hostname, expected.as_str());
    }
}

#[tokio::test]
async fn the_end_of_the_daemon_reaches_everybody_who_waits() {
    let Some(daemon) = Daemon::start("the_end_of_the_daemon_reaches_everybody_who_waits") else { return };
    let connect = daemon.test().await;
    let mut events = connect.subscribe(Kind::DomainReboot).await.unwrap();
    drop(daemon);
    assert!(events.next().await.is_err());
    let error = connect.hostname().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Transport(_)), "{error}");
    assert!(!connect.is_connected());
}

#[tokio::test]
async fn a_deadline_says_whether_the_daemon_may_have_heard() {
    let Some(daemon) = Daemon::start("a_deadline_says_whether_the_daemon_may_have_heard") else { return };
    let connect = daemon.test().await;
    daemon.signal(rustix::process::Signal::STOP);
    let call = connect.start::<remote::ConnectGetCapabilities>(&()).await.unwrap();
    let error = call.within(Some(Duration::from_millis(20))).await.unwrap_err();
    daemon.signal(rustix::process::Signal::CONT);
    assert!(matches!(error.kind(), ErrorKind::Timeout), "{error}");
    assert_eq!(error.execution(), Execution::Possible);
    assert!(connect.capabilities().await.is_ok());
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let Some(daemon) = Daemon::start("a_socket_that_is_not_there_is_named") else { return };
    let error = daemon.builder("qemu:///system").open_with(run).await.unwrap_err();
    assert!(format!("{error:#}").contains("/nothing/libvirt/libvirt-sock"), "{error:#}");
}

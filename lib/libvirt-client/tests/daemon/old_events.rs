//! Events in the form that daemons sent them before subscriptions had numbers, and still do to who asks for it.

use crate::support::Daemon;
use libvirt_client::protocol::enums::DomainEventId;
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::qemu::{
    ConnectDomainMonitorEventDeregisterArgs, ConnectDomainMonitorEventRegisterArgs,
};
use libvirt_client::protocol::remote::{
    ConnectDomainEventCallbackDeregisterAnyArgs, ConnectDomainEventCallbackRegisterAnyArgs,
    ConnectDomainEventDeregisterAnyArgs, ConnectDomainEventRegisterAnyArgs,
    ConnectNetworkEventDeregisterAnyArgs, ConnectNetworkEventRegisterAnyArgs,
    ConnectNodeDeviceEventDeregisterAnyArgs, ConnectNodeDeviceEventRegisterAnyArgs,
    ConnectSecretEventDeregisterAnyArgs, ConnectSecretEventRegisterAnyArgs,
    ConnectStoragePoolEventDeregisterAnyArgs, ConnectStoragePoolEventRegisterAnyArgs,
    DomainEventLifecycleMsg,
};
use libvirt_client::{Connect, Item, Subscription, raw};
use std::time::Duration;

/// The last kind that has such a form.
const LAST: i32 = 15;

/// A client as they were.
pub(crate) struct OldClient {
    connect: Connect,
    events: Subscription,
}

impl OldClient {
    /// Asks for every kind that has an old form.
    pub(crate) async fn new(connect: Connect) -> Self {
        let events = connect.unclaimed_events().await.unwrap();
        raw::connect::domain_event_register(&connect).await.unwrap();
        for id in 1..=LAST {
            let args = ConnectDomainEventRegisterAnyArgs { event_id: DomainEventId::from(id) };
            raw::connect::domain_event_register_any(&connect, &args).await.unwrap();
        }
        Self { connect, events }
    }

    /// Waits until an event of a kind has come; what comes before it is passed over.
    pub(crate) async fn sees(&mut self, kind: Kind) -> Event<'static> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.events.next()).await;
            match next.unwrap_or_else(|_| panic!("no {kind:?}")).unwrap() {
                Item::Event(event) if event.kind() == kind => return event,
                Item::Event(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn leave(&mut self) {
        raw::connect::domain_event_deregister(&self.connect).await.unwrap();
        for id in 1..=LAST {
            let args = ConnectDomainEventDeregisterAnyArgs { event_id: DomainEventId::from(id) };
            raw::connect::domain_event_deregister_any(&self.connect, &args).await.unwrap();
        }
        // What has ended cannot be ended again.
        let again = raw::connect::domain_event_deregister(&self.connect).await.unwrap_err();
        assert!(again.to_string().contains("not registered"), "{again}");
        for id in 1..=LAST {
            let args = ConnectDomainEventDeregisterAnyArgs { event_id: DomainEventId::from(id) };
            let again = raw::connect::domain_event_deregister_any(&self.connect, &args).await.unwrap_err();
            assert!(again.to_string().contains("not registered"), "{id}: {again}");
        }
    }
}

#[tokio::test]
async fn a_client_as_they_were_is_told_until_it_leaves() {
    let Some(daemon) = Daemon::start("a_client_as_they_were_is_told_until_it_leaves") else { return };
    let connect = daemon.test().await;
    let mut old = OldClient::new(connect.clone()).await;
    let test = connect.domain_by_name("test").await.unwrap();
    test.suspend().await.unwrap();
    let Event::DomainLifecycle(DomainEventLifecycleMsg { dom, .. }) = old.sees(Kind::DomainLifecycle).await
    else {
        panic!("no lifecycle")
    };
    assert_eq!(dom.name.to_string(), "test");
    old.leave().await;
    // Registered again in the form of today, there is one event: none is left of the old registration.
    let mut events = test.subscribe(Kind::DomainLifecycle).await.unwrap();
    test.resume().await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
    connect.hostname().await.unwrap();
    assert!(futures::poll!(Box::pin(old.events.next())).is_pending());
}

/// Registers for something, ends that, and cannot end it again: the daemon has nothing left under that number.
macro_rules! once {
    ($connect:expr, $at:ident, $register:ident($register_args:ident), $deregister:ident($deregister_args:ident)) => {
        let reply = raw::$at::$register($connect, &$register_args::default()).await.unwrap();
        let args = $deregister_args { callback_id: reply.result().unwrap().callback_id };
        raw::$at::$deregister($connect, &args).await.unwrap();
        let again = raw::$at::$deregister($connect, &args).await.unwrap_err();
        assert!(again.to_string().contains("not registered"), "{}: {again}", stringify!($deregister));
    };
}

#[tokio::test]
async fn a_registration_ends_once() {
    let Some(daemon) = Daemon::start("a_registration_ends_once") else { return };
    let connect = daemon.open("qemu:///session").await;
    once!(
        &connect,
        connect,
        domain_event_callback_register_any(ConnectDomainEventCallbackRegisterAnyArgs),
        domain_event_callback_deregister_any(ConnectDomainEventCallbackDeregisterAnyArgs)
    );
    once!(
        &connect,
        connect,
        network_event_register_any(ConnectNetworkEventRegisterAnyArgs),
        network_event_deregister_any(ConnectNetworkEventDeregisterAnyArgs)
    );
    once!(
        &connect,
        connect,
        storage_pool_event_register_any(ConnectStoragePoolEventRegisterAnyArgs),
        storage_pool_event_deregister_any(ConnectStoragePoolEventDeregisterAnyArgs)
    );
    once!(
        &connect,
        connect,
        node_device_event_register_any(ConnectNodeDeviceEventRegisterAnyArgs),
        node_device_event_deregister_any(ConnectNodeDeviceEventDeregisterAnyArgs)
    );
    once!(
        &connect,
        connect,
        secret_event_register_any(ConnectSecretEventRegisterAnyArgs),
        secret_event_deregister_any(ConnectSecretEventDeregisterAnyArgs)
    );
    once!(
        &connect,
        qemu,
        connect_domain_monitor_event_register(ConnectDomainMonitorEventRegisterArgs),
        connect_domain_monitor_event_deregister(ConnectDomainMonitorEventDeregisterArgs)
    );
}

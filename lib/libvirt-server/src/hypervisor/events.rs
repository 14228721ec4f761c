//! Subscriptions, and events to those who have them.

use super::{Effect, Hypervisor, Refusal, Reply};
use libvirt_protocol::enums::{
    DomainEventId, ErrorNumber, NetworkEventId, NodeDeviceEventId, SecretEventId, StoragePoolEventId,
};
use libvirt_protocol::procedure::{Info, Program};
use libvirt_protocol::xdr::{self, Uuid, Wire};
use libvirt_protocol::{enums, remote, types};

/// What a client wants to hear of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subscription {
    /// `None`: of the old kind, which has one for each event and no number.
    pub(super) callback: Option<i32>,
    pub(super) topic: Topic,
    /// Of this object alone.
    pub(super) object: Option<Object>,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Topic {
    Domain(DomainEventId),
    Network(NetworkEventId),
    Pool(StoragePoolEventId),
    Device(NodeDeviceEventId),
    Secret(SecretEventId),
}

/// What an event happens to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    Uuid(Uuid),
    Name(String),
}

/// The event with a name.
pub(crate) fn event(name: &str) -> Option<&'static Info> {
    Program::Remote.procedures().iter().copied().find(|info| info.event && info.name == name)
}

impl Hypervisor {
    fn subscribe(&mut self, topic: Topic, object: Option<Object>) -> Result<i32, Refusal> {
        let client = self.client()?;
        let same =
            |known: &Subscription| known.callback.is_some() && known.topic == topic && known.object == object;
        if client.subscriptions.iter().any(same) {
            return Err(Refusal::internal("event callback already tracked"));
        }
        let callback = client.next_callback;
        client.next_callback += 1;
        client.subscriptions.push(Subscription { callback: Some(callback), topic, object });
        Ok(callback)
    }

    fn unsubscribe(&mut self, callback: i32) -> Result<(), Refusal> {
        let subscriptions = &mut self.client()?.subscriptions;
        let before = subscriptions.len();
        subscriptions.retain(|known| known.callback != Some(callback));
        if subscriptions.len() == before {
            let text = format!("could not find event callback {callback} for deletion");
            return Err(Refusal::new(ErrorNumber::InvalidArg, text));
        }
        Ok(())
    }

    /// Tells everybody who subscribed, in the new form: `content` makes the message from the number of the subscription.
    pub(super) fn tell<'a, M: Wire<'a>>(
        &mut self,
        topic: Topic,
        object: &Object,
        name: &str,
        content: impl Fn(i32) -> M,
    ) {
        // No topic but domains ever had the old form.
        self.tell_both(topic, object, (name, ""), |callback| {
            xdr::encode(&content(callback.unwrap_or_default()))
        });
    }

    /// Sends an event to every client that has opened a connection, subscribed or not: for tests of clients, with what no domain in
    /// memory ever does. The payload is the event's message, with the number of a subscription in front where it has one.
    pub fn send_event(&mut self, info: &'static Info, payload: &[u8]) {
        for (client, _) in self.clients.iter().filter(|(_, connected)| connected.open) {
            tracing::trace!(target: "libvirt_server::answered", program = ?info.program, procedure = info.name);
            self.effects.push_back((*client, Effect::Event { info, payload: payload.to_vec() }));
        }
    }

    /// Something happened in a domain's life.
    pub(super) fn tell_lifecycle(
        &mut self,
        dom: &types::Domain<'static>,
        event: enums::DomainEventType,
        detail: i32,
    ) {
        let topic = Topic::Domain(DomainEventId::Lifecycle);
        let object = Object::Uuid(dom.uuid);
        let msg = remote::DomainEventLifecycleMsg { dom: dom.clone(), event, detail };
        let with = remote::DomainEventCallbackLifecycleMsg { callback_id: 0, msg: msg.clone() };
        // The old message is the new one without the number in front.
        self.tell_both(topic, &object, ("domain_event_callback_lifecycle", "domain_event_lifecycle"), |id| {
            match id {
                Some(callback_id) => {
                    xdr::encode(&remote::DomainEventCallbackLifecycleMsg { callback_id, ..with.clone() })
                }
                None => xdr::encode(&msg),
            }
        });
    }

    pub(super) fn tell_both(
        &mut self,
        topic: Topic,
        object: &Object,
        (new, old): (&str, &str),
        content: impl Fn(Option<i32>) -> Result<Vec<u8>, xdr::LimitError>,
    ) {
        for (client, connected) in &self.clients {
            for known in &connected.subscriptions {
                let wanted = known.topic == topic && known.object.as_ref().is_none_or(|only| only == object);
                let name = if known.callback.is_some() { new } else { old };
                let Some(info) = event(name).filter(|_| wanted) else { continue };
                if let Ok(payload) = content(known.callback) {
                    tracing::trace!(target: "libvirt_server::answered", program = ?info.program, procedure = info.name);
                    self.effects.push_back((*client, Effect::Event { info, payload }));
                }
            }
        }
    }

    /// A domain was told to start again.
    pub(super) fn tell_reboot(&mut self, dom: &types::Domain<'static>) {
        let topic = Topic::Domain(DomainEventId::Reboot);
        let msg = remote::DomainEventRebootMsg { dom: dom.clone() };
        let object = Object::Uuid(dom.uuid);
        self.tell_both(
            topic,
            &object,
            ("domain_event_callback_reboot", "domain_event_reboot"),
            |id| match id {
                Some(callback_id) => {
                    xdr::encode(&remote::DomainEventCallbackRebootMsg { callback_id, msg: msg.clone() })
                }
                None => xdr::encode(&msg),
            },
        );
    }

    /// A domain's title, description or metadata changed.
    pub(super) fn tell_metadata(
        &mut self,
        dom: &types::Domain<'static>,
        kind: enums::DomainMetadataType,
        uri: Option<&str>,
    ) {
        let topic = Topic::Domain(DomainEventId::MetadataChange);
        let name = "domain_event_callback_metadata_change";
        self.tell(topic, &Object::Uuid(dom.uuid), name, |callback_id| {
            remote::DomainEventCallbackMetadataChangeMsg {
                callback_id,
                dom: dom.clone(),
                kind,
                nsuri: uri.map(|uri| uri.to_owned().into()),
            }
        });
    }

    /// Something happened in a network's life.
    pub(super) fn tell_network(
        &mut self,
        net: &types::Network<'static>,
        event: enums::NetworkEventLifecycleType,
    ) {
        let topic = Topic::Network(NetworkEventId::Lifecycle);
        self.tell(topic, &Object::Uuid(net.uuid), "network_event_lifecycle", |callback_id| {
            remote::NetworkEventLifecycleMsg { callback_id, net: net.clone(), event, detail: 0 }
        });
    }

    /// Something happened in a pool's life.
    pub(super) fn tell_pool(
        &mut self,
        pool: &types::StoragePool<'static>,
        event: enums::StoragePoolEventLifecycleType,
    ) {
        let topic = Topic::Pool(StoragePoolEventId::Lifecycle);
        self.tell(topic, &Object::Uuid(pool.uuid), "storage_pool_event_lifecycle", |callback_id| {
            remote::StoragePoolEventLifecycleMsg { callback_id, pool: pool.clone(), event, detail: 0 }
        });
    }

    /// A pool was read again.
    pub(super) fn tell_refresh(&mut self, pool: &types::StoragePool<'static>) {
        let topic = Topic::Pool(StoragePoolEventId::Refresh);
        self.tell(topic, &Object::Uuid(pool.uuid), "storage_pool_event_refresh", |callback_id| {
            remote::StoragePoolEventRefreshMsg { callback_id, pool: pool.clone() }
        });
    }

    /// A device of the host came or went.
    pub(super) fn tell_device(&mut self, name: &str, event: enums::NodeDeviceEventLifecycleType) {
        let topic = Topic::Device(NodeDeviceEventId::Lifecycle);
        let object = Object::Name(name.to_owned());
        self.tell(topic, &object, "node_device_event_lifecycle", |callback_id| {
            remote::NodeDeviceEventLifecycleMsg {
                callback_id,
                dev: types::NodeDevice { name: name.to_owned().into() },
                event,
                detail: 0,
            }
        });
    }

    /// A device was attached.
    pub(super) fn tell_device_added(&mut self, dom: &types::Domain<'static>, alias: &str) {
        let topic = Topic::Domain(DomainEventId::DeviceAdded);
        let name = "domain_event_callback_device_added";
        self.tell(topic, &Object::Uuid(dom.uuid), name, |callback_id| {
            remote::DomainEventCallbackDeviceAddedMsg {
                callback_id,
                dom: dom.clone(),
                dev_alias: alias.to_owned().into(),
            }
        });
    }

    /// A device was detached.
    pub(super) fn tell_device_removed(&mut self, dom: &types::Domain<'static>, alias: &str) {
        let topic = Topic::Domain(DomainEventId::DeviceRemoved);
        let msg =
            remote::DomainEventDeviceRemovedMsg { dom: dom.clone(), dev_alias: alias.to_owned().into() };
        let names = ("domain_event_callback_device_removed", "domain_event_device_removed");
        self.tell_both(topic, &Object::Uuid(dom.uuid), names, |id| match id {
            Some(callback_id) => {
                xdr::encode(&remote::DomainEventCallbackDeviceRemovedMsg { callback_id, msg: msg.clone() })
            }
            None => xdr::encode(&msg),
        });
    }

    /// Something happened in a secret's life.
    pub(super) fn tell_secret(
        &mut self,
        secret: &types::Secret<'static>,
        event: enums::SecretEventLifecycleType,
    ) {
        let topic = Topic::Secret(SecretEventId::Lifecycle);
        let object = Object::Uuid(secret.uuid);
        self.tell(topic, &object, "secret_event_lifecycle", |callback_id| remote::SecretEventLifecycleMsg {
            callback_id,
            secret: secret.clone(),
            event,
            detail: 0,
        });
    }

    /// A secret has another value.
    pub(super) fn tell_secret_value(&mut self, secret: &types::Secret<'static>) {
        let topic = Topic::Secret(SecretEventId::ValueChanged);
        let object = Object::Uuid(secret.uuid);
        self.tell(topic, &object, "secret_event_value_changed", |callback_id| {
            remote::SecretEventValueChangedMsg { callback_id, secret: secret.clone() }
        });
    }

    pub(super) fn domain_event_register(&mut self, (): ()) -> Reply<remote::ConnectDomainEventRegister> {
        self.register_old(DomainEventId::Lifecycle)?;
        Ok(remote::ConnectDomainEventRegisterRet { cb_registered: 1 })
    }

    pub(super) fn domain_event_deregister(&mut self, (): ()) -> Reply<remote::ConnectDomainEventDeregister> {
        self.deregister_old(DomainEventId::Lifecycle)?;
        Ok(remote::ConnectDomainEventDeregisterRet { cb_registered: 0 })
    }

    fn register_old(&mut self, event: DomainEventId) -> Result<(), Refusal> {
        let topic = Topic::Domain(event);
        let subscriptions = &mut self.client()?.subscriptions;
        if subscriptions.iter().any(|known| known.callback.is_none() && known.topic == topic) {
            return Err(Refusal::internal(format!("domain event {} already registered", i32::from(event))));
        }
        subscriptions.push(Subscription { callback: None, topic, object: None });
        Ok(())
    }

    fn deregister_old(&mut self, event: DomainEventId) -> Result<(), Refusal> {
        let topic = Topic::Domain(event);
        let subscriptions = &mut self.client()?.subscriptions;
        let before = subscriptions.len();
        subscriptions.retain(|known| known.callback.is_some() || known.topic != topic);
        if subscriptions.len() == before {
            return Err(Refusal::internal(format!("domain event {} not registered", i32::from(event))));
        }
        Ok(())
    }

    pub(super) fn domain_event_register_any(
        &mut self,
        args: remote::ConnectDomainEventRegisterAnyArgs,
    ) -> Reply<remote::ConnectDomainEventRegisterAny> {
        self.register_old(args.event_id)
    }

    pub(super) fn domain_event_deregister_any(
        &mut self,
        args: remote::ConnectDomainEventDeregisterAnyArgs,
    ) -> Reply<remote::ConnectDomainEventDeregisterAny> {
        self.deregister_old(args.event_id)
    }

    pub(super) fn domain_event_callback_register_any(
        &mut self,
        args: remote::ConnectDomainEventCallbackRegisterAnyArgs<'_>,
    ) -> Reply<remote::ConnectDomainEventCallbackRegisterAny> {
        let object = args.dom.map(|dom| Object::Uuid(dom.uuid));
        let callback_id = self.subscribe(Topic::Domain(args.event_id), object)?;
        Ok(remote::ConnectDomainEventCallbackRegisterAnyRet { callback_id })
    }

    pub(super) fn domain_event_callback_deregister_any(
        &mut self,
        args: remote::ConnectDomainEventCallbackDeregisterAnyArgs,
    ) -> Reply<remote::ConnectDomainEventCallbackDeregisterAny> {
        self.unsubscribe(args.callback_id)
    }

    pub(super) fn network_event_register_any(
        &mut self,
        args: remote::ConnectNetworkEventRegisterAnyArgs<'_>,
    ) -> Reply<remote::ConnectNetworkEventRegisterAny> {
        let object = args.net.map(|net| Object::Uuid(net.uuid));
        let callback_id = self.subscribe(Topic::Network(args.event_id), object)?;
        Ok(remote::ConnectNetworkEventRegisterAnyRet { callback_id })
    }

    pub(super) fn network_event_deregister_any(
        &mut self,
        args: remote::ConnectNetworkEventDeregisterAnyArgs,
    ) -> Reply<remote::ConnectNetworkEventDeregisterAny> {
        self.unsubscribe(args.callback_id)
    }

    pub(super) fn storage_pool_event_register_any(
        &mut self,
        args: remote::ConnectStoragePoolEventRegisterAnyArgs<'_>,
    ) -> Reply<remote::ConnectStoragePoolEventRegisterAny> {
        let object = args.pool.map(|pool| Object::Uuid(pool.uuid));
        let callback_id = self.subscribe(Topic::Pool(args.event_id), object)?;
        Ok(remote::ConnectStoragePoolEventRegisterAnyRet { callback_id })
    }

    pub(super) fn storage_pool_event_deregister_any(
        &mut self,
        args: remote::ConnectStoragePoolEventDeregisterAnyArgs,
    ) -> Reply<remote::ConnectStoragePoolEventDeregisterAny> {
        self.unsubscribe(args.callback_id)
    }

    pub(super) fn node_device_event_register_any(
        &mut self,
        args: remote::ConnectNodeDeviceEventRegisterAnyArgs<'_>,
    ) -> Reply<remote::ConnectNodeDeviceEventRegisterAny> {
        let object = args.dev.map(|dev| Object::Name(dev.name.into()));
        let callback_id = self.subscribe(Topic::Device(args.event_id), object)?;
        Ok(remote::ConnectNodeDeviceEventRegisterAnyRet { callback_id })
    }

    pub(super) fn node_device_event_deregister_any(
        &mut self,
        args: remote::ConnectNodeDeviceEventDeregisterAnyArgs,
    ) -> Reply<remote::ConnectNodeDeviceEventDeregisterAny> {
        self.unsubscribe(args.callback_id)
    }

    pub(super) fn secret_event_register_any(
        &mut self,
        args: remote::ConnectSecretEventRegisterAnyArgs<'_>,
    ) -> Reply<remote::ConnectSecretEventRegisterAny> {
        let object = args.secret.map(|secret| Object::Uuid(secret.uuid));
        let callback_id = self.subscribe(Topic::Secret(args.event_id), object)?;
        Ok(remote::ConnectSecretEventRegisterAnyRet { callback_id })
    }

    pub(super) fn secret_event_deregister_any(
        &mut self,
        args: remote::ConnectSecretEventDeregisterAnyArgs,
    ) -> Reply<remote::ConnectSecretEventDeregisterAny> {
        self.unsubscribe(args.callback_id)
    }
}

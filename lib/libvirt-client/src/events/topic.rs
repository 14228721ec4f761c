//! What is registered at the daemon: a kind of event, of all objects or of one.

use super::filter::{Filter, Object};
use crate::connection::{Class, Connection, Key};
use crate::domain::Domain;
use crate::error::Error;
use libvirt_protocol::event::Subscription as Source;
use libvirt_protocol::flags::ConnectDomainQemuMonitorEventRegisterFlags;
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::xdr::{IntoOwned, Text, Uuid};
use libvirt_protocol::{enums, qemu, remote, types};

/// What tells topics apart, as the daemon does: an object counts by its identity, not by the number it has while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TopicKey {
    source: Source,
    object: Option<Identity>,
    pattern: Option<String>,
    flags: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    Uuid(Uuid),
    Name(Text<'static>),
}

/// A topic: what to register, and how.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    key: TopicKey,
    object: Option<Object>,
}

impl Topic {
    /// What a filter asks for.
    ///
    /// # Errors
    /// When the kind is none of that object's.
    pub(super) fn of(filter: Filter) -> Result<Self, Error> {
        let source = filter.kind().subscription();
        let fits = match (source, filter.object()) {
            (_, None) => true,
            (Source::Domain(_) | Source::QemuMonitor, Some(Object::Domain(_)))
            | (Source::Network(_), Some(Object::Network(_)))
            | (Source::StoragePool(_), Some(Object::StoragePool(_)))
            | (Source::NodeDevice(_), Some(Object::NodeDevice(_)))
            | (Source::Secret(_), Some(Object::Secret(_))) => true,
            (_, Some(_)) => false,
        };
        if !fits {
            return Err(Error::misuse(format!("{:?} is no event of such an object", filter.kind())));
        }
        let identity = filter.object().map(|object| match object {
            Object::Domain(domain) => Identity::Uuid(domain.uuid),
            Object::Network(network) => Identity::Uuid(network.uuid),
            Object::StoragePool(pool) => Identity::Uuid(pool.uuid),
            Object::NodeDevice(device) => Identity::Name(device.name.clone()),
            Object::Secret(secret) => Identity::Uuid(secret.uuid),
        });
        let key = TopicKey { source, object: identity, pattern: None, flags: 0 };
        Ok(Self { key, object: filter.object().cloned() })
    }

    /// QEMU's monitor events.
    pub(super) fn monitor(
        domain: Option<&Domain>,
        pattern: Option<&str>,
        flags: ConnectDomainQemuMonitorEventRegisterFlags,
    ) -> Self {
        let key = TopicKey {
            source: Source::QemuMonitor,
            object: domain.map(|domain| Identity::Uuid(domain.uuid())),
            pattern: pattern.map(str::to_owned),
            flags: flags.bits(),
        };
        Self { key, object: domain.map(|domain| Object::Domain(domain.wire().into_owned())) }
    }

    pub(crate) fn key(&self) -> &TopicKey {
        &self.key
    }

    /// Registers it; returns what its messages carry.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn register(&self, connection: &Connection) -> Result<Key, Error> {
        macro_rules! register {
            ($class:ident, $procedure:ident, $args:ident { $object:ident: $variant:ident, $id:expr }) => {{
                let $object = match &self.object {
                    Some(Object::$variant(object)) => Some(object.clone()),
                    _ => None,
                };
                let args = remote::$args { event_id: $id, $object };
                let reply = connection.call::<remote::$procedure>(&args).await?;
                (Class::$class, reply.result()?.callback_id)
            }};
        }
        Ok(match self.key.source {
            Source::Domain(id) => register!(
                Domain,
                ConnectDomainEventCallbackRegisterAny,
                ConnectDomainEventCallbackRegisterAnyArgs { dom: Domain, enums::DomainEventId::from(id) }
            ),
            Source::Network(id) => register!(
                Network,
                ConnectNetworkEventRegisterAny,
                ConnectNetworkEventRegisterAnyArgs { net: Network, id.into() }
            ),
            Source::StoragePool(id) => register!(
                StoragePool,
                ConnectStoragePoolEventRegisterAny,
                ConnectStoragePoolEventRegisterAnyArgs { pool: StoragePool, id.into() }
            ),
            Source::NodeDevice(id) => register!(
                NodeDevice,
                ConnectNodeDeviceEventRegisterAny,
                ConnectNodeDeviceEventRegisterAnyArgs { dev: NodeDevice, id.into() }
            ),
            Source::Secret(id) => register!(
                Secret,
                ConnectSecretEventRegisterAny,
                ConnectSecretEventRegisterAnyArgs { secret: Secret, id.into() }
            ),
            Source::Close => {
                connection.call::<remote::ConnectRegisterCloseCallback>(&()).await?;
                // Its messages carry no number.
                (Class::Close, -1)
            }
            Source::QemuMonitor => {
                let args = qemu::ConnectDomainMonitorEventRegisterArgs {
                    dom: self.domain(),
                    event: self.key.pattern.as_deref().map(Into::into),
                    flags: ConnectDomainQemuMonitorEventRegisterFlags::from_bits_retain(self.key.flags),
                };
                let reply = connection.call::<qemu::ConnectDomainMonitorEventRegister>(&args).await?;
                (Class::QemuMonitor, reply.result()?.callback_id)
            }
            other => return Err(Error::misuse(format!("{other:?} is subscribed to in no known way"))),
        })
    }

    fn domain(&self) -> Option<types::Domain<'static>> {
        match &self.object {
            Some(Object::Domain(domain)) => Some(domain.clone()),
            _ => None,
        }
    }
}

/// Ends a registration.
///
/// # Errors
/// As every call.
pub(crate) async fn deregister(connection: &Connection, (class, callback_id): Key) -> Result<(), Error> {
    async fn end<P: Procedure>(connection: &Connection, args: P::Args<'_>) -> Result<(), Error> {
        connection.call::<P>(&args).await.map(drop)
    }
    match class {
        Class::Domain => {
            let args = remote::ConnectDomainEventCallbackDeregisterAnyArgs { callback_id };
            end::<remote::ConnectDomainEventCallbackDeregisterAny>(connection, args).await
        }
        Class::Network => {
            let args = remote::ConnectNetworkEventDeregisterAnyArgs { callback_id };
            end::<remote::ConnectNetworkEventDeregisterAny>(connection, args).await
        }
        Class::StoragePool => {
            let args = remote::ConnectStoragePoolEventDeregisterAnyArgs { callback_id };
            end::<remote::ConnectStoragePoolEventDeregisterAny>(connection, args).await
        }
        Class::NodeDevice => {
            let args = remote::ConnectNodeDeviceEventDeregisterAnyArgs { callback_id };
            end::<remote::ConnectNodeDeviceEventDeregisterAny>(connection, args).await
        }
        Class::Secret => {
            let args = remote::ConnectSecretEventDeregisterAnyArgs { callback_id };
            end::<remote::ConnectSecretEventDeregisterAny>(connection, args).await
        }
        Class::Close => end::<remote::ConnectUnregisterCloseCallback>(connection, ()).await,
        Class::QemuMonitor => {
            let args = qemu::ConnectDomainMonitorEventDeregisterArgs { callback_id };
            end::<qemu::ConnectDomainMonitorEventDeregister>(connection, args).await
        }
    }
}

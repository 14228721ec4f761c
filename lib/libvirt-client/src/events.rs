//! Subscribing to events.

use crate::connect::Connect;
use crate::connection::{Class, Subscription};
use crate::domain::Domain;
use crate::error::{Error, ErrorKind};
use libvirt_protocol::event::{Kind, Subscription as Source};
use libvirt_protocol::flags::ConnectDomainQemuMonitorEventRegisterFlags;
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::{enums, qemu, remote};

/// Events that wait for a subscriber, at most.
const QUEUE: usize = 1024;

impl Connect {
    /// Subscribes to one kind of event of all objects. The subscription ends with the connection; dropping it stops the delivery.
    ///
    /// # Errors
    /// As every call; [`ErrorKind::Unsupported`] when the daemon is too old for the kind.
    pub async fn subscribe(&self, kind: Kind) -> Result<Subscription, Error> {
        if self.daemon_version() < kind.since() {
            let since = kind.since();
            return Err(Error::new(ErrorKind::Unsupported { procedure: "an event", since }));
        }
        if !self.has_numbered_events() {
            let info = remote::ConnectDomainEventCallbackRegisterAny::INFO;
            let kind = ErrorKind::Unsupported { procedure: info.name, since: info.since };
            return Err(Error::new(kind).of(info));
        }
        let (class, id) = match kind.subscription() {
            Source::Domain(id) => return self.subscribe_domain(id, None).await,
            Source::Network(id) => {
                let args = remote::ConnectNetworkEventRegisterAnyArgs { event_id: id.into(), net: None };
                let reply = self.connection().call::<remote::ConnectNetworkEventRegisterAny>(&args).await?;
                (Class::Network, reply.result()?.callback_id)
            }
            Source::StoragePool(id) => {
                let args = remote::ConnectStoragePoolEventRegisterAnyArgs { event_id: id.into(), pool: None };
                let reply =
                    self.connection().call::<remote::ConnectStoragePoolEventRegisterAny>(&args).await?;
                (Class::StoragePool, reply.result()?.callback_id)
            }
            Source::NodeDevice(id) => {
                let args = remote::ConnectNodeDeviceEventRegisterAnyArgs { event_id: id.into(), dev: None };
                let reply =
                    self.connection().call::<remote::ConnectNodeDeviceEventRegisterAny>(&args).await?;
                (Class::NodeDevice, reply.result()?.callback_id)
            }
            Source::Secret(id) => {
                let args = remote::ConnectSecretEventRegisterAnyArgs { event_id: id.into(), secret: None };
                let reply = self.connection().call::<remote::ConnectSecretEventRegisterAny>(&args).await?;
                (Class::Secret, reply.result()?.callback_id)
            }
            Source::Close => {
                self.connection().call::<remote::ConnectRegisterCloseCallback>(&()).await?;
                // Its messages carry no number.
                (Class::Close, -1)
            }
            Source::QemuMonitor => {
                return self
                    .monitor_events(None, None, ConnectDomainQemuMonitorEventRegisterFlags::empty())
                    .await;
            }
            other => return Err(Error::protocol(format!("{other:?} is subscribed to in no known way"))),
        };
        Ok(self.connection().subscription(class, id, QUEUE))
    }

    /// Subscribes to QEMU's own monitor events: of one domain or of all, by name or pattern
    /// (`virConnectDomainQemuMonitorEventRegister`).
    ///
    /// # Errors
    /// As every call; refused by drivers other than QEMU's.
    pub async fn monitor_events(
        &self,
        domain: Option<&Domain>,
        event: Option<&str>,
        flags: ConnectDomainQemuMonitorEventRegisterFlags,
    ) -> Result<Subscription, Error> {
        let args = qemu::ConnectDomainMonitorEventRegisterArgs {
            dom: domain.map(Domain::wire),
            event: event.map(Into::into),
            flags,
        };
        let reply = self.connection().call::<qemu::ConnectDomainMonitorEventRegister>(&args).await?;
        Ok(self.connection().subscription(Class::QemuMonitor, reply.result()?.callback_id, QUEUE))
    }

    async fn subscribe_domain(&self, id: i32, domain: Option<&Domain>) -> Result<Subscription, Error> {
        let event_id = enums::DomainEventId::from(id);
        let dom = domain.map(Domain::wire);
        let args = remote::ConnectDomainEventCallbackRegisterAnyArgs { event_id, dom };
        let reply = self.connection().call::<remote::ConnectDomainEventCallbackRegisterAny>(&args).await?;
        Ok(self.connection().subscription(Class::Domain, reply.result()?.callback_id, QUEUE))
    }
}

impl Domain {
    /// Subscribes to one kind of event of this domain.
    ///
    /// # Errors
    /// As every call; [`ErrorKind::Protocol`] when the kind is none of domains.
    pub async fn subscribe(&self, kind: Kind) -> Result<Subscription, Error> {
        match kind.subscription() {
            Source::Domain(id) => self.connect().subscribe_domain(id, Some(self)).await,
            other => Err(Error::protocol(format!("{other:?} is no event of domains"))),
        }
    }
}

//! Events.
//!
//! ```text
//!   daemon ──message──> Routes of the control lane ──> Fanout of a topic ──> Queue ──> Subscription
//!                       (class, number)                (kind, object)        bounded
//! ```
//!
//! A daemon refuses to register the same kind for the same object twice on one connection, so all subscriptions of one topic share one
//! registration. The control lane's keeper makes and ends registrations, one after the other, and makes them again after a reconnect.

mod filter;
mod queue;
mod topic;

pub use filter::Filter;
pub(crate) use queue::{Fanout, Queue};
pub use queue::{Item, Subscription};
pub(crate) use topic::{Topic, TopicKey, deregister};

use crate::connect::Connect;
use crate::domain::Domain;
use crate::error::{Error, ErrorKind};
use crate::keeper::Wish;
use libvirt_protocol::event::Kind;
use libvirt_protocol::flags::ConnectDomainQemuMonitorEventRegisterFlags;
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::remote;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Connect {
    /// Subscribes to one kind of event of all objects (`virConnectDomainEventRegisterAny`, `virConnectNetworkEventRegisterAny`,
    /// `virConnectStoragePoolEventRegisterAny`, `virConnectNodeDeviceEventRegisterAny`, `virConnectSecretEventRegisterAny`,
    /// `virConnectRegisterCloseCallback`, by kind); dropping the subscription ends it (`virConnectDomainEventDeregisterAny` and its like).
    ///
    /// # Errors
    /// As every call; [`ErrorKind::Unsupported`] when the daemon is too old for the kind.
    pub async fn subscribe(&self, kind: Kind) -> Result<Subscription, Error> {
        self.subscribe_to([kind.into()]).await
    }

    /// Subscribes to several kinds of events, each of all objects or of one. They come in one stream, in the daemon's order.
    ///
    /// # Errors
    /// As every call; [`ErrorKind::Unsupported`] when the daemon is too old for a kind.
    pub async fn subscribe_to(
        &self,
        filters: impl IntoIterator<Item = Filter>,
    ) -> Result<Subscription, Error> {
        let mut topics = Vec::new();
        for filter in filters {
            let (procedure, since) = (filter.kind().name(), filter.kind().since());
            if self.daemon_version() < since {
                return Err(Error::new(ErrorKind::Unsupported { procedure, since }));
            }
            topics.push(Topic::of(filter)?);
        }
        self.subscribe_topics(topics).await
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
        self.subscribe_topics(vec![Topic::monitor(domain, event, flags)]).await
    }

    /// Events that belong to no subscription of this handle: those that were registered with a call of [`crate::raw`] or
    /// [`Connect::call`], in the forms of older daemons too (`virConnectDomainEventRegister`), and those that overtake the reply of their
    /// registration. They end with the connection, as what is registered so does.
    ///
    /// # Errors
    /// When the connection is closed, or is not made again in time.
    pub async fn unclaimed_events(&self) -> Result<Subscription, Error> {
        let queue = Arc::new(Queue::new());
        self.connection().await?.add_unclaimed(&queue)?;
        Ok(Subscription::new(queue, Vec::new(), self.wishes().downgrade()))
    }

    async fn subscribe_topics(&self, topics: Vec<Topic>) -> Result<Subscription, Error> {
        if !self.has_numbered_events() {
            let info = remote::ConnectDomainEventCallbackRegisterAny::INFO;
            let kind = ErrorKind::Unsupported { procedure: info.name, since: info.since };
            return Err(Error::new(kind).of(info));
        }
        let queue = Arc::new(Queue::new());
        let mut seen = std::collections::HashSet::new();
        let topics: Vec<_> = topics.into_iter().filter(|topic| seen.insert(topic.key().clone())).collect();
        let keys = topics.iter().map(|topic| topic.key().clone()).collect();
        // Dropped on the way out, it takes back what was registered until then.
        let subscription = Subscription::new(Arc::clone(&queue), keys, self.wishes().downgrade());
        for topic in topics {
            let (answer, answered) = oneshot::channel();
            let wish = Wish::Listen { topic, queue: Arc::clone(&queue), answer };
            let closed = || Error::new(ErrorKind::Closed);
            self.wishes().send(wish).map_err(|_| closed())?;
            // The keeper may be busy with making the connection again.
            let answered = async { self.within(answered).await?.map_err(|_| closed())? };
            self.lanes().explained(answered.await)?;
        }
        Ok(subscription)
    }
}

impl Domain {
    /// Subscribes to one kind of event of this domain (`virConnectDomainEventRegisterAny` with a domain).
    ///
    /// # Errors
    /// As every call; [`ErrorKind::Misuse`] when the kind is none of domains.
    pub async fn subscribe(&self, kind: Kind) -> Result<Subscription, Error> {
        self.connect().subscribe_to([Filter::domain(kind, self)]).await
    }
}

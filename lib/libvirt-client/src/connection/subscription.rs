//! Events of one connection, for whoever wants them.

use super::Shared;
use crate::error::Error;
use libvirt_protocol::event::{Event, Message};
use libvirt_protocol::procedure::Program;
use libvirt_protocol::{qemu, remote};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What a subscription gives.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "items are taken one at a time, and a match on a box reads badly"
)]
pub enum Item {
    /// An event.
    Event(Event<'static>),
    /// So many events were lost here: nobody took them in time. Look at the state again.
    Lagged(u64),
}

/// Subscriptions are told apart by class and number: the daemon's drivers number theirs independently.
pub(super) type Key = (Class, i32);

/// Numbers are unique within one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Domain,
    Network,
    StoragePool,
    NodeDevice,
    Secret,
    Close,
    QemuMonitor,
}

impl Class {
    fn of(event: &Event<'_>) -> Self {
        use libvirt_protocol::event::Subscription as S;
        match event.kind().subscription() {
            S::Network(_) => Self::Network,
            S::StoragePool(_) => Self::StoragePool,
            S::NodeDevice(_) => Self::NodeDevice,
            S::Secret(_) => Self::Secret,
            S::Close => Self::Close,
            S::QemuMonitor => Self::QemuMonitor,
            _ => Self::Domain,
        }
    }
}

/// Queues by subscription.
#[derive(Default)]
pub(super) struct Subscribers {
    queues: HashMap<Key, Queue>,
    /// Events whose subscription is not known yet: they may overtake the reply that names it.
    early: VecDeque<(Key, Event<'static>)>,
    closed: Option<Error>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event<'static>>,
    limit: usize,
    lost: u64,
    reader: Option<Waker>,
}

/// How many early events are kept.
const EARLY: usize = 64;

impl Subscribers {
    pub(super) fn deliver(&mut self, program: Program, procedure: i32, message: Message<'_>) {
        let key = (Class::of(&message.event), message.callback_id.unwrap_or(-1));
        let event = message.event.into_owned();
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.push(event);
        } else {
            tracing::trace!(?program, procedure, "an event before its subscription");
            if self.early.len() == EARLY {
                self.early.pop_front();
            }
            self.early.push_back((key, event));
        }
    }

    pub(super) fn add(&mut self, key: Key, limit: usize) {
        let mut queue = Queue { limit, ..Queue::default() };
        self.early.retain(|(early, event)| {
            if *early == key {
                queue.push(event.clone());
            }
            *early != key
        });
        self.queues.insert(key, queue);
    }

    pub(super) fn close(&mut self, reason: &Error) {
        self.closed = Some(reason.clone());
        for queue in self.queues.values_mut() {
            queue.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    fn poll(&mut self, key: Key, context: &mut Context<'_>) -> Poll<Result<Item, Error>> {
        let Some(queue) = self.queues.get_mut(&key) else {
            return Poll::Ready(Err(Error::new(crate::error::ErrorKind::Closed)));
        };
        if queue.lost > 0 {
            return Poll::Ready(Ok(Item::Lagged(std::mem::take(&mut queue.lost))));
        }
        if let Some(event) = queue.events.pop_front() {
            return Poll::Ready(Ok(Item::Event(event)));
        }
        if let Some(closed) = &self.closed {
            return Poll::Ready(Err(closed.clone()));
        }
        queue.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Queue {
    /// The oldest event makes room: what is true now matters more than what was.
    fn push(&mut self, event: Event<'static>) {
        if self.events.len() == self.limit {
            self.events.pop_front();
            self.lost += 1;
        }
        self.events.push_back(event);
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

/// Events of one subscription. Dropping it ends the delivery here, and tells the daemon.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    key: Key,
}

impl Subscription {
    pub(super) fn new(shared: Arc<Shared>, key: Key, limit: usize) -> Self {
        shared.lock().subscribers.add(key, limit.max(1));
        Self { shared, key }
    }

    /// The next event.
    ///
    /// # Errors
    /// When the connection is closed, after all events that came before.
    pub async fn next(&mut self) -> Result<Item, Error> {
        poll_fn(|context| self.shared.lock().subscribers.poll(self.key, context)).await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.subscribers.queues.remove(&self.key);
        let (class, callback_id) = self.key;
        let traits = self.shared.traits;
        match class {
            Class::Domain => {
                let args = remote::ConnectDomainEventCallbackDeregisterAnyArgs { callback_id };
                state.tell::<remote::ConnectDomainEventCallbackDeregisterAny>(&args, traits);
            }
            Class::Network => {
                let args = remote::ConnectNetworkEventDeregisterAnyArgs { callback_id };
                state.tell::<remote::ConnectNetworkEventDeregisterAny>(&args, traits);
            }
            Class::StoragePool => {
                let args = remote::ConnectStoragePoolEventDeregisterAnyArgs { callback_id };
                state.tell::<remote::ConnectStoragePoolEventDeregisterAny>(&args, traits);
            }
            Class::NodeDevice => {
                let args = remote::ConnectNodeDeviceEventDeregisterAnyArgs { callback_id };
                state.tell::<remote::ConnectNodeDeviceEventDeregisterAny>(&args, traits);
            }
            Class::Secret => {
                let args = remote::ConnectSecretEventDeregisterAnyArgs { callback_id };
                state.tell::<remote::ConnectSecretEventDeregisterAny>(&args, traits);
            }
            Class::Close => state.tell::<remote::ConnectUnregisterCloseCallback>(&(), traits),
            Class::QemuMonitor => {
                let args = qemu::ConnectDomainMonitorEventDeregisterArgs { callback_id };
                state.tell::<qemu::ConnectDomainMonitorEventDeregister>(&args, traits);
            }
        }
    }
}

//! Which events of one connection go to whom.

use crate::events::Fanout;
use libvirt_protocol::event::{Event, Message};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Subscriptions are told apart by class and number: the daemon's drivers number theirs independently.
pub(crate) type Key = (Class, i32);

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

/// Listeners by the daemon's number of their subscription.
#[derive(Default)]
pub(super) struct Routes {
    routes: HashMap<Key, Arc<Fanout>>,
    /// Events whose subscription is not known yet: they may overtake the reply that names it.
    early: VecDeque<(Key, Event<'static>)>,
}

/// How many early events are kept.
const EARLY: usize = 64;

impl Routes {
    pub(super) fn deliver(&mut self, message: Message<'_>) {
        let key = (Class::of(&message.event), message.callback_id.unwrap_or(-1));
        let event = message.event.into_owned();
        if let Some(listeners) = self.routes.get(&key) {
            listeners.deliver(event);
        } else {
            tracing::trace!(?key, "an event before its subscription");
            if self.early.len() == EARLY {
                self.early.pop_front();
            }
            self.early.push_back((key, event));
        }
    }

    pub(super) fn add(&mut self, key: Key, listeners: Arc<Fanout>) {
        for (early, event) in std::mem::take(&mut self.early) {
            if early == key {
                listeners.deliver(event);
            } else {
                self.early.push_back((early, event));
            }
        }
        self.routes.insert(key, listeners);
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.routes.remove(&key);
    }
}

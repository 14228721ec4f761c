//! Which events of one connection go to whom.

use crate::error::Error;
use crate::events::{Fanout, Queue};
use libvirt_protocol::event::{Event, Message};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

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
    /// Subscriptions that the daemon was told to end: what it still sends of them is nobody's, and not the next one's of that number.
    ending: Vec<Key>,
    /// Who wants what belongs to no subscription.
    unclaimed: Vec<Weak<Queue>>,
}

/// How many early events are kept.
const EARLY: usize = 64;

impl Routes {
    pub(super) fn deliver(&mut self, message: Message<'_>) {
        let key = (Class::of(&message.event), message.callback_id.unwrap_or(-1));
        let event = message.event.into_owned();
        if let Some(listeners) = self.routes.get(&key) {
            listeners.deliver(event);
        } else if !self.ending.contains(&key) {
            tracing::trace!(?key, "an event before its subscription");
            self.unclaimed.retain(|queue| queue.strong_count() > 0);
            for queue in self.unclaimed.iter().filter_map(Weak::upgrade) {
                queue.deliver(event.clone());
            }
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

    /// What belongs to no subscription goes to this queue, too.
    pub(super) fn add_unclaimed(&mut self, queue: &Arc<Queue>) {
        self.unclaimed.push(Arc::downgrade(queue));
    }

    /// The connection is closed.
    pub(super) fn close(&mut self, reason: &Error) {
        for queue in self.unclaimed.drain(..).filter_map(|queue| queue.upgrade()) {
            queue.close(reason);
        }
    }

    /// Nobody listens any more; the daemon is yet to be told.
    pub(super) fn remove(&mut self, key: Key) {
        self.routes.remove(&key);
        self.ending.push(key);
    }

    /// The daemon has ended a subscription: what comes under its number from now on is another's.
    pub(super) fn ended(&mut self, key: Key) {
        self.ending.retain(|ending| *ending != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Queue;
    use libvirt_protocol::remote::ConnectEventConnectionClosedMsg;

    fn closed(reason: i32) -> Message<'static> {
        let event = Event::ConnectionClosed(ConnectEventConnectionClosedMsg { reason: reason.into() });
        Message { callback_id: None, event }
    }

    /// Numbers of the events that a listener gets who comes now.
    fn heard(routes: &mut Routes, key: Key) -> Vec<i32> {
        let (queue, fanout) = (Arc::new(Queue::new(8)), Arc::new(Fanout::default()));
        fanout.add(Arc::clone(&queue));
        routes.add(key, fanout);
        queue
            .taken()
            .iter()
            .map(|event| match event {
                Event::ConnectionClosed(body) => body.reason.into(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_comes_early_is_the_next_ones_and_what_comes_late_nobodys() {
        let (mut routes, key) = (Routes::default(), (Class::Close, -1));
        routes.deliver(closed(1));
        assert_eq!(heard(&mut routes, key), [1]);
        routes.remove(key);
        routes.deliver(closed(2));
        routes.ended(key);
        routes.deliver(closed(3));
        assert_eq!(heard(&mut routes, key), [3]);
    }
}

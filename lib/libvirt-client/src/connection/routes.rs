//! Which events of one connection go to whom.

use crate::error::Error;
use crate::events::{Fanout, Queue};
use libvirt_protocol::event::{Event, Message};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

/// Subscriptions are told apart by class and number: the daemon's drivers number theirs independently.
pub(crate) type Key = (Class, i32);

/// Stands for the number of a subscription whose messages carry none.
const NO_NUMBER: i32 = -1;

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
    /// Events whose subscription is not known yet, with their sizes: they may overtake the reply that names it.
    early: VecDeque<(Key, Event<'static>, usize)>,
    /// How many of these were thrown away, by subscription.
    missed: HashMap<Key, u64>,
    /// The same, where it is not known which: whoever comes may have wanted them.
    missed_by_anybody: u64,
    /// Subscriptions that the daemon was told to end: what it still sends of them is nobody's, and not the next one's of that number.
    ending: Vec<Key>,
    /// Who wants what belongs to no subscription.
    unclaimed: Vec<Weak<Queue>>,
}

/// How many early events are kept.
const EARLY: usize = 64;
/// How large they may be together, in bytes as they came.
const EARLY_BYTES: usize = 1024 * 1024;

impl Routes {
    /// An event has come; `size` is that of its message.
    pub(super) fn deliver(&mut self, message: Message<'_>, size: usize) {
        let key = (Class::of(&message.event), message.callback_id.unwrap_or(NO_NUMBER));
        let event = message.event.into_owned();
        if let Some(listeners) = self.routes.get(&key) {
            listeners.deliver(event, size);
        } else if !self.ending.contains(&key) {
            tracing::trace!(?key, "an event before its subscription");
            self.unclaimed.retain(|queue| queue.strong_count() > 0);
            for queue in self.unclaimed.iter().filter_map(Weak::upgrade) {
                queue.deliver(event.clone(), size);
            }
            self.early.push_back((key, event, size));
            self.bound_early();
        }
    }

    /// The oldest early events make room. Who turns out to have wanted them hears that they are missing.
    fn bound_early(&mut self) {
        let mut size: usize = self.early.iter().map(|(_, _, size)| size).sum();
        while self.early.len() > EARLY || size > EARLY_BYTES {
            let Some((key, _, gone)) = self.early.pop_front() else { return };
            size -= gone;
            // Of numbers that nobody ever asks for there may be any number: then it is not kept whose they were.
            if self.missed.len() < EARLY || self.missed.contains_key(&key) {
                *self.missed.entry(key).or_default() += 1;
            } else {
                self.missed_by_anybody += 1;
            }
        }
    }

    /// An event has come that cannot be decoded. Its first word is the number of its subscription, where messages carry one; where none
    /// is known by that, everybody may have missed something.
    pub(super) fn undecodable(&mut self, payload: &[u8]) {
        let number = payload.first_chunk().map_or(NO_NUMBER, |word| i32::from_be_bytes(*word));
        let known = self.routes.keys().any(|(_, known)| *known == number);
        for ((_, other), listeners) in &self.routes {
            if !known || *other == number {
                listeners.lost(1);
            }
        }
        for queue in self.unclaimed.iter().filter_map(Weak::upgrade) {
            queue.lost(1);
        }
    }

    pub(super) fn add(&mut self, key: Key, listeners: Arc<Fanout>) {
        let missed = self.missed.remove(&key).unwrap_or(0) + self.missed_by_anybody;
        if missed > 0 {
            listeners.lost(missed);
        }
        for (early, event, size) in std::mem::take(&mut self.early) {
            if early == key {
                listeners.deliver(event, size);
            } else {
                self.early.push_back((early, event, size));
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
    use crate::events::{Item, Queue};
    use libvirt_protocol::remote::ConnectEventConnectionClosedMsg;

    fn closed(reason: i32) -> Message<'static> {
        let event = Event::ConnectionClosed(ConnectEventConnectionClosedMsg { reason: reason.into() });
        Message { callback_id: None, event }
    }

    /// Numbers of the events that a listener gets who comes now.
    fn heard(routes: &mut Routes, key: Key) -> Vec<i32> {
        let (queue, fanout) = (Arc::new(Queue::new()), Arc::new(Fanout::default()));
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
        routes.deliver(closed(1), 4);
        assert_eq!(heard(&mut routes, key), [1]);
        routes.remove(key);
        routes.deliver(closed(2), 4);
        routes.ended(key);
        routes.deliver(closed(3), 4);
        assert_eq!(heard(&mut routes, key), [3]);
    }

    /// How many events a listener hears to have missed.
    fn missed(queue: &Queue) -> u64 {
        match queue.now() {
            Some(Ok(Item::Lagged(lost))) => lost,
            _ => 0,
        }
    }

    #[test]
    fn early_events_that_had_no_room_are_told_as_missing() {
        for (size, kept) in [(4, 64), (EARLY_BYTES / 2, 2)] {
            let (mut routes, key) = (Routes::default(), (Class::Close, -1));
            (0..70).for_each(|number| routes.deliver(closed(number), size));
            let (queue, fanout) = (Arc::new(Queue::new()), Arc::new(Fanout::default()));
            fanout.add(Arc::clone(&queue));
            routes.add(key, fanout);
            assert_eq!(missed(&queue), 70 - kept, "of {size} bytes");
            assert_eq!(queue.taken().len() as u64, kept);
        }
    }

    #[test]
    fn what_was_missed_is_told_however_many_subscriptions_nobody_asks_for() {
        let mut routes = Routes::default();
        let of = |number| Message { callback_id: Some(number), ..closed(number) };
        // Two of the first, and then each of another subscription, which nobody ever asks for but the last.
        let all = [0].into_iter().chain(0..200);
        all.for_each(|number| routes.deliver(of(number), 4));
        let told = |routes: &mut Routes, number| {
            let (queue, fanout) = (Arc::new(Queue::new()), Arc::new(Fanout::default()));
            fanout.add(Arc::clone(&queue));
            routes.add((Class::Close, number), fanout);
            missed(&queue)
        };
        assert!(told(&mut routes, 0) >= 2, "its own");
        assert!(told(&mut routes, 100) >= 1, "it may be among those that were not kept apart");
    }

    #[test]
    fn who_may_have_missed_what_nobody_understands_is_told() {
        let mut routes = Routes::default();
        let [one, other] = [3, 4].map(|number| {
            let (queue, fanout) = (Arc::new(Queue::new()), Arc::new(Fanout::default()));
            fanout.add(Arc::clone(&queue));
            routes.add((Class::Domain, number), fanout);
            queue
        });
        routes.undecodable(&[0, 0, 0, 3, 9]);
        assert_eq!((missed(&one), missed(&other)), (1, 0), "its number is known");
        for payload in [&[0, 0, 0, 9][..], &[7]] {
            routes.undecodable(payload);
            assert_eq!((missed(&one), missed(&other)), (1, 1), "it may be anybody's");
        }
    }
}

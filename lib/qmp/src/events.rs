//! Events: delivery that never holds up the connection, and their typed forms.

pub use crate::generated::{EventData, ShutdownCause};

use crate::{message::Event, mutex::guarded};
use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll},
};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

/// Which events a subscription takes.
#[derive(Clone, Debug, Default)]
pub enum Filter {
    /// Every event.
    #[default]
    All,
    /// The events of these names: a storm of others cannot push them out.
    Names(Arc<[String]>),
}

impl Filter {
    /// The events of these names.
    pub fn names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Names(names.into_iter().map(Into::into).collect())
    }

    fn takes(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.contains(&event.name),
        }
    }
}

/// Why a subscription has no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// So many events were dropped, oldest first, because nobody read them; later ones follow.
    #[error("{0} events were lost because they were not read in time")]
    Lagged(u64),
    /// The connection has ended and every event was read.
    #[error("the connection has ended")]
    Closed,
}

/// A bounded queue of events with one reader.
#[derive(Debug)]
pub struct Subscription {
    ring: Arc<Ring>,
}

impl Subscription {
    /// The next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`EventError::Lagged`] once per gap, then the events after it; [`EventError::Closed`] at the end.
    pub async fn next(&mut self) -> Result<Arc<Event>, EventError> {
        loop {
            let notified = self.ring.notify.notified();
            if let Some(result) = self.ring.take() {
                return result;
            }
            notified.await;
        }
    }
}

/// Future of one event; see [`crate::Client::waiter`]. `None` when the connection ended first.
#[derive(Debug)]
pub struct Waiter {
    receiver: oneshot::Receiver<Arc<Event>>,
}

impl Future for Waiter {
    type Output = Option<Arc<Event>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(Result::ok)
    }
}

/// Distributes events. Publishing never waits.
#[derive(Default)]
pub(crate) struct Hub {
    /// Who listens; held for short sections without await.
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    rings: Vec<Weak<Ring>>,
    waiters: Vec<(Predicate, oneshot::Sender<Arc<Event>>)>,
    closed: bool,
}

impl Listeners {
    /// Also where no event comes, those who have left take no room: each who comes pays for that with a look at all, and they are few.
    fn forget_the_gone(&mut self) {
        self.rings.retain(|ring| ring.strong_count() > 0);
        self.waiters.retain(|(_, sender)| !sender.is_closed());
    }
}

pub(crate) type Predicate = Box<dyn FnMut(&Event) -> bool + Send>;

impl Hub {
    pub(crate) fn subscribe(&self, filter: Filter, capacity: usize) -> Subscription {
        let mut listeners = guarded(&self.listeners);
        let content = Content { closed: listeners.closed, ..Content::default() };
        let ring = Arc::new(Ring {
            filter,
            capacity: capacity.max(1),
            content: Mutex::new(content),
            notify: Notify::new(),
        });
        listeners.forget_the_gone();
        listeners.rings.push(Arc::downgrade(&ring));
        Subscription { ring }
    }

    pub(crate) fn waiter(&self, matches: Predicate) -> Waiter {
        let (sender, receiver) = oneshot::channel();
        let mut listeners = guarded(&self.listeners);
        listeners.forget_the_gone();
        if !listeners.closed {
            listeners.waiters.push((matches, sender));
        }
        Waiter { receiver }
    }

    pub(crate) fn publish(&self, event: Event) {
        let event = Arc::new(event);
        let mut listeners = guarded(&self.listeners);
        listeners.rings.retain(|ring| ring.upgrade().map(|ring| ring.put(&event)).is_some());
        for (mut matches, sender) in std::mem::take(&mut listeners.waiters) {
            if sender.is_closed() {
                continue;
            }
            if matches(&event) {
                // A waiter dropped meanwhile wants nothing.
                let _ = sender.send(event.clone());
            } else {
                listeners.waiters.push((matches, sender));
            }
        }
    }

    pub(crate) fn close(&self) {
        let mut listeners = guarded(&self.listeners);
        listeners.closed = true;
        listeners.waiters.clear();
        for ring in listeners.rings.drain(..).filter_map(|ring| ring.upgrade()) {
            guarded(&ring.content).closed = true;
            ring.notify.notify_one();
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners = guarded(&self.listeners);
        write!(f, "Hub {{ rings: {}, waiters: {} }}", listeners.rings.len(), listeners.waiters.len())
    }
}

#[derive(Debug)]
struct Ring {
    filter: Filter,
    capacity: usize,
    /// Unread events; held for short sections without await.
    content: Mutex<Content>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Content {
    events: VecDeque<Arc<Event>>,
    lost: u64,
    closed: bool,
}

impl Ring {
    fn put(&self, event: &Arc<Event>) {
        if !self.filter.takes(event) {
            return;
        }
        let mut content = guarded(&self.content);
        if content.events.len() == self.capacity {
            content.events.pop_front();
            content.lost += 1;
        }
        content.events.push_back(event.clone());
        self.notify.notify_one();
    }

    fn take(&self) -> Option<Result<Arc<Event>, EventError>> {
        let mut content = guarded(&self.content);
        if content.lost > 0 {
            return Some(Err(EventError::Lagged(std::mem::take(&mut content.lost))));
        }
        match content.events.pop_front() {
            Some(event) => Some(Ok(event)),
            None => content.closed.then_some(Err(EventError::Closed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_have_left_take_no_room_where_no_event_comes() {
        let hub = Hub::default();
        let kept = (hub.subscribe(Filter::All, 1), hub.waiter(Box::new(|_| true)));
        for _ in 0..100 {
            drop(hub.subscribe(Filter::All, 1));
            drop(hub.waiter(Box::new(|_| true)));
        }
        // The last waiter came after the last subscription and has left since.
        assert_eq!(format!("{hub:?}"), "Hub { rings: 1, waiters: 2 }");
        drop(kept);
        let _last = hub.subscribe(Filter::All, 1);
        assert_eq!(format!("{hub:?}"), "Hub { rings: 1, waiters: 0 }");
    }
}

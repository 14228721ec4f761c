//! From the connection to whoever listens.

use super::topic::TopicKey;
use crate::error::Error;
use crate::keeper::Wish;
use futures::Stream;
use libvirt_protocol::event::Event;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::mpsc::WeakUnboundedSender;

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
    /// The connection was lost and is there again, and so is this subscription. Whatever happened in between was not seen: look at the
    /// state again.
    Resynchronised,
}

/// What waits for one subscriber.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Guards the queue alone; never held while another lock is taken.
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Waiting>,
    limit: usize,
    lost: u64,
    reader: Option<Waker>,
    closed: Option<Error>,
}

#[derive(Debug)]
enum Waiting {
    Event(Arc<Event<'static>>),
    Resynchronised,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        let inner =
            Inner { waiting: VecDeque::new(), limit: limit.max(1), lost: 0, reader: None, closed: None };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Waiting) {
        let mut inner = self.lock();
        // The oldest makes room: what is true now matters more than what was.
        if inner.waiting.len() == inner.limit {
            inner.waiting.pop_front();
            inner.lost += 1;
        }
        inner.waiting.push_back(item);
        inner.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Adds an event that is this queue's alone.
    pub(crate) fn deliver(&self, event: Event<'static>) {
        self.push(Waiting::Event(Arc::new(event)));
    }

    /// What waits, for tests of who gets what.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> Vec<Event<'static>> {
        let event = |waiting| match waiting {
            Waiting::Event(event) => Some(Arc::unwrap_or_clone(event)),
            Waiting::Resynchronised => None,
        };
        self.lock().waiting.drain(..).filter_map(event).collect()
    }

    /// The connection is there again.
    pub(crate) fn resynchronised(&self) {
        self.push(Waiting::Resynchronised);
    }

    /// Nothing more comes.
    pub(crate) fn close(&self, reason: &Error) {
        let mut inner = self.lock();
        inner.closed.get_or_insert_with(|| reason.clone());
        inner.reader.take().into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<Item, Error>> {
        let mut inner = self.lock();
        if inner.lost > 0 {
            return Poll::Ready(Ok(Item::Lagged(std::mem::take(&mut inner.lost))));
        }
        match inner.waiting.pop_front() {
            Some(Waiting::Event(event)) => return Poll::Ready(Ok(Item::Event(Arc::unwrap_or_clone(event)))),
            Some(Waiting::Resynchronised) => return Poll::Ready(Ok(Item::Resynchronised)),
            None => {}
        }
        if let Some(closed) = &inner.closed {
            return Poll::Ready(Err(closed.clone()));
        }
        inner.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Everybody who listens to one topic.
#[derive(Debug, Default)]
pub(crate) struct Fanout {
    /// Guards the list alone.
    queues: Mutex<Vec<Arc<Queue>>>,
}

impl Fanout {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn deliver(&self, event: Event<'static>) {
        let event = Arc::new(event);
        for queue in &*self.lock() {
            queue.push(Waiting::Event(Arc::clone(&event)));
        }
    }

    pub(crate) fn add(&self, queue: Arc<Queue>) {
        self.lock().push(queue);
    }

    /// Takes a listener out once; returns whether nobody is left.
    pub(crate) fn remove(&self, queue: &Arc<Queue>) -> bool {
        let mut queues = self.lock();
        if let Some(at) = queues.iter().position(|known| Arc::ptr_eq(known, queue)) {
            queues.swap_remove(at);
        }
        queues.is_empty()
    }

    /// Those who listen.
    pub(crate) fn queues(&self) -> Vec<Arc<Queue>> {
        self.lock().clone()
    }

    pub(crate) fn close(&self, reason: &Error) {
        for queue in self.lock().drain(..) {
            queue.close(reason);
        }
    }
}

/// Events of one subscription; also a [`Stream`], which ends after the error that closes it. Dropping it ends it, also at the daemon
/// when nobody else listens to the same.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    topics: Vec<TopicKey>,
    keeper: WeakUnboundedSender<Wish>,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(queue: Arc<Queue>, topics: Vec<TopicKey>, keeper: WeakUnboundedSender<Wish>) -> Self {
        Self { queue, topics, keeper, ended: false }
    }

    /// The next event. Dropping the future loses none.
    ///
    /// # Errors
    /// When the connection is closed, after all events that came before.
    pub async fn next(&mut self) -> Result<Item, Error> {
        poll_fn(|context| self.queue.poll(context)).await
    }
}

impl Stream for Subscription {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(self.queue.poll(context));
        self.ended = item.is_err();
        Poll::Ready(Some(item))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.upgrade() {
            for topic in self.topics.drain(..) {
                // Without a keeper there is no registration either.
                let _ = keeper.send(Wish::Leave { topic, queue: Arc::clone(&self.queue) });
            }
        }
    }
}

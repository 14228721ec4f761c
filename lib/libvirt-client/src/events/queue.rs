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
    /// So many events were lost here: nobody took them in time, or they could not be understood. Look at the state again.
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
    /// Sizes of the events among these together.
    bytes: usize,
    /// How many of these are no events.
    markers: usize,
    lost: u64,
    /// Whatever comes next comes over another connection than what came before.
    elsewhere: bool,
    reader: Option<Waker>,
    closed: Option<Error>,
}

#[derive(Debug)]
enum Waiting {
    /// An event, and the size of its message.
    Event(Arc<Event<'static>>, usize),
    Resynchronised,
}

/// Events that wait for a subscriber, at most.
const EVENTS: usize = 1024;
/// How large they may be together, in bytes as they came; a single one may be larger.
const BYTES: usize = 8 * 1024 * 1024;

impl Inner {
    fn push(&mut self, item: Waiting) {
        if let Waiting::Event(_, size) = &item {
            self.bytes += size;
        }
        self.waiting.push_back(item);
        while self.events() > EVENTS || (self.bytes > BYTES && self.events() > 1) {
            self.lose_oldest();
        }
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Events that wait.
    fn events(&self) -> usize {
        self.waiting.len() - self.markers
    }

    /// The oldest event makes room: what is true now matters more than what was. A marker stays, for nothing else tells that the connection
    /// was another one; but of two with nothing between them one is enough.
    fn lose_oldest(&mut self) {
        let is_event = |item: &Waiting| matches!(item, Waiting::Event(..));
        if let Some(at) = self.waiting.iter().position(is_event)
            && let Some(Waiting::Event(_, size)) = self.waiting.remove(at)
        {
            self.bytes -= size;
            self.lost += 1;
            let beside = at > 0 && self.waiting.get(at).is_some_and(|item| !is_event(item));
            if beside {
                self.waiting.remove(at);
                self.markers -= 1;
            }
        }
    }

    fn announce(&mut self) {
        if std::mem::take(&mut self.elsewhere) {
            // Of two with nothing between them one is enough.
            if !matches!(self.waiting.back(), Some(Waiting::Resynchronised)) {
                self.markers += 1;
                self.push(Waiting::Resynchronised);
            }
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let item = self.waiting.pop_front()?;
        match &item {
            Waiting::Event(_, size) => self.bytes -= size,
            Waiting::Resynchronised => self.markers -= 1,
        }
        Some(item)
    }
}

impl Queue {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            bytes: 0,
            markers: 0,
            lost: 0,
            elsewhere: false,
            reader: None,
            closed: None,
        };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: Arc<Event<'static>>, size: usize) {
        let mut inner = self.lock();
        inner.announce();
        inner.push(Waiting::Event(event, size));
    }

    /// Adds an event that is this queue's alone.
    pub(crate) fn deliver(&self, event: Event<'static>, size: usize) {
        self.push(Arc::new(event), size);
    }

    /// So many events will not come.
    pub(crate) fn lost(&self, events: u64) {
        let mut inner = self.lock();
        inner.lost += events;
        inner.reader.take().into_iter().for_each(Waker::wake);
    }

    /// What waits, for tests of who gets what.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> Vec<Event<'static>> {
        let event = |waiting| match waiting {
            Waiting::Event(event, _) => Some(Arc::unwrap_or_clone(event)),
            Waiting::Resynchronised => None,
        };
        std::iter::from_fn(|| self.lock().pop()).filter_map(event).collect()
    }

    /// What can be had without waiting.
    pub(crate) fn now(&self) -> Option<Result<Item, Error>> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(item) => Some(item),
            Poll::Pending => None,
        }
    }

    /// The connection is being made again: what comes from now on stands behind a marker.
    pub(crate) fn moves(&self) {
        self.lock().elsewhere = true;
    }

    /// The connection is there again: the marker, unless it stands there already.
    pub(crate) fn announce(&self) {
        self.lock().announce();
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
        match inner.pop() {
            Some(Waiting::Event(event, _)) => {
                return Poll::Ready(Ok(Item::Event(Arc::unwrap_or_clone(event))));
            }
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

    pub(crate) fn deliver(&self, event: Event<'static>, size: usize) {
        let event = Arc::new(event);
        for queue in &*self.lock() {
            queue.push(Arc::clone(&event), size);
        }
    }

    /// So many events will not come.
    pub(crate) fn lost(&self, events: u64) {
        self.lock().iter().for_each(|queue| queue.lost(events));
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

    /// What waits already; nothing when nothing does.
    pub(crate) fn now(&mut self) -> Option<Result<Item, Error>> {
        self.queue.now()
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

#[cfg(test)]
mod tests {
    use super::*;
    use libvirt_protocol::remote::ConnectEventConnectionClosedMsg;

    fn event(reason: i32) -> Event<'static> {
        Event::ConnectionClosed(ConnectEventConnectionClosedMsg { reason: reason.into() })
    }

    #[test]
    fn what_waits_is_bounded_by_its_size_too() {
        let queue = Queue::new();
        (0..10).for_each(|number| queue.deliver(event(number), BYTES / 4));
        assert!(matches!(queue.now(), Some(Ok(Item::Lagged(6)))));
        assert_eq!(queue.taken(), [6, 7, 8, 9].map(event));
        // One that is larger than all that may wait comes all the same, alone.
        queue.deliver(event(1), 4);
        queue.deliver(event(2), 2 * BYTES);
        assert!(matches!(queue.now(), Some(Ok(Item::Lagged(1)))));
        assert_eq!(queue.taken(), [event(2)]);
    }

    #[test]
    fn a_full_queue_keeps_the_marker() {
        let queue = Queue::new();
        (0..10).for_each(|number| queue.deliver(event(number), 4));
        // Twice, with too much behind each.
        for _ in 0..2 {
            queue.moves();
            (0..2 * EVENTS).for_each(|_| queue.deliver(event(1), 4));
        }
        let item = || queue.now().unwrap().unwrap();
        assert_eq!(item(), Item::Lagged(10 + 3 * EVENTS as u64));
        assert_eq!(item(), Item::Resynchronised);
        for left in (0..EVENTS).rev() {
            assert_eq!(item(), Item::Event(event(1)), "{left} are left");
        }
        assert!(queue.now().is_none(), "one marker, and as many events as may wait");
        // Nobody reads while the connection is lost again and again.
        for _ in 0..3 * EVENTS {
            queue.moves();
            queue.announce();
        }
        assert_eq!(item(), Item::Resynchronised);
        assert!(queue.now().is_none(), "one marker");
    }

    #[test]
    fn the_marker_stands_before_the_first_event_of_another_connection() {
        let queue = Queue::new();
        queue.deliver(event(1), 4);
        queue.moves();
        // The second attempt has events before it is known to be good.
        queue.moves();
        queue.deliver(event(2), 4);
        queue.announce();
        queue.deliver(event(3), 4);
        let item = |queue: &Queue| queue.now().unwrap().unwrap();
        assert_eq!(item(&queue), Item::Event(event(1)));
        assert_eq!(item(&queue), Item::Resynchronised);
        assert_eq!([item(&queue), item(&queue)], [2, 3].map(|number| Item::Event(event(number))));
        assert!(queue.now().is_none(), "one marker");
    }
}

//! A call that waits alone on its connection reads it in its own turn, in place of the driver.
//!
//! ```text
//!   the socket is ready ──> Herald ──> the call that waits alone: reads, and has its reply      one task is woken
//!                                 └──> the driver: reads, and wakes whoever has got something   two, one after the other
//! ```
//!
//! Only while nothing else can be waited for: no other call, no stream, no subscription. A future that was woken and is not polled then keeps
//! nobody waiting but itself; the next call that begins has the driver read, and so does the next question whether the daemon lives.

use super::reading::Reading;
use super::state::State;
use libvirt_protocol::session::Serial;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// What the transport wakes.
#[derive(Default)]
pub(super) struct Herald(Mutex<Sides>);

#[derive(Default)]
struct Sides {
    leader: Option<Waker>,
    driver: Option<Waker>,
    /// The transport has something, and nobody has looked since.
    called: bool,
}

impl Herald {
    /// Short sections, in which nothing is woken and nothing panics.
    fn lock(&self) -> MutexGuard<'_, Sides> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver is woken through this.
    pub(super) fn driven_by(&self, driver: &Waker) {
        let mut sides = self.lock();
        if !sides.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            sides.driver = Some(driver.clone());
        }
    }

    /// Somebody looks at the transport now.
    pub(super) fn answered(&self) {
        self.lock().called = false;
    }

    fn has_called(&self) -> bool {
        self.lock().called
    }

    fn led_by(&self, leader: &Waker) {
        let mut sides = self.lock();
        if !sides.leader.as_ref().is_some_and(|known| known.will_wake(leader)) {
            sides.leader = Some(leader.clone());
        }
    }

    /// Whoever led does so no more; tells whether the transport has something that he has not looked at.
    fn unled(&self) -> (Option<Waker>, bool) {
        let mut sides = self.lock();
        (sides.leader.take(), sides.called)
    }

    /// Nobody is woken any more.
    pub(super) fn end(&self) {
        *self.lock() = Sides::default();
    }
}

impl Wake for Herald {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut sides = self.lock();
        sides.called = true;
        // A leader that was woken already, and has not looked yet, may not: then it is the driver's turn.
        let waker = sides.leader.take().or_else(|| sides.driver.clone());
        drop(sides);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// If this call leads, and there is something to be read, it reads.
    pub(super) fn lead_on(&mut self, serial: Serial) {
        if self.leader != Some(serial) || !self.herald.has_called() {
            return;
        }
        // It has its turn now, and need not be woken by what it reads itself.
        self.leader = None;
        let _ = self.herald.unled();
        if let Err(reason) = self.turn() {
            // Whoever looks after the connection hears of its end from the driver, and before those who wait for replies: they may call
            // again at once, and are to find it as it is then.
            self.broken = Some(reason);
            self.wake_driver();
        }
    }

    /// Has a call wait for its reply: by itself if it is alone, through the driver otherwise.
    pub(super) fn wait(&mut self, serial: Serial, context: &Context<'_>) {
        if self.is_alone() {
            self.leader = Some(serial);
            self.herald.led_by(context.waker());
        } else {
            self.waiters.register(serial, context.waker());
        }
    }

    /// Whether a call that waits is all that there is.
    fn is_alone(&self) -> bool {
        self.reading == Reading::Nobody
            && self.closed.is_none()
            && self.broken.is_none()
            && self.waiters.has_one()
            && self.streams.is_empty()
            && self.routes.is_empty()
    }

    /// From now on the driver reads: there is more to wait for, or nobody who waits.
    pub(super) fn unlead(&mut self) {
        let Some(serial) = self.leader.take() else { return };
        let (waker, called) = self.herald.unled();
        if let Some(waker) = waker {
            self.waiters.register(serial, &waker);
        }
        if called {
            self.wake_driver();
        }
    }

    /// Somebody else has read what the leader waits for.
    pub(super) fn wake_leader(&mut self) {
        if self.leader.take().is_some() {
            self.herald.unled().0.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::connection::{Connection, Driver, Options, connection};
    use crate::error::Error;
    use crate::transport::{Privacy, Stream};
    use libvirt_protocol::packet::{self, Header, Kind, LENGTH_SIZE, PACKET_MIN};
    use libvirt_protocol::remote::ConnectGetLibVersion;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// How often somebody was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Woken {
        fn times(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// A task that is polled when the test says so.
    struct Task<F: Future> {
        future: Pin<Box<F>>,
        woken: Arc<Woken>,
    }

    impl<F: Future> Task<F> {
        fn new(future: F) -> Self {
            Self { future: Box::pin(future), woken: Arc::default() }
        }

        fn poll(&mut self) -> Poll<F::Output> {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.future.as_mut().poll(&mut Context::from_waker(&waker))
        }
    }

    /// A connection whose other side is the test, and its driver, which waits.
    fn begun() -> (Connection, Task<Driver>, DuplexStream) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (connection, driver) = connection(Stream::new(near, Privacy::Private), Options::default());
        let mut driver = Task::new(driver);
        assert!(driver.poll().is_pending());
        (connection, driver, far)
    }

    async fn version(connection: &Connection) -> Result<u64, Error> {
        Ok(connection.call::<ConnectGetLibVersion>(&()).await?.result()?.lib_ver)
    }

    /// The next call that has come.
    async fn heard(far: &mut DuplexStream) -> Header {
        let mut call = [0; PACKET_MIN];
        far.read_exact(&mut call).await.unwrap();
        Header::decode(call[LENGTH_SIZE..].first_chunk().unwrap()).unwrap()
    }

    async fn answer(far: &mut DuplexStream, call: Header, version: u64) {
        let reply = Header { kind: Kind::Reply, ..call };
        far.write_all(&packet::encode(&reply, 0, &version.to_be_bytes())).await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_waits_alone_needs_nobody_to_read_its_reply() {
        let (connection, driver, mut far) = begun();
        for number in 1..4 {
            let mut call = Task::new(version(&connection));
            assert!(call.poll().is_pending());
            let header = heard(&mut far).await;
            answer(&mut far, header, number).await;
            assert_eq!((call.woken.times(), driver.woken.times()), (1, 0));
            let Poll::Ready(Ok(version)) = call.poll() else { panic!("its reply is there") };
            assert_eq!((version, call.woken.times()), (number, 1), "nobody wakes who has his turn");
        }
        // While nobody waits, what comes is the driver's.
        drop(far);
        assert_eq!(driver.woken.times(), 1);
    }

    #[tokio::test]
    async fn one_that_was_woken_and_has_no_turn_keeps_nobody_waiting() {
        let (connection, mut driver, mut far) = begun();
        let mut idle = Task::new(version(&connection));
        assert!(idle.poll().is_pending());
        let header = heard(&mut far).await;
        answer(&mut far, header, 1).await;
        assert_eq!((idle.woken.times(), driver.woken.times()), (1, 0));
        let mut busy = Task::new(version(&connection));
        assert!(busy.poll().is_pending());
        let header = heard(&mut far).await;
        answer(&mut far, header, 2).await;
        assert!(driver.woken.times() > 0, "there are two who wait");
        assert!(driver.poll().is_pending());
        assert_eq!(busy.woken.times(), 1);
        assert!(matches!(busy.poll(), Poll::Ready(Ok(2))));
        assert!(matches!(idle.poll(), Poll::Ready(Ok(1))));
    }

    #[tokio::test]
    async fn one_that_is_dropped_after_it_was_woken_leaves_the_rest_to_the_driver() {
        let (connection, mut driver, mut far) = begun();
        let mut call = Task::new(version(&connection));
        assert!(call.poll().is_pending());
        let header = heard(&mut far).await;
        answer(&mut far, header, 1).await;
        assert_eq!(call.woken.times(), 1);
        drop(call);
        assert_eq!(driver.woken.times(), 1, "what has come is still to be read");
        assert!(driver.poll().is_pending());
        // The end of the connection, too, when nobody waits.
        drop(far);
        assert!(driver.poll().is_ready());
    }

    #[tokio::test]
    async fn a_leader_hears_of_the_end() {
        let (connection, mut driver, far) = begun();
        let mut call = Task::new(version(&connection));
        assert!(call.poll().is_pending());
        drop(far);
        assert_eq!((call.woken.times(), driver.woken.times()), (1, 0));
        assert!(call.poll().is_pending());
        assert_eq!((call.woken.times(), driver.woken.times()), (1, 1), "who looks after it hears it first");
        assert!(driver.poll().is_ready());
        assert_eq!(call.woken.times(), 2);
        assert!(matches!(call.poll(), Poll::Ready(Err(_))));
        // And when it is not the leader who finds out.
        let (connection, mut driver, far) = begun();
        let mut call = Task::new(version(&connection));
        assert!(call.poll().is_pending());
        connection.shut(&Error::misuse("for a test"));
        assert_eq!(call.woken.times(), 1);
        assert!(matches!(call.poll(), Poll::Ready(Err(_))));
        assert!(driver.poll().is_ready());
        drop(far);
    }
}

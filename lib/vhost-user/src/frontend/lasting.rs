//! A device that lasts longer than its back-ends do.
//!
//! ```text
//!   start --> keep: the back-end leaves --> connect, again and again --> negotiate, memory, inflight region, queues --.
//!               ^-------------------------------------------------------------------------------------------------------'
//!   meanwhile, in any thread: Queue::ring, whose requests wait
//! ```
//!
//! What was in flight is written down in memory that outlives the back-end, so that the next one goes on with exactly that. The driver notices
//! nothing but the time that it takes.

use super::queue::Anchor;
use super::{CallError, FrontEnd, Queue, Wanted};
use crate::ProtocolFeatures;
use crate::front::Request;
use crate::memory::Memory;
use crate::payload::Inflight;
#[cfg(feature = "tokio")]
use crate::socket::Reactor;
use crate::socket::{Canceller, Socket, SocketError, Thread, Waits};
use rustix::event::PollFlags;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use virtio::features::Features;

/// How long to wait between two tries: at first, and at last. A back-end that is there again is found within the second of them.
const FIRST: Duration = Duration::from_micros(500);
const LAST: Duration = Duration::from_millis(4);

/// Tells a new back-end what else there is to be told.
type Again<'a, W> =
    dyn for<'f> FnMut(&'f mut FrontEnd<W>) -> <W as Waits>::Output<'f, Result<(), CallError>> + Send + 'a;

/// A front-end that connects again by itself, for as long as it takes; in the thread that calls, or in tokio's reactor.
pub struct Lasting<C, W = Thread> {
    connect: C,
    wanted: Wanted,
    timeout: Duration,
    canceller: Canceller,
    front: FrontEnd<W>,
    inflight: (Inflight, OwnedFd),
    queues: Vec<Arc<Anchor>>,
    /// All queues of the session were started. One in which only some were is no other's until it has ended.
    is_going: bool,
}

impl<C: FnMut() -> io::Result<UnixStream> + Send> Lasting<C> {
    /// Connects for the first time, and asks for a region that remembers what is in flight of so many queues of so many entries. `connect`
    /// may fail as often as it likes; it does not wait.
    ///
    /// # Errors
    /// [`CallError::Missing`] where the back-end lacks features, [`CallError::NotSent`] where it has no inflight region, and
    /// [`SocketError::Cancelled`].
    pub fn new(
        connect: C,
        wanted: Wanted,
        timeout: Duration,
        inflight: (u16, u16),
        canceller: Canceller,
    ) -> Result<Self, CallError> {
        Thread::run(Self::begin(connect, wanted, timeout, inflight, canceller))
    }
}

#[cfg(feature = "tokio")]
impl<C: FnMut() -> io::Result<UnixStream> + Send> Lasting<C, Reactor> {
    /// [`Lasting::new`] as a future.
    ///
    /// # Errors
    /// As there.
    pub async fn in_reactor(
        connect: C,
        wanted: Wanted,
        timeout: Duration,
        inflight: (u16, u16),
        canceller: Canceller,
    ) -> Result<Self, CallError> {
        Self::begin(connect, wanted, timeout, inflight, canceller).await
    }
}

impl<C: FnMut() -> io::Result<UnixStream> + Send, W: Waits> Lasting<C, W> {
    async fn begin(
        mut connect: C,
        wanted: Wanted,
        timeout: Duration,
        size: (u16, u16),
        canceller: Canceller,
    ) -> Result<Self, CallError> {
        let protocol = wanted.protocol | ProtocolFeatures::INFLIGHT_SHMFD | ProtocolFeatures::REPLY_ACK;
        let wanted = Wanted { protocol, ..wanted };
        let mut pauses = Pauses::<W>::new(&canceller)?;
        let (front, inflight) = loop {
            match Self::first(&mut connect, wanted, timeout, size, &canceller).await {
                Ok(there) => break there,
                Err(error) => pauses.after(error).await?,
            }
        };
        // Rings are as they are now, whatever else another back-end may offer.
        let features = front.negotiated().features;
        let wanted = Wanted { features: Features::empty(), required: features, ..wanted };
        Ok(Self { connect, wanted, timeout, canceller, front, inflight, queues: Vec::new(), is_going: true })
    }

    async fn first(
        connect: &mut C,
        wanted: Wanted,
        timeout: Duration,
        (queues, size): (u16, u16),
        canceller: &Canceller,
    ) -> Result<(FrontEnd<W>, (Inflight, OwnedFd)), CallError> {
        let mut front = FrontEnd::on(connect()?, timeout, canceller.clone())?;
        front.agree(wanted).await?;
        let inflight = front.inflight_region(queues, size).await?;
        Ok((front, inflight))
    }

    /// [`FrontEnd::add_memory`], for all back-ends.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn add_memory<'a>(&'a mut self, memory: &'a Memory) -> W::Output<'a, Result<(), CallError>> {
        self.front.add_memory(memory)
    }

    /// [`FrontEnd::start_queue`], for all back-ends. The queue belongs to whoever drives it.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unremembered`] where the region that remembers what is in flight has no room for it.
    pub fn start_queue<'a>(
        &'a mut self,
        index: u32,
        size: u16,
        memory: &'a mut Memory,
    ) -> W::Output<'a, Result<Queue, CallError>> {
        W::run(async move {
            let Inflight { queues, queue_size: most, .. } = self.inflight.0;
            if index >= queues.into() || size > most {
                return Err(CallError::Unremembered { index, size, queues, most });
            }
            let queue = self.front.lay_out(0, index, size, memory)?;
            let anchor = queue.anchor();
            self.front.size(&anchor, anchor.base()).await?;
            remember(&mut self.front, &self.inflight).await?;
            self.front.locate(&anchor).await?;
            self.front.set_going(&anchor).await?;
            self.queues.push(anchor);
            Ok(queue)
        })
    }

    /// The session with the back-end that is there now, for other requests.
    pub const fn front(&mut self) -> &mut FrontEnd<W> {
        &mut self.front
    }

    /// Stays until it is cancelled: whenever the back-end is gone, goes on with the next. `again` gives each what else it has to know (a channel, a
    /// log, the device's state), when it knows of memory and rings, and before these start. It may be asked of one that dies meanwhile,
    /// and is asked again of the next.
    ///
    /// # Errors
    /// [`SocketError::Cancelled`] in the end, [`CallError::Missing`] where another back-end lacks what was in use before, and those of `again`
    /// after which no other try has another outcome; after the others there is one.
    pub fn keep<'a>(
        &'a mut self,
        mut again: impl for<'f> FnMut(&'f mut FrontEnd<W>) -> W::Output<'f, Result<(), CallError>> + Send + 'a,
    ) -> W::Output<'a, Result<(), CallError>> {
        W::run(async move {
            loop {
                self.until_gone().await?;
                self.go_on(&mut again).await?;
            }
        })
    }

    /// Waits until the back-end is gone.
    ///
    /// # Errors
    /// [`SocketError::Cancelled`].
    pub fn gone(&mut self) -> W::Output<'_, Result<(), CallError>> {
        W::run(self.until_gone())
    }

    async fn until_gone(&mut self) -> Result<(), CallError> {
        if !self.is_going {
            // Nobody waited until it was: it is no back-end to stay with.
            return Ok(());
        }
        self.front.socket.expire_after(None)?;
        // Those of calls that nobody waited for any more.
        while self.front.asking.waiting() > 0 {
            match self.front.answer("an earlier request").await {
                Ok(_) => {}
                Err(CallError::Socket { error: error @ SocketError::Cancelled, .. }) => {
                    return Err(not_connected(error));
                }
                Err(_) => return Ok(()),
            }
        }
        // Nothing is under way, so that whatever there is to read is the end.
        let FrontEnd { socket, waits, .. } = &self.front;
        waits.wait(socket, PollFlags::IN).await.map_err(not_connected)
    }

    /// Connects until there is a back-end that goes on.
    ///
    /// # Errors
    /// As [`Lasting::keep`].
    pub fn resume(&mut self) -> W::Output<'_, Result<(), CallError>> {
        W::run(async move { self.go_on(&mut |_| W::run(async { Ok(()) })).await })
    }

    async fn go_on(&mut self, again: &mut Again<'_, W>) -> Result<(), CallError> {
        self.end().await?;
        let mut pauses = Pauses::<W>::new(&self.canceller)?;
        loop {
            let tried = match self.next(again).await {
                Ok(next) => {
                    // From its first kick on it may do what is in flight.
                    (self.front, self.is_going) = (next, false);
                    self.set_going().await
                }
                Err(error) => Err(error),
            };
            let Err(error) = tried else { break };
            if !self.is_going {
                self.end().await?;
            }
            pauses.after(error).await?;
        }
        for queue in &self.queues {
            // The back-end that died may have given something back, and not have lived to tell.
            queue.call_driver()?;
        }
        Ok(())
    }

    /// The session before is over: two on one ring would do its work twice. One that lives still is told by the end of what we say, and has as long
    /// as it takes to finish what it is at.
    async fn end(&mut self) -> Result<(), CallError> {
        let FrontEnd { socket, waits, .. } = &self.front;
        socket.say_no_more();
        socket.expire_after(None)?;
        let mut buffer = [0; 4096];
        let ended = loop {
            if let Err(ended) = socket.receive_in(waits, &mut buffer).await {
                break ended;
            }
        };
        socket.shut();
        match ended {
            SocketError::Cancelled => Err(not_connected(ended)),
            _ => Ok(()),
        }
    }

    /// Starts all queues of a back-end that knows of them.
    async fn set_going(&mut self) -> Result<(), CallError> {
        for queue in &self.queues {
            self.front.set_going(queue).await?;
        }
        self.front.tell_ok().await?;
        self.is_going = true;
        Ok(())
    }

    /// Connects to a back-end that knows all that the one before did, and does nothing yet.
    async fn next(&mut self, again: &mut Again<'_, W>) -> Result<FrontEnd<W>, CallError> {
        let mut next = FrontEnd::on((self.connect)()?, self.timeout, self.canceller.clone())?;
        next.agree(self.wanted).await?;
        next.add_regions(&self.front).await?;
        for queue in &self.queues {
            next.size(queue, queue.base()).await?;
        }
        remember(&mut next, &self.inflight).await?;
        for queue in &self.queues {
            next.locate(queue).await?;
        }
        W::of(again(&mut next)).await?;
        Ok(next)
    }
}

/// Gives a back-end what remembers what is in flight: when it knows of the rings and not yet where they are, which is when every back-end
/// takes it.
async fn remember<W: Waits>(
    front: &mut FrontEnd<W>,
    (said, descriptor): &(Inflight, OwnedFd),
) -> Result<(), CallError> {
    front.ask(&Request::SetInflightFd(*said), &[descriptor.as_fd()]).await.map(drop)
}

const fn not_connected(error: SocketError) -> CallError {
    CallError::Socket { request: "connect", error }
}

/// The time between two tries: that of a line on which nobody says anything.
struct Pauses<W> {
    line: Socket,
    waits: W,
    _silent: UnixStream,
    next: Duration,
}

impl<W: Waits> Pauses<W> {
    fn new(canceller: &Canceller) -> io::Result<Self> {
        let (ours, silent) = UnixStream::pair()?;
        let line = Socket::new(ours, canceller.clone())?;
        Ok(Self { waits: W::on(&line)?, line, _silent: silent, next: FIRST })
    }

    /// Waits before the next try, unless none can succeed after this.
    async fn after(&mut self, failed: CallError) -> Result<(), CallError> {
        match failed {
            // No other try has another outcome.
            CallError::Missing { .. }
            | CallError::NotSent(_)
            | CallError::Layout(_)
            | CallError::Queue { .. }
            | CallError::Unremembered { .. }
            | CallError::Memory => return Err(failed),
            // It is not there yet, or died again in the middle of it.
            _ => {}
        }
        self.line.expire_after(Some(self.next))?;
        self.next = (self.next * 2).min(LAST);
        match self.waits.wait(&self.line, PollFlags::IN).await {
            Ok(()) | Err(SocketError::TimedOut) => Ok(()),
            Err(error) => Err(not_connected(error)),
        }
    }
}

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
use crate::memory::Memory;
use crate::payload::Inflight;
use crate::socket::{Canceller, SocketError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use virtio::features::Features;

/// How long to wait between two tries: at first, and at last. A back-end that is there again is found within the second of them.
const FIRST: Duration = Duration::from_micros(500);
const LAST: Duration = Duration::from_millis(4);

/// A front-end that connects again by itself, for as long as it takes.
pub struct Lasting<C> {
    connect: C,
    wanted: Wanted,
    timeout: Duration,
    canceller: Canceller,
    front: FrontEnd,
    inflight: (Inflight, OwnedFd),
    queues: Vec<Arc<Anchor>>,
}

impl<C: FnMut() -> io::Result<UnixStream>> Lasting<C> {
    /// Connects for the first time, and asks for a region that remembers what is in flight of so many queues of so many entries. `connect`
    /// may fail as often as it likes; it does not wait.
    ///
    /// # Errors
    /// [`CallError::Missing`] where the back-end lacks features or the inflight region, and [`SocketError::Cancelled`].
    pub fn new(
        mut connect: C,
        wanted: Wanted,
        timeout: Duration,
        (queues, size): (u16, u16),
        canceller: Canceller,
    ) -> Result<Self, CallError> {
        let protocol = wanted.protocol | ProtocolFeatures::INFLIGHT_SHMFD | ProtocolFeatures::REPLY_ACK;
        let wanted = Wanted { protocol, ..wanted };
        let (front, inflight) = until_there(&canceller, || {
            let mut front = FrontEnd::cancelled_by(connect()?, timeout, canceller.clone())?;
            front.negotiate(wanted)?;
            let inflight = front.inflight(queues, size)?;
            front.set_inflight(inflight.0, inflight.1.as_fd())?;
            Ok((front, inflight))
        })?;
        // Rings are as they are now, whatever else another back-end may offer.
        let features = front.negotiated().features;
        let wanted = Wanted { features: Features::empty(), required: features, ..wanted };
        Ok(Self { connect, wanted, timeout, canceller, front, inflight, queues: Vec::new() })
    }

    /// [`FrontEnd::add_memory`], for all back-ends.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn add_memory(&mut self, memory: &Memory) -> Result<(), CallError> {
        self.front.add_memory(memory)
    }

    /// [`FrontEnd::start_queue`], for all back-ends. The queue belongs to whoever drives it.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn start_queue(&mut self, index: u32, size: u16, memory: &mut Memory) -> Result<Queue, CallError> {
        let queue = self.front.start_queue(index, size, memory)?;
        self.queues.push(queue.anchor());
        Ok(queue)
    }

    /// The session with the back-end that is there now, for other requests.
    pub const fn front(&mut self) -> &mut FrontEnd {
        &mut self.front
    }

    /// Stays until it is cancelled: whenever the back-end is gone, goes on with the next. `again` hears of each.
    ///
    /// # Errors
    /// [`SocketError::Cancelled`] in the end, and [`CallError::Missing`] where another back-end lacks what was in use before.
    pub fn keep(&mut self, mut again: impl FnMut()) -> Result<(), CallError> {
        loop {
            self.gone()?;
            self.resume()?;
            again();
        }
    }

    /// Waits until the back-end is gone.
    ///
    /// # Errors
    /// [`SocketError::Cancelled`].
    pub fn gone(&self) -> Result<(), CallError> {
        loop {
            let mut all = [
                // Nothing is under way, so that whatever there is to read is the end.
                PollFd::new(&self.front.socket, PollFlags::IN),
                PollFd::new(&self.canceller, PollFlags::IN),
            ];
            match poll(&mut all, None) {
                Ok(_) if !all[1].revents().is_empty() => return Err(cancelled()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Connects until there is a back-end that goes on.
    ///
    /// # Errors
    /// As [`Lasting::keep`].
    pub fn resume(&mut self) -> Result<(), CallError> {
        let Self { connect, wanted, timeout, canceller, front, inflight, queues } = self;
        let next = until_there(canceller, || {
            let mut next = FrontEnd::cancelled_by(connect()?, *timeout, canceller.clone())?;
            next.negotiate(*wanted)?;
            next.add_regions(front)?;
            next.set_inflight(inflight.0, inflight.1.as_fd())?;
            for queue in &*queues {
                next.attach(queue, queue.base())?;
            }
            next.driver_ok()?;
            Ok(next)
        })?;
        *front = next;
        for queue in queues {
            // The back-end that died may have given something back, and not have lived to tell.
            queue.call_driver()?;
        }
        Ok(())
    }
}

fn cancelled() -> CallError {
    CallError::Socket { request: "connect", error: SocketError::Cancelled }
}

/// Tries until it succeeds, or cannot ever.
fn until_there<T>(
    canceller: &Canceller,
    mut attempt: impl FnMut() -> Result<T, CallError>,
) -> Result<T, CallError> {
    let mut pause = FIRST;
    loop {
        match attempt() {
            Ok(there) => return Ok(there),
            Err(error @ CallError::Missing { .. }) => return Err(error),
            // It is not there yet, or died again in the middle of it.
            Err(_) => {}
        }
        let time = Timespec::try_from(pause).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut all = [PollFd::new(canceller, PollFlags::IN)];
        match poll(&mut all, Some(&time)) {
            Ok(0) | Err(Errno::INTR) => pause = (pause * 2).min(LAST),
            Ok(_) => return Err(cancelled()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

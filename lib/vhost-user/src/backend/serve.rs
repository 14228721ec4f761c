//! A session over a socket.

use super::ring::Left;
use super::{Device, Session, SessionError};
use crate::framing::Framing;
use crate::socket::{Canceller, Socket, SocketError};
use crate::wire::HeaderError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use thiserror::Error;

/// How long a message that has begun may take, and an answer to be taken.
const MESSAGE: Duration = Duration::from_secs(10);

/// Why serving ended otherwise than by the front-end's leaving.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What the front-end did.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What it sent was no message.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The connection broke, or somebody ended it.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<D: Device> Session<D> {
    /// Serves a front-end until it closes the connection. `cancelled` is given what ends it from another thread.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn serve(&mut self, stream: UnixStream, cancelled: impl FnOnce(Canceller)) -> Result<(), ServeError> {
        let socket = Socket::new(stream)?;
        let canceller = socket.canceller();
        cancelled(canceller.clone());
        let mut framing = Framing::default();
        // Rings that had their turn and may have more.
        let mut more = false;
        loop {
            let polled = self.rings.iter().any(super::Ring::is_polled);
            let ready = self.wait(&socket, &canceller, more || polled)?;
            if ready.cancelled {
                return Err(SocketError::Cancelled.into());
            }
            // Before the message, which may bring other descriptors.
            more = self.run_rings(&ready, more);
            if ready.message {
                if !self.message(&socket, &mut framing)? {
                    return Ok(());
                }
                // It may have started, enabled or moved a ring in which something waits already.
                more = true;
            }
        }
    }

    fn wait(&self, socket: &Socket, canceller: &Canceller, at_once: bool) -> io::Result<Ready> {
        let kicks: Vec<(usize, &OwnedFd)> =
            self.rings.iter().enumerate().filter_map(|(index, ring)| Some((index, ring.kick()?))).collect();
        let mut all = vec![
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(canceller.as_fd(), PollFlags::IN),
        ];
        all.extend(kicks.iter().map(|(_, kick)| PollFd::from_borrowed_fd(kick.as_fd(), PollFlags::IN)));
        let time = at_once.then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
        match poll(&mut all, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> = all.iter().map(|it| it.revents()).collect();
        let has = |at: usize, what: PollFlags| ready.get(at).is_some_and(|it| it.intersects(what));
        let of_rings = |what: &dyn Fn(usize) -> bool| {
            kicks.iter().enumerate().filter(|(at, _)| what(at + 2)).map(|(_, (index, _))| *index).collect()
        };
        Ok(Ready {
            message: has(0, PollFlags::all()),
            cancelled: has(1, PollFlags::all()),
            kicked: of_rings(&|at| has(at, PollFlags::IN)),
            hung_up: of_rings(&|at| !has(at, PollFlags::IN) && has(at, PollFlags::all())),
        })
    }

    /// Reads the rest of a message, and answers it; `false`: the front-end has left.
    fn message(&mut self, socket: &Socket, framing: &mut Framing) -> Result<bool, ServeError> {
        socket.expire_after(Some(MESSAGE))?;
        let mut buffer = [0; 4096];
        loop {
            let want = framing.want().min(buffer.len());
            let (count, descriptors) = match socket.receive(&mut buffer[..want]) {
                Ok(received) => received,
                Err(SocketError::Closed) if !framing.within() => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let Some(message) = framing.feed(&buffer[..count], descriptors)? else { continue };
            if let Some((answer, descriptors)) = self.handle(message)? {
                let descriptors: Vec<_> = descriptors.iter().map(|it| it.as_fd()).collect();
                socket.send(&answer, &descriptors)?;
            }
            return Ok(true);
        }
    }

    /// Gives the kicked rings their turn, and all of them where some had more.
    fn run_rings(&mut self, ready: &Ready, all: bool) -> bool {
        let Self { rings, device, memory, .. } = self;
        let mut more = false;
        for (index, ring) in rings.iter_mut().enumerate() {
            let was_kicked = ready.kicked.contains(&index);
            if was_kicked {
                ring.kicked();
            }
            if ready.hung_up.contains(&index) {
                ring.drop_kick();
            }
            if was_kicked || all || ring.is_polled() {
                more |= ring.run(index as u16, device, &memory.regions) == Left::More;
            }
        }
        more
    }
}

/// What a wait found.
struct Ready {
    message: bool,
    cancelled: bool,
    kicked: Vec<usize>,
    /// Rings whose kicks say that there will be none.
    hung_up: Vec<usize>,
}

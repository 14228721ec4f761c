//! The channel on which the back-end asks.

use crate::back::Request;
use crate::framing::Framing;
use crate::session::{Asking, Negotiated, NotSent};
use crate::socket::{Canceller, Socket, SocketError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use thiserror::Error;

/// How long a message may take to be sent. A front-end that does not read its channel does not hold up its device for longer.
const SEND: Duration = Duration::from_secs(1);

/// Why a request was not sent to the front-end.
#[derive(Debug, Error)]
pub(super) enum Untold {
    #[error(transparent)]
    NotSent(#[from] NotSent),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What SET_BACKEND_REQ_FD gave.
pub(super) struct Channel {
    socket: Socket,
    asking: Asking<Request>,
    framing: Framing,
    /// It broke in the middle of a message.
    broken: bool,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    pub(super) fn new(descriptor: OwnedFd, negotiated: Negotiated, canceller: Canceller) -> io::Result<Self> {
        let mut asking = Asking::default();
        asking.negotiated = negotiated;
        let socket = Socket::new(UnixStream::from(descriptor), canceller)?;
        Ok(Self { socket, asking, framing: Framing::default(), broken: false })
    }

    /// Sends a request for which no answer is awaited.
    pub(super) fn tell(&mut self, request: &Request) -> Result<(), Untold> {
        if self.broken {
            return Err(SocketError::Closed.into());
        }
        let bytes = self.asking.tell(request, 0)?;
        self.socket.expire_after(Some(SEND))?;
        self.socket.send(&bytes, &[]).inspect_err(|_| self.broken = true)?;
        Ok(())
    }

    /// Reads away what the front-end sends here though nobody asked; `false`: it has closed the channel.
    pub(super) fn drained(&mut self) -> bool {
        let mut buffer = [0; 256];
        let want = self.framing.want().min(buffer.len());
        let expired = self.socket.expire_after(Some(Duration::ZERO));
        match expired.map_err(SocketError::from).and_then(|()| self.socket.receive(&mut buffer[..want])) {
            Ok((count, descriptors)) => self.framing.feed(&buffer[..count], descriptors).is_ok(),
            Err(SocketError::TimedOut) => true,
            Err(_) => false,
        }
    }
}

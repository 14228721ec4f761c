//! The channel on which the back-end asks.

use super::{CallError, FrontEnd};
use crate::back::Request;
use crate::framing::Framing;
use crate::front;
use crate::session::{Acknowledges, Answering, Question, Violation, Wants};
use crate::socket::{Canceller, Socket, SocketError, Thread, Waits};
use crate::wire::{HeaderError, Message as _, Reply};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use thiserror::Error;

/// Why nothing more comes from the back-end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The channel; [`SocketError::TimedOut`] leaves it usable.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// What came was no message.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// What came was no request.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the back-end asks.
#[derive(Debug)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// Its descriptors.
    pub descriptors: Vec<OwnedFd>,
    /// Whether it waits for [`Channel::answer`].
    pub waits: bool,
}

/// The front-end's end of it.
#[derive(Debug)]
pub struct Channel<W = Thread> {
    socket: Socket,
    waits: W,
    framing: Framing,
    answering: Answering<Request>,
    acknowledges: Acknowledges,
}

impl<W> AsFd for Channel<W> {
    /// Readable when the back-end asks something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<W: Waits> Channel<W> {
    /// What ends its waits from another thread.
    pub fn canceller(&self) -> Canceller {
        self.socket.canceller()
    }

    /// The next request; waits at most so long.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn next(&mut self, time: Duration) -> W::Output<'_, Result<Asked, ChannelError>> {
        W::run(async move {
            self.socket.expire_after(Some(time))?;
            let mut buffer = [0; 4096];
            loop {
                let want = self.framing.want().min(buffer.len());
                let (count, descriptors) = self.socket.receive_in(&self.waits, &mut buffer[..want]).await?;
                let Some(message) = self.framing.feed(&buffer[..count], descriptors)? else { continue };
                let Question { request, descriptors, wants } =
                    self.answering.asked(message, self.acknowledges)?;
                return Ok(Asked { request, descriptors, waits: wants != Wants::Nothing });
            }
        })
    }

    /// Answers a request that waits: 0 for success, or what it asks for.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn answer<'a>(
        &'a mut self,
        request: &Request,
        number: u64,
        descriptors: &'a [BorrowedFd<'a>],
    ) -> W::Output<'a, Result<(), ChannelError>> {
        let bytes = self.answering.answer(request.facts().number, &Reply::U64(number));
        W::run(async move { Ok(self.socket.send_in(&self.waits, &bytes, descriptors).await?) })
    }
}

impl<W: Waits> FrontEnd<W> {
    /// Gives the back-end a channel of its own, with `BACKEND_REQ`.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn open_channel(&mut self) -> W::Output<'_, Result<Channel<W>, CallError>> {
        W::run(async move {
            let (ours, its) = UnixStream::pair()?;
            let socket = Socket::new(ours, Canceller::new()?)?;
            let waits = W::on(&socket)?;
            let acknowledges = Acknowledges::from(self.negotiated().protocol);
            self.ask(&front::Request::SetBackendReqFd, &[its.as_fd()]).await?;
            let (framing, answering) = (Framing::default(), Answering::default());
            Ok(Channel { socket, waits, framing, answering, acknowledges })
        })
    }
}

//! The sending half of a stream: bytes, and descriptors where the stream carries them.

use crate::session::{DESCRIPTORS, Transmit};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd},
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, Interest},
    net::unix::OwnedWriteHalf,
};

/// Sends what a session has to send.
pub(crate) trait Outgoing: Send {
    /// Whether descriptors arrive; a session is given none otherwise.
    const CARRIES_DESCRIPTORS: bool;

    /// Sends some of the bytes, and with the first of them all descriptors. Dropping the future before it is ready sends nothing.
    fn send(&mut self, what: Transmit<'_>) -> impl Future<Output = io::Result<usize>> + Send;
}

/// Any byte stream.
pub(crate) struct Bytes<W>(pub W);

impl<W: AsyncWrite + Unpin + Send> Outgoing for Bytes<W> {
    const CARRIES_DESCRIPTORS: bool = false;

    async fn send(&mut self, what: Transmit<'_>) -> io::Result<usize> {
        self.0.write(what.bytes).await
    }
}

/// A unix socket.
pub(crate) struct Unix(pub OwnedWriteHalf);

impl Outgoing for Unix {
    const CARRIES_DESCRIPTORS: bool = true;

    async fn send(&mut self, what: Transmit<'_>) -> io::Result<usize> {
        if what.descriptors.is_empty() {
            return self.0.write(what.bytes).await;
        }
        let stream = self.0.as_ref();
        loop {
            stream.writable().await?;
            match stream.try_io(Interest::WRITABLE, || send_with(stream.as_fd(), what)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }
}

fn send_with(socket: BorrowedFd<'_>, what: Transmit<'_>) -> io::Result<usize> {
    let descriptors: Vec<BorrowedFd<'_>> = what.descriptors.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more descriptors than a message carries"));
    }
    let bytes = [IoSlice::new(what.bytes)];
    Ok(rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL)?)
}

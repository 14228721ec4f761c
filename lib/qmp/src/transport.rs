//! Both halves of a stream: bytes, and descriptors where the stream carries them.

use crate::session::{DESCRIPTORS, Transmit};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf, unix::AsyncFd},
    net::UnixStream,
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

/// The halves of a unix socket.
///
/// A socket that is watched for room to write wakes its owner each time that the other side reads; so this one is watched for what
/// arrives, and for room only while there is none. That is half of what the processor does for a command.
pub(crate) fn unix(stream: UnixStream) -> io::Result<(Arrivals, Unix)> {
    let socket = OwnedFd::from(stream.into_std()?);
    // Under a number of its own, as one cannot be watched twice; from the beginning, so that no shortage of descriptors meets it in use.
    let departures = Arc::new(socket.try_clone()?);
    Ok((Arrivals(watched(socket, Interest::READABLE)?), Unix { socket: departures, room: None }))
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of other types: an OwnedFd stays open and the same while it is owned"
)]
fn watched<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

/// What arrives at a unix socket.
pub(crate) struct Arrivals(AsyncFd<OwnedFd>);

impl AsyncRead for Arrivals {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let asked = room.len();
            match ready.try_io(|socket| Ok(rustix::net::recv(socket, room, RecvFlags::empty())?.0)) {
                Ok(Ok(count)) => {
                    // That was all there was; of more there is word.
                    if 0 < count && count < asked {
                        ready.clear_ready();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_nothing_there) => {}
            }
        }
    }
}

/// What leaves through a unix socket.
pub(crate) struct Unix {
    socket: Arc<OwnedFd>,
    /// Tells of room, where there was none.
    room: Option<AsyncFd<Arc<OwnedFd>>>,
}

impl Outgoing for Unix {
    const CARRIES_DESCRIPTORS: bool = true;

    async fn send(&mut self, what: Transmit<'_>) -> io::Result<usize> {
        loop {
            match send_now(self.socket.as_fd(), what) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    self.room = None;
                    return outcome;
                }
            }
            let room = match &mut self.room {
                Some(room) => room,
                none => none.insert(watched(self.socket.clone(), Interest::WRITABLE)?),
            };
            room.writable().await?.clear_ready();
        }
    }
}

fn send_now(socket: BorrowedFd<'_>, what: Transmit<'_>) -> io::Result<usize> {
    if what.descriptors.is_empty() {
        return Ok(rustix::net::send(socket, what.bytes, SendFlags::NOSIGNAL)?);
    }
    let descriptors: Vec<BorrowedFd<'_>> = what.descriptors.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more descriptors than a message carries"));
    }
    let bytes = [IoSlice::new(what.bytes)];
    Ok(rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn what_has_no_room_waits_for_it_and_what_arrives_is_told_each_time() {
        const LENGTH: usize = 4 << 20;
        let (near, mut far) = UnixStream::pair().unwrap();
        let (mut arrivals, mut leaving) = unix(near).unwrap();
        let sent = async {
            let bytes = vec![7; LENGTH];
            let (mut sent, mut writes) = (0, 0);
            while sent < LENGTH {
                let what = Transmit { bytes: &bytes[sent..], descriptors: &[] };
                sent += leaving.send(what).await.unwrap();
                writes += 1;
            }
            assert!(writes > 1, "more than a socket holds");
            let mut answer = [0; 64];
            for expected in [&b"one"[..], b"two"] {
                let count = arrivals.read(&mut answer).await.unwrap();
                assert_eq!(&answer[..count], expected);
                leaving.send(Transmit { bytes: b".", descriptors: &[] }).await.unwrap();
            }
            assert_eq!(arrivals.read(&mut answer).await.unwrap(), 0, "its end, too");
        };
        let received = async {
            let mut bytes = vec![0; LENGTH];
            far.read_exact(&mut bytes).await.unwrap();
            assert!(bytes.iter().all(|byte| *byte == 7));
            for word in [&b"one"[..], b"two"] {
                far.write_all(word).await.unwrap();
                far.read_exact(&mut bytes[..1]).await.unwrap();
            }
            drop(far);
        };
        tokio::join!(sent, received);
    }
}

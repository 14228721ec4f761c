//! Unix sockets, which carry file descriptors: each with a byte of its own behind its packet.

use crate::{Privacy, Traits, Transport};
use libvirt_protocol::session::Transmit;
use rustix::fs::OFlags;
use rustix::net::sockopt::Timeout;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::runtime::Handle;

/// A unix socket. It is this value's alone: whether the socket waits in a bare `read` is its own matter (`O_NONBLOCK`), and changes with
/// [`Transport::waiting`].
///
/// A socket that is watched for room to write wakes its owner each time that the other side reads. So this one is watched for what arrives,
/// and for room only where there was none.
#[derive(Debug)]
pub struct Unix {
    arrivals: AsyncFd<OwnedFd>,
    /// The same under a number of its own, which is watched for room: one cannot be watched twice. It is there from the beginning, so that no
    /// shortage of descriptors meets a connection in use.
    departures: Arc<OwnedFd>,
    /// Where both are watched: what is sent is sent by whoever calls, also outside of any runtime.
    runtime: Handle,
    room: Option<Room>,
}

/// Tells of room to write.
#[derive(Debug)]
struct Room {
    watched: AsyncFd<Arc<OwnedFd>>,
    /// Writes that found room since one did not.
    found: u32,
}

/// So many writes that find room end the watch for it: a stream of bytes that often finds none keeps it.
const ENOUGH: u32 = 16;

impl Unix {
    /// Connects to the socket at a path.
    ///
    /// # Errors
    /// When nothing listens there, or it may not be opened.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        Self::try_from(UnixStream::connect(path).await?)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.arrivals.get_ref().as_fd()
    }
}

impl TryFrom<UnixStream> for Unix {
    type Error = io::Error;

    /// Takes a socket over.
    ///
    /// # Errors
    /// When there is no runtime here that watches it, or it cannot.
    fn try_from(stream: UnixStream) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let socket = OwnedFd::from(stream.into_std()?);
        let departures = Arc::new(socket.try_clone()?);
        let arrivals = watched(socket, Interest::READABLE)?;
        Ok(Self { arrivals, departures, runtime, room: None })
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of other types: an OwnedFd stays open and the same while it is owned"
)]
fn watched<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

/// Descriptors that one read can bring: each has a byte of its own, but a sender may join several.
const AT_ONCE: usize = 32;

/// One read; descriptors that come are added.
fn receive(
    socket: impl AsFd,
    room: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    flags: RecvFlags,
) -> io::Result<usize> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut room = [IoSliceMut::new(room)];
    let message = rustix::net::recvmsg(socket, &mut room, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC)?;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = part {
            descriptors.extend(came);
        }
    }
    Ok(message.bytes)
}

/// The same socket for a thread that waits in the read itself, which spares it to ask first whether there is something.
#[derive(Debug)]
pub struct Waiting(OwnedFd);

impl Waiting {
    /// Of a unix socket, of which everybody else reads and writes without waiting: for no longer than this.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(socket: BorrowedFd<'_>, patience: Duration) -> io::Result<Self> {
        rustix::net::sockopt::set_socket_timeout(socket, Timeout::Recv, Some(patience))?;
        let flags = rustix::fs::fcntl_getfl(socket)?;
        rustix::fs::fcntl_setfl(socket, flags - OFlags::NONBLOCK)?;
        Ok(Self(socket.try_clone_to_owned()?))
    }

    /// Waits for bytes, and descriptors if any come with them. 0 bytes: the other side has closed.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing came in that time; when the connection is broken.
    pub fn read(&self, room: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
        receive(&self.0, room, descriptors, RecvFlags::empty())
    }
}

/// Whether the socket waits by itself or not: what goes, goes at once.
const AT_ONCE_OR_NOT: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

fn send(socket: BorrowedFd<'_>, what: &Transmit<'_>) -> io::Result<usize> {
    match what {
        Transmit::Bytes(bytes) => Ok(rustix::net::send(socket, bytes, AT_ONCE_OR_NOT)?),
        Transmit::Descriptor(descriptor) => {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let descriptors = [*descriptor];
            // There is room for exactly this one.
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            let byte = [IoSlice::new(&[0])];
            Ok(rustix::net::sendmsg(socket, &byte, &mut ancillary, AT_ONCE_OR_NOT)?)
        }
    }
}

impl Transport for Unix {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        let wanted = room.len();
        loop {
            let mut ready = ready!(self.arrivals.poll_read_ready(context))?;
            let before = descriptors.len();
            match ready.try_io(|socket| receive(socket, room, descriptors, RecvFlags::DONTWAIT)) {
                Ok(Ok(bytes)) => {
                    // Less than there was room for: nothing more is there, and that need not be asked for with another read. Only
                    // descriptors stop a read before bytes that are there already.
                    if bytes > 0 && bytes < wanted && descriptors.len() == before {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(bytes));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_nothing_there) => {}
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        loop {
            match send(self.socket(), what) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    if let Some(room) = &mut self.room {
                        room.found += 1;
                        if room.found > ENOUGH {
                            self.room = None;
                        }
                    }
                    return Poll::Ready(done);
                }
            }
            let room = match &mut self.room {
                Some(room) => room,
                none => {
                    let _within = self.runtime.enter();
                    let watched = watched(self.departures.clone(), Interest::WRITABLE)?;
                    none.insert(Room { watched, found: 0 })
                }
            };
            room.found = 0;
            ready!(room.watched.poll_write_ready(context))?.clear_ready();
        }
    }

    fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn traits(&self) -> Traits {
        Traits::new(Privacy::Private).with_descriptors()
    }

    fn read_now(&mut self, room: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Option<io::Result<usize>> {
        Some(receive(self.socket(), room, descriptors, RecvFlags::DONTWAIT))
    }

    fn write_now(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        Some(rustix::net::send(self.socket(), bytes, AT_ONCE_OR_NOT).map_err(Into::into))
    }

    fn waiting(&self, patience: Duration) -> Option<Waiting> {
        Waiting::new(self.socket(), patience).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[tokio::test]
    async fn a_socket_is_taken_over_where_there_is_a_runtime() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bare = std::thread::spawn(move || Unix::try_from(theirs).map(drop));
        assert!(bare.join().expect("no panic").unwrap_err().to_string().contains("runtime"));
        Unix::try_from(ours).unwrap();
    }

    #[tokio::test]
    async fn who_waits_in_reads_makes_nobody_else_wait() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (Unix::try_from(ours).unwrap(), Unix::try_from(theirs).unwrap());
        let mut context = Context::from_waker(Waker::noop());
        let waiting = ours.waiting(Duration::from_millis(1)).unwrap();
        let (mut room, mut descriptors) = ([0; 8], Vec::new());
        let nothing = waiting.read(&mut room, &mut descriptors).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert!(ours.poll_read(&mut context, &mut room, &mut descriptors).is_pending());
        assert_eq!(ours.read_now(&mut room, &mut descriptors).unwrap().unwrap_err().kind(), nothing.kind());
        // As much as goes at once, past the executor and by it.
        while ours.write_now(&[7; 65_536]).unwrap().is_ok() {}
        // By whom nothing is run either.
        let bare = std::thread::scope(|scope| {
            let writes = || {
                let mut context = Context::from_waker(Waker::noop());
                ours.poll_write(&mut context, &Transmit::Bytes(&[7; 65_536])).is_pending()
            };
            scope.spawn(writes).join()
        });
        assert!(bare.expect("no runtime is needed"));
        assert!(ours.poll_write(&mut context, &Transmit::Bytes(&[7; 65_536])).is_pending());
        assert_eq!(theirs.write_now(b"reply").unwrap().unwrap(), 5);
        assert_eq!(waiting.read(&mut room, &mut descriptors).unwrap(), 5);
        assert_eq!(&room[..5], b"reply");
        drop(theirs);
        assert!(matches!(waiting.read(&mut room, &mut descriptors), Ok(0) | Err(_)), "it has ended");
    }
}

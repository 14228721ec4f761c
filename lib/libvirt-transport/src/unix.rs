//! Unix sockets, which carry file descriptors: each with a byte of its own behind its packet.

use crate::{Privacy, Traits, Transport};
use libvirt_protocol::session::Transmit;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A unix socket.
#[derive(Debug)]
pub struct Unix(UnixStream);

impl Unix {
    /// Connects to the socket at a path.
    ///
    /// # Errors
    /// When nothing listens there, or it may not be opened.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).await.map(Self)
    }
}

impl From<UnixStream> for Unix {
    fn from(stream: UnixStream) -> Self {
        Self(stream)
    }
}

/// Descriptors that one read can bring: each has a byte of its own, but a sender may join several.
const AT_ONCE: usize = 32;

impl Unix {
    /// One read; descriptors that come are added.
    fn receive(
        &self,
        room: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        flags: RecvFlags,
    ) -> io::Result<usize> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut room = [IoSliceMut::new(room)];
        let message =
            rustix::net::recvmsg(&self.0, &mut room, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC)?;
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(came) = part {
                descriptors.extend(came);
            }
        }
        Ok(message.bytes)
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
            ready!(self.0.poll_read_ready(context))?;
            let before = descriptors.len();
            let mut short = None;
            let read = self.0.try_io(Interest::READABLE, || {
                let bytes = self.receive(room, descriptors, RecvFlags::empty())?;
                // Less than there was room for: nothing more is there, and that need not be asked for with another read. Only
                // descriptors stop a read before bytes that are there already.
                if bytes > 0 && bytes < wanted && descriptors.len() == before {
                    short = Some(bytes);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(bytes)
            });
            if let Some(bytes) = short {
                return Poll::Ready(Ok(bytes));
            }
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            let written = self.0.try_io(Interest::WRITABLE, || match what {
                Transmit::Bytes(bytes) => Ok(rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL)?),
                Transmit::Descriptor(descriptor) => {
                    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                    let mut ancillary = SendAncillaryBuffer::new(&mut space);
                    let descriptors = [*descriptor];
                    // There is room for exactly this one.
                    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
                    let byte = [IoSlice::new(&[0])];
                    Ok(rustix::net::sendmsg(&self.0, &byte, &mut ancillary, SendFlags::NOSIGNAL)?)
                }
            });
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn traits(&self) -> Traits {
        Traits::new(Privacy::Private).with_descriptors()
    }

    fn read_now(&mut self, room: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Option<io::Result<usize>> {
        Some(self.receive(room, descriptors, RecvFlags::DONTWAIT))
    }

    fn write_now(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Some(rustix::net::send(&self.0, bytes, flags).map_err(Into::into))
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

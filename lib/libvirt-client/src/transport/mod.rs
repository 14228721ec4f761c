//! How bytes and descriptors travel.

mod program;
mod stream;
mod tls;
mod unix;

pub use program::Program;
pub use stream::Stream;
pub use tls::{Tls, Verify};
pub use unix::Unix;

use libvirt_protocol::session::Transmit;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

/// A connection, however it was made.
pub trait Transport: Send + 'static {
    /// Reads bytes, and descriptors if any come with them. 0 bytes: the other side has closed.
    ///
    /// # Errors
    /// When the connection is broken.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>>;

    /// Writes bytes, or one byte and a descriptor; tells how many bytes went.
    ///
    /// # Errors
    /// When the connection is broken, or cannot carry descriptors.
    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>>;

    /// Pushes on what lies in buffers of the connection itself.
    ///
    /// # Errors
    /// When the connection is broken.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// What may be done on it.
    fn traits(&self) -> Traits;
}

impl Transport for Box<dyn Transport> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_read(context, room, descriptors)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        (**self).poll_write(context, what)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_flush(context)
    }

    fn traits(&self) -> Traits {
        (**self).traits()
    }
}

/// What stands in a transport's place while it is put into another.
#[cfg(feature = "gssapi")]
pub(crate) struct Nowhere;

#[cfg(feature = "gssapi")]
impl Transport for Nowhere {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        _: &mut [u8],
        _: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &Transmit<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn traits(&self) -> Traits {
        Traits { private: false, descriptors: false }
    }
}

/// What may be done on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Whether nobody else can read it: a local socket, TLS, ssh.
    pub private: bool,
    /// Whether it carries file descriptors.
    pub descriptors: bool,
}

//! How libvirt's bytes and descriptors travel, the same for a client and for a server.
//!
//! ```text
//!   session of libvirt-protocol ──Transmit──> Transport ──> Unix     a socket of this host, with descriptors
//!                               <──bytes────            ──> Stream   any byte stream of tokio: TCP, TLS, memory
//! ```
//!
//! What only a client does to get to its daemon (TLS with its certificates, a program such as ssh) is in `libvirt-client`.
#![forbid(unsafe_code)]

mod stream;
mod unix;

pub use stream::Stream;
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

/// What may be done on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Whether nobody else can read it: a local socket, TLS, ssh.
    pub private: bool,
    /// Whether it carries file descriptors.
    pub descriptors: bool,
}

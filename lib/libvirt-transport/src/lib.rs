//! How libvirt's bytes and descriptors travel, the same for a client and for a server.
//!
//! ```text
//!   session of libvirt-protocol ──Transmit──> Transport ──> Unix     a socket of this host, with descriptors
//!                               <──bytes────            ──> Stream   any byte stream of tokio: TCP, TLS, memory
//!                                                       ──> Sealed   one of these, in pieces that nobody else can read
//! ```
//!
//! What only a client does to get to its daemon (TLS with its certificates, a program such as ssh) is in `libvirt-client`.
#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc)]

mod sealed;
mod stream;
mod unix;

pub use sealed::{SEALED_MAX, Seal, Sealed};
pub use stream::Stream;
pub use unix::{Unix, Waiting};

use libvirt_protocol::session::Transmit;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use std::time::Duration;

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

    /// Reads what is there, past what an executor knows of the connection, and without waiting. `None`: that cannot be done here.
    fn read_now(&mut self, _room: &mut [u8], _descriptors: &mut Vec<OwnedFd>) -> Option<io::Result<usize>> {
        None
    }

    /// From now on what is written are pieces of something else, and no packets of libvirt's: whoever keeps packets apart does so no more.
    fn carry_pieces(&mut self) {}

    /// Writes bytes, as many as go at once, past what an executor knows of the connection. `None`: that cannot be done here.
    fn write_now(&mut self, _bytes: &[u8]) -> Option<io::Result<usize>> {
        None
    }

    /// The same for a thread that waits in its reads, each time for no longer than this. Nobody else may read meanwhile. `None`: that cannot
    /// be done here.
    fn waiting(&self, _patience: Duration) -> Option<Waiting> {
        None
    }
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

    fn carry_pieces(&mut self) {
        (**self).carry_pieces();
    }

    fn read_now(&mut self, room: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Option<io::Result<usize>> {
        (**self).read_now(room, descriptors)
    }

    fn write_now(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        (**self).write_now(bytes)
    }

    fn waiting(&self, patience: Duration) -> Option<Waiting> {
        (**self).waiting(patience)
    }
}

/// Who else may hear what is said on a connection. It decides which passwords may be said there, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Anybody on the way: bare TCP.
    Open,
    /// Nobody who only listens, but who the other side is has not been proven: whoever is in between hears everything. TLS and ssh
    /// that check nobody (`no_verify=1`).
    Unproven,
    /// Nobody: a socket of this host, TLS, ssh.
    Private,
}

/// What may be done on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traits {
    /// Who else may hear it.
    pub privacy: Privacy,
    /// Whether it carries file descriptors.
    pub descriptors: bool,
    /// Whether what it carries is encrypted, by itself and not by what it goes through: TLS, or what was agreed on with Kerberos. A program
    /// such as ssh may do that or not.
    pub encrypted: bool,
}

impl Traits {
    /// Of a connection for bytes alone.
    #[must_use]
    pub fn new(privacy: Privacy) -> Self {
        Self { privacy, descriptors: false, encrypted: false }
    }

    /// The same, and for file descriptors.
    #[must_use]
    pub fn with_descriptors(self) -> Self {
        Self { descriptors: true, ..self }
    }

    /// The same, encrypted.
    #[must_use]
    pub fn with_encryption(self) -> Self {
        Self { encrypted: true, ..self }
    }
}

//! Any byte stream of tokio: TCP, TLS, the pipes of a program.

use crate::{Privacy, Traits, Transport};
use libvirt_protocol::session::Transmit;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream that somebody else has connected.
#[derive(Debug)]
pub struct Stream<S> {
    stream: S,
    traits: Traits,
}

impl<S> Stream<S> {
    /// A stream; who else may hear it decides what may be said on it.
    pub fn new(stream: S, privacy: Privacy) -> Self {
        Self { stream, traits: Traits::new(privacy) }
    }

    /// The same stream, which encrypts what it carries ([`Traits::encrypted`]).
    #[must_use]
    pub fn encrypting(self) -> Self {
        Self { traits: self.traits.with_encryption(), ..self }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for Stream<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        _descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(room);
        Pin::new(&mut self.stream).poll_read(context, &mut buffer).map_ok(|()| buffer.filled().len())
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        match what {
            Transmit::Bytes(bytes) => Pin::new(&mut self.stream).poll_write(context, bytes),
            Transmit::Descriptor(_) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "file descriptors travel over unix sockets only",
            ))),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn traits(&self) -> Traits {
        self.traits
    }
}

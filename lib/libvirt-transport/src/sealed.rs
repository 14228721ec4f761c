//! A connection inside of a security layer: pieces, each wrapped, with its length in front (RFC 4752 section 3.3, RFC 4422 section 3.7).

use crate::{Privacy, Traits, Transport};
use libvirt_protocol::session::Transmit;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

/// The longest piece that is taken, before it was wrapped (`virNetSASLContext` allows as much).
pub const SEALED_MAX: u32 = 65_536;
/// What a wrapped piece may be longer than what is in it.
const OVERHEAD: usize = 1024;
/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// What makes pieces unreadable to others, and readable again.
pub trait Seal: Send + 'static {
    /// A piece as it travels.
    ///
    /// # Errors
    /// When it cannot be made so that nobody else can read it.
    fn wrap(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>>;

    /// What is in a piece that has travelled.
    ///
    /// # Errors
    /// When somebody has changed it, or could have read it.
    fn unwrap(&mut self, piece: &[u8]) -> io::Result<Vec<u8>>;
}

/// A connection whose bytes are wrapped. Nobody else can read it, whatever it goes over.
pub struct Sealed<S> {
    inner: Box<dyn Transport>,
    seal: S,
    /// How much may be wrapped at once.
    limit: usize,
    /// Wrapped, and not sent yet.
    output: Vec<u8>,
    /// What has come.
    input: Vec<u8>,
    /// How much of it was unwrapped.
    opened: usize,
    /// Where it comes in.
    room: Box<[u8]>,
    /// What was in it, and was not taken yet.
    plain: Vec<u8>,
    taken: usize,
}

impl<S> std::fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed")
    }
}

impl<S: Seal> Sealed<S> {
    /// Wraps what goes over a connection from now on, at most `limit` bytes at once, which is what the other side takes.
    #[must_use]
    pub fn new(mut inner: Box<dyn Transport>, seal: S, limit: usize) -> Self {
        // What a piece holds the other side's SASL keeps for its daemon, which asks for it: packets need not be apart within.
        inner.carry_pieces();
        let (output, input, plain) = (Vec::new(), Vec::new(), Vec::new());
        let room = vec![0; CHUNK].into_boxed_slice();
        Self { inner, seal, limit: limit.max(1), output, input, opened: 0, room, plain, taken: 0 }
    }

    /// Sends what is wrapped.
    fn push(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match ready!(self.inner.poll_write(context, &Transmit::Bytes(&self.output)))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => drop(self.output.drain(..bytes)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Unwraps a piece that has come whole; false when more is needed.
    fn open(&mut self) -> io::Result<bool> {
        let Some((length, rest)) = self.input[self.opened..].split_first_chunk::<4>() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > SEALED_MAX as usize + OVERHEAD {
            return Err(broken("a piece that is longer than was agreed"));
        }
        let Some(piece) = rest.get(..length) else { return Ok(false) };
        (self.plain, self.taken) = (self.seal.unwrap(piece)?, 0);
        self.opened += 4 + length;
        Ok(true)
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<S: Seal> Transport for Sealed<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        _descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let left = &self.plain[self.taken..];
            if !left.is_empty() {
                let bytes = left.len().min(room.len());
                room[..bytes].copy_from_slice(&left[..bytes]);
                self.taken += bytes;
                return Poll::Ready(Ok(bytes));
            }
            if self.open()? {
                continue;
            }
            self.input.drain(..std::mem::take(&mut self.opened));
            match ready!(self.inner.poll_read(context, &mut self.room, &mut Vec::new()))? {
                0 if self.input.is_empty() => return Poll::Ready(Ok(0)),
                // An orderly end has no half a piece before it: somebody cut it off.
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                bytes => self.input.extend_from_slice(&self.room[..bytes]),
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let Transmit::Bytes(bytes) = what else {
            let text = "file descriptors travel over unix sockets only";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, text)));
        };
        // One piece at a time waits here.
        ready!(self.push(context))?;
        let bytes = &bytes[..bytes.len().min(self.limit)];
        let wrapped = self.seal.wrap(bytes)?;
        let length = u32::try_from(wrapped.len()).map_err(|_| broken("a piece beyond 4 GiB"))?;
        self.output.extend_from_slice(&length.to_be_bytes());
        self.output.extend_from_slice(&wrapped);
        // It is ours now, whether it goes at once or not.
        match self.push(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.push(context))?;
        self.inner.poll_flush(context)
    }

    fn traits(&self) -> Traits {
        Traits::new(Privacy::Private).with_encryption()
    }
}

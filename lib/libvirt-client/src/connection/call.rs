//! A call under way, and its reply.

use super::{Shared, direct};
use crate::error::{Error, ErrorKind};
use libvirt_protocol::procedure::{Info, Procedure};
use libvirt_protocol::session::{Abandoned, Serial};
use libvirt_protocol::xdr;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tracing::Span;
use tracing::field::Empty;

/// The bytes of a reply.
pub(super) enum Payload {
    /// Most replies are short, and need no heap.
    Short([u8; SHORT], usize),
    Long(Vec<u8>),
}

/// What is short, in bytes: a number or a few, a name.
const SHORT: usize = 48;

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match short.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Self::Short(short, bytes.len())
            }
            None => Self::Long(bytes.to_vec()),
        }
    }
}

impl std::ops::Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => &bytes[..*length],
            Self::Long(bytes) => bytes,
        }
    }
}

/// What came back.
pub(super) struct Arrived {
    pub(super) payload: Payload,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl std::fmt::Debug for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The bytes may be a secret's value, and may be many.
        write!(f, "{} bytes, {} descriptors", self.payload.len(), self.descriptors.len())
    }
}

/// The reply of a procedure: the bytes, and the value that lies in them.
#[derive(Debug)]
pub struct Reply<P> {
    arrived: Arrived,
    serial: Serial,
    procedure: PhantomData<fn() -> P>,
}

impl<P: Procedure> Reply<P> {
    /// The result; it borrows from the reply.
    ///
    /// # Errors
    /// When the daemon sent something else.
    pub fn result(&self) -> Result<P::Ret<'_>, Error> {
        xdr::decode(&self.arrived.payload)
            .map_err(|error| Error::from(error).of_started(P::INFO, self.serial).possibly_executed())
    }

    /// The descriptors that came with it.
    #[must_use]
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.arrived.descriptors)
    }
}

/// A call under way. It was sent, or waits for a place; dropping it abandons it.
#[must_use = "the call is abandoned when this is dropped"]
pub struct Call<P> {
    shared: Arc<Shared>,
    /// `None` once the reply was taken.
    begun: Option<Result<Serial, Error>>,
    flags: u32,
    span: Span,
    procedure: PhantomData<fn() -> P>,
}

impl<P> std::fmt::Debug for Call<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({:?})", self.begun)
    }
}

impl<P: Procedure> Call<P> {
    pub(super) fn new(shared: Arc<Shared>, begun: Result<Serial, Error>, flags: u32) -> Self {
        let span = tracing::debug_span!(
            "libvirt_call",
            procedure = P::INFO.name,
            flags,
            bytes = Empty,
            error = Empty
        );
        Self { shared, begun: Some(begun), flags, span, procedure: PhantomData }
    }

    pub(super) fn serial(&self) -> Option<Serial> {
        self.begun.as_ref().and_then(|begun| begun.as_ref().ok().copied())
    }

    /// Abandons the call, and tells whether the daemon knows of it.
    pub fn abandon(mut self) -> Abandoned {
        self.leave()
    }

    /// Leaves the call to itself: it comes to its end, and its connection does not end before it.
    pub(crate) fn detach(mut self) {
        if let Some(Ok(serial)) = self.begun.take() {
            self.shared.lock().keep(serial);
        }
    }

    fn leave(&mut self) -> Abandoned {
        match self.begun.take() {
            Some(Ok(serial)) => self.shared.lock().abandon(serial),
            Some(Err(_)) => Abandoned::NotSent,
            None => Abandoned::Gone,
        }
    }

    /// Waits for the reply, but not longer than this.
    ///
    /// # Errors
    /// As the call itself, and [`ErrorKind::Timeout`].
    pub async fn within(mut self, deadline: Option<Duration>) -> Result<Reply<P>, Error> {
        let Some(deadline) = deadline else { return self.await };
        if let Ok(reply) = tokio::time::timeout(deadline, &mut self).await {
            return reply;
        }
        let error = Error::new(ErrorKind::Timeout);
        let error = match self.serial() {
            Some(serial) => error.of_started(P::INFO, serial),
            None => error.of(P::INFO),
        };
        let error = match self.leave() {
            Abandoned::NotSent => error,
            Abandoned::Sent | Abandoned::Gone => error.possibly_executed(),
        };
        failed(&self.span, &error);
        Err(error)
    }
}

impl<P: Procedure> Future for Call<P> {
    type Output = Result<Reply<P>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let result = match &this.begun {
            Some(Ok(serial)) => match this.shared.lock().reply(*serial, context) {
                Poll::Ready(Ok(arrived)) => Ok(Reply { arrived, serial: *serial, procedure: PhantomData }),
                Poll::Ready(Err(error)) => Err(error.of_started(P::INFO, *serial)),
                Poll::Pending => {
                    direct::note(&this.shared);
                    return Poll::Pending;
                }
            },
            Some(Err(error)) => Err(error.clone().of(P::INFO)),
            None => Err(Error::new(ErrorKind::Closed).of(P::INFO)),
        };
        this.begun = None;
        ended(P::INFO, this.flags, result.as_ref().err());
        match &result {
            Ok(reply) => {
                this.span.record("bytes", reply.arrived.payload.len());
            }
            Err(error) => failed(&this.span, error),
        }
        Poll::Ready(result)
    }
}

/// Says in a call's span why it came to nothing.
fn failed(span: &Span, error: &Error) {
    span.record("error", tracing::field::display(format_args!("{error:#}")));
}

/// One line for each call that has ended, however it was started. The tests' coverage is counted by these.
fn ended(info: &Info, flags: u32, error: Option<&Error>) {
    tracing::trace!(
        target: "libvirt_client::ended",
        program = ?info.program,
        procedure = info.name,
        flags,
        refused = error.map(|error| error.refusal().map_or_else(|| "-".to_owned(), |refusal| format!("{:?}", refusal.code))),
    );
}

impl<P> Drop for Call<P> {
    fn drop(&mut self) {
        if let Some(Ok(serial)) = self.begun.take() {
            self.shared.lock().abandon(serial);
        }
    }
}

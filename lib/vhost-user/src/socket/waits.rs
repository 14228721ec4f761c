//! Two ways to wait for a socket: the thread stands still, or a task of tokio's does.

#[cfg(feature = "tokio")]
mod reactor;

#[cfg(feature = "tokio")]
pub use reactor::Reactor;

use super::{Socket, SocketError};
use rustix::event::PollFlags;
use std::future::{Future, ready};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// How calls wait: those of [`Thread`] return when they are over, those of `Reactor` (with the feature `tokio`) are futures. Both are the same code.
///
/// Deadlines and cancellers are the socket's, so they hold in both. A future that is dropped ends its wait, and leaves what a wait that was too
/// short leaves: a request that was not sent whole breaks the connection, an answer that comes later is passed over.
pub trait Waits: Private + Send + Sync + Sized {
    /// What a call gives: its result, or a future of it.
    type Output<'a, T: 'a>;

    /// Waits for this socket.
    #[doc(hidden)]
    fn on(socket: &Socket) -> io::Result<Self>;

    /// Makes a call of what it does.
    #[doc(hidden)]
    fn run<'a, T: 'a>(call: impl Future<Output = T> + Send + 'a) -> Self::Output<'a, T>;

    /// The future of what a call gave.
    #[doc(hidden)]
    fn of<'a, T: Send + 'a>(output: Self::Output<'a, T>) -> impl Future<Output = T> + Send + 'a;

    /// Until the socket is ready, its time is over, or it is cancelled.
    #[doc(hidden)]
    fn wait(&self, socket: &Socket, what: PollFlags) -> impl Future<Output = Result<(), SocketError>> + Send;
}

/// These two and no others.
#[doc(hidden)]
pub trait Private {}

/// Waits where it is called. What it gives are results.
#[derive(Clone, Copy, Debug)]
pub struct Thread;

impl Private for Thread {}

impl Waits for Thread {
    type Output<'a, T: 'a> = T;

    fn on(_: &Socket) -> io::Result<Self> {
        Ok(Self)
    }

    fn run<'a, T: 'a>(call: impl Future<Output = T> + Send + 'a) -> T {
        match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            // Nothing in it waits but for `wait` below, which is over when it returns.
            Poll::Pending => unreachable!("a wait of a thread's is over when it returns"),
        }
    }

    fn of<'a, T: Send + 'a>(output: T) -> impl Future<Output = T> + Send + 'a {
        ready(output)
    }

    async fn wait(&self, socket: &Socket, what: PollFlags) -> Result<(), SocketError> {
        while !socket.is_ready(what, None)? {}
        Ok(())
    }
}

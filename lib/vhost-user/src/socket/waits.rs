//! Two ways to wait for a socket: the thread stands still, or a task of tokio's does.

use super::sys::readable;
use super::{Socket, SocketError};
use rustix::event::{PollFlags, Timespec, epoll};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::unix::AsyncFd;

/// How calls wait: those of [`Thread`] return when they are over, those of [`Reactor`] are futures. Both are the same code.
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

    async fn wait(&self, socket: &Socket, what: PollFlags) -> Result<(), SocketError> {
        while !socket.is_ready(what, None)? {}
        Ok(())
    }
}

/// Waits in tokio's reactor, which must be there when a connection is taken over. What it gives are futures.
#[derive(Debug)]
pub struct Reactor(AsyncFd<OwnedFd>);

impl Private for Reactor {}

impl Waits for Reactor {
    type Output<'a, T: 'a> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

    fn on(socket: &Socket) -> io::Result<Self> {
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for one in [socket.as_fd(), socket.deadline(), socket.cancelled.as_fd()] {
            epoll::add(&all, one, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        }
        Ok(Self(readable(all)?))
    }

    fn run<'a, T: 'a>(call: impl Future<Output = T> + Send + 'a) -> Self::Output<'a, T> {
        Box::pin(call)
    }

    async fn wait(&self, socket: &Socket, what: PollFlags) -> Result<(), SocketError> {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let flags = if what == PollFlags::OUT { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        epoll::modify(self.0.get_ref(), socket, epoll::EventData::new_u64(0), flags)?;
        while !socket.is_ready(what, Some(&NOW))? {
            // What came before it was looked at is told again, and looked at in vain.
            self.0.readable().await?.clear_ready();
        }
        Ok(())
    }
}

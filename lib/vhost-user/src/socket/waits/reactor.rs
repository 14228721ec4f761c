//! Waiting in a task of tokio's.

use super::{Private, Waits};
use crate::socket::{Socket, SocketError};
use crate::sys::reactor::readable;
use rustix::event::{PollFlags, Timespec, epoll};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use tokio::io::unix::AsyncFd;

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

    fn of<'a, T: Send + 'a>(output: Self::Output<'a, T>) -> impl Future<Output = T> + Send + 'a {
        output
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

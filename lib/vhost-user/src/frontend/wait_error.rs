//! Why a wait for the back-end ended without what was waited for.

use rustix::io::Errno;
use std::io;
use thiserror::Error;

/// Why nothing more is to be waited for: the caller ends, attaches the queue again, or looks what is wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Somebody has called the front-end's [`Canceller::cancel`](crate::socket::Canceller::cancel).
    #[error("cancelled")]
    Cancelled,
    /// The back-end has found the ring broken, and less was used than is waited for. That is so until the queue is attached again.
    #[error(transparent)]
    Broken(#[from] BrokenRing),
    /// A page is waited for that is in no region which the back-end told of, as with QEMU's libvhost-user (7.2), which answers the table with
    /// the front-end's own addresses.
    #[error("it waits for the page at {0:#x}, which is in no region that it told of")]
    Page(u64),
    /// A system call failed.
    #[error("waiting for the back-end")]
    System(#[from] io::Error),
}

impl From<Errno> for WaitError {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

/// The back-end found something in a ring that no driver may write, and said so by the descriptor of SET_VRING_ERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the back-end says that the ring of queue {index} is broken: it is stopped, and goes on when it is attached again"
)]
pub struct BrokenRing {
    /// The queue.
    pub index: u32,
}

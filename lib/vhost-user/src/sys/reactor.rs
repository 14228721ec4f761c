//! Descriptors in a reactor.
#![expect(unsafe_code, reason = "the reactor holds the number of a descriptor, and not the descriptor")]

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for something to read, in the reactor of the task that asks.
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the value owns the descriptor, and gives it out by reference only, so that it is open as long as the reactor knows its number.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(Into::into)
}

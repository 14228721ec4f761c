//! Descriptors that whoever started the program gave it.
#![expect(
    unsafe_code,
    reason = "a descriptor that is named by a number has no owner that the compiler knows"
)]

use rustix::io::{FdFlags, fcntl_setfd};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// Takes over the descriptor of this number, which is nobody else's in this process: it is asked for before the program has opened any, and for
/// none of the standard three. Programs that are started later do not get it.
///
/// # Errors
/// Where there is none of this number.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "0, 1 and 2 are the program's own"));
    }
    // SAFETY: it is not -1, and the kernel says whether it is open before anything else is done with it.
    let named = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(named, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and was opened by whoever started the program, so that no value of this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

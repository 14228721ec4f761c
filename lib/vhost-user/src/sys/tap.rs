//! Taking a tap device of Linux's.
#![expect(unsafe_code, reason = "the ioctl of taps")]

use rustix::ioctl::{Updater, ioctl, opcode};
use std::io;
use std::os::fd::OwnedFd;

/// The `ifreq` of `<linux/if.h>`: a name that ends with a zero, and of what follows the flags alone.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Frames of Ethernet, without a header before them (`<linux/if_tun.h>`).
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);

/// Makes `/dev/net/tun`, opened, the other end of the interface of this name, which is made if there is none.
pub(crate) fn take(descriptor: &OwnedFd, name: &str) -> io::Result<()> {
    let mut request = Request { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    // The kernel replaces names with a pattern in them, and has no others with a zero or a slash.
    let is_name = !name.is_empty() && !name.contains(['%', '\0', '/']);
    let place = request.name.get_mut(..name.len()).filter(|_| is_name && name.len() < 16);
    place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name.as_bytes());
    // SAFETY: the opcode names an `int` and the kernel reads and writes an `ifreq`, which is 40 bytes: those of the value, which outlives the call.
    let taken = unsafe { ioctl(descriptor, Updater::<TUNSETIFF, Request>::new(&mut request)) };
    Ok(taken?)
}

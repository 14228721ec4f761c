//! Taps for the tests.
#![expect(unsafe_code, reason = "neither rustix nor std opens taps")]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// A queue of the tap `name`, which lasts until its last descriptor is closed.
pub(crate) fn tap(name: &str, queues: usize) -> io::Result<OwnedFd> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: an ifreq is plain data, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let several = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    // The flags fit: all together are 0x5102.
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call returns.
    if unsafe { libc::ioctl(tun.as_raw_fd(), 0x4004_54ca, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(tun.into())
}

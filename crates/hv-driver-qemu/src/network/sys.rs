//! The ioctls of taps and bridges.
#![expect(unsafe_code, reason = "rustix and std have no calls for network interfaces")]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// Opens the tap `name`; one that does not exist is made, and lasts until its last descriptor is closed.
pub(super) fn tap(name: &str) -> io::Result<OwnedFd> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = request(name)?;
    // The flags fit: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR is 0x5002.
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    Ok(tun.into())
}

/// Makes `port` a port of `bridge`.
pub(super) fn join(bridge: &str, port: &str) -> io::Result<()> {
    let socket = socket()?;
    let mut of_port = request(port)?;
    // SAFETY: SIOCGIFINDEX reads the name and writes the index within one ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX as _, &raw mut of_port) })?;
    // SAFETY: the call above has set this member of the union.
    let index = unsafe { of_port.ifr_ifru.ifru_ifindex };
    let mut of_bridge = request(bridge)?;
    of_bridge.ifr_ifru.ifru_ifindex = index;
    // SAFETY: SIOCBRADDIF reads name and index from one ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCBRADDIF, &raw mut of_bridge) })
}

/// Switches the interface on.
pub(super) fn up(name: &str) -> io::Result<()> {
    let socket = socket()?;
    let mut request = request(name)?;
    // SAFETY: SIOCGIFFLAGS reads the name and writes the flags within one ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: the call above has set this member of the union. IFF_UP is 1.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: SIOCSIFFLAGS reads name and flags from one ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) })
}

fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A request about one interface, with nothing else set.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is plain data, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface name has 1 to 15 bytes"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// linux/if_tun.h: `_IOW('T', 202, int)`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// linux/sockios.h.
const SIOCBRADDIF: libc::c_ulong = 0x89a2;

//! Paths at which somebody is to listen.

use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use vhost_user::socket::Canceller;

/// Takes away a socket at which nobody listens any more, and nothing else.
///
/// # Errors
/// Where there is another file, or somebody listens.
pub(crate) fn make_room(path: &Path) -> io::Result<()> {
    let named = |kind, text: &str| Err(io::Error::new(kind, format!("{}: {text}", path.display())));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return named(error.kind(), &error.to_string()),
        Ok(found) if !found.file_type().is_socket() => {
            return named(io::ErrorKind::AlreadyExists, "it exists and is no socket");
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => named(io::ErrorKind::AddrInUse, "somebody listens there"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => named(error.kind(), &error.to_string()),
    }
}

/// Where front-ends come from.
pub(crate) enum Source {
    /// They connect.
    Listener(UnixListener),
    /// There is one.
    Connected(UnixStream),
}

impl Source {
    /// What the program was given as this descriptor.
    ///
    /// # Errors
    /// Where it is no stream socket of the UNIX domain.
    pub(crate) fn inherited(number: RawFd) -> io::Result<Self> {
        let given = sys::inherited(number)?;
        if socket_domain(&given)? != AddressFamily::UNIX || socket_type(&given)? != SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no UNIX stream socket"));
        }
        Ok(match socket_acceptconn(&given)? {
            true => Self::Listener(given.into()),
            false => Self::Connected(given.into()),
        })
    }
}

/// The next front-end; `None`: it is enough. Descriptors run out, as they do when many come at once; who waits is taken when some have left.
pub(crate) fn accepted(listener: &UnixListener, canceller: &Canceller) -> Option<UnixStream> {
    loop {
        let mut all = [PollFd::new(listener, PollFlags::IN), PollFd::new(canceller, PollFlags::IN)];
        match poll(&mut all, None) {
            Err(Errno::INTR) => continue,
            Ok(_) if all[1].revents().is_empty() => {}
            _ => return None,
        }
        if let Ok((stream, _)) = listener.accept() {
            return Some(stream);
        }
        let time = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let _ = poll(&mut [PollFd::new(canceller, PollFlags::IN)], Some(&time));
    }
}

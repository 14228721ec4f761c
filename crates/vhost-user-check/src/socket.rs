//! Paths at which somebody is to listen.

use crate::sys;
use crate::target::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::umask;
use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vhost_user::socket::Canceller;

/// A socket at which this program listens, and the user alone may connect to.
pub(crate) struct Place {
    path: PathBuf,
    /// Its device and inode, which tell it from another's at the same path.
    which: (u64, u64),
}

impl Place {
    /// Takes it away, if it is still there.
    pub(crate) fn leave(&self) {
        // Whoever looks at it sees that nobody listens, and makes one in its place.
        let _alone = Alone::in_directory_of(&self.path);
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.which) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens there, in the place of a socket that nobody listens at any more.
///
/// # Errors
/// Where there is another file, or somebody listens.
pub(crate) fn listen(path: &Path) -> io::Result<(UnixListener, Place)> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let _alone = Alone::in_directory_of(path)?;
    clear(path)?;
    // From its first moment on: nobody else may connect before its mode is another. No other thread of this program makes files yet.
    let before = umask(Mode::from(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(named)?;
    let made = fs::symlink_metadata(path).map_err(named)?;
    Ok((listener, Place { path: path.to_owned(), which: (made.dev(), made.ino()) }))
}

/// Takes away a socket at which nobody listens any more, and nothing else.
///
/// # Errors
/// Where there is another file, or somebody listens.
pub(crate) fn make_room(path: &Path) -> io::Result<()> {
    let _alone = Alone::in_directory_of(path)?;
    clear(path)
}

/// The same for who is alone.
fn clear(path: &Path) -> io::Result<()> {
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

/// No other process of this program looks at sockets of a directory, takes them away or makes them, while this value lives. A socket is there a
/// moment before somebody listens at it, and another may be made between a look at it and its removal; the directory is what all have in
/// common, and no lock is left behind in it.
struct Alone(Option<File>);

impl Alone {
    /// Where the directory cannot be read, or has no locks, nobody is kept out.
    fn in_directory_of(path: &Path) -> io::Result<Self> {
        let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(directory) = File::open(directory) else { return Ok(Self(None)) };
        let clock = Clock::start();
        loop {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(Some(directory))),
                // Not for ever: anybody may lock what he can read.
                Err(Errno::WOULDBLOCK) if clock.elapsed() < LOCKED => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::WOULDBLOCK) => {
                    let text = "its directory is locked by another program, which should not take that long";
                    let text = format!("{}: {text}", path.display());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(_) => return Ok(Self(None)),
            }
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // A process that is being started may have it for a moment too.
        if let Some(directory) = &self.0 {
            let _ = flock(directory, FlockOperation::Unlock);
        }
    }
}

/// How long others may look at sockets of a directory.
const LOCKED: Duration = Duration::from_secs(10);

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

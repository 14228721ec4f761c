//! Paths at which somebody is to listen.

use crate::sys;
use crate::target::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::umask;
use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vhost_user::socket::Canceller;

/// Where this program listens. What was made for that goes with the value, whatever ends it.
pub(crate) struct Place {
    listener: UnixListener,
    /// The socket's path, with its device and inode, which tell it from another's at the same path; `None`: it was handed over.
    made: Option<(PathBuf, (u64, u64))>,
}

impl Place {
    /// The next front-end; `None`: it is enough. Descriptors run out, as they do when many come at once; who waits is taken when some have
    /// left.
    pub(crate) fn accepted(&self, canceller: &Canceller) -> Option<UnixStream> {
        loop {
            let mut all = [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(canceller, PollFlags::IN)];
            match poll(&mut all, None) {
                Err(Errno::INTR) => continue,
                Ok(_) if all[1].revents().is_empty() => {}
                _ => return None,
            }
            if let Ok((stream, _)) = self.listener.accept() {
                return Some(stream);
            }
            let time = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            let _ = poll(&mut [PollFd::new(canceller, PollFlags::IN)], Some(&time));
        }
    }

    /// The next that connects within so much time, if one does.
    pub(crate) fn within(&self, time: Duration) -> io::Result<Option<UnixStream>> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&time)) {
            Ok(0) | Err(Errno::INTR) => Ok(None),
            Ok(_) => Ok(Some(self.listener.accept()?.0)),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes away what was made for it, while whoever is connected stays.
    pub(crate) fn leave(&self) {
        // We still listen, so that nobody makes another in its place meanwhile, and no lock is to be waited for.
        if let Some((path, which)) = &self.made
            && fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == *which)
        {
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Listens there, in the place of a socket that nobody listens at any more. The user alone may connect.
///
/// # Errors
/// Where there is another file, or somebody listens.
pub(crate) fn listen(path: &Path) -> io::Result<Place> {
    let alone = Alone::in_directory_of(path, LOCKED)?;
    listen_alone(path, &alone)
}

/// The same for who is alone, and waits for nobody.
pub(crate) fn listen_alone(path: &Path, _alone: &Alone) -> io::Result<Place> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    clear(path)?;
    // From its first moment on: nobody else may connect before its mode is another. No other thread of this program makes files yet.
    let before = umask(Mode::from(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(named)?;
    let made = fs::symlink_metadata(path).map_err(named)?;
    Ok(Place { listener, made: Some((path.to_owned(), (made.dev(), made.ino()))) })
}

/// Takes away a socket at which nobody listens any more, and nothing else.
///
/// # Errors
/// Where there is another file, or somebody listens, or others have the directory for longer than this.
pub(crate) fn make_room(path: &Path, patience: Duration) -> io::Result<()> {
    let _alone = Alone::in_directory_of(path, patience)?;
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
    let address = SocketAddrUnix::new(path)?;
    // Who listens and takes nobody is not waited for, since others wait for us.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::AGAIN) => named(io::ErrorKind::AddrInUse, "somebody listens there"),
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        Err(error) => named(io::Error::from(error).kind(), &error.to_string()),
    }
}

/// No other process of this program looks at sockets of a directory, takes them away or makes them, while this value lives. A socket is there a
/// moment before somebody listens at it, and another may be made between a look at it and its removal; the directory is what all have in
/// common, and no lock is left behind in it.
pub(crate) struct Alone(Option<File>);

impl Alone {
    pub(crate) fn in_directory_of(path: &Path, patience: Duration) -> io::Result<Self> {
        let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::within(directory, patience)
    }

    /// Where the directory cannot be read, or has no locks, nobody is kept out.
    ///
    /// # Errors
    /// Where others have it for longer than this.
    pub(crate) fn within(path: &Path, patience: Duration) -> io::Result<Self> {
        let Ok(directory) = File::open(path) else { return Ok(Self(None)) };
        let clock = Clock::start();
        loop {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(Some(directory))),
                // Not for ever: anybody may lock what he can read.
                Err(Errno::WOULDBLOCK) if clock.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::WOULDBLOCK) => {
                    let text = "the directory is locked by another program, which should not take that long";
                    let text = format!("{}: {text}", path.display());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(_) => return Ok(Self(None)),
            }
        }
    }

    /// Whether it is that directory still: who had it before may have taken it away.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let Some(directory) = &self.0 else { return path.is_dir() };
        let which = |found: io::Result<fs::Metadata>| found.map(|it| (it.dev(), it.ino())).ok();
        which(fs::symlink_metadata(path)).is_some_and(|found| which(directory.metadata()) == Some(found))
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

/// How long others may have a directory.
pub(crate) const LOCKED: Duration = Duration::from_secs(10);

/// Where front-ends come from.
pub(crate) enum Source {
    /// They connect.
    Listener(Place),
    /// There is one.
    Connected(UnixStream),
    /// One listens there, again and again.
    Listening(PathBuf),
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
            true => Self::Listener(Place { listener: given.into(), made: None }),
            false => Self::Connected(given.into()),
        })
    }
}

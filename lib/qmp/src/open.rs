//! Opening a monitor: unix sockets under paths of any length, TCP, and descriptors that were handed over.

use crate::{Client, CloseReason, Options, aside, client, client_unix};
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt::socket_domain},
};
use std::{
    fmt,
    future::Future,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
};
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};

/// Drives a connection; see [`crate::client()`].
pub struct Driver(Pin<Box<dyn Future<Output = Arc<CloseReason>> + Send>>);

impl Future for Driver {
    type Output = Arc<CloseReason>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

fn boxed(
    (client, driver): (Client, impl Future<Output = Arc<CloseReason>> + Send + 'static),
) -> (Client, Driver) {
    (client, Driver(Box::pin(driver)))
}

/// Where a monitor listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A host and a port, joined by a colon. Nothing protects this connection: whoever reaches the port owns the machine.
    Tcp(String),
}

/// A text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no address of a monitor: a path, unix:PATH or tcp:HOST:PORT")]
pub struct NoAddress(String);

impl FromStr for Address {
    type Err = NoAddress;

    /// Takes `unix:PATH`, `tcp:HOST:PORT`, and a path that begins with `/` or `.`; all that follows the kind is taken as it is.
    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        match text.strip_prefix("tcp:") {
            Some(place) if place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                Ok(Self::Tcp(place.to_owned()))
            }
            None if text.starts_with(['/', '.']) => Ok(Self::Unix(text.into())),
            _ => Err(NoAddress(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(place) => write!(f, "tcp:{place}"),
        }
    }
}

/// Connects. The greeting is not awaited: [`Client::ready`] does, and a stopped QEMU never sends it.
///
/// # Errors
/// Those of the file system, of name resolution and of `connect`.
pub async fn connect(address: &Address, options: Options) -> io::Result<(Client, Driver)> {
    match address {
        Address::Unix(path) => unix(path, options).await,
        Address::Tcp(place) => {
            let stream = TcpStream::connect(place).await?;
            // Requests are small and wait for their answers.
            stream.set_nodelay(true)?;
            Ok(boxed(client(stream, options)))
        }
    }
}

/// Connects to a unix socket, whatever the length of its path. QEMU serves one connection of a monitor at a time; further ones are
/// queued and hear nothing, and when a few wait, `connect` itself fails.
///
/// # Errors
/// Those of the file system and of `connect`.
pub async fn unix(path: &Path, options: Options) -> io::Result<(Client, Driver)> {
    Ok(boxed(client_unix(dial(path).await?, options)))
}

/// Connects to any unix socket, whatever the length of its path. A file system that does not answer holds up nobody else.
///
/// # Errors
/// Those of the file system and of `connect`; `WouldBlock` where too many wait to be served.
pub async fn dial(path: &Path) -> io::Result<UnixStream> {
    let place = path.to_owned();
    let connected = move |_: &_| -> io::Result<OwnedFd> {
        let (directory, short) = shortened(&place)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(short)?)?;
        drop(directory);
        Ok(socket)
    };
    let connected = aside::ask(path, aside::PATIENCE, connected).await??;
    UnixStream::from_std(connected.into())
}

/// A path of the same place that an address of a socket can hold, which is 107 bytes, wherever the place is. It is valid as long as the
/// descriptor, which is that of the directory, is open.
///
/// # Errors
/// Those of the file system, and `InvalidInput` for a path without a name.
pub fn shortened(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "a socket path needs a name");
    let name = path.file_name().ok_or_else(invalid)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((directory, short))
}

/// Takes over a connected socket, such as one end of a socket pair whose other end QEMU was given, or a connection of a predecessor
/// ([`crate::session::Opening::Resumed`]).
///
/// # Errors
/// When it is no connected unix or TCP socket, or outside a runtime's context.
pub fn inherited(socket: OwnedFd, options: Options) -> io::Result<(Client, Driver)> {
    match socket_domain(&socket)? {
        AddressFamily::UNIX => {
            let stream = std::os::unix::net::UnixStream::from(socket);
            stream.set_nonblocking(true)?;
            Ok(boxed(client_unix(UnixStream::from_std(stream)?, options)))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            let stream = std::net::TcpStream::from(socket);
            stream.set_nonblocking(true)?;
            Ok(boxed(client(TcpStream::from_std(stream)?, options)))
        }
        other => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a socket of the address family {}", other.as_raw()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_say() {
        let parse = |text: &str| text.parse::<Address>();
        assert_eq!(parse("/run/a:b"), Ok(Address::Unix("/run/a:b".into())));
        assert_eq!(parse("unix:q.sock"), Ok(Address::Unix("q.sock".into())));
        assert_eq!(parse("tcp:[::1]:4444"), Ok(Address::Tcp("[::1]:4444".to_owned())));
        for text in ["", "unix:", "tcp:host", "tcp:host:x", "host:1"] {
            assert_eq!(parse(text), Err(NoAddress(text.to_owned())));
        }
        assert_eq!(parse("./q").unwrap().to_string(), "unix:./q");
    }
}
